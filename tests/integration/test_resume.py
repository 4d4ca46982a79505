"""What the archive holds of the WAL that a receiver asks for once more, from its segment's first
byte on, stays durable, is told as durable, and is restored."""

import json
import pathlib

import pytest

from support import wal
from support.process import wait_for
from support.receiver import pgweir
from support.scenario import reported, streaming
from support.walsender import WalServer


@pytest.mark.parametrize("restarted", [False, True], ids=["reconnected", "restarted"])
@pytest.mark.parametrize("again", [0, 100 * 1024], ids=["nothing", "a part"])
def test_what_is_received_again_stays_durable(servers, receivers, new_archive, place, again, restarted):
    """A connection breaks when all is acknowledged; the server streams again, and falls silent: at
    once, or within the segment."""
    primary = servers.primary()
    primary.sql("CREATE TABLE t (i int)")
    primary.switch_wal()
    primary.write_wal(0.5)
    primary.sql("INSERT INTO t VALUES (1)")
    end = primary.flushed()
    reports = []

    def stream(connection, position):
        if not reports:
            connection.wait_reported(connection.send_all(position))
            reports.append(connection.reports[-1][1])
            if restarted:
                connection.wait()
            return  # the connection breaks
        if again:
            at = position
            while at < position + again:
                at = connection.send_wal(at, 20 * 1024)
            connection.wait_reported(position + again)
        reports.append(position + again)
        connection.wait()

    with WalServer(primary, end, stream) as upstream:
        archive = new_archive(primary)
        start = end - end % primary.segment_size
        assert end - start > again
        receiver = receivers.pgweir(archive, upstream.conninfo(), "--start", wal.lsn_text(start))
        wait_for(lambda: len(reports) > 0, "all is acknowledged")
        if restarted:
            receiver.kill9()
            receiver = receivers.pgweir(archive, upstream.conninfo())
        wait_for(lambda: len(reports) == 2, "the second stream")
        assert [position for _, position in upstream.started] == [start, start]
        assert reports[0] == end

        segment = wal.segment_name(1, start // primary.segment_size, primary.segment_size)
        target = place / "RECOVERYXLOG"
        done = pgweir("restore", "-D", archive.path, "--partial", segment, target)
        assert done.returncode == 0, done.stderr
        had = pathlib.Path(primary.pg_wal(segment)).read_bytes()
        assert target.read_bytes()[:end - start] == had[:end - start]

        status = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["receiver"]
        assert wal.lsn(status["flush_lsn"]) == end, status
        assert wal.lsn(status["write_lsn"]) == end, status
        assert status["lag_bytes"] == 0, status
        assert f"durable up to {wal.lsn_text(end)}" in pgweir("status", "-D", archive.path).stdout

        found = pgweir("restore", "-D", archive.path, "--find-lsn", wal.lsn_text(end - 1))
        assert found.returncode == 0, found.stderr
        assert receiver.running(), receiver.said()


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_newest_segment_that_is_being_copied_is_waited_for(servers, receivers, new_archive, hosts):
    """`cp` writes to the final name."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    primary.switch_wal()
    newest = max(segno for timeline, segno in archive.finished()) + 1
    name = wal.segment_name(1, newest, primary.segment_size)
    whole = primary.pg_wal(name).read_bytes()
    (archive.path / name).write_bytes(whole[:300_000])
    conninfo = (f"host={','.join(hosts * ['127.0.0.1'])} port={','.join(hosts * [str(primary.port)])}"
                " user=postgres")
    receiver = receivers.pgweir(archive, conninfo)
    receiver.wait_log("the newest complete segment is still being copied.*trying again")
    (archive.path / name).write_bytes(whole)
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end)
