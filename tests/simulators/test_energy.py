from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from rich.console import Console
from support.chips import tiny_chip
from support.gated import program, rate_gated_network, spikes
from support.integer_networks import Case, cases

from mapping.artifact.schema import Artifact
from mapping.cost import COMPONENTS, ActionCounts
from mapping.errors import ConfigError
from mapping.pipeline import CompileOptions, compile_network
from simulators.backend import simulate
from simulators.chip.run import run_chip
from simulators.energy.estimate import estimate_energy
from simulators.energy.table import core_table
from simulators.oracle import run_oracle
from simulators.trace import ExecutionTrace

ACTIVITY = {a for actions in COMPONENTS.values() for a in actions} - {"compartment_access"}


def _trace(case: Case) -> ExecutionTrace:
    return run_chip(case.run(probe=()))


def _scaled(trace: ExecutionTrace, factor: float) -> ExecutionTrace:
    assert trace.counts is not None
    scaled = {
        f.name: getattr(trace.counts, f.name) * (factor if f.name in ACTIVITY else 1.0)
        for f in fields(ActionCounts)
    }
    return replace(trace, counts=ActionCounts(**scaled))


@settings(max_examples=30)
@given(case=cases())
def test_totals_are_the_sums_over_cores_components_and_steps(case: Case) -> None:
    energy = estimate_energy(case.artifact, _trace(case))
    by_core = sum(entry["energy_j"] for entry in energy.as_dict()["per_core"])
    assert by_core == pytest.approx(energy.total_j, rel=1e-12)
    by_component = sum(energy.component_j().values())
    assert by_component == pytest.approx(energy.dynamic_j, rel=1e-12)
    by_step = sum(energy.as_dict()["per_step"]["dynamic_j"])
    assert by_step == pytest.approx(energy.dynamic_j, rel=1e-12)
    assert energy.total_j == energy.dynamic_j + energy.static_j
    assert sum(energy.as_dict()["per_step"]["latency_s"]) == pytest.approx(energy.latency_s)


@settings(max_examples=30)
@given(case=cases())
def test_energy_is_counts_times_the_table(case: Case) -> None:
    trace = _trace(case)
    assert trace.counts is not None
    table = case.artifact.chip.energy_j
    expected = sum(
        float(values.sum()) * getattr(table, name).value for name, values in trace.counts.items()
    )
    energy = estimate_energy(case.artifact, trace)
    assert energy.dynamic_j * trace.samples == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30)
@given(case=cases())
def test_halving_activity_halves_the_activity_dependent_terms_alone(case: Case) -> None:
    trace = _trace(case)
    full = estimate_energy(case.artifact, trace).component_j()
    half = estimate_energy(case.artifact, _scaled(trace, 0.5)).component_j()
    for component in full:
        factor = 1.0 if component == "compartment_access" else 0.5
        assert half[component] == pytest.approx(full[component] * factor, rel=1e-12)


@settings(max_examples=20)
@given(case=cases())
def test_step_time_is_the_slowest_core_plus_the_barrier(case: Case) -> None:
    trace = _trace(case)
    counts, chip = trace.counts, case.artifact.chip
    assert counts is not None
    t = {f.name: getattr(chip.latency_s, f.name).value for f in fields(chip.latency_s)}
    tiles = len({s.tile(chip.mesh) for s in case.artifact.placement.slots})
    of_a_chip = chip.mesh.width * chip.mesh.height
    share = (tiles - 1) / (of_a_chip - 1) if of_a_chip > 1 else 0.0
    low, high = chip.barrier_s.one_tile.value, chip.barrier_s.all_tiles.value
    for step in range(trace.steps):
        durations = []
        for sample in range(trace.samples):
            cores = [
                max(
                    sum(
                        getattr(counts, name)[sample, step, core] * t[name]
                        for name in (
                            "compartment_access",
                            "compartment_update",
                            "spike",
                            "axon_out",
                        )
                    ),
                    sum(
                        getattr(counts, name)[sample, step, core] * t[name]
                        for name in ("axon_in", "synaptic_op")
                    ),
                )
                for core in range(len(case.artifact.partitioned.cores))
            ]
            shortest = chip.barrier_s.shortest_step.value
            durations.append(max(max(cores) + low + share * (high - low), shortest))
        found = estimate_energy(case.artifact, trace).step_s[step]
        assert found == pytest.approx(np.mean(durations), rel=1e-12)


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
    assert keys | {"spike", "axon", "hop", "host"} == set(content["energy_j"])


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
            worked = ~trace.counts.idle[..., core]
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
