"""Find the cheapest ranks of a network's layers that keep its accuracy on labelled data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from mapping.errors import ConfigError
from mapping.ir.network import Li, Network
from mapping.ir.quantized import IntegerLif, QuantizedNetwork
from mapping.ir.timing import pipeline_latency
from mapping.ir.traffic import Calibration, IntArray
from mapping.passes.factorise import Factorise, Factors, candidates, pair_obstacle
from mapping.passes.layer_cost import LayerCost
from mapping.semantics.answer import highest_voltage, most_spikes
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.spec import ChipSpec

DEFAULT_DROP = 1.0
"""Percentage points of accuracy that may be lost unless the user says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStep:
    """One rank that the search tried on the integer network.

    Attributes:
        layer, rank: what was lowered, and to which rank.
        accuracy: of the integer network on the calibration data, 0 to 1.
        energy_j: modelled dynamic energy per step of all candidate layers [J].
        kept: whether that accuracy is within what is allowed.
    """

    layer: str
    rank: int
    accuracy: float
    energy_j: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRanks:
    """What the search found.

    Attributes:
        ranks: by layer; a layer that is missing stays a full matrix.
        full_accuracy, full_energy_j: of the integer network with all layers full.
        accuracy, energy_j: with those ranks.
        max_accuracy_drop: what was allowed [percentage points].
        steps: the search, in its order.
    """

    ranks: dict[str, int]
    full_accuracy: float
    full_energy_j: float
    accuracy: float
    energy_j: float
    max_accuracy_drop: float
    steps: tuple[RankStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseRanks:
    """Lower ranks one notch at a time, where most energy is saved per accuracy lost.

    The float network, which is faster, says which layer is next; the integer network decides
    whether that is still accurate enough. A layer that it refuses keeps the rank that it had.
    Ranks tried lie on a ladder of four per octave; only those count at which the pair is modelled
    to take less than the matrix.

    Attributes:
        max_accuracy_drop: accuracy that may be lost on the labelled data [percentage points].
        weight_bits: of the synapses, for the memory that they take.
    """

    max_accuracy_drop: float
    weight_bits: int

    def run(
        self,
        network: Network,
        chip: ChipSpec,
        calibration: Calibration,
        factors: Factors,
        quantise: Callable[[Network], QuantizedNetwork],
        observe: Callable[[RankStep], None],
    ) -> ChosenRanks:
        """The cheapest ranks found.

        Args:
            network: the float network, without factor pairs.
            chip: the target.
            calibration: input with labels.
            factors: of the layers.
            quantise: makes the integer network of one with factor pairs.
            observe: told of every step.

        Raises:
            ConfigError: ADL-CFG-10, the drop is not between 0 and 100.
        """
        if not isfinite(self.max_accuracy_drop) or not 0 <= self.max_accuracy_drop <= 100:
            raise ConfigError(
                f"an accuracy drop of {self.max_accuracy_drop} is outside 0..100 points",
                where="max_accuracy_drop",
                remedy="give percentage points, e.g. 1.0",
                code="ADL-CFG-10",
            )
        layers = candidates(network)
        costs = {
            name: LayerCost.of(
                layer, network, chip, factors.activity[layer.source], self.weight_bits
            )
            for name, layer in layers.items()
        }
        options = {
            name: _options(cost)
            for name, cost in costs.items()
            if not pair_obstacle(network, layers[name], chip)
        }
        search = _Search(
            network=network,
            chip=chip,
            calibration=calibration,
            factors=factors,
            weight_bits=self.weight_bits,
        )
        full_accuracy = accuracy = search.integer_accuracy(quantise(network))
        floor = full_accuracy - self.max_accuracy_drop / 100
        ranks: dict[str, int] = {}
        steps: list[RankStep] = []
        while moves := {name: left[0] for name, left in options.items() if left}:
            name = search.best(moves, ranks, costs)
            tried = {**ranks, name: options[name].pop(0)}
            reached = search.integer_accuracy(quantise(search.factorised(tried)))
            step = RankStep(
                layer=name,
                rank=tried[name],
                accuracy=reached,
                energy_j=_energy_j(costs, tried),
                kept=reached >= floor,
            )
            steps.append(step)
            observe(step)
            if step.kept:
                ranks, accuracy = tried, reached
            else:
                options[name] = []
        return ChosenRanks(
            ranks=ranks,
            full_accuracy=full_accuracy,
            full_energy_j=_energy_j(costs, {}),
            accuracy=accuracy,
            energy_j=_energy_j(costs, ranks),
            max_accuracy_drop=self.max_accuracy_drop,
            steps=tuple(steps),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    network: Network
    chip: ChipSpec
    calibration: Calibration
    factors: Factors
    weight_bits: int

    def factorised(self, ranks: dict[str, int]) -> Network:
        """The network with layers of those ranks."""
        made = Factorise(rank=ranks, weight_bits=self.weight_bits)
        return made.run(self.network, self.chip, self.factors).network

    def best(
        self, moves: dict[str, int], ranks: dict[str, int], costs: dict[str, LayerCost]
    ) -> str:
        """The layer whose next rank saves most energy per accuracy that the float network loses.

        A loss counts as half a sample at least, so that of lossless moves the largest saving wins.
        """
        if len(moves) == 1:
            return next(iter(moves))
        now = self.float_accuracy(ranks)
        least = 0.5 / len(self.calibration.payloads)

        def worth(name: str) -> float:
            tried = {**ranks, name: moves[name]}
            saved = _energy_j(costs, ranks) - _energy_j(costs, tried)
            return saved / max(now - self.float_accuracy(tried), least)

        return max(moves, key=worth)

    def float_accuracy(self, ranks: dict[str, int]) -> float:
        """Share of right answers of the float network with layers of those ranks."""
        network = self.factorised(ranks) if ranks else self.network
        latency = pipeline_latency(network.graph(), network.input.name, network.output)
        sent = run_float_network(network, self.calibration.with_silence(latency))[network.output]
        reads_voltage = isinstance(network.population(network.output), Li)
        return self._share(highest_voltage(sent) if reads_voltage else most_spikes(sent))

    def integer_accuracy(self, network: QuantizedNetwork) -> float:
        """Share of right answers of the integer network."""
        payloads = self.calibration.with_silence(network.latency_steps)
        trace = run_integer_network(network, payloads)
        output = network.population(network.output)
        assert isinstance(output, IntegerLif)
        if output.spikes:
            return self._share(most_spikes(trace.spikes[output.name]))
        return self._share(highest_voltage(trace.v[output.name]))

    def _share(self, answers: npt.NDArray[np.integer]) -> float:
        labels: IntArray | None = self.calibration.labels
        assert labels is not None
        return float((answers == labels).mean())


def _options(cost: LayerCost) -> list[int]:
    """Falling ranks at which a pair is smaller than the matrix and modelled to take less."""
    smaller, full_j = min(cost.outputs, cost.inputs), cost.full_j()
    octaves = range(smaller.bit_length())
    ladder = {2**n + quarter * 2**n // 4 for n in octaves for quarter in range(4)}
    return [
        rank
        for rank in sorted(ladder, reverse=True)
        if rank < smaller
        and rank * (cost.inputs + cost.outputs) < cost.inputs * cost.outputs
        and cost.factored_j(rank) < full_j
    ]


def _energy_j(costs: dict[str, LayerCost], ranks: dict[str, int]) -> float:
    return sum(
        cost.factored_j(ranks[name]) if name in ranks else cost.full_j()
        for name, cost in costs.items()
    )
