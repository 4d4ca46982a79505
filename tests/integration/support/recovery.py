"""Base backups, and servers that recover from an archive by `pgweir restore`."""

import os
import pathlib
import shutil

from .process import as_server_user, run, server_user, wait_for
from .receiver import BINARY
from .server import DEBIAN_BIN


def base_backup(server, path, wal="none"):
    """Without any WAL in it recovery needs the archive from its first byte on. With wal="fetch" it
    could open without an archive."""
    path = pathlib.Path(path)
    path.mkdir()
    _give(path)
    run([DEBIAN_BIN / "pg_basebackup", "-D", path / "data", "-d", server.conninfo(), "-X", wal,
         "-c", "fast", "-N", "--no-manifest"], **as_server_user(), cwd="/")
    return path / "data"


def hand_over(path):
    """Gives an archive to the servers' user, as whoever restores it would."""
    path = pathlib.Path(path)
    _give(path)
    for entry in path.iterdir():
        _give(entry)


def installed(place):
    """A copy of the program, with what it loads beside it: the servers' user may not be able to enter our
    build directory."""
    binary = pathlib.Path(place) / "pgweir"
    if not binary.exists():
        shutil.copy(BINARY, binary)
        binary.chmod(0o755)
        for module in BINARY.parent.glob("libpgweir-*"):
            shutil.copy(module, place)
    return binary


def restore_command(place, archive, *options):
    binary = installed(place)
    return " ".join([str(binary), "restore", "-D", str(archive.path), *options, "%f", "%p"])


def recover(servers, backup, name, like, restore, standby=False, start=True, **settings):
    """A new server from the backup that recovers by `restore` and opens at its target."""
    server = servers._new(name, like.major, like.segment_size >> 20)
    run(["cp", "-a", backup, server.data], **as_server_user(), cwd="/")
    server._configure({
        "restore_command": restore,
        "recovery_target_action": "promote",
        "archive_mode": "off",
        **settings,
    })
    server._write("standby.signal" if standby else "recovery.signal", "")
    if start:
        server.start()
        if not standby:
            wait_for(lambda: server.sql("SELECT pg_is_in_recovery()") == "f",
                     f"{name} to end its recovery")
    return server


def _give(path):
    if os.getuid() == 0:
        os.chown(path, server_user().pw_uid, server_user().pw_gid)
