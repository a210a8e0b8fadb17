# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents/, fence/ and bin/ have in common: each is read by whatever /usr/bin/python3 is."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path for folder in ("agents", "fence", "bin")
                  for path in (CHECKOUT / folder).iterdir() if path.is_file())

LIMIT = 60.0

# Enterprise Linux 8 and SLES 15 have 3.6, for which the library is not even in the right syntax.
AS_AN_OLD_ONE = """
import sys
sys.version_info, sys.version = (3, 6, 15, "final", 0), "3.6.15 (default)"
sys.argv = [{path!r}, "meta-data"]
sys.path.insert(0, "/nowhere")      # the library would be found behind it
exec(compile(open({path!r}).read(), {path!r}, "exec"), {{"__file__": {path!r}}})
"""

every_program = pytest.mark.parametrize("program", PROGRAMS, ids=[path.name for path in PROGRAMS])


@every_program
def test_an_old_python_is_named_in_one_line(program: Path) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", AS_AN_OLD_ONE.format(path=str(program))],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={},
        timeout=LIMIT, universal_newlines=True)
    is_ocf = program.parent.name == "agents"
    assert done.returncode == (5 if is_ocf else 1)
    prefix = "ocf-exit-reason:" if is_ocf else ""
    assert done.stderr == f"{prefix}mailha needs Python 3.9 or newer, and /usr/bin/python3 is " \
        "3.6.15\n"
    assert done.stdout == ""


@every_program
def test_an_old_python_can_read_the_executable_as_far_as_to_say_so(program: Path) -> None:
    ast.parse(program.read_text(), feature_version=(3, 6))
