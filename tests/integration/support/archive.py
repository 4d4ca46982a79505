"""An archive as anybody sees it: a directory of files, each in one of the known forms. Compared,
byte by byte, with what the servers have in their own pg_wal."""

import gzip
import pathlib
import subprocess

from . import wal
from .process import PATIENCE, wait_for
from .receiver import Receiver, assert_somebody_works

_FORMS = {"": None, ".zst": ["zstd", "-dcq"], ".lz4": ["lz4", "-dcq"], ".gz": "gzip"}


class Archive:
    def __init__(self, path, segment_size):
        self.path = pathlib.Path(path)
        self.segment_size = segment_size

    # What is there

    def names(self):
        return sorted(path.name for path in self.path.iterdir())

    def finished(self):
        """{(timeline, segno): path} of everything under a final name. A segment in two forms at
        once (between compressing and unlinking) is listed in the compressed one."""
        found = {}
        for path in self.path.iterdir():
            stem, suffix = _split(path.name)
            segment = wal.parse_segment(stem, self.segment_size)
            if segment and suffix in _FORMS and (segment not in found or suffix):
                found[segment] = path
        return dict(sorted(found.items()))

    def partials(self):
        found = {}
        for path in self.path.glob("*.partial"):
            segment = wal.parse_segment(path.stem, self.segment_size)
            if segment:
                found[segment] = path
        return dict(sorted(found.items()))

    def histories(self):
        return {int(path.stem, 16): path for path in sorted(self.path.glob("*.history"))
                if wal.HISTORY.match(path.name)}

    def hidden(self):
        """Leftovers of what is under way; the records of verify and drill are to stay."""
        return [name for name in self.names() if name.startswith(".") and not name.startswith(".pgweir-last-")]

    def content(self, path):
        """The segment's bytes, whatever the form."""
        how = _FORMS[_split(path.name)[1]] if path.suffix != ".partial" else None
        if how is None:
            return path.read_bytes()
        if how == "gzip":
            return gzip.decompress(path.read_bytes())
        return subprocess.run([*how, path], stdout=subprocess.PIPE, check=True).stdout

    def read(self, timeline, segno):
        """The bytes of the segment, from the final form or else from the .partial; or None. Looks
        again if a file changes its name or form in the meantime."""
        for _ in range(20):
            path = self.finished().get((timeline, segno)) or self.partials().get((timeline, segno))
            if path is None:
                if (timeline, segno) in self.finished():
                    continue  # it got its final name between the two looks
                return None
            try:
                return self.content(path)
            except (FileNotFoundError, subprocess.CalledProcessError):
                if path.exists():
                    raise
        raise AssertionError(f"segment {segno} of timeline {timeline} does not hold still")

    # What it is worth

    def assert_same_wal(self, *servers, minimum=1):
        """Every finished segment is complete and byte-identical in every one of the servers that
        has written it to its end, at least one of them; history files likewise. Returns how many
        segments were compared."""
        compared = 0
        for (timeline, segno), path in self.finished().items():
            content = self.content(path)
            assert len(content) == self.segment_size, f"{path.name}: {len(content)} bytes"
            references = [server for server in servers if server.holds_whole(timeline, segno)]
            assert references, f"{path.name}: no server has this segment as a whole"
            name = wal.segment_name(timeline, segno, self.segment_size)
            for server in references:
                _assert_equal(content, server.pg_wal(name).read_bytes(),
                              f"{path.name} and {server.name}'s own")
            compared += 1
        for path in self.histories().values():
            owners = [server for server in servers if server.pg_wal(path.name).exists()]
            assert owners, f"{path.name}: no server has it"
            for server in owners:
                assert path.read_bytes() == server.pg_wal(path.name).read_bytes(), path.name
        assert compared >= minimum, f"only {compared} finished segments: {self.names()}"
        return compared

    def assert_covers(self, server, timeline, upto, start=None):
        """Every byte from `start` (default: the archive's first segment of the timeline) up to
        `upto` is there and is the server's own; nothing is missing in between."""
        segments = sorted(segno for line, segno in {**self.finished(), **self.partials()}
                          if line == timeline)
        assert segments, f"nothing of timeline {timeline} in the archive: {self.names()}"
        first = segments[0] if start is None else start // self.segment_size
        for segno in range(first, -(-upto // self.segment_size)):
            name = wal.segment_name(timeline, segno, self.segment_size)
            content = self.read(timeline, segno)
            assert content is not None, f"{name} is missing in the archive: {self.names()}"
            length = min(self.segment_size, upto - segno * self.segment_size)
            assert len(content) >= length, f"{name}: {len(content)} bytes, wanted {length}"
            own = server.pg_wal(name).read_bytes()
            _assert_equal(content[:length], own[:length], f"{name} and {server.name}'s own")

    def covers(self, server, timeline, upto):
        try:
            self.assert_covers(server, timeline, upto)
        except AssertionError:
            return False
        return True

    def wait_covers(self, server, timeline, upto, deadline=PATIENCE):
        """Waits until the bytes up to `upto` are there, and the server's own; a failure tells which differ."""

        def there():
            segno = (upto - 1) // self.segment_size
            if (timeline, segno) in self.finished():
                return self.covers(server, timeline, upto)
            if (timeline, segno) not in self.partials():
                return False
            content = self.read(timeline, segno)
            own = server.wal_path(timeline, upto - 1).read_bytes()
            length = upto - segno * self.segment_size
            # Segments before it may still be on their way, several at a time.
            return (content is not None and content[:length] == own[:length]
                    and self.covers(server, timeline, upto))

        def there_or_coming():
            if there():
                return True
            assert_somebody_works()
            return False

        try:
            wait_for(there_or_coming, f"{wal.lsn_text(upto)} of timeline {timeline} in the archive", deadline,
                     interval=0.05)
        except AssertionError:
            if Receiver.started and Receiver.started[-1].running():
                self.assert_covers(server, timeline, upto)  # tells more: which bytes differ
            raise

    def wait_finished(self, timeline, segno, deadline=PATIENCE, form=None):
        """Waits for the segment's final name (with `form`, e.g. '.zst': for that form alone)."""
        name = wal.segment_name(timeline, segno, self.segment_size)

        def there():
            if form is None:
                return (timeline, segno) in self.finished()
            return (self.path / (name + form)).exists() and not (self.path / name).exists()

        def there_or_coming():
            if there():
                return True
            assert_somebody_works()
            return False

        wait_for(there_or_coming, f"{name}{form or ''} under its final name", deadline)


def _without_empty_pages(content):
    """Behind an xlog switch a server's file has zeros, but its walsender (17 on) may send headers of
    pages that are otherwise empty, from the WAL buffers. They mean nothing."""
    page, header = 8192, 24
    end = len(content)
    while end > 0:
        begin = (end - 1) // page * page
        if content[begin + header:end].strip(b"\0"):
            break
        end = begin
    return content[:end] + bytes(len(content) - end)


def _split(name):
    stem, dot, suffix = name.partition(".")
    return stem, dot + suffix


def _assert_equal(left, right, what):
    if left == right:
        return
    left, right = _without_empty_pages(left), _without_empty_pages(right)
    if left == right:
        return
    for at, (a, b) in enumerate(zip(left, right)):
        if a != b:
            raise AssertionError(f"{what} differ from byte {at:#x} on ({a:#04x}, {b:#04x})")
    raise AssertionError(f"{what} differ in length: {len(left)} and {len(right)}")
