"""Add up counts and step durations, in one pass over a trace."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.cost import ActionCounts
from mapping.latency import StepTime, Work

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

ACTIONS = tuple(ActionCounts.__dataclass_fields__)
_PARTS = 8
"""Of the samples, for the threads; a fixed number, so that sums of floats are always the same."""
_ROLES = ("compartment_access", "compartment_update", "axon_in", "host_packet")
"""The actions that the kernel looks at by name."""


class Sums(NamedTuple):
    """What a trace adds up to; samples are added together.

    Attributes:
        counts: ``(actions, steps * cores)`` actions, all of them.
        dark: ``(steps * cores,)`` samples in which a core received nothing and updated nothing.
        dark_s: ``(times, cores)`` time for which a core was dark [s].
        step_s: ``(times, steps)`` duration of each step [s].
    """

    counts: Int64Array
    dark: Int64Array
    dark_s: FloatArray
    step_s: FloatArray


class Scratch(NamedTuple):
    """What the kernel keeps of one sample.

    Attributes:
        own: ``(actions, steps * cores)`` its counts.
        dark: ``(steps * cores,)`` whether a core is dark.
        spent: ``(steps * cores,)`` time on one kind of work [s].
        longest: ``(steps,)`` the longest of all times so far [s].
    """

    own: npt.NDArray[np.int32]
    dark: npt.NDArray[np.bool_]
    spent: FloatArray
    longest: FloatArray


def accumulate(work: Work, times: tuple[StepTime, ...], *, skip_idle: bool) -> Sums:
    """Add up ``work``.

    Args:
        work: integer counts of every sample and step.
        times: descriptions of a step's duration that differ in their figures alone.
        skip_idle: dark cores spend no time on accesses.
    """
    from simulators.energy.kernel import add_up

    counts = tuple(np.require(values, np.int32, ["W"]) for _, values in work.counts.items())
    samples, steps, cores = counts[0].shape
    entries = [
        (kind, ACTIONS.index(action)) for kind, own in enumerate(times[0].core_s) for action in own
    ]
    weights = [[time.core_s[kind][ACTIONS[action]] for kind, action in entries] for time in times]
    others = [
        (t.host_packet_s, t.link_packet_s, t.chip_link_packet_s, t.barrier_s, t.shortest_s)
        for t in times
    ]
    figures = (
        np.array([ACTIONS.index(action) for action in _ROLES]),
        np.array(entries, np.int64),
        np.array(weights),
        np.array(others),
    )
    links = tuple(
        np.require(values, np.int32, ["W"])
        for values in (work.busiest_link, work.busiest_chip_link)
    )

    def part(first: int, last: int) -> Sums:
        sums = Sums(
            counts=np.zeros((len(ACTIONS), steps * cores), np.int64),
            dark=np.zeros(steps * cores, np.int64),
            dark_s=np.zeros((len(times), cores)),
            step_s=np.zeros((len(times), steps)),
        )
        scratch = Scratch(
            own=np.zeros((len(ACTIONS), steps * cores), np.int32),
            dark=np.zeros(steps * cores, np.bool_),
            spent=np.zeros(steps * cores),
            longest=np.zeros(steps),
        )
        own = tuple(values[first:last] for values in counts)
        packets = (values[first:last] for values in links)
        add_up(own, *packets, *figures, times[0].barrier_waits, skip_idle, scratch, sums)
        return sums

    ends = np.linspace(0, samples, min(samples, _PARTS) + 1).astype(int).tolist()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        parts = list(pool.map(part, ends, ends[1:]))
    return Sums(*(np.sum(same, axis=0) for same in zip(*parts, strict=True)))
