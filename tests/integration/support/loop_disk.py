"""A file system in a file."""

import contextlib
import os

import pytest

from .process import run


@contextlib.contextmanager
def loop_ext4(place, name, megabytes):
    """Yields where it is mounted. The test is skipped if that cannot be done here."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    image, path = place / f"{name}.image", place / name
    path.mkdir()
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image])
    mounted = run(["mount", "-o", "loop,errors=remount-ro", image, path], check=False)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a file here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        run(["umount", "-l", path])
