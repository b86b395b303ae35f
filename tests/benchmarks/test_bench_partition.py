"""The count that the benchmark rests on."""

from __future__ import annotations

import numpy as np
from bench_partition import adjacency, bench, cores_of, ours, packets, sequential
from partition_networks import WINDOW, low_rank


def test_packets_are_counted_one_by_one() -> None:
    problem = low_rank(width=24, rank=3, pairs=1)
    synapses, rates, fan_in = adjacency(problem)
    core_of = np.arange(synapses.shape[0]) % 5
    total = 0.0
    for sender in range(synapses.shape[0]):
        reached = synapses.indices[synapses.indptr[sender] : synapses.indptr[sender + 1]]
        total += rates[sender] * len(set(core_of[reached].tolist()) - {int(core_of[sender])})
    np.testing.assert_allclose(packets(problem, core_of), WINDOW * total)
    assert fan_in.tolist() == [0] * 24 + [24] * 3 + [3] * 24


def test_our_own_count_is_that_of_the_benchmark() -> None:
    problem = low_rank(width=2048, rank=64, pairs=1)
    own, cut = ours(problem)
    from_host = sum(own.traffic.rates["host"][d.members].sum() for d in cut.destinations["host"])
    expected = own.traffic.remote_packets(cut) - from_host
    np.testing.assert_allclose(packets(own, cores_of(own, cut)), WINDOW * expected)
    assert len(own.network.populations) == len(problem.network.populations)


def test_every_case_beats_the_sequential_fill() -> None:
    rows = bench(quick=True)
    for entry in rows:
        if entry["metric"] == "packets":
            assert entry["ours"] <= entry["peers"]["sequential fill"]
    assert (sequential(low_rank(width=64, rank=4)) >= 0).all()
