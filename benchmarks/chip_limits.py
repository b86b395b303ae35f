"""What this machine allows at best: the synaptic sums of a run, and nothing else.

Kernels that only add int8 weights to int32 sums, for the spikes that a network had, in runs as long
as its geometry allows. No neuron is updated, nothing is counted, and no spike is found: they are
given as lists. A simulator that adds up every weight cannot be faster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from mapping.artifact.schema import Artifact
from mapping.ir.synapses import ConvSynapses

_njit: Any = numba.njit


@_njit(nogil=True, cache=True, _nrt=False)
def _add_rows(sums: np.ndarray, weights: np.ndarray, events: np.ndarray, rows: int) -> None:
    """Add the row of every event to all sums, four of them at once."""
    event = 0
    while event + 4 <= events.shape[0]:
        a, b = np.int64(events[event]) * rows, np.int64(events[event + 1]) * rows
        c, d = np.int64(events[event + 2]) * rows, np.int64(events[event + 3]) * rows
        w_a, w_b = weights[a : a + rows], weights[b : b + rows]
        w_c, w_d = weights[c : c + rows], weights[d : d + rows]
        for i in range(rows):
            pair_ab = np.int32(np.int32(w_a[i]) + np.int32(w_b[i]))
            pair_cd = np.int32(np.int32(w_c[i]) + np.int32(w_d[i]))
            sums[i] += np.int32(pair_ab + pair_cd)
        event += 4
    while event < events.shape[0]:
        a = np.int64(events[event]) * rows
        w_a = weights[a : a + rows]
        for i in range(rows):
            sums[i] += np.int32(w_a[i])
        event += 1


@_njit(nogil=True, cache=True, _nrt=False)
def _dense(
    sums: np.ndarray, weights: np.ndarray, rows: int, events: np.ndarray, bounds: np.ndarray
) -> None:
    """All steps of a dense projection; ``bounds`` says which events belong to which."""
    for step in range(bounds.shape[0] - 1):
        _add_rows(sums, weights, events[bounds[step] : bounds[step + 1]], rows)


@_njit(nogil=True, cache=True, _nrt=False)
def _runs(
    sums: np.ndarray,
    weights: np.ndarray,
    first_run: np.ndarray,
    into: np.ndarray,
    begin: np.ndarray,
    length: np.ndarray,
    events: np.ndarray,
) -> None:
    """All steps of a projection that adds several runs for each event."""
    for event in range(events.shape[0]):
        source = events[event]
        for run in range(first_run[source], first_run[source + 1]):
            for i in range(length[run]):
                sums[into[run] + i] += np.int32(weights[begin[run] + i])


@dataclass(frozen=True, eq=False)
class Work:
    """The synaptic sums of a run: kernels with their arguments, of which the first are ``sums``."""

    parts: list[tuple[Any, ...]]

    @property
    def sums(self) -> list[np.ndarray]:
        """What each projection has added up, of convolutions the channels last."""
        return [sums for _, sums, *_ in self.parts]

    def run(self) -> None:
        """Add everything up once more."""
        for kernel, *arguments in self.parts:
            kernel(*arguments)


def least_work(artifact: Artifact, spikes: Sequence[np.ndarray]) -> Work:
    """The sums of a chain, for ``(steps, size)`` spikes of each population but the last.

    Raises:
        ValueError: the program is more than a chain of populations.
    """
    parts: list[tuple[Any, ...]] = []
    for number, projection in enumerate(artifact.network.projections):
        if projection.spec.source != artifact.network.populations[number].name:
            raise ValueError("the limit is known of chains only")
        step, events = np.nonzero(spikes[number])
        events = events.astype(np.int32)
        if isinstance(projection.synapses, ConvSynapses):
            parts.append(_runs_of(projection.synapses, events))
        else:
            rows = projection.spec.rows
            bounds = np.searchsorted(step, np.arange(len(spikes[number]) + 1))
            weights = np.ascontiguousarray(projection.mantissas.T).ravel()
            parts.append((_dense, np.zeros(rows, np.int32), weights, rows, events, bounds))
    return Work(parts)


def _runs_of(synapses: ConvSynapses, events: np.ndarray) -> tuple[Any, ...]:
    """The weights with channels last, as runs of neighbours; equal runs are stored once."""
    matrix = synapses.matrix().tocoo()
    plane, channels = synapses.conv.plane, synapses.conv.out_channels
    target = matrix.row % plane * channels + matrix.row // plane
    order = np.lexsort((target, matrix.col))
    source, target, weight = matrix.col[order], target[order], matrix.data[order]
    starts = (np.diff(source, prepend=-1) != 0) | (np.diff(target, prepend=-2) != 1)
    first = np.flatnonzero(starts)
    length = np.diff(first, append=len(source))
    places: dict[bytes, int] = {}
    stored = bytearray()
    begin = np.zeros(len(first), np.int64)
    for run, (low, count) in enumerate(zip(first, length, strict=True)):
        mantissas = weight[low : low + count].astype(np.int8).tobytes()
        if mantissas not in places:
            places[mantissas] = len(stored)
            stored += mantissas
        begin[run] = places[mantissas]
    first_run = np.searchsorted(source[first], np.arange(synapses.shape[1] + 1))
    sums = np.zeros(synapses.conv.size, np.int32)
    weights = np.frombuffer(bytes(stored), np.int8)
    return _runs, sums, weights, first_run, target[first], begin, length, events


def seconds(works: Sequence[Work], repeats: int) -> float:
    """Best of so many ``repeats`` for all ``works``, each on a thread of its own."""
    for work in works:
        work.run()
    best = float("inf")
    with ThreadPoolExecutor(len(works)) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            for done in [pool.submit(work.run) for work in works]:
                done.result()
            best = min(best, time.perf_counter() - start)
    return best
