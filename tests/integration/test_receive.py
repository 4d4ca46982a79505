"""The main job: WAL in, an archive of it out, nothing else than what the server wrote."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios

import pytest

from support import wal
from support.process import PATIENCE, die_with_parent, run, wait_for
from support.receiver import pgweir, receive_command
from support.scenario import create_slot, gone, reported, restart_lsn, segment_start, streaming


def test_a_primary_under_load(servers, receivers, new_archive):
    primary = servers.primary()
    primary.pgbench_init()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    start = primary.flushed()
    load = primary.pgbench(clients=4, transactions=400)
    assert load.wait(PATIENCE) == 0
    primary.switch_wal()
    end = primary.write_wal(2)
    reported(primary, end)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=3)
    archive.assert_covers(primary, 1, end, start=start)
    assert archive.hidden() == [], "a clean stop leaves nothing temporary"


@pytest.mark.parametrize("compress", [[], ["--compress", "zstd:1"]], ids=["raw", "zstd"])
def test_segments_are_reported_in_their_order(servers, place, new_archive, compress):
    """Several threads finish them while the receiver catches up."""
    primary = servers.primary()
    first = primary.flushed() // primary.segment_size
    primary.sql("CREATE TABLE rows (text text)")
    primary.sql("INSERT INTO rows SELECT repeat('x', 900) FROM generate_series(1, 120000)")
    end = primary.flushed()
    archive = new_archive(primary)
    shutil.copy(primary.pg_wal(wal.segment_name(1, first, primary.segment_size)), archive.path)
    said = pgweir("receive", "-D", archive.path, "-d", primary.conninfo(), "--endpos", wal.lsn_text(end), "-v", *compress).stderr
    segments = re.findall("finished segment ([0-9A-F]{24})", said)
    assert len(segments) > 50 and segments == sorted(segments)


@pytest.mark.parametrize("closed", [(0, 1, 2), (2,)])
def test_without_standard_descriptors_nothing_else_gets_their_numbers(servers, new_archive, closed):
    primary = servers.primary()
    archive = new_archive(primary)
    dies = die_with_parent(signal.SIGKILL)

    def prepare():
        dies()
        for descriptor in closed:
            os.close(descriptor)

    process = subprocess.Popen(receive_command(archive.path, primary.conninfo(), "-v"), preexec_fn=prepare,
                               stdout=subprocess.DEVNULL)
    try:
        streaming(primary)
        end = primary.write_wal(2)
        archive.wait_covers(primary, 1, end)
        for descriptor in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{descriptor}") == "/dev/null"
    finally:
        process.terminate()
    assert process.wait(PATIENCE) == 0
    archive.assert_same_wal(primary, minimum=1)


def test_a_cascading_standby_under_load(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    cascaded = servers.standby(standby)
    primary.pgbench_init()
    archive = new_archive(primary)
    cascaded.caught_up_with(primary.flushed())
    receiver = receivers.pgweir(archive, cascaded)
    streaming(cascaded)
    load = primary.pgbench(clients=4, transactions=300)
    assert load.wait(PATIENCE) == 0
    primary.switch_wal()
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    assert archive.assert_same_wal(primary, standby, cascaded) >= 2


def test_finished_segments_are_compressed(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd:3")
    streaming(primary)
    first = primary.flushed() // primary.segment_size
    end = primary.write_wal(5)
    last = end // primary.segment_size - 1
    for segno in range(first, last + 1):
        archive.wait_finished(1, segno, form=".zst")
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    for path in archive.finished().values():
        assert path.suffix == ".zst"
        run(["zstd", "-tq", path])
        # The frame tells its size and has a checksum, so that damage and cuts are seen.
        frame = run(["zstd", "-lv", path]).stdout
        assert f"{primary.segment_size} B" in frame and "XXH64" in frame, frame
    for path in archive.partials().values():
        assert path.stat().st_size == primary.segment_size, "what is being written stays raw"
    archive.assert_same_wal(primary, minimum=5)


def test_raw_segments_of_an_earlier_run_are_compressed(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(3)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    raw = [segno for _, segno in archive.finished()]
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    for segno in raw:
        archive.wait_finished(1, segno, form=".zst")
    receiver.stop()
    archive.assert_same_wal(primary, minimum=len(raw))


@pytest.mark.parametrize("segment_mb", [1, 64])
def test_segment_size(servers, receivers, new_archive, segment_mb):
    primary = servers.primary(segment_mb=segment_mb)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    start = primary.flushed()
    primary.write_wal(3)
    primary.switch_wal()
    end = primary.write_wal(1)
    reported(primary, end)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary)
    archive.assert_covers(primary, 1, end, start=start)
    for path in archive.partials().values():
        assert path.stat().st_size == segment_mb << 20


def test_an_empty_archive_begins_at_the_slot(servers, receivers, new_archive):
    primary = servers.primary()
    create_slot(primary)
    reserved = restart_lsn(primary)
    end = primary.write_wal(4)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end, start=reserved)
    archive.assert_same_wal(primary, minimum=4)


@pytest.mark.parametrize("form", ["lsn", "segment"])
def test_start_at_a_chosen_place(servers, receivers, new_archive, form):
    primary = servers.primary()
    position = primary.write_wal(2)
    end = primary.write_wal(2)
    start = (wal.lsn_text(position) if form == "lsn"
             else wal.segment_name(1, position // primary.segment_size, primary.segment_size))
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--start", start)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    first = min(segno for _, segno in {**archive.finished(), **archive.partials()})
    assert first == position // primary.segment_size
    archive.assert_covers(primary, 1, end, start=position)


def test_endpos(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    receiver.stop()
    start = segment_start(primary, primary.flushed())
    end = primary.write_wal(3)
    after = primary.write_wal(2)
    receiver = receivers.pgweir(archive, primary, "--start", wal.lsn_text(start), "--endpos",
                                wal.lsn_text(end), "--no-loop")
    assert receiver.wait_exit() == 0, receiver.said()
    archive.assert_covers(primary, 1, end, start=start)
    assert not archive.covers(primary, 1, after), "it went on after --endpos"


def test_endpos_that_the_server_has_already(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    end = primary.flushed()
    receiver = receivers.pgweir(archive, primary, "--endpos", wal.lsn_text(end))
    assert receiver.wait_exit() == 0, receiver.said()
    archive.assert_covers(primary, 1, end)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_everything_reported(servers, receivers, new_archive, number):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--flush", "segment")
    streaming(primary)
    end = primary.write_wal(1.5)

    # Received, but by this flush policy not yet flushed: the stop has to do it.
    def received():
        return any(row["write_lsn"] and wal.lsn(row["write_lsn"]) >= end
                   for row in primary.walsenders()) or archive.covers(primary, 1, end)

    wait_for(received, "everything to be received")
    receiver.stop(number)
    gone(primary)
    assert restart_lsn(primary) >= end, "the last position was not reported"
    archive.assert_covers(primary, 1, end)


def test_sighup_reopens_the_log(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    log = place / "pgweir.log"
    receiver = receivers.pgweir(archive, primary, "--log-file", log)
    streaming(primary)
    wait_for(lambda: "streaming timeline 1" in log.read_text(), "the log file to be written")
    log.rename(place / "pgweir.log.1")
    receiver.send(signal.SIGHUP)
    wait_for(log.exists, "the log file to be opened again")
    primary.restart("immediate")
    wait_for(lambda: "streaming timeline 1" in log.read_text(), "the new log file to be written")
    receiver.stop()


def test_an_idle_server_is_not_behind(servers, receivers, new_archive):
    """After a switch the segment's rest is nothing but zeros; the slot follows all the same."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--status-interval", "1s")
    streaming(primary)
    primary.switch_wal()
    primary.sql("CHECKPOINT")
    end = primary.flushed()
    wait_for(lambda: restart_lsn(primary) >= end, "the slot to follow")
    archive.wait_covers(primary, 1, end)
    receiver.stop()


def test_records_longer_than_a_segment(servers, receivers, new_archive):
    """One logical message of 3 MB in 1 MB segments: it begins, goes on, and ends elsewhere. A
    restart in its middle starts at a page whose first bytes belong to a record never seen."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("SELECT pg_logical_emit_message(false, 'long', repeat('x', 3 << 20))")
    middle = primary.flushed()
    archive.wait_covers(primary, 1, middle)
    receiver.stop()
    end = primary.write_wal(1)
    other = new_archive(primary, "from-the-middle")
    started = wal.lsn_text(segment_start(primary, middle) - primary.segment_size)
    second = receivers.pgweir(other, primary, "--start", started)
    other.wait_covers(primary, 1, end)
    second.stop()
    receiver = receivers.pgweir(archive, primary)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=3)
    other.assert_same_wal(primary, minimum=1)


@pytest.mark.parametrize("compression", [[], ["-Z", "gzip:1"]], ids=["raw", "gzip"])
def test_an_archive_of_the_stock_receiver_is_taken_over(servers, receivers, new_archive,
                                                        compression):
    primary = servers.primary()
    archive = new_archive(primary)
    stock = receivers.stock(archive, primary, *compression)
    streaming(primary)
    start = primary.flushed()
    primary.write_wal(2)
    middle = primary.switch_wal()
    archive.wait_finished(1, middle // primary.segment_size - 1)
    stock.stop(signal.SIGINT)
    receiver = receivers.pgweir(archive, primary)
    end = primary.write_wal(2)
    streaming(primary)
    reported(primary, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=4)
    archive.assert_covers(primary, 1, end, start=start)
    verified = pgweir("verify", "-D", archive.path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # What the stock receiver left as gzip becomes zstd like the rest, if wanted.
    converted = pgweir("compress", "-D", archive.path)
    assert converted.returncode == 0, converted.stdout + converted.stderr
    assert {path.suffix for path in archive.finished().values()} == {".zst"}
    archive.assert_same_wal(primary, minimum=4)
    assert pgweir("verify", "-D", archive.path).returncode == 0


@pytest.mark.parametrize("form", ["none", "zstd"])
def test_a_copy_of_the_segment_that_is_being_received(servers, receivers, new_archive, form):
    """`cp` from an archive_command's directory, which has not finished when the receiver has."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--compress", form)
    position = primary.write_wal(1)
    archive.wait_covers(primary, 1, position)
    segno = position // primary.segment_size
    name = wal.segment_name(1, segno, primary.segment_size)
    assert (1, segno) in archive.partials()
    half = (primary.data / "pg_wal" / name).read_bytes()[:3 * 8192 + 100]
    (archive.path / name).write_bytes(half)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    archive.wait_finished(1, segno, form={"none": None, "zstd": ".zst"}[form])
    assert receiver.running(), receiver.said()
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=2)


def test_status_tells_what_is_there(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(3)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    text = pgweir("status", "-D", archive.path)
    assert text.returncode == 0, text.stderr
    first = min(archive.finished())
    assert wal.lsn_text(first[1] * archive.segment_size) in text.stdout, text.stdout
    machine = pgweir("status", "-D", archive.path, "--json")
    assert machine.returncode == 0, machine.stderr
    assert isinstance(json.loads(machine.stdout), dict)


def test_pg_waldump_reads_the_archive(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    start = primary.flushed()
    end = primary.write_wal(3)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    dump = [primary.bin / "pg_waldump", "-q", "-p", archive.path, "-t", "1", "-s",
            wal.lsn_text(start), "-e", wal.lsn_text(segment_start(primary, end))]
    assert subprocess.run(dump, stdin=subprocess.DEVNULL, timeout=PATIENCE).returncode == 0


def test_a_catch_up_on_a_terminal_says_how_far_it_is(servers, new_archive, sync_fault):
    """From the first line on: how much is behind, then how long it will take, and "caught up" at the end alone."""
    primary = servers.primary()
    create_slot(primary)
    # More than may be received before it is durable (64 MB): else the syncs would not slow it down.
    primary.sql("SELECT pg_logical_emit_message(false, '', repeat('x', 1 << 20)) FROM generate_series(1, 110)")
    end = primary.switch_wal()
    archive = new_archive(primary)
    sync_fault.set("sleep 400")
    terminal, other_end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    receiver = subprocess.Popen(receive_command(archive.path, primary.conninfo(), "-S", "archive"),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=other_end,
                                env={**os.environ, **sync_fault.env, "TERM": "xterm"},
                                preexec_fn=die_with_parent(signal.SIGKILL))
    os.close(other_end)
    shown = bytearray()

    def lines():
        """The live lines that were drawn so far, each over the one before."""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while select.select([terminal], [], [], 0)[0]:
                shown.extend(os.read(terminal, 65536))
        drawn = re.findall(rb"\r\x1b\[K([^\r\n]*)(?=\r)", shown)
        return [line.decode() for line in drawn if b" timeline 1" in line]

    try:
        wait_for(lambda: any(" left" in line for line in lines()) or receiver.poll() is not None,
                 "how long it will take")
        assert not any("caught up" in line for line in lines()), lines()
        assert re.search(r"^[0-9A-F]+/[0-9A-F]+  timeline 1  .*[0-9.]+ MB behind", lines()[0]), lines()
        full = next(line for line in lines() if " left" in line)
        assert re.search(r" [kM]B/s  .* MB behind  \d+%  .* left  \[#*\.*\]$", full), full
        sync_fault.set(None)
        reported(primary, end)
        wait_for(lambda: "caught up" in lines()[-1], "the end of it")
    finally:
        receiver.terminate()
        wait_for(lambda: lines() and receiver.poll() is not None, "the receiver to end")
        os.close(terminal)
    assert receiver.returncode == 0, shown.decode()
