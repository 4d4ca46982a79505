"""Certificates, keys and passwords that change while they are in use, with servers that ask for client certificates as
CloudNativePG's do, and a volume that changes as one of Kubernetes' does."""

import json
import os
import re
import shutil

import pytest

from support.certificates import Authority
from support.process import server_user, wait_for
from support.receiver import pgweir
from support.scenario import reported, status_of_receiver, streaming

USER = "streaming_replica"


class Volume:
    """As a kubelet mounts a secret: each name leads through the link ..data to a directory, which is exchanged."""

    def __init__(self, path):
        self.path = path
        self.count = 0
        path.mkdir()

    def put(self, **files):
        """All of it in one go; a file that is None is not there."""
        self.count += 1
        fresh = self.path / f"..{self.count}"
        fresh.mkdir()
        for name, content in files.items():
            name = name.replace("_", ".")
            if content is None:
                continue
            (fresh / name).write_bytes(content)
            (fresh / name).chmod(0o600)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        link = self.path / "..tmp"
        link.symlink_to(fresh.name)
        link.rename(self.path / "..data")

    def keys_of(self, pair, ca):
        key, certificate = pair
        self.put(tls_key=key.read_bytes(), tls_crt=certificate.read_bytes(), ca_crt=ca)


@pytest.fixture
def authority(place):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    return Authority(place, "cluster-ca")


@pytest.fixture
def cluster(servers, authority):
    """A primary that lets the archiver in by certificate alone."""
    primary = servers.primary(start=False)
    install(primary, authority, authority)
    primary.hba("local all all trust", f"hostssl replication {USER} all cert", f"hostssl postgres {USER} all cert")
    path = primary.data / "pg_hba.conf"
    path.write_text("".join(path.read_text().splitlines(True)[:3]))
    primary.start()
    primary.sql(f"CREATE ROLE {USER} LOGIN REPLICATION")
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    return primary


def install(primary, own, clients, days=30):
    """The server's own certificate, and whose certificates it takes."""
    key, certificate = own.sign("server", "localhost", days)
    for path, name in ((key, "server.key"), (certificate, "server.crt"), (clients.certificate, "clients.crt")):
        shutil.copy(path, primary.data / name)
        if os.getuid() == 0:
            os.chown(primary.data / name, server_user().pw_uid, server_user().pw_gid)
    (primary.data / "server.key").chmod(0o600)
    primary.conf(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="clients.crt")


def conninfo(primary, volume):
    return primary.conninfo(user=USER, sslmode="verify-ca", sslcert=volume.path / "tls.crt",
                            sslkey=volume.path / "tls.key", sslrootcert=volume.path / "ca.crt")


def serial_used(primary):
    return primary.sql("SELECT client_serial FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)"
                       " WHERE application_name = 'pgweir'")


def certificates(archive):
    return status_of_receiver(archive)["certificates"]


def test_what_is_replaced_is_used_at_once_where_that_is_wanted(cluster, receivers, new_archive, place, authority):
    volume = Volume(place / "secret")
    first = authority.sign("first", USER)
    ca = authority.certificate.read_bytes()
    volume.keys_of(first, ca)
    archive = new_archive(cluster)
    figures = place / "pgweir.prom"
    receiver = receivers.pgweir(archive, conninfo(cluster, volume), "-S", "archive", "--reconnect-on-rotation",
                                "--metrics-file", figures, "--metrics-interval", "1s")
    before = streaming(cluster)["pid"]
    old = serial_used(cluster)
    told = certificates(archive)
    assert told["client"] == str(volume.path / "tls.crt") and "problem" not in told
    for name in ("client", "server"):
        assert 29 <= told[f"{name}_expires_in_seconds"] / 86400 <= 30, told
    assert "certificates: own until" in pgweir("status", "-D", archive.path).stdout
    assert pgweir("status", "-D", archive.path, "--check").returncode == 0
    figure = re.compile(r'^pgweir_receiver_certificate_expiry_timestamp_seconds\{.*certificate="(\w+)"', re.MULTILINE)
    wait_for(lambda: figures.exists() and set(figure.findall(figures.read_text())) == {"client", "server"}, "the metrics to tell")

    # Half written: the connection lives on, and that is told.
    key, certificate = first
    volume.put(tls_key=key.read_bytes()[:60], tls_crt=certificate.read_bytes(), ca_crt=ca)
    receiver.wait_log("the client's key .*tls.key: could not read the private key.*this connection stays open")
    check = pgweir("status", "-D", archive.path, "--check")
    assert check.returncode == 1 and "no new connection could be made: the client's key" in check.stdout, check.stdout
    wait_for(lambda: re.search(r"pgweir_receiver_secrets_error\{.*\} 1$", figures.read_text(), re.MULTILINE),
             "the metrics to tell the trouble")
    # One of a pair, and nothing at all.
    soon = authority.sign("soon", USER, days=5)
    volume.put(tls_key=key.read_bytes(), tls_crt=soon[1].read_bytes(), ca_crt=ca)
    receiver.wait_log("the private key does not match the certificate")
    volume.put(tls_key=None, tls_crt=None, ca_crt=ca)
    receiver.wait_log("is gone; this connection stays open")
    volume.keys_of(first, ca)
    receiver.wait_log("have been restored")
    # Somebody else's: whole, and refused.
    volume.keys_of(Authority(place, "stranger").sign("strange", USER), ca)
    receiver.wait_log("no connection could be made with the new files: .*the existing connection stays open")
    assert streaming(cluster)["pid"] == before and serial_used(cluster) == old
    reported(cluster, cluster.write_wal(1))

    # The new one, for five days.
    volume.keys_of(soon, ca)
    receiver.wait_log(r"reconnecting with the new files \(--reconnect-on-rotation\)")
    wait_for(lambda: streaming(cluster)["pid"] != before, "another connection")
    wait_for(lambda: serial_used(cluster) not in ("", old), "the new one to be shown to the server")
    end = cluster.write_wal(2)
    reported(cluster, end)
    archive.wait_covers(cluster, 1, end)
    receiver.wait_log("the client's certificate .*tls.crt expires on ")
    check = pgweir("status", "-D", archive.path, "--check")
    assert check.returncode == 1, check.stdout
    assert re.search(r"WARNING - the receiver's certificate \S+ expires in (4|5) d", check.stdout), check.stdout
    found, = json.loads(pgweir("status", "-D", archive.path, "--json").stdout)["findings"]
    assert found["topic"] == "certificate" and found["level"] == "WARNING"
    doctor = pgweir("doctor", "-d", conninfo(cluster, volume), "-S", "archive", "--measure", "0").stdout
    assert re.search(r"\[ warn \].*the client's certificate \S+ is valid until", doctor), doctor
    assert re.search(r"\[  ok  \].*the certificate of \S+ is valid until", doctor), doctor
    receiver.stop()
    archive.assert_same_wal(cluster)


def test_what_is_missing_is_waited_for(cluster, receivers, new_archive, place, authority):
    """From the first start on, and when the authorities change, on both sides."""
    volume = Volume(place / "secret")
    pair = authority.sign("first", USER)
    ca = authority.certificate.read_bytes()
    volume.put(tls_key=b"", tls_crt=pair[1].read_bytes(), ca_crt=ca)
    archive = new_archive(cluster)
    receiver = receivers.pgweir(archive, conninfo(cluster, volume), "-S", "archive")
    receiver.wait_log("could not connect.*trying again")
    receiver.wait_log("This side's own files may be the reason: the client's key .*could not read the private key")
    volume.keys_of(pair, ca)
    before = streaming(cluster)["pid"]

    # Without the option the connection goes on; what is new is for the next one.
    renewed = authority.sign("renewed", USER)
    volume.keys_of(renewed, ca)
    receiver.wait_log("were replaced: the next one is made with them")
    reported(cluster, cluster.write_wal(1))
    assert streaming(cluster)["pid"] == before

    # The key is taken away while the server is down.
    cluster.stop()
    volume.put(tls_key=None, tls_crt=renewed[1].read_bytes(), ca_crt=ca)
    cluster.start()
    receiver.wait_log("the client's key .*tls.key does not exist")
    wait_for(lambda: certificates(archive).get("problem", "").endswith("is gone"), "the status to say so")
    volume.keys_of(renewed, ca)
    assert streaming(cluster)["pid"] != before
    reported(cluster, cluster.write_wal(1))

    # Another authority: first for the server, later for us. Its own certificate ends soon.
    other = Authority(place, "next-ca")
    cluster.stop()
    install(cluster, other, other, days=3)
    cluster.start()
    receiver.wait_log("certificate verify failed")
    assert receiver.running()
    volume.keys_of(other.sign("other", USER), other.certificate.read_bytes())
    streaming(cluster)
    end = cluster.write_wal(2)
    reported(cluster, end)
    archive.wait_covers(cluster, 1, end)
    receiver.wait_log(r"the certificate of \S+ expires on ")
    check = pgweir("status", "-D", archive.path, "--check")
    assert check.returncode == 1 and "the certificate of the server" in check.stdout, check.stdout
    receiver.stop()
    archive.assert_same_wal(cluster)


def test_a_password_that_changes(servers, receivers, new_archive, place):
    """In a file, which is watched as certificates are: first the file and then the role is renewed, as it happens."""
    primary = servers.primary(start=False)
    primary.hba("host replication keyholder 127.0.0.1/32 scram-sha-256", "host postgres keyholder 127.0.0.1/32 scram-sha-256")
    primary.start()
    primary.sql("CREATE ROLE keyholder LOGIN REPLICATION PASSWORD 'first'")
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    passwords = place / "pgpass"

    def put(password):
        fresh = place / "pgpass.new"
        fresh.write_text(f"127.0.0.1:{primary.port}:*:keyholder:{password}\n")
        fresh.chmod(0o600)
        fresh.rename(passwords)

    put("first")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary.conninfo(user="keyholder", passfile=passwords), "-S", "archive",
                                "--reconnect-on-rotation")
    before = streaming(primary)["pid"]
    passwords.unlink()
    receiver.wait_log(f"the password file {passwords} is gone; this connection stays open")
    put("first")
    receiver.wait_log("have been restored")
    put("sec0nd")
    receiver.wait_log("no connection could be made with the new files: .*the existing connection stays open")
    assert streaming(primary)["pid"] == before
    reported(primary, primary.write_wal(1))
    primary.sql("ALTER ROLE keyholder PASSWORD 'sec0nd'")
    receiver.wait_log(r"reconnecting with the new files \(--reconnect-on-rotation\)")
    wait_for(lambda: streaming(primary)["pid"] != before, "another connection")
    end = primary.write_wal(1)
    reported(primary, end)
    assert not re.search("keyholder:|sec0nd", receiver.said())
    receiver.stop()
    archive.assert_covers(primary, 1, end)
