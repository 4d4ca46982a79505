"""The relay beside a primary's walsenders and a cascading standby, in turns.

    scripts/bench serve [--rounds N] [--megabytes N] [--clients N] [--commits N] [--seconds N]
                        [--beside PGWEIR]... ROW...

Rows:
  raw      clients that start together at the same place, old WAL, archive raw
  zst      the same from zstd
  one      a single client, raw and zstd
  tls      the same as raw, encrypted
  visible  commit to visible on a standby: directly below the primary, and through one relay
  commits  synchronous commits, with 4 clients and with 4 standbys below the synchronous relay, and without;
           and the same below a synchronous standby: commits, and CPU of the synchronous member for each
  idle     CPU and memory with 10 clients that get nothing
Clients throw the WAL away (tests/bench/swallow.c), but for the standbys. The bare loop is the floor: it sends them
the same 128 kB again and again (tests/bench/bare_sender.c); from zst there is one that unpacks, too. `--beside`: another build of pgweir
takes part in raw, zst, one, tls and visible."""

import argparse
import contextlib
import functools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import measure
import workload
from contenders import PGWEIR
from support import wal
from support.process import die_with_parent, run, wait_for
from support.relay import Client
from support.server import Server, free_port

SEGMENT = 16 << 20
ROWS = ("raw", "zst", "one", "tls", "visible", "commits", "idle")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=[*ROWS, "all"], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="of old WAL for each client")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--commits", type=int, default=100, help="to be seen on each standby, in each round")
    parser.add_argument("--seconds", type=int, default=2, help="of synchronous commits, for each in each round")
    parser.add_argument("--idle", type=int, default=20, help="seconds for each")
    parser.add_argument("--beside", type=pathlib.Path, action="append", default=[])
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-"))
    os.chmod(place, 0o755)
    with Tree(place, options) as tree:
        for row in ROWS if "all" in options.rows else options.rows:
            getattr(tree, row)()
    return 0


class Tree:
    """A primary, an archive of all its WAL, a cascading standby, and relays as they are needed."""

    def __init__(self, place, options):
        self.place, self.options = place, options
        self._servers, self._processes, self._archives = [], [], {}
        self.figures = {}  # of old WAL: {(form, clients, tls): {sender: [(GiB/s, CPU s for each GiB)]}}
        self._builds = {"relay": PGWEIR, **{f"relay of {path.name}": path for path in options.beside}}

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._processes:
            self._end(process)
        for server in reversed(self._servers):
            if server.running():
                server.stop("immediate")
        shutil.rmtree(self.place)

    def _begin(self):
        self.swallow, self.bare_sender = self.place / "swallow", self.place / "bare_sender"
        for program in (self.swallow, self.bare_sender):
            source = pathlib.Path(__file__).with_name(program.name + ".c")
            run(["cc", "-O2", "-Wall", "-pthread", "-o", program, source, "-lssl", "-lcrypto", "-lzstd"])
        self.primary = self._server("primary").initdb(max_wal_size="20GB", checkpoint_timeout="1h",
                                                      wal_keep_size="20GB", shared_buffers="256MB",
                                                      fsync="on", wal_sender_timeout="0")
        self.primary.start()
        self.primary.sql("CREATE TABLE seen (id int PRIMARY KEY); CREATE TABLE filling (a int, b text);"
                         " CREATE TABLE commits (n bigint, data text)")
        self.primary.script = self.primary.home / "commit.sql"
        self.primary.script.write_text("INSERT INTO commits VALUES (:client_id, '');\n")
        self.standby = self._server("standby").copy_of(self.primary, wal_keep_size="20GB", fsync="on")
        self.standby.start()
        self.begin = self.primary.switch_wal() // SEGMENT * SEGMENT + SEGMENT
        rows = self.options.megabytes * 9000
        self.primary.sql(f"INSERT INTO filling SELECT n, md5(n::text) FROM generate_series(1, {rows}) n",
                         timeout=300)
        self.primary.sql("SELECT pg_switch_wal(); CHECKPOINT")
        self.end = self.primary.flushed() // SEGMENT * SEGMENT
        self.megabytes = min(self.options.megabytes, (self.end - self.begin >> 20) - 1)
        self.standby.replayed(self.end, 300)

    def _server(self, name):
        server = Server(self.place, name)
        self._servers.append(server)
        return server

    def _archive(self, form):
        if form in self._archives:
            return self._archives[form]
        archive = self._archives[form] = self.place / form
        archive.mkdir()
        first, last = self.begin // SEGMENT, (self.end - 1) // SEGMENT
        for segno in range(first, last + 1):
            name = wal.segment_name(1, segno, SEGMENT)
            shutil.copyfile(self.primary.pg_wal(name), archive / name)
        if form == "zst":
            run([PGWEIR, "compress", "-D", archive], timeout=300)
        return archive

    def _start(self, words, log):
        with open(self.place / log, "ab") as output:
            process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output,
                                       preexec_fn=die_with_parent(signal.SIGKILL))
        self._processes.append(process)
        return process

    @staticmethod
    def _end(process):
        if process.poll() is None:
            process.terminate()
            process.wait(30)

    def _access(self, tls=False):
        rules = self.place / "rules"
        rules.write_text("host replication all 127.0.0.1/32 trust\n")
        words = ["--serve-hba", rules]
        if tls:
            words += ["--serve-tls-cert", self._certificate(), "--serve-tls-key", self.place / "server.key"]
        return words

    def _certificate(self):
        certificate, key = self.place / "server.crt", self.place / "server.key"
        if not certificate.exists():
            run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
                 "-days", "2", "-keyout", key, "-out", certificate])
        return certificate

    @contextlib.contextmanager
    def _relay(self, archive, build=PGWEIR, tls=False):
        """`pgweir serve`: the process and its port."""
        port = free_port()
        process = self._start([build, "serve", "-q", "-D", archive, "--listen", port, *self._access(tls)],
                              f"{archive.name}.log")
        self._answers(port, self.place / f"{archive.name}.log")
        try:
            yield process, port
        finally:
            self._end(process)

    @contextlib.contextmanager
    def _receiver(self, name, build=PGWEIR):
        """`pgweir receive --serve` of the primary, and its port."""
        archive = self.place / f"received-{name}-{time.monotonic_ns()}"
        archive.mkdir()
        port = free_port()
        self.primary.sql(f"SELECT pg_create_physical_replication_slot('{name}', true)")
        conninfo = self.primary.conninfo(application_name=name)
        process = self._start([build, "receive", "-q", "-D", archive, "-d", conninfo, "-S", name, "--serve",
                               port, *self._access()], "receive.log")
        self._answers(port, self.place / "receive.log")
        try:
            yield process, port
        finally:
            self._end(process)
            wait_for(lambda: self.primary.sql("SELECT NOT active FROM pg_replication_slots WHERE slot_name ="
                                              f" '{name}'") == "t", "the slot to be left")
            self.primary.sql(f"SELECT pg_drop_replication_slot('{name}')")

    @staticmethod
    def _answers(port, log):
        def connects():
            try:
                client = Client(port)
                client.close()
                return client.greeting[-1][0] == b"Z"
            except (OSError, EOFError):
                return False
        try:
            wait_for(connects, "the relay to answer")
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text()}") from error

    @contextlib.contextmanager
    def _clients(self, port, count, start=None, *more):
        """Clients that stream from the segment of the newest WAL, or from `start` on, on and on."""
        clients = subprocess.Popen([str(word) for word in
                                    (self.swallow, port, "postgres", count, 1,
                                     wal.lsn_text((start or self.primary.flushed()) // SEGMENT * SEGMENT), 0,
                                     *more)],
                                   stdout=subprocess.PIPE, preexec_fn=die_with_parent(signal.SIGKILL))
        self._processes.append(clients)
        assert clients.stdout.readline() == b"streaming\n"
        try:
            yield
        finally:
            clients.kill()
            clients.wait()

    def _bare_sender(self, *unpacks):
        port = free_port()
        process = self._start([self.bare_sender, port, *unpacks], "bare.log")

        def listens():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return True
            except OSError:
                return False
        wait_for(listens, "the bare sender to listen")
        return process, port

    # --- Old WAL

    def raw(self):
        self._old_wal("raw", self.options.clients)

    def zst(self):
        self._old_wal("zst", self.options.clients)

    def one(self):
        self._old_wal("raw", 1)
        self._old_wal("zst", 1)

    def tls(self):
        for server in (self.primary, self.standby):
            for file in (self._certificate(), self.place / "server.key"):
                run(["cp", file, server.data])
                run(["chown", f"--reference={server.data}", server.data / file.name])
            run(["chmod", "600", server.data / "server.key"])
            server.conf(ssl="on")
            server.reload()
            wait_for(lambda: server.sql("SHOW ssl") == "on", "TLS")  # pylint: disable=cell-var-from-loop
        self._old_wal("raw", self.options.clients, "tls")

    def _old_wal(self, form, clients, tls=""):
        """Rate of all clients together, and CPU of who sends, for each GiB that was sent."""
        with contextlib.ExitStack() as stack:
            senders = {
                "primary": (self.primary.port, lambda: measure.server_cpu_seconds(self.primary)),
                "cascading standby": (self.standby.port, lambda: measure.server_cpu_seconds(self.standby)),
            }
            for name, build in self._builds.items():
                process, port = stack.enter_context(self._relay(self._archive(form), build, bool(tls)))
                senders[name] = (port, lambda pid=process.pid: measure.cpu_seconds(pid))
            if not tls:
                bare, port = self._bare_sender()
                stack.callback(self._end, bare)
                senders["bare loop"] = (port, lambda: measure.cpu_seconds(bare.pid))
            if form == "zst":
                files = sorted(self._archive(form).glob("0*.zst"))
                unpacks, port = self._bare_sender(clients, *files)
                stack.callback(self._end, unpacks)
                senders["bare loop that unpacks"] = (port, lambda: measure.cpu_seconds(unpacks.pid))
            found = {name: [] for name in senders}
            gib = clients * self.megabytes / 1024
            for number in range(self.options.rounds + 1):
                shift = number % len(senders)
                for name in [*senders][shift:] + [*senders][:shift]:
                    port, cpu = senders[name]
                    before = cpu()
                    result = run([self.swallow, port, "postgres", clients, 1, wal.lsn_text(self.begin),
                                  self.megabytes, *filter(None, [tls])], timeout=300)
                    time.sleep(0.1)  # walsenders end, and their times are added to the postmaster's
                    if number > 0:  # the first one fills the page cache
                        found[name].append((gib / float(result.stdout), (cpu() - before) / gib))
        print(f"\n{clients} client{'s' * (clients != 1)}, {self.megabytes} MB of old WAL each, {form}{', TLS' if tls else ''}:\n\n"
              "| | GiB/s | × primary | CPU s for each GiB | × primary |\n|---|---|---|---|---|")
        base = found["primary"]
        self.figures[form, clients, tls] = found
        for name, rounds in found.items():
            rate, cpu = (measure.median([each[at] for each in rounds]) for at in (0, 1))
            ratios = [measure.median([each[at] / other[at] if other[at] else 0
                                      for each, other in zip(rounds, base)]) for at in (0, 1)]
            print(f"| {name} | {rate:.2f} | {ratios[0]:.2f} | {cpu:.3f} | {ratios[1]:.2f} |", flush=True)

    # --- New WAL

    def visible(self):
        """One and the same standby in turns below the primary and below each relay, with nobody else."""
        trees = {"standby below the primary": contextlib.nullcontext}
        for number, (name, build) in enumerate(self._builds.items()):
            trees[f"standby below the {name}"] = functools.partial(self._receiver, f"visible{number}", build)
        times = {name: [] for name in trees}
        syncs = []
        number = int(self.primary.sql("SELECT coalesce(max(id), 0) FROM seen"))
        writer, reader = Session(self.primary.port), Session(self.standby.port)
        for turn in range(self.options.rounds):
            for name in [*trees][turn % len(trees):] + [*trees][:turn % len(trees)]:
                with trees[name]() as relay:
                    self._move(self.standby, relay[1] if relay else self.primary.port)
                    for _ in range(self.options.commits):
                        number += 1
                        begin = time.monotonic()
                        writer.run(f"INSERT INTO seen VALUES ({number})")
                        while not reader.run(f"SELECT 1 FROM seen WHERE id = {number}"):
                            time.sleep(0.00002)  # else who looks takes a processor from those who work
                        times[name].append((time.monotonic() - begin) * 1000)
                        time.sleep(0.002)
                    self._move(self.standby, self.primary.port)
                syncs += self._sync_times()
        print(f"\nA sync: {measure.median(syncs):.3f} ms.")
        print("\nCommit to visible, ms:\n\n| | median | p95 | × | × |\n|---|---|---|---|---|")
        base = None
        for name, values in times.items():
            values.sort()
            both = measure.median(values), measure.percentile(values, 0.95)
            base = base or both
            print(f"| {name} | {both[0]:.2f} | {both[1]:.2f} | {both[0] / base[0]:.2f} | {both[1] / base[1]:.2f} |",
                  flush=True)

    @contextlib.contextmanager
    def _below(self, port, name):
        """A standby of whoever listens there, current."""
        server = self._server(name).copy_of(self.primary, fsync="on")
        self._attach(server, port)
        try:
            yield server
        finally:
            server.stop("immediate")

    def _attach(self, server, port):
        server.conf(primary_conninfo=f"host=127.0.0.1 port={port} user=postgres application_name={server.name}")
        server.start()
        server.replayed(self.primary.flushed())

    def _sync_times(self):
        """Of a small write on the same disk, ms."""
        times = []
        with open(self.place / "syncs", "wb", buffering=0) as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
            for number in range(50):
                begin = time.monotonic()
                os.pwrite(file.fileno(), bytes([number]) * 8192, 8192 * number)
                os.fdatasync(file.fileno())
                times.append((time.monotonic() - begin) * 1000)
        return times

    def _move(self, standby, port):
        """A standby that runs to another upstream."""
        standby.conf(primary_conninfo=f"host=127.0.0.1 port={port} user=postgres application_name={standby.name}")
        standby.reload()
        wait_for(lambda: standby.sql(f"SELECT count(*) FROM pg_stat_wal_receiver WHERE sender_port = {port}"
                                     " AND status = 'streaming'") == "1", "the standby to have moved")
        standby.replayed(self.primary.flushed())

    def commits(self):
        """Of one tree after the other, each with and without others below its synchronous member."""
        with self._receiver("relay") as (relay, port):
            cpu = {"relay": lambda: measure.cpu_seconds(relay.pid),
                   "standby": lambda: measure.server_cpu_seconds(self.standby)}
            standbys = [self._server(f"below-commits{number}").copy_of(self.primary, fsync="on")
                        for number in range(4)]
            members = {"relay": port, "standby": self.standby.port}
            found = {}
            for _ in range(self.options.rounds):
                for member, port in members.items():
                    self.primary.conf(synchronous_standby_names=member)
                    self.primary.reload()
                    wait_for(lambda: self.primary.sql("SELECT sync_state FROM pg_stat_replication WHERE"  # pylint: disable=cell-var-from-loop
                                                      f" application_name = '{member}'") == "sync", "the member")
                    found.setdefault((member, "alone"), []).append(self._commits_a_second(cpu[member]))
                    with self._clients(port, 4):
                        found.setdefault((member, "4 clients"), []).append(self._commits_a_second(cpu[member]))
                    with self._clients(port, 4, None, "answers"):
                        found.setdefault((member, "4 clients that answer"), []).append(
                            self._commits_a_second(cpu[member]))
                    for server in standbys:
                        self._attach(server, port)
                    found.setdefault((member, "4 standbys"), []).append(self._commits_a_second(cpu[member]))
                    for server in standbys:
                        server.stop("fast")
            self.primary.conf(synchronous_standby_names="")
            self.primary.reload()
        print(f"\nSynchronous commits a second, {self.options.clients} clients of the primary:\n\n"
              "| synchronous | below it | commits/s | × alone | CPU µs for each |\n|---|---|---|---|---|")
        for (member, below), rounds in found.items():
            alone = found[member, "alone"]
            ratio = measure.median([each[0] / other[0] for each, other in zip(rounds, alone)])
            rate, spent = (measure.median([each[at] for each in rounds]) for at in (0, 1))
            print(f"| {member} | {below} | {rate:.0f} | {ratio:.2f} | {spent:.0f} |", flush=True)

    def _commits_a_second(self, cpu):
        """And µs of `cpu` for each of them."""
        before = cpu()
        found = workload.commits(self.primary, self.options.clients, self.options.seconds)
        return found["tps"], (cpu() - before) * 1e6 / found["commits"]

    # --- Nothing

    def idle(self):
        print(f"\nIdle, 10 clients, {self.options.idle} s:\n\n| | CPU ms/s | PSS MB |\n|---|---|---|", flush=True)
        with self._receiver("idle") as (receiver, receiver_port), self._relay(self._archive("raw")) as (alone, port):
            for name, port, cpu, pids in (
                    ("cascading standby", self.standby.port,
                     lambda: measure.server_cpu_seconds(self.standby),
                     lambda: [self.standby.process.pid, *measure.children(self.standby.process.pid)]),
                    ("receive --serve", receiver_port, lambda: measure.cpu_seconds(receiver.pid),
                     lambda: [receiver.pid]),
                    ("serve", port, lambda: measure.cpu_seconds(alone.pid), lambda: [alone.pid])):
                with self._clients(port, 10, self.end - SEGMENT if name == "serve" else None):
                    time.sleep(2)
                    before = cpu()
                    time.sleep(self.options.idle)
                    used = (cpu() - before) / self.options.idle * 1000
                    memory = sum(measure.memory_kb(pid)["pss_kb"] for pid in pids()) / 1024
                    print(f"| {name} | {used:.2f} | {memory:.1f} |", flush=True)


class Session(Client):
    """An ordinary one."""

    def __init__(self, port):
        super().__init__(port, replication="false", database="postgres")

    def run(self, text):
        """How many rows it gave."""
        heard = self.query(text)
        assert not any(kind == b"E" for kind, _ in heard), heard
        return sum(kind == b"D" for kind, _ in heard)
