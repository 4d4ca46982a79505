"""Two archives of one server, each with holes and damage, that only together have everything."""

import json
import os
import pathlib
import shutil

import pytest

from support import wal
from support.process import preload, run, wait_for
from support.receiver import pgweir
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import begun
from support.ahead import PREFETCHED, Recovery
from support.archive import Archive


def insert(server, first, last):
    for number in range(first, last + 1):
        server.sql(f"INSERT INTO t VALUES ({number})")


def rows(server):
    return server.sql("SELECT count(*) || ':' || max(i) FROM t")


def flip(path):
    """Damages the middle of a raw segment, which records lie in."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content) // 2 + 64):
        content[at] ^= 0xFF
    path.write_bytes(content)


def middle_is_used(path):
    """Behind an xlog switch any bytes are legal."""
    content = path.read_bytes()
    return any(content[len(content) // 2 + 24:len(content) // 2 + 8192])


class Two:
    """Rows 1 to 60. Of every three segments archive a has one damaged, and lacks one; b lacks the
    third. The unfinished segment is shorter in a."""

    def __init__(self, servers, receivers, new_archive, place):
        self.place = place
        self.primary = primary = servers.primary()
        self.whole = whole = new_archive(primary)
        receiver = receivers.pgweir(whole, primary)
        begun(whole, primary)
        self.backup = base_backup(primary, place / "backup")
        primary.sql("CREATE TABLE t (i int)")
        insert(primary, 1, 20)
        primary.write_wal(3)
        insert(primary, 21, 40)
        self.time = primary.sql("SELECT clock_timestamp()")
        primary.write_wal(4)
        insert(primary, 41, 50)
        whole.wait_covers(primary, 1, primary.flushed())
        shorter = wait_for(lambda: list(whole.partials().values()), "the .partial")[-1]
        self.shorter = (shorter.name, shorter.read_bytes())
        insert(primary, 51, 60)
        whole.wait_covers(primary, 1, primary.flushed())
        receiver.kill9()
        primary.kill9()

        self.a = self.copy("a")
        self.b = self.copy("b")
        self.damaged, self.missing_in_a, self.missing_in_b = [], [], []
        for number, path in enumerate(list(whole.finished().values())[1:]):
            if number % 3 == 0:
                if middle_is_used(path):
                    flip(self.a.path / path.name)
                    self.damaged.append(path.name)
            elif number % 3 == 1:
                (self.a.path / path.name).unlink()
                self.missing_in_a.append(path.name)
            else:
                (self.b.path / path.name).unlink()
                self.missing_in_b.append(path.name)
        assert self.damaged and self.missing_in_a and self.missing_in_b
        name, content = self.shorter
        if (self.a.path / name).exists():
            (self.a.path / name).write_bytes(content)
        for archive in (self.a, self.b, whole):
            hand_over(archive.path)

    def copy(self, name):
        shutil.copytree(self.whole.path, self.place / name,
                        ignore=shutil.ignore_patterns("*.sock"))
        os.chmod(self.place / name, 0o755)
        return Archive(self.place / name, self.whole.segment_size)

    def command(self, *options):
        return restore_command(self.place, self.a, "-D", str(self.b.path), *options)

    def recover(self, servers, name, restore, **settings):
        return recover(servers, self.backup, name, self.primary, restore, **settings)

    def ask(self, name, *options, archives=None, env=None):
        """(exit status, what was said)"""
        target = self.place / "restored"
        target.unlink(missing_ok=True)
        words = [word for path in archives or (self.a.path, self.b.path) for word in ("-D", path)]
        asked = pgweir("restore", *words, "--prefetch", "0", "--retry-for", "1s", *options, name,
                       target, env=env)
        assert target.exists() == (asked.returncode == 0), asked.stderr
        return asked.returncode, asked.stderr


@pytest.fixture
def two(servers, receivers, new_archive, place):
    return Two(servers, receivers, new_archive, place)


def test_recovers_from_two_archives_what_neither_has_alone(two, servers):
    for name, options in (("ahead", []), ("alone", ["--prefetch", "0"]),
                          ("first", ["--first-valid"])):
        server = two.recover(servers, name, two.command("--partial", *options))
        assert rows(server) == "60:60", name
        log = server.last_log(1000)
        for segment in two.damaged[:-1]:
            assert f"{two.a.path}/{segment}" in log, name
        server.stop("immediate")
    # Without the unfinished one it ends before that, as with one archive.
    server = two.recover(servers, "finished", two.command())
    assert int(rows(server).split(":")[1]) < 60
    server.stop("immediate")

    # One alone stops the recovery at its first hole or damage.
    assert two.ask(two.damaged[0], archives=[two.a.path])[0] == 200
    assert two.ask(two.missing_in_a[0], archives=[two.a.path])[0] == 200
    assert two.ask(two.missing_in_b[0], archives=[two.b.path])[0] == 200


def test_finds_a_moment_in_two_archives_and_recovers_to_it(two, servers):
    found, expected = [
        pgweir("restore", *words, "--find-time", two.time, "--json")
        for words in (["-D", two.a.path, "-D", two.b.path], ["-D", two.whole.path])]
    assert found.returncode == expected.returncode == 0, found.stderr
    assert json.loads(found.stdout) == json.loads(expected.stdout)

    told = pgweir("restore", "-D", two.a.path, "-D", two.b.path, "--find-time", two.time)
    assert f"-D {two.a.path} -D {two.b.path} %f %p" in told.stdout
    server = two.recover(servers, "found", two.command(),
                         recovery_target_lsn=json.loads(found.stdout)["before"]["lsn"])
    assert rows(server) == "40:40"
    server.stop("immediate")


def test_judges_both_and_never_ends_a_recovery_by_mistake(two, servers, receivers, new_archive,
                                                           place):
    newest = max(two.whole.finished())[1]
    size = two.whole.segment_size
    behind = wal.segment_name(1, newest + 3, size)
    for name in two.damaged:
        status, said = two.ask(name)
        assert status == 0 and f"{two.a.path}/{name}" in said, said
    for name in two.missing_in_a + two.missing_in_b:
        assert two.ask(name) == (0, "")
    assert two.ask(behind)[0] == 1
    assert two.ask("00000002.history")[0] == 1

    # What neither has any more.
    (two.b.path / two.missing_in_a[0]).unlink()
    status, said = two.ask(two.missing_in_a[0])
    assert status == 200 and "is missing in the archive" in said, said

    # One is not mounted, or hangs: what the other has is restored, and what it lacks is not told as
    # absent.
    nowhere = two.place / "nowhere"
    for archives in ([nowhere, two.b.path], [two.b.path, nowhere]):
        status, said = two.ask(two.damaged[0], archives=archives)
        assert status == 0 and f"was restored without {nowhere}, which does not answer" in said, said
        assert two.ask(behind, archives=archives)[0] == 200
        assert two.ask("00000002.history", archives=archives)[0] == 200
    hanging = two.copy("hanging").path
    run(["gzip", "-1", hanging / two.damaged[0]])
    (place / "fault").write_text("open 0")  # opening a file *.gz does not come back
    env = {"LD_PRELOAD": str(preload(place, "slow_fsync.c")),
           "PGWEIR_TEST_SYNC": str(place / "fault")}
    for archives in ([hanging, two.b.path], [two.b.path, hanging]):
        status, said = two.ask(two.damaged[0], archives=archives, env=env)
        assert status == 0 and f"was restored without {hanging}, which does not answer" in said, said
    (two.b.path / two.damaged[0]).unlink()
    status, said = two.ask(two.damaged[0], archives=[two.b.path, hanging], env=env)
    assert status == 200 and "does not answer" in said, said

    # Another server's archive is a wrong configuration, whatever the first one has.
    other = servers.primary("other")
    foreign = new_archive(other, "foreign")
    receiver = receivers.pgweir(foreign, other)
    begun(foreign, other)
    other.write_wal(1)
    other.switch_wal()
    foreign.wait_covers(other, 1, other.flushed())
    receiver.stop()
    for name in (two.missing_in_b[0], behind, "00000002.history"):
        status, said = two.ask(name, archives=[two.a.path, foreign.path])
        assert status == 200 and str(foreign.path) in said, said


def test_a_helper_fetches_from_both_and_waits_once_for_one_that_hangs(two, place):
    """What it has is handed over at once, with the warning."""
    wanted = [path.name for path in two.whole.finished().values()]
    environment = {}
    for hangs in (False, True):
        if hangs:
            run(["gzip", "-1", *(path for path in two.a.finished().values())])
            (place / "fault").write_text("open 0")
            environment = {"LD_PRELOAD": preload(place, "slow_fsync.c"),
                           "PGWEIR_TEST_SYNC": place / "fault"}
        recovery = Recovery(place, f"recovery{hangs}", **environment)
        handed_over = 0
        try:
            for name, following in zip(wanted, [*wanted[1:], None], strict=True):
                status, said, content = recovery.ask(two.a.path, name, "-D", two.b.path, "--prefetch",
                                                     "3", "--retry-for", "1s")
                if hangs and name in two.missing_in_b:
                    assert status == 200 and "does not answer" in said, said
                    shutil.copy(two.whole.path / name, recovery.out / name)
                    continue
                assert status == 0, said
                assert content == (two.whole.path / name).read_bytes()
                if hangs and name not in two.missing_in_a:
                    assert f"was restored without {two.a.path}, which does not answer" in said, said
                handed_over += PREFETCHED in said
                # Once at least, the helper had the time that it needs. (Waiting for the other archive gives it that.)
                if not hangs and not handed_over and following:
                    recovery.wait_stock(1)
            assert handed_over > 0
        finally:
            recovery.end()
            recovery.assert_no_litter()


def test_takes_several_archives_from_a_configuration_file(two):
    config = two.place / "pgweir.conf"
    config.write_text(f"[restore]\ndirectory = {two.a.path}\ndirectory = {two.b.path}\n")
    target = two.place / "restored"
    for name in two.missing_in_a + two.missing_in_b:
        asked = pgweir("restore", "-c", config, "--prefetch", "0", name, target)
        assert asked.returncode == 0, asked.stderr
        assert target.read_bytes() == (two.whole.path / name).read_bytes()
    shown = pgweir("config", "show", config, "restore")
    assert str(two.a.path) in shown.stdout and str(two.b.path) in shown.stdout
    # The command line wins: then it is one archive.
    asked = pgweir("restore", "-c", config, "-D", two.a.path, two.missing_in_a[0], target)
    assert asked.returncode == 200, asked.stderr
    # Others take one directory.
    config.write_text(f"directory = {two.a.path}\ndirectory = {two.b.path}\n")
    checked = pgweir("config", "check", config)
    assert checked.returncode == 2 and "more than once" in checked.stderr, checked.stderr


def test_two_archives_are_held_beside_each_other(two):
    """verify and status tell what only one of them has; import mends it."""
    def verify(one, other):
        done = pgweir("verify", "-D", one, "--compare-archive", other, "--json")
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)["beside"]

    def names(ranges):
        assert all(each["segments"] == 1 for each in ranges), ranges
        return [each["first"] for each in ranges]

    status, beside = verify(two.a.path, two.b.path)
    assert status == 1 and not beside["agrees"]
    assert names(beside["only_beside"]) == two.missing_in_a
    assert names(beside["only_here"]) == two.missing_in_b
    assert [(each["kind"], pathlib.Path(each["file"]).name) for each in beside["unlike"]] == [
        ("damaged_here", name) for name in two.damaged]
    told = pgweir("status", "-D", two.a.path, "--compare-archive", two.b.path, "--json")
    by_names = json.loads(told.stdout)["beside"]
    assert by_names["only_here"] == beside["only_here"]
    assert by_names["only_beside"] == beside["only_beside"]
    told = pgweir("status", "-D", two.a.path, "--compare-archive", two.b.path)
    for name in two.missing_in_a[:1]:
        assert (f"only in {two.b.path}: {name}, a hole of {two.a.path}: "
                f"pgweir import -D {two.a.path} {two.b.path}") in told.stdout

    status, beside = verify(two.whole.path, two.whole.path)
    assert status == 0 and beside["agrees"]
    said = ""
    for target, source in ((two.a, two.b), (two.b, two.a)):
        done = pgweir("import", "-D", target.path, "--replace-damaged", source.path)
        assert done.returncode in (0, 1), done.stderr
        said += done.stdout + done.stderr
    status, beside = verify(two.a.path, two.b.path)
    left = [each for each in beside["only_here"] + beside["only_beside"] if each["hole"]]
    assert not left, json.dumps(beside) + said
    # The newest finished segment has nothing on its right that could vouch for another one.
    assert all(pathlib.Path(each["file"]).name == two.damaged[-1] for each in beside["unlike"]), said
