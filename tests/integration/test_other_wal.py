"""WAL of another server of the same cluster, on the same timeline, that is further than the archive:
it must not be put behind what the archive has, whether its records fit there or not."""

import re
import shutil

import pytest

from support import receiver as receivers_
from support import wal
from support.process import wait_for
from support.receiver import pgweir
from support.scenario import create_slot, promote_again, reported, restart_lsn, streaming
from support.server import DEBIAN_MAJOR, bin_directory
from support.walsender import GO_ON, WalServer

WHAT_IT_IS = ("reset to an earlier state", "split brain", "a separate directory")


@pytest.fixture(params=["receive", "pg_receivewal"])
def start(request, receivers, place):
    """start(archive, server, compressed) as `pgweir receive`, or called as pg_receivewal."""
    if request.param == "receive":
        return lambda archive, server, compressed=False: receivers.pgweir(
            archive, server, *(["--compress", "zstd"] if compressed else []))
    program = place / "bin" / "pg_receivewal"
    program.parent.mkdir()
    shutil.copy(receivers_.BINARY, program)

    def call(archive, server, compressed=False):
        return receivers.start([program, "-D", archive.path, "-d",
                                server.conninfo(application_name="pgweir"), "--synchronous",
                                *(["--compress", "gzip:1"] if compressed else [])])

    return call


def row(server, text):
    """A row of the same length, whatever the text: two servers that do the same have WAL of the
    same layout."""
    server.sql(f"INSERT INTO rows VALUES (rpad('{text}', 1000, '{text}'))")


def prepared(server):
    """Its next records do not depend on when they are written."""
    server.sql("CREATE TABLE rows (data text)")
    server.sql("ALTER TABLE rows ALTER data SET STORAGE EXTERNAL")
    create_slot(server)
    server.switch_wal()


def archive_a_switch(start, archive, server, timeline, *options):
    """What the server writes up to an xlog switch is in the archive, reported, and finished."""
    receiver = start(archive, server, *options)
    streaming(server)
    row(server, "ours")
    end = wal.lsn(server.sql("SELECT pg_switch_wal()"))
    end += -end % server.segment_size
    reported(server, end)
    receiver.stop()
    archive.wait_finished(timeline, end // server.segment_size - 1)
    return end


def bytes_of(archive):
    return {name: (archive.path / name).read_bytes() for name in archive.names()
            if not name.startswith(".") and not name.endswith(".partial")}


def assert_refused(receiver, archive, before, said=()):
    """With the status of a conflict, and nothing of the other WAL behind what was there."""
    status = receiver.wait_exit()
    text = " ".join(receiver.said().split())
    assert status == (1 if "pg_receivewal" in str(receiver.command[0]) else 4), text
    for part in (*WHAT_IT_IS, *said):
        assert part in text, (part, text)
    assert "requesting the damaged WAL again" not in text
    assert bytes_of(archive) == before
    assert pgweir("verify", "-D", archive.path).returncode == 0


def set_back(server):
    server.stop()
    server.set_back()
    server.start()


@pytest.fixture
def twice(servers):
    """A server that can be set back to its files of now."""
    primary = servers.primary()
    prepared(primary)
    primary.stop()
    primary.copy_of_files()
    primary.start()
    return primary


# 13 does not say at the start of a connection that it is a primary, and not a standby that is behind.
@pytest.mark.parametrize("major", [13, DEBIAN_MAJOR])
def test_a_primary_that_was_set_back_is_told(servers, receivers, new_archive, major):
    primary = servers.primary(major=major)
    primary.stop()
    primary.copy_of_files()
    primary.start()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    set_back(primary)
    status = pgweir("status", "-D", archive.path, "-d", primary.conninfo())
    assert "the primary has less WAL" in " ".join(status.stdout.split()), status.stdout
    receiver = receivers.pgweir(archive, primary)
    assert receiver.wait_exit() == 4, receiver.said()
    assert "the primary has less WAL than it had sent to the archive" in receiver.said()


@pytest.mark.parametrize("form, tail", [("raw", "there"), ("raw", "removed"), ("compressed", "removed")])
def test_a_server_that_was_set_back_and_is_ahead_again(start, twice, new_archive, form, tail):
    """Its records lie elsewhere, so the link to the previous one tells, also where the server no
    longer has what could be compared. Then receive does not even begin (pg_receivewal has no option
    to say that it should)."""
    primary = twice
    archive = new_archive(primary)
    compressed = form == "compressed"
    end = archive_a_switch(start, archive, primary, 1, compressed)
    before = bytes_of(archive)
    set_back(primary)
    row(primary, "theirs")
    row(primary, "theirs")
    primary.switch_wal()
    assert primary.write_wal(2) > end
    if tail == "removed":
        primary.wal_path(1, end - 1).unlink()
    receiver = start(archive, primary, compressed)
    if tail == "there":
        assert_refused(receiver, archive, before, ["first difference at", "000000010000000"])
    elif "pg_receivewal" in str(receiver.command[0]):
        assert_refused(receiver, archive, before, ["cannot be compared", "last record is at"])
    else:
        assert_refused(receiver, archive, before, ["so nothing shows that its WAL continues the archive"])


@pytest.mark.parametrize("form", ["raw", "compressed"])
def test_a_server_that_was_set_back_and_did_the_same_again(start, twice, new_archive, form):
    """As idle servers with archive_timeout do: even the links fit."""
    primary = twice
    archive = new_archive(primary)
    compressed = form == "compressed"
    end = archive_a_switch(start, archive, primary, 1, compressed)
    before = bytes_of(archive)
    ours = primary.wal_path(1, end - 1).read_bytes()
    set_back(primary)
    row(primary, "them")
    assert wal.lsn(primary.sql("SELECT pg_switch_wal()")) // primary.segment_size == end // primary.segment_size - 1
    primary.write_wal(2)
    theirs = primary.wal_path(1, end - 1).read_bytes()
    differs = next(at for at, (a, b) in enumerate(zip(ours, theirs)) if a != b)
    receiver = start(archive, primary, compressed)
    assert_refused(receiver, archive, before, [
        f"first difference at {wal.lsn_text(end - primary.segment_size + differs)}",
        wal.segment_name(1, end // primary.segment_size - 1, primary.segment_size),
        f"archive {ours[differs]:02X} ", f"server {theirs[differs]:02X} "])


def test_a_copy_that_did_the_same_and_has_removed_it(receivers, twice, new_archive):
    """Its rows have the same length, and its WAL the same links: only the rows would tell."""
    primary = twice
    archive = new_archive(primary)
    end = archive_a_switch(receivers.pgweir, archive, primary, 1)
    before = bytes_of(archive)
    set_back(primary)
    row(primary, "them")
    assert wal.lsn(primary.sql("SELECT pg_switch_wal()")) // primary.segment_size == end // primary.segment_size - 1
    position = primary.write_wal(2)
    primary.wal_path(1, end - 1).unlink()
    receiver = receivers.pgweir(archive, primary)
    assert_refused(receiver, archive, before, ["so nothing shows that its WAL continues the archive",
                                               wal.segment_name(1, end // primary.segment_size - 1,
                                                                primary.segment_size)])
    receiver = receivers.pgweir(archive, primary, "--on-uncompared", "continue")
    reported(primary, position)
    receiver.stop()
    assert receiver.said().count("cannot be compared") == 1, receiver.said()


def two_brains(servers):
    """Two primaries on the same timeline 2, which both left timeline 1 at the same position."""
    primary = servers.primary()
    prepared(primary)
    both = [servers.standby(primary, name=name) for name in ("ours", "theirs")]
    # Standbys that stream are sent the checkpoint of a shutdown; others would end before it.
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "2",
             "both standbys to stream")
    primary.stop()
    wait_for(lambda: both[0].flushed() == both[1].flushed(), "both standbys to have all of it")
    for standby in both:
        standby.promote()
        create_slot(standby)
        standby.sql("SELECT pg_switch_wal()")
    return both


@pytest.mark.parametrize("through", ["itself", "a standby", "a new timeline"])
def test_split_brain_on_one_timeline(start, servers, new_archive, through):
    """Two standbys were promoted, each to timeline 2; perhaps the other one once more."""
    ours, theirs = two_brains(servers)
    upstream = servers.standby(theirs) if through == "a standby" else theirs
    archive = new_archive(ours)
    ours.switch_wal()
    ours.switch_wal()  # behind what a base backup of the other one begins with
    end = archive_a_switch(start, archive, ours, 2)
    before = bytes_of(archive)
    for _ in range(3):
        theirs.switch_wal()
    assert theirs.write_wal(3) > end
    upstream.caught_up_with(theirs.flushed())
    if through == "a new timeline":
        promote_again(theirs)
        theirs.write_wal(1)
    receiver = start(archive, upstream)
    assert_refused(receiver, archive, before, ["first difference at"])
    assert list(archive.histories()) == [2], "of the other brain nothing is kept"


def test_split_brain_within_the_segment_of_the_next_switch(start, servers, new_archive):
    """The archive has the segment in which the other brain left timeline 2, in its own words."""
    ours, theirs = two_brains(servers)
    archive = new_archive(ours)
    end = archive_a_switch(start, archive, ours, 2)
    before = bytes_of(archive)
    row(theirs, "them")
    assert theirs.flushed() < end
    promote_again(theirs)
    assert theirs.timeline_end(2) < end, "it left timeline 2 before the archive's end"
    theirs.write_wal(2)
    receiver = start(archive, theirs)
    assert_refused(receiver, archive, before, ["first difference at"])
    assert list(archive.histories()) == [2], "of the other brain nothing is kept"


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19])
def test_the_right_server_is_followed(receivers, servers, new_archive, major):
    """Its end of the archive is asked for once per connection, without the slot; and also where
    it was promoted meanwhile."""
    if bin_directory(major) is None:
        pytest.skip(f"PostgreSQL {major} is not installed (scripts/setup)")
    primary = servers.primary(major=major)
    prepared(primary)
    archive = new_archive(primary)
    end = archive_a_switch(receivers.pgweir, archive, primary, 1, "-S", "archive")
    asked = lambda: re.findall(r"command: START_REPLICATION (SLOT )?.*TIMELINE (\d+)",  # noqa: E731
                               primary.log.read_text())
    before = len(asked())
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    wait_for(lambda: asked()[before:] == [("", "1"), ("SLOT ", "1")], "both questions")
    row(primary, "more")
    reported(primary, primary.flushed())
    receiver.stop()
    # Also where there is WAL in the unfinished segment.
    before = len(asked())
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    wait_for(lambda: asked()[before:] == [("", "1"), ("SLOT ", "1")], "both questions")
    primary.switch_wal()
    reported(primary, end + primary.segment_size)
    receiver.stop()
    promote_again(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    assert "differs" not in receiver.said()
    archive.assert_same_wal(primary, minimum=3)
    assert restart_lsn(primary) > end


def test_a_server_without_the_end_of_the_archive_is_followed(receivers, servers, new_archive):
    primary = servers.primary()
    prepared(primary)
    archive = new_archive(primary)
    end = archive_a_switch(receivers.pgweir, archive, primary, 1)
    primary.wal_path(1, end - 1).unlink()
    receiver = receivers.pgweir(archive, primary, "--on-uncompared", "continue")
    streaming(primary)
    position = primary.write_wal(2)
    reported(primary, position)
    receiver.stop()
    assert receiver.said().count("cannot be compared") == 1, receiver.said()
    archive.assert_covers(primary, 1, position, start=end)
    # What the unfinished segment has is compared as it comes again: nothing has to be said.
    last = position // primary.segment_size * primary.segment_size
    assert position > last
    primary.wal_path(1, last - 1).unlink()
    receiver = receivers.pgweir(archive, primary)
    position = primary.write_wal(1)
    reported(primary, position)
    receiver.stop()
    assert "compared" not in receiver.said(), receiver.said()


def test_a_slot_at_the_end_of_the_archive_tells_that_it_is_the_right_server(receivers, servers, new_archive):
    primary = servers.primary()
    prepared(primary)
    archive = new_archive(primary)

    def start(archive, server):
        return receivers.pgweir(archive, server, "-S", "archive")

    end = archive_a_switch(start, archive, primary, 1)
    wait_for(lambda: restart_lsn(primary) == end, "the slot at the archive's end")
    primary.wal_path(1, end - 1).unlink()
    receiver = start(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    receiver.stop()
    assert "is at the end of the archive" in receiver.said(), receiver.said()
    assert "WARN" not in receiver.said(), receiver.said()


class Tampered(WalServer):
    """Serves a real server's WAL, but one bit of it falls over on the way, in the first stream that
    begins at `begin` or behind it."""

    def __init__(self, server, end, at, begin):
        super().__init__(server, end, self.serve)
        self.at = at
        self.begin = begin
        self.tampered = False

    def serve(self, connection, position):
        tampers = position >= self.begin and not self.tampered
        while position < self.end:
            data = bytearray(self.read_wal(position, 128 * 1024))
            if tampers and position <= self.at < position + len(data):
                self.tampered = True
                data[self.at - position] ^= 1
            connection.wal(position, bytes(data), end=self.end)
            position += len(data)
        while not connection.copy_done:
            connection.message()
        connection.finish()
        return GO_ON


@pytest.mark.parametrize("where", ["before the border", "behind the border"])
def test_a_bit_that_falls_over_on_the_way_is_no_other_server(receivers, servers, new_archive, where):
    """It is asked for again, and nothing is reported while it is only asked."""
    primary = servers.primary()
    prepared(primary)
    archive = new_archive(primary)
    end = archive_a_switch(receivers.pgweir, archive, primary, 1)
    primary.write_wal(2)
    # In the link of the first record: behind a long page header, its length and its xid.
    begin = end - primary.segment_size if where == "before the border" else end
    with Tampered(primary, end + primary.segment_size, begin + 40 + 8, begin) as server:
        receiver = receivers.pgweir(archive, server.conninfo())
        wait_for(lambda: server.reports and server.reports[-1] >= server.end, "the end to be reported")
        receiver.stop()
        if where == "before the border":
            assert "requesting it again" in receiver.said(), receiver.said()
        else:
            assert "requesting the damaged WAL again" in receiver.said(), receiver.said()
    archive.assert_covers(primary, 1, end + primary.segment_size)
