"""pgweir status on the archives of real servers, with and without a receiver, and as a plugin."""

import datetime
import json
import os
import re
import shutil
import signal

import pytest

from support import wal
from support.process import as_server_user, run, wait_for
from support.receiver import BINARY, pgweir
from support.scenario import reported, status_of_receiver, streaming

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def status(archive, *options):
    done = pgweir("status", "-D", archive.path, "--json", *options)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def check(path, *options):
    """(exit status, first line); the line is in the plugins' format."""
    done = pgweir("status", "-D", path, "--check", *options)
    line = done.stdout.splitlines()[0]
    names = ["OK", "WARNING", "CRITICAL", "UNKNOWN"]
    assert line.startswith(f"PGWEIR {names[done.returncode]} - "), (done.returncode, line)
    if " | " in line:
        for word in line.split(" | ")[1].split():
            assert re.fullmatch(r"[a-z]+=(U|[0-9.]+(B|s)?);[0-9.]*;[0-9.]*;[0-9.]*", word), line
    return done.returncode, line


def committed(server):
    """A commit, and between which two moments of the server's clock it was."""
    server.sql("CREATE TABLE IF NOT EXISTS ticks (at timestamptz)")
    server.sql("INSERT INTO ticks VALUES (clock_timestamp())")
    told = server.sql("SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US \"UTC\"')"
                      " FROM (SELECT max(at) FROM ticks UNION ALL SELECT clock_timestamp()) moments (at) ORDER BY at")
    return [as_time(moment) for moment in told.splitlines()]


def as_time(text):
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f UTC").replace(
        tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_tells_the_first_and_last_commit_and_the_window(servers, receivers, new_archive, compress):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", compress)
    streaming(primary)
    first = committed(primary)
    primary.write_wal(3)
    last = committed(primary)
    end = primary.flushed()
    reported(primary, end)
    report, _ = status(archive)
    line = report["timelines"][0]
    assert last[0] <= as_time(line["last_commit"]["time"]) <= last[1]
    assert as_time(line["first_commit"]["time"]) <= first[1]
    assert wal.lsn(line["first_commit"]["lsn"]) < wal.lsn(line["last_commit"]["lsn"])
    window = report["windows"][0]
    assert window["with_partial"] and wal.lsn(window["to"]) >= wal.lsn(line["last_commit"]["end_lsn"])
    assert window["from"] == line["from"] and "to_time" in window
    assert report["receiver"]["state"] == "streaming" and report["receiver"]["silence_ms"] >= 0
    receiver.stop()
    text = pgweir("status", "-D", archive.path).stdout
    assert line["last_commit"]["time"] in text and "can be recovered to any moment" in text
    assert ("compression ratio" in text) == (compress == "zstd")


def test_tells_why_the_last_receiver_ended_until_the_next_one_starts(servers, receivers, new_archive):
    primary, other = servers.primary(), servers.primary("other")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    assert status(archive)[0].get("receiver_ended") is None
    refused = receivers.pgweir(archive, other)
    assert refused.wait_exit() == 4
    ended = status(archive)[0]["receiver_ended"]
    assert ended["status"] == 4 and "another cluster" in ended["message"] and ended["hint"] in refused.said()
    text = pgweir("status", "-D", archive.path).stdout
    assert f"Receiver: none runs\n  the last one ended on {ended['time']} with status 4: {ended['message']}\n" in text
    assert f"  hint: {ended['hint']}\n" in text
    level, line = check(archive.path)
    assert level == CRITICAL and f"no receiver runs on the archive; the last one ended on {ended['time']}" in line
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    assert "receiver_ended" not in status(archive)[0] and not (archive.path / ".pgweir-last-word").exists()
    receiver.stop()


def test_a_receiver_that_cannot_be_asked_is_known_by_its_lock(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    (archive.path / "lost+found").mkdir()  # as on a file system of its own
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    assert "are ignored" not in receiver.said()
    (archive.path / ".pgweir.sock").unlink()  # as where the file system knows no sockets
    report, _ = status(archive)
    assert report["receiver"] is None and report["receiver_error"].startswith(f"process {receiver.pid} (pgweir) holds the ")
    level, line = check(archive.path)
    assert level == WARNING and "holds the archive's lock and cannot be queried" in line
    receiver.stop()
    assert check(archive.path)[0] == CRITICAL


def test_what_others_named_does_nothing_to_a_terminal(place):
    archive = place / "archive"
    archive.mkdir()
    (archive / "\x1b]0;owned\a\x1b[31mevil größe").write_text("")
    (archive / os.fsdecode(b"lat\xe4in")).write_text("")
    shown = "\\x1b]0;owned\\x07\\x1b[31mevil größe"
    for words in (["status"], ["status", "--check"], ["verify", "--no-progress"]):
        done = pgweir(*words, "-D", archive)
        assert shown in done.stdout, done
        assert "\x1b" not in done.stdout + done.stderr and "\a" not in done.stdout + done.stderr
    assert "lat\\xe4in" in pgweir("status", "-D", archive).stdout
    done = pgweir("status", "-D", archive, "--json")
    assert "\\u001b]0;owned\\u0007\\u001b[31mevil größe" in done.stdout and json.loads(done.stdout)
    done = pgweir("status", "-D", place / "no\x1b[31mred")
    assert done.returncode == 4 and "no\\x1b[31mred" in done.stderr and "\x1b" not in done.stderr


def test_asks_the_server_and_its_slot(servers, receivers, new_archive):
    primary = servers.primary()
    other = servers.primary("other")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "weir", "--create-slot")
    streaming(primary)
    end = primary.write_wal(2)
    reported(primary, end)
    report, _ = status(archive, "-d", primary.conninfo())
    upstream = report["upstream"]
    assert upstream["same_cluster"] is True and upstream["timeline"] == 1
    assert upstream["slot"]["name"] == "weir" and upstream["slot"]["exists"]
    assert upstream["slot"]["wal_status"] == "reserved" and upstream["slot"]["active"]
    wait_for(lambda: check(archive.path, "-d", primary.conninfo(), "--max-lag", "1MB")[0] == OK,
             "the archive to be caught up")
    receiver.stop()
    primary.write_wal(3)
    report, _ = status(archive, "-d", primary.conninfo(), "-S", "weir")
    assert report["lag_bytes"] >= 3 << 20
    assert report["upstream"]["slot"]["active"] is False
    number, line = check(archive.path, "-d", primary.conninfo(), "--max-lag", "1MB")
    assert number == CRITICAL and "behind the server" in line
    number, line = check(archive.path, "-d", primary.conninfo(), "-S", "nosuch")
    assert number == CRITICAL and 'no slot "nosuch"' in line
    number, line = check(archive.path, "-d", other.conninfo())
    assert number == CRITICAL and "different clusters" in line
    primary.stop()
    report, _ = status(archive, "-d", primary.conninfo())
    assert "upstream" not in report and report["upstream_error"]


def test_a_logical_slot_does_not_hide_the_server(servers, receivers, new_archive):
    primary = servers.primary(wal_level="logical")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    primary.sql("SELECT pg_create_logical_replication_slot('decoding', 'pgoutput')")
    report, _ = status(archive, "-d", primary.conninfo(), "-S", "decoding")
    assert "upstream_error" not in report, report
    assert report["upstream"]["same_cluster"] is True and report["lag_bytes"] >= 0
    slot = report["upstream"]["slot"]
    assert slot["name"] == "decoding" and slot["exists"] and slot["active"] is False, slot


def test_as_a_plugin_on_an_idle_server(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-s", "1s", "--timeout", "10s")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    primary.hush()
    # Nothing is written, and nothing is stale: the server is heard of, again and again.
    ages = []

    def heard():
        ages.append(status_of_receiver(archive)["silence_ms"])
        return sum(later < earlier for earlier, later in zip(ages, ages[1:])) >= 3

    wait_for(heard, "the server to be heard of, although nothing is written", interval=0.2)
    wait_for(lambda: check(archive.path, "--max-lag", "64MB", "--max-age", "9s")[0] == OK, "it not to be called stale")
    receiver.pause()
    number, line = check(archive.path, "--max-lag", "64MB", "--max-age", "9s")
    assert number == CRITICAL and "does not answer" in line
    receiver.resume()
    primary.stop("immediate")
    wait_for(lambda: check(archive.path)[0] == WARNING, "a warning that it does not stream")
    wait_for(lambda: check(archive.path, "--max-age", "2s")[0] == CRITICAL,
             "the server to be silent for too long")
    # However often it tries to connect, the outage began once.
    since = status_of_receiver(archive)["outage_since"]
    wait_for(lambda: check(archive.path, "--max-outage", "3s")[0] == CRITICAL, "the outage to last too long")
    report, _ = status(archive)
    receiving = status_of_receiver(archive)
    assert receiving["outage_since"] == since and receiving["state_since"] > since
    assert [each["since"] for each in report["findings"] if each["topic"] == "not_streaming"] == [since]
    assert check(archive.path)[0] == WARNING
    receiver.stop()
    number, line = check(archive.path)
    assert number == CRITICAL and "no receiver runs" in line
    number, line = check(archive.path, "--receiver", "none")
    assert number in (OK, WARNING) and "no receiver runs" not in line, line


def test_finds_and_draws_a_hole(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(5))
    receiver.stop()
    victim = list(archive.finished().values())[2]
    victim.unlink()
    number, line = check(archive.path)
    assert number == CRITICAL and "1 segment missing" in line and victim.name in line
    report, _ = status(archive)
    assert len(report["holes"]) == 1 and len(report["windows"]) == 2
    hole, = [each for each in report["findings"] if each["topic"] == "hole"]
    assert report["holes"][0]["missing"] == victim.name
    assert hole["commands"][-1] == f"pgweir ack -D {archive.path} {report['holes'][0]['id']}"
    # What the last verification found stays known, and how long ago that was is judged if asked for.
    assert report["last_verify"] is None and "no \"pgweir verify\" is recorded" in pgweir("status", "-D", archive.path).stdout
    assert "no verification is recorded" in check(archive.path, "--max-verify-age", "1d")[1]
    assert pgweir("verify", "-D", archive.path).returncode == 1
    assert status(archive)[0]["last_verify"]["passed"] is True, "the hole is reported already"
    damaged = list(archive.finished().values())[-1]
    content = bytearray(damaged.read_bytes())
    content[5000:5100] = bytes(100)
    damaged.write_bytes(content)
    assert pgweir("verify", "-D", archive.path).returncode == 1
    report, _ = status(archive)
    assert report["last_verify"]["passed"] is False and report["last_verify"]["problems"] >= 1
    failed, = [each for each in report["findings"] if each["topic"] == "verify"]
    assert failed["level"] == "CRITICAL" and damaged.name in failed["text"], failed
    assert pgweir("verify", "-D", archive.path, "--to", report["holes"][0]["from"]).returncode == 0
    assert status(archive)[0]["last_verify"]["passed"] is False, "a part is not all of it"
    assert pgweir("ack", "-D", archive.path, "--all").returncode == 0
    for environment, signs in (({"LC_ALL": "C"}, "#x~"), ({"LC_ALL": "C.UTF-8"}, "█×░")):
        text = pgweir("status", "-D", archive.path, env=environment).stdout
        row = next(line for line in text.splitlines() if line.startswith("  1 |"))
        assert all(sign in row for sign in signs), text


def test_finds_a_hole_before_the_open_segment_that_a_restart_of_the_receiver_fills(
        servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(3))
    primary.sql("SELECT pg_logical_emit_message(true, 'test', 'in the open one')")
    position = primary.flushed()
    reported(primary, position)
    open_one = position // primary.segment_size
    wait_for(lambda: (1, open_one - 1) in archive.finished() and (1, open_one) in archive.partials(),
             "the open segment to be the only unfinished one")
    assert check(archive.path)[0] == OK
    archive.finished()[1, open_one - 1].unlink()
    begin = (open_one - 1) * primary.segment_size
    identifier = f"hole-1-{wal.lsn_text(begin)}".replace("/", "-")

    number, line = check(archive.path)
    assert number == CRITICAL and "1 segment missing" in line and "missing=1;" in line, line
    report, _ = status(archive)
    assert [(hole["id"], wal.lsn(hole["from"]), wal.lsn(hole["to"])) for hole in report["holes"]] == [
        (identifier, begin, open_one * primary.segment_size)]
    text = pgweir("status", "-D", archive.path).stdout
    assert "a receiver that is started while that one is unfinished asks the server" in text, text
    # A record of it would be taken for leave to go on behind it.
    assert identifier in pgweir("ack", "-D", archive.path).stdout
    refused = pgweir("ack", "-D", archive.path, identifier)
    assert refused.returncode == 2 and "Start the receiver" in refused.stderr, refused.stderr
    left = pgweir("ack", "-D", archive.path, "--all")
    assert left.returncode == 0 and f"{identifier}: not acknowledged" in left.stdout, left.stdout
    assert not list(archive.path.glob(".pgweir-loss-*"))

    receiver.stop()
    receiver = receivers.pgweir(archive, primary)
    reported(primary, primary.write_wal(1))
    assert check(archive.path)[0] == OK
    assert status(archive)[0]["holes"] == []
    receiver.stop()
    assert not list(archive.path.glob(".pgweir-loss-*"))
    assert pgweir("verify", "-D", archive.path).returncode == 0


def test_follows_a_promotion(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby)
    reported(standby, primary.write_wal(2))
    old = committed(primary)
    standby.caught_up_with(primary.flushed())
    primary.stop()
    standby.promote()
    new = committed(standby)
    end = standby.write_wal(2)
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    report, _ = status(archive)
    lines = {line["timeline"]: line for line in report["timelines"]}
    assert set(lines) == {1, 2} and lines[2]["history_file"]
    assert as_time(lines[1]["last_commit"]["time"]) <= old[1]
    assert as_time(lines[2]["last_commit"]["time"]) >= new[0]
    assert [window["timeline"] for window in report["windows"]] == [2]
    assert report["holes"] == []


def test_a_directory_that_is_empty_missing_or_closed(place):
    empty = place / "empty"
    empty.mkdir()
    done = pgweir("status", "-D", empty)
    assert done.returncode == 0 and "empty" in done.stdout
    assert check(empty)[0] == CRITICAL
    missing = place / "missing"
    done = pgweir("status", "-D", missing)
    assert done.returncode == 4 and str(missing) in done.stderr and "hint" in done.stderr
    number, line = check(missing)
    assert number == UNKNOWN and str(missing) in line
    assert check(empty, "--max-lag", "much")[0] == UNKNOWN
    assert check(empty, "--nonsense")[0] == UNKNOWN
    assert pgweir("status", "-D", empty, "--max-lag", "1MB").returncode == 2
    assert pgweir("status", "-D", empty, "--min-free", "1MB").returncode == 2


def test_writes_nothing(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.send(signal.SIGKILL)
    receiver.wait_exit()
    for path in archive.path.iterdir():
        path.chmod(0o400)
    archive.path.chmod(0o500)
    before = {path.name: path.stat().st_mtime_ns for path in archive.path.iterdir()}
    report, number = status(archive)
    assert number == 0 and report["timelines"][0]["last_commit"]
    assert before == {path.name: path.stat().st_mtime_ns for path in archive.path.iterdir()}
    archive.path.chmod(0o700)


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_files_that_this_user_may_not_read_are_not_called_damaged(servers, receivers, new_archive, compress):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", compress)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    for path in archive.path.iterdir():
        path.chmod(0)
    archive.path.chmod(0o755)
    done = run([str(BINARY), "status", "-D", str(archive.path)], check=False, **as_server_user(), cwd="/")
    assert done.returncode == 4 and "DAMAGED" not in done.stdout, (done.stdout, done.stderr)
    assert "Permission denied" in done.stderr and "hint" in done.stderr and "owner" in done.stderr
    done = run([str(BINARY), "status", "-D", str(archive.path), "--check"], check=False, **as_server_user(), cwd="/")
    assert done.returncode == UNKNOWN and "Permission denied" in done.stdout, (done.stdout, done.stderr)


def test_is_quick_on_a_hundred_thousand_segments(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    streaming(primary)
    committed(primary)
    end = primary.write_wal(3)
    archive.wait_finished(1, end // primary.segment_size - 1, form=".zst")
    receiver.stop()
    sources = list(archive.finished().values())[:3]  # a file can have some 60,000 names
    last = max(segno for _, segno in archive.finished())
    for segno in range(last + 1, last + 100_000):
        name = wal.segment_name(1, segno, archive.segment_size) + ".zst"
        os.link(sources[segno % len(sources)], archive.path / name)
    # Bounded by what it reads, not by a clock: some files are opened, not each one.
    trace = place / "trace"
    if shutil.which("strace"):
        # The search for leaks does not work while it is traced.
        run(["strace", "-f", "-e", "trace=openat", "-E", "ASAN_OPTIONS=detect_leaks=0", "-o", trace,
             BINARY, "status", "-D", archive.path])
        assert len([line for line in trace.read_text().splitlines() if ".zst" in line]) < 40
    done = pgweir("status", "-D", archive.path, "--json")
    report = json.loads(done.stdout)
    assert report["timelines"][0]["segments"] > 99_000
    shutil.rmtree(archive.path)


def test_the_old_primary_has_wal_that_the_archive_never_saw(servers, receivers, new_archive):
    """Its timeline went on past the fork. Two positions on two branches say nothing of each other."""
    old = servers.primary()
    archive = new_archive(old)
    receiver = receivers.pgweir(archive, old)
    streaming(old)
    committed(old)
    standby = servers.standby(old)
    standby.caught_up_with(old.flushed())
    reported(old, old.flushed())
    receiver.stop()
    standby.promote()
    fork = wait_for(lambda: standby.timeline_end(1), "the end of timeline 1")
    receivers.pgweir(archive, standby)
    reported(standby, standby.write_wal(2))
    for _ in range(6):
        committed(old)
    old.hush()
    end = old.flushed()
    assert end > fork

    report, _ = status(archive, "-d", old.conninfo())
    branch = report["upstream"]["branch"]
    assert branch["relation"] == "diverged" and wal.lsn(branch["fork"]) == fork, branch
    assert wal.lsn(branch["missing_from"]) <= fork < wal.lsn(branch["missing_to"]), branch
    assert wal.lsn(branch["missing_to"]) == end
    assert report["lag_bytes"] == branch["missing_bytes"] > 0
    assert report["upstream"]["standby"] is False
    assert "pg_rewind" in branch["todo"]
    text = pgweir("status", "-D", archive.path, "-d", old.conninfo()).stdout
    assert "all of it in the archive" not in text and "is not in the archive" in text, text
    level, line = check(archive.path, "-d", old.conninfo())
    assert level == CRITICAL and "is not in the archive" in line, line
    found = pgweir("doctor", "-D", archive.path, "-d", old.conninfo(), "--json", "--measure", "0s")
    found = found.stdout + found.stderr
    assert "which diverged from the archive's timeline 2" in found, found

    # The other way round: the server that the archive follows is none of that.
    report, _ = status(archive, "-d", standby.conninfo())
    assert report["upstream"]["branch"]["relation"] in ("same", "ahead"), report["upstream"]
    assert check(archive.path, "-d", standby.conninfo())[0] == OK


def test_a_timeline_that_the_archive_does_not_know_yet(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    committed(primary)
    standby = servers.standby(primary)
    standby.caught_up_with(primary.flushed())
    reported(primary, primary.flushed())
    receiver.stop()
    primary.stop("fast")
    standby.promote()
    committed(standby)
    report, _ = status(archive, "-d", standby.conninfo())
    branch = report["upstream"]["branch"]
    assert branch["relation"] == "ahead" and branch["missing_bytes"] > 0, branch
    text = pgweir("status", "-D", archive.path, "-d", standby.conninfo()).stdout
    assert "WARNING" not in text and "the archive is" in text, text


def end_of(report):
    """(timeline, position) up to which an archive without a receiver is durable."""
    line = report["timelines"][-1]
    ends = [wal.lsn(line[name]) for name in ("to", "last_record_end") if name in line]
    return line["timeline"], max(ends)


def status_of_several(*directories, options=()):
    words = [word for directory in directories for word in ("-D", directory)]
    return pgweir("status", *words, *options)


def test_tells_which_of_several_archives_reaches_furthest(servers, receivers, new_archive, place):
    primary = servers.primary()
    left, right = new_archive(primary, "left"), new_archive(primary, "right")
    receiver = receivers.pgweir(left, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    receiver = receivers.pgweir(right, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))

    # A receiver runs on one of them.
    done = status_of_several(left.path, right.path, options=["--json"])
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["furthest"] == str(right.path), report["what"]
    done = status_of_several(left.path, right.path, options=["--check"])
    lines = done.stdout.splitlines()
    assert done.returncode == CRITICAL, done.stdout
    assert lines[0].startswith(f"{left.path}: PGWEIR CRITICAL - no receiver runs"), lines[0]
    assert lines[1].startswith(f"{right.path}: PGWEIR OK - streaming from "), lines[1]
    swapped = status_of_several(right.path, left.path, options=["--check"])
    assert swapped.returncode == CRITICAL and swapped.stdout.startswith(f"{left.path}: PGWEIR CRITICAL - ")
    receiver.stop()

    done = status_of_several(left.path, right.path, options=["--json"])
    report = json.loads(done.stdout)
    alone = [status(archive)[0] for archive in (left, right)]
    (timeline, behind), (_, end) = (end_of(one) for one in alone)
    assert end > behind
    assert report["furthest"] == str(right.path) and not report["different_clusters"]
    assert report["ends"] == [
        {"directory": str(left.path), "timeline": timeline, "lsn": wal.lsn_text(behind),
         "behind_bytes": end - behind},
        {"directory": str(right.path), "timeline": timeline, "lsn": wal.lsn_text(end), "behind_bytes": 0}]
    for one, other in zip(report["archives"], alone):
        assert one.keys() == other.keys()
        assert one["directory"] == other["directory"] and one["timelines"] == other["timelines"]

    closing = (f"Furthest: {right.path}, timeline {timeline}, {wal.lsn_text(end)}; "
               f"{left.path} is {end - behind} bytes behind")
    done = status_of_several(left.path, right.path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1] == closing == report["what"], done.stdout
    headings = [line for line in lines if line.startswith("Archive ")]
    assert [line.split(":")[0] for line in headings] == [f"Archive {left.path}", f"Archive {right.path}"]

    # One that cannot be read does not hide the others.
    missing = place / "missing"
    done = status_of_several(missing, right.path, left.path)
    assert done.returncode == 4 and f"Archive {missing}: cannot be read: " in done.stdout, done
    assert str(missing) in done.stderr and "hint" in done.stderr, done.stderr
    assert done.stdout.endswith(
        closing.replace("; ", f"; {missing} could not be read; ", 1) + "\n"), done.stdout
    done = status_of_several(missing, right.path, options=["--check", "--json"])
    report = json.loads(done.stdout)
    assert done.returncode == CRITICAL and report["archives"][0]["check"]["exit_status"] == UNKNOWN, report

    for option in (["-d", primary.conninfo()], ["-h", "db1"], ["-p", "5432"], ["-U", "repl"], ["-S", "weir"],
                   ["--compare-archive", left.path], ["--html", place / "page.html"], ["--backups", place],
                   ["--metrics-file", place / "status.prom"], ["--store", "s3://bucket/prefix"]):
        done = status_of_several(left.path, right.path, options=option)
        assert done.returncode == 2 and "cannot be used with several archives" in done.stderr, done
        assert not done.stdout, done.stdout
    assert not (place / "page.html").exists() and not (place / "status.prom").exists()


def test_says_that_several_archives_belong_to_different_clusters(servers, receivers, new_archive):
    archives = []
    for name in ("one", "other"):
        server = servers.primary(name)
        archives.append(new_archive(server, f"archive-{name}"))
        receiver = receivers.pgweir(archives[-1], server)
        streaming(server)
        reported(server, server.write_wal(1))
        receiver.stop()
    systems = [status(archive)[0]["system_identifier"] for archive in archives]
    paths = [archive.path for archive in archives]
    closing = ("The archives belong to different clusters, and cannot be compared: "
               f"{paths[0]} to {systems[0]}, {paths[1]} to {systems[1]}")
    done = status_of_several(*paths)
    assert done.returncode == 4 and done.stdout.splitlines()[-1] == closing, done.stdout
    done = status_of_several(*paths, options=["--json"])
    report = json.loads(done.stdout)
    assert done.returncode == 4 and report["furthest"] is None and report["different_clusters"], report["what"]
    assert [one["system_identifier"] for one in report["archives"]] == systems
    done = status_of_several(*paths, options=["--check"])
    assert done.returncode == CRITICAL
    assert done.stdout.splitlines()[0] == f"PGWEIR CRITICAL - {closing}", done.stdout
