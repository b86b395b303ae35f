"""The float network: what a front end hands to the compiler.

Time is discrete, in steps of ``dt_s`` seconds, and every convention is explicit:

* A :class:`Dense` projection delivers the spikes of step ``t`` at step ``t + 1``; a
  :class:`LowRank` projection goes through its relay and delivers at ``t + 2``. Neurons add no
  delay. Populations start from zero state and biases act from step 0.
* :class:`Lif`: ``u[t] = current_decay * u[t-1] + a[t]``, ``v[t] = voltage_decay * v[t-1] + u[t] +
  bias``, a spike where ``v[t] > threshold`` (strict), then ``v[t] = 0`` at once; ``u`` is kept.
* :class:`Input` carries integer payloads; one unit of payload stands for ``payload_scale``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import index
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from mapping.errors import ConfigError, UnsupportedModelError
from mapping.ir.timing import delay_graph

FloatArray = npt.NDArray[np.float64]


def frozen_array(
    values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[np.generic]:
    """A read-only, C-contiguous copy of ``values``."""
    array = np.array(values, dtype=dtype, order="C", copy=True)
    array.setflags(write=False)
    return array


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(index(value) for value in values)


def _plain(element: object, **kinds: Callable[[Any], object]) -> None:
    """Turn NumPy scalars among the fields of a frozen dataclass into Python's own."""
    for name, kind in kinds.items():
        object.__setattr__(element, name, kind(getattr(element, name)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """A population whose spikes come from outside.

    Attributes:
        name: unique population name.
        shape: shape of one step's payloads.
        payload_min, payload_max: inclusive range of the integer payloads; ``0..1`` means binary.
        payload_scale: float value of one payload unit.
    """

    name: str
    shape: tuple[int, ...]
    payload_min: int = 0
    payload_max: int = 1
    payload_scale: float = 1.0

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
class Relay:
    """Relay compartments between the two factors of a low-rank projection.

    A relay sends its input ``z`` as a graded spike in the same step when ``|z| > threshold``.

    Attributes:
        name: unique population name.
        threshold: ``(rank,)``, in units of ``z``, non-negative.
        block_bounds: ``(0, …, rank)``; block ``b`` is ``block_bounds[b]:block_bounds[b + 1]``.
    """

    name: str
    threshold: FloatArray
    block_bounds: tuple[int, ...]

    def __post_init__(self) -> None:
        _plain(self, block_bounds=_ints)
        object.__setattr__(self, "threshold", frozen_array(self.threshold))

    @property
    def size(self) -> int:
        """The rank."""
        return int(self.threshold.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rank,)``."""
        return (self.size,)


Population = Input | Lif | Relay


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense:
    """All-to-all synapses ``a = weight @ s``, one step of delay.

    Attributes:
        name: unique projection name.
        source, target: population names.
        weight: ``(target size, source size)``.
        layer: the projection of the model that this one realises; its own name by default.
    """

    name: str
    source: str
    target: str
    weight: FloatArray
    layer: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight))
        object.__setattr__(self, "layer", self.layer or self.name)

    @property
    def delay(self) -> int:
        """Steps from a spike to its effect."""
        return 1


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
    """

    name: str
    source: str
    target: str
    U: FloatArray
    V: FloatArray
    levels: tuple[int, ...]
    relay_threshold: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        _plain(self, levels=_ints)
        object.__setattr__(self, "U", frozen_array(self.U))
        object.__setattr__(self, "V", frozen_array(self.V))
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


Projection = Dense | LowRank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Populations joined by projections; validated on construction.

    Attributes:
        name: what the reports call it.
        dt_s: duration that one step stands for in the model's own time [s].
        populations, projections: in declaration order; names are unique over both.
        output: the population whose spikes are the answer.

    Raises:
        ConfigError: a name, shape or value is wrong (ADL-NET-01 … ADL-NET-05).
        UnsupportedModelError: not exactly one input, or no path to the output (ADL-NET-06).
    """

    name: str
    dt_s: float
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    output: str

    def __post_init__(self) -> None:
        _plain(self, dt_s=float)
        _check_names(self)
        for population in self.populations:
            _check_population(population)
        for projection in self.projections:
            _check_projection(self, projection)
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
        """Populations as nodes, projections as edges with their ``delay`` in steps."""
        return delay_graph(
            [p.name for p in self.populations],
            [(p.source, p.target, p.delay) for p in self.projections],
        )


def _check_names(network: Network) -> None:
    names = [e.name for e in (*network.populations, *network.projections)]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates or not all(names):
        raise ConfigError(
            f"names must be unique and non-empty, but found duplicates {duplicates}",
            where=f"network {network.name}",
            remedy="rename populations and projections",
            code="ADL-NET-01",
        )
    known = {p.name for p in network.populations}
    ends = {(p.name, end) for p in network.projections for end in (p.source, p.target)}
    missing = sorted({(n, e) for n, e in ends if e not in known})
    if network.output not in known:
        missing.append((network.name, network.output))
    if missing:
        raise ConfigError(
            f"refers to the unknown population {missing[0][1]!r}",
            where=missing[0][0],
            remedy=f"use one of: {', '.join(sorted(known))}",
            code="ADL-NET-02",
        )
    if not (np.isfinite(network.dt_s) and network.dt_s > 0):
        raise ConfigError(
            f"dt_s is {network.dt_s}",
            where=f"network {network.name}",
            remedy="give the step duration as a positive number of seconds",
            code="ADL-NET-03",
        )


def _population_rules(population: Population) -> list[tuple[bool, str, str]]:
    """Rows of (holds, what is wrong, remedy) for one population."""
    rules = [
        (
            all(extent > 0 for extent in population.shape),
            f"shape {population.shape} holds no compartment",
            "give positive extents",
        )
    ]
    match population:
        case Input(payload_min=low, payload_max=high, payload_scale=scale):
            rules += [
                (low <= 0 < high, f"payload range {low}..{high}", "let the range include 0 and 1"),
                (np.isfinite(scale) and scale > 0, f"payload_scale {scale}", "make it positive"),
            ]
        case Lif(current_decay=alpha, voltage_decay=beta, threshold=threshold, bias=bias):
            rules += [
                (0 <= alpha < 1, f"current_decay {alpha} is outside [0, 1)", "choose one inside"),
                (0 < beta <= 1, f"voltage_decay {beta} is outside (0, 1]", "choose one inside"),
                (
                    bool(np.isfinite(threshold)) and threshold > 0,
                    f"threshold {threshold}",
                    "make it positive and finite",
                ),
                (
                    bias.shape == (population.size,),
                    f"bias has shape {bias.shape}, the population {population.size} compartments",
                    "give one bias per compartment",
                ),
            ]
        case Relay(threshold=thresholds, block_bounds=bounds):
            rules += [
                (thresholds.ndim == 1, "relay thresholds are no vector", "give one per relay"),
                (bool((thresholds >= 0).all()), "a relay threshold is negative", "make it ≥ 0"),
                (
                    bool(bounds)
                    and bounds[0] == 0
                    and bounds[-1] == population.size
                    and all(a < b for a, b in itertools.pairwise(bounds)),
                    f"block bounds {bounds} do not cut {population.size} relays into blocks",
                    "start at 0, increase, end at the rank",
                ),
            ]
    return rules


def _check_population(population: Population) -> None:
    match population:
        case Lif(bias=bias):
            _check_finite(population.name, bias=bias)
        case Relay(threshold=threshold):
            _check_finite(population.name, threshold=threshold)
    for holds, message, remedy in _population_rules(population):
        if not holds:
            raise ConfigError(message, where=population.name, remedy=remedy, code="ADL-NET-03")


def _check_projection(network: Network, projection: Projection) -> None:
    source = network.population(projection.source).size
    target_population = network.population(projection.target)
    target = target_population.size
    if isinstance(target_population, Input):
        raise ConfigError(
            f"targets the input population {projection.target!r}",
            where=projection.name,
            remedy="inputs receive spikes only from outside; target another population",
            code="ADL-NET-02",
        )
    match projection:
        case Dense(weight=weight):
            shapes: dict[str, tuple[FloatArray, tuple[int, ...]]] = {
                "weight": (weight, (target, source))
            }
        case LowRank(U=U, V=V, levels=levels, relay_threshold=threshold):
            rank = V.shape[-1] if V.ndim else 0
            shapes = {
                "U": (U, (target, rank)),
                "V": (V, (source, rank)),
                "relay_threshold": (threshold, (rank,)),
            }
            rising = all(a < b for a, b in itertools.pairwise(levels))
            if not levels or levels[0] < 1 or levels[-1] != rank or not rising:
                raise ConfigError(
                    f"levels {levels} are not increasing ranks that end at the full rank {rank}",
                    where=projection.name,
                    remedy="list the ranks in increasing order, the last equal to V.shape[1]",
                    code="ADL-NET-03",
                )
    for key, (array, expected) in shapes.items():
        if array.shape != expected:
            raise ConfigError(
                f"{key} has shape {array.shape}, expected {expected}",
                where=projection.name,
                remedy=f"give {key} as (target, source) sizes demand: {expected}",
                code="ADL-NET-04",
            )
    _check_finite(projection.name, **{key: array for key, (array, _) in shapes.items()})
    if isinstance(projection, LowRank) and (projection.relay_threshold < 0).any():
        raise ConfigError(
            "a relay threshold is negative",
            where=projection.name,
            remedy="make it ≥ 0",
            code="ADL-NET-03",
        )


def _check_finite(where: str, **arrays: FloatArray) -> None:
    for key, array in arrays.items():
        bad = int(array.size - np.isfinite(array).sum())
        if bad:
            first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ConfigError(
                f"{key} holds {bad} NaN or infinite values, the first at {first}",
                where=where,
                remedy="retrain or repair the model before export",
                code="ADL-NET-05",
            )
