"""Every form of synapses answers like the matrix that it stands for."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.full import full
from support.synapses import (
    Example,
    conv_examples,
    conv_shapes,
    dense_examples,
    examples,
    sparse_examples,
)

from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    SparseSynapses,
    Synapses,
    frozen_array,
    stacked,
)

LISTED = st.one_of(dense_examples(), sparse_examples())


def cut(data: st.DataObject, length: int, *, empty: bool = False) -> tuple[int, int]:
    """A range within ``0..length``."""
    start = data.draw(st.integers(0, length - (not empty)))
    return start, data.draw(st.integers(start + (not empty), length))


def chosen(data: st.DataObject, size: int, *, least: int = 1) -> np.ndarray:
    """Some of ``size`` rows, rising."""
    rows = data.draw(st.sets(st.integers(0, size - 1), min_size=least))
    return np.array(sorted(rows), np.int64)


@given(example=examples())
def test_the_matrix(example: Example) -> None:
    synapses = example.synapses
    assert synapses.shape == example.weights.shape
    np.testing.assert_array_equal(full(synapses), example.weights)
    assert synapses.count == example.present.sum()
    np.testing.assert_array_equal(synapses.per_axon(), example.present.sum(axis=0))


@given(example=examples(), data=st.data())
def test_rows_of_rows(example: Example, data: st.DataObject) -> None:
    own = chosen(data, len(example.weights))
    part = example.synapses.rows(own)
    weights, present = example.weights[own], example.present[own]
    assert part.form == example.synapses.form
    np.testing.assert_array_equal(full(part), weights)
    np.testing.assert_array_equal(part.per_axon(), present.sum(axis=0))
    rows = chosen(data, own.size)
    np.testing.assert_array_equal(full(part.rows(rows)), weights[rows])
    np.testing.assert_array_equal(part.reads(rows), present[rows].any(axis=0))
    np.testing.assert_array_equal(part.rows(rows).per_axon(), present[rows].sum(axis=0))


@given(example=LISTED, data=st.data())
def test_columns(example: Example, data: st.DataObject) -> None:
    start, stop = cut(data, example.weights.shape[1])
    part = example.synapses.columns(start, stop)
    np.testing.assert_array_equal(full(part), example.weights[:, start:stop])
    assert part.count == example.present[:, start:stop].sum()


@given(example=conv_examples())
def test_a_convolution_reads_its_whole_source(example: Example) -> None:
    columns = example.weights.shape[1]
    assert example.synapses.columns(0, columns) is example.synapses
    if columns > 1:
        with pytest.raises(AssertionError):
            example.synapses.columns(1, columns)


@given(example=LISTED, data=st.data())
def test_one_list_per_axon(example: Example, data: st.DataObject) -> None:
    rows = chosen(data, len(example.weights), least=0)
    lengths = example.present[rows].sum(axis=0)
    assert example.synapses.lists(rows) == Counter(lengths[lengths > 0].tolist())


@given(example=conv_examples(), data=st.data())
def test_one_list_per_input_channel_and_place_in_the_kernel(
    example: Example, data: st.DataObject
) -> None:
    conv = example.synapses.conv  # type: ignore[union-attr]
    own = chosen(data, len(example.weights))
    touched = {row // conv.plane for row in own.tolist()}
    lists = Counter[int]()
    for channel, _, _ in product(range(conv.inputs[0]), *map(range, conv.kernel)):
        group = channel * conv.groups // conv.inputs[0]
        length = sum(out * conv.groups // conv.out_channels == group for out in touched)
        lists += Counter([length] if length else [])
    assert example.synapses.lists(own) == lists
    rows = chosen(data, own.size)
    assert example.synapses.rows(own).lists(rows) == example.synapses.lists(own[rows])


def random_range(data: st.DataObject, columns: int) -> tuple[np.ndarray, np.ndarray]:
    amounts = st.lists(st.integers(0, 9), min_size=columns, max_size=columns)
    return -np.array(data.draw(amounts), float), np.array(data.draw(amounts), float)


@given(example=examples(), data=st.data())
def test_bounds_of_the_sum(example: Example, data: st.DataObject) -> None:
    """Exact for lists of synapses, safe for convolutions."""
    start, stop = cut(data, len(example.weights))
    low, high = random_range(data, example.weights.shape[1])
    ends = example.weights[start:stop] * low, example.weights[start:stop] * high
    wanted = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
    below, above = example.synapses.rows(np.arange(start, stop)).sum_range(low, high)
    if isinstance(example.synapses, ConvSynapses):
        assert (below <= wanted[0]).all()
        assert (above >= wanted[1]).all()
    else:
        np.testing.assert_array_equal(below, wanted[0])
        np.testing.assert_array_equal(above, wanted[1])


@given(conv=conv_shapes().filter(lambda conv: conv.padding == (0, 0)), data=st.data())
def test_bounds_of_an_unpadded_convolution_are_exact(conv: ConvShape, data: st.DataObject) -> None:
    """With payloads that have one range per channel, as all populations have."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    synapses = ConvSynapses.whole(rng.integers(-9, 9, conv.weight_shape), conv)
    per_channel = conv.inputs[1] * conv.inputs[2]
    low, high = (np.repeat(side, per_channel) for side in random_range(data, conv.inputs[0]))
    weights = full(synapses)
    below, above = synapses.sum_range(low, high)
    np.testing.assert_array_equal(below, np.minimum(weights * low, weights * high).sum(axis=1))
    np.testing.assert_array_equal(above, np.maximum(weights * low, weights * high).sum(axis=1))


@given(example=LISTED, data=st.data())
def test_amounts_per_value(example: Example, data: st.DataObject) -> None:
    _, amounts = random_range(data, example.weights.shape[1])
    synapses = example.synapses
    scaled = synapses.with_values(synapses.values * synapses.per_value(amounts))
    np.testing.assert_array_equal(full(scaled), example.weights * amounts)


@given(example=conv_examples(), data=st.data())
def test_amounts_per_shared_value_are_the_largest(example: Example, data: st.DataObject) -> None:
    start, stop = cut(data, len(example.weights))
    part = example.synapses.rows(np.arange(start, stop))
    assert isinstance(part, ConvSynapses)
    channels = part.conv.inputs[0]
    _, amounts = random_range(data, example.weights.shape[1])
    largest = amounts.reshape(channels, -1).max(axis=1).repeat(amounts.size // channels)
    spread = np.broadcast_to(part.per_value(amounts), part.values.shape)
    expected = example.present[start:stop] * largest
    np.testing.assert_array_equal(full(part.with_values(spread)), expected)


@given(example=examples(), data=st.data())
def test_slices_stack_to_the_whole(example: Example, data: st.DataObject) -> None:
    first, last = cut(data, len(example.weights))
    owner = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=last - first, max_size=last - first))
    )
    wanted = example.synapses.rows(np.arange(first, last))
    slices = [np.flatnonzero(owner == number) for number in sorted(set(owner.tolist()))]
    whole = stacked([(rows, wanted.rows(rows)) for rows in slices], last - first)
    assert whole.form == wanted.form
    np.testing.assert_array_equal(whole.values, wanted.values)
    np.testing.assert_array_equal(full(whole), example.weights[first:last])
    assert whole.count == wanted.count


def test_slices_with_a_gap_do_not_stack() -> None:
    whole = DenseSynapses(values=np.ones((4, 2)))
    with pytest.raises(AssertionError, match="gaps"):
        stacked([(rows, whole.rows(rows)) for rows in (np.arange(1), np.arange(2, 4))], 4)


@given(example=examples())
def test_values_are_frozen_and_replaceable(example: Example) -> None:
    synapses: Synapses = example.synapses
    assert not synapses.values.flags.writeable
    doubled = synapses.with_values(synapses.values * 2)
    np.testing.assert_array_equal(full(doubled), example.weights * 2)
    np.testing.assert_array_equal(full(synapses), example.weights)
    small = synapses.with_values(synapses.values.astype(np.int8))
    assert small.values.dtype == np.int8
    assert full(small).dtype == np.int8


def test_explicit_zeros_are_synapses() -> None:
    synapses = SparseSynapses(values=[0.0, 3.0], targets=[1, 1], starts=[0, 1, 2], height=2)
    assert synapses.count == 2
    assert synapses.reads(np.arange(1, 2)).all()
    assert not synapses.reads(np.arange(0, 1)).any()


def test_frozen_arrays_are_not_copied_again() -> None:
    source = np.arange(3.0)
    once = frozen_array(source)
    source[0] = 9
    assert once[0] == 0
    assert frozen_array(once) is once


@settings(max_examples=50)
@given(conv=conv_shapes(), data=st.data())
def test_channels_of_some_outputs(conv: ConvShape, data: st.DataObject) -> None:
    rows = chosen(data, conv.size)
    channels = {row // conv.plane for row in rows.tolist()}
    whole = ConvSynapses.whole(np.zeros(conv.weight_shape), conv)
    assert whole.rows(rows).channels == (min(channels), max(channels) + 1)
    assert conv.size == np.prod(conv.outputs)
