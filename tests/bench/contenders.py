"""The programs that are compared, and one run of a receiver."""

import contextlib
import copy
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import measure
from support import wal
from support.archive import Archive
from support.process import die_with_parent, wait_for
from support.server import DEBIAN_BIN, REPOSITORY

PGWEIR = pathlib.Path(os.environ.get("PGWEIR_BINARY", REPOSITORY / "build" / "release" / "pgweir"))


class Contender:
    """`options` as the program has them; `synchronous` adds what makes it sync every commit."""

    def __init__(self, name, stock, *options, binary=PGWEIR):
        self.name, self.stock, self._options, self._binary = name, stock, options, binary
        self.archives = True
        self.env = {}

    def of(self, binary):
        """The same with another build, as "other pgweir"."""
        other = copy.copy(self)
        other.name, other._binary = self.name.replace("pgweir", "other pgweir"), binary
        return other

    @contextlib.contextmanager
    def company(self, server):
        """Who else is there while commits of `server` are counted."""
        del server
        yield

    def command(self, directory, conninfo, slot, synchronous=False, endpos=None):
        words = [DEBIAN_BIN / "pg_receivewal"] if self.stock else [self._binary, "receive", "-q"]
        words += ["-D", directory, "-d", conninfo, "-S", slot, "-n", *self._options]
        if self.stock and synchronous:
            words.append("--synchronous")
        if endpos is not None:
            words.append(f"--endpos={endpos}")
        return [str(word) for word in words]


class BareLoop(Contender):
    """tests/bench/bare_loop.c: the floor. It archives nothing."""

    def __init__(self, program, *options):
        super().__init__(", ".join(["bare loop", *options]), True, *options)
        self.archives, self._program = False, program

    def command(self, directory, conninfo, slot, synchronous=False, endpos=None):
        return [str(self._program), str(directory), conninfo, slot, *self._options]


class BareZstd(Contender):
    """tests/bench/bare_zstd.c: what compressing alone costs. Its files are no archive."""

    def __init__(self, program, *options):
        super().__init__(", ".join(["bare zstd:1", *options]), True, *options)
        self.archives, self._program = False, program

    def command(self, directory, conninfo, slot, synchronous=False, endpos=None):
        return [str(self._program), str(directory), conninfo, slot, str(endpos), *self._options]


class BareTls(Contender):
    """tests/bench/bare_tls.c: what decrypting alone costs. It archives nothing."""

    def __init__(self, program):
        super().__init__("bare decryption", True)
        self.archives, self._program = False, program

    def command(self, directory, conninfo, slot, synchronous=False, endpos=None):
        return [str(self._program), conninfo, slot, str(endpos)]


def with_other(contenders, binary):
    """Each pgweir among them, and right behind it the same by `binary`, if there is one."""
    return [each for contender in contenders
            for each in ([contender] if contender.stock or not binary
                         else [contender, contender.of(binary)])]


STOCK = Contender("pg_receivewal", True)
STOCK_GZIP1 = Contender("pg_receivewal gzip:1", True, "-Zgzip:1")
STOCK_LZ4 = Contender("pg_receivewal lz4", True, "-Zlz4")
PGWEIR_RAW = Contender("pgweir", False)
PGWEIR_ZSTD = Contender("pgweir zstd:1", False, "--compress=zstd:1")


class Run:
    """One receiver in a fresh archive, from its start to its end; a context manager."""

    def __init__(self, contender, bench, server, slot, synchronous=False, endpos=None, env=None,
                 conninfo=None, words=None):
        self.contender, self._bench, self._server, self.slot = contender, bench, server, slot
        self.directory = bench.place / f"archive-{time.monotonic_ns()}"
        self.directory.mkdir(mode=0o700)
        self.log = bench.place / "receiver.log"
        self.archive = Archive(self.directory, server.segment_size)
        conninfo = conninfo or server.conninfo(application_name=f"bench_{slot}",
                                               **(words or {"sslmode": "disable"}))
        self.command = contender.command(self.directory, conninfo, slot, synchronous, endpos)
        self._env = {**{key: value for key, value in os.environ.items()
                        if not key.startswith("PG")}, **(env or {}), **contender.env}

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env,
                preexec_fn=die_with_parent(signal.SIGKILL))
        self.pid = self.process.pid
        return self

    def lag_error(self, server_end):
        """By how many MB the lag that it tells is wrong, if it tells one: the server's end and what is
        durable in the archive are known."""
        if self.contender.stock:
            return []
        status = subprocess.run([PGWEIR, "status", "--json", "-D", self.directory],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False, env=self._env)
        receiver = (json.loads(status.stdout or "{}")).get("receiver") or {}
        if "lag_bytes" not in receiver:
            return []
        durable = wal.lsn(receiver["flush_lsn"])
        return [abs(server_end - durable - receiver["lag_bytes"]) / 1e6]

    def to_the_end(self):
        """Waits until it ends by itself, at its end position."""
        cost = measure.finish(self.process)
        if cost["status"] != 0:
            raise AssertionError(f"{self.contender.name}: {self.log.read_text()}")
        cost["seconds"] = cost.pop("ended") - self.started
        return cost

    def wait_streaming(self, synchronous=False):
        states = "'sync', 'quorum'" if synchronous else "'sync', 'quorum', 'async', 'potential'"
        query = (f"SELECT count(*) FROM pg_stat_replication WHERE application_name ="
                 f" 'bench_{self.slot}' AND state = 'streaming' AND sync_state IN ({states})")

        def streams():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.contender.name}: {self.log.read_text()}")
            return self._server.sql(query) == "1"

        wait_for(streams, f"{self.contender.name} to stream")

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # The walsender has to be gone before the slot can go.
        wait_for(lambda: self._server.sql("SELECT count(*) FROM pg_stat_replication WHERE"
                                          f" application_name = 'bench_{self.slot}'") == "0",
                 "the walsender to end")
        self._server.sql(f"SELECT pg_drop_replication_slot('{self.slot}')")
        shutil.rmtree(self.directory)
