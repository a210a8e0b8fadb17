# SPDX-License-Identifier: GPL-2.0-or-later
"""Is this path fit for mail? The one answer for agents and for people.

The order of the evidence: the kernel's table of mounts says on which mount the path lies, with each
symbolic link followed only on file systems that need no server; the type of that mount must be one
that the rule allows; it must be a mount of its own, whole and writable; its devices are followed
down to the disks, and must be those that are named for it, if any are; and what is mounted below
the path must be as good. The first thing that is wrong is the reason.

Nothing is touched before the mount on which it lies has been accepted, so a dead server is refused
in the same fraction of a millisecond as a living one.

A recurring monitor loads this module.
"""

from __future__ import annotations

from mailha.storage import chain, filesystems, mountinfo, symlinks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailha.storage.chain import Chain
    from mailha.storage.mountinfo import Mount, Table
    from mailha.storage.rules import Rule
    from mailha.system.machine import Machine

SYSTEM = ("/", "/var", "/var/lib", "/var/spool")
"""What is mounted at one of these is the disk of the operating system and of this node, as is each
subvolume of it. A directory there is what is left where the mail's own disk is not mounted."""

PATIENCE = 5.0
"""Seconds for following symbolic links on a disk that answers slowly."""

WRITABLE = "it must be writable"
"""The rule, of whatever is read-only."""


class Survey:
    """What several examinations of one moment share.

    destinations: where paths lead; tell it beforehand which will be examined. timeout: seconds, for
    each disk, if one is slow. Raises mountinfo.MountTableDamaged.
    """

    def __init__(self, machine: Machine, timeout: float = PATIENCE) -> None:
        self.machine = machine
        self.own_table: Table = mountinfo.mounts(machine)
        self.destinations = symlinks.Destinations(machine, self.own_table, timeout)
        self._chains: dict[tuple[str, str, str], Chain] = {}
        self._look_at(self.own_table)

    def seen_by(self, process: str) -> Survey:
        """Return the same for the mount namespace of a process, by its number.

        Symbolic links are followed in ours all the same, and the files of loop devices are looked
        for there. What has been found out of them is not found out again. Raises
        mountinfo.MountTableDamaged.
        """
        other = Survey.__new__(Survey)
        other.__dict__.update(self.__dict__)
        other._look_at(mountinfo.mounts(self.machine, process))
        return other

    def _look_at(self, table: Table) -> None:
        self.table = table
        self.system = {mount.device for mount in map(table.find, SYSTEM)}

    def chain(self, mount: Mount, rule: Rule) -> Chain:
        """Return the devices under a mount. Raises as chain.follow()."""
        key = (mount.device, mount.source, rule.name)
        if key not in self._chains:
            self._chains[key] = chain.follow(self.machine, self.own_table, mount, rule.kinds)
        return self._chains[key]


class Verdict:
    """What was found out about a path.

    path: as it was asked for. real: without symbolic links, as far as they were followed. rule:
    its name. mount_point, type, source: of the mount on which it lies. chain: names of what is
    under it, down to the disks. fit: whether the rule is kept; if not, reason says what was found,
    where and which rule it breaks, and remedy what to do. warnings: what is allowed and unwise.
    exists: whether anything is there, None as long as nobody has looked (storage.presence).
    """

    __slots__ = ("path", "real", "rule", "mount_point", "type", "source", "chain", "fit", "reason",
                 "remedy", "warnings", "exists")

    def __init__(self, path: str, rule: Rule) -> None:
        self.path = path
        self.real = path
        self.rule = rule.name
        self.mount_point = ""
        self.type = ""
        self.source = ""
        self.chain: list[str] = []
        self.fit = True
        self.reason = ""
        self.remedy = ""
        self.warnings: list[str] = []
        self.exists: bool | None = None

    def __repr__(self) -> str:
        return f"<Verdict {self.path!r} {'fit' if self.fit else self.reason!r}>"


def examine(machine: Machine, path: str, *, rule: Rule, device: str = "",
            apart: Sequence[str] = (), survey: Survey | None = None) -> Verdict:
    """Say whether a path is fit under a rule.

    device: what must be mounted there, "/dev/..." or "UUID=..." or, for NFS, "server:/export"; ""
    for anything. apart: paths below this one that are examined by a rule of their own, so that what
    is mounted there is not held against this one. survey: the tables of this moment, if several
    paths are examined.

    Whatever is wrong with the path is in the verdict. Raises errors.Failed (MountTableDamaged,
    DiskSilent...) only if it cannot be found out, and for a path that is not absolute or has "..".
    """
    return _Examination(survey or Survey(machine), path, rule, device, apart).verdict


class _Examination:
    """One examination; the verdict is filled step by step until something is wrong."""

    def __init__(self, survey: Survey, path: str, rule: Rule, device: str,
                 apart: Sequence[str]) -> None:
        self._survey = survey
        self._rule = rule
        self.verdict = Verdict(mountinfo.lexical(path), rule)
        try:
            real = self._real()
        except symlinks.Endless as circle:
            self.verdict.fit = False
            self.verdict.reason = f"{circle.reason}, so it leads nowhere; {rule.words}"
            self.verdict.remedy = circle.remedy
            return
        mount = survey.table.find(real)
        self.verdict.real = real
        self.verdict.mount_point = mount.mount_point
        self.verdict.type = mount.fstype
        self.verdict.source = mount.source
        if self._is_allowed(mount) and self._is_its_own(mount) and self._is_whole(mount) \
                and self._layers_are_allowed(mount) and self._devices_are_allowed(mount) \
                and self._is_expected(mount, device):
            self._look_below(self.verdict.path, real, apart)
            self._advise(mount)

    def _real(self) -> str:
        """Return the path without symbolic links, as far as they may be followed."""
        try:
            return self._survey.destinations.of(self.verdict.path)
        except symlinks.NotAccepted as refused:
            rest = "/".join(part for part in refused.rest.split("/") if part not in ("", ".", ".."))
            return f"{refused.path}/{rest}".rstrip("/")

    def _refuse(self, mount: Mount, what: str, remedy: str, *, inside: bool = False,
                broken: str = "") -> bool:
        """Make the verdict a refusal, and return False.

        inside: of something mounted below the path. broken: the rule, if it is not about the kind
        of file system.
        """
        verdict = self.verdict
        at = f"'{verdict.path}'" if verdict.real == verdict.path else \
            f"'{verdict.path}' (in truth '{verdict.real}')"
        lies = "has below it" if inside else "is on"
        verdict.fit = False
        verdict.reason = (f"{at} {lies} {mount.fstype} '{mount.source}', mounted at "
                          f"'{mount.mount_point}': {what}; {broken or self._rule.words}")
        verdict.remedy = remedy
        return False

    def _is_allowed(self, mount: Mount, inside: bool = False) -> bool:
        """Look at the type."""
        kind = filesystems.kind_of(mount.fstype)
        if kind in self._rule.kinds:
            return True
        remedy = "move it to a disk and mount that there"
        if kind is filesystems.AUTOMOUNT:
            remedy = "take it out of the automounter and let the cluster mount the disk"
        return self._refuse(mount, f"it is {kind.words}", remedy, inside=inside)

    def _is_its_own(self, mount: Mount, inside: bool = False) -> bool:
        """See that it is not what is left where the mail's disk is not mounted."""
        if not self._rule.own_mount or mount.device not in self._survey.system:
            return True
        return self._refuse(mount, "that is the disk of this node's operating system, so the "
                            "mail's own is not mounted",
                            "mount it; in a cluster, let ocf:heartbeat:Filesystem do so earlier in "
                            "the group", inside=inside,
                            broken="it must be on a mount of its own")

    def _is_whole(self, mount: Mount, inside: bool = False) -> bool:
        """See that it can be written to and is still there."""
        if mount.deleted:
            return self._refuse(mount, "the directory that is mounted there has been removed",
                                "unmount it and mount the disk again", inside=inside,
                                broken=WRITABLE)
        if self._rule.writable and mount.read_only:
            return self._refuse(mount, "it is read-only", "find out why in the kernel's log, check "
                                "the file system, and mount it again", inside=inside,
                                broken=WRITABLE)
        for option in mount.super_options.split(","):
            if option in ("emergency_ro", "shutdown"):
                return self._refuse(mount, f"the file system has given up ({option})",
                                    "see the kernel's log, unmount it, and check it with fsck",
                                    inside=inside, broken=WRITABLE)
        return True

    def _layers_are_allowed(self, mount: Mount, inside: bool = False) -> bool:
        """Look at each layer of an overlay that is allowed at all."""
        if filesystems.kind_of(mount.fstype) is not filesystems.OVERLAY:
            return True
        for layer in _layers(mount):
            below = self._survey.table.find(layer) if layer.startswith("/") else mount
            kind = filesystems.kind_of(below.fstype)
            if kind not in self._rule.kinds and kind is not filesystems.IMAGE:
                return self._refuse(mount, f"its layer '{layer}' is on {below.fstype} "
                                    f"'{below.source}', which is {kind.words}",
                                    "mount a disk there", inside=inside)
        return True

    def _devices_are_allowed(self, mount: Mount, inside: bool = False) -> bool:
        """Follow the devices down to the disks."""
        found = self._survey.chain(mount, self._rule)
        if not inside:
            self.verdict.chain = list(found.names)
        self.verdict.warnings.extend(found.warnings)
        for fault in found.faults:
            return self._refuse(mount, fault.reason, fault.remedy, inside=inside)
        return True

    def _is_expected(self, mount: Mount, device: str) -> bool:
        """See that it is the very device that should be there, and not the other group's."""
        if not device or device == mount.source and not device.startswith("/"):
            return True
        tag, _, value = device.partition("=")
        wanted = f"{_TAGS[tag]}/{_escaped(value)}" if tag in _TAGS and value else device
        number = ""
        if wanted.startswith("/"):
            number = chain.number_of(self._survey.machine, wanted)
        if number and number in self._survey.chain(mount, self._rule).numbers:
            return True
        known = f"which is {number}" if number else "which this node does not have"
        return self._refuse(mount, f"not what should be there: {device}"
                            + (f" ({known})" if wanted.startswith("/") else ""),
                            "mount the right one, or correct the parameter that names it",
                            broken="it must be on the device that is named for it")

    def _look_below(self, path: str, real: str, apart: Sequence[str]) -> None:
        """Look at what is mounted below the path, where some of the mail may lie."""
        others = [mountinfo.lexical(other) for other in apart]
        others += [real + other[len(path):] for other in others if other.startswith(path + "/")]
        for mount in self._survey.table.below(real):
            point = mount.mount_point
            if any(point == other or point.startswith(other + "/") for other in others):
                continue
            if not (self._is_allowed(mount, True) and self._is_its_own(mount, True)
                    and self._is_whole(mount, True) and self._layers_are_allowed(mount, True)
                    and self._devices_are_allowed(mount, True)):
                return

    def _advise(self, mount: Mount) -> None:
        """Warn of what is allowed and unwise."""
        warnings = self.verdict.warnings
        if filesystems.kind_of(mount.fstype) is filesystems.NFS:
            warnings.append(f"'{self.verdict.path}' is on NFS ('{mount.source}'): the rule allows "
                            "it, Cyrus advises against it")
            options = mount.super_options.split(",")
            warnings.extend(f"'{mount.mount_point}' is mounted with '{option}': {why}"
                            for option, why in _BAD_NFS.items() if option in options)
        table = self._survey.table
        warnings.extend(
            f"the way to '{self.verdict.real}' leads over {each.fstype} '{each.source}' at "
            f"'{each.mount_point}', and whoever goes there waits for it"
            for each in table.passed(mount.mount_point)[:-1]
            if each.mount_point != "/" and not symlinks.is_local(each))
        if any(each.fstype == "autofs" for each in table.at(mount.mount_point)):
            warnings.append(f"'{mount.mount_point}' is watched by an automounter, which may take "
                            "the disk away while the cluster counts on it")
        # An administrator needs each of them once, whatever number of paths there are.
        self.verdict.warnings = list(dict.fromkeys(warnings))


_TAGS = {"UUID": "/dev/disk/by-uuid", "LABEL": "/dev/disk/by-label",
         "PARTUUID": "/dev/disk/by-partuuid", "PARTLABEL": "/dev/disk/by-partlabel"}

_BAD_NFS = {
    "soft": "a write fails when the server is slow, and mail is lost",
    "softerr": "a write fails when the server is slow, and mail is lost",
    "nolock": "the other node does not see its locks",
    "local_lock=all": "the other node does not see its locks",
    "local_lock=posix": "the other node does not see its locks",
    "local_lock=flock": "the other node does not see its locks",
    "async": "the server says that it has written what it has not",
}


def _layers(mount: Mount) -> list[str]:
    """Return the directories of which an overlay is made, as its options name them."""
    layers = []
    for option in mount.super_options.split(","):
        name, _, value = option.partition("=")
        if name in ("lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+"):
            layers += [layer for layer in value.split(":") if layer]
    return layers


def _escaped(label: str) -> str:
    """Write a label as udev writes it into a name (encode_devnode_name)."""
    return "".join(each if each.isalnum() or each in "#+-.:=@_" or ord(each) > 127
                   else f"\\x{ord(each):02x}" for each in label)
