# SPDX-License-Identifier: GPL-2.0-or-later
"""``mailha storage``: the table, the document, and what they do with all that can be wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Tuple

import pytest

import cli_machine
from cyrus_node import IMAPD_CONF, PARTITIONS, SPLIT_CONF, CyrusNode
from mailha.system.children import Finished


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
         capfd: pytest.CaptureFixture[str]) -> CyrusNode:
    """A node on which Cyrus's two disks are mounted."""
    made = CyrusNode(tmp_path, monkeypatch, capfd)
    made.mount_the_usual()
    return made


def storage(node: CyrusNode, *arguments: str) -> cli_machine.Said:
    """Call the tool."""
    return cli_machine.call(node.machine, "storage", *arguments)     # type: ignore[arg-type]


def document(node: CyrusNode, *arguments: str) -> Tuple[int, Any]:
    """Call the tool with --json; return the exit code and what it says."""
    said = storage(node, "--json", *arguments)
    return said.code, json.loads(said.out)


def test_all_paths_are_shown_and_0_says_that_they_are_fit(node: CyrusNode) -> None:
    said = storage(node)
    assert (said.code, said.err) == (0, "")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["PATH", "FOR", "RULE", "MOUNT", "TYPE", "ON", "VERDICT"]
    assert ["/var/lib/cyrus", "configdirectory", "block", "/var/lib/cyrus", "ext4", "sdb",
            "fit"] in lines
    assert ["/var/spool/cyrus/mail", "partition-default", "block", "/var/spool/cyrus", "xfs", "sdc",
            "fit"] in lines
    assert ["/run/cyrus/proc", "proc_path", "ephemeral", "/run", "tmpfs", "tmpfs", "fit"] in lines


def test_an_unfit_path_has_its_reason_below_it_and_1_is_the_answer(node: CyrusNode) -> None:
    node.mount("/var/spool/cyrus", "nfs4", "nas:/cyrus")
    said = storage(node)
    assert said.code == 1
    lines = said.out.splitlines()
    [row] = [number for number, line in enumerate(lines) if line.endswith("UNFIT")]
    assert lines[row].split()[:2] == ["/var/spool/cyrus/mail", "partition-default"]
    below = " ".join(" ".join(lines[row + 1:row + 6]).split())
    assert "is on nfs4 'nas:/cyrus', mounted at '/var/spool/cyrus'" in below
    assert "it must be on a block device" in below
    assert said.err == ("mailha: 1 of 5 paths are unfit for Cyrus on this node: "
                        "/var/spool/cyrus/mail\n")


def test_it_says_the_same_to_programs(node: CyrusNode) -> None:
    code, said = document(node)
    assert code == 0 and said["fit"] is True and said["format"] == 1
    assert said["files"] == ["/etc/imapd.conf"] and said["policy"] == "strict"
    [path] = [each for each in said["paths"] if each["path"] == "/var/spool/cyrus/mail"]
    assert path == {"path": "/var/spool/cyrus/mail", "for": ["partition-default"], "rule": "block",
                    "resolved": "/var/spool/cyrus/mail", "mount": "/var/spool/cyrus", "type": "xfs",
                    "source": "/dev/sdc", "chain": ["sdc"], "exists": True, "fit": True,
                    "reason": "", "remedy": "", "warnings": []}
    assert set(said["rules"]) == {"block", "lasting", "ephemeral", "with-state"}
    node.unmount("/var/lib/cyrus")
    code, said = document(node)
    assert code == 1 and said["fit"] is False
    assert [each["path"] for each in said["paths"] if not each["fit"]] == ["/var/lib/cyrus"]
    assert all(each["reason"] and each["remedy"] for each in said["paths"] if not each["fit"])


@pytest.mark.parametrize("content", [None, b"\0", b"garbage\n", IMAPD_CONF.encode() + b"x:\n"])
def test_a_configuration_of_no_use_is_3_and_one_line(node: CyrusNode, content: Any) -> None:
    (node.root / "etc/imapd.conf").unlink()
    if content is not None:
        node.put("/etc/imapd.conf", content)
    said = storage(node)
    assert said.code == 3 and said.out == "" and said.err.count("\n") == 1
    code, answer = document(node)
    assert code == 3 and answer["fit"] is False and "/etc/imapd.conf" in answer["error"]
    assert content is not None or "--imapd-conf" in said.err


def test_the_rules_are_explained_where_they_are_shown(node: CyrusNode) -> None:
    said = storage(node)
    rows, _, legend = said.out.partition("\n\n")
    names = {line.split()[2] for line in rows.splitlines()[1:]}
    assert {line.split()[0] for line in legend.splitlines()} == names
    said = cli_machine.call(node.machine, "help", "storage")      # type: ignore[arg-type]
    for word in ("block ", "lasting ", "ephemeral ", "with-state ", "UNFIT", "exit code"):
        assert word in said.out
    assert max(map(len, said.out.splitlines())) < 80


def test_a_path_of_which_nothing_is_known_takes_no_other_one_along(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailha.storage import symlinks
    from mailha.storage.patience import DiskSilent
    real = symlinks.Destinations.of

    def of(self: symlinks.Destinations, path: str) -> str:
        if path.startswith("/var/spool"):
            raise DiskSilent(f"'{path}' did not answer within 5 s", remedy="look for a dead disk")
        return real(self, path)

    monkeypatch.setattr(symlinks.Destinations, "of", of)
    said = storage(node)
    assert said.code == 3 and "/var/spool/cyrus/mail" in said.err
    [row] = [line for line in said.out.splitlines() if line.endswith("UNKNOWN")]
    assert row.startswith("/var/spool/cyrus/mail") and "did not answer" in said.out
    assert "/var/lib/cyrus  " in said.out
    code, answer = document(node)
    [path] = [each for each in answer["paths"] if "error" in each]
    assert (code, answer["fit"], path["fit"]) == (3, False, None)
    # What is known to be unfit is an answer.
    node.unmount("/var/lib/cyrus")
    assert storage(node).code == 1


def test_what_does_not_exist_is_fit_only_on_a_mount_of_its_own(node: CyrusNode) -> None:
    """As start sees it: without require_mount nothing else tells whether the mail is there."""
    (node.root / "var/spool/cyrus/mail").rmdir()
    said = storage(node)
    assert said.code == 0 and "fit, missing" in said.out and "is that the right disk?" in said.err
    assert "/run/cyrus/proc" in said.out and said.out.count("missing") == 1
    node.unmount("/var/spool/cyrus")
    code, answer = document(node, "--no-require-mount")
    [path] = [each for each in answer["paths"] if not each["fit"]]
    assert code == 1 and path["path"] == "/var/spool/cyrus/mail" and path["exists"] is False
    assert "does not exist on ext4 '/dev/vda'" in path["reason"] and path["remedy"]
    (node.root / "var/spool/cyrus/mail").mkdir()
    assert storage(node, "--no-require-mount").code == 0


def test_files_may_be_named_from_where_one_is(node: CyrusNode,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    node.put("/srv/b/imapd.conf", IMAPD_CONF)
    for here, name in (("/srv/b", "imapd.conf"), ("/srv", "b/imapd.conf"),
                       ("/", "srv/b/imapd.conf"), ("/srv/b/c/d", "../.././imapd.conf"),
                       ("/srv/b", "./imapd.conf")):
        monkeypatch.setattr(os, "getcwd", lambda here=here: here)
        assert document(node, "--imapd-conf", name)[1]["imapd_conf"] == "/srv/b/imapd.conf"
    said = storage(node, "--imapd-conf", "b/../c")
    assert said.code == 2 and "--imapd-conf" in said.err and "'..'" in said.err


def test_policy_and_profile_are_those_of_the_agent(node: CyrusNode) -> None:
    node.put("/etc/imapd.conf", SPLIT_CONF)
    node.put("/etc/cyrus-partitions", PARTITIONS)
    node.mount("/var/spool/cyrus/data", "nfs4", "nas:/data")
    assert storage(node).code == 1
    said = storage(node, "--policy", "split")
    assert said.code == 0 and "warning: '/var/spool/cyrus/data/example_org' is on NFS" in said.err
    code, answer = document(node, "--policy=split", "--profile=bluemind4")
    assert code == 1
    assert [each["path"] for each in answer["paths"] if not each["fit"]] == [
        "/var/spool/bm-elasticsearch", "/var/lib/postgresql"]


def test_further_paths_devices_and_files_can_be_given(node: CyrusNode) -> None:
    node.put("/srv/imapd.conf", IMAPD_CONF)
    node.put("/srv/partitions", "partition-b: /srv/b\n")
    code, answer = document(node, "--imapd-conf", "/srv/imapd.conf", "--partitions-file",
                            "/srv/partitions", "--paths", "/var/spool/cyrus", "--paths=/srv/c",
                            "--device", "/var/lib/cyrus=/dev/sdc,/var/spool/cyrus=/dev/sdc")
    assert code == 1 and answer["files"] == ["/srv/imapd.conf", "/srv/partitions"]
    assert {each["path"] for each in answer["paths"] if not each["fit"]} == {
        "/srv/b", "/srv/c", "/var/lib/cyrus"}
    (node.root / "srv/c").mkdir()
    assert document(node, "--no-require-mount", "--paths", "/srv/c")[0] == 0


def test_a_device_for_a_path_that_cyrus_does_not_use_is_no_answer(node: CyrusNode) -> None:
    said = storage(node, "--device", "/var/lib/cyrsu=/dev/sdb")
    assert said.code == 3 and said.out == ""
    assert "/var/lib/cyrsu=/dev/sdb holds for no path" in said.err and "/var/lib/cyrus" in said.err


class Answers:
    """Children of which cibadmin alone has something to say."""

    def __init__(self, configuration: bytes, node: CyrusNode) -> None:
        self._configuration = configuration
        self.bounded = node.machine.children.bounded

    def run(self, argv: Any, **more: Any) -> Finished:
        return Finished(0, self._configuration)


def primitive(name: str, kind: str = "cyrus-storage", **parameters: str) -> str:
    """Return a resource of the cluster, in XML."""
    pairs = "".join(f'<nvpair id="{name}-{key}" name="{key}" value="{value}"/>'
                    for key, value in parameters.items())
    return (f'<primitive id="{name}" class="ocf" provider="mailha" type="{kind}">'
            f'<instance_attributes id="{name}-a">{pairs}</instance_attributes></primitive>')


def test_a_resource_of_the_cluster_gives_its_parameters(node: CyrusNode) -> None:
    node.put("/srv/imapd.conf", IMAPD_CONF)
    node.machine.children = Answers(cli_machine.configuration(   # type: ignore[assignment]
        primitive("storage", imapd_conf="/srv/imapd.conf", policy="split", paths="/srv/x"),
        primitive("wrong", policy="loose"), primitive("mail", "kopano")), node)
    code, answer = document(node, "storage")
    assert code == 1 and answer["imapd_conf"] == "/srv/imapd.conf" and answer["policy"] == "split"
    assert [each["path"] for each in answer["paths"] if not each["fit"]] == ["/srv/x"]
    assert document(node, "storage", "--policy=strict")[1]["policy"] == "strict"
    code, answer = document(node, "--paths", "/srv/y", "storage")
    assert [each["path"] for each in answer["paths"] if not each["fit"]] == ["/srv/y"]
    for name, words in (("wrong", "parameter policy of 'wrong': 'loose' is unknown"),
                        ("gone", "the cluster has no resource 'gone'"), ("-x", ""),
                        ("mail", "is run by ocf:mailha:kopano and not by ocf:mailha:cyrus")):
        said = storage(node, name)
        assert said.code == (2 if name == "-x" else 3)
        assert words in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("arguments, code", [
    (["--paths", "relative"], 2), (["--imapd-conf", "no-such-file"], 3), (["--device", "sdb"], 2),
    (["--paths", "/a\n/b"], 2), (["--imapd-conf", ""], 2), (["--paths", ""], 2),
    (["--policy", "loose"], 2), (["--profile", "exchange"], 2),
    (["one", "two"], 2)])
def test_a_wrong_command_line_is_one_line(node: CyrusNode, arguments: Any, code: int) -> None:
    said = storage(node, *arguments)
    assert said.code == code and said.out == "" and said.err.count("\n") == 1


def test_names_that_cannot_be_printed_harm_no_terminal(node: CyrusNode) -> None:
    node.put("/etc/imapd.conf", IMAPD_CONF.encode() + b"partition-b: /srv/\x1b[2J\xff x\n")
    said = storage(node)
    assert said.code == 1 and "\\x1b[2J" in said.out
    assert all(letter.isprintable() or letter == "\n" for letter in said.out + said.err)
    assert document(node)[0] == 1


def test_no_root_is_needed_unless_the_configuration_is_hidden(
        node: CyrusNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert storage(node).code == 0

    def refuse(self: object, path: str, limit: int = 0) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    survey = type(node.machine.files).read
    monkeypatch.setattr(type(node.machine.files), "read", lambda self, path, *rest: (
        refuse(self, path) if path.startswith("/etc/") else survey(self, path, *rest)))
    said = storage(node)
    assert said.code == 3 and "cannot read /etc/imapd.conf: Permission denied; ask as root" \
        in said.err


def test_nothing_is_written(node: CyrusNode) -> None:
    before = node.files()
    storage(node)
    assert node.files() == before
