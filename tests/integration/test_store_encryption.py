"""Objects that only the holder of a private key reads: `--encrypt-to`, `--identity`, in both directions with Debian's age."""

import json
import os
import shutil
import subprocess

import pytest

from support import wal
from support.gateway import Gateway
from support.process import as_server_user, run, server_user
from support.receiver import pgweir
from support.recovery import base_backup, installed
from support.scenario import begun
from test_store import KEYS, archive, bucket, ceph, filled, gateway, proxy, push, store  # noqa: F401
from test_store_restore import ENVIRONMENT, Asked, behind, content_of, names_of, words_for

CHUNK = 64 * 1024


class Key:
    def __init__(self, place, name):
        self.file = place / name
        run(["age-keygen", "-o", self.file])
        self.file.chmod(0o600)
        self.recipient = run(["age-keygen", "-y", self.file]).stdout.strip()
        self.secret = self.file.read_text().split()[-1]


@pytest.fixture
def keys(place):
    if shutil.which("age") is None:
        pytest.skip("age is not installed (scripts/setup)")
    return [Key(place, name) for name in ("operations.key", "escrow.key", "other.key")]


@pytest.fixture
def ask(place, bucket):
    return Asked(place, bucket)


def decrypted(content, key):
    return subprocess.run(["age", "-d", "-i", str(key.file)], input=content, capture_output=True, check=True).stdout


def encrypted(content, *keys):
    words = [word for key in keys for word in ("-r", key.recipient)]
    return subprocess.run(["age", *words], input=content, capture_output=True, check=True).stdout


def segment_keys(bucket):
    return sorted(key for key in bucket.keys() if "/wals/" in key and not key.endswith(".history"))


def test_what_is_sent_is_read_by_its_recipients_alone(archive, bucket, keys, ask, place):
    operations, escrow, other = keys
    recipients = place / "recipients"
    recipients.write_text(f"# who may read\n{escrow.recipient}\n")
    (archive.path / "00000002.history").unlink()
    push(archive, bucket, "--encrypt-to", operations.recipient, "--encrypt-to", recipients)
    stored = segment_keys(bucket)
    assert stored and all(key.endswith(".age") for key in stored)
    for key, path in zip(stored, sorted(archive.finished().values())):
        content = bucket.get(key)
        assert path.read_bytes()[:100] not in content
        for each in (operations, escrow):  # Debian's age reads them
            assert decrypted(content, each) == path.read_bytes()
    name = names_of(archive)[0]
    for each in names_of(archive):
        assert ask(each, "--identity", operations.file) == content_of(archive, each)
    assert ask(name, "--identity-command", f"cat {escrow.file}") == content_of(archive, name)
    ask(name, status=200)
    assert "encrypted for other recipients" in ask.said and "--identity" in ask.said
    ask(name, "--identity", other.file, status=200)
    ask(behind(names_of(archive)[-1], archive), "--identity", operations.file, status=1)
    store("get", bucket, name, place / "got", "--identity", operations.file)
    assert (place / "got").read_bytes() == content_of(archive, name)
    verified = pgweir("verify", *words_for(bucket), "--identity", operations.file, "--json", env=ENVIRONMENT)
    assert verified.returncode == 0 and json.loads(verified.stdout)["sound"], verified.stderr
    assert pgweir("verify", *words_for(bucket), "--from", name, env=ENVIRONMENT).returncode != 0
    # Nothing is lost: who verifies has no key.
    unread = pgweir("verify", *words_for(bucket), "--deep", env=ENVIRONMENT)
    assert unread.returncode != 0 and "encrypted for other recipients" in unread.stdout, (unread.stdout, unread.stderr)
    assert "to accept this loss" not in unread.stdout, unread.stdout
    # The ends are seen without a key.
    told = pgweir("status", "-D", archive.path, *words_for(bucket), "--json", env=ENVIRONMENT)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["store"]["pending_segments"] == 0
    # Also of the bucket alone: cluster, positions and times are those of the lines.
    told = pgweir("status", *words_for(bucket), "--json", env=ENVIRONMENT)
    assert told.returncode == 0, told.stderr
    alone = json.loads(told.stdout)
    assert alone["damaged"] == [] and alone["holes"] == [] and alone["system_identifier"], alone
    window = alone["windows"][-1]
    assert window["to_time"], alone
    assert alone["timelines"][0]["segments"] == len(archive.finished())
    text = pgweir("status", *words_for(bucket), env=ENVIRONMENT).stdout
    assert "DAMAGED" not in text and "mounted" not in text and "not available" not in text, text
    checked = pgweir("status", *words_for(bucket), "--check", env=ENVIRONMENT)
    assert checked.returncode == 0, checked.stdout


def test_what_cannot_be_decrypted_is_not_lost_and_has_its_position(archive, bucket, keys):
    """No page and no size of a file tells the segment size: pgweir.json does."""
    (archive.path / "00000002.history").unlink()
    for path in archive.finished().values():
        if not path.suffix:
            run(["zstd", "-q", "--rm", path])
    push(archive, bucket, "--encrypt-to", keys[0].recipient)
    for words in ([], ["--identity", keys[2].file]):
        unread = pgweir("verify", *words_for(bucket), "--deep", *words, env=ENVIRONMENT)
        assert unread.returncode == 1 and "to accept this loss" not in unread.stdout, unread.stdout
        unread = json.loads(pgweir("verify", *words_for(bucket), "--deep", *words, "--json", env=ENVIRONMENT).stdout)
        assert unread["segment_size"] == archive.segment_size and unread["system_identifier"], unread
        assert [(each["kind"], each["lsn"], each["loss"]) for each in unread["findings"]] == [
            ("unreadable", wal.lsn_text(segno * archive.segment_size), None) for _, segno in sorted(archive.finished())]


def test_what_age_has_encrypted_is_read(archive, bucket, keys, ask):
    """One, and several recipients; whoever put it there."""
    operations, escrow, _ = keys
    for number, path in enumerate(sorted(archive.finished().values())):
        to = (operations,) if number % 2 else (escrow, operations)
        bucket.put(f"p/main/wals/{path.name[:16]}/{path.name}.age", encrypted(path.read_bytes(), *to))
    for name in names_of(archive):
        assert ask(name, "--identity", operations.file) == content_of(archive, name)


def test_nothing_that_was_changed_is_handed_out(archive, bucket, keys, ask):
    operations = keys[0]
    push(archive, bucket, "--encrypt-to", operations.recipient)
    raw = next(key for key in segment_keys(bucket) if key.count(".") == 1)
    name = raw.rpartition("/")[2][:24]
    good = bucket.get(raw)
    payload = len(good) % (CHUNK + 16)  # header and nonce: a raw segment's chunks are all full
    chunk = lambda number: good[payload + number * (CHUNK + 16):payload + (number + 1) * (CHUNK + 16)]  # noqa: E731
    count = (len(good) - payload) // (CHUNK + 16)
    chunks = [chunk(number) for number in range(count)]
    flipped = bytearray(good)
    flipped[payload + 3 * (CHUNK + 16) + 100] ^= 1
    header = bytearray(good)
    header[60] ^= 1
    for what, content in (
            ("cut at a border", good[:payload + (count - 1) * (CHUNK + 16)]), ("cut", good[:-1000]),
            ("swapped", good[:payload] + b"".join([chunks[1], chunks[0], *chunks[2:]])),
            ("repeated", good[:payload] + b"".join([chunks[0], chunks[0], *chunks[1:]])),
            ("left out", good[:payload] + b"".join([chunks[0], *chunks[2:]])),
            ("flipped", bytes(flipped)), ("header", bytes(header)), ("empty", b"")):
        bucket.put(raw, content)
        ask(name, "--identity", operations.file, status=200)
        assert "encrypted" in ask.said or "age file" in ask.said, (what, ask.said)
    bucket.put(raw, good)
    assert ask(name, "--identity", operations.file) == content_of(archive, name)


def test_it_is_compared_without_being_read(archive, filled, bucket, keys, place):
    """An archiver has no private key."""
    operations = keys[0]
    push(archive, bucket, "--encrypt-to", operations.recipient)
    count = len(names_of(archive))
    (archive.path / ".pgweir-store").unlink()
    again = push(archive, bucket, "--encrypt-to", operations.recipient)
    assert f"{count + 1} were already there" in again.stdout and "could not be compared" not in again.stdout, again.stdout
    # Another archiver, which does not have the key that compares.
    (archive.path / ".pgweir-store").unlink()
    key = (archive.path / ".pgweir-store-key").read_text()
    assert (archive.path / ".pgweir-store-key").stat().st_mode & 0o777 == 0o600
    (archive.path / ".pgweir-store-key").unlink()
    again = push(archive, bucket, "--encrypt-to", operations.recipient)
    assert f"{count} of them could not be compared" in again.stdout, again.stdout
    # Other WAL is a conflict, as it is unencrypted.
    (archive.path / ".pgweir-store").unlink()
    (archive.path / ".pgweir-store-key").write_text(key)
    first = segment_keys(bucket)[0]
    sealed = bucket.get(first)
    bucket.request("HEAD", first)
    metadata = {name: value for name, value in bucket.headers.items() if name.startswith("x-amz-meta-")}
    metadata["x-amz-meta-pgweir-hmac"] = "0" * 64
    bucket.remove(first)
    bucket.request("PUT", first, body=sealed, headers=metadata)
    result = push(archive, bucket, "--encrypt-to", operations.recipient, status=4)
    assert "the store has different WAL under a segment's name: its content differs" in result.stderr


def test_wrong_keys_are_told(archive, bucket, keys, ask, place):
    name = names_of(archive)[0]
    for words in (["--encrypt-to", "age1nonsense"], ["--encrypt-to", place / "nothing"],
                  ["--encrypt-to", keys[0].file]):
        result = push(archive, bucket, *words, status=2)
        assert keys[0].secret not in result.stderr
    keys[0].file.chmod(0o644)
    ask(name, "--identity", keys[0].file, status=200)
    assert "others have access to the private key" in ask.said
    ask(name, "--identity-command", "false", status=200)
    assert "the command for the private key has failed" in ask.said
    result = pgweir("receive", "--identity", keys[0].file, "-D", archive.path)
    assert result.returncode == 2, "a private key has no business on the machine that archives"


def test_a_drill_and_a_recovery_out_of_the_bucket_alone(servers, receivers, new_archive, place, bucket, keys):
    """By the private key, which the sandbox's restore_command has as well; without it nothing was tried."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    begun(archive, primary)
    backup = base_backup(primary, place / "backup")
    primary.sql("CREATE TABLE t AS SELECT 4711 AS i")
    primary.switch_wal()
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    push(archive, bucket, "--encrypt-to", keys[0].recipient)
    shutil.rmtree(archive.path)
    sandbox = place / "sandbox"
    sandbox.mkdir()
    credentials = place / "keys"
    credentials.write_text(f"[default]\naws_access_key_id = {Gateway.key}\naws_secret_access_key = {Gateway.secret}\n")
    credentials.chmod(0o600)
    if os.getuid() == 0:
        for path in (sandbox, credentials, keys[0].file):
            os.chown(path, server_user().pw_uid, server_user().pw_gid)
    place.chmod(0o755)

    def drill(*words):
        return run([installed(place), "drill", *words_for(bucket), "--store-credentials", credentials, "--backup", backup,
                    "--sandbox", sandbox, "--check", "SELECT i = 4711 FROM t", "--json", *words], check=False,
                   **as_server_user(), cwd="/")

    done = drill("--identity", keys[0].file)
    assert done.returncode == 0, (done.stdout, done.stderr)
    told = json.loads(done.stdout)
    assert told["outcome"] == "recovered" and told["problems"] == [] and told["archives"] == [f"s3://{bucket.name}/p/main/wals"]
    blind = drill()
    assert blind.returncode != 0 and "encrypted" in blind.stdout + blind.stderr, (blind.stdout, blind.stderr)
    assert list(sandbox.iterdir()) == []

    # The same for a recovery: what is foretold from the bucket is what the server has.
    primary.stop()
    into = sandbox / "recovered"

    def recover(*words):
        done = run([installed(place), "recover", *words_for(bucket), "--store-credentials", credentials, "--backup", backup,
                    "--into", into, "--bindir", primary.bin, "--start", "--json", *words], check=False, **as_server_user(),
                   cwd="/")
        return done.returncode, json.loads(done.stdout)

    status, told = recover()
    assert status != 0 and not into.exists() and any("encrypted" in each for each in told["problems"]), told
    status, told = recover("--identity", keys[0].file)
    try:
        assert status == 0 and told["state"] == "reached" and told["commit_reached"] is True, told
        assert run([primary.bin / "psql", "-XAtq", "-h", primary.socket_dir, "-p", primary.port, "-U", "postgres", "-c",
                    "SELECT i FROM t", "postgres"], cwd="/").stdout.strip() == "4711"
    finally:
        run([primary.bin / "pg_ctl", "-D", into, "-m", "immediate", "-w", "stop"], check=False, **as_server_user(), cwd="/")


def test_a_private_key_has_no_business_on_the_archiver(place, keys):
    for option, word in (("--identity", keys[0].file), ("--identity-command", "cat key")):
        refused = pgweir("receive", "-D", place, option, word)
        assert refused.returncode == 2 and "Do not keep a private key on the machine that archives" in refused.stderr, refused.stderr
        words = ["--store", "s3://wal/p", "--store-name", "main", option, word]
        refused = pgweir("store", "push", "-D", place, *words, env=ENVIRONMENT)
        assert refused.returncode == 2 and "Do not keep a private key on the machine that archives" in refused.stderr, refused.stderr
        refused = pgweir("store", "check", *words, env=ENVIRONMENT)
        assert refused.returncode == 2 and f'option {option} cannot be used with "store check"' in refused.stderr, refused.stderr
