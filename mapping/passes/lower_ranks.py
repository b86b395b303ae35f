"""What ``--rank`` does: cut trained factor pairs, or give dense layers a rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mapping.errors import ConfigError
from mapping.ir.network import LowRank, Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import Calibration
from mapping.passes.choose_ranks import DEFAULT_DROP, ChooseRanks, ChosenRanks, RankStep
from mapping.passes.factorise import Factorise, Factors, LayerChoice, candidates
from mapping.passes.layer_cost import source_activity
from mapping.passes.prune_ranks import PruneRanks
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredRanks:
    """A network after ``--rank``.

    Attributes:
        network: with layers of low rank.
        choices: what became of each layer and why, by layer.
        activity: whether that of the layers was measured or assumed.
        search: how ``auto`` found its ranks; None for a given rank.
    """

    network: Network
    choices: dict[str, LayerChoice]
    activity: Literal["measured", "assumed"]
    search: ChosenRanks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerRanks:
    """Lower the ranks of a network's layers.

    A model with trained factor pairs has them cut to their leading columns. In any other, dense
    layers become products of two factors, see :class:`mapping.passes.factorise.Factorise`.

    Attributes:
        rank: as in these passes, or ``"auto"`` for the cheapest that
            :class:`mapping.passes.choose_ranks.ChooseRanks` finds; None to change nothing.
        weight_bits: of the synapses, for the memory that they take.
        max_accuracy_drop: for ``"auto"`` [percentage points]; :data:`DEFAULT_DROP` if None.
    """

    rank: int | float | Literal["auto"] | None
    weight_bits: int
    max_accuracy_drop: float | None = None

    def run(
        self,
        network: Network,
        chip: ChipSpec,
        calibration: Calibration | None,
        quantise: Callable[[Network], QuantizedNetwork],
        observe: Callable[[RankStep], None],
    ) -> LoweredRanks:
        """The network with layers of low rank.

        Args:
            network: the float network.
            chip: the target.
            calibration: input to measure activity on, with labels for ``"auto"``.
            quantise: makes the integer network of one with factor pairs.
            observe: told of every step of the search.

        Raises:
            ConfigError: ``"auto"`` lacks labels (ADL-CFG-09) or meets trained factor pairs
                (ADL-CFG-11), a drop was given without it (ADL-CFG-10); and as the passes document.
        """
        activity: Literal["measured", "assumed"] = "assumed" if calibration is None else "measured"
        trained = [p.name for p in network.projections if isinstance(p, LowRank)]
        if self.rank == "auto":
            self._check_auto(calibration, trained)
        elif self.max_accuracy_drop is not None:
            raise ConfigError(
                f"an accuracy drop of {self.max_accuracy_drop} points was allowed, but the rank is "
                + ("not to be lowered" if self.rank is None else f"given as {self.rank}"),
                where="max_accuracy_drop",
                remedy="drop the option, or let the compiler choose with --rank auto",
                code="ADL-CFG-10",
            )
        if self.rank is None:
            return LoweredRanks(network=network, choices={}, activity=activity)
        if trained and not isinstance(self.rank, str):
            network = PruneRanks(rank=self.rank).run(network)
        sources = {layer.source for layer in candidates(network).values()}
        factors = Factors(activity=source_activity(network, sources, calibration))
        search: ChosenRanks | None = None
        if isinstance(self.rank, str):
            assert calibration is not None, "checked"
            drop = DEFAULT_DROP if self.max_accuracy_drop is None else self.max_accuracy_drop
            choose = ChooseRanks(max_accuracy_drop=drop, weight_bits=self.weight_bits)
            search = choose.run(network, chip, calibration, factors, quantise, observe)
        rank = search.ranks if search else self.rank
        assert not isinstance(rank, str)
        made = Factorise(rank=rank, weight_bits=self.weight_bits).run(network, chip, factors)
        return LoweredRanks(
            network=made.network,
            choices=made.choices,
            activity=activity,
            search=search,
        )

    def _check_auto(self, calibration: Calibration | None, trained: list[str]) -> None:
        if trained:
            raise ConfigError(
                "its rank was chosen in training, and auto finds ranks for full matrices",
                where=trained[0],
                remedy="give one of its levels, or train the model without factor pairs",
                code="ADL-CFG-11",
            )
        if calibration is None or calibration.labels is None:
            raise ConfigError(
                "needs labelled data to measure the accuracy on, but "
                + ("there are none" if calibration is None else "the calibration has no labels"),
                where="rank auto",
                remedy="give --calibration X.npz with the keys spikes and labels, or a rank",
                code="ADL-CFG-09",
            )
