# SPDX-License-Identifier: GPL-2.0-or-later
"""ocf:mailha:cyrus: two instances on one node, and what each answer of the agent must be."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from cyrus_instance import BIN, MASTER, VERSION, Node, prepare
from fake_machine import Program, Script
from fake_programs import KILL
from mailha.agents.cyrus import plan
from mailha.products.cyrus import cyrusconf, listeners
from mailha.services import active
from mailha.storage import acceptance, last_run
from mailha.storage.version import Version
from mailha.system.cgroups import usual


@pytest.fixture
def node(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
         ) -> Iterator[Node]:
    """A node with two instances, neither of which runs."""
    found = Node(tmp_path, capfd)
    prepare(monkeypatch, found)
    yield found


def test_both_instances_live_on_one_node_each_with_its_own_children(node: Node) -> None:
    node.started()
    for its in (node.one, node.two):
        assert node.alive(its) == ["idled", "imapd", "master"]
        assert node.monitor(its).code == 0 and node.probe(its).code == 0
        variables = node.machine.files.content[f"/run/mailha/cyrus/{its.resource}"].decode()
        assert f'MASTER="{MASTER}"\nIMAPD_CONF="{its.imapd}"\nCYRUS_CONF="{its.conf}"' in variables


def test_the_record_of_the_start_knows_every_program_of_the_instance(node: Node) -> None:
    node.started()
    record = active.read(node.machine, "server1")     # type: ignore[arg-type]
    assert record is not None
    service, = record.services
    assert (service.program, service.option, service.configuration) == (MASTER, "-C",
                                                                        node.one.imapd)
    assert {f"{BIN}/imapd", f"{BIN}/timsieved", "/usr/cyrus/bin/imapd"} <= set(service.helpers)
    assert f"{BIN}/reconstruct" in service.tools and MASTER not in service.helpers


def test_while_systemd_executes_itself_anew_nothing_is_doubted(node: Node) -> None:
    """An update of the C library does so; its control group is where the agent looks then."""
    node.started()
    node.machine.systemd.unavailable = True
    assert node.monitor().code == 0
    assert node.stop().code == 0 and node.alive(node.one) == []


def test_the_unit_names_no_slice_so_that_its_control_group_is_known_without_systemd() -> None:
    unit = Path(__file__).parents[2] / "units" / "mailha-cyrus@.service"
    assert "Slice=" not in unit.read_text()


def test_the_version_is_recorded_with_the_data(node: Node) -> None:
    node.started()
    record = Path(node.one.root, last_run.NAME).read_text()
    assert f"software cyrus\nversion {VERSION}\nnode alice\n" in record


def test_a_monitor_at_depth_0_asks_nobody_and_has_no_child(node: Node) -> None:
    node.started()
    before = len(node.machine.children.ran), len(node.machine.sockets.connected)
    assert node.monitor().code == 0
    assert (len(node.machine.children.ran), len(node.machine.sockets.connected)) == before


def test_a_monitor_reads_the_master_and_not_its_thousands_of_children(node: Node) -> None:
    node.started()
    for _ in range(50):
        node.machine.processes.run(node.one.child("imapd"), usual(node.one.unit))
    read: list[int] = []
    original = node.machine.processes.read

    def counted(pid: int) -> object:
        read.append(pid)
        return original(pid)

    node.machine.processes.read = counted      # type: ignore[assignment,method-assign]
    assert node.monitor().code == 0
    assert len(read) == 1


def test_depth_10_reads_four_greetings_at_the_own_address_and_no_other(node: Node) -> None:
    node.started()
    node.machine.sockets.connected.clear()
    assert node.monitor(level=10).code == 0
    assert sorted(node.machine.sockets.connected) == sorted(
        (node.one.address, port) for port in (143, 110, 24, 4190))


@pytest.mark.parametrize("protocol", ["imap", "pop3", "lmtp", "sieve"])
def test_a_service_without_its_greeting_is_a_failure(node: Node, protocol: str) -> None:
    node.started()
    node.one.scripts[protocol].greeting = b"* BYE Fatal error: cannot open mailboxes.db\r\n"
    answer = node.monitor(level=10)
    assert answer.code == 1 and node.one.address in answer.reason and "* BYE" in answer.reason
    assert node.monitor(node.two, level=10).code == 0


def test_a_stop_ends_all_of_the_instance_and_none_of_the_other(node: Node) -> None:
    node.started()
    assert node.stop().code == 0
    assert node.alive(node.one) == [] and node.alive(node.two) == ["idled", "imapd", "master"]
    assert node.monitor(node.two, level=10).code == 0
    assert node.probe().code == 7 and node.stop().code == 0
    assert not node.machine.files.exists("/run/mailha/cyrus/server1")


def test_a_killed_master_is_noticed_and_the_other_instance_untouched(node: Node) -> None:
    node.started()
    node.main(node.one).die(-KILL)
    assert node.monitor().code in (1, 7)
    assert node.monitor(node.two, level=10).code == 0
    assert node.stop().code == 0 and node.start().code == 0
    assert node.alive(node.two) == ["idled", "imapd", "master"]


@pytest.mark.parametrize("manager", ["systemd", "direct"])
def test_orphans_of_a_crash_are_never_called_a_clean_stop(node: Node, manager: str) -> None:
    node.parameters["manager"] = manager
    node.machine.processes.run(node.one.child("imapd"))
    node.machine.processes.run(node.two.child("imapd"))
    assert node.probe().code == 1
    assert node.start().code == 1
    assert node.stop().code == 0
    assert node.alive(node.one) == [] and node.alive(node.two) == ["imapd"]
    node.machine.children.programs[MASTER] = node.one.master()
    assert node.start().code == 0


def test_a_tool_that_works_on_the_data_is_no_doubt_and_is_ended_by_a_stop(node: Node) -> None:
    node.started()
    for its in (node.one, node.two):
        node.machine.processes.run(its.child("reconstruct"))
    assert node.monitor().code == 0 and node.probe().code == 0
    assert node.stop().code == 0
    assert node.alive(node.one) == [] and "reconstruct" in node.alive(node.two)


def test_children_from_where_the_master_was_compiled_to_look_are_its_own(node: Node) -> None:
    """A master in the tree of the instance may well run the distribution's imapd."""
    own = f"{node.one.root}/bin/master"
    node.machine.files.put(own, b"\x7fELF")
    node.machine.children.answer([f"{node.one.root}/bin/cyr_info"],
                                 stdout=f"cyrus-imapd {VERSION}\n".encode())
    node.parameters["manager"] = "direct"
    program = node.one.master()
    program.executable = own
    node.machine.children.programs[own] = program
    assert node.start().code == 0
    next(each for each in node.machine.processes.table.values()
         if each.program.executable == own).die(-KILL)
    assert node.alive(node.one) == ["idled", "imapd"] and node.monitor().code == 1
    assert node.stop().code == 0 and node.alive(node.one) == []


@pytest.mark.parametrize("words", [["-C", "etc/imapd.conf"], ["-d", "-C", "./etc/imapd.conf"],
                                   ["-dC", "etc/imapd.conf"]])
def test_a_master_that_a_script_of_the_tree_has_started_is_found_by_where_it_stands(
        node: Node, words: List[str]) -> None:
    """The set-up of old calls bin/master in the directory of the instance."""
    for its in (node.one, node.two):
        node.machine.processes.run(Program(MASTER, arguments=["bin/master", *words],
                                           directory=its.root))
    assert node.probe().code == 1 and node.start().code == 1
    assert node.stop().code == 0
    left = [each.program.directory for each in node.machine.processes.table.values()]
    assert left == [node.two.root], "that of the other instance stays"


def test_a_daemon_whose_program_lies_in_the_tree_is_found(node: Node) -> None:
    for its in (node.one, node.two):
        node.machine.processes.run(Program(its.root + "/bin/master", arguments=[
            "bin/master", "-d", "-C", "etc/imapd.conf"]))
    assert node.probe().code == 1 and node.stop().code == 0
    left = [each.program.executable for each in node.machine.processes.table.values()]
    assert left == [node.two.root + "/bin/master"]


@pytest.mark.parametrize("words", [["-C{}"], ["-dC", "{}"], ["-d", "-C", "{}"], ["-DdC{}"]])
def test_every_way_to_name_the_configuration_counts(node: Node, words: List[str]) -> None:
    arguments = ["master", *(word.format(node.one.imapd) for word in words)]
    node.machine.processes.run(Program(MASTER, arguments=arguments))
    assert node.probe().code == 1 and node.probe(node.two).code == 7
    assert node.stop().code == 0 and node.alive(node.one) == []


def test_a_process_that_names_its_configuration_by_a_relative_path_is_nobodys(node: Node) -> None:
    stranger = node.machine.processes.run(
        Program(f"{BIN}/reconstruct", arguments=["reconstruct", "-C", "etc/imapd.conf"]))
    assert node.stop().code == 0 and stranger.here


def test_a_stop_that_does_not_know_its_instance_ends_nothing(node: Node) -> None:
    """A parameter that became invalid must not make all Cyrus processes of the node ours."""
    node.machine.processes.run(node.two.child("imapd"))
    answer = node.stop(instance_root="-x")
    assert answer.code == 0 and node.alive(node.two) == ["imapd"]


def test_a_master_with_another_configuration_in_the_unit_is_not_ours(node: Node) -> None:
    node.started()
    node.main(node.one).program.arguments[2] = node.two.imapd
    answer = node.monitor()
    assert answer.code == 1 and "does not run" in answer.reason


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "::1", "::ffff:0.0.0.0"])
def test_an_address_that_all_instances_have_in_common_can_be_right_nowhere(node: Node, address: str
                                                                           ) -> None:
    """cyrus.conf and parameter would agree, and the instance would take the other one's mail."""
    shown = f"[{address}]" if ":" in address else address
    node.one.conf_text = node.one.conf_text.replace(node.one.address, shown)
    node.write(node.one)
    answer = node.start(ip=address)
    assert answer.code == 6 and "is no floating address" in answer.reason
    assert node.stop(ip=address).code == 0 and node.probe(ip=address).code == 7


def test_a_start_on_what_serves_disturbs_nothing(node: Node) -> None:
    node.started()
    before = node.main(node.one)
    assert node.start().code == 0 and node.main(node.one) is before


def test_a_start_by_the_agent_itself_has_the_same_arguments(node: Node) -> None:
    node.parameters["manager"] = "direct"
    node.machine.children.programs[MASTER] = node.one.master()
    assert node.start().code == 0
    argv, environment, *_ = node.machine.children.spawned[0]
    assert argv == [MASTER, "-C", node.one.imapd, "-M", node.one.conf, "-p",
                    "/run/mailha/cyrus-pid/server1"]
    assert environment["LC_ALL"] == "C"
    assert node.monitor(level=10).code == 0
    assert node.stop().code == 0 and node.alive(node.one) == []


@pytest.mark.parametrize("place, number", [("/run", errno.EROFS), ("/run", errno.ENOSPC)])
def test_where_nothing_can_be_written_it_neither_starts_nor_fails_to_stop(
        node: Node, place: str, number: int) -> None:
    node.started()
    node.machine.files.failing[place] = number
    assert node.monitor(level=10).code == 0
    assert node.stop().code == 0 and node.alive(node.one) == []
    assert node.start().code == 1 and node.alive(node.one) == []


def test_a_disk_that_does_not_answer_keeps_nobody_waiting(node: Node) -> None:
    node.machine.children.hanging.add("*")
    assert node.start(timeout=120).code == 1
    assert node.probe().code == 7 and node.stop().code == 0


def test_a_full_disk_of_the_instance_is_said_before_its_master_is_started(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mailha.agents.cyrus.start._make", full)
    node.refuses(1, "cannot make the directories", "No space left")


# What is refused before anything begins

REFUSALS: "dict[str, tuple[Callable[[Node], None], int, tuple[str, ...]]]" = {}


def refusal(code: int, *words: str) -> Callable[[Callable[[Node], None]], Callable[[Node], None]]:
    """Note what spoils a node, and the answer of start to it."""
    def note(spoil: Callable[[Node], None]) -> Callable[[Node], None]:
        REFUSALS[spoil.__name__.replace("_", " ")] = (spoil, code, words)
        return spoil
    return note


def edit(node: Node, old: str, new: str) -> None:
    """Change the cyrus.conf of the first instance."""
    assert old in node.one.conf_text
    node.one.conf_text = node.one.conf_text.replace(old, new)
    node.write(node.one)


@refusal(5, "line 7: lmtp", "every address", 'write listen="192.0.2.11:24"')
def listener_on_every_address(node: Node) -> None:
    edit(node, '"192.0.2.11:24"', '"*:24"')


@refusal(5, "line 8: sieve", "in common")
def listener_on_localhost(node: Node) -> None:
    edit(node, '"192.0.2.11:4190"', '"localhost:sieve"')


@refusal(5, "line 5: imap", "not on the address of the instance")
def listener_on_the_address_of_the_buddy(node: Node) -> None:
    edit(node, '"192.0.2.11:143"', '"192.0.2.12:143"')


@refusal(5, "line 6: pop3", "would work on the data of /etc/imapd.conf")
def command_without_its_configuration(node: Node) -> None:
    edit(node, f"pop3d -C {node.one.imapd}", "pop3d")


@refusal(5, "START", "recover cmd=\"ctl_cyrusdb -C ")
def databases_not_recovered(node: Node) -> None:
    edit(node, "ctl_cyrusdb", "cyr_expire")


@refusal(5, "line 7: lmtp", "/etc/services of this node has no port 'lmtp'")
def port_that_nobody_knows(node: Node) -> None:
    edit(node, ":24\"", ":lmtp\"")


@refusal(5, "line 11: the section DAEMON has no end")
def cyrus_conf_cut_off(node: Node) -> None:
    node.one.conf_text = node.one.conf_text.rstrip("}\n")
    node.write(node.one)


@refusal(5, "there is no", "etc/cyrus.conf")
def cyrus_conf_missing(node: Node) -> None:
    del node.machine.files.content[node.one.conf]


@refusal(5, "imapd.conf line 1")
def imapd_conf_broken(node: Node) -> None:
    node.one.imapd_text = "configdirectory\n"
    node.write(node.one)


@refusal(1, "no mount point")
def tree_not_mounted(node: Node) -> None:
    node.machine.unmount(node.one.root)


@refusal(1, "mounted read-only")
def tree_read_only(node: Node) -> None:
    node.machine.mount(node.one.root, "ext4", "/dev/server1", "ro")


@refusal(1, "192.0.2.11 port 143", "no address of this node")
def address_elsewhere(node: Node) -> None:
    node.machine.sockets.addresses.remove(node.one.address)


@refusal(1, "192.0.2.11:24 is taken by /usr/lib/postfix/sbin/master", "process ")
def port_taken_by_a_stranger(node: Node) -> None:
    node.machine.processes.run(Program("/usr/lib/postfix/sbin/master",
                                       listens={("*", 24): Script()}))


@refusal(1, f"192.0.2.11:143 is taken by {MASTER}", "cyrus-imapd.service must be disabled")
def ports_taken_by_the_cyrus_of_the_distribution(node: Node) -> None:
    node.machine.processes.run(Program(MASTER, arguments=[MASTER], listens={("*", 143): Script()}),
                               "/system.slice/cyrus-imapd.service")


@refusal(5, "there is no master of Cyrus")
def software_missing(node: Node) -> None:
    del node.machine.files.content[MASTER]


@refusal(5, "there is no unit mailha-cyrus@server1.service")
def unit_missing(node: Node) -> None:
    node.units["server1"].load = "not-found"


@refusal(5, "mailha-cyrus@server1.service", "masked")
def unit_masked(node: Node) -> None:
    node.units["server1"].load = "masked"


@refusal(5, "older than 3.8.1", "bob")
def data_newer_than_the_software(node: Node) -> None:
    record(node, "3.8.1")


@refusal(5, "newer release than 3.4.2", "mailha accept-version server1")
def newer_release_without_a_word(node: Node) -> None:
    record(node, "3.4.2")


@refusal(5, "there is no user 'nobody-of-this-name'")
def user_missing(node: Node) -> None:
    node.parameters["user"] = "nobody-of-this-name"


@refusal(1, "nobody tells the version")
def version_unknown(node: Node) -> None:
    node.machine.children.answer([f"{BIN}/cyr_info"], code=64)


@refusal(6, "parameter ip: ")
def address_that_is_none(node: Node) -> None:
    node.parameters["ip"] = "192.0.2.300"


@refusal(6, "neither instance_root nor imapd_conf")
def instance_that_nobody_names(node: Node) -> None:
    node.parameters["instance_root"] = ""


def record(node: Node, version: str) -> None:
    """Let another version have run on the data before."""
    last_run.write(node.machine, node.one.root,     # type: ignore[arg-type]
                   last_run.Record("cyrus", Version(version), "bob", 1e9), 5.0)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_start_is_refused_with_the_thing_and_the_remedy(node: Node, name: str) -> None:
    spoil, code, words = REFUSALS[name]
    spoil(node)
    node.refuses(code, *words)
    assert node.probe().code in (5, 7)
    assert node.stop().code == 0


def test_a_user_with_another_number_than_the_owner_of_the_data_is_refused(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *more, **named: _Owned(real(path, *more, **named))
                        if str(path).endswith("data/conf") else real(path, *more, **named))
    node.refuses(5, "belongs to the user number 4711", "usermod -u")


class _Owned:
    """What stat says, with another owner."""

    def __init__(self, found: os.stat_result) -> None:
        self._found = found
        self.st_uid = 4711

    def __getattr__(self, name: str) -> object:
        return getattr(self._found, name)


def test_a_newer_release_starts_once_the_administrator_has_said_so(node: Node) -> None:
    record(node, "3.4.2")
    acceptance.accept(node.machine, "server1", Version(VERSION))     # type: ignore[arg-type]
    assert node.start().code == 0
    assert not node.machine.files.exists(acceptance.path_of("server1"))


def test_without_working_stonith_nothing_starts_unless_this_is_the_named_node(node: Node) -> None:
    node.answer_cib("crm_stonith_off.xml")
    node.refuses(5, "STONITH")
    assert node.start(manual_node="alice").code == 0


def test_a_clone_of_two_is_wrong_everywhere(node: Node) -> None:
    node.refuses(6, "clone", meta={"clone_max": "2"})


@pytest.mark.parametrize("line, words", [
    ("proc_path: /run/cyrus/proc\n", "proc_path"), ("lmtpsocket: /run/cyrus/lmtp\n", "lmtpsocket")])
def test_a_path_that_the_other_instance_on_this_node_has_is_refused(
        node: Node, line: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailha.agents.cyrus.start._make", lambda *arguments: None)
    for its in (node.one, node.two):
        its.imapd_text += line
        node.write(its)
    assert node.start(node.two).code == 0
    node.refuses(5, f"imapd.conf line 4: {words}", "'server2'")
    assert node.stop(node.two).code == 0
    assert node.start().code == 0


@pytest.mark.parametrize("path, warned", [
    ("/run/cyrus/proc", True), ("/run/cyrus-server1/proc", False), ("/dev/shm/server1", False)])
def test_a_path_that_has_not_the_name_of_the_instance_is_warned_of_in_time(
        node: Node, path: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the buddy has to take over, it is too late to hear of it."""
    monkeypatch.setattr("mailha.agents.cyrus.start._make", lambda *arguments: None)
    node.one.imapd_text += f"proc_path: {path}\n"
    node.write(node.one)
    answer = node.start()
    assert answer.code == 0
    assert ("imapd.conf line 4: proc_path" in answer.log) is warned


def test_a_socket_that_the_other_instance_on_this_node_has_is_refused(node: Node) -> None:
    edit(node, node.one.socket, node.two.socket)
    assert node.start(node.two).code == 0
    node.refuses(5, "cyrus.conf line 9: unix", "'server2'")


COMMON = "/run/mailha/lock-of-all/cyrus"


def test_an_instance_that_is_just_being_started_counts_as_one_that_runs(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that share a path by mistake may be started in the same second."""
    monkeypatch.setattr("mailha.agents.cyrus.start._make", lambda *arguments: None)
    for its in (node.one, node.two):
        its.imapd_text += "proc_path: /run/cyrus/proc\n"
        node.write(its)
    assert node.start(node.two).code == 0
    for running in list(node.machine.processes.table.values()):
        running.die()
    node.machine.files.locked_by_others.add("/run/mailha/lock/server2")
    node.refuses(5, "imapd.conf line 4: proc_path", "'server2'")
    assert COMMON not in node.machine.files.locked
    node.machine.files.locked_by_others.clear()
    assert node.start().code == 0, "of a record alone nothing is left to meet"
    assert COMMON not in node.machine.files.locked


def test_a_start_looks_when_no_other_one_is_between_its_look_and_its_record(node: Node) -> None:
    node.machine.files.locked_by_others.add(COMMON)
    answer = node.start()
    assert answer.code == 1 and "another start of cyrus has been running" in answer.reason
    assert "lslocks" in answer.reason and node.alive(node.one) == []


def test_a_service_with_all_processes_in_use_is_degraded_and_not_restarted(node: Node) -> None:
    node.started()
    node.one.scripts["imap"].mood = "mute"
    for _ in range(2):
        node.machine.processes.run(node.one.child("imapd"), usual(node.one.unit))
    answer = node.monitor(level=10)
    assert answer.code == 190 and "all 3 processes of imap are in use" in answer.reason
    assert "line 5: maxchild" in answer.reason


def test_a_mute_service_with_processes_to_spare_is_a_failure(node: Node) -> None:
    node.started()
    node.one.scripts["imap"].mood = "mute"
    assert node.monitor(level=10).code == 1


def test_the_processes_of_the_buddy_do_not_fill_a_service(node: Node) -> None:
    node.started()
    node.one.scripts["imap"].mood = "mute"
    for _ in range(9):
        node.machine.processes.run(node.two.child("imapd"), usual(node.two.unit))
    assert node.monitor(level=10).code == 1


def test_any_number_of_processes_is_never_full() -> None:
    text = b'SERVICES {\n  imap cmd="imapd" listen="192.0.2.11:143"\n}\n'
    places = listeners.places(cyrusconf.parse(text, "x")[0], {})
    assert plan.full(places, ["imapd"] * 5000) == []


def test_a_listener_that_cyrus_has_given_up_is_a_failure(node: Node) -> None:
    """After five failures of a service its master closes the socket, and serves all others."""
    node.started()
    del node.main(node.one).open[(node.one.address, 24)]
    answer = node.monitor()
    assert answer.code == 1 and "does not listen on 192.0.2.11:24" in answer.reason


def test_a_listener_that_is_an_orphans_is_a_failure(node: Node) -> None:
    node.started()
    del node.main(node.one).open[(node.one.address, 143)]
    orphan = node.one.child("imapd")
    orphan.listens = {(node.one.address, 143): Script()}
    node.machine.processes.run(orphan)
    answer = node.monitor()
    assert answer.code == 1 and "listened on by another process" in answer.reason


def test_the_disk_and_the_address_are_watched(node: Node) -> None:
    node.started()
    node.machine.sockets.addresses.remove(node.one.address)
    answer = node.monitor()
    assert answer.code == 1 and "no longer an address" in answer.reason
    node.machine.sockets.addresses.add(node.one.address)
    node.machine.unmount(node.one.root)
    answer = node.monitor()
    assert answer.code == 1 and "no longer mounted" in answer.reason


def test_a_configuration_that_is_broken_while_it_serves_takes_nothing_down(node: Node) -> None:
    node.started()
    node.machine.files.put(node.one.conf, b"nonsense")
    node.machine.files.put(node.one.imapd, b"nonsense")
    assert node.monitor(level=10).code == 0 and node.probe().code == 0
    assert node.stop().code == 0


def test_a_lost_record_is_no_reason_to_doubt_what_serves(node: Node) -> None:
    node.started()
    node.machine.files.remove(active.path_of("server1"))
    answer = node.monitor(level=10)
    assert answer.code == 0 and "is gone" in answer.log


def test_after_a_power_loss_nothing_runs_and_nothing_is_marked(node: Node) -> None:
    node.started()
    node.machine.reboot()
    assert node.probe().code == 7 and node.stop().code == 0


def test_a_data_directory_below_the_tree_with_a_disk_of_its_own_is_found(node: Node) -> None:
    node.machine.unmount(node.one.root)
    node.machine.mount(node.one.root + "/data", "ext4", "/dev/server1")
    assert node.start().code == 0
    assert Path(node.one.root, "data", last_run.NAME).exists()


def test_an_instance_may_be_named_by_its_two_files(node: Node) -> None:
    node.machine.unmount(node.one.root)
    node.machine.mount(node.one.root + "/data/conf", "ext4", "/dev/server1")
    node.machine.mount(node.one.root + "/data/partition1", "ext4", "/dev/server1")
    node.machine.mount(node.one.root + "/data/sieve", "ext4", "/dev/server1")
    answer = node.start(instance_root="", imapd_conf=node.one.imapd, cyrus_conf=node.one.conf)
    assert answer.code == 0, answer
    assert Path(node.one.root, "data/conf", last_run.NAME).exists()


def test_mail_on_the_nodes_own_disk_beside_the_tree_is_refused(node: Node, tmp_path: Path) -> None:
    node.one.imapd_text += f"partition-old: {tmp_path}/old\n"
    node.write(node.one)
    node.refuses(1, "own root file system", f"{tmp_path}/old")


def test_validate_all_tells_the_first_things_that_a_start_would_be_refused_for(node: Node) -> None:
    assert node.call("validate-all", level=10).code == 0
    edit(node, '"192.0.2.11:24"', '"*:24"')
    answer = node.call("validate-all", level=10)
    assert answer.code == 5 and "line 7: lmtp" in answer.log


def test_last_words_are_those_of_weight(node: Node) -> None:
    node.units["server1"].program = node.one.master(exit_after=0.01, exit_code=1)
    node.machine.children.answer(["journalctl"], stdout=b"cannot exec x\ncan't run startup\n")
    answer = node.start()
    assert answer.code == 1 and "cannot exec x; can't run startup" in answer.reason
