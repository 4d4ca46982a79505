"""New clusters without initdb each time: a copy of one that was made before, with an identity of its own. And a place
for them where files are made quickly."""

import atexit
import hashlib
import os
import pathlib
import random
import re
import shutil
import struct
import tempfile
import time

from .process import as_server_user, run, server_user

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
_TEMPLATES = REPOSITORY / "build" / "templates"
_MEMORY = pathlib.Path("/dev/shm")
_OURS = "pgweir-tests-"
_NEEDED = 4 << 30
_place = None


def memory_place():
    """A directory in memory for the data directories of servers, or None where memory is short. It goes with this
    process, or with the next one that asks."""
    global _place
    if _place is None or not _place.exists():
        for left in _MEMORY.glob(_OURS + "*"):
            if not pathlib.Path("/proc", left.name.removeprefix(_OURS)).exists():
                shutil.rmtree(left, ignore_errors=True)  # another run may be at it, too
        if not memory_is_free(_NEEDED):
            return None
        _place = _MEMORY / f"{_OURS}{os.getpid()}"
        shutil.rmtree(_place, ignore_errors=True)  # of a process that was killed and had our number
        _place.mkdir(mode=0o755)
        atexit.register(shutil.rmtree, _place, ignore_errors=True)
    return pathlib.Path(tempfile.mkdtemp(dir=_place))


def memory_is_free(needed):
    """Whether so many bytes of files would fit into memory now."""
    if not _MEMORY.is_dir():
        return False
    space = os.statvfs(_MEMORY)
    available = re.search(r"^MemAvailable: +(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return min(space.f_bavail * space.f_frsize, int(available[1]) << 10) >= needed


def new_cluster(bin_directory, data, options):
    """As initdb with these options would make it. The first with them is made by it, and kept in build/."""
    version = run([bin_directory / "postgres", "--version"]).stdout
    key = hashlib.sha256(repr((version, [str(option) for option in options])).encode()).hexdigest()[:16]
    template = _TEMPLATES / key
    if not template.exists():
        _make_template(bin_directory, template, options)
    run(["cp", "-a", template, data])
    _renew_identity(data)


def _make_template(bin_directory, template, options):
    _TEMPLATES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pgweir-template-") as place:
        if os.getuid() == 0:
            os.chown(place, server_user().pw_uid, server_user().pw_gid)
        made = pathlib.Path(place) / "data"
        run([bin_directory / "initdb", "-D", made, *options], **as_server_user(), cwd="/")
        new = pathlib.Path(tempfile.mkdtemp(prefix=".new-", dir=_TEMPLATES))
        run(["cp", "-a", made, new / "data"])
    try:
        (new / "data").rename(template)
    except OSError:  # another run was quicker
        shutil.rmtree(new / "data")
    new.rmdir()


def _renew_identity(data):
    """Of the cluster, in the two places that hold it: pg_control (its first field; the checksum is the last one)
    and the first page of each WAL segment (xlp_sysid)."""
    identity = struct.pack("<Q", int(time.time()) << 32 | random.SystemRandom().randrange(1 << 32))
    path = data / "global" / "pg_control"
    content = path.read_bytes()
    end = next(at for at, checksum in _running_crc32c(content[:512])
               if at >= 100 and struct.unpack_from("<I", content, at)[0] == checksum)
    changed = identity + content[8:end]
    checksum = dict(_running_crc32c(changed))[end]
    with open(path, "r+b") as file:
        file.write(changed + struct.pack("<I", checksum))
    for segment in (data / "pg_wal").glob("0000000100000000000000??"):
        with open(segment, "r+b") as file:
            file.seek(24)
            if file.read(8) == content[:8]:  # else it was never written to
                file.seek(24)
                file.write(identity)


def _running_crc32c(content):
    """(length, CRC-32C of so many bytes), for each multiple of four."""
    crc = 0xFFFFFFFF
    for at, byte in enumerate(content):
        if at % 4 == 0:
            yield at, crc ^ 0xFFFFFFFF
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    yield len(content), crc ^ 0xFFFFFFFF
