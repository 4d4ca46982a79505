"""Getting to the server: what passes by itself is waited for, what does not ends with a hint."""

import re
import socket
import threading

import pytest

from support.process import run, wait_for
from support.receiver import BINARY, pgweir
from support.scenario import reported, streaming
from support.server import free_port

SECRET = "not-to-be-printed"


@pytest.fixture
def guarded(servers):
    """A server with a role that needs a password, one that may not replicate, and one that
    pg_hba.conf keeps out."""
    primary = servers.primary(start=False)
    primary.hba("host all,replication keyholder 127.0.0.1/32 scram-sha-256",
                "host all,replication outsider 127.0.0.1/32 reject")
    primary.start()
    primary.sql(f"CREATE ROLE keyholder LOGIN REPLICATION PASSWORD '{SECRET}';"
                " CREATE ROLE clerk LOGIN; CREATE ROLE outsider LOGIN REPLICATION")
    return primary


@pytest.mark.parametrize("user, options, names", [
    ("keyholder", {"password": "wrong-" + SECRET}, "keyholder"),
    ("keyholder", {}, "password"),
    ("clerk", {}, "(?i)replication"),
    ("outsider", {}, "pg_hba"),
], ids=["wrong password", "no password", "not a replication role", "kept out by pg_hba.conf"])
def test_a_refusal_needs_a_person(guarded, receivers, new_archive, user, options, names):
    conninfo = guarded.conninfo(**{"user": user, **options})
    receiver = receivers.pgweir(new_archive(guarded), conninfo)
    assert receiver.wait_exit() == 4, receiver.said()
    assert re.search(names, receiver.said()), receiver.said()
    assert SECRET not in receiver.said()


def test_a_password_is_never_shown(guarded, receivers, new_archive):
    archive = new_archive(guarded)
    receiver = receivers.pgweir(archive, guarded.conninfo(user="keyholder", password=SECRET),
                                "--log-level", "debug")
    streaming(guarded)
    reported(guarded, guarded.write_wal(1))
    with open(f"/proc/{receiver.pid}/comm") as file:
        assert SECRET not in file.read()
    receiver.stop()
    assert SECRET not in receiver.said()


@pytest.mark.parametrize("conninfo", [
    "host=no-such-host.invalid user=postgres",
    "host=127.0.0.1 port={port} user=postgres",
    "host=/nonexistent user=postgres",
], ids=["no such host", "nobody listens", "no socket"])
def test_nobody_answers(servers, receivers, new_archive, conninfo):
    primary = servers.primary(start=False)
    conninfo = conninfo.format(port=primary.port)
    receiver = receivers.pgweir(new_archive(primary), conninfo, "--no-loop")
    assert receiver.wait_exit() == 3, receiver.said()
    assert conninfo.split()[0].split("=")[1] in receiver.said()


def test_a_server_that_comes_later_is_waited_for(servers, receivers, new_archive):
    primary = servers.primary(start=False)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log(str(primary.port))
    primary.start()
    streaming(primary)
    archive.wait_covers(primary, 1, primary.write_wal(2))
    receiver.stop()
    archive.assert_same_wal(primary)


def test_the_first_of_several_hosts_is_dead(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    conninfo = f"host=127.0.0.1,127.0.0.1 port={free_port()},{primary.port} user=postgres"
    receiver = receivers.pgweir(archive, conninfo)
    streaming(primary)
    archive.wait_covers(primary, 1, primary.write_wal(2))
    receiver.stop()
    archive.assert_same_wal(primary)


def test_a_host_without_our_slot_is_passed_over(servers, receivers, new_archive):
    """Slots are not copied to standbys: while the primary restarts, the standby will not do."""
    primary = servers.primary()
    standby = servers.standby(primary)
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    archive = new_archive(primary)
    conninfo = f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} user=postgres"
    receiver = receivers.pgweir(archive, conninfo, "-S", "archive")
    streaming(primary)
    end = primary.write_wal(1)
    standby.caught_up_with(end)  # it is not passed over for being behind
    reported(primary, end)
    primary.stop("fast")
    receiver.wait_log("does not exist")
    primary.start()
    streaming(primary)
    archive.wait_covers(primary, 1, primary.write_wal(2))
    receiver.stop()
    archive.assert_same_wal(primary)


def test_a_slot_is_made_on_each_host(servers, receivers, new_archive):
    primary = servers.primary()
    standby = servers.standby(primary)
    archive = new_archive(primary)
    conninfo = f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} user=postgres"
    receiver = receivers.pgweir(archive, conninfo, "-S", "archive", "--create-slot")
    streaming(primary)
    end = primary.write_wal(1)
    standby.caught_up_with(end)
    reported(primary, end)
    primary.stop("immediate")
    # Before that, the end of the archive is compared, without the slot.
    wait_for(lambda: standby.sql("SELECT active FROM pg_replication_slots") == "t", "the slot to be used")
    streaming(standby)
    standby.promote()
    archive.wait_covers(standby, 2, standby.write_wal(2))
    receiver.stop()
    archive.assert_same_wal(primary, standby)


def test_an_application_name_of_ones_own(servers, receivers, new_archive):
    primary = servers.primary()
    receiver = receivers.pgweir(new_archive(primary),
                                primary.conninfo(application_name="vault"))
    streaming(primary, "vault")
    receiver.stop()


def test_no_walsender_is_free(servers, receivers, new_archive):
    """max_wal_senders is reached: it passes when somebody leaves."""
    primary = servers.primary(max_wal_senders=1)
    archive = new_archive(primary)
    first = receivers.stock(new_archive(primary, "other"), primary)
    streaming(primary)
    receiver = receivers.pgweir(archive, primary)
    receiver.wait_log("max_wal_senders|max_connections|too many")
    assert receiver.running(), receiver.said()
    first.kill9()
    archive.wait_covers(primary, 1, primary.write_wal(1))
    receiver.stop()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0" * 4096],
                         ids=["http", "closes", "zeros"])
def test_something_that_is_no_server(receivers, place, greeting):
    class Directory:
        path = place

    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    connection.recv(1024)
                    connection.sendall(greeting)

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        receiver = receivers.pgweir(Directory, f"host=127.0.0.1 port={port} user=postgres",
                                    "--no-loop")
        assert receiver.wait_exit() in (3, 4), receiver.said()
        assert str(port) in receiver.said(), receiver.said()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("arguments, names", [
    (["receive"], "-D|--directory"),
    (["receive", "-D", "/tmp", "--no-such-option"], "no-such-option"),
    (["receive", "-D", "/tmp", "--endpos", "nonsense"], "nonsense"),
    (["receive", "-D", "/tmp", "--compress", "rar"], "rar"),
    (["receive", "-D", "/tmp", "--compress", "zstd:99"], "99"),
    (["receive", "-D", "/tmp", "--flush", "sometimes"], "sometimes"),
    (["receive", "-D", "/tmp", "--on-gap", "ignore"], "ignore"),
    (["receive", "-D", "/tmp", "-d", "host=127.0.0.1 prot=1"], "prot"),
    (["receive", "-D", "/tmp", "--create-slot"], "slot"),
    (["receive", "-D", "/tmp", "-c", "/nonexistent/pgweir.conf"], "/nonexistent/pgweir.conf"),
    (["slot", "destroy"], "destroy"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_usage(arguments, names):
    result = pgweir(*arguments)
    assert result.returncode == 2, result.stderr
    assert re.search(names, result.stderr), result.stderr


@pytest.mark.parametrize("arguments, names", [
    ([], "--help"),
    ([""], "unknown command"),
    (["recieve", "-D", "/tmp"], "Did you mean receive"),
    (["restore -D /tmp %f %p"], "unknown command"),
    (["-D", "/tmp", "receive"], "before a command"),
    (["-h", "db1", "restore"], "before a command"),
    (["-c", "/nonexistent", "recieve"], "Did you mean receive"),
    (["-c", "/nonexistent"], "before a command"),
    (["--no-such-option"], "before a command"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_without_a_command_it_may_be_a_mistyped_restore_command(arguments, names):
    result = pgweir(*arguments)
    assert result.returncode == 200, result.stderr
    assert re.search(names, result.stderr), result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["receive", "--help"], ["slot", "--help"],
                                       ["status", "--help"], ["--version"]], ids=" ".join)
def test_help_goes_to_stdout(arguments):
    result = pgweir(*arguments)
    assert result.returncode == 0, result.stderr
    assert "pgweir" in result.stdout and result.stderr == ""


def test_an_address_that_is_silent_leaves_time_for_the_next_one(servers, place):
    """As where a name has an IPv6 address, and IPv6 leads nowhere. The time for all of them is limited here to 10 seconds, as
    long as for each of them."""
    if run(["unshare", "-m", "true"], check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    server = servers.primary(listen_addresses="127.0.0.2")
    with socket.create_server(("127.0.0.1", server.port)):
        names = place / "hosts"
        names.write_text("127.0.0.1 twofold.test\n127.0.0.2 twofold.test\n")
        inside = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', names]
        found = run([*inside, "getent", "ahosts", "twofold.test"]).stdout.split()
        assert found[0] == "127.0.0.1", "the silent one comes first"
        shown = run([*inside, BINARY, "doctor", "-d", f"host=twofold.test port={server.port} user=postgres"], check=False)
    print(shown.stdout, shown.stderr)
    assert "PostgreSQL 15" in shown.stdout and "no answer" not in shown.stdout + shown.stderr
