"""Jobs for ``run_guarded``: a compiled program between Processes that are not ours."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer

from mapping.artifact.schema import Artifact
from simulators.lava import lava_network
from simulators.lava.runtime import LavaRuntime


def outputs(
    artifact: Artifact, payloads: np.ndarray, populations: tuple[str, ...], *, fuse: bool
) -> dict[str, Any]:
    """What ``populations`` send, and what the network took of the machine.

    Args:
        artifact: the compiled program.
        payloads: ``(samples, steps, inputs)``.
        populations: any of the program, the input, too.
        fuse: run all cores in one process.
    """
    samples, steps, inputs = payloads.shape
    total = samples * steps
    source = RingBuffer(data=np.ascontiguousarray(payloads.reshape(total, inputs).T))
    start = time.perf_counter()
    program = lava_network(artifact, fuse=fuse)
    source.s_out.connect(program.s_in)
    sinks = {}
    for name in populations:
        sinks[name] = Sink(shape=(program.size(name),), buffer=total)
        program.output(name).connect(sinks[name].a_in)
    with LavaRuntime(source) as runtime:
        started = time.perf_counter()
        for sample in range(samples):
            if sample:
                program.reset(runtime)
            runtime.run(steps)
        actors = [child.pid for child in multiprocessing.active_children()]
        figures = {
            "processes": len(actors),
            "descriptors": max(_open_files(pid) for pid in (os.getpid(), *actors)),
            "start_s": started - start,
            "run_s": time.perf_counter() - started,
        }
        spikes = {
            name: runtime.read(sink.data).T.reshape(samples, steps, -1)
            for name, sink in sinks.items()
        }
    return {"spikes": spikes, **figures}


def connected_inside(artifact: Artifact) -> None:
    """A mistake: a sink listens to a Process that runs inside another."""
    program = lava_network(artifact, fuse=True)
    segment = program.segments["out"][0]
    sink = Sink(shape=(segment.group.size,), buffer=1)
    segment.process.s_out.connect(sink.a_in)
    with LavaRuntime(program.fused) as runtime:
        runtime.run(1)


def _open_files(pid: int | None) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
