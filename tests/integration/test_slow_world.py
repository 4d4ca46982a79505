"""A line of 1 Gbit/s and 50 ms and a disk of 20 MB/s: what may not suffer from it. (How fast it is
is scripts/bench's business.)"""

import json
import pathlib
import subprocess
import sys

import pytest

from support import wal
from support.process import die_with_parent, run, wait_for
from support.receiver import MEMORY_FACTOR, pgweir
from support.scenario import create_slot

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def slow_line(place):
    """slow_line(server) is the port at which the server is far away."""
    started = []

    def make(server):
        proxy = subprocess.Popen(
            [sys.executable, "-B", BENCH / "slow_network.py", "0", str(server.port), "25", "125"],
            stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(9))
        started.append(proxy)
        return int(proxy.stdout.readline())

    yield make
    for proxy in started:
        proxy.kill()
        proxy.wait()


@pytest.fixture
def slow_disk(place):
    library = place / "slow_disk.so"
    run(["cc", "-shared", "-fPIC", "-O1", "-o", library, BENCH / "slow_disk.c", "-ldl"])
    return {"LD_PRELOAD": str(library), "BENCH_DISK_MBS": "20"}


@pytest.mark.parametrize("options", [(), ("--compress", "zstd:1")], ids=["raw", "zstd"])
def test_a_slow_world_costs_neither_connection_nor_memory_nor_truth(
        servers, receivers, new_archive, slow_line, slow_disk, options):
    primary = servers.primary(wal_sender_timeout="4s")
    create_slot(primary)
    archive = new_archive(primary)
    end = primary.write_wal(160)
    port = slow_line(primary)
    receiver = receivers.pgweir(archive, primary.conninfo(port=port), "-S", "archive", *options,
                                env=slow_disk)
    walsender = streaming_or_catching_up(primary)["pid"]
    looks = 0

    def caught_up():
        nonlocal looks
        rows = primary.walsenders()
        assert rows and rows[0]["pid"] == walsender, "the connection was lost"
        if not rows[0]["flush_lsn"]:
            return False
        told = wal.lsn(rows[0]["flush_lsn"])
        live = json.loads(pgweir("status", "-D", archive.path, "--json").stdout).get("receiver")
        if live and "flush_lsn" in live:
            looks += 1
            flush, server = wal.lsn(live["flush_lsn"]), wal.lsn(live["server_lsn"])
            assert told <= flush <= end + (1 << 20), "what the server was told is not what it holds"
            assert live["lag_bytes"] == max(0, server - flush)
            # Everything below is there already, whatever is still on its way.
            if flush > told:
                archive.assert_covers(primary, 1, told)
        return told >= end

    wait_for(caught_up, "the receiver to catch up", interval=0.3)
    assert looks > 0, "nobody looked while it ran"
    peak = int(pathlib.Path(f"/proc/{receiver.pid}/status").read_text()
               .split("VmHWM:")[1].split()[0])
    receiver.stop()
    assert peak < (128 << 10) * MEMORY_FACTOR, f"{peak} kB"
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=160)


def streaming_or_catching_up(server):
    return wait_for(lambda: next(iter(server.walsenders()), None), "a walsender for the receiver")
