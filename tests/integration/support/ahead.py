"""Asking a restore_command as a recovering server does, and the helper that fetches ahead of it."""

import contextlib
import os
import pathlib
import re
import subprocess

from .process import PATIENCE, alive, wait_for
from .receiver import BINARY

NAME = "pgweir-prefetch"
PREFETCHED = "was prefetched and verified"


def helpers(place):
    """Helper processes that were started by a command line naming `place`."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if (entry.isdigit() and pathlib.Path(f"/proc/{entry}/comm").read_text().strip() == NAME
                    and str(place).encode() in pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                    and alive(int(entry))):
                found.append(int(entry))
        except OSError:
            continue  # it ended meanwhile
    return found


def descriptors(pid):
    links = []
    with contextlib.suppress(OSError):  # it ended meanwhile
        for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                links.append((os.readlink(path), path.stat().st_size))
    return links


def other_threads(pid):
    """The address is taken as long as a thread lives, though the process counts as dead before."""
    try:
        return [name for name in os.listdir(f"/proc/{pid}/task") if name != str(pid)]
    except OSError:
        return []


class Recovery:
    """A shell that calls restore_command as a server would; the helper lives as long as it."""

    def __init__(self, place, name="recovery", **environment):
        self.place = place
        self.environment = ["env", *(f"{name}={value}" for name, value in environment.items())]
        self.out = place / name / "pg_wal"
        self.out.mkdir(parents=True)
        self.shell = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, cwd=place)

    def ask(self, archive, name, *options, keep=True):
        """(exit status, what was said, content or None). The file is renamed, as a server does."""
        target = self.out / "RECOVERYXLOG"
        words = [*self.environment, BINARY, "restore", "-D", archive, "-v",
                 *(options or ["--prefetch", "3"]), name, target]
        said = self.place / "said"
        self.shell.stdin.write(" ".join(str(word) for word in words) + f" 2>{said}; echo $?\n")
        self.shell.stdin.flush()
        status = int(self.shell.stdout.readline())
        content = target.read_bytes() if target.exists() else None
        assert (content is not None) == (status == 0), said.read_text()
        if content is not None and keep:
            target.rename(self.out / name)
        return status, said.read_text(), content

    def helper(self):
        return wait_for(lambda: helpers(self.place), "a helper")[0]

    def wait_stock(self, count, size=1 << 20):
        """Waits until the helper holds so many segments that recovery has not got yet."""
        pid = self.helper()
        wait_for(lambda: sum(link.endswith("(deleted)") and length == size
                             for link, length in descriptors(pid)) >= count
                 and self.settled(pid), f"{count} segments in stock")
        return pid

    @staticmethod
    def settled(pid):
        """All its threads wait: three, and what a sanitizer adds."""
        def wait():
            try:
                states = [path.read_text().rpartition(")")[2].split()[0]
                          for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
            except OSError:
                return False  # a thread ended meanwhile
            return len(states) >= 3 and set(states) == {"S"}
        return wait() and wait()

    def assert_no_litter(self):
        names = [path.name for path in self.out.iterdir()]
        assert all(re.fullmatch(r"[0-9A-F]{24}", name) for name in names), names

    def end(self):
        self.shell.stdin.close()
        self.shell.wait(PATIENCE)
