"""Google Cloud Storage: signatures, tokens and conditions on generations, with a stand-in that was written for these tests
(support/google.py): the real service has not been tested."""

import pytest

from support.google import Google
from support.receiver import pgweir
from test_store import archive, filled, files_of, key_of  # noqa: F401

HMAC = {"AWS_ACCESS_KEY_ID": Google.key, "AWS_SECRET_ACCESS_KEY": Google.secret}


@pytest.fixture
def google():
    started = Google()
    yield started
    started.stop()


def store(google, verb, *arguments, env=HMAC, status=0):
    result = pgweir("store", verb, "--store", "gs://wal/p", "--store-endpoint", google.url, "--store-name", "main", *arguments,
                    env={"HOME": "/nonexistent", **env})
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    return result


def push(archive, google, *arguments, **options):
    return store(google, "push", "-D", archive.path, "--no-progress", *arguments, **options)


def segments_of(archive):
    return sorted(path.name for path in archive.finished().values())


def test_segments_are_sent_once_and_read_back(archive, google, place):
    push(archive, google)
    for name in files_of(archive):
        _, content, metadata = google.objects[f"wal/{key_of(name)}"]
        assert content == (archive.path / name).read_bytes(), name
        assert name.endswith(".history") or metadata["x-goog-meta-pgweir-system-id"].isdigit()
    generations = {key: each[0] for key, each in google.objects.items() if "/wals/" in key}
    (archive.path / ".pgweir-store").unlink()
    push(archive, google)
    assert generations == {key: each[0] for key, each in google.objects.items() if "/wals/" in key}, "nothing was put again"
    puts = [headers for method, name, _, headers in google.asked if method == "PUT"]
    assert puts and all("x-goog-if-generation-match" in headers for headers in puts)
    assert all("If-None-Match" not in headers and "If-Match" not in headers for headers in puts)
    # Each line of the manifest replaces the newest object as it was seen.
    assert any(headers["x-goog-if-generation-match"] != "0" for headers in puts)
    first = segments_of(archive)[0]
    store(google, "get", first[:24], place / "segment")
    checked = store(google, "check", "-D", archive.path)
    assert "objects can be stored, and are never overwritten" in checked.stdout
    assert f"{len(archive.finished())} by size and MD5" in checked.stdout, checked.stdout
    verified = pgweir("verify", "--store", "gs://wal/p", "--store-endpoint", google.url, "--store-name", "main",
                      env={"HOME": "/nonexistent", **HMAC})
    assert verified.returncode == 0, verified.stderr


def test_the_next_run_continues_the_manifest(archive, google):
    later = archive.path / segments_of(archive)[-1]
    kept = later.read_bytes()
    later.unlink()
    push(archive, google)
    later.write_bytes(kept)
    assert "cannot be replaced" not in push(archive, google).stderr
    assert len([key for key in google.objects if "/manifest/" in key]) == 1, google.objects.keys()


def test_other_wal_is_never_overwritten(archive, google):
    name = segments_of(archive)[1]
    google.objects[f"wal/{key_of(name)}"] = (7, b"another program's", {})
    google.generation = 7
    result = push(archive, google, status=4)
    assert "the store has different WAL under a segment's name" in result.stderr
    assert google.objects[f"wal/{key_of(name)}"][1] == b"another program's"


def test_without_the_right_to_delete(archive, google):
    """Google then refuses to replace an object, whatever the condition is."""
    google.may_delete = False
    later = archive.path / segments_of(archive)[-1]
    kept = later.read_bytes()
    later.unlink()
    said = push(archive, google).stderr
    later.write_bytes(kept)
    said += push(archive, google).stderr
    assert said.count("the manifest's newest object cannot be replaced (AccessDenied)") == 1, said
    for name in files_of(archive):
        assert google.objects[f"wal/{key_of(name)}"][1] == (archive.path / name).read_bytes(), name
    (archive.path / ".pgweir-store").unlink()
    assert push(archive, google).stdout.startswith("sent 0 segments, ")
    checked = store(google, "check")
    assert "objects can be stored, and are never overwritten" in checked.stdout
    assert "storage.objects.delete" in checked.stdout, checked.stdout


def test_credentials(archive, google, place):
    said = store(google, "ls", env={**HMAC, "AWS_SECRET_ACCESS_KEY": "wrong"}, status=4).stderr
    assert "SignatureDoesNotMatch" in said
    push(archive, google, "--store-credential-command", f"echo {google.token}", env={})
    assert {headers["Authorization"] for method, _, _, headers in google.asked if method == "PUT"} == {f"Bearer {google.token}"}
    keys = place / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {google.key}\naws_secret_access_key = {google.secret}\n")
    keys.chmod(0o600)
    store(google, "ls", "--store-credentials", keys, env={})
    said = store(google, "ls", env={"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}, status=2).stderr
    assert "is not supported" in said
    said = push(archive, google, "--store-lock", "1d", status=2).stderr
    assert "do not apply to Google Cloud Storage" in said
