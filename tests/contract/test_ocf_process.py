# SPDX-License-Identifier: GPL-2.0-or-later
"""The executables under agents/ as processes: found from anywhere, and never a traceback."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional
from xml.etree import ElementTree

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
AGENTS = sorted(path for path in (CHECKOUT / "agents").iterdir() if path.is_file())
GUARD = CHECKOUT / "agents/fencing-guard"

every_agent = pytest.mark.parametrize("agent", AGENTS, ids=[path.name for path in AGENTS])

LIMIT = 60.0


def run(command: List[Any], environment: Optional[Dict[Any, Any]] = None,
        **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command with an environment of its own."""
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
            **more}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, env=environment or {}, timeout=LIMIT, **more)
    return done


def shell(script: str, *arguments: Any, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Let a shell do what only a shell does with descriptors and limits."""
    return run(["/bin/sh", "-c", script, "sh", *arguments], environment)


@every_agent
def test_an_executable_is_thin_and_runs_the_systems_python_isolated(agent: Path) -> None:
    lines = agent.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/python3 -IS"
    assert len(lines) < 36
    assert stat.S_IMODE(agent.stat().st_mode) == 0o755


@every_agent
def test_the_meta_data_bear_the_name_of_the_file_and_need_no_environment(agent: Path) -> None:
    done = run([agent, "meta-data"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert ElementTree.fromstring(done.stdout).get("name") == agent.name


@every_agent
def test_the_meta_data_are_the_same_whatever_the_environment_says(agent: Path) -> None:
    noise = {"LC_ALL": "de_DE.ISO-8859-1", "OCF_RESKEY_CRM_meta_on_node": "alice", "TZ": "UTC",
             "HA_debug": "1", "OCF_TESTER_FAIL_HAVE_BINARY": "1", "PYTHONUTF8": "0",
             "OCF_RESKEY_services": "-\n"}
    assert run([agent, "meta-data"], noise).stdout == run([agent, "meta-data"]).stdout


@pytest.mark.parametrize("place", ["", "usr", "destdir/usr"])
def test_an_agent_finds_the_library_wherever_it_is_installed(tmp_path: Path, place: str) -> None:
    root = tmp_path / place / "lib/ocf"
    (root / "resource.d/mailha").mkdir(parents=True)
    shutil.copy(GUARD, root / "resource.d/mailha")
    shutil.copytree(CHECKOUT / "lib/mailha", root / "lib/mailha")
    link = tmp_path / "link"
    link.symlink_to(root / "resource.d/mailha/fencing-guard")
    for agent in (root / "resource.d/mailha/fencing-guard", link):
        done = run([agent, "meta-data"], cwd="/")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == run([GUARD, "meta-data"]).stdout


def test_an_agent_without_its_library_says_so_without_a_traceback(tmp_path: Path) -> None:
    agent = tmp_path / "fencing-guard"
    shutil.copy(GUARD, agent)
    done = run([agent, "monitor"])
    assert done.returncode == 5
    assert done.stderr.startswith(b"ocf-exit-reason:cannot load the library of mailha from ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("script", ['"$1" nonsense >&-', '"$1" nonsense 2>&-', '"$1" nonsense <&-',
                                    '"$1" nonsense <&- >&- 2>&-'])
def test_closed_descriptors_change_nothing_about_the_answer(script: str) -> None:
    done = shell(script, GUARD)
    assert done.returncode == 3 and done.stdout == b""
    assert done.stderr == b"" if "2>&-" in script else done.stderr.count(b"\n") == 1


def test_nobody_reading_stderr_any_more_changes_nothing_about_the_answer() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run([GUARD, "nonsense"], stderr=writer)
    finally:
        os.close(writer)
    assert done.returncode == 3


def test_meta_data_that_cannot_be_written_are_a_failure_with_a_reason() -> None:
    done = shell('"$1" meta-data >/dev/full', GUARD)
    assert done.returncode == 1
    assert done.stderr == b"ocf-exit-reason:cannot write to stdout: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run([GUARD, "meta-data"], stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b"ocf-exit-reason:cannot write to stdout: Broken pipe\n"


@every_agent
@pytest.mark.parametrize("locale, value", [
    ("C", b"a b"), ("C", b"'x'"), ("C", b"-rf"), ("C", b"a\nb"), ("C", b"\x1b[2J"),
    ("C", b"x" * 100_000), ("C", b"/\xc3\xa4 \xe2\x80\xa8"), ("C", b"\xff\xfe"),
    ("C.UTF-8", b"\xff\xfe"), ("", b"\xff\xfe")])
def test_no_value_of_any_parameter_makes_a_traceback(agent: Path, locale: str,
                                                     value: bytes) -> None:
    root = ElementTree.fromstring(run([agent, "meta-data"]).stdout)
    environment: Dict[Any, Any] = {b"LC_ALL": locale.encode()}
    for parameter in root.iter("parameter"):
        environment[b"OCF_RESKEY_" + str(parameter.get("name")).encode()] = value
    done = run([agent, "validate-all"], environment)
    said = done.stderr.decode("utf-8")
    assert done.returncode == 6 and done.stdout == b""
    assert said.splitlines()[-1].startswith("ocf-exit-reason:parameter ")
    assert said.count("ocf-exit-reason:") == 1 and "Traceback" not in said


def test_a_monitor_loads_nothing_that_is_expensive() -> None:
    """Milliseconds of CPU every few seconds for years; see the head of the package."""
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from mailha.agents.fencing_guard import AGENT
from mailha.ocf.run import perform
os.geteuid = lambda: 0
perform(AGENT, ["x", "monitor"], {"OCF_RESOURCE_INSTANCE": "test",
                                  "OCF_RESKEY_CRM_meta_interval": "1"})
print(*sys.modules)
"""
    done = run(["/usr/bin/python3", "-IS", "-c", script, CHECKOUT / "lib"])
    loaded = set(done.stdout.decode().split())
    assert "mailha.cluster.mark" in loaded
    assert loaded.isdisjoint({"typing", "re", "enum", "dataclasses", "functools", "contextlib",
                              "signal", "socket", "subprocess", "logging", "json", "pathlib",
                              "shutil", "tempfile", "argparse", "collections", "xml", "traceback",
                              "mailha.ocf.metadata", "mailha.ocf.validate", "mailha.cluster.cib",
                              "mailha.cluster.stonith", "mailha.system.children"})


def test_python_in_the_path_is_of_no_consequence(tmp_path: Path) -> None:
    """Isolated: neither PYTHONPATH nor the current directory can put another library in place."""
    (tmp_path / "mailha").mkdir()
    (tmp_path / "mailha/__init__.py").write_text("raise SystemExit('wrong library')\n")
    done = run([GUARD, "meta-data"], {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere",
                                      "PATH": "/nowhere"}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
