"""Commits that wait for somebody."""

import subprocess

from . import wal
from .process import PATIENCE, wait_for


def commit(primary, number, level):
    """In the background; what it prints is the position of its insert."""
    return primary.spawn_sql(
        f"BEGIN; SET LOCAL synchronous_commit = {level}; INSERT INTO numbers VALUES ({number});"
        " SELECT pg_current_wal_insert_lsn(); COMMIT")


def finished(statement):
    try:
        output, _ = statement.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        statement.kill()
        raise AssertionError("the commit hangs") from None
    assert statement.returncode == 0, output
    return wal.lsn(output.strip())


def assert_waits(primary, statement):
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity"
                                 " WHERE wait_event = 'SyncRep'") != "0", "the commit to wait")
    assert statement.poll() is None
