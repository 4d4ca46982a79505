"""What memory a receiver takes at most while it catches up, and `pgweir compress` while it converts: the peak of
the resident memory, by size of the segments and by compression. The WAL does not compress, so that all that may be
collected is, and no compression is quicker than it has to be.

    scripts/bench memory [--megabytes N] [--segments 16,64] [--levels 1,3,9,19]
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time

import measure
import workload
from contenders import PGWEIR, Contender, Run
from rows import Bench
from support import wal
from support.process import wait_for
from support.server import Server


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=384, help="of WAL to catch up with")
    parser.add_argument("--segments", default="16,64", help="sizes in MB")
    parser.add_argument("--levels", default="1,3,9,19", help="of zstd; without compression is measured as well")
    arguments = parser.parse_args(words)
    if not PGWEIR.exists():
        parser.error(f"no {PGWEIR}: cmake --preset release && cmake --build --preset release")
    levels = [int(level) for level in arguments.levels.split(",")]
    forms = ["none"] + [f"zstd:{level}" for level in levels]
    bench = Bench(1, 0, arguments.megabytes, lambda text: print(text, file=sys.stderr, flush=True))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    sizes = [int(size) for size in arguments.segments.split(",")]
    rows = {(what, form): [] for what in ("receive", "compress -j 1") for form in forms
            if (what, form) != ("compress -j 1", "none")}
    try:
        for size in sizes:
            server = filled_server(bench, size)
            for form in forms:
                peak = catch_up(bench, server, form)
                bench.say(f"  {size} MB segments, receive, {form}: {peak:.1f} MB")
                rows["receive", form].append(peak)
            for form in forms[1:]:
                peak = conversion(bench, server, form)
                bench.say(f"  {size} MB segments, compress, {form}: {peak:.1f} MB")
                rows["compress -j 1", form].append(peak)
    finally:
        for server in bench.servers:
            if server.running():
                server.stop("immediate")
        shutil.rmtree(bench.place)
    print("| | " + " | ".join(f"segments of {size} MB" for size in sizes) + " |")
    print("|---" * (1 + len(sizes)) + "|")
    for (what, form), peaks in rows.items():
        print(f"| `{what}`, `{form}` | " + " | ".join(f"{peak:.0f} MB" for peak in peaks) + " |")
    return 0


def filled_server(bench, segment_mb):
    server = Server(bench.place, f"segments{segment_mb}", segment_mb=segment_mb)
    bench.servers.append(server)
    server.initdb(max_wal_size="20GB", checkpoint_timeout="1h")
    server.start()
    server.sql("SELECT pg_create_physical_replication_slot('begin', true)")
    workload.fill(server, "incompressible", bench.megabytes)
    server.end = server.switch_wal()
    return server


def catch_up(bench, server, form):
    """Until it has caught up and, where it compresses, has compressed two segments."""
    workload.copy_slot(server, "begin", "memory")
    contender = Contender(form, False, *([] if form == "none" else [f"--compress={form}"]))
    with Run(contender, bench, server, "memory") as run:
        peak = measure.Peak(run.pid)

        def there():
            if run.process.poll() is not None:
                raise AssertionError(run.log.read_text())
            flushed = server.sql("SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'bench_memory'")
            return (flushed and wal.lsn(flushed) >= server.end
                    and (form == "none" or len(list(run.directory.glob("*.zst"))) >= 2))

        wait_for(there, f"{form} to catch up", deadline=600)
        return peak.stop_mb()


def conversion(bench, server, form):
    """Of two segments, as they are in the server's pg_wal."""
    directory = bench.place / f"converted-{time.monotonic_ns()}"
    directory.mkdir(mode=0o700)
    first = server.end // server.segment_size - 3
    for segno in (first, first + 1):
        shutil.copy(server.pg_wal(wal.segment_name(1, segno, server.segment_size)), directory)
    with subprocess.Popen([PGWEIR, "compress", "-D", directory, "-j", "1", "--no-progress", "--method", form],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        peak = measure.Peak(process.pid, interval=0.01)
        assert process.wait() == 0
        megabytes = peak.stop_mb()
    assert len(list(directory.glob("*.zst"))) == 2
    shutil.rmtree(directory)
    return megabytes
