"""pgweir serve under TLS: libpq's clients, real standbys, and some who mean no good."""

import concurrent.futures
import json
import os
import random
import shutil
import signal
import socket
import ssl
import struct

import pytest

from support import wal
from support.certificates import Authority
from support.process import PATIENCE, run, server_user, wait_for
from support.receiver import pgweir
from support.relay import PASSWORD, Client, fields, make_user, told
from support.server import DEBIAN_BIN, free_port
from test_serve import TRUST, filled, receive_stock, relay, same_files  # noqa: F401 (fixtures)

SSL_REQUEST = struct.pack(">II", 8, 80877103)
CLOSED = "hostssl replication all 127.0.0.1/32 scram-sha-256\n"


@pytest.fixture
def authority(place):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    return Authority(place, "authority")


@pytest.fixture
def secure(authority, relay):  # noqa: F811
    """secure(archive, users, rules): a relay with a certificate for localhost, which it believes, too."""
    key, certificate = authority.sign("server", "localhost")

    def start(archive, users=None, rules=None, more=()):
        return relay(archive, users, rules, options=["--serve-tls-cert", certificate, "--serve-tls-key", key,
                                                     "--serve-tls-ca", authority.certificate, *more])

    start.key, start.certificate = key, certificate
    return start


def verified(authority, **more):
    """What a client that looks closely has in its connection string."""
    return {"host": "localhost", "hostaddr": "127.0.0.1", "sslmode": "verify-full",
            "sslrootcert": authority.certificate, **more}


def ask(serving, **words):
    """psql's IDENTIFY_SYSTEM."""
    return run([DEBIAN_BIN / "psql", "-XAt", "-c", "IDENTIFY_SYSTEM", serving.conninfo(**words) + " replication=true"],
               check=False)


def trusting(alpn=None):
    """A client's side that believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class TlsClient(Client):
    """Negotiated, or (with ALPN) from the first byte on, as libpq's of 17 with sslnegotiation=direct."""

    def __init__(self, port, alpn=None, **more):
        self._alpn = alpn
        super().__init__(port, **more)

    def _connect(self, host, port):
        plain = super()._connect(host, port)
        if self._alpn is None:
            plain.sendall(SSL_REQUEST)
            assert plain.recv(1) == b"S"
        return trusting(self._alpn).wrap_socket(plain, server_hostname="localhost")

    def shown(self):
        return self.socket.getpeercert(binary_form=True)


def test_libpq_looks_closely_and_gets_the_same_bytes(place, filled, secure, authority):  # noqa: F811
    _, archive, user = filled
    serving = secure(archive, user, CLOSED)
    directory, result = receive_stock(place, serving, archive,
                                      **verified(authority, channel_binding="require"))
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2
    serving.process.wait_log(r'client "pgweir" \(127.0.0.1, user "repl"\) connected, over TLS')
    result = ask(serving, **verified(authority, channel_binding="require", ssl_min_protocol_version="TLSv1.2",
                                     ssl_max_protocol_version="TLSv1.2"))
    assert result.returncode == 0, result.stderr
    for mode in ("disable", "prefer", "require"):  # without the binding, too
        assert ask(serving, **verified(authority, channel_binding=mode)).returncode == 0
    wrong = ask(serving, **verified(authority, channel_binding="require", password="wrong"))
    assert 'password authentication failed for user "repl"' in wrong.stderr

    # A rule for TLS alone, and nobody without it.
    plain = ask(serving, sslmode="disable")
    assert 'no pg_hba.conf entry for replication connection from host "127.0.0.1", user "repl", no encryption' \
        in plain.stderr


def test_a_rule_for_those_without(filled, secure, authority):  # noqa: F811
    _, archive, user = filled
    serving = secure(archive, user, "hostnossl replication all all scram-sha-256\n")
    assert ask(serving, sslmode="disable").returncode == 0
    result = ask(serving, **verified(authority))
    assert 'from host "127.0.0.1", user "repl", SSL encryption' in result.stderr
    # Over a Unix socket there is none, as with a server.
    serving.hba.write_text("local replication all scram-sha-256\n")
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("reloaded the HBA")
    assert ask(serving, host=serving.socket_dir, sslmode="require").returncode == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{serving.socket_dir}/.s.PGSQL.{serving.port}")
        client.sendall(SSL_REQUEST)
        assert client.recv(10) == b"N"


def test_a_client_refuses_another_server(place, filled, secure, authority):  # noqa: F811
    _, archive, user = filled
    serving = secure(archive, user, CLOSED)
    other = Authority(place, "other")
    result = ask(serving, **verified(other))
    assert "certificate verify failed" in result.stderr
    serving.process.wait_log(": could not accept SSL connection: tlsv1 alert unknown ca")
    result = ask(serving, **verified(authority, host="archive.example.org"))
    assert 'does not match host name "archive.example.org"' in result.stderr
    assert ask(serving, **verified(authority)).returncode == 0

    key, certificate = authority.sign_expired("old", "localhost")
    shutil.copy(key, secure.key)
    shutil.copy(certificate, secure.certificate)
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("the certificate .*server.crt has expired on ")
    result = ask(serving, **verified(authority))
    assert "certificate verify failed" in result.stderr


def test_a_certificate_is_who_its_name_says(place, filled, secure, authority):  # noqa: F811
    _, archive, _ = filled
    serving = secure(archive, None, "hostssl replication all all cert\n")

    def shows(signer, name, user="repl", expired=False):
        key, certificate = (signer.sign_expired if expired else signer.sign)(f"client-{name}", name)
        return verified(authority, user=user, sslcert=certificate, sslkey=key)

    assert ask(serving, **shows(authority, "repl")).returncode == 0
    result = ask(serving, **shows(authority, "repl", user="other"))
    assert 'certificate authentication failed for user "other"' in result.stderr
    serving.process.wait_log('certificate authentication failed for user "other".*the certificate is that of "repl"')
    result = ask(serving, **verified(authority, sslcert="/none"))
    assert "connection requires a valid client certificate" in result.stderr
    assert ask(serving, **shows(authority, "repl", expired=True)).returncode != 0
    serving.process.wait_log("certificate verify failed: certificate has expired")
    assert ask(serving, **shows(Authority(place, "stranger"), "repl")).returncode != 0
    serving.process.wait_log("certificate verify failed: unable to get local issuer certificate")


def test_a_standby_streams_under_tls_while_the_certificate_is_renewed(servers, receivers, new_archive, place,
                                                                      authority):
    primary = servers.primary()
    users = place / "relay_users"
    users.write_text(make_user(primary))
    users.chmod(0o600)
    key, certificate = authority.sign("server", "localhost")
    port = free_port()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--serve", port, "--serve-users", users, "--serve-tls-cert",
                                certificate, "--serve-tls-key", key)
    receiver.wait_log(f"listening on 127.0.0.1:{port}")
    standby = servers.standby(primary, start=False)
    root = standby.data / "root.crt"
    shutil.copy(authority.certificate, root)
    if os.getuid() == 0:
        os.chown(root, server_user().pw_uid, server_user().pw_gid)
    standby.conf(primary_conninfo=f"host=localhost hostaddr=127.0.0.1 port={port} user=repl password='{PASSWORD}'"
                                  f" sslmode=verify-full sslrootcert={root} sslcert={standby.data}/none"
                                  f" channel_binding=require"
                                  f" application_name={standby.name}")
    standby.start()
    standby.caught_up_with(primary.write_wal(1.5))
    receiver.wait_log(rf'client "{standby.name}" .* connected, over TLS')

    new_key, new_certificate = authority.sign("renewed", "localhost")
    shutil.copy(new_certificate, certificate)
    shutil.copy(new_key, key)
    receiver.send(signal.SIGHUP)
    receiver.wait_log("users files, and the certificate")
    standby.caught_up_with(primary.write_wal(0.5))
    assert receiver.said().count("connected, over TLS") == 1

    end = primary.flushed()
    primary.kill9()
    standby.stop()
    standby.start()
    wait_for(lambda: receiver.said().count("connected, over TLS") > 1, "the standby to be back")
    assert standby.flushed() >= end


def test_a_certificate_that_is_wrong_leaves_the_old_one_in_force(filled, secure, authority):  # noqa: F811
    _, archive, _ = filled
    serving = secure(archive, None, TRUST)
    before = TlsClient(serving.port)
    old = before.shown()
    new_key, new_certificate = authority.sign("renewed", "localhost")
    shutil.copy(new_certificate, secure.certificate)  # without its key
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("the private key does not match the certificate")
    serving.process.wait_log("the previous HBA file and users stay in effect, and the certificate")
    assert TlsClient(serving.port).shown() == old

    shutil.copy(new_key, secure.key)
    serving.process.send(signal.SIGHUP)
    serving.process.wait_log("reloaded the HBA and users files, and the certificate")
    assert TlsClient(serving.port).shown() == ssl.PEM_cert_to_DER_cert(new_certificate.read_text())
    assert told(before.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")


def test_what_is_replaced_is_noticed_without_a_signal(filled, secure, authority):  # noqa: F811
    _, archive, user = filled
    serving = secure(archive, user, TRUST)
    old = TlsClient(serving.port).shown()
    new_key, new_certificate = authority.sign("renewed", "localhost", days=3)
    secure.certificate.write_bytes(new_certificate.read_bytes()[:200])
    serving.process.wait_log("could not read the certificate.*the previous contents stay in effect")
    assert TlsClient(serving.port).shown() == old
    shutil.copy(new_certificate, secure.certificate)
    serving.process.wait_log("the private key does not match the certificate.*the previous contents stay in effect")
    shutil.copy(new_key, secure.key)
    serving.process.wait_log("was replaced: new clients use the new contents")
    assert TlsClient(serving.port).shown() == ssl.PEM_cert_to_DER_cert(new_certificate.read_text())
    # It ends in three days: in the log, the status with its verdict, and for Prometheus.
    serving.process.wait_log("the certificate .*server.crt expires on ")
    told = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)
    shown = told["relays"][0]["serve_certificate"]
    assert shown["file"] == str(secure.certificate) and 2 <= shown["expires_in_seconds"] / 86400 <= 3, shown
    assert any(found["topic"] == "certificate" and "the relay's certificate" in found["text"]
               for found in told["findings"]), told["findings"]
    # A password that changes is the next one that is asked for.
    serving.users.unlink()
    serving.process.wait_log("could not open file.*the previous contents stay in effect")


def test_tls_from_the_first_byte_on(filled, secure):  # noqa: F811
    _, archive, _ = filled
    serving = secure(archive, None, TRUST)
    client = TlsClient(serving.port, alpn=["postgresql"])
    assert client.socket.selected_alpn_protocol() == "postgresql"
    assert client.greeting[-1][0] == b"Z"
    # Without the name it may be anybody's.
    with socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE) as plain:
        with trusting().wrap_socket(plain) as tls:
            assert tls.recv(1) == b""
    serving.process.wait_log("received direct SSL connection request without ALPN protocol negotiation extension")
    with socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE) as plain:
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            trusting(["h2"]).wrap_socket(plain)


class NewerClient(TlsClient):
    """As libpq's of 18 with max_protocol_version=latest."""

    protocol = 3 << 16 | 2


def test_a_newer_protocol_is_negotiated(filled, secure):  # noqa: F811
    """Protocol 3.2 and TLS from the first byte on, in one: told that it is 3.0, and what of the options is not known;
    then it streams as any other."""
    _, archive, _ = filled
    serving = secure(archive, None, TRUST)
    for options in ({}, {"_pq_.something": "1", "_pq_.else": "on"}):
        client = NewerClient(serving.port, alpn=["postgresql"], **options)
        kind, body = client.greeting[0]
        assert kind == b"v" and struct.unpack(">II", body[:8]) == (3 << 16, len(options))
        assert sorted(body[8:].split(b"\0")[:-1]) == sorted(name.encode() for name in options)
        assert client.greeting[-1][0] == b"Z"
        # The key to cancel by has four bytes, as ever in 3.0.
        assert [len(body) for kind, body in client.greeting if kind == b"K"] == [8]
        first = min(segno for _, segno in archive.finished())
        client.query(f"START_REPLICATION {wal.lsn_text(first * archive.segment_size)} TIMELINE 1", until=b"W")
        received = b""
        while len(received) < archive.segment_size:
            kind, body = client.message()
            if kind == b"d" and body[:1] == b"w":
                received += body[25:]
        assert received[:archive.segment_size] == archive.read(1, first)
        client.close()


def test_nothing_in_plain_text_is_taken_for_encrypted(filled, secure):  # noqa: F811
    """Bytes behind the question, from whoever sits in between."""
    _, archive, _ = filled
    serving = secure(archive, None, TRUST)
    words = b"user\0postgres\0replication\0true\0\0"
    startup = struct.pack(">II", len(words) + 8, 3 << 16) + words
    with socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE) as client:
        client.sendall(SSL_REQUEST + startup)
        heard = b""
        while part := client.recv(4096):
            heard += part
    assert heard[:1] == b"E" and fields(heard[5:])["M"] == "received unencrypted data after SSL request"
    serving.process.wait_log("received unencrypted data after SSL request")


def test_who_gets_stuck_in_the_handshake_holds_up_nobody(place, filled, secure, authority):  # noqa: F811
    _, archive, user = filled
    serving = secure(archive, user, CLOSED, more=["--serve-auth-timeout", "6s"])
    hello = ssl.MemoryBIO()
    begun = trusting().wrap_bio(ssl.MemoryBIO(), hello)
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    hello = hello.read()
    chance = random.Random(int(os.environ.get("PGWEIR_SEED", "20260801")))
    door = []
    for at in range(30):  # each is told in the log, up to 20 a minute
        client = socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE)
        door.append(client)
        client.sendall(SSL_REQUEST)
        assert client.recv(1) == b"S"
        try:
            client.sendall([b"", hello[:50], hello, chance.randbytes(300), b"\x16\x03\x01\xff\xff" + bytes(70_000),
                            b"\x14\x03\x03\0\1\1" * 2000][at % 6])
        except OSError:
            pass  # refused in the middle of it
    directory, result = receive_stock(place, serving, archive, **verified(authority))
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2
    serving.process.wait_log("did not authenticate within 6 s")

    def all_left():
        for client in list(door):
            client.setblocking(False)
            try:
                while client.recv(65536):
                    pass
            except BlockingIOError:
                continue
            except OSError:
                pass
            client.close()
            door.remove(client)
        return not door

    wait_for(all_left, "all of them to be left")
    assert serving.process.running()


def test_who_does_not_read_under_tls_holds_up_nobody(place, filled, secure, authority):  # noqa: F811
    _, archive, _ = filled
    serving = secure(archive, None, TRUST)
    start = archive.segment_size * min(segno for _, segno in archive.finished())
    silent = [TlsClient(serving.port) for _ in range(5)]
    for client in silent:
        client.query(f"START_REPLICATION {wal.lsn_text(start)} TIMELINE 1", b"W")
    directory, result = receive_stock(place, serving, archive, **verified(authority))
    assert result.returncode == 0, result.stderr
    assert same_files(directory, archive) >= 2
    # One reads again, and everything comes; a stop is told to it.
    received = b""
    while len(received) < 2 * archive.segment_size:
        kind, body = silent[0].message()
        if kind == b"d" and body[:1] == b"w":
            assert wal.lsn_text(struct.unpack(">Q", body[1:9])[0]) == wal.lsn_text(start + len(received))
            received += body[25:]
    first = min(archive.finished())
    assert received[:archive.segment_size] == archive.read(*first)
    for client in silent[1:]:
        client.close()
    wait_for(lambda: serving.process.said().count(" disconnected: ") >= 5, "those who left to be gone")
    # It reads on meanwhile: what does not fit into the socket's buffers is sent for two seconds only.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stopping = pool.submit(serving.process.stop)
        heard = silent[0].until(b"C")
        stopping.result()
    assert heard[-1] == (b"C", b"COPY 0\0")


def test_files_and_options_that_are_wrong(place, filled, secure, authority):  # noqa: F811
    _, archive, _ = filled
    rules = place / "rules"

    def refused(*options, rule=TRUST):
        rules.write_text(rule)
        result = pgweir("serve", "-D", archive.path, "--listen", free_port(), "--serve-hba", rules, *options)
        assert result.returncode == 2, result.stderr
        return result.stderr

    tls = ["--serve-tls-cert", secure.certificate, "--serve-tls-key", secure.key]
    assert "--serve-tls-cert requires --serve-tls-key" in refused(*tls[:2])
    assert "--serve-tls-key requires --serve-tls-cert" in refused(*tls[2:])
    assert "--serve-tls-ca requires" in refused("--serve-tls-ca", authority.certificate)
    text = refused(rule=TRUST + CLOSED)
    assert "hostssl needs TLS, so specify --serve-tls-cert and --serve-tls-key" in text and "line 3" in text
    text = refused(*tls, rule="hostssl replication all all cert\n")
    assert "cert needs the CA of the clients' certificates: --serve-tls-ca" in text and "line 1" in text

    for mode in (0o640, 0o604, 0o660):
        secure.key.chmod(mode)
        text = refused(*tls)
        assert "others have access to the private key" in text and str(secure.key) in text
    secure.key.chmod(0o600)
    assert "could not read the certificate" in refused("--serve-tls-cert", rules, *tls[2:])
    assert "could not open file" in refused("--serve-tls-cert", "/none", *tls[2:])
    assert "could not access the private key" in refused(*tls[:2], "--serve-tls-key", "/none")


def test_doctor_looks_at_what_serving_needs(place, secure, authority):
    users, rules, port = place / "users", place / "rules", free_port()
    users.write_text('"repl" "SCRAM-SHA-256$4096:YWJjZGVmZ2hpamtsbW5vcA==$' + "A" * 43 + "=:" + "A" * 43 + '="\n')
    users.chmod(0o600)
    rules.write_text(CLOSED)
    tls = ["--serve-tls-cert", secure.certificate, "--serve-tls-key", secure.key]

    def doctor(*options, status, where=port):
        result = pgweir("doctor", "--serve", where, "--json", *options)
        assert result.returncode == status, result.stdout + result.stderr
        return {check["name"]: (check["level"], check["found"]) for check in json.loads(result.stdout)["checks"]}

    good = ["--serve-users", users, "--serve-hba", rules, *tls]
    seen = doctor(*good, status=0)
    assert {name: level for name, (level, _) in seen.items()} == dict.fromkeys(
        ["serve_rules", "serve_users", "serve_tls", "serve_address", "serve_slots"], "ok")
    assert "is valid until" in seen["serve_tls"][1]

    seen = doctor("--serve-hba", rules, status=1)  # hostssl, and no certificate
    assert seen["serve_rules"][0] == "failure" and "line 1" in seen["serve_rules"][1]
    seen = doctor(status=1)
    assert seen["serve_users"] == ("failure", "no client can connect: no user has a password")
    users.chmod(0o644)
    assert doctor(*good, status=0)["serve_users"][0] == "warning"
    secure.key.chmod(0o640)
    assert doctor(*good, status=1)["serve_tls"][0] == "failure"
    key, certificate = authority.sign_expired("old", "localhost")
    level, found = doctor("--serve-users", users, "--serve-tls-cert", certificate, "--serve-tls-key", key,
                          status=1)["serve_tls"]
    assert level == "failure" and "has expired" in found
    level, found = doctor("--serve-users", users, where=f"*:{port}", status=0)["serve_tls"]
    assert level == "warning" and "no TLS" in found
    with socket.create_server(("127.0.0.1", port)):
        level, found = doctor("--serve-users", users, status=0)["serve_address"]
    assert level == "warning" and str(port) in found


def test_openssl_is_loaded_by_who_needs_it(place, filled, secure, relay, authority):  # noqa: F811
    _, archive, user = filled

    def loads(serving):
        with open(f"/proc/{serving.process.pid}/maps") as maps:
            return "libssl" in maps.read()

    plain = relay(archive, user)
    assert not loads(plain)
    plain.process.stop()
    assert loads(secure(archive, user))
    name = wal.segment_name(*min(archive.finished()), archive.segment_size)
    result = pgweir("restore", "-D", archive.path, name, place / "restored", env={"LD_DEBUG": "files"})
    assert result.returncode == 0 and (place / "restored").exists()
    assert "libc.so" in result.stderr and "libssl" not in result.stderr and "libcrypto" not in result.stderr
