"""What random trouble (torture.py) is for an archive with a store and a disk of its own: the store is away or loses
answers, the disk is full. At the end the store has to have all that the archive has, byte by byte."""

import contextlib
import json
import os
import re

from .archive import Archive
from .fault_proxy import FaultProxy
from .loop_disk import loop_ext4
from .process import wait_for
from .receiver import pgweir
from .torture import Station

TROUBLE = {
    "away": lambda request: "reset",
    "hangs": lambda request: "hang",
    "says 503": lambda request: (503, {}, b"<Error><Code>SlowDown</Code></Error>"),
    "loses each third answer": lambda request: "lost" if request.number % 3 == 0 else None,
}


class StationWithStore(Station):
    """It may be killed as others are, and goes on with whichever server is the primary."""

    def __init__(self, torture, gateway):
        super().__init__(torture, "with-store", None)
        self.stack = contextlib.ExitStack()
        self.disk = self.stack.enter_context(loop_ext4(torture.place, "disk", 16384))
        (self.disk / "archive").mkdir(mode=0o700)
        self.archive = Archive(self.disk / "archive", torture.segment_mb << 20)
        self.bucket = gateway.bucket()
        self.proxy = FaultProxy(gateway.port)
        self.stack.callback(self.proxy.stop)
        self.environment = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent",
                            "AWS_ACCESS_KEY_ID": gateway.key, "AWS_SECRET_ACCESS_KEY": gateway.secret}

    def start(self):
        self.upstream = self.torture.primary
        super().start()

    def more_options(self):
        return self._store(self.proxy.url), self.environment

    def _store(self, url):
        return ["--store", f"{self.bucket.url}/p", "--store-endpoint", url, "--store-name", "main"]

    def actions(self):
        return [(self.trouble_store, 3), (self.fill_disk, 2)]

    def trouble_store(self):
        what = self.torture.random.choice(list(TROUBLE))
        self.torture.note(f"  the store {what}")
        self.proxy.requests.clear()
        self.proxy.decide = TROUBLE[what]
        self.torture.write()
        self.torture.switch()
        self.torture.rest(8)
        if self.torture.random.random() < 0.3:
            self.kill()
            self.start()
        self.proxy.decide = lambda request: None

    def fill_disk(self):
        ballast = self.disk / "ballast"
        with open(ballast, "wb") as file:
            size, step = 0, 1 << 30
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                except OSError:
                    step //= 2
        for _ in range(3):
            self.torture.write()
            self.torture.switch()
        self.torture.rest(5)
        if self.torture.random.random() < 0.3:
            self.kill()
            self.start()
            self.torture.rest(1)
        self.assert_well()
        ballast.unlink()

    def finish(self):
        def stored():
            self.assert_well()
            return {_plain(name) for name in self._names()} <= {_plain(key) for key in self._keys()}

        wait_for(stored, "the store to have what the archive has", interval=0.5)

    def compare(self, timeline, end):
        count = super().compare(timeline, end)
        copy = Archive(self.disk / "copy", self.archive.segment_size)
        copy.path.mkdir()
        for key in self._keys():
            (copy.path / key.rsplit("/", 1)[1]).write_bytes(self.bucket.get(key))
        here, there = self.archive.finished(), copy.finished()
        assert here.keys() == there.keys(), sorted(here.keys() ^ there.keys())
        for segment, path in here.items():
            assert copy.content(there[segment]) == self.archive.content(path), path.name
        assert {name: path.read_bytes() for name, path in self.archive.histories().items()} == {
            name: path.read_bytes() for name, path in copy.histories().items()}
        for words in (["verify", "-D", self.archive.path],
                      ["verify", "-D", self.archive.path, *self._store(self.proxy.url)]):
            result = pgweir(*words, "--json", env=self.environment)
            # A failover may lose WAL that is here.
            found = [each for each in json.loads(result.stdout)["findings"] if each["kind"] != "lost_branch"]
            assert result.returncode in (0, 1) and not found, (words, found, result.stderr)
        return count

    def tear_down(self):
        self.stack.close()
        self.bucket.empty()

    def _keys(self):
        return self.bucket.keys("p/main/wals/")

    def _names(self):
        return [path.name for path in [*self.archive.finished().values(), *self.archive.histories().values()]]


def _plain(name):
    return re.sub(r"\.(zst|lz4|gz)$", "", name.rsplit("/", 1)[-1])
