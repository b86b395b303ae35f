"""Run a compiled program on the chip simulator, samples in parallel over threads."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mapping.artifact.schema import Artifact
from mapping.budget import check_price
from mapping.cost import ActionCounts
from mapping.ir.quantized import IntegerLif
from mapping.ir.traffic import IntArray, check_payloads
from simulators.chip.layout import Layout, lay_out
from simulators.chip.state import new_state
from simulators.chip.step import COUNTED, Record, rest, run_samples
from simulators.trace import ExecutionTrace, Interrupted, check_probe

if TYPE_CHECKING:
    from simulators.backend import Run

Lot = tuple[int, npt.NDArray[np.int64]]
"""Of samples that one thread runs: how many are complete, and packets over the links in use."""

_JOBS_PER_THREAD = 16
_POLL_S = 0.05


def run_chip(run: Run) -> ExecutionTrace:
    """Execute ``run`` event by event and count every action.

    Raises:
        Interrupted: Ctrl-C; it holds the trace of the samples that were complete.
    """
    artifact = run.artifact
    layout = lay_out(artifact, run.price)
    payloads = compact(run.payloads)
    watched = watched_populations(artifact, run.probe)
    threads = min(len(os.sched_getaffinity(0)), payloads.shape[0])
    record = new_record(artifact, layout, watched, payloads.shape[0], run.steps, threads)
    state = new_state(layout.program, link_count(artifact))
    run_samples(layout.program, state, payloads, 0, 0, True, 0, record)
    start = time.perf_counter()
    completed, interrupted, packets = _run_threads(artifact, layout, payloads, record, run)
    trace = to_trace(
        artifact,
        layout,
        record._replace(link_packets=packets[None]),
        watched,
        samples=completed,
        seconds=time.perf_counter() - start,
        price=run.price,
        probe=run.probe,
    )
    if interrupted:
        raise Interrupted(trace)
    return trace


class ChipStream:
    """A simulated chip that runs on, for input of any length in bounded memory.

    Each call of :meth:`run` continues where the last one ended. Memory holds the program, the state
    of the chip and the trace of one call::

        stream = ChipStream(artifact)
        for payloads in recording:
            trace = stream.run(payloads)

    Args:
        artifact: the compiled program.
        probe: states of LIF populations to record, any of ``u`` and ``v``.
        price: of a level's cost, for the gates.

    Raises:
        ConfigError: unknown probe (ADL-CFG-06) or unsuitable price (ADL-BUD-03).
    """

    def __init__(
        self, artifact: Artifact, *, probe: Sequence[str] = (), price: float = 0.0
    ) -> None:
        check_price(price, where="stream")
        self._probe = check_probe(probe, where="stream")
        self._artifact, self._price = artifact, price
        self._layout = lay_out(artifact, price)
        self._watched = watched_populations(artifact, self._probe)
        self._state = new_state(self._layout.program, link_count(artifact))
        rest(self._layout.program, self._state)
        self._signal = np.zeros(artifact.partitioned.input.shape, np.int64)
        self._steps = 0

    def run(self, payloads: npt.NDArray[Any]) -> ExecutionTrace:
        """Run as many steps as ``payloads``, ``(steps, *input shape)`` integers, has.

        Returns:
            The trace, of one sample.

        Raises:
            ConfigError: ADL-INP-01 … 03, unsuitable input.
        """
        payloads = np.asarray(payloads)
        check_payloads(
            payloads,
            self._artifact.partitioned.input,
            where="stream",
            lead=("steps",),
            signal=self._signal,
            steps_before=self._steps,
        )
        own = compact(payloads)
        steps = own.shape[0]
        self._signal = self._signal + own.sum(axis=0, dtype=np.int64)
        self._steps += steps
        record = new_record(self._artifact, self._layout, self._watched, 1, steps, 1)
        start = time.perf_counter()
        program = self._layout.program
        run_samples(program, self._state, own.reshape(1, steps, -1), 0, 1, False, 0, record)
        return to_trace(
            self._artifact,
            self._layout,
            record,
            self._watched,
            samples=1,
            seconds=time.perf_counter() - start,
            price=self._price,
            probe=self._probe,
        )


def compact(payloads: IntArray) -> IntArray:
    """``payloads`` as one of the two array types that the kernel is compiled for.

    That is int8 where they fit, in the order of samples, steps and inputs.
    """
    small = payloads.dtype.kind == "b" or (payloads.min() >= -128 and payloads.max() <= 127)
    return np.require(payloads, np.int8 if small else np.int64, ["C", "W"])


def watched_populations(artifact: Artifact, probe: tuple[str, ...]) -> list[str]:
    """Populations of which states are recorded: all LIF if asked for, else a readout's voltage."""
    partitioned = artifact.partitioned
    if probe:
        return [p.name for p in partitioned.populations if isinstance(p, IntegerLif)]
    return [partitioned.output] if partitioned.reads_voltage else []


def new_record(
    artifact: Artifact, layout: Layout, watched: list[str], samples: int, steps: int, threads: int
) -> Record:
    """An empty record."""
    graded = layout.program.graded
    relays = int(graded.sum())
    numbers = [layout.numbers[name] for name in watched]
    numbers = [np.zeros(0, np.int32), *numbers]
    size = sum(own.size for own in numbers)
    return Record(
        binary=np.zeros((samples, steps, graded.size - relays), np.int8),
        graded=np.zeros((samples, steps, relays), np.int32),
        states=np.zeros((2, samples, steps, size), np.int32),
        watched=np.concatenate(numbers).astype(np.int32),
        counts=np.zeros((samples, steps, layout.program.cores, len(COUNTED)), np.int32),
        busiest_link=np.zeros((2, samples, steps), np.int32),
        link_packets=np.zeros((threads, link_count(artifact)), np.int64),
        stop=np.zeros(1, np.int8),
    )


def link_count(artifact: Artifact) -> int:
    """Directed links of the mesh."""
    return 4 * artifact.chip.mesh.columns * artifact.chip.mesh.rows


def to_trace(
    artifact: Artifact,
    layout: Layout,
    record: Record,
    watched: list[str],
    *,
    samples: int,
    seconds: float,
    price: float,
    probe: tuple[str, ...],
) -> ExecutionTrace:
    """The first ``samples`` samples of ``record``."""
    graded = layout.program.graded
    spikes: dict[str, IntArray] = {}
    for name, place in layout.places.items():
        source = record.graded if graded[layout.numbers[name][0]] else record.binary
        spikes[name] = source[:samples, :, place]
    sizes = [layout.numbers[name].size for name in watched]
    ends = np.cumsum([0, *sizes])
    states: list[dict[str, IntArray]] = [
        {
            name: record.states[row, :samples, :, start:stop]
            for name, start, stop in zip(watched, ends, ends[1:], strict=False)
        }
        for row in range(2)
    ]
    counts: dict[str, Any] = {
        name: record.counts[:samples, ..., number] for number, name in enumerate(COUNTED)
    }
    steps = record.busiest_link.shape[2]
    access = np.broadcast_to(
        layout.per_core.astype(np.int32), (samples, steps, layout.program.cores)
    )
    output = artifact.partitioned.output
    readout = {name: states[1][name] for name in watched if name == output and "v" not in probe}
    return ExecutionTrace(
        backend="chip",
        program=artifact.origin.fingerprint(),
        output=output,
        seconds=seconds,
        price=price,
        spikes=spikes,
        u=states[0] if "u" in probe else {},
        v=states[1] if "v" in probe else readout,
        counts=ActionCounts(**counts, compartment_access=access),
        link_packets=record.link_packets.sum(axis=0),
        busiest_link=record.busiest_link[0, :samples],
        busiest_chip_link=record.busiest_link[1, :samples],
        reads_voltage=artifact.partitioned.reads_voltage,
    )


def _run_threads(
    artifact: Artifact,
    layout: Layout,
    payloads: npt.NDArray[Any],
    record: Record,
    run: Run,
) -> tuple[int, bool, npt.NDArray[np.int64]]:
    """Split the samples over the CPUs, whose threads share no written cell but the flag to stop.

    Returns:
        How many samples are complete, counted from the first, whether Ctrl-C cut it short, and
        ``(links,)`` packets of the complete samples.
    """
    samples, threads = payloads.shape[0], record.link_packets.shape[0]
    jobs = min(samples, threads * _JOBS_PER_THREAD)
    spans = list(pairwise(np.linspace(0, samples, jobs + 1).astype(int).tolist()))
    links = np.unique(artifact.routing.links)
    free = [
        (thread, new_state(layout.program, record.link_packets.shape[1]))
        for thread in range(threads)
    ]

    def work(first: int, last: int) -> Lot:
        thread, state = free.pop()
        done = run_samples(layout.program, state, payloads, first, last, True, thread, record)
        packets = record.link_packets[thread, links]
        record.link_packets[thread] = 0
        free.append((thread, state))
        return int(done), packets

    futures: list[Future[Lot]] = []
    interrupted = False
    with ThreadPoolExecutor(threads) as pool:
        try:
            for first, last in spans:
                futures.append(pool.submit(work, first, last))
            _wait(futures, spans, run)
        except KeyboardInterrupt:
            record.stop[0] = 1
            interrupted = True
    completed, total = 0, np.zeros(record.link_packets.shape[1], np.int64)
    for future, (first, last) in zip(futures, spans, strict=False):
        done, packets = future.result()
        total[links] += packets
        completed = first + done
        if completed < last:
            break
    return completed, interrupted, total


def _wait(futures: list[Future[Lot]], spans: list[tuple[int, int]], run: Run) -> None:
    """Wait for all, telling how many samples are done, and ready for Ctrl-C all the time."""
    size = {future: last - first for future, (first, last) in zip(futures, spans, strict=True)}
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL_S)
        for future in done:
            future.result()
        if run.progress and done:
            run.progress(sum(size[future] for future in done))
