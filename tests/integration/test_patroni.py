"""A real Patroni cluster (Debian's 3.0 with etcd, three nodes), as docs/patroni.md has it configured: ignore_slots and our slot
keeper, under load. PGWEIR_LONG=1: all of it; else the short form."""

import json
import os
import shutil
import threading

import pytest

from support import patroni, wal
from support.archive import Archive
from support.process import wait_for
from support.receiver import pgweir
from support.scenario import restart_lsn
from test_slot_keeper import KEEPS, candidates, conninfo

LONG = os.environ.get("PGWEIR_LONG") == "1"


@pytest.fixture
def cluster(request, place):
    if not patroni.installed():
        pytest.skip("Patroni and etcd are not there (scripts/setup patroni)")
    cluster = patroni.PatroniCluster(place, ignore_slots=[{"name": "archive", "type": "physical"}])
    try:
        yield cluster.start()
    finally:
        report = getattr(request.node, "report_call", None)
        cluster.end(report is None or report.failed)
        for node in cluster.all:
            if node.memory:
                shutil.rmtree(node.memory, ignore_errors=True)


class Load(threading.Thread):
    """Writes on whoever is the leader."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.over, self.commits = cluster, threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            for node in self.cluster.all:
                done = node.sql("INSERT INTO load SELECT repeat('x', 1000) FROM generate_series(1, 300)", check=False)
                self.commits += done.returncode == 0


def kept_up(archive, cluster):
    """All but the one that streams are covered, and the archive has what the leader has now."""
    end = cluster.leader().flushed()

    def there():
        known = candidates(archive)
        return len(known) == 2 and all(one["covered"] for one in known.values())

    wait_for(there, f"the others to be covered: {candidates(archive)}", interval=0.2)
    wait_for(lambda: archive.covers(cluster.leader(), cluster.leader().timeline(), end), "the archive to have it all",
             interval=0.2)


def lost_by_failovers(archive, cluster):
    """The branches of the archive that lie behind a switchpoint: replication is asynchronous, so a standby may be behind the archive
    when its primary dies. The cluster has in fact left each of them there."""
    lost = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["lost_branches"]
    for branch in lost:
        assert cluster.leader().timeline_end(branch["timeline"]) == wal.lsn(branch["from"]), branch
    return lost


def assert_same_wal(archive, cluster, lost, place):
    """As Archive.assert_same_wal(). What failovers lost, no server has to have any more (pg_rewind removes it): only the bytes before
    the switchpoint are compared, with which the next timeline's segment begins."""
    rest = Archive(place / "not-lost", archive.segment_size)
    rest.path.mkdir()
    ends = {branch["timeline"]: (wal.lsn(branch["from"]), branch["next_timeline"]) for branch in lost}
    for (timeline, segno), path in archive.finished().items():
        end, successor = ends.get(timeline, (None, None))
        if end is None or (segno + 1) * archive.segment_size <= end:
            os.link(path, rest.path / path.name)
        elif segno * archive.segment_size < end:
            begin = cluster.leader().pg_wal(wal.segment_name(successor, segno, archive.segment_size))
            if begin.exists():
                assert begin.read_bytes().startswith(archive.content(path)[:end % archive.segment_size]), path.name
    for path in archive.histories().values():
        os.link(path, rest.path / path.name)
    rest.assert_same_wal(*cluster.all, minimum=5)


def test_switchover_and_failovers_under_load(cluster, receivers, new_archive, place):
    leader = cluster.leader()
    leader.sql("CREATE ROLE archiver LOGIN REPLICATION; CREATE TABLE load (x text)")
    archive = new_archive(leader)
    prefers = ["--prefer", "standby", "--prefer-after", "2s"] if LONG else []
    receiver = receivers.pgweir(archive, conninfo(*cluster.all), *KEEPS, *prefers)
    load = Load(cluster)
    load.start()
    try:
        kept_up(archive, cluster)
        cluster.switch_over()
        kept_up(archive, cluster)
        for _ in range(2 if LONG else 1):
            gone = cluster.leader()
            gone.die()
            cluster.leader(other_than=gone)
            gone.run()
            cluster.complete()
            kept_up(archive, cluster)
        if LONG:
            cluster.make_anew(next(node for node in cluster.all if node is not cluster.leader()))
            kept_up(archive, cluster)
    finally:
        load.over.set()
        load.join()
    kept_up(archive, cluster)
    assert load.commits > 20
    if LONG:
        wait_for(lambda: any(node.walsenders() for node in cluster.all if node is not cluster.leader()),
                 "a standby to be archived from")
    receiver.stop()
    # Patroni has left our slots alone, and nobody else's are left over.
    for node in cluster.all:
        assert restart_lsn(node) > 0, node.name
    lost = lost_by_failovers(archive, cluster)
    assert_same_wal(archive, cluster, lost, place)
    accepted = place / "accepted"
    accepted.write_text("".join(f"{branch['timeline']} {branch['from']} {branch['to']} asynchronous\n" for branch in lost))
    done = pgweir("verify", "-D", archive.path, "--no-progress", "--accept-file", accepted)
    assert done.returncode == 0, done.stdout
    assert len(archive.histories()) >= (4 if LONG else 3) - 1
    # The archive is given up: nothing of it is left on any node, and Patroni has nothing to do with that.
    dropped = pgweir("slot", "drop", "-S", "archive", "-d", conninfo(*cluster.all), "--all-hosts")
    assert dropped.returncode == 0, dropped.stderr
    for node in cluster.all:
        assert node.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'archive'") == "0", node.name
        wait_for(lambda: node.sql("SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'pgweir%'")  # noqa: B023
                 == "0", f"our walsenders on {node.name} to end")
