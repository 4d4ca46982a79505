"""Commands as the first process of a container, to which the kernel gives no signal that it has not asked for, and which is
the parent of all that others leave behind."""

import contextlib
import os
import pathlib
import signal
import socket

import pytest

from support.process import children_of, wait_for
from support.receiver import BINARY, pgweir


@pytest.fixture
def first(receivers):
    """first(*words): what runs a command as process one of a namespace."""
    if os.getuid() != 0:
        pytest.skip("only root may make a namespace of processes")

    def start(*words):
        # In a shell's background SIGINT is ignored, and that is inherited.
        return receivers.start(["env", "--default-signal=INT", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", BINARY,
                                *words])

    return start


def names_below(pid):
    """Of its children and theirs, with those that have ended and are not waited for."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it is gone meanwhile
            before, _, behind = path.read_text().rpartition(")")
            parents[int(path.parent.name)] = (int(behind.split()[1]), before.partition("(")[2])
    return {name for parent, name in parents.values() if parent == pid or parents.get(parent, (0,))[0] == pid}


def inside(outer):
    """Process one, as this machine sees it."""
    return wait_for(lambda: children_of(outer.pid), "the first process")[0]


@pytest.fixture
def silent():
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [["doctor", "--measure", "0"], ["slot", "list"], ["notify", "orders", "payload"],
                                   ["receive"], ["listen", "orders"]], ids=lambda words: words[0])
def test_a_command_that_waits_ends_when_it_is_asked_to(first, silent, place, words, number):
    directory = ["-D", place / "archive"] if words[0] == "receive" else []
    (place / "archive").mkdir()
    outer = first(*words, *directory, "-d", f"host=127.0.0.1 port={silent.getsockname()[1]} user=anybody")
    connection, _ = silent.accept()
    os.kill(inside(outer), number)
    ended = outer.wait_exit()
    # Who takes the signal ends well, the others as by the signal itself.
    assert ended == (0 if words[0] in ("receive", "listen") else 128 + number), outer.said()
    connection.close()


def test_the_status_is_the_commands_own(first, place):
    outer = first("status", "-D", place / "nothing")
    assert outer.wait_exit() == pgweir("status", "-D", place / "nothing").returncode != 0


def test_what_commands_leave_behind_is_waited_for(first, servers, place):
    """A command for each notification, which leaves a process that goes on."""
    primary = servers.primary()
    outer = first("listen", "-d", primary.conninfo(dbname="postgres"), "orders", "--exec",
                  f"sleep 0.01 & echo >>{place}/left")
    outer.wait_log("listening on")
    for _ in range(5):
        assert pgweir("notify", "-d", primary.conninfo(dbname="postgres"), "orders", "x").returncode == 0
    wait_for(lambda: (place / "left").exists() and (place / "left").read_text().count("\n") == 5, "five processes to be left")
    inner = inside(outer)
    wait_for(lambda: names_below(inner) <= {"pgweir"}, "all of them to be gone")
    os.kill(inner, signal.SIGTERM)
    assert outer.wait_exit() == 0, outer.said()
