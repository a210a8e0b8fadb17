# SPDX-License-Identifier: GPL-2.0-or-later
"""A fake node of a cluster with Kopano on it, and the administrator's tool called there."""

from __future__ import annotations

import io
from typing import Dict, List, NamedTuple, Optional

from fake_machine import FakeMachine, FakeUnit, Ran
from mailha.cli.main import perform
from mailha.cli.terminal import Terminal
from mailha.cluster.cib import QUERY
from mailha.system.child_failures import ChildFailed
from mailha.system.children import Finished

SERVICES = ("server", "spooler", "dagent", "monitor", "gateway", "ical")
VERSION = "11.0.0-0+1.1"


class Said(NamedTuple):
    """What a call of the tool came to."""

    code: int
    out: str
    err: str


def call(where: FakeMachine, *argv: str) -> Said:
    """Call the tool; what it says must be readable in a terminal."""
    out, err = io.StringIO(), io.StringIO()
    code = perform(argv, where, Terminal(out, err))  # type: ignore[arg-type]
    said = Said(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in said.err and "defect" not in said.err, said.err
    assert all(line.startswith("mailha: ") for line in said.err.splitlines()), said.err
    assert said.err == "" or said.err.endswith("\n")
    return said


def kopano(name: str, *, template: str = "", **parameters: str) -> str:
    """Return the primitive of a resource, in XML."""
    pairs = "".join(f'<nvpair id="{name}-{key}" name="{key}" value="{value}"/>'
                    for key, value in parameters.items())
    kind = f'template="{template}"' if template else 'class="ocf" provider="mailha" type="kopano"'
    return (f'<primitive id="{name}" {kind}><instance_attributes id="{name}-a">{pairs}'
            "</instance_attributes></primitive>")


FILESYSTEM = '<primitive id="fs" class="ocf" provider="heartbeat" type="Filesystem"/>'


def configuration(*resources: str) -> bytes:
    """Return a cluster's configuration with these resources."""
    return ('<configuration><nodes><node id="1" uname="alice"/><node id="2" uname="bob"/></nodes>'
            f"<resources>{''.join(resources)}</resources></configuration>").encode()


def node(*resources: str, version: Optional[str] = VERSION, units: bool = True) -> FakeMachine:
    """Return a node. resources: of its cluster, in XML; without any no cluster runs there."""
    made = FakeMachine()
    if resources:
        made.children.answer(QUERY, stdout=configuration(*resources))
    else:
        made.children.answer(QUERY, code=102, stderr=b"Could not connect: Not connected")
    if version is not None:
        made.children.answer(["dpkg-query"], function=lambda ran: Finished(
            0, f"installed {version}\n".encode(), b"") if ran.argv[-1] == "kopano-server"
            else _unknown(ran))
    made.files.directories.add("/etc/systemd/system")
    for name in SERVICES if units else ():
        made.systemd.add(f"kopano-{name}.service",
                         FakeUnit(properties={"UnitFileState": "disabled"}))
    return made


def _unknown(ran: Ran) -> Finished:
    """Answer as dpkg-query does for a package that is not there."""
    raise ChildFailed("no packages found", command=ran.argv, exit_code=1)


def activate(where: FakeMachine, resource: str) -> None:
    """Let the resource be active on the node."""
    where.files.put(f"/run/mailha/active/{resource}", b"format 1\n")


def guarded(where: FakeMachine) -> Dict[str, str]:
    """Return the first line of each guard on the node, by unit."""
    return {path.split("/")[4][:-len(".d")]: text.decode().partition("\n")[0]
            for path, text in where.files.content.items() if path.endswith("/zz-mailha.conf")}


def widest(text: str) -> int:
    """Return the length of the longest line."""
    lines: List[str] = text.splitlines()
    return max(map(len, lines), default=0)
