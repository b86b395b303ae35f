"""Cut a quantised network into core programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

import numpy as np

from mapping.errors import CapacityError, ConfigError
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import TrafficProfile
from mapping.partitioners import PARTITIONERS, Goal, PartitionProblem
from mapping.passes.split_fan_in import SplitFanIn
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Distribute compartments, and the synapses that end on them, over cores.

    Attributes:
        partitioner: name of a registered partitioner.
        neurons_per_core: cap on compartments per core, or None for the chip's own limit.
        optimise: what the partitioner ``best`` asks for first: energy, latency or cores.
        seed: for partitioners that search.
    """

    partitioner: str = "best"
    neurons_per_core: int | None = None
    optimise: str = "energy"
    seed: int = 0

    def run(
        self, network: QuantizedNetwork, chip: ChipSpec, traffic: TrafficProfile | None = None
    ) -> PartitionedNetwork:
        """Core programs within every resource of ``chip``.

        Args:
            network: what is cut.
            chip: the target.
            traffic: expected packets; assumed if not given.

        Raises:
            CapacityError: the chip has too few cores (ADL-CAP-06).
            AdlrnsError: as :meth:`cut`.
        """
        partitioned = self.cut(network, chip, traffic)
        check_core_count(partitioned, chip)
        return partitioned

    def cut(
        self, network: QuantizedNetwork, chip: ChipSpec, traffic: TrafficProfile | None = None
    ) -> PartitionedNetwork:
        """Core programs within every resource of a core, as many as it takes.

        Raises:
            ConfigError: the partitioner or the goal is unknown (ADL-CFG-01) or
                ``neurons_per_core`` is outside 1..the chip's limit (ADL-CFG-05).
            CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 05).
            MissingDependencyError: ADL-DEP-02, the partitioner needs a library that is missing.
        """
        problem = PartitionProblem(
            network=network,
            chip=chip,
            neurons_per_core=self._cap(chip),
            traffic=traffic or TrafficProfile.assumed(network),
            goal=self._goal(),
            seed=self.seed,
        )
        return problem.partitioned(PARTITIONERS.get(self.partitioner)(problem))

    def prepare(
        self, network: QuantizedNetwork, chip: ChipSpec, traffic: TrafficProfile
    ) -> tuple[QuantizedNetwork, TrafficProfile]:
        """The network to cut: layers whose fan-in had better be split are, with their traffic.

        Raises:
            ConfigError: as :meth:`run`.
            CapacityError: ADL-CAP-08, see :class:`mapping.passes.split_fan_in.SplitFanIn`.
        """
        split = SplitFanIn(goal=self._goal(), neurons_per_core=self._cap(chip))
        return split.run(network, chip, traffic)

    def _goal(self) -> Goal:
        if self.optimise not in get_args(Goal):
            raise ConfigError(
                f"unknown goal {self.optimise!r}",
                where="optimise",
                remedy=f"choose one of: {', '.join(get_args(Goal))}",
                code="ADL-CFG-01",
            )
        return cast(Goal, self.optimise)

    def _cap(self, chip: ChipSpec) -> int:
        limit = chip.core.compartments.value
        cap = limit if self.neurons_per_core is None else self.neurons_per_core
        if not 1 <= cap <= limit:
            raise ConfigError(
                f"{cap} neurons per core were asked for; {chip.name} has 1 to {limit}",
                where="neurons_per_core",
                remedy="choose a number in that range",
                code="ADL-CFG-05",
            )
        return cap


def check_core_count(partitioned: PartitionedNetwork, chip: ChipSpec) -> None:
    """Refuse more core programs than ``chip`` has cores.

    Raises:
        CapacityError: ADL-CAP-06, naming the populations that most of them go to.
    """
    if len(partitioned.cores) > chip.cores:
        shares = {
            name: np.unique(homes).size
            for name, homes in partitioned.homes.items()
            if name != partitioned.input.name
        }
        busiest = sorted(shares, key=lambda name: -shares[name])[:3]
        ranks = "the rank or " if chip.capabilities.graded_spikes.value else ""
        raise CapacityError(
            f"needs {len(partitioned.cores)} cores, {chip.name} has {chip.cores}; most go to "
            + ", ".join(f"{name} ({shares[name]})" for name in busiest),
            where=f"network {partitioned.name}",
            remedy=f"lower {ranks}the weight bits, allow more neurons per core, or choose "
            "a bigger target",
            code="ADL-CAP-06",
        )
