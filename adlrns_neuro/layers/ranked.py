"""A low-rank layer in the place of a plain one."""

from __future__ import annotations

from torch import Tensor, nn

from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.schedulers import RankScheduler


class Ranked(nn.Module):
    """Runs a low-rank layer where a model expects outputs alone, as from the layer it replaces.

    :mod:`adlrns_neuro.ranks` sets the level of all such layers of a model at once.

    Args:
        layer: what runs.

    Attributes:
        layer: as given.
        level: index of the level at which all samples run, or one for each sample, shape (n,),
            int64. The layer's last level stands for those beyond. None: its gate decides.
        scheduler: limits the gate's decision; None for no limit.
        chosen: the rank of each sample in the last call in which the gate decided.
    """

    def __init__(self, layer: LowRankLayer) -> None:
        super().__init__()
        self.layer = layer
        self.level: int | Tensor | None = None
        self.scheduler: RankScheduler | None = None
        self.chosen: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Outputs of the layer for ``input``, which torch's own layers call so too.

        Errors are those of the layer's methods.
        """
        top = len(self.layer.levels) - 1
        if self.level is None:
            outputs: Tensor
            outputs, self.chosen = self.layer(input, scheduler=self.scheduler)
            return outputs
        if isinstance(self.level, int):
            return self.layer.at_rank(input, self.layer.levels[min(self.level, top)])
        return self.layer.at_levels(input, self.level.clamp(max=top))
