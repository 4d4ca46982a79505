"""receive --compare-with: a second upstream that has the same WAL, whatever its files look like, and one that
has other WAL of the same checksums."""

import json
import re

import pytest

from support import wal
from support.process import PATIENCE, run, wait_for
from support.receiver import pgweir
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN
from support.template import _running_crc32c
from support.walsender import GO_ON, WalServer
from test_metrics import documented, parse


def comparison(archive):
    told = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)
    return (told["receiver"] or {}).get("comparison") or {}


def compared_to(archive, position, deadline=PATIENCE):
    """Waits until everything before the position was compared; returns what is told of it."""
    def there():
        told = comparison(archive)
        return told if told.get("lsn") and wal.lsn(told["lsn"]) >= position else None

    return wait_for(there, f"the comparison to come to {wal.lsn_text(position)}", deadline, interval=0.2)


def test_a_primary_and_its_cascading_standby_have_no_difference(servers, receivers, new_archive, place):
    """Under load, with files that are recycled: behind each switch the standbys send what was in them."""
    primary = servers.primary(wal_keep_size="3MB", max_wal_size="4MB", min_wal_size="4MB", wal_recycle="on")
    standby = servers.standby(primary)
    cascaded = servers.standby(standby, name="cascaded")
    metrics = place / "metrics.prom"
    here, there = new_archive(primary, "here"), new_archive(primary, "there")
    receivers.pgweir(here, cascaded, "--compare-with", primary.conninfo(), "--metrics-file", metrics,
                     "--metrics-interval", "1s")
    receivers.pgweir(there, primary, "--compare-with", cascaded.conninfo(), "--compress", "zstd")
    streaming(cascaded)
    streaming(primary)
    for _ in range(4):
        primary.write_wal(2)
        # What is flushed may end within a record, and nobody replays half of one.
        position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
        end = primary.switch_wal()
        cascaded.caught_up_with(end)
        for server in (cascaded, primary):
            reported(server, end)
        for server in (standby, cascaded):
            server.replayed(position)
        for archive in (here, there):
            compared_to(archive, position)  # before the files go
        for server in (primary, standby, cascaded):
            server.sql("CHECKPOINT")
    position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
    end = primary.write_wal(1)
    cascaded.caught_up_with(end)
    for server in (cascaded, primary):
        reported(server, end)
    for archive in (here, there):
        told = compared_to(archive, position)
        assert told["differences"] == 0 and told["skipped_bytes"] == 0 and "problem" not in told, told
    wait_for(lambda: metrics.exists() and parse(metrics.read_text()).get("pgweir_compare_lsn_bytes"),
             "the metrics")
    exported = parse(metrics.read_text())
    assert {name for name in exported if name.startswith("pgweir_compare_")} == documented("receive --compare-with")
    # No walsender streams for it now, and none ever reported a position.
    assert primary.walsenders("pgweir compare") == [] or all(
        not row["flush_lsn"] for row in primary.walsenders("pgweir compare"))

    # A failover: the comparison follows the timeline.
    primary.stop()
    standby.promote()
    end = standby.write_wal(1)
    cascaded.caught_up_with(end)
    reported(cascaded, end)
    assert "no difference" in pgweir("status", "-D", here.path).stdout
    wait_for(lambda: "problem" in comparison(here), "the primary to be missed")
    checked = pgweir("status", "-D", here.path, "--check")
    assert "the second upstream cannot be compared" in checked.stdout, checked.stdout


class Altered(WalServer):
    """Serves a server's WAL with one record changed, and its checksum made anew."""

    def __init__(self, server, end, at, content):
        super().__init__(server, end, self.serve)
        self.at, self.content = at, content

    def serve(self, connection, position):
        while position < self.end:
            data = bytearray(self.read_wal(position, 128 * 1024))
            for offset, byte in enumerate(self.content):
                if position <= self.at + offset < position + len(data):
                    data[self.at + offset - position] = byte
            connection.wal(position, bytes(data), end=self.end)
            position += len(data)
        while not connection.copy_done:
            connection.message()
        connection.finish()
        return GO_ON


def some_record(server, text):
    """(position, content) of the record that has this text, on one page."""
    for path in sorted((server.data / "pg_wal").glob("0000*")):
        content = path.read_bytes()
        if text not in content:
            continue
        segno = wal.parse_segment(path.name, server.segment_size)[1]
        dumped = run([DEBIAN_BIN / "pg_waldump", path], check=False).stdout
        for line in dumped.splitlines():
            match = re.search(r"len \(rec/tot\): *\d+/ *(\d+),.* lsn: (\S+),", line)
            if not match:
                continue
            start = wal.lsn(match[2]) - segno * server.segment_size
            length = int(match[1])
            if text in content[start:start + length] and start // 8192 == (start + length - 1) // 8192:
                return segno * server.segment_size + start, content[start:start + length]
    raise AssertionError("no such record")


def with_checksum(record):
    """As its server would have written it: over the body, then over the header up to the checksum."""
    checked = record[24:] + record[:20]
    return record[:20] + dict(_running_crc32c(checked))[len(checked)].to_bytes(4, "little") + record[24:]


@pytest.mark.parametrize("sound", [True, False], ids=["sound", "damaged"])
def test_other_wal_is_told_whatever_its_checksums_say(servers, receivers, new_archive, place, sound):
    primary = servers.primary()
    primary.sql("CREATE TABLE t (data text)")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    for _ in range(5):
        primary.sql("INSERT INTO t VALUES ('what was really written')")
    primary.switch_wal()
    primary.write_wal(1)
    end = primary.switch_wal()
    reported(primary, end)
    receiver.stop()
    at, record = some_record(primary, b"what was really written")
    assert with_checksum(record) == record  # the test reads it as the server does
    altered = record.replace(b"really", b"hardly")
    if sound:
        altered = with_checksum(altered)
    first = next(i for i, (ours, theirs) in enumerate(zip(record, altered)) if ours != theirs)

    with Altered(primary, end, at, altered) as other:
        # From the beginning, into another archive.
        again = new_archive(primary, "again")
        receiver = receivers.pgweir(again, primary, "--start",
                                    wal.segment_name(1, at // primary.segment_size, primary.segment_size),
                                    "--compare-with", other.conninfo(), "--compare-rate", "64MB")
        receiver.wait_log("the second upstream has other WAL than the archive")
        told = wait_for(lambda: comparison(again).get("difference"), "the difference to be told")
        assert wal.lsn_text(at + first) in told and "(Heap)" in told, told
        assert f"{wal.lsn_text(at)} to " in told
        assert ("both pass their checksums" if sound else "the second upstream's fails its checksum") in told
        checked = pgweir("status", "-D", again.path, "--check")
        assert checked.returncode == 2 and "has other WAL" in checked.stdout.splitlines()[0], checked.stdout
        # Archiving has gone on, and the comparison goes on behind that segment.
        last = end // primary.segment_size * primary.segment_size
        assert compared_to(again, last)["differences"] == 1
        reported(primary, end)
        assert all(flush == 0 for flush in other.reports)
        receiver.stop()
    again.assert_same_wal(primary)


def test_what_was_pruned_meanwhile_is_skipped(servers, receivers, new_archive):
    """The second upstream is away for longer than the archive keeps WAL."""
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compare-with", standby.conninfo())
    streaming(primary)
    standby.stop()
    for _ in range(4):
        primary.write_wal(0.1)
        end = primary.switch_wal()
    reported(primary, end)
    receiver.wait_log("the second upstream cannot be compared")
    archive.wait_finished(1, end // primary.segment_size - 1)
    keep = sorted(segno for _, segno in archive.finished())[2]
    pruned = pgweir("prune", "-D", archive.path, "--keep-from", wal.lsn_text(keep * primary.segment_size))
    assert pruned.returncode == 0, pruned.stderr
    standby.start()
    primary.write_wal(0.1)
    position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
    primary.switch_wal()
    told = compared_to(archive, position)
    assert told["differences"] == 0 and told["skipped_bytes"] >= primary.segment_size, told
    receiver.stop()


def test_what_the_second_upstream_has_removed_is_skipped(servers, receivers, new_archive):
    """It says so only in the stream."""
    primary = servers.primary()
    standby = servers.standby(primary, wal_keep_size="0", max_wal_size="2MB", min_wal_size="2MB")
    archive = new_archive(primary)
    begin = primary.flushed()
    receiver = receivers.pgweir(archive, primary, "--compare-with", standby.conninfo())
    streaming(primary)
    compared_to(archive, begin)
    # In the middle of a segment of which the comparison has seen the front.
    standby.hba("local replication all trust", "host replication all all reject")
    standby.restart()
    reported(primary, primary.write_wal(0.1))
    receiver.wait_log("the second upstream cannot be compared: .*pg_hba")

    def removed():
        end = primary.write_wal(1)
        standby.replayed(end)
        primary.sql("CHECKPOINT")
        standby.caught_up_with(primary.flushed())
        standby.replayed(primary.flushed())
        standby.sql("CHECKPOINT")
        return not standby.wal_path(1, begin).exists()

    wait_for(removed, "the standby to remove its WAL")
    end = primary.switch_wal()
    reported(primary, end)
    standby.hba("host replication all all trust")
    standby.reload()
    primary.write_wal(0.1)
    position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
    reported(primary, primary.switch_wal())
    told = compared_to(archive, position)
    assert told["differences"] == 0 and told["skipped_bytes"] >= primary.segment_size, told
    assert "problem" not in told, told
    receiver.wait_log("the second upstream is compared again")
    receiver.stop()


class Shortened(WalServer):
    """Serves a server's WAL from `begin` on. What came before it has removed."""

    def __init__(self, server, begin):
        super().__init__(server, begin + server.segment_size, self.serve)
        self.begin = begin

    def serve(self, connection, position):
        if position < self.begin:
            connection.send(b"E", b"SERROR\0C58P01\0Mrequested WAL segment has already been removed\0\0")
            connection.send(b"Z", b"I")
            return GO_ON
        connection.send_all(position)
        while not connection.copy_done:
            connection.message()
        connection.finish()
        return GO_ON


def test_the_open_segment_that_the_second_upstream_has_removed_is_skipped(servers, receivers, new_archive):
    """It is ahead of the archive: what it lacks is all that the archive has, and the next segment it has."""
    primary = servers.primary()
    begin = primary.switch_wal() // primary.segment_size * primary.segment_size
    archive = new_archive(primary)
    with Shortened(primary, begin + primary.segment_size) as other:
        receiver = receivers.pgweir(archive, primary, "--start", wal.lsn_text(begin), "--compare-with",
                                    other.conninfo())
        streaming(primary)
        reported(primary, primary.write_wal(0.1))
        receiver.wait_log("the second upstream cannot be compared: requested WAL segment has already been removed")
        reported(primary, primary.switch_wal())
        primary.write_wal(0.1)
        position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
        reported(primary, primary.switch_wal())
        told = compared_to(archive, position)
        assert told["differences"] == 0 and told["skipped_bytes"] == primary.segment_size, told
        receiver.stop()


def test_a_timeline_that_was_pruned_meanwhile_is_skipped(servers, receivers, new_archive):
    """The second upstream is away over a failover, and nothing of the timeline before is left."""
    primary = servers.primary()
    standby = servers.standby(primary)
    cascaded = servers.standby(standby, name="cascaded")
    archive = new_archive(standby)
    receiver = receivers.pgweir(archive, standby, "--compare-with", cascaded.conninfo())
    streaming(standby)
    cascaded.stop()
    for _ in range(3):
        primary.write_wal(0.1)
        end = primary.switch_wal()
    reported(standby, end)
    receiver.wait_log("the second upstream cannot be compared")
    primary.stop()
    standby.promote()
    for _ in range(3):
        standby.write_wal(0.1)
        end = standby.switch_wal()
    reported(standby, end)
    archive.wait_finished(2, end // standby.segment_size - 1)
    keep = max(segno for timeline, segno in archive.finished() if timeline == 2)
    pruned = pgweir("prune", "-D", archive.path, "--keep-from", wal.lsn_text(keep * standby.segment_size))
    assert pruned.returncode == 0, pruned.stderr
    assert not [name for name in archive.names() if re.match("00000001[0-9A-F]{16}", name)], archive.names()
    cascaded.start()
    standby.write_wal(0.1)
    position = wal.lsn(standby.sql("SELECT pg_current_wal_insert_lsn()"))
    standby.switch_wal()
    told = compared_to(archive, position)
    assert told["timeline"] == 2 and told["differences"] == 0, told
    assert told["skipped_bytes"] >= 3 * standby.segment_size, told
    receiver.stop()


class WithoutAnEnd(Altered):
    """Of the record `at` the server says that it goes on for long."""

    def __init__(self, server, at, record):
        end = (at // server.segment_size + 1) * server.segment_size
        super().__init__(server, end, at, (100_000).to_bytes(4, "little") + record[4:])


def test_a_difference_is_told_also_if_the_timeline_ends_within_it(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    primary.switch_wal()
    primary.sql("SELECT pg_logical_emit_message(true, '', 'what was really written')")
    at, record = some_record(primary, b"what was really written")
    standby.caught_up_with(primary.flushed())
    archive = new_archive(standby)
    with WithoutAnEnd(primary, at, record) as other:
        receiver = receivers.pgweir(archive, standby, "--start", wal.lsn_text(at), "--compare-with", other.conninfo())
        streaming(standby)
        compared_to(archive, at)
        primary.stop()
        standby.promote()
        reported(standby, standby.write_wal(0.1))
        receiver.wait_log("the second upstream has other WAL than the archive")
        told = wait_for(lambda: comparison(archive).get("difference"), "the difference to be told")
        assert wal.lsn_text(at) in told and "the checksums could not be compared" in told, told
        assert comparison(archive)["differences"] == 1
        receiver.stop()


class Promoted(WalServer):
    """Has left timeline 1 at `end`, and sends nothing of the next one."""

    def identify(self):
        return [self.system_identifier, "2", wal.lsn_text(self.end + self.segment_size), None]

    def stream(self, connection, timeline, position):
        if timeline == 2:
            return connection.wait()
        connection.send_all(position)
        return 2, self.end


def test_what_is_left_of_a_timeline_that_the_second_upstream_has_left_earlier_is_skipped(servers, receivers,
                                                                                         new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(standby)
    with Promoted(primary, primary.flushed(), None) as other:
        receiver = receivers.pgweir(archive, standby, "--compare-with", other.conninfo())
        streaming(standby)
        end = primary.write_wal(0.1)
        standby.caught_up_with(end)
        reported(standby, end)
        receiver.wait_log("the second upstream has left the timeline before the archive did")
        primary.stop()
        standby.promote()
        reported(standby, standby.write_wal(0.1))
        wait_for(lambda: comparison(archive).get("skipped_bytes", 0) >= end - other.end,
                 "the rest of the timeline to be skipped")
        wait_for(lambda: (2, 0) < max(other.started), "the next timeline to be asked for")
        receiver.stop()


def test_another_segment_size_is_told_and_archiving_goes_on(servers, receivers, new_archive):
    """A copy after pg_resetwal --wal-segsize has the same identifier."""
    primary = servers.primary()
    while primary.flushed() // primary.segment_size % 4 != 1:
        primary.switch_wal()
    archive = new_archive(primary)
    with WalServer(primary, primary.flushed() + (64 << 20), lambda connection, position: connection.wait()) as other:
        other.segment_size = 4 << 20
        receiver = receivers.pgweir(archive, primary, "--compare-with", other.conninfo())
        streaming(primary)
        end = primary.write_wal(2)
        reported(primary, end)
        receiver.wait_log("the second upstream and the archive have different segment sizes")
        told = wait_for(lambda: comparison(archive).get("problem"), "the second upstream to be told")
        assert "4 MB" in told and "1 MB" in told, told
        end = primary.switch_wal()
        reported(primary, end)
        receiver.stop()
    archive.assert_covers(primary, 1, end)


def test_another_cluster_is_told_and_archiving_goes_on(servers, receivers, new_archive):
    primary, stranger = servers.primary(), servers.primary(name="stranger")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compare-with", stranger.conninfo())
    streaming(primary)
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.wait_log("and the archive belong to different clusters")
    # One that shuts down is not held up.
    stranger.stop("fast")
    end = primary.switch_wal()
    reported(primary, end)
    receiver.stop()
    archive.assert_covers(primary, 1, end)


def test_a_second_upstream_that_was_promoted_is_told_and_archiving_goes_on(servers, receivers, new_archive):
    """Who is wrong there only an operator can tell: two servers are open."""
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compare-with", standby.conninfo())
    streaming(primary)
    position = wal.lsn(primary.sql("SELECT pg_current_wal_insert_lsn()"))
    end = primary.write_wal(1)
    standby.caught_up_with(end)
    reported(primary, end)
    compared_to(archive, position)
    standby.promote()
    standby.write_wal(1)
    end = primary.write_wal(2)
    reported(primary, end)
    told = wait_for(lambda: comparison(archive).get("problem"), "the second upstream to be told")
    assert "the second upstream has left the timeline before the archive did" in told, told
    receiver.wait_log("shows the lost branch")
    assert comparison(archive)["differences"] == 0
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 1 and "the second upstream cannot be compared" in checked.stdout, checked.stdout
    end = primary.write_wal(1)
    reported(primary, end)
    receiver.stop()
