"""Prometheus metrics and the JSON log of real receivers; alert rules, dashboard and documentation
agree with what is exported."""

import json
import os
import pathlib
import re
import shutil
import socket
import stat
import urllib.error
import urllib.request

import pytest

from support.process import PATIENCE, run, wait_for
from support.receiver import BINARY, pgweir
from support.scenario import create_slot, reported, streaming
from support.server import REPOSITORY, free_port

DOCUMENTED = REPOSITORY / "docs" / "monitoring.md"
METRICS = REPOSITORY / "docs" / "metrics.md"
CONTRIB = REPOSITORY / "contrib"


@pytest.fixture
def promtool():
    path = REPOSITORY / "build" / "promtool"
    found = str(path) if path.exists() else shutil.which("promtool")
    if not found:
        pytest.skip("no promtool (scripts/setup)")
    return found


def parse(text):
    """{name: {labels: value}} of the text format; labels is a frozenset of (name, value)."""
    values = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z_:A-Z0-9]+)(?:\{(.*)\})? (\S+)( \d+)?', line)
        assert match, line
        labels = frozenset(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', match.group(2) or ""))
        values.setdefault(match.group(1), {})[labels] = float(match.group(3))
    return values


def one(values, name, **labels):
    found = [value for keys, value in values.get(name, {}).items()
             if set(labels.items()) <= set(keys)]
    assert len(found) == 1, (name, labels, values.get(name))
    return found[0]


def read(path):
    return parse(path.read_text()) if path.exists() else {}


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return answer.read().decode()


def documented(section):
    """The metrics in the table of a section of docs/metrics.md."""
    text = METRICS.read_text()
    part = re.search(rf"^## {re.escape(section)}$.*?(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert part, section
    return set(re.findall(r"^\| `(\w+)`", part.group(), re.MULTILINE))


def check_metrics(promtool, text):
    done = run([promtool, "check", "metrics"], check=False, stdin=_pipe(text))
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def _pipe(text):
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as pipe:
        pipe.write(text)  # smaller than a pipe's buffer
    return read_end


def test_the_file_has_what_is_documented_and_follows_the_receiver(servers, receivers, new_archive,
                                                                  place, promtool):
    primary = servers.primary(max_slot_wal_keep_size="1GB")
    create_slot(primary)
    archive = new_archive(primary)
    path = place / "textfile" / "pgweir.prom"
    path.parent.mkdir()
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive",
                                "--compress", "zstd", "--metrics-file", path,
                                "--metrics-interval", "1s")
    streaming(primary)
    end = primary.write_wal(3)
    reported(primary, end)

    def followed():
        values = read(path)
        return values if ("pgweir_slot_safe_wal_bytes" in values and one(values, "pgweir_receiver_flush_lsn_bytes") >= end
                          and one(values, "pgweir_receiver_lag_bytes") == 0) else None

    values = wait_for(followed, "the metrics to follow")
    assert one(values, "pgweir_receiver_state", state="streaming", archive=str(archive.path)) == 1
    assert one(values, "pgweir_receiver_state", state="waiting") == 0
    assert one(values, "pgweir_receiver_up") == 1
    assert one(values, "pgweir_receiver_lag_seconds") == 0
    assert one(values, "pgweir_receiver_archived_bytes_total") > 0
    assert one(values, "pgweir_receiver_segments_finished_total") >= 2
    assert one(values, "pgweir_slot_exists", slot="archive") == 1
    assert one(values, "pgweir_slot_wal_status", wal_status="reserved") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    check_metrics(promtool, path.read_text())
    primary.stop()

    def waits():
        values = read(path)
        return values if (one(values, "pgweir_receiver_state", state="waiting") == 1
                          and one(values, "pgweir_receiver_errors_total") >= 1) else None

    values = wait_for(waits, "it to wait")
    assert "pgweir_receiver_lag_bytes" not in values
    assert one(values, "pgweir_receiver_flush_lsn_bytes") >= end
    exported = set(values) | {"pgweir_receiver_server_lsn_bytes", "pgweir_receiver_lag_bytes",
                              "pgweir_receiver_lag_seconds",
                              "pgweir_receiver_certificate_expiry_timestamp_seconds"}  # there is no TLS
    assert exported == documented("Receiver")
    receiver.stop()
    values = read(path)
    assert one(values, "pgweir_receiver_up") == 0
    assert one(values, "pgweir_receiver_state", state="stopped") == 1
    assert [name.name for name in path.parent.iterdir()] == ["pgweir.prom"]


def test_over_http_on_this_machine_only(servers, receivers, new_archive, promtool):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receiver = receivers.pgweir(archive, primary, "--metrics-listen", port)
    streaming(primary)
    wait_for(lambda: one(parse(scrape(port)), "pgweir_receiver_state", state="streaming") == 1, "the stream to be told")
    text = scrape(port)
    check_metrics(promtool, text)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/passwd", timeout=PATIENCE)
    assert refused.value.code == 404
    addresses = run(["hostname", "-I"], check=False).stdout.split()
    for address in addresses[:1]:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            assert probe.connect_ex((address, port)) != 0
    # the port is in use now
    another = new_archive(primary, "another")
    second = receivers.pgweir(another, primary, "--metrics-listen", f"127.0.0.1:{port}")
    assert second.wait_exit() == 3
    assert f"127.0.0.1:{port}" in second.said() and "in use" in second.said()
    assert "hint" in second.said()
    receiver.stop()


def test_a_file_that_cannot_be_written_does_not_stop_the_archiving(servers, receivers, new_archive,
                                                                   place):
    primary = servers.primary()
    archive = new_archive(primary)
    path = place / "later" / "pgweir.prom"
    receiver = receivers.pgweir(archive, primary, "--metrics-file", path, "--metrics-interval",
                                "1s")
    receiver.wait_log("could not write the metrics")
    reported(primary, primary.write_wal(1))
    path.parent.mkdir()
    receiver.wait_log("the metrics can be written again")
    assert receiver.said().count("could not write the metrics") == 1
    receiver.stop()


def test_wrong_options(servers, new_archive, place):
    for options in (["--metrics-listen", "everywhere"], ["--metrics-listen", "70000"],
                    ["--metrics-listen", "::1:9187"], ["--metrics-file", place / "x.txt"],
                    ["--metrics-interval", "5s"], ["--log-format", "xml"]):
        done = pgweir("receive", "-D", place, *options)
        assert done.returncode == 2 and "pgweir: error: " in done.stderr, options


def test_verify_and_status_leave_figures_that_alerts_read(servers, receivers, new_archive, place,
                                                          promtool):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    end = primary.write_wal(5)
    reported(primary, end)
    archive.wait_finished(1, end // primary.segment_size - 1)
    verified, listed = place / "verify.prom", place / "status.prom"
    assert pgweir("verify", "-D", archive.path, "--metrics-file", verified).returncode == 0
    values = read(verified)
    assert one(values, "pgweir_verify_sound", archive=str(archive.path)) == 1
    assert sum(values["pgweir_verify_findings"].values()) == 0
    assert one(values, "pgweir_verify_records") > 0
    assert set(values) == documented("verify")
    pgweir("status", "-D", archive.path, "-d", primary.conninfo(), "--metrics-file", listed)
    values = read(listed)
    assert one(values, "pgweir_status_receiver_running") == 1
    assert one(values, "pgweir_status_level") == 0
    assert one(values, "pgweir_status_segments", timeline="1") >= 4
    assert one(values, "pgweir_status_lag_bytes") >= 0
    assert set(values) == documented("status")
    check_metrics(promtool, verified.read_text() + listed.read_text())
    receiver.stop()

    segments = sorted(archive.finished().values())
    with open(segments[0], "r+b") as file:
        file.seek(9000)
        file.write(b"damage here")
    segments[2].unlink()
    assert pgweir("verify", "-D", archive.path, "--metrics-file", verified).returncode == 1
    values = read(verified)
    assert one(values, "pgweir_verify_sound") == 0
    assert one(values, "pgweir_verify_findings", kind="gap") == 1
    assert sum(values["pgweir_verify_findings"].values()) >= 2
    # A part that is sound says nothing about the rest.
    (_, segno), _ = max(archive.finished().items())
    begin = segno * archive.segment_size
    part = ["verify", "-D", archive.path, "--from", f"{begin >> 32:X}/{begin & 0xffffffff:X}", "--metrics-file"]
    assert pgweir(*part, verified).returncode == 0
    assert one(read(verified), "pgweir_verify_sound") == 0
    assert pgweir(*part, place / "part.prom").returncode == 0 and not (place / "part.prom").exists()
    pgweir("status", "-D", archive.path, "--metrics-file", listed)
    values = read(listed)
    assert one(values, "pgweir_status_holes") == 1
    assert one(values, "pgweir_status_missing_segments") == 1
    assert one(values, "pgweir_status_receiver_running") == 0
    assert one(values, "pgweir_status_level") == 2
    # the rules join them with those of verify by this label
    assert one(values, "pgweir_status_last_check_passed", archive=str(archive.path), check="verify") == 0
    assert one(values, "pgweir_status_last_check_timestamp_seconds", archive=str(archive.path), check="verify") > 0


def test_nothing_of_it_is_loaded_where_it_is_not_asked_for(servers, receivers, new_archive):
    primary = servers.primary()
    receiver = receivers.pgweir(new_archive(primary), primary)
    streaming(primary)
    maps = pathlib.Path(f"/proc/{receiver.pid}/maps").read_text()
    assert "prometheus" not in maps and "pgweir-metrics" not in maps
    linked = run(["ldd", BINARY]).stdout
    assert "prometheus" not in linked and "civetweb" not in linked
    receiver.stop()


def test_a_program_without_its_module_says_so(servers, place):
    alone = place / "pgweir"
    shutil.copy(BINARY, alone)
    done = run([alone, "verify", "-D", place, "--metrics-file", place / "x.prom"], check=False)
    if done.returncode == 1:
        pytest.skip("a module is installed on this machine")
    assert done.returncode == 2 and "libpgweir-metrics.so" in done.stderr


def test_the_log_as_json(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    log = place / "pgweir.log"
    receiver = receivers.pgweir(archive, primary, "--log-format", "json", "--log-file", log)
    streaming(primary)
    primary.stop()

    def lines():
        return [json.loads(line) for line in log.read_text().rpartition("\n")[0].splitlines()]

    wait_for(lambda: any("hint" in line for line in lines() if line["level"] != "debug")
             or any(line["level"] == "warning" and "slot" not in line["message"] for line in lines()),
             "a failure to be logged")
    receiver.stop()
    fields = {field for line in lines() for field in line}
    known = set(re.findall(r"^\| `(\w+)` ", re.search(
        r"^## The log as JSON.*?(?=^## |\Z)", DOCUMENTED.read_text(),
        re.MULTILINE | re.DOTALL).group(), re.MULTILINE))
    assert fields <= known, fields - known
    for line in lines():
        assert {"time", "level", "pid", "message"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("debug", "info", "warning", "error")
        assert line["pid"] == receiver.pid
    assert any("streaming timeline 1" in line["message"] for line in lines())


def test_an_error_that_ends_it_is_one_object(servers, receivers, place):
    primary = servers.primary()

    class Missing:
        path = place / "missing"

    receiver = receivers.pgweir(Missing, primary, "--log-format", "json")
    assert receiver.wait_exit() == 4
    line = json.loads(receiver.said().splitlines()[-1])
    assert line["level"] == "error" and line["error"] == "io" and line["hint"]
    assert "missing" in line["context"]


# contrib

def rule_tests():
    return sorted((CONTRIB / "prometheus").glob("*.test.yml"))


def test_every_alert_is_documented_and_uses_metrics_that_there_are():
    rules = (CONTRIB / "prometheus" / "pgweir.rules.yml").read_text()
    alerts = set(re.findall(r"^ +- alert: (\w+)", rules, re.MULTILINE))
    text = DOCUMENTED.read_text()
    assert alerts == set(re.findall(r"^\| `(Pgweir\w+)`", text, re.MULTILINE))
    known = (documented("Receiver") | documented("verify") | documented("status") | documented("drill") | documented("backup")
             | documented("receive --compare-with") | documented("receive --slot-hosts")
             | documented("receive --serve") | documented("serve") | documented("receive --store"))
    dashboard = (CONTRIB / "grafana" / "pgweir.json").read_text()
    for name, used in (("rules", rules), ("dashboard", dashboard)):
        names = set(re.findall(r"\bpgweir_(?:receiver|archive|slot|serve|store|verify|status|drill|backup|compare|build)_\w+", used))
        assert names and names <= known, (name, names - known)
    tested = "".join(path.read_text() for path in rule_tests())
    assert alerts == set(re.findall(r"alertname: (\w+)", tested))
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tested)
    silent = re.findall(r"alertname: (\w+)\n +exp_alerts: \[\]\n", tested)
    assert alerts == set(fired), alerts - set(fired)
    assert alerts == set(silent), alerts - set(silent)


def test_the_alert_rules_do_what_they_say(promtool):
    rules = CONTRIB / "prometheus"
    run([promtool, "check", "rules", rules / "pgweir.rules.yml"])
    run([promtool, "test", "rules", *[path.name for path in rule_tests()]], cwd=rules)


def test_the_dashboard_fits_its_schema():
    jsonschema = pytest.importorskip("jsonschema")
    dashboard = json.loads((CONTRIB / "grafana" / "pgweir.json").read_text())
    schema = json.loads((CONTRIB / "grafana" / "dashboard.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(dashboard, schema)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard["panels"]:
        place_ = panel["gridPos"]
        cells = {(x, y) for x in range(place_["x"], place_["x"] + place_["w"])
                 for y in range(place_["y"], place_["y"] + place_["h"])}
        assert not cells & taken, panel["title"]
        assert place_["x"] + place_["w"] <= 24
        taken |= cells


def test_the_dashboard_shows_that_a_receiver_was_killed(place, promtool):
    """Its file stays as it was; what Prometheus scrapes itself is gone."""
    dashboard = json.loads((CONTRIB / "grafana" / "pgweir.json").read_text())
    panels = {panel["id"]: panel["targets"][0]["expr"].replace("$archive", ".*") for panel in dashboard["panels"]}
    own = 'archive="/wal", instance="a", job="node", pod="p"'
    lives = "0+60x10"
    tests = []
    for values, updates, ends in (("{}x40", lives + " 600x30", "of the file"), ("{}x10 stale", lives + " stale", "of all")):
        tests.append({
            "interval": "1m", "name": ends,
            "input_series": [
                {"series": f"pgweir_receiver_up{{{own}}}", "values": values.format(1)},
                {"series": f'pgweir_receiver_state{{{own}, state="streaming"}}', "values": values.format(1)},
                {"series": f"pgweir_receiver_lag_bytes{{{own}}}", "values": values.format(7)},
                {"series": f"pgweir_receiver_update_timestamp_seconds{{{own}}}", "values": updates}],
            "promql_expr_test": [
                {"expr": panels[panel], "eval_time": time, "exp_samples": samples}
                for panel, name, while_up, afterwards in ((1, "", 1, 0), (2, "", 1, 0), (3, "pgweir_receiver_lag_bytes", 7, None))
                for time, value in (("8m", while_up), ("20m", afterwards))
                for samples in [[] if value is None else [{"labels": f"{name}{{{own}}}", "value": value}]]]})
    (place / "dashboard.yml").write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": tests}))
    run([promtool, "test", "rules", "dashboard.yml"], cwd=place)
