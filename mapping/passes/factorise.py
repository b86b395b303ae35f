"""Replace dense layers of a network by factor pairs, where that takes less energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from mapping.errors import ConfigError
from mapping.ir.network import (
    Conv2d,
    Dense,
    FloatArray,
    Input,
    Li,
    Lif,
    LowRank,
    Network,
    Projection,
    Sparse,
    SumPool2d,
)
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.ir.timing import lateness
from mapping.lowrank import plain_svd, whitened_svd
from mapping.passes.layer_cost import LayerCost, SourceActivity
from mapping.targets.spec import ChipSpec
from mapping.units import with_prefix

Realisation = Literal["full", "fused", "factored"]
Whitening = Literal["measured second moment", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChoice:
    """What became of one layer when a rank was asked for.

    Attributes:
        layer: its name.
        realisation: one matrix as given, one matrix of that rank, or a factor pair.
        rank: of the weights; min(in, out) of a full matrix.
        why: the reason, for people.
        whitening: of the singular value decomposition.
        full_j, factored_j: modelled dynamic energy per step of one matrix and of the pair [J];
            None where the layer cannot be a pair.
        truncation_error: Frobenius norm of what the rank leaves out over that of the weights,
            before they are rounded; 0 of a full matrix.
    """

    layer: str
    realisation: Realisation
    rank: int
    why: str
    whitening: Whitening = "none"
    full_j: float | None = None
    factored_j: float | None = None
    truncation_error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Factorised:
    """A network with layers of low rank, and what was chosen for each, by layer."""

    network: Network
    choices: dict[str, LayerChoice]


@dataclass(slots=True, kw_only=True)
class Factors:
    """The factors of dense layers at full rank, computed once each; columns nest.

    Attributes:
        activity: of the populations that layers read.
    """

    activity: Mapping[str, SourceActivity]
    _known: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def whitening(self, layer: Dense) -> Whitening:
        """How the decomposition of ``layer`` is weighted."""
        measured = self.activity[layer.source].moment is not None
        return "measured second moment" if measured else "none"

    def of(self, layer: Dense, rank: int) -> tuple[FloatArray, FloatArray]:
        """``(U, V)`` of ``layer``, shapes (out, rank) and (in, rank)."""
        if layer.name not in self._known:
            moment, full = self.activity[layer.source].moment, min(layer.weight.shape)
            self._known[layer.name] = (
                plain_svd(layer.weight, full)
                if moment is None
                else whitened_svd(layer.weight, moment, full)
            )
        u, v = self._known[layer.name]
        return u[:, :rank], v[:, :rank]


def candidates(network: Network) -> dict[str, Dense]:
    """The layers that may become factor pairs, by name; none if the model brings its own."""
    if any(isinstance(p, LowRank) for p in network.projections):
        return {}
    return {
        p.name: p for p in network.projections if isinstance(p, Dense) and not _obstacle(p, network)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Factorise:
    """Give dense layers a rank, in a form that keeps the timing.

    A factor pair takes a step more than a matrix, so everything behind it runs a step later, and
    ways beside it get an axonal delay. A layer that would take more energy as a pair stays full.
    One that cannot be a pair becomes the product of its factors, which takes no less than the full
    matrix, but shows what the rank does to the accuracy; ranks by layer, which are for what they
    save, leave it full.

    Attributes:
        rank: the rank of all layers as an int, as a fraction of ``min(in, out)`` as a float in
            (0, 1], or of some layers by name; None to change nothing.
        weight_bits: of the synapses, for the memory that they take.
    """

    rank: int | float | Mapping[str, int] | None
    weight_bits: int

    def run(self, network: Network, chip: ChipSpec, factors: Factors) -> Factorised:
        """The network with layers of low rank.

        Raises:
            ConfigError: ADL-CFG-02, the rank is no rank; ADL-CFG-03, no layer can be of low rank.
        """
        if self.rank is None:
            return Factorised(network=network, choices={})
        if any(isinstance(p, LowRank) for p in network.projections):
            return Factorised(network=network, choices=_trained(network))
        layers = candidates(network)
        self._check(network, layers)
        choices = {
            p.name: LayerChoice(
                layer=p.name,
                realisation="full",
                rank=0 if not isinstance(p, Dense) else min(p.weight.shape),
                why=_obstacle(p, network),
            )
            for p in network.projections
            if p.name not in layers
        }
        made: dict[str, Projection] = {}
        paired: set[str] = set()
        for name, layer in layers.items():
            cost = LayerCost.of(
                layer, network, chip, factors.activity[layer.source], self.weight_bits
            )
            choice = self._choose(network, layer, cost, paired)
            if choice.realisation != "full":
                u, v = factors.of(layer, choice.rank)
                product = u @ v.T
                lost = float(np.linalg.norm(layer.weight - product))
                choice = replace(
                    choice,
                    whitening=factors.whitening(layer),
                    truncation_error=lost / (float(np.linalg.norm(layer.weight)) or 1.0),
                )
                made[name] = replace(layer, weight=product, fused_rank=choice.rank)
                if choice.realisation == "factored":
                    paired.add(name)
                    made[name] = LowRank(
                        name=name,
                        source=layer.source,
                        target=layer.target,
                        U=u,
                        V=v,
                        levels=(choice.rank,),
                    )
            choices[name] = choice
        projections = tuple(made.get(p.name, p) for p in network.projections)
        delayed = _balanced(replace(network, projections=projections), paired)
        assert delayed is not None, "every pair was tried"
        return Factorised(
            network=delayed, choices={p.name: choices[p.name] for p in network.projections}
        )

    def _check(self, network: Network, layers: Mapping[str, Dense]) -> None:
        if not isinstance(self.rank, Mapping):
            assert self.rank is not None
            if not self.rank > 0 or (isinstance(self.rank, float) and not self.rank <= 1):
                raise ConfigError(
                    f"{self.rank} is neither a positive integer nor a fraction up to 1.0",
                    where="rank",
                    remedy="give e.g. 8 or 0.25",
                    code="ADL-CFG-02",
                )
        if not layers:
            reasons = "; ".join(f"{p.name}: {_obstacle(p, network)}" for p in network.projections)
            raise ConfigError(
                f"a rank was asked for, but no layer can be of low rank ({reasons})",
                where=f"network {network.name}",
                remedy="drop the rank option",
                code="ADL-CFG-03",
            )

    def _rank_of(self, layer: Dense) -> int | None:
        if isinstance(self.rank, float):
            return max(1, round(self.rank * float(min(layer.weight.shape))))
        if isinstance(self.rank, int):
            return self.rank
        by_layer: Mapping[str, int] | None = self.rank
        return by_layer.get(layer.name) if by_layer else None

    def _choose(
        self, network: Network, layer: Dense, cost: LayerCost, paired: set[str]
    ) -> LayerChoice:
        outputs, inputs = layer.weight.shape
        rank, full_j = self._rank_of(layer), cost.full_j()
        obstacle = pair_obstacle(network, layer, cost.chip, paired)
        kept = LayerChoice(
            layer=layer.name,
            realisation="full",
            rank=min(outputs, inputs),
            why=obstacle or "no cheaper rank was found within the accuracy allowed",
            full_j=full_j,
        )
        if rank is None:
            if not obstacle and cost.factored_j(1) >= full_j:
                return replace(kept, why="as one matrix it takes less than a pair of any rank")
            return kept
        if rank >= min(outputs, inputs):
            return replace(kept, why=f"rank {rank} is not below min(in, out) = {kept.rank}")
        if rank * (inputs + outputs) >= inputs * outputs:
            return replace(
                kept,
                why=f"rank × (in + out) = {rank * (inputs + outputs)} is not below in × out = "
                f"{inputs * outputs}",
            )
        factored_j = cost.factored_j(rank)
        kept = replace(
            kept,
            why=f"{with_prefix(factored_j, 'J')} a step as a pair of rank {rank}, "
            f"{with_prefix(full_j, 'J')} as one matrix",
            factored_j=factored_j,
        )
        if obstacle:
            if isinstance(self.rank, Mapping):
                return replace(kept, why=obstacle)
            return replace(kept, realisation="fused", rank=rank, why=obstacle)
        if factored_j >= full_j:
            return kept
        return replace(kept, realisation="factored", rank=rank)


def pair_obstacle(
    network: Network, layer: Dense, chip: ChipSpec, paired: set[str] | frozenset[str] = frozenset()
) -> str:
    """Why ``layer`` cannot be a factor pair beside those in ``paired``; empty if it can."""
    if not chip.capabilities.graded_spikes.value:
        return f"{chip.name} lacks the graded spikes that relays send"
    if layer.delays.any():
        return "it has axonal delays, which a factor pair lacks"
    names = [p.name for p in network.populations]
    alone = [(p.source, p.target, int(p.name == layer.name)) for p in network.projections]
    if lateness(names, alone) is None:
        return "it is in a recurrent loop, whose timing relays would change"
    if _balanced(network, {*paired, layer.name}) is None:
        return "ways beside it cannot be delayed by the step that relays take"
    return ""


def _balanced(network: Network, paired: set[str]) -> Network | None:
    """``network`` with delays beside the layers in ``paired``; None if they cannot be had."""
    edges = [(p.source, p.target, int(p.name in paired)) for p in network.projections]
    late = lateness([p.name for p in network.populations], edges)
    if late is None:
        return None
    projections: list[Projection] = []
    for projection, (source, target, longer) in zip(network.projections, edges, strict=True):
        wait = late[target] - late[source] - longer
        if wait:
            if isinstance(projection, LowRank) or projection.name in paired or projection.gate:
                return None
            columns = projection.columns(network.population(source))
            delays = np.zeros(columns.stop - columns.start, np.int64) + wait
            delays += projection.delays if projection.delays.size else 0
            if int(delays.max()) > LONGEST_DELAY:
                return None
            projection = replace(projection, delays=delays)
        projections.append(projection)
    return replace(network, projections=tuple(projections))


def _trained(network: Network) -> dict[str, LayerChoice]:
    """The layers of a model with factor pairs of its own stay as they are."""
    return {
        p.name: LayerChoice(
            layer=p.name,
            realisation="full",
            rank=min(p.weight.shape),
            why="the model was trained with factor pairs, and a rank cuts those alone",
        )
        for p in network.projections
        if isinstance(p, Dense)
    }


def _obstacle(projection: Projection, network: Network) -> str:
    """Why ``projection`` cannot be of low rank; empty if it can."""
    source, target = (network.population(n) for n in (projection.source, projection.target))
    match projection:
        case Conv2d():
            return "it is a convolution, whose factors need relays with the shape of an image"
        case SumPool2d():
            return "it is a pooling"
        case Sparse():
            return "it is sparse, and its factors would be dense"
        case LowRank():
            return "it is a factor pair"
        case Dense() if projection.fused_rank or projection.part != "full":
            return "it is part of a low-rank layer"
    if not isinstance(source, Input | Lif) or not isinstance(target, Lif | Li):
        return "it does not lead from spikes to neurons"
    if projection.columns(source) != slice(0, source.size):
        return "it reads a part of its source alone"
    if not np.any(projection.weight):
        return "all its weights are zero"
    return ""
