"""Azure Blob Storage: what it does otherwise than S3, with Microsoft's emulator, Azurite, and a proxy for what the emulator
does not do. (What it has in common with S3 is in the other tests of the store, of_both.)"""

import base64
import concurrent.futures
import hashlib
import zlib

import pytest

from support.azure import Azurite
from support.fault_proxy import FaultProxy
from support.receiver import pgweir
from test_store import (KEYS, archive, assert_stored, azurite, filled, files_of, key_of, keys_of, push,  # noqa: F401
                        store)

BOM = "\ufeff"


@pytest.fixture
def bucket(azurite):  # noqa: F811
    return azurite.bucket()


@pytest.fixture
def proxy(azurite):  # noqa: F811
    started = FaultProxy(azurite.port)
    yield started
    started.stop()


def error(status, code, detail=""):
    """As the service writes it, which the emulator does not: with a byte order mark."""
    body = f'{BOM}<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>Words.{detail}</Message></Error>'
    return status, [("x-ms-error-code", code)], body


def by_sas(rights, bucket):
    """The environment of a program that has this shared access signature only."""
    return {"AZURE_STORAGE_ACCOUNT": Azurite.account, "AZURE_STORAGE_SAS_TOKEN": "?" + bucket.gateway.sas(rights, bucket.name)}


def names_of(archive):
    return sorted(path.name[:24] for path in archive.finished().values())


def test_answers_are_lost_and_requests_throttled(archive, bucket, proxy):
    """Each request meets two faults and then none, however requests are interleaved: so this ends."""
    seen, met = {}, set()

    def decide(request):
        faults = [error(503, "ServerBusy"), "reset"]
        if request.method == "PUT" and "/wals/" in request.path:
            faults.append("lost")
        count = seen[request.method, request.path] = seen.get((request.method, request.path), -1) + 1
        if count >= 2:
            return None
        fault = faults[(zlib.crc32(request.path.encode()) + count) % len(faults)]
        met.add(str(fault))
        return fault

    proxy.decide = decide
    push(archive, bucket, "--store-jobs", "2", endpoint=proxy.url)
    proxy.decide = lambda request: None
    assert_stored(archive, bucket)
    assert len(met) == 3, met
    for request in proxy.requests:
        if request.method == "PUT":
            assert request.headers["Content-MD5"] == base64.b64encode(hashlib.md5(request.body).digest()).decode()
            assert "Transfer-Encoding" not in request.headers
            assert request.headers["x-ms-blob-type"] == "BlockBlob" and "comp=block" not in request.path


def test_trouble_is_never_absence(archive, bucket, proxy, place):
    push(archive, bucket)
    name = names_of(archive)[0]
    listing = '<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs/><NextMarker>{}</NextMarker></EnumerationResults>'
    for answer, status, told in (
            (error(503, "ServerBusy"), 3, "ServerBusy"),
            (error(500, "OperationTimedOut"), 3, "OperationTimedOut"),
            (error(403, "AuthorizationFailure"), 4, "firewall"),
            (error(403, "AuthorizationPermissionMismatch"), 4, "shared access signature"),
            (error(401, "NoAuthenticationInformation"), 4, "NoAuthenticationInformation"),
            (error(404, "ContainerNotFound"), 4, "Create the container first"),
            (error(400, "InvalidHeaderValue"), 4, "--store-api-version"),
            ((200, [], ""), 3, "200"),
            ((200, [], listing.format("nowhere")), 3, "lists none"),
            ("reset", 3, ""), ("half", 3, "")):
        proxy.decide = lambda request: answer
        target = place / "target"
        for verb, words in (("ls", []), ("get", [name, target])):
            result = store(verb, bucket, *words, endpoint=proxy.url, status=status)
            assert told in result.stderr, (verb, answer, result.stderr)
            assert not target.exists()
    # An empty page may lead on, and begin with a byte order mark. (A marker of the emulator is a name.)
    proxy.decide = lambda request: (200, [], BOM + listing.format("!")) if "comp=list" in request.path and \
        "marker" not in request.path else None
    listed = store("ls", bucket, endpoint=proxy.url)
    assert sorted(listed.stdout.split()[1::2]) == sorted(files_of(archive))
    assert any("marker=" in request.path for request in proxy.requests)


def test_refusals_say_why(archive, bucket):
    wrong = {**KEYS, "AZURE_STORAGE_KEY": base64.b64encode(b"wrong").decode()}
    result = push(archive, bucket, env=wrong, status=4)
    assert "wrong key" in result.stderr and wrong["AZURE_STORAGE_KEY"] not in result.stderr, result.stderr
    result = push(archive, bucket, env={"AZURE_STORAGE_ACCOUNT": Azurite.account, "AZURE_STORAGE_KEY": "not base64!"}, status=2)
    assert "not valid base64" in result.stderr and "not base64!" not in result.stderr, result.stderr
    result = push(archive, bucket, env={"AZURE_STORAGE_KEY": Azurite.key}, status=2)
    assert "no Azure storage account is specified" in result.stderr and "AZURE_STORAGE_ACCOUNT" in result.stderr
    result = push(archive, bucket, "--store-sse", "AES256", status=2)
    assert "--store-sse does not apply to azure://" in result.stderr
    assert not keys_of(bucket)


@pytest.mark.parametrize("rights, missing", [("rcw", "l (list)"), ("lcw", "r (read)"), ("rl", "c (create)")])
def test_the_missing_right_is_named(bucket, rights, missing):
    checked = store("check", bucket, env=by_sas(rights, bucket), status=1)
    assert "AuthorizationPermissionMismatch" in checked.stdout and missing in checked.stdout, checked.stdout


def test_a_signature_that_may_not_remove_archives_all_the_same(archive, bucket, place):
    """Read, create, list and write: nothing is removed."""
    env = by_sas("rclw", bucket)
    checked = store("check", bucket, env=env)
    assert "objects can be stored, and are never overwritten" in checked.stdout
    assert "objects cannot be removed" in checked.stdout and "d (delete)" in checked.stdout, checked.stdout
    assert "rules of the account or bucket cannot be read" in checked.stdout
    for key in keys_of(bucket):
        bucket.remove(key)
    push(archive, bucket, env=env)
    for key in [key for key in keys_of(bucket) if "pgweir-probe" in key]:
        bucket.remove(key)
    assert_stored(archive, bucket)
    name = names_of(archive)[0]
    store("get", bucket, name, place / "segment", env=env)
    refused = pgweir("prune", "--store", f"{bucket.url}/p", "--store-endpoint", bucket.gateway.url, "--store-name", "main",
                     "--keep-from", names_of(archive)[1], env={"HOME": "/nonexistent", **env})
    assert refused.returncode == 1, refused.stderr
    assert any(name in key for key in keys_of(bucket))


def test_an_append_only_signature_is_enough(archive, bucket, place):
    """Read, create and list: nothing is replaced and nothing removed, the manifest included."""
    env = by_sas("rcl", bucket)
    for key in keys_of(bucket):
        bucket.remove(key)
    names = sorted(path.name for path in archive.finished().values())
    later = archive.path / names[-1]
    kept = later.read_bytes()
    later.unlink()
    said = push(archive, bucket, env=env).stderr
    # Another one comes: its line would replace the newest object of the manifest, if earlier ones did not.
    later.write_bytes(kept)
    said += push(archive, bucket, env=env).stderr
    assert said.count("the manifest's newest object cannot be replaced (AuthorizationPermissionMismatch)") == 1, said
    said = push(archive, bucket, env=env).stderr
    assert "manifest" not in said, said
    stored = {key: bucket.get(key) for key in bucket.keys() if "/wals/" in key}
    assert stored == {key_of(name): (archive.path / name).read_bytes() for name in files_of(archive)}
    # Lines that wait for their object are not missing from the manifest.
    verified = pgweir("verify", "-D", archive.path, "--store", f"{bucket.url}/p", "--store-endpoint", bucket.gateway.url,
                      "--store-name", "main", env={"HOME": "/nonexistent", **env}).stdout
    assert "listed objects are in the store" in verified and "FOUND" not in verified, verified
    # What was sent is not sent again without the mark, either.
    (archive.path / ".pgweir-store").unlink()
    assert push(archive, bucket, env=env).stdout.startswith("sent 0 segments, ")
    checked = store("check", bucket, "-D", archive.path, env=env)
    assert f"{len(names)} of {len(names)} complete segments are in the store" in checked.stdout, checked.stdout


def test_credentials_come_from_a_file(archive, bucket, place):
    keys = place / "keys"
    keys.write_text(f"[storage]\naccount = {Azurite.account}\nkey = {Azurite.key}\n")
    keys.chmod(0o600)
    endpoint = f"{bucket.gateway.url}/{Azurite.account}"
    push(archive, bucket, "--store-credentials", keys, endpoint=endpoint, env=None)
    assert_stored(archive, bucket)
    keys.write_text(f"[storage]\nsas_token = {bucket.gateway.sas('rl', bucket.name)}\n")
    listed = store("ls", bucket, "--store-credentials", keys, endpoint=endpoint, env=None)
    assert sorted(listed.stdout.split()[1::2]) == sorted(files_of(archive))
    connection = {"AZURE_STORAGE_CONNECTION_STRING":
                  f"AccountName={Azurite.account};AccountKey={Azurite.key};BlobEndpoint={endpoint};"}
    result = pgweir("store", "ls", "--store", f"{bucket.url}/p", "--store-name", "main", env={"HOME": "/nonexistent", **connection})
    assert result.returncode == 0 and result.stdout == listed.stdout, result.stderr
    # One that has ended.
    ended = {"AZURE_STORAGE_ACCOUNT": Azurite.account, "AZURE_STORAGE_SAS_TOKEN": bucket.gateway.sas("rl", bucket.name, -60)}
    said = store("ls", bucket, env=ended, status=4).stderr
    assert "sig=" not in said and "403" in said, said


def test_a_token_of_the_machine_is_sent(bucket, proxy):
    """The emulator takes tokens over TLS only: what is sent is looked at, and nobody is asked behind the proxy."""
    def decide(request):
        if request.path.startswith("/metadata/identity/oauth2/token?"):
            assert request.headers["Metadata"] == "true"
            return 200, [], '{"access_token": "the-token", "expires_in": "3600", "token_type": "Bearer"}'
        return error(403, "AuthorizationPermissionMismatch")

    proxy.decide = decide
    env = {"AZURE_STORAGE_ACCOUNT": Azurite.account, "AZURE_POD_IDENTITY_AUTHORITY_HOST": proxy.url}
    said = store("ls", bucket, endpoint=proxy.url, env=env, status=4).stderr
    assert "AuthorizationPermissionMismatch" in said and "the-token" not in said
    assert [request.headers.get("Authorization") for request in proxy.requests] == [None, "Bearer the-token"]
    assert proxy.requests[1].headers["x-ms-version"] == "2023-11-03"


def test_a_listing_of_several_pages(archive, bucket):
    """More than a page of the listing (1,000), and more than one of the emulator's."""
    names = [f"p/main/wals/0000000100000000/0000000100000000{count + 0x100:08X}" for count in range(1100)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bucket.put(name, b""), names))
    listed = store("ls", bucket)
    assert len(listed.stdout.split()) == 2 * 1100
