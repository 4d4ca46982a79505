"""A file system of a certain kind, made in a file and mounted for one measurement. Needs root."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile

EXT4 = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
KINDS = {"ext4": EXT4, "ext4-no-journal": [*EXT4, "-O", "^has_journal"], "xfs": ["mkfs.xfs", "-q"]}
GIGABYTES = 4


@contextlib.contextmanager
def temporary_files_on(kind):
    """Temporary files, the servers and archives of all rows among them, lie there meanwhile. None: where they always do.
    The loop device hands writes on past the page cache, and its flush is one of the disk below."""
    if kind is None:
        yield
        return
    place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-disk-"))
    image, mount = place / "image", place / "mounted"
    # Written, not only reserved: a sync should cost what it costs on a disk.
    run(["dd", "if=/dev/zero", f"of={image}", "bs=4M", f"count={GIGABYTES * 256}", "oflag=direct", "status=none"])
    mount.mkdir()
    before, device = tempfile.tempdir, None
    try:
        run([*KINDS[kind], image])
        device = run(["losetup", "--find", "--show", "--direct-io=on", image])
        run(["mount", device, mount])
        try:
            mount.chmod(0o755)
            place.chmod(0o755)
            tempfile.tempdir = str(mount)
            yield
        finally:
            tempfile.tempdir = before
            run(["umount", mount])
    finally:
        if device:
            run(["losetup", "--detach", device])
        shutil.rmtree(place)


def run(words):
    return subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
