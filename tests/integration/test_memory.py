"""A limit on memory: the receiver stays below it, or says what it needs."""

import contextlib
import os
import pathlib
import re
import shutil
import threading

import pytest

from support import wal
from support.process import preload, run, wait_for
from support.receiver import BINARY, receive_command
from support.scenario import reported
from support.server import free_port
from test_store import bucket, swift as gateway  # noqa: F401  (It starts under every kernel.)

pytestmark = pytest.mark.skipif(bool(os.environ.get("PGWEIR_SANITIZED")),
                                reason="the sanitizers take more memory than the limits here")


@pytest.fixture
def limited():
    """limited(bytes) is the directory of a new control group below our own with that limit."""
    groups = []

    def make(limit):
        group = _own_group()
        if group is None:
            pytest.skip("no control group for memory can be made here")
        place, name = group
        place = place / f"pgweir-test-{os.getpid()}-{len(groups)}"
        try:
            place.mkdir()
            groups.append(place)
            (place / name).write_text(str(limit))
            for swap, most in (("memory.memsw.limit_in_bytes", limit), ("memory.swap.max", 0)):
                if (place / swap).exists():
                    (place / swap).write_text(str(most))
        except OSError as error:
            pytest.skip(f"no control group for memory can be made here: {error}")
        return place

    yield make
    for place in groups:
        wait_for(lambda place=place: not (place / "cgroup.procs").read_text(), "the group to be empty")
        place.rmdir()


def _own_group():
    """Where groups can be made, and the file of their limit. Version 1 has the processes of a service in any group;
    version 2 only where none are above: there it is the top of what can be seen."""
    mounts = [line.split(" - ") for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" not in controllers.split(","):
            continue
        for left, right in mounts:
            fields = left.split()
            if right.split()[0] == "cgroup" and "memory" in right.split()[2].split(","):
                inside = path.removeprefix(fields[3]) if fields[3] != "/" else path
                return pathlib.Path(fields[4]) / inside.lstrip("/"), "memory.limit_in_bytes"
    for left, right in mounts:
        top = pathlib.Path(left.split()[4])
        if right.split()[0] == "cgroup2" and "memory" in (top / "cgroup.controllers").read_text().split():
            if "memory" not in (top / "cgroup.subtree_control").read_text().split():
                with contextlib.suppress(OSError):  # then none can be made, which is told below
                    (top / "cgroup.subtree_control").write_text("+memory")
            return top, "memory.max"
    return None


@contextlib.contextmanager
def dirty_pages(group):
    """A list of samples: bytes of the group's page cache that are to be written to the disk."""
    samples, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            names = ("file_dirty", "file_writeback") if "file_dirty" in fields else ("dirty", "writeback")
            samples.append(sum(int(fields[name]) for name in names))
            ended.wait(0.001)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield samples
    finally:
        ended.set()
        looking.join()


def in_group(group, command):
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *map(str, command)]


# At a high level, where nothing is collected, less WAL will do.
@pytest.mark.parametrize("megabytes, segment_mb, compress, sent_mb",
                         [(64, 16, "zstd:1", 144), (64, 16, "zstd:19", 48), (48, 16, "none", 144), (64, 64, "zstd:3", 144)])
def test_a_catch_up_stays_below_the_limit(servers, receivers, new_archive, limited, megabytes, segment_mb, compress,
                                          sent_mb):
    group = limited(megabytes << 20)
    primary = servers.primary(segment_mb=segment_mb)
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    # What does not compress, and so much that all segments that may be collected are.
    primary.sql("CREATE EXTENSION IF NOT EXISTS pgcrypto", check=False)
    primary.sql(f"DO $$ BEGIN FOR i IN 1..{sent_mb} LOOP PERFORM pg_logical_emit_message(false, 'm', "
                "(SELECT string_agg(encode(sha512(random()::text::bytea), 'hex'), '') FROM generate_series(1, 8192)));"
                " END LOOP; END $$")
    end = primary.switch_wal()
    archive = new_archive(primary)
    with dirty_pages(group) as dirty:
        receiver = receivers.start(in_group(group, receive_command(
            archive.path, primary.conninfo(), "-S", "archive", "--compress", compress, "--endpos",
            f"{end >> 32:X}/{end & 0xFFFFFFFF:X}")))
        # The compressor takes what nobody else wants of the processors.
        status = receiver.wait_exit(deadline=900)
    assert status == 0, f"status {status}: {receiver.said()}"
    # Dirty pages cannot be reclaimed, and with version 1 nothing slows down a process that makes too many of them.
    assert len(dirty) > 100 and max(dirty) < (megabytes << 20) // 3, (len(dirty), max(dirty, default=None))
    archive.assert_same_wal(primary, minimum=sent_mb // segment_mb - 1)
    if compress == "zstd:19":
        assert re.search(r"compressing at level \d+ instead of 19", receiver.said()), receiver.said()


def test_pages_that_are_lost_before_a_sync_are_never_confirmed(servers, receivers, new_archive, limited, place):
    """The kernel tells of them once: a later sync of the file succeeds (P6)."""
    primary = servers.primary(segment_mb=64)
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    before = primary.sql("SELECT restart_lsn FROM pg_replication_slots")
    primary.sql("DO $$ BEGIN FOR i IN 1..80 LOOP PERFORM pg_logical_emit_message(false, 'm', repeat('x', 1024 * 1024)); "
                "END LOOP; END $$")
    primary.switch_wal()
    archive = new_archive(primary)
    receiver = receivers.start(
        in_group(limited(64 << 20), receive_command(archive.path, primary.conninfo(), "-S", "archive")),
        env={"LD_PRELOAD": str(preload(place, "failed_range.c"))})
    assert receiver.wait_exit() == 4, receiver.said()
    assert "could not write file to disk" in receiver.said(), receiver.said()
    assert not list(archive.path.glob("0" * 7 + "1" + "[0-9A-F]" * 16)), list(archive.path.iterdir())
    assert primary.sql("SELECT restart_lsn FROM pg_replication_slots") == before


def test_a_limit_that_cannot_suffice_is_refused_with_the_number(servers, receivers, new_archive, limited):
    group = limited(20 << 20)
    primary = servers.primary(segment_mb=16)
    receiver = receivers.start(in_group(group, receive_command(
        new_archive(primary).path, primary.conninfo(), "--compress", "zstd:19")))
    assert receiver.wait_exit() == 2, receiver.said()
    said = " ".join(receiver.said().split())
    assert "20 MB" in said and "needed" in said and str(group) in said, said


def test_a_conversion_stays_below_the_limit(servers, place, limited):
    """With as many jobs as fit, at the level that fits; and what cannot suffice is refused with the number."""
    primary = servers.primary(segment_mb=16)
    primary.write_wal(36)
    archive = place / "archive"
    archive.mkdir()
    for segno in (1, 2):
        shutil.copy(primary.pg_wal(f"0000000100000000{segno:08X}"), archive)
    done = run(in_group(limited(16 << 20), [BINARY, "compress", "-D", archive, "--method", "zstd:19"]), check=False)
    assert done.returncode == 2 and "needed" in done.stderr and "16 MB" in done.stderr, done.stderr
    assert len(list(archive.glob("*.zst"))) == 0
    done = run(in_group(limited(44 << 20), [BINARY, "compress", "-D", archive, "-j", "8", "--method", "zstd:19"]),
               check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"compressing at level \d+ instead of 19", done.stderr), done.stderr
    assert len(list(archive.glob("*.zst"))) == 2


def test_every_option_at_once_stays_below_the_limit(servers, receivers, new_archive, limited, bucket, place):
    """64 MB for compression, an encrypted store, a relay with clients, and the page, all while it catches up."""
    if not shutil.which("age-keygen"):
        pytest.skip("no age (scripts/setup)")
    group = limited(64 << 20)
    primary = servers.primary(segment_mb=16)
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    primary.sql("DO $$ BEGIN FOR i IN 1..96 LOOP PERFORM pg_logical_emit_message(false, 'm', "
                "(SELECT string_agg(encode(sha512(random()::text::bytea), 'hex'), '') FROM generate_series(1, 8192)));"
                " END LOOP; END $$")
    end = primary.switch_wal()
    recipient = run(["age-keygen", "-y", _identity(place)]).stdout.strip()
    rules = place / "rules"
    rules.write_text("host replication all samehost trust\n")
    relay, page = free_port(), free_port()
    archive = new_archive(primary)
    receiver = receivers.start(
        in_group(group, receive_command(
            archive.path, primary.conninfo(), "-S", "archive", "--compress", "zstd:9", "--serve", f"127.0.0.1:{relay}",
            "--serve-hba", rules, "--store", f"s3://{bucket.name}/p", "--store-endpoint", bucket.gateway.url, "--store-name",
            "main", "--encrypt-to", recipient, "--web-listen", page, "--metrics-listen", page)),
        env={"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **bucket.gateway.keys})
    copies = [new_archive(primary, f"copy{number}") for number in range(3)]
    receiver.wait_log("listening on")
    # They begin behind the first segment, however late they come.
    first = wait_for(lambda: next(iter(archive.finished()), None), "the first segment")
    for copy in copies:
        (copy.path / wal.segment_name(*first, copy.segment_size)).write_bytes(archive.read(*first))
    clients = [receivers.stock(copy, f"host=127.0.0.1 port={relay} user=postgres") for copy in copies]
    reported(primary, end)
    last = end // primary.segment_size - 1
    for copy in copies:
        wait_for(lambda copy=copy: (1, last) in copy.finished(), "the relay's client to have it")
    wait_for(lambda: len([key for key in bucket.keys() if key.endswith(".zst.age")]) >= 6, "all of it to be sent", 900)
    answer = run(["curl", "-sS", f"http://127.0.0.1:{page}/", f"http://127.0.0.1:{page}/metrics"]).stdout
    assert "pgweir_receiver_up" in answer and "</html>" in answer
    for client in clients:
        client.kill9()
    receiver.stop()
    archive.assert_same_wal(primary, minimum=5)


def _identity(place):
    path = place / "identity"
    run(["age-keygen", "-o", path])
    return path
