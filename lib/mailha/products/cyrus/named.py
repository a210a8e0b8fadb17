# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that the configurations of an instance name and that have to be there: programs, the
certificate and key of TLS, the users' passwords.

Cyrus starts without any of them. Its master leaves out a service whose program it does not find,
and says so in its log only; a program that cannot read its key ends with the first connection;
without the passwords nobody gets in.
"""

from __future__ import annotations

import os
import stat

from mailha.products.cyrus.cyrusconf import EVENTS
from mailha.products.cyrus.listeners import TLS
from mailha.products.cyrus.syntax import ConfigurationUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mailha.products.cyrus.cyrusconf import Entry
    from mailha.products.cyrus.imapd import Imapd
    from mailha.products.cyrus.listeners import Place
    from mailha.products.cyrus.syntax import Option
    from mailha.system.machine import Machine

    Finding = tuple[ConfigurationUnusable, bool]

# Options of imapd.conf(5) from 2.4 to 3.10; each may have the name of a service before it.
_CERTIFICATES = ("tls_server_cert", "tls_cert_file")
_KEYS = ("tls_server_key", "tls_key_file")
_AUTHORITIES = ("tls_client_ca_file", "tls_client_ca_dir", "tls_ca_file", "tls_ca_path",
                "tls_server_ca_file", "tls_server_ca_dir", "tls_server_dhparam")
_PASSWORDS = "sasl_sasldb_path"
OFF = "disabled"
"""What stands in place of a certificate where there is to be none."""

ACL = "system.posix_acl_access"
"""Where there is one, the bits of the mode do not tell who may read."""

MISSING, HIDDEN = "missing", "hidden"


def programs(machine: Machine, entries: Sequence[Entry], homes: Sequence[str], timeout: float
             ) -> Iterator[Finding]:
    """Yield entries of a cyrus.conf whose program is not there, and whether that is grave.

    homes: where the master looks for a name without a directory. timeout: seconds for the disk.
    An event that cannot be run keeps nobody from his mail. Raises ChildFailed.
    """
    wanted = {entry.words[0] for entry in entries}

    def look() -> bytes:
        missing = []
        for name in sorted(wanted):
            paths = [name] if name.startswith("/") else [f"{home}/{name}" for home in homes]
            if not any(map(machine.files.exists, paths)):
                missing.append(os.fsencode(name))
        return b"\0".join(missing)

    missing = set(os.fsdecode(machine.children.bounded(look, timeout=timeout)).split("\0")) - {""}
    for entry in entries:
        name = entry.words[0]
        if name in missing:
            place = "" if name.startswith("/") else f" in {' or '.join(homes[:3])}"
            yield entry.wrong(f"its program '{name}' does not exist{place}, and Cyrus goes on "
                              "without it", "install it, or correct or remove the line"), \
                entry.section != EVENTS


def files(machine: Machine, imapd: Imapd, places: Sequence[Place], user: str, timeout: float
          ) -> Iterator[Finding]:
    """Yield files that an imapd.conf names and that Cyrus cannot read, and whether that is grave.

    places: where the services listen: with one that speaks TLS from the first byte, its certificate
    and key are all that counts. user: who has to read them. Raises ChildFailed.
    """
    secure = [place.entry for place in places if place.speaks == TLS]
    certificates = [option for option in imapd.options if _is(option, _CERTIFICATES)]
    keys = [option for option in imapd.options if _is(option, _KEYS)]
    for entry in secure[:1]:
        if all(option.value == OFF for option in certificates):
            yield entry.wrong(f"it speaks TLS (-s), and {imapd.path} names no certificate",
                              "name one with tls_server_cert, and its key"), True
    grave = [*(certificates + keys if secure else ()),
             *(option for option in imapd.options if _is(option, (_PASSWORDS,)))]
    others = [option for option in imapd.options
              if option not in grave and _is(option, (*_CERTIFICATES, *_KEYS, *_AUTHORITIES))]
    named = [option for option in grave + others if option.value.startswith("/")]
    if not named:
        return
    found = _look(machine, [option.value for option in named], user, timeout)
    for option in named:
        complaint = found.get(option.value, "")
        if complaint == MISSING:
            yield option.wrong(f"'{option.value}' does not exist",
                               "bring it to this node, or correct the line"), option in grave
        elif complaint:
            yield option.wrong(f"the user '{user}' may not read '{option.value}'",
                               f"see 'namei -l {option.value}'"), option in grave


def _is(option: Option, names: Iterable[str]) -> bool:
    """Tell whether an option is one of the names, or such a one for one service."""
    return any(option.key == name or option.key.endswith("_" + name) for name in names)


def _look(machine: Machine, paths: Sequence[str], user: str, timeout: float) -> dict[str, str]:
    """Return MISSING or HIDDEN for paths that a user cannot read. Raises ChildFailed."""
    def look() -> bytes:
        may = _reader(user)
        lines = []
        for path in paths:
            try:
                complaint = "" if _is_readable(machine.root + path, may) else HIDDEN
            except OSError:
                complaint = MISSING
            lines.append(os.fsencode(f"{complaint} {path}"))
        return b"\0".join(lines)

    answers = os.fsdecode(machine.children.bounded(look, timeout=timeout)).split("\0")
    return {path: complaint for complaint, _, path in (each.partition(" ") for each in answers)}


def _reader(user: str) -> Callable[[os.stat_result, int], bool]:
    """Return what tells whether a user has a permission: 4 to read, 1 to pass a directory."""
    import grp
    import pwd
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return lambda found, bit: True      # that there is no such user is found elsewhere
    groups = {entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if user in group.gr_mem)}

    def may(found: os.stat_result, bit: int) -> bool:
        if entry.pw_uid in (0, found.st_uid):
            shift = 6
        else:
            shift = 3 if found.st_gid in groups else 0
        return entry.pw_uid == 0 or bool(found.st_mode >> shift & bit)

    return may


def _is_readable(path: str, may: Callable[[os.stat_result, int], bool]) -> bool:
    """Tell whether a file can be read by whoever is asked about. Raises OSError."""
    real = os.path.realpath(path)
    above = real
    while above != "/":
        found = os.stat(above)
        bit = 4 if above == real and not stat.S_ISDIR(found.st_mode) else 1
        if not may(found, bit) and not _has_acl(above):
            return False
        above = os.path.dirname(above)
    return True


def _has_acl(path: str) -> bool:
    try:
        return ACL in os.listxattr(path)
    except OSError:
        return False
