"""Servers and machines that behave as they seldom do, against a walsender of our own."""

import contextlib
import fcntl
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from support import wal
from support.process import PATIENCE, die_with_parent, preload, run, wait_for
from support.receiver import MEMORY_FACTOR, receive_command
from support.scenario import create_slot, reported, streaming
from support.walsender import WalServer


@pytest.fixture
def fake(servers):
    """fake(stream) is a walsender with 3 MB of a real server's WAL."""
    with contextlib.ExitStack() as made:
        def make(stream):
            primary = servers.primary()
            end = primary.write_wal(3)
            return made.enter_context(WalServer(primary, end, stream))

        yield make


class Empty:
    """For new_archive()."""

    segment_size = 1 << 20


def test_the_stand_in_is_a_walsender(fake, receivers, new_archive):
    """What it sends arrives, and a receiver that is stopped says good-bye to it."""
    seen = []

    def stream(connection, position):
        end = connection.send_all(position)
        connection.wait_reported(end)
        seen.append(end)
        while not connection.copy_done:
            connection.read_reports(0.1)
        connection.finish()

    walsender = fake(stream)
    archive = new_archive(Empty)
    start = walsender.end - walsender.end % walsender.segment_size - walsender.segment_size
    receiver = receivers.pgweir(archive, walsender.conninfo(), "--start",
                                f"{start >> 32:X}/{start & 0xFFFFFFFF:X}")
    wait_for(lambda: seen, "all of it to be reported")
    receiver.stop()
    assert len(archive.finished()) >= 1


def test_far_behind_it_takes_wal_in_any_pieces(servers, receivers, new_archive, seeded):
    """Messages of all sizes, cut anywhere by the network, with pauses, keepalives between them: far
    behind they are read without libpq, and with it towards the end."""

    def stream(connection, position):
        # Once it has reported that, libpq has nothing left to give out.
        position = connection.send_wal(position, 8192)
        connection.wait_reported(position)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces = PiecewiseSocket(connection.socket, seeded)
        connection.socket = pieces
        while position < walsender.end:
            position = connection.send_wal(position, seeded.choice((1, 100, 8192, 131072, 131072)))
            if seeded.random() < 0.1:
                connection.keepalive(walsender.end, reply=seeded.random() < 0.5)
        pieces.flush()
        connection.wait_reported(position)
        while not connection.copy_done:
            connection.read_reports(0.1)
        connection.finish()
        pieces.flush()

    primary = servers.primary()
    start = primary.flushed()
    start -= start % primary.segment_size
    end = primary.write_wal(16)
    archive = new_archive(primary)
    with WalServer(primary, end, stream) as walsender:
        receiver = receivers.pgweir(archive, walsender.conninfo(), "--start", wal.lsn_text(start))
        archive.wait_covers(primary, 1, end)
        receiver.stop()
    archive.assert_same_wal(primary, minimum=8)


class PiecewiseSocket:
    """Keeps what is sent and gives it on in pieces of its own."""

    def __init__(self, real, random):
        self._real, self._random, self._kept = real, random, bytearray()

    def sendall(self, data):
        self._kept += data
        while len(self._kept) > 300_000:
            self._send(self._random.choice((1, 4, 29, 31, 1000, 131_102, 200_000)))

    def flush(self):
        self._send(len(self._kept))

    def _send(self, size):
        self._real.sendall(bytes(self._kept[:size]))
        del self._kept[:size]
        if self._random.random() < 0.05:
            time.sleep(0.01)  # the network's

    def __getattr__(self, name):
        return getattr(self._real, name)


def test_a_flood_of_keepalives_neither_keeps_a_signal_out_nor_fills_the_memory(
        fake, receivers, new_archive):
    """Nothing but keepalives that want an answer, as fast as they go, and no answer is read while
    the socket takes more."""
    rounds = []

    def stream(connection, position):
        connection.wait_reported(connection.send_all(position))
        while not connection.copy_done:
            for _ in range(200):
                connection.keepalive(walsender.end, reply=True)
            rounds.append(200)
            connection.read_reports()
        connection.finish()

    walsender = fake(stream)
    archive = new_archive(Empty)
    receiver = receivers.pgweir(archive, walsender.conninfo())
    wait_for(lambda: sum(rounds) >= 100_000, "a flood")
    peak = int(pathlib.Path(f"/proc/{receiver.pid}/status").read_text()
               .split("VmHWM:")[1].split()[0])
    receiver.stop(signal.SIGTERM)
    assert peak < (64 << 10) * MEMORY_FACTOR, f"{peak} kB"


def test_nothing_at_all_is_sent_after_a_failed_sync(fake, place, new_archive):
    """While the process is ending, and its last words find no reader, the server goes on asking."""
    library = preload(place, "slow_fsync.c")
    control = place / "sync-fault"
    log = place / "sync-fault.log"
    counts = []

    def stream(connection, position):
        middle = connection.send_wal(position, 64 * 1024)
        connection.wait_reported(middle)
        control.write_text("fail 0")
        connection.send_wal(middle, 64 * 1024)
        wait_for(log.exists, "the sync to fail")
        connection.read_reports(0.2)  # what was on its way
        count = 0
        try:
            while True:
                connection.keepalive(walsender.end, reply=True)
                count += connection.read_reports(0.01)
        except (OSError, EOFError):
            counts.append((count, connection.reports[-1][1], middle))

    walsender = fake(stream)
    archive = new_archive(Empty)
    # Somebody who doesn't read the log: the last words take their half second.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    os.write(writing, b"\n" * 4096)
    os.set_blocking(writing, True)
    process = subprocess.Popen(
        [str(word) for word in receive_command(archive.path, walsender.conninfo())],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
        preexec_fn=die_with_parent(signal.SIGKILL),
        env={**os.environ, "LD_PRELOAD": str(library), "PGWEIR_TEST_SYNC": str(control)})
    try:
        assert process.wait(PATIENCE) == 4
        wait_for(lambda: counts, "the stand-in to see the end")
        (sent, flush, middle), = counts
        assert sent == 0, f"{sent} reports after the failed sync"
        assert flush == middle
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


def test_it_goes_on_with_the_threads_it_has(servers, receivers, new_archive, place):
    """Slow syncs, where it would like to read in another thread, and none can be made."""
    slow = preload(place, "slow_fsync.c")
    none = preload(place, "no_threads.c")
    control = place / "no-threads"
    (place / "sync-fault").write_text("sleep 5")
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env={
        "LD_PRELOAD": f"{slow} {none}", "PGWEIR_TEST_SYNC": str(place / "sync-fault"),
        "PGWEIR_TEST_NO_THREADS": str(control)})
    streaming(primary)
    control.touch()
    end = primary.write_wal(4)
    reported(primary, end)
    assert (place / "no-threads.log").exists(), "no thread was asked for: the test is void"
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=3)


def test_a_thread_that_cannot_be_started_at_a_reconnect(servers, receivers, new_archive, place):
    """Each thread of a new connection in turn: it is tried again, or the receiver goes on without it."""
    control, log = place / "no-threads", place / "no-threads.log"
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--compress", "zstd:1", env={
        "LD_PRELOAD": str(preload(place, "no_threads.c")), "PGWEIR_TEST_NO_THREADS": str(control)})
    log.touch()
    for number in itertools.count(1):
        streaming(primary)
        failures = len(log.read_text().splitlines())
        fresh = place / "number"
        fresh.write_text(str(number))
        fresh.rename(control)
        primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        end = primary.write_wal(1)
        reported(primary, end)
        assert receiver.running(), receiver.said()
        if len(log.read_text().splitlines()) == failures:
            break
    assert number > 2, "too few threads were asked for"
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=2)


def test_a_finished_segment_is_made_durable_before_it_is_built_upon(servers, receivers,
                                                                    new_archive, place):
    """Whoever wrote the archive's end may never have synced it. When that fails, nothing of the
    stream may be asked for: its start would be reported as flushed."""
    library = preload(place, "slow_fsync.c")
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    (place / "sync-fault").write_text("fail 0")
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env={
        "LD_PRELOAD": str(library), "PGWEIR_TEST_SYNC": str(place / "sync-fault")})
    assert receiver.wait_exit() == 4, receiver.said()
    assert "streaming timeline" not in receiver.said(), receiver.said()


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
def test_damage_in_what_comes_again_is_told_as_damage(fake, receivers, new_archive, lasting):
    """Another connection brings again what the archive holds already, in small pieces: that one
    byte differs is seen long before the record's checksum comes, and is no other server's WAL."""
    connections = []

    def stream(connection, position):
        connections.append(position)
        middle = position + 512 * 1024
        if len(connections) == 1:
            connection.send_wal(position, 512 * 1024)
            connection.wait_reported(middle)
            return
        data = walsender.read_wal(position, 512 * 1024)
        if lasting or len(connections) == 2:
            digits = re.search(rb"[0-9a-f]{1200}", data[100_000:])
            at = 100_000 + digits.start() + 600
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        for begin in range(0, len(data), 100):
            connection.wal(position + begin, data[begin:begin + 100], end=walsender.end)
            connection.read_reports()
        connection.wait_reported(connection.send_all(middle))
        while not connection.copy_done:
            connection.read_reports(0.1)
        connection.finish()

    walsender = fake(stream)
    archive = new_archive(Empty)
    start = walsender.end - walsender.end % walsender.segment_size - walsender.segment_size
    receiver = receivers.pgweir(archive, walsender.conninfo(), "--start", wal.lsn_text(start))
    if lasting:
        assert receiver.wait_exit() == 4, receiver.said()
        assert len(connections) == 4, "it is asked for again twice"
    else:
        wait_for(lambda: walsender.reports and walsender.reports[-1] == walsender.end,
                 "all of it to be reported")
        receiver.stop()
        assert len(connections) == 3
    assert set(connections) == {start}
    assert "the WAL that the server sent is damaged: incorrect record checksum" in receiver.said()
    assert "differs from the archive" not in receiver.said()


def test_a_stop_while_the_disk_is_full_at_a_timelines_end_leaves_that_end_to_be_had(
        servers, receivers, new_archive, place):
    """The last segment of a timeline is collected and finds no space. The next start has to ask for
    it again, and not go on with the next timeline."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    primary = servers.primary()
    small = place / "small"
    small.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "pgweir-test", small],
                  check=False)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a tmpfs here: {mounted.stderr.strip()}")

    class Switching(WalServer):
        """Ends timeline 1 with its segment, as soon as it has sent it."""

        timeline = 2

        def identify(self):
            return [self.system_identifier, "2", wal.lsn_text(self.end), None]

        def stream(self, connection, timeline, position):
            if timeline == 2:
                connection.wait()
            # As if there were much more: then it is collected until it is whole.
            for begin in range(position, self.end, 128 * 1024):
                connection.wal(begin, self.read_wal(begin, 128 * 1024), end=self.end + (1 << 30))
            return 2, self.end

        def at_once(self, timeline, position):
            return (2, self.end) if timeline == 1 and position == self.end else None

    end = primary.write_wal(3)
    end -= end % primary.segment_size
    start = end - primary.segment_size
    try:
        with Switching(primary, end, None) as walsender:
            archive = new_archive(Empty, "small/archive")
            options = ["--start", wal.lsn_text(start), "--compress", "zstd"]
            receiver = receivers.pgweir(archive, walsender.conninfo(), *options)
            receiver.wait_log("(?i)no space left")
            receiver.stop()
            assert walsender.started == [(1, start)]
            assert not archive.finished()
            assert not [report for report in walsender.reports if report > start]
            run(["mount", "-o", "remount,size=64m", small])
            receiver = receivers.pgweir(archive, walsender.conninfo(), *options)
            wait_for(lambda: (1, start // primary.segment_size) in archive.finished(),
                     "the segment to be finished")
            assert walsender.started[1] == (1, start)
            receiver.kill9()
    finally:
        run(["umount", "-l", small])


@pytest.mark.parametrize("behind", [False, True], ids=["at the end", "behind"])
def test_the_first_segment_is_prepared_where_commits_are_waited_for(fake, receivers, new_archive,
                                                                    behind):
    """Blocks that were written once take half the time to be synced. It is done once, before the
    first byte comes, and not where there is much to catch up with."""
    spares = []

    def stream(connection, position):
        spare = archive.path / ".pgweir-spare"
        spares.append((spare.stat().st_ino, spare.stat().st_ctime_ns) if spare.exists() else None)
        if len(spares) == 1:
            return  # and comes again
        connection.wait_reported(connection.send_all(position))
        while not connection.copy_done:
            connection.read_reports(0.1)
        connection.finish()

    walsender = fake(stream)
    archive = new_archive(Empty)
    start = walsender.end - walsender.end % walsender.segment_size
    if behind:
        start -= walsender.segment_size
    receiver = receivers.pgweir(archive, walsender.conninfo(), "--start", wal.lsn_text(start))
    wait_for(lambda: walsender.reports and walsender.reports[-1] == walsender.end,
             "all of it to be reported")
    receiver.stop()
    assert (spares[0] is None) == behind, receiver.said()
    assert spares[1:] == spares[:1], "it is not written anew for each connection"
