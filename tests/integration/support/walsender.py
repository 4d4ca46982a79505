"""A server that is not what it says: speaks enough of the protocol to be taken for PostgreSQL's
walsender, and answers what a test tells it to.

Source of the formats: PostgreSQL's documentation, "Frontend/Backend Protocol" and "Streaming
Replication Protocol"."""

import pathlib
import re
import select
import socket
import struct
import threading
import time

from . import wal
from .process import PATIENCE

SYSTEM = 7301234567890123456
GO_ON = "go on"


class FakeServer:
    """A class of a test's own overrides what it wants to get wrong. `started` lists the
    (timeline, position) of each START_REPLICATION, `reports` each flush position that came.

        with FakeServer() as server: ... server.conninfo()"""

    segment_size = 1 << 20
    timeline = 1
    end = 3 << 20  # the WAL it says it has
    version = "15.18"
    in_hot_standby = "off"

    def __init__(self):
        self.started = []
        self.connections = 0
        self.reports = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = set()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=postgres sslmode=disable connect_timeout=30"

    # What it answers: rows of text, to be overridden

    def identify(self):
        return [str(SYSTEM), str(self.timeline), wal.lsn_text(self.end), None]

    def show(self, name):
        return {"wal_segment_size": f"{self.segment_size >> 20}MB", "wal_sender_timeout": "1min",
                "data_directory_mode": "0700", "cluster_name": ""}.get(name, "on")

    def history(self, timeline):
        """(file name, content)"""
        lines = [f"{number}\t{wal.lsn_text(self.end)}\tno reason\n" for number in range(1, timeline)]
        return f"{timeline:08X}.history", "".join(lines)

    def stream(self, connection, timeline, position):
        """In the copy; when it returns, the connection is closed, or, if it returns
        (timeline, position), the stream ends with them; after GO_ON, which it returns when it has
        ended the stream by itself, the connection takes commands again."""
        connection.wait()

    def at_once(self, timeline, position):
        """(timeline, position) to end the stream with, without a copy."""
        return None

    def _accept(self):
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return  # the end of the test
            self.connections += 1
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted):
        self._open.add(accepted)
        connection = Connection(accepted, self)
        try:
            connection.begin(self.version)
            while True:
                kind, body = connection.message()
                if kind == b"X":
                    return
                if kind == b"Q" and not self._answer(connection, body.rstrip(b"\0").decode()):
                    return
        except (OSError, EOFError):
            pass  # the receiver has had enough
        finally:
            self._open.discard(accepted)
            accepted.close()

    def _answer(self, connection, command):
        if command == "IDENTIFY_SYSTEM":
            connection.row(self.identify())
        elif command.startswith("SHOW "):
            connection.row([self.show(command.split()[1])])
        elif command.startswith("TIMELINE_HISTORY "):
            connection.row(self.history(int(command.split()[1])))
        elif command.startswith("READ_REPLICATION_SLOT"):
            connection.row([None, None, None])
        elif match := re.match(r"START_REPLICATION .*PHYSICAL (\S+) TIMELINE (\d+)", command):
            position, timeline = wal.lsn(match[1]), int(match[2])
            self.started.append((timeline, position))
            following = self.at_once(timeline, position)
            if following is None:
                connection.send(b"W", struct.pack(">bh", 0, 0))
                following = self.stream(connection, timeline, position)
                if following is None:
                    return False
                if following == GO_ON:
                    connection.copy_done = False
                    return True
                connection.send(b"c")
                while connection.message()[0] != b"c":
                    pass
            connection.row([str(following[0]), wal.lsn_text(following[1])], ready=False)
            connection.send(b"C", b"START_STREAMING\0")
            connection.send(b"Z", b"I")
        else:
            connection.send(b"E", b"SERROR\0C42601\0Mnot understood\0\0")
            connection.send(b"Z", b"I")
        return True


class WalServer(FakeServer):
    """Serves the WAL up to `end` that a real server, stopped or idle, has in its pg_wal.
    `stream(connection, position)` is called when WAL is asked for, in a thread of its own; when it
    returns, the connection ends. What goes wrong in it goes wrong at the end of the block."""

    def __init__(self, server, end, stream):
        super().__init__()
        self.system_identifier = server.sql("SELECT system_identifier FROM pg_control_system()")
        self.pg_wal = pathlib.Path(server.data) / "pg_wal"
        self.segment_size = server.segment_size
        self.end = end
        self._stream = stream
        self._failure = None

    def __exit__(self, *_):
        super().__exit__()
        if self._failure:
            raise self._failure

    def identify(self):
        return [self.system_identifier, "1", wal.lsn_text(self.end), None]

    def stream(self, connection, timeline, position):
        try:
            return self._stream(connection, position)
        except (OSError, EOFError):
            raise
        except Exception as error:
            self._failure = error

    def read_wal(self, position, size):
        segno, offset = divmod(position, self.segment_size)
        size = min(size, self.segment_size - offset, self.end - position)
        with open(self.pg_wal / wal.segment_name(1, segno, self.segment_size), "rb") as file:
            file.seek(offset)
            return file.read(size)


class Connection:
    """`reports` is what came on it: [(write, flush, apply)]."""

    def __init__(self, accepted, server):
        self.socket = accepted
        self.server = server
        self.reports = []
        self.copy_done = False

    def begin(self, version):
        while True:
            length, code = struct.unpack(">II", self._exactly(8))
            self._exactly(length - 8)
            if code >> 16 == 3:
                break
            self.socket.sendall(b"N")  # no TLS, no GSSAPI
        self.send(b"R", struct.pack(">I", 0))
        for name, value in (("server_version", version), ("client_encoding", "UTF8"),
                            ("integer_datetimes", "on"), ("in_hot_standby", self.server.in_hot_standby),
                            ("standard_conforming_strings", "on")):
            self.send(b"S", f"{name}\0{value}\0".encode())
        self.send(b"K", struct.pack(">II", 1, 1))
        self.send(b"Z", b"I")

    def message(self):
        kind = self._exactly(1)
        body = self._exactly(struct.unpack(">I", self._exactly(4))[0] - 4)
        if kind == b"d" and body[:1] == b"r":
            self.reports.append(struct.unpack_from(">QQQ", body, 1))
            self.server.reports.append(self.reports[-1][1])
        elif kind == b"c":
            self.copy_done = True
        return kind, body

    def wait(self):
        """Until the other side ends the connection."""
        while True:
            self.message()

    def read_reports(self, wait=0.0):
        """Takes what the receiver has sent, up to a CopyDone; returns how many reports that were."""
        before = len(self.reports)
        while not self.copy_done and select.select([self.socket], [], [], wait)[0]:
            self.message()
            wait = 0.0
        return len(self.reports) - before

    def wait_reported(self, position, deadline=PATIENCE):
        end = time.monotonic() + deadline
        while not (self.reports and self.reports[-1][1] >= position):
            self.read_reports(0.1)
            assert time.monotonic() < end, f"not reported: {wal.lsn_text(position)}"

    def send_wal(self, position, size):
        """Of a WalServer's WAL; returns the position behind what was sent."""
        data = self.server.read_wal(position, size)
        self.wal(position, data, end=self.server.end)
        return position + len(data)

    def send_all(self, position):
        while position < self.server.end:
            position = self.send_wal(position, 128 * 1024)
        return position

    def finish(self):
        """The good end of a stream, after the receiver's CopyDone."""
        self.send(b"c")
        self.send(b"C", b"COPY 0\0")
        self.send(b"C", b"START_REPLICATION\0")
        self.send(b"Z", b"I")

    def send(self, kind, body=b""):
        self.socket.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def copy(self, body):
        self.send(b"d", body)

    def wal(self, position, data, end=None):
        self.copy(b"w" + struct.pack(">QQQ", position, position + len(data) if end is None else end, 0) + data)

    def keepalive(self, end, reply=False):
        self.copy(b"k" + struct.pack(">QQB", end, 0, reply))

    def row(self, values, ready=True):
        fields = b"".join(f"c{at}\0".encode() + struct.pack(">IhIhih", 0, 0, 25, -1, -1, 0)
                          for at in range(len(values)))
        self.send(b"T", struct.pack(">h", len(values)) + fields)
        data = b"".join(struct.pack(">i", -1) if value is None
                        else struct.pack(">i", len(value.encode())) + value.encode()
                        for value in values)
        self.send(b"D", struct.pack(">h", len(values)) + data)
        self.send(b"C", b"SELECT 1\0")
        if ready:
            self.send(b"Z", b"I")

    def _exactly(self, size):
        parts = []
        while size > 0:
            part = self.socket.recv(min(size, 1 << 16))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
