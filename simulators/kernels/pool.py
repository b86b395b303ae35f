"""Threads of our own that wait a moment for the next call, and sleep if none comes.

Waking a thread costs as much as a small call. So a worker that has finished looks for more work for
``WAIT_S`` before it sleeps, and lets others have its core while it looks. A call never waits for a
worker to wake: chunks are taken one by one, and a call does itself what nobody takes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mapping.errors import ConfigError
from simulators.kernels.layout import CACHE_LINE, aligned

TICKET, DONE, JOB, THREADS = range(0, 4 * CACHE_LINE // 8, CACHE_LINE // 8)
"""Places in the shared memory, a cache line each: which chunk is next, of how many, for whom (see
:mod:`simulators.kernels.run`); chunks that are done; the job's address; most threads of a call."""
SHARED_SIZE = 4 * CACHE_LINE // 8
LOOKS = 1000
"""How often a worker looks for more work, letting others run each time, before it sleeps."""


def available_threads() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        self.shared[THREADS] = count

    def forget(self) -> None:
        """Begin without workers: a forked child has none of its parent's."""
        self.shared[TICKET] = 0
        self._lock = threading.Lock()
        self._awake: list[threading.Event] = []
        self._asleep: list[bool] = []

    @contextmanager
    def borrowed(self, wanted: int) -> Iterator[int]:
        """How many threads a call gets, itself included, while it runs: one if others have them.

        Args:
            wanted: how many it has work for.
        """
        count = min(wanted, self.threads)
        if count == 1 or not self._lock.acquire(blocking=False):
            yield 1
            return
        try:
            self._wake(count - 1)
            yield count
        finally:
            self._lock.release()

    def _wake(self, count: int) -> None:
        """Have ``count`` workers look for work; new ones start the first time."""
        while len(self._awake) < count:
            worker = len(self._awake)
            self._awake.append(threading.Event())
            self._asleep.append(False)
            threading.Thread(
                target=self._work, args=(worker,), name=f"low-rank-{worker + 1}", daemon=True
            ).start()
        for worker in range(count):
            if self._asleep[worker]:
                self._asleep[worker] = False  # Others need not wake it again.
                self._awake[worker].set()

    def _work(self, worker: int) -> None:
        from simulators.kernels.run import serve

        awake = self._awake[worker]
        while True:
            serve(self.address, worker + 1, LOOKS)
            self._asleep[worker] = True
            awake.wait()
            awake.clear()


pool = Pool()
"""The workers of this process."""
os.register_at_fork(after_in_child=pool.forget)


def set_threads(count: int) -> None:
    """Let calls use up to ``count`` threads, the calling one included; at first all cores.

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
