"""The float network: what a front end hands to the compiler.

Time is discrete, in steps of ``dt_s`` seconds, and every convention is explicit:

* A projection delivers the spikes of step ``t`` at step ``t + 1``, plus the axonal delay of the
  source compartment if it has ``delays``; a :class:`LowRank` projection goes through its relay and
  delivers at ``t + 2``. Neurons add no delay. Populations start from zero state and biases act
  from step 0.
* :class:`Lif`: ``u[t] = current_decay * u[t-1] + a[t]``, ``v[t] = voltage_decay * v[t-1] + u[t] +
  bias``, a spike where ``v[t] > threshold`` (strict), then ``v[t] = 0`` at once; ``u`` is kept.
  :class:`Li` is the same without a threshold.
* :class:`Input` carries integer payloads; one unit of payload stands for ``payload_scale``.
* :class:`Relay` and :class:`Gate` state their equations; both listen to a second, *control* input
  besides their *signal*.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from mapping.errors import UnsupportedModelError
from mapping.ir.elements import (
    Conv2d,
    Dense,
    Gate,
    Input,
    Li,
    Lif,
    LowRank,
    Part,
    Population,
    Port,
    Projection,
    RankGate,
    Relay,
    Sparse,
    SumPool2d,
    Wiring,
)
from mapping.ir.network_rules import check_names, check_population, check_projection
from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    FloatArray,
    SparseSynapses,
    frozen_array,
)
from mapping.ir.timing import delay_graph

__all__ = [
    "Conv2d",
    "ConvShape",
    "ConvSynapses",
    "Dense",
    "DenseSynapses",
    "FloatArray",
    "Gate",
    "Input",
    "Li",
    "Lif",
    "LowRank",
    "Network",
    "Part",
    "Population",
    "Port",
    "Projection",
    "RankGate",
    "Relay",
    "Sparse",
    "SparseSynapses",
    "SumPool2d",
    "Wiring",
    "frozen_array",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Populations joined by projections; validated on construction.

    Attributes:
        name: what the reports call it.
        dt_s: duration that one step stands for in the model's own time [s].
        populations, projections: in declaration order; names are unique over both.
        output: the population whose spikes are the answer, or its voltage if it is :class:`Li`;
            no other population may be that.

    Raises:
        ConfigError: a name, shape or value is wrong (ADL-NET-01 … ADL-NET-05,
            ADL-NET-07).
        UnsupportedModelError: not exactly one input, or no path to the output (ADL-NET-06).
    """

    name: str
    dt_s: float
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    output: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt_s", float(self.dt_s))
        check_names(self.name, self.dt_s, self.populations, self.projections, self.output)
        for population in self.populations:
            check_population(population)
        for projection in self.projections:
            check_projection(projection, {p.name: p for p in self.populations})
        inputs = [p.name for p in self.populations if isinstance(p, Input)]
        if (
            len(inputs) != 1
            or self.output in inputs
            or not nx.has_path(self.graph(), inputs[0], self.output)
        ):
            raise UnsupportedModelError(
                f"needs one input population with a path to another, the output {self.output!r}, "
                f"but has the input populations {inputs}",
                where=f"network {self.name}",
                remedy="join the inputs into one population and connect it through projections",
                code="ADL-NET-06",
            )

    @property
    def input(self) -> Input:
        """The input population."""
        return next(p for p in self.populations if isinstance(p, Input))

    def population(self, name: str) -> Population:
        """The population called ``name``."""
        return next(p for p in self.populations if p.name == name)

    def incoming(self, population: str) -> tuple[Projection, ...]:
        """The projections that target ``population``."""
        return tuple(p for p in self.projections if p.target == population)

    def graph(self) -> nx.DiGraph[str]:
        """Populations as nodes, signal projections as edges with their ``delay`` in steps."""
        return delay_graph(
            [p.name for p in self.populations],
            [
                (p.source, p.target, p.delay)
                for p in self.projections
                if isinstance(p, LowRank) or p.port == "signal"
            ],
        )
