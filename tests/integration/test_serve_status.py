"""What `pgweir status`, its check and the metrics tell of those who are served, whoever serves them."""

import json
import os
import re
import urllib.error
import urllib.request

import pytest

from support import wal
from support.process import PATIENCE, wait_for
from support.receiver import pgweir
from support.relay import Client, Relay, fields
from support.server import free_port
from test_metrics import check_metrics, documented, one, parse, promtool, read, scrape  # noqa: F401
from test_serve import TRUST, filled, relay  # noqa: F401
from test_serve_tls import TlsClient, authority, secure  # noqa: F401


def status(archive, *options):
    return json.loads(pgweir("status", "-D", archive.path, "--json", *options).stdout)


def text(archive):
    return pgweir("status", "-D", archive.path).stdout


def follow(port, archive, name, slot=None):
    """A client of the last finished segments, which reads nothing more."""
    client = Client(port, application_name=name)
    begin = max(segno for _, segno in archive.finished()) * archive.segment_size
    using = f"SLOT {slot} " if slot else ""
    client.query(f"START_REPLICATION {using}{wal.lsn_text(begin)} TIMELINE 1", until=b"W")
    return client, begin


def test_at_three_in_the_morning(place, filled, relay):  # noqa: F811
    """Three clients, one far behind, one slot lost, one left alone."""
    _, archive, _ = filled
    options = ["--serve-max-slot-wal-keep-size", "2MB"]
    serving = relay(archive, None, TRUST, options=options)
    assert "  no clients are connected\n" in text(archive) and status(archive)["slots"] == []
    asking = Client(serving.port)
    for name in ("used", "alone", "lagging"):
        assert asking.query(f"CREATE_REPLICATION_SLOT {name} PHYSICAL (RESERVE_WAL)")[-2][0] == b"C"
    old, _ = follow(serving.port, archive, "old", "lagging")
    old.status(archive.segment_size + 8)  # so far behind that the slot is lost, and the client left
    assert fields(old.until(b"E")[-1][1])["C"] == "57P01"
    end = wal.lsn(status(archive)["relays"][0]["end_lsn"])
    current, _ = follow(serving.port, archive, "current", "used")
    current.status(end)
    behind, begin = follow(serving.port, archive, "behind")
    behind.status(begin)

    def seen():
        (one_,) = status(archive)["relays"]
        found = {client["application_name"]: client for client in one_["clients"]}
        done = {"current", "behind"} <= found.keys() and all(found[name]["flush_lsn"] for name in ("current", "behind"))
        # (Who was left has gone, and the one that asks is the third.)
        return found if done and found["current"]["state"] == "streaming" and len(one_["clients"]) == 3 else None

    clients = wait_for(seen, "the clients to be seen")
    assert clients["current"]["behind_bytes"] == 0 and clients["behind"]["behind_bytes"] == end - begin
    assert clients["current"]["slot_name"] == "used" and clients["current"]["ssl"] is None
    told = text(archive)
    # Who is furthest behind comes first, and loudly.
    assert re.search(rf"Relay: on \S+:{serving.port}, .*, since .* \(pid {serving.process.pid}\)\n"
                     rf"  serves timeline 1 up to {wal.lsn_text(end)}\n  serves 3 clients:\n"
                     r"    behind \(127.0.0.1, user postgres\): \w+, async, timeline 1, .*B BEHIND\n      sent .*\n", told), told
    assert re.search(r"    current \(127.0.0.1, user postgres, slot used\): streaming, async, timeline 1\n", told), told
    assert re.search(r"Slots of the archive's clients .*\n  alone: not in use since .*, holds back .*, from \S+ on\n"
                     r"  lagging: LOST, not in use since .*\n  used: in use, holds back 0 B, from \S+ on\n"
                     r'  WARNING: the replication slot "lagging" is lost \(--serve-max-slot-wal-keep-size\)', told), told
    slots = {slot["name"]: slot for slot in status(archive)["slots"]}
    assert slots["used"]["active"] and slots["lagging"]["lost"] and not slots["alone"]["active"]
    assert slots["lagging"]["warning"] and slots["alone"]["warning"] is None
    assert 'the replication slot "lagging" is lost' in pgweir("status", "-D", archive.path, "--check").stdout.split("\n")[0]

    # With nobody there, the slots still hold back: they are told of all the same.
    serving.process.stop()
    told = text(archive)
    assert "Relay:" not in told and "  no process serves the archive\n" in told and "lagging: LOST" in told
    assert not [name for name in os.listdir(archive.path) if name.endswith(".sock")]


def test_several_serve_one_directory_and_one_is_killed(place, filled, receivers):  # noqa: F811
    _, archive, _ = filled
    for name in ("one", "two"):
        (place / name).mkdir()
    first, second = (Relay(place / name, receivers, archive, None, TRUST).start() for name in ("one", "two"))

    def pids():
        return sorted(relay["pid"] for relay in status(archive)["relays"])

    def both():
        wait_for(lambda: pids() == sorted([first.process.pid, second.process.pid]), "both to answer")

    both()
    mine_, _ = follow(first.port, archive, "mine")
    (mine,) = [relay for relay in status(archive)["relays"] if relay["pid"] == first.process.pid]
    assert any(listen.endswith(f":{first.port}") for listen in mine["listen"])
    assert [client["application_name"] for client in mine["clients"]] == ["mine"]
    mine_.close()
    # What it leaves is no server, and its name is taken again.
    first.process.kill9()
    assert pids() == [second.process.pid]
    first.start()
    both()
    assert len([name for name in os.listdir(archive.path) if name.startswith(".pgweir-serve-")]) == 2

    # One that does not answer is told, and nobody waits for ever.
    second.process.pause()
    found = status(archive)
    assert [relay["pid"] for relay in found["relays"]] == [first.process.pid]
    assert any("does not answer" in problem for problem in found["problems"])
    second.process.resume()
    both()


def test_slots_over_the_connection(filled, relay):  # noqa: F811
    _, archive, _ = filled
    conninfo = f"host=127.0.0.1 port={relay(archive, None, TRUST).port} user=repl"
    made = pgweir("slot", "create", "-S", "mine", "-d", conninfo)
    assert made.returncode == 0 and 'replication slot "mine" created' in made.stdout, made.stderr
    # As where the archive is: there is no SQL by which a server tells of them.
    for options in ([], ["--json"]):
        listed = pgweir("slot", "list", "-d", conninfo, *options)
        assert listed.returncode == 0 and "mine" in listed.stdout, listed.stderr
        assert listed.stdout == pgweir("slot", "list", "-D", archive.path, *options).stdout
    (everywhere,) = json.loads(pgweir("slot", "list", "-d", conninfo, "--json", "--all-hosts").stdout)
    assert [slot["name"] for slot in everywhere["slots"]] == ["mine"]
    dropped = pgweir("slot", "drop", "-S", "mine", "-d", conninfo)
    assert dropped.returncode == 0, dropped.stderr
    assert status(archive)["slots"] == []


def test_doctor_looks_at_socket_slots_and_backups(servers, filled, place):  # noqa: F811
    primary, archive, user = filled
    users = place / "users"
    users.write_text(user)
    users.chmod(0o600)

    def doctor(directory, *options):
        result = pgweir("doctor", "--serve", free_port(), "--serve-users", users, "--serve-socket", directory,
                        "-D", archive.path, "--json", *options)
        return {check["name"]: (check["level"], check["found"]) for check in json.loads(result.stdout)["checks"]}

    seen = doctor(place, "--serve-max-slot-wal-keep-size", "1GB", "--serve-base-backup", primary.conninfo())
    assert seen["serve_socket"][0] == "ok" and seen["serve_base_backup"][0] == "ok"
    assert seen["serve_slots"] == ("ok", "0 here; a slot that retains more than 1 GB is lost")
    long = place / ("d" * 100)
    long.mkdir()
    assert doctor(long)["serve_socket"][0] == "failure" and "characters" in doctor(long)["serve_socket"][1]
    long.rmdir()
    seen = doctor(place / "none", "--serve-base-backup", servers.primary().conninfo())
    assert seen["serve_socket"][0] == "failure" and "there is no limit" in seen["serve_slots"][1]
    assert seen["serve_base_backup"][0] == "failure" and "different clusters" in seen["serve_base_backup"][1]
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    assert doctor(closed)["serve_socket"][0] == "warning"


def test_metrics_of_a_server_without_receiver(place, filled, relay, promtool):  # noqa: F811
    _, archive, _ = filled
    port, path = free_port(), place / "serve.prom"
    serving = relay(archive, None, TRUST, options=["--metrics-listen", port, "--metrics-file", path,
                                                   "--metrics-interval", "1s", "--serve-max-slot-wal-keep-size", "2MB"])
    asking = Client(serving.port)
    for name in ("used", "lagging"):
        asking.query(f"CREATE_REPLICATION_SLOT {name} PHYSICAL (RESERVE_WAL)")
    end = wal.lsn(status(archive)["relays"][0]["end_lsn"])
    old, _ = follow(serving.port, archive, "old", "lagging")
    old.status(archive.segment_size + 8)
    old.until(b"E")
    client, _ = follow(serving.port, archive, "current", "used")
    client.status(end)

    def there():
        values = parse(scrape(port))
        return values if values.get("pgweir_serve_client_behind_bytes") and \
            one(values, "pgweir_serve_client_behind_bytes", application_name="current") == 0 and \
            any(("slot", "lagging") in labels for labels in
                values.get("pgweir_serve_slot_inactive_since_timestamp_seconds", {})) else None

    values = wait_for(there, "the client's word to be there")
    assert one(values, "pgweir_serve_up", archive=str(archive.path)) == 1
    assert one(values, "pgweir_serve_end_lsn_bytes") == end
    assert one(values, "pgweir_serve_client_encrypted", application_name="current") == 0
    assert one(values, "pgweir_serve_slots") == 2
    assert one(values, "pgweir_serve_slot_active", slot="used") == 1
    assert one(values, "pgweir_serve_slot_lost", slot="lagging") == 1
    assert one(values, "pgweir_serve_slot_inactive_since_timestamp_seconds", slot="lagging") > 1.7e9
    assert one(values, "pgweir_serve_slot_retained_bytes", slot="used") == 0
    not_now = {"pgweir_serve_client_replay_lag_seconds", "pgweir_serve_certificate_expiry_timestamp_seconds"}
    assert (set(values) | not_now == documented("serve") | documented("receive --serve"))
    wait_for(path.exists, "the file")
    check_metrics(promtool, path.read_text())
    serving.process.stop()
    assert one(read(path), "pgweir_serve_up") == 0


def test_who_comes_under_tls_is_seen(filled, secure):  # noqa: F811
    _, archive, _ = filled
    serving = secure(archive, None, "hostssl replication all 127.0.0.1/32 trust\n")
    client = TlsClient(serving.port, application_name="careful")
    (seen,) = status(archive)["relays"][0]["clients"]
    assert seen["ssl"]["version"] == "TLSv1.3" == client.socket.version()
    assert seen["ssl"]["cipher"] == client.socket.cipher()[0] and seen["ssl"]["bits"] == client.socket.cipher()[2]
    assert "careful (127.0.0.1, user postgres, TLSv1.3): startup" in text(archive)


def test_has_metrics_on_the_port_of_its_page(place, filled, relay, promtool):  # noqa: F811
    _, archive, _ = filled
    port, shared = free_port(), free_port()
    token = place / "token"
    token.write_text("a secret of this test\n")
    token.chmod(0o600)
    serving = relay(archive, None, TRUST, options=["--web-listen", port])
    client, _ = follow(serving.port, archive, "reader")
    wait_for(lambda: "reader" in scrape(port), "the client to be counted")
    check_metrics(promtool, scrape(port))
    values = parse(scrape(port))
    assert one(values, "pgweir_serve_up", archive=str(archive.path)) == 1
    assert one(values, "pgweir_serve_clients") == 1
    # Restricted like the page; open where it is the port of --metrics-listen, too.
    relay(archive, None, TRUST, options=["--web-listen", shared, "--web-token-file", token, "--metrics-listen", shared])
    wait_for(lambda: "pgweir_serve_up" in scrape(shared), "the metrics of the other")
    check_metrics(promtool, scrape(shared))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{shared}/status.json", timeout=PATIENCE)
    assert refused.value.code == 401
    restricted = free_port()
    relay(archive, None, TRUST, options=["--web-listen", restricted, "--web-token-file", token])
    with pytest.raises(urllib.error.HTTPError) as refused:
        scrape(restricted)
    assert refused.value.code == 401
    client.close()


def test_has_a_page_and_probes(place, filled, relay):  # noqa: F811
    _, archive, _ = filled
    port = free_port()
    serving = relay(archive, None, TRUST, options=["--web-listen", port])
    client, _ = follow(serving.port, archive, "reader")

    def ask(path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert ask("/healthz") == (200, "ok\n")
    assert ask("/readyz") == (200, f"ok, serving timeline 1 up to {status(archive)['relays'][0]['end_lsn']}\n")
    wait_for(lambda: ask("/")[0] == 200, "the page")
    wait_for(lambda: "reader" in ask("/main")[1], "the client to be shown")
    assert "no receiver runs on the archive" in ask("/")[1]
    assert json.loads(ask("/status.json")[1])["relays"][0]["clients"][0]["application_name"] == "reader"
    client.close()


def ask_probe(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("how", ["emptied", "moved"])
def test_an_archive_that_was_replaced_is_not_served(place, filled, relay, how):  # noqa: F811
    """Its clients are told, instead of waiting for WAL that goes elsewhere."""
    _, archive, _ = filled
    port = free_port()
    serving = relay(archive, None, TRUST, options=["--web-listen", port])
    client, at = follow(serving.port, archive, "reader")
    end = wal.lsn(status(archive)["relays"][0]["end_lsn"])
    while at < end:  # else it asks for WAL that is gone
        kind, body = client.message()
        assert kind == b"d"
        if body[:1] == b"w":
            at = int.from_bytes(body[1:9], "big") + len(body) - 25
    assert ask_probe(port, "/readyz") == 200
    if how == "emptied":
        for path in archive.path.iterdir():
            if path.is_file():
                path.unlink()
    else:
        archive.path.rename(place / "moved")
        archive.path.mkdir(mode=0o700)
    serving.process.wait_log("the archive that is served no longer has any WAL" if how == "emptied" else
                             "the archive directory was moved or replaced")
    assert fields(client.until(b"E")[-1][1])["C"] == "57P03"
    assert fields(Client(serving.port).until(b"E")[-1][1])["C"] == "57P03"
    assert ask_probe(port, "/readyz") == 503 and ask_probe(port, "/healthz") == 200
    if how == "moved":
        (seen,) = json.loads(pgweir("status", "-D", place / "moved", "--json").stdout)["relays"]
        assert seen["serve_problem"]["needs_person"] and seen["end_lsn"] is None, seen


def test_a_failed_flush_is_told(place, filled, receivers, sync_fault):  # noqa: F811
    """Another one could succeed without the WAL being on disk: nothing newer is served."""
    primary, archive, _ = filled
    serving = Relay(place, receivers, archive, None, TRUST, env=sync_fault.env).start()
    client, _ = follow(serving.port, archive, "reader")
    end = wal.lsn(status(archive)["relays"][0]["end_lsn"])
    primary.switch_wal()
    name = wal.segment_name(1, end // archive.segment_size, archive.segment_size)
    (place / name).write_bytes(primary.pg_wal(name).read_bytes())
    sync_fault.set("fail 0")
    (place / name).rename(archive.path / name)
    serving.process.wait_log("a flush of the archive failed: ")
    # It has all WAL before that, and would believe that there is no more.
    assert fields(client.until(b"E")[-1][1])["C"] == "57P03"
    sync_fault.set(None)
    (seen,) = status(archive)["relays"]
    assert seen["serve_problem"]["needs_person"] and wal.lsn(seen["end_lsn"]) == end
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 2 and f"clients get no WAL after {wal.lsn_text(end)}: " in checked.stdout, checked.stdout
    assert "  serving no newer WAL since " in text(archive)
    serving.process.stop()
    serving.start()
    assert wal.lsn(status(archive)["relays"][0]["end_lsn"]) > end


def test_pages_show_where_unfinished_wal_breaks_off(filled, relay, receivers):  # noqa: F811
    """As pgweir status does: while no WAL streams, nobody writes it again, and a recovery ends there."""
    primary, archive, _ = filled
    primary.stop()
    (path,) = archive.partials().values()
    content = bytearray(path.read_bytes())
    content[340_000] ^= 0x10
    path.write_bytes(content)
    ports = free_port(), free_port()
    relay(archive, None, TRUST, options=["--web-listen", ports[0]])
    receivers.pgweir(archive, primary, "--web-listen", str(ports[1]))

    def shown(port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.URLError:  # it is not there yet, or has not looked yet
            return {}

    def with_break(look):
        """A report that has it: none has while the receiver begins and does not answer yet, since it may write."""
        return wait_for(lambda: next((report for report in [look()] if "breaks_off" in report), None), "a report to show it")

    for port in reversed(ports):
        page, told = with_break(lambda port=port: shown(port)), with_break(lambda: status(archive))
        assert page["breaks_off"] == told["breaks_off"] and page["breaks_off"]["file"] == path.name
        assert [each["to"] for each in page["windows"]] == [each["to"] for each in told["windows"]]
