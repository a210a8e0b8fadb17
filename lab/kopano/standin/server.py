# SPDX-License-Identifier: GPL-2.0-or-later
"""kopano-server: the one service that touches the data.

The order of its start is the order of its traps: sockets first (open and mute from here on), then
user, database (ten tries, ten seconds apart, without pid file and without signal handler), then
background, pid file, handlers, upgrade, attachments, and only then answers.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import List, Optional

from . import database, journal, lifecycle, listening, soapserver
from .attachments import Attachments
from .calls import Calls
from .context import Context, Handler
from .mailbox import Mailboxes

UPGRADE_LOCK = "/tmp/kopano-upgrade-lock"
FAILED = 255
_TRIES = 10
_SECONDS_BETWEEN_TRIES = 10


class StartFailed(Exception):
    """The server cannot run; the text is the last line of its log."""


def run(context: Context) -> int:
    """Run kopano-server until SIGTERM and return its exit code."""
    try:
        listeners = _open_sockets(context)
    except listening.BindFailed as error:
        context.log(journal.CRITICAL, str(error))
        if context.release.kills_its_group:
            lifecycle.terminate_own_group()
        return _fail(context, "network error")
    try:
        _own_attachment_directory(context)
        context.become_user()
        _create_attachment_directory(context)
        context.hang_if_told()
        connection = _connect(context)
        context.log(journal.NOTICE, f"Connection to database "
                                    f"'{context.settings['mysql_database']}' succeeded")
        context.go_to_background()
        if context.foreground and os.getpid() != os.getsid(0):
            try:
                os.setsid()
            except PermissionError:
                pass  # a leader of its group already
        context.write_pid_file(0o644)
        signals = context.signals()
        with connection:
            _upgrade(context, connection)
            guid = database.setting(connection, "server_guid") or bytes(16)
            _check_attachment_storage(context, connection)
        attachments = Attachments(context.attachment_directory)
        _check_attachments(context, attachments)
    except (StartFailed, database.DatabaseDown) as error:
        context.log(journal.CRITICAL, str(error))
        return _fail(context, str(error))
    except database.DatabaseNewer as error:
        context.log(journal.WARNING, f"WARNING: {error}")
        context.log(journal.WARNING, "   You can force the server to start with "
                                     "--ignore-database-version-conflict")
        return _fail(context, "invalid version")
    calls = Calls(Mailboxes(context.settings, attachments), context.release, guid)
    context.log(journal.NOTICE, f"Startup succeeded on pid {os.getpid()}")
    administrators = context.settings["local_admin_users"].split()

    def handler(listener: socket.socket) -> Handler:
        return lambda connection: soapserver.talk(connection, calls, administrators)

    context.serve(signals, listeners, handler)
    context.log(journal.ALWAYS, "Server shutdown complete.")
    context.end()


def _open_sockets(context: Context) -> List[socket.socket]:
    settings = context.settings
    specifications = listening.wanted(
        settings, "server_listen", "server_tcp_port", "server_tcp_enabled")
    listeners = listening.tcp(specifications, 236)
    for path in settings.words("server_pipe_priority"):
        listeners.append(listening.unix(path, 0o660, settings["run_as_user"]))
    if settings.flag("server_pipe_enabled"):
        for path in settings.words("server_pipe_name"):
            listeners.append(listening.unix(path, 0o666, settings["run_as_user"]))
    return listeners


def _own_attachment_directory(context: Context) -> None:
    """Give the top directory, and nothing below it, to the server's user (measured)."""
    directory = context.attachment_directory
    if os.geteuid() == 0 and directory.is_dir():
        user, group = lifecycle.account(
            context.settings["run_as_user"], context.settings["run_as_group"])
        if directory.stat().st_uid != user:
            os.chown(directory, user, group)


def _create_attachment_directory(context: Context) -> None:
    """Create the top directory where it is missing, on whatever disk is below."""
    directory = context.attachment_directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(
            f"Unable to create attachment directory '{directory}': {error.strerror}") from error


def _connect(context: Context) -> database.Connection:
    for attempt in range(1, _TRIES + 1):
        try:
            return database.Connection(context.settings)
        except database.DatabaseMissing:
            name = context.settings["mysql_database"]
            context.log(journal.NOTICE, f"Database '{name}' not found. Creating database")
            database.create(context.settings, context.release)
            return database.Connection(context.settings)
        except database.DatabaseDown as error:
            if attempt == _TRIES:
                raise StartFailed(f"Unable to connect to database: {error}") from error
            context.log(journal.NOTICE, f"Unable to connect, retrying in "
                                        f"{_SECONDS_BETWEEN_TRIES}s: {error}")
            time.sleep(_SECONDS_BETWEEN_TRIES)
    raise AssertionError("the last try either returns or raises")


def _upgrade(context: Context, connection: database.Connection) -> None:
    """Upgrade the database under the lock file that init scripts look at.

    A lock that a killed upgrade left behind is logged, ignored and never removed (measured).
    """
    lock: Optional[int] = None
    try:
        lock = os.open(UPGRADE_LOCK, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        context.log(journal.WARNING,
                    f"WARNING: Unable to place upgrade lockfile: {error.strerror}")
    try:
        pending = database.pending_upgrade(connection, context.release)
        if pending or context.vices.seconds("slow_upgrade"):
            context.log(journal.NOTICE, "Start: Database upgrade")
            _take_time(context.vices.seconds("slow_upgrade"))
            database.upgrade(connection, context.release)
            context.log(journal.NOTICE, "Done: Database upgrade")
    except database.DatabaseNewer:
        if "ignore-database-version-conflict" not in context.options:
            raise
    finally:
        if lock is not None:
            os.close(lock)
            os.unlink(UPGRADE_LOCK)


def _take_time(seconds: float) -> None:
    """Wait; the first SIGTERM sets its flag and does not shorten this, the second kills."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(end - time.monotonic())


def _check_attachment_storage(context: Context, connection: database.Connection) -> None:
    found = (database.setting(connection, "attachment_storage") or b"files").decode()
    wanted = context.settings["attachment_storage"]
    if found != wanted and "ignore-attachment-storage-conflict" not in context.options:
        raise StartFailed(f"Attachments are stored with option '{found}', but '{wanted}' is "
                          "selected. Use --ignore-attachment-storage-conflict to start anyway.")


def _check_attachments(context: Context, attachments: Attachments) -> None:
    try:
        attachments.prepare()
    except OSError as error:
        raise StartFailed(f"Unable to write attachments to the directory "
                          f"'{context.attachment_directory}': {error.strerror}") from error


def _fail(context: Context, why: str) -> int:
    """Say on standard error what the real server says there, and return its exit code."""
    settings = context.settings
    sys.stderr.write(f"\nAn error occurred: {why}. Please check logfile "
                     f"{settings['log_method']}:{settings['log_file']} for details.\n\n")
    context.log(journal.ALWAYS, "Server shutdown complete.")
    signal.set_wakeup_fd(-1)
    return FAILED
