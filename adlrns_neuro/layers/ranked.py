"""What has a rank that can be set, and a low-rank layer in the place of a plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adlrns_neuro.functional.cost import FLOPS_SHARE, MEMORY_SHARE
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.layers.first_block import FirstBlock
from adlrns_neuro.schedulers import RankScheduler


class RankedModule(nn.Module, ABC):
    """What runs at a level that is set from outside, or at those that its gate chooses.

    :mod:`adlrns_neuro.ranks` sets the level of all such parts of a model at once,
    :class:`~adlrns_neuro.budget.BudgetManager` the price at which their gates decide.

    Attributes:
        level: index of the level at which all samples run, or one for each sample, shape (n,),
            int64. The part's last level stands for those beyond. None: its gate decides.
        scheduler: limits the gate's decision; None for no limit.
        price_per_mj: gain that a millijoule must bring; None for the gate's own price.
    """

    def __init__(self) -> None:
        super().__init__()
        self.level: int | Tensor | None = None
        self.scheduler: RankScheduler | None = None
        self.price_per_mj: float | None = None

    @property
    @abstractmethod
    def levels(self) -> tuple[int, ...]:
        """The ranks, ascending."""

    @property
    @abstractmethod
    def gate(self) -> GateNetwork:
        """What chooses between them."""

    @property
    @abstractmethod
    def energies_mj(self) -> tuple[float, ...]:
        """Modelled energy of a sample at each level [mJ]."""

    @property
    @abstractmethod
    def spent_mj(self) -> float:
        """Modelled energy per sample in the last call in which the gate decided [mJ]."""

    @abstractmethod
    def features(self, input: Tensor) -> Tensor:
        """What the gate reads of the samples of a call, in the order of the samples."""

    @abstractmethod
    def expected_cost(
        self, input: Tensor, *, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        """E of every sample under the gate's soft decision, differentiable.

        Args:
            input: of a call.
            alpha, beta: weights of operations and of memory in E.
        """

    def price(self) -> float | None:
        """The price per unit of the gate's cost."""
        if self.price_per_mj is None:
            return None
        energies = self.energies_mj
        if len(energies) == 1:
            return None
        return self.price_per_mj * (energies[-1] - energies[0]) / float(self.gate.cost.sum())


class Ranked(RankedModule):
    """Runs a low-rank layer where a model expects outputs alone, as from the layer it replaces.

    Args:
        layer: what runs.

    Attributes:
        layer: as given.
        decide: decides in the place of the gate if ``level`` is None, see
            :meth:`~adlrns_neuro.layers.base.LowRankLayer.as_decided`.
        first_block: gives, for the input of a call with a ``level``, its first rank block in the
            place of the layer's method; None where it has to be computed.
        level, scheduler, price_per_mj: see :class:`RankedModule`.
    """

    def __init__(self, layer: LowRankLayer) -> None:
        super().__init__()
        self.layer = layer
        self.decide: Callable[[Tensor], Tensor] | None = None
        self.first_block: Callable[[Tensor], FirstBlock] | None = None
        self._chosen: Tensor | tuple[NDArray[np.int64], int] | None = None
        self._ran: int | Tensor | None = len(layer.levels) - 1

    def forward(self, input: Tensor) -> Tensor:
        """Outputs of the layer for ``input``, which torch's own layers call so too.

        Errors are those of the layer's methods.
        """
        layer, top = self.layer, len(self.layer.levels) - 1
        if self.level is not None:
            self._ran = self.level
            first = None if self.first_block is None else self.first_block(input)
            if isinstance(self.level, int):
                return layer.at_rank(input, layer.levels[min(self.level, top)], first=first)
            return layer.at_levels(input, self.level.clamp(max=top), first=first)
        if self.decide is not None:
            return layer.as_decided(input, self._decided)
        outputs: Tensor
        outputs, self._chosen = layer(input, scheduler=self.scheduler, price=self.price())
        self._ran = None
        return outputs

    @property
    def chosen(self) -> Tensor | None:
        """The rank of each sample in the last call in which the gate decided."""
        noted = self._chosen
        if isinstance(noted, tuple):
            ranks, row = noted
            self._chosen = noted = torch.from_numpy(ranks[row])
        return noted

    @property
    def ran(self) -> int | Tensor:
        """The level of the last call, or one for each sample; before the first, the highest."""
        if self._ran is not None:
            return self._ran
        chosen = self.chosen
        assert chosen is not None
        return torch.searchsorted(torch.tensor(self.levels, device=chosen.device), chosen)

    @property
    def levels(self) -> tuple[int, ...]:
        """The layer's ranks, ascending."""
        return self.layer.levels

    @property
    def gate(self) -> GateNetwork:
        """The layer's gate."""
        return self.layer.gate

    @property
    def energies_mj(self) -> tuple[float, ...]:
        """Modelled energy of a sample at each level [mJ]."""
        return tuple(self.layer.energies_mj.values())

    @property
    def gated(self) -> bool:
        """Whether the gate alone decides."""
        return self.level is None and self.decide is None and self.scheduler is None

    def note_ranks(self, ranks: Tensor | tuple[NDArray[np.int64], int]) -> None:
        """Note what the gate decided in a call that ran the layer in another way.

        Args:
            ranks: of each sample, int64; or an array of several layers', and which row of it is
                this one's, which becomes a tensor if somebody asks.
        """
        vars(self).update(_chosen=ranks, _ran=None)  # Set as of modules they take microseconds.

    def note_levels(self, level: int | Tensor) -> None:
        """The same of a call at a ``level``."""
        vars(self).update(_ran=level)

    @property
    def spent_mj(self) -> float:
        """Modelled energy per sample in the last call in which the gate decided [mJ]."""
        chosen = self.chosen
        if chosen is None:
            return 0.0
        ranks = zip(self.levels, self.energies_mj, strict=True)
        total = sum(int((chosen == rank).sum()) * energy for rank, energy in ranks)
        return total / max(len(chosen), 1)

    def _decided(self, first: Tensor) -> Tensor:
        """What ``decide`` says, noted."""
        assert self.decide is not None
        self._ran = decided = self.decide(first)
        return decided

    def features(self, input: Tensor) -> Tensor:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.features`."""
        return self.layer.features(input)

    def expected_cost(
        self, input: Tensor, *, alpha: float = FLOPS_SHARE, beta: float = MEMORY_SHARE
    ) -> Tensor:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.expected_cost`."""
        return self.layer.expected_cost(input, alpha=alpha, beta=beta)
