"""User-mode instructions and system calls per commit, and per MiB of WAL to catch up with: what another build costs more or less.

    scripts/bench instructions [--beside BINARY] [--megabytes N] [--commits N]

Counted by valgrind (callgrind) and strace, so the figures hardly depend on what else the machine does. Commits have one client,
and each waits for its own sync. What a MiB costs depends on the size of the pieces that arrive: differences of some percent
are no difference."""

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
from support.process import wait_for
from support.server import DEBIAN_BIN


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", metavar="BINARY", type=pathlib.Path, help="another build of pgweir")
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--commits", type=int, default=2000)
    options = parser.parse_args(words)
    for tool in ("valgrind", "strace"):
        if not shutil.which(tool):
            parser.error(f"it needs {tool} (apt-get install {tool})")
    bench = Bench(1, 0, options.megabytes, lambda text: print(text, file=sys.stderr, flush=True))
    print("| program | instructions of a commit | of a MiB of WAL | system calls of a commit | of a MiB |\n|---|---|---|---|---|")
    try:
        commits = workload.commit_server(bench, 0)
        loaded = workload.loaded_server(bench, options.megabytes, ["compressible"])
        for contender in with_other([STOCK, PGWEIR_RAW, PGWEIR_ZSTD], options.beside):
            cells = []
            for counted, form in ((Instructions, ",.0f"), (SystemCalls, ".2f")):
                cells.append(format(of_commits(counted, bench, contender, commits, options.commits), form))
                cells.append(format(of_catching_up(counted, bench, contender, loaded), form))
            print(f"| {' | '.join([contender.name, *cells])} |", flush=True)
    finally:
        for server in bench.servers:
            if server.running():
                server.stop("immediate")
        shutil.rmtree(bench.place)
    return 0


class Counted:
    """A contender that runs under another program, which counts."""

    def __init__(self, contender, out):
        self._contender, self._out = contender, out
        self.name, self.stock, self.env = contender.name, contender.stock, contender.env
        out.unlink(missing_ok=True)

    def command(self, *words, **more):
        return [*self.counter(), *self._contender.command(*words, **more)]


class Instructions(Counted):
    """Its threads take turns."""

    def counter(self):
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self._out}"]

    def count(self):
        return int(re.search(r"^(?:summary|totals): (\d+)", self._out.read_text(), re.MULTILINE)[1])


class SystemCalls(Counted):
    def counter(self):
        # -D: the counted program keeps the process ID to which signals are sent.
        return ["strace", "-D", "-f", "-c", "-U", "name,calls", "-o", str(self._out)]

    def count(self):
        # strace ends after the program.
        found = wait_for(lambda: self._out.exists() and re.search(r"^total +(\d+)", self._out.read_text(), re.MULTILINE),
                         "strace has written its summary")
        return int(found[1])


def of_commits(counted, bench, contender, server, count):
    """The difference between a run with few commits and one with `count` more: no start, no end."""
    few = 200
    counts = [commits(counted, bench, contender, server, number) for number in (few, few + count)]
    return (counts[1] - counts[0]) / count


def commits(counted, bench, contender, server, count):
    counted = counted(contender, bench.place / "counted")
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
    return counted.count()


def of_catching_up(counted, bench, contender, server):
    """Between a run of a half and one of the whole."""
    slot, end, size = server.ranges["compressible"]
    counts = []
    half = size // 2 // server.segment_size * server.segment_size
    for last in (end - half, end):
        program = counted(contender, bench.place / "counted")
        workload.copy_slot(server, slot, "bench")
        with Run(program, bench, server, "bench", endpos=wal.lsn_text(last)) as run:
            run.to_the_end()
        counts.append(program.count())
    return (counts[1] - counts[0]) / (half >> 20)
