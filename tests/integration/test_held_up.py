"""Nobody we are connected to is held up by our trouble (P13), as the server sees it: its checkpointer, its shutdown,
who wants our walsender gone."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from support import receiver as receivers_
from support.process import die_with_parent, wait_for
from support.scenario import create_slot, gone, reported, streaming
from support.server import DEBIAN_MAJOR
from test_disk import small_disk  # noqa: F401 (a fixture)

pytestmark = pytest.mark.in_memory

# What waits for us waits for ever, or until the server gives up a connection (wal_sender_timeout, a minute).
AT_ONCE = 48
GIVES_UP_SLOTS = {"wal_keep_size": "0", "max_slot_wal_keep_size": "8MB"}


class Trouble:
    """A receiver whose disk has taken nothing for a while, of a server that has much to send: `server`, which
    is `primary` or a standby of it. The settings are the server's."""

    def __init__(self, kind, program, servers, receivers, new_archive, disk, fault, place, major=DEBIAN_MAJOR,
                 standby=False, **settings):
        self.kind = kind
        self.disk = disk
        self.fault = fault
        self.primary = self.server = servers.primary(major=major, **({} if standby else settings))
        if standby:
            self.server = servers.standby(self.primary, **settings)
        create_slot(self.server)
        self.archive = new_archive(self.primary, disk.name)
        self.name = {"receive": "pgweir"}.get(program, program)
        if kind != "full":
            disk.grow(512)
        if program == "receive":
            self.receiver = receivers.pgweir(self.archive, self.server, "-S", "archive", env=fault.env)
        else:
            (place / "bin").mkdir()
            shutil.copy(receivers_.BINARY, place / "bin" / program)
            self.receiver = receivers.start([place / "bin" / program, "-D", self.archive.path, "-S", "archive",
                                             "-d", self.server.conninfo(), "--synchronous"], fault.env)
        self.pid = streaming(self.server, self.name)["pid"]
        reported(self.server, self.primary.write_wal(0.1), self.name)

    def begin(self):
        """More WAL than all buffers between the server and us can hold."""
        if self.kind == "full":
            self.end = self.write_much(40)
            self.receiver.wait_log("(?i)no space left")
            return
        self.fault.set({"syncs hang": "hang 0", "writes hang": "hold 0"}[self.kind])
        self.end = self.write_much(90)

    def write_much(self, megabytes):
        self.primary.sql("SELECT pg_logical_emit_message(false, '', repeat('x', 1 << 20))"
                         f" FROM generate_series(1, {megabytes})")
        end = self.primary.switch_wal()
        self.server.caught_up_with(end)
        return end

    def checkpoint(self):
        """A checkpoint, or a standby's restartpoint, which comes behind a checkpoint of the primary."""
        if self.server is not self.primary:
            self.primary.sql("CHECKPOINT")
            self.server.replayed(self.primary.flushed())
        self.server.sql("CHECKPOINT", timeout=AT_ONCE)
        gone(self.server, self.name, AT_ONCE)
        # Up to 14 a walsender lets its slot go after it has left the view, and whoever comes again has it for a moment.
        wait_for(lambda: self.server.sql("SELECT active, restart_lsn IS NULL OR wal_status = 'lost'"
                                         " FROM pg_replication_slots") == "f|t", "the slot to be given up", AT_ONCE)

    def terminate(self):
        # With a timeout it waits for the end, from version 14 on.
        self.server.sql(f"SELECT pg_terminate_backend({self.pid})")
        wait_for(lambda: self.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {self.pid}") == "0",
                 "the walsender to end", AT_ONCE)

    def slot_is_free(self):
        wait_for(lambda: self.server.sql("SELECT active FROM pg_replication_slots") == "f", "the slot to be free", AT_ONCE)
        self.server.sql("SELECT pg_drop_replication_slot('archive')", timeout=AT_ONCE)
        create_slot(self.server)

    def end_it(self):
        if self.kind == "full":
            self.disk.grow(512)
        else:
            self.fault.set(None)

    def connections(self):
        """Of the receiver to the server, in whatever state."""
        inodes = set()
        for fd in pathlib.Path(f"/proc/{self.receiver.pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [row for row in rows if row[9] in inodes
                and int(row[2].partition(":")[2], 16) == self.server.port]


@pytest.fixture
def trouble(servers, receivers, new_archive, small_disk, sync_fault, place):  # noqa: F811
    def make(kind, program="receive", **settings):
        return Trouble(kind, program, servers, receivers, new_archive, small_disk, sync_fault, place, **settings)

    return make


@pytest.mark.parametrize("kind, program", [
    ("full", "receive"), ("syncs hang", "receive"), ("writes hang", "receive"),
    ("full", "pg_receivewal"), ("syncs hang", "pg_receivewal"),
])
def test_a_checkpoint_gives_up_our_slot_and_goes_on(trouble, kind, program):
    """It tells our walsender once to go, and waits until it has."""
    here = trouble(kind, program, **GIVES_UP_SLOTS)
    here.begin()
    here.checkpoint()
    if kind != "full":
        wait_for(lambda: not here.connections(), "the connection to be closed while a thread hangs")
        assert here.receiver.running()
    here.end_it()
    if program == "receive":
        assert here.receiver.wait_exit() == 4, here.receiver.said()


@pytest.mark.parametrize("kind", ["full", "syncs hang", "writes hang"])
def test_a_walsender_that_is_terminated_goes_and_the_slot_is_free(trouble, kind):
    here = trouble(kind)
    here.begin()
    assert here.primary.sql(f"SELECT pg_terminate_backend({here.pid}, {AT_ONCE * 1000})",
                            timeout=AT_ONCE + 10) == "t"
    if kind != "full":  # else it has come back already, and goes on
        here.slot_is_free()
    here.end_it()
    if kind == "full":
        here.archive.wait_covers(here.primary, 1, here.end)
        here.receiver.stop()
        here.archive.assert_same_wal(here.primary, minimum=30)


@pytest.mark.parametrize("kind, mode", [
    ("full", "fast"), ("syncs hang", "smart"), ("writes hang", "fast"), ("syncs hang", "immediate"),
])
def test_a_server_shuts_down_at_once(trouble, kind, mode):
    here = trouble(kind)
    here.begin()
    here.primary.stop(mode, deadline=AT_ONCE * 3 / 4)
    assert here.receiver.running()
    here.end_it()
    here.primary.start()
    here.archive.wait_covers(here.primary, 1, here.primary.write_wal(0.1))
    here.receiver.stop()
    here.archive.assert_same_wal(here.primary, minimum=30)


# What a standby's walsender may be told, too. Recovery conflicts do not reach it: it has no snapshot, no lock and no
# database, and a physical slot is given up for WAL alone, by a restartpoint (slot.c, standby.c).

def test_a_restartpoint_gives_up_our_slot_and_goes_on(trouble):
    here = trouble("syncs hang", standby=True, **GIVES_UP_SLOTS)
    here.begin()
    here.checkpoint()
    wait_for(lambda: not here.connections(), "the connection to be closed while a thread hangs")
    here.end_it()
    assert here.receiver.wait_exit() == 4, here.receiver.said()


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_a_standby_lets_its_walsender_go_and_shuts_down_at_once(trouble, mode):
    here = trouble("writes hang" if mode == "fast" else "syncs hang", standby=True)
    here.begin()
    if mode == "immediate":
        here.terminate()
        here.slot_is_free()
    here.server.stop(mode, deadline=AT_ONCE * 3 / 4)
    assert here.receiver.running()
    here.end_it()
    here.server.start()
    here.archive.wait_covers(here.primary, 1, here.primary.write_wal(0.1))
    here.receiver.stop()
    here.archive.assert_same_wal(here.primary, minimum=30)


@pytest.mark.parametrize("kind", ["full", "syncs hang"])
def test_a_promotion_does_not_wait_for_us(trouble, kind):
    here = trouble(kind, standby=True)
    here.begin()
    assert here.server.sql(f"SELECT pg_promote(true, {AT_ONCE})", timeout=AT_ONCE + 10) == "t"
    here.server.sql("CREATE TABLE after_the_promotion ()", timeout=AT_ONCE)
    here.primary.stop("immediate")
    here.end_it()
    here.archive.wait_covers(here.server, 2, here.server.write_wal(0.1))
    here.receiver.stop()
    here.archive.assert_same_wal(here.server, minimum=30)


@pytest.mark.parametrize("major", [13, 14, 16, 17, 18, 19])
def test_other_versions_end_a_walsender_give_up_a_slot_and_shut_down_at_once(trouble, receivers, new_archive,
                                                                             sync_fault, major):
    """Two receivers on one disk: one loses its slot, the other sees the shutdown."""
    here = trouble("syncs hang", major=major, **GIVES_UP_SLOTS)
    other = receivers.start([receivers_.BINARY, "receive", "-D", new_archive(here.primary, "small/other").path, "-d",
                             here.primary.conninfo(application_name="other")], sync_fault.env)
    pid = streaming(here.primary, "other")["pid"]
    reported(here.primary, here.primary.write_wal(0.1), "other")
    here.begin()
    # It has no slot: what it has not read by the checkpoint is removed, and its walsender ends.
    wait_for(lambda: here.primary.sql("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), sent_lsn) <= 100000"
                                      " FROM pg_stat_replication WHERE application_name = 'other'") == "t",
             "the other one to have read all")
    here.checkpoint()
    assert [row["pid"] for row in here.primary.walsenders("other")] == [pid]
    here.primary.stop("fast", deadline=AT_ONCE * 3 / 4)
    assert other.running() and here.receiver.running()
    here.end_it()


@pytest.mark.parametrize("kind, program", [
    ("syncs hang", "receive"), ("writes hang", "receive"), ("full", "pg_receivewal"),
])
def test_what_was_dropped_is_asked_for_again_on_the_same_connection(trouble, kind, program):
    """And not before: until the disk goes on nothing moves, however much was read meanwhile."""
    here = trouble(kind, program)
    here.begin()
    here.receiver.wait_log("the archive's disk does not respond")
    wait_for(lambda: here.primary.sql("SELECT sent_lsn >= pg_current_wal_flush_lsn() - 100000"
                                      " FROM pg_stat_replication") == "t", "all to be read")
    held = streaming(here.primary, here.name)["flush_lsn"]
    here.end = here.primary.write_wal(1)
    assert streaming(here.primary, here.name)["flush_lsn"] == held
    here.end_it()
    reported(here.primary, here.end, here.name)
    assert streaming(here.primary, here.name)["pid"] == here.pid, "the connection was lost"
    here.receiver.stop()
    here.archive.assert_covers(here.primary, 1, here.end)
    here.archive.assert_same_wal(here.primary, minimum=40)


def test_a_smart_shutdown_waits_for_none_of_our_sessions(servers, receivers, new_archive):
    """It waits for each session that is no walsender: the slot's watch, and who sends notifications."""
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive",
                                "--notify-channel", "events")
    streaming(primary)
    reported(primary, primary.switch_wal())
    primary.stop("smart", deadline=AT_ONCE)
    primary.start()
    reported(primary, primary.write_wal(0.1))
    receiver.stop()
    archive.assert_same_wal(primary)


def test_a_smart_shutdown_does_not_wait_for_doctor(servers, receivers, place):
    """It measures the rate of WAL for as long as one wants, and keeps no session for that."""
    primary = servers.primary(log_disconnections="on", log_min_messages="log")
    (place / "archive").mkdir()
    doctor = receivers.start([receivers_.BINARY, "doctor", "-D", place / "archive", "--measure", "10min",
                              "-d", primary.conninfo(dbname="postgres")])
    wait_for(lambda: primary.log.read_text().count("disconnection: session time") >= 2, "its sessions to end")
    primary.stop("smart", deadline=AT_ONCE)
    assert doctor.running()


def test_logical_lets_the_server_go_while_its_output_is_stuck(servers, receivers, place, sync_fault):
    """And goes on where its output is durable, without a change lost or told twice."""
    primary = servers.primary(wal_level="logical")
    primary.sql("CREATE TABLE t (id bigserial PRIMARY KEY, v text)")
    primary.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    receiver = receivers.start([receivers_.BINARY, "logical", "-S", "s", "-d", primary.conninfo(dbname="postgres"),
                                "-f", place / "out"], sync_fault.env)
    wait_for(lambda: (place / "out").exists() and primary.sql("SELECT active FROM pg_replication_slots") == "t",
             "the stream")
    sync_fault.set("hang 0")
    insert = "INSERT INTO t (v) SELECT repeat('x', 1000000) FROM generate_series(1, {})"
    primary.sql(insert.format(1))
    wait_for(lambda: sync_fault.count() >= 1, "a sync to hang")
    primary.sql(insert.format(100))
    wait_for(lambda: primary.sql("SELECT coalesce(wait_event, 'none') FROM pg_stat_activity"
                                 " WHERE backend_type = 'walsender'")
             in ("WalSenderWriteData", ""), "its walsender to wait for us")
    # One word of the server is enough.
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'")
    wait_for(lambda: primary.sql("SELECT active FROM pg_replication_slots") == "f", "the walsender to go", AT_ONCE)
    assert receiver.running()
    sync_fault.set(None)
    primary.sql("INSERT INTO t (v) VALUES ('the last')")
    wait_for(lambda: "the last" in (place / "out").read_text(), "all to come")
    receiver.stop()
    ids = re.findall(r"table public\.t: INSERT: id\[bigint\]:(\d+)", (place / "out").read_text())
    assert ids == [str(number) for number in range(1, 103)]


@pytest.mark.parametrize("kind", ["aborted", "prepared"])
def test_logical_does_not_hold_up_a_shutdown_whose_end_it_cannot_confirm(servers, receivers, place, kind):
    """The shutdown aborts a transaction, whose record ends between no two keepalives; or a transaction that was prepared
    before the start has been streamed once more. The server asks for its end until it is confirmed."""
    primary = servers.primary(wal_level="logical", max_prepared_transactions=5, logical_decoding_work_mem="64kB")
    primary.sql("CREATE TABLE t (id bigserial PRIMARY KEY, v text)")
    primary.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding', false, true)")
    command = [receivers_.BINARY, "logical", "-S", "s", "-d", primary.conninfo(dbname="postgres"), "-f", place / "out",
               "-F", "20ms", "-o", "stream-changes=on"]

    def insert(rows, then):
        primary.sql(f"BEGIN; INSERT INTO t (v) SELECT repeat('x', 100) FROM generate_series(1, {rows}); {then}")

    def active(wanted):
        wait_for(lambda: primary.sql("SELECT active FROM pg_replication_slots") == wanted, "the slot")

    def all_confirmed():
        end = primary.sql("SELECT pg_current_wal_flush_lsn()")
        wait_for(lambda: primary.sql(f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t",
                 "all to be confirmed")

    receiver = receivers.start(command)
    active("t")
    if kind == "prepared":
        insert(2000, "PREPARE TRANSACTION 'a'")
        insert(170, "PREPARE TRANSACTION 'b'")
        all_confirmed()
        receiver.stop()
        active("f")
        receiver = receivers.start(command)
        active("t")
        insert(5000, "COMMIT")
        wait_for(lambda: re.search("(?m)^.*committing streamed", (place / "out").read_text()), "the large transaction")
    else:
        all_confirmed()
        session = primary.spawn_sql("BEGIN; INSERT INTO t (v) VALUES ('never'); SELECT pg_sleep(600)")
        wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1",
                 "a transaction that is open")
    primary.stop("fast", deadline=AT_ONCE)
    if kind == "aborted":
        session.communicate()
    assert receiver.running()
    primary.start()
    for each in ("a", "b") if kind == "prepared" else ():
        primary.sql(f"COMMIT PREPARED '{each}'")
    primary.sql("INSERT INTO t (v) VALUES ('the last')")
    all_confirmed()
    receiver.stop()
    text = (place / "out").read_text()
    assert text.count("the last") == 1 and "never" not in text


LISTENING = ("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir'"
             " AND backend_type = 'client backend'")


def test_a_listener_whose_commands_take_too_long_leaves_the_server(servers, receivers, place):
    """A thousand may wait. All that had come is done, and then it listens again."""
    primary = servers.primary()
    gate, done = place / "gate", place / "done"
    gate.touch()
    listener = receivers.start([
        receivers_.BINARY, "listen", "-d", primary.conninfo(dbname="postgres"), "a",
        "--exec", f'while [ -e {gate} ]; do sleep 0.1; done; echo "$PGWEIR_PAYLOAD" >> {done}',
        "--exec-connect", f'echo "connected $PGWEIR_MISSED_SINCE" >> {done}'])
    wait_for(lambda: done.exists() and done.read_text() == "connected \n", "the listener")
    primary.sql("SELECT pg_notify('a', i::text) FROM generate_series(1, 1500) i")
    wait_for(lambda: primary.sql(LISTENING) == "0", "the listener to leave the server", AT_ONCE)
    assert primary.sql("SELECT pg_notification_queue_usage()") == "0"
    listener.wait_log("the commands take too long")
    gate.unlink()
    wait_for(lambda: primary.sql(LISTENING) == "1", "it to listen again")
    wait_for(lambda: "connected 2" in done.read_text(), "the command for the connection")
    primary.sql("SELECT pg_notify('a', 'the last')")
    wait_for(lambda: done.read_text().endswith("the last\n"), "the last one")
    lines = done.read_text().splitlines()
    count = len(lines) - 3
    assert count > 1000 and lines[1:count + 1] == [str(number) for number in range(1, count + 1)]
    assert lines[count + 1].startswith("connected 2") and lines[count + 2] == "the last"


def test_a_listener_whose_output_nobody_takes_leaves_the_server(servers, place):
    """Its session would block in a send, with the queue of all NOTIFY and a snapshot behind it."""
    primary = servers.primary()
    with open(place / "stderr", "w") as stderr:
        listener = subprocess.Popen(
            [receivers_.BINARY, "listen", "--json", "-d", primary.conninfo(dbname="postgres"), "a"],
            stdout=subprocess.PIPE, stderr=stderr, preexec_fn=die_with_parent(signal.SIGKILL))
    try:
        said = lambda: (place / "stderr").read_text()  # noqa: E731
        wait_for(lambda: "listening on" in said(), "the listener")
        assert primary.sql(LISTENING) == "1"
        send = "SELECT pg_notify('a', i || repeat('x', 7900)) FROM generate_series(1, 2000) i"
        for _ in range(2):  # 32 MB; what the buffers between hold is a third of it
            primary.sql(send)
        wait_for(lambda: primary.sql(LISTENING) == "0", "the listener to leave the server", AT_ONCE)
        assert primary.sql("SELECT pg_notification_queue_usage()") == "0"
        wait_for(lambda: "the output is not read" in said(), "it to say why")
        lines = [listener.stdout.readline()]
        while len(lines) == 1 or b'"event":"listening"' not in lines[-1]:
            lines.append(listener.stdout.readline())
            assert lines[-1]
        assert json.loads(lines[-1])["missed_since"]
        assert primary.sql(LISTENING) == "1", "it listens again"
        assert len(lines) > 500, "what had come is told first"
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()
