"""Multilayer perceptrons: a dense one, and one whose hidden layers have a rank per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.chain import probed_chain, rectified_chain
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.layers.repeat import Repeat
from adlrns_neuro.ranks import at_level, ranked_layers
from mapping.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpConfig:
    """Sizes of a perceptron.

    Attributes:
        inputs: width of a sample.
        hidden: widths of the hidden layers.
        classes: number of outputs.
        levels: ranks of every hidden layer, ascending.
        layer_levels: ranks of each hidden layer, as many for each, in the place of ``levels``.
        early_exit: answer at the lowest level from the first hidden layer, by a full matrix of its
            own, and leave out the others (BranchyNet; Teerapittayanon et al., 2016).
        dropout: share of hidden values that training leaves out.
        level_bias, level_gain: see :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`.

    Raises:
        ConfigError: ``ADL-LAY-01`` when ``layer_levels`` are not as many for each hidden layer, or
            there is nothing to leave out at an early exit.
    """

    inputs: int = 784
    hidden: tuple[int, ...] = (512, 512)
    classes: int = 10
    levels: tuple[int, ...] = (8, 16, 32, 64)
    layer_levels: tuple[tuple[int, ...], ...] | None = None
    early_exit: bool = False
    dropout: float = 0.1
    level_bias: bool = False
    level_gain: bool = False

    def __post_init__(self) -> None:
        """Refuse levels that do not fit the layers."""
        layers = self.levels_by_layer
        if len(layers) != len(self.hidden) or len({len(ranks) for ranks in layers}) > 1:
            raise ConfigError(
                f"{layers} are not as many levels for each of {len(self.hidden)} hidden layers",
                where="MlpConfig.layer_levels",
                remedy="give one list of ranks for each hidden layer, all of one length",
                code="ADL-LAY-01",
            )
        if self.early_exit and (len(self.hidden) < 2 or len(layers[0]) < 2):
            raise ConfigError(
                f"{len(self.hidden)} hidden layers at {len(layers[0])} levels leave nothing out at "
                "the lowest one",
                where="MlpConfig.early_exit",
                remedy="give two hidden layers or more, and two levels or more",
                code="ADL-LAY-01",
            )

    @property
    def levels_by_layer(self) -> tuple[tuple[int, ...], ...]:
        """Ranks of each hidden layer."""
        return self.layer_levels or (self.levels,) * len(self.hidden)


class DenseMLP(nn.Module):
    """Full matrices and rectifiers: the teacher.

    Attributes:
        hidden: :class:`torch.nn.Linear` of every hidden layer.
        head: the last :class:`torch.nn.Linear`.
    """

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        widths = pairwise((config.inputs, *config.hidden))
        self.hidden = nn.ModuleList(nn.Linear(n, m) for n, m in widths)
        self.head = nn.Linear(config.hidden[-1], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, classes), of samples (n, inputs)."""
        for layer in self.hidden:
            x = _rectified(layer(x), self)
        logits: Tensor = self.head(x)
        return logits

    def hidden_inputs(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer receives from samples (n, inputs)."""
        received = []
        for layer in self.hidden:
            received.append(x)
            x = _rectified(layer(x), self)
        return received


class LowRankMLP(nn.Module):
    """The same perceptron with :class:`~adlrns_neuro.layers.ranked.Ranked` hidden layers.

    With an early exit a sample whose first layer runs at its lowest level, set or chosen, is
    answered from there; the other layers do not run.

    Attributes:
        hidden: the hidden layers.
        head: a full matrix.
        exit_head: another one, which answers at an early exit; None without.
    """

    exit_head: nn.Linear | None

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.ModuleList(
            Ranked(
                DynamicLowRankLayer(
                    n,
                    m,
                    levels=levels,
                    level_bias=config.level_bias,
                    level_gain=config.level_gain,
                )
            )
            for (n, m), levels in zip(
                pairwise((config.inputs, *config.hidden)), config.levels_by_layer, strict=True
            )
        )
        self.head = nn.Linear(config.hidden[-1], config.classes)
        self._repeat: Repeat[Tensor] = Repeat()
        self.exit_head = None
        if config.early_exit:
            self.exit_head = nn.Linear(config.hidden[0], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, classes), of samples (n, inputs)."""
        if self.exit_head is not None and self._some_may_leave():
            return self._with_exit(x, self.exit_head)
        plain = x.ndim == 2 and not self.training
        logits = rectified_chain(x, self.hidden, self.head, self._repeat) if plain else None
        if logits is None:
            for layer in self.hidden:
                x = _rectified(layer(x), self)
            logits = self.head(x)
        return logits

    def train(self, mode: bool = True) -> Self:
        """As of any module; training leaves nothing of the last call."""
        if mode:
            self._repeat.forget()
        return super().train(mode)

    def _some_may_leave(self) -> bool:
        """Whether the lowest level is set for a sample, or may be chosen."""
        first = self.hidden[0]
        assert isinstance(first, Ranked)
        return first.level is None or bool(torch.as_tensor(first.level == 0).any())

    def _with_exit(self, x: Tensor, exit_head: nn.Linear) -> Tensor:
        """Logits of samples, of which some leave after the first layer."""
        first, *others = ranked_layers(self).values()
        leading, x = x.shape[:-1], _rectified(first(x), self).flatten(0, -2)
        leaves = _each(torch.as_tensor(first.ran == 0, device=x.device), leading)
        above, below = ((~leaves).nonzero()[:, 0], leaves.nonzero()[:, 0])
        exits: Tensor = exit_head(x.index_select(0, below))
        logits = exits.new_zeros(len(x), self.config.classes).index_copy(0, below, exits)
        x = x.index_select(0, above)
        for part in others:
            level = part.level
            if len(above):
                own = _each(level, leading)[above] if isinstance(level, Tensor) else level
                with at_level(part, own):
                    x = _rectified(part(x), self)
            if level is None:
                chosen = torch.zeros_like(leaves, dtype=torch.int64)
                if len(above) and part.chosen is not None:
                    chosen[above] = part.chosen
                part.note_ranks(chosen.reshape(leading))
        if len(above):
            logits = logits.index_copy(0, above, self.head(x).to(logits))
        return logits.reshape(*leading, self.config.classes)

    def level_energies_mj(self) -> tuple[float, ...] | None:
        """Modelled energy of a sample at each level [mJ]; None where it is that of all layers."""
        if self.exit_head is None:
            return None
        first, *others = (part.energies_mj for part in ranked_layers(self).values())
        return first[0], *(sum(level) for level in list(zip(first, *others, strict=True))[1:])

    def forward_probed(
        self,
        x: Tensor,
        gate: GateNetwork,
        probe_weights: Tensor,
        price: float | None,
        repeat: Repeat[tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor] | None:
        """Logits and levels that a gate for the whole network chooses, in one call of the kernels.

        Args:
            x: samples, shape (n, inputs).
            gate, probe_weights, price, repeat: see :func:`adlrns_neuro.layers.chain.probed_chain`.

        Returns:
            Logits (n, classes) and levels (n,); None, with nothing done, if it cannot be one call.
        """
        derived = type(self).forward is not LowRankMLP.forward  # It may compute something else.
        if derived or x.ndim != 2 or self.training:
            return None
        return probed_chain(
            x, self.hidden, self.head, gate, probe_weights, price, repeat, exit_head=self.exit_head
        )

    def forward_levels(self, x: Tensor, levels: Sequence[int] | None = None) -> Tensor:
        """Logits at several levels; what lies between the first pair of factors is computed once.

        Args:
            x: samples, shape (n, inputs).
            levels: indices of the levels, none twice; all by default.

        Returns:
            Shape (levels, n, classes).
        """
        first, *others = (part.layer for part in ranked_layers(self).values())
        which = range(len(first.levels)) if levels is None else levels
        z = x @ first.V[:, : max(first.levels[level] for level in which)]
        rows = {k: _rectified(first.decode(z, first.levels[k]), self) for k in which}
        exits: dict[int, Tensor] = {}
        if self.exit_head is not None and 0 in rows:
            exits[0] = self.exit_head(rows.pop(0))
        for layer in others:
            rows = {
                k: _rectified(layer.at_rank(row, layer.levels[k]), self) for k, row in rows.items()
            }
        if not rows:
            return torch.stack(list(exits.values()))
        answers: Tensor = self.head(torch.stack(list(rows.values())))
        if not exits:
            return answers
        found = exits | dict(zip(rows, answers, strict=True))
        return torch.stack([found[k] for k in which])


def _each(values: Tensor, leading: Sequence[int]) -> Tensor:
    """Values along all axes of samples, or the first of them, one for each sample."""
    aligned = values.reshape(*values.shape, *[1] * (len(leading) - values.ndim))
    return aligned.expand(*leading).reshape(-1)


def _rectified(x: Tensor, model: DenseMLP | LowRankMLP) -> Tensor:
    return F.dropout(F.relu(x), model.config.dropout, model.training)
