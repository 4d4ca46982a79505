"""pgweir prune --keep and --keep-backups beside backups of pg_basebackup: what is left brings back every
moment that was asked for."""

import json
import os
import re
import shutil
import subprocess

import pytest

from support.process import as_server_user, run, server_user, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import hand_over, installed, recover, restore_command
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN

pytestmark = pytest.mark.in_memory


def basebackup(server, path, *options):
    """Backups belong to the server's user, as in the field."""
    run([DEBIAN_BIN / "pg_basebackup", "-D", path, "-d", server.conninfo(), "-c", "fast", "-N",
         *options], **as_server_user(), cwd="/")
    return path


def insert(server, number):
    """Returns when it was committed, by the server's clock."""
    server.sql(f"INSERT INTO t VALUES ({number})")
    return server.sql(f"SELECT pg_xact_commit_timestamp(xmin) FROM t WHERE i = {number}")


def seconds_since(server, moment):
    return float(server.sql(f"SELECT extract(epoch FROM clock_timestamp() - '{moment}')"))


class Week:
    """Backups in each format, one after the other, with a commit and some segments of WAL behind
    each: times[i] is that of the commit behind backup i."""

    FORMATS = (("plain", ["-X", "none"]),
               ("tar", ["-F", "t", "-X", "none"]),
               ("tar.gz", ["-F", "t", "-z", "-X", "stream"]),
               ("no manifest", ["-X", "none", "--no-manifest"]),
               ("with its WAL", ["-X", "stream"]))

    def __init__(self, servers, receivers, new_archive, place):
        self.place = place
        self.primary = primary = servers.primary(track_commit_timestamp="on", wal_keep_size="1GB")
        self.archive = new_archive(primary)
        self.receiver = receivers.pgweir(self.archive, primary, "--compress", "zstd")
        streaming(primary)
        primary.sql("CREATE TABLE t (i int)")
        self.root = place / "backups"
        self.root.mkdir()
        if os.getuid() == 0:
            os.chown(self.root, server_user().pw_uid, server_user().pw_gid)
        self.times = []
        for number, (name, options) in enumerate(self.FORMATS):
            basebackup(primary, self.root / name, *options)
            self.times.append(insert(primary, number))
            primary.write_wal(2)
        reported(primary, primary.flushed())

    def prune(self, *options):
        return pgweir("prune", "-D", self.archive.path, *options)

    def oldest(self):
        return self.archive.finished()[0]

    def starts(self):
        """The segment each backup starts in."""
        names = []
        for name, options in self.FORMATS:
            if "t" in options:
                tar = next((self.root / name).glob("base.tar*"))
                label = subprocess.run(["tar", "-xOf", tar, "backup_label"], check=True,
                                       stdout=subprocess.PIPE, text=True).stdout
            else:
                label = (self.root / name / "backup_label").read_text()
            names.append(re.search(r"START WAL LOCATION: \S+ \(file (\w+)\)", label).group(1))
        assert names == sorted(set(names)), names
        return names


def names_left(week):
    return sorted({path.name[:24] for path in week.archive.path.iterdir()
                   if re.match(r"[0-9A-F]{24}", path.name)})


def newest_that_had_ended(week, seconds, work):
    """What `work` returns, and the backups of which one was the newest that had ended so many seconds
    before: time passes while it works."""
    def index():
        ended = [i for i, moment in enumerate(week.times)
                 if seconds_since(week.primary, moment) >= seconds]
        return ended[-1]

    first = index()
    done = work(f"{int(seconds * 1000)}ms")
    return done, range(first, index() + 1)


def test_every_moment_of_the_window_can_be_reached(servers, receivers, new_archive, place):
    week = Week(servers, receivers, new_archive, place)
    starts = week.starts()
    before = names_left(week)
    # As long as the first one is too young, nothing goes.
    refused = week.prune("--keep", "1h", week.root)
    assert refused.returncode == 1 and "no backup had ended by" in refused.stderr, refused
    assert "nothing was removed" in refused.stdout and names_left(week) == before
    last = -1
    for number in range(4):
        if number < last:
            continue  # so much time went by that the call before has kept a later one, and no WAL of this one
        seconds = seconds_since(week.primary, week.times[number])
        listed = week.prune("--keep", f"{int(seconds * 1000)}ms", week.root, "--dry-run")
        assert listed.returncode == 0, listed.stderr
        assert len(re.findall(r": kept, the newest backup that had ended", listed.stderr)) == 1
        assert names_left(week) == before
        done, chosen = newest_that_had_ended(
            week, seconds, lambda window: week.prune("--keep", window, week.root))
        assert done.returncode == 0, (done.stdout, done.stderr)
        before = names_left(week)
        assert starts.index(before[0]) in chosen, (chosen, before[0], starts)
        assert starts.index(before[0]) >= last
        last = starts.index(before[0])
    # The oldest moment of the last window.
    week.receiver.stop()
    hand_over(week.archive.path)
    name, options = week.FORMATS[last]
    backup = week.root / name
    if "t" in options:
        tar = next(backup.glob("base.tar*"))
        backup = week.root / "unpacked"
        run(["mkdir", "-m", "700", backup], **as_server_user(), cwd="/")
        run(["tar", "-xf", tar, "-C", backup], **as_server_user(), cwd="/")
    recovered = recover(servers, backup, "recovered", week.primary,
                        restore_command(place, week.archive, "--partial"),
                        recovery_target_time=week.times[last])
    assert recovered.sql("SELECT max(i) FROM t") == str(last)


def test_the_newest_backups_are_kept(servers, receivers, new_archive, place):
    week = Week(servers, receivers, new_archive, place)
    starts = week.starts()
    few = week.prune("--keep-backups", "6", week.root)
    assert few.returncode == 0 and "6 backups are to be kept" in few.stderr, few.stderr
    assert "nothing was removed" in few.stdout
    for kept in (4, 3):
        done = week.prune("--keep-backups", kept, week.root, "-v")
        assert done.returncode == 0, done.stderr
        assert len(re.findall(r": kept, number \d of the newest", done.stderr)) == kept
        assert names_left(week)[0] == starts[-kept]

    # An unfinished one: as pg_basebackup leaves it when the power fails.
    torn = week.root / "torn"
    shutil.copytree(week.root / "tar.gz", torn)
    (torn / "backup_manifest").rename(torn / "backup_manifest.tmp")
    # And one that cannot be read.
    dark = week.root / "dark"
    dark.mkdir()
    (dark / "base.tar.gz").write_bytes(b"rubbish")
    left = names_left(week)
    doubtful = week.prune("--keep-backups", "1", week.root)
    assert doubtful.returncode == 1 and names_left(week) == left, doubtful.stdout
    for name in (torn, dark):
        assert f"{name}: " in doubtful.stderr
    less = week.prune("--keep-backups", "1", week.root, "--ignore-backup", dark)
    assert less.returncode == 1 and names_left(week) == left, less.stderr
    done = week.prune("--keep-backups", "1", week.root, "--ignore-backup", dark, "--ignore-backup",
                      torn)
    assert done.returncode == 0 and names_left(week)[0] == starts[-1], done.stderr
    # The configuration file of the service.
    config = place / "main.ini"
    config.write_text(f"directory = {week.archive.path}\n[prune]\nkeep-backups = 1\n"
                      f"backups = {place / 'not mounted'}\n")
    refused = pgweir("-c", config, "prune")
    assert refused.returncode == 2 and "location of backups does not exist" in refused.stderr
    config.write_text(config.read_text().replace("not mounted", "backups"))
    assert pgweir("-c", config, "prune").returncode == 1  # the two are there again


def test_a_backup_being_made_is_left_in_peace(servers, receivers, new_archive, place):
    week = Week(servers, receivers, new_archive, place)
    left = names_left(week)
    running = week.root / "running"
    process = subprocess.Popen(
        [DEBIAN_BIN / "pg_basebackup", "-D", running, "-d", week.primary.conninfo(), "-c", "fast",
         "-N", "-X", "none", "--max-rate", "32k"], cwd="/", **as_server_user(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (running / "backup_label").exists(), "the label")
        wait_for(lambda: (running / "PG_VERSION").exists() or (running / "base").exists(), "data")
        done = week.prune("--keep-backups", "2", week.root)
        assert process.poll() is None
        assert done.returncode == 1 and f"{running}: it has neither backup_manifest" in done.stderr
        # What is older than the two goes all the same.
        assert names_left(week)[0] == week.starts()[-2] > left[0]
    finally:
        process.kill()
        process.wait()


def test_status_counts_no_tar_backup_being_made_or_killed(servers, receivers, new_archive, place):
    """base.tar has its label from its first moment on; the manifest comes last."""
    none = "no base backup can be recovered with this archive"
    week = Week(servers, receivers, new_archive, place)
    running = week.root / "running"

    def check():
        told = pgweir("status", "-D", week.archive.path, "--backups", running, "--json")
        line = pgweir("status", "-D", week.archive.path, "--backups", running, "--check", "--max-backup-age", "26h").stdout
        return next(each for each in json.loads(told.stdout)["backups"] if each["name"] == str(running)), line

    process = subprocess.Popen(
        [DEBIAN_BIN / "pg_basebackup", "-D", running, "-d", week.primary.conninfo(), "-c", "fast",
         "-N", "-X", "none", "-F", "t", "--max-rate", "32k"], cwd="/", **as_server_user(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (running / "base.tar").exists() and (running / "base.tar").stat().st_size > 8192, "the label")
        told, line = check()
        assert process.poll() is None
        assert told["good"] is False and "base.tar is incomplete or truncated" in told["why"], told
        assert none in line, line
    finally:
        process.kill()
        process.wait()
    told, line = check()
    assert told["good"] is False and "base.tar is incomplete or truncated" in told["why"], told
    assert none in line, line
    # One that has its end counts, without a manifest too; compressed, only with one.
    shutil.rmtree(running)
    shutil.copytree(week.root / "tar", running)
    (running / "backup_manifest").unlink()
    told, line = check()
    assert told["good"] and none not in line, (told, line)
    shutil.rmtree(running)
    shutil.copytree(week.root / "tar.gz", running)
    assert check()[0]["good"]
    (running / "backup_manifest").unlink()
    told, line = check()
    assert told["good"] is False and "is compressed and has no backup_manifest" in told["why"], told
    assert none in line, line


def test_a_kill_at_any_moment_leaves_what_the_backups_need(servers, receivers, new_archive, place):
    week = Week(servers, receivers, new_archive, place)
    week.receiver.stop()
    start = week.starts()[-1]
    copy = place / "copy"
    calls = 0
    for call in range(1, 200):
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(week.archive.path, copy)
        # The first call that changes the directory, the second, …
        traced = subprocess.run(
            ["strace", "-f", "-qq", "-o", place / "trace", "-E", "ASAN_OPTIONS=detect_leaks=0", "-e", "trace=unlinkat,fsync",
             "-e", f"inject=unlinkat,fsync:signal=SIGKILL:when={call}",
             BINARY, "prune", "-D", copy, "--keep-backups", "1", week.root],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        left = sorted({path.name[:24] for path in copy.iterdir()
                       if re.match(r"[0-9A-F]{24}", path.name)})
        assert left[0] <= start and start in left
        assert json.loads(pgweir("verify", "-D", copy, "--json", "--backup",
                                 week.root / "with its WAL").stdout)["backup"]["reaches_consistency"]
        calls = call
        if traced.returncode == 0:
            break
    assert 5 < calls < 199
    assert left[0] == start


def test_a_backup_of_an_old_primary_does_not_count(servers, receivers, new_archive, place):
    """It wrote on after the failover: nothing leads from its last backup to what the new primary committed."""
    primary = servers.primary(wal_keep_size="1GB")
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE t (i int)")
    root = place / "backups"
    root.mkdir()
    if os.getuid() == 0:
        os.chown(root, server_user().pw_uid, server_user().pw_gid)
    good = basebackup(primary, root / "good", "-X", "none")
    primary.sql("INSERT INTO t VALUES (1)")
    standby.caught_up_with(primary.write_wal(2))
    standby.stop()
    primary.write_wal(1)
    basebackup(primary, root / "lost", "-X", "none")
    primary.sql("INSERT INTO t VALUES (2)")
    reported(primary, primary.write_wal(1))
    receiver.kill9()
    primary.stop("immediate")
    standby.start()
    standby.promote()
    standby.sql("INSERT INTO t VALUES (3)")
    receivers.pgweir(archive, standby)
    streaming(standby)
    reported(standby, standby.write_wal(1))

    pruned = pgweir("prune", "-D", archive.path, "--keep-backups", "1", root)
    assert pruned.returncode == 0, pruned
    assert "lost: it is not in the history of timeline 2, the newest one, and does not count" in pruned.stderr, pruned
    told = json.loads(pgweir("status", "-D", archive.path, "--json", "--backups", root).stdout)["backups"]
    why = {os.path.basename(each["name"]): each["why"] for each in told}
    assert why["good"] is None and "not in the history of timeline 2" in why["lost"], told
    listed = json.loads(pgweir("backup", "--list", "-D", archive.path, "--to", root, "--json").stdout)["backups"]
    why = {each["name"]: each["why"] for each in listed}
    assert why["good"] is None and "not in the history of timeline 2" in why["lost"], listed
    told = json.loads(pgweir("recover", "-D", archive.path, "--backup", root / "lost", "--into", place / "new", "--dry-run", "--json",
                             "--standby", standby.conninfo(), "--bindir", DEBIAN_BIN).stdout)
    assert told["status"] == 1 and "timeline 2, the newest one, which a standby follows" in json.dumps(told), told
    # What its branch lacks does not keep anybody from recovering along the newest timeline.
    label = (root / "lost" / "backup_label").read_text()
    (archive.path / re.search(r"\(file (\w+)\)", label)[1]).unlink()
    told = json.loads(pgweir("recover", "-D", archive.path, "--backup", root, "--into", place / "new", "--dry-run", "--json",
                             "--bindir", DEBIAN_BIN).stdout)
    assert told["status"] == 0 and told["backup"] == str(good) and told["timeline"] == 2, told
    hand_over(archive.path)
    # A drill of it says nothing of the newest timeline.
    told = json.loads(run([installed(place), "drill", "-D", archive.path, "--backup", root / "lost", "--json"], check=False,
                          **as_server_user(), cwd="/").stdout)
    assert told["timeline"] == 1 and "not in the history of timeline 2" in told["warnings"][0], told
    again = recover(servers, good, "again", primary, restore_command(place, archive, "--partial"))
    assert again.sql("SELECT string_agg(i::text, ',' ORDER BY i) FROM t") == "1,3"
