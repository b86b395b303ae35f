"""Run a compiled program in Lava, in an interpreter of its own that cannot hang this one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mapping.artifact.schema import Artifact
from simulators.lava.guard import run_guarded
from simulators.trace import ExecutionTrace, IntArray

if TYPE_CHECKING:
    from simulators.backend import Run


def run_lava(run: Run) -> ExecutionTrace:
    """Execute ``run`` with Lava's fixed-point models.

    Raises:
        MissingDependencyError: ADL-DEP-01, Lava is not installed.
        SimulationError: ADL-SIM-…, Lava failed or the deadline passed.
    """
    result = run_guarded(
        "simulators.lava.run:execute",
        {
            "artifact": run.artifact,
            "payloads": run.padded(),
            "probe": run.probe,
            "price": run.price,
        },
        deadline_s=run.deadline_s,
    )
    assert isinstance(result, dict)
    return ExecutionTrace(
        backend="lava",
        program=run.artifact.origin.fingerprint(),
        output=run.artifact.partitioned.output,
        price=run.price,
        **result,
    )


def execute(
    artifact: Artifact, payloads: IntArray, probe: tuple[str, ...], price: float
) -> dict[str, object]:
    """Job for the guarded interpreter: every sample from zero state, in one Lava run.

    Args:
        artifact: the compiled program.
        payloads: ``(samples, steps, inputs)``.
        probe: any of ``u`` and ``v``.
        price: of a level's cost, for the gates.

    Returns:
        The fields ``seconds``, ``spikes``, ``u`` and ``v`` of an execution trace.
    """
    from lava.proc.io.source import RingBuffer
    from lava.proc.monitor.process import Monitor

    from simulators.lava.build import build_network
    from simulators.lava.processes import Recorder
    from simulators.lava.runtime import LavaRuntime

    samples, steps, inputs = payloads.shape
    total = samples * steps
    sequence = np.ascontiguousarray(payloads.reshape(total, inputs).T)
    network = build_network(artifact, RingBuffer(data=sequence), price=price)
    inner = {
        name: segments
        for name, segments in network.segments.items()
        if name != artifact.partitioned.input.name
    }
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, list[Path]] = {name: [] for name in inner}
        for number, (name, segments) in enumerate(inner.items()):
            for segment in segments:
                path = Path(folder) / f"{number}-{segment.group.start}.npy"
                shape = (total, segment.group.size)
                np.lib.format.open_memmap(path, "w+", np.int32, shape).flush()
                recorder = Recorder(shape=shape[1:], path=str(path))
                segment.process.s_out.connect(recorder.s_in)
                files[name].append(path)
        monitors: dict[str, dict[str, list[Any]]] = {"u": {}, "v": {}}
        for state in probe:
            for name, segments in inner.items():
                for segment in (s for s in segments if hasattr(s.process, state)):
                    monitor = Monitor()
                    monitor.probe(getattr(segment.process, state), total)
                    monitors[state].setdefault(name, []).append(monitor)
        with LavaRuntime(network.source) as runtime:
            start = time.perf_counter()
            for sample in range(samples):
                if sample:
                    for var in network.states():
                        runtime.write(var, np.zeros(var.shape))
                runtime.run(steps)
            seconds = time.perf_counter() - start
            states = {
                state: {
                    name: _joined([_monitored(m) for m in parts], samples, steps)
                    for name, parts in by_population.items()
                }
                for state, by_population in monitors.items()
            }
        spikes = {
            name: _joined([np.load(path) for path in paths], samples, steps)
            for name, paths in files.items()
        }
    return {"seconds": seconds, "spikes": spikes, **states}


def _monitored(monitor: Any) -> IntArray:
    """``(steps, size)`` values of the one Var that ``monitor`` probes."""
    by_process = monitor.get_data()
    (by_var,) = by_process.values()
    (values,) = by_var.values()
    return np.asarray(values)


def _joined(parts: list[IntArray], samples: int, steps: int) -> IntArray:
    """Segments side by side, as ``(samples, steps, size)``."""
    values = np.concatenate(parts, axis=1)
    whole: IntArray = np.rint(values).astype(np.int64).reshape(samples, steps, -1)
    return whole
