"""Out of an object store: `restore`, `status`, `prune`, `verify` and `doctor` with `--store`, with a real Ceph gateway.
What the store does not tell is never told as absent, and a machine that has only pgweir and the keys recovers all."""

import datetime
import json
import os
import re
import shutil
import time

import pytest

from support import wal
from support.archive import Archive
from support.gateway import Gateway
from support.process import run, server_user, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, hand_over, installed, recover
from support.scenario import begun, promote_again
from test_store import KEYS, archive, azurite, bucket, ceph, filled, gateway, key_of, keys_of, of_both, proxy, push, store  # noqa: F401

pytestmark = pytest.mark.in_memory

ENVIRONMENT = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **KEYS}
# Of a process that becomes another user, and then cannot be searched for leaks.
AS_OWNER = {**ENVIRONMENT, "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')} detect_leaks=0"}
# A page that leads no further.
LISTING = "<ListBucketResult><IsTruncated>true</IsTruncated>{}</ListBucketResult>"


def words_for(bucket, endpoint=None, prefix="p"):
    return ["--store", f"{bucket.url}/{prefix}", "--store-endpoint", endpoint or bucket.gateway.url,
            "--store-name", "main"]


class Asked:
    """Files of a bucket by `pgweir restore`, in a directory of their own."""

    def __init__(self, place, bucket):
        self.place = place
        self.bucket = bucket
        (place / "asked").mkdir()

    def __call__(self, name, *options, endpoint=None, status=0, env=ENVIRONMENT, prefix="p"):
        target = self.place / "asked" / "RECOVERYXLOG"
        target.unlink(missing_ok=True)
        result = pgweir("restore", *words_for(self.bucket, endpoint, prefix), "--retry-for", "0", "-v", *options, name,
                        target, env=env)
        assert result.returncode == status, (name, result.returncode, result.stderr)
        assert target.exists() == (status == 0)
        self.said = result.stderr
        return target.read_bytes() if status == 0 else None


@pytest.fixture
def ask(place, bucket):
    return Asked(place, bucket)


def names_of(archive):
    return sorted(path.name[:24] for path in archive.finished().values())


def content_of(archive, name):
    return archive.content(next(path for path in archive.finished().values() if path.name.startswith(name)))


def behind(name, archive, count=1):
    timeline, segno = wal.parse_segment(name, archive.segment_size)
    return wal.segment_name(timeline, segno + count, archive.segment_size)


@of_both
def test_a_bucket_alone_answers_as_an_archive_does(archive, bucket, proxy, ask, place):
    push(archive, bucket)
    names = names_of(archive)
    for name in names:
        started = len(proxy.requests)
        assert ask(name, endpoint=proxy.url) == content_of(archive, name)
        assert len(proxy.requests) - started <= 40, "by hand its neighbours tell whose WAL it is"
    started = len(proxy.requests)
    ask(behind(names[-1], archive), endpoint=proxy.url, status=1)
    ask("00000003.history", endpoint=proxy.url, status=1)
    assert ask("00000002.history") == (archive.path / "00000002.history").read_bytes()
    # An empty directory, and one that is not there, are as good as none; what is there is not fetched.
    (place / "empty").mkdir()
    for directory in (place / "empty", place / "nothing"):
        assert ask(names[0], "-D", directory) == content_of(archive, names[0])
        assert "does not answer" not in ask.said
        ask(behind(names[-1], archive), "-D", directory, status=1)
    started = len(proxy.requests)
    assert ask(names[0], "-D", archive.path, "--prefetch", "0", endpoint=proxy.url) == content_of(archive, names[0])
    assert len(proxy.requests) == started
    # One is missing, and a later one is there.
    bucket.remove(next(key for key in bucket.keys() if names[1] in key))
    ask(names[1], status=200)
    assert "later segments of this timeline exist" in ask.said
    assert ask(names[1], "-D", archive.path) == content_of(archive, names[1])
    # At a place where nothing is, nothing is known to be absent.
    ask(names[0], prefix="elsewhere", status=200)
    assert "there is no WAL at all at this location of the store" in ask.said
    ask(names[0], "--allow-empty", prefix="elsewhere", status=1)


def test_trouble_is_never_absence(archive, bucket, proxy, ask):
    """P9: also for who has everything but this file in a directory."""
    push(archive, bucket)
    names = names_of(archive)
    absent = behind(names[-1], archive)
    frozen = (403, [], "<Error><Code>InvalidObjectState</Code></Error>")
    for answer, told in (
            ((503, [], "<Error><Code>SlowDown</Code></Error>"), "SlowDown"),
            ((500, [], ""), "500"),
            ((403, [], "<Error><Code>AccessDenied</Code></Error>"), "AccessDenied"),
            ((404, [], "<Error><Code>NoSuchBucket</Code></Error>"), "NoSuchBucket"),
            ((404, [], ""), "404"),
            ((200, [], "<Error><Code>InternalError</Code></Error>"), "InternalError"),
            ((200, [], ""), "200"),
            ((200, [], LISTING.format("")), "announces more objects"),
            ((200, [], LISTING.format("<Contents><Key>a</Key><Size>1</Size></Contents>")), "announces more objects"),
            ((301, [("x-amz-bucket-region", "eu-west-1")], ""), "eu-west-1"),
            ("reset", ""), ("half", "")):
        proxy.decide = lambda request: answer
        for name in (names[0], absent, "00000002.history", "00000003.history"):
            ask(name, endpoint=proxy.url, status=200)
            assert told in ask.said, (name, answer, ask.said)
        ask(absent, "-D", archive.path, endpoint=proxy.url, status=200)
        assert ask(names[0], "-D", archive.path, endpoint=proxy.url) == content_of(archive, names[0])
    # The listing comes, and the object does not.
    for answer in (frozen, (503, [], ""), (403, [], ""), "reset", "half", (404, [], "<Error><Code>NoSuchBucket</Code></Error>")):
        proxy.decide = lambda request: None if "list-type" in request.path else answer
        ask(names[0], endpoint=proxy.url, status=200)
    proxy.decide = lambda request: frozen if "list-type" not in request.path else None
    ask(names[0], endpoint=proxy.url, status=200)
    assert "Restore it in the store first" in ask.said
    # And each request in turn.
    proxy.decide = lambda request: None
    started = len(proxy.requests)
    ask(absent, endpoint=proxy.url, status=1)
    for fatal in range(1, len(proxy.requests) - started + 1):
        before = len(proxy.requests)
        proxy.decide = lambda request: (503, [], "") if request.number - before >= fatal else None
        ask(absent, endpoint=proxy.url, status=200)
    ask(names[0], endpoint="http://127.0.0.1:1", status=200)
    ask(absent, endpoint="http://127.0.0.1:1", status=200)
    ask(absent, env={**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": "wrong"}, status=200)
    assert "SignatureDoesNotMatch" in ask.said
    ask(absent, env={"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}, status=200)
    assert "there are no credentials for the store" in ask.said


def test_few_requests_however_much_there_is(archive, bucket, proxy, ask, place):
    """Beside a server, which knows whose WAL it wants."""
    push(archive, bucket)
    names = names_of(archive)
    header = content_of(archive, names[0])[:40]
    (place / "global").mkdir()
    (place / "global" / "pg_control").write_bytes(header[24:32] + bytes(8184))
    (place / "pg_wal").mkdir()

    def count(name, status):
        started = len(proxy.requests)
        result = pgweir("restore", *words_for(bucket, proxy.url), "--retry-for", "0", name, "pg_wal/RECOVERYXLOG",
                        env=ENVIRONMENT, cwd=place)
        assert result.returncode == status, result.stderr
        return len(proxy.requests) - started

    assert count(names[0], 0) == 2
    # (Two of them ask the manifest's newest lines whether something ought to be there.)
    assert count(behind(names[-1], archive), 1) <= 5
    assert count("00000003.history", 1) <= 5
    bucket.remove(next(key for key in bucket.keys() if names[2] in key))
    assert count(names[2], 200) <= 3


def test_what_others_have_filled_is_read(archive, bucket, ask):
    """Barman's and WAL-G's keys and forms; no record of pgweir's is there."""
    archive_files = sorted(archive.finished().values())
    lz4 = archive_files[-1]
    run(["lz4", "-q", lz4, f"{lz4}.lz4"])
    lz4.unlink()
    for path in archive.finished().values():
        bucket.put(f"barman/main/wals/{path.name[:16]}/{path.name}", path.read_bytes())
        bucket.put(f"wal-g/wal_005/{path.name}", path.read_bytes())
    history = (archive.path / "00000002.history").read_bytes()
    run(["zstd", "-q", archive.path / "00000002.history"])
    bucket.put("barman/main/wals/00000002.history", history)
    bucket.put("wal-g/wal_005/00000002.history.zst", (archive.path / "00000002.history.zst").read_bytes())
    # What barman-cloud-backup and wal-g backup-push leave beside.
    bucket.put("barman/main/base/20260101T000000/data.tar.gz", b"a backup")
    bucket.put("wal-g/basebackups_005/base_1/tar_partitions/part_1.tar.lz4", b"a backup")
    assert {path.suffix for path in archive.finished().values()} == {"", ".gz", ".zst", ".lz4"}
    for prefix, layout in (("barman", []), ("wal-g", ["--store-layout", "wal-g"])):
        for name in names_of(archive):
            assert ask(name, *layout, prefix=prefix) == content_of(archive, name), (prefix, name)
        assert ask("00000002.history", *layout, prefix=prefix) == history
        ask(behind(names_of(archive)[-1], archive), *layout, prefix=prefix, status=1)
        listed = pgweir("status", *words_for(bucket, prefix=prefix), *layout, "--json", env=ENVIRONMENT)
        assert listed.returncode == 0, listed.stderr
        [end, *_] = json.loads(listed.stdout)["store"]["timelines"]
        assert (end["first"], end["last"]) == (names_of(archive)[0], names_of(archive)[-1])
        # What they have packed in another format is not read, and not absent.
        following = behind(names_of(archive)[-1], archive)
        folder = f"barman/main/wals/{following[:16]}" if prefix == "barman" else "wal-g/wal_005"
        bucket.put(f"{folder}/{following}.bz2", b"packed")
        ask(following, *layout, prefix=prefix, status=200)
        assert "bzip2" in ask.said


def test_a_moment_is_found_in_the_bucket(archive, bucket):
    push(archive, bucket)
    for unfinished in archive.path.glob("*.partial"):
        unfinished.unlink()
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")
    here = pgweir("restore", "-D", archive.path, "--find-time", when, "--timeline", "1", "--json")
    there = pgweir("restore", *words_for(bucket), "--find-time", when, "--timeline", "1", "--json", env=ENVIRONMENT)
    assert here.returncode == there.returncode == 0, (here.stderr, there.stderr)
    assert json.loads(here.stdout)["before"] == json.loads(there.stdout)["before"]
    text = pgweir("restore", *words_for(bucket), "--find-time", when, "--timeline", "1", env=ENVIRONMENT).stdout
    assert f"pgweir restore --store {bucket.url}/p --store-endpoint {bucket.gateway.url}" in text


def test_a_bucket_that_keeps_versions_is_read_as_it_was_filled(archive, bucket, ask):
    bucket.request("PUT", query={"versioning": ""}, body=b"<VersioningConfiguration><Status>Enabled</Status>"
                                                         b"</VersioningConfiguration>")
    push(archive, bucket)
    names = names_of(archive)
    key = next(key for key in bucket.keys() if names[0] in key)
    other = bytearray(content_of(archive, names[0]))
    other[8192 + 100] ^= 1
    bucket.put(key, bytes(other))
    assert ask(names[0]) == content_of(archive, names[0])
    assert pgweir("verify", *words_for(bucket), "--to", names[-1], env=ENVIRONMENT).returncode in (0, 1)


@of_both
def test_holes_are_known_in_the_bucket(archive, bucket, ask):
    """Records of losses go there, too: names alone make this hole look like the end."""
    names = names_of(archive)
    first = wal.parse_segment(names[-1], archive.segment_size)[1] + 1
    start, end = (wal.lsn_text((first + count) * archive.segment_size) for count in (0, 2))
    identifier = int.from_bytes(content_of(archive, names[0])[24:32], "little")
    high, low = (first * archive.segment_size) >> 32, (first * archive.segment_size) & 0xffffffff
    record = archive.path / f".pgweir-loss-hole-1-{high:X}-{low:X}"
    push(archive, bucket)
    ask(behind(names[-1], archive), status=1)
    record.write_text(json.dumps({"version": 1, "id": record.name.removeprefix(".pgweir-loss-"), "kind": "hole",
                                  "timeline": 1, "next_timeline": 1, "begin": start, "end": end, "sound_end": start,
                                  "system_identifier": str(identifier), "segment_size": archive.segment_size}))
    push(archive, bucket)
    assert any("/weir/loss-hole-1-" in key for key in bucket.keys())
    ask(behind(names[-1], archive), status=200)
    assert "a hole " in ask.said and " is recorded" in ask.said, ask.said


@of_both
def test_prune_takes_the_same_from_both(archive, bucket, place):
    push(archive, bucket)
    names = names_of(archive)
    dry = pgweir("prune", "-D", archive.path, *words_for(bucket), "--keep-from", names[2], "--dry-run", env=ENVIRONMENT)
    assert dry.returncode == 0 and len(keys_of(bucket)) == len(names) + 2, dry.stderr
    # A file system that is not mounted.
    (place / "unmounted").mkdir()
    unmounted = pgweir("prune", "-D", place / "unmounted", *words_for(bucket), "--keep-from", names[2], env=ENVIRONMENT)
    assert unmounted.returncode == 4 and "does not show its cluster" in unmounted.stderr, unmounted.stderr
    assert len(keys_of(bucket)) == len(names) + 2
    done = pgweir("prune", "-D", archive.path, *words_for(bucket), "--keep-from", names[2], "-v", env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    left = {key.rpartition("/")[2][:24] for key in bucket.keys() if names[0][:8] in key.rpartition("/")[2][:8]}
    assert left == set(names[2:]) == set(names_of(archive))
    assert key_of("00000002.history") in bucket.keys()
    # The newest stay, whatever is said.
    refused = pgweir("prune", *words_for(bucket), "--keep-from", behind(names[-1], archive), env=ENVIRONMENT)
    assert refused.returncode == 4 and "newest segments" in refused.stderr, refused.stderr
    alone = pgweir("prune", *words_for(bucket), "--keep-from", names[3], env=ENVIRONMENT)
    assert alone.returncode == 0 and f"kept from {names[3]} on" in alone.stdout, alone.stderr
    assert not any(names[2] in key for key in bucket.keys())


def test_what_a_prune_has_recorded_is_no_hole(archive, bucket, proxy):
    """Whatever a prune that was killed has left of it: nobody needs it."""
    push(archive, bucket)
    names = names_of(archive)
    gone = next(key for key in bucket.keys() if names[1] in key)
    held = bucket.get(gone)

    def holes():
        told = json.loads(pgweir("status", *words_for(bucket), "--json", env=ENVIRONMENT).stdout)
        verified = pgweir("verify", *words_for(bucket), "--deep", "--no-progress", env=ENVIRONMENT)
        return len(told["holes"]), verified.returncode

    bucket.remove(gone)
    assert holes() == (1, 1)
    bucket.put(gone, held)
    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>") \
        if request.method in ("POST", "DELETE") else None
    killed = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", names[2], env=ENVIRONMENT)
    assert killed.returncode == 1 and "did not remove 2 of 2 objects" in killed.stderr, killed.stderr
    bucket.remove(gone)
    assert holes() == (0, 0)
    # The archive still has it, and does not send it again.
    store("push", bucket, "-D", archive.path)
    assert gone not in bucket.keys()
    store("check", bucket, "-D", archive.path)
    for path in archive.finished().values():
        if path.name[:24] in names[:2]:
            path.unlink()
    told = pgweir("status", "-D", archive.path, *words_for(bucket), "--json", env=ENVIRONMENT)
    assert json.loads(told.stdout)["holes"] == [], told.stdout
    both = pgweir("verify", "-D", archive.path, *words_for(bucket), "--no-progress", env=ENVIRONMENT)
    assert both.returncode == 0, both.stdout + both.stderr


def test_prune_names_what_the_store_keeps(archive, bucket, proxy):
    push(archive, bucket)
    names = names_of(archive)
    locked = next(key for key in bucket.keys() if names[0] in key)
    proxy.decide = lambda request: (
        (200, [], f"<DeleteResult><Error><Key>{locked}</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
                  "</DeleteResult>") if request.method == "POST" else None)
    result = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", names[2], env=ENVIRONMENT)
    assert result.returncode == 1, result.stderr
    assert locked in result.stderr and "did not remove 1 of 2 objects" in result.stderr
    # One file can be two objects.
    both = (locked, f"{locked}.age")
    bucket.put(both[1], b"")
    errors = "".join(f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>locked</Message></Error>" for key in both)
    proxy.decide = lambda request: (200, [], f"<DeleteResult>{errors}</DeleteResult>") if request.method == "POST" else None
    result = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", names[2], env=ENVIRONMENT)
    assert "did not remove 2 of 3 objects" in result.stderr and "removed 1 objects of 3" in result.stdout, result
    failures = [(503, [], ""), (200, [], "<Error><Code>InternalError</Code></Error>")]
    proxy.decide = lambda request: failures.pop() if failures and request.method == "POST" else None
    result = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", names[2], env=ENVIRONMENT)
    assert result.returncode == 0 and not failures, result.stderr
    # Without the permission to read the bucket's settings all is removed, too.
    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>") \
        if "versioning" in request.path else None
    result = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", names[3], env=ENVIRONMENT)
    assert result.returncode == 0 and "removed 1 objects of 1" in result.stdout, (result.stdout, result.stderr)
    assert "could not determine whether the bucket keeps versions: " in result.stderr, result.stderr


@of_both
def test_prune_removes_many_objects_by_one_request(archive, bucket, proxy):
    push(archive, bucket)
    names = names_of(archive)

    def prune(keep_from):
        started = len(proxy.requests)
        result = pgweir("prune", *words_for(bucket, proxy.url), "--keep-from", keep_from, env=ENVIRONMENT)
        assert result.returncode == 0, result.stderr
        assert min(key.rpartition("/")[2][:24] for key in bucket.keys("p/main/wals/00000001")) == keep_from
        return [request.method for request in proxy.requests[started:] if request.method in ("POST", "DELETE")]

    assert prune(names[2]) == ["POST"]
    # A store that knows no such request, or does not do it: each by itself, and nothing stays.
    for name in names[:2]:
        bucket.put(key_of(name), content_of(archive, name))
    proxy.decide = lambda request: (405, [], "") if request.method == "POST" else None
    assert prune(names[2]) == ["POST", "DELETE", "DELETE"]
    if bucket.url.startswith("azure://"):
        for name in names[:2]:
            bucket.put(key_of(name), content_of(archive, name))
        part = "--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {}\r\nx-ms-error-code: {}\r\n\r\n"
        busy = part.format("503 Busy", "ServerBusy") + part.format("500 Error", "InternalError") + "--b--\r\n"
        proxy.decide = lambda request: (202, [("Content-Type", "multipart/mixed; boundary=b")], busy) \
            if request.method == "POST" else None
        assert prune(names[2]) == ["POST", "DELETE", "DELETE"]


def test_prune_is_not_misled_by_another_clusters_backup(servers, receivers, new_archive, bucket, place):
    server, other = servers.primary(), servers.primary("other")
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server)
    begun(archive, server)
    server.write_wal(2)
    base_backup(server, place / "ours")
    start = server.flushed()
    while other.flushed() < start + 2 * archive.segment_size:
        other.write_wal(1)
    base_backup(other, place / "theirs")
    while server.flushed() < other.flushed() + 2 * archive.segment_size:
        server.write_wal(1)
    archive.wait_covers(server, 1, server.switch_wal())
    receiver.stop()
    push(archive, bucket)
    names = names_of(archive)

    def prune(*words):
        return pgweir("prune", *words_for(bucket), *words, env=ENVIRONMENT)

    for rule, status in ((["--keep-backups", "1"], 0), (["--keep", "1d"], 1)):
        alone = prune(*rule, place / "theirs")
        assert alone.returncode == status and alone.stdout == "nothing was removed\n", (alone.stdout, alone.stderr)
        assert "it is of another cluster (" in alone.stderr, alone.stderr
    named = prune("--keep-from-backup", place / "theirs" / "data")
    assert named.returncode == 4 and "the backup and the archive belong to different clusters" in named.stderr, named.stderr
    done = prune("--keep-backups", "1", place / "ours", place / "theirs")
    assert done.returncode == 0 and "it is of another cluster (" in done.stderr, (done.stdout, done.stderr)
    first = re.search(r"\(file (\w+)\)", (place / "ours" / "data" / "backup_label").read_text()).group(1)
    assert first != names[0]
    assert {key.rpartition("/")[2][:24] for key in keys_of(bucket) if "/wals/" in key and not key.endswith(".history")} == {
        name for name in names if name >= first}


def test_status_shows_both_ends(archive, bucket, proxy):
    names = names_of(archive)

    def status(*words, endpoint=None, code=0):
        result = pgweir("status", *words, *words_for(bucket, endpoint), "--json", env=ENVIRONMENT)
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout)

    push(archive, bucket)
    told = status("-D", archive.path)
    assert told["store"]["pending_segments"] == 0 and told["store"]["oldest_pending_seconds"] is None
    alone = status()
    assert alone["holes"] == [] and alone["store"]["timelines"][0]["first"] == names[0]
    bucket.remove(next(key for key in bucket.keys() if names[-1] in key))
    told = status("-D", archive.path)["store"]
    assert told["pending_segments"] == 1 and told["oldest_pending"].startswith(names[-1])
    assert told["oldest_pending_seconds"] >= 0 and told["pending_bytes"] > 0
    # What the directory no longer has is in the store: the archive has no hole.
    next(path for path in archive.finished().values() if path.name.startswith(names[1])).unlink()
    assert status("-D", archive.path)["holes"] == []
    text = pgweir("status", "-D", archive.path, *words_for(bucket), env=ENVIRONMENT).stdout
    assert "1 segment (" in text and "behind, from" in text
    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>")
    told = status("-D", archive.path, endpoint=proxy.url, code=4)
    assert "AccessDenied" in told["store"]["last_error"] and told["timelines"]
    checked = pgweir("status", "-D", archive.path, *words_for(bucket, proxy.url), "--check", env=ENVIRONMENT)
    assert checked.returncode == 2 and "the store could not be read: " in checked.stdout.splitlines()[0], checked.stdout


def test_status_of_both_has_the_records_of_the_directory(archive, bucket, place):
    push(archive, bucket)
    name = names_of(archive)[1]
    path = next(path for path in archive.finished().values() if path.name.startswith(name))
    path.write_bytes(bytes(path.stat().st_size))
    assert pgweir("verify", "-D", archive.path, env=ENVIRONMENT).returncode == 1
    metrics = place / "status.prom"
    words = ["--check", "--max-drill-age", "1d", "--metrics-file", metrics]
    alone = pgweir("status", "-D", archive.path, *words, env=ENVIRONMENT)
    both = pgweir("status", "-D", archive.path, *words_for(bucket), *words, env=ENVIRONMENT)
    for result in (alone, both):
        line = result.stdout.splitlines()[0]
        assert result.returncode == 2 and "the last verification failed" in line and "no drill is recorded" in line, line
    assert "pgweir_status_last_check_passed" in metrics.read_text(), metrics.read_text()
    told = json.loads(pgweir("status", "-D", archive.path, *words_for(bucket), "--json", env=ENVIRONMENT).stdout)
    assert told["last_verify"]["passed"] is False and told["last_drill"] is None and told["disk_bytes"] > 0
    # A store alone has no records.
    line = pgweir("status", *words_for(bucket), "--check", "--max-verify-age", "1d", env=ENVIRONMENT).stdout.splitlines()[0]
    assert line.startswith("PGWEIR WARNING - no verification is recorded |"), line


def test_status_judges_what_the_manifests_find(archive, bucket):
    push(archive, bucket)
    words = ["status", *words_for(bucket), "--check"]
    assert pgweir(*words, env=ENVIRONMENT).returncode == 0
    key = next(key for key in bucket.keys() if names_of(archive)[1] in key)
    content = bucket.get(key)
    bucket.put(key, content[:-1] + bytes([content[-1] ^ 1]))
    result = pgweir(*words, env=ENVIRONMENT)
    line = result.stdout.splitlines()[0]
    assert result.returncode == 2 and "the store and its manifests do not match: " in line, line
    assert pgweir("verify", *words_for(bucket), env=ENVIRONMENT).returncode == 1


def test_a_store_that_is_away_is_reported_within_seconds(archive, bucket, proxy):
    """Not as an empty archive, and not after the time-out of whoever monitors."""
    push(archive, bucket)
    for fault in ("hang", (503, [], ""), None):
        proxy.decide = lambda request: fault
        words = words_for(bucket, proxy.url if fault else "http://127.0.0.1:9")
        for arguments, status in (([], 3), (["-D", archive.path], 3), (["--check"], 1)):
            begun = time.monotonic()
            result = pgweir("status", *arguments, *words, env=ENVIRONMENT)
            took = time.monotonic() - begun
            assert result.returncode == status, (result.stdout, result.stderr)
            assert took < 40, (fault, arguments, took)  # without the limit it is tried again for a minute
            assert "cannot be read" in result.stdout and "no WAL is here" not in result.stdout, result.stdout
        assert result.stdout.startswith("PGWEIR WARNING - the store could not be read: "), result.stdout
    # Slow is not away: each answer counts.
    def slow(request):
        time.sleep(1)

    proxy.decide = slow
    result = pgweir("status", *words_for(bucket, proxy.url), env=ENVIRONMENT)
    assert result.returncode == 0 and "cannot be read" not in result.stdout, result.stdout


def test_prune_takes_note_of_what_another_program_removed(archive, bucket):
    """Barman's retention knows nothing of manifests."""
    push(archive, bucket)
    names = names_of(archive)
    bucket.remove(next(key for key in bucket.keys() if names[0] in key))
    verified = pgweir("verify", *words_for(bucket), env=ENVIRONMENT)
    assert verified.returncode == 1 and f"--keep-from {names[1]}" in verified.stdout, verified.stdout
    rule = ("prune", *words_for(bucket), "--keep-from", names[1])
    assert pgweir(*rule, "--dry-run", env=ENVIRONMENT).returncode == 0
    assert pgweir("verify", *words_for(bucket), env=ENVIRONMENT).returncode == 1
    pruned = pgweir(*rule, env=ENVIRONMENT)
    assert pruned.returncode == 0 and f"begins at {names[1]}: 1 segment before it" in pruned.stdout, pruned
    assert "by another program" not in pgweir(*rule, env=ENVIRONMENT).stdout
    assert pgweir("verify", *words_for(bucket), env=ENVIRONMENT).returncode == 0
    told = pgweir("status", "-D", archive.path, *words_for(bucket), "--json", env=ENVIRONMENT)
    assert json.loads(told.stdout)["store"]["pending_segments"] == 0, told.stdout
    assert push(archive, bucket).stdout.startswith("sent 0 segments, ")
    bucket.remove(next(key for key in bucket.keys() if names[2] in key))
    assert pgweir("verify", *words_for(bucket), env=ENVIRONMENT).returncode == 1


def test_pending_for_too_long_is_critical(archive, bucket):
    push(archive, bucket)
    names = names_of(archive)
    bucket.remove(next(key for key in bucket.keys() if names[-1] in key))
    old = time.time() - 3600
    for path in archive.finished().values():
        os.utime(path, (old, old))
    for limit, told in (("2h", False), ("10min", True)):
        result = pgweir("status", "-D", archive.path, *words_for(bucket), "--check", "--max-store-age", limit,
                        env=ENVIRONMENT)
        assert ("finished WAL has not been sent to the store for 1 h" in result.stdout) == told, result.stdout


def test_a_store_alone_is_judged_by_what_arrives(archive, bucket):
    push(archive, bucket)

    def line(*limits):
        return pgweir("status", *words_for(bucket), "--check", *limits, env=ENVIRONMENT).stdout.splitlines()[0]

    assert line("--max-store-age", "1h").startswith("PGWEIR OK"), line("--max-store-age", "1h")
    wait_for(lambda: "the newest WAL in the store was uploaded " in line("--max-store-age", "1s"), "its age")
    assert line("--max-outage", "1h").startswith("PGWEIR UNKNOWN - it is unknown whether WAL streams: ")


def test_verify_reads_both_as_one(archive, bucket, place):
    (archive.path / "00000002.history").unlink()
    push(archive, bucket)
    names = names_of(archive)
    next(path for path in archive.finished().values() if path.name.startswith(names[1])).unlink()
    assert pgweir("verify", "-D", archive.path, env=ENVIRONMENT).returncode == 1
    both = pgweir("verify", "-D", archive.path, *words_for(bucket), "--json", env=ENVIRONMENT)
    assert json.loads(both.stdout)["sound"], both.stdout
    # Each lacks one that the other has: import reads no store.
    bucket.remove(next(key for key in bucket.keys() if names[2] in key))
    figures = place / "verify.prom"
    both = pgweir("verify", "-D", archive.path, *words_for(bucket), "--metrics-file", figures, env=ENVIRONMENT)
    assert both.returncode == 1, both.stdout
    assert f'pgweir_verify_sound{{archive="{archive.path.resolve()}"}} 0' in figures.read_text(), "as those of status"
    assert "the last verification failed" in pgweir("status", "-D", archive.path, "--check").stdout.splitlines()[0]
    assert f'"pgweir store push -D {archive.path}" with the same --store uploads the missing segments' in both.stdout, both.stdout
    assert f'then "pgweir import -D {archive.path} DIR"' in both.stdout and "import -D s3:" not in both.stdout, both.stdout


def test_a_failure_with_the_store_is_over_when_the_store_passes(archive, bucket):
    push(archive, bucket)
    key = next(key for key in bucket.keys() if names_of(archive)[1] in key)
    content = bucket.get(key)
    bucket.put(key, b"junk")
    assert pgweir("verify", "-D", archive.path, *words_for(bucket), env=ENVIRONMENT).returncode == 1

    def line():
        return pgweir("status", "-D", archive.path, "--receiver", "none", "--check").stdout.splitlines()[0]

    assert "the last verification failed" in line(), line()
    assert pgweir("verify", "-D", archive.path, env=ENVIRONMENT).returncode == 0
    assert "the last verification failed" in line(), "the directory alone is sound"
    bucket.put(key, content)
    assert pgweir("verify", "-D", archive.path, *words_for(bucket), env=ENVIRONMENT).returncode == 0
    assert line().startswith("PGWEIR OK"), line()


def test_doctor_tries_the_store(archive, bucket, proxy):
    def doctor(endpoint=None, status=0):
        result = pgweir("doctor", *words_for(bucket, endpoint), "--json", env=ENVIRONMENT)
        assert result.returncode == status, (result.stdout, result.stderr)
        return json.loads(result.stdout)

    push(archive, bucket)
    before = bucket.keys()
    told = json.dumps(doctor())
    for what in ("objects can be listed", "never overwritten", "read back", "can be removed", "no rule of the bucket"):
        assert what in told, told
    assert bucket.keys() == before
    bucket.request("PUT", query={"versioning": ""}, body=b"<VersioningConfiguration><Status>Enabled</Status>"
                                                         b"</VersioningConfiguration>")
    told = json.dumps(doctor())
    assert "keeps versions" in told and "does not support" in told
    rule = ("<LifecycleConfiguration><Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>p/</Prefix></Filter>"
            "<Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>")
    proxy.decide = lambda request: (200, [], rule) if "lifecycle" in request.path else None
    assert "removes the archive's objects after 30 days" in json.dumps(doctor(proxy.url, 1))
    rule = rule.replace("p/", "other/")
    assert "removes the archive" not in json.dumps(doctor(proxy.url))
    rule = ("<LifecycleConfiguration><Rule><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER"
            "</StorageClass></Transition></Rule></LifecycleConfiguration>")
    assert "to GLACIER" in json.dumps(doctor(proxy.url, 1))
    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>") \
        if "lifecycle" in request.path else None
    assert "cannot be read" in json.dumps(doctor(proxy.url))
    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>")
    assert "AccessDenied" in json.dumps(doctor(proxy.url, 1))


def test_the_machine_is_gone_and_the_bucket_is_there(servers, receivers, new_archive, place, bucket):
    """A server recovers to the last commit that was sent, from a bucket alone, with a helper that fetches ahead; as
    docs/store-recover.md says."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t (i int)")
    for number in range(1, 11):
        primary.sql(f"INSERT INTO t VALUES ({number})")
        primary.write_wal(1)
    primary.switch_wal()
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    primary.kill9()
    push(archive, bucket)
    for gone in (primary.data, archive.path):
        shutil.rmtree(gone)

    keys = place / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n")
    keys.chmod(0o600)
    if os.getuid() == 0:
        os.chown(keys, server_user().pw_uid, server_user().pw_gid)
    restore = " ".join(str(word) for word in [
        installed(place), "restore", *words_for(bucket), "--store-credentials", keys, "-v", "%f", "%p"])
    server = recover(servers, backup, "recovered", primary, restore)
    assert server.sql("SELECT count(*), max(i) FROM t") == "10|10"
    assert "was prefetched and verified" in server.log.read_text()


def test_a_recovery_is_not_promised_without_the_newest_wal_that_a_store_has_lost(servers, receivers, new_archive, place, bucket):
    """As restore has it: the manifest tells of WAL that is gone, and a server would open with rows missing."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    for number in range(3):
        primary.sql(f"CREATE TABLE t{number} AS SELECT 1 AS i")
        primary.switch_wal()
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    push(archive, bucket)
    newest = names_of(archive)[-1]
    shutil.rmtree(archive.path)

    def recover(*words, status=0):
        done = pgweir("recover", *words_for(bucket), "--backup", backup, "--into", place / "into", "--bindir", primary.bin,
                      "--owner", server_user().pw_name, "--dry-run", "--json", *words, env=AS_OWNER)
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    recover()
    key, = (key for key in keys_of(bucket) if newest in key)
    bucket.remove(key)
    problem, = recover(status=1)["problems"]
    # Everything before it is recovered by its own words.
    start = int(newest[8:16], 16) * (2**32 // archive.segment_size) + int(newest[16:], 16)
    begin, end = (wal.lsn_text(number * archive.segment_size) for number in (start, start + 1))
    assert f"WAL is missing in the archive, from {begin} to {end}: {newest}" in problem, problem
    recover("--to", wal.lsn_text((start - 1) * archive.segment_size))


def test_a_timeline_that_a_store_has_lost_is_not_left_out_in_silence(servers, receivers, new_archive, place, bucket):
    """By the manifest a newer timeline existed, of which the store has nothing any more, or only the history."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE one AS SELECT 1 AS i")
    primary.switch_wal()
    promote_again(primary)
    primary.sql("CREATE TABLE two AS SELECT 1 AS i")
    primary.switch_wal()
    archive.wait_covers(primary, 2, primary.flushed())
    receiver.stop()
    push(archive, bucket)
    shutil.rmtree(archive.path)

    def recover(*words, status=0):
        done = pgweir("recover", *words_for(bucket), "--backup", backup, "--into", place / "into", "--bindir", primary.bin,
                      "--owner", server_user().pw_name, "--dry-run", "--json", *words, env=AS_OWNER)
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    assert recover()["timeline"] == 2
    gone = [key for key in keys_of(bucket) if "/00000002" in key]
    for key in gone:
        if not key.endswith(".history"):
            bucket.remove(key)
    told = recover(status=1)
    problem, = told["problems"]
    assert "although timeline 2 is newer: the store has lost files of that timeline" in problem, told
    assert "A server was promoted at " in problem and "--timeline 1" in told["hints"][0], told
    # The archive had the end of the older one as a partial segment only, which was not sent.
    told = recover("--timeline", "1", status=1)
    assert "timeline 1 ends only there, as the history of a later one shows" in told["problems"][0], told
    before, = re.findall('"--to ([^"]*)" recovers everything before it: the last commit is of ', told["hints"][0])
    assert recover("--timeline", "1", "--to", before)["timeline"] == 1
    history, = (key for key in gone if key.endswith(".history"))
    bucket.remove(history)
    told = recover(status=1)
    assert "the store has lost files of that timeline" in told["problems"][0], told
    # A server that is promoted would not assign its number again: restore stops it.
    told = recover("--timeline", "1", status=1)
    assert "could not be promoted" in told["problems"][0] and "00000002.history" in told["problems"][0], told
    told = recover("--timeline", "1", "--action", "pause")
    assert any("could not be promoted" in note for note in told["notes"]), told
