"""docs/troubleshooting.md has every message with which pgweir says that a person is needed: they
are collected from the source."""

import re

from support.server import REPOSITORY

# What disk_full, io, retry and usage say, names the file or the option and explains itself.
KINDS = ("conflict", "durability", "refused", "gap", "damage", "protocol")


def arguments(text, begin):
    """The source text from `begin` to the parenthesis that closes what is open there."""
    depth, inside, at = 1, False, begin
    while depth > 0:
        char = text[at]
        if inside:
            if char == "\\":
                at += 1
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        at += 1
    return text[begin:at - 1]


def messages():
    """{message: where}, with … for what is filled in. One that is nothing but filled in is left
    out: its text is made somewhere else."""
    found = {}
    for path in sorted((REPOSITORY / "src").rglob("*.[ch]*")):
        text = path.read_text()
        for match in re.finditer(r"\b(?:Error|Contradiction)(?: \w+)?[({](?:\w+ \? ErrorKind::\w+ : )?\s*ErrorKind::(\w+),\s*", text):
            if match.group(1) not in KINDS:
                continue
            source = arguments(text, match.end())
            if re.search(r'\?\s*"', source) and "fmt::format(" not in source:
                # One or the other.
                for literal in re.findall(r'"((?:\\.|[^"\\])*)"', source):
                    found[literal] = path.relative_to(REPOSITORY)
                continue
            pieces = re.findall(r'"((?:\\.|[^"\\])*)"|([^\s"]+)', source)
            if "fmt::format(" in source:
                source = source.split("fmt::format(", 1)[1]
                pieces = [(literal, "") for literal, _ in
                          re.findall(r'\s*"((?:\\.|[^"\\])*)"|(,.*)', source.split('",')[0] + '"')]
            message = ""
            for literal, other in pieces:
                if literal:
                    message += literal
                elif not message.endswith("…"):
                    message += "…"
            message = re.sub(r"\{[^}]*\}", "…", message).replace('\\"', '"')
            message = re.sub(r"…+", "…", message).strip()
            if re.search(r"[a-z]{3}", message):
                found[message] = path.relative_to(REPOSITORY)
    return found


def test_every_message_that_needs_a_person_is_explained():
    known = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    explained = set(re.findall(r"`([^`\n]+)`", known))
    beginnings = tuple(text[:-1] for text in explained if text.endswith(" …"))
    collected = messages()
    assert len(collected) > 60
    missing = [f"{where}: {text}" for text, where in collected.items()
               if not {text, text.rstrip(": …"), text.strip("…")} & explained
               and not text.startswith(beginnings)]
    assert not missing, "not in docs/troubleshooting.md:\n" + "\n".join(missing)


def test_nothing_is_explained_that_nobody_says():
    """For the messages of pgweir itself: those of the tables whose words are not the server's."""
    source = "".join(path.read_text() for path in sorted((REPOSITORY / "src").rglob("*.[ch]*")))
    source = re.sub(r'"\s*\n\s*"', "", source).replace('\\"', '"')
    servers = {
        "requested WAL segment … has already been removed",
        "no pg_hba.conf entry for replication connection", "password authentication failed",
        "no password supplied", "must be superuser or replication role", "permission denied",
        'replication slot "…" is active for PID …',
        "can no longer get changes from replication slot", "This slot has been invalidated",
        "all replication slots are in use",
        'library "…" may not be used as an output plugin',
        "number of requested standby connections exceeds",
            "can no longer access replication slot",
        'role "…" does not exist', "is not permitted to log in", "too many clients already",
        "too many connections for role", "Peer authentication failed",
        "certificate authentication failed", "connection requires a valid client certificate",
        # PgBouncer's.
        "unsupported startup parameter: replication", "no such database: …", "no such user: …",
        "server conn crashed?", "server login has been failing, …",
    }
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    rows = [line for line in text.split("\n") if line.startswith("| `")]
    assert len(rows) > 50
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            if message in servers:
                continue
            parts = [part.strip() for part in re.split(r'"?…"?', message) if part.strip()]
            for part in parts:
                assert part.strip(': "') in source, f"nobody says {part!r} ({message})"
