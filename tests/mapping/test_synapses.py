"""Every form of synapses answers like the matrix that it stands for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product

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
    padded,
    stacked,
)

LISTED = st.one_of(dense_examples(), sparse_examples())


def cut(data: st.DataObject, length: int, *, empty: bool = False) -> tuple[int, int]:
    """A range within ``0..length``."""
    start = data.draw(st.integers(0, length - (not empty)))
    return start, data.draw(st.integers(start + (not empty), length))


@given(example=examples())
def test_the_matrix(example: Example) -> None:
    synapses = example.synapses
    assert synapses.shape == example.weights.shape
    np.testing.assert_array_equal(full(synapses), example.weights)
    assert synapses.count == example.present.sum()
    np.testing.assert_array_equal(synapses.per_axon(), example.present.sum(axis=0))


@given(example=examples(), data=st.data())
def test_rows_of_rows(example: Example, data: st.DataObject) -> None:
    start, stop = cut(data, len(example.weights))
    part = example.synapses.rows(start, stop)
    weights, present = example.weights[start:stop], example.present[start:stop]
    assert part.form == example.synapses.form
    np.testing.assert_array_equal(full(part), weights)
    np.testing.assert_array_equal(part.per_axon(), present.sum(axis=0))
    first, last = cut(data, stop - start)
    np.testing.assert_array_equal(full(part.rows(first, last)), weights[first:last])
    np.testing.assert_array_equal(part.reads(first, last), present[first:last].any(axis=0))
    np.testing.assert_array_equal(
        part.rows(first, last).per_axon(), present[first:last].sum(axis=0)
    )


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
    start, stop = cut(data, len(example.weights), empty=True)
    lengths = example.present[start:stop].sum(axis=0)
    assert example.synapses.lists(start, stop) == Counter(lengths[lengths > 0].tolist())


@given(example=conv_examples(), data=st.data())
def test_one_list_per_input_channel_and_place_in_the_kernel(
    example: Example, data: st.DataObject
) -> None:
    conv = example.synapses.conv  # type: ignore[union-attr]
    start, stop = cut(data, len(example.weights))
    touched = {row // conv.plane for row in range(start, stop)}
    lists = Counter[int]()
    for channel, _, _ in product(range(conv.inputs[0]), *map(range, conv.kernel)):
        group = channel * conv.groups // conv.inputs[0]
        length = sum(out * conv.groups // conv.out_channels == group for out in touched)
        lists += Counter([length] if length else [])
    assert example.synapses.lists(start, stop) == lists
    first, last = cut(data, stop - start)
    part = example.synapses.rows(start, stop)
    assert part.lists(first, last) == example.synapses.lists(start + first, start + last)


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
    below, above = example.synapses.rows(start, stop).sum_range(low, high)
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
    synapses = ConvSynapses(
        values=rng.integers(-9, 9, conv.weight_shape), conv=conv, start=0, stop=conv.size
    )
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
    part = example.synapses.rows(start, stop)
    assert isinstance(part, ConvSynapses)
    channels = part.conv.inputs[0]
    _, amounts = random_range(data, example.weights.shape[1])
    largest = amounts.reshape(channels, -1).max(axis=1).repeat(amounts.size // channels)
    spread = np.broadcast_to(part.per_value(amounts), part.values.shape)
    expected = example.present[start:stop] * largest
    np.testing.assert_array_equal(full(part.with_values(spread)), expected)


@given(example=examples(), data=st.data())
def test_slices_stack_to_the_whole(example: Example, data: st.DataObject) -> None:
    rows = len(example.weights)
    first, last = cut(data, rows)
    bounds = sorted({first, last, *data.draw(st.lists(st.integers(first, last), max_size=3))})
    parts = [(start, example.synapses.rows(start, stop)) for start, stop in pairwise(bounds)]
    whole = stacked(data.draw(st.permutations(parts)), last - first)
    wanted = example.synapses.rows(first, last)
    assert whole.form == wanted.form
    np.testing.assert_array_equal(whole.values, wanted.values)
    np.testing.assert_array_equal(full(whole), example.weights[first:last])
    assert whole.count == wanted.count


def test_slices_with_a_gap_do_not_stack() -> None:
    whole = DenseSynapses(values=np.ones((4, 2)))
    with pytest.raises(AssertionError, match="gaps"):
        stacked([(0, whole.rows(0, 1)), (2, whole.rows(2, 4))], 4)


@given(example=LISTED, data=st.data())
def test_padding_with_rows_that_receive_nothing(example: Example, data: st.DataObject) -> None:
    rows = len(example.weights)
    before, after = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    wide = padded(example.synapses, before, before + rows + after)
    wanted = np.pad(example.weights, ((before, after), (0, 0)))
    np.testing.assert_array_equal(full(wide), wanted)
    assert wide.shape == wanted.shape


def test_a_convolution_needs_no_padding_rows() -> None:
    conv = ConvShape(inputs=(1, 2, 2), out_channels=1, kernel=(1, 1))
    synapses = ConvSynapses(values=np.ones(conv.weight_shape), conv=conv, start=0, stop=4)
    assert padded(synapses, 0, 4) is synapses
    with pytest.raises(AssertionError):
        padded(synapses, 0, 5)


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
    assert synapses.reads(1, 2).all()
    assert not synapses.reads(0, 1).any()


def test_frozen_arrays_are_not_copied_again() -> None:
    source = np.arange(3.0)
    once = frozen_array(source)
    source[0] = 9
    assert once[0] == 0
    assert frozen_array(once) is once


@settings(max_examples=50)
@given(conv=conv_shapes(), data=st.data())
def test_channels_of_a_range_of_outputs(conv: ConvShape, data: st.DataObject) -> None:
    start, stop = cut(data, conv.size)
    channels = {row // conv.plane for row in range(start, stop)}
    assert conv.channels(start, stop) == (min(channels), max(channels) + 1)
    assert conv.size == np.prod(conv.outputs)
