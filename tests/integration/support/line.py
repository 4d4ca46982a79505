"""A connection to a server that ends where a test wants it to: between any two bytes."""

import select
import socket
import threading

from .server import free_port


class Line:
    """Forwards connections to `port`. cut_after(n): from now on n bytes more come from the server, and then nothing;
    nobody is told. mend(): everything from then on. One thread; close() ends it."""

    def __init__(self, port, listen=None):
        self._server = port
        self.port = listen or free_port()
        self._left = None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._ends, self._wake = socket.socketpair()
        self._pairs = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut_after(self, count):
        with self._lock:
            self._left = count

    def mend(self):
        with self._lock:
            self._left = None
        self._wake.send(b"x")

    def close(self):
        self._wake.close()
        self._thread.join(10)

    def _readable(self):
        with self._lock:
            blocked = self._left == 0
        return [end for end, (_, from_server) in self._pairs.items() if not (blocked and from_server)]

    def _run(self):
        while True:
            ready, _, _ = select.select([self._listener, self._ends, *self._readable()], [], [], 0.05)
            for end in ready:
                if end is self._ends:
                    if not end.recv(100):
                        for each in [self._listener, *self._pairs]:
                            each.close()
                        return
                elif end is self._listener:
                    self._connect(end.accept()[0])
                elif end in self._pairs:
                    self._forward(end)

    def _connect(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self._server))
        except OSError:
            client.close()
            return
        self._pairs[client], self._pairs[server] = (server, False), (client, True)

    def _forward(self, end):
        other, from_server = self._pairs[end]
        with self._lock:
            most = 1 << 16 if self._left is None or not from_server else min(self._left, 1 << 16)
            if most == 0:
                return
        try:
            data = end.recv(most)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (end, other):
                self._pairs.pop(each, None)
                each.close()
        elif from_server:
            with self._lock:
                if self._left is not None:
                    self._left -= len(data)


class Ending(Line):
    """Ends the connection once, when its client sends the query with that number."""

    def __init__(self, port, number):
        self.left = number
        super().__init__(port)

    def _forward(self, end):
        other, from_server = self._pairs[end]
        if not from_server and _first_byte(end) == b"Q":
            self.left -= 1
            if self.left == 0:
                for each in (end, other):
                    del self._pairs[each]
                    each.close()
                return
        super()._forward(end)


def _first_byte(end):
    try:
        return end.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""
