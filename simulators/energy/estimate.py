"""Energy and latency of a trace: counts × the target's table, per core, component and step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.cost import (
    FloatArray,
    Totals,
    bounds,
    dynamic_energy_j,
    static_power_w,
    step_time_s,
)
from mapping.targets.spec import ChipSpec, Status
from simulators.trace import ExecutionTrace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergyReport:
    """Means per sample.

    Attributes:
        chip: the target whose table was used.
        core_step_j: by component, ``(steps, cores)`` dynamic energy [J].
        static_core_j: static energy of one used core [J].
        static_chip_j: static energy of all chips in use, their unused cores included [J].
        chips: number of chips in use.
        step_s: ``(steps,)`` duration of each step [s].
        core_dark_share: ``(cores,)`` share of samples and steps in which a core was dark: nothing
            reached it and it updated nothing.
        bounds: totals with every constant at its lower and at its upper bound.
        samples: number of samples that the means are over.
    """

    chip: ChipSpec
    core_step_j: dict[str, FloatArray]
    static_core_j: float
    static_chip_j: float
    chips: int
    step_s: FloatArray
    core_dark_share: FloatArray
    bounds: tuple[Totals, Totals]
    samples: int

    @property
    def cores(self) -> int:
        """Number of used cores."""
        return int(next(iter(self.core_step_j.values())).shape[1])

    @property
    def latency_s(self) -> float:
        """Duration of one inference, all steps [s]."""
        return float(self.step_s.sum())

    @property
    def status(self) -> Status:
        """The weakest status among the constants."""
        return self.chip.estimate_status()

    def component_j(self) -> dict[str, float]:
        """Dynamic energy per component [J]."""
        return {name: float(energy.sum()) for name, energy in self.core_step_j.items()}

    @property
    def dynamic_j(self) -> float:
        """Dynamic energy, the sum over components [J]."""
        return sum(self.component_j().values())

    @property
    def static_j(self) -> float:
        """Static energy of the used cores [J]."""
        return self.static_core_j * self.cores

    @property
    def total_j(self) -> float:
        """Dynamic energy plus the static energy of the used cores [J]."""
        return self.dynamic_j + self.static_j

    def core_dynamic_j(self) -> FloatArray:
        """``(cores,)`` dynamic energy [J]."""
        return np.asarray(np.sum([e.sum(axis=0) for e in self.core_step_j.values()], axis=0))

    def core_j(self) -> FloatArray:
        """``(cores,)`` dynamic plus own static energy [J]."""
        return self.core_dynamic_j() + self.static_core_j

    def interval_j(self) -> tuple[float, float]:
        """Where the total lies if every constant lies within its factor [J]."""
        return self.bounds[0].energy_j, self.bounds[1].energy_j

    def interval_s(self) -> tuple[float, float]:
        """Where the latency lies if every constant lies within its factor [s]."""
        return self.bounds[0].latency_s, self.bounds[1].latency_s

    def as_dict(self) -> dict[str, object]:
        """The content of ``energy --json``."""
        constants = self.chip.constants()
        table = {
            name: {"value": entry.value, "status": entry.status, "source": entry.source}
            for name, entry in constants.items()
            if name.startswith(("energy_j.", "latency_s.", "barrier_s.", "static_power_w"))
        }
        per_core = [
            {
                "id": core,
                "energy_j": float(total),
                "static_j": self.static_core_j,
                "dark_share": float(self.core_dark_share[core]),
                **{name: float(e[:, core].sum()) for name, e in self.core_step_j.items()},
            }
            for core, total in enumerate(self.core_j())
        ]
        return {
            "target": self.chip.name,
            "samples": self.samples,
            "energy_j": {
                "total": self.total_j,
                "static": self.static_j,
                "dynamic": self.dynamic_j,
                **self.component_j(),
            },
            "energy_interval_j": list(self.interval_j()),
            "static_chip_j": self.static_chip_j,
            "latency_s": self.latency_s,
            "latency_interval_s": list(self.interval_s()),
            "status": self.status,
            "per_core": per_core,
            "per_step": {
                "latency_s": self.step_s.tolist(),
                "dynamic_j": np.sum(
                    [energy.sum(axis=1) for energy in self.core_step_j.values()], axis=0
                ).tolist(),
            },
            "constants": table,
        }


def estimate_energy(artifact: Artifact, trace: ExecutionTrace) -> EnergyReport:
    """Energy and latency per sample of what ``trace`` recorded.

    Raises:
        ConfigError: the trace holds no action counts (ADL-ENG-01) or another program's
            (ADL-ENG-02).
    """
    counts = trace.counts_for(artifact)
    chip = artifact.chip
    used_tiles = artifact.placement.used_tiles()
    step_s = step_time_s(counts, chip, used_tiles).mean(axis=0)
    latency_s = float(step_s.sum())
    cores, chips = len(artifact.partitioned.cores), artifact.placement.used_chips()
    energy = dynamic_energy_j(counts, chip)
    return EnergyReport(
        chip=chip,
        core_step_j={name: values.mean(axis=0) for name, values in energy.items()},
        static_core_j=static_power_w(chip, cores) * latency_s / cores,
        static_chip_j=chip.static_power_w.value * chips * latency_s,
        chips=chips,
        step_s=step_s,
        core_dark_share=counts.idle.mean(axis=(0, 1)),
        bounds=bounds(counts, chip, used_tiles),
        samples=trace.samples,
    )
