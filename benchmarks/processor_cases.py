"""A network that was measured on conventional hardware, beside the processors nearest to it.

python benchmarks/processor_cases.py

Blouw et al., Benchmarking Keyword Spotting Efficiency on Neuromorphic Hardware (2019,
arXiv:1812.01739): 390-256-256-29 neurons, 172,800 multiply-adds, one sample at a time, in
TensorFlow. Their energy per inference is dynamic: power while it runs minus power at rest.

None of the measured parts is modelled, only younger ones of the same kind, and the model has no
framework: this tells how much of a measurement the model leaves out, not how right it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chip_networks import dense_chain
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from silicon_cases import KEYWORDS

from mapping.processors.load import load_processor
from mapping.units import with_prefix
from simulators.energy.conventional import ProcessorEstimate, on_processor, workload


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A part on silicon: its power at rest and while it runs [W], and inferences per second."""

    part: str
    nearest: str
    idle_w: float
    running_w: float
    rate_per_s: float

    @property
    def running_j(self) -> float:
        """Energy of an inference, rest included [J]."""
        return self.running_w / self.rate_per_s

    @property
    def dynamic_j(self) -> float:
        """Energy of an inference beyond rest [J]."""
        return (self.running_w - self.idle_w) / self.rate_per_s


MEASURED = (
    Measured(part="Quadro K4000", nearest="v100", idle_w=14.97, running_w=37.83, rate_per_s=770.39),
    Measured(part="Xeon E5-2630", nearest="cpu", idle_w=17.01, running_w=28.48, rate_per_s=1813.63),
    Measured(
        part="Jetson TX1", nearest="jetson-orin-nano", idle_w=2.64, running_w=4.98, rate_per_s=419
    ),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A figure of a measured part, and that of the model nearest to it."""

    part: str
    nearest: str
    metric: str
    unit: str
    measured: float
    modelled: float

    @property
    def share(self) -> float:
        """What the model has of the measurement."""
        return self.modelled / self.measured


def estimate(processor: str) -> ProcessorEstimate:
    """The network on ``processor``, one sample of one step."""
    return on_processor(workload(dense_chain(KEYWORDS), steps=1), load_processor(processor))


def comparisons() -> Iterator[Comparison]:
    """Time, energy with rest and energy beyond rest of every part."""
    for part in MEASURED:
        own = estimate(part.nearest)
        rows = (
            ("time", "s", 1 / part.rate_per_s, own.latency_s),
            ("energy, rest included", "J", part.running_j, own.energy_j),
            ("energy beyond rest", "J", part.dynamic_j, own.op_j + own.memory_j),
        )
        for metric, unit, measured, modelled in rows:
            yield Comparison(
                part=part.part,
                nearest=part.nearest,
                metric=metric,
                unit=unit,
                measured=measured,
                modelled=modelled,
            )


def table(found: list[Comparison]) -> Table:
    """One row per figure."""
    headings = ("measured on", "measured", "modelled for", "modelled", "model has", "of")
    shown = Table(*headings, box=SIMPLE)
    for one in found:
        shown.add_row(
            one.part,
            with_prefix(one.measured, one.unit),
            one.nearest,
            with_prefix(one.modelled, one.unit),
            f"{one.share:.2%}",
            one.metric,
        )
    return shown


if __name__ == "__main__":
    Console(width=120).print(table(list(comparisons())))
