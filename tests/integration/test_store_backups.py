"""Base backups beside the WAL in a bucket: those of Debian's barman-cloud-backup, taken from a real server into a real
Ceph gateway, and the same objects in Azurite; those of WAL-G as its sources name them (no WAL-G is in reach here, so
the objects are written by the test)."""

import json
import urllib.error
import urllib.request

import pytest

from support import barman as barmans
from support import wal
from support.barman import Barman, environment
from support.chapter import Chapter
from support.process import PATIENCE, run, server_user, wait_for
from support.receiver import BINARY, pgweir
from support.recovery import installed, recover
from support.scenario import begun, reported
from support.server import free_port
from test_store import KEYS, azurite, bucket, ceph, gateway, of_both, proxy, push, store  # noqa: F401
from test_store_restore import ENVIRONMENT, names_of, words_for

pytestmark = pytest.mark.in_memory

RESTORE_ENVIRONMENT = " ".join(f"{name}={value}" for name, value in KEYS.items() if name.startswith("AWS"))


class World:
    """A server whose WAL an archiver has, and backups of it in a bucket."""

    def __init__(self, server, archive, receiver, bucket):
        self.server = server
        self.archive = archive
        self.receiver = receiver
        self.bucket = bucket
        self.barman = Barman(bucket)
        server.sql("CREATE TABLE promised (n int)")
        self.rows = 0

    def write(self, megabytes=2):
        """Something that is promised, and WAL."""
        self.rows += 1
        self.server.sql(f"INSERT INTO promised VALUES ({self.rows})")
        self.server.write_wal(megabytes)

    def send(self):
        """All that there is, in finished segments."""
        self.archive.wait_covers(self.server, 1, self.server.switch_wal())
        self.receiver.stop()
        push(self.archive, self.bucket)

    def segments(self, bucket=None):
        return sorted(key.rpartition("/")[2][:24] for key in (bucket or self.bucket).keys("p/main/wals/")
                      if not key.endswith(".history"))


@pytest.fixture
def world(servers, receivers, new_archive, ceph):
    if not barmans.installed():
        pytest.skip("barman-cloud is not there (scripts/setup)")
    server = servers.primary()
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server)
    begun(archive, server)
    return World(server, archive, receiver, ceph.bucket())


def test_the_chapter(servers, receivers, place, ceph, monkeypatch):
    """docs/store-backups.md, followed to the letter; what was promised before the disaster is there after it."""
    if not barmans.installed():
        pytest.skip("barman-cloud is not there (scripts/setup)")
    for name, value in environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    installed(place)  # for the servers' user
    monkeypatch.setenv("PATH", str(place), prepend=":")
    primary = servers.primary()
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION; CREATE TABLE promised (n int)")
    bucket = ceph.bucket()
    restored = place / "restore"
    chapter = Chapter("store-backups.md", place, receivers, {"db1": primary},
                      {"/srv/wal": place / "wal", "/srv/restore": restored, "s3://backup/pg": f"{bucket.url}/pg",
                       "https://s3.example.org": bucket.gateway.url})
    barmans.put_into(place / "bin")
    barman = Barman(bucket, "pg")

    def stored(position):
        """Everything before that position is in the bucket."""
        segno = position // primary.segment_size - 1
        name = wal.segment_name(1, segno, primary.segment_size)
        wait_for(lambda: any(name in key for key in bucket.keys("pg/main/wals/")), f"{name} to be in the store")

    def before(text):
        if "barman-cloud-backup " in text:
            reported(primary, primary.write_wal(2))
            if ids := barman.ids():
                barman.wait_for_another_second(ids[-1])
        if text.startswith("pgweir prune") and "--dry-run" in text:
            primary.sql("INSERT INTO promised VALUES (42)")
            stored(primary.switch_wal())

    assert chapter.run(before) == 8
    dry, done = [said for said in chapter.said if "removed" in said or said.startswith("0")][:2]
    first = barman.ids()[-1]
    begin = barman.info(first)["begin_wal"]
    assert dry.splitlines()[0] < begin and "starts in it" in done, chapter.said
    names = [key.rpartition("/")[2][:24] for key in bucket.keys("pg/main/wals/") if not key.endswith(".history")]
    assert min(names) == begin
    assert len(barman.ids()) == 1
    chapter.stop_all()
    if server_user().pw_uid != 0:
        run(["chown", "-R", f"{server_user().pw_uid}:{server_user().pw_gid}", restored])
    server = recover(servers, restored, "restored", primary, "false")
    assert server.sql("SELECT n FROM promised") == "42"


def prune(bucket, *words, endpoint=None, status=0):
    result = pgweir("prune", *words_for(bucket, endpoint), *words, env=ENVIRONMENT)
    assert result.returncode == status, (result.stdout, result.stderr)
    return result


def reported_backups(bucket, *words):
    """[(name, whether it counts)] of `status`, in the order of their WAL."""
    result = pgweir("status", *words, *words_for(bucket), "--json", env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert "backups_error" not in told, told
    return told["backups"]


def copied(objects, bucket):
    """The same objects in another store."""
    for key, content in objects.items():
        bucket.put(key, content)
    return bucket


def test_wal_goes_as_barmans_backups_do(world, servers, azurite, place):
    world.write()
    first = world.barman.backup(world.server)
    world.write()
    second = world.barman.backup(world.server, "--gzip")
    world.write()
    promised = world.rows
    world.send()
    bucket = world.bucket
    begins = [world.barman.info(each)["begin_wal"] for each in (first, second)]
    all_segments = world.segments()
    assert all_segments[0] < begins[0] < begins[1] < all_segments[-1]
    everywhere = copied({key: bucket.get(key) for key in bucket.keys()}, azurite.bucket())
    for place_of in (bucket, everywhere):
        # Fewer than asked for: nothing goes. A broken one: nothing either, and it is named.
        few = prune(place_of, "--keep-backups", "3")
        assert "3 backups are to be kept, and the archive has the WAL of 2" in few.stderr, few.stderr
        told = prune(place_of, "--keep-backups", "1", "--dry-run")
        path = f"{place_of.url}/p/main/base/"
        assert f"{path}{second}, began at " in told.stderr and "number 1 of the newest 1" in told.stderr, told.stderr
        assert f"{path}{first}, began at " in told.stderr and ": no longer needed\n" in told.stderr, told.stderr
        info = place_of.get(f"p/main/base/{first}/backup.info")
        place_of.put(f"p/main/base/{first}/backup.info", info[:100])
        told = reported_backups(place_of)
        assert told[-1]["name"] == f"{path}{first}" and "not a backup.info file of Barman" in told[-1]["why"], told
        torn = prune(place_of, "--keep-backups", "1", status=1)
        assert torn.stdout == "nothing was removed\n" and f"{path}{first}: not a backup.info file of Barman" in torn.stderr, torn
        place_of.put(f"p/main/base/{first}/backup.info", info)
        assert world.segments(place_of) == all_segments
        for words in ([], ["-D", world.archive.path]):
            told = reported_backups(place_of, *words)
            assert [(each["name"], each["good"]) for each in told] == [(path + first, True), (path + second, True)], told
        assert told[0]["kind"] == "full" and told[0]["format"] == "tar" and told[0]["bytes"] > 0 and told[0]["began"]
        info = world.barman.info(second)
        assert told[1]["begin_lsn"] == info["begin_xlog"] and told[1]["end_lsn"] == info["end_xlog"], told
        # Exactly what precedes the newest one.
        done = prune(place_of, "--keep-backups", "1")
        assert f"the backup {path}{second} starts in it" in done.stdout, done.stdout
        assert world.segments(place_of) == [name for name in all_segments if name >= begins[1]]
        assert [each["good"] for each in reported_backups(place_of)] == [False, True]
        shown = pgweir("status", *words_for(place_of), "--html", place / "page.html", env=ENVIRONMENT)
        for each in (first, second):
            assert f'{path}{each} "Barman backup cloud {each}": full, tar, ' in shown.stdout, shown.stdout
        assert shown.stdout.count("DOES NOT COUNT: the WAL that it needs") == 1, shown.stdout
        page = (place / "page.html").read_text()
        assert f"{path}{second}" in page and "the WAL that it needs is not" in page
        again = prune(place_of, "--keep-backups", "2")
        assert "the archive has the WAL of 1: nothing is removed" in again.stderr, again.stderr
    # What is left recovers, by Barman's programs alone, and with pgweir's restore_command.
    pgweir_command = (f"env {RESTORE_ENVIRONMENT} {installed(place)} restore --store {bucket.url}/p --store-endpoint "
                      f"{bucket.gateway.url} --store-name main %f %p")
    for name, command in (("by_barman", world.barman.restore_command()), ("by_pgweir", pgweir_command)):
        data = world.barman.restore(second, place / name)
        server = recover(servers, data, f"{name}_server", world.server, command)
        assert server.sql("SELECT max(n) FROM promised") == str(promised), name
        server.stop()


def test_a_backup_whose_first_segment_is_not_uploaded_yet(servers, receivers, new_archive, ceph, place):
    """The store is left as it is until then; the archive directory is pruned of what the store has, and of nothing else:
    otherwise the store would have a hole before the backup."""
    server = servers.primary()
    archive = new_archive(server)
    bucket = ceph.bucket()

    def receive():
        receiver = receivers.pgweir(archive, server)
        begun(archive, server)
        server.write_wal(2)
        label = server.sql("SELECT pg_switch_wal(); SELECT 1 FROM pg_backup_start('b', true); "
                           "SELECT 'LABEL' || labelfile FROM pg_backup_stop(false)").partition("LABEL")[2]
        archive.wait_covers(server, 1, server.switch_wal())
        receiver.stop()
        return label

    def stored():
        return sorted(key.rpartition("/")[2][:24] for key in bucket.keys("p/main/wals/"))

    receive()
    push(archive, bucket)
    uploaded = stored()
    label = place / "backup_label"
    label.write_text(receive())
    begin = label.read_text().partition("(file ")[2][:24]
    assert uploaded[-1] < begin <= max(names_of(archive))
    both = ("-D", archive.path, "--keep-from-backup", label)
    told = prune(bucket, *both, "--dry-run")
    waiting = f"nothing to remove until {begin} is uploaded (the backup {label} starts in it) in {bucket.url}"
    assert waiting in told.stdout and uploaded[0] in told.stdout, told.stdout
    assert uploaded[0] in names_of(archive)
    waits = next(name for name in names_of(archive) if name not in uploaded)
    assert waits < begin
    kept = prune(bucket, *both)
    assert waiting in kept.stdout and f"because {waits} has not been uploaded to " in kept.stderr, kept
    assert stored() == uploaded and min(names_of(archive)) == waits
    # Without --store likewise, and in place of the stock program.
    alone = pgweir("prune", *both)
    assert alone.returncode == 0 and f"because {waits} has not been uploaded to " in alone.stderr, alone
    link = place / "pg_archivecleanup"
    link.symlink_to(BINARY)
    cleaned = run([link, archive.path, begin], check=False)
    assert cleaned.returncode == 0 and f"WAL from {waits} on is kept" in cleaned.stderr, cleaned
    assert min(names_of(archive)) == waits
    push(archive, bucket)
    prune(bucket, *both)
    assert stored()[0] == begin and min(names_of(archive)) == begin
    # What a store that was given up has not is removed when its mark is.
    assert receive() and min(names_of(archive)) == begin
    newest = names_of(archive)[-1]
    assert "has not been uploaded to " in pgweir("prune", "-D", archive.path, "--keep-from", newest).stderr
    assert min(names_of(archive)) < newest
    mark = archive.path / ".pgweir-store"
    mark.write_text("{")
    damaged = pgweir("prune", "-D", archive.path, "--keep-from", newest)
    assert damaged.returncode == 4 and "the file of what was uploaded cannot be read" in damaged.stderr, damaged
    cleaned = run([link, archive.path, newest], check=False)
    assert cleaned.returncode == 1 and "the file of what was uploaded cannot be read" in cleaned.stderr, cleaned
    assert min(names_of(archive)) < newest
    mark.unlink()
    pgweir("prune", "-D", archive.path, "--keep-from", newest)
    assert min(names_of(archive)) == newest


def test_what_barman_keeps_for_good_keeps_its_wal(world, place):
    world.write()
    first = world.barman.backup(world.server)
    world.write()
    second = world.barman.backup(world.server)
    world.write()
    world.send()
    bucket = world.bucket
    all_segments = world.segments()
    world.barman.keep(first)
    kept = prune(bucket, "--keep-backups", "1", "-v")
    begin = world.barman.info(first)["begin_wal"]
    assert "kept, the program that created it is configured to keep it" in kept.stderr, kept.stderr
    assert world.segments() == [name for name in all_segments if name >= begin]
    # Unless somebody says otherwise; and what failed is in doubt.
    name = f"{bucket.url}/p/main/base/{first}"
    key = f"p/main/base/{first}/backup.info"
    bucket.put(key, bucket.get(key).replace(b"status=DONE", b"status=FAILED").replace(b"error=None", b"error=no space"))
    failed = prune(bucket, "--keep-backups", "1", status=1)
    assert f"{name}: Barman has marked it as failed: no space; it is treated as kept, from 0/" in failed.stderr, failed.stderr
    assert world.segments()[0] == begin
    prune(bucket, "--keep-backups", "1", "--ignore-backup", name)
    assert world.segments()[0] == world.barman.info(second)["begin_wal"]
    # A directory is pruned by them, too, and what its slots need stays in both.
    assert sorted(names_of(world.archive)) == all_segments
    both = pgweir("prune", "-D", world.archive.path, *words_for(bucket), "--keep-backups", "1", "--ignore-backup", name,
                  env=ENVIRONMENT)
    assert both.returncode == 0, both.stderr
    assert sorted(names_of(world.archive)) == world.segments()
    nothing = pgweir("prune", *words_for(bucket, prefix="elsewhere"), "--keep-backups", "1", env=ENVIRONMENT)
    assert nothing.returncode != 0 and nothing.stdout == "", nothing


def test_the_page_of_a_receiver_shows_them(world, receivers):
    world.write()
    backup = world.barman.backup(world.server)
    world.receiver.stop()
    port = free_port()
    receivers.pgweir(world.archive, world.server, *words_for(world.bucket), "--web-listen", str(port),
                     env=ENVIRONMENT)

    def told():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=PATIENCE) as answer:
                return json.loads(answer.read())["backups"]
        except (urllib.error.URLError, ConnectionError):
            return []  # not yet

    name = f"{world.bucket.url}/p/main/base/{backup}"
    wait_for(lambda: [each["name"] for each in told()] == [name], "the backup to be on the page")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
        assert name in answer.read().decode()


def test_trouble_with_the_store_removes_nothing(world, proxy):
    """What cannot be listed or read is not absent."""
    world.write()
    backup = world.barman.backup(world.server)
    world.write()
    world.send()
    all_segments = world.segments()
    denied = (403, [], "<Error><Code>AccessDenied</Code></Error>")
    for what in ("prefix=p%2Fmain%2Fbase", f"{backup}/backup.info"):
        proxy.decide = lambda request: denied if what in request.path else None
        refused = prune(world.bucket, "--keep-backups", "1", endpoint=proxy.url, status=4)
        assert "AccessDenied" in refused.stderr and refused.stdout == "", refused
        assert world.segments() == all_segments
    proxy.decide = lambda request: None
    prune(world.bucket, "--keep-backups", "1", endpoint=proxy.url)
    assert world.segments()[0] == world.barman.info(backup)["begin_wal"]


@of_both
def test_wal_goes_as_walgs_backups_do(servers, receivers, new_archive, bucket):
    """By objects as WAL-G stores them (backup_sentinel_dto.go), with the positions of real backups."""
    server = servers.primary()
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server)
    begun(archive, server)
    base = "p/basebackups_005"
    identifier = int(server.sql("SELECT system_identifier FROM pg_control_system()"))

    def lsn_of(text):
        high, low = text.split("/")
        return int(high, 16) << 32 | int(low, 16)

    def backup(delta_from=None, **more):
        """Between a start and a stop of the server's own."""
        label = server.sql("SELECT 1 FROM pg_backup_start('wal-g', true); "
                           "SELECT 'END: ' || lsn || E'\\n' || labelfile FROM pg_backup_stop(false)")
        start = lsn_of(label.split("START WAL LOCATION: ")[1].split()[0])
        end = lsn_of(label.split("END: ")[1].split()[0])
        name = "base_" + wal.segment_name(1, start // archive.segment_size, archive.segment_size)
        sentinel = {"LSN": start, "Timeline": 1, "PgVersion": 150000, "FinishLSN": end, "SystemIdentifier": identifier,
                    "Spec": None, **more}
        if delta_from:
            name += "_D_" + delta_from[0][5:29]
            sentinel |= {"DeltaFrom": delta_from[0], "DeltaFullName": delta_from[0], "DeltaCount": 1,
                         "DeltaLSN": delta_from[1]}
        bucket.put(f"{base}/{name}/tar_partitions/part_001.tar.lz4", b"tar")
        bucket.put(f"{base}/{name}/metadata.json", json.dumps({"is_permanent": False, "timeline": 1}).encode())
        bucket.put(f"{base}/{name}_backup_stop_sentinel.json", json.dumps(sentinel).encode())
        server.write_wal(1)
        return name, start

    layout = ["--store-layout", "wal-g"]
    full = backup()
    newest = backup()
    delta = backup(delta_from=newest)
    archive.wait_covers(server, 1, server.switch_wal())
    receiver.stop()
    push(archive, bucket, *layout)

    def segments():
        return sorted(key.rpartition("/")[2][:24] for key in bucket.keys("p/wal_005/") if not key.endswith(".history"))

    def begin_of(name):
        return name[0][5:29]

    everything = segments()
    assert everything[0] < begin_of(full) < begin_of(newest) < begin_of(delta)
    # An incremental one counts with its full one. Without a base it is in doubt.
    sentinel = f"{base}/{newest[0]}_backup_stop_sentinel.json"
    told = bucket.get(sentinel)
    bucket.remove(sentinel)
    broken = prune(bucket, "--keep-backups", "1", *layout, status=1)
    assert f"{newest[0]}: it has no sentinel: it is unfinished or was aborted; it is treated as kept" in broken.stderr
    assert f"{delta[0]}: it is incremental to a backup that started at " in broken.stderr, broken.stderr
    assert segments() == [name for name in everything if name >= begin_of(full)]
    bucket.put(sentinel, told)
    done = prune(bucket, "--keep-backups", "1", *layout)
    assert f"the backup {bucket.url}/{base}/{newest[0]} starts in it" in done.stdout, done.stdout
    assert segments() == [name for name in everything if name >= begin_of(newest)]
    # Of another cluster: it does not count.
    bucket.put(sentinel, told.replace(str(identifier).encode(), str(identifier - 1).encode()))
    # The incremental one, which builds upon nothing else, is in doubt.
    stranger = prune(bucket, "--keep-backups", "1", *layout, "-v", status=1)
    assert stranger.stdout == "nothing was removed\n", stranger.stdout
    assert "it is of another cluster (" in stranger.stderr, stranger.stderr
    assert segments() == [name for name in everything if name >= begin_of(newest)]
