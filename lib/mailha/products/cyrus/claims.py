# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a node's file tree one instance of Cyrus writes to, so that no other one may.

A socket in the directory of another instance is taken away from it, two sets of locks for the same
mailbox protect nothing, and a `proc` in common shows the sessions of both. Temporary files are left
out: their names are never the same.
"""

from __future__ import annotations

from mailha.products.cyrus.syntax import ConfigurationUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Sequence

    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.listeners import Place

_TEMPORARY = "temp_path"
# Options of imapd.conf that name a unix socket; left out, it is in configdirectory.
_SOCKETS = ("lmtpsocket", "idlesocket", "notifysocket", "ptloader_sock", "nntpsocket")


class Claim:
    """One path that an instance has for itself. place: file, line and name of what names it."""

    __slots__ = ("path", "place")

    def __init__(self, path: str, place: str) -> None:
        self.path = path
        self.place = place

    def __repr__(self) -> str:
        return f"<Claim {self.path}>"


def of(configuration: Imapd, places: Iterable[Place]) -> list[Claim]:
    """Return every path that an instance has for itself, as its two configurations tell.

    places: where the services of its cyrus.conf listen.
    """
    lines = {option.key: option.place for option in configuration.options}
    found = [Claim(use.path, f"{lines.get(use.key, configuration.path)}: {use.key}")
             for use in configuration.uses
             if use.key != _TEMPORARY and not use.key.endswith("_" + _TEMPORARY)]
    for option in configuration.options:
        if option.key.endswith(_SOCKETS) and option.value.startswith("/"):
            found.append(Claim(option.value, f"{option.place}: {option.key}"))
    found += [Claim(place.path, f"{place.entry.place}: {place.entry.name}")
              for place in places if place.path]
    return found


def shared(own: Sequence[Claim], others: Sequence[Claim], resource: str
           ) -> ConfigurationUnusable | None:
    """Return the first path of ours that is, holds or lies in one of another instance; else None.

    resource: the name of the other one, for the message.
    """
    for mine in own:
        for its in others:
            if _meet(mine.path, its.path):
                what = f"'{mine.path}'" if mine.path == its.path \
                    else f"'{mine.path}', and '{its.path}'"
                return ConfigurationUnusable(
                    f"{mine.place}: {what} belongs to the instance of '{resource}' "
                    f"({its.place})", remedy="give each instance its own")
    return None


def outside(own: Sequence[Claim], root: str) -> list[Claim]:
    """Return the paths that do not lie in the directory of the instance."""
    return [claim for claim in own if not (claim.path + "/").startswith(root.rstrip("/") + "/")]


def _meet(one: str, other: str) -> bool:
    """Tell whether two paths are the same, or one lies in the other."""
    return (one + "/").startswith(other.rstrip("/") + "/") \
        or (other + "/").startswith(one.rstrip("/") + "/")
