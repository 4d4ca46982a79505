"""A network that swallows everything: no reset, no error, just nothing. The receiver runs in a
network namespace of its own, the server outside."""

import contextlib
import os
import shutil

import pytest

from support.process import run, wait_for
from support.receiver import receive_command
from support.scenario import gone, reported, streaming


@pytest.fixture
def network(place):
    """network.cut() and network.mend(); network.server is the address of the outside."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can make a network namespace, with iproute2")
    name = f"weir{os.getpid() % 100000}"
    number = os.getpid() % 250

    class Network:
        server = f"10.213.{number}.1"
        inside = f"10.213.{number}.2"
        prefix = ["ip", "netns", "exec", name]

        @staticmethod
        def cut():
            for where, address, device in ((Network.prefix, Network.server, f"{name}i"),
                                           ([], Network.inside, f"{name}o")):
                run([*where, "ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99",
                     "dev", device, "nud", "permanent"])

        @staticmethod
        def mend():
            for where, address, device in ((Network.prefix, Network.server, f"{name}i"),
                                           ([], Network.inside, f"{name}o")):
                run([*where, "ip", "neigh", "del", address, "dev", device])

    made = run(["ip", "netns", "add", name], check=False)
    if made.returncode == 0:
        made = run(["ip", "link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i"],
                   check=False)
    if made.returncode != 0:
        run(["ip", "netns", "del", name], check=False)
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        run(["ip", "link", "set", f"{name}i", "netns", name])
        run(["ip", "addr", "add", f"{Network.server}/24", "dev", f"{name}o"])
        run(["ip", "link", "set", f"{name}o", "up"])
        run([*Network.prefix, "ip", "addr", "add", f"{Network.inside}/24", "dev", f"{name}i"])
        run([*Network.prefix, "ip", "link", "set", f"{name}i", "up"])
        yield Network
    finally:
        run(["ip", "netns", "del", name], check=False)
        run(["ip", "link", "del", f"{name}o"], check=False)


@pytest.fixture
def outside(servers, network):
    primary = servers.primary(start=False, listen_addresses="*", wal_sender_timeout="4s")
    primary.hba(f"host all,replication postgres {network.inside}/32 trust")
    return primary.start()


def start(receivers, network, archive, server, *options):
    conninfo = server.conninfo(host=network.server, connect_timeout=2)
    return receivers.start([*network.prefix, *receive_command(archive.path, conninfo, *options)],
                           None)


def test_a_connection_that_is_cut_silently_is_found_dead(outside, network, receivers, new_archive):
    archive = new_archive(outside)
    receiver = start(receivers, network, archive, outside, "--timeout", "3s")
    streaming(outside)
    reported(outside, outside.write_wal(1))
    network.cut()
    receiver.wait_log("is considered broken")
    receiver.wait_log("no answer in time|No route|unreachable")
    assert receiver.running(), receiver.said()
    gone(outside)
    network.mend()
    end = outside.write_wal(2)
    reported(outside, end)
    archive.wait_covers(outside, 1, end)
    receiver.stop()
    archive.assert_same_wal(outside, minimum=2)


def test_a_signal_ends_it_while_the_network_is_cut(outside, network, receivers, new_archive):
    archive = new_archive(outside)
    receiver = start(receivers, network, archive, outside)
    streaming(outside)
    end = outside.write_wal(1)
    reported(outside, end)
    network.cut()
    receiver.stop(deadline=40)
    archive.assert_covers(outside, 1, end)


def test_a_server_that_is_frozen_is_left_and_found_again(servers, receivers, new_archive):
    import signal

    from support.process import children_of

    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary.conninfo(connect_timeout=2), "--timeout", "2s")
    streaming(primary)
    reported(primary, primary.write_wal(1))
    frozen = [primary.process.pid, *children_of(primary.process.pid)]
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):  # some of its children come and go
            os.kill(pid, signal.SIGSTOP)
    try:
        receiver.wait_log("is considered broken")
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    end = primary.write_wal(1)
    wait_for(lambda: receiver.said().count("streaming timeline") >= 2, "it to stream again")
    reported(primary, end)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary)
