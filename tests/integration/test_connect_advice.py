"""Each cause of a failed connection has its own advice, and who follows it gets in: with real servers,
told by doctor, receive, slot, status and logical alike."""

import json
import os
import re
import shutil
import socket

import pytest

from support.certificates import Authority
from support.process import as_server_user, server_user, wait_for
from support.receiver import pgweir
from support.scenario import streaming
from support.server import free_port

SECRET = "not-to-be-printed"
# What only those may say whose trouble it is.
HBA, ROLE = r"pg_hba\.conf", r"ALTER ROLE|CREATE ROLE|REPLICATION"


def doctor(conninfo, check="replication_connection", env=None):
    """What doctor finds of the connection: None if it works, else its advice, line by line."""
    done = pgweir("doctor", "--json", "--measure", "0", "-d", conninfo, env=env)
    assert done.stdout, done.stderr
    assert SECRET not in done.stdout + done.stderr
    [found] = [each for each in json.loads(done.stdout)["checks"] if each["name"] == check]
    return None if found["level"] == "ok" else found.get("todo", [])


def ordinary(conninfo, env=None):
    """The same of the connection for SQL."""
    return doctor(conninfo, "ordinary_connection", env)


def assert_advice(lines, says, hba=False, role=False):
    text = "\n".join(lines)
    assert re.search(says, text), text
    assert bool(re.search(HBA, text)) == hba, text
    assert bool(re.search(ROLE, text)) == role, text


def sql_of(lines):
    return [line.replace("'...'", f"'{SECRET}'") for line in lines if line.endswith(";")]


def let_in(server, lines):
    """Follows the advice about pg_hba.conf, but for the method."""
    [line] = [line for line in lines if line.startswith("in pg_hba.conf: ")]
    server.hba(line.removeprefix("in pg_hba.conf: ").replace("THIS-MACHINE", "127.0.0.1")
               .replace("scram-sha-256", "trust"))


def hint_of(*command):
    done = pgweir(*command)
    assert done.returncode in (1, 3, 4) or command[0] == "status", (command, done)
    return done.stdout + done.stderr


# --- What does not answer


def test_nobody_answers_and_each_cause_is_told_by_all_alike(place):
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # A queue that is full drops what comes: as a firewall does.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        port = free_port()
        cases = [
            (f"host=127.0.0.1 port={port}", "No server listens there.*listen_addresses"),
            ("host=no-such-host.invalid", "spelling, DNS"),
            (f"host=/nonexistent port={port}", "The socket does not exist.*unix_socket_directories"),
            (f"host=127.0.0.1 port={silent.getsockname()[1]} connect_timeout=2 sslmode=disable",
             "does not respond"),
            (f"host=127.0.0.1 port={full.getsockname()[1]} connect_timeout=2", "firewall"),
        ]
        for conninfo, says in cases:
            advice = doctor(conninfo + " user=archiver")
            assert_advice(advice, says)
            if "timeout" in conninfo:
                continue  # told by the same code; each would wait
            database = conninfo + " user=archiver dbname=postgres"
            for command in (
                    ("receive", "-D", place, "--no-loop", "-d", conninfo),
                    ("slot", "create", "-S", "s", "-d", conninfo),
                    ("slot", "list", "-d", database),
                    ("status", "-D", place, "-d", conninfo),
                    ("logical", "create", "-S", "s", "-d", database),
                    ("logical", "-S", "s", "-f", place / "out", "--no-loop", "-d", database),
                    ("notify", "channel", "-d", database)):
                assert advice[0] in hint_of(*command), command
        for each in waiting:
            each.close()


def test_of_several_hosts_each_has_its_own_advice(place):
    port = free_port()
    conninfo = f"host=/nonexistent,127.0.0.1 port={port} user=archiver"
    advice = doctor(conninfo)
    assert re.search(f"/nonexistent/.s.PGSQL.{port}: The socket does not exist", advice[0]), advice
    assert re.search(f"127.0.0.1:{port}: No server listens", advice[1]), advice
    said = hint_of("receive", "-D", place, "--no-loop", "-d", conninfo)
    assert all(line in said for line in advice), said


# --- What the server refuses


@pytest.mark.parametrize("major", [13, 15, 18, 19])
def test_what_the_server_refuses_and_that_the_advice_helps(servers, place, major):
    primary = servers.primary(major=major, start=False)
    primary.hba("local all all trust", "host all,replication keyholder 127.0.0.1/32 scram-sha-256",
                "host all,replication outsider 127.0.0.1/32 reject",
                "host all,replication peer 127.0.0.1/32 ident")
    primary.start()
    primary.sql(f"CREATE ROLE keyholder LOGIN REPLICATION PASSWORD '{SECRET}';"
                " CREATE ROLE clerk LOGIN; CREATE ROLE outsider LOGIN REPLICATION;"
                " CREATE ROLE idle REPLICATION; CREATE ROLE \"Two Words\" LOGIN;"
                " CREATE ROLE peer LOGIN REPLICATION;"
                " CREATE ROLE limited LOGIN REPLICATION CONNECTION LIMIT 0")
    primary.sql("CREATE DATABASE closed")
    primary.sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    primary.sql("CREATE DATABASE narrow CONNECTION LIMIT 0")
    primary.sql("CREATE DATABASE shut")
    primary.sql("ALTER DATABASE shut ALLOW_CONNECTIONS false")

    def of(user, **options):
        return primary.conninfo(user=user, **options)

    # What SQL mends, it mends.
    for user, says, role in (
            ("clerk", "attribute REPLICATION", True), ("\"'Two Words'\"", "REPLICATION", True),
            ("idle", "not permitted to log in", True), ("newcomer", "does not exist", True)):
        conninfo = of(user.strip('"'))
        advice = doctor(conninfo)
        assert_advice(advice, says, role=role)
        said = hint_of("receive", "-D", place, "--no-loop", "-d", conninfo)
        assert advice[1].removesuffix(";") in said, said
        for statement in sql_of(advice):
            primary.sql(statement)
        assert doctor(conninfo) is None, advice
    for user, database, says in (("clerk", "closed", "not permitted to connect"),
                                 ("clerk", "shut", "does not accept connections"),
                                 ("limited", "postgres", "role's connection limit is reached"),
                                 ("clerk", "narrow", "database's connection limit is reached")):
        conninfo = of(user, dbname=database)
        advice = ordinary(conninfo)
        assert_advice(advice, says, role=user == "limited")
        for statement in sql_of(advice):
            primary.sql(statement)
        assert ordinary(conninfo) is None, advice
    assert_advice(ordinary(of("clerk", dbname="nowhere")), "The database nowhere does not exist")
    assert "The database nowhere does not exist" in hint_of(
        "logical", "create", "-S", "s", "-d", of("clerk", dbname="nowhere"))

    # pg_hba.conf: what is kept out is, by a line before the others, let in.
    assert_advice(doctor(of("keyholder", password="wrong-" + SECRET)), "password is wrong")
    assert_advice(doctor(of("keyholder")), "asks for a password")
    assert_advice(doctor(of("peer")), "name of the operating system user", hba=True)
    advice = doctor(of("outsider"))
    assert_advice(advice, "host replication outsider", hba=True)
    let_in(primary, advice)
    let_in(primary, ordinary(of("outsider", dbname="postgres")))
    primary.reload()
    wait_for(lambda: doctor(of("outsider")) is None, "pg_hba.conf to be read")
    assert ordinary(of("outsider", dbname="postgres")) is None
    # For logical replication the database counts, and not "replication".
    said = hint_of("logical", "create", "-S", "s", "-d", of("outsider", dbname="closed"))
    assert "host closed outsider" in said

    # Limits of the server
    primary.conf(max_wal_senders=1, max_connections=4, superuser_reserved_connections=1,
                 log_min_messages="fatal")
    primary.restart()
    sleeping = [primary.spawn_sql("SELECT pg_sleep(600)") for _ in range(4)]

    def all_taken():
        return ordinary(of("clerk", dbname="postgres"))

    assert_advice(wait_for(all_taken, "all connections to be taken"), "max_connections")
    for each in sleeping:
        each.kill()
        each.wait()
    primary.stop("immediate")

    # Starting up, and a standby that answers nobody
    (primary.data / "standby.signal").touch()
    primary.conf(hot_standby="off", max_wal_senders=1)
    primary.start(wait=False)

    def answer():
        advice = doctor(of("clerk"))
        return advice if "No server listens" not in str(advice) else None

    assert_advice(wait_for(answer, "the standby to answer"),
                  "hot_standby|starting up" if major > 13 else "starting up")


def test_no_walsender_is_free(servers, receivers, new_archive):
    primary = servers.primary(max_wal_senders=1)
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION")
    receivers.pgweir(new_archive(primary), primary)
    streaming(primary)
    assert_advice(doctor(primary.conninfo(user="archiver")), "All walsenders are in use")
    assert ordinary(primary.conninfo(user="archiver", dbname="postgres")) is None


def test_a_server_that_shuts_down(servers):
    primary = servers.primary()
    primary.sql("CREATE ROLE archiver LOGIN REPLICATION")
    held = primary.spawn_sql("SELECT pg_sleep(600)")
    wait_for(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)'"
                                 " AND pid <> pg_backend_pid()") == "1", "the session")
    primary.process.terminate()
    advice = wait_for(lambda: doctor(primary.conninfo(user="archiver")), "the server to refuse")
    assert_advice(advice, "shutting down")
    held.kill()
    held.wait()


# --- TLS


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_tls_each_side_refuses_the_other(servers, place):
    ours, others = Authority(place, "ours"), Authority(place, "others")
    primary = servers.primary(start=False)
    key, certificate = ours.sign("server", "localhost")
    for path in (key, certificate, ours.certificate):
        shutil.copy(path, primary.data / path.name)
        if os.getuid() == 0:
            os.chown(primary.data / path.name, server_user().pw_uid, server_user().pw_gid)
    (primary.data / key.name).chmod(0o600)
    primary.conf(ssl="on", ssl_cert_file=certificate.name, ssl_key_file=key.name,
                 ssl_ca_file=ours.certificate.name)
    primary.hba("local all all trust", "hostssl all,replication clerk 127.0.0.1/32 cert",
                "hostssl all,replication guest 127.0.0.1/32 trust",
                "hostssl all,replication holder 127.0.0.1/32 trust clientcert=verify-ca")
    path = primary.data / "pg_hba.conf"
    path.write_text("".join(path.read_text().splitlines(True)[:4]))
    primary.start()
    primary.sql("CREATE ROLE clerk LOGIN REPLICATION; CREATE ROLE guest LOGIN REPLICATION;"
                " CREATE ROLE holder LOGIN REPLICATION")
    clerk, strange, other = (
        dict(zip(("sslkey", "sslcert"), pair)) for pair in
        (ours.sign("clerk", "clerk"), others.sign("strange", "clerk"), ours.sign("other", "other")))

    def of(user="guest", mode="verify-ca", root=ours.certificate, **options):
        return primary.conninfo(user=user, sslmode=mode, sslrootcert=root, **options)

    env = {"HOME": str(place)}
    cases = [
        ("not one of ours", of(root=others.certificate), "not signed by a CA"),
        ("no root", of(root=place / "missing"), "with sslrootcert"),
        ("another name", of(mode="verify-full"), "certificate is for another name"),
        ("no certificate", of("clerk"), "requires a client certificate"),
        ("none, either", of("holder"), "requires a client certificate"),
        ("of another authority", of("clerk", **strange), "signed by a CA in the server"),
        ("of another role", of("clerk", **other), "is not that of the role"),
        ("no key", of("clerk", sslcert=clerk["sslcert"], sslkey=place / "missing"), "sslkey"),
    ]
    for what, conninfo, says in cases:
        advice = doctor(conninfo, env=env)
        text = "\n".join(advice)
        assert re.search(says, text), (what, text)
        assert not re.search(ROLE, text) and "replication" not in text, (what, text)
        assert "pg_hba" not in text, (what, text)
    assert doctor(of("clerk", **clerk), env=env) is None
    assert doctor(of(mode="verify-full", host="localhost", hostaddr="127.0.0.1"), env=env) is None
    advice = doctor(of(mode="disable"), env=env)
    assert_advice(advice, "hostssl line does not match while sslmode=disable", hba=True)
    plain = servers.primary("plain")
    assert_advice(doctor(plain.conninfo(sslmode="require")), "does not support TLS")


# --- Passwords


def test_the_line_for_the_password_file_is_the_one_that_libpq_finds(servers, receivers, new_archive,
                                                                    place):
    """Each way to name a server: who puts the line into the file that is named gets in."""
    sockets = "/var/run/postgresql"  # which libpq is built for
    local = sockets if os.path.isdir(sockets) and os.access(sockets, os.W_OK) else None
    primary = servers.primary(start=False, wal_level="logical")
    if local:
        primary.conf(unix_socket_directories=f"{primary.socket_dir},{local}")
    primary.hba("local all postgres trust", "host all postgres 127.0.0.1/32 trust",
                *(f"{kind} all,replication all {address} scram-sha-256" for kind, address in
                  (("local", ""), ("host", "127.0.0.1/32"))))
    primary.start()
    primary.sql(f"CREATE ROLE \"a:b\" LOGIN REPLICATION PASSWORD '{SECRET}'")
    dead = free_port()
    passfile = place / "passwords"
    ways = {
        "an address": f"host=127.0.0.1 port={primary.port}",
        "hostaddr": f"hostaddr=127.0.0.1 port={primary.port}",
        "a name and hostaddr": f"host=db1.example hostaddr=127.0.0.1 port={primary.port}",
        "a socket": f"host={primary.socket_dir} port={primary.port}",
        "the second host": f"host=/nonexistent,127.0.0.1 port={dead},{primary.port}",
    }
    if local:
        ways["libpq's socket"] = f"host={local} port={primary.port}"
        ways["no host"] = f"port={primary.port}"
    expected = {"an address": "127.0.0.1", "hostaddr": "127.0.0.1",
                "a name and hostaddr": "db1.example", "a socket": str(primary.socket_dir),
                "the second host": "127.0.0.1", "libpq's socket": "localhost",
                "no host": "localhost"}
    for way, where in ways.items():
        for named in (None, "postgres"):
            conninfo = f"{where} user=a:b passfile={passfile}" + (f" dbname={named}" if named else "")
            slot = ("slot", "drop", "-S", "nothing", "-d", conninfo)
            passfile.unlink(missing_ok=True)
            said = pgweir(*slot).stderr
            line = re.search(r"Put the line (\S+) into the password file (\S+), which does not exist",
                             said)
            assert line and line.group(2) == str(passfile), said
            assert line.group(1) == "{}:{}:{}:a\\:b:PASSWORD".format(
                expected[way], primary.port, named or "replication"), way
            passfile.write_text(line.group(1).replace("PASSWORD", SECRET) + "\n")
            passfile.chmod(0o644)
            assert "chmod 600" in pgweir(*slot).stderr
            passfile.chmod(0o600)
            done = pgweir(*slot)
            assert '"nothing" does not exist' in done.stderr, (way, done.stderr)
            # Nothing but this line fits.
            passfile.write_text(passfile.read_text().replace(SECRET, "wrong"))
            said = pgweir(*slot).stderr
            assert "The password is wrong." in said and str(passfile) in said, said
            assert SECRET not in said
    # The other two kinds of connection ask for the database itself.
    conninfo = primary.conninfo(user="a:b", dbname="postgres", passfile=passfile)
    for command in (("slot", "list", "-d", conninfo), ("logical", "create", "-S", "s", "-d", conninfo)):
        passfile.unlink(missing_ok=True)
        line = re.search(r"Put the line (\S+) into", pgweir(*command).stderr).group(1)
        assert ":postgres:" in line
        passfile.write_text(line.replace("PASSWORD", SECRET) + "\n")
        passfile.chmod(0o600)
        done = pgweir(*command)
        assert done.returncode == 0, done.stderr
    said = pgweir("slot", "list", "-d", conninfo + " password=wrong").stderr
    assert "the password file is not used" in said
