"""Threads of our own, beside those of the caller, of forks and of other libraries."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.errors import refused
from support.low_rank import Call, random_call

from mapping.errors import ConfigError
from simulators.kernels import PackedFactors, Workspace, low_rank_forward, set_threads
from simulators.kernels.chunks import chunks_of_phase
from simulators.kernels.forward import run_path
from simulators.kernels.job import PHASE, PROJECT, ROW_BLOCK, SCATTER, SHARED
from simulators.kernels.pool import (
    ASLEEP,
    BUSY,
    DONE,
    MOST_THREADS,
    SHARE_STEP,
    SHARES,
    TICKET,
    WOKEN,
    WORKERS,
    Pool,
    available_threads,
    pool,
)
from simulators.kernels.run import divide, divide_samples
from simulators.kernels.shares import _take
from simulators.kernels.sleep import WAKE_S, nobody_sleeps, wake
from simulators.kernels.vector import PANEL, TILE_ROWS


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


def test_a_share_is_taken_from_both_ends_by_threads_of_its_call_alone() -> None:
    """Others may be awake from another call, but have no room for events in the memory of this."""
    share = np.zeros(SHARE_STEP, np.int64)
    share[TICKET] = 3 << 48 | 9 << 24 | 5
    takers = [(3, True), (0, False), (2, True), (1, True), (7, False), (0, False), (0, False)]
    chunks = [_take(share.ctypes.data, thread, from_end) for thread, from_end in takers]
    assert chunks == [-1, 5, 8, 7, -1, 6, -1]
    assert _take(share.ctypes.data, 1, True) == -1


def tickets(of: Pool) -> np.ndarray:
    """What is left of each thread's share."""
    return of.shared[SHARES + TICKET :: SHARE_STEP]


def test_each_thread_gets_a_share_and_does_what_others_leave() -> None:
    """The worker's, too, which has none to do here: this pool has no workers."""
    call, factors = large_call()
    call = replace(call, scale=None, bias=None)
    workspace, out = Workspace(factors, 256), np.empty((256, 512), np.float32)
    other = Pool()
    workspace.job[SHARED] = other.address
    run_path("tiles", factors, call.x, call.ranks, out, workspace, threads=2)
    call.check(out)
    ends = [ticket >> 24 & 0xFFFFFF for ticket in tickets(other)[:2]]
    firsts = [ticket & 0xFFFFFF for ticket in tickets(other)[:2]]
    assert firsts[0] == ends[0] > 1, "the caller took all of its own from the front"
    assert firsts[1] == ends[1] == ends[0], "and those of the other from the end"
    done = other.shared[SHARES + DONE :: SHARE_STEP]
    assert done[0] == 2 * ends[0]
    assert not done[1:].any()


def test_a_call_of_fewer_chunks_than_threads_needs_no_worker() -> None:
    """Its own share is never empty, and it does all others."""
    set_threads(8)
    call = random_call(np.random.default_rng(0), (2 * PANEL, 40, 2 * PANEL), 8)
    call = replace(call, scale=None, bias=None)
    factors, other = PackedFactors(call.U, call.V), Pool()
    workspace, out = Workspace(factors, 8), np.empty((8, 2 * PANEL), np.float32)
    workspace.job[SHARED] = other.address
    for threads in range(2, 9):
        run_path("tiles", factors, call.x, call.ranks, out, workspace, threads=threads)
        call.check(out)


@pytest.mark.parametrize(("phase", "rank"), [(SCATTER, 128), (PROJECT, 16), (PROJECT, 128)])
@pytest.mark.parametrize("threads", [2, 8])
def test_a_large_input_factor_leaves_work_for_all_threads(
    phase: int, rank: int, threads: int
) -> None:
    """Whichever of its ranks samples reach; panels of it alone may be too few."""
    call = random_call(np.random.default_rng(0), (PANEL, 4096, 128), 64)
    factors = PackedFactors(call.U, call.V)
    workspace, out = Workspace(factors, 64), np.empty((64, PANEL), np.float32)
    run_path("tiles", factors, call.x, np.full(64, rank), out, workspace)
    divide(workspace.address, phase, threads)
    workspace.job[PHASE] = phase
    assert chunks_of_phase(workspace.address) >= threads


@pytest.mark.parametrize("path", ["tiles", "events"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("used", [0, 5, 700])
def test_blocks_of_samples_pass_through_both_stages(path: str, threads: int, used: int) -> None:
    """Blocks of samples of rank 0, too, whose outputs are the bias."""
    set_threads(threads)
    rng = np.random.default_rng(0)
    call = random_call(rng, (3 * PANEL + 1, 600, 50), 700, scaled=True, biased=True)
    assert call.scale is not None
    assert call.bias is not None
    call.ranks[used:] = 0
    factors = PackedFactors(call.U, call.V)
    workspace, out = Workspace(factors, 700), np.empty((700, 3 * PANEL + 1), np.float32)
    for most in (0, 50):
        run_path(
            path,
            factors,
            call.x,
            np.minimum(call.ranks, most),
            out,
            workspace,
            scale=call.scale,
            bias=call.bias,
            threads=threads,
        )
        assert divide_samples(workspace.address, threads)
    call.check(out)


@pytest.mark.parametrize(
    ("ranks", "threads", "best"),
    [
        ((16, 16, 16), 1, True),
        ((16, 16, 16), 2, False),  # One thread would have twice as much to do.
        ((64, 16, 16), 2, False),
        ((64, 32, 24, 8), 2, True),
        ((16,) * 16, 2, True),  # As many as are divided evenly.
    ],
)
def test_samples_are_divided_where_all_threads_have_enough(
    ranks: tuple[int, ...], threads: int, best: bool
) -> None:
    batch = TILE_ROWS * len(ranks)
    call = random_call(np.random.default_rng(0), (PANEL, 40, 64), batch)
    factors = PackedFactors(call.U, call.V)
    workspace, out = Workspace(factors, batch), np.empty((batch, PANEL), np.float32)
    run_path("tiles", factors, call.x, np.repeat(ranks, TILE_ROWS), out, workspace)
    assert divide_samples(workspace.address, threads) == best


def test_samples_are_not_divided_where_a_factor_is_large() -> None:
    for outputs, inputs in ((64 * PANEL, 40), (PANEL, 4096)):
        call = random_call(np.random.default_rng(0), (outputs, inputs, 256), 4)
        factors = PackedFactors(call.U, call.V)
        workspace, out = Workspace(factors, 4), np.empty((4, outputs), np.float32)
        for rank, best in ((1, True), (256, False)):
            run_path("tiles", factors, call.x, np.full(4, rank), out, workspace)
            assert divide_samples(workspace.address, 1) == best


def test_a_large_input_factor_is_fetched_for_large_blocks() -> None:
    batch = 64 * TILE_ROWS
    call = random_call(np.random.default_rng(0), (PANEL, 8192, 64), batch)
    factors = PackedFactors(call.U, call.V)
    workspace, out = Workspace(factors, batch), np.empty((batch, PANEL), np.float32)
    run_path("tiles", factors, call.x, np.full(batch, 64), out, workspace)
    assert divide_samples(workspace.address, 2)
    assert workspace.job[ROW_BLOCK] == 4 * TILE_ROWS  # Eight blocks for each thread.


def test_no_more_threads_than_there_are_shares() -> None:
    other = Pool()
    other.threads = 10 * MOST_THREADS
    assert other.threads == MOST_THREADS
    set_threads(10 * MOST_THREADS)
    assert pool.threads == MOST_THREADS
    assert available_threads() <= MOST_THREADS


def test_no_more_workers_than_there_are_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Pool()
    monkeypatch.setattr(Pool, "_work", lambda _pool, _worker: None)
    other.start(10 * MOST_THREADS)
    assert other.shared[WORKERS] == MOST_THREADS - 1


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
    before = tickets(pool).copy()
    pool.shared[BUSY] = 1
    try:
        alone = low_rank_forward(call.x, factors, None, call.ranks)
        assert pool.shared[BUSY] == 1
    finally:
        pool.shared[BUSY] = 0
    np.testing.assert_array_equal(tickets(pool), before)
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
    other.shared[[BUSY, WORKERS]] = 1, 1
    tickets(other)[1] = 2 << 48 | 3 << 24
    other.forget()
    assert not tickets(other).any()
    assert not other.shared[[BUSY, WORKERS]].any()


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
