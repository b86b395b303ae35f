"""The LIF kernel computes in 32 bits what the specification computes in 64."""

from __future__ import annotations

import numpy as np
import pytest

from mapping.semantics import fixedpoint as fx
from simulators.chip.compartments import _update_lif

EDGES = np.array([-(2**31), 1 - 2**31, -(2**23), 1 - 2**23, -1, 0, 1, 4095, 4096, 2**23, 2**31 - 1])


@pytest.mark.parametrize("du", [0, 1, 409, 2047, 4095])
@pytest.mark.parametrize("dv", [0, 1, 410, 4095])
def test_every_state_is_updated_as_specified(du: int, dv: int) -> None:
    rng = np.random.default_rng(du + dv)
    size = 20_000
    u, v, a, bias = (
        np.where(
            rng.random(size) < 0.3, rng.choice(EDGES, size), rng.integers(-(2**31), 2**31, size)
        )
        for _ in range(4)
    )
    u, v = np.where(rng.random((2, size)) < 0.5, [u, v], [u >> 9, v >> 9])
    threshold = 1000
    expected = fx.lif_step(u, v, a, du=du, dv=dv, threshold=threshold, bias=bias)
    arrays = [values.astype(np.int32) for values in (u, v, a, bias)]
    thresholds = np.full(size, threshold << fx.STATE_SHIFT, np.int32)
    fired, events, payloads = np.zeros(size, np.int8), *np.zeros((2, size), np.int32)
    reached = (a != 0) | (rng.random(size) < 0.1)
    busy = reached | (v != 0) | (bias != 0) | (expected[2] != 0) | ((u != 0) & (du < 4095))
    sent, updated, rest = _update_lif(
        *arrays, thresholds, reached, du + 1, dv, fired, events, payloads, 7, 0
    )
    assert updated == busy.sum()
    assert not reached.any()
    assert np.array_equal(arrays[0], expected[0])
    assert np.array_equal(arrays[1], expected[1])
    assert np.array_equal(fired, expected[2])
    assert np.array_equal(events[:sent], np.flatnonzero(fired) + 7)
    assert rest
    assert not arrays[2].any()
