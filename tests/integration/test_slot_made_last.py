"""`--create-slot`: the slot is made when everything else is known to be right. A slot on a server that is refused would
keep WAL there for nobody, until that server's disk is full."""

import re

import pytest

from support.process import run, wait_for
from support.receiver import BINARY, pgweir
from support.scenario import create_slot, reported, restart_lsn, status_of_receiver, streaming


def slots(server):
    return server.sql("SELECT slot_name FROM pg_replication_slots ORDER BY 1").split()


def refused(receivers, archive, server, *options):
    """Status 4, and no slot was left on the server; returns what was said."""
    before = slots(server)
    receiver = receivers.pgweir(archive, server, "-S", "mine", "--create-slot", *options)
    assert receiver.wait_exit() == 4, receiver.said()
    assert slots(server) == before, receiver.said()
    return receiver.said()


@pytest.mark.parametrize("major", [14, 15])
def test_a_refused_server_is_left_without_slot(servers, receivers, new_archive, major):
    primary = servers.primary(major=major)
    primary.stop()
    primary.copy_of_files()
    primary.start()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "mine", "--create-slot")
    streaming(primary)
    reported(primary, primary.write_wal(3))
    receiver.stop()
    assert slots(primary) == ["mine"], "on the right server it is made, and stays"
    primary.sql("SELECT pg_drop_replication_slot('mine')")

    other = servers.primary(major=major)
    said = refused(receivers, archive, other)
    assert "another cluster" in said or "cluster" in said
    assert "created replication slot" not in said, "not even for a moment"
    small = servers.primary(major=major, segment_mb=2)
    assert "created" not in refused(receivers, archive, small)
    # One that is there already is somebody else's.
    create_slot(other, "mine")
    held = restart_lsn(other, "mine")
    refused(receivers, archive, other, "--if-not-exists")
    assert restart_lsn(other, "mine") == held

    # A failover, followed, and then the old primary comes back.
    standby.caught_up_with(primary.flushed())
    standby.promote()
    end = standby.write_wal(2)
    receiver = receivers.pgweir(archive, standby)
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    refused(receivers, archive, primary)
    # Set back to an earlier state, and not as far as the archive.
    (archive.path / "00000002.history").unlink()
    for path in archive.path.glob("00000002*"):
        path.unlink()
    primary.stop()
    primary.set_back()
    primary.start()
    assert "earlier state" in " ".join(refused(receivers, archive, primary).split())


@pytest.mark.parametrize("major", [14, 15])
def test_the_slot_goes_again_where_the_wal_is_gone(servers, receivers, new_archive, major):
    """That shows only when the slot is there, since only then nothing more can go."""
    primary = servers.primary(major=major, wal_keep_size="0")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    position = primary.write_wal(2)
    reported(primary, position)
    receiver.stop()
    wanted = primary.wal_path(1, position)

    def removed():
        primary.write_wal(1)
        primary.sql("CHECKPOINT")
        return not wanted.exists()

    wait_for(removed, f"{wanted.name} to be removed")
    said = refused(receivers, archive, primary)
    assert "dropped replication slot" in said and "dropped again" in " ".join(said.split())
    assert "streaming timeline" not in said and "all of it is durable" not in said, said
    receiver = receivers.pgweir(archive, primary, "-S", "mine", "--create-slot", "--on-gap", "continue")
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    assert slots(primary) == ["mine"]


def test_an_end_position_that_only_the_slot_can_judge(servers, receivers, new_archive):
    """An empty archive begins where the new slot reserves WAL, not where the server writes."""
    primary = servers.primary()
    primary.sql("CHECKPOINT")
    target = primary.sql("SELECT pg_current_wal_lsn()")
    primary.write_wal(3)
    archive = new_archive(primary)
    result = pgweir("receive", "-D", archive.path, "-d", primary.conninfo(), "-S", "mine", "--create-slot",
                    "--endpos", target)
    assert result.returncode == 0, result.stderr
    assert archive.names() and slots(primary) == ["mine"]
    primary.sql("SELECT pg_drop_replication_slot('mine')")
    primary.sql("CHECKPOINT")
    empty = new_archive(primary, "empty")
    assert "end position precedes" in refused(receivers, empty, primary, "--endpos", target)


def test_the_guard_does_not_miss_a_slot_that_is_still_to_be_made(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary, start=False)
    standby.conf(primary_conninfo="", log_connections="on", log_disconnections="on")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(3))
    receiver.stop()
    standby.start()  # where it was: it is waited for, and without it there is no slot
    receiver = receivers.pgweir(archive, standby.conninfo(dbname="postgres"), "-S", "mine", "--create-slot")
    # It has a connection for each look.
    wait_for(lambda: "application_name=pgweir monitor" in standby.log.read_text() and
             "disconnection" in standby.log.read_text().split("application_name=pgweir monitor")[-1],
             "the guard to have looked")
    receiver.wait_log("waiting for it")
    report = status_of_receiver(archive)
    assert "slot_warning" not in report and "slot_retained_bytes" not in report
    standby.follow(primary)
    standby.reload()
    streaming(standby)
    # It looks when the slot is made, and not half a minute later.
    wait_for(lambda: "slot_retained_bytes" in status_of_receiver(archive), "the guard to have seen the new slot", deadline=25)
    assert "slot_warning" not in status_of_receiver(archive)
    receiver.stop()
    assert "does not exist" not in receiver.said(), receiver.said()


@pytest.mark.parametrize("major", [14])
def test_what_the_guard_said_goes_when_the_slot_is_there(servers, receivers, new_archive, major):
    primary = servers.primary(major=major)
    standby = servers.standby(primary, start=False)
    standby.conf(primary_conninfo="", log_connections="on", log_disconnections="on")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(3))
    receiver.stop()
    standby.start()
    receiver = receivers.pgweir(archive, standby.conninfo(dbname="postgres"), "-S", "mine")
    receiver.wait_log('slot "mine" does not exist')
    create_slot(standby, "mine")
    standby.follow(primary)
    standby.reload()
    receiver.wait_log('slot "mine" is resolved', deadline=25)
    report = status_of_receiver(archive)
    assert "slot_warning" not in report
    receiver.stop()


def test_a_refused_start_of_logical_leaves_no_slot(servers, place):
    primary = servers.primary(wal_level="logical")
    other = servers.primary(wal_level="logical")
    out = place / "changes"

    def logical(server, *options):
        return run([BINARY, "logical", "-S", "mine", "-d", server.conninfo(dbname="postgres"), "-f", out,
                    "--create-slot", "-P", "test_decoding", "-n", *options], check=False)

    end = primary.sql("SELECT pg_current_wal_lsn()")
    made = logical(primary, "-E", end)
    assert made.returncode == 0, made.stderr
    assert slots(primary) == ["mine"]
    refused_there = logical(other)
    assert refused_there.returncode == 4, refused_there.stderr
    assert slots(other) == [], refused_there.stderr
    assert re.search("dropped replication slot", refused_there.stderr)
    create_slot_logical = "SELECT pg_create_logical_replication_slot('mine', 'test_decoding')"
    other.sql(create_slot_logical)
    assert logical(other, "--if-not-exists").returncode == 4
    assert slots(other) == ["mine"], "not its own"


@pytest.mark.parametrize("major", [13, 17, 18, 19])
def test_an_invalidated_slot_names_the_setting(servers, receivers, new_archive, major):
    primary = servers.primary(major=major, wal_keep_size="0",
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
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive")
    assert receiver.wait_exit() == 4, receiver.said()
    hint = " ".join(receiver.said().split()).lower()
    hint = hint[hint.rindex("hint"):]
    assert "max_slot_wal_keep_size" in hint, receiver.said()
    assert "streaming timeline" not in receiver.said(), receiver.said()
    assert "all of it is durable" not in receiver.said(), receiver.said()
