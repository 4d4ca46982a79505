"""Rounds of figures as Markdown and JSON."""

import json
import os
import pathlib
import platform
import re

from measure import median

# metric → heading, decimals, True if less is better
METRICS = {
    "mb_s": ("MB/s", 0, False),
    "first_second_mb": ("MB in the first second", 0, False),
    "second_second_mb": ("MB in the second", 0, False),
    "tps": ("commits/s", 0, False),
    "cpu_s_gib": ("CPU s/GiB", 2, True),
    "server_cpu_s_gib": ("server's CPU s/GiB", 2, True),
    "cpu_us_commit": ("CPU µs/commit", 0, True),
    "wakeups_commit": ("wakeups/commit", 2, True),
    "cpu_ms_min": ("CPU ms/min", 2, True),
    "wakeups_min": ("wakeups/min", 1, True),
    "p50_ms": ("median ms", 2, True),
    "p99_ms": ("p99 ms", 2, True),
    "worst_ms": ("worst ms", 1, True),
    "size": ("size/WAL", 3, True),
    "disk": ("to disk/WAL", 2, True),
    "peak_mb": ("peak RSS MB", 1, True),
    "peak_pss_mb": ("peak PSS MB", 1, True),
    "pss_mb": ("PSS MB", 1, True),
    "reply_gap_s": ("longest silence s", 1, True),
    "start_ms": ("start to end ms", 1, True),
    "compare_ms": ("of that comparing ms", 2, True),
    "lag_error_mb": ("lag told wrong by MB", 1, True),
}


def markdown(row, title, rounds):
    """`rounds`: [{contender: {metric: value}}]; the first contender is what the others are held
    against, in the same round."""
    names = list(rounds[0])
    metrics = [metric for metric in METRICS if metric in rounds[0][names[0]]]
    lines = [f"### {title}", "",
             f"`scripts/bench {row}`, {len(rounds)} rounds: median (lowest–highest) ×ratio", "",
             "| | " + " | ".join(METRICS[metric][0] for metric in metrics) + " |",
             "|---|" + "---|" * len(metrics)]
    for name in names:
        cells = []
        for metric in metrics:
            _, digits, _ = METRICS[metric]
            values = [each[name][metric] for each in rounds]
            if None in values:
                cells.append("–")  # it has no such thing
                continue
            text = f"{median(values):.{digits}f}"
            if len(values) > 1:
                text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
            if name != names[0] and all(each[names[0]][metric] for each in rounds):
                text += f" **×{ratio(rounds, names[0], name, metric):.2f}**"
            cells.append(text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratio(rounds, base, name, metric):
    """The median of the rounds' ratios: what disturbed a round disturbed both."""
    return median([each[name][metric] / each[base][metric] for each in rounds])


def machine():
    """What matters of this machine; nothing that names it."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) >> 20
    return {
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "kernel": platform.release().split("-")[0],
        "load": round(os.getloadavg()[0], 1),
    }


def save(path, row, title, rounds):
    path = pathlib.Path(path)
    kept = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    kept["machine"] = machine()
    kept["rows"][row] = {"title": title, "rounds": rounds}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
