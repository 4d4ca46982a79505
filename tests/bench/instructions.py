"""User-mode instructions per commit, and per MiB of WAL to catch up with: what another build costs more or less.

    scripts/bench instructions [--beside BINARY] [--megabytes N] [--commits N]

Counted by valgrind (callgrind), so the figures hardly depend on what else the machine does. Not counted: the kernel's work,
which is most of a commit's CPU time. Commits have one client, and each waits for its own sync. What a MiB costs depends on the
size of the pieces that arrive: differences of some percent are no difference."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

import workload
from contenders import PGWEIR_RAW, PGWEIR_ZSTD, STOCK, Run, with_other
from rows import Bench
from support import wal
from support.server import DEBIAN_BIN


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", metavar="BINARY", type=pathlib.Path, help="another build of pgweir")
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--commits", type=int, default=2000)
    options = parser.parse_args(words)
    if not shutil.which("valgrind"):
        parser.error("it needs valgrind (apt-get install valgrind)")
    bench = Bench(1, 0, options.megabytes, lambda text: print(text, file=sys.stderr, flush=True))
    print("| program | a commit | a MiB of WAL |\n|---|---|---|")
    try:
        commits = workload.commit_server(bench, 0)
        loaded = workload.loaded_server(bench, options.megabytes, ["compressible"])
        for contender in with_other([STOCK, PGWEIR_RAW, PGWEIR_ZSTD], options.beside):
            each = of_commits(bench, contender, commits, options.commits)
            mebibyte = of_catching_up(bench, contender, loaded)
            print(f"| {contender.name} | {each:,.0f} | {mebibyte:,.0f} |", flush=True)
    finally:
        for server in bench.servers:
            if server.running():
                server.stop("immediate")
        shutil.rmtree(bench.place)
    return 0


class Counted:
    """A contender whose instructions are counted, by threads that take turns."""

    def __init__(self, contender, out):
        self._contender, self._out = contender, out
        self.name, self.stock, self.env = contender.name, contender.stock, contender.env

    def command(self, *words, **more):
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self._out}",
                *self._contender.command(*words, **more)]

    def instructions(self):
        return int(re.search(r"^(?:summary|totals): (\d+)", self._out.read_text(), re.MULTILINE)[1])


def of_commits(bench, contender, server, count):
    """The difference between a run with few commits and one with `count` more: no start, no end."""
    few = 200
    counted = [commits(bench, contender, server, number) for number in (few, few + count)]
    return (counted[1] - counted[0]) / count


def commits(bench, contender, server, count):
    counted = Counted(contender, bench.place / "callgrind.out")
    server.sql("SELECT pg_switch_wal(); CHECKPOINT; SELECT pg_create_physical_replication_slot('bench', true)")
    with Run(counted, bench, server, "bench", synchronous=True) as run:
        server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        server.reload()
        try:
            run.wait_streaming(synchronous=True)
            subprocess.run([DEBIAN_BIN / "pgbench", "-n", "-M", "prepared", "-f", server.script, "-c", "1", "-t", str(count),
                            "-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", "postgres"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finally:
            server.sql("ALTER SYSTEM RESET synchronous_standby_names")
            server.reload()
    return counted.instructions()


def of_catching_up(bench, contender, server):
    """Between a run of a half and one of the whole."""
    slot, end, size = server.ranges["compressible"]
    counted = []
    half = size // 2 // server.segment_size * server.segment_size
    for last in (end - half, end):
        counted.append(Counted(contender, bench.place / "callgrind.out"))
        workload.copy_slot(server, slot, "bench")
        with Run(counted[-1], bench, server, "bench", endpos=wal.lsn_text(last)) as run:
            run.to_the_end()
        counted[-1] = counted[-1].instructions()
    return (counted[1] - counted[0]) / (half >> 20)
