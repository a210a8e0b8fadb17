# SPDX-License-Identifier: GPL-2.0-or-later
"""Listeners and addresses from /proc/net, for kernels that do not answer netlink.

Slower (the tables hold every connection) and poorer: it does not show whether an IPv6 listener
takes IPv4 too, so it is believed to, as is the kernel's default.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from struct import pack

from mailha import errors
from mailha.system.netlink import Listener

_LISTEN = b"0A"


def parse_address(text: bytes) -> tuple[int, str]:
    """Return (family, address) from hex words, each in the byte order of the machine.

    Raises ValueError when it is damaged.
    """
    words = [int(text[start:start + 8], 16) for start in range(0, len(text), 8)]
    data = pack(f"={len(words)}I", *words)
    if len(data) == 4:
        return 4, inet_ntop(AF_INET, data)
    if len(data) == 16:
        return 6, inet_ntop(AF_INET6, data)
    raise ValueError(f"not an address: {text!r}")


def listeners(proc: str) -> list[Listener]:
    """Return the listeners of /proc/net/tcp and tcp6; the latter may be missing (no IPv6)."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in _lines(f"{proc}/net/{name}", optional=name == "tcp6")[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                continue
            address, _, port = fields[1].partition(b":")
            family, text = parse_address(address)
            found.append(Listener(family, text, int(port, 16), int(fields[9])))
    return found


def addresses(proc: str) -> set[str]:
    """Return the local addresses of /proc/net/fib_trie and if_inet6."""
    found = set()
    before = b""
    for line in _lines(f"{proc}/net/fib_trie"):
        if b"/32 host LOCAL" in line:
            found.add(before.split()[-1].decode())
        elif b"|--" in line:
            before = line
    for line in _lines(f"{proc}/net/if_inet6", optional=True):
        fields = line.split()
        # Flags 0x08 and 0x40: duplicate address detection failed, or is not done.
        if len(fields) >= 5 and not int(fields[4], 16) & 0x48:
            found.add(inet_ntop(AF_INET6, bytes.fromhex(fields[0].decode())))
    return found


def _lines(path: str, optional: bool = False) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        if optional:
            return []
        raise errors.Failed(f"cannot read {path}: it does not exist", remedy="mount /proc") \
            from None
    except OSError as error:
        raise errors.Failed(f"cannot read {path}: {error.strerror}") from None
