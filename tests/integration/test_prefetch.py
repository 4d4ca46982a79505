"""The helper that fetches ahead while a server replays: it makes a restore quick, never wrong, and
leaves nothing behind, however it ends."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support import wal
from support.ahead import NAME, PREFETCHED, Recovery, descriptors, helpers, other_threads
from support.process import alive, freeze, run, wait_for
from support.receiver import BINARY
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import begun

@pytest.fixture
def archive(servers, receivers, new_archive):
    """Some ten finished segments of a server that is gone."""
    primary = servers.primary()
    made = new_archive(primary)
    receiver = receivers.pgweir(made, primary)
    begun(made, primary)
    primary.write_wal(11)
    primary.switch_wal()
    made.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    primary.stop("immediate")
    return made


@pytest.fixture
def recovery(place):
    made = []

    def make(name="recovery"):
        made.append(Recovery(place, name))
        return made[-1]

    yield make
    for each in made:
        each.end()
    wait_for(lambda: not helpers(place), "the helpers to end with their recoveries")
    for each in made:
        each.assert_no_litter()


def test_hands_out_what_the_archive_has(archive, recovery, place):
    server = recovery()
    segments = list(archive.finished().values())
    size = archive.segment_size
    prefetched = 0
    for number, path in enumerate(segments):
        status, said, content = server.ask(archive.path, path.name)
        assert status == 0, said
        assert content == path.read_bytes()
        prefetched += PREFETCHED in said
        if number + 3 < len(segments):
            server.wait_stock(min(3, len(segments) - number - 1), size)
    assert prefetched >= len(segments) - 2
    # Behind the end there is nothing, helper or not.
    behind = wal.segment_name(1, max(archive.finished())[1] + 9, size)
    assert server.ask(archive.path, behind)[0] == 1


def test_holds_nothing_of_the_servers(archive, recovery, place):
    server = recovery()
    server.ask(archive.path, next(iter(archive.finished().values())).name)
    pid = server.wait_stock(3)
    links = [link for link, _ in descriptors(pid)]
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    for number in range(3):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"
    pipes = [link for link in links if link.startswith("pipe:")]
    assert pipes == [], "the shell's pipes, or a server's log"
    assert os.getsid(pid) == pid
    stock = [link for link in links if link.endswith("(deleted)")]
    assert 3 <= len(stock) <= 4, stock
    server.end()
    wait_for(lambda: not alive(pid), "the helper to end with its parent")
    server.shell = subprocess.Popen(["true"], stdin=subprocess.PIPE)


def test_never_gives_what_has_changed_since(archive, recovery, place):
    segments = list(archive.finished().values())
    good = [path.read_bytes() for path in segments]
    damaged = bytearray(good[2])
    damaged[500_000] ^= 0x10
    other = bytearray(good[1])
    stories = {
        "damaged in place": (lambda path: path.write_bytes(damaged), 200, "damaged WAL"),
        "replaced": (lambda path: (path.unlink(), path.write_bytes(damaged)), 200, "damaged WAL"),
        "another segment": (lambda path: path.write_bytes(other), 200, "page address"),
        "removed": (lambda path: path.unlink(), 200, "is missing in the archive"),
        "emptied": (lambda path: (path.write_bytes(b""), os.utime(path, (0, 0))), 200, "damaged WAL"),
        "compressed": (lambda path: run(["zstd", "-q", "--rm", path]), 0, ""),
        "the same again": (lambda path: path.write_bytes(good[2]), 0, ""),
    }
    for number, (story, (change, expected, message)) in enumerate(stories.items()):
        server = recovery(f"recovery{number}")
        assert server.ask(archive.path, segments[0].name)[0] == 0
        server.wait_stock(3)
        change(segments[2])
        status, said, content = server.ask(archive.path, segments[1].name)
        assert status == 0 and PREFETCHED in said, (story, said)
        status, said, content = server.ask(archive.path, segments[2].name)
        assert status == expected, (story, said)
        assert message in said and PREFETCHED not in said, (story, said)
        assert content is None or content == good[2], story
        for path in archive.path.glob(segments[2].name + "*"):
            path.unlink()
        segments[2].write_bytes(good[2])
        server.end()
        wait_for(lambda: not helpers(place), "the helper to end")
        server.shell = subprocess.Popen(["true"], stdin=subprocess.PIPE)


def test_damage_ahead_is_told_when_it_is_reached(archive, recovery):
    server = recovery()
    segments = list(archive.finished().values())
    content = bytearray(segments[2].read_bytes())
    content[len(content) // 2] ^= 0xFF
    segments[2].write_bytes(content)
    for path in segments[:2]:
        assert server.ask(archive.path, path.name)[0] == 0
    for _ in range(2):
        status, said, _ = server.ask(archive.path, segments[2].name)
        assert status == 200 and "damaged WAL" in said and segments[2].name in said, said


def test_damage_at_the_front_is_found_by_what_the_server_has(archive, recovery):
    """The record over the border: each half looks sound by itself."""
    server = recovery()
    segments = list(archive.finished().values())
    assert server.ask(archive.path, segments[0].name)[0] == 0
    server.wait_stock(3)
    own = server.out / segments[0].name
    content = bytearray(own.read_bytes())
    content[-20:] = bytes(20)
    own.write_bytes(content)
    # The archive's own two fit; the server's does not: the ordinary way decides.
    status, said, restored = server.ask(archive.path, segments[1].name)
    assert PREFETCHED in said or status == 0, said
    assert restored == segments[1].read_bytes()


def test_one_recovery_is_never_given_anothers(archive, recovery, place):
    """Another archive, other options, or another target: asked of the same helper or not."""
    segments = list(archive.finished().values())
    other = place / "other"
    shutil.copytree(archive.path, other)
    content = bytearray((other / segments[1].name).read_bytes())
    content[300_000] ^= 1
    (other / segments[1].name).write_bytes(content)
    one, two = recovery("one"), recovery("two")
    assert one.ask(archive.path, segments[0].name)[0] == 0
    one.wait_stock(3)
    status, said, _ = one.ask(other, segments[1].name)
    assert status == 200 and "damaged WAL" in said
    status, said, _ = two.ask(archive.path, segments[1].name, "--prefetch", "3")
    assert status == 0 and PREFETCHED not in said
    # Unchecked segments are for those who asked for them.
    three = recovery("three")
    assert three.ask(other, segments[0].name, "--no-verify", "--prefetch", "3")[0] == 0
    wait_for(lambda: len(helpers(place)) >= 1, "a helper")
    status, said, _ = three.ask(other, segments[1].name, "--prefetch", "3")
    assert status == 200 and "damaged WAL" in said


def test_changed_settings_cost_one_call(archive, recovery, place):
    """The call that finds a helper of other settings has one that fits when it is done."""
    segments = list(archive.finished().values())
    moved = place / "moved"
    shutil.copytree(archive.path, moved)
    server = recovery()
    assert server.ask(archive.path, segments[0].name)[0] == 0
    first = server.wait_stock(3)
    status, said, content = server.ask(moved, segments[1].name)
    assert status == 0 and PREFETCHED not in said and content == segments[1].read_bytes()
    wait_for(lambda: not alive(first), "the first helper to end")
    assert server.wait_stock(3) != first
    status, said, content = server.ask(moved, segments[2].name)
    assert status == 0 and PREFETCHED in said and content == segments[2].read_bytes()


def test_a_helper_that_hangs_costs_little(archive, recovery):
    server = recovery()
    segments = list(archive.finished().values())
    assert server.ask(archive.path, segments[0].name)[0] == 0
    pid = server.wait_stock(3)
    freeze(pid)
    status, said, content = server.ask(archive.path, segments[1].name)
    assert status == 0 and content == segments[1].read_bytes()
    wait_for(lambda: not alive(pid) and not other_threads(pid), "the helper that hung to be ended")
    assert server.ask(archive.path, segments[2].name)[0] == 0
    server.wait_stock(3)
    assert PREFETCHED in server.ask(archive.path, segments[3].name)[1]


def test_ends_without_questions(archive, recovery, place):
    """At the end of the archive the helper goes soon; the next success starts another one."""
    server = recovery()
    last = list(archive.finished().values())[-1]
    assert server.ask(archive.path, last.name)[0] == 0
    wait_for(lambda: not helpers(place), "the helper to end without work")
    assert server.shell.poll() is None


def test_by_hand_there_is_no_helper(archive, recovery, place):
    server = recovery()
    status, said, _ = server.ask(archive.path, list(archive.finished().values())[0].name, "--retry-for", "0")
    assert status == 0
    assert helpers(place) == []


def test_leaves_a_small_disk_alone(archive, recovery, place):
    server = recovery()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "pgweir-test", server.out],
                  check=False)
    if mounted.returncode != 0:
        pytest.skip("can't mount a tmpfs here")
    try:
        for path in list(archive.finished().values())[:5]:
            status, said, content = server.ask(archive.path, path.name)
            assert status == 0, said
            assert content == path.read_bytes()
            assert PREFETCHED not in said
    finally:
        server.end()
        wait_for(lambda: not helpers(place), "the helper to end")
        run(["umount", "-l", server.out])
        server.shell = subprocess.Popen(["true"], stdin=subprocess.PIPE)


def killing(place, stop, seeded, counted):
    while not stop.is_set():
        for pid in helpers(place):
            try:
                os.kill(pid, signal.SIGKILL)
                counted.append(pid)
            except ProcessLookupError:
                pass
        time.sleep(seeded.uniform(0.0, 0.08))


@pytest.mark.parametrize("kill", [False, True], ids=["left alone", "killed all the time"])
def test_two_servers_recover_with_helpers(servers, receivers, new_archive, place, seeded, kill):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd:1")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    for number in range(20):
        primary.sql(f"INSERT INTO t VALUES ({number})")
        primary.write_wal(1.3)
    end = primary.flushed()
    archive.wait_covers(primary, 1, end)
    primary.kill9()
    receiver.stop()
    hand_over(archive.path)
    restore = restore_command(place, archive, "--partial", "-v")
    stop, counted = threading.Event(), []
    killer = threading.Thread(target=killing, args=(place, stop, seeded, counted))
    if kill:
        killer.start()
    try:
        recovered = [recover(servers, backup, name, primary, restore, start=False)
                     for name in ("first", "second")]
        for server in recovered:
            server.start(wait=False)
        for server in recovered:
            wait_for(lambda: server.sql("SELECT pg_is_in_recovery()", check=False).stdout.strip()
                     == "f", "the end of recovery")
    finally:
        stop.set()
        if kill:
            killer.join()
    for server in recovered:
        assert server.sql("SELECT count(*), sum(i) FROM t") == "20|190"
        log = server.log.read_text()
        if kill:
            assert counted
        else:
            assert log.count(PREFETCHED) >= 10, log
    # The recoveries are over, and their helpers with them, while the servers go on.
    wait_for(lambda: not helpers(place), "the helpers to end")
    for server in recovered:
        names = [path.name for path in (server.data / "pg_wal").iterdir()]
        assert not [name for name in names if "RECOVERY" in name or name.startswith(".")], names
        server.stop("immediate")


def test_ends_with_a_server_that_is_killed(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("SELECT pg_create_restore_point('here')")
    for _ in range(8):
        primary.write_wal(1.1)
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    primary.stop("immediate")
    hand_over(archive.path)
    # It waits at its target, in the middle of recovery; the helper has its stock.
    server = recover(servers, backup, "paused", primary, restore_command(place, archive),
                     recovery_target_name="here", start=False)
    server.conf(recovery_target_action="pause")
    server.start()
    helper = wait_for(lambda: helpers(place), "a helper")[0]
    startup = [pid for pid in children(server) if b"startup" in
               pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert startup
    server.kill9()
    wait_for(lambda: not alive(helper), "the helper to end with its server")


def children(server):
    from support.process import children_of
    return children_of(server.process.pid)
