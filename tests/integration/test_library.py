"""The example programs, which are the library's documentation, against real servers."""

import os
import re
import signal
import subprocess

import pytest

from support import wal
from support.process import PATIENCE, run, wait_for
from support.receiver import BINARY
from support.scenario import streaming
from support.server import REPOSITORY

EXAMPLES = BINARY.parent / "examples"


def test_the_code_in_the_documentation_is_that_of_the_examples():
    sources = "\n".join(path.read_text() for path in sorted((REPOSITORY / "examples").glob("*.cc")))
    blocks = re.findall(r"```cpp\n(.*?)```", (REPOSITORY / "docs" / "library.md").read_text(), re.S)
    assert len(blocks) >= 3
    for block in blocks:
        assert block in sources, f"no example has this:\n{block}"


def cdc_command(server, path, *words):
    return [EXAMPLES / "cdc", server.conninfo(dbname="postgres"), "cdc", path, *words]


def wait_for_stream(primary):
    """A slot is active while it is created, and does not outlast the server's crash then."""
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state IN ('catchup', 'streaming')") == "1",
             "the stream")


def changes(path):
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # the last line may be half written
    lines = whole.splitlines()
    return [line.split("\t", 1) for line in lines]


def test_cdc_has_every_change_exactly_once_whatever_is_killed(servers, receivers, place, seeded):
    primary = servers.primary(wal_level="logical", wal_sender_timeout="10s")
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    out = place / "changes"
    capture = receivers.start(cdc_command(primary, out))
    wait_for_stream(primary)
    rows = 0
    for attempt in range(6):
        for _ in range(seeded.randrange(5, 30)):
            primary.sql(f"INSERT INTO t SELECT i, E'it''s\\nCOMMIT\\t\\\\ {attempt}' "
                        f"FROM generate_series({rows}, {rows + 9}) i")
            rows += 10
        if attempt == 3:
            primary.restart("immediate")  # its slot forgets how far it was
        elif attempt < 5:
            capture.kill9()
            capture = receivers.start(cdc_command(primary, out))

    def complete():
        assert capture.running(), capture.said()
        return sum("INSERT" in text for _, text in changes(out)) >= rows

    wait_for(complete, "all rows")
    # Idle, so what is left to happen would be a second time.
    primary.sql("INSERT INTO t VALUES (-1, 'the last')")
    wait_for(lambda: any("the last" in text for _, text in changes(out)) and changes(out)[-1][1] == "COMMIT",
             "the last row")
    capture.stop()
    ids = [int(re.search(r"id\[integer\]:(-?\d+)", text).group(1)) for _, text in changes(out)
           if "INSERT" in text]
    assert ids == [*range(rows), -1], "each once, in order"
    assert changes(out)[-1][1] == "COMMIT"
    positions = [wal.lsn(position) for position, text in changes(out) if text == "COMMIT"]
    assert positions == sorted(set(positions))


def test_cdc_ends_after_so_many_transactions_and_says_what_is_wrong(servers, receivers, place):
    primary = servers.primary(wal_level="logical")
    primary.sql("CREATE TABLE t (id int)")
    primary.sql("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
    for i in range(3):
        primary.sql(f"INSERT INTO t VALUES ({i})")
    capture = receivers.start(cdc_command(primary, place / "changes", "2"))
    assert capture.wait_exit() == 0, capture.said()
    assert [text for _, text in changes(place / "changes")].count("COMMIT") == 2
    primary.sql("SELECT pg_drop_replication_slot('cdc')")
    primary.sql("SELECT pg_create_physical_replication_slot('cdc')")
    capture = receivers.start(cdc_command(primary, place / "changes"))
    assert capture.wait_exit() == 1, capture.said()
    assert "physical" in capture.said()
    nowhere = receivers.start([EXAMPLES / "cdc", primary.conninfo(dbname="nowhere"), "cdc",
                               place / "changes"])
    assert nowhere.wait_exit() == 1 and "nowhere" in nowhere.said()


def test_waltail_gives_the_servers_wal(servers, receivers, place):
    primary = servers.primary()
    start = primary.flushed()
    start -= start % primary.segment_size
    end = primary.write_wal(2)
    tail = receivers.start(["/bin/sh", "-c", 'exec "$0" "$1" "$2" "$3" >"$4"', EXAMPLES / "waltail",
                            primary.conninfo(), wal.lsn_text(start), wal.lsn_text(end),
                            place / "wal"])
    assert tail.wait_exit() == 0, tail.said()
    got = (place / "wal").read_bytes()
    assert len(got) == end - start
    for at in range(0, len(got), primary.segment_size):
        name = wal.segment_name(1, (start + at) // primary.segment_size, primary.segment_size)
        piece = got[at:at + primary.segment_size]
        assert piece == primary.pg_wal(name).read_bytes()[:len(piece)], name


def test_waltail_follows_a_promotion(servers, receivers, place):
    primary = servers.primary()
    standby = servers.standby(primary)
    tail = receivers.start(["/bin/sh", "-c", 'exec "$0" "$1" >"$2"', EXAMPLES / "waltail",
                            standby.conninfo(), place / "wal"])
    streaming(standby)
    standby.caught_up_with(primary.write_wal(1))
    standby.promote()
    tail.wait_log("timeline 2 at")
    standby.write_wal(1)
    wait_for(lambda: standby.walsenders(), "it to stream timeline 2")
    tail.stop(signal.SIGTERM)
    assert (place / "wal").stat().st_size > 0


def test_listen_prints_and_sends(servers, place):
    primary = servers.primary()
    with open(place / "log", "w") as log:
        process = subprocess.Popen([EXAMPLES / "listen", primary.conninfo(dbname="postgres"), "Chat"],
                                   stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
    try:
        said = lambda: (place / "log").read_text()  # noqa: E731
        wait_for(lambda: "listening" in said(), "it to listen")
        primary.sql("NOTIFY \"Chat\", 'from the server'")
        wait_for(lambda: "Chat: from the server" in said(), "what the server sent")
        process.stdin.write("it's me\n")
        process.stdin.flush()
        wait_for(lambda: "Chat: it's me" in said(), "what was typed")
        primary.restart("fast")
        wait_for(lambda: said().count("listening") >= 2, "it to listen again")
        assert "something may have been missed" in said()
        primary.sql("NOTIFY \"Chat\", 'again'")
        wait_for(lambda: "Chat: again" in said(), "what was sent then")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0, said()
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.skipif("PGWEIR_SANITIZED" in os.environ,
                    reason="the installed library is not one for sanitized programs")
def test_the_examples_build_against_the_installed_library(servers, receivers, place):
    """By the CMake package, and by pkg-config, from a place that was not known when it was built."""
    prefix = place / "moved"
    run(["cmake", "--install", BINARY.parent, "--component", "dev", "--prefix", place / "first"])
    (place / "first").rename(prefix)
    run(["cmake", "-S", REPOSITORY / "examples", "-B", place / "build",
         f"-DCMAKE_PREFIX_PATH={prefix}"])
    run(["cmake", "--build", place / "build", "--target", "example_waltail"])
    pkg_config = next(prefix.rglob("pgweir.pc")).parent
    flags = run(["pkg-config", "--cflags", "--libs", "--static", "pgweir"],
                env={**os.environ, "PKG_CONFIG_PATH": str(pkg_config)}).stdout.split()
    run(["c++", "-std=c++20", REPOSITORY / "examples" / "listen.cc", "-o", place / "listen", *flags])

    primary = servers.primary()
    start = primary.flushed()
    end = primary.write_wal(1)
    tail = receivers.start(["/bin/sh", "-c", 'exec "$0" "$1" "$2" "$3" >"$4"',
                            place / "build" / "waltail", primary.conninfo(), wal.lsn_text(start),
                            wal.lsn_text(end), place / "wal"])
    assert tail.wait_exit() == 0, tail.said()
    assert (place / "wal").stat().st_size == end - start
    # Its standard input is at its end, so it ends when it has listened.
    listen = receivers.start([place / "listen", primary.conninfo(dbname="postgres"), "a"])
    assert listen.wait_exit() == 0 and "listening" in listen.said(), listen.said()


@pytest.mark.parametrize("major", (13, 14, 16, 17, 18, 19))
def test_cdc_and_listen_work_with_every_version(servers, receivers, place, major):
    primary = servers.primary(major=major, wal_level="logical")
    primary.sql("CREATE TABLE t (id int)")
    capture = receivers.start(cdc_command(primary, place / "changes"))
    wait_for_stream(primary)
    primary.sql("INSERT INTO t SELECT generate_series(1, 50)")
    primary.restart("immediate")
    primary.sql("INSERT INTO t SELECT generate_series(51, 100)")
    wait_for(lambda: sum("INSERT" in text for _, text in changes(place / "changes")) >= 100,
             "all rows")
    capture.stop()
    ids = [int(re.search(r"id\[integer\]:(\d+)", text).group(1))
           for _, text in changes(place / "changes") if "INSERT" in text]
    assert ids == [*range(1, 101)]
    conninfo = primary.conninfo(dbname="postgres")
    listening = receivers.start([BINARY, "listen", "-d", conninfo, "News", "--count", "1"])
    listening.wait_log("listening on")
    assert run([BINARY, "notify", "-d", conninfo, "News", "it's"]).returncode == 0
    assert listening.wait_exit() == 0, listening.said()
