# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's pure parts: its plan, its configuration files, its package sources, its archive."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import time
from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from twonode import (aptsources, bmc, chassislog, cli, configuration,  # noqa: E402
                     idracaccess, image, lab, launcher, package, plan,
                     rootfs)


def a_plan(**changes: object) -> plan.Plan:
    """Return the plan of an ordinary lab, with some of it changed."""
    fields = {"name": "demo", "suite": "bookworm", "image": "/image", "nodes": ("alice", "bob"),
              "disks": {"kopano": 512}, "post_seconds": 15.0, **changes}
    return plan.Plan(**fields)  # type: ignore[arg-type]


# -- plan ---------------------------------------------------------------------------------------

def test_a_plan_survives_its_journey_to_the_supervisor() -> None:
    for ours in (a_plan(), a_plan(layers=("/mail", "/more"))):
        assert plan.Plan.from_json(ours.to_json()) == ours


def test_every_machine_has_an_address_of_its_own() -> None:
    ours = a_plan()
    addresses = [ours.address(node, network) for node in ours.nodes for network in plan.NETWORKS]
    addresses += [ours.bmc_address(node) for node in ours.nodes]
    addresses += [network.address(plan.OUTSIDE_NUMBER) for network in plan.NETWORKS]
    assert len(addresses) == len(set(addresses))
    assert (ours.address("alice"), ours.bmc_address("bob")) == ("198.51.100.11", "192.0.2.102")


def test_management_is_no_cluster_link_or_there_would_be_no_fence_race() -> None:
    assert plan.MANAGEMENT.name not in plan.CLUSTER_LINKS


@pytest.mark.parametrize("changes", [
    {"name": ""}, {"name": "../etc"}, {"name": "a" * 11}, {"name": "Demo"},
    {"nodes": ("alice",)}, {"nodes": ("alice", "alice")}, {"nodes": ("alice", "b ob")},
    {"disks": {"a/b": 1}},
])
def test_names_that_no_machine_could_have_are_refused(changes: dict) -> None:
    with pytest.raises(plan.BadPlan):
        a_plan(**changes)


def test_the_names_of_interfaces_fit_into_the_kernel_s_15_characters() -> None:
    ours = a_plan(nodes=("a" * 10, "b" * 10))
    assert all(len(f"{node}-{network.interface}") <= 15
               for node in ours.nodes for network in plan.NETWORKS)


# -- configuration ------------------------------------------------------------------------------

def test_corosync_has_two_links_and_knows_that_it_has_two_nodes() -> None:
    text = configuration.corosync_conf(a_plan())
    assert "two_node: 1" in text and "token: 1000" in text
    assert re.findall(r"ring\d_addr: (\S+)", text) == [
        "198.51.100.11", "203.0.113.11", "198.51.100.12", "203.0.113.12"]
    assert text.count("{") == text.count("}")


def test_a_cluster_of_three_is_not_told_that_it_has_two_nodes() -> None:
    assert "two_node" not in configuration.corosync_conf(a_plan(nodes=("a", "b", "c")))


def test_hosts_names_nodes_and_controllers() -> None:
    names = {name: address for address, name in
             (line.split() for line in configuration.hosts(a_plan()).splitlines())}
    assert names["bob"] == "198.51.100.12"
    assert names["alice-bmc"] == "192.0.2.101"


def test_the_seed_of_the_cib_belongs_to_hacluster_and_only_to_it(tmp_path: Path) -> None:
    image_root, disk = tmp_path / "image", tmp_path / "disk"
    (image_root / "etc").mkdir(parents=True)
    (image_root / "etc/passwd").write_text(f"hacluster:x:{os.getuid()}:1::/:/bin/false\n")
    (image_root / "etc/group").write_text(f"haclient:x:{os.getgid()}:\n")
    configuration.write_node(disk, "alice", a_plan(image=str(image_root)), b"secret")
    assert (disk / "etc/hostname").read_text() == "alice\n"
    assert (disk / "etc/corosync/authkey").stat().st_mode & 0o777 == 0o400
    assert (disk / "var/lib/pacemaker/cib/cib.xml").stat().st_mode & 0o777 == 0o600


def test_a_user_that_the_image_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    with pytest.raises(LookupError, match="passwd does not know hacluster"):
        configuration.owner(tmp_path, "hacluster", "haclient")


def test_a_file_on_the_disk_does_not_change_the_mode_of_the_image_s_directories(
        tmp_path: Path) -> None:
    for directory, mode in (("image/var/private", 0o750), ("disk/var/private", 0o755),
                            ("disk/var/new", 0o711)):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory).chmod(mode)
    rootfs.adopt_directories(tmp_path / "disk", tmp_path / "image")
    assert (tmp_path / "disk/var/private").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "disk/var/new").stat().st_mode & 0o777 == 0o711


def test_a_layer_s_directories_count_before_those_of_the_image(tmp_path: Path) -> None:
    for directory, mode in (("image/srv", 0o750), ("layer/srv", 0o700), ("disk/srv", 0o755)):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory).chmod(mode)
    rootfs.adopt_directories(tmp_path / "disk", tmp_path / "image", [tmp_path / "layer"])
    assert (tmp_path / "disk/srv").stat().st_mode & 0o777 == 0o700


def test_each_controller_has_the_address_of_its_node(tmp_path: Path) -> None:
    for node in ("alice", "bob"):
        bmc.write_files(tmp_path, a_plan(), node)
    files = tmp_path / bmc.DIRECTORY.lstrip("/")
    assert "addr 192.0.2.102 623" in (files / "bob/lan.conf").read_text()
    assert (files / "bob/lan.conf").stat().st_mode & 0o777 == 0o600
    compile((files / "alice/chassis").read_text(), "chassis", "exec")
    assert '"node": \'alice\'' in (files / "alice/chassis").read_text()
    assert '/etc/lab-bmc/bob/chassis ipmi"' in (files / "bob/lan.conf").read_text()


def test_each_controller_has_an_ssh_with_keys_and_a_shell_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "image/etc").mkdir(parents=True)
    for name in ("passwd", "shadow"):
        (tmp_path / "image/etc" / name).write_text("root:x:0:0::/root:/bin/sh\n")
    ours = a_plan(image=str(tmp_path / "image"))
    secrets = idracaccess.Secrets(
        {name: f"private {name}\n" for name in ("user", "alice", "bob")},
        {name: f"ssh-ed25519 {name}" for name in ("user", "alice", "bob")}, "$6$salt$hash")
    idracaccess.write_servers(tmp_path / "outside", ours, secrets)
    idracaccess.write_client(tmp_path / "node", ours, secrets)

    files = tmp_path / "outside" / bmc.DIRECTORY.lstrip("/")
    settings = (files / "bob/idrac-sshd.conf").read_text()
    assert "ListenAddress 192.0.2.102\n" in settings
    assert f"HostKey {bmc.DIRECTORY}/bob/idrac-host-key\n" in settings
    assert (files / "bob/idrac-host-key").read_text() == "private bob\n"
    assert (files / "bob/idrac-host-key").stat().st_mode & 0o777 == 0o600
    assert "/etc/lab-bmc/bob/chassis idrac" in (files / "bob/idrac-shell").read_text()
    assert (files / "idrac-authorized-keys").read_text() == "ssh-ed25519 user\n"
    accounts = (tmp_path / "outside/etc/shadow").read_text().splitlines()
    assert accounts[1].startswith(f"{plan.BMC_USER}:$6$salt$hash:")
    assert plan.BMC_PASSWORD not in "".join(accounts)
    node = tmp_path / "node"
    assert (node / idracaccess.KNOWN_HOSTS.lstrip("/")).read_text().splitlines() == [
        "192.0.2.101 ssh-ed25519 alice", "192.0.2.102 ssh-ed25519 bob"]
    assert (node / idracaccess.KEY.lstrip("/")).stat().st_mode & 0o777 == 0o600


def test_the_chassis_log_gives_back_what_was_noted(tmp_path: Path) -> None:
    path = tmp_path / "chassis.log"
    assert chassislog.read(path) == []
    log = chassislog.ChassisLog(path)
    log.note("bob", chassislog.IPMI, "power off")
    log.note("bob", chassislog.POWER, "off")
    found = chassislog.read(path)
    assert [entry[1:] for entry in found] == [
        ("bob", "ipmi", "power off"), ("bob", "power", "off")]
    assert found[0].when <= found[1].when
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  bob  ipmi    power off", str(found[0]))


@pytest.mark.parametrize("pairs, words", [
    (["power", "0"], ["power off"]), (["power", "1"], ["power on"]), (["reset", "1"], ["reset"]),
    (["shutdown", "1"], ["shutdown"]), (["boot", "pxe"], ["boot pxe"]),
    (["boot", "pxe", "power", "0"], ["boot pxe", "power off"]), ([], []),
])
def test_what_a_controller_sets_is_logged_in_words(pairs: List[str], words: List[str]) -> None:
    assert chassislog.orders(pairs) == words


def test_the_password_of_a_controller_is_not_among_the_arguments() -> None:
    assert plan.BMC_PASSWORD not in bmc.client_command("192.0.2.101", ["power", "status"])


# -- package sources ----------------------------------------------------------------------------

DEB822 = """\
# made by hand
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

ONE_LINE = """\
deb [arch=amd64,i386 signed-by=/etc/apt/keyrings/a.gpg] http://mirror.test/debian bookworm main
deb-src http://mirror.test/debian bookworm main
# deb http://mirror.test/debian bookworm main
deb http://other.test/nodejs nodistro main
deb http://other.test/docker bookworm stable
"""


def test_another_release_is_taken_from_the_places_of_the_host_s_own() -> None:
    first, second = aptsources.derive(aptsources.parse_deb822(DEB822), host="bookworm",
                                      suite="trixie")
    assert first["Suites"] == "trixie trixie-updates"
    assert (first["Types"], first["Components"]) == ("deb", "main")
    assert second["Suites"] == "trixie-security"
    assert second["Signed-By"] == "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_an_embedded_key_survives() -> None:
    stanzas = aptsources.parse_deb822(DEB822)
    assert stanzas[0]["Signed-By"].splitlines()[1:4] == [
        " -----BEGIN PGP PUBLIC KEY BLOCK-----", " .", " abc"]
    assert aptsources.parse_deb822(aptsources.render(stanzas)) == stanzas


def test_one_line_sources_keep_their_options() -> None:
    stanzas = aptsources.derive(aptsources.parse_one_line(ONE_LINE), host="bookworm",
                                suite="bookworm")
    assert stanzas == [{"Types": "deb", "URIs": "http://mirror.test/debian", "Suites": "bookworm",
                        "Components": "main", "Architectures": "amd64 i386",
                        "Signed-By": "/etc/apt/keyrings/a.gpg"}]


@pytest.mark.parametrize("alias", ["stable", "oldstable"])
def test_a_host_that_follows_stable_is_understood(alias: str) -> None:
    stanzas = aptsources.parse_one_line(f"deb http://mirror.test/debian {alias}-updates main")
    assert aptsources.derive(stanzas, host="bookworm", suite="bullseye")[0]["Suites"] == \
        "bullseye-updates"


@pytest.mark.parametrize("text", ["", "deb http://other.test/nodejs nodistro main\n",
                                  "Enabled: no\nSuites: bookworm\nComponents: main\n"])
def test_a_host_without_debian_sources_is_told_so(text: str) -> None:
    stanzas = aptsources.parse_one_line(text) + aptsources.parse_deb822(text)
    with pytest.raises(aptsources.NoSources, match="add the Debian archive"):
        aptsources.derive(stanzas, host="bookworm", suite="bookworm")


def test_sources_are_read_from_all_files_that_apt_reads(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.test/ bookworm main\n")
    (tmp_path / "sources.list.d/b.list").write_text("deb http://b.test/ bookworm main\n")
    (tmp_path / "sources.list.d/c.sources").write_text("Types: deb\nURIs: http://c.test/\n")
    (tmp_path / "sources.list.d/d.sources.disabled").write_text("URIs: http://d.test/\n")
    assert [stanza["URIs"] for stanza in aptsources.read_host(tmp_path)] == [
        "http://a.test/", "http://b.test/", "http://c.test/"]


@given(st.text(), st.sampled_from(["bookworm", "trixie"]))
def test_no_sources_file_ends_in_a_traceback(text: str, suite: str) -> None:
    try:
        aptsources.render(aptsources.derive(
            aptsources.parse_deb822(text) + aptsources.parse_one_line(text),
            host="bookworm", suite=suite))
    except aptsources.NoSources:
        pass


def test_the_release_of_the_host_is_found(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    assert aptsources.host_codename(release) == "bookworm"
    release.write_text("ID=debian\n")
    with pytest.raises(aptsources.NoSources, match="released Debian"):
        aptsources.host_codename(release)


# -- image --------------------------------------------------------------------------------------

def test_each_release_has_its_own_image_and_its_own_fence_agents() -> None:
    assert len({image.place(suite) for suite in image.SUITES}) == len(image.SUITES)
    for peer in ("fence-agents-ipmilan", "fence-agents-drac5", "fence-agents-apc-snmp"):
        assert peer in image.packages("trixie")
    assert "fence-agents" in image.packages("bookworm")


def test_another_recipe_never_meets_an_old_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.place("bookworm")
    monkeypatch.setattr(image, "PACKAGES", image.PACKAGES + ("another",))
    assert image.place("bookworm") != before


def test_a_killed_build_is_not_taken_for_an_image_and_the_next_one_removes_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CACHE", tmp_path)
    (tmp_path / ".building-bookworm-killed/root").mkdir(parents=True)

    def fail(suite: str, root: Path, *rest: object) -> None:
        root.mkdir()
        raise image.ImageFailed("no mirror")

    monkeypatch.setattr(image, "_run_mmdebstrap", fail)
    monkeypatch.setattr(aptsources, "derive", lambda *stanzas, **options: [])
    monkeypatch.setattr(aptsources, "host_options", lambda: "")
    with pytest.raises(image.ImageFailed, match="no mirror"):
        image.ensure("bookworm")
    assert [path.name for path in tmp_path.iterdir()] == [".bookworm.lock"]

    def succeed(suite: str, root: Path, *rest: object) -> None:
        for path in image.MUST_HAVE:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()

    monkeypatch.setattr(image, "_run_mmdebstrap", succeed)
    assert image.ensure("bookworm") == image.place("bookworm")
    assert (image.place("bookworm") / "usr/bin/python3").exists()
    assert not list(tmp_path.glob(".building*"))


def test_an_archive_that_lost_its_updates_still_gives_an_image(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CACHE", tmp_path)
    monkeypatch.setattr(image, "MUST_HAVE", ())
    monkeypatch.setattr(aptsources, "read_host", lambda: aptsources.parse_one_line(
        "deb http://mirror.test/ bookworm main\ndeb http://mirror.test/ bookworm-security main"))
    monkeypatch.setattr(aptsources, "host_codename", lambda: "bookworm")
    monkeypatch.setattr(aptsources, "host_options", lambda: "")
    said: List[str] = []

    def build(suite: str, root: Path, sources: Path, *rest: object) -> None:
        if "security" in sources.read_text():
            raise image.FetchFailed("404")
        root.mkdir()

    monkeypatch.setattr(image, "_run_mmdebstrap", build)
    assert image.ensure("bullseye", said.append).is_dir()
    assert said == ["404; once more, from bullseye without its updates"]


def test_an_image_that_lacks_what_the_lab_runs_is_not_used(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CACHE", tmp_path)
    monkeypatch.setattr(image, "_run_mmdebstrap", lambda suite, root, *rest: root.mkdir())
    monkeypatch.setattr(aptsources, "derive", lambda *stanzas, **options: [])
    monkeypatch.setattr(aptsources, "host_options", lambda: "")
    with pytest.raises(image.ImageFailed, match="without .*pacemakerd"):
        image.ensure("bookworm")
    assert not image.place("bookworm").exists()


def test_an_unknown_release_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(image.ImageFailed, match="bullseye, bookworm, trixie"):
        image.ensure("sid")


# -- package ------------------------------------------------------------------------------------

@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with a few files of the suite, and with some that are none of it."""
    for path, mode in (("agents/kopano", 0o700), ("lib/mailha/errors.py", 0o600),
                       ("lib/mailha/__pycache__/errors.pyc", 0o600), ("Makefile", 0o640),
                       ("tests/run", 0o755)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("content")
        (tmp_path / path).chmod(mode)
    return tmp_path


def test_the_sources_of_the_package_are_root_s_and_nothing_else_is_in_them(checkout: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(package.sources(checkout, "mailha-1"))) as tar:
        found = {member.name: (member.mode, member.uid, member.uname) for member in tar}
    assert found == {"mailha-1/agents/kopano": (0o755, 0, "root"),
                     "mailha-1/lib/mailha/errors.py": (0o644, 0, "root"),
                     "mailha-1/Makefile": (0o644, 0, "root")}


def test_a_package_is_built_anew_for_every_change_of_its_sources_and_for_no_other(
        checkout: Path) -> None:
    first = package.digest(checkout)
    os.utime(checkout / "Makefile", (1, 1))
    (checkout / "tests/run").write_text("another")
    (checkout / "lib/mailha/__pycache__/more.pyc").write_text("")
    assert package.digest(checkout) == first
    (checkout / "Makefile").write_text("another")
    digests = {first, package.digest(checkout)}
    (checkout / "lib/mailha/errors.py").chmod(0o755)
    digests.add(package.digest(checkout))
    (checkout / "agents/kopano").rename(checkout / "agents/cyrus")
    digests.add(package.digest(checkout))
    assert len(digests) == 4


def test_a_package_that_nobody_wants_any_more_is_removed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(package, "DATA", tmp_path / "data")
    for name in ("cache/package-old", "cache/package-old-over-image", "cache/package-new",
                 "cache/.package-killed-", "cache/layer-package", "data/.package-killed",
                 "data/demo"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    past = time.time() - package.UNWANTED_AFTER - 60
    for path in (tmp_path / "cache").iterdir():
        if path.name != "package-new":
            os.utime(path, (past, past))
    package._remove_unwanted()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == {
        "cache/package-new", "cache/layer-package", "data/demo"}


# -- identity -----------------------------------------------------------------------------------

def test_a_process_is_known_by_its_start_time_and_not_by_its_number(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "RUNTIME", tmp_path)
    places = plan.Places("demo")
    places.runtime.mkdir()
    us = os.getpid()
    places.supervisor.write_text(f"{us} {launcher.identity(us)}")
    assert launcher.supervisor("demo") == us
    places.supervisor.write_text(f"{us} 1")
    assert launcher.supervisor("demo") is None


@pytest.mark.parametrize("text", ["", "12", "a b", "1 2 3"])
def test_a_damaged_record_of_the_supervisor_means_that_there_is_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(plan, "RUNTIME", tmp_path)
    plan.Places("demo").runtime.mkdir()
    plan.Places("demo").supervisor.write_text(text)
    assert launcher.supervisor("demo") is None


def test_a_node_that_is_still_joining_is_no_member_yet() -> None:
    text = ('<pacemaker-result><nodes>'
            '<node name="alice" online="true" pending="false"/>'
            '<node name="bob" online="true" pending="true"/>'
            '<node name="carol" online="false" pending="false"/></nodes></pacemaker-result>')
    assert lab.members(text) == {"alice"}
    assert lab.members("") == lab.members("crm_mon: not connected") == set()


# -- command line -------------------------------------------------------------------------------

def test_every_verb_of_the_command_line_does_something() -> None:
    help_text = cli.parser().format_help()
    assert all(re.search(rf"^    {verb}( |$)", help_text, re.MULTILINE) for verb in cli.VERBS)


def test_exec_leaves_the_options_of_the_command_alone() -> None:
    options = cli.parser().parse_args(["--name", "x", "exec", "alice", "ls", "-l", "--name", "y"])
    assert (options.name, options.argv) == ("x", ["ls", "-l", "--name", "y"])
