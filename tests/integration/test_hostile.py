"""A server that is not to be trusted, with our memory, our processor or our file names: it sends
what no PostgreSQL would (support/walsender.py). Nothing of it may get into the archive under a name
that means something, the receiver says what is the matter, and it does not wear the machine out."""

import pathlib
import re
import struct
import time

import pytest

from support.archive import Archive
from support.process import PATIENCE, wait_for
from support.receiver import MEMORY_FACTOR, pgweir
from support.walsender import Connection, FakeServer

MB = 1 << 20
MEMORY = (64 << 10) * MEMORY_FACTOR  # kB


@pytest.fixture
def archive(place):
    (place / "archive").mkdir(mode=0o700)
    return Archive(place / "archive", MB)


def receive(archive, server, *options):
    """Runs to the end; returns the status and what it said."""
    done = pgweir("receive", "-D", archive.path, "-d", server.conninfo(), "--no-loop", *options,
                  timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def peak(receiver):
    status = pathlib.Path(f"/proc/{receiver.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def processor_seconds(receiver):
    fields = pathlib.Path(f"/proc/{receiver.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def nothing_but_partials(archive):
    assert [name for name in archive.names()
            if not name.startswith(".") and not name.endswith(".partial")] == []


ANSWERS = {
    "a segment size of 3": {"show": {"wal_segment_size": "3"}},
    "a segment size of 3 MB": {"show": {"wal_segment_size": "3MB"}},
    "a segment size of 2 GB": {"show": {"wal_segment_size": "2GB"}},
    "a segment size that overflows": {"show": {"wal_segment_size": "18446744073709551616kB"}},
    "a timeout that is none": {"show": {"wal_sender_timeout": "-5"}},
    "a mode for the world": {"show": {"data_directory_mode": "0777"}},
    "no identifier": {"identify": [None, "1", "0/300000", None]},
    "timeline 0": {"identify": ["7301234567890123456", "0", "0/300000", None]},
    "a negative timeline": {"identify": ["7301234567890123456", "-1", "0/300000", None]},
    "a timeline beyond all": {"identify": ["7301234567890123456", "4294967296", "0/300000", None]},
    "half a position": {"identify": ["7301234567890123456", "1", "0", None]},
    "too few columns": {"identify": ["7301234567890123456"]},
    "a history with a path": {"timeline": 2, "history": ("../../00000002.history", "1\t0/200000\n")},
    "another history": {"timeline": 2, "history": ("00000003.history", "1\t0/200000\n")},
    "a history of itself": {"timeline": 2, "history": ("00000002.history", "2\t0/200000\n")},
    "a history of newer ones": {"timeline": 2, "history": ("00000002.history", "7\t0/200000\n")},
    "a history that goes back": {"timeline": 3,
                                 "history": ("00000003.history", "2\t0/200000\n1\t0/300000\n")},
    "a history of rubbish": {"timeline": 2, "history": ("00000002.history", "\x01\x02 ../x\n")},
    "a huge history": {"timeline": 2, "history": ("00000002.history", "# x\n" * 6_000_000)},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_makes_no_sense(archive, name):
    wrong = ANSWERS[name]

    class Liar(FakeServer):
        timeline = wrong.get("timeline", 1)

        def show(self, parameter):
            return wrong.get("show", {}).get(parameter) or super().show(parameter)

        def identify(self):
            return wrong.get("identify") or super().identify()

        def history(self, timeline):
            return wrong.get("history") or super().history(timeline)

    with Liar() as server:
        status, said = receive(archive, server)
        assert status in (3, 4), said
        assert "ERROR" in said, said
        assert server.started == [], said
    assert [each for each in archive.names() if not each.startswith(".")] == []
    assert sorted(each.name for each in archive.path.parent.iterdir()) == ["archive"]


MESSAGES = {
    "an empty message": lambda c, at: c.copy(b""),
    "an unknown message": lambda c, at: c.copy(b"x" + bytes(40)),
    "WAL without its header": lambda c, at: c.copy(b"w" + bytes(23)),
    "half a keepalive": lambda c, at: c.copy(b"k" + bytes(8)),
    "WAL from behind": lambda c, at: c.wal(at - MB, bytes(8192)),
    "WAL from ahead": lambda c, at: c.wal(at + MB, bytes(8192)),
    "WAL at the end of all": lambda c, at: c.wal(2**64 - 4096, bytes(8192), 0),
    "WAL of zeros": lambda c, at: c.wal(at, bytes(8192)),
    "WAL of rubbish": lambda c, at: c.wal(at, bytes(range(256)) * 32),
    "a message of 40 MB": lambda c, at: c.wal(at, bytes(40 * MB)),
    "a message shorter than short": lambda c, at: c.socket.sendall(b"d" + struct.pack(">I", 2)),
    "a message of negative length": lambda c, at: c.socket.sendall(b"d" + b"\xff\xff\xff\xff"),
    "a new authentication": lambda c, at: c.send(b"R", struct.pack(">I", 3)),
    "a row": lambda c, at: c.row(["1", "2"]),
    "a negative number of columns": lambda c, at: c.send(b"T", struct.pack(">h", -1)),
    "an error without an end": lambda c, at: c.send(b"E", b"SERROR"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_makes_no_sense(archive, name):
    class Liar(FakeServer):
        def stream(self, connection, timeline, position):
            MESSAGES[name](connection, position)

    with Liar() as server:
        status, said = receive(archive, server)
        assert status in (3, 4), said
        assert "ERROR" in said, said
        assert len(server.started) == 1
        # The start of a stream is reported as what is there; nothing that came may be.
        assert all(flush <= server.started[0][1] for flush in server.reports), server.reports
    nothing_but_partials(archive)


NEXT = {
    "the same one": lambda timeline, at: (timeline, at),
    "none": lambda timeline, at: (0, at),
    "one whose start we have not reached": lambda timeline, at: (timeline + 1, at + 5 * MB),
}


@pytest.mark.parametrize("name", NEXT)
def test_a_next_timeline_that_makes_no_sense(archive, name):
    class Liar(FakeServer):
        def at_once(self, timeline, position):
            return NEXT[name](timeline, position)

    with Liar() as server:
        status, said = receive(archive, server)
        assert status in (3, 4), said
        assert "timeline" in said, said
    nothing_but_partials(archive)


def test_a_server_whose_timelines_go_back(archive):
    class Liar(FakeServer):
        timeline = 5

        def at_once(self, timeline, position):
            return timeline - 1, position

    with Liar() as server:
        status, said = receive(archive, server)
        assert status == 4, said
        assert "timeline" in said, said


def test_ever_newer_timelines_do_not_fill_the_archive(archive, receivers):
    class Liar(FakeServer):
        def at_once(self, timeline, position):
            self.timeline = timeline + 1
            return timeline + 1, position

        def history(self, timeline):
            return (f"{timeline:08X}.history",
                    "".join(f"{number}\t0/200000\tagain\n" for number in range(1, timeline)))

    with Liar() as server:
        receiver = receivers.pgweir(archive, server.conninfo())
        receiver.wait_log("in rapid succession")
        many = len(server.started)
        began = time.monotonic()
        wait_for(lambda: len(server.started) > many + 1, "it to go on all the same")
        assert time.monotonic() - began > 5
        assert len(archive.histories()) < 100, receiver.said()
        receiver.stop()


def test_a_flood_of_keepalives(archive, receivers):
    """Each one asks for an answer, and no answer is read."""

    class Flood(FakeServer):
        sent = 0

        def stream(self, connection, timeline, position):
            connection.socket.settimeout(5)
            many = (b"d" + struct.pack(">I", 22) + b"k" + struct.pack(">QQB", position, 0, 1)) * 1000
            while True:
                connection.socket.sendall(many)
                self.sent += 1000

    with Flood() as server:
        receiver = receivers.pgweir(archive, server.conninfo())
        wait_for(lambda: server.sent >= 300_000, "many keepalives")
        assert peak(receiver) < MEMORY, f"{peak(receiver)} kB"
        receiver.stop()


def test_a_message_without_end_is_not_kept_in_memory(archive, receivers):
    """It says it is 1 GB of WAL, and comes."""

    class Endless(FakeServer):
        sent = 0

        def stream(self, connection, timeline, position):
            connection.socket.sendall(b"d" + struct.pack(">I", 1 << 30) + b"w"
                                      + struct.pack(">QQQ", position, position, 0))
            while self.sent < 1 << 30:
                connection.socket.sendall(bytes(MB))
                self.sent += MB
                time.sleep(0.005)  # libpq does not stop reading while there is something

    with Endless() as server:
        receiver = receivers.pgweir(archive, server.conninfo(), "--no-loop")
        highest = 0

        def ended():
            nonlocal highest
            try:
                highest = max(highest, peak(receiver))
            except (OSError, IndexError):
                pass  # it has just ended
            return not receiver.running()

        wait_for(ended, "the receiver to have enough", interval=0.005)
        assert receiver.wait_exit() == 4, receiver.said()
        assert highest < 4 * MEMORY, f"{highest} kB of {server.sent >> 10} kB"


def test_a_server_that_fails_each_stream_at_once_is_not_hurried(archive, receivers):
    class Closing(FakeServer):
        def stream(self, connection, timeline, position):
            connection.keepalive(position)  # it has been heard of: and yet there is no progress

    with Closing() as server:
        receiver = receivers.pgweir(archive, server.conninfo())
        wait_for(lambda: server.connections >= 10, "it to try again and again")
        connections = server.connections
        pauses = [int(pause) for pause in re.findall(r"trying again in (\d+) ms", receiver.said())]
        assert connections <= len(pauses) + 1 and min(pauses) >= 100, receiver.said()
        assert processor_seconds(receiver) < 2
        receiver.stop()


def test_notices_and_notifications_are_not_collected(archive, receivers):
    class Talker(FakeServer):
        def stream(self, connection, timeline, position):
            text = b"SNOTICE\0VNOTICE\0C00000\0M" + b"x" * 8000 + b"\0\0"
            notice = b"N" + struct.pack(">I", len(text) + 4) + text
            text = struct.pack(">I", 1) + b"c\0" + b"y" * 8000 + b"\0"
            notification = b"A" + struct.pack(">I", len(text) + 4) + text
            while True:
                connection.socket.sendall((notice + notification) * 20)
                connection.keepalive(position)
                self.talked += 20 * (len(notice) + len(notification))

    with Talker() as server:
        server.talked = 0
        receiver = receivers.pgweir(archive, server.conninfo())
        receiver.wait_log("are not shown")
        wait_for(lambda: server.talked > 2 * MEMORY << 10, "more to be told than it may keep")
        assert receiver.running(), receiver.said()
        assert peak(receiver) < MEMORY, f"{peak(receiver)} kB"
        assert receiver.log.stat().st_size < MB // 4, "the log is filled"
        receiver.stop()


def test_nothing_but_talk_is_too_much(archive, receivers):
    class Talker(FakeServer):
        def stream(self, connection, timeline, position):
            text = b"SNOTICE\0VNOTICE\0C00000\0M" + b"x" * 8000 + b"\0\0"
            while True:
                connection.send(b"N", text)

    with Talker() as server:
        status, said = receive(archive, server)
        assert status == 4, said
        assert "a message from the server is too long" in said, said


@pytest.mark.parametrize("state, text", [
    ("08P01", "server conn crashed?"),
    ("58P01", 'could not open file "global/pg_filenode.map": No such file or directory')])
def test_a_server_behind_a_pooler_that_is_restarted_is_waited_for(archive, receivers, state, text):
    """PgBouncer has one code for all that it says; and a file may be missing while a server is made anew. In the
    stream it is told once, and once more where a connection is made."""

    def last_word(connection, code):
        connection.send(b"E", f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode())

    class Pooler(FakeServer):
        def stream(self, connection, timeline, position):
            if len(self.started) > 1:
                connection.wait()
            last_word(connection, "08P01")

        def _serve(self, accepted):
            if self.connections != 2:
                super()._serve(accepted)
                return
            with accepted:
                accepted.recv(1000)  # the startup packet
                last_word(Connection(accepted, self), state)

    with Pooler() as server:
        receiver = receivers.pgweir(archive, server.conninfo())
        wait_for(lambda: len(server.started) > 1, "the stream to be asked for again")
        receiver.stop()
    assert text.split(":")[0] in receiver.said()
    assert "trying again in" in receiver.said()
