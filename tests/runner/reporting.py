# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells the runner about every test, from inside of pytest; a plugin of pytest.

Each message is one line of JSON on the descriptor that the environment names. The beginning of a
test is told as well, so that the runner can name the one in which pytest died.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict

import pytest

DESCRIPTOR = "MAILHA_REPORT_TO"

_stages: Dict[str, Dict[str, Any]] = {}


def _tell(message: Dict[str, Any]) -> None:
    os.write(int(os.environ[DESCRIPTOR]), json.dumps(message).encode() + b"\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell that a test begins."""
    _stages[nodeid] = {"test": nodeid, "result": "passed", "seconds": 0.0, "text": ""}
    _tell({"begins": nodeid})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what came of setting up, running and tearing down a test."""
    stage = _stages[report.nodeid]
    stage["seconds"] += report.duration
    if report.failed:
        stage["result"] = "failed"
        stage["text"] += f"{report.when}:\n{report.longreprtext}\n"
        stage["why"] = stage.get("why") or _in_one_line(report)
    elif report.skipped and stage["result"] == "passed":
        stage["result"] = "skipped"
        # (path, line, reason), or for an expected failure what was found.
        stage["why"] = (report.longrepr[2] if isinstance(report.longrepr, tuple)
                        else "expected to fail, and it did")


def _in_one_line(report: pytest.TestReport) -> str:
    """Return the message of the exception that a test failed with."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).splitlines()[0] if crash and crash.message else ""


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Tell what came of a test."""
    _tell(_stages.pop(nodeid))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell of what cannot be collected: a file with an error in it, or one that skips itself."""
    if report.failed:
        _tell({"test": report.nodeid, "result": "failed", "seconds": 0.0,
               "text": report.longreprtext, "why": "it cannot be collected"})
    elif report.skipped:
        _tell({"test": report.nodeid, "result": "skipped", "seconds": 0.0,
               "text": str(report.longrepr), "why": "the whole file skips itself"})
