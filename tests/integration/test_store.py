"""`pgweir store`, with a real Ceph RADOS gateway, a proxy with faults before it, and Debian's barman-cloud."""

import base64
import datetime
import email.utils
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import zlib

import pytest

from support import azure
from support import gateway as gateways
from support import wal
from support.archive import Archive
from support.azure import Azurite
from support.fault_proxy import FaultProxy
from support.gateway import Gateway, Swift
from support.process import PATIENCE, alive, copied_beside, run, wait_for
from support.receiver import BINARY, Receiver, pgweir, receive_command
from support.recovery import hand_over
from support.scenario import begun
from support.server import DEBIAN_MAJOR, Server, clients_installed
from support.template import memory_place

pytestmark = pytest.mark.in_memory

BARMAN = gateways.ROOT / "usr" / "bin" / "barman-cloud-wal-restore"
KEYS = {"AWS_ACCESS_KEY_ID": Gateway.key, "AWS_SECRET_ACCESS_KEY": Gateway.secret,
        "AZURE_STORAGE_ACCOUNT": Azurite.account, "AZURE_STORAGE_KEY": Azurite.key}
# What S3 and Azure Blob Storage have to do alike.
of_both = pytest.mark.parametrize("gateway", ["ceph", "azurite"], indirect=True)


@pytest.fixture(scope="module")
def ceph():
    if not gateways.installed("radosgw"):
        pytest.skip("Ceph's gateway is not there (scripts/setup)")
    started = Gateway()
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="module")
def azurite():
    if not azure.installed():
        pytest.skip("Azurite is not there (scripts/setup)")
    started = Azurite()
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture
def gateway(request):
    """Ceph's, unless a test is of_both."""
    return request.getfixturevalue(getattr(request, "param", "ceph"))


@pytest.fixture(scope="module")
def swift():
    if not gateways.installed("swift-proxy-server"):
        pytest.skip("Swift is not there (scripts/setup)")
    started = Swift()
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="module")
def filled():
    """An archive of two timelines that a receiver has filled; nobody works on it any more."""
    if not clients_installed():
        pytest.skip("PostgreSQL 15 is not installed (scripts/setup)")
    place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-"))
    place.chmod(0o755)
    server = Server(place, "primary", DEBIAN_MAJOR, 1, memory_place())
    receiver = None
    try:
        server.initdb()
        server.start()
        (place / "archive").mkdir(mode=0o700)
        archive = Archive(place / "archive", server.segment_size)
        receiver = Receiver(receive_command(archive.path, server.conninfo()), place / "receiver.log")
        begun(archive, server)  # else what is written before it connects is not in the archive
        server.write_wal(4)
        end = server.switch_wal()
        archive.wait_covers(server, 1, end)
        wait_for(lambda: (1, end // server.segment_size - 1) in archive.finished(), "the last one to be finished")
        segments = sorted(segno for _, segno in archive.finished())
        receiver.stop()
        # A branch that forks in the newest segment: what is sent of it is its history.
        (archive.path / "00000002.history").write_text(f"1\t{wal.lsn_text(end)}\tno reason\n")
        assert len(segments) >= 4
        yield archive
    finally:
        if receiver is not None and receiver.running():
            receiver.kill9()
        server.stop()
        shutil.rmtree(place, ignore_errors=True)
        if server.memory:
            shutil.rmtree(server.memory, ignore_errors=True)


@pytest.fixture
def archive(filled, place):
    """A copy of it; half of its segments compressed, each form once at least."""
    copy = Archive(place / "archive", filled.segment_size)
    shutil.copytree(filled.path, copy.path)
    names = sorted(path.name for path in copy.finished().values())
    run(["gzip", copy.path / names[1]])
    run(["zstd", "-q", "--rm", copy.path / names[2]])
    return copy


@pytest.fixture
def bucket(gateway):
    return gateway.bucket()


@pytest.fixture
def proxy(gateway):
    started = FaultProxy(gateway.port)
    yield started
    started.stop()


def store(verb, bucket, *arguments, endpoint=None, env=KEYS, status=0, prefix="p"):
    words = [verb, "--store", f"{bucket.url}/{prefix}", "--store-endpoint", endpoint or bucket.gateway.url,
             "--store-name", "main", *arguments]
    result = pgweir("store", *words, env={"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **(env or {})})
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    return result


def push(archive, bucket, *arguments, **options):
    return store("push", bucket, "-D", archive.path, "--no-progress", *arguments, **options)


def key_of(name, prefix="p"):
    return f"{prefix}/main/wals/" + (name if name.endswith(".history") else f"{name[:16]}/{name}")


def files_of(archive):
    return [path.name for path in archive.finished().values()] + [path.name for path in archive.histories().values()]


def keys_of(bucket):
    """Without the manifests."""
    return [key for key in bucket.keys() if "/manifest/" not in key]


def assert_stored(archive, bucket):
    """Each finished file is there, once and equal, and nothing else is but whose it is, and what tells of it."""
    names = files_of(archive)
    assert set(keys_of(bucket)) == {key_of(name) for name in names} | {"p/main/pgweir.json"}
    for name in names:
        assert bucket.get(key_of(name)) == (archive.path / name).read_bytes(), name


def mark_of(archive):
    return json.loads((archive.path / ".pgweir-store").read_text())


@of_both
def test_what_is_finished_is_sent_once_and_read_back(archive, bucket, place):
    result = push(archive, bucket)
    count = len(archive.finished())
    assert result.stdout.startswith(f"sent {count} segments and 1 history, "), result.stdout
    assert_stored(archive, bucket)
    assert "If-None-Match" not in result.stderr
    first, *_, last = sorted(path.name[:24] for path in archive.finished().values())
    assert mark_of(archive)["sent"] == [[first, last]]
    assert push(archive, bucket).stdout.startswith("sent 0 segments, ")
    # It looks whether that is still there.
    middle = sorted(archive.finished().values())[1].name
    bucket.remove(key_of(middle))
    again = push(archive, bucket)
    assert "sent 1 segment, " in again.stdout and "1 of them had been sent before" in again.stdout, again.stdout
    assert f"{middle[:24]} was sent, and is gone from the store: it is sent again" in again.stderr
    assert_stored(archive, bucket)

    listed = store("ls", bucket)
    assert sorted(listed.stdout.split()[1::2]) == sorted(files_of(archive))

    for (timeline, segno), path in archive.finished().items():
        target = place / f"got-{segno}"
        store("get", bucket, wal.segment_name(timeline, segno, archive.segment_size), target)
        assert target.read_bytes() == archive.content(path), path
    store("get", bucket, "00000002.history", place / "history")
    assert (place / "history").read_bytes() == (archive.path / "00000002.history").read_bytes()
    zst = next(path for path in archive.finished().values() if path.suffix == ".zst")
    store("get", bucket, zst.name, place / zst.name)
    assert (place / zst.name).read_bytes() == zst.read_bytes()
    # What is there stays; and what is not in the store is told so.
    assert "exists" in store("get", bucket, "00000002.history", place / "history", status=4).stderr
    assert "has no" in store("get", bucket, "0000000100000000000000FF", place / "absent", status=1).stderr
    assert not (place / "absent").exists()

    checked = store("check", bucket, "-D", archive.path)
    assert f"{count} of {count} complete segments are in the store; objects compared: {count} by size and MD5\n" \
        in checked.stdout, checked.stdout
    assert "objects can be stored, and are never overwritten" in checked.stdout
    content = bucket.get(key_of(middle))
    bucket.put(key_of(middle), bytes(len(content)))
    checked = store("check", bucket, "-D", archive.path, status=1)
    assert f"1 object does not match the manifest: {middle}: its MD5 is " in checked.stdout, checked.stdout
    bucket.put(key_of(middle), content)
    bucket.remove(key_of(first))
    checked = store("check", bucket, "-D", archive.path, status=1)
    assert first in checked.stdout
    # (What is gone from the beginning of all that is there counts as pruned.)
    (archive.path / ".pgweir-store").unlink()
    again = push(archive, bucket)
    assert f"sent 1 segment, " in again.stdout and f"{count} were already there" in again.stdout
    assert_stored(archive, bucket)


def test_a_segment_that_is_being_copied_is_sent_when_it_is_whole(archive, bucket):
    """archive_command = 'cp %p DIR/%f' and the like; status 4 would need a person."""
    raw = [path for path in archive.finished().values() if not path.suffix][-1]
    content = raw.read_bytes()
    raw.write_bytes(content[:len(content) // 2])
    running = subprocess.Popen([BINARY, "store", "push", "-D", archive.path, "--store", f"{bucket.url}/p", "--store-endpoint",
                                bucket.gateway.url, "--store-name", "main", "--no-progress"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **KEYS})
    copied_beside(running, raw, content[len(content) // 2:])
    said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    assert_stored(archive, bucket)


def test_root_gives_the_records_of_uploads_to_the_owner_of_the_archive(archive, bucket, place):
    """A receiver that runs as this user reads and replaces them."""
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    if shutil.which("age-keygen") is None:
        pytest.skip("age is not installed (scripts/setup)")
    hand_over(archive.path)
    run(["age-keygen", "-o", place / "key"])
    push(archive, bucket, "--encrypt-to", run(["age-keygen", "-y", place / "key"]).stdout.strip())
    owner = (archive.path.stat().st_uid, archive.path.stat().st_gid)
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in archive.path.iterdir()}
    assert {".pgweir-store", ".pgweir-store-key"} <= set(owners)
    assert owner != (0, 0) and set(owners.values()) == {owner}, owners


def test_the_record_of_a_loss_names_the_store(archive, bucket, receivers):
    push(archive, bucket)
    lost = sorted(archive.finished().values())[1]
    bucket.remove(key_of(lost.name))
    lost.unlink()
    words = ["store", "push", "--follow", "-D", archive.path, "--store", f"{bucket.url}/p", "--store-endpoint",
             bucket.gateway.url, "--store-name", "main"]
    following = receivers.start([BINARY, *words], env={"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **KEYS})
    following.wait_log("is lost: it is recorded as")
    following.stop()
    record, = archive.path.glob(".pgweir-loss-*")
    assert f"gone from the store ({bucket.url}/p/main/)" in record.read_text()


def test_barman_reads_what_was_sent(archive, bucket, place):
    if not BARMAN.exists():
        pytest.skip("barman-cloud is not there (scripts/setup)")
    push(archive, bucket)
    # One of each form; newer ones read .zst, too.
    for (timeline, segno), path in list(archive.finished().items())[:2]:
        assert path.suffix in ("", ".gz")
        name = wal.segment_name(timeline, segno, archive.segment_size)
        target = place / f"barman-{name}"
        run([BARMAN, "--endpoint-url", bucket.gateway.url, f"{bucket.url}/p", "main", name, target],
            env={**gateways.environment(), **KEYS, "AWS_DEFAULT_REGION": "us-east-1"})
        assert target.read_bytes() == archive.content(path), name


def test_barman_reads_all_that_is_sent_as_gzip(archive, bucket, place):
    """Whatever the archive's compression is."""
    if not BARMAN.exists():
        pytest.skip("barman-cloud is not there (scripts/setup)")
    finished = archive.finished()
    assert {path.suffix for path in finished.values()} == {"", ".gz", ".zst"}
    files = sorted(path.name for path in archive.path.iterdir())
    push(archive, bucket, "--store-compression", "gzip")
    for (timeline, segno), path in finished.items():
        name = wal.segment_name(timeline, segno, archive.segment_size)
        assert gzip.decompress(bucket.get(key_of(f"{name}.gz"))) == archive.content(path), path
        assert {key for key in keys_of(bucket) if name in key} == {key_of(f"{name}.gz")}
        target = place / f"barman-{name}"
        run([BARMAN, "--endpoint-url", bucket.gateway.url, f"{bucket.url}/p", "main", name, target],
            env={**gateways.environment(), **KEYS, "AWS_DEFAULT_REGION": "us-east-1"})
        assert target.read_bytes() == archive.content(path), name
        store("get", bucket, name, place / f"got-{name}")
        assert (place / f"got-{name}").read_bytes() == archive.content(path), name
    assert set(files) <= {path.name for path in archive.path.iterdir()}
    checked = store("check", bucket, "-D", archive.path)
    count = len(finished)
    assert f"{count} of {count} complete segments are in the store; objects compared: {count} by size and MD5\n" \
        in checked.stdout, checked.stdout
    push(archive, bucket)  # without the option: nothing is sent again
    assert len([key for key in keys_of(bucket) if "/wals/" in key and not key.endswith(".history")]) == count
    refused = store("check", bucket, "--store-compression", "gzip", status=2)
    assert 'option --store-compression cannot be used with "store check"' in refused.stderr, refused.stderr


def test_wal_g_finds_its_keys(archive, bucket):
    push(archive, bucket, "--store-layout", "wal-g")
    assert set(keys_of(bucket)) == {f"p/wal_005/{name}" for name in files_of(archive)} | {"p/pgweir.json"}


@of_both
def test_a_bucket_is_verified_as_a_directory_is(archive, bucket):
    """Also one that others have filled, under their keys."""
    def verify(*arguments, status=0):
        result = pgweir("verify", "--store", f"{bucket.url}/p", "--store-endpoint", bucket.gateway.url,
                        "--store-name", "main", "--json", *arguments, env=KEYS)
        assert result.returncode == status, (result.stdout, result.stderr)
        return result

    (archive.path / "00000002.history").unlink()
    for path in archive.finished().values():
        bucket.put(key_of(path.name), path.read_bytes())
    verify()
    verify("-D", archive.path)
    raw = next(path for path in archive.finished().values() if not path.suffix)
    damaged = bytearray(raw.read_bytes())
    damaged[8192 + 100] ^= 1
    bucket.put(key_of(raw.name), bytes(damaged))
    assert raw.name in verify(status=1).stdout
    assert raw.name in verify("-D", archive.path, status=1).stdout
    bucket.put(key_of(raw.name), raw.read_bytes())
    verify()
    bucket.remove(key_of(sorted(path.name for path in archive.finished().values())[1]))
    assert "missing" in verify(status=1).stdout
    bucket.name = "nosuchbucket"
    said = verify(status=4).stderr
    assert "NoSuchBucket" in said or "ContainerNotFound" in said


@of_both
def test_nothing_is_overwritten(archive, bucket):
    names = sorted(path.name for path in archive.finished().values())
    bucket.put(key_of(names[1]), b"somebody else's")
    result = push(archive, bucket, status=4)
    assert "the store has different WAL under a segment's name" in result.stderr
    assert key_of(names[1]) in result.stderr and str(archive.path / names[1]) in result.stderr
    assert bucket.get(key_of(names[1])) == b"somebody else's"
    assert mark_of(archive)["sent"] == [[names[0][:24], names[0][:24]]]
    bucket.remove(key_of(names[1]))
    push(archive, bucket)
    assert_stored(archive, bucket)


@of_both
def test_two_archivers_share_a_place(archive, filled, bucket, place):
    """The other one compresses otherwise: the WAL is the same."""
    other = Archive(place / "other", filled.segment_size)
    shutil.copytree(filled.path, other.path)
    push(archive, bucket)
    before = keys_of(bucket)
    result = push(other, bucket)
    assert result.stdout.startswith("sent 0 segments, "), result.stdout
    assert keys_of(bucket) == before
    assert mark_of(other)["sent"] == mark_of(archive)["sent"]


def test_another_cluster_is_refused(archive, bucket):
    bucket.put("p/main/pgweir.json", json.dumps(
        {"version": 1, "system_identifier": "4711", "segment_size": 1 << 20, "layout": "barman"}).encode())
    result = push(archive, bucket, status=4)
    assert "the store holds the WAL of another cluster" in result.stderr and "4711" in result.stderr
    assert bucket.keys() == ["p/main/pgweir.json"]


def test_a_bucket_that_keeps_versions(archive, bucket):
    """Ceph 16 does not heed the condition there."""
    bucket.request("PUT", query={"versioning": ""}, body=b"<VersioningConfiguration><Status>Enabled</Status>"
                                                         b"</VersioningConfiguration>")
    names = sorted(path.name for path in archive.finished().values())
    bucket.put(key_of(names[0]), b"somebody else's")
    assert "does not support" in store("check", bucket).stdout
    result = push(archive, bucket, status=4)
    assert "the store ignores" in result.stderr
    assert bucket.get(key_of(names[0])) == b"somebody else's"


def test_what_was_removed_and_is_sent_again_has_one_writer(archive, bucket, place):
    """In a bucket that keeps versions the former one lies below a marker. It is what readers take: so it has to be the
    same."""
    bucket.request("PUT", query={"versioning": ""}, body=b"<VersioningConfiguration><Status>Enabled</Status>"
                                                         b"</VersioningConfiguration>")
    push(archive, bucket)
    names = sorted(path.name for path in archive.finished().values())
    bucket.remove(key_of(names[0]))
    (archive.path / ".pgweir-store").unlink()
    assert "sent 1 segment, " in push(archive, bucket).stdout
    assert_stored(archive, bucket)
    bucket.remove(key_of(names[1]))
    bucket.put(key_of(names[1]), b"somebody else's")
    bucket.remove(key_of(names[1]))
    bucket.remove(key_of(names[2]))
    bucket.put(key_of(names[2]), b"somebody else's")
    (archive.path / ".pgweir-store").unlink()
    result = push(archive, bucket, status=4)
    assert "the store has different WAL under a segment's name" in result.stderr
    assert "two writers" not in result.stderr, result.stderr

    # Encrypted it is never the same bytes, and what it says of its content is.
    identity = place / "key"
    recipient = re.search(r"age1\w+", run(["age-keygen", "-o", identity]).stderr).group()
    words = ["--encrypt-to", recipient]
    push(archive, bucket, *words, prefix="e")
    bucket.remove(key_of(names[0] + ".age", prefix="e"))
    (archive.path / ".pgweir-store").unlink()
    assert "sent 1 segment, " in push(archive, bucket, *words, prefix="e").stdout

    # What was removed was another one: it is there still, and it is what readers take.
    bucket.put(key_of(names[0], prefix="o"), b"somebody else's")
    bucket.remove(key_of(names[0], prefix="o"))
    result = push(archive, bucket, prefix="o", status=4)
    assert "an object was removed, and its previous version differs" in result.stderr
    result = push(archive, bucket, prefix="o", status=4)
    assert "its oldest version, which readers use, " in result.stderr, result.stderr


def test_a_store_that_knows_no_conditions(archive, swift, place):
    """Swift: what is there is looked at before."""
    bucket = swift.bucket()
    assert "does not support" in store("check", bucket, env=swift.keys).stdout
    names = sorted(path.name for path in archive.finished().values())
    bucket.put(key_of(names[1]), b"somebody else's")
    result = push(archive, bucket, env=swift.keys, status=4)
    assert "the store rejects \"If-None-Match\"" in result.stderr
    assert bucket.get(key_of(names[1])) == b"somebody else's"
    bucket.remove(key_of(names[1]))
    push(archive, bucket, env=swift.keys)
    assert_stored(archive, bucket)
    store("get", bucket, names[0][:24], place / "got", env=swift.keys)
    assert (place / "got").read_bytes() == (archive.path / names[0]).read_bytes()
    assert "SignatureDoesNotMatch" in store("ls", bucket, env={**swift.keys, "AWS_SECRET_ACCESS_KEY": "wrong"},
                                            status=4).stderr
    store("get", bucket, "0000000100000000000000FF", place / "absent", env=swift.keys, status=1)


def test_answers_are_lost_and_requests_throttled(archive, bucket, proxy):
    """Each request meets two faults and then none, however requests are interleaved: so this ends."""
    seen, met = {}, set()

    def decide(request):
        faults = [(503, [], "<Error><Code>SlowDown</Code></Error>"), "reset"]
        if request.method == "PUT" and "/wals/" in request.path:
            faults.append("lost")
        # To HEAD, and to GET of an object, that would be an object with this content: no store answers so.
        if request.method in ("PUT", "POST") or "list-type" in request.path:
            faults.append((200, [], "<Error><Code>InternalError</Code></Error>"))
        which = (request.method, request.path)
        count = seen[which] = seen.get(which, -1) + 1
        if count >= 2:
            return None
        fault = faults[(zlib.crc32(request.path.encode()) + count) % len(faults)]
        met.add(str(fault))
        return fault

    proxy.decide = decide
    push(archive, bucket, "--store-jobs", "2", endpoint=proxy.url)
    proxy.decide = lambda request: None
    assert_stored(archive, bucket)
    assert len(met) == 4, met
    # Whoever has a fault in his memory or his network is told so: each body has its digests.
    for request in proxy.requests:
        digest = hashlib.sha256(request.body).hexdigest()
        assert request.headers["x-amz-content-sha256"] == digest, request.path
        if request.method in ("PUT", "POST"):
            assert request.headers["Content-MD5"] == base64.b64encode(hashlib.md5(request.body).digest()).decode()
            assert "Transfer-Encoding" not in request.headers and "x-amz-checksum" not in str(request.headers).lower()


def test_bodies_are_sent_without_a_wait_once_one_was_accepted(filled, bucket, proxy, place):
    """A wait for "100 Continue" costs a round trip for each file. Without it, the answer of who rejects a body unread is
    lost: so the next request waits. libcurl waits above 1 MiB, and encrypted segments of that size are larger."""
    archive = Archive(place / "archive", filled.segment_size)
    shutil.copytree(filled.path, archive.path)
    segments = len(archive.finished())
    run(["age-keygen", "-o", place / "key"])
    recipient = run(["age-keygen", "-y", place / "key"]).stdout.strip()
    seen, waiting = [], {}

    def rejects_unread(handler):
        """The third one, and those behind it up to the first that waits."""
        if handler.command != "PUT" or int(handler.headers["Content-Length"]) <= 1 << 20:
            return False
        waits = "Expect" in handler.headers
        # (Asked twice by one that waits: before "100 Continue", and behind it.)
        if not waits or handler.raw_requestline is not waiting.get("line"):
            waiting["line"] = handler.raw_requestline
            seen.append("w" if waits else "-")
        return len(seen) >= 3 and seen.count("w") <= 2

    proxy.rejects_unread = rejects_unread
    push(archive, bucket, "--store-jobs", "1", "--encrypt-to", recipient, endpoint=proxy.url)
    assert len([key for key in bucket.keys() if key.endswith(".age")]) == segments
    # The third is rejected without an answer, as may be libcurl's own retry on another connection. The next waits, and
    # receives the answer; that after it is accepted.
    assert re.fullmatch(f"w---?ww-{{{segments - 3}}}", "".join(seen)), seen


def test_a_store_that_cannot_be_had_is_not_empty(archive, bucket, proxy, place):
    push(archive, bucket)
    name = sorted(path.name[:24] for path in archive.finished().values())[0]
    for answer, status, told in (
            ((503, [], ""), 3, "503"),
            ((403, [], "<Error><Code>AccessDenied</Code></Error>"), 4, "AccessDenied"),
            ((404, [], "<Error><Code>NoSuchBucket</Code></Error>"), 4, "NoSuchBucket"),
            ((200, [], "<Error><Code>InternalError</Code></Error>"), 3, "InternalError"),
            ((200, [], ""), 3, "200"),
            ((301, [("x-amz-bucket-region", "eu-west-1")], ""), 4, "eu-west-1"),
            ("reset", 3, ""), ("half", 3, "")):
        proxy.decide = lambda request: answer
        for verb in ("ls", "get"):
            words = [name, place / "target"] if verb == "get" else []
            result = store(verb, bucket, *words, endpoint=proxy.url, status=status)
            assert told in result.stderr, (verb, answer, result.stderr)
            assert not (place / "target").exists()
    # Half an object is none.
    proxy.decide = lambda request: "half" if request.method == "GET" and "list-type" not in request.path else None
    store("get", bucket, name, place / "target", endpoint=proxy.url, status=3)
    assert not (place / "target").exists()
    # A redirect is not followed: a signature goes to nobody else.
    proxy.decide = lambda request: (307, [("Location", bucket.gateway.url + request.path)], "")
    before = len(proxy.requests)
    store("ls", bucket, endpoint=proxy.url, status=4)
    assert len(proxy.requests) == before + 1


def test_refusals_say_why(archive, bucket):
    wrong = {**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}
    result = push(archive, bucket, env=wrong, status=4)
    assert "SignatureDoesNotMatch" in result.stderr and "secret key" in result.stderr
    result = push(archive, bucket, env={**KEYS, "AWS_ACCESS_KEY_ID": "nobody"}, status=4)
    assert "InvalidAccessKeyId" in result.stderr
    result = push(archive, bucket, "--retry-for", "1s", endpoint=bucket.gateway.url.replace("http:", "https:"), status=3)
    assert "The port does not use TLS" in result.stderr, result.stderr
    bucket.name = "nosuchbucket"
    result = push(archive, bucket, status=4)
    assert "NoSuchBucket" in result.stderr
    result = push(archive, bucket, "--retry-for", "1s", endpoint="http://127.0.0.1:1", status=3)
    assert "--store-endpoint" in result.stderr
    assert mark_of(archive)["sent"] == []


def test_keys_that_may_remove_nothing_archive_all_the_same(archive, bucket, proxy):
    """Ceph refuses the request as a whole. An append-only key is what somebody makes who fears for his archive."""
    denied = (403, [], "<Error><Code>AccessDenied</Code></Error>")
    proxy.decide = lambda request: denied if request.method in ("DELETE", "POST") else None
    checked = store("check", bucket, endpoint=proxy.url)
    assert "objects cannot be removed" in checked.stdout and "s3:DeleteObject" in checked.stdout
    for key in keys_of(bucket):
        bucket.remove(key)
    push(archive, bucket, endpoint=proxy.url)
    first = min(path.name for path in archive.finished().values())
    archive.path.joinpath(".pgweir-store").unlink()
    push(archive, bucket, endpoint=proxy.url)
    probes = {key for key in bucket.keys() if "pgweir-probe" in key}
    assert "p/main/pgweir-probe" in probes and len(probes) == 2, "one for all runs"
    for key in probes:
        bucket.remove(key)
    assert_stored(archive, bucket)
    # A prune says what it needs.
    result = pgweir("prune", "--store", f"{bucket.url}/p", "--store-endpoint", proxy.url, "--store-name", "main",
                    "--keep-from", sorted(path.name[:24] for path in archive.finished().values())[1], env=KEYS)
    assert result.returncode == 1 and "s3:DeleteObject" in result.stderr, (result.returncode, result.stderr)
    assert key_of(first) in bucket.keys()


def test_a_clock_that_differs(bucket, proxy):
    """The store's clock is an hour ahead."""
    def decide(request):
        then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        date = [("Date", email.utils.format_datetime(then, usegmt=True))]
        sent = datetime.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        off = abs((sent.replace(tzinfo=datetime.timezone.utc) - then).total_seconds())
        if off > 900:
            return 403, date, "<Error><Code>RequestTimeTooSkewed</Code></Error>"
        return 200, date, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

    proxy.decide = decide
    result = store("ls", bucket, endpoint=proxy.url)
    assert "clock differs from the store's by 1 h" in result.stderr or "by 59 min" in result.stderr, result.stderr
    assert len(proxy.requests) == 3, "asked once more, and then for the manifests"


def test_the_rate_is_that_of_all_connections(archive, bucket):
    """One that is busy alone has all of it; and a small one is none."""
    name = max(archive.finished().values(), key=lambda path: path.stat().st_size).name
    for path in archive.finished().values():
        if path.name != name:
            path.unlink()
    size = (archive.path / name).stat().st_size
    begun = time.monotonic()
    push(archive, bucket, "--store-rate", f"{size // 4}B", "--store-jobs", "16")
    took = time.monotonic() - begun
    assert 3 < took < 60, took  # a sixteenth of it for the only busy one would be 64 s
    result = push(archive, bucket, "--store-rate", "3B", prefix="q", status=2)
    assert "--store-rate" in result.stderr and "1kB" in result.stderr


def test_a_transfer_that_dribbles_is_silent(archive, bucket, proxy, place):
    push(archive, bucket)
    name = min(archive.finished().values()).name
    proxy.decide = lambda request: "dribble" if f"/{name}" in request.path and request.method == "GET" else None
    result = store("get", bucket, name[:24], place / "got", "--store-timeout", "2s", endpoint=proxy.url, status=3)
    assert "1000 bytes/sec" in result.stderr, result.stderr
    assert not (place / "got").exists()


class Services:
    """Those that give credentials, as AWS's do; each wants what it should."""

    def decide(self, request):
        keys = {"AccessKeyId": Gateway.key, "SecretAccessKey": Gateway.secret, "Token": "",
                "Expiration": "2099-01-01T00:00:00Z"}
        headers = request.headers
        if request.path == "/latest/api/token":
            good = request.method == "PUT" and headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            return (200, [], "imds-token") if good else (400, [], "")
        if request.path.startswith("/latest/meta-data/iam/security-credentials/"):
            if headers.get("X-aws-ec2-metadata-token") != "imds-token":
                return 401, [], ""
            role = request.path.rpartition("/")[2]
            return 200, [], json.dumps(keys) if role else "a-role"
        if request.path == "/container":
            return (200, [], json.dumps(keys)) if headers.get("Authorization") == "pod-token" else (403, [], "")
        if request.path == "/" and request.method == "POST":
            good = b"WebIdentityToken=web-token" in request.body and b"RoleArn=arn%3Aaws%3Arole" in request.body
            return (200, [], f"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                             f"<AccessKeyId>{Gateway.key}</AccessKeyId><SecretAccessKey>{Gateway.secret}"
                             f"</SecretAccessKey><SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z"
                             f"</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                             f"</AssumeRoleWithWebIdentityResponse>") if good else (400, [], "")
        return None


def test_credentials_come_from_where_aws_programs_have_them(bucket, proxy, place):
    proxy.decide = Services().decide
    write = lambda name, text, mode=0o600: ((place / name).write_text(text), (place / name).chmod(mode),  # noqa: E731
                                            place / name)[-1]
    keys = f"aws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n"
    file = write("keys", f"[default]\n{keys}")
    (place / ".aws").mkdir()
    write(".aws/credentials", f"[default]\naws_access_key_id = no\naws_secret_access_key = no\n[other]\n{keys}")
    command = write("command", "#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": \"" + Gateway.key +
                    "\", \"SecretAccessKey\": \"" + Gateway.secret + "\"}'\n", 0o700)
    token, pod = write("token", "web-token\n"), write("pod", "pod-token")
    wrong = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}
    for options, env, source in (
            (["--store-credentials", file], wrong, str(file)),
            (["--store-credential-command", command], wrong, "the command"),
            ([], KEYS, "the environment"),
            ([], {"HOME": str(place), "AWS_PROFILE": "other"}, "/.aws/credentials"),
            ([], {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": "arn:aws:role",
                  "AWS_ENDPOINT_URL_STS": proxy.url}, "STS"),
            ([], {"AWS_CONTAINER_CREDENTIALS_FULL_URI": proxy.url + "/container",
                  "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(pod)}, "the container's service"),
            ([], {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": proxy.url},
             "the machine's metadata service")):
        result = store("check", bucket, *options, env=env)
        assert f"credentials from " in result.stdout and source in result.stdout.split("\n")[0], result.stdout

    result = store("check", bucket, env={}, status=2)
    assert "there are no credentials for the store" in result.stderr
    file.chmod(0o640)
    result = store("check", bucket, "--store-credentials", file, status=2)
    assert "others have access to the store's credentials" in result.stderr
    for text in (result.stdout, result.stderr):
        assert Gateway.secret not in text


def test_a_moment_without_credentials_is_waited_out(archive, bucket, proxy, place):
    """That is no reason to end a recovery, nor a push."""
    for arguments in (["push"], ["restore"]):
        failures = 2

        def decide(request):
            nonlocal failures
            if request.path == "/container" and failures > 0:
                failures -= 1
                return 503, [], ""
            return Services().decide(request)

        proxy.decide = decide
        pod = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": proxy.url + "/container",
               "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"}
        if arguments == ["push"]:
            push(archive, bucket, env=pod)
        else:
            name = min(archive.finished().values()).name[:24]
            result = pgweir("restore", "--store", f"{bucket.url}/p", "--store-endpoint", bucket.gateway.url,
                            "--store-name", "main", "--prefetch", "0", name, place / "to",
                            env={"HOME": "/nonexistent", **pod})
            assert result.returncode == 0, result.stderr
        assert failures == 0


def test_a_command_for_credentials_that_hangs_holds_up_no_end(archive, bucket, place):
    """It is ended with all that it has started."""
    command = place / "command"
    command.write_text(f"#!/bin/sh\necho >{place}/asked\nsleep 1000 &\necho $! >{place}/pid\nwait\n")
    command.chmod(0o700)
    process = subprocess.Popen(
        [str(BINARY), "store", "push", "-D", str(archive.path), "--store", f"{bucket.url}/p", "--store-endpoint",
         bucket.gateway.url, "--store-name", "main", "--no-progress", "--store-credential-command", str(command)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for(lambda: (place / "pid").exists() and (place / "pid").read_text().strip(), "the command to hang")
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 3, errors
    hung = int((place / "pid").read_text())
    wait_for(lambda: not alive(hung), "its child to be ended")


def test_credentials_that_have_expired_are_renewed(bucket, proxy, place):
    """A token that the store does not take any more, though it should be good for long."""
    count = place / "count"
    command = place / "command"
    command.write_text(f"""#!/bin/sh
echo x >>{count}
[ $(wc -l <{count}) -gt 1 ] || token=', "SessionToken": "old"'
echo '{{"Version": 1, "AccessKeyId": "{Gateway.key}", "SecretAccessKey": "{Gateway.secret}"'"$token"'}}'
""")
    command.chmod(0o700)
    expired = (400, [], "<Error><Code>ExpiredToken</Code></Error>")
    proxy.decide = lambda request: expired if request.headers.get("X-Amz-Security-Token") else None
    store("ls", bucket, "--store-credential-command", command, endpoint=proxy.url)
    assert count.read_text() == "x\nx\n"


def test_secrets_are_in_no_message_and_no_process_list(archive, bucket, proxy, place):
    keys = place / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n")
    keys.chmod(0o600)
    seen = []

    def decide(request):
        for entry in os.listdir("/proc"):
            try:
                command = pathlib.Path("/proc", entry, "cmdline").read_bytes() if entry.isdigit() else b""
            except OSError:
                continue
            if b"store\0push" in command:
                seen.append((command, pathlib.Path("/proc", entry, "environ").stat().st_uid, entry))
        return 403, [], "<Error><Code>AccessDenied</Code></Error>"

    proxy.decide = decide
    result = push(archive, bucket, "--store-credentials", keys, endpoint=proxy.url, env={}, status=4)
    assert seen and all(Gateway.secret.encode() not in command for command, _, _ in seen)
    # Nobody can have a core file of it: the kernel then gives its files in /proc to root.
    assert all(owner == 0 for _, owner, _ in seen)
    for request in proxy.requests:
        assert Gateway.secret not in str(request.headers) and Gateway.secret not in request.path
    assert Gateway.secret not in result.stdout + result.stderr


@of_both
def test_killed_at_any_time_it_goes_on(archive, bucket, proxy):
    """Killed behind each request in turn, its answer given or not: what is marked is there."""
    count = len(files_of(archive))
    for fatal in range(2, 2 + 3 * count, 3):
        started = len(proxy.requests)
        processes = []

        def decide(request):
            if request.number - started == fatal:
                processes[0].kill()
                return "lost" if fatal % 2 else None
            return None

        proxy.decide = decide
        processes.append(subprocess.Popen(
            [str(BINARY), "store", "push", "-D", str(archive.path), "--store", f"{bucket.url}/p",
             "--store-endpoint", proxy.url, "--store-name", "main", "--no-progress", "--store-jobs", "2"],
            env={**os.environ, **KEYS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        ended = processes[0].wait(PATIENCE)
        if (archive.path / ".pgweir-store").exists():
            stored = {key.rpartition("/")[2][:24] for key in bucket.keys()}
            for first, last in mark_of(archive)["sent"]:
                names = sorted(path.name[:24] for path in archive.finished().values())
                assert set(names[names.index(first):names.index(last) + 1]) <= stored
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    proxy.decide = lambda request: None
    push(archive, bucket, endpoint=proxy.url)
    leftovers = {key for key in bucket.keys() if "pgweir-probe" in key}
    for key in leftovers:  # of those that were killed while they asked
        bucket.remove(key)
    assert_stored(archive, bucket)


def test_one_push_at_a_time(archive, bucket, proxy):
    """A cron job that overlaps with the one before ends, and says so."""
    told = []

    def decide(request):
        if not told:
            told.append(push(archive, bucket, endpoint=bucket.gateway.url, status=3).stderr)
        return None

    proxy.decide = decide
    push(archive, bucket, endpoint=proxy.url)
    assert "another process is uploading this archive" in told[0]


def test_sigterm_ends_it_between_two_files(archive, bucket, proxy):
    processes = []

    def decide(request):
        if request.method == "PUT" and "/wals/" in request.path:
            processes[0].terminate()
        return None

    proxy.decide = decide
    processes.append(subprocess.Popen(
        [str(BINARY), "store", "push", "-D", str(archive.path), "--store", f"{bucket.url}/p",
         "--store-endpoint", proxy.url, "--store-name", "main", "--no-progress", "--store-jobs", "1"],
        env={**os.environ, **KEYS}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    output, errors = processes[0].communicate(timeout=PATIENCE)
    assert processes[0].returncode == 3, (output, errors)
    assert "stopped before all files were sent" in errors
    proxy.decide = lambda request: None
    push(archive, bucket)
    assert_stored(archive, bucket)


def test_the_configuration_file_has_a_section_for_it(archive, bucket, place):
    keys = place / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n")
    keys.chmod(0o600)
    config = place / "weir.ini"
    config.write_text(f"directory = {archive.path}\nslot = main\n\n[store]\nstore = {bucket.url}/p\n"
                      f"store-endpoint = {bucket.gateway.url}\nstore-credentials = {keys}\n")
    assert pgweir("config", "check", config).returncode == 0
    result = pgweir("-c", config, "store", "push", "--no-progress")
    assert result.returncode == 0, result.stderr
    assert_stored(archive, bucket)


def test_restore_and_receive_load_nothing_of_it(place):
    """Only `pgweir store` has libcurl: each program's start would take five times as long."""
    libraries = run(["ldd", BINARY]).stdout
    assert "curl" not in libraries and "pugixml" not in libraries
    hidden = place / "bin"
    hidden.mkdir()
    shutil.copy(BINARY, hidden / "pgweir")
    result = run([hidden / "pgweir", "store", "ls", "--store", "s3://wal/p", "--store-name", "main"], check=False,
                 env={"PATH": os.environ["PATH"], **KEYS})
    if result.returncode == 2:  # a machine where the package is installed has it elsewhere
        assert "Install the package pgweir-store" in result.stderr
    assert run([hidden / "pgweir", "restore", "--help"]).returncode == 0


@of_both
def test_metadata_and_digests(archive, bucket):
    push(archive, bucket)
    for path in archive.finished().values():
        told = bucket.metadata(key_of(path.name))
        # Azure's names have no hyphens.
        told = {name.replace("-", ""): value for name, value in told.items()}
        assert told["pgweirsha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert re.fullmatch(r"\d+", told["pgweirsystemid"])
