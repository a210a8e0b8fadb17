# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages: one for every agent and for the tool, without a warning, at 80 columns.

What they tell of errors is what the code says.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest
from twonode import image
from twonode.bare import BareSandbox

CHECKOUT = Path(__file__).resolve().parents[2]

OCF_AGENTS = sorted(path.name for path in (CHECKOUT / "agents").iterdir() if path.is_file())
FENCE_AGENTS = sorted(path.name for path in (CHECKOUT / "fence").iterdir() if path.is_file())
PAGES = [*(f"ocf_mailha_{name}.7" for name in OCF_AGENTS),
         *(f"{name}.8" for name in FENCE_AGENTS), "mailha.8"]

ERRORS = re.compile(r"^@ERROR (.*)@$", re.MULTILINE)

LIMIT = 60.0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with all pages."""
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, "-I", CHECKOUT / "man/generate", directory], check=True,
                   timeout=LIMIT)
    return directory


@pytest.fixture(scope="module")
def rendered(pages: Path) -> Iterator[Dict[str, "subprocess.CompletedProcess[str]"]]:
    """What man shows of each page on a terminal of 80 columns, and what it complains of."""
    with BareSandbox(image.ensure(os.environ.get("LAB_SUITE", "bookworm"))) as machine:
        found = {}
        for page in pages.iterdir():
            machine.path(f"/tmp/{page.name}").write_text(page.read_text())
            found[page.name] = machine.run(
                ["/bin/sh", "-c", f"man --warnings -l /tmp/{page.name} | col -bx"], timeout=LIMIT,
                environment={"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
        yield found


def test_there_is_a_page_for_every_agent_and_for_the_tool(pages: Path) -> None:
    assert sorted(page.name for page in pages.iterdir()) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gives_no_warning_and_no_line_of_prose_is_too_long(
        rendered: "Dict[str, subprocess.CompletedProcess[str]]", page: str) -> None:
    said = rendered[page]
    assert said.returncode == 0 and said.stderr == ""
    assert [line for line in said.stdout.splitlines() if len(line) > 80] == []
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{heading}\n" in said.stdout


@pytest.mark.parametrize("agent", OCF_AGENTS)
def test_a_page_names_every_parameter_that_the_agent_declares(pages: Path, agent: str) -> None:
    import importlib
    declared = importlib.import_module(f"mailha.agents.{agent.replace('-', '_')}").AGENT
    text = (pages / f"ocf_mailha_{agent}.7").read_text()
    for parameter in declared.parameters:
        assert f"\\fB{parameter.name}\\fR" in text


@pytest.mark.parametrize("agent", FENCE_AGENTS)
def test_what_has_a_default_is_not_called_required(pages: Path, agent: str) -> None:
    text = (pages / f"{agent}.8").read_text()
    assert "default reboot." in text and "Required." not in text


def test_a_comment_that_is_too_long_goes_on_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of its lines leaves a few words on a line of their own."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "man"))
    from manpages import roff
    words = "word " * 18
    assert roff.fitted(f"# {words}which\n# goes on.\n# Another sentence.\n# name  {words}\n"
                       f"#              and more.\n# other  it is.\n#     a command\n"
                       f"    params one={'1' * 40} two={'2' * 40} \\\n        three=3") == [
        f"# {'word ' * 14}".rstrip(), "# word word word word which goes on.", "# Another sentence.",
        f"# name  {'word ' * 13}".rstrip(), f"#{' ' * 14}word word word word word and more.",
        "# other  it is.", "#     a command",
        f"    params one={'1' * 40} \\", f"        two={'2' * 40} \\", "        three=3"]


EXAMPLES = [path for path in sorted(CHECKOUT.glob("examples/*/*"))
            if path.name.endswith((".crm", ".pcs.sh"))]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_example_that_is_folded_to_fit_says_the_same(example: Path) -> None:
    sys.path.insert(0, str(CHECKOUT / "man"))
    from manpages import roff
    text = example.read_text()
    lines = roff.fitted(text)
    assert [line for line in lines if len(line) > roff.WIDTH] == []
    assert joined("\n".join(lines)) == joined(text)


def joined(text: str) -> List[List[str]]:
    """Return the words of each command, and of all comments one after the other."""
    comments = [word for line in text.splitlines() if line.lstrip().startswith("#")
                for word in line.split() if word != "#"]
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [comments, *(line.split() for line in code.replace("\\\n", " ").splitlines())]


def documented() -> List[Tuple[str, str]]:
    """Return each message that a page tells a remedy for, with the file that has it."""
    found = [(path.name, message)
             for path in sorted((CHECKOUT / "man/sections/errors").glob("*.in"))
             for message in ERRORS.findall(path.read_text())]
    assert len(found) > 50
    return found


@functools.lru_cache(maxsize=None)
def strings() -> str:
    """Return every string of the library, a line each; what is put into one is a NUL."""
    found = []
    for path in (CHECKOUT / "lib/mailha").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0"
                                     for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(" ".join(each.split()) for each in found)


@pytest.mark.parametrize("file, message", documented())
def test_a_message_of_which_a_page_tells_the_remedy_is_one_of_the_code(file: str,
                                                                       message: str) -> None:
    sys.path.insert(0, str(CHECKOUT / "man"))
    from manpages import roff
    parts = [part for part in roff.PLACEHOLDER.split(message) if part.strip(" ':,")]
    assert parts, f"{message} is nothing but placeholders"
    # Within a message, too, there may stand something that most often is empty.
    pattern = r"[^\n]*".join(re.escape(part.strip()).replace(r"\ ", "\0? ") for part in parts)
    assert re.search(pattern, strings()), \
        f"man/sections/errors/{file}: the code no longer says \"{message}\": write what it says now"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "mailha.8"])
def test_every_agents_page_tells_of_errors_and_examples(pages: Path, page: str) -> None:
    text = (pages / page).read_text()
    heads = re.findall(r"^\.S[HS] (.*)$", text, re.MULTILINE)
    assert {"ERRORS", "EXAMPLES", "When not to use it"} <= set(heads)
    assert re.findall(r"^@[A-Z].*", text, re.MULTILINE) == []
