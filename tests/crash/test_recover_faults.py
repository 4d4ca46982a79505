"""pgweir recover, killed at any system call of its process, and with calls that fail: what is left is no server until all of
it is there and durable, the same command continues, and archive and backup stay as they are."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time

import pytest

from support.process import PATIENCE, as_server_user, run, server_user
from support.recovery import hand_over, installed
from support.scenario import reported, streaming
from test_faults import SECONDS, kill_at  # noqa: F401

# Calls that change what is on the disk: those that --into is filled and named with.
CHANGES = "openat,write,copy_file_range,ftruncate,mkdir,symlink,rename,renameat2,unlinkat,fchmodat,chmod,fsync,fdatasync,syncfs"
SYNCS = ("fsync", "fdatasync", "syncfs")


def give(path):
    if os.getuid() == 0:
        os.chown(path, server_user().pw_uid, server_user().pw_gid, follow_symlinks=False)
    return path


def directory(path):
    path.mkdir()
    return give(path)


def content_of(*tops, without=()):
    found = {}
    for top in tops:
        for path in [top, *sorted(top.rglob("*"))]:
            name = f"{top.name}/{path.relative_to(top)}"
            if path.name in without:
                continue
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else (
                hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "")
            found[name] = (status.st_mode, what)
    return found


class World:
    def __init__(self, servers, receivers, new_archive, place):
        self.program = installed(place)
        primary = servers.primary()
        self.bin = primary.bin
        self.archive = new_archive(primary)
        receiver = receivers.pgweir(self.archive, primary)
        streaming(primary)
        elsewhere = directory(place / "elsewhere")
        primary.sql(f"CREATE TABLESPACE other LOCATION '{elsewhere}'")
        primary.sql("CREATE TABLE far TABLESPACE other AS SELECT 1")
        self.backup = directory(place / "backup") / "main"
        self.copied = self.backup.parent / "other"
        run([self.bin / "pg_basebackup", "-D", self.backup, "-d", primary.conninfo(), "-c", "fast", "-N", "-X", "none",
             f"--tablespace-mapping={elsewhere}={self.copied}"], **as_server_user(), cwd="/")
        reported(primary, primary.write_wal(1))
        primary.stop()
        receiver.stop()
        hand_over(self.archive.path)
        self.new = directory(place / "new")
        self.into, self.tablespace = self.new / "main", self.new / "other"
        self.before = content_of(self.archive.path, self.backup.parent)
        assert self.recover().returncode == 0
        self.whole = self.made()
        assert "main/global/pg_control" in self.whole
        self.away()

    def recover(self, wrapper=()):
        # Its own temporary files (pg_verifybackup has none) and the state's file differ between two runs.
        env = {**os.environ}
        if wrapper:  # the search for leaks does not work while it is traced
            env["ASAN_OPTIONS"] = f"{env.get('ASAN_OPTIONS', '')} detect_leaks=0"
        return run([*wrapper, self.program, "recover", "-D", self.archive.path, "--backup", self.backup, "--into", self.into,
                    f"--tablespace-mapping={self.copied}={self.tablespace}", "--bindir", self.bin, "--json"], check=False,
                   timeout=10 * PATIENCE, **as_server_user(), cwd="/", env=env)

    def made(self):
        return content_of(self.into, self.tablespace, without=("pgweir-recover.json",))

    def state(self):
        path = self.into / "pgweir-recover.json"
        return json.loads(path.read_text())["state"] if path.exists() else "none"

    def away(self):
        for path in (self.into, self.tablespace):
            shutil.rmtree(path, ignore_errors=True)

    def check(self, story):
        """After whatever happened; and the same command leads to the same as without it."""
        assert content_of(self.archive.path, self.backup.parent) == self.before, story
        if (self.into / "global" / "pg_control").exists():
            assert self.state() == "prepared", story
            without = {name: what for name, what in self.made().items() if ".pgweir-recover" not in name}
            assert without == self.whole, story
        again = self.recover()
        assert again.returncode == 0, f"{story}\nthen {again.stdout}{again.stderr}"
        assert json.loads(again.stdout)["state"] == "prepared" and self.made() == self.whole, story
        assert content_of(self.archive.path, self.backup.parent) == self.before, story
        self.away()


@pytest.fixture
def world(servers, receivers, new_archive, place):
    return World(servers, receivers, new_archive, place)


def test_killed_at_any_system_call(world, kill_at, seeded, place):  # noqa: F811
    kill_at = shutil.copy(kill_at, place / "kill_at")  # where the server's user finds it
    whole = world.recover([kill_at, "0"])
    assert whole.returncode == 0, whole
    stops = int(whole.stdout.split()[-1])
    world.away()
    end = time.monotonic() + SECONDS
    kills, states = 0, []
    while kills < 6 or time.monotonic() < end:
        # The last tenth, in which the files get their names, is short.
        at = seeded.randrange(1, stops + 1) if kills % 2 else seeded.randrange(stops * 9 // 10, stops + 1)
        treated = world.recover([kill_at, str(at)])
        story = f"killed at stop {at} of {stops}: {treated.stdout}{treated.stderr}"
        assert treated.returncode in (0, 99), story
        kills += treated.returncode == 99
        states.append(world.state())
        world.check(story)
    print(f"{kills} kills at {stops} places: {states}")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_an_error_at_any_call(world, place, seeded, error):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = directory(place / "traced") / "log"
    if world.recover(["strace", "-qq", "-o", log, "-e", f"trace={CHANGES}"]).returncode != 0:
        pytest.skip("no process may be traced here (ptrace)")
    counts, calls = {}, {}  # which of them may fail, by name
    for line in log.read_text().splitlines():
        name = re.match(r"(\w+)\(", line)
        if not name:
            continue
        counts[name[1]] = counts.get(name[1], 0) + 1
        # That wakes a thread by an eventfd, which is never full; the process would wait for the thread.
        if not re.match(r'write\(\d+, "\\1(\\0){7}", 8\)', line):
            calls.setdefault(name[1], []).append(counts[name[1]])
    if "PGWEIR_SANITIZED" in os.environ:
        calls.pop("write", None)  # a sanitizer writes to a pipe of its own, to see whether memory can be read
    world.away()
    end = time.monotonic() + SECONDS
    done = 0
    while done < 6 or time.monotonic() < end:
        name = seeded.choice(sorted(calls)) if done % 4 else seeded.choice([each for each in SYNCS if each in calls])
        at = seeded.choice(calls[name])
        log.unlink()
        treated = world.recover(["strace", "-qq", "-o", log, "-e", f"trace={CHANGES}", "-e",
                                 f"inject={name}:error={error}:when={at}"])
        story = f"{error} at call {at} of {counts[name]} of {name}: {treated.returncode} {treated.stdout}{treated.stderr}"
        assert treated.returncode >= 0, story
        if treated.returncode != 0 and treated.stdout:
            told = json.loads(treated.stdout)
            assert told["problems"] and told["status"] == treated.returncode, story
        if name in SYNCS and "(INJECTED)" in log.read_text():
            assert treated.returncode != 0, story
        if treated.returncode == 0:
            assert world.state() == "prepared" and world.made() == world.whole, story
        world.check(story)
        done += 1
    print(f"{done} errors: {counts}")
