"""Receiving over TLS, which is read beside libpq: what comes is what the server wrote, far behind and caught up; and libpq
has its turn whenever something else than WAL is said."""

import os
import shutil

import pytest

from support.certificates import Authority
from support.process import PATIENCE, server_user
from support.scenario import create_slot, reported, streaming

ENCRYPTIONS = {
    "tls-1.3": ({}, {"ssl_min_protocol_version": "TLSv1.3"}),
    "tls-1.2": ({}, {"ssl_max_protocol_version": "TLSv1.2"}),
    # Its records do not tell how much is in them: libpq reads.
    "a cipher that pads": ({"ssl_ciphers": "ECDHE-ECDSA-AES128-SHA"}, {"ssl_max_protocol_version": "TLSv1.2"}),
}


@pytest.fixture
def authority(place):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    return Authority(place, "authority")


def encrypted(servers, authority, **settings):
    primary = servers.primary(start=False)
    key, certificate = authority.sign("server", "localhost")
    for path, name in ((key, "server.key"), (certificate, "server.crt")):
        shutil.copy(path, primary.data / name)
        if os.getuid() == 0:
            os.chown(primary.data / name, server_user().pw_uid, server_user().pw_gid)
    (primary.data / "server.key").chmod(0o600)
    primary.conf(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", **settings)
    primary.start()
    return primary


def conninfo(server, authority, **words):
    return server.conninfo(host="localhost", hostaddr="127.0.0.1", sslmode="verify-full",
                           sslrootcert=authority.certificate, **words)


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_catching_up_commits_and_a_server_that_goes_and_comes(servers, receivers, new_archive, authority, encryption):
    settings, words = ENCRYPTIONS[encryption]
    primary = encrypted(servers, authority, **settings)
    primary.pgbench_init()
    create_slot(primary)
    end = primary.write_wal(24)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(primary, authority, **words), "-S", "archive")
    archive.wait_covers(primary, 1, end)
    cipher = primary.sql("SELECT cipher FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE ssl")
    assert cipher and ("GCM" in cipher) == (encryption != "a cipher that pads"), cipher
    assert primary.pgbench(clients=4, transactions=200).wait(PATIENCE) == 0
    reported(primary, primary.flushed())
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    end = primary.write_wal(6)
    archive.wait_covers(primary, 1, end)
    primary.restart()
    end = primary.write_wal(2)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    assert "terminating connection due to administrator command" in receiver.said()
    archive.assert_same_wal(primary, minimum=30)


def test_a_promotion(servers, receivers, new_archive, authority):
    primary = encrypted(servers, authority)
    standby = servers.standby(primary)
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, conninfo(standby, authority))
    streaming(standby)
    end = primary.write_wal(2)
    archive.wait_covers(standby, 1, end)
    standby.promote()
    end = standby.write_wal(2)
    archive.wait_covers(standby, 2, end)
    receiver.stop()
    archive.assert_same_wal(primary, standby, minimum=2)
