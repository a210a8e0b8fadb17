# SPDX-License-Identifier: GPL-2.0-or-later
"""A node with Cyrus, as a small tree of files: what /proc and /sys say, and its configuration.

The code that is tried is the real one from the agent's handlers down; only the root of the machine
is another. Nothing is mounted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import pytest

from mailha.agents.cyrus_storage import AGENT
from mailha.ocf.call import Call
from mailha.ocf.run import perform
from mailha.storage import probe_file
from mailha.storage.probe_file import Outcome
from mailha.system.machine import Machine

IMAPD_CONF = """\
# Cyrus as Debian configures it, on two disks of the cluster
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
sieveusehomedir: yes
partition-default: /var/spool/cyrus/mail
"""

SPLIT_CONF = """\
configdirectory: /var/lib/cyrus
metapartition_files: header index cache expunge squat annotations lock dav archivecache
@include: /etc/cyrus-partitions
"""

PARTITIONS = """\
partition-example_org:/var/spool/cyrus/data/example_org
metapartition-example_org:/var/spool/cyrus/meta/example_org
"""


class Said(NamedTuple):
    """What came of a call: the exit code, and what was written to stderr."""

    code: int
    err: str

    @property
    def reason(self) -> str:
        """The one exit reason."""
        [line] = [line for line in self.err.splitlines() if line.startswith("ocf-exit-reason:")]
        return line[len("ocf-exit-reason:"):]

    @property
    def warnings(self) -> List[str]:
        """What the log was warned of."""
        return [line[len("WARNING: "):] for line in self.err.splitlines()
                if line.startswith("WARNING: ")]


class NoChildren:
    """Runs what should be done in a child here and now: a fork takes longer than all the rest."""

    def bounded(self, function: Callable[[], bytes], *, timeout: float) -> bytes:
        assert timeout > 0
        return function()


class CyrusNode:
    """The node. root: of the tree. with_children: give it real ones in place of NoChildren."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch,
                 capfd: pytest.CaptureFixture[str], *, with_children: bool = False) -> None:
        self.root = root
        self.machine = Machine(str(root))
        if not with_children:
            self.machine.children = NoChildren()    # type: ignore[assignment]
            monkeypatch.setattr(probe_file, "try_out", lambda *_, **__: Outcome())
        self._capfd = capfd
        self._patch = monkeypatch
        self._mounts: Dict[str, List[str]] = {}
        self._next = 20
        self._disks = 0
        for directory in ("proc/self/ns", "sys/dev/block", "sys/class/block", "run", "etc", "dev"):
            (root / directory).mkdir(parents=True)
        self.link("/proc/self/ns/mnt", "mnt:[1]")
        self.link("/proc/self/ns/pid", "pid:[1]")
        self.mount("/", source=self.disk("vda"))
        self.mount("/run", "tmpfs", "tmpfs")
        self.put("/etc/imapd.conf", IMAPD_CONF)

    def put(self, path: str, content: Any) -> None:
        """Let a file be there."""
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, path: str, target: str) -> None:
        """Let a symbolic link be there."""
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def disk(self, name: str, *, place: str = "pci0000:00") -> str:
        """Plug in a disk; return its device. place: what is between it and the machine in /sys."""
        self._disks += 1
        number = f"8:{16 * self._disks}"
        home = self.root / "sys/devices" / place / "block" / name
        home.mkdir(parents=True)
        for key, value in (("dev", number), ("size", "2048"), ("ro", "0")):
            (home / key).write_text(value + "\n")
        self.link(f"/sys/dev/block/{number}", f"../../devices/{place}/block/{name}")
        self.link(f"/sys/class/block/{name}", f"../../devices/{place}/block/{name}")
        self.put(f"/dev/{name}", "")
        return f"/dev/{name}"

    def mount(self, point: str, fstype: str = "ext4", source: str = "/dev/sdb",
              options: str = "rw", root: str = "/") -> None:
        """Mount something, on top of what may be mounted there."""
        (self.root / point[1:]).mkdir(parents=True, exist_ok=True)
        below = [each for each in self._mounts if each != point
                 and (point + "/").startswith(each.rstrip("/") + "/")]
        parent = self._mounts[max(below, key=len)][-1].split(" ")[0] if below else "1"
        if point in self._mounts:
            parent = self._mounts[point][-1].split(" ")[0]
        number = "0:50"
        if source.startswith("/dev/"):
            number = (self.root / "sys/class/block" / source[5:] / "dev").read_text().strip()
        self._next += 1
        self._mounts.setdefault(point, []).append(
            f"{self._next} {parent} {number} {root} {point} rw,relatime shared:1 - {fstype} "
            f"{source} {options}")
        self._write_mounts()

    def unmount(self, point: str) -> None:
        """Take the topmost mount away."""
        self._mounts[point].pop()
        if not self._mounts[point]:
            del self._mounts[point]
        self._write_mounts()

    def _write_mounts(self) -> None:
        self.put("/proc/self/mountinfo", self.table())

    def table(self) -> str:
        """Return the kernel's table of mounts."""
        return "".join(line + "\n" for lines in self._mounts.values() for line in lines)

    def mount_the_usual(self) -> None:
        """Mount two disks where Cyrus as Debian configures it has its data."""
        self.mount("/var/lib/cyrus", source=self.disk("sdb"))
        self.mount("/var/spool/cyrus", "xfs", self.disk("sdc"))
        (self.root / "var/spool/cyrus/mail").mkdir()

    def run_cyrus(self, pid: int = 4711, *, executable: str = "/usr/lib/cyrus/bin/master",
                  arguments: str = "/usr/sbin/cyrmaster\0-l\x0032\0-C\0/etc/imapd.conf\0",
                  namespace: str = "mnt:[1]", pid_file: str = "/run/cyrus-master.pid") -> None:
        """Let a process run. pid_file: "" for none."""
        fields = ["S", "1", "1", "1", "0", "-1", "0"] + ["0"] * 12 + ["100"] + ["0"] * 15 + ["17"]
        self.put(f"/proc/{pid}/stat", f"{pid} (master) {' '.join(fields)} 0\n")
        self.put(f"/proc/{pid}/cmdline", arguments)
        self.link(f"/proc/{pid}/exe", executable)
        self.link(f"/proc/{pid}/ns/mnt", namespace)
        self.link(f"/proc/{pid}/ns/pid", "pid:[1]")
        if pid_file:
            self.put(pid_file, f"{pid}\n")

    @property
    def running(self) -> bool:
        """Whether the marker of the resource is there."""
        return (self.root / "run/mailha/cyrus-storage/cyrus_storage").exists()

    def boot(self) -> None:
        """Lose power and boot: what is in /run is gone."""
        marker = self.root / "run/mailha/cyrus-storage/cyrus_storage"
        if marker.exists():
            marker.unlink()

    def do(self, action: str, *, interval: int = 0, level: int = 0, timeout: int = 60000,
           cluster: bool = True, **parameters: str) -> Said:
        """Call the agent as Pacemaker does and return what came of it."""
        environment = {"OCF_RESOURCE_INSTANCE": "cyrus_storage", "HA_logfacility": "none",
                       "OCF_RESKEY_CRM_meta_timeout": str(timeout)}
        if cluster:
            environment["OCF_RESKEY_CRM_meta_on_node"] = "alice"
        if interval:
            environment["OCF_RESKEY_CRM_meta_interval"] = str(interval)
        if level:
            environment["OCF_CHECK_LEVEL"] = str(level)
        for name, value in parameters.items():
            environment["OCF_RESKEY_" + name] = value
        self._capfd.readouterr()
        from mailha.agents import cyrus_storage
        self._patch.setattr(cyrus_storage, "_machine", lambda: self.machine)
        self._patch.setattr(os, "geteuid", lambda: 0)
        code = perform(AGENT, ["cyrus-storage", action], environment)
        return Said(code, self._capfd.readouterr().err)

    def start(self, **parameters: str) -> Said:
        """Start it."""
        return self.do("start", **parameters)

    def probe(self, **parameters: str) -> Said:
        """Ask whether it runs here at all."""
        return self.do("monitor", **parameters)

    def monitor(self, level: int = 0, **parameters: str) -> Said:
        """Watch what start has started."""
        return self.do("monitor", interval=30000, level=level, **parameters)

    def stop(self, **parameters: str) -> Said:
        """Stop it."""
        return self.do("stop", **parameters)

    def validate(self, level: int = 0, **parameters: str) -> Said:
        """Check the parameters."""
        return self.do("validate-all", level=level, **parameters)

    def call(self, action: str, parameters: Optional[Dict[str, str]] = None) -> Call:
        """Return a call of the agent, not performed."""
        environment = {"OCF_RESOURCE_INSTANCE": "cyrus_storage", "HA_logfacility": "none"}
        environment.update({f"OCF_RESKEY_{key}": value
                            for key, value in (parameters or {}).items()})
        return Call(AGENT, action, environment, time.monotonic)

    def files(self) -> List[str]:
        """Return the files outside of /proc and /sys, by path."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*")
                      if path.is_file() and path.relative_to(self.root).parts[0]
                      not in ("proc", "sys"))
