"""What those below a relay have to say to the primary, and who of them is seen where."""

import re

import pytest

from support import wal
from support.commits import assert_waits, commit, finished
from support.process import wait_for
from support.receiver import pgweir
from support.relay import PASSWORD, Client, Relay, make_user
from support.scenario import begun, reported, status_of_receiver, streaming
from support.server import free_port
from test_metrics import documented, one, parse, scrape
from test_sync_replication import wait_for_checkpointer

TRUST = "host replication all 127.0.0.1/32 trust\n"


# No status by the clock: what is told is told because there is news.
SILENT = ["--status-interval", "1h", "--timeout", "2h"]


@pytest.fixture
def tree(servers, receivers, new_archive, place):
    """A primary with the table numbers, and relay(name, upstream, *options), each in front of the next: a
    receiver that serves. Returns what is below it connects to."""
    primary = servers.primary(wal_sender_timeout=0)
    primary.sql("CREATE TABLE numbers (n int)")
    users, rules = place / "relay_users", place / "relay_hba.conf"
    users.write_text(make_user(primary))
    users.chmod(0o600)
    rules.write_text(TRUST)

    def relay(name, upstream, *options):
        archive = new_archive(primary, name)
        port = free_port()

        def start():
            receiver = receivers.pgweir(archive, f"{upstream} application_name={name}", "--serve", port,
                                        "--serve-users", users, "--serve-hba", rules, *options)
            receiver.archive, receiver.port, receiver.again = archive, port, start
            begun(archive, primary)
            receiver.wait_log(f"listening on 127.0.0.1:{port}")
            return receiver

        return start(), f"host=127.0.0.1 port={port} user=repl password='{PASSWORD}'"

    return primary, relay


def below(standby, conninfo, **settings):
    standby.conf(primary_conninfo=f"{conninfo} application_name={standby.name}", **settings)
    standby.start()
    wait_for(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", "the standby to stream")


def clients(relay):
    """[{column: value}], as status has it."""
    return status_of_receiver(relay.archive)["clients"]


@pytest.mark.parametrize("relays", [1, 2])
def test_remote_apply_reaches_through(servers, tree, relays):
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    upstream = primary.conninfo()
    first = None
    for number in range(1, relays + 1):
        named = f'"{standby.name}"' if number == relays else f"relay{number + 1}"
        last, upstream = relay(f"relay{number}", upstream, "--serve-synchronous-standby-names", f"ANY 1 ({named})", *SILENT)
        first = first or last
    below(standby, upstream)
    streaming(primary, "relay1")
    primary.conf(synchronous_standby_names="relay1")
    primary.reload()
    wait_for(lambda: streaming(primary, "relay1")["sync_state"] == "sync", "the relay to be synchronous")
    wait_for_checkpointer(primary)
    finished(commit(primary, 1, "remote_apply"))
    assert standby.sql("SELECT count(*) FROM numbers") == "1", "applied is what can be seen"

    # Not applied: who waits for that waits, who waits for the archive alone does not.
    standby.sql("SELECT pg_wal_replay_pause()")
    wait_for(lambda: standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused", "the replay to pause")
    waiting = commit(primary, 2, "remote_apply")
    assert_waits(primary, waiting)
    position = finished(commit(primary, 3, "on"))
    first.archive.assert_covers(primary, 1, position)
    assert waiting.poll() is None
    standby.sql("SELECT pg_wal_replay_resume()")
    finished(waiting)
    assert standby.sql("SELECT count(*) FROM numbers WHERE n = 2") == "1"

    # Nobody there.
    standby.stop()
    last.wait_log(rf'client "{standby.name}" .* disconnected')
    waiting = commit(primary, 4, "remote_apply")
    assert_waits(primary, waiting)
    finished(commit(primary, 5, "on"))
    assert waiting.poll() is None
    standby.start()
    finished(waiting)


def test_what_is_applied_below_is_told_at_once(servers, tree):
    """Through two relays, and with no status by the clock: if nobody wakes who sends the statuses when a standby has
    applied something, each commit costs about a second, and the statement its deadline."""
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    _, upstream = relay("relay1", primary.conninfo(), "--serve-synchronous-standby-names", "ANY 1 (relay2)", *SILENT)
    _, upstream = relay("relay2", upstream, "--serve-synchronous-standby-names", f'ANY 1 ("{standby.name}")', *SILENT)
    below(standby, upstream)
    streaming(primary, "relay1")
    primary.conf(synchronous_standby_names="relay1")
    primary.reload()
    wait_for(lambda: streaming(primary, "relay1")["sync_state"] == "sync", "the relay to be synchronous")
    wait_for_checkpointer(primary)
    primary.sql("DO $$ BEGIN FOR i IN 1..300 LOOP INSERT INTO numbers VALUES (i); COMMIT; END LOOP; END $$",
                options="-c synchronous_commit=remote_apply", timeout=150)
    assert standby.sql("SELECT count(*) FROM numbers") == "300"


def slot_xmin(server):
    xmin = server.sql("SELECT xmin FROM pg_replication_slots WHERE slot_name = 'archive'")
    return int(xmin) if xmin else None


def test_what_a_standby_still_looks_at_is_kept_on_the_primary(servers, tree):
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    receiver, upstream = relay("relay", primary.conninfo(), "-S", "archive", "--create-slot")
    below(standby, upstream, hot_standby_feedback="on", wal_receiver_status_interval="1s")
    wait_for(lambda: slot_xmin(primary) is not None, "the slot to have an xmin")

    looking = standby.spawn_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_sleep(600)")
    snapshot = ("SELECT backend_xmin, pid FROM pg_stat_activity"
                " WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL")
    xmin, pid = wait_for(lambda: standby.sql(snapshot), "the snapshot").split("|")
    for number in range(5):
        primary.sql(f"INSERT INTO numbers VALUES ({number})")
    standby.replayed(primary.flushed())
    wait_for(lambda: slot_xmin(primary) == int(xmin), "the snapshot's xmin on the primary")
    assert [client["backend_xmin"] & 0xffffffff for client in clients(receiver)] == [int(xmin)]
    standby.sql(f"SELECT pg_terminate_backend({pid})")
    looking.wait()
    wait_for(lambda: (slot_xmin(primary) or 0) > int(xmin), "the snapshot to be let go")

    # Without a slot here nothing is held for who has gone, and the last one takes it all along.
    standby.stop()
    wait_for(lambda: slot_xmin(primary) is None, "the xmin to be let go")

    # A standby that comes while the primary is away is told of on the next connection.
    primary.stop()
    standby.start()
    wait_for(lambda: any(client["backend_xmin"] for client in clients(receiver)), "the standby's feedback")
    primary.start()
    wait_for(lambda: slot_xmin(primary) is not None, "the slot to have an xmin again")


def test_an_absent_standby_with_a_slot_is_waited_for(servers, receivers, tree):
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    receiver, upstream = relay("relay", primary.conninfo(), "-S", "archive", "--create-slot", "--if-not-exists",
                               "--serve-auto-slot", "standby_*")
    below(standby, upstream, hot_standby_feedback="on", wal_receiver_status_interval="1s",
          primary_slot_name="standby_1")
    xmin = wait_for(lambda: slot_xmin(primary), "the slot to have an xmin")
    assert [client["slot_name"] for client in clients(receiver)] == ["standby_1"]
    standby.stop()
    receiver.wait_log(rf'client "{standby.name}" .* disconnected')
    xmin = slot_xmin(primary)
    assert xmin, "kept while it is away"

    # After a crash the first word upstream is what the slots hold. It comes before the first report of a position.
    for number in range(3):
        receiver.kill9()
        receiver = receiver.again()
        primary.sql(f"INSERT INTO numbers VALUES ({number})")
        reported(primary, primary.flushed(), "relay")
        assert slot_xmin(primary) == xmin
    # A receiver that serves nobody for a while lets nothing go.
    receiver.kill9()
    alone = receivers.pgweir(receiver.archive, primary.conninfo(application_name="alone"), "-S", "archive")
    primary.sql("INSERT INTO numbers VALUES (3)")
    reported(primary, primary.flushed(), "alone")
    assert slot_xmin(primary) == xmin
    alone.stop()
    receiver = receiver.again()
    wait_for(lambda: clients(receiver) == [], "nobody to be served")

    dropped = pgweir("slot", "drop", "-D", receiver.archive.path, "-S", "standby_1")
    assert dropped.returncode == 0, dropped.stderr
    wait_for(lambda: slot_xmin(primary) is None, "the xmin to be let go with the slot")


def test_a_server_that_is_not_streamed_from_any_more_keeps_no_rows(servers, tree):
    """Its slot is kept for a failover. The xmin in it would stay as it is, and vacuum removed no row again."""
    primary, relay = tree
    candidate = servers.standby(primary)
    standby = servers.standby(primary, start=False)
    candidate.stop()
    hosts = f"host=127.0.0.1,127.0.0.1 port={primary.port},{candidate.port} user=postgres"
    _, upstream = relay("relay", hosts, "-S", "archive", "--create-slot", "--if-not-exists", "--slot-hosts", "all",
                        "--slot-interval", "200ms", "--prefer", "standby", "--prefer-after", "1s")
    below(standby, upstream, hot_standby_feedback="on", wal_receiver_status_interval="1s")
    wait_for(lambda: slot_xmin(primary) is not None, "the slot to have an xmin")
    candidate.start()
    streaming(candidate, "relay")
    wait_for(lambda: slot_xmin(candidate) is not None, "the slot of the other server to have it")
    wait_for(lambda: slot_xmin(primary) is None, "the xmin to be let go")


def test_a_relay_does_not_stay_below_its_own_standby(servers, tree):
    """Which is the only one that answers while the primary restarts, and never has anything new."""
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    hosts = f"host=127.0.0.1,127.0.0.1 port={standby.port},{primary.port} user=postgres"
    receiver, upstream = relay("relay", hosts, "-S", "archive", "--create-slot")
    below(standby, upstream)
    reported(primary, primary.write_wal(1), "relay")
    primary.stop("immediate")
    streaming(standby, "relay")
    primary.start()
    end = primary.write_wal(1)
    receiver.wait_log("the server has stalled: another host has more WAL")
    reported(primary, end, "relay")
    standby.replayed(end)


def test_a_receiver_that_serves_nobody_any_more_keeps_no_rows(servers, receivers, tree):
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    receiver, upstream = relay("relay", primary.conninfo(), "-S", "archive", "--create-slot")
    below(standby, upstream, hot_standby_feedback="on", wal_receiver_status_interval="1s")
    wait_for(lambda: slot_xmin(primary) is not None, "the slot to have an xmin")
    receiver.kill9()
    assert slot_xmin(primary) is not None, "kept while it is away"
    receivers.pgweir(receiver.archive, primary, "-S", "archive")
    wait_for(lambda: slot_xmin(primary) is None, "the xmin to be let go")


def test_clients_are_seen(servers, tree):
    primary, relay = tree
    standby = servers.standby(primary, start=False)
    metrics = free_port()
    receiver, upstream = relay("relay", primary.conninfo(), "--metrics-listen", metrics,
                               "--serve-synchronous-standby-names", f'ANY 1 ("{standby.name}")')
    assert clients(receiver) == []
    assert "  no clients are connected\n" in pgweir("status", "-D", receiver.archive.path).stdout
    # Its version is the server's own, to the letter.
    greeting = dict(body.split(b"\0")[:2] for kind, body in Client(receiver.port).greeting if kind == b"S")
    assert greeting[b"server_version"].decode() == primary.sql("SHOW server_version")

    below(standby, upstream, wal_receiver_status_interval="1s")
    end = primary.write_wal(1)
    standby.replayed(end)

    def row():
        found = [client for client in clients(receiver) if client["application_name"] == standby.name]
        return found[0] if found and wal.lsn(found[0]["replay_lsn"] or "0/0") >= end else None

    seen = wait_for(row, "the standby to have replayed")
    assert seen["usename"] == "repl" and seen["state"] == "streaming" and seen["sync_state"] == "quorum"
    assert seen["client_addr"].startswith("127.0.0.1") and seen["timeline"] == 1 and seen["slot_name"] is None
    assert wal.lsn(seen["sent_lsn"]) >= wal.lsn(seen["flush_lsn"]) >= wal.lsn(seen["replay_lsn"])
    assert seen["reply_time"] and seen["backend_start"]
    text = pgweir("status", "-D", receiver.archive.path).stdout
    assert re.search(rf"serves 1 client:\n    {standby.name} \(127.0.0.1\S*, user repl\): streaming, quorum, timeline 1(, .* BEHIND)?\n"
                     r"      sent \S+, write \S+.*, flush \S+.*, replay \S+", text), text

    values = parse(scrape(metrics))
    assert one(values, "pgweir_serve_clients") == 1
    assert one(values, "pgweir_serve_client_streaming", application_name=standby.name) == 1
    assert one(values, "pgweir_serve_client_replay_lsn_bytes", application_name=standby.name) >= end
    exported = {name for name in values if name.startswith("pgweir_serve_")}
    of_slots = {name for name in documented("receive --serve") if name.startswith("pgweir_serve_slot_")}
    not_now = {"pgweir_serve_client_replay_lag_seconds", "pgweir_serve_certificate_expiry_timestamp_seconds"}
    assert exported | not_now | of_slots == documented("receive --serve")

    standby.stop()
    receiver.wait_log(rf'client "{standby.name}" \(127.0.0.1\S*, user "repl"\) disconnected')
    wait_for(lambda: clients(receiver) == [], "nobody to be served")


def test_nothing_goes_beyond_what_the_candidates_have_flushed(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    relay = Relay(place, receivers, archive, None, TRUST, ["--serve-synchronized-standbys", "ANY 1 (one, two)"]).start()
    first, second = end - 900_000, end - 500_000
    begin = first - first % archive.segment_size

    def follow(name):
        client = Client(relay.port, application_name=name)
        client.query(f"START_REPLICATION {wal.lsn_text(begin)} TIMELINE 1", until=b"W")
        return client

    def hear_up_to(client, limit):
        """All that comes until it is there but for less than a large record."""
        while True:
            kind, body = client.message()
            assert kind == b"d"
            if body[:1] != b"w":
                continue
            start, announced = (int.from_bytes(body[at:at + 8], "big") for at in (1, 9))
            assert start + len(body) - 25 <= announced <= limit
            if limit - start - len(body) + 25 < 65536:
                return

    other, candidate = follow("other"), follow("two")
    hear_up_to(candidate, _end_of(relay))  # others wait for it, so it does not wait
    candidate.status(first)
    hear_up_to(other, first)
    candidate.status(second)
    hear_up_to(other, second)
    # Who has gone has it still; more is not known of anybody.
    candidate.close()
    relay.process.wait_log('client "two" .* disconnected')
    hear_up_to(follow("late"), second)


def _end_of(relay):
    """Up to where it serves."""
    client = Client(relay.port)
    row = next(body for kind, body in client.query("IDENTIFY_SYSTEM") if kind == b"D")
    client.close()
    return wal.lsn(re.search(rb"[0-9A-F]+/[0-9A-F]+", row).group().decode())


def test_options_that_do_not_go_together(place):
    connect = ["receive", "-D", place, "-d", "host=127.0.0.1"]
    for options, message in (
            (["--serve", "5433", "--serve-synchronous-standby-names", "ANY 1 (a)", "--apply-position", "flush"],
             "options --serve-synchronous-standby-names and --apply-position cannot be used together"),
            (["--serve-synchronous-standby-names", "ANY 1 (a)"], "option --serve-synchronous-standby-names requires --serve or --serve-socket"),
            (["--serve-synchronized-standbys", "ANY 1 (a)"], "option --serve-synchronized-standbys requires --serve or --serve-socket"),
            (["--serve", "5433", "--serve-synchronous-standby-names", "ANY 0 (a)"], "--serve-synchronous-standby-names"),
            (["--serve", "5433", "--serve-synchronized-standbys", "ANY 1 (a"], "--serve-synchronized-standbys")):
        result = pgweir(*connect, *options)
        assert result.returncode == 2 and message in result.stderr, result.stderr
