# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket through which Cyrus and Postfix ask bm-ysnp for passwords: .../saslauthd/mux.

It lies on Postfix's spool, so on the shared disk, which may be dead. The kernel's table says who
listens there without anybody touching the disk; and a question would be a failed login in a log.
"""

from __future__ import annotations

from mailha import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailha.services.service import Service
    from mailha.system.machine import Machine

SERVICE = "ysnp"
_END = "/saslauthd/mux"


def require(machine: Machine, service: Service) -> None:
    """Raise errors.Failed if the service is bm-ysnp and nobody listens on its socket."""
    if service.name != SERVICE:
        return
    if not any(path.endswith(_END) for path in machine.sockets.unix_listeners()):
        raise errors.Failed(f"{SERVICE} does not listen on /var/run{_END}, where Cyrus and Postfix "
                            "ask it for passwords")
