"""The reference arithmetic on values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.ir.network import Input
from mapping.ir.quantized import IntegerLif, IntegerProjection, ProjectionSpec, QuantizedNetwork
from mapping.ir.synapses import DenseSynapses
from mapping.semantics import fixedpoint as fx
from mapping.semantics.int_net import run_integer_network

M = 2**23


def ints(*values: int) -> np.ndarray:
    """Values as the functions want them."""
    return np.array(values, np.int64)


def step(u: int, v: int, a: int, **changes: int) -> tuple[int, int, int]:
    """One step of one compartment without decay, bias and threshold in reach."""
    constants = {"du": 0, "dv": 0, "threshold": 2**17 - 1, **changes}
    bias = ints(constants.pop("bias", 0))
    made = fx.lif_step(ints(u), ints(v), ints(a), bias=bias, **constants)
    return tuple(int(x[0]) for x in made)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("value", "wrapped"),
    [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (-(2**31) - 1, 2**31 - 1), (2**32, 0)],
)
def test_sums_wrap_at_32_bits(value: int, wrapped: int) -> None:
    assert fx.wrap32(ints(value))[0] == wrapped


@pytest.mark.parametrize(
    ("value", "exponent", "shifted"),
    [(3, 2, 12), (5, -1, 2), (-5, -1, -3), (-1, -16, -1), (7, 0, 7)],
)
def test_a_negative_exponent_rounds_down(value: int, exponent: int, shifted: int) -> None:
    assert fx.shift(ints(value), exponent)[0] == shifted


@pytest.mark.parametrize(
    ("value", "parts", "kept"),
    [(4096, 1, 4095), (1, 1, 0), (-1, 1, 0), (-3, 2048, -1), (M, 4095, 2048), (-M, 4096, 0)],
)
def test_decay_rounds_towards_zero(value: int, parts: int, kept: int) -> None:
    assert fx.decay(ints(value), parts)[0] == kept


def test_the_shift_comes_after_the_whole_sum() -> None:
    weights = np.array([[3, 3], [-1, -1]])
    spikes = np.array([[1, 1]])
    assert fx.synaptic_sum(weights, spikes, -1, graded=True).tolist() == [[3, -1]]


def test_without_grading_only_presence_counts() -> None:
    weights = np.array([[2, 4]])
    payloads = np.array([[-7, 0], [1, 100]])
    assert fx.synaptic_sum(weights, payloads, 0, graded=False).tolist() == [[2], [6]]
    assert fx.synaptic_sum(weights, payloads, 0, graded=True).tolist() == [[-14], [402]]


def test_input_is_shifted_into_the_current_and_on_into_the_voltage() -> None:
    assert step(0, 0, 3) == (192, 192, 0)
    assert step(4096, 100, 0) == (4095, 4195, 0)
    assert step(4096, 4096, 0, du=4095, dv=2048) == (0, 2048, 0)
    assert step(0, 0, 0, bias=-5) == (0, -5, 0)


def test_the_threshold_is_strict_and_resets_the_voltage_alone() -> None:
    assert step(0, 0, 10, threshold=10) == (640, 640, 0)
    assert step(0, 1, 10, threshold=10) == (640, 0, 1)


def test_the_current_wraps_once_and_the_voltage_saturates() -> None:
    assert step(0, 0, 2**17) == (M, 0, 1)
    assert step(0, 0, 2**17 + 1) == (-M + 64, -M + 64, 0)
    assert step(0, 0, -(2**17)) == (M, 0, 1)
    assert step(0, -M + 1, 0, bias=-10) == (0, -M + 1, 0)


@given(
    a=st.integers(-(2**31), 2**31 - 1),
    threshold=st.integers(0, 2**24),
)
def test_a_relay_passes_what_exceeds_its_threshold(a: int, threshold: int) -> None:
    none = ints(0)
    *_, sent = fx.relay_step(
        none,
        none,
        none,
        ints(a),
        none,
        threshold=ints(threshold),
        needed=none,
        bias=none,
        rectified=False,
        sigma=False,
        delta=False,
    )
    assert sent == (a if abs(a) > threshold else 0)


def test_a_spike_arrives_one_step_later() -> None:
    network = QuantizedNetwork(
        name="one",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(1,)),
            IntegerLif(
                name="out",
                shape=(1,),
                du=4095,
                dv=0,
                threshold=10,
                bias_mantissa=np.array([1]),
                bias_exponent=2,
                scale=1.0,
            ),
        ),
        projections=(
            IntegerProjection(
                spec=ProjectionSpec(
                    name="w",
                    layer="w",
                    part="full",
                    source="in",
                    source_start=0,
                    source_stop=1,
                    target="out",
                    target_start=0,
                    target_stop=1,
                    weight_bits=8,
                    exponent=1,
                    graded=False,
                ),
                synapses=DenseSynapses(values=np.array([[2]])),
            ),
        ),
    )
    trace = run_integer_network(network, np.array([[[1], [1], [0], [0], [0]]]))
    assert trace.u["out"][0, :, 0].tolist() == [0, 512, 512, 0, 0]
    assert trace.v["out"][0, :, 0].tolist() == [4, 520, 0, 4, 8]
    assert trace.spikes["out"][0, :, 0].tolist() == [0, 0, 1, 0, 0]
