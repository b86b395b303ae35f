"""Choose the rank at which the low-rank projections of a network are compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral

from mapping.errors import ConfigError
from mapping.ir.network import LowRank, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRanks:
    """Cut every factor pair to its leading columns.

    Attributes:
        rank: the rank as an int, a fraction of ``min(in, out)`` as a float in (0, 1], or None to
            keep all columns.
    """

    rank: int | float | None = None

    def run(self, network: Network) -> Network:
        """The network with pruned factors.

        Raises:
            ConfigError: the rank is beyond a layer's (ADL-CFG-02) or there is nothing to prune
                (ADL-CFG-03).
        """
        if self.rank is None:
            return network
        if not any(isinstance(p, LowRank) for p in network.projections):
            raise ConfigError(
                f"a rank of {self.rank} was asked for, but no projection is low-rank",
                where=f"network {network.name}",
                remedy="drop the rank option or train the model with a low-rank layer",
                code="ADL-CFG-03",
            )
        projections = tuple(
            self._pruned(p) if isinstance(p, LowRank) else p for p in network.projections
        )
        return replace(network, projections=projections)

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
        )

    def _rank_of(self, projection: LowRank) -> int | float:
        if isinstance(self.rank, float) and isfinite(self.rank):
            return round(self.rank * float(min(projection.U.shape[0], projection.V.shape[0])))
        assert self.rank is not None
        return self.rank
