from __future__ import annotations

import numpy as np
import pytest
from bench_chip import bench, check
from chip_limits import least_work, seconds
from chip_networks import convolutional, dense_chain
from chip_peers import convolutional_problem, reference

from simulators import Stimulus, simulate


@pytest.mark.lava
def test_every_peer_gives_our_spikes_before_it_is_timed() -> None:
    rows = bench(quick=True)
    stream, batch, _, dense, convolution, *rest = rows
    assert stream["peers"].keys() == {"scipy", "oracle", "lava", "lava, fused"}
    assert batch["peers"].keys() == {"scipy", "lava", "lava, fused"}
    assert dense["peers"].keys() == convolution["peers"].keys() == {"scipy"}
    assert [row["metric"] for row in rest] == ["step"] * 4 + ["duration", "memory"]
    assert all(row["ours"] > 0 for row in rows)
    assert all(row["limit"] for row in rows if row["metric"] != "step")
    assert 1 <= rest[-1]["ours"] < 2


def test_other_spikes_are_refused() -> None:
    artifact = dense_chain((30, 20, 4))
    payloads = np.ones((1, 10, 30), np.int8)
    trace = simulate(artifact, Stimulus(payloads=payloads))
    found = np.array(trace.spikes[trace.output])
    check("lava", found, trace, 10)
    found[0, 9] ^= 1
    with pytest.raises(AssertionError, match="lava differs"):
        check("lava", found, trace, 10)
    check("lava", found, trace, 9)


def test_the_limit_makes_the_synaptic_sums_of_a_run() -> None:
    rng = np.random.default_rng(0)
    for artifact in (dense_chain((30, 20, 4)), convolutional()):
        network = artifact.network
        trains = [rng.random((3, p.size)) < 0.1 for p in network.populations[:-1]]
        work = least_work(artifact, trains)
        work.run()
        for sums, train, projection in zip(work.sums, trains, network.projections, strict=True):
            expected = projection.synapses.matrix().astype(np.int64) @ train.sum(axis=0)
            if conv := projection.spec.conv:
                expected = expected.reshape(conv.out_channels, conv.plane).T.ravel()
            assert np.array_equal(sums, expected)
    assert seconds([work, least_work(artifact, trains)], 2) > 0


def test_the_compiled_convolutional_net_is_that_of_the_peers() -> None:
    problem = convolutional_problem(12)
    artifact = convolutional()
    payloads = problem["spikes"].reshape(1, -1, *artifact.network.input.shape)
    trace = simulate(artifact, Stimulus(payloads=payloads))
    for lif, expected in zip(artifact.network.populations[1:], reference(problem), strict=True):
        assert np.array_equal(trace.spikes[lif.name][0, :12], expected)
