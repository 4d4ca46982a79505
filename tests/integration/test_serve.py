"""pgweir serve: real standbys and receivers below an archive."""

import os
import pwd
import re
import shutil
import signal
import socket
import struct
import time

import pytest

from support import wal
from support.process import preload, run, server_user, wait_for
from support.receiver import BINARY, pgweir, stock_command
from support.recovery import hand_over, installed
from support.relay import PASSWORD, Client, Relay, fields, make_user, told
from support.scenario import begun, create_slot, promote_again, status_of_receiver
from support.server import DEBIAN_MAJOR, free_port

pytestmark = pytest.mark.in_memory

TRUST = "host replication all 127.0.0.1/32 trust\nlocal replication all peer\n"


@pytest.fixture
def filled(request, servers, receivers, new_archive):
    """A primary, of the version that is given, and its archive with some segments, partly compressed, partly not, and a
    .partial; nobody receives any more. Returns (primary, archive, user's line)."""
    primary = servers.primary(major=getattr(request, "param", DEBIAN_MAJOR))
    user = make_user(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)  # else the archive may begin behind what is written now
    primary.write_wal(3)
    end = primary.switch_wal()
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    assert pgweir("compress", "-D", archive.path).returncode == 0
    receiver = receivers.pgweir(archive, primary)
    primary.write_wal(2.5)
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    assert archive.partials()
    return primary, archive, user


@pytest.fixture
def relay(place, receivers):
    return lambda archive, *arguments, **more: Relay(place, receivers, archive, *arguments, **more).start()


def receive_stock(place, relay, archive, name="downstream", **conninfo):
    """Debian's pg_receivewal, from behind the first segment to the newest one; the directory it filled
    and what became of it."""
    directory = place / name
    directory.mkdir()
    first, path = next(iter(archive.finished().items()))
    (directory / wal.segment_name(*first, archive.segment_size)).write_bytes(archive.content(path))
    upto = max(segno for _, segno in archive.partials()) * archive.segment_size + 8
    return directory, run(stock_command(directory, relay.conninfo(**conninfo), "-E", wal.lsn_text(upto), "-n"),
                          check=False)


def same_files(directory, archive):
    """What was received is what the archive has; returns how many finished segments there are."""
    compared = 0
    for path in directory.iterdir():
        timeline, segno = wal.parse_segment(path.name.removesuffix(".partial"), archive.segment_size)
        content = path.read_bytes()
        own = archive.read(timeline, segno)
        if path.suffix != ".partial":
            assert content == own, path.name
            compared += 1
        else:
            received = content.rstrip(b"\0")
            assert own.startswith(received), path.name
    return compared


def test_a_standby_streams_on_while_the_primary_is_dead(servers, filled, relay, receivers):
    primary, archive, user = filled
    standby = servers.standby(primary, start=False)
    receiver = receivers.pgweir(archive, primary)
    primary.write_wal(2)
    rows = primary.sql("SELECT count(*) FROM filling")
    end = primary.flushed()
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    primary.kill9()

    serving = relay(archive, user)
    standby.conf(primary_conninfo=serving.conninfo(application_name=standby.name))
    standby.start()
    standby.caught_up_with(end)
    wait_for(lambda: standby.sql("SELECT count(*) FROM filling") == rows, "the rows to be replayed")
    serving.process.wait_log(rf'client "{standby.name}" \(127.0.0.1, user "repl"\): streaming on timeline 1')

    # The relay restarted: the standby comes back by itself.
    serving.process.stop()
    serving.start()
    serving.process.wait_log("streaming on timeline 1")
    assert standby.running()


def test_pg_receivewal_gets_the_same_bytes(place, filled, relay):
    _, archive, user = filled
    serving = relay(archive, user)
    directory, result = receive_stock(place, serving, archive)
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2


def test_by_unix_socket_a_user_of_this_machine_needs_no_password(place, filled, relay):
    _, archive, _ = filled
    serving = relay(archive, None, "local replication all peer\n")
    me = pwd.getpwuid(os.getuid()).pw_name
    directory, result = receive_stock(place, serving, archive, user=me, host=serving.socket_dir)
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2
    _, result = receive_stock(place, serving, archive, "none", user="somebody", host=serving.socket_dir)
    assert 'Peer authentication failed for user "somebody"' in result.stderr


def test_a_user_that_the_user_namespace_lacks_is_not_nobody(place, filled, receivers):
    """As with PrivateUsers= of systemd: the kernel reports every such user as "nobody"."""
    if os.getuid() != 0:
        pytest.skip("only root may run it as another user")
    own = server_user()
    inside = ["setpriv", f"--reuid={own.pw_uid}", f"--regid={own.pw_gid}", "--clear-groups", "unshare", "--user",
              "--map-current-user"]
    if run([*inside, "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    _, archive, _ = filled
    hand_over(archive.path)
    sockets = place / "sockets"
    sockets.mkdir()
    os.chown(sockets, own.pw_uid, own.pw_gid)
    serving = Relay(place, receivers, archive, None, "local replication all peer\n")
    serving.command = [*inside, str(installed(place)), *serving.command[1:]]
    serving.command[serving.command.index("--serve-socket") + 1] = str(sockets)
    serving.start()
    nobody = pwd.getpwuid(65534).pw_name
    _, result = receive_stock(place, serving, archive, user=nobody, host=sockets)  # by root
    assert f'Peer authentication failed for user "{nobody}"' in result.stderr, result.stderr
    serving.process.wait_log("the operating system user is unknown, or not part of the user namespace")


def test_a_standby_follows_a_receiver_across_a_promotion(servers, receivers, new_archive, relay):
    primary = servers.primary()
    user = make_user(primary)
    middle = servers.standby(primary)
    below = servers.standby(primary, start=False)
    archive = new_archive(primary)
    receivers.pgweir(archive, middle)
    begun(archive, primary)
    end = primary.write_wal(2.5)
    archive.wait_covers(primary, 1, end)

    serving = relay(archive, user)
    below.conf(primary_conninfo=serving.conninfo(application_name=below.name))
    below.start()
    below.caught_up_with(end)
    # Live: what the receiver has made durable comes on by itself.
    end = primary.write_wal(0.2)
    below.caught_up_with(end)

    middle.caught_up_with(primary.switch_wal())
    primary.stop()
    middle.promote()
    end = middle.write_wal(1.2)
    below.caught_up_with(end)
    rows = middle.sql("SELECT count(*) FROM filling")
    wait_for(lambda: below.sql("SELECT count(*) FROM filling") == rows, "the rows of the new timeline")
    assert below.sql("SELECT received_tli FROM pg_stat_wal_receiver") == "2"
    serving.process.wait_log("now serving timeline 2")
    assert below.sql("SELECT pg_is_in_recovery()") == "t"
    assert "FATAL" not in below.log.read_text().replace("FATAL:  terminating walreceiver", "")


def test_a_standby_of_before_comes_over_the_switch_at_once(servers, receivers, new_archive, relay):
    """It was away while the timeline was left, and what serves has never seen the old one's stream."""
    primary = servers.primary()
    user = make_user(primary)
    middle = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, middle)
    receiver.wait_log("streaming timeline 1")
    below = servers.standby(primary, start=False)
    middle.caught_up_with(primary.write_wal(2))
    primary.stop()
    middle.promote()
    end = middle.write_wal(1.5)
    archive.wait_covers(middle, 2, end)
    receiver.stop()
    middle.kill9()

    serving = relay(archive, user)
    below.conf(primary_conninfo=serving.conninfo(application_name=below.name))
    below.start()
    wait_for(lambda: below.flushed() >= end // 8 * 8, "the standby to be at the end")
    assert below.sql("SELECT received_tli FROM pg_stat_wal_receiver") == "2"


def test_a_standby_comes_over_timelines_from_before_the_archive(servers, receivers, new_archive, relay):
    """It fetches each history; the archive was begun on timeline 3, with a segment of all three."""
    primary = servers.primary()
    user = make_user(primary)
    below = servers.standby(primary, start=False)
    promote_again(primary)
    promote_again(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log("streaming timeline 3")
    end = primary.write_wal(0.2)
    archive.wait_covers(primary, 3, end)
    receiver.stop()
    archive.histories()[2].unlink()  # an earlier version did not store it
    assert sorted(archive.histories()) == [3]

    serving = relay(archive, user)
    below.conf(primary_conninfo=serving.conninfo(application_name=below.name))
    below.start()
    wait_for(lambda: below.flushed() >= end // 8 * 8, "the standby to be at the end")
    assert below.sql("SELECT received_tli FROM pg_stat_wal_receiver") == "3"


def test_a_servers_own_directory_is_rejected(place, filled, relay):
    """By each command that writes into a directory."""
    primary, archive, _ = filled
    store = ["--store", "s3://bucket/prefix", "--store-name", "main"]
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    pg_wal = primary.data / "pg_wal"
    before = sorted(path.name for path in pg_wal.iterdir())
    for directory in (primary.data, pg_wal):
        for command in (["serve", "--listen", str(free_port())], ["prune", "-n", "--keep-from", "0/1000000"],
                        ["slot", "drop", "-S", "one"], ["receive", "-d", primary.conninfo()], ["compress"],
                        ["ack", "hole-1-0-1000000"], ["import", archive.path], ["store", "push", *store],
                        ["store", "publish-partial", *store]):
            result = pgweir(*command, "-D", directory, env=keys)
            assert result.returncode == 4 and "this is a server's" in result.stderr, (command, result.stderr)
    assert sorted(path.name for path in pg_wal.iterdir()) == before


def test_unfinished_wal_that_breaks_off_is_told(place, filled, relay):
    """By the file alone nobody can tell a loss of power from damage to what was acknowledged: what is before that place
    is served, and who wants more hears why there is none."""
    _, archive, user = filled
    ((_, segno), path), = archive.partials().items()
    content = bytearray(path.read_bytes())
    content[340_000] ^= 0x10
    path.write_bytes(content)
    serving = relay(archive, user)
    serving.process.wait_log(f"the unfinished WAL of the archive breaks off at .*{path.name}")
    directory = place / "broken"
    directory.mkdir()
    # It begins with the segment that is not finished.
    first, before = list(archive.finished().items())[-1]
    (directory / wal.segment_name(*first, archive.segment_size)).write_bytes(archive.content(before))
    far = wal.lsn_text((segno + 1) * archive.segment_size)
    result = run(stock_command(directory, serving.conninfo(), "-E", far, "-n"), check=False)
    assert result.returncode == 1
    assert "the WAL of this archive breaks off at" in result.stderr and path.name in result.stderr, result.stderr
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 2, checked.stdout  # for no receiver runs
    for line in checked.stdout.splitlines()[0], checked.stdout:
        assert "the unfinished WAL breaks off at" in line and path.name in line, checked.stdout
    received = (directory / path.name).read_bytes().rstrip(b"\0")
    assert 300_000 < len(received) <= 340_000 and content.startswith(received)


def test_damage_is_an_error_downstream_and_trouble_here(place, filled, relay, receivers):
    _, archive, user = filled
    serving = relay(archive, user)
    segments = sorted(path for path in archive.finished().values() if path.suffix == "")
    raw = segments[-1]
    original = raw.read_bytes()

    content = bytearray(original)
    content[300_000] ^= 0x10
    raw.write_bytes(content)
    directory, result = receive_stock(place, serving, archive, "damaged")
    assert "WAL of the archive is damaged" in result.stderr and raw.name in result.stderr
    serving.process.wait_log(f"WAL requested by a client is damaged.*{raw.name}")
    received = {path.name for path in directory.iterdir()}
    assert raw.name not in received
    partial = directory / (raw.name + ".partial")
    if partial.exists():
        received = partial.read_bytes().rstrip(b"\0")
        assert len(received) <= 300_000 and original.startswith(received)

    # Nor does it keep a new process from serving what is before and behind, once nobody can be copying that file.
    serving.process.stop()
    serving = Relay(place, receivers, archive, user)
    os.utime(raw)
    serving.process = receivers.start(serving.command, None)
    serving.process.wait_log(rf"listening on .*:{serving.port}")
    assert raw.name not in serving.process.said(), serving.process.said()
    os.utime(raw, (0, 0))
    serving.process.wait_log(f"the newest complete segment is not valid WAL to its end.*{raw.name}")
    serving.process.wait_log("ERROR hint: ")
    assert serving.process.said().count("it may be the only copy") == 1, serving.process.said()
    serving.process.stop()
    tomorrow = time.time() + 86400  # by another clock
    os.utime(raw, (tomorrow, tomorrow))
    serving = Relay(place, receivers, archive, user)
    serving.process = receivers.start(serving.command, None)
    serving.process.wait_log(rf"listening on .*:{serving.port}")
    _, result = receive_stock(place, serving, archive, "restarted")
    assert "WAL of the archive is damaged" in result.stderr and raw.name in result.stderr

    raw.unlink()
    _, result = receive_stock(place, serving, archive, "missing")
    assert f"requested WAL segment {raw.name} has already been removed" in result.stderr
    serving.process.wait_log("WAL requested by a client is not in the archive")

    # Mended in place, without a restart.
    raw.write_bytes(original)
    directory, result = receive_stock(place, serving, archive, "mended")
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2


COMMANDS = [
    "IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM;", "identify_system", "IDENTIFY_SYSTEM x", "", ";", "SELECT 1", "x",
    "SHOW wal_segment_size", "SHOW data_directory_mode", "SHOW in_hot_standby", "SHOW integer_datetimes",
    "SHOW WAL_Segment_Size", "SHOW no_such_thing", "SHOW", "SHOW wal_sender_timeout", "SHOW wal_block_size",
    "TIMELINE_HISTORY 2", "TIMELINE_HISTORY 0", "TIMELINE_HISTORY x", "READ_REPLICATION_SLOT none",
    "READ_REPLICATION_SLOT", "DROP_REPLICATION_SLOT none", "DROP_REPLICATION_SLOT \"No-Name\" WAIT",
    "CREATE_REPLICATION_SLOT \"No-Name\" PHYSICAL", "CREATE_REPLICATION_SLOT \"\" PHYSICAL",
    "CREATE_REPLICATION_SLOT", "START_REPLICATION", "START_REPLICATION SLOT none 0/1000000",
    "START_REPLICATION 0/1000000 TIMELINE 9", "START_REPLICATION 0/1000000 TIMELINE 0",
    "START_REPLICATION 0/0x TIMELINE 1", "CREATE_REPLICATION_SLOT 'a' PHYSICAL", "BASE_BACKUP (LABEL 'x",
]
# Before, or before the minor releases of August 2026, servers answered otherwise.
COMMANDS_SINCE_19 = [
    "CREATE_REPLICATION_SLOT pg_conflict_detection PHYSICAL", "CREATE_REPLICATION_SLOT \"a\"\"b\" PHYSICAL",
    "READ_REPLICATION_SLOT \"a\"\"b\"", "DROP_REPLICATION_SLOT \"\"\"\"", "DROP_REPLICATION_SLOT \"a\"\"",
]


# An older one has no READ_REPLICATION_SLOT, which the relay answers for any.
@pytest.mark.parametrize("filled", [15, 16, 17, 18, 19], indirect=True)
def test_answers_are_those_of_a_walsender(servers, filled, relay):
    primary, archive, _ = filled
    standby = servers.standby(primary, max_replication_slots=0)
    standby.caught_up_with(primary.flushed())
    serving = relay(archive, None, TRUST)
    theirs, ours = Client(standby.port), Client(serving.port)
    for command in COMMANDS + (COMMANDS_SINCE_19 if primary.major >= 19 else []):
        expected, got = told(theirs.query(command)), told(ours.query(command))
        if command.startswith("IDENTIFY_SYSTEM") and expected[0][0] == "columns":
            # The position: ours is the end of the archive.
            assert wal.lsn(got[1][1][2]) <= wal.lsn(expected[1][1][2])
            expected[1][1][2] = got[1][1][2]
        assert got == expected, command
    for client in (theirs, ours):  # the extended protocol
        client.send(b"P", b"\0SELECT 1\0\0\0")
        client.send(b"S")
    assert told(ours.until(b"Z")) == told(theirs.until(b"Z"))
    # A client that ends the stream; and again.
    for client in (theirs, ours):
        end = wal.lsn(told(client.query("IDENTIFY_SYSTEM"))[1][1][2])
        start = wal.lsn_text(end // archive.segment_size * archive.segment_size)
        assert client.query(f"START_REPLICATION {start} TIMELINE 1", b"WE")[-1] == (b"W", b"\0\0\0")
        client.message()
        client.send(b"c")
        heard = [kind for kind, _ in client.until(b"Z") if kind != b"d"]
        assert heard == [b"c", b"C", b"C", b"Z"]
        assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")


def test_who_connects_at_the_word_that_it_listens_is_let_in(place, filled, relay):
    _, archive, _ = filled
    serving = relay(archive, None, TRUST, env={"LD_PRELOAD": str(preload(place, "slow_listen.c"))})
    assert Client(serving.port).greeting[-1][0] == b"Z"


def test_parameters_say_what_clients_ask_for(servers, filled, relay):
    _, archive, _ = filled
    client = Client(relay(archive, None, TRUST).port, application_name="me")
    parameters = dict(body.rstrip(b"\0").decode().split("\0") for kind, body in client.greeting if kind == b"S")
    assert parameters["server_version"].startswith(f"{DEBIAN_MAJOR}.0 (pgweir ")
    assert (parameters["integer_datetimes"], parameters["in_hot_standby"]) == ("on", "on")
    assert parameters["application_name"] == "me"


def test_nobody_comes_in_without_a_password(place, filled, relay):
    _, archive, user = filled
    closed = relay(archive)
    assert "no client can connect" in closed.process.said()
    _, result = receive_stock(place, closed, archive, "closed")
    assert result.returncode != 0 and 'password authentication failed for user "repl"' in result.stderr
    closed.process.wait_log("the users file does not contain this user")
    closed.process.stop()

    serving = relay(archive, user)
    # One word for a wrong password and for a user who is not there.
    for name, who in (("wrong", {"password": "wrong"}), ("unknown", {"user": "nobody"})):
        _, result = receive_stock(place, serving, archive, name, **who)
        expected = who.get("user", "repl")
        assert f'password authentication failed for user "{expected}"' in result.stderr
    serving.process.wait_log("the password is wrong")
    # No word about the archive before it: nothing but the error.
    with pytest.raises(EOFError):
        client = Client(serving.port, user="repl", replication="database")
        assert fields(client.greeting[-1][1])["C"] == "28000" and len(client.greeting) == 1
        client.message()


def test_rules_and_users_are_read_anew(place, filled, relay):
    _, archive, user = filled
    serving = relay(archive, user, "host replication all 127.0.0.1/32 reject\n")
    _, result = receive_stock(place, serving, archive, "rejected")
    assert "pg_hba.conf rejects replication connection" in result.stderr

    serving.hba.write_text("host replication repl 127.0.0.1/32 trust # for now\n")
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("reloaded the HBA and users files")
    client = Client(serving.port, user="repl")
    assert client.greeting[-1][0] == b"Z"

    # A wrong one is told, the old one stays, and nobody who is in is dropped.
    serving.hba.write_text("host replication repl 127.0.0.1/32 trust\nhost replication all all md5\n")
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("the HBA file is invalid: the method md5 is not supported.*line 2")
    serving.process.wait_log("stay in effect")
    assert Client(serving.port, user="repl").greeting[-1][0] == b"Z"
    assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")

    result = pgweir("serve", "-D", archive.path, "--listen", serving.port, "--serve-hba", serving.hba)
    assert result.returncode == 2 and "line 2" in result.stderr


def test_a_tcp_client_that_has_reset_its_connection_is_no_local_one(filled, relay):
    """What it has sent can still be read then, and where it came from is not known to its socket any more."""
    _, archive, _ = filled
    serving = relay(archive, None, "host replication all all reject\nlocal replication all trust\n")
    serving.process.pause()
    gone = socket.create_connection(("127.0.0.1", serving.port))
    parameters = b"user\0repl\0replication\0true\0application_name\0gone\0\0"
    gone.sendall(struct.pack(">II", len(parameters) + 8, 3 << 16) + parameters)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    serving.process.resume()
    # Who came later is answered later.
    assert fields(Client(serving.port).greeting[-1][1])["C"] == "28000"
    assert " connected" not in serving.process.said() and "[local]" not in serving.process.said()


def test_who_does_not_read_holds_up_nobody(place, filled, relay):
    _, archive, user = filled
    serving = relay(archive, user, TRUST)
    start = archive.segment_size * min(segno for _, segno in archive.finished())
    silent = [Client(serving.port) for _ in range(5)]
    for client in silent:
        client.query(f"START_REPLICATION {wal.lsn_text(start)} TIMELINE 1", b"W")
    # At the door, too: connections that say nothing, or nonsense.
    door = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(300)]
    for at, connection in enumerate(door):
        try:
            connection.sendall([b"", b"\0\0", b"GET / HTTP/1.1\r\n\r\n", struct.pack(">II", 9000, 3 << 16)][at % 4])
        except OSError:
            pass  # it had to go for a later one
    directory, result = receive_stock(place, serving, archive)
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2
    for each in [*door, *silent]:
        each.close()
    # All have gone, and it stops at once.
    wait_for(lambda: serving.process.said().count(" disconnected: ") >= 5, "the silent ones to be gone")
    serving.process.stop()


def test_so_many_clients_and_no_more(filled, relay):
    _, archive, _ = filled
    serving = relay(archive, None, TRUST, options=["--serve-max-clients", "2"])
    clients = [Client(serving.port), Client(serving.port)]
    third = Client(serving.port)
    assert fields(third.greeting[-1][1])["C"] == "53300"
    clients[0].close()
    serving.process.wait_log(" disconnected: ")

    def let_in():
        client = Client(serving.port)
        return client if client.greeting[-1][0] == b"Z" else None

    wait_for(let_in, "the place to be free")


def test_a_stop_is_told_as_a_walsender_tells_it(filled, relay):
    _, archive, _ = filled
    serving = relay(archive, None, TRUST)
    streaming, idle = Client(serving.port), Client(serving.port)
    end = wal.lsn(told(idle.query("IDENTIFY_SYSTEM"))[1][1][2])
    streaming.query(f"START_REPLICATION {wal.lsn_text(end)} TIMELINE 1", b"W")
    serving.process.wait_log("streaming on timeline 1")
    serving.process.stop()
    assert [body for kind, body in streaming.until(b"C") if kind == b"C"] == [b"COPY 0\0"]
    assert fields(idle.until(b"E")[-1][1])["C"] == "57P01"


def test_new_segments_are_served_whoever_writes_them(servers, filled, relay, place):
    """Without a receiver that could be asked: a finished segment is seen by its name."""
    primary, archive, _ = filled
    serving = relay(archive, None, TRUST)
    client = Client(serving.port)
    end = wal.lsn(told(client.query("IDENTIFY_SYSTEM"))[1][1][2])
    segno = end // archive.segment_size
    primary.switch_wal()
    name = wal.segment_name(1, segno, archive.segment_size)
    (archive.path / (name + ".partial")).unlink()
    content = primary.pg_wal(name).read_bytes()
    (place / name).write_bytes(content)
    (place / name).rename(archive.path / name)
    wait_for(lambda: wal.lsn(told(client.query("IDENTIFY_SYSTEM"))[1][1][2]) >= (segno + 1) * archive.segment_size,
             "the end to be further")
    client.query(f"START_REPLICATION {wal.lsn_text(segno * archive.segment_size)} TIMELINE 1", b"W")
    received = b""
    while len(received) < archive.segment_size:
        kind, body = client.message()
        if kind == b"d" and body[:1] == b"w":
            received += body[25:]
    assert received == content


@pytest.mark.parametrize("wrong", [[], ["--listen", "0"], ["--listen", "host:5433"], ["--listen", "5433", "--serve-hba", "/none"]])
def test_wrong_options_are_told(filled, wrong):
    _, archive, _ = filled
    result = pgweir("serve", "-D", archive.path, *wrong)
    assert result.returncode == 2, result.stderr


def test_an_archive_without_wal_is_waited_for(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    relay = Relay(place, receivers, archive, None, TRUST)
    relay.process = receivers.start(relay.command)
    relay.process.wait_log("the archive has no WAL yet")
    receivers.pgweir(archive, primary)
    primary.switch_wal()
    relay.process.wait_log("listening on")
    assert told(Client(relay.port).query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")


@pytest.fixture
def receiving(servers, receivers, new_archive, place):
    """(primary, standby not started, start()): a receiver that serves, and the standby to be below it."""
    primary = servers.primary()
    users = place / "relay_users"
    users.write_text(make_user(primary))
    users.chmod(0o600)
    archive = new_archive(primary)
    port = free_port()
    options = ["--serve", port, "--serve-users", users]
    receiver = receivers.pgweir(archive, primary, *options)
    receiver.wait_log(f"listening on 127.0.0.1:{port}")
    standby = servers.standby(primary, start=False)
    standby.conf(primary_conninfo=f"host=127.0.0.1 port={port} user=repl password='{PASSWORD}'"
                                  f" application_name={standby.name}")

    def start():
        return receivers.pgweir(archive, primary, *options)

    return primary, standby, receiver, start


def test_clients_are_told_why_the_receiver_has_ended(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    create_slot(primary)
    rules, port = place / "relay_hba.conf", free_port()
    rules.write_text(TRUST)
    receiver = receivers.pgweir(archive, primary, "--slot", "archive", "--serve", port, "--serve-hba", rules)
    begun(archive, primary)
    receiver.wait_log(f"listening on 127.0.0.1:{port}")
    client = Client(port)
    position = told(client.query("IDENTIFY_SYSTEM"))[1][1][2]
    client.query(f"START_REPLICATION {position}", until=b"W")
    primary.stop()
    shutil.rmtree(primary.data / "pg_replslot" / "archive")
    primary.start()
    assert receiver.wait_exit() == 4, receiver.said()
    hint = next(line for line in receiver.said().splitlines()
                if f'"pgweir serve -D {archive.path}" can serve the WAL' in line)
    sentences = hint.partition("hint: ")[2].split(". ")
    assert len(sentences) > 2 and len(sentences) == len(set(sentences)), hint
    error = fields(client.until(b"E")[-1][1])
    assert error["S"] == "FATAL" and error["C"] == "57P03", error
    assert error["M"] == "the receiver of this relay has ended with status 4"
    assert "archive" in error["D"], error


def test_a_receiver_serves_what_it_makes_durable(receiving):
    primary, standby, receiver, start = receiving
    standby.start()
    for _ in range(3):
        standby.caught_up_with(primary.write_wal(0.7))
    # The primary is gone, and nobody is at hand but the archive: old WAL, new sessions, a restart of the relay.
    end = primary.flushed()
    standby.caught_up_with(end)
    primary.kill9()
    standby.stop()
    standby.start()
    wait_for(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", "the standby to stream")
    receiver.stop()
    start().wait_log(rf'client "{standby.name}".*: streaming on timeline 1')
    assert standby.flushed() >= end


# `scripts/test long` has a hundred.
KILLS = int(os.environ.get("PGWEIR_KILLS", "10"))


def test_a_relay_that_is_killed_again_and_again_sends_nothing_wrong(receiving):
    primary, standby, receiver, start = receiving
    primary.pgbench_init()
    standby.start()
    load = primary.pgbench(clients=2, seconds=3600, rate=100)
    for _ in range(KILLS):
        receiver.wait_log(rf'client "{standby.name}".*: (catchup|streaming) on timeline 1')
        before = standby.flushed()
        wait_for(lambda: standby.flushed() > before, "WAL to come")
        receiver.kill9()
        assert "damaged" not in receiver.said() and "not in the archive" not in receiver.said()
        receiver = start()
    load.kill()
    load.wait()
    end = primary.write_wal(0.1)
    standby.caught_up_with(end)
    wait_for(lambda: standby.sql("SELECT pg_last_wal_replay_lsn() >= '%s'" % wal.lsn_text(end)) == "t", "the replay")
    rows = "SELECT sum(abalance), count(*) FROM pgbench_accounts"
    assert standby.sql(rows) == primary.sql(rows)
    # (That a record of length 0 is "invalid" is how a standby says that the WAL ends there.)
    bad = [line for line in standby.log.read_text().split("\n")
           if "PANIC" in line or "checksum" in line or "FATAL" in line and not re.search(
               r"could not (receive|connect|send)|terminating walreceiver", line)]
    assert not bad


def test_options_that_go_with_serving(place):
    result = pgweir("receive", "-D", place, "-d", "host=127.0.0.1", "--serve-hba", "/none")
    assert result.returncode == 2 and "option --serve-hba requires --serve or --serve-socket" in result.stderr


def test_the_start_says_by_how_much_clients_lag(place, receivers):
    """Whether its server can be reached or not."""
    for number, (flush, says) in enumerate((("200ms", r"with --flush 200 ?ms, clients of the relay lag by up to that time"),
                                            ("segment", "with --flush segment, clients of the relay lag by up to a segment"),
                                            ("continuous", None))):
        directory = place / f"archive{number}"
        directory.mkdir(mode=0o700)
        receiver = receivers.start([BINARY, "receive", "-D", directory, "-d", f"host=127.0.0.1 port={free_port()}",
                                    "--serve", free_port(), "--flush", flush])
        receiver.wait_log("trying again in")
        assert bool(re.search(says or "lag by", receiver.said())) == bool(says), receiver.said()
        receiver.stop()


def test_the_time_of_day_may_jump(servers, receivers, new_archive, place):
    """By years, in both directions: lags, timeouts and keepalives go by another clock."""
    primary = servers.primary()
    archive = new_archive(primary)
    control = place / "clock"
    port, rules = free_port(), place / "rules"
    rules.write_text(TRUST)
    receiver = receivers.pgweir(archive, primary, "--serve", port, "--serve-hba", rules, "--flush", "50ms",
                                env={"LD_PRELOAD": str(preload(place, "jumping_clock.c")), "PGWEIR_TEST_CLOCK": str(control)})
    receiver.wait_log(f"listening on 127.0.0.1:{port}")
    standby = servers.standby(primary, start=False)
    standby.conf(primary_conninfo=f"host=127.0.0.1 port={port} user=repl application_name=below")
    standby.start()
    standby.caught_up_with(primary.write_wal(0.1))
    raw = Client(port, application_name="raw")
    begin = primary.flushed() // primary.segment_size * primary.segment_size
    raw.query(f"START_REPLICATION {wal.lsn_text(begin)} TIMELINE 1", until=b"W")

    def connections():
        return (primary.walsenders()[0]["pid"], standby.sql("SELECT pid FROM pg_stat_wal_receiver"))

    def clients():
        found = status_of_receiver(archive)["clients"]
        return {client["application_name"]: client for client in found}

    before = connections()
    year = 365 * 86400
    for jump in (2 * year, -3 * year, 0):
        (place / "clock.new").write_text(str(jump))
        (place / "clock.new").rename(control)
        standby.caught_up_with(primary.write_wal(0.1))
        # A question is answered, with the time of day that there is now.
        raw.status(primary.flushed(), reply=True)
        times = (int.from_bytes(body[9:17], "big", signed=True) / 1e6 + 946684800
                 for kind, body in iter(raw.message, None) if kind == b"d" and body[:1] == b"k")
        assert next(sent for sent in times if abs(sent - time.time() - jump) < year / 2)

        def lag():
            standby.caught_up_with(primary.write_wal(0.02))
            raw.status(0)  # as somebody who is there
            return clients()["below"]["flush_lag_ms"]

        assert 0 <= wait_for(lambda: lag() or None, "its lag to be known") < 3_600_000
        assert clients()["raw"]["state"] in ("catchup", "streaming")
    assert connections() == before
    assert " disconnected: " not in receiver.said()
