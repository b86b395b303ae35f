"""Give every core program a physical core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapping.errors import ConfigError, PlacementError
from mapping.ir.network import FloatArray
from mapping.ir.partitioned import PartitionedNetwork, packet_flows
from mapping.ir.placed import Placement, slot_at
from mapping.placement import PLACERS
from mapping.placement.problem import PlacementProblem, Search
from mapping.targets.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Choose slots with a registered placer.

    Attributes:
        placer: its name.
        seed: for placers that search.
        time_limit_s: stop searching after so many seconds; the result then depends on the machine.
    """

    placer: str = "anneal"
    seed: int = 0
    time_limit_s: float | None = None

    def run(
        self,
        partitioned: PartitionedNetwork,
        chip: ChipSpec,
        packets: FloatArray | None = None,
    ) -> Placement:
        """One slot per core program.

        Args:
            partitioned: the core programs.
            chip: the target.
            packets: ``(flows,)`` expected packets per step of each of ``packet_flows``; by default
                one packet each.

        Raises:
            ConfigError: the placer is unknown (ADL-CFG-01) or the time limit is not positive
                (ADL-PLC-02).
            PlacementError: ADL-PLC-01, there are more core programs than cores.
        """
        place = PLACERS.get(self.placer)
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise ConfigError(
                f"a time limit of {self.time_limit_s:g} s leaves no time",
                where="time_limit_s",
                remedy="give a positive number of seconds, or none",
                code="ADL-PLC-02",
            )
        if len(partitioned.cores) > chip.cores:
            raise PlacementError(
                f"{len(partitioned.cores)} core programs do not fit on {chip.cores} cores",
                where=f"network {partitioned.name}",
                remedy="lower the rank or choose a bigger target",
                code="ADL-PLC-01",
            )
        flows = np.array(packet_flows(partitioned), np.int32).reshape(-1, 2)
        expected = np.ones(len(flows)) if packets is None else packets
        problem = PlacementProblem.on_chip(chip, len(partitioned.cores), flows, expected)
        search = Search(seed=self.seed, time_limit_s=self.time_limit_s)
        numbers = place(problem, search)
        return Placement(
            slots=tuple(slot_at(int(number), chip.mesh) for number in numbers),
            search_stopped=search.stopped,
        )
