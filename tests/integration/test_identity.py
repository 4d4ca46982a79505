"""One archive: one cluster, one segment size, one writer; and what a directory must be."""

import os

import pytest

from support.process import run, wait_for
from support.receiver import pgweir, receive_command
from support.scenario import create_slot, reported, streaming


@pytest.fixture
def filled(servers, receivers, new_archive):
    """A primary and its archive with a few segments; no receiver runs."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    return primary, archive


def contents(archive):
    return {name: (archive.path / name).read_bytes() for name in archive.names()
            if not name.startswith(".")}


def test_another_cluster_is_refused(filled, servers, receivers):
    _, archive = filled
    other = servers.primary()
    before = contents(archive)
    receiver = receivers.pgweir(archive, other)
    assert receiver.wait_exit() == 4, receiver.said()
    for server in servers.all:
        identifier = server.sql("SELECT system_identifier FROM pg_control_system()")
        assert identifier in receiver.said(), "both clusters are named"
    assert contents(archive) == before, "not a byte was written"


def test_another_segment_size_is_refused(filled, servers, receivers):
    _, archive = filled
    other = servers.primary(segment_mb=2)
    before = contents(archive)
    receiver = receivers.pgweir(archive, other)
    assert receiver.wait_exit() == 4, receiver.said()
    assert contents(archive) == before, "not a byte was written"


def test_a_second_receiver_on_the_directory_is_refused(filled, receivers):
    primary, archive = filled
    first = receivers.pgweir(archive, primary)
    streaming(primary)
    second = receivers.pgweir(archive, primary)
    assert second.wait_exit() == 4, second.said()
    assert str(archive.path) in second.said()
    assert first.running()
    archive.wait_covers(primary, 1, primary.write_wal(2))
    first.kill9()
    third = receivers.pgweir(archive, primary)  # a killed one leaves no lock behind
    wait_for(lambda: "streaming timeline" in third.said(), "the third to stream")
    third.stop()
    archive.assert_same_wal(primary)


def test_a_servers_own_directory_is_refused(servers):
    primary = servers.primary()
    for directory in (primary.data, primary.data / "pg_wal"):
        result = run(receive_command(directory, primary.conninfo(), "--no-loop"), check=False)
        assert result.returncode == 4, result.stderr
        assert str(directory) in result.stderr
    primary.restart()


def test_a_missing_directory_is_named(servers, place):
    primary = servers.primary()
    result = pgweir("receive", "-D", place / "nowhere", "-d", primary.conninfo())
    assert result.returncode in (2, 4), result.stderr
    assert "nowhere" in result.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_named(servers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    archive.path.chmod(0o500)
    result = pgweir("receive", "-D", archive.path, "-d", primary.conninfo())
    archive.path.chmod(0o700)
    assert result.returncode == 4, result.stderr
    assert "Permission denied" in result.stderr or "permission" in result.stderr


def test_foreign_files_are_left_alone(filled, receivers):
    primary, archive = filled
    strangers = {"README": b"hands off", "000000010000000000000001.backup~": b"x",
                 ".not-ours": b"y"}
    for name, content in strangers.items():
        (archive.path / name).write_bytes(content)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    for name, content in strangers.items():
        assert (archive.path / name).read_bytes() == content
    archive.assert_same_wal(primary, minimum=3)


def test_a_partial_that_is_too_long_is_refused(filled, receivers):
    primary, archive = filled
    (path,) = archive.partials().values()
    with open(path, "ab") as file:
        file.write(b"\0")
    before = contents(archive)
    receiver = receivers.pgweir(archive, primary)
    assert receiver.wait_exit() == 4, receiver.said()
    assert path.name in receiver.said()
    assert contents(archive) == before


@pytest.mark.parametrize("length", [0, 100, 8192, 300_000])
def test_a_partial_that_is_too_short_is_made_whole(filled, receivers, length):
    primary, archive = filled
    (path,) = archive.partials().values()
    os.truncate(path, length)
    receiver = receivers.pgweir(archive, primary)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    for partial in archive.partials().values():
        assert partial.stat().st_size == primary.segment_size
    archive.assert_same_wal(primary, minimum=3)


@pytest.mark.parametrize("wal_since", [0, 5], ids=["behind", "past"])
def test_a_primary_that_was_set_back_is_refused(servers, receivers, new_archive, wal_since):
    """To a snapshot or a copy, without a new timeline: what it writes now is another history. It
    may have come past the end of the archive before it is met again."""
    primary = servers.primary()
    create_slot(primary)
    primary.stop()
    primary.copy_of_files()
    primary.start()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.stop()
    primary.stop()
    primary.set_back()
    primary.start()
    if wal_since:
        assert primary.write_wal(wal_since) > end
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "earlier state" in " ".join(receiver.said().split()), receiver.said()
    assert pgweir("verify", "-D", archive.path).returncode == 0
