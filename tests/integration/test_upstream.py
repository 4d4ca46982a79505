"""What an upstream may do to us while we stream."""

import os
import signal

import pytest

from support import wal
from support.process import wait_for
from support.scenario import create_slot, gone, reported, restart_lsn, segment_start, status_of_receiver, streaming


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_a_walsender_that_is_ended_is_replaced(servers, receivers, new_archive, how):
    """By the administrator, or by the kernel (out of memory): then the whole server restarts."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    first = streaming(primary)["pid"]
    reported(primary, primary.write_wal(1))
    if how == "terminated":
        primary.sql(f"SELECT pg_terminate_backend({first})")
    else:
        os.kill(int(first), signal.SIGKILL)
        wait_for(lambda: "reinitializing" in primary.log.read_text(), "the server to notice it")
        wait_for(lambda: primary.sql("SELECT 1", check=False).returncode == 0,
                 "the server to have restarted its processes")
    wait_for(lambda: [row for row in primary.walsenders() if row["pid"] != first],
             "a new walsender")
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=2)


def test_a_slot_that_is_dropped_under_us_needs_a_person(servers, receivers, new_archive):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)

    def dropped():
        primary.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        return primary.sql("SELECT pg_drop_replication_slot('archive')", check=False
                           ).returncode == 0

    wait_for(dropped, "the slot to be dropped", interval=0)
    assert receiver.wait_exit() == 4, receiver.said()
    assert '"archive" does not exist' in receiver.said(), receiver.said()
    assert "hint:" in receiver.said()
    archive.assert_covers(primary, 1, end)


def test_a_slot_that_is_invalidated_under_us_needs_a_person(servers, receivers, new_archive):
    """We hang too long, the server gives the slot up, and ends the walsender."""
    primary = servers.primary(wal_keep_size="0",
                              max_slot_wal_keep_size="1MB")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    own = {path.name: path.read_bytes() for path in (primary.data / "pg_wal").iterdir()
           if path.is_file()}
    receiver.pause()

    def lost():
        primary.write_wal(4)
        primary.sql("CHECKPOINT")
        # What was on its way to us when we hung still comes, and as long as the server has what
        # comes next, nothing is lost with the slot.
        oldest = min(wal.parse_segment(path.name, primary.segment_size)[1]
                     for path in (primary.data / "pg_wal").iterdir()
                     if wal.parse_segment(path.name, primary.segment_size))
        return (primary.sql("SELECT wal_status FROM pg_replication_slots") == "lost"
                and oldest * primary.segment_size > end + (24 << 20))

    wait_for(lost, "the slot to be invalidated and the WAL removed")
    receiver.resume()
    assert receiver.wait_exit() == 4, receiver.said()
    assert "archive" in receiver.said() and "hint:" in receiver.said(), receiver.said()
    for (_, segno), path in archive.finished().items():
        if path.name in own and (segno + 1) * primary.segment_size <= end:
            assert archive.content(path) == own[path.name]


def test_a_short_wal_sender_timeout_is_kept(servers, receivers, new_archive):
    """Idle, and with a status interval much longer than that: it is adapted."""
    primary = servers.primary(wal_sender_timeout="3s")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--status-interval", "1min")
    walsender = streaming(primary)["pid"]
    since = primary.sql("SELECT now()")
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE"
                                 f" reply_time > '{since}'::timestamptz + interval '12s'") == "1",
             "replies over four times the timeout")
    assert streaming(primary)["pid"] == walsender, "the connection was lost"
    receiver.stop()


def test_without_a_free_connection_the_stream_goes_on_unwatched(servers, receivers, new_archive):
    """The slot's watch needs a connection like anybody's; WAL does not wait for it."""
    primary = servers.primary()
    create_slot(primary)
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION CONNECTION LIMIT 0")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary.conninfo(user="archiver", dbname="postgres"),
                                "-S", "archive")
    streaming(primary)
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.wait_log("too many connections")
    receiver.stop()
    archive.assert_covers(primary, 1, end)


def test_it_follows_the_primary_and_explains_why_not_the_old_one(servers, receivers, new_archive):
    """Failover by the connection string. Then the old primary comes back as if nothing had been,
    on the old timeline and with WAL of its own, and is the first in the string."""
    old = servers.primary()
    new = servers.standby(old)
    archive = new_archive(old)
    conninfo = (f"host=127.0.0.1,127.0.0.1 port={old.port},{new.port} user=postgres"
                " target_session_attrs=primary")
    receiver = receivers.pgweir(archive, conninfo)
    streaming(old)
    end = old.write_wal(2)
    reported(old, end)
    new.caught_up_with(end)
    old.stop("immediate")
    receiver.wait_log("trying again")
    new.promote()
    reported(new, new.write_wal(2))
    # The old one, alone, goes its own way.
    new.stop("immediate")
    old.start()
    old.write_wal(3)
    receiver.wait_log("is not chosen: the server is a primary on an older timeline than the archive")
    new.start()
    end = new.write_wal(1)
    archive.wait_covers(new, 2, end)
    streaming(new)
    receiver.stop()
    assert "timeline" in receiver.said()
    archive.assert_same_wal(new, minimum=3)
    fork = segment_start(new, new.timeline_end(1)) // new.segment_size
    assert not [segno for timeline, segno in archive.finished() if timeline == 1
                and segno > fork], "WAL of the old primary's own way"


@pytest.mark.parametrize("major", [13, 15, 18])
def test_a_standby_that_has_lost_its_primary_is_named_but_not_one_that_never_had_one(servers, receivers, new_archive, major):
    primary = servers.primary(major=major)
    standby = servers.standby(primary, start=False)
    standby.conf(primary_conninfo="", restore_command=f"cp {primary.data}/pg_wal/%f %p")
    standby.start()
    create_slot(standby)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby.conninfo(dbname="postgres"), "-S", "archive")

    def looked():
        report = status_of_receiver(archive)
        return "slot_checked" in report and report

    report = wait_for(looked, "the slot to be read")
    assert "cut_off_since" not in report, report
    receiver.stop()

    standby.stop()
    standby.follow(primary)
    primary.stop("immediate")
    standby.start()  # it does not reach its primary
    wait_for(lambda: standby.sql("SELECT pg_last_wal_receive_lsn()"), "it to try")
    receivers.pgweir(archive, standby.conninfo(dbname="postgres"), "-S", "archive")
    wait_for(lambda: "cut_off_since" in status_of_receiver(archive), "the standby to be named")
