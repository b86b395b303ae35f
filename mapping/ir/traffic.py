"""Expected activity: what calibration data, or an assumption, says about every population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapping.cost import ActionCounts
from mapping.errors import ConfigError
from mapping.ir.network import FloatArray, Input
from mapping.ir.partitioned import HOST, PartitionedNetwork
from mapping.ir.placed import Placement
from mapping.ir.quantized import Int32Array, IntegerRelay, QuantizedNetwork
from mapping.ir.routed import Routing
from mapping.semantics.fixedpoint import Int64Array
from mapping.semantics.int_net import run_integer_network

ASSUMED_ACTIVITY = 0.1
"""Share of compartments that spike in a step when nothing is known."""


def check_payloads(
    payloads: np.ndarray[tuple[int, ...], np.dtype[np.generic]], population: Input, *, where: str
) -> Int64Array:
    """``payloads`` as int64 if they suit ``population``.

    Args:
        payloads: ``(samples, steps, *population.shape)`` integers within the payload range.
        population: the input population.
        where: file or argument, for the error.

    Raises:
        ConfigError: wrong shape (ADL-INP-01), not integers (ADL-INP-02) or out of range
            (ADL-INP-03).
    """
    if payloads.ndim < 3 or payloads.shape[2:] != population.shape or 0 in payloads.shape:
        raise ConfigError(
            f"spikes have shape {payloads.shape}, expected (samples, steps, "
            f"{', '.join(map(str, population.shape))})",
            where=where,
            remedy="reshape the array; samples and steps must not be zero",
            code="ADL-INP-01",
        )
    if payloads.dtype.kind not in "iub":
        raise ConfigError(
            f"spikes are {payloads.dtype}, not integers",
            where=where,
            remedy=f"store integer payloads; one unit stands for {population.payload_scale:g}",
            code="ADL-INP-02",
        )
    low, high = int(payloads.min()), int(payloads.max())
    if low < population.payload_min or high > population.payload_max:
        raise ConfigError(
            f"payloads span {low}..{high}, but {population.name} was compiled for "
            f"{population.payload_min}..{population.payload_max}",
            where=where,
            remedy="scale the input, or widen the payload range and compile again",
            code="ADL-INP-03",
        )
    return payloads.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Input that stands for what the deployed network will see.

    Attributes:
        payloads: ``(samples, steps, *input shape)`` integers.
    """

    payloads: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrafficProfile:
    """Spikes per step of every compartment.

    Attributes:
        rates: by population, ``(size,)`` expected spikes per compartment and step.
        status: ``"measured"`` on calibration data or ``"assumed"``.
    """

    rates: dict[str, FloatArray]
    status: Literal["measured", "assumed"]

    @classmethod
    def assumed(cls, network: QuantizedNetwork) -> TrafficProfile:
        """:data:`ASSUMED_ACTIVITY` everywhere but in relays, of which each sends in every step."""
        rates = {
            p.name: np.full(p.size, 1.0 if isinstance(p, IntegerRelay) else ASSUMED_ACTIVITY)
            for p in network.populations
        }
        return cls(rates=rates, status="assumed")

    @classmethod
    def measured(cls, network: QuantizedNetwork, calibration: Calibration) -> TrafficProfile:
        """Means over a run of the integer network on ``calibration``."""
        payloads = calibration.payloads
        silence = np.zeros((len(payloads), network.latency_steps, *payloads.shape[2:]), np.int64)
        payloads = np.concatenate([payloads, silence], axis=1)
        sent = run_integer_network(network, payloads).spikes
        sent[network.input.name] = payloads.reshape(*payloads.shape[:2], -1)
        rates = {name: (s != 0).mean(axis=(0, 1)) for name, s in sent.items()}
        return cls(rates=rates, status="measured")

    def flow_packets(self, partitioned: PartitionedNetwork, routing: Routing) -> FloatArray:
        """``(flows,)`` expected packets per step of each flow."""
        number = {pair: flow for flow, pair in enumerate(routing.pairs())}
        packets = np.zeros(routing.flows)
        homes = partitioned.homes()
        for source, slices in partitioned.destinations().items():
            for begin, end, sender in homes[source]:
                for start, stop, core in slices:
                    first, last = max(begin, start), min(end, stop)
                    if first < last:
                        packets[number[sender, core]] += self.rates[source][first:last].sum()
        return packets

    def expected_counts(
        self,
        partitioned: PartitionedNetwork,
        placement: Placement,
        routing: Routing,
    ) -> ActionCounts:
        """Expected actions of one step, ``(1, 1, cores)``; every compartment counts as updated."""
        cores = len(partitioned.cores)
        packets = self.flow_packets(partitioned, routing)
        from_host = routing.source == HOST
        local = np.array([placement.same_tile(*pair) for pair in routing.pairs()], dtype=bool)
        east_west, north_south = routing.hops()

        def at(cores_of: Int32Array, amount: FloatArray) -> FloatArray:
            return np.bincount(cores_of, amount, cores).astype(np.float64)[None, None]

        sent = ~from_host
        compartments = np.array([float(c.compartments) for c in partitioned.cores])[None, None]
        return ActionCounts(
            synaptic_op=self._synaptic_ops(partitioned)[None, None],
            compartment_access=compartments,
            compartment_update=compartments,
            spike=np.array(
                [
                    sum(self.rates[g.population][g.start : g.stop].sum() for g in c.groups)
                    for c in partitioned.cores
                ]
            )[None, None],
            axon_out=at(routing.source[sent], packets[sent]),
            axon_in=at(routing.target, packets),
            within_tile=at(routing.target, packets * local),
            hop_east_west=at(routing.target, packets * east_west),
            hop_north_south=at(routing.target, packets * north_south),
            host_packet=at(routing.target, packets * from_host),
        )

    def _synaptic_ops(self, partitioned: PartitionedNetwork) -> FloatArray:
        ops = np.zeros(len(partitioned.cores))
        for core, program in enumerate(partitioned.cores):
            for tile in program.tiles:
                spec = partitioned.projections[tile.projection]
                rate = self.rates[spec.source][spec.source_start : spec.source_stop].sum()
                ops[core] += rate * (tile.target_stop - tile.target_start)
        return ops
