"""How threads share the chunks of a call, in compiled code: a share for each, see :mod:`.pool`."""

from __future__ import annotations

from numba import int64

from simulators.kernels.atomics import (
    add_shared,
    exchange,
    give_way,
    load,
    load_shared,
    store,
    store_shared,
)
from simulators.kernels.chunks import chunks_of_phase, run_chunk
from simulators.kernels.job import PHASE
from simulators.kernels.pool import BUSY, DONE, JOB, SHARE_STEP, SHARES, TICKET
from simulators.kernels.sleep import sleep, wake
from simulators.kernels.vector import entry, kernel, part

_BITS = 24
"""Of a ticket: so many number the first chunk that is left of a share, so many the one after the
last, the rest count the threads."""
_FIELD = (1 << _BITS) - 1
_LOOKS_AT_ONCE = 200
"""How often a worker looks for work before it lets others have the core."""
_LOOKS = 1000 * _LOOKS_AT_ONCE
"""How often a worker looks in vain before it sleeps: for about a millisecond."""
_LOOKS_BEFORE_GIVING_WAY = 2000
"""How often a call looks for its last chunks before it lets others have the core."""


@kernel
def _share(shared: int, thread: int) -> int:
    """Address of a thread's share of a call."""
    return shared + 8 * (SHARES + SHARE_STEP * thread)


@kernel
def _take(share: int, thread: int, from_end: bool) -> int:
    """A chunk of a share that nobody has taken, or -1 if none is left for this thread."""
    while True:
        ticket: int = load_shared(share + 8 * TICKET)
        first, end = ticket & _FIELD, ticket >> _BITS & _FIELD
        if first >= end or thread >= ticket >> 2 * _BITS:
            return -1
        if exchange(share + 8 * TICKET, ticket, ticket - (1 << _BITS) if from_end else ticket + 1):
            return end - 1 if from_end else first


@kernel
def _threads_of_more(share: int) -> int:
    """Threads of the call that has left chunks of a share; 0 if there are none."""
    ticket: int = load_shared(share + 8 * TICKET)
    return ticket >> 2 * _BITS if ticket & _FIELD < ticket >> _BITS & _FIELD else 0


@kernel
def _work(shared: int, thread: int, threads: int) -> None:
    """Do a thread's own share of a call, then what others have left of theirs, from its end.

    So in call after call a core finds most of what it reads and writes in its own caches.
    """
    own = _share(shared, thread)
    for number in range(thread, thread + threads):
        share = _share(shared, number % threads)
        chunk = _take(share, thread, share != own)
        while chunk >= 0:
            # A call goes on only when all chunks are done, so the job is the one this chunk is of.
            run_chunk(load(share + 8 * JOB), chunk, thread)
            add_shared(own + 8 * DONE, 1)
            chunk = _take(share, thread, share != own)


@entry(int64, int64)
def serve(shared: int, worker: int) -> None:
    """Work on whatever calls leave at ``shared``; sleep where there has been nothing for long."""
    vain = 0
    while True:
        threads = _threads_of_more(_share(shared, worker))
        if not threads and vain % _LOOKS_AT_ONCE == 0:  # Its share may have gone while it slept.
            threads = _threads_of_more(_share(shared, 0))
        if worker < threads:
            _work(shared, worker, threads)
            vain = 0
        elif vain < _LOOKS:
            if vain % _LOOKS_AT_ONCE == 0:
                give_way()
            vain += 1
        else:
            sleep(shared)
            vain = 0


@kernel
def hire(shared: int, threads: int, gain: float) -> int:
    """How many threads a call gets, itself included: one while another call has the workers.

    Args:
        shared: address of the pool's memory.
        threads: how many it has work for.
        gain: how many seconds it takes less with them.
    """
    if threads == 1 or not exchange(shared + 8 * BUSY, 0, 1):
        return 1
    wake(shared, threads - 1, gain)
    return threads


@kernel
def dismiss(shared: int, threads: int) -> None:
    """Leave the workers, if a call got some, to other calls."""
    if threads > 1:
        store_shared(shared + 8 * BUSY, 0)


@part
def run_phase(job: int, phase: int, shared: int, threads: int) -> None:
    """All chunks of a phase; with more than one thread, workers take some of them."""
    store(job + 8 * PHASE, phase)
    chunks = chunks_of_phase(job)
    if threads == 1 or chunks < 2:
        for chunk in range(chunks):
            run_chunk(job, chunk, 0)
    else:
        _share_out(job, chunks, shared, threads)


@kernel
def _share_out(job: int, chunks: int, shared: int, threads: int) -> None:
    """All chunks of a phase, a share of them for each thread."""
    for thread in range(threads):
        share = _share(shared, thread)
        store(share + 8 * DONE, 0)
        store(share + 8 * JOB, job)
    first = 0
    for thread in range(threads):  # Now that none can be taken before all are counted from 0.
        end = first + (chunks - first + threads - thread - 1) // (threads - thread)
        ticket = threads << 2 * _BITS | end << _BITS | first
        store_shared(_share(shared, thread) + 8 * TICKET, ticket)
        first = end
    _work(shared, 0, threads)
    looks = 0
    while True:
        done = 0
        for thread in range(threads):
            done += load_shared(_share(shared, thread) + 8 * DONE)
        if done == chunks:
            return
        looks += 1
        if looks > _LOOKS_BEFORE_GIVING_WAY:
            give_way()
