"""Our gated relays do what Lava's own ``Sigma`` and ``ProdNeuron`` do with the same events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.gate_options import input_for, optioned_network
from support.networks import changed

from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target
from simulators.lava.guard import run_guarded

pytestmark = pytest.mark.lava

PRICE = 1.0


@pytest.mark.parametrize("seed", [9, 10, 14])
def test_gated_relays_send_what_stock_processes_send(seed: int) -> None:
    """Step by step on 50 random inputs, back to back, while both gates go on and off."""
    network = optioned_network(at="relay", traced=False, seed=seed)
    network = changed(network, "enc", relay_threshold=np.full(6, 0.05))
    artifact = compile_network(network, load_target("loihi2"), CompileOptions()).artifact
    assert len(artifact.partitioned.cores) == 1
    payloads = input_for(network, samples=50, steps=8, seed=seed).reshape(1, 400, 12)
    oracle = run_integer_network(artifact.network, payloads, price=PRICE).spikes
    found = run_guarded(
        "stock_jobs:masked_payloads",
        {"artifact": artifact, "payloads": payloads[0], "price": PRICE},
        deadline_s=90.0,
        extra_sys_path=[str(Path(__file__).parent)],
    )
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["gates"], oracle["enc/gate"][0])
    assert (np.abs(oracle["enc/gate"][0]).sum(axis=0) > 30).all()
    for block, (start, stop) in enumerate([(0, 2), (2, 4), (4, 6)]):
        sent = oracle["enc/relay"][0, :, start:stop]
        np.testing.assert_array_equal(found["own"][block], sent)
        if block:
            np.testing.assert_array_equal(found["stock"][block], sent)
            assert 40 < sent.any(axis=1).sum() < 360, "open in some steps, closed in others"
    assert sorted(found["stock"]) == [1, 2]
