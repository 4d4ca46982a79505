"""What a failover lost and the archive has: told until somebody acknowledges it."""

import json
import os
import re
import shutil

import pytest

from support import wal
from support.process import run, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import reported, streaming, switchpoint
from support.server import DEBIAN_BIN


def failover(servers, receivers, archive_of, lost_commits=True):
    """The archive has what the standby that is promoted never got."""
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = archive_of(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE rows (number int)")
    standby.caught_up_with(primary.write_wal(2))
    standby.stop()
    if lost_commits:
        primary.write_wal(3)
        for number in range(5):
            primary.sql(f"INSERT INTO rows VALUES ({number})")
    reported(primary, primary.flushed())
    receiver.kill9()
    end = primary.flushed()  # behind all that it can have got
    primary.stop("immediate")
    standby.start()
    standby.promote()
    return primary, standby, archive, end


def status_of(archive):
    return json.loads(pgweir("status", "-D", archive.path, "--json").stdout)


def test_a_fork_behind_what_was_acknowledged_is_told_until_it_is_acknowledged(
        servers, receivers, new_archive):
    primary, standby, archive, end = failover(servers, receivers, new_archive)
    # Nobody has recorded it yet.
    shutil.copy(standby.pg_wal("00000002.history"), archive.path)
    assert status_of(archive)["lost_branches"] == [], "nothing of timeline 2 is here"
    (archive.path / "00000002.history").unlink()
    ears = receivers.start([BINARY, "listen", "--json", "-d", standby.conninfo(dbname="postgres"),
                            "archive"])
    ears.wait_log('"event":"listening"')
    receiver = receivers.pgweir(archive, standby, "--notify-channel", "archive")
    fork = switchpoint(standby, 1)
    assert fork < end
    identifier = f"branch-1-{wal.lsn_text(fork)}".replace("/", "-")
    told = receiver.wait_log(
        r"WARN.*a failover lost WAL that the archive has: .* from (\S+) to (\S+) on timeline 1, "
        r"with (\d+) commits, not part of timeline 2; it is kept in (\w+) to (\w+), .* " + identifier)
    assert wal.lsn(told[1]) == fork
    assert fork < wal.lsn(told[2]) <= end
    # The commits as PostgreSQL's own tool counts them.
    assert int(told[3]) == commits(archive, fork, wal.lsn(told[2])) >= 5
    assert wal.segment_name(1, fork // primary.segment_size, primary.segment_size) == told[4]
    reported(standby, standby.write_wal(1))

    ears.wait_log(r"lost_branch.*\n")
    heard = [json.loads(line) for line in ears.said().splitlines() if "lost_branch" in line]
    event = json.loads(heard[0]["payload"])
    assert event["event"] == "lost_branch" and event["id"] == identifier
    assert (event["timeline"], event["next_timeline"]) == (1, 2)
    assert (wal.lsn(event["lsn"]), wal.lsn(event["to"])) == (fork, wal.lsn(told[2]))
    assert event["commits"] == int(told[3]) and event["segments"] == [told[4], told[5]]
    ears.stop()

    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 2 and "a failover lost" in checked.stdout, checked.stdout
    branch = status_of(archive)["lost_branches"][0]
    assert branch["id"] == identifier and branch["commits"] == int(told[3])
    assert (wal.lsn(branch["from"]), wal.lsn(branch["to"])) == (fork, wal.lsn(told[2]))
    assert status_of(archive)["receiver"]["lost_branches"][0]["id"] == identifier
    verified = pgweir("verify", "-D", archive.path)
    assert verified.returncode == 1, verified.stdout
    line = re.search(r"to accept this loss: (1 \S+ \S+ )REASON", verified.stdout)[1]

    # At the next start once more, and the same one.
    receiver.stop()
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log(f"a failover lost WAL .*{identifier}")
    streaming(standby)
    assert len(status_of(archive)["lost_branches"]) == 1

    assert pgweir("ack", "-D", archive.path, "--all", "--reason", "read out").returncode == 0
    receiver.wait_log(f"the loss {identifier} was acknowledged by .*: read out")
    wait_for(lambda: pgweir("status", "-D", archive.path, "--check").returncode == 0, "the alarm to end")
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 0 and "acknowledged by" in checked.stdout, checked.stdout
    assert "read out" in pgweir("status", "-D", archive.path).stdout
    assert pgweir("verify", "-D", archive.path).returncode == 1
    accepted = archive.path.parent / "accepted"
    accepted.write_text(f"# settled\n{line}read out\n")
    assert pgweir("verify", "-D", archive.path, "--accept-file", accepted).returncode == 0
    receiver.stop()


def test_a_failover_that_lost_nothing_is_none(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    standby.caught_up_with(primary.write_wal(1))
    primary.stop()  # a standby and a receiver get all of it, if they stream
    assert receiver.running()
    receiver.stop()
    standby.promote()
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, standby.write_wal(1))
    assert 2 in archive.histories()
    receiver.stop()
    assert "failover lost" not in receiver.said()
    assert status_of(archive)["lost_branches"] == []
    assert pgweir("verify", "-D", archive.path).returncode == 0
    assert pgweir("ack", "-D", archive.path).stdout == "no losses are recorded\n"


def test_a_failover_that_an_earlier_version_followed_is_found(servers, receivers, new_archive):
    """Its archive has both branches and no record."""
    _, standby, archive, _ = failover(servers, receivers, new_archive)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, standby.write_wal(2))
    receiver.stop()
    known = status_of(archive)["lost_branches"][0]
    record = archive.path / f".pgweir-loss-{known['id']}"
    before = json.loads(record.read_text())
    record.unlink()
    found = status_of(archive)["lost_branches"]
    assert [(one["id"], one["from"], one["to"]) for one in found] == [
        (known["id"], known["from"], known["to"])], "by what is there"
    assert "LOST BY A FAILOVER" in pgweir("status", "-D", archive.path).stdout
    assert pgweir("verify", "-D", archive.path).returncode == 1, "found by what is there"
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log("a failover lost WAL")
    streaming(standby)
    receiver.stop()
    after = json.loads(record.read_text())
    assert all(after[key] == before[key] for key in ("begin", "end", "commits", "next_timeline"))


def test_the_end_of_an_older_timeline_is_missing(servers, receivers, new_archive):
    """No receiver asks for it again: it goes on with the newest timeline, unfinished as that is."""
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, primary.write_wal(2))
    standby.caught_up_with(primary.flushed())
    primary.stop()
    standby.promote()
    standby.sql("SELECT pg_logical_emit_message(true, 'test', 'on the new timeline')")
    reported(standby, standby.flushed())
    receiver.stop()
    assert {timeline for timeline, _ in archive.finished()} == {1}
    assert 2 in {timeline for timeline, _ in archive.partials()}
    (_, segno), victim = max(archive.finished().items())
    content = victim.read_bytes()
    victim.unlink()
    identifier = f"hole-1-{wal.lsn_text(segno * primary.segment_size)}".replace("/", "-")

    def missing():
        return [hole["id"] for hole in
                json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["holes"]]

    assert missing() == [identifier]
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    receiver.wait_log(r"(?im)^.*the archive has a hole")
    assert [path.name for path in archive.path.glob(".pgweir-loss-*")] == [
        f".pgweir-loss-{identifier}"]
    assert missing() == [identifier]
    done = pgweir("ack", "-D", archive.path, identifier)
    assert done.returncode == 0, done.stderr
    receiver.stop()
    victim.write_bytes(content)
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log(f"the loss {identifier} is closed")
    assert missing() == []
    receiver.stop()


def test_losses_are_shown_before_the_server_answers(servers, receivers, new_archive, place):
    """Or their alerts would end at each start, and for as long as the server cannot be reached."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(4))
    receiver.stop()
    sorted(archive.finished().values())[1].unlink()
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log("the archive has a hole")
    streaming(primary)
    receiver.stop()
    primary.stop()

    metrics = place / "pgweir.prom"
    receiver = receivers.pgweir(archive, primary, "--metrics-file", metrics, "--metrics-interval", "1s")
    wait_for(metrics.exists, "the first metrics", interval=0.005)

    def told():
        text = metrics.read_text()
        return [re.search("^pgweir_receiver_" + name + r" (\d+)$", text, re.MULTILINE).group(1)
                for name in (r"holes{.*}", r'losses_unacknowledged{.*kind="hole".*}')]

    assert told() == ["1", "1"]
    receiver.wait_log("could not connect|connection to server")
    hole, = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["receiver"]["holes"]
    assert told() == ["1", "1"] and not hole["acknowledged"]
    assert pgweir("ack", "-D", archive.path, hole["id"]).returncode == 0
    wait_for(lambda: told() == ["1", "0"], "the acknowledgement to be told")
    receiver.stop()


def test_ack_on_an_archive_without_losses_or_without_a_name(servers, receivers, new_archive):
    empty = new_archive(servers.primary(start=False))
    done = pgweir("ack", "-D", empty.path)
    assert (done.returncode, done.stdout) == (0, "no losses are recorded\n")
    done = pgweir("ack", "-D", empty.path, "--all")
    assert (done.returncode, done.stdout) == (0, "there are no losses to acknowledge\n")
    done = pgweir("ack", "-D", empty.path, "hole-1-0-3000000")
    assert done.returncode == 2 and "no such loss" in done.stderr
    assert "--keep-from" in done.stderr, "a hole that only the store has ends otherwise"
    assert pgweir("ack", "-D", empty.path / "nowhere").returncode == 4
    assert pgweir("ack").returncode == 2


def test_a_cascading_standby_whose_branch_is_cut_while_it_streams(servers, receivers, new_archive):
    """It has passed on more than it had replayed, and follows the promotion from before that: its
    walsender ends the timeline behind what it has sent."""
    primary = servers.primary()
    promoted = servers.standby(primary)
    cascading = servers.standby(primary, recovery_prefetch="off",
                                restore_command=f"cp {promoted.data}/pg_wal/%f %p")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, cascading)
    streaming(cascading)
    cascading.replayed(primary.write_wal(2))
    cascading.sql("SELECT pg_wal_replay_pause()")
    wait_for(lambda: cascading.sql("SELECT pg_get_wal_replay_pause_state()") == "paused",
             "replay to pause")
    promoted.replayed(primary.flushed())  # all that the other one has replayed: it can follow
    promoted.stop()
    primary.write_wal(2)
    primary.sql("CREATE TABLE rows (number int)")
    end = primary.flushed()
    reported(cascading, end)
    primary.stop("immediate")
    end = cascading.flushed()  # all that it can have passed on

    promoted.start()
    promoted.promote()
    fork = switchpoint(promoted, 1)
    assert fork < end
    cascading.follow(promoted)
    cascading.reload()
    cascading.sql("SELECT pg_wal_replay_resume()")
    told = receiver.wait_log(r"WARN.*a failover lost WAL that the archive has: .* from (\S+) to (\S+) "
                             r"on timeline 1, .*not part of timeline 2")
    assert wal.lsn(told[1]) == fork and fork < wal.lsn(told[2]) <= end
    assert "connected to" not in receiver.said().split("timeline switch")[1], "on the same connection"
    after = promoted.write_wal(2)
    reported(cascading, after)
    receiver.stop()
    archive.assert_covers(promoted, 2, after)
    assert [loss["timeline"] for loss in status_of(archive)["lost_branches"]] == [1]


@pytest.mark.parametrize("target", ["1", "2"])
def test_what_a_failover_lost_is_read_where_only_the_new_history_is_here(
        servers, receivers, new_archive, place, target):
    """The old timeline's last segment belongs to a recovery that stays on it to its end, and to one
    that goes on with the new timeline up to the switchpoint."""
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE rows (number int)")
    reported(primary, primary.write_wal(1))
    backup = base_backup(primary, place / "backup")
    primary.sql("INSERT INTO rows VALUES (0)")
    standby.caught_up_with(primary.flushed())
    standby.stop()
    for number in range(1, 6):
        primary.sql(f"INSERT INTO rows VALUES ({number})")
    reported(primary, primary.flushed())
    receiver.kill9()
    primary.stop("immediate")
    standby.start()
    standby.promote()
    fork = switchpoint(standby, 1)
    shutil.copy(standby.pg_wal("00000002.history"), archive.path)
    partials = [segno for _, segno in archive.partials()]
    assert partials[-1] == fork // primary.segment_size, "in the segment with the switchpoint"
    hand_over(archive.path)
    recovered = recover(servers, backup, "recovered", primary,
                        restore_command(place, archive, "--partial"),
                        recovery_target_timeline=target)
    rows = int(recovered.sql("SELECT count(*) FROM rows"))
    assert rows == {"1": 6, "2": 1}[target]


def test_ack_on_a_read_only_file_system_says_so(servers, receivers, new_archive, place):
    _, standby, archive, _ = failover(servers, receivers, new_archive)
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log("a failover lost WAL")
    streaming(standby)
    receiver.stop()
    before = archive.names()
    mounted = place / "mounted"
    mounted.mkdir()
    if os.getuid() != 0 or run(["mount", "--bind", archive.path, mounted], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        run(["mount", "-o", "remount,bind,ro", mounted])
        listed = pgweir("ack", "-D", mounted)
        assert listed.returncode == 0 and "abandoned by a failover" in listed.stdout
        done = pgweir("ack", "-D", mounted, "--all")
        assert done.returncode == 4, (done.returncode, done.stderr)
        assert "ead-only file system" in done.stderr and "acknowledged" not in done.stdout, done.stderr
    finally:
        run(["umount", mounted])
    assert archive.names() == before
    assert status_of(archive)["lost_branches"][0]["acknowledged"] is None


def commits(archive, begin, end):
    """By pg_waldump over the archive's files, raw as they are."""
    directory = archive.path.parent / "raw"
    directory.mkdir()
    for (timeline, segno), path in {**archive.partials(), **archive.finished()}.items():
        if timeline == 1:
            name = wal.segment_name(1, segno, archive.segment_size)
            (directory / name).write_bytes(archive.read(1, segno))
    found = run([DEBIAN_BIN / "pg_waldump", "-p", directory, "-t", "1", "-r", "Transaction", "-s",
                 wal.lsn_text(begin), "-e", wal.lsn_text(end)], check=False)
    return len(re.findall("desc: COMMIT", found.stdout))
