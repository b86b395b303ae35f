"""Threads of our own, beside those of the caller, of forks and of other libraries."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.errors import refused
from support.low_rank import Call, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, low_rank_forward, set_threads
from simulators.kernels.pool import TICKET, available_threads, pool
from simulators.kernels.run import _take


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
