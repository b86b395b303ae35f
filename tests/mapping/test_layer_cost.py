from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from support.chips import tiny_chip
from support.networks import dense_network, random_payloads

from mapping.ir.network import Dense
from mapping.ir.traffic import ASSUMED_ACTIVITY, Calibration
from mapping.passes.layer_cost import WHITENED, LayerCost, SourceActivity, source_activity
from mapping.semantics.float_net import run_float_network
from mapping.targets.load import load_target

LOIHI2 = load_target("loihi2")


def cost(
    *,
    outputs: int = 512,
    inputs: int = 784,
    rate: float = 0.1,
    busy: float = 1.0,
    from_host: bool = False,
    steps: int = 0,
) -> LayerCost:
    activity = SourceActivity(
        rates=np.full(inputs, rate), busy=busy, moment=None, steps=steps, status="measured"
    )
    return LayerCost(
        chip=LOIHI2,
        outputs=outputs,
        inputs=inputs,
        from_host=from_host,
        weight_bits=8,
        activity=activity,
        visited=300,
    )


def test_the_energy_of_a_matrix_is_its_counts_times_the_table() -> None:
    table = LOIHI2.energy_j
    one = cost(outputs=10, inputs=100, rate=0.05)
    packet = table.axon_in.value + table.axon_out.value + table.within_tile.value
    assert one.full_j() == pytest.approx(5 * 10 * table.synaptic_op_dense.value + 5 * packet)
    hosted = cost(outputs=10, inputs=100, rate=0.05, from_host=True)
    packet = table.axon_in.value + table.host_packet.value
    assert hosted.full_j() == pytest.approx(5 * 10 * table.synaptic_op_dense.value + 5 * packet)


def test_the_energy_of_a_pair_counts_both_factors_and_the_relays() -> None:
    table = LOIHI2.energy_j
    one = cost(outputs=10, inputs=100, rate=0.05, busy=0.5)
    packet = table.axon_in.value + table.axon_out.value + table.within_tile.value
    ops = 5 * 4 + 0.5 * 4 * 10
    relays = 4 * table.compartment_access.value + 0.5 * 4 * (
        table.compartment_update.value + table.spike.value
    )
    wanted = ops * table.synaptic_op_dense.value + relays + (5 + 0.5 * 4) * packet
    assert one.factored_j(4) == pytest.approx(wanted)


def test_a_pair_pays_for_the_step_that_it_adds_to_a_sample() -> None:
    table = LOIHI2.energy_j
    visit = table.compartment_access.value + table.compartment_update.value
    short, unknown = cost(steps=6), cost()
    assert short.factored_j(4) - unknown.factored_j(4) == pytest.approx(300 / 6 * visit)
    assert short.full_j() == unknown.full_j()


def test_the_break_even_in_synaptic_operations_is_the_published_one() -> None:
    """r < p n m / (p n + m), METHODS §1, where nothing but synapses costs anything."""
    free = {
        f.name: replace(getattr(LOIHI2.energy_j, f.name), value=0.0)
        for f in fields(LOIHI2.energy_j)
        if f.name != "synaptic_op_dense"
    }
    chip = replace(LOIHI2, energy_j=replace(LOIHI2.energy_j, **free))
    one = replace(cost(rate=0.07), chip=chip)
    active = 0.07 * 784
    cheaper = [rank for rank in range(1, 512) if one.factored_j(rank) < one.full_j()]
    assert cheaper == list(range(1, 50))
    assert 49 < active * 512 / (active + 512) < 50


def test_a_layer_over_several_cores_takes_a_packet_for_each() -> None:
    one, wide = (cost(outputs=rows, inputs=100, rate=0.05) for rows in (4096, 8192))
    words = 100 * LOIHI2.core.words_per_axon(4096, 8)
    cores = -(-words // LOIHI2.core.synapse_words.value)
    table = LOIHI2.energy_j
    packet = table.axon_in.value + table.axon_out.value + table.within_tile.value
    assert one.full_j() == pytest.approx(
        5 * 4096 * table.synaptic_op_dense.value + 5 * cores * packet
    )
    assert wide.full_j() > one.full_j()


def test_activity_is_assumed_without_data_and_measured_with_them() -> None:
    network = dense_network((6, 5, 3))
    assumed = source_activity(network, {"in", "p1"}, None)
    assert {a.status for a in assumed.values()} == {"assumed"}
    np.testing.assert_array_equal(assumed["p1"].rates, np.full(5, ASSUMED_ACTIVITY))
    assert assumed["in"].moment is None

    payloads = random_payloads(network, samples=3)
    payloads[0] = 0
    measured = source_activity(network, {"in", "p1"}, Calibration(payloads=payloads))
    sent = run_float_network(network, payloads)["p1"].reshape(-1, 5)
    np.testing.assert_allclose(measured["p1"].rates, sent.mean(axis=0))
    assert measured["p1"].moment is not None
    np.testing.assert_allclose(measured["p1"].moment, sent.T @ sent / len(sent))
    flat = payloads.reshape(-1, 6)
    assert measured["in"].busy == pytest.approx(flat.any(axis=1).mean())
    assert measured["in"].status == "measured"


def test_a_silent_source_has_no_second_moment() -> None:
    network = dense_network((6, 5, 3))
    silent = Calibration(payloads=np.zeros((1, 4, 6), np.int64))
    activity = source_activity(network, {"in"}, silent)["in"]
    assert activity.moment is None
    assert activity.busy == 0.0


def test_a_layer_is_measured_by_its_own_shape() -> None:
    network = dense_network((6, 5, 3))
    layer = network.projections[1]
    assert isinstance(layer, Dense)
    found = LayerCost.of(layer, network, tiny_chip(), SourceActivity.assumed(5), 4)
    assert (found.outputs, found.inputs, found.from_host, found.weight_bits) == (3, 5, False, 4)


def test_a_population_too_large_to_decompose_is_not_whitened() -> None:
    sent = np.ones((1, 2, WHITENED + 1))
    activity = SourceActivity.measured(sent)
    assert activity.moment is None
    assert activity.busy == 1.0
    assert SourceActivity.measured(np.ones((1, 2, 3))).moment is not None
