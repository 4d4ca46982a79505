"""`pgweir logical` under load of every kind, while both sides are killed: tables made again from its
files are those of the source, row by row."""

import json
import os
import random
import subprocess
import threading
import time

import pytest

from support import changes, mirror
from support.process import wait_for
from support.receiver import BINARY, pgweir
from support.server import DEBIAN_BIN

ROUNDS = int(os.environ.get("PGWEIR_CAMPAIGN_ROUNDS", 2))
WAL2JSON = DEBIAN_BIN.parent / "lib" / "wal2json.so"

TABLES = ["t1", "t2", "t3", "t4", "t5", "t6", "journal"]
SCHEMA = """
CREATE TABLE t1 (id bigserial PRIMARY KEY, v text, n int);
CREATE TABLE t2 (a int, b text, c text); ALTER TABLE t2 REPLICA IDENTITY FULL;
CREATE TABLE t3 (k text PRIMARY KEY, n int, big text); ALTER TABLE t3 ALTER big SET STORAGE EXTERNAL;
CREATE TABLE t4 (id bigserial PRIMARY KEY, v text);
CREATE TABLE t5 (id bigserial PRIMARY KEY, v text);
CREATE TABLE t6 (id bigserial PRIMARY KEY, t5 bigint, v text);
CREATE TABLE journal (id bigserial PRIMARY KEY, who text);
"""
NASTY = [r"E'COMMIT\nBEGIN\n'", r"E'{\"action\":\"C\"}\n'", r"E'\\ \" '' \t \r\n é \u20ac'", "''",
         "NULL", r"E'table public.t1: INSERT: id[bigint]:1'", r"E'\x01\x7f'"]


class Load:
    """Writers that go on through the server's restarts."""

    def __init__(self, server, seed, two_phase, writers=3):
        self.server, self.two_phase = server, two_phase
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(random.Random(f"{seed} {i}"), i),
                                          daemon=True) for i in range(writers)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._end.set()
        for thread in self._threads:
            thread.join()
        server = self.server
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                                    " 'load' AND pid <> pg_backend_pid()") == "0", "writers to go")
        for number, gid in enumerate(server.sql("SELECT gid FROM pg_prepared_xacts").splitlines()):
            server.sql(f"{'COMMIT' if number % 2 else 'ROLLBACK'} PREPARED '{gid}'")

    def _write(self, rng, number):
        count = 0
        while not self._end.is_set():
            psql = subprocess.Popen(
                [DEBIAN_BIN / "psql", "-XAtq", self.server.conninfo(
                    dbname="postgres", application_name="load", connect_timeout=2)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                psql.stdin.write("SET lock_timeout = '300ms';\n")
                while not self._end.is_set():
                    count += 1
                    psql.stdin.write(self._transaction(rng, f"{number}-{count}") + "\\echo .\n")
                    psql.stdin.flush()
                    if psql.stdout.readline() == "":
                        break  # the server is gone
            except (BrokenPipeError, OSError):
                pass
            finally:
                try:
                    psql.stdin.close()
                except OSError:
                    pass
                psql.wait()
                psql.stdout.close()
            time.sleep(0.05)

    def _transaction(self, rng, name):
        nasty = lambda: rng.choice(NASTY)  # noqa: E731
        journal = f"INSERT INTO journal (who) VALUES ('{name}');"
        kind = rng.choices(["small", "large", "prepared", "truncate", "ddl", "full", "toast",
                            "message", "drop"], [8, 3, 4, 1, 1, 4, 4, 2, 1])[0]
        if kind == "prepared" and not self.two_phase:
            kind = "small"
        # What a savepoint's end does to a large transaction is the most of it.
        end = rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])
        if kind == "small":
            body = (f"INSERT INTO t1 (v, n) VALUES ({nasty()}, {rng.randrange(9)});"
                    f"UPDATE t1 SET v = {nasty()} WHERE id = (SELECT max(id) - {rng.randrange(4)}"
                    " FROM t1); DELETE FROM t1 WHERE id = (SELECT min(id) FROM t1);")
        elif kind == "large":
            body = (f"INSERT INTO t1 (v, n) SELECT {nasty()}, g FROM generate_series(1, 1200) g;"
                    f"SAVEPOINT a; UPDATE t1 SET v = {nasty()} WHERE id > (SELECT max(id) - 500 FROM"
                    " t1); SAVEPOINT b; DELETE FROM t1 WHERE id > (SELECT max(id) - 300 FROM t1);"
                    f"{rng.choice(['ROLLBACK TO b;', 'RELEASE b;', ''])}"
                    f"INSERT INTO t5 (v) SELECT {nasty()} FROM generate_series(1, 700);"
                    f"{rng.choice(['ROLLBACK TO a;', 'RELEASE a;', ''])}"
                    f"INSERT INTO t1 (v, n) SELECT {nasty()}, g FROM generate_series(1, 600) g;")
        elif kind == "prepared":
            rows = rng.choice([1, 1, 900])
            second = rng.choice(["COMMIT PREPARED", "ROLLBACK PREPARED"])
            return (f"BEGIN; {journal} INSERT INTO t4 (v) SELECT {nasty()} FROM"
                    f" generate_series(1, {rows}); PREPARE TRANSACTION 'g{name}';\n"
                    f"SELECT pg_sleep({rng.uniform(0, 0.05):.3f}) \\g /dev/null\n"
                    f"{second} 'g{name}';\n")
        elif kind == "truncate":
            body = (f"INSERT INTO t5 (v) VALUES ('gone'); TRUNCATE t5, t6"
                    f"{rng.choice(['', ' RESTART IDENTITY', ' CASCADE'])};"
                    f" INSERT INTO t6 (v) VALUES ({nasty()});")
        elif kind == "ddl":
            column = "c" + name.replace("-", "_")
            body = (f"ALTER TABLE t4 ADD COLUMN {column} text;"
                    f" INSERT INTO t4 (v, {column}) VALUES ({nasty()}, {nasty()});"
                    + rng.choice([f"ALTER TABLE t4 DROP COLUMN {column};", ""]))
        elif kind == "full":
            body = (f"INSERT INTO t2 SELECT g % 3, {nasty()}, {nasty()} FROM generate_series(1, 5) g;"
                    f"UPDATE t2 SET b = {nasty()} WHERE a = 1;"
                    f"DELETE FROM t2 WHERE a = {rng.randrange(3)};")
        elif kind == "toast":
            key = rng.randrange(6)
            body = (f"INSERT INTO t3 VALUES ('k{key}', 0, repeat('{name}', 1500)) ON CONFLICT (k) DO"
                    f" UPDATE SET n = t3.n + 1; UPDATE t3 SET k = 'k{key + 6}' WHERE k = 'k{key}' AND"
                    f" NOT EXISTS (SELECT FROM t3 WHERE k = 'k{key + 6}');"
                    + ("DELETE FROM t3 WHERE n > 3;" if key == 0 else ""))
        elif kind == "message":
            body = f"SELECT pg_logical_emit_message({rng.choice(['true', 'false'])}, 'p', '{name}') \\g /dev/null\n"
        else:
            table = "dyn" + name.replace("-", "_")
            body = (f"CREATE TABLE {table} (id int PRIMARY KEY, v text); INSERT INTO {table} VALUES (1,"
                    f" {nasty()}); DROP TABLE {table};")
        return f"BEGIN; {journal} {body} {end};\n"


FORMS = {
    "pgoutput": ("pgoutput", ["publication_names=p", "messages=true"], mirror.of_pgoutput),
    "pgoutput-streaming-two-phase": (
        "pgoutput", ["publication_names=p", "streaming=on", "two_phase=on"], mirror.of_pgoutput),
    "wal2json": ("wal2json", ["include-lsn=1"], mirror.of_wal2json_documents),
    "wal2json2": ("wal2json", ["format-version=2", "include-lsn=1"], mirror.of_wal2json),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rotated", [False, True], ids=["one-file", "rotated"])
def test_tables_made_again_are_the_sources(servers, receivers, place, seeded, form, rotated):
    plugin, options, mirror_of = FORMS[form]
    if plugin == "wal2json" and not WAL2JSON.exists():
        pytest.skip("wal2json is not installed (scripts/setup)")
    two_phase = "two-phase" in form
    server = servers.primary(wal_level="logical", logical_decoding_work_mem="64kB",
                             max_prepared_transactions=20, autovacuum="on")
    server.sql(SCHEMA)
    server.sql("CREATE PUBLICATION p FOR ALL TABLES")
    out = place / "changes"
    conninfo = server.conninfo(dbname="postgres")
    created = pgweir("logical", "create", "-S", "s", "-P", plugin, "-d", conninfo,
                     *(["-t"] if two_phase else []))
    assert created.returncode == 0, created.stderr
    command = [BINARY, "logical", "-S", "s", "-d", conninfo, "-f", out, "-F", "50ms", "-v"]
    for option in options:
        command += ["-o", option]
    if rotated:
        command += ["--rotate-size", "300kB"]

    def rotated_files():
        return sorted(path for path in place.glob("changes.*") if path.suffix != ".state")

    receiver = receivers.start(command)
    load = Load(server, seeded.random(), two_phase)
    try:
        for _ in range(ROUNDS):
            time.sleep(seeded.uniform(0.1, 1.2))
            if seeded.random() < 0.3:
                server.stop("immediate")
                server.start()
            else:
                receiver.kill9()
                receiver = receivers.start(command)
        # A file ends where no transaction is open, and one that was prepared before a crash stays open until it is ended.
        for name in server.sql("SELECT gid FROM pg_prepared_xacts WHERE prepared < pg_postmaster_start_time()").split():
            server.sql(f"ROLLBACK PREPARED '{name}'")
        wait_for(lambda: int(server.sql("SELECT count(*) FROM journal")) > 40 and (not rotated or rotated_files()),
                 "enough to happen, however slow the machine is")
    finally:
        load.stop()
    server.sql("INSERT INTO journal (who) VALUES ('the very last')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: receiver.running() and server.sql(
        f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t",
        "the last transaction to be confirmed")
    receiver.stop()
    state = json.loads((place / "changes.state").read_text())
    assert state["offset"] == out.stat().st_size
    assert bool(rotated_files()) == rotated
    made = mirror_of(changes.lines_of(*rotated_files(), out))
    assert len(made.transactions) > 20
    untold = {"t5", "t6"} if form == "wal2json" else set()  # it leaves out TRUNCATE
    made.assert_like(server, set(TABLES) - untold)
    if form == "pgoutput":
        assert len(made.messages) == len(set(made.messages))


def test_pg_recvlogical_loses_nothing(servers, receivers, place, seeded):
    """Called by that name it repeats, as the original does, and tears; it loses nothing."""
    server = servers.primary(wal_level="logical")
    server.sql(SCHEMA)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    out = place / "changes"
    link = place / "pg_recvlogical"
    link.symlink_to(BINARY)
    command = [link, "--start", "-S", "s", "-d", server.conninfo(dbname="postgres"), "-f", out, "-F",
               "1", "-s", "1"]
    receiver = receivers.start(command)
    load = Load(server, seeded.random(), False)
    try:
        for _ in range(ROUNDS):
            time.sleep(seeded.uniform(0.5, 1.5))
            receiver.kill9()
            receiver = receivers.start(command)
    finally:
        load.stop()
    server.sql("INSERT INTO journal (who) VALUES ('the very last')")
    end = server.sql("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: receiver.running() and server.sql(
        f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots") == "t",
        "the last transaction to be confirmed")
    receiver.stop()
    text = out.read_text(errors="replace")
    for number in server.sql("SELECT id FROM journal").splitlines():
        assert f"table public.journal: INSERT: id[bigint]:{number} " in text, number
