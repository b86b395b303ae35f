from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import limit, tiny_chip
from support.integer_networks import compiled as assembled
from support.networks import (
    changed,
    dense_network,
    digits_like_network,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.artifact.schema import Artifact
from mapping.errors import DesignRuleError
from mapping.ir.network import Input, Network
from mapping.ir.partitioned import CoreProgram
from mapping.ir.placed import Placement
from mapping.ir.quantized import IntegerLif, IntegerRelay
from mapping.ir.routed import link_ends
from mapping.ir.synapses import DenseSynapses, SparseSynapses
from mapping.partitioners import PARTITIONERS, Assignment, PartitionProblem
from mapping.passes.partition import Partition
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import RULES, check_rules
from mapping.semantics.int_net import run_integer_network
from mapping.targets.figures import STEPS, Faults

Doctor = Callable[[Artifact], Artifact]


def compiled(
    network: Network | None = None, *, per_core: int = 4, weight_bits: int = 8
) -> Artifact:
    """A good program: 12 inputs, 4 relays, 8 hidden neurons, 3 outputs on four cores."""
    chip = tiny_chip(width=3, height=2, cores_per_tile=2)
    realised = realise_factors(network or small_network())
    image = Quantize(weight_bits=weight_bits).run(realised, chip)
    return assembled(image, chip, Partition(neurons_per_core=per_core))


def core_limit(**limits: int) -> Doctor:
    """The same program on a chip with smaller cores."""

    def doctor(artifact: Artifact) -> Artifact:
        made = replace(artifact.chip.core, **{name: limit(v) for name, v in limits.items()})
        return replace(artifact, chip=replace(artifact.chip, core=made))

    return doctor


def numeric_limit(**limits: int) -> Doctor:
    """The same program on a chip with narrower numbers."""

    def doctor(artifact: Artifact) -> Artifact:
        made = replace(artifact.chip.numeric, **{name: limit(v) for name, v in limits.items()})
        return replace(artifact, chip=replace(artifact.chip, numeric=made))

    return doctor


def usable_cores(number: int) -> Doctor:
    """The same program on a chip with fewer usable cores."""

    def doctor(artifact: Artifact) -> Artifact:
        mesh = replace(artifact.chip.mesh, usable_cores=limit(number))
        return replace(artifact, chip=replace(artifact.chip, mesh=mesh))

    return doctor


def faulty(*, core: int | None = None, a_link: bool = False) -> Doctor:
    """The same program on a chip on which a core or the first link that a route takes is broken."""

    def doctor(artifact: Artifact) -> Artifact:
        mesh, cores, links = artifact.chip.mesh, [], []
        if core is not None:
            slot = artifact.placement.slots[core]
            cores.append((slot.chip, slot.x, slot.y, slot.core))
        if a_link:
            link = int(artifact.routing.links[0])
            links.append((*link_ends(link, mesh)[0], tuple(STEPS)[link % 4]))
        faults = Faults(
            cores=tuple(cores), links=tuple(links), status="assumed", source="made up for a test"
        )
        mesh = replace(mesh, faulty=faults)
        return replace(artifact, chip=replace(artifact.chip, mesh=mesh))

    return doctor


def on_one_of_two_chips(cores: int) -> Doctor:
    """The same program on the first of two chips of ``cores`` usable cores."""

    def doctor(artifact: Artifact) -> Artifact:
        chips = replace(artifact.chip.mesh.chips, value=(1, 2))
        mesh = replace(artifact.chip.mesh, usable_cores=limit(cores), chips=chips)
        return replace(artifact, chip=replace(artifact.chip, mesh=mesh))

    return doctor


def slot(core: int, /, **changes: int) -> Doctor:
    """Core program ``core`` in another place."""

    def doctor(artifact: Artifact) -> Artifact:
        slots = list(artifact.placement.slots)
        slots[core] = replace(slots[core], **changes)
        return replace(artifact, placement=Placement(slots=tuple(slots)))

    return doctor


def lif(**changes: object) -> Doctor:
    """Other parameters for the output population."""

    def doctor(artifact: Artifact) -> Artifact:
        populations = tuple(
            replace(p, **changes) if p.name == "out" else p
            for p in artifact.partitioned.populations
        )
        return replace(artifact, partitioned=replace(artifact.partitioned, populations=populations))

    return doctor


def spec(**changes: object) -> Doctor:
    """Another description of the last projection."""

    def doctor(artifact: Artifact) -> Artifact:
        *others, last = artifact.partitioned.projections
        specs = (*others, replace(last, **changes))
        return replace(artifact, partitioned=replace(artifact.partitioned, projections=specs))

    return doctor


def widths(*bits: int) -> Doctor:
    """The same program on a chip that stores weights in these numbers of bits."""

    def doctor(artifact: Artifact) -> Artifact:
        core = artifact.chip.core
        made = replace(core, weight_widths=replace(core.weight_widths, value=bits))
        return replace(artifact, chip=replace(artifact.chip, core=made))

    return doctor


def mantissa(value: int) -> Doctor:
    """One mantissa of the last projection set to ``value``."""

    def doctor(artifact: Artifact) -> Artifact:
        *others, last = artifact.partitioned.cores
        changed = np.array(last.tiles[-1].synapses.values)
        changed[0, 0] = value
        tiles = (*last.tiles[:-1], replace(last.tiles[-1], synapses=DenseSynapses(values=changed)))
        cores = (*others, CoreProgram(groups=last.groups, tiles=tiles))
        return replace(artifact, partitioned=replace(artifact.partitioned, cores=cores))

    return doctor


def lost_flow(artifact: Artifact) -> Artifact:
    """The routes without the last one."""
    old = artifact.routing
    routing = replace(
        old,
        source=old.source[:-1],
        target=old.target[:-1],
        offsets=old.offsets[:-1],
        links=old.links[: old.offsets[-2]],
    )
    return replace(artifact, routing=routing)


def detour(artifact: Artifact) -> Artifact:
    """The longest route with its links shifted by a tile."""
    old = artifact.routing
    longest = int(np.diff(old.offsets).argmax())
    part = slice(old.offsets[longest], old.offsets[longest + 1])
    links = np.array(old.links)
    assert links[part].size
    links[part] = (links[part] + 4) % (4 * artifact.chip.tiles)
    return replace(artifact, routing=replace(old, links=links))


def stored_widths(field: str, *widths: int, sparse: bool = False, **changes: object) -> Doctor:
    """The last projection changed, on a chip that stores synapses in these widths."""

    def doctor(artifact: Artifact) -> Artifact:
        if sparse:
            *others, last = artifact.partitioned.cores
            tile = last.tiles[-1]
            listed = SparseSynapses.of(np.where(tile.synapses.values, tile.synapses.values, 1))
            last = CoreProgram(groups=last.groups, tiles=(replace(tile, synapses=listed),))
            partitioned = replace(artifact.partitioned, cores=(*others, last))
            artifact = spec(form="sparse")(replace(artifact, partitioned=partitioned))
        artifact = spec(**changes)(artifact)
        stored = replace(getattr(artifact.chip.core, field), value=widths)
        core = replace(artifact.chip.core, **{field: stored})
        return replace(artifact, chip=replace(artifact.chip, core=core))

    return doctor


def without_graded_spikes(artifact: Artifact) -> Artifact:
    """The same program on a chip whose spikes are binary."""
    can = artifact.chip.capabilities
    can = replace(can, graded_spikes=replace(can.graded_spikes, value=False))
    return replace(artifact, chip=replace(artifact.chip, capabilities=can))


def zeroed(share: float) -> Doctor:
    """The last projection with a ``share`` of weights that rounding has made 0."""

    def doctor(artifact: Artifact) -> Artifact:
        *others, last = artifact.partitioned.fidelity
        fidelity = (*others, replace(last, zeroed=share))
        return replace(artifact, partitioned=replace(artifact.partitioned, fidelity=fidelity))

    return doctor


def wide_mantissa(_: Artifact) -> Artifact:
    """A program of 5-bit weights with one of 6 bits."""
    return numeric_limit(activation_bits=20)(mantissa(16)(compiled(weight_bits=5)))


def high_exponent(artifact: Artifact) -> Artifact:
    """An exponent too high, on a chip whose other fields hold the larger sums."""
    return numeric_limit(activation_bits=30)(spec(exponent=8)(artifact))


BROKEN: list[tuple[str, str, Doctor, str, str, str]] = [
    # code, case, doctor, where, message, remedy
    (
        "ADL-CAP-01",
        "compartments",
        core_limit(compartments=3),
        "enc/relay[0:4] → core 0",
        "needs 4 compartments, tiny has 3",
        "neurons_per_core",
    ),
    (
        "ADL-CAP-02",
        "synapse words",
        core_limit(synapse_words=23),
        "enc/relay[0:4] → core 0",
        "needs 24 synapse words, tiny has 23",
        "weight bits",
    ),
    (
        "ADL-CAP-03",
        "input axons",
        core_limit(input_axons=11),
        "enc/relay[0:4] → core 0",
        "needs 12 input axons, tiny has 11",
        "fan-in",
    ),
    (
        "ADL-CAP-04",
        "output axons",
        core_limit(output_axons=7),
        "enc/relay[0:4] → core 0",
        "needs 8 output axons, tiny has 7",
        "fewer, fuller cores",
    ),
    (
        "ADL-CAP-05",
        "groups",
        core_limit(compartment_groups=0),
        "enc/relay[0:4] → core 0",
        "needs 1 compartment groups, tiny has 0",
        "neurons_per_core",
    ),
    (
        "ADL-CAP-06",
        "cores",
        usable_cores(3),
        "network digits-like",
        "needs 4 cores, tiny has 3",
        "rank",
    ),
    (
        "ADL-CAP-06",
        "crowded chip",
        on_one_of_two_chips(3),
        "network digits-like → chip 0",
        "needs 4 cores, tiny has 3 per chip",
        "place",
    ),
    (
        "ADL-CAP-07",
        "index bits",
        stored_widths("index_widths", 1, sparse=True),
        "dec → core 3",
        "its synapses need 2 index bits, tiny stores up to 1",
        "neurons_per_core",
    ),
    (
        "ADL-CAP-07",
        "delay bits",
        stored_widths("delay_widths", 1, delays=(0,) * 7 + (2,)),
        "dec → core 3",
        "its synapses need 2 delay bits, tiny stores up to 1",
        "lower the delays",
    ),
    (
        "ADL-CAP-07",
        "weight bits",
        stored_widths("weight_widths", 6),
        "enc/V.0 → core 0",
        "its synapses need 8 weight bits, tiny stores up to 6",
        "the weight bits",
    ),
    ("ADL-MSH-01", "shared core", slot(1, core=0), "tile (0, 0) core 0", "2 core prog", "place"),
    ("ADL-MSH-02", "core number", slot(1, core=2), "core 1", "core 2 of tile (0, 0)", "place"),
    ("ADL-MSH-02", "negative core", slot(1, core=-1), "core 1", "core -1", "place"),
    ("ADL-MSH-02", "other chip", slot(1, chip=1), "core 1", "chip 1", "place"),
    ("ADL-MSH-02", "negative chip", slot(1, chip=-1), "core 1", "chip -1", "place"),
    ("ADL-MSH-03", "lost flow", lost_flow, "routes", "do not match", "route again"),
    ("ADL-MSH-03", "wrong links", detour, "flow", "x-then-y", "route again"),
    ("ADL-MSH-03", "stale routes", slot(3, y=1), "flow", "x-then-y", "route again"),
    ("ADL-MSH-04", "broken core", faulty(core=2), "core 2", "faulty core 0", "compile again"),
    ("ADL-MSH-05", "broken link", faulty(a_link=True), "flow 0 → 2", "(0, 0) to", "compile"),
    (
        "ADL-NUM-01",
        "chip's weight bits",
        numeric_limit(weight_bits=7),
        "enc/V.0",
        "bits",
        "fewer weight bits",
    ),
    ("ADL-NUM-01", "mantissa", wide_mantissa, "dec", "5 bits", "fewer weight bits"),
    ("ADL-NUM-01", "exponent low", spec(exponent=-17), "dec", "-17 is outside -16..7", "rescale"),
    ("ADL-NUM-01", "exponent high", high_exponent, "dec", "8 is outside -16..7", "rescale"),
    (
        "ADL-NUM-02",
        "accumulator",
        numeric_limit(accumulator_bits=11),
        "enc/V.0",
        "the accumulator holds ±1023",
        "lower the weights",
    ),
    (
        "ADL-NUM-03",
        "payload",
        numeric_limit(payload_bits=12),
        "enc/relay",
        "the packet holds ±2047",
        "lower the weights",
    ),
    (
        "ADL-NUM-04",
        "activation",
        numeric_limit(activation_bits=14),
        "hidden",
        "the field holds ±8191",
        "lower the weights",
    ),
    ("ADL-NUM-04", "memory", lif(du=0), "out", "once accumulated", "lower the weights"),
    ("ADL-NUM-05", "threshold", lif(threshold=2**17 + 1), "out", "threshold", ""),
    ("ADL-NUM-05", "bias", lif(bias_mantissa=np.full(3, 4096)), "out", "bias mantissa", ""),
    ("ADL-NUM-05", "bias exponent", lif(bias_exponent=8), "out", "bias exponent", ""),
    ("ADL-NUM-05", "current decay", lif(du=4096), "out", "decay", ""),
    ("ADL-NUM-05", "voltage decay", lif(dv=-1), "out", "decay", ""),
    (
        "ADL-NUM-07",
        "graded",
        without_graded_spikes,
        "in",
        "sends payloads of 0..3, spikes of tiny carry none",
        "code the input by spikes",
    ),
    (
        "ADL-NUM-08",
        "long delay",
        spec(delays=(0,) * 7 + (64,)),
        "dec",
        "has delays of 0 to 64 steps, tiny has 0 to 63",
        "train with delays",
    ),
    ("ADL-NUM-08", "before its time", spec(delays=(-1,) * 8), "dec", "of -1 to -1", "delays"),
    ("ADL-NUM-06", "threshold", lif(threshold=31), "out", "only 31 units", "current_decay"),
    ("ADL-NUM-09", "zeroed", zeroed(0.26), "dec", "26.0% of its non-zero", "more weight bits"),
    ("ADL-NUM-10", "widened", widths(4, 9), "enc/V", "8 bits are stored in 9", "9 weight bits"),
    ("ADL-NUM-10", "narrower", widths(4, 9), "enc/V", "8 bits are stored", "or 4, which take less"),
]


@pytest.mark.parametrize(
    ("code", "doctor", "where", "message", "remedy"),
    [(code, *rest) for code, _, *rest in BROKEN],
    ids=[f"{code} {case}" for code, case, *_ in BROKEN],
)
def test_a_doctored_program_breaks_just_that_rule(
    code: str, doctor: Doctor, where: str, message: str, remedy: str
) -> None:
    broken = doctor(compiled())
    found = check_rules(broken)
    assert {d.code for d in found} == {code}
    first = found[0]
    assert where in first.where
    assert message in first.message
    assert first.remedy
    assert remedy in first.remedy
    warnings = ("ADL-NUM-04", "ADL-NUM-06", "ADL-NUM-09", "ADL-NUM-10")
    assert first.severity == ("warning" if code in warnings else "error")
    assert str(first) == f"{code} · {first.where}: {first.message}. Remedy: {first.remedy}."
    errors = [d for d in found if d.severity == "error"]
    if errors:
        assert str(DesignRuleError(errors)).startswith(f"{code} · {first.where}")


@pytest.mark.parametrize("threshold", [-1, 2**24])
def test_relay_thresholds_must_fit_the_payload(threshold: int) -> None:
    """A negative one would send zeros for ever, one beyond the packet cannot be stored."""
    artifact = compiled()
    populations = tuple(
        replace(p, threshold=np.full(p.size, threshold)) if isinstance(p, IntegerRelay) else p
        for p in artifact.partitioned.populations
    )
    broken = replace(artifact, partitioned=replace(artifact.partitioned, populations=populations))
    found = [(d.code, d.where) for d in check_rules(broken)]
    assert found == [("ADL-NUM-05", "enc/relay")]


def test_every_rule_has_a_doctored_program() -> None:
    assert {code for code, *_ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    "network",
    [
        digits_like_network(),
        digits_like_network(relay_threshold=0.1),
        small_network(biases=False),
        dense_network((30, 20, 10)),
        recurrent_network(),
    ],
)
def test_what_the_compiler_makes_is_clean(network: Network) -> None:
    assert check_rules(compiled(network, per_core=16)) == ()


def test_all_violations_come_at_once_in_the_order_of_the_codes() -> None:
    broken = core_limit(compartments=3, input_axons=7)(compiled())
    broken = numeric_limit(payload_bits=5)(lif(dv=-1)(broken))
    found = [d.code for d in check_rules(broken)]
    assert found == sorted(found)
    assert set(found) == {"ADL-CAP-01", "ADL-CAP-03", "ADL-NUM-03", "ADL-NUM-05"}
    assert found.count("ADL-CAP-01") == 3


def test_every_core_over_a_limit_is_named() -> None:
    broken = core_limit(input_axons=3)(compiled())
    assert [d.where for d in check_rules(broken)] == [
        "enc/relay[0:4] → core 0",
        "hidden[0:4] → core 1",
        "hidden[4:8] → core 2",
        "out[0:3] → core 3",
    ]


def test_relays_in_a_loop_have_no_bound() -> None:
    """The quantiser refuses such a network; the rule must not loop for ever on its program."""
    image = compiled(relay_network()).network
    first = image.projections[0]
    turned = replace(first.spec, name="loop", source="z", source_stop=2, graded=True)
    loop = replace(first, spec=turned, synapses=DenseSynapses(values=np.ones((2, 2), np.int8)))
    looped = replace(image, projections=(*image.projections, loop))
    found = check_rules(assembled(looped, tiny_chip(), Partition()))
    assert ("ADL-NUM-03", "z") in {(d.code, d.where) for d in found}


def narrowest(artifact: Artifact, field: str, code: str) -> int:
    """Bits of the narrowest field with which the rule is content."""
    for bits in range(2, 64):
        found = check_rules(numeric_limit(**{field: bits})(artifact))
        if code not in {d.code for d in found}:
            return bits
    raise AssertionError(f"{code} is never content")


def hard_input(artifact: Artifact, seed: int) -> np.ndarray:
    """Extreme payloads, and for each row behind the input the input that drives it hardest."""
    network = artifact.network
    source = network.input
    low, high = source.payload_min, source.payload_max
    rows = np.concatenate(
        [p.mantissas for p in network.projections if p.spec.source == source.name]
    )
    hardest = np.where(np.concatenate([rows, -rows]) > 0, high, low)
    held = np.repeat(hardest[:, None], 12, axis=1).reshape(len(hardest), 12, *source.shape)
    mixed = np.random.default_rng(seed).choice([low, high], (6, 12, *source.shape))
    return np.concatenate([held, mixed])


@settings(max_examples=20)
@given(
    make=st.sampled_from([small_network, dense_network, recurrent_network, relay_network]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_narrowest_field_that_a_rule_accepts_holds_whatever_comes(
    make: Callable[..., Network], seed: int
) -> None:
    artifact = compiled(make(seed=seed))
    network = artifact.network
    payloads = hard_input(artifact, seed)
    trace = run_integer_network(network, payloads)
    sent = {**trace.spikes, network.input.name: payloads.reshape(*payloads.shape[:2], -1)}

    delivered = {p.name: np.zeros_like(sent[p.name]) for p in network.populations}
    largest_sum = 0
    for projection in network.projections:
        about = projection.spec
        spikes = sent[about.source][..., about.source_start : about.source_stop]
        reached = spikes @ projection.weights.astype(np.int64).T
        shifted = np.floor(reached * 2.0**about.exponent).astype(np.int64)
        largest_sum = max(largest_sum, abs(reached).max(), abs(shifted).max())
        delivered[about.target][..., about.target_start : about.target_stop] += shifted

    accumulator = narrowest(artifact, "accumulator_bits", "ADL-NUM-02")
    assert largest_sum <= 2 ** (accumulator - 1) - 1
    activation = 2 ** (narrowest(artifact, "activation_bits", "ADL-NUM-04") - 1) - 1
    packet = 2 ** (narrowest(artifact, "payload_bits", "ADL-NUM-03") - 1) - 1
    for population in network.populations:
        match population:
            case Input():
                assert max(-population.payload_min, population.payload_max) <= packet
            case IntegerLif():
                assert np.abs(delivered[population.name]).max() <= activation
                assert np.abs(trace.u[population.name]).max() <= activation << 6
            case IntegerRelay():
                assert np.abs(delivered[population.name]).max() <= packet
    first = next(p for p in network.populations if not isinstance(p, Input))
    if isinstance(first, IntegerRelay):
        assert 2 * np.abs(delivered[first.name]).max() > packet / 2, "the bound is needlessly wide"


def test_a_row_much_smaller_than_the_others_is_not_zeroed_without_a_word() -> None:
    weight = np.random.default_rng(0).normal(0, 1.0, (5, 6)) * np.array([[1e3], *[[1.0]] * 4])
    network = changed(dense_network(), "w1", weight=weight)
    found = check_rules(compiled(network))
    assert [(d.code, d.severity, d.where) for d in found if d.code == "ADL-NUM-09"] == [
        ("ADL-NUM-09", "warning", "w1")
    ]
    assert not any(d.code == "ADL-NUM-09" for d in check_rules(compiled(weight_bits=4)))


@pytest.mark.parametrize("value", [-128, 127])
def test_the_ends_of_the_mantissa_range_are_legal(value: int) -> None:
    assert check_rules(mantissa(value)(compiled())) == ()


def test_the_ends_of_the_parameter_ranges_are_legal() -> None:
    edge = lif(
        threshold=2**17 - 1, bias_mantissa=np.array([-4095, 0, 4095]), bias_exponent=7, dv=4095
    )
    assert check_rules(edge(compiled())) == ()
    assert check_rules(lif(threshold=32, du=4095, dv=0)(compiled())) == ()


def test_a_careless_partitioner_is_caught_with_every_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Design rules read the program, not the books of the pass that made it."""

    def careless(problem: PartitionProblem) -> Assignment:
        spacious = replace(problem, chip=tiny_chip(), neurons_per_core=4096)
        return PARTITIONERS.get("first-fit")(spacious)

    monkeypatch.setitem(PARTITIONERS._known, "careless", careless)
    chip = tiny_chip(compartments=4, input_axons=12)
    with pytest.raises(DesignRuleError) as caught:
        compile_network(small_network(), chip, CompileOptions(partitioner="careless"))
    error = caught.value
    assert {d.code for d in error.diagnostics} == {"ADL-CAP-01", "ADL-CAP-03"}
    assert (error.code, error.where) == (error.diagnostics[0].code, error.diagnostics[0].where)
    assert "(and 1 more violation" in error.message
    assert error.exit_code == 3
