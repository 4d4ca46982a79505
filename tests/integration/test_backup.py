"""pgweir backup beside real servers: a backup counts only if this archive can bring it to consistency; whatever happens
in the middle, nothing half counts, and the next run tidies up; no rule removes what is needed."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from support import wal
from support.chapter import DOCS, Chapter
from support.line import Ending
from support.process import alive, as_server_user, children_of, run, server_user, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import hand_over, installed
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN, DEBIAN_MAJOR, bin_directory
from support.template import memory_place

pytestmark = pytest.mark.in_memory


class World:
    """A primary with a tablespace, its archive and receiver, and a place for backups."""

    def __init__(self, servers, receivers, new_archive, place, memory, major=DEBIAN_MAJOR, tablespace=True, **settings):
        self.place = place
        self.receivers = receivers
        self.server = servers.primary(major=major, wal_keep_size="512MB", **settings)
        # The fetched servers before 17 have no clients.
        self.clients = bin_directory(major) if (bin_directory(major) / "pg_basebackup").exists() else (
            DEBIAN_BIN if major < DEBIAN_MAJOR else bin_directory(19))
        if self.clients is None:
            pytest.skip("PostgreSQL 19 is not installed (scripts/setup)")
        self.archive = new_archive(self.server)
        self.receive()
        self.oid = None  # of the tablespace in a backup
        self.elsewhere = place / "elsewhere"
        if tablespace:
            self.elsewhere.mkdir()
            if os.getuid() == 0:
                os.chown(self.elsewhere, server_user().pw_uid, server_user().pw_gid)
            self.server.sql(f"CREATE TABLESPACE other LOCATION '{self.elsewhere}'")
            self.server.sql("CREATE TABLE far (i int) TABLESPACE other; INSERT INTO far VALUES (1)")
        self.server.sql("CREATE TABLE t (i int)")
        self.to = memory / "backups"
        self.to.mkdir()

    def receive(self):
        self.receiver = self.receivers.pgweir(self.archive, self.server, "--compress", "zstd")
        streaming(self.server)

    def command(self, *options, conninfo=None, clients=None):
        return [BINARY, "backup", "-D", self.archive.path, "--to", self.to, "-d", conninfo or self.server.conninfo(),
                "--bindir", clients or self.clients, *options]

    def backup(self, *options, status=0, **more):
        done = pgweir(*self.command(*options, "--json", **more)[1:])
        if done.returncode != status:
            print(done.stdout, done.stderr)  # an assertion would cut it off
        assert done.returncode == status
        told = json.loads(done.stdout)
        assert told["status"] == status, told
        return told

    def spawn(self, *options, **more):
        return subprocess.Popen([str(word) for word in self.command(*options, **more)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def list(self, status=0):
        done = pgweir("backup", "-D", self.archive.path, "--to", self.to, "--list", "--json")
        assert done.returncode == status, done.stdout
        return json.loads(done.stdout)["backups"]

    def names(self):
        """Of what is there, but for the lock."""
        return sorted(path.name for path in self.to.iterdir() if path.name != ".pgweir-backup.lock")

    def making(self):
        return [name for name in self.names() if name.startswith(".pgweir-backup-2")]

    def assert_verified(self, name):
        done = pgweir("verify", "-D", self.archive.path, "--backup", self.to / name, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["backup"]["reaches_consistency"], done.stdout


@pytest.fixture
def memory(place):
    """A place for backups in which a flush costs nothing, if there is one."""
    path = memory_place() or place / "memory"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def world(servers, receivers, new_archive, place, memory):
    return lambda **settings: World(servers, receivers, new_archive, place, memory, **settings)


def status(world):
    return json.loads(pgweir("status", "-D", world.archive.path, "--backups", world.to, "--json").stdout)


def recovered(world, name, query, source=None):
    """What a server says that was recovered from that backup of `source` to the archive's end."""
    source = source or world.server
    reported(world.server, world.server.flushed())
    world.receiver.stop()
    world.server.stop()
    if source.running():
        source.stop()
    into = world.place / "new"
    program = installed(world.place)
    hand_over(world.archive.path)
    run(["chown", "-R", f"{server_user().pw_uid}:{server_user().pw_gid}", world.to])
    run(["chown", f"{server_user().pw_uid}:{server_user().pw_gid}", world.place])
    server_bin = world.server.bin
    mapping = ["--tablespace-mapping", f"../../tablespaces/{world.oid}={world.place}/mapped"] if world.oid else []
    run([program, "recover", "-D", world.archive.path, "--backup", world.to / name, "--into", into, "--bindir", server_bin,
         *mapping, "--start"], **as_server_user(), cwd="/")
    try:
        return run([DEBIAN_BIN / "psql", "-XAtq", "-h", source.socket_dir, "-p", source.port, "-U", "postgres", "-c", query,
                    "postgres"], cwd="/").stdout.strip()
    finally:
        run([server_bin / "pg_ctl", "-D", into, "-m", "immediate", "-w", "stop"], **as_server_user(), cwd="/")


def test_what_counts_and_what_goes(world):
    world = world()
    told = world.backup("--dry-run")
    assert told["outcome"] == "dry run" and list(world.to.iterdir()) == []

    first = world.backup()
    assert first["outcome"] == "made" and world.names() == [first["name"]], first
    assert any("was empty" in note for note in first["notes"]), first
    plain = world.to / first["name"]
    [link] = (plain / "data" / "pg_tblspc").iterdir()
    world.oid = link.name
    assert os.readlink(link) == f"../../tablespaces/{link.name}" and (plain / "tablespaces" / link.name).is_dir()
    assert sorted(path.name for path in plain.iterdir()) == ["data", "tablespaces"]
    world.assert_verified(first["name"])
    [listed] = world.list()
    assert listed["good"] and listed["name"] == first["name"] and listed["kind"] == "full", listed
    assert listed["begin_lsn"] == first["begin_lsn"] and listed["end_lsn"] == first["end_lsn"]
    # The live tablespace is as it was.
    assert world.server.sql("SELECT count(*) FROM far") == "1"

    # Another run at work; another cluster's place.
    lock = world.to / ".pgweir-backup.lock"
    with open(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another pgweir backup is running" in world.backup(status=3)["problem"]
    own = lock.read_text()
    lock.write_text("4711\n")
    assert "another cluster" in world.backup(status=4)["problem"]
    lock.write_text(own)

    # As tar files, with fewer of them than the window takes: a word, and 0.
    tar = world.backup("--format", "tar", "--compress", "gzip:1", "--keep", "7d")
    assert tar["outcome"] == "made" and tar["removed"] == [] and any("no backup had ended" in note for note in tar["notes"]), tar
    assert sorted(path.name for path in (world.to / tar["name"]).iterdir()) == [f"{world.oid}.tar.gz", "backup_manifest", "base.tar.gz"]
    world.assert_verified(tar["name"])
    assert [each["format"] for each in world.list()] == ["plain", "tar"]

    # One that lost a file counts for nothing, stays, and is named.
    kept = plain / "kept"
    shutil.copytree(plain / "data" / "global", kept)
    shutil.rmtree(plain / "data" / "global")
    [broken, _] = world.list(status=1)
    assert not broken["good"] and "global/" in broken["why"], broken
    told = world.backup(status=1)
    assert told["outcome"] == "made, others in doubt" and first["name"] in told["problem"], told
    kept.rename(plain / "data" / "global")
    assert len(world.list()) == 3

    # The rule: the newest one stays, and what lies before it goes, with its WAL.
    world.server.write_wal(2)
    before = len(list(world.archive.path.iterdir()))
    foreseen = world.backup("--dry-run", "--keep-backups", "1")
    assert foreseen["removed"] == [tar["name"], first["name"]] and len(world.names()) == 3, foreseen
    world.server.sql("INSERT INTO t VALUES (1)")
    config = world.place / "pgweir.ini"
    config.write_text(f"directory = {world.archive.path}\ndbname = {world.server.conninfo()}\nslot = unused\n"
                      f"[backup]\nto = {world.to}\nkeep-backups = 1\nmetrics-file = {world.place}/backup.prom\n")
    newest = json.loads(pgweir("-c", config, "backup", "--json").stdout)
    assert newest["removed"] == [told["name"], tar["name"], first["name"]] and newest["removed_wal_files"] > 0, newest
    assert world.names() == [newest["name"]]
    exported = (world.place / "backup.prom").read_text()
    assert set(re.findall(r"^(pgweir_backup_\w+)\{", exported, re.MULTILINE)) == set(
        re.findall(r"^\| `(pgweir_backup_\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    assert re.search(r'pgweir_backup_backups\{.*counts="yes"\} 1\n', exported), exported
    assert float(re.search(r'pgweir_backup_bytes\{.*counts="yes"\} (\S+)\n', exported)[1]) == world.list()[0]["bytes"], exported
    # status judges the same backups by names and sizes.
    listed, = world.list()
    told, = status(world)["backups"]
    assert told["good"] and told["began"].startswith(f"{newest['name'][:4]}-{newest['name'][4:6]}-{newest['name'][6:8]} "), told
    assert {key: told[key] for key in ("bytes", "kind", "format", "begin_lsn", "end_lsn", "timeline")} == {
        key: listed[key] for key in ("bytes", "kind", "format", "begin_lsn", "end_lsn", "timeline")}, (told, listed)
    assert wal.lsn(told["until"]) >= wal.lsn(newest["end_lsn"]), told
    text = pgweir("status", "-D", world.archive.path, "--backups", world.to).stdout
    assert f"    {told['name']}: full, plain, " in text and "can be recovered to any moment from" in text, text
    check = ["status", "-D", world.archive.path, "--backups", world.to, "--check"]
    assert "base backup" not in pgweir(*check, "--max-backup-age", "1h").stdout.splitlines()[0]
    # (Its name has whole seconds, and may be of the next one.)
    wait_for(lambda: "began more than 1 ms ago" in pgweir(*check, "--max-backup-age", "1ms").stdout.splitlines()[0],
             "status to report its age")
    manifest = next((world.to / newest["name"]).rglob("backup_manifest"))
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-100])
    told = status(world)
    assert [each["good"] for each in told["backups"]] == [False] and "backup_manifest" in told["backups"][0]["why"], told
    finding, = [each for each in told["findings"] if each["topic"] == "backup"]
    assert finding["level"] == "WARNING" and "no base backup can be recovered" in finding["text"], finding
    assert finding["commands"][0] == f"pgweir backup -D {world.archive.path} --list --to {world.to}", finding
    assert "      DOES NOT COUNT: " in pgweir("status", "-D", world.archive.path, "--backups", world.to).stdout
    manifest.write_bytes(content)
    gone = pgweir("status", "-D", world.archive.path, "--backups", world.place / "nowhere", "--check").stdout
    assert "base backups could not be listed" in gone.splitlines()[0], gone
    page = world.place / "page.html"
    pgweir("status", "-D", world.archive.path, "--html", page, "--backups", world.to)
    assert re.search(rf"{newest['name']}(/data)?</td><td>full, plain</td><td>\d[\d.]*\sMB</td>", page.read_text()), page.read_text()
    assert f" {wal.lsn(newest['end_lsn'])}\n" in exported.replace(".0\n", "\n"), exported
    assert len(list(world.archive.path.iterdir())) < before + 3
    world.server.sql("INSERT INTO t VALUES (2); INSERT INTO far VALUES (2)")
    assert recovered(world, newest["name"], "SELECT sum(i) + (SELECT count(*) FROM far) FROM t") == "5"


def test_in_the_middle(world):
    """Whatever ends a run early, nothing counts, what counted stays, and the next run tidies up."""
    world = world(tablespace=False, initdb=["-k"])
    old = world.backup()["name"]
    world.receiver.stop()
    told = world.backup("--wait", "1s", status=3)
    assert "did not get the WAL" in told["problem"] and world.names() == [old], told
    world.receive()

    # kill -9: its pg_basebackup ends with it, and the next run removes what was left.
    def copying():
        process = world.spawn("--rate", "200k", conninfo=world.server.conninfo(password="s3cret"))
        wait_for(lambda: world.making() and (world.to / world.making()[0] / "base").exists(), "the copy to begin")
        return process, children_of(process.pid)

    process, children = copying()
    [child] = children
    proc = pathlib.Path("/proc", str(child))
    assert b"s3cret" not in (proc / "cmdline").read_bytes() and b"PGPASSWORD=s3cret" in (proc / "environ").read_bytes()
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in children), "pg_basebackup to end")
    [left] = world.making()
    assert [each["name"] for each in world.list()] == [old]
    told = world.backup()
    assert any(left in note for note in told["notes"]) and world.names() == [old, told["name"]], told

    # WAL that cannot come any more ends it at once; what does not count remains for inspection until the next run.
    world.receiver.stop()
    process = world.spawn("--wait", "1h")
    wait_for(lambda: world.making() and (world.to / world.making()[0] / "backup_manifest").exists(), "the copy to end")
    world.server.write_wal(2)
    for path in world.archive.path.iterdir():
        path.unlink()
    world.receive()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "after the start of the backup" in output, output
    [left] = world.making()
    for each in world.list(status=1):  # its WAL went, too
        shutil.rmtree(each["path"])
    old, told = None, world.backup()
    assert any(left in note for note in told["notes"]) and world.names() == [told["name"]], told

    # A request to stop, and a server that ends.
    process, children = copying()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and "stopped" in output and not any(alive(pid) for pid in children), output
    assert world.names() == [told["name"]]
    process, _ = copying()
    world.server.stop("immediate")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and "pg_basebackup failed" in output, output
    assert world.names() == [told["name"]]
    assert "could not connect" in world.backup(status=3)["problem"]
    world.server.start()
    streaming(world.server)

    # A page of the server is damaged: the backup does not count, whatever the rule says, and is left to be looked at.
    world.server.sql("CREATE TABLE victim AS SELECT 1 AS i; CHECKPOINT")
    path = world.server.data / world.server.sql("SELECT pg_relation_filepath('victim')")
    with open(path, "r+b") as file:
        file.seek(4000)
        file.write(b"damage")
    bad = world.backup("--keep-backups", "1", status=1)
    assert bad["outcome"] == "unusable" and "wrong checksum" in bad["problem"] and path.name in bad["problem"], bad
    assert bad["removed"] == [] and pathlib.Path(bad["path"]).exists()
    assert [each["name"] for each in world.list()] == [told["name"]]


def test_a_connection_that_is_lost_leaves_nothing_and_is_named(world):
    at = world(tablespace=False)
    for number in range(1, 100):
        line = Ending(at.server.port, number)
        done = pgweir(*at.command("--json", conninfo=at.server.conninfo(port=line.port))[1:])
        line.close()
        told = json.loads(done.stdout)
        if line.left > 0:
            break
        assert done.returncode == told["status"] == 3 and "closed the connection unexpectedly" in told["problem"], (number, told)
        assert at.names() == [], number
    assert number > 5 and told["status"] == 0, told
    assert len(at.list()) == 1


def test_a_full_disk(world):
    """Too little space is told before anything is copied; what could not be foreseen leaves nothing."""
    world = world(tablespace=False)
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "pgweir-test", world.to], check=False)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        told = world.backup(status=3)
        assert "too little space" in told["problem"] and world.names() == [], told
        told = world.backup("--format", "tar", "--compress", "gzip:1", status=3)
        assert "the disk of the backups is full" in told["problem"] and world.names() == [], told
    finally:
        run(["umount", world.to])


def test_a_name_that_a_power_loss_may_undo(world, sync_fault):
    """The backup counts all the same, and nothing older is removed. That no receiver runs is said before the copy is made."""
    world = world(tablespace=False)
    old = world.backup()
    assert not any("no receiver" in note for note in old["notes"]), old
    sync_fault.set("fail 0")
    done = pgweir(*world.command("--json", "--keep-backups", "1")[1:], env={**sync_fault.env, "PGWEIR_TEST_SYNC_OF": str(world.to)})
    told = json.loads(done.stdout)
    assert done.returncode == 4 and told["outcome"] == "made, rules not applied" and told["removed"] == [], (told, done.stderr)
    assert "could not sync directory" in told["problem"] and "a power loss may undo the renaming" in told["hints"][0], told
    assert told["path"] == str(world.to / told["name"]), told
    assert [(each["name"], each["good"]) for each in world.list()] == [(old["name"], True), (told["name"], True)]
    world.receiver.stop()
    told = world.backup("--dry-run")
    assert any("no receiver was streaming" in note for note in told["notes"]), told
    process = world.spawn("--wait", "1s")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 3 and 0 <= output.index("no receiver was streaming") < output.index("copying "), output


def test_from_a_standby_and_from_another_branch(world, servers):
    """A standby's backup ends in the current segment, which nobody ends; a promoted one is of another branch."""
    world = world(tablespace=False)
    standby = servers.standby(world.server)
    world.server.sql("CREATE TABLE more (i int); CHECKPOINT")
    standby.replayed(world.server.flushed())
    reported(world.server, world.server.flushed())
    told = world.backup(conninfo=standby.conninfo())
    size = world.server.segment_size
    last = wal.segment_name(1, (wal.lsn(told["end_lsn"]) - 1) // size, size)
    assert any(name.startswith(last) and name.endswith(".partial") for name in world.archive.names()), told
    world.assert_verified(told["name"])
    # Without a receiver the .partial is made durable here. The standby replays nothing that the archive does not have.
    standby.sql("SELECT pg_wal_replay_pause()")
    wait_for(lambda: standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused", "the standby to pause")
    reported(world.server, world.server.flushed())
    world.receiver.stop()
    told = world.backup(conninfo=standby.conninfo())
    assert told["outcome"] == "made", told
    standby.sql("SELECT pg_wal_replay_resume()")
    standby.promote()
    standby.sql("CREATE TABLE other_branch (i int)")
    world.receive()
    world.server.sql("CREATE TABLE own_branch (i int)")
    reported(world.server, world.server.flushed())
    before = world.names()
    told = world.backup(conninfo=standby.conninfo(), status=4)
    assert "diverged" in told["problem"] and world.names() == before, told
    # The standby's own settings came along.
    assert recovered(world, before[-1], "SELECT count(*) FROM own_branch", source=standby) == "0"


def test_the_servers_own_archive_command(world):
    """PostgreSQL 13, tar files. With archive_mode = on the server waits for its own archive_command: that is told, and
    has an end."""
    world = world(major=13, archive_mode="on", archive_command="false")
    assert "does not exist" in world.backup(status=4, conninfo=world.server.conninfo(user="nobody"))["problem"]
    told = world.backup("--wait", "1s", status=3)
    assert "archive_command" in told["problem"] and world.names() == [], told
    world.server.conf(archive_command="/bin/true")
    world.server.reload()
    # The first host of the list is away: pg_basebackup is given the one that was asked.
    hosts = f"host=127.0.0.1,127.0.0.1 port=1,{world.server.port} user=postgres"
    told = world.backup("--format", "tar", conninfo=hosts)
    assert told["outcome"] == "made" and any("archive_mode is on" in note for note in told["notes"]), told
    world.assert_verified(told["name"])


def test_one_free_walsender_is_enough(world):
    """The server counts a connection for a moment after it was closed; a backup opens three, one after the other."""
    world = world(tablespace=False, max_wal_senders="2")
    postmaster = int((world.server.data / "postmaster.pid").read_text().split()[0])

    def one_walsender():
        """That of the stream. Others have ended, and do not count any more: a receiver's first one, pg_basebackup's."""
        titles = [pathlib.Path(f"/proc/{child}/cmdline") for child in children_of(postmaster)]
        with contextlib.suppress(OSError):  # one has just ended
            return sum("walsender" in title.read_text() for title in titles) == 1

    for _ in range(10):
        wait_for(one_walsender, "other walsenders to end")
        world.backup()
    wait_for(one_walsender, "other walsenders to end")
    # And if pg_basebackup finds none, it is started again.
    busy = world.place / "busy"
    busy.mkdir()
    (busy / "pg_verifybackup").symlink_to(world.clients / "pg_verifybackup")
    script = busy / "pg_basebackup"
    script.write_text(f"""#!/bin/sh
[ "$1" = --version ] || [ -e {busy}/once ] && exec {world.clients}/pg_basebackup "$@"
touch {busy}/once
echo "pg_basebackup: error: connection to server failed: FATAL:  number of requested standby connections exceeds max_wal_senders"
exit 1
""")
    script.chmod(0o755)
    told = world.backup(clients=busy)
    assert told["outcome"] == "made" and (busy / "once").exists(), told


def test_a_tablespace_that_is_dropped_before_the_backup_begins(world):
    """The server was asked for its tablespaces just before."""
    world = world()
    late = world.place / "late"
    late.mkdir()
    (late / "pg_verifybackup").symlink_to(world.clients / "pg_verifybackup")
    script = late / "pg_basebackup"
    script.write_text(f"""#!/bin/sh
[ "$1" = --version ] || {DEBIAN_BIN}/psql -Xq -h {world.server.socket_dir} -p {world.server.port} -U postgres \\
    -c 'DROP TABLE far' -c 'DROP TABLESPACE other' postgres
exec {world.clients}/pg_basebackup "$@"
""")
    script.chmod(0o755)
    told = world.backup(clients=late)
    assert told["outcome"] == "made" and [each["good"] for each in world.list()] == [True], told
    world.assert_verified(told["name"])


@pytest.mark.parametrize("newer", [18, 19])
def test_programs_of_a_newer_version(world, newer):
    """They know the layout of pg_control of their own version only. All other files are compared."""
    major = 17
    if bin_directory(major) is None or bin_directory(newer) is None or not (bin_directory(newer) / "pg_verifybackup").exists():
        pytest.skip(f"PostgreSQL {major}, and {newer} with pg_verifybackup, are not installed (scripts/setup)")
    world = world(major=major)
    for words in ([], ["--format", "tar"]):
        told = world.backup(*words, clients=bin_directory(newer))
        assert told["outcome"] == "made" and all(each["good"] for each in world.list()), told
        world.assert_verified(told["name"])
    damaging = world.place / "damaging"
    damaging.mkdir()
    (damaging / "pg_verifybackup").symlink_to(bin_directory(newer) / "pg_verifybackup")
    script = damaging / "pg_basebackup"
    script.write_text(f"""#!/bin/sh
{bin_directory(newer)}/pg_basebackup "$@" || exit
[ "$1" = --version ] || printf x | dd of="$(echo {world.to}/.pgweir-backup-2*)/data/base/1/PG_VERSION" conv=notrunc status=none
""")
    script.chmod(0o755)
    told = world.backup(clients=damaging, status=1)
    assert told["outcome"] == "unusable" and "base/1/PG_VERSION" in told["problem"], told


@pytest.mark.parametrize("major", [17, 18, 19])
def test_incremental(world, major):
    """From the newest one that counts, a full one every N; recovered as a chain."""
    if bin_directory(major) is None or not (bin_directory(major) / "pg_combinebackup").exists():
        pytest.skip(f"PostgreSQL {major} with pg_combinebackup is not installed (scripts/setup)")
    world = world(major=major, summarize_wal="on")
    told_of_full = world.backup("--incremental", "auto")
    assert told_of_full["kind"] == "full", told_of_full
    [full] = world.names()
    if DEBIAN_MAJOR < major:
        assert "newer" in world.backup(status=3, clients=DEBIAN_BIN)["problem"] and world.names() == [full]
    world.server.sql("INSERT INTO t VALUES (1)")
    second = world.backup("--incremental", "auto", "--full-every", "3")
    assert second["kind"] == "incremental" and second["base"] == full, second
    world.server.sql("INSERT INTO t VALUES (2)")
    third = world.backup("--incremental", "auto", "--full-every", "3", "--keep-backups", "1")
    assert third["kind"] == "incremental" and third["base"] == second["name"] and third["removed"] == [], third
    assert [each["kind"] for each in world.list()] == ["full", "incremental", "incremental"]
    world.assert_verified(third["name"])
    # The base is gone: what builds upon it counts no more.
    (world.to / full).rename(world.to.parent / full)
    assert [each["good"] for each in world.list(status=1)] == [False, False]
    for name, why in ((second["name"], f"a backup that started at {told_of_full['begin_lsn']} on timeline 1, which does not exist"),
                      (third["name"], f"incremental to {second['name']}, which does not count")):
        done = pgweir("verify", "-D", world.archive.path, "--backup", world.to / name, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 1 and not told["sound"] and not told["backup"]["reaches_consistency"], told
        assert why in told["backup"]["verdict"], told
    (world.to.parent / full).rename(world.to / full)
    # It lacks a file.
    (world.to / full / "data" / "base" / "1" / "PG_VERSION").rename(world.place / "kept")
    done = pgweir("verify", "-D", world.archive.path, "--backup", world.to / third["name"])
    assert done.returncode == 1 and "which does not count" in done.stdout, done.stdout
    (world.place / "kept").rename(world.to / full / "data" / "base" / "1" / "PG_VERSION")
    fourth = world.backup("--incremental", "auto", "--full-every", "3", "--keep-backups", "1")
    assert fourth["kind"] == "full" and any("one of 3" in note for note in fourth["notes"]), fourth
    assert fourth["removed"] == [third["name"], second["name"], full] and world.names() == [fourth["name"]], fourth
    world.server.sql("INSERT INTO far VALUES (2)")
    fifth = world.backup("--incremental", "auto")
    assert fifth["kind"] == "incremental" and fifth["base"] == fourth["name"], fifth
    world.server.sql("INSERT INTO t VALUES (3)")
    link, = (world.to / fifth["name"] / "data" / "pg_tblspc").iterdir()
    assert not os.readlink(link).startswith("/"), "else this tests nothing"
    world.oid = link.name
    # As recover names it: what it builds upon is not next to this directory.
    foretold = pgweir("recover", "-D", world.archive.path, "--backup", world.to / fifth["name"] / "data", "--into", world.place / "new",
                      "--bindir", world.server.bin, f"--tablespace-mapping=../../tablespaces/{world.oid}={world.place}/mapped", "--dry-run")
    assert foretold.returncode == 0, foretold.stdout + foretold.stderr
    assert recovered(world, fifth["name"], "SELECT (SELECT sum(i) FROM t), (SELECT sum(i) FROM far)") == "6|3"
    assert list((world.place / "mapped").iterdir()) and not (world.place / "new" / ".pgweir-recover").exists()
    world.server.conf(summarize_wal="off")
    world.server.start()
    world.receive()
    told = world.backup("--incremental", "auto")
    assert told["kind"] == "full" and any("summarize_wal is off" in note for note in told["notes"]), told
    # WAL that was removed before it was summarized: PostgreSQL refuses an incremental backup, and a full one is made.
    size = world.server.segment_size
    first = world.server.pg_wal(wal.segment_name(1, wal.lsn(told["begin_lsn"]) // size, size))
    world.server.write_wal(2)
    reported(world.server, world.server.flushed())
    world.server.conf(wal_keep_size="0")
    world.server.reload()
    wait_for(lambda: world.server.sql("CHECKPOINT") == "" and not first.exists(), "the WAL to be removed")
    # The backup's checkpoints must not remove WAL before the receiver, which has no slot, gets it.
    world.server.conf(summarize_wal="on", wal_keep_size="512MB")
    world.server.reload()
    told = world.backup("--incremental", "auto")
    assert told["kind"] == "full" and any("is not possible: " in note and "summaries" in note for note in told["notes"]), told


def test_the_chapter(servers, receivers, new_archive, place):
    """docs/backup.md, followed to the letter."""
    primary = servers.primary()
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION")
    archive = new_archive(primary, "wal")
    receivers.pgweir(archive, primary)
    streaming(primary)
    backups = place / "backup"
    chapter = Chapter("backup.md", place, receivers, {"db1": primary}, {"/srv/wal": archive.path, "/srv/backup": backups})
    assert chapter.run() == 5
    assert "counts" not in chapter.said[1] and chapter.said[1].count("full") == 1, chapter.said
    assert "base backup" not in chapter.said[2].splitlines()[0] and chapter.said[2].count("can be recovered to any moment from") == 1
    assert len(list(backups.glob("2*Z"))) == 3 and len(list(backups.glob("2*Z/base.tar.zst"))) == 1
