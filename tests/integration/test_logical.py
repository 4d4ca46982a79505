"""`pgweir logical` and its stand-in for pg_recvlogical, on real servers."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pytest

from support import changes, wal
from support.line import Ending
from support.process import PATIENCE, alive, run, wait_for
from support.receiver import BINARY, MEMORY_FACTOR, pgweir
from support.server import DEBIAN_BIN, DEBIAN_MAJOR, REPOSITORY, free_port
from support.walsender import FakeServer

pytestmark = pytest.mark.in_memory

ROUNDS = int(os.environ.get("PGWEIR_LOGICAL_ROUNDS", 6))
WAL2JSON = DEBIAN_BIN.parent / "lib" / "wal2json.so"

# Values that look like the plugins' own words, and lines.
WORKLOAD = r"""
\set many random(1, 20)
\set kind random(1, 12)
BEGIN;
INSERT INTO t (v) SELECT E'COMMIT 1\nBEGIN\n{"action":"C"}\n\\N"' || g FROM generate_series(1, :many) g;
\if :kind = 1
INSERT INTO t (v) SELECT repeat('x', 2000) FROM generate_series(1, 300) g;
\endif
UPDATE t SET v = v || 'é' WHERE id = (SELECT max(id) FROM t);
\if :kind = 2
ROLLBACK;
\else
COMMIT;
\endif
"""


def source(servers, **settings):
    server = servers.primary(wal_level="logical", **settings)
    server.sql("CREATE TABLE t (id bigserial PRIMARY KEY, v text)")
    server.sql("CREATE PUBLICATION p FOR ALL TABLES")
    return server


def logical_command(server, path, *options, slot="s"):
    return [BINARY, "logical", "-S", slot, "-d", server.conninfo(dbname="postgres"),
            *(["-f", path] if path else []), *options]


def logical(server, path, *options, slot="s", timeout=PATIENCE, **more):
    """As soon as the server knows that the one before it has gone."""
    slot_free(server, slot)
    return run(logical_command(server, path, *options, slot=slot), check=False, timeout=timeout,
               **more)


BEHIND_THE_END = "message: transactional: 0 prefix: x, sz: 1 content:x\n"


def up_to_now(server, path, *options, slot="s"):
    """Streams everything there is, once."""
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    server.sql("SELECT pg_logical_emit_message(false, 'x', 'x')")  # something behind the end
    server.sql("CHECKPOINT")
    result = logical(server, path, "-E", end, "-n", *options, slot=slot)
    assert result.returncode == 0, result.stderr
    return result


def content_if_there(path):
    """It may not have been made yet, and a rotation may rename it meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def last_row_written(server, receiver, out):
    """Inserts it and waits until its transaction is whole and confirmed."""
    server.sql("INSERT INTO t (v) VALUES ('the very last row')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: receiver.running() and b"the very last row" in content_if_there(out)[-20000:]
             and server.sql(f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t",
             "the last row to be written")


def writers_gone(server):
    """What they had begun is committed, or never will be."""
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                "'pgbench'") == "0", "the writers to be gone")


def slot_free(server, slot="s"):
    """Who had it has gone for the server, too."""
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_replication_slots WHERE active"
                                f" AND slot_name = '{slot}'") == "0", "the slot to be free")


def workload(server, place, clients=3, rate=120):
    script = place / "workload.sql"
    script.write_text(WORKLOAD)
    return subprocess.Popen(
        [DEBIAN_BIN / "pgbench", "-n", "-c", str(clients), "-j", "1", "-T", "600", "-R", str(rate),
         "-f", str(script), server.conninfo(dbname="postgres")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


PLUGINS = {
    "pgoutput": (("-o", "publication_names=p"), changes.inserted_ids),
    "streaming": (("-o", "publication_names=p", "-o", "streaming=on"), changes.inserted_ids),
    "test_decoding": ((), changes.inserted_ids_of_test_decoding),
    "wal2json1": (("-o", "include-lsn=1"), changes.inserted_ids_of_wal2json),
    "wal2json2": (("-o", "format-version=2"), changes.inserted_ids_of_wal2json),
    # Borders by the keepalives alone.
    "wal2json1-without-lsn": ((), changes.inserted_ids_of_wal2json),
}


def test_a_plugin_that_the_server_does_not_trust_is_told_in_the_servers_words(servers, place):
    server = source(servers)
    if not server.knows("output_plugin_libraries"):
        pytest.skip("this server loads any plugin")
    at = ["-d", server.conninfo(dbname="postgres")]
    assert pgweir("logical", "create", "-S", "s", "-P", "test_decoding", *at).returncode == 0
    server.conf(output_plugin_libraries="pgoutput")
    server.reload()
    end = ["-E", server.sql("SELECT pg_current_wal_flush_lsn()")]
    refused = [pgweir("logical", "create", "-S", "other", "-P", "test_decoding", *at),
               logical(server, place / "changes", *end)]
    for result in refused:
        assert result.returncode == 4, result.stderr
        assert "may not be used as an output plugin" in result.stderr
        assert "output_plugin_libraries" in result.stderr and "REPLICATION attribute" not in result.stderr
    server.conf(output_plugin_libraries="pgoutput, test_decoding")
    server.reload()
    done = logical(server, place / "changes", *end)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_was_removed_is_named(servers, place):
    """It is missing on another server after a failover, for example; the slot is as good as before."""
    server = source(servers)
    library = server.data / "own_plugin.so"
    library.write_bytes((DEBIAN_BIN.parent / "lib" / "test_decoding.so").read_bytes())
    library.chmod(0o755)
    server.conf(dynamic_library_path=f"$libdir:{server.data}")
    if server.knows("output_plugin_libraries"):
        server.conf(output_plugin_libraries="own_plugin")
    server.restart()
    server.sql("SELECT pg_create_logical_replication_slot('s', 'own_plugin')")
    library.unlink()
    result = logical(server, place / "out", "-E", "0/1", "-n")
    assert result.returncode == 4, result.stderr
    assert 'could not access file "own_plugin"' in result.stderr, result.stderr
    assert "not installed on this server" in result.stderr and "no longer has this WAL" not in result.stderr


@pytest.mark.parametrize("form", PLUGINS)
def test_kills_of_both_sides_lose_repeat_and_tear_nothing(servers, receivers, place, seeded, form):
    plugin = form.split("-")[0].rstrip("12") if form.startswith("wal") else form
    plugin = "pgoutput" if plugin == "streaming" else plugin
    if plugin == "wal2json" and not WAL2JSON.exists():
        pytest.skip("wal2json is not installed (scripts/setup)")
    options, ids_of = PLUGINS[form]
    server = source(servers, logical_decoding_work_mem="64kB")
    out = place / "changes"
    command = logical_command(server, out, *options, "-F", "50ms", "-v")
    result = pgweir("logical", "create", "-S", "s", "-P", plugin, "-d", server.conninfo(dbname="postgres"))
    assert result.returncode == 0, result.stderr

    receiver = receivers.start(command)
    writers = workload(server, place)
    try:
        for _ in range(ROUNDS):
            time.sleep(seeded.uniform(0.1, 0.8))
            if writers.poll() is not None:
                writers = workload(server, place)
            if seeded.random() < 0.35:
                server.stop("immediate")
                server.start()
            else:
                receiver.kill9()
                receiver = receivers.start(command)

        def enough():
            nonlocal writers
            if writers.poll() is not None:
                writers = workload(server, place)
            return int(server.sql("SELECT count(*) FROM t")) > 40

        wait_for(enough, "some rows, however slow the machine is")
    finally:
        writers.kill()
        writers.wait()
    writers_gone(server)
    # What an open transaction wrote is ended by then.
    last_row_written(server, receiver, out)
    receiver.stop()
    ids = ids_of(changes.lines_of(out))
    source_ids = [int(line) for line in server.sql("SELECT id FROM t ORDER BY id").splitlines()]
    assert len(ids) > 20
    assert sorted(ids) == source_ids
    # The state says the file's end, so another start changes nothing.
    assert json.loads((place / "changes.state").read_text())["offset"] == out.stat().st_size


def test_the_raw_form_is_what_pg_recvlogical_prints(servers, place):
    server = source(servers)
    for slot in ("s", "stock", "ours"):
        server.sql(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES (E'two\\nlines'), (NULL), ('é')")
    server.sql("DELETE FROM t WHERE id = 1")
    up_to_now(server, place / "out", "--format", "plugin")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    outputs = {}
    for slot, program in (("stock", DEBIAN_BIN / "pg_recvlogical"), ("ours", link)):
        result = run([program, "-d", server.conninfo(dbname="postgres"), "-S", slot, "--start", "-f",
                      "-", "-E", end, "-n", "-o", "skip-empty-xacts", "-o", "include-xids=0"])
        outputs[slot] = result.stdout
        assert result.stderr == ""
        again = run([program, "-d", server.conninfo(dbname="postgres"), "-S", slot, "--start", "-f",
                     "-", "-E", end, "-n", "-o", "skip-empty-xacts", "-o", "include-xids=0"])
        assert again.stdout == ""
    assert "INSERT" in outputs["stock"]
    assert outputs["ours"] == outputs["stock"]
    raw = (place / "out").read_text()
    assert re.sub(r"(BEGIN|COMMIT) \d+", r"\1", raw).replace("BEGIN\nCOMMIT\n", "") \
        == outputs["stock"].replace(BEHIND_THE_END, "")


def test_recvlogical_opens_its_file_anew_on_sighup(servers, receivers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    out = place / "out"
    receiver = receivers.start([link, "-d", server.conninfo(dbname="postgres"), "-S", "s", "--start",
                                "-f", out, "-F", "1"])
    server.sql("INSERT INTO t (v) VALUES ('before')")
    wait_for(lambda: out.exists() and b"before" in out.read_bytes(), "the first row")
    out.rename(place / "moved")
    receiver.send(signal.SIGHUP)
    wait_for(out.exists, "the new file")
    server.sql("INSERT INTO t (v) VALUES ('after')")
    wait_for(lambda: b"after" in out.read_bytes(), "the second row")
    assert b"after" not in (place / "moved").read_bytes()
    receiver.stop(signal.SIGINT)
    slot_free(server)


class Vanishing(FakeServer):
    """Sends one transaction, and is gone."""

    def _answer(self, connection, command):
        if not command.startswith("START_REPLICATION"):
            return super()._answer(connection, command)
        connection.send(b"W", struct.pack(">bh", 0, 0))
        for position, text in ((0x1000000, b"BEGIN 7"), (0x1000050, b"COMMIT 7")):
            connection.wal(position, text)
        return False


def test_what_has_arrived_is_in_the_file_while_the_server_is_gone(receivers, place):
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    out = place / "out"
    with Vanishing() as server:
        receiver = receivers.start([link, "-d", f"{server.conninfo()} dbname=postgres", "-S", "s", "--start", "-f", out])
        receiver.wait_log("disconnected; waiting 5 seconds to try again")
        assert out.read_text().startswith("BEGIN 7\nCOMMIT 7\n")
        receiver.stop(signal.SIGINT)


def test_what_the_disk_has_not_taken_is_asked_for_again(receivers, place):
    """The connection is lost first, and what has arrived is then found to have no space."""
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    with Vanishing() as server:
        receiver = receivers.start([link, "-d", f"{server.conninfo()} dbname=postgres", "-S", "s", "--start",
                                    "-f", "/dev/full", "-v"])
        receiver.wait_log("No space left on device")
        receiver.wait_log("(?s)waiting 5 seconds.*streaming initiated.*waiting 5 seconds")
        assert set(re.findall("starting log streaming at (.*) ", receiver.said())) == {"0/0 (slot"}
        receiver.stop(signal.SIGINT)


@pytest.fixture
def recvlogical(place):
    """The stand-in."""
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    return link


def test_recvlogical_creates_the_slot_on_the_connection_of_its_stream(servers, recvlogical):
    """The next one might be one too many: max_wal_senders, or the role's CONNECTION LIMIT."""
    server = source(servers)
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    command = [recvlogical, "-d", server.conninfo(dbname="postgres"), "-S", "s", "--create-slot", "--start", "-f", "-",
               "-E", end, "-n"]
    run(command)
    commands = re.findall(r"\[(\d+)\] pg_recvlogical LOG:  received replication command: (\S+)", server.log.read_text())
    assert [name for _, name in commands if "REPLICATION" in name] \
        == ["CREATE_REPLICATION_SLOT", "START_REPLICATION"]
    assert len({pid for pid, _ in commands}) == 1
    slot_free(server)
    again = run(command, check=False)
    assert again.returncode == 1
    assert again.stderr.startswith('pg_recvlogical: error: could not send replication command "CREATE_REPLICATION_SLOT ')
    assert 'ERROR:  replication slot "s" already exists' in again.stderr
    assert "disconnected" not in again.stderr
    run([*command, "--if-not-exists"])


def test_recvlogical_says_disconnected_when_the_original_does(servers, place, recvlogical):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES ('1')")

    def ends(program, output="-", slot="s", database="postgres"):
        slot_free(server)
        result = run([program, "-d", server.conninfo(dbname=database), "-S", slot, "--start", "-n", "-f", output],
                     check=False)
        assert result.returncode == 1, result
        return result.stderr.endswith("pg_recvlogical: error: disconnected\n")

    for case, said in (({"slot": "missing"}, True), ({"output": place / "missing" / "file"}, True),
                       ({"output": "/dev/full"}, True), ({"database": "missing"}, False)):
        assert [ends(program, **case) for program in (DEBIAN_BIN / "pg_recvlogical", recvlogical)] == [said] * 2, case


def test_recvlogical_complains_in_the_originals_words(servers, recvlogical):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('there', 'test_decoding')")
    server.sql("SELECT pg_create_physical_replication_slot('physical')")
    server.sql("CREATE DATABASE other")
    database = server.conninfo(dbname="postgres")
    start = ["--start", "-n", "-f", "-"]

    def complaints(program, options):
        slot_free(server, "there")
        result = run([program, *options], check=False)
        assert result.returncode == 1, result
        kept = [line for line in result.stderr.splitlines() if not line.startswith("pg_recvlogical: hint: ")]
        return re.sub(r"\s+", " ", " ".join(kept)).replace("( ", "(").strip()

    different = []
    for options in (
            ["-d", database, "-S", "there", "--create-slot"],
            ["-d", database, "-S", "there", "--create-slot", *start],
            ["-d", database, "-S", "new", "--create-slot", "-P", "no_such_plugin"],
            ["-d", database, "-S", "Wrong-Name", "--create-slot"],
            ["-d", database, "-S", "missing", "--drop-slot"],
            ["-d", database, "-S", "missing", *start],
            ["-d", database, "-S", "physical", *start],
            ["-d", server.conninfo(dbname="other"), "-S", "there", *start],
            ["-d", server.conninfo(dbname="missing"), "-S", "there", *start],
            ["-d", database, "-S", "there", "-o", "no-such-option=1", *start],
            ["-d", database, "-S", "there", "-U", "nobody", *start],
            ["-d", database, "-S", "there", "--start", "-n", "-f", "/nowhere/file"],
            ["-d", "postgres", "-h", "127.0.0.1", "-p", free_port(), "-S", "there", *start]):
        theirs, mine = (complaints(program, options) for program in (DEBIAN_BIN / "pg_recvlogical", recvlogical))
        if mine != theirs:
            different.append((mine, theirs))
    assert not different, different


@pytest.mark.parametrize("actions", (["--create-slot"], ["--create-slot", "--start", "-f", "-"]),
                         ids=("create", "create-and-start"))
def test_recvlogical_stopped_before_it_has_the_slot_is_no_success(servers, receivers, recvlogical, actions):
    server = source(servers)
    writer = subprocess.Popen([DEBIAN_BIN / "psql", "-qX", "-d", server.conninfo(dbname="postgres")], stdin=subprocess.PIPE)
    writer.stdin.write(b"BEGIN; INSERT INTO t (v) VALUES ('1');\n")
    writer.stdin.flush()
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL") == "1",
             "the transaction")
    receiver = receivers.start([recvlogical, "-d", server.conninfo(dbname="postgres"), "-S", "s", "-v", *actions])
    receiver.wait_log('creating replication slot "s"')
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' "
                                "AND wait_event_type = 'Lock'") == "1", "it to wait for the transaction")
    receiver.send(signal.SIGTERM)
    assert receiver.wait_exit() == 1
    writer.communicate(b"COMMIT;\n")
    wait_for(lambda: server.sql("SELECT count(*) FROM pg_replication_slots") == "0", "no slot to be left")


class WithoutAStream(FakeServer):
    """Creates a slot, and then answers nothing."""

    made = asked_more = False

    def _answer(self, connection, command):
        if self.made:
            self.asked_more = True
            return connection.wait()
        if not command.startswith("CREATE_REPLICATION_SLOT"):
            return super()._answer(connection, command)
        connection.row(["s", "0/1000000", None, "test_decoding"])
        self.made = True
        return True


def test_recvlogical_stopped_before_its_stream_has_done_what_it_was_asked_to(receivers, recvlogical):
    """The slot is there, and the original ends as at any other moment of its stream."""
    with WithoutAStream() as server:
        receiver = receivers.start([recvlogical, "-d", f"{server.conninfo()} dbname=postgres", "-S", "s", "-v",
                                    "--create-slot", "--start", "-f", "-"])
        wait_for(lambda: server.asked_more, "it to have the slot")
        receiver.send(signal.SIGTERM)
        assert receiver.wait_exit() == 0
        assert receiver.said() == ('pg_recvlogical: creating replication slot "s"\n'
                                   "pg_recvlogical: received interrupt signal, exiting\n")


def test_recvlogical_waits_while_its_disk_is_full(servers, receivers, place, recvlogical):
    """As the original, which nobody may start again. It must not start after what is missing in the file."""
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    before = server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots")
    out = place / "out"
    out.symlink_to("/dev/full")
    receiver = receivers.start([recvlogical, "-d", server.conninfo(dbname="postgres"), "-S", "s", "--start", "-f", out,
                                "-F", "1", "-s", "1", "-v"])
    receiver.wait_log("streaming initiated")
    server.sql("INSERT INTO t (v) VALUES ('first')")
    receiver.wait_log("No space left on device")
    receiver.wait_log("disconnected; waiting 5 seconds to try again")
    slot_free(server)
    assert server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots") == before
    out.unlink()
    receiver.send(signal.SIGHUP)
    server.sql("INSERT INTO t (v) VALUES ('second')")
    wait_for(lambda: b"second" in content_if_there(out), "the second row")
    assert re.findall(r"INSERT: id\[bigint\]:(\d+)", out.read_text()) == ["1", "2"]
    receiver.stop(signal.SIGINT)
    assert "received interrupt signal, exiting" in receiver.said()


def test_recvlogical_drops_a_slot_without_a_database(servers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("CREATE ROLE capture LOGIN REPLICATION")  # there is no database of this name
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    run([link, "-h", "127.0.0.1", "-p", str(server.port), "-U", "capture", "-S", "s", "--drop-slot"])
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"


def test_rotation_keeps_every_transaction_whole_and_once(servers, receivers, place, seeded):
    server = source(servers)
    out = place / "changes"
    command = logical_command(server, out, "--create-slot", "--if-not-exists", "-o",
                              "publication_names=p", "-F", "50ms", "--rotate-size", "8kB")
    receiver = receivers.start(command)
    receiver.wait_log("streaming from")
    moved = 0

    def moved_away(path):
        try:
            out.rename(path)
        except FileNotFoundError:  # the last transaction is the last one of a finished file
            server.sql("INSERT INTO t (v) VALUES ('of the next file')")
            return False
        return True

    for round_ in range(8):
        for _ in range(4):
            server.sql("INSERT INTO t (v) SELECT repeat('x', 300) FROM generate_series(1, 10)")
        if round_ % 3 == 1:
            wait_for(lambda: moved_away(place / f"changes.moved{round_}"), "a file to be begun")
            moved += 1
            receiver.send(signal.SIGHUP)
        if round_ % 3 != 0:  # often before the new file is there
            time.sleep(seeded.uniform(0, 0.05))
            receiver.kill9()
            receiver = receivers.start(command)
    server.sql("INSERT INTO t (v) VALUES ('the last one')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: any(b"the last one" in content_if_there(path) for path in place.glob("changes*")
                         if path.suffix != ".state")
             and server.sql(f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t", "the last row")
    receiver.stop()
    files = [path for path in place.glob("changes*") if path.suffix != ".state"]
    assert len(files) > moved + 2
    objects = []
    for path in files:
        part = changes.lines_of(path)
        changes.inserted_ids(part)  # whole transactions in each
        objects += part
    assert sorted(changes.inserted_ids(objects)) == \
        [int(line) for line in server.sql("SELECT id FROM t ORDER BY id").splitlines()]


def test_sighup_opens_the_file_anew_before_the_next_transaction(servers, receivers, place):
    """What moved the file may compress and remove it before more is committed."""
    server = source(servers)
    out = place / "changes"
    receiver = receivers.start(logical_command(server, out, "--create-slot", "-F", "50ms", "-o", "publication_names=p"))
    receiver.wait_log("streaming from")
    last_row_written(server, receiver, out)
    moved = place / "changes.1"
    out.rename(moved)
    receiver.send(signal.SIGHUP)
    wait_for(out.exists, "the new file")
    before = moved.read_bytes()
    last_row_written(server, receiver, out)
    receiver.stop()
    assert moved.read_bytes() == before
    assert changes.inserted_ids(changes.lines_of(moved)) == [1]
    assert changes.inserted_ids(changes.lines_of(out)) == [2]


def written(server, number):
    """Waits until the workload has inserted so many rows."""
    wait_for(lambda: int(server.sql("SELECT coalesce(max(id), 0) FROM t")) >= number, f"row {number}")


def test_a_snapshot_and_the_stream_are_the_source(servers, receivers, place):
    server = source(servers)
    server.sql("INSERT INTO t (v) SELECT 'early' FROM generate_series(1, 50)")
    writers = workload(server, place)
    try:
        written(server, 60)
        dump = place / "dump"
        command = (f"sleep 0.5; psql -XAtq -v ON_ERROR_STOP=1 -d '{server.conninfo(dbname='postgres')}' "
                   f"-c 'BEGIN ISOLATION LEVEL REPEATABLE READ' "
                   f"-c \"SET TRANSACTION SNAPSHOT '$PGWEIR_SNAPSHOT'\" "
                   f"-c 'SELECT id FROM t' > {dump}")
        out = place / "changes"
        receiver = receivers.start(logical_command(
            server, out, "--create-slot", "--snapshot-command", command, "-o",
            "publication_names=p", "-F", "50ms"))
        receiver.wait_log("streaming from")
        written(server, int(server.sql("SELECT max(id) FROM t")) + 20)
    finally:
        writers.kill()
        writers.wait()
    writers_gone(server)
    last_row_written(server, receiver, out)
    receiver.stop()
    dumped = [int(line) for line in dump.read_text().split()]
    streamed = changes.inserted_ids(changes.lines_of(out))
    assert len(dumped) >= 50 and streamed
    assert sorted(dumped + streamed) == \
        [int(line) for line in server.sql("SELECT id FROM t ORDER BY id").splitlines()]

    failed = logical(server, place / "other", "--create-slot", "--snapshot-command", "exit 7", "-o",
                     "publication_names=p", slot="other")
    assert failed.returncode == 4
    assert "exited with exit code 7" in failed.stderr
    assert server.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'other'") == "0"


def test_a_snapshot_command_that_fails_with_the_connection_ends_the_start(servers, place):
    """Its slot cannot be dropped then. To stream from it would leave out all that the copy was to have."""
    server = source(servers)
    server.sql("INSERT INTO t (v) VALUES ('early')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    command = (f"psql -XAtq -d '{server.conninfo(dbname='postgres')}' -c \"SELECT pg_terminate_backend(pid, 60000)"
               " FROM pg_stat_activity WHERE backend_type = 'walsender'\"; exit 7")
    options = ["--create-slot", "--snapshot-command", command, "-o", "publication_names=p", "-E", end]
    failed = logical(server, place / "changes", *options)
    assert failed.returncode == 4, failed.stderr
    assert "the snapshot command failed" in failed.stderr
    assert "SELECT pg_drop_replication_slot('s')" in failed.stderr
    assert not (place / "changes").exists()
    assert server.sql("SELECT slot_name FROM pg_replication_slots") == "s"
    again = logical(server, place / "changes", *options)
    assert again.returncode == 4 and "already exists" in again.stderr, again.stderr


def test_every_kind_of_change_is_told_readably(servers, place):
    server = source(servers, max_prepared_transactions=5)
    server.sql("CREATE TABLE odd (k int PRIMARY KEY, \"a \"\"b\" text, b bytea, big text)")
    server.sql("ALTER TABLE odd ALTER big SET STORAGE EXTERNAL")
    server.sql("CREATE TABLE whole (a int, b text)")
    server.sql("ALTER TABLE whole REPLICA IDENTITY FULL")
    server.sql("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    server.sql("CREATE TABLE typed (k int PRIMARY KEY, m mood)")
    wrong = logical(server, None, "-t")
    assert wrong.returncode == 2 and "requires --create-slot" in wrong.stderr
    assert pgweir("logical", "create", "-S", "s", "-t", "-d",
                  server.conninfo(dbname="postgres")).returncode == 0
    server.sql("INSERT INTO odd VALUES (1, E'quote\" back\\\\ \\n tab\\t é \\x01', '\\xff00', "
               "repeat('z', 5000))")
    server.sql("UPDATE odd SET \"a \"\"b\" = NULL WHERE k = 1")
    server.sql("UPDATE odd SET k = 2 WHERE k = 1")
    server.sql("INSERT INTO whole VALUES (7, NULL)")
    server.sql("UPDATE whole SET b = 'x'")
    server.sql("DELETE FROM whole")
    server.sql("INSERT INTO typed VALUES (1, 'ok')")
    server.sql("TRUNCATE odd, whole RESTART IDENTITY")
    server.sql("SELECT pg_logical_emit_message(true, 'pre', 'con')")
    server.sql("BEGIN; INSERT INTO t (v) VALUES ('p'); PREPARE TRANSACTION 'it''s'")
    server.sql("COMMIT PREPARED 'it''s'")
    server.sql("BEGIN; INSERT INTO t (v) VALUES ('q'); PREPARE TRANSACTION 'gone'")
    server.sql("ROLLBACK PREPARED 'gone'")
    options = ("-o", "publication_names=p", "-o", "messages=true", "-o", "two_phase=on")
    out = place / "out"
    up_to_now(server, out, *options)
    objects = changes.lines_of(out)
    of = lambda kind, table=None: [  # noqa: E731
        each for each in objects
        if each["kind"] == kind and (table is None or each.get("table") == table)]
    insert = of("insert", "odd")[0]
    assert insert["new"] == {"k": "1", 'a "b': 'quote" back\\ \n tab\t é \x01', "b": "\\xff00",
                             "big": "z" * 5000}
    assert insert["schema"] == "public" and re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", insert["lsn"])
    updates = of("update", "odd")
    assert updates[0]["new"] == {"k": "1", 'a "b': None, "b": "\\xff00"}
    assert updates[0]["new_unchanged"] == ["big"]
    assert updates[1]["key"] == {"k": "1"} and updates[1]["new"]["k"] == "2"
    assert of("update", "whole")[0]["old"] == {"a": "7", "b": None}
    assert of("delete", "whole")[0]["old"] == {"a": "7", "b": "x"}
    assert of("type")[0]["name"] == "mood"
    assert of("truncate")[0]["restart_identity"] is True
    assert {table["table"] for table in of("truncate")[0]["tables"]} == {"odd", "whole"}
    assert of("message")[0]["prefix"] == "pre" and of("message")[0]["content"] == "con"
    assert of("prepare")[0]["gid"] == "it's" == of("commit_prepared")[0]["gid"]
    assert of("rollback_prepared")[0]["gid"] == "gone"
    assert [column["name"] for column in of("relation", "whole")[0]["columns"]] == ["a", "b"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", of("commit")[0]["time"])


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("plugin, options", [
    ("pgoutput", ["publication_names=p", "streaming=on", "two_phase=on"]),
    ("test_decoding", ["stream-changes=on"]),
], ids=["pgoutput", "test_decoding"])
def test_a_prepared_transaction_that_is_streamed_again_holds_nothing_up(servers, receivers, place,
                                                                        plugin, options, end):
    """What was prepared before a start is kept by the server's decoder, which may stream it again
    to make room, and then has no end for it until it is committed or rolled back. Which of two
    it takes depends on what a change takes of its memory: each version has its own idea of that."""
    server = source(servers, max_prepared_transactions=5, logical_decoding_work_mem="64kB")
    assert pgweir("logical", "create", "-S", "s", "-P", plugin, "-t", "-d",
                  server.conninfo(dbname="postgres")).returncode == 0
    out = place / "changes"
    command = logical_command(server, out, "-F", "20ms",
                              *[word for option in options for word in ("-o", option)])

    def confirmed():
        return wal.lsn(server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots"))

    def insert(rows, then):
        server.sql(f"BEGIN; INSERT INTO t (v) SELECT repeat('x', 100) FROM generate_series(1, {rows});"
                   f" {then}")
        return server.flushed()

    receiver = receivers.start(command)
    prepared = insert(2000, "PREPARE TRANSACTION 'streamed'")
    # Most of what the decoder has room for: next to another one it, or what is left of the other, is what has to go.
    prepared = insert(170, "PREPARE TRANSACTION 'g'")
    both = set(server.sql("SELECT transaction FROM pg_prepared_xacts").split())
    wait_for(lambda: confirmed() >= prepared, "the prepared transactions to be confirmed")
    receiver.kill9()
    before = out.stat().st_size
    receivers.start(command)
    insert(5000, "COMMIT")
    for each in ("g", "streamed"):
        server.sql(f"{end} PREPARED '{each}'")
    last = insert(1, "COMMIT")
    wait_for(lambda: confirmed() >= last, "what follows to be confirmed")
    more = out.read_bytes()[before:]
    begun = re.findall(rb'(?:"stream_start","xid":|opening a streamed block.*TXN )(\d+)', more)
    assert len(both) == 2 and both & {xid.decode() for xid in begun}, "neither prepared one has been streamed again"


def test_text_that_is_no_utf8_is_told_all_the_same(servers, place):
    server = source(servers)
    server.sql("CREATE DATABASE raw ENCODING 'SQL_ASCII' TEMPLATE template0")
    server.sql("CREATE TABLE b (a text); CREATE PUBLICATION p FOR ALL TABLES", database="raw")
    conninfo = server.conninfo(dbname="raw")
    for slot, plugin in (("s", "pgoutput"), ("d", "test_decoding")):
        server.sql(f"SELECT pg_create_logical_replication_slot('{slot}', '{plugin}')",
                   database="raw")
    server.sql(r"INSERT INTO b VALUES (E'\xff\xfe')", database="raw")
    peek = pgweir("logical", "peek", "-S", "s", "-d", conninfo, "-o", "publication_names=p")
    assert peek.returncode == 0, peek.stderr
    assert '"new":{"a":{"base64":"//4="}}' in peek.stdout
    # The SQL functions refuse such text; the stream does not.
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    server.sql("CHECKPOINT")
    result = run([BINARY, "logical", "-S", "d", "-d", conninfo, "-f", place / "out", "-E", end, "-n"],
                 check=False)
    assert result.returncode == 0, result.stderr
    assert any("base64" in each["data"] for each in changes.lines_of(place / "out")
               if isinstance(each["data"], dict))


def test_peek_leaves_and_get_takes(servers):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES ('x')")
    conninfo = server.conninfo(dbname="postgres")
    arguments = ("-S", "s", "-d", conninfo, "-o", "include-xids=0", "--format", "plugin")
    expected = "BEGIN\ntable public.t: INSERT: id[bigint]:1 v[text]:'x'\nCOMMIT\n"
    for verb, text in (("peek", expected), ("peek", expected), ("get", expected), ("get", "")):
        result = pgweir("logical", verb, *arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout == text
    server.sql("INSERT INTO t (v) VALUES ('x')")
    for verb, consumed in (("peek", False), ("get", True)):
        with open("/dev/full", "w") as full:
            result = subprocess.run([BINARY, "logical", verb, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode == 4, result.stderr
        assert "could not write to the standard output" in result.stderr
        assert ("cannot be read again" in result.stderr) == consumed, result.stderr
    assert pgweir("logical", "peek", *arguments).stdout == ""
    listed = pgweir("slot", "list", "-d", conninfo)
    assert "test_decoding" in listed.stdout and "logical" in listed.stdout
    assert pgweir("logical", "drop", "-S", "s", "-d", conninfo).returncode == 0
    missing = pgweir("logical", "drop", "-S", "s", "-d", conninfo)
    assert missing.returncode == 4
    assert "does not exist" in missing.stderr and "slot list" in missing.stderr, missing.stderr
    assert "slot create" not in missing.stderr, missing.stderr
    assert pgweir("logical", "drop", "-S", "s", "-d", conninfo, "--if-exists").returncode == 0


def test_bad_input_is_refused_with_a_way_out(servers, place):
    server = source(servers)
    server.sql("CREATE DATABASE other")
    server.sql("SELECT pg_create_physical_replication_slot('bodily')")
    for slot, plugin in (("s", "test_decoding"), ("o", "pgoutput")):
        server.sql(f"SELECT pg_create_logical_replication_slot('{slot}', '{plugin}')")
    other = server.conninfo(dbname="other")
    (place / "full").write_text("something else\n")

    def check(status, words, *options, **more):
        result = logical(server, more.pop("path", place / "out"), *options, "-n", **more)
        assert result.returncode == status, result.stderr
        assert re.search(words, result.stderr), result.stderr
        assert "HINT" in result.stderr or "hint" in result.stderr, result.stderr
        assert not (place / "out").exists()

    check(4, "is physical", slot="bodily")
    check(4, "does not exist", slot="nobody")
    check(2, '"/dev/null" is not a regular file', path="/dev/null")
    result = run([BINARY, "logical", "-S", "s", "-d", other, "-f", place / "out", "-n"], check=False)
    assert result.returncode == 4 and "belongs to another database" in result.stderr
    check(4, "no_such_plugin", "--create-slot", "-P", "no_such_plugin", slot="new")
    check(2, "publications", slot="o")
    check(4, "no_such_option", "-o", "no_such_option=1")
    check(4, "not empty and has no state", path=place / "full")
    check(2, "streamed", "-o", "stream-changes=1", "-o", "include-xids=0")
    assert (place / "full").read_text() == "something else\n"

    # The slot moved on behind the file's back.
    server.sql("INSERT INTO t (v) VALUES ('1')")
    up_to_now(server, place / "out")
    server.sql("INSERT INTO t (v) VALUES ('2')")
    slot_free(server)
    server.sql("SELECT pg_logical_slot_get_changes('s', NULL, NULL)")
    before = (place / "out").read_bytes()
    result = logical(server, place / "out", "-n")
    assert result.returncode == 4 and "advanced beyond" in result.stderr
    assert (place / "out").read_bytes() == before
    # A file that lost bytes, or is another one.
    (place / "out").write_bytes(before[:-5])
    result = logical(server, place / "out", "-n")
    assert result.returncode == 4
    result = logical(server, place / "out", "-n", "-o", "publication_names=p", slot="o")
    assert result.returncode == 4 and "another slot" in result.stderr


def test_a_server_without_logical_wal_is_explained(servers, place):
    server = servers.primary(wal_level="replica")
    result = logical(server, place / "out", "--create-slot", "-n")
    assert result.returncode == 4
    assert "wal_level" in result.stderr


def test_a_slot_of_a_standby_that_lost_the_logical_wal_says_so(servers, place):
    """Since 19 the last logical slot of a primary with wal_level = replica takes that of its standbys along."""
    primary = servers.primary(major=19, wal_level="replica")
    primary.sql("SELECT pg_create_logical_replication_slot('its', 'test_decoding')")
    standby = servers.standby(primary, hot_standby_feedback="on")
    made = subprocess.Popen(logical_command(standby, place / "out", "--create-slot", "-P", "test_decoding"),
                            stderr=subprocess.PIPE, text=True)
    try:
        def streams():
            primary.sql("SELECT pg_log_standby_snapshot()")
            return standby.sql("SELECT count(*) FROM pg_stat_replication WHERE state IN ('catchup', 'streaming')") == "1"
        wait_for(streams, "the stream of the standby", interval=0.3)
    finally:
        made.terminate()
        made.communicate()
    primary.sql("SELECT pg_drop_replication_slot('its')")
    wait_for(lambda: standby.sql("SELECT invalidation_reason FROM pg_replication_slots WHERE slot_name = 's'")
             == "wal_level_insufficient", "the slot to be invalidated")
    result = logical(standby, place / "out", "-n")
    assert result.returncode == 4
    assert 'replication slot "s" is lost: the server has invalidated it (wal_level_insufficient)' in result.stderr
    assert "keep a logical slot there" in result.stderr and "max_slot_wal_keep_size" not in result.stderr


def promoted(server):
    """A stopped server goes on as the primary of a new timeline."""
    server._write("standby.signal", "")
    server.start()
    server.promote()


def test_a_promotion_is_followed_unless_it_lost_transactions_of_the_file(servers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    out = place / "out"
    server.sql("INSERT INTO t (v) VALUES ('first')")
    up_to_now(server, out)
    server.stop()
    promoted(server)
    server.sql("INSERT INTO t (v) VALUES ('second')")
    up_to_now(server, out)
    server.stop()
    server.copy_of_files()
    server.start()
    server.sql("INSERT INTO t (v) VALUES ('lost')")
    up_to_now(server, out)
    written = out.read_bytes()
    assert [written.count(row) for row in (b"'first'", b"'second'", b"'lost'")] == [1, 1, 1], written
    server.stop()
    server.set_back()
    promoted(server)
    # What commits before the file's position, the server would skip.
    server.sql("INSERT INTO t (v) VALUES ('skipped')")
    server.sql("INSERT INTO t (v) SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    state = json.loads((place / "out.state").read_text())
    assert state["timeline"] == 2 and server.flushed() > wal.lsn(state["position"]), state
    result = logical(server, out, "-E", wal.lsn_text(server.flushed()), "-n")
    assert result.returncode == 4, result
    assert "contains transactions that the server does not have" in result.stderr, result.stderr
    assert f"file {state['position']} on timeline 2" in result.stderr, result.stderr
    assert "server's timeline 3, since 0/" in result.stderr, result.stderr
    assert out.read_bytes() == written


def test_an_end_position_in_the_past_ends_at_once(servers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES ('1')")
    result = logical(server, place / "out", "-E", "0/1", "-n")
    assert result.returncode == 0, result.stderr
    assert (place / "out").read_bytes() == b""
    up_to_now(server, place / "out")
    assert b"INSERT" in (place / "out").read_bytes()


@pytest.mark.parametrize("form", ("pgoutput", "test_decoding", "wal2json1", "wal2json2"))
def test_a_transaction_that_ends_after_the_end_position_is_omitted(servers, place, form):
    plugin = form.rstrip("12")
    if plugin == "wal2json" and not WAL2JSON.exists():
        pytest.skip("wal2json is not installed (scripts/setup)")
    options, ids_of = PLUGINS[form]
    server = source(servers)
    server.sql(f"SELECT pg_create_logical_replication_slot('s', '{plugin}')")
    server.sql("INSERT INTO t (v) VALUES ('before')")
    within = server.sql("BEGIN; INSERT INTO t (v) VALUES ('first'); SELECT pg_current_wal_insert_lsn(); "
                        "INSERT INTO t (v) VALUES ('second'); COMMIT")
    result = logical(server, place / "out", "-E", within, "-n", *options)
    assert result.returncode == 0, result.stderr
    assert ids_of(changes.lines_of(place / "out")) == [1]
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    server.sql("INSERT INTO t (v) VALUES ('after')")
    result = logical(server, place / "out", "-E", end, "-n", *options)
    assert result.returncode == 0, result.stderr
    assert ids_of(changes.lines_of(place / "out")) == [1, 2, 3]


def test_a_full_disk_confirms_nothing_that_is_not_there(servers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
    server.sql("INSERT INTO t (v) VALUES ('last')")
    # As a full disk, for this process only.
    result = run(["sh", "-c", 'ulimit -f 512; trap "" XFSZ; exec "$@"', "sh",
                  *map(str, logical_command(server, place / "out", "-n"))], check=False)
    assert result.returncode in (3, 4), result.stderr
    state = json.loads((place / "out.state").read_text())
    assert state["offset"] == 0
    up_to_now(server, place / "out")
    assert len(changes.inserted_ids_of_test_decoding(changes.lines_of(place / "out"))) == 3001


@pytest.mark.parametrize("program", ("stock", "stand-in", "pgweir"))
def test_an_output_that_takes_nothing_at_the_end_position_is_no_success(servers, place, program):
    """What is written last is still in memory when the end is reached."""
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES ('1')")
    end = server.sql("SELECT max(lsn) FROM pg_logical_slot_peek_changes('s', NULL, NULL)")
    before = server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots")
    if program == "pgweir":
        command = logical_command(server, "/dev/full", "--no-state", "-E", end, "-n")
    else:
        link = place / "pg_recvlogical"
        link.symlink_to(BINARY)
        command = [DEBIAN_BIN / "pg_recvlogical" if program == "stock" else link,
                   "-d", server.conninfo(dbname="postgres"), "-S", "s", "--start", "-f", "/dev/full", "-E", end, "-n"]
    result = run(command, check=False)
    assert result.returncode in ((3, 4) if program == "pgweir" else (1,)), result.stderr
    assert "No space left on device" in result.stderr
    slot_free(server)
    assert server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots") == before


def test_a_sync_that_fails_at_the_end_is_not_tried_again(servers, receivers, place, sync_fault):
    """The next one may succeed without what the kernel has dropped. Nothing is claimed to be durable."""
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    out, state = place / "out", place / "out.state"
    receiver = receivers.start(logical_command(server, out, "-F", "1h", "-s", "1h"), env=sync_fault.env)
    receiver.wait_log("streaming from slot")
    wait_for(state.exists, "the state file")
    before = state.read_text()
    sync_fault.set("fail 1")
    server.sql("INSERT INTO t (v) VALUES ('1')")
    wait_for(lambda: b"COMMIT" in content_if_there(out), "the transaction to be written")
    receiver.send(signal.SIGINT)
    assert receiver.wait_exit() == 4, receiver.said()
    assert state.read_text() == before
    up_to_now(server, out)
    assert changes.inserted_ids_of_test_decoding(changes.lines_of(out)) == [1]


MEGABYTES = int(os.environ.get("PGWEIR_MESSAGE_MB", 64))  # of one value; up to 1023


def peak_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0


@pytest.mark.parametrize("form", ("plugin", "jsonl"))
def test_a_large_message_passes_in_bounded_memory(servers, receivers, place, form):
    """PGWEIR_MESSAGE_MB=1000 for one near the limit: some 8 GB of memory, server and all."""
    server = source(servers, max_wal_size="4GB", wal_keep_size="0")
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("ALTER TABLE t ALTER v SET STORAGE EXTERNAL")
    server.sql(f"INSERT INTO t (v) SELECT repeat('x', {MEGABYTES << 20} - 1000)", timeout=10 * PATIENCE)
    server.sql("INSERT INTO t (v) VALUES ('the very last row')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    out = place / "out"
    receiver = receivers.start(logical_command(server, out, "-F", "100ms", "--format", form))
    wait_for(lambda: receiver.running() and server.sql(
        f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t",
        "the large row", 300, interval=0.3)
    # libpq's buffer, which doubles, and its copy; JSON is one more.
    peak = peak_mb(receiver.pid)
    assert peak < (MEGABYTES * (3.2 if form == "plugin" else 4.3) + 40) * MEMORY_FACTOR
    receiver.stop()
    assert out.stat().st_size > (MEGABYTES << 20) - 1000
    print(f"{MEGABYTES} MB as {form}: at most {peak} MB resident")


@pytest.mark.skipif("PGWEIR_MESSAGE_MB" not in os.environ, reason="takes 4 GB of memory")
def test_what_is_too_large_for_the_server_is_explained(servers, place):
    server = source(servers, max_wal_size="4GB", wal_keep_size="0")
    server.sql("CREATE TABLE b (a int, v bytea)")
    server.sql("ALTER TABLE b ALTER v SET STORAGE EXTERNAL")
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    server.sql("INSERT INTO t (v) VALUES ('before')")
    # A bytea's text has twice its bytes, which is more than 1 GB.
    server.sql("INSERT INTO b SELECT 1, decode(repeat('00', 300000000), 'hex') ||"
               " decode(repeat('00', 260000000), 'hex')", timeout=10 * PATIENCE)
    result = logical(server, place / "out", timeout=10 * PATIENCE)
    assert result.returncode == 4, result.stderr
    assert "too large for the server to send" in result.stderr
    assert "binary=true" in result.stderr
    assert b"before" in (place / "out").read_bytes()


@pytest.mark.parametrize("major", (16, 17, 18, 19))
def test_decoding_on_a_standby(servers, receivers, place, major):
    primary = source_of(servers, major)
    standby = servers.standby(primary, hot_standby_feedback="on", wal_level="logical")
    out = place / "out"
    receiver = receivers.start(logical_command(standby, out, "--create-slot", "-o",
                                               "publication_names=p", "-F", "50ms"))
    # The standby waits for a snapshot of the running transactions.
    def streaming():
        primary.sql("SELECT pg_log_standby_snapshot()")
        return "streaming from" in receiver.said()
    wait_for(streaming, "the stream of the standby", interval=0.3)
    primary.sql("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 100)")
    wait_for(lambda: out.exists() and '"100"' in out.read_text(), "the rows")
    receiver.stop()
    assert changes.inserted_ids(changes.lines_of(out)) == list(range(1, 101))


@pytest.mark.parametrize("major", (17, 18, 19))
def test_a_synchronized_slot_is_waited_for_until_the_promotion(servers, receivers, place, major):
    primary = source_of(servers, major)
    standby = servers.standby(primary, start=False, hot_standby_feedback="on", wal_level="logical",
                              primary_slot_name="standby", sync_replication_slots="on")
    standby.conf(primary_conninfo=primary.conninfo(application_name=standby.name, dbname="postgres"))
    # Not before: the standby may be a copy of all files.
    primary.sql("SELECT pg_create_physical_replication_slot('standby', true)")
    primary.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput', failover => true)")
    standby.start()

    def synchronized():
        primary.sql("SELECT pg_log_standby_snapshot()")
        primary.sql("SELECT pg_replication_slot_advance('s', pg_current_wal_flush_lsn())")
        return standby.sql("SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = 's'") == "t"
    wait_for(synchronized, "the slot on the standby", interval=0.3)
    primary.sql("INSERT INTO t (v) VALUES ('x')")
    end = primary.sql("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t", "the row on the standby")
    out = place / "out"
    command = logical_command(standby, out, "-o", "publication_names=p", "-F", "50ms")
    creating = receivers.start([*command, "--create-slot", "--if-not-exists", "--failover"])
    creating.wait_log("the server is a standby, where no failover slot can be created")
    assert creating.running()
    creating.stop()
    receiver = receivers.start(command)
    receiver.wait_log('the server is a standby, and synchronizes replication slot "s" from its primary')
    assert "trying again" in receiver.said() and receiver.running()
    primary.stop()
    standby.promote()
    wait_for(lambda: b'"1"' in content_if_there(out), "the row")
    receiver.stop()
    assert changes.inserted_ids(changes.lines_of(out)) == [1]


def test_a_standby_that_cannot_decode_is_waited_for(servers, receivers, place):
    """Before 16, a tool for failovers may have copied the slot's files."""
    server = source_of(servers, 15)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    server.sql("INSERT INTO t (v) VALUES ('x')")
    server.stop()
    server._write("standby.signal", "")
    server.start()
    out = place / "out"
    receiver = receivers.start(logical_command(server, out, "-o", "publication_names=p", "-F", "50ms"))
    receiver.wait_log("the server is a standby, and cannot decode before PostgreSQL 16")
    assert receiver.running()
    server.promote()
    wait_for(lambda: b'"1"' in content_if_there(out), "the row")
    receiver.stop()
    assert changes.inserted_ids(changes.lines_of(out)) == [1]


@pytest.mark.parametrize("major", (13, 14, 16, 17, 18, 19))
def test_every_version_has_its_own_options_of_a_slot(servers, place, major):
    server = source_of(servers, major, max_prepared_transactions=5)
    conninfo = server.conninfo(dbname="postgres")
    header = (REPOSITORY / "include" / "pgweir" / "replication_stream.h").read_text()
    manual = (REPOSITORY / "man" / "pgweir-logical.1").read_text().replace("\\-", "-")
    for option, since, column in (("--two-phase", 15, "two_phase"), ("--failover", 17, "failover")):
        # Wherever it is told, it is told as it is.
        assert re.findall(rf"\b{column} = false;.*; (\d+) and later", header) == [str(since)]
        assert re.findall(rf"{option}\n.*\(server (\d+) and later", manual) == [str(since)]
        assert re.findall(rf"{option} .*\((\d+)\+\)", pgweir("logical", "--help").stdout) == [
            str(since)]
        made = pgweir("logical", "create", "-S", "s", "-d", conninfo, option)
        if major >= since:
            assert made.returncode == 0, made.stderr
            assert server.sql(f"SELECT {column} FROM pg_replication_slots") == "t"
            assert pgweir("logical", "drop", "-S", "s", "-d", conninfo).returncode == 0
        else:
            assert made.returncode == 2, made.stderr
            assert f"from PostgreSQL {since} on" in made.stderr
    if major == 14:  # the command cannot (its grammar has no word for it), SQL can
        server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding', false, true)")
        server.sql("BEGIN; INSERT INTO t (v) VALUES ('p'); PREPARE TRANSACTION 'it'")
        server.sql("COMMIT PREPARED 'it'")
        up_to_now(server, place / "out", "--format", "plugin")
        text = (place / "out").read_text()
        assert "PREPARE TRANSACTION 'it'" in text and "COMMIT PREPARED 'it'" in text
        assert text.count("INSERT") == 1


def test_a_failure_after_progress_is_a_new_one(servers, receivers, place):
    """It is reported in full, and the connection is tried again at once."""
    server = source_of(servers, DEBIAN_MAJOR)
    out = place / "changes"
    receiver = receivers.start(logical_command(server, out, "--create-slot", "-F", "50ms", "-o", "publication_names=p"))
    receiver.wait_log("streaming from")
    for _ in range(3):
        server.sql("INSERT INTO t (v) VALUES ('x')")
        last_row_written(server, receiver, out)
        server.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    server.sql("INSERT INTO t (v) VALUES ('x')")
    last_row_written(server, receiver, out)
    receiver.stop()
    told = re.findall(r"administrator command(.*); trying again in (\d+) ms", receiver.said())
    assert len(told) == 3 and all("as before" not in how and int(pause) <= 200 for how, pause in told), receiver.said()


def test_a_connection_that_ends_anywhere_in_the_start_is_made_again(servers, receivers, place):
    server = source(servers)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    out = place / "changes"
    command = logical_command(server, out, "-F", "50ms", "-o", "publication_names=p", "--format", "jsonl")
    ended = 0
    while True:
        slot_free(server)
        line = Ending(server.port, ended + 1)
        place_of = command.index("-d") + 1
        receiver = receivers.start([*command[:place_of], server.conninfo(dbname="postgres", port=line.port),
                                    *command[place_of + 1:]])
        receiver.wait_log("streaming from")
        last_row_written(server, receiver, out)
        receiver.stop()
        line.close()
        if line.left > 0:
            break
        assert "trying again" in receiver.said()
        ended += 1
    assert ended > 5, "the start asks more than that"
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert sum(line["kind"] == "insert" for line in lines) == ended + 1, lines[:9]


def test_a_start_that_is_refused_leaves_no_slot_of_an_earlier_connection(servers, place):
    """The connection ends between the slot's creation and the refusal: an unused slot would retain WAL."""
    server = source(servers)
    kept = 0
    for number in range(1, 100):
        line = Ending(server.port, number)
        conninfo = server.conninfo(dbname="postgres", port=line.port)
        refused = run([BINARY, "logical", "-S", "s", "-d", conninfo, "-f", place / "changes", "--create-slot", "--if-not-exists"],
                      check=False)
        line.close()
        assert refused.returncode == 2 and "needs the names" in refused.stderr, refused.stderr
        if server.sql("SELECT count(*) FROM pg_replication_slots") == "1":
            assert "still exists and retains WAL" in refused.stderr, (number, refused.stderr)
            slot_free(server)
            server.sql("SELECT pg_drop_replication_slot('s')")
            kept += 1
        if line.left > 0:
            break
    assert number > 4 and kept <= 1, "only where the connection ends with the command that drops it"


@pytest.mark.parametrize("plugin", ("pgoutput", "test_decoding"))
@pytest.mark.parametrize("major", (13, 14, 16, 17, 18, 19))
def test_every_version_goes_on_exactly_after_kills(servers, receivers, place, seeded, major, plugin):
    server = source_of(servers, major, logical_decoding_work_mem="64kB")
    out = place / "changes"
    command = logical_command(server, out, "--create-slot", "--if-not-exists", "-P", plugin, "-F",
                              "50ms", *(("-o", "publication_names=p") if plugin == "pgoutput" else ()))
    receiver = receivers.start(command)
    receiver.wait_log("streaming from")
    for round_ in range(4):
        for _ in range(5):
            server.sql("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 300)")
        if round_ == 2:
            server.restart("immediate")
        else:
            receiver.kill9()
            receiver = receivers.start(command)
    last_row_written(server, receiver, out)
    receiver.stop()
    ids_of = changes.inserted_ids if plugin == "pgoutput" else changes.inserted_ids_of_test_decoding
    assert sorted(ids_of(changes.lines_of(out))) == \
        [int(line) for line in server.sql("SELECT id FROM t ORDER BY id").splitlines()]


@pytest.mark.parametrize("major", (13, 14, 16, 17, 18, 19))
def test_every_version_streams_by_pgoutput(servers, place, major):
    server = source_of(servers, major, logical_decoding_work_mem="64kB")
    created = pgweir("logical", "create", "-S", "s", "-d", server.conninfo(dbname="postgres"),
                     *(("-t",) if major >= 15 else ()), *(("--failover",) if major >= 17 else ()))
    assert created.returncode == 0, created.stderr
    server.sql("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 2000)")
    server.sql("BEGIN; INSERT INTO t (v) SELECT 'y' FROM generate_series(1, 2000); SAVEPOINT a; "
               "INSERT INTO t (v) SELECT 'z' FROM generate_series(1, 2000); ROLLBACK TO a; COMMIT")
    streaming = () if major < 14 else ("-o", "streaming=" + ("parallel" if major >= 16 else "on"))
    up_to_now(server, place / "out", "-o", "publication_names=p", *streaming)
    objects = changes.lines_of(place / "out")
    assert sorted(changes.inserted_ids(objects)) == list(range(1, 4001))
    assert any(each["kind"] == "stream_commit" for each in objects) == (major >= 14)


@pytest.mark.parametrize("major", (13, 14, 15, 16, 17, 18, 19))
def test_a_publication_that_is_missing_is_told_before_anything_else(servers, place, major):
    server = source_of(servers, major)
    server.sql('CREATE PUBLICATION "Q,r" FOR ALL TABLES')
    conninfo = server.conninfo(dbname="postgres")

    def logical(names, *verb):
        return pgweir("logical", *verb, "-S", "s", "-d", conninfo, "-o", f"publication_names={names}")

    for names, missing in (("nowhere", ['"nowhere"']), ('p,"P"', ['"P"']),
                           ('p, nowhere ,"Q,r", Never', ['"nowhere"', '"never"'])):
        refused = logical(names, "--create-slot", "-f", place / "out", "--endpos", "0/1000000")
        assert refused.returncode == 4, refused.stderr
        assert f"no such publication: {', '.join(missing)}" in refused.stderr, refused.stderr
        assert "CREATE PUBLICATION" in refused.stderr and "streaming" not in refused.stderr
        assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
        assert not (place / "out").exists()
    assert pgweir("logical", "create", "-S", "s", "-d", conninfo).returncode == 0
    server.sql("INSERT INTO t (v) VALUES ('x')")
    # Every pgoutput refuses an option that is given twice; neither is the one that counts.
    with pytest.raises(Exception, match="conflicting or redundant options"):
        server.sql("SELECT * FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, "
                   "'proto_version', '1', 'publication_names', 'p', 'publication_names', 'p')")
    for first, second in (("nowhere", "p"), ("p", "nowhere"), ("p", "p")):
        twice = logical(second, "get", "-o", f"publication_names={first}")
        assert twice.returncode == 2, twice.stderr
        assert "publication_names is specified more than once" in twice.stderr
    refused = logical("p,nowhere", "get")
    assert refused.returncode == 4 and 'no such publication: "nowhere"' in refused.stderr
    assert server.sql("SELECT confirmed_flush_lsn < pg_current_wal_lsn() FROM pg_replication_slots")
    # It is there now, but was not when the row was written: up to 17 the server refuses, from 18 on
    # it leaves the row out, as it does for a table that is not published.
    server.sql("CREATE PUBLICATION late FOR ALL TABLES")
    late = logical("late", "get")
    assert late.returncode == (0 if major >= 18 else 4), late.stderr
    assert major >= 18 or "was created after these changes" in late.stderr, late.stderr
    if major < 18:
        slot_free(server)
        done = logical('P,"Q,r"', "get")
        assert done.returncode == 0, done.stderr
        assert '"insert"' in done.stdout and '"x"' in done.stdout, done.stdout


def source_of(servers, major, **settings):
    server = servers.primary(major=major, wal_level="logical", **settings)
    server.sql("CREATE TABLE t (id bigserial PRIMARY KEY, v text)")
    server.sql("CREATE PUBLICATION p FOR ALL TABLES")
    return server
