"""The OCI image: built from the packages of the program under test, looked at, and run as a container's engine would: its
root read-only, any user, nothing of this machine."""

import hashlib
import json
import os
import re
import shutil
import signal
import stat

import pytest

from support.process import PATIENCE, children_of, run
from support.receiver import BINARY
from support.scenario import reported, streaming
from support.server import REPOSITORY, free_port

IMAGE = REPOSITORY / "build" / "image"
ROOT = IMAGE / "root"
BUILT = BINARY.resolve().parent
USER = 12345  # nobody's


@pytest.fixture(scope="module")
def image():
    """What scripts/image said."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    missing = [tool for tool in ("mmdebstrap", "umoci", "skopeo", "dpkg-buildpackage") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"missing: {missing} (scripts/setup)")
    if re.search(r"^PGWEIR_SANITIZE:\w+=.", (BUILT / "CMakeCache.txt").read_text(), re.MULTILINE):
        pytest.skip("nobody packages a build with sanitizers")
    run([REPOSITORY / "scripts" / "package", "--from", BUILT], timeout=10 * PATIENCE)
    return build()


def build(**environment):
    return run([REPOSITORY / "scripts" / "image", "--packages", REPOSITORY / "build" / "package"], timeout=10 * PATIENCE,
               env={**os.environ, **environment}).stdout


def contained(volume, *words, pid_one=False, user=f"--userspec={USER}:0", root=ROOT, mounts=(), by=""):
    """A command line that runs pgweir as a container's engine would: in the image's root, read-only but for the volume, as a
    user that nobody knows, in group 0. `mounts`: what else is mounted where, [(directory, path in there)]; `by`: what in there
    runs it."""
    kinds = ["--mount", *(["--pid", "--fork", "--kill-child"] if pid_one else [])]
    proc = "mount -t proc proc" if pid_one else "mount --bind /proc"
    others = "".join(f" mount --bind {place} {root}{inside};" for place, inside in mounts)
    enter = (f"mount --bind {root} {root}; mount --bind {volume} {root}/archive; {proc} {root}/proc;{others}"
             f" mount -o remount,bind,ro {root}; cd {root}; exec chroot {user} {root} {by}/usr/bin/pgweir \"$@\"")
    return ["unshare", *kinds, "sh", "-ec", enter, "sh", *words]


@pytest.fixture
def volume(place):
    path = place / "volume"
    path.mkdir()
    os.chown(path, USER, 0)
    path.chmod(0o770)
    return path


def test_what_is_inside(image):
    files = [path for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = {str(path.relative_to(ROOT)) for path in files if path.stat().st_mode & 0o111 and ".so" not in path.name}
    assert programs == {"usr/bin/pgweir"}
    assert not [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    dangling = [path for path in ROOT.rglob("*") if path.is_symlink()
                and not (ROOT / str(path.parent.relative_to(ROOT)) / os.readlink(path).lstrip("/")).exists()
                and not (ROOT / os.readlink(path).lstrip("/")).exists()]
    assert not dangling
    for module in ("metrics", "store"):
        assert (ROOT / f"usr/lib/pgweir/libpgweir-{module}.so").exists()
    listed = json.loads((IMAGE / "pgweir.spdx.json").read_text())
    sources = {package["name"] for package in listed["packages"]
               if package["externalRefs"][0]["referenceLocator"].endswith("?arch=source")}
    assert {"libzstd", "lz4", "zlib", "fmtlib", "pugixml", "spdlog", "nlohmann-json3"} <= sources
    assert [name for name in sources if name.startswith("boost1")] and [name for name in sources if name.startswith("gcc-")]
    linked = {each["relatedSpdxElement"] for each in listed["relationships"]
              if each["relationshipType"] == "STATIC_LINK" and each["spdxElementId"] == "SPDXRef-Package-pgweir"}
    assert linked == {f"SPDXRef-Source-{name}" for name in sources}
    notices = (ROOT / "usr/share/doc/pgweir/linked-libraries.copyright").read_text()
    for name in ("libzstd-dev", "libfmt-dev", "libpugixml-dev"):
        assert f"==> {name}/copyright <==\n" in notices
    names = {package["name"] for package in listed["packages"]} - sources
    assert {"pgweir", "pgweir-store", "libpq5", "libc6", "libcurl4", "ca-certificates", "tzdata"} <= names
    assert not names & {"bash", "dash", "dpkg", "apt", "perl-base", "openssl", "debconf"}
    licences = {path.parent.name for path in ROOT.glob("usr/share/doc/*/copyright")}
    assert licences == names, "the licence of each package is there, and of no other"


def test_other_tools_take_it(image, place):
    digest = re.search(r"sha256:\w+", image)[0]
    seen = json.loads(run(["skopeo", "inspect", f"oci:{IMAGE}/oci:pgweir"]).stdout)
    assert seen["Digest"] == digest
    run(["skopeo", "copy", f"oci:{IMAGE}/oci:pgweir", f"dir:{place}/copied"])
    config = json.loads(run(["skopeo", "inspect", "--config", f"oci:{IMAGE}/oci:pgweir"]).stdout)["config"]
    assert config["User"] == "65532:0" and config["Entrypoint"] == ["/usr/bin/pgweir"]
    layers = json.loads((place / "copied" / "manifest.json").read_text())["layers"]
    assert len(layers) == 1
    layer = place / "copied" / layers[0]["digest"].partition(":")[2]
    assert hashlib.sha256(layer.read_bytes()).hexdigest() == layer.name
    listing = run(["tar", "--list", "--verbose", "--numeric-owner", "--file", layer]).stdout.splitlines()
    archive = [line.split() for line in listing if line.endswith("./archive/")]
    assert [(words[0], words[1]) for words in archive] == [("drwxrwx---", "65532/0")]


def test_the_same_packages_give_the_same_digest(image):
    assert build(TZ="Asia/Tokyo", LC_ALL="C") == image


def test_it_archives_as_any_user_and_is_configured_by_the_environment(image, servers, receivers, volume, new_archive):
    primary = servers.primary()
    own = {"PGWEIR_RECEIVE_DIRECTORY": "/archive", "PGWEIR_RECEIVE_DBNAME": primary.conninfo(),
           "PGWEIR_RECEIVE_SLOT": "archive", "PGWEIR_RECEIVE_CREATE_SLOT": "on", "PGWEIR_RECEIVE_COMPRESS": "zstd:1",
           "PGWEIR_RECEIVE_METRICS_LISTEN": str(free_port()), "PGWEIR_RECEIVE_LOG_FORMAT": "json"}
    receiver = receivers.start(contained(volume, "receive"), env=own)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    status = run(contained(volume, "status", "--check"), env={**os.environ, **own}, check=False)
    assert status.returncode == 0, status.stdout + status.stderr
    receiver.stop()
    lines = [json.loads(line) for line in receiver.said().splitlines()]
    assert any("metrics at" in line["message"] for line in lines)
    verified = run(contained(volume, "verify"), env={**os.environ, **own}, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert {path.stat().st_uid for path in volume.iterdir()} == {USER}
    store = run(contained(volume, "store", "ls", "--store", "s3://bucket", "--store-endpoint", "https://127.0.0.1:1",
                          "--store-region", "none", "--store-name", "main"), check=False,
                env={**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert "127.0.0.1" in store.stderr and store.returncode == 3, store.stderr


def test_a_user_without_a_name_is_told_to_name_the_servers(image, volume):
    told = run(contained(volume, "receive", "-D", "/archive", "-d", "host=127.0.0.1 port=1"), check=False)
    assert told.returncode == 2 and "user=..." in told.stdout + told.stderr, told.stdout + told.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_as_process_one_it_ends_well_or_goes_on(image, servers, receivers, volume, number):
    primary = servers.primary()
    words = ["receive", "-D", "/archive", "-d", primary.conninfo(), "-S", "archive", "--create-slot", "--if-not-exists"]
    receiver = receivers.start(contained(volume, *words, pid_one=True))
    streaming(primary)
    reported(primary, primary.write_wal(1))
    inner, = children_of(receiver.pid)
    os.kill(inner, number)
    ended = receiver.wait_exit()  # unshare's, as far as a signal is concerned
    assert ended == 0 if number == signal.SIGTERM else ended != 0, receiver.said()
    receiver = receivers.start(contained(volume, *words, pid_one=True))
    streaming(primary)
    reported(primary, primary.write_wal(1))
    verified = run(contained(volume, "verify", "-D", "/archive"), check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    inner, = children_of(receiver.pid)
    os.kill(inner, signal.SIGTERM)
    assert receiver.wait_exit() == 0, receiver.said()
