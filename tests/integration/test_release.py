"""scripts/release: what it requires of a commit. That it builds the same bytes twice is seen when a release is made."""

import datetime
import json
import re
import runpy

import pytest

from support.process import run
from support.receiver import BINARY
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
    # What has passed in this run already is no part of what is tested here.
    (path / "tests" / "passed").write_text("")
    commit(path)
    return path


def commit(path):
    run(["git", "add", "--all"], cwd=path)
    run(["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "-m", "x"], cwd=path)


def missing(path):
    finished = run([path / "scripts" / "release", "check"], check=False, cwd=path)
    assert finished.returncode == (1 if finished.stderr else 0), finished
    return finished.stderr


def shares():
    """{share: names of its files of tests}, as they are run."""
    found = {}
    for number in range(1, 7):
        listed = run(["ctest", "--test-dir", BINARY.parent, "-L", f"^share {number}$", "--show-only=json-v1"]).stdout
        found[number] = sorted({name for test in json.loads(listed)["tests"] for word in test["command"]
                                if re.fullmatch(r"test_\w+\.py", name := word.rpartition("/")[2])})
    return found


def test_a_share_depends_on_the_files_that_it_runs():
    release = runpy.run_path(str(REPOSITORY / "scripts" / "release"))
    files = [path.name for path in REPOSITORY.glob("tests/integration/test_*.py")]
    known = release["shared_out"](["CMakeLists.txt", *(f"tests/integration/{name}" for name in files)])
    assert shares() == {share: sorted(path.rpartition("/")[2] for path in paths) for share, paths in known.items()}
    assert sorted(name for names in shares().values() for name in names) == sorted(files), "each in one share"


def test_everything_that_is_missing_is_reported(clone):
    steps = re.search(r"no record that these parts have passed .*?: (.*)", missing(clone))[1].split("; ")
    assert "integration" in steps and "soak" in steps
    own = (clone / "scripts" / "test").read_text()
    for step in steps:
        # By its name, or made of one ("crash, $file").
        name = re.sub(r"(?<=^crash, ).*", "$file", re.sub(r"(?<=^integration, once more \()\d", "$file", step))
        name = re.sub(r"(?<=^sanitizers, )[at]san", "$preset", re.sub(r"(?<=, real servers )\d", "$share", name))
        assert re.search(rf'step "?{re.escape(name)}"?[ "]', own), f"no step of scripts/test is {step}"

    changelog, packages = clone / "CHANGELOG.md", clone / "packaging" / "debian" / "changelog"
    before = re.search(r"(?<=project\(pgweir VERSION )[\d.]+", (clone / "CMakeLists.txt").read_text())[0]
    entries = packages.read_text()
    text = re.sub(r"^## .*$", "## Unreleased", changelog.read_text(), count=1, flags=re.MULTILINE)
    changelog.write_text(text)
    assert 'CHANGELOG.md does not begin with "## ' in missing(clone)

    run([clone / "scripts" / "release", "version", "7.8.9", "2026-11-02"], cwd=clone)
    changed = run(["git", "diff", "--name-only"], cwd=clone).stdout.split()
    assert {"CMakeLists.txt", "README.md", "docs/service.md", "docs/container.md", "docs/kubernetes.md", "man/pgweir-receive.1",
            "packaging/debian/changelog", "CHANGELOG.md"} <= set(changed)
    assert changelog.read_text() == text.replace("## Unreleased", "## 7.8.9 (2026-11-02)", 1)
    assert packages.read_text().startswith("pgweir (7.8.9-1) unstable; ") and packages.read_text().endswith("\n\n" + entries)
    assert " -- pgweir developers <pgweir@users.noreply.github.com>  Mon, 02 Nov 2026 00:00:00 +0000\n" in packages.read_text()
    said = missing(clone)
    for what in ("tree has changes", "no record that these parts have passed", "integration; "):
        assert what in said
    commit(clone)
    said = missing(clone)
    assert len(said.splitlines()) == 1 and "no record" in said

    # Again, on another day: the entry is replaced.
    today = datetime.datetime.now(datetime.timezone.utc).date()
    run([clone / "scripts" / "release", "version", "7.8.9"], cwd=clone)
    assert changelog.read_text() == text.replace("## Unreleased", f"## 7.8.9 ({today})", 1)
    assert packages.read_text().count("7.8.9") == 1 and packages.read_text().endswith("\n\n" + entries)
    tomorrow = run([clone / "scripts" / "release", "version", "7.8.9", today + datetime.timedelta(2)], check=False, cwd=clone)
    assert tomorrow.returncode == 1 and "has not come yet" in tomorrow.stderr

    man, chapter = clone / "man" / "pgweir.1", clone / "docs" / "store.md"
    man.write_text(man.read_text().replace("7.8.9", "7.8.8"))
    changelog.write_text(changelog.read_text() + f"\n## {before} (2026-11-01)\n\n## 0.0.1\n")
    chapter.write_text(chapter.read_text() + f"\nThe example is of {before}.\n")
    commit(clone)
    said = missing(clone)
    assert "man/pgweir.1 has version 7.8.8" in said and f"docs/store.md still has version {before}\n" in said
    assert 'without a version and a date: "## 0.0.1"' in said
    run(["git", "checkout", "--quiet", "HEAD~", "docs", "CHANGELOG.md"], cwd=clone)
    run([clone / "scripts" / "release", "version", "7.8.9"], cwd=clone)
    commit(clone)

    # As scripts/test records them: see the next test. All but one at once, since each time all files are listed.
    digests = runpy.run_path(str(clone / "scripts" / "release"))["digests"]("HEAD")
    (clone / "tests" / "passed").write_text("".join(f"{digests[step]} {step}\n" for step in steps[:-1]))
    assert "tree has changes" in missing(clone)
    commit(clone)
    assert f"): {steps[-1]}\n" in missing(clone)
    run([clone / "scripts" / "release", "record", "HEAD", steps[-1], "passed"], cwd=clone)
    commit(clone)
    assert missing(clone) == "", "a commit of the record alone changes no tested file"

    def without_record(changed):
        changed.write_text(changed.read_text() + "\n")
        commit(clone)
        said = missing(clone)
        run(["git", "checkout", "--quiet", "HEAD~"], cwd=clone)
        return set(re.search(r": (.*)", said.partition("these parts have passed")[2])[1].split("; "))

    every, servers, no_servers = {"integration"}, {"crash, power", "sanitizers, tsan, real servers 2"}, {"unit", "sanitizers, tsan"}
    simulated, whole, arm64 = {"simulation, a million seeds", "mutants"}, {"Debian 13"}, {"arm64, packages and image"}
    assert without_record(man) == without_record(clone / "docs" / "ha.md") == set(steps), "this one is compiled in"
    documents = without_record(chapter)
    assert documents >= every and not documents & (servers | no_servers | simulated | whole | arm64)
    with_servers = without_record(clone / "tests" / "integration" / "conftest.py")
    assert with_servers >= every | servers | whole | arm64 | documents and not with_servers & (no_servers | simulated)
    one = without_record(clone / "tests" / "integration" / "test_slot_keeper.py")
    assert one >= every | {"integration, once more (1)"} | whole, "a test with real servers"
    assert "a Patroni cluster" in one, "whose test imports from it"
    alone = [number for number, files in shares().items() if "test_status.py" in files]
    assert {step for step in without_record(clone / "tests" / "integration" / "test_status.py") if ", real servers" in step} == {
        f"sanitizers, {preset}, real servers {number}" for preset in ("asan", "tsan") for number in alone}, "nothing imports from it"
    assert arm64 <= without_record(clone / "tests" / "integration" / "test_image.py"), "another from which one imports"
    assert not one & (no_servers | simulated | arm64 | {"crash, power", "sanitizers, asan, crash", "file systems", "soak"})
    assert "limits, groups of version 2" in without_record(clone / "tests" / "integration" / "test_memory.py")
    crash = without_record(clone / "tests" / "crash" / "test_recover_faults.py")
    assert crash >= every | {"sanitizers, asan, crash"} and not crash & {"crash, faults", "crash, power", "soak"}
    units = without_record(clone / "tests" / "unit" / "base" / "error_test.cc")
    assert units >= every | no_servers | whole and not units & (servers | simulated | arm64)
    assert not (with_servers | one | crash | documents | units) & {"clang-tidy, everything"}, "only src/ is read, and what it includes"
    assert without_record(clone / "tests" / "tsan.supp") == documents | {step for step in steps if ", tsan" in step}
    assert without_record(clone / "tests" / "integration" / "test_release.py") == documents
    assert without_record(clone / "tests" / "integration" / "support" / "torture_store.py") == documents | {
        "crash, torture", "sanitizers, asan, crash", "sanitizers, tsan, crash", "soak"}
    assert without_record(clone / "tests" / "support" / "sim_disk.cc") == set(steps), "the simulation has it, too"
    (clone / "man" / "pgweir.1").chmod(0o755)
    commit(clone)
    assert "no record" in missing(clone)
    run(["git", "checkout", "--quiet", "HEAD~"], cwd=clone)
    assert missing(clone) == ""
    run(["git", "tag", "v7.8.9"], cwd=clone)
    assert "the tag v7.8.9 exists" in missing(clone)


def test_what_passes_is_recorded_for_a_commit_without_changes(clone):
    # Only the functions are run: a test run in a test would take as long as this one.
    script = (clone / "scripts" / "test").read_text()
    (clone / "build" / "dev").mkdir(parents=True)
    run([clone / "scripts" / "release", "version", "7.8.9"], cwd=clone)
    commit(clone)
    record = clone / "tests" / "passed"

    def recorded(steps):
        (clone / "build" / "try").write_text(script.replace('\nmain "$@"\n', f"\n{steps}\n"))
        run(["bash", "build/try"], check=False, cwd=clone)
        return [line.partition(" ")[2] for line in record.read_text().splitlines()]

    named = "integration, once more (1)"
    assert recorded(f"step '{named}' true; step format false; step unit true; step unknown true") == [named, "unit"]
    assert recorded(f"step '{named}' false") == ["unit"], "the last run counts"
    commit(clone)
    assert recorded("step fuzz true") == ["unit", "fuzz"], "a commit of the record alone changes no tested file"
    skips = """ctest() { echo " 1/2 Test #7: integration.SUITE ....***Skipped   0.40 sec"; echo "2/2 Test #8: crash.power ....   Passed   0.40 sec"; }
               step integration run_integration"""
    assert recorded(skips.replace("SUITE", "tap_pg_receivewal_19")) == ["unit", "fuzz", "integration"]
    assert recorded(skips.replace("SUITE", "version_13")) == ["unit", "fuzz"], "what was not run is not recorded"
    (clone / "README.md").write_text("")
    assert recorded("step mutants true") == ["unit", "fuzz"], "nor with a change that is not committed"
    commit(clone)
    assert recorded("step format true") == ["unit", "fuzz", "format"], "a document is nothing that these depend on"
    (clone / "CMakeLists.txt").write_text("")
    commit(clone)
    assert recorded("step format true") == ["format"], "another file is another content"
    changelog = clone / "CHANGELOG.md"
    changelog.write_text("## Unreleased\n\n" + changelog.read_text())
    commit(clone)
    (clone / "build" / "try").write_text(script.replace('\nmain "$@"\n', "\nstep soak true\n"))
    run(["bash", "build/try"], check=False, cwd=clone)
    assert "format" in record.read_text() and "soak" not in record.read_text(), "only what is to be released"
