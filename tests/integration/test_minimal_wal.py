"""WAL that passes a time of wal_level=minimal: it is all archived, and no recovery gets over it. That is reported by
every command that says what can be recovered."""

import json
import re

import pytest

from support import wal
from support.process import as_server_user, run, wait_for
from support.receiver import pgweir
from support.recovery import hand_over, installed, recover, restore_command
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN, bin_directory


def backup_of(server, path):
    path.mkdir()
    hand_over(path)
    own = bin_directory(server.major) / "pg_basebackup"
    run([own if own.exists() else DEBIAN_BIN / "pg_basebackup", "-D", path / "data", "-d", server.conninfo(), "-X", "none",
         "-c", "fast", "-N"], **as_server_user(), cwd="/")
    return path / "data"


def told(*arguments, status=0):
    done = pgweir(*arguments, "--json")
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def begin_of(backup):
    text = (backup / "backup_label").read_text()
    return wal.lsn(text.split("START WAL LOCATION: ")[1].split()[0])


@pytest.mark.parametrize("major", [13, 15, 19], ids=lambda major: f"major{major}")
def test_no_recovery_passes_a_time_of_wal_level_minimal(servers, receivers, new_archive, place, major):
    server = servers.primary(major=major)
    archive = new_archive(server)
    receiver = receivers.pgweir(archive, server)
    streaming(server)
    server.sql("CREATE TABLE rows (number int)")
    early = backup_of(server, place / "early")
    server.sql("INSERT INTO rows VALUES (1)")
    server.write_wal(2)
    before = server.flushed()
    # No walsender may be there, so the receiver gets this WAL when the server is back.
    server.conf(wal_level="minimal", max_wal_senders=0)
    server.restart()
    server.sql("BEGIN; CREATE TABLE loaded AS SELECT generate_series(1, 1000) AS number; COMMIT")
    server.write_wal(2)
    lowered = server.flushed()
    server.conf(wal_level="replica", max_wal_senders=20)
    server.restart()
    streaming(server)
    server.write_wal(2)
    line = receiver.wait_log(r"WARN.*wal_level=minimal from (\S+) on timeline 1 to (\S+): .* recorded as (\S+)")
    begin, end, identifier = wal.lsn(line[1]), wal.lsn(line[2]), line[3]
    assert before <= begin < lowered < end
    late = backup_of(server, place / "late")
    server.sql("INSERT INTO rows VALUES (2)")
    server.write_wal(2)
    reported(server, server.flushed())
    records = [name for name in archive.hidden() if "loss" in name]
    assert records == [f".pgweir-loss-{identifier}"]

    # Read again from the segment's begin by the next receiver: once is enough.
    receiver.stop()
    receiver = receivers.pgweir(archive, server)
    streaming(server)
    reported(server, server.write_wal(2))
    report = told("status", "-D", archive.path)
    assert [(loss["id"], wal.lsn(loss["from"]), wal.lsn(loss["to"]), loss["goes_on"], loss["acknowledged"])
            for loss in report["minimal_wal"]] == [(identifier, begin, end, False, None)]
    assert [loss["id"] for loss in report["receiver"]["minimal_wal"]] == [identifier]
    later, earlier = report["windows"]
    assert wal.lsn(later["from"]) == end <= begin_of(late) and not later["before_minimal_wal"]
    assert begin_of(early) >= wal.lsn(earlier["from"])
    assert wal.lsn(earlier["to"]) == begin and earlier["before_minimal_wal"]
    text = pgweir("status", "-D", archive.path).stdout
    assert "WAL_LEVEL=MINIMAL" in text and "where wal_level was lowered to minimal" in text, text
    check = pgweir("status", "-D", archive.path, "--check")
    assert check.returncode == 2 and "wal_level=minimal" in check.stdout, check.stdout
    metrics = place / "status.prom"
    pgweir("status", "-D", archive.path, "--metrics-file", metrics)
    assert 'losses_unacknowledged{archive="' in metrics.read_text() and 'kind="minimal_wal"} 1' in metrics.read_text()
    receiver.stop()

    found = told("verify", "-D", archive.path, status=1)
    assert [(each["kind"], wal.lsn(each["lsn"])) for each in found["findings"]] == [("minimal_wal", begin)]
    ranges = [(wal.lsn(each["begin"]), wal.lsn(each["end"])) for each in found["histories"][0]["sound"]]
    assert ranges[0][1] == begin and ranges[1][0] == end, ranges
    old = told("verify", "-D", archive.path, "--backup", early, status=1)["backup"]
    assert [wal.lsn(each["lsn"]) for each in old["recoverable_to"]] == [begin], old
    moment = told("restore", "-D", archive.path, "--find-lsn", wal.lsn_text(lowered))
    assert [wal.lsn(loss["from"]) for loss in moment["minimal_wal"]] == [begin]
    # An archive into which nobody has recorded it.
    (archive.path / f".pgweir-loss-{identifier}").rename(place / "record")
    unknown = told("verify", "-D", archive.path, status=1)
    assert [(each["kind"], each["loss"]) for each in unknown["findings"]] == [
        (each["kind"], each["loss"]) for each in found["findings"]]
    (place / "record").rename(archive.path / f".pgweir-loss-{identifier}")

    # Acknowledged, nobody is called for it, and no recovery passes it.
    listed = pgweir("ack", "-D", archive.path)
    assert identifier in listed.stdout
    assert pgweir("ack", "-D", archive.path, identifier, "--reason", "a backup was taken").returncode == 0
    assert told("status", "-D", archive.path)["minimal_wal"][0]["acknowledged"]["reason"] == "a backup was taken"
    assert told("verify", "-D", archive.path, status=1)["backup"] is None

    # The early backup keeps nothing behind the change: the late one is what retention needs.
    hand_over(archive.path)
    pruned = pgweir("prune", "-D", archive.path, "--keep-from-backup", early, "--dry-run")
    assert pruned.returncode == 0, pruned.stderr
    sandbox = place / "sandbox"
    sandbox.mkdir()
    hand_over(sandbox)
    drill = [installed(place), "drill", "-D", archive.path, "--sandbox", sandbox, "--json", "--backup"]
    failed = run([*drill, early], check=False, **as_server_user(), cwd="/")
    assert failed.returncode == 1 and "wal_level=minimal" in failed.stdout, (failed.stdout, failed.stderr)
    recovered = recover(servers, late, "recovered", server, restore_command(place, archive))
    assert recovered.sql("SELECT count(*) FROM rows") == "2"
    stopped = recover(servers, early, "stopped", server, restore_command(place, archive),
                      recovery_target_lsn=wal.lsn_text(begin), recovery_target_inclusive="off")
    assert stopped.sql("SELECT count(*) FROM rows") == "1"
    # What the server says by itself, and what restore says before it.
    through = recover(servers, early, "through", server, restore_command(place, archive), start=False)
    through.start(wait=False)
    if major > 13:
        wait = "WAL was generated with .?wal_level=minimal"
    else:
        wait = "wal_level"
    wait_for(lambda: re.search(wait, through.log.read_text()), "the server to refuse it")
    assert re.search(r"pgweir: .*wal_level=minimal from", through.log.read_text()), through.last_log()
