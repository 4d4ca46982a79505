"""Steps that many tests share."""

import json

from . import wal
from .process import PATIENCE, wait_for
from .receiver import assert_somebody_works, pgweir


def streaming(server, application_name="pgweir", deadline=PATIENCE):
    """Waits for the receiver's walsender on this server; returns its row of pg_stat_replication."""

    def found():
        rows = [row for row in server.walsenders(application_name) if row["state"] == "streaming"]
        if not rows:
            assert_somebody_works()
        return rows[0] if rows else None

    return wait_for(found, f"{application_name} to stream from {server.name}", deadline)


def reported(server, position, application_name="pgweir", deadline=PATIENCE):
    """Waits until the receiver has reported `position` as flushed, and its slot (if it has one) stands there: the server
    moves it a moment after it has noted the report."""
    reports = ("SELECT flush_lsn, slot_type = 'physical', restart_lsn FROM pg_stat_replication"
               " LEFT JOIN pg_replication_slots ON active_pid = pid"
               f" WHERE application_name = '{application_name}'")

    def moved(report):
        flushed, physical, restart = report.split("|")
        return (flushed and wal.lsn(flushed) >= position
                and (physical != "t" or (restart and wal.lsn(restart) >= position)))

    def there():
        if any(moved(report) for report in server.sql(reports).splitlines()):
            return True
        assert_somebody_works()
        return False

    wait_for(there, f"{application_name} to report {wal.lsn_text(position)} to {server.name}",
             deadline)


def begun(archive, primary, deadline=PATIENCE):
    """Waits until the receiver has begun a segment. An idle server has nothing to send for up to 15 s, so it gets something."""

    def there():
        primary.sql("SELECT pg_logical_emit_message(true, '', '')")
        assert_somebody_works()
        return archive.partials()

    wait_for(there, "the receiver to begin", deadline, interval=0.1)


def gone(server, application_name="pgweir", deadline=PATIENCE):
    wait_for(lambda: not server.walsenders(application_name),
             f"{application_name}'s walsender on {server.name} to end", deadline)


def create_slot(server, name="archive"):
    """A slot that keeps WAL from now on."""
    server.sql(f"SELECT pg_create_physical_replication_slot('{name}', true)")


def restart_lsn(server, name="archive"):
    """The slot's restart position, 0 if it has none."""
    text = server.sql(f"SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '{name}'")
    return wal.lsn(text) if text else 0


def switchpoint(server, timeline):
    """Where `timeline` ended, as this server's newest history has it."""
    return wait_for(lambda: server.timeline_end(timeline), f"the end of timeline {timeline}")


def segment_start(server, position):
    return position - position % server.segment_size


def promote_again(server):
    """One more timeline: a primary is made a standby without upstream, and promoted."""
    server.stop("fast")
    (server.data / "standby.signal").touch()
    server.conf(primary_conninfo="")
    server.start()
    server.promote()


def status_of_receiver(archive):
    """What the receiver says of itself. One that the machine does not let run for some seconds does not answer in time: it
    is asked again."""

    def answered():
        receiver = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["receiver"]
        if not receiver:
            assert_somebody_works()
        return receiver

    return wait_for(answered, "the receiver to answer")
