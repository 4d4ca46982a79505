"""The Debian packages: built from the program under test, checked by lintian, and installed,
upgraded, removed and purged in a root of its own: this machine's with a layer above that takes
every change and vanishes afterwards, so maintainer scripts run for real and all litter is seen."""

import os
import re
import shutil
import subprocess

import pytest

from support import wal
from support.chapter import Chapter
from support.process import PATIENCE, run, wait_for
from support.receiver import BINARY, VERSION
from support.scenario import reported, streaming
from support.server import REPOSITORY

PACKAGES = REPOSITORY / "build" / "package"
BUILT = BINARY.resolve().parent
UNIT = "/lib/systemd/system/pgweir@.service"
# What systemd-analyze security may say at most; docs/service.md tells the same number.
EXPOSURE = 1.2


@pytest.fixture(scope="module")
def debs():
    """{package name: path}"""
    if not shutil.which("dpkg-buildpackage") or not shutil.which("dh"):
        pytest.skip("the tools that build packages are missing (scripts/setup)")
    if re.search(r"^PGWEIR_SANITIZE:\w+=.", (BUILT / "CMakeCache.txt").read_text(), re.MULTILINE):
        pytest.skip("nobody packages a build with sanitizers")
    run([REPOSITORY / "scripts" / "package", "--from", BUILT], timeout=10 * PATIENCE)
    found = {path.name.split("_")[0]: path for path in PACKAGES.glob("*.deb")}
    assert set(found) == {"pgweir", "pgweir-store", "libpgweir-dev"}
    return found


# What a package leaves behind, of this or an earlier version, and what an installation by hand does.
EARLIER = """
    mkdir -p /mnt/earlier/etc/pgweir /mnt/earlier/etc/logrotate.d /mnt/earlier/usr/bin \\
      /mnt/earlier/var/lib/pgweir/main /mnt/earlier/var/log/pgweir
    echo '# earlier' > /mnt/earlier/etc/pgweir/example.ini
    echo 'directory = /srv/wal' > /mnt/earlier/etc/pgweir/main.ini
    echo '# earlier' > /mnt/earlier/etc/logrotate.d/pgweir
    echo 'exit 1' > /mnt/earlier/usr/bin/pgweir
    echo wal > /mnt/earlier/var/lib/pgweir/main/000000010000000000000001
    echo said > /mnt/earlier/var/log/pgweir/main.log
    mount -t overlay overlay -o lowerdir=/mnt/earlier:/ /mnt/lower
"""


class Root:
    """Everything that is run by it sees the machine with the changes made so far, as if there had
    never been a pgweir on it."""

    def __init__(self, earlier=False):
        lower = EARLIER if earlier else "mount --bind / /mnt/lower"
        script = f"""
            set -e
            mount -t tmpfs scratch /mnt
            mkdir /mnt/changes /mnt/work /mnt/root /mnt/lower
            {lower}
            mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/changes,workdir=/mnt/work /mnt/root
            mount -t proc proc /mnt/root/proc
            mount --bind /dev /mnt/root/dev
            mount -t tmpfs run /mnt/root/run
            mount -t tmpfs tmp /mnt/root/tmp
            echo ready
            exec cat
        """
        # Ends, and with it everything it has mounted, when this process closes its standard input.
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self._holder.stdout.readline() != "ready\n":
            pytest.skip(f"no root of its own: {self._holder.communicate()[1]}")
        self.sh("dpkg -P pgweir libpgweir-dev >/dev/null 2>&1 || true;"
                "rm -rf /etc/pgweir /etc/logrotate.d/pgweir /var/lib/pgweir /var/log/pgweir"
                " /usr/lib/pgweir /usr/bin/pgweir /usr/local/bin/pgweir")

    def close(self):
        self._holder.stdin.close()
        self._holder.wait(PATIENCE)

    def __call__(self, *command, check=True, timeout=10 * PATIENCE, **options):
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        return run(self.command(*command), check=check, timeout=timeout, env=environment, cwd="/",
                   **options)

    def command(self, *words):
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "chroot", "/mnt/root", *words]

    def sh(self, script, check=True, **options):
        return self("sh", "-ec", script, check=check, **options)

    def put(self, path, name):
        """A file of ours into the root's /tmp."""
        target = f"/tmp/{name}"
        with open(path, "rb") as content:
            subprocess.run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "chroot",
                            "/mnt/root", "sh", "-c", f"cat > {target}"], stdin=content, check=True)
        return target

    def path(self, inside):
        """Where this process finds a file of the root."""
        return f"/proc/{self._holder.pid}/root/mnt/root{inside}"

    def changes(self):
        """Everything that is not as it was, without what dpkg keeps for itself."""
        # A directory that was there before is there for what has changed in it. What has been removed
        # is a device of its own kind.
        listed = run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "sh", "-c",
                      "cd /mnt/changes; find . -mindepth 1 -printf '%y /%P\n' |"
                      " while read -r kind path; do"
                      "  if [ $kind = d ] && [ -d /mnt/lower$path ]; then continue; fi;"
                      "  if [ $kind = c ]; then path=\"$path (gone)\"; fi;"
                      "  echo \"$path\"; done"]).stdout.split("\n")
        own = r"/(var/(lib/dpkg|log|cache|lib/systemd|lib/man-db)|root|tmp|run)/"
        return {path for path in listed if path and not re.match(own, path + "/")}

    def exists(self, path):
        return self("test", "-e", path, check=False).returncode == 0


@pytest.fixture
def root(request):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("installing packages needs root")
    made = Root(*getattr(request, "param", ()))
    yield made
    made.close()


def upgrade_of(deb, place, revision):
    """A later version of a package, in which the example configuration has one line more."""
    tree = place / f"next{revision}"
    run(["dpkg-deb", "-R", deb, tree])
    control = tree / "DEBIAN" / "control"
    text = control.read_text()
    assert f"Version: {VERSION}-1\n" in text
    control.write_text(text.replace(f"Version: {VERSION}-1\n", f"Version: {VERSION}-{revision}\n"))
    with open(tree / "etc" / "pgweir" / "example.ini", "a") as file:
        file.write(f"# of revision {revision}\n")
    new = place / f"next{revision}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, new])
    return new


def test_lintian_has_nothing_against_the_packages(debs):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed (scripts/setup)")
    result = run(["lintian", "--allow-root", "--fail-on", "error,warning", "--no-tag-display-limit",
                  # There is no bug in Debian that a first upload would close.
                  "--suppress-tags", "initial-upload-closes-no-bugs", *debs.values()],
                 check=False, timeout=10 * PATIENCE)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_unit_is_sound_and_shut_in(debs, place):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    run(["dpkg-deb", "-x", debs["pgweir"], place / "tree"])
    # Debian 13 has them below /usr, to which /lib leads.
    directory = next((place / "tree").glob("**/systemd/system"))
    units = sorted(directory.iterdir())
    assert [unit.name for unit in units] == ["pgweir-backup@.service", "pgweir-backup@.timer",
                                             "pgweir-drill@.service", "pgweir-drill@.timer",
                                             "pgweir-prune@.service", "pgweir-prune@.timer",
                                             "pgweir-verify@.service", "pgweir-verify@.timer",
                                             "pgweir@.service"]
    for unit in units:
        text = unit.read_text()
        assert unit.suffix == ".timer" or "ExecStart=/usr/bin/pgweir " in text
        # The program is not installed here.
        (place / unit.name).write_text(text.replace("/usr/bin/pgweir", str(BINARY)))
        (place / unit.name.replace("@", "@main")).symlink_to(unit.name)
    for unit in units:
        verified = run(["systemd-analyze", "verify", "--man=no",
                        place / unit.name.replace("@", "@main")], check=False)
        about_ours = [line for line in verified.stderr.split("\n") if "pgweir" in line]
        assert verified.returncode == 0 and not about_ours, verified.stderr
    text = (directory / "pgweir@.service").read_text()
    for service in (unit for unit in units if unit.suffix == ".service"):
        rated = run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                     place / service.name.replace("@", "@main")])
        level = float(re.search(r"exposure level for \S+: ([0-9.]+)", rated.stdout).group(1))
        assert level <= EXPOSURE, rated.stdout
        lines = service.read_text().split("\n")
        # Each connects to the store of a [store] section, or to a server.
        assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" in lines, service.name
        assert "PrivateNetwork=yes" not in lines, service.name
        # It can run as a server's user, whose shared memory systemd would remove.
        assert not any(line.startswith("RemoveIPC=") for line in lines), service.name
        # Each writes in the archive: segments, or the result for status. Its owner is the receiver's user.
        owns = any(line.startswith("StateDirectory=") for line in lines)
        assert owns == (service.name == "pgweir@.service"), service.name
        # systemd gives all of these to the unit's user, who may not be that of another archive's unit.
        for line in lines:
            assert not re.match("(State|Cache|Logs)Directory=", line) or re.fullmatch(r"\w+=pgweir/\S*%i", line), line
        assert "ReadWritePaths=-/var/lib/pgweir" in lines, service.name
        if service.name == "pgweir@.service":
            assert f"{level:.1f}" in (REPOSITORY / "docs" / "service.md").read_text()
    # What the unit relies on: the statuses that shall not be tried again, and the watchdog.
    for line in ("Type=notify", "RestartPreventExitStatus=2 4", "WatchdogSec=60s",
                 "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ReadWritePaths=-/var/log/pgweir"):
        assert line in text.split("\n"), line


@pytest.mark.parametrize("root", [(), (True,)], ids=["fresh", "earlier"], indirect=True)
def test_installs_upgrades_and_goes_without_a_trace(debs, place, root):
    before = root.changes()
    deb = root.put(debs["pgweir"], "pgweir.deb")
    root("dpkg", "-i", deb)

    assert f"pgweir {VERSION}" in root("pgweir", "--version").stdout
    assert root("/usr/lib/pgweir/bin/pg_receivewal", "--version").stdout.startswith(
        "pg_receivewal (PostgreSQL) ")
    for name in root("ls", "/usr/lib/pgweir/bin").stdout.split():
        assert name in root(f"/usr/lib/pgweir/bin/{name}", "--help").stdout
    assert root("getent", "passwd", "pgweir").stdout.split(":")[5] == "/var/lib/pgweir"
    for shell, file in {"bash": "/usr/share/bash-completion/completions/pgweir",
                        "zsh": "/usr/share/zsh/vendor-completions/_pgweir"}.items():
        if root("sh", "-c", f"command -v {shell}", check=False).returncode == 0:
            root(shell, "-n", file)

    home = "stat -c '%U %G %a %F' /var/lib/pgweir"
    assert root.sh(home).stdout == "pgweir pgweir 751 directory\n"
    assert root.sh("stat -c '%U %G %a' /var/log/pgweir").stdout == "pgweir pgweir 750\n"

    # The example, adapted, is a configuration the service's user can run with.
    root.sh("install -d -o pgweir -g pgweir -m 750 /var/lib/pgweir/main;"
            "install -o pgweir -g pgweir -m 600 /dev/null /var/lib/pgweir/.pgpass;"
            "sed s/db1,db2/127.0.0.1/ /etc/pgweir/example.ini > /etc/pgweir/main.ini")
    tried = root("setpriv", "--reuid=pgweir", "--regid=pgweir", "--clear-groups", "pgweir", "receive",
                 "--config=/etc/pgweir/main.ini", "--port=1", "--no-loop", check=False)
    assert tried.returncode == 3 and "127.0.0.1" in tried.stderr, tried.stderr
    root.sh("echo wal > /var/lib/pgweir/main/000000010000000000000001;"
            "echo > /var/log/pgweir/main.log")
    if root("sh", "-c", "command -v logrotate", check=False).returncode == 0:
        root("logrotate", "--debug", "/etc/logrotate.d/pgweir")

    # Services of other users can enter what 0.1.0 has created. A mode that was set later stays.
    modes = "stat -c %a /var/lib/pgweir /var/cache/pgweir"
    for version, expected in (("0.1.0-1", "751\n711\n"), ("1.0.0-1", "750\n700\n")):
        root.sh("chmod 750 /var/lib/pgweir; install -d -o pgweir -g pgweir -m 700 /var/cache/pgweir")
        root("/var/lib/dpkg/info/pgweir.postinst", "configure", version)
        assert root.sh(modes).stdout == expected

    # Upgrade: what nobody touched is new, what somebody changed stays.
    second = root.put(upgrade_of(debs["pgweir"], place, 2), "second.deb")
    third = root.put(upgrade_of(debs["pgweir"], place, 3), "third.deb")
    root("dpkg", "-i", second)
    assert "# of revision 2" in root("cat", "/etc/pgweir/example.ini").stdout
    root.sh("echo '# mine' >> /etc/pgweir/example.ini; chmod 755 /var/lib/pgweir")
    root("dpkg", "--force-confold", "-i", third)
    example = root("cat", "/etc/pgweir/example.ini").stdout
    assert "# mine" in example and "revision 3" not in example
    assert root.sh(home).stdout == "pgweir pgweir 755 directory\n"  # whoever changed it knows why
    assert root.exists("/etc/pgweir/main.ini")
    root.sh("rm -f /etc/pgweir/*.dpkg-*")

    # Removal keeps configuration, archives and messages.
    root("dpkg", "-r", "pgweir")
    left = root.changes() - before
    assert not root.exists("/usr/bin/pgweir") and not root.exists("/usr/lib/pgweir")
    assert {"/etc/pgweir/example.ini", "/etc/pgweir/main.ini", "/etc/logrotate.d/pgweir",
            "/var/lib/pgweir/main/000000010000000000000001"} <= left
    assert not {path for path in left if path.startswith(("/usr", "/lib"))}, left
    assert root.exists("/var/log/pgweir/main.log")

    # Purge takes what the package brought; what users wrote and archived stays.
    root("dpkg", "-P", "pgweir")
    left = root.changes() - before
    assert {"/etc/pgweir/main.ini", "/var/lib/pgweir/main/000000010000000000000001",
            "/var/lib/pgweir/.pgpass"} <= left
    assert not root.exists("/etc/pgweir/example.ini")
    assert not root.exists("/etc/logrotate.d/pgweir")
    assert not root.exists("/var/log/pgweir")

    # With nothing of the users in them, the directories go as well, except an empty file system. The user stays, as Debian's do.
    root.sh("rm /etc/pgweir/main.ini /var/lib/pgweir/main/* /var/lib/pgweir/main/.pgweir-last-word /var/lib/pgweir/.pgpass")
    root("dpkg", "-i", third)
    for directory in ("/var/lib/pgweir/mounted", "/var/cache/pgweir"):
        root.sh(f"mkdir -p {directory}; mount -t tmpfs mounted {directory}")
    root("dpkg", "-P", "pgweir")
    root.sh("umount /var/lib/pgweir/mounted /var/cache/pgweir; rmdir /var/lib/pgweir/mounted /var/lib/pgweir /var/cache/pgweir")
    accounts = {f"/etc/{name}{dash}" for name in ("passwd", "group", "shadow", "gshadow")
                for dash in ("", "-")} | {"/etc/.pwd.lock"}
    assert root.changes() - before - accounts == set()


class ServiceChapter(Chapter):
    """docs/service.md, on the machine that `root` is. Without a systemd that runs, what it would do
    is taken from the unit: the directories, the user, the command."""

    def __init__(self, place, receivers, server, root, deb):
        super().__init__("service.md", place, receivers, {"db1": server}, {})
        self.root, self.deb = root, deb

    def sh(self, words, text):
        port = self.servers["db1"].port
        text = re.sub(r"apt-get install \./pgweir_\S+\.deb", f"dpkg -i {self.deb}", text)
        text = text.replace("host=db1/", f"host=db1 port={port}/").replace("db1:5432", f"db1:{port}")
        if "systemd" in words:
            name = re.fullmatch(r"systemctl enable --now pgweir@(\w+)\n", text).group(1)
            self.start(self.root("cat", UNIT).stdout.replace("%i", name))
        else:
            self.said.append(self.root("bash", "-euo", "pipefail", "-c", text).stdout)

    def start(self, unit):
        def setting(key):
            return re.search(rf"^{key}=(.*)$", unit, re.MULTILINE).group(1)

        user, mode = setting("User"), setting("StateDirectoryMode")
        for directory in setting("StateDirectory").split():
            self.root("install", "-d", "-o", user, "-g", user, "-m", mode, f"/var/lib/{directory}")
        self.running.append(self.receivers.start(self.root.command(
            "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env",
            "sh", "-c", f"umask {setting('UMask')}; exec {setting('ExecStart')}"), {"LC_ALL": "C.UTF-8"}))
        streaming(self.servers["db1"])


def test_the_recipe_leads_from_nothing_to_a_running_service(debs, root, servers, receivers, place):
    primary = servers.primary(start=False, max_slot_wal_keep_size="100GB")
    path = primary.data / "pg_hba.conf"
    path.write_text("local all postgres trust\nhost all postgres 127.0.0.1/32 trust\n")
    primary.start()
    root.sh("echo '127.0.0.1 db1' >> /etc/hosts")
    chapter = ServiceChapter(place, receivers, primary, root, root.put(debs["pgweir"], "pgweir.deb"))
    assert chapter.run() >= 8
    said = "".join(chapter.said)
    assert "fine (settings that count" in said
    assert "a replication connection to db1" in said and "the slot can be monitored" in said, said
    assert "[FAIL" not in said.upper(), said
    assert "streaming" in chapter.said[-1], chapter.said[-1]
    end = primary.switch_wal()
    reported(primary, end)
    segment = wal.segment_name(1, end // primary.segment_size - 1, primary.segment_size)
    wait_for(lambda: root.exists(f"/var/lib/pgweir/main/{segment}.zst"), "the segment")
    assert root.sh("stat -c '%U %a' /var/lib/pgweir/main /var/lib/pgweir/.pgpass").stdout == (
        "pgweir 750\npgweir 600\n")
    chapter.stop_all()


def test_an_example_is_built_with_the_installed_library_and_streams(debs, root, servers, place):
    """With CMake and with pkg-config alone, and both do what the library is for."""
    for tool in ("c++", "cmake", "pkg-config"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (scripts/setup)")
    root("dpkg", "-i", root.put(debs["libpgweir-dev"], "dev.deb"))
    root("mkdir", "/tmp/examples")
    for path in sorted((REPOSITORY / "examples").iterdir()):
        root.put(path, f"examples/{path.name}")
    environment = "unset CPATH LIBRARY_PATH; cd /tmp/examples; "
    root.sh(environment + "cmake -S . -B built >configured 2>&1 || { cat configured >&2; exit 1; };"
            " cmake --build built --target example_waltail >made 2>&1 || { cat made >&2; exit 1; }",
            timeout=10 * PATIENCE)
    root.sh(environment + "c++ -o waltail waltail.cc $(pkg-config --cflags --libs pgweir)",
            timeout=10 * PATIENCE)
    assert root("pkg-config", "--modversion", "pgweir").stdout == f"{VERSION}\n"

    primary = servers.primary()
    start = primary.flushed()
    start -= start % primary.segment_size
    end = primary.switch_wal()
    end -= end % primary.segment_size
    for program in ("/tmp/examples/built/waltail", "/tmp/examples/waltail"):
        root.sh(f"{program} '{primary.conninfo()}' {wal.lsn_text(start)} {wal.lsn_text(end)} > /tmp/wal",
                timeout=PATIENCE)
        got = bytes.fromhex(root.sh("od -An -v -tx1 /tmp/wal | tr -d ' \\n'").stdout)
        own = b"".join(primary.wal_path(1, position).read_bytes()
                       for position in range(start, end, primary.segment_size))
        assert got == own, program

    # A library that is not there is named, before a linker sees anything.
    root("sh", "-c", "rm $(find /usr/lib -name 'liblz4.a' -o -name 'liblz4.so')")
    told = root.sh("cd /tmp/examples; cmake -S . -B again 2>&1", check=False)
    assert told.returncode != 0 and "libpgweir needs liblz4" in told.stdout, told.stdout
