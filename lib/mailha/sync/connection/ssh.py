# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to a peer: ssh with a key of its own, and what ssh means by its last words.

ssh gets no configuration file, no agent and no shared connection: what root once put into
~/.ssh/config for another purpose must not decide where configuration goes. It never asks, and it
knows a peer by its name in the cluster, so that a new address is no new host, and a replaced node
is one until somebody pairs it again.
"""

from __future__ import annotations

import re

from mailha import errors
from mailha.sync.connection.peers import KEY, KNOWN_HOSTS, SSH_PORT, Peer

PROGRAM = "/usr/bin/ssh"
USER = "root"

CONNECT_TIMEOUT = 10
ALIVE_INTERVAL, ALIVE_COUNT = 5, 3
"""Seconds until a connection that does not come about is given up; and of silence, together 15,
after which one that was there is."""

REQUEST = "mailha sync receive"
"""What ssh asks for. The peer's authorized_keys decides what it gets, whatever is asked for."""

_LONGEST_QUOTE = 200


def command(peer: Peer) -> list[str]:
    """Return the command line of ssh to a peer; its stdin and stdout are the connection."""
    options = (
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT_TIMEOUT}",
        "ConnectionAttempts=1",
        f"ServerAliveInterval={ALIVE_INTERVAL}",
        f"ServerAliveCountMax={ALIVE_COUNT}",
        f"IdentityFile={KEY}",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "PubkeyAuthentication=yes",
        f"UserKnownHostsFile={KNOWN_HOSTS}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={peer.node}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "VerifyHostKeyDNS=no",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "Tunnel=no",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "Compression=no",
        "EscapeChar=none",
        "LogLevel=ERROR",
    )
    return [PROGRAM, "-F", "none", "-T", *(f"-o{option}" for option in options),
            "-p", str(peer.port), "-l", USER, "--", peer.address, REQUEST]


def environment() -> dict[str, str]:
    """Return the environment that ssh gets: no agent, no display, no language of the user's."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}


def explain(peer: Peer, said: str) -> errors.Failed:
    """Return why ssh ended before the peer's end of mailha had said a word, and what to do.

    said: all that ssh wrote to stderr. It ends with 255 for everything, so the words are all there
    is; they are the same from OpenSSH 7 to 10 as far as they are looked for here.
    """
    where = peer.node if (peer.address, peer.port) == (peer.node, SSH_PORT) else \
        f"{peer.node} ({peer.address}, port {peer.port})"
    again = f"'mailha sync pair {peer.node}' on this node pairs them anew"
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        return errors.Failed(f"{where} has another host key than the one it was paired with: it "
                             "was replaced, or it is not that node",
                             remedy=f"find out which; if it was replaced, {again}")
    if re.search(r"No .*host key is known for|Host key verification failed", said):
        return errors.Failed(f"the host key of {where} is not in {KNOWN_HOSTS}", remedy=again)
    found = re.search(r"Could not resolve hostname [^\n]*: ([^\n:]*)", said)
    if found:
        return errors.Failed(f"the name {peer.address} of {peer.node} cannot be resolved: "
                             f"{found[1]}", remedy="put it into /etc/hosts on this node")
    found = re.search(r"connect to (?:host|address) [^\n]* port \d+: ([^\n]*)", said)
    if found:
        return errors.Failed(f"{where} cannot be reached: {found[1].strip()}",
                             remedy="start its SSH server" if "refused" in found[1] else
                             "see whether the node is up, and its network and firewall")
    if "UNPROTECTED PRIVATE KEY FILE" in said:
        return errors.Failed(f"ssh does not use the key {KEY}: others may read it",
                             remedy=f"chmod 600 {KEY}")
    if re.search(r"no such identity|not accessible|Load key", said):
        return errors.Failed(f"the key {KEY} cannot be read or used", remedy=again)
    if re.search(r"Permission denied|Too many authentication failures", said):
        return errors.Failed(f"{where} does not let {USER} in with the key {KEY}",
                             remedy=f"{again}; the SSH server there must allow it (PermitRootLogin "
                                    "forced-commands-only or prohibit-password)")
    if re.search(r"command not found|: not found|No such file or directory", said):
        return errors.Failed(f"mailha cannot be started on {where}: {_last(said)}",
                             remedy="install the package there, the same release as here")
    last = _last(said)
    return errors.Failed(f"the connection to {where} ended" + (f": {last}" if last else
                         " without a word"), remedy="see the log of its SSH server")


def _last(said: str) -> str:
    """Return the last line that says something, not endlessly long."""
    line = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    return line[:_LONGEST_QUOTE]
