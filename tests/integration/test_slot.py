"""Replication slots: ours to create, to hold back WAL with, and never to run ahead of the disk."""

import pytest

from support.process import wait_for
from support.receiver import pgweir
from support.scenario import create_slot, reported, restart_lsn, streaming


@pytest.mark.parametrize("flush", ["continuous", "200ms", "segment"])
def test_the_slot_is_never_ahead_of_the_disk(servers, receivers, new_archive, flush):
    primary = servers.primary()
    primary.pgbench_init()
    create_slot(primary)
    start = restart_lsn(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--flush", flush, "--compress",
                                "zstd:1")
    streaming(primary)
    load = primary.pgbench(clients=4, transactions=500)
    seen = set()
    while load.poll() is None:
        position = restart_lsn(primary)  # first the report, then what is there
        seen.add(position)
        if position > start:
            archive.assert_covers(primary, 1, position, start=max(start, position - (2 << 20)))
    primary.switch_wal()
    end = primary.switch_wal()
    reported(primary, end - end % primary.segment_size)
    receiver.stop()
    assert load.returncode == 0
    assert len(seen) > 1, "the slot did not move under load"
    archive.assert_same_wal(primary, minimum=2)


def test_a_missing_slot_needs_a_person(servers, receivers, new_archive):
    primary = servers.primary()
    receiver = receivers.pgweir(new_archive(primary), primary, "-S", "nobody")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "nobody" in receiver.said() and "--create-slot" in receiver.said()


def test_a_logical_slot_is_refused(servers, receivers, new_archive):
    primary = servers.primary(wal_level="logical")
    primary.sql("SELECT pg_create_logical_replication_slot('decoding', 'pgoutput')")
    receiver = receivers.pgweir(new_archive(primary), primary, "-S", "decoding")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "decoding" in receiver.said() and "logical" in receiver.said()


def test_a_slot_in_use_is_waited_for(servers, receivers, new_archive):
    primary = servers.primary()
    create_slot(primary)
    holder = receivers.pgweir(new_archive(primary, "holder"), primary, "-S", "archive")
    holding = streaming(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    receiver.wait_log(r"(?i)in use|active")
    assert receiver.running(), receiver.said()
    holder.stop()
    wait_for(lambda: [row for row in primary.walsenders()
                      if row["pid"] != holding["pid"] and row["state"] == "streaming"],
             "the second receiver to get the slot")
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.stop()
    archive.assert_same_wal(primary)
    assert restart_lsn(primary) >= end


def test_create_slot_when_starting(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--create-slot")
    streaming(primary)
    assert restart_lsn(primary), "the slot reserves WAL"
    assert primary.sql("SELECT slot_type FROM pg_replication_slots") == "physical"
    end = primary.write_wal(2)
    reported(primary, end)
    receiver.stop()
    again = receivers.pgweir(archive, primary, "-S", "archive", "--create-slot", "--no-loop")
    assert again.wait_exit() not in (0, 3), again.said()
    assert "exists" in again.said() and "--if-not-exists" in again.said()
    tolerant = receivers.pgweir(archive, primary, "-S", "archive", "--create-slot",
                                "--if-not-exists")
    end = primary.write_wal(1)
    streaming(primary)
    reported(primary, end)
    tolerant.stop()
    archive.assert_same_wal(primary, minimum=2)


@pytest.mark.parametrize("major", [13, 15], ids=lambda major: f"major{major}")  # 13 cannot be asked for one slot
def test_the_slot_command(servers, major):
    primary = servers.primary(major=major)
    at = ["-d", primary.conninfo()]
    made = pgweir("slot", "create", *at, "-S", "one")
    assert made.returncode == 0, made.stderr
    assert restart_lsn(primary, "one"), "it reserves WAL at once"
    twice = pgweir("slot", "create", *at, "-S", "one")
    assert twice.returncode not in (0, 3) and "one" in twice.stderr, twice.stderr
    tolerant = pgweir("slot", "create", *at, "-S", "one", "--if-not-exists")
    assert tolerant.returncode == 0, tolerant.stderr
    listed = pgweir("slot", "list", "-d", primary.conninfo(dbname="postgres"))
    assert listed.returncode == 0, listed.stderr
    assert "one" in listed.stdout
    dropped = pgweir("slot", "drop", *at, "-S", "one")
    assert dropped.returncode == 0, dropped.stderr
    assert primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    missing = pgweir("slot", "drop", *at, "-S", "one")
    assert missing.returncode not in (0, 3) and "one" in missing.stderr, missing.stderr
    tolerant = pgweir("slot", "drop", *at, "-S", "one", "--if-exists")
    assert tolerant.returncode == 0, tolerant.stderr


def test_a_bad_slot_name_is_a_usage_error(servers):
    primary = servers.primary()
    result = pgweir("slot", "create", "-d", primary.conninfo(), "-S", "Not-A-Slot")
    assert result.returncode == 2, result.stderr
    assert "Not-A-Slot" in result.stderr


def test_an_invalidated_slot_needs_a_person(servers, receivers, new_archive):
    primary = servers.primary(wal_keep_size="0",
                              max_slot_wal_keep_size="1MB")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()

    def lost():
        primary.write_wal(2)
        primary.sql("CHECKPOINT")
        return primary.sql("SELECT wal_status FROM pg_replication_slots") == "lost"

    wait_for(lost, "the slot to be invalidated")
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "archive" in receiver.said()
