"""What --help, the manual pages and the completions say is the same, for every command there is and
every program pgweir stands in for. The commands are asked of the program: a new one without a page
fails here."""

import re
import shutil
import subprocess

import pytest

from support.process import run
from support.receiver import BINARY
from support.server import REPOSITORY

STAND_INS = [line for line in (REPOSITORY / "packaging" / "stand-ins").read_text().split("\n")
             if line and not line.startswith("#")]
COMPLETIONS = REPOSITORY / "packaging" / "completions"


def help_of(*command):
    result = run([BINARY, "help", *command, "all"] if command else [BINARY, "--help"])
    assert result.stdout and not result.stderr, result.stderr
    return result.stdout


def commands():
    section = re.search(r"^Commands:\n(.*?)\n\n", help_of(), re.MULTILINE | re.DOTALL).group(1)
    names = re.findall(r"^  ([a-z_]+) ", section, re.MULTILINE)
    assert len(names) >= 8
    return names


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def explained(help_text):
    """{--option: letter or None} of the lines that explain one."""
    lines = re.findall(r"^ {2,6}(?:(-[^-]), )?(--[a-z][a-z-]*)", help_text, re.MULTILINE)
    return {name: letter or None for letter, name in lines}


def manual(name):
    """The text of a page, as it is read, on one endless line per paragraph."""
    page = REPOSITORY / "man" / f"{name}.1"
    assert page.exists(), f"no manual page {page.name}"
    text = page.read_text()
    assert text.startswith(".TH "), page
    # roff writes a dash that is to be typed as "\-"; fonts change in the middle of a word.
    return re.sub(r"\\f[BIRP]|\\f\(..", "", text.replace("\\-", "-")).replace('"', "")


def test_every_command_has_a_manual_page_with_its_options():
    for command in commands():
        if command == "help":
            continue
        assert options(manual(f"pgweir-{command}")) == options(help_of(command)), command


def test_the_manual_page_of_the_program_names_every_command():
    page = manual("pgweir")
    for command in commands():
        assert re.search(rf"^\.B[IR]* {command}\b", page, re.MULTILINE), command
        assert command == "help" or f"pgweir-{command}" in page, command


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_a_manual_page_with_its_options(place, name):
    link = place / name
    link.symlink_to(BINARY)
    shown = run([link, "--help"]).stdout
    assert name in shown
    page = manual(f"pgweir-{name}")
    assert options(page) == options(shown)
    for letter in re.findall(r"^ {2}(-[A-Za-z?])\b", shown, re.MULTILINE):
        assert re.search(rf"{re.escape(letter)}\b" if letter != "-?" else r"-\?", page), letter


def test_every_manual_page_is_well_formed_and_about_something_there_is():
    known = {"pgweir", *(f"pgweir-{name}" for name in [*commands(), *STAND_INS])}
    pages = sorted((REPOSITORY / "man").glob("*.1"))
    assert pages
    for page in pages:
        assert page.stem in known, page.name
        text = page.read_text()
        assert re.search(rf"^{page.stem} - \S", text.replace("\\-", "-"), re.MULTILINE), page.name
        for other in re.findall(r"^\.BR (pgweir\S*) \(1\)", text, re.MULTILINE):
            assert other.replace("\\-", "-") in known, f"{page.name} names {other}"
        if shutil.which("groff"):
            result = run(["groff", "-man", "-Tutf8", "-ww", "-z", page])
            assert result.stderr == "", result.stderr


def bash_completes(*words):
    """What the bash completion offers for the last of these words of a command line."""
    script = """
source "$1"; shift
compopt() { :; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_pgweir "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    result = run(["bash", "-c", script, "-", COMPLETIONS / "pgweir.bash", BINARY, *words])
    assert result.stderr == "", result.stderr
    return set(result.stdout.split())


def test_bash_completes_commands_and_options():
    assert bash_completes("") == set(commands())
    assert "receive" in bash_completes("rec") and "status" not in bash_completes("rec")
    assert bash_completes("help", "") == set(commands())
    assert {"store", "serve", "slot", "all"} <= bash_completes("help", "receive", "")
    assert bash_completes("help", "receive", "sto") == {"store"}
    for command in commands():
        if command == "help":
            continue
        wanted = explained(help_of(command))
        assert wanted
        offered = bash_completes(command, "-")
        assert {word for word in offered if word.startswith("--")} == set(wanted), command
        assert {word for word in offered if not word.startswith("--")} == {
            letter for letter in wanted.values() if letter}, command
    assert bash_completes("slot", "") == {"create", "drop", "list"}
    assert bash_completes("-c", "file", "") == set(commands())
    assert bash_completes("--config", "file", "slot", "") == {"create", "drop", "list"}


def test_bash_completes_values(place):
    (place / "archive").mkdir()
    (place / "file").touch()
    assert bash_completes("receive", "-D", f"{place}/") == {f"{place}/archive"}
    assert bash_completes("receive", "--directory", "=", f"{place}/") == {f"{place}/archive"}
    assert bash_completes("receive", "-c", f"{place}/") == {f"{place}/archive", f"{place}/file"}
    assert bash_completes("receive", "--compress", "") == {"none", "zstd"}
    assert bash_completes("receive", "--confirm", "") == {"local", "stored"}
    assert bash_completes("receive", "--on-gap", "") == {"stop", "continue"}
    assert bash_completes("receive", "--on-gap", "c") == {"continue"}
    assert bash_completes("restore", "--on-gap", "") == {"stop", "absent"}
    assert bash_completes("receive", "--flush", "") == {"continuous", "segment"}
    assert bash_completes("receive", "--prefer", "") == {"any", "primary", "standby"}
    assert bash_completes("receive", "--store-path-style", "") == {"auto", "path", "host"}
    assert bash_completes("logical", "--format", "") == {"jsonl", "plugin"}
    assert bash_completes("backup", "--format", "") == {"plain", "tar"}
    assert "--slot" in bash_completes("receive", "--if-not-exists", "--")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed (scripts/setup)")
def test_zsh_completes_commands_and_options():
    """zsh's own functions are replaced by such as print what they are given."""
    script = """
_describe() { print -l -- ${(P)4} }
_arguments() { shift; while [[ $1 != : ]] shift; shift; print -l -- "$@" }
_call_program() { shift; "$@" }
file=$1; shift
words=("$@"); CURRENT=$#
source $file
"""

    def offered(*words):
        result = run(["zsh", "-f", "-c", script, "-", COMPLETIONS / "_pgweir", BINARY, *words])
        assert result.stderr == "", result.stderr
        return result.stdout.split("\n")

    assert [line.split(":")[0] for line in offered("") if line] == commands()
    for command in commands():
        if command == "help":
            continue
        wanted = explained(help_of(command))
        lines = offered(command, "-")
        names = {re.match(r"(--[a-z-]+)", line).group(1) for line in lines if line.startswith("--")}
        letters = {line[:2] for line in lines if re.match(r"-[^-]", line)}
        assert names == set(wanted), command
        assert letters == {letter for letter in wanted.values() if letter}, command
    assert "1:action:(create drop list)" in offered("slot", "")
    assert offered("-c", "file", "slot", "") == offered("slot", "")
    assert offered("--config", "file", "") == offered("")
    assert "--directory=[archive directory; must exist]:DIR:_directories" in (
        offered("receive", ""))
    assert {line.split(":")[0] for line in offered("help", "receive", "")} >= {"store", "serve", "slot", "all"}

    def values(command, option):
        spec, = [line for line in offered(command, "") if line.startswith(f"{option}=[")]
        return spec.rpartition("]")[2].partition(":")[2].partition(":")[2]

    assert values("receive", "--on-gap") == "(stop continue)"
    assert values("restore", "--on-gap") == "(stop absent)"
    assert values("receive", "--compress") == "(none zstd)"
    assert values("receive", "--prefer") == "(any primary standby)"
    assert values("receive", "--store-path-style") == "(auto path host)"
    assert values("receive", "--log-level") == "(debug info warning error)"
    assert values("logical", "--format") == "(jsonl plugin)"
    assert values("receive", "--slot") == " "
