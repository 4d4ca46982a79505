"""`pgweir listen` and `pgweir notify`: what is sent arrives, as it was sent, and who was away is told."""

import json
import os
import pathlib
import re
import shutil
import signal
import tempfile

import pytest
from conftest import Servers

from support.process import wait_for
from support.receiver import BINARY, pgweir
from support.server import clients_installed

ODD_CHANNELS = ["Orders", "with space", 'double"quote', "single'quote", "bäcker", "semi;DROP TABLE x",
                "$(touch pwned)", "x" * 63]
ODD_PAYLOADS = ["", "plain", "it's", 'say "hi"', "back\\slash \\' x", "two\nlines", "tab\there",
                "$(touch pwned); `touch pwned`", "ünïcode 🐘", "x" * 7999, "--option", "$1 %s {}"]


@pytest.fixture(scope="module")
def primary(request):
    """One server for the tests that leave it as they found it; each uses it alone."""
    if not clients_installed():
        pytest.skip("PostgreSQL 15 is not installed (scripts/setup)")
    place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-"))
    place.chmod(0o755)
    server = Servers(place).primary()
    yield server
    server.stop("immediate")
    shutil.rmtree(place)


@pytest.fixture
def listener(receivers):
    """listener(server, *words): a running `pgweir listen`."""

    def start(server, *words, env=None, **conninfo):
        return receivers.start([BINARY, "listen", "-d", server.conninfo(dbname="postgres", **conninfo),
                                *words], env)

    return start


def notify(server, channel, payload, **options):
    sent = pgweir("notify", "-d", server.conninfo(dbname="postgres"), "--", channel, payload, **options)
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == ""


def events(process, kind="notification"):
    lines = [json.loads(line) for line in process.lines() if line.startswith("{")]
    return [line for line in lines if line["event"] == kind]


def test_every_channel_and_payload_arrives_as_it_was_sent(primary, listener):
    process = listener(primary, "--json", *ODD_CHANNELS)
    process.wait_log('"event":"listening"')
    sent = [(channel, "from " + channel) for channel in ODD_CHANNELS]
    sent += [("Orders", payload) for payload in ODD_PAYLOADS]
    for channel, payload in sent:
        notify(primary, channel, payload)
    # Who folds the name of the channel sends to another one.
    primary.sql("NOTIFY Orders, 'folded'")
    primary.sql("NOTIFY \"Orders\", 'the last'")
    wait_for(lambda: [e for e in events(process) if e["payload"] == "the last"], "the last one")
    process.stop()
    got = [(e["channel"], e["payload"]) for e in events(process)]
    assert got == sent + [("Orders", "the last")]
    assert all(e["pid"] > 0 for e in events(process))


def test_the_lines_of_the_text_form_are_one_for_each(primary, listener):
    process = listener(primary, "a", "b", "--count", "2")
    process.wait_log("listening on")
    notify(primary, "a", "two\nlines\tand \\")
    notify(primary, "b", "")
    assert process.wait_exit() == 0, process.said()
    lines = [line.split("\t") for line in process.said().splitlines() if "\t" in line]
    assert [(line[0], line[2]) for line in lines] == [("a", "two\\nlines\\tand \\\\"), ("b", "")]


def test_a_payload_comes_from_standard_input(primary, listener, place):
    process = listener(primary, "--json", "a", "--count", "1")
    process.wait_log('"event":"listening"')
    (place / "payload").write_text("first\nsecond\n")
    with open(place / "payload") as file:
        notify(primary, "a", "-", stdin=file)
    assert process.wait_exit() == 0, process.said()
    assert events(process)[0]["payload"] == "first\nsecond"


@pytest.mark.parametrize("channel,payload,says", [
    ("x" * 64, "p", "63 bytes"),
    ("ä" * 32, "p", "63 bytes"),
    ("", "p", "name"),
    ("a", "x" * 8000, "8000 bytes"),
    ("a", "ü" * 4000, "8000 bytes"),
])
def test_what_cannot_be_sent_is_explained_before_anything_is(channel, payload, says):
    nowhere = "host=/nonexistent dbname=postgres"
    result = pgweir("notify", "-d", nowhere, channel, payload)
    assert result.returncode == 2 and says in result.stderr, result.stderr


def test_wrong_words_are_usage_errors():
    for words, says in [(["listen"], "channel"), (["notify"], "channel"),
                        (["notify", "a", "b", "c"], "unexpected"),
                        (["listen", "x" * 64], "63 bytes"),
                        (["listen", "a", "--count", "0"], "--count"),
                        (["listen", "a", "--timeout", "5"], "--timeout"),
                        (["listen", "a", "-d", "nonsense=1"], "nonsense")]:
        result = pgweir(*words)
        assert result.returncode == 2 and says in result.stderr, (words, result.stderr)


def test_commands_run_in_order_and_nothing_of_a_payload_is_run(primary, listener, place):
    out = place / "out"
    payloads = ["one", "it's \"quoted\"", f"$(touch {place}/pwned)", f"'; touch {place}/pwned; '",
                "two\nlines", "last"]
    process = listener(
        primary, "Orders", "--count", str(len(payloads)), "--exec",
        'printf "%s|%s|%s\\0" "$PGWEIR_CHANNEL" "$PGWEIR_PAYLOAD" "${PGWEIR_PID:+pid}" >>"$OUT"',
        env={"OUT": str(out), "PGWEIR_PAYLOAD": "inherited"})
    process.wait_log("listening on")
    for payload in payloads:
        notify(primary, "Orders", payload)
    assert process.wait_exit() == 0, process.said()
    assert out.read_text().split("\0")[:-1] == [f"Orders|{payload}|pid" for payload in payloads]
    assert not (place / "pwned").exists()


def test_a_command_that_fails_is_told_and_the_next_one_runs(primary, listener, place):
    process = listener(primary, "a", "--count", "3", "--exec",
                       f'case $PGWEIR_PAYLOAD in 1) exit 7;; 2) kill -9 $$;; esac; touch {place}/ran')
    process.wait_log("listening on")
    for payload in "123":
        notify(primary, "a", payload)
    assert process.wait_exit() == 1, process.said()
    assert "exit code 7" in process.said() and "signal 9" in process.said()
    assert (place / "ran").exists()


def test_a_slow_command_does_not_keep_the_rest_from_being_read(primary, listener, place):
    process = listener(primary, "--json", "a", "--exec",
                       f'until [ -e {place}/go ]; do sleep 0.02; done; echo done >>{place}/done')
    process.wait_log('"event":"listening"')
    for i in range(20):
        primary.sql(f"NOTIFY a, '{i}'")
    wait_for(lambda: len(events(process)) == 20, "all to be read while the first command runs")
    (place / "go").touch()
    wait_for(lambda: (place / "done").exists()
             and (place / "done").read_text().count("done") == 20, "all commands")
    process.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [[], ["--count", "3"]], ids=["endless", "count"])
def test_a_signal_ends_it_well_after_the_command_that_runs(primary, listener, place, number, options):
    process = listener(primary, "a", *options, "--exec",
                       f'touch {place}/began; until [ -e {place}/go ]; do sleep 0.02; done; '
                       f'touch {place}/ended')
    process.wait_log("listening on")
    for payload in "123":
        notify(primary, "a", payload)
    wait_for((place / "began").exists, "the command")
    wait_for(lambda: process.said().count("a\t") == 3, "all to be read")
    if options:
        wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir'") == "0",
                 "it to disconnect, which it does when all commands are queued")
    process.send(number)
    process.wait_log("a second signal exits immediately")
    (place / "go").touch()
    assert process.wait_exit() == 0, process.said()
    assert (place / "ended").exists()
    assert "not run for 2 received notification(s)" in process.said(), process.said()


def test_what_was_received_is_passed_on_after_the_connection_is_lost(primary, listener, place):
    process = listener(primary, "a", "--no-loop", "--exec", f'until [ -e {place}/go ]; do sleep 0.02; done; echo >>{place}/done')
    process.wait_log("listening on")
    for payload in "123":
        notify(primary, "a", payload)
    wait_for(lambda: process.said().count("a\t") == 3, "all to be read")
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgweir'")
    (place / "go").touch()
    assert process.wait_exit() == 3, process.said()
    assert (place / "done").read_text() == "\n\n\n" and "ERROR" in process.said(), process.said()


def test_who_was_away_is_told_since_when(primary, listener, place):
    process = listener(primary, "--json", "a", "--exec-connect",
                       f'echo "since=$PGWEIR_MISSED_SINCE" >>{place}/connects')
    process.wait_log('"event":"listening"')
    assert events(process, "listening")[0]["missed_since"] is None
    notify(primary, "a", "before")
    wait_for(lambda: events(process), "the first")
    primary.stop("fast")
    process.wait_log("lost")
    primary.start()
    primary.sql("NOTIFY a, 'while it was away, perhaps'")
    wait_for(lambda: len(events(process, "listening")) == 2, "it to listen again")
    missed = events(process, "listening")[1]["missed_since"]
    assert missed is not None and missed <= events(process, "listening")[1]["time"]
    assert "may have been missed" in process.said()
    notify(primary, "a", "after")
    wait_for(lambda: events(process)[-1]["payload"] == "after", "the one after")
    wait_for(lambda: (place / "connects").read_text().count("since=") == 2, "both connects")
    first, second = (place / "connects").read_text().split()
    assert first == "since=" and second == f"since={missed}"
    process.stop()


def test_a_server_that_is_not_there_is_waited_for_without_a_busy_loop(primary, listener):
    primary.stop("fast")
    try:
        process = listener(primary, "--json", "a")
        wait_for(lambda: process.said().count("retrying") >= 3, "three attempts")
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert used < 0.5, f"{used} s of processor time for waiting"
    finally:
        primary.start()
    process.wait_log('"event":"listening"')
    process.stop()


def test_a_killed_backend_is_replaced(primary, listener):
    process = listener(primary, "--json", "a", application_name="ears")
    process.wait_log('"event":"listening"')
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'ears'")
    wait_for(lambda: len(events(process, "listening")) == 2, "it to listen again")
    notify(primary, "a", "again")
    wait_for(lambda: events(process), "the notification")
    process.stop()


def test_no_loop_and_timeout_end_it(primary, listener):
    process = listener(primary, "a", "--timeout", "300ms")
    assert process.wait_exit() == 0, process.said()
    process = listener(primary, "a", "--timeout", "300ms", "--count", "1")
    assert process.wait_exit() == 1, process.said()
    process = listener(primary, "a", "--no-loop")
    process.wait_log("listening on")
    primary.stop("immediate")
    try:
        assert process.wait_exit() == 3, process.said()
        process = listener(primary, "a", "--no-loop")
        assert process.wait_exit() == 3, process.said()
        process = listener(primary, "a", "--timeout", "300ms")
        assert process.wait_exit() == 0, process.said()
    finally:
        primary.start()


def test_a_database_that_is_not_there_ends_it(primary):
    for words in (["listen", "a"], ["notify", "a", "b"]):
        result = pgweir(words[0], "-d", primary.conninfo(dbname="nowhere"), *words[1:])
        assert result.returncode == 4 and "nowhere" in result.stderr, result.stderr


def test_a_standby_has_none_and_of_several_hosts_the_primary_is_found(primary, servers, receivers):
    standby = servers.standby(primary)
    for words in (["listen", "a"], ["notify", "a", "b"]):
        result = pgweir(words[0], "-d", standby.conninfo(dbname="postgres"), *words[1:])
        assert result.returncode == 4 and "primary" in result.stderr, result.stderr
    both = (f"host=127.0.0.1,127.0.0.1 port={standby.port},{primary.port} user=postgres "
            "dbname=postgres")
    process = receivers.start([BINARY, "listen", "-d", both, "--json", "a", "--count", "1"])
    process.wait_log('"event":"listening"')
    notify(primary, "a", "hello")
    assert process.wait_exit() == 0, process.said()


def test_bytes_that_are_no_text_come_in_hex(primary, receivers):
    primary.sql("DROP DATABASE IF EXISTS bytes")
    primary.sql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    process = receivers.start([BINARY, "listen", "-d", primary.conninfo(dbname="bytes"), "--json",
                               "a", "--count", "2"])
    process.wait_log('"event":"listening"')
    primary.sql("SELECT pg_notify('a', E'\\\\xff\\\\xfe')".replace("\\\\", "\\"), database="bytes")
    primary.sql("SELECT pg_notify('a', 'fine')", database="bytes")
    assert process.wait_exit() == 0, process.said()
    first, second = events(process)
    assert first["payload_hex"] == "fffe" and "payload_hex" not in second


def test_a_flood_arrives_whole_and_in_order(primary, listener):
    process = listener(primary, "--json", "a", "--count", "20000", "-q")
    process.wait_log('"event":"listening"')
    primary.sql("SELECT pg_notify('a', i::text) FROM generate_series(1, 20000) i")
    assert process.wait_exit() == 0, process.said()[-1000:]
    assert [e["payload"] for e in events(process)] == [str(i) for i in range(1, 20001)]
