"""One configuration file for all commands, with real servers where a command needs one."""

import os
import re
import signal
import textwrap

import pytest

from support.process import wait_for
from support.receiver import BINARY, pgweir
from support.scenario import streaming
from support.server import REPOSITORY

COMMANDS = {path.stem.removeprefix("pgweir-") for path in (REPOSITORY / "man").glob("pgweir-*.1")}


@pytest.fixture
def config(place):
    def write(text, mode=0o600, name="weir.ini"):
        path = place / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_every_command_takes_its_part(servers, receivers, new_archive, config):
    primary = servers.primary()
    archive = new_archive(primary)
    path = config(f"""# an archive
directory = {archive.path}
dbname = {primary.conninfo()}
slot = archive
create-slot = on
if-not-exists = yes
compress = zstd:3

[verify]
jobs = 1
json = on

[status]
json = on
max-lag = 64MB
check = on

[slot]
json = on
""")
    assert pgweir("config", "check", path).returncode == 0
    receiver = receivers.start([BINARY, "-c", path, "receive"])
    streaming(primary)
    primary.write_wal(2)
    wait_for(lambda: '"sound"' in pgweir("verify", "-c", path).stdout, "verify to tell JSON")
    report = pgweir("-c", path, "status").stdout
    assert '"upstream"' in report and '"check"' in report and '"archive"' in report
    assert '"archive"' in pgweir(f"--config={path}", "slot", "list").stdout
    assert "wal_level" in pgweir("doctor", "-c", path, "--measure", "0").stdout
    shown = pgweir("config", "show", path, "verify").stdout
    assert f'jobs = 1  # "jobs" in {path}, line 10' in shown.splitlines()
    receiver.stop()


def test_names_from_before_version_1_are_accepted_and_told(servers, receivers, new_archive, config):
    primary = servers.primary()
    archive = new_archive(primary)
    path = config(f"""directory = {archive.path}
dbname = {primary.conninfo()}
slot = archive
create-slot = on
slot-on = none
gap-patience = 5min
""")
    checked = pgweir("config", "check", path)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[:-1] == [
        f'"slot-on" in {path}, line 5 is called slot-hosts now; the former name is accepted until version 2.0',
        f'"gap-patience" in {path}, line 6 is called gap-timeout now; the former name is accepted until version 2.0',
    ]
    shown = pgweir("config", "show", path).stdout
    assert "slot-hosts = none" in shown and "slot-on =" not in shown
    receiver = receivers.start([BINARY, "receive", "-c", path, "--store-open", "10s", "--keep-local", "7d"])
    assert receiver.wait_exit() == 2, receiver.said()  # without a store
    receiver = receivers.start([BINARY, "receive", "-c", path, "--no-loop"], env={"PGWEIR_RECEIVE_ON_GAP": "stop"})
    receiver.wait_log('INFO .*"slot-on" in .* is called slot-hosts now')
    streaming(primary)
    archive.wait_covers(primary, 1, primary.write_wal(0.1))
    receiver.stop()


def test_the_environment_gives_options_too(servers, receivers, new_archive, config):
    """As in a container: no file is needed, and each command finds the archive."""
    primary = servers.primary()
    archive = new_archive(primary)
    own = {"PGWEIR_RECEIVE_DIRECTORY": str(archive.path), "PGWEIR_RECEIVE_DBNAME": primary.conninfo(),
           "PGWEIR_RECEIVE_SLOT": "archive", "PGWEIR_RECEIVE_CREATE_SLOT": "on",
           "PGWEIR_RECEIVE_COMPRESS": "zstd:1", "PGWEIR_STATUS_JSON": "on"}
    receiver = receivers.start([BINARY, "receive"], env=own)
    streaming(primary)
    primary.write_wal(2)
    wait_for(lambda: list(archive.path.glob("*.zst")), "a compressed segment")
    report = pgweir("status", env=own)
    assert report.returncode == 0, report.stderr
    assert '"archive"' in report.stdout
    path = config("compress = zstd:3\nlog-level = debug\n")
    shown = pgweir("config", "show", path, env=own).stdout.splitlines()
    assert "compress = zstd:1  # PGWEIR_RECEIVE_COMPRESS" in shown
    assert f'log-level = debug  # "log-level" in {path}, line 2' in shown
    assert "json = on  # PGWEIR_STATUS_JSON" in pgweir("config", "show", "status", env=own).stdout
    wrong = pgweir("status", env={**own, "PGWEIR_STATUS_MAX_LAGG": "1"})
    assert wrong.returncode == 2 and "Did you mean PGWEIR_STATUS_MAX_LAG?" in wrong.stderr
    receiver.stop()


def test_what_is_wrong_is_told_with_its_line_whatever_reads_it(config, place):
    cases = [
        ("directry = /x", 1, "Did you mean directory?"),
        ("directory = /x\n\nslot = No-Name", 3, "63 lower-case letters"),
        ("directory = /x\nflush = often", 2, "often"),
        ("directory = /x\nlog-format = xml", 2, "text, json"),
        ("directory = /x\n[verify]\njobs = many", 3, "many"),
        ("directory = /x\n[status]\nmax-age = long", 3, "10s, 5min"),
        ("[recieve]\n", 1, "Did you mean [receive]?"),
        ("directory = /x\njobs = 3", 2, "[verify]"),
        ("directory = /x\nif-not-exists = on", 2, "--create-slot"),
        ("dbname = hosst=x", 1, "hosst"),
        ("password = secret", 1, "password file"),
    ]
    for text, line, told in cases:
        path = config(text)
        done = pgweir("config", "check", path)
        said = done.stdout + done.stderr
        assert done.returncode == 2 and f"line {line}" in said and told in said, (text, said)
        assert "secret" not in said
        done = pgweir("receive", "-c", path, "-D", place)
        assert done.returncode == 2, (text, done.stderr)


def test_all_that_is_wrong_is_told_at_once(config):
    path = config("""directry = /x
slot = No-Name
flush = often
create-slot
compress = gzip
timeout = 1ms
metrics-interval = 5s
if-not-exists = on
dbname = host=db1 password=secret
log-level = loud
log-format = xml
[verify]
jobs = many
[recieve]
anything = 1
[status]
max-age = long
jobs = 3
max-lag = 64MB
""", mode=0o644)
    done = pgweir("config", "check", path)
    assert done.returncode == 2 and done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    for line, told in ((1, "directry"), (2, "No-Name"), (3, "often"), (4, "without"), (5, "gzip"),
                       (6, "timeout"), (7, "--metrics-file"), (8, "--create-slot"),
                       (9, "others can read it"), (10, "loud"), (11, "xml"), (13, "many"),
                       (14, "recieve"), (17, "long"), (18, "jobs")):
        assert len([each for each in errors if told in each and f"line {line}" in each]) == 1, (
            line, told, done.stderr)
    assert len(errors) == 15 and "secret" not in done.stderr
    # The others still end with the first one.
    assert len([line for line in pgweir("receive", "-c", path).stderr.splitlines()
                if "error:" in line]) == 1


def blocks(page):
    """What stands between fences, without the indentation of a list."""
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(), re.M | re.S):
        yield textwrap.dedent(block)


def test_the_configuration_in_the_docs_is_accepted(config):
    """Each block with sections of commands, below what every file begins with. (Units of systemd have other sections.)"""
    checked = []
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        for block in blocks(page):
            sections = re.findall(r"^\[(.+)\]$", block, re.M)
            if not sections or not all(name in COMMANDS for name in sections):
                continue
            if "store" in sections and not re.search(r"^store = ", block, re.M):
                block = block.replace("[store]\n", "[store]\nstore = s3://backup/pg\n")
            file = config(f"directory = /srv/wal\ndbname = host=db1 user=pgweir\nslot = main\n{block}")
            done = pgweir("config", "check", file)
            assert done.returncode == 0, (page.name, block, done.stderr)
            checked.append(page.name)
    assert checked.count("store.md") >= 2, checked


def test_the_token_files_are_looked_at(config, place):
    token = place / "token"
    text = f"directory = {place}\nweb-listen = 9190\nweb-token-file = {token}\n[web]\nfleet = {place}/fleet.ini\n"
    path = config(text)
    (place / "fleet.ini").write_text(f"[a]\nurl = http://127.0.0.1:1\ntoken-file = {place}/other\n")
    for content, mode, told in ((None, 0, "cannot be read"), ("", 0o600, "16 characters"), ("half", 0o600, "16 characters"),
                                ("0123456789abcdef\n", 0o640, "others have access")):
        for name in ("token", "other"):
            (place / name).unlink(missing_ok=True)
            if content is not None:
                (place / name).write_text(content)
                (place / name).chmod(mode)
        done = pgweir("config", "check", path)
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        assert done.returncode == 2 and len(errors) == 2 and all(told in each for each in errors), done.stderr
        assert '"web-token-file" in' in errors[0] and "line 3" in errors[0] and "[a] in" in errors[1], done.stderr
    for name in ("token", "other"):
        (place / name).chmod(0o600)
    assert pgweir("config", "check", path).returncode == 0
    (place / "fleet.ini").write_text("[a]\n")
    assert "directory or a url" in pgweir("config", "check", path).stderr


def test_a_password_that_others_can_read_is_refused(config, place):
    text = f"directory = {place}\ndbname = host=127.0.0.1 port=1 user=x password=secret\n"
    path = config(text, mode=0o644)
    for command in (["config", "check", path], ["config", "show", path], ["receive", "-c", path],
                    ["status", "-c", path]):
        done = pgweir(*command)
        assert done.returncode == 2 and "others can read it" in done.stderr, command
        assert "chmod 600" in done.stderr and "secret" not in done.stdout + done.stderr
    path.chmod(0o600)
    assert pgweir("config", "check", path).returncode == 0
    shown = pgweir("config", "show", path).stdout
    assert "password=******" in shown and "secret" not in shown
    assert pgweir("restore", "-c", path, "000000010000000000000001",
                  place / "target").returncode == 200


def test_a_reload_takes_the_log_level_and_survives_a_broken_file(servers, receivers, new_archive,
                                                                 config, place):
    primary = servers.primary()
    archive = new_archive(primary)
    text = f"directory = {archive.path}\ndbname = {primary.conninfo()}\nlog-file = {place}/log\n"
    path = config(text)
    receiver = receivers.start([BINARY, "receive", "--config", path])
    streaming(primary)
    log = place / "log"

    def wait_log(words):
        wait_for(lambda: log.exists() and words in log.read_text(), f"the log to say {words}")

    wait_log("streaming timeline")
    config(text + "log-level = debug\nslot = other\n")
    os.rename(log, place / "log.1")
    receiver.send(signal.SIGHUP)
    wait_log("log level reloaded")
    primary.write_wal(2)
    wait_log("DEBUG")
    config(text + "log-level = loud\n")
    receiver.send(signal.SIGHUP)
    wait_log("loud")
    streaming(primary)
    assert primary.sql("SELECT count(*) FROM pg_stat_replication") == "1"
    receiver.stop()
