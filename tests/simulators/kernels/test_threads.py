"""Threads of our own, beside those of the caller, of forks and of other libraries."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.errors import refused
from support.low_rank import Call, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, low_rank_forward, set_threads
from simulators.kernels.pool import (
    ASLEEP,
    BUSY,
    TICKET,
    WOKEN,
    WORKERS,
    Pool,
    available_threads,
    pool,
)
from simulators.kernels.run import _take
from simulators.kernels.sleep import WAKE_S, nobody_sleeps, wake


@pytest.fixture(autouse=True)
def _all_threads_afterwards() -> Iterator[None]:
    yield
    set_threads(available_threads())


def large_call() -> tuple[Call, PackedFactors]:
    """A call that is worth several threads."""
    call = random_call(np.random.default_rng(0), (512, 512, 64), 256)
    return call, PackedFactors(call.U, call.V)


def own_threads() -> list[str]:
    """Names of our workers."""
    return [t.name for t in threading.enumerate() if t.name.startswith("low-rank")]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_threads(threads: int) -> None:
    set_threads(threads)
    call, factors = large_call()
    for _ in range(20):
        call.check(low_rank_forward(call.x, factors, None, call.ranks))
    assert pool.threads == threads


def test_callers_on_several_threads_do_not_mix_up() -> None:
    set_threads(2)
    calls = [random_call(np.random.default_rng(seed), (128, 96, 40), 64) for seed in range(6)]

    def work(call: Call) -> None:
        factors = PackedFactors(call.U, call.V)
        for _ in range(30):
            call.check(low_rank_forward(call.x, factors, None, call.ranks))

    with ThreadPoolExecutor(3) as executor:
        list(executor.map(work, calls))


def test_one_worker_per_thread_beyond_the_callers_however_many_calls() -> None:
    set_threads(3)
    call, factors = large_call()
    for _ in range(5):
        low_rank_forward(call.x, factors, None, call.ranks)
    before = own_threads()
    for _ in range(5):
        low_rank_forward(call.x, factors, None, call.ranks)
    assert own_threads() == before
    assert len(before) == len(set(before))


def test_workers_beyond_the_threads_of_a_call_take_nothing_of_it() -> None:
    """They may be awake from another call, but have no room for events in the memory of this."""
    shared = np.zeros_like(pool.shared)
    shared[TICKET] = 2 << 48 | 3 << 24
    chunks = [_take(shared.ctypes.data, worker) for worker in (2, 1, 0, 5, 1, 0)]
    assert chunks == [-1, 0, 1, -1, 2, -1]


def asleep() -> list[int]:
    """How many workers sleep, and how many of those have yet to wake."""
    return pool.shared[[ASLEEP, WOKEN]].tolist()


def wait_for(asleep_and_woken: list[int]) -> None:
    """Wait until workers have come to that."""
    end = time.monotonic() + 20
    while asleep() != asleep_and_woken:
        assert time.monotonic() < end, f"{asleep()} instead of {asleep_and_woken}"
        time.sleep(1e-3)


def test_workers_sleep_until_a_call_wakes_them() -> None:
    set_threads(2)
    call, factors = large_call()
    for _ in range(3):
        call.check(low_rank_forward(call.x, factors, None, call.ranks))
        wait_for([pool.shared[WORKERS], 0])


def test_small_calls_wake_workers_once_they_have_missed_enough() -> None:
    shared = np.zeros_like(pool.shared)
    address = shared.ctypes.data
    nobody_sleeps(address)
    shared[WORKERS], shared[ASLEEP] = 3, 2

    def asleep_after(wanted: int, gain: float) -> int:
        wake(address, wanted, gain)
        assert shared[ASLEEP] + shared[WOKEN] == 2
        return int(shared[ASLEEP])

    assert asleep_after(1, 2 * WAKE_S) == 2, "one is awake"
    assert [asleep_after(2, 0.4 * WAKE_S) for _ in range(4)] == [2, 2, 1, 1]
    assert [asleep_after(3, 0.4 * WAKE_S) for _ in range(3)] == [1, 1, 0]


def test_a_call_runs_alone_while_another_has_the_workers() -> None:
    set_threads(2)
    call, factors = large_call()
    shared_by_two = low_rank_forward(call.x, factors, None, call.ranks)
    before = pool.shared[TICKET]
    pool.shared[BUSY] = 1
    try:
        alone = low_rank_forward(call.x, factors, None, call.ranks)
        assert pool.shared[BUSY] == 1
    finally:
        pool.shared[BUSY] = 0
    assert pool.shared[TICKET] == before
    for found in (alone, shared_by_two):
        call.check(found)


def test_a_call_leaves_the_workers_to_the_next() -> None:
    set_threads(2)
    call, factors = large_call()
    low_rank_forward(call.x, factors, None, call.ranks)
    assert pool.shared[BUSY] == 0


def test_whoever_forgets_workers_forgets_what_they_did() -> None:
    """As a child does whose parent was in the midst of a call."""
    other = Pool()
    other.shared[[TICKET, BUSY, WORKERS]] = 2 << 48 | 3 << 24, 1, 1
    other.forget()
    assert not other.shared[[TICKET, BUSY, WORKERS]].any()


def _in_child(call: Call) -> bool:
    """Whether the call is right in a child process, where no worker is left."""
    call.check(low_rank_forward(call.x, call.U, call.V, call.ranks))
    return True


def test_a_forked_child_has_workers_of_its_own() -> None:
    set_threads(2)
    call, factors = large_call()
    call.check(low_rank_forward(call.x, factors, None, call.ranks))
    with multiprocessing.get_context("fork").Pool(1) as children:
        assert children.apply(_in_child, (call,))


@pytest.mark.parametrize("count", [0, -2])
def test_no_threads(count: int) -> None:
    with refused(ConfigError, "ADL-KRN-05", where="count", message=str(count), remedy="1"):
        set_threads(count)
