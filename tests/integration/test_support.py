"""The fixtures themselves, with PostgreSQL's own receiver: a comparison that can't fail would make
every other test worthless."""

import os
import signal

import pytest

from support import s3, wal
from support.scenario import streaming


def test_an_archive_by_the_stock_receiver_is_the_same_wal(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    cascaded = servers.standby(standby)
    archive = new_archive(primary)
    receiver = receivers.stock(archive, cascaded)
    streaming(cascaded)
    archive_start = primary.flushed()
    end = primary.write_wal(4)
    cascaded.caught_up_with(end)
    archive.wait_covers(primary, 1, end)
    receiver.stop(signal.SIGINT)
    assert archive.assert_same_wal(primary, standby, cascaded) >= 3
    archive.assert_covers(primary, 1, end, start=archive_start)


def test_one_wrong_byte_is_noticed(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.stock(archive, primary)
    streaming(primary)
    end = primary.write_wal(3)
    archive.wait_covers(primary, 1, end)
    receiver.stop(signal.SIGINT)
    (timeline, segno), path = next(iter(archive.finished().items()))
    with open(path, "r+b") as file:
        file.seek(0x8123)
        byte = file.read(1)
        file.seek(0x8123)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(AssertionError, match="differ from byte 0x8123"):
        archive.assert_same_wal(primary)
    with pytest.raises(AssertionError, match="differ from byte 0x8123"):
        archive.assert_covers(primary, timeline, end)
    path.unlink()
    with pytest.raises(AssertionError, match="is missing"):
        archive.assert_covers(primary, timeline, end, start=segno * archive.segment_size)


def test_a_segment_that_no_server_has_finished_is_noticed(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    end = primary.flushed()
    segno = end // primary.segment_size
    name = wal.segment_name(1, segno, primary.segment_size)
    (archive.path / name).write_bytes(primary.pg_wal(name).read_bytes())
    with pytest.raises(AssertionError, match="no server has this segment"):
        archive.assert_same_wal(primary)


def test_a_killed_server_starts_again(servers):
    primary = servers.primary()
    primary.sql("CREATE TABLE t AS SELECT 1")
    primary.kill9()
    primary.start()
    assert primary.sql("SELECT count(*) FROM t") == "1"
    primary.restart("immediate")
    assert primary.sql("SELECT count(*) FROM t") == "1"


def test_a_promoted_standby_is_on_a_new_timeline(servers):
    primary = servers.primary()
    standby = servers.standby(primary)
    cascaded = servers.standby(standby)
    standby.promote()
    end = standby.write_wal(1)
    cascaded.caught_up_with(end)
    assert standby.timeline_end(1) < standby.timeline_end(2)
    assert os.path.exists(cascaded.pg_wal("00000002.history"))


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19])
def test_servers_of_each_version_start(servers, major):
    primary = servers.primary(major=major)
    assert primary.sql("SHOW server_version_num").startswith(str(major))
    standby = servers.standby(primary)
    standby.caught_up_with(primary.write_wal(1))


def test_a_bucket_is_emptied_once_its_store_answers():
    kept = ["a", "b"]
    troubles = [ConnectionRefusedError("away"), AssertionError("503"), TimeoutError("late")]

    class Busy(s3.Bucket):
        def keys(self, prefix=""):
            if len(troubles) == 3:
                raise troubles.pop()
            return list(kept)

        def remove(self, key):
            if troubles:
                raise troubles.pop()
            kept.remove(key)

    Busy(None, "wal1").empty()
    assert not kept and not troubles
