"""A server of the replication protocol that misbehaves as a test wants it: PostgreSQL's own never
floods, stalls or lies. It serves the WAL files of a real one.

Source of the formats: PostgreSQL's documentation, "Frontend/Backend Protocol" and "Streaming
Replication Protocol"."""

import pathlib
import select
import socket
import struct
import threading
import time

from . import wal


class FakeWalsender(threading.Thread):
    """Listens from the start; one connection after the other until close(). `stream(connection,
    position)` is called in this thread when WAL is asked for; when it returns, the connection ends.
    """

    def __init__(self, server, end, stream):
        """`server` has to be stopped or idle: the WAL in its pg_wal up to `end` is what there is."""
        super().__init__(daemon=True)
        self.system_identifier = int(server.sql(
            "SELECT system_identifier FROM pg_control_system()"))
        self.pg_wal = pathlib.Path(server.data) / "pg_wal"
        self.segment_size = server.segment_size
        self.end = end
        self._stream = stream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.failure = None
        self.start()

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=postgres sslmode=disable gssencmode=disable"

    def close(self):
        """Ends it; what went wrong in its thread goes wrong here."""
        self._listener.close()
        if self.failure:
            raise self.failure

    def run(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                Connection(self, client).serve(self._stream)
            except OSError:
                pass  # it went away
            except Exception as error:  # told by close()
                self.failure = error

    def read_wal(self, position, size):
        segno, offset = divmod(position, self.segment_size)
        size = min(size, self.segment_size - offset, self.end - position)
        with open(self.pg_wal / wal.segment_name(1, segno, self.segment_size), "rb") as file:
            file.seek(offset)
            return file.read(size)


class Connection:
    """One walsender: `statuses` is what the receiver reported, [(write, flush, apply)]."""

    def __init__(self, server, client):
        self.server, self._client = server, client
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.statuses = []
        self.copy_done = False

    # What a test's stream() uses

    def send_wal(self, position, size):
        """Returns the position behind what was sent."""
        data = self.server.read_wal(position, size)
        self._copy_data(b"w" + struct.pack(">QQq", position, self.server.end, 0) + data)
        return position + len(data)

    def send_all(self, position):
        while position < self.server.end:
            position = self.send_wal(position, 128 * 1024)
        return position

    def send_keepalive(self, reply_requested):
        self._copy_data(b"k" + struct.pack(">Qq?", self.server.end, 0, reply_requested))

    def read_statuses(self, wait=0.0):
        """Takes what the receiver has sent; returns how many reports that were. At CopyDone it sets
        copy_done."""
        count = 0
        while self._received or select.select([self._client], [], [], wait)[0]:
            message = self._message(wait=False)
            if message is None:
                break
            wait = 0.0
            kind, body = message
            if kind == b"d" and body[:1] == b"r":
                self.statuses.append(struct.unpack(">QQQ", body[1:25]))
                count += 1
            elif kind == b"c":
                self.copy_done = True
                return count
        return count

    def wait_reported(self, position, deadline=30):
        end = time.monotonic() + deadline
        while not (self.statuses and self.statuses[-1][1] >= position):
            self.read_statuses(0.1)
            assert time.monotonic() < end, f"not reported: {wal.lsn_text(position)}"

    def finish(self):
        """The good end of a stream, after the receiver's CopyDone."""
        self._send(b"c", b"")
        self._send(b"C", b"COPY 0\0")
        self._send(b"C", b"START_REPLICATION\0")
        self._send(b"Z", b"I")

    # The dialogue before it

    def serve(self, stream):
        self._startup()
        while True:
            kind, body = self._message()
            if kind == b"X":
                return
            command = body.rstrip(b"\0").decode()
            word = command.split()[0]
            if word == "IDENTIFY_SYSTEM":
                self._row([str(self.server.system_identifier), "1", wal.lsn_text(self.server.end),
                           None], command)
            elif word == "SHOW":
                settings = {"wal_segment_size": f"{self.server.segment_size >> 20}MB",
                            "wal_sender_timeout": "60s", "data_directory_mode": "0700"}
                self._row([settings[command.split()[1]]], command)
            elif word == "START_REPLICATION":
                position = wal.lsn(command.split("PHYSICAL ")[1].split()[0])
                self._send(b"W", struct.pack(">bh", 0, 0))
                stream(self, position)
                return
            else:
                raise AssertionError(f"the fake walsender does not know {command!r}")

    def _startup(self):
        while True:
            (length,) = struct.unpack(">I", self._exactly(4))
            (code,) = struct.unpack(">I", self._exactly(length - 4)[:4])
            if code in (80877103, 80877104):  # SSLRequest, GSSENCRequest
                self._client.sendall(b"N")
                continue
            break
        self._send(b"R", struct.pack(">I", 0))
        for name, value in (("server_version", "15.0"), ("client_encoding", "UTF8"),
                            ("in_hot_standby", "off"), ("integer_datetimes", "on"),
                            ("standard_conforming_strings", "on")):
            self._send(b"S", f"{name}\0{value}\0".encode())
        self._send(b"K", struct.pack(">II", 1, 2))
        self._send(b"Z", b"I")

    def _row(self, values, command):
        fields = b"".join(f"c{i}".encode() + b"\0" + struct.pack(">IhIhih", 0, 0, 25, -1, -1, 0)
                          for i in range(len(values)))
        self._send(b"T", struct.pack(">h", len(values)) + fields)
        cells = b"".join(struct.pack(">i", -1) if value is None
                         else struct.pack(">i", len(value)) + value.encode() for value in values)
        self._send(b"D", struct.pack(">h", len(values)) + cells)
        self._send(b"C", command.split()[0].encode() + b"\0")
        self._send(b"Z", b"I")

    # Messages

    def _copy_data(self, body):
        self._send(b"d", body)

    def _send(self, kind, body):
        self._client.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def _message(self, wait=True):
        """(type, body); with wait=False None if no whole one has come."""
        while True:
            if len(self._received) >= 5:
                (length,) = struct.unpack(">I", self._received[1:5])
                if len(self._received) > length:
                    kind, body = self._received[:1], self._received[5:length + 1]
                    self._received = self._received[length + 1:]
                    return kind, body
            if not wait and not select.select([self._client], [], [], 0)[0]:
                return None
            self._more()

    def _exactly(self, size):
        while len(self._received) < size:
            self._more()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _more(self):
        piece = self._client.recv(65536)
        if not piece:
            raise ConnectionResetError("the receiver has gone")
        self._received += piece
