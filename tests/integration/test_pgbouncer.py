"""A real PgBouncer (Debian 13's) between the server and the archive: it forwards replication connections since 1.23."""

import os
import signal
import subprocess

import pytest

from support.process import as_server_user, die_with_parent, server_user, wait_for
from support.server import REPOSITORY, free_port

ROOT = REPOSITORY / "build" / "pgbouncer" / "usr"
PROGRAM = ROOT / "sbin" / "pgbouncer"
LIBRARIES = ROOT / "lib" / "x86_64-linux-gnu"


class PgBouncer:
    def __init__(self, place, server):
        self.home, self.port, self.server = place / "pgbouncer", free_port(), server
        self.log = self.home / "log"
        self.home.mkdir()
        if os.getuid() == 0:
            os.chown(self.home, server_user().pw_uid, server_user().pw_gid)
        (self.home / "ini").write_text(f"""[databases]
* = host=127.0.0.1 port={server.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = session
logfile = {self.log}
server_login_retry = 1
ignore_startup_parameters = extra_float_digits, options
""")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [LIBRARIES / "ld-linux-x86-64.so.2", "--library-path", LIBRARIES, PROGRAM, self.home / "ini"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            preexec_fn=die_with_parent(signal.SIGKILL), **as_server_user())
        wait_for(lambda: self.log.exists() and "process up" in self.log.read_text(), "PgBouncer to be up")
        return self

    def stop(self, sig=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(30)

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"


@pytest.fixture
def pooled(servers, place):
    if not PROGRAM.exists():
        pytest.skip("PgBouncer is not there (scripts/setup pgbouncer)")
    primary = servers.primary()
    pooler = PgBouncer(place, primary).start()
    yield primary, pooler
    pooler.stop(signal.SIGKILL)


def archived(archive, primary, receiver):
    primary.write_wal(1)
    archive.wait_covers(primary, 1, primary.flushed())
    assert receiver.running(), receiver.said()


def test_the_server_and_the_pooler_restart_and_nothing_is_missing(pooled, new_archive, receivers):
    """PgBouncer answers with one SQLSTATE (08P01) for all that it says of a server that is away."""
    primary, pooler = pooled
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, pooler.conninfo(), "--slot", "pooled", "--create-slot")
    archived(archive, primary, receiver)
    for mode in ("fast", "immediate"):
        before = receiver.said().count("trying again in")
        primary.stop(mode)
        wait_for(lambda: receiver.said().count("trying again in") > before, "the receiver to see it go")
        primary.start()
        archived(archive, primary, receiver)
    pooler.stop(signal.SIGKILL)
    pooler.start()
    archived(archive, primary, receiver)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=3)
