"""Every supported server version: page magics, slots and replication commands differ."""

import json
import shutil
import subprocess

import pytest

from support.process import wait_for
from support.receiver import BINARY
from support.relay import Relay, make_user
from support.scenario import create_slot, promote_again, reported, restart_lsn, streaming


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_the_magic_that_initdb_writes_is_the_one_of_the_table(servers, place, major):
    """A release that raises XLOG_PAGE_MAGIC is noticed on the day it is installed here."""
    server = servers.primary(major=major)
    server.write_wal(1)
    archive = place / "magic"
    archive.mkdir()
    first = sorted(name for name in (server.data / "pg_wal").iterdir() if len(name.name) == 24)[0]
    shutil.copy(first, archive)
    answer = subprocess.run([BINARY, "verify", "-D", archive, "--json"], capture_output=True, text=True, check=False)
    report = json.loads(answer.stdout)
    magic = int.from_bytes(first.read_bytes()[:2], "little")
    assert report["server_major"] == major, f"0x{magic:04X}: {answer.stdout}"
    assert report["records_checked"] and report["checked"]["records"] > 0, answer.stdout


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_byte_identity(servers, receivers, new_archive, major):
    primary = servers.primary(major=major)
    standby = servers.standby(primary)
    archives = new_archive(primary, "primary"), new_archive(primary, "standby")
    both = (receivers.pgweir(archives[0], primary, "-S", "archive", "--create-slot"),
            receivers.pgweir(archives[1], standby, "--compress", "zstd"))
    streaming(primary)
    streaming(standby)
    if major < 15:
        # Nobody can ask for a slot's restart_lsn (READ_REPLICATION_SLOT): what is streamed begins with the current segment, and the
        # slot stands at the redo point before it until that is reported.
        reported(primary, primary.flushed())
    start = restart_lsn(primary)
    assert start, "the slot reserves WAL"
    # (Without pg_switch_wal(): the empty pages behind it may have a header in what a server sends, and
    # none in its file.)
    end = primary.write_wal(3)
    for archive, receiver, upstream in zip(archives, both, (primary, standby)):
        reported(upstream, end)
        archive.wait_covers(primary, 1, end)
        receiver.stop()
        archive.assert_same_wal(primary, standby, minimum=2)
    archives[0].assert_covers(primary, 1, end, start=start)
    assert restart_lsn(primary) >= end
    for row in (primary.log.read_text(), standby.log.read_text()):
        assert "ERROR" not in row and "FATAL" not in row, row


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_a_promotion_while_away(servers, receivers, new_archive, major):
    server = servers.primary(major=major)
    create_slot(server)
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server, "-S", "archive")
    streaming(server)
    reported(server, server.write_wal(1))
    receiver.stop()
    server.write_wal(1)
    promote_again(server)
    end = server.write_wal(2)
    receiver = receivers.pgweir(archive, server, "-S", "archive")
    archive.wait_covers(server, 2, end)
    receiver.stop()
    archive.assert_covers(server, 1, server.timeline_end(1))
    archive.assert_same_wal(server, minimum=2)


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_a_standby_streams_from_the_archive(servers, receivers, new_archive, place, major):
    """Over a switch of timelines, with that version's libpq, while its primary is dead."""
    primary = servers.primary(major=major)
    users = make_user(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd")
    streaming(primary)
    standby = servers.standby(primary, start=False)
    reported(primary, primary.write_wal(2))
    promote_again(primary)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 2, end)
    receiver.stop()
    primary.kill9()
    serving = Relay(place, receivers, archive, users).start()
    standby.conf(primary_conninfo=serving.conninfo(application_name=standby.name))
    standby.start()
    standby.caught_up_with(end)
    assert standby.sql("SELECT received_tli FROM pg_stat_wal_receiver") == "2"
    wait_for(lambda: standby.sql("SELECT count(*) FROM filling") == "64", "the rows")
    serving.process.stop()
