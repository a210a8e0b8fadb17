# SPDX-License-Identifier: GPL-2.0-or-later
"""The metadata, the help, and that a definition for fence_ipmilan needs only another name."""

from __future__ import annotations

from typing import Dict, List
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

import mailha
from fencing_node import Node, call
from mailha.agents import fence_ipmi, fence_racadm
from mailha.fencing import metadata, standard
from mailha.fencing.declaration import KINDS, FenceAgent
from mailha.fencing.xml import Element as Written
from mailha.fencing.xml import document

AGENTS = [fence_ipmi.AGENT, fence_racadm.AGENT]

every_agent = pytest.mark.parametrize("agent", AGENTS, ids=[agent.name for agent in AGENTS])

IPMILAN = {
    "action": "string", "auth": "select", "cipher": "string", "hexadecimal_kg": "string",
    "ip": "string", "ipaddr": "string", "ipport": "integer", "lanplus": "boolean",
    "login": "string", "method": "select", "passwd": "string", "passwd_script": "string",
    "password": "string", "password_script": "string", "plug": "string", "port": "string",
    "privlvl": "select", "target": "string", "username": "string", "quiet": "boolean",
    "verbose": "boolean", "verbose_level": "integer", "debug": "string", "debug_file": "string",
    "version": "boolean", "help": "boolean", "delay": "second", "disable_timeout": "string",
    "ipmitool_path": "string", "ipmitool_timeout": "string", "login_timeout": "second",
    "plug_separator": "string", "port_as_ip": "boolean", "power_timeout": "second",
    "power_wait": "second", "shell_timeout": "second", "stonith_status_sleep": "second",
    "retry_on": "integer", "sudo": "boolean", "use_sudo": "boolean", "sudo_path": "string"}
"""The parameters of fence_ipmilan 4.12.1 and their types, as its metadata have them."""


def parsed(agent: FenceAgent) -> Element:
    """Return the metadata, parsed."""
    return ElementTree.fromstring(metadata.text(agent))


def parameters(agent: FenceAgent) -> Dict[str, Element]:
    """Return the parameters by name."""
    return {str(element.get("name")): element for element in parsed(agent).iter("parameter")}


@every_agent
def test_every_parameter_has_what_the_schema_wants_in_its_order(agent: FenceAgent) -> None:
    root = parsed(agent)
    assert (root.tag, root.get("name")) == ("resource-agent", agent.name)
    assert [child.tag for child in root] == ["longdesc", "vendor-url", "parameters", "actions"]
    found = parameters(agent)
    assert len(found) == len(list(root.iter("parameter")))
    for element in found.values():
        assert [child.tag for child in element] == ["getopt", "content", "shortdesc"]
        content = element[1]
        assert content.get("type") in KINDS
        assert bool(list(content)) == (content.get("type") == "select")
        assert element.get("unique") == "0" and element[2].text


@every_agent
def test_the_old_name_of_an_option_is_deprecated_and_the_new_one_obsoletes_it(
        agent: FenceAgent) -> None:
    found = parameters(agent)
    pairs = {name: str(element.get("obsoletes")) for name, element in found.items()
             if element.get("obsoletes")}
    assert set(pairs.values()) == {name for name, element in found.items()
                                   if element.get("deprecated") == "1"}
    for new, old in {"ip": "ipaddr", "username": "login", "password": "passwd", "plug": "port",
                     "password_script": "passwd_script", "debug_file": "debug"}.items():
        assert pairs[new] == old


@every_agent
def test_a_node_whose_power_is_switched_needs_no_unfencing(agent: FenceAgent) -> None:
    actions = {action.get("name"): action for action in parsed(agent).iter("action")}
    assert list(actions) == list(standard.ACTIONS)
    assert actions["on"].get("automatic") == "0"
    assert all(action.get("on_target") is None for action in actions.values())


@every_agent
def test_only_the_action_is_required_because_the_address_may_come_as_a_plug(
        agent: FenceAgent) -> None:
    assert [name for name, element in parameters(agent).items()
            if element.get("required") == "1"] == ["action"]


@every_agent
def test_the_metadata_are_ascii_and_have_no_empty_text(agent: FenceAgent) -> None:
    text = metadata.text(agent)
    assert text.isascii() and text.startswith("<?xml")
    assert " ".join(agent.long.split()) == parsed(agent).findtext("longdesc")


def test_every_parameter_of_fence_ipmilan_is_there_with_its_type() -> None:
    found = {name: element[1].get("type")
             for name, element in parameters(fence_ipmi.AGENT).items()}
    assert {name: kind for name, kind in found.items() if name in IPMILAN} == IPMILAN
    assert sorted(set(found) - set(IPMILAN)) == ["node", "password_file"]


def test_defaults_are_those_of_fence_ipmilan_but_for_its_unsafe_one() -> None:
    defaults = {name: element[1].get("default")
                for name, element in parameters(fence_ipmi.AGENT).items()
                if element[1].get("default") is not None}
    assert defaults == {
        "action": "reboot", "ipport": "623", "lanplus": "1", "method": "onoff",
        "privlvl": "administrator", "delay": "0", "power_timeout": "20", "power_wait": "2",
        "login_timeout": "5", "shell_timeout": "3", "stonith_status_sleep": "1", "retry_on": "1",
        "plug_separator": ",", "ipmitool_path": "/usr/bin/ipmitool", "ipmitool_timeout": "2",
        "sudo_path": "/usr/bin/sudo"}


@pytest.mark.parametrize("action", ["metadata", "meta-data", "manpage", "METADATA"])
def test_metadata_are_shown_whatever_else_is_given(action: str) -> None:
    node = Node()
    said = call(node, {"action": action, "ip": "-x", "delay": "soon", "method": "cycle"})
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout == metadata.text(fence_ipmi.AGENT)
    assert call(node, arguments=("-o", action)).stdout == said.stdout and node.events == []


@every_agent
def test_the_help_has_every_option_and_fits_a_terminal(agent: FenceAgent) -> None:
    for arguments in (("-h",), ("--help",), ("-o", "off", "-h")):
        said = call(Node(), arguments=arguments, agent=agent)
        assert (said.code, said.stderr) == (0, "")
        for option in agent.options:
            assert "--" + option.name.replace("_", "-") in said.stdout
        assert all(len(line) <= 100 for line in said.stdout.splitlines())
    assert call(Node(), {"help": "1", "action": "off"}, agent=agent).stdout == said.stdout


@every_agent
def test_the_version_is_that_of_the_suite(agent: FenceAgent) -> None:
    for said in (call(Node(), arguments=("-V",), agent=agent),
                 call(Node(), {"version": "1"}, agent=agent)):
        assert (said.code, said.stdout) == (0, f"{agent.name} (mailha) {mailha.__version__}\n")


@pytest.mark.parametrize("text", ["a<b>&\"c\"", "&amp;", "\u00fc\u5bc6", "]]>", "'"])
def test_what_is_written_is_what_xml_reads(text: str) -> None:
    root = Written("a", {"b": text})
    root.add("c", text=text)
    read = ElementTree.fromstring(document(root))
    assert (read.get("b"), read.findtext("c")) == (text, text)
    assert document(root).isascii()


# Definitions that work with fence_ipmilan 4.12.1, on stdin as Pacemaker gives them.
PACEMAKER = ["nodename=bob", "plug=bob"]

DEFINITIONS: Dict[str, List[str]] = {
    "new names": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1"],
    "old names": ["ipaddr=192.0.2.7", "login=fencer", "passwd=sesame", "lanplus=true"],
    "mixed names": ["ipaddr=192.0.2.7", "username=fencer", "passwd=sesame", "lanplus=on"],
    "of a manual": ["ip=192.0.2.7", "ipport=623", "username=fencer", "password=sesame",
                    "lanplus=1", "cipher=17", "privlvl=operator", "method=onoff", "delay=0"],
    "of an old manual": ["ipaddr=192.0.2.7", "login=fencer", "passwd=sesame", "lanplus=1",
                         "cipher=3", "privlvl=ADMINISTRATOR", "method=ONOFF", "port=bob"],
    "tuned": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1", "power_wait=0",
              "power_timeout=40", "login_timeout=10", "shell_timeout=5", "retry_on=2",
              "stonith_status_sleep=1", "disable_timeout=false"],
    "with a sudo": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1",
                    "use_sudo=1", "sudo_path=/usr/bin/sudo", "ipmitool_path=/usr/bin/ipmitool",
                    "ipmitool_timeout=4"],
    "with an old sudo": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1",
                         "sudo=1", "debug=/dev/null", "verbose=1"],
    "with a key": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1",
                   "hexadecimal_kg=0123456789abcdefABCDEF000000000000000000"],
    "one for all nodes": ["username=fencer", "password=sesame", "lanplus=1", "port_as_ip=1",
                          "plug=192.0.2.7"],
    "quoted": ['ip="192.0.2.7"', 'username="fencer"', 'password="sesame"', 'lanplus="1"'],
    "without a password": ["ip=192.0.2.7", "username=fencer", "lanplus=1"],
    "without a user": ["ip=192.0.2.7", "password=sesame", "lanplus=1"],
    "with a program": ["ip=192.0.2.7", "username=fencer", "lanplus=1",
                       "password_script=/bin/echo sesame"],
    "with an old program": ["ip=192.0.2.7", "login=fencer", "lanplus=1",
                            "passwd_script=/bin/echo 'sesame'"],
    "with a name": ["ip=bob_ipmi.example.com", "username=fencer", "password=sesame", "lanplus=1"],
    "with IPv6": ["ip=2001:db8::7", "username=fencer", "password=sesame", "lanplus=1"],
    "without lanplus": ["ip=192.0.2.7", "username=fencer", "password=sesame"],
    "with a debug file": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1",
                          "debug_file=/dev/null", "verbose_level=3", "quiet=1"],
    "with dashes": ["ip=192.0.2.7", "username=fencer", "password=sesame", "lanplus=1",
                    "power-timeout=30", "plug-separator=,"],
    "with a stray line": ["# by hand", "", "ip=192.0.2.7", "username=fencer", "password=sesame",
                          "lanplus=1", "snmp_version=1", "verbose="],
}


@pytest.mark.parametrize("action", ["off", "on", "reboot", "status", "monitor", "validate-all"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_definition_for_fence_ipmilan_needs_only_another_name(
        name: str, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_socket.getaddrinfo", lambda *words: [])
    node = Node()
    given = DEFINITIONS[name]
    more = PACEMAKER if not any(line.startswith("plug=") for line in given) else PACEMAKER[:1]
    said = call(node, stdin="\n".join([*more, *given, f"action={action}"]).encode())
    assert said.code == 0, said.stderr
    if action != "validate-all":
        assert set(node.passwords) == {"" if name == "without a password" else "sesame"}


CONVERTED: Dict[str, List[str]] = {
    name: [f"--{line.partition('=')[0].replace('_', '-')}" if line in ("lanplus=1", "port_as_ip=1")
           else f"--{line.partition('=')[0].replace('_', '-')}={line.partition('=')[2]}"
           for line in DEFINITIONS[name]]
    for name in ("new names", "of a manual", "tuned", "one for all nodes")}


@pytest.mark.parametrize("name", CONVERTED)
def test_so_does_a_command_line(name: str) -> None:
    node = Node()
    said = call(node, arguments=(*CONVERTED[name], "--action=off"))
    assert said.code == 0, said.stderr
    assert node.passwords == ["sesame"]
