# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client hears from the Kopano stand-in: the measured table of probes, row by row."""

from __future__ import annotations

import base64
import gzip
import socket
from pathlib import Path
from typing import Iterator, List

import pytest

from kopano.standin import soap
from standin_machine import Conversation, Machine, http
from waiting import wait_for

LOGON = [("szUsername", "SYSTEM"), ("szPassword", ""), ("szImpersonateUser", ""),
         ("szVersion", "8,7,25,0"), ("ulCapabilities", "0"), ("ulFlags", "0"),
         ("sLicenseReq", ""), ("ullSessionGroup", "0"), ("szClientApp", "test"),
         ("szClientAppVersion", ""), ("szClientAppMisc", "")]


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Machine]:
    with Machine(image) as machine:
        yield machine


@pytest.fixture(autouse=True)
def fresh(node: Machine) -> None:
    node.reset()


class SoapClient:
    """Make calls as the deep monitor of an agent does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")

    def call(self, name: str, elements: soap.Elements) -> soap.Call:
        self._connection.sendall(http("POST", body=soap.envelope(name, elements)))
        length = 0
        for line in iter(self._file.readline, b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        answer = soap.parse(self._file.read(length))
        assert answer is not None
        return answer


def unix_client(node: Machine) -> SoapClient:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(90)
    connection.connect(str(node.path("/run/kopano/server.sock")))
    return SoapClient(connection)


def error_of(answer: soap.Call) -> int:
    return int(answer.elements["er"])


def greetings(node: Machine) -> List[str]:
    lines = []
    for port in (143, 110):
        with Conversation(node.connect(port)) as client:
            lines.append(client.hear())
    return lines


GREETINGS = ["* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN] IMAP gateway ready",
             "+OK POP3 gateway ready"]


def test_the_lmtp_dialogue_is_kopanos_word_for_word(node: Machine) -> None:
    node.serve("server", "dagent")
    with node.lmtp() as client:
        assert client.hear() == "220 2.1.5 LMTP server is ready"
        lines = [client.ask("LHLO test")] + [client.hear() for _ in range(5)]
        assert (lines[0], lines[-1]) == ("250-SERVER ready", "250 SMTPUTF8")
        assert client.ask("NOOP") == "555 5.5.4 Command not recognized"
        assert client.ask("MAIL FROM:<sender@example.com>") == "250 2.1.0 Ok"
        assert client.ask("RCPT TO:<nobody@example.com>") == "503 5.1.1 User does not exist"
        assert client.ask("RCPT TO:<test1@example.com>") == "250 2.1.5 Ok"
        assert client.ask("RCPT TO:<test2@example.com>") == "250 2.1.5 Ok"
        assert client.ask("DATA").startswith("354 ")
        client.say("Message-ID: <1@test>", "", "..a line with a dot", ".")
        assert client.hear() == "250 2.1.5 test1@example.com Ok"
        assert client.hear() == "250 2.1.5 test2@example.com Ok"
        assert client.ask("QUIT") == "221 2.0.0 Bye"


def test_an_acknowledged_message_is_a_row_in_mariadb_and_a_compressed_file(node: Machine) -> None:
    node.serve("server", "dagent")
    assert node.deliver("one@test") == "250 2.1.5 test1@example.com Ok"
    number, name = node.sql("SELECT id, message_id FROM kopano.messages").split("\t")
    assert name == "<one@test>"
    path = node.path(f"/var/lib/kopano/attachments/{int(number) % 10}/0/{number}.gz")
    assert b"Message-ID: <one@test>" in gzip.decompress(path.read_bytes())


def test_delivered_mail_can_be_read_by_pop3_and_counted_by_imap(node: Machine) -> None:
    node.serve("server", "dagent", "gateway")
    node.deliver("one@test")
    with Conversation(node.connect(110)) as client:
        client.hear()
        client.ask("USER test1")
        assert client.ask("PASS test1").startswith("+OK")
        assert client.ask("STAT").startswith("+OK 1 ")
        assert client.ask("RETR 1") == "+OK"
        assert client.hear() == "Message-ID: <one@test>"
    with Conversation(node.connect(143)) as client:
        client.hear()
        assert client.ask("a LOGIN test1 test1") == "a OK LOGIN completed"
        assert client.ask("b SELECT INBOX") == "* 1 EXISTS"


def test_lmtp_greets_with_421_while_the_server_is_dead_and_heals(node: Machine) -> None:
    node.serve("dagent")
    with node.lmtp() as client:
        assert client.hear() == "421 internal error: GetSession failed"
    node.serve("server")
    assert node.deliver("later@test").startswith("250 ")


def test_without_mariadb_only_lmtp_admin_and_get_store_notice_and_all_heal(node: Machine) -> None:
    node.serve()
    node.kill_database()
    assert node.ask(236, http("HEAD")).startswith("HTTP/1.1 200 OK")
    assert node.ask(236, http("GET")).startswith("HTTP/1.1 405 Method Not Allowed")
    assert greetings(node) == GREETINGS
    with Conversation(node.connect(143)) as client:
        client.hear()
        assert client.ask('a LOGIN "no such" x') == "a NO LOGIN wrong username or password"
    with node.lmtp() as client:
        assert client.hear() == "421 internal error: GetSession failed"
    code, text = node.answer("kopano-admin", "-l")
    assert code == 1 and "Using the -v option" in text
    caller = unix_client(node)
    session = caller.call("logon", LOGON)
    assert error_of(session) == soap.OK
    store = caller.call("getStore", [("ulSessionId", session.elements["ulSessionId"])])
    assert error_of(store) == 0x80000007
    node.start_database()
    assert node.deliver("healed@test").startswith("250 ")
    assert node.answer("kopano-admin", "-l")[0] == 0


def test_mariadb_that_dies_in_the_middle_of_a_delivery_gives_no_acknowledgement(
        node: Machine) -> None:
    node.serve("server", "dagent")
    with node.lmtp() as client:
        client.hear()
        client.say("MAIL FROM:<sender@example.com>", "RCPT TO:<test1@example.com>", "DATA")
        assert [client.hear()[:3] for _ in range(3)] == ["250", "250", "354"]
        node.kill_database()
        client.say("Message-ID: <lost@test>", "", ".")
        assert client.hear() == "450 4.2.0 test1@example.com Mailbox temporarily unavailable"
    node.start_database()
    assert node.sql("SELECT COUNT(*) FROM kopano.messages") == "0"


def test_a_vanished_attachment_directory_shows_only_in_the_reply_to_data(node: Machine) -> None:
    node.serve("server", "dagent")
    node.run("rm -rf /var/lib/kopano/attachments")
    assert node.ask(236, http("HEAD")).startswith("HTTP/1.1 200 OK")
    assert node.answer("kopano-admin", "-l")[0] == 0
    assert node.deliver("one@test") == (
        "450 4.2.0 test1@example.com Mailbox temporarily unavailable")
    assert node.sql("SELECT COUNT(*) FROM kopano.messages") == "0"


def test_the_server_answers_http_as_gsoap_does(node: Machine) -> None:
    node.serve("server")
    found = node.ask(236, http("GET"))
    assert found.startswith("HTTP/1.1 405 Method Not Allowed\r\n")
    assert "Server: gSOAP/2.8\r\n" in found and "HTTP GET method not implemented" in found
    found = node.ask(236, http("HEAD"))
    assert found.startswith("HTTP/1.1 200 OK\r\n") and "Content-Length: 0\r\n" in found
    with node.connect(236, "127.0.0.1") as connection:
        connection.sendall(http("POST"))
        found = connection.recv(65536).decode()
    assert found.startswith("HTTP/1.1 500 ") and "Data required for operation" in found


def test_a_get_whose_client_shut_down_its_side_gets_nothing(node: Machine) -> None:
    node.serve("server")
    with node.connect(236) as connection:
        head, tail = http("GET")[:-4], http("GET")[-4:]
        connection.sendall(head)
        # Both in one segment, so that the server sees the end together with the request.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.sendall(tail)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_soap_over_the_unix_socket_opens_a_store_and_tells_the_servers_guid(node: Machine) -> None:
    node.serve("server")
    client = unix_client(node)
    session = client.call("logon", LOGON)
    assert list(session.elements)[:3] == ["er", "ulSessionId", "lpszVersion"]
    assert session.elements["lpszVersion"] == "0,8,7,25"
    guid = node.sql("SELECT HEX(value) FROM kopano.settings WHERE name = 'server_guid'")
    assert base64.b64decode(session.elements["sServerGuid"]).hex().upper() == guid
    number = [("ulSessionId", session.elements["ulSessionId"])]
    assert error_of(client.call("getStore", number)) == soap.OK
    assert error_of(client.call("logoff", number)) == soap.OK
    assert error_of(client.call("getStore", number)) == soap.END_OF_SESSION


def test_soap_refuses_system_over_tcp_and_a_logon_with_an_element_missing(node: Machine) -> None:
    node.serve("server")
    over_tcp = SoapClient(node.connect(236)).call("logon", LOGON)
    assert error_of(over_tcp) == 0x80000009
    incomplete = [element for element in LOGON if element[0] != "szImpersonateUser"]
    assert error_of(unix_client(node).call("logon", incomplete)) == 0x80000009


def test_imap_pop3_and_ical_greet_although_the_server_is_dead(node: Machine) -> None:
    node.serve("gateway", "ical")
    assert greetings(node) == GREETINGS
    with Conversation(node.connect(143)) as client:
        client.hear()
        assert client.ask('a LOGIN "no such" x') == (
            "a BAD Internal error: OpenECSession failed")
    with Conversation(node.connect(110)) as client:
        client.hear()
        client.ask("USER nobody")
        assert client.ask("PASS x") == "-ERR [SYS/TEMP] Internal error: HrLogin failed"
        assert client.hear() == ""
    found = node.ask(8080, http("OPTIONS"))
    assert found.startswith("HTTP/1.1 200 OK\r\n") and "Server: Kopano\r\n" in found
    found = node.ask(8080, http("GET"))
    assert found.startswith("HTTP/1.1 401 Unauthorized\r\n")
    assert 'WWW-Authenticate: Basic realm="Kopano CalDav Gateway"\r\n' in found
    bogus = base64.b64encode(b"nobody:x").decode()
    found = node.ask(8080, http("GET", "/caldav/", [f"Authorization: Basic {bogus}"]))
    assert found.startswith("HTTP/1.1 401 ")


def test_wrong_passwords_are_refused_by_a_healthy_server(node: Machine) -> None:
    node.serve("server", "gateway")
    with Conversation(node.connect(143)) as client:
        client.hear()
        assert client.ask('a LOGIN "no such" x') == "a NO LOGIN wrong username or password"
    with Conversation(node.connect(110)) as client:
        client.hear()
        client.ask("USER test1")
        assert client.ask("PASS x") == "-ERR [AUTH] Wrong username or password"


def test_a_stopped_server_takes_connections_and_hangs_its_clients(node: Machine) -> None:
    server = node.serve("server", "dagent", "gateway", "ical")["server"]
    server.kill("STOP")
    for port in (236, 2003):
        with node.connect(port) as connection:
            connection.sendall(http("HEAD"))
            connection.settimeout(1)
            with pytest.raises(socket.timeout):
                connection.recv(1)
    assert greetings(node) == GREETINGS
    assert node.ask(8080, http("OPTIONS")).startswith("HTTP/1.1 200 OK")
    server.kill("TERM")
    assert not server.ended()
    server.kill("CONT")
    assert server.code() == 0


def test_kopano_admin_tells_a_dead_server(node: Machine) -> None:
    code, text = node.answer("kopano-admin", "-l")
    assert code == 1
    assert 'The server is not running, or not accessible through "default:".' in text


@pytest.mark.parametrize("service", ["spooler", "monitor"])
def test_a_service_without_port_comes_back_to_a_restarted_server_by_itself(
        node: Machine, service: str) -> None:
    started = node.serve("server", service)
    started["server"].kill("KILL")
    started["server"].code()
    wait_for("the loss", lambda: "connection lost" in node.log(service))
    node.run("rm /var/log/kopano/server.log")
    node.serve("server")
    wait_for("the return", lambda: "succeeded after" in node.log(service))
    assert started[service].pid in node.pids(service)
