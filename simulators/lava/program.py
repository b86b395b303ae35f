"""A compiled program as part of a larger Lava network. This module needs Lava at import time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from mapping.ir.partitioned import Members
from simulators.lava.build import Segment, build_network, gather
from simulators.lava.processes import Bus, Scatter
from simulators.lava.processes.fused import FusedCores
from simulators.lava.runtime import LavaRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class LavaProgram:
    """The Processes of a compiled program, to be connected with others.

    Attributes:
        s_in: InPort for the input, one compartment after the other.
        segments: compartments by population, in order, the input's included.
        states: every Var that is zero when a sample begins.
        fused: the Process that all others run in, if any.
    """

    s_in: Any
    segments: dict[str, list[Segment]]
    states: tuple[Any, ...]
    fused: FusedCores | None

    def output(self, population: str) -> Any:
        """An OutPort that sends what all compartments of ``population`` send, in order.

        A spike is 1, a graded one its payload, silence 0.

        Raises:
            ConfigError: ADL-SIM-06, there is no such population.
        """
        size = self.size(population)
        if self.fused is None:
            ports = gather(self.segments[population], 0, size)
            if len(ports) == 1:
                return ports[0]
            joined = Bus(size=size)
            for port in ports:
                port.connect(joined.s_in)
            return joined.s_out
        before = itertools.takewhile(lambda name: name != population, self.segments)
        part = Scatter(
            size=self.fused.s_out.shape[0],
            passed=sum(self.size(name) for name in before) + np.arange(size),
            width=size,
            places=self.order(population),
        )
        self.fused.s_out.connect(part.s_in)
        return part.s_out

    def order(self, population: str) -> Members:
        """The compartments of ``population``, segment after segment."""
        return np.concatenate([segment.group.members for segment in self.segments[population]])

    def size(self, population: str) -> int:
        """Number of compartments of ``population``.

        Raises:
            ConfigError: ADL-SIM-06, there is no such population.
        """
        if population not in self.segments:
            raise ConfigError(
                f"the program has only {', '.join(self.segments)}",
                where=f"population {population!r}",
                remedy="name one of them",
                code="ADL-SIM-06",
            )
        return sum(segment.group.size for segment in self.segments[population])

    def reset(self, runtime: LavaRuntime) -> None:
        """Bring everything to its state at the beginning of a sample, between two runs."""
        for var in self.states:
            runtime.write(var, np.zeros(var.shape))


def build_program(artifact: Artifact, *, price: float, fuse: bool) -> LavaProgram:
    """As :func:`simulators.lava.lava_network`."""
    inlet = Bus(size=artifact.partitioned.input.size)
    network = build_network(artifact, inlet, price=price)
    if not fuse:
        return LavaProgram(
            s_in=inlet.s_in,
            segments=network.segments,
            states=tuple(network.states()),
            fused=None,
        )
    outlets = [s.process.s_out for part in network.segments.values() for s in part]
    fused = FusedCores(inlet=inlet, outlets=outlets, states=network.states())
    return LavaProgram(s_in=fused.s_in, segments=network.segments, states=(fused.age,), fused=fused)
