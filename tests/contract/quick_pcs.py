# SPDX-License-Identifier: GPL-2.0-or-later
"""The real pcs for scripts of twenty commands, with its modules imported once and not twenty times.

pcs takes a second of a core to import itself, and a tenth of one to do what it is asked. This runs
on a machine of the tests, in two roles:

    quick_pcs.py serve COMMAND...    import pcs, run the command, and do whatever it asks of pcs, in
                                     a process of its own each time; end as the command ends
    quick_pcs.py ask ARGUMENT...     what the command calls in place of pcs: hand these arguments,
                                     the working directory and the three standard files over, and
                                     end as pcs ends

Of the environment pcs sees that of `serve`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import List

SOCKET = "/shim/socket"

LONGEST = 1 << 16
"""Bytes that the arguments of one command may take, with the directory in front of them."""


def ask(argv: List[str]) -> int:
    """Have pcs run with these arguments; return its exit code."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(SOCKET)
        socket.send_fds(server, ["\0".join([os.getcwd(), *argv]).encode()], [0, 1, 2])
        return int(server.recv(LONGEST))


def serve(command: List[str]) -> int:
    """Run a command and every pcs in it; return the command's exit code."""
    import importlib
    import select
    import socket
    import subprocess

    pcs = importlib.import_module("pcs.app")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(SOCKET)
        listener.listen()
        running = subprocess.Popen(command)     # no context: a child would wait at the end of it
        ended = os.pidfd_open(running.pid)
        while ended not in select.select([listener, ended], [], [])[0]:
            client, _ = listener.accept()
            child = os.fork()
            if child == 0:
                _become(client)
                return int(pcs.main() or 0)
            _, status = os.waitpid(child, 0)
            client.send(str(os.waitstatus_to_exitcode(status) & 0xff).encode())
            client.close()
        os.unlink(SOCKET)
        return running.wait()


def _become(client: socket.socket) -> None:
    """Make this process the one that the client asks for: its arguments, directory and files."""
    import socket

    said, files, _, _ = socket.recv_fds(client, LONGEST, 3)
    directory, *argv = said.decode().split("\0")
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    sys.argv = ["pcs", *argv]


if __name__ == "__main__":
    sys.exit({"ask": ask, "serve": serve}[sys.argv[1]](sys.argv[2:]))
