"""What a trained model is worth and what it costs, on samples that training has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro.config import SchedulerConfig
from adlrns_neuro.gates.fit import lowest_price
from adlrns_neuro.layers import RankedModule
from adlrns_neuro.ranks import at_level, energies_mj, level_count, ranked_parts
from adlrns_neuro.schedulers import RankScheduler

PRICES: tuple[float, ...] = (0.0, *(10.0 ** (step / 2) for step in range(-6, 3)))
"""Of the gates' cost, at which the curve of accuracy over cost is measured."""
BATCH = 1000
BISECTIONS = 20
"""Of the price that keeps a budget; each runs the model on all held-out samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of one way to run a model.

    Attributes:
        accuracy: share of samples classified rightly, 0 to 1.
        macs: multiply-accumulates of a sample, counted as the model runs: all layers, and gates
            that decide. Of a spiking network those of its simulation, which multiplies by zeros.
        energy_mj: modelled energy of a sample in the parts of variable rank [mJ], None without.
        synaptic_ops: synapses that payloads and spikes reach in a sample, as a chip counts them;
            None without spikes.
    """

    accuracy: float
    macs: float
    energy_mj: float | None
    synaptic_ops: float | None


def measured(model: nn.Module, inputs: Tensor, labels: Tensor) -> Measured:
    """Run a model as it stands, in evaluation mode.

    Args:
        model: inputs → logits.
        inputs, labels: n samples.
    """
    counter = FlopCounterMode(display=False)
    hits, energy_mj, synaptic_ops = 0, 0.0, 0.0
    model.eval()
    with torch.no_grad(), counter:
        for some, classes in _batches(inputs, labels):
            hits += int((model(some).argmax(dim=-1) == classes).sum())
            energy_mj += _spent_mj(model) * len(some)
            synaptic_ops += getattr(model, "synaptic_ops", 0.0) * len(some)
    return Measured(
        accuracy=hits / len(labels),
        macs=counter.get_total_flops() / 2 / len(labels),
        energy_mj=energy_mj / len(labels) if energy_mj else None,
        synaptic_ops=synaptic_ops / len(labels) if synaptic_ops else None,
    )


def by_level(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[Measured]:
    """Figures with all layers at each level, the lowest first."""
    found = []
    for level in range(level_count(model)):
        with at_level(model, level):
            found.append(measured(model, inputs, labels))
    return found


def by_price(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[float, Measured]:
    """Figures with the gates deciding, at each of ``PRICES``."""
    found = {}
    for price in PRICES:
        with at_price(model, price):
            found[price] = measured(model, inputs, labels)
    return found


def under_budget(
    model: nn.Module,
    scheduler: SchedulerConfig,
    held_out: Tensor,
    inputs: Tensor,
    labels: Tensor,
) -> Measured:
    """Figures under the scheduler's energy budget.

    "adaptive" sets the one price of all gates at which ``held_out`` samples keep the budget, as
    nearly as prices can; the others cap all layers at the level that the scheduler allows.

    Args:
        model: with fitted gates.
        scheduler: its type and its budget, which must be given.
        held_out: samples that set the price.
        inputs, labels: those that are measured.
    """
    budget_mj = scheduler.energy_budget_mj
    assert budget_mj is not None, "there is a budget"
    if scheduler.type == "adaptive":
        with at_price(model, _price_for(model, held_out, budget_mj)):
            return measured(model, inputs, labels)
    energies = _energies_mj(model)
    policy = RankScheduler(scheduler.type, r_min=min(energies), r_max=max(energies))
    allowed = policy.limit(energies, budget_mj).rank
    level = max(sum(rank <= allowed for rank in energies) - 1, 0)
    parts = ranked_parts(model).values()
    for part in parts:
        levels = part.levels
        cap = levels[min(level, len(levels) - 1)]
        part.scheduler = RankScheduler("fixed", r_min=levels[0], r_max=levels[-1], rank=cap)
    try:
        return measured(model, inputs, labels)
    finally:
        for part in parts:
            part.scheduler = None


@contextmanager
def at_price(model: nn.Module, price: float) -> Iterator[None]:
    """Run all gates at one price inside the block, and at their own after it."""
    gates = [part.gate for part in ranked_parts(model).values()]
    before = [gate.price.clone() for gate in gates]
    try:
        for gate in gates:
            gate.price.fill_(price)
        yield
    finally:
        for gate, own in zip(gates, before, strict=True):
            gate.price.copy_(own)


def _price_for(model: nn.Module, inputs: Tensor, budget_mj: float) -> float:
    """The lowest price at which the mean energy of ``inputs`` keeps a budget, or the highest."""

    def keeps(price: float) -> bool:
        with at_price(model, price), torch.no_grad():
            spent = 0.0
            for some in torch.split(inputs, BATCH):
                model(some)
                spent += _spent_mj(model) * len(some)
        return spent <= budget_mj * len(inputs)

    model.eval()
    return lowest_price(keeps, highest=PRICES[-1], bisections=BISECTIONS)


def _batches(inputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(torch.split(inputs, BATCH), torch.split(labels, BATCH), strict=True)


def _energies_mj(model: nn.Module) -> dict[int, float]:
    """Energy of a sample [mJ] with all layers at one level, by the level's rank in the layer with
    most levels.
    """
    longest = max((part.levels for part in ranked_parts(model).values()), key=len)
    return dict(zip(longest, energies_mj(model), strict=True))


def _spent_mj(model: nn.Module) -> float:
    """Mean energy of a sample in the last call [mJ]."""
    parts = [part for part in model.modules() if isinstance(part, RankedModule)]
    levels = {part.level for part in parts if isinstance(part.level, int)}
    if len(levels) == 1 and all(isinstance(part.level, int) for part in parts):
        energies = energies_mj(model)
        return energies[min(levels.pop(), len(energies) - 1)]
    spent = 0.0
    for part in parts:
        if isinstance(part.level, int):
            own = part.energies_mj
            spent += own[min(part.level, len(own) - 1)]
        else:
            spent += part.spent_mj
    return spent
