"""Lay the synapse tiles of a program out as sections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.ir.partitioned import CompartmentGroup, Members, PartitionedNetwork
from mapping.ir.quantized import Int8Array, Int32Array, ProjectionSpec
from mapping.ir.synapses import ConvShape, ConvSynapses, SparseSynapses, Synapses
from simulators.chip.program import BLOCK, CONV, DENSE, SPARSE, Int64Array, Table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """Compartments on one core, and where their numbers begin.

    ``order`` gives the places of its compartments, counted from its first, in the order of their
    numbers.
    """

    core: int
    group: CompartmentGroup
    first: int
    first_block: int
    order: Int64Array


@dataclass(slots=True, kw_only=True)
class SectionTables:
    """Collects sections and the tables that they point into."""

    partitioned: PartitionedNetwork
    pieces: list[Piece]
    conditions: dict[tuple[str, int], int]
    rows: list[dict[str, int]] = field(default_factory=list)
    reads: list[tuple[str, Members]] = field(default_factory=list)
    weights: list[Int8Array] = field(default_factory=list)
    starts: list[Int64Array] = field(default_factory=list)
    entry_rows: list[Int32Array] = field(default_factory=list)
    delays: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    convolutions: list[dict[str, int]] = field(default_factory=list)
    lowest: list[Int64Array] = field(default_factory=list)
    highest: list[Int64Array] = field(default_factory=list)
    position_rows: list[Int64Array] = field(default_factory=list)
    tap_starts: list[Int64Array] = field(default_factory=list)
    taps: list[Int64Array] = field(default_factory=list)
    tap_positions: list[Int64Array] = field(default_factory=list)
    first_places: dict[Hashable, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def collect(self) -> None:
        """Add a section for every piece that a tile ends on."""
        by_core: dict[tuple[int, str], list[Piece]] = defaultdict(list)
        for piece in self.pieces:
            by_core[piece.core, piece.group.population].append(piece)
        for core, program in enumerate(self.partitioned.cores):
            for tile in program.tiles:
                spec = self.partitioned.projections[tile.projection]
                targets = program.targets(spec)
                for piece in by_core[core, spec.target]:
                    rows = np.flatnonzero(np.isin(targets, piece.group.members))
                    if rows.size:
                        self._add(spec, piece, tile.synapses.rows(rows))

    def _add(self, spec: ProjectionSpec, piece: Piece, synapses: Synapses) -> None:
        rows, slots = piece.group.size, 1 + spec.longest_delay
        blocks = -(-rows // BLOCK)
        own = {
            "core": piece.core,
            "rows": rows,
            "target": piece.first,
            "first_block": piece.first_block,
            "first_column": spec.source_start,
            "control": spec.port == "control",
            "graded": spec.graded,
            "weight_shift": spec.weight_shift,
            "exponent": spec.exponent,
            "condition": self.conditions[spec.gate, spec.gates_needed],
            "slots": slots,
            "first_slot": self._take("slots", slots),
            "first_delay": -1,
            "first_sum": self._take("sums", slots * rows),
            "first_flag": self._take("flags", slots * blocks),
            "first_start": 0,
            "first_entry_row": 0,
            "convolution": -1,
        }
        if spec.delays:
            own["first_delay"] = self._take("delays", len(spec.delays))
            self.delays.append(np.array(spec.delays, np.uint8))
        inverse = np.argsort(piece.order)
        match synapses:
            case SparseSynapses():
                own["form"] = SPARSE
                own["first_start"] = self._take("starts", synapses.starts.size)
                own["first_entry_row"] = self._take("entry_rows", synapses.count)
                self.starts.append(synapses.starts)
                self.entry_rows.append(inverse[synapses.targets].astype(np.int32))
                weights = synapses.values
            case ConvSynapses():
                own["form"] = CONV
                own["convolution"] = len(self.convolutions)
                weights = self._add_convolution(synapses)
            case _:
                own["form"] = DENSE
                weights = np.ascontiguousarray(synapses.values[piece.order].T).ravel()
        own["first_weight"] = self._take("weights", weights.size)
        self.weights.append(weights)
        self.rows.append(own)
        read = np.flatnonzero(synapses.reads(np.arange(rows)))
        self.reads.append((spec.source, (spec.source_start + read).astype(np.int32)))

    def _take(self, table: str, count: int) -> int:
        first = self.ends[table]
        self.ends[table] += count
        return first

    def _add_convolution(self, synapses: ConvSynapses) -> Int8Array:
        """Note the geometry; returns the weights, the output channels of a group innermost."""
        conv = synapses.conv
        first, last = synapses.channels
        in_group, out_group = conv.inputs[0] // conv.groups, conv.out_channels // conv.groups
        run = min(out_group, last - first)
        channel, position = np.divmod(synapses.outputs, conv.plane)
        counts = np.bincount(position, minlength=conv.plane)
        lowest = np.full(conv.plane, conv.out_channels)
        np.minimum.at(lowest, position, channel)
        highest = lowest + counts
        row, column = np.divmod(np.unique(position), conv.outputs[2])
        self.convolutions.append(
            {
                "plane": conv.inputs[1] * conv.inputs[2],
                "width": conv.inputs[2],
                "out_plane": conv.plane,
                "kernel": conv.kernel[0] * conv.kernel[1],
                "in_group": in_group,
                "out_group": out_group,
                "first_channel": first,
                "run": run,
                "first_position": self._take("positions", conv.plane),
                "first_row": self._add_taps(conv, 0, row.min(), row.max() + 1),
                "first_column": self._add_taps(conv, 1, column.min(), column.max() + 1),
            }
        )
        self.lowest.append(lowest)
        self.highest.append(highest)
        self.position_rows.append(np.cumsum(counts) - counts)
        return _channels_last(synapses, conv, first, last, run)

    def _add_taps(self, conv: ConvShape, axis: int, start: int, stop: int) -> int:
        """List what of the outputs ``start:stop`` along an axis sees each input along it.

        Returns:
            The number of the first input.
        """
        steps = (conv.stride[axis], conv.padding[axis], conv.dilation[axis], conv.kernel[axis])
        inputs = conv.inputs[1 + axis]
        scales = (conv.kernel[1], conv.outputs[2]) if axis == 0 else (1, 1)
        key = (*steps, inputs, *scales, start, stop)
        if key not in self.first_places:
            stride, padding, dilation, kernel = steps
            output, tap = (grid.ravel() for grid in np.mgrid[start:stop, :kernel])
            source = output * stride + tap * dilation - padding
            inside = (source >= 0) & (source < inputs)
            order = np.argsort(source[inside], kind="stable")
            first_tap = self._take("taps", order.size)
            self.taps.append(tap[inside][order] * scales[0])
            self.tap_positions.append(output[inside][order] * scales[1])
            bounds = np.searchsorted(source[inside][order], np.arange(inputs + 1))
            self.tap_starts.append(first_tap + bounds)
            self.first_places[key] = self._take("places", inputs + 1)
        return self.first_places[key]


def _channels_last(
    synapses: ConvSynapses, conv: ConvShape, first: int, last: int, run: int
) -> Int8Array:
    """``(input channels, *kernel, run)`` mantissas, flat."""
    in_group, out_group = conv.inputs[0] // conv.groups, conv.out_channels // conv.groups
    weights = np.zeros((conv.inputs[0], *conv.kernel, run), np.int8)
    for group in range(conv.groups):
        low, high = max(first, group * out_group), min(last, (group + 1) * out_group)
        if low < high:
            own = synapses.values[low - first : high - first]
            part = slice(group * in_group, (group + 1) * in_group)
            weights[part, :, :, : high - low] = own.transpose(1, 2, 3, 0)
    return weights.ravel()


def table_of(rows: list[dict[str, int]], entry: np.dtype[np.void]) -> Table:
    """``rows`` as a table of ``entry``."""
    return np.array([tuple(row[name] for name in entry.names or ()) for row in rows], entry)


def joined(parts: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """``parts`` one after the other."""
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
