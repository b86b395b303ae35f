"""Expected activity: what calibration data, or an assumption, says about every population."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mapping.cost import SYNAPTIC_OPS, ActionCounts
from mapping.errors import ConfigError
from mapping.ir.network import FloatArray, Input
from mapping.ir.partitioned import HOST, PartitionedNetwork, packet_flows
from mapping.ir.placed import Placement
from mapping.ir.quantized import Int32Array, IntegerRelay, QuantizedNetwork
from mapping.ir.ranges import LONGEST_SAMPLE
from mapping.ir.routed import Routing
from mapping.semantics.int_net import run_integer_network
from mapping.targets.spec import ChipSpec, CoreSpec

IntArray = npt.NDArray[np.integer[Any]]

ASSUMED_ACTIVITY = 0.1
"""Share of compartments that spike in a step when nothing is known."""


def check_payloads(
    payloads: npt.NDArray[Any],
    population: Input,
    *,
    where: str,
    lead: tuple[str, ...] = ("samples", "steps"),
    signal: IntArray | None = None,
    steps_before: int = 0,
) -> IntArray:
    """``payloads`` if they suit ``population``.

    Args:
        payloads: ``(*lead, *population.shape)`` integers within the payload range; of an
            input that is coded by changes, their sums.
        population: the input population.
        where: file or argument, for the error.
        lead: what its leading axes are, the last one the steps.
        signal: ``population.shape``, what changes of earlier steps add up to; zeros by default.
        steps_before: number of those steps.

    Raises:
        ConfigError: wrong shape (ADL-INP-01), not integers (ADL-INP-02), out of range or, coded
            by changes, too long (ADL-INP-03).
    """
    axes = len(lead)
    own = payloads.shape[axes:]
    if payloads.ndim < axes + 1 or own != population.shape or 0 in payloads.shape:
        raise ConfigError(
            f"spikes have shape {payloads.shape}, expected "
            f"({', '.join((*lead, *map(str, population.shape)))})",
            where=where,
            remedy=f"reshape the array; {' and '.join(lead)} must not be zero",
            code="ADL-INP-01",
        )
    if payloads.dtype.kind not in "iub":
        raise ConfigError(
            f"spikes are {payloads.dtype}, not integers",
            where=where,
            remedy=f"store integer payloads; one unit stands for {population.payload_scale:g}",
            code="ADL-INP-02",
        )
    steps = steps_before + payloads.shape[axes - 1]
    if population.delta and steps > LONGEST_SAMPLE:
        raise ConfigError(
            f"{steps} steps of changes, but what the chip adds up is bounded for {LONGEST_SAMPLE}",
            where=where,
            remedy="present shorter samples, or code the input by values",
            code="ADL-INP-03",
        )
    low, high, verb = int(payloads.min()), int(payloads.max()), "span"
    span = population.payload_max - population.payload_min
    if population.delta and -span <= low and high <= span:
        sums = np.cumsum(payloads, axis=axes - 1, dtype=np.int64)
        sums = sums if signal is None else sums + signal
        low, high, verb = int(sums.min()), int(sums.max()), "add up to"
    if low < population.payload_min or high > population.payload_max:
        raise ConfigError(
            f"payloads {verb} {low}..{high}, but "
            f"{population.name} was compiled for "
            f"{population.payload_min}..{population.payload_max}",
            where=where,
            remedy="scale the input, or widen payload_min and payload_max of a checkpoint's Input "
            "and compile again; NIR files of other tools take 0 and 1 alone",
            code="ADL-INP-03",
        )
    return payloads


def check_labels(labels: npt.NDArray[Any], samples: int, classes: int, *, where: str) -> IntArray:
    """``labels`` if they name a class of each of ``samples``.

    Raises:
        ConfigError: ADL-INP-04, they do not.
    """
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        problem = f"labels are {labels.dtype} of shape {labels.shape}, there are {samples} samples"
    elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        problem = f"labels span {labels.min()}..{labels.max()}, the output has {classes} neurons"
    else:
        return labels
    raise ConfigError(
        problem,
        where=where,
        remedy="store one integer label per sample, from 0 on",
        code="ADL-INP-04",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Input that stands for what the deployed network will see.

    Attributes:
        payloads: ``(samples, steps, *input shape)`` integers.
        labels: ``(samples,)`` class of each sample, if known.
    """

    payloads: IntArray
    labels: IntArray | None = None

    def with_silence(self, steps: int) -> IntArray:
        """The payloads with so many silent steps at their end."""
        return np.pad(self.payloads, [(0, 0), (0, steps), *[(0, 0)] * (self.payloads.ndim - 2)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrafficProfile:
    """Spikes and updates per step of every compartment.

    Attributes:
        rates: by population, ``(size,)`` expected spikes per compartment and step.
        updates: by population but the input, ``(size,)`` expected updates.
        held_back: by gate population and number of gates needed, ``(inputs,)`` expected spikes
            that the host sends under that condition.
        steps: number of steps of a sample, the pipeline's latency included; 0 if assumed.
        status: ``"measured"`` on calibration data or ``"assumed"``.
    """

    rates: dict[str, FloatArray]
    updates: dict[str, FloatArray]
    held_back: dict[tuple[str, int], FloatArray]
    steps: int
    status: Literal["measured", "assumed"]

    @classmethod
    def assumed(cls, network: QuantizedNetwork) -> TrafficProfile:
        """:data:`ASSUMED_ACTIVITY` everywhere, but every relay sends and every gate is on.

        All compartments are updated in every step.
        """
        rates = {p.name: np.full(p.size, ASSUMED_ACTIVITY) for p in network.populations}
        for population in network.populations:
            if isinstance(population, IntegerRelay):
                rates[population.name] = np.ones(population.size)
        inputs = rates[network.input.name]
        return cls(
            rates=rates,
            updates={p.name: np.ones(p.size) for p in network.populations},
            held_back={
                (p.spec.gate, p.spec.gates_needed): inputs
                for p in network.projections
                if p.spec.gate
            },
            steps=0,
            status="assumed",
        )

    @classmethod
    def measured(
        cls, network: QuantizedNetwork, calibration: Calibration, *, price: float = 0.0
    ) -> TrafficProfile:
        """Means over a run of the integer network on ``calibration`` at ``price``."""
        payloads = calibration.with_silence(network.latency_steps)
        trace = run_integer_network(network, payloads, price=price)
        inputs = payloads.reshape(*payloads.shape[:2], -1) != 0
        rates = {name: (s != 0).mean(axis=(0, 1)) for name, s in trace.spikes.items()}
        rates[network.input.name] = inputs.mean(axis=(0, 1))
        return cls(
            rates=rates,
            updates={name: flags.mean(axis=(0, 1)) for name, flags in trace.updated.items()},
            held_back={
                condition: (sent != 0).mean(axis=(0, 1))
                for condition, sent in trace.held_back.items()
            },
            steps=payloads.shape[1],
            status="measured",
        )

    def sent(self, source: str, gate: str, gates_needed: int) -> FloatArray:
        """``(size,)`` expected packets per step of ``source`` under a condition, if any."""
        return self.held_back[gate, gates_needed] if gate else self.rates[source]

    def flow_packets(
        self, partitioned: PartitionedNetwork, pairs: Sequence[tuple[int, int]]
    ) -> FloatArray:
        """``(flows,)`` expected packets per step between the cores of each of ``pairs``."""
        number = {pair: flow for flow, pair in enumerate(pairs)}
        packets = np.zeros(len(pairs))
        for source, destinations in partitioned.destinations.items():
            homes = partitioned.homes[source]
            for d in destinations:
                rates = self.sent(source, d.gate, d.gates_needed)[d.members]
                senders, at = np.unique(homes[d.members], return_inverse=True)
                sums = np.bincount(at, rates)
                for sender, amount in zip(senders.tolist(), sums.tolist(), strict=True):
                    packets[number[sender, d.core]] += amount
        return packets

    def remote_packets(self, partitioned: PartitionedNetwork) -> float:
        """Expected packets per step that leave their core, the host's included."""
        pairs = packet_flows(partitioned)
        remote = np.array([source != target for source, target in pairs], np.bool_)
        return float(self.flow_packets(partitioned, pairs) @ remote)

    def core_counts(
        self, partitioned: PartitionedNetwork, pairs: Sequence[tuple[int, int]], core: CoreSpec
    ) -> ActionCounts:
        """Expected actions of one step, ``(1, 1, cores)``, without hops: before places are known.

        Args:
            partitioned: the core programs.
            pairs: their flows, sender and receiver.
            core: the chip's cores.
        """
        cores = len(partitioned.cores)
        packets = self.flow_packets(partitioned, pairs)
        source, target = np.array(pairs, np.int32).reshape(-1, 2).T
        sent, charged = source != HOST, np.where(target == HOST, source, target)

        def at(cores_of: Int32Array, amount: FloatArray) -> FloatArray:
            return np.bincount(cores_of, amount, cores).astype(np.float64)[None, None]

        compartments = np.array([float(c.compartments) for c in partitioned.cores])[None, None]
        none = np.zeros((1, 1, cores))
        return ActionCounts(
            **self._synapse_work(partitioned, core),
            compartment_access=compartments,
            compartment_update=self._per_core(partitioned, self.updates),
            spike=self._per_core(partitioned, self.rates),
            axon_out=at(source[sent], packets[sent]),
            axon_in=at(charged, packets * (target != HOST)),
            within_tile=none,
            hop_east_west=none,
            hop_north_south=none,
            hop_chip=none,
            host_packet=at(charged, packets * ~sent),
        )

    def expected_counts(
        self,
        partitioned: PartitionedNetwork,
        placement: Placement,
        routing: Routing,
        chip: ChipSpec,
    ) -> ActionCounts:
        """Expected actions of one step, ``(1, 1, cores)``."""
        pairs = routing.pairs()
        packets = self.flow_packets(partitioned, pairs)
        local = np.array([placement.same_tile(*pair) for pair in pairs], dtype=bool)
        hops = routing.hops(chip.mesh)

        def charged(amount: FloatArray) -> FloatArray:
            found = np.bincount(routing.charged, amount, len(partitioned.cores))
            return found.astype(np.float64)[None, None]

        return replace(
            self.core_counts(partitioned, pairs, chip.core),
            within_tile=charged(packets * local),
            hop_east_west=charged(packets * hops.east_west),
            hop_north_south=charged(packets * hops.north_south),
            hop_chip=charged(packets * hops.chip),
        )

    def _per_core(
        self, partitioned: PartitionedNetwork, amounts: dict[str, FloatArray]
    ) -> FloatArray:
        """``(1, 1, cores)`` sums of ``amounts`` over the compartments of each core."""
        return np.array(
            [
                sum(amounts[g.population][g.members].sum() for g in program.groups)
                for program in partitioned.cores
            ]
        )[None, None]

    def _synapse_work(
        self, partitioned: PartitionedNetwork, core: CoreSpec
    ) -> dict[str, FloatArray]:
        """Synaptic operations of each form and words of memory read, ``(1, 1, cores)`` each."""
        names = (*SYNAPTIC_OPS.values(), "synapse_read")
        found = {name: np.zeros((1, 1, len(partitioned.cores))) for name in names}
        for number, program in enumerate(partitioned.cores):
            for tile in program.tiles:
                spec = partitioned.projections[tile.projection]
                rates = self.sent(spec.source, spec.gate, spec.gates_needed)
                spikes = rates[spec.source_start : spec.source_stop]
                found[SYNAPTIC_OPS[spec.form]][..., number] += spikes @ tile.synapses.per_axon()
                found["synapse_read"][..., number] += spikes @ tile.words_read(spec, core)
        return found
