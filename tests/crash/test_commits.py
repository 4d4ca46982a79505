"""The proof of RPO 0: clients commit numbers on a primary for which pgweir is the synchronous
standby, and write down what was acknowledged to them. pgweir is killed again and again, the primary
sometimes, and in the end both, and the primary's disk is lost. What the archive restores has to
contain every acknowledged number."""

import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support.process import PATIENCE, die_with_parent, wait_for
from support.recovery import base_backup, hand_over, recover, restore_command
from support.scenario import streaming
from support.server import DEBIAN_BIN

ROUNDS = int(os.environ.get("PGWEIR_COMMIT_ROUNDS", "8"))
CLIENTS = 3


class Client(threading.Thread):
    """Commits one number after the other in one session, in a new one when that ends."""

    def __init__(self, server, first):
        super().__init__(daemon=True)
        self.server = server
        self.next = first
        self.acknowledged = []
        self.end = threading.Event()
        self._psql = None

    def run(self):
        while not self.end.is_set():
            self._psql = subprocess.Popen(
                [DEBIAN_BIN / "psql", "-XAt", f"host={self.server.socket_dir}"
                 f" port={self.server.port} user=postgres dbname=postgres"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                bufsize=1, preexec_fn=die_with_parent(signal.SIGKILL))
            try:
                while not self.end.is_set():
                    number = self.next
                    self.next += CLIENTS
                    self._psql.stdin.write(f"INSERT INTO numbers VALUES ({number});\n")
                    if self._psql.stdout.readline().strip() != "INSERT 0 1":
                        break  # the session has ended: whatever became of this one
                    self.acknowledged.append(number)
            except (BrokenPipeError, ValueError):
                pass
            self._psql.kill()
            self._psql.communicate()
            self.end.wait(0.1)

    def stop(self):
        self.end.set()
        if self._psql:
            self._psql.kill()
        self.join(PATIENCE)


@pytest.mark.parametrize("options", [[], ["--compress", "zstd:1"]], ids=["raw", "zstd"])
def test_every_acknowledged_commit_is_restored(servers, receivers, new_archive, place, seeded,
                                               options):
    primary = servers.primary()
    primary.sql("CREATE TABLE numbers (n int)")
    archive = new_archive(primary)
    options = ["-S", "archive", "--create-slot", "--if-not-exists", *options]
    receiver = receivers.pgweir(archive, primary, *options)
    streaming(primary)
    backup = base_backup(primary, place / "backup")
    primary.conf(synchronous_standby_names="pgweir")
    primary.reload()
    wait_for(lambda: streaming(primary)["sync_state"] == "sync", "the receiver to be synchronous")
    clients = [Client(primary, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    count = lambda: sum(len(client.acknowledged) for client in clients)  # noqa: E731
    try:
        for number in range(ROUNDS):
            before = count()
            wait_for(lambda: count() > before + 20, "commits to be acknowledged")
            time.sleep(seeded.uniform(0, 0.3))
            if number % 4 == 3:
                primary.kill9()
                time.sleep(seeded.uniform(0, 0.2))
                if seeded.random() < 0.5:
                    receiver.kill9()
                    receiver = receivers.pgweir(archive, primary, *options)
                primary.start()
            else:
                receiver.kill9()
                time.sleep(seeded.uniform(0, 0.3))
                receiver = receivers.pgweir(archive, primary, *options)
            if number % 2:
                primary.spawn_sql("SELECT pg_switch_wal()").wait()
        before = count()
        wait_for(lambda: count() > before + 20, "commits to be acknowledged")
        first, second = seeded.sample([primary, receiver], 2)
        first.kill9()
        second.kill9()
    finally:
        for client in clients:
            client.stop()
    acknowledged = {number for client in clients for number in client.acknowledged}
    shutil.rmtree(primary.data)
    hand_over(archive.path)
    restored = recover(servers, backup, "restored", primary,
                       restore_command(place, archive, "--partial"), synchronous_standby_names="")
    found = {int(line) for line in restored.sql("SELECT n FROM numbers").split()}
    lost = acknowledged - found
    print(f"{len(acknowledged)} acknowledged, {len(found)} restored")
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged commits are lost: {lost}"
    assert len(acknowledged) > 20 * ROUNDS
