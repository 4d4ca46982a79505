"""What an object store has is told by a chain of lines there, signed: `verify --store` finds whatever is changed, without a
private key, and Debian's signify reads the signatures. With a real Ceph gateway."""

import json
import os
import random
import shutil
import subprocess

import pytest

from support import wal
from support.archive import Archive
from support.process import PATIENCE, run
from support.receiver import BINARY, pgweir
from test_store import KEYS, archive, bucket, ceph, files_of, filled, gateway, key_of, keys_of, proxy, push, store  # noqa: F401
from test_store_encryption import Key, decrypted
from test_store_restore import ENVIRONMENT, names_of, words_for


@pytest.fixture
def key(place):
    assert pgweir("store", "keygen", place / "manifest.key").returncode == 0
    return place / "manifest.key"


def manifests(bucket):
    return sorted(key for key in bucket.keys() if "/manifest/" in key)


def verify(bucket, *words, status=0):
    result = pgweir("verify", *words_for(bucket), *words, "--json", env=ENVIRONMENT)
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    told = json.loads(result.stdout)
    assert told["sound"] == (status == 0)
    return told["manifest"]


def head_of(archive):
    return json.loads((archive.path / ".pgweir-store").read_text())["manifest"]["head"]


def test_what_is_stored_is_told_and_signed(archive, bucket, key, place):
    assert key.stat().st_mode & 0o777 == 0o600 and "secret" not in (place / "manifest.key.pub").read_text()
    again = pgweir("store", "keygen", key)
    assert again.returncode == 2 and "a file with this name exists" in again.stderr
    told = push(archive, bucket, "--manifest-key", key).stdout
    head = head_of(archive)
    assert f"signed; head {head}" in told
    (name,) = manifests(bucket)
    content = bucket.get(name).decode()
    for each in files_of(archive):
        (line,) = [line for line in content.splitlines() if f"put {each} " in line]
        assert f" {(archive.path / each).stat().st_size} " in line
    public = f"{key}.pub"
    found = verify(bucket, "--manifest-public-key", public)
    assert found["chains"][0]["head"] == head and found["chains"][0]["proved"]
    assert found["objects"] == len(files_of(archive)) and found["untold"] == 0
    assert any("was not checked" in remark for remark in verify(bucket)["remarks"])
    for words in (["ls"], ["check"]):
        said = store(words[0], bucket)
        assert head in said.stdout + said.stderr and "signed by key" in said.stdout + said.stderr
    shown = pgweir("status", *words_for(bucket), env=ENVIRONMENT).stdout
    assert f"head {head}" in shown and "last commit" in shown, shown
    if shutil.which("signify-openbsd") is not None:
        (place / "object").write_bytes(bucket.get(name))
        checked = run(["signify-openbsd", "-V", "-e", "-p", public, "-x", place / "object", "-m", place / "lines"])
        assert "Signature Verified" in checked.stdout
        assert (place / "lines").read_text() == content.split("\n", 2)[2]
    key.chmod(0o644)
    assert "others have access" in push(archive, bucket, "--manifest-key", key, status=2).stderr


def test_whatever_is_changed_is_found(archive, bucket, key, place):
    (archive.path / "00000002.history").unlink()
    names = names_of(archive)
    last = next(path for path in archive.finished().values() if path.name.startswith(names[-1]))
    os.rename(last, place / last.name)
    push(archive, bucket, "--manifest-key", key)
    (chain,) = manifests(bucket)
    old, old_head = bucket.get(chain), head_of(archive)
    os.rename(place / last.name, last)
    push(archive, bucket, "--manifest-key", key)
    whole, head = bucket.get(chain), head_of(archive)
    assert old != whole
    public = ["--manifest-public-key", f"{key}.pub"]
    verify(bucket, *public, "--expect-head", old_head, "--expect-head", head)
    comment, signature, first, *lines = whole.decode().splitlines(keepends=True)

    def found(content, *words):
        bucket.put(chain, content if isinstance(content, bytes) else "".join(content).encode())
        findings = " | ".join(verify(bucket, *words, status=1)["findings"])
        bucket.put(chain, whole)
        return findings

    sealed = [comment, signature, first]
    altered = [lines[0].replace("put ", "same "), *lines[1:]]
    for content in (altered, lines[1:], [lines[1], lines[0], *lines[2:]], [lines[0], *lines]):
        assert "a line was changed, removed or moved" in found([*sealed, *content])  # without a key, too
        assert "does not match its lines" in found([*sealed, *content], *public)
    newest = [*lines[:-1], lines[-1].replace("put ", "same ")]
    assert "does not match its lines" in found([*sealed, *newest], *public)
    assert "is not signed" in found([first, *lines], *public)
    # As it was once: whole in itself.
    for words in (["--expect-head", head], [*public, "--expect-head", head], ["-D", archive.path]):
        assert "rolled back" in found(old, *words)
    assert pgweir("status", "-D", archive.path, *words_for(bucket), env=ENVIRONMENT).stdout.count("WARNING") == 0
    bucket.remove(chain)
    assert "there is no manifest" in " ".join(verify(bucket, *public, status=1)["findings"])
    bucket.put(chain, whole)
    # The objects themselves.
    stored = {name: next(key for key in bucket.keys() if name in key) for name in names}
    content = bucket.get(stored[names[1]])
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    for changed, said in ((flipped, "its MD5 is"), (content + b"x", "bytes, expected")):
        bucket.put(stored[names[1]], changed)
        assert said in " ".join(verify(bucket, *public, status=1)["findings"])
    bucket.remove(stored[names[1]])
    findings = " ".join(verify(bucket, *public, status=1)["findings"])
    assert "is in the manifest, but missing from the store" in findings and "1 segments are missing" in findings
    bucket.put(stored[names[1]], content)
    beside = key_of(names[0] + ".lz4")
    bucket.put(beside, b"anything")
    assert "is not listed in the manifest" in " ".join(verify(bucket, *public, status=1)["findings"])
    bucket.remove(beside)
    assert verify(bucket, *public, "--deep")["sound"]
    # The archiver itself finds what was put back, and writes again what it remembers.
    bucket.put(chain, old)
    (archive.path / "00000002.history").write_text(f"1\t0/{archive.segment_size:X}\tno reason\n")
    said = push(archive, bucket, "--manifest-key", key).stderr
    assert "has lost its newest lines" in said
    verify(bucket, *public, "--expect-head", head)


def test_a_hole_that_is_acknowledged_or_accepted_is_no_problem(archive, bucket, place):
    (archive.path / "00000002.history").unlink()
    names = names_of(archive)
    os.rename(next(path for path in archive.finished().values() if path.name.startswith(names[1])), place / "away")
    push(archive, bucket)
    with_store = ["-D", archive.path, *words_for(bucket)]

    def check(*words):
        return pgweir("status", *(words or with_store), "--check", "--receiver", "none", env=ENVIRONMENT)

    def known(remarks):
        return any("acknowledged or accepted" in remark for remark in remarks)

    gap = f"1 segments are missing, {names[1]} to {names[1]}"
    assert verify(bucket, status=1)["findings"] == [gap]
    assert check().returncode == 2 and gap in check().stdout
    result = pgweir("verify", *with_store, "--json", env=ENVIRONMENT)
    (finding,) = [each for each in json.loads(result.stdout)["findings"] if each["kind"] == "gap"]
    accepted = place / "accepted"
    accepted.write_text("{timeline} {from} {to} known\n".format(**finding["loss"]))
    assert known(verify(bucket, "-D", archive.path, "--accept-file", accepted, "--metrics-file", place / "v.prom")["remarks"])
    assert "pgweir_verify_sound{" in (place / "v.prom").read_text()
    assert not [line for line in (place / "v.prom").read_text().splitlines()
                if line.startswith("pgweir_verify_sound") and not line.endswith(" 1")]
    # Acknowledged: what is recorded here counts at once, and that of the store for all who have the store alone.
    assert pgweir("ack", "-D", archive.path, "--all").returncode == 0
    assert check().returncode == 0, check().stdout
    assert verify(bucket, status=1)["findings"] == [gap]
    push(archive, bucket)
    assert known(verify(bucket)["remarks"])
    assert check(*words_for(bucket)).returncode == 0
    assert "the last verification failed" not in check("-D", archive.path).stdout
    # Another one is a problem.
    bucket.remove(next(key for key in bucket.keys() if names[2] in key))
    assert [names[2] in finding for finding in verify(bucket, status=1)["findings"]] == [True, True]
    assert check().returncode == 2


def test_a_hole_is_found_by_the_histories(archive, bucket):
    """The old primary went on: what it wrote does not cover what the new timeline lacks. Without the segment size,
    nothing is known of holes, which is told."""
    names = names_of(archive)
    fork = wal.parse_segment(names[1], archive.segment_size)[1]
    history = archive.path / "00000002.history"
    history.write_text(f"1\t{wal.lsn_text(fork * archive.segment_size + 100)}\tno reason\n")
    push(archive, bucket)
    verify(bucket)
    last = wal.parse_segment(names[-1], archive.segment_size)[1]
    newest = key_of(wal.segment_name(2, last + 1, archive.segment_size))
    bucket.put(newest, b"anything")
    (finding,) = verify(bucket, status=1)["findings"]
    first_missing, last_missing = (wal.segment_name(2, segno, archive.segment_size) for segno in (fork, last))
    assert f"segments are missing, {first_missing} to {last_missing}" in finding
    bucket.remove(newest)
    verify(bucket)
    record = bucket.get("p/main/pgweir.json")
    bucket.remove("p/main/pgweir.json")
    (finding,) = verify(bucket, status=1)["findings"]
    assert "pgweir.json, the record of the cluster, is missing" in finding
    checked = pgweir("status", *words_for(bucket), "--check", env=ENVIRONMENT)
    assert checked.returncode == 2 and "the record of the cluster" in checked.stdout, checked.stdout
    bucket.put("p/main/pgweir.json", record)
    verify(bucket)


def test_a_request_that_was_given_up_changes_nothing(archive, bucket, proxy, key, place):
    """A PUT of the manifest's object takes effect when a newer one is there: the real gateway refuses it."""
    names = names_of(archive)
    held = [path for path in archive.finished().values() if path.name[:24] in names[-3:]]
    for path in held:
        os.rename(path, place / path.name)
    push(archive, bucket, "--manifest-key", key, endpoint=proxy.url)
    (chain,) = manifests(bucket)
    seen = []

    def decide(request):
        if request.method != "PUT" or "/manifest/" not in request.path:
            return None
        seen.append(request.headers.get("If-Match"))
        return "late" if len(seen) == 1 else None

    proxy.decide = decide
    for path in held:
        os.rename(place / path.name, path)
        push(archive, bucket, "--manifest-key", key, endpoint=proxy.url)
    head = head_of(archive)
    assert seen[0], "it is put over the object that was read"
    before = bucket.get(chain)
    assert proxy.do_late() == [412]
    assert bucket.get(chain) == before
    verify(bucket, "--manifest-public-key", f"{key}.pub", "--expect-head", head)


def test_killed_at_any_time_the_chain_has_no_hole(archive, bucket, proxy, key):
    """Killed behind each request in turn, its answer given or not, and with answers lost besides."""
    chance = random.Random(7)
    for fatal in range(3, 60, 4):
        started = len(proxy.requests)
        processes = []

        def decide(request):
            if request.number - started == fatal:
                processes[0].kill()
                return "lost" if fatal % 8 == 3 else None
            return "lost" if request.method == "PUT" and chance.random() < 0.15 else None

        proxy.decide = decide
        processes.append(subprocess.Popen(
            [str(BINARY), "store", "push", "-D", str(archive.path), *words_for(bucket, proxy.url), "--no-progress",
             "--store-jobs", "2", "--manifest-key", str(key)],
            env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        ended = processes[0].wait(PATIENCE)
        proxy.decide = lambda request: None
        if manifests(bucket):
            lines = "".join(bucket.get(each).decode() for each in manifests(bucket))
            found = pgweir("verify", *words_for(bucket), "--manifest-public-key", f"{key}.pub", "--json",
                           env=ENVIRONMENT).stdout
            assert "does not continue" not in found and "signature" not in found and "missing from the store" not in found, found
            if (archive.path / ".pgweir-store").exists():
                names = names_of(archive)
                for first, last in json.loads((archive.path / ".pgweir-store").read_text())["sent"]:
                    for name in names[names.index(first):names.index(last) + 1]:
                        assert f" {name}" in lines, "marked, and no line tells of it"
        if ended == 0:
            break
    push(archive, bucket, "--manifest-key", key)
    told = verify(bucket, "--manifest-public-key", f"{key}.pub")
    assert told["objects"] == len(files_of(archive)) and told["untold"] == 0


def test_a_signed_bucket_is_pruned_with_its_key(archive, bucket, key):
    (archive.path / "00000002.history").unlink()
    push(archive, bucket, "--manifest-key", key)
    names = names_of(archive)
    before = bucket.keys()
    words = [*words_for(bucket), "--keep-from", names[2]]
    refused = pgweir("prune", *words, env=ENVIRONMENT)
    assert refused.returncode == 2 and "the manifest of the store is signed: pruning needs its key" in refused.stderr
    assert bucket.keys() == before
    assert pgweir("prune", "-D", archive.path, *words, env=ENVIRONMENT).returncode == 2
    assert names_of(archive) == names
    done = pgweir("prune", *words, "--manifest-key", key, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert not any(names[1] in each for each in bucket.keys())
    told = verify(bucket, "--manifest-public-key", f"{key}.pub")
    assert told["begin"] == names[2] and told["timelines"][0]["first"] == names[2]
    bucket.remove(next(each for each in bucket.keys() if names[2] in each))
    verify(bucket, "--manifest-public-key", f"{key}.pub", status=1)


def test_a_key_comes_and_is_changed(archive, bucket, key, place):
    """Nobody signs what was written without that key, but whoever trusts it, with signify."""
    if shutil.which("signify-openbsd") is None:
        pytest.skip("signify-openbsd is not installed (scripts/setup)")
    (archive.path / "00000002.history").unlink()
    names = names_of(archive)
    last = next(path for path in archive.finished().values() if path.name.startswith(names[-1]))
    os.rename(last, place / last.name)
    push(archive, bucket)
    prune = ["prune", *words_for(bucket), "--keep-from"]
    assert pgweir(*prune, names[1], env=ENVIRONMENT).returncode == 0
    os.rename(place / last.name, last)
    push(archive, bucket, "--manifest-key", key)
    done = pgweir(*prune, names[2], "--manifest-key", key, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    public = ["--manifest-public-key", f"{key}.pub"]
    assert verify(bucket, *public, status=1)["findings"] == ["manifest prune is not signed: its lines are ignored"]
    (chain,) = [name for name in manifests(bucket) if "/prune/" in name]
    (place / "lines").write_bytes(bucket.get(chain))
    shutil.copy(key, place / "manifest.sec")  # signify requires such a name, and follows no link
    run(["signify-openbsd", "-S", "-e", "-s", place / "manifest.sec", "-m", place / "lines", "-x", place / "object"])
    bucket.put(chain, (place / "object").read_bytes())
    verify(bucket, *public)
    # Another key: the former one counts where it is given.
    following = place / "next.key"
    assert pgweir("store", "keygen", following).returncode == 0
    push(archive, bucket, "--manifest-key", following)
    done = pgweir(*prune, names[3], "--manifest-key", following, *public, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    told = verify(bucket, *public, "--manifest-public-key", f"{following}.pub")
    assert told["begin"] == names[3] and sum(each["chain"].startswith("prune") for each in told["chains"]) == 3
    findings = verify(bucket, "--manifest-public-key", f"{following}.pub", status=1)["findings"]
    assert any("which matches none of the given public keys" in each for each in findings), findings


def test_an_encrypted_bucket_is_told_without_its_private_key(archive, filled, bucket, key, place):
    if shutil.which("age") is None:
        pytest.skip("age is not installed (scripts/setup)")
    identity = Key(place, "operations.key")
    (archive.path / "00000002.history").unlink()
    words = ["--encrypt-to", identity.recipient, "--manifest-key", key]
    push(archive, bucket, *words)
    assert not (archive.path / ".pgweir-store-key").exists(), "the key that compares comes from the manifest's"
    told = verify(bucket, "--manifest-public-key", f"{key}.pub")
    (line,) = told["timelines"]
    names = names_of(archive)
    assert (line["first"], line["last"]) == (names[0], names[-1]) and line["last_commit"]
    shown = pgweir("status", *words_for(bucket), "--json", env=ENVIRONMENT)
    assert json.loads(shown.stdout)["store"]["manifest"]["timelines"][0]["to"] == line["to"]
    # Another archiver with that key, which packs otherwise, compares what it cannot read.
    other = Archive(place / "other", filled.segment_size)
    shutil.copytree(filled.path, other.path)
    (other.path / "00000002.history").unlink()
    said = push(other, bucket, *words).stdout
    assert f"{len(names)} were already there" in said and "could not be compared" not in said
    assert len(manifests(bucket)) == 2
    # One without it counts them, and says so.
    (other.path / ".pgweir-store").unlink()
    said = push(other, bucket, "--encrypt-to", identity.recipient).stdout
    assert f"{len(names)} of them could not be compared" in said
    assert len(manifests(bucket)) == 3
    # Given to others: a new header for each, which Debian's age reads.
    next_one = Key(place, "next.key")
    give = ["--identity", identity.file, "--encrypt-to", next_one.recipient]
    assert "needs its key" in store("rewrap", bucket, *give, status=2).stderr
    assert f"rewrapped {len(names)} objects" in store("rewrap", bucket, *give, "--manifest-key", key).stdout
    assert f"rewrapped 0 objects; {len(names)} had been rewrapped before" in store("rewrap", bucket, *give, "--manifest-key", key).stdout
    for path in sorted(archive.finished().values()):
        content = bucket.get(key_of(path.name) + ".age")
        assert decrypted(content, next_one) == path.read_bytes()
        assert subprocess.run(["age", "-d", "-i", str(identity.file)], input=content, capture_output=True).returncode != 0
    assert verify(bucket, "--deep", "--identity", next_one.file)["untold"] == 0
    # Everything is removed by a prune, also what is encrypted.
    done = pgweir("prune", *words_for(bucket), "--keep-from", names[2], "--manifest-key", key, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert not any(names[1] in each for each in keys_of(bucket))
    doctor = pgweir("doctor", *words_for(bucket), "-D", other.path, env=ENVIRONMENT)
    assert "Without the private key (identity)" in doctor.stdout and "include it in backups" in doctor.stdout


def test_a_prune_during_a_verification_is_no_finding(archive, bucket, proxy, key):
    """It removes objects after their lines were read."""
    push(archive, bucket, "--manifest-key", key)
    names = names_of(archive)
    pruned = []

    def decide(request):
        if not pruned and "list-type=2" in request.path and "wals" in request.path:
            pruned.append(pgweir("prune", *words_for(bucket), "--keep-from", names[2], "--manifest-key", key, env=ENVIRONMENT))

    proxy.decide = decide
    for public in ([], ["--manifest-public-key", f"{key}.pub"]):
        found = pgweir("verify", *words_for(bucket, proxy.url), *public, "--json", env=ENVIRONMENT)
        assert found.returncode == 0, found.stdout
    assert pruned[0].returncode == 0 and not any(names[1] in each for each in keys_of(bucket)), pruned


def test_restore_hands_out_only_what_the_key_proves(archive, bucket, key, place):
    push(archive, bucket, "--manifest-key", key)
    name = names_of(archive)[1]
    (stored,) = [key for key in bucket.keys() if name in key and "/wals/" in key]
    public = ["--manifest-public-key", f"{key}.pub"]
    target = place / "restored"

    def ask(name, *words, status=0):
        target.unlink(missing_ok=True)
        result = pgweir("restore", *words_for(bucket), "--retry-for", "0", *words, name, target, env=ENVIRONMENT)
        assert result.returncode == status, (result.returncode, result.stderr)
        assert target.exists() == (status == 0)
        return result.stderr

    ask(name, *public)
    # By the configuration file, for each command.
    config = place / "store.ini"
    config.write_text(f"[store]\nmanifest-public-key = {key}.pub\n")
    ask(name, "-c", config)
    # The command that it recommends, and that a drill recovers by, has it, too.
    text = pgweir("restore", *words_for(bucket), *public, "--find-time", "2100-01-01", env=ENVIRONMENT)
    assert f"--manifest-public-key {key}.pub" in text.stdout, text.stderr
    # Of another content.
    content = bucket.get(stored)
    bucket.put(stored, content[:-1] + bytes([content[-1] ^ 1]))
    assert "the object does not match the manifest" in ask(name, *public, status=200)
    bucket.put(stored, content)
    ask(name, *public)
    # By another key nothing is proved.
    assert pgweir("store", "keygen", place / "other.key").returncode == 0
    other = ["--manifest-public-key", place / "other.key.pub"]
    assert "not listed in a manifest" in ask(name, *other, status=200)
    # Gone: the manifest tells of it.
    newest = names_of(archive)[-1]
    bucket.remove(next(key for key in bucket.keys() if newest in key and "/wals/" in key))
    for history in [key for key in bucket.keys() if key.endswith(".history")]:
        bucket.remove(history)  # they would tell, too
    for words in ([], public):
        assert f"according to the store's manifest, {newest}" in ask(newest, *words, status=200)
