# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of the lab: one verb per method of Lab."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional

from twonode import (aptsources, bmc, boot, idracaccess, image, launcher, layer, plan,
                     preflight)
from twonode.lab import Lab, LabError
from twonode.supervisor import OUTSIDE

Verb = Callable[[Lab, argparse.Namespace], None]

KNOWN_ERRORS = (LabError, plan.BadPlan, image.ImageFailed, layer.LayerFailed,
                aptsources.NoSources, boot.BootFailed, launcher.StillThere,
                subprocess.SubprocessError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="lab", description="A two-node cluster on one machine.")
    top.add_argument("--name", default="default", help="the lab meant, where there are several")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str, *, node: bool = False) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
        if node:
            made.add_argument("node", metavar="NODE", help="alice or bob")
        return made

    up = verb("up", "build the suite's package and the lab; boot until all nodes are online")
    up.add_argument("--suite", default="bookworm", choices=image.SUITES)
    up.add_argument("--no-wait", action="store_true", help="return when the nodes boot")
    up.add_argument("--post-seconds", type=float, default=15.0, metavar="S",
                    help="what the firmware takes at every power-on but the first")
    verb("down", "end the lab and remove everything of it")
    verb("status", "show nodes, power, cables and the cluster")
    verb("check", "say whether this machine can run a lab")
    verb("reinstall", "upgrade the running nodes to a package of the checkout as it is now")
    execute = verb("exec", "run a command on a node", node=True)
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD ...")
    shell = verb("shell", "open a shell on a node, or on the machine outside of the cluster")
    shell.add_argument("node", nargs="?", default=OUTSIDE, metavar="NODE")
    for name, text in (("poweroff", "take a node's power away"),
                       ("poweron", "give a node power"),
                       ("reset", "press a node's reset button"),
                       ("shutdown", "let a node shut itself down"),
                       ("pull-plug", "take the power from a node and from its BMC"),
                       ("plug-in", "give the BMC of a node its power back"),
                       ("mute-ipmi", "let a node's BMC answer no IPMI any more, but SSH"),
                       ("unmute-ipmi", "let a node's BMC answer IPMI again")):
        verb(name, text, node=True)
    for name, text in (("cut", "cut a node's cables to the cluster, or one cable"),
                       ("heal", "mend a node's cables to the cluster, or one cable")):
        verb(name, text, node=True).add_argument("link", nargs="?", metavar="LINK",
                                                 help="lan, interconnect or management")
    controller = verb("bmc", "run ipmitool against a node's BMC", node=True)
    controller.add_argument("argv", nargs=argparse.REMAINDER, metavar="ARGUMENT ...")
    console = verb("idrac", "open a node's iDRAC by SSH, or run a command in it", node=True)
    console.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    log = verb("chassis-log", "show who asked what of the nodes' power, and what became of it")
    log.add_argument("node", nargs="?", metavar="NODE", help="alice or bob; without it, both")
    return top


def _up(lab: Lab, options: argparse.Namespace) -> None:
    findings = preflight.check()
    if findings:
        raise LabError("this machine cannot run a lab:\n  " + "\n  ".join(findings))
    lab = Lab(options.name, suite=options.suite, post_seconds=options.post_seconds)
    lab.up(wait=not options.no_wait, progress=lambda line: print(line, file=sys.stderr, flush=True))


def _check(lab: Lab, options: argparse.Namespace) -> None:
    findings = preflight.check()
    print("\n".join(findings) if findings else "this machine can run a lab")
    if findings:
        raise SystemExit(1)


def _status(lab: Lab, options: argparse.Namespace) -> None:
    print(f"lab {lab.name}: {'up' if lab.is_up() else 'down'}")
    if not lab.is_up():
        raise SystemExit(1)
    for node, facts in lab.status()["nodes"].items():
        online = " ".join(sorted(lab.online(node))) if facts["power"] == "on" else ""
        print(f"{node}: power {facts['power']}, address {facts['address']}, "
              f"BMC {facts['bmc']} {_words(facts)}, "
              f"cut: {' '.join(facts['cut']) or 'nothing'}, sees online: {online or 'nobody'}")


def _words(facts: Dict[str, Any]) -> str:
    """Return how a node's controller is."""
    if not facts["controller"]:
        return "off"
    return "on, its IPMI silent" if facts["muted"] else "on"


def _exec(lab: Lab, options: argparse.Namespace) -> None:
    if not options.argv:
        raise LabError(f"say what to run on {options.node}")
    with lab.door(options.node) as door:
        door.replace_us(options.argv)


def _shell(lab: Lab, options: argparse.Namespace) -> None:
    with lab.door(options.node) as door:
        door.replace_us(["bash", "-l"])


def _bmc(lab: Lab, options: argparse.Namespace) -> None:
    controller = lab.bmc(options.node)
    with lab.door(OUTSIDE) as door:
        door.replace_us(bmc.client_command(controller.address, options.argv),
                        {"IPMI_PASSWORD": controller.password})


def _idrac(lab: Lab, options: argparse.Namespace) -> None:
    with lab.door(OUTSIDE) as door:
        door.replace_us(idracaccess.client_command(lab.bmc(options.node).address, options.argv))


def _chassis_log(lab: Lab, options: argparse.Namespace) -> None:
    if not lab.is_up():
        raise LabError(f"lab {lab.name} is not up")
    if options.node:
        lab.plan.number(options.node)
    for entry in lab.chassis_log(options.node):
        print(entry)


VERBS: Dict[str, Verb] = {
    "up": _up, "check": _check, "status": _status, "exec": _exec, "shell": _shell, "bmc": _bmc,
    "idrac": _idrac, "chassis-log": _chassis_log,
    "down": lambda lab, options: lab.down(),
    "reinstall": lambda lab, options: lab.reinstall(),
    "poweroff": lambda lab, options: lab.poweroff(options.node),
    "poweron": lambda lab, options: lab.poweron(options.node),
    "reset": lambda lab, options: lab.reset(options.node),
    "shutdown": lambda lab, options: lab.shutdown(options.node),
    "pull-plug": lambda lab, options: lab.pull_plug(options.node),
    "plug-in": lambda lab, options: lab.plug_in(options.node),
    "mute-ipmi": lambda lab, options: lab.mute_ipmi(options.node),
    "unmute-ipmi": lambda lab, options: lab.unmute_ipmi(options.node),
    "cut": lambda lab, options: lab.cut(options.node, options.link),
    "heal": lambda lab, options: lab.heal(options.node, options.link),
}


def main(arguments: Optional[List[str]] = None) -> int:
    """Do what the command line says and return the exit code."""
    options = parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("lab: only root can make machines; use sudo", file=sys.stderr)
        return 4
    try:
        VERBS[options.verb](Lab(options.name), options)
    except KNOWN_ERRORS as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
