"""A receiver under test: pgweir, or another command that writes an archive."""

import os
import pathlib
import re
import signal
import subprocess

from .process import PATIENCE, die_with_parent, freeze, run, tail, wait_for
from .server import DEBIAN_BIN, REPOSITORY

BINARY = pathlib.Path(os.environ.get("PGWEIR_BINARY", REPOSITORY / "build" / "dev" / "pgweir"))
# Of this source.
VERSION = re.search(r"^project\(pgweir VERSION ([\d.]+)", (REPOSITORY / "CMakeLists.txt").read_text(), re.MULTILINE)[1]

# The sanitizers' own memory counts, too (scripts/sanitize).
MEMORY_FACTOR = 10 if os.environ.get("PGWEIR_SANITIZED") else 1


def pgweir(*arguments, timeout=5 * PATIENCE, env=None, **options):
    """Runs a command of pgweir to its end; returns the finished process, whatever its status."""
    return run([BINARY, *arguments], check=False, timeout=timeout, env=_environment(env), **options)


class Receiver:
    """One process and what it said. Receivers (conftest.py) ends it whatever happens."""

    started = []  # of the running test

    def __init__(self, command, log, env=None):
        self.command = [str(word) for word in command]
        self.log = pathlib.Path(log)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as stderr:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=_environment(env),
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        Receiver.started.append(self)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def said(self):
        """Everything this process wrote to stderr (and stdout) so far."""
        with open(self.log, errors="replace") as file:
            file.seek(self._log_start)
            return file.read()

    def lines(self):
        """What it said, without a line that is only half written yet."""
        return self.said().rpartition("\n")[0].split("\n")

    def wait_log(self, pattern, deadline=PATIENCE):
        """Waits for a line that has the regular expression; returns the match."""
        expression = re.compile(pattern)

        def found():
            match = expression.search(self.said())
            if not match and not self.running():
                match = expression.search(self.said())
                assert match, f"it ended ({self.process.returncode}) without saying {pattern!r}"
            return match

        return wait_for(found, f"the receiver to say {pattern!r}", deadline)

    def wait_exit(self, deadline=PATIENCE):
        """The exit status; a signal's number, negative, if one killed it."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the receiver did not end within {deadline} s") from None

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, deadline=PATIENCE):
        """The signal must end it well."""
        self.send(number)
        status = self.wait_exit(deadline)
        assert status == 0, f"exit status {status} after signal {number}\n{tail(self.log)}"

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        freeze(self.process.pid)

    def resume(self):
        self.send(signal.SIGCONT)


def assert_somebody_works():
    """For waits that only a receiver can end: no use in waiting when the last one has ended."""
    started = Receiver.started
    assert not started or any(receiver.running() for receiver in started), (
        f"no receiver runs any more; the last one ended with {started[-1].process.returncode}:\n"
        f"{started[-1].said()}")


def receive_command(directory, conninfo, *options):
    return [BINARY, "receive", "-D", directory, "-d", conninfo, *options]


def stock_command(directory, conninfo, *options):
    """PostgreSQL's own receiver; to check the fixtures by, and to take archives over from."""
    return [DEBIAN_BIN / "pg_receivewal", "-D", directory, "-d",
            f"{conninfo} application_name=pgweir", "--synchronous", *options]


def _environment(extra):
    """Ours without what would reach libpq from outside."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")
             or key.startswith("PGWEIR_")}
    clean["PGPASSFILE"] = "/nonexistent"
    clean.update(extra or {})
    return clean
