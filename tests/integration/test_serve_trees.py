"""Trees of real servers with `pgweir receive --serve` in them: every version, switches of timelines of every kind,
failovers. At the end each standby has the primary's data, and none has met a wrong byte."""

import os
import re
import shutil

import pytest

from support import wal
from support.line import Line
from support.process import run, server_user, wait_for
from support.receiver import BINARY
from support.relay import Client, make_user, told
from support.relay import Relay as Serving
from support.scenario import begun, create_slot, promote_again, reported, status_of_receiver, streaming
from support.server import DEBIAN_BIN, DEBIAN_MAJOR
from support.tree import Tree, assert_same_data, content, put_below, wait_streaming

pytestmark = pytest.mark.in_memory

TRUST = "host replication all 127.0.0.1/32 trust\n"


@pytest.fixture
def tree(place, receivers, new_archive):
    return lambda primary, **more: Tree(place, receivers, new_archive, primary, **more)


@pytest.fixture
def line():
    lines = []

    def make(port, **more):
        lines.append(Line(port, **more))
        return lines[-1]

    yield make
    for each in lines:
        each.close()


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_three_switches_in_a_row_with_everybody_below(servers, receivers, new_archive, place, tree, major):
    """A standby, one below it, one that sleeps over two of the switches, a pgweir and (of its version) Debian's
    pg_receivewal. The relay is killed at each switch."""
    primary = servers.primary(major=major)
    create_slot(primary)
    primary.write_wal(0.2)
    relay = tree(primary).relay("relay", primary, "-S", "archive")
    reported(primary, primary.write_wal(0.5), "relay")
    standby = servers.standby(primary, start=False)
    # 18's libpq asks for protocol 3.2 then.
    put_below(standby, relay.conninfo(**({"max_protocol_version": "latest"} if major >= 18 else {})))
    cascaded = servers.standby(standby) if major <= DEBIAN_MAJOR else servers.standby(primary, start=False)
    if major > DEBIAN_MAJOR:
        put_below(cascaded, standby.conninfo())
    second = new_archive(primary, "second")
    receivers.pgweir(second, f"{relay.conninfo()} application_name=second")
    wait_streaming(standby, cascaded)
    if major == DEBIAN_MAJOR:
        third = new_archive(primary, "third")
        receivers.stock(third, relay.conninfo())
    primary.write_wal(0.1)
    # One without any WAL would begin anew where the relay is by then, maybe two timelines on.
    wait_for(second.partials, "pgweir to begin")
    if major == DEBIAN_MAJOR:
        wait_for(third.partials, "pg_receivewal to begin")
    sleeper = cascaded if major in (13, 18, 19) else standby
    sleeper.stop("immediate")  # one that has a standby below it may wait for that for long
    for timeline in (2, 3, 4):
        primary.write_wal(1.3)
        relay.process.kill9()
        promote_again(primary)
        if timeline == 4:
            sleeper.start()
        end = primary.write_wal(0.8)
        relay.start()
    # (A standby that begins to read where a timeline has ended comes to the zeros behind what it has got.)
    assert_same_data(primary, standby, cascaded, harmless="invalid magic number 0000")
    wait_streaming(standby, cascaded, timeline=4)
    end = primary.flushed()
    for archive in (relay.archive, second):
        archive.wait_covers(primary, 4, end)
        assert sorted(archive.histories()) == [2, 3, 4]
        archive.assert_same_wal(primary, minimum=4)
    if major == DEBIAN_MAJOR:
        third.wait_covers(primary, 4, end // primary.segment_size * primary.segment_size)


def test_a_crash_failover_and_one_more(servers, tree):
    """Two candidates and a relay that knows all of them; the relay itself is away at the second failover."""
    first = servers.primary()
    tree = tree(first)
    second, third = servers.standby(first), servers.standby(first)
    hosts = [first, second, third]
    conninfo = (f"host={','.join('127.0.0.1' for _ in hosts)} port={','.join(str(server.port) for server in hosts)}"
                " user=postgres")
    relay = tree.relay("relay", conninfo, wait=False)
    relay.process.wait_log("streaming timeline 1")  # before the standby's backup begins
    below = servers.standby(first, start=False)
    end = first.write_wal(2)
    relay.wait_serves()
    put_below(below, relay.conninfo())
    for server in (second, third, below):
        server.caught_up_with(end)
    first.kill9()
    second.promote()
    put_below(third, second.conninfo())
    end = second.write_wal(1.5)
    wait_streaming(below, timeline=2)
    assert_same_data(second, below, third)

    # Standbys hear of the failover from an archive whose relay was not there.
    relay.process.stop()
    third.caught_up_with(second.write_wal(0.5))
    second.kill9()
    third.promote()
    third.write_wal(1.5)
    relay.start()
    wait_streaming(below, timeline=3)
    assert_same_data(third, below)
    relay.archive.assert_same_wal(first, second, third, minimum=3)


def test_a_diverged_tail_is_told_as_postgresql_tells_it(servers, tree):
    """The relay and a standby below it have WAL that the new primary never had: as below a standby that had it, the
    standby below says so and tries again; it takes nothing of what does not follow."""
    primary = servers.primary()
    tree = tree(primary)
    candidate = servers.standby(primary)
    hosts = f"host=127.0.0.1,127.0.0.1 port={primary.port},{candidate.port} user=postgres"
    relay = tree.relay("relay", hosts, wait=False)
    relay.process.wait_log("streaming timeline 1")  # before the standbys' backups begin
    ahead, behind = (servers.standby(primary, start=False) for _ in range(2))
    end = primary.write_wal(1)
    relay.wait_serves()
    put_below(ahead, relay.conninfo())
    candidate.caught_up_with(end)
    ahead.replayed(end)
    behind_data = content(primary)
    # The candidate hears nothing more; the relay does.
    candidate.conf(primary_conninfo="")
    candidate.reload()
    wait_for(lambda: candidate.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the candidate to be alone")
    end = primary.write_wal(0.3)
    ahead.replayed(end)
    primary.kill9()
    candidate.promote()
    fork = candidate.timeline_end(1)
    assert fork < end
    candidate.write_wal(1.5)
    wait_for(lambda: re.search(r"new timeline 2 forked off current database system timeline 1 before current recovery"
                               r" point", ahead.log.read_text()), "the standby to tell")
    assert content(ahead) != behind_data, "it keeps what it has replayed"
    # Who was not that far goes on with the new timeline.
    put_below(behind, relay.conninfo())
    wait_streaming(behind, timeline=2)
    assert_same_data(candidate, behind)
    assert ahead.running()


def _end_at_page(primary):
    """A record that ends where a page does. The next one stands behind that page's header, of 24 or 40 bytes."""
    primary.sql("""
DO $$
DECLARE position bigint; rest bigint;
BEGIN
  FOR i IN 1..200 LOOP
    position := pg_current_wal_insert_lsn() - '0/0';
    rest := 8192 - position % 8192;
    IF rest < 2000 THEN
      PERFORM pg_logical_emit_message(false, '', repeat('x', 2000));
      CONTINUE;
    END IF;
    -- 24 of the record, 5 of its data's head, 24 of the message and its prefix' end; to a multiple of 8.
    PERFORM pg_logical_emit_message(false, '', repeat('x', (rest - 24 - 5 - 25)::int));
    EXIT WHEN (pg_current_wal_insert_lsn() - '0/0') % 8192 IN (24, 40);
  END LOOP;
END $$""")


@pytest.mark.parametrize("where", ["segment", "page", "record"])
def test_where_a_timeline_may_begin(servers, tree, line, where):
    """A switch at a segment's first byte, at a page's, and before a record of which the old timeline has the front."""
    primary = servers.primary()
    tree = tree(primary)
    middle = servers.standby(primary, start=False)
    to_primary = line(primary.port)
    put_below(middle, primary.conninfo(port=to_primary.port))
    relay = tree.relay("relay", middle, wait=False)
    primary.write_wal(0.1)
    relay.wait_serves()
    below, away = servers.standby(primary, start=False), servers.standby(primary, start=False)
    end = primary.write_wal(1.3)
    put_below(below, relay.conninfo())
    below.caught_up_with(end)
    primary.hush()  # what the server would note by itself would be behind the place
    if where == "segment":
        end = primary.sql("SELECT pg_current_wal_lsn(); SELECT pg_switch_wal()").splitlines()[0]
        end = (wal.lsn(end) // primary.segment_size + 1) * primary.segment_size
    elif where == "page":
        _end_at_page(primary)
        end = wait_for(lambda: primary.flushed() if primary.flushed() % 8192 in (0, 24, 40) else None, "the page")
        end -= end % 8192
    else:
        to_primary.cut_after(200_000)
        primary.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 700000))")
        end += 1
    middle.caught_up_with(end)
    if where != "record":
        below.caught_up_with(end)
    reported(middle, end, "relay")
    primary.kill9()
    to_primary.close()
    middle.promote()
    fork = middle.timeline_end(1)
    if where == "record":
        assert fork < end, "the front of the record is no part of the new timeline"
    else:
        assert fork == end
    middle.write_wal(1.2)
    wait_streaming(below, timeline=2)
    put_below(away, relay.conninfo())
    wait_streaming(away, timeline=2)
    # Behind a page's end a standby finds the zeros of its own file.
    assert_same_data(middle, below, away, harmless="invalid magic number 0000")
    relay.archive.assert_same_wal(primary, middle)


def test_a_gap_is_told_to_everybody_below(servers, receivers, place, tree, line):
    """The receiver ends with 4, and serving with it: who has caught up would hear nothing but that all is well. What
    is there can be had from `pgweir serve` meanwhile."""
    primary = servers.primary()
    to_primary = line(primary.port)
    tree = tree(primary)
    relay = tree.relay("relay", primary.conninfo(port=to_primary.port), wait=False)
    primary.write_wal(0.1)
    relay.wait_serves()
    below, behind = servers.standby(primary, start=False), servers.standby(primary, start=False)
    put_below(below, relay.conninfo())
    wait_streaming(below)
    end = primary.write_wal(1.5)
    below.replayed(end)
    reported(primary, end, "relay")
    to_primary.close()
    wanted = primary.wal_path(1, end)
    # Not before: the relay has no slot, and each base backup makes a checkpoint.
    primary.conf(wal_keep_size="0")
    primary.reload()

    def removed():
        primary.write_wal(1)
        primary.sql("CHECKPOINT")
        return not wanted.exists()

    wait_for(removed, f"{wanted.name} to be removed")
    assert relay.process.running()
    line(primary.port, listen=to_primary.port)
    assert relay.process.wait_exit() == 4, relay.process.said()
    assert "the upstream no longer has the WAL that comes next" in relay.process.said()
    assert f'"pgweir serve -D {relay.archive.path}" can serve the WAL' in relay.process.said()
    wait_for(lambda: "the next WAL is missing in the archive of this relay" in below.log.read_text(),
             "the standby to hear of it")
    assert below.running()

    serving = Serving(place, receivers, relay.archive, (place / "relay_users").read_text()).start()
    put_below(behind, serving.conninfo())
    behind.replayed(end)


def test_beside_a_writer_that_says_nothing_finished_segments_count(servers, receivers, new_archive, place):
    """pg_receivewal, or a receiver that does not answer. When it has gone, what it has left counts, too."""
    primary = servers.primary()
    archive = new_archive(primary)
    stock = receivers.stock(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2.3))
    serving = Serving(place, receivers, archive, None, TRUST).start()
    serving.process.wait_log(rf"process {stock.pid} \(pg_receivewal\) writes to the archive, and cannot be queried"
                             " for its flush position: only complete segments are served")

    def end():
        client = Client(serving.port)
        position = wal.lsn(told(client.query("IDENTIFY_SYSTEM"))[1][1][2])
        client.close()
        return position

    newest = max(segno for _, segno in archive.finished())
    assert end() == (newest + 1) * primary.segment_size
    boundary = primary.switch_wal() // primary.segment_size * primary.segment_size
    wait_for(lambda: end() == boundary, "the next one to be finished")
    position = primary.write_wal(0.2)
    reported(primary, position)
    assert end() == boundary
    stock.kill9()
    serving.process.wait_log(rf"process {stock.pid} \(pg_receivewal\) no longer writes to the archive")
    wait_for(lambda: end() >= position, "what it has left to be served")
    serving.process.stop()

    # It has the directory's lock, which is seen without being taken.
    receiver = receivers.pgweir(archive, primary)
    position = primary.write_wal(1.2)
    archive.wait_covers(primary, 1, position)
    receiver.pause()
    serving.start()
    serving.process.wait_log(rf"process {receiver.pid} .* writes to the archive")
    assert end() % primary.segment_size == 0
    receiver.resume()
    wait_for(lambda: end() >= position, "the receiver's word")


def test_beside_a_receiver_that_waits_all_of_its_wal_is_served(servers, receivers, new_archive, place):
    """It has the directory's lock, and does not write. With the primary dead, its last WAL is needed most."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    position = primary.write_wal(1.3)
    archive.wait_covers(primary, 1, position)
    primary.kill9()
    wait_for(lambda: status_of_receiver(archive)["state"] == "waiting", "the receiver to wait")
    serving = Serving(place, receivers, archive, None, TRUST).start()

    def end():
        client = Client(serving.port)
        position = wal.lsn(told(client.query("IDENTIFY_SYSTEM"))[1][1][2])
        client.close()
        return position

    wait_for(lambda: end() >= position, "what the receiver has archived to be served")
    assert receiver.running()
    assert "writes to the archive" not in serving.process.said()


@pytest.mark.parametrize("how", ["another user", "a read-only mount"])
def test_a_directory_that_cannot_be_written_is_served(servers, receivers, new_archive, place, how):
    """To standbys without slots; nothing is left in it."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user, or mount")
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    reported(primary, primary.write_wal(0.1))
    standby = servers.standby(primary, start=False)
    end = primary.write_wal(2.3)
    reported(primary, end)
    receiver.stop()
    for path in [archive.path, *archive.path.iterdir()]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    serving = Serving(place, receivers, archive, make_user(primary))
    if how == "another user":
        binary = place / "pgweir"
        shutil.copy(BINARY, binary)
        os.chown(serving.users, server_user().pw_uid, server_user().pw_gid)
        serving.command = ["setpriv", f"--reuid={server_user().pw_uid}", f"--regid={server_user().pw_gid}",
                           "--clear-groups", str(binary), *serving.command[1:]]
        serving.command[serving.command.index("--serve-socket") + 1] = str(standby.home)
    else:
        probe = run(["unshare", "-m", "true"], check=False)
        if probe.returncode != 0:
            pytest.skip("no mount namespaces here")
        serving.command = ["unshare", "-m", "sh", "-c", f"mount --bind {archive.path} {archive.path} &&"
                           f" mount -o remount,bind,ro {archive.path} && exec \"$@\"", "sh", *serving.command]
    before = archive.names()
    serving.start()
    serving.process.wait_log("replication slots are not available: ")
    primary.kill9()
    put_below(standby, serving.conninfo())
    standby.replayed(end)
    client = run([DEBIAN_BIN / "pg_receivewal", "--create-slot", "-S", "one", "-d", serving.conninfo()], check=False)
    assert client.returncode != 0, client.stderr
    print(client.stderr, serving.process.said())
    serving.process.stop()
    assert archive.names() == before
