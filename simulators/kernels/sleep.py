"""Workers that sleep until a call wakes them, in compiled code: a POSIX mutex and a condition.

Neither needs Python's lock, so a worker that is woken works at once, whatever Python does.
"""

from __future__ import annotations

from typing import Any

from numba import int64, types

from simulators.kernels.atomics import (
    load,
    load_double,
    load_shared,
    store,
    store_double,
    store_shared,
)
from simulators.kernels.pool import ASLEEP, CONDITION, MISSED, MUTEX, WOKEN, WORKERS
from simulators.kernels.vector import entry, kernel

WAKE_S = 1e-5
"""What waking a worker costs, about: the call that does it, and the first chunks of one whose
caches are cold."""


def _posix(name: str, arguments: int) -> Any:
    """A function of the C library that takes so many addresses and returns a status."""
    return types.ExternalFunction(name, types.int32(*[types.int64] * arguments))


_new_mutex, _new_condition = _posix("pthread_mutex_init", 2), _posix("pthread_cond_init", 2)
_lock, _unlock = _posix("pthread_mutex_lock", 1), _posix("pthread_mutex_unlock", 1)
_wait, _signal = _posix("pthread_cond_wait", 2), _posix("pthread_cond_signal", 1)


@entry(int64)
def nobody_sleeps(shared: int) -> None:
    """Make what workers sleep on at ``shared``, the address of the pool's memory."""
    store(shared + 8 * ASLEEP, 0)
    store(shared + 8 * WOKEN, 0)
    store_double(shared + 8 * MISSED, 0.0)
    _new_mutex(shared + 8 * MUTEX, 0)
    _new_condition(shared + 8 * CONDITION, 0)


@kernel
def sleep(shared: int) -> None:
    """Return when a call has woken this worker."""
    _lock(shared + 8 * MUTEX)
    store_shared(shared + 8 * ASLEEP, load(shared + 8 * ASLEEP) + 1)
    while load(shared + 8 * WOKEN) == 0:
        _wait(shared + 8 * CONDITION, shared + 8 * MUTEX)
    store(shared + 8 * WOKEN, load(shared + 8 * WOKEN) - 1)
    _unlock(shared + 8 * MUTEX)


@kernel
def wake(shared: int, wanted: int, gain: float) -> None:
    """Have ``wanted`` workers awake, if that pays.

    It does once the calls that found them asleep have missed as much as waking costs: one large
    call, or many small ones.

    Args:
        shared: address of the pool's memory.
        wanted: how many the call has work for.
        gain: how many seconds it takes less with them.
    """
    workers = load(shared + 8 * WORKERS)
    if workers - load_shared(shared + 8 * ASLEEP) >= wanted:
        return
    missed = load_double(shared + 8 * MISSED) + gain
    store_double(shared + 8 * MISSED, missed)
    if missed < WAKE_S:
        return
    store_double(shared + 8 * MISSED, 0.0)
    _lock(shared + 8 * MUTEX)
    asleep = load(shared + 8 * ASLEEP)
    count = max(0, min(asleep, wanted + asleep - workers))
    store(shared + 8 * ASLEEP, asleep - count)
    store(shared + 8 * WOKEN, load(shared + 8 * WOKEN) + count)
    _unlock(shared + 8 * MUTEX)
    for _ in range(count):  # Now that whoever wakes finds the mutex free.
        _signal(shared + 8 * CONDITION)
