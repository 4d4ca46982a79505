"""A primary, a standby, a receiver on each, a load, and whatever may happen to them, at random.

At the end every finished segment of every timeline has to be the servers' own, byte by byte, with
nothing missing; and at every kill of a receiver what it had acknowledged has to be in the archive.
With `steady` there is a third receiver that nobody ends: it lives through the whole round, whatever
becomes of the servers, and its memory, file descriptors and threads have to stay what they were.
With a gateway there is a fourth, with a store and a disk of its own (torture_store.py). scripts/soak runs it for as long as one likes, test_torture.py for a moment."""

import os
import pathlib
import random
import subprocess
import threading
import time

from . import wal
from .archive import Archive
from .process import wait_for
from .receiver import Receiver, receive_command
from .server import DEBIAN_MAJOR, Server


class Torture:
    def __init__(self, place, seed, segment_mb=1, options=(), slots=True, synchronous=False,
                 major=DEBIAN_MAJOR, say=print, steady=False, more=()):
        """`more`: functions that return another Station of this Torture."""
        self.place = pathlib.Path(place)
        self.random = random.Random(seed)
        self.segment_mb = segment_mb
        self.options = list(options)
        self.slots = slots
        self.synchronous = synchronous
        self.synchronous_since = 0
        self.major = major
        self.say = say
        self.servers = []
        self.stations = []
        self.steady = Steady(self) if steady else None
        self.more = [make(self) for make in more]
        self.load = None
        self.client = None
        self.begun = time.monotonic()

    # The stage

    def set_up(self):
        self.primary = self._server("primary0")
        self.primary.initdb(**self._settings())
        self.primary.start()
        self.primary.pgbench_init()
        self.primary.sql("CREATE TABLE numbers (n bigint)")
        self.standby = self._new_standby()
        self.stations = [Station(self, "by-primary", self.primary),
                         Station(self, "by-standby", self.standby)]
        for station in self._all_stations():
            station.start()
        if self.synchronous:
            self._make_synchronous()
        self.client = Client(self)
        self.client.start()
        self._start_load()

    def run(self, seconds):
        """Returns how many things happened."""
        actions = [(self.kill_receiver, 6), (self.stop_receiver, 4), (self.rush_receiver, 2),
                   (self.restart_server, 4), (self.write, 4), (self.switch, 3), (self.rest, 3),
                   (self.fail_over, 2), (self.swap, 1), (self.pause_receiver, 1),
                   (self.end_walsender, 2)]
        for station in self.more:
            actions += station.actions()
        count = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            action = self.random.choices([each for each, _ in actions],
                                         [weight for _, weight in actions])[0]
            self.note(action.__name__)
            action()
            self._start_load()
            for station in self._all_stations():
                station.assert_well()
            count += 1
        return count

    def _all_stations(self):
        return [*self._mortal(), *([self.steady] if self.steady else [])]

    def _mortal(self):
        return [*self.stations, *self.more]

    def finish(self):
        """The end of all trouble: everything has to arrive. Then the comparison."""
        self.note("finish")
        self.client.stop()
        self._stop_load()
        for server in (self.primary, self.standby):
            if not server.running():
                server.start()
        for station in self._mortal():
            if not station.receiver.running():
                station.start()
        end = self.primary.write_wal(self.segment_mb)
        self.primary.switch_wal()  # with --flush segment nothing is reported before its end
        self.standby.caught_up_with(end)
        timeline = newest_timeline(self.primary)
        compared = 0
        for station in self._all_stations():
            wait_for(lambda: station.assert_well() or station.reported(end),
                     f"{station.name} to report {wal.lsn_text(end)}")
            station.finish()
            station.receiver.stop()
            station.archive.wait_covers(self.primary, timeline, end)
        for station in self._all_stations():
            compared += station.compare(timeline, end)
        return compared

    def tear_down(self):
        if self.client:
            self.client.stop()
        self._stop_load()
        if self.steady:
            self.steady.end.set()
        for station in self._all_stations():
            if station.receiver and station.receiver.running():
                station.receiver.kill9()
        for server in reversed(self.servers):
            if server.running():
                server.kill9()
        for station in self.more:
            station.tear_down()

    def note(self, what):
        self.say(f"{time.monotonic() - self.begun:7.1f} {what}")

    # What may happen

    def kill_receiver(self):
        station = self.random.choice(self._mortal())
        self.rest(0.5)
        station.kill()
        self.rest(0.3)
        station.start()

    def stop_receiver(self):
        station = self.random.choice(self._mortal())
        self.rest(0.5)
        station.stop()
        station.start()

    def rush_receiver(self):
        """Killed again and again before it has found its feet."""
        station = self.random.choice(self._mortal())
        for _ in range(self.random.randint(2, 6)):
            station.kill()
            station.start()
            time.sleep(self.random.uniform(0, 0.15))

    def pause_receiver(self):
        station = self.random.choice(self._mortal())
        station.receiver.pause()
        self.rest(2)
        station.receiver.resume()

    def restart_server(self):
        server = self.random.choice([self.primary, self.standby])
        how = self.random.choice(["immediate", "immediate", "kill -9", "fast"])
        self.note(f"  {server.name} {how}")
        if how == "kill -9":
            server.kill9()
        else:
            server.stop(how)
        self.rest(0.5)
        server.start()

    def end_walsender(self):
        server = self.random.choice([self.primary, self.standby])
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication", check=False)

    def write(self):
        self._primary_sql("CREATE TABLE IF NOT EXISTS filling (data text);"
                          " ALTER TABLE filling ALTER data SET STORAGE EXTERNAL;"
                          " INSERT INTO filling SELECT repeat(md5(random()::text || i), 2000)"
                          f" FROM generate_series(1, {self.random.randint(1, 100)}) i")

    def switch(self):
        self._primary_sql("SELECT pg_switch_wal()")

    def rest(self, most=1.0):
        time.sleep(self.random.uniform(0, most))

    def fail_over(self):
        """The primary is lost, the standby takes over, a new standby is built."""
        old, new = self.primary, self.standby
        wait_for(lambda: new.sql("SELECT pg_last_wal_replay_lsn()"), "the standby to be one")
        how = self.random.choice(["immediate", "fast", "kill -9", "after"])
        self.note(f"  {old.name} {how}, {new.name} takes over")
        if how == "kill -9":
            old.kill9()
        elif how != "after":
            old.stop(how)
        self.synchronous_since += 1
        new.promote()
        old.stop("immediate")
        self._stop_load()
        self.primary = new
        self.rest()
        # A server that is built now lacks what is older than now: who is behind that has lost it.
        end = new.switch_wal()
        end -= end % new.segment_size
        for station in self._all_stations():
            if new.port not in station.ports:
                station.move_to(new)
            wait_for(lambda: station.assert_well() or station.reported(end),
                     f"{station.name} to follow")
        # Where the two connection strings of the steady one lead to has to stay the same.
        self.standby = self._new_standby(old.port if self.steady else None)
        for station, server in zip(self.stations, (self.primary, self.standby)):
            # The one that followed the standby may go on with it, now a primary, for a while.
            if (not station.upstream.running() or self.random.random() < 0.5
                    or self.synchronous and server is self.primary):
                station.move_to(server)
        if self.synchronous:
            self._make_synchronous()

    def swap(self):
        if self.synchronous:
            return  # the one that commits wait for has to stay with the primary
        first, second = self.stations
        there, here = first.upstream, second.upstream
        first.move_to(here)
        second.move_to(there)

    # Props

    def _settings(self):
        return {"wal_sender_timeout": "5s", "checkpoint_timeout": "30s",
                "max_wal_size": f"{max(64, 8 * self.segment_mb)}MB",
                "min_wal_size": f"{max(32, 2 * self.segment_mb)}MB"}

    def _server(self, name):
        server = Server(self.place, name, self.major, self.segment_mb)
        self.servers.append(server)
        return server

    def _new_standby(self, port=None):
        server = self._server(f"standby{len(self.servers)}")
        server.port = port or server.port
        server.copy_of(self.primary)
        server.conf(synchronous_standby_names="")
        return server.start()

    def _make_synchronous(self):
        self.primary.conf(synchronous_standby_names="by_primary")
        self.primary.reload()
        wait_for(lambda: self.primary.sql("SHOW synchronous_standby_names") == "by_primary",
                 "the setting to be read")
        # It is the checkpointer that switches it on, before the next thing it does.
        self.primary.sql("CHECKPOINT")
        self.synchronous_since += 1  # what was acknowledged before waited for nobody

    def _primary_sql(self, text):
        """It may have to wait for a receiver that does not run; that is not waited for."""
        try:
            self.primary.sql(text, check=False, timeout=10)
        except subprocess.TimeoutExpired:
            self.note("  no answer")

    def _start_load(self):
        if self.load is None or self.load.poll() is not None:
            if self.primary.running():
                self.load = self.primary.pgbench(clients=3, seconds=3600,
                                                 rate=self.random.choice([100, 400, 1500]))

    def _stop_load(self):
        if self.load is not None:
            self.load.kill()
            self.load.wait()
            self.load = None


class Station:
    """One archive and the receiver that writes it."""

    def __init__(self, torture, name, upstream):
        self.torture = torture
        self.name = name
        self.upstream = upstream
        (torture.place / name).mkdir(mode=0o700)
        self.archive = Archive(torture.place / name, torture.segment_mb << 20)
        self.receiver = None
        self.ports = []  # of the servers of its connection string
        self.reported_to = set()  # servers whose slot stands where this one's reports put it

    def start(self):
        options = list(self.torture.options)
        if self.torture.slots:
            options += ["--slot", self.name.replace("-", "_"), "--create-slot", "--if-not-exists"]
        # The upstream first, the other server second: one that was just built lacks older WAL.
        others = [server for server in (self.torture.primary, self.torture.standby)
                  if server is not self.upstream]
        self.ports = [server.port for server in dict.fromkeys([self.upstream, *others])]
        more, environment = self.more_options()
        self.receiver = Receiver(
            receive_command(self.archive.path, self.conninfo(), "--status-interval", "1s",
                            "--log-level", "debug", *options, *more),
            self.torture.place / f"{self.name}.log", environment)

    def more_options(self):
        """(options, environment variables)"""
        return [], {}

    def finish(self):
        """Waits for what this one has to do apart from reporting the end of the WAL."""

    def conninfo(self):
        # What commits wait for is of no use on the standby.
        more = ({"target_session_attrs": "primary"}
                if self.torture.synchronous and self.name == "by-primary" else {})
        return self.upstream.conninfo(
            **more, application_name=self.name.replace("-", "_"), connect_timeout=5,
            host=",".join("127.0.0.1" for _ in self.ports),
            port=",".join(str(port) for port in self.ports))

    def kill(self):
        acknowledged = self.torture.client.acknowledged
        if self.torture.slots:
            self.see_reports()
        self.receiver.kill9()
        self.check_promises(acknowledged)

    def stop(self):
        # Before its first word a signal may still have its usual effect.
        wait_for(lambda: self.receiver.said() or self.assert_well(), "its first word")
        self.receiver.stop()

    def move_to(self, server):
        if self.receiver.running():
            self.random_end()
        self.upstream = server
        self.start()

    def random_end(self):
        if self.torture.random.random() < 0.5:
            self.kill()
        else:
            self.stop()

    def assert_well(self):
        assert self.receiver.running(), (
            f"{self.name} ended with {self.receiver.process.returncode}:\n{self.receiver.said()}")

    def reported(self, position):
        name = self.name.replace("-", "_")
        return any(row["flush_lsn"] and wal.lsn(row["flush_lsn"]) >= position
                   for server in (self.torture.primary, self.torture.standby)
                   for row in server.walsenders(name))

    def see_reports(self):
        """A new slot stands at a position that the server has chosen, up to the first report."""
        name = self.name.replace("-", "_")
        self.reported_to.update(
            server for server in (self.torture.primary, self.torture.standby)
            if server not in self.reported_to and server.running()
            and any(row["flush_lsn"] for row in server.walsenders(name)))

    def check_promises(self, acknowledged):
        """What the upstream was told is durable, and what a client was told is committed."""
        if (acknowledged and self.torture.synchronous and self.name == "by-primary"
                and acknowledged[2] == self.torture.synchronous_since
                and self.upstream is acknowledged[0]):
            self.assert_holds(acknowledged[0], acknowledged[1])
        if not self.torture.slots:
            return
        for server in self.reported_to:
            if server not in (self.torture.primary, self.torture.standby) or not server.running():
                continue
            answer = server.sql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name ="
                                f" '{self.name.replace('-', '_')}'", check=False)
            if answer.returncode == 0 and answer.stdout.strip() and self.started_from() is not None:
                known = wal.lsn(answer.stdout.strip())
                if self.started_from() < known and known % self.archive.segment_size:
                    self.assert_holds(server, known)

    def started_from(self):
        """The archive's first byte, None if it is empty."""
        segments = sorted(segno for _, segno in {**self.archive.finished(),
                                                 **self.archive.partials()})
        return segments[0] * self.archive.segment_size if segments else None

    def assert_holds(self, server, upto):
        """The last bytes before `upto`."""
        size = self.archive.segment_size
        segno = (upto - 1) // size
        timelines = [timeline for timeline in range(newest_timeline(server), 0, -1)
                     if server.pg_wal(wal.segment_name(timeline, segno, size)).exists()]
        length = upto - segno * size
        for timeline in timelines:
            content = self.archive.read(timeline, segno)
            own = server.pg_wal(wal.segment_name(timeline, segno, size)).read_bytes()
            if content is not None and content[:length] == own[:length]:
                return
        raise AssertionError(f"{self.name}: {wal.lsn_text(upto)} was acknowledged to {server.name}"
                             f" (timelines {timelines}), and is not there: {self.archive.names()}")

    def compare(self, timeline, end):
        """Every finished segment is some server's own, and no segment is missing on the way of the
        newest timeline. Returns the number of segments."""
        size = self.archive.segment_size
        servers = self.torture.servers
        finished = self.archive.finished()
        for (line, segno), path in finished.items():
            name = wal.segment_name(line, segno, size)
            content = self.archive.content(path)
            assert len(content) == size, f"{path}: {len(content)} bytes"
            owners = [server for server in servers if server.pg_wal(name).exists()]
            assert any(server.pg_wal(name).read_bytes() == content for server in owners), (
                f"{path} is not the WAL of any of {[server.name for server in owners]}")
            for server in owners:
                if server.holds_whole(line, segno) and server is self.torture.primary:
                    assert server.pg_wal(name).read_bytes() == content, f"{path}, {server.name}"
        history = []
        for number in range(2, timeline + 1):
            path = self.archive.path / f"{number:08X}.history"
            if path.exists():
                assert any(server.pg_wal(path.name).exists() and
                           server.pg_wal(path.name).read_bytes() == path.read_bytes()
                           for server in servers), path
        if timeline > 1:
            history = wal.parse_history(
                (self.archive.path / f"{timeline:08X}.history").read_text())
        began = self.started_from() // size
        for segno in range(began, end // size):
            # The timeline of its last byte is the one a recovery to the newest asks for.
            last = (segno + 1) * size - 1
            line = next((tli for tli, until in history if last < until), timeline)
            assert (line, segno) in finished, (
                f"{self.name}: {wal.segment_name(line, segno, size)} is missing:"
                f" {self.archive.names()}")
        return len(finished)


class Steady(Station):
    """Nobody ends this one. What it takes of the machine is written down each half second."""

    def __init__(self, torture):
        super().__init__(torture, "steady", None)
        # (seconds, kB of anonymous memory, file descriptors, threads, of the descriptors those that no thread keeps for
        # itself, None where no segment is open)
        self.samples = []
        self.end = threading.Event()

    def start(self):
        self.upstream = self.torture.primary
        super().start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        process = pathlib.Path(f"/proc/{self.receiver.pid}")
        begun = time.monotonic()
        while not self.end.wait(0.5):
            try:
                status = dict(line.split(":", 1)
                              for line in (process / "status").read_text().splitlines())
                opened = self._opened(process)
                of_all = [target for target in opened if not target.startswith("/proc/")]  # not a thread's own schedstat
                streams = any(pathlib.Path(target).parent == self.archive.path for target in opened)
                self.samples.append((time.monotonic() - begun, int(status["RssAnon"].split()[0]), len(opened),
                                     int(status["Threads"]), len(of_all) if streams else None))
            except (OSError, KeyError):
                return  # it has ended

    @staticmethod
    def _opened(process):
        """What its file descriptors refer to."""
        opened = []
        for descriptor in (process / "fd").iterdir():
            try:
                opened.append(os.readlink(descriptor))
            except FileNotFoundError:
                pass  # it has been closed since
        return opened

    def assert_flat(self):
        """Compares the last third of its life with the second; returns the peaks of all of it.

        Memory is what its largest burst took, and stays so while WAL trickles in: how much that was
        depends on who was down and for how long. So it may grow a little, within a bound. Threads are started by
        bursts, too. A burst opens all segments that are not durable yet, 64 MB of them: of descriptors, the fewest are compared,
        and only while a segment is open. Without a connection there are some seven fewer, which is seen or not by chance."""
        assert len(self.samples) >= 30, f"only {len(self.samples)} samples"
        third = len(self.samples) // 3
        collected = 2 * self.torture.segment_mb * 1024
        for column, what, measure, more in ((1, "kB of memory", max, 6144 + collected),
                                            (4, "file descriptors", min, 6), (3, "threads", max, 6)):
            before, after = (measure(sample[column] for sample in part if sample[column] is not None)
                             for part in (self.samples[third:2 * third], self.samples[2 * third:]))
            assert after <= before + more, f"{what} grew from {before} to {after}"
        opened = max(sample[2] for sample in self.samples)
        assert opened <= 48 + 64 // self.torture.segment_mb, f"{opened} file descriptors"
        most = max(sample[1] for sample in self.samples)
        assert most <= 16384 + 2 * collected, f"{most} kB of memory"
        return [max(sample[column] for sample in self.samples) for column in (1, 2, 3)]


class Client(threading.Thread):
    """Commits numbers one by one and remembers which were acknowledged."""

    def __init__(self, torture):
        super().__init__(daemon=True)
        self.torture = torture
        # (server, a position before the end of its last commit record, Torture.synchronous_since)
        self.acknowledged = None
        self.count = 0
        self._end = threading.Event()

    def run(self):
        while not self._end.is_set():
            server, since = self.torture.primary, self.torture.synchronous_since
            try:
                answer = server.sql(
                    f"BEGIN; INSERT INTO numbers VALUES ({self.count}); SELECT"
                    " pg_current_wal_insert_lsn(); SET LOCAL statement_timeout = 0; COMMIT",
                    check=False, timeout=60)
                # A commit that is cancelled while it waits says so, as a warning.
                if answer.returncode == 0 and not answer.stderr.strip():
                    self.count += 1
                    self.acknowledged = (server, wal.lsn(answer.stdout.strip()), since)
            except Exception:  # the server or psql was killed, or it hangs
                pass
            self._end.wait(0.05)

    def stop(self):
        self._end.set()


def newest_timeline(server):
    return max((int(path.stem, 16) for path in (server.data / "pg_wal").glob("*.history")),
               default=1)
