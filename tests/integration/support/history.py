"""What the page of a receiver keeps of the last days (.pgweir-history)."""

import math
import random
import time

AWAY = "could not connect to the server: Connection refused"


def two_weeks(now=None, outage=0, free=0, growth=0, wal=0):
    """What two weeks of an ordinary server leave behind: busy by day, one bad night. In the last `outage` seconds
    before `now` nothing streamed; the disk had `free` bytes left at `now`, and `growth` bytes a second are written. With
    `wal`, a position, the server wrote a byte of WAL an hour from there on: an archive that has these lacks nothing."""
    chance = random.Random(7)
    now = int(now or time.time())

    def span(begin, width):
        day = math.sin((begin % 86400 / 86400 - 0.25) * 2 * math.pi) + 1.2
        volume = int(day * width * 400e3 * chance.uniform(0.7, 1.3))
        made = [begin, width // 10, width // 10, 0, volume, int(chance.expovariate(1 / 60e3)),
                round(chance.uniform(0.7, 1.1), 2), round(chance.uniform(2, 6) * (1 + day), 2)]
        away = max(0, min(begin + width, now) - max(begin, now - outage))
        if away:
            part = 1 - away / width
            made[2], made[4] = int(made[1] * part), int(volume * part)
            if part == 0:
                made[5:] = [0, 0, 0]
        return [*made, free + growth * (now - begin - width)] if free else made

    shorts = [span(begin, 300) for begin in range(now - now % 300 - 71 * 300, now - 300, 300)]
    shorts[20][5], shorts[21][5], shorts[21][7] = 48_000_000, 31_000_000, 140
    hours = [span(begin, 3600) for begin in range(now - now % 3600 - 13 * 86400, now - 3600, 3600)]
    for at, part in ((40, 0.4), (41, 0), (42, 0), (43, 0.7), (200, 0.9)):
        hours[at][2] = int(hours[at][1] * part)
    if wal:
        for index, made in enumerate(hours):
            made[8:] = [made[8] if free else 0, wal + 1 + index if made[2] else 0]
    events = [[hours[42][0], hours[42][0] + 3000, 118, True, AWAY]]
    if outage:
        events.append([now - outage, now - 5, outage // 5, True, AWAY])
    return {"version": 1, "shorts": shorts, "hours": hours, "events": events}
