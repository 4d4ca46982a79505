"""Ends that nobody asked for: of the receiver, of the server."""

import time

from support import wal
from support.process import run, wait_for
from support.scenario import create_slot, reported, restart_lsn, streaming

ROUNDS = 10


def test_kill_9_at_random_moments(servers, receivers, new_archive, seeded):
    """What was reported before the kill is there after it, and the resumed archive is whole."""
    primary = servers.primary()
    primary.pgbench_init()
    create_slot(primary)
    start = restart_lsn(primary)
    archive = new_archive(primary)
    load = primary.pgbench(clients=2, seconds=600, rate=400)
    for number in range(ROUNDS):
        options = ["--compress", "zstd:1"] if number % 2 else []
        receiver = receivers.pgweir(archive, primary, "-S", "archive", *options)
        # A moment counted from the first word on: startup, resume, streaming all get their share.
        wait_for(receiver.said, "the receiver to say something")
        if number % 3 == 0:
            primary.write_wal(2)
        time.sleep(seeded.uniform(0.0, 0.4))
        receiver.kill9()
        known = restart_lsn(primary)
        if known > start:
            archive.assert_covers(primary, 1, known)
        if archive.finished():
            archive.assert_same_wal(primary)
    load.kill()
    load.wait()
    end = primary.write_wal(1)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--compress", "zstd:1")
    reported(primary, end)
    archive.wait_covers(primary, 1, end)
    for segno in {segno for _, segno in archive.finished()}:
        archive.wait_finished(1, segno, form=".zst")
    receiver.stop()
    archive.assert_covers(primary, 1, end, start=start)
    archive.assert_same_wal(primary, minimum=4)
    assert archive.hidden() == [], "leftovers of the killed ones"


def test_the_upstream_restarts(servers, receivers, new_archive):
    primary = servers.primary(wal_sender_timeout="5s")
    primary.pgbench_init()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    first = streaming(primary)
    start = primary.flushed()
    for stop in ("immediate", "fast", "kill -9"):
        load = primary.pgbench(clients=2, seconds=600)
        position = primary.flushed()
        wait_for(lambda: primary.flushed() > position + 100_000, "some load")
        if stop == "kill -9":
            primary.kill9()
        else:
            primary.stop(stop)
        load.kill()
        load.wait()
        primary.start()
        again = streaming(primary)
        assert again["pid"] != first["pid"]
        reported(primary, primary.write_wal(1))
    assert receiver.running()
    end = primary.write_wal(1)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end, start=start)
    archive.assert_same_wal(primary, minimum=3)


def test_the_walsender_is_terminated(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    pid = streaming(primary)["pid"]
    primary.sql(f"SELECT pg_terminate_backend({pid})")
    wait_for(lambda: [row for row in primary.walsenders() if row["pid"] != pid], "a new walsender")
    end = primary.write_wal(2)
    reported(primary, end)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary)


def test_no_loop_ends_with_the_connection(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--no-loop")
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    primary.stop("immediate")
    assert receiver.wait_exit() == 3, receiver.said()
    archive.assert_covers(primary, 1, end)


def test_a_fast_shutdown_waits_for_the_last_bytes_and_no_longer(servers, receivers, new_archive):
    primary = servers.primary(wal_sender_timeout="1h")  # who did not answer would hold it up for as long
    primary.pgbench_init()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    load = primary.pgbench(clients=4, seconds=600)
    position = primary.flushed()
    wait_for(lambda: primary.flushed() > position + 500_000, "some load")
    primary.stop("fast")
    load.kill()
    load.wait()
    end = end_of_shutdown_checkpoint(primary)
    archive.assert_covers(primary, 1, end)
    assert receiver.running(), receiver.said()
    primary.start()
    streaming(primary)
    after = primary.write_wal(1)
    archive.wait_covers(primary, 1, after)
    receiver.stop()
    archive.assert_same_wal(primary)


def end_of_shutdown_checkpoint(server):
    """The last record of a server that was stopped well; it fits in what its pages leave."""
    control = run([server.bin / "pg_controldata", server.data]).stdout
    text = next(line for line in control.splitlines() if line.startswith("Latest checkpoint loc"))
    position = wal.lsn(text.split(":", 1)[1].strip())
    content = server.wal_path(1, position).read_bytes()
    length = int.from_bytes(content[position % server.segment_size:][:4], "little")
    assert 24 < length < 1000, f"no checkpoint record at {wal.lsn_text(position)}"
    return position + length
