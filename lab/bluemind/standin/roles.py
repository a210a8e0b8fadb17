# SPDX-License-Identifier: GPL-2.0-or-later
"""Which unit listens on what, and writes where."""

from __future__ import annotations

import os
import threading
from typing import Callable, Dict

from . import installed, settings, talks, ysnp
from .core import STATE_PATH, STATE_PORT, Core
from .life import Life
from .talks import Talk, always, connect_only, http

CERTIFICATE = "/etc/bm/bm.pem"
"""Key and certificate of the node; whoever speaks to bm-node needs one of the same authority."""

PLAIN: Dict[str, Dict[int, Talk]] = {
    "bm-locator": {8084: http(always(404))},
    "bm-mq": {},
    "bm-ips": {144: connect_only},
    "bm-tika": {8087: http(lambda method, path, body: (
        (200, "Test de TIKA") if method == "POST" else (404, "")))},
    "bm-milter": {2500: talks.milter},
    "bm-lmtpd": {2400: talks.relay(24, "220 localhost BlueMind LMTP (stand-in)")},
    "bm-eas": {8082: http(lambda method, path, body: (
        (200, "") if method == "OPTIONS" and "ActiveSync" in path else (400, "")))},
    "bm-mapi": {5001: http(always(400))},
    "bm-xmpp": {port: connect_only for port in (5222, 5223, 5269, 5280, 5290)},
    "bm-sds-proxy": {8091: http(lambda method, path, body: (403 if method == "POST" else 400, ""))},
    "bm-keycloak": {8099: http(always(200))},
    # It finds the server of a mailbox, also for nginx (ngx_mail_auth_http_module).
    "bm-hps": {8079: http(always(200, "127.0.0.1"), lambda path: {
        "Auth-Status": "OK", "Auth-Server": "127.0.0.1",
        "Auth-Port": "1143" if path.endswith("imap") else "1110"})},
}
"""Services of which nothing is to be told but what they answer: unit -> port -> talk."""

DATA = {"bm-mapi": "/var/spool/bm-mapi/lab", "bm-lmtpd": "/var/spool/bm-lmtpd/dedup",
        "bm-elasticsearch": "/var/spool/bm-elasticsearch/data"}
"""Directories of their data that some services make where they do not find them."""


def ping(method: str, path: str, body: bytes) -> "tuple[int, str]":
    """Answer for the web server, whose handler of maintenance asks bm-core's state."""
    state = talks.get(STATE_PORT, STATE_PATH).strip('"').replace("CORE_STATE_", "")
    if state == "RUNNING":
        return 200, "pong"
    return {"UPGRADE": 503, "NOT_INSTALLED": 302}.get(state, 502), ""


def health(method: str, path: str, body: bytes) -> "tuple[int, str]":
    """Answer for Elasticsearch: one node alone is yellow unless it has no replicas."""
    status = settings.read("bm-elasticsearch").get("status", "green")
    name = f"bluemind-{installed.text(installed.IDENTITY)}"
    return 200, f'{{"cluster_name":"{name}","status":"{status}","number_of_nodes":1}}'


def play(unit: str, release: str, life: Life, mute: bool) -> "Callable[[], None]":
    """Take the ports of a unit; return what is to be done after READY. Raises OSError."""
    ports = dict(PLAIN.get(unit, {}))
    later: Callable[[], None] = _nothing
    if unit in DATA:
        os.makedirs(DATA[unit], exist_ok=True)
    if unit == "bm-core":
        core = Core(life)
        core.begin()
        later = core.become_running
        ports[STATE_PORT] = http(core.answer)
        if release.startswith("5."):
            ports[1143] = talks.greeted("* OK IMAP4rev1 BlueMind (stand-in)", core.is_running,
                                        core.imap)
            ports[1110] = talks.greeted("+OK BlueMind (stand-in)", core.is_running, core.pop3)
            ports[2400] = core.lmtp
        else:
            ports[2501] = connect_only
    elif unit == "bm-ysnp":
        ysnp.begin()
        ports[25250] = connect_only
    elif unit == "bm-webserver":
        ports[8080] = http(ping)
    elif unit == "bm-elasticsearch":
        ports[9200], ports[9300] = http(health), connect_only
        with open(f"{DATA[unit]}/es.pid", "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    elif unit == "bm-node":
        from . import node
        ports[8021] = http(always(200))
        node.listen(8022, CERTIFICATE)
    elif unit == "bm-php-fpm":
        talks.listen_unix("/run/bm-php-fpm.sock", connect_only)
    for port, talk in ports.items():
        talks.listen(port, talk, mute=mute)
    return later


def _nothing() -> None:
    """Do nothing."""


def in_background(work: "Callable[[], None]") -> None:
    """Do some work beside the main thread, which waits for signals."""
    threading.Thread(target=work, daemon=True).start()
