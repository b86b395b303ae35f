"""Run a compiled program in Lava, in an interpreter of its own that cannot hang this one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.ir.partitioned import Members
from simulators.lava.guard import run_guarded
from simulators.trace import ExecutionTrace, IntArray

if TYPE_CHECKING:
    from simulators.backend import Run
    from simulators.lava.program import LavaProgram


def run_lava(run: Run) -> ExecutionTrace:
    """Execute ``run`` with Lava's fixed-point models.

    Raises:
        MissingDependencyError: ADL-DEP-01, Lava is not installed.
        SimulationError: ADL-SIM-…, Lava failed or the deadline passed.
    """
    partitioned = run.artifact.partitioned
    reads_voltage = partitioned.reads_voltage
    result = run_guarded(
        "simulators.lava.run:execute",
        {
            "artifact": run.artifact,
            "payloads": run.padded(),
            "probe": tuple({*run.probe, "v"}) if reads_voltage else run.probe,
            "price": run.price,
            "fuse": run.fuse,
        },
        deadline_s=run.deadline_s,
    )
    assert isinstance(result, dict)
    if reads_voltage and "v" not in run.probe:
        result["v"] = {partitioned.output: result["v"][partitioned.output]}
    return ExecutionTrace(
        backend="lava",
        program=run.artifact.origin.fingerprint(),
        output=partitioned.output,
        reads_voltage=reads_voltage,
        price=run.price,
        **result,
    )


def execute(
    artifact: Artifact, payloads: IntArray, probe: tuple[str, ...], price: float, *, fuse: bool
) -> dict[str, object]:
    """Job for the guarded interpreter: every sample from zero state, in one Lava run.

    Args:
        artifact: the compiled program.
        payloads: ``(samples, steps, inputs)``.
        probe: any of ``u`` and ``v``.
        price: of a level's cost, for the gates.
        fuse: all cores in one operating-system process.

    Returns:
        The fields ``seconds``, ``spikes``, ``u`` and ``v`` of an execution trace.
    """
    from lava.proc.io.source import RingBuffer

    from simulators.lava.program import build_program
    from simulators.lava.runtime import LavaRuntime

    samples, steps, inputs = payloads.shape
    total = samples * steps
    source = RingBuffer(data=np.ascontiguousarray(payloads.reshape(total, inputs).T))
    program = build_program(artifact, price=price, fuse=fuse)
    source.s_out.connect(program.s_in)
    with tempfile.TemporaryDirectory() as folder:
        files = _record(program, artifact, probe, total, Path(folder))
        with LavaRuntime(source) as runtime:
            start = time.perf_counter()
            for sample in range(samples):
                if sample:
                    program.reset(runtime)
                runtime.run(steps)
            seconds = time.perf_counter() - start
        recorded = {
            what: {
                name: _joined(
                    [np.load(path) for path in paths], program.order(name), samples, steps
                )
                for name, paths in by_population.items()
            }
            for what, by_population in files.items()
        }
    return {"seconds": seconds, **recorded}


def _record(
    program: LavaProgram, artifact: Artifact, probe: tuple[str, ...], rows: int, folder: Path
) -> dict[str, dict[str, list[Path]]]:
    """Attach recorders; their files by ``spikes``, ``u`` or ``v`` and by population, in order."""
    from simulators.lava.processes import Recorder, StateRecorder

    files: dict[str, dict[str, list[Path]]] = {"spikes": {}, "u": {}, "v": {}}
    for name, segments in program.segments.items():
        if name == artifact.partitioned.input.name:
            continue
        for segment in segments:
            process = segment.process
            for what in ("spikes", *(state for state in probe if hasattr(process, state))):
                paths = files[what].setdefault(name, [])
                path = folder / f"{len(list(folder.iterdir()))}.npy"
                np.lib.format.open_memmap(path, "w+", np.int32, (rows, segment.group.size)).flush()
                if what == "spikes":
                    process.s_out.connect(
                        Recorder(shape=(segment.group.size,), path=str(path)).s_in
                    )
                else:
                    StateRecorder(var=getattr(process, what), path=str(path))
                paths.append(path)
    return files


def _joined(parts: list[IntArray], order: Members, samples: int, steps: int) -> IntArray:
    """Segments, put in ``order``, as ``(samples, steps, size)``."""
    values = np.zeros((samples * steps, order.size), np.int64)
    values[:, order] = np.concatenate(parts, axis=1)
    return values.reshape(samples, steps, -1)
