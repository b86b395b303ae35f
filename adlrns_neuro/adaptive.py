"""A network that chooses one of its levels for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro.gates.fit import fit_gate, price_for_energy
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.gates.scorers import SCORERS, ConfidenceProbe
from adlrns_neuro.gates.stacking import stacking_weights
from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.layers.chain import hooked
from adlrns_neuro.layers.first_block import FirstBlock
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.layers.repeat import Repeat
from adlrns_neuro.ranks import (
    at_level,
    energies_mj,
    forward_levels,
    ranked_layers,
    ranked_parts,
)
from adlrns_neuro.training.objective import check_labels

BATCH = 1000
"""Samples that are scored at once."""


class AdaptiveModel(nn.Module):
    """A classifier with low-rank layers and one gate that sets the level of all of them.

    ``model(inputs)`` returns the outputs and the level of each sample. A sample costs what the
    scorer costs and what the layers cost at its level; samples of one level run together. In
    evaluation mode a sample that goes on after a probe does not compute the first rank block of the
    first low-rank layer again, nor, without gains by level, what comes out of it. The probe's
    answer may count beside that of the level that it goes on to, as :meth:`fit` has weighed it.

    Args:
        model: any module with :class:`~adlrns_neuro.layers.ranked.Ranked` layers that maps samples
            along the first axis to logits, shape (n, classes). If it has a method
            ``forward_probed`` with the arguments of that of
            :class:`~adlrns_neuro.models.mlp.LowRankMLP`, it may run probe, gate and what follows in
            one.
        example: inputs of the model, one sample or more, to learn the number of features from.
        scorer: name of what the gate sees, see :data:`~adlrns_neuro.gates.scorers.SCORERS`.
        scorer_hidden: size of the gate's rectified population; 0 is a linear gate.

    Attributes:
        model, scorer: as given, the scorer made.
        gate: :class:`~adlrns_neuro.gates.network.GateNetwork`; its cost is that of
            ``energies_mj`` in units of the largest of them.
        probe_weights: buffer, shape (K,): what the probe's logits count in the sum with those of
            each level; 0 until fitted, and without a probe.
        energies_mj: modelled energy of one sample at each level [mJ], of the low-rank layers alone.
            With a probe a higher level comes on top of the lowest; that the first block is not
            computed again is left out.
        price_per_mj: gain that a millijoule must bring; None for the gate's own price.
        spent_mj: mean energy per sample in the last call [mJ].

    Raises:
        ConfigError: ``ADL-RNK-01`` when no layer has a rank, ``ADL-CFG-01`` on an unknown scorer.
    """

    probe_weights: Tensor

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        scorer: str = "confidence_probe",
        scorer_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.scorer = SCORERS.get(scorer)()
        self.energies_mj = self._with_probe(energies_mj(model))
        with torch.no_grad():
            features, _ = self.scorer.score(model, example[:2])
        most = self.energies_mj[-1]
        steps = [(high - low) / most for low, high in pairwise(self.energies_mj)]
        self.gate = GateNetwork(features.shape[1], steps, scorer_hidden=scorer_hidden).to(features)
        self.register_buffer("probe_weights", features.new_zeros(len(self.energies_mj)))
        self.price_per_mj: float | None = None
        self.spent_mj = 0.0
        self._repeat: Repeat[tuple[Tensor, Tensor]] = Repeat()

    def forward(self, inputs: Tensor, *, price: float | None = None) -> tuple[Tensor, Tensor]:
        """Outputs, and the level that the gate chose for each sample.

        Args:
            inputs: of the model, shape (n, ...).
            price: of the gate's cost; if None, ``price_per_mj`` counts, and else the gate's own.

        Returns:
            Outputs, shape (n, classes), and levels 0 to K - 1, shape (n,), int64.
        """
        if price is None and self.price_per_mj is not None:
            price = self.price_per_mj * self.energies_mj[-1]
        if self.scorer.inside:
            with self._deciding_inside(price) as chosen:
                outputs = self.model(inputs)
            levels = chosen[0]
        elif (found := self._in_one_call(inputs, price)) is not None:
            outputs, levels = found
        else:
            with self._keeping_block() as kept:
                features, first = self.scorer.score(self.model, inputs)
            levels = self.gate.decide(features, price)
            outputs = self._run(inputs, levels, first, self._reusable(kept))
        used = torch.bincount(levels, minlength=len(self.energies_mj)).tolist()
        spent = zip(used, self.energies_mj, strict=True)
        self.spent_mj = sum(n * energy for n, energy in spent) / max(len(levels), 1)
        return outputs, levels

    def train(self, mode: bool = True) -> Self:
        """As of any module; training leaves nothing of the last call."""
        if mode:
            self._repeat.forget()
        return super().train(mode)

    def fit(self, inputs: Tensor, labels: Tensor, *, stacked: bool = False) -> None:
        """Fit the gate to what each level gains on held-out samples, in place.

        The gain of a level is by how much it lowers the probability of a wrong answer.

        Args:
            inputs: samples that the model was not fitted to, shape (n, ...).
            labels: their classes, shape (n,), int64.
            stacked: fit what the probe's answer counts first, see
                :func:`adlrns_neuro.gates.stacking.stacking_weights`; otherwise it counts nothing
                beside a higher level's.

        Raises:
            ConfigError: ``ADL-GAT-02`` when a feature is not finite, ``ADL-TRN-03`` when a label is
                no class of the model.
        """
        features, answers = [], []
        with torch.no_grad():
            for some in _split(inputs):
                features.append(self.scorer.score(self.model, some)[0])
                answers.append(forward_levels(self.model, some))
        logits = torch.cat(answers, dim=1)
        check_labels(labels, logits.shape[-1], where="AdaptiveModel.fit.labels")
        weights = torch.zeros_like(self.probe_weights)
        if stacked and self.scorer.probes:
            weights = stacking_weights(logits, labels).to(weights)
            logits = logits + weights[:, None, None] * logits[0]
        index = labels.expand(len(logits), -1)[..., None]
        right = logits.softmax(dim=-1).gather(-1, index)[..., 0]
        fit_gate(self.gate, torch.cat(features), 1.0 - right.T)
        self.probe_weights.copy_(weights)

    def price_for(
        self, budget: float, inputs: Tensor, costs: Sequence[float] | None = None
    ) -> float:
        """The lowest price at which samples like ``inputs`` keep a budget on average.

        Args:
            budget: per sample [mJ], or in the units of ``costs``.
            inputs: held-out samples, shape (n, ...).
            costs: of a sample at each level; ``energies_mj`` if None.

        Raises:
            ConfigError: as :func:`adlrns_neuro.gates.fit.price_for_energy`.
        """
        with torch.no_grad():
            scored = [self.scorer.score(self.model, some)[0] for some in _split(inputs)]
        return price_for_energy(self.gate, torch.cat(scored), costs or self.energies_mj, budget)

    def macs(self, example: Tensor) -> tuple[float, ...]:
        """Multiply-accumulates of a sample at each level, counted: all layers, probe and gate.

        What is not counted is the one for each class with which the probe's answer is weighed.

        Args:
            example: inputs of the model, one sample or more, shape (n, ...).
        """
        with self._keeping_block() as kept:
            runs = [self._counted(example, 0)]
        for level in range(1, len(self.energies_mj)):
            with self._known_block(self._reusable(kept)):
                runs.append(self._counted(example, level))
        return tuple(cost + self.gate.macs for cost in self._with_probe(runs))

    def _in_one_call(self, inputs: Tensor, price: float | None) -> tuple[Tensor, Tensor] | None:
        """Outputs and levels, by the model's own method ``forward_probed``; None if it has none,
        or cannot.
        """
        model = self.model
        run = getattr(model, "forward_probed", None)
        if run is None or hooked(model) or type(self.scorer) is not ConfidenceProbe:
            return None
        found: tuple[Tensor, Tensor] | None
        found = run(inputs, self.gate, self.probe_weights, price, self._repeat)
        return found

    def _reusable(self, kept: Sequence[FirstBlock]) -> FirstBlock | None:
        """What of a run at the lowest level holds at any other; in training nothing surely does."""
        holds = self.scorer.probes and not self.model.training
        return kept[0] if holds and kept else None

    def _counted(self, example: Tensor, level: int) -> float:
        """Multiply-accumulates of a sample in a run at one level."""
        counter = FlopCounterMode(display=False)
        with at_level(self.model, level), torch.no_grad(), counter:
            self.model(example)
        return counter.get_total_flops() / 2 / len(example)

    def _with_probe(self, costs: Sequence[float]) -> tuple[float, ...]:
        """What a sample costs at each level, from what a run at that level costs."""
        if not self.scorer.probes:
            return tuple(costs)
        return (costs[0], *(costs[0] + cost for cost in costs[1:]))

    def _run(
        self, inputs: Tensor, levels: Tensor, first: Tensor | None, block: FirstBlock | None
    ) -> Tensor:
        """Outputs at the given levels; those of the lowest are ``first`` where it is known, which
        counts beside the others.
        """
        outputs: Tensor
        if first is None:
            with at_level(self.model, levels):
                outputs = self.model(inputs)
            return outputs
        above = levels.nonzero()[:, 0]
        if len(above) == 0:
            return first
        going_on = None if block is None else block.each(lambda part: part.index_select(0, above))
        chosen = levels[above]
        with at_level(self.model, chosen), self._known_block(going_on):
            own: Tensor = self.model(inputs[above]).to(first)
        weights = self.probe_weights.to(first).index_select(0, chosen)[:, None]
        return first.index_copy(0, above, own.addcmul(weights, first.index_select(0, above)))

    def _keeping_block(self) -> AbstractContextManager[list[FirstBlock]]:
        """Inside, the first block that the first low-rank layer computes is put into a list."""
        kept: list[FirstBlock] = []

        def keep(layer: LowRankLayer, received: Tensor) -> FirstBlock:
            block = layer.first_block(received, output=not kept)
            if not kept:
                kept.append(block)
            return block

        return self._giving(keep, kept)

    def _known_block(self, block: FirstBlock | None) -> AbstractContextManager[list[FirstBlock]]:
        """Inside, the first call of the first low-rank layer does not compute its block again.

        Later calls of that layer have other inputs at another level.
        """
        known = [] if block is None else [block]

        def take(layer: LowRankLayer, received: Tensor) -> FirstBlock:
            return known.pop() if known else layer.first_block(received)

        return self._giving(take, known)

    @contextmanager
    def _giving(
        self, give: Callable[[LowRankLayer, Tensor], FirstBlock], blocks: list[FirstBlock]
    ) -> Iterator[list[FirstBlock]]:
        """Inside, the first low-rank layer gets its first block so; a model of one rank as a whole
        has none.
        """
        first = next(iter(ranked_parts(self.model).values()))
        if not isinstance(first, Ranked):
            yield blocks
            return
        layer = first.layer
        # Set as of modules they take microseconds.
        vars(first)["first_block"] = lambda received: give(layer, received)
        try:
            yield blocks
        finally:
            vars(first)["first_block"] = None

    @contextmanager
    def _deciding_inside(self, price: float | None) -> Iterator[list[Tensor]]:
        """Inside the block the first low-rank layer asks the gate, and the others follow."""
        leader, *others = ranked_layers(self.model).values()
        before = [part.level for part in others]
        chosen: list[Tensor] = []

        def decide(first: Tensor) -> Tensor:
            levels = self.gate.decide(first, price)
            chosen.append(levels)
            for part in others:
                part.level = levels
            return levels

        leader.decide = decide
        try:
            yield chosen
        finally:
            leader.decide = None
            for part, level in zip(others, before, strict=True):
                part.level = level


def _split(samples: Tensor) -> tuple[Tensor, ...]:
    return torch.split(samples, BATCH)
