"""Hypothesis strategies: synapses of every form beside the matrix that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.sparse import coo_array
from torch.nn import functional

from mapping.ir.synapses import ConvShape, ConvSynapses, DenseSynapses, SparseSynapses, Synapses


@dataclass(frozen=True)
class Example:
    """Synapses, their weights as a matrix, and where the matrix has synapses at all."""

    synapses: Synapses
    weights: np.ndarray
    present: np.ndarray


@st.composite
def dense_examples(draw: st.DrawFn) -> Example:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = rng.integers(-9, 9, (draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    return Example(DenseSynapses(values=weights), weights, np.ones(weights.shape, bool))


@st.composite
def sparse_examples(draw: st.DrawFn) -> Example:
    """Some synapses have weight zero; rows and columns may be empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    present = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    weights = rng.integers(-3, 3, shape) * present
    rows, columns = np.nonzero(present)
    order = rng.permutation(rows.size)
    entries = (weights[present][order], (rows[order], columns[order]))
    return Example(SparseSynapses.of(coo_array(entries, shape=shape)), weights, present)


@st.composite
def conv_shapes(draw: st.DrawFn) -> ConvShape:
    groups = draw(st.integers(1, 2))
    pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 1)))
    dilation = draw(pairs)
    height, width = (
        draw(st.integers(max(1, gap * (size - 1) + 1 - 2 * pad), 5))
        for size, pad, gap in zip(kernel, padding, dilation, strict=True)
    )
    return ConvShape(
        inputs=(groups * draw(st.integers(1, 2)), height, width),
        out_channels=groups * draw(st.integers(1, 3)),
        kernel=kernel,
        stride=draw(pairs),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@st.composite
def conv_examples(draw: st.DrawFn) -> Example:
    conv = draw(conv_shapes())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-9, 9, conv.weight_shape)
    synapses = ConvSynapses.whole(values, conv)
    present = conv_matrix(conv, np.ones(conv.weight_shape)) > 0
    return Example(synapses, conv_matrix(conv, values), present)


def conv_matrix(conv: ConvShape, values: np.ndarray) -> np.ndarray:
    """``(outputs, inputs)`` what torch's convolution does to one spike after the other."""
    size = int(np.prod(conv.inputs))
    answers = functional.conv2d(
        torch.eye(size, dtype=torch.float64).reshape(size, *conv.inputs),
        torch.tensor(values, dtype=torch.float64),
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )
    assert tuple(answers.shape[1:]) == conv.outputs
    return answers.reshape(size, -1).numpy().T


def examples() -> st.SearchStrategy[Example]:
    """Synapses of any form."""
    return st.one_of(dense_examples(), sparse_examples(), conv_examples())
