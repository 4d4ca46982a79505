"""Azure Blob Storage for the tests: Azurite, Microsoft's emulator, as scripts/setup installs it into build/azurite, with
all its data in memory; and a small client of it, with a signature of its own (Shared Key). Loopback only; the process is
ours, and dies with the test run."""

import atexit
import base64
import datetime
import email.utils
import hashlib
import hmac
import http.client
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
import xml.etree.ElementTree as ElementTree

from .process import PATIENCE, die_with_parent, tail, wait_for
from .server import REPOSITORY

PROGRAM = REPOSITORY / "build" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
VERSION = "2023-11-03"


def installed():
    return PROGRAM.exists() and shutil.which("node") is not None


class Azurite:
    """The account that every emulator has."""

    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-azurite-"))
        self._process = None
        self._containers = 0
        self.port = 0
        atexit.register(self.stop)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        log = self.home / "log"
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                ["node", str(PROGRAM), "--silent", "--disableTelemetry", "--inMemoryPersistence", "--blobHost", "127.0.0.1",
                 "--blobPort", str(self.port)], stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, cwd=self.home, preexec_fn=die_with_parent(signal.SIGKILL))

        def port():
            assert self._process.poll() is None, tail(log)
            return re.search(r"successfully listens on http://127\.0\.0\.1:(\d+)", log.read_text())

        self.port = int(wait_for(port, "Azurite to listen", deadline=5 * PATIENCE, interval=0.1).group(1))
        return self

    def bucket(self):
        """A new one."""
        self._containers += 1
        return Container(self, f"wal{self._containers}").create()

    def sas(self, rights, container, seconds=3600):
        """A shared access signature for a container (service SAS, 2020-12-06 and later)."""
        version = "2021-12-02"
        ends = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = "\n".join([rights, "", ends, f"/blob/{self.account}/{container}", "", "", "", version, "c", "", "", "", "", "", "", ""])
        return urllib.parse.urlencode({"sp": rights, "se": ends, "sv": version, "sr": "c", "sig": self._hmac(text)})

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _hmac(self, text):
        return base64.b64encode(hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()).decode()

    def authorization(self, method, path, query, headers):
        names = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
                 "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")
        sent = {name.lower(): value for name, value in headers.items()}
        if sent.get("content-length") == "0":
            sent["content-length"] = ""
        text = "\n".join([method, *(sent.get(name, "") for name in names)]) + "\n"
        text += "".join(f"{name}:{sent[name]}\n" for name in sorted(sent) if name.startswith("x-ms-"))
        text += f"/{self.account}{path}" + "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        return f"SharedKey {self.account}:{self._hmac(text)}"


class Container:
    """What support.s3's Bucket is."""

    def __init__(self, gateway, name):
        self.gateway = gateway
        self.name = name

    @property
    def url(self):
        return f"azure://{self.name}"

    def request(self, method, key="", query=None, body=b"", headers=None, status=(200, 201, 202, 206)):
        path = urllib.parse.quote(f"/{self.gateway.account}/{self.name}" + (f"/{key}" if key else ""), safe="/-._~")
        query = {**({} if key else {"restype": "container"}), **(query or {})}
        sent = {"x-ms-version": VERSION, "x-ms-date": email.utils.formatdate(usegmt=True), **(headers or {})}
        if method in ("PUT", "POST"):
            sent["Content-Length"] = str(len(body))
        sent["Authorization"] = self.gateway.authorization(method, path, query, sent)
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=120)
        try:
            connection.request(method, path + ("?" + urllib.parse.urlencode(query) if query else ""), body=body or None, headers=sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status in status, (method, key, answer.status, content)
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return content

    def create(self):
        self.request("PUT")
        return self

    def keys(self, prefix=""):
        keys, marker = [], ""
        while True:
            page = ElementTree.fromstring(self.request("GET", query={"comp": "list", "prefix": prefix, "marker": marker}))
            keys += [blob.findtext("Name") for blob in page.find("Blobs")]
            marker = page.findtext("NextMarker")
            if not marker:
                return keys

    def get(self, key):
        return self.request("GET", key)

    def put(self, key, content):
        self.request("PUT", key, body=content, headers={"x-ms-blob-type": "BlockBlob"})

    def remove(self, key):
        self.request("DELETE", key)

    def metadata(self, key):
        self.request("HEAD", key)
        return {name.removeprefix("x-ms-meta-"): value for name, value in self.headers.items() if name.startswith("x-ms-meta-")}
