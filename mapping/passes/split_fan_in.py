"""Split the fan-in of dense layers, exactly, where a core cannot hold it or packets are saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np
from scipy.sparse import csr_array, eye_array, hstack

from mapping.errors import CapacityError
from mapping.ir.network import FloatArray
from mapping.ir.partitioned import Members
from mapping.ir.payloads import payload_ranges
from mapping.ir.quantized import (
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    ProjectionSpec,
    QuantizedNetwork,
)
from mapping.ir.ranges import Reach
from mapping.ir.synapses import SparseSynapses
from mapping.ir.traffic import TrafficProfile
from mapping.partitioners import Goal, PartitionProblem
from mapping.partitioners.first_fit import largest
from mapping.partitioners.ledger import Ledger, smaller_fan_in
from mapping.targets.spec import ChipSpec

WORTHWHILE = 0.8
"""A split that nothing forces must leave at most this share of a layer's packets."""

_SUM_BITS = 8
"""Weight bits of the synapses that add the parts: each is the mantissa 1, 2 on Lava's grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFanIn:
    """Give relays the partial sums of a wide layer, so that each input goes to one core only.

    The relays of part ``j`` hold the columns of that part with their mantissas and send what they
    add up to; one more projection, of equal weights, adds the parts and shifts the complete sum as
    before, which is exact for every exponent. That takes one more step. All that comes by other
    ways is delayed as much, so everything behind happens the same number of steps later.

    A layer is split where one compartment's fan-in exceeds a core's input axons or synapse memory.
    For the goal ``energy`` it is also split where the chip then sends at most :data:`WORTHWHILE` of
    the packets: p·d·c_V before, p·d + r·c after, for p·d spikes into r compartments on c_V cores
    and c parts.

    Attributes:
        goal: as of :class:`mapping.partitioners.problem.PartitionProblem`.
        neurons_per_core: cap on compartments per core.
    """

    goal: Goal
    neurons_per_core: int

    def run(
        self, network: QuantizedNetwork, chip: ChipSpec, traffic: TrafficProfile
    ) -> tuple[QuantizedNetwork, TrafficProfile]:
        """The network with its wide layers split, and its expected traffic.

        Raises:
            CapacityError: ADL-CAP-08, a layer does not fit a core and cannot be split.
        """
        ledger = Ledger(
            PartitionProblem(
                network=network,
                chip=chip,
                neurons_per_core=self.neurons_per_core,
                traffic=traffic,
                goal=self.goal,
                seed=0,
            )
        )
        original = network
        ranges: dict[str, Reach] = {}
        for number, projection in enumerate(original.projections):
            spec = projection.spec
            if spec.port != "signal" or spec.form != "dense":
                continue
            split = _Split.of(ledger, number)
            forced = split.rows_per_core == 0
            if not forced and not (self.goal == "energy" and split.share <= WORTHWHILE):
                continue
            ranges = ranges or payload_ranges(original)
            obstacle = next(_obstacles(network, projection, chip, ranges), None)
            if obstacle is None:
                late = _later(network, spec)
                network, traffic = _with_parts(late, traffic, spec.name, split.parts)
            elif forced:
                one = ledger.trial(ledger.empty(), spec.target, _first(spec))
                need = next(n for n in ledger.needs(one) if n.used > n.limit)
                raise CapacityError(
                    f"its fan-in of {spec.columns:,} needs {need.used:,} {need.resource}, a core "
                    f"of {chip.name} has {need.limit:,}, and it cannot be split: {obstacle}",
                    where=spec.name,
                    remedy=smaller_fan_in(chip),
                    code="ADL-CAP-08",
                )
        return network, traffic


def _first(spec: ProjectionSpec) -> Members:
    """The first compartment that ``spec`` ends on."""
    return np.array([spec.target_start], np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """A projection cut by columns.

    Attributes:
        rows_per_core: rows that fit a core with their complete fan-in, 0 if not one does.
        parts: number of parts; share: packets after the split over those before.
    """

    rows_per_core: int
    parts: int
    share: float

    @classmethod
    def of(cls, ledger: Ledger, number: int) -> _Split:
        problem = ledger.problem
        spec, core = problem.network.projections[number].spec, problem.chip.core
        whole = largest(ledger, ledger.empty(), spec.target, spec.target_start, spec.target_stop)
        rows_per_core = 0 if whole is None else int(whole.members.size)
        rows = min(spec.rows, problem.neurons_per_core)
        columns = 0
        while not columns:
            words = core.words_per_axon(rows, spec.weight_bits, delay=spec.longest_delay)
            columns = min(core.input_axons.value, core.synapse_words.value // words, spec.columns)
            if not columns:
                rows //= 2
        parts = -(-spec.columns // columns)
        sent = problem.traffic.sent(spec.source, spec.gate, spec.gates_needed)
        rates = sent[spec.source_start : spec.source_stop]
        before = float(rates.sum()) * -(-spec.rows // max(rows_per_core, 1))
        busy = _partial_rates(rates, parts).sum()
        after = float(rates.sum()) * -(-spec.rows // rows) + spec.rows * float(busy)
        return cls(
            rows_per_core=rows_per_core,
            parts=parts,
            share=after / before if parts > 1 and before else 1.0,
        )


def _partial_rates(rates: FloatArray, parts: int) -> FloatArray:
    """``(parts,)`` share of steps in which anything reaches a part, if senders are independent."""
    silent = [np.prod(1 - np.minimum(part, 1.0)) for part in np.array_split(rates, parts)]
    return 1 - np.array(silent)


def _obstacles(
    network: QuantizedNetwork,
    projection: IntegerProjection,
    chip: ChipSpec,
    ranges: dict[str, Reach],
) -> Iterator[str]:
    """Why ``projection`` cannot be split."""
    spec, numeric = projection.spec, chip.numeric
    if not chip.capabilities.graded_spikes.value:
        yield f"partial sums are graded spikes, which {chip.name} lacks"
    if spec.exponent - (9 - _SUM_BITS) < numeric.weight_exponent_min.value:
        yield "the shift of the complete sum would be beyond the chip's exponents"
    behind = _behind(network, spec)
    if spec.source in behind:
        yield "it lies in a loop, which would take one more step"
    for population in map(network.population, sorted(behind)):
        match population:
            case IntegerGate():
                yield f"the gates {population.name} would act a step later than trained"
            case IntegerLif() if population.bias_mantissa.any():
                yield f"the bias of {population.name} acts from the first step on"
            case IntegerRelay() if population.bias.any():
                yield f"{population.name} sends from the first step on"
    for other in network.projections:
        if other.spec.target in behind and other.spec.gate:
            yield f"the host holds back what {other.spec.target} gets"
        aside = other.spec.name != spec.name and other.spec.source not in behind
        if aside and other.spec.target in behind:
            delay = other.spec.longest_delay + 1
            if delay > numeric.longest_delay.value:
                yield f"{other.spec.name} beside it would need a delay of {delay} steps"
    reach = ranges[spec.source].part(spec.source_start, spec.source_stop).packet
    low, high = projection.synapses.sum_range(reach.low, reach.high)
    peak = float(max(-low.min(), high.max())) * 2.0**spec.weight_shift
    limit = 2 ** (numeric.payload_bits.value - 1) - 1
    if peak > min(limit, 2 ** (numeric.accumulator_bits.value - 2) - 1):
        yield f"partial sums can reach {peak:.4g}, a packet holds ±{limit}"


def _behind(network: QuantizedNetwork, spec: ProjectionSpec) -> set[str]:
    """The target of ``spec`` and all that it reaches."""
    return {spec.target, *nx.descendants(network.graph(), spec.target)}


def _later(network: QuantizedNetwork, late: ProjectionSpec) -> QuantizedNetwork:
    """``network`` with delays that make up for one more step in the projection ``late``."""
    behind = _behind(network, late)
    projections = []
    for projection in network.projections:
        spec = projection.spec
        aside = spec.target in behind and spec.source not in behind and spec.name != late.name
        if aside:
            delays = tuple(delay + 1 for delay in spec.delays or (0,) * spec.columns)
            projection = replace(projection, spec=replace(spec, delays=delays))
        projections.append(projection)
    return replace(network, projections=tuple(projections))


def _with_parts(
    network: QuantizedNetwork,
    traffic: TrafficProfile,
    layer: str,
    parts: int,
) -> tuple[QuantizedNetwork, TrafficProfile]:
    """``network`` with the projection ``layer`` in so many parts."""
    number = [p.spec.name for p in network.projections].index(layer)
    projection = network.projections[number]
    spec, rows = projection.spec, projection.spec.rows
    name = f"{spec.name}/partial"
    bounds = tuple(rows * part for part in range(parts + 1))
    relay = IntegerRelay(
        name=name,
        threshold=np.zeros(rows * parts, np.int32),
        block_bounds=bounds,
        block_scales=(1.0,) * parts,
    )
    pieces = []
    for part, columns in enumerate(np.array_split(np.arange(spec.columns), parts)):
        start, stop = int(columns[0]), int(columns[-1]) + 1
        pieces.append(
            IntegerProjection(
                spec=replace(
                    spec,
                    name=f"{spec.name}/{part}",
                    source_start=spec.source_start + start,
                    source_stop=spec.source_start + stop,
                    target=name,
                    target_start=bounds[part],
                    target_stop=bounds[part + 1],
                    exponent=0,
                    delays=spec.delays[start:stop],
                ),
                synapses=projection.synapses.columns(start, stop),
            )
        )
    ones = csr_array(hstack([eye_array(rows, dtype=np.int8)] * parts))
    total = IntegerProjection(
        spec=replace(
            spec,
            part="sum",
            source=name,
            source_start=0,
            source_stop=rows * parts,
            weight_bits=_SUM_BITS,
            exponent=spec.exponent - (9 - _SUM_BITS),
            graded=True,
            form="sparse",
            delays=(),
        ),
        synapses=SparseSynapses.of(ones),
    )
    projections = (
        *network.projections[:number],
        *pieces,
        total,
        *network.projections[number + 1 :],
    )
    populations: list[IntegerPopulation] = list(network.populations)
    place = [p.name for p in populations].index(spec.target)
    populations.insert(place, relay)
    fidelity = [f for f in network.fidelity if f.projection != spec.name]
    own = [f for f in network.fidelity if f.projection == spec.name]
    fidelity += [replace(f, projection=piece.spec.name) for f in own for piece in pieces]
    rates = traffic.sent(spec.source, spec.gate, spec.gates_needed)
    busy = _partial_rates(rates[spec.source_start : spec.source_stop], parts)
    often = np.repeat(busy, rows)
    return replace(
        network,
        populations=tuple(populations),
        projections=projections,
        fidelity=tuple(fidelity),
    ), replace(
        traffic,
        rates=traffic.rates | {name: often},
        updates=traffic.updates | {name: often},
    )
