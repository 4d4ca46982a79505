"""pgweir prune, and pg_archivecleanup next to the stock program of that name."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess

import pytest

from support import wal
from support.process import wait_for
from support.receiver import BINARY
from support.recovery import hand_over
from support.server import DEBIAN_BIN, bin_directory
from test_verify import finished_of, verify, workload


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def at_work(archive, what):
    """As one that is a process of its own and has not ended yet."""
    path = archive / f".pgweir-convert-0123456789abcdef-{what}.tmp"
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    path.unlink()


def test_keeps_what_the_backup_needs(servers, place):
    server = servers.primary()
    workload(server, 2)
    backup = server.home / "backup"
    subprocess.run([DEBIAN_BIN / "pg_basebackup", "-D", backup, "-d", server.conninfo(), "-X",
                    "none", "-c", "fast", "-N"], check=True)
    workload(server, 3)
    archive = place / "archive"
    names = finished_of(server, archive)
    prune = [BINARY, "prune", "-D", archive]
    assert run(*prune).returncode == 2
    assert run(*prune, "--older-than", "14d").returncode == 2
    assert run(*prune, "--keep-from", "F/0").returncode == 4
    assert run(*prune, "--keep-from", names[-1], "--keep-from-backup", backup).returncode == 4
    listed = run(*prune, "--keep-from-backup", backup, "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert sorted(path.name for path in archive.iterdir()) == names
    young = run(*prune, "--keep-from-backup", backup, "--older-than", "14d")
    assert young.returncode == 0 and sorted(path.name for path in archive.iterdir()) == names
    # A label whose start is another one than its file's name says: nobody knows which is right.
    label = (backup / "backup_label").read_text()
    start = re.search(r"START WAL LOCATION: (\S+) ", label).group(1)
    later = wal.lsn_text(wal.lsn(start) + 2 * server.segment_size)
    (place / "edited").write_text(label.replace(start, later, 1))
    refused = run(*prune, "--keep-from-backup", place / "edited")
    assert refused.returncode == 4 and "contradicts itself" in refused.stderr, refused.stderr
    assert sorted(path.name for path in archive.iterdir()) == names
    # A clone of the server may be ahead of the archive.
    (place / "clone").write_text(re.sub(r"CHECKPOINT LOCATION: \S+", f"CHECKPOINT LOCATION: {wal.lsn_text(server.flushed())}",
                                        label, count=1))
    ahead = run(*prune, "--keep-from-backup", place / "clone")
    assert ahead.returncode == 3 and "does not have the backup's checkpoint yet" in ahead.stderr, ahead.stderr
    with at_work(archive, "import"):
        refused = run(*prune, "--keep-from-backup", backup)
        assert refused.returncode == 3 and "an import into the archive is running" in refused.stderr, refused.stderr
        assert run(*prune, "--keep-from-backup", backup, "--dry-run").stdout == listed.stdout
    with at_work(archive, "prune"):
        refused = run(BINARY, "import", "-D", archive, server.data / "pg_wal")
        assert refused.returncode == 3 and "a prune of the archive is running" in refused.stderr, refused.stderr
    assert sorted(path.name for path in archive.iterdir()) == names
    # An incremental one, whose parent is not next to it; then, it is.
    size, first = server.segment_size, wal.lsn(start)
    lines = {}
    for name, at in (("incremental", first), ("full", first - size)):
        shutil.copytree(backup, place / "chain" / name, ignore=shutil.ignore_patterns("backup_manifest"))
        lines[name] = label.replace(start, wal.lsn_text(at)).replace(wal.segment_name(1, first // size, size),
                                                                     wal.segment_name(1, at // size, size))
    lines["incremental"] += f"INCREMENTAL FROM LSN: {wal.lsn_text(first - size)}\nINCREMENTAL FROM TLI: 1\n"
    for orphaned in (True, False):
        (place / "chain" / "incremental" / "backup_label").write_text(lines["incremental"])
        (place / "chain" / "full" / "backup_label").write_text(label if orphaned else lines["full"])
        told = run(*prune, "--keep-from-backup", place / "chain" / "incremental", "--dry-run")
        assert told.returncode == 0 and told.stdout == listed.stdout, told
        assert ("is incremental to a backup that started at " in told.stderr) == orphaned, told.stderr
    done = run(*prune, "--keep-from-backup", backup / "backup_label")
    assert done.returncode == 0, done.stderr
    removed = listed.stdout.split()
    assert removed
    assert sorted(path.name for path in archive.iterdir()) == names[len(removed):]
    report = verify(archive, "--backup", backup)
    assert report["sound"] and report["backup"]["reaches_consistency"], report


def test_what_a_killed_prune_of_root_leaves_is_the_archives_owners(servers, place, sync_fault):
    """Otherwise an import, or an archive_command, of that user fails at this file forever."""
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    server = servers.primary()
    workload(server, 3)
    archive = place / "archive"
    names = finished_of(server, archive)
    hand_over(archive)
    sync_fault.set("hang 0")
    prune = subprocess.Popen([BINARY, "prune", "-D", archive, "--keep-from", names[-1]], env={**os.environ, **sync_fault.env},
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: sync_fault.count() >= 1, "a flush to hang")
    finally:
        prune.kill()
        prune.wait()
    left, = archive.glob(".pgweir-convert-*-prune.tmp")
    owner = (archive.stat().st_uid, archive.stat().st_gid)
    assert (left.stat().st_uid, left.stat().st_gid) == owner != (0, 0)


NAMES = ["000000010000000000000001", "000000010000000000000002", "000000010000000000000003",
         "000000010000000000000004.partial", "000000010000000000000005",
         "000000020000000000000002", "000000020000000000000006", "00000002.history",
         "000000010000000000000001.00000028.backup", "000000010000000000000001.of.me.backup",
         "000000010000000000000002.gz",
         "00000001000000000000000X", "README"]
ARGUMENTS = [["{archive}", "000000010000000000000003"],
             ["-d", "{archive}", "000000010000000000000005"],
             ["-n", "{archive}", "000000010000000000000005"],
             ["-d", "-n", "{archive}", "000000010000000000000003"],
             ["-x", ".gz", "{archive}", "000000010000000000000003"],
             ["-x", ".gz", "{archive}", "000000010000000000000003.gz"],
             ["{archive}", "000000010000000000000004.partial"],
             ["{archive}", "000000010000000000000004.00000028.backup"],
             ["{archive}", "000000010000000000000004.28.backup"], ["{archive}", "000000010000000000000004.of.me.backup"],
             ["{archive}", "00000002.history"], ["{archive}", "rubbish"],
             ["{archive}"], [], ["{archive}", "a", "b"], ["-q"],
             ["/nowhere", "000000010000000000000003"], ["-n", "/nowhere", "000000010000000000000003"],
             ["-n", "{archive}", "rubbish"], ["-n", "{archive}"]]
ARGUMENTS_OF_19 = [["-b", "{archive}", "000000010000000000000003"],
                   ["--clean-backup-history", "--strip-extension=.gz", "{archive}", "000000010000000000000003"],
                   ["--dry", "--debug", "--strip", ".gz", "{archive}", "000000010000000000000003.gz"],
                   ["-dd", "-n", "-b", "{archive}", "000000010000000000000006"], ["--dry-run=1"], ["-x"],
                   ["-n", "--help"], ["-n", "--version"]]
DRY_RUN = ["pg_archivecleanup: executing in dry-run mode", "pg_archivecleanup: detail: No files will be removed."]


@pytest.mark.parametrize("major, arguments",
                         [(15, words) for words in ARGUMENTS] + [(19, words) for words in ARGUMENTS + ARGUMENTS_OF_19],
                         ids=lambda words: str(words) if isinstance(words, int) else " ".join(words) or "none")
def test_does_what_the_stock_program_does(place, major, arguments):
    program = (bin_directory(major) or DEBIAN_BIN) / "pg_archivecleanup"
    if bin_directory(major) is None or not program.exists():
        pytest.skip(f"pg_archivecleanup {major} is not installed")
    link = place / "pg_archivecleanup"
    link.symlink_to(BINARY)
    results = []
    for program in (program, link):
        archive = place / "archive"
        archive.mkdir()
        for name in NAMES:
            (archive / name).touch()
        done = run(program, *[word.format(archive=archive) for word in arguments])
        left = sorted(path.name for path in archive.iterdir())
        # (getopt names the program by the path it was called with.)
        lines = sorted(re.sub(r"^/\S+/pg_archivecleanup: ", "pg_archivecleanup: ", line.replace("'-- ", ""))
                       for line in done.stderr.splitlines())
        if major < 19 and program == link:
            lines = [line for line in lines if line not in DRY_RUN]
        results.append((done.returncode, sorted(done.stdout.splitlines()), left, lines))
        for path in archive.iterdir():
            path.unlink()
        archive.rmdir()
    stock, ours = results
    assert ours == stock


def test_says_its_version_as_the_stock_program_does(place):
    """PostgreSQL's version is the first word after the name and the parentheses."""
    link = place / "pg_archivecleanup"
    link.symlink_to(BINARY)
    for option in ("--version", "-V"):
        answer = run(link, option)
        assert answer.returncode == 0 and answer.stderr == ""
        assert re.fullmatch(r"pg_archivecleanup \(PostgreSQL\) 19\.0 \(pgweir [0-9.]+\)\n", answer.stdout)
    assert run(link, "-n", "--version").returncode == 2


@pytest.mark.parametrize("files", (1, 200))
def test_a_list_that_could_not_be_written_is_an_error(place, files):
    """Of more than a buffer, too: not a crash."""
    link = place / "pg_archivecleanup"
    link.symlink_to(BINARY)
    archive = place / "archive"
    archive.mkdir()
    for number in range(files):
        (archive / f"0000000100000000{number:08X}").touch()
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([link, "-n", archive, "000000010000000100000000"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("\npg_archivecleanup: error: could not write to the standard output\n")
    assert len(list(archive.iterdir())) == files
