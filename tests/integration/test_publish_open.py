"""`pgweir store publish-partial`: the primary is gone, and readers that know whole segments only recover everything that was
acknowledged. With a real Ceph gateway, and Debian's barman-cloud-wal-restore."""

import gzip
import json
import os
import shutil
import threading

import pytest

from support import gateway as gateways
from support import wal
from support.archive import Archive
from support.process import as_server_user, run, server_user, wait_for
from support.receiver import BINARY, pgweir, receive_command
from support.recovery import base_backup, installed, recover
from support.scenario import create_slot, reported, streaming
from test_store import BARMAN, KEYS, bucket, ceph, gateway, key_of, push, store  # noqa: F401
from test_store_encryption import Key, decrypted

pytestmark = pytest.mark.in_memory


ENVIRONMENT = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **KEYS}


def words(bucket):
    return ["--store", f"s3://{bucket.name}/p", "--store-endpoint", bucket.gateway.url, "--store-name", "main"]


def publish(archive, bucket, *arguments, status=0):
    return store("publish-partial", bucket, "-D", archive.path, *arguments, status=status)


class Load:
    """Clients that insert numbers, one commit each, and note what was acknowledged."""

    def __init__(self, server, clients=4):
        self.acknowledged = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, client):
        number = client * 1_000_000
        while not self._stop.is_set():
            number += 1
            done = self._server.sql(f"INSERT INTO numbers VALUES ({number})", check=False)
            if done.returncode != 0:
                return  # the server is gone: nobody was told that it is there
            self.acknowledged.append(number)

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def dead(servers, receivers, new_archive, bucket, place):
    """A primary that was killed while commits waited for the archive; what is finished is in the bucket, as .gz."""
    if not BARMAN.exists():
        pytest.skip("barman-cloud is not there (scripts/setup)")
    primary = servers.primary(synchronous_standby_names="pgweir")
    primary.sql("SET synchronous_commit = local; CREATE TABLE numbers (i bigint)")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    backup = base_backup(primary, place / "base")
    load = Load(primary)
    reported(primary, primary.write_wal(3))
    before = len(load.acknowledged)
    wait_for(lambda: len(load.acknowledged) >= max(40, before + 10), "some commits, also behind what is finished")
    primary.kill9()
    load.end()
    run(["gzip", *(path for path in archive.finished().values())])
    push(archive, bucket)
    yield primary, archive, backup, sorted(load.acknowledged), receiver
    if receiver.running():
        receiver.stop()


def conninfo(primary):
    return ["-d", primary.conninfo(), "-S", "archive"]


# Commands of a server are as short as they can be.
AWS_KEYS = {name: value for name, value in KEYS.items() if name.startswith("AWS_")}


def barman(bucket):
    """restore_command; the server runs as postgres, who may read what is unpacked."""
    environment = gateways.environment()
    settings = " ".join(f"{name}={environment[name]}" for name in ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH"))
    keys = " ".join(f"{name}={value}" for name, value in AWS_KEYS.items())
    return (f"env -i {settings} {keys} HOME=/nonexistent {gateways.PYTHON} {BARMAN} --endpoint-url {bucket.gateway.url}"
            f" s3://{bucket.name}/p main %f %p")


def numbers(server):
    return {int(line) for line in server.sql("SELECT i FROM numbers").split()}


def test_no_acknowledged_commit_is_missing(dead, servers, bucket, place):
    primary, archive, backup, acknowledged, receiver = dead
    before = recover(servers, backup, "before", primary, barman(bucket))
    missing = set(acknowledged) - numbers(before)
    assert missing, "all of it was in finished segments: this tells nothing"

    # The receiver waits for its server all the while.
    said = publish(archive, bucket, *conninfo(primary)).stdout
    name, = (path.name for path in archive.partials().values())
    name = name[:24]
    assert said.startswith(f"published {name} up to ") and said.endswith(".gz\n"), said
    content = gzip.decompress(bucket.get(key_of(name + ".gz")))
    assert len(content) == primary.segment_size
    end = wal.lsn(said.split(" up to ")[1].split()[0]) % primary.segment_size
    assert content[:end].strip(b"\0") and not content[end:].strip(b"\0")
    assert content[:end] == archive.content(next(iter(archive.partials().values())))[:end]

    recovered = recover(servers, backup, "recovered", primary, barman(bucket))
    assert set(acknowledged) <= numbers(recovered)

    # Recorded, told, and not done twice.
    status = pgweir("status", "-D", archive.path, "--json")
    told, = json.loads(status.stdout)["published_open"]
    assert told["segment"] == name and told["object"].endswith(f"{name}.gz") and not told["forced"]
    assert f"PUBLISHED UNFINISHED: {name}" in pgweir("status", "-D", archive.path).stdout
    assert json.loads(bucket.get(f"p/main/weir/published-{name}"))["end"] == told["end"]
    assert "had already been published" in publish(archive, bucket, *conninfo(primary)).stdout

    # pgweir's own reader gives it as it is, and says so.
    def ask(*places, status=0):
        (place / "RECOVERYXLOG").unlink(missing_ok=True)
        asked = pgweir("restore", *places, "--retry-for", "0", name, place / "RECOVERYXLOG", env=ENVIRONMENT)
        assert asked.returncode == status, (asked.returncode, asked.stderr)
        assert (place / "RECOVERYXLOG").exists() == (status == 0)
        return asked.stderr

    for places in (words(bucket), ["-D", archive.path, *words(bucket)], ["-D", archive.path, *words(bucket), "--partial"]):
        assert f"{name}.gz, which was published unfinished" in ask(*places)
        assert (place / "RECOVERYXLOG").read_bytes() == content
    own = " ".join(f"{key}={value}" for key, value in AWS_KEYS.items())
    again = recover(servers, backup, "again", primary,
                    f"env {own} AWS_EC2_METADATA_DISABLED=true {BINARY} restore {' '.join(words(bucket))} %f %p")
    assert set(acknowledged) <= numbers(again)
    # What is foretold of it is reached.
    stored = json.loads(pgweir("status", *words(bucket), "--json", env=ENVIRONMENT).stdout)
    assert stored["windows"][0]["to"] == told["end"]
    for places in (words(bucket), ["-D", archive.path, *words(bucket)]):
        foretold = pgweir("recover", *places, "--backup", backup, "--into", place / "into", "--dry-run", "--json", env=ENVIRONMENT)
        assert foretold.returncode == 0, (foretold.stdout, foretold.stderr)
        assert json.loads(foretold.stdout)["promised_lsn"] == told["end"]
    (place / "sandbox").mkdir()
    os.chown(place / "sandbox", server_user().pw_uid, server_user().pw_gid)
    drilled = run([installed(place), "drill", *words(bucket), "--backup", backup, "--sandbox", place / "sandbox", "--json"],
                  check=False, env={**os.environ, **ENVIRONMENT}, **as_server_user(), cwd="/")
    assert drilled.returncode == 0, (drilled.stdout, drilled.stderr)
    assert json.loads(drilled.stdout)["promised_lsn"] == told["end"]
    # By names, and read.
    for more in ([], ["--deep"]):
        verified = pgweir("verify", *words(bucket), "--no-progress", *more, env=ENVIRONMENT)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert f"{name}.gz: padded after {told['end']}" in verified.stdout, verified.stdout
    fetched = store("get", bucket, name, place / "fetched")
    assert f"{name} was published unfinished" in fetched.stderr and told["end"] in fetched.stderr, fetched.stderr
    assert (place / "fetched").read_bytes() == content
    # Nothing else counts as padded: not without its record, not up to another place, not before other WAL.
    key, record = key_of(name + ".gz"), f"p/main/weir/published-{name}"
    held, note = bucket.get(key), bucket.get(record)
    bucket.remove(record)
    ask(*words(bucket), status=200)
    assert pgweir("verify", *words(bucket), "--deep", "--no-progress", env=ENVIRONMENT).returncode == 1
    bucket.put(record, json.dumps({**json.loads(note), "end": wal.lsn_text(wal.lsn(told["end"]) - 8)}).encode())
    ask(*words(bucket), status=200)
    bucket.put(record, note)
    changed = bytearray(content)
    changed[-1] = 1
    bucket.put(key, gzip.compress(bytes(changed)))
    ask(*words(bucket), status=200)
    bucket.put(key, held)
    ask(*words(bucket))
    later = wal.segment_name(1, int(name[8:16], 16) * (2**32 // primary.segment_size) + int(name[16:], 16) + 1,
                             primary.segment_size)
    bucket.put(key_of(later), content)
    assert "is not the last one" in ask(*words(bucket), status=200)
    refused = store("get", bucket, name, place / "refused", status=4)
    assert f"{name} was published unfinished, but is not the last one" in refused.stderr, refused.stderr
    assert not (place / "refused").exists()
    bucket.remove(key_of(later))
    asked = pgweir("restore", "-D", archive.path, "--partial", name, place / "RECOVERYXLOG", env=ENVIRONMENT)
    assert asked.returncode == 0, asked.stderr
    assert (place / "RECOVERYXLOG").read_bytes() == content


def test_it_is_refused_while_anything_lives(servers, receivers, new_archive, bucket):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    push(archive, bucket)
    before = set(bucket.keys())
    assert "the receiver of this archive is streaming" in publish(archive, bucket, *conninfo(primary), status=4).stderr
    receiver.stop()
    said = publish(archive, bucket, *conninfo(primary), status=4).stderr
    assert "a server of this cluster answers, on timeline 1" in said and str(primary.port) in said
    assert "no servers specified that must be down" in publish(archive, bucket, status=2).stderr
    # It is there, and lets nobody in.
    primary._write("pg_hba.conf", "local all all trust\nhost all all all reject\n")
    primary.reload()
    said = publish(archive, bucket, *conninfo(primary), status=4).stderr
    assert "a server answers, but could not be queried" in said
    # A second host that is dead does not hide the first.
    said = publish(archive, bucket, "-d", f"host=127.0.0.1,127.0.0.1 port=1,{primary.port} user=postgres", status=4).stderr
    assert "could not be queried" in said
    # Promoted: the archive goes on there by its slot.
    primary._write("pg_hba.conf", "local all all trust\nhost all all all trust\nhost replication all all trust\n")
    primary.stop()
    primary._write("standby.signal", "")
    primary.start()
    primary.promote()
    said = publish(archive, bucket, *conninfo(primary), status=4).stderr
    assert 'the slot "archive" exists' in said
    assert set(bucket.keys()) == before
    assert json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["published_open"] == []
    # Who knows better says so, and that is recorded.
    said = publish(archive, bucket, *conninfo(primary), "--primary-is-gone").stdout
    assert said.startswith("published "), said
    assert json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["published_open"][0]["forced"]


@pytest.mark.parametrize("versions", [False, True], ids=["plain", "versioned"])
@pytest.mark.parametrize("form", ["same form", "other form", "the store's form"])
def test_the_true_segment_takes_its_place(servers, receivers, new_archive, gateway, versions, form):
    """The server comes back after all."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    bucket = gateway.bucket(lock=versions)
    primary.stop("immediate")
    compression, suffix = (["--store-compression", "gzip"], ".gz") if form == "the store's form" else ([], "")
    push(archive, bucket, *compression)
    publish(archive, bucket, *conninfo(primary), *compression)
    partial, = archive.partials().values()
    name = partial.name[:24]
    assert key_of(name + suffix) in bucket.keys()

    primary.start()
    streaming(primary)
    primary.sql("SELECT pg_logical_emit_message(true, 'a', repeat('x', 10000))")
    end = primary.switch_wal()
    reported(primary, end)
    wait_for(lambda: any(path.name == name for path in archive.finished().values()), "it to be finished")
    receiver.stop()
    stored = name + suffix
    if form == "other form":
        run(["gzip", archive.path / name])
        stored += ".gz"
    # Until then, the padded one is not damaged: it ends earlier.
    compared = pgweir("verify", "-D", archive.path, *words(bucket), "--no-progress", env=ENVIRONMENT)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    of_both, comparison = compared.stdout.split("compared with ")
    assert "and compared up to there" in comparison and "a recovery ends there" not in of_both, compared.stdout
    push(archive, bucket, *compression)
    held = [key for key in bucket.keys("p/main/wals/") if name in key]
    assert held == [key_of(stored)]
    if compression:
        assert gzip.decompress(bucket.get(key_of(stored))) == (archive.path / name).read_bytes()
    else:
        assert bucket.get(key_of(stored)) == (archive.path / stored).read_bytes()
    assert f"p/main/weir/published-{name}" not in bucket.keys()
    assert json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["published_open"] == []
    verified = store_verify(bucket)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def store_verify(bucket, *more):
    return pgweir("verify", *words(bucket), "--no-progress", *more, env=ENVIRONMENT)


def test_encrypted_and_signed(servers, receivers, new_archive, bucket, place):
    """Its line is written and signed, and the true segment takes its place, though nobody here can read either."""
    if shutil.which("age") is None:
        pytest.skip("age is not installed (scripts/setup)")
    keys = [Key(place, "operations.key")]
    assert pgweir("store", "keygen", place / "manifest.key").returncode == 0
    public = ["--manifest-public-key", place / "manifest.key.pub"]
    signed = ["--manifest-key", place / "manifest.key"]
    to = ["--encrypt-to", keys[0].recipient]
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    primary.stop("immediate")
    push(archive, bucket, *to, *signed)
    said = publish(archive, bucket, *conninfo(primary), *to)
    assert "is not listed in the manifest" in said.stderr
    name = next(iter(archive.partials().values())).name[:24]
    # A recovery would take it, and the key does not prove it.
    unproved = store_verify(bucket, *public)
    assert unproved.returncode == 1 and "is newer than all WAL that the public key proves" in unproved.stdout, unproved.stdout
    bucket.remove(key_of(name) + ".age")
    assert "lost" not in publish(archive, bucket, *conninfo(primary), *to, *signed).stderr
    end = held_end(archive, name)
    content = decrypted(bucket.get(key_of(name) + ".age"), keys[0])
    assert len(content) == primary.segment_size and not content[wal.lsn(end) % primary.segment_size:].strip(b"\0")
    for more in ([], ["--deep", "--identity", keys[0].file]):
        verified = store_verify(bucket, *public, *more)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert f"{name}.age: padded after {end}" in verified.stdout
    asked = pgweir("restore", *words(bucket), "--identity", keys[0].file, name, place / "RECOVERYXLOG", env=ENVIRONMENT)
    assert asked.returncode == 0 and (place / "RECOVERYXLOG").read_bytes() == content, asked.stderr

    primary.start()
    streaming(primary)
    reported(primary, primary.switch_wal())
    wait_for(lambda: any(path.name == name for path in archive.finished().values()), "it to be finished")
    receiver.stop()
    # Who cannot compare them leaves it, and says so.
    said = push(archive, bucket, *to, status=4).stderr
    assert "a padded segment is in the store and cannot be compared" in said
    assert decrypted(bucket.get(key_of(name) + ".age"), keys[0]) == content
    push(archive, bucket, *to, *signed)
    assert decrypted(bucket.get(key_of(name) + ".age"), keys[0]) == (archive.path / name).read_bytes()
    verified = store_verify(bucket, *public, "--deep", "--identity", keys[0].file)
    assert verified.returncode == 0 and "padded" not in verified.stdout, verified.stdout + verified.stderr


def test_other_wal_under_its_name_is_a_conflict(servers, receivers, new_archive, bucket):
    """Both ways: what is published meets another's segment, and another's segment what is published."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    primary.stop("immediate")
    receiver.stop()
    push(archive, bucket)
    partial, = archive.partials().values()
    name = partial.name[:24]
    sound = archive.content(partial)
    wrong = bytearray(sound)
    wrong[200] ^= 1
    bucket.put(key_of(name), bytes(wrong))
    said = publish(archive, bucket, *conninfo(primary), status=4).stderr
    assert "different WAL under the partial segment's name" in said and bucket.get(key_of(name)) == bytes(wrong)

    bucket.remove(key_of(name))
    publish(archive, bucket, *conninfo(primary))
    held = bucket.get(key_of(name))
    primary.start()
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.switch_wal())
    wait_for(lambda: any(path.name == name for path in archive.finished().values()), "it to be finished")
    receiver.stop()
    changed = bytearray(held)
    changed[300] ^= 1
    _put_padded(bucket, key_of(name), bytes(changed), held_end(archive, name))
    failed = push(archive, bucket, status=4)
    assert "different WAL under a segment's name" in failed.stderr and bucket.get(key_of(name)) == bytes(changed)


def held_end(archive, name):
    return json.loads((archive.path / f".pgweir-published-{name}").read_text())["end"]


def _put_padded(bucket, key, content, end):
    bucket.request("PUT", key, body=content, headers={"x-amz-meta-pgweir-padded-from": end})


def test_damage_and_what_is_before_it(servers, receivers, new_archive, bucket, place):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    primary.stop("immediate")
    receiver.stop()
    said = publish(archive, bucket, *conninfo(primary), status=3).stderr
    assert "the store lacks a file that precedes the partial segment" in said and "store push" in said

    # A receiver that was killed has left two partial files. What the hint says helps.
    partial, = archive.partials().values()
    before = max(archive.finished().values(), key=lambda path: path.name)
    os.rename(before, f"{before}.partial")
    push(archive, bucket)
    said = publish(archive, bucket, *conninfo(primary), status=3).stderr
    assert f"The archive has it as {before.name}.partial" in said and "import --extend" in said
    shutil.copy(f"{before}.partial", place / before.name)
    assert pgweir("import", "-D", archive.path, "--extend", place / before.name).returncode == 0
    push(archive, bucket)

    content = partial.read_bytes()
    broken = bytearray(content)
    broken[100] ^= 1
    partial.write_bytes(broken)
    assert publish(archive, bucket, *conninfo(primary), status=4).stderr.count("partial segment") >= 1
    assert not [key for key in bucket.keys() if partial.name[:24] in key]
    partial.write_bytes(content)
    assert publish(archive, bucket, *conninfo(primary)).stdout.startswith("published ")
    assert os.path.exists(archive.path / f".pgweir-published-{partial.name[:24]}")


def test_from_what_the_bucket_has_of_it(servers, receivers, new_archive, bucket, place):
    """The archiver's disk is gone, too: `--store-partial-interval` has sent the open segment's front."""
    primary = servers.primary()
    primary.sql("CREATE TABLE numbers (i bigint)")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.start(
        receive_command(archive.path, primary.conninfo(), "-S", "archive", *words(bucket), "--store-partial-interval", "1s"),
        env=ENVIRONMENT)
    streaming(primary)
    backup = base_backup(primary, place / "base")
    primary.sql("INSERT INTO numbers VALUES (1)")
    primary.switch_wal()
    primary.sql("INSERT INTO numbers VALUES (2)")
    end = primary.flushed()
    name = wal.segment_name(1, end // primary.segment_size, primary.segment_size)

    def sent():
        ends = [key.rsplit("/", 1)[1].split(".")[1] for key in bucket.keys("p/main/open/") if name in key]
        return any(int(each, 16) >= end for each in ends)

    wait_for(sent, "the open segment's front to be in the bucket")
    # (Several are sent at once: the last one may be there before others are.)
    finished = {wal.segment_name(*segment, primary.segment_size) for segment in archive.finished()}
    wait_for(lambda: all(any(each in key for key in bucket.keys("p/main/wals/")) for each in finished),
             "the finished ones to be there")
    primary.kill9()
    receiver.kill9()
    shutil.rmtree(archive.path)
    said = store("publish-partial", bucket, "-d", primary.conninfo(), "-S", "archive").stdout
    assert said.startswith(f"published {name} up to "), said
    assert wal.lsn(said.split(" up to ")[1].split()[0]) >= end
    recovered = recover(servers, backup, "recovered", primary, barman(bucket))
    assert numbers(recovered) == {1, 2}
