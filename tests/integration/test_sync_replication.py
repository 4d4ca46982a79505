"""synchronous_standby_names = 'pgweir': a commit returns when, and only when, we have it."""

import pytest

from support import wal
from support.commits import assert_waits, commit, finished
from support.process import run, wait_for
from support.scenario import streaming


def wait_for_checkpointer(primary):
    """Until commits wait for synchronous_standby_names, which the sessions have reread already. A walsender is reported as
    synchronous as soon as it has reread the setting itself, but a commit waits only if the checkpointer has reread it, too
    (SyncRepUpdateSyncStandbysDefined in syncrep.c). All have been signaled once the postmaster accepts another connection. The first
    checkpoint may have been about to begin when the signal came; the second one has not."""
    primary.sql("CHECKPOINT; CHECKPOINT")


@pytest.fixture
def synchronous(servers, receivers, new_archive):
    """A primary whose commits wait for the receiver, which runs."""
    primary = servers.primary()
    primary.sql("CREATE TABLE numbers (n int)")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.conf(synchronous_standby_names="pgweir")
    primary.reload()
    wait_for(lambda: streaming(primary)["sync_state"] == "sync", "the receiver to be synchronous")
    wait_for_checkpointer(primary)
    return primary, archive, receiver


@pytest.mark.parametrize("level", ["on", "remote_write", "remote_apply"])
def test_commits_wait_for_us_and_go_on(synchronous, level):
    primary, archive, receiver = synchronous
    for number in range(20):
        position = finished(commit(primary, number, level))
    receiver.kill9()
    assert primary.sql("SELECT count(*) FROM numbers") == "20"
    archive.assert_covers(primary, 1, position)


@pytest.mark.parametrize("level", ["on", "remote_apply"])
def test_commits_hang_while_we_are_stopped(synchronous, level):
    primary, archive, receiver = synchronous
    finished(commit(primary, 1, level))
    receiver.pause()
    statement = commit(primary, 2, level)
    assert_waits(primary, statement)
    receiver.resume()
    archive.assert_covers(primary, 1, finished(statement))
    receiver.stop()


@pytest.mark.parametrize("level", ["on", "remote_apply"])
def test_commits_hang_while_we_are_dead(synchronous, receivers, level):
    primary, archive, receiver = synchronous
    receiver.kill9()
    statement = commit(primary, 1, level)
    assert_waits(primary, statement)
    receiver = receivers.pgweir(archive, primary)
    position = finished(statement)
    receiver.kill9()
    archive.assert_covers(primary, 1, position)


def test_every_acknowledged_commit_is_in_the_archive(synchronous):
    """The receiver is killed in the middle of a load; each commit a client saw confirmed is below
    the archive's end."""
    primary, archive, receiver = synchronous
    client = primary.spawn_sql(
        "DO $$ BEGIN FOR n IN 1..1000000 LOOP INSERT INTO numbers VALUES (n); COMMIT; END LOOP;"
        " END $$")
    # Others see nothing of a transaction that still waits for us: visible means acknowledged.
    wait_for(lambda: int(primary.sql("SELECT count(*) FROM numbers")) > 200, "some commits")
    receiver.kill9()
    acknowledged = int(primary.sql("SELECT count(*) FROM numbers"))
    client.kill()
    client.wait()
    archived = commits_in(archive, primary)
    assert archived >= acknowledged, f"{acknowledged} acknowledged, {archived} in the archive"


def commits_in(archive, primary):
    """How many inserts into the table are committed in the archive, by PostgreSQL's own reader."""
    table = primary.sql("SELECT pg_relation_filepath('numbers')").rpartition("/")[2]
    raw = archive.path.parent / "raw"
    raw.mkdir()
    names = []
    for timeline, segno in sorted({**archive.finished(), **archive.partials()}):
        names.append(wal.segment_name(timeline, segno, archive.segment_size))
        (raw / names[-1]).write_bytes(archive.read(timeline, segno))

    def transactions(rmgr, *words):
        # It ends with an error where the WAL ends; what it printed before is what counts.
        dump = run([primary.bin / "pg_waldump", "-p", raw, "-r", rmgr, names[0], names[-1]],
                   check=False)
        return {line.split("tx:")[1].split(",")[0].strip() for line in dump.stdout.splitlines()
                if all(word in line for word in words)}

    return len(transactions("Heap", "INSERT", f"/{table} ") & transactions("Transaction", "COMMIT"))


def test_the_apply_position_can_be_left_out(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--apply-position", "none")
    streaming(primary)
    end = primary.write_wal(1)
    wait_for(lambda: wal.lsn(streaming(primary)["flush_lsn"] or "0/0") >= end, "the report")
    assert streaming(primary)["replay_lsn"] in ("", "0/0")
    receiver.stop()
