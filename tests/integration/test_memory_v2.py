"""The limits of test_memory.py as control groups of version 2 have them, whichever version this machine has: under a kernel of
its own (user-mode Linux), on this machine's files. PGWEIR_LONG=1: that kernel is slow."""

import contextlib
import os
import re
import shutil
import signal
import subprocess

import pytest

from support.process import PATIENCE, die_with_parent, run
from support.receiver import BINARY
from support.server import FETCHED, REPOSITORY

LINUX = REPOSITORY / "build" / "uml" / "linux.uml"

pytestmark = pytest.mark.skipif(os.environ.get("PGWEIR_LONG") != "1", reason="PGWEIR_LONG=1 boots a kernel for it")


def test_a_kernel_with_the_second_version(place):
    if os.getuid() != 0:
        pytest.skip("only root may read all of this machine's files")
    if not LINUX.exists() or not shutil.which("mkfs.ext4"):
        pytest.skip("no user-mode Linux (scripts/setup uml), or no mkfs.ext4")
    tests = REPOSITORY / "tests" / "integration"
    disk = place / "disk"
    with open(disk, "wb") as file:
        file.truncate(4 << 30)  # as far as it is written to
    run(["mkfs.ext4", "-q", "-F", disk])
    log = place / "console"
    with open(log, "wb") as console:
        kernel = subprocess.Popen(
            [LINUX, "mem=3G", f"ubd0={disk}", "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
             f"init={tests}/support/second_version.sh", "con=null", "con0=null,fd:1", f"uml_dir={place}/",
             f"PGWEIR_TESTS={tests}", f"PGWEIR_BINARY={BINARY}", f"PGWEIR_PG_DIR={FETCHED}",
             f"PGWEIR_PATIENCE={7 * PATIENCE}"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, env={**os.environ, "TMPDIR": "/dev/shm"},
            preexec_fn=die_with_parent(signal.SIGKILL), start_new_session=True)
        try:
            kernel.wait(20 * PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel.pid, signal.SIGKILL)  # its processes are processes of this machine, too
            kernel.wait()
    said = log.read_text(errors="replace")
    assert re.search(r"groups of version 2: .*\bmemory\b.*, of this one: 0::/", said), said
    assert re.search(r"= 8 passed in", said) and "ended with 0" in said, said
