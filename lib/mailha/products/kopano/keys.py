# SPDX-License-Identifier: GPL-2.0-or-later
"""Which keys of Kopano's configuration files belong to which version.

Only keys that moved are known here. Most services end at once over a key that their version does
not have (measured: server, gateway and ical of 8.7.25 over server_bind), so a file of the version
before is the commonest reason why an upgraded node cannot take over.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

from mailha.storage.version import Version

RUN = "/var/run/kopano"


class Protocol(NamedTuple):
    """One protocol that a service may speak, and the keys that say where.

    listen: the key of the new style, a list of "address:port". port, enable: the keys of the old
    style beside server_bind; enable is "" where the protocol cannot be switched off. usual: the
    port where none is given. on: whether the service speaks it unless told otherwise.
    """

    name: str
    listen: str
    port: str
    enable: str
    usual: int
    on: bool


PROTOCOLS: Mapping[str, Sequence[Protocol]] = {
    "server": (
        Protocol("http", "server_listen", "server_tcp_port", "server_tcp_enabled", 236, True),
        Protocol("https", "server_listen_tls", "server_ssl_port", "server_ssl_enabled", 237, False),
    ),
    "dagent": (Protocol("lmtp", "lmtp_listen", "lmtp_port", "", 2003, True),),
    "gateway": (
        Protocol("imap", "imap_listen", "imap_port", "imap_enable", 143, True),
        Protocol("imaps", "imaps_listen", "imaps_port", "imaps_enable", 993, False),
        Protocol("pop3", "pop3_listen", "pop3_port", "pop3_enable", 110, True),
        Protocol("pop3s", "pop3s_listen", "pop3s_port", "pop3s_enable", 995, False),
    ),
    "ical": (
        Protocol("caldav", "ical_listen", "ical_port", "ical_enable", 8080, True),
        Protocol("caldavs", "icals_listen", "icals_port", "icals_enable", 8443, False),
    ),
}

PYTHON = frozenset(("search", "presence", "spamd"))
"""Services written in Python, whose reader of configuration files is another one."""

FORGIVING = frozenset(("dagent",)) | PYTHON
"""Services that go on over an unknown key. dagent does unless its file was named with -c, and then
listens on every address at port 2003 (measured)."""

_SERVER_LISTEN_SINCE = Version("8.4.91")
_LISTEN_SINCE = Version("8.6.81")
_BIND_UNTIL = Version("8.6.82")
_NO_PID_FILE_SINCE = Version("10.0")
_FILES_OPTIONAL_SINCE = Version("8.4.91")

_ALIASES = {"server_port": "server_tcp_port", "unix_socket": "server_pipe_name"}


def has_listen(service: str, version: Version) -> bool:
    """Tell whether the service knows the *_listen keys (RELNOTES: 8.5.0, others 8.6.81)."""
    since = _SERVER_LISTEN_SINCE if service == "server" else _LISTEN_SINCE
    return not version.older(since)


def has_bind(version: Version) -> bool:
    """Tell whether server_bind and the keys beside it are still read; 8.6.82 removed them."""
    return version.older(_BIND_UNTIL)


def has_pid_files(version: Version) -> bool:
    """Tell whether pid_file means anything; since 10.0 it is read and ignored."""
    return version.older(_NO_PID_FILE_SINCE)


def runs_without_file(version: Version) -> bool:
    """Tell whether a missing file means built-in settings; up to 8.4 it ends the start.

    8.5 stopped to fill /etc/kopano, so there a missing file is nothing strange.
    """
    return not version.older(_FILES_OPTIONAL_SINCE)


def canonical(service: str, key: str) -> str:
    """Return the name under which Kopano keeps a key that has two."""
    return _ALIASES.get(key, key) if service == "server" else key


def of_other_version(service: str, key: str, version: Version) -> str:
    """Return in words why this version does not have a key ("unknown to Kopano since 8.7").

    "" for every other key, those that are not known here included.
    """
    if key in _listen_keys(service) and not has_listen(service, version):
        return f"unknown to Kopano before {'8.5' if service == 'server' else '8.7'}"
    if canonical(service, key) in _bind_keys(service) and not has_bind(version):
        return "unknown to Kopano since 8.7"
    return ""


def instead(service: str, key: str, values: Mapping[str, str], version: Version) -> list[str]:
    """Return the lines that say in this version's keys what a key of another version said.

    values: the whole file, for the administrator's own addresses and ports.
    """
    if key in _listen_keys(service):
        return _in_old_keys(service, key, values)
    if not has_listen(service, version):
        return []
    lines = []
    for protocol in PROTOCOLS[service]:
        if canonical(service, key) in ("server_bind", protocol.port, protocol.enable):
            if enabled(protocol, values):
                lines.append(f"{protocol.listen} = {_address(values)}:{_port(protocol, values)}")
            elif protocol.on:
                lines.append(f"{protocol.listen} =")
    return lines


def enabled(protocol: Protocol, values: Mapping[str, str]) -> bool:
    """Tell whether a protocol is on, as the keys of the old style say."""
    if not protocol.enable:
        return True
    value = values.get(protocol.enable)
    return protocol.on if value is None else value.lower() not in ("", "0", "false", "no")


def _in_old_keys(service: str, key: str, values: Mapping[str, str]) -> list[str]:
    protocol = next(each for each in PROTOCOLS[service] if each.listen == key)
    first = (values.get(key, "").split() or [""])[0]
    if first.startswith("unix:"):
        return []
    host, _, port = first.rpartition(":")
    if not host:
        host, port = first, ""
    lines = [f"server_bind = {host.strip('[]')}"] if host not in ("", "*") else []
    if protocol.enable and first and not protocol.on:
        lines.append(f"{protocol.enable} = yes")
    elif protocol.enable and not first:
        lines.append(f"{protocol.enable} = no")
    if port.isdigit() and int(port) != protocol.usual:
        lines.append(f"{protocol.port} = {port}")
    return lines


def _address(values: Mapping[str, str]) -> str:
    address = values.get("server_bind", "") or "*"
    return f"[{address}]" if ":" in address else address


def _port(protocol: Protocol, values: Mapping[str, str]) -> str:
    return values.get(protocol.port, "") or str(protocol.usual)


def _listen_keys(service: str) -> set[str]:
    return {protocol.listen for protocol in PROTOCOLS.get(service, ())}


def _bind_keys(service: str) -> set[str]:
    if service not in PROTOCOLS:
        return set()
    return {"server_bind"} | {key for protocol in PROTOCOLS[service]
                              for key in (protocol.port, protocol.enable) if key}
