from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from support.integer_networks import Case, cases

from simulators.backend import Run
from simulators.chip.run import run_chip
from simulators.oracle import run_oracle
from simulators.trace import ExecutionTrace


def _run(case: Case, backend: str) -> ExecutionTrace:
    run = Run(artifact=case.artifact, payloads=case.payloads, probe=("u", "v"), deadline_s=60.0)
    return run_chip(run) if backend == "chip" else run_oracle(run)


def _assert_equal(case: Case) -> None:
    chip, oracle = _run(case, "chip"), _run(case, "oracle")
    for group in ("spikes", "u", "v"):
        for name, values in getattr(oracle, group).items():
            np.testing.assert_array_equal(getattr(chip, group)[name], values, f"{group} of {name}")


@settings(max_examples=150)
@given(case=cases())
def test_chip_simulator_equals_oracle(case: Case) -> None:
    _assert_equal(case)


@pytest.mark.slow
@settings(max_examples=2000)
@given(case=cases(steps=16))
def test_chip_simulator_equals_oracle_at_length(case: Case) -> None:
    _assert_equal(case)


@settings(max_examples=60)
@given(case=cases())
def test_counts_equal_an_independent_recount(case: Case) -> None:
    trace = _run(case, "chip")
    assert trace.counts is not None
    recount = _recount(case, trace)
    for name, values in trace.counts.items():
        np.testing.assert_array_equal(values, recount[name], name)


def _recount(case: Case, trace: ExecutionTrace) -> dict[str, np.ndarray]:
    """Counts from spikes and states alone, compartment by compartment, in plain NumPy."""
    artifact = case.artifact
    partitioned, slots = artifact.partitioned, artifact.placement.slots
    samples, steps = case.payloads.shape[:2]
    counts = {
        name: np.zeros((samples, steps, len(partitioned.cores)), int)
        for name, _ in trace.counts.items()
    }
    sent = {name: values != 0 for name, values in trace.spikes.items()} | {"in": case.payloads != 0}
    core_of = {
        (group.population, index): core
        for core, program in enumerate(partitioned.cores)
        for group in program.groups
        for index in range(group.start, group.stop)
    }
    listeners: dict[tuple[str, int], set[int]] = {}
    for core, program in enumerate(partitioned.cores):
        for tile in program.tiles:
            spec = partitioned.projections[tile.projection]
            rows = tile.target_stop - tile.target_start
            for index in range(spec.source_start, spec.source_stop):
                counts["synaptic_op"][..., core] += sent[spec.source][..., index] * rows
                listeners.setdefault((spec.source, index), set()).add(core)
    for (name, index), core in core_of.items():
        counts["compartment_access"][..., core] += 1
        counts["spike"][..., core] += sent[name][..., index]
        counts["compartment_update"][..., core] += _updated(case, trace, name)[..., index]
    for (name, index), cores in listeners.items():
        spikes = sent[name][..., index]
        for core in cores:
            slot = slots[core]
            counts["axon_in"][..., core] += spikes
            if name == "in":
                counts["host_packet"][..., core] += spikes
                tile_x, tile_y = artifact.chip.mesh.host_tile
            else:
                sender = core_of[name, index]
                counts["axon_out"][..., sender] += spikes
                tile_x, tile_y = slots[sender].x, slots[sender].y
                if (tile_x, tile_y) == (slot.x, slot.y):
                    counts["within_tile"][..., core] += spikes
            counts["hop_east_west"][..., core] += spikes * abs(slot.x - tile_x)
            counts["hop_north_south"][..., core] += spikes * abs(slot.y - tile_y)
    return counts


def _updated(case: Case, trace: ExecutionTrace, name: str) -> np.ndarray:
    network = case.artifact.network
    population = network.population(name)
    arrived = np.zeros(trace.spikes[name].shape, np.int64)
    for projection in network.projections:
        spec = projection.spec
        if spec.target != name:
            continue
        source = case.payloads if spec.source == "in" else trace.spikes[spec.source]
        payload = source[..., spec.source_start : spec.source_stop]
        payload = payload if spec.graded else (payload != 0).astype(np.int64)
        total = (payload @ projection.weights.T.astype(np.int64)).astype(np.int32).astype(np.int64)
        e = spec.exponent
        total = (total << e if e > 0 else total >> -e).astype(np.int32)
        arrived[:, 1:] += total[:, :-1]
    busy = arrived.astype(np.int32) != 0
    if name in trace.u:
        busy = busy | (population.bias_mantissa != 0)
        busy[:, 1:] |= (trace.u[name][:, :-1] != 0) | (trace.v[name][:, :-1] != 0)
    return busy
