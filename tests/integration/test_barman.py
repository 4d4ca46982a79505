"""Under Barman, as its pg_receivewal: streaming_archiver = on, a backup, a recovery. Barman is the
Debian package; where it is missing it is installed, if we may."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from support import receiver as receivers_
from support.process import PATIENCE, as_server_user, die_with_parent, run, server_user, wait_for
from support.scenario import streaming
from support.server import DEBIAN_BIN

pytestmark = pytest.mark.in_memory

APPLICATION = "barman_receive_wal"


@pytest.fixture(scope="module")
def barman_installed():
    if shutil.which("barman"):
        return
    if os.getuid() != 0:
        pytest.skip("barman is not installed (apt-get install barman)")
    # The servers of the tests are their own: no package shall create and start a cluster.
    result = subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "--no-upgrade", "barman"],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        pytest.skip(f"barman is not installed and could not be: {result.stdout[-300:]}")


class Barman:
    """One server in a Barman of its own. Runs as the servers' user."""

    def __init__(self, place, server):
        self.home = place / "barman"
        self.home.mkdir()
        (self.home / "bin").mkdir()
        self.program = self.home / "bin" / "pg_receivewal"
        shutil.copy(receivers_.BINARY, self.program)
        for name in ("pg_basebackup", "psql"):
            (self.home / "bin" / name).symlink_to(DEBIAN_BIN / name)
        self.config = self.home / "barman.conf"
        conninfo = server.conninfo()
        self.config.write_text(f"""[barman]
barman_user = {server_user().pw_name}
barman_home = {self.home}
barman_lock_directory = {self.home}
log_file = {self.home}/barman.log
log_level = DEBUG

[main]
description = a test
conninfo = {conninfo} dbname=postgres
streaming_conninfo = {conninfo}
backup_method = postgres
streaming_archiver = on
archiver = off
slot_name = barman
check_timeout = 300
create_slot = auto
path_prefix = {self.home}/bin
streaming_archiver_name = {APPLICATION}
""")
        if os.getuid() == 0:
            for path in [self.home, *self.home.rglob("*")]:
                os.chown(path, server_user().pw_uid, server_user().pw_gid, follow_symlinks=False)
        self.wals = self.home / "main" / "wals"
        self.streaming = self.home / "main" / "streaming"

    def __call__(self, *words, check=True):
        return run(["barman", "-c", self.config, *words], check=check, cwd="/", env=self.env(),
                   **as_server_user())

    def env(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                "PGPASSFILE": "/nonexistent"}

    def start_receiver(self):
        """barman receive-wal stays in the foreground, our program is its child."""
        with open(self.home / "receive-wal.log", "ab") as log:
            return subprocess.Popen(
                ["barman", "-c", str(self.config), "receive-wal", "main"], cwd="/",
                env=self.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL), **as_server_user())

    def log(self):
        return (self.home / "barman.log").read_text()


@pytest.fixture
def barman(place, servers, barman_installed):
    server = servers.primary(segment_mb=16)
    made = Barman(place, server)
    processes = []
    start = made.start_receiver

    def started():
        processes.append(start())
        return processes[-1]

    made.start_receiver = started
    yield made, server
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)
    made("receive-wal", "--stop", "main", check=False)
    wait_for(lambda: not server.running() or not server.walsenders(APPLICATION),
             "the receiver to be gone")


def failures(check):
    return [line for line in check.stdout.splitlines() if "FAILED" in line]


def test_archives_backs_up_and_recovers(barman, place, servers):
    barman, server = barman
    server.sql("CREATE TABLE numbers (n int)")
    barman("cron")  # makes directories and the slot, and starts the receiver by itself
    wait_for(lambda: server.walsenders(APPLICATION), "Barman to start our program")
    streaming(server, APPLICATION)
    barman("switch-wal", "--force", "--archive", "--archive-timeout", "240", "main")
    # Barman counts a slot as working once it was used; a backup is what it asks for last.
    check = barman("check", "main", check=False)
    assert not [line for line in failures(check) if "minimum redundancy" not in line], check.stdout

    server.sql("INSERT INTO numbers SELECT generate_series(1, 1000)")
    assert "Backup completed" in barman("backup", "--wait", "main").stdout
    server.sql("INSERT INTO numbers SELECT generate_series(1001, 2000)")
    barman("switch-wal", "--archive", "--archive-timeout", "240", "main")
    check = barman("check", "main", check=False)
    assert not failures(check), check.stdout
    assert "pg_receivexlog compatible: OK" in check.stdout
    assert "receive-wal running: OK" in check.stdout
    assert "archiver errors: OK" in check.stdout

    recovered = servers.primary(name="recovered", segment_mb=16, start=False)
    port, home = recovered.port, recovered.data
    shutil.rmtree(home)
    barman("recover", "main", "latest", str(home))
    recovered.conf(port=port, unix_socket_directories=str(recovered.socket_dir),
                   primary_conninfo="")
    recovered.start()
    wait_for(lambda: recovered.sql("SELECT pg_is_in_recovery()") == "f", "the recovery to end")
    assert recovered.sql("SELECT count(*) FROM numbers") == "2000"


def test_stops_and_comes_back_as_barman_asks(barman):
    barman, server = barman
    barman("cron")
    streaming(server, APPLICATION)
    barman("receive-wal", "--stop", "main")
    wait_for(lambda: not server.walsenders(APPLICATION), "our program to end")
    assert barman("receive-wal", "--reset", "main", check=False).returncode == 0
    process = barman.start_receiver()
    streaming(server, APPLICATION)
    server.restart()
    process.wait(PATIENCE)  # --no-loop: Barman starts the next one
    barman("cron")
    streaming(server, APPLICATION)
    server.write_wal(2)
    barman("switch-wal", "--force", "--archive", "--archive-timeout", "240", "main")
    assert [path for path in barman.wals.rglob("*") if path.is_file() and len(path.name) == 24]
    assert not list(pathlib.Path(barman.home / "main" / "errors").glob("*"))
    barman("receive-wal", "--stop", "main")
    wait_for(lambda: not server.walsenders(APPLICATION), "our program to end")


def test_commits_may_wait_for_it(barman):
    barman, server = barman
    server.sql("CREATE TABLE numbers (n int)")
    server.conf(synchronous_standby_names=APPLICATION)
    barman("cron")
    streaming(server, APPLICATION)
    server.reload()
    barman("receive-wal", "--stop", "main")
    wait_for(lambda: not server.walsenders(APPLICATION), "our program to end")
    barman("cron")
    wait_for(lambda: streaming(server, APPLICATION)["sync_state"] == "sync", "it to be synchronous")
    for number in range(20):
        server.sql(f"INSERT INTO numbers VALUES ({number})", timeout=PATIENCE)
    barman("receive-wal", "--stop", "main")
    wait_for(lambda: not server.walsenders(APPLICATION), "our program to end")
