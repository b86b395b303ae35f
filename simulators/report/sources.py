"""Everything that the page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.cost import ActionCounts
from simulators.curve import Curve
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.energy.side_by_side import SideBySide
from simulators.report.blocks import Hint
from simulators.trace import ExecutionTrace

DARK_SHARE = 0.5
"""A core counts as dark on the map when nothing happened on it in this share of all steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A run with counts.

    Attributes:
        trace: what happened; counts: its action counts; energy: what it costs.
    """

    trace: ExecutionTrace
    counts: ActionCounts
    energy: EnergyReport

    def dark_cores(self) -> frozenset[int]:
        """Cores that were dark in at least :data:`DARK_SHARE` of all samples and steps."""
        return frozenset(np.flatnonzero(self.energy.core_dark_share >= DARK_SHARE).tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """What the sections draw from.

    Attributes:
        artifact: the compiled program; report: the compiler's, ``report.json``.
        trace: a run of it, if given.
        run: the same run with its estimate, if it holds counts.
        curve: accuracy and energy at each budget, if given.
        hardware: the cost on other devices, if given.
    """

    artifact: Artifact
    report: dict[str, Any]
    trace: ExecutionTrace | None
    run: Run | None
    curve: Curve | None
    hardware: SideBySide | None

    def without_counts(self, missing: str) -> Hint:
        """What to say where ``missing`` needs the counts of a run."""
        backend = " of the chip backend" if self.trace else ""
        return Hint(missing=missing, option=f"--trace trace.npz{backend}")


def gather(
    artifact: Artifact,
    report: dict[str, Any],
    trace: ExecutionTrace | None,
    curve: Curve | None,
    hardware: SideBySide | None,
) -> Sources:
    """Check that all belong together, and estimate the energy of the run.

    Raises:
        ConfigError: the trace (ADL-ENG-02), the curve (ADL-CRV-02) or the comparison of hardware
            (ADL-SBS-02) is of another program.
    """
    run = None
    if trace is not None:
        own = trace.program == artifact.origin.fingerprint()
        if trace.counts is not None or not own:
            energy = estimate_energy(artifact, trace)
            assert trace.counts is not None
            run = Run(trace=trace, counts=trace.counts, energy=energy)
    return Sources(
        artifact=artifact,
        report=report,
        trace=trace,
        run=run,
        curve=None if curve is None else curve.checked(artifact),
        hardware=None if hardware is None else hardware.checked(artifact),
    )
