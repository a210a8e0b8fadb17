# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of ssh for a fence agent: what is meant, and nothing from anybody's config.

ssh gets no configuration file, no agent, no forwarding and no shared connection: what root once put
into ~/.ssh/config for another purpose must not decide how a node is fenced. It never asks whether
an unknown host is to be trusted: an agent cannot answer that. Secrets are not part of the command.
"""

from __future__ import annotations

import math
import os
import stat

from mailha.fencing.failures import FencingFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from mailha.fencing.settings import Settings

ACCEPT_NEW = "accept-new"
"""The other value of host_key_checking than "yes", as in ssh_config(5)."""

OPTIONS = ("addressfamily", "bindaddress", "bindinterface", "ciphers", "hostkeyalgorithms",
           "ipqos", "kexalgorithms", "macs", "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes",
           "rekeylimit", "requiredrsasize", "serveralivecountmax", "serveraliveinterval",
           "tcpkeepalive")
"""What ssh_options may set, in small letters: the encryption that an old controller needs, and the
way to it. Nothing that runs a program, reads another file or weakens the check of host keys."""


def parse_options(text: str) -> list[str]:
    """Return the arguments of ssh that ssh_options stands for, each "-oName=value".

    Raises ValueError whose text says what must not be there.
    """
    import shlex
    words = shlex.split(text)
    given: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-4", "-6"):
            given.append("-oAddressFamily=" + ("inet" if word == "-4" else "inet6"))
            continue
        if word[:2] not in ("-o", "-c", "-m"):
            raise ValueError(f"{word!r} is not among the options of ssh that may be given here: "
                             "-o, -c, -m, -4, -6")
        value = word[2:] or (words.pop(0) if words else "")
        if word[:2] != "-o":
            value = ("Ciphers=" if word[:2] == "-c" else "MACs=") + value
        name, _, value = value.replace(" ", "=", 1).partition("=")
        if name.lower() == "stricthostkeychecking":
            raise ValueError("StrictHostKeyChecking is set by host_key_checking")
        if name.lower() == "userknownhostsfile":
            raise ValueError("UserKnownHostsFile is set by known_hosts_file")
        if name.lower() not in OPTIONS or not value.strip():
            raise ValueError(f"the option {name!r} of ssh may not be set here, or has no value")
        given.append(f"-o{name}={value.strip()}")
    return given


_KINDS = (b"ssh-", b"ecdsa-", b"sk-")
"""How the name of a kind of key begins."""


def command(settings: Settings, *, connect_timeout: float, with_password: bool) -> list[str]:
    """Return ssh's command line for an interactive login at the controller.

    connect_timeout: seconds in which the controller has to answer. with_password: whether there is
    one to be typed, for the login or, along with a key file, for the key.
    """
    key = settings["identity_file"]
    options = [
        # Before we give up ourselves: then ssh says that nobody took the connection.
        f"ConnectTimeout={max(1, math.floor(connect_timeout - 0.5))}",
        "ConnectionAttempts=1",
        f"StrictHostKeyChecking={settings['host_key_checking']}",
        f"UserKnownHostsFile={_as_file(settings['known_hosts_file'])}",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "VerifyHostKeyDNS=no",
        "NumberOfPasswordPrompts=1",        # a second wrong try may lock the user out
        f"BatchMode={'no' if with_password else 'yes'}",
        f"PreferredAuthentications={'publickey' if key else 'password,keyboard-interactive'}",
        f"PubkeyAuthentication={'yes' if key else 'no'}",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        f"IdentityFile={_as_file(key) if key else 'none'}",
        "GSSAPIAuthentication=no",
        "HostbasedAuthentication=no",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "Tunnel=no",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "EscapeChar=none",                  # what is typed is for the controller alone
        "LogLevel=VERBOSE",                 # says "partial success", see login.py
    ]
    given = parse_options(settings["ssh_options"] or "")
    if settings["inet4_only"] or settings["inet6_only"]:
        given.insert(0, "-oAddressFamily=" + ("inet" if settings["inet4_only"] else "inet6"))
    return [settings["ssh_path"], "-F", "none", *(f"-o{option}" for option in options), *given,
            "-p", str(settings["ipport"]), "-l", settings["username"], "--", settings["ip"]]


def environment() -> dict[str, str]:
    """Return the environment that ssh gets: no agent, no display, no language of the user's."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TERM": "dumb"}


def findings(settings: Settings) -> Iterator[str | FencingFailed]:
    """Yield what is wrong with the settings on this node: a failure, or a text as a warning."""
    program = settings["ssh_path"]
    if not (os.path.isfile(program) and os.access(program, os.X_OK)):
        yield missing_client(program)
    if settings["identity_file"]:
        yield from _findings_of_key(settings["identity_file"])
    known = settings["known_hosts_file"]
    if settings["host_key_checking"] == ACCEPT_NEW:
        if not os.path.isdir(os.path.dirname(known)):
            yield FencingFailed(f"known_hosts_file={known}: there is no directory for it on this "
                                "node",
                                remedy="make it, or name a file in another one")
    elif os.path.isfile(known):
        if not _has_a_host_key(known):
            yield (f"known_hosts_file={known} has no line with the key of a host, so that every "
                   "login will be refused")
    else:
        yield (f"known_hosts_file={known} is not there on this node: no controller's key is "
               "known, so that every login will be refused")


def missing_client(program: str) -> FencingFailed:
    """Return the failure for a machine without ssh."""
    return FencingFailed(f"there is no program {program} on this node",
                         remedy="install the package openssh-client (Debian) or openssh-clients "
                                "(RHEL, SUSE), or set ssh_path")


def _findings_of_key(path: str) -> Iterator[str | FencingFailed]:
    """Yield what keeps ssh from using a key file."""
    try:
        found = os.stat(path)
    except OSError as error:
        yield FencingFailed(f"identity_file={path}: {error.strerror} on this node",
                            remedy="copy the private key to every node")
        return
    if not stat.S_ISREG(found.st_mode):
        yield FencingFailed(f"identity_file={path} is not a regular file")
    elif found.st_uid == os.geteuid() and found.st_mode & 0o077:
        yield FencingFailed(f"identity_file={path} may be read by others (mode "
                            f"{stat.S_IMODE(found.st_mode):04o}), so that ssh does not use it",
                            remedy=f"chmod 600 {path}")
    elif _begins_like_a_public_key(path):
        yield FencingFailed(f"identity_file={path} is a public key, which stays at the controller",
                            remedy="name the file of the private key, mostly the same without .pub")


def _has_a_host_key(path: str) -> bool:
    """Say whether a file has a line of known_hosts; also if it cannot be read, or is a large one.

    A line has names, the kind of the key and the key, perhaps a marker before them (sshd(8)).
    """
    try:
        with open(path, "rb") as file:
            content = file.read(1 << 20)
    except OSError:
        return True
    for line in content.splitlines():
        words = line.split()
        if words[:1] and words[0].startswith(b"@"):
            del words[0]
        if len(words) >= 3 and words[1].startswith(_KINDS):
            return True
    return len(content) == 1 << 20


def _begins_like_a_public_key(path: str) -> bool:
    """Say whether a file is what ssh-keygen writes as NAME.pub."""
    try:
        with open(path, "rb") as file:
            return file.read(16).startswith(_KINDS)
    except OSError:
        return False


def _as_file(path: str) -> str:
    """Return a path as ssh's options take it: they split at blanks and expand per cent signs."""
    return '"' + path.replace("%", "%%") + '"'
