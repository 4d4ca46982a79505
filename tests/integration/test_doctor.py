"""pgweir doctor on real servers of good and bad settings, with much and little privilege."""

import json
import os
import threading

import pytest

from support.line import Ending
from support.process import wait_for
from support.receiver import pgweir
from support.scenario import create_slot, reported, streaming


def doctor(*options, measure="100ms"):
    done = pgweir("doctor", "--json", "--measure", measure, *options)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    checks = {}
    for check in report["checks"]:
        checks.setdefault(check["name"], check)
    assert done.returncode == (0 if report["healthy"] else 1)
    return checks, done.returncode


def levels(checks, level):
    return {name for name, check in checks.items() if check["level"] == level}


def archiver(server):
    server.sql("CREATE ROLE archiver LOGIN REPLICATION")
    return server.conninfo(user="archiver", dbname="postgres")


def test_a_connection_that_is_lost_is_reported_as_such(servers):
    """And not as a list of checks that the server did not permit."""
    primary = servers.primary()
    create_slot(primary)
    archiver(primary)
    found = set()
    for number in range(1, 1000):
        line = Ending(primary.port, number)
        checks, status = doctor("-d", primary.conninfo(user="archiver", port=line.port), "-S", "archive", measure="0")
        line.close()
        assert not levels(checks, "unknown"), (number, checks)
        if line.left > 0:
            break
        lost = [name for name in ("ordinary_connection", "replication_connection") if "closed" in checks[name]["found"]]
        assert len(lost) == 1 and status == (lost[0] == "replication_connection"), (number, checks)
        found.add(lost[0])
    assert len(found) == 2 and status == 0 and not levels(checks, "failure"), checks


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19])
def test_a_good_server_of_each_version(servers, new_archive, major):
    primary = servers.primary(major=major, max_slot_wal_keep_size="100GB")
    create_slot(primary)
    archive = new_archive(primary)
    checks, status = doctor("-d", archiver(primary), "-S", "archive", "-D", archive.path)
    assert status == 0 and not levels(checks, "failure"), checks
    assert levels(checks, "unknown") == set(), checks
    for name in ("replication_connection", "ordinary_connection", "role", "wal_level", "slot",
                 "max_wal_senders", "max_slot_wal_keep_size", "clock", "lock", "cluster"):
        assert checks[name]["level"] == "ok", checks[name]
    assert f"PostgreSQL {major}" in checks["server_version"]["found"]
    assert ("idle_replication_slot_timeout" in checks) == (major >= 18)
    assert "a sync of 8 kB takes" in checks["sync"]["found"]
    assert os.listdir(archive.path) == []
    text = pgweir("doctor", "-d", archiver_conninfo(primary), "-S", "archive", "-D", archive.path,
                  "--measure", "0").stdout
    assert "[  ok  ] wal_level: wal_level is replica" in text
    # A reload has read what a restart will put in force. (Doctor does not judge max_connections.)
    assert "pending_restart" not in checks
    primary.conf(wal_level="minimal", max_wal_senders=0, max_connections=77)
    primary.reload()
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "3",
             "the server to reread its configuration")
    checks, status = doctor("-d", archiver_conninfo(primary), "-S", "archive", "-D", archive.path)
    assert status == 0 and checks["wal_level"]["level"] == "ok", checks
    waiting = checks["pending_restart"]
    assert waiting["level"] == "warning" and "new values of max_wal_senders, wal_level," in waiting["found"], waiting
    # what it says is SQL that works
    assert "wal_level|minimal" in primary.sql(waiting["todo"][0].split(";")[0])


def archiver_conninfo(server):
    return server.conninfo(user="archiver", dbname="postgres")


def test_bad_settings_are_found_and_the_advice_helps(servers, new_archive):
    primary = servers.primary(wal_level="minimal", max_wal_senders=0, archive_mode="off")
    primary.sql("CREATE ROLE archiver LOGIN")
    archive = new_archive(primary)
    checks, status = doctor("-d", archiver_conninfo(primary), "-D", archive.path)
    assert status == 1
    assert {"replication_connection", "wal_level", "max_wal_senders"} <= levels(checks, "failure")
    # what it says is SQL that works
    for name in ("wal_level", "max_wal_senders"):
        primary.sql(checks[name]["todo"][0].split(";")[0])
    primary.restart()
    checks, status = doctor("-d", archiver_conninfo(primary), "-D", archive.path)
    assert status == 1 and levels(checks, "failure") == {"replication_connection"}
    advice = [line for line in checks["replication_connection"]["todo"] if line.startswith("ALTER ROLE")]
    primary.sql(advice[0])
    checks, status = doctor("-d", archiver_conninfo(primary), "-D", archive.path)
    assert status == 0, checks


def test_risky_settings_are_warned_of(servers, new_archive):
    primary = servers.primary(wal_sender_timeout=0, archive_mode="on", archive_command="",
                              synchronous_standby_names="pgweir", synchronous_commit="local",
                              full_page_writes="off", max_slot_wal_keep_size="-1")
    create_slot(primary)
    archive = new_archive(primary)
    archive.path.chmod(0o755)
    checks, status = doctor("-d", primary.conninfo(), "-S", "archive", "-D", archive.path)
    assert status == 0
    assert {"wal_sender_timeout", "archive_mode", "synchronous_standby_names", "full_page_writes",
            "max_slot_wal_keep_size", "role", "permissions"} <= levels(checks, "warning"), checks


def test_settings_of_a_role_do_not_hide_those_of_its_walsender(servers):
    primary = servers.primary(wal_sender_timeout=0)
    conninfo = archiver(primary)
    primary.sql("ALTER ROLE archiver SET wal_sender_timeout = '60s'; ALTER ROLE archiver SET synchronous_commit = 'off'")
    names = "ANY 1 (pgweir, b)"
    primary.conf(synchronous_standby_names=names)
    primary.reload()
    wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == names, "the server to reread its configuration")
    checks, _ = doctor("-d", conninfo)
    assert checks["wal_sender_timeout"]["level"] == "warning", checks["wal_sender_timeout"]
    assert checks["synchronous_standby_names"]["level"] == "ok", checks["synchronous_standby_names"]


def test_what_the_settings_mean_for_base_backups(servers):
    """PostgreSQL 17, seen over both connections and over the replication connection alone."""
    primary = servers.primary(major=17, initdb=["--data-checksums"], archive_mode="on", archive_command="/bin/false",
                              summarize_wal="off")
    conninfo = archiver(primary)
    primary.write_wal(1)
    primary.switch_wal()
    wait_for(lambda: primary.sql("SELECT failed_count > 0 FROM pg_stat_archiver") == "t", "the archive_command to fail")
    checks, status = doctor("-d", conninfo)
    assert status == 0, checks
    assert checks["archive_mode"]["level"] == "warning", checks["archive_mode"]
    assert "no base backup completes" in checks["archive_mode"]["found"]
    assert checks["data_checksums"]["level"] == "ok" and "verify the pages" in checks["data_checksums"]["found"]
    assert checks["summarize_wal"]["level"] == "ok", checks["summarize_wal"]
    advice = checks["summarize_wal"]["found"]
    # what it says is SQL that works
    for statement in advice[advice.index("ALTER SYSTEM"):].split(";")[:-1]:
        primary.sql(statement)
    primary.hba("host replication archiver 127.0.0.1/32 trust", "host all archiver 127.0.0.1/32 reject")
    primary.reload()

    def over_replication_alone():
        checks, _ = doctor("-d", conninfo)
        return checks if checks["ordinary_connection"]["level"] == "warning" else None

    checks = wait_for(over_replication_alone, "the server to reread its configuration")
    assert "can be incremental" in checks["summarize_wal"]["found"], checks["summarize_wal"]
    assert "verify the pages" in checks["data_checksums"]["found"]


def test_slots_that_are_missing_wrong_or_lost(servers, new_archive):
    primary = servers.primary(wal_level="logical", max_replication_slots=2, wal_keep_size=0,
                              max_slot_wal_keep_size="1MB")
    conninfo = archiver(primary)
    checks, status = doctor("-d", conninfo, "-S", "archive")
    assert status == 0 and checks["slot"]["level"] == "warning", checks["slot"]
    primary.sql("SELECT pg_create_logical_replication_slot('decoding', 'pgoutput')")
    checks, status = doctor("-d", conninfo, "-S", "decoding")
    assert status == 1 and "logical" in checks["slot"]["found"]
    create_slot(primary, "archive")
    checks, status = doctor("-d", conninfo, "-S", "another")
    assert status == 1 and "all 2 slots are in use" in checks["slot"]["found"]
    for _ in range(4):
        primary.write_wal(2)
        primary.switch_wal()
    primary.sql("CHECKPOINT")
    wait_for(lambda: primary.sql("SELECT wal_status FROM pg_replication_slots"
                                 " WHERE slot_name = 'archive'") == "lost", "the slot to be lost")
    checks, status = doctor("-d", conninfo, "-S", "archive")
    assert status == 1 and "invalidated" in checks["slot"]["found"]


def test_a_role_that_may_only_replicate_over_replication(servers, new_archive):
    """pg_hba.conf lets it do nothing else: the settings are still seen, and it says what is not."""
    primary = servers.primary(max_slot_wal_keep_size="100GB")
    conninfo = archiver(primary)
    create_slot(primary)
    primary.hba("host replication archiver 127.0.0.1/32 trust",
                "host all archiver 127.0.0.1/32 reject")
    primary.reload()
    archive = new_archive(primary)

    def rejected():
        checks, status = doctor("-d", conninfo, "-S", "archive", "-D", archive.path)
        return (checks, status) if checks["ordinary_connection"]["level"] == "warning" else None

    checks, status = wait_for(rejected, "the server to reread pg_hba.conf")
    assert status == 0, checks
    assert checks["wal_level"]["level"] == "ok"
    # Over replication, 16 and 17 do not show whether they have invalidated it.
    assert checks["slot"]["level"] == ("unknown" if primary.major in (16, 17) else "ok")
    assert "pg_hba.conf" in " ".join(checks["ordinary_connection"]["todo"])
    assert "clock" not in checks


def test_an_archive_that_is_in_use_or_of_another_cluster(servers, receivers, new_archive):
    primary, other = servers.primary(), servers.primary("other")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    reported(primary, primary.write_wal(2))
    checks, status = doctor("-d", primary.conninfo(), "-D", archive.path)
    assert "a receiver is running here" in checks["lock"]["found"]
    assert checks["cluster"]["level"] == "ok"
    checks, status = doctor("-d", other.conninfo(), "-D", archive.path)
    assert status == 1 and checks["cluster"]["level"] == "failure"
    assert receiver.running()
    receiver.stop()
    assert not [name for name in os.listdir(archive.path) if name.endswith(".tmp")]


def test_an_archive_that_another_program_writes_is_not_ahead_of_the_server(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.stock(archive, primary)
    streaming(primary)
    archive.wait_covers(primary, 1, primary.write_wal(0.1))  # an empty archive has no timeline
    ended = threading.Event()

    def write():
        while not ended.is_set():
            primary.write_wal(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        checks, _ = doctor("-d", primary.conninfo(), "-D", archive.path, measure="1s")
    finally:
        ended.set()
        writer.join()
    assert checks["timeline"]["level"] == "ok", checks["timeline"]


def test_directories_that_cannot_be_one(servers, place):
    primary = servers.primary()
    checks, status = doctor("-d", primary.conninfo(), "-D", place / "missing")
    assert status == 1 and "mounted" in " ".join(checks["directory"]["todo"])
    checks, status = doctor("-d", primary.conninfo(), "-D", primary.data)
    assert status == 1 and checks["directory"]["level"] == "failure"
    if os.path.isdir("/dev/shm"):
        memory = f"/dev/shm/pgweir-doctor-{os.getpid()}"
        os.mkdir(memory, 0o700)
        try:
            checks, status = doctor("-d", primary.conninfo(), "-D", memory)
        finally:
            os.rmdir(memory)
        assert status == 1 and "tmpfs" in checks["file_system"]["found"]


def test_a_standby(servers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    # All WAL that there is can come from the base backup, before it streams.
    wait_for(lambda: standby.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", "the standby to stream")
    checks, status = doctor("-d", standby.conninfo(), "-D", new_archive(primary).path)
    assert status == 0 and checks["standby"]["level"] == "ok"
    assert "a standby" in checks["server_version"]["found"]
    # What it has received stays known, but nothing more comes.
    primary.stop("immediate")
    wait_for(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the standby to lose its primary")
    checks, status = doctor("-d", standby.conninfo())
    assert status == 0 and checks["standby"]["level"] == "warning", checks["standby"]


def test_no_server_and_wrong_options():
    checks, status = doctor("-d", "host=127.0.0.1 port=1")
    assert status == 1 and checks["replication_connection"]["level"] == "failure"
    assert pgweir("doctor", "-d", "hosst=x").returncode == 2
    assert pgweir("doctor", "--measure", "1h").returncode == 2
    assert pgweir("doctor", "-S", "No-Slot").returncode == 2
