# SPDX-License-Identifier: GPL-2.0-or-later
"""lab/fresh-machine.sh: what it says, what it installs, and that it leaves nothing behind.

apt-get, dpkg-query and the like are small scripts here, in front of the real ones in PATH, so
these tests install nothing and need neither root nor network.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List

import pytest

from twonode import preflight

FRAGMENT = Path(__file__).resolve().parents[2] / "lab/fresh-machine.sh"
LIMIT = 30

HEAD = """\
set -eu
program=lab/demo
. "{fragment}"
POLICY={directory}/policy-rc.d
LOCK_PATIENCE=2
ASK_AGAIN_AFTER=0
"""


class Host:
    """A machine whose package manager and kernel are scripts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policy = directory / "policy-rc.d"
        self.bin = directory / "bin"
        self.bin.mkdir()
        (directory / "tmp").mkdir()
        self.program("id", "echo 0")
        self.program("dpkg-query", f'grep -qx "$3" {directory}/installed && printf installed')
        (directory / "installed").write_text("python3\n")
        self.apt("exit 0")

    def program(self, name: str, script: str) -> None:
        """Put a program in front of the real one."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def apt(self, script: str) -> None:
        """Say what apt-get does; $action is install or update. Its calls are written down."""
        self.program("apt-get", f"""
            action= packages=
            while [ $# -gt 0 ]; do
                case $1 in
                    -o) shift ;;
                    -*) ;;
                    install | update) action=$1 ;;
                    *) packages="$packages $1" ;;
                esac
                shift
            done
            echo "$action$packages" >>{self.directory}/calls
            {script}""")

    @property
    def calls(self) -> List[str]:
        """What apt-get was called for."""
        path = self.directory / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def left(self) -> List[str]:
        """The files that are left where temporary ones go, and a policy of ours."""
        return [path.name for path in (self.directory / "tmp").iterdir()] + \
            [path.name for path in self.directory.glob("policy-rc.d*")]

    def command(self, script: str) -> List[str]:
        """Return the command that runs a script with the fragment."""
        head = HEAD.format(fragment=FRAGMENT, directory=self.directory)
        return ["sh", "-c", head + script]

    @property
    def environment(self) -> Dict[str, str]:
        """The environment of a script."""
        return {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}",
                "TMPDIR": str(self.directory / "tmp")}

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script with the fragment; its output and errors are one text."""
        return subprocess.run(self.command(script), env=self.environment, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding="utf-8")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_only_what_is_missing_is_installed(host: Host) -> None:
    done = host.run("fetch python3 mmdebstrap iproute2 mmdebstrap; echo afterwards")
    assert (done.returncode, host.calls) == (0, ["install mmdebstrap iproute2"])
    assert done.stdout == "lab/demo: fetching mmdebstrap iproute2\nafterwards\n"
    assert host.left == []


def test_nothing_is_called_where_nothing_is_missing(host: Host) -> None:
    done = host.run("fetch python3")
    assert (done.returncode, done.stdout, host.calls) == (0, "", [])


def test_a_package_that_was_removed_but_for_its_configuration_is_missing(host: Host) -> None:
    host.program("dpkg-query", "printf config-files")
    host.run("fetch python3")
    assert host.calls == ["install python3"]


def test_old_lists_of_packages_are_fetched_once(host: Host) -> None:
    host.apt(f"[ $action = update ] && touch {host.directory}/fresh; "
             f"[ -e {host.directory}/fresh ] && exit 0; "
             "echo 'E: Unable to locate package x'; exit 100")
    done = host.run("fetch x; echo afterwards")
    assert host.calls == ["install x", "update", "install x"]
    assert done.stdout.endswith("afterwards\n")
    assert host.left == []


@pytest.mark.parametrize("said, sentence", [
    ("E: Unable to locate package mmdebstrap",
     "apt does not know a package that is needed: this wants Debian 12 or later with its main "
     "archive in /etc/apt (Unable to locate package mmdebstrap)"),
    ("Err:1 http://mirror x\nE: Failed to fetch http://mirror/x.deb  Temporary failure resolving "
     "'mirror'", "the package archive cannot be reached: connect this machine to its network"),
    ("E: Failed to fetch http://mirror/x.deb  Could not connect to mirror:80",
     "the package archive cannot be reached"),
    ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
     "an earlier installation was interrupted: run dpkg --configure -a first"),
    ("E: You don't have enough free space in /var/cache/apt/archives/.",
     "the disk is too full to install packages: make room on /var"),
    ("E: Something new.", "packages could not be installed: Something new."),
])
def test_what_apt_complains_of_is_said_in_one_sentence(
        host: Host, said: str, sentence: str) -> None:
    (host.directory / "said").write_text(said + "\n")
    host.apt(f"[ $action = update ] && exit 0; cat {host.directory}/said; exit 100")
    done = host.run("fetch mmdebstrap; echo never")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"lab/demo: {sentence}")
    assert host.left == []


def test_an_archive_that_cannot_be_reached_is_not_called_an_unknown_package(host: Host) -> None:
    """apt-get update succeeds without its archive, and without lists no package is known."""
    host.apt("[ $action = update ] && { echo \"W: Failed to fetch x  Could not resolve 'm'\"; "
             "exit 0; }; echo 'E: Unable to locate package mmdebstrap'; exit 100")
    done = host.run("fetch mmdebstrap")
    said = done.stdout.splitlines()[-1]
    assert "the package archive cannot be reached" in said
    assert said.endswith("(Failed to fetch x  Could not resolve 'm')")


LOCKED = ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 "
          "(unattended-upgr)")


def test_another_package_manager_is_waited_for_and_named(host: Host) -> None:
    host.apt(f"[ $(wc -l <{host.directory}/calls) -gt 2 ] && exit 0; echo '{LOCKED}'; exit 100")
    done = host.run("fetch mmdebstrap; echo afterwards")
    assert host.calls == ["install mmdebstrap"] * 3
    assert "at work (process 4711 (unattended-upgr)); waiting for it" in done.stdout
    assert done.stdout.endswith("afterwards\n")


def test_another_package_manager_is_not_waited_for_without_end(host: Host) -> None:
    host.apt(f"echo '{LOCKED}'; exit 100")
    host.program("sleep", f"echo $1 >>{host.directory}/slept")
    done = host.run("LOCK_PATIENCE=2 ASK_AGAIN_AFTER=1; fetch mmdebstrap")
    assert done.returncode == 1
    assert set((host.directory / "slept").read_text().split()) == {"1"}
    assert "for more than 2 s: try again when it has ended" in done.stdout.splitlines()[-1]


def test_no_service_may_start_meanwhile(host: Host) -> None:
    host.apt(f"{host.policy}; echo $? >{host.directory}/verdict; "
             f"cp {host.policy} {host.directory}/kept")
    host.run("fetch mmdebstrap")
    assert (host.directory / "verdict").read_text() == "101\n"
    assert host.left == []
    # Had we been killed, what is left would forbid nothing.
    assert subprocess.run(["sh", str(host.directory / "kept")], timeout=LIMIT).returncode == 0


def test_a_policy_of_the_host_s_own_is_left_alone(host: Host) -> None:
    host.policy.write_text("#!/bin/sh\nexit 101\n")
    host.run("fetch mmdebstrap")
    assert host.policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_a_policy_that_an_earlier_run_could_not_remove_is_removed(host: Host) -> None:
    host.policy.write_text("#!/bin/sh\n# Made by mailha's fresh-machine.sh while it installs\n")
    host.run("fetch mmdebstrap")
    assert host.left == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(host: Host, number: int) -> None:
    # exec, lest the signal comes before the sleep and finds nobody who would die of it.
    host.apt(f"touch {host.directory}/begun; exec sleep 1000")
    with subprocess.Popen(host.command("fetch mmdebstrap; echo never"), env=host.environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8",
                          start_new_session=True) as shell:
        deadline = time.monotonic() + LIMIT
        while not (host.directory / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(shell.pid, number)        # as a terminal does
        assert shell.wait(LIMIT) == 128 + number
    assert host.left == []


def test_somebody_who_is_not_root_is_told_what_to_do(host: Host) -> None:
    host.program("id", "echo 1000")
    done = host.run("must_be_root")
    assert (done.returncode, done.stdout) == (
        4, "lab/demo: only root can make machines and install packages: run sudo lab/demo\n")
    done = host.run("fetch mmdebstrap")
    assert (done.returncode, host.calls) == (1, [])
    assert done.stdout == ("lab/demo: packages are missing; install them with: apt-get install "
                           "--no-install-recommends mmdebstrap\n")


@pytest.mark.parametrize("name, script, sentence", [
    ("uname", "echo 4.19.0-27-amd64", "the kernel is 4.19.0-27-amd64, older than 5.10"),
    ("awk", "echo 900", "900 MiB of memory are available and two nodes want 1500"),
    ("df", "printf 'x\\ny 1 1 10 1 /\\n'", "/var has 10 MiB free and the laboratory wants 2500"),
    ("unshare", "exit 1", "namespaces cannot be made here"),
])
def test_what_is_wanting_is_said_in_one_sentence(
        host: Host, name: str, script: str, sentence: str) -> None:
    if name == "df":
        host.program("awk", "case $1 in *MemAvailable*) echo 9999 ;; *) echo 10 ;; esac")
    host.program("unshare", "exit 0")
    host.program(name, script)
    done = host.run("check_mounts() { :; }; must_be_able_to_run_nodes; echo never")
    said = [line for line in done.stdout.splitlines() if sentence in line]
    assert done.returncode == 1 and len(said) == 1
    assert said[0].startswith("lab/demo: ") and ": " in said[0][len("lab/demo: "):]


def test_a_kernel_with_a_two_digit_number_is_newer_than_one_with_one_digit(host: Host) -> None:
    host.program("uname", "echo 5.9.0")
    assert "older than 5.10" in host.run("refused=; check_kernel").stdout
    host.program("uname", "echo 6.1.0-26-amd64")
    assert host.run("refused=; check_kernel").stdout == ""


def test_the_figures_are_those_of_the_laboratory() -> None:
    figures = dict(re.findall(r"^([A-Z_]+)=([\d.]+)", FRAGMENT.read_text(), re.MULTILINE))
    assert figures["OLDEST_KERNEL"] == ".".join(map(str, preflight.OLDEST_KERNEL))
    assert int(figures["MEMORY_MEBIBYTES"]) == preflight.MEMORY_MEBIBYTES
    assert int(figures["DISK_MEBIBYTES"]) == preflight.DISK_MEBIBYTES


@pytest.mark.parametrize("entry", ["lab/demo", "tests/run", ".ci/run", "lab/fresh-machine.sh"])
def test_the_entries_are_posix_sh(entry: str) -> None:
    """dash has no arrays, no [[ and no local pipefail; a fresh Debian has dash."""
    path = FRAGMENT.parents[1] / entry
    done = subprocess.run(["dash", "-n", str(path)], timeout=LIMIT, stderr=subprocess.PIPE)
    assert done.stderr == b""
    assert not re.search(r"\[\[|\bfunction \w+|<<<|\bpipefail\b|\$\{\w+\[", path.read_text())


def test_a_part_that_does_not_exist_is_named() -> None:
    done = subprocess.run([str(FRAGMENT.parents[1] / "tests/run"), "unti"], timeout=LIMIT,
                          stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr == ("tests/run: there is no part unti; there are unit, lint, contract, lab "
                           "and matrix\n")
