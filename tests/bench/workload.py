"""Servers with WAL of known kinds, and commits."""

import os
import re
import shutil
import subprocess

import measure
from support import wal
from support.certificates import Authority
from support.process import run, server_user
from support.server import DEBIAN_BIN, Server

KINDS = ("compressible", "incompressible")


def loaded_server(bench, megabytes, kinds=KINDS, segment_mb=16, **settings):
    """A server that keeps about so much WAL of each kind. server.ranges: kind → (slot that holds its
    beginning, end position, bytes), both on segment borders."""
    server = Server(bench.place, f"primary{segment_mb}", segment_mb=segment_mb)
    bench.servers.append(server)
    server.initdb(max_wal_size="20GB", checkpoint_timeout="1h", shared_buffers="256MB",
                  full_page_writes="on", **settings)
    server.start()
    server.ranges = {}
    for kind in kinds:
        server.switch_wal()
        server.sql("SELECT pg_switch_wal()")
        slot = f"begin_{kind}"
        server.sql(f"SELECT pg_create_physical_replication_slot('{slot}', true)")
        start = _round_up(server.flushed(), server.segment_size) - server.segment_size
        fill(server, kind, megabytes)
        server.sql("SELECT pg_switch_wal()")
        end = _round_up(server.flushed(), server.segment_size)
        # Something behind it: pg_receivewal stops only when there is more.
        server.sql("CREATE TABLE IF NOT EXISTS behind (); SELECT txid_current(); CHECKPOINT")
        server.ranges[kind] = (slot, end, end - start)
    return server


def fill(server, kind, megabytes):
    if kind == "incompressible":
        server.sql("CREATE TABLE noise (data bytea);"
                   " ALTER TABLE noise ALTER data SET STORAGE EXTERNAL;"
                   " INSERT INTO noise SELECT (SELECT string_agg(uuid_send(gen_random_uuid()), '')"
                   "  FROM generate_series(1, 4000 + 0 * i)) FROM generate_series(1,"
                   f" {max(1, megabytes * 1_000_000 // 66_000)}) i", timeout=600)
        return
    # What pgbench leaves: rows of an insert, an index, then updates with full page images.
    rows = max(1, megabytes * 1_000_000 // 330)
    server.sql("CREATE TABLE accounts (aid int, bid int, abalance int, filler char(84));"
               f" INSERT INTO accounts SELECT i, i / 100000, 0, '' FROM generate_series(1, {rows}) i;"
               " CREATE UNIQUE INDEX ON accounts (aid); CHECKPOINT;", timeout=600)
    server.sql("UPDATE accounts SET abalance = (random() * 100000)::int WHERE aid % 3 = 0",
               timeout=600)


def encrypted(bench, server, scram=False):
    """The words of a connection string by which the server is found with TLS, and proves who it is; with `scram`
    the client proves who it is, too."""
    def secure():
        authority = Authority(bench.place, f"authority{server.port}")
        key, certificate = authority.sign(f"server{server.port}", "localhost")
        for path, name in ((key, "server.key"), (certificate, "server.crt")):
            shutil.copy(path, server.data / name)
            if os.getuid() == 0:
                os.chown(server.data / name, server_user().pw_uid, server_user().pw_gid)
        (server.data / "server.key").chmod(0o600)
        server.conf(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key")
        server.hba("hostssl all,replication guarded all scram-sha-256")
        server.sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE guarded LOGIN REPLICATION PASSWORD 'secret'")
        server.reload()
        return authority.certificate

    root = bench.once(("authority", server.port), secure)
    words = {"host": "localhost", "hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": root,
             "ssl_min_protocol_version": "TLSv1.3"}
    return {**words, "user": "guarded", "password": "secret"} if scram else words


def copy_slot(server, source, name):
    server.sql(f"SELECT pg_copy_physical_replication_slot('{source}', '{name}')")


def commit_server(bench, payload):
    """A durable server, whose commits write about `payload` bytes of WAL each."""
    server = Server(bench.place, f"commits{len(bench.servers)}", segment_mb=16)
    bench.servers.append(server)
    server.initdb(fsync="on", wal_keep_size="1GB", checkpoint_timeout="1h", max_wal_size="20GB",
                  shared_buffers="256MB", wal_recycle="on", synchronous_commit="on")
    server.start()
    server.sql("CREATE TABLE commits (at timestamptz DEFAULT now(), n bigint, data text);"
               " ALTER TABLE commits ALTER data SET STORAGE PLAIN")
    server.script = server.home / "commit.sql"
    words = max(1, payload // 32)
    value = f"repeat(md5((:client_id * 1000003 + random())::text), {words})" if payload else "''"
    server.script.write_text(f"INSERT INTO commits (n, data) VALUES (:client_id, {value});\n")
    return server


def commits(server, clients, seconds, rate=None):
    """Runs pgbench: commits a second, latencies in ms."""
    prefix = server.home / "latency"
    for old in server.home.glob("latency*"):
        old.unlink()
    limit = ["-R", str(rate)] if rate else []
    result = run([DEBIAN_BIN / "pgbench", "-n", "-M", "prepared", "-f", server.script, "-c", clients,
                  "-j", 1, "-T", seconds, "-l", f"--log-prefix={prefix}", *limit, "-h",
                  server.socket_dir, "-p", server.port, "-U", "postgres", "postgres"],
                 timeout=seconds + 120)
    latencies = []
    for path in server.home.glob("latency*"):
        latencies += [int(line.split()[2]) / 1000 for line in path.read_text().splitlines()]
        path.unlink()
    latencies.sort()
    found = re.search(r"tps = ([0-9.]+)", result.stdout)
    return {
        "tps": float(found.group(1)),
        "commits": len(latencies),
        "p50_ms": measure.percentile(latencies, 0.5),
        "p99_ms": measure.percentile(latencies, 0.99),
        "p999_ms": measure.percentile(latencies, 0.999),
        "worst_ms": latencies[-1],
    }


def lsn_text(position):
    return wal.lsn_text(position)


def _round_up(position, step):
    return -(-position // step) * step


def psql_popen(server, text):
    return subprocess.Popen([DEBIAN_BIN / "psql", "-XAtqc", text,
                             f"host={server.socket_dir} port={server.port} user=postgres"
                             " dbname=postgres"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL)
