"""What a failover lost and the archive has: told until somebody acknowledges it."""

import json
import re

from support import wal
from support.process import run
from support.receiver import pgweir
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
    end = primary.flushed()
    reported(primary, end)
    receiver.kill9()
    primary.stop("immediate")
    standby.start()
    standby.promote()
    return primary, standby, archive, end


def status_of(archive):
    return json.loads(pgweir("status", "-D", archive.path, "--json").stdout)


def test_a_fork_behind_what_was_acknowledged_is_told_until_it_is_acknowledged(
        servers, receivers, new_archive):
    primary, standby, archive, end = failover(servers, receivers, new_archive)
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
    primary.write_wal(1)
    primary.stop()  # a standby and a receiver get all of it
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
    assert pgweir("ack", "-D", archive.path).stdout == "nothing is known to be lost\n"


def test_a_failover_that_an_earlier_version_followed_is_found(servers, receivers, new_archive):
    """Its archive has both branches and no record."""
    _, standby, archive, _ = failover(servers, receivers, new_archive)
    receiver = receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, standby.write_wal(2))
    receiver.stop()
    record = archive.path / f".pgweir-loss-{status_of(archive)['lost_branches'][0]['id']}"
    before = json.loads(record.read_text())
    record.unlink()
    assert pgweir("verify", "-D", archive.path).returncode == 1, "found by what is there"
    receiver = receivers.pgweir(archive, standby)
    receiver.wait_log("a failover lost WAL")
    streaming(standby)
    receiver.stop()
    after = json.loads(record.read_text())
    assert all(after[key] == before[key] for key in ("begin", "end", "commits", "next_timeline"))


def test_ack_on_an_archive_without_losses_or_without_a_name(servers, receivers, new_archive):
    empty = new_archive(servers.primary(start=False))
    done = pgweir("ack", "-D", empty.path)
    assert (done.returncode, done.stdout) == (0, "nothing is known to be lost\n")
    done = pgweir("ack", "-D", empty.path, "--all")
    assert (done.returncode, done.stdout) == (0, "nothing is left to be acknowledged\n")
    done = pgweir("ack", "-D", empty.path, "hole-1-0-3000000")
    assert done.returncode == 2 and "no such loss" in done.stderr
    assert pgweir("ack", "-D", empty.path / "nowhere").returncode == 4
    assert pgweir("ack").returncode == 2


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
