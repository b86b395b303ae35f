"""Geometry of the convolution and pooling nodes of NIR."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.intake import MOST_COMPARTMENTS
from mapping.ir.synapses import ConvShape, FloatArray
from mapping.nir.graph import FlatGraph
from mapping.nir.notes import Notes

Extents = tuple[int, ...]


def whole_numbers(graph: FlatGraph, key: str, name: str) -> Extents:
    """The integers in the parameter ``name`` of the node ``key``, in a row."""
    values: npt.NDArray[Any] = np.ravel(graph.nodes[key].values[name])
    if not 0 < values.size <= 8 or not (np.abs(values.astype(np.float64)) < 2**31).all():
        raise graph.refuse(key, f"{name} is {values[:8]}", "give small integers")
    if not (values == np.rint(values)).all():
        raise graph.refuse(key, f"{name} is {values}", "give integers")
    return tuple(int(value) for value in values)


def image(graph: FlatGraph, key: str, shape: Extents) -> tuple[int, int, int]:
    """``shape`` as (channels, height, width), as the window of the node ``key`` slides over it."""
    node = graph.nodes[key]
    wide = node.kind == "Conv1d"
    asked = whole_numbers(graph, key, "input_shape") if "input_shape" in node.values else ()
    if wide and len(shape) == 2:
        shape = (shape[0], 1, shape[1])
    if wide and len(asked) == 1:
        asked = (1, *asked)
    if len(shape) == 1 and len(asked) == 2 and min(asked) > 0 and shape[0] % prod(asked) == 0:
        shape = (shape[0] // prod(asked), *asked)
    fits = len(shape) == 3 and asked in ((), shape[1:]) and not (wide and shape[1] != 1)
    if not fits:
        wanted = "(channels, length)" if wide else "(channels, height, width)"
        raise graph.refuse(
            key,
            f"slides over {wanted}" + (f", of it {asked}" if asked else "") + f", but gets {shape}",
            "give the Input and the neurons before it that shape",
        )
    return shape[0], shape[1], shape[2]


def convolution(graph: FlatGraph, key: str, shape: Extents) -> tuple[ConvShape, FloatArray]:
    """Geometry and weights of a Conv1d or Conv2d over ``shape``.

    Padding that is one longer behind than before, as ``same`` has it for even kernels, becomes
    equal padding and a row of zeros in the kernel.
    """
    node = graph.nodes[key]
    inputs = image(graph, key, shape)
    weight = node.array("weight")
    axes = 1 if node.kind == "Conv1d" else 2
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise graph.refuse(
            key, f"its weight has shape {weight.shape}", f"give it {axes + 2} dimensions"
        )
    if axes == 1:
        weight = weight[:, :, None, :]
    stride, dilation = (_pair(graph, key, name, axes, 1) for name in ("stride", "dilation"))
    groups = whole_numbers(graph, key, "groups")
    if len(groups) != 1 or groups[0] < 1 or len(weight) % groups[0]:
        raise graph.refuse(
            key, f"has {', '.join(map(str, groups))} groups", "let the groups divide the channels"
        )
    if weight.shape[1] * groups[0] != inputs[0]:
        raise graph.refuse(
            key,
            f"reads {weight.shape[1] * groups[0]} channels, but gets {inputs[0]}",
            "write shapes that match",
        )
    if node.array("bias").shape not in ((len(weight),), ()):
        raise graph.refuse(
            key, f"its bias has shape {node.array('bias').shape}", "give one bias per channel"
        )
    padding = (0, 0)
    if node.padding == "same":
        if stride != (1, 1):
            raise graph.refuse(key, f"pads to the same size with stride {stride}", "use stride 1")
        weight, padding, dilation = _same(weight, dilation)
    elif not node.padding:
        padding = _pair(graph, key, "padding", axes, 0)
    conv = ConvShape(
        inputs=inputs,
        out_channels=len(weight),
        kernel=(weight.shape[2], weight.shape[3]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups[0],
    )
    _check_size(graph, key, conv)
    return conv, weight


def plain(conv: ConvShape, weight: FloatArray) -> tuple[ConvShape, FloatArray] | None:
    """The same in one group and with a square kernel; None if zeros at its ends cannot make it so.

    The checks of types in nir 1.0.8 take the rows of a weight for the input channels and a kernel
    for a square, so that ``nir.read`` opens no other convolution.
    """
    square = _square(conv)
    if square is None:
        return None
    wide, rows, columns = square
    kernel = np.zeros(wide.weight_shape)
    kernel[:, :, rows, columns] = ungrouped(weight, conv.groups)
    return wide, kernel


def _square(conv: ConvShape) -> tuple[ConvShape, slice, slice] | None:
    """A square kernel without groups, and the rows and columns of it that are the one of ``conv``.

    Padding grows by the zeros in front; what it grows by behind must not make room for another
    step of the kernel, nor take one.
    """
    flat = conv.dilation[0] != conv.dilation[1]
    for spread in (1, 0) if conv.dilation != (1, 1) and not flat else (0,):
        gaps = conv.dilation if spread else (1, 1)
        places = (1, 1) if spread else conv.dilation
        sizes = [(k - 1) * place + 1 for k, place in zip(conv.kernel, places, strict=True)]
        for side in (max(sizes), max(sizes) + 1):
            front = [
                _zeros_in_front(conv, axis, side - sizes[axis], gaps[axis]) for axis in range(2)
            ]
            if None in front:
                continue
            y, x = (int(zeros or 0) for zeros in front)
            wide = replace(
                conv,
                kernel=(side, side),
                padding=(conv.padding[0] + gaps[0] * y, conv.padding[1] + gaps[1] * x),
                dilation=gaps,
                groups=1,
            )
            return (
                wide,
                slice(y, y + sizes[0], places[0]),
                slice(x, x + sizes[1], places[1]),
            )
    return None


def _zeros_in_front(conv: ConvShape, axis: int, zeros: int, gap: int) -> int | None:
    """How many of the ``zeros`` go in front of the kernel for as many outputs as before."""
    reach = conv.dilation[axis] * (conv.kernel[axis] - 1) + 1
    room = conv.inputs[axis + 1] + 2 * conv.padding[axis] - reach
    for front in {zeros // 2: None, (zeros + 1) // 2: None}:
        more = room + gap * (2 * front - zeros)
        if more >= 0 and more // conv.stride[axis] == room // conv.stride[axis]:
            return front
    return None


def recorded_window(
    conv: ConvShape, weight: FloatArray, notes: Notes
) -> tuple[ConvShape, FloatArray]:
    """What :func:`plain` was made of, if the metadata say so and the weights agree."""
    if "kernel" not in notes:
        return conv, weight
    pairs = {key: notes.vector(key, (0, 0)) for key in ("kernel", "padding", "dilation")}
    groups = notes.whole("groups", 1)
    sound = all(len(pair) == 2 and min(pair) >= (key != "padding") for key, pair in pairs.items())
    if not sound or groups < 1 or conv.inputs[0] % groups or conv.out_channels % groups:
        return conv, weight
    kernel, padding, dilation = ((pair[0], pair[1]) for pair in pairs.values())
    own = replace(conv, groups=groups, kernel=kernel, padding=padding, dilation=dilation)
    square = _square(own) if own.outputs == conv.outputs else None
    if square is None or square[0] != conv:
        return conv, weight
    found = grouped(weight[:, :, square[1], square[2]], groups)
    if found.shape != own.weight_shape or np.count_nonzero(found) != np.count_nonzero(weight):
        return conv, weight
    return own, found


def pooling(graph: FlatGraph, key: str, shape: Extents) -> ConvShape:
    """Geometry of a SumPool2d or AvgPool2d over ``shape``."""
    inputs = image(graph, key, shape)
    conv = ConvShape(
        inputs=inputs,
        out_channels=inputs[0],
        kernel=_pair(graph, key, "kernel_size", 2, 1),
        stride=_pair(graph, key, "stride", 2, 1),
        padding=_pair(graph, key, "padding", 2, 0),
        groups=inputs[0],
    )
    _check_size(graph, key, conv)
    return conv


def composed(
    first: ConvShape, weight: FloatArray, second: ConvShape, then: FloatArray
) -> tuple[ConvShape, FloatArray] | None:
    """One convolution that does what two in a row do; None where the border forbids it.

    ``second`` pads what ``first`` gives with zeros. One convolution reads on there, so its windows
    must lie outside the input.
    """
    for axis in range(2):
        before = (
            first.dilation[axis] * (first.kernel[axis] - 1)
            < first.stride[axis] + first.padding[axis]
        )
        behind = first.outputs[axis + 1] * first.stride[axis] >= (
            first.inputs[axis + 1] + first.padding[axis]
        )
        if second.padding[axis] and not (before and behind):
            return None
    reach = [
        (second.dilation[axis] * (second.kernel[axis] - 1)) * first.stride[axis]
        + first.dilation[axis] * (first.kernel[axis] - 1)
        + 1
        for axis in range(2)
    ]
    groups = int(np.gcd(first.groups, second.groups))
    conv = ConvShape(
        inputs=first.inputs,
        out_channels=second.out_channels,
        kernel=(reach[0], reach[1]),
        stride=_each(first.stride, second.stride),
        padding=tuple(  # type: ignore[arg-type]
            first.padding[axis] + second.padding[axis] * first.stride[axis] for axis in range(2)
        ),
        groups=groups,
    )
    spelt_out = (
        conv.out_channels * first.inputs[0] * prod(conv.kernel),
        first.out_channels * first.inputs[0] * prod(first.kernel),
    )
    if max(spelt_out) > MOST_COMPARTMENTS:
        return None
    kernel = np.zeros((conv.out_channels, first.inputs[0], *conv.kernel))
    inner, outer = ungrouped(weight, first.groups), ungrouped(then, second.groups)
    for y in range(second.kernel[0]):
        for x in range(second.kernel[1]):
            top = y * second.dilation[0] * first.stride[0]
            left = x * second.dilation[1] * first.stride[1]
            rows = slice(top, top + first.dilation[0] * (first.kernel[0] - 1) + 1)
            columns = slice(left, left + first.dilation[1] * (first.kernel[1] - 1) + 1)
            place = kernel[:, :, rows, columns][:, :, :: first.dilation[0], :: first.dilation[1]]
            place += np.einsum("om,mikl->oikl", outer[:, :, y, x], inner)
    return conv, grouped(kernel, groups)


def _each(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] * other[0], one[1] * other[1]


def ungrouped(weight: FloatArray, groups: int) -> FloatArray:
    """``weight`` as that of one group, zero between those that it has."""
    outputs, width = weight.shape[0] // groups, weight.shape[1]
    full = np.zeros((weight.shape[0], width * groups, *weight.shape[2:]))
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * width : (group + 1) * width] = weight[rows]
    return full


def grouped(full: FloatArray, groups: int) -> FloatArray:
    """The inverse of :func:`ungrouped`."""
    outputs, width = full.shape[0] // groups, full.shape[1] // groups
    return np.concatenate(
        [
            full[group * outputs : (group + 1) * outputs, group * width : (group + 1) * width]
            for group in range(groups)
        ]
    )


def _same(
    weight: FloatArray, dilation: tuple[int, int]
) -> tuple[FloatArray, tuple[int, int], tuple[int, int]]:
    """Weights, padding and dilation that leave the size as it is."""
    padding, gaps = [0, 0], list(dilation)
    for axis in range(2):
        total = dilation[axis] * (weight.shape[2 + axis] - 1)
        if total % 2:
            spread = np.zeros((*weight.shape[: 2 + axis], total + 2, *weight.shape[3 + axis :]))
            places = slice(1, None, dilation[axis])
            spread[(slice(None),) * (2 + axis) + (places,)] = weight
            weight, gaps[axis], total = spread, 1, total + 1
        padding[axis] = total // 2
    return weight, (padding[0], padding[1]), (gaps[0], gaps[1])


def _pair(graph: FlatGraph, key: str, name: str, axes: int, least: int) -> tuple[int, int]:
    """(vertical, horizontal) of a parameter; along one axis only, the other gets ``least``."""
    values = whole_numbers(graph, key, name)
    if len(values) not in (1, axes) or min(values) < least or max(values) > MOST_COMPARTMENTS:
        raise graph.refuse(
            key, f"{name} is {values}", f"give {axes} numbers of {least} to {MOST_COMPARTMENTS}"
        )
    return (least, values[0]) if axes == 1 else (values[0], values[-1])


def _check_size(graph: FlatGraph, key: str, conv: ConvShape) -> None:
    """The window fits into the padded input, and what it gives onto a chip."""
    if min(conv.outputs) < 1 or conv.size > MOST_COMPARTMENTS:
        raise graph.refuse(
            key,
            f"makes {conv.outputs} of {conv.inputs}",
            f"choose a window that gives 1 to {MOST_COMPARTMENTS} numbers",
        )
