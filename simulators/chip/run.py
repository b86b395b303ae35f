"""Run a compiled program on the chip simulator, samples in parallel over threads."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mapping.cost import ActionCounts
from mapping.ir.quantized import IntegerLif
from simulators.chip.state import ChipProgram, Int64Array, chip_program, compartment_numbers
from simulators.chip.step import COUNTED, run_samples
from simulators.trace import ExecutionTrace

if TYPE_CHECKING:
    from simulators.backend import Run


def run_chip(run: Run) -> ExecutionTrace:
    """Execute ``run`` event by event and count every action."""
    artifact = run.artifact
    program = chip_program(artifact, run.price)
    samples, steps = run.payloads.shape[:2]
    size = program.compartments.core.shape[0]
    spikes = np.zeros((samples, steps, size), np.int32)
    states = np.zeros((2, samples if run.probe else 0, steps, size), np.int32)
    counts = np.zeros((len(COUNTED), samples, steps, program.cores), np.int64)
    start = time.perf_counter()
    flow_packets = _run_threads(program, run.payloads, spikes, states, counts)
    seconds = time.perf_counter() - start

    first = compartment_numbers(artifact.partitioned)
    part = {
        p.name: slice(first[p.name], first[p.name] + p.size)
        for p in artifact.partitioned.populations
        if p.name in first
    }
    lifs = [p.name for p in artifact.partitioned.populations if isinstance(p, IntegerLif)]
    probed = {
        name: {lif: states[row][..., part[lif]].astype(np.int64) for lif in lifs}
        if name in run.probe
        else {}
        for row, name in enumerate(("u", "v"))
    }
    loads = artifact.routing.link_loads(flow_packets.astype(np.float64), artifact.chip.mesh)
    return ExecutionTrace(
        backend="chip",
        program=artifact.origin.fingerprint(),
        output=artifact.partitioned.output,
        seconds=seconds,
        price=run.price,
        spikes={name: spikes[..., where].astype(np.int64) for name, where in part.items()},
        u=probed["u"],
        v=probed["v"],
        counts=ActionCounts(**dict(zip(COUNTED, counts, strict=True))),
        link_packets=np.rint(loads).astype(np.int64),
    )


def _run_threads(
    program: ChipProgram,
    payloads: Int64Array,
    spikes: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    states: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    counts: Int64Array,
) -> Int64Array:
    """Split the samples over the CPUs; returns packets per flow. Threads share no written cell."""
    samples = payloads.shape[0]
    threads = min(len(os.sched_getaffinity(0)), samples)
    bounds = np.linspace(0, samples, threads + 1).astype(int)
    packets = np.zeros((threads, program.flows.source.shape[0]), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(
                run_samples,
                program,
                payloads,
                int(bounds[t]),
                int(bounds[t + 1]),
                spikes,
                states,
                counts,
                packets[t],
            )
            for t in range(threads)
        ]
    for job in jobs:
        job.result()
    return np.asarray(packets.sum(axis=0))
