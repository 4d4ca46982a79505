"""A stand-in for Google Cloud Storage, written for these tests, since there is no emulator of its XML API that checks signatures
and conditions: objects in memory, as Google's documentation describes them. It checks GOOG4-HMAC-SHA256 signatures by itself,
accepts one bearer token, and compares generations. What it does shows nothing about the real service."""

import base64
import hashlib
import hmac
import http.server
import re
import socketserver
import threading
import urllib.parse
import xml.sax.saxutils


class Google:
    key, secret, token = "GOOG1EXAMPLE", "a-secret-of-hmac", "ya29.a-token"

    def __init__(self):
        self._lock = threading.Lock()
        self.objects = {}  # {bucket/key: (generation, content, metadata)}
        self.generation = 0
        self.may_delete = True
        self.asked = []
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with stand_in._lock:
                    status, headers, content = stand_in._answer(self, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", headers.get("x-length", str(len(content))))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _error(status, code):
        return status, {}, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words</Message></Error>".encode()

    def _is_signed(self, request, body):
        told = request.headers.get("Authorization", "")
        if told.startswith("Bearer "):
            return told == f"Bearer {self.token}"
        found = re.fullmatch(r"GOOG4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/auto/storage/goog4_request, SignedHeaders=([^,]+), "
                             r"Signature=([0-9a-f]{64})", told)
        if not found or found.group(1) != self.key or any(name.lower().startswith("x-amz-") for name in request.headers):
            return False
        path, _, query = request.path.partition("?")
        names = found.group(3).split(";")
        own = {name.lower() for name in request.headers if name.lower().startswith("x-goog-")}
        digest = request.headers["x-goog-content-sha256"]
        if not own <= set(names) or digest != hashlib.sha256(body).hexdigest():
            return False
        canonical = "\n".join([request.command, path, "&".join(sorted(query.split("&"))),
                               *(f"{name}:{request.headers[name].strip()}" for name in names), "", found.group(3), digest])
        scope = f"{found.group(2)}/auto/storage/goog4_request"
        text = "\n".join(["GOOG4-HMAC-SHA256", request.headers["x-goog-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"GOOG4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == found.group(4)

    def _answer(self, request, body):
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        name = urllib.parse.unquote(url.path).lstrip("/")
        self.asked.append((request.command, name, query, dict(request.headers)))
        if not self._is_signed(request, body):
            return self._error(403, "SignatureDoesNotMatch")
        if "/" not in name:
            return self._of_bucket(request, name, query, body)
        there = self.objects.get(name)
        if request.command == "PUT":
            return self._put(request, name, there, body)
        if there is None:
            return self._error(404, "NoSuchKey")
        if request.command == "DELETE":
            if not self.may_delete:
                return self._error(403, "AccessDenied")
            del self.objects[name]
            return 204, {}, b""
        generation, content, metadata = there
        headers = {**self._identity(generation, content), **metadata}
        if request.command == "HEAD":
            return 200, {**headers, "x-length": str(len(content))}, b""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if not wanted:
            return 200, headers, content
        first, last = map(int, wanted.groups())
        return (206, headers, content[first:last + 1]) if first < len(content) else self._error(416, "InvalidRange")

    def _put(self, request, name, there, body):
        # Google does not take If-None-Match into account.
        wanted = request.headers.get("x-goog-if-generation-match")
        if wanted is not None and not wanted.isdigit():
            return self._error(400, "InvalidArgument")
        if wanted is not None and int(wanted) != (there[0] if there else 0):
            return self._error(412, "PreconditionFailed")
        if there and not self.may_delete:
            return self._error(403, "AccessDenied")
        if base64.b64decode(request.headers["Content-MD5"]) != hashlib.md5(body).digest():
            return self._error(400, "BadDigest")
        self.generation += 1
        metadata = {key.lower(): value for key, value in request.headers.items() if key.lower().startswith("x-goog-meta-")}
        self.objects[name] = (self.generation, body, metadata)
        return 200, self._identity(self.generation, body), b""

    @staticmethod
    def _identity(generation, content):
        digest = hashlib.md5(content)
        return {"ETag": f'"{digest.hexdigest()}"', "x-goog-generation": str(generation),
                "x-goog-hash": f"md5={base64.b64encode(digest.digest()).decode()}"}

    def _of_bucket(self, request, bucket, query, body):
        if request.command == "POST" and "delete" in query:
            kept = ""
            for key in re.findall(r"<Key>([^<]*)</Key>", body.decode()):
                if self.may_delete:
                    self.objects.pop(f"{bucket}/{xml.sax.saxutils.unescape(key)}", None)
                else:
                    kept += f"<Error><Key>{key}</Key><Code>AccessDenied</Code></Error>"
            return 200, {}, f"<DeleteResult>{kept}</DeleteResult>".encode()
        keys = sorted(key[len(bucket) + 1:] for key in self.objects if key.startswith(f"{bucket}/{query['prefix']}"))
        keys = [key for key in keys if key > query.get("start-after", "")]
        most = int(query["max-keys"])
        entries = ""
        for key in keys[:most]:
            generation, content, _ = self.objects[f"{bucket}/{key}"]
            entries += (f"<Contents><Key>{xml.sax.saxutils.escape(key)}</Key><Generation>{generation}</Generation><Size>{len(content)}"
                        f'</Size><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>"{hashlib.md5(content).hexdigest()}"'
                        "</ETag></Contents>")
        return 200, {}, (f"<ListBucketResult><IsTruncated>{'true' if len(keys) > most else 'false'}</IsTruncated>{entries}"
                         "</ListBucketResult>").encode()
