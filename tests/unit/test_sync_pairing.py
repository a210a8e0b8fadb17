# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairing two nodes: what goes into the files that decide who may come in, and what does not."""

from __future__ import annotations

import base64
import io
import json
from typing import Any, Dict, List

import pytest

from cli_machine import call
from fake_machine import FakeMachine
from mailha import errors
from mailha.sync.connection import meeting, pairing, peers, ssh
from mailha.sync.connection.pairing import AUTHORIZED_KEYS, Offer
from mailha.sync.connection.peers import KEY, KNOWN_HOSTS, Peer

PROGRAM = "/usr/sbin/mailha"


def public_key(seed: str, kind: str = "ssh-ed25519") -> str:
    """Return a public key that no private one belongs to."""
    name = kind.encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + seed.encode().ljust(32, b".")
    return f"{kind} {base64.b64encode(blob).decode()}"


def node(name: str) -> FakeMachine:
    """Return a node with a key of its own and a host key."""
    made = FakeMachine()
    made.files.put(KEY, b"private")
    made.files.put(f"{KEY}.pub", f"{public_key('key of ' + name)} mailha-sync\n".encode())
    made.files.put("/etc/ssh/ssh_host_ed25519_key.pub",
                   f"{public_key('host ' + name)} root@{name}\n".encode())
    made.children.answer(["crm_node", "--name"], stdout=f"{name}\n".encode())
    made.children.answer([ssh.PROGRAM], stdout=meeting.PREAMBLE)
    made.children.answer(["getent"], stdout=b"192.0.2.1 STREAM alice\n")
    return made


def offer_of(name: str) -> Offer:
    """Return what such a node says of itself."""
    return pairing.offer(node(name), name, "1.0")  # type: ignore[arg-type]


def authorized(where: FakeMachine) -> List[str]:
    """Return the lines of root's authorized_keys."""
    return where.files.content.get(AUTHORIZED_KEYS, b"").decode().splitlines()


def accept(where: FakeMachine, found: Offer, own: str = "alice") -> bool:
    """Take an offer on a node."""
    return pairing.accept(where, own, found, found.node, 22, PROGRAM)  # type: ignore[arg-type]


def test_what_a_peer_may_start_is_the_receiver_and_nothing_else() -> None:
    alice = node("alice")
    alice.files.put(AUTHORIZED_KEYS, b"ssh-rsa AAAA admin@desk\n# a remark")
    assert not accept(alice, offer_of("bob"))
    assert authorized(alice) == [
        "ssh-rsa AAAA admin@desk", "# a remark",
        f'restrict,command="{PROGRAM} sync receive" {public_key("key of bob")} mailha-sync@bob']
    assert alice.files.modes[AUTHORIZED_KEYS] == 0o600
    assert alice.files.content[KNOWN_HOSTS].decode() == f"bob {public_key('host bob')}\n"
    assert peers.peers(alice) == [Peer("bob", "bob")]  # type: ignore[arg-type]


def test_pairing_again_changes_nothing() -> None:
    alice = node("alice")
    accept(alice, offer_of("bob"))
    before = dict(alice.files.content)
    assert accept(alice, offer_of("bob"))
    assert alice.files.content == before


def test_a_replaced_node_takes_the_place_of_the_old_one() -> None:
    alice = node("alice")
    accept(alice, offer_of("bob"))
    accept(alice, offer_of("carol"))
    new = Offer("bob", public_key("new key"), [public_key("new host key")])
    assert accept(alice, new)
    assert [line.split()[-1] for line in authorized(alice)] == ["mailha-sync@carol",
                                                                "mailha-sync@bob"]
    assert public_key("new key") in authorized(alice)[1]
    assert alice.files.content[KNOWN_HOSTS].decode().splitlines() == [
        f"carol {public_key('host carol')}", f"bob {public_key('new host key')}"]


def test_unpairing_leaves_the_keys_of_others() -> None:
    alice = node("alice")
    accept(alice, offer_of("bob"))
    accept(alice, offer_of("carol"))
    assert pairing.forget(alice, "bob")  # type: ignore[arg-type]
    assert [line.split()[-1] for line in authorized(alice)] == ["mailha-sync@carol"]
    assert not pairing.forget(alice, "bob")  # type: ignore[arg-type]


def test_the_lines_of_others_stay_as_they_are_to_the_byte() -> None:
    # Text knows more ends of a line than a file of keys does.
    alice = node("alice")
    others = "ssh-rsa AAAA J\u2028rg\x0c\x85 desk\r\n\nssh-rsa BBBB \x1c\n".encode() + b"# \xff\n"
    alice.files.put(AUTHORIZED_KEYS, others)
    accept(alice, offer_of("bob"))
    assert alice.files.content[AUTHORIZED_KEYS].startswith(others + b"restrict,")
    pairing.forget(alice, "bob")  # type: ignore[arg-type]
    assert alice.files.content[AUTHORIZED_KEYS] == others


@pytest.mark.parametrize("change", [
    {"key": 'ssh-ed25519 AAAA" command="/bin/sh'}, {"key": public_key("x") + "\nssh-rsa AAAA"},
    {"key": public_key("x") + " comment"}, {"key": "ssh-dss " + public_key("x").split()[1]},
    {"key": "ssh-rsa " + public_key("x").split()[1]}, {"key": None}, {"key": "ssh-ed25519 %%%%"},
    {"host_keys": []}, {"host_keys": "x"}, {"host_keys": [public_key("x")] * 17},
    {"host_keys": ["@cert-authority * " + public_key("x")]}, {"node": "bob alice"},
    {"node": "../bob"}, {"node": ""}, {"node": "bob\nroot"}, {"mailha-pair": 2}])
def test_an_offer_that_would_do_more_than_pair_is_refused(change: Dict[str, Any]) -> None:
    said = {**json.loads(offer_of("bob").to_line()), **change}
    with pytest.raises(errors.Failed):
        Offer.of(said)


def test_a_node_is_never_its_own_peer() -> None:
    # A floating address that is on this node leads back here.
    alice = node("alice")
    with pytest.raises(errors.Failed, match="leads to this node itself"):
        accept(alice, offer_of("alice"))
    with pytest.raises(errors.Failed, match="leads to this node itself"):
        accept(alice, Offer("mail", public_key("key of alice"), [public_key("h")]))
    assert authorized(alice) == []


def test_ed25519_is_not_to_be_had_in_fips_mode() -> None:
    alice = node("alice")
    del alice.files.content[KEY]
    alice.children.answer(["ssh-keygen"], code=1, stderr=b"ED25519 keys are not allowed in FIPS")
    with pytest.raises(errors.Failed, match="no key can be made: .*FIPS"):
        pairing.offer(alice, "alice", "1.0")  # type: ignore[arg-type]
    kinds = [ran.argv[ran.argv.index("-t") + 1] for ran in alice.children.ran
             if ran.argv[0] == "ssh-keygen"]
    assert kinds == ["ed25519", "ecdsa"]


class Wire:
    """Both ends of a login, one after the other: what was written there is read here."""

    def __init__(self, *messages: Any, noise: bytes = b"") -> None:
        self.reader = io.BytesIO(noise + b"".join(json.dumps(each).encode() + b"\n"
                                                  for each in messages))
        self.writer = io.BytesIO()

    @property
    def said(self) -> List[Any]:
        """What the end under test said."""
        return [json.loads(line) for line in self.writer.getvalue().splitlines()]


def ask(where: FakeMachine, wire: Wire, wanted: str = "bob") -> meeting.Result:
    """Be the end that the administrator calls."""
    return meeting.ask(where, wire.reader, wire.writer,  # type: ignore[arg-type]
                       offer_of("alice"), wanted=wanted, address=wanted, port=22, own_address="",
                       program=PROGRAM)


DONE = {"mailha-pair": 1}


def test_what_a_login_prints_is_no_answer() -> None:
    wire = Wire(json.loads(offer_of("bob").to_line()), DONE,
                noise=b"Welcome to bob!\n{\"a\": 1}\n17\n")
    result = ask(node("alice"), wire)
    assert result.here is None and result.there is None and not result.again


def test_a_name_that_leads_to_another_node_is_told() -> None:
    alice = node("alice")
    wire = Wire(json.loads(offer_of("carol").to_line()), DONE)
    with pytest.raises(errors.Failed, match="bob calls itself carol.*--address bob"):
        ask(alice, wire)
    assert peers.peers(alice) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", ["carol.example.com", "192.0.2.9", "2001:db8::1"])
def test_a_longer_name_and_an_address_are_no_other_node(wanted: str) -> None:
    ask(node("alice"), Wire(json.loads(offer_of("carol").to_line()), DONE), wanted)


def test_an_end_without_an_answer_is_told() -> None:
    with pytest.raises(errors.Failed, match="without an answer"):
        ask(node("alice"), Wire(noise=b"bash: mailha: command not found\n"))


def test_what_the_other_node_has_against_it_is_told() -> None:
    wire = Wire({"mailha-pair": 1, "reason": "no host key", "remedy": "make one"})
    with pytest.raises(errors.Failed, match="bob says: no host key; make one"):
        ask(node("alice"), wire)


def test_a_trial_that_fails_there_is_told_here() -> None:
    wire = Wire(json.loads(offer_of("bob").to_line()),
                {"mailha-pair": 1, "reason": "alice cannot be reached", "remedy": "x"})
    result = ask(node("alice"), wire)
    assert result.there is not None and result.there.reason == "alice cannot be reached"


def answer(where: FakeMachine, wire: Wire, came_from: str) -> None:
    """Be the end that ssh starts."""
    meeting.answer(where, wire.reader, wire.writer,  # type: ignore[arg-type]
                   offer_of("bob"), program=PROGRAM,
                   environment={"SSH_CONNECTION": f"{came_from} 50000 192.0.2.2 22"})


@pytest.mark.parametrize("came_from,address", [
    ("192.0.2.1", "alice"),         # the name leads there
    ("198.51.100.7", "198.51.100.7"), ("fe80::1%eth0", "fe80::1")])
def test_the_way_back_is_by_name_where_the_name_leads_there(came_from: str, address: str) -> None:
    bob = node("bob")
    wire = Wire(json.loads(offer_of("alice").to_line()), DONE)
    answer(bob, wire, came_from)
    assert peers.find(bob, "alice").address == address  # type: ignore[arg-type]
    assert wire.said[0]["node"] == "bob" and "reason" not in wire.said[1]


def test_a_bad_offer_is_answered_with_the_reason() -> None:
    bob = node("bob")
    wire = Wire({"mailha-pair": 1, "node": "../x"})
    answer(bob, wire, "192.0.2.1")
    assert [set(each) for each in wire.said] == [{"mailha-pair", "reason", "remedy"}]
    assert authorized(bob) == []


@pytest.mark.parametrize("said,reason", [
    ("@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\nHost key verification failed.",
     "another host key"),
    ("No ED25519 host key is known for bob and you have requested strict checking.\n"
     "Host key verification failed.", "host key of bob is not in"),
    ("root@bob: Permission denied (publickey).", "does not let root in"),
    ("ssh: connect to host bob port 22: Connection refused", "cannot be reached: Connection ref"),
    ("ssh: connect to host bob port 22: No route to host", "cannot be reached: No route"),
    ("ssh: Could not resolve hostname bob: Name or service not known", "cannot be resolved"),
    ("sh: 1: /usr/sbin/mailha: not found", "mailha cannot be started"),
    ("", "without a word"), ("kex_exchange_identification: read: reset", "kex_exchange")])
def test_what_ssh_says_is_told_in_our_words(said: str, reason: str) -> None:
    failure = ssh.explain(Peer("bob", "bob"), said)
    assert reason in failure.reason and failure.remedy and "\n" not in str(failure)


def test_ssh_never_asks_and_trusts_nobody_else() -> None:
    argv = ssh.command(Peer("bob", "192.0.2.2", 2222))
    assert argv[1:3] == ["-F", "none"] and argv[-2:] == ["192.0.2.2", ssh.REQUEST]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=bob",
                   "IdentitiesOnly=yes", "IdentityAgent=none"):
        assert f"-o{option}" in argv


def test_a_damaged_file_of_a_peer_is_told() -> None:
    alice = node("alice")
    for content in (b"", b"{}", b"[]", b'{"format": 9}', b'{"format": 1, "node": "bob"}'):
        alice.files.put(f"{peers.PEERS}/bob", content)
        with pytest.raises(errors.Failed, match="mailha sync pair bob"):
            peers.peers(alice)  # type: ignore[arg-type]


def test_offers_can_be_carried_by_hand(tmp_path: Any) -> None:
    alice, bob = node("alice"), node("bob")
    said = call(bob, "sync", "pair", "--offer")
    assert said.code == 0
    (tmp_path / "bob").write_text(said.out)
    taken = call(alice, "sync", "pair", "bob", "--accept", str(tmp_path / "bob"))
    assert taken.code == 0 and "alice takes bob" in " ".join(taken.out.split())
    assert call(alice, "sync", "pair", "carol", "--accept", str(tmp_path / "bob")).code == 1
    (tmp_path / "half").write_text(said.out[:40])
    assert call(alice, "sync", "pair", "bob", "--accept", str(tmp_path / "half")).code == 1
    listed = call(alice, "sync", "pair", "--list")
    assert listed.code == 0 and "works" in listed.out
    assert call(alice, "sync", "pair", "bob", "--remove").code == 0
    assert call(alice, "sync", "pair", "bob", "--remove").code == 1
