"""Fixtures. A failed test shows the end of every server's and receiver's log; whatever happens,
each process the test started is stopped by its pid."""

import contextlib
import errno
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import receiver as receivers_  # noqa: E402
from support.archive import Archive  # noqa: E402
from support.process import preload, tail, wait_for  # noqa: E402
from support.receiver import Receiver, receive_command, stock_command  # noqa: E402
from support.server import DEBIAN_MAJOR, Server, bin_directory, clients_installed  # noqa: E402
from support.template import memory_is_free, memory_place  # noqa: E402

_SKIPPED = 77  # what ctest knows as "skipped" (SKIP_RETURN_CODE)


def pytest_sessionstart(session):
    """SIGTERM ends the run, but after the fixtures have cleaned up. Under nohup, what is started would ignore SIGHUP,
    too: a test that needs that asks for it."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # ignored here, at its default in what is started


def pytest_configure(config):
    config.addinivalue_line("markers", "in_memory: makes many files, and no property of a disk counts for it")


def pytest_sessionfinish(session, exitstatus):
    """A run in which every test was skipped is a skipped test for ctest, not a passed one."""
    outcomes = getattr(session.config, "outcomes", set())
    if exitstatus == 0 and outcomes and outcomes == {"skipped"}:
        session.exitstatus = _SKIPPED


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    if report.when == "call" or report.outcome != "passed":
        if not hasattr(item.config, "outcomes"):
            item.config.outcomes = set()
        item.config.outcomes.add(report.outcome)


@pytest.fixture
def place(request):
    """A fresh directory that the servers' user can enter, too, in memory for a test that is marked so and while there
    is much. PGWEIR_KEEP=1 keeps it."""
    path = None
    if request.node.get_closest_marker("in_memory") and not os.environ.get("PGWEIR_KEEP") and memory_is_free(8 << 30):
        path = memory_place()
    path = path or pathlib.Path(tempfile.mkdtemp(prefix="pgweir-"))
    path.chmod(0o755)
    Receiver.started.clear()  # whoever waits for a receiver waits for one of this test
    yield path
    if os.environ.get("PGWEIR_KEEP"):
        print(f"kept: {path}")
    else:
        wait_for(lambda: _removed(path), f"{path} to be removed", 15)


def _removed(path):
    """A child of something that was stopped may still be making a file there."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise
    return not path.exists()


@pytest.fixture
def servers(request, place):
    """servers.primary(...), servers.standby(of, ...)."""
    if not clients_installed():
        pytest.skip(f"PostgreSQL {DEBIAN_MAJOR} is not installed (scripts/setup)")
    pool = Servers(place)
    yield pool
    _finish(request, pool.all, lambda server: server.log)
    for server in pool.all:
        if server.memory and os.environ.get("PGWEIR_KEEP"):
            shutil.move(server.memory, server.home / "kept")
        elif server.memory:
            shutil.rmtree(server.memory)


class Servers:
    def __init__(self, place):
        self._place = place
        self.all = []

    def primary(self, name=None, major=DEBIAN_MAJOR, segment_mb=1, start=True, initdb=(),
                **settings):
        server = self._new(name or f"primary{len(self.all)}", major, segment_mb)
        server.initdb(*initdb, **settings)
        return server.start() if start else server

    def standby(self, upstream, name=None, start=True, **settings):
        server = self._new(name or f"standby{len(self.all)}", upstream.major,
                           upstream.segment_size >> 20)
        server.copy_of(upstream, **settings)
        return server.start() if start else server

    def _new(self, name, major, segment_mb):
        if bin_directory(major) is None:
            pytest.skip(f"PostgreSQL {major} is not installed (scripts/setup)")
        server = Server(self._place, name, major, segment_mb, memory_place())
        self.all.append(server)
        return server


@pytest.fixture
def receivers(request, place):
    """receivers.pgweir(archive, server, *options), receivers.stock(...)."""
    pool = Receivers(place)
    yield pool
    for receiver in pool.all:
        if receiver.running():
            _end(receiver)
    _finish(request, pool.all, lambda receiver: receiver.log)


class Receivers:
    def __init__(self, place):
        self._place = place
        self.all = []

    def pgweir(self, archive, upstream, *options, env=None):
        """`upstream` is a server or a connection string."""
        if not receivers_.BINARY.exists():
            pytest.fail(f"no {receivers_.BINARY}: build it, or name one by PGWEIR_BINARY")
        return self.start(receive_command(archive.path, _conninfo(upstream), *options), env)

    def stock(self, archive, upstream, *options):
        return self.start(stock_command(archive.path, _conninfo(upstream), *options))

    def start(self, command, env=None):
        receiver = Receiver(command, self._place / f"receiver{len(self.all)}.log", env)
        self.all.append(receiver)
        return receiver


@pytest.fixture
def new_archive(place):
    """new_archive(server) is an empty archive directory for that server's segments."""

    def make(server, name="archive"):
        (place / name).mkdir(mode=0o700)
        return Archive(place / name, server.segment_size)

    return make


@pytest.fixture
def sync_fault(place):
    """A disk that hangs or fails: environment for the receiver, and a function that sets or (None) ends the fault."""
    library = preload(place, "slow_fsync.c")
    control = place / "sync-fault"

    class SyncFault:
        env = {"LD_PRELOAD": str(library), "PGWEIR_TEST_SYNC": str(control)}

        @staticmethod
        def set(what):
            if what is None:
                control.unlink()
            else:
                (place / "sync-fault.new").write_text(what)
                (place / "sync-fault.new").rename(control)

        @staticmethod
        def count():
            log = place / "sync-fault.log"
            return len(log.read_text().splitlines()) if log.exists() else 0

    return SyncFault


@pytest.fixture
def seeded():
    """A random generator; the seed is printed and can be given by PGWEIR_SEED."""
    seed = int(os.environ.get("PGWEIR_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"PGWEIR_SEED={seed}")
    return random.Random(seed)


def _end(receiver):
    """At once; for scripts/coverage so that it tells what it did."""
    if os.environ.get("PGWEIR_COUNT"):
        receiver.send(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            receiver.wait_exit(deadline=20)
    receiver.kill9()


def _conninfo(upstream):
    return upstream if isinstance(upstream, str) else upstream.conninfo()


def _finish(request, things, log_of):
    """Stops the servers among them, standbys first, and shows the logs of a failed test."""
    failed = any(getattr(request.node, "report_" + when, None) is not None
                 and getattr(request.node, "report_" + when).failed for when in ("setup", "call"))
    for thing in reversed(things):
        if isinstance(thing, Server) and thing.running():
            try:
                thing.stop("immediate", deadline=60)
            except AssertionError:
                thing.kill9()
    if failed:
        for thing in things:
            print(f"---- {log_of(thing)}")
            print(tail(log_of(thing)))

