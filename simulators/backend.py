"""One door to every backend: ``simulate(artifact, stimulus, backend="chip")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.budget import check_price
from mapping.errors import ConfigError
from mapping.registry import Registry
from mapping.semantics.fixedpoint import Int64Array
from simulators.trace import ExecutionTrace, IntArray, Interrupted, Stimulus, check_probe

if TYPE_CHECKING:
    from simulators.chip.run import ChipStream


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a backend is asked to do.

    Attributes:
        artifact: the compiled program.
        payloads: ``(samples, input steps, inputs)`` integers.
        steps: steps to run; those beyond the input are silent.
        probe: states to record, a subset of :data:`simulators.trace.PROBES`.
        price: of a level's cost, for the gates.
        deadline_s: after this many seconds a backend that can hang is stopped.
        progress: told now and then how many more samples are done, by backends that can.
        fuse: run all cores in one operating-system process where the backend takes one for each.
    """

    artifact: Artifact
    payloads: IntArray
    steps: int
    probe: tuple[str, ...]
    price: float
    deadline_s: float
    progress: Callable[[int], None] | None = None
    fuse: bool = False

    def padded(self) -> Int64Array:
        """``(samples, steps, inputs)`` payloads with the silent steps."""
        samples, own, inputs = self.payloads.shape
        silence = np.zeros((samples, self.steps - own, inputs), np.int64)
        return np.concatenate([self.payloads.astype(np.int64), silence], axis=1)


Backend = Callable[[Run], ExecutionTrace]
BACKENDS: Registry[Backend] = Registry("backend", "adlrns_map.backends")


def simulate(
    artifact: Artifact,
    stimulus: Stimulus,
    backend: str = "chip",
    *,
    probe: Sequence[str] = (),
    steps: int | None = None,
    price: float = 0.0,
    deadline_s: float = 600.0,
    carry_state: bool = False,
    progress: Callable[[int], None] | None = None,
    fuse: bool = False,
) -> ExecutionTrace:
    """Run every sample of ``stimulus``, from zero state unless ``carry_state``.

    Args:
        artifact: the compiled program.
        stimulus: its input; the latency of the pipeline is appended as silent steps.
        backend: ``chip`` (Numba, counts actions), ``oracle`` (NumPy) or ``lava``.
        probe: states of LIF populations to record, any of ``u`` and ``v``.
        steps: present only the first ``steps`` input steps.
        price: of a level's cost, for the gates; :func:`mapping.budget.price_for` finds the one
            that keeps to an energy budget.
        deadline_s: time limit for a backend that can hang, in seconds.
        carry_state: begin every sample where the one before ended, as one stream without silent
            steps: what is still on its way at the end of a sample arrives in the next.
        progress: told now and then how many more samples are done, by backends that can.
        fuse: let Lava run all cores in one operating-system process, so that large programs start.

    Raises:
        Interrupted: Ctrl-C while the chip simulator ran; holds what was done.
        ConfigError: unknown backend (ADL-CFG-01), unknown probe or wrong number of steps
            (ADL-CFG-06), unsuitable input (ADL-INP-…) or price (ADL-BUD-03).
        MissingDependencyError: ADL-DEP-01, Lava is not installed.
        SimulationError: ADL-SIM-…, the backend failed.
    """
    run_backend = BACKENDS.get(backend)
    stimulus = stimulus.checked(artifact.partitioned)
    if carry_state:
        stimulus.as_stream().checked(artifact.partitioned)
    probed = check_probe(probe, where="simulate")
    if steps is not None and not 1 <= steps <= stimulus.steps:
        raise ConfigError(
            f"{steps} steps were asked for, the input has {stimulus.steps}",
            where="simulate",
            remedy=f"choose 1 to {stimulus.steps} steps",
            code="ADL-CFG-06",
        )
    check_price(price, where="simulate")
    payloads = stimulus.payloads[:, :steps]
    samples, shown = payloads.shape[:2]
    payloads = payloads.reshape(samples, shown, -1)
    run = Run(
        artifact=artifact,
        payloads=payloads,
        steps=shown + artifact.partitioned.latency_steps,
        probe=probed,
        price=price,
        deadline_s=deadline_s,
        progress=progress,
        fuse=fuse,
    )
    if carry_state:
        run = _as_stream(run)
    try:
        trace = run_backend(run)
    except Interrupted as stop:
        raise Interrupted(_completed(stop.trace, stimulus, carry_state)) from None
    return _completed(trace, stimulus, carry_state)


def _as_stream(run: Run) -> Run:
    """``run`` with its samples after each other as one, without silent steps."""
    samples, shown = run.payloads.shape[:2]
    progress = run.progress
    return replace(
        run,
        payloads=run.payloads.reshape(1, samples * shown, -1),
        steps=samples * shown,
        progress=progress and (lambda streams: progress(streams * samples)),
    )


def _completed(trace: ExecutionTrace, stimulus: Stimulus, carry_state: bool) -> ExecutionTrace:
    """``trace`` with the labels, and a stream cut into its samples."""
    if carry_state and trace.samples:
        trace = trace.cut(stimulus.samples)
    return trace.with_labels(stimulus.labels)


def open_stream(artifact: Artifact, *, probe: Sequence[str] = (), price: float = 0.0) -> ChipStream:
    """A simulated chip for input of any length; see :class:`simulators.chip.run.ChipStream`."""
    from simulators.chip.run import ChipStream

    return ChipStream(artifact, probe=probe, price=price)


@BACKENDS.register("chip")
def _chip(run: Run) -> ExecutionTrace:
    from simulators.chip.run import run_chip

    return run_chip(run)


@BACKENDS.register("oracle")
def _oracle(run: Run) -> ExecutionTrace:
    from simulators.oracle import run_oracle

    return run_oracle(run)


@BACKENDS.register("lava")
def _lava(run: Run) -> ExecutionTrace:
    from simulators.lava.run import run_lava

    return run_lava(run)
