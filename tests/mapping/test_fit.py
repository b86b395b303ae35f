from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.chips import limit, tiny_chip
from support.integer_networks import compiled
from support.networks import dense_network, digits_like_network, small_network

from mapping.errors import CapacityError, DesignRuleError
from mapping.fit import Occupancy, find_fixes, judge
from mapping.ir.diagnostic import Fix
from mapping.ir.network import LowRank, Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.partitioners import PARTITIONERS, Assignment, PartitionProblem
from mapping.passes.partition import Partition
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.pipeline import CompileOptions, compile_network, cut_network
from mapping.rules import check_rules
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def refusal(
    network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions
) -> CapacityError:
    with pytest.raises(CapacityError) as caught:
        compile_network(network, chip, options)
    return caught.value


def fixes_of(
    network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions | None = None
) -> dict[str, Fix]:
    options = options or CompileOptions()
    error = refusal(network, chip, options)
    assert list(error.fixes) == sorted(error.fixes, key=lambda f: PRICES.index(f.option))
    assert 0 < len(error.fixes) <= 3
    assert error.remedy == "; or ".join(map(str, error.fixes))
    for fix in error.fixes:
        assert_works(fix, network, chip, options)
    return {fix.option: fix for fix in error.fixes}


PRICES = ["neurons_per_core", "partitioner", "target", "weight_bits", "rank"]


def assert_works(
    fix: Fix, network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions
) -> None:
    """What a fix promises is what the compiler makes of it."""
    if fix.option == "target":
        chip = load_target(str(fix.value))
    else:
        options = replace(options, **{fix.option: fix.value})
    artifact = compile_network(network, chip, options).artifact
    assert not [d for d in check_rules(artifact) if d.severity == "error"]
    taken = Occupancy.of(artifact.partitioned, chip)
    assert (fix.cores_used, fix.cores_available) == (taken.cores_used, chip.cores)
    assert fix.utilisation == max(taken.busiest.values()) <= 1


def still_too_much(
    network: Network, chip: ChipSpec, options: CompileOptions, **change: int
) -> None:
    """One step less of a change does not do."""
    refusal(network, chip, replace(options, **change))


def test_the_largest_bits_and_rank_that_fit_are_named() -> None:
    network = digits_like_network(hidden=512, rank=64, levels=(32, 64), shape=(16, 16))
    chip = tiny_chip(synapse_words=4000, usable_cores=4)
    found = fixes_of(network, chip)
    assert list(found) == ["target", "weight_bits", "rank"]
    bits, rank = found["weight_bits"].value, found["rank"].value
    assert isinstance(bits, int)
    assert isinstance(rank, int)
    still_too_much(network, chip, CompileOptions(), weight_bits=bits + 1)
    still_too_much(network, chip, CompileOptions(), rank=rank + 1)
    remedy = refusal(network, chip, CompileOptions()).remedy
    assert f"--weight-bits {bits} fits: 4 of 4 cores, weights off by " in remedy
    assert f"--rank {rank} fits: " in remedy


def test_the_error_of_a_lower_rank_is_what_it_cuts_off() -> None:
    network = digits_like_network(hidden=512, rank=64, levels=(32, 64), shape=(16, 16))
    fix = fixes_of(network, tiny_chip(synapse_words=4000, usable_cores=4))["rank"]
    pair = next(p for p in network.projections if isinstance(p, LowRank))
    assert isinstance(fix.value, int)
    kept = pair.U[:, : fix.value] @ pair.V[:, : fix.value].T
    whole = pair.U @ pair.V.T
    lost = float(np.linalg.norm(whole - kept) / np.linalg.norm(whole))
    assert fix.relative_error == pytest.approx(lost)


def test_fewer_bits_cost_precision_and_say_how_much() -> None:
    network = dense_network((64, 300, 10))
    chip = tiny_chip(synapse_words=700, usable_cores=10)
    fix = fixes_of(network, chip)["weight_bits"]
    image = Quantize(weight_bits=int(str(fix.value))).run(realise_factors(network), chip)
    assert fix.relative_error == max(f.relative_error for f in image.fidelity)
    assert f"weights off by {fix.relative_error:.2%} at most" in str(fix)


def test_a_cap_that_takes_too_many_cores_is_dropped_first() -> None:
    chip = tiny_chip(usable_cores=2)
    found = fixes_of(digits_like_network(), chip, CompileOptions(neurons_per_core=16))
    first = next(iter(found.values()))
    assert (first.option, first.value, first.cores_used) == ("neurons_per_core", None, 1)
    assert str(first).startswith("without --neurons-per-core it fits: 1 of 2 cores")


def test_emptier_cores_share_the_sending() -> None:
    """64 hidden neurons send to 13 cores of 12 outputs each: 832 output axons on one core."""
    chip = tiny_chip(compartments=64, output_axons=500, synapse_words=256)
    network = dense_network((8, 64, 150))
    error = refusal(network, chip, CompileOptions())
    assert error.code == "ADL-CAP-04"
    fix = error.fixes[0]
    assert fix.option == "neurons_per_core"
    assert_works(fix, network, chip, CompileOptions())


def test_another_partitioner_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def wasteful(problem: PartitionProblem) -> Assignment:
        return PARTITIONERS.get("first-fit")(replace(problem, neurons_per_core=1))

    monkeypatch.setitem(PARTITIONERS._known, "wasteful", wasteful)
    options = CompileOptions(partitioner="wasteful")
    fix = next(iter(fixes_of(small_network(), tiny_chip(usable_cores=4), options).values()))
    assert (fix.option, fix.value) == ("partitioner", "best")


def test_a_bigger_target_is_the_smallest_that_does() -> None:
    network = digits_like_network()
    found = fixes_of(network, replace(LOIHI2, mesh=replace(LOIHI2.mesh, usable_cores=limit(0))))
    assert found["target"].value in ("kapoho-point", "loihi2")
    crowded = fixes_of(dense_network((4, 125, 2)), LOIHI2, CompileOptions(neurons_per_core=1))
    assert (crowded["target"].value, crowded["target"].cores_available) == ("kapoho-point", 960)


def test_a_target_that_computes_less_exactly_is_no_fix() -> None:
    """A rate-coded network fits loihi1, but its sums are narrower there."""
    error = refusal(
        dense_network((4, 125, 2)), tiny_chip(usable_cores=1), CompileOptions(neurons_per_core=64)
    )
    assert "loihi1" not in [f.value for f in error.fixes]
    assert {f.option for f in error.fixes} >= {"neurons_per_core", "target"}


def test_integers_have_neither_bits_nor_ranks_to_give() -> None:
    image = Quantize().run(realise_factors(small_network()), tiny_chip())
    found = fixes_of(image, tiny_chip(synapse_words=11))
    assert set(found) == {"target"}


def test_what_nothing_helps_keeps_its_remedy() -> None:
    """No core of loihi2 listens to 20,000 inputs, and biases forbid to split the fan-in."""
    network = digits_like_network(shape=(20_000,), rank=4, levels=(2, 4), hidden=8, classes=3)
    error = refusal(network, LOIHI2, CompileOptions())
    assert error.code == "ADL-CAP-08"
    assert error.fixes == ()
    assert error.remedy.startswith("lower the rank or the fan-in")
    assert error.as_dict()["fixes"] == []


def test_no_rank_is_named_where_the_chip_fuses_factor_pairs() -> None:
    network = digits_like_network(
        shape=(20_000,), rank=4, levels=(2, 4), hidden=8, classes=3, payload_max=1
    )
    error = refusal(network, LOIHI1, CompileOptions())
    assert error.code == "ADL-CAP-08"
    assert error.remedy == (
        "lower the fan-in of the layer, use fewer weight bits, or choose a bigger target"
    )
    crowded = refusal(
        digits_like_network(payload_max=1),
        replace(LOIHI1, mesh=replace(LOIHI1.mesh, usable_cores=limit(1))),
        CompileOptions(neurons_per_core=8),
    )
    assert "rank" not in crowded.remedy


def test_fewer_bits_let_a_sender_reach_fewer_cores() -> None:
    """64 neurons to 5 cores of 30 outputs each: 320 output axons; with 4 bits to 3 cores of 60."""
    small = {"compartments": 64, "output_axons": 200, "synapse_words": 256}
    core = replace(LOIHI1.core, **{name: limit(value) for name, value in small.items()})
    error = refusal(dense_network((8, 64, 150)), replace(LOIHI1, core=core), CompileOptions())
    assert error.code == "ADL-CAP-04"
    assert "weight_bits" in [fix.option for fix in error.fixes]


def test_only_what_can_help_is_tried() -> None:
    tried: list[CompileOptions] = []

    def cut(network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions):
        tried.append(options)
        return cut_network(network, chip, options)

    network, chip = dense_network((30, 20, 3)), tiny_chip(input_axons=2)
    error = refusal(network, chip, CompileOptions())
    assert error.code == "ADL-CAP-03"
    tried.clear()
    find_fixes(error, network, chip, CompileOptions(), cut)
    assert tried
    assert all(options == CompileOptions() for options in tried), "bits do not lower the fan-in"


def test_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def slow(network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions):
        tried.append(options)
        time.sleep(0.02)
        return cut_network(network, tiny_chip(usable_cores=1), options)

    monkeypatch.setattr("mapping.fit._SEARCH_S", 0.01)
    network, chip = digits_like_network(), tiny_chip(synapse_words=110, usable_cores=6)
    error = refusal(network, chip, CompileOptions())
    tried.clear()
    find_fixes(error, network, chip, CompileOptions(), slow)
    assert len(tried) <= 1
    tried.clear()
    find_fixes(error, network, chip, CompileOptions(), slow, compile_s=5.0)
    assert len(tried) > 1


def test_broken_capacity_rules_get_fixes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partitioner that overfills cores is caught by the rules, not by the partition."""

    def overfull(problem: PartitionProblem) -> Assignment:
        core = replace(problem.chip.core, synapse_words=limit(10**6))
        roomy = replace(problem, chip=replace(problem.chip, core=core))
        return PARTITIONERS.get("first-fit")(roomy)

    monkeypatch.setitem(PARTITIONERS._known, "overfull", overfull)
    with pytest.raises(DesignRuleError) as caught:
        compile_network(
            small_network(), tiny_chip(synapse_words=25), CompileOptions(partitioner="overfull")
        )
    error = caught.value
    assert error.code == "ADL-CAP-02"
    assert error.fixes
    (row,) = error.as_dicts()
    assert row["remedy"] == error.remedy == "; or ".join(map(str, error.fixes))
    assert row["fixes"][0].keys() == {
        "option",
        "value",
        "cores_used",
        "cores_available",
        "utilisation",
        "relative_error",
    }


def test_a_rule_that_is_not_about_capacity_has_no_fixes() -> None:
    error = DesignRuleError(check_rules(_with_wrong_decay()))
    assert find_fixes(error, small_network(), tiny_chip(), CompileOptions(), cut_network) == ()
    error.propose(())
    assert "fixes" not in error.as_dicts()[0]


def _with_wrong_decay():
    artifact = compiled(
        Quantize().run(realise_factors(small_network()), tiny_chip()), tiny_chip(), Partition()
    )
    populations = tuple(
        replace(p, du=5000) if p.name == "out" else p for p in artifact.partitioned.populations
    )
    return replace(artifact, partitioned=replace(artifact.partitioned, populations=populations))


@pytest.mark.parametrize(
    ("doctor", "cores", "fits"),
    [
        (lambda chip: chip, 1, True),
        (lambda chip: replace(chip, mesh=replace(chip.mesh, usable_cores=limit(0))), 1, False),
    ],
)
def test_a_verdict_says_how_full_the_cores_are(
    doctor: Callable[[ChipSpec], ChipSpec], cores: int, fits: bool
) -> None:
    chip = doctor(tiny_chip())
    verdict = judge(small_network(), chip, CompileOptions(), cut_network)
    assert (verdict.error is None) == fits
    assert verdict.occupancy is not None
    assert verdict.occupancy.cores_used == cores
    usage = compile_network(small_network(), tiny_chip(), CompileOptions()).artifact.partitioned
    (core,) = usage.usage(chip)
    assert verdict.occupancy.busiest["synapse_words"] == core.synapse_words / 12_000
    assert verdict.as_dict()["fits"] == fits
    assert verdict.as_dict()["target"] == "tiny"


def test_a_verdict_without_an_occupancy_says_why() -> None:
    graded = judge(small_network(), LOIHI1, CompileOptions(), cut_network)
    assert graded.occupancy is None
    assert graded.error is not None
    assert graded.error.code == "ADL-MDL-01"
    narrow = judge(small_network(), tiny_chip(synapse_words=11), CompileOptions(), cut_network)
    assert isinstance(narrow.error, CapacityError)
    assert "target" not in {fix.option for fix in narrow.error.fixes}
