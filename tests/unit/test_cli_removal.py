# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packages call before their files go: nothing that runs may lose its agent."""

from __future__ import annotations

import pytest
from cli_machine import activate, call, guarded, kopano, node

from mailha.cli import removal

FENCE = '<primitive id="fence_bob" class="stonith" type="fence_ipmi"/>'
OTHER = '<primitive id="fence_bob" class="stonith" type="fence_ipmilan"/>'


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def test_it_says_nothing_where_nothing_of_mailha_is_in_use() -> None:
    said = call(node(), "removal")
    assert (said.code, said.out, said.err) == (0, "", "")


@pytest.mark.parametrize("directory", removal.RECORDS)
def test_a_resource_that_runs_here_keeps_the_package(directory: str) -> None:
    where = node()
    where.files.put(f"{directory}/mail", b"")
    began = where.clock.monotonic()
    said = call(where, "removal")
    assert said.code == 1 and "'mail' runs on this node" in said.err
    assert where.clock.monotonic() == began, "it waited for a cluster that it need not ask"
    for command in ("crm node standby", "pcs node standby", "crm resource stop",
                    "pcs resource delete", "--force"):
        assert command in said.err


def test_files_that_are_no_resources_keep_nothing() -> None:
    where = node()
    where.files.put("/run/mailha/cyrus-storage/.master-of-mail", b"")
    assert call(where, "removal").code == 0


def test_force_warns_and_takes_the_guards_off_of_what_runs() -> None:
    where = node(kopano("mail", services="server"))
    call(where, "guards", "on", "mail")
    activate(where, "mail")
    refused = call(where, "removal")
    assert refused.code == 1 and guarded(where)
    said = call(where, "removal", "--force")
    assert said.code == 0 and not guarded(where)
    assert "warning: the resource 'mail' runs on this node" in said.err


def test_the_guards_go_with_the_package() -> None:
    where = node(kopano("mail", services="server"))
    call(where, "guards", "on", "mail")
    said = call(where, "removal")
    assert said.code == 0 and not guarded(where) and "guard removed" in said.out


def test_a_cluster_that_fences_with_our_agents_keeps_the_package() -> None:
    said = call(node(FENCE), "removal")
    assert said.code == 1 and "fence_bob" in said.err and "could not fence" in said.err
    assert "crm cluster stop" in said.err and "pcs cluster stop" in said.err
    assert call(node(OTHER), "removal").code == 0
