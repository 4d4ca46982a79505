"""`receive --confirm stored` and `--store-partial-interval`, with a real Ceph gateway: the server keeps what the bucket has not got,
nobody waits for the store, and the bucket alone has the open segment, too."""

import json
import os
import re
import shutil
import subprocess

import pytest

from support import wal
from support.gateway import Gateway
from support.process import as_server_user, run, server_user, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, installed
from support.scenario import create_slot, reported, restart_lsn, status_of_receiver, streaming
from test_store_encryption import Key, decrypted
from test_store_receive import ENVIRONMENT, bucket, ceph, gateway, load, options, proxy, status, stored  # noqa: F401

pytestmark = pytest.mark.in_memory

AT_ONCE = 48  # who waits for the store waits for ever
SLOT = ("-S", "archive")
STORED = (*SLOT, "--confirm", "stored")


def told(server):
    """The flush position that the receiver has reported; 0: none."""
    rows = [row for row in server.walsenders() if row["state"] == "streaming"]
    return wal.lsn(rows[0]["flush_lsn"]) if rows and rows[0]["flush_lsn"] else 0


def refuse_segments(proxy):
    proxy.decide = lambda request: ((503, [], "<Error><Code>SlowDown</Code></Error>")
                                    if request.method == "PUT" and ("/wals/" in request.path or "/open/" in request.path)
                                    else None)


def start_of(position, server):
    return position - position % server.segment_size


def test_a_disk_that_vanishes_loses_nothing(servers, receivers, new_archive, bucket, proxy, place):
    server = servers.primary(wal_keep_size="0", max_wal_size="2MB", min_wal_size="2MB")
    archive = new_archive(server)
    create_slot(server)
    words = (*STORED, *options(bucket, endpoint=proxy.url))
    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    streaming(server)
    end = load(server)
    reported(server, start_of(end, server))
    wait_for(lambda: restart_lsn(server) >= start_of(end, server), "the slot to follow the store")
    assert status_of_receiver(archive)["confirm"] == "stored"

    # The store takes nothing any more: what comes is durable here, and the server keeps it.
    refuse_segments(proxy)
    held = restart_lsn(server)
    first = wal.segment_name(1, held // server.segment_size, server.segment_size)
    end = load(server, 4)
    receiver.wait_log(r"finished WAL is not sent to the store: .*the slot retains this WAL on the server")
    wait_for(lambda: wal.lsn(status_of_receiver(archive)["flush_lsn"]) >= end, "the status to be told")
    here = status_of_receiver(archive)
    assert wal.lsn(here["confirmed_lsn"]) < end - 3 * server.segment_size, here
    assert re.search(r"confirmed to the server: up to \S+ \(--confirm stored\); its slot keeps the other",
                     pgweir("status", "-D", archive.path).stdout)
    server.sql("CHECKPOINT")
    server.sql("CHECKPOINT")
    assert told(server) <= held + server.segment_size and restart_lsn(server) <= held + server.segment_size
    assert first not in stored(bucket)

    # The disk is gone, and the store is back.
    receiver.kill9()
    for path in archive.path.iterdir():
        path.unlink()
    proxy.decide = lambda request: None
    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    streaming(server)
    reported(server, start_of(end, server))
    there = stored(bucket)
    names = [wal.segment_name(1, segno, server.segment_size)
             for segno in range(held // server.segment_size, end // server.segment_size)]
    assert len(names) >= 4 and set(names) <= set(there), (names, sorted(there))
    for name in names:
        assert bucket.get(there[name]) == (archive.path / name).read_bytes()
    assert sorted(there) == [wal.segment_name(1, segno, server.segment_size) for segno in
                             range(int(min(there)[16:], 16), int(max(there)[16:], 16) + 1)], "no gap in the bucket"
    wait_for(lambda: restart_lsn(server) >= start_of(end, server), "the slot to follow again")

    # Started again it reports nothing that goes back.
    before = restart_lsn(server)
    receiver.stop()
    refuse_segments(proxy)
    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    streaming(server)
    end = load(server, 1)
    wait_for(lambda: wal.lsn(status_of_receiver(archive)["flush_lsn"]) >= end, "it to be durable")
    assert restart_lsn(server) >= before
    receiver.stop()


def test_no_commit_and_no_shutdown_waits_for_the_store(servers, receivers, new_archive, bucket, proxy):
    server = servers.primary()
    archive = new_archive(server)
    create_slot(server)
    words = (*STORED, *options(bucket, endpoint=proxy.url))
    server.conf(synchronous_standby_names='ANY 1 (other, "Pgweir")', synchronous_commit="local")
    server.reload()
    # Named by the server it refuses to begin.
    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    assert receiver.wait_exit() == 4
    assert "with --confirm stored commits would wait for the store" in receiver.said()
    doctor = pgweir("doctor", "-d", server.conninfo(), *STORED, "--measure", "0", env=ENVIRONMENT)
    assert doctor.returncode == 1 and "each commit would wait for the object store" in doctor.stdout, doctor.stdout
    forced = receivers.pgweir(archive, server, *words, "--force", env=ENVIRONMENT)
    streaming(server)
    forced.stop()
    server.conf(synchronous_standby_names="")
    server.reload()
    assert "the slot retains WAL that is not in the object store" in pgweir("doctor", "-d", server.conninfo(), *STORED, "--measure", "0",
                                                    env=ENVIRONMENT).stdout

    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    streaming(server)
    end = load(server, 1)
    reported(server, start_of(end, server))
    # It comes to be named while it runs: it goes on, and tells the server nothing.
    server.conf(synchronous_standby_names="pgweir")
    server.reload()
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    receiver.wait_log("synchronous_standby_names is now \"pgweir\" and contains this receiver")
    streaming(server)
    end = load(server, 1)
    archive.wait_covers(server, 1, end)
    assert told(server) == 0
    server.conf(synchronous_standby_names="")
    server.reload()
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    receiver.wait_log("no longer contains this receiver")
    reported(server, start_of(end, server))

    # A server shuts down at once, whatever the store does, and its slot stays where it is.
    refuse_segments(proxy)
    end = load(server, 2)
    archive.wait_covers(server, 1, end)
    slot = restart_lsn(server)
    server.stop("fast", deadline=AT_ONCE)
    receiver.wait_log("the server is shutting down, and would wait for the store: disconnecting")
    server.start()
    assert slot <= restart_lsn(server) < end
    streaming(server)
    proxy.decide = lambda request: None
    reported(server, start_of(end, server))
    assert receiver.running()
    receiver.stop()
    archive.assert_same_wal(server)


def open_keys(bucket):
    return bucket.keys("p/main/open/")


def test_the_bucket_alone_has_the_open_segment(servers, receivers, new_archive, bucket, place):
    server = servers.primary()
    archive = new_archive(server)
    create_slot(server)
    receiver = receivers.pgweir(archive, server, *STORED, "--store-partial-interval", "1s", *options(bucket), env=ENVIRONMENT)
    streaming(server)
    server.sql("CREATE TABLE t AS SELECT 1 AS x")
    end = server.flushed()
    # What is in an open object counts as stored.
    reported(server, end)
    keys = wait_for(lambda: open_keys(bucket), "the open segment to be there")
    assert len(keys) <= 2 and all(re.fullmatch(
        r"p/main/open/00000001/[0-9A-F]{24}\.[0-9A-F]{16}\.[0-9a-f]{16}-\d+\.zst", key) for key in keys), keys
    assert wal.lsn(status(archive)["open_lsn"]) >= end
    server.hush()  # what it notes by itself would be another open object
    server.sql("INSERT INTO t VALUES (2)")
    end = server.flushed()
    reported(server, end)
    wait_for(lambda: len(open_keys(bucket)) == 1, "the older ones to be removed")
    name = open_keys(bucket)[0].rsplit("/", 1)[1][:24]

    words = options(bucket)
    side = json.loads(pgweir("status", *words, "--json", env=ENVIRONMENT).stdout)
    assert name + ".zst.partial" in json.dumps(side), side
    verified = pgweir("verify", *words, "--no-progress", env=ENVIRONMENT)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (place / "to").mkdir()
    target = place / "to" / "RECOVERYXLOG"
    asked = pgweir("restore", *words, name, target, env=ENVIRONMENT)
    assert asked.returncode in (1, 200) and not target.exists(), "never without being asked"
    asked = pgweir("restore", *words, "--partial", name, target, env=ENVIRONMENT)
    assert asked.returncode == 0, asked.stderr
    length = end % server.segment_size
    content = target.read_bytes()
    assert len(content) == server.segment_size
    assert content[:length] == (archive.path / (name + ".partial")).read_bytes()[:length]
    target.unlink()

    # One that goes further and is damaged is told; without it, the other one is restored.
    key = open_keys(bucket)[0]
    body = bucket.get(key)
    further = key.replace(re.search(r"\.([0-9A-F]{16})\.", key).group(1), f"{end + 5000:016X}")
    bucket.put(further, body[:-20])
    asked = pgweir("restore", *words, "--partial", name, target, env=ENVIRONMENT)
    assert asked.returncode == 200 and "the longest object of a partial segment is damaged" in asked.stderr, asked.stderr
    assert further in asked.stderr and not target.exists(), asked.stderr
    bucket.remove(further)
    assert pgweir("restore", *words, "--partial", name, target, env=ENVIRONMENT).returncode == 0
    assert target.read_bytes() == content
    target.unlink()

    # Killed, it leaves one; when the segment is finished none is left, whoever has sent it.
    receiver.kill9()
    receiver = receivers.pgweir(archive, server, *STORED, "--store-partial-interval", "1s", *options(bucket), env=ENVIRONMENT)
    streaming(server)
    end = server.switch_wal()
    reported(server, start_of(end, server))
    wait_for(lambda: not [key for key in open_keys(bucket) if name in key], "what was open to be removed")
    receiver.stop()


def test_what_is_open_stays_until_the_whole_segment_is_there(servers, receivers, new_archive, bucket, proxy, place):
    """The complete one may come much later than the front of the next one: until then a recovery ends in it."""
    server = servers.primary()
    archive = new_archive(server)
    create_slot(server)
    receiver = receivers.pgweir(archive, server, *STORED, "--store-partial-interval", "1s", *options(bucket, endpoint=proxy.url),
                                env=ENVIRONMENT)
    streaming(server)
    server.sql("CREATE TABLE t AS SELECT 1 AS x")
    end = server.flushed()
    reported(server, end)
    name = wal.segment_name(1, end // server.segment_size, server.segment_size)

    def ends_of(segment):
        return [int(key.rsplit("/", 1)[1].split(".")[1], 16) for key in open_keys(bucket) if segment in key]

    proxy.decide = lambda request: ((503, [], "<Error><Code>SlowDown</Code></Error>")
                                    if request.method == "PUT" and "/wals/" in request.path else None)
    beyond = server.switch_wal()
    following = wal.segment_name(1, beyond // server.segment_size, server.segment_size)
    server.sql("INSERT INTO t VALUES (2)")
    after = server.flushed()
    wait_for(lambda: wal.lsn(status_of_receiver(archive)["flush_lsn"]) >= after, "it to be durable here")

    def tried():
        return sum(request.method == "PUT" and f"/wals/{name[:16]}/{name}" in request.path for request in list(proxy.requests))

    before = tried()
    wait_for(lambda: tried() >= before + 2, "it to be tried again")
    assert not ends_of(following) and max(ends_of(name), default=0) >= end, open_keys(bucket)
    assert end <= told(server) < beyond
    (place / "to").mkdir()
    target = place / "to" / "RECOVERYXLOG"
    asked = pgweir("restore", *options(bucket), "--partial", name, target, env=ENVIRONMENT)
    assert asked.returncode == 0, asked.stderr
    length = end % server.segment_size
    assert target.read_bytes()[:length] == (archive.path / name).read_bytes()[:length]
    proxy.decide = lambda request: None
    reported(server, after)
    wait_for(lambda: not ends_of(name), "what was open of it to be removed")
    assert name in stored(bucket) and max(ends_of(following), default=0) >= after
    receiver.stop()


def test_what_is_open_is_encrypted_and_searched(servers, receivers, new_archive, bucket, place):
    if shutil.which("age") is None:
        pytest.skip("age is not installed (scripts/setup)")
    key, other = Key(place, "operations.key"), Key(place, "other.key")
    server = servers.primary()
    archive = new_archive(server)
    create_slot(server)
    receiver = receivers.pgweir(archive, server, *STORED, "--store-partial-interval", "1s", "--encrypt-to", key.recipient,
                                *options(bucket), env=ENVIRONMENT)
    streaming(server)
    server.sql("CREATE TABLE t (i int)")
    server.switch_wal()
    server.sql("INSERT INTO t VALUES (1)")
    between = server.sql("SELECT now() + interval '1 ms'")
    position = server.flushed()
    wait_for(lambda: server.sql(f"SELECT now() > '{between}'") == "t", "some time to pass")
    server.hush()  # what it notes by itself would be another open object
    server.sql("INSERT INTO t VALUES (2)")
    end = server.flushed()
    reported(server, end)
    (open_key,) = wait_for(lambda: len(open_keys(bucket)) == 1 and open_keys(bucket), "the older ones to be removed")
    assert open_key.endswith(".zst.age")
    name = open_key.rsplit("/", 1)[1][:24]
    packed = decrypted(bucket.get(open_key), key)
    opened = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
    assert len(opened) >= end % server.segment_size
    assert opened == (archive.path / (name + ".partial")).read_bytes()[:len(opened)]

    receiver.stop()
    (place / "to").mkdir()
    target = place / "to" / "RECOVERYXLOG"
    for wrong in ([], ["--identity", other.file]):
        asked = pgweir("restore", *options(bucket), *wrong, "--partial", "--retry-for", "0", name, target, env=ENVIRONMENT)
        assert asked.returncode == 200 and not target.exists(), (asked.returncode, asked.stderr)
        assert "encrypted for other recipients" in asked.stderr, asked.stderr
    words = [*options(bucket), "--identity", key.file]
    asked = pgweir("restore", *words, "--partial", name, target, env=ENVIRONMENT)
    assert asked.returncode == 0, asked.stderr
    assert target.read_bytes()[:len(opened)] == opened and not target.read_bytes()[len(opened):].strip(b"\0")
    # A moment in it, and a position.
    for what in (["--find-time", between], ["--find-lsn", wal.lsn_text(position)]):
        found = pgweir("restore", *words, *what, "--json", env=ENVIRONMENT)
        assert found.returncode == 0, found.stderr
        found = json.loads(found.stdout)
        here = json.loads(pgweir("restore", "-D", archive.path, *what, "--json").stdout)
        assert (found.pop("segment"), here.pop("segment")) == (f"{name}.zst.partial", f"{name}.partial")
        assert found == here and found["restore_options"] == ["--partial"], (found, here)
    assert "encrypted for other recipients" in pgweir("restore", *options(bucket), "--find-time", between, env=ENVIRONMENT).stderr
    # Pruned with what is before it goes what an archiver has left of an earlier one.
    left = open_key.replace(name, min(stored(bucket)))
    bucket.put(left, bucket.get(open_key))
    pruned = pgweir("prune", *options(bucket), "--keep-from", name, env=ENVIRONMENT)
    assert pruned.returncode == 0, pruned.stderr
    assert open_keys(bucket) == [open_key] and "1 unneeded objects of partial segments" in pruned.stdout, pruned.stdout


def test_a_recovery_by_the_key_ends_before_what_is_open(servers, receivers, new_archive, bucket, place):
    """Manifests do not list partial segments. They do not prevent a recovery, whoever has put them there."""
    assert pgweir("store", "keygen", place / "manifest.key").returncode == 0
    server = servers.primary()
    archive = new_archive(server)
    create_slot(server)
    receiver = receivers.pgweir(archive, server, *STORED, "--store-partial-interval", "1s", "--manifest-key", place / "manifest.key",
                                *options(bucket), env=ENVIRONMENT)
    streaming(server)
    backup = base_backup(server, place / "backup")
    server.sql("CREATE TABLE t AS SELECT 1 AS i")
    server.switch_wal()
    server.sql("INSERT INTO t VALUES (2)")
    reported(server, server.flushed())
    name = max(open_keys(bucket)).rsplit("/", 1)[1][:24]
    receiver.stop()
    server.stop()
    into = place / "new" / "main"
    into.parent.mkdir()
    credentials = place / "credentials"
    credentials.write_text(f"[default]\naws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n")
    credentials.chmod(0o600)
    if os.getuid() == 0:
        for path in (into.parent, credentials, place / "manifest.key.pub"):
            os.chown(path, server_user().pw_uid, server_user().pw_gid)
    place.chmod(0o755)
    public = ["--manifest-public-key", place / "manifest.key.pub"]
    words = [*options(bucket), "--store-credentials", credentials]

    def recover(*more):
        done = run([installed(place), "recover", *words, "--backup", backup, "--into", into, "--bindir", server.bin, "--json", *more],
                   check=False, **as_server_user(), cwd="/")
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    whole = recover("--dry-run")
    told = recover(*public, "--start")
    try:
        assert told["state"] == "reached" and told["commit_reached"] is True, told
        assert wal.lsn(told["promised_lsn"]) <= wal.parse_segment(name, server.segment_size)[1] * server.segment_size < wal.lsn(whole["promised_lsn"])
        assert any("partial segments in the store are not used" in note for note in told["notes"]), told
        assert not any("not used" in note for note in whole["notes"]), whole
        assert server.sql("SELECT string_agg(i::text, ',') FROM t") == "1"
    finally:
        run([server.bin / "pg_ctl", "-D", into, "-m", "immediate", "-w", "stop"], check=False, **as_server_user(), cwd="/")
    asked = pgweir("restore", *options(bucket), *public, "--partial", name, place / "RECOVERYXLOG", env=ENVIRONMENT)
    assert asked.returncode == 1 and f"{name} is in the store as a partial segment" in asked.stderr, asked.stderr


def test_a_switch_of_timelines_is_confirmed_when_the_store_has_it(servers, receivers, new_archive, bucket, proxy):
    primary = servers.primary()
    standby = servers.standby(primary)
    for server in (primary, standby):
        create_slot(server)
    archive = new_archive(standby)
    receiver = receivers.pgweir(archive, standby, *STORED, "--store-partial-interval", "1s", *options(bucket, endpoint=proxy.url),
                                env=ENVIRONMENT)
    streaming(standby)
    end = load(primary, 1)
    reported(standby, end)
    # The history cannot be stored: nothing of the new timeline is confirmed.
    proxy.decide = lambda request: ((503, [], "<Error><Code>SlowDown</Code></Error>")
                                    if request.method == "PUT" and request.path.endswith(".history") else None)
    standby.promote()
    switch = wal.lsn(standby.sql("SELECT pg_current_wal_lsn()"))
    standby.sql("SELECT pg_logical_emit_message(true, 'a', repeat('x', 1000))")
    after = standby.flushed()
    wait_for(lambda: archive.path.joinpath("00000002.history").exists(), "the history")
    wait_for(lambda: wal.lsn(status_of_receiver(archive)["flush_lsn"]) >= after, "it to be durable here")
    assert told(standby) <= switch and "p/main/wals/00000002.history" not in bucket.keys()
    proxy.decide = lambda request: None
    reported(standby, after)
    assert "p/main/wals/00000002.history" in bucket.keys()
    assert any("/open/00000002/" in key for key in bucket.keys())
    held = restart_lsn(standby)  # the server goes on by itself after a promotion
    assert held <= wal.lsn(status(archive)["open_lsn"])
    receiver.stop()


def test_a_store_that_hangs_is_given_up_told_and_asked_again(servers, receivers, new_archive, bucket, proxy, place):
    """Each request has an end; restore ends with 200."""
    server = servers.primary()
    archive = new_archive(server)
    hung = []

    def decide(request):
        if request.method == "PUT" and "/wals/" in request.path and len(hung) < 2:
            hung.append(request.path)
            return "hang"
        return None

    proxy.decide = decide
    words = options(bucket, "--store-timeout", "3s", endpoint=proxy.url)
    receiver = receivers.pgweir(archive, server, *words, env=ENVIRONMENT)
    streaming(server)
    end = load(server, 1)
    reported(server, end)
    wait_for(lambda: len(stored(bucket)) == len(archive.finished()) >= 2, "what hung to be sent again")
    assert len(hung) == 2 and status(archive)["failures"] >= 1
    receiver.stop()
    name = min(stored(bucket))
    (place / "to").mkdir()
    target = place / "to" / "RECOVERYXLOG"
    for what, when in (("hang", lambda request: True), ("hang", lambda request: "list-type" not in request.path),
                       ("stall", lambda request: "list-type" not in request.path)):
        proxy.decide = lambda request: what if when(request) else None
        asked = pgweir("restore", *words, "--retry-for", "0", "--prefetch", "0", name, target, env=ENVIRONMENT)
        assert asked.returncode == 200 and not target.exists(), (what, asked.returncode, asked.stderr)
    proxy.decide = lambda request: None
    assert pgweir("restore", *words, "--prefetch", "0", name, target, env=ENVIRONMENT).returncode == 0


@pytest.mark.parametrize("words, said", [
    (["--confirm", "stored"], "option --confirm requires --store"),
    (["--store", "s3://wal/p", "--store-name", "n", "--confirm", "stored"], "option --confirm stored requires --slot"),
    (["--store", "s3://wal/p", "-S", "n", "--force"], "option --force requires --confirm stored"),
    (["--store-partial-interval", "10s"], "option --store-partial-interval requires --store"),
])
def test_what_makes_no_sense_is_refused(place, words, said):
    result = pgweir("receive", "-D", place, "-d", "host=127.0.0.1 port=1", *words)
    assert result.returncode == 2 and said in result.stderr, result.stderr
