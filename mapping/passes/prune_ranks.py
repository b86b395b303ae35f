"""Choose the rank at which the low-rank projections of a network are compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral

import numpy as np

from mapping.errors import ConfigError, UnsupportedModelError
from mapping.ir.network import Lif, LowRank, Network, Population


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRanks:
    """Cut every factor pair to its leading columns.

    A chosen rank stays as it is while the network runs: gates go, and the level biases up to that
    rank become part of the target's bias, which acts from step 0, a step before they would have.

    Attributes:
        rank: the rank as an int, a fraction of ``min(in, out)`` as a float in (0, 1], or None to
            keep all columns, gates and level biases.
    """

    rank: int | float | None = None

    def run(self, network: Network) -> Network:
        """The network with pruned factors.

        Raises:
            ConfigError: ADL-CFG-02, the rank is beyond a layer's.
            UnsupportedModelError: ADL-MDL-02, level biases cannot become a bias of the target.
        """
        if self.rank is None:
            return network
        pairs = [p for p in network.projections if isinstance(p, LowRank)]
        populations = {p.name: p for p in network.populations}
        pruned = {pair.name: self._pruned(pair) for pair in pairs}
        for pair in pairs:
            if pair.level_bias.size:
                target = _biased(populations[pair.target], pair, pruned[pair.name].rank)
                populations[pair.target] = target
        return replace(
            network,
            populations=tuple(populations.values()),
            projections=tuple(pruned.get(p.name, p) for p in network.projections),
        )

    def _pruned(self, projection: LowRank) -> LowRank:
        rank = self._rank_of(projection)
        if not 1 <= rank <= projection.rank or not isinstance(rank, Integral):
            raise ConfigError(
                f"rank {rank} is outside 1..{projection.rank}",
                where=projection.name,
                remedy=f"choose one of its trained levels {list(projection.levels)}",
                code="ADL-CFG-02",
            )
        return replace(
            projection,
            U=projection.U[:, :rank],
            V=projection.V[:, :rank],
            levels=(*(level for level in projection.levels if level < rank), rank),
            relay_threshold=projection.relay_threshold[:rank],
            level_bias=np.zeros((0, 0)),
            gate=None,
        )

    def _rank_of(self, projection: LowRank) -> int | float:
        if isinstance(self.rank, float) and isfinite(self.rank):
            return round(self.rank * float(min(projection.U.shape[0], projection.V.shape[0])))
        assert self.rank is not None
        return self.rank


def _biased(target: Population, pair: LowRank, rank: int) -> Lif:
    """``target`` with the biases of the levels of ``pair`` up to ``rank`` on top of its own."""
    if not isinstance(target, Lif):
        obstacle = f"{target.name} has no bias"
    elif target.current_decay > 0:
        obstacle = f"{target.name} would sum them in its current"
    elif pair.delta:
        obstacle = "the pair sends each of them only once"
    else:
        reached = sum(level <= rank for level in pair.levels[1:])
        return replace(target, bias=target.bias + pair.level_bias[:reached].sum(axis=0))
    raise UnsupportedModelError(
        f"its level biases cannot become a bias of the target, since {obstacle}",
        where=pair.name,
        remedy="compile without a rank, or train the pair without level biases",
        code="ADL-MDL-02",
    )
