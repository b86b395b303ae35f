"""The integer network: what the chip computes, before anybody asks on which core.

A weight is ``mantissa << (9 - weight_bits)``: Lava's signed grid (``SignMode.MIXED``), whose 8-bit
weights are even numbers in [-256, 254]. Mantissas are signed integers of ``weight_bits`` bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, Input, Part, Port, frozen_array
from mapping.ir.synapses import ConvShape, Form, Matrix, Synapses
from mapping.ir.timing import delay_graph, pipeline_latency
from mapping.semantics.fixedpoint import STATE_LIMIT

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]

NEVER = 1 << 17
"""A threshold that no voltage exceeds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerLif:
    """LIF compartments on the chip's number grid; see :mod:`mapping.semantics.fixedpoint`.

    Attributes:
        name, shape: as in the float network.
        du, dv: 12-bit decays; ``u`` keeps ``4095 - du`` and ``v`` ``4096 - dv`` parts of 4096.
        threshold: mantissa, a spike where ``v > threshold << 6``; :data:`NEVER` of leaky
            integrators.
        bias_mantissa: ``(size,)``; bias_exponent: left shift of all of them.
        scale: dendritic units per unit of the float model.
    """

    name: str
    shape: tuple[int, ...]
    du: int
    dv: int
    threshold: int
    bias_mantissa: Int32Array
    bias_exponent: int
    scale: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias_mantissa", frozen_array(self.bias_mantissa, np.int32))

    @property
    def size(self) -> int:
        """Number of compartments."""
        return int(np.prod(self.shape))

    @property
    def spikes(self) -> bool:
        """Whether it can spike; else its voltage is what counts."""
        return self.threshold < NEVER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerRelay:
    """Relay compartments; see :class:`mapping.ir.elements.Relay`.

    Attributes:
        name: population name.
        threshold, bias: ``(rank,)`` in payload units; without a bias it is zero.
        block_bounds, rectified, sigma, delta: as in the float network.
        block_scales: payload units per unit of the float model, one per rank block.
        gates_needed: as in the float network; zeros if not given.
    """

    name: str
    threshold: Int32Array
    block_bounds: tuple[int, ...]
    block_scales: tuple[float, ...]
    gates_needed: tuple[int, ...] = ()
    bias: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    rectified: bool = False
    sigma: bool = False
    delta: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", frozen_array(self.threshold, np.int32))
        bias = self.bias if np.size(self.bias) else np.zeros(self.size)
        object.__setattr__(self, "bias", frozen_array(bias, np.int32))
        needed = self.gates_needed or (0,) * (len(self.block_bounds) - 1)
        object.__setattr__(self, "gates_needed", needed)

    @property
    def needed(self) -> Int32Array:
        """``(rank,)`` gates that each relay needs."""
        return np.repeat(self.gates_needed, np.diff(self.block_bounds)).astype(np.int32)

    @property
    def size(self) -> int:
        """The rank."""
        return int(self.threshold.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rank,)``."""
        return (self.size,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerGate:
    """Gates of one factor pair; see :class:`mapping.ir.elements.Gate`.

    Attributes:
        name: population name.
        bias, cost: ``(size,)`` as in the float network: the price is set at run time.
        scale: gain units per unit of the float model.
        gain_decay, trace_decay: parts of 4096 that gain and trace lose per step.
        trace_threshold: in units of the trace; 0 evaluates every step.
    """

    name: str
    bias: FloatArray
    cost: FloatArray
    scale: float
    gain_decay: int
    trace_decay: int
    trace_threshold: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen_array(self.bias))
        object.__setattr__(self, "cost", frozen_array(self.cost))

    @property
    def size(self) -> int:
        """Number of gates."""
        return int(self.bias.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """``(size,)``."""
        return (self.size,)

    def thresholds(self, price: float) -> Int32Array:
        """``(size,)`` gains above which the gates are on at ``price``, in gain units."""
        wanted = np.rint(self.scale * (price * self.cost - self.bias))
        return np.clip(wanted, -STATE_LIMIT, STATE_LIMIT).astype(np.int32)


IntegerPopulation = Input | IntegerLif | IntegerRelay | IntegerGate


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionSpec:
    """A projection without its weights: from a slice of one population to a slice of another.

    Attributes:
        name: unique name; a factor of rank block ``b`` is called ``layer/V.b`` or ``layer/U.b``.
        layer: projection of the model that it realises; part: what it is of that layer.
        weight_bits: bits per mantissa; exponent: left shift (right if negative, towards -inf) of
            the complete fan-in sum.
        graded: spikes carry a payload, else only their presence counts.
        port: which input of the target it feeds.
        gate, gates_needed: the condition under which the host sends, if any; see
            :class:`mapping.ir.elements.Dense`.
        fused_rank: rank of the factor pair whose product the weights are, 0 if of none.
        form: how the synapses are stored; conv: geometry of a convolution.
        delays: axonal delays of the source compartments in steps beyond one; empty if all are 0.
    """

    name: str
    layer: str
    part: Part
    source: str
    source_start: int
    source_stop: int
    target: str
    target_start: int
    target_stop: int
    weight_bits: int
    exponent: int
    graded: bool
    port: Port = "signal"
    gate: str = ""
    gates_needed: int = 0
    fused_rank: int = 0
    form: Form = "dense"
    conv: ConvShape | None = None
    delays: tuple[int, ...] = ()

    @property
    def longest_delay(self) -> int:
        """The longest axonal delay, in steps beyond one."""
        return max(self.delays, default=0)

    @property
    def rows(self) -> int:
        """Number of target compartments."""
        return self.target_stop - self.target_start

    @property
    def columns(self) -> int:
        """Number of source compartments, the fan-in."""
        return self.source_stop - self.source_start

    @property
    def weight_shift(self) -> int:
        """Left shift that turns a mantissa into a weight."""
        return 9 - self.weight_bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerProjection:
    """A projection with its synapses, whose values are int8 mantissas."""

    spec: ProjectionSpec
    synapses: Synapses

    def __post_init__(self) -> None:
        mantissas = frozen_array(self.synapses.values, np.int8)
        object.__setattr__(self, "synapses", self.synapses.with_values(mantissas))

    @property
    def mantissas(self) -> Int8Array:
        """The parameters of its synapses, in the shape that their form has."""
        return self.synapses.values

    @property
    def weights(self) -> Matrix:
        """``(rows, columns)`` int64 weights on Lava's grid."""
        return self.synapses.matrix().astype(np.int64) * (1 << self.spec.weight_shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFidelity:
    """How well one integer projection stands for its float weights.

    Attributes:
        projection: its name.
        relative_error: Frobenius norm of the difference over that of the float weights.
        clipped: share of weights beyond the grid; zeroed: share of non-zero weights that became 0.
    """

    projection: str
    relative_error: float
    clipped: float
    zeroed: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedNetwork:
    """Integers only; the same graph conventions as :class:`mapping.ir.network.Network`."""

    name: str
    dt_s: float
    populations: tuple[IntegerPopulation, ...]
    projections: tuple[IntegerProjection, ...]
    output: str
    fidelity: tuple[WeightFidelity, ...] = ()

    @property
    def input(self) -> Input:
        """The input population."""
        return input_of(self.populations)

    def population(self, name: str) -> IntegerPopulation:
        """The population called ``name``."""
        return next(p for p in self.populations if p.name == name)

    def graph(self) -> nx.DiGraph[str]:
        """Populations as nodes, signal projections as edges with their longest delay."""
        return projection_graph(self.populations, [p.spec for p in self.projections])

    @property
    def latency_steps(self) -> int:
        """Steps from the input to the output."""
        return pipeline_latency(self.graph(), self.input.name, self.output)


def input_of(populations: tuple[IntegerPopulation, ...]) -> Input:
    """The input population among ``populations``."""
    return next(p for p in populations if isinstance(p, Input))


def projection_graph(
    populations: tuple[IntegerPopulation, ...], specs: list[ProjectionSpec]
) -> nx.DiGraph[str]:
    """Populations as nodes, signal projections as edges with their longest delay."""
    edges = [(s.source, s.target, 1 + s.longest_delay) for s in specs if s.port == "signal"]
    return delay_graph([p.name for p in populations], edges)
