"""Tables made again from what `pgweir logical` wrote, to be compared with the source's own."""

import collections
import json


class Mirror:
    """Applies transactions in the order of their commits. rows(table): a multiset of rows, each a
    frozenset of (column, text or None). A change of a row that is not there, and a transaction that
    is there twice, are errors."""

    def __init__(self):
        self.tables = collections.defaultdict(collections.Counter)  # rows, without their NULLs
        self._by_key = {}  # (table, columns of the key) → {values: rows}
        self.transactions = set()
        self.messages = []

    def commit(self, key, changes):
        assert key not in self.transactions, f"transaction {key} is there twice"
        self.transactions.add(key)
        for change in changes:
            self._apply(*change)

    def _apply(self, kind, table, key, old, new):
        if kind == "truncate":
            for row in list(self.tables[table].elements()):
                self._remove(table, row)
        elif kind == "message":
            self.messages.append(new)
        elif kind == "insert":
            self._add(table, _row(new))
        else:
            before = self._find(table, old or key)
            assert before is not None, f"{kind} of a row that is not there: {table} {old or key}"
            self._remove(table, before)
            if kind == "update":
                self._add(table, _row({**dict(before), **new}))

    def _find(self, table, wanted):
        """A whole row, or one by its key."""
        row = _row(wanted)
        if self.tables[table][row]:
            return row
        columns = tuple(sorted(wanted))
        index = self._by_key.get((table, columns))
        if index is None:
            index = self._by_key[table, columns] = collections.defaultdict(collections.Counter)
            for each, count in self.tables[table].items():
                index[_values_of(each, columns)][each] += count
        return next((each for each, count in index[_values_of(row, columns)].items() if count), None)

    def _add(self, table, row):
        self._count(table, row, 1)

    def _remove(self, table, row):
        self._count(table, row, -1)

    def _count(self, table, row, step):
        self.tables[table][row] += step
        if not self.tables[table][row]:
            del self.tables[table][row]
        for (name, columns), index in self._by_key.items():
            if name == table:
                rows = index[_values_of(row, columns)]
                rows[row] += step
                if not rows[row]:
                    del rows[row]

    def rows(self, table, columns):
        """As Counter of tuples. A column that came later is NULL in older rows."""
        result = collections.Counter()
        for row, count in self.tables[table].items():
            values = dict(row)
            result[tuple(values.get(column) for column in columns)] += count
        return result

    def assert_like(self, server, tables):
        for table in tables:
            columns = server.sql(
                "SELECT attname FROM pg_attribute WHERE attrelid = "
                f"'{table}'::regclass AND attnum > 0 AND NOT attisdropped").splitlines()
            text = server.sql("SELECT coalesce(json_agg(ARRAY["
                              + ", ".join(f'"{column}"::text' for column in columns)
                              + f"]), '[]') FROM {table}")
            own = collections.Counter(tuple(row) for row in json.loads(text))
            mine = self.rows(table, columns)
            assert mine == own, (f"{table}: lost {list((own - mine).items())[:5]},"
                                 f" too many {list((mine - own).items())[:5]}")


def _row(values):
    return frozenset((name, value) for name, value in values.items() if value is not None)


def _values_of(row, columns):
    values = dict(row)
    return tuple(values.get(column) for column in columns)


def of_pgoutput(objects):
    """Follows parts of streamed transactions, rolled back subtransactions, and two phases."""
    mirror = Mirror()
    keys = {}  # table → columns of its key
    current = None  # where changes go: [(subxid, change)]
    streamed = {}
    prepared = {}
    had = set()  # xids that were prepared: what is streamed of them once more counts for nothing
    for each in objects:
        kind = each["kind"]
        if kind in ("prepare", "stream_prepare"):
            had.add(each["xid"])
        if kind == "relation":
            keys[each["table"]] = [column["name"] for column in each["columns"] if column["key"]]
        elif kind in ("begin", "begin_prepare"):
            assert current is None, each
            current = []
        elif kind == "stream_start":
            assert current is None, each
            if each["xid"] in had:
                current = []
                continue
            assert each["first"] == (each["xid"] not in streamed), each
            current = streamed.setdefault(each["xid"], [])
        elif kind == "stream_stop":
            assert current is not None, each
            current = None
        elif kind == "commit":
            mirror.commit(each["end_lsn"], [change for _, change in current])
            current = None
        elif kind == "stream_commit":
            assert current is None, each
            mirror.commit(each["end_lsn"], [change for _, change in streamed.pop(each["xid"])])
        elif kind == "stream_abort":
            assert current is None, each
            if each["xid"] in had:
                continue
            if each["xid"] == each["subxid"]:
                del streamed[each["xid"]]
            else:
                streamed[each["xid"]] = [change for change in streamed[each["xid"]]
                                         if change[0] != each["subxid"]]
        elif kind == "prepare":
            assert each["gid"] not in prepared, f"prepared twice: {each}"
            prepared[each["gid"]] = current
            current = None
        elif kind == "stream_prepare":
            assert each["gid"] not in prepared, f"prepared twice: {each}"
            prepared[each["gid"]] = streamed.pop(each["xid"])
        elif kind == "commit_prepared":
            mirror.commit(each["end_lsn"], [change for _, change in prepared.pop(each["gid"])])
        elif kind == "rollback_prepared":
            del prepared[each["gid"]]
        elif kind == "truncate":
            current += [(each.get("subxid", each["xid"]), ("truncate", table["table"], 0, 0, 0))
                        for table in each["tables"]]
        elif kind == "message" and each["transactional"]:
            current.append((each.get("subxid", each["xid"]),
                            ("message", "", None, None, each["content"])))
        elif kind == "message":
            mirror.messages.append(each["content"])
        elif kind in ("insert", "update", "delete"):
            new = each.get("new")
            key = each.get("key")
            if kind == "update" and key is None and "old" not in each:
                key = {name: new[name] for name in keys[each["table"]]}
            elif key is not None:
                key = {name: key[name] for name in keys[each["table"]]}
            old = each.get("old")
            current.append((each.get("subxid", each["xid"]),
                            (kind, each["table"], key, old, new)))
        else:
            assert kind in ("type", "origin"), each
    assert current is None and not streamed, "the output ends in the middle of a transaction"
    return mirror


def of_wal2json(objects):
    """Format 2, with include-lsn."""
    mirror = Mirror()
    current = None
    for each in objects:
        data = each["data"]
        action = data["action"]
        if action == "B":
            assert current is None, each
            current = []
        elif action == "C":
            mirror.commit(data["nextlsn"], current)
            current = None
        elif action == "T":
            current.append(("truncate", data["table"], 0, 0, 0))
        elif action == "M":
            if data["transactional"]:
                current.append(("message", "", None, None, data["content"]))
            else:
                mirror.messages.append(data["content"])
        else:
            kind = {"I": "insert", "U": "update", "D": "delete"}[action]
            current.append((kind, data["table"], _values(data, "identity"), None,
                            _values(data, "columns")))
    assert current is None, "the output ends in the middle of a transaction"
    return mirror


def of_wal2json_documents(objects):
    """Format 1, with include-lsn. It says nothing of TRUNCATE, and a message outside of transactions
    is a document of its own, which may be no JSON and then is a string."""
    mirror = Mirror()
    for each in objects:
        data = each["data"]
        if isinstance(data, str) or "nextlsn" not in data:
            assert "message" in str(data), each
            continue
        changes = []
        for change in data["change"]:
            kind = change["kind"]
            if kind == "truncate":
                changes.append(("truncate", change["table"], 0, 0, 0))
                continue
            if kind == "message":
                changes.append(("message", "", None, None, change["content"]))
                continue
            new = dict(zip(change.get("columnnames", []),
                           map(_text, change.get("columnvalues", []))))
            old = change.get("oldkeys")
            key = old and dict(zip(old["keynames"], map(_text, old["keyvalues"])))
            changes.append((kind, change["table"], key, None, new))
        mirror.commit(data["nextlsn"], changes)
    return mirror


def _values(data, name):
    return {column["name"]: _text(column["value"]) for column in data.get(name, [])}


def _text(value):
    return value if value is None or isinstance(value, str) else str(value)
