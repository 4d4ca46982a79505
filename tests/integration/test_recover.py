"""pgweir recover beside real servers: what it says beforehand is what is reached, to the commit; what cannot be reached is
told before a byte is copied; whatever interrupts it, the same call goes on; archive and backup stay as they are."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from support import wal
from support.process import PATIENCE, as_server_user, copied_beside, run, server_user, wait_for
from support.recovery import hand_over, installed
from support.scenario import promote_again, reported, streaming
from support.server import bin_directory, free_port

pytestmark = pytest.mark.in_memory


def give(path):
    if os.getuid() == 0:
        os.chown(path, server_user().pw_uid, server_user().pw_gid, follow_symlinks=False)
    return path


def directory(path):
    path.mkdir(parents=True)
    return give(path)


def put(path, text):
    path.write_text(text)
    give(path)


# What came along with a backup, and hurt whoever restored it by hand.
NASTY = """recovery_target_lsn = '0/1'
Recovery_Target_Action 'shutdown'
synchronous_standby_names = 'ANY 1 (lost)'
restore_command = 'false'
primary_conninfo = 'host=/nowhere'
archive_mode = on
"""


class World:
    """A primary with a tablespace, its archive, a plain backup and later one as tar files; rows behind each."""

    def __init__(self, servers, receivers, new_archive, place, major=15, second=("-F", "t"), **settings):
        self.place = place
        self.receivers = receivers
        self.program = installed(place)
        self.primary = primary = servers.primary(major=major, wal_keep_size="1GB", track_commit_timestamp="on",
                                                 max_prepared_transactions=5, **settings)
        self.bin = primary.bin
        # The fetched servers before 17 have no clients.
        self.clients = self.bin if (self.bin / "pg_basebackup").exists() else bin_directory(19)
        if self.clients is None:
            pytest.skip("PostgreSQL 19 is not installed (scripts/setup)")
        self.archive = new_archive(primary)
        self.receiver = receivers.pgweir(self.archive, primary, "--compress", "zstd")
        streaming(primary)
        # As it is written there, without effect on this server until it is started anew.
        primary.conf(data_directory=primary.data, recovery_target_time="2020-01-01 00:00+00",
                     archive_command=f"cp %p {self.archive.path}/%f")
        self.elsewhere = directory(place / "elsewhere")
        primary.sql(f"CREATE TABLESPACE other LOCATION '{self.elsewhere}'")
        primary.sql("CREATE TABLE t (i int primary key); CREATE TABLE far (i int) TABLESPACE other")
        self.backups = directory(place / "backups")
        self.copies = directory(place / "copies")
        self.copied = self.copies / "plain"
        self.times = []
        self.backup("plain", f"--tablespace-mapping={self.elsewhere}={self.copied}")
        self.rows(0)
        primary.sql("SELECT pg_create_restore_point('first')")
        if second:
            self.backup("second", *second)
            self.rows(1)
        primary.sql("BEGIN; INSERT INTO t VALUES (500); PREPARE TRANSACTION 'left over'")
        primary.sql("INSERT INTO t VALUES (1000)")
        self.xid = int(primary.sql("SELECT xmin FROM t WHERE i = 1000"))
        self.end = primary.flushed()
        reported(primary, self.end)
        primary.stop()
        self.receiver.stop()
        hand_over(self.archive.path)
        self.into = place / "new" / "main"
        directory(place / "new")
        self.tablespace = place / "new" / "other"

    def backup(self, name, *options):
        run([self.clients / "pg_basebackup", "-D", self.backups / name, "-d", self.primary.conninfo(), "-c", "fast", "-N",
             "-X", "none", *options], **as_server_user(), cwd="/")

    def rows(self, number):
        primary = self.primary
        primary.sql(f"INSERT INTO t VALUES ({number})")
        primary.sql(f"INSERT INTO far VALUES ({number})")
        self.times.append(primary.sql("SELECT clock_timestamp()"))
        primary.write_wal(2)

    def command(self, *options, backup=None, into=None, mapping=True, bin=None):
        places = {"plain": [self.copied], "second": [self.elsewhere], None: [self.copied, self.elsewhere]}
        mapped = [f"--tablespace-mapping={old}={self.tablespace}" for old in places.get(backup, ())] if mapping else []
        return [self.program, "recover", "-D", self.archive.path, "--backup",
                self.backups / backup if backup else self.backups, "--into", into or self.into, "--bindir",
                bin or self.bin, *mapped, *options]

    def recover(self, *options, status=0, **more):
        done = run(self.command(*options, "--json", **more), check=False, **as_server_user(), cwd="/")
        if done.returncode != status:
            print(done.stdout, done.stderr)  # an assertion would cut it off
        assert done.returncode == status
        told = json.loads(done.stdout)
        assert told["status"] == status, told
        return told

    def sql(self, text, port=None, check=True):
        return run([bin_directory(15) / "psql", "-XAtq", "-h", self.primary.socket_dir, "-p", port or self.primary.port, "-U",
                    "postgres", "-c", text, "postgres"], check=check, cwd="/").stdout.strip()

    def stop(self, mode="fast"):
        run([self.bin / "pg_ctl", "-D", self.into, "-m", mode, "-w", "stop"], check=mode != "immediate",
            **as_server_user(), cwd="/")

    def away(self):
        """What was made makes room for the next recovery."""
        if (self.into / "postmaster.pid").exists():
            self.stop("immediate")
        for path in (self.into, self.tablespace):
            shutil.rmtree(path, ignore_errors=True)

    def fingerprint(self):
        """Everything that a recovery reads, and must not touch."""
        found = {}
        for top in (self.archive.path, self.backups, self.copies, self.elsewhere, self.primary.data):
            for path in [top, *sorted(top.rglob("*"))]:
                status = path.lstat()
                content = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, status.st_ino, content)
        return found


@pytest.fixture
def world(servers, receivers, new_archive, place):
    worlds = []

    def make(**settings):
        worlds.append(World(servers, receivers, new_archive, place, **settings))
        return worlds[-1]

    yield make
    for each in worlds:
        if (each.into / "postmaster.pid").exists():
            with contextlib.suppress(AssertionError):
                each.stop("immediate")


def assert_reached(told):
    assert told["state"] == "reached" and told["problems"] == [], told
    assert told["reached_lsn"] == told["promised_lsn"], told
    assert told["commit_reached"] is True, told


def modes(top):
    return {oct(path.lstat().st_mode & 0o777) for path in top.rglob("*") if path.is_file() and not path.is_symlink()}


def test_what_was_foretold_is_reached(world):
    """The newest backup that leads there is found; nothing of what came along acts; the server can be written to, and
    what led the recovery is out of its settings."""
    world = world()
    auto = world.backups / "plain" / "postgresql.auto.conf"
    put(auto, NASTY)
    put(world.backups / "plain" / "postmaster.pid", "1\n")
    for path in (world.backups / "plain").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    before = world.fingerprint()

    foretold = world.recover("--dry-run")
    assert foretold["state"] == "none" and not world.into.exists() and not world.tablespace.exists()
    assert foretold["backup"] == str(world.backups / "second") and foretold["promised_commit"]["xid"] == world.xid

    # The older one, with all that hurts: to the end, and started.
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert told["promised_lsn"] == foretold["promised_lsn"] and told["promised_commit"]["xid"] == world.xid
    assert world.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t") == "0,1,1000"
    assert world.sql("SELECT count(*) FROM far") == "2"
    world.sql("INSERT INTO t VALUES (2000); SELECT pg_switch_wal(); CHECKPOINT")
    left = (world.into / "postgresql.auto.conf").read_text()
    assert "recovery_target_lsn = ''" in left and "\nrestore_command = 'pgweir" not in left, left
    assert world.sql("SELECT current_setting('synchronous_standby_names') || current_setting('archive_command')") == "false"
    assert world.sql("SELECT current_setting('data_directory')") == str(world.into)
    assert world.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'other'") == str(world.tablespace)
    assert modes(world.into) == {"0o600"} and oct(world.into.stat().st_mode & 0o777) == "0o700"
    notes = "\n".join(told["notes"])
    for name in ("synchronous_standby_names", "archive_mode", "restore_command", "data_directory",
                 "1 prepared transaction is open: 'left over' in database postgres"):
        assert name in notes, told["notes"]
    world.sql("SELECT pg_switch_wal()")
    world.stop()
    assert world.fingerprint() == before

    # It has been made: the same words tell so, other words are refused.
    assert world.recover("--start", backup="plain")["state"] == "reached"
    told = world.recover("--to", "0/1", status=4)
    assert "the directory belongs to another recovery" in told["problems"][0], told
    world.away()

    # The newest one, from tar files; prepared first, then started by the same words.
    told = world.recover()
    assert told["state"] == "prepared" and "--start" in told["next"][0], told
    assert (world.into / "recovery.signal").exists() and not list((world.into / "pg_wal").glob("0*"))
    assert_reached(world.recover("--start"))
    assert world.sql("SELECT count(*) FROM t") == "3" and world.sql("SELECT count(*) FROM far") == "2"
    world.stop()
    assert world.fingerprint() == before


def test_enabled_subscriptions_are_reported(world, receivers):
    """Once promoted, the server would receive in place of the old one."""
    world = world(second=())
    primary = world.primary
    primary.conf(max_logical_replication_workers=0)
    primary.start()
    receiver = receivers.pgweir(world.archive, primary)
    streaming(primary)
    for name in ("old", "off"):
        primary.sql(f"CREATE SUBSCRIPTION {name} CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)")
    primary.sql("ALTER SUBSCRIPTION old ENABLE")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.stop()
    hand_over(world.archive.path)
    assert world.recover(backup="plain")["state"] == "prepared"
    with open(world.into / "postgresql.auto.conf", "a") as file:
        file.write("max_logical_replication_workers = 0\n")
    told = world.recover("--start", backup="plain")
    assert told["state"] == "reached", told
    note, = (note for note in told["notes"] if "subscription" in note)
    assert note.startswith("1 subscription is enabled") and "DISABLE" in note, note
    assert world.sql("SHOW max_logical_replication_workers") == "0"


def test_targets(world):
    """Each is foretold, and the older backup is taken where the newer one has passed it."""
    world = world()
    first = int(world.xid) - 1
    told = world.recover("--dry-run", "--to", world.times[0])
    assert told["backup"] == str(world.backups / "plain") and "second" in told["passed_over"][0], told
    lsn = told["promised_commit"]["lsn"]
    xid = told["promised_commit"]["xid"]
    assert told["next_commit"] is None or told["next_commit"]["xid"] > xid
    for target in (lsn, f"xid:{xid}"):
        told = world.recover("--dry-run", "--to", target, backup="plain")
        assert told["promised_commit"]["xid"] == xid, told
        told = world.recover("--dry-run", "--to", target, "--exclusive", backup="plain")
        assert told["promised_commit"]["xid"] < xid and told["next_commit"]["xid"] == xid, told
    # Behind the newest backup an xid of the older one is not found, and it is looked for there.
    told = world.recover("--dry-run", "--to", f"xid:{xid}", mapping=False, status=4)
    assert told["backup"] == str(world.backups / "plain") and f"--tablespace-mapping={world.copied}=" in told["hints"][0], told
    told = world.recover("--dry-run", "--to", "name:nonsense", status=1)
    assert "the target name:nonsense is not in the WAL" in told["problems"][0], told
    told = world.recover("--dry-run", "--to", "immediate", backup="plain")
    assert told["promised_commit"] is None, told
    assert first > 0

    # Just before a transaction, at a restore point, at a time: what is there when the server has stopped there.
    told = world.recover("--to", f"xid:{world.xid}", "--exclusive", "--action", "promote", "--start")
    assert_reached(told)
    assert world.sql("SELECT max(i) FROM t") == "1"
    world.away()
    told = world.recover("--to", "name:first", "--start", backup="plain")
    assert_reached(told)
    assert world.sql("SELECT pg_is_in_recovery(), max(i) FROM t") == "t|0", told
    assert "pg_wal_replay_resume" in told["next"][0], told
    left = (world.into / "postgresql.auto.conf").read_text()
    assert "recovery_target_name = 'first'" in left and "lc_messages" not in left, left
    world.away()
    told = world.recover("--to", world.times[0], "--action", "shutdown", "--start", backup="plain")
    assert told["state"] == "reached" and not (world.into / "postmaster.pid").exists(), told
    world.away()
    told = world.recover("--to", "immediate", "--action", "promote", "--start", backup="plain")
    assert told["state"] == "reached" and told["reached_lsn"] == told["promised_lsn"], told
    assert world.sql("SELECT count(*) FROM t") == "0"


def test_a_target_before_the_newest_timeline(world, receivers, new_archive):
    """It leaves the archive's branch. Along the newest timeline, the server would write a history in which that one ends before
    it begins, and its walsender would send WAL that the server does not have."""
    world = world(second=())
    primary = world.primary
    primary.conf(recovery_target_time="")
    promote_again(primary)
    receiver = receivers.pgweir(world.archive, primary)
    streaming(primary)
    primary.sql("INSERT INTO t VALUES (3000)")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.stop()
    hand_over(world.archive.path)
    told = world.recover("--to", world.times[0], "--action", "promote", "--start", backup="plain")
    assert_reached(told)
    assert told["timeline"] == 1 and any("timeline 2, which" in note and "directory of its own" in note for note in told["notes"]), told
    assert world.sql("SELECT string_agg(i::text, ',') FROM t") == "0"
    history = (world.into / "pg_wal" / "00000003.history").read_text()
    assert [line.split()[:2] for line in history.splitlines() if line.strip()] == [["1", told["promised_lsn"]]], history

    # As docs/restore.md has it.
    following = new_archive(primary, "following")
    receiver = receivers.pgweir(following, primary, "--slot", "next", "--create-slot", "--start", told["promised_lsn"])
    streaming(primary)
    primary.sql("INSERT INTO t VALUES (4000)")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    world.away()
    hand_over(following.path)
    told = world.recover("-D", following.path, "--start", backup="plain")
    assert_reached(told)
    assert told["timeline"] == 3 and world.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t") == "0,4000"
    world.stop()


def test_what_cannot_be_reached_is_told_before_a_byte_is_copied(world):
    world = world()
    size = world.primary.segment_size
    lsn = wal.lsn(world.recover("--dry-run", "--to", world.times[0], backup="plain")["promised_commit"]["lsn"])
    middle = world.archive.path / (wal.segment_name(1, lsn // size + 1, size) + ".zst")
    content = middle.read_bytes()
    middle.unlink()
    told = world.recover("--start", backup="plain", status=1)
    assert "WAL is missing in the archive" in told["problems"][0] and not world.into.exists(), told
    hint = " ".join(told["hints"])
    assert "pgweir import" in hint and '"--to ' in hint, told
    # The way out leads to where it says.
    to = hint.split('"--to ')[1].split('"')[0]
    xid = int(hint.split("(xid ")[1].split(",")[0])
    told = world.recover("--to", to, "--action", "promote", "--start", backup="plain")
    assert_reached(told)
    assert told["promised_commit"]["xid"] == xid, told
    world.away()
    middle.write_bytes(content)
    give(middle)

    told = world.recover("--to", wal.lsn_text(world.end + (64 << 20)), status=1)
    assert "the archive ends before the target" in told["problems"][0], told
    told = world.recover("--to", "2020-01-01 00:00+00", status=1)
    assert "target" in told["problems"][0] and len(told["passed_over"]) == 2, told

    # A file of the backup is missing, or is another one.
    file = world.backups / "plain" / "base" / "1" / "1259"
    held = file.read_bytes()
    file.unlink()
    told = world.recover(backup="plain", status=1)
    assert "1259" in told["passed_over"][0] and not world.into.exists(), told
    file.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    give(file)
    told = world.recover(backup="plain", status=1)
    assert told["state"] == "incomplete" and "1259" in told["problems"][0], told
    assert not (world.into / "global" / "pg_control").exists()
    file.write_bytes(held)
    # Mended, the same words go on.
    assert world.recover(backup="plain")["state"] == "prepared"
    world.away()

    # Places.
    directory(world.into)
    put(world.into / "file", "mine")
    told = world.recover(status=4)
    assert "is not empty" in told["problems"][0] and (world.into / "file").read_text() == "mine", told
    shutil.rmtree(world.into)
    told = world.recover(mapping=False, backup="second", status=4)
    assert f"--tablespace-mapping={world.elsewhere}=" in told["hints"][0] and not world.into.exists(), told
    for inside in (world.archive.path / "x", world.backups / "plain" / "x"):
        told = world.recover(into=inside, backup="plain", status=4)
        assert "inside another" in told["problems"][0] and not inside.exists(), told
    # Of another cluster, by the front of its pg_control: with the archive's own WAL it could be brought to anything.
    control = world.backups / "plain" / "global" / "pg_control"
    held = control.read_bytes()
    control.write_bytes(bytes(8 * [7]) + held[8:])
    told = world.recover("--dry-run", backup="plain", status=4)
    assert "the backup and the archive belong to different clusters" in told["problems"][0], told
    control.write_bytes(held)
    # A server that pg_ctl could not start: as on Debian, without postgresql.conf in the backup and its manifest.
    for name in ("postgresql.conf", "backup_manifest"):
        (world.backups / "plain" / name).rename(world.place / name)
    told = world.recover("--start", backup="plain", status=3)
    assert "no postgresql.conf" in told["problems"][0] and not world.into.exists(), told
    for name in ("postgresql.conf", "backup_manifest"):
        (world.place / name).rename(world.backups / "plain" / name)
    told = world.recover("--start", into=world.place / "new" / "$main", backup="plain", status=2)
    assert "pg_ctl cannot start" in told["problems"][0], told
    told = world.recover(bin=world.place, status=3)
    assert "could not find the server programs" in told["problems"][0] and not world.into.exists(), told
    for wrong in (["--to", "latest", "--exclusive"], ["--to", "nonsense"], ["--standby", "host=x", "--to", "latest"],
                  ["--standby", "host=x", "--timeline", "1"], ["--tablespace-mapping=/nowhere=/x"], ["--start-command", "x"]):
        told = world.recover(*wrong, backup="plain", status=2)
        assert not world.into.exists(), told
    told = world.recover(backup="nowhere", status=2)
    if os.getuid() == 0:
        refused = run(world.command(), check=False)
        assert refused.returncode == 2 and "--owner" in refused.stderr, refused

    # An archive that does not answer may have later WAL, or another timeline; and what is missing in the others.
    lost = ["-D", world.place / "unmounted"]
    for target in ("latest", f"xid:{world.xid}", "xid:999999"):
        told = world.recover(*lost, "--to", target, status=4)
        assert "does not respond" in told["problems"][0] and "unmounted" in told["problems"][0], told
        assert "remove its -D" in told["hints"][0] and not world.into.exists(), told


def test_the_history_of_a_newer_timeline_is_needed(world, receivers):
    """Without it nobody knows where that timeline begins: the branch that it left looks like the cluster."""
    world = world(second=())
    primary = world.primary
    primary.conf(recovery_target_time="")
    promote_again(primary)
    receiver = receivers.pgweir(world.archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.stop()
    hand_over(world.archive.path)
    history = world.archive.path / "00000002.history"
    content = history.read_bytes()
    for spoil in (history.unlink, lambda: put(history, ""), lambda: put(history, "no history\n")):
        spoil()
        for target in ("latest", world.times[0]):
            told = world.recover("--dry-run", "--to", target, backup="plain", status=4)
            assert "00000002.history" in told["problems"][0] and "--timeline" in told["hints"][0], told
        told = world.recover("--dry-run", "--timeline", "1", "--action", "pause", backup="plain")
        assert told["timeline"] == 1, told
        assert any("could not be promoted" in note and "00000002.history" in note for note in told["notes"]), told
        told = world.recover("--dry-run", "--timeline", "1", backup="plain", status=1)
        assert "00000002.history" in told["problems"][0] and "--action pause" in told["hints"][0], told
    # And that is so.
    history.unlink()
    assert world.recover("--timeline", "1", "--action", "pause", "--start", backup="plain")["state"] == "reached"
    world.sql("SELECT pg_wal_replay_resume()")
    wait_for(lambda: not (world.into / "postmaster.pid").exists(), "the server to end")
    log = (world.into / "pgweir-recover.log").read_text()
    assert "00000002.history is missing in the archive: segments of timeline 2 exist" in log, log
    world.away()
    history.write_bytes(content)
    give(history)
    assert world.recover("--dry-run", backup="plain")["timeline"] == 2


def test_a_history_that_the_server_requests(world, receivers):
    """The archive begins on a later timeline, without its history: the server would stop when it requests that file."""
    world = world(second=())
    primary = world.primary
    primary.conf(recovery_target_time="")
    promote_again(primary)
    receiver = receivers.pgweir(world.archive, primary)
    streaming(primary)
    world.backup("second", "-F", "t")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.stop()
    hand_over(world.archive.path)
    for path in world.archive.path.glob("00000001*"):
        path.unlink()
    history = world.archive.path / "00000002.history"
    content = history.read_bytes()
    history.unlink()
    told = world.recover("--start", backup="second", status=1)
    assert "00000002.history" in told["problems"][0] and "pg_wal" in told["hints"][0], told
    assert not world.into.exists(), told
    history.write_bytes(content)
    give(history)
    told = world.recover("--start", backup="second")
    assert_reached(told)
    assert told["timeline"] == 2, told


def test_root_gives_it_to_the_server_s_user(world):
    if os.getuid() != 0:
        pytest.skip("this is not root")
    world = world()
    shutil.rmtree(world.place / "new")
    done = run([*world.command("--start", "--json"), "--owner", "postgres"], check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert_reached(json.loads(done.stdout))
    for path in [world.into, world.tablespace, *world.into.rglob("*"), *world.tablespace.rglob("*")]:
        assert path.lstat().st_uid == server_user().pw_uid, path
    world.away()
    # One who may not read the archive is told so before anything is copied.
    shutil.rmtree(world.place / "new")
    world.archive.path.chmod(0o700)
    os.chown(world.archive.path, 0, 0)
    # (A process that was another user cannot be searched for leaks.)
    env = {**os.environ, "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')} detect_leaks=0"}
    done = run([*world.command("--json"), "--owner", "postgres"], check=False, env=env)
    assert done.returncode == 3 and "setfacl" in done.stdout and not world.into.exists(), (done.stdout, done.stderr)


def test_killed_anywhere_the_same_words_go_on(world, seeded):
    """Whatever state it is killed in: no server starts on what is incomplete, and the same call ends as if nothing had been."""
    world = world(second=())
    before = world.fingerprint()
    command = [str(word) for word in world.command("--start", "--json", backup="plain")]
    kills = 0
    for delay in [0.05 * step for step in range(1, 60, 4)]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", **as_server_user())
        try:
            process.wait(delay + seeded.random() / 20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        state = world.into / "pgweir-recover.json"
        if state.exists() and json.loads(state.read_text())["state"] == "incomplete":
            assert not (world.into / "global" / "pg_control").exists()
        if process.returncode == 0:
            break
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert kills > 2
    assert world.sql("SELECT count(*) FROM t") == "2" and world.sql("SELECT count(*) FROM far") == "1"
    world.stop()
    assert world.fingerprint() == before


def test_interrupted_in_a_query_it_says_that_the_server_continues(world):
    world = world(second=())
    log = world.into / "pgweir-recover.log"
    slow = f"{world.bin}/pg_ctl -D {world.into} -W -o '-c post_auth_delay=600 -c log_connections=on' start"
    command = world.command("--start", "--start-command", slow, "--json", backup="plain")
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
                               **as_server_user())
    try:
        wait_for(lambda: log.exists() and "connection received" in log.read_text(), "the query of the recovered server")
        process.send_signal(signal.SIGINT)
        told = json.loads(process.communicate(timeout=PATIENCE)[0])
    finally:
        process.kill()
    assert process.returncode == 3 and told["state"] == "recovering", told
    assert told["problems"] == ["interrupted; the server continues"], told
    assert told["hints"] == ["The same command follows it again."], told


def interrupted(world, *words, **more):
    """By a damaged file of the backup, which is restored: everything is there but for the last steps."""
    file = world.backups / "plain" / "base" / "1" / "1259"
    held = file.read_bytes()
    file.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    told = world.recover(*words, status=1, **more)
    file.write_bytes(held)
    assert told["state"] == "incomplete" and list(world.tablespace.glob("PG_*")), told


def test_a_place_that_the_interrupted_call_did_not_fill_is_not_emptied(world):
    """A newer backup that has appeared since has a tablespace elsewhere: where the server's own files are. Or a file system
    was mounted since, with the old server's tablespace in the same place."""
    world = world()
    second = world.backups / "second"
    second.rename(world.place / "second")
    words = [f"--tablespace-mapping={world.copied}={world.tablespace}"]
    interrupted(world, *words, mapping=False)
    (world.place / "second").rename(second)
    before = world.fingerprint()
    told = world.recover(*words, mapping=False, status=4)
    assert "is not empty" in told["problems"][0] and str(world.elsewhere) in told["problems"][0], told
    assert world.fingerprint() == before
    second.rename(world.place / "second")
    begun = world.tablespace.rename(world.place / "begun")
    directory(world.tablespace)
    put(world.tablespace / "file", "of the old server")
    for _ in range(2):
        told = world.recover(*words, mapping=False, status=4)
        assert "is not empty" in told["problems"][0] and str(world.tablespace) in told["problems"][0], told
        assert "may have been mounted" in told["hints"][0], told
        assert (world.tablespace / "file").read_text() == "of the old server"
    shutil.rmtree(world.tablespace)
    begun.rename(world.tablespace)
    # As an earlier version wrote it.
    state = world.into / "pgweir-recover.json"
    held = state.read_text()
    put(state, json.dumps({name: value for name, value in json.loads(held).items() if name != "id"}))
    told = world.recover(*words, mapping=False, status=4)
    assert "is not empty" in told["problems"][0] and list(world.tablespace.glob("PG_*")), told
    put(state, held)
    # Otherwise, the call copies again into its own directories.
    put(world.tablespace / "begun", "")
    told = world.recover(*words, mapping=False)
    assert told["state"] == "prepared" and [path.name[:3] for path in world.tablespace.iterdir()] == ["PG_"], told


def test_wal_that_was_copied_into_an_incomplete_directory_is_not_removed(world):
    """It may be the last of the old server. Other files are removed when the same call copies again."""
    world = world(second=())
    interrupted(world, backup="plain")
    file = world.into / "pg_wal" / "000000010000000000000099"
    put(file, "the only copy")
    put(world.into / "note", "")
    told = world.recover(backup="plain", status=4)
    assert "pg_wal has WAL that this recovery did not create" in told["problems"][0] and str(file) in told["problems"][0], told
    assert file.read_text() == "the only copy" and list(world.tablespace.glob("PG_*")), told
    file.unlink()
    told = world.recover(backup="plain")
    assert told["state"] == "prepared" and not (world.into / "note").exists(), told


def test_a_backup_whose_end_is_not_archived_is_passed_over(world, place):
    """An older one leads to the end of the archive. WAL that the newest one has itself is enough for its end."""
    second = place / "copies" / "second"
    world = world(second=("-X", "fetch", f"--tablespace-mapping={place}/elsewhere={second}"))
    newest, older = world.backups / "second", world.backups / "plain"
    mapping = f"--tablespace-mapping={second}={world.tablespace}"
    first = re.search(r"\(file ([0-9A-F]{24})\)", (newest / "backup_label").read_text())[1]
    for file in list(world.archive.path.glob("0*")):
        if file.name >= first:
            file.unlink()
    for target in ("latest", "immediate"):
        told = world.recover("--dry-run", "--to", target, mapping)
        assert told["backup"] == str(newest) and told["passed_over"] == [], told
        assert any(str(newest / "pg_wal") in note for note in told["notes"]), told
        unknown = any("no WAL of timeline 1 after that in the backup" in note for note in told["notes"])
        assert unknown == (target == "latest"), told
    for file in list((newest / "pg_wal").glob("0*")):
        file.unlink()
    for target in ("immediate", "latest"):
        told = world.recover("--dry-run", "--to", target, mapping)
        assert told["backup"] == str(older), told
        assert len(told["passed_over"]) == 1 and told["passed_over"][0].startswith(f"{newest}: the archive ends at "), told
    told = world.recover("--dry-run", "--to", told["promised_commit"]["lsn"], mapping)
    assert told["backup"] == str(older) and "the archive ends before the target" in told["passed_over"][0], told
    done = run(world.command("--to", "latest", "--start", mapping), **as_server_user(), cwd="/")
    assert "RECOVERED as promised" in done.stdout, done
    assert f"{newest}: the archive ends at " in done.stdout and "before the backup does" in done.stdout, done
    assert world.sql("SELECT string_agg(i::text, ',') FROM t") == "0"
    # Without an older one, the reason is that of the newest.
    world.away()
    told = world.recover("--dry-run", mapping, backup="second", mapping=False, status=1)
    assert "before the backup does" in told["problems"][0] and told["backup"] == str(newest), told


def test_a_backup_of_a_timeline_that_the_archive_lacks(world, place):
    """Nothing was received after a failover. The end of the old timeline is not the latest; WAL that the backup has itself is."""
    second = place / "copies" / "second"
    world = world(second=())
    primary = world.primary
    primary.conf(recovery_target_time="")
    promote_again(primary)
    primary.sql("INSERT INTO t VALUES (2000)")
    world.backup("second", "-X", "fetch", f"--tablespace-mapping={world.elsewhere}={second}")
    primary.stop()
    newest, older = world.backups / "second", world.backups / "plain"
    mapping = f"--tablespace-mapping={second}={world.tablespace}"
    assert world.recover("--dry-run", "--timeline", "1", mapping)["backup"] == str(older)
    told = world.recover("--start", mapping)
    assert told["backup"] == str(newest) and told["timeline"] == 2 and told["state"] == "reached", told
    assert any("no WAL of timeline 2 after that in the backup" in note for note in told["notes"]), told
    assert world.sql("SELECT max(i) FROM t") == "2000"
    world.away()
    for file in list((newest / "pg_wal").glob("0*")):
        file.unlink()
    told = world.recover("--start", mapping, status=1)
    assert f"although timeline 2 is newer: the backup {newest} is of that timeline" in told["problems"][0], told
    assert '"--timeline 1"' in told["hints"][0] and not world.into.exists(), told
    told = world.recover("--dry-run", "--to", world.times[0], mapping)
    assert told["backup"] == str(older) and any("although timeline 2 is newer" in note for note in told["notes"]), told


def test_wal_of_the_backup_links_and_group_access(world):
    world = world(second=(), initdb=["-g"])
    backup = world.backups / "plain"
    # The archive begins later than the backup, which has that WAL itself.
    first = re.search(r"\(file ([0-9A-F]{24})\)", (backup / "backup_label").read_text())[1]
    (world.archive.path / f"{first}.zst").unlink()
    told = world.recover("--dry-run", backup="plain", status=1)
    assert not world.into.exists(), told
    shutil.copy(world.primary.pg_wal(first), backup / "pg_wal" / first)
    give(backup / "pg_wal" / first)
    logs = directory(world.place / "logs")
    put(logs / "old.log", "of the old server\n")
    (backup / "log").symlink_to(logs)
    before = world.fingerprint()
    # The output of the start command is inherited by the server.
    told = world.recover("--start", "--start-command", f"{world.bin}/pg_ctl -D {world.into} -W start", backup="plain")
    assert_reached(told)
    assert any("log is a link" in note for note in told["notes"]), told
    assert any(str(backup / "pg_wal") in note for note in told["notes"]), told
    assert world.sql("SELECT count(*) FROM t") == "2"
    assert list((world.into / "log").iterdir()) == [] and (logs / "old.log").exists()
    assert oct(world.into.stat().st_mode & 0o777) == "0o750"
    assert oct((world.into / "base" / "1" / "1259").stat().st_mode & 0o777) == "0o640"
    world.stop()
    assert world.fingerprint() == before


def test_a_pause_is_seen_wherever_the_server_logs(world):
    """As with pg_ctlcluster: an output file of its own, with lines of servers before it; or no line of a pause at all."""
    world = world(second=())
    put(world.place / "nobody.conf", "local all all reject\nhost all all all reject\n")
    log = world.place / "elsewhere.log"
    old = "LOG:  starting PostgreSQL 9\nLOG:  pausing at the end of recovery\nFATAL:  of the old server\n"
    put(log, old)
    for settings, output in ((f"hba_file = '{world.place}/nobody.conf'\n", f"-l {log}"), ("log_min_messages = fatal\n", "")):
        put(world.backups / "plain" / "postgresql.auto.conf", settings)
        told = world.recover("--start", "--to", world.times[0], "--start-command",
                             f"{world.bin}/pg_ctl -D {world.into} {output} -W -o '-p {free_port()}' start", backup="plain")
        assert told["state"] == "reached" and told["problems"] == [], told
        if output:
            assert any("neither the position nor the last commit" in note for note in told["notes"]), told
            assert "pausing at the end of recovery" in log.read_text().rpartition("starting PostgreSQL")[2]
        else:
            assert_reached(told)
        world.away()
    # The running server logs nothing; the lines of one that has ended are not its own.
    put(log, old + "LOG:  database system is shut down\n")
    done = run(world.command("--start", "--to", world.times[0], "--start-command",
                             f"{world.bin}/pg_ctl -D {world.into} -l {log} -W -o '-p {free_port()}' start", backup="plain"),
               **as_server_user(), cwd="/")
    assert "RECOVERED as promised" in done.stdout and "of the old server" not in done.stderr, done


def test_a_server_that_was_stopped_on_the_way_has_not_reached_its_target(world):
    """Its pg_control looks as after a shutdown at the target; the same words go on from there."""
    world = world(second=())
    log = world.into / "pgweir-recover.log"
    words = ["--start", "--to", world.times[0], "--action", "shutdown"]
    slow = f"{world.bin}/pg_ctl -D {world.into} -W -o '-c recovery_min_apply_delay=1d' start"
    process = subprocess.Popen([str(word) for word in world.command(*words, "--start-command", slow, "--json", backup="plain")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", **as_server_user())
    try:
        wait_for(lambda: log.exists() and "consistent recovery state reached" in log.read_text(),
                 "the server to be consistent")
        world.stop()
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    told = json.loads(out)
    assert process.returncode == 1 and told["state"] == "failed", (told, err, log.read_text())
    assert "the server stopped before recovery reached the target" in told["problems"][0], told
    # A client that connects too early has a line in the log, too: once there is a server.
    fatal = "FATAL:  the database system is starting up"
    start = (f"{world.bin}/pg_ctl -D {world.into} -W start; for i in $(seq 100); do"
             f" [ -s {world.into}/postmaster.pid ] && break; sleep 0.1; done; echo '{fatal}'")
    told = world.recover(*words, "--start-command", start, backup="plain")
    assert told["state"] == "reached" and told["problems"] == [], told
    assert "shutdown at recovery target" in log.read_text() and fatal in log.read_text()


def test_only_the_log_of_this_start_shows_that_it_has_failed(world):
    """Neither a client's line, nor what an earlier server has logged. The server takes its time to create postmaster.pid."""
    world = world(second=())
    words = ["--to", world.times[0], "--action", "shutdown"]
    assert world.recover(*words, backup="plain")["state"] == "prepared"
    old = "LOG:  starting PostgreSQL 9\nLOG:  pausing at the end of recovery\nFATAL:  of the old server\n"
    log = world.into / "pgweir-recover.log"
    put(log, old)
    directory(world.into / "log")
    put(world.into / "log" / "old.log", old)
    put(world.into / "current_logfiles", "stderr log/old.log\n")
    late = f"echo 'FATAL:  the database system is starting up'; (sleep 2; {world.bin}/pg_ctl -D {world.into} -W start) &"
    told = world.recover(*words, "--start", "--start-command", late, backup="plain")
    assert told["state"] == "reached" and told["problems"] == [], told
    assert "FATAL:  the database system is starting up" in log.read_text()
    world.away()
    # One that fails before there is a postmaster.pid is not waited for.
    broken = "echo 'FATAL:  could not load pg_hba.conf'"
    told = world.recover(*words, "--start", "--start-command", broken, backup="plain", status=1)
    assert told["state"] == "failed" and told["server_log"] == ["FATAL:  could not load pg_hba.conf"], told


def test_a_later_call_reads_the_log_of_the_running_server_only(world):
    world = world(second=())
    words = ["--to", world.times[0]]
    assert world.recover(*words, backup="plain")["state"] == "prepared"
    old = "LOG:  starting PostgreSQL 9\nFATAL:  of the old server\nLOG:  database system is shut down\n"
    put(world.into / "pgweir-recover.log", old + "LOG:  starting PostgreSQL 9\nFATAL:  of this server\n")
    # A server is told to reload its configuration.
    server = subprocess.Popen(["sh", "-c", "trap '' HUP; echo; exec sleep 600"], **as_server_user(), cwd=world.into,
                              stdout=subprocess.PIPE)
    process = None
    try:
        server.stdout.readline()
        put(world.into / "postmaster.pid", f"{server.pid}\n")
        process = subprocess.Popen([str(word) for word in world.command(*words, "--start", backup="plain")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", **as_server_user())
        err = ""
        while "of this server" not in err:
            line = process.stderr.readline()
            assert line, "it has ended: " + process.communicate()[0]
            err += line
        server.kill()
        server.wait()
        out, rest = process.communicate(timeout=60)
    finally:
        for each in (server, process):
            if each and each.poll() is None:
                each.kill()
                each.wait()
        (world.into / "postmaster.pid").unlink(missing_ok=True)
    assert process.returncode == 1 and "FATAL:  of this server" in out, (out, err + rest)
    assert "of the old server" not in out + err + rest, (out, err + rest)


def test_a_standbys_backup_over_a_failover(servers, receivers, new_archive, place):
    """It began on timeline 1 and ended on timeline 2: only that leads it to consistency."""
    primary = servers.primary()
    archive = new_archive(primary)
    first, second = servers.standby(primary), servers.standby(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1); CHECKPOINT")
    first.replayed(primary.flushed())
    second.replayed(primary.flushed())
    backups = directory(place / "backups")
    directory(place / "new")
    backup, into = backups / "over", place / "new" / "main"
    taking = subprocess.Popen([primary.bin / "pg_basebackup", "-D", backup, "-d", second.conninfo(), "-c", "fast", "-N",
                               "-X", "none", "--max-rate", "2M"], cwd="/", **as_server_user())
    try:
        wait_for((backup / "backup_label").exists, "the backup to begin")
        taking.send_signal(signal.SIGSTOP)
        reported(primary, primary.flushed())
        receiver.stop()
        primary.stop()
        first.promote()
        second.follow(first)
        second.reload()
        receiver = receivers.pgweir(archive, first)
        first.sql("INSERT INTO t VALUES (2); CHECKPOINT")
        second.replayed(first.flushed())
        second.sql("CHECKPOINT")
        taking.send_signal(signal.SIGCONT)
        assert taking.wait(PATIENCE) == 0
    finally:
        if taking.poll() is None:
            taking.kill()
            taking.wait()
    ranges = json.loads((backup / "backup_manifest").read_text())["WAL-Ranges"]
    assert sorted(each["Timeline"] for each in ranges) == [1, 2], ranges
    first.sql("INSERT INTO t VALUES (3)")
    reported(first, first.flushed())
    second.stop()
    first.stop()
    receiver.stop()
    hand_over(archive.path)
    done = run([installed(place), "recover", "-D", archive.path, "--backup", backups, "--into", into, "--bindir", primary.bin,
                "--start", "--json"], check=False, **as_server_user(), cwd="/")
    try:
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["timeline"] == 2, (told, done.stderr)
        assert_reached(told)
    finally:
        if (into / "postmaster.pid").exists():
            run([primary.bin / "pg_ctl", "-D", into, "-m", "immediate", "stop"], **as_server_user(), cwd="/")


class OfAStandby:
    """An archive, and a plain backup of a standby: its checkpoint precedes the row that the archive does not have yet."""

    def __init__(self, servers, receivers, new_archive, place, *options):
        self.place = place
        self.receivers = receivers
        self.primary = primary = servers.primary()
        self.archive = new_archive(primary)
        self.standby = standby = servers.standby(primary)
        receiver = receivers.pgweir(self.archive, primary)
        streaming(primary)
        primary.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1); CHECKPOINT")
        reported(primary, primary.flushed())
        standby.replayed(primary.flushed())
        standby.sql("CHECKPOINT")
        receiver.stop()
        primary.sql("INSERT INTO t VALUES (2)")
        standby.replayed(primary.flushed())
        self.backup = directory(place / "backups") / "standby"
        self.into = directory(place / "new") / "main"
        run([primary.bin / "pg_basebackup", "-D", self.backup, "-d", standby.conninfo(), "-c", "fast", "-N", *options],
            **as_server_user(), cwd="/")

    def ends(self):
        """Nobody writes to the archive any more."""
        self.standby.stop()
        self.primary.stop()
        hand_over(self.archive.path)

    def recover(self, *options, status=0):
        done = run([installed(self.place), "recover", "-D", self.archive.path, "--backup", self.backup, "--into", self.into,
                    "--bindir", self.primary.bin, "--json", *options], check=False, **as_server_user(), cwd="/")
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def rows(self):
        """Of the server that was recovered: it has the standby's settings."""
        return self.standby.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t")

    def stop(self):
        if (self.into / "postmaster.pid").exists():
            run([self.primary.bin / "pg_ctl", "-D", self.into, "-m", "immediate", "-w", "stop"], check=False,
                **as_server_user(), cwd="/")


def test_immediate_is_the_end_in_the_manifest_of_a_standbys_backup(servers, receivers, new_archive, place):
    """pg_control is copied before the standby reports the end, and the server would be consistent at an earlier position."""
    scene = OfAStandby(servers, receivers, new_archive, place, "-X", "none")
    primary = scene.primary
    receiver = receivers.pgweir(scene.archive, primary)
    streaming(primary)
    primary.sql("INSERT INTO t VALUES (3)")
    end = primary.flushed()
    primary.sql("INSERT INTO t VALUES (4)")
    reported(primary, primary.flushed())
    receiver.stop()
    scene.ends()
    # As if the standby had replayed this row between the two.
    manifest = scene.backup / "backup_manifest"
    text = re.sub(r'"End-LSN": "[^"]*"', f'"End-LSN": "{wal.lsn_text(end)}"', manifest.read_text())
    text = text[:text.index('"Manifest-Checksum"')]
    put(manifest, f'{text}"Manifest-Checksum": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n')
    try:
        told = scene.recover("--to", "immediate", "--action", "promote", "--start")
        assert_reached(told)
        assert end <= wal.lsn(told["reached_lsn"]) and scene.rows() == "1,2,3", told
    finally:
        scene.stop()


def test_the_wal_in_a_standbys_backup_ends_with_its_zeros(servers, receivers, new_archive, place):
    """pg_basebackup leaves its last segment under its final name: the archive does not have the end of the backup."""
    scene = OfAStandby(servers, receivers, new_archive, place, "-X", "stream")
    scene.ends()
    told = scene.recover("--dry-run")
    end = wal.lsn(told["promised_lsn"])
    notes = "\n".join(told["notes"])
    assert "used as one more archive" in notes and "has only zeros from" in notes, told
    assert "corrupted" not in notes, told
    # A standby keeps its restore_command.
    notes = "\n".join(scene.recover("--dry-run", "--standby", scene.primary.conninfo())["notes"])
    assert "must stream WAL that the archive does not have" in notes and "one more archive" not in notes, notes
    # Damage before the zeros.
    size = scene.primary.segment_size
    segment = scene.backup / "pg_wal" / wal.segment_name(1, (end - 1) // size, size)
    content = segment.read_bytes()
    assert not any(content[end % size or size:]), "else this tests nothing"
    damaged = bytearray(content)
    damaged[(end - 1) % size - 16] ^= 0xFF
    segment.write_bytes(damaged)
    told = scene.recover("--dry-run", status=1)
    assert "before the backup does" in told["problems"][0], told
    segment.write_bytes(content)
    try:
        told = scene.recover("--start")
        assert_reached(told)
        assert wal.lsn(told["reached_lsn"]) == end and scene.rows() == "1,2", told
    finally:
        scene.stop()


def test_a_standby(world):
    world = world(second=())
    primary = world.primary.start()
    port = free_port()
    start = f"{world.bin}/pg_ctl -D {world.into} -W -o '-p {port}' start"
    told = world.recover("--standby", primary.conninfo(), "--start", "--start-command", start, backup="plain")
    assert told["state"] == "reached" and (world.into / "standby.signal").exists(), told
    assert wal.lsn(told["reached_lsn"]) >= wal.lsn(told["promised_lsn"]), told
    assert not (world.into / "recovery.signal").exists()
    settings = (world.into / "postgresql.auto.conf").read_text()
    assert "--on-gap absent --allow-empty" in settings and "recovery_target_lsn = '0" not in settings, settings
    # Those that recover needs to follow the server's log do not stay, also not in the running server.
    assert "lc_messages" not in settings and "log_destination" not in settings, settings
    wait_for(lambda: world.sql("SELECT count(*) FROM pg_settings WHERE name IN ('lc_messages', 'log_destination')"
                               " AND sourcefile LIKE '%auto.conf'", port, check=False) == "0", "the server to be reloaded")
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
             "the standby to stream")


def test_a_standby_has_reached_the_promise_once_it_has_that_wal(world):
    """The last WAL is in an unfinished segment: without its primary, a standby does not get it."""
    world = world(second=())
    primary = world.primary
    port = free_port()
    standby = ["--standby", primary.conninfo(), "--start", "--start-command",
               f"{world.bin}/pg_ctl -D {world.into} -W -o '-p {port} -c wal_retrieve_retry_interval=500' start"]
    told = world.recover(*standby, backup="plain", status=3)
    assert told["state"] == "recovering" and told["problems"] == [], told
    assert wal.lsn(told["reached_lsn"]) < wal.lsn(told["promised_lsn"]), told
    assert any("so far" in note for note in told["notes"]), told
    primary.start()
    told = world.recover(*standby, backup="plain")
    assert told["state"] == "reached" and wal.lsn(told["reached_lsn"]) >= wal.lsn(told["promised_lsn"]), told


def test_a_newer_timeline_of_which_only_the_history_is_archived(world):
    """A recovery stays on the timeline that it was promised for. A standby follows the newest history file."""
    world = world(second=())
    primary = world.primary.start()
    standby = ["--standby", primary.conninfo()]
    start = ["--start", "--start-command", f"{world.bin}/pg_ctl -D {world.into} -W -o '-p {free_port()}' start"]
    assert world.recover(*standby, backup="plain")["state"] == "prepared"
    history = world.archive.path / "00000002.history"
    put(history, "1\t0/100028\tno recovery target specified\n")
    give(history)
    told = world.recover(*standby, *start, backup="plain", status=1)
    assert any("requested timeline 2 is not a child of this server's history" in line for line in told["server_log"]), told
    world.away()
    told = world.recover(*standby, backup="plain", status=1)
    assert "the backup is not in the history of timeline 2" in told["problems"][0] and not world.into.exists(), told
    primary.stop()

    put(history, f"1\t{wal.lsn_text(world.end // 8 * 8 - (1 << 20))}\tno recovery target specified\n")
    assert world.recover(*standby, "--dry-run", backup="plain")["timeline"] == 2
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert told["timeline"] == 1 and world.sql("SELECT max(i) FROM t") == "1000", told
    note, = (note for note in told["notes"] if "although timeline 2 is newer" in note)
    assert "but WAL of timeline 1 after that position is" in note, note
    assert (world.into / "pg_wal" / "00000003.history").exists(), "the number of the other one is not used again"
    world.stop()


def test_wal_before_the_switchpoint_of_a_newer_timeline_is_missing(world):
    """A receiver has the history of a new primary before all WAL up to its switchpoint. As `restore` has it, that is no end."""
    world = world(second=())
    size = world.primary.segment_size
    promised = wal.lsn(world.recover("--dry-run", backup="plain")["promised_lsn"])
    last = promised // size
    within = wal.lsn_text((promised + 15) // 8 * 8)
    history = world.archive.path / "00000002.history"
    put(history, f"1\t{within}\tno recovery target specified\n")
    told = world.recover("--dry-run", backup="plain")
    note, = (note for note in told["notes"] if "although timeline 2 is newer" in note)
    assert f"nor is WAL of timeline 1 after {told['promised_lsn']}" in note, note
    put(history, f"1\t{wal.lsn_text((last + 3) * size + 40)}\tno recovery target specified\n")
    told = world.recover("--start", backup="plain", status=1)
    assert "WAL is missing in the archive, from " in told["problems"][0] and not world.into.exists(), told
    assert f" to {wal.lsn_text((last + 3) * size)}: " in told["problems"][0], told
    # What precedes the hole is recovered by its own words.
    told = world.recover("--start", "--to", re.search(r'"--to (\S+)"', told["hints"][0])[1], "--action", "promote", backup="plain")
    assert told["state"] == "reached", told
    world.stop()
    world.away()
    # A copy without partial segments, made before the new timeline had a complete one.
    put(history, f"1\t{within}\tno recovery target specified\n")
    unfinished, = world.archive.partials().values()
    unfinished.unlink()
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert wal.lsn(told["promised_lsn"]) <= last * size, told
    note, = (note for note in told["notes"] if "although timeline 2 is newer" in note)
    assert f"nor is WAL of timeline 1 after {told['promised_lsn']}" in note, note
    world.stop()


def test_a_full_disk(world):
    world = world(second=())
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    small = directory(world.place / "small")
    run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=0777", "none", small])
    try:
        told = world.recover(backup="plain", into=small / "main", status=3)
        assert "there is too little space" in told["problems"][0] and not (small / "main").exists(), told
    finally:
        run(["umount", small])


def test_what_the_wal_needs_and_damage_after_the_target(world):
    """A tablespace that is created on the way, limits that were raised, a pg_hba.conf that lets nobody in."""
    world = world(second=())
    primary = world.primary
    before = wal.lsn(world.recover("--dry-run", "--to", world.times[0], backup="plain")["promised_commit"]["lsn"])
    third = directory(world.place / "third")
    primary.conf(max_connections=80)
    primary.start()
    receiver = world.receivers.pgweir(world.archive, primary, "--compress", "zstd")
    streaming(primary)
    primary.sql(f"CREATE TABLESPACE third LOCATION '{third}'")
    primary.sql("CREATE TABLE there TABLESPACE third AS SELECT 1 AS i")
    reported(primary, primary.flushed())
    primary.stop()
    receiver.stop()
    hand_over(world.archive.path)
    files = sorted(third.rglob("*"))
    told = world.recover("--start", backup="plain", status=4)
    assert "the WAL creates a tablespace at" in told["problems"][0] and not world.into.exists(), told
    assert sorted(third.rglob("*")) == files
    third.rename(world.place / "original")
    directory(third)
    put(world.place / "nobody.conf", "local all all reject\nhost all all all reject\n")
    put(world.backups / "plain" / "postgresql.auto.conf", f"hba_file = '{world.place}/nobody.conf'\nmax_connections = 60\n")
    told = world.recover("--start", backup="plain")
    assert told["state"] == "reached" and told["reached_lsn"] == told["promised_lsn"] and told["problems"] == [], told
    assert told["commit_reached"] is None, told
    notes = "\n".join(told["notes"])
    for words in ("no login is possible without a password", "hba_file is", "max_connections is raised from 60 to 80"):
        assert words in notes, told["notes"]
    assert len(list(third.rglob("*"))) == len(files)
    world.away()

    # Damage behind the target, in its own segment.
    put(world.backups / "plain" / "postgresql.auto.conf", "")
    size = primary.segment_size
    raw = world.archive.path / wal.segment_name(1, before // size, size)
    run(["zstd", "-d", "-q", "--rm", "-o", raw, f"{raw}.zst"])
    content = bytearray(raw.read_bytes())
    at = before % size + (size - before % size) // 2
    content[at] ^= 0xFF
    content[at + 1] ^= 0xFF
    raw.write_bytes(content)
    give(raw)
    told = world.recover("--to", wal.lsn_text(before), "--action", "promote", "--start", backup="plain")
    assert_reached(told)
    assert any("--up-to-damage" in note for note in told["notes"]), told
    assert world.sql("SELECT string_agg(i::text, ',') FROM t") == "0"
    world.away()
    told = world.recover(backup="plain", status=1)
    assert "damaged" in told["problems"][0] and not world.into.exists(), told


def test_a_damaged_file_beside_a_sound_one_is_no_obstacle(world):
    """As restore has it, which hands out the other one."""
    world = world(second=())
    promised = world.recover("--dry-run", backup="plain")["promised_lsn"]
    packed = sorted(path for path in world.archive.path.glob("*.zst"))[-1]
    raw = packed.with_suffix("")
    run(["zstd", "-d", "-q", "-o", raw, packed])
    content = bytearray(raw.read_bytes())
    content[len(content) // 4] ^= 0xFF
    raw.write_bytes(content)
    give(raw)
    assert world.recover("--dry-run", backup="plain")["promised_lsn"] == promised
    segno = int(raw.name[-8:], 16)
    find = [world.program, "restore", "-D", world.archive.path, "--find-lsn", wal.lsn_text((segno + 1) * len(content) - 8)]
    found = run(find, check=False, **as_server_user(), cwd="/")
    assert found.returncode == 0, found
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert told["reached_lsn"] == promised, told
    packed.unlink()
    world.away()
    told = world.recover("--dry-run", backup="plain", status=1)
    assert "is damaged" in told["problems"][0] and raw.name in told["problems"][0], told
    found = run(find, check=False, **as_server_user(), cwd="/")
    assert found.returncode != 0 and "damaged WAL" in found.stderr, found


def test_waits_for_a_segment_that_is_being_copied(world):
    """archive_command = 'cp %p DIR/%f' and the like, beside it."""
    world = world(second=())
    promised = world.recover("--dry-run", backup="plain")["promised_lsn"]
    last = sorted(name for name in os.listdir(world.archive.path) if name.endswith(".zst"))[-1]
    raw = world.archive.path / last.removesuffix(".zst")
    run(["zstd", "-d", "-q", "--rm", "-o", raw, f"{raw}.zst"])
    content = raw.read_bytes()
    raw.write_bytes(content[:500_000])
    give(raw)
    running = subprocess.Popen(world.command("--dry-run", "--json", backup="plain"), stdout=subprocess.PIPE, text=True,
                               **as_server_user(), cwd="/")
    copied_beside(running, raw, content[500_000:])
    told = json.loads(running.communicate(timeout=PATIENCE)[0])
    assert told["status"] == 0 and told["promised_lsn"] == promised, told
    # Nobody writes to it any more: it is damaged.
    raw.write_bytes(content[:500_000])
    os.utime(raw, (0, 0))
    told = world.recover("--dry-run", backup="plain", status=1)
    assert "is damaged" in told["problems"][0] and raw.name in told["problems"][0], told
    # What it has is recovered.
    to = re.search(r'"--to (\S+)"', told["hints"][0])[1]
    assert wal.segment_name(1, wal.lsn(to) // len(content), len(content)) == raw.name, told
    told = world.recover("--to", to, "--action", "promote", "--start", backup="plain")
    assert told["state"] == "reached" and told["reached_lsn"] == told["promised_lsn"], told


@pytest.mark.parametrize("major", [17, 18, 19])
def test_a_chain_of_incremental_backups(servers, receivers, new_archive, place, major):
    if bin_directory(major) is None or not (bin_directory(major) / "pg_combinebackup").exists():
        pytest.skip(f"PostgreSQL {major} with pg_combinebackup is not installed (scripts/setup)")
    world = World(servers, receivers, new_archive, place, major=major, second=(), summarize_wal="on")
    primary = world.primary.start()
    receiver = receivers.pgweir(world.archive, primary, "--compress", "zstd")
    streaming(primary)
    for number, upon in ((10, "plain"), (11, "one")):
        world.backup("one" if number == 10 else "two", f"--incremental={world.backups / upon / 'backup_manifest'}",
                     f"--tablespace-mapping={world.elsewhere}={world.copies / str(number)}")
        world.rows(number)
    world.backup("tar", "-F", "t", f"--incremental={world.backups / 'two' / 'backup_manifest'}")
    reported(primary, primary.flushed())
    primary.stop()
    receiver.stop()
    hand_over(world.archive.path)
    before = world.fingerprint()
    mapping = f"--tablespace-mapping={world.copies / '11'}={world.tablespace}"
    # Interrupted after pg_combinebackup, the same call combines again.
    wrapped = directory(world.place / "wrapped")
    for each in world.bin.iterdir():
        (wrapped / each.name).symlink_to(each)
    (wrapped / "pg_combinebackup").unlink()
    put(wrapped / "pg_combinebackup", f'#!/bin/sh\n"{world.bin}/pg_combinebackup" "$@" && test -e "$0".go\n')
    (wrapped / "pg_combinebackup").chmod(0o755)
    told = world.recover(mapping, backup="two", mapping=False, bin=wrapped, status=1)
    assert told["state"] == "incomplete" and list(world.tablespace.glob("**/PG_*")), told
    put(wrapped / "pg_combinebackup.go", "")
    assert world.recover(mapping, backup="two", mapping=False, bin=wrapped)["state"] == "prepared"
    assert [path.name[:3] for path in world.tablespace.iterdir()] == ["PG_"]
    world.away()
    for backup in (None, "two"):
        told = world.recover("--start", mapping, backup=backup, mapping=False)
        assert_reached(told)
        assert told["backup"] == str(world.backups / "two"), told
        assert backup or "requires plain backups" in told["passed_over"][0], told
        assert world.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM far") == "0,10,11"
        world.stop()
        world.away()
    assert world.fingerprint() == before
    shutil.move(world.backups / "one", world.place / "one")
    told = world.recover("--dry-run", mapping, backup="two", mapping=False, status=1)
    assert "builds upon" in told["passed_over"][0], told


def test_an_orphaned_incremental_backup_does_not_prevent_the_use_of_another_one(world):
    """Its base is searched next to the directory of backups, which cannot be listed here."""
    world = world(second=())
    closed = directory(world.place / "closed")
    orphan = directory(world.backups / "orphan")
    put(orphan / "PG_VERSION", "17\n")
    label = (world.backups / "plain" / "backup_label").read_text()
    put(orphan / "backup_label", label + "INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n")
    world.backups = world.backups.rename(closed / "backups")
    closed.chmod(0o311)
    try:
        told = world.recover("--dry-run")
        assert told["backup"] == str(world.backups / "plain") and told["problems"] == [], told
        done = run(world.command("--dry-run"), **as_server_user(), cwd="/")
        assert f"no base for an incremental backup is searched in {closed}" in done.stderr, done
    finally:
        closed.chmod(0o755)


@pytest.mark.parametrize("major", [13, 14, 16, 17, 18, 19])
def test_each_version(servers, receivers, new_archive, place, major):
    if bin_directory(major) is None:
        pytest.skip(f"PostgreSQL {major} is not installed (scripts/setup)")
    world = World(servers, receivers, new_archive, place, major=major)
    put(world.backups / "plain" / "postgresql.auto.conf", NASTY)
    told = world.recover("--start", backup="plain")
    assert_reached(told)
    assert world.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t") == "0,1,1000"
    world.away()
    told = world.recover("--to", f"xid:{world.xid}", "--exclusive", "--start")
    assert_reached(told)
    assert world.sql("SELECT pg_is_in_recovery(), max(i) FROM t") == "t|1"
    world.stop("immediate")
