"""Reads what `pgweir logical` wrote: the changes of the tables, transaction by transaction."""

import json
import re


def lines_of(*paths):
    """The JSON objects of the files, in order. A torn line is an error."""
    found = []
    for path in paths:
        data = path.read_bytes()
        assert not data or data.endswith(b"\n"), f"{path} ends in the middle of a line"
        found += [json.loads(line) for line in data.splitlines()]
    return found


def inserted_ids(objects):
    """The ids that transactions of the stream inserted, in order; by pgoutput's messages, with
    streamed transactions put together as their markers say. Fails for a change outside."""
    ids = []
    streamed = {}
    current = None
    for change in objects:
        kind = change["kind"]
        if kind in ("begin", "begin_prepare"):
            assert current is None, change
            current = ("begin", change["xid"], [])
        elif kind == "stream_start":
            assert current is None, change
            current = ("stream", change["xid"], streamed.setdefault(change["xid"], []))
        elif kind == "stream_stop":
            assert current[0] == "stream", change
            current = None
        elif kind in ("commit", "prepare"):
            assert current is not None and current[:2] == ("begin", change["xid"]), change
            ids += [number for _, number in current[2]]
            current = None
        elif kind == "stream_commit":
            ids += [number for _, number in streamed.pop(change["xid"])]
        elif kind == "stream_abort":
            if change["xid"] == change["subxid"]:
                streamed.pop(change["xid"])
            else:
                streamed[change["xid"]] = [each for each in streamed[change["xid"]]
                                           if each[0] != change["subxid"]]
        elif kind == "insert":
            assert current is not None and current[1] == change["xid"], change
            current[2].append((change.get("subxid", change["xid"]), int(change["new"]["id"])))
    assert current is None, "the output ends in the middle of a transaction"
    assert not streamed, "the output ends with a streamed transaction that did not end"
    return ids


def inserted_ids_of_test_decoding(objects):
    ids = []
    inside = False
    for each in objects:
        text = each["data"]
        if text.startswith("BEGIN"):
            assert not inside
            inside = True
        elif text.startswith("COMMIT"):
            assert inside
            inside = False
        elif match := re.match(r"table public\.t: INSERT: id\[bigint\]:(\d+) ", text):
            assert inside
            ids.append(int(match[1]))
    assert not inside, "the output ends in the middle of a transaction"
    return ids


def inserted_ids_of_wal2json(objects):
    ids = []
    inside = None
    for each in objects:
        data = each["data"]
        if "change" in data:  # format 1: a document a transaction
            ids += [change["columnvalues"][0] for change in data["change"]
                    if change["kind"] == "insert"]
        elif data["action"] == "B":
            assert inside is None
            inside = True
        elif data["action"] == "C":
            assert inside
            inside = None
        elif data["action"] == "I":
            assert inside
            ids.append(data["columns"][0]["value"])
    assert inside is None, "the output ends in the middle of a transaction"
    return ids
