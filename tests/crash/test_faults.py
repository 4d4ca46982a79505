"""Each call that touches a file fails once, or for good, or is the last one: for the first call, the
second, and so on until the receiver gets through without meeting the fault.

Whatever happens, what was reported as flushed is in the archive, no file under a final name is
wrong, nothing is reported behind a failed sync, and the next start makes it good."""

import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support import wal
from support.archive import Archive
from support.process import PATIENCE, run
from support.receiver import receive_command
from support.scenario import reported, streaming

HERE = pathlib.Path(__file__).parent
SECONDS = float(os.environ.get("PGWEIR_CRASH_SECONDS", "10"))  # for each of the tests below


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("fault") / "fault.so"
    run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, HERE / "fault.c", "-ldl"])
    return path


@pytest.fixture(scope="module")
def kill_at(tmp_path_factory):
    path = tmp_path_factory.mktemp("kill_at") / "kill_at"
    run(["cc", "-O1", "-Wall", "-Werror", "-o", path, HERE / "kill_at.c"])
    if run([path, "1", "true"], check=False).returncode != 99:
        pytest.skip("no process may be traced here (ptrace)")
    return path


@pytest.fixture
def bench(servers, place, library, seeded):
    return Bench(servers, place, library, seeded)


class Bench:
    """A server with a few segments of WAL and a timeline switch, and runs of the receiver that take
    all of it."""

    def __init__(self, servers, place, library, seeded):
        self.place = place
        self.library = library
        self.random = seeded
        self.server = servers.primary()
        self.start = self.server.switch_wal()
        self.start -= self.start % self.server.segment_size
        self.server.write_wal(1)
        self.server.switch_wal()
        self.server.stop("fast")
        (self.server.data / "standby.signal").touch()
        self.server.conf(primary_conninfo="")
        self.server.start()
        self.server.promote()
        self.server.write_wal(1)
        self.end = self.server.switch_wal() + 1
        self.end -= self.end % self.server.segment_size
        self.server.sql("SELECT txid_current()")
        self.number = 0
        self.stop_at = None  # SIGTERM when it says this

    def each_call(self, what, forever, options, check):
        """check(run) for each call that is treated; within the time there is, some are left out."""
        calls = self.run("count", 0, False, options).calls
        assert len(calls) > 20
        order = list(range(1, len(calls) + 1))
        self.random.shuffle(order)
        order.sort(key=lambda at: at != 1)  # the first call of a start is drawn in each run
        end = time.monotonic() + SECONDS
        done = 0
        for at in order:
            if time.monotonic() > end and done > 10:
                break
            treated = self.run(what, at, forever, options)
            story = f"{what} at call {at}{' and on' if forever else ''}: {treated}"
            if treated.fault:
                treated.assert_promises(story)
                check(treated, story)
                done += 1
            again = self.run(None, 0, False, options, archive=treated.archive)
            assert again.status == 0, f"{story}\nthen {again}"
            again.assert_whole(f"{story}\nthen {again}")
            assert again.cpu < 5, f"{story}\n{again.cpu} s of processor time"
            run(["rm", "-rf", treated.archive.path])
        print(f"{done} of {len(calls)} calls")
        assert done > 10

    def run(self, what, at, forever, options, archive=None, wrapper=()):
        self.number += 1
        if archive is None:
            path = self.place / f"archive{self.number}"
            path.mkdir()
            archive = Archive(path, self.server.segment_size)
        return Run(self, archive, what, at, forever, options, wrapper)


class Run:
    def __init__(self, bench, archive, what, at, forever, options, wrapper=()):
        self.bench = bench
        self.archive = archive
        log = bench.place / f"calls{bench.number}"
        env = {**os.environ}
        if wrapper:  # the search for leaks does not work while it is traced
            env["ASAN_OPTIONS"] = f"{env.get('ASAN_OPTIONS', '')} detect_leaks=0"
        if what:
            env.update({"LD_PRELOAD": str(bench.library), "FAULT_WHAT": what, "FAULT_AT": str(at),
                        "FAULT_LOG": str(log)})
            if forever:
                env["FAULT_FOREVER"] = "1"
        command = [*wrapper, *receive_command(
            archive.path, bench.server.conninfo(), "--start", wal.lsn_text(bench.start), "--endpos",
            wal.lsn_text(bench.end), "--log-level", "debug", *options)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen([str(word) for word in command], env=env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        ends = threading.Timer(PATIENCE, process.kill)
        ends.start()
        said, stop_at = [], bench.stop_at
        for line in process.stdout:
            said.append(line)
            if stop_at and stop_at in line:
                process.send_signal(signal.SIGTERM)
                stop_at = None
        self.status, self.said = process.wait(), "".join(said)
        if not ends.is_alive():
            self.status = "hangs"
        ends.cancel()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = log.read_text().splitlines() if log.exists() else []
        self.calls = [line for line in lines if not line.startswith("flush")]
        self.flushes = [int(line.split()[1]) for line in lines if line.startswith("flush")]
        faults = [index for index, line in enumerate(lines) if line.endswith(" fault")]
        self.fault = lines[faults[0]].split()[1] if faults else None
        self.flushes_after = [int(line.split()[1]) for line in lines[faults[0]:]
                              if line.startswith("flush")] if faults else []
        self.flushes_before = [int(line.split()[1]) for line in lines[:faults[0]]
                               if line.startswith("flush")] if faults else self.flushes

    def __str__(self):
        return f"{self.fault}, exit status {self.status}\n{self.said}\n{self.archive.names()}"

    def assert_promises(self, story):
        server = self.bench.server
        size = self.archive.segment_size
        assert self.status != "hangs", story
        reported = max(self.flushes, default=0)
        for segno in range(self.bench.start // size, -(-reported // size)):
            length = min(size, reported - segno * size)
            forms = [self.archive.read(timeline, segno) for timeline in (1, 2)]
            own = [server.pg_wal(wal.segment_name(timeline, segno, size)) for timeline in (1, 2)]
            own = [path.read_bytes()[:length] for path in own if path.exists()]
            assert any(form is not None and form[:length] in own for form in forms), (
                f"reported {wal.lsn_text(reported)}, segment {segno} is not there: {story}")
        self.assert_right_names(story)

    def assert_right_names(self, story):
        server = self.bench.server
        size = self.archive.segment_size
        for (timeline, segno), path in self.archive.finished().items():
            own = server.pg_wal(wal.segment_name(timeline, segno, size)).read_bytes()
            assert self.archive.content(path) == own, f"{path.name}: {story}"
        for path in self.archive.histories().values():
            assert path.read_bytes() == server.pg_wal(path.name).read_bytes(), story

    def assert_whole(self, story):
        """Everything is there and nothing else: a hidden file may be left only if the program
        said so (the next start, which each_call() makes, has to remove it)."""
        self.assert_right_names(story)
        size = self.archive.segment_size
        switch = self.bench.server.timeline_end(1)
        finished = self.archive.finished()
        for segno in range(self.bench.start // size, self.bench.end // size):
            timeline = 1 if (segno + 1) * size <= switch else 2
            assert (timeline, segno) in finished, f"{segno} is missing: {story}"
        assert 2 in self.archive.histories(), story
        assert not self.archive.hidden() or NOT_TIDY in self.said, story


NOT_TIDY = "the next start will"
SYNCS = ("fdatasync", "fsync")
ZSTD = ["--compress", "zstd:1"]


@pytest.mark.parametrize("options", [[], ZSTD], ids=["raw", "zstd"])
def test_killed_at_each_call(bench, options):
    what = bench.random.choice(["kill", "killed"])

    def check(treated, story):
        assert treated.status == -9, story

    bench.each_call(what, False, options, check)


def test_killed_at_any_system_call(bench, kill_at):
    """Not only those of files: where any call of any thread begins or ends."""
    whole = bench.run("report", 0, False, ZSTD, wrapper=[kill_at, "0"])
    assert whole.status == 0 and whole.flushes, whole
    stops = int(whole.said.split()[-1])
    end = time.monotonic() + SECONDS
    done = 0
    while time.monotonic() < end or done < 10:
        at = bench.random.randrange(1, stops + 1)
        treated = bench.run("report", 0, False, ZSTD, wrapper=[kill_at, str(at)])
        story = f"killed at stop {at} of {stops}: {treated}"
        assert treated.status in (0, 99), story  # a quicker run has fewer calls
        treated.assert_promises(story)
        again = bench.run(None, 0, False, ZSTD, archive=treated.archive)
        assert again.status == 0, f"{story}\nthen {again}"
        again.assert_whole(f"{story}\nthen {again}")
        run(["rm", "-rf", treated.archive.path])
        done += treated.status == 99
    print(f"{done} kills, {stops} places")


@pytest.mark.parametrize("options", [[], ZSTD], ids=["raw", "zstd"])
def test_an_input_output_error_at_each_call(bench, options):
    def check(treated, story):
        assert treated.status in (0, 4), story
        if treated.fault in SYNCS:
            assert treated.status == 4, story
            # Syncs that were under way, of other bytes (six at once), may still be reported; nothing after them.
            assert len(set(treated.flushes_after) - set(treated.flushes_before)) <= 5, story
        if treated.status == 4:
            assert "ERROR" in treated.said and "hint:" in treated.said, story

    bench.each_call("EIO", False, options, check)


@pytest.mark.parametrize("what", ["EINTR", "short"])
def test_an_interrupted_call_is_nothing(bench, what):
    def check(treated, story):
        assert treated.status == 0, story
        treated.assert_whole(story)

    bench.each_call(what, False, ZSTD, check)


def test_a_full_disk_once_is_waited_for(bench):
    def check(treated, story):
        if treated.fault in SYNCS:
            assert treated.status == 4, story
        elif treated.fault == "close":
            assert treated.status in (0, 4), story
        elif treated.fault == "openat":
            # Listing and reading need no space: there it is a fault of the system.
            assert treated.status in (0, 3, 4), story
        else:
            assert treated.status == 0, story
            treated.assert_whole(story)
        assert treated.cpu < 5, story

    bench.each_call("ENOSPC", False, ZSTD, check)


@pytest.mark.parametrize("options", [[], ZSTD], ids=["raw", "zstd"])
def test_a_stop_ends_the_waiting_for_space(bench, options):
    """Whatever it is that finds no space, and what is acknowledged is there."""
    bench.stop_at = "No space left on device"

    def check(treated, story):
        if treated.fault in SYNCS:
            assert treated.status == 4, story
        else:
            assert treated.status in (0, 3, 4) if treated.fault in ("openat", "close") else (
                treated.status == 0), story
        assert treated.cpu < 5, story

    bench.each_call("ENOSPC", True, options, check)


@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
def test_a_fault_for_good_stops_it_if_told_so(bench, what):
    def check(treated, story):
        assert treated.status in (0, 3, 4), story
        if treated.fault in SYNCS:
            assert treated.status == 4, story

    bench.each_call(what, True, ["--on-disk-full", "stop"], check)


def test_what_somebody_copies_in_is_synced_before_it_counts(servers, receivers, new_archive, library,
                                                            place):
    """Also while the receiver runs and has looked at the archive before: cp syncs nothing."""
    primary = servers.primary(segment_mb=1)
    archive = new_archive(primary)
    log = place / "calls"
    receivers.pgweir(archive, primary, env={
        "LD_PRELOAD": str(library), "FAULT_WHAT": "count", "FAULT_AT": "0", "FAULT_LOG": str(log)})
    streaming(primary)
    reported(primary, primary.write_wal(1))
    primary.stop()
    had = set(archive.finished())
    primary.conf(max_wal_senders=0)
    primary.start()
    primary.write_wal(3)
    end = primary.switch_wal()
    copied = [segno for segno in range(max(had)[1] + 1, end // primary.segment_size)]
    assert len(copied) > 2
    for segno in copied:
        name = wal.segment_name(1, segno, primary.segment_size)
        shutil.copy(primary.pg_wal(name), archive.path / name)
    primary.stop()
    calls = len(log.read_text().splitlines())
    primary.conf(max_wal_senders=10)
    primary.start()
    reported(primary, primary.write_wal(1))

    lines = [line.split() for line in log.read_text().splitlines()[calls:]]
    counts = next(index for index, line in enumerate(lines)
                  if line[0] == "flush" and int(line[1]) >= (copied[-1] + 1) * primary.segment_size)
    for segno in copied:
        name = wal.segment_name(1, segno, primary.segment_size)
        assert any(line[1] in SYNCS and line[2] == name for line in lines[:counts] if len(line) > 2), (
            f"{name} was relied on and not synced: {lines[:counts]}")
