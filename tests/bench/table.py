"""The one table of docs/performance.md, and what became worse since it was made.

    scripts/bench table [--rounds N] [--only EXPRESSION] [--beside BINARY] [--write] [--check]

Each figure is the median of the rounds' ratios of pgweir to the program that it is compared with, in one and the same round;
the range of the rounds is in parentheses. The floor is the same ratio of a program that does only the unavoidable work.
"Others" is the CPU time that programs outside of this run took meanwhile, as a share of one core: if it is more than a few
percent, the row is to be measured again.

--write puts the table into docs/performance.md, and the ratios into tests/bench/recorded.json. --check compares with the
latter: a figure that is worse by more than the range of its own rounds ends the run with status 1. With --beside, another
build of pgweir takes part (not in the rows of the store), and each figure is printed as a ratio to that build's."""

import argparse
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile

import logical
import measure
import report
import restore
import rows
import serve
import store
from contenders import PGWEIR
from support.gateway import Gateway, installed

HERE = pathlib.Path(__file__).resolve().parent
RECORDED = HERE / "recorded.json"
PAGE = HERE.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- scripts/bench table --write -->", "<!-- end of the table -->"


class Figure:
    """One ratio. `less`: a lower one is better. `goal`: what is aimed at."""

    def __init__(self, head, name, base, metric, floor=None, goal=None, less=False):
        self.head, self.name, self.base, self.metric = head, name, base, metric
        self.floor, self.goal, self.less = floor, goal, less

    def ratios(self, rounds, name):
        return [each[name][self.metric] / each[self.base][self.metric] for each in rounds]

    def ratios_to_other(self, rounds):
        """To the other build, if it took part."""
        other = f"other {self.name}"
        return [each[self.name][self.metric] / each[other][self.metric] for each in rounds if other in each]

    def is_met(self, rounds):
        """The goal, or the floor to 3 percent."""
        ratio = measure.median(self.ratios(rounds, self.name))
        bounds = [bound for bound in (self.goal, self.floor and self.at_floor(rounds)) if bound is not None]
        return any(ratio <= bound if self.less else ratio >= bound for bound in bounds) if bounds else None

    def at_floor(self, rounds):
        floor = measure.median(self.ratios(rounds, self.floor))
        return floor * 1.03 if self.less else floor / 1.03


def rate(name, base="pg_receivewal", metric="mb_s", **more):
    return Figure("rate", name, base, metric, **more)


def cpu(name, base="pg_receivewal", metric="cpu_s_gib", **more):
    return Figure("CPU", name, base, metric, less=True, **more)


def spent(name, base, metric="value", **more):
    return Figure("time", name, base, metric, less=True, **more)


class Row:
    """`measured(tools)`: rounds of {contender: {metric: value}}."""

    def __init__(self, name, title, measured, *figures):
        self.name, self.title, self.measured, self.figures = name, title, measured, figures


def of_rows(name):
    return lambda tools: list(rows.ROWS[name][1](tools.bench))


def of_restore(what):
    return lambda tools: of_table(tools, "restore", what)


def of_store(what):
    return lambda tools: of_table(tools, "store", what)


def of_table(tools, module, what):
    """Several rows of one measurement: it is made once."""
    if (module, what) not in tools.tables:
        tools.tables[module, what] = getattr(getattr(tools, module), what)()
    kept = tools.tables[module, what]
    count = min(len(values) for values in kept.rounds.values())
    return [{name: {"value": values[number], **{key: column[name][number] for key, column in kept.extra.items()}}
             for name, values in kept.rounds.items()} for number in range(count)]


def of_serve(form, clients, tls=""):
    def measured(tools):
        tools.tree._old_wal(form, clients, tls)  # pylint: disable=protected-access
        found = tools.tree.figures[form, clients, tls]
        names = {name: "other relay" if name.startswith("relay of ") else name for name in found}
        return [{names[name]: {"gib_s": values[number][0], "cpu_s_gib": values[number][1]} for name, values in found.items()}
                for number in range(tools.options.rounds)]
    return measured


def of_logical(form, transport):
    return lambda tools: list(logical.streamed(tools.logical, form, transport))


def commits_row(clients, tls=False):
    name = f"floor-commits-tls-{clients}" if tls else f"floor-commits-{clients}"
    title = f"synchronous commits, {clients} client{'s' * (clients > 1)}{', TLS' if tls else ''}"
    return Row(name, title, of_rows(name), rate("pgweir", metric="tps", floor="bare loop", goal=1.0),
               cpu("pgweir", metric="cpu_us_commit", floor="bare loop"))


PRIMARY = {"base": "primary", "metric": "gib_s"}
PRIMARY_CPU = {"base": "primary"}
TABLE = [
    Row("catch-up-raw", "catch-up, uncompressed", of_rows("catch-up-raw"), rate("pgweir"), cpu("pgweir")),
    Row("floor-zstd", "catch-up with `zstd:1`, stock uncompressed", of_rows("floor-zstd"),
        rate("pgweir zstd:1", floor="bare zstd:1, unpacked"), cpu("pgweir zstd:1", floor="bare zstd:1, unpacked")),
    Row("catch-up-tls", "catch-up over TLS", of_rows("catch-up-tls"), rate("pgweir", floor="bare decryption"),
        cpu("pgweir", floor="bare decryption")),
    *(commits_row(clients) for clients in (1, 8, 32)),
    *(commits_row(clients, tls=True) for clients in (1, 8, 32)),
    *(Row(f"slow-sync-{clients}", f"commits, a sync takes 2 ms, {clients} clients", of_rows(f"slow-sync-{clients}"),
          rate("pgweir", metric="tps", goal=1.5)) for clients in (8, 32)),
    Row("floor-20-a-second", "20 commits a second", of_rows("floor-20-a-second"),
        cpu("pgweir", metric="cpu_ms_min", floor="bare loop", goal=1.1)),
    Row("idle", "idle", of_rows("idle"), cpu("pgweir", metric="cpu_ms_min", goal=2.0)),
    *(Row(name, title, of_rows(name), rate("pgweir"), cpu("pgweir")) for name, title in (
        ("line-1", "catch-up, a line of 1 Gbit/s and 1 ms there and back"),
        ("line-30", "catch-up, 1 Gbit/s and 30 ms"), ("line-100", "catch-up, 1 Gbit/s and 100 ms"))),
    *(Row(f"line-{ms}-commits", f"synchronous commits, 32 clients, 1 Gbit/s and {ms} ms", of_rows(f"line-{ms}-commits"),
          rate("pgweir", metric="tps"), cpu("pgweir", metric="cpu_us_commit")) for ms in (1, 30, 100)),
    Row("restore recovery", "recovery of 1 GiB from zstd, compared with `cp` from raw", of_restore("recovery"),
        spent("pgweir, zstd", "cp, raw", floor="in pg_wal", goal=0.72)),
    Row("restore one", "one `restore` of a segment by `zstd -1`, compared with `zstd -d`", of_restore("one"),
        spent("pgweir, zstd, pg_wal", "zstd -d", goal=0.8)),
    Row("restore one", "the same of a segment by pgweir", of_restore("one"),
        spent("pgweir, its own zstd, pg_wal", "zstd -d, of pgweir's file", goal=0.8)),
    Row("restore verify", "`verify`, raw, compared with `pg_waldump -q`", of_restore("verify"),
        rate("pgweir verify, raw, two cores", "pg_waldump -q", "value")),
    Row("restore verify", "`verify`, zstd, compared with `zstd -dc`", of_restore("verify"),
        rate("pgweir verify, zstd, two cores", "zstd -dc, one file after another", "value")),
    *(Row(f"serve raw {clients}", f"relay, {clients} client{'s' * (clients > 1)}, compared with walsenders", of_serve("raw", clients),
          rate("relay", **PRIMARY, floor="bare loop", goal=goal), cpu("relay", **PRIMARY_CPU, floor="bare loop", goal=cost))
      for clients, goal, cost in ((1, 1.0, 1.0), (4, 1.0, 1.0), (8, 1.35, 0.65))),
    Row("serve zst 1", "relay from zstd, 1 client", of_serve("zst", 1),
        rate("relay", **PRIMARY, floor="bare loop that unpacks", goal=0.6),
        cpu("relay", **PRIMARY_CPU, floor="bare loop that unpacks")),
    *(Row(f"logical {form}", f"logical, {form}, Unix socket, compared with `pg_recvlogical`", of_logical(form, "unix"),
          rate("pgweir as pg_recvlogical", "pg_recvlogical"),
          cpu("pgweir as pg_recvlogical", "pg_recvlogical", goal=0.35)) for form in ("test_decoding", "wal2json")),
    Row("store upload", "upload, every record verified, compared with `rclone copy`", of_store("upload"),
        rate("pgweir store push", "rclone copy", "value"),
        cpu("pgweir store push", "rclone copy", "CPU, s", floor="the digests, decompression, and sendfile to nobody", goal=1.05)),
    Row("store upload_far", "the same by a line of 1 Gbit/s and 100 ms", of_store("upload_far"),
        rate("pgweir store push", "rclone copy", "value"), cpu("pgweir store push", "rclone copy", "CPU, s")),
    *(Row("store recovery", f"recovery from a store, {words}, compared with a local archive", of_store("recovery"),
          spent(f"pgweir, the store, {words}", "pgweir, local zstd")) for words in ("20 ms away", "1 Gbit/s and 100 ms")),
]


class Tools:
    """What the rows need, made when the first one asks for it."""

    def __init__(self, options):
        self.options, self.tables, self._closers = options, {}, []

    def _place(self):
        place = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-")).resolve()
        place.chmod(0o755)
        self._closers.append(lambda: shutil.rmtree(place, ignore_errors=True))
        return place

    def _of_module(self, module, *words):
        """Its options as if they had been given to it."""
        return module.parse([*words, "--rounds", str(self.options.rounds)])

    def _beside(self):
        return ["--beside", str(self.options.beside)] if self.options.beside else []

    def _bench(self, megabytes):
        bench = rows.Bench(self.options.rounds, 5, megabytes, say, self.options.beside)
        self._closers.append(lambda: end(bench))
        return bench

    @functools.cached_property
    def bench(self):
        return self._bench(1024)

    @functools.cached_property
    def logical(self):
        bench = self._bench(200)
        logical.prepare(bench)
        return bench

    @functools.cached_property
    def restore(self):
        return restore.Bench(self._place(), self._of_module(restore, "all"), self.options.beside)

    @functools.cached_property
    def tree(self):
        tree = serve.Tree(self._place(), self._of_module(serve, "all", "--megabytes", "1024", *self._beside())).__enter__()
        self._closers.append(tree.__exit__)
        return tree

    @functools.cached_property
    def store(self):
        if not installed("radosgw") or not shutil.which("rclone"):
            raise LookupError("it needs build/store (scripts/setup) and rclone (apt-get install rclone)")
        options = self._of_module(store, "all")
        gateway = Gateway(options.gigabytes)
        gateway.start()
        self._closers.append(gateway.stop)
        return store.StoreBench(self._place(), options, gateway)

    def close(self):
        for closer in reversed(self._closers):
            closer()


def end(bench):
    for server in bench.servers:
        if server.running():
            server.stop("immediate")
    shutil.rmtree(bench.place, ignore_errors=True)


def say(text):
    print(text, file=sys.stderr, flush=True)


class Others:
    """CPU time of processes outside of this run, as a share of one core, since it was made."""

    def __init__(self):
        self._busy, self._own, self._begun = self._looks()

    def share(self):
        busy, own, now = self._looks()
        return max(0.0, busy - self._busy - (own - self._own)) / max(0.01, now - self._begun)

    @staticmethod
    def _looks():
        """Seconds that all cores were busy, and of this process and those that it started. The time of one that has
        ended is its parent's."""
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq = (
            int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
        parents, times = {}, {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(path.parent.name)
            parents[pid], times[pid] = int(fields[1]), sum(int(field) for field in fields[11:15])
        mine, more = set(), {os.getpid()}
        while more:
            mine |= more
            more = {pid for pid, parent in parents.items() if parent in mine} - mine
        return ((user + nice + system + irq + softirq) / tick, sum(times.get(pid, 0) for pid in mine) / tick,
                os.times().elapsed)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", help="rows whose name or title matches this expression")
    parser.add_argument("--beside", type=pathlib.Path, help="another build of pgweir")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(words)
    if not PGWEIR.exists():
        parser.error(f"no {PGWEIR}: cmake --preset release && cmake --build --preset release")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    tools, worse = Tools(options), []
    last_name, share = None, 0.0
    try:
        for row in TABLE:
            if options.only and not re.search(options.only, f"{row.name} {row.title}"):
                continue
            say(f"{row.name}: {row.title}")
            others = Others()
            try:
                rounds = row.measured(tools)
            except LookupError as error:
                say(f"  skipped: {error}")
                continue
            # (A row of the same measurement as the one before it has that one's.)
            if row.name != last_name:
                share = others.share()
            last_name = row.name
            made = entry(row, rounds, share)
            print(line(row.title, made), flush=True)
            for figure in row.figures:
                if ratios := figure.ratios_to_other(rounds):
                    print(f"  {figure.head} of the other build: {measure.median(ratios):.3f} × "
                          f"({min(ratios):.3f}–{max(ratios):.3f})", flush=True)
            if row.title in recorded:
                worse += [f"{row.title}, {text}" for text in regressions(row, made, recorded[row.title])]
            if options.write:
                recorded[row.title] = made
                write(recorded)
    finally:
        tools.close()
    for text in worse:
        say(f"worse: {text}")
    return 1 if options.check and worse else 0


def entry(row, rounds, others):
    figures = {}
    for figure in row.figures:
        ratios = figure.ratios(rounds, figure.name)
        figures[figure.head] = {
            "ratio": round(measure.median(ratios), 3), "lowest": round(min(ratios), 3), "highest": round(max(ratios), 3),
            "floor": figure.floor and round(measure.median(figure.ratios(rounds, figure.floor)), 3),
            "goal": figure.goal, "met": figure.is_met(rounds)}
    return {"row": row.name, "rounds": len(rounds), "others": round(others, 2), "figures": figures}


def regressions(row, made, recorded):
    """Of figures that are worse than the recorded ones by more than their rounds' range."""
    for figure in row.figures:
        new, old = made["figures"][figure.head], recorded["figures"].get(figure.head)
        if old is None:
            continue
        spread = new["highest"] - new["lowest"]
        behind = new["ratio"] - old["ratio"] if figure.less else old["ratio"] - new["ratio"]
        if behind > spread:
            yield f"{figure.head}: {new['ratio']:.2f} × (recorded: {old['ratio']:.2f} ×, range of the rounds: {spread:.2f})"


def line(title, made):
    cells = []
    for head in ("rate", "time", "CPU"):
        figure = made["figures"].get(head)
        if figure is None:
            cells.append("")
            continue
        text = f"{figure['ratio']:.2f} ×{' the time' if head == 'time' else ''} ({figure['lowest']:.2f}–{figure['highest']:.2f})"
        for key, word in (("floor", "floor"), ("goal", "goal")):
            if figure[key] is not None:
                text += f", {word} {figure[key]:.2f}"
        cells.append(text + ("" if figure["met"] is not False else " **missed**"))
    return f"| {title} | {cells[0] or cells[1] or '–'} | {cells[2]} | {made['rounds']} | {made['others']:.0%} |"


def write(recorded):
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
    machine = report.machine()
    lines = [BEGIN, "", f"{machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}.", "",
             "| | rate or time | CPU | rounds | others |", "|---|---|---|---|---|"]
    lines += [line(row.title, recorded[row.title]) for row in TABLE if row.title in recorded]
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + "\n".join([*lines, "", END]) + tail)


if __name__ == "__main__":
    sys.exit(main())
