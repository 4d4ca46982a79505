"""An object store beside what people use instead, against one and the same Ceph gateway, in turns.

    scripts/bench store upload      segments sent: rclone copy, pgweir store push, and a bare loop (bare_upload.c)
    scripts/bench store upload_far  the same by a line of 1 Gbit/s and 100 ms
    scripts/bench store encrypt     the CPU time of encrypting beside that of compressing
    scripts/bench store recovery    a server recovers: local zstd, the store, and by lines of 20 and 100 ms
    scripts/bench store prefetched  one call of restore when a helper has the segment ready
    scripts/bench store receive     commits and catching up, without and with --store
    scripts/bench store together    commits without and with all at once: a relay with two clients that answer, and with
                                    two standbys, the store, the page
    scripts/bench store all

The gateway keeps its data in memory: --segments have to fit into --gigabytes, compressed, twice. Needs what scripts/setup
has unpacked into build/store; for the row of uploads rclone (apt-get install rclone). A machine that is not quiet: run
it by `chrt -r 1`, so that all that takes part goes before what else runs there."""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import contenders
import measure
import report
import restore
import rows
from support.gateway import Gateway, installed
from support.process import die_with_parent, run, wait_for
from support.server import Server, free_port

SLOW_NETWORK = pathlib.Path(__file__).parent / "slow_network.py"
ROWS = ["upload", "upload_far", "encrypt", "recovery", "prefetched", "receive", "together"]


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*ROWS, "all"])
    parser.add_argument("--binary", default=contenders.PGWEIR, type=pathlib.Path)
    parser.add_argument("--place", type=pathlib.Path, help="as for scripts/bench restore")
    parser.add_argument("--segments", type=int, default=84, help="of WAL, 16 MB each; made once in --place")
    parser.add_argument("--checkpoints", action="store_true", help="as for scripts/bench restore")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4, help="transfers at once")
    parser.add_argument("--seconds", type=int, default=5, help="of commits in each round")
    parser.add_argument("--megabytes", type=int, default=512, help="of WAL to catch up with")
    parser.add_argument("--gigabytes", type=int, default=4, help="of the gateway's memory")
    parser.add_argument("--only", help="contenders whose names match this expression, and the first")
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    if not options.binary.exists():
        sys.exit(f"no {options.binary}: cmake --preset release && cmake --build --preset release")
    if not installed("radosgw"):
        sys.exit("no gateway in build/store: scripts/setup")
    place = options.place or pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-"))
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    gateway = Gateway(options.gigabytes)
    figures = {}
    try:
        gateway.start()
        bench = StoreBench(place.resolve(), options, gateway)
        for what in ROWS:
            if options.what not in (what, "all"):
                continue
            made = getattr(bench, what)()
            for name, table in (made.items() if isinstance(made, dict) else [(what, made)]):
                print(f"\n### {name}\n\n{table if isinstance(table, str) else table.markdown()}", flush=True)
                figures[name] = table if isinstance(table, str) else table.figures()
    finally:
        gateway.stop()
        if options.place is None:
            shutil.rmtree(place, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


class StoreContender(contenders.Contender):
    """`receive --store`, each run into a place of its own: what is there already is not sent again."""

    def __init__(self, name, words, keys, *options):
        super().__init__(name, False, *options)
        self._words, self.env = words, keys

    def command(self, *arguments, **more):
        return [*super().command(*arguments, **more), *self._words(f"r{time.monotonic_ns()}"), "--store-name", "main"]


class Together(StoreContender):
    """... `--serve` and `--web-listen`, with somebody below the relay: two clients that throw WAL away and answer, or two
    standbys."""

    def __init__(self, name, words, keys, bench, standbys):
        super().__init__(name, words, keys)
        self._bench, self._standbys, self._port = bench, standbys, None

    def command(self, *arguments, **more):
        self._port = free_port()
        rules = self._bench.place / "rules"
        rules.write_text("host replication all 127.0.0.1/32 trust\n")
        return [*super().command(*arguments, **more), f"--serve={self._port}", f"--serve-hba={rules}",
                f"--web-listen={free_port()}"]

    @contextlib.contextmanager
    def company(self, server):
        with (self._two_standbys if self._standbys else self._two_clients)(server):
            yield

    @contextlib.contextmanager
    def _two_clients(self, server):
        program = self._bench.once("swallow", lambda: rows.build_program(self._bench, "swallow", "-pthread", "-lssl", "-lcrypto"))
        begin = server.flushed() // server.segment_size * server.segment_size
        with subprocess.Popen([str(word) for word in (program, self._port, "postgres", 2, 1, rows.wal.lsn_text(begin), 0,
                                                      "answers")],
                              stdout=subprocess.PIPE, preexec_fn=die_with_parent(signal.SIGKILL)) as clients:
            try:
                assert clients.stdout.readline() == b"streaming\n"
                yield
            finally:
                clients.kill()

    @contextlib.contextmanager
    def _two_standbys(self, server):
        """What they missed they get from the server itself: the archive is a new one."""
        standbys = self._bench.once("standbys", lambda: self._make_standbys(server))
        try:
            for standby in standbys:
                standby.follow(server)
                standby.start()
                standby.replayed(server.flushed())
                standby.conf(primary_conninfo=f"host=127.0.0.1 port={self._port} user=postgres")
                standby.reload()
                wait_for(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE sender_port = "  # pylint: disable=cell-var-from-loop
                                             f"{self._port} AND status = 'streaming'") == "1", "the standby to move")
                standby.replayed(server.flushed())
            yield
        finally:
            for standby in standbys:
                standby.stop("immediate")

    def _make_standbys(self, server):
        made = [Server(self._bench.place, f"below{number}").copy_of(server, fsync="on") for number in range(2)]
        self._bench.servers.extend(made)
        return made


class StoreBench(restore.Bench):
    def __init__(self, place, options, gateway):
        super().__init__(place, options)
        for module in options.binary.resolve().parent.glob("libpgweir-*"):
            shutil.copy(module, place)
        self.bucket, self.gateway = gateway.bucket(), gateway
        for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
            del os.environ[name]  # of whoever runs this
        self.env = {**os.environ, **gateway.keys, "AWS_EC2_METADATA_DISABLED": "true"}
        self._runs = 0

    @contextlib.contextmanager
    def far(self, delay_ms, line_mbs):
        """URL of the gateway at the other end of a line: milliseconds in each direction, MB/s."""
        line = subprocess.Popen([sys.executable, str(SLOW_NETWORK), "0", str(self.gateway.port), str(delay_ms),
                                 str(line_mbs)], stdout=subprocess.PIPE, text=True)
        try:
            yield f"http://127.0.0.1:{line.stdout.readline().strip()}"
        finally:
            line.kill()
            line.wait()

    def words(self, prefix, url=None):
        return ["--store", f"s3://{self.bucket.name}/{prefix}", "--store-endpoint", url or self.gateway.url]

    def fresh(self):
        self._runs += 1
        return f"u{self._runs}"

    def push_command(self, prefix, directory, *more, url=None):
        return [self.binary, "store", "push", "-D", directory, *self.words(prefix, url), "--store-name", "main",
                "--store-jobs", self.options.jobs, *more]

    def measured(self, command):
        """Seconds, and of the processor."""
        began = time.monotonic()
        with subprocess.Popen([str(word) for word in command], env=self.env, stdout=subprocess.DEVNULL) as process:
            cost = measure.finish(process)
        if cost["status"] != 0:
            sys.exit(f"status {cost['status']}: {command}")
        return cost["ended"] - began, cost["cpu_s"]

    def forget(self, prefix, *directories):
        """The gateway's memory, and what the archives know of it."""
        keys = self.bucket.keys(prefix + "/")
        for key in keys:
            self.bucket.remove(key)
        for directory in directories:
            for name in (".pgweir-store", ".pgweir-store.lock"):
                (directory / name).unlink(missing_ok=True)

    def archive(self):
        """What is sent: a directory without anything else in it."""
        self.make_wal()
        archive = self.place / "archive"
        if not archive.exists():
            archive.mkdir()
            for name in self.names():
                shutil.copy(self.zst / f"{name}.zst", archive)
        return archive

    # The rows

    def upload(self, url=None):
        archive = self.archive()
        megabytes = sum(path.stat().st_size for path in archive.glob("*.zst")) / 1e6
        bucket = (f":s3,provider=Ceph,env_auth=true,endpoint='{url or self.gateway.url}',no_check_bucket=true:"
                  f"{self.bucket.name}")
        turns = {"pgweir store push": lambda prefix: self.push_command(prefix, archive, url=url)}
        if shutil.which("rclone"):
            turns = {"rclone copy": lambda prefix: [
                "rclone", "copy", "--include", "*.zst", "--transfers", self.options.jobs, "--config", "/dev/null", archive,
                f"{bucket}/{prefix}"], **turns}
        else:
            print("rclone is not installed (apt-get install rclone): only pgweir is measured", file=sys.stderr)
        bare = rows.build_program(self, "bare_upload", "-lcrypto", "-lzstd")
        turns["the digests, decompression, and sendfile to nobody"] = lambda _: [bare, *sorted(archive.glob("*.zst"))]
        table = restore.Table("MB/s", extra=["CPU, s", "segments"])
        for name, command in self.turns(turns):
            prefix = self.fresh()
            spent, cpu = self.measured(command(prefix))
            there = len([key for key in self.bucket.keys(prefix + "/") if key.endswith(".zst")])
            table.add(name, megabytes / spent, **{"CPU, s": cpu, "segments": there})
            self.forget(prefix, archive)
        return table

    def encrypt(self):
        """What is sent, plain and encrypted, and what compressing costs that comes before it."""
        archive = self.archive()
        key = self.place / "age.key"
        key.unlink(missing_ok=True)
        run(["age-keygen", "-o", key])
        recipient = run(["age-keygen", "-y", key]).stdout.strip()

        def compress(_):
            raw = self.place / "compressed"
            shutil.rmtree(raw, ignore_errors=True)
            shutil.copytree(self.raw, raw)
            return [self.binary, "compress", "-D", raw]

        bare = rows.build_program(self, "bare_upload", "-lcrypto", "-lzstd")
        turns = {"pgweir compress": compress,
                 "SHA-256 of the WAL": lambda _: [bare, "--digest", *(self.raw / name for name in self.names())],
                 "pgweir store push": lambda prefix: self.push_command(prefix, archive),
                 "pgweir store push, encrypted": lambda prefix: self.push_command(prefix, archive, "--encrypt-to", recipient)}
        table = restore.Table("CPU s")
        for name, command in self.turns(turns):
            prefix = self.fresh()
            table.add(name, self.measured(command(prefix))[1])
            self.forget(prefix, archive)
        print("(encryption costs what both pushes differ by; the goal is 0.1 of compressing)", file=sys.stderr)
        return table

    def filled(self):
        """The place of the store that has the WAL as it is here."""
        self.make_wal()
        prefix = "kept"
        if not self.bucket.keys(prefix + "/"):
            self.measured(self.push_command(prefix, self.zst))
            self.forget("nothing", self.zst)
        return prefix

    def upload_far(self):
        """By a line of 1 Gbit/s and 100 ms there and back."""
        with self.far(50, 125) as url:
            return self.upload(url)

    def recovery(self):
        prefix = self.filled()
        keys = self.place / "keys"
        keys.write_text(f"[default]\naws_access_key_id = {self.gateway.key}\n"
                        f"aws_secret_access_key = {self.gateway.secret}\n")
        keys.chmod(0o600)
        self.give(keys)

        def stored(url=None):
            words = [*self.words(prefix, url), "--store-name", "main", "--store-credentials", str(keys)]
            return f"{self.binary} restore {' '.join(words)} %f %p"

        with self.far(10, 1000) as near, self.far(50, 125) as far:
            turns = {"pgweir, local zstd": f"{self.binary} restore -D {self.zst} %f %p",
                     "pgweir, the store": stored(), "pgweir, the store, 20 ms away": stored(near),
                     "pgweir, the store, 1 Gbit/s and 100 ms": stored(far)}
            table = restore.Table("s", extra=["CPU of redo, s"])
            for name, command in self.turns(turns):
                elapsed, cpu = self.recover(command)
                table.add(name, elapsed, **{"CPU of redo, s": cpu})
        return table

    def prefetched(self):
        prefix = self.filled()
        os.environ.update(self.gateway.keys)
        target = f"{self.out()}/RECOVERYXLOG"
        words = " ".join([*self.words(prefix), "--store-name", "main"])
        turns = {"pgweir, local zstd, prefetched": f"{self.binary} restore -D {self.zst} --prefetch 4 $s {target}",
                 "pgweir, the store, prefetched": f"{self.binary} restore {words} --prefetch 8 $s {target}"}
        # The first ones come before the helper has any: what they cost is told apart.
        table = restore.Table("ms", extra=["first eight, ms"])
        for name, command in self.turns(turns):
            spent = [each * 1e3 for each in self.times(command, self.names(), target, pause=0.08)]
            table.add(name, statistics.median(spent), **{"first eight, ms": sum(spent[:8]) / 8})
        return table

    def together(self):
        self.gateway.step_back()
        bench = rows.Bench(self.options.rounds, self.options.seconds, self.options.megabytes,
                           lambda text: print(text, file=sys.stderr, flush=True))
        both = [contenders.PGWEIR_RAW,
                *(Together(f"pgweir --store --web --serve, {below}", self.words, self.gateway.keys, bench, standbys)
                  for below, standbys in (("2 that answer", False), ("2 standbys", True)))]
        try:
            return {f"together, {clients}": report.markdown("together", f"Synchronous commits, {clients} clients",
                                                            list(rows.commits(bench, both, clients)))
                    for clients in (1, 8, 32)}
        finally:
            for server in bench.servers:
                if server.running():
                    server.stop("immediate")
            shutil.rmtree(bench.place)

    def receive(self):
        """Their peaks of memory are in the tables, too. The gateway would be another machine: it gets what is left of
        this one."""
        self.gateway.step_back()
        bench = rows.Bench(self.options.rounds, self.options.seconds, self.options.megabytes,
                           lambda text: print(text, file=sys.stderr, flush=True))
        both = [contenders.PGWEIR_ZSTD,
                StoreContender("pgweir zstd:1 --store", self.words, self.gateway.keys, "--compress=zstd:1")]
        tables = {}
        try:
            for name, title, rounds in (
                    ("commits", "Synchronous commits, 8 clients", lambda: rows.commits(bench, both, 8)),
                    ("catch-up", "Catch-up into a compressed archive",
                     lambda: rows.catch_up(bench, both, "compressible", bench.megabytes))):
                tables[f"receive, {name}"] = report.markdown(name, title, list(rounds()))
        finally:
            for server in bench.servers:
                if server.running():
                    server.stop("immediate")
            shutil.rmtree(bench.place)
        return tables
