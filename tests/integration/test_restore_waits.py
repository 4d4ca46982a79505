"""What `pgweir restore` answers where the store is away, or is not named, without any store."""

import signal
import subprocess

import pytest

from support.process import die_with_parent, wait_for
from support.receiver import BINARY, pgweir
from support.server import free_port

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def data(place):
    """A data directory, as far as restore looks at it."""
    (place / "data" / "pg_wal").mkdir(parents=True)
    return place / "data"


def words(*more):
    return ["restore", "--store", "s3://bucket/p", "--store-endpoint", f"http://127.0.0.1:{free_port()}", *more]


def start(data, place, name):
    """As a server runs it, of a store where nobody listens."""
    with open(place / "said", "wb") as said:
        return subprocess.Popen([BINARY, *words("--store-name", "main", "--retry-for", "0s", name, "pg_wal/RECOVERYXLOG")],
                                cwd=data, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=said,
                                preexec_fn=die_with_parent(signal.SIGKILL))


@pytest.mark.parametrize("name", ["000000010000000000000003", "00000002.history"])
def test_a_standby_is_neither_ended_nor_promoted_early_by_a_store_that_is_away(data, place, name):
    (data / "standby.signal").touch()
    asked = start(data, place, name)
    try:
        wait_for(lambda: asked.poll() is not None or "the standby waits for the store" in (place / "said").read_text(),
                 "restore to say that it waits")
        assert asked.poll() is None, (place / "said").read_text()
        # It is no standby any more: the recovery is stopped.
        (data / "standby.signal").unlink()
        wait_for(lambda: asked.poll() is not None, "restore to give up")
        assert asked.returncode == 200
    finally:
        if asked.poll() is None:
            asked.kill()
        asked.wait()
    assert not list((data / "pg_wal").iterdir())


def test_a_recovery_is_stopped_by_a_store_that_is_away(data, place):
    (data / "recovery.signal").touch()
    asked = start(data, place, "000000010000000000000003")
    assert asked.wait(timeout=120) == 200
    assert "the standby waits" not in (place / "said").read_text()


def test_the_name_in_the_store_is_not_that_of_a_copy(place):
    (place / "copy").mkdir()
    asked = pgweir(*words("-D", place / "copy", "--retry-for", "0", "00000002.history", place / "target"), env=ENVIRONMENT)
    assert asked.returncode == 200 and "--store-name is missing" in asked.stderr, asked.stderr
    drill = pgweir("drill", *words("-D", place / "copy", "--backup", place, "--sandbox", place)[1:], env=ENVIRONMENT)
    assert drill.returncode != 0 and "--store-name is missing" in drill.stderr, drill.stderr
    # A configuration file is the one that the archiver has.
    config = place / "wal.ini"
    config.write_text(f"[restore]\ndirectory = {place}/copy\n")
    asked = pgweir(*words("-c", config, "--retry-for", "0", "00000002.history", place / "target"), env=ENVIRONMENT)
    assert asked.returncode == 200 and "--store-name is missing" not in asked.stderr, asked.stderr


def test_the_first_call_of_a_recovery_says_what_its_end_will_need(place, data, servers, receivers, new_archive):
    from support.scenario import begun
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    primary.write_wal(2)
    primary.switch_wal()
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    silent = place / "silent"
    silent.mkdir()
    segment = sorted(path.name for path in archive.finished().values())[0][:24]
    both = ["restore", "-D", silent, "-D", archive.path, "--prefetch", "0", "--partial"]
    asked = pgweir(*both, segment, data / "pg_wal" / "RECOVERYXLOG")
    assert asked.returncode == 0, asked.stderr
    assert f"THIS RECOVERY CANNOT END while {silent} does not answer" in asked.stderr
    assert f"restore_command = 'pgweir restore -D {archive.path} --partial %f %p'" in asked.stderr
    target = data / "pg_wal" / "RECOVERYHISTORY"
    assert pgweir(*both, "00000002.history", target).returncode == 200
    asked = pgweir(*both, "--without-silent", "00000002.history", target)
    assert asked.returncode == 1, asked.stderr
    assert f"is reported as absent, although {silent} does not answer" in asked.stderr


def test_says_how_it_understood_a_time(place, servers, receivers, new_archive):
    from support.scenario import begun
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    primary.sql("CREATE TABLE t (i int)")
    archive.wait_covers(primary, 1, primary.flushed())
    receiver.stop()
    told = pgweir("restore", "-D", archive.path, "--find-time", "2100-01-02", env={"TZ": "Europe/Berlin"})
    assert told.returncode == 0, told.stderr
    assert "asked for    2100-01-01 23:00:00.000000 UTC" in told.stdout
