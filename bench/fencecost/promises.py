# SPDX-License-Identifier: GPL-2.0-or-later
"""What our agent has to keep in a run, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Tuple

from sidebyside.spread import spread

from fencecost.contestants import (AT_BAD_NETWORK, OUR_PROGRAMS, OURS, OURS_UNSPACED, PEER,
                                   PEER_TUNED, Agent, Contest)
from fencecost.figures import Measured
from fencecost.networks import BAD, FAR, LOOPBACK, NOWHERE, Network

AT_DEFAULTS = 0.3
UNSPACED_NEAR = 0.55
UNSPACED_FAR = 0.3
METADATA = 0.4
"""Parts of what fence_ipmilan takes that ours may take."""

MOST_DATAGRAMS = 22

LONGEST_AT_BAD_NETWORK = 12000.0
"""Milliseconds."""

Results = Dict[Contest, Measured]


@dataclass(frozen=True)
class Verdict:
    """Whether a promise is kept, and the sentence that says so."""

    met: bool
    text: str


def judge(results: Results) -> List[Verdict]:
    """Return the verdicts on all promises. Raises ValueError where something was not measured."""
    off = [(f"off, both at their defaults, {network.name}", OURS, PEER, network, AT_DEFAULTS)
           for network in (LOOPBACK, FAR)]
    off += [(f"off, without the spacing, {network.name}", OURS_UNSPACED, PEER_TUNED, network, part)
            for network, part in ((LOOPBACK, UNSPACED_NEAR), (FAR, UNSPACED_FAR))]
    return [
        *[_part(what, _find(results, ours, "off", network), _find(results, peer, "off", network),
                part, "ms", lambda measured: measured.wall)
          for what, ours, peer, network, part in off],
        _few_datagrams(_find(results, OURS, "off", FAR)),
        _gets_through(_find(results, OURS, "off", BAD)),
        _part("metadata", _find(results, OURS, "metadata", NOWHERE),
              _find(results, PEER, "metadata", NOWHERE), METADATA, "ms of CPU",
              lambda measured: measured.cpu),
        _truthful(results)]


def _find(results: Results, program: Agent, action: str, network: Network) -> Measured:
    """Return what was measured of a program."""
    for contest, measured in results.items():
        if (contest.program, contest.action, contest.network) == (program, action, network):
            return measured
    raise ValueError(f"{program.name} {action} over {network.name} was not measured")


def _part(what: str, ours: Measured, peer: Measured, allowed: float, unit: str,
          figure: Callable[[Measured], Sequence[float]]) -> Verdict:
    """Compare the medians of a figure. A run of ours that failed breaks the promise."""
    if not figure(ours) or not figure(peer):
        silent = peer if figure(ours) else ours
        return Verdict(False, f"{what}: no run of {silent.contest.program.name} succeeded: "
                              f"{silent.complaint}")
    mine, its = spread(figure(ours)).median, spread(figure(peer)).median
    good, all_runs = len(ours.good), len(ours.runs)
    text = (f"{what}: {mine:.1f} {unit}, {mine / its:.3f} of {peer.contest.program.name}'s "
            f"{its:.1f} ({allowed} allowed)")
    if good < all_runs:
        text += f"; only {good} of {all_runs} runs succeeded, the first other {ours.complaint}"
    return Verdict(mine <= allowed * its and good == all_runs, text)


def _few_datagrams(ours: Measured) -> Verdict:
    """Judge the run that needed most."""
    counts: Tuple[int, ...] = tuple(ours.datagrams)
    if not counts:
        return Verdict(False, f"datagrams of an off: no run succeeded: {ours.complaint}")
    return Verdict(max(counts) <= MOST_DATAGRAMS, (
        f"datagrams of an off: {min(counts)} to {max(counts)} ({MOST_DATAGRAMS} allowed)"))


def _gets_through(ours: Measured) -> Verdict:
    """Judge the successes where every fifth datagram is lost, and the slowest of them."""
    in_time = sum(wall <= LONGEST_AT_BAD_NETWORK for wall in ours.wall)
    slowest = f", the slowest in {max(ours.wall) / 1000:.1f} s" if ours.wall else ""
    complaint = f"; the first other {ours.complaint}" if ours.complaint else ""
    return Verdict(in_time == len(ours.runs) >= AT_BAD_NETWORK, (
        f"off, {BAD.name} each way: {in_time} of {len(ours.runs)} succeed within "
        f"{LONGEST_AT_BAD_NETWORK / 1000:.0f} s{slowest}{complaint}"))


def _truthful(results: Results) -> Verdict:
    """Judge every run of ours: none may say success that was none."""
    ours = [measured for contest, measured in results.items() if contest.program in OUR_PROGRAMS]
    lies = sum(measured.lies for measured in ours)
    return Verdict(lies == 0, f"success without one: {lies} times in "
                              f"{sum(len(measured.runs) for measured in ours)} runs (0 allowed)")
