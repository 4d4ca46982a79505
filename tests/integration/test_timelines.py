"""Promotions: the old timeline to its end, then the new one from its segment's start."""

import json
import socket

import pytest

from support import wal
from support.line import Line
from support.process import run, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import (
    create_slot,
    promote_again,
    reported,
    streaming,
    switchpoint,
)
from support.server import DEBIAN_MAJOR

pytestmark = pytest.mark.in_memory


def assert_whole(archive, server, timelines):
    """Each timeline is there up to where it ended on this server, the last one is left to the
    caller; its history came along; the unfinished old segment keeps its .partial."""
    for timeline in range(1, timelines):
        end = switchpoint(server, timeline)
        archive.assert_covers(server, timeline, end)
        assert timeline + 1 in archive.histories(), archive.names()
        if end % server.segment_size:
            last = (timeline, end // server.segment_size)
            assert last in archive.partials() and last not in archive.finished(), archive.names()
            first = min(segno for line, segno in {**archive.finished(), **archive.partials()}
                        if line == timeline + 1)
            assert first == last[1], "the new timeline starts at the segment's start"


def test_the_upstream_is_promoted_while_we_stream(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    standby.caught_up_with(primary.write_wal(2))
    standby.promote()
    end = standby.write_wal(3)
    reported(standby, end)
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    assert_whole(archive, standby, 2)
    archive.assert_same_wal(primary, standby, minimum=4)


def test_promotion_under_load(servers, receivers, new_archive):
    """The standby may have sent WAL that it had not replayed when it was promoted."""
    primary = servers.primary()
    primary.pgbench_init()
    standby = servers.standby(primary)
    cascaded = servers.standby(standby)
    archives = [new_archive(primary, "below-standby"), new_archive(primary, "below-cascaded")]
    both = [receivers.pgweir(archives[0], standby), receivers.pgweir(archives[1], cascaded)]
    streaming(standby)
    streaming(cascaded)
    load = primary.pgbench(clients=4, seconds=600)
    standby.caught_up_with(primary.write_wal(3))
    standby.promote()
    load.kill()
    load.wait()
    end = standby.write_wal(2)
    for archive, receiver, upstream in zip(archives, both, (standby, cascaded)):
        reported(upstream, end)
        archive.wait_covers(standby, 2, end)
        receiver.stop()
        assert_whole(archive, standby, 2)
        archive.assert_same_wal(primary, standby, cascaded, minimum=2)


def test_the_upstream_was_promoted_while_we_were_away(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, primary.write_wal(1))
    receiver.stop()
    standby.caught_up_with(primary.write_wal(3))
    standby.promote()
    end = standby.write_wal(2)
    receiver = receivers.pgweir(archive, standby, "--compress", "zstd")
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    assert_whole(archive, standby, 2)
    archive.assert_same_wal(primary, standby, minimum=4)


def test_several_promotions_while_we_were_away(servers, receivers, new_archive):
    server = servers.primary()
    create_slot(server)
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server, "-S", "archive")
    streaming(server)
    reported(server, server.write_wal(2))
    receiver.stop()
    server.write_wal(2)
    promote_again(server)
    server.write_wal(2)
    promote_again(server)
    server.sql("CREATE TABLE short_timeline ()")  # a timeline that lives within one segment
    promote_again(server)
    end = server.write_wal(2)
    receiver = receivers.pgweir(archive, server, "-S", "archive")
    archive.wait_covers(server, 4, end)
    reported(server, end)
    receiver.stop()
    assert sorted(archive.histories()) == [2, 3, 4]
    assert_whole(archive, server, 4)
    archive.assert_same_wal(server, minimum=6)


def test_an_archive_begins_on_a_later_timeline(servers, receivers, new_archive, place):
    """It has the histories of the earlier ones, too, which a server of timeline 1 requests first. The upstream may have
    them no longer, as one that was made from a base backup of timeline 3."""
    server = servers.primary()
    promote_again(server)
    promote_again(server)
    second = server.pg_wal("00000002.history").read_bytes()
    server.pg_wal("00000002.history").unlink()
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server)
    streaming(server)
    end = server.write_wal(2)
    archive.wait_covers(server, 3, end)
    receiver.stop()
    assert sorted(archive.histories()) == [2, 3]
    server.pg_wal("00000002.history").write_bytes(second)
    archive.assert_same_wal(server)
    for timeline in (2, 3):
        name = f"{timeline:08X}.history"
        result = pgweir("restore", "-D", archive.path, name, place / name)
        assert result.returncode == 0, result.stderr
        assert (place / name).read_bytes() == server.pg_wal(name).read_bytes()

    # An archive of an earlier version lacks them: the next start adds them.
    archive.histories()[2].unlink()
    assert pgweir("restore", "-D", archive.path, "00000002.history", place / "refused").returncode == 200
    receiver = receivers.pgweir(archive, server)
    streaming(server)
    receiver.stop()
    assert archive.histories()[2].read_bytes() == second


def test_a_timeline_that_the_upstream_knew_and_did_not_follow(servers, receivers, new_archive, place):
    """It is ahead of a standby that was promoted, rejects timeline 2 and keeps the history file, and is promoted to timeline 3.
    A recovery to the newest timeline requests 00000002.history first, and ends on timeline 1 if it does not get it."""
    primary = servers.primary()
    behind, ahead = servers.standby(primary), servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE said (n int)")
    end = primary.write_wal(1)
    reported(primary, end)
    for standby in (behind, ahead):
        standby.caught_up_with(end)
    backup = base_backup(primary, place / "backup")
    end = primary.flushed()
    behind.caught_up_with(end)
    behind.stop("fast")
    primary.sql("INSERT INTO said VALUES (1)")
    end = primary.write_wal(1)
    ahead.caught_up_with(end)
    reported(primary, end)
    receiver.stop()
    primary.stop("immediate")
    behind.start()
    behind.promote()
    ahead.follow(behind)
    ahead.reload()
    wait_for(lambda: ahead.pg_wal("00000002.history").exists(), "the history of the timeline that it rejects")
    behind.stop("immediate")
    ahead.promote()
    assert ahead.pg_wal("00000003.history").exists()
    ahead.sql("INSERT INTO said VALUES (2)")
    end = ahead.write_wal(1)
    receiver = receivers.pgweir(archive, ahead)
    archive.wait_covers(ahead, 3, end)
    receiver.stop()
    assert sorted(archive.histories()) == [2, 3]
    second = archive.histories()[2]
    assert second.read_bytes() == ahead.pg_wal("00000002.history").read_bytes()
    assert pgweir("verify", "-D", archive.path).returncode == 0
    hand_over(archive.path)
    restore = restore_command(place, archive, "--partial")
    recovered = recover(servers, backup, "recovered", primary, restore, recovery_target_timeline="latest")
    assert recovered.sql("SELECT array_agg(n ORDER BY n) FROM said") == "{1,2}"

    # An archive of an earlier version lacks it: a restore tells of it, and the receiver adds it.
    content = second.read_bytes()
    second.unlink()
    result = pgweir("restore", "-D", archive.path, "00000002.history", place / "history")
    assert result.returncode == 1
    assert "set recovery_target_timeline = '3'" in result.stderr
    receiver = receivers.pgweir(archive, ahead)
    wait_for(lambda: 2 in archive.histories(), "the history that was missing")
    receiver.stop()
    assert archive.histories()[2].read_bytes() == content


def test_an_upstream_behind_us_is_waited_for(servers, receivers, new_archive):
    """After a change of the upstream the new one may not have yet what we have."""
    primary = servers.primary()
    standby = servers.standby(primary, primary_conninfo="")
    standby.stop()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    position = primary.write_wal(3)
    archive.wait_covers(primary, 1, position)
    receiver.stop()
    standby.conf(primary_conninfo="")  # it stays where it is
    standby.start()
    assert standby.flushed() < position
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log(r"(?i)behind|ahead|wait")
    assert receiver.running(), receiver.said()
    standby.follow(primary)
    standby.reload()
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    streaming(standby)
    receiver.stop()
    archive.assert_same_wal(primary, standby, minimum=4)


# 13 does not say at the start of a connection whether it is a standby.
class _Promotes(Line):
    """Promotes the standby behind it when a client sends this command for the first time, before the server gets it."""

    def __init__(self, standby, command):
        self.promoted = False
        self._standby, self._command = standby, command
        super().__init__(standby.port)

    def _forward(self, end):
        _, from_server = self._pairs[end]
        if not self.promoted and not from_server and self._command in end.recv(1 << 16, socket.MSG_PEEK):
            self._standby.promote()
            self.promoted = True
        super()._forward(end)


@pytest.mark.parametrize("major", [13, 14, 15, 18])
@pytest.mark.parametrize("command", [b"SHOW cluster_name", b"START_REPLICATION"])
def test_a_promotion_between_two_commands_of_the_receiver(servers, receivers, new_archive, major, command):
    """Up to 14, such a server names timeline 0 as the next one."""
    primary = servers.primary(major=major)
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
    standby.caught_up_with(end)
    primary.stop("immediate")
    line = _Promotes(standby, command)
    try:
        receiver = receivers.pgweir(archive, standby.conninfo(port=line.port))
        wait_for(lambda: line.promoted or not receiver.running(), "the promotion")
        end = standby.write_wal(1)
        archive.wait_covers(standby, 2, end)
        receiver.stop()
    finally:
        line.close()
    assert_whole(archive, standby, 2)


@pytest.mark.parametrize("major", [13, DEBIAN_MAJOR])
def test_the_old_primary_is_refused_after_we_followed_the_new_one(servers, receivers, new_archive, major):
    """Its history forked before where the archive is: nothing of it may get into the archive."""
    primary = servers.primary(major=major)
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    standby.caught_up_with(primary.write_wal(2))
    standby.promote()
    end = standby.write_wal(2)
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    before = contents(archive)
    primary.write_wal(3)
    receiver = receivers.pgweir(archive, primary, "--no-loop")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "timeline" in receiver.said()
    assert contents(archive) == before


def contents(archive):
    """Every file that has a meaning, byte by byte."""
    return {name: (archive.path / name).read_bytes() for name in archive.names()
            if not name.startswith(".")}


@pytest.mark.parametrize("major", [13, 15, 18, 19])
def test_a_recovery_to_a_target_before_the_newest_timeline(servers, receivers, new_archive, place, major):
    """Its history has the newest timeline with a switchpoint before that timeline begins (writeTimeLineHistory() gets
    recoveryTargetTLI). A new archive takes its WAL, and recoveries from both archives follow it."""
    primary = servers.primary(major=major, wal_keep_size="200MB")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE said (n int)")
    reported(primary, primary.write_wal(1))
    primary.stop("fast")
    backup = place / "backup"  # as it was shut down: a client of each version is not needed
    run(["cp", "-a", primary.data, backup])
    primary.start()
    streaming(primary)
    primary.sql("INSERT INTO said VALUES (1)")
    target = primary.write_wal(1)
    primary.sql("INSERT INTO said VALUES (2)")
    reported(primary, primary.write_wal(2))
    receiver.stop()
    promote_again(primary)
    primary.sql("INSERT INTO said VALUES (3)")
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.stop("fast")

    hand_over(archive.path)
    restore = restore_command(place, archive, "--partial")
    recovered = recover(servers, backup, "recovered", primary, restore, recovery_target_lsn=wal.lsn_text(target),
                        recovery_target_timeline="latest")
    assert recovered.sql("SELECT max(n) FROM said") == "1"
    history = (recovered.data / "pg_wal" / "00000003.history").read_text()
    positions = [wal.lsn(line.split()[1]) for line in history.splitlines() if line.strip()]
    assert positions[1] < positions[0], "else this tests nothing: " + history

    fresh = new_archive(primary, "fresh")
    receiver = receivers.pgweir(fresh, recovered)
    streaming(recovered)
    recovered.sql("INSERT INTO said VALUES (10)")
    end = recovered.write_wal(1)
    reported(recovered, end)
    receiver.stop()
    fresh.assert_covers(recovered, 3, end)
    assert fresh.histories()[3].read_text() == history
    assert pgweir("verify", "-D", fresh.path).returncode == 0

    # The archive has timeline 2, which the server has left.
    receiver = receivers.pgweir(archive, recovered)
    assert receiver.wait_exit() == 4
    assert "into a separate directory" in receiver.said()
    hand_over(archive.path)
    hand_over(fresh.path)
    again = recover(servers, backup, "again", primary, restore_command(place, archive, "-D", str(fresh.path), "--partial"))
    assert again.sql("SELECT array_agg(n ORDER BY n) FROM said") == "{1,10}"
