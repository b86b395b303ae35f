"""Populations and projections of the float network; :mod:`mapping.ir.network` joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import index
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mapping.errors import ConfigError
from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    FloatArray,
    IntArray,
    SparseSynapses,
    checked_array,
    frozen_array,
)

Part = Literal["full", "V", "U", "bias", "gate", "sum"]
"""What a projection is of its layer: all of it, a factor, level biases, of use to the gate, or the
sum of the parts that its fan-in was split into."""
Port = Literal["signal", "control"]
"""Which input of its target a projection feeds; only relays and gates listen to ``control``."""


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(index(value) for value in values)


def _plain(element: object, **kinds: Callable[[Any], object]) -> None:
    """Turn NumPy scalars among the fields of a frozen dataclass into Python's own."""
    for name, kind in kinds.items():
        object.__setattr__(element, name, kind(getattr(element, name)))


def _arrays(element: Dense | _Wiring, **kinds: npt.DTypeLike) -> None:
    """Freeze arrays among the fields of a frozen dataclass."""
    for name, dtype in kinds.items():
        array = checked_array(element.name, name, getattr(element, name), dtype)
        object.__setattr__(element, name, array)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """A population whose spikes come from outside.

    Attributes:
        name: unique population name.
        shape: shape of one step's payloads.
        payload_min, payload_max: inclusive range of the integer payloads; ``0..1`` means binary.
        payload_scale: float value of one payload unit.
        delta: payloads are the changes of a signal that starts at 0; the range is the signal's.
    """

    name: str
    shape: tuple[int, ...]
    payload_min: int = 0
    payload_max: int = 1
    payload_scale: float = 1.0
    delta: bool = False

    def __post_init__(self) -> None:
        _plain(self, shape=_ints, payload_min=index, payload_max=index, payload_scale=float)

    @property
    def size(self) -> int:
        """Number of compartments, the product of ``shape``."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lif:
    """Leaky integrate-and-fire neurons with a synaptic current (reset to zero, forward Euler).

    Attributes:
        name: unique population name.
        shape: population shape.
        current_decay: factor that ``u`` keeps per step, in ``[0, 1)``.
        voltage_decay: factor that ``v`` keeps per step, in ``(0, 1]``.
        threshold: firing threshold, positive.
        bias: ``(size,)`` added to ``v`` in every step; zeros if not given.
    """

    name: str
    shape: tuple[int, ...]
    current_decay: float
    voltage_decay: float
    threshold: float
    bias: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        _plain(self, shape=_ints, current_decay=float, voltage_decay=float, threshold=float)
        bias = self.bias if np.size(self.bias) else np.zeros(max(self.size, 0))
        object.__setattr__(self, "bias", frozen_array(bias))

    @property
    def size(self) -> int:
        """Number of compartments, the product of ``shape``."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Li:
    """Leaky integrators that never spike: their voltage is the answer, summed over the steps.

    Attributes:
        name: unique population name.
        shape: population shape.
        current_decay: factor that ``u`` keeps per step, in ``[0, 1)``.
        voltage_decay: factor that ``v`` keeps per step, in ``(0, 1]``.
        bias: ``(size,)`` added to ``v`` in every step; zeros if not given.
    """

    name: str
    shape: tuple[int, ...]
    current_decay: float
    voltage_decay: float
    bias: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        _plain(self, shape=_ints, current_decay=float, voltage_decay=float)
        bias = self.bias if np.size(self.bias) else np.zeros(max(self.size, 0))
        object.__setattr__(self, "bias", frozen_array(bias))

    @property
    def size(self) -> int:
        """Number of compartments, the product of ``shape``."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relay:
    """Graded compartments: relays between two factors, level biases, scorers, traces.

    With ``a`` the signal and ``c`` the control input of a step, per compartment::

        z = (z if sigma else 0) + a + bias
        gates_on = gates_on + c
        x = max(z, 0) if rectified else z
        x = x if gates_on >= gates_needed[block] else 0
        delta:  d = x - held;  send d and set held = held + d  where |d| > threshold
        else:   send x                                         where |x| > threshold

    Attributes:
        name: unique population name.
        threshold: ``(size,)``, in units of ``z``, non-negative.
        block_bounds: ``(0, …, size)``; block ``b`` is ``block_bounds[b]:block_bounds[b + 1]``.
        gates_needed: gates that must be on for a block to send, one number per block; zeros if not
            given.
        bias: ``(size,)`` added to the signal in every step; zeros if not given.
        rectified: negative ``z`` counts as 0.
        sigma: the signal is summed over the steps.
        delta: only changes are sent.
    """

    name: str
    threshold: FloatArray
    block_bounds: tuple[int, ...]
    gates_needed: tuple[int, ...] = ()
    bias: FloatArray = field(default_factory=lambda: np.zeros(0))
    rectified: bool = False
    sigma: bool = False
    delta: bool = False

    def __post_init__(self) -> None:
        _plain(self, block_bounds=_ints, gates_needed=_ints)
        object.__setattr__(self, "threshold", frozen_array(self.threshold))
        bias = self.bias if np.size(self.bias) else np.zeros(self.size)
        object.__setattr__(self, "bias", frozen_array(bias))
        needed = self.gates_needed or (0,) * (len(self.block_bounds) - 1)
        object.__setattr__(self, "gates_needed", needed)

    @property
    def size(self) -> int:
        """The rank."""
        return int(self.threshold.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rank,)``."""
        return (self.size,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gate:
    """Threshold compartments that switch rank blocks, one per step from a level to the next.

    With ``a`` the signal and ``c`` the control input of a step, per compartment::

        gain = decay * gain + a
        trace = trace_decay * trace + c
        where trace_threshold == 0 or |trace - seen| > trace_threshold:
            seen = trace
            on = gain + bias > price * cost
        send on - (on before): +1, -1 or nothing

    ``price`` is set at run time: it is the energy budget's only knob. All start off, at zero.

    Attributes:
        name: unique population name.
        bias: ``(size,)`` constant part of the predicted gain.
        cost: ``(size,)`` what the next level costs more than this one, positive (``ΔE_k``).
        decay: factor that the gain keeps per step, in ``[0, 1]``.
        trace_decay: factor that the trace keeps per step, in ``[0, 1]``.
        trace_threshold: change of the trace that triggers an evaluation; 0 evaluates every step.
    """

    name: str
    bias: FloatArray
    cost: FloatArray
    decay: float = 0.0
    trace_decay: float = 0.0
    trace_threshold: float = 0.0

    def __post_init__(self) -> None:
        _plain(self, decay=float, trace_decay=float, trace_threshold=float)
        object.__setattr__(self, "bias", frozen_array(self.bias))
        object.__setattr__(self, "cost", frozen_array(self.cost))

    @property
    def size(self) -> int:
        """Number of gates, one less than the levels they switch."""
        return int(self.bias.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(size,)``."""
        return (self.size,)


Population = Input | Lif | Li | Relay | Gate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense:
    """All-to-all synapses ``a = weight @ s``.

    Attributes:
        name: unique projection name.
        source, target: population names.
        weight: ``(target size, source compartments read)``.
        layer: the projection of the model that this one realises; its own name by default.
        part: what it is of that layer.
        port: which input of the target it feeds.
        source_start, source_stop: the source compartments that it reads; to the last if None.
        gate: a gate population that reports to the host, or nothing. A block of the target, a
            relay, is then open while the first ``gates_needed`` of the gates were all on in the
            step before, and the host sends to open blocks only. If the input is coded by changes,
            it sends the sum so far to a block that opens, and takes it back when it closes.
        gates_needed: one number per block of the target, with ``gate`` only.
        fused_rank: rank of the factor pair whose product the weights are, 0 if of none.
        delays: ``(source compartments read,)`` axonal delays, the steps that a spike takes beyond
            one; zeros if not given.
    """

    name: str
    source: str
    target: str
    weight: FloatArray
    layer: str = ""
    part: Part = "full"
    port: Port = "signal"
    source_start: int = 0
    source_stop: int | None = None
    gate: str = ""
    gates_needed: tuple[int, ...] = ()
    fused_rank: int = 0
    delays: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        _plain(self, source_start=index, gates_needed=_ints, fused_rank=index)
        _arrays(self, weight=np.float64, delays=np.int64)
        object.__setattr__(self, "layer", self.layer or self.name)

    def columns(self, source: Population) -> slice:
        """The compartments of its ``source`` that it reads."""
        return slice(
            self.source_start, source.size if self.source_stop is None else self.source_stop
        )

    @property
    def synapses(self) -> DenseSynapses:
        """The weights."""
        return DenseSynapses(values=self.weight)

    @property
    def delay(self) -> int:
        """Steps from a spike to its last effect."""
        return 1 + int(self.delays.max(initial=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wiring:
    """What the projections below have in common with :class:`Dense`, which can do more.

    Attributes:
        name: unique projection name.
        source, target: population names.
        delays: as in :class:`Dense`.
    """

    name: str
    source: str
    target: str
    delays: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    part: ClassVar[Part] = "full"
    port: ClassVar[Port] = "signal"
    gate: ClassVar[str] = ""
    gates_needed: ClassVar[tuple[int, ...]] = ()
    fused_rank: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _arrays(self, delays=np.int64)

    @property
    def layer(self) -> str:
        """The projection of the model that it realises: itself."""
        return self.name

    def columns(self, source: Population) -> slice:
        """The compartments of its ``source`` that it reads: all."""
        return slice(0, source.size)

    @property
    def delay(self) -> int:
        """Steps from a spike to its last effect."""
        return 1 + int(self.delays.max(initial=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sparse(_Wiring):
    """Synapses between some pairs of compartments.

    Attributes:
        synapses: float weights, ``(target size, source size)``; a SciPy sparse array or a matrix
            becomes what :meth:`SparseSynapses.of` makes of it.
    """

    synapses: SparseSynapses

    def __post_init__(self) -> None:
        _Wiring.__post_init__(self)
        given: object = self.synapses
        listed = given if isinstance(given, SparseSynapses) else SparseSynapses.of(given)
        values = checked_array(self.name, "synapses", listed.values)
        object.__setattr__(self, "synapses", listed.with_values(values))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv2d(_Wiring):
    """A convolution over the spikes of a population of shape (channels, height, width).

    Attributes:
        weight: of the shape that ``conv`` says.
        conv: geometry; its outputs are the shape of the target.
    """

    weight: FloatArray
    conv: ConvShape

    def __post_init__(self) -> None:
        _Wiring.__post_init__(self)
        _arrays(self, weight=np.float64)

    @property
    def synapses(self) -> ConvSynapses:
        """The weights."""
        return ConvSynapses.whole(self.weight, self.conv)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SumPool2d(_Wiring):
    """Sums over windows of each channel, times one ``weight``.

    Attributes:
        conv: geometry, with as many groups and output channels as input channels.
        weight: of every synapse; the mean over a window needs one over its size.
    """

    conv: ConvShape
    weight: float = 1.0

    def __post_init__(self) -> None:
        _Wiring.__post_init__(self)
        _arrays(self, weight=np.float64)
        if np.ndim(self.weight):
            raise ConfigError(
                f"weight has shape {np.shape(self.weight)}, expected one number",
                where=self.name,
                remedy="give the one weight of all its synapses, or use Conv2d",
                code="ADL-NET-04",
            )
        _plain(self, weight=float)

    @property
    def synapses(self) -> ConvSynapses:
        """The weights."""
        values = np.full(self.conv.weight_shape, self.weight)
        return ConvSynapses.whole(values, self.conv)


Wiring = Dense | Sparse | Conv2d | SumPool2d
"""Projections that synapses realise one for one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankGate:
    """How a factor pair chooses its rank, step by step; a part of :class:`LowRank`.

    The gain of going from level ``k`` to ``k + 1`` is predicted from what the relays of the first
    rank block send, ``f``: gate ``k`` reads ``weight[k] @ f``, or, with a rectified population
    between, ``weight[k] @ max(hidden_weight @ f + hidden_bias, 0)``; see :class:`Gate` for the
    rest. A decision takes effect :attr:`delay` steps after the features it is made from.

    Attributes:
        weight: ``(levels - 1, features)``, or ``(levels - 1, hidden)`` with a hidden population.
        bias, cost, decay, trace_decay, trace_threshold: as in :class:`Gate`; the trace sums the
            layer's input.
        hidden_weight: ``(hidden, features)``; no hidden population if not given.
        hidden_bias: ``(hidden,)``.
        at: what a closed gate holds back: ``"relay"``, what the relays would send; ``"source"``,
            what the host would send to them.
    """

    weight: FloatArray
    bias: FloatArray
    cost: FloatArray
    decay: float = 0.0
    trace_decay: float = 0.0
    trace_threshold: float = 0.0
    hidden_weight: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    hidden_bias: FloatArray = field(default_factory=lambda: np.zeros(0))
    at: Literal["relay", "source"] = "relay"

    def __post_init__(self) -> None:
        _plain(self, decay=float, trace_decay=float, trace_threshold=float)
        for name in ("weight", "bias", "cost", "hidden_weight", "hidden_bias"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def hidden(self) -> int:
        """Size of the rectified population, 0 for a linear gate."""
        return int(self.hidden_bias.size)

    @property
    def delay(self) -> int:
        """Steps from the features to the effect: one per projection on the way."""
        return 2 + (self.hidden > 0) + (self.at == "source")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LowRank:
    """A factor pair ``a = U @ relay(V.T @ s)``, two steps of delay.

    Attributes:
        name: unique projection name.
        source, target: population names.
        U: ``(target size, rank)``; V: ``(source size, rank)``; √S is folded into both and the
            columns are sorted by falling singular value.
        levels: increasing ranks at which the pair may run; the last one is the full rank.
        relay_threshold: ``(rank,)``, in units of ``V.T @ s``; zeros if not given.
        sigma, delta: of the relays, see :class:`Relay`.
        level_bias: ``(levels - 1, target size)`` added to the target's input in every step while
            a level above the first is reached, each on top of the ones below (with ``delta``,
            once when it is reached, and taken back when it is left); none if not given.
        gate: chooses the level at run time; without it the pair runs at full rank.
    """

    name: str
    source: str
    target: str
    U: FloatArray
    V: FloatArray
    levels: tuple[int, ...]
    relay_threshold: FloatArray = field(default_factory=lambda: np.zeros(0))
    sigma: bool = False
    delta: bool = False
    level_bias: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    gate: RankGate | None = None

    def __post_init__(self) -> None:
        _plain(self, levels=_ints)
        object.__setattr__(self, "U", frozen_array(self.U))
        object.__setattr__(self, "V", frozen_array(self.V))
        object.__setattr__(self, "level_bias", frozen_array(self.level_bias))
        rank = self.V.shape[-1] if self.V.ndim else 0
        threshold = self.relay_threshold if np.size(self.relay_threshold) else np.zeros(rank)
        object.__setattr__(self, "relay_threshold", frozen_array(threshold))

    @property
    def rank(self) -> int:
        """Number of columns of both factors."""
        return int(self.V.shape[1])

    @property
    def delay(self) -> int:
        """Steps from a spike to its effect."""
        return 2


Projection = Wiring | LowRank
