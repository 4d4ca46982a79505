"""The rows of the table, one function each: round after round, every contender in each round, in
an order that rotates."""

import datetime
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import measure
import workload
from contenders import (PGWEIR_RAW, PGWEIR_ZSTD, STOCK, STOCK_GZIP1, STOCK_LZ4, BareLoop, BareTls, BareZstd,
                        Contender, Run, with_other)
from support import wal

HERE = pathlib.Path(__file__).resolve().parent
GIB = 1 << 30


def in_turn(contenders, round_number):
    """Backward in each second round: none always comes after the same one, whose files the disk may still be busy with."""
    shift = round_number // 2 % len(contenders)
    order = contenders[shift:] + contenders[:shift]
    return order[::-1] if round_number % 2 else order


# --- Catching up


def catch_up(bench, contenders, kind, megabytes, unix_socket=False, tls=False, segment_mb=16):
    if segment_mb == 16:
        server = bench.once(("loaded", megabytes), lambda: workload.loaded_server(bench, megabytes))
    else:
        server = bench.once(("loaded", kind, segment_mb),
                            lambda: workload.loaded_server(bench, megabytes, [kind], segment_mb))
    slot, end, size = server.ranges[kind]
    host = {"host": server.socket_dir} if unix_socket else {"sslmode": "disable"}
    if tls:
        host = workload.encrypted(bench, server)
    conninfo = server.conninfo(application_name="bench_bench", **host)
    contenders = with_other(contenders, bench.beside)
    for number in range(bench.rounds):
        costs = {}
        for contender in in_turn(contenders, number):
            workload.copy_slot(server, slot, "bench")
            os.sync()
            measure.take_memory(2 * megabytes)
            before = measure.server_cpu_seconds(server)
            with Run(contender, bench, server, "bench", endpos=wal.lsn_text(end),
                     conninfo=conninfo) as run:
                peak = measure.Peak(run.pid)
                cost = run.to_the_end()
                archived = sum(path.stat().st_size for path in run.directory.iterdir()
                               if not path.name.endswith(".partial"))
                if number == 0 and contender.archives:
                    run.archive.assert_covers(server, 1, end, start=end - size)
                    run.archive.assert_same_wal(server, minimum=size // server.segment_size)
                    bench.say(f"  {contender.name}: {size >> 20} MiB, byte for byte the server's")
            gib = size / GIB
            costs[contender.name] = {
                "mb_s": size / cost["seconds"] / 1e6,
                "cpu_s_gib": cost["cpu_s"] / gib,
                "server_cpu_s_gib": (measure.server_cpu_seconds(server) - before) / gib,
                "size": archived / size,
                "disk": cost["disk_mb"] * 1e6 / size,
                "peak_mb": peak.stop_mb(),
            }
            bench.say(f"  {number} {contender.name}: {costs[contender.name]['mb_s']:.0f} MB/s, "
                      f"{costs[contender.name]['cpu_s_gib']:.2f} CPU s/GiB")
        yield {contender.name: costs[contender.name] for contender in contenders}


# --- Commits that wait for the receiver


def commits(bench, contenders, clients, payload=0, env=None, seconds=None, tls=False, words=None):
    server = bench.once(("commits", payload), lambda: workload.commit_server(bench, payload))
    seconds = seconds or bench.seconds
    words = workload.encrypted(bench, server) if tls else words or {}
    contenders = with_other(contenders, bench.beside)
    for number in range(bench.rounds):
        costs = {}
        for contender in in_turn(contenders, number):
            costs[contender.name] = commits_once(bench, contender, server, clients, seconds, env,
                                                 compare=number == 0 and contender.archives,
                                                 words=words)
            cost = costs[contender.name]
            bench.say(f"  {number} {contender.name}: {cost['tps']:.0f} commits/s, "
                      f"{cost['cpu_us_commit']:.0f} µs each, worst {cost['worst_ms']:.1f} ms")
        yield {contender.name: costs[contender.name] for contender in contenders}


def commits_once(bench, contender, server, clients, seconds, env, compare, words):
    server.sql("TRUNCATE commits; CHECKPOINT; SELECT pg_create_physical_replication_slot('bench', true)")
    os.sync()
    with Run(contender, bench, server, "bench", synchronous=True, env=env, words=words) as run:
        server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        server.reload()
        try:
            run.wait_streaming(synchronous=True)
            with contender.company(server):
                workload.commits(server, clients, 1)  # warm
                cpu, woken = measure.cpu_seconds(run.pid), measure.wakeups(run.pid)
                cost = workload.commits(server, clients, seconds)
                count = cost.pop("commits")
                cost["cpu_us_commit"] = (measure.cpu_seconds(run.pid) - cpu) * 1e6 / count
                cost["wakeups_commit"] = (measure.wakeups(run.pid) - woken) / count
                cost["peak_mb"] = measure.memory_kb(run.pid)["peak_kb"] / 1024
            end = server.flushed()
        finally:
            server.sql("ALTER SYSTEM RESET synchronous_standby_names",
                       options="-c synchronous_commit=local")
            server.reload()
        if compare:
            run.archive.wait_covers(server, 1, end)
            bench.say(f"  {contender.name}: up to {wal.lsn_text(end)}, byte for byte the server's")
    return cost


# --- Looking twice


def without_looks(bench):
    """The same program, which does not look whether its files are still found under their names."""
    library = bench.once("no looks", lambda: build_preload(bench, "no_looks"))
    contender = Contender("pgweir, without statx", False)
    contender.env = {"LD_PRELOAD": str(library)}
    return [PGWEIR_RAW, contender]


def reconnect(bench, contenders, starts=30):
    """An archive whose end is a finished segment: on each connection that end is compared with the server's, before
    the stream begins. Both are told by the server's log."""
    server = bench.once(("commits", 0), lambda: workload.commit_server(bench, 0))
    contenders = with_other(contenders, bench.beside)
    for number in range(bench.rounds):
        costs = {}
        for contender in in_turn(contenders, number):
            server.sql("SELECT pg_switch_wal(); SELECT pg_create_physical_replication_slot('bench', true)")
            workload.commits(server, 1, 1)
            server.switch_wal()
            end = wal.lsn_text(server.flushed())
            with Run(contender, bench, server, "bench", endpos=end) as run:
                run.to_the_end()
                log_start = server.log.stat().st_size
                took = []
                for _ in range(starts):
                    begun = time.monotonic()
                    subprocess.run(run.command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
                    took.append((time.monotonic() - begun) * 1000)
            costs[contender.name] = {"start_ms": measure.median(took),
                                     "compare_ms": compared_ms(server.log, log_start, starts)}
            bench.say(f"  {number} {contender.name}: {costs[contender.name]}")
        yield {contender.name: costs[contender.name] for contender in contenders}


def compared_ms(log, start, starts):
    """From the question for the tail to the stream, on average: the log's times are milliseconds."""
    with open(log) as file:
        file.seek(start)
        times = [(datetime.datetime.fromisoformat(line[:23]), "SLOT" in line) for line in file
                 if "received replication command: START_REPLICATION" in line]
    spans = [(after - before).total_seconds() * 1000 for (before, asked), (after, streams)
             in zip(times, times[1:]) if not asked and streams]
    assert len(spans) == starts, f"{len(spans)} comparisons in {starts} starts"
    return sum(spans) / len(spans)


# --- Nothing, or little, to do


def quiet(bench, contenders, rate, seconds):
    """All at once: they don't disturb each other, and idle time can't be hurried."""
    server = bench.once(("commits", 0), lambda: workload.commit_server(bench, 0))
    contenders = with_other(contenders, bench.beside)
    for number in range(bench.rounds):
        runs, costs = {}, {}
        try:
            for index, contender in enumerate(in_turn(contenders, number)):
                server.sql(f"SELECT pg_create_physical_replication_slot('bench{index}', true)")
                run = Run(contender, bench, server, f"bench{index}", synchronous=True)
                runs[contender.name] = run.__enter__()
                run.wait_streaming()
            # Every thread that may come has come: commits, segments that end, a moment of rest.
            workload.commits(server, 8, 3)
            for _ in range(3):
                server.switch_wal()
            time.sleep(3)
            before = {name: (measure.cpu_seconds(run.pid), measure.wakeups(run.pid))
                      for name, run in runs.items()}
            begun = time.monotonic()
            if rate:
                count = workload.commits(server, 1, seconds, rate)["commits"]
            else:
                time.sleep(seconds)
            minutes = (time.monotonic() - begun) / 60
            for name, run in runs.items():
                memory = measure.memory_kb(run.pid)
                woken = measure.wakeups(run.pid) - before[name][1]
                costs[name] = {"cpu_ms_min": (measure.cpu_seconds(run.pid) - before[name][0]) * 1000
                               / minutes}
                if rate:
                    costs[name]["wakeups_commit"] = woken / count
                else:
                    costs[name]["wakeups_min"] = woken / minutes
                costs[name]["pss_mb"] = memory["pss_kb"] / 1024
                costs[name]["peak_mb"] = memory["peak_kb"] / 1024
                bench.say(f"  {number} {name}: {costs[name]}, {measure.threads(run.pid)} threads")
        finally:
            for run in runs.values():
                run.__exit__()
        yield {contender.name: costs[contender.name] for contender in contenders}


# --- A slow world


def slow_world(bench, contenders, megabytes, delay_ms, line_mbs, disk_mbs):
    server = bench.once(("loaded", megabytes), lambda: workload.loaded_server(bench, megabytes))
    slot, end, size = server.ranges["incompressible"]
    end_of_all = server.flushed()  # nobody writes meanwhile
    env = slow_disk(bench, BENCH_DISK_MBS=str(disk_mbs)) if disk_mbs else None
    proxy = subprocess.Popen([sys.executable, "-B", HERE / "slow_network.py", "0", str(server.port),
                              str(delay_ms), str(line_mbs)], stdout=subprocess.PIPE, text=True)
    contenders = with_other(contenders, bench.beside)
    try:
        conninfo = server.conninfo(application_name="bench_bench", sslmode="disable", port=proxy.stdout.readline().strip())
        for number in range(bench.rounds):
            costs = {}
            for contender in in_turn(contenders, number):
                workload.copy_slot(server, slot, "bench")
                with Run(contender, bench, server, "bench", endpos=wal.lsn_text(end), env=env,
                         conninfo=conninfo) as run:
                    peak = measure.Peak(run.pid)
                    silence, lag_errors = 0.0, []
                    while not ended(run.pid):
                        lag_errors += run.lag_error(end_of_all)
                        age = server.sql("SELECT extract(epoch FROM now() - reply_time) FROM"
                                         " pg_stat_replication WHERE application_name = 'bench_bench'")
                        silence = max(silence, float(age or 0))
                        time.sleep(0.2)
                    cost = run.to_the_end()
                    if number == 0:
                        run.archive.assert_covers(server, 1, end, start=end - size)
                costs[contender.name] = {
                    "mb_s": size / cost["seconds"] / 1e6,
                    "cpu_s_gib": cost["cpu_s"] / size * GIB,
                    "peak_mb": peak.stop_mb(),
                    "reply_gap_s": silence,
                    "lag_error_mb": max(lag_errors, default=None),
                }
                bench.say(f"  {number} {contender.name}: {costs[contender.name]}")
            yield {contender.name: costs[contender.name] for contender in contenders}
    finally:
        proxy.kill()
        proxy.wait()


def far_commits(bench, contenders, clients, delay_ms, line_mbs):
    """Synchronous commits; the receiver is at the other end of a line (slow_network.py)."""
    server = bench.once(("commits", 0), lambda: workload.commit_server(bench, 0))
    line = subprocess.Popen([sys.executable, "-B", HERE / "slow_network.py", "0", str(server.port), str(delay_ms),
                             str(line_mbs)], stdout=subprocess.PIPE, text=True)
    try:
        yield from commits(bench, contenders, clients,
                           words={"sslmode": "disable", "port": line.stdout.readline().strip()})
    finally:
        line.kill()
        line.wait()


def wide_area(bench, contenders, megabytes, delay_ms, line_mbs, tls=True):
    """A line that TCP sees (long_line.c), with SCRAM and TLS. How much came in each of the first seconds is told by the
    line's own device."""
    program = bench.place / "long_line"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "long_line.c"], check=True)
    line = subprocess.Popen([program, str(delay_ms), str(line_mbs), "50"], stdout=subprocess.PIPE, text=True)
    contenders = with_other(contenders, bench.beside)
    try:
        ends = line.stdout.readline().split()
        if not ends:
            raise SystemExit("no line could be made: unshare -n scripts/bench ...")
        server = bench.once(("far", megabytes), lambda: workload.loaded_server(
            bench, megabytes, listen_addresses=f"127.0.0.1,{ends[0]}"))
        slot, end, size = server.ranges["incompressible"]
        words = {**workload.encrypted(bench, server, scram=True), "hostaddr": ends[1]}
        if not tls:
            server.hba("host all,replication all all trust")
            server.reload()
            words = {"host": ends[1], "sslmode": "disable"}
        conninfo = server.conninfo(application_name="bench_bench", **words)
        for number in range(bench.rounds):
            costs = {}
            for contender in in_turn(contenders, number):
                workload.copy_slot(server, slot, "bench")
                came = measure.Came("longline")
                with Run(contender, bench, server, "bench", endpos=wal.lsn_text(end), conninfo=conninfo) as run:
                    cost = run.to_the_end()
                    seconds = came.stop()
                    if number == 0:
                        run.archive.assert_covers(server, 1, end, start=end - size)
                costs[contender.name] = {"mb_s": size / cost["seconds"] / 1e6, "cpu_s_gib": cost["cpu_s"] / size * GIB,
                                         "first_second_mb": seconds[0], "second_second_mb": seconds[1]}
                bench.say(f"  {number} {contender.name}: {costs[contender.name]}")
            yield {contender.name: costs[contender.name] for contender in contenders}
    finally:
        line.kill()
        line.wait()


def ended(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def slow_disk(bench, **settings):
    library = bench.once("slow disk", lambda: build_preload(bench, "slow_disk"))
    return {"LD_PRELOAD": str(library), **settings}


def build_preload(bench, name):
    library = bench.place / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / f"{name}.c", "-ldl"], check=True)
    return library


def floor(bench):
    """Contenders with the least there can be."""
    program = bench.once("bare loop", lambda: build_bare_loop(bench))
    return [STOCK, PGWEIR_RAW, BareLoop(program), BareLoop(program, "handed-off")]


def tls_commits_floor(bench):
    program = bench.once("bare loop", lambda: build_bare_loop(bench))
    return [*CATCH_UP, BareLoop(program)]


def build_program(bench, name, *words):
    program = bench.place / name
    subprocess.run(["cc", "-O2", "-o", program, HERE / f"{name}.c", *words], check=True)
    return program


def build_bare_loop(bench, name="bare_loop", *libraries):
    include = subprocess.run(["pg_config", "--includedir"], check=True, capture_output=True,
                             text=True).stdout.strip()
    return build_program(bench, name, f"-I{include}", "-lpq", *libraries)


def zstd_floor(bench):
    program = bench.once("bare zstd", lambda: build_bare_loop(bench, "bare_zstd", "-lzstd", "-pthread"))
    return [STOCK, PGWEIR_ZSTD, BareZstd(program), BareZstd(program, "unpacked")]


def tls_floor(bench):
    program = bench.once("bare tls", lambda: build_bare_loop(bench, "bare_tls", "-lssl", "-lcrypto"))
    return [*CATCH_UP, BareTls(program)]


# --- The table

SYNC = [STOCK, PGWEIR_RAW, PGWEIR_ZSTD]
CATCH_UP = [STOCK, PGWEIR_RAW]
ZSTD = [STOCK, STOCK_GZIP1, STOCK_LZ4, PGWEIR_ZSTD]
ROWS = {
    "catch-up-raw": ("Catch-up, raw archive, WAL that compresses",
                     lambda b: catch_up(b, CATCH_UP, "compressible", b.megabytes)),
    "catch-up-raw-random": ("Catch-up, raw archive, WAL that does not compress",
                            lambda b: catch_up(b, CATCH_UP, "incompressible", b.megabytes)),
    "catch-up-raw-socket": ("Catch-up by a Unix socket, raw archive, WAL that does not compress",
                            lambda b: catch_up(b, CATCH_UP, "incompressible", b.megabytes,
                                               unix_socket=True)),
    "catch-up-tls": ("Catch-up over TLS 1.3 (verify-full), raw archive, WAL that does not compress",
                     lambda b: catch_up(b, tls_floor(b), "incompressible", b.megabytes, tls=True)),
    "catch-up-zstd": ("Catch-up into a compressed archive, WAL that compresses",
                      lambda b: catch_up(b, ZSTD, "compressible", b.megabytes)),
    "catch-up-zstd-random": ("Catch-up into a compressed archive, WAL that does not compress",
                             lambda b: catch_up(b, ZSTD, "incompressible", b.megabytes)),
    "floor-zstd": ("Catch-up into a compressed archive, WAL that compresses, beside a bare loop",
                   lambda b: catch_up(b, zstd_floor(b), "compressible", b.megabytes)),
    "catch-up-64": ("Catch-up, segments of 64 MB, raw and zstd:1, WAL that compresses (--megabytes 900)",
                    lambda b: catch_up(b, SYNC, "compressible", b.megabytes, segment_mb=64)),
    "catch-up-large": ("Catch-up, segments of 1 GB, raw and zstd:1, WAL that compresses (--megabytes 1900)",
                       lambda b: catch_up(b, SYNC, "compressible", b.megabytes, segment_mb=1024)),
    "commits-1": ("Synchronous commits, 1 client", lambda b: commits(b, SYNC, 1)),
    "commits-8": ("Synchronous commits, 8 clients", lambda b: commits(b, SYNC, 8)),
    "commits-32": ("Synchronous commits, 32 clients", lambda b: commits(b, SYNC, 32)),
    "commits-tls-1": ("Synchronous commits over TLS, 1 client", lambda b: commits(b, CATCH_UP, 1, tls=True)),
    "commits-tls-8": ("Synchronous commits over TLS, 8 clients", lambda b: commits(b, CATCH_UP, 8, tls=True)),
    "commits-tls-32": ("Synchronous commits over TLS, 32 clients",
                       lambda b: commits(b, CATCH_UP, 32, tls=True)),
    **{f"floor-commits-tls-{clients}": (
        f"Synchronous commits over TLS, {clients} client{'s' * (clients > 1)}, beside a bare loop",
        lambda b, clients=clients: commits(b, tls_commits_floor(b), clients, tls=True)) for clients in (1, 8, 32)},
    **{f"commits-slower-{clients}": (
        f"Synchronous commits, syncs of 0.12 ms more, {clients} client{'s' * (clients > 1)}",
        lambda b, clients=clients: commits(b, CATCH_UP, clients, env=slow_disk(b, BENCH_SYNC_US="120")))
       for clients in (1, 8, 32)},
    "commits-large": ("Synchronous commits of 2 kB, 8 clients: many segments end",
                      lambda b: commits(b, SYNC, 8, payload=2048)),
    "slow-sync-1": ("Syncs of 2 ms, 1 client", lambda b: commits(
        b, CATCH_UP, 1, env=slow_disk(b, BENCH_SYNC_US="2000"))),
    "slow-sync-8": ("Syncs of 2 ms, 8 clients", lambda b: commits(
        b, CATCH_UP, 8, env=slow_disk(b, BENCH_SYNC_US="2000"))),
    "slow-sync-32": ("Syncs of 2 ms, 32 clients", lambda b: commits(
        b, CATCH_UP, 32, env=slow_disk(b, BENCH_SYNC_US="2000"))),
    "looks-1": ("Synchronous commits, 1 client, with and without looking for the file's name",
                lambda b: commits(b, without_looks(b), 1)),
    "reconnect": ("A start behind a finished segment", lambda b: reconnect(b, [PGWEIR_RAW, PGWEIR_ZSTD])),
    "idle": ("Idle", lambda b: quiet(b, SYNC, None, max(60, b.seconds))),
    "20-a-second": ("20 commits a second", lambda b: quiet(b, SYNC, 20, max(30, b.seconds))),
    **{f"floor-commits-{clients}": (
        f"Synchronous commits, {clients} client{'s' * (clients > 1)}, beside a bare loop",
        lambda b, clients=clients: commits(b, floor(b), clients)) for clients in (1, 8, 32)},
    "floor-20-a-second": ("20 commits a second, beside a bare loop",
                          lambda b: quiet(b, floor(b), 20, max(30, b.seconds))),
    "slow-world": ("A line of 1 Gbit/s and 50 ms, a disk of 20 MB/s",
                   lambda b: slow_world(b, CATCH_UP, 256, 25, 125, 20)),
    "slow-line": ("A line of 1 Gbit/s and 50 ms, a fast disk",
                  lambda b: slow_world(b, CATCH_UP, 256, 25, 125, 0)),
    **{f"line-{ms}": (f"Catch-up, a line of 1 Gbit/s and {ms} ms there and back",
                      lambda b, ms=ms: slow_world(b, CATCH_UP, 256, ms / 2, 125, 0)) for ms in (1, 30, 100)},
    **{f"line-{ms}-commits": (f"Synchronous commits, 32 clients, a line of 1 Gbit/s and {ms} ms there and back",
                              lambda b, ms=ms: far_commits(b, CATCH_UP, 32, ms / 2, 125)) for ms in (1, 30, 100)},
    "wide-area": ("SCRAM and TLS over a line of 1 Gbit/s and 20 ms there and back (unshare -n scripts/bench ...)",
                  lambda b: wide_area(b, CATCH_UP, min(512, b.megabytes), 10, 125)),
    "wide-area-plain": ("The same without either", lambda b: wide_area(b, CATCH_UP, min(512, b.megabytes), 10, 125,
                                                                       tls=False)),
}


class Bench:
    """Where the rows work, what they share."""

    def __init__(self, rounds, seconds, megabytes, say, beside=None):
        self.rounds, self.seconds, self.megabytes, self.say = rounds, seconds, megabytes, say
        self.beside = beside  # another pgweir, which takes part as "other pgweir"
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-"))
        self.place.chmod(0o755)
        self.servers = []
        self._shared = {}

    def once(self, key, make):
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]
