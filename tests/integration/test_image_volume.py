"""The image's volume: a group's, one that fills, and a process that is killed at any moment."""

import os
import re
import signal

from support.archive import Archive
from support.process import children_of, run, wait_for
from support.scenario import reported, streaming
from support.server import free_port
from test_image import USER, contained, image, volume  # noqa: F401


def test_a_volume_of_a_group(image, servers, receivers, volume, new_archive):
    """As Kubernetes gives it for fsGroup: root's, open to a group, whose files are the group's."""
    os.chown(volume, 0, 7777)
    volume.chmod(0o2770)
    primary = servers.primary()
    receiver = receivers.start(contained(volume, "receive", "-D", "/archive", "-d", primary.conninfo(),
                                         user="--userspec=65532:65532 --groups=7777"))
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    archived = [path.stat() for path in volume.iterdir() if re.match("[0-9A-F]{24}", path.name)]
    assert archived and {(each.st_uid, each.st_gid) for each in archived} == {(65532, 7777)}


def test_a_volume_that_fills(image, servers, receivers, volume, place):
    """It waits, live and not ready, and goes on when there is room."""
    run(["mount", "-t", "tmpfs", "-o", f"size=8m,uid={USER},mode=0770", "tmpfs", volume])
    try:
        primary = servers.primary()
        port = free_port()
        receiver = receivers.start(contained(volume, "receive", "-D", "/archive", "-d", primary.conninfo(), "-S", "archive",
                                             "--create-slot", "--web-listen", str(port)))
        streaming(primary)
        answer = lambda path: run(["curl", "-sS", "-w", " %{http_code}", f"http://127.0.0.1:{port}{path}"],  # noqa: E731
                                  check=False).stdout
        wait_for(lambda: answer("/readyz").endswith(" 200"), "it to be ready")
        end = primary.write_wal(12)
        wait_for(lambda: answer("/readyz") == "the disk is full\n 503", "the volume to be full")
        assert answer("/healthz") == "ok\nnot ready: the disk is full\n 200"
        # It ends as well as it can, and its next start finds the same.
        receiver.send(signal.SIGTERM)
        assert receiver.wait_exit() in (0, 3), receiver.said()
        run(["mount", "-o", "remount,size=64m", volume])
        receiver = receivers.start(contained(volume, "receive", "-D", "/archive", "-d", primary.conninfo(), "-S", "archive"))
        streaming(primary)
        reported(primary, end)
        verified = run(contained(volume, "verify", "-D", "/archive"), check=False)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        receiver.stop()
    finally:
        run(["umount", "--lazy", volume])


def test_killed_at_any_moment(image, servers, receivers, volume, seeded):
    primary = servers.primary()
    words = contained(volume, "receive", "-D", "/archive", "-d", primary.conninfo(), "-S", "archive", "--create-slot",
                      "--if-not-exists", "--compress", "zstd:1", pid_one=True)
    for _ in range(6):
        receiver = receivers.start(words)
        streaming(primary)
        end = primary.write_wal(seeded.randrange(1, 4))
        if seeded.random() < 0.5:
            reported(primary, end)
        # (The walsender that was seen may be that of the one before.)
        os.kill(wait_for(lambda: children_of(receiver.pid), "the process in there")[0], signal.SIGKILL)
        assert receiver.wait_exit() != 0
    receiver = receivers.start(words)
    streaming(primary)
    reported(primary, primary.switch_wal())
    os.kill(children_of(receiver.pid)[0], signal.SIGTERM)
    assert receiver.wait_exit() == 0, receiver.said()
    Archive(volume, primary.segment_size).assert_same_wal(primary, minimum=6)
    verified = run(contained(volume, "verify", "-D", "/archive"), check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
