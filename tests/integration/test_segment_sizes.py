"""Finished files in the middle of an archive that are no segments by their size: holes by any name."""

import gzip
import json
import os
import re
import subprocess
import tempfile
import time

import pytest

from support import wal
from support.process import preload, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import reported, status_of_receiver, streaming

BEFORE = 6  # segments of the archive that tests damage


@pytest.fixture
def archived(servers, receivers, new_archive):
    """A server, and an archive of several finished segments, raw; no receiver runs."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(BEFORE))
    receiver.stop()
    segments = sorted(archive.finished())
    assert len(segments) >= BEFORE
    return primary, archive, segments


def damage(archive, segment, what):
    """Returns the name of the file as it is now. It was changed an hour ago: nobody writes it."""
    path = archive.finished()[segment]
    whole = path.read_bytes()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "short":
        path.write_bytes(whole[:5000])
    elif what == "long":
        path.write_bytes(whole + bytes(8192))
    else:
        path.unlink()
        suffix, _, content = what.partition(" ")
        raw = {"": whole, "of too little": whole[:5000], "empty": None}[content]
        path = path.with_name(path.name + suffix)
        path.write_bytes(b"" if raw is None else compressed(suffix, raw))
    long_ago(path)
    return path.name


def compressed(suffix, raw):
    """From a file: of what comes through a pipe neither program tells the size."""
    if suffix == ".gz":
        return gzip.compress(raw, 1)
    command = {".zst": ["zstd", "-qc"], ".lz4": ["lz4", "-qc", "--content-size"]}[suffix]
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        return subprocess.run([*command, file.name], stdout=subprocess.PIPE, check=True).stdout


def long_ago(path):
    then = time.time() - 3600
    os.utime(path, (then, then))


def hole_id(archive, segment):
    timeline, segno = segment
    return f"hole-{timeline}-{wal.lsn_text(segno * archive.segment_size)}".replace("/", "-")


def status_of(archive):
    return json.loads(pgweir("status", "-D", archive.path, "--json").stdout)


def checked(archive):
    return pgweir("status", "-D", archive.path, "--check")


@pytest.mark.parametrize("what", ["empty", "short", "long", ".zst of too little", ".zst empty",
                                  ".gz of too little", ".lz4 of too little"])
def test_a_wrong_size_in_the_middle_is_told_until_it_is_mended(archived, receivers, what):
    primary, archive, segments = archived
    segment = segments[2]
    whole = archive.finished()[segment].read_bytes()
    name = damage(archive, segment, what)
    identifier = hole_id(archive, segment)

    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    receiver.wait_log(rf"WARN.*1 complete segment has the wrong size, so no recovery can "
                      rf"pass: {re.escape(name)} has .* bytes.*; a segment has "
                      rf"{archive.segment_size}; recorded as {identifier}")
    reported(primary, primary.write_wal(1))
    hole = wait_for(lambda: status_of_receiver(archive)["holes"], "the receiver to tell it")[0]
    assert hole["id"] == identifier and not hole["acknowledged"]
    for running in (True, False):
        if not running:
            receiver.stop()
        done = checked(archive)
        assert done.returncode == 2 and "1 segment missing from" in done.stdout, done.stdout
        hole = status_of(archive)["holes"][0]
        assert (hole["id"], hole["segments"]) == (identifier, 1)
        assert name in hole["cause"]
        text = pgweir("status", "-D", archive.path).stdout
        assert "HOLE" in text and name in text
        # Nothing may be promised over it.
        ends = [wal.lsn(window["to"]) for window in status_of(archive)["windows"]]
        assert segment[1] * archive.segment_size in ends
        assert pgweir("verify", "-D", archive.path).returncode == 1

    # The next start tells it, and goes on telling.
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log(rf"WARN.*no recovery can pass.*{identifier}")
    streaming(primary)
    mended = archive.path / wal.segment_name(*segment, archive.segment_size)
    mended.write_bytes(whole)
    if name != mended.name:
        (archive.path / name).unlink()
    receiver.wait_log(f"the loss {identifier} is closed")
    wait_for(lambda: status_of_receiver(archive)["holes"] == [], "the receiver to tell it no more")
    assert status_of(archive)["holes"] == []
    wait_for(lambda: checked(archive).returncode == 0, "the alarm to end")
    receiver.stop()
    assert pgweir("verify", "-D", archive.path).returncode == 0


def test_without_a_receiver_status_and_ack_find_it_by_themselves(archived):
    _, archive, segments = archived
    damage(archive, segments[1], "empty")
    damage(archive, segments[2], "short")
    damage(archive, segments[4], ".zst empty")
    ids = [hole_id(archive, segments[1]), hole_id(archive, segments[4])]
    done = checked(archive)
    assert done.returncode == 2 and "2 segments missing from" in done.stdout, done.stdout
    assert [hole["id"] for hole in status_of(archive)["holes"]] == ids
    listed = pgweir("ack", "-D", archive.path)
    assert listed.returncode == 0 and all(f"{each}: WAL is missing" in listed.stdout for each in ids)
    assert pgweir("ack", "-D", archive.path, "--all", "--reason", "a disk").returncode == 0
    # (No receiver runs, which is another finding.)
    assert all(hole["acknowledged"]["reason"] == "a disk" for hole in status_of(archive)["holes"])
    assert pgweir("verify", "-D", archive.path).returncode == 1


def test_what_is_acknowledged_is_not_told_again(archived, receivers):
    primary, archive, segments = archived
    damage(archive, segments[2], "short")
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    receiver.wait_log("the wrong size")
    identifier = hole_id(archive, segments[2])
    assert pgweir("ack", "-D", archive.path, identifier, "--reason", "known").returncode == 0
    receiver.wait_log(f"the loss {identifier} was acknowledged by .*: known")
    wait_for(lambda: status_of_receiver(archive)["holes"][0]["acknowledged"], "the receiver to tell it")
    assert checked(archive).returncode == 0
    receiver.stop()
    receiver = receivers.pgweir(archive, primary, "--log-level", "debug")
    receiver.wait_log("checked the sizes of")
    streaming(primary)
    receiver.stop()
    assert "the wrong size" not in receiver.said()
    assert f"{identifier} (acknowledged by" in receiver.said()


def test_at_the_oldest_end_it_is_damage_and_no_hole(archived, receivers):
    primary, archive, segments = archived
    name = damage(archive, segments[0], "empty")
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    receiver.wait_log(rf"no recovery can pass: {name} has 0 bytes")
    done = checked(archive)
    assert done.returncode == 2 and f"complete segment of the wrong size: {name}" in done.stdout, done.stdout
    status = status_of(archive)
    assert status["holes"] == [] and name in status["damaged"][0]
    assert wal.lsn(status["windows"][0]["from"]) == segments[1][1] * archive.segment_size
    (archive.path / name).unlink()
    wait_for(lambda: checked(archive).returncode == 0, "the alarm to end")
    receiver.stop()


def test_everything_before_it_can_be_recovered(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    primary.sql("CREATE TABLE rows (number int)")
    backup = base_backup(primary, place / "backup")
    primary.sql("INSERT INTO rows VALUES (1)")
    primary.write_wal(2)
    before = primary.flushed()
    primary.write_wal(2)
    primary.sql("INSERT INTO rows VALUES (2)")
    reported(primary, primary.write_wal(2))
    receiver.stop()
    segment = next(each for each in sorted(archive.finished())
                   if each[1] * archive.segment_size > before)
    name = damage(archive, segment, "short")
    hand_over(archive.path)
    restored = recover(servers, backup, "stopped", primary, restore_command(place, archive),
                       start=False)
    restored.start(wait=False)
    wait_for(lambda: not restored.running(), "the recovery to stop at it")
    assert name in restored.log.read_text()
    ended = recover(servers, backup, "ended", primary,
                    restore_command(place, archive, "--until-gap"))
    assert ended.sql("SELECT sum(number) FROM rows") == "1"


def test_a_file_that_somebody_writes_is_waited_for(archived, receivers):
    primary, archive, segments = archived
    path = archive.finished()[segments[2]]
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])  # as of now
    receiver = receivers.pgweir(archive, primary, "--log-level", "debug")
    receiver.wait_log("checked the sizes of")
    streaming(primary)
    wait_for(lambda: checked(archive).returncode == 0, "a receiver that streams, and nothing to be told")
    path.write_bytes(whole)
    long_ago(path)
    receiver.stop()
    assert "the wrong size" not in receiver.said()


def test_a_sound_archive_in_every_form_is_quiet(archived, receivers):
    primary, archive, segments = archived
    for number, suffix in enumerate([".zst", ".gz", ".lz4"], 1):
        damage(archive, segments[number], suffix)
    receiver = receivers.pgweir(archive, primary, "--log-level", "debug", "--compress", "zstd")
    receiver.wait_log(rf"checked the sizes of \d+ complete segments")
    streaming(primary)
    receiver.stop()
    assert "the wrong size" not in receiver.said()
    assert not list(archive.path.glob(".pgweir-loss-*"))


def test_a_disk_that_hangs_while_sizes_are_looked_at_holds_nobody_up(archived, receivers,
                                                                     sync_fault, place):
    """Only the looking opens the file in the middle: it streams and stops all the same."""
    primary, archive, segments = archived
    damage(archive, segments[2], ".gz")
    sync_fault.set("open 0")  # of files that end so
    # An hour later: the receiver flushes what was copied into the archive within the last minute.
    (place / "clock").write_text("3600")
    libraries = f"{sync_fault.env['LD_PRELOAD']} {preload(place, 'jumping_clock.c')}"
    receiver = receivers.pgweir(archive, primary, "--log-level", "debug",
                                env={**sync_fault.env, "LD_PRELOAD": libraries, "PGWEIR_TEST_CLOCK": str(place / "clock")})
    streaming(primary)
    wait_for(lambda: sync_fault.count() >= 1, "an open to hang")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    assert "checked the sizes of" not in receiver.said()
