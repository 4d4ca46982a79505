"""Processes of the tests: who they run as, how they end, and waiting for conditions."""

import ctypes
import os
import pathlib
import pwd
import signal
import subprocess
import time

# Seconds for what comes sooner or later, on a machine that has twenty other things to do: only a failure takes that long.
PATIENCE = int(os.environ.get("PGWEIR_PATIENCE", "120"))

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def wait_for(condition, what, deadline=PATIENCE, interval=0.02):
    """Returns condition()'s first true value. Fails after `deadline` seconds, saying for what. The last look is behind the
    deadline: who was kept from running meanwhile has missed nothing. Looks become rarer, since most are questions to a
    server: what takes longer may be seen a tenth later."""
    begin = time.monotonic()
    end = begin + deadline
    while True:
        late = time.monotonic() > end
        value = condition()
        if value:
            return value
        if late:
            raise AssertionError(f"waited {deadline:g} s in vain for: {what}")
        time.sleep(max(interval, min(0.1, (time.monotonic() - begin) / 10)))


def server_user():
    """PostgreSQL refuses to run as root: then it is the user `postgres`, else who we are."""
    if os.getuid() == 0:
        return pwd.getpwnam("postgres")
    return pwd.getpwuid(os.getuid())


def as_server_user():
    """Arguments of subprocess to run something as server_user()."""
    if os.getuid() != 0:
        return {}
    user = server_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [user.pw_gid]}


def freeze(pid):
    """SIGSTOP: each thread stops when it next gets to run, and has when this returns."""
    os.kill(pid, signal.SIGSTOP)

    def state(task):
        return (task / "stat").read_text().rpartition(")")[2].split()[0]

    wait_for(lambda: all(state(task) == "T" for task in pathlib.Path(f"/proc/{pid}/task").iterdir()),
             f"process {pid} to be stopped")


def die_with_parent(sig):
    """For preexec_fn: the kernel sends `sig` when the test run dies, so that nothing is left over
    even if the run itself is killed."""

    def set_signal():
        _libc.prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0)

    return set_signal


def run(command, check=True, timeout=5 * PATIENCE, **options):
    """Runs to the end; output is text. A failure shows what the command said."""
    result = subprocess.run(
        [str(word) for word in command],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        **options,
    )
    if check and result.returncode != 0:
        raise AssertionError(
            f"{command[0]} ended with {result.returncode}\n{result.stdout}{result.stderr}"
        )
    return result


def copied_beside(process, path, rest, seconds=2):
    """Another program is copying the file directly to its final name, which `process` waits for. It counts as being
    written for 10 s after a change: here it is changed all the time, however late `process` comes to it. Then it is whole."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.utime(path)
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"it did not wait for {path}: status {process.returncode}")
    with open(path, "ab") as file:
        file.write(rest)


def preload(place, source):
    """Builds support/<source>, a library for LD_PRELOAD."""
    library = pathlib.Path(place) / source.replace(".c", ".so")
    run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, pathlib.Path(__file__).parent / source, "-ldl"])
    return library


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue  # it ended between listdir and open
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return found


def alive(pid):
    """True if there is such a process and it is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tail(path, lines=60):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError as error:
        return f"({error})\n"


SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
