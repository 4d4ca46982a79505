"""A slow network in user space: everything sent through it arrives `delay` later, and not faster
than `rate` bytes a second in each direction. What it holds is bounded, as a network's pipe is."""

import collections
import select
import socket
import sys
import threading
import time

_PIECE = 64 * 1024


class _Direction(threading.Thread):
    """Reads as fast as the line takes it, and hands on what has been under way for long enough."""

    def __init__(self, source, sink, delay, rate):
        super().__init__(daemon=True)
        self._source, self._sink, self._delay, self._rate = source, sink, delay, rate

    def run(self):
        held = collections.deque()  # (when it arrives, bytes)
        line_free_at = 0.0
        open_ = True
        try:
            while open_ or held:
                now = time.monotonic()
                while held and held[0][0] <= now:
                    self._sink.sendall(held.popleft()[1])
                    now = time.monotonic()
                arrives = held[0][0] - now if held else None
                if open_ and line_free_at <= now:
                    if select.select([self._source], [], [], arrives)[0]:
                        piece = self._source.recv(_PIECE)
                        open_ = bool(piece)
                        now = time.monotonic()
                        # A line that was idle for a moment has not saved up more than that.
                        line_free_at = max(line_free_at, now - 0.002) + len(piece) / self._rate
                        held.append((line_free_at + self._delay, piece))
                else:
                    waits = [each for each in (arrives, line_free_at - now if open_ else None)
                             if each is not None]
                    time.sleep(max(0.0, min(waits, default=0.0)))  # nothing is left: it ends
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._source.close()
            self._sink.close()


def serve(port, to_port, delay, rate):
    """Prints the port it listens on; serves until it is killed."""
    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", to_port))
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _Direction(client, server, delay, rate).start()
        _Direction(server, client, delay, rate).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000, float(sys.argv[4]) * 1e6)
