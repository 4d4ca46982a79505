"""The power fails, on real file systems: what a receiver's ext4 or xfs sent to its disk is written
down, block by block and flush by flush. Then the disk is rebuilt as it may have been at any moment:
with all that was flushed by then, and of the writes after the last flush any part. The file system
recovers its journal, and what had been reported to the server by that moment has to be there."""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

import blocklog
from support import wal
from support.archive import Archive
from support.process import PATIENCE, die_with_parent, run, wait_for
from support.receiver import pgweir, receive_command
from support.scenario import reported, streaming

HERE = pathlib.Path(__file__).parent
SECONDS = float(os.environ.get("PGWEIR_POWER_SECONDS", "15"))  # of moments, for each file system
SECTOR = 512
# Two sectors with a checksum over both, outside of the journal: ext4 relies on having them together.
EXT4_SUPER_BLOCK = 1024

FILE_SYSTEMS = {
    "ext4": (64 << 20, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E",
                        "lazy_itable_init=0,lazy_journal_init=0"], "barrier=1"),
    "xfs": (300 << 20, ["mkfs.xfs", "-q", "-f"], "nouuid"),
}


@pytest.fixture(scope="module", autouse=True)
def own_mounts():
    """What is mounted from here on ends with this process, whatever happens."""
    if os.getuid() != 0:
        pytest.skip("only root can put a file system on a recorded disk")
    if not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        pytest.skip("this kernel lacks FUSE or loop devices (/dev/fuse, /dev/loop-control)")
    new_mount_namespace = 0x20000
    if ctypes.CDLL(None, use_errno=True).unshare(new_mount_namespace) != 0:
        pytest.skip("no mount namespace of one's own here")
    run(["mount", "--make-rprivate", "/"])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("fault") / "fault.so"
    run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, HERE / "fault.c", "-ldl"])
    return path


@pytest.fixture
def memory(place):
    """Where the disks are: the machine's own disk has nothing to do with it."""
    path = place / "memory"
    path.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "pgweir-test", path])
    yield path
    run(["umount", "-R", "-l", path])


class Disk:
    """A file system on a disk that writes its diary."""

    def __init__(self, memory, kind, size=None):
        usual, make, self.options = FILE_SYSTEMS[kind]
        size = size or usual
        if kind not in pathlib.Path("/proc/filesystems").read_text().split():
            run(["modprobe", kind], check=False)
            if kind not in pathlib.Path("/proc/filesystems").read_text().split():
                pytest.skip(f"this kernel has no {kind}")
        if shutil.which(make[0]) is None:
            pytest.skip(f"{make[0]} is not installed (scripts/setup)")
        self.kind = kind
        self.place = memory
        self.base, self.image, self.log = memory / "base", memory / "image", memory / "diary"
        self.mountpoint, self.fuse = memory / "mounted", memory / "fuse"
        for path in (self.mountpoint, self.fuse):
            path.mkdir()
        with open(self.base, "wb") as file:
            file.truncate(size)
        run([*make, self.base])
        run(["cp", "--sparse=always", self.base, self.image])

    def mount_recorded(self):
        self.server = subprocess.Popen(
            [sys.executable, "-B", HERE / "blocklog.py", self.fuse, self.image, self.log],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent(signal.SIGKILL))
        if self.server.stdout.readline().strip() != "ready":
            pytest.skip(f"no FUSE here: {self.server.stderr.read().strip()}")
        self.mount(self.fuse / "disk")

    def mount(self, image):
        run(["mount", "-t", self.kind, "-o", f"loop,{self.options}", image, self.mountpoint])

    def umount(self):
        # A process that was just killed may still hold it for a moment.
        wait_for(lambda: run(["umount", self.mountpoint], check=False).returncode == 0,
                 "the file system to be unmounted")

    def end_recording(self):
        self.umount()
        wait_for(lambda: run(["umount", self.fuse], check=False).returncode == 0,
                 "the loop device to let go")
        self.server.wait()
        self.image.unlink()
        return blocklog.entries(self.log)


class Story:
    """A server, a receiver on the recorded disk that is killed and started again, a promotion, and
    every report it made."""

    def __init__(self, servers, memory, library, kind, options=(), lie=None):
        self.server = servers.primary()
        self.disk = Disk(memory, kind)
        self.disk.mount_recorded()
        self.place = memory
        self.archive = Archive(self.disk.mountpoint / "archive", self.server.segment_size)
        self.archive.path.mkdir()
        run(["sync", "-f", self.disk.mountpoint])
        self.begun = time.monotonic_ns()
        self.env = {"LD_PRELOAD": str(library), "FAULT_LOG": str(memory / "reports")}
        if lie:
            self.env |= {"FAULT_WHAT": "lie", "FAULT_AT": lie}
        self.options = options
        self.start = self.server.switch_wal()
        self.start -= self.start % self.server.segment_size

    def act(self, receivers):
        server = self.server
        server.pgbench_init()
        receiver = self._receiver(receivers)
        streaming(server)
        self._load(120)
        reported(server, server.write_wal(1.5))
        self._load(40)
        receiver.kill9()
        receiver = self._receiver(receivers)
        reported(server, server.write_wal(1))
        server.stop("fast")
        (server.data / "standby.signal").touch()
        server.conf(primary_conninfo="")
        server.start()
        server.promote()
        streaming(server)
        self._load(80)
        reported(server, server.write_wal(1.2))
        self._load(40)
        receiver.stop()
        self.diary = self.disk.end_recording()
        self.reports = [(int(when), int(position)) for _, position, when in
                        (line.split() for line in (self.place / "reports").read_text().splitlines()
                         if line.startswith("flush"))]
        self.flushes = [index for index, (_, offset, _) in enumerate(self.diary) if offset is None]
        self.first = next(index for index, (when, _, _) in enumerate(self.diary)
                          if when > self.begun)
        self.server.sql("SELECT pg_switch_wal()")
        self.own = {path.name: path.read_bytes() for path in (server.data / "pg_wal").iterdir()
                    if path.is_file()}

    def _receiver(self, receivers):
        return receivers.start(receive_command(
            self.archive.path, self.server.conninfo(), "--start", wal.lsn_text(self.start),
            "--status-interval", "100ms", "--log-level", "debug", *self.options), self.env)

    def _load(self, transactions):
        load = self.server.pgbench(clients=2, transactions=transactions)
        assert load.wait(PATIENCE) == 0

    def each_moment(self, random, check, least=10):
        """check(moment) for as many moments as there is time for, and for `least`; returns how many there were. In
        rounds of a few, each in the order of time. The first ones are those where a flush, or a
        report, has just been."""
        end = time.monotonic() + SECONDS
        done = 0
        likely = [index for at in self.flushes for index in (at, at + 1)
                  if self.first <= index < len(self.diary)]
        while time.monotonic() < end or done < least:
            some = sorted(random.choice(likely) if random.random() < 0.7
                          else random.randrange(self.first, len(self.diary)) for _ in range(25))
            for moment in self._moments(some, random):
                check(moment)
                done += 1
                if time.monotonic() > end and done >= least:
                    break
        return done

    def _moments(self, indexes, random):
        """At each index the entry of this number has not reached the disk, the one before has."""
        durable = self.place / "durable"
        run(["cp", "--sparse=always", self.disk.base, durable])
        flushed = 0  # entries that `durable` holds
        with open(durable, "r+b", buffering=0) as disk:
            for index in indexes:
                last = max((at for at in self.flushes if at < index), default=0)
                for _, offset, data in self.diary[flushed:last]:
                    if offset is not None:
                        os.pwrite(disk.fileno(), data, offset)
                flushed = max(flushed, last)
                yield Moment(self, index, durable, self.diary[last:index], random)


class Moment:
    def __init__(self, story, index, durable, unflushed, random):
        self.story = story
        self.index = index
        when = story.diary[index][0]
        self.reported = max((position for at, position in story.reports if at < when), default=0)
        self.image = story.place / "crashed"
        run(["cp", "--sparse=always", durable, self.image])
        writes = [(offset, data) for _, offset, data in unflushed if offset is not None]
        self.how = random.choice(["none", "all", "some", "some", "torn"])
        kept = 0
        with open(self.image, "r+b", buffering=0) as disk:
            for offset, data in writes:
                if self.how == "none" or self.how != "all" and random.random() < 0.5:
                    continue
                kept += 1
                if self.how == "torn":  # each sector as a whole, in any order
                    keep = random.random() < 0.5
                    for at in range(0, len(data), SECTOR):
                        if offset + at != EXT4_SUPER_BLOCK + SECTOR:
                            keep = random.random() < 0.5
                        if keep:
                            os.pwrite(disk.fileno(), data[at:at + SECTOR], offset + at)
                else:
                    os.pwrite(disk.fileno(), data, offset)
        self.said = (f"the power fails before entry {index} of {len(story.diary)}, {self.how} of the"
                     f" writes after the last flush are kept ({kept} of {len(writes)}); reported"
                     f" by then: {wal.lsn_text(self.reported)}")

    def assert_promises(self):
        story, archive = self.story, self.story.archive
        size = archive.segment_size
        for segno in range(story.start // size, -(-self.reported // size)):
            length = min(size, self.reported - segno * size)
            names = [wal.segment_name(timeline, segno, size) for timeline in (1, 2)]
            own = [story.own[name][:length] for name in names if name in story.own]
            held = [archive.read(timeline, segno) for timeline in (1, 2)]
            assert any(form is not None and form[:length] in own for form in held), (
                f"P1, P3: segment {segno} lacks what was reported: {self.said}\n{archive.names()}")
        for (timeline, segno), path in archive.finished().items():
            assert archive.content(path) == story.own[wal.segment_name(timeline, segno, size)], (
                f"P2: {path.name}: {self.said}")
        for path in archive.histories().values():
            assert path.read_bytes() == story.own[path.name], f"P2: {path.name}: {self.said}"

    def assert_goes_on(self):
        """The next start cleans up, receives the rest, and verify has nothing to say."""
        story = self.story
        end = story.server.flushed()
        end -= end % story.archive.segment_size
        done = pgweir("receive", "-D", story.archive.path, "-d", story.server.conninfo(), "--start",
                      wal.lsn_text(story.start), "--endpos", wal.lsn_text(end), *story.options)
        assert done.returncode == 0, f"{self.said}\n{done.stdout}{done.stderr}"
        self.reported = end
        self.assert_promises()
        assert story.archive.hidden() == [], self.said
        done = pgweir("verify", "-D", story.archive.path)
        assert done.returncode == 0, f"{self.said}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("kind, options", [("ext4", ["--compress", "zstd:1"]), ("xfs", [])],
                         ids=["ext4", "xfs"])
def test_power_loss(servers, receivers, memory, library, seeded, kind, options):
    story = Story(servers, memory, library, kind, options)
    story.act(receivers)
    assert len(story.flushes) > 100 and len(story.reports) > 50
    count = 0

    def check(moment):
        nonlocal count
        story.disk.mount(moment.image)
        try:
            moment.assert_promises()
            count += 1
            if count % 8 == 0:
                moment.assert_goes_on()
        finally:
            story.disk.umount()

    done = story.each_moment(seeded, check)
    print(f"{kind}: {done} moments; {len(story.diary) - len(story.flushes)} writes,"
          f" {len(story.flushes)} flushes, {len(story.reports)} reports")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_sync_that_does_nothing_is_caught(servers, receivers, memory, library, seeded, kind):
    """So the test above can fail."""
    story = Story(servers, memory, library, kind, lie="fdatasync")
    story.act(receivers)

    def check(moment):
        story.disk.mount(moment.image)
        try:
            moment.assert_promises()
        finally:
            story.disk.umount()

    with pytest.raises(AssertionError, match="P[123]"):
        story.each_moment(seeded, check, least=100)
