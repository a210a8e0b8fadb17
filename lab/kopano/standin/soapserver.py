# SPDX-License-Identifier: GPL-2.0-or-later
"""How kopano-server talks to one client: HTTP as gSOAP speaks it."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from typing import Sequence

from . import http, soap
from .calls import Calls

_XML = {"Server": "gSOAP/2.8", "Content-Type": "text/xml; charset=utf-8"}


def is_trusted(connection: socket.socket, administrators: Sequence[str]) -> bool:
    """Return whether the peer is a local administrator: on the unix socket, by its user.

    The server's own user counts as well as those of ``local_admin_users``.
    """
    if connection.family != socket.AF_UNIX:
        return False
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = struct.unpack("3i", credentials)
    if user == os.geteuid():
        return True
    try:
        return pwd.getpwuid(user).pw_name in administrators
    except KeyError:
        return False


def talk(connection: socket.socket, calls: Calls, administrators: Sequence[str]) -> None:
    """Answer the requests of one client until it leaves."""
    trusted = is_trusted(connection, administrators)
    reader = http.Reader(connection)
    try:
        while True:
            request = reader.request()
            if request is None or _has_left(connection, request):
                return
            connection.sendall(answer(request, calls, trusted))
            if request.method != "POST":
                return
    except OSError:
        return  # the client has gone


def _has_left(connection: socket.socket, request: http.Request) -> bool:
    """Return whether the client shut its side down already; such a GET gets nothing (measured)."""
    if request.method != "GET":
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


def answer(request: http.Request, calls: Calls, trusted: bool) -> bytes:
    """Return the whole response to one request (measured, down to the fault texts)."""
    if request.method == "HEAD":
        return http.response("200 OK", {**_XML, "Connection": "close"})
    if request.method == "GET":
        return http.response("405 Method Not Allowed", {**_XML, "Connection": "close"},
                             soap.fault("HTTP GET method not implemented"))
    if request.method != "POST":
        return http.response("405 Method Not Allowed", {**_XML, "Connection": "close"},
                             soap.fault("HTTP method not implemented"))
    if not request.body:
        return http.response("500 Internal Server Error", _XML,
                             soap.fault("Data required for operation"))
    call = soap.parse(request.body)
    elements = None if call is None else calls.answer(call, trusted=trusted)
    if call is None or elements is None:
        name = "?" if call is None else call.name
        return http.response("500 Internal Server Error", _XML,
                             soap.fault(f"Method '{name}' not implemented"))
    return http.response("200 OK", _XML, soap.envelope(f"{call.name}Response", elements))
