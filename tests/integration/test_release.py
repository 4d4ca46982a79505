"""scripts/release: what it requires of a commit. That it builds the same bytes twice is seen when a release is made."""

import datetime
import pathlib
import re

import pytest

from support.process import run
from support.server import REPOSITORY


@pytest.fixture
def clone(place):
    """This commit, and what has been changed since, as a commit of its own."""
    path = place / "clone"
    run(["git", "clone", "--quiet", REPOSITORY, path])
    changed = run(["git", "ls-files", "--modified", "--others", "--exclude-standard"], cwd=REPOSITORY).stdout.split("\n")
    for name in filter(None, changed):
        if (REPOSITORY / name).exists():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes((REPOSITORY / name).read_bytes())
            (path / name).chmod((REPOSITORY / name).stat().st_mode)
    if changed:
        commit(path)
    return path


def commit(path):
    run(["git", "add", "--all"], cwd=path)
    run(["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "-m", "x"], cwd=path)


def missing(path):
    finished = run([path / "scripts" / "release", "check"], check=False, cwd=path)
    assert finished.returncode == (1 if finished.stderr else 0), finished
    return finished.stderr


def test_everything_that_is_missing_is_reported(clone):
    steps = re.search(r"^STEPS = \((.*?)^\)", (clone / "scripts" / "release").read_text(), re.MULTILINE | re.DOTALL)[1]
    steps = re.findall(r'"([^"]+)"', steps)
    assert "integration" in steps and "soak" in steps
    own = (clone / "scripts" / "test").read_text()
    for step in steps:
        # By its name, or made of one ("crash, $file").
        name = re.sub(r"(?<=^crash, ).*", "$file", step)
        assert re.search(rf'step "?{re.escape(name)}"?[ "]', own), f"no step of scripts/test is {step}"

    run([clone / "scripts" / "release", "version", "7.8.9"], cwd=clone)
    changed = run(["git", "diff", "--name-only"], cwd=clone).stdout.split()
    assert {"CMakeLists.txt", "README.md", "man/pgweir-receive.1", "packaging/debian/changelog"} <= set(changed)
    said = missing(clone)
    for what in ("tree has changes", "CHANGELOG.md does not begin", "no record that these parts have passed", "integration; "):
        assert what in said

    text = (clone / "CHANGELOG.md").read_text()
    today = datetime.date.today().isoformat()
    (clone / "CHANGELOG.md").write_text(text.replace("## Unreleased", f"## 7.8.9 ({today})", 1))
    commit(clone)
    said = missing(clone)
    assert "CHANGELOG" not in said and "tree has changes" not in said and "no record" in said

    man = clone / "man" / "pgweir.1"
    man.write_text(man.read_text().replace("7.8.9", "7.8.8"))
    commit(clone)
    assert "man/pgweir.1 has version 7.8.8" in missing(clone)
    run([clone / "scripts" / "release", "version", "7.8.9"], cwd=clone)
    commit(clone)

    head = run(["git", "rev-parse", "HEAD"], cwd=clone).stdout.strip()
    record = clone / "build" / "passed" / head
    record.parent.mkdir(parents=True)
    record.write_text("\n".join(steps[:-1]) + "\n")
    assert f"): {steps[-1]}\n" in missing(clone)
    record.write_text("\n".join(steps) + "\n")
    assert missing(clone) == ""
    run(["git", "tag", "v7.8.9"], cwd=clone)
    assert "the tag v7.8.9 exists" in missing(clone)


def test_what_passes_is_recorded_for_a_commit_without_changes(clone):
    head = run(["git", "rev-parse", "HEAD"], cwd=clone).stdout.strip()
    # Only the functions are run: a test run in a test would take as long as this one.
    script = (clone / "scripts" / "test").read_text().replace('\nmain "$@"\n', '\nstep good true\nstep bad false\n')
    (clone / "build").mkdir()
    (clone / "build" / "try").write_text(script)
    run(["bash", "build/try"], check=False, cwd=clone)
    record = pathlib.Path(clone) / "build" / "passed" / head
    assert record.read_text() == "good\n"
