"""A disk that is full, slow, or broken."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

from support import wal
from support.loop_disk import loop_ext4
from support.process import as_server_user, preload, run, server_user, wait_for
from support.receiver import BINARY, MEMORY_FACTOR, pgweir, receive_command
from support.scenario import create_slot, promote_again, reported, restart_lsn, status_of_receiver, streaming


@pytest.fixture(params=["tmpfs"])
def small_disk(request, place):
    """mount.grow(megabytes) on a file system that holds three segments of 1 MB."""
    if request.param == "ext4":
        with loop_ext4(place, "small", 96) as path:
            free = os.statvfs(path)
            (path / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - (3 << 20)))

            class Ext4:
                name = "small/archive"

                @staticmethod
                def grow(megabytes):
                    (path / "ballast").unlink()

            yield Ext4
        return
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = place / "small"
    path.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "pgweir-test", path],
                  check=False)
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a tmpfs here: {mounted.stderr.strip()}")

    class SmallDisk:
        name = "small/archive"

        @staticmethod
        def grow(megabytes):
            run(["mount", "-o", f"remount,size={megabytes}m", path])

    yield SmallDisk
    run(["umount", "-l", path])


@pytest.mark.parametrize("small_disk", ["tmpfs", "ext4"], indirect=True)
def test_a_full_disk_is_waited_for(servers, receivers, new_archive, small_disk):
    """The connection stays, nothing is acknowledged that is not there, and it goes on."""
    primary = servers.primary(wal_sender_timeout="5s")
    create_slot(primary)
    archive = new_archive(primary, small_disk.name)
    # A server that cannot be listened to is not silent: --timeout must not cost the connection.
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--status-interval", "500ms",
                                "--timeout", "6s")
    walsender = streaming(primary)["pid"]
    end = primary.write_wal(8)
    receiver.wait_log("(?i)no space left|disk.*full|full.*disk")
    # Much longer than wal_sender_timeout, measured by the server's own record of our replies.
    since = primary.sql("SELECT now()")
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE"
                                 f" reply_time > '{since}'::timestamptz + interval '12s'") == "1",
             "replies to go on while the disk is full")
    assert streaming(primary)["pid"] == walsender, "the connection was lost"
    held = restart_lsn(primary)
    assert held < end
    archive.assert_covers(primary, 1, held)
    status = pgweir("status", "-D", archive.path)
    assert status.returncode in (0, 1), status.stderr
    small_disk.grow(64)
    reported(primary, end)
    assert streaming(primary)["pid"] == walsender, "the connection was lost"
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=7)
    assert len([line for line in receiver.said().splitlines()
                if "o space left" in line]) <= 5, "it says so once, not at each attempt"


@pytest.mark.parametrize("meanwhile", ["the connection is lost", "the timeline changes"])
def test_the_status_knows_whether_the_disk_is_full(servers, receivers, new_archive, small_disk,
                                                   meanwhile):
    """Also where it fills up between two streams, or has space again by then."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary, small_disk.name)

    def state():
        return re.search("Receiver: ([^,]*)", pgweir("status", "-D", archive.path).stdout)[1]

    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--status-interval", "500ms")
    streaming(primary)
    if meanwhile == "the connection is lost":
        primary.write_wal(8)
        receiver.wait_log("(?i)no space left")
        wait_for(lambda: state() == "disk full", "the status to say it")
        # A walsender that nobody reads from may not find the room for its last word.
        primary.stop("immediate")
        primary.start()
    else:
        reported(primary, primary.write_wal(0.1))
        with contextlib.suppress(OSError), open(archive.path.parent / "ballast", "wb") as ballast:
            while True:
                ballast.write(bytes(4096))
                ballast.flush()
        promote_again(primary)
        receiver.wait_log(r"(?i)no space left.*00000002\.history")
        wait_for(lambda: state() == "disk full", "the status to say it")
    small_disk.grow(64)
    reported(primary, primary.write_wal(1))
    wait_for(lambda: state() == "streaming", "the status to say that it is over")
    receiver.stop()
    archive.assert_same_wal(primary)


@pytest.mark.parametrize("why", ["full", "hanging"])
def test_a_server_that_shuts_down_is_not_held_by_a_stuck_disk(servers, receivers, new_archive,
                                                              small_disk, sync_fault, why):
    """A fast shutdown waits until receivers have confirmed everything, as long as they answer."""
    primary = servers.primary(wal_sender_timeout="10min")
    create_slot(primary)
    archive = new_archive(primary, small_disk.name)
    if why == "hanging":
        small_disk.grow(64)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env=sync_fault.env)
    streaming(primary)
    reported(primary, primary.write_wal(0.1))
    if why == "hanging":
        sync_fault.set("hang 0")
    primary.write_wal(8)
    if why == "hanging":
        wait_for(lambda: sync_fault.count() >= 1, "a sync to hang")
    else:
        receiver.wait_log("(?i)no space left")
    primary.stop("fast")
    receiver.wait_log("unresponsive disk: disconnecting")
    assert receiver.running()
    if why == "hanging":
        receiver.kill9()  # it hangs
        return
    small_disk.grow(64)
    primary.start()
    reported(primary, primary.write_wal(0.1))
    receiver.stop()
    archive.assert_same_wal(primary, minimum=7)


def test_a_full_disk_stops_it_if_told_so(servers, receivers, new_archive, small_disk):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary, small_disk.name)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--on-disk-full", "stop")
    streaming(primary)
    end = primary.write_wal(8)
    assert receiver.wait_exit() == 3, receiver.said()
    archive.assert_covers(primary, 1, restart_lsn(primary))
    small_disk.grow(64)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=7)


def test_a_hanging_disk_does_not_break_the_connection(servers, receivers, new_archive,
                                                      sync_fault):
    """Each sync takes longer than wal_sender_timeout."""
    primary = servers.primary(wal_sender_timeout="9s")  # no less: the machine may stand still for some seconds
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env=sync_fault.env)
    walsender = streaming(primary)["pid"]
    reported(primary, primary.write_wal(1))
    sync_fault.set("sleep 10000")
    before = restart_lsn(primary)
    begun = time.monotonic()
    end = primary.write_wal(1)
    wait_for(lambda: sync_fault.count() >= 1, "a sync to hang")
    told = restart_lsn(primary)
    if time.monotonic() < begun + 10:
        assert told < end, "reported before the sync has returned"
    since = primary.sql("SELECT now()")
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE"
                                 f" reply_time > '{since}'::timestamptz + interval '10s'") == "1",
             "replies to go on while the disk hangs")
    wait_for(lambda: restart_lsn(primary) > before, "a hanging sync to return and be reported")
    assert streaming(primary)["pid"] == walsender, "the connection was lost"
    sync_fault.set(None)
    end = primary.write_wal(2)
    reported(primary, end)
    assert streaming(primary)["pid"] == walsender, "the connection was lost"
    # Slow syncs are told once in the log, and counted.
    syncs = status_of_receiver(archive)
    assert syncs["slow_syncs"] >= 1 and syncs["syncs"]["worst_ms"] >= 10000, syncs
    assert syncs["syncs"]["p50_ms"] <= syncs["syncs"]["p99_ms"] <= syncs["syncs"]["worst_ms"], syncs
    text = pgweir("status", "-D", archive.path).stdout
    assert float(re.search(r"syncs of the last 5 minutes: .* the longest (\S+) s\n", text)[1]) >= 10, text
    told = receiver.said().count("a sync of the archive took")
    assert 1 <= told <= 1 + (time.monotonic() - begun) // 60, receiver.said()
    receiver.stop()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary, minimum=2)


def test_a_failed_sync_is_final(servers, receivers, new_archive, sync_fault):
    """It ends at once, without another acknowledgement; the next start makes it good."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env=sync_fault.env)
    streaming(primary)
    middle = primary.write_wal(1)
    reported(primary, middle)
    sync_fault.set("fail 0")
    end = primary.write_wal(1)
    assert receiver.wait_exit() == 4, receiver.said()
    assert sync_fault.count() >= 1
    assert middle <= restart_lsn(primary) < end, wal.lsn_text(restart_lsn(primary))
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    archive.wait_covers(primary, 1, end)
    reported(primary, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=2)


def test_a_slow_reader_costs_no_memory(servers, receivers, new_archive, sync_fault):
    """Catching up with 128 MB on a disk that hangs: what is received and not yet durable stays
    bounded."""
    primary = servers.primary(wal_sender_timeout="2s")
    create_slot(primary)
    archive = new_archive(primary)
    primary.write_wal(128)
    sync_fault.set("sleep 1000")
    receiver = receivers.pgweir(archive, primary, "-S", "archive", env=sync_fault.env)
    wait_for(lambda: sync_fault.count() >= 6, "several syncs to hang")
    sync_fault.set(None)
    end = primary.write_wal(1)
    archive.wait_covers(primary, 1, end)
    status = pathlib.Path(f"/proc/{receiver.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    receiver.stop()
    # 64 MB that are not durable yet, and the segment that is being received (docs/sizing.md).
    assert peak < (96 << 10) * MEMORY_FACTOR, f"{peak} kB"
    archive.assert_same_wal(primary, minimum=128)


def test_the_guard_warns_while_there_is_time(servers, receivers, new_archive, sync_fault, place):
    """Our disk hangs, the slot falls behind and will be given up: it is said before it is."""
    primary = servers.primary(wal_keep_size="0", max_slot_wal_keep_size="80MB")
    create_slot(primary)
    archive = new_archive(primary)
    # The watch looks each half second, not each half minute.
    both = f"{sync_fault.env['LD_PRELOAD']}:{preload(place, 'hurry.c')}"
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive",
                                env={**sync_fault.env, "LD_PRELOAD": both})
    streaming(primary)
    reported(primary, primary.write_wal(1))
    warning = r"(?i)warn.*\barchive\b.*max_slot_wal_keep_size"
    sync_fault.set("sleep 600000")
    assert not re.search(warning, receiver.said()), receiver.said()
    primary.write_wal(30)
    receiver.wait_log(warning)
    assert primary.sql("SELECT wal_status FROM pg_replication_slots") != "lost"
    receiver.kill9()


def test_a_full_disk_is_waited_for_also_by_the_last_wal_before_the_end_position(servers, receivers, new_archive,
                                                                                 small_disk):
    """The end position lies in the first bytes of a segment for which there is no space."""
    primary = servers.primary()
    primary.switch_wal()
    archive = new_archive(primary, small_disk.name)
    begin = primary.flushed() // primary.segment_size * primary.segment_size
    end = begin + 3 * primary.segment_size + 100
    receiver = receivers.pgweir(archive, primary, "--endpos", wal.lsn_text(end))
    streaming(primary)
    while primary.flushed() < end:
        primary.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 50000))")
    receiver.wait_log("(?i)no space left")
    small_disk.grow(64)
    assert receiver.wait_exit() == 0, receiver.said()
    archive.assert_covers(primary, 1, end)


def test_a_signal_ends_it_while_the_disk_is_full(servers, receivers, new_archive, small_disk):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary, small_disk.name)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    end = primary.write_wal(8)
    receiver.wait_log("(?i)no space left")
    receiver.stop()
    held = restart_lsn(primary)
    archive.assert_covers(primary, 1, held)
    small_disk.grow(64)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=7)


def test_a_directory_that_is_removed_gets_no_more_acknowledged(servers, receivers, new_archive):
    """Also in the middle of a segment, where the open file would take everything and sync well."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.switch_wal())

    def removed():
        """The receiver may be making or renaming a file."""
        shutil.rmtree(archive.path, ignore_errors=True)
        return not archive.path.exists()

    wait_for(removed, "the directory to be removed")
    end = primary.flushed()
    primary.sql("CREATE TABLE afterwards ()")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "removed" in receiver.said()
    assert restart_lsn(primary) <= end, "WAL was acknowledged that nobody can find"


def test_a_signal_to_process_and_group_is_one(servers, receivers, new_archive, sync_fault):
    """As timeout(1) sends it. Only a later one ends it before all is durable and reported."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    for later, status in ((False, 0), (True, 3)):
        receiver = receivers.pgweir(archive, primary, "-S", "archive", env=sync_fault.env)
        streaming(primary)
        reported(primary, primary.flushed())
        before = sync_fault.count()
        sync_fault.set("hang 0")
        primary.write_wal(1)
        wait_for(lambda: sync_fault.count() > before, "a sync to hang")
        if later:
            receiver.send(signal.SIGTERM)
            receiver.wait_log("a second signal exits immediately")
            time.sleep(0.6)  # longer than one signal takes
            receiver.send(signal.SIGTERM)
        else:
            receiver.pause()  # so it takes both at once, whatever else the machine does
            receiver.send(signal.SIGTERM)
            receiver.send(signal.SIGINT)
            receiver.resume()
            receiver.wait_log("a second signal exits immediately")
            sync_fault.set(None)
        assert receiver.wait_exit() == status, receiver.said()
        assert later != ("all of it is durable" in receiver.said())
    sync_fault.set(None)


@pytest.mark.parametrize("how", ["renamed", "mounted over"])
def test_a_directory_that_leads_elsewhere_gets_no_more_acknowledged(servers, receivers,
                                                                     new_archive, place, how):
    """Its descriptor would go on taking everything, where nobody looks for it."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    path = archive.path
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.switch_wal())
    if how == "renamed":
        archive.path = path.rename(place / "moved")
        path.mkdir()
    elif run(["mount", "-t", "tmpfs", "pgweir-test", path], check=False).returncode != 0:
        pytest.skip("can't mount a tmpfs here")
    try:
        end = primary.write_wal(3)
        assert receiver.wait_exit() == 4, receiver.said()
        assert "the archive directory was moved or replaced" in receiver.said()
        held = restart_lsn(primary)
        assert held < end
        assert list(path.iterdir()) == []
    finally:
        if how == "mounted over":
            run(["umount", "-l", path])
    archive.assert_covers(primary, 1, held)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=3)


@pytest.mark.parametrize("how, says", [
    ("renamed", "the archive directory was moved or replaced"),
    ("mounted over", "the archive directory was moved or replaced"),
    ("the segment is renamed", "was renamed or replaced"),
])
def test_what_is_moved_within_a_segment_gets_no_more_acknowledged(servers, receivers, new_archive,
                                                                  place, how, says):
    """Nothing of the segment in hand, either: its open file would take it, and sync well."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    path = archive.path
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    primary.switch_wal()
    reported(primary, primary.write_wal(0.1))
    if how == "renamed":
        archive.path = path.rename(place / "moved")
    elif how == "the segment is renamed":
        partial, = path.glob("*.partial")
        partial.rename(path / "somewhere-else")
    elif run(["mount", "-t", "tmpfs", "pgweir-test", path], check=False).returncode != 0:
        pytest.skip("can't mount a tmpfs here")
    try:
        end = primary.flushed()
        primary.sql("CREATE TABLE afterwards ()")
        assert receiver.wait_exit() == 4, receiver.said()
        assert says in receiver.said()
        held = restart_lsn(primary)
        assert held <= end, "WAL was acknowledged that nobody can find"
    finally:
        if how == "mounted over":
            run(["umount", "-l", path])
    if how == "the segment is renamed":
        (path / "somewhere-else").rename(partial)
    if how == "renamed":
        archive.path.rename(path)
        archive.path = path
    archive.assert_covers(primary, 1, held)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    archive.assert_same_wal(primary)


@pytest.mark.parametrize("limit, says, status", [
    ("-f 500", "File too large.*000000010000000000000006.partial(.|\n)*ulimit -f", 4),
    ("-u 2", "could not start a thread(.|\n)*ulimit -u", 3),
])
def test_a_limit_of_the_process_is_told(servers, receivers, new_archive, limit, says, status):
    """And does not kill it without a word."""
    if os.getuid() != 0:
        pytest.skip("only root can run it as a user who runs nothing else")
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    if run([*user, "test", "-x", BINARY], check=False).returncode != 0:
        pytest.skip(f"other users cannot run {BINARY}")
    os.chown(archive.path, 54321, 54321)
    command = receive_command(archive.path, primary.conninfo(), "-S", "archive")
    receiver = receivers.start([*user, "bash", "-c", f'ulimit {limit} && exec "$@"', "-", *command])
    primary.write_wal(2)
    assert receiver.wait_exit() == status, receiver.said()
    assert re.search(says, receiver.said()), receiver.said()


def test_a_file_system_that_turns_read_only_stops_it(servers, receivers, new_archive, place):
    """What ext4 does when its disk fails. The same once more without a fault, and it goes on."""
    primary = servers.primary()
    create_slot(primary)
    with loop_ext4(place, "failing", 64) as path:
        device = run(["findmnt", "-n", "-o", "SOURCE", path]).stdout.strip().rpartition("/")[2]
        trigger = pathlib.Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
        if not trigger.exists():
            pytest.skip(f"this kernel's ext4 cannot be told to fail: no {trigger}")
        archive = new_archive(primary, "failing/archive")
        receiver = receivers.pgweir(archive, primary, "-S", "archive")
        streaming(primary)
        reported(primary, primary.write_wal(1))
        trigger.write_text("a test")
        end = primary.write_wal(4)
        assert receiver.wait_exit() == 4, receiver.said()
        assert re.search("(?i)read-only|input/output", receiver.said()), receiver.said()
        held = restart_lsn(primary)
        assert held < end
        archive.assert_covers(primary, 1, held)
        # As the administrator would: the kernel wants it checked.
        run(["umount", path])
        run(["fsck.ext4", "-fy", place / "failing.image"], check=False)
        run(["mount", "-o", "loop", place / "failing.image", path])
        receiver = receivers.pgweir(archive, primary, "-S", "archive")
        archive.wait_covers(primary, 1, end)
        receiver.stop()
        archive.assert_same_wal(primary, minimum=4)


def test_a_directory_that_may_no_longer_be_entered_stops_it(servers, receivers, new_archive):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    command = receive_command(archive.path, primary.conninfo(), "-S", "archive")
    user = server_user()
    if os.getuid() == 0:  # for root no mode is a hindrance
        os.chown(archive.path, user.pw_uid, user.pw_gid)
        command = ["runuser", "-u", user.pw_name, "--", *command]
    if run(["test", "-x", BINARY], **as_server_user(),
           check=False).returncode != 0:
        pytest.skip(f"{user.pw_name} cannot run {BINARY}")
    receiver = receivers.start(command)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    archive.path.chmod(0)
    try:
        primary.write_wal(4)
        assert receiver.wait_exit() == 4, receiver.said()
        assert "ermission" in receiver.said()
    finally:
        archive.path.chmod(0o700)
    archive.assert_covers(primary, 1, restart_lsn(primary))
    receiver = receivers.start(command)
    archive.wait_covers(primary, 1, primary.write_wal(1))
    receiver.send(15)
    receiver.wait_exit()
    archive.assert_same_wal(primary, minimum=4)
