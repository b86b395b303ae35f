"""Cut a quantised network into core programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.errors import CapacityError, ConfigError
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import TrafficProfile
from mapping.partitioners import PARTITIONERS, PartitionProblem, core_programs
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Distribute compartments, and the synapses that end on them, over cores.

    Attributes:
        partitioner: name of a registered partitioner.
        neurons_per_core: cap on compartments per core, or None for the chip's own limit.
        seed: for partitioners that search.
    """

    partitioner: str = "first-fit"
    neurons_per_core: int | None = None
    seed: int = 0

    def run(
        self, network: QuantizedNetwork, chip: ChipSpec, traffic: TrafficProfile | None = None
    ) -> PartitionedNetwork:
        """Core programs within every core resource of ``chip``.

        Args:
            network: what is cut.
            chip: the target.
            traffic: expected packets; assumed if not given.

        Raises:
            ConfigError: the partitioner is unknown (ADL-CFG-01) or ``neurons_per_core`` is
                outside 1..the chip's limit (ADL-CFG-05).
            CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 04) or
                the chip has too few cores (ADL-CAP-06).
        """
        limit = chip.core.compartments.value
        cap = limit if self.neurons_per_core is None else self.neurons_per_core
        if not 1 <= cap <= limit:
            raise ConfigError(
                f"{cap} neurons per core were asked for; {chip.name} has 1 to {limit}",
                where="neurons_per_core",
                remedy="choose a number in that range",
                code="ADL-CFG-05",
            )
        problem = PartitionProblem(
            network=network,
            chip=chip,
            neurons_per_core=cap,
            traffic=traffic or TrafficProfile.assumed(network),
            seed=self.seed,
        )
        cores = core_programs(network, PARTITIONERS.get(self.partitioner)(problem))
        partitioned = PartitionedNetwork(
            name=network.name,
            dt_s=network.dt_s,
            populations=network.populations,
            projections=tuple(p.spec for p in network.projections),
            output=network.output,
            fidelity=network.fidelity,
            cores=cores,
        )
        if len(cores) > chip.cores:
            shares = {
                name: np.unique(homes).size
                for name, homes in partitioned.homes.items()
                if name != network.input.name
            }
            busiest = sorted(shares, key=lambda name: -shares[name])[:3]
            raise CapacityError(
                f"needs {len(cores)} cores, {chip.name} has {chip.cores}; most go to "
                + ", ".join(f"{name} ({shares[name]})" for name in busiest),
                where=f"network {network.name}",
                remedy="lower the rank or the weight bits, allow more neurons per core, or choose "
                "a bigger target",
                code="ADL-CAP-06",
            )
        return partitioned
