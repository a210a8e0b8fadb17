# SPDX-License-Identifier: GPL-2.0-or-later
"""Every agent, as the tools of a cluster see it: schemas, ocf-tester, crm, pcs, crm_resource.

An agent is found by its executable, so a new one is tested by being there; it only has to be given
a value for each of its parameters below.
"""

from __future__ import annotations

import contextlib
import copy
import os
import stat
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

import specification
from twonode import image
from twonode.loop import LoopDevice
from twonode.sandbox import Sandbox

AGENTS = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "agents").iterdir()
                if path.is_file())

PLACE = "/usr/lib/ocf/resource.d/mailha"

SUITE = os.environ.get("LAB_SUITE", "bookworm")

PCS_SCHEMA = "/usr/share/pcs/data/ocf-1.1.rng"
OCF_SCHEMA = "/usr/share/pacemaker/api/ocf-ra-1.1.rng"
"""Part of Pacemaker from version 3 on."""

OLD_SCHEMAS = {"--dtdvalid": "/usr/share/resource-agents/ra-api-1.dtd",
               "--relaxng": "/usr/share/resource-agents/metadata.rng"}
"""Of resource-agents, which knows OCF 1.0 only, as xmllint takes them."""

VALID = "/document.xml validates\n"
"""What xmllint says of a good document."""

LIMIT = 120.0
"""Seconds that any tool may take on a busy machine."""

VALUES: Dict[str, Dict[str, str]] = {
    "bluemind": {"services": "core nginx tika", "optional_services": "tika", "version": "4.9",
                 "data_dir": "/srv/bm-docs", "shared_dirs": "/srv/bm-docs /srv/cyrus",
                 "require_mount": "false", "config_dir": "/etc/bm", "update_timeout": "10min",
                 "require_stonith": "false", "manual_node": "alice"},
    "config-sync": {"profile": "cyrus", "include": "/etc/aliases /etc/nginx/",
                    "exclude": "/etc/nginx/conf.d/local*", "peers": "bob",
                    "generation_dir": "/srv/cyrus", "apply_sysctl": "true"},
    "cyrus": {"ip": "192.0.2.11", "instance_root": "/srv/server1",
              "imapd_conf": "/srv/server1/etc/imapd.conf",
              "cyrus_conf": "/srv/server1/etc/cyrus.conf", "binary_dir": "/usr/lib/cyrus/bin",
              "data_dir": "/srv/server1/data", "require_mount": "false", "user": "cyrus",
              "manager": "direct", "require_stonith": "false", "manual_node": "alice"},
    "cyrus-storage": {"policy": "split", "imapd_conf": "/etc/imapd.conf",
                      "partitions_file": "/etc/cyrus-partitions", "profile": "cyrus",
                      "paths": "/srv/cyrus", "device": "/dev/cyrus", "require_mount": "true"},
    "fencing-guard": {"manual_node": "alice"},
    "kopano": {"services": "server spooler dagent", "optional_services": "spooler",
               "data_dir": "/srv/kopano", "require_mount": "false", "config_dir": "/etc/kopano",
               "binary_dir": "/usr/sbin", "manager": "direct", "require_stonith": "false",
               "manual_node": "alice"},
}
"""A good value for every parameter of every agent."""

NEEDED: Dict[str, Tuple[str, ...]] = {"config-sync": ("profile",),
                                      "cyrus": ("ip", "instance_root")}
"""Parameters without which an agent refuses to start."""

WITHOUT_SOFTWARE = ("fencing-guard", "cyrus-storage")
"""Agents that can start on a bare machine. The others are given to ocf-tester in tests/lab."""

IMAPD_CONF = """\
configdirectory: /srv/cyrus/lib
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
partition-default: /srv/cyrus/spool
"""

every_agent = pytest.mark.parametrize("agent", AGENTS)


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A machine with the cluster's tools and the suite, without systemd and without a cluster."""
    if os.geteuid():
        pytest.skip("the sandbox needs root")
    with Sandbox(image.ensure(SUITE)) as sandbox:
        with storage_for_cyrus(sandbox):
            yield sandbox


@contextlib.contextmanager
def storage_for_cyrus(sandbox: Sandbox) -> Iterator[None]:
    """Give the machine a disk for Cyrus, and the configuration that names it."""
    file = sandbox.scratch / "cyrus"
    with open(file, "wb") as empty:
        empty.truncate(16 << 20)
    with contextlib.closing(LoopDevice(file, sandbox.path("/dev"))) as device:
        name = f"loop{device.number}"
        with contextlib.suppress(FileExistsError):
            os.mknod(sandbox.path(f"/dev/{name}"), stat.S_IFBLK | 0o600, device.device)
        sandbox.path("/dev/cyrus").symlink_to(name)
        sandbox.path("/etc/imapd.conf").write_text(IMAPD_CONF)
        run(sandbox, "sh", "-ec", "mkfs.ext4 -q /dev/cyrus; mkdir /srv/cyrus; "
            "mount /dev/cyrus /srv/cyrus").check_returncode()
        yield


def run(machine: Sandbox, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a tool on the machine."""
    return machine.run(argv, timeout=LIMIT)


def metadata(machine: Sandbox, agent: str) -> str:
    """Return the meta-data as root reads them."""
    done = run(machine, f"{PLACE}/{agent}", "meta-data")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def options(agent: str, form: str = "{}={}") -> List[str]:
    """Return a good value for every parameter, as arguments."""
    return [form.format(name, value) for name, value in VALUES[agent].items()]


def validates(machine: Sandbox, schema: str, document: str) -> Tuple[bool, str]:
    """Say whether a schema of the machine takes a document, and what it says of it."""
    machine.path("/document.xml").write_text(document)
    done = run(machine, "xmllint", "--noout", "--relaxng", schema, "/document.xml")
    return done.returncode == 0, done.stderr


@every_agent
def test_every_parameter_has_a_value_to_be_tested_with(machine: Sandbox, agent: str) -> None:
    root = ElementTree.fromstring(metadata(machine, agent))
    assert [element.get("name") for element in root.iter("parameter")] == list(VALUES[agent])


@every_agent
def test_the_meta_data_follow_the_specification(machine: Sandbox, agent: str) -> None:
    document = metadata(machine, agent)
    assert specification.violations(ElementTree.fromstring(document)) == []
    if machine.path(OCF_SCHEMA).exists():
        assert validates(machine, OCF_SCHEMA, document) == (True, VALID)


@every_agent
def test_the_meta_data_are_valid_for_the_schema_of_pcs(machine: Sandbox, agent: str) -> None:
    if SUITE == "bullseye":
        assert not machine.path(PCS_SCHEMA).exists()    # its pcs checks nothing by a schema
        return
    assert validates(machine, PCS_SCHEMA, metadata(machine, agent)) == (True, VALID)


@every_agent
@pytest.mark.parametrize("option", OLD_SCHEMAS)
def test_the_schemas_of_resource_agents_refuse_nothing_but_what_ocf_1_1_has_brought(
        machine: Sandbox, agent: str, option: str) -> None:
    root = ElementTree.fromstring(metadata(machine, agent))
    take_out_what_ocf_1_1_has_brought(root)
    if SUITE == "bullseye" and option == "--relaxng":
        # Its grammar has forgotten what its own DTD allows; later ones know it.
        assert root.attrib.pop("version")
    machine.path("/document.xml").write_text(ElementTree.tostring(root, "unicode"))
    done = run(machine, "xmllint", "--noout", option, OLD_SCHEMAS[option], "/document.xml")
    assert done.returncode == 0, done.stderr


def take_out_what_ocf_1_1_has_brought(root: Element) -> None:
    for parameter in root.iter("parameter"):
        for attribute in ("reloadable", "unique-group"):
            parameter.attrib.pop(attribute, None)
        for content in parameter.iterfind("content[@type='select']"):
            content.set("type", "string")
            content[:] = []
            content.text = None
    actions = root.find("actions")
    assert actions is not None
    for action in actions.findall("action[@name='reload-agent']"):
        actions.remove(action)


def swap_descriptions(root: Element) -> None:
    root[1], root[2] = root[2], root[1]


def drop_parameters(root: Element) -> None:
    root[3].clear()


def make_private(root: Element) -> None:
    root[3][0].set("private", "1")


def use_type_of_pcs(root: Element) -> None:
    root[3][0][2].set("type", "port")


def drop_timeout(root: Element) -> None:
    del root[4][0].attrib["timeout"]


def drop_language(root: Element) -> None:
    del root[1].attrib["lang"]


def say_yes(root: Element) -> None:
    root[3][0].set("required", "yes")


def drop_content(root: Element) -> None:
    del root[3][0][2]


def empty_select(root: Element) -> None:
    root[3][0][2].set("type", "select")


@pytest.mark.parametrize("damage", [
    swap_descriptions, drop_parameters, make_private, use_type_of_pcs, drop_timeout, drop_language,
    say_yes, drop_content, empty_select])
def test_our_check_refuses_what_the_schema_of_the_specification_refuses(
        machine: Sandbox, damage: Callable[[Element], None]) -> None:
    root = ElementTree.fromstring(metadata(machine, "fencing-guard"))
    damaged = copy.deepcopy(root)
    damage(damaged)
    assert specification.violations(root) == []
    assert specification.violations(damaged) != []
    if machine.path(OCF_SCHEMA).exists():
        assert validates(machine, OCF_SCHEMA, ElementTree.tostring(root, "unicode"))[0]
        assert not validates(machine, OCF_SCHEMA, ElementTree.tostring(damaged, "unicode"))[0]


@every_agent
def test_the_meta_data_are_the_same_for_nobody_without_any_environment(
        machine: Sandbox, agent: str) -> None:
    done = run(machine, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
               "env", "--ignore-environment", f"{PLACE}/{agent}", "meta-data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == metadata(machine, agent)


@every_agent
@pytest.mark.parametrize("action", ["start", "stop", "monitor"])
def test_nobody_is_told_that_this_needs_root(machine: Sandbox, agent: str, action: str) -> None:
    done = run(machine, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
               "env", "OCF_RESOURCE_INSTANCE=test", f"{PLACE}/{agent}", action)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"ocf-exit-reason:{action} needs root")


@pytest.mark.parametrize("agent", WITHOUT_SOFTWARE)
@pytest.mark.parametrize("with_all", [False, True], ids=["zero", "all"])
def test_ocf_tester_has_nothing_against_it_with_zero_and_with_all_parameters(
        machine: Sandbox, agent: str, with_all: bool) -> None:
    arguments = [word for option in options(agent) for word in ("-o", option)] if with_all else []
    done = run(machine, "ocf-tester", "-n", "test", *arguments, f"{PLACE}/{agent}")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.endswith(f"{PLACE}/{agent} passed all tests\n") and "* rc=" not in said


@every_agent
def test_crm_shows_every_parameter_and_every_action(machine: Sandbox, agent: str) -> None:
    done = run(machine, "crm", "ra", "info", f"ocf:mailha:{agent}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stdout + done.stderr
    check_shown(done.stdout, machine, agent)


@every_agent
def test_pcs_shows_every_parameter_and_every_action(machine: Sandbox, agent: str) -> None:
    done = run(machine, "pcs", "resource", "describe", f"ocf:mailha:{agent}", "--full")
    assert (done.returncode, done.stderr) == (0, "")
    check_shown(done.stdout, machine, agent)


def check_shown(page: str, machine: Sandbox, agent: str) -> None:
    """Find on a page what the meta-data say; the tools break its lines as they please."""
    root = ElementTree.fromstring(metadata(machine, agent))
    found = "".join(page.split())
    for element in [root, *root.iter("parameter")]:
        text = element.findtext("longdesc")
        assert text is not None and "".join(text.split()) in found
        assert str(element.get("name")) in found
    for action in root.iter("action"):
        if action.get("name") not in ("meta-data", "validate-all"):
            assert str(action.get("name")) in found and str(action.get("timeout")) in found


@every_agent
def test_crm_resource_takes_good_parameters_and_the_defaults(machine: Sandbox, agent: str) -> None:
    least = [f"--option={name}={VALUES[agent][name]}" for name in NEEDED.get(agent, ())]
    for arguments in (least, options(agent, "--option={}={}")):
        done = run(machine, "crm_resource", "--validate", "--class", "ocf", "--provider", "mailha",
                   "--agent", agent, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@every_agent
@pytest.mark.parametrize("value", ["-x", "two words'"])    # crm_resource drops one with a newline
def test_crm_resource_shows_what_is_wrong_with_a_parameter(
        machine: Sandbox, agent: str, value: str) -> None:
    for name in VALUES[agent]:
        # -V, or Pacemaker 2.0 keeps to itself what the agent said.
        done = run(machine, "crm_resource", "-V", "--validate", "--class", "ocf",
                   "--provider", "mailha", "--agent", agent, f"--option={name}={value}")
        said = done.stdout + done.stderr
        assert done.returncode == 6, said
        assert f"parameter {name}: " in said and "Traceback" not in said


@every_agent
def test_crm_ra_validate_takes_good_parameters_and_sorts_what_it_is_told(
        machine: Sandbox, agent: str) -> None:
    done = run(machine, "crm", "ra", "validate", f"ocf:mailha:{agent}", *options(agent))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in VALUES[agent]:
        done = run(machine, "crm", "ra", "validate", f"ocf:mailha:{agent}", f"{name}=-x")
        said = done.stdout + done.stderr
        assert done.returncode != 0 and "ERROR" in said and f"parameter {name}: " in said


@every_agent
def test_an_unknown_action_is_unimplemented(machine: Sandbox, agent: str) -> None:
    for action in ("notify", "promote", "migrate_to", "reload", "status"):
        done = run(machine, f"{PLACE}/{agent}", action)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(f"ocf-exit-reason:there is no action '{action}'")
