# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package and the RPM: built by their own tools, installed, upgraded, removed.

The upgrade is the measured incident: monitors that run while every module of the library is
replaced met modules of two releases, 35 times in 9,668 runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest
import runbooks
from packaging_tools import SUITE, machine_with_tools
from twonode import package
from twonode.bare import BareSandbox

CHECKOUT = Path(__file__).resolve().parents[2]

LIBRARY = "/usr/lib/ocf/lib/mailha"
PLACE = "/usr/lib/ocf/resource.d/mailha"

LIMIT = 600.0
"""Seconds that building may take on a busy machine; here it takes twenty."""

VERSION = "0.1.0"


@pytest.fixture(scope="module")
def machine() -> Iterator[BareSandbox]:
    """A machine with the tools of both worlds, the sources of the suite, and no suite installed."""
    with machine_with_tools() as sandbox:
        sandbox.run(["tar", "-C", "/usr/src", "-xf", "-"], timeout=LIMIT, check=True,
                    input=package.sources(root=f"mailha-{VERSION}"))
        yield sandbox


def shell(machine: BareSandbox, script: str, *, check: bool = True,
          timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run a script on the machine."""
    done = machine.run(["/bin/sh", "-euc", script], timeout=timeout)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def deb(machine: BareSandbox) -> str:
    """The path of the Debian package, as dpkg-buildpackage has built it for the lab's nodes."""
    for path in package.ensure(SUITE).parent.iterdir():
        shutil.copy(path, machine.path("/usr/src"))
    return f"/usr/src/mailha_{VERSION}_all.deb"


@pytest.fixture(scope="module")
def rpm(machine: BareSandbox) -> str:
    """The path of the RPM, as rpmbuild has built it."""
    shell(machine, f"""
        mkdir -p /root/rpmbuild/SOURCES
        tar -C /usr/src -czf /root/rpmbuild/SOURCES/mailha-{VERSION}.tar.gz mailha-{VERSION}
        rpmbuild --nodeps -bb /usr/src/mailha-{VERSION}/rpm/mailha.spec""")
    return shell(machine, "ls /root/rpmbuild/RPMS/noarch/*.rpm").stdout.strip()


def wanted() -> Dict[str, int]:
    """Return where every file of the suite belongs, with its mode, as the design lays them."""
    found = {f"{PLACE}/{path.name}": 0o755 for path in (CHECKOUT / "agents").iterdir()
             if path.is_file()}
    for folder in ("fence", "bin"):
        found.update({f"/usr/sbin/{path.name}": 0o755
                      for path in (CHECKOUT / folder).iterdir() if path.is_file()})
    for path in (CHECKOUT / "lib/mailha").rglob("*.py"):
        found[f"{LIBRARY}/{path.relative_to(CHECKOUT / 'lib/mailha')}"] = 0o644
    units = CHECKOUT / "units"
    for path in units.glob("*.service") if units.exists() else ():
        found[f"/usr/lib/systemd/system/{path.name}"] = 0o644
    return found


def modes(listing: str) -> Dict[str, int]:
    """Return the files of a listing as "tar -tv" and "rpm -qlv" print it, with their modes."""
    found = {}
    for line in listing.splitlines():
        words = line.split()
        if words and words[0].startswith("-"):
            bits = sum(1 << (8 - place) for place, letter in enumerate(words[0][1:10])
                       if letter != "-")
            found["/" + words[-1].lstrip("./")] = bits
    return found


def test_the_debian_package_lays_every_file_where_it_belongs(machine: BareSandbox,
                                                             deb: str) -> None:
    found = modes(shell(machine, f"dpkg-deb -c {deb}").stdout)
    assert {path: found.get(path) for path in wanted()} == wanted()
    strangers = {path for path in found if not path.startswith("/usr/share/doc/mailha/")
                 and not path.startswith("/usr/share/man/") and path not in wanted()}
    assert strangers <= {"/usr/share/python3/runtime.d/mailha.rtupdate"}


def test_lintian_has_nothing_to_say(machine: BareSandbox, deb: str) -> None:
    said = shell(machine, f"lintian --fail-on error,warning --display-info {deb} "
                          f"/usr/src/mailha_{VERSION}_*.changes", check=False)
    complaints = [line for line in said.stdout.splitlines() if line[:2] in ("E:", "W:")]
    assert complaints == [] and said.returncode == 0


def test_the_first_lines_of_the_agents_stay_as_they_are(machine: BareSandbox, deb: str,
                                                        rpm: str) -> None:
    script = """
        rm -rf /tmp/deb /tmp/rpm; mkdir /tmp/deb /tmp/rpm
        dpkg-deb -x %s /tmp/deb; cd /tmp/rpm; rpm2cpio %s | cpio --quiet -id
        for root in /tmp/deb /tmp/rpm; do cd $root
            head -qn1 usr/lib/ocf/resource.d/mailha/* usr/sbin/*; done"""
    lines = shell(machine, script % (deb, rpm)).stdout.split("\n")[:-1]
    programs = len([path for path, mode in wanted().items() if mode == 0o755])
    assert len(lines) == 2 * programs
    assert set(lines) <= {"#!/usr/bin/python3 -IS", "#!/usr/bin/python3 -I"}


def test_the_rpm_lays_the_same_files_and_compiled_modules(machine: BareSandbox, rpm: str) -> None:
    found = modes(shell(machine, f"rpm -qlvp {rpm}").stdout)
    assert {path: found.get(path) for path in wanted()} == wanted()
    compiled = {path for path in found if path.endswith(".pyc")}
    assert len(compiled) == len([path for path in wanted() if path.endswith(".py")])


def test_the_rpm_has_every_file_of_the_debian_package_and_no_other(machine: BareSandbox, deb: str,
                                                                   rpm: str) -> None:
    """Documents and manual pages too; each world compresses some, and has papers of its own."""
    papers = {"/usr/share/doc/mailha/copyright", "/usr/share/doc/mailha/changelog",
              "/usr/share/doc/mailha/changelog.Debian",
              "/usr/share/python3/runtime.d/mailha.rtupdate",
              f"/usr/share/licenses/mailha-{VERSION}/LICENSE"}
    ours, theirs = ({path[:-3] if path.endswith(".gz") else path
                     for path in modes(shell(machine, listing).stdout)
                     if not path.endswith(".pyc")} - papers
                    for listing in (f"dpkg-deb -c {deb}", f"rpm -qlvp {rpm}"))
    assert ours == theirs


def test_the_rpm_asks_the_distribution_for_its_directories(machine: BareSandbox) -> None:
    """Fedora 42 has moved /usr/sbin into /usr/bin: what is laid there has to be listed there."""
    said = shell(machine, "rpmspec -P --define '_sbindir /usr/bin' --define '_mandir /usr/man' "
                          f"/usr/src/mailha-{VERSION}/rpm/mailha.spec").stdout
    for line in (" SBINDIR=/usr/bin MANDIR=/usr/man ", "\n/usr/bin/fence_ipmi\n",
                 "\n/usr/man/man8/mailha.8*\n"):
        assert line in said
    root = "/tmp/merged"
    shell(machine, f"make -s -C /usr/src/mailha-{VERSION} install DESTDIR={root} SBINDIR=/usr/bin "
                   f"MANDIR=/usr/man COMPILE=no; {root}/usr/bin/mailha --version; "
                   f"[ -e {root}/usr/man/man8/mailha.8 ]; [ ! -e {root}/usr/sbin ]")


def test_every_link_of_a_document_leads_to_another_one_of_the_package(machine: BareSandbox,
                                                                      deb: str, rpm: str) -> None:
    """Debian compresses what is large, and a reader follows a link to a page that is not there."""
    shell(machine, f"""
        rm -rf /tmp/deb /tmp/rpm; mkdir /tmp/deb /tmp/rpm
        dpkg-deb -x {deb} /tmp/deb; cd /tmp/rpm; rpm2cpio {rpm} | cpio --quiet -id""")
    for root in ("/tmp/deb", "/tmp/rpm"):
        documents = machine.path(f"{root}/usr/share/doc/mailha")
        pages = sorted(documents.rglob("*.md"))
        assert {documents / name for name in ("README.md", "bench/README.md")} <= set(pages)
        links = [(page, target) for page in pages for target in re.findall(
            r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
        assert len(links) > 20
        assert [link for link in links if not (link[0].parent / link[1]).is_file()] == []


def test_both_name_what_is_needed_and_what_is_recommended(machine: BareSandbox, deb: str,
                                                          rpm: str) -> None:
    fields = shell(machine, f"dpkg-deb -f {deb} Depends Recommends").stdout
    assert "pacemaker" in fields and "python3" in fields.split("Recommends")[0]
    for name in ("python3-pyghmi", "python3-pexpect", "openssh-client"):
        assert name in fields.split("Recommends")[1]
    recommended = shell(machine, f"rpm -qp --recommends {rpm}").stdout
    assert {"python3-pyghmi", "python3-pexpect", "openssh-clients"} <= set(recommended.split())
    required = shell(machine, f"rpm -qp --requires {rpm}").stdout.splitlines()
    assert {"pacemaker", "resource-agents", "python3 >= 3.9"} <= set(required)


def test_no_script_of_a_package_enables_starts_or_stops_anything(machine: BareSandbox, deb: str,
                                                                 rpm: str) -> None:
    scripts = shell(machine, f"""
        dpkg-deb -e {deb} /tmp/control; cd /tmp/control
        for each in preinst postinst prerm postrm; do [ ! -e $each ] || cat $each; done
        rpm -qp --scripts {rpm}""").stdout
    assert "mailha removal" in scripts
    assert not re.search(r"systemctl|deb-systemd|invoke-rc|update-rc|crm |pcs ", scripts)


@pytest.fixture(scope="module")
def installed(machine: BareSandbox, deb: str) -> BareSandbox:
    """The machine with the Debian package on it."""
    shell(machine, f"dpkg -i {deb}")
    return machine


def test_an_installed_package_works_and_is_compiled(installed: BareSandbox) -> None:
    said = shell(installed, f"{PLACE}/kopano meta-data; mailha --version; fence_ipmi -o metadata")
    assert "<resource-agent" in said.stdout and f"mailha {VERSION}" in said.stdout
    modules = int(shell(installed, f"find {LIBRARY} -name '*.py' | wc -l").stdout)
    assert int(shell(installed, f"find {LIBRARY} -name '*.pyc' | wc -l").stdout) == modules


NAMES = f"""
import marshal, os, sys
root = sys.argv[1]
for place, _, files in os.walk(root + "{LIBRARY}"):
    for file in files:
        if file.endswith(".pyc"):
            with open(os.path.join(place, file), "rb") as compiled:
                compiled.seek(16)
                print(marshal.load(compiled).co_filename)
"""
"""Prints which sources the compiled modules below a root take themselves for."""


def test_compiled_modules_name_the_sources_that_are_installed(installed: BareSandbox,
                                                              rpm: str) -> None:
    """A relative name would be looked for where the program happens to stand."""
    modules = sorted(path for path in wanted() if path.endswith(".py"))
    shell(installed, f"""
        rm -rf /tmp/rpm /tmp/make; mkdir /tmp/rpm; cd /tmp/rpm; rpm2cpio {rpm} | cpio --quiet -id
        make -s -C /usr/src/mailha-{VERSION} install DESTDIR=/tmp/make""")
    for root in ("", "/tmp/rpm", "/tmp/make"):
        said = installed.run(["/usr/bin/python3", "-", root], input=NAMES, timeout=LIMIT)
        assert sorted(said.stdout.split()) == modules, root + said.stderr


def test_a_removal_is_refused_while_a_resource_runs_and_says_how_to_go_on(
        installed: BareSandbox) -> None:
    shell(installed, "mkdir -p /run/mailha/active; echo > /run/mailha/active/kopano_services")
    try:
        said = shell(installed, "dpkg -r mailha", check=False)
        assert said.returncode != 0
        assert "'kopano_services' runs on this node" in said.stderr
        assert "crm node standby" in said.stderr and "pcs node standby" in said.stderr
        # dpkg has put everything back.
        assert "install ok installed" in shell(installed, "dpkg -s mailha").stdout
        assert shell(installed, f"{PLACE}/kopano meta-data").stdout
    finally:
        shell(installed, "rm /run/mailha/active/kopano_services")


UPGRADES = int(os.environ.get("MAILHA_UPGRADES", "8"))
"""One takes seconds, mostly to compile. With MAILHA_UPGRADES=100: 12,267 monitors, none failed."""


def test_upgrades_fail_no_monitor(installed: BareSandbox, deb: str) -> None:
    """Monitors run without a pause while two packages, whose modules all differ, take turns."""
    done = installed.run(["/usr/bin/python3", "-", deb, str(UPGRADES)], input=UPGRADE_LOOP,
                         timeout=LIMIT + 20 * UPGRADES)
    assert done.returncode == 0, done.stdout + done.stderr
    [runs, *wrong] = done.stdout.splitlines()
    print(f"{runs} during {UPGRADES} upgrades, {len(wrong)} kinds of failures")
    assert int(runs.split()[0]) >= 5 * UPGRADES, done.stdout
    assert wrong == []


UPGRADE_LOOP = r'''
import os, shutil, subprocess, sys, threading, time, glob

deb, upgrades = sys.argv[1], int(sys.argv[2])
LIBRARY = "/usr/lib/ocf/lib/mailha"
AGENT = "/usr/lib/ocf/resource.d/mailha/fencing-guard"

def changed(version, rename):
    """Build a package in which every module differs, and calls the others by other names."""
    tree = f"/tmp/tree-{version}"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    for path in glob.glob(f"{tree}{LIBRARY}/**/*.py", recursive=True):
        text = open(path).read()
        for word in rename:
            text = text.replace(word, word + version)
        with open(path, "w") as file:
            file.write(text + f"\n# {version}\n")
        # Python knows a compiled module by the source's second and size, as in two releases.
        moment = {"one": 1600000000, "two": 1700000000}[version]
        os.utime(path, (moment, moment))
    made = f"/tmp/mailha-{version}.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", tree, made], check=True,
                   stdout=subprocess.DEVNULL)
    return made

# Names that one module defines and others use: as attribute, by import, as a method.
WORDS = ("of_resource", "perform", "BudgetSpent", "is_recurring", "make_directory")
packages = [changed("one", WORDS), changed("two", WORDS)]
runs, wrong, over = [0], [], threading.Event()
environment = {"OCF_RESOURCE_INSTANCE": "guard", "OCF_RESKEY_CRM_meta_interval": "10000",
               "OCF_RESKEY_CRM_meta_timeout": "20000", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

def monitor():
    while not over.is_set():
        done = subprocess.run([AGENT, "monitor"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        runs[0] += 1
        if done.returncode != 7:
            wrong.append(f"{done.returncode} {done.stderr.decode(errors='replace').strip()}")

threads = [threading.Thread(target=monitor) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    for number in range(upgrades):
        subprocess.run(["dpkg", "--force-unsafe-io", "-i", packages[number % 2]], check=True,
                       stdout=subprocess.DEVNULL)
finally:
    over.set()
    for thread in threads:
        thread.join()
print(runs[0], "monitors")
for line in sorted(set(wrong)):
    print(wrong.count(line), line)
subprocess.run(["dpkg", "-i", deb], check=True, stdout=subprocess.DEVNULL)
'''


def test_removing_takes_the_guards_away_and_purging_the_state(installed: BareSandbox) -> None:
    guard = "/etc/systemd/system/kopano-server.service.d/zz-mailha.conf"
    shell(installed, f"""
        mkdir -p $(dirname {guard}) /var/lib/mailha/accepted /etc/mailha/sync
        printf '# mailha guard of the cluster resource mail\\n[Unit]\\n' > {guard}
        echo > /etc/mailha/bmc-password; echo > /etc/mailha/sync/key
        {runbooks.script("uninstall.package")}
        [ ! -e {guard} ]; [ ! -e /run/mailha ]; [ -e /var/lib/mailha/accepted ]
        dpkg -P mailha
        [ ! -e /var/lib/mailha ]; [ ! -e /etc/mailha/sync ]; [ -e /etc/mailha/bmc-password ]""")
    left: List[str] = shell(installed, f"find {LIBRARY} {PLACE} /usr/sbin/mailha "
                            "/usr/sbin/fence_ipmi 2>/dev/null || true").stdout.split()
    assert left == []


def test_a_root_of_ones_own_can_be_installed_into_and_cleaned_again(machine: BareSandbox) -> None:
    script = (f"cd /usr/src/mailha-{VERSION}; make -s install DESTDIR=/tmp/root; find /tmp/root "
              "-type f; make -s uninstall DESTDIR=/tmp/root; echo ---; find /tmp/root -type f")
    before, after = shell(machine, script).stdout.split("---\n")
    laid: Set[str] = {line[len("/tmp/root"):] for line in before.splitlines()}
    assert set(wanted()) <= laid and after == ""


def test_make_takes_away_what_it_has_laid_unless_a_resource_needs_it(machine: BareSandbox) -> None:
    guard = "/etc/systemd/system/kopano-server.service.d/zz-mailha.conf"
    said = shell(machine, f"""
        cd /usr/src/mailha-{VERSION}; make -s install COMPILE=no
        mkdir -p $(dirname {guard}) /run/mailha/active /etc/mailha
        printf '# mailha guard of the cluster resource mail\\n[Unit]\\n' > {guard}
        echo > /run/mailha/active/mail
        if make -s uninstall; then exit 1; fi
        [ -x {PLACE}/kopano ]; [ -e {guard} ]
        rm /run/mailha/active/mail
        make -s uninstall
        [ ! -e {guard} ]; [ ! -e /run/mailha ]; [ -e /etc/mailha ]; [ ! -e /usr/sbin/mailha ]""")
    assert "'mail' runs on this node" in said.stderr
