"""BASE_BACKUP through a relay: what a server answers, passed on; standbys made and run below the relay alone."""

import json
import os
import re
import shutil
import socket
import struct

import pytest

from support import wal
from support.certificates import Authority
from support.process import as_server_user, run, server_user, wait_for
from support.receiver import MEMORY_FACTOR, pgweir
from support.relay import PASSWORD, Client, fields, make_user, told
from support.scenario import begun
from support.server import DEBIAN_BIN, free_port
from test_serve_tls import authority  # noqa: F401 (a fixture)

pytestmark = pytest.mark.in_memory

TRUST = "host replication all 127.0.0.1/32 trust\n"


class Tree:
    """A primary and a receiver that serves. As a server it is what a standby is made of."""

    def __init__(self, servers, receivers, new_archive, place, major=15, options=(), source=None):
        self.primary = servers.primary(major=major)
        self.major = major
        users, rules = place / "relay_users", place / "relay_hba.conf"
        users.write_text(make_user(self.primary))
        rules.write_text(TRUST)
        self.primary.sql("CREATE ROLE backups REPLICATION LOGIN")
        self.archive = new_archive(self.primary)
        self.port = free_port()
        source = self.primary.conninfo(user="backups") if source is None else source
        source = source(self.primary) if callable(source) else source
        self.relay = receivers.pgweir(self.archive, self.primary, "--serve", self.port, "--serve-users", users,
                                      "--serve-hba", rules, *(["--serve-base-backup", source] if source else []),
                                      *options)
        begun(self.archive, self.primary)
        self.relay.wait_log(f"listening on 127.0.0.1:{self.port}")

    def conninfo(self, **more):
        words = {"host": "127.0.0.1", "port": self.port, "user": "repl", "password": f"'{PASSWORD}'", **more}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def client(self, name="raw"):
        return Client(self.port, application_name=name)

    def pg_basebackup(self, directory, *options, check=True):
        return run([DEBIAN_BIN / "pg_basebackup", "-D", directory, "-d", self.conninfo(), "-c", "fast", *options],
                   check=check, cwd="/", **as_server_user())


@pytest.fixture
def tree(servers, receivers, new_archive, place):
    return lambda **more: Tree(servers, receivers, new_archive, place, **more)


def backup_command(major, options=""):
    """Slow, where options ask for it: something is left to happen in the middle."""
    if major < 15:
        return f"BASE_BACKUP LABEL 'a ''label''' FAST NOWAIT {options}"
    return f"BASE_BACKUP (LABEL 'a ''label''', CHECKPOINT 'fast', WAIT false{', ' + options if options else ''})"


SLOW = "MAX_RATE 512"


def backups_upstream(primary):
    return int(primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'backup' AND usename = 'backups'"))


@pytest.mark.parametrize("major", [13, 14, 15], ids=lambda major: f"major{major}")
def test_a_standby_is_made_and_runs_below_the_relay(servers, tree, major):
    made = tree(major=major)
    primary = made.primary
    primary.write_wal(1)
    standby = servers._new("below", major, 1)
    standby.copy_of(made)  # -X stream: from a moment on that the relay does not have yet
    standby.start()
    end = primary.write_wal(0.5)
    standby.replayed(end)
    assert standby.sql("SELECT count(*) FROM filling") == primary.sql("SELECT count(*) FROM filling")
    assert standby.sql("SELECT sender_port FROM pg_stat_wal_receiver") == str(made.port)
    assert primary.sql("SELECT string_agg(DISTINCT application_name, ',') FROM pg_stat_replication") == "pgweir"


def test_every_way_of_pg_basebackup(servers, tree, place):
    made = tree()
    primary = made.primary
    end = primary.write_wal(1)
    place.chmod(0o777)
    # A slot of the relay, and the settings of a standby that uses it.
    standby = servers._new("with_slot", 15, 1)
    made.pg_basebackup(standby.data, "-X", "stream", "-C", "-S", "made", "-R", "--checkpoint=fast")
    settings = (standby.data / "postgresql.auto.conf").read_text()
    assert f"port={made.port}" in settings and "primary_slot_name = 'made'" in settings
    standby._configure({})
    standby.start()
    standby.replayed(primary.write_wal(0.2))
    slots = json.loads(pgweir("slot", "list", "-D", made.archive.path, "--json").stdout)
    assert [(slot["name"], slot["active"]) for slot in slots] == [("made", True)]

    for name, options in {"fetched": ["-X", "fetch"], "none": ["-X", "none"],
                          "tar": ["-X", "stream", "-F", "tar", "-z"], "rate": ["-X", "fetch", "--max-rate=32M", "-P"],
                          "server_gzip": ["-X", "fetch", "--compress=server-gzip"]}.items():
        made.pg_basebackup(place / name, *options)
    for name in ("fetched", "rate", "server_gzip"):
        run([DEBIAN_BIN / "pg_verifybackup", place / name])
    # Nothing of all that stays behind.
    wait_for(lambda: backups_upstream(primary) == 0, "the walsenders to end")
    made.relay.wait_log(r'base backup for client "pg_basebackup" .*: done')
    assert wal.lsn(primary.sql("SELECT pg_current_wal_lsn()")) > end


@pytest.mark.parametrize("major", [13, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_an_answer_is_passed_on_to_the_letter(tree, major):
    made = tree(major=major)
    made.primary.sql("CREATE DATABASE another")  # of the notices there are some

    def answer(port, command):
        client = Client(port, application_name="raw")
        heard = client.query(command)
        # It goes on with the next command.
        assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
        client.close()
        return heard

    # 15 has another form of a copy than 14; the manifest comes of itself, or in a copy of its own.
    for command in [backup_command(major), backup_command(major, "PROGRESS, MANIFEST 'yes'" if major >= 15
                                                          else "PROGRESS TABLESPACE_MAP MANIFEST 'yes'")]:
        theirs, ours = answer(made.primary.port, command), answer(made.port, command)
        for heard in (theirs, ours):
            assert sum(len(body) for kind, body in heard if kind == b"d") > 10_000_000
        shapes = [re.sub("d+", "d", "".join(kind.decode() for kind, _ in heard)) for heard in (theirs, ours)]
        assert shapes[0] == shapes[1] and "Hd" in shapes[0]
        for kinds in (b"T", b"C", b"H", b"c", b"Z", b"N"):  # nothing in them differs from one backup to another
            assert ([body for kind, body in ours if kind in kinds and kind != b"N"]
                    == [body for kind, body in theirs if kind in kinds and kind != b"N"])
        notices = [[{key: value for key, value in fields(body).items() if key != "L"} for kind, body in heard
                    if kind == b"N"] for heard in (theirs, ours)]
        assert notices[0] == notices[1]
    for wrong in ["BASE_BACKUP (NONSENSE)" if major >= 15 else "BASE_BACKUP NONSENSE",
                  backup_command(major, "MAX_RATE 1")]:
        theirs, ours = answer(made.primary.port, wrong), answer(made.port, wrong)
        assert theirs == ours and theirs[0][0] == b"E", wrong


def test_without_a_server_for_them(tree):
    made = tree(source="")
    error = fields(made.client().query("BASE_BACKUP (LABEL 'x')")[0][1])
    assert error["C"] == "0A000" and error["M"] == "BASE_BACKUP is not supported"
    assert "--serve-base-backup" in error["H"]
    assert fields(made.client().query("BASE_BACKUP LABEL 'x' FAST")[0][1])["C"] == "0A000"
    # Of 17 and later: an incremental one begins with it.
    error = fields(made.client().query("UPLOAD_MANIFEST")[0][1])
    assert error["C"] == "0A000" and error["M"].startswith("cannot execute SQL commands in WAL sender")


def test_what_goes_wrong_is_told(servers, tree):
    made = tree(options=["--serve-max-base-backups", "1"])
    primary = made.primary
    slow = backup_command(15, SLOW)

    def begin():
        client = made.client()
        client.query(slow, b"d")
        return client

    # One at a time; it is seen for what it is, here and upstream.
    first = begin()
    error = fields(made.client().query(slow)[0][1])
    assert (error["S"], error["C"], error["M"]) == ("ERROR", "53300", "sorry, too many base backups already")
    assert backups_upstream(primary) == 1
    assert "(127.0.0.1, user postgres): backup, async" in pgweir("status", "-D", made.archive.path).stdout

    # Who goes in the middle leaves nothing behind.
    first.close()
    wait_for(lambda: backups_upstream(primary) == 0, "the walsender to end")

    # The server ends it, with its own last word.
    client = begin()
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE state = 'backup'")
    error = fields(client.until(b"E")[-1][1])
    assert (error["S"], error["C"]) == ("FATAL", "57P01") and "administrator command" in error["M"]
    with pytest.raises(EOFError):
        client.message()

    # The client has it cancelled, by the key that it was given; with another key nothing happens.
    client = begin()
    process, secret = struct.unpack(">II", next(body for kind, body in client.greeting if kind == b"K"))
    for key in (secret ^ 1, secret):
        with socket.create_connection(("127.0.0.1", made.port)) as other:
            other.sendall(struct.pack(">IIII", 16, 80877102, process, key))
            assert other.recv(1) == b""
        if key != secret:
            client.until(b"d")
    error = fields(client.until(b"E")[-1][1])
    assert (error["S"], error["C"]) == ("ERROR", "57014")
    assert client.message() == (b"Z", b"I")
    assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
    wait_for(lambda: backups_upstream(primary) == 0, "the walsender to end")

    # It is not there, or it will not.
    primary.sql("ALTER ROLE backups NOLOGIN")
    client = made.client()
    error = fields(client.query(slow)[0][1])
    assert (error["S"], error["C"]) == ("ERROR", "28000") and "could not get the base backup" in error["M"]
    assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
    primary.sql("ALTER ROLE backups LOGIN NOREPLICATION")
    assert fields(client.query(slow)[0][1])["C"] == "42501"
    primary.sql("ALTER ROLE backups REPLICATION")
    client = begin()

    # The relay stops: the client hears of it, and nobody waits for the backup.
    made.relay.stop()
    error = fields(client.until(b"E")[-1][1])
    assert (error["S"], error["C"]) == ("FATAL", "57P01")
    wait_for(lambda: backups_upstream(primary) == 0, "the walsender to end")


def test_a_server_that_is_gone_or_another_one(servers, tree):
    other = servers.primary()
    made = tree(source=other.conninfo())
    error = fields(made.client().query(backup_command(15))[0][1])
    assert error["C"] == "55000" and "the server for base backups is of another cluster" in error["M"]
    other.stop("immediate")
    error = fields(made.client().query(backup_command(15))[0][1])
    assert error["C"] == "08006" and "could not get the base backup: could not connect" in error["M"]


def test_from_a_server_under_tls(tree, place, authority):  # noqa: F811
    """Whose certificate is looked at."""
    root = shutil.copy(authority.certificate, place / "root.crt")

    def source(primary):
        for path in authority.sign("upstream", "localhost"):
            shutil.copy(path, primary.data / path.name)
            if os.getuid() == 0:
                os.chown(primary.data / path.name, server_user().pw_uid, server_user().pw_gid)
            (primary.data / path.name).chmod(0o600)
        primary.conf(ssl="on", ssl_cert_file="upstream.crt", ssl_key_file="upstream.key")
        primary.hba("hostssl replication backups 127.0.0.1/32 trust", "host replication backups all reject")
        primary.reload()
        return primary.conninfo(user="backups", host="localhost", hostaddr="127.0.0.1", sslmode="verify-full",
                                sslrootcert=root)

    made = tree(source=source)
    primary = made.primary
    primary.write_wal(1)
    client = made.client()
    client.query(backup_command(15, SLOW), b"d")
    assert primary.sql("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE usename = 'backups'") == "t"
    client.close()
    place.chmod(0o777)
    made.pg_basebackup(place / "backup", "-X", "fetch")
    run([DEBIAN_BIN / "pg_verifybackup", place / "backup"])
    # It is not the server that was meant.
    shutil.copy(Authority(place, "others").certificate, root)
    error = fields(made.client().query(backup_command(15))[0][1])
    assert error["C"] == "08006" and "certificate verify failed" in error["M"] + made.relay.said(), error


def test_who_does_not_read_costs_no_memory(tree):
    made = tree()

    def resident():
        text = open(f"/proc/{made.relay.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) << 10

    small = made.client()
    small.query("BASE_BACKUP (NONSENSE)")  # libpq is loaded
    before = resident()
    client = made.client()
    client.send(b"Q", backup_command(15).encode() + b"\0")
    wait_for(lambda: backups_upstream(made.primary) == 1, "the backup to begin")
    # As far as anybody takes it: then the server blocks in its send.
    wait_for(lambda: made.primary.sql("SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'walsender'"
                                      " AND usename = 'backups'") == "ClientWrite", "the server to wait")
    assert resident() - before < (8 << 20) * MEMORY_FACTOR
    # All of it is there in the end, and nothing of the stream was held up meanwhile.
    made.primary.write_wal(0.2)
    size = 0
    while True:
        kind, body = client.message()
        size += len(body) if kind == b"d" else 0
        if kind == b"Z":
            break
    assert size > 10_000_000
