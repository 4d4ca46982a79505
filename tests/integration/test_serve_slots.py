"""Replication slots of pgweir serve: as a walsender's, durable, and heeded by prune."""

import json
import os
import re

import pytest

from support import wal
from support.process import run, server_user, wait_for
from support.receiver import BINARY, pgweir, stock_command
from support.relay import Client, Relay, fields, make_user, told
from test_serve import TRUST, filled, receive_stock, relay, same_files  # noqa: F401 (fixtures)


def slots_of(archive):
    """{name: …} as `pgweir slot list -D --json` tells them."""
    result = pgweir("slot", "list", "-D", archive.path, "--json")
    assert result.returncode == 0, result.stderr
    return {slot["name"]: slot for slot in json.loads(result.stdout)}


def prune(archive, keep_from, *arguments):
    result = pgweir("prune", "-D", archive.path, "--keep-from", keep_from, *arguments)
    assert result.returncode == 0, result.stderr
    return result


def segnos(archive):
    return sorted(segno for _, segno in archive.finished())


def start_of(archive, segno):
    return wal.lsn_text(segno * archive.segment_size)


def row(heard):
    return told(heard)[1][1]


def code(heard):
    return fields(next(body for kind, body in heard if kind == b"E"))["C"]


# Of which client, and what; positions and process numbers are each server's own.
DIALOGUE = [
    (0, "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL)"), (0, "CREATE_REPLICATION_SLOT s PHYSICAL"),
    (0, "READ_REPLICATION_SLOT s"), (1, "READ_REPLICATION_SLOT s"),
    (0, "CREATE_REPLICATION_SLOT bare PHYSICAL"), (0, "READ_REPLICATION_SLOT bare"),
    (0, "CREATE_REPLICATION_SLOT t TEMPORARY PHYSICAL RESERVE_WAL"), (1, "READ_REPLICATION_SLOT t"),
    (1, "DROP_REPLICATION_SLOT t"), (1, "START_REPLICATION SLOT t 0/1000000"), (1, "READ_REPLICATION_SLOT t"),
    (0, "READ_REPLICATION_SLOT t"), (0, "SELECT 1"), (0, "READ_REPLICATION_SLOT t"),
    (0, "CREATE_REPLICATION_SLOT t2 TEMPORARY PHYSICAL"), (0, "DROP_REPLICATION_SLOT t2"),
    (0, "CREATE_REPLICATION_SLOT x PHYSICAL (RESERVE_WAL false)"), (0, "READ_REPLICATION_SLOT x"),
    (0, "CREATE_REPLICATION_SLOT y PHYSICAL (RESERVE_WAL, RESERVE_WAL)"),
    (0, "CREATE_REPLICATION_SLOT y PHYSICAL (RESERVE_WAL 'x')"), (0, "CREATE_REPLICATION_SLOT y PHYSICAL (RESERVE_WAL 1)"),
    (0, "CREATE_REPLICATION_SLOT z PHYSICAL (TWO_PHASE)"), (0, "CREATE_REPLICATION_SLOT z PHYSICAL (nothing 'x')"),
    (0, "CREATE_REPLICATION_SLOT " + "n" * 70 + " PHYSICAL"), (0, "READ_REPLICATION_SLOT " + "n" * 63),
    (0, "CREATE_REPLICATION_SLOT \"a b\" TEMPORARY PHYSICAL"), (0, "CREATE_REPLICATION_SLOT S PHYSICAL"),
    (0, "START_REPLICATION SLOT s 0/1000000 TIMELINE 9"), (1, "DROP_REPLICATION_SLOT s WAIT"),
    (0, "DROP_REPLICATION_SLOT s"), (0, "START_REPLICATION SLOT s 0/1000000"), (0, "READ_REPLICATION_SLOT s"),
    # Names that no slot can have.
    *[(0, command) for name in ("", "a b", "\u00e9", "S", "s-1") for command in (
        f'CREATE_REPLICATION_SLOT "{name}" PHYSICAL', f'START_REPLICATION SLOT "{name}" 0/1000000 TIMELINE 1',
        f'START_REPLICATION SLOT "{name}" FFFFFFFF/FFFFFFFF', f'READ_REPLICATION_SLOT "{name}"',
        f'DROP_REPLICATION_SLOT "{name}"')],
    (0, "CREATE_REPLICATION_SLOT \"" + "N" * 70 + "\" PHYSICAL"), (0, "START_REPLICATION SLOT " + "m" * 70 + " 0/1000000"),
]


def plain(heard):
    """What was told, without positions and process numbers. (That a name was cut is a notice, which only
    programs like psql show.)"""
    text = repr([each for each in told(heard) if each[0] != "N"])
    return re.sub(r"'[0-9A-F]+/[0-9A-F]{5,}'", "LSN", re.sub(r"PID \d+", "PID", text))


def test_answers_are_those_of_a_walsender(servers, filled, relay):  # noqa: F811
    primary, archive, _ = filled
    standby = servers.standby(primary)
    standby.caught_up_with(primary.flushed())
    serving = relay(archive, None, TRUST)
    theirs = [Client(standby.port), Client(standby.port)]
    ours = [Client(serving.port), Client(serving.port)]
    for who, command in DIALOGUE:
        expected, got = plain(theirs[who].query(command)), plain(ours[who].query(command))
        assert got == expected, command
    # A slot is its user's for as long as that streams, follows its flush, and goes on its own with the session.
    for clients in (theirs, ours):
        clients[0].query("CREATE_REPLICATION_SLOT used PHYSICAL (RESERVE_WAL)")
        start = row(clients[0].query("READ_REPLICATION_SLOT used"))[1]
        start = wal.lsn(start) // archive.segment_size * archive.segment_size
        assert clients[0].query(f"START_REPLICATION SLOT used {wal.lsn_text(start)} TIMELINE 1", b"WE")[-1][0] == b"W"
        assert code(clients[1].query("DROP_REPLICATION_SLOT used")) == "55006"
        assert code(clients[1].query("START_REPLICATION SLOT used 0/1000000")) == "55006"
        clients[0].status(start + 64)
        wait_for(lambda: row(clients[1].query("READ_REPLICATION_SLOT used"))[1] == wal.lsn_text(start + 64),
                 "the slot to follow")
        clients[0].status(0)
        clients[0].send(b"c")
        assert [kind for kind, _ in clients[0].until(b"Z") if kind != b"d"] == [b"c", b"C", b"C", b"Z"]
        assert row(clients[1].query("READ_REPLICATION_SLOT used"))[1] == wal.lsn_text(start + 64)
        clients[0].query("CREATE_REPLICATION_SLOT mine TEMPORARY PHYSICAL")
        clients[0].close()
        wait_for(lambda: row(clients[1].query("READ_REPLICATION_SLOT mine"))[0] is None, "the temporary slot to be gone")
        assert told(clients[1].query("DROP_REPLICATION_SLOT used"))[0] == ("done", "DROP_REPLICATION_SLOT")


def test_who_waits_to_drop_a_slot_gets_it(filled, relay):  # noqa: F811
    _, archive, _ = filled
    serving = relay(archive, None, TRUST)
    user, waiting = Client(serving.port), Client(serving.port)
    user.query("CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL")
    waiting.send(b"Q", b"DROP_REPLICATION_SLOT s WAIT\0")
    assert told(user.query("READ_REPLICATION_SLOT s"))[1][1][0] == "physical"
    user.close()
    # It was temporary: with its session it is gone by itself.
    assert code(waiting.until(b"Z")) == "42704"


def test_pg_receivewal_makes_and_uses_a_slot_that_survives_a_kill(place, filled, relay):  # noqa: F811
    _, archive, user = filled
    serving = relay(archive, user)
    directory = place / "own"
    directory.mkdir()
    first, path = next(iter(archive.finished().items()))
    (directory / wal.segment_name(*first, archive.segment_size)).write_bytes(archive.content(path))
    made = run([*stock_command(directory, serving.conninfo(), "--create-slot", "-S", "receiver")], check=False)
    assert made.returncode == 0, made.stderr
    serving.process.kill9()
    assert slots_of(archive)["receiver"]["active"] is False
    assert slots_of(archive)["receiver"]["restart_lsn"] is None  # the program reserves nothing
    serving.start()
    again = run([*stock_command(directory, serving.conninfo(), "--create-slot", "-S", "receiver")], check=False)
    assert again.returncode != 0 and 'replication slot "receiver" already exists' in again.stderr
    upto = max(segno for _, segno in archive.partials()) * archive.segment_size + 8
    done = run([*stock_command(directory, serving.conninfo(), "-S", "receiver", "-E", wal.lsn_text(upto), "-n",
                               "--synchronous")], check=False)
    assert done.returncode == 0, done.stderr
    assert same_files(directory, archive) >= 2
    # What its client had on disk is there after a kill, too: the slot was free, so it was written.
    # (At the start the program says how far it is; then, with -E, nothing more before it ends.)
    received = (first[1] + 1) * archive.segment_size
    wait_for(lambda: wal.lsn(json.loads((archive.path / ".pgweir-slots").read_text())["slots"][0]["restart_lsn"])
             >= received, "the slot to be written")
    serving.process.kill9()
    assert wal.lsn(slots_of(archive)["receiver"]["restart_lsn"]) >= received
    serving.start()
    dropped = run([*stock_command(directory, serving.conninfo(), "--drop-slot", "-S", "receiver")], check=False)
    assert dropped.returncode == 0, dropped.stderr
    assert slots_of(archive) == {}


def test_a_standby_keeps_what_it_needs_from_being_pruned(servers, receivers, new_archive, relay):  # noqa: F811
    primary = servers.primary()
    user = make_user(primary)
    archive = new_archive(primary)
    receivers.pgweir(archive, primary)
    standby = servers.standby(primary, start=False)
    serving = relay(archive, user)
    made = pgweir("slot", "create", "-S", "standby", "-d", serving.conninfo())
    assert made.returncode == 0, made.stderr
    standby.conf(primary_conninfo=serving.conninfo(application_name=standby.name), primary_slot_name="standby")
    standby.start()
    end = primary.write_wal(2.5)
    archive.wait_covers(primary, 1, end)
    standby.caught_up_with(end)
    wait_for(lambda: wal.lsn(slots_of(archive)["standby"]["restart_lsn"]) >= end, "the slot to follow")
    assert slots_of(archive)["standby"]["active"] is True
    assert pgweir("slot", "drop", "-D", archive.path, "-S", "standby").returncode == 3

    standby.stop()
    wait_for(lambda: not slots_of(archive)["standby"]["active"], "the standby to be gone")
    needed = wal.lsn(slots_of(archive)["standby"]["restart_lsn"]) // archive.segment_size
    end = primary.write_wal(3)
    switched = primary.switch_wal() // archive.segment_size
    # What is received and flushed may still have its name as a partial segment.
    wait_for(lambda: segnos(archive)[-1] == switched - 1, "the last segment to be finished")
    newest = segnos(archive)[-1]
    assert newest > needed + 1

    # The relay runs, or does not: what the standby needs stays, and what holds it back is told.
    for stopped in (False, True):
        if stopped:
            serving.process.kill9()
        kept = prune(archive, start_of(archive, newest))
        assert re.search(r'the replication slot "standby" \(restart_lsn .*\) holds back \d+ files', kept.stderr)
        assert segnos(archive)[0] == needed
        wait_for(lambda: slots_of(archive)["standby"]["retained_bytes"] > 2 * archive.segment_size,
                 "the relay to know of the new WAL")

    link = archive.path.parent / "pg_archivecleanup"
    link.symlink_to(BINARY)
    name = wal.segment_name(1, newest, archive.segment_size)
    cleaned = run([link, archive.path, name], check=False)
    assert cleaned.returncode == 0 and 'replication slot "standby" holds back' in cleaned.stderr
    assert segnos(archive)[0] == needed

    serving.start()
    standby.start()
    standby.caught_up_with(end)
    wait_for(lambda: wal.lsn(slots_of(archive)["standby"]["restart_lsn"]) >= end, "the slot to follow again")
    standby.stop()
    serving.process.stop()
    assert "holds back" not in prune(archive, start_of(archive, newest)).stderr
    assert segnos(archive)[0] == newest

    if os.getuid() == 0:  # root's command leaves the file to the user that serves
        os.chown(archive.path, server_user().pw_uid, server_user().pw_gid)
    dropped = pgweir("slot", "drop", "-D", archive.path, "-S", "standby")
    assert dropped.returncode == 0, dropped.stderr
    assert (archive.path / ".pgweir-slots").stat().st_uid == archive.path.stat().st_uid
    assert slots_of(archive) == {}
    assert pgweir("slot", "drop", "-D", archive.path, "-S", "standby").returncode == 4
    assert pgweir("slot", "drop", "-D", archive.path, "-S", "standby", "--if-exists").returncode == 0


def test_prune_refuses_where_the_slots_cannot_be_read(filled, relay):  # noqa: F811
    _, archive, _ = filled
    (archive.path / ".pgweir-slots").write_text("nonsense")
    before = segnos(archive)
    result = pgweir("prune", "-D", archive.path, "--keep-from", start_of(archive, before[-1]))
    assert result.returncode == 4 and "the file of the relay's slots cannot be read" in result.stderr
    assert segnos(archive) == before
    serving = relay(archive, None, TRUST)
    serving.process.wait_log("replication slots are not available: the file of the relay's slots cannot be read")
    assert code(Client(serving.port).query("CREATE_REPLICATION_SLOT s PHYSICAL")) == "57P03"


def test_a_slot_too_far_behind_is_lost(filled, relay):  # noqa: F811
    _, archive, _ = filled
    serving = relay(archive, None, TRUST, options=["--serve-max-slot-wal-keep-size", f"{2 * archive.segment_size >> 20}MB"])
    user, other = Client(serving.port), Client(serving.port)
    first = start_of(archive, segnos(archive)[0])
    user.query("CREATE_REPLICATION_SLOT old PHYSICAL")
    assert user.query(f"START_REPLICATION SLOT old {first} TIMELINE 1", b"WE")[-1][0] == b"W"
    user.status(wal.lsn(first))
    # Who uses it is left, as a walsender is.
    heard = user.until(b"E")[-1][1]
    assert (fields(heard)["S"], fields(heard)["C"]) == ("FATAL", "57P01")
    serving.process.wait_log('replication slot "old" is lost')
    wait_for(lambda: code(other.query(f"START_REPLICATION SLOT old {first}")) == "55000", "the slot to be free")
    lost = slots_of(archive)["old"]
    assert (lost["wal_status"], lost["restart_lsn"]) == ("lost", None)
    newest = segnos(archive)[-1]
    assert "holds back" not in prune(archive, start_of(archive, newest)).stderr
    assert told(other.query("DROP_REPLICATION_SLOT old"))[0] == ("done", "DROP_REPLICATION_SLOT")


def test_a_slot_is_made_for_who_comes_with_a_fitting_name(filled, relay):  # noqa: F811
    _, archive, _ = filled
    serving = relay(archive, None, TRUST, options=["--serve-auto-slot", "standby_*"])
    client = Client(serving.port)
    start = start_of(archive, segnos(archive)[-1])
    assert code(client.query(f"START_REPLICATION SLOT other {start}")) == "42704"
    assert client.query(f"START_REPLICATION SLOT standby_1 {start}", b"WE")[-1][0] == b"W"
    assert slots_of(archive)["standby_1"]["restart_lsn"] == start
    assert json.loads((archive.path / ".pgweir-slots").read_text())["slots"][0]["name"] == "standby_1"


def test_no_slot_is_made_of_a_wrong_name_nor_for_a_start_that_fails(filled, relay):  # noqa: F811
    _, archive, _ = filled
    serving = relay(archive, None, TRUST, options=["--serve-auto-slot", "*"])
    client = Client(serving.port)
    start = start_of(archive, segnos(archive)[-1])
    for name in (b"", b"a b", b"a\xff b", b"S", b"a\nb"):
        client.send(b"Q", b'START_REPLICATION SLOT "' + name + f'" {start}\0'.encode())
        heard = client.until(b"WZ")
        assert heard[0][0] == b"E" and b"C42704\0" in heard[0][1], name
        assert b'Mreplication slot "' + name + b'" does not exist\0' in heard[0][1]
    for where, told_ in ((f"{start} TIMELINE 9", "is not in this server's history"),
                         ("FFFFFFFF/FFFFFFFF", "is ahead of the WAL flush position")):
        heard = client.query(f"START_REPLICATION SLOT s {where}")
        assert told_ in fields(next(body for kind, body in heard if kind == b"E"))["M"]
    assert slots_of(archive) == {} and "created replication slot" not in serving.process.said()
    assert not (archive.path / ".pgweir-slots").exists()
    assert client.query(f"START_REPLICATION SLOT s {start}", b"WE")[-1][0] == b"W"
    assert list(slots_of(archive)) == ["s"]


def test_slots_of_names_that_an_earlier_version_took_are_shown_and_dropped(filled, relay):  # noqa: F811
    _, archive, _ = filled
    names = ["a \ufffd b", "S", "a\u00e9"]
    start = start_of(archive, segnos(archive)[0])
    serving = relay(archive, None, TRUST, options=["--serve-auto-slot", "*"])
    client = Client(serving.port)
    for number in range(len(names)):
        assert told(client.query(f"CREATE_REPLICATION_SLOT s{number} PHYSICAL"))[-2][0] == "done"
    serving.process.stop()
    path = archive.path / ".pgweir-slots"
    kept = json.loads(path.read_text())
    for slot, name in zip(kept["slots"], names):
        slot.update(name=name, restart_lsn=start)
    path.write_text(json.dumps(kept))
    client = Client(serving.start().port)
    assert sorted(slots_of(archive)) == sorted(names)
    for name in names:
        assert row(client.query(f'READ_REPLICATION_SLOT "{name}"'))[0] == "physical"
    assert client.query(f'START_REPLICATION SLOT "S" {start}', b"WE")[-1][0] == b"W"
    client.close()
    wait_for(lambda: not slots_of(archive)["S"]["active"], "the client to be gone")
    assert "holds back" in prune(archive, start_of(archive, segnos(archive)[-1])).stderr
    connection = f"host=127.0.0.1 port={serving.port} user=repl"
    for name, where in zip(names, (["-D", archive.path], ["-d", connection], ["-D", archive.path])):
        dropped = pgweir("slot", "drop", *where, "-S", name)
        assert dropped.returncode == 0, dropped.stderr
    assert slots_of(archive) == {}


def test_a_second_server_has_no_slots_until_the_first_has_gone(place, filled, relay):  # noqa: F811
    _, archive, _ = filled
    first = relay(archive, None, TRUST)
    assert told(Client(first.port).query("CREATE_REPLICATION_SLOT s PHYSICAL"))[-2][0] == "done"
    (place / "second").mkdir()
    second = Relay(place / "second", first._receivers, archive, None, TRUST).start()
    second.process.wait_log("replication slots are not available: another process manages the slots of this directory")
    client = Client(second.port)
    refused = client.query("CREATE_REPLICATION_SLOT t PHYSICAL")
    assert code(refused) == "57P03" and "another process" in fields(refused[0][1])["D"]
    # Not that there is none of that name: a receiver would ask for a person.
    for asked in ("READ_REPLICATION_SLOT s", "DROP_REPLICATION_SLOT s", "START_REPLICATION SLOT s 0/1000000",
                  "SHOW pgweir.replication_slots"):
        assert code(client.query(asked, b"Z")) == "57P03", asked
    first.process.stop()
    second.process.wait_log("this process now manages the archive's replication slots")
    assert row(client.query("READ_REPLICATION_SLOT s"))[0] == "physical"


def test_a_failed_sync_gives_the_slots_up_and_the_file_counts(place, filled, receivers, sync_fault):  # noqa: F811
    _, archive, _ = filled
    serving = Relay(place, receivers, archive, None, TRUST, env=sync_fault.env).start()
    client = Client(serving.port)
    assert told(client.query("CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL)"))[-2][0] == "done"
    before = slots_of(archive)["s"]
    sync_fault.set("fail 0")
    # (Or the thread that writes what was let go has met it first.)
    assert code(client.query("CREATE_REPLICATION_SLOT t PHYSICAL")) in ("58030", "57P03")
    serving.process.wait_log("no slot can be created or dropped until this process is restarted")
    sync_fault.set(None)
    assert code(client.query("CREATE_REPLICATION_SLOT t PHYSICAL")) == "57P03"
    # Nobody says that there are none: what was in the file still holds back, and its client streams on.
    assert slots_of(archive)["s"]["restart_lsn"] == before["restart_lsn"]
    listed = pgweir("slot", "list", "-d", f"host=127.0.0.1 port={serving.port} user=repl")
    assert listed.returncode == 3 and "replication slots are not available" in listed.stderr, listed.stderr
    heard = client.query(f"START_REPLICATION SLOT s {before['restart_lsn']}", b"WE")
    assert heard[-1][0] == b"W"
    serving.process.stop()
    serving.env = None
    client = Client(serving.start().port)
    assert row(client.query("READ_REPLICATION_SLOT s"))[0] == "physical"
    assert row(client.query("READ_REPLICATION_SLOT t"))[0] is None


@pytest.mark.parametrize("wrong", [["create", "-S", "s"], ["list", "-S", "s"], ["drop"], ["list", "-h", "localhost"]])
def test_wrong_options_of_slot_are_told(place, wrong):
    assert pgweir("slot", *wrong, "-D", place).returncode == 2
