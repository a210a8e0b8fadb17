# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory itself: are its machines machines, and does it end without a trace?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, List, Set

import pytest
from waiting import wait_for

from twonode import cgroup, launcher, linux, package, plan
from twonode.enter import CommandFailed
from twonode.lab import Lab, LabError

MakeLab = Callable[..., Lab]

ONLINE_LIMIT = 60.0
"""Seconds from the order to build a laboratory until its cluster is whole. Less than ten are usual,
and twenty where thirty programs want two cores; with a service that waits for what never comes it
is the 90 that systemd gives it."""


def boot_id(lab: Lab, node: str) -> str:
    """Return what differs from boot to boot, or nothing while the node cannot say; a systemd that
    shuts down answers nobody. The kernel's own boot id is the host's."""
    try:
        return lab.execute(node, ["systemctl", "show", "-p", "UserspaceTimestampMonotonic"],
                           timeout=20).stdout
    except (LabError, CommandFailed, subprocess.TimeoutExpired):
        return ""


def capabilities(status: str) -> Set[int]:
    """Return the numbers of the capabilities in the bounding set of /proc/PID/status."""
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    assert match is not None
    return {number for number in range(64) if int(match.group(1), 16) >> number & 1}


def traces(name: str) -> List[str]:
    """Return everything of a lab that the host can still see."""
    found = [str(path) for path in (plan.RUNTIME / name, plan.DATA / name) if path.exists()]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"twonode.supervisor" in words and name.encode() in words:
            found.append(str(process))
    for bound in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if f"/mailha-lab/{name}/" in bound.read_text():
                found.append(str(bound))
        except OSError:
            continue
    if f"/mailha-lab/{name}/" in Path("/proc/self/mountinfo").read_text():
        found.append("a mount")
    group = (cgroup.hierarchy() or Path("/nowhere")) / plan.Places(name).cgroup
    return found + ([str(group)] if group.is_dir() else [])


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Lab:
    """Return the lab that most of these tests share; each leaves both nodes online."""
    return make_lab(post_seconds=1.0)


def test_both_nodes_are_online_soon_after_up(make_lab: MakeLab) -> None:
    """The best of three: the first may be the one that builds the package of the suite."""
    took: List[float] = []
    while not took or min(took) >= ONLINE_LIMIT and len(took) < 3:
        started = time.monotonic()
        made = make_lab()
        took.append(time.monotonic() - started)
        assert made.online("alice") == made.online("bob") == {"alice", "bob"}
        made.down()
    assert min(took) < ONLINE_LIMIT, took


def test_a_node_runs_the_units_of_the_distribution_and_none_failed(lab: Lab) -> None:
    for node in ("alice", "bob"):
        wait_for("the end of the boot", lambda: lab.execute(
            node, ["systemctl", "is-system-running"], timeout=20, check=False
        ).stdout.strip() == "running")
        for unit in ("corosync.service", "pacemaker.service"):
            path = lab.execute(node, ["systemctl", "show", "-P", "FragmentPath", unit], timeout=20)
            # Debian 13 has moved them below /usr.
            assert path.stdout.strip() in (f"/lib/systemd/system/{unit}",
                                           f"/usr/lib/systemd/system/{unit}")


def test_no_service_but_the_cluster_is_enabled_on_a_node(lab: Lab) -> None:
    enabled = lab.execute("alice", ["systemctl", "list-unit-files", "--type=service",
                                    "--state=enabled", "--no-legend"], timeout=20).stdout
    assert {line.split()[0] for line in enabled.splitlines()} == {
        "corosync.service", "pacemaker.service"}


def test_corosync_has_two_links(lab: Lab) -> None:
    status = lab.execute("alice", ["corosync-cfgtool", "-n"], timeout=20).stdout
    assert status.count("connected") == 2


def test_exec_gives_the_exit_code_of_the_command_and_its_output(lab: Lab) -> None:
    result = lab.execute("alice", ["sh", "-c", "echo out; echo err >&2; cat; exit 7"],
                         timeout=20, input="in", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\nin", "err\n")
    with pytest.raises(CommandFailed, match="sh -c .* ended with 3: why"):
        lab.execute("alice", ["sh", "-c", "echo why >&2; exit 3"], timeout=20)


def test_exec_on_the_command_line_gives_the_exit_code_too(lab: Lab) -> None:
    program = Path(__file__).resolve().parents[2] / "lab/lab"
    result = subprocess.run([program, "--name", lab.name, "exec", "bob", "sh", "-c",
                             "hostname; exit 5"], timeout=60, stdout=subprocess.PIPE,
                            universal_newlines=True)
    assert (result.returncode, result.stdout) == (5, "bob\n")


def test_exec_kills_what_is_not_done_in_time(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.execute("alice", ["sleep", "4711"], timeout=0.5)
    wait_for("the end of the command", lambda: lab.execute(
        "alice", ["pgrep", "-f", "sleep 471[1]"], timeout=20, check=False).returncode == 1)


def test_nothing_on_a_node_has_a_capability_that_reaches_the_host(lab: Lab) -> None:
    dangerous = set(linux.DANGEROUS_CAPABILITIES.values())
    assert {linux.DANGEROUS_CAPABILITIES[name] for name in
            ("sys_time", "sys_module", "sys_rawio", "syslog", "mknod")} <= dangerous
    for process in ("1", "self"):
        status = lab.execute("alice", ["cat", f"/proc/{process}/status"], timeout=20).stdout
        assert not capabilities(status) & dangerous
    assert dangerous & capabilities(Path("/proc/self/status").read_text())


def test_a_node_cannot_write_to_the_settings_of_the_kernel(lab: Lab) -> None:
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/sys/power/state"):
        refused = lab.execute("alice", ["sh", "-c", f"echo 0 >> {path}"], timeout=20, check=False)
        assert refused.returncode != 0, path
    lab.execute("alice", ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"], timeout=20)
    assert lab.execute("bob", ["cat", "/proc/sys/net/ipv4/ip_nonlocal_bind"],
                       timeout=20).stdout == "0\n"
    lab.execute("alice", ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_nonlocal_bind"], timeout=20)


def test_a_node_has_its_own_disks_in_dev_and_no_other(lab: Lab) -> None:
    found = lab.execute("alice", ["find", "/dev", "-type", "b"], timeout=20).stdout.split()
    assert sorted(found) == ["/dev/san-kopano", "/dev/san-mysql"]


def test_the_bmc_tells_the_truth_and_moves_the_node(lab: Lab) -> None:
    before = boot_id(lab, "bob")
    assert "is on" in lab.ipmitool("bob", "chassis", "power", "status").stdout
    lab.ipmitool("bob", "chassis", "power", "off")
    wait_for("power off", lambda: "is off" in lab.ipmitool("bob", "power", "status").stdout)
    assert lab.status()["nodes"]["bob"]["power"] == "off"
    with pytest.raises(LabError, match="bob is not running"):
        lab.execute("bob", ["true"], timeout=20)
    lab.ipmitool("bob", "chassis", "power", "on")
    assert "is on" in lab.ipmitool("bob", "chassis", "power", "status").stdout
    lab.wait_online()
    assert boot_id(lab, "bob") not in ("", before)


def test_the_bmc_refuses_a_wrong_password(lab: Lab) -> None:
    refused = lab.client("ipmitool", "-I", "lanplus", "-C", "3", "-H", lab.bmc("bob").address,
                         "-U", lab.bmc("bob").user, "-E", "power", "off",
                         environment={"IPMI_PASSWORD": "wrong"}, check=False)
    assert refused.returncode != 0
    assert lab.status()["nodes"]["bob"]["power"] == "on"


def test_a_power_loss_loses_what_was_not_synced_and_keeps_what_was(lab: Lab) -> None:
    lab.execute("alice", ["sh", "-c", "mount /dev/san-kopano /mnt && echo kept > /mnt/synced && "
                          "sync -f /mnt/synced && echo lost > /mnt/unsynced"], timeout=60)
    lab.poweroff("alice")
    try:
        seen = lab.execute("bob", ["sh", "-c", "mount /dev/san-kopano /mnt && cat /mnt/synced; "
                                   "cat /mnt/unsynced; umount /mnt"], timeout=60, check=False)
        assert "kept\n" in seen.stdout
        assert "lost" not in seen.stdout
    finally:
        lab.poweron("alice")
        lab.wait_online()


def test_both_nodes_see_the_same_disk_through_devices_of_their_own(lab: Lab) -> None:
    lab.execute("alice", ["sh", "-c", "mount /dev/san-mysql /mnt && echo hello > /mnt/from-alice "
                          "&& umount /mnt"], timeout=60)
    seen = lab.execute("bob", ["sh", "-c", "mount -o ro /dev/san-mysql /mnt && cat /mnt/from-alice;"
                               " umount /mnt"], timeout=60)
    assert seen.stdout == "hello\n"
    numbers = {node: lab.execute(node, ["stat", "-c", "%T", "/dev/san-mysql"], timeout=20).stdout
               for node in ("alice", "bob")}
    assert numbers["alice"] != numbers["bob"]


def test_what_a_node_unmounts_no_service_of_it_keeps_mounted(lab: Lab) -> None:
    """Else the next node's mount is a second one, and destroys the disk."""
    def holders() -> List[str]:
        return lab.execute("alice", ["sh", "-c", "grep -l /dev/san- /proc/[0-9]*/mountinfo || :"],
                           timeout=20).stdout.split()

    lab.execute("alice", ["mount", "/dev/san-mysql", "/mnt"], timeout=60)
    # With a private /tmp, systemd gives the service a mount namespace of its own.
    lab.execute("alice", ["systemd-run", "--unit=aside", "-p", "PrivateTmp=yes", "-p",
                          "Type=exec", "sleep", "1000"], timeout=60)
    try:
        assert holders()
        lab.execute("alice", ["umount", "/mnt"], timeout=60)
        assert holders() == []
    finally:
        lab.execute("alice", ["systemctl", "stop", "aside"], timeout=60)


@pytest.mark.parametrize("how", ["systemctl reboot", "BMC reset"])
def test_a_node_comes_back_from_a_reboot(lab: Lab, how: str) -> None:
    before = boot_id(lab, "bob")
    if how == "BMC reset":
        lab.ipmitool("bob", "chassis", "power", "reset")
    else:
        lab.execute("bob", ["systemctl", "reboot"], timeout=60, check=False)
    wait_for("another boot", lambda: boot_id(lab, "bob") not in ("", before))
    lab.wait_online()


def test_a_node_that_shuts_down_stays_off_until_it_gets_power(lab: Lab) -> None:
    lab.shutdown("bob")
    assert lab.status()["nodes"]["bob"]["power"] == "off"
    lab.poweron("bob")
    lab.wait_online()


def test_a_cut_cable_has_no_carrier_and_the_other_ones_go_on(lab: Lab) -> None:
    def carrier(interface: str) -> str:
        return lab.execute("bob", ["cat", f"/sys/class/net/{interface}/carrier"],
                           timeout=20).stdout.strip()

    def ping(address: str) -> int:
        return lab.execute("bob", ["ping", "-c", "1", "-W", "2", address], timeout=20,
                           check=False).returncode

    lab.cut("bob", "lan")
    try:
        assert (carrier("eth0"), carrier("eth1"), carrier("eth2")) == ("0", "1", "1")
        assert ping(lab.plan.address("alice", plan.LAN)) != 0
        assert ping(lab.plan.address("alice", plan.INTERCONNECT)) == 0
        assert ping(lab.bmc("alice").address) == 0
        assert lab.status()["nodes"]["bob"]["cut"] == ["lan"]
    finally:
        lab.heal("bob", "lan")
    wait_for("the LAN", lambda: ping(lab.plan.address("alice", plan.LAN)) == 0)


def test_a_link_or_node_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match="no link 'wan'; there are lan, interconnect, management"):
        lab.cut("bob", "wan")
    with pytest.raises(LabError, match="no node 'carol'; there are alice, bob"):
        lab.poweroff("carol")


def test_without_the_bmc_nobody_answers_at_its_address(lab: Lab) -> None:
    lab.bmc_off("alice")
    try:
        assert lab.ipmitool("alice", "power", "status", check=False).returncode != 0
        assert lab.status()["nodes"]["alice"] == {
            **lab.status()["nodes"]["alice"], "power": "on", "controller": False}
    finally:
        lab.bmc_on("alice")
    wait_for("the BMC", lambda: lab.ipmitool("alice", "power", "status", check=False,
                                             ).returncode == 0)


def test_a_panicking_node_resets_itself_and_not_the_host(lab: Lab) -> None:
    """Where the kernel has /proc/sysrq-trigger, a node has this FIFO in its place."""
    before = boot_id(lab, "bob")
    fifo = lab.places.runtime / "sysrq-bob"
    if Path("/proc/sysrq-trigger").exists():
        lab.execute("bob", ["sh", "-c", "echo b > /proc/sysrq-trigger"], timeout=20, check=False)
    else:
        fifo.write_bytes(b"b")
    wait_for("another boot", lambda: boot_id(lab, "bob") not in ("", before))
    lab.wait_online()


def test_the_outside_machine_keeps_its_hardware_addresses_when_a_node_goes(lab: Lab) -> None:
    """Else a BMC cannot be reached for half a minute, just after it has killed a node."""
    def addresses() -> List[str]:
        shown = lab.client("ip", "-o", "link", "show", "type", "bridge").stdout
        return re.findall(r"link/ether (\S+)", shown)

    before = addresses()
    assert len(before) == 3
    for node in ("alice", "bob"):
        lab.poweroff(node)
        assert addresses() == before
        lab.poweron(node)
        wait_for(f"{node} to run", lambda: boot_id(lab, node))
    assert addresses() == before
    lab.wait_online()


def test_a_plug_that_is_pulled_takes_node_and_controller(lab: Lab) -> None:
    lab.pull_plug("bob")
    assert lab.ipmitool("bob", "power", "status", check=False).returncode != 0
    assert lab.status()["nodes"]["bob"]["power"] == "off"
    lab.plug_in("bob")
    wait_for("the BMC", lambda: "is off" in lab.ipmitool("bob", "power", "status",
                                                         check=False).stdout)
    lab.poweron("bob")
    lab.wait_online()


def test_a_socket_of_the_outside_network_works_in_any_thread(lab: Lab) -> None:
    lab.execute("alice", ["systemd-run", "--unit=greeter", "python3", "-c",
                          "import socket; s = socket.create_server(('198.51.100.11', 2003))\n"
                          "while True: s.accept()[0].sendall(b'220 hello')"], timeout=20)
    greetings: List[bytes] = []
    before = os.readlink("/proc/thread-self/ns/net")

    def greet() -> bool:
        try:
            with lab.connect("198.51.100.11", 2003, timeout=5) as connection:
                greetings.append(connection.recv(100))
        except OSError:
            return False
        return True

    try:
        wait_for("the greeter", greet)
        thread = threading.Thread(target=greet)
        thread.start()
        thread.join(30)
        assert greetings == [b"220 hello"] * 2
        # Not proven by connecting from here: that would send packets to a network not ours.
        assert os.readlink("/proc/thread-self/ns/net") == before
    finally:
        lab.execute("alice", ["systemctl", "stop", "greeter"], timeout=60)


def test_copy_in_replaces_a_file_with_its_mode(lab: Lab) -> None:
    lab.copy_in("bob", "/etc/some/where", b"\0\xff", 0o640)
    seen = lab.execute("bob", ["sh", "-c", "stat -c '%a %U' /etc/some/where; od -An -tx1 "
                               "/etc/some/where"], timeout=20).stdout.split()
    assert seen == ["640", "root", "00", "ff"]


PLACES = ("/usr/lib/ocf/resource.d/mailha", "/usr/lib/ocf/lib/mailha", "/usr/share/doc/mailha",
          "/usr/sbin/fence_ipmi", "/usr/sbin/fence_racadm", "/usr/sbin/mailha",
          "/usr/lib/systemd/system/mailha-cyrus@.service",
          "/usr/lib/systemd/system/mailha-sync@.service", "/usr/share/man/man8/mailha.8.gz")
"""Where a node has the suite; the folders are the suite's alone."""


def is_all_of_the_package(lab: Lab, node: str) -> None:
    """Prove that a node has the suite from its package: all of it, unchanged, and nothing else."""
    def sh(script: str) -> str:
        return lab.execute(node, ["sh", "-euc", script], timeout=60).stdout

    assert sh("dpkg-query -W -f '${db:Status-Abbrev}${Package}' mailha") == "ii mailha"
    assert sh("dpkg --audit; dpkg --verify mailha") == ""
    files = sh(f"find {' '.join(PLACES)} -type f ! -name '*.pyc'").splitlines()
    owners = sh(f"find {' '.join(PLACES)} -type f ! -name '*.pyc' -exec dpkg -S {{}} +")
    assert sorted(owners.splitlines()) == sorted(f"mailha: {path}" for path in files)
    checkout = {path for path in package.CHECKOUT.glob("lib/mailha/**/*.py")}
    assert {f"{PLACES[1]}/{path.relative_to(package.CHECKOUT / 'lib/mailha')}"
            for path in checkout} == {path for path in files if path.startswith(PLACES[1] + "/")}


def test_a_node_has_the_suite_from_its_package_and_nothing_besides(lab: Lab) -> None:
    for node in ("alice", "bob"):
        is_all_of_the_package(lab, node)


def test_a_running_node_is_upgraded_by_dpkg_and_the_library_is_compiled(lab: Lab) -> None:
    lab.reinstall()
    for node in ("alice", "bob"):
        log = lab.execute(node, ["cat", "/var/log/dpkg.log"], timeout=20).stdout
        assert re.search(r" upgrade mailha:all \S+ \S+\n", log), log
        is_all_of_the_package(lab, node)
        tag = lab.execute(node, ["python3", "-c", "import sys; print(sys.implementation.cache_tag)"
                                 ], timeout=20).stdout.strip()
        listing = lab.execute(node, ["find", "/usr/lib/ocf/lib/mailha", "-name", "*.py", "-o",
                                     "-name", f"*.{tag}.pyc"], timeout=20).stdout.split()
        sources = {Path(path).stem for path in listing if path.endswith(".py")}
        compiled = {Path(path).name.split(".")[0] for path in listing if path.endswith(".pyc")}
        assert "errors" in sources and sources == compiled
        fresh = lab.execute(node, ["python3", "-c", (
            "import sys; sys.path.insert(0, '/usr/lib/ocf/lib'); sys.dont_write_bytecode = True\n"
            "import os, mailha.errors as e\n"
            "print(int.from_bytes(open(e.__cached__, 'rb').read()[8:12], 'little')"
            " == int(os.stat(e.__file__).st_mtime))")], timeout=20)
        assert fresh.stdout == "True\n"


def test_what_a_provision_writes_is_on_the_node_with_the_image_s_directories(
        make_lab: MakeLab) -> None:
    def provision(node: str, disk: Path) -> None:
        (disk / "var/lib/mysql").mkdir(parents=True)
        (disk / "var/lib/mysql/note").write_text(f"this is {node}\n")

    made = make_lab(provision=[provision])
    seen = made.execute("bob", ["sh", "-c", "cat /var/lib/mysql/note; stat -c %U /var/lib/mysql"],
                        timeout=20)
    assert seen.stdout == "this is bob\nmysql\n"


def test_labs_run_side_by_side_with_the_same_addresses(lab: Lab, make_lab: MakeLab) -> None:
    other = make_lab()
    other.execute("alice", ["touch", "/only-in-the-other"], timeout=20)
    assert lab.execute("alice", ["test", "-e", "/only-in-the-other"], timeout=20,
                       check=False).returncode == 1
    other.poweroff("alice")
    assert lab.status()["nodes"]["alice"]["power"] == "on"
    other.down()
    other.down()
    wait_for("no trace", lambda: not traces(other.name))
    assert lab.online("alice") == {"alice", "bob"}


@pytest.mark.parametrize("victims", ["supervisor", "supervisor and launcher"])
def test_a_killed_lab_leaves_nothing_running(make_lab: MakeLab, victims: str) -> None:
    made = make_lab()
    made.execute("alice", ["mount", "/dev/san-kopano", "/mnt"], timeout=20)
    supervisor = launcher.supervisor(made.name)
    assert supervisor is not None and traces(made.name)
    status = Path(f"/proc/{supervisor}/status").read_text()
    parent = int(status.split("PPid:")[1].split()[0])
    if victims != "supervisor":
        os.kill(parent, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    if victims != "supervisor":
        wait_for("its death", lambda: not made.is_up())
        wait_for("free loop devices", lambda: not [trace for trace in traces(made.name)
                                                   if "backing_file" in trace])
        made.up()
        assert made.online("bob") == {"alice", "bob"}
        made.down()
    wait_for("no trace", lambda: not traces(made.name))
    assert not made.is_up()


def test_a_provision_that_fails_leaves_nothing(image: Path) -> None:
    def provision(node: str, disk: Path) -> None:
        raise ValueError("no such mail")

    made = Lab(f"t{os.getpid()}-99", provision=[provision])
    with pytest.raises(ValueError, match="no such mail"):
        made.up()
    assert traces(made.name) == []


def test_a_sandbox_ends_with_whoever_made_it(image: Path) -> None:
    script = ("import os, sys; sys.path.insert(0, sys.argv[1])\n"
              "from pathlib import Path\nfrom twonode.sandbox import Sandbox\n"
              "with Sandbox(Path(sys.argv[2])) as sandbox:\n"
              "    sandbox.door.popen(['sleep', '4712'])\n"
              "    print('started', flush=True)\n"
              "    os.kill(os.getpid(), 9)\n")
    lab_directory = Path(__file__).resolve().parents[2] / "lab"
    done = subprocess.run([sys.executable, "-c", script, str(lab_directory), str(image)],
                          stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (-9, b"started\n")
    wait_for("the end of the sandbox", lambda: not [
        path for path in Path("/proc").glob("[0-9]*/cmdline")
        if _read(path) == b"sleep\x004712\x00"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
