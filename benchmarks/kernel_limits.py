"""What this machine allows at best: products per second from registers, and bytes per second.

Both are measured in the same run and on the same number of threads as what they are held against,
with the vectors that the kernels use.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import types

from simulators.kernels.emit import INT64, ZERO, Emitter, instruction
from simulators.kernels.layout import aligned
from simulators.kernels.vector import LANES, kernel

CHAINS = 12
"""Independent sums: more than a multiplier has in flight, fewer than there are registers."""
TURNS = 1 << 18
READ_BYTES = 1 << 25
"""Read per measurement, whatever the size of what is read again and again."""


@instruction
def _multiply(context: Any, source: Any, turns: Any) -> Any:
    """``turns`` × CHAINS products of vectors in registers, then their sum to ``source``."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        source, turns = arguments
        place = emit.floats(source)
        a, b = emit.vector(place), emit.vector(emit.at(place, LANES))

        def turn(_i: Any, sums: Sequence[Any]) -> list[Any]:
            return [emit.fma(value, a, b) for value in sums]

        starts = [emit.vector(emit.at(place, LANES * i)) for i in range(CHAINS)]
        total = ZERO
        for value in emit.loop(INT64(0), turns, 1, starts, turn):
            total = builder.fadd(total, value)
        emit.store(total, place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@instruction
def _read(context: Any, source: Any, count: Any, target: Any) -> Any:
    """Sum of ``count`` numbers, a multiple of 8 vectors, to ``target``."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)
        source, count, target = arguments
        place = emit.floats(source)

        def turn(i: Any, sums: Sequence[Any]) -> list[Any]:
            lines = [emit.vector(emit.at(emit.at(place, i), LANES * v)) for v in range(8)]
            return [builder.fadd(s, line) for s, line in zip(sums, lines, strict=True)]

        total = ZERO
        for value in emit.loop(INT64(0), count, 8 * LANES, [ZERO] * 8, turn):
            total = builder.fadd(total, value)
        emit.store(total, emit.floats(target))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@kernel
def _multiply_often(source: int, turns: int) -> None:
    _multiply(source, turns)


@kernel
def _read_often(source: int, count: int, target: int, times: int) -> None:
    for _ in range(times):
        _read(source, count, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one machine in one run.

    Attributes:
        threads: how many worked at once.
        flops: operations per second, a product and its addition being two.
    """

    threads: int
    flops: float

    def seconds(self, operations: float, size: float) -> float:
        """The least time for ``operations`` on ``size`` bytes that are each read or written once.

        Those bytes are taken to lie where an array of their size lies when it is used again.
        """
        return max(operations / self.flops, size / bandwidth(_rounded(size), self.threads))


def measured(threads: int) -> Limits:
    """Limits on so many threads."""
    work = [aligned((CHAINS * LANES,)) for _ in range(threads)]
    seconds = _together([(_multiply_often, w.ctypes.data, TURNS) for w in work])
    return Limits(threads=threads, flops=2 * CHAINS * LANES * TURNS * threads / seconds)


@cache
def bandwidth(size: int, threads: int) -> float:
    """Bytes per second of reading ``size`` bytes again and again, shared out to threads."""
    count = max(size // 4 // threads // (8 * LANES), 1) * 8 * LANES
    times = max(1, READ_BYTES // (4 * count))
    arrays = [aligned((count,)) for _ in range(threads)]
    for array in arrays:
        array.fill(1.0)  # Memory that was never written is one page of zeros, which caches hold.
    sums = [aligned((LANES,)) for _ in range(threads)]
    work = [
        (_read_often, a.ctypes.data, count, s.ctypes.data, times)
        for a, s in zip(arrays, sums, strict=True)
    ]
    return 4 * count * times * threads / _together(work)


def _rounded(size: float) -> int:
    """The next power of two, so that few sizes have to be measured."""
    return 1 << int(np.ceil(np.log2(max(size, 1 << 14))))


def _together(works: Sequence[tuple[Any, ...]]) -> float:
    """Seconds of the fastest of some runs of all ``works``, each on a thread of its own.

    One thread is timed by its own clock, which stands still while others have the core.
    """
    best = float("inf")
    clock = time.thread_time if len(works) == 1 else time.perf_counter
    with ThreadPoolExecutor(len(works)) as pool:
        for _ in range(12):
            start = clock()
            if len(works) == 1:
                works[0][0](*works[0][1:])
            else:
                for done in [pool.submit(*work) for work in works]:
                    done.result()
            best = min(best, clock() - start)
    return best
