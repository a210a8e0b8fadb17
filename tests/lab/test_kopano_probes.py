# SPDX-License-Identifier: GPL-2.0-or-later
"""mailha's Kopano room against the stand-in and a real MariaDB.

Each test sends a few lines of Python to the machine, which run there with mailha's library and
print what they found as JSON.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Iterator

import pytest

from kopano import layout
from standin_machine import DAEMONS, KOPANO_IP, MYSQL_IP, Machine
from twonode import package
from waiting import wait_for

PRELUDE = """
import json, os, socket, sys, time
sys.path.insert(0, "/usr/lib/ocf/lib")
from mailha import errors
from mailha.products.kopano import configuration, database, installed, leftovers, soap
from mailha.services.service import Service
from mailha.storage.version import Version
from mailha.system.machine import Machine
machine = Machine()
version = installed.installed_version(machine, 10)

def load(service):
    return configuration.load(machine, service, "/etc/kopano", version)

def service(name):
    found = load(name)
    return Service(name, unit="", program=installed.program(name), pid_file=found.pid_file,
                   pipes=found.pipes)

def log_on(timeout=30.0):
    server = load("server")
    return soap.log_on(machine, server.pipes[0], version, timeout, database=server.database)

def reach(timeout=30.0):
    database.reach(machine, load("server").database, timeout)

def tell(found):
    print(json.dumps(found))

def outcome(function, *arguments):
    begin = time.monotonic()
    try:
        text = ["", str(function(*arguments))]
    except errors.MailhaError as error:
        text = [type(error).__name__, str(error)]
    return [*text, time.monotonic() - begin]
"""


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Machine]:
    with Machine(image) as machine:
        with tempfile.TemporaryDirectory() as directory:
            package.lay(image, (), Path(directory) / "suite")
            shutil.copytree(Path(directory) / "suite" / package.LIBRARY,
                            machine.path(package.LIBRARY))
        yield machine


@pytest.fixture(autouse=True)
def fresh(node: Machine) -> None:
    node.reset()


def ask(node: Machine, code: str) -> Any:
    """Run code on the machine and return what it told."""
    returned, text = node.answer("python3", "-I", "-c", PRELUDE + textwrap.dedent(code),
                                 timeout=90)
    assert returned == 0, text
    return json.loads(text)


# Logging on at the server

def test_a_healthy_server_says_the_guid_that_is_in_its_database(node: Machine) -> None:
    node.serve("server")
    guid = node.sql("SELECT LOWER(HEX(value)) FROM kopano.settings WHERE name = 'server_guid'")
    assert ask(node, "tell(log_on())") == [guid, "8.7.25"]


def test_a_dead_database_shows_in_the_store_and_heals_by_itself(node: Machine) -> None:
    node.serve("server")
    node.kill_database()
    kind, text, _ = ask(node, "tell(outcome(log_on))")
    assert kind == "DatabaseUnreachable"
    assert f"cannot reach database 'kopano' at {MYSQL_IP}:3306" in text
    node.start_database()
    assert ask(node, "tell(log_on())")[1] == "8.7.25"


def test_a_stopped_server_is_mute_and_does_not_hold_us_up(node: Machine) -> None:
    server = node.serve("server")["server"]
    server.kill("STOP")
    kind, text, seconds = ask(node, "tell(outcome(log_on, 2.0))")
    assert kind == "ServerMute" and "does not answer logon" in text
    assert seconds < 30
    server.kill("CONT")
    assert ask(node, "tell(log_on())")[1] == "8.7.25"


def test_a_killed_server_leaves_its_socket_but_is_dead(node: Machine) -> None:
    server = node.serve("server")["server"]
    server.kill("KILL")
    server.code()
    kind, text, _ = ask(node, "tell(outcome(log_on))")
    assert kind == "ServerDead" and "Connection refused" in text


def test_an_upgrade_is_told_from_a_server_that_hangs(node: Machine) -> None:
    node.vices("server: slow_upgrade=1000")
    server = node.daemon("server")
    wait_for("the upgrade", lambda: "Start: Database upgrade" in node.log("server"))
    found = ask(node, "tell([*outcome(log_on, 1.0), leftovers.upgrading(machine)])")
    assert found[0] == "ServerMute" and found[3] is True
    server.kill("KILL")
    server.code()
    # The lock that it left is older than the next server, by the second that was waited above.
    node.vices()
    assert ask(node, "tell(leftovers.upgrading(machine))") is False
    server = node.serve("server")["server"]
    server.kill("STOP")
    assert "Unable to place upgrade lockfile" in node.log("server")
    assert ask(node, "tell(leftovers.upgrading(machine))") is False
    server.kill("KILL")
    server.code()
    assert "/tmp/kopano-upgrade-lock" in ask(
        node, "tell(leftovers.clear(machine, [service('server')]))")


# The database

def test_the_database_answers_or_says_why_not(node: Machine) -> None:
    assert ask(node, "tell(outcome(reach))")[:2] == ["", "None"]
    node.run("pkill -STOP -x mariadbd")
    kind, text, seconds = ask(node, "tell(outcome(reach, 1.0))")
    assert kind == "DatabaseUnreachable" and "no answer in time" in text and seconds < 30
    node.run("pkill -CONT -x mariadbd")
    node.kill_database()
    kind, text, _ = ask(node, "tell(outcome(reach))")
    assert kind == "DatabaseUnreachable"
    assert text.startswith(f"database 'kopano' at {MYSQL_IP}:3306 cannot be reached: ")
    assert "Connection refused" in text


def test_too_many_connections_are_the_databases_own_words(node: Machine) -> None:
    before = node.sql("SELECT @@max_connections")
    node.sql("SET GLOBAL max_connections = 10")
    try:
        kind, text, _ = ask(node, f"""
            held = [socket.create_connection(("{MYSQL_IP}", 3306)) for _ in range(20)]
            for each in held[:11]:
                each.recv(1)
            tell(outcome(reach))
            """)
        assert kind == "DatabaseUnreachable"
        assert "it says 'Too many connections'; raise max_connections" in text
    finally:
        wait_for("the connections' end",
                 lambda: node.answer("mariadb", "-e",
                                     f"SET GLOBAL max_connections = {before}")[0] == 0)


@pytest.fixture
def strict(node: Machine) -> Iterator[None]:
    """A MariaDB that bans at the third error, as it does by default at the hundredth."""
    hosts = node.path("/etc/hosts")
    text = hosts.read_text()
    # It counts only for clients whose address has a name.
    hosts.write_text(f"{text}{MYSQL_IP} node\n")
    node.kill_database()
    node.run("setsid mariadbd --user=mysql --skip-name-resolve=0 --performance-schema=ON"
             " --max-connect-errors=3 </dev/null >/var/log/mariadbd.log 2>&1 &")
    wait_for("MariaDB", lambda: node.answer("mariadb-admin", "ping")[0] == 0)
    yield
    hosts.write_text(text)
    node.kill_database()


def test_the_probe_never_gets_the_node_banned_from_its_database(node: Machine, strict: None
                                                                ) -> None:
    kopano = """
        import pymysql
        with open("/etc/kopano/server.cfg") as file:
            values = dict(line.strip().split(" = ") for line in file if line.startswith("mysql_"))
        def kopano_can_log_in():
            try:
                pymysql.connect(host=values["mysql_host"], user=values["mysql_user"],
                                password=values["mysql_password"]).close()
                return True
            except pymysql.MySQLError:
                return False
        """
    found = ask(node, kopano + """
        before = kopano_can_log_in()
        for _ in range(20):
            reach()
        tell([before, kopano_can_log_in()])
        """)
    assert found == [True, True]
    assert node.sql("SELECT SUM_CONNECT_ERRORS, COUNT_HOST_BLOCKED_ERRORS FROM"
                    " performance_schema.host_cache").split() == ["0", "0"]
    # The same without taking leave: this is what a port check does.
    found = ask(node, kopano + f"""
        for _ in range(20):
            with socket.create_connection(("{MYSQL_IP}", 3306)) as connection:
                connection.recv(1000)
        deadline = time.monotonic() + 60
        while kopano_can_log_in() and time.monotonic() < deadline:
            time.sleep(0.1)
        tell([kopano_can_log_in(), *outcome(reach)])
        """)
    assert found[:2] == [False, "DatabaseUnreachable"]
    assert "is blocked because of many connection errors" in found[2]
    assert "unblock this node with 'mariadb-admin flush-hosts'" in found[2]
    node.run("mariadb-admin flush-hosts")
    assert ask(node, "tell(outcome(reach))")[:2] == ["", "None"]


# Configuration

@pytest.mark.parametrize("version", ["8.0.0", "8.4.4", "8.5.0", "8.6.9", "8.7.25", "11.0.2"])
def test_services_listen_where_their_configuration_says(node: Machine, version: str) -> None:
    node.reset(version)
    password = next(line.split(" = ")[1] for line in
                    node.path("/etc/kopano/server.cfg").read_text().splitlines()
                    if line.startswith("mysql_password"))
    listen_keys = version >= "8.7"
    texts = layout.configuration(layout.Addresses(KOPANO_IP, MYSQL_IP, password),
                                 listen_keys=listen_keys or version[0] == "1")
    for service, text in texts.items():
        node.path(f"/etc/kopano/{service}.cfg").write_text(text)
    # The database was made for 8.7.25, and an older server refuses it.
    node.sql("DELETE FROM kopano.versions")
    for service in DAEMONS:
        node.daemon(service)
    code = """
        from mailha.system.addresses import listens
        listeners, unix = machine.sockets.listeners(), machine.sockets.unix_listeners()
        missing = []
        for name in ("server", "spooler", "dagent", "monitor", "gateway", "ical"):
            found = load(name)
            missing += [each for each in found.endpoints
                        if not any(listens(listener, *each[1:]) for listener in listeners)]
            missing += [each for each in found.pipes if each not in unix]
            missing += found.warnings
        tell([missing, len(listeners)])
        """
    wait_for("all listeners", lambda: ask(node, code)[0] == [])
    # MariaDB's own, and what the six services listen on, and nothing that was not foreseen.
    assert ask(node, code)[1] == 1 + (6 if listen_keys or version[0] == "1" else 5)


def test_a_key_of_another_version_is_refused_as_the_service_itself_would(node: Machine) -> None:
    node.configure("server", server_bind=KOPANO_IP)
    kind, text, _ = ask(node, "tell(outcome(load, 'server'))")
    assert kind == "NotAllowedHere" and f"write 'server_listen = {KOPANO_IP}:236' instead" in text
    assert node.daemon("server").code() == 255


# What is left, and what was said

def test_what_a_killed_kopano_leaves_is_cleared_and_what_lives_stays(node: Machine) -> None:
    started = node.serve()
    code = f"tell(leftovers.clear(machine, [service(each) for each in {list(DAEMONS)}]))"
    assert ask(node, code) == []
    for service in ("server", "spooler"):
        started[service].kill("KILL")
        started[service].code()
        wait_for(f"the end of {service}", lambda: not node.pids(service))
    assert sorted(ask(node, code)) == [
        "/var/run/kopano/prio.sock", "/var/run/kopano/server.pid", "/var/run/kopano/server.sock",
        "/var/run/kopano/spooler.pid"]
    assert node.path("/run/kopano/gateway.pid").exists()
    node.serve("server", "spooler")
    assert ask(node, "tell(log_on())")[1] == "8.7.25"


def test_a_spooler_starts_over_the_pid_file_of_a_zombie_once_that_is_cleared(node: Machine
                                                                             ) -> None:
    node.serve("server")
    zombie = node.start("python3", "-c",
                        "import os, time\n"
                        "pid = os.fork()\n"
                        "if pid == 0: os._exit(0)\n"
                        "open('/run/kopano/spooler.pid', 'w').write(str(pid))\n"
                        "time.sleep(1000)")
    wait_for("the zombie", lambda: node.run(
        "test -s /run/kopano/spooler.pid && cut -d' ' -f3 /proc/$(cat /run/kopano/spooler.pid)/stat"
        " || :").strip() == "Z")
    assert node.daemon("spooler").code() == 1
    assert ask(node, "tell(leftovers.clear(machine, [service('spooler')]))") == [
        "/var/run/kopano/spooler.pid"]
    assert not node.daemon("spooler").ended()
    node.await_ready("spooler")
    zombie.kill("KILL")


def test_the_run_directory_is_made_with_owner_and_mode(node: Machine) -> None:
    node.run("rm -r /run/kopano")
    ask(node, "tell(leftovers.make_run_directory(machine))")
    assert node.run("stat -c '%U %G %a' /run/kopano").split() == ["kopano", "kopano", "775"]
    node.run("chmod 700 /run/kopano")
    ask(node, "tell(leftovers.make_run_directory(machine))")
    assert node.run("stat -c %a /run/kopano").strip() == "700"


@pytest.mark.parametrize("fault, words", [
    ("newer data", "WARNING: Database version (9,0,0,0,119) is newer than the server version"),
    ("address not here", "203.0.113.9"), ("wrong key", 'Unknown option "no_such_key"')])
def test_the_last_words_say_why_a_start_failed(node: Machine, fault: str, words: str) -> None:
    if fault == "newer data":
        node.sql("INSERT INTO kopano.versions (major, minor, micro, revision, databaserevision,"
                 " updatetime) VALUES (9, 0, 0, 0, 119, NOW())")
    elif fault == "address not here":
        node.configure("server", server_listen="203.0.113.9:236")
    else:
        node.configure("server", no_such_key="1")
    begin = float(node.run("date +%s"))
    server = node.daemon("server")
    server.code()
    node.path("/tmp/output").write_text(server.output)
    found = ask(node, f"""
        path = load("server").log_file
        tell(leftovers.last_words(machine, service("server"), since={begin}, log_file=path,
                                  output="/tmp/output"))
        """)
    assert words in found
