# SPDX-License-Identifier: GPL-2.0-or-later
"""/etc/bm/bm.ini: on which addresses BlueMind's machines find each other.

It is the same file on both nodes, and "host" and "hz-member-address" are addresses that bm-core
binds (ClusterNode.memberAddress). So they have to be the floating address, or loopback.
"""

from __future__ import annotations

from mailha import errors
from mailha.system.addresses import canonical, is_local
from mailha.system.child_failures import ChildFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.system.machine import Machine

NAME = "bm.ini"
ADDRESSES = ("host", "hz-member-address")


class Settings:
    """What the file says, less the password. values: by key, in small letters."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def addresses(self) -> list[tuple[str, str]]:
        """Return (key, value) of every address that is given."""
        return [(key, self.values[key]) for key in ADDRESSES if self.values.get(key)]


def parse(content: bytes) -> Settings:
    """Read the file: "key = value" a line; sections, comments and all else are passed over."""
    values: dict[str, str] = {}
    for line in content.decode("utf-8-sig", "replace").splitlines():
        text = line.strip()
        if not text or text[0] in "#;[":
            continue
        key, is_setting, value = text.partition("=")
        name = key.strip().lower()
        if is_setting and name and "pass" not in name:
            values[name] = value.strip().strip('"')
    return Settings(values)


def absent_address(machine: Machine, key: str, value: str, here: set[str], timeout: float) -> str:
    """Return what is wrong with an address of the file, "" if nothing or if that is not certain.

    here: the addresses of this node. A name is resolved in a child, whose silence is no finding
    but raises errors.Degraded: a doubt. timeout: seconds for that.
    """
    if canonical(value) or value == "localhost":
        return "" if is_local(value, here) else "is no address of this node"
    try:
        finished = machine.children.run(["getent", "ahosts", "--", value], timeout=timeout)
    except ChildFailed as error:
        why = "it is an unknown name" if error.exit_code == 2 else error.reason
        raise errors.Degraded(f"{key} = {value} cannot be resolved ({why})") from None
    lines = [line.split() for line in finished.stdout.decode("ascii", "replace").splitlines()]
    found = [each[0] for each in lines if each and canonical(each[0])]
    if not found:
        raise errors.Degraded(f"{key} = {value} has no address")
    if any(is_local(address, here) for address in found):
        return ""
    return f"is {', '.join(dict.fromkeys(found))}, which is no address of this node"
