"""A hole in the archive: no recovery gets over it, none ends at it unasked, and everything before it
can be had."""

import json
import re

from support import wal
from support.process import PATIENCE, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import reported, streaming


def insert(server, first, last):
    for number in range(first, last + 1):
        server.sql(f"INSERT INTO t VALUES ({number})")


def rows(server):
    return server.sql("SELECT count(*) || ':' || coalesce(max(i), 0) FROM t")


class Holed:
    """Rows 1 to 20 are in the archive, the last of them in an unfinished segment; 21 to 40 are in the
    hole, 41 to 50 in the unfinished segment behind it."""

    def __init__(self, servers, receivers, new_archive, place):
        self.place = place
        self.primary = primary = servers.primary(wal_keep_size="1GB")
        self.archive = archive = new_archive(primary)
        receiver = receivers.pgweir(archive, primary)
        streaming(primary)
        self.backup = base_backup(primary, place / "backup")
        primary.sql("CREATE TABLE t (i int)")
        insert(primary, 1, 10)
        primary.write_wal(2)
        insert(primary, 11, 20)
        self.edge = primary.flushed()
        reported(primary, self.edge)
        self.time = primary.sql("SELECT clock_timestamp()")
        receiver.stop()
        primary.sql("ALTER SYSTEM SET wal_keep_size = 0")
        primary.sql("SELECT pg_reload_conf()")
        wanted = primary.wal_path(1, self.edge)
        insert(primary, 21, 30)
        self.lsn_in_hole = primary.flushed() + primary.segment_size

        def removed():
            primary.write_wal(1)
            primary.sql("CHECKPOINT")
            return not wanted.exists()

        wait_for(removed, f"{wanted.name} to be removed")
        insert(primary, 31, 40)
        primary.switch_wal()
        primary.sql("CHECKPOINT")
        receiver = receivers.pgweir(archive, primary, "--on-gap", "continue")
        streaming(primary)
        insert(primary, 41, 50)
        reported(primary, primary.flushed())
        receiver.kill9()
        primary.kill9()
        hand_over(archive.path)

    def edge_name(self):
        return wal.segment_name(1, self.edge // self.primary.segment_size,
                                self.primary.segment_size)

    def recover(self, servers, name, *options, **settings):
        return recover(servers, self.backup, name, self.primary,
                       restore_command(self.place, self.archive, *options), **settings)


def settings_of(found):
    """The lines that are to be put into the server's configuration, as printed."""
    lines = re.findall(r"^  (\w+) = '(.*)'$", found.stdout, re.M)
    assert lines, found.stdout
    return dict(lines)


def test_everything_before_a_hole_is_recovered_and_nothing_ends_there_unasked(
        servers, receivers, new_archive, place):
    holed = Holed(servers, receivers, new_archive, place)
    primary, archive = holed.primary, holed.archive
    behind = [segno for _, segno in archive.partials()
              if segno > holed.edge // primary.segment_size]
    assert len(behind) == 1 and not [
        segno for _, segno in archive.finished() if segno >= holed.edge // primary.segment_size
    ], "the state that this is about: unfinished segments on both sides of the hole"

    # By hand, for every name at the edge and in the hole.
    for segno in range(holed.edge // primary.segment_size, behind[0]):
        name = wal.segment_name(1, segno, primary.segment_size)
        for options in ([], ["--partial"]):
            asked = pgweir("restore", "-D", archive.path, *options, name, place / "RECOVERYXLOG")
            assert asked.returncode == 200, f"{name} {options}: {asked.stderr}"
            assert "--until-gap" in asked.stderr, asked.stderr

    # A server that recovers does not open.
    stopped = holed.recover(servers, "stopped", "--partial", start=False)
    stopped.start(wait=False)
    assert stopped.process.wait(PATIENCE) != 0
    assert "is missing in the archive" in stopped.last_log(400)

    # To the last byte before the hole, with and without a helper.
    for name, options in (("whole", ["--until-gap"]), ("plain", ["--until-gap", "--prefetch", "0"])):
        server = holed.recover(servers, name, *options)
        assert rows(server) == "20:20", name
        assert "before a hole" in server.last_log(400)
        server.stop("immediate")

    # What --find-time and --find-lsn print works as printed.
    for asked in (["--find-time", holed.time], ["--find-lsn", wal.lsn_text(holed.lsn_in_hole)]):
        found = pgweir("restore", "-D", archive.path, *asked)
        assert found.returncode == 0, found.stderr
        assert re.search(r"^hole ", found.stdout, re.M), found.stdout
        settings = settings_of(found)
        command = settings.pop("restore_command")
        assert "--until-gap" in command
        command = command.replace("pgweir", restore_command(place, archive).split()[0], 1)
        server = recover(servers, holed.backup, asked[0].strip("-"), primary, command, **settings)
        assert rows(server) == "20:20", asked
        server.stop("immediate")
    found = json.loads(pgweir("restore", "-D", archive.path, "--find-lsn",
                              wal.lsn_text(holed.lsn_in_hole), "--json").stdout)
    assert found["hole"]["asked_for"] and found["restore_options"] == ["--until-gap"]
    assert wal.lsn(found["hole"]["to"]) == behind[0] * primary.segment_size
    # The server may have written a record of its own before the receiver was stopped.
    begin = wal.lsn(found["hole"]["from"])
    assert wal.lsn(found["before"]["end_lsn"]) <= holed.edge <= begin
    assert begin // primary.segment_size == holed.edge // primary.segment_size


def test_an_acknowledged_hole_is_told_to_a_recovery_all_the_same(
        servers, receivers, new_archive, place):
    """And once the segment behind it is finished, too."""
    holed = Holed(servers, receivers, new_archive, place)
    if "ack" in pgweir("--help").stdout.split():
        assert pgweir("ack", "-D", holed.archive.path, "--all").returncode == 0
    asked = pgweir("restore", "-D", holed.archive.path, holed.edge_name(), place / "x")
    assert asked.returncode == 200, asked.stderr
    found = pgweir("restore", "-D", holed.archive.path, "--find-time", holed.time)
    assert "hole " in found.stdout
    # The marks are lost as well: the names still tell.
    for mark in holed.archive.path.glob(".pgweir-*"):
        mark.unlink()
    asked = pgweir("restore", "-D", holed.archive.path, "--partial", holed.edge_name(), place / "x")
    assert asked.returncode == 200, asked.stderr


def test_what_is_found_on_an_old_branch_can_be_recovered(servers, receivers, new_archive, place):
    """A failover left WAL behind that the archive has: its last commits are in a .partial."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, 1, 5)
    standby = servers.standby(primary)
    standby.caught_up_with(primary.flushed())
    standby.stop("immediate")
    insert(primary, 6, 9)
    reported(primary, primary.flushed())
    time = primary.sql("SELECT clock_timestamp()")
    receiver.stop()
    primary.kill9()
    standby.start()
    standby.promote()
    insert(standby, 100, 101)
    receiver = receivers.pgweir(archive, standby)
    reported(standby, standby.write_wal(1))
    receiver.stop()
    hand_over(archive.path)
    assert len(list(archive.path.glob(".pgweir-loss-*"))) == 1, "as the receiver recorded it"
    newest = pgweir("restore", "-D", archive.path, "--find-time", time)
    assert re.search(r"(?m)^lost branch .* of timeline 1 .*\n.*--timeline 1", newest.stdout)
    newest = json.loads(pgweir("restore", "-D", archive.path, "--find-time", time,
                               "--json").stdout)
    assert [lost["timeline"] for lost in newest["lost_branches"]] == [1]
    found = pgweir("restore", "-D", archive.path, "--find-time", time, "--timeline", "1")
    assert found.returncode == 0, found.stderr
    settings = settings_of(found)
    assert settings["recovery_target_timeline"] == "1" and "--partial" in settings["restore_command"]
    command = settings.pop("restore_command").replace(
        "pgweir", restore_command(place, archive).split()[0], 1)
    server = recover(servers, backup, "old_branch", primary, command, **settings)
    assert rows(server) == "9:9"
