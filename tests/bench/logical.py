"""Logical decoding: `pgweir logical` beside pg_recvlogical.

    scripts/bench logical [--rounds N] [--megabytes N] [--json FILE] [--markdown FILE] [ROW...]

Rows are PLUGIN-TRANSPORT: test_decoding, wal2json (a document for each transaction) or wal2json2 (a
message for each change); tcp or unix. In each round every contender streams the same changes into a
file, one after the other, from copies of one slot; what they wrote is compared byte by byte. CPU is
that of the whole process, from its start to its end.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import measure
import report
from contenders import PGWEIR
from rows import GIB, Bench, in_turn
from support.process import die_with_parent, wait_for
from support.server import DEBIAN_BIN, Server

PLUGINS = {
    "test_decoding": ("test_decoding", []),
    "wal2json": ("wal2json", ["include-lsn=1"]),
    "wal2json2": ("wal2json", ["format-version=2"]),
}
TRANSPORTS = ("tcp", "unix")
ROWS = [f"{plugin}-{transport}" for plugin in PLUGINS for transport in TRANSPORTS]
CONTENDERS = {
    # Each gives what the plugin wrote and a newline; pgweir with its state, exactly once.
    "pg_recvlogical": [DEBIAN_BIN / "pg_recvlogical", "--start"],
    "pgweir logical": [PGWEIR, "logical", "-q", "--format", "plugin"],
}


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200, help="of test_decoding's output")
    parser.add_argument("--json", help="results are added to this file")
    parser.add_argument("--markdown", help="tables are added to this file")
    arguments = parser.parse_args(words)
    for row in arguments.rows:
        if row not in ROWS:
            parser.error(f"no row {row}")
    if not PGWEIR.exists():
        parser.error(f"no {PGWEIR}: cmake --preset release && cmake --build --preset release")
    bench = Bench(arguments.rounds, 0, arguments.megabytes,
                  lambda text: print(text, file=sys.stderr, flush=True))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        prepare(bench)
        for row in arguments.rows or ROWS:
            title = f"Logical decoding, {row.replace('-', ', ')}"
            bench.say(f"{row}: {title}")
            rounds = list(streamed(bench, *row.split("-")))
            table = report.markdown(f"logical {row}", title, rounds)
            print(table, flush=True)
            if arguments.json:
                report.save(arguments.json, f"logical {row}", title, rounds)
            if arguments.markdown:
                with open(arguments.markdown, "a") as file:
                    file.write(table + "\n")
    finally:
        for server in bench.servers:
            if server.running():
                server.stop("immediate")
        shutil.rmtree(bench.place)
    return 0


def prepare(bench):
    """The links under which pgweir and another build stand in."""
    for name, binary in (("pgweir", PGWEIR), ("other pgweir", bench.beside)):
        if binary:
            link = bench.place / name / "pg_recvlogical"
            link.parent.mkdir()
            link.symlink_to(binary.resolve())
            CONTENDERS[f"{name} as pg_recvlogical"] = [link, "--start"]


def streamed(bench, form, transport):
    """Round after round: {contender: figures}."""
    server = bench.once("source", lambda: source(bench))
    plugin, options = PLUGINS[form]
    host = {} if transport == "tcp" else {"host": server.socket_dir}
    conninfo = server.conninfo(dbname="postgres", **host)
    for number in range(bench.rounds):
        costs, contents = {}, {}
        for name in in_turn(list(CONTENDERS), number):
            server.sql(f"SELECT pg_copy_logical_replication_slot('begin_{plugin}', 'bench')")
            os.sync()
            costs[name], contents[name] = once(bench, server, name, conninfo, options)
            bench.say(f"  {number} {name}: {costs[name]['mb_s']:.1f} MB/s, "
                      f"{costs[name]['cpu_s_gib']:.2f} CPU s/GiB")
        if len(set(contents.values())) != 1:
            raise AssertionError(f"the contents differ: {contents}")
        yield {name: costs[name] for name in CONTENDERS}


def once(bench, server, name, conninfo, options):
    directory = bench.place / "output"
    directory.mkdir()
    out = directory / "changes"
    command = [*CONTENDERS[name], "-d", conninfo, "-S", "bench", "-f", out, "-n", "-E", server.end]
    for option in options:
        command += ["-o", option]
    server_before = measure.server_cpu_seconds(server)
    with open(directory / "log", "wb") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
            preexec_fn=die_with_parent(signal.SIGKILL))
    peak = measure.Peak(process.pid)
    cost = measure.finish(process)
    peak_mb = peak.stop_mb()
    said = (directory / "log").read_text()
    if cost["status"] != 0:
        raise AssertionError(f"{name}: {said}")
    wait_for(lambda: server.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'bench'")
             == "f", "the walsender to end")
    size = out.stat().st_size
    if size < bench.megabytes * 1_000_000 // 4:
        raise AssertionError(f"{name} wrote {size} bytes only: {said}")
    with open(out, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    server.sql("SELECT pg_drop_replication_slot('bench')")
    shutil.rmtree(directory)
    gib = size / GIB
    return {
        "mb_s": size / (cost["ended"] - started) / 1e6,
        "cpu_s_gib": cost["cpu_s"] / gib,
        "server_cpu_s_gib": (measure.server_cpu_seconds(server) - server_before) / gib,
        "peak_mb": peak_mb,
    }, content


def source(bench):
    """A server whose slots begin_PLUGIN stand before small transactions: what a pgbench run leaves.
    server.end: the end of the last one's commit record."""
    server = Server(bench.place, "source", segment_mb=16)
    bench.servers.append(server)
    server.initdb(wal_level="logical", max_wal_size="20GB", checkpoint_timeout="1h",
                  shared_buffers="256MB", synchronous_commit="off")
    server.start()
    server.sql("CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));"
               " CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));"
               " CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp,"
               " filler char(22));"
               " INSERT INTO accounts SELECT i, 1, 0, '' FROM generate_series(1, 100000) i;"
               " INSERT INTO tellers SELECT i, 1, 0, '' FROM generate_series(1, 10) i;"
               " CHECKPOINT")
    for plugin in ("test_decoding", "wal2json"):
        server.sql(f"SELECT pg_create_logical_replication_slot('begin_{plugin}', '{plugin}')")
    transactions = bench.megabytes * 1_000_000 // 700
    bench.say(f"  {transactions} transactions")
    server.sql(f"""CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
        DECLARE a int; t int;
        BEGIN
          FOR i IN 1..{transactions} LOOP
            a := 1 + (i::bigint * 7919) % 100000;
            t := 1 + i % 10;
            UPDATE accounts SET abalance = abalance + i % 1000 WHERE aid = a;
            UPDATE tellers SET tbalance = tbalance + i % 1000 WHERE tid = t;
            INSERT INTO history VALUES (t, 1, a, i, now(), '');
            COMMIT;
          END LOOP;
        END $$""")
    server.sql("CALL work()", timeout=600)
    server.end = server.sql("SELECT pg_current_wal_insert_lsn()")
    server.sql("SELECT pg_logical_emit_message(false, 'x', 'behind it'); CHECKPOINT")
    return server


if __name__ == "__main__":
    sys.exit(main())
