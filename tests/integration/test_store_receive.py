"""`receive --store` and `store push --follow`: a receiver sends what it has finished to a real Ceph gateway, whatever
happens to either of them, and removes what is there (`--local-retention`)."""

import datetime
import email.utils
import json
import os
import pathlib
import random
import re
import signal
import shutil
import threading
import time

import pytest

from support import wal
from support.azure import Azurite
from support.browser import Browser, installed
from support.gateway import Gateway
from support.process import PATIENCE, preload, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import base_backup
from support.scenario import promote_again, reported, streaming
from support.server import free_port
from test_store import KEYS, azurite, bucket, ceph, gateway, of_both, proxy  # noqa: F401

pytestmark = pytest.mark.in_memory

SEED = int(os.environ.get("PGWEIR_SEED", "17"))
KILLS = int(os.environ.get("PGWEIR_KILLS", "5"))
ENVIRONMENT = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **KEYS}


def options(bucket, *more, endpoint=None):
    return ["--store", f"{bucket.url}/p", "--store-endpoint", endpoint or bucket.gateway.url, "--store-name",
            "main", *more]


def key_of(name):
    return "p/main/wals/" + (name if name.endswith(".history") else f"{name[:16]}/{name}")


def stored(bucket):
    """{plain name: key} of the segments; each is there in one form."""
    found = {}
    for key in bucket.keys("p/main/wals/"):
        name = key.rsplit("/", 1)[1]
        if re.match(r"[0-9A-F]{24}", name):
            assert name[:24] not in found, f"{name} is there twice"
            found[name[:24]] = key
    return found


def all_stored(archive, bucket):
    """Everything that is finished here is there, equal. Waits for it."""
    wait_for(lambda: {path.name[:24] for path in archive.finished().values()} <= set(stored(bucket)),
             "the store to have what is finished", interval=0.2)
    there = stored(bucket)
    for path in archive.finished().values():
        assert bucket.get(there[path.name[:24]]) == path.read_bytes(), path.name


def status(archive):
    return json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["store"]


def load(server, megabytes=3):
    server.write_wal(megabytes)
    return server.switch_wal()


def maps(process):
    return pathlib.Path(f"/proc/{process.pid}/maps").read_text()


def test_a_receivers_state_is_not_older_than_the_wait_for_the_store(servers, receivers, new_archive, bucket, proxy):
    """A store that hangs takes seconds: what the receiver does meanwhile is shown."""
    server = servers.primary()
    archive = new_archive(server)
    receivers.pgweir(archive, server, *options(bucket), env=ENVIRONMENT)
    streaming(server)
    asked = []

    def hang(request):
        asked.append(time.time())
        return "hang"

    proxy.decide = hang
    finished = pgweir("status", "-D", archive.path, "--json", *options(bucket, endpoint=proxy.url), env=ENVIRONMENT)
    assert finished.returncode == 3, finished
    receiver = json.loads(finished.stdout)["receiver"]
    last = datetime.datetime.strptime(receiver["last_message"], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=datetime.timezone.utc)
    # When the receiver answered: its last message, and how long ago that was by then.
    assert last.timestamp() + receiver["silence_ms"] / 1000 > asked[0], finished.stdout


@of_both
def test_what_is_finished_is_in_the_store(servers, receivers, new_archive, bucket, place):
    server = servers.primary()
    archive = new_archive(server)
    figures = place / "pgweir.prom"
    receiver = receivers.pgweir(archive, server, "--compress", "zstd", "--metrics-file", figures, "--metrics-interval",
                                "1s", *options(bucket), env=ENVIRONMENT)
    streaming(server)
    end = load(server, 4)
    archive.wait_covers(server, 1, end)
    archive.wait_finished(1, end // server.segment_size - 1)
    wait_for(lambda: all(path.suffix == ".zst" for path in archive.finished().values()), "all to be compressed")
    all_stored(archive, bucket)
    wait_for(lambda: status(archive)["pending_segments"] == 0, "the status to say so")
    told = status(archive)
    last = max(path.name[:24] for path in archive.finished().values())
    assert told["sent_to"] == last and told["last_error"] is None and told["oldest_pending_seconds"] is None, told
    assert f"all is there, up to {last}" in pgweir("status", "-D", archive.path).stdout
    figure = re.compile(r"^pgweir_store_lsn_bytes\{.*\} (\S+)$", re.MULTILINE)
    sent = wal.lsn(told["sent_lsn"])
    a_log = (1 << 32) // server.segment_size
    assert sent == (int(last[8:16], 16) * a_log + int(last[16:], 16) + 1) * server.segment_size, "the last one's end"
    wait_for(lambda: [float(value) for value in figure.findall(figures.read_text())] == [sent],
             "the metrics to say so")
    assert "libcurl" in maps(receiver.process)
    receiver.stop()
    assert Gateway.secret not in receiver.said() and Azurite.key not in receiver.said()
    # Without the option nobody loads it.
    receiver = receivers.pgweir(archive, server, env=ENVIRONMENT)
    streaming(server)
    assert "libcurl" not in maps(receiver.process)
    receiver.stop()


def test_a_store_that_is_away_is_in_nobodys_way(servers, receivers, new_archive, bucket, proxy):
    server = servers.primary()
    archive = new_archive(server)
    proxy.decide = lambda request: (503, [], "<Error><Code>SlowDown</Code></Error>")
    receiver = receivers.pgweir(archive, server, *options(bucket, endpoint=proxy.url), env=ENVIRONMENT)
    streaming(server)
    end = load(server)
    reported(server, end)
    archive.wait_covers(server, 1, end)
    receiver.wait_log("finished WAL is not sent to the store: .*SlowDown.*archiving continues")
    behind = wait_for(lambda: (lambda told: told if told["pending_segments"] >= 3 else None)(status(archive)),
                      "the status to tell the backlog")
    assert behind["pending_bytes"] == behind["pending_segments"] * server.segment_size
    assert behind["reason"] == "throttled" and not behind["needs_person"] and behind["pending_since"], behind
    text = pgweir("status", "-D", archive.path).stdout
    assert "behind, the oldest since" in text and "WARNING: since" in text, text
    assert pgweir("status", "-D", archive.path, "--check").returncode == 1
    # A prune keeps what is to be uploaded, even if nothing has been so far.
    here = [path.name for path in archive.finished().values()]
    kept = pgweir("prune", "-D", archive.path, "--keep-from", max(here)[:24])
    assert kept.returncode == 0 and f"because {min(here)[:24]} has not been uploaded to " in kept.stderr, kept
    assert set(here) <= {path.name for path in archive.finished().values()}

    proxy.decide = lambda request: (403, [], "<Error><Code>AccessDenied</Code></Error>")
    receiver.wait_log("AccessDenied")
    wait_for(lambda: status(archive)["needs_person"], "the status to call for a person")
    assert pgweir("status", "-D", archive.path, "--check").returncode == 2
    end = load(server)
    reported(server, end)

    taken = []
    proxy.decide = taken.append  # and passed on
    archive.wait_covers(server, 1, end)
    archive.wait_finished(1, end // server.segment_size - 1)
    wait_for(lambda: status(archive)["pending_segments"] == 0, "the store to have all of it")
    all_stored(archive, bucket)
    receiver.wait_log("the store accepts WAL again")
    # The oldest first, and a little beside each other.
    order = [request.path.rsplit("/", 1)[1] for request in taken
             if request.method == "PUT" and "/wals/" in request.path]
    assert sorted(order) == sorted(set(order)) == [path.name for path in archive.finished().values()]
    for place_in_order, name in enumerate(order):
        # (The others of the four that are sent at once may be older, however long each takes.)
        assert sum(later < name for later in order[place_in_order:]) <= 3, order
    receiver.stop()


def test_what_waits_gets_older_if_the_clock_is_set_back(servers, receivers, new_archive, bucket, proxy, place):
    server = servers.primary()
    archive = new_archive(server)
    control = place / "clock"
    proxy.decide = lambda request: (503, [], "<Error><Code>SlowDown</Code></Error>")
    receiver = receivers.pgweir(archive, server, *options(bucket, endpoint=proxy.url),
                                env={**ENVIRONMENT, "LD_PRELOAD": str(preload(place, "jumping_clock.c")),
                                     "PGWEIR_TEST_CLOCK": str(control)})
    streaming(server)
    load(server)

    def since():
        return status(archive).get("pending_since")

    wait_for(since, "the oldest to be known")
    (place / "clock.new").write_text("-86400")
    (place / "clock.new").rename(control)
    # Not later than the receiver's time.
    half_a_day_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=12)
    wait_for(lambda: since() < half_a_day_ago.strftime("%Y-%m-%d %H:%M:%S"), "the oldest to be no younger than now")
    receiver.stop()


def test_a_store_that_hangs_holds_up_no_end(servers, receivers, new_archive, bucket, proxy):
    server = servers.primary()
    archive = new_archive(server)
    asked, release = threading.Event(), threading.Event()

    def decide(_):
        asked.set()
        release.wait(60)

    proxy.decide = decide
    receiver = receivers.pgweir(archive, server, *options(bucket, endpoint=proxy.url), env=ENVIRONMENT)
    streaming(server)
    end = load(server)
    reported(server, end)
    wait_for(asked.is_set, "a request to hang")
    receiver.stop(deadline=25)
    release.set()


def test_faults_of_every_kind(servers, receivers, new_archive, bucket, proxy):
    """A third of the requests: each finished segment is there once all the same, and equal."""
    server = servers.primary()
    archive = new_archive(server)
    dice = random.Random(SEED)
    hour_ahead = email.utils.formatdate(time.time() + 3600, usegmt=True)
    faults = ["lost", "lost", "reset", "half", (503, [], "<Error><Code>SlowDown</Code></Error>"),
              (200, [], "<Error><Code>InternalError</Code></Error>"),
              (403, [], "<Error><Code>ExpiredToken</Code></Error>"),
              (403, [("Date", hour_ahead)], "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
              (409, [], "<Error><Code>OperationAborted</Code></Error>"), (500, [], "")]
    # Something on the way says that it is done.
    lie = (200, [], "")
    proxy.decide = lambda request: (None if dice.random() < 2 / 3
                                    else dice.choice([*faults, lie] if request.method == "PUT" else faults))
    receiver = receivers.pgweir(archive, server, *options(bucket, endpoint=proxy.url), env=ENVIRONMENT)
    streaming(server)
    for _ in range(3):
        end = load(server, 2)
        reported(server, end)
    archive.wait_covers(server, 1, end)
    wait_for(lambda: status(archive)["pending_segments"] == 0, "the store to have all of it", 3 * PATIENCE)
    all_stored(archive, bucket)
    receiver.stop()


def test_other_wal_in_the_store_is_a_conflict_and_archiving_goes_on(servers, receivers, new_archive, bucket):
    server = servers.primary()
    archive = new_archive(server)
    position = server.flushed()
    taken = wal.segment_name(1, position // server.segment_size + 1, server.segment_size)
    bucket.put(key_of(taken), b"somebody else's")
    receiver = receivers.pgweir(archive, server, *options(bucket), env=ENVIRONMENT)
    streaming(server)
    end = load(server, 4)
    receiver.wait_log(f"{taken} is not sent to the store, nor is later WAL of its timeline: the store has different WAL")
    reported(server, end)
    archive.wait_covers(server, 1, end)
    told = status(archive)
    assert told["needs_person"] and told["reason"] == "conflict", told
    assert key_of(taken) in told["last_error"] and str(archive.path / taken) in told["last_error"]
    assert bucket.get(key_of(taken)) == b"somebody else's"
    bucket.remove(key_of(taken))
    all_stored(archive, bucket)
    receiver.stop()


def test_killed_at_any_moment(servers, receivers, new_archive, bucket, gateway):
    """Receiver and gateway, under load: each finished segment is there once, and equal."""
    server = servers.primary()
    archive = new_archive(server)
    server.sql("SELECT pg_create_physical_replication_slot('weir', true)")
    dice = random.Random(SEED)
    for turn in range(KILLS):
        receiver = receivers.pgweir(archive, server, "-S", "weir", *options(bucket), env=ENVIRONMENT)
        streaming(server)
        before = len(archive.finished())
        load(server, 4)
        wait_for(lambda: len(archive.finished()) >= before + dice.randrange(1, 5), "segments to be finished")
        if turn % 10 == 2:
            gateway.kill_front()
            load(server, 2)
        receiver.kill9()
        if turn % 10 == 2:
            gateway.start_front()
    receiver = receivers.pgweir(archive, server, "-S", "weir", *options(bucket), env=ENVIRONMENT)
    end = load(server)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    archive.assert_same_wal(server)
    receiver.stop()


def test_what_the_store_has_need_not_stay(servers, receivers, new_archive, bucket):
    server = servers.primary()
    archive = new_archive(server)
    server.sql("SELECT pg_create_physical_replication_slot('weir', true)")
    contents = {}

    def remember():
        for path in archive.finished().values():
            try:
                contents[path.name] = path.read_bytes()
            except FileNotFoundError:
                pass  # it is in the store, or the test fails below
        return contents

    receiver = receivers.pgweir(archive, server, "-S", "weir", *options(bucket, "--local-retention", "2MB"),
                                env=ENVIRONMENT)
    streaming(server)
    for _ in range(3):
        end = load(server, 3)
        archive.wait_covers(server, 1, end)
        remember()
    archive.wait_finished(1, end // server.segment_size - 1)
    wait_for(lambda: len(archive.finished()) <= 2, "what is in the store to be removed")
    left = sorted(path.name for path in archive.finished().values())
    last = end // server.segment_size - 1
    assert left[-1] == wal.segment_name(1, last, server.segment_size), "the newest stays"
    there = stored(bucket)
    assert len(there) >= 9
    for name, content in contents.items():
        assert bucket.get(there[name[:24]]) == content
    wait_for(lambda: status(archive)["removed_files"] >= 7, "the removals to be told")
    receiver.stop()
    # What is left is enough to go on from.
    receiver = receivers.pgweir(archive, server, "-S", "weir", *options(bucket), env=ENVIRONMENT)
    end = load(server)
    reported(server, end)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    receiver.stop()


def test_a_hole_of_what_only_the_store_had_stays_known(servers, receivers, new_archive, bucket):
    """The directory alone begins after it."""
    server = servers.primary()
    archive = new_archive(server)
    server.sql("SELECT pg_create_physical_replication_slot('weir', true)")

    def holes():
        told = json.loads(pgweir("status", *options(bucket), "--json", env=ENVIRONMENT).stdout)
        return [(hole["from"], hole["to"]) for hole in told["holes"]]

    def receive(*more):
        return receivers.pgweir(archive, server, "-S", "weir", *options(bucket, "--local-retention", "2MB"), *more,
                                env=ENVIRONMENT)

    receiver = receive()
    streaming(server)
    end = load(server, 6)
    archive.wait_covers(server, 1, end)
    wait_for(lambda: len(archive.finished()) <= 2, "what is in the store to be removed")
    receiver.stop()
    there = stored(bucket)
    second, third = sorted(there)[1:3]
    start = wal.parse_segment(second, server.segment_size)[1] * server.segment_size
    # It ends later when the store has lost more; its name stays.
    for size, name in ((1, second), (2, third)):
        bucket.remove(there[name])
        hole = (wal.lsn_text(start), wal.lsn_text(start + size * server.segment_size))
        receiver = receive()
        wait_for(lambda hole=hole: holes() == [hole], "the hole to be recorded in the store")
        end = load(server)
        archive.wait_covers(server, 1, end)
        wait_for(lambda: len(archive.finished()) <= 2, "what is in the store to be removed")
        receiver.stop()
    assert min(path.name for path in archive.finished().values()) > third
    check = pgweir("status", *options(bucket), "--check", env=ENVIRONMENT)
    assert check.returncode == 2 and "2 segments missing" in check.stdout, (check.stdout, check.stderr)


def test_the_page_tells_what_only_the_store_has(servers, receivers, new_archive, bucket, proxy, place):
    if not installed():
        pytest.skip("no chromium and chromium-driver (scripts/setup)")
    server = servers.primary()
    archive = new_archive(server)
    server.sql("SELECT pg_create_physical_replication_slot('weir', true)")
    port = free_port()
    receiver = receivers.pgweir(archive, server, "-S", "weir", "--web-listen", str(port), "--backups", place / "backups",
                                *options(bucket, "--local-retention", "2MB", endpoint=proxy.url), env=ENVIRONMENT)
    streaming(server)
    (place / "backups").mkdir()
    reported(server, load(server, 2))
    base_backup(server, place / "backups" / "sunday")
    promote_again(server)  # what timeline 1 had is soon in the store alone
    end = load(server, 6)
    archive.wait_covers(server, 2, end)
    wait_for(lambda: len(archive.finished()) <= 2, "what is in the store to be removed")

    def row(timeline, *more):
        told = json.loads(pgweir("status", "-D", archive.path, "--json", *more, env=ENVIRONMENT).stdout)
        one, = [each for each in told["timelines"] if each["timeline"] == timeline]
        return one, told

    wait_for(lambda: row(1)[0]["only_stored"], "the mark to tell it")
    # By the directory's mark and by asking the store: the same.
    for more in ((), options(bucket)):
        gone, told = row(1, *more)
        assert sum(each["segments"] for each in gone["only_stored"]) >= 2, gone
        assert told["holes"] == [] and row(2, *more)[0]["only_stored"], told
    text = pgweir("status", "-D", archive.path, env={"LC_ALL": "C.UTF-8"}).stdout
    assert "only in the object store: 0/" in text and "▒ in the object store alone" in text, text
    assert "with \"pgweir restore --store\" one that began at 0/" in text

    browser = Browser(place)
    try:
        browser.size(1280, 900)
        browser.open(f"http://127.0.0.1:{port}/")
        wait_for(lambda: browser.text("#verdict .word") == "OK", "the page")
        wait_for(lambda: any("in the object store alone" in each for each in browser.says("#tree-x")), "the tree")
        assert "in the object store alone" in browser.text("#timelines .legend")
        sunday, = [each for each in browser.says("#tree-x") if "sunday" in each]
        assert "recoverable up to" in sunday and "with the object store" in sunday, sunday
        assert "with the object store" in browser.text("#recovery")
        assert "has all complete segments" in browser.text("#receiver")
        hours = browser.says("#hours-x")
        for name, width in (("phone", 390), ("desk", 1280), ("wall", 2560)):
            browser.size(width, 900)
            for scheme in ("light", "dark"):
                browser.media(prefers_color_scheme=scheme)
                browser.screenshot(f"store-{name}-{scheme}")
            assert browser.too_wide() == [], name
        browser.size(1280, 900)
        browser.media()

        # The store does not take anything: a warning, with the backlog and what to do.
        proxy.decide = lambda request: (503, [], "<Error><Code>SlowDown</Code></Error>")
        reported(server, load(server))
        wait_for(lambda: "finished WAL is not sent to the store" in (browser.text("#verdict") or ""), "the trouble")
        assert browser.text("#verdict .word") == "WARNING"
        finding, = [each for each in browser.texts(".findings .what") if "not sent to the store" in each]
        assert "SlowDown" in finding and re.search(r"segments? waits?, \d", finding), finding
        assert "pgweir store check" in browser.texts(".findings .todo")[0]
        link = browser.run("return document.querySelector('.chapter a').getAttribute('href')")
        assert link == "troubleshooting#an-object-store"
        assert "SlowDown" in browser.text("#receiver") and "wait" in browser.text("#receiver")
        wait_for(lambda: "not sent to the store" in browser.text("#troubles"), "what happened")
        browser.screenshot("store-trouble")
        checked = pgweir("status", "-D", archive.path, "--check")
        assert checked.returncode == 1 and "not sent to the store" in checked.stdout, checked.stdout
        # It does again. The hours tell of archiving, which went on.
        proxy.decide = lambda request: None
        wait_for(lambda: browser.text("#verdict .word") == "OK", "the trouble to be over")
        wait_for(lambda: "the store accepts WAL again" in browser.text("#troubles"), "that to be noted")
        assert not any("hole" in each.lower() for each in browser.says("#hours-x")), hours
        browser.open(f"http://127.0.0.1:{port}/{link}")
        assert browser.text(":target") == "An object store"
        assert browser.complaints() == []
    finally:
        browser.close()
    receiver.stop()


@of_both
def test_push_follows_a_receiver_of_any_make(servers, receivers, new_archive, bucket, place):
    server = servers.primary()
    archive = new_archive(server)
    stock = receivers.stock(archive, server)
    streaming(server)
    push = receivers.start([BINARY, "store", "push", "--follow", "-D", archive.path, *options(bucket)],
                           env=ENVIRONMENT)
    end = load(server)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    # One at a time: a cron job beside it is in nobody's way.
    once = pgweir("store", "push", "-D", archive.path, *options(bucket), env=ENVIRONMENT)
    assert once.returncode == 3 and "another" in once.stderr
    end = load(server)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    push.stop()
    assert re.search(r"sent \d+ files", push.said()), push.said()
    stock.stop(signal.SIGINT)


def test_the_section_of_a_file_is_for_all_commands(servers, receivers, new_archive, bucket, place):
    server = servers.primary()
    archive = new_archive(server)
    file = place / "main.ini"
    file.write_text(f"directory = {archive.path}\ndbname = {server.conninfo()}\n[store]\nstore = {bucket.url}/p\n"
                    f"store-endpoint = {bucket.gateway.url}\nstore-name = main\nkeep-local = 1GB\n"
                    f"identity = {place}/operations.key\nidentity-command = false\n")
    receiver = receivers.start([BINARY, "receive", "-c", file], env=ENVIRONMENT)
    streaming(server)
    end = load(server)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    receiver.stop()
    assert "private key" not in receiver.said(), receiver.said()
    assert "0 segments, " in pgweir("store", "push", "-c", file, "--no-progress", env=ENVIRONMENT).stdout
    # The file names the private key for the commands that decrypt. These do not, and the key should be elsewhere.
    (place / "operations.key").write_text("it is not read\n")
    for words in (["receive"], ["store", "push", "--follow"]):
        process = receivers.start([BINARY, *words, "-c", file], env=ENVIRONMENT)
        process.wait_log(fr'the private key {place}/operations.key \("identity" in {file}, line 8\) can be read on')
        process.stop()


def test_what_is_locked_stays(servers, receivers, new_archive, gateway, place):
    bucket = gateway.bucket(lock=True)
    server = servers.primary()
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server, *options(bucket, "--store-lock", "1h:governance"), env=ENVIRONMENT)
    streaming(server)
    end = load(server, 1)
    archive.wait_covers(server, 1, end)
    all_stored(archive, bucket)
    receiver.stop()
    for key in bucket.keys("p/main/wals/"):
        bucket.request("HEAD", key)
        assert bucket.headers["x-amz-object-lock-mode"] == "GOVERNANCE", bucket.headers
        bucket.request("DELETE", key, {"versionId": bucket.headers["x-amz-version-id"]}, status=(403,))


@pytest.mark.parametrize("words, told", [
    (["--local-retention", "2MB"], "option --local-retention requires --store"),
    (["--store", "s3://wal/p", "--local-retention", "much"], "neither a size nor a time"),
])
def test_what_makes_no_sense_is_refused(place, words, told):
    result = pgweir("receive", "-D", place, "-d", "host=127.0.0.1 port=1", *words)
    assert result.returncode == 2 and told in result.stderr, result.stderr
