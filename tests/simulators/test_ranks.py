from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.gated import program, spikes

from simulators.backend import simulate
from simulators.ranks import rank_usage


def test_events_become_ranks_in_the_step_after() -> None:
    artifact = program()
    trace = simulate(artifact, spikes(samples=1, steps=7))
    events = np.zeros_like(trace.spikes["enc/gate"])
    events[0, 1] = [0, 1]  # the second gate alone opens nothing
    events[0, 3] = [1, 0]
    events[0, 5] = [-1, 0]
    events[0, 7] = [1, -1]
    used = rank_usage(artifact, replace(trace, spikes=trace.spikes | {"enc/gate": events}))["enc"]
    assert used.levels == (2, 4, 6)
    assert used.ranks[0].tolist() == [2, 2, 2, 2, 6, 6, 2, 2, 4, 4]
    assert used.mean == pytest.approx(np.mean([2, 2, 2, 2, 6, 6, 2, 2, 4, 4]))
    assert used.shares == pytest.approx({2: 0.6, 4: 0.2, 6: 0.2})


def test_the_price_lowers_the_mean_rank() -> None:
    artifact = program()
    means = [
        rank_usage(artifact, simulate(artifact, spikes(), price=price))["enc"].mean
        for price in (0.0, 1.0, 1e6)
    ]
    assert means[0] > means[1] > means[2] == 2.0
