"""A disk that writes its diary: `blocklog.py MOUNTPOINT IMAGE LOG` serves IMAGE as the one file of a
FUSE file system, MOUNTPOINT/disk, to be put behind a loop device. Each write and each flush that the
file system above sends to its disk is a line of the diary (entries()), in the order they came.

It speaks the kernel's protocol (linux/fuse.h, 7.31) itself, so nothing has to be installed."""

import ctypes
import os
import stat
import struct
import sys
import time

ENTRY = struct.Struct("<QQQ")  # nanoseconds (monotonic), offset, bytes; then the bytes
FLUSH = 2**64 - 1  # as the offset

_HEADER = struct.Struct("<IIQQIIIHH")
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC = (
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20)
_FLUSH, _INIT, _ACCESS, _INTERRUPT, _BATCH_FORGET = 25, 26, 34, 36, 42
_ENOSYS, _ENOENT = 38, 2
_MOST = 1 << 20


def entries(path):
    """[(nanoseconds, offset, bytes)]; a flush has None for the last two."""
    found = []
    with open(path, "rb") as log:
        while header := log.read(ENTRY.size):
            when, offset, size = ENTRY.unpack(header)
            found.append((when, None, None) if offset == FLUSH else (when, offset, log.read(size)))
    return found


def main(mountpoint, image_path, log_path):
    image = os.open(image_path, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,max_read={_MOST}"
    if libc.mount(b"pgweir-test", os.fsencode(mountpoint), b"fuse", 0, options.encode()) != 0:
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    size = os.fstat(image).st_size
    while True:
        try:
            request = os.read(fuse, _MOST + 65536)
        except InterruptedError:
            continue
        except OSError:
            return  # unmounted
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            continue
        answer = serve(opcode, node, memoryview(request)[_HEADER.size:], image, log, size)
        error, body = (answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(fuse, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)


def serve(opcode, node, body, image, log, size):
    """The answer's body, or an errno."""
    if opcode == _WRITE:
        _, offset, length = struct.unpack_from("<QQI", body)
        data = body[40:40 + length]
        os.pwrite(image, data, offset)
        os.writev(log, [ENTRY.pack(time.monotonic_ns(), offset, length), data])
        return struct.pack("<II", length, 0)
    if opcode == _FSYNC:
        os.write(log, ENTRY.pack(time.monotonic_ns(), FLUSH, 0))
        return b""
    if opcode == _READ:
        _, offset, length = struct.unpack_from("<QQI", body)
        return os.pread(image, length, offset)
    if opcode == _INIT:
        _, _, readahead, _ = struct.unpack_from("<IIII", body)
        big_writes, max_pages = 1 << 5, 1 << 22
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, readahead, big_writes | max_pages, 16, 12,
                           _MOST, 1, _MOST >> 12, 0, 0)
    if opcode == _LOOKUP:
        if bytes(body).rstrip(b"\0") != b"disk":
            return _ENOENT
        return struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + attributes(2, size)
    if opcode in (_GETATTR, _SETATTR):
        return struct.pack("<QII", 3600, 0, 0) + attributes(node, size)
    if opcode == _OPEN:
        direct_io = 1
        return struct.pack("<QII", 0, direct_io, 0)
    if opcode == _STATFS:
        return bytes(80)
    if opcode in (_FLUSH, _RELEASE, _ACCESS):
        return b""
    return _ENOSYS


def attributes(node, size):
    mode = stat.S_IFDIR | 0o700 if node == 1 else stat.S_IFREG | 0o600
    return struct.pack("<6Q10I", node, 0 if node == 1 else size, size >> 9, 0, 0, 0, 0, 0, 0, mode,
                       1, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
