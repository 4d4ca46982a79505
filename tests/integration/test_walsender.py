"""Servers and machines that behave as they seldom do, against a walsender of our own."""

import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from support.process import die_with_parent, run, wait_for
from support.receiver import receive_command
from support.scenario import create_slot, reported, streaming
from support.walsender import WalServer


def preload(place, source, name):
    library = place / f"{name}.so"
    run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library,
         pathlib.Path(__file__).parent / "support" / source, "-ldl"])
    return library


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


def test_a_flood_of_keepalives_neither_keeps_a_signal_out_nor_fills_the_memory(
        fake, receivers, new_archive):
    """Nothing but keepalives that want an answer, as fast as they go, and no answer is read while
    the socket takes more."""
    flooding = threading.Event()

    def stream(connection, position):
        connection.wait_reported(connection.send_all(position))
        while not connection.copy_done:
            for _ in range(200):
                connection.keepalive(walsender.end, reply=True)
            flooding.set()
            connection.read_reports()
        connection.finish()

    walsender = fake(stream)
    archive = new_archive(Empty)
    receiver = receivers.pgweir(archive, walsender.conninfo())
    assert flooding.wait(30), receiver.said()
    time.sleep(1)  # of flood
    peak = int(pathlib.Path(f"/proc/{receiver.pid}/status").read_text()
               .split("VmHWM:")[1].split()[0])
    receiver.stop(signal.SIGTERM, deadline=20)
    assert peak < 64 << 10, f"{peak} kB"


def test_nothing_at_all_is_sent_after_a_failed_sync(fake, place, new_archive):
    """While the process is ending, and its last words find no reader, the server goes on asking."""
    library = preload(place, "slow_fsync.c", "slow_fsync")
    control = place / "sync-fault"
    log = place / "sync-fault.log"
    counts = []

    def stream(connection, position):
        middle = connection.send_wal(position, 64 * 1024)
        connection.wait_reported(middle)
        control.write_text("fail 0")
        connection.send_wal(middle, 64 * 1024)
        wait_for(log.exists, "the sync to fail")
        connection.read_reports(0.05)  # what was on its way
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
        assert process.wait(60) == 4
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
    slow = preload(place, "slow_fsync.c", "slow_fsync")
    none = preload(place, "no_threads.c", "no_threads")
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


def test_a_finished_segment_is_made_durable_before_it_is_built_upon(servers, receivers,
                                                                    new_archive, place):
    """Whoever wrote the archive's end may never have synced it. When that fails, nothing of the
    stream may be asked for: its start would be reported as flushed."""
    library = preload(place, "slow_fsync.c", "slow_fsync")
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
