"""WAL that comes next is gone upstream: never skipped in silence, never asked for in a loop."""

import json
import re

import pytest

from support import wal
from support.line import Line
from support.process import as_server_user, run, wait_for
from support.receiver import pgweir
from support.scenario import create_slot, reported, restart_lsn, status_of_receiver, streaming


@pytest.fixture
def after_removal(servers, receivers, new_archive):
    """A primary that has removed what the archive needs next, and a standby that kept it all."""
    primary = servers.primary(wal_keep_size="0")
    witness = servers.standby(primary, wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    position = primary.write_wal(2)
    reported(primary, position)
    receiver.stop()
    wanted = primary.wal_path(1, position)

    def removed():
        witness.caught_up_with(primary.write_wal(1))
        primary.sql("CHECKPOINT")
        return not wanted.exists()

    wait_for(removed, f"{wanted.name} to be removed")
    return primary, witness, archive, position


def test_it_stops_and_names_the_range_and_the_ways_out(after_removal, receivers):
    primary, _, archive, position = after_removal
    before = archive.names()
    asked_before = asked(primary)
    receiver = receivers.pgweir(archive, primary)
    assert receiver.wait_exit() == 4, receiver.said()
    said = receiver.said()
    begin = position - position % primary.segment_size
    assert wal.lsn_text(begin) in said, f"where the gap begins, {wal.lsn_text(begin)}:\n{said}"
    positions = {wal.lsn(text) for text in re.findall(r"\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b", said)}
    assert any(other > begin for other in positions), f"where it ends:\n{said}"
    assert "--on-gap" in said, said
    # Once for the WAL itself, then a search by halves for where the server's WAL begins.
    assert asked(primary) - asked_before <= 10, f"again and again:\n{primary.last_log()}"
    finished = [name for name in before if wal.SEGMENT.match(name)]
    assert set(finished) <= set(archive.names()), "nothing was taken away"


def test_a_reset_of_the_servers_wal_is_named(servers, receivers, new_archive):
    """There was never any WAL between the archive's end and the server's begin."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    position = primary.write_wal(1)
    reported(primary, position)
    receiver.stop()
    primary.stop()
    begin = position // primary.segment_size + 20
    run([primary.bin / "pg_resetwal", "-l", wal.segment_name(1, begin, primary.segment_size), primary.data],
        **as_server_user(), cwd="/")
    primary.start()
    primary.write_wal(2)
    receiver = receivers.pgweir(archive, primary)
    assert receiver.wait_exit() == 4, receiver.said()
    said = " ".join(receiver.said().split())
    assert "the server's WAL was reset (pg_resetwal), and starts after the end of the archive" in said, said
    assert f"server's WAL starts at {wal.lsn_text(begin * primary.segment_size)}" in said, said


def test_a_hole_that_was_accepted_is_not_asked_about_again(after_removal, receivers):
    primary, _, archive, position = after_removal
    receiver = receivers.pgweir(archive, primary, "--on-gap", "continue")
    streaming(primary)
    primary.sql("SELECT pg_logical_emit_message(true, 'test', 'behind the hole')")
    reported(primary, primary.flushed())
    receiver.kill9()
    hole_begin = position // primary.segment_size
    behind = [segno for _, segno in archive.partials() if segno > hole_begin]
    assert behind and not [segno for _, segno in archive.finished() if segno >= hole_begin]

    # The segment behind the hole is not finished; the next start has no such option.
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    receiver.wait_log(r"(?im)^.*the archive has a hole")
    reported(primary, primary.write_wal(2))
    receiver.stop()
    assert behind[0] in [segno for _, segno in archive.finished()]
    records = [path.name for path in archive.path.glob(".pgweir-*")]
    assert records == [f".pgweir-loss-hole-1-{wal.lsn_text(hole_begin * primary.segment_size)}"
                       .replace("/", "-")], "who accepted it is known for good"


def test_a_hole_that_was_accepted_is_told_from_the_first_moment_on(after_removal, receivers):
    """With nothing behind it but an unfinished segment, in the run that made it and without a
    receiver; until somebody acknowledges it, and after that still."""
    primary, _, archive, position = after_removal
    metrics = archive.path.parent / "receiver.prom"
    receiver = receivers.pgweir(archive, primary, "--on-gap", "continue", "--metrics-file", metrics)
    streaming(primary)
    primary.sql("SELECT pg_logical_emit_message(true, 'test', 'behind the hole')")
    reported(primary, primary.flushed())
    begin = position - position % primary.segment_size
    behind = max(segno for _, segno in archive.partials()) * primary.segment_size
    identifier = f"hole-1-{wal.lsn_text(begin)}".replace("/", "-")

    def look():
        checked = pgweir("status", "-D", archive.path, "--check")
        status = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)
        return checked, status

    checked, status = look()
    assert checked.returncode == 2 and checked.stdout.startswith("PGWEIR CRITICAL"), checked.stdout
    missing = (behind - begin) // primary.segment_size
    assert f"missing={missing};" in checked.stdout
    hole = status["holes"][0]
    assert (hole["id"], wal.lsn(hole["from"]), wal.lsn(hole["to"]), hole["segments"]) == (
        identifier, begin, behind, missing)
    assert hole["acknowledged"] is None and wal.lsn(hole["sound_end"]) >= position
    assert status_of_receiver(archive)["holes"][0]["id"] == identifier
    assert [wal.lsn(window["from"]) for window in status["windows"]] == [behind, min(
        segno for _, segno in archive.finished()) * primary.segment_size]
    assert wal.lsn(status["windows"][1]["to"]) == wal.lsn(hole["sound_end"])
    assert "HOLE" in pgweir("status", "-D", archive.path).stdout
    wait_for(lambda: metrics.exists() and re.search(
        rf'(?m)^pgweir_receiver_hole_bytes\{{.*\}} {behind - begin}$', metrics.read_text()),
             "the metrics to tell it")

    receiver.kill9()
    checked, status = look()
    assert identifier in checked.stdout, "also when no receiver runs"
    assert status["holes"][0]["id"] == identifier
    verified = pgweir("verify", "-D", archive.path)
    assert verified.returncode == 1 and "to accept this loss: 1 " in verified.stdout

    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    listed = pgweir("ack", "-D", archive.path)
    assert listed.returncode == 0 and listed.stdout.startswith(identifier), listed.stdout
    wrong = pgweir("ack", "-D", archive.path, "hole-1-0-1")
    assert wrong.returncode == 2 and identifier in wrong.stderr, wrong.stderr
    done = pgweir("ack", "-D", archive.path, identifier, "--reason", "a new backup was taken")
    assert done.returncode == 0, done.stderr
    receiver.wait_log(f"the loss {identifier} was acknowledged by .*: a new backup was taken")
    wait_for(lambda: status_of_receiver(archive)["holes"][0]["acknowledged"], "the status to tell it")
    checked, status = look()
    assert checked.returncode == 0, checked.stdout
    assert f"{missing} segment" in checked.stdout and "acknowledged by" in checked.stdout
    assert status["holes"][0]["acknowledged"]["reason"] == "a new backup was taken"
    assert status_of_receiver(archive)["holes"][0]["acknowledged"] is True
    assert pgweir("verify", "-D", archive.path).returncode == 1, "it is lost all the same"
    accepted = archive.path.parent / "accepted"
    accepted.write_text(re.search(r"to accept this loss: (.*)REASON", verified.stdout)[1] + "known")
    assert pgweir("verify", "-D", archive.path, "--accept-file", accepted).returncode == 0
    receiver.stop()
    # Brought after all, it is no loss any more.
    for name in archive.path.glob(".pgweir-loss-*"):
        assert identifier in name.name


def asked(server):
    return server.log.read_text().count("received replication command: START_REPLICATION")


def test_on_gap_continue_goes_on_behind_the_hole_and_says_so(after_removal, receivers):
    primary, witness, archive, position = after_removal
    receiver = receivers.pgweir(archive, primary, "--on-gap", "continue")
    streaming(primary)
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.wait_log(r"(?im)^.*(warn|error).*(gap|hole)")
    receiver.stop()
    held = sorted(segno for _, segno in {**archive.finished(), **archive.partials()})
    hole_begin = position // primary.segment_size
    behind = [segno for segno in held if segno > hole_begin]
    assert behind and behind == list(range(behind[0], behind[-1] + 1)), "one hole, not several"
    witness.caught_up_with(end)
    archive.assert_covers(witness, 1, end, start=behind[0] * primary.segment_size)
    archive.assert_same_wal(primary, witness, minimum=2)

    # At each start, and in the status, it is said again.
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log(r"(?im)^.*(warn|error).*(gap|hole)")
    streaming(primary)
    receiver.stop()
    status = pgweir("status", "-D", archive.path)
    assert re.search(r"(?i)gap|hole|missing", status.stdout), status.stdout


class Pool(Line):
    """One name of several servers: the first connection leads to the first, all others to the second."""

    def __init__(self, first, second):
        super().__init__(first.port)
        self._second = second.port

    def _connect(self, client):
        super()._connect(client)
        self._server = self._second


@pytest.mark.parametrize("on_gap", ["stop", "continue"])
def test_a_gap_of_one_server_is_none_if_another_one_answers_to_the_name(after_removal, receivers, on_gap):
    primary, witness, archive, position = after_removal
    pool = Pool(primary, witness)
    try:
        receiver = receivers.pgweir(archive, f"host=127.0.0.1 port={pool.port} user=postgres", "--on-gap", on_gap)
        receiver.wait_log("requested WAL segment .* has already been removed")
        streaming(witness)
        end = primary.write_wal(1)
        witness.caught_up_with(end)
        reported(witness, end)
        receiver.stop()
    finally:
        pool.close()
    archive.assert_covers(witness, 1, end, start=position)
    assert not list(archive.path.glob(".pgweir-loss-*"))


@pytest.mark.parametrize("what", ["the current segment", "a segment to come"])
def test_a_copy_of_pg_wal_is_not_taken_for_more_than_it_is(servers, receivers, new_archive, what):
    """The segment being written ends early, and those behind it are old files with new names. Who
    goes on behind such a file leaves a hole, and the slot lets the server forget what is in it."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.sql("CREATE TABLE more ()")
    current = primary.flushed() // primary.segment_size
    for partial in archive.partials().values():
        partial.unlink()
    name = wal.segment_name(1, current, primary.segment_size)
    content = primary.pg_wal(name).read_bytes()
    if what == "a segment to come":
        (archive.path / name).write_bytes(content)
        name = wal.segment_name(1, current + 1, primary.segment_size)
        content = archive.finished()[min(archive.finished())].read_bytes()
    (archive.path / name).write_bytes(content)
    primary.write_wal(3)
    held = restart_lsn(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    assert receiver.wait_exit() == 4, receiver.said()
    assert re.search(f"not valid WAL to its end .*{name}", receiver.said()), receiver.said()
    assert restart_lsn(primary) == held
    for segno in (current, current + 1):
        (archive.path / wal.segment_name(1, segno, primary.segment_size)).unlink(missing_ok=True)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    archive.assert_same_wal(primary, minimum=4)
    assert pgweir("verify", "-D", archive.path).returncode == 0
