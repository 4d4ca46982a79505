"""receive --slot-hosts all: our slot on every server that may be promoted, by the replication protocol alone."""

import itertools
import json
import re
import signal
import socket
import threading

import pytest

from support import wal
from support.process import PATIENCE, wait_for
from support.receiver import pgweir
from support.scenario import create_slot, gone, reported, restart_lsn, segment_start, streaming, switchpoint
from support.server import free_port
from support.walsender import GO_ON, WalServer
from test_docs import commit_until_it_is_gone, marker, wal_of
from test_metrics import documented
from test_sync_replication import wait_for_checkpointer

pytestmark = pytest.mark.in_memory

MAJORS = [13, 14, 15, 16, 17, 18, 19]
# Nothing but what the README asks for: a line for replication. (And the standbys' own.)
HBA = ["local all postgres trust", "host replication archiver 127.0.0.1/32 trust",
       "host replication postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 reject"]
# A server that keeps no WAL but what it must.
FORGETS = {"wal_keep_size": 0, "max_wal_size": "4MB", "min_wal_size": "2MB"}
KEEPS = ["-S", "archive", "--create-slot", "--if-not-exists", "--slot-hosts", "all", "--slot-interval", "200ms"]


def cluster(servers, major=15, standbys=1, **settings):
    primary = servers.primary(major=major, start=False, **settings)
    primary.hba(*HBA)
    primary.start()
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION")
    return [primary, *(servers.standby(primary, **settings) for _ in range(standbys))]


def conninfo(*hosts, **more):
    ports = [str(getattr(host, "port", host)) for host in hosts]
    words = {"host": ",".join("127.0.0.1" for _ in hosts), "port": ",".join(ports), "user": "archiver", **more}
    return " ".join(f"{key}={value}" for key, value in words.items())


def candidates(archive):
    """{port: what status says of it}"""
    done = pgweir("status", "-D", archive.path, "--json")
    receiver = json.loads(done.stdout)["receiver"] or {}
    return {int(re.search(r":(\d+)$", one["host"])[1]): one for one in receiver.get("candidates", [])}


def covered(archive, server, by=None, deadline=PATIENCE):
    """Waits until a failover to that server would leave no gap. `by` writes, so that there is something to be kept up with."""

    def there():
        if by is not None:
            by.sql("SELECT pg_logical_emit_message(true, '', '')")
        return candidates(archive).get(server.port, {}).get("covered")

    wait_for(there, f"{server.name} to be covered: {candidates(archive)}", deadline, interval=0.1)


def not_covered(archive, port, cover, deadline=PATIENCE):
    def there():
        one = candidates(archive).get(getattr(port, "port", port), {})
        return one if one.get("cover") == cover else None

    return wait_for(there, f"{port} to be {cover}: {candidates(archive)}", deadline, interval=0.1)


def oldest_segment(server, timeline=1):
    return min(segno for path in (server.data / "pg_wal").iterdir()
               if (segment := wal.parse_segment(path.name, server.segment_size))
               for line, segno in [segment] if line == timeline)


def lag_behind(standby):
    """It receives nothing more."""
    standby.conf(primary_conninfo="")
    standby.reload()
    wait_for(lambda: standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the walreceiver to end")


def fail_over(primary, standby, archive, receivers, at, options):
    """pgweir is away, the primary writes 50 segments and dies, a standby that had a part of it is promoted."""
    receiver = receivers.pgweir(archive, at, *options)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    if "--slot-hosts" in options:
        covered(archive, standby, by=primary)
    receiver.stop()
    for _ in range(25):
        standby.caught_up_with(primary.switch_wal())  # one that is late would find its WAL removed
    standby.replayed(primary.flushed())
    standby.sql("CHECKPOINT")
    lag_behind(standby)
    for _ in range(25):
        primary.switch_wal()
    primary.kill9()
    standby.promote()
    for _ in range(4):
        standby.switch_wal()
        standby.sql("CHECKPOINT")
    return standby.flushed()


@pytest.mark.parametrize("major", MAJORS)
def test_a_failover_while_pgweir_is_away_leaves_no_gap(servers, receivers, new_archive, major):
    primary, standby = cluster(servers, major, **FORGETS)
    archive = new_archive(primary)
    at = conninfo(primary, standby)
    end = fail_over(primary, standby, archive, receivers, at, KEEPS)
    stopped = max(segno for _, segno in {**archive.finished(), **archive.partials()})
    assert oldest_segment(standby) <= stopped, "the standby has kept what comes next"
    receiver = receivers.pgweir(archive, at, *KEEPS)
    streaming(standby)
    reported(standby, end)
    receiver.stop()
    left = switchpoint(standby, 1)
    archive.assert_covers(standby, 2, end, start=left)
    done = pgweir("verify", "-D", archive.path, "--no-progress")
    assert done.returncode == 0, done.stdout
    assert "hole" not in pgweir("status", "-D", archive.path).stdout.lower()
    assert min(segno for line, segno in {**archive.finished(), **archive.partials()} if line == 2) \
        == left // primary.segment_size


def test_without_it_there_is_the_gap(servers, receivers, new_archive):
    primary, standby = cluster(servers, **FORGETS)
    archive = new_archive(primary)
    at = conninfo(primary, standby)
    fail_over(primary, standby, archive, receivers, at, ["-S", "archive", "--create-slot", "--if-not-exists"])
    receiver = receivers.pgweir(archive, conninfo(standby), "-S", "archive", "--create-slot", "--if-not-exists")
    assert receiver.wait_exit() == 4, receiver.said()
    assert "no longer has the WAL that comes next" in receiver.said()


def test_no_slot_ever_goes_back(servers, receivers, new_archive, seeded):
    """Whatever is killed when. On a server that can be asked where its slot is, and on one that cannot: there the slot that
    the stream itself uses may go back to the begin of a record, since what was reported of it cannot be known."""
    for major in (13, 15):
        primary, standby = cluster(servers, major)
        primary.pgbench_init()
        archive = new_archive(primary, f"archive{major}")
        at = conninfo(primary, standby)
        receiver = receivers.pgweir(archive, at, *KEEPS[:-1], "100ms")
        covered(archive, standby, by=primary)
        receiver.kill9()
        load = primary.pgbench(clients=2, seconds=3600, rate=300)
        seen, starts = {primary: [], standby: []}, 6
        over = threading.Event()

        def watch():
            while not over.is_set():
                for server, positions in seen.items():
                    positions.append(restart_lsn(server))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(starts):
                before = restart_lsn(standby)
                receiver = receivers.pgweir(archive, at, *KEEPS[:-1], "100ms")
                wait_for(lambda: restart_lsn(standby) > before, "the standby's slot to move")  # noqa: B023
                over.wait(seeded.uniform(0, 0.3))
                receiver.kill9()
                gone(primary)
                # Nor is any of them ever above what is durable.
                for server in (primary, standby):
                    position = restart_lsn(server)
                    archive.assert_covers(primary, 1, position, start=position - (1 << 16))
        finally:
            over.set()
            watcher.join()
            load.kill()
            load.wait()
        for positions in seen.values():
            assert len(set(positions)) > 3, "it moved"
        assert seen[standby] == sorted(seen[standby]), f"{major}: the slot on the standby went back"
        back = [(one, next_) for one, next_ in itertools.pairwise(seen[primary]) if next_ < one]
        assert major == 13 or not back, f"{major}: the stream's own slot went back: {back}"
        # What one message holds at most (MAX_SEND_SIZE in walsender.c), once for each start.
        assert len(back) <= starts and all(one - next_ <= 128 * 1024 for one, next_ in back), f"{major}: {back}"


class Silent:
    """A host that takes connections and says nothing."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.port = self.socket.getsockname()[1]


def test_hosts_that_cannot_be_kept_are_told_and_disturb_nobody(servers, receivers, new_archive):
    primary, taken = cluster(servers, max_wal_senders=4)
    full = servers.standby(primary, max_wal_senders=4)
    foreign = servers.primary("foreign", start=False)
    foreign.hba(*HBA)
    foreign.start()
    foreign.sql("CREATE ROLE archiver LOGIN REPLICATION")
    silent = Silent()
    archive, other = new_archive(primary), new_archive(primary, "other")
    create_slot(taken)
    holder = receivers.pgweir(other, conninfo(taken), "-S", "archive")
    streaming(taken)
    occupiers = [receivers.stock(new_archive(primary, f"occupied{i}"), full) for i in range(4)]
    wait_for(lambda: len(full.walsenders()) == 4, "all walsenders to be taken")
    receiver = receivers.pgweir(archive, conninfo(primary, foreign, silent, taken, full), *KEEPS)
    streaming(primary)
    said = not_covered(archive, foreign, "other_cluster")
    assert "another cluster" in said["reason"] and said["slot_lsn"] is None
    assert "in use" in not_covered(archive, taken, "in_use")["reason"]
    said = not_covered(archive, full, "no_answer")
    assert "max_wal_senders" in said["reason"] and said["silent_since"] and said["answered"] is None
    assert not_covered(archive, silent, "no_answer")["server_lsn"] is None
    # The stream goes on as if nothing were.
    for _ in range(3):
        reported(primary, primary.write_wal(1))
    assert len(re.findall("streaming timeline", receiver.said())) == 1
    assert foreign.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    text = pgweir("status", "-D", archive.path).stdout
    assert f"failover to 127.0.0.1:{foreign.port}: not covered: it belongs to another cluster" in text, text
    assert re.search(rf"failover to 127.0.0.1:{silent.port}: not covered, no answer since \d{{4}}-", text), text
    checked = pgweir("status", "-D", archive.path, "--check")
    assert checked.returncode == 1 and "a failover may leave a gap" in checked.stdout, checked.stdout
    # Once each, not at each round.
    assert len(re.findall(f"not covered: a failover to 127.0.0.1:{foreign.port}", receiver.said())) == 1
    # What is over is taken back at the next round.
    holder.stop()
    for occupier in occupiers:
        occupier.stop(signal.SIGINT)  # the only signal that pg_receivewal 15 takes well
    covered(archive, taken, by=primary)
    covered(archive, full, by=primary)
    assert re.search(rf"failover to 127.0.0.1:{full.port}: covered, its slot keeps WAL from",
                     pgweir("status", "-D", archive.path).stdout)
    # One that hangs: what was known of it last is still told.
    full.process.send_signal(signal.SIGSTOP)
    try:
        said = not_covered(archive, full, "no_answer")
        assert said["was_covered"] and said["slot_lsn"]
        reported(primary, primary.write_wal(1))
    finally:
        full.process.send_signal(signal.SIGCONT)
    covered(archive, full, by=primary)
    receiver.stop(deadline=25)
    archive.assert_same_wal(primary)


def test_a_server_that_comes_back_is_kept_and_counts_for_nobody(servers, receivers, new_archive, place):
    """We archive from the standby, and the primary is the candidate: the keeper's word there is none that a commit waits for."""
    primary, standby = cluster(servers)
    archive = new_archive(primary)
    metrics = place / "pgweir.prom"
    receiver = receivers.pgweir(archive, conninfo(standby, primary), *KEEPS, "--metrics-file", metrics,
                                "--metrics-interval", "1s")
    streaming(standby)
    covered(archive, primary, by=primary)
    primary.conf(synchronous_standby_names="pgweir")
    primary.reload()
    wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == "pgweir", "the setting")
    wait_for_checkpointer(primary)
    commit = primary.spawn_sql("SELECT pg_logical_emit_message(true, '', 'waits')")
    try:
        position = lambda: restart_lsn(primary)  # noqa: E731
        before = position()
        wait_for(lambda: position() > before, "the keeper to move the primary's slot")
        assert commit.poll() is None, "a commit has counted the slot keeper"
        assert "pgweir slot keeper" in primary.log.read_text()
    finally:
        primary.conf(synchronous_standby_names="")
        primary.reload()
        assert commit.wait(PATIENCE) == 0
    # It dies and comes back as a standby of the other one.
    primary.stop("fast")
    not_covered(archive, primary, "no_answer")
    wait_for(lambda: re.search(r'candidate_covered\{[^}]*\} 0', metrics.read_text()), "the metric")
    standby.promote()
    (primary.data / "standby.signal").touch()
    primary.follow(standby)
    primary.start()
    standby.write_wal(2)
    covered(archive, primary, by=standby)
    wait_for(lambda: re.search(r'candidate_covered\{[^}]*\} 1', metrics.read_text()), "the metric")
    exported = set(re.findall(r"^pgweir_receiver_candidate_\w+", metrics.read_text(), re.MULTILINE))
    assert exported == documented("receive --slot-hosts")
    before = restart_lsn(primary)
    end = standby.write_wal(2)
    reported(standby, end)
    wait_for(lambda: restart_lsn(primary) > before, "the slot of the one that came back to move on")
    receiver.stop()
    archive.assert_same_wal(standby, primary)


class Candidate(WalServer):
    """A standby with our slot that notes what it is told."""

    in_hot_standby = "on"

    def __init__(self, server, end, slot):
        super().__init__(server, end, self.serve)
        self.slot, self.told = slot, []

    def _answer(self, connection, command):
        if not command.startswith("READ_REPLICATION_SLOT"):
            return super()._answer(connection, command)
        connection.row(["physical", wal.lsn_text(self.slot), "1"])
        return True

    def serve(self, connection, position):
        if position < self.end:
            connection.wal(position, self.read_wal(position, 8192), end=self.end)
        before = len(connection.reports)
        while not connection.copy_done:
            connection.message()
        for report in connection.reports[before:]:
            self.told.append(report)
            self.slot = report[1]  # as a server does, in both directions
        connection.finish()
        return GO_ON


def test_what_a_candidate_is_told(servers, receivers, new_archive):
    """How far the archive is durable, to the end of a record that the candidate has, too; and of what is applied nothing."""
    primary, = cluster(servers, standbys=0)
    archive = new_archive(primary)
    primary.write_wal(1)
    end, slot = primary.flushed(), segment_start(primary, primary.flushed())
    with Candidate(primary, end, slot) as candidate:
        receiver = receivers.pgweir(archive, conninfo(primary, candidate, sslmode="disable"), *KEEPS)
        streaming(primary)
        wait_for(lambda: candidate.told, "the candidate's slot to be moved")
        reported(primary, primary.write_wal(2))
        # There is nothing more that the candidate has.
        count = candidate.connections
        wait_for(lambda: candidate.connections > count + 2, "the candidate to be visited again")
        receiver.stop()
        for write, flush, apply in candidate.told:
            assert slot < flush <= end and write == flush and apply == 0
            archive.assert_covers(primary, 1, flush)
        flushes = [flush for _, flush, _ in candidate.told]
        assert flushes == sorted(set(flushes)), "forward, and nothing is told twice"


@pytest.mark.parametrize("winner", [1, 2])
def test_a_failover_takes_no_action(servers, receivers, new_archive, winner):
    """Slots on all hosts and the choice of a host together, under load. Whichever standby is promoted, each commit that was
    answered is archived; and the old primary is kept as a candidate when it comes back."""
    primary, *standbys = cluster(servers, standbys=2, wal_log_hints="on")
    new, other = standbys[winner - 1], standbys[2 - winner]
    primary.sql("CREATE TABLE drill (id bigint PRIMARY KEY)")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, *standbys), *KEEPS, "--prefer", "primary", "--prefer-after", "1s")
    streaming(primary)
    for standby in standbys:
        covered(archive, standby, by=primary)
    primary.conf(synchronous_standby_names="pgweir")
    primary.reload()
    wait_for(lambda: streaming(primary)["sync_state"] == "sync", "commits to wait for the archive")
    wait_for_checkpointer(primary)
    # The one that is not promoted receives through the one that is. Directly from the primary it could be given WAL that the
    # new primary never got, and would have to be rewound.
    other.follow(new)
    other.reload()
    streaming(new, other.name)
    answered = []
    loads = [threading.Thread(target=commit_until_it_is_gone, args=(primary, i, answered)) for i in range(4)]
    for load in loads:
        load.start()
    wait_for(lambda: len(answered) >= 200, "commits to be answered")
    primary.kill9()
    for load in loads:
        load.join()
    new.promote()
    covered(archive, other, by=new)
    not_covered(archive, primary, "no_answer")
    new.write_wal(2)
    # It comes back. pg_rewind has removed its slot, which is made anew.
    primary.rewind(new)
    primary.start()
    covered(archive, primary, by=new)
    before = restart_lsn(primary)
    end = new.write_wal(1)
    reported(new, end)
    wait_for(lambda: restart_lsn(primary) > before, "the slot of the old primary to be moved on")
    archive.wait_covers(new, 2, end)
    receiver.stop()
    archive.assert_same_wal(new, other, minimum=2)
    kept = wal_of(archive)
    missing = [number for number in answered if marker(number).encode() not in kept]
    assert not missing, f"{len(missing)} of {len(answered)} answered commits are not in the archive"


def test_a_twin_is_left_alone(servers, receivers, new_archive):
    """Both standbys are promoted, to one number and at one place: nothing but their WAL tells which of them is ours."""
    primary, ours, twin = cluster(servers, standbys=2)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(ours, twin), *KEEPS)
    streaming(ours)
    covered(archive, twin, by=primary)
    end = primary.write_wal(0.1)
    for standby in (ours, twin):
        standby.caught_up_with(end)
    primary.stop("fast")  # which sends everything to both, since they stream
    ours.promote()
    reported(ours, ours.write_wal(0.1))
    twin.promote()
    assert switchpoint(twin, 1) == switchpoint(ours, 1)
    twin.write_wal(2)
    said = not_covered(archive, twin, "other_branch")
    assert "starts with WAL that differs from the archive's" in said["reason"], said
    before = restart_lsn(twin)
    reported(ours, ours.write_wal(1))
    looked_at = candidates(archive)[twin.port]["answered"]
    wait_for(lambda: candidates(archive)[twin.port]["answered"] > looked_at, "it to be looked at again")
    assert candidates(archive)[twin.port]["cover"] == "other_branch"
    assert restart_lsn(twin) == before <= switchpoint(ours, 1)
    # Also after a restart, by what is archived.
    receiver.stop()
    receiver = receivers.pgweir(archive, conninfo(ours, twin), *KEEPS)
    streaming(ours)
    not_covered(archive, twin, "other_branch")
    assert restart_lsn(twin) == before
    receiver.stop()
    archive.assert_same_wal(ours)
    (level, found), (other, why) = failover_says(archive, ours, twin)[:2]
    assert level == "ok", found
    assert other == "failure" and "its WAL of timeline 2 differs from the archive's before" in why, why


def test_a_second_primary_is_left_alone(servers, receivers, new_archive):
    """A clone on timeline 1 has no first WAL that tells it apart. Its slot keeps what only it has."""
    primary, standby, clone = cluster(servers, standbys=2)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, standby, clone), *KEEPS)
    streaming(primary)
    covered(archive, clone, by=primary)
    standby.replayed(primary.flushed())
    clone.stop("fast")
    (clone.data / "standby.signal").unlink()
    clone.start()
    clone.write_wal(2)
    said = not_covered(archive, clone, "second_primary")
    assert f"as 127.0.0.1:{primary.port} is: a split brain" in said["reason"], said
    before = restart_lsn(clone)
    reported(primary, primary.write_wal(1))
    covered(archive, standby, by=primary)
    looked_at = candidates(archive)[clone.port]["answered"]
    wait_for(lambda: candidates(archive)[clone.port]["answered"] > looked_at, "it to be looked at again")
    assert restart_lsn(clone) == before
    receiver.stop()
    # Streamed from the standby, either of the two primaries may be the clone.
    receiver = receivers.pgweir(archive, conninfo(standby, primary, clone), *KEEPS, "--prefer", "standby")
    streaming(standby)
    not_covered(archive, clone, "second_primary")
    not_covered(archive, primary, "second_primary")
    said = failover_says(archive, standby, primary, clone)
    assert [level for level, _ in said] == ["ok", "ok", "failure", "failure"], said
    assert "its WAL of timeline 1 differs from the archive's before" in said[2][1], said
    clone.stop("fast")
    covered(archive, primary, by=primary)
    receiver.stop()


def lose_slot(primary, standby):
    """The standby invalidates its slot, which nobody uses."""
    standby.conf(max_slot_wal_keep_size="1MB")
    standby.reload()
    for _ in range(8):
        primary.switch_wal()
    standby.replayed(primary.flushed())

    def lost():
        primary.sql("CHECKPOINT")
        primary.switch_wal()
        standby.replayed(primary.flushed())
        standby.sql("CHECKPOINT")
        return standby.sql("SELECT wal_status FROM pg_replication_slots") == "lost"

    wait_for(lost, "the standby to give the slot up")


def test_an_invalidated_slot_is_left_alone(servers, receivers, new_archive):
    primary, standby = cluster(servers, **FORGETS)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, standby), *KEEPS)
    covered(archive, standby, by=primary)
    receiver.stop()
    lose_slot(primary, standby)
    receiver = receivers.pgweir(archive, conninfo(primary, standby), *KEEPS)
    streaming(primary)
    said = not_covered(archive, standby, "reserves_none")
    assert "Drop it" in said["reason"], said
    assert standby.sql("SELECT wal_status FROM pg_replication_slots") == "lost"
    done = pgweir("slot", "drop", "-S", "archive", "-d", conninfo(standby))
    assert done.returncode == 0, done.stderr
    covered(archive, standby, by=primary)
    receiver.stop()


@pytest.mark.parametrize("major", [16, 17])
def test_an_invalidated_slot_that_was_used_again_covers_nothing(servers, receivers, new_archive, major):
    """It has a restart_lsn, and only an ordinary connection shows that it keeps no WAL."""
    primary, standby = cluster(servers, major, **FORGETS)
    archive, other = new_archive(primary), new_archive(primary, "other")
    at = conninfo(primary, standby, dbname="postgres")
    receiver = receivers.pgweir(archive, at, *KEEPS)
    covered(archive, standby, by=primary)
    receiver.stop()
    lose_slot(primary, standby)
    receiver = receivers.pgweir(other, conninfo(standby), "-S", "archive")
    reported(standby, primary.write_wal(1))
    receiver.stop()
    gone(standby)
    assert restart_lsn(standby)
    assert standby.sql("SELECT wal_status FROM pg_replication_slots") == "lost"

    receiver = receivers.pgweir(archive, at, *KEEPS)
    streaming(primary)
    said = not_covered(archive, standby, "validity_unknown")
    assert "whether max_slot_wal_keep_size has invalidated its slot" in said["reason"], said
    receiver.stop()
    standby.hba("host postgres archiver 127.0.0.1/32 trust")
    standby.reload()
    receiver = receivers.pgweir(archive, at, *KEEPS)
    streaming(primary)
    said = not_covered(archive, standby, "reserves_none")
    assert "Drop it" in said["reason"], said

    def dropped():  # the keeper uses it for moments
        return pgweir("slot", "drop", "-S", "archive", "-d", conninfo(standby)).returncode == 0

    wait_for(dropped, "the slot to be dropped")
    covered(archive, standby, by=primary)
    receiver.stop()


def test_the_slot_command_on_all_hosts(servers):
    primary, standby = cluster(servers)
    down = servers.standby(primary, start=False)
    both = ["-d", conninfo(primary, standby, target_session_attrs="read-write")]
    made = pgweir("slot", "create", *both, "-S", "one", "--all-hosts")
    assert made.returncode == 0, made.stderr
    assert re.findall(r":(\d+): replication slot \"one\" created", made.stdout) == [str(primary.port), str(standby.port)]
    again = pgweir("slot", "create", *both, "-S", "one", "--all-hosts")
    assert again.returncode == 4 and again.stderr.count("exists already") == 2, again.stderr
    listed = pgweir("slot", "list", "--all-hosts", "--json", "-d",
                    f"host={primary.socket_dir},{standby.socket_dir},{down.socket_dir} user=postgres"
                    f" port={primary.port},{standby.port},{down.port} dbname=postgres")
    assert listed.returncode == 3, listed.stderr
    rows = json.loads(listed.stdout)
    assert [[slot["name"] for slot in row.get("slots", [])] for row in rows] == [["one"], ["one"], []]
    assert "error" in rows[2]
    # One that does not answer keeps nobody from the others.
    dropped = pgweir("slot", "drop", "-d", conninfo(down, primary, standby), "-S", "one", "--all-hosts")
    assert dropped.returncode == 3, dropped.stderr
    assert primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert standby.sql("SELECT count(*) FROM pg_replication_slots") == "0"


def failover_says(archive, *hosts, **more):
    done = pgweir("doctor", "--failover", "--json", "-d", conninfo(*hosts, **more), "-S", "archive", "-D", archive.path)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["healthy"] else 1)
    return [(check["level"], check["found"]) for check in report["checks"]]


def test_doctor_says_what_a_failover_would_cost(servers, receivers, new_archive):
    primary, ahead, behind = cluster(servers, standbys=2, **FORGETS)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, ahead), *KEEPS)
    streaming(primary)
    primary.sql("CREATE TABLE counted (i int)")
    covered(archive, ahead, by=primary)
    behind.caught_up_with(primary.flushed())
    lag_behind(behind)
    for i in range(3):
        primary.sql(f"INSERT INTO counted VALUES ({i})")
    end = primary.write_wal(3)
    ahead.caught_up_with(end)
    reported(primary, end)
    silent = Silent()
    (level, found), (second, text), (third, nobody) = failover_says(archive, ahead, behind, silent)
    assert level == "ok" and "no gap, its slot keeps WAL from" in found, found
    # One without a slot, which has not got all of it: 3 commits, and that of write_wal() with its table.
    assert second == "failure" and 'it has no slot "archive"' in text and "COMMITS LOST" in text, text
    assert re.search(r"that the archive has, from \S+ to \S+, with [45] commits, would not be part of", text), text
    assert third == "unknown" and "does not answer" in nobody, nobody
    # What only the server has: the receiver is away.
    receiver.stop()
    for _ in range(6):
        primary.switch_wal()
    ahead.replayed(primary.flushed())
    (level, found), = failover_says(archive, ahead)
    assert level == "ok" and "the archive would get" in found and "MB from it" in found, found
    # And one that has lost what comes next.
    primary.sql("SELECT pg_drop_replication_slot('archive')")
    for _ in range(2):
        primary.switch_wal()
        primary.sql("CHECKPOINT")
    (level, found), = failover_says(archive, primary)
    assert level == "failure" and "a GAP: it no longer has the WAL at" in found, found
    assert "it is the primary now" in found
    text = pgweir("doctor", "-d", conninfo(primary, ahead), "-S", "archive", "--measure", "0").stdout
    assert "[ warn ] failover_slots: the connection string has 2 hosts" in text, text
    kept = pgweir("doctor", "-d", conninfo(primary, ahead), "-S", "archive", "--measure", "0", "--slot-hosts", "all")
    assert "[  ok  ] failover_slots" in kept.stdout, kept.stdout
    # Whoever is connected counts.
    primary.conf(synchronous_standby_names="*", synchronous_commit="local")
    primary.reload()
    wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == "*", "the setting")
    assert "[ warn ] synchronous_star" in pgweir(
        "doctor", "-d", conninfo(primary), "-S", "archive", "--measure", "0").stdout
    assert "synchronous_standby_names is '*'" in pgweir("status", "-D", archive.path, "-d", conninfo(primary)).stdout


def test_doctor_recommends_no_relay(servers, receivers, new_archive, place):
    """WAL can be received from it, but nobody can promote it."""
    primary, standby = cluster(servers)
    archive, relayed = new_archive(primary), new_archive(primary, "relayed")
    rules, port = place / "hba", free_port()
    rules.write_text("host replication all 127.0.0.1/32 trust\n")
    receivers.pgweir(relayed, conninfo(primary, application_name="relay"), "--serve", port, "--serve-hba", rules,
                     "--serve-socket", place).wait_log("listening on")
    receiver = receivers.pgweir(archive, conninfo(primary, standby, port), *KEEPS)
    streaming(primary)
    covered(archive, standby, by=primary)
    standby.caught_up_with(primary.flushed())
    lag_behind(standby)
    primary.sql("CREATE TABLE more ()")
    end = primary.flushed()
    reported(primary, end)
    relayed.wait_covers(primary, 1, end)
    said = pgweir("doctor", "--failover", "-d", conninfo(standby, port), "-S", "archive", "-D", archive.path)
    assert said.returncode == 1 and "COMMITS LOST" in said.stdout, said.stdout
    assert f"[  ok  ] failover: to 127.0.0.1:{port}: it is a relay (pgweir serve), which cannot be" in said.stdout
    assert f"a failover to any of them loses commits; the fewest with 127.0.0.1:{standby.port}" in said.stdout
    receiver.stop()


def test_a_prepared_transaction_counts_as_lost(servers, receivers, new_archive):
    """It is neither a commit nor an end, and the standby that lacks it cannot commit it."""
    primary, standby = cluster(servers, max_prepared_transactions=10)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, standby), *KEEPS)
    streaming(primary)
    primary.sql("CREATE TABLE promised (i int)")
    covered(archive, standby, by=primary)
    standby.caught_up_with(primary.flushed())
    lag_behind(standby)
    for name in "abc":
        primary.sql(f"BEGIN; INSERT INTO promised VALUES (1); PREPARE TRANSACTION '{name}'")
    primary.sql("ROLLBACK PREPARED 'a'")
    reported(primary, primary.flushed())

    def doctor():
        return pgweir("doctor", "--failover", "-d", conninfo(primary, standby), "-S", "archive", "-D", archive.path)

    said = doctor()
    assert said.returncode == 1 and "PREPARED TRANSACTIONS LOST: no gap" in said.stdout, said.stdout
    assert "with 0 commits and 2 prepared transactions, would not be part" in said.stdout, said.stdout
    assert said.stdout.rstrip().endswith(f"a failover to 127.0.0.1:{primary.port} loses nothing that the archive has")
    primary.sql("COMMIT PREPARED 'b'")
    reported(primary, primary.flushed())
    said = doctor().stdout
    assert "COMMITS LOST: no gap" in said and "with 1 commit and 1 prepared transaction, would" in said, said
    primary.stop("fast")
    standby.promote()
    receiver.wait_log(r"a failover lost WAL .*, with 1 commit and 1 prepared transaction, not part of timeline 2")
    branch, = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["lost_branches"]
    assert (branch["commits"], branch["prepared"]) == (1, 1), branch
    assert ", 1 commit and 1 prepared transaction, are not on timeline 2" in pgweir("status", "-D", archive.path).stdout
    receiver.stop()


@pytest.mark.parametrize("major", [14, 15])
def test_doctor_says_which_slot_a_failover_would_find(servers, receivers, new_archive, major):
    """Before 15 only an ordinary connection tells where a slot is."""
    primary = servers.primary(major=major, wal_level="logical", wal_keep_size="64MB")
    create_slot(primary)
    standby = servers.standby(primary, wal_keep_size="64MB")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, primary.write_wal(2))
    receiver.stop()

    def says(server=primary, dbname="postgres"):
        (level, found), = failover_says(archive, server, host=server.socket_dir, user="postgres", dbname=dbname)
        return level, found

    level, found = says()
    assert level == "ok" and "no gap, its slot keeps WAL from" in found, found
    level, found = says(dbname="nowhere")
    if major < 15:
        assert level == "warning" and 'the restart_lsn of slot "archive" could not be read' in found and "may not be retained" in found, found
    else:
        assert level == "ok", found
    primary.sql("SELECT pg_drop_replication_slot('archive')")
    level, found = says()
    assert level == "warning" and 'it has no slot "archive"' in found, found
    primary.sql("SELECT pg_create_logical_replication_slot('archive', 'test_decoding')")
    level, found = says()
    assert level == "warning" and 'its slot "archive" is a logical one' in found, found
    standby.caught_up_with(primary.flushed())
    standby.promote()
    level, found = says(standby)  # on a timeline of its own, whose history tells where it left ours
    assert level == "warning" and 'it has no slot "archive"' in found and "it is the primary now" in found, found


def test_doctor_knows_a_slot_that_was_idle_for_too_long(servers, receivers, new_archive):
    """It keeps its restart_lsn, but not the WAL."""
    primary = servers.primary(major=18, wal_keep_size="64MB")
    create_slot(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    primary.conf(idle_replication_slot_timeout="1s")
    primary.reload()
    wait_for(lambda: primary.sql("CHECKPOINT; SELECT invalidation_reason FROM pg_replication_slots") == "idle_timeout",
             "the slot to be invalidated")
    (level, found), = failover_says(archive, primary, host=primary.socket_dir, user="postgres", dbname="postgres")
    assert level == "warning" and 'its slot "archive" reserves no WAL' in found, found

    primary.hba("host all all 127.0.0.1/32 reject")  # a replication connection alone does not show it
    primary.reload()
    (level, found), = failover_says(archive, primary, user="postgres", dbname="postgres")
    assert level == "warning" and 'the restart_lsn of slot "archive" could not be read' in found and "may not be retained" in found, found


@pytest.mark.parametrize("major", [15, 16, 17])
def test_an_invalidated_slot_that_streams_again(servers, receivers, new_archive, major):
    """Since 16 it stays invalid, also with a restart_lsn. (18 does not let it be used.)"""
    primary = servers.primary(major=major, max_slot_wal_keep_size="1MB", **FORGETS)
    create_slot(primary)

    def status():
        return primary.sql("SELECT wal_status FROM pg_replication_slots")

    def lost():
        primary.write_wal(2)
        primary.sql("CHECKPOINT")
        return status() == "lost"

    wait_for(lost, "the slot to be invalidated")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "-S", "archive")
    reported(primary, primary.write_wal(1))
    receiver.stop()
    assert primary.sql("SELECT restart_lsn IS NOT NULL FROM pg_replication_slots") == "t"
    assert (status() == "lost") == (major > 15)
    local = {"host": primary.socket_dir, "user": "postgres", "dbname": "postgres"}
    (level, found), = failover_says(archive, primary, **local)
    assert ('its slot "archive" reserves no WAL' in found) == (major > 15), (level, found)
    said = pgweir("status", "-D", archive.path, "-S", "archive", "-d", conninfo(primary, **local)).stdout
    assert (", lost, not in use" in said) == (major > 15) and "WARNING: without it" not in said, said

    primary.hba("host all all 127.0.0.1/32 reject")  # a replication connection alone does not show it
    primary.reload()
    remote = {"user": "postgres", "dbname": "postgres"}
    (level, found), = failover_says(archive, primary, **remote)
    assert ('the restart_lsn of slot "archive" could not be read' in found) == (major > 15), (level, found)
    said = pgweir("status", "-D", archive.path, "-S", "archive", "-d", conninfo(primary, **remote)).stdout
    assert ("not known whether max_slot_wal_keep_size has invalidated the slot" in said) == (major > 15), said


def test_it_needs_a_slot(place):
    wanting = pgweir("receive", "-D", place, "-d", "host=a,b", "--slot-hosts", "all")
    assert wanting.returncode == 2 and "requires --slot" in wanting.stderr, wanting.stderr
    wanting = pgweir("receive", "-D", place, "-d", "host=a,b", "-S", "x", "--slot-interval", "5s")
    assert wanting.returncode == 2 and "requires --slot-hosts all" in wanting.stderr, wanting.stderr
