# SPDX-License-Identifier: GPL-2.0-or-later
"""What an instance's configurations name has to be there before Cyrus starts without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest
from cyrus_instance import BIN, Instance, Node, prepare
from mailha.products.cyrus import named
from mailha.products.cyrus.imapd import Imapd
from mailha.products.cyrus.syntax import Option


@pytest.fixture
def node(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
         ) -> Node:
    """A node with two instances, neither of which runs."""
    found = Node(tmp_path, capfd)
    prepare(monkeypatch, found)
    return found


def service(its: Instance, line: str, section: str = "SERVICES") -> None:
    """Put a line into a section of cyrus.conf."""
    its.conf_text = its.conf_text.replace(f"{section} {{", f"{section} {{\n  {line}") \
        if f"{section} {{" in its.conf_text else its.conf_text + f"{section} {{\n  {line}\n}}\n"


def tls(its: Instance, *, certificate: bool = True, key: bool = True) -> None:
    """Let it serve IMAP with TLS from the first byte."""
    service(its, f'imaps cmd="imapd -C {its.imapd} -s" listen="{its.address}:993"')
    for name, there in (("cert", certificate), ("key", key)):
        path = Path(its.root) / f"etc/{name}.pem"
        path.parent.mkdir(exist_ok=True)
        its.imapd_text += f"tls_server_{name}: {path}\n"
        if there:
            path.write_text(name)


def test_all_faults_of_cyrus_conf_are_told_at_once(node: Node) -> None:
    its = node.one
    service(its, "bad1 listen=1.2.3.4:1")
    service(its, 'bad2 cmd="imapd" listen="1.2.3.4:1" proto=sctp')
    service(its, 'bad3 cmd="imapd')
    node.write(its)
    answer = node.start()
    assert answer.code == 5 and "bad3: the value of cmd" in answer.reason
    for word in ("bad2: proto=sctp is unknown", "bad1: it has no cmd"):
        assert f"ERROR: {its.conf}" in answer.log and word in answer.log
    warnings = node.call("validate-all").log
    assert all(word in warnings for word in ("bad1: ", "bad2: ", "bad3: "))
    strict = node.call("validate-all", level=10)
    assert strict.code == 5 and all(word in strict.log for word in ("bad1: ", "bad2: ", "bad3: "))


def test_all_commands_for_another_instance_and_unknown_ports_are_told_at_once(node: Node) -> None:
    its = node.one
    its.conf_text = its.conf_text.replace(f" -C {its.imapd}", "")
    node.write(its)
    said = node.start()
    assert said.code == 5
    assert said.log.count(f"has no '-C {its.imapd}'") == 7      # the reason is one of them
    service(its, 'a cmd="imapd" listen="nonesuch"')
    service(its, 'b cmd="imapd" listen="nowhere"')
    node.write(its)
    said = node.start()
    assert "no port 'nowhere'" in said.log and "no port 'nonesuch'" in said.log


@pytest.mark.parametrize("name", ["nntpd", "/opt/nntpd"])
def test_a_service_whose_program_is_missing_would_be_left_out_silently(node: Node, name: str
                                                                       ) -> None:
    its = node.one
    service(its, f'news cmd="{name} -C {its.imapd}" listen="{its.address}:119"')
    node.write(its)
    answer = node.start()
    assert answer.code == 5 and f"news: its program '{name}' does not exist" in answer.reason
    path = name if name.startswith("/") else f"{BIN}/{name}"
    node.machine.files.put(path, b"")
    assert "does not exist" not in node.call("validate-all").log


def test_an_event_that_cannot_be_run_keeps_nobody_from_his_mail(node: Node) -> None:
    its = node.one
    service(its, f'prune cmd="tls_prune -C {its.imapd}" at=0400', "EVENTS")
    node.write(its)
    answer = node.start()
    assert answer.code == 0 and "prune: its program 'tls_prune' does not exist" in answer.log


def test_what_lies_beside_the_master_or_in_its_prefix_is_found(node: Node) -> None:
    its = node.one
    service(its, f'news cmd="nntpd -C {its.imapd}" listen="{its.address}:119"')
    node.write(its)
    node.machine.files.put("/usr/lib/cyrus/libexec/nntpd", b"")
    assert node.call("validate-all", level=10).code == 0


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_tls_without_certificate_or_key_serves_nobody(node: Node, missing: str) -> None:
    its = node.one
    tls(its, certificate=missing != "cert", key=missing != "key")
    node.write(its)
    answer = node.start()
    path = f"{its.root}/etc/{missing}.pem"
    assert answer.code == 5 and f"tls_server_{missing}: '{path}' does not exist" in answer.reason
    Path(path).write_text("x")
    assert "does not exist" not in node.call("validate-all").log


@pytest.mark.parametrize("more", ["", "tls_server_cert: disabled\n"])
def test_tls_that_no_certificate_is_named_for(node: Node, more: str) -> None:
    its = node.one
    service(its, f'imaps cmd="imapd -s -C {its.imapd}" listen="{its.address}:993"')
    its.imapd_text += more
    node.write(its)
    answer = node.start()
    assert answer.code == 5
    assert f"imaps: it speaks TLS (-s), and {its.imapd} names no certificate" in answer.reason


def test_without_a_service_of_tls_a_missing_certificate_is_a_warning(node: Node) -> None:
    """STARTTLS fails then, and a relay that does not ask for it gets its mail through."""
    its = node.one
    its.imapd_text += "tls_server_cert: /none/c\ntls_client_ca_file: /none/ca\n"
    node.write(its)
    answer = node.start()
    assert answer.code == 0
    assert "'/none/c' does not exist" in answer.log and "'/none/ca' does not exist" in answer.log


def test_the_passwords_that_are_named_have_to_be_there(node: Node) -> None:
    its = node.one
    path = Path(its.root) / "sasldb2"
    its.imapd_text += f"sasl_pwcheck_method: auxprop\nsasl_sasldb_path: {path}\n"
    node.write(its)
    answer = node.start()
    assert answer.code == 5 and f"sasl_sasldb_path: '{path}' does not exist" in answer.reason
    path.write_text("x")
    assert node.start().code == 0


def complaints(node: Node, path: Path) -> list[str]:
    """Return what is said of a key that the user "nobody" has to read."""
    options = [Option("configdirectory", "/var/lib/cyrus", "/etc/imapd.conf", 1),
               Option("tls_server_key", str(path), "/etc/imapd.conf", 2)]
    imapd = Imapd("/etc/imapd.conf", options, ["/etc/imapd.conf"])
    return [finding.reason for finding, _ in named.files(
        node.machine, imapd, (), "nobody", 5.0)]        # type: ignore[arg-type]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Return a directory that everybody may enter; those of tests are for one user."""
    import tempfile
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.mark.parametrize("mode, above, readable", [
    (0o644, 0o755, True), (0o600, 0o755, False), (0o640, 0o755, False), (0o644, 0o700, False),
    (0o644, 0o711, True)])
def test_a_key_that_cyrus_may_not_read_is_found(node: Node, open_place: Path, mode: int,
                                                above: int, readable: bool) -> None:
    directory = open_place / "ssl"
    directory.mkdir()
    key = directory / "key.pem"
    key.write_text("x")
    key.chmod(mode)
    directory.chmod(above)
    link = open_place / "link.pem"
    link.symlink_to(key)
    for path in (key, link):
        said = complaints(node, path)
        assert said == ([] if readable else [
            f"/etc/imapd.conf line 2: tls_server_key: the user 'nobody' may not read '{path}'"])


def test_a_list_of_access_rights_is_not_judged_by_the_mode(node: Node, open_place: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    key = open_place / "key.pem"
    key.write_text("x")
    key.chmod(0o600)
    monkeypatch.setattr(os, "listxattr", lambda path: [named.ACL])
    assert complaints(node, key) == []
