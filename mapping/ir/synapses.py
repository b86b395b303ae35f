"""The forms in which the synapses of a projection are stored: dense, sparse, convolutional.

Every form holds its free parameters in one array ``values``, floats before quantisation and int8
mantissas after it, and answers the same questions. A synapse ends on a *row*, a compartment of the
target, and belongs to a *column*, an input axon: a compartment of the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array, csr_array

from mapping.errors import ConfigError

Form = Literal["dense", "sparse", "conv"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Values = npt.NDArray[Any]
Matrix = npt.NDArray[Any] | csr_array
Rows = npt.NDArray[np.integer[Any]]
"""Rising numbers of rows."""


def frozen_array(values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64) -> Values:
    """``values`` as a read-only, C-contiguous array that nobody else can write to.

    Raises:
        TypeError: the values are no real numbers, or integers are wanted, but there are fractions
            among them.
    """
    wanted = np.dtype(dtype)
    if (
        isinstance(values, np.ndarray)
        and values.dtype == wanted
        and values.base is None
        and values.flags.c_contiguous
        and not values.flags.writeable
    ):
        return values
    given = np.asarray(values)
    if given.dtype.kind not in "biufO":
        raise TypeError(f"{given.dtype} instead of real numbers")
    whole = wanted.kind not in "iu" or given.dtype.kind != "f"
    if not whole and not (np.isfinite(given) & (given == np.rint(given))).all():
        raise TypeError("fractions among values that must be integers")
    array = np.array(given, dtype=wanted, order="C", copy=True)
    array.setflags(write=False)
    return array


def checked_array(
    where: str, what: str, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64
) -> Values:
    """:func:`frozen_array` of the entry ``what`` of the element ``where``.

    Raises:
        ConfigError: ADL-NET-03, ``values`` are not numbers of that kind.
    """
    try:
        return frozen_array(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "integers" if np.dtype(dtype).kind in "iu" else "real numbers"
        raise ConfigError(
            f"{what} cannot be read as {kind} ({error})",
            where=where,
            remedy=f"give {what} as an array of {kind}",
            code="ADL-NET-03",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseSynapses:
    """One synapse from every column to every row; ``values`` is ``(rows, columns)``."""

    values: Values
    form: ClassVar[Form] = "dense"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen_array(self.values, np.asarray(self.values).dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        rows, columns = self.values.shape
        return rows, columns

    @property
    def count(self) -> int:
        """Number of synapses."""
        return int(self.values.size)

    def with_values(self, values: Values) -> DenseSynapses:
        """Other parameters in the same places."""
        return replace(self, values=values)

    def matrix(self) -> Matrix:
        """``(rows, columns)`` weights."""
        return self.values

    def rows(self, rows: Rows) -> DenseSynapses:
        """The synapses that end on ``rows``."""
        return DenseSynapses(values=self.values[rows])

    def columns(self, start: int, stop: int) -> DenseSynapses:
        """The synapses of the columns ``start:stop``."""
        return DenseSynapses(values=self.values[:, start:stop])

    def reads(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """``(columns,)`` which columns have a synapse on ``rows``."""
        return np.full(self.shape[1], rows.size > 0)

    def per_axon(self) -> IntArray:
        """``(columns,)`` synapses of each column."""
        return np.full(self.shape[1], self.shape[0], np.int64)

    def lists(self, rows: Rows) -> Counter[int]:
        """How many synapse lists of which length ``rows`` take in memory."""
        return Counter({rows.size: self.shape[1]}) if rows.size else Counter()

    def words_read(self, words: Callable[[int], int]) -> IntArray:
        """``(columns,)`` memory words that a spike of each column reads; a list takes ``words``."""
        return np.full(self.shape[1], words(self.shape[0]), np.int64)

    def per_value(self, amounts: FloatArray) -> FloatArray:
        """``(columns,)`` amounts spread over ``values``, to be broadcast against them."""
        return amounts[None, :]

    def sum_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bounds per row of the weighted sum of column payloads in ``low..high``, 0 included."""
        weights = self.values.astype(np.float64)
        rising = np.maximum(weights, 0.0)
        falling = weights - rising
        return rising @ low + falling @ high, rising @ high + falling @ low


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseSynapses:
    """Some synapses, listed column by column.

    Attributes:
        values: ``(synapses,)``.
        targets: ``(synapses,)`` their rows, rising within a column.
        starts: ``(columns + 1,)``; column ``c`` owns ``starts[c]:starts[c + 1]``.
        height: number of rows.
    """

    values: Values
    targets: npt.NDArray[np.int32]
    starts: IntArray
    height: int
    form: ClassVar[Form] = "sparse"

    def __post_init__(self) -> None:
        for name, dtype in (
            ("values", np.asarray(self.values).dtype),
            ("targets", np.int32),
            ("starts", np.int64),
        ):
            array = checked_array("SparseSynapses", name, getattr(self, name), dtype)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "height", index(self.height))

    @classmethod
    def of(cls, matrix: Any) -> SparseSynapses:
        """The entries of a SciPy sparse array, explicit zeros included, or a matrix's non-zeros.

        Raises:
            ConfigError: ADL-NET-03, it is neither.
        """
        try:
            csc: Any = csc_array(matrix).sorted_indices()
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"cannot be made of {type(matrix).__name__} ({error})",
                where="SparseSynapses",
                remedy="give a SciPy sparse array or a matrix of real numbers",
                code="ADL-NET-03",
            ) from error
        return cls(
            values=csc.data, targets=csc.indices, starts=csc.indptr, height=int(csc.shape[0])
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self.height, int(self.starts.size) - 1

    @property
    def count(self) -> int:
        """Number of synapses."""
        return int(self.values.size)

    def with_values(self, values: Values) -> SparseSynapses:
        """Other parameters in the same places."""
        return replace(self, values=values)

    def matrix(self) -> Matrix:
        """``(rows, columns)`` weights, sparse."""
        entries = (self.values, (self.targets, self._column_of()))
        return csr_array(coo_array(entries, shape=self.shape))

    def rows(self, rows: Rows) -> SparseSynapses:
        """The synapses that end on ``rows``."""
        number = np.full(self.height, -1, np.int32)
        number[rows] = np.arange(rows.size)
        targets = number[self.targets]
        inside = targets >= 0
        kept = np.concatenate([[0], np.cumsum(inside)])
        return SparseSynapses(
            values=self.values[inside],
            targets=targets[inside],
            starts=kept[self.starts],
            height=rows.size,
        )

    def columns(self, start: int, stop: int) -> SparseSynapses:
        """The synapses of the columns ``start:stop``."""
        part = slice(self.starts[start], self.starts[stop])
        return replace(
            self,
            values=self.values[part],
            targets=self.targets[part],
            starts=self.starts[start : stop + 1] - self.starts[start],
        )

    def reads(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """``(columns,)`` which columns have a synapse on ``rows``."""
        return self._lengths(rows) > 0

    def per_axon(self) -> IntArray:
        """``(columns,)`` synapses of each column."""
        return np.diff(self.starts)

    def lists(self, rows: Rows) -> Counter[int]:
        """How many synapse lists of which length ``rows`` take in memory."""
        lengths, counts = np.unique(self._lengths(rows), return_counts=True)
        found = Counter(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))
        del found[0]
        return found

    def words_read(self, words: Callable[[int], int]) -> IntArray:
        """``(columns,)`` memory words that a spike of each column reads; a list takes ``words``."""
        lengths, column = np.unique(self.per_axon(), return_inverse=True)
        return np.array([words(n) if n else 0 for n in lengths.tolist()], np.int64)[column]

    def per_value(self, amounts: FloatArray) -> FloatArray:
        """``(columns,)`` amounts spread over ``values``."""
        return amounts[self._column_of()]

    def sum_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bounds per row of the weighted sum of column payloads in ``low..high``, 0 included."""
        weights = self.values.astype(np.float64)
        ends = weights * self.per_value(low), weights * self.per_value(high)
        return (
            np.bincount(self.targets, np.minimum(*ends), self.height).astype(np.float64),
            np.bincount(self.targets, np.maximum(*ends), self.height).astype(np.float64),
        )

    def _lengths(self, rows: Rows) -> IntArray:
        """``(columns,)`` synapses of each column on ``rows``."""
        wanted = np.zeros(self.height, np.bool_)
        wanted[rows] = True
        found = np.concatenate([[0], np.cumsum(wanted[self.targets])])
        return np.diff(found[self.starts])

    def _column_of(self) -> IntArray:
        return np.repeat(np.arange(self.shape[1]), self.per_axon())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvShape:
    """Geometry of a two-dimensional convolution; pairs are (vertical, horizontal).

    Attributes:
        inputs: ``(channels, height, width)`` of the source.
        out_channels: number of output channels.
        kernel, stride, padding, dilation: as in ``torch.nn.Conv2d``, one integer standing for
            both; padding is with silence.
        groups: input and output channels fall into so many parts that do not see each other.

    Raises:
        ConfigError: ADL-NET-04, an entry is not so many integers.
    """

    inputs: tuple[int, int, int]
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        self._set("inputs", 3, "(channels, height, width)")
        for name in ("kernel", "stride", "padding", "dilation"):
            self._set(name, 2, "(vertical, horizontal) or one integer for both")
        for name in ("out_channels", "groups"):
            self._set(name, 1, "an integer")

    def _set(self, name: str, length: int, form: str) -> None:
        """Make the entry ``name`` an integer, or a tuple of ``length`` of them."""
        given = getattr(self, name)
        try:
            single = length == 1 or (length == 2 and np.ndim(given) == 0)
            found = (index(given),) * length if single else tuple(index(extent) for extent in given)
        except (TypeError, ValueError):
            found = ()
        if len(found) != length:
            raise ConfigError(
                f"{name} is {given!r}",
                where="ConvShape",
                remedy=f"give {name} as {form}",
                code="ADL-NET-04",
            )
        object.__setattr__(self, name, found[0] if length == 1 else found)

    @property
    def outputs(self) -> tuple[int, int, int]:
        """``(channels, height, width)`` of the target."""
        height, width = (
            (extent + 2 * pad - gap * (size - 1) - 1) // step + 1
            for extent, pad, gap, size, step in zip(
                self.inputs[1:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return self.out_channels, height, width

    @property
    def plane(self) -> int:
        """Compartments of one output channel."""
        _, height, width = self.outputs
        return height * width

    @property
    def size(self) -> int:
        """Number of output compartments."""
        return self.out_channels * self.plane

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """``(out channels, input channels per group, *kernel)``."""
        return (self.out_channels, self.inputs[0] // self.groups, *self.kernel)

    def taps(self) -> Iterator[tuple[int, int, IntArray, IntArray]]:
        """For each place ``(y, x)`` in the kernel: output and input positions that it joins.

        Positions are numbered along the rows of one channel.
        """
        _, height, width = self.outputs
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                rows = np.arange(height) * self.stride[0] + y * self.dilation[0] - self.padding[0]
                columns = np.arange(width) * self.stride[1] + x * self.dilation[1] - self.padding[1]
                inside = np.ix_(
                    (rows >= 0) & (rows < self.inputs[1]),
                    (columns >= 0) & (columns < self.inputs[2]),
                )
                output = np.arange(height * width).reshape(height, width)[inside]
                source = (rows[:, None] * self.inputs[2] + columns)[inside]
                yield y, x, output.ravel(), source.ravel()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConvSynapses:
    """Synapses that share the weights of a convolution's kernel.

    Attributes:
        values: ``(out channels, input channels per group, *kernel)`` of the output channels that
            the rows lie in.
        conv: geometry of the whole convolution.
        outputs: the output compartments, numbered channel by channel, that are the rows, rising.
    """

    values: Values
    conv: ConvShape
    outputs: npt.NDArray[np.int32]
    form: ClassVar[Form] = "conv"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen_array(self.values, np.asarray(self.values).dtype))
        object.__setattr__(self, "outputs", frozen_array(self.outputs, np.int32))

    @classmethod
    def whole(cls, values: Values, conv: ConvShape) -> ConvSynapses:
        """The whole convolution."""
        return cls(values=values, conv=conv, outputs=np.arange(conv.size, dtype=np.int32))

    @property
    def channels(self) -> tuple[int, int]:
        """First and last plus one output channel that ``values`` are for."""
        return self._channels_of(self.outputs)

    def _channels_of(self, outputs: Rows) -> tuple[int, int]:
        if not outputs.size:
            return 0, 0
        return int(outputs[0]) // self.conv.plane, int(outputs[-1]) // self.conv.plane + 1

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self.outputs.size, int(np.prod(self.conv.inputs))

    @property
    def count(self) -> int:
        """Number of synapses, each shared weight as often as it is used."""
        return int(self.per_axon().sum())

    def with_values(self, values: Values) -> ConvSynapses:
        """Other parameters in the same places."""
        return replace(self, values=values)

    def matrix(self) -> Matrix:
        """``(rows, columns)`` weights, sparse."""
        rows, columns, places = (
            np.concatenate([np.zeros(0, np.int64), *parts])
            for parts in zip(*self._entries(), strict=True)
        )
        entries = (self.values.ravel()[places], (rows, columns))
        return csr_array(coo_array(entries, shape=self.shape))

    def rows(self, rows: Rows) -> ConvSynapses:
        """The synapses that end on ``rows``."""
        outputs = self.outputs[rows]
        held, _ = self.channels
        first, last = self._channels_of(outputs)
        return replace(self, values=self.values[first - held : last - held], outputs=outputs)

    def columns(self, start: int, stop: int) -> ConvSynapses:
        """The synapses of the columns ``start:stop``, which must be all."""
        assert (start, stop) == (0, self.shape[1]), "a convolution reads its whole source"
        return self

    def reads(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """``(columns,)`` which columns have a synapse on ``rows``."""
        return self._lengths(self.outputs[rows]) > 0

    def per_axon(self) -> IntArray:
        """``(columns,)`` synapses of each column."""
        return self._lengths(self.outputs)

    def _lengths(self, outputs: Rows) -> IntArray:
        """``(columns,)`` synapses of each column on ``outputs``."""
        return self._seen(self._by_group(outputs))

    def _by_group(self, outputs: Rows) -> IntArray:
        """``(groups, positions)`` how many of ``outputs`` are channels of a group at a position."""
        share = self.conv.out_channels // self.conv.groups
        found = np.zeros((self.conv.groups, self.conv.plane), np.int64)
        group, position = outputs // (share * self.conv.plane), outputs % self.conv.plane
        np.add.at(found, (group, position), 1)
        return found

    def _seen(self, amounts: IntArray) -> IntArray:
        """``(columns,)`` sums of ``(groups, positions)`` amounts over what each column sees."""
        channels, height, width = self.conv.inputs
        found = np.zeros((self.conv.groups, height * width), np.int64)
        for _, _, output, source in self.conv.taps():
            found[:, source] += amounts[:, output]
        return np.repeat(found, channels // self.conv.groups, axis=0).ravel()

    def lists(self, rows: Rows) -> Counter[int]:
        """How many synapse lists of which length ``rows`` take in memory.

        There is one list for each input channel and place in the kernel, over output channels.
        """
        lengths = self._list_lengths(rows)
        copies = self.conv.inputs[0] // self.conv.groups * int(np.prod(self.conv.kernel))
        found: Counter[int] = Counter()
        for length in lengths[lengths > 0].tolist():
            found[length] += copies
        return found

    def words_read(self, words: Callable[[int], int]) -> IntArray:
        """``(columns,)`` memory words that a spike of each column reads; a list takes ``words``.

        A spike reads one list for each place in the kernel through which the rows see it.
        """
        lengths = self._list_lengths(np.arange(self.outputs.size))
        each = np.array([words(n) if n else 0 for n in lengths.tolist()], np.int64)
        return self._seen((self._by_group(self.outputs) > 0) * each[:, None])

    def _list_lengths(self, rows: Rows) -> IntArray:
        """``(groups,)`` output channels of each group that ``rows`` lie in."""
        share = self.conv.out_channels // self.conv.groups
        channels = np.unique(self.outputs[rows] // self.conv.plane)
        return np.bincount(channels // share, minlength=self.conv.groups)

    def per_value(self, amounts: FloatArray) -> FloatArray:
        """``(columns,)`` amounts spread over ``values``: the largest of each input channel."""
        return self._of_channels(amounts.reshape(self.conv.inputs[0], -1).max(axis=1))

    def sum_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bounds per row of the weighted sum of column payloads in ``low..high``, 0 included.

        Rows at the border, which see less, get the bounds of the others of their channel.
        """
        weights = self.values.astype(np.float64)
        lowest = self._of_channels(low.reshape(self.conv.inputs[0], -1).min(axis=1))
        ends = weights * lowest, weights * self.per_value(high)
        channel = self.outputs // self.conv.plane - self.channels[0]
        return (
            np.minimum(*ends).sum(axis=(1, 2, 3))[channel],
            np.maximum(*ends).sum(axis=(1, 2, 3))[channel],
        )

    def _of_channels(self, amounts: FloatArray) -> FloatArray:
        """``(input channels,)`` amounts, to be broadcast against ``values``."""
        first, last = self.channels
        share = self.conv.out_channels // self.conv.groups
        by_group = amounts.reshape(self.conv.groups, -1)
        return by_group[np.arange(first, last) // share][:, :, None, None]

    def _entries(self) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Rows, columns and places in ``values`` of the synapses of each kernel place."""
        conv, plane = self.conv, self.conv.plane
        first, last = self.channels
        share, width = conv.out_channels // conv.groups, conv.inputs[0] // conv.groups
        inputs = conv.inputs[1] * conv.inputs[2]
        row_of = np.full((last - first) * plane, -1, np.int64)
        row_of[self.outputs - first * plane] = np.arange(self.outputs.size)
        channel = np.arange(first, last)[:, None, None]
        local = np.arange(width)[None, :, None]
        for y, x, output, source in conv.taps():
            rows = row_of[(channel - first) * plane + output]
            columns = ((channel // share) * width + local) * inputs + source
            place = (((channel - first) * width + local) * conv.kernel[0] + y) * conv.kernel[1] + x
            whole = np.broadcast_shapes(rows.shape, columns.shape, place.shape)
            inside = np.broadcast_to(rows >= 0, whole)
            yield (
                np.broadcast_to(rows, whole)[inside],
                np.broadcast_to(columns, whole)[inside],
                np.broadcast_to(place, whole)[inside],
            )


Synapses = DenseSynapses | SparseSynapses | ConvSynapses


def stacked(parts: Sequence[tuple[Rows, Synapses]], rows: int) -> Synapses:
    """Put row slices together again; the inverse of cutting with ``rows``.

    Args:
        parts: numbers and synapses of the rows of each slice; together they cover all.
        rows: number of rows of the whole.
    """
    head = parts[0][1]
    assert sum(numbers.size for numbers, _ in parts) == rows, "slices overlap or leave gaps"
    if isinstance(head, DenseSynapses):
        values = np.zeros((rows, head.shape[1]), head.values.dtype)
        for numbers, part in parts:
            values[numbers] = part.values
        return DenseSynapses(values=values)
    if isinstance(head, SparseSynapses):
        pieces = [part.matrix().tocoo() for _, part in parts]  # type: ignore[union-attr]
        entries = (
            np.concatenate([p.data for p in pieces]),
            (
                np.concatenate([n[p.row] for (n, _), p in zip(parts, pieces, strict=True)]),
                np.concatenate([p.col for p in pieces]),
            ),
        )
        return SparseSynapses.of(coo_array(entries, shape=(rows, head.shape[1])))
    outputs = np.zeros(rows, np.int32)
    whole = np.zeros(head.conv.weight_shape, head.values.dtype)
    for numbers, part in parts:
        assert isinstance(part, ConvSynapses)
        first, last = part.channels
        outputs[numbers], whole[first:last] = part.outputs, part.values
    return ConvSynapses.whole(whole, head.conv).rows(outputs)
