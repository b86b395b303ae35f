"""Compare what two backends did, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.errors import SimulationError
from simulators.trace import ExecutionTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The earliest place at which two traces differ.

    Attributes:
        quantity: ``spikes``, ``u`` or ``v``.
        population, sample, step, neuron: where.
        values: the value in either trace.
    """

    quantity: str
    population: str
    sample: int
    step: int
    neuron: int
    values: tuple[int, int]


def first_difference(a: ExecutionTrace, b: ExecutionTrace) -> Difference | None:
    """The earliest step at which spikes, or states that both recorded, differ; else None.

    Within a step the populations are searched in the order of the data flow, states first.
    """
    found: list[Difference] = []
    for quantity in ("u", "v", "spikes"):
        left, right = getattr(a, quantity), getattr(b, quantity)
        for population in (name for name in left if name in right):
            places = np.argwhere(left[population] != right[population])
            if len(places):
                sample, step, neuron = (int(i) for i in places[places[:, 1].argmin()])
                here = (sample, step, neuron)
                found.append(
                    Difference(
                        quantity=quantity,
                        population=population,
                        sample=sample,
                        step=step,
                        neuron=neuron,
                        values=(int(left[population][here]), int(right[population][here])),
                    )
                )
    order = list(a.spikes)
    return min(
        found,
        key=lambda d: (d.step, order.index(d.population), d.quantity == "spikes"),
        default=None,
    )


def require_equal(*traces: ExecutionTrace, where: str) -> None:
    """Raise unless all traces agree in every step.

    Args:
        traces: what to compare with the first of them.
        where: what ran, for the error.

    Raises:
        SimulationError: ADL-SIM-10, naming the first place at which two backends differ, or what
            one of them did not record.
    """
    for other in traces[1:]:
        for quantity in ("u", "v", "spikes"):
            left, right = (
                {name: values.shape for name, values in getattr(trace, quantity).items()}
                for trace in (traces[0], other)
            )
            if left != right:
                raise SimulationError(
                    f"{traces[0].backend} recorded {quantity} of {left}, "
                    f"{other.backend} of {right}",
                    where=where,
                    remedy="run both with the same input and probes",
                    code="ADL-SIM-10",
                )
        difference = first_difference(traces[0], other)
        if difference:
            d = difference
            raise SimulationError(
                f"{traces[0].backend} and {other.backend} differ first in {d.quantity} of "
                f"{d.population}[{d.neuron}], sample {d.sample}, step {d.step}: "
                f"{d.values[0]} against {d.values[1]}",
                where=where,
                remedy="report this as a bug, with the artifact and the input",
                code="ADL-SIM-10",
            )
