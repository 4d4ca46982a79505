"""Several hosts in the connection string: who is taken, who is not, and what is said of it
(docs/ha.md)."""

import contextlib
import os
import signal
import socket
import threading

import pytest

from support import wal
from support.process import freeze, wait_for
from support.receiver import pgweir
from support.scenario import create_slot, gone, promote_again, reported, streaming

pytestmark = pytest.mark.in_memory


def hosts(*servers, **options):
    """A connection string that names them in this order; a number is a port."""
    ports = [str(getattr(each, "port", each)) for each in servers]
    words = {"host": ",".join(["127.0.0.1"] * len(ports)), "port": ",".join(ports),
             "user": "postgres", **options}
    return " ".join(f"{key}={value}" for key, value in words.items())


def name(server):
    return f"127.0.0.1:{getattr(server, 'port', server)}"


def end_walsender(server):
    """Of the receiver, which then connects anew."""
    row = streaming(server)
    server.sql(f"SELECT pg_terminate_backend({row['pid']})")


def keeps(server):
    """No checkpoint of its own takes WAL from a receiver without a slot."""
    server.conf(wal_keep_size="256MB")
    server.reload()
    return server


@pytest.fixture
def three(servers):
    """A primary and two standbys, all of which have the same."""
    primary = servers.primary(wal_keep_size="256MB")
    standbys = [servers.standby(primary), servers.standby(primary)]
    end = primary.write_wal(1)
    for standby in standbys:
        standby.replayed(end)
    return primary, *standbys


@pytest.mark.parametrize("winner", [1, 2])
def test_either_standby_may_be_promoted(three, receivers, new_archive, winner):
    """Then the old primary comes back as if nothing had been, with WAL of its own, and is the first
    in the string: a newer timeline wins."""
    primary, *standbys = three
    new, other = standbys[winner - 1], standbys[2 - winner]
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(*three))
    streaming(primary)
    end = primary.write_wal(2)
    reported(primary, end)
    for standby in standbys:
        standby.caught_up_with(end)
    primary.stop("immediate")
    new.promote()
    other.follow(new)
    other.reload()
    end = new.write_wal(1)
    archive.wait_covers(new, 2, end)
    primary.start()
    primary.write_wal(2)
    for server in standbys:
        if server.walsenders():
            end_walsender(server)
    receiver.wait_log(f"{name(primary)} is not chosen: .*")
    end = new.write_wal(1)
    archive.wait_covers(new, 2, end)
    gone(primary)  # the old primary is nobody's any more, when the survey's connection to it has ended
    receiver.stop()
    archive.assert_same_wal(new, minimum=3)


@pytest.mark.parametrize("major", [13, 14, 16, 17, 18, 19])
def test_a_failover_in_every_version(servers, receivers, new_archive, major):
    """(15 has the test above.) 13 does not say whether it is a standby; it is asked."""
    primary = servers.primary(major=major, wal_keep_size="256MB")
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(primary, standby), "--prefer", "standby",
                                "--prefer-after", "1s")
    streaming(standby)
    receiver.wait_log(f"{name(standby)} is chosen: standby, timeline 1")
    end = primary.write_wal(1)
    reported(standby, end)
    primary.stop("immediate")
    standby.promote()
    archive.wait_covers(standby, 2, standby.write_wal(1))
    receiver.stop()
    archive.assert_same_wal(primary, standby)


def split(three, same_number):
    """Both standbys are promoted, at the same place."""
    primary, one, other = three
    primary.stop("immediate")
    one.promote()
    other.promote()
    if not same_number:
        promote_again(other)
    for server in (one, other):
        server.write_wal(1)


@pytest.mark.parametrize("same_number", [True, False])
def test_a_split_brain_is_for_a_person(three, receivers, new_archive, same_number):
    """Nobody can know which one counts; each of them alone can be followed."""
    primary, one, other = three
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    for standby in (one, other):
        standby.replayed(end)
    receiver.stop()
    split(three, same_number)
    before = set(archive.names())
    receiver = receivers.pgweir(archive, hosts(one, other))
    assert receiver.wait_exit() == 4, receiver.said()
    said = receiver.said()
    assert "split brain" in said and name(one) in said and name(other) in said, said
    at = wal.lsn_text(one.timeline_end(1))
    assert f"left timeline 1 at {at}" in said, said
    assert "has all WAL of the archive" in said, said
    assert set(archive.names()) - before == {".pgweir-last-word"}
    receiver = receivers.pgweir(archive, other)
    timeline = 2 if same_number else 3
    archive.wait_covers(other, timeline, other.write_wal(1))
    receiver.stop()
    # Now the archive knows its way, whatever comes first.
    receiver = receivers.pgweir(archive, hosts(one, other))
    streaming(other)
    end = other.write_wal(1)
    archive.wait_covers(other, timeline, end)
    assert f"{name(one)} is not chosen: " in receiver.said(), receiver.said()
    receiver.stop()
    archive.assert_same_wal(other, minimum=2)


def test_a_split_brain_does_not_end_a_stream(three, receivers, new_archive):
    """It stays with the one that it streams from, also over a new connection right behind the
    switch, where nothing of the new timeline is finished yet."""
    primary, one, other = three
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(other, one), "--prefer", "standby")
    streaming(other)
    end = primary.write_wal(1)
    reported(other, end)
    one.replayed(end)
    primary.stop("immediate")
    other.promote()
    one.promote()
    reported(other, other.flushed())
    archive.wait_covers(other, 2, other.flushed())
    for server in (one, other):
        server.sql("CREATE TABLE way ()")
    end_walsender(other)
    receiver.wait_log(f"{name(one)} is not chosen: .*(split brain|differs)")
    end = other.write_wal(2)
    archive.wait_covers(other, 2, end)
    receiver.stop()
    archive.assert_same_wal(other, minimum=3)


def test_the_stream_is_moved_to_the_preferred_role_and_back(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="256MB")
    create_slot(primary)
    standby = servers.standby(primary)
    create_slot(standby)
    archive = new_archive(primary)
    standby.stop()
    receiver = receivers.pgweir(archive, hosts(primary, standby), "-S", "archive", "--prefer",
                                "standby", "--prefer-after", "1s")
    streaming(primary)
    load = primary.spawn_sql("SELECT pg_logical_emit_message(true, '', repeat('x', 5000)),"
                             " pg_sleep(0.01) FROM generate_series(1, 100000)")
    standby.start()
    streaming(standby)
    receiver.wait_log(f"moving to {name(standby)}, which has the role that is preferred")
    load.kill()
    load.wait()
    end = primary.write_wal(1)
    reported(standby, end)
    standby.stop()
    streaming(primary)
    reported(primary, primary.write_wal(1))
    standby.start()
    streaming(standby)
    end = primary.write_wal(1)
    reported(standby, end)
    report = receiver.said()
    receiver.stop()
    assert "differs" not in report and "error" not in report.lower().replace("no error", ""), report
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, standby, minimum=3)


def test_a_primary_that_is_preferred_is_gone_back_to(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="256MB")
    standby = servers.standby(primary)
    archive = new_archive(primary)
    primary.stop()
    receiver = receivers.pgweir(archive, hosts(standby, primary), "--prefer", "primary",
                                "--prefer-after", "1s")
    streaming(standby)
    primary.start()
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    archive.assert_same_wal(primary)


@pytest.mark.parametrize("within_a_record", [False, True])
def test_a_standby_that_receives_no_wal_is_left(servers, receivers, new_archive, within_a_record):
    """It answers, and sends nothing, since it gets nothing: the primary has the WAL."""
    primary = servers.primary(wal_keep_size="256MB")
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(standby, primary), "--prefer", "standby", "--prefer-after", "1s")
    streaming(standby)
    begin = primary.write_wal(1.5)
    reported(standby, begin)
    if within_a_record:
        load = primary.spawn_sql("SELECT pg_logical_emit_message(true, '', repeat('x', 24000000))")
        wait_for(lambda: wal.lsn(standby.sql("SELECT pg_last_wal_receive_lsn()")) > begin + (2 << 20), "a part of the record", interval=0.001)
    standby.conf(primary_conninfo="")
    standby.reload()
    wait_for(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the walreceiver to end")
    if within_a_record:
        load.wait()
    end = primary.write_wal(1)
    receiver.wait_log("the server has stalled: another host has more WAL")
    streaming(primary)
    reported(primary, end)
    # It is gone back to when it has what the primary has.
    standby.follow(primary)
    standby.reload()
    receiver.wait_log(f"moving to {name(standby)}, which has the role that is preferred")
    streaming(standby)
    end = primary.write_wal(1)
    reported(standby, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, standby, minimum=2)


def test_an_idle_standby_is_not_left_for_the_other_side_of_a_split_brain(servers, receivers, new_archive):
    """Its primary lives, and has nothing to send: another standby is promoted."""
    primary = servers.primary(wal_keep_size="256MB")
    standby, other = servers.standby(primary), servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(standby, primary, other), "--prefer", "standby", "--prefer-after", "1s")
    streaming(standby)
    end = primary.write_wal(1)
    reported(standby, end)
    other.caught_up_with(end)
    other.promote()
    other.write_wal(1)
    asked = other.last_log(10000).count("IDENTIFY_SYSTEM")
    wait_for(lambda: other.last_log(10000).count("IDENTIFY_SYSTEM") >= asked + 4, "the new primary to be queried")
    end = primary.write_wal(1)
    reported(standby, end)
    assert "stalled" not in receiver.said()
    receiver.stop()
    archive.assert_covers(primary, 1, end)


def test_a_standby_that_has_stalled_is_kept_with_a_warning_if_there_is_no_other(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="256MB")
    standby = servers.standby(primary)
    create_slot(standby)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(standby, primary), "-S", "archive", "--prefer", "standby", "--prefer-after", "1s")
    streaming(standby)
    reported(standby, primary.write_wal(1))
    standby.conf(primary_conninfo="")
    standby.reload()
    wait_for(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the walreceiver to end")
    primary.write_wal(1)
    receiver.wait_log("but cannot be used: it does not have the slot")
    streaming(standby)
    create_slot(primary)
    end = primary.write_wal(1)
    receiver.wait_log("the server has stalled: another host has more WAL")
    reported(primary, end)
    receiver.stop()


def test_an_idle_standby_is_not_left(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="256MB")
    standby, other = servers.standby(primary), servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(standby, other, primary), "--prefer", "standby", "--prefer-after", "1s")
    pid = streaming(standby)["pid"]
    end = primary.write_wal(1)
    reported(standby, end)
    # The others are queried now and then while nothing arrives.
    wait_for(lambda: primary.last_log(10000).count("IDENTIFY_SYSTEM") >= 4, "the primary to be queried")
    assert streaming(standby)["pid"] == pid
    assert "stalled" not in receiver.said()
    receiver.stop()


def test_a_primary_that_is_promoted_is_moved_to_at_once(three, receivers, new_archive):
    """It need not have been there for --prefer-after: commits may wait for the archive there."""
    primary, one, other = three
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(primary, one, other), "--prefer", "primary", "--prefer-after", "1h")
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    for standby in (one, other):
        standby.caught_up_with(end)
    primary.stop("immediate")
    streaming(one)
    other.promote()
    receiver.wait_log(f"moving to {name(other)}, which has the role that is preferred")
    archive.wait_covers(other, 2, other.write_wal(1))
    receiver.stop()


def test_a_new_primary_is_followed_while_the_old_one_hangs(three, receivers, new_archive):
    """Nobody waits for --timeout."""
    primary, one, _ = three
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(*three), "--timeout", "1h")
    walsender = int(streaming(primary)["pid"])
    end = primary.write_wal(1)
    reported(primary, end)
    one.caught_up_with(end)
    postmaster = int((primary.data / "postmaster.pid").read_text().split()[0])
    for pid in (postmaster, walsender):
        freeze(pid)
    try:
        one.promote()
        receiver.wait_log("the server does not respond, and another host is the primary on a newer timeline")
        archive.wait_covers(one, 2, one.write_wal(1))
    finally:
        for pid in (postmaster, walsender):
            os.kill(pid, signal.SIGCONT)
    receiver.stop()


def test_an_idle_upstream_is_kept_beside_a_new_primary(three, receivers, new_archive):
    """It is asked for a reply every two seconds. Silence before that says nothing of it."""
    primary, one, _ = three
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(*three))
    walsender = streaming(primary)["pid"]
    primary.hush()

    def replies(count):
        for _ in range(count):
            last = streaming(primary)["reply_time"]
            wait_for(lambda: streaming(primary)["reply_time"] != last, "another reply")

    replies(2)
    one.promote()
    replies(4)
    assert streaming(primary)["pid"] == walsender
    end = primary.write_wal(1)
    reported(primary, end)
    assert "does not respond" not in receiver.said(), receiver.said()


@contextlib.contextmanager
def slow_line(server, rate):
    """A port that leads to `server`, from which so many bytes a second come at most."""
    over = threading.Event()
    kept = []
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(source, target, rate=None):
        try:
            while data := source.recv(rate // 20 if rate else 1 << 16):
                target.sendall(data)
                if rate and over.wait(len(data) / rate):
                    return
        except OSError:
            pass  # one of the two has gone
        finally:
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def accept():
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return  # the end of the test
            beyond = socket.create_connection(("127.0.0.1", server.port))
            kept.extend((client, beyond))
            threading.Thread(target=forward, args=(client, beyond), daemon=True).start()
            threading.Thread(target=forward, args=(beyond, client, rate), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        for each in (listener, *kept):
            each.close()


def test_a_host_over_a_slow_line_has_the_wal_when_it_says_so(servers, receivers, new_archive):
    """What it has sent by then need not come before that counts."""
    primary = keeps(servers.primary())
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, hosts(primary, standby))
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
    standby.stop()
    primary.write_wal(2)
    with slow_line(primary, 200_000) as port:
        receiver = receivers.pgweir(archive, hosts(port, standby))
        receiver.wait_log("streaming timeline 1")
        receiver.stop()
    assert "the WAL that comes next is gone" not in receiver.said(), receiver.said()


@contextlib.contextmanager
def mute_host():
    """Accepts connections and says nothing."""
    kept = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], kept
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in kept:
            each.close()


def test_hosts_of_no_use_are_told_and_left_alone(servers, receivers, new_archive, place):
    """One says nothing, one is of another cluster, one has no walsender to spare. All of them come
    before the right one; the archive begins at it and goes on with it."""
    primary = servers.primary(wal_keep_size="256MB", max_wal_senders=3)
    full = servers.standby(primary, max_wal_senders=3)
    other = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    for i in range(3):
        receivers.stock(new_archive(primary, f"stock{i}"), full)
    wait_for(lambda: len(full.walsenders()) == 3, "no walsender to be free")
    with mute_host() as (mute, _):
        receiver = receivers.pgweir(archive, hosts(mute, other, full, primary))
        streaming(primary)
        for server, reason in ((mute, "no answer in time"), (other, "different clusters"),
                               (full, "max_wal_senders|too many|wal senders")):
            receiver.wait_log(f"{name(server)} is not chosen: .*({reason})")
        end = primary.write_wal(1)
        archive.wait_covers(primary, 1, end)
        shown = pgweir("status", "-D", str(archive.path), "--json").stdout
        assert '"taken"' in shown and name(mute) in shown, shown
        receiver.stop()
    archive.assert_same_wal(primary)


def test_a_gap_is_believed_when_the_silent_ones_were_waited_for(servers, receivers, new_archive):
    """The host that says nothing may be the one that has the WAL."""
    primary = servers.primary(wal_keep_size="0")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
    wanted = primary.wal_path(1, end)

    def removed():
        primary.write_wal(1)
        primary.sql("CHECKPOINT")
        return not wanted.exists()

    wait_for(removed, f"{wanted.name} to be removed")
    with mute_host() as (mute, _):
        receiver = receivers.pgweir(archive, hosts(mute, primary, connect_timeout=2),
                                    "--gap-timeout", "4s")
        receiver.wait_log("is gone from every host that answers; waiting for the other hosts")
        assert receiver.wait_exit() == 4, receiver.said()
    assert "is gone from every host that has answered for 4.0 s" in receiver.said(), receiver.said()
    assert "the upstream no longer has the WAL that comes next" in receiver.said()


def test_wal_that_is_damaged_on_one_host_comes_from_another(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="256MB")
    standby = servers.standby(primary)
    archive = new_archive(standby)
    receiver = receivers.pgweir(archive, hosts(primary, standby))
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    end = primary.write_wal(1)
    damaged = primary.wal_path(1, end)
    end = primary.write_wal(2)
    standby.replayed(end)
    with damaged.open("r+b") as file:
        file.seek(3 * primary.segment_size // 4 + 1000)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    receiver = receivers.pgweir(archive, hosts(primary, standby))
    archive.wait_covers(standby, 1, end)
    receiver.stop()
    said = receiver.said()
    assert said.count("requesting the damaged WAL again") == 2, said
    assert "trying the next host" in said, said
    archive.assert_same_wal(standby, minimum=3)


def test_one_host_is_asked_nothing_more_than_before(servers, receivers, new_archive):
    primary = servers.primary(log_connections="on")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    end_walsender(primary)
    receiver.wait_log("(?s)connected to.*connected to")
    receiver.stop()
    ours = [line for line in primary.log.read_text().splitlines()
            if "replication connection authorized" in line]
    assert len(ours) == 2, ours
    assert "hosts" not in receiver.said(), receiver.said()


@pytest.mark.parametrize("major", [13, 15])
def test_doctor_says_what_a_preference_means(servers, major):
    """(13 does not say its role by itself.)"""
    primary = servers.primary(major=major)
    standby = servers.standby(primary)
    create_slot(primary)

    def doctor(*of, prefer):
        return pgweir("doctor", "-d", hosts(*of), "-S", "archive", "--measure", "0", "--prefer", prefer).stdout

    both = doctor(primary, standby, prefer="primary")
    assert f"[  ok  ] preferred_role: a primary is preferred: {name(primary)}; of the other role: {name(standby)}" in both
    without = doctor(primary, standby, prefer="standby")
    if major >= 15:
        assert f"a standby is preferred, and {name(standby)} has no slot" in without, without
        create_slot(standby)
    assert "[  ok  ] preferred_role: a standby is preferred: " + name(standby) in doctor(primary, standby, prefer="standby")
    standby.stop()
    gone = doctor(primary, standby, prefer="standby")
    assert "[ warn ] preferred_role: a standby is preferred, but no host that answers is one" in gone, gone
    assert f"does not answer: {name(standby)}" in gone, gone
    assert "preferred_role" not in pgweir("doctor", "-d", hosts(primary), "--measure", "0").stdout


def test_a_preference_and_a_filter_exclude_each_other(servers, place):
    (place / "archive").mkdir()
    for arguments, words in (
            (["-d", "host=a,b target_session_attrs=primary", "--prefer", "standby"],
             "--prefer and target_session_attrs=primary exclude each other"),
            (["-d", "host=a,b", "--prefer-after", "5s"], "option --prefer-after requires --prefer primary or --prefer standby"),
            (["-d", "host=a,b", "--prefer", "both"], "--prefer")):
        done = pgweir("receive", "-D", str(place / "archive"), *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
