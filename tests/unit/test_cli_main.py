# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool's frame: its command line, its exit codes, and a terminal that may be gone."""

from __future__ import annotations

import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from cli_machine import call, kopano, node, widest
from hypothesis import given
from hypothesis import strategies as st

import mailha
from mailha.cli import accept_version
from mailha.cli.main import COMMANDS, parser, perform
from mailha.cli.terminal import Terminal

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = CHECKOUT / "bin/mailha"


def run(*argv: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the program itself, with the Python of these tests."""
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([sys.executable, "-I", "-B", *map(str, argv)], stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=60, **options)


def test_version_and_help() -> None:
    said = run(PROGRAM, "--version")
    assert (said.returncode, said.stdout) == (0, f"mailha {mailha.__version__}\n")
    for argv in (["help"], ["--help"]):
        said = run(PROGRAM, *argv)
        assert said.returncode == 0 and "accept-version" in said.stdout and said.stderr == ""


@pytest.mark.parametrize("topic, word", [
    ("accept-version", "--withdraw"), ("guards", "on|off|show")])
def test_help_of_a_command(topic: str, word: str) -> None:
    said = call(node(), "help", topic)
    assert said.code == 0 and word in said.out and widest(said.out) <= 80


@pytest.mark.parametrize("argv", [
    [], ["frobnicate"], ["--frobnicate"], ["help", "me"], ["guards"], ["guards", "maybe"],
    ["guards", "on"], ["guards", "off"], ["guards", "off", "--all", "mail"], ["accept-version"],
    ["accept-version", "one", "two"], ["accept-version", "--show", "--withdraw", "mail"],
    ["guards", "on", "mail", "--services"], ["guards", "off", "--forc", "mail"],
    ["guards", "\udcff"], ["a\nb"]])
def test_a_wrong_command_line_is_said_in_one_line_with_code_2(
        argv: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = call(node(kopano("mail")), *argv)
    assert said.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and "--help' shows how it is used" in said.err


@pytest.mark.parametrize("argv, words", [
    ([], "COMMAND is missing; 'mailha --help'"),
    (["frobnicate"], "'frobnicate' is not one of accept-version, guards, removal, storage, sync, "
                     "help; 'mailha --help'"),
    (["help", "me"], "'me' is not one of accept-version, guards, removal, storage, sync, help; "
                     "'mailha --help'"),
    (["help", "sync", "me"], "'me' is not one of pair, status, diff, push, pause, resume, "
                             "accept-generation, kept, restore; 'mailha sync --help'"),
    (["help", "storage", "me"], "'me' means nothing here; 'mailha storage --help'"),
    (["guards"], "on|off|show is missing; 'mailha guards --help'"),
    (["guards", "maybe"], "'maybe' is not one of on, off, show; 'mailha guards --help'")])
def test_a_wrong_word_is_answered_with_the_right_ones(argv: List[str], words: str) -> None:
    assert call(node(), *argv).err.startswith(f"mailha: {words}")


@pytest.mark.parametrize("argv, place", [
    (["--bogus"], "mailha"), (["-x", "guards", "show"], "mailha"),
    (["help", "--bogus"], "mailha help"), (["storage", "--bogus"], "mailha storage"),
    (["accept-version", "--bogus"], "mailha accept-version"),
    (["sync", "--bogus"], "mailha sync"), (["sync", "--bogus", "status"], "mailha sync"),
    (["sync", "pair", "--bogus=1"], "mailha sync pair"),
    (["guards", "on", "--bogus"], "mailha guards on"),
    (["guards", "on", "mail", "--bogus"], "mailha guards on")])
def test_an_option_that_is_not_known_leads_to_the_help_of_what_it_was_given_to(
        argv: List[str], place: str) -> None:
    [wrong] = [word for word in argv if word.startswith("-")]
    said = call(node(), *argv)
    assert (said.code, said.err) == (2, f"mailha: '{wrong}' means nothing here; '{place} --help' "
                                        "shows how it is used\n")


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["guards", "on"],
                                   ["guards", "off"], ["sync", "pair"], ["sync", "restore"]])
def test_help_says_what_the_option_says(words: List[str],
                                        capsys: pytest.CaptureFixture[str]) -> None:
    said = call(node(), "help", *words)
    assert (said.code, said.err) == (0, "")
    assert call(node(), *words, "--help").code == 0
    assert said.out == capsys.readouterr().out


@pytest.mark.parametrize("name", ["guards", "sync"])
def test_a_command_with_verbs_says_where_their_options_are(name: str) -> None:
    assert f"'mailha help {name} VERB'" in call(node(), "help", name).out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_the_module_of_its_name(name: str) -> None:
    module = importlib.import_module(f"mailha.cli.{name.replace('-', '_')}")
    parsers = parser(["help", name])[1]
    assert parsers[name].get_default("run") is module.run
    assert all(parsers[other].get_default("run") is None for other in COMMANDS if other != name)


@pytest.mark.parametrize("argv", [
    ["accept-version", "mail"], ["accept-version", "--withdraw", "mail"], ["guards", "on", "mail"],
    ["guards", "off", "mail"], ["guards", "off", "--all"]])
def test_what_changes_something_needs_root(argv: List[str],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    where = node(kopano("mail"))
    before = dict(where.files.content)
    said = call(where, *argv)
    assert (said.code, said.out) == (1, "") and "only root" in said.err and "sudo" in said.err
    assert where.files.content == before and where.systemd.reloads == 0


@pytest.mark.parametrize("argv", [["accept-version", "--show", "mail"], ["guards", "show"]])
def test_what_only_shows_needs_no_root(argv: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert call(node(kopano("mail")), *argv).code == 0


def test_an_interruption_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(accept_version, "run", interrupted)
    assert call(node(), "accept-version", "--show", "mail") == (130, "", "mailha: interrupted\n")


def test_a_defect_is_one_line_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*arguments: Any) -> None:
        raise ZeroDivisionError("a line\nand another")
    monkeypatch.setattr(accept_version, "run", defective)
    err = io.StringIO()
    where: Any = node()
    assert perform(["accept-version", "--show", "mail"], where, Terminal(None, err)) == 1
    assert re.fullmatch(r"mailha: defect of mailha: ZeroDivisionError at .*: a line and another; "
                        r"report it .*\n", err.getvalue())


@given(st.lists(st.one_of(st.sampled_from(["guards", "accept-version", "on", "off", "show", "--all",
                                           "--services", "--show", "help", "mail"]), st.text()),
                max_size=5))
def test_no_command_line_ends_in_a_traceback(argv: List[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    where: Any = node()
    code = perform(argv, where, Terminal(out, err))
    assert code in (0, 1, 2) and "defect" not in err.getvalue()
    assert bool(err.getvalue()) == (code != 0) or "warning" in err.getvalue()


# The terminal

class Full(io.StringIO):
    """A stream on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Ascii(io.StringIO):
    """A terminal that knows nothing but ASCII."""

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


def test_a_full_disk_behind_stdout_is_said_and_cuts_nothing_short() -> None:
    err = io.StringIO()
    where: Any = node()
    assert perform(["guards", "show"], where, Terminal(Full(), err)) == 1
    assert err.getvalue() == ("mailha: it is done, but stdout could not be written: No space left "
                              "on device\n")


def test_a_terminal_without_unicode_is_served() -> None:
    out = Ascii()
    Terminal(out, None).say("the resource 'größe'")
    assert out.getvalue() == "the resource 'gr\\xf6\\xdfe'\n"


def test_errors_are_one_printable_line() -> None:
    err = io.StringIO()
    Terminal(None, err).error("two\nlines, \x1b[31mred, and a byte \udcff")
    assert err.getvalue() == "mailha: two lines, ?[31mred, and a byte \\xff\n"


def test_prose_is_wrapped_and_commands_are_not() -> None:
    out = io.StringIO()
    terminal = Terminal(out, None)
    terminal.say("word " * 40)
    terminal.items([("a", "word " * 40), ("long", "short")])
    assert widest(out.getvalue()) < 80
    terminal.line("x" * 100)
    assert widest(out.getvalue()) == 100
    assert "\na     word" in out.getvalue() and "\nlong  short\n" in out.getvalue()


@pytest.mark.parametrize("descriptors", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "| :", ">/dev/full"])
@pytest.mark.parametrize("arguments, code", [("guards show", 0), ("help", 0), ("", 2)])
def test_closed_standard_files_change_no_answer(descriptors: str, arguments: str,
                                                code: int) -> None:
    command = f"{sys.executable} -I -B {PROGRAM} {arguments}"
    said = subprocess.run(["bash", "-c", f"set -o pipefail; {command} {descriptors}"], timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if descriptors == ">/dev/full" and code == 0:
        assert said.returncode == 1 and "No space left" in said.stderr
        return
    assert said.returncode == code
    assert "Traceback" not in said.stderr and "Exception" not in said.stderr
    assert said.stderr.count("\n") <= 1


# Where the library is

def test_it_works_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mailha").symlink_to(PROGRAM)
    assert run(tmp_path / "mailha", "--version").stdout == f"mailha {mailha.__version__}\n"


def test_it_works_from_a_destdir_and_through_a_link_to_it(tmp_path: Path) -> None:
    root = tmp_path / "dest"
    (root / "usr/sbin").mkdir(parents=True)
    shutil.copy(PROGRAM, root / "usr/sbin/mailha")
    shutil.copytree(CHECKOUT / "lib/mailha", root / "usr/lib/ocf/lib/mailha",
                    ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "usr/lib/ocf/lib/mailha/__init__.py").read_text()
    (root / "usr/lib/ocf/lib/mailha/__init__.py").write_text(
        text.replace(f'"{mailha.__version__}"', '"47.11"'))
    (tmp_path / "link").symlink_to(root / "usr/sbin/mailha")
    for path in (root / "usr/sbin/mailha", tmp_path / "link"):
        assert run(path, "--version").stdout == "mailha 47.11\n"


def test_without_its_library_it_says_so(tmp_path: Path) -> None:
    shutil.copy(PROGRAM, tmp_path / "mailha")
    said = run(tmp_path / "mailha", "--version")
    assert said.returncode == 1 and said.stderr.count("\n") == 1
    assert "cannot load the library of mailha" in said.stderr and "install" in said.stderr
