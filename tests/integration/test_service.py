"""What a service manager is told: systemd's protocol, read from a socket of the test's own."""

import os
import pathlib
import signal
import socket
import threading

import pytest

from support.process import PATIENCE, children_of, wait_for
from support.receiver import BINARY, receive_command
from support.scenario import streaming


class Manager:
    """The socket that NOTIFY_SOCKET names, and every message on it, from when it listens."""

    def __init__(self, place, watchdog=None, listen=True):
        self.path = place / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.env = {"NOTIFY_SOCKET": str(self.path)}
        if watchdog:
            self.env["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))
        self._heard = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        if listen:
            self.listen()

    def listen(self):
        self._thread.start()

    def _listen(self):
        while text := self.socket.recv(65536).decode():
            self._heard += text.splitlines()

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", str(self.path))
        self._thread.join()
        self.socket.close()

    def read(self):
        return list(self._heard)

    def forget(self):
        self._heard.clear()

    def wait(self, begin, deadline=PATIENCE):
        return wait_for(lambda: next((line for line in self.read() if line.startswith(begin)), None),
                        f"the service manager to hear {begin}", deadline)

    def wait_new(self, begin, deadline=PATIENCE):
        seen = len(self.read())
        return wait_for(lambda: next((line for line in self.read()[seen:] if line.startswith(begin)),
                                     None), f"the service manager to hear a new {begin}", deadline)


@pytest.fixture
def manager(place):
    made = []

    def make(**options):
        made.append(Manager(place, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_is_ready_when_it_streams_and_tells_state_position_and_stop(servers, receivers, new_archive,
                                                                    manager):
    primary = servers.primary()
    archive = new_archive(primary)
    systemd = manager()
    receiver = receivers.pgweir(archive, primary, env=systemd.env)
    systemd.wait("READY=1")
    assert not any(line.startswith("WATCHDOG") for line in systemd.read())
    streaming(primary)
    line = systemd.wait("STATUS=streaming timeline 1 from ")
    assert f"127.0.0.1:{primary.port}" in line and "durable up to 0/" in line
    receiver.send(signal.SIGHUP)
    systemd.wait("RELOADING=1")
    systemd.wait("MONOTONIC_USEC=")
    wait_for(lambda: systemd.read().count("READY=1") == 2, "the end of the reload")
    primary.stop()
    systemd.wait("STATUS=waiting; last error: ")
    receiver.stop()
    systemd.wait("STOPPING=1")


def test_a_server_that_is_down_does_not_hold_up_the_boot(servers, receivers, new_archive, manager):
    primary = servers.primary()
    archive = new_archive(primary)
    primary.stop()
    systemd = manager()
    receiver = receivers.pgweir(archive, primary, env=systemd.env)
    systemd.wait("READY=1")
    assert "last error: " in systemd.wait("STATUS=waiting")
    primary.start()
    systemd.wait("STATUS=streaming")
    receiver.stop()


def test_what_will_not_pass_ends_it_before_it_is_ready(servers, receivers, place, manager):
    primary = servers.primary()
    systemd = manager()

    class Missing:
        path = place / "missing"

    receiver = receivers.pgweir(Missing, primary, env=systemd.env)
    assert receiver.wait_exit() == 4
    assert "READY=1" not in systemd.read()


def test_a_directory_that_the_unit_closes_is_told_before_it_is_ready(servers, receivers, new_archive, manager):
    """As ProtectSystem= makes it: mounted read-only for this process alone."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    primary = servers.primary()
    archive = new_archive(primary)
    systemd = manager()
    command = receive_command(archive.path, primary.conninfo())
    closed = ["unshare", "--mount", "sh", "-ec", f"mount --bind {archive.path} {archive.path};"
              f" mount -o remount,bind,ro {archive.path}; exec \"$@\"", "sh", *command]
    receiver = receivers.start(closed, env={**systemd.env, "INVOCATION_ID": "0123456789abcdef"})
    assert receiver.wait_exit() == 4, receiver.said()
    assert f"ReadWritePaths={archive.path}" in receiver.said()
    assert "READY=1" not in systemd.read()
    receiver = receivers.start(closed, env=systemd.env)
    assert receiver.wait_exit() == 4, receiver.said()
    assert "read-only" in receiver.said() and "ReadWritePaths" not in receiver.said()


def test_the_watchdog_is_fed_while_it_lives_and_not_by_a_process_that_hangs(servers, receivers,
                                                                           new_archive, manager):
    primary = servers.primary()
    archive = new_archive(primary)
    systemd = manager(watchdog=2)
    receiver = receivers.pgweir(archive, primary, env=systemd.env)
    streaming(primary)
    for _ in range(4):
        systemd.wait_new("WATCHDOG=1")
    receiver.pause()
    assert children_of(receiver.pid) == [], "nobody else feeds it while each of its threads is stopped"
    receiver.resume()
    systemd.wait_new("WATCHDOG=1")
    primary.stop("immediate")  # nobody to stream from is no hang
    systemd.wait("STATUS=waiting")
    systemd.wait_new("WATCHDOG=1")
    receiver.stop()


def taken(pid, number):
    """Whether no signal of this number waits for the process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return not int(status.split("ShdPnd:")[1].split()[0], 16) >> (number - 1) & 1


def test_a_disk_that_hangs_is_no_reason_to_be_killed(servers, receivers, new_archive, manager,
                                                     sync_fault):
    primary = servers.primary()
    archive = new_archive(primary)
    systemd = manager(watchdog=2)
    receiver = receivers.pgweir(archive, primary, env={**systemd.env, **sync_fault.env})
    streaming(primary)
    sync_fault.set("hang 0")
    primary.write_wal(1)
    wait_for(lambda: sync_fault.count() >= 1, "a sync to hang")
    for _ in range(6):  # three times the limit
        systemd.wait_new("WATCHDOG=1")
    sync_fault.set(None)
    receiver.stop()


def command_of(name, server, place):
    """Streams, or listens; its first attempt may be in vain."""
    conninfo = server.conninfo(dbname="postgres")
    if name == "listen":
        return [BINARY, "listen", "-d", conninfo, "news"]
    return [BINARY, "logical", "-d", conninfo, "-S", "changes", "--file", place / "changes"]


TOLD = {"listen": 'listening on "news"', "logical": 'streaming from slot "changes" (test_decoding) of'}


@pytest.mark.parametrize("name", TOLD)
def test_listen_and_logical_tell_how_they_are(servers, receivers, manager, place, name):
    primary = servers.primary(wal_level="logical")
    primary.sql("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
    primary.stop()
    systemd = manager(watchdog=2)
    process = receivers.start(command_of(name, primary, place), env=systemd.env)
    systemd.wait("READY=1")  # a server that is down does not hold up a boot
    systemd.wait("STATUS=waiting; last error: ")
    primary.start()
    systemd.wait("STATUS=" + TOLD[name])
    assert systemd.read().count("READY=1") == 1
    for _ in range(4):  # nothing happens, which is no hang
        systemd.wait_new("WATCHDOG=1")
    process.pause()
    assert children_of(process.pid) == []
    process.resume()
    systemd.wait_new("WATCHDOG=1")
    primary.stop("immediate")
    systemd.wait_new("STATUS=waiting")
    systemd.wait_new("WATCHDOG=1")
    process.stop()
    systemd.wait("STOPPING=1")


def test_logical_tells_what_is_durable_and_is_not_killed_for_a_disk_that_hangs(
        servers, receivers, manager, place, sync_fault):
    primary = servers.primary(wal_level="logical", wal_sender_timeout="0")
    primary.sql("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
    systemd = manager(watchdog=2)
    process = receivers.start([*command_of("logical", primary, place), "-F", "100ms"],
                              env={**systemd.env, **sync_fault.env})
    first = systemd.wait("STATUS=" + TOLD["logical"])
    primary.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    wait_for(lambda: any(line.startswith("STATUS=streaming") and line != first
                         for line in systemd.read()), "a new position")
    sync_fault.set("hang 0")
    primary.sql("INSERT INTO t VALUES (2)")
    wait_for(lambda: sync_fault.count() >= 1, "a sync to hang")
    for _ in range(6):  # three times the limit
        systemd.wait_new("WATCHDOG=1")
    sync_fault.set(None)
    process.stop()


@pytest.mark.parametrize("name", ["receive", *TOLD])
def test_a_service_manager_that_does_not_read_holds_nobody_up(servers, receivers, new_archive,
                                                              manager, place, name):
    primary = servers.primary(wal_level="logical")
    primary.sql("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
    archive = new_archive(primary)
    systemd = manager(watchdog=0.1, listen=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:  # so there is no room at all
        filler.setblocking(False)
        try:
            while True:
                filler.sendto(b"X=1", str(systemd.path))
        except BlockingIOError:
            pass
    if name == "receive":
        process = receivers.pgweir(archive, primary, env=systemd.env)
        streaming(primary)
    else:
        process = receivers.start(command_of(name, primary, place), env=systemd.env)
        process.wait_log("listening on" if name == "listen" else "streaming from")
    process.send(signal.SIGHUP)
    wait_for(lambda: taken(process.pid, signal.SIGHUP), "the signal to be taken")  # it would have told much by now
    systemd.listen()
    systemd.wait("READY=1")  # late, and not lost
    systemd.wait("STATUS=" + TOLD.get(name, "streaming timeline 1"))
    process.stop()


def test_without_a_service_manager_nothing_is_loaded(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    with open(f"/proc/{receiver.pid}/maps") as maps:
        assert "libsystemd" not in maps.read()
    receiver.stop()
