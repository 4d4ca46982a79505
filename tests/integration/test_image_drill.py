"""The image for drills (scripts/image --with-postgresql): it recovers a backup with nothing of this machine. PGWEIR_LONG=1:
it takes half a minute to be made, and the image without a server has its tests in every run."""

import json
import os

import pytest

from support.process import PATIENCE, run, server_user
from support.recovery import hand_over
from support.scenario import reported, streaming
from support.server import REPOSITORY
from test_drill import basebackup, directory
from test_image import contained, image  # noqa: F401

IMAGE = REPOSITORY / "build" / "image-postgresql15"

pytestmark = pytest.mark.skipif(os.environ.get("PGWEIR_LONG") != "1", reason="PGWEIR_LONG=1 makes the image for drills")


@pytest.fixture(scope="module")
def drill_image(image):  # noqa: F811
    run([REPOSITORY / "scripts" / "image", "--packages", REPOSITORY / "build" / "package", "--with-postgresql", "15"],
        timeout=10 * PATIENCE)
    return IMAGE


def test_a_drill(drill_image, servers, receivers, new_archive, place):
    config = json.loads(run(["skopeo", "inspect", "--config", f"oci:{drill_image}/oci:pgweir"]).stdout)["config"]
    assert config["User"] == "65532:0" and config["Entrypoint"] == ["/usr/bin/pgweir"] and config["Cmd"] == ["drill"]
    listed = {package["name"] for package in json.loads((drill_image / "pgweir.spdx.json").read_text())["packages"]}
    assert {"postgresql-15", "postgresql-client-15", "dash", "locales-all"} <= listed
    assert not listed & {"bash", "dpkg", "apt", "perl-base", "libllvm14"}

    primary = servers.primary(initdb=["-k"], wal_keep_size="1GB")
    primary.sql("CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C'")
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary, "--compress", "zstd:1")
    streaming(primary)
    backups, sandbox = directory(place / "backups"), directory(place / "sandbox")
    basebackup(primary, backups / "base")
    primary.sql("CREATE TABLE t AS SELECT 41 + 1 AS answer")
    primary.write_wal(2)
    reported(primary, primary.flushed())
    receiver.stop()
    hand_over(archive.path)

    drill = ["drill", "-D", "/archive", "--backup", "/backup/base", "--sandbox", "/sandbox", "--json"]
    mounts = [(backups, "/backup"), (sandbox, "/sandbox"), ("/dev", "/dev")]
    owner = server_user().pw_uid if os.getuid() == 0 else os.getuid()
    done = run(contained(archive.path, *drill, "--check", "SELECT answer = 42 FROM t", user=f"--userspec={owner}:0",
                         root=drill_image / "root", mounts=mounts), check=False, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["reached_lsn"] == told["promised_lsn"], told
    assert all(check["passed"] for check in told["checks"]) and told["skipped"] == [], told
    assert list(sandbox.iterdir()) == []
