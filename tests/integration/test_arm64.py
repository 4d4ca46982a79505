"""arm64: the packages that the cross compiler makes, the image made of them, and the program out of that image, run by
qemu in the image's root against a server of this machine. PGWEIR_LONG=1, after `cmake --build --preset arm64`: all of it is
emulated, and what computes is tried in every run (scripts/test arm64-core)."""

import json
import os
import re
import shutil

import pytest

from support.process import run
from support.receiver import VERSION, pgweir
from support.scenario import reported, streaming
from support.server import REPOSITORY
from test_image import USER, contained, volume  # noqa: F401

BUILT = REPOSITORY / "build" / "arm64"
PACKAGES = REPOSITORY / "build" / "package-arm64"
IMAGE = REPOSITORY / "build" / "image-arm64"
ROOT = IMAGE / "root"
QEMU = shutil.which("qemu-aarch64-static")
AARCH64 = 183  # EM_AARCH64 of elf.h

pytestmark = pytest.mark.skipif(os.environ.get("PGWEIR_LONG") != "1", reason="PGWEIR_LONG=1 packages for arm64")


@pytest.fixture(scope="module")
def debs():
    """{package name: path}"""
    if not QEMU or not (BUILT / "pgweir").exists():
        pytest.skip("no qemu-aarch64-static, or no build/arm64/pgweir (scripts/test long has both)")
    run([REPOSITORY / "scripts" / "package", "--arch", "arm64", "--from", BUILT], timeout=300)
    return {path.name.split("_")[0]: path for path in PACKAGES.glob("*.deb")}


@pytest.fixture(scope="module")
def image(debs):
    """What scripts/image said."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    return build_image()


def build_image(**environment):
    return run([REPOSITORY / "scripts" / "image", "--arch", "arm64", "--packages", PACKAGES], timeout=300,
               env={**os.environ, **environment}).stdout


@pytest.fixture(scope="module")
def emulated(image, tmp_path_factory):
    """emulated(volume, *words, mounts=()): a command line that runs the image's pgweir in the image's root, in which only the emulator
    is of this machine."""
    place = tmp_path_factory.mktemp("qemu")
    shutil.copy(QEMU, place / "qemu")
    for each in (place, *place.parents[:2]):
        each.chmod(0o755)
    return lambda volume, *words, mounts=(): contained(volume, *words, root=ROOT, mounts=[(place, "/run"), *mounts],
                                                       by="/run/qemu ")


def machine_of(path):
    """What processor a file is for, None if it is no program or library."""
    with open(path, "rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else None


def dependencies(deb):
    return {re.split(r"[ (:]", each.strip())[0] for each in run(["dpkg-deb", "--field", deb, "Depends"]).stdout.split(",")}


def test_packages(debs, place):
    assert set(debs) == {"pgweir", "pgweir-store", "libpgweir-dev"}
    for name, deb in debs.items():
        assert run(["dpkg-deb", "--field", deb, "Architecture"]).stdout == "arm64\n"
        run(["dpkg-deb", "--extract", deb, place / name])
    machines = {str(path.relative_to(place)): machine_of(path) for path in place.rglob("*")
                if path.is_file() and not path.is_symlink() and machine_of(path) is not None}
    assert machines == {"pgweir/usr/bin/pgweir": AARCH64, "pgweir/usr/lib/pgweir/libpgweir-metrics.so": AARCH64,
                        "pgweir-store/usr/lib/pgweir/libpgweir-store.so": AARCH64}
    # By the libraries of arm64: those of this machine, or the cross compiler's own (libc6-arm64-cross), are other packages.
    assert dependencies(debs["pgweir"]) == {"libc6", "libisal2", "libpq5", "libprometheus-cpp-core1.0", "systemd"}
    assert dependencies(debs["pgweir-store"]) == {"libc6", "libcurl4", "libssl3", "pgweir"}


def test_image(image):
    digest = re.search(r"sha256:\w+", image)[0]
    seen = json.loads(run(["skopeo", "inspect", f"oci:{IMAGE}/oci:pgweir"]).stdout)
    assert seen["Digest"] == digest and seen["Architecture"] == "arm64", seen
    programs = {path: machine_of(path) for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink()}
    assert set(programs.values()) == {None, AARCH64}
    listed = json.loads((IMAGE / "pgweir.spdx.json").read_text())
    kinds = {package["externalRefs"][0]["referenceLocator"].rpartition("arch=")[2] for package in listed["packages"]}
    assert kinds == {"arm64", "all", "source"}
    assert "SPDXRef-Source-libzstd" in {package["SPDXID"] for package in listed["packages"]}
    assert build_image(TZ="Asia/Tokyo", LC_ALL="C") == image, "the same packages give the same digest"


def test_its_program_archives_verifies_and_restores(emulated, servers, receivers, volume, new_archive, place):  # noqa: F811
    version = run(emulated(volume, "--version"), check=False)
    assert version.stdout.startswith(f"pgweir {VERSION}"), version.stdout + version.stderr
    primary = servers.primary()
    archive = new_archive(primary)
    archive.path.rmdir()
    archive.path = volume
    receiver = receivers.start(emulated(volume, "receive", "-D", "/archive", "-d", primary.conninfo(), "-S", "archive",
                                        "--create-slot", "--compress", "zstd:1", "--metrics-file", "/archive/metrics.prom"))
    streaming(primary, deadline=60)
    end = primary.write_wal(4)
    reported(primary, end, deadline=60)
    archive.wait_covers(primary, 1, end)
    receiver.stop()
    archive.assert_same_wal(primary, minimum=3)
    assert "pgweir_" in (volume / "metrics.prom").read_text()
    assert {path.stat().st_uid for path in volume.iterdir()} == {USER}

    verified = run(emulated(volume, "verify", "-D", "/archive"), check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # And what this machine's program thinks of it.
    assert pgweir("verify", "-D", volume).returncode == 0
    compressed = [path for path in archive.finished().values() if path.suffix == ".zst"]
    assert compressed
    target = place / "target"
    target.mkdir()
    os.chown(target, USER, 0)
    restored = run(emulated(volume, "restore", "-D", "/archive", compressed[0].stem, "/tmp/segment", mounts=[(target, "/tmp")]),
                   check=False)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert (target / "segment").read_bytes() == primary.pg_wal(compressed[0].stem).read_bytes()

    # A bit in the middle of its WAL: found by the same sums.
    plain = volume / compressed[1].stem
    content = bytearray(primary.pg_wal(plain.name).read_bytes())
    content[len(content) // 2] ^= 4
    compressed[1].unlink()
    plain.write_bytes(content)
    damaged = run(emulated(volume, "verify", "-D", "/archive"), check=False)
    assert damaged.returncode == 1 and plain.name in damaged.stdout, damaged.stdout + damaged.stderr


def test_the_store_module_loads(emulated, volume):  # noqa: F811
    told = run(emulated(volume, "store", "ls", "--store", "s3://bucket", "--store-endpoint", "https://127.0.0.1:1",
                        "--store-region", "none", "--store-name", "main"), check=False,
               env={**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert told.returncode == 3 and "127.0.0.1" in told.stderr, told.stdout + told.stderr
