"""pgweir compress: an archive in all forms becomes zstd, byte for byte the same."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from support.process import run, wait_for
from support.receiver import BINARY, pgweir
from test_verify import PACKERS, finished_of, verify, workload


def compress(archive, *options):
    return subprocess.run([BINARY, "compress", "-D", archive, *options], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def archive_of_all_forms(servers, place):
    server = servers.primary()
    workload(server)
    archive = place / "archive"
    names = finished_of(server, archive)
    contents = {name: (archive / name).read_bytes() for name in names}
    for number, name in enumerate(names):
        packer = list(PACKERS.values())[number % len(PACKERS)]
        if packer:
            subprocess.run([*packer, str(archive / name)], check=True)
    return archive, contents


def assert_converted(archive, contents):
    names = sorted(path.name for path in archive.iterdir() if path.name != ".pgweir-last-verify")
    assert names == [name + ".zst" for name in contents]
    for name, content in contents.items():
        plain = subprocess.run(["zstd", "-dcq", archive / (name + ".zst")],
                               stdout=subprocess.PIPE, check=True).stdout
        assert plain == content, name


def test_converts_every_form(servers, place):
    archive, contents = archive_of_all_forms(servers, place)
    before = sorted(path.name for path in archive.iterdir())
    listed = compress(archive, "--dry-run")
    assert listed.returncode == 0
    assert sorted(path.name for path in archive.iterdir()) == before
    assert sorted(listed.stdout.split()) == [name for name in before if not name.endswith(".zst")]
    done = compress(archive, "--method", "zstd:1")
    assert done.returncode == 0, done.stderr
    assert_converted(archive, contents)
    assert verify(archive)["sound"]
    assert "nothing to do" in compress(archive).stdout


def test_the_group_of_the_archive_reads_what_it_has_read_before(servers, place):
    """As with a server of initdb -g, whose restore_command runs as another user of the group."""
    archive, contents = archive_of_all_forms(servers, place)
    for path in archive.iterdir():
        path.chmod(0o640)
    done = compress(archive, "--method", "zstd:1")
    assert done.returncode == 0, done.stderr
    assert_converted(archive, contents)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in archive.iterdir()} == {
        name + ".zst": "0o640" for name in contents}


def test_goes_on_after_it_was_killed(servers, place):
    archive, contents = archive_of_all_forms(servers, place)
    for ending in (signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen([BINARY, "compress", "-D", archive, "--method", "zstd:19"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: process.poll() is not None or
                 any(path.name.startswith(".") for path in archive.iterdir()), "a file in work")
        process.send_signal(ending)
        process.wait()
        assert verify(archive)["sound"]
    assert compress(archive, "--method", "zstd:1").returncode == 0
    assert [path.name for path in archive.glob(".pgweir-*")] == [".pgweir-last-verify"]
    assert_converted(archive, contents)


def test_leaves_a_damaged_segment_alone(servers, place):
    archive, contents = archive_of_all_forms(servers, place)
    victim = next(path for path in archive.iterdir() if not path.suffix)
    content = bytearray(victim.read_bytes())
    content[100:200] = bytes(100)
    victim.write_bytes(content)
    done = compress(archive)
    assert done.returncode == 1
    assert victim.name in done.stderr
    assert victim.read_bytes() == content


def test_leaves_a_segment_that_is_being_copied_to_the_next_run(servers, place):
    """archive_command = 'cp %p DIR/%f' and the like: nothing is wrong with it."""
    archive, contents = archive_of_all_forms(servers, place)
    victim = next(path for path in archive.iterdir() if not path.suffix)
    content = victim.read_bytes()
    victim.write_bytes(content[:len(content) // 2])
    done = compress(archive, "--method", "zstd:1")
    assert done.returncode == 0 and done.stderr == "", done
    victim.write_bytes(content)
    assert compress(archive, "--method", "zstd:1").returncode == 0
    assert_converted(archive, contents)
    # Nobody writes to it any more: it is damaged.
    (archive / f"{victim.name}.zst").unlink()
    victim.write_bytes(content[:len(content) // 2])
    os.utime(victim, (0, 0))
    done = compress(archive)
    assert done.returncode == 1 and victim.name in done.stderr, done


def test_large_segments_are_frames_that_everybody_reads(servers, place):
    server = servers.primary(segment_mb=16)
    workload(server, 6)
    raw = place / "raw"
    names = finished_of(server, raw)
    contents = {name: (raw / name).read_bytes() for name in names}
    name = names[1]
    for level, frames in ((1, 9), (3, 4), (9, 2)):
        archive = place / f"level{level}"
        shutil.copytree(raw, archive)
        assert compress(archive, "--method", f"zstd:{level}").returncode == 0
        assert_converted(archive, contents)
        assert verify(archive)["sound"]
        file = archive / (name + ".zst")
        told = subprocess.run(["zstd", "-lv", file], capture_output=True, text=True, check=True)
        assert re.search(r"Zstandard Frames: (\d+)", told.stdout)[1] == str(frames)

        target = place / "RECOVERYXLOG"
        restore = [BINARY, "restore", "-D", archive, name, target]
        assert subprocess.run(restore).returncode == 0
        assert target.read_bytes() == contents[name]
        target.unlink()
        packed = file.read_bytes()
        for at in (40, len(packed) // 3, len(packed) // 2, len(packed) - 3):
            file.write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1:])
            refused = subprocess.run(restore, stderr=subprocess.PIPE, text=True)
            assert refused.returncode == 200 and name + ".zst" in refused.stderr, refused.stderr
            assert not target.exists()
        file.write_bytes(packed)


def test_a_wrong_an_empty_and_a_missing_directory_are_told_apart(place):
    """At three in the morning nobody wants to hear that all is done, or to make a directory."""
    (place / "srv").mkdir()
    (place / "srv" / "other").mkdir()
    (place / "srv" / "other" / "README").write_text("nothing of ours")
    (place / "empty").mkdir()
    prune = ["--keep-from", "000000010000000000000001"]
    for command, options in (("compress", []), ("verify", ["--no-progress"]), ("status", []), ("prune", prune)):
        def run(path, command=command, options=options):
            return pgweir(command, "-D", path, *options)

        missing = run(place / "srv" / "wal")
        said = " ".join(missing.stderr.split())
        assert missing.returncode == 4, (command, said)
        assert "mounted" in said and "reate the directory" not in said, (command, said)
        assert f"{place}/srv exists and contains other" in said, (command, said)
        empty = run(place / "empty")
        said = " ".join((empty.stdout + empty.stderr).split())
        assert "mounted" in said and "zstd already" not in said, (command, said)
        assert empty.returncode == {"verify": 1, "status": 0}.get(command, 4), (command, said)
        other = run(place / "srv" / "other")
        if command in ("compress", "prune"):
            assert other.returncode == 4 and "README" in other.stderr, (command, other.stderr)


@pytest.mark.parametrize("words, status", [
    (["ack", "-D", "DIR"], 4),
    (["restore", "-D", "DIR", "000000010000000000000001", "target"], 200),
    (["restore", "-D", "DIR", "--find-lsn", "0/1000000"], 200),
    (["doctor", "-D", "DIR"], 1),
], ids=lambda value: value[0] if isinstance(value, list) else None)
def test_who_needs_an_archive_and_finds_none_is_told_what_is_nearby(place, words, status):
    (place / "srv" / "other").mkdir(parents=True)
    done = run([BINARY, *(str(place / "srv" / "wal") if word == "DIR" else word for word in words)], check=False,
               cwd=place)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == status, said
    assert "mounted" in said and "reate the directory" not in said and "reate it" not in said, said
    assert f"{place}/srv exists and contains other" in said, said


def test_a_read_only_file_system_is_told_once(servers, place):
    archive, _ = archive_of_all_forms(servers, place)
    mounted = place / "mounted"
    mounted.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "--bind", archive, mounted], check=False,
                                          capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
        done = compress(mounted)
        assert done.returncode == 4, done.stderr
        assert done.stderr.count("read-only") <= 2 and done.stderr.lower().count("hint") == 1, done.stderr
        newest = max(path.name[:24] for path in archive.iterdir())
        done = pgweir("prune", "-D", mounted, "--keep-from", newest)
        assert done.returncode == 4 and done.stderr.lower().count("hint") == 1, done.stderr
    finally:
        subprocess.run(["umount", mounted], check=True)
