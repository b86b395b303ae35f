"""Energy and latency of a trace: counts × the target's table, per core, component and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.cost import COMPONENTS, SYNAPTIC_OPS, FloatArray, static_power_w
from mapping.errors import ConfigError
from mapping.latency import (
    DEFAULT_LATENCY_MODEL,
    LATENCY_MODELS,
    Totals,
    estimate_constants,
    estimate_status,
)
from mapping.targets.figures import Constant, Status, weakest
from mapping.targets.spec import ChipSpec
from mapping.units import unit_of
from simulators.energy.accumulate import ACTIONS, Int64Array, accumulate
from simulators.trace import ExecutionTrace

ATTOJOULE = 1e-18
"""Energies are added up in whole attojoules, so that every sum is exact."""
_LOW, _OWN, _HIGH = range(3)
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyReport:
    """Means per sample, unless something else is said.

    Attributes:
        chip: the target whose table was used.
        latency_model: name of the model that told the steps' durations.
        samples: number of samples that the means are over.
        chips: number of chips in use.
        counts: by action, ``(steps, cores)`` what was charged, all samples together.
        step_bounds_s: ``(3, steps)`` duration of each step with every constant at its lower bound,
            at its value and at its upper bound [s].
        core_dark_share: ``(cores,)`` share of samples and steps in which a core was dark: nothing
            reached it and it updated nothing.
        core_dark_s: ``(cores,)`` how long of a sample a core was dark [s].
        core_dark_access: ``(cores,)`` compartments of dark cores, all samples and steps together.
    """

    chip: ChipSpec
    latency_model: str
    samples: int
    chips: int
    counts: Mapping[str, Int64Array]
    step_bounds_s: FloatArray
    core_dark_share: FloatArray
    core_dark_s: FloatArray
    core_dark_access: Int64Array

    @property
    def cores(self) -> int:
        """Number of used cores."""
        return int(self.core_dark_share.size)

    @property
    def step_s(self) -> FloatArray:
        """``(steps,)`` duration of each step [s]."""
        own: FloatArray = self.step_bounds_s[_OWN]
        return own

    @property
    def latency_s(self) -> float:
        """Duration of one inference, all steps [s]."""
        return float(self.step_s.sum())

    @property
    def status(self) -> Status:
        """The weakest status among the constants."""
        return estimate_status(self.chip, self.latency_model)

    @cached_property
    def core_step_aj(self) -> dict[str, Int64Array]:
        """By component, ``(steps, cores)`` dynamic energy of all samples together [aJ]."""
        return _energy_aj(self.counts, self.chip)

    @cached_property
    def core_step_j(self) -> dict[str, FloatArray]:
        """By component, ``(steps, cores)`` dynamic energy [J]."""
        return {name: self._per_sample(aj) for name, aj in self.core_step_aj.items()}

    def component_aj(self) -> dict[str, int]:
        """Dynamic energy per component, all samples together [aJ]."""
        return {name: int(energy.sum()) for name, energy in self.core_step_aj.items()}

    def component_j(self) -> dict[str, float]:
        """Dynamic energy per component [J]."""
        return {name: self._mean(energy) for name, energy in self.component_aj().items()}

    @property
    def dynamic_j(self) -> float:
        """Dynamic energy, the sum over components [J]."""
        return self._mean(sum(self.component_aj().values()))

    @property
    def static_core_j(self) -> float:
        """Static energy of one used core [J]."""
        return static_power_w(self.chip, 1) * self.latency_s

    @property
    def static_j(self) -> float:
        """Static energy of the used cores [J]."""
        return self.static_core_j * self.cores

    @property
    def static_chip_j(self) -> float:
        """Static energy of all chips in use, their unused cores included [J]."""
        return self.chip.static_power_w.value * self.chips * self.latency_s

    @property
    def total_j(self) -> float:
        """Dynamic energy plus the static energy of the used cores [J]."""
        return self.dynamic_j + self.static_j

    def core_dynamic_j(self) -> FloatArray:
        """``(cores,)`` dynamic energy [J]."""
        cores: Int64Array = np.sum([e.sum(axis=0) for e in self.core_step_aj.values()], axis=0)
        return self._per_sample(cores)

    def core_j(self) -> FloatArray:
        """``(cores,)`` dynamic plus own static energy [J]."""
        return self.core_dynamic_j() + self.static_core_j

    def step_dynamic_j(self) -> FloatArray:
        """``(steps,)`` dynamic energy [J]."""
        steps: Int64Array = np.sum([e.sum(axis=1) for e in self.core_step_aj.values()], axis=0)
        return self._per_sample(steps)

    @cached_property
    def bounds(self) -> tuple[Totals, Totals]:
        """Totals with every constant at its lower and at its upper bound."""
        return self._totals(_LOW), self._totals(_HIGH)

    def interval_j(self) -> Interval:
        """Where the total lies if every constant lies within its factor [J]."""
        return self.bounds[0].energy_j, self.bounds[1].energy_j

    def interval_s(self) -> Interval:
        """Where the latency lies if every constant lies within its factor [s]."""
        return self.bounds[0].latency_s, self.bounds[1].latency_s

    def intervals_j(self) -> dict[str, Interval]:
        """Where each figure lies if every constant lies within its factor [J]."""
        low, high = (
            {name: self._mean(int(e.sum())) for name, e in _energy_aj(self.counts, chip).items()}
            for chip in (self.chip.at_bound(-1), self.chip.at_bound(1))
        )
        return {
            "total": self.interval_j(),
            "static": (self.bounds[0].static_j, self.bounds[1].static_j),
            "dynamic": (self.bounds[0].dynamic_j, self.bounds[1].dynamic_j),
            **{name: (low[name], high[name]) for name in low},
        }

    def statuses(self) -> dict[str, Status]:
        """By figure of :meth:`intervals_j`, the weakest status among constants that it took."""
        table = self.chip.energy_j
        found: dict[str, Status] = {}
        for component, actions in COMPONENTS.items():
            taken = [a for a in actions if self.counts[a].any()] or list(actions)
            found[component] = weakest(getattr(table, action).status for action in taken)
        dynamic = weakest(found.values())
        time = self.chip.weakest_status(*LATENCY_MODELS.get(self.latency_model).constants)
        static = weakest([self.chip.static_power_w.status, time])
        return {"total": weakest([dynamic, static]), "static": static, "dynamic": dynamic, **found}

    @property
    def synaptic_ops(self) -> float:
        """Synapses read and added."""
        return sum(int(self.counts[a].sum()) for a in SYNAPTIC_OPS.values()) / self.samples

    def cross_check_j(self) -> float | None:
        """Dynamic energy by the target's measured energy per synaptic operation, if any [J]."""
        check = self.chip.cross_check
        return None if check is None else check.dynamic_per_synaptic_op_j.value * self.synaptic_ops

    @property
    def dark_access_j(self) -> float:
        """Energy of accesses on dark cores [J]: spared where idle cores are skipped, else spent."""
        each_aj = _attojoules(self.chip.energy_j.compartment_access)
        return self._mean(int(self.core_dark_access.sum()) * each_aj)

    @property
    def dark_static_j(self) -> float:
        """Of the static energy, what used cores take while dark [J]: gating could spare it."""
        return static_power_w(self.chip, 1) * float(self.core_dark_s.sum())

    def as_dict(self) -> dict[str, object]:
        """The content of ``energy --json``."""
        table = {
            name: {
                "value": entry.value,
                "unit": unit_of(name),
                "factor": entry.factor,
                "status": entry.status,
                "source": entry.source,
            }
            for name, entry in estimate_constants(self.chip, self.latency_model).items()
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
            "latency_model": self.latency_model,
            "samples": self.samples,
            "energy_j": {
                "total": self.total_j,
                "static": self.static_j,
                "dynamic": self.dynamic_j,
                **self.component_j(),
            },
            "energy_interval_j": list(self.interval_j()),
            "intervals_j": {name: list(ends) for name, ends in self.intervals_j().items()},
            "statuses": self.statuses(),
            "static_chip_j": self.static_chip_j,
            "cross_check_j": self.cross_check_j(),
            "latency_s": self.latency_s,
            "latency_interval_s": list(self.interval_s()),
            "status": self.status,
            "counts": {name: int(own.sum()) / self.samples for name, own in self.counts.items()},
            "gating": {
                "skip_idle_cores": self.chip.capabilities.skip_idle_cores.value,
                "dark_access_j": self.dark_access_j,
                "dark_static_j": self.dark_static_j,
            },
            "per_core": per_core,
            "per_step": {
                "latency_s": self.step_s.tolist(),
                "dynamic_j": self.step_dynamic_j().tolist(),
            },
            "constants": table,
        }

    def _totals(self, bound: int) -> Totals:
        chip = self.chip.at_bound(-1 if bound == _LOW else 1)
        latency_s = float(self.step_bounds_s[bound].sum())
        dynamic_aj = sum(int(e.sum()) for e in _energy_aj(self.counts, chip).values())
        return Totals(
            dynamic_j=self._mean(dynamic_aj),
            static_j=static_power_w(chip, self.cores) * latency_s,
            latency_s=latency_s,
        )

    def _mean(self, total_aj: int) -> float:
        return total_aj * ATTOJOULE / self.samples

    def _per_sample(self, total_aj: Int64Array) -> FloatArray:
        return np.asarray(total_aj * ATTOJOULE / self.samples)


def estimate_energy(
    artifact: Artifact,
    trace: ExecutionTrace,
    *,
    latency_model: str = DEFAULT_LATENCY_MODEL,
    chip: ChipSpec | None = None,
) -> EnergyReport:
    """Energy and latency per sample of what ``trace`` recorded.

    Args:
        artifact: the compiled program.
        trace: what it did.
        latency_model: what a step waits for, see :mod:`mapping.latency`.
        chip: other constants for the chip that it was compiled for.

    Raises:
        ConfigError: the trace holds no action counts (ADL-ENG-01) or another program's
            (ADL-ENG-02); ``chip`` is another chip (ADL-ENG-03); there is no such latency model
            (ADL-CFG-01).
    """
    work, model = trace.work_for(artifact), LATENCY_MODELS.get(latency_model)
    chip = artifact.chip if chip is None else _same_chip(artifact.chip, chip)
    bounds = (chip.at_bound(-1), chip, chip.at_bound(1))
    skip_idle = chip.capabilities.skip_idle_cores.value
    times = tuple(model.time(bound, work.used_tiles) for bound in bounds)
    sums = accumulate(work, times, skip_idle=skip_idle)
    per_core = np.array([program.compartments for program in artifact.partitioned.cores])
    dark = sums.dark.reshape(trace.steps, -1)
    dark_access = dark * per_core
    counts = {name: own.reshape(dark.shape) for name, own in zip(ACTIONS, sums.counts, strict=True)}
    if skip_idle:
        counts["compartment_access"] = counts["compartment_access"] - dark_access
    return EnergyReport(
        chip=chip,
        latency_model=latency_model,
        samples=trace.samples,
        chips=artifact.placement.used_chips(),
        counts=counts,
        step_bounds_s=sums.step_s / trace.samples,
        core_dark_share=dark.sum(axis=0) / (trace.samples * trace.steps),
        core_dark_s=sums.dark_s[_OWN] / trace.samples,
        core_dark_access=dark_access.sum(axis=0),
    )


def _same_chip(compiled_for: ChipSpec, chip: ChipSpec) -> ChipSpec:
    """``chip``, if programs for ``compiled_for`` are programs for it."""
    for section in ("core", "mesh", "numeric"):
        if getattr(compiled_for, section) != getattr(chip, section):
            raise ConfigError(
                f"its {section} limits are not those of {compiled_for.name}, for which the program "
                "was compiled",
                where=chip.name,
                remedy=f"compile for {chip.name}, or give a target whose base is "
                f"{compiled_for.name} and that changes constants alone",
                code="ADL-ENG-03",
            )
    return chip


def _energy_aj(counts: Mapping[str, Int64Array], chip: ChipSpec) -> dict[str, Int64Array]:
    """Energy by component, in the shape of ``counts`` [aJ]."""
    table = chip.energy_j
    return {
        component: np.sum([counts[a] * _attojoules(getattr(table, a)) for a in actions], axis=0)
        for component, actions in COMPONENTS.items()
    }


def _attojoules(constant: Constant) -> int:
    return round(constant.value / ATTOJOULE)
