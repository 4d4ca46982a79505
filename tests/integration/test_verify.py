"""pgweir verify on the WAL of real servers, its findings compared with pg_waldump's."""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from support import wal
from support.process import PATIENCE, copied_beside
from support.receiver import BINARY
from support.server import DEBIAN_BIN

PACKERS = {"": None, ".zst": ["zstd", "-q", "--rm"], ".gz": ["gzip"],
           ".lz4": ["lz4", "-q", "--rm", "-m"]}


def verify(archive, *options):
    done = subprocess.run([BINARY, "verify", "-D", archive, "--json", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["sound"] == (done.returncode == 0)
    return report


def workload(server, segments=4):
    server.sql("CREATE TABLE IF NOT EXISTS t (a int, b text)")
    for number in range(segments):
        server.sql(f"INSERT INTO t SELECT g, repeat('x{number}', 50) FROM "
                   "generate_series(1, 6000) g")
        server.sql("UPDATE t SET a = a + 1 WHERE a % 7 = 0")
        if number % 2:
            server.sql("SELECT pg_switch_wal()")
    server.sql("CHECKPOINT")


def finished_of(server, target, behind_switch=True):
    """Copies the finished segments of the server's pg_wal; returns their names."""
    target.mkdir(exist_ok=True)
    current = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    names = []
    for path in sorted(pathlib.Path(server.data, "pg_wal").iterdir()):
        if wal.SEGMENT.match(path.name) and path.name < current:
            shutil.copy(path, target / path.name)
            names.append(path.name)
        elif wal.HISTORY.match(path.name):
            shutil.copy(path, target / path.name)
    return names


def waldump_end(directory, names):
    """(is sound, LSN of the record that cannot be read) by pg_waldump 15."""
    done = subprocess.run([DEBIAN_BIN / "pg_waldump", "-q", "-p", directory, names[0], names[-1]],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    where = None
    if "error in WAL record at" in done.stderr:
        # The record that it could read last, and the one that it could not, if its message has it. Between them are up to
        # two segments: after a switch, nothing of the first one is read.
        where = re.findall(r"(?:error in WAL|in) record at ([0-9A-F]+/[0-9A-F]+)", done.stderr)[-1]
    return done.returncode == 0, where, done.stderr


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19])
def test_finds_nothing_in_the_wal_of_a_server(servers, place, major):
    server = servers.primary(major=major)
    workload(server)
    archive = place / "archive"
    names = finished_of(server, archive)
    assert len(names) >= 4
    report = verify(archive)
    assert report["sound"], report
    assert report["server_major"] == major
    assert report["findings"] == []


@pytest.mark.parametrize("form", PACKERS)
def test_finds_what_pg_waldump_finds(servers, place, seeded, form):
    server = servers.primary()
    workload(server)
    sound = place / "sound"
    names = finished_of(server, sound)
    ok, _, message = waldump_end(sound, names)
    assert ok, message
    compared = 0
    for number in range(12):
        raw = place / f"raw{number}"
        shutil.copytree(sound, raw)
        victim = raw / seeded.choice(names[1:-1])
        content = bytearray(victim.read_bytes())
        at = seeded.randrange(len(content))
        content[at] ^= 1 << seeded.randrange(8)
        victim.write_bytes(content)
        ok, where, message = waldump_end(raw, names)
        if form:
            files = [str(raw / name) for name in names]
            subprocess.run([*PACKERS[form], *files], check=True)
        report = verify(raw)
        print(victim.name, hex(at), where, message, report["findings"])
        if not ok:
            compared += 1
            assert not report["sound"], "pg_waldump found damage and verify did not"
            if where:
                first = report["findings"][0]
                assert wal.lsn(where) in (wal.lsn(first["lsn"]), wal.lsn(first["found_at"])) or \
                    abs(wal.lsn(where) - wal.lsn(first["lsn"])) <= 8192 * 2
        shutil.rmtree(raw)
    assert compared > 0


@pytest.mark.parametrize("form", ["", ".gz"])
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_waits_for_a_file_that_another_program_is_writing(servers, place, form, jobs):
    """archive_command = 'cp %p DIR/%f' and the like, beside it."""
    server = servers.primary()
    workload(server)
    archive = place / "archive"
    names = finished_of(server, archive)
    path = archive / names[1]
    content = path.read_bytes()
    if form:
        content = gzip.compress(content, 1)
        path.unlink()
        path = archive / (names[1] + form)
    path.write_bytes(content[:len(content) // 2])
    running = subprocess.Popen([BINARY, "verify", "-D", archive, "--json", "--jobs", jobs], stdout=subprocess.PIPE,
                               text=True)
    copied_beside(running, path, content[len(content) // 2:])
    report = json.loads(running.communicate(timeout=PATIENCE)[0])
    assert running.returncode == 0 and report["sound"], report
    # Nobody writes to it any more: it is damaged.
    path.write_bytes(content[:len(content) // 2])
    os.utime(path, (0, 0))
    assert [finding["file"] for finding in verify(archive)["findings"]] == [path.name]


def test_follows_a_promotion(servers, place, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = place / "archive"
    workload(primary, 2)
    old = finished_of(primary, archive)
    # A primary that is stopped waits for the standbys that it knows of.
    standby.caught_up_with(primary.flushed())
    primary.stop("fast")
    standby.promote()
    workload(standby, 2)
    finished_of(standby, archive)
    report = verify(archive)
    assert report["sound"], report
    assert [history["timeline"] for history in report["histories"]] == [2]
    assert len(report["histories"][0]["sound"]) == 1
    # Each of these makes the way over the promotion impassable.
    (archive / "00000002.history").rename(place / "history")
    assert not verify(archive)["sound"]
    text = (place / "history").read_text()
    ancestors = wal.parse_history(text)
    moved = text.replace(wal.lsn_text(ancestors[0][1]), wal.lsn_text(ancestors[0][1] - 8))
    (archive / "00000002.history").write_text(moved)
    assert not verify(archive)["sound"]
    (archive / "00000002.history").write_text(text)
    assert verify(archive)["sound"]
    (archive / old[len(old) // 2]).unlink()
    assert [finding["kind"] for finding in verify(archive)["findings"]] == ["gap"]


def test_works_on_a_read_only_directory_while_a_receiver_runs(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.pgweir(archive, primary, "--compress", "zstd:1")
    for _ in range(5):
        workload(primary, 2)
        report = verify(archive.path) if any(archive.names()) else None
        if report and report["histories"]:
            assert report["sound"], report
    before = {path: os.stat(path).st_mtime_ns for path in archive.path.glob("*.zst")}
    assert all(os.stat(path).st_mtime_ns == time for path, time in before.items())


def test_says_whether_a_backup_can_be_recovered(servers, place):
    server = servers.primary()
    workload(server, 1)
    backup = server.home / "backup"
    subprocess.run([DEBIAN_BIN / "pg_basebackup", "-D", backup, "-d", server.conninfo(), "-X",
                    "none", "-c", "fast", "-N"], check=True)
    workload(server, 3)
    archive = place / "archive"
    names = finished_of(server, archive)
    for which in (backup, backup / "backup_label", backup / "backup_manifest"):
        report = verify(archive, "--backup", which)
        assert report["sound"], report
        assert report["backup"]["reaches_consistency"], report["backup"]
    start = json.loads((backup / "backup_manifest").read_text())["WAL-Ranges"][0]["Start-LSN"]
    first = wal.segment_name(1, wal.lsn(start) // server.segment_size, server.segment_size)
    assert first in names
    (archive / first).unlink()
    report = verify(archive, "--backup", backup)
    assert not report["backup"]["reaches_consistency"]
    # For programs, there is an answer on every outcome.
    broken = place / "base.tar"
    broken.write_bytes(b"no tar file")
    done = subprocess.run([BINARY, "verify", "-D", archive, "--json", "--backup", broken], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 4 and not answer["sound"] and answer["error"]["message"] in done.stderr, done
