"""How long a receiver takes from its start until it streams, with that many segments in its archive.

    scripts/bench start [--binary FILE]... [--segments N]... [--rounds N]

Several binaries take turns. The archive's files are sparse and raw, of 16 MB each; the server stands
behind them. The directory has been read before, so what counts is the work, not the disk."""

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


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", action="append", type=pathlib.Path)
    parser.add_argument("--segments", action="append", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| segments | binary | to streaming, ms | range | CPU until then, ms |\n|---|---|---|---|---|")
    for segments in options.segments or [100, 10_000, 100_000]:
        with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as place:
            os.chmod(place, 0o755)
            measure_one(pathlib.Path(place), options.binary or [PGWEIR], segments, options.rounds)
    return 0


def measure_one(place, binaries, segments, rounds):
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
        costs = {binary: [] for binary in binaries}
        for number in range(rounds):
            for binary in binaries[number % len(binaries):] + binaries[:number % len(binaries)]:
                with Receiver(binary, archive, server, place) as receiver:
                    costs[binary].append(receiver.streaming())
        for binary, both in costs.items():
            spent, cpu = zip(*both)
            print(f"| {segments} | {binary} | {statistics.median(spent) * 1e3:.0f} | "
                  f"{min(spent) * 1e3:.0f} - {max(spent) * 1e3:.0f} | "
                  f"{statistics.median(cpu) * 1e3:.0f} |", flush=True)
    finally:
        server.stop("immediate")


class Receiver:
    def __init__(self, binary, archive, server, place):
        self.command = [binary, "receive", "-D", archive, "-d", server.conninfo()]
        self.log = place / "receiver.log"

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent(signal.SIGKILL))
        return self

    def streaming(self):
        """Seconds from its start, and of processor time."""
        def there():
            assert self.process.poll() is None, self.log.read_text()
            return " streaming timeline " in self.log.read_text()
        wait_for(there, "it to stream", interval=0.001)
        return time.monotonic() - self.started, measure.cpu_seconds(self.process.pid)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
