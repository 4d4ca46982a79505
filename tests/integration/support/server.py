"""A throwaway PostgreSQL server: a child process of the test, in a fresh directory, on a unix
socket and a free port of 127.0.0.1. It keeps all its WAL, to be compared with the archive."""

import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess

from . import libpq, wal
from .process import (
    PATIENCE,
    SIGNALS,
    alive,
    as_server_user,
    children_of,
    die_with_parent,
    freeze,
    run,
    server_user,
    tail,
    wait_for,
)
from .template import REPOSITORY, memory_place, new_cluster

_DEBIAN = pathlib.Path("/usr/lib/postgresql")
# Debian 12's, or Debian 13's.
DEBIAN_MAJOR = next((major for major in (15, 17) if (_DEBIAN / str(major) / "bin" / "postgres").exists()), 15)
DEBIAN_BIN = _DEBIAN / str(DEBIAN_MAJOR) / "bin"
FETCHED = pathlib.Path(os.environ.get("PGWEIR_PG_DIR", REPOSITORY / "build" / "pg"))


def bin_directory(major=DEBIAN_MAJOR):
    """Where this version's initdb, pg_ctl and postgres are, or None if it is not installed."""
    directory = DEBIAN_BIN if major == DEBIAN_MAJOR else FETCHED / str(major) / "bin"
    return directory if (directory / "postgres").exists() else None


def clients_installed():
    return (DEBIAN_BIN / "psql").exists() and (DEBIAN_BIN / "postgres").exists()


_reserved = []


def free_port():
    """Below the range the kernel gives to outgoing connections: a port that is free now stays
    free while its server restarts. No other test gets it as long as this process lives: an abstract
    Unix socket of its number says that it is taken, also while nobody listens there."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        mark = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                mark.bind(f"\0pgweir-tests-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                mark.close()
                continue
        _reserved.append(mark)
        return port


class Server:
    """`data` and `log` are its files, `port` and `socket_dir` where it listens. Not started by the
    constructor; Servers (conftest.py) stops it whatever happens."""

    def __init__(self, directory, name, major=DEBIAN_MAJOR, segment_mb=16, memory=None):
        """`memory`: a directory for its data, where durability is not the subject."""
        self.name = name
        self.major = major
        self.segment_size = segment_mb << 20
        self.home = pathlib.Path(directory) / name
        self.memory = memory
        self.data = (memory or self.home) / "data"
        self.log = self.home / "log"
        self.socket_dir = self.home
        self.port = free_port()
        self.process = None
        self._hushed = None
        self._started_before = False
        self.bin = _reachable_bin(major, pathlib.Path(directory))
        self.home.mkdir()
        if os.getuid() == 0:
            for place in filter(None, (self.home, memory)):
                os.chown(place, server_user().pw_uid, server_user().pw_gid)

    # Making one

    def initdb(self, *options, **settings):
        new_cluster(self.bin, self.data, ["-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C",
                                          f"--wal-segsize={self.segment_size >> 20}", *options])
        self._configure(settings)
        return self

    def copy_of(self, upstream, **settings):
        """A standby's data directory from the upstream's, which need not be a primary. Where the
        installed pg_basebackup is too old for the server, the upstream is stopped for a copy."""
        if upstream.major <= DEBIAN_MAJOR:
            run([DEBIAN_BIN / "pg_basebackup", "-D", self.data, "-d", upstream.conninfo(), "-X",
                 "stream", "-c", "fast", "-N"], **as_server_user(), cwd="/")
        else:
            was_running = upstream.running()
            if was_running:
                upstream.stop("fast")
            run(["cp", "-a", upstream.data, self.data], **as_server_user(), cwd="/")
            (self.data / "postmaster.opts").unlink(missing_ok=True)
            if was_running:
                upstream.start()
        self._configure(settings)
        self.follow(upstream)
        self._write("standby.signal", "")
        return self

    def follow(self, upstream):
        """Takes effect at the next start or reload()."""
        self.conf(primary_conninfo=upstream.conninfo(application_name=self.name))

    def _configure(self, settings):
        defaults = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self.socket_dir),
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 60,
            "max_wal_senders": 20,
            "max_replication_slots": 20,
            "wal_level": "replica",
            "hot_standby": "on",
            "wal_keep_size": "100GB",
            "max_wal_size": "1GB",
            "autovacuum": "off",
            "wal_retrieve_retry_interval": "100ms",
            "log_min_messages": "warning",
            "log_replication_commands": "on",
            "log_line_prefix": "%m [%p] %a ",
            "lc_messages": "C",
            "timezone": "UTC",
        }
        if self.knows("output_plugin_libraries"):
            defaults["output_plugin_libraries"] = "pgoutput, test_decoding, wal2json"
        self.conf(**{**defaults, **settings})

    def knows(self, setting):
        """Whether this server's minor version has it: some came with security fixes."""
        return re.search(rf"^#?{setting}\b", (self.data / "postgresql.conf").read_text(), re.M)

    def conf(self, **settings):
        """Settings at the end of postgresql.conf: later ones win. See reload()."""
        with open(self.data / "postgresql.conf", "a") as file:
            for name, value in settings.items():
                quoted = str(value).replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    def hba(self, *lines):
        """These rules first, then those that were there."""
        path = self.data / "pg_hba.conf"
        path.write_text("".join(line + "\n" for line in lines) + path.read_text())

    def _write(self, name, text):
        path = self.data / name
        path.write_text(text)
        if os.getuid() == 0:
            os.chown(path, server_user().pw_uid, server_user().pw_gid)

    # Running it

    def start(self, wait=True):
        assert not self.running(), f"{self.name} runs already"
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that was killed
        for _ in range(5):
            log_start = self.log.stat().st_size if self.log.exists() else 0
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [self.bin / "postgres", "-D", self.data],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    preexec_fn=die_with_parent(signal.SIGQUIT),
                    **as_server_user(),
                )
            if not wait:
                return self
            wait_for(lambda: self._ready() or self.process.poll() is not None,
                     f"{self.name} to accept connections")
            if self.process.poll() is None:
                self._started_before = True
                return self
            said = self.log.read_bytes()[log_start:].decode(errors="replace")
            if self._started_before or "Address already in use" not in said:
                raise AssertionError(f"server {self.name} did not start:\n{said}")
            self.port = free_port()
            self.conf(port=self.port)
        raise AssertionError(f"server {self.name} found no free port")

    def _ready(self):
        """The server itself says so in the eighth line of its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (len(lines) >= 8 and lines[0] == str(self.process.pid)
                and lines[7].strip() == "ready")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, mode="fast", deadline=PATIENCE):
        """Returns when every process of the server is gone."""
        if not self.running():
            return
        children = children_of(self.process.pid)
        self._wake()
        self.process.send_signal(SIGNALS[mode])
        wait_for(lambda: self.process.poll() is not None, f"{self.name} to stop ({mode})", deadline)
        wait_for(lambda: not any(alive(pid) for pid in children), f"{self.name}'s processes to end")

    def kill9(self):
        """As if the machine's power went, except that the kernel keeps what was written."""
        self._hushed = None
        children = children_of(self.process.pid)
        self.process.kill()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in children), f"{self.name}'s processes to end")

    def hush(self):
        """No WAL but what sessions write, up to its next stop: the background writer, which notes the running
        transactions every 15 s, stands still. (It may have done so a moment ago: who compares reads behind this.)"""
        pid = int(self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"))
        freeze(pid)
        self._hushed = pid

    def _wake(self):
        if self._hushed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._hushed, signal.SIGCONT)
            self._hushed = None

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def promote(self):
        # No statement waits for it: replay might have to wait for what that one sees. Any statement
        # may be cancelled for replay, also when it has told.
        wait_for(lambda: self.sql("SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(false) ELSE true END",
                                  check=False).stdout.strip() == "t", f"{self.name} to be told")
        wait_for(lambda: self.sql("SELECT pg_is_in_recovery()", check=False).stdout.strip() == "f",
                 f"{self.name} to be a primary")

    def rewind(self, upstream):
        """An old primary, which is down, becomes a standby of the one that was promoted. Its slots are gone."""
        own = (self.data / "postgresql.conf").read_text()  # the upstream's is copied over it
        upstream.sql("CHECKPOINT")  # it tells its timeline by that
        source = f"host={upstream.socket_dir} port={upstream.port} user=postgres dbname=postgres"
        run([DEBIAN_BIN / "pg_rewind", "-D", self.data, "--source-server", source], **as_server_user(), cwd="/")
        self._write("postgresql.conf", own)
        self.follow(upstream)
        self._write("standby.signal", "")

    def copy_of_files(self):
        """Of a stopped server, to be set back to. Beside its files."""
        run(["cp", "-a", self.data, self.data.parent / "before"])

    def set_back(self):
        """A stopped server's files are as they were at copy_of_files()."""
        shutil.rmtree(self.data)
        run(["cp", "-a", self.data.parent / "before", self.data])

    # Asking it

    def conninfo(self, **options):
        words = {"host": "127.0.0.1", "port": self.port, "user": "postgres", **options}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def sql(self, text, database="postgres", check=True, timeout=PATIENCE, options=""):
        """Rows as lines, columns separated by |. With check=False: as psql, a finished process."""
        quoted = options.replace("\\", "\\\\").replace("'", "\\'")
        result = libpq.execute(f"host={self.socket_dir} port={self.port} user=postgres dbname={database} options='{quoted}'",
                               text, timeout)
        if not check:
            return result
        if result.returncode != 0:
            raise AssertionError(f"{text}\n{result.stdout}{result.stderr}")
        return result.stdout.strip()

    def spawn_sql(self, text):
        """psql in the background, for a statement that is expected to wait. The caller ends it."""
        return subprocess.Popen(
            [DEBIAN_BIN / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text,
             f"host={self.socket_dir} port={self.port} user=postgres dbname=postgres"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )

    def walsenders(self, application_name="pgweir"):
        """[{column: value}] of pg_stat_replication."""
        columns = ["pid", "state", "sent_lsn", "write_lsn", "flush_lsn", "replay_lsn", "sync_state", "reply_time"]
        rows = self.sql(f"SELECT {', '.join(columns)} FROM pg_stat_replication"
                        f" WHERE application_name = '{application_name}' ORDER BY pid")
        return [dict(zip(columns, row.split("|"))) for row in rows.splitlines()]

    def timeline(self):
        return int(self.sql("SELECT timeline_id FROM pg_control_checkpoint()"))

    def flushed(self):
        """Up to where its WAL is in pg_wal, durable: a primary's flush, a standby's receive."""
        return wal.lsn(self.sql(
            "SELECT CASE WHEN pg_is_in_recovery()"
            " THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
            " ELSE pg_current_wal_flush_lsn() END"))

    def caught_up_with(self, position, deadline=PATIENCE):
        wait_for(lambda: self.flushed() >= position,
                 f"{self.name} to receive {wal.lsn_text(position)}", deadline)

    def replayed(self, position, deadline=PATIENCE):
        wait_for(lambda: wal.lsn(self.sql("SELECT pg_last_wal_replay_lsn()")) >= position,
                 f"{self.name} to replay {wal.lsn_text(position)}", deadline)

    # Making it busy

    def switch_wal(self):
        """Ends the current segment; returns the new flush position."""
        self.sql("CREATE TABLE IF NOT EXISTS switches (); SELECT pg_switch_wal();"
                 " SELECT txid_current()")
        return self.flushed()

    def write_wal(self, megabytes):
        """About this much WAL in one transaction; returns the flush position."""
        self.sql("CREATE TABLE IF NOT EXISTS filling (data text);"
                 " ALTER TABLE filling ALTER data SET STORAGE EXTERNAL;"
                 " INSERT INTO filling SELECT string_agg(encode(sha512((random()::text || i || j)::bytea), 'hex'), '')"
                 f" FROM generate_series(1, {max(1, round(megabytes * 16))}) i,"
                 " generate_series(1, 488) j GROUP BY i")
        return self.flushed()

    def pgbench_init(self, scale=1):
        run([DEBIAN_BIN / "pgbench", "-i", "-q", "-s", scale, "-h", self.socket_dir, "-p",
             self.port, "-U", "postgres", "postgres"])

    def pgbench(self, clients=4, seconds=None, transactions=None, rate=None):
        """Starts pgbench; the caller waits or kills. Its output is kept in <home>/pgbench.log."""
        length = ["-T", str(seconds)] if seconds else ["-t", str(transactions or 200)]
        limit = ["-R", str(rate)] if rate else []
        with open(self.home / "pgbench.log", "ab") as log:
            return subprocess.Popen(
                [DEBIAN_BIN / "pgbench", "-n", "-c", str(clients), "-j", "1", *length, *limit,
                 "-h", self.socket_dir, "-p", str(self.port), "-U", "postgres", "postgres"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL))

    # Its WAL

    def pg_wal(self, name):
        return self.data / "pg_wal" / name

    def wal_path(self, timeline, position):
        return self.pg_wal(wal.segment_name(timeline, position // self.segment_size,
                                            self.segment_size))

    def holds_whole(self, timeline, segno):
        """True if it has written this segment to its end: the next one has begun where it stands,
        which the page address tells from a recycled file. (Or it says so, running.)"""
        if not self.pg_wal(wal.segment_name(timeline, segno, self.segment_size)).exists():
            return False
        end = (segno + 1) * self.segment_size
        following = self.pg_wal(wal.segment_name(timeline, segno + 1, self.segment_size))
        if following.exists():
            with open(following, "rb") as file:
                page_timeline, address = struct.unpack("<4xIQ", file.read(16))
            if (page_timeline, address) == (timeline, end):
                return True
        return self.running() and self.timeline_end(timeline) >= end

    def timeline_end(self, timeline):
        """How far it knows this timeline's WAL: to the switchpoint of an old one."""
        newest = max((int(path.stem, 16) for path in (self.data / "pg_wal").glob("*.history")),
                     default=1)
        if timeline == newest:
            return self.flushed()
        if timeline < newest:
            history = self.pg_wal(f"{newest:08X}.history").read_text()
            return dict(wal.parse_history(history)).get(timeline, 0)
        return 0

    def last_log(self, lines=60):
        return tail(self.log, lines)


_copies = {}  # major: directory in memory


def _reachable_bin(major, directory):
    """The server's user may not be able to enter our build directory (a clone in /root): then a
    copy is used, in memory for all tests of this run, or beside the data directories."""
    source = bin_directory(major)
    assert source, f"PostgreSQL {major} is not installed"
    probe = subprocess.run(["test", "-x", source / "postgres"], **as_server_user())
    if probe.returncode == 0:
        return source
    copy = _copies.get(major)
    if copy is None:
        memory = memory_place()
        copy = (memory or directory) / f"postgresql-{major}"
        if memory:
            memory.chmod(0o755)
            _copies[major] = copy
    if not copy.exists():
        shutil.copytree(source.parent, copy, symlinks=True)
    return copy / "bin"


def server_version(major):
    text = run([bin_directory(major) / "postgres", "--version"]).stdout
    return re.search(r"\d+[.\w]*", text).group()
