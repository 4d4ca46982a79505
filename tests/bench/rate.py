"""What a receiver needs of the machine while WAL comes at a steady rate: what to size a machine by.

    scripts/bench rate [--rates 1,10,100] [--seconds N] [--compress none,zstd:1,zstd:3] [--binary FILE]

A server writes that many MB of WAL a second, ten times a second a commit's worth: messages whose content is the
WAL of inserts, an index and updates, so that it compresses as such WAL does. One receiver at a time takes it.
Cores: processor time by time. To disk: what the receiver hands to the block layer. Network: bytes of the stream,
by the receiver's socket."""

import argparse
import pathlib
import re
import shutil
import sys
import time

import contenders
import measure
import workload
from contenders import STOCK, Contender, Run
from rows import Bench
from support import wal
from support.process import run
from support.server import Server

CHUNK = 8000
TICKS = 10


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="1,10,100", help="MB of WAL a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--compress", default="none,zstd:1,zstd:3")
    parser.add_argument("--binary", type=pathlib.Path)
    arguments = parser.parse_args(words)
    if arguments.binary:
        contenders.PGWEIR = arguments.binary
    forms = arguments.compress.split(",")
    receivers = [STOCK] + [Contender(f"pgweir {form}", False, *([] if form == "none" else [f"--compress={form}"]))
                           for form in forms]
    bench = Bench(1, arguments.seconds, 64, lambda text: print(text, file=sys.stderr, flush=True))
    print("| WAL, MB/s | receiver | its cores | walsender's cores | to disk, MB/s | network, MB/s | archive / WAL |"
          " peak, MB | most behind, MB |\n|---|---|---|---|---|---|---|---|---|")
    try:
        server = source(bench)
        for rate in arguments.rates.split(","):
            for receiver in receivers:
                row = measure_one(bench, server, receiver, float(rate))
                print(f"| {row['rate']:.1f} | {receiver.name} | {row['cores']:.3f} | {row['walsender']:.3f} | "
                      f"{row['disk']:.1f} | {row['network']:.1f} | {row['size']:.3f} | {row['peak']:.0f} | "
                      f"{row['behind']:.1f} |", flush=True)
    finally:
        for server in bench.servers:
            if server.running():
                server.stop("immediate")
        shutil.rmtree(bench.place)
    return 0


def source(bench):
    """A server with the content of WAL in a table, and a procedure that writes it as WAL again."""
    server = Server(bench.place, "primary")
    bench.servers.append(server)
    server.initdb(max_wal_size="20GB", checkpoint_timeout="1h", shared_buffers="256MB", wal_keep_size="2GB")
    server.start()
    begin = server.flushed()
    workload.fill(server, "compressible", bench.megabytes)
    end = server.switch_wal()
    size = server.segment_size
    names = [wal.segment_name(1, segno, size) for segno in range(begin // size + 1, end // size)]
    server.sql("CREATE UNLOGGED TABLE content (n serial, data bytea); ALTER TABLE content ALTER data SET STORAGE EXTERNAL")
    for name in names:
        server.sql("INSERT INTO content (data) SELECT pg_read_binary_file('pg_wal/" + name + f"', at, {CHUNK})"
                   f" FROM generate_series(0, {size - CHUNK}, {CHUNK}) at")
    server.sql("""CREATE PROCEDURE write_wal(bytes_each bigint, ticks int, every interval) LANGUAGE plpgsql AS $$
        DECLARE
          begun timestamptz := clock_timestamp(); number bigint := 0; many bigint; done bigint; chunk bytea;
        BEGIN
          SELECT count(*) INTO many FROM content;
          FOR tick IN 1..ticks LOOP
            done := 0;
            WHILE done < bytes_each LOOP
              SELECT data INTO chunk FROM content WHERE n = 1 + number % many;
              number := number + 1;
              PERFORM pg_logical_emit_message(true, 'rate', substring(chunk FROM 1 FOR (bytes_each - done)::int));
              done := done + length(chunk) + 60;
            END LOOP;
            COMMIT;
            PERFORM pg_sleep_until(begun + every * tick);
          END LOOP;
        END $$;
        CREATE UNIQUE INDEX ON content (n); ANALYZE content; CHECKPOINT""".replace("pg_sleep_until(begun + every * tick)",
                   "pg_sleep(greatest(0, extract(epoch FROM begun + every * tick - clock_timestamp())))"))
    return server


def measure_one(bench, server, receiver, rate):
    server.sql("SELECT pg_switch_wal(); SELECT pg_create_physical_replication_slot('bench', true)")
    with Run(receiver, bench, server, "bench", synchronous=True) as runs:
        runs.wait_streaming()
        load = workload.psql_popen(server, f"CALL write_wal({int(rate * 1e6 / TICKS)}, {TICKS * (bench.seconds + 4)},"
                                           f" '{1000 // TICKS} ms')")
        time.sleep(3)  # it flows
        sender = int(server.sql("SELECT pid FROM pg_stat_replication WHERE application_name = 'bench_bench'"))
        before = look(server, runs.pid, sender)
        behind = 0
        while time.monotonic() < before["time"] + bench.seconds:
            time.sleep(0.5)
            behind = max(behind, int(float(server.sql(
                "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn) FROM pg_stat_replication"
                " WHERE application_name = 'bench_bench'") or 0)))
        after = look(server, runs.pid, sender)
        load.wait()
        seconds = after["time"] - before["time"]
        each = {name: (after[name] - before[name]) / seconds for name in before}
        finished = [path for path in runs.directory.iterdir() if not path.name.startswith(".")
                    and not path.name.endswith(".partial")]
        size = sum(path.stat().st_size for path in finished) / max(1, len(finished)) / server.segment_size
        return {"rate": each["wal"] / 1e6, "cores": each["cpu"], "walsender": each["walsender"],
                "disk": each["disk"] / 1e6, "network": each["network"] / 1e6, "size": size if finished else 1,
                "peak": measure.memory_kb(runs.pid)["peak_kb"] / 1024, "behind": behind / 1e6}


def look(server, pid, sender):
    received = run(["ss", "-tinpO"]).stdout
    line = next(line for line in received.splitlines() if f"pid={pid}," in line)
    return {"time": time.monotonic(), "wal": server.flushed(), "cpu": measure.cpu_seconds(pid),
            "walsender": measure.cpu_seconds(sender), "disk": measure.written_bytes(pid),
            "network": int(re.search(r"bytes_received:(\d+)", line)[1])}
