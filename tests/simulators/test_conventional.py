from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.gated import program, rate_gated_network, spikes
from support.networks import dense_network
from support.spatial import INPUTS, spatial_network

from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.budget import price_for
from mapping.cli import run as adlrns_map
from mapping.errors import ArtifactError, ConfigError
from mapping.ir.network import Input
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.processors.load import load_processor, processor_names
from mapping.processors.spec import BYTES
from mapping.targets.load import load_target
from simulators import Stimulus, estimate_energy, simulate
from simulators.energy.conventional import (
    NEURON_OPS,
    Kernel,
    Workload,
    on_processor,
    on_processors,
    workload,
)
from simulators.energy.side_by_side import SideBySide, budgets_of, device_table, side_by_side
from simulators.ranks import rank_usage

H100 = load_processor("h100")
WORK = Workload(
    steps=10,
    kernels=(Kernel(ops=2e6, weights=1e6), Kernel(ops=600, weights=0)),
    weights=1_000_000,
    states=200,
    values=110,
)


@cache
def gated() -> CompileResult:
    calibration = Calibration(payloads=spikes().payloads)
    return compile_network(
        rate_gated_network(),
        load_target("loihi2"),
        CompileOptions(neurons_per_core=6),
        calibration=calibration,
    )


@cache
def spatial() -> CompileResult:
    return compile_network(spatial_network(seed=1), load_target("loihi2"), CompileOptions())


def ranks_of(artifact: Artifact, *, price: float) -> dict[str, float]:
    used = rank_usage(artifact, simulate(artifact, spikes(), price=price))
    return {layer: usage.mean for layer, usage in used.items()}


def test_every_synapse_and_compartment_is_computed_in_every_step() -> None:
    artifact = spatial().artifact
    network = artifact.network
    work = workload(artifact, steps=7)
    synapses = sum(p.synapses.count for p in network.projections)
    compartments = sum(p.size for p in network.populations if not isinstance(p, Input))
    assert work.ops == 7 * (2 * synapses + NEURON_OPS * compartments)
    kernels = len(network.projections) + len(network.populations) - 1
    assert len(work.kernels) == kernels
    assert work.states == 2 * compartments
    assert work.weights < synapses, "convolutions share their weights"


def test_a_gated_layer_costs_its_mean_rank() -> None:
    artifact = program()
    full = workload(artifact, 5)
    layer = artifact.partitioned.gated_layers()[0]
    half = workload(artifact, 5, {layer.layer: layer.levels[-1] / 2})
    own = [
        p.synapses.count
        for p in artifact.network.projections
        if p.spec.layer == layer.layer and p.spec.part in ("V", "U")
    ]
    assert full.ops - half.ops == pytest.approx(5 * sum(own))
    assert full.weights == half.weights
    closed, opened = (
        workload(artifact, 5, ranks_of(artifact, price=price)).ops for price in (1e9, 0.0)
    )
    assert closed < opened < full.ops


def test_a_gated_layer_is_launched_once_per_factor_and_gate() -> None:
    """The chip holds a factor in one projection per rank block; a processor computes it at once."""
    artifact = program()
    work = workload(artifact, 5)
    layer = artifact.partitioned.gated_layers()[0]
    sizes = {p.name: p.size for p in artifact.network.populations}
    inputs, hidden, rank = sizes["in"], sizes["hidden"], layer.levels[-1]
    neurons = [NEURON_OPS * sizes[name] for name in ("hidden", "out")]
    relays = NEURON_OPS * sizes["enc/relay"]
    gate = sum(p.synapses.count for p in artifact.network.projections if p.spec.part == "gate")
    gate_ops = 2 * gate + NEURON_OPS * (sizes["enc/trace"] + sizes["enc/gate"])
    factors = [2 * rank * inputs + relays, 2 * rank * hidden]
    decoder = 2 * hidden * sizes["out"]
    assert sorted(k.ops for k in work.kernels) == sorted([*factors, gate_ops, decoder, *neurons])


def test_the_cut_into_cores_changes_nothing() -> None:
    spread = compile_network(
        spatial_network(seed=1), load_target("loihi2"), CompileOptions(neurons_per_core=8)
    ).artifact
    assert len(spread.partitioned.cores) > 2 * len(spatial().artifact.partitioned.cores)
    assert workload(spread, 7) == workload(spatial().artifact, 7)


def test_partial_sums_of_a_wide_layer_are_the_chips_alone() -> None:
    network = dense_network((9, 7, 3), seed=0)
    cut, whole = (
        compile_network(network, chip, CompileOptions()).artifact
        for chip in (tiny_chip(input_axons=4), load_target("loihi2"))
    )
    assert any(p.spec.part == "sum" for p in cut.network.projections)
    assert not any(p.spec.part == "sum" for p in whole.network.projections)
    assert workload(cut, 3) == workload(whole, 3)


@pytest.mark.parametrize("name", processor_names())
def test_a_small_network_by_hand(name: str) -> None:
    processor = replace(
        load_processor(name), on_chip_bytes=load_processor(name).on_chip_bytes.times(1e6)
    )
    found = on_processor(WORK, processor)
    peak, bandwidth = processor.peak_ops_per_s["fp32"].value, processor.bandwidth_bytes_per_s.value
    launch = processor.launch_s.value
    step_s = 110 * 4 / bandwidth + 2 * launch + 2e6 / peak + 600 / peak
    assert found.on_chip
    assert found.latency_s == pytest.approx(10 * step_s)
    assert found.bytes_moved == 10 * 440
    assert found.op_j == pytest.approx(10 * 2_000_600 * processor.energy_per_op_j["fp32"].value)
    assert found.memory_j == pytest.approx(4400 * processor.energy_per_byte_j.value)
    assert found.idle_j == pytest.approx(found.latency_s * processor.idle_power_w.value)
    assert found.energy_j == found.op_j + found.memory_j + found.idle_j


def test_weights_that_do_not_fit_are_read_in_every_step_once_per_batch() -> None:
    tiny = replace(H100, on_chip_bytes=H100.on_chip_bytes.times(1e-6))
    one, many = (on_processor(WORK, tiny, batch=batch) for batch in (1, 64))
    assert not one.on_chip
    assert one.bytes_moved == 10 * (4e6 + 440 + 2 * 4 * 200)
    assert many.bytes_moved == pytest.approx(10 * (4e6 / 64 + 440 + 2 * 4 * 200))
    assert on_processor(WORK, H100).bytes_moved < one.bytes_moved


@settings(max_examples=40)
@given(
    ops=st.floats(1, 1e10),
    weights=st.floats(0, 1e8),
    steps=st.integers(1, 50),
    batch=st.integers(1, 512),
    name=st.sampled_from(processor_names()),
)
def test_more_work_never_costs_less_and_intervals_hold_the_estimate(
    ops: float, weights: float, steps: int, batch: int, name: str
) -> None:
    processor = load_processor(name)
    kernel = Kernel(ops=ops, weights=weights)
    work = Workload(steps=steps, kernels=(kernel,), weights=int(weights), states=10, values=10)
    twice = replace(work, steps=2 * steps)
    once, more = (on_processor(w, processor, batch=batch) for w in (work, twice))
    assert more.ops == 2 * once.ops
    assert more.energy_j == pytest.approx(2 * once.energy_j)
    assert more.latency_s == pytest.approx(2 * once.latency_s)
    wider = replace(work, kernels=(kernel, kernel))
    assert on_processor(wider, processor, batch=batch).energy_j > once.energy_j
    low, high = once.interval_j
    assert low <= once.energy_j <= high
    assert once.interval_s[0] <= once.latency_s <= once.interval_s[1]
    larger = on_processor(work, processor, batch=2 * batch)
    if larger.on_chip == once.on_chip:
        assert larger.energy_j <= once.energy_j * (1 + 1e-9)


def test_a_number_format_that_a_processor_lacks_is_refused() -> None:
    with refused(ConfigError, "ADL-HWC-01", where="cpu", remedy="bf16"):
        on_processor(WORK, load_processor("cpu"), number_format="fp16")
    smaller = on_processor(WORK, H100, number_format="int8")
    assert smaller.bytes_moved == on_processor(WORK, H100).bytes_moved * BYTES["int8"] / 4


def test_a_batch_holds_a_sample() -> None:
    with refused(ConfigError, "ADL-HWC-02", remedy="1 or more"):
        on_processors(WORK, [H100], batches=[0])


def test_side_by_side_prices_the_same_run_on_every_device(tmp_path: Path) -> None:
    artifact = gated().artifact
    budgets = budgets_of(artifact, 5)
    assert len(budgets) == 5
    assert budgets == sorted(budgets, reverse=True)
    devices = [load_processor(name) for name in ("h100", "phone-arm")]
    found = side_by_side(artifact, spikes(), budgets=budgets, processors=devices, batches=[1, 8])
    assert [len(point.processors) for point in found.points] == [4] * 5
    ranks = [next(iter(point.mean_rank.values())) for point in found.points]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] > ranks[-1]
    chip = [point.dynamic_j for point in found.points]
    processors = [point.processors[2].energy_j for point in found.points]
    for energies in (chip, processors):
        assert energies == sorted(energies, reverse=True)
        assert energies[0] > energies[-1]
    for point in found.points:
        price = price_for(artifact, point.budget_j or 0.0)
        trace = simulate(artifact, spikes(), price=price)
        energy = estimate_energy(artifact, trace)
        assert point.chip.energy_j == energy.total_j
        assert (point.chip.latency_low_s, point.chip.latency_high_s) == energy.interval_s()
        dark = np.flatnonzero(energy.core_dark_share == 1.0).tolist()
        assert point.dark_cores() == dark
        work = workload(artifact, spikes().steps, point.mean_rank)
        assert point.mean_rank == ranks_of(artifact, price=price)
        costs = on_processors(work, devices, batches=[1, 8])
        assert [c.energy_j for c in costs] == [p.energy_j for p in point.processors]
        kinds = {point.chip.kind, *(p.kind for p in point.processors)}
        assert kinds == {"modelled"}
        assert all(
            full.energy_j >= cost.energy_j
            for full, cost in zip(found.full_rank, point.processors, strict=True)
        )
    assert found.points[-1].dark_cores()
    full = on_processors(workload(artifact, spikes().steps), devices, batches=[1, 8])
    assert [cost.energy_j for cost in found.full_rank] == [cost.energy_j for cost in full]
    found.save(tmp_path / "hardware.json")
    assert SideBySide.load(tmp_path / "hardware.json") == found
    table = device_table(found)
    assert table.row_count == 3 + 1 + 4
    assert [column.header for column in table.columns][-2:] == ["full\nrank", "within"]
    chip = found.points[0].chip
    factors = chip.energy_j / chip.energy_low_j, chip.energy_high_j / chip.energy_j
    within = list(table.columns[-1].cells)[3]
    assert within == "÷{:.2g} ×{:.2g}\n{}".format(*factors, chip.status)


def test_a_file_that_is_no_comparison_or_of_another_program_is_refused(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-SBS-01", where="hardware.json", message="cannot be read"):
        SideBySide.load(tmp_path / "hardware.json")
    (tmp_path / "hardware.json").write_text("{}")
    with refused(ArtifactError, "ADL-SBS-01", message="trouble with schema", remedy="side-by-side"):
        SideBySide.load(tmp_path / "hardware.json")
    found = side_by_side(gated().artifact, spikes(), budgets=[None], processors=[H100])
    assert found.checked(gated().artifact) is found
    with refused(ConfigError, "ADL-SBS-02", where="hardware", remedy="compare this artifact"):
        found.checked(program())
    content = json.loads(found.model_dump_json(by_alias=True))
    other = {**content["points"][0], "processors": []}
    (tmp_path / "hardware.json").write_text(
        json.dumps({**content, "points": [other, *content["points"]]})
    )
    with refused(ArtifactError, "ADL-SBS-01", message="differ in their devices"):
        SideBySide.load(tmp_path / "hardware.json")


def test_a_program_without_gates_has_one_column() -> None:
    artifact = spatial().artifact
    assert budgets_of(artifact, 5) == [None]
    spikes_of = Stimulus(payloads=np.ones((2, 3, *INPUTS), np.int64))
    found = side_by_side(artifact, spikes_of, budgets=[None], processors=[H100])
    assert len(found.points) == 1
    assert found.full_rank == ()
    assert "full\nrank" not in [column.header for column in device_table(found).columns]
    assert device_table(found).row_count == 2 + 1 + 1


def test_the_command_compares_devices(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = gated()
    write_artifact(result.artifact, result.report, tmp_path / "program")
    spikes().save(tmp_path / "input.npz")
    command = ["compare", str(tmp_path / "program"), "--input", str(tmp_path / "input.npz")]
    assert adlrns_map([*command, "--processors", "h100,cpu", "--points", "3", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == "adlrns-side-by-side/2"
    assert [len(p["processors"]) for p in content["points"]] == [4, 4, 4]
    assert content["measured"] is None
    page, file = tmp_path / "page.html", tmp_path / "hardware.json"
    assert adlrns_map([*command, "--measure", "-o", str(file)]) == 0
    text = capsys.readouterr().out
    for words in ("loihi2", "phone-arm", "256", "dark cores", "modelled", "easured: "):
        assert words in text
    report = ["report", str(tmp_path / "program"), "-o", str(page), "--hardware", str(file)]
    assert adlrns_map(report) == 0
    assert "Modelled, not measured." in page.read_text()
    assert "jetson-orin-nano" in page.read_text()
    capsys.readouterr()
    assert adlrns_map([*command, "--processors", "h10"]) == 2
    assert "ADL-PRC-01" in capsys.readouterr().err
