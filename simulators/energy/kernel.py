"""The Numba kernel of :mod:`simulators.energy.accumulate`.

It makes no arrays, so Numba need not count references, which would take most of the time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from simulators.energy.accumulate import ACTIONS, FloatArray, Int64Array, Scratch, Sums

_types: Any = numba.types
_COUNTS = _types.UniTuple(numba.int32[:, :, :], len(ACTIONS))
_SUMS = _types.NamedTuple(
    (numba.int64[:, ::1], numba.int64[::1], numba.float64[:, ::1], numba.float64[:, ::1]),
    Sums,
)
_SCRATCH = _types.NamedTuple(
    (numba.int32[:, ::1], numba.boolean[::1], numba.float64[::1], numba.float64[::1]),
    Scratch,
)
_njit: Any = numba.njit
_compiled: Any = _njit(
    numba.void(
        _COUNTS,
        numba.int32[:, :],
        numba.int32[:, :],
        numba.int64[::1],
        numba.int64[:, ::1],
        numba.float64[:, ::1],
        numba.float64[:, ::1],
        numba.boolean,
        numba.boolean,
        _SCRATCH,
        _SUMS,
    ),
    nogil=True,
    cache=True,
    _nrt=False,
)


@_compiled
def add_up(
    counts: tuple[npt.NDArray[np.int32], ...],
    busiest_link: npt.NDArray[np.int32],
    busiest_chip_link: npt.NDArray[np.int32],
    roles: Int64Array,
    entries: Int64Array,
    weights: FloatArray,
    others: FloatArray,
    barrier_waits: bool,
    skip_idle: bool,
    scratch: Scratch,
    sums: Sums,
) -> None:
    """Add up every sample; see :func:`simulators.energy.accumulate.accumulate`.

    ``roles`` are the numbers of four actions, ``entries`` are rows of (kind of work, action),
    ``weights`` their times; ``others`` the rows of the remaining figures of
    :class:`mapping.latency.StepTime`.
    """
    access, update, axon_in, host_packet = roles
    samples, steps, cores = counts[0].shape
    own, dark, spent, longest = scratch
    for sample in range(samples):
        for action in range(len(counts)):
            values = counts[action][sample]
            for step in range(steps):
                for core in range(cores):
                    own[action, step * cores + core] = values[step, core]
            for cell in range(steps * cores):
                sums.counts[action, cell] += own[action, cell]
        for cell in range(steps * cores):
            dark[cell] = (own[axon_in, cell] | own[update, cell]) == 0
            sums.dark[cell] += dark[cell]
            own[access, cell] *= not (skip_idle and dark[cell])
        for t in range(weights.shape[0]):
            for step in range(steps):
                injected = np.int64(0)
                for core in range(cores):
                    injected += own[host_packet, step * cores + core]
                wait = max(injected * others[t, 0], busiest_link[sample, step] * others[t, 1])
                longest[step] = max(wait, busiest_chip_link[sample, step] * others[t, 2])
            first = 0
            while first < entries.shape[0]:
                spent[:] = 0.0
                last = first
                while last < entries.shape[0] and entries[last, 0] == entries[first, 0]:
                    weight, work = weights[t, last], own[entries[last, 1]]
                    for cell in range(steps * cores):
                        spent[cell] += work[cell] * weight
                    last += 1
                for step in range(steps):
                    for core in range(cores):
                        longest[step] = max(longest[step], spent[step * cores + core])
                first = last
            barrier, shortest = others[t, 3], others[t, 4]
            for step in range(steps):
                taken = longest[step] + barrier if barrier_waits else longest[step]
                taken = max(taken, max(barrier, shortest))
                sums.step_s[t, step] += taken
                for core in range(cores):
                    sums.dark_s[t, core] += taken * dark[step * cores + core]
