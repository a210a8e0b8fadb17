# SPDX-License-Identifier: GPL-2.0-or-later
"""Other tools on the same files: found where they are set up, and nowhere else."""

from __future__ import annotations

from typing import List

import pytest

from fake_machine import FakeMachine, Program
from mailha.sync.active import rivals

ROOTS = ("/etc", "/var/lib/bm-ca")


def found(where: FakeMachine) -> List[str]:
    """Return what is said of who else carries the files."""
    return [str(each) for each in rivals.find(where, ROOTS)]  # type: ignore[arg-type]


@pytest.mark.parametrize("path,text,tool", [
    ("/etc/lsyncd/lsyncd.conf.lua", 'sync { default.rsync, source = "/etc/postfix", }', "lsyncd"),
    ("/etc/lsyncd.conf", "sync{default.rsyncssh, source='/', host='bob'}", "lsyncd"),
    ("/etc/incron.d/mail", "# x\n/etc/aliases IN_CLOSE_WRITE /usr/local/bin/copy $@\n", "incron"),
    ("/var/spool/incron/root", "/var/lib/bm-ca IN_MODIFY rsync -a", "incron"),
    ("/etc/csync2.cfg", "group mail {\n  host alice bob;\n  include /etc/postfix;\n}", "csync2"),
    ("/etc/cron.d/copy", "* * * * * root rsync -a /etc/ bob:/etc/\n", "cron with rsync"),
    ("/var/spool/cron/crontabs/root", "*/5 * * * * unison -batch /etc/postfix", "unison")])
def test_who_carries_the_same_files_is_named(path: str, text: str, tool: str) -> None:
    node = FakeMachine()
    node.files.put(path, text.encode())
    said = found(node)
    assert len(said) == 1 and tool in said[0] and path in said[0], said


@pytest.mark.parametrize("path,text", [
    ("/etc/lsyncd.conf", 'sync { default.rsync, source = "/srv/web" }'),
    ("/etc/lsyncd.conf", '-- source = "/etc"'),
    ("/etc/incron.d/mail", "#/etc IN_MODIFY x"),
    ("/etc/incron.d/mail", "/etcetera IN_MODIFY x"),
    ("/etc/csync2.cfg", "exclude /etc/postfix;"),
    ("/etc/cron.d/copy", "* * * * * root rsync -a /home/ bob:/home/\n"),
    ("/etc/cron.d/copy", "# * * * * * root rsync -a /etc/ bob:/etc/\n"),
    ("/etc/cron.daily/backup", "tar czf /srv/etc.tar.gz /etc\n")])
def test_who_carries_something_else_is_left_alone(path: str, text: str) -> None:
    node = FakeMachine()
    node.files.put(path, text.encode())
    assert found(node) == []


def test_whether_it_runs_is_told_from_the_processes() -> None:
    node = FakeMachine()
    node.files.put("/etc/lsyncd.conf", b'source = "/etc"')
    assert "is set up" in found(node)[0]
    node.processes.run(Program("/usr/bin/lsyncd"))
    assert "runs" in found(node)[0]


def test_a_file_that_cannot_be_read_is_no_trouble() -> None:
    node = FakeMachine()
    node.files.put("/etc/lsyncd.conf", b"\xff" * 100)
    node.files.put("/etc/csync2.cfg", b"include /etc;" * 200_000)
    assert found(node) == []
