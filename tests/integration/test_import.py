"""`pgweir import`: a hole is mended with WAL from elsewhere, and nothing wrong comes in."""

import gzip
import json
import os
import re
import shutil
import subprocess

import pytest

from support import wal
from support.archive import Archive
from support.chapter import Chapter
from support.process import PATIENCE, copied_beside, run, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import base_backup, hand_over, installed, recover, restore_command
from support.scenario import reported, status_of_receiver, streaming
from support.server import DEBIAN_BIN


def bring_in(archive, *words, status=0):
    """Imports and says what came in: names in the archive."""
    result = pgweir("import", "-D", archive.path, *words)
    assert result.returncode == status, (result.stdout, result.stderr)
    result.names = re.findall(r"^imported (\S+) from", result.stdout, re.MULTILINE)
    return result


def names_of(server, segnos, timeline=1):
    return [wal.segment_name(timeline, segno, server.segment_size) for segno in segnos]


def fill(server, segments):
    """So many segments more, finished; the number of the first one that is not."""
    for _ in range(segments):
        server.sql("INSERT INTO rows SELECT number FROM generate_series(1, 10) number")
        position = server.switch_wal()
    return position // server.segment_size


def with_segments(server, receivers, archive, count, *options):
    """The archive has so many finished segments; the first and the one behind the last."""
    receiver = receivers.pgweir(archive, server, *options)
    streaming(server)
    server.sql("CREATE TABLE IF NOT EXISTS rows (number int)")
    behind = fill(server, count)
    reported(server, behind * server.segment_size)
    archive.wait_finished(1, behind - 1)
    return receiver, archive.finished(), behind


def take_away(archive, names):
    """What a disk lost, or somebody removed."""
    for name in names:
        for path in archive.path.glob(f"{name}*"):
            path.unlink()


def hole_of(archive):
    holes = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["holes"]
    assert len(holes) <= 1, holes
    return holes[0] if holes else None


def holes_of_receiver(archive):
    return status_of_receiver(archive)["holes"]


def removed_upstream(servers, receivers, archive_of, meanwhile=lambda primary: None):
    """A hole that was accepted: the primary has removed what a standby still has."""
    primary = servers.primary()
    witness = servers.standby(primary, wal_keep_size="100GB", max_wal_size="1GB")
    archive = archive_of(primary)
    receiver, _, _ = with_segments(primary, receivers, archive, 2)
    meanwhile(primary)
    receiver.stop()
    wanted = primary.wal_path(1, primary.flushed())
    # Only here: a receiver without a slot holds nothing back, and a base backup makes a checkpoint.
    primary.conf(wal_keep_size="0")
    primary.reload()

    def removed():
        fill(primary, 1)
        witness.caught_up_with(primary.flushed())
        primary.sql("CHECKPOINT")
        return not wanted.exists()

    wait_for(removed, f"{wanted.name} to be removed")
    primary.conf(wal_keep_size="100GB")
    primary.reload()
    receiver = receivers.pgweir(archive, primary, "--on-gap", "continue")
    streaming(primary)
    primary.sql("INSERT INTO rows VALUES (4711)")
    reported(primary, primary.flushed())
    return primary, witness, archive, receiver


def test_from_the_alarm_to_the_mended_archive(servers, receivers, new_archive, place):
    """The runbook of docs/import.md, line by line."""
    primary, witness, archive, receiver = removed_upstream(servers, receivers, new_archive)
    hole = hole_of(archive)
    first, behind = (wal.lsn(hole[key]) // primary.segment_size for key in ("from", "to"))
    # Another archive has the first segment, a standby the rest (and the first one, too).
    (place / "other").mkdir()
    names = names_of(primary, range(first, behind))
    shutil.copy(witness.pg_wal(names[0]), place / "other")
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 2 and "missing" in checked.stdout, checked.stdout
    chapter = Chapter("import.md", place, receivers, {"db1": primary},
                      {"/srv/wal": archive.path, "/srv/other": place / "other",
                       "/srv/found": place / "found",
                       "/var/lib/postgresql/15/main/pg_wal": witness.pg_wal("")})
    chapter.run()
    said = "".join(chapter.said)
    assert "HOLE" in said and f"would import {names[0]}" in said and f"closed: {hole['id']}" in said
    wait_for(lambda: pgweir("status", "-D", archive.path, "--check").returncode == 0,
             "the alarm to end")
    receiver.stop()
    archive.assert_same_wal(witness)


def test_a_hole_is_mended_beside_a_receiver_and_a_recovery_passes_it(
        servers, receivers, new_archive, place):
    """WAL was removed upstream, the hole was accepted, a standby still has what is missing."""
    backups = []

    def back_up(server):
        backups.append(base_backup(server, place / "backup"))
        reported(server, server.switch_wal())

    primary, witness, archive, receiver = removed_upstream(servers, receivers, new_archive, back_up)
    holes = [hole_of(archive)]
    first, behind = (wal.lsn(holes[0][key]) // primary.segment_size for key in ("from", "to"))
    missing = names_of(primary, range(first, behind))

    assert [hole["id"] for hole in holes_of_receiver(archive)] == [holes[0]["id"]]

    # What would come in, and nothing else happens.
    before = archive.names()
    result = pgweir("import", "-D", archive.path, "-n", witness.pg_wal(""))
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^would import (\S+) from", result.stdout, re.MULTILINE) == missing
    # (The receiver prepares hidden files as it likes.)
    assert {name for name in before if not name.startswith(".")} <= set(archive.names())
    assert missing[0] not in archive.names()

    result = bring_in(archive, witness.pg_wal(""))
    assert result.names == missing
    assert "newer than the WAL that the receiver has flushed" in result.stderr, result.stderr
    assert f"closed: {holes[0]['id']}" in result.stdout
    wait_for(lambda: not hole_of(archive), "the hole to be told no more")
    wait_for(lambda: not holes_of_receiver(archive), "the receiver to tell it no more")
    # The receiver goes on, and the archive has it all.
    end = fill(primary, 2) * primary.segment_size
    reported(primary, end)
    witness.caught_up_with(end)
    archive.assert_covers(witness, 1, end)
    receiver.stop()
    verified = pgweir("verify", "-D", archive.path)
    assert verified.returncode == 0, verified.stdout
    assert not archive.hidden()

    # A recovery of the backup from before the hole, to the end.
    hand_over(archive.path)
    recovered = recover(servers, backups[0], "recovered", primary, restore_command(place, archive, "--partial"))
    count = "SELECT count(*), sum(number) FROM rows"
    assert recovered.sql(count) == primary.sql(count)


def test_it_takes_every_form_from_every_source(servers, receivers, new_archive, place):
    primary = servers.primary(wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    other = new_archive(primary, "other")
    start = primary.flushed() // primary.segment_size
    receiver, _, behind = with_segments(primary, receivers, archive, 7)
    receiver.stop()
    receiver, _, _ = with_segments(primary, receivers, other, 1, "--compress", "zstd", "--start",
                                   wal.lsn_text(start * primary.segment_size))
    for segno in range(start, behind):
        other.wait_finished(1, segno, form=".zst")
    receiver.stop()
    stock = place / "stock"
    stock.mkdir()
    run([DEBIAN_BIN / "pg_receivewal", "-D", stock, "-d", primary.conninfo(), "-Z", "gzip:1",
         "--no-loop", "-E", wal.lsn_text(behind * primary.segment_size)], check=False)
    # An archive_command's directory: somebody's cp and lz4, and files that are none of ours.
    copies = place / "copies"
    copies.mkdir()
    segments = [path for segno, path in archive.finished().items()]
    for number, path in enumerate(segments):
        if number % 2:
            run(["lz4", "-q", path, copies / f"{path.name}.lz4"])
        else:
            shutil.copy(path, copies)
    (copies / "notes.txt").write_text("not WAL")
    (copies / f"{segments[0].name}.00000028.backup").write_text("not looked at")
    # One that was complete when its receiver was stopped, under the name of an unfinished one.
    partials = place / "partials"
    partials.mkdir()
    for path in segments[2:5]:
        (partials / f"{path.name}.gz.partial").write_bytes(gzip.compress(path.read_bytes()))
    hole = [path.name for path in segments[2:5]]
    content = {path.name: path.read_bytes() for path in segments}
    for source in (primary.pg_wal(""), other.path, copies, partials):
        take_away(archive, hole)
        result = bring_in(archive, source)
        assert [name[:24] for name in result.names] == hole, (source, result.stderr)
        for (_, segno), path in archive.finished().items():
            assert archive.content(path) == content[path.name[:24]], path
        assert bring_in(archive, source).names == []
    if len(list(stock.glob("*.gz"))) >= 5:
        take_away(archive, hole)
        assert [name[:24] for name in bring_in(archive, stock).names] == hole
    # Files, one by one, also in the wrong order.
    take_away(archive, hole)
    assert bring_in(archive, *[copies / f"{name}{suffix}" for name in reversed(hole)
                               for suffix in ("", ".lz4")
                               if (copies / f"{name}{suffix}").exists()]).names != []
    assert pgweir("verify", "-D", archive.path).returncode == 0
    archive.assert_same_wal(primary)


def test_wal_of_another_branch_or_cluster_stays_out(servers, receivers, new_archive, place):
    """A copy of the server that went another way on the same timeline: the segment in which they
    parted fits on the left."""
    primary = servers.primary(wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    receiver, _, _ = with_segments(primary, receivers, archive, 2)
    receiver.stop()
    primary.sql("INSERT INTO rows VALUES (1)")
    primary.stop()
    clone = servers._new("clone", primary.major, primary.segment_size >> 20)
    run(["cp", "-a", primary.data, clone.data])
    clone._configure({"wal_keep_size": "100GB", "max_wal_size": "1GB"})
    primary.start()
    clone.start()
    parted = primary.flushed() // primary.segment_size
    for _ in range(4):
        clone.sql("INSERT INTO rows SELECT 5 FROM generate_series(1, 500)")
        fill(clone, 1)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    behind = fill(primary, 4)
    reported(primary, behind * primary.segment_size)
    receiver.stop()
    hole = names_of(primary, (parted, parted + 1))
    content = {path.name: path.read_bytes() for path in archive.finished().values()}
    take_away(archive, hole)
    before = archive.names()

    result = bring_in(archive, *[clone.pg_wal(name) for name in hole], status=1)
    assert result.names == [] and "do not match" in result.stderr, result.stderr
    assert archive.names() == before
    # Under names that the archive has: both are sound, and nothing is touched.
    behind_the_hole = names_of(primary, [parted + 2])[0]
    result = bring_in(archive, clone.pg_wal(behind_the_hole), status=4)
    assert "differs" in result.stderr and behind_the_hole in result.stderr, result.stderr
    # The first one alone, away from those beside it, comes in, since the hole stays; that is told.
    alone = place / "alone"
    alone.mkdir()
    shutil.copy(clone.pg_wal(hole[0]), alone)
    result = bring_in(archive, alone, status=1)
    assert "still a hole" in result.stdout.splitlines()[-1]
    assert result.names == hole[:1] and "could not be verified against the WAL after it" in result.stdout
    status = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)
    assert [each["on_the_right"] for each in status["not_vouched_for"]] == [True]
    assert "could not be verified against" in pgweir("verify", "-D", archive.path).stdout
    (archive.path / hole[1]).write_bytes(content[hole[1]])
    result = pgweir("import", "-D", archive.path)
    assert result.returncode == 1 and "does not match" in result.stdout, result.stdout
    # With the right one in its place all is well, and nobody is told any more.
    (archive.path / hole[0]).write_bytes(content[hole[0]])
    result = bring_in(archive)
    assert "look again" not in result.stdout and not archive.hidden()
    assert pgweir("verify", "-D", archive.path).returncode == 0

    stranger = servers.primary("stranger")
    stranger.sql("CREATE TABLE rows (number int)")
    fill(stranger, 2)
    take_away(archive, hole)
    result = bring_in(archive, stranger.pg_wal(""), status=4)
    assert result.names == [] and "another cluster" in result.stderr, result.stderr


def test_it_replaces_what_is_damaged_and_extends_only_if_asked_to(
        servers, receivers, new_archive, place):
    primary = servers.primary(wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    receiver, _, _ = with_segments(primary, receivers, archive, 5)
    receiver.stop()
    damaged = list(archive.finished().values())[2]
    content = damaged.read_bytes()
    broken = bytearray(content)
    broken[100] ^= 4
    damaged.write_bytes(broken)
    assert pgweir("verify", "-D", archive.path).returncode == 1
    result = bring_in(archive, primary.pg_wal(damaged.name), status=4)
    assert "--replace-damaged" in result.stderr
    assert damaged.read_bytes() == broken
    assert bring_in(archive, "--replace-damaged", primary.pg_wal(damaged.name)).names == [damaged.name]
    assert damaged.read_bytes() == content
    assert (archive.path / f".pgweir-damaged-{damaged.name}").read_bytes() == broken
    assert pgweir("verify", "-D", archive.path).returncode == 0
    # A prune that passes it takes what was kept along.
    newest = list(archive.finished().values())[-1]
    assert pgweir("prune", "-D", archive.path, "--keep-from", newest.name).returncode == 0
    assert not archive.hidden()

    empty = Archive(place / "empty", primary.segment_size)
    empty.path.mkdir()
    result = bring_in(empty, primary.pg_wal(""), status=1)
    assert result.names == [] and "requires --extend" in result.stdout.splitlines()[-1]
    names = bring_in(empty, "--extend", primary.pg_wal("")).names
    assert len(names) >= 5
    empty.assert_same_wal(primary, minimum=5)
    # A receiver goes on from there, and then the end is its own.
    receiver = receivers.pgweir(empty, primary)
    streaming(primary)
    end = fill(primary, 1) * primary.segment_size
    reported(primary, end)
    assert bring_in(empty, "--extend", primary.pg_wal("")).names == []
    empty.assert_covers(primary, 1, end)
    receiver.stop()
    assert bring_in(empty, "--extend", archive.path).names == []


@pytest.mark.parametrize("form", ["", ".gz"])
@pytest.mark.parametrize("part", [0, 0.5], ids=["begun", "half"])
def test_waits_for_a_file_that_another_program_is_copying(servers, receivers, new_archive, place, form, part):
    """The source is a directory in which cp is at work, for example an archive_command."""
    server = servers.primary()
    archive = new_archive(server)
    receiver, _, behind = with_segments(server, receivers, archive, 4)
    receiver.stop()
    lost, = names_of(server, [behind - 2])
    take_away(archive, [lost])
    source = place / "source"
    source.mkdir()
    for name in names_of(server, [behind - 3, behind - 2, behind - 1]):
        content = server.pg_wal(name).read_bytes()
        path = source / (name + form)
        content = gzip.compress(content, 1) if form else content
        if name == names_of(server, [behind - 1])[0]:
            path.write_bytes(content)
            continue
        # One that the archive lacks, and one that it has.
        path.write_bytes(content[:int(len(content) * part)])
        running = subprocess.Popen([BINARY, "import", "-D", archive.path, "--dry-run", source], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        copied_beside(running, path, content[int(len(content) * part):])
        said = running.communicate(timeout=PATIENCE)
        assert name not in said[1], said
        assert running.returncode == (0 if name == lost else 1), said
    # Nobody writes to it any more: it is damaged.
    path = source / (lost + form)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    os.utime(path, (0, 0))
    assert lost in bring_in(archive, source, status=1).stderr
    path.write_bytes(gzip.compress(server.pg_wal(lost).read_bytes()) if form else server.pg_wal(lost).read_bytes())
    assert bring_in(archive, source).names == [lost + form]


def offer(archive, path, status=0):
    """As a server's archiver calls it: silent when all is well."""
    result = pgweir("import", "-D", archive.path, "--archive-command", path)
    assert result.returncode == status and not result.stdout, (path, result.stderr)
    assert ("not archived" in result.stderr) == (status != 0), result.stderr


def test_as_an_archive_command_it_waits_for_the_receiver_or_takes_the_file(
        servers, receivers, new_archive, place):
    """0 only once the archive has it: by the stream while a receiver runs, by the file without."""
    primary = servers.primary(wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    receiver, _, behind = with_segments(primary, receivers, archive, 3)
    name = wal.segment_name(1, fill(primary, 1) - 1, primary.segment_size)
    offer(archive, primary.pg_wal(name))
    assert (archive.path / name).read_bytes() == primary.pg_wal(name).read_bytes()
    # A hole beside the receiver, which is past it: the file closes it.
    take_away(archive, [wal.segment_name(1, behind - 1, primary.segment_size)])
    offer(archive, primary.pg_wal(wal.segment_name(1, behind - 1, primary.segment_size)))
    # Without a receiver it comes in from its file, with those before it and none behind it.
    receiver.stop()
    behind = fill(primary, 3)
    path = primary.pg_wal(wal.segment_name(1, behind - 2, primary.segment_size))
    offer(archive, path)
    names = archive.names()
    for segno, there in ((behind - 3, True), (behind - 2, True), (behind - 1, False)):
        assert (wal.segment_name(1, segno, primary.segment_size) in names) == there, names
    # The receiver goes on behind them.
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, fill(primary, 2) * primary.segment_size)
    receiver.stop()
    assert pgweir("verify", "-D", archive.path).returncode == 0
    archive.assert_same_wal(primary)
    # Never 0 for what is not there; a label is no WAL.
    other = place / "pg_wal"
    other.mkdir()
    changed = bytearray(path.read_bytes())
    changed[100] ^= 1
    (other / path.name).write_bytes(changed)
    (other / "0000000100000000000000FE").write_bytes(b"")
    (other / f"{path.name}.00000028.backup").write_text("label")
    offer(archive, other / f"{path.name}.00000028.backup")
    for file in (path.name, "0000000100000000000000FE", "0000000100000000000000FF", "nonsense"):
        offer(archive, other / file, status=1)
    assert pgweir("import", "-D", place / "nowhere", "--archive-command", path).returncode == 1


def test_a_promotion_does_not_stop_an_archive_command(servers, place):
    """Without a receiver. The server archives the history first, and nothing before it succeeds. Of the old primary's last
    segments the new one has its own copies; its archive_command is not asked for them."""
    archive = Archive(place / "fed", 1 << 20)
    archive.path.mkdir()
    hand_over(archive.path)
    command = f"{installed(place)} import -D {archive.path} --archive-command %p"
    primary = servers.primary(archive_mode="on", archive_command=command, wal_keep_size="100GB")
    archive.segment_size = primary.segment_size
    standby = servers.standby(primary, archive_mode="on", archive_command=command)
    primary.sql("CREATE TABLE rows (number int)")
    behind = fill(primary, 3)
    archive.wait_finished(1, behind - 1)
    primary.conf(archive_command="/bin/false")
    primary.reload()
    wait_for(lambda: primary.sql("SHOW archive_command") == "/bin/false", "archive_command to be replaced")
    behind = fill(primary, 2)
    wait_for(lambda: wal.lsn(standby.sql("SELECT pg_last_wal_replay_lsn()")) >= behind * primary.segment_size,
             "the standby to have it")
    primary.stop("immediate")
    assert wal.segment_name(1, behind - 1, primary.segment_size) not in archive.names()
    standby.promote()
    behind = fill(standby, 2)
    archive.wait_finished(2, behind - 1)
    assert "00000002.history" in archive.names()
    result = pgweir("verify", "-D", archive.path)
    assert result.returncode == 0 and "missing" not in result.stdout, result.stdout


def test_a_script_may_believe_the_status(servers, receivers, new_archive, place):
    """0 is done, 1 is not, and the last line says what is open."""
    primary = servers.primary(wal_keep_size="100GB", max_wal_size="1GB")
    archive = new_archive(primary)
    receiver, _, _ = with_segments(primary, receivers, archive, 6)
    receiver.stop()
    segments = [path for _, path in sorted(archive.finished().items())]
    hole = [path.name for path in segments[2:5]]
    source = place / "source"
    source.mkdir()
    for name in hole:
        shutil.copy(archive.path / name, source)
    take_away(archive, hole)
    (place / "empty").mkdir()
    (place / "dead").symlink_to(place / "nowhere")
    for path in (place / "empty", place / "absent", place / "dead"):
        result = bring_in(archive, path, status=1)
        assert str(path) in result.stderr
        assert "1 source has no WAL that can be read" in result.stdout.splitlines()[-1]
    result = bring_in(archive, source / hole[0], place / "absent", status=1)
    assert result.names == hole[:1]
    assert re.match(r"not done: 1 of 1 named file came in or was there; still a hole: .* on timeline 1; "
                    r"1 source has no WAL", result.stdout.splitlines()[-1]), result.stdout
    # Root imports into an archive of the servers' user, who has to be able to read the result.
    hand_over(archive.path)
    result = bring_in(archive, source)
    assert result.names == hole[1:]
    assert "not done" not in result.stdout
    owner = (archive.path.stat().st_uid, archive.path.stat().st_gid)
    for name in hole[1:]:
        assert ((archive.path / name).stat().st_uid, (archive.path / name).stat().st_gid) == owner != (0, 0)
    archive.assert_same_wal(primary)
