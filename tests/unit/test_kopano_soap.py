# SPDX-License-Identifier: GPL-2.0-or-later
"""The logon at kopano-server, with the answers that were measured and with wrong ones."""

from __future__ import annotations

import base64
from typing import Any, Dict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_machine import FakeMachine, Program, Script
from mailha import errors
from mailha.products.kopano import soap
from mailha.products.kopano.configuration import Database
from mailha.products.kopano.database import DatabaseUnreachable
from mailha.storage.version import Version

PIPE = "/var/run/kopano/server.sock"
GUID = bytes(range(16))
LOGON = ("<er>0</er><ulSessionId>6021357442109349888</ulSessionId><lpszVersion>0,8,7,25"
         "</lpszVersion><ulCapabilities>0</ulCapabilities><sLicenseResponse></sLicenseResponse>"
         f"<sServerGuid>{base64.b64encode(GUID).decode()}</sServerGuid>")


def answer(call: str, elements: str, *, chunked: bool = False, status: str = "200 OK") -> bytes:
    """Return the HTTP response with an envelope, as gSOAP writes it."""
    body = ('<?xml version="1.0" encoding="UTF-8"?>\n<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://'
            'schemas.xmlsoap.org/soap/envelope/" xmlns:ns="urn:zarafa"><SOAP-ENV:Body>'
            f"<ns:{call}Response>{elements}</ns:{call}Response></SOAP-ENV:Body></SOAP-ENV:Envelope>"
            ).encode()
    head = f"HTTP/1.1 {status}\r\nServer: gSOAP/2.8\r\nContent-Type: text/xml; charset=utf-8\r\n"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[:10], body[10:]]
    chunks = b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: Chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


HEALTHY = {"logon": LOGON, "getStore": "<er>0</er>", "logoff": "<er>0</er>"}


def machine_that_answers(answers: Dict[str, bytes] | None = None, **elements: str) -> Any:
    """Return a machine whose server answers; elements replace those of the healthy answer."""
    machine = FakeMachine()
    scripted: Any = {f"<ns:{call}>".encode(): answer(call, text)
                     for call, text in {**HEALTHY, **elements}.items()}
    scripted.update({f"<ns:{call}>".encode(): data for call, data in (answers or {}).items()})
    machine.processes.run(Program("/usr/sbin/kopano-server",
                                  listens={PIPE: Script(answers=scripted)}))
    return machine


def log_on(machine: Any, **more: Any) -> soap.Answer:
    return soap.log_on(machine, PIPE, Version("8.7.25.0-0+123.1"), 10.0, **more)


def calls(machine: Any) -> list[str]:
    """Return the names of the calls that were made."""
    return [data.partition(b"<ns:")[2].partition(b">")[0].decode()
            for _, data in machine.sockets.sent]


def test_a_healthy_server_says_who_it_is() -> None:
    machine = machine_that_answers()
    assert log_on(machine) == soap.Answer(GUID.hex(), "8.7.25")
    assert calls(machine) == ["logon", "getStore", "logoff"]


def test_every_child_is_in_the_logon_because_without_one_it_is_refused() -> None:
    """Measured: omitting szImpersonateUser gives 0x80000009."""
    machine = machine_that_answers()
    log_on(machine)
    request = machine.sockets.sent[0][1].decode()
    names = ["szUsername", "szPassword", "szImpersonateUser", "szVersion", "ulCapabilities",
             "ulFlags", "sLicenseReq", "ullSessionGroup", "szClientApp", "szClientAppVersion",
             "szClientAppMisc"]
    places = [request.index(f"<{name}>") for name in names]
    assert places == sorted(places)
    assert "<szVersion>8,7,25,0</szVersion>" in request
    assert '\r\nSOAPAction: ""\r\n' in request
    head, _, body = request.partition("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head


@pytest.mark.parametrize("version, wire", [
    ("8.7.25.0-0+1.1", "8,7,25,0"), ("11.0", "11,0,0,0"), ("1:10.0.7.45.6", "10,0,7,45")])
def test_how_a_version_is_spelt(version: str, wire: str) -> None:
    machine = machine_that_answers()
    soap.log_on(machine, PIPE, Version(version), 10.0)
    assert f"<szVersion>{wire}</szVersion>".encode() in machine.sockets.sent[0][1]


def test_the_logon_succeeds_from_the_cache_but_the_store_tells_that_the_database_is_dead() -> None:
    machine = machine_that_answers(getStore=f"<er>{0x80000007}</er>")
    with pytest.raises(DatabaseUnreachable) as caught:
        log_on(machine, database=Database("192.0.2.2", 3306, "", "kopano", "mail"))
    assert "cannot reach database 'mail' at 192.0.2.2:3306" in str(caught.value)
    assert calls(machine) == ["logon", "getStore", "logoff"]


def test_a_dead_server_is_refused_or_missing() -> None:
    machine: Any = FakeMachine()
    with pytest.raises(soap.ServerDead, match="No such file"):
        log_on(machine)
    machine.files.put(PIPE, b"")
    with pytest.raises(soap.ServerDead, match="Connection refused"):
        log_on(machine)


def test_an_upgrading_or_stopped_server_takes_connections_and_is_mute() -> None:
    machine = machine_that_answers()
    process = next(iter(machine.processes.table.values()))
    process.state = "T"
    with pytest.raises(soap.ServerMute, match="does not answer logon"):
        log_on(machine)
    assert machine.clock.slept <= 10.5


def test_a_server_that_hangs_in_the_store_still_ends_in_time() -> None:
    machine = machine_that_answers()
    script = next(iter(machine.processes.table.values())).program.listens[PIPE]
    del script.answers[b"<ns:getStore>"]
    with pytest.raises(soap.ServerMute, match="does not answer getStore"):
        log_on(machine)
    assert machine.clock.slept <= 10.5


def test_root_is_no_administrator() -> None:
    with pytest.raises(soap.LogonRefused, match="local_admin_users"):
        log_on(machine_that_answers(logon=f"<er>{0x80000009}</er>"))


def test_other_errors_are_named() -> None:
    with pytest.raises(errors.Failed, match="getStore with error 0x80000010"):
        log_on(machine_that_answers(getStore=f"<er>{0x80000010}</er>"))
    with pytest.raises(errors.Failed, match="no session"):
        log_on(machine_that_answers(logon="<er>0</er>"))


def test_a_logoff_that_fails_is_no_fault() -> None:
    assert log_on(machine_that_answers(logoff="<er>5</er>")).version == "8.7.25"
    assert log_on(machine_that_answers({"logoff": b"garbage\r\n"})).version == "8.7.25"


def test_a_server_that_hangs_in_the_logoff_costs_little() -> None:
    machine = machine_that_answers()
    script = next(iter(machine.processes.table.values())).program.listens[PIPE]
    del script.answers[b"<ns:logoff>"]
    assert log_on(machine).version == "8.7.25"
    assert machine.clock.slept <= 2.5


def test_a_fault_is_quoted() -> None:
    fault = "<faultstring>Method not\x07 implemented</faultstring>"
    with pytest.raises(errors.Failed, match=r"logon with 'Method not\? implemented'"):
        log_on(machine_that_answers(
            {"logon": answer("logon", fault, status="500 Internal Server Error")}))


def test_answers_in_chunks() -> None:
    assert log_on(machine_that_answers({call: answer(call, text, chunked=True)
                                        for call, text in HEALTHY.items()})).guid == GUID.hex()


def test_an_interim_answer_is_passed_over() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + answer("logon", LOGON)
    assert log_on(machine_that_answers({"logon": data})).guid == GUID.hex()


def test_an_answer_without_length_ends_with_the_connection() -> None:
    machine = machine_that_answers({"logon": b"HTTP/1.0 200 OK\r\n\r\n" + LOGON.encode()})
    script = next(iter(machine.processes.table.values())).program.listens[PIPE]
    script.mood = "closes"
    assert log_on(machine).version == "8.7.25"


@pytest.mark.parametrize("data, part", [
    (b"220 mail ESMTP\r\n", "is not kopano-server"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "too long or damaged"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "not understood")])
def test_whoever_answers_otherwise_is_not_kopano(data: bytes, part: str) -> None:
    with pytest.raises(errors.Failed, match=part):
        log_on(machine_that_answers({"logon": data}))


def test_an_answer_that_is_cut() -> None:
    machine = machine_that_answers({"logon": answer("logon", LOGON)[:-20]})
    next(iter(machine.processes.table.values())).program.listens[PIPE].mood = "closes"
    with pytest.raises(errors.Failed, match="breaks off at logon"):
        log_on(machine)


def test_an_xml_bomb_is_only_text() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><er>&b;</er>'
    assert soap.element(bomb, "er") == "&b;"


@pytest.mark.parametrize("body, text", [
    (b"<er>7</er>", "7"), (b'<ns:er xsi:type="xsd:unsignedInt"> 7 </ns:er>', "7"),
    (b"<error>1</error><er>7</er>", "7"), (b"<er/>", ""), (b"", ""), (b"<er>" * 1000, ""),
    (b"<er>" + b"7" * 5000 + b"</er>", "")])
def test_values_are_found(body: bytes, text: str) -> None:
    assert soap.element(body, "er") == text


@settings(max_examples=60)
@given(st.binary())
def test_any_answer_ends_in_a_result_or_a_reason(data: bytes) -> None:
    machine = machine_that_answers({"logon": b"HTTP/1.1 200 OK\r\n\r\n" + data})
    next(iter(machine.processes.table.values())).program.listens[PIPE].mood = "closes"
    with pytest.raises(errors.MailhaError) as caught:
        log_on(machine)
    assert "\n" not in str(caught.value)
