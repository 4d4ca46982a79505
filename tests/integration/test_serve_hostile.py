"""Clients below a relay that do not read, say nothing, or talk nonsense, while commits wait for the relay's archive:
neither the commits nor the other clients notice, and its memory has a bound."""

import errno
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

from support import wal
from support.process import PATIENCE, preload, wait_for
from support.receiver import BINARY, MEMORY_FACTOR, pgweir
from support.relay import Client, Relay, fields, told
from support.scenario import begun, streaming
from support.tree import Tree, assert_same_data, put_below, wait_streaming

TRUST = "host replication all 127.0.0.1/32 trust\n"

# What such a client may cost: unsent WAL, and what is read ahead to be checked. (1.3 MB were seen.)
MOST_EACH = 3 << 20


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("there are too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def anonymous_memory(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))) << 10


def commit_many(primary, count=100):
    """One after the other, each durable in the relay's archive before the next."""
    primary.sql(f"DO $$ BEGIN FOR i IN 1..{count} LOOP INSERT INTO numbers VALUES (i); COMMIT; END LOOP; END $$")
    return primary.flushed()


def test_nobody_notices_hostile_clients(servers, receivers, new_archive, place, many_files, seeded):
    primary = servers.primary()
    primary.sql("CREATE TABLE numbers (n int)")
    tree = Tree(place, receivers, new_archive, primary, TRUST)
    relay = tree.relay("relay", primary, "-S", "archive", "--create-slot", "--serve-max-clients", 130, wait=False)
    end = primary.write_wal(3)
    relay.wait_serves()
    standby = servers.standby(primary, start=False)
    put_below(standby, relay.conninfo())
    wait_streaming(standby)
    first = min(segno for _, segno in relay.archive.finished()) * primary.segment_size
    end = primary.write_wal(30)
    standby.caught_up_with(end)
    primary.conf(synchronous_standby_names="relay")
    primary.reload()
    wait_for(lambda: streaming(primary, "relay")["sync_state"] == "sync", "the relay to be synchronous")
    before = anonymous_memory(relay.process)

    def goes_on():
        position = commit_many(primary)
        standby.replayed(position)
        # A new one is served at once, too.
        def let_in():
            client = Client(relay.port)
            return client if client.greeting[-1][0] == b"Z" else client.close()  # those before may not have gone yet

        client = wait_for(let_in, "a place to be free")
        assert told(client.query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
        client.close()

    goes_on()
    # 100 that ask for old WAL and do not read it; three processes among them that are stopped.
    silent = [Client(relay.port, application_name=f"silent{number}") for number in range(97)]
    for client in silent:
        client.send(b"Q", f"START_REPLICATION {wal.lsn_text(first)} TIMELINE 1\0".encode())
    stopped = [receivers.stock(new_archive(primary, f"stopped{number}"), relay.conninfo()) for number in range(3)]
    for receiver, number in zip(stopped, range(3)):
        wait_for(lambda: any((place / f"stopped{number}").iterdir()), "pg_receivewal to begin")
        receiver.pause()
    goes_on()

    # 2,000 that connect and say nothing, or the front of something.
    fronts = [b"", b"\0", struct.pack(">II", 9000, 3 << 16), struct.pack(">II", 8, 80877103), b"\x16\x03\x01"]
    half_open = []
    for number in range(2000):
        connection = socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE)
        half_open.append(connection)
        try:
            connection.sendall(fronts[number % len(fronts)])
        except OSError:
            pass  # it had to go for a later one
    goes_on()

    # Random bytes, as the first packet and where a standby's replies are expected.
    for _ in range(300):
        connection = socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE)
        try:
            connection.sendall(seeded.randbytes(seeded.randrange(1, 20000)))
        except OSError:
            pass
        half_open.append(connection)
    for number in range(40):
        talker = Client(relay.port, application_name="talker")
        if talker.greeting[-1][0] != b"Z":
            assert fields(talker.greeting[-1][1])["C"] == "53300"  # the ones before have not gone yet
            continue
        talker.query(f"START_REPLICATION {wal.lsn_text(first)} TIMELINE 1", b"W")
        try:
            for _ in range(20):
                if number % 2:
                    talker.send(seeded.choice([b"d", b"c", b"f", b"Q", b"\xff"]),
                                seeded.choice([b"r", b"h", b"z", b""]) + seeded.randbytes(seeded.randrange(60)))
                else:
                    talker.socket.sendall(seeded.randbytes(seeded.randrange(1, 3000)))
        except OSError:
            pass
        half_open.append(talker.socket)
    goes_on()
    grown = anonymous_memory(relay.process) - before
    print(f"memory: {before >> 20} MB, and {grown >> 20} MB for {len(silent) + len(stopped)} clients that do not read")
    assert grown < (len(silent) + len(stopped)) * MOST_EACH * MEMORY_FACTOR
    assert "PANIC" not in relay.process.said()

    for receiver in stopped:
        receiver.resume()
    for connection in [*half_open, *(client.socket for client in silent)]:
        connection.close()
    wait_for(lambda: relay.process.said().count('"silent') >= 2 * len(silent), "the silent ones to be gone")
    goes_on()
    assert_same_data(primary, standby)
    end = primary.write_wal(1.2)
    relay.archive.wait_covers(primary, 1, end)
    # Who had been stopped gets what it asked for.
    last = wal.segment_name(1, end // primary.segment_size - 1, primary.segment_size)
    for number in range(3):
        wait_for(lambda: (place / f"stopped{number}" / last).exists(), "who was stopped to catch up")


class Reader:
    """Reads WAL from a place on, of a relay without passwords."""

    def __init__(self, relay, start, timeline=1):
        self.client, self.wal, self.start = Client(relay.port), b"", start
        self.client.query(f"START_REPLICATION {wal.lsn_text(start)} TIMELINE {timeline}", b"WE")

    def read_to(self, end):
        """True, or the error that came before."""
        while self.start + len(self.wal) < end:
            kind, body = self.client.message()
            if kind == b"E":
                self.client.until(b"Z")
                return fields(body)
            if kind == b"d" and body[:1] == b"w":
                assert int.from_bytes(body[1:9], "big") == self.start + len(self.wal)
                self.wal += body[25:]
        return True


def test_edges_and_files_that_change_under_a_reader(servers, receivers, new_archive, place):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    begun(archive, primary)
    end = primary.write_wal(12)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    relay = Relay(place, receivers, archive, None, TRUST).start()
    size = primary.segment_size
    segnos = sorted(segno for _, segno in archive.finished())
    start, last = segnos[0] * size, (segnos[-1] + 1) * size
    original = b"".join(archive.read(1, segno) for segno in segnos)
    path = {segno: archive.path / wal.segment_name(1, segno, size) for segno in segnos}

    # Places that are not there: each is an error, and the connection is of use after it.
    client = Client(relay.port)
    for where, state in (("0/0 TIMELINE 1", "58P01"), ("0/1 TIMELINE 1", "58P01"),
                         (f"{wal.lsn_text(start - 1)} TIMELINE 1", "58P01"), ("0/0 TIMELINE 4294967295", "XX000"),
                         ("0/0 TIMELINE 2", "XX000"), ("FFFFFFFFF/0 TIMELINE 1", "42601"), ("0/0 TIMELINE 4294967296", "42601"),
                         ("SLOT \"x'y\" 0/0", "42704"), ("SLOT none 0/0 TIMELINE 1", "42704")):
        heard = client.query(f"START_REPLICATION {where}", b"Z")
        errors = [fields(body) for kind, body in heard if kind == b"E"]
        assert [error["C"] for error in errors] == [state], (where, errors)
    # At every kind of byte: the same bytes, from there on.
    for offset in (0, 1, 23, 24, 8191, 8192, 8193, size - 1, size, 3 * size + 4097):
        reader = Reader(relay, start + offset)
        assert reader.read_to(last) is True
        assert reader.wal[:last - start - offset] == original[offset:]
        reader.client.close()

    # A hole: up to its edge, not into it, and from behind it on.
    lost = segnos[len(segnos) // 2]
    content = path[lost].read_bytes()
    path[lost].unlink()
    reader = Reader(relay, start)
    assert reader.read_to(last)["C"] == "58P01"
    assert original.startswith(reader.wal) and len(reader.wal) <= lost * size - start
    assert Reader(relay, lost * size).read_to(last)["C"] == "58P01"
    behind = Reader(relay, (lost + 1) * size)
    assert behind.read_to(last) is True
    assert behind.wal[:last - (lost + 1) * size] == original[(lost + 1) * size - start:]
    # Brought back while somebody asks for it again and again: nothing, or the right bytes.
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / path[lost].name).write_bytes(content)
    importing = subprocess.Popen([BINARY, "import", "-D", archive.path, elsewhere])
    while True:
        ended = importing.poll() is not None
        reader = Reader(relay, start)
        found = reader.read_to(last)
        reader.client.close()
        assert original.startswith(reader.wal[:len(original)])
        if found is True:
            break
        assert found["C"] == "58P01" and not ended, found
    assert importing.wait(PATIENCE) == 0 and path[lost].read_bytes() == content

    # Someone in the middle of it all while files get other forms, vanish, are cut off and mended.
    readers = [Reader(relay, start) for _ in range(4)]
    for reader in readers:
        assert reader.read_to(start + size // 2) is True
    assert pgweir("compress", "-D", archive.path).returncode == 0
    assert readers[0].read_to(last) is True and readers[0].wal[:len(original)] == original
    other = Relay(elsewhere, receivers, archive, None, TRUST).start()  # has nothing in memory
    cut = path[segnos[-1]].with_suffix(".zst")
    whole = cut.read_bytes()
    cut.write_bytes(whole[:len(whole) // 2])
    # What others have just read is in memory, and right. Who comes to the file itself meets the damage.
    found = readers[1].read_to(last)
    assert (found is True or found["C"] == "XX001") and original.startswith(readers[1].wal[:len(original)])
    anew = Reader(other, start)
    error = anew.read_to(last)
    assert error is not True and error["C"] == "XX001" and original.startswith(anew.wal)
    # A raw form that is sound beside it is as good.
    path[segnos[-1]].write_bytes(original[-size:])
    assert Reader(other, start).read_to(last) is True
    other.process.stop()
    path[segnos[-1]].unlink()
    cut.write_bytes(whole)
    # SIGHUP again and again takes nobody's stream.
    for _ in range(200):
        relay.process.send(signal.SIGHUP)
    assert readers[2].read_to(last) is True and readers[2].wal[:len(original)] == original
    # Pruned under a reader: it gets what is there, or an error, and nothing else.
    assert pgweir("prune", "-D", archive.path, "--keep-from", path[lost].name).returncode == 0
    told_of = readers[3].read_to(last)
    assert told_of is True or told_of["C"] == "58P01"
    assert original.startswith(readers[3].wal[:len(original)])
    assert Reader(relay, lost * size).read_to(last) is True
    relay.process.stop()


@pytest.mark.skipif(BINARY.parent.name == "asan", reason="the undefined behavior sanitizer opens a pipe to look at memory")
def test_without_descriptors_the_door_waits(servers, receivers, new_archive, place):
    """And does not ask for one again and again."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    archive.wait_covers(primary, 1, primary.write_wal(0.1))
    receiver.stop()
    relay = Relay(place, receivers, archive, None, TRUST).start()
    process = relay.process.pid

    def ticks():
        """Of the processor, a hundred a second."""
        fields_ = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return int(fields_[11]) + int(fields_[12])

    limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
    # More than the door itself polls: else poll() would fail, too.
    clients = [Client(relay.port) for _ in range(10)]
    waiting = []

    def none_left():
        """The next one to be opened is above the limit, wherever there are holes below it."""
        used = {int(name) for name in os.listdir(f"/proc/{process}/fd")}
        lowest = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (lowest, limits[1]))
        waiting.append(socket.create_connection(("127.0.0.1", relay.port)))
        return "out of file descriptors for new clients" in relay.process.said()

    wait_for(none_left, "the descriptors to be used up")
    # How much of a processor the relay takes while it can accept nobody: that is a question of time.
    before = ticks()
    time.sleep(1)
    assert ticks() - before < 30
    resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
    assert told(Client(relay.port).query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
    for one in [*clients, *waiting]:
        one.close()
    relay.process.stop()


@pytest.mark.parametrize("what", ["ENOBUFS", "ENOMEM", "EMFILE"])
def test_without_memory_for_a_connection_the_door_waits(servers, receivers, new_archive, place, what):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    archive.wait_covers(primary, 1, primary.write_wal(0.1))
    receiver.stop()
    control, log = place / "accept-fault", place / "accept-fault.log"
    env = {"LD_PRELOAD": str(preload(place, "no_accept.c")), "PGWEIR_TEST_ACCEPT": str(control)}
    relay = Relay(place, receivers, archive, None, TRUST, env=env).start()
    control.write_text(str(getattr(errno, what)))
    before = time.monotonic()
    waiting = socket.create_connection(("127.0.0.1", relay.port))
    tries = wait_for(lambda: len(log.read_text()) if log.exists() and len(log.read_text()) >= 5 else None,
                     "it to be tried again")
    # (Those on the archive's own sockets are none of them: nobody connects there.)
    assert time.monotonic() - before > (tries - 1) * 0.09
    control.unlink()
    assert told(Client(relay.port).query("IDENTIFY_SYSTEM"))[-2] == ("done", "IDENTIFY_SYSTEM")
    said = relay.process.said()
    assert said.count("out of file descriptors" if what == "EMFILE" else "could not accept more clients") == 1
    waiting.close()
    relay.process.stop()
