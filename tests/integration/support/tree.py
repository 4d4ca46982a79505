"""Trees with receivers that serve in them, and what every standby in one has to be like at the end."""

import re

from . import wal
from .process import wait_for
from .receiver import pgweir
from .relay import PASSWORD, make_user
from .server import free_port

# A standby's own words for an upstream that is away, and for clients that come too early.
_HARMLESS = re.compile(r"could not (receive|connect|send|start WAL)|terminating walreceiver|no COPY in progress"
                       r"|the database system is (starting up|shutting down|not yet accepting connections)"
                       r"|terminating connection due to administrator command|replication terminated by primary"
                       r"|could not identify system|highest timeline|Connection refused|unexpected EOF"
                       # A relay that is killed between a timeline's end and the next one (libpqwalreceiver.c).
                       r"|error (reading result of streaming command|while shutting down streaming COPY): .*server closed")
_BAD = re.compile(r"PANIC|FATAL|checksum|invalid magic|unexpected pageaddr|out-of-sequence|unexpected timeline")


class Tree:
    """Relays (`pgweir receive --serve`) of one cluster, each with an archive and a port of its own. Clients
    come with a password, or by `rules` without one."""

    def __init__(self, place, receivers, new_archive, primary, rules=None):
        self._place, self._receivers, self._new_archive, self._primary = place, receivers, new_archive, primary
        users = place / "relay_users"
        users.write_text(make_user(primary))
        users.chmod(0o600)
        self._access = ["--serve-users", users]
        if rules is not None:
            (place / "relay_hba.conf").write_text(rules)
            self._access += ["--serve-hba", place / "relay_hba.conf"]

    def relay(self, name, upstream, *options, env=None, wait=True):
        """`upstream`: a server, a Relay of this tree, or a connection string."""
        relay = Relay(name, self._new_archive(self._primary, name))
        conninfo = upstream if isinstance(upstream, str) else upstream.conninfo()

        def start():
            relay.process = self._receivers.pgweir(relay.archive, f"{conninfo} application_name={name}", "--serve",
                                                   relay.port, *self._access, *options, env=env)
            return relay.process

        relay.start = start
        start()
        if wait:
            relay.wait_serves()
        return relay


class Relay:
    def __init__(self, name, archive):
        self.name, self.archive, self.port, self.process = name, archive, free_port(), None

    def conninfo(self, **more):
        words = {"host": "127.0.0.1", "port": self.port, "user": "repl", "password": f"'{PASSWORD}'", **more}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def wait_serves(self):
        self.process.wait_log(f"listening on 127.0.0.1:{self.port}")

    def status(self):
        return pgweir("status", "-D", self.archive.path, "--json")


def put_below(standby, conninfo, start=True, **settings):
    """Gives it an upstream, and (re)starts it."""
    standby.conf(primary_conninfo=f"{conninfo} application_name={standby.name}", **settings)
    if standby.running():
        standby.reload()
    elif start:
        standby.start()


def wait_streaming(*standbys, timeline=None):
    for standby in standbys:
        expected = f"streaming|{timeline}" if timeline else "streaming"
        columns = "status || '|' || received_tli" if timeline else "status"
        wait_for(lambda: standby.sql(f"SELECT {columns} FROM pg_stat_wal_receiver") == expected,
                 f"{standby.name}: {expected}")


def content(server):
    """Of the table that write_wal() fills."""
    return server.sql("SELECT count(*), md5(string_agg(md5(data), '' ORDER BY md5(data))) FROM filling")


def assert_same_data(primary, *standbys, harmless=None):
    """They replay all that the primary has by now, and then have what it has; none has met a wrong byte."""
    end = primary.flushed()
    expected = content(primary)
    for standby in standbys:
        standby.replayed(end)
        assert content(standby) == expected, standby.name
        bad = [line for line in unexpected_words(standby) if not (harmless and harmless in line)]
        assert not bad, f"{standby.name}: {bad}"


def unexpected_words(standby):
    lines = standby.log.read_text().splitlines()
    # Before it has streamed anything, the WAL of its base backup may end where a page does, and a page of zeros follows.
    streamed = next((at for at, line in enumerate(lines) if "started streaming WAL" in line), len(lines))
    return [line for at, line in enumerate(lines)
            if _BAD.search(line) and not _HARMLESS.search(line) and not _end_in_recycled(line, standby)
            and not (at < streamed and "invalid magic number 0000 in" in line)]


def _end_in_recycled(line, standby):
    """Whether a standby has come to the end of what it has, in a file that had other WAL before: an older segment's
    page, at the same place in it."""
    found = re.search(r"unexpected pageaddr ([0-9A-F]+/[0-9A-F]+) in .*?, (?:LSN [0-9A-F/]+, )?offset (\d+)", line)
    if not found:
        return False
    size = standby.segment_size
    _, segno = wal.parse_segment(re.search(r"segment ([0-9A-F]{24})", line).group(1), size)
    address, offset = wal.lsn(found.group(1)), int(found.group(2))
    return address % size == offset and address // size < segno
