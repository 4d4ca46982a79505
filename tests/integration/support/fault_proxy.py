"""Between pgweir and a store: what no store does on request."""

import http.client
import http.server
import socket
import socketserver
import struct
import threading


class FaultProxy:
    """`decide(request)` says what becomes of a request: None, it is passed on; "lost": likewise, and its answer is lost;
    "reset": it is not passed on, and the connection ends; "late":
    likewise, and it is passed on by do_late(); "half": half of the answer's body arrives; "hang": it is not
    passed on, and nobody answers; "stall": half of the answer's body arrives, and then nothing more; "dribble":
    likewise, and then a hundred bytes a second; or (status, headers, body), which is the answer. A request has method, path, headers, number (from 1).
    Where `rejects_unread(handler)` is true, asked before a body is there, it is not read, and the answer is lost unless
    the client has waited for it."""

    def __init__(self, port):
        self.decide = lambda request: None
        self.rejects_unread = lambda handler: False
        self.requests = []
        self._late = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                if proxy.rejects_unread(self):
                    return proxy._reset(self)
                proxy._handle(self, port)

            def handle_expect_100(self):
                if not proxy.rejects_unread(self):
                    return super().handle_expect_100()
                self.close_connection = True
                proxy._answer(self, 503, [], "<Error><Code>SlowDown</Code></Error>")
                return False

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # connections that the proxy itself has ended

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler, port):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            request = type("Request", (), {"method": handler.command, "path": handler.path, "headers": handler.headers,
                                           "body": body, "number": len(self.requests) + 1})
            self.requests.append(request)
            what = self.decide(request)
        if isinstance(what, tuple):
            return self._answer(handler, *what)
        if what == "hang":
            return self._hang(handler)
        if what == "late":
            self._late.append((port, request))
        if what in ("reset", "late"):
            return self._reset(handler)
        connection, answer, content = self._pass_on(port, request)
        headers = [(name, value) for name, value in answer.getheaders()
                   if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")]
        length = answer.getheader("Content-Length") if handler.command == "HEAD" else None
        connection.close()
        if what == "lost":
            return self._reset(handler)
        self._answer(handler, answer.status, headers, content, length=length, half=what in ("half", "stall", "dribble"),
                     rest=what)

    @staticmethod
    def _pass_on(port, request):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        sent = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
        connection.request(request.method, request.path, body=request.body if request.body else None, headers=sent)
        answer = connection.getresponse()
        return connection, answer, answer.read()

    def do_late(self):
        """What the client has given up takes effect now. The answers' statuses."""
        statuses = []
        while self._late:
            connection, answer, _ = self._pass_on(*self._late.pop(0))
            statuses.append(answer.status)
            connection.close()
        return statuses

    def _answer(self, handler, status, headers, body, length=None, half=False, rest=None):
        body = body.encode() if isinstance(body, str) else body
        names = [name.lower() for name, _ in headers]
        handler.send_response_only(status)
        if "date" not in names:
            handler.send_header("Date", handler.date_time_string())
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", length or str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[:len(body) // 2] if half else body)
        if half:
            handler.wfile.flush()
            if rest == "dribble":
                return self._dribble(handler, body[len(body) // 2:])
            if rest == "stall":
                return self._hang(handler)
            self._reset(handler)

    def _dribble(self, handler, body):
        handler.close_connection = True
        for at in range(0, len(body), 10):
            if self._stopped.wait(0.1):
                return
            handler.wfile.write(body[at:at + 10])
            handler.wfile.flush()

    def _hang(self, handler):
        """Until the other side gives up, or all is over."""
        handler.close_connection = True
        handler.connection.settimeout(0.2)
        while not self._stopped.is_set():
            try:
                if not handler.connection.recv(1, socket.MSG_PEEK):
                    return
            except TimeoutError:
                pass
            except OSError:
                return

    @staticmethod
    def _reset(handler):
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
