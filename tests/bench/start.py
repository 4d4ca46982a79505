"""How long a receiver takes from its start until it streams, and `pgweir status`, with that many segments in the archive.

    scripts/bench start [--binary FILE]... [--segments N]... [--rounds N] [--realtime]

Several binaries take turns, and with them the floor: a bare loop that reads the directory's names, and one that
looks at each file as well (tests/bench/bare_names.c). The archive's files are sparse and raw, of 16 MB each; the
server stands behind them. The directory has been read before, so what counts is the work, not the disk.
--realtime: what is measured, and the server, run before all else on the machine (chrt -r 1); not what prepares it."""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

import measure
from contenders import PGWEIR
from support import wal
from support.process import as_server_user, die_with_parent, run, wait_for
from support.server import DEBIAN_BIN, Server

SEGMENT = 16 << 20
HERE = pathlib.Path(__file__).resolve().parent


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", action="append", type=pathlib.Path)
    parser.add_argument("--segments", action="append", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--realtime", action="store_true")
    options = parser.parse_args(arguments)
    print("| segments | program | to streaming or its end, ms | range | CPU, ms | peak, MB | × the names alone |\n"
          "|---|---|---|---|---|---|---|")
    for segments in options.segments or [100, 10_000, 100_000]:
        with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as place:
            os.chmod(place, 0o755)
            measure_one(pathlib.Path(place), options.binary or [PGWEIR], segments, options.rounds,
                        ["chrt", "-r", "1"] if options.realtime else [])
    return 0


def measure_one(place, binaries, segments, rounds, before):
    server = Server(place, "server").initdb(wal_level="replica")
    begin = wal.segment_name(1, segments + 10, SEGMENT)
    run([DEBIAN_BIN / "pg_resetwal", "-f", "-l", begin, "-D", server.data], **as_server_user(), cwd="/")
    server.start()
    try:
        archive = place / "archive"
        archive.mkdir()
        # The newest ones are the server's own, those before them are sparse.
        with Receiver(binaries[0], archive, server, place) as receiver:
            receiver.streaming()
            for _ in range(3):
                server.switch_wal()
            wait_for(lambda: len([path for path in archive.iterdir() if len(path.name) == 24]) >= 2,
                     "two segments")
        highest = wal.parse_segment(min(path.name for path in archive.iterdir()
                                        if len(path.name) == 24), SEGMENT)[1]
        for segno in range(highest - segments, highest):
            with open(archive / wal.segment_name(1, segno, SEGMENT), "wb") as file:
                file.truncate(SEGMENT)
        if before:
            run(["chrt", "-r", "-p", "1", str(server.process.pid)])
        bare = place / "bare_names"
        run(["cc", "-O2", "-o", bare, HERE / "bare_names.c"])
        contenders = {"bare loop: names": lambda: command([*before, bare, archive]),
                      "bare loop: names and files": lambda: command([*before, bare, archive, "files"])}
        for binary in binaries:
            contenders[f"{binary}: start"] = lambda binary=binary: start(binary, archive, server, place, before)
            contenders[f"{binary}: status"] = lambda binary=binary: command([*before, binary, "status", "-D", archive])
        costs = {name: [] for name in contenders}
        for number in range(rounds):
            order = list(contenders)
            for name in order[number % len(order):] + order[:number % len(order)]:
                costs[name].append(contenders[name]())
        floor = [cost[0] for cost in costs["bare loop: names"]]
        for name, rows in costs.items():
            spent, cpu, peak = zip(*rows)
            ratio = statistics.median(one / other for one, other in zip(spent, floor))
            print(f"| {segments} | {name} | {statistics.median(spent) * 1e3:.0f} | "
                  f"{min(spent) * 1e3:.0f} - {max(spent) * 1e3:.0f} | {statistics.median(cpu) * 1e3:.0f} | "
                  f"{statistics.median(peak):.0f} | {ratio:.2f} |", flush=True)
    finally:
        server.stop("immediate")


def start(binary, archive, server, place, before):
    with Receiver(binary, archive, server, place, before) as receiver:
        return receiver.streaming()


def command(words):
    """Seconds from its start to its end, of processor time, and the peak of its memory in MB."""
    begun = time.monotonic()
    with subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        peak = measure.Peak(process.pid, interval=0.002)
        cost = measure.finish(process)
    return cost["ended"] - begun, cost["cpu_s"], peak.stop_mb()


class Receiver:
    def __init__(self, binary, archive, server, place, before=()):
        self.command = [*before, binary, "receive", "-D", archive, "-d", server.conninfo()]
        self.log = place / "receiver.log"

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent(signal.SIGKILL))
        return self

    def streaming(self):
        """Seconds from its start, of processor time, and the peak of its memory in MB."""
        def there():
            assert self.process.poll() is None, self.log.read_text()
            return " streaming timeline " in self.log.read_text()
        wait_for(there, "it to stream", interval=0.001)
        spent = time.monotonic() - self.started
        return spent, measure.cpu_seconds(self.process.pid), measure.memory_kb(self.process.pid)["peak_kb"] / 1024

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
