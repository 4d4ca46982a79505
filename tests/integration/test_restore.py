"""From base backup and archive to a server with the right rows: every form, every target."""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

import pytest

from support import chapter, process, wal
from support.process import PATIENCE, run, server_user, wait_for
from support.receiver import BINARY, pgweir
from support.server import DEBIAN_BIN, REPOSITORY
from support.recovery import base_backup, hand_over, installed, recover, restore_command
from support.scenario import begun, streaming, switchpoint

pytestmark = pytest.mark.in_memory

FORMS = ["raw", "zstd", "gzip", "lz4"]


def rows(server):
    return server.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t")


def insert(server, *numbers):
    server.sql("".join(f"INSERT INTO t VALUES ({number});" for number in numbers))


def expected(last):
    return ",".join(str(number) for number in range(1, last + 1))


def start_receiver(receivers, archive, server, form):
    options = ["--compress", "zstd"] if form == "zstd" else []
    return receivers.pgweir(archive, server, *options)


def convert(archive, form):
    """What pg_receivewal --compress leaves (the tail stays raw here: it is pgweir's)."""
    for path in archive.finished().values():
        if form == "gzip":
            run(["gzip", "-1", path])
        if form == "lz4":
            run(["lz4", "-q", "--content-size", path, f"{path}.lz4"])
            path.unlink()


class Story:
    """Rows 1 to 50 in five parts, and how to find the moments between them again."""

    def __init__(self, primary):
        primary.sql("CREATE TABLE t (i int)")
        insert(primary, *range(1, 11))
        self.time = primary.sql("SELECT clock_timestamp()")
        insert(primary, *range(11, 21))
        primary.write_wal(2)
        insert(primary, *range(21, 31))
        self.lsn = primary.sql("SELECT pg_current_wal_insert_lsn()")
        primary.switch_wal()
        insert(primary, *range(31, 41))
        primary.sql("SELECT pg_create_restore_point('before the end')")
        primary.write_wal(1)
        insert(primary, *range(41, 51))


@pytest.mark.parametrize("form", FORMS)
def test_recovers_to_every_kind_of_target(servers, receivers, new_archive, place, form):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = start_receiver(receivers, archive, primary, form)
    archive_begins = primary.flushed()
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    story = Story(primary)
    end = primary.flushed()
    archive.wait_covers(primary, 1, end)
    if form == "zstd":
        last = end // primary.segment_size
        wait_for(lambda: all(path.suffix == ".zst" for path in archive.finished().values())
                 and (1, last - 1) in archive.finished(), "everything to be compressed")
    primary.kill9()
    receiver.kill9()
    shutil.rmtree(primary.data)
    convert(archive, form)
    hand_over(archive.path)
    restore = restore_command(place, archive)

    targets = {
        "time": ({"recovery_target_time": story.time}, 10),
        "lsn": ({"recovery_target_lsn": story.lsn}, 30),
        "name": ({"recovery_target_name": "before the end"}, 40),
    }
    for name, (settings, last) in targets.items():
        server = recover(servers, backup, name, primary, restore, **settings)
        assert rows(server) == expected(last), name
        server.stop("immediate")

    # Everything that was flushed, the unfinished segment included; and without it less.
    whole = recover(servers, backup, "whole", primary,
                    restore_command(place, archive, "--partial"))
    assert rows(whole) == expected(50)
    assert "restored from the unfinished" in whole.last_log(400)
    whole.stop("immediate")

    # The moment by name: the last commit before the time is that of row 10.
    found = pgweir("restore", "-D", archive.path, "--find-time", story.time, "--json")
    assert found.returncode == 0, found.stderr
    moment = json.loads(found.stdout)
    server = recover(servers, backup, "found", primary, restore,
                     recovery_target_lsn=moment["before"]["lsn"])
    assert rows(server) == expected(10)
    server.stop("immediate")
    assert archive_begins <= wal.lsn(moment["before"]["lsn"]) < wal.lsn(moment["after"]["lsn"])
    found = pgweir("restore", "-D", archive.path, "--find-lsn", story.lsn, "--json")
    assert found.returncode == 0, found.stderr
    assert (wal.lsn(json.loads(found.stdout)["before"]["end_lsn"]) <= wal.lsn(story.lsn)
            < wal.lsn(json.loads(found.stdout)["after"]["end_lsn"]))


def test_finds_the_commits_that_pg_waldump_shows(servers, receivers, new_archive):
    primary = servers.primary(max_prepared_transactions=5)
    archive = new_archive(primary)
    start_receiver(receivers, archive, primary, "zstd")
    begun(archive, primary)
    begin = primary.flushed()
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, 1, 2)
    primary.sql("BEGIN; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'two'")
    primary.sql("COMMIT PREPARED 'two'")
    primary.write_wal(1)
    primary.sql("BEGIN; INSERT INTO t VALUES (4); ROLLBACK")
    insert(primary, 5)
    end = primary.flushed()
    archive.wait_covers(primary, 1, end)
    dump = run([DEBIAN_BIN / "pg_waldump", "-p", primary.data / "pg_wal", "-r",
                "Transaction", "-s", wal.lsn_text(begin), "-e", wal.lsn_text(end)], check=False)
    commits = []
    for line in dump.stdout.splitlines():
        if "desc: COMMIT" not in line:
            continue
        prepared = "COMMIT_PREPARED" in line
        xid = int(line.split("COMMIT_PREPARED ")[1].split(":")[0]) if prepared else int(
            line.split("tx:")[1].split(",")[0])
        commits.append((xid, wal.lsn(line.split("lsn: ")[1].split(",")[0])))
    assert len(commits) == 5, dump.stdout
    for (xid, lsn), (next_xid, next_lsn) in zip(commits, commits[1:]):
        found = pgweir("restore", "-D", archive.path, "--find-lsn", wal.lsn_text(next_lsn),
                       "--json")
        assert found.returncode == 0, found.stderr
        moment = json.loads(found.stdout)
        assert (moment["before"]["xid"], wal.lsn(moment["before"]["lsn"])) == (xid, lsn)
        assert (moment["after"]["xid"], wal.lsn(moment["after"]["lsn"])) == (next_xid, next_lsn)


@pytest.mark.parametrize("form", ["raw", "zstd"])
def test_recovers_over_a_promotion(servers, receivers, new_archive, place, form):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = start_receiver(receivers, archive, standby, form)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, *range(1, 11))
    primary.write_wal(1)
    insert(primary, *range(11, 21))
    end = primary.flushed()
    standby.caught_up_with(end)
    archive.wait_covers(standby, 1, end)
    primary.kill9()
    standby.promote()
    insert(standby, *range(21, 31))
    standby.switch_wal()
    insert(standby, *range(31, 41))
    archive.wait_covers(standby, 2, standby.flushed())
    # Covered by two unfinished ones it is for a moment, and one recovery is without --partial.
    wait_for(lambda: len(list(archive.path.glob("00000002*.partial"))) == 1,
             "the segment before the last to be finished")
    standby.kill9()
    receiver.kill9()
    hand_over(archive.path)
    restore = restore_command(place, archive)
    partial = restore_command(place, archive, "--partial")

    latest = recover(servers, backup, "latest", primary, partial, recovery_target_timeline="latest")
    assert rows(latest) == expected(40)
    assert latest.timeline() >= 3
    latest.stop("immediate")
    second = recover(servers, backup, "second", primary, restore, recovery_target_timeline="2")
    assert rows(second) == expected(30)
    # Ten rows more lie in the archive, and whoever looks into the server's log hears how to get them.
    log = second.last_log(400)
    assert re.search(r"00000002[0-9A-F]{16}\.partial exists and may contain newer WAL", log), log
    assert "With --partial" in log
    second.stop("immediate")
    first = recover(servers, backup, "first", primary, partial, recovery_target_timeline="current")
    assert rows(first) == expected(20)
    first.stop("immediate")

    # Without it, as in a copy without partial files, timeline 1 ends before the switchpoint, and timeline 2 lacks nothing.
    for unfinished in archive.path.glob("00000001*.partial"):
        unfinished.unlink()
    third = recover(servers, backup, "third", primary, restore, recovery_target_timeline="2")
    assert rows(third) == expected(30)
    third.stop("immediate")
    fourth = recover(servers, backup, "fourth", primary, partial, start=False, recovery_target_timeline="current")
    fourth.start(wait=False)
    assert fourth.process.wait(PATIENCE) != 0
    assert "is missing in the archive: according to 00000002.history, timeline 1 ends only at" in fourth.last_log(400)
    assert "opened" not in fourth.last_log(400)


@pytest.mark.parametrize("major", [13, 15, 18])
def test_a_lost_branch_is_not_restored_after_the_switchpoint(servers, receivers, new_archive, place, major):
    """The old primary goes on after a recovery was promoted at the first byte of a segment, and the archive has that segment
    of the old primary alone. A server that follows the new timeline requests it after its own."""
    primary = servers.primary(major=major, wal_keep_size="200MB")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE t (i int)")
    primary.stop("fast")
    backup = place / "backup"  # as it was shut down: a client of each version is not needed
    run(["cp", "-a", primary.data, backup])
    primary.start()
    streaming(primary)
    insert(primary, *range(1, 11))
    segno = primary.switch_wal() // primary.segment_size  # the lost branch's
    insert(primary, 101)
    primary.switch_wal()
    wait_for(lambda: (1, segno) in archive.finished(), "the lost branch's segment to be finished")
    receiver.stop()
    hand_over(archive.path)
    path = archive.finished()[1, segno]
    aside = place / path.name
    path.rename(aside)
    for unfinished in archive.partials().values():
        unfinished.unlink()
    restore = restore_command(place, archive)
    promoted = recover(servers, backup, "promoted", primary, restore)
    assert rows(promoted) == expected(10)
    assert switchpoint(promoted, 1) == segno * primary.segment_size, "else this tests nothing"
    history = promoted.data / "pg_wal" / "00000002.history"
    shutil.copy(history, archive.path)
    hand_over(archive.path)
    promoted.stop("immediate")
    shutil.copy(aside, path)
    hand_over(archive.path)

    # Also if the helper that fetches segments ahead has it ready, and was not asked for the other one.
    hurry = place / "restore"
    hurry.write_text(f"""#!/bin/sh
[ "$1" = {path.name.replace("00000001", "00000002", 1)} ] && exit 1
[ "$1" = {path.name} ] && sleep 1
exec {restore.replace("%f %p", '"$1" "$2"')}
""")
    hurry.chmod(0o755)
    ahead = recover(servers, backup, "ahead", primary, f"{hurry} %f %p", recovery_target_timeline="latest")
    assert rows(ahead) == expected(10)
    second = recover(servers, backup, "second", primary, restore, recovery_target_timeline="latest")
    assert rows(second) == expected(10)
    assert f"{path.name} is not restored: the server follows timeline 2" in second.last_log(400)
    stays = recover(servers, backup, "stays", primary, restore, recovery_target_timeline="1")
    assert rows(stays) == expected(10) + ",101"


def test_an_ancestors_segment_that_is_completed_meanwhile_ends_at_the_switchpoint(servers, receivers, new_archive,
                                                                                 place):
    """By the old primary's receiver, after the server was told that its own timeline's segment is absent."""
    primary = servers.primary(wal_keep_size="200MB")
    standby = servers.standby(primary)
    archive, lost = new_archive(primary), new_archive(primary, "lost")
    both = [receivers.pgweir(archive, standby), receivers.pgweir(lost, primary)]
    begun(archive, primary)
    begun(lost, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, *range(1, 11))
    primary.switch_wal()
    insert(primary, *range(11, 21))
    standby.caught_up_with(primary.flushed())
    standby.promote()
    insert(standby, *range(21, 31))
    archive.wait_covers(standby, 2, standby.flushed())
    insert(primary, 101)
    primary.switch_wal()
    segno = switchpoint(standby, 1) // primary.segment_size
    wait_for(lambda: (1, segno) in lost.finished(), "the old primary's segment to be finished")
    for receiver in both:
        receiver.stop()
    completed = lost.finished()[1, segno]
    hand_over(archive.path)
    hand_over(lost.path)
    wrapper = place / "restore"
    wrapper.write_text(f"""#!/bin/sh
[ "$1" = {completed.name} ] && cp {completed} {archive.path}
exec {installed(place)} restore -D {archive.path} "$1" "$2"
""")
    wrapper.chmod(0o755)
    recovered = recover(servers, backup, "recovered", primary, f"{wrapper} %f %p", recovery_target_timeline="latest")
    assert (archive.path / completed.name).exists(), "else it was not asked for"
    assert rows(recovered) == expected(20)
    assert f"{completed.name} was restored up to" in recovered.last_log(400)


def test_a_standby_passes_the_switchpoint_of_a_timeline_that_it_does_not_follow(servers, receivers, new_archive, place):
    """Timeline 2 is of a standby that was promoted by accident, timeline 3 of a failover later. The archive has the histories
    of both, and no segment of either yet."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")

    def end_of(*numbers):
        insert(primary, *numbers)
        end = primary.flushed()
        insert(primary, 100 + numbers[0])  # in the same segment
        primary.switch_wal()
        return end

    accident, failover = end_of(*range(1, 11)), end_of(*range(11, 21))
    archive.wait_finished(1, failover // primary.segment_size)
    receiver.stop()

    def promoted(timeline, end):
        (archive.path / f"{timeline:08X}.history").write_text(f"1\t{wal.lsn_text(end)}\tno recovery target specified\n")
        hand_over(archive.path)

    promoted(2, accident)
    restore = restore_command(place, archive)

    def standby(name):
        return recover(servers, backup, name, primary, restore, standby=True, recovery_target_timeline="latest",
                       wal_retrieve_retry_interval="200ms")

    before = standby("before")
    before.replayed(accident)
    # It goes on to follow timeline 2, of which there is nothing.
    promoted(3, failover)
    rejected = "new timeline 3 is not a child of database system timeline"
    wait_for(lambda: before.last_log(4000).count(rejected) > 2, "timeline 3 to be rejected more than once")
    assert rows(before) == expected(10)
    before.stop("immediate")

    after = standby("after")
    after.replayed(failover)
    assert rows(after) == ",".join(sorted([*expected(20).split(","), "101"], key=int))
    after.promote()
    assert rows(after) == ",".join(sorted([*expected(20).split(","), "101"], key=int))
    # Also the one that followed timeline 2, once it has been restarted.
    before.start()
    before.replayed(failover)


def test_a_standby_lives_on_the_archive_alone(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    hand_over(archive.path)
    restore = restore_command(place, archive)
    receivers.start(as_servers_user(place / "pgweir", "receive", "-D", archive.path, "-d",
                                    primary.conninfo(), "--compress", "zstd"))
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, 1)
    primary.switch_wal()
    standby = recover(servers, backup, "standby", primary, restore, standby=True)
    for number in range(2, 6):
        insert(primary, number)
        primary.write_wal(0.3)
        primary.switch_wal()
        wait_for(lambda: standby.sql("SELECT max(i) FROM t", check=False).stdout.strip()
                 == str(number), f"row {number} on the standby")
    assert rows(standby) == expected(5)
    assert standby.sql("SELECT pg_is_in_recovery()") == "t"
    assert "may contain newer WAL" not in standby.last_log(400), "it asks every few seconds"


def as_servers_user(*command):
    """The standby reads what the receiver writes meanwhile: one user, as it should be."""
    if os.getuid() != 0:
        return list(command)
    user = server_user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
            *command]


@pytest.mark.parametrize("standby", [False, True])
def test_wal_that_was_saved_from_a_lost_server_is_replayed(servers, receivers, new_archive, place, standby):
    """By the manual's procedure: the saved segments are copied into the new pg_wal. The archive ends earlier in the last one."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, 1)
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    insert(primary, *range(2, 21))
    primary.stop("immediate")
    for segment in (primary.data / "pg_wal").glob("0*"):
        run(["cp", "-a", segment, backup / "pg_wal"])
    hand_over(archive.path)
    server = recover(servers, backup, "recovered", primary, restore_command(place, archive, "--partial"), standby=standby)
    wait_for(lambda: server.sql("SELECT max(i) FROM t", check=False).stdout.strip() == "20", "the last row")
    assert rows(server) == expected(20)
    assert "in its pg_wal" in server.last_log(400)


def test_stops_the_server_where_a_segment_is_missing_or_damaged(servers, receivers, new_archive,
                                                               place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = start_receiver(receivers, archive, primary, "raw")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    for number in range(1, 5):
        insert(primary, number)
        primary.write_wal(0.6)
        switched = primary.switch_wal()
    archive.wait_finished(1, switched // primary.segment_size - 1)
    primary.kill9()
    receiver.kill9()
    hand_over(archive.path)
    restore = restore_command(place, archive)
    victim = list(archive.finished().values())[-3]
    content = bytearray(victim.read_bytes())

    def refused(name, what):
        server = recover(servers, backup, name, primary, restore, start=False)
        server.start(wait=False)
        assert server.process.wait(PATIENCE) != 0
        assert what in server.last_log(400), server.last_log()
        assert "opened" not in server.last_log(400)

    content[len(content) // 4] ^= 0xFF
    content[len(content) // 4 + 1] ^= 0xFF
    victim.write_bytes(content)
    refused("damaged", "damaged WAL")
    # Asked for, what is before the damage is recovered; nothing behind it.
    front = recover(servers, backup, "front", primary, restore_command(place, archive, "--up-to-damage"))
    assert rows(front) in [expected(number) for number in range(1, 4)], rows(front)
    assert "(--up-to-damage)" in front.last_log(400)
    front.stop("immediate")
    victim.unlink()
    refused("gap", "is missing in the archive")
    shutil.rmtree(archive.path)
    archive.path.mkdir()
    hand_over(archive.path)
    refused("unmounted", "no WAL at all")


def test_a_mistyped_restore_command_stops_the_server(servers, receivers, new_archive, place):
    """With a backup that holds all WAL it needs itself: a status of 1 to 125 would open it."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = start_receiver(receivers, archive, primary, "raw")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup", wal="fetch")
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, *range(1, 4))
    archive.wait_finished(1, primary.switch_wal() // primary.segment_size - 1)
    primary.kill9()
    receiver.kill9()
    hand_over(archive.path)
    right = restore_command(place, archive)
    program = right.split()[0]
    for name, wrong, told in (
            ("bare", program, "no command given"),
            ("one-word", f'{program} "restore -D {archive.path} %f %p"', "unknown command"),
            ("two-words", f'{program} "restore -D {archive.path}" %f %p', "unknown command"),
            ("unknown", f"{program} restor -D {archive.path} %f %p", "Did you mean restore?"),
            ("before", f"{program} -D {archive.path} restore %f %p",
             'unknown option "-D" before a command')):
        server = recover(servers, backup, name, primary, wrong, start=False)
        server.start(wait=False)
        assert server.process.wait(PATIENCE) != 0, name
        log = server.last_log(400)
        assert told in log and "could not restore file" in log, log
        assert "ready to accept connections" not in log, log
    server = recover(servers, backup, "right", primary, right)
    assert rows(server) == expected(3)


class Shelf:
    """An archive of real WAL and a place to restore to, without a server."""

    def __init__(self, archive, place):
        self.archive = archive
        self.out = place / "out"
        self.out.mkdir()

    def ask(self, name, *options, target=None, directory=None):
        target = target or self.out / "RECOVERYXLOG"
        pathlib.Path(target).unlink(missing_ok=True)
        result = pgweir("restore", "-D", directory or self.archive.path, *options, name, target)
        if result.returncode != 0:
            assert not pathlib.Path(target).is_file()
            assert [path for path in self.out.iterdir() if path.name.startswith(".")] == []
        return result


@pytest.fixture
def shelf(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    for _ in range(3):
        primary.write_wal(0.7)
        primary.switch_wal()
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    primary.stop("immediate")
    return Shelf(archive, place)


def test_has_three_exit_statuses_and_no_more(shelf, place):
    segments = list(shelf.archive.finished().values())
    good, bad = segments[0].name, segments[1].name
    whole = segments[1].read_bytes()
    assert shelf.ask(good).returncode == 0
    assert (shelf.out / "RECOVERYXLOG").read_bytes() == segments[0].read_bytes()
    newest = max(shelf.archive.partials(), default=None) or max(shelf.archive.finished())
    behind = wal.segment_name(1, newest[1] + 7, shelf.archive.segment_size)
    for name in [behind, "00000005.history", good[:8] + "00000000000000FF.00000028.backup"]:
        result = shelf.ask(name)
        assert result.returncode == 1, result.stderr
        assert result.stderr == ""

    wrong = {
        "no target": [["-D", shelf.archive.path, good]],
        "no archive": [[good, shelf.out / "x"]],
        "unknown option": [["-D", shelf.archive.path, "--fast", good, shelf.out / "x"]],
        "wrong value": [["-D", shelf.archive.path, "--on-gap", "maybe", good, shelf.out / "x"]],
        "three names": [["-D", shelf.archive.path, good, shelf.out / "x", "y"]],
        "nothing": [[]],
        "a path": [["-D", shelf.archive.path, f"../{shelf.archive.path.name}/{good}",
                    shelf.out / "x"]],
        "a partial's name": [["-D", shelf.archive.path, good + ".partial", shelf.out / "x"]],
        "no such archive": [["-D", place / "nowhere", good, shelf.out / "x"]],
        "a file as archive": [["-D", segments[0], good, shelf.out / "x"]],
        "no such target directory": [["-D", shelf.archive.path, good, place / "none" / "x"]],
        "the target is a directory": [["-D", shelf.archive.path, good, shelf.out]],
        "into the archive": [["-D", shelf.archive.path, good, shelf.archive.path / "x"]],
    }
    for what, [arguments] in wrong.items():
        result = pgweir("restore", *arguments)
        assert result.returncode == 200, (what, result)
        assert "pgweir: error:" in result.stderr, (what, result)

    path = segments[1]
    path.unlink()
    result = shelf.ask(bad)
    assert result.returncode == 200 and "is missing in the archive" in result.stderr
    assert shelf.ask(bad, "--on-gap", "absent").returncode == 1
    path.mkdir()
    assert shelf.ask(bad).returncode == 200
    path.rmdir()
    path.symlink_to(path.name)
    result = shelf.ask(bad)
    assert result.returncode == 200 and bad in result.stderr
    path.unlink()
    path.symlink_to(place / "gone")
    assert shelf.ask(bad).returncode == 200
    history = path.parent / "00000009.history"
    assert shelf.ask(history.name).returncode == 1
    history.symlink_to(place / "gone")
    result = shelf.ask(history.name)
    assert result.returncode == 200 and "symbolic link without a target" in result.stderr
    history.unlink()
    path.unlink()
    path.write_bytes(b"")
    assert shelf.ask(bad, "--retry-for", "0").returncode == 200
    os.mkfifo(str(path) + ".x")
    path.unlink()
    os.rename(str(path) + ".x", path)
    assert shelf.ask(bad).returncode == 200
    path.unlink()
    path.write_bytes(segments[0].read_bytes())
    result = shelf.ask(bad)
    assert result.returncode == 200 and "page address" in result.stderr
    path.write_bytes(whole)
    assert shelf.ask(bad).returncode == 0


def test_the_servers_pg_control_tells_whose_wal_it_must_be(shelf, place):
    data = place / "data"
    (data / "global").mkdir(parents=True)
    (data / "pg_wal").mkdir()
    control = data / "global" / "pg_control"
    name = next(iter(shelf.archive.finished().values())).name
    first = next(iter(shelf.archive.finished().values())).read_bytes()
    control.write_bytes(first[24:32] + bytes(8184))
    command = [BINARY, "restore", "-D", shelf.archive.path]
    assert run([*command, name, "pg_wal/RECOVERYXLOG"], cwd=data).returncode == 0
    control.write_bytes(b"\1" + bytes(8191))
    for asked in [name, "000000010000000000000FFF", "00000002.history"]:
        result = run([*command, asked, "pg_wal/RECOVERYXLOG"], cwd=data, check=False)
        assert result.returncode == 200 and "another cluster" in result.stderr, result


def test_tries_again_what_may_pass_and_lets_sigterm_end_it(shelf):
    """The server looks at how its restore_command ended: SIGTERM has to be seen as such."""
    path = next(iter(shelf.archive.finished().values()))
    content = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a file whose reading fails with EIO
    result = shelf.ask(path.name, "--retry-for", "0")
    assert result.returncode == 200 and "Input/output error" in result.stderr, result

    command = [BINARY, "restore", "-D", shelf.archive.path, "--retry-for", "1min", path.name,
               shelf.out / "RECOVERYXLOG"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "trying again" in running.stderr.readline()
    running.terminate()
    assert running.wait(PATIENCE) == -15
    assert list(shelf.out.iterdir()) == []

    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "trying again" in running.stderr.readline()
    path.unlink()
    path.write_bytes(content)
    # Absent for a moment (a gap) or there again: whichever it met.
    if running.wait(PATIENCE) == 0:
        assert (shelf.out / "RECOVERYXLOG").read_bytes() == content
    else:
        assert running.returncode == 200


@pytest.mark.parametrize("options", [[], ["--until-gap"], ["--up-to-damage"]])
@pytest.mark.parametrize("form", ["raw", "gzip"])
def test_waits_for_a_file_that_another_program_is_writing(shelf, form, options):
    """archive_command = 'cp %p DIR/%f' and the like: status 200 would end a standby, and 1 a recovery."""
    path = next(iter(shelf.archive.finished().values()))
    content = path.read_bytes()
    path.unlink()
    written, whole = (path, content) if form == "raw" else (path.with_name(path.name + ".gz"), gzip.compress(content, 1))
    written.write_bytes(whole[:len(whole) // 2])
    command = [BINARY, "restore", "-D", shelf.archive.path, *options, path.name, shelf.out / "RECOVERYXLOG"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "waiting for the rest of it" in running.stderr.readline()
    with open(written, "ab") as file:
        file.write(whole[len(whole) // 2:])
    said = running.communicate(timeout=PATIENCE)[1]
    assert running.returncode == 0, said
    assert (shelf.out / "RECOVERYXLOG").read_bytes() == content
    # Nobody writes to it any more: it is damaged.
    written.write_bytes(whole[:len(whole) // 2])
    os.utime(written, (0, 0))
    result = shelf.ask(path.name)
    assert result.returncode == 200 and "waiting" not in result.stderr, result


def test_a_full_target_disk_is_told_and_leaves_nothing(shelf, place):
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    small = place / "small"
    small.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small],
           check=False).returncode != 0:
        pytest.skip("cannot mount here")
    try:
        name = next(iter(shelf.archive.finished().values())).name
        result = pgweir("restore", "-D", shelf.archive.path, name, small / "RECOVERYXLOG")
        assert result.returncode == 200
        assert "No space left" in result.stderr
        assert list(small.iterdir()) == []
    finally:
        run(["umount", small])


def test_the_runbook_works_when_pasted(servers, receivers, new_archive, place):
    """Every line of the sh blocks of docs/restore.md, with its example paths replaced. After the restore, the receiver
    comes before the base backup: what the new timeline begins with is then archived."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    Story(primary)
    archive.wait_covers(primary, 1, primary.flushed())
    port = primary.port
    primary.kill9()
    receiver.kill9()
    hand_over(archive.path)
    restore_command(place, archive)  # puts the program where the servers' user finds it

    commands = [(words, text) for language, words, text in chapter.blocks(REPOSITORY / "docs" / "restore.md")
                if language == "sh"]
    texts = [text for words, text in commands if not words]
    [receive] = [text for words, text in commands if words == ["background"]]
    assert len(texts) >= 6
    restored = place / "restored"
    lines = "".join(texts)
    for example, ours in {"/srv/wal": archive.path, "/srv/backup/base": backup,
                          "/srv/pg/restored": restored / "data",
                          "/usr/lib/postgresql/15/bin": DEBIAN_BIN}.items():
        assert example in lines
        lines = lines.replace(example, str(ours))
    restored.mkdir()
    hand_over(place / "restored")
    script = f"set -e\nexport PATH={place}:$PATH\n{lines}"
    result = run(["bash", "-c", script], check=False, timeout=10 * PATIENCE, cwd="/", **process.as_server_user())
    try:
        assert result.returncode == 0, result.stdout + result.stderr
        assert "last before" in result.stdout
        server_rows = run([DEBIAN_BIN / "psql", "-XAtq", "-c",
                           "SELECT string_agg(i::text, ',' ORDER BY i) FROM t",
                           f"host={primary.socket_dir} port={port} user=postgres dbname=postgres"])
        assert server_rows.stdout.strip() == expected(50)

        # The restored server has the port of the lost one. It keeps as little WAL as any other.
        primary.sql("ALTER SYSTEM SET wal_keep_size = 0")
        primary.sql("SELECT pg_reload_conf()")
        receiver = receivers.start(["bash", "-c", "exec " + receive.replace("/srv/wal", str(archive.path))],
                                   {"CONNINFO": primary.conninfo(), "PATH": f"{place}:{os.environ['PATH']}"})
        receiver.wait_log("streaming timeline 2")  # with the slot
        for _ in range(3):  # what the slot does not retain is gone
            primary.switch_wal()
            primary.sql("CHECKPOINT")
        following = base_backup(primary, place / "following")
        wait_for(lambda: pgweir("verify", "-D", archive.path, "--no-progress", "--backup", following).returncode == 0,
                 "the next backup to be recoverable")
        receiver.stop()
    finally:
        run([DEBIAN_BIN / "pg_ctl", "-D", restored / "data", "-m", "immediate", "stop"],
            check=False, cwd="/", **process.as_server_user())


def test_restores_from_an_archive_that_is_being_written(servers, receivers, new_archive, place):
    """What is finished, compressed, pruned or written on meanwhile is no damage and no gap: a warm
    standby on a live archive must not die of it."""
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.pgweir(archive, primary, "--compress", "zstd:1")
    begun(archive, primary)
    primary.sql("CREATE TABLE t (i int)")
    insert(primary, 1)
    archive.wait_covers(primary, 1, primary.write_wal(2))
    stop = threading.Event()

    def load():
        while not stop.is_set():
            primary.write_wal(0.7)

    loading = threading.Thread(target=load)
    loading.start()
    calls = 0
    try:
        target = place / "RECOVERYXLOG"
        while calls < 400:
            # The newest two: one is being written, one finished and compressed.
            segnos = sorted({segno for _, segno in {**archive.finished(), **archive.partials()}})
            for segno in segnos[-2:]:
                name = wal.segment_name(1, segno, primary.segment_size)
                done = pgweir("restore", "-D", archive.path, "--partial", name, target)
                assert done.returncode in (0, 1), f"call {calls}: {done.stderr}"
                calls += 1
            if calls % 10 == 0:
                done = pgweir("restore", "-D", archive.path, "--find-time",
                              time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime()))
                assert done.returncode in (0, 1), f"call {calls}: {done.stderr}"
                done = pgweir("restore", "-D", archive.path, "--find-lsn",
                              wal.lsn_text(segnos[-2] * primary.segment_size + 100))
                assert done.returncode in (0, 1), f"call {calls}: {done.stderr}"
    finally:
        stop.set()
        loading.join()
