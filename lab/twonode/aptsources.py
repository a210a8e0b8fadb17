# SPDX-License-Identifier: GPL-2.0-or-later
"""The package sources of the root image, derived from those of the host.

A laboratory that brings its own mirror works only where that mirror does. The host already
installs packages, through whatever mirror, proxy or snapshot its administrator chose, so the image
is built from the same places, with the name of the release replaced where another one is wanted.

Both of apt's formats are read: one-line ``sources.list`` and deb822 ``*.sources``
(sources.list(5)). What comes out is always deb822, which can carry an embedded key.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Dict, List, Sequence

Stanza = Dict[str, str]

POCKETS = ("", "-security", "-updates", "/updates")
"""What Debian appends to the name of a release; backports are left out on purpose, because an
image that takes packages from there is not the release that it is named after."""

RELEASE_ALIASES = ("stable", "oldstable", "oldoldstable", "testing")


class NoSources(Exception):
    """The host's apt configuration names no Debian archive that the image could be built from."""


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the name of the release that the host runs, "bookworm" for instance.

    Raises NoSources when the file does not say, as on Debian unstable.
    """
    for line in os_release.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME" and value.strip('"'):
            return value.strip('"')
    raise NoSources(f"{os_release} has no VERSION_CODENAME; the lab needs a released Debian")


def parse_deb822(text: str) -> List[Stanza]:
    """Return the stanzas of a ``*.sources`` file, field names as they are spelled there.

    A line that begins with white space continues the field above it; comments are dropped.
    """
    stanzas: List[Stanza] = []
    stanza: Stanza = {}
    field = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                stanzas.append(stanza)
            stanza, field = {}, ""
        elif line[0] in " \t" and field:
            stanza[field] += "\n" + line
        else:
            field, _, value = line.partition(":")
            stanza[field] = value.strip()
    return stanzas + [stanza] if stanza else stanzas


def parse_one_line(text: str) -> List[Stanza]:
    """Return the ``deb`` lines of a ``sources.list`` as stanzas; ``deb-src`` is of no use here."""
    names = {"signed-by": "Signed-By", "arch": "Architectures", "trusted": "Trusted",
             "check-valid-until": "Check-Valid-Until", "by-hash": "By-Hash"}
    stanzas: List[Stanza] = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        stanza = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": components.strip()}
        for option in (options or "").split():
            key, _, value = option.partition("=")
            if key.lower() in names:
                stanza[names[key.lower()]] = value.replace(",", " ")
        stanzas.append(stanza)
    return stanzas


def read_host(directory: Path = Path("/etc/apt")) -> List[Stanza]:
    """Return every source that the host's apt would use, in the order in which apt reads them."""
    stanzas: List[Stanza] = []
    main = directory / "sources.list"
    if main.is_file():
        stanzas += parse_one_line(main.read_text())
    for path in sorted((directory / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            stanzas += parse_one_line(path.read_text())
        elif path.suffix == ".sources":
            stanzas += parse_deb822(path.read_text())
    return stanzas


def derive(stanzas: List[Stanza], *, host: str, suite: str,
           pockets: Sequence[str] = POCKETS) -> List[Stanza]:
    """Return those of the stanzas that are a Debian archive, with release `host` made `suite`.

    pockets: which parts of the release to take, of POCKETS.

    An archive counts as Debian's when it offers the host's own release with the component
    ``main``: this leaves out third parties, whose suites have names of their own.
    Raises NoSources when nothing is left.
    """
    derived: List[Stanza] = []
    for stanza in stanzas:
        if "deb" not in stanza.get("Types", "deb").split() or stanza.get("Enabled") == "no":
            continue
        if "main" not in stanza.get("Components", "").split():
            continue
        suites = [suite + pocket for name in stanza.get("Suites", "").split()
                  for release in (host,) + RELEASE_ALIASES for pocket in pockets
                  if name == release + pocket]
        if suites:
            derived.append({**stanza, "Types": "deb", "Components": "main",
                            "Suites": " ".join(suites)})
    if not derived:
        raise NoSources(f"no source in /etc/apt offers {host} main; add the Debian archive there")
    return derived


def render(stanzas: List[Stanza]) -> str:
    """Return the stanzas as the text of a ``*.sources`` file."""
    return "\n".join("".join(f"{field}: {value}\n" for field, value in stanza.items())
                     for stanza in stanzas)


def host_options() -> str:
    """Return the host's settings for fetching packages, as the text of an apt.conf file.

    These are proxies, certificates, retries and the like (all of ``Acquire::``), and the places of
    the credentials. Settings of other sections stay on the host: its hooks have no place elsewhere.
    """
    dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, timeout=30,
                          stdout=subprocess.PIPE, universal_newlines=True).stdout
    kept = [line for line in dump.splitlines()
            if not line.startswith("Acquire::IndexTargets") and not line.endswith(' "";')]
    kept += ['Dir::Etc::netrc "/etc/apt/auth.conf";',
             'Dir::Etc::netrcparts "/etc/apt/auth.conf.d/";',
             'Acquire::Languages "none";',
             'APT::Install-Recommends "false";',
             'APT::Install-Suggests "false";']
    return "\n".join(kept) + "\n"
