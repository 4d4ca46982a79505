"""A cluster under Patroni, with etcd: Debian's packages, unpacked into build/patroni by scripts/setup patroni, so that
nothing is installed and no service is started."""

import json
import os
import pathlib
import signal
import subprocess
import urllib.error
import urllib.request

from .process import PATIENCE, alive, as_server_user, children_of, die_with_parent, server_user, tail, wait_for
from .server import DEBIAN_BIN, DEBIAN_MAJOR, Server, free_port
from .template import REPOSITORY, memory_place

ROOT = REPOSITORY / "build" / "patroni"


def installed():
    return (ROOT / "usr" / "bin" / "patroni").exists() and (ROOT / "usr" / "bin" / "etcd").exists()


class Node(Server):
    """A server that Patroni starts and stops."""

    def __init__(self, place, name, etcd_port, dynamic):
        super().__init__(place, name, DEBIAN_MAJOR, 1, memory_place())
        self.rest = free_port()
        self.patroni = None
        self.config = self.home / "patroni.yml"
        self.config.write_text(json.dumps({  # which is YAML, too
            "scope": "weir", "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": {"ttl": 20, "loop_wait": 1, "retry_timeout": 8, **dynamic,
                        "postgresql": {"use_pg_rewind": True, "use_slots": True,
                                       "parameters": {"wal_keep_size": "10GB", "max_wal_senders": 20,
                                                      "max_replication_slots": 20, "max_connections": 40}}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"wal-segsize": "1"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}", "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data), "bin_dir": str(DEBIAN_BIN),
                "pgpass": str(self.home / "pgpass"),
                "authentication": {"superuser": {"username": "postgres", "password": "x"},
                                   "replication": {"username": "postgres", "password": "x"},
                                   "rewind": {"username": "postgres", "password": "x"}},
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                           "host replication postgres 127.0.0.1/32 trust",
                           "host replication archiver 127.0.0.1/32 trust"],
                "parameters": {"unix_socket_directories": str(self.socket_dir), "fsync": "off",
                               "shared_buffers": "16MB", "autovacuum": "off"},
            },
        }))
        self.config.chmod(0o644)

    def run(self):
        with open(self.log, "ab") as log:
            self.patroni = subprocess.Popen(
                ["/usr/bin/python3", ROOT / "usr" / "bin" / "patroni", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={**os.environ, "PYTHONPATH": str(ROOT / "usr" / "lib" / "python3" / "dist-packages"), "LC_ALL": "C"},
                preexec_fn=die_with_parent(signal.SIGTERM), **as_server_user())
        return self

    def postmaster(self):
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def running(self):
        pid = self.postmaster()
        return pid is not None and alive(pid)

    def die(self):
        """The machine is gone: Patroni and its server."""
        postmaster = self.postmaster()
        children = children_of(postmaster) if postmaster else []
        self.patroni.kill()
        self.patroni.wait()
        for pid in [postmaster, *children]:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, TypeError):
                pass
        wait_for(lambda: not any(alive(pid) for pid in [postmaster, *children] if pid), f"{self.name} to be gone")

    def stop(self, mode="fast", deadline=PATIENCE):
        if self.patroni is not None and self.patroni.poll() is None:
            self.patroni.terminate()
            try:
                self.patroni.wait(deadline)
            except subprocess.TimeoutExpired:
                self.die()

    def ask(self, path):
        """Patroni's answer and its status; None without one."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/{path}", timeout=3) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return None


class PatroniCluster:
    def __init__(self, place, count=3, **dynamic):
        self.all = []
        self.place = pathlib.Path(place)
        client, peer = free_port(), free_port()
        self.etcd_log = self.place / "etcd.log"
        data = self.place / "etcd"
        data.mkdir()
        if os.getuid() == 0:
            os.chown(data, server_user().pw_uid, server_user().pw_gid)
        with open(self.etcd_log, "ab") as log:
            self.etcd = subprocess.Popen(
                [ROOT / "usr" / "bin" / "etcd", "--data-dir", data, "--unsafe-no-fsync",
                 "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                preexec_fn=die_with_parent(signal.SIGKILL), **as_server_user())
        self.all = [Node(place, f"node{i}", client, dynamic) for i in range(count)]

    def start(self):
        self.all[0].run()
        self.leader()
        for node in self.all[1:]:
            node.run()
        self.complete()
        return self

    def leader(self, other_than=None, deadline=PATIENCE):
        """The node that is the primary, and has been told so by Patroni."""

        def found():
            for node in self.all:
                answer = node.ask("primary")
                if answer and answer[0] == 200 and node is not other_than:
                    return node
            return None

        return wait_for(found, "a leader", deadline, interval=0.2)

    def complete(self, deadline=PATIENCE):
        """All others stream from the leader."""
        wait_for(lambda: self.leader().sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND"
                                           " application_name LIKE 'node%'") == str(len(self.all) - 1),
                 "all nodes to stream", deadline, interval=0.2)

    def switch_over(self):
        old = self.leader()
        new = next(node for node in self.all if node is not old)
        body = json.dumps({"leader": old.name, "candidate": new.name}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{old.rest}/switchover", body, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200, answer.read()
        assert self.leader(other_than=old) is new
        self.complete()
        return new

    def make_anew(self, node):
        """patronictl reinit: the node throws its data away and takes a base backup."""
        before = (node.data / "PG_VERSION").stat().st_ino
        body = json.dumps({"force": True}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{node.rest}/reinitialize", body, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200, answer.read()

        def made():
            version = node.data / "PG_VERSION"
            return version.exists() and version.stat().st_ino != before

        wait_for(made, f"{node.name} to be made anew", interval=0.2)
        self.complete()

    def end(self, failed):
        for node in self.all:
            node.stop()
        self.etcd.kill()
        self.etcd.wait()
        if failed:
            for log in [self.etcd_log, *(node.log for node in self.all)]:
                print(f"---- {log}")
                print(tail(log))
