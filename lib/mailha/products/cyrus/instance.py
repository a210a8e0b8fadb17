# SPDX-License-Identifier: GPL-2.0-or-later
"""What keeps one Cyrus from living beside another one on a node, by its two configurations.

The traps are those of Cyrus's master (measured with 3.6):

* A command without "-C FILE" reads the /etc/imapd.conf of the node, whatever file the master was
  given: the databases of another Cyrus are "recovered", its mail is served.
* A listener on "*" or "localhost" belongs to whoever is first. The second instance lacks the
  service, and says so in its log only.
* A unix socket is removed before it is made: the second instance takes it away from the first.
* Without "ctl_cyrusdb -r" in START the databases are opened as a crash has left them.
"""

from __future__ import annotations

from mailha.products.cyrus import listeners
from mailha.products.cyrus.cyrusconf import START, Entry
from mailha.products.cyrus.syntax import ConfigurationUnusable
from mailha.profiles import cyrus as profile
from mailha.system.addresses import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Sequence

    from mailha.products.cyrus.listeners import Place


def findings(entries: Sequence[Entry], places: Sequence[Place], *, path: str, configuration: str,
             address: str) -> Iterator[ConfigurationUnusable]:
    """Return what is wrong with the entries of a cyrus.conf, the gravest first.

    places: where they listen. path: of the cyrus.conf. configuration: of the imapd.conf. address:
    the one that the instance has for itself.
    """
    yield from _configurations(entries, configuration)
    yield from _listeners(places, address)
    yield from _twice(places)
    yield from _recovery(entries, path, configuration)
    if not places:
        yield ConfigurationUnusable(f"{path} has no service, so that nobody could be served",
                                    remedy="write a section SERVICES with the services")


def recovers(entry: Entry) -> bool:
    """Tell whether an entry of START brings the databases in order after a crash."""
    names = [word.rpartition("/")[2] for word in entry.words]
    if entry.section != START or "ctl_cyrusdb" not in names:
        return False
    options = entry.words[names.index("ctl_cyrusdb") + 1:]
    return any(word.startswith("-") and "r" in word.partition("C")[0] for word in options)


def line_that_recovers(configuration: str) -> str:
    """Return the entry that START shall have."""
    option = "" if configuration == profile.CONFIGURATION else f" -C {configuration}"
    return f'recover cmd="ctl_cyrusdb{option} -r"'


def is_of_cyrus(entry: Entry) -> bool:
    """Tell whether an entry runs a program of Cyrus itself, which reads an imapd.conf.

    The master looks for a name without a directory among Cyrus's own programs.
    """
    words = entry.words
    return entry.program in profile.PROGRAMS or not words[0].startswith("/") \
        or "/cyrus" in words[0].rpartition("/")[0]


def _configurations(entries: Sequence[Entry], configuration: str
                    ) -> Iterator[ConfigurationUnusable]:
    """Find commands that read the imapd.conf of somebody else."""
    for entry in entries:
        named = entry.configuration
        if named == configuration or not is_of_cyrus(entry):
            continue
        if named:
            yield entry.wrong(f"it reads {named} (-C), but the instance is that of "
                              f"{configuration}", f"write '-C {configuration}' there")
        elif configuration != profile.CONFIGURATION:
            yield entry.wrong(
                f"'{entry.words[0]}' has no '-C {configuration}', so that it would work on the "
                f"data of {profile.CONFIGURATION}",
                "write it into each command: Cyrus does not hand down the one of its master")


def _listeners(places: Sequence[Place], address: str) -> Iterator[ConfigurationUnusable]:
    """Find listeners that are not on the instance's own address."""
    for place in places:
        if place.path or canonical(place.host) == canonical(address):
            continue
        listen = place.entry.listen
        if place.host in ("", "*", "0.0.0.0", "::"):
            what = "is on every address of the node, the other instances' among them"
        elif place.host == "localhost" or canonical(place.host).startswith("127.") \
                or canonical(place.host) == "::1":
            what = "is on the address that every instance on this node has in common"
        elif not canonical(place.host):
            what = "names a host, and which address that is may be another one tomorrow"
        else:
            what = "is not on the address of the instance"
        shown = f"[{address}]" if ":" in address else address
        yield place.entry.wrong(f"listen=\"{listen}\" {what} ({address})",
                                f'write listen="{shown}:{place.port}"')


def _twice(places: Sequence[Place]) -> Iterator[ConfigurationUnusable]:
    """Find services that want to listen where another one of the same file does."""
    seen: dict[tuple[str, int, str], Entry] = {}
    for place in places:
        first = seen.setdefault(listeners.at(place), place.entry)
        if first is not place.entry:
            yield place.entry.wrong(f"listen=\"{place.entry.listen}\" is taken by {first.name} in "
                                    f"line {first.line}, so Cyrus would leave it out",
                                    "take one of the two out")


def _recovery(entries: Sequence[Entry], path: str, configuration: str
              ) -> Iterator[ConfigurationUnusable]:
    """Find whether nothing recovers the databases."""
    if not any(recovers(entry) for entry in entries):
        yield ConfigurationUnusable(
            f"{path} has no 'ctl_cyrusdb -r' in START: after a crash, which is when a node takes "
            "over, Cyrus would open its databases as they are",
            remedy=f"write as its first line: {line_that_recovers(configuration)}")
