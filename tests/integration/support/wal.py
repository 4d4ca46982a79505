"""Names and positions of WAL, as PostgreSQL writes them."""

import re

SEGMENT = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$")
HISTORY = re.compile(r"^([0-9A-F]{8})\.history$")


def lsn(text):
    """'0/3000148' as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def lsn_text(position):
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline, segno, segment_size):
    per_id = 0x100000000 // segment_size
    return f"{timeline:08X}{segno // per_id:08X}{segno % per_id:08X}"


def parse_segment(name, segment_size):
    """(timeline, segno), or None if this is not a segment's name."""
    match = SEGMENT.match(name)
    if not match:
        return None
    timeline, high, low = (int(part, 16) for part in match.groups())
    return timeline, high * (0x100000000 // segment_size) + low


def parse_history(text):
    """[(timeline, switchpoint)] of the ancestors, oldest first."""
    ancestors = []
    for line in text.splitlines():
        fields = line.split()
        if fields and fields[0].isdigit():
            ancestors.append((int(fields[0]), lsn(fields[1])))
    return ancestors
