# SPDX-License-Identifier: GPL-2.0-or-later
"""Why ssh gave up, told from its own words.

ssh ends with 255 for everything, so the words are all there is. They are in English whatever the
locale is, and the same from OpenSSH 7 to 10 as far as they are looked for here.
"""

from __future__ import annotations

import re

from mailha.bmc import screen
from mailha.fencing.failures import (FencingFailed, LoginRefused, NameUnknown, NoCommonCipher,
                                     NotUnderstood, SessionLost, SessionsExhausted, Silent,
                                     Unreachable, WrongKey)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Place(NamedTuple):
        """Where the login was to be. where: its words for messages."""

        where: str
        address: str
        port: int
        user: str
        known_hosts: str
        key: str
else:
    from collections import namedtuple
    Place = namedtuple("Place", "where address port user known_hosts key")

SESSIONS = re.compile(r"RAC0?218\b|\b(?:maximum|max\.?|too many|no (?:more|free)|limit)\b"
                      r"[^\n]{0,200}\b(?:sessions?|connections?|logins?|users)\b|"
                      r"\bsessions?\b[^\n]{0,200}"
                      r"\b(?:limit|exceeded|exhausted|in use|not available)\b", re.IGNORECASE)
"""How controllers say that no session is left. RAC0218 is what an iDRAC's other interfaces say."""

_STATISTICS = re.compile(r"Transferred: |Bytes per second: |Authenticated ")


def why_no_login(text: str, place: Place, secret: str = "") -> FencingFailed:
    """Return the failure for an ssh that ended before there was a shell.

    text: all that it and the controller said. place: where to. secret: what must not be quoted.
    """
    for found in (_of_name, _of_host_key, _of_network, _of_encryption, _of_login):
        failure = found(text, place, secret)
        if failure is not None:
            return failure
    said = last_words(text)
    return NotUnderstood(f"ssh to {place.where} ended without a login"
                         + (f": {screen.quoted(said, secret)}" if said else " and said nothing"),
                         remedy="try the same with ssh by hand on this node")


def why_no_shell(text: str, place: Place, secret: str = "") -> FencingFailed:
    """Return the failure for an ssh that ended after the login, before a prompt or in a command."""
    if SESSIONS.search(text):
        return _sessions(place, _line_with(SESSIONS, text), secret)
    if re.search(r"(?:shell|PTY allocation) request failed", text):
        return NotUnderstood(f"{place.where} lets {place.user} in and gives no shell",
                             transient=False,
                             remedy="allow the user to use the command line of the controller")
    said = last_words(text)
    return SessionLost(f"{place.where} ended the session"
                       + (f" and said {screen.quoted(said, secret)}" if said else ""),
                       remedy="see the controller's own log if this happens again")


def _of_name(text: str, place: Place, secret: str) -> FencingFailed | None:
    found = re.search(r"Could not resolve hostname [^\n]*: ([^\n:]*)", text)
    if not found:
        return None
    return NameUnknown(f"the name {place.address} cannot be resolved: {found[1]}",
                       remedy="use the controller's address, so that fencing needs no name service")


def _of_host_key(text: str, place: Place, secret: str) -> FencingFailed | None:
    keyscan = f"ssh-keyscan -p {place.port} {place.address}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        return WrongKey(f"{place.where} has another host key than the one in {place.known_hosts}: "
                        "it is not the controller that it was, or has got a new key",
                        remedy="find out which; if the controller was replaced or reset, remove "
                               f"its old line from {place.known_hosts} on every node and add the "
                               f"one that `{keyscan}` prints, compared with the controller's own")
    if re.search(r"No .*host key is known for|Host key verification failed", text):
        return WrongKey(f"the host key of {place.where} is not in {place.known_hosts}, so that "
                        "nobody knows who is there",
                        remedy=f"add the line that `{keyscan}` prints, compared with the "
                               "controller's own, on every node; or set "
                               "host_key_checking=accept-new to trust it once")
    return None


def _of_network(text: str, place: Place, secret: str) -> FencingFailed | None:
    found = re.search(r"connect to (?:host|address) [^\n]* port \d+: ([^\n]*)", text)
    if found:
        refused = "refused" in found[1]
        # Pacemaker takes "timed out" for a spent deadline of the action, which this is not.
        why = "no answer" if "timed out" in found[1] else found[1].strip()
        return Unreachable(f"{place.where} cannot be reached: {why}",
                           remedy="enable SSH in the controller's services" if refused else
                           "check the controller's power, cable and address")
    if re.search(r"timed out (?:during|waiting)|Connection (?:to [^\n]* )?timed out", text):
        return Silent(f"{place.where} takes the connection and answers nothing",
                      remedy="restart the controller, if it goes on")
    if re.search(r"(?:invalid format|invalid characters|Bad packet length|[Pp]rotocol mismatch|"
                 r"Protocol major versions|does not contain an SSH|Corrupted MAC|"
                 r"no SSH identification|message authentication code|banner line)", text):
        said = screen.quoted(last_words(text), secret)
        return NotUnderstood(f"{place.where} does not speak SSH: {said}",
                             remedy="check that ipport is the controller's port for SSH")
    return None


def _of_encryption(text: str, place: Place, secret: str) -> FencingFailed | None:
    found = re.search(r"[Nn]o matching ([\w ]+?)(?: method| type)? found\.?"
                      r"(?: Their offer: (\S+))?", text)
    if found:
        name = {"key exchange": "KexAlgorithms", "host key": "HostKeyAlgorithms",
                "cipher": "Ciphers", "MAC": "MACs"}.get(found[1], "KexAlgorithms")
        offer = (found[2] or "").split(",")[0]
        return NoCommonCipher(f"{place.where} has no {found[1]} that ssh on this node takes"
                              + (f"; it offers {found[2][:100]}" if found[2] else ""),
                              remedy="update the controller, or allow it by ssh_options="
                                     f"'-o {name}=+{offer or 'NAME'}'")
    if "Invalid key length" in text:
        return NoCommonCipher(f"the host key of {place.where} is too short for ssh on this node",
                              remedy="make the controller a longer one, or allow it by ssh_options="
                                     "'-o RequiredRSASize=1024'")
    return None


def _of_login(text: str, place: Place, secret: str) -> FencingFailed | None:
    if SESSIONS.search(text):
        return _sessions(place, _line_with(SESSIONS, text), secret)
    if "UNPROTECTED PRIVATE KEY FILE" in text:
        return LoginRefused(f"ssh does not use the key {place.key}: others may read it",
                            remedy=f"chmod 600 {place.key}")
    found = re.search(r'Load key "?[^\n]*?"?: ([^\n]*)', text)
    if found:
        return LoginRefused(f"the key {place.key} cannot be used: {found[1].strip()}",
                            remedy="check the file, and the password if the key has one")
    if re.search(r"no such identity|not accessible", text):
        return LoginRefused(f"the key {place.key} cannot be read", remedy="check identity_file")
    if re.search(r"Permission denied|Too many authentication failures|Access denied|Login failed",
                 text):
        return login_refused(place)
    if re.search(r"Connection (?:closed|reset) by|[Cc]onnection closed by remote host|"
                 r"Disconnected from|Received disconnect|Broken pipe|Connection reset by peer",
                 text):
        return SessionLost(f"{place.where} closed the connection before the login",
                           remedy="all of its sessions may be in use, or it restarts: close other "
                                  "sessions (racadm getssninfo, closessn)")
    return None


def login_refused(place: Place) -> LoginRefused:
    """Return the failure for a user, password or key that the controller does not take."""
    if place.key:
        return LoginRefused(f"{place.where} does not let {place.user} in with the key {place.key}",
                            remedy="upload the public half for this user (racadm sshpkauth), and "
                                   "set password if the key has one")
    return LoginRefused(f"{place.where} does not let {place.user} in: wrong user name or password",
                        remedy="check username and password, and that the user may log in to the "
                               "controller and is not locked")


def _sessions(place: Place, said: str, secret: str) -> SessionsExhausted:
    return SessionsExhausted(f"{place.where} has no session left: {screen.quoted(said, secret)}",
                             remedy="close other sessions (racadm getssninfo, closessn)")


def _line_with(pattern: re.Pattern[str], text: str) -> str:
    """Return the first line in which the pattern is found."""
    return next((line for line in text.splitlines() if pattern.search(line)), "")


def last_words(text: str) -> str:
    """Return the last line that says something; ssh's own statistics say nothing."""
    return next((line for line in reversed(text.splitlines())
                 if line.strip() and not _STATISTICS.match(line)), "")
