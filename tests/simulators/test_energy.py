from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from rich.console import Console
from support.chips import tiny_chip
from support.errors import refused
from support.gated import program, rate_gated_network, spikes
from support.integer_networks import Case, cases

from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.cost import COMPONENTS, ActionCounts, dynamic_energy_j
from mapping.errors import ConfigError
from mapping.latency import LATENCY_MODELS, step_time_s
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from simulators.backend import simulate
from simulators.chip.run import run_chip
from simulators.energy.estimate import ATTOJOULE, estimate_energy
from simulators.energy.table import core_table
from simulators.oracle import run_oracle
from simulators.trace import ExecutionTrace

ACTIVITY = {f.name for f in fields(ActionCounts)} - {"compartment_access"}


def _trace(case: Case) -> ExecutionTrace:
    return run_chip(case.run(probe=()))


def _twice_as_active(trace: ExecutionTrace) -> ExecutionTrace:
    assert trace.counts is not None
    scaled = {
        name: values * (2 if name in ACTIVITY else 1) for name, values in trace.counts.items()
    }
    return replace(trace, counts=ActionCounts(**scaled))


@settings(max_examples=30)
@given(case=cases())
def test_totals_are_exactly_the_sums_over_cores_components_and_steps(case: Case) -> None:
    energy = estimate_energy(case.artifact, _trace(case))
    cells = list(energy.core_step_aj.values())
    assert all(cell.dtype == np.int64 for cell in cells)
    total = sum(energy.component_aj().values())
    by_core = np.sum([cell.sum(axis=0) for cell in cells], axis=0)
    by_step = np.sum([cell.sum(axis=1) for cell in cells], axis=0)
    assert sum(by_core.tolist()) == sum(by_step.tolist()) == total
    assert sum(int(one) for cell in cells for one in cell.ravel()) == total
    assert energy.dynamic_j == total * ATTOJOULE / energy.samples
    samples = energy.samples
    np.testing.assert_array_equal(energy.core_dynamic_j(), by_core * ATTOJOULE / samples)
    np.testing.assert_array_equal(energy.step_dynamic_j(), by_step * ATTOJOULE / samples)
    content = energy.as_dict()
    assert sum(e["energy_j"] for e in content["per_core"]) == pytest.approx(energy.total_j)
    assert sum(content["per_step"]["dynamic_j"]) == pytest.approx(energy.dynamic_j)
    assert sum(content["per_step"]["latency_s"]) == pytest.approx(energy.latency_s)
    assert energy.total_j == energy.dynamic_j + energy.static_j


@pytest.mark.parametrize("model", LATENCY_MODELS.names())
@pytest.mark.parametrize("skip", [False, True])
@settings(max_examples=10)
@given(case=cases())
def test_the_kernel_adds_up_what_the_formulas_say(case: Case, skip: bool, model: str) -> None:
    own = case.artifact.chip
    flag = replace(own.capabilities.skip_idle_cores, value=skip)
    chip = replace(own, capabilities=replace(own.capabilities, skip_idle_cores=flag))
    trace = _trace(case)
    work = trace.work_for(case.artifact)
    found = estimate_energy(case.artifact, trace, latency_model=model, chip=chip)
    for name, energy in dynamic_energy_j(work.counts, chip).items():
        mean_j = energy.mean(axis=0)
        np.testing.assert_allclose(found.core_step_j[name], mean_j, rtol=1e-6, atol=1e-24)
    for row, bound in enumerate((chip.at_bound(-1), chip, chip.at_bound(1))):
        time = LATENCY_MODELS.get(model).time(bound, work.used_tiles)
        expected_s = step_time_s(work, bound, time)
        np.testing.assert_allclose(found.step_bounds_s[row], expected_s.mean(axis=0))
    dark = work.counts.dark
    np.testing.assert_allclose(found.core_dark_share, dark.mean(axis=(0, 1)))
    own_s = step_time_s(work, chip, LATENCY_MODELS.get(model).time(chip, work.used_tiles))
    dark_s = (dark * own_s[..., None]).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(found.core_dark_s, dark_s)
    compartments = (dark * work.counts.compartment_access).sum(axis=(0, 1))
    np.testing.assert_array_equal(found.core_dark_access, compartments)
    power_w = chip.static_power_w.value / chip.mesh.usable_cores.value
    assert found.dark_static_j == pytest.approx(power_w * dark_s.sum())


@settings(max_examples=30)
@given(case=cases())
def test_energy_is_counts_times_the_table(case: Case) -> None:
    trace = _trace(case)
    assert trace.counts is not None
    table = case.artifact.chip.energy_j
    expected = sum(
        float(values.sum()) * getattr(table, name).value
        for name, values in trace.counts.items()
        if name != "synapse_read"
    )
    energy = estimate_energy(case.artifact, trace)
    assert energy.dynamic_j * trace.samples == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30)
@given(case=cases())
def test_halving_activity_halves_exactly_the_terms_that_depend_on_it(case: Case) -> None:
    trace = _trace(case)
    half = estimate_energy(case.artifact, trace)
    full = estimate_energy(case.artifact, _twice_as_active(trace))
    for component, energy in full.component_aj().items():
        factor = 1 if component == "compartment_access" else 2
        assert energy == factor * half.component_aj()[component]
    assert full.synaptic_ops == 2 * half.synaptic_ops
    assert full.static_core_j * half.latency_s == pytest.approx(half.static_core_j * full.latency_s)


@settings(max_examples=5)
@given(case=cases())
def test_the_interval_holds_the_estimate_and_everything_has_a_source(case: Case) -> None:
    energy = estimate_energy(case.artifact, _trace(case))
    low, high = energy.interval_j()
    assert low < energy.total_j < high
    assert energy.interval_s()[0] < energy.latency_s < energy.interval_s()[1]
    content = json.loads(json.dumps(energy.as_dict()))
    assert content["status"] == "assumed"
    for entry in content["constants"].values():
        assert entry["source"]
        assert entry["status"]
    keys = {"total", "static", "dynamic", "synapse", "compartment_access", "compartment_update"}
    keys |= {"spike", "axon", "hop", "host"}
    assert keys == set(content["energy_j"])
    assert keys == set(content["intervals_j"]) == set(content["statuses"])
    for name, (least, most) in content["intervals_j"].items():
        assert least <= content["energy_j"][name] <= most, name
    parts = ("static", *COMPONENTS)
    for end in (0, 1):
        total = sum(content["intervals_j"][part][end] for part in parts)
        assert total == pytest.approx(energy.interval_j()[end])
    assert set(content["statuses"].values()) == {"assumed"}
    assert content["constants"]["energy_j.spike"]["unit"] == "J"
    assert content["constants"]["barrier_s.by_tiles"]["unit"] == "s"
    assert content["constants"]["static_power_w"]["unit"] == "W"


@settings(max_examples=1)
@given(case=cases())
def test_a_trace_without_counts_or_of_another_program_is_refused(case: Case) -> None:
    run = case.run(probe=())
    with pytest.raises(ConfigError, match="ADL-ENG-01 · trace: the oracle backend") as caught:
        estimate_energy(case.artifact, run_oracle(run))
    assert "chip backend" in caught.value.remedy
    foreign = replace(_trace(case), program="another")
    with pytest.raises(ConfigError, match="ADL-ENG-02 · trace"):
        estimate_energy(case.artifact, foreign)


def _dark_cores(artifact: Artifact) -> dict[int, int]:
    """Cores to which the host sends only while gates are on: how many of them."""
    projections = artifact.partitioned.projections
    specs = {
        core: projections[program.tiles[0].projection]
        for core, program in enumerate(artifact.partitioned.cores)
    }
    return {core: spec.gates_needed for core, spec in specs.items() if spec.gate}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("price", [0.0, 1e9])
def test_a_dark_core_costs_nothing_where_idle_cores_are_skipped(skip: bool, price: float) -> None:
    """Static power aside, which is the chip's. While its gates are on, it is charged as ever."""
    chip = tiny_chip(width=3, height=2, cores_per_tile=2, skip_idle_cores=skip)
    artifact = compile_network(
        rate_gated_network(), chip, CompileOptions(neurons_per_core=6)
    ).artifact
    dark = _dark_cores(artifact)
    assert sorted(dark.values()) == [1, 2]
    trace = simulate(artifact, spikes(), price=price)
    report = estimate_energy(artifact, trace)
    energy = report.core_dynamic_j()
    assert trace.counts is not None
    accesses = trace.counts.compartment_access.sum(axis=1).mean(axis=0)
    per_access = chip.energy_j.compartment_access.value
    for core in range(report.cores):
        if core not in dark:
            assert energy[core] > 0
        elif price == 0.0:
            worked = ~trace.counts.dark[..., core]
            assert 0 < worked.mean() < 1
            charged = worked if skip else np.ones_like(worked)
            charged_j = report.core_step_j["compartment_access"][:, core]
            compartments = artifact.partitioned.cores[core].compartments
            np.testing.assert_allclose(
                charged_j, charged.mean(axis=0) * compartments * per_access, rtol=1e-12
            )
            assert report.core_step_j["synapse"][:, core].sum() > 0
        elif skip:
            assert energy[core] == 0.0
            assert report.core_j()[core] == report.static_core_j > 0
        else:
            assert energy[core] == pytest.approx(accesses[core] * per_access, rel=1e-12)


def test_the_table_shows_which_cores_stayed_dark() -> None:
    artifact = program()
    dark = _dark_cores(artifact)
    report = estimate_energy(artifact, simulate(artifact, spikes(), price=1e9))
    assert np.flatnonzero(report.core_dark_share == 1.0).tolist() == sorted(dark)
    per_core = report.as_dict()["per_core"]
    assert isinstance(per_core, list)
    assert [entry["dark_share"] for entry in per_core] == report.core_dark_share.tolist()
    console = Console(width=100, record=True)
    console.print(core_table(artifact, report))
    rows = [line.split() for line in console.export_text().splitlines()]
    shown = {int(row[0]): row[2] for row in rows if row and row[0].isdecimal()}
    assert {core for core, share in shown.items() if share == "100%"} == set(dark)
    nearly = replace(report, core_dark_share=np.full(report.cores, 0.999))
    console.print(core_table(artifact, nearly))
    assert "100%" not in console.export_text()


def other_constants(artifact: Artifact, **value_j: float) -> ChipSpec:
    """The program's chip with other energies."""
    table = artifact.chip.energy_j
    own = {name: replace(getattr(table, name), value=value) for name, value in value_j.items()}
    return replace(artifact.chip, name="mine", energy_j=replace(table, **own))


def test_other_constants_may_price_the_same_trace() -> None:
    artifact = program()
    trace = simulate(artifact, spikes())
    before = estimate_energy(artifact, trace)
    dear = other_constants(artifact, spike=10 * artifact.chip.energy_j.spike.value)
    after = estimate_energy(artifact, trace, chip=dear)
    expected = {**before.component_aj(), "spike": 10 * before.component_aj()["spike"]}
    assert after.component_aj() == expected
    assert after.as_dict()["target"] == "mine"


def test_constants_of_another_chip_are_refused() -> None:
    artifact = program()
    trace = simulate(artifact, spikes())
    with refused(ConfigError, "ADL-ENG-03", where="loihi1", remedy="compile for loihi1"):
        estimate_energy(artifact, trace, chip=load_target("loihi1"))


def test_an_unknown_latency_model_is_refused() -> None:
    artifact = program()
    trace = simulate(artifact, spikes())
    with refused(ConfigError, "ADL-CFG-01", remedy="max-affine, max-core"):
        estimate_energy(artifact, trace, latency_model="fastest")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that name a compiled program and its trace."""
    folder = tmp_path_factory.mktemp("energy")
    result = compile_network(rate_gated_network(), load_target("loihi2"), CompileOptions())
    write_artifact(result.artifact, result.report, folder / "program")
    simulate(result.artifact, spikes(), price=1e9).save(folder / "trace.npz")
    return [str(folder / "program"), "--trace", str(folder / "trace.npz")]


def test_the_command_tells_intervals_cross_check_and_dark_cores(
    recorded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert adlrns_map(["energy", *recorded, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["operating_point"] == {"voltage": 1.0, "frequency": 1.0}
    ops = sum(n for name, n in content["counts"].items() if name.startswith("synaptic_op"))
    assert content["cross_check_j"] == pytest.approx(29.9e-12 * ops)
    assert content["gating"]["dark_access_j"] > 0
    assert adlrns_map(["energy", *recorded]) == 0
    text = capsys.readouterr().out
    for words in (
        "max-core",
        "assumed",
        "29.9 pJ",
        "Dark cores",
        "that skips idle cores would spare",
    ):
        assert words in text


def test_voltage_and_clock_scale_energy_and_time(
    recorded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for options in ([], ["--voltage", "0.8", "--frequency", "0.5"]):
        assert adlrns_map(["energy", *recorded, "--json", *options]) == 0
        found.append(json.loads(capsys.readouterr().out))
    nominal, slow = found
    assert slow["energy_j"]["dynamic"] == pytest.approx(0.64 * nominal["energy_j"]["dynamic"])
    assert slow["latency_s"] == pytest.approx(2 * nominal["latency_s"])
    assert slow["energy_j"]["static"] == pytest.approx(1.6 * nominal["energy_j"]["static"])
    assert adlrns_map(["energy", *recorded, "--voltage", "0.8"]) == 0
    assert "At 0.8 times the voltage" in capsys.readouterr().out
    assert adlrns_map(["energy", *recorded, "--voltage", "0"]) == 2
    assert "ADL-TGT-05" in capsys.readouterr().err


def test_the_command_takes_another_model_and_target(
    recorded: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        'base = "loihi2"\nname = "mine"\ndescription = "x"\n[energy_j.spike]\nvalue = 0.0\n'
        'status = "assumed"\nsource = "made up"\n'
    )
    options = ["--target", str(tmp_path / "mine.toml"), "--latency-model", "max-affine"]
    assert adlrns_map(["energy", *recorded, "--json", *options]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["target"], content["latency_model"]) == ("mine", "max-affine")
    assert content["energy_j"]["spike"] == 0.0
    assert "affine_s.synaptic_op" in content["constants"]
    assert adlrns_map(["energy", *recorded, "--target", "loihi1"]) == 2
    assert "ADL-ENG-03" in capsys.readouterr().err
