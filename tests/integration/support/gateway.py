"""Real object stores for the tests, as scripts/setup unpacks them into build/store: a Ceph RADOS gateway with all its
data in memory (about 14 s to start, 120 MB), and OpenStack's Swift. Loopback only; each process is ours, and dies with
the test run."""

import atexit
import base64
import getpass
import http.client
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid

from .process import PATIENCE, die_with_parent, run, tail, wait_for
from .s3 import Bucket
from .server import REPOSITORY, free_port

ROOT = REPOSITORY / "build" / "store" / "root"
PYTHON = "/usr/bin/python3"


def installed(program):
    return (ROOT / "usr" / "bin" / program).exists()


def environment():
    """To run what is in ROOT."""
    libraries = ROOT / "usr" / "lib" / "x86_64-linux-gnu"
    return {**os.environ, "LD_LIBRARY_PATH": f"{libraries}:{ROOT}/lib/x86_64-linux-gnu:{libraries}/ceph",
            "PATH": f"{ROOT}/usr/bin:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}/usr/lib/python3/dist-packages"}


def _user():
    return getpass.getuser()


class Store:
    """What is common to both: processes, buckets."""

    key = secret = None

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-gateway-"))
        self.port = free_port()
        self._processes = []
        self._buckets = 0
        (self.home / "log").mkdir()
        atexit.register(self.stop)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self):
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    def bucket(self, lock=False):
        """A new one; `lock`: with Object Lock, and so with versions."""
        self._buckets += 1
        return Bucket(self, f"wal{self._buckets}").create({"x-amz-bucket-object-lock-enabled": "true"} if lock else {})

    def stop(self):
        # All at once: an osd of Ceph whose mon went first lingers.
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []
        shutil.rmtree(self.home, ignore_errors=True)

    def said(self):
        return "".join(f"--- {log.name}\n{tail(log)}" for log in sorted((self.home / "log").iterdir()))

    def _begin(self, *command):
        with open(self.home / "log" / f"{pathlib.Path(command[0]).name}{len(self._processes)}.said", "ab") as log:
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, env=self._environment(), preexec_fn=die_with_parent(signal.SIGKILL))
        self._processes.append(process)
        return process

    def _environment(self):
        return environment()

    def _run(self, *command, check=True):
        return run(command, check=check, timeout=5 * PATIENCE, env=self._environment())

    def _answers(self):
        assert self._processes[-1].poll() is None, self.said()
        try:
            Bucket(self, "").request("GET", status=range(100, 500))
            return True
        except (OSError, http.client.HTTPException, AssertionError):
            return False


class Swift(Store):
    """It knows no conditional PUT."""

    key, secret = "test:tester", "testing"

    def start(self):
        etc = self.home / "etc"
        for path in (etc, self.home / "srv" / "d1", self.home / "run"):
            path.mkdir(parents=True)
        (etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = t\nswift_hash_path_prefix = t\n"
                                        "[storage-policy:0]\nname = Policy-0\ndefault = yes\n")
        memcache = free_port()
        behind = []
        self._begin(ROOT / "usr" / "bin" / "memcached", "-l", "127.0.0.1", "-p", memcache, "-u", _user(), "-m", "16")
        for kind in ("account", "container", "object"):
            port = free_port()
            (etc / f"{kind}-server.conf").write_text(
                f"[DEFAULT]\ndevices = {self.home}/srv\nmount_check = false\nbind_ip = 127.0.0.1\nbind_port = {port}\n"
                f"workers = 0\nuser = {_user()}\nswift_dir = {etc}\nrecon_cache_path = {self.home}/run\n"
                f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n")
            self._ring(kind, port)
            self._serve(kind)
            behind.append((self._processes[-1], port))
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in
                          ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "slo"))
        (etc / "proxy-server.conf").write_text(
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.port}\nworkers = 0\nuser = {_user()}\nswift_dir = {etc}\n"
            "[pipeline:main]\npipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth "
            "slo proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
            # (Half a second by default, and then 503: a busy machine takes longer.)
            "conn_timeout = 30\nnode_timeout = 60\nrecoverable_node_timeout = 60\n"
            f"allow_account_management = true\n[filter:cache]\nuse = egg:swift#memcache\n"
            f"memcache_servers = 127.0.0.1:{memcache}\n[filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\n"
            f"[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n{filters}")
        # Three interpreters start at once: on a busy machine that alone takes minutes. What the proxy asks too early, it
        # answers with 503, and after ten of these it does not ask that server for a minute.
        for process, port in behind:
            wait_for(lambda: self._listens(process, port), f"Swift to listen on port {port}", deadline=5 * PATIENCE,
                     interval=0.2)
        self._serve("proxy")
        wait_for(self._answers, "Swift to answer", deadline=5 * PATIENCE, interval=0.2)
        return self

    def _listens(self, process, port):
        assert process.poll() is None, self.said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _serve(self, kind):
        self._begin(PYTHON, pathlib.Path(__file__).parent / "swift_launch.py", self.home / "etc",
                    ROOT / "usr" / "bin" / f"swift-{kind}-server", self.home / "etc" / f"{kind}-server.conf")

    def _ring(self, kind, port):
        """What swift-ring-builder does, which takes a second for each of its words."""
        builder = self.home / "etc" / f"{kind}.builder"
        script = ("from swift.common.ring import RingBuilder; import sys; b = RingBuilder(2, 1, 0); "
                  "b.add_dev(dict(region=1, zone=1, ip='127.0.0.1', port=int(sys.argv[2]), device='d1', weight=1, "
                  "replication_ip='127.0.0.1', replication_port=int(sys.argv[2]), meta='')); b.rebalance(); "
                  "b.get_ring().save(sys.argv[1])")
        self._run(PYTHON, "-c", script, str(builder).replace(".builder", ".ring.gz"), port)


# What is removed waits for two hours else.
GIVES_BACK = """rgw gc obj min wait = 1
rgw gc processor period = 1
rgw gc processor max time = 1
"""


class Gateway(Store):
    key, secret = "TESTKEY", "testsecret"

    def __init__(self, gigabytes=1):
        """`gigabytes`: what it holds. What is removed of it goes at once, as far as it is asked to hold more than one."""
        super().__init__()
        self._mon_port = free_port()
        self._gigabytes = gigabytes

    def start(self):
        for name in ("mon", "osd", "run", "rgw"):
            (self.home / name).mkdir()
        cluster = uuid.uuid4()
        (self.home / "ceph.conf").write_text(self._configuration(cluster))
        secret = os.urandom(16)
        key = base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, len(secret)) + secret).decode()
        (self.home / "keyring").write_text(f"[mon.]\n\tkey = {key}\n\tcaps mon = \"allow *\"\n")
        self._run("monmaptool", "--create", "--clobber", "--fsid", cluster, "--addv", "a",
                  f"[v1:127.0.0.1:{self._mon_port}]", self.home / "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.home / "monmap", "--keyring",
                  self.home / "keyring")
        self._begin("ceph-mon", "-f", "-i", "a")
        # memstore has an id of its own, and the osd registers itself. Now and then it asks before it knows the
        # cluster's id ("wrong fsid"), and ends.
        self._run("ceph-osd", "-i", "0", "--mkfs")
        osd = self._begin("ceph-osd", "-f", "-i", "0")

        def up():
            nonlocal osd
            if osd.poll() is not None:
                osd = self._begin("ceph-osd", "-f", "-i", "0")
            return "1 up" in self._run("ceph", "--connect-timeout", "15", "osd", "stat", check=False).stdout

        wait_for(up, "Ceph's osd to be up", interval=0.5)
        self._begin("radosgw", "-f", "-n", "client.rgw", "--no-mon-config")
        wait_for(self._answers, "Ceph's gateway to answer", interval=0.2)
        self._run("radosgw-admin", "user", "create", "--uid", "t", "--display-name", "t", "--access-key", self.key,
                  "--secret", self.secret)
        return self

    def step_back(self):
        """All its threads let others go before."""
        for process in self._processes:
            for thread in map(int, os.listdir(f"/proc/{process.pid}/task")):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, thread, 10)

    def kill_front(self):
        """What answers is gone; what was stored stays."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def start_front(self):
        self._begin("radosgw", "-f", "-n", "client.rgw", "--no-mon-config")
        wait_for(self._answers, "Ceph's gateway to answer again", interval=0.2)

    def _environment(self):
        return {**environment(), "CEPH_CONF": str(self.home / "ceph.conf")}

    def _configuration(self, cluster):
        libraries = ROOT / "usr" / "lib" / "x86_64-linux-gnu"
        return f"""[global]
fsid = {cluster}
mon host = v1:127.0.0.1:{self._mon_port}
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
public addr = 127.0.0.1
run dir = {self.home}/run
admin socket = {self.home}/run/$name.asok
pid file = {self.home}/run/$name.pid
log file = {self.home}/log/$name.log
crash dir = {self.home}/log
keyring = {self.home}/keyring
erasure code dir = {libraries}/ceph/erasure-code
plugin dir = {libraries}/ceph
osd class dir = {libraries}/rados-classes
[mon.a]
mon data = {self.home}/mon
[osd.0]
osd data = {self.home}/osd
osd objectstore = memstore
memstore device bytes = {self._gigabytes << 30}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{self.port}
rgw data = {self.home}/rgw
{GIVES_BACK if self._gigabytes > 1 else ""}"""
