"""The package under a real systemd, which boots in a root of Debian's packages with a PostgreSQL beside it: started, killed,
hung, upgraded and rebooted under load. Nothing of it is seen by the machine that runs the tests."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from support.process import PATIENCE, children_of, run, wait_for
from support.receiver import BINARY
from support.server import REPOSITORY
from test_package import upgrade_of

BUILT = BINARY.resolve().parent
INCLUDED = ("systemd", "dbus", "postgresql-15", "logrotate", "libpq5", "libssl3", "libisal2", "libprometheus-cpp-core1.0",
            "libprometheus-cpp-pull1.0")
CONFIGURATION = """directory = /var/lib/pgweir/main
dbname = host=/var/run/postgresql user=pgweir
slot = archive
create-slot = on
if-not-exists = on
"""


@pytest.fixture(scope="module")
def deb():
    if os.getuid() != 0:
        pytest.skip("only root may boot a container")
    missing = [tool for tool in ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-buildpackage") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"missing: {missing} (scripts/setup)")
    if re.search(r"^PGWEIR_SANITIZE:\w+=.", (BUILT / "CMakeCache.txt").read_text(), re.MULTILINE):
        pytest.skip("nobody packages a build with sanitizers")
    run([REPOSITORY / "scripts" / "package", "--from", BUILT], timeout=10 * PATIENCE)
    found, = (REPOSITORY / "build" / "package").glob("pgweir_*.deb")
    return found


@pytest.fixture(scope="module")
def debian():
    """A root with PostgreSQL and systemd, made once."""
    key = hashlib.sha256(repr(INCLUDED).encode()).hexdigest()[:16]
    root = REPOSITORY / "build" / "systemd" / key
    if not root.exists():
        fresh = root.with_name(f"{key}.{os.getpid()}")
        root.parent.mkdir(parents=True, exist_ok=True)
        run(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(INCLUDED)}",
             "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
             "--dpkgopt=path-exclude=/usr/share/locale/*", "--format=directory", "bookworm", fresh], timeout=10 * PATIENCE)
        fresh.rename(root)
    return root


class Machine:
    """A layer over the root, and what is booted in it."""

    def __init__(self, place, debian):
        self.root = place / "machine"
        for name in ("machine", "upper", "work"):
            (place / name).mkdir()
        # Not on the overlay that the place itself may be on.
        layer = place / "layer"
        layer.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=3g", "layer", layer])
        (layer / "upper").mkdir()
        (layer / "work").mkdir()
        self._layer = layer
        run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={debian},upperdir={layer}/upper,workdir={layer}/work",
             self.root])
        self._log = open(place / "boot.log", "wb")
        self._nspawn = None
        self.leader = None

    def boot(self):
        self._begin()
        self.wait_up()

    def _begin(self):
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "-D", self.root, "--register=no", "--keep-unit", "--private-network", "--boot"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True)

    def reboot(self):
        """systemd-nspawn makes it itself, or ends and is begun again (status 133)."""
        old = self.leader
        self("systemctl", "reboot", check=False)
        wait_for(lambda: not os.path.exists(f"/proc/{old}"), "the machine to go down")
        self.wait_up()

    def wait_up(self):
        def up():
            if self._nspawn.poll() in (0, 133):
                self._begin()
            for self.leader in children_of(self._nspawn.pid):
                if self("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                    return True
            return False
        wait_for(up, "the machine to be up")
        wait_for(lambda: self("pg_lsclusters", "--no-header", check=False).stdout.split()[3:4] == ["online"],
                 "PostgreSQL to be online")

    def __call__(self, *words, check=True, timeout=PATIENCE):
        return run(["nsenter", "--target", str(self.leader), "--all", *words], check=check, timeout=timeout)

    def sql(self, text):
        return self("runuser", "-u", "postgres", "--", "psql", "-XAtqc", text, "postgres").stdout.strip()

    def show(self, name, unit="pgweir@main"):
        return self("systemctl", "show", unit, "--property", name, "--value").stdout.strip()

    def said(self, unit="pgweir@main"):
        """[(priority, text)], of the present run of the unit. A line of a process that has ended already may lack _COMM,
        which the journal reads from /proc; the name that systemd gave the stream is always there."""
        self("journalctl", "--sync")  # what a unit said is with the journal before it has ended, but perhaps not yet read
        lines = self("journalctl", "--unit", unit, "--output", "json", "--no-pager", "--boot").stdout.splitlines()
        return [(int(line["PRIORITY"]), line["MESSAGE"]) for line in map(json.loads, lines)
                if line.get("SYSLOG_IDENTIFIER") == "pgweir" and line.get("_TRANSPORT") == "stdout"]

    def archived(self):
        """Everything that is committed is durable in the archive."""
        end = self.sql("SELECT pg_current_wal_flush_lsn()")
        wait_for(lambda: self.sql(f"SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{end}'") == "1",
                 f"the archive to have {end}")

    def verified(self):
        before = self.last_verify()
        self("systemctl", "start", "pgweir-verify@main.service", timeout=10 * PATIENCE)
        assert self.show("Result", "pgweir-verify@main.service") == "success"
        now = self.last_verify()
        assert now["passed"] and now != before, self.said("pgweir-verify@main.service")

    def last_verify(self):
        told = self("runuser", "-u", "pgweir", "--", "pgweir", "status", "-D", "/var/lib/pgweir/main", "--json", check=False)
        return json.loads(told.stdout)["last_verify"]

    def end(self):
        if self._nspawn is not None and self._nspawn.poll() is None:
            self("systemctl", "poweroff", "--force", "--force", check=False)
            try:
                self._nspawn.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        self._log.close()
        run(["umount", "--recursive", self.root], check=False)
        run(["umount", self._layer], check=False)


@pytest.fixture(scope="module")
def machine(tmp_path_factory, debian, deb):
    place = tmp_path_factory.mktemp("systemd")
    made = Machine(place, debian)
    try:
        shutil.copy(deb, made.root / "root" / "pgweir.deb")
        run(["chroot", made.root, "dpkg", "--install", "/root/pgweir.deb"])
        (made.root / "etc/pgweir/main.ini").write_text(CONFIGURATION)
        made.boot()
        made.sql("CREATE ROLE pgweir REPLICATION LOGIN; CREATE TABLE load (n int)")
        yield made
    except BaseException:
        print((place / "boot.log").read_text(errors="replace")[-5000:])
        raise
    finally:
        made.end()


@pytest.fixture
def load(machine):
    """Commits without end, one after the other; stops when asked, and says how many there were."""
    class Load:
        def __init__(self):
            script = ("while [ -e /tmp/load ]; do echo 'INSERT INTO load VALUES (1);'; done"
                      " | psql -XAtq -v ON_ERROR_STOP=1 postgres")
            machine("touch", "/tmp/load")
            self._process = subprocess.Popen(["nsenter", "--target", str(machine.leader), "--all", "runuser", "-u", "postgres",
                                              "--", "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(lambda: machine.sql("SELECT count(*) > 10 FROM load") == "t", "the load to begin")

        def stop(self):
            machine("rm", "-f", "/tmp/load", check=False)
            self._process.wait(PATIENCE)

    made = Load()
    yield made
    made.stop()


def test_it_starts_tells_how_it_is_and_speaks_to_the_journal(machine):
    machine("systemctl", "enable", "--now", "pgweir@main")
    machine.archived()
    assert machine.show("ActiveState") == "active" and machine.show("NRestarts") == "0"
    wait_for(lambda: re.fullmatch("streaming timeline 1 from .*, caught up", machine.show("StatusText")),
             "the status to be that of now")
    said = machine.said()
    assert any(priority == 6 and text.startswith("INFO  streaming timeline 1") for priority, text in said), said
    machine("systemctl", "stop", "postgresql@15-main")
    wait_for(lambda: [text for priority, text in machine.said() if priority in (3, 4)], "a warning of a warning's priority")
    shown = machine("journalctl", "-u", "pgweir@main", "-p", "warning", "-o", "cat", "--no-pager").stdout
    assert shown and "INFO" not in shown
    assert machine.show("ActiveState") == "active", "a server that is down is waited for"
    machine("systemctl", "start", "postgresql@15-main")
    wait_for(lambda: "caught up" in machine.show("StatusText"), "the stream to go on")


def test_killed_and_hung_it_is_started_again(machine, load):
    machine("sh", "-c", "mkdir -p /run/systemd/system/pgweir@main.service.d; printf"
            " '[Service]\\nWatchdogSec=5s\\nRestartSec=100ms\\n' >/run/systemd/system/pgweir@main.service.d/test.conf")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", "pgweir@main")
    for number in (signal.SIGKILL, signal.SIGSTOP):
        machine.archived()
        restarts = int(machine.show("NRestarts"))
        machine("sh", "-c", f"kill -{number.value} {machine.show('MainPID')}")
        wait_for(lambda: int(machine.show("NRestarts")) > restarts, f"a new start after {number.name}")
        wait_for(lambda: machine.show("ActiveState") == "active", "it to be active again")
    load.stop()
    machine.archived()
    machine("rm", "-r", "/run/systemd/system/pgweir@main.service.d")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", "pgweir@main")
    machine.verified()


def test_a_directory_that_is_not_opened_is_told_before_the_start_counts(machine):
    machine("install", "-d", "-o", "pgweir", "-g", "pgweir", "-m", "750", "/srv/wal")
    (machine.root / "etc/pgweir/other.ini").write_text(
        CONFIGURATION.replace("/var/lib/pgweir/main", "/srv/wal").replace("archive", "other"))
    started = machine("systemctl", "start", "pgweir@other", check=False)
    assert started.returncode != 0, "the unit counts as failed, not as started"
    assert machine.show("ActiveState", "pgweir@other") == "failed"
    assert any(priority == 3 and "ReadWritePaths=/srv/wal" in text for priority, text in machine.said("pgweir@other"))
    place = "/etc/systemd/system/pgweir@other.service.d"
    machine("sh", "-c", f"mkdir -p {place}; printf '[Service]\\nReadWritePaths=/srv/wal\\n' > {place}/place.conf")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "start", "pgweir@other")
    assert machine.show("ActiveState", "pgweir@other") == "active"
    machine("systemctl", "disable", "--now", "pgweir@other")
    machine.sql("SELECT pg_drop_replication_slot('other')")


@pytest.mark.parametrize("command", ["backup", "drill", "prune", "verify"])
def test_a_timers_service_leaves_the_archive_to_its_owner(machine, command):
    """The receiver runs as another user. A receiver that is running could not create its next segment."""
    directory = "/var/lib/pgweir/owned"
    machine("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "750", directory)
    (machine.root / "etc/pgweir/owned.ini").write_text(CONFIGURATION.replace("/var/lib/pgweir/main", directory))
    machine("systemctl", "start", f"pgweir-{command}@owned.service", check=False)  # it may not read the archive
    status = int(machine.show("ExecMainStatus", f"pgweir-{command}@owned.service"))
    assert 0 < status < 200, f"{status}: it was not run"  # 200 and above are systemd's
    assert machine("stat", "-c", "%U %G", directory).stdout == "postgres postgres\n"
    assert machine("stat", "-c", "%U %G", "/var/lib/pgweir").stdout == "pgweir pgweir\n"


def test_services_of_two_users_leave_each_other_their_archives(machine):
    """As docs/service.md suggests for a server on the same machine."""
    def owners(archive):
        found = machine("find", f"/var/lib/pgweir/{archive}", "-printf", "%u %g\\n", check=False)  # one may be renamed meanwhile
        return set(found.stdout.splitlines())

    unit = "pgweir@server"
    (machine.root / "etc/pgweir/server.ini").write_text(
        CONFIGURATION.replace("main", "server").replace("archive", "server").replace("user=pgweir", "user=postgres"))
    machine("sh", "-c", f"mkdir -p /run/systemd/system/{unit}.service.d; printf"
            f" '[Service]\\nUser=postgres\\nGroup=postgres\\n' >/run/systemd/system/{unit}.service.d/user.conf")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "start", unit)
    assert machine.show("ActiveState", unit) == "active"
    assert owners("server") == {"postgres postgres"} and owners("main") == {"pgweir pgweir"}
    machine("systemctl", "restart", "pgweir@main")
    assert owners("server") == {"postgres postgres"} and owners("main") == {"pgweir pgweir"}
    machine("systemctl", "stop", unit)
    machine("rm", "-r", f"/run/systemd/system/{unit}.service.d", "/etc/pgweir/server.ini")
    machine("systemctl", "daemon-reload")
    machine.sql("SELECT pg_drop_replication_slot('server')")


def test_the_logs_of_services_of_two_users_are_rotated(machine):
    """A start leaves the other one's directory to its owner, and each receiver opens its new file."""
    unit = "pgweir@server"
    logs = {"pgweir@main": "/var/log/pgweir/main.log", unit: "/var/log/pgweir-server/receive.log"}
    (machine.root / "etc/pgweir/main.ini").write_text(f"{CONFIGURATION}log-file = {logs['pgweir@main']}\n")
    (machine.root / "etc/pgweir/server.ini").write_text(
        CONFIGURATION.replace("main", "server").replace("archive", "server").replace("user=pgweir", "user=postgres")
        + f"log-file = {logs[unit]}\n")
    machine("sh", "-c", f"mkdir -p /run/systemd/system/{unit}.service.d; printf"
            " '[Service]\\nUser=postgres\\nGroup=postgres\\nLogsDirectory=pgweir-server\\n'"
            f" >/run/systemd/system/{unit}.service.d/user.conf")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", *logs)
    pids = {each: machine.show("MainPID", each) for each in logs}
    assert machine("stat", "-c", "%U", *map(os.path.dirname, logs.values())).stdout == "pgweir\npostgres\n"
    for log in logs.values():
        wait_for(lambda: machine("test", "-s", log, check=False).returncode == 0, f"messages in {log}")
    machine("logrotate", "--force", "/etc/logrotate.d/pgweir")
    for each, log in logs.items():
        machine("test", "-s", f"{log}.1")
        wait_for(lambda: log in machine("sh", "-c", f"readlink /proc/{pids[each]}/fd/*", check=False).stdout.splitlines(),
                 f"{each} to open {log}")
        assert machine.show("MainPID", each) == pids[each]
    machine("systemctl", "stop", unit)
    machine("rm", "-r", f"/run/systemd/system/{unit}.service.d", "/etc/pgweir/server.ini")
    (machine.root / "etc/pgweir/main.ini").write_text(CONFIGURATION)
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", "pgweir@main")
    machine.sql("SELECT pg_drop_replication_slot('server')")


def test_a_service_that_runs_as_a_servers_user_leaves_its_shared_memory(machine):
    """docs/service.md suggests that user. No other unit of systemd has it: Debian's postgresql@.service runs as root."""
    machine("sh", "-c", "mkdir -p /run/systemd/system/pgweir-verify@server.service.d; printf"
            " '[Service]\\nUser=postgres\\nGroup=postgres\\n' >/run/systemd/system/pgweir-verify@server.service.d/user.conf")
    machine("systemctl", "daemon-reload")
    machine("runuser", "-u", "postgres", "--", "touch", "/dev/shm/of-a-server")
    machine("systemctl", "start", "pgweir-verify@server.service", check=False)  # it has no configuration
    assert machine.show("ExecMainStatus", "pgweir-verify@server.service") == "2"
    assert "of-a-server" in machine("ls", "/dev/shm").stdout.split()
    machine("rm", "-r", "/dev/shm/of-a-server", "/run/systemd/system/pgweir-verify@server.service.d")
    machine("systemctl", "daemon-reload")


def test_an_upgrade_under_load_loses_nothing(machine, load, deb, place):
    # Another receiver, whose configuration has become invalid meanwhile.
    other = machine.root / "etc/pgweir/changed.ini"
    other.write_text(CONFIGURATION.replace("main", "changed").replace("archive", "changed"))
    machine("systemctl", "start", "pgweir@changed")
    other.write_text(CONFIGURATION.replace("directory", "directori"))
    before = machine.show("MainPID")
    shutil.copy(upgrade_of(deb, place, 2), machine.root / "root" / "next.deb")
    machine("dpkg", "--install", "/root/next.deb", timeout=10 * PATIENCE)
    assert machine.show("ActiveState") == "active" and machine.show("MainPID") != before
    assert machine("dpkg-query", "-W", "-f", "${db:Status-Status}", "pgweir").stdout == "installed"
    assert machine.show("ActiveState", "pgweir@changed") == "failed"
    other.unlink()
    machine.sql("SELECT pg_drop_replication_slot('changed')")
    load.stop()
    machine.archived()
    machine.verified()


def test_a_reboot_under_load_loses_nothing(machine, load):
    machine.archived()
    machine.reboot()
    wait_for(lambda: machine.show("ActiveState") == "active", "the service to be there again")
    machine.archived()
    machine.verified()


def test_the_timer_is_set_and_a_purge_leaves_the_archive(machine):
    machine("systemctl", "enable", "--now", "pgweir-verify@main.timer")
    assert machine.show("NextElapseUSecRealtime", "pgweir-verify@main.timer")
    machine("sh", "-c", "DEBIAN_FRONTEND=noninteractive dpkg --purge pgweir", timeout=10 * PATIENCE)
    assert "pgweir" not in machine("sh", "-c", "cat /proc/[0-9]*/comm").stdout.splitlines()
    assert list((machine.root / "var/lib/pgweir/main").glob("0*"))
    assert (machine.root / "etc/pgweir/main.ini").exists()
