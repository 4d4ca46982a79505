"""The power fails during `pgweir backup` and `pgweir recover`, on a real file system (as in test_power.py): a directory that
has the name of a backup is whole, one that counted is not gone before its successor counts, and a data directory that a
server could be started in has everything."""

import json
import os
import re
import time

import pytest

from support.process import as_server_user, run
from support.receiver import pgweir
from support.recovery import hand_over, installed
from support.scenario import reported, streaming
from test_power import Disk, Story, memory, own_mounts  # noqa: F401
from test_recover_faults import World, directory

NAME = re.compile(r"\d{8}T\d{6}Z")


class OnDisk(Story):
    """What `act` does on a recorded disk of `size` bytes, to be looked at as each_moment() has it."""

    def __init__(self, memory, size):  # noqa: F811
        self.disk = Disk(memory, "ext4", size)
        self.disk.mount_recorded()
        self.place = memory
        self.reports = []
        run(["sync", "-f", self.disk.mountpoint])

    def record(self, act):
        self.begun = time.monotonic_ns()
        act()
        self.diary = self.disk.end_recording()
        self.flushes = [index for index, (_, offset, _) in enumerate(self.diary) if offset is None]
        self.first = next(index for index, (when, _, _) in enumerate(self.diary) if when > self.begun)

    def at_each_moment(self, random, check):
        def mounted(moment):
            self.disk.mount(moment.image)
            try:
                check(moment, self.diary[moment.index][0])
            finally:
                self.disk.umount()

        return self.each_moment(random, mounted)


def test_backup(servers, receivers, new_archive, memory, seeded):  # noqa: F811
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(1))
    story = OnDisk(memory, 256 << 20)
    to = story.disk.mountpoint / "backups"
    to.mkdir()
    run(["sync", "-f", to])
    counted = []  # (when it was reported, name)

    def act():
        for _ in range(3):
            done = pgweir("backup", "-D", archive.path, "-d", primary.conninfo(), "--to", to, "--keep-backups", "1", "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            counted.append((time.monotonic_ns(), json.loads(done.stdout)["name"]))
            reported(primary, primary.write_wal(1))

    story.record(act)
    verify = primary.bin / "pg_verifybackup"

    def check(moment, when):
        names = sorted(path.name for path in to.iterdir() if NAME.fullmatch(path.name)) if to.exists() else []
        for name in names:
            done = run([verify, "--no-parse-wal", "--quiet", to / name], check=False)
            assert done.returncode == 0, f"{name} is not whole: {moment.said}\n{done.stderr}"
        newest = max((name for at, name in counted if at < when), default=None)
        assert newest is None or names and names[-1] >= newest, f"{newest} counted, and is gone: {moment.said}: {names}"

    done = story.at_each_moment(seeded, check)
    print(f"{done} moments; {len(story.diary)} entries, {len(story.flushes)} flushes")


def test_recover(servers, receivers, new_archive, place, memory, seeded):  # noqa: F811
    world = World(servers, receivers, new_archive, place)
    story = OnDisk(memory, 128 << 20)
    world.new = directory(story.disk.mountpoint / "new")
    world.into, world.tablespace = world.new / "main", world.new / "other"
    run(["sync", "-f", world.new])
    ended = []

    def act():
        done = world.recover()
        ended.append(time.monotonic_ns())
        assert done.returncode == 0, done.stdout + done.stderr
        world.whole = world.made()  # its links lead here

    story.record(act)
    looked = 0

    def check(moment, when):
        nonlocal looked
        startable = (world.into / "global" / "pg_control").exists()
        assert startable or when <= ended[0], f"it was prepared, and is not: {moment.said}"
        if startable:
            without = {name: what for name, what in world.made().items() if ".pgweir-recover" not in name}
            assert without == world.whole, f"a server could be started, and not all is there: {moment.said}"
        looked += 1
        if looked % 5 == 0:
            again = world.recover()
            assert again.returncode == 0, f"{moment.said}\n{again.stdout}{again.stderr}"
            assert world.made() == world.whole, moment.said

    done = story.at_each_moment(seeded, check)
    print(f"{done} moments; {len(story.diary)} entries, {len(story.flushes)} flushes")
