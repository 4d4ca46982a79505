"""Debian's barman-cloud (barman-cli-cloud, unpacked by scripts/setup), which reads and writes a Ceph gateway's buckets."""

import datetime
import os

from . import gateway as gateways
from .gateway import Gateway
from .process import run, server_user, wait_for

BIN = gateways.ROOT / "usr" / "bin"


def installed():
    return (BIN / "barman-cloud-backup").exists()


def environment():
    return {**gateways.environment(), "AWS_ACCESS_KEY_ID": Gateway.key, "AWS_SECRET_ACCESS_KEY": Gateway.secret,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


def put_into(directory):
    """Its programs, to be found there by a PATH. They take the access keys from whoever calls them."""
    unpacked = {name: value for name, value in environment().items() if name in ("LD_LIBRARY_PATH", "PYTHONPATH")}
    words = " ".join(f"{name}='{value}'" for name, value in unpacked.items())
    for program in BIN.glob("barman-cloud-*"):
        script = directory / program.name
        script.write_text(f"#!/bin/sh\nexec env {words} /usr/bin/python3 -B {program} \"$@\"\n")
        script.chmod(0o755)


class Barman:
    """One server's place in a bucket: s3://BUCKET/p, "main"."""

    def __init__(self, bucket, prefix="p", name="main"):
        self.bucket = bucket
        self.prefix = prefix
        self.name = name

    def _run(self, program, *words, check=True):
        return run(["/usr/bin/python3", "-B", BIN / f"barman-cloud-{program}", "--endpoint-url",
                    self.bucket.gateway.url, *words], env=environment(), check=check)

    def _place(self):
        return [f"{self.bucket.url}/{self.prefix}", self.name]

    def ids(self):
        """Of the backups in the bucket, by their objects; the newest last."""
        base = f"{self.prefix}/{self.name}/base/"
        return sorted({key[len(base):].split("/")[0] for key in self.bucket.keys(base)})

    def info(self, backup):
        text = self.bucket.get(f"{self.prefix}/{self.name}/base/{backup}/backup.info").decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    @staticmethod
    def wait_for_another_second(backup):
        wait_for(lambda: datetime.datetime.now().strftime("%Y%m%dT%H%M%S") > backup, "another second")

    def backup(self, server, *options):
        """Its id, which is the second that it begins in."""
        before = self.ids()
        if before:
            self.wait_for_another_second(before[-1])
        self._run("backup", "--host", server.socket_dir, "--port", str(server.port), "--user", "postgres",
                  "--immediate-checkpoint", "--jobs", "1", *options, *self._place())
        [new] = set(self.ids()) - set(before)
        return new

    def remove(self, *options):
        self._run("backup-delete", *options, *self._place())

    def keep(self, backup, target="full"):
        self._run("backup-keep", "--target", target, *self._place(), backup)

    def restore(self, backup, target):
        """Into a directory that belongs to the servers' user."""
        target.mkdir(mode=0o700)
        self._run("restore", *self._place(), backup, target)
        if os.getuid() == 0:
            run(["chown", "-R", f"{server_user().pw_uid}:{server_user().pw_gid}", target])
        return target

    def restore_command(self):
        """As whoever runs the server may run it."""
        words = " ".join(f"{name}='{value}'" for name, value in environment().items()
                         if name.startswith("AWS_") or name in ("LD_LIBRARY_PATH", "PYTHONPATH"))
        return (f"env {words} /usr/bin/python3 -B {BIN}/barman-cloud-wal-restore --endpoint-url "
                f"{self.bucket.gateway.url} {' '.join(self._place())} %f %p")
