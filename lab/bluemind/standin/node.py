# SPDX-License-Identifier: GPL-2.0-or-later
"""bm-node: TLS that only somebody with a certificate of this installation gets through."""

from __future__ import annotations

import socket
import ssl

from . import talks


def listen(port: int, certificate: str) -> None:
    """Serve a port with TLS.

    certificate: the file with key and certificate, which is its own authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    answer = talks.http(talks.always(200))

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            answer(encrypted)

    talks.listen(port, talk)
