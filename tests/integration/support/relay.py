"""`pgweir serve` under test, and a client at the level of the wire."""

import socket
import struct

from .process import PATIENCE
from .receiver import BINARY
from .server import free_port

PASSWORD = "a secret with blanks"


def make_user(server, name="repl"):
    """A role of the server with a password; returns its line for the users file: what pg_authid has."""
    server.sql("SET password_encryption = 'scram-sha-256';"  # not the default of 13
               f" CREATE ROLE {name} REPLICATION LOGIN PASSWORD '{PASSWORD}'")
    secret = server.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")
    assert secret.startswith("SCRAM-SHA-256$")
    return f'"{name}" "{secret}"\n'


class Relay:
    """start() runs it; `users` and `rules` are contents of its files, None: without."""

    def __init__(self, place, receivers, archive, users=None, rules=None, options=(), env=None):
        self.port = free_port()
        self.socket_dir = place
        self.hba, self.users = place / "relay_hba.conf", place / "relay_users"
        self._receivers = receivers
        command = [BINARY, "serve", "-D", archive.path, "--listen", self.port, "--serve-socket", place]
        if users is not None:
            self.users.write_text(users)
            command += ["--serve-users", self.users]
        if rules is not None:
            self.hba.write_text(rules)
            command += ["--serve-hba", self.hba]
        self.command = [str(word) for word in [*command, *options]]
        self.env = env
        self.process = None

    def start(self):
        self.process = self._receivers.start(self.command, self.env)
        self.process.wait_log(rf"listening on .*:{self.port}")
        return self

    def conninfo(self, user="repl", host="127.0.0.1", **more):
        words = {"host": host, "port": self.port, "user": user, "password": PASSWORD, **more}
        escaped = {key: str(value).replace("\\", "\\\\").replace("'", "\\'") for key, value in words.items()}
        return " ".join(f"{key}='{value}'" for key, value in escaped.items())


class Client:
    """Speaks to a walsender, real or not, that asks for no password."""

    protocol = 3 << 16
    last_error = None

    def __init__(self, port, user="postgres", replication="true", host="127.0.0.1", **parameters):
        self.socket = self._connect(host, port)
        words = {"user": user, "replication": replication, **parameters}
        body = b"".join(f"{key}\0{value}\0".encode() for key, value in words.items()) + b"\0"
        self.socket.sendall(struct.pack(">II", len(body) + 8, self.protocol) + body)
        self.greeting = self.until(b"ZE")

    def _connect(self, host, port):
        return socket.create_connection((host, port), timeout=PATIENCE)

    def close(self):
        self.socket.close()

    def send(self, kind, body=b""):
        self.socket.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def message(self):
        kind = self._exactly(1)
        body = self._exactly(struct.unpack(">I", self._exactly(4))[0] - 4)
        if kind == b"E":
            self.last_error = fields(body)
        return kind, body

    def until(self, kinds):
        """All messages up to the first of one of these types, which is the last one."""
        heard = []
        while not heard or heard[-1][0] not in [bytes([kind]) for kind in kinds]:
            heard.append(self.message())
        return heard

    def query(self, text, until=b"Z"):
        self.send(b"Q", text.encode() + b"\0")
        return self.until(until)

    def status(self, flush, reply=False):
        self.send(b"d", b"r" + struct.pack(">QQQqB", flush, flush, flush, 0, reply))

    def _exactly(self, size):
        parts = []
        while size > 0:
            try:
                part = self.socket.recv(min(size, 1 << 16))
            except OSError as error:
                raise type(error)(f"{error}; the last error that it sent: {self.last_error}") from error
            if not part:
                raise EOFError(f"it has hung up; the last error that it sent: {self.last_error}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def fields(error):
    """{"C": SQLSTATE, "M": message, …} of an ErrorResponse's body."""
    return {part[:1].decode(): part[1:].decode(errors="backslashreplace") for part in error.split(b"\0") if part}


def told(heard):
    """What a client can see in an answer: columns with their types, values, tags, errors."""
    seen = []
    for kind, body in heard:
        if kind == b"T":
            at, columns = 2, []
            for _ in range(struct.unpack(">h", body[:2])[0]):
                end = body.index(b"\0", at)
                columns.append((body[at:end].decode(), *struct.unpack(">Ih", body[end + 7:end + 13])))
                at = end + 19
            seen.append(("columns", columns))
        elif kind == b"D":
            at, values = 2, []
            for _ in range(struct.unpack(">h", body[:2])[0]):
                size = struct.unpack(">i", body[at:at + 4])[0]
                values.append(None if size < 0 else body[at + 4:at + 4 + size].decode())
                at += 4 + max(size, 0)
            seen.append(("row", values))
        elif kind == b"E":
            error = fields(body)
            seen.append(("error", {key: error.get(key) for key in "SVCMDH"}))
        elif kind == b"C":
            seen.append(("done", body.rstrip(b"\0").decode()))
        else:
            seen.append((kind.decode(), body))
    return seen
