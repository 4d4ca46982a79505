"""pgweir drill beside real servers: what a sound archive promises is reached, what is wrong is told in the right
words, and nothing is left behind: no process, no file, nothing changed in the archive or the backup."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal

import pytest

from support import wal
from support.chapter import DOCS, Chapter
from support.process import as_server_user, run, server_user, wait_for
from support.receiver import Receiver
from support.recovery import hand_over, installed
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN, bin_directory

pytestmark = pytest.mark.in_memory


def give(path):
    if os.getuid() == 0:
        os.chown(path, server_user().pw_uid, server_user().pw_gid)
    return path


def directory(path):
    path.mkdir(parents=True)
    return give(path)


def basebackup(server, path, *options):
    run([DEBIAN_BIN / "pg_basebackup", "-D", path, "-d", server.conninfo(), "-c", "fast", "-N", "-X", "none",
         *options], **as_server_user(), cwd="/")
    return path


class World:
    """A primary with a tablespace and checksums, its archive, and backups of each form; behind each backup
    some rows and WAL."""

    FORMS = {"plain": [], "tar": ["-F", "t"], "gz": ["-F", "t", "--compress=client-gzip"],
             "lz4": ["-F", "t", "--compress=client-lz4"], "zst": ["-F", "t", "--compress=client-zstd"]}

    def __init__(self, servers, receivers, new_archive, place, forms=("plain",)):
        self.place = place
        self.program = installed(place)
        self.sandbox = directory(place / "sandbox")
        self.primary = primary = servers.primary(initdb=["-k"], wal_keep_size="1GB", max_prepared_transactions=5,
                                                 track_commit_timestamp="on")
        # What the sandbox must not take over.
        primary.conf(archive_mode="off", synchronous_standby_names="", log_connections="on")
        self.archive = new_archive(primary)
        self.receiver = receivers.pgweir(self.archive, primary, "--compress", "zstd")
        streaming(primary)
        self.elsewhere = directory(place / "elsewhere")
        primary.sql(f"CREATE TABLESPACE other LOCATION '{self.elsewhere}'")
        primary.sql("CREATE TABLE t (i int primary key); CREATE TABLE far (i int) TABLESPACE other")
        self.backups = directory(place / "backups")
        self.copied = place / "backups" / "tablespace"
        self.moments = []
        for number, form in enumerate(forms):
            mapping = [f"--tablespace-mapping={self.elsewhere}={self.copied}"] if form == "plain" else []
            basebackup(primary, self.backups / form, *self.FORMS[form], *mapping)
            primary.sql(f"INSERT INTO t VALUES ({number}); INSERT INTO far VALUES ({number})")
            self.moments.append(primary.sql("SELECT clock_timestamp()"))
            primary.write_wal(2)
        primary.sql("INSERT INTO t VALUES (1000)")
        self.xid = int(primary.sql("SELECT xmin FROM t WHERE i = 1000"))
        self.end = primary.flushed()
        reported(primary, self.end)
        self.receiver.stop()
        self.most = primary.flushed()  # an idle server may have written a little meanwhile
        hand_over(self.archive.path)

    def command(self, *options, backup="plain"):
        backup = backup if isinstance(backup, pathlib.Path) else self.backups / backup
        return [self.program, "drill", "-D", self.archive.path, "--backup", backup, "--sandbox", self.sandbox,
                *options]

    def drill(self, *options, status=0, **more):
        """Returns what was told as JSON."""
        done = run(self.command(*options, "--json", **more), check=False, **as_server_user(), cwd="/")
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        self.assert_nothing_left()
        return json.loads(done.stdout)

    def processes(self):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                where = os.readlink(entry / "cwd") if words else ""
            except OSError:
                continue
            if str(self.sandbox) in where or (str(self.sandbox).encode() in words and b"drill\0-D" not in words):
                found.append((entry.name, words))
        return found

    def assert_whole(self, told):
        """To the last complete record, which a server that is idle may be about to follow with another one."""
        assert told["reached_lsn"] == told["promised_lsn"], told
        assert self.end - (32 << 10) < wal.lsn(told["reached_lsn"]) <= self.most, told
        assert told["promised_commit"]["xid"] == self.xid and told["commit_reached"] is True

    def assert_nothing_left(self):
        assert list(self.sandbox.iterdir()) == []
        wait_for(lambda: not self.processes(), "no process of the sandbox to be left")

    def fingerprint(self):
        """Everything a drill may read, and must not touch."""
        found = {}
        for top in (self.archive.path, self.backups, self.elsewhere):
            for path in sorted(top.rglob("*")):
                if path.name == ".pgweir-last-drill":
                    continue
                status = path.lstat()
                content = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, content)
        return found


def names(told):
    return [check["check"] for check in told["checks"]]


def test_a_sound_archive_is_recovered_to_what_it_promises(servers, receivers, new_archive, place):
    world = World(servers, receivers, new_archive, place)
    before = world.fingerprint()
    metrics = directory(place / "metrics") / "drill.prom"
    told = world.drill("--check", "SELECT count(*) = 2 FROM t", "--check", "SELECT i = 0 FROM far",
                       "--metrics-file", metrics)
    assert told["outcome"] == "recovered" and told["problems"] == [], told
    # The open segment to its last byte, and the commit that was the last one.
    world.assert_whole(told)
    assert all(check["passed"] for check in told["checks"])
    assert {"pg_verifybackup", "pg_amcheck", "pg_checksums"} < set(names(told)) and told["skipped"] == []
    assert [phase["phase"] for phase in told["phases"]] == ["look through", "copy", "manifest", "start", "replay",
                                                            "checks"]
    exported = metrics.read_text()
    assert 'outcome="recovered"} 1' in exported and 'phase="replay"' in exported
    assert set(re.findall(r"^(pgweir_drill_\w+)\{", exported, re.MULTILINE)) == set(
        re.findall(r"^\| `(pgweir_drill_\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))

    # To a moment, and to a position: what was committed later is not there.
    told = world.drill("--to", world.moments[0], "--check", "SELECT count(*) = 1 FROM t")
    assert told["reached_lsn"] == told["promised_lsn"] and wal.lsn(told["reached_lsn"]) < world.end
    lsn = told["promised_commit"]["lsn"]
    told = world.drill("--to", lsn, "--check", "SELECT count(*) = 1 FROM t")
    assert wal.lsn(told["reached_lsn"]) > wal.lsn(lsn) and told["promised_commit"]["lsn"] == lsn

    # A check that does not hold, one without an answer, and one that fails.
    wrong = ("SELECT false", "SELECT i FROM t WHERE i = 5", "SELECT nonsense")
    told = world.drill(*(word for check in wrong for word in ("--check", check)), status=1)
    assert told["outcome"] == "failed" and told["reached_lsn"] == told["promised_lsn"], told
    assert [check["passed"] for check in told["checks"] if check["check"] in wrong] == [False] * 3
    assert len(told["problems"]) == 3

    # The way a person sees it; in a place whose sockets' path is too long for a socket's address.
    deep = directory(world.sandbox / ("d" * 100))
    done = run([*world.command()[:-1], deep], check=False, **as_server_user(), cwd="/")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "recovered, and every check passed" in done.stdout and "replay" in done.stdout
    assert "password file" not in done.stderr and told["warnings"] == [], (done.stderr, told)
    assert list(deep.iterdir()) == []
    deep.rmdir()
    assert world.fingerprint() == before


def test_a_backup_in_any_form(servers, receivers, new_archive, place):
    forms = ("tar", "gz", "lz4", "zst")
    world = World(servers, receivers, new_archive, place, forms)
    for number, form in enumerate(forms):
        told = world.drill("--check", f"SELECT count(*) = {len(forms) + 1} FROM t", "--check",
                           f"SELECT count(*) = {len(forms)} FROM far", backup=form)
        world.assert_whole(told)
    # One without its tablespace's file, and one that was cut off.
    tablespace = next(path for path in (world.backups / "tar").glob("*.tar") if path.name[0].isdigit())
    content = tablespace.read_bytes()
    tablespace.unlink()
    told = world.drill(backup="tar", status=1)
    assert "the backup lacks a tablespace" in told["problems"][0], told
    give_back(tablespace, content)
    base = world.backups / "tar" / "base.tar"
    give_back(base, base.read_bytes()[:5_000_000])
    told = world.drill(backup="tar", status=1)
    assert "truncated" in told["problems"][0], told


def give_back(path, content):
    path.write_bytes(content)
    give(path)


def test_what_is_wrong_is_told_in_the_right_words(servers, receivers, new_archive, place):
    world = World(servers, receivers, new_archive, place)
    archive = world.archive.path
    segments = sorted(archive.glob("*.zst"))
    assert len(segments) >= 2
    middle = segments[-1]
    content = middle.read_bytes()

    # A segment is missing.
    middle.unlink()
    told = world.drill(status=1)
    assert told["outcome"] == "failed" and "WAL is missing in the archive" in told["problems"][0], told
    assert middle.name.removesuffix(".zst") in told["problems"][0], told
    # One record is damaged: the segment unpacks, and is not what the server wrote.
    raw = archive / middle.name.removesuffix(".zst")
    run(["zstd", "-d", "-q", "-o", raw], stdin=give_stream(place, content))
    bytes_ = bytearray(raw.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    give_back(raw, bytes(bytes_))
    told = world.drill(status=1)
    assert f"in {raw.name}, is damaged" in told["problems"][0], told
    raw.unlink()
    give_back(middle, content)

    # The backup lacks a file, or has another content.
    file = world.backups / "plain" / "base" / "1" / "1259"
    held = file.read_bytes()
    file.unlink()
    told = world.drill(status=1)
    assert "pg_verifybackup failed" in told["problems"][0] and "1259" in told["problems"][0], told
    give_back(file, held)

    # Targets that the archive does not reach.
    told = world.drill("--to", wal.lsn_text(world.end + (64 << 20)), status=1)
    assert "the archive ends before the target" in told["problems"][0], told
    told = world.drill("--to", "2100-01-01 00:00+00", status=1)
    assert "the archive ends before the target" in told["problems"][0], told

    # Server programs of another version, or none.
    told = world.drill("--bindir", place, status=3)
    assert "could not find the server programs of PostgreSQL 15" in told["problems"][0], told
    if other := bin_directory(14):
        wrapped = directory(place / "other")
        (wrapped / "postgres").symlink_to(other / "postgres")
        (wrapped / "pg_controldata").symlink_to(DEBIAN_BIN / "pg_controldata")
        if run(["test", "-x", wrapped / "postgres"], check=False, **as_server_user()).returncode == 0:
            told = world.drill("--bindir", wrapped, status=3)
            assert "not of PostgreSQL 15" in told["problems"][0], told

    # A library that is not there.
    told = world.drill("--preload", "nonsense", status=3)
    assert "the server did not start" in told["problems"][0], told
    assert "nonsense" in "".join(told["server_log"])

    # Usage: no backup, a server's directory, an incremental backup, as root.
    label = world.backups / "plain" / "backup_label"
    text = label.read_text()
    label.write_text(text + "INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n")
    refused = run(world.command(), check=False, **as_server_user(), cwd="/")
    assert refused.returncode == 2 and "incremental" in refused.stderr, refused
    label.write_text(text)
    for wrong in (place / "nowhere", world.sandbox, world.primary.data):
        refused = run(world.command(backup=wrong), check=False, **as_server_user(), cwd="/")
        assert refused.returncode == 2 and "backup" in refused.stderr, (wrong, refused)
    if os.getuid() == 0:
        refused = run(world.command(), check=False)
        assert refused.returncode == 2 and "root" in refused.stderr, refused
    world.assert_nothing_left()


def test_a_backup_that_had_passed_the_moment_does_not_serve_it(servers, receivers, new_archive, place):
    """PostgreSQL does not refuse such a time: it would open with what was committed behind it."""
    world = World(servers, receivers, new_archive, place, forms=("plain", "zst"))
    moment = world.primary.sql("SELECT pg_xact_commit_timestamp(xmin) - interval '1 ms' FROM t WHERE i = 0")
    told = world.drill("--to", moment, backup="zst", status=1)
    assert "the backup started after the target" in told["problems"][0] and told["reached_lsn"] is None, told
    assert f"An older one is {world.backups / 'plain'}" in told["hints"][0], told
    told = world.drill("--to", moment, "--check", "SELECT count(*) = 0 FROM t")
    assert told["outcome"] == "recovered" and told["warnings"] == [], told

    # What the backup's own settings would do to a restore by hand, in either form.
    auto = world.backups / "plain" / "postgresql.auto.conf"
    give_back(auto, b"recovery_target_lsn = '0/1'\nsynchronous_standby_names = 'ANY 1 (a)'\n")
    told = world.drill()
    assert told["outcome"] == "recovered" and len(told["warnings"]) == 2, told
    assert "postgresql.auto.conf sets recovery_target_lsn = '0/1'" in told["warnings"][0], told
    give_back(auto, b"")

    # Damage behind the target in its segment: what is promised is what this run, and restore, then do.
    lsn = wal.lsn(world.drill("--to", world.moments[0])["promised_commit"]["lsn"])
    size = world.primary.segment_size
    name = wal.segment_name(1, lsn // size, size)
    raw = world.archive.path / name
    run(["zstd", "-d", "-q", "--rm", "-o", raw, f"{raw}.zst"])
    content = bytearray(raw.read_bytes())
    at = lsn % size + (size - lsn % size) // 2
    content[at] ^= 0xFF
    content[at + 1] ^= 0xFF
    give_back(raw, bytes(content))
    told = world.drill("--to", wal.lsn_text(lsn), "--check", "SELECT count(*) = 1 FROM t")
    assert told["outcome"] == "recovered" and wal.lsn(told["reached_lsn"]) > lsn, told
    assert len(told["warnings"]) == 1 and name in told["warnings"][0], told
    assert "--up-to-damage" in told["warnings"][0], told
    target = place / "RECOVERYXLOG"
    words = [world.program, "restore", "-D", world.archive.path]
    refused = run([*words, name, target], check=False)
    assert refused.returncode == 200 and "--up-to-damage" in refused.stderr, refused.stderr
    given = run([*words, "--up-to-damage", name, target], check=False)
    assert given.returncode == 0 and "followed by zeros (--up-to-damage)" in given.stderr, given.stderr
    told = world.drill(status=1)
    assert f"in {name}, is damaged" in told["problems"][0], told


def give_stream(place, content):
    path = place / "stream"
    path.write_bytes(content)
    return open(path, "rb")


def test_the_wrong_archive_and_another_one_beside(servers, receivers, new_archive, place):
    world = World(servers, receivers, new_archive, place)
    archive = world.archive.path
    whole = archive.rename(place / "whole")
    damaged = directory(place / "damaged")
    for path in whole.iterdir():
        shutil.copy(path, damaged)
    middle = sorted(damaged.glob("*.zst"))[-1]
    raw = damaged / middle.name.removesuffix(".zst")
    run(["zstd", "-d", "-q", "--rm", "-o", raw, middle])
    bytes_ = bytearray(raw.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    give_back(raw, bytes(bytes_))
    hand_over(damaged)

    def drill(path, *options, status):
        directory(archive)
        for file in path.iterdir():
            (archive / file.name).symlink_to(file)
        try:
            return world.drill(*options, status=status)
        finally:
            shutil.rmtree(archive)

    # Damaged in one of two archives, and sound in the other.
    told = drill(damaged, status=1)
    assert "is damaged" in told["problems"][0], told
    told = drill(damaged, "-D", whole, status=0)
    assert told["outcome"] == "recovered", told
    world.assert_whole(told)

    # None, another server's, and one with nothing of the backup's timeline.
    told = drill(directory(place / "empty"), status=1)
    assert "there is no WAL at all in the archive directory" in told["problems"][0], told
    assert "it is the right directory" in str(told) and "--allow-empty" not in str(told), told
    stranger = servers.primary()
    other = new_archive(stranger)
    receiver = receivers.pgweir(other, stranger)
    streaming(stranger)
    reported(stranger, stranger.write_wal(2))
    receiver.stop()
    strange = other.path.rename(place / "strange")
    hand_over(strange)
    told = drill(strange, status=1)
    assert "the backup and the archive belong to different clusters" in told["problems"][0], told
    later = directory(place / "later")
    shutil.copy(sorted(whole.glob("*.zst"))[0], later / ("00000009" + sorted(whole.glob("*.zst"))[0].name[8:]))
    hand_over(later)
    told = drill(later, status=1)
    assert "the archive has no WAL of the backup's timeline" in told["problems"][0], told

    # A backup that cannot be read.
    (world.backups / "plain" / "backup_manifest").write_text("rubbish")
    told = drill(whole, status=1)
    assert told["outcome"] == "failed" and "no backup_manifest" in told["problems"][0], told


def test_a_replay_that_would_leave_the_sandbox_is_not_begun(servers, receivers, new_archive, place):
    """To replay that a tablespace was created means to remove what is in its directory now."""
    world = World(servers, receivers, new_archive, place)
    primary = world.primary
    receiver = receivers.pgweir(world.archive, primary)
    streaming(primary)
    third = directory(place / "third")
    primary.sql(f"CREATE TABLESPACE third LOCATION '{third}'")
    primary.sql("CREATE TABLE there TABLESPACE third AS SELECT 1 AS i")
    reported(primary, primary.flushed())
    receiver.stop()
    hand_over(world.archive.path)
    before = sorted(third.rglob("*"))
    told = world.drill(status=3)
    assert "a tablespace was created" in told["problems"][0] and str(third) in told["problems"][0], told
    assert sorted(third.rglob("*")) == before and primary.sql("SELECT i FROM there") == "1"
    assert world.drill("--to", world.moments[0])["outcome"] == "recovered"


def test_it_can_be_stopped_and_killed_at_any_time(servers, receivers, new_archive, place):
    world = World(servers, receivers, new_archive, place)
    before = world.fingerprint()

    def start(number):
        return Receiver(as_user(world.command("--check", "SELECT pg_sleep(600) IS NOT NULL")),
                        place / f"drill{number}.log")

    for number, moment in enumerate(("reading the archive", "copying the backup", "recovering", "checking the recovered server")):
        drill = start(number)
        drill.wait_log(moment)
        drill.send(signal.SIGTERM)
        assert drill.wait_exit() == 3, drill.said()
        assert "stopped" in drill.said(), drill.said()
        world.assert_nothing_left()

    # A kill -9 takes the server along; the next drill removes the sandbox. Another one's, that is at
    # work, it leaves alone, and what only looks like one.
    killed = start("killed")
    killed.wait_log("checking the recovered server")
    killed.kill9()
    left = list(world.sandbox.iterdir())
    assert len(left) == 1
    wait_for(lambda: not world.processes(), "the server to end with the drill")
    working = start("working")
    working.wait_log("checking the recovered server")
    assert not left[0].exists() and "which a killed drill had left" in working.said()
    foreign = directory(world.sandbox / "pgweir-drill-abcdef")
    foreign.chmod(0o700)
    done = run(world.command(), check=False, **as_server_user(), cwd="/")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(list(world.sandbox.iterdir())) == 2 and working.running()
    working.send(signal.SIGTERM)
    assert working.wait_exit() == 3
    foreign.rmdir()
    world.assert_nothing_left()
    assert world.fingerprint() == before


def as_user(command):
    """As the servers' user, for a process that is signalled: what is started is the command itself."""
    if os.getuid() != 0:
        return command
    user = server_user()
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", *command]


def test_beside_a_receiver_at_work(servers, receivers, new_archive, place):
    """The archive grows while it is looked through and replayed: what it had at the beginning is reached."""
    world = World(servers, receivers, new_archive, place)
    primary = world.primary
    receiver = receivers.start(as_user([str(world.program), "receive", "-D", str(world.archive.path), "-d",
                                        primary.conninfo(), "--compress", "zstd"]))
    streaming(primary)
    load = primary.spawn_sql("DO $$ BEGIN LOOP INSERT INTO far SELECT generate_series(1, 500); COMMIT;"
                             " PERFORM pg_sleep(0.02); END LOOP; END $$")
    try:
        told = world.drill("--check", "SELECT count(*) = 2 FROM t")
        assert told["outcome"] == "recovered" and told["commit_reached"] is True, told
        assert told["reached_lsn"] == told["promised_lsn"]
    finally:
        load.kill()
        load.wait()
    receiver.stop()


@pytest.mark.parametrize("major", [13, 18, 19])
def test_other_versions(servers, receivers, new_archive, place, major):
    """The settings of the sandbox's server are known to the oldest and the newest one."""
    primary = servers.primary(major=major)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE t AS SELECT 1 AS i")
    backup = directory(place / "backups") / "own"
    begin, end = (("pg_backup_start('own', true)", "pg_backup_stop()") if major >= 15 else
                  ("pg_start_backup('own', true, false)", "pg_stop_backup(false)"))
    script = place / "backup.sql"
    script.write_text(f"SELECT {begin};\n\\! cp -a {primary.data} {backup}\n\\o {place}/label\n"
                      f"SELECT labelfile FROM {end};\n")
    run([DEBIAN_BIN / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", script, primary.conninfo(dbname="postgres")])
    give_back(backup / "backup_label", (place / "label").read_bytes())
    primary.sql("INSERT INTO t VALUES (2)")
    reported(primary, primary.flushed())
    receiver.stop()
    hand_over(archive.path)
    world = World.__new__(World)
    world.place, world.primary, world.archive, world.backups = place, primary, archive, place / "backups"
    world.program, world.sandbox = installed(place), directory(place / "sandbox")
    told = world.drill("--bindir", primary.bin, "--check", "SELECT count(*) = 2 FROM t", backup="own")
    assert told["outcome"] == "recovered" and told["commit_reached"] is True, told
    assert f"PostgreSQL) {major}" in told["server_version"]
    assert any("the backup has no manifest" in what for what in told["skipped"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_too_little_space_is_told(servers, receivers, new_archive, place):
    world = World(servers, receivers, new_archive, place)
    small = place / "small"
    small.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=777", "pgweir-test", small], check=False)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        world.sandbox = small
        told = world.drill(status=3)
        assert "not enough space for the sandbox" in told["problems"][0], told
        # It was enough before, and is not while the drill goes on: somebody else fills the disk.
        run(["mount", "-o", "remount,size=400m", small])
        drill = Receiver(as_user(world.command("--json")), place / "full.log")
        wait_for(lambda: list(small.iterdir()) or not drill.running(), "the sandbox to be made")
        drill.pause()  # it does not finish meanwhile
        fill = small / "fill"
        while drill.running() and shutil.disk_usage(small).free > 0:
            try:
                with open(fill, "ab") as file:
                    file.write(bytes(4 << 20))
            except OSError:
                break
        drill.resume()
        assert drill.wait_exit() == 3, drill.said()
        assert re.search("disk .*full|space", drill.said()), drill.said()
        fill.unlink()
        world.assert_nothing_left()
    finally:
        run(["umount", "-l", small])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system")
def test_a_copy_shares_its_blocks_where_it_can(servers, receivers, new_archive, place):
    """On XFS: all of the backup but a tablespace that lies in another file system."""
    world = World(servers, receivers, new_archive, place, forms=("tar", "plain"))
    image, here = place / "xfs", place / "mounted"
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    made = run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=False)
    here.mkdir()
    mounted = made.returncode == 0 and run(["mount", "-o", "loop", image, here], check=False)
    if not mounted or mounted.returncode != 0:
        pytest.skip(f"can't mount an XFS here: {made.stderr}{mounted and mounted.stderr}")
    try:
        run(["cp", "-a", world.backups / "plain", here / "plain"])
        before = world.fingerprint()
        world.sandbox = directory(here / "sandbox")
        told = world.drill("--check", "SELECT count(*) = 2 FROM far", backup=here / "plain")
        world.assert_whole(told)
        copied = sum(path.stat().st_size for path in world.copied.rglob("*") if path.is_file())
        assert 0 < copied == told["backup_bytes"] - told["shared_bytes"] < told["shared_bytes"], told
        assert world.fingerprint() == before
        # In another file system nothing is shared.
        world.sandbox = directory(place / "another")
        told = world.drill(backup=here / "plain")
        assert told["shared_bytes"] == 0 < told["backup_bytes"], told
    finally:
        run(["umount", "-l", here])


def test_the_chapter(servers, receivers, new_archive, place):
    """docs/drill.md as its reader would follow it."""
    world = World(servers, receivers, new_archive, place)
    chapter = Chapter("drill.md", place, receivers, {"db1": world.primary},
                      {"/srv/wal": world.archive.path, "/srv/backup/base": world.backups / "plain",
                       "/srv/drill": world.sandbox})


    def before(text):
        assert text.startswith("pgweir drill"), text

    (place / "bin" / "pgweir").unlink()
    (place / "bin" / "pgweir").write_text(
        "#!/bin/sh\n" + (f"exec setpriv --reuid {server_user().pw_uid} --regid {server_user().pw_gid} "
                         "--clear-groups " if os.getuid() == 0 else "exec ") + f"{world.program} \"$@\"\n")
    (place / "bin" / "pgweir").chmod(0o755)
    assert chapter.run(before) >= 2
    assert all("recovered, and every check passed" in said for said in chapter.said), chapter.said
