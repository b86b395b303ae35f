"""One door to every backend: ``simulate(artifact, stimulus, backend="chip")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.budget import check_price
from mapping.errors import ConfigError
from mapping.registry import Registry
from simulators.trace import ExecutionTrace, IntArray, Stimulus

PROBES = ("u", "v")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a backend is asked to do.

    Attributes:
        artifact: the compiled program.
        payloads: ``(samples, steps, inputs)`` int64, the pipeline's latency of silence included.
        probe: states to record, a subset of :data:`PROBES`.
        price: of a level's cost, for the gates.
        deadline_s: after this many seconds a backend that can hang is stopped.
    """

    artifact: Artifact
    payloads: IntArray
    probe: tuple[str, ...]
    price: float
    deadline_s: float


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
) -> ExecutionTrace:
    """Run every sample of ``stimulus`` from zero state.

    Args:
        artifact: the compiled program.
        stimulus: its input; the latency of the pipeline is appended as silent steps.
        backend: ``chip`` (Numba, counts actions), ``oracle`` (NumPy) or ``lava``.
        probe: states of LIF populations to record, any of ``u`` and ``v``.
        steps: present only the first ``steps`` input steps.
        price: of a level's cost, for the gates; :func:`mapping.budget.price_for` finds the one
            that keeps to an energy budget.
        deadline_s: time limit for a backend that can hang, in seconds.

    Raises:
        ConfigError: unknown backend (ADL-CFG-01), unknown probe or wrong number of steps
            (ADL-CFG-06), unsuitable input (ADL-INP-…) or price (ADL-BUD-03).
        MissingDependencyError: ADL-DEP-01, Lava is not installed.
        SimulationError: ADL-SIM-…, the backend failed.
    """
    run_backend = BACKENDS.get(backend)
    stimulus = stimulus.checked(artifact.partitioned.input)
    unknown = [name for name in probe if name not in PROBES]
    if unknown or (steps is not None and not 1 <= steps <= stimulus.steps):
        raise ConfigError(
            f"cannot probe {unknown}" if unknown else f"{steps} steps of {stimulus.steps}",
            where="simulate",
            remedy=f"probe any of {', '.join(PROBES)}; choose 1 to {stimulus.steps} steps",
            code="ADL-CFG-06",
        )
    check_price(price, where="simulate")
    payloads = stimulus.payloads[:, :steps].reshape(
        stimulus.samples, stimulus.steps if steps is None else steps, -1
    )
    latency = artifact.partitioned.latency_steps
    silence = np.zeros((stimulus.samples, latency, payloads.shape[2]), np.int64)
    trace = run_backend(
        Run(
            artifact=artifact,
            payloads=np.concatenate([payloads, silence], axis=1),
            probe=tuple(probe),
            price=price,
            deadline_s=deadline_s,
        )
    )
    return trace.with_labels(stimulus.labels)


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
