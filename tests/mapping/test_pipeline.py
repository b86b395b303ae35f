from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.chips import tiny_chip
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.artifact.schema import Artifact
from mapping.errors import AdlrnsError, CapacityError
from mapping.ir.network import Network
from mapping.ir.partitioned import PartitionedNetwork
from mapping.ir.placed import Placement
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.routed import Routing
from mapping.ir.traffic import Calibration, TrafficProfile
from mapping.partitioners import PARTITIONERS, Assignment, PartitionProblem
from mapping.passes.lower_ranks import LoweredRanks
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.targets.load import load_target

LOIHI2 = load_target("loihi2")
PASSES = {
    "lower_ranks": LoweredRanks,
    "fuse_factors": Network,
    "realise_factors": Network,
    "quantize": QuantizedNetwork,
    "split_fan_in": tuple,
    "partition": PartitionedNetwork,
    "place": Placement,
    "route": Routing,
    "check_rules": tuple,
}

CONTRACT: dict[str, set[str]] = {
    "": {"schema", "target", "network", "cores", "noc", "estimate", "diagnostics", "stages"},
    "network": {"neurons", "synapses", "layers"},
    "network.layers": {"name", "kind", "in", "out", "rank", "realisation", "cores", "weight_bits"},
    "cores": {"used", "available", "chips", "per_core"},
    "cores.per_core": {
        "id",
        "chip",
        "x",
        "y",
        "core",
        "neurons",
        "synapse_words",
        "in_axons",
        "out_axons",
        "utilisation",
    },
    "noc": {
        "packets_per_step",
        "hops_per_step",
        "max_link_load",
        "longest_path",
        "lower_bound",
        "gap",
    },
    "estimate": {
        "energy_j_per_step",
        "static_j_per_step",
        "dynamic_j_per_step",
        "latency_s_per_step",
        "status",
    },
    "stages": {"name", "seconds"},
}
"""The keys that users and checks rely on: DESIGN §6."""


def compiled(network: Network | None = None, **options: Any) -> CompileResult:
    """``network`` on loihi2."""
    return compile_network(network or digits_like_network(), LOIHI2, CompileOptions(**options))


def report_of(result: CompileResult) -> dict[str, Any]:
    """The report after a way through JSON."""
    text = json.dumps(result.report, allow_nan=False)
    content: dict[str, Any] = json.loads(text)
    assert content == result.report
    return content


def test_an_observer_sees_every_pass_in_order_with_its_result() -> None:
    seen: list[tuple[str, object]] = []
    result = compile_network(
        small_network(), LOIHI2, CompileOptions(), observer=lambda *a: seen.append(a)
    )
    assert [name for name, _ in seen] == list(PASSES)
    for name, made in seen:
        assert isinstance(made, PASSES[name]), name
    results = dict(seen)
    assert results["partition"] is result.artifact.partitioned
    assert results["place"] is result.artifact.placement
    assert results["route"] is result.artifact.routing
    assert [s["name"] for s in report_of(result)["stages"]] == list(PASSES)


def test_calibration_adds_a_stage() -> None:
    seen: list[str] = []
    result = compile_network(
        small_network(),
        LOIHI2,
        CompileOptions(),
        calibration=Calibration(payloads=random_payloads(small_network())),
        observer=lambda name, _: seen.append(name),
    )
    names = list(PASSES)
    names.insert(names.index("split_fan_in"), "measure_traffic")
    assert seen == [*names, "price_budgets"]
    assert [s["name"] for s in report_of(result)["stages"]] == seen


def test_an_observer_sees_the_passes_before_a_failure() -> None:
    seen: list[str] = []
    with pytest.raises(CapacityError):
        compile_network(
            small_network(),
            tiny_chip(input_axons=2),
            CompileOptions(),
            observer=lambda name, _: seen.append(name),
        )
    assert seen == ["lower_ranks", "fuse_factors", "realise_factors", "quantize"]


@pytest.mark.parametrize("path", CONTRACT)
def test_the_report_has_every_key_of_the_contract(path: str) -> None:
    part: Any = report_of(compiled(neurons_per_core=16))
    for key in filter(None, path.split(".")):
        part = part[key]
    rows = part if isinstance(part, list) else [part]
    assert rows
    for row in rows:
        assert CONTRACT[path] <= set(row)


def test_diagnostics_have_every_key_of_the_contract() -> None:
    chip = tiny_chip(numeric={"activation_bits": 8})
    diagnostics = compile_network(dense_network(), chip, CompileOptions()).report["diagnostics"]
    assert isinstance(diagnostics, list)
    assert {d["code"] for d in diagnostics} == {"ADL-NUM-06"}
    for row in diagnostics:
        assert set(row) == {"code", "severity", "where", "message", "remedy"}
        assert row["severity"] == "warning"


NETWORKS = [digits_like_network(), recurrent_network(), dense_network((30, 20, 10))]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("per_core", [7, None])
def test_the_reports_sums_are_consistent(network: Network, per_core: int | None) -> None:
    result = compiled(network, neurons_per_core=per_core)
    report, artifact = report_of(result), result.artifact
    image, per_core_rows = artifact.network, report["cores"]["per_core"]
    assert report["network"]["neurons"] == sum(row["neurons"] for row in per_core_rows)
    assert report["network"]["neurons"] == sum(p.size for p in image.populations[1:])
    assert report["network"]["synapses"] == sum(p.mantissas.size for p in image.projections)
    assert report["network"]["latency_steps"] == image.latency_steps
    assert report["cores"]["used"] == len(per_core_rows) == len(artifact.partitioned.cores)
    assert (report["cores"]["available"], report["cores"]["chips"]) == (120, 1)
    assert [row["id"] for row in per_core_rows] == list(range(len(per_core_rows)))
    slots = {(row["chip"], row["x"], row["y"], row["core"]) for row in per_core_rows}
    assert slots == {(s.chip, s.x, s.y, s.core) for s in artifact.placement.slots}
    for row, usage in zip(per_core_rows, artifact.partitioned.usage(LOIHI2), strict=True):
        core = LOIHI2.core
        assert row["synapse_words"] == usage.synapse_words
        assert row["utilisation"] == pytest.approx(
            max(
                row["neurons"] / core.compartments.value,
                row["synapse_words"] / core.synapse_words.value,
                row["in_axons"] / core.input_axons.value,
                row["out_axons"] / core.output_axons.value,
                usage.compartment_groups / core.compartment_groups.value,
            )
        )
    noc, estimate = report["noc"], report["estimate"]
    assert noc["gap"] == pytest.approx(
        1 - noc["lower_bound"] / noc["hops_per_step"] if noc["hops_per_step"] else 0.0
    )
    hops = artifact.routing.hops(artifact.chip.mesh)
    assert noc["longest_path"] == (hops.east_west + hops.north_south + hops.chip).max()
    assert noc["max_link_load"] <= noc["hops_per_step"]
    assert estimate["energy_j_per_step"] == pytest.approx(
        estimate["static_j_per_step"] + estimate["dynamic_j_per_step"]
    )
    share = report["cores"]["used"] / 120
    assert estimate["static_j_per_step"] == pytest.approx(
        0.248 * share * estimate["latency_s_per_step"]
    )
    assert estimate["static_chip_j_per_step"] == pytest.approx(
        0.248 * estimate["latency_s_per_step"]
    )
    assert estimate["latency_s_per_step"] >= 200e-9


def test_the_estimate_by_hand() -> None:
    """6 binary inputs, 5 neurons, 3 outputs on one core, a tenth of them active."""
    report = report_of(compiled(dense_network((6, 5, 3))))
    packets = 0.1 * 6 + 0.1 * 5
    synapses = 0.1 * 6 * 5 + 0.1 * 5 * 3
    picojoules = (
        23.6 * synapses
        + (52 + 29) * 8
        + 69.3 * 0.1 * 8
        + 111 * 0.1 * 5  # out of the core
        + 1.7 * 0.1 * 5  # back into it
        + 111 * 0.1 * 6  # from the host
    )
    assert report["noc"]["packets_per_step"] == pytest.approx(packets)
    assert report["noc"]["hops_per_step"] == 0
    assert report["estimate"]["dynamic_j_per_step"] == pytest.approx(picojoules * 1e-12)
    assert report["estimate"]["status"] == "assumed"
    assert report["estimate"]["activity"] == report["noc"]["traffic"] == "assumed"


def test_calibration_replaces_the_assumption() -> None:
    network = dense_network((6, 5, 3))
    silent = Calibration(payloads=np.zeros((2, 5, 6), np.int64))
    result = compile_network(network, LOIHI2, CompileOptions(), calibration=silent)
    report = report_of(result)
    assert report["noc"]["traffic"] == report["estimate"]["activity"] == "measured"
    assert report["noc"]["packets_per_step"] == 0.0
    assert report["estimate"]["dynamic_j_per_step"] == pytest.approx(52 * 8e-12)
    assert report["estimate"]["status"] == "assumed", "the constants stay what they are"


def test_layers_are_those_of_the_model() -> None:
    layers = report_of(compiled(rank=8, neurons_per_core=16))["network"]["layers"]
    shape = ("name", "kind", "in", "out", "rank", "realisation", "weight_bits")
    assert [tuple(layer[key] for key in shape) for layer in layers] == [
        ("enc", "low_rank", 64, 64, 8, "factored", 8),
        ("dec", "dense", 64, 10, 10, "full", 8),
    ]
    assert [layer["cores"] for layer in layers] == [5, 1]
    for layer in layers:
        assert 0 < layer["relative_error"] < 0.05


def test_a_layers_cores_are_those_that_hold_its_synapses() -> None:
    result = compiled(neurons_per_core=16)
    for layer in report_of(result)["network"]["layers"]:
        numbers = {
            n
            for n, spec in enumerate(result.artifact.partitioned.projections)
            if spec.layer == layer["name"]
        }
        holding = [
            core
            for core in result.artifact.partitioned.cores
            if any(tile.projection in numbers for tile in core.tiles)
        ]
        assert layer["cores"] == len(holding)


def test_a_factor_pair_spelt_out_by_hand_compiles() -> None:
    """The network description allows relays of one's own; their layers have no V or no U."""
    layers = report_of(compiled(relay_network()))["network"]["layers"]
    assert [(layer["name"], layer["in"], layer["out"]) for layer in layers] == [
        ("v", 6, 2),
        ("u", 2, 3),
    ]


def test_options_reach_their_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def spy(problem: PartitionProblem) -> Assignment:
        asked.append(problem.neurons_per_core)
        return PARTITIONERS.get("first-fit")(problem)

    monkeypatch.setitem(PARTITIONERS._known, "spy", spy)
    artifact = compiled(rank=4, weight_bits=5, neurons_per_core=9, partitioner="spy").artifact
    assert asked == [9]
    assert artifact.network.population("enc/relay").size == 4
    assert {p.spec.weight_bits for p in artifact.network.projections} == {5}
    assert max(core.compartments for core in artifact.partitioned.cores) == 9


def test_placement_changes_hops_but_never_the_network() -> None:
    wide = tiny_chip(width=30, height=1, cores_per_tile=1)
    tight = tiny_chip(width=1, height=1, cores_per_tile=30)
    options = CompileOptions(neurons_per_core=16)
    one, two = (compile_network(digits_like_network(), c, options) for c in (wide, tight))
    assert report_of(one)["noc"]["hops_per_step"] > report_of(two)["noc"]["hops_per_step"] == 0
    for a, b in zip(
        one.artifact.network.projections, two.artifact.network.projections, strict=True
    ):
        np.testing.assert_array_equal(a.mantissas, b.mantissas)


def test_the_result_is_complete() -> None:
    result = compiled()
    assert isinstance(result.artifact, Artifact)
    assert result.artifact.chip is LOIHI2
    assert result.diagnostics == ()
    assert TrafficProfile.assumed(result.artifact.network).status == "assumed"


@pytest.mark.parametrize(
    "options",
    [{"rank": 99}, {"weight_bits": 1}, {"neurons_per_core": 0}, {"placer": "x"}],
    ids=str,
)
def test_every_refusal_is_of_the_family(options: dict[str, Any]) -> None:
    with pytest.raises(AdlrnsError) as caught:
        compiled(**options)
    assert caught.value.exit_code in {2, 3}
    assert caught.value.as_dict() == {
        "code": caught.value.code,
        "severity": "error",
        "where": caught.value.where,
        "message": caught.value.message,
        "remedy": caught.value.remedy,
    }


def test_integers_without_a_record_of_rounding_are_exact() -> None:
    network = compile_network(small_network(), load_target("loihi2"), CompileOptions())
    integers = replace(network.artifact.network, fidelity=())
    report = compile_network(integers, load_target("loihi2"), CompileOptions()).report
    assert {row["relative_error"] for row in report["network"]["layers"]} == {0.0}  # type: ignore[index]
