"""An archive on file systems of several kinds, each in a loop device or above one: what works here is in docs/archive-directory.md. All
of them with PGWEIR_LONG=1, else those of which nothing else is tried; ext4 and xfs lose their power in tests/crash."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess

import pytest

from support.process import PATIENCE, freeze, run, wait_for
from support.receiver import pgweir
from support.scenario import create_slot, reported, streaming

LONG = os.environ.get("PGWEIR_LONG") == "1"
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "ext4 without a journal": ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"],
        "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
# FUSE has no nameless files and no rename that replaces nothing, as NFS; tmpfs cannot be synced, and says nothing.
KINDS = [*MAKE, "overlay", "fuse", "tmpfs"] if LONG else ["btrfs", "overlay", "fuse"]
# With a system call that does not return, a process cannot be searched for leaks when it ends.
NOT_SEARCHED = {"ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')} detect_leaks=0"}


@pytest.fixture(scope="module", autouse=True)
def own_mounts():
    """What is mounted from here on ends with this process, whatever happens."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    new_mount_namespace = 0x20000
    if ctypes.CDLL(None, use_errno=True).unshare(new_mount_namespace) != 0:
        pytest.skip("no mount namespace of one's own here")
    run(["mount", "--make-rprivate", "/"])


@contextlib.contextmanager
def mounted(kind, place):
    """A directory on a file system of that kind, with 300 MB at most."""
    path = place / "mounted"
    path.mkdir()
    with contextlib.ExitStack() as below:
        if kind == "tmpfs":
            mount(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs"], path, kind)
        elif kind == "overlay":
            disk = below.enter_context(mounted("ext4", sub(place, "below")))
            for name in ("lower", "upper", "work"):
                (disk / name).mkdir()
            mount(["mount", "-t", "overlay", "-o", f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work",
                   "overlay"], path, kind)
        elif kind == "fuse":
            if not shutil.which("bindfs") or not os.path.exists("/dev/fuse"):
                pytest.skip("no bindfs, or no /dev/fuse (scripts/setup)")
            mount(["bindfs", "--no-allow-other", below.enter_context(mounted("ext4", sub(place, "below")))], path, kind)
        else:
            if not shutil.which(MAKE[kind][0]):
                pytest.skip(f"{MAKE[kind][0]} is not installed (scripts/setup)")
            image = place / "image"
            with open(image, "wb") as file:
                file.truncate(320 << 20)  # xfs takes no less than 300
            run([*MAKE[kind], image])
            mount(["mount", "-o", "loop", image], path, kind)
        try:
            yield path
        finally:
            run(["umount", "-l", path])


def sub(place, name):
    (place / name).mkdir()
    return place / name


def mount(words, path, kind):
    done = run([*words, path], check=False)
    if done.returncode != 0:
        pytest.skip(f"no {kind} can be mounted here: {done.stderr.strip()}")


def fill(path):
    """Until nothing more goes in; what is written does not compress."""
    piece = os.urandom(1 << 20)
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        for _ in range(1000):
            file.write(piece)
            os.fdatasync(file.fileno())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.replace(" ", "_"))
def test_an_archive_on(kind, servers, receivers, new_archive, place):
    primary = servers.primary()
    create_slot(primary)
    with mounted(kind, place) as path:
        archive = new_archive(primary, path.relative_to(place) / "archive")
        receiver = receivers.pgweir(archive, primary, "-S", "archive", "--compress", "zstd:1")
        streaming(primary)
        reported(primary, primary.write_wal(2.5))
        receiver.kill9()
        # Far behind, and without compression.
        end = primary.write_wal(6)
        receiver = receivers.pgweir(archive, primary, "-S", "archive")
        reported(primary, end)

        # Full: it waits, and goes on.
        ballast = path / "ballast"
        fill(ballast)
        end = primary.write_wal(8)
        receiver.wait_log("(?i)no space left|disk.*full|full.*disk")
        assert receiver.running(), receiver.said()
        ballast.unlink()
        reported(primary, end)
        receiver.stop()
        assert archive.hidden() == [], archive.names()

        archive.assert_same_wal(primary, minimum=12)
        archive.assert_covers(primary, 1, end)
        verified = pgweir("verify", "-D", archive.path)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        (timeline, segno), stored = list(archive.finished().items())[-1]
        name = stored.name[:24]
        restored = place / "restored"
        done = pgweir("restore", "-D", archive.path, name, restored)
        assert done.returncode == 0, done.stderr
        assert restored.read_bytes() == primary.pg_wal(name).read_bytes()
        done = pgweir("compress", "-D", archive.path, "--no-progress")
        assert done.returncode == 0, done.stderr
        done = pgweir("prune", "-D", archive.path, "--keep-from", name)
        assert done.returncode == 0, done.stderr
        assert list(archive.finished())[0] == (timeline, segno)
        wait_for(lambda: not archive.hidden(), "nothing to be left")


@pytest.fixture
def bindfs(place):
    """A directory on a file system whose program can be stopped, and that program."""
    if not shutil.which("bindfs") or not os.path.exists("/dev/fuse"):
        pytest.skip("no bindfs, or no /dev/fuse (scripts/setup)")
    path = sub(place, "mounted")
    program = subprocess.Popen(["bindfs", "-f", "--no-allow-other", sub(place, "below"), path])
    try:
        wait_for(lambda: os.path.ismount(path) or program.poll() is not None, "the file system")
        if program.poll() is not None:
            pytest.skip("no FUSE can be mounted here")
        yield path, program
    finally:
        program.send_signal(signal.SIGCONT)
        run(["umount", "-l", path], check=False)
        program.terminate()
        program.wait(PATIENCE)


def test_a_file_system_that_hangs_is_named_by_status_doctor_and_a_start(servers, receivers, new_archive, place, bindfs):
    path, program = bindfs
    primary = servers.primary()
    archive = new_archive(primary, path.relative_to(place) / "archive")
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    freeze(program.pid)  # a request that it had read by then and did not answer would keep even a killed pgweir from ending
    done = pgweir("status", "-D", archive.path, "--check", env=NOT_SEARCHED)
    assert done.stdout.startswith("PGWEIR CRITICAL - the archive's file system does not answer (directory "), done
    assert done.returncode == 2
    done = pgweir("status", "-D", archive.path, "--json", env=NOT_SEARCHED)
    assert (done.returncode, done.stdout) == (4, "") and "does not answer" in done.stderr
    done = pgweir("doctor", "-d", primary.conninfo(), "-D", archive.path, "--measure", "100ms", "--json",
                  env=NOT_SEARCHED)
    assert done.returncode == 1, done
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["directory"]["level"] == "failure" and "does not answer" in checks["directory"]["found"], checks["directory"]
    assert checks["replication_connection"]["level"] == "ok", "the rest is checked"
    receiver = receivers.pgweir(archive, primary, env=NOT_SEARCHED)
    receiver.wait_log("WARN.*the archive's file system does not answer.*waiting for it")
    receiver.stop()
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log("waiting for it")
    program.send_signal(signal.SIGCONT)
    receiver.wait_log("the archive's file system answers again")
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
