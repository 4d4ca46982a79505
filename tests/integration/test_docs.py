"""The chapters of docs/, followed to the letter, each on servers of its own, and what must be true
at their ends. (docs/restore.md is followed in test_restore.py.)"""

import re
import subprocess
import threading

import pytest

from support import wal
from support.archive import Archive
from support.chapter import DOCS, Chapter, blocks
from support.process import PATIENCE, as_server_user, run, wait_for
from support.recovery import base_backup, hand_over, installed
from support.receiver import BINARY
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN, REPOSITORY, bin_directory, free_port
from support.tree import assert_same_data

ARCHIVER = "CREATE ROLE archiver LOGIN REPLICATION"


def anchors(page):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", page.read_text()))
    words = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()) for heading in headings]
    return {each.strip().replace(" ", "-") for each in words}


def test_every_link_leads_somewhere():
    for page in [*sorted(DOCS.glob("*.md")), *sorted(REPOSITORY.glob("*.md"))]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            to = page.parent / target if target else page
            assert to.exists(), f"{page.name} links to {target}"
            assert not anchor or to.suffix != ".md" or anchor in anchors(to), f"{page.name} links to {target}#{anchor}"


def test_the_index_has_every_page():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or page.name in index, page.name


def test_archiving_for_a_primary(servers, receivers, place):
    primary = servers.primary()
    chapter = Chapter("archive.md", place, receivers, {"db1": primary},
                      {"/srv/wal": place / "wal", "/srv/backup/base": place / "base"})

    def before(text):
        if "pg_basebackup" in text:
            reported(primary, primary.write_wal(2))

    def after(text):
        if "pg_basebackup" in text:
            # The backup ends in a segment; it is whole when the next one has begun.
            reported(primary, primary.switch_wal())

    assert chapter.run(before, after) >= 10
    archive = Archive(place / "wal", primary.segment_size)
    sound = [said for said in chapter.said if "sound" in said or "can be brought" in said]
    assert sound, chapter.said
    assert primary.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'archive'") == "t"
    end = primary.flushed()
    reported(primary, end)
    chapter.stop_all()
    archive.assert_covers(primary, 1, end)
    archive.assert_same_wal(primary)


def test_retention(servers, receivers, new_archive, place):
    primary = servers.primary()
    primary.sql(ARCHIVER)
    archive = new_archive(primary, "wal")
    receivers.pgweir(archive, primary)
    streaming(primary)
    chapter = Chapter("retention.md", place, receivers, {"db1": primary},
                      {"/srv/wal": place / "wal", "/srv/backup": place / "backup"})

    def before(text):
        if text.startswith("pgweir prune"):
            reported(primary, primary.write_wal(1))

    assert chapter.run(before) == 3
    listed, removed = chapter.said[-2:]
    assert listed.count("0000000100000000") >= 1 and "removed" in removed, chapter.said


def test_a_tree_is_built_and_taken_apart(servers, receivers, place):
    """Under load, to the very last standby."""
    primary = servers.primary(max_slot_wal_keep_size="1GB")
    candidate = servers.standby(primary, "db2")
    relays = {"relay1": ("192.0.2.21", free_port()), "relay2": ("192.0.2.22", free_port())}
    below = {}
    chapter = Chapter("cascade.md", place, receivers, {"db1": primary, "db2": candidate},
                      {"/srv/relay1": place / "relay1", "/srv/relay2": place / "relay2", "/etc/pgweir": place / "etc"},
                      relays)
    primary.pgbench_init()
    load = primary.pgbench(clients=1, rate=50, seconds=600)

    def streams_from(name, relay, timeline=1):
        seen = f"{relays[relay][1]}|streaming|{timeline}"
        wait_for(lambda: below[name].sql("SELECT sender_port, status, received_tli FROM pg_stat_wal_receiver") == seen,
                 f"{name} to stream from {relay} on timeline {timeline}")

    def before(text):
        if "ALTER SYSTEM" in text and not below:
            for name in ("standby1", "standby2"):
                # As a new one is made; it comes to its relay in its paragraph.
                below[name] = chapter.servers[name] = servers.standby(primary, name)
        if text.startswith("pgweir slot create") and "db2" in text:
            candidate.replayed(primary.flushed())  # the role, too
        if text.startswith("pgweir status") and "standby1" in below:
            streams_from("standby1", "relay1", 2 if candidate.sql("SELECT pg_is_in_recovery()") == "f" else 1)
        if "connect_timeout" in text or "host=relay2,relay1" in text:
            chapter.running[-1].wait_log("listening on")  # else its standby finds nobody there, and stays where it is
        if "relay1,relay2" in text and "connect_timeout" not in text:
            streams_from("standby2", "relay2")
            chapter.running.pop(0).kill9()
        if "pg_promote" in text:
            for name, relay in (("standby1", "relay1"), ("standby2", "relay2")):
                streams_from(name, relay)
            load.kill()
            load.wait()
            end = primary.write_wal(1)
            for each in (candidate, *below.values()):
                each.caught_up_with(end)
            primary.kill9()

    def after(text):
        if "pg_promote" in text:
            end = candidate.write_wal(2)
            candidate.switch_wal()
            for name in below:
                below[name].caught_up_with(end)
            for name, relay in (("standby1", "relay1"), ("standby2", "relay2")):
                streams_from(name, relay, 2)
        if "relay1,relay2" in text:
            streams_from("standby1", "relay1" if "connect_timeout" in text else "relay2")

    try:
        assert chapter.run(before, after) >= 20
    finally:
        load.kill()
        load.wait()
    # standby1 is below the server now, and everything below the relays still gets everything.
    candidate.write_wal(0.5)
    assert_same_data(candidate, *below.values())
    wait_for(lambda: below["standby1"].sql("SELECT sender_port FROM pg_stat_wal_receiver") == str(candidate.port),
             "standby1 to be below the server")
    chapter.stop_all()
    for relay in relays:
        Archive(place / relay, primary.segment_size).assert_same_wal(primary, candidate)


@pytest.mark.parametrize("winner", [0, 1])
def test_the_drill_of_a_failover(servers, receivers, place, winner):
    """Each commit that was answered is in the archive, whichever standby is promoted."""
    primary = servers.primary(wal_keep_size="256MB")
    standbys = [servers.standby(primary), servers.standby(primary)]
    if winner == 1:
        standbys.reverse()
    (place / "wal").mkdir()
    chapter = Chapter("ha.md", place, receivers,
                      {"db1": primary, "db2": standbys[0], "db3": standbys[1]},
                      {"/srv/wal": place / "wal"})
    archive = Archive(place / "wal", primary.segment_size)
    answered = []

    def before(text):
        if "pg_promote" not in text:
            return
        streaming(primary)
        loads = [threading.Thread(target=commit_until_it_is_gone, args=(primary, i, answered))
                 for i in range(4)]
        for load in loads:
            load.start()
        wait_for(lambda: len(answered) >= 200, "commits to be answered")
        primary.kill9()
        for load in loads:
            load.join()

    def after(text):
        if "pg_promote" in text:
            standbys[1].follow(standbys[0])
            standbys[1].reload()
            wait_for(lambda: standbys[0].sql("SELECT pg_is_in_recovery()") == "f", "a primary")
            standbys[0].sql("SET synchronous_commit = local; CREATE TABLE after_it ()")
            archive.wait_covers(standbys[0], 2, standbys[0].flushed())

    chapter.run(before, after)
    end = standbys[0].flushed()
    archive.wait_covers(standbys[0], 2, end)
    chapter.stop_all()
    archive.assert_covers(standbys[0], 2, end)
    archive.assert_same_wal(primary, standbys[0])
    kept = wal_of(archive)
    missing = [number for number in answered if marker(number).encode() not in kept]
    assert not missing, f"{len(missing)} of {len(answered)} answered commits are not in the archive"


def marker(number):
    """(No other one begins with it.)"""
    return f"drill<{number}>"


def commit_until_it_is_gone(server, load, answered):
    """Commits one number after the other, of which each one that was answered is noted. psql says
    the number when the commit has returned."""
    script = "".join(
        f"BEGIN; INSERT INTO drill VALUES ({number});"
        f" SELECT pg_logical_emit_message(true, 'drill', '{marker(number)}'); COMMIT;\n"
        f"\\echo answered {number}\n"
        for number in range(load, 400_000, 4))
    psql = subprocess.Popen(
        [DEBIAN_BIN / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
         f"host={server.socket_dir} port={server.port} user=postgres dbname=postgres"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def feed():
        try:
            psql.stdin.write(script)
            psql.stdin.close()
        except BrokenPipeError:
            pass  # the server is gone, and psql with it

    feeder = threading.Thread(target=feed)
    feeder.start()
    for line in psql.stdout:
        if line.startswith("answered "):
            answered.append(int(line.split()[1]))
    psql.wait()
    feeder.join()


def wal_of(archive):
    """The bytes of all that is archived, without the page headers that may lie in a record."""
    kept = b""
    for _, path in sorted({**archive.partials(), **archive.finished()}.items()):
        content = archive.content(path)
        pages = [content[at:at + 8192] for at in range(0, len(content), 8192)]
        # The long header is that of a segment's first page.
        kept += b"".join(page[40 if number == 0 else 24:] for number, page in enumerate(pages))
    return kept


def test_commits_that_two_of_three_archives_have(servers, receivers, place):
    primary = servers.primary()
    primary.sql(ARCHIVER)
    for name in "abc":
        (place / name).mkdir()
    chapter = Chapter("synchronous.md", place, receivers, {"db1": primary},
                      {f"/srv/{name}/wal": place / name for name in "abc"})

    def before(text):
        if "ANY 2" in text:
            for name in "abc":
                streaming(primary, name)
        if "sync_state" in text:
            wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_replication"
                                         " WHERE sync_state = 'quorum'") == "3", "a quorum of three")
        if "ANY 1" in text:
            # One is lost: commits go on. A second one, and they wait.
            chapter.running[0].kill9()
            primary.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
            chapter.running[1].kill9()
            chapter.waiting = primary.spawn_sql("INSERT INTO t VALUES (2)")
            wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity"
                                         " WHERE wait_event = 'SyncRep'") == "1", "a commit to wait")

    def after(text):
        if "ANY 1" in text:
            assert chapter.waiting.wait(PATIENCE) == 0
            chapter.end = primary.flushed()
            reported(primary, chapter.end, "c")
            primary.kill9()
            chapter.running.pop().stop()
            chapter.running.clear()

    chapter.run(before, after)
    assert "a|quorum\nb|quorum\nc|quorum" in "".join(chapter.said)
    # The confirmed commits are in the archive that was left, and were in c alone when b had died.
    archive = Archive(place / "c", primary.segment_size)
    archive.assert_covers(primary, 1, chapter.end)


def test_moving_from_pg_receivewal_and_from_archive_command(servers, receivers, place):
    (place / "wal").mkdir(mode=0o700)
    (place / "wal2").mkdir(mode=0o700)
    (place / "old").mkdir()
    (place / "old").chmod(0o777)
    primary = servers.primary(archive_mode="on", archive_command=f"cp %p {place}/old/%f")
    primary.sql(ARCHIVER)
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    primary.write_wal(2)
    chapter = Chapter("migrate.md", place, receivers, {"db1": primary},
                      {"/srv/wal": place / "wal", "/srv/wal2": place / "wal2",
                       "/srv/old": place / "old"})
    old = Archive(place / "wal", primary.segment_size)
    new = Archive(place / "wal2", primary.segment_size)

    def before(text):
        if text == "pgweir verify -D /srv/wal\n":
            wait_for(lambda: len(old.finished()) >= 2, "finished segments")
        if "cp --no-clobber" in text:
            end = primary.switch_wal()
            wait_for(lambda: primary.sql("SELECT last_archived_wal FROM pg_stat_archiver"),
                     "something to be archived")
            new.wait_covers(primary, 1, end)

    def after(text):
        if "pg_receivewal -D" in text:
            primary.write_wal(2)

    chapter.run(before, after)
    for receiver in chapter.running:
        assert receiver.running(), receiver.said()
    end = primary.flushed()
    old.wait_covers(primary, 1, end)
    chapter.stop_all()
    old.assert_covers(primary, 1, end)
    old.assert_same_wal(primary)
    assert primary.sql("SHOW archive_command") == "/bin/true"


def test_a_major_upgrade(servers, receivers, place):
    """With initdb of 17 in the place of pg_upgrade, which the tests do not have. It makes a cluster with another
    system identifier, too, and that is what an archive sees of it."""
    if bin_directory(17) is None:
        pytest.skip("no server programs of PostgreSQL 17")
    old, new = servers.primary(), servers.primary(major=17)
    for server in (old, new):
        server.sql(ARCHIVER)
    (place / "wal").mkdir()
    (place / "wal17").mkdir()
    receive = ["receive", "-D", str(place / "wal"), "--slot", "archive", "-d"]
    receiver = receivers.start([BINARY, *receive, old.conninfo(user="archiver"), "--create-slot"])
    streaming(old)
    old.sql("CREATE TABLE t AS SELECT 1 AS i")
    old.write_wal(1)
    chapter = Chapter("upgrade-server.md", place, receivers, {"db1": new},
                      {"/srv/wal": place / "wal", "/srv/pg15": old.data, "/srv/wal17": place / "wal17",
                       "/srv/backup17": place / "backup17"})

    def before(text):
        if "pg_controldata" in text:
            old.stop("fast")
            receiver.stop()
        if text.startswith("pgweir receive"):
            # The old receiver is not deceived, whatever stands at the old address now.
            new.sql("SELECT pg_create_physical_replication_slot('archive')")
            strange = receivers.start([BINARY, *receive, new.conninfo(user="archiver")])
            assert strange.wait_exit() == 4 and "WAL of another cluster" in strange.said(), strange.said()
            new.sql("SELECT pg_drop_replication_slot('archive')")
        if "--backup" in text:
            streaming(new)
            script = place / "backup.sql"
            script.write_text(f"SELECT pg_backup_start('own', true);\n\\! cp -a {new.data} {place}/backup17\n"
                              f"\\o {place}/label\nSELECT labelfile FROM pg_backup_stop();\n")
            run([DEBIAN_BIN / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", script, new.conninfo(dbname="postgres")])
            (place / "backup17" / "backup_label").write_bytes((place / "label").read_bytes())
            new.sql("CREATE TABLE u AS SELECT 1 AS i")
            reported(new, new.write_wal(1))

    assert chapter.run(before) == 3
    assert "sound" in chapter.said[0] and "can be brought" in chapter.said[-1], chapter.said
    # The way back: the old cluster and its archive go on as if nothing had been.
    chapter.stop_all()
    new.stop("fast")
    old.start()
    receivers.start([BINARY, *receive, old.conninfo(user="archiver")])
    streaming(old)
    reported(old, old.write_wal(1))
    Archive(place / "wal", old.segment_size).assert_covers(old, 1, old.flushed())


def test_the_readme_from_top_to_bottom(servers, receivers, place):
    """Its commands are indented lines: those of pgweir and its stand-in are run in their order."""
    primary = servers.primary(wal_level="logical")
    primary.sql(ARCHIVER)
    primary.sql("CREATE ROLE capture LOGIN REPLICATION")
    primary.sql("CREATE DATABASE shop")
    backups = place / "backup"
    backups.mkdir(mode=0o755)
    (place / "other").mkdir()
    chapter = Chapter("../README.md", place, receivers, {"db1": primary},
                      {"/srv/wal": place / "wal", "/srv/cdc": place / "cdc",
                       "/etc/pgweir/main.ini": REPOSITORY / "packaging" / "example.ini",
                       "/srv/backup": backups, "/srv/other": place / "other",
                       "/srv/drill": place / "drill"})
    (place / "cdc").mkdir()
    primary.sql("CREATE PUBLICATION all_tables FOR ALL TABLES", database="shop")
    (place / "bin" / "pg_receivewal").symlink_to(BINARY)
    bill = place / "bin" / "bill"
    bill.write_text(f"#!/bin/sh\necho \"$1\" >> {place}/bills\n")
    bill.chmod(0o755)
    text = (REPOSITORY / "README.md").read_text().replace("\\\n", " ")
    text = re.sub(r"^```$.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)  # the picture
    commands = [line.strip() for line in re.findall(r"^ {4}(.*)$", text, re.MULTILINE)]
    commands = [line for line in commands if re.match(r"(mkdir /srv|pgweir|\S*/pg_receivewal) ?", line)]
    assert len(commands) >= 9
    ran = []
    for command in commands:
        if command.startswith("pgweir receive"):
            chapter.sh(["background"], command)
            for day in ("monday", "sunday"):
                base_backup(primary, backups / day)
                primary.switch_wal()
            primary.sql("CREATE TABLE behind_the_backups ()")
            reported(primary, primary.write_wal(1))
        elif command.startswith("pgweir logical"):
            capture = receivers.start(["bash", "-c", "exec " + chapter.ours(command)],
                                      chapter.environment())
            wait_for(lambda: primary.sql("SELECT count(*) FROM pg_replication_slots WHERE active"
                                         " AND slot_type = 'logical'") == "1", "a logical stream")
            capture.stop()
        elif command.startswith("pgweir listen"):
            listener = receivers.start(
                ["bash", "-c", "exec " + chapter.ours(command).replace("dbname", "user=postgres dbname")],
                chapter.environment())
            wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'"
                                         " AND query LIKE 'LISTEN%' AND state = 'idle'") == "1", "somebody to listen")
        elif command.startswith("pgweir notify"):
            chapter.sh([], command.replace("dbname", "user=postgres dbname"))
            wait_for(lambda: (place / "bills").exists() and (place / "bills").read_text() == "4711\n",
                     "the bill")
            listener.stop()
        elif command.startswith("pgweir drill"):
            # Not as root, as whoever may read the archive and owns the backup.
            wait_for(lambda: not any(re.fullmatch(r"[0-9A-F]{24}|.*\.tmp", path.name)
                                     for path in (place / "wal").iterdir()), "all to be compressed")
            hand_over(place / "wal")
            (place / "drill").mkdir()
            hand_over(place / "drill")
            words = chapter.ours(command).replace("/sunday", "/sunday/data").split()
            done = run([installed(place), *words[1:]], **as_server_user(), cwd="/")
            assert "recovered, and every check passed" in done.stdout
        elif "pg_receivewal" in command:
            chapter.stop_all()  # an archive has one receiver
            command = re.sub(r"^\S*/", "", command) + f" -d '{primary.conninfo()}'"
            chapter.sh([], command + f" --endpos={wal.lsn_text(primary.flushed())}")
        else:
            chapter.sh([], command.replace("2026-11-20 03:14", primary.sql("SELECT now()"))
                       .replace("7d", "1ms"))  # these backups are young
        ran.append(command.split()[1])
    assert {"doctor", "receive", "status", "verify", "backup", "restore", "-D", "listen",
            "notify", "logical"} <= set(ran), ran


def test_no_page_has_a_block_that_nobody_runs():
    """A page with commands is named by the test that follows it."""
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    followed = [page.name for page in DOCS.glob("*.md")
                if any(language in ("sh", "sql", "hba") for language, _, _ in blocks(page))]
    assert len(followed) >= 5
    for name in followed:
        assert f'"{name}"' in tests, f"{name} has commands and no test that runs them"
