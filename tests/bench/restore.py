#!/usr/bin/python3
"""What a restore costs, side by side with what people use instead.

    restore.py one          one call: cp, zstd -d and pgweir, present and absent files
    restore.py prefetched   one call when a helper has the segment ready
    restore.py recovery     a server recovers: cp, zstd -d, pgweir, with and without prefetch, and
                            from files that are there already, as the least that can be had
    restore.py verify       the whole archive checked: pg_waldump -q, zstd -dc, pgweir verify
    restore.py cold         the same from the disk, which the page cache has nothing of; beside dd with O_DIRECT
    restore.py growth       look-ups in archives of up to 100,000 segments
    restore.py all

Contenders take turns, round by round, in rotating order; the table has medians, ranges, and the
median of the ratios to the first contender within each round. The WAL is a server's: made once
in --place, and used again if it is there, so --checkpoints wants a place of its own.
"""

import argparse
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from contenders import PGWEIR

PG_BIN = pathlib.Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
SEGMENT = 16 << 20


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", 
                        choices=["one", "prefetched", "recovery", "verify", "cold", "growth", "all"])
    parser.add_argument("--binary", default=PGWEIR,
                        type=pathlib.Path)
    parser.add_argument("--beside", default=None, type=pathlib.Path,
                        help="another build of pgweir takes part, such as a former release's (one, recovery)")
    parser.add_argument("--place", type=pathlib.Path, default=None,
                        help="where the WAL and the servers are (default: a temporary directory)")
    parser.add_argument("--segments", type=int, default=64, help="of WAL, 16 MB each")
    parser.add_argument("--checkpoints", action="store_true",
                        help="in the WAL, so that it has many pages, and redo has less to do")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="contenders whose names match this expression")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there, too")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # servers are stopped, too
    if not options.binary.exists():
        sys.exit(f"no {options.binary}: cmake --preset release && cmake --build --preset release")
    place = options.place or pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-"))
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    tables = {}
    try:
        bench = Bench(place.resolve(), options, options.beside)
        for what in ["one", "prefetched", "recovery", "verify", "cold", "growth"]:
            if options.what in (what, "all"):
                tables[what] = getattr(bench, what)()
    finally:
        if options.place is None:
            shutil.rmtree(place)
    for what, table in tables.items():
        print(f"\n### {what}\n\n{table.markdown()}")
    if options.json:
        options.json.write_text(json.dumps({what: table.figures() for what, table
                                            in tables.items()}, indent=2) + "\n")


class Table:
    """Figures of each contender, one for each round. A ratio is to the first one, or to the one
    that `against` names."""

    def __init__(self, unit, extra=(), against=None):
        self.unit = unit
        self.against = against or {}
        self.rounds = {}
        self.extra = {name: {} for name in extra}

    def add(self, name, value, **extra):
        self.rounds.setdefault(name, []).append(value)
        for key, more in extra.items():
            self.extra[key].setdefault(name, []).append(more)

    def ratio(self, name):
        beside = self.rounds[self.against.get(name, next(iter(self.rounds)))]
        return statistics.median(a / b for a, b in zip(self.rounds[name], beside))

    def markdown(self):
        head = ["", f"median, {self.unit}", "range", "ratio", *self.extra]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for name, values in self.rounds.items():
            more = [f"{statistics.median(column[name]):.2f}" if name in column else ""
                    for column in self.extra.values()]
            lines.append("| " + " | ".join(
                [name, f"{statistics.median(values):.2f}",
                 f"{min(values):.2f} - {max(values):.2f}", f"{self.ratio(name):.2f}", *more]) + " |")
        return "\n".join(lines)

    def figures(self):
        return {name: {"unit": self.unit, "rounds": values, "ratio": self.ratio(name),
                       **{key: column.get(name) for key, column in self.extra.items()}}
                for name, values in self.rounds.items()}


class Bench:
    def __init__(self, place, options, beside=None):
        self.place = place
        self.options = options
        self.binary = place / "pgweir"
        shutil.copy(options.binary, self.binary)
        self.binary.chmod(0o755)
        self.beside = beside and place / "other"
        if self.beside:
            shutil.copy(beside, self.beside)
            self.beside.chmod(0o755)
        self.raw = place / "raw"
        self.zst = place / "zst"
        self.own = place / "own"
        self.ready = place / "ready"

    # One call

    def one(self):
        """By hand, and into the pg_wal of a data directory, which tells whose WAL it is."""
        self.make_wal()
        self.make_own()
        out = self.out()
        target = f"{out}/RECOVERYXLOG"
        data = out / "data"
        (data / "pg_wal").mkdir(parents=True)
        (data / "global").mkdir()
        shutil.copy(self.place / "backup" / "global" / "pg_control", data / "global")
        in_pg_wal = f"{data}/pg_wal/RECOVERYXLOG"
        names = self.names()
        absent = f"{int(names[-1], 16) + 0x10:024X}"
        pgweir = f"{self.binary} restore --prefetch 0 -D"
        contenders = {
            "cp, raw": f"cp {self.raw}/$s {target}",
            "zstd -d": f"zstd -dqf {self.zst}/$s.zst -o {target}",
            "zstd -d, of pgweir's file": f"zstd -dqf {self.own}/$s.zst -o {target}",
            "pgweir, raw": f"{pgweir} {self.raw} $s {target}",
            "pgweir, zstd, pg_wal": f"{pgweir} {self.zst} $s {in_pg_wal}",
            "pgweir, zstd, by hand": f"{pgweir} {self.zst} $s {target}",
            "pgweir, its own zstd, pg_wal": f"{pgweir} {self.own} $s {in_pg_wal}",
            "pgweir, its own zstd, by hand": f"{pgweir} {self.own} $s {target}",
            "mv, ready": f"mv {out}/ready/$s {target}",
            "cp, absent": f"cp {self.raw}/{absent} {target} 2>/dev/null",
            "pgweir, absent": f"{pgweir} {self.zst} {absent} {target} 2>/dev/null",
        }
        table = Table("ms", extra=["CPU, ms"], against={
            "pgweir, zstd, pg_wal": "zstd -d", "pgweir, zstd, by hand": "zstd -d",
            "pgweir, its own zstd, pg_wal": "zstd -d, of pgweir's file",
            "pgweir, its own zstd, by hand": "zstd -d, of pgweir's file",
            "pgweir, absent": "cp, absent"})
        if self.options.only:
            contenders = {name: command for name, command in contenders.items()
                          if re.search(self.options.only, name)
                          or name in ("cp, raw", *table.against.values())}
        contenders = self.with_other(contenders, table.against)
        for name, command in self.turns(contenders):
            if "ready" in name:
                shutil.rmtree(f"{out}/ready", ignore_errors=True)
                shutil.copytree(self.raw, f"{out}/ready")
            before = os.times()
            spent = self.loop(command, names, target, in_pg_wal)
            after = os.times()
            cpu = (after.children_user - before.children_user
                   + after.children_system - before.children_system)
            table.add(name, spent / len(names) * 1e3, **{"CPU, ms": cpu / len(names) * 1e3})
        return table

    def prefetched(self):
        """Each call is timed alone; between two, as long as a replay might take."""
        self.make_wal()
        out = self.out()
        target = f"{out}/RECOVERYXLOG"
        contenders = {
            "cp, raw": f"cp {self.raw}/$s {target}",
            "zstd -d": f"zstd -dqf {self.zst}/$s.zst -o {target}",
            "pgweir, zstd, prefetched":
                f"{self.binary} restore -D {self.zst} --prefetch 4 $s {target}",
            "pgweir, raw, prefetched":
                f"{self.binary} restore -D {self.raw} --prefetch 4 $s {target}",
            "mv, ready": f"mv {out}/ready/$s {target}",
        }
        table = Table("ms")
        for name, command in self.turns(contenders):
            if "ready" in name:
                shutil.rmtree(f"{out}/ready", ignore_errors=True)
                shutil.copytree(self.raw, f"{out}/ready")
            names = self.names()
            spent = self.loop(command, names, target, pause=0.08)
            table.add(name, spent / len(names) * 1e3)
        return table

    def loop(self, command, names, *targets, pause=0.0):
        """Seconds of all calls, in one shell; the target goes before each, as PostgreSQL does it."""
        return sum(self.times(command, names, *targets, pause=pause))

    def times(self, command, names, *targets, pause=0.0):
        """Seconds of each. (A helper of restore ends with the shell that called it.)"""
        script = f"""
            for s in "$@"; do
              rm -f {" ".join(targets)}
              {f"sleep {pause}" if pause else ""}
              a=${{EPOCHREALTIME/./}}
              {command}
              b=${{EPOCHREALTIME/./}}
              echo $((b - a))
            done"""
        result = subprocess.run(["bash", "-c", script, "bash", *names], stdout=subprocess.PIPE,
                                check=True, text=True)
        return [int(line) / 1e6 for line in result.stdout.split()]

    def out(self):
        out = self.place / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return out

    # A whole recovery

    def recovery(self):
        self.make_wal()
        pgweir = f"{self.binary} restore -D"
        contenders = {
            "cp, raw": f"cp {self.raw}/%f %p",
            "zstd -d": f"zstd -dqf {self.zst}/%f.zst -o %p",
            "pgweir, raw, no prefetch": f"{pgweir} {self.raw} --prefetch 0 %f %p",
            "pgweir, zstd, no prefetch": f"{pgweir} {self.zst} --prefetch 0 %f %p",
            "pgweir, raw": f"{pgweir} {self.raw} %f %p",
            "pgweir, zstd": f"{pgweir} {self.zst} %f %p",
            "mv, ready": f"mv {self.ready}/%f %p",
            "in pg_wal": "false",
        }
        if self.options.only:
            contenders = {name: command for name, command in contenders.items()
                          if re.search(self.options.only, name) or name == "cp, raw"}
        contenders = self.with_other(contenders)
        table = Table("s", extra=["CPU of redo, s"])
        for name, command in self.turns(contenders):
            elapsed, cpu = self.recover(command)
            table.add(name, elapsed, **{"CPU of redo, s": cpu})
        return table

    def recover(self, command):
        """The server's own figure: how long redo took, all restore commands among it."""
        data = self.place / "recovered"
        shutil.rmtree(data, ignore_errors=True)
        self.run("cp", "-a", self.place / "backup", data)
        self.configure(data, restore_command=command.replace("'", "''"),
                       recovery_target_timeline="current", checkpoint_timeout="1d",
                       max_wal_size="100GB", shared_buffers="512MB", autovacuum="off",
                       log_checkpoints="off", hot_standby="off")
        self.run("touch", data / "recovery.signal")
        if str(self.ready) in command:
            shutil.rmtree(self.ready, ignore_errors=True)
            self.run("cp", "-a", self.raw, self.ready)
        elif command == "false":
            self.run("cp", "-a", f"{self.raw}/.", data / "pg_wal")
        os.sync()
        log = self.place / "recovered.log"
        server = self.start(data, log)
        try:
            deadline = time.monotonic() + 600
            while True:
                done = re.search(r"redo done at .* user: ([\d.]+) s, system: ([\d.]+) s, "
                                 r"elapsed: ([\d.]+) s", log.read_text())
                if done:
                    return float(done[3]), float(done[1]) + float(done[2])
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"no recovery by: {command}\n{log.read_text()[-3000:]}")
                time.sleep(0.02)
        finally:
            self.stop(data, server)

    def with_other(self, contenders, against=None):
        """Behind each pgweir the other one, held against the same."""
        both = {}
        for name, command in contenders.items():
            both[name] = command
            if self.beside and command.startswith(f"{self.binary} "):
                other = name.replace("pgweir", "other pgweir", 1)
                both[other] = command.replace(str(self.binary), str(self.beside), 1)
                if against and name in against:
                    against[other] = against[name]
        return both

    # The whole archive checked

    def verify(self):
        self.make_wal()
        names = self.names()
        cores = sorted(os.sched_getaffinity(0))
        one, two = {cores[-1]}, set(cores[:2])
        raw = [self.binary, "verify", "--no-progress", "-D", self.raw]
        contenders = {
            "pg_waldump -q": (one, [PG_BIN / "pg_waldump", "-q", "-p", self.raw, names[0], names[-1]]),
            "pgweir verify, raw": (one, raw),
            "pgweir verify, raw, two cores": (two, raw),
            "zstd -dc, one file after another":
                (two, ["sh", "-c", f"for f in {self.zst}/*.zst; do zstd -dcq $f; done"]),
            "pgweir verify, zstd, one core":
                (one, [self.binary, "verify", "--no-progress", "-D", self.zst]),
            "pgweir verify, zstd, two cores":
                (two, [self.binary, "verify", "--no-progress", "-D", self.zst]),
        }
        table = Table("MB/s", extra=["CPU, s/GiB"])
        megabytes = len(names) * SEGMENT / 1e6
        for name, (allowed, command) in self.turns(contenders):
            before = os.times()
            begun = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           preexec_fn=lambda: os.sched_setaffinity(0, allowed),
                           # pg_waldump ends with an error where the WAL does
                           check="pgweir" in name)
            spent = time.perf_counter() - begun
            after = os.times()
            cpu = (after.children_user - before.children_user
                   + after.children_system - before.children_system)
            table.add(name, megabytes / spent,
                      **{"CPU, s/GiB": cpu / (len(names) * SEGMENT / (1 << 30))})
        print("(the ratio of zstd is to be read against `zstd -dc`)")
        return table

    def cold(self):
        """The disk alone is the floor: one reader with O_DIRECT, and two, in pieces of 1 MB."""
        self.make_wal()
        table = Table("MB/s of files", extra=["CPU, s/GB"],
                      against={"dd, two, zstd": "dd, zstd", "pgweir verify, zstd": "dd, zstd"})
        contenders = {}
        for kind, place in (("raw", self.raw), ("zstd", self.zst)):
            dd = f"ls {place}/* | xargs -n 1 -P {{}} -I F dd if=F of=/dev/null bs=1M iflag=direct status=none"
            contenders[f"dd, {kind}"] = (place, ["sh", "-c", dd.format(1)])
            contenders[f"dd, two, {kind}"] = (place, ["sh", "-c", dd.format(2)])
            contenders[f"pgweir verify, {kind}"] = (place, [self.binary, "verify", "--no-progress", "-D", place])
        for name, (place, command) in self.turns(contenders):
            size = 0
            for path in place.iterdir():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    size += os.fstat(file.fileno()).st_size
            before = os.times()
            begun = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            spent = time.perf_counter() - begun
            after = os.times()
            cpu = (after.children_user - before.children_user
                   + after.children_system - before.children_system)
            table.add(name, size / 1e6 / spent, **{"CPU, s/GB": cpu / (size / 1e9)})
        print("(the ratios of zstd are to `dd, zstd`)")
        return table

    # Look-ups in a large archive

    def growth(self):
        self.make_wal()
        out = self.out()
        names = self.names()
        table = Table("ms")
        places = {}
        for count in (100, 10_000, 100_000):
            large = self.place / f"large{count}"
            places[count] = large
            if large.exists():
                continue
            large.mkdir()
            # Real ones, and behind them sparse ones that have a first page header.
            for name in names[:8]:
                os.link(self.raw / name, large / name)
            header = (self.raw / names[0]).read_bytes()[:40]
            first = self.segno(names[7]) + 1
            for segno in range(first, first + count):
                with open(large / self.segment(segno), "wb") as file:
                    file.write(header[:8] + (segno * SEGMENT).to_bytes(8, "little") + header[16:])
                    file.truncate(SEGMENT)
        contenders = {}
        for count, large in places.items():
            contenders[f"restore, {count} segments"] = (
                f"{self.binary} restore -D {large} $s {out}/RECOVERYXLOG", names[:8])
        for count, large in places.items():
            absent = self.segment(self.segno(names[7]) + 1 + count)
            contenders[f"restore, absent, {count} segments"] = (
                f"{self.binary} restore -D {large} {absent} {out}/x 2>/dev/null", names[:3])
        for count, large in places.items():
            contenders[f"status, {count} segments"] = (
                f"{self.binary} status -D {large} >/dev/null 2>&1", names[:1])
        for name, (command, arguments) in self.turns(contenders):
            spent = self.loop(command, arguments, f"{out}/RECOVERYXLOG")
            table.add(name, spent / len(arguments) * 1e3)
        return table

    @staticmethod
    def segno(name):
        return int(name[8:16], 16) * 256 + int(name[16:], 16)

    @staticmethod
    def segment(segno):
        return f"00000001{segno // 256:08X}{segno % 256:08X}"

    # What it is made of

    def turns(self, contenders):
        """Each contender once a round; who begins changes."""
        order = list(contenders.items())
        for number in range(self.options.rounds):
            shift = number % len(order)
            rotated = order[shift:] + order[:shift]
            if number == 0:
                rotated = order  # also fills the table in its order
            for name, command in rotated:
                print(f"round {number + 1}: {name}", file=sys.stderr)
                yield name, command

    def names(self):
        return sorted(path.name for path in self.raw.iterdir())[:self.options.segments]

    def make_wal(self):
        """A base backup and the WAL behind it, raw and as zstd:1."""
        if (self.place / "made").exists():
            return
        print("making WAL", file=sys.stderr)
        data = self.place / "origin"
        self.give(self.place)
        for directory in (self.raw, self.zst):
            directory.mkdir()
            self.give(directory)
        self.run(PG_BIN / "initdb", "-D", data, "-N", "-A", "trust", "-U", "postgres",
                 "--locale=C", "-E", "UTF8")
        self.configure(data, max_wal_senders=2, wal_level="replica", wal_keep_size="100GB",
                       max_wal_size="4GB", shared_buffers="512MB", synchronous_commit="off",
                       autovacuum="off")
        server = self.start(data, self.place / "origin.log")
        try:
            self.wait_for_server()
            self.run(PG_BIN / "pgbench", *self.connection(), "-i", "-s", "100" if self.options.checkpoints else "20", "-q", "postgres")
            self.run(PG_BIN / "pg_basebackup", *self.connection(), "-D", self.place / "backup",
                     "-X", "none", "-c", "fast", "-N", "--no-manifest")
            label = (self.place / "backup" / "backup_label").read_text()
            first = re.search(r"file ([0-9A-F]{24})", label)[1]
            while len(self.written(data, first)) < self.options.segments + 1:
                if self.options.checkpoints:
                    self.run(PG_BIN / "psql", *self.connection(), "-Atqc", "CHECKPOINT", "postgres")
                self.run(PG_BIN / "pgbench", *self.connection(), "-n", "-c", "4", "-T", "3",
                         "-M", "prepared", "postgres")
            self.run(PG_BIN / "psql", *self.connection(), "-Atqc", "SELECT pg_switch_wal()",
                     "postgres")
            time.sleep(1)
            for name in self.written(data, first)[:self.options.segments]:
                shutil.copy(data / "pg_wal" / name, self.raw / name)
                subprocess.run(["zstd", "-1", "-q", self.raw / name, "-o",
                                self.zst / (name + ".zst")], check=True)
        finally:
            self.stop(data, server)
        shutil.rmtree(data)
        for directory in (self.raw, self.zst):
            for path in directory.iterdir():
                self.give(path)
        (self.place / "made").touch()

    def make_own(self):
        """The same as pgweir compresses it, anew for the program that is measured."""
        shutil.rmtree(self.own, ignore_errors=True)
        shutil.copytree(self.raw, self.own)
        subprocess.run([self.binary, "compress", "-D", self.own, "--method", "zstd:1",
                        "--no-progress"], check=True, stdout=subprocess.DEVNULL)

    @staticmethod
    def written(data, first):
        return sorted(path.name for path in (data / "pg_wal").iterdir()
                      if re.fullmatch(r"[0-9A-F]{24}", path.name) and path.name >= first)

    def configure(self, data, **settings):
        lines = {"listen_addresses": "", "unix_socket_directories": self.place,
                 "logging_collector": "off", "log_min_messages": "info", "lc_messages": "C",
                 "port": 5439, **settings}
        with open(data / "postgresql.conf", "a") as file:
            for name, value in lines.items():
                file.write(f"{name} = '{value}'\n")

    def connection(self):
        return ["-h", self.place, "-p", "5439", "-U", "postgres"]

    def start(self, data, log):
        log.unlink(missing_ok=True)
        with open(log, "w") as file:
            return subprocess.Popen([str(PG_BIN / "postgres"), "-D", str(data)], stderr=file,
                                    stdout=file, cwd="/", **self.user())

    def wait_for_server(self):
        for _ in range(600):
            if subprocess.run([PG_BIN / "pg_isready", *self.connection(), "-q"]).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit("the server does not start")

    def stop(self, data, server):
        subprocess.run([str(PG_BIN / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                       **self.user())
        server.wait(60)

    def run(self, *command):
        subprocess.run([str(word) for word in command], check=True, cwd="/",
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **self.user())

    @staticmethod
    def user():
        """PostgreSQL refuses to run as root."""
        if os.getuid() != 0:
            return {}
        user = pwd.getpwnam("postgres")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    @staticmethod
    def give(path):
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(path, user.pw_uid, user.pw_gid)


if __name__ == "__main__":
    main()
