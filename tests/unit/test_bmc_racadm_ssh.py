# SPDX-License-Identifier: GPL-2.0-or-later
"""ssh for fence_racadm: its command line, its words, and what a terminal shows.

Nothing is started here; tests/contract has the real ssh.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailha.agents.fence_racadm import AGENT
from mailha.bmc import screen, ssh, ssh_command, ssh_failures
from mailha.bmc.ssh_failures import Place
from mailha.fencing.failures import (FencingFailed, LoginRefused, NameUnknown, NoCommonCipher,
                                     NotUnderstood, SessionLost, SessionsExhausted, Silent,
                                     Unreachable, WrongKey)
from mailha.fencing.settings import Settings

PLACE = Place("192.0.2.1 port 22", "192.0.2.1", 22, "fencer", "/known", "")
KEY_PLACE = PLACE._replace(key="/key")


def settings(**texts: str) -> Settings:
    """Return settings of the agent."""
    return Settings.of(AGENT, **{"ip": "192.0.2.1", "username": "fencer", **texts})


def command(with_password: bool = True, **texts: str) -> List[str]:
    """Return ssh's command line."""
    return ssh_command.command(settings(**texts), connect_timeout=9.2, with_password=with_password)


# --- the command line


def test_ssh_reads_no_configuration_and_forwards_nothing() -> None:
    words = command()
    assert words[:3] == ["/usr/bin/ssh", "-F", "none"]
    assert {"-oIdentityAgent=none", "-oForwardAgent=no", "-oForwardX11=no", "-oControlPath=none",
            "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oEscapeChar=none",
            "-oGlobalKnownHostsFile=/dev/null", "-oNumberOfPasswordPrompts=1"} <= set(words)
    assert words[-6:] == ["-p", "22", "-l", "fencer", "--", "192.0.2.1"]


def test_the_time_for_the_connection_is_whole_seconds_and_never_for_ever() -> None:
    # Less than our own patience, so that it is ssh that says why.
    assert "-oConnectTimeout=8" in command()
    assert "-oConnectTimeout=1" in ssh_command.command(settings(), connect_timeout=0,
                                                       with_password=True)


def test_no_password_is_part_of_the_command_or_the_environment() -> None:
    words = command(password="s3cret")
    assert not any("s3cret" in word for word in [*words, *ssh_command.environment().values()])


def test_a_password_is_typed_and_a_key_alone_is_not_asked_about() -> None:
    words = command(password="x")
    assert {"-oBatchMode=no", "-oPubkeyAuthentication=no", '-oIdentityFile=none',
            "-oPreferredAuthentications=password,keyboard-interactive"} <= set(words)
    words = command(with_password=False, identity_file="/etc/100%/key")
    assert {"-oBatchMode=yes", "-oPubkeyAuthentication=yes", "-oPreferredAuthentications=publickey",
            '-oIdentityFile="/etc/100%%/key"', "-oIdentitiesOnly=yes"} <= set(words)


def test_host_keys_are_checked_as_asked_for() -> None:
    assert "-oStrictHostKeyChecking=yes" in command()
    words = command(host_key_checking="accept-new", known_hosts_file="/k")
    assert {"-oStrictHostKeyChecking=accept-new", '-oUserKnownHostsFile="/k"'} <= set(words)


def test_options_of_the_administrators_stand_behind_ours_which_count_first() -> None:
    words = command(ssh_options="-o KexAlgorithms=+x -oHostKeyAlgorithms=+ssh-rsa -c aes128-cbc "
                    "-mhmac-sha1", inet4_only="1")
    assert words[-11:-6] == ["-oAddressFamily=inet", "-oKexAlgorithms=+x",
                             "-oHostKeyAlgorithms=+ssh-rsa", "-oCiphers=aes128-cbc",
                             "-oMACs=hmac-sha1"]


@given(st.text(max_size=60))
def test_options_of_ssh_are_understood_or_refused(text: str) -> None:
    try:
        given_options = ssh_command.parse_options(text)
    except ValueError:
        return
    for option in given_options:
        name = re.fullmatch(r"-o([A-Za-z0-9]+)=.+", option, re.DOTALL)
        assert name and (name[1].lower() in ssh_command.OPTIONS or name[1] == "AddressFamily")


@pytest.mark.parametrize("name", ["ProxyCommand", "ProxyJump", "LocalCommand", "KnownHostsCommand",
                                  "Match", "Include", "PKCS11Provider", "SecurityKeyProvider",
                                  "RemoteCommand", "StrictHostKeyChecking", "UserKnownHostsFile",
                                  "GlobalKnownHostsFile", "LogLevel", "SendEnv", "XAuthLocation",
                                  "NoHostAuthenticationForLocalhost", "HostKeyAlias", "User"])
def test_nothing_that_runs_a_program_or_trusts_anybody_may_be_given(name: str) -> None:
    for text in (f"-o {name}=x", f"-o{name.lower()}=x", f"-o '{name} x'", f"-o{name}"):
        with pytest.raises(ValueError):
            ssh_command.parse_options(text)


def test_what_keeps_ssh_from_working_is_found_without_starting_it(tmp_path: Path) -> None:
    key, program = tmp_path / "key", tmp_path / "ssh"
    known = tmp_path / "known"

    def found(**texts: str) -> str:
        given = settings(identity_file=str(key), known_hosts_file=str(known), **texts)
        return " | ".join(map(str, ssh_command.findings(given)))

    assert f"there is no program {program}" in found(ssh_path=str(program))
    assert f"identity_file={key}: No such file" in found()
    assert "every login will be refused" in found()
    key.mkdir()
    assert "not a regular file" in found()
    key.rmdir()
    key.touch(mode=0o644)
    key.chmod(0o644)
    assert f"mode 0644), so that ssh does not use it; chmod 600 {key}" in found()
    key.chmod(0o600)
    known.write_text("# nothing\n\nbmc-a ssh-ed25519\n")
    program.touch(mode=0o755)
    assert "no line with the key of a host" in found(ssh_path=str(program))
    known.write_text("# of the rack\n@cert-authority *.example ssh-ed25519 AAAA\n")
    assert found(ssh_path=str(program)) == ""
    key.write_text("ssh-ed25519 AAAA root@alice\n")
    assert "is a public key, which stays at the controller" in found(ssh_path=str(program))
    key.write_text("")
    known.write_text("|1|x|y ecdsa-sha2-nistp256 AAAA\n")
    assert found(ssh_path=str(program)) == ""
    accept = {"host_key_checking": "accept-new", "ssh_path": str(program)}
    known.unlink()
    assert found(**accept) == ""
    known = tmp_path / "nowhere" / "known"
    assert "there is no directory for it" in found(**accept)


# --- the words of ssh


@pytest.mark.parametrize("said, failure, reason", [
    ("ssh: Could not resolve hostname idrac: Name or service not known", NameUnknown,
     "cannot be resolved: Name or service not known"),
    ("ssh: Could not resolve hostname idrac: Temporary failure in name resolution", NameUnknown,
     "Temporary failure"),
    ("ssh: connect to host 192.0.2.1 port 22: Connection refused", Unreachable, "refused"),
    ("ssh: connect to host 192.0.2.1 port 22: No route to host", Unreachable, "No route to host"),
    ("ssh: connect to host 192.0.2.1 port 22: Connection timed out", Unreachable, "no answer"),
    ("Connection timed out during banner exchange", Silent, "answers nothing"),
    ("Connection to 192.0.2.1 port 22 timed out", Silent, "answers nothing"),
    ("kex_exchange_identification: banner line contains invalid characters", NotUnderstood,
     "does not speak SSH"),
    ("ssh_dispatch_run_fatal: Connection to 192.0.2.1 port 22: invalid format", NotUnderstood,
     "does not speak SSH"),
    ("Bad packet length 1397966893.", NotUnderstood, "does not speak SSH"),
    ("Unable to negotiate with 192.0.2.1 port 22: no matching key exchange method found. Their "
     "offer: diffie-hellman-group1-sha1,x", NoCommonCipher,
     "-o KexAlgorithms=+diffie-hellman-group1-sha1"),
    ("Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: "
     "ssh-rsa,ssh-dss", NoCommonCipher, "-o HostKeyAlgorithms=+ssh-rsa"),
    ("Unable to negotiate with 192.0.2.1 port 22: no matching cipher found. Their offer: 3des-cbc",
     NoCommonCipher, "-o Ciphers=+3des-cbc"),
    ("Unable to negotiate with 192.0.2.1 port 22: no matching MAC found. Their offer: hmac-md5",
     NoCommonCipher, "-o MACs=+hmac-md5"),
    ("ssh_dispatch_run_fatal: Connection to 192.0.2.1 port 22: Invalid key length", NoCommonCipher,
     "RequiredRSASize"),
    ("No ED25519 host key is known for 192.0.2.1 and you have requested strict checking.\nHost key "
     "verification failed.", WrongKey, "is not in /known"),
    ("@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key "
     "verification failed.", WrongKey, "has another host key"),
    ("fencer@192.0.2.1: Permission denied (publickey,password).", LoginRefused,
     "wrong user name or password"),
    ("Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\nDisconnected "
     "from 192.0.2.1 port 22", LoginRefused, "wrong user name or password"),
    ("Connection closed by 192.0.2.1 port 22", SessionLost, "sessions may be in use"),
    ("kex_exchange_identification: read: Connection reset by peer", SessionLost,
     "before the login"),
    ("kex_exchange_identification: Connection closed by remote host", SessionLost,
     "before the login"),
    ("The maximum number of sessions has been reached\nConnection closed by 192.0.2.1 port 22",
     SessionsExhausted, "no session left"),
    ("command-line: line 0: Bad configuration option: iqd", NotUnderstood,
     "ended without a login: \"command-line"),
    ("", NotUnderstood, "said nothing")])
def test_why_ssh_gave_up_is_told_from_its_words(
        said: str, failure: Type[FencingFailed], reason: str) -> None:
    for end in ("", "\n", "\nTransferred: sent 3000, received 4000 bytes, in 0.1 seconds\n"):
        found = ssh_failures.why_no_login(said + end, PLACE)
        assert type(found) is failure and reason in str(found), found
        assert "timed out" not in str(found) and "timeout" not in str(found)
        assert "192.0.2.1" in str(found) and found.remedy


@pytest.mark.parametrize("said, reason", [
    ("Permissions 0644 for '/key' are too open.\nWARNING: UNPROTECTED PRIVATE KEY FILE!\nfencer@x: "
     "Permission denied (publickey).", "others may read it; chmod 600 /key"),
    ('Load key "/key": error in libcrypto\nfencer@x: Permission denied (publickey).',
     "cannot be used: error in libcrypto"),
    ("no such identity: /key: No such file or directory\nfencer@x: Permission denied (publickey).",
     "the key /key cannot be read"),
    ("fencer@x: Permission denied (publickey).", "does not let fencer in with the key /key")])
def test_what_is_wrong_with_a_key_is_told_from_its_words(said: str, reason: str) -> None:
    found = ssh_failures.why_no_login(said, KEY_PLACE)
    assert type(found) is LoginRefused and reason in str(found)


@pytest.mark.parametrize("said, failure, reason", [
    ("Connection to 192.0.2.1 closed by remote host.", SessionLost, "closed by remote host"),
    ("client_loop: send disconnect: Broken pipe", SessionLost, "Broken pipe"),
    ("", SessionLost, "ended the session"),
    ("shell request failed on channel 0", NotUnderstood, "gives no shell"),
    ("Max sessions reached\nConnection to 192.0.2.1 closed.", SessionsExhausted, "Max sessions")])
def test_why_a_shell_ended_is_told_from_its_words(
        said: str, failure: Type[FencingFailed], reason: str) -> None:
    found = ssh_failures.why_no_shell(said, PLACE)
    assert type(found) is failure and reason in str(found)


@given(st.text(max_size=300))
def test_any_words_are_a_reason_that_can_be_printed(said: str) -> None:
    for why in (ssh_failures.why_no_login, ssh_failures.why_no_shell):
        assert str(why(said, PLACE)).isprintable()


# --- the terminal


@pytest.mark.parametrize("data, text", [
    (b"a\r\nb\rc\n", "a\nb\nc\n"), (b"\x1b[1;32mracadm>>\x1b[0m ", "racadm>> "),
    (b"\x1b]0;title\x07/admin1-> ", "/admin1-> "), (b"\x1b]0;title\x1b\\x", "x"),
    (b"\x1b(B\x1b[?25h\x1b[K\x1b7\x1b8ok", "ok"), (b"--More--" + b"\b \b" * 8 + b"x", "x"),
    (b"cut \x1b[1;3", "cut "), (b"cut \x1b", "cut "), (b"a\b\b\bb", "b"), (b"\n\bx", "\nx"),
    (b"tab\there\x00\x7f", "tab here"), (b"\xff\xfe", "\\xff\\xfe"), ("ö".encode(), "ö")])
def test_what_a_terminal_shows(data: bytes, text: str) -> None:
    assert screen.shown(data) == text


@given(st.binary(max_size=300))
def test_whatever_comes_can_be_shown(data: bytes) -> None:
    assert all(char.isprintable() or char == "\n" for char in screen.shown(data))


@given(st.text(max_size=500), st.text(min_size=1, max_size=10))
def test_a_quotation_is_one_short_line_without_the_secret(text: str, secret: str) -> None:
    said = screen.quoted(text + secret + text, secret)
    assert said.isprintable() and len(said) <= 162
    if not set(secret) & set('*". '):
        assert secret not in said


@pytest.mark.parametrize("line", ["racadm>>", "racadm>> ", "/admin1-> ", "/admin1->", "$ ", "$",
                                  "[fencer]$ ", "cmc-rack7$ "])
def test_prompts_of_controllers_are_known(line: str) -> None:
    assert re.search(rf"(?:{ssh.PROMPT})[ ]*\Z", line)


@pytest.mark.parametrize("line", ["", " ", "racadm>>racadm serveraction powerstatus", "password: ",
                                  "/admin1-> r", "# ", "x" * 80 + "$", "Server power status: OFF"])
def test_what_is_typed_behind_a_prompt_is_none(line: str) -> None:
    assert not re.search(rf"(?:{ssh.PROMPT})[ ]*\Z", line)
