"""Hypothesis strategies: random integer networks, compiled without the float front end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import coo_array
from support.full import full

from mapping.artifact.schema import Artifact, Origin
from mapping.ir.network import Input
from mapping.ir.quantized import (
    NEVER,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    ProjectionSpec,
    QuantizedNetwork,
)
from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    SparseSynapses,
    Synapses,
)
from mapping.partitioners import PARTITIONERS
from mapping.passes.partition import Partition
from mapping.passes.place import Place
from mapping.passes.route import Route
from mapping.semantics.int_net import IntegerTrace
from mapping.targets.figures import Grid, Limit
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from simulators.backend import Run

_CORES = 40
EDGES = (0, 1, 2**22, 2**23 - 1, 2**23, 2**23 + 1, 2**24, 2**30)
"""Magnitudes around which the chip's arithmetic wraps or saturates."""


@dataclass(frozen=True)
class Case:
    """A compiled random network, input for it, ``(samples, steps, inputs)``, and a price."""

    artifact: Artifact
    payloads: np.ndarray
    price: float

    def run(self, *, probe: tuple[str, ...] = ("u", "v"), fuse: bool = False) -> Run:
        """What to ask a backend for."""
        return Run(
            artifact=self.artifact,
            payloads=self.payloads,
            steps=self.payloads.shape[1],
            probe=probe,
            price=self.price,
            deadline_s=90.0,
            fuse=fuse,
        )


@st.composite
def cases(draw: st.DrawFn, *, steps: int = 8) -> Case:
    """Random graphs (recurrence included) × tiny chips × inputs, with values at the edges.

    Relays come with every option, gates listen to anything, and the host holds input back. Chance
    alone hardly ever makes a gate change its mind, so most cases also hold a gate and the rank
    blocks that it switches, wired as the compiler wires them, beside the random rest.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graded = draw(st.booleans())
    inputs = draw(st.integers(1, 5))
    delta = graded and draw(st.booleans())
    largest = (2**40 if delta else 2**30) if graded else 1
    populations: list[IntegerPopulation] = [
        Input(
            name="in",
            shape=(inputs,),
            payload_min=-largest if graded else 0,
            payload_max=largest,
            delta=delta,
        )
    ]
    for number in range(draw(st.integers(1, 3))):
        populations.append(_population(draw, rng, f"p{number}"))
    populations.append(_lif(draw, rng, "out", draw(st.integers(1, 4))))
    projections = _projections(draw, rng, populations, graded=graded)
    if draw(st.booleans()):
        source = draw(st.sampled_from(populations))
        maps, conv = _convolved(draw, rng, source, graded)
        populations.insert(-1, maps)
        projections += [conv, _projection(draw, rng, "read", maps, populations[-1], graded)]
    if draw(st.sampled_from([True, True, False])):
        switched, wires = _switched_blocks(draw, rng, populations[0], populations[-1], graded)
        populations[-1:-1] = switched
        projections += wires
    network = QuantizedNetwork(
        name="random",
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output="out",
    )
    chip = _chip(draw)
    partition = Partition(
        partitioner=draw(st.sampled_from(PARTITIONERS.names())),
        neurons_per_core=draw(st.integers(1, 3)),
    )
    samples = draw(st.integers(1, 3))
    if graded and draw(st.booleans()):
        edges = np.array([*EDGES, *(-e for e in EDGES)])
        payloads = rng.choice(edges, (samples, steps, inputs))
    elif graded:
        payloads = rng.integers(-9, 9, (samples, steps, inputs), endpoint=True)
        payloads *= rng.integers(0, 2, payloads.shape)
    else:
        payloads = rng.integers(0, 2, (samples, steps, inputs))
    return Case(
        artifact=compiled(network, chip, partition),
        payloads=payloads.astype(np.int64),
        price=draw(st.sampled_from([0.0, 0.1, 0.3, 1.0, 1e12])),
    )


def happenings(case: Case, ran: IntegerTrace) -> set[str]:
    """What the gates and relays of ``case`` were seen to do in ``ran``."""
    network = case.artifact.network
    seen = set()
    for population in network.populations:
        if isinstance(population, IntegerGate):
            changes = ran.spikes[population.name]
            seen |= {"a gate goes on"} if (changes > 0).any() else set()
            seen |= {"a gate goes off"} if (changes < 0).any() else set()
            triggered = population.trace_threshold > 0 and changes.any()
            seen |= {"a trace lets a gate change"} if triggered else set()
        elif isinstance(population, IntegerRelay):
            sent = ran.spikes[population.name].any()
            for option in ("sigma", "delta", "rectified"):
                seen |= {f"{option} relays send"} if sent and getattr(population, option) else set()
            is_open = _gates_on(case, ran, population) >= population.needed
            moves = (is_open[:, 1:] != is_open[:, :-1]).any()
            seen |= {"a relay that sends opens or closes"} if sent and moves else set()
            if population.sigma and np.abs(_unwrapped_sum(case, ran, population)).max() >= 2**31:
                seen.add("a sum wraps")
    for projection in network.projections:
        spec = projection.spec
        seen |= {spec.form} | ({"delayed"} if any(spec.delays) else set())
    slots = case.artifact.placement.slots
    seen |= {"several chips"} if len({slot.chip for slot in slots}) > 1 else set()
    lifs = [p for p in network.populations if isinstance(p, IntegerLif)]
    seen |= {"an integrator"} if not all(p.spikes for p in lifs) else set()
    for sent in ran.held_back.values():
        seen |= {"the host lets through"} if sent.any() else set()
        kept = (case.payloads != 0) & (sent == 0)
        seen |= {"the host holds back"} if kept.any() else set()
        moved = (sent != 0) & (case.payloads == 0)
        seen |= {"the host moves a sum"} if moved.any() else set()
    return seen


def delivered(case: Case, ran: IntegerTrace, population: str, port: str) -> np.ndarray:
    """``(samples, steps, size)`` what reaches one port of ``population``."""
    network = case.artifact.network
    samples, steps = case.payloads.shape[:2]
    total = np.zeros((samples, steps, network.population(population).size), np.int64)
    for projection in network.projections:
        spec = projection.spec
        if (spec.target, spec.port) != (population, port):
            continue
        sent = _late(_sent(case, ran, spec), spec.delays)
        sent = sent if spec.graded else (sent != 0).astype(np.int64)
        weights = full(projection.synapses).astype(np.int64) << spec.weight_shift
        sums = (sent @ weights.T).astype(np.int32).astype(np.int64)
        e = spec.exponent
        sums = (sums << e if e > 0 else sums >> -e).astype(np.int32)
        total[:, 1:, spec.target_start : spec.target_stop] += sums[:, :-1]
    return total


def reached(case: Case, ran: IntegerTrace, population: str) -> np.ndarray:
    """``(samples, steps, size)`` whether a spike reaches a compartment, whatever it brings."""
    network = case.artifact.network
    samples, steps = case.payloads.shape[:2]
    found = np.zeros((samples, steps, network.population(population).size), bool)
    for projection in network.projections:
        spec = projection.spec
        if spec.target == population:
            sent = _late(_sent(case, ran, spec), spec.delays) != 0
            synapses = projection.synapses
            present = full(synapses.with_values(np.ones(synapses.values.shape, np.int8))) != 0
            arriving = (sent[:, :-1].astype(int) @ present.T.astype(int)) > 0
            found[:, 1:, spec.target_start : spec.target_stop] |= arriving
    return found


def _sent(case: Case, ran: IntegerTrace, spec: ProjectionSpec) -> np.ndarray:
    """``(samples, steps, columns)`` payloads of the sources of a projection."""
    network = case.artifact.network
    if spec.gate:
        sent = ran.held_back[spec.gate, spec.gates_needed]
    else:
        sent = case.payloads if spec.source == network.input.name else ran.spikes[spec.source]
    return sent[..., spec.source_start : spec.source_stop].astype(np.int64)


def _late(sent: np.ndarray, delays: tuple[int, ...]) -> np.ndarray:
    """``sent``, each column as many steps later as its axon delays it."""
    late = np.zeros_like(sent)
    for column, delay in enumerate(delays or (0,) * sent.shape[2]):
        late[:, delay:, column] = sent[:, : max(sent.shape[1] - delay, 0), column]
    return late


def _gates_on(case: Case, ran: IntegerTrace, relay: IntegerRelay) -> np.ndarray:
    return np.cumsum(delivered(case, ran, relay.name, "control"), axis=1).astype(np.int32)


def _unwrapped_sum(case: Case, ran: IntegerTrace, relay: IntegerRelay) -> np.ndarray:
    return np.cumsum(delivered(case, ran, relay.name, "signal") + relay.bias, axis=1)


def compiled(network: QuantizedNetwork, chip: ChipSpec, partition: Partition) -> Artifact:
    """Partition, place and route ``network``; nothing is checked against design rules."""
    partitioned = partition.run(network, chip)
    placement = Place(placer="raster").run(partitioned, chip)
    origin = Origin(
        tool_version="test",
        seed=0,
        options={},
        network_sha256="",
        chip_sha256="",
        calibration_sha256="",
        stages=(),
    )
    return Artifact(
        chip=chip,
        partitioned=partitioned,
        placement=placement,
        routing=Route().run(partitioned, placement, chip),
        origin=origin,
    )


def _chip(draw: st.DrawFn) -> ChipSpec:
    chip = load_target("loihi2")
    cores_per_tile = draw(st.integers(1, 4))
    width = draw(st.integers(1, 4))
    chips = draw(st.sampled_from([(1, 1), (2, 1), (1, 3), (8, 5)]))
    usable = _CORES // (chips[0] * chips[1]) + 1
    height = -(-usable // (width * cores_per_tile))
    mesh = replace(
        chip.mesh,
        width=width,
        height=height,
        cores_per_tile=cores_per_tile,
        usable_cores=Limit(value=usable, status="assumed", source="test"),
        chips=Grid(value=chips, status="assumed", source="test"),
        host_tile=(draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))),
    )
    return replace(chip, mesh=mesh)


def _population(draw: st.DrawFn, rng: np.random.Generator, name: str) -> IntegerPopulation:
    size = draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["lif", "relay", "gate"]))
    if kind == "lif":
        return _lif(draw, rng, name, size)
    if kind == "gate":
        return _gate(draw, rng, name, size)
    cut = draw(st.integers(0, size - 1))
    bounds = (0, cut, size) if cut else (0, size)
    return IntegerRelay(
        name=name,
        threshold=rng.choice([0, 1, 100, 2**20], size),
        block_bounds=bounds,
        block_scales=(1.0,) * (len(bounds) - 1),
        gates_needed=tuple(rng.integers(-1, 3, len(bounds) - 1).tolist()),
        bias=rng.choice([0, 0, 0, 1, -300, 2**23], size),
        rectified=draw(st.booleans()),
        sigma=draw(st.booleans()),
        delta=draw(st.booleans()),
    )


def _switched_blocks(
    draw: st.DrawFn,
    rng: np.random.Generator,
    source: IntegerPopulation,
    target: IntegerPopulation,
    graded: bool,
) -> tuple[list[IntegerPopulation], list[IntegerProjection]]:
    """A gate that reads ``source``, and the rank blocks between both that it switches.

    The gate's thresholds lie among the sums that it gets, so that it goes on and off.
    """
    gates = draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 2)) for _ in range(gates + 1)]
    bounds = tuple(int(b) for b in np.cumsum([0, *sizes]))
    at_host = draw(st.booleans())
    needed = tuple(range(gates + 1))
    gate = IntegerGate(
        name="gate",
        bias=rng.normal(0.2, 1, gates),
        cost=rng.uniform(0.1, 2, gates),
        scale=draw(st.sampled_from([50.0, 300.0])),
        gain_decay=draw(st.sampled_from([1024, 4095, 4096])),
        trace_decay=draw(st.sampled_from([0, 2048, 4096])),
        trace_threshold=draw(st.sampled_from([0, 0, 1, 300])),
    )
    blocks = IntegerRelay(
        name="blocks",
        threshold=rng.choice([0, 0, 1, 100], bounds[-1]),
        block_bounds=bounds,
        block_scales=(1.0,) * len(sizes),
        gates_needed=() if at_host else needed,
        bias=rng.choice([0, 0, 40], bounds[-1]),
        rectified=draw(st.booleans()),
        sigma=draw(st.booleans()),
        delta=draw(st.booleans()),
    )

    def wire(name: str, ends: tuple[IntegerPopulation, IntegerPopulation], **changes: object):
        one, other = ends
        spec = ProjectionSpec(
            name=name,
            layer="switched",
            part="gate",
            source=one.name,
            source_start=0,
            source_stop=one.size,
            target=other.name,
            target_start=0,
            target_stop=other.size,
            weight_bits=8,
            exponent=draw(st.sampled_from([-3, 0])),
            graded=graded or one is not source,
        )
        spec = replace(spec, **changes)
        if "weight_bits" in changes:
            mantissas = np.arange(gates) < blocks.needed[:, None]
        else:
            mantissas = rng.integers(-128, 127, (spec.rows, spec.columns), endpoint=True)
        return IntegerProjection(spec=spec, synapses=DenseSynapses(values=mantissas))

    wires = [wire("gains", (source, gate)), wire("U", (blocks, target))]
    if gate.trace_threshold:
        wires.append(wire("trigger", (source, gate), port="control"))
    if not at_host:
        wires.append(wire("switch", (gate, blocks), port="control", weight_bits=2, exponent=-7))
    for block, (start, stop) in enumerate(pairwise(bounds)):
        held = {"gate": gate.name, "gates_needed": block} if at_host and block else {}
        ends = {"target_start": start, "target_stop": stop}
        wires.append(wire(f"V.{block}", (source, blocks), **ends, **held))
    return [blocks, gate], wires


def _gate(draw: st.DrawFn, rng: np.random.Generator, name: str, size: int) -> IntegerGate:
    decays = st.sampled_from([0, 1, 2048, 4095, 4096])
    return IntegerGate(
        name=name,
        bias=rng.normal(0, 1, size),
        cost=rng.uniform(0.1, 2, size),
        scale=draw(st.sampled_from([1.0, 1e3, 2.0**22])),
        gain_decay=draw(decays),
        trace_decay=draw(decays),
        trace_threshold=draw(st.sampled_from([0, 1, 1000, 2**22])),
    )


def _lif(draw: st.DrawFn, rng: np.random.Generator, name: str, size: int) -> IntegerLif:
    decays = st.sampled_from([0, 1, 1024, 2048, 4094, 4095])
    return IntegerLif(
        name=name,
        shape=(size,),
        du=draw(decays),
        dv=draw(decays),
        threshold=draw(st.sampled_from([1, 7, 2**10, 2**16, 2**17 - 1, NEVER])),
        bias_mantissa=rng.choice([-4095, -1, 0, 0, 0, 3, 4095], size),
        bias_exponent=draw(st.integers(0, 7)),
        scale=1.0,
    )


def _projections(
    draw: st.DrawFn,
    rng: np.random.Generator,
    populations: list[IntegerPopulation],
    *,
    graded: bool,
) -> list[IntegerProjection]:
    """A chain through all populations, plus random extra and recurrent projections."""
    pairs = list(pairwise(populations))
    inner = populations[1:]
    for _ in range(draw(st.integers(0, 3))):
        pairs.append((draw(st.sampled_from(populations)), draw(st.sampled_from(inner))))
    projections = []
    for number, (source, target) in enumerate(pairs):
        gates = [p for p in populations if isinstance(p, IntegerGate)]
        gate = draw(st.sampled_from([*gates, None])) if source.name == "in" else None
        projections.append(_projection(draw, rng, f"w{number}", source, target, graded, gate))
    return projections


def _projection(
    draw: st.DrawFn,
    rng: np.random.Generator,
    name: str,
    source: IntegerPopulation,
    target: IntegerPopulation,
    graded: bool,
    gate: IntegerGate | None = None,
) -> IntegerProjection:
    """Dense or sparse synapses from a slice of ``source``, some with axonal delays."""
    start = draw(st.integers(0, source.size - 1))
    stop = draw(st.integers(start + 1, source.size))
    bits = draw(st.integers(2, 8))
    listens = isinstance(target, IntegerRelay | IntegerGate)
    mantissas = _mantissas(rng, bits, (target.size, stop - start))
    form = draw(st.sampled_from(["dense", "dense", "sparse"]))
    spec = ProjectionSpec(
        name=name,
        layer=name,
        part="full",
        source=source.name,
        source_start=start,
        source_stop=stop,
        target=target.name,
        target_start=0,
        target_stop=target.size,
        weight_bits=bits,
        exponent=draw(st.integers(-16, 7)),
        graded=_sends_payloads(source, graded),
        port="control" if listens and draw(st.booleans()) else "signal",
        gate=gate.name if gate else "",
        gates_needed=draw(st.integers(1, gate.size)) if gate else 0,
        form=form,
        delays=_delays(draw, rng, stop - start),
    )
    synapses: Synapses = DenseSynapses(values=mantissas)
    if form == "sparse":
        synapses = SparseSynapses.of(coo_array(mantissas * rng.integers(0, 2, mantissas.shape)))
    return IntegerProjection(spec=spec, synapses=synapses)


def _convolved(
    draw: st.DrawFn, rng: np.random.Generator, source: IntegerPopulation, graded: bool
) -> tuple[IntegerLif, IntegerProjection]:
    """LIF feature maps over ``source``, of which the compartments are taken as an image."""
    channels, width = source.size, 1
    if draw(st.booleans()):
        channels, width = 1, source.size
    groups = draw(st.sampled_from([1, channels]))
    conv = ConvShape(
        inputs=(channels, 1, width),
        out_channels=groups * (1 if groups > 1 else draw(st.integers(1, 2))),
        kernel=(1, draw(st.integers(1, width))),
        stride=(1, draw(st.integers(1, 2))),
        padding=(0, draw(st.integers(0, 1))),
        groups=groups,
    )
    bits = draw(st.integers(2, 8))
    maps = replace(_lif(draw, rng, "maps", conv.size), shape=conv.outputs)
    spec = ProjectionSpec(
        name="conv",
        layer="conv",
        part="full",
        source=source.name,
        source_start=0,
        source_stop=source.size,
        target="maps",
        target_start=0,
        target_stop=conv.size,
        weight_bits=bits,
        exponent=draw(st.integers(-16, 7)),
        graded=_sends_payloads(source, graded),
        form="conv",
        conv=conv,
        delays=_delays(draw, rng, source.size),
    )
    values = _mantissas(rng, bits, conv.weight_shape)
    synapses = ConvSynapses.whole(values, conv)
    return maps, IntegerProjection(spec=spec, synapses=synapses)


def _sends_payloads(source: IntegerPopulation, graded: bool) -> bool:
    return isinstance(source, IntegerRelay | IntegerGate) or (graded and source.name == "in")


def _mantissas(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, shape, endpoint=True)


def _delays(draw: st.DrawFn, rng: np.random.Generator, columns: int) -> tuple[int, ...]:
    if draw(st.sampled_from([True, True, False])):
        return ()
    longest = draw(st.sampled_from([1, 3, 63]))
    return tuple(rng.integers(0, longest, columns, endpoint=True).tolist())
