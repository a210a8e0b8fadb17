# SPDX-License-Identifier: GPL-2.0-or-later
"""A pyghmi that is none: the names that mailha.bmc touches, for tests without network and library.

The real ones, with real controllers, are in tests/contract/test_fence_ipmi_*.
"""

from __future__ import annotations

import sys
import time
from types import ModuleType
from typing import Any, Callable, Dict, List

import pytest

OURS = ("mailha.bmc.ipmi_handshake", "mailha.bmc.ipmi_session", "mailha.bmc.ipmi_command")
"""Modules of ours that keep what they have imported of it."""


class Session:
    """The parts of pyghmi's Session that ipmi_handshake needs, with nothing in them."""

    def raw_command(self, netfn: int, command: int, bridge_request: Any = None, data: Any = (),
                    retry: bool = True, delay_xmit: Any = None, timeout: Any = None,
                    callback: Any = None) -> None:
        """Stand in."""

    def send_payload(self, payload: Any = (), payload_type: Any = None, retry: bool = True) -> None:
        """Stand in."""

    def _xmit_packet(self, retry: bool = True, delay_xmit: Any = None, timeout: Any = None) -> None:
        """Stand in."""

    def _handle_ipmi_packet(self, data: Any, sockaddr: Any = None, qent: Any = None) -> None:
        """Stand in."""

    def _got_channel_auth_cap(self, response: Any) -> None:
        """Stand in."""

    def _got_rmcp_response(self, data: Any) -> None:
        """Stand in."""

    _got_rakp2 = _got_rakp4 = _got_rmcp_response

    @classmethod
    def _assignsocket(cls) -> None:
        """Stand in."""

    def login(self) -> None:
        """Stand in."""

    _initsession = _get_channel_auth_cap = _open_rmcpplus_request = _req_priv_level = login
    onlogon = logout = login


class Command:
    """pyghmi's public Command, as a test wants it: see `script`."""

    script: Dict[str, Any] = {}

    def __init__(self, onlogon: Callable[[Any, Any], None], **given: Any) -> None:
        self.ipmi_session = self
        onlogon(self.script.get("login", {"success": True}), self)

    @staticmethod
    def wait_for_rsp(seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def raw_command(self, netfn: int, command: int, data: Any) -> Dict[str, Any]:
        """Answer from the script, after as long as that says."""
        print("pyghmi prints")
        time.sleep(self.script.get("takes", 0.0))
        return dict(self.script["answer"])

    def logout(self) -> None:
        """Stand in."""


def install(monkeypatch: pytest.MonkeyPatch, session: Any = Session, script: Any = None) -> None:
    """Let `import pyghmi` find this, until the end of the test.

    session: its Session, None for a release without one.
    """
    modules: List[ModuleType] = []
    for name in ("pyghmi", "pyghmi.ipmi", "pyghmi.ipmi.private", "pyghmi.ipmi.private.session",
                 "pyghmi.ipmi.command"):
        module: Any = ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
        modules.append(module)
    pyghmi, ipmi, private, private_session, command = modules
    for parent, name, child in ((pyghmi, "ipmi", ipmi), (ipmi, "private", private),
                                (private, "session", private_session), (ipmi, "command", command)):
        setattr(parent, name, child)
    if session is not None:
        setattr(private_session, "Session", session)
    setattr(command, "Command", type("Command", (Command,), {"script": script or {}}))
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
        package = sys.modules.get("mailha.bmc")
        if package is not None:
            monkeypatch.delattr(package, name.rpartition(".")[2], raising=False)
