# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-ical: CalDAV, as far as a probe can see it; there is never anything in a calendar."""

from __future__ import annotations

import base64
import binascii
import socket
import sys
from typing import Callable, Dict, Tuple

from . import http, journal, listening
from .context import Context, Handler
from .link import ServerRefused, ServerUnreachable, Session

FAILED = 1
_HEADERS = {"Server": "Kopano"}
_UNAUTHORIZED = {**_HEADERS, "WWW-Authenticate": 'Basic realm="Kopano CalDav Gateway"',
                 "Connection": "close"}
LogOn = Callable[[str, str], Session]


def run(context: Context) -> int:
    """Run kopano-ical until SIGTERM and return its exit code."""
    settings = context.settings
    try:
        listeners = listening.tcp(
            listening.wanted(settings, "ical_listen", "ical_port", "ical_enable"), 8080)
    except listening.BindFailed as error:
        context.log(journal.CRITICAL, str(error))
        sys.stderr.write(f"{error}\n")
        return FAILED
    context.become_user()
    context.hang_if_told()
    context.go_to_background()
    context.write_pid_file(0o644)
    signals = context.signals()

    def log_on(user: str, password: str) -> Session:
        return Session(settings["server_socket"], context.program, user, password)

    def handler(listener: socket.socket) -> Handler:
        return lambda connection: talk(connection, log_on)

    context.serve(signals, listeners, handler)
    context.log(journal.NOTICE, "CalDAV Gateway will now exit")
    context.end()


def talk(connection: socket.socket, log_on: LogOn) -> None:
    """Answer one request of one client."""
    try:
        request = http.Reader(connection).request()
        if request is not None:
            connection.sendall(answer(request, log_on))
    except OSError:
        return  # the client has gone


def answer(request: http.Request, log_on: LogOn) -> bytes:
    """Return the response: OPTIONS never asks the server, a wrong password is 401 even when the
    server is dead (measured)."""
    if request.method == "OPTIONS":
        return http.response("200 OK", {
            **_HEADERS, "DAV": "1, access-control, calendar-access, calendar-schedule",
            "Allow": "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, REPORT", "Connection": "close"})
    user, password = _credentials(request.headers)
    if not user:
        return http.response("401 Unauthorized", _UNAUTHORIZED)
    try:
        log_on(user, password).close()
    except (ServerRefused, ServerUnreachable):
        return http.response("401 Unauthorized", _UNAUTHORIZED)
    calendar = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"
    return http.response("200 OK", {
        **_HEADERS, "Content-Type": "text/calendar; charset=utf-8", "Connection": "close"},
        calendar)


def _credentials(headers: Dict[str, str]) -> Tuple[str, str]:
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password
