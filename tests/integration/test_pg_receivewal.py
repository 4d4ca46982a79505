"""Called as pg_receivewal: what PostgreSQL's own program does, ours does, to the same effect, with
the same words where programs read them, and in the same directory in turn."""

import gzip
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

from support import receiver as receivers_
from support import wal
from support.process import PATIENCE, wait_for
from support.scenario import create_slot, gone, promote_again, restart_lsn, streaming
from support.server import DEBIAN_BIN, free_port
from support.walsender import FakeServer

STOCK = DEBIAN_BIN / "pg_receivewal"
APPLICATION = "pg_receivewal"
READS_SLOTS = 15  # the first server whose slot says where an empty directory's WAL begins


@pytest.fixture
def ours(place):
    """A copy with that name."""
    directory = place / "bin"
    directory.mkdir()
    shutil.copy(receivers_.BINARY, directory / "pg_receivewal")
    return directory / "pg_receivewal"


@pytest.fixture
def run(ours):
    """run(program, *options): to its end. Both are told that they are called pg_receivewal."""

    def call(program, *options, env=None, timeout=PATIENCE):
        return subprocess.run(
            ["pg_receivewal", *[str(option) for option in options]],
            executable=ours if program == "ours" else STOCK,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=timeout, env=receivers_._environment(env))

    return call


@pytest.fixture
def archives(place):
    """archives(name) makes an empty directory."""

    def make(name):
        (place / name).mkdir(mode=0o700)
        return place / name

    return make


def connection(server):
    return ["-h", "127.0.0.1", "-p", server.port, "-U", "postgres"]


def state(directory):
    """{name: mode} of what is there."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def content(path):
    name = path.name.removesuffix(".partial")
    if name.endswith(".gz"):
        subprocess.run(["gzip", "--test"], stdin=open(path, "rb"), check=True)
        return gzip.decompress(path.read_bytes())
    if name.endswith(".lz4"):
        return subprocess.run(["lz4", "-dc"], stdin=open(path, "rb"), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def parts(path):
    """(segment's name, finished)"""
    match = re.fullmatch(r"([0-9A-F]{24})(\.gz|\.lz4|\.zst)?(\.partial)?", path.name)
    return (match.group(1), match.group(3) is None) if match else None


def assert_whole(server, directory, start, end, timeline=1):
    """Each byte from start to end is there, as the server has it; every finished file is right."""
    size = server.segment_size
    held = {}
    for path in directory.iterdir():
        if parts(path) is None:
            continue
        name, finished = parts(path)
        bytes_ = content(path)
        own = server.pg_wal(name).read_bytes()
        if finished:
            assert bytes_ == own, f"{path.name} is not what the server has"
        held.setdefault(name, []).append(bytes_)
    for segno in range(start // size, -(-end // size)):
        name = wal.segment_name(timeline, segno, size)
        assert name in held, f"{name} is missing: {sorted(state(directory))}"
        length = min(size, end - segno * size)
        own = server.pg_wal(name).read_bytes()
        # An unfinished file may stand beside a newer form of the same segment.
        assert own[:length] in [bytes_[:length] for bytes_ in held[name]], name


def told(lines, position):
    """Without the position, and each line once: the original repeats the last ones."""
    return list(dict.fromkeys(re.sub(position, r"\1", line) for line in lines))


@pytest.mark.parametrize("options", [
    [], ["-D", "d", "--create-slot", "--drop-slot"], ["-D", "d", "--create-slot"],
    ["-D", "d", "--drop-slot"], ["-D", "d", "--synchronous", "--no-sync"], ["-D", "d", "extra"],
    ["--bogus"], ["-x"], ["--no"], ["-D"], ["--directory"], ["--verbose=3", "-D", "d"],
    ["-n", "--help"], ["-n", "-V"], ["-D", "d", "-s", "-1"], ["-D", "d", "-s", "x"],
    ["-D", "d", "-s", "99999999999999999999"], ["-D", "d", "-E", "nothing"],
    *[["-D", "d", "-Z", compression] for compression in (
        "none:1", "gzip:10", "gzip:0", "lz4:13", "lz4:-1", "foo", "foo:1", "", "gzip:level",
        "gzip:level=x", "gzip:bla=1", "gzip:", "gzip:level=1,", "gzip:workers=2", "10", "-3",
        "none:level=2")],
    ["-D", "/nonexistent/d"], ["-d", "postgres", "-D", "/tmp"],
], ids=" ".join)
def test_refuses_what_the_original_refuses(run, options):
    theirs, mine = run("stock", *options), run("ours", *options)
    assert theirs.returncode == mine.returncode == 1
    assert mine.stdout == ""
    if "postgres" in options:
        assert mine.stderr.startswith("pg_receivewal: error: ")
    else:
        assert mine.stderr == theirs.stderr


def test_help_and_version(run):
    for option in ("--help", "-?"):
        answer = run("ours", option)
        assert answer.returncode == 0 and answer.stderr == ""
        own = set(re.findall(r"--[a-z-]+", run("stock", option).stdout))
        assert own <= set(re.findall(r"--[a-z-]+", answer.stdout))
    for option in ("--version", "-V"):
        answer = run("ours", option)
        assert answer.returncode == 0 and answer.stderr == ""
        assert re.fullmatch(r"pg_receivewal \(PostgreSQL\) 19\.0 \(pgweir [0-9.]+\)\n",
                            answer.stdout)


def test_is_known_by_a_symlink_too(place, ours):
    (place / "link").mkdir()
    (place / "link" / "pg_receivewal").symlink_to(receivers_.BINARY)
    answer = subprocess.run([place / "link" / "pg_receivewal", "--version"], text=True,
                            stdout=subprocess.PIPE)
    assert answer.stdout.startswith("pg_receivewal (PostgreSQL) 19.0")


def test_each_option_to_the_same_effect(servers, run, archives):
    server = servers.primary(initdb=("--allow-group-access",))
    create_slot(server, "stock")
    create_slot(server, "ours")
    start = server.flushed() // server.segment_size * server.segment_size
    for program in ("stock", "ours"):
        server.sql(f"SELECT pg_create_physical_replication_slot('{program}_kept', true)")
    server.switch_wal()
    server.switch_wal()
    end = server.write_wal(0.1)
    server.sql("CHECKPOINT")
    to_end = ["-n", "-E", wal.lsn_text(end)]
    here = connection(server)
    uri = f"postgresql://postgres@127.0.0.1:{server.port}/?application_name=somebody"
    cases = [
        [*here, *to_end],
        [*here, *to_end, "-v"],
        [*here, "-nv", f"--endpos={wal.lsn_text(end)}"],
        [*here, "--no-loop", "--verb", "--endp", wal.lsn_text(end)],
        [*here, *to_end, "--synchronous"],
        [*here, *to_end, "--no-sync"],
        [*here, *to_end, "-s", "1"],
        [*here, *to_end, "--status-interval=0"],
        [*here, *to_end, "-w"],
        [*here, *to_end, "-Z", "gzip"],
        [*here, *to_end, "-v", "-Z", "gzip:1"],
        [*here, *to_end, "-Z9"],
        [*here, *to_end, "-Z0"],
        [*here, *to_end, "--compress=none"],
        [*here, *to_end, "--compress=gzip:level=5"],
        [*here, *to_end, "-v", "--compress", "lz4"],
        [*here, *to_end, "-S", "PROGRAM"],
        [*here, *to_end, "--slot=PROGRAM_kept", "-v"],
        [*to_end, "-d", uri],
        [*to_end, "--dbname", server.conninfo(), "-p", server.port],
        ["--host=127.0.0.1", f"--port={server.port}", "--username=postgres", *to_end],
    ]
    for number, case in enumerate(cases):
        found = {}
        for program in ("stock", "ours"):
            directory = archives(f"{program}{number}")
            options = [str(word).replace("PROGRAM", program) for word in case]
            result = run(program, "-D", directory, *options)
            found[program] = (result.returncode, result.stdout, state(directory),
                              result.stderr.splitlines())
            if "PROGRAM" in "".join(str(word) for word in case) and server.major >= READS_SLOTS:
                assert_whole(server, directory, start, end)
        # The server may have written on meanwhile: where exactly it stopped is each one's own.
        lines = {program: told(found[program][3], r"(stopped log streaming at) \S+")
                 for program in found}
        assert found["ours"][:3] == found["stock"][:3], case
        assert lines["ours"] == lines["stock"], case
        for name in found["ours"][2]:
            mine, theirs = (content(archives_path) for archives_path in
                            (directory / name, directory.parent / f"stock{number}" / name))
            length = server.segment_size if parts(directory / name)[1] \
                else end % server.segment_size
            assert mine[:length] == theirs[:length], (case, name)
            if not parts(directory / name)[1] and name.count(".") == 1:
                assert len(mine) == server.segment_size


def test_environment_and_service_file(servers, run, archives, place):
    server = servers.primary()
    end = server.write_wal(0.1)
    (place / "service").write_text(
        f"[here]\nhost={server.socket_dir}\nport={server.port}\nuser=postgres\n")
    for number, env in enumerate((
            {"PGHOST": str(server.socket_dir), "PGPORT": str(server.port), "PGUSER": "postgres"},
            {"PGSERVICEFILE": str(place / "service"), "PGSERVICE": "here"})):
        directory = archives(f"archive{number}")
        result = run("ours", "-D", directory, "-n", "-E", wal.lsn_text(end - 1), env=env)
        assert result.returncode == 0, result.stderr
        assert len(state(directory)) == 1


def test_passwords(servers, run, archives, place):
    server = servers.primary()
    server.sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE archiver LOGIN REPLICATION PASSWORD 'secret'")
    server.hba("host replication archiver 127.0.0.1/32 scram-sha-256")
    server.reload()
    end = server.write_wal(0.1)
    options = ["-D", archives("archive"), "-h", "127.0.0.1", "-p", server.port, "-U", "archiver",
               "-n", "-w", "-E", wal.lsn_text(end - 1)]
    wait_for(lambda: run("ours", *options).returncode == 1, "a password to be asked for")
    (place / "pgpass").write_text(f"127.0.0.1:{server.port}:replication:archiver:secret\n")
    (place / "pgpass").chmod(0o600)
    assert run("ours", *options, env={"PGPASSFILE": str(place / "pgpass")}).returncode == 0


def test_at_a_terminal_one_free_walsender_is_enough(ours):
    """The attempt that finds out whether a password is needed is over for the server before the next one."""

    class Slow(FakeServer):
        alive = most = 0

        def _serve(self, accepted):
            kept = accepted.dup()
            self.alive += 1
            self.most = max(self.most, self.alive)
            super()._serve(accepted)
            time.sleep(0.2)  # (it waits for at most 2 s)
            self.alive -= 1
            kept.close()

    terminal, stdin = os.openpty()
    with Slow() as server:
        result = subprocess.run([ours, "-d", server.conninfo(), "-S", "s", "--drop-slot"], stdin=stdin, text=True,
                                stderr=subprocess.PIPE, timeout=PATIENCE)
        assert "not understood" in result.stderr
        assert (server.connections, server.most) == (2, 1)
    os.close(terminal)
    os.close(stdin)


def complaints(stderr):
    """In one form: without our hints, the line breaks, the blank in a list of options, and what is each one's own."""
    kept = [line for line in stderr.splitlines() if not line.startswith("pg_receivewal: hint: ")]
    text = re.sub(r"\s+", " ", " ".join(kept)).replace("( ", "(").strip()
    return re.sub(r"(PID )\d+", r"\1N", text)


def test_complains_in_the_originals_words(servers, receivers, run, ours, archives, place):
    server = servers.primary(wal_level="logical", wal_keep_size=0, max_wal_size="32MB", min_wal_size="32MB")
    server.sql("CREATE ROLE reader LOGIN; CREATE ROLE archiver LOGIN REPLICATION PASSWORD 'secret'")
    server.hba("host replication archiver 127.0.0.1/32 scram-sha-256", "host replication rejected 127.0.0.1/32 reject")
    server.reload()
    server.sql("SELECT pg_create_physical_replication_slot('there'), pg_create_physical_replication_slot('busy')")
    server.sql("SELECT pg_create_logical_replication_slot('logical', 'test_decoding')")
    old, newer = archives("old"), archives("newer")
    first = wal.segment_name(1, server.flushed() // server.segment_size, server.segment_size)
    server.sql("SELECT pg_drop_replication_slot('logical')")
    for _ in range(4):
        server.switch_wal()
        server.sql("CHECKPOINT")
    wait_for(lambda: not server.pg_wal(first).exists(), "the first segment to be removed")
    server.sql("SELECT pg_create_logical_replication_slot('logical', 'test_decoding')")
    (old / (first + ".partial")).touch()
    (newer / f"00000007{first[8:]}.partial").touch()
    receiver = receivers.start([ours, "-D", archives("busy"), *connection(server), "-S", "busy"])
    streaming(server, APPLICATION)
    address = ["-h", "127.0.0.1", "-p", server.port]
    here = connection(server)
    into = ["-n", "-D", archives("archive")]
    cases = [
        ([*here, "--create-slot", "-S", "there"], {}),
        ([*here, "--create-slot", "-S", "Wrong-Name"], {}),
        ([*here, "--drop-slot", "-S", "missing"], {}),
        ([*here, "--drop-slot", "-S", "busy"], {}),
        ([*here, *into, "-S", "missing"], {}),
        ([*here, *into, "-S", "busy"], {}),
        ([*here, *into, "-S", "logical"], {}),
        ([*here, "-n", "-D", newer], {}),
        ([*address, "-U", "nobody", *into], {}),
        ([*address, "-U", "reader", *into], {}),
        ([*address, "-U", "rejected", *into], {}),
        ([*address, "-U", "archiver", "-w", *into], {}),
        ([*address, "-U", "archiver", *into], {"PGPASSWORD": "wrong"}),
        (["-h", "127.0.0.1", "-p", free_port(), *into], {}),
        (["-h", "localhost", "-p", free_port(), *into], {}),
        (["-h", "localhost", "-p", server.port, "-U", "rejected", *into], {}),
        (["-h", place, "-p", server.port, *into], {}),
        (["-h", "no.such.host.invalid", *into], {}),
        (["-d", "host=127.0.0.1 wrong=1", *into], {}),
        (["-d", "host=127.0.0.1 port", *into], {}),
        (["-d", f"host=127.0.0.1 port={server.port} user=postgres sslmode=require", *into], {}),
    ]
    different = []
    for options, env in cases:
        theirs, mine = run("stock", *options, env=env), run("ours", *options, env=env)
        assert theirs.returncode == mine.returncode == 1, options
        if complaints(mine.stderr) != complaints(theirs.stderr):
            different.append((complaints(mine.stderr), complaints(theirs.stderr)))
    assert not different, different
    # Of removed WAL ours says how much is missing, too.
    assert all("has already been removed" in run(program, *here, "-n", "-D", old).stderr for program in ("stock", "ours"))
    receiver.stop(signal.SIGINT)


def test_a_stop_while_a_slot_is_made_tells_what_became_of_it(receivers, ours):
    """The answer is on its way: the slot is there. (The original, too, waits for the answer.)"""

    class Late(FakeServer):
        asked = False

        def _answer(self, connection, command):
            if not command.startswith("CREATE_REPLICATION_SLOT"):
                return super()._answer(connection, command)
            self.asked = True
            time.sleep(1)
            connection.row(["s", "0/0", None, None])
            return True

    for program in (STOCK, ours):
        with Late() as server:
            receiver = receivers.start([program, "-d", server.conninfo(), "-S", "s", "--create-slot"])
            wait_for(lambda: server.asked, "the command")
            receiver.send(signal.SIGINT)
            assert receiver.wait_exit() == 0, program


def test_slots(servers, run):
    server = servers.primary()
    here = connection(server)
    rows = {}
    for program in ("stock", "ours"):
        slot = ["--slot", program]
        assert run(program, *here, *slot, "--create-slot").returncode == 0
        rows[program] = server.sql("SELECT slot_type, temporary, restart_lsn IS NULL, active"
                                   f" FROM pg_replication_slots WHERE slot_name = '{program}'")
        assert run(program, *here, *slot, "--create-slot").returncode == 1
        assert run(program, *here, *slot, "--create-slot", "--if-not-exists").returncode == 0
        verbose = run(program, *here, *slot, "--drop-slot", "-v")
        assert verbose.returncode == 0
        assert verbose.stderr == f'pg_receivewal: dropping replication slot "{program}"\n'
        again = run(program, *here, *slot, "--drop-slot")
        assert again.returncode == 1 and "does not exist" in again.stderr
    assert rows["ours"] == rows["stock"] == "physical|f|t|f"
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"


@pytest.mark.parametrize("kind", ["", "gzip", "lz4"])
def test_handing_the_directory_back_and_forth(servers, receivers, run, ours, archives, kind):
    """In whatever state one of the two leaves it: stopped, ended, killed."""
    server = servers.primary()
    directory = archives("archive")
    server.switch_wal()  # the first WAL is in one segment
    start = server.flushed() // server.segment_size * server.segment_size
    here = ["-D", directory, *connection(server)]
    compression = ["-Z", kind] if kind else []

    def round_of(program, *options):
        end = server.write_wal(0.3)
        result = run(program, *here, "-n", "-v", "-E", wal.lsn_text(end - 1), *options)
        assert result.returncode == 0, (program, options, result.stderr)
        assert_whole(server, directory, start, end)
        server.switch_wal()

    def killed(program, *options):
        receiver = receivers.start([ours if program == "ours" else STOCK, *here, *options])
        streaming(server, APPLICATION)
        end = server.write_wal(1.5)
        wait_for(lambda: any(wal.lsn(row["write_lsn"] or "0/0") >= end - server.segment_size
                             for row in server.walsenders(APPLICATION)), "WAL to arrive")
        receiver.kill9()
        gone(server, APPLICATION)

    for _ in range(2):
        round_of("ours", *compression)
        round_of("stock", *compression)
        round_of("ours", *compression)
        killed("ours", *compression, "-s", "1")
        round_of("stock", *compression)
        round_of("ours")
        round_of("stock")
        round_of("ours", *compression)
    # Stopped by a signal in the middle, by both.
    for program in ("ours", "stock", "ours"):
        receiver = receivers.start([ours if program == "ours" else STOCK, *here, *compression])
        streaming(server, APPLICATION)
        end = server.write_wal(0.2)
        wait_for(lambda: any(wal.lsn(row["sent_lsn"] or "0/0") >= end
                             for row in server.walsenders(APPLICATION)), "WAL to be sent")
        receiver.stop(signal.SIGINT)
        gone(server, APPLICATION)
        if kind and program == "ours":
            assert not [name for name in state(directory)
                        if parts(directory / name) and name.count(".") == 1
                        and name.endswith(".partial")
                        and server.pg_wal(name[:24]).exists()
                        and not (directory / name[:24]).exists()
                        and not list(directory.glob(name[:24] + ".*.partial"))
                        and not list(directory.glob(name[:24] + ".gz"))
                        and not list(directory.glob(name[:24] + ".lz4"))]
    round_of("ours", *compression)
    assert not [name for name in state(directory) if name.startswith(".")]


@pytest.mark.parametrize("kind", ["gzip", "lz4"])
def test_the_open_segment_ends_where_the_wal_does(servers, run, archives, kind):
    server = servers.primary()
    server.switch_wal()
    end = server.write_wal(0.2)
    length = {}
    for program in ("stock", "ours"):
        directory = archives(program)
        run(program, "-D", directory, *connection(server), "-n", "-Z", kind, "-E",
            wal.lsn_text(end - 1))
        (partial,) = directory.glob("*.partial")
        length[program] = len(content(partial))
    assert length["ours"] >= end % server.segment_size
    assert abs(length["ours"] - length["stock"]) < 128 * 1024


def test_keeps_what_an_older_compressed_partial_has_more_of(servers, receivers, run, ours, archives):
    """Stopped right after a start, before what was there has come again."""
    server = servers.primary()
    directory = archives("archive")
    end = server.write_wal(0.3)
    here = ["-D", directory, *connection(server), "-Z", "gzip"]
    assert run("ours", *here, "-n", "-E", wal.lsn_text(end - 1)).returncode == 0
    (partial,) = directory.glob("*.gz.partial")
    before = content(partial)
    start = end // server.segment_size * server.segment_size
    assert run("ours", *here, "-n", "-E", wal.lsn_text(start)).returncode == 0
    after = content(partial)
    assert after[:len(before)] == before
    assert not list(directory.glob("*[0-9A-F].partial"))


def test_zstd_goes_beyond_the_original(servers, run, archives):
    server = servers.primary()
    start = server.flushed() // server.segment_size * server.segment_size
    server.switch_wal()
    end = server.write_wal(0.1)
    directory = archives("archive")
    server.sql("SELECT 1")
    create = run("ours", "-D", directory, *connection(server), "-n", "-Z", "zstd:3", "-E",
                 wal.lsn_text(end - 1))
    assert create.returncode == 0, create.stderr
    assert list(directory.glob("*.partial")), (start, state(directory))


def test_ends_or_comes_back_when_the_connection_is_lost(servers, receivers, run, ours, archives):
    server = servers.primary()
    once = receivers.start([ours, "-D", archives("once"), *connection(server), "-n"])
    again = receivers.start([ours, "-D", archives("again"), *connection(server)])
    wait_for(lambda: [row["state"] for row in server.walsenders(APPLICATION)] == ["streaming"] * 2, "both to stream")
    server.restart()
    assert once.wait_exit() == 1
    assert once.said().endswith("pg_receivewal: error: disconnected\n")
    again.wait_log(r"(?m)^pg_receivewal: disconnected; waiting 5 seconds to try again$")
    streaming(server, APPLICATION)
    server.stop()
    again.wait_log("disconnected; waiting 5 seconds to try again")
    again.stop(signal.SIGINT)
    # The first connection is another matter.
    first = run("ours", "-D", archives("first"), *connection(server))
    assert first.returncode == 1
    assert first.stderr.startswith("pg_receivewal: error: ")
    assert "disconnected" not in first.stderr


def test_a_missing_slot(servers, receivers, run, ours, archives):
    server = servers.primary()
    here = ["-D", archives("archive"), *connection(server), "-S", "later"]
    once = run("ours", *here, "-n")
    assert once.returncode == 1
    assert 'pg_receivewal: error: replication slot "later" does not exist' in once.stderr
    assert "which only creates the slot" in once.stderr
    receiver = receivers.start([ours, *here])
    receiver.wait_log("does not exist")
    create_slot(server, "later")
    streaming(server, APPLICATION)
    receiver.stop(signal.SIGINT)


def test_waits_for_the_timeline_that_it_was_on(servers, receivers, run, ours, archives):
    """A former primary is at this address for a moment, as after a failover."""
    server = servers.primary()
    promoted = servers.standby(server)
    promoted.promote()
    directory = archives("archive")
    end = promoted.write_wal(0.1)
    assert run("ours", "-D", directory, *connection(promoted), "-n", "-E", wal.lsn_text(end - 1)).returncode == 0
    assert list(directory.glob("00000002*.partial"))
    receiver = receivers.start([ours, "-D", directory, *connection(server)])
    receiver.wait_log("starting timeline 2 is not present in the server")
    receiver.wait_log("disconnected; waiting 5 seconds to try again")
    receiver.stop(signal.SIGINT)


def test_a_slot_in_use_ends_it_at_once(servers, receivers, run, ours, archives):
    server = servers.primary()
    create_slot(server)
    receiver = receivers.start([ours, "-D", archives("one"), *connection(server), "-S", "archive"])
    streaming(server, APPLICATION)
    result = run("ours", "-D", archives("two"), *connection(server), "-S", "archive", "-n",
                 timeout=PATIENCE)
    assert result.returncode == 1 and "is active" in result.stderr
    receiver.stop(signal.SIGTERM)


def test_signals_may_come_twice(servers, receivers, ours, archives):
    server = servers.primary()
    directory = archives("archive")
    receiver = receivers.start([ours, "-D", directory, *connection(server), "-v", "-Z", "gzip"])
    streaming(server, APPLICATION)
    server.write_wal(2)
    receiver.send(signal.SIGINT)
    receiver.send(signal.SIGINT)
    assert receiver.wait_exit() == 0
    assert "pg_receivewal: received interrupt signal, exiting\n" in receiver.said()
    assert all(re.search(r"\.gz(\.partial)?$", name) for name in state(directory))


def test_a_hangup_ends_it_but_under_nohup(servers, receivers, ours, archives):
    server = servers.primary()
    words = [ours, "-D", archives("archive"), *connection(server), "-v"]
    nohup = receivers.start(["sh", "-c", 'trap "" HUP; exec "$0" "$@"', *words])
    streaming(server, APPLICATION)
    nohup.send(signal.SIGHUP)
    server.write_wal(2)
    wait_for(lambda: nohup.said().count("finished segment at") >= 2, "two segments more")
    assert "received interrupt signal" not in nohup.said()
    nohup.stop(signal.SIGINT)
    receiver = receivers.start(words)
    streaming(server, APPLICATION)
    receiver.stop(signal.SIGHUP)


def test_synchronous_commits(servers, receivers, ours, archives):
    server = servers.primary()
    server.sql("CREATE TABLE numbers (n int)")
    receiver = receivers.start(
        [ours, "-D", archives("archive"), *connection(server), "--synchronous"])
    streaming(server, APPLICATION)
    server.conf(synchronous_standby_names=APPLICATION)
    server.reload()
    wait_for(lambda: streaming(server, APPLICATION)["sync_state"] == "sync", "it to be synchronous")
    for number in range(20):
        server.sql(f"INSERT INTO numbers VALUES ({number})", timeout=PATIENCE)
    receiver.kill9()


def test_what_is_reported(servers, receivers, ours, archives):
    """No flush position without a slot or --synchronous: nobody asked to be waited for. With a slot
    none before the slot, which would go back: it may be in the middle of the first segment."""
    server = servers.primary()
    create_slot(server)
    slot = restart_lsn(server)
    for options, flushed in (([], False), (["-S", "archive"], True), (["--synchronous"], True)):
        receiver = receivers.start([ours, "-D", archives("a" + "".join(options)),
                                    *connection(server), *options])
        wait_for(lambda: streaming(server, APPLICATION)["write_lsn"], "it to report")
        if options == ["-S", "archive"] and server.major >= READS_SLOTS:
            assert not streaming(server, APPLICATION)["flush_lsn"]
            assert restart_lsn(server) == slot
            server.switch_wal()
            wait_for(lambda: streaming(server, APPLICATION)["flush_lsn"], "a whole segment to be reported")
            wait_for(lambda: restart_lsn(server) > slot, "the slot to follow")
        if flushed:
            wait_for(lambda: streaming(server, APPLICATION)["flush_lsn"], "what is flushed to be reported")
        else:
            assert not streaming(server, APPLICATION)["flush_lsn"]
        assert not streaming(server, APPLICATION)["replay_lsn"]
        receiver.stop(signal.SIGINT)
        gone(server, APPLICATION)


def test_a_clean_stop_reports_all_of_it(servers, receivers, ours, archives):
    server = servers.primary()
    create_slot(server)
    receiver = receivers.start(
        [ours, "-D", archives("archive"), *connection(server), "-S", "archive", "-s", "1"])
    streaming(server, APPLICATION)
    end = server.write_wal(0.3)
    # (What was only sent may still be on its way when the program stops.)
    wait_for(lambda: wal.lsn(streaming(server, APPLICATION)["write_lsn"] or "0/0") >= end, "WAL to be written")
    assert restart_lsn(server) < end
    receiver.stop(signal.SIGINT)
    gone(server, APPLICATION)
    assert restart_lsn(server) >= end


def test_follows_timelines(servers, run, archives):
    server = servers.primary()
    create_slot(server)
    old = server.write_wal(1)
    start = restart_lsn(server)
    promote_again(server)
    end = server.write_wal(0.5)
    lines = {}
    for program in ("stock", "ours"):
        directory = archives(program)
        server.sql(f"SELECT pg_copy_physical_replication_slot('archive', '{program}')")
        result = run(program, "-D", directory, *connection(server), "-S", program, "-n", "-v", "-E",
                     wal.lsn_text(end - 1))
        assert result.returncode == 0, result.stderr
        lines[program] = told(result.stderr.splitlines(),
                              r"(stopped log streaming at|switched to timeline 2 at) \S+")
        lines[program].append(sorted(state(directory)))
        assert (directory / "00000002.history").read_bytes() == \
            server.pg_wal("00000002.history").read_bytes()
        if server.major >= READS_SLOTS:
            assert_whole(server, directory, start, min(old, server.timeline_end(1)))
    assert lines["ours"] == lines["stock"]


def test_files_of_a_wrong_size(servers, run, archives):
    server = servers.primary()
    directory = archives("archive")
    start = server.flushed() // server.segment_size * server.segment_size
    server.switch_wal()
    end = server.switch_wal()
    here = ["-D", directory, *connection(server), "-n"]
    name = wal.segment_name(1, start // server.segment_size, server.segment_size)
    (directory / (name + ".partial")).write_bytes(b"\0" * 5000)  # as a killed original leaves it
    assert run("ours", *here, "-E", wal.lsn_text(end - 1)).returncode == 0
    assert_whole(server, directory, start, end - 1)
    newest = sorted(path for path in directory.iterdir() if parts(path)[1])[-1]
    os.truncate(newest, 1000)
    end = server.write_wal(0.1)
    result = run("ours", *here, "-E", wal.lsn_text(end - 1))
    assert result.returncode == 0, result.stderr
    assert (f'pg_receivewal: warning: segment file "{newest.name}" has incorrect size 1000, '
            "skipping\n") in result.stderr
    assert_whole(server, directory, start, end - 1)


def test_an_end_position_where_the_server_stands(servers, run, archives):
    server = servers.primary()
    end = server.flushed()
    directory = archives("archive")
    result = run("ours", "-D", directory, *connection(server), "-n", "-E", wal.lsn_text(end))
    assert result.returncode == 0
    assert len(list(directory.glob("*.partial"))) == 1


def test_another_cluster_is_refused(servers, run, archives):
    one, two = servers.primary(), servers.primary()
    directory = archives("archive")
    end = one.write_wal(0.1)
    assert run("ours", "-D", directory, *connection(one), "-n", "-E",
               wal.lsn_text(end - 1)).returncode == 0
    before = state(directory)
    result = run("ours", "-D", directory, *connection(two))
    assert result.returncode == 1 and state(directory) == before


@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18, 19], ids=lambda major: f"major{major}")
def test_streams_from(servers, run, archives, major):
    server = servers.primary(major=major)
    create_slot(server)
    start = restart_lsn(server)
    server.write_wal(2)
    end = server.switch_wal()
    directory = archives("archive")
    result = run("ours", "-D", directory, *connection(server), "-n", "-v", "-E",
                 wal.lsn_text(end - 1), *(["-S", "archive"] if major >= READS_SLOTS else []))
    assert result.returncode == 0, result.stderr
    assert_whole(server, directory, start if major >= READS_SLOTS else end - 1, end - 1)
