"""`pgweir receive --notify-channel`: others hear what the archive does, and it never waits for them."""

import json
import pathlib

import pytest

from support.process import PATIENCE, wait_for
from support.receiver import BINARY
from support.scenario import create_slot, reported, streaming
from support.server import REPOSITORY

CHANNEL = "wal_archive"


@pytest.fixture
def ears(receivers):
    """ears(server): events() of what the archive tells there."""

    class Ears:
        def __init__(self, server):
            self.process = receivers.start([BINARY, "listen", "--json", "-d",
                                            server.conninfo(dbname="postgres"), CHANNEL])
            self.process.wait_log('"event":"listening"')

        def events(self, kind=None):
            lines = [json.loads(line) for line in self.process.lines()
                     if line.startswith('{"event":"notification"')]
            told = [json.loads(line["payload"]) for line in lines]
            return [event for event in told if kind in (None, event["event"])]

        def wait(self, kind, count=1, deadline=PATIENCE):
            wait_for(lambda: len(self.events(kind)) >= count, f"{count} times {kind}", deadline)
            return self.events(kind)

    return Ears


def test_segments_and_the_end_are_told(servers, receivers, new_archive, ears):
    primary = servers.primary()
    hearing = ears(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd:1", "--notify-channel", CHANNEL)
    streaming(primary)
    primary.write_wal(3)
    compressed = hearing.wait("segment_compressed", 3)
    finished = hearing.wait("segment_finished", 3)
    receiver.stop()
    stopped = hearing.wait("stopped")[0]
    assert stopped["asked"] is True
    begun = hearing.events("streaming")[0]
    assert begun["timeline"] == 1 and begun["archive"] == str(archive.path) and begun["v"] == 1
    for event in compressed:
        assert event["file"] == event["segment"] + ".zst"
        assert (archive.path / event["file"]).exists()
    assert [event["segment"] for event in finished] == sorted(event["segment"] for event in finished)
    assert all(event["timeline"] == 1 and event["lsn"] for event in finished)
    assert all("dropped" not in event for event in hearing.events())
    hearing.process.stop()


def test_a_switch_is_told_by_the_archive_of_a_standby(servers, receivers, new_archive, ears):
    """It receives from a standby, which has no notifications, and tells the primary."""
    primary = servers.primary()
    standby = servers.standby(primary)
    hearing = ears(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, standby, "--notify-channel", CHANNEL, "--notify-conninfo",
                                primary.conninfo(dbname="postgres"))
    streaming(standby)
    standby.caught_up_with(primary.write_wal(1))
    hearing.wait("segment_finished")
    standby.promote()
    switched = hearing.wait("timeline_switched")[0]
    assert switched["timeline"] == 2 and "/" in switched["lsn"]
    wait_for(lambda: [e for e in hearing.events("streaming") if e["timeline"] == 2], "timeline 2")
    receiver.stop()
    hearing.process.stop()


def test_of_several_hosts_the_primary_is_told(servers, receivers, new_archive, ears):
    primary = servers.primary()
    standby = servers.standby(primary)
    hearing = ears(primary)
    both = (f"host=127.0.0.1,127.0.0.1 port={standby.port},{primary.port} user=postgres "
            "dbname=postgres")
    receiver = receivers.pgweir(new_archive(primary), primary, "--notify-channel", CHANNEL,
                                "--notify-conninfo", both)
    hearing.wait("streaming")
    receiver.stop()
    hearing.wait("stopped")
    assert "notifications cannot be sent" not in receiver.said()
    hearing.process.stop()


def test_trouble_is_told_to_the_server_that_is_there(servers, receivers, new_archive, ears):
    other = servers.primary("other")
    primary = servers.primary()
    hearing = ears(other)
    receiver = receivers.pgweir(new_archive(primary), primary, "--notify-channel", CHANNEL,
                                "--notify-conninfo", other.conninfo(dbname="postgres"))
    streaming(primary)
    primary.stop("immediate")
    assert hearing.wait("trouble")[0]["kind"] == "retry"
    primary.start()
    hearing.wait("streaming", 2)
    receiver.stop()
    hearing.process.stop()


@pytest.mark.parametrize("where", ["nobody listens there", "a standby", "no such database"])
def test_the_archive_grows_whatever_becomes_of_the_notifications(servers, receivers, new_archive,
                                                                where):
    primary = servers.primary()
    conninfo = {
        "nobody listens there": "host=127.0.0.1 port=1 user=postgres",
        "no such database": primary.conninfo(dbname="nowhere"),
    }.get(where)
    conninfo = conninfo or servers.standby(primary).conninfo(dbname="postgres")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive", "--notify-channel", CHANNEL,
                                "--notify-conninfo", conninfo)
    streaming(primary)
    end = primary.write_wal(3)
    reported(primary, end)
    receiver.wait_log("notifications cannot be sent")
    receiver.stop()
    assert receiver.said().count("notifications cannot be sent") == 1
    assert "could not be sent" in receiver.said()
    archive.assert_same_wal(primary, minimum=3)


def test_the_configuration_file_can_ask_for_it(servers, receivers, new_archive, ears, place):
    primary = servers.primary()
    hearing = ears(primary)
    archive = new_archive(primary)
    config = place / "pgweir.conf"
    config.write_text(f"directory = {archive.path}\ndbname = {primary.conninfo()}\n"
                      f"notify-channel = {CHANNEL}\n"
                      f"notify-conninfo = {primary.conninfo(dbname='postgres')}\n")
    receiver = receivers.start([BINARY, "receive", "-c", config])
    hearing.wait("streaming")
    receiver.stop()
    hearing.process.stop()


def test_ship_segments_ships_each_finished_segment(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    shipped = place / "shipped"
    script = REPOSITORY / "examples" / "ship-segments"
    shipper = receivers.start([script, archive.path, shipped, primary.conninfo(dbname="postgres"),
                               CHANNEL], env={"PGWEIR": str(BINARY)})
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd:1", "--notify-channel", CHANNEL)
    streaming(primary)
    shipper.wait_log("listening on")

    def names(directory):
        return {path.name.split(".")[0] for path in pathlib.Path(directory).iterdir()
                if not path.name.startswith(".") and not path.name.endswith(".partial")}

    primary.write_wal(3)
    wait_for(lambda: len(names(shipped)) >= 3, "three segments to be shipped")
    # What it misses it ships at the next word.
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    primary.write_wal(2)
    receiver.stop()
    wait_for(lambda: names(shipped) == names(archive.path), "all to be shipped")
    shipper.stop()
    for path in shipped.iterdir():
        assert not path.name.startswith("."), "nothing half is left"
        if path.suffix == ".zst" and (archive.path / path.name).exists():
            assert path.read_bytes() == (archive.path / path.name).read_bytes()
