"""The commands of a page in docs/, run as a reader would: in order, with the page's example names
replaced by a test's. What the word after the fence means:

    ```sh              run; must end with 0
    ```sh background   started, and left running (a receiver)
    ```sh old          the same, of what is replaced later: stopped before the next command
    ```sql [server]    run on that server, the primary if none is named
    ```hba             rules for the primary's pg_hba.conf
    ``` or anything else is for reading
"""

import os
import pathlib
import re
import shutil
import signal
import textwrap

from .process import run, wait_for
from .receiver import BINARY
from .server import DEBIAN_BIN, REPOSITORY

DOCS = REPOSITORY / "docs"


def blocks(path):
    """[(language, words after it, text)]"""
    text = pathlib.Path(path).read_text()
    found = re.findall(r"^ *```(\S*)([^\n]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [(language, words.split(), textwrap.dedent(body)) for language, words, body in found]


class Chapter:
    """`servers` are those of the page by their names there (db1, db2), `relays` the ports of its relays, all of
    which have 5433 there ({"relay1": ("192.0.2.21", port)}); `paths` are replaced by others. before and after are
    called with each block's text before and after it is run."""

    def __init__(self, name, place, receivers, servers, paths, relays=None):
        self.relays = relays or {}
        self.blocks = blocks(DOCS / name)
        self.place = pathlib.Path(place)
        self.receivers = receivers
        self.servers = servers
        self.paths = paths
        self.said = []  # what each sh and sql block printed
        self.running = []
        self._old = []
        self._unused = set(paths)
        self._programs()

    def run(self, before=lambda text: None, after=lambda text: None):
        ran = 0
        for language, words, text in self.blocks:
            run_it = {"sh": self.sh, "sql": self._sql, "hba": self._hba}.get(language)
            if run_it is None:
                continue
            before(text)
            run_it(words, text)
            after(text)
            ran += 1
        assert ran > 0
        assert not self._unused, f"the page does not speak of {self._unused}"
        return ran

    def stop_all(self):
        for receiver in self.running:
            receiver.stop()

    def sh(self, words, text):
        script = self.ours(text)
        if "background" in words or "old" in words:
            receiver = self.receivers.start(["bash", "-c", "exec " + script], self.environment())
            (self._old if "old" in words else self.running).append(receiver)
            where = re.search(r"-D (\S+)", script).group(1)
            wait_for(lambda: self._has_begun(receiver, where), f"{script} to begin")
            return
        while self._old:
            old = self._old.pop()
            old.send(signal.SIGINT)  # which every version of pg_receivewal takes as a wish to stop
            assert old.wait_exit() == 0, old.said()
        result = run(["bash", "-euo", "pipefail", "-c", script], check=False, cwd="/",
                     env=self.environment())
        assert result.returncode == 0, f"{text}\nended with {result.returncode}\n{result.stdout}{result.stderr}"
        self.said.append(result.stdout)

    def _sql(self, words, text):
        server = self.servers[words[0] if words else "db1"]
        # As in psql: one statement after the other, each for itself.
        result = run([DEBIAN_BIN / "psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-f", "-",
                      server.conninfo(dbname="postgres")], check=False, stdin=self._file(self.ours(text)))
        assert result.returncode == 0, f"{text}\n{result.stderr}"
        self.said.append(result.stdout)

    def _hba(self, words, text):
        rules = [self._addresses(line) for line in text.split("\n") if line]
        for server in self.servers.values():
            server.hba(*rules)

    def _has_begun(self, receiver, where):
        assert receiver.running(), receiver.said()
        return any(name.suffix == ".partial" for name in pathlib.Path(where).iterdir())

    def ours(self, text):
        for example, ours in sorted(self.paths.items(), key=lambda item: -len(item[0])):
            changed = re.sub(re.escape(example) + r"(?![\w])", str(ours), text)
            if changed != text:
                self._unused.discard(example)
            text = changed

        def hosts(match):
            names = match.group(1).split(",")
            ports = ",".join(str(self.relays[name][1] if name in self.relays else self.servers[name].port)
                             for name in names)
            return f"host={','.join('127.0.0.1' for _ in names)} port={ports}"

        text = re.sub(r"host=((?:db|relay)\d(?:,(?:db|relay)\d)*)(?: port=[\d,]+)?", hosts, self._addresses(text))
        return re.sub(r"\b(db\d):5432", lambda m: f"127.0.0.1:{self.servers[m.group(1)].port}", text)

    def _addresses(self, text):
        for address, port in self.relays.values():
            text = text.replace(f"{address}:5433", f"127.0.0.1:{port}")
        return text.replace("192.0.2.10/32", "127.0.0.1/32").replace("192.0.2.0/24", "127.0.0.0/8")

    def _programs(self):
        """Where the page's `pgweir` and the servers' programs are found, and a home of its own."""
        for name in ("bin", "home"):
            (self.place / name).mkdir()
        (self.place / "bin" / "pgweir").symlink_to(shutil.which(BINARY))

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {**clean, "HOME": str(self.place / "home"), "LC_ALL": "C.UTF-8", "PGPASSFILE":
                str(self.place / "home" / ".pgpass"),
                "PATH": f"{self.place}/bin:{DEBIAN_BIN}:{os.environ['PATH']}"}

    def _file(self, text):
        path = self.place / "statements.sql"
        path.write_text(text)
        return open(path)
