"""What version 0.1.0 has left is taken over without a step by hand: archives, slots, configurations and options; and 0.1.0
continues an archive to which this version has written. PGWEIR_LONG=1, after `scripts/setup old`, which builds 0.1.0 from
this repository's history; PGWEIR_OLD names another binary."""

import contextlib
import json
import os
import pathlib
import re

import pytest

from support import wal
from support.process import run, wait_for
from support.receiver import BINARY, VERSION, pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.archive import Archive
from support.scenario import create_slot, reported, restart_lsn, streaming, switchpoint
from support.server import REPOSITORY
from test_package import Root, debs  # noqa: F401

OLD = pathlib.Path(os.environ.get("PGWEIR_OLD", REPOSITORY / "build" / "old" / "build" / "dev" / "pgweir"))
COMMANDS = ["receive", "restore", "verify", "prune", "compress", "status", "doctor", "logical", "listen", "notify",
            "slot create", "slot drop", "slot list", "config check", "config show"]
ROUNDS = 8

pytestmark = pytest.mark.skipif(os.environ.get("PGWEIR_LONG") != "1" or not OLD.exists(),
                                reason="PGWEIR_LONG=1 after scripts/setup old")


def old(*arguments, **options):
    return run([OLD, *arguments], check=False, timeout=60, **options)


def old_command(archive, server, *options):
    return [OLD, "receive", "-D", archive.path, "-d", server.conninfo(), *options]


def counted(server):
    return int(server.sql("SELECT count(*) FROM said"))


@pytest.mark.parametrize("compress", [[], ["--compress", "zstd:1"]], ids=["raw", "zstd"])
@pytest.mark.parametrize("major", [13, 15, 18])
def test_each_continues_what_the_other_left(servers, receivers, new_archive, place, seeded, major, compress):
    """Under load, and killed at random moments: what either has reported stays, and the archive is whole. Recoveries by either
    program's restore reach the last row."""
    primary = servers.primary(major=major)
    primary.sql("CREATE TABLE said (n int)")
    create_slot(primary)
    start = restart_lsn(primary)
    archive = new_archive(primary)
    commands = {
        "old": lambda: receivers.start(old_command(archive, primary, "-S", "archive", *compress)),
        "new": lambda: receivers.pgweir(archive, primary, "-S", "archive", *compress),
    }
    rows = 0
    for number in range(ROUNDS):
        which = "old" if number % 2 == 0 else "new"
        receiver = commands[which]()
        streaming(primary)
        for _ in range(seeded.randrange(1, 4)):
            rows += 1
            primary.sql(f"INSERT INTO said VALUES ({rows})")
            primary.write_wal(1)
        if number % 4 == 3:
            reported(primary, primary.flushed())
            receiver.stop()
        else:
            if seeded.randrange(2):
                reported(primary, primary.flushed())
            receiver.kill9()
        archive.assert_covers(primary, 1, max(restart_lsn(primary), start))
        for each in ("old", "new"):
            # Without a fault that only one of them finds: incomplete files are the other's as well.
            status = (old if each == "old" else pgweir)("verify", "-D", archive.path)
            assert status.returncode == 0, (which, each, status.stdout, status.stderr)
    receiver = commands["new"]()
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end, start=start)
    archive.assert_same_wal(primary, minimum=4)
    assert archive.hidden() == [] or all(name.startswith(".pgweir-") for name in archive.hidden())


def test_recoveries_by_either(servers, receivers, new_archive, place):
    """A base backup, WAL received by both, a switch of the timeline: recovered with restore_command of either version, and
    by pgweir recover."""
    primary = servers.primary()
    primary.sql("CREATE TABLE said (n int)")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.start(old_command(archive, primary, "-S", "archive", "--compress", "zstd:1"))
    streaming(primary)
    backup = base_backup(primary, place / "backup")
    standby = servers.standby(primary)
    primary.sql("INSERT INTO said VALUES (1)")
    reported(primary, primary.write_wal(2))
    receiver.kill9()
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--compress", "zstd:1")
    streaming(primary)
    primary.sql("INSERT INTO said VALUES (2)")
    reported(primary, primary.write_wal(1))
    standby.caught_up_with(primary.flushed())
    receiver.stop()
    primary.stop("fast")
    standby.promote()
    standby.sql("INSERT INTO said VALUES (3)")
    for command in (old_command(archive, standby), None):
        receiver = receivers.start(command) if command else receivers.pgweir(archive, standby)
        streaming(standby)
        standby.sql("INSERT INTO said SELECT max(n) + 1 FROM said")
        reported(standby, standby.write_wal(1))
        receiver.stop()
    hand_over(archive.path)
    expected = counted(standby)
    by_old = place / "old"
    run(["cp", OLD, by_old])
    by_old.chmod(0o755)
    for name, restore in [("by-old", f"{by_old} restore -D {archive.path} --partial %f %p"),
                          ("by-new", restore_command(place, archive, "--partial"))]:
        copy = recover(servers, backup, name, primary, restore)
        assert counted(copy) == expected, name
        copy.stop("immediate")


def test_a_failover_while_the_other_version_was_at_work(servers, receivers, new_archive):
    """0.1.0 ends in the middle of a segment of timeline 1, this version begins timeline 2, and 0.1.0 continues."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.start(old_command(archive, primary))
    streaming(primary)
    standby = servers.standby(primary)
    start = primary.flushed()
    reported(primary, primary.write_wal(1))
    receiver.kill9()
    end_of_1 = primary.flushed()
    standby.caught_up_with(primary.flushed())
    primary.stop("fast")
    standby.promote()
    for turn in range(4):
        receiver = receivers.start(old_command(archive, standby)) if turn % 2 else receivers.pgweir(archive, standby)
        streaming(standby)
        end = standby.write_wal(1)
        reported(standby, end)
        receiver.kill9()
    archive.assert_covers(primary, 1, end_of_1, start=start)
    archive.assert_covers(standby, 2, end, start=switchpoint(standby, 1))
    archive.assert_same_wal(standby, primary, minimum=2)
    for each in (pgweir, old):
        status = each("verify", "-D", archive.path)
        assert status.returncode == 0, (each, status.stdout, status.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_accepted(command):
    """By name, of the command line; a renamed one by its former name."""
    text = old(*command.split(), "--help").stdout
    names = sorted(set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text)) - {"help", "version"})
    assert names or command in ("config check", "config show"), text
    for name in names:
        for words in ([f"--{name}=1"], [f"--{name}"]):
            said = pgweir(*command.split(), *words, "--help-not-there").stderr
            assert f"--{name}" not in said or "unknown option" not in said, said


def test_its_example_configuration_is_accepted(place):
    for example in sorted((OLD.parents[2] / "packaging").rglob("*.ini")):
        text = example.read_text()
        # What is commented out there is meant to be used: "#option = value".
        opened = re.sub(r"^# ?(?=[a-z-]+ *= *\S+$)", "", text, flags=re.MULTILINE)
        for content in (text, opened):
            path = place / "c.ini"
            path.write_text(content)
            path.chmod(0o600)
            before = old("-c", path, "config", "check")
            if before.returncode == 0:
                now = pgweir("-c", path, "config", "check")
                assert now.returncode == 0, (example, now.stdout, now.stderr)


def test_a_script_that_reads_its_json_still_can(servers, receivers, new_archive):
    """Each field of 0.1.0's `status --json` and `verify --json` is there, with a value of the same type."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(3))
    missing = []

    def compare(before, now, where):
        if isinstance(before, dict):
            if not isinstance(now, dict):
                missing.append(where)
                return
            for key, value in before.items():
                if key not in now:
                    missing.append(f"{where}.{key}")
                else:
                    compare(value, now[key], f"{where}.{key}")
        elif isinstance(before, list):
            if not isinstance(now, list):
                missing.append(where)
            elif before and now:
                compare(before[0], now[0], where + "[]")

    for command in (["status", "--json"], ["verify", "--json"]):
        before = json.loads(old(*command, "-D", archive.path).stdout)
        now = json.loads(pgweir(*command, "-D", archive.path).stdout)
        compare(before, now, command[0])
    receiver.stop()
    assert not missing


def test_the_package_is_upgraded_under_load_and_back(servers, receivers, place, debs):  # noqa: F811
    """A receiver of the installed 0.1.0 runs on while its package is replaced, the new one continues its archive, and so does
    0.1.0 after its package was installed again. No commit that was acknowledged in the meantime is missing."""
    old_debs = sorted((OLD.parents[2] / "build" / "package").glob("pgweir_0.1.0*.deb"))
    if os.getuid() != 0 or not old_debs:
        pytest.skip("installing packages needs root, and the package of 0.1.0")
    with contextlib.closing(Root()) as root:
        root("dpkg", "-i", root.put(old_debs[0], "old.deb"))
        assert "0.1.0" in root("pgweir", "--version").stdout
        root.sh("mkdir -m 700 /tmp/archive; echo '# mine' >> /etc/pgweir/example.ini")
        primary = servers.primary(synchronous_standby_names="pgweir")
        primary.sql("SET synchronous_commit = local; CREATE TABLE said (n int)")
        create_slot(primary)
        command = root.command("/usr/bin/pgweir", "receive", "-D", "/tmp/archive", "-S", "archive", "-d", primary.conninfo())
        receiver = receivers.start(command)
        streaming(primary)
        start = restart_lsn(primary)
        load = primary.spawn_sql("DO $$BEGIN FOR n IN 1..100000000 LOOP INSERT INTO said VALUES (n); COMMIT; END LOOP; END$$")
        position = primary.flushed()
        wait_for(lambda: primary.flushed() > position + 50_000, "some commits")
        root("dpkg", "--force-confold", "-i", root.put(debs["pgweir"], "new.deb"))
        assert "# mine" in root.sh("cat /etc/pgweir/example.ini").stdout
        position = primary.flushed()
        wait_for(lambda: primary.flushed() > position + 50_000, "commits after the package was replaced")
        receiver.stop()
        receiver = receivers.start(command)
        streaming(primary)
        position = primary.flushed()
        wait_for(lambda: primary.flushed() > position + 50_000, "commits with the new program")
        assert f"pgweir {VERSION}" in root("pgweir", "--version").stdout
        root("dpkg", "--force-confold", "-i", "/tmp/old.deb")
        assert "# mine" in root.sh("cat /etc/pgweir/example.ini").stdout
        receiver.stop()
        receiver = receivers.start(command)
        streaming(primary)
        position = primary.flushed()
        wait_for(lambda: primary.flushed() > position + 50_000, "commits with 0.1.0 again")
        load.kill()
        load.wait()
        reported(primary, primary.flushed())
        end = primary.flushed()
        receiver.stop()
        archive = Archive(pathlib.Path(root.path("/tmp/archive")), primary.segment_size)
        archive.assert_covers(primary, 1, end, start=start)
        assert pgweir("verify", "-D", archive.path).returncode == 0
