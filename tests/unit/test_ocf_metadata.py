# SPDX-License-Identifier: GPL-2.0-or-later
"""The meta-data of an agent, read as crm, pcs and Pacemaker read them."""

from __future__ import annotations

from typing import List
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from mailha.ocf import metadata
from mailha.ocf.declaration import Agent, Parameter
from mailha.validation import Text
from ocf_agent import Trial


@pytest.fixture
def document(capfd: pytest.CaptureFixture[str]) -> bytes:
    return metadata.document(Trial(capfd).agent)


@pytest.fixture
def root(document: bytes) -> Element:
    return ElementTree.fromstring(document)


def tags(element: Element) -> List[str]:
    return [child.tag for child in element]


def text(element: Element, path: str) -> str:
    found = element.findtext(path)
    assert found is not None
    return found


def test_the_order_is_the_one_of_the_specification(root: Element) -> None:
    assert tags(root) == ["version", "longdesc", "shortdesc", "parameters", "actions"]
    for parameter in root.iter("parameter"):
        assert tags(parameter) == ["longdesc", "shortdesc", "content"]


def test_the_version_is_that_of_the_specification_and_not_the_agents(root: Element) -> None:
    assert text(root, "version") == "1.1"
    assert root.get("name") == "trial" and root.get("version") != "1.1"


def test_every_description_names_its_language(root: Element) -> None:
    for tag in ("longdesc", "shortdesc"):
        assert [element.get("lang") for element in root.iter(tag)] == ["en"] * 6


def test_text_comes_out_as_it_went_in(root: Element) -> None:
    assert text(root, "longdesc") == "An agent.\n\nWith two paragraphs: <b>&amp; more."
    assert text(root, "parameters/parameter[3]/longdesc") == "Who runs <them> & \"why\"."


def test_parameters_say_what_they_are(root: Element) -> None:
    services, data_dir, manager, patience, strict = root.iter("parameter")
    assert services.attrib == {"name": "services", "required": "0"}
    assert data_dir.attrib == {"name": "data_dir", "required": "0", "unique-group": "data"}
    assert patience.attrib == {"name": "patience", "required": "0", "reloadable": "1"}
    contents = [parameter[2].attrib for parameter in (services, manager, patience, strict)]
    assert contents == [{"type": "string", "default": "server dagent"},
                        {"type": "select", "default": "systemd"},
                        {"type": "integer", "default": ""}, {"type": "boolean", "default": "true"}]
    assert [option.get("value") for option in manager.iter("option")] == ["systemd", "direct"]


def test_a_required_parameter_has_no_default() -> None:
    agent = Agent("x", short="x", long="x", actions=(), parameters=(
        Parameter("host", Text(), required=True, short="x", long="x"),))
    [parameter] = ElementTree.fromstring(metadata.document(agent)).iter("parameter")
    assert parameter.get("required") == "1"
    assert parameter[2].attrib == {"type": "string"}


def test_actions_are_the_declared_ones_and_times_have_a_unit(root: Element) -> None:
    actions = [dict(action.attrib) for action in root.iter("action")]
    assert actions == [
        {"name": "start", "timeout": "60s"}, {"name": "stop", "timeout": "90s"},
        {"name": "monitor", "timeout": "20s", "interval": "30s"},
        {"name": "monitor", "timeout": "40s", "interval": "120s", "depth": "10"},
        {"name": "reload-agent", "timeout": "20s"}, {"name": "meta-data", "timeout": "10s"},
        {"name": "validate-all", "timeout": "20s"}]


def test_the_document_can_be_read_as_text_too(document: bytes) -> None:
    """crmsh 4 gives decoded text to lxml, which then refuses a declared encoding."""
    assert document.isascii() and b"encoding" not in document.split(b"?>")[0]


def test_what_is_not_ascii_is_kept() -> None:
    agent = Agent("x", short="für Büros", long="x", actions=(), parameters=())
    document = metadata.document(agent)
    assert document.isascii()
    assert text(ElementTree.fromstring(document), "shortdesc") == "für Büros"


def test_nothing_is_private_because_pcs_refuses_such_agents(document: bytes) -> None:
    assert b"private" not in document
