# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Kopano is installed."""

from __future__ import annotations

from typing import Any

import pytest

from fake_machine import FakeMachine
from mailha import errors
from mailha.products.kopano import installed


def machine_with(program: bytes | None = None, dpkg: bytes = b"", rpm: bytes = b"") -> Any:
    """Return a machine. program: what kopano-server -V prints, None for no such program."""
    machine = FakeMachine()
    if program is not None:
        machine.files.put("/usr/sbin/kopano-server", b"")
        machine.children.answer(["/usr/sbin/kopano-server", "-V"], stdout=program)
    if dpkg:
        machine.children.answer(["dpkg-query"], stdout=dpkg)
    if rpm:
        machine.children.answer(["rpm"], stdout=rpm)
    return machine


@pytest.mark.parametrize("more, version", [
    ({"dpkg": b"installed 8.7.25.0-0+123.1\n"}, "8.7.25.0-0+123.1"),
    ({"rpm": b"installed 8.7.3-1.1\n"}, "8.7.3-1.1"),
    ({"program": b"kopano-server 8.7.25\n"}, "8.7.25"),
    ({"program": b"Product version:\t8,7,25,0\nFile version:\t8,7,25,0\n"}, "8.7.25.0"),
    ({"program": b"Product version: 11.0.2.51\n"}, "11.0.2.51")])
def test_where_the_version_is_told(more: Any, version: str) -> None:
    assert str(installed.installed_version(machine_with(**more), 10)) == version


def test_the_package_database_is_believed_first_and_the_program_not_run() -> None:
    machine = machine_with(b"kopano-server 8.6.0", dpkg=b"installed 8.7.25.0-0+1.1\n")
    assert str(installed.installed_version(machine, 10)) == "8.7.25.0-0+1.1"
    assert [ran.argv[0] for ran in machine.children.ran] == ["dpkg-query"]


@pytest.mark.parametrize("state", [b"config-files 8.6.0-1", b"installed", b"not-installed ",
                                   b"\xff\xfe"])
def test_a_package_that_is_not_here_says_nothing(state: bytes) -> None:
    machine = machine_with(b"kopano-server 8.7.25\n", dpkg=state)
    assert str(installed.installed_version(machine, 10)) == "8.7.25"
    with pytest.raises(errors.NotInstalled):
        installed.installed_version(machine_with(dpkg=state), 10)


@pytest.mark.parametrize("state", [b"unpacked", b"half-configured", b"triggers-awaited"])
def test_files_that_are_in_place_count(state: bytes) -> None:
    machine = machine_with(b"kopano-server 8.7.25\n", dpkg=state + b" 8.7.25.0-0+1.1\n")
    assert str(installed.installed_version(machine, 10)) == "8.7.25.0-0+1.1"


def test_a_half_installed_package() -> None:
    machine = machine_with(b"kopano-server 8.7.25\n", dpkg=b"half-installed 8.7.25.0-0+1.1\n")
    with pytest.raises(errors.NotInstalled, match="8.7.25.0-0.1.1 is half installed"):
        installed.installed_version(machine, 10)


def test_a_package_database_that_hangs_or_fails_leaves_the_question_to_the_program() -> None:
    machine = machine_with(b"kopano-server 8.7.25\n")
    machine.children.answer(["dpkg-query"], takes=1000)
    assert str(installed.installed_version(machine, 9)) == "8.7.25"
    machine.children.answer(["dpkg-query"], code=2, stderr=b"parsing file: duplicate value\n")
    assert str(installed.installed_version(machine, 9)) == "8.7.25"


def test_kopano_is_not_installed() -> None:
    with pytest.raises(errors.NotInstalled) as caught:
        installed.installed_version(machine_with(), 10)
    assert caught.value.remedy


def test_a_program_that_says_something_else() -> None:
    for printed in (b"", b"Segmentation fault\x1b[0m\n", b"\xff", b"kopano-server unknown"):
        with pytest.raises(errors.Failed, match="does not tell its version") as caught:
            installed.installed_version(machine_with(printed), 10)
        assert str(caught.value).isprintable()


def test_nothing_that_hangs_takes_more_than_the_time_there_is() -> None:
    machine = machine_with(b"")
    for command in (["dpkg-query"], ["rpm"], ["/usr/sbin/kopano-server", "-V"]):
        machine.children.answer(command, takes=1000)
    with pytest.raises(errors.Failed, match="did not end within"):
        installed.installed_version(machine, 9)
    assert machine.clock.slept <= 9.5


def test_which_services_are_not_here() -> None:
    machine = machine_with(b"")
    machine.files.put("/usr/libexec/kopano/kopano-statsd", b"")
    assert installed.absent(machine, ["server", "statsd", "ical"]) == ("ical",)
    assert installed.program("ical") == "/usr/sbin/kopano-ical"
