"""Threads of our own that wait a moment for the next call, and sleep if none comes.

Waking a thread costs as much as a small call. So a worker that has finished looks for more work for
about a millisecond before it sleeps, and lets others have its core now and then while it looks. A
call never waits for a worker to wake: each thread takes chunks of its own share one by one, then of
others' shares, and a call does itself what nobody takes.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from mapping.errors import ConfigError
from simulators.kernels.layout import CACHE_LINE, aligned

_LINE = CACHE_LINE // 8
THREADS, BUSY, WORKERS, ASLEEP, WOKEN, MISSED = range(0, 6 * _LINE, _LINE)
"""Places in the shared memory, a cache line each: most threads of a call; whether a call has the
workers; how many there are; how many of them sleep; how many of those have been told to wake and
have not yet; what calls have missed since (see :mod:`simulators.kernels.sleep`)."""
MUTEX, CONDITION = 6 * _LINE, 8 * _LINE
"""Places of what workers sleep on, with more room than any C library needs."""
SHARES, SHARE_STEP = 10 * _LINE, _LINE
"""Place of the first thread's share of a call, and from one to the next: a cache line of each."""
TICKET, DONE, JOB = range(3)
"""Places in a share: which of its chunks are left, of a call on how many threads (see
:mod:`simulators.kernels.shares`); how many chunks its thread has done; the job's address."""
MOST_THREADS = 256
"""Of a call: so many have a share."""
SHARED_SIZE = SHARES + MOST_THREADS * SHARE_STEP


def available_threads() -> int:
    """Cores that this process may run on, as far as calls can use them."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


class Pool:
    """The workers of a process; the calling thread is always one more.

    Attributes:
        shared: what calls and workers tell each other; it stays where it is.
        address: of ``shared``.
    """

    def __init__(self) -> None:
        self.shared = aligned((SHARED_SIZE,), np.int64)
        self.address: int = self.shared.ctypes.data
        self.threads = available_threads()
        self.forget()

    @property
    def threads(self) -> int:
        """How many threads a call may use, itself included."""
        return int(self.shared[THREADS])

    @threads.setter
    def threads(self, count: int) -> None:
        self.shared[THREADS] = min(count, MOST_THREADS)

    def forget(self) -> None:
        """Begin without workers: a forked child has none of its parent's."""
        self.shared[SHARES:] = self.shared[BUSY] = self.shared[WORKERS] = 0
        self._lock = threading.Lock()

    def start(self, count: int) -> None:
        """Have at least ``count`` workers, or one for each share but the caller's."""
        from simulators.kernels.sleep import nobody_sleeps

        with self._lock:
            if not self.shared[WORKERS]:
                nobody_sleeps(self.address)
            while self.shared[WORKERS] < min(count, MOST_THREADS - 1):
                worker = int(self.shared[WORKERS]) + 1
                self.shared[WORKERS] = worker
                threading.Thread(
                    target=self._work, args=(worker,), name=f"low-rank-{worker}", daemon=True
                ).start()

    def _work(self, worker: int) -> None:
        from simulators.kernels.shares import serve

        serve(self.address, worker)


pool = Pool()
"""The workers of this process."""
os.register_at_fork(after_in_child=pool.forget)


def set_threads(count: int) -> None:
    """Let calls use up to ``count`` threads, the calling one included; at first all cores.

    They use no more than 256.

    Raises:
        ConfigError: ``ADL-KRN-05`` unless it is above 0.
    """
    if count < 1:
        raise ConfigError(
            f"{count} threads cannot run anything",
            where="set_threads.count",
            remedy="pass 1 for the calling thread alone, or more",
            code="ADL-KRN-05",
        )
    pool.threads = count
