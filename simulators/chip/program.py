"""A compiled program as the kernels read it: flat arrays, and tables of their entries.

Sources are the inputs followed by the compartments; :mod:`simulators.chip.layout` says what pieces,
sections, blocks and classes are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.ir.quantized import Int8Array, Int32Array

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BLOCK = 64
"""Compartments that are updated together, and rows of a section that are delivered together."""
LIF, RELAY, GATE = range(3)
"""Kinds of compartments."""
RECTIFIED, SIGMA, DELTA = 1, 2, 4
"""Flags of relays."""
DENSE, SPARSE, CONV = range(3)
"""Forms of sections."""

Table = npt.NDArray[np.void]

BLOCK_ENTRY = np.dtype(
    [
        ("start", np.int32),
        ("stop", np.int32),
        ("core", np.int32),
        ("kind", np.int32),
        ("decay_one", np.int64),
        ("decay_two", np.int64),
        ("flags", np.int32),
        ("always", np.bool_),
    ]
)
"""A block: compartments ``start:stop`` of one kind on one core.

``decay_one`` and ``decay_two`` are the parts of 4096 that u and v of LIF compartments, or gain and
trace of gates, lose per step. ``always`` marks those that are updated in every step.
"""

SECTION_ENTRY = np.dtype(
    [
        ("core", np.int32),
        ("rows", np.int64),
        ("target", np.int32),
        ("first_block", np.int32),
        ("first_column", np.int32),
        ("form", np.int32),
        ("control", np.int32),
        ("graded", np.bool_),
        ("weight_shift", np.int32),
        ("exponent", np.int32),
        ("condition", np.int32),
        ("slots", np.int64),
        ("first_slot", np.int64),
        ("first_delay", np.int64),
        ("first_sum", np.int64),
        ("first_flag", np.int64),
        ("first_weight", np.int64),
        ("first_start", np.int64),
        ("first_entry_row", np.int64),
        ("convolution", np.int32),
    ]
)
"""A section; its ``rows`` begin at the compartment ``target``.

It has a sum for each row and slot, a slot for each step in which spikes can arrive at once, and a
flag for each slot and ``BLOCK`` rows that says whether something has been added. The weights of
column ``c`` are a run of ``rows`` mantissas if it is dense, entries ``starts[first_start + c]`` to
the next of ``weights`` and ``entry_rows`` if it is sparse, and as :data:`CONVOLUTION_ENTRY` says
otherwise. ``condition`` is the number of the one under which the host sends, or -1.
"""

CONVOLUTION_ENTRY = np.dtype(
    [
        ("plane", np.int32),
        ("width", np.int32),
        ("out_plane", np.int32),
        ("kernel", np.int32),
        ("in_group", np.int32),
        ("out_group", np.int32),
        ("first_channel", np.int32),
        ("run", np.int32),
        ("first_position", np.int64),
        ("first_row", np.int64),
        ("first_column", np.int64),
    ]
)
"""Geometry of a convolutional section: places per channel of the input, positions per channel of
the output, and places in the ``kernel``.

Of each output position, numbered from ``first_position`` on, the section holds the channels
``lowest_channel`` to before ``highest_channel``, in rows from ``position_row`` on. The weights of
an input channel and kernel place lie together, ``run`` of them, from the first channel of the group
on that the section holds. An input row, numbered from ``first_row`` on, has the entries
``tap_starts`` to the next: output rows of the section see it through kernel rows. An input column,
numbered from ``first_column`` on, has such entries, too, and what an input sees is each pair of
both: at the output position that is the sum of their ``tap_positions``, through the kernel place
that is the sum of their ``taps``.
"""

FLOW_ENTRY = np.dtype(
    [
        ("source", np.int32),
        ("target", np.int32),
        ("charged", np.int32),
        ("east_west", np.int32),
        ("north_south", np.int32),
        ("chip", np.int32),
        ("local", np.bool_),
        ("first_link", np.int32),
        ("end_link", np.int32),
    ]
)
"""A flow: its ends (-1 is the host), hops, whether it stays in a tile, and its ``links``.

``charged`` is the core to which the network's work belongs; ``chip`` counts hops between chips.
"""


class ChipProgram(NamedTuple):
    """A whole program; ``inputs`` sources precede the compartments.

    Attributes:
        inputs, cores: their numbers.
        delta: whether the input is coded by changes.
        blocks, sections, convolutions, flows: tables of the entries above.
        threshold, bias: of each compartment; setting: the gates that a relay needs, or the trace
            threshold of a gate.
        place: where the spikes of a compartment are recorded, among those that are ``graded``,
            relays, or the others.
        source_class, source_column: of each source its class and its number in its population.
        class_section_start, class_sections: CSR list of the sections that a class reaches.
        class_flow_start, class_flows, class_condition: CSR list of the flows that carry its
            packets, each under the condition of the host that :data:`SECTION_ENTRY` explains.
        first_read, words_read: of each source, the words of memory that its spike reads on the
            cores that its class sends to, in their order, from ``first_read`` on.
        condition_start, condition_gates: CSR list of the gates, as compartments, that must be on
            for each condition.
        links: of all flows; between_chips: of all links of the mesh, which leave their chip.
        weights: mantissas of all sections; starts, entry_rows: of sparse ones.
        lowest_channel, highest_channel, position_row, tap_starts, taps, tap_positions: of
            convolutional ones.
        delays: axonal delays of the columns of sections that have any.
    """

    inputs: int
    cores: int
    delta: bool
    blocks: Table
    sections: Table
    convolutions: Table
    flows: Table
    threshold: Int32Array
    bias: Int32Array
    setting: Int32Array
    place: Int32Array
    graded: BoolArray
    source_class: Int32Array
    source_column: Int32Array
    class_section_start: Int32Array
    class_sections: Int32Array
    class_flow_start: Int32Array
    class_flows: Int32Array
    class_condition: Int32Array
    first_read: Int64Array
    words_read: Int32Array
    condition_start: Int32Array
    condition_gates: Int32Array
    links: Int32Array
    between_chips: BoolArray
    weights: Int8Array
    starts: Int64Array
    entry_rows: Int32Array
    lowest_channel: Int32Array
    highest_channel: Int32Array
    position_row: Int32Array
    tap_starts: Int32Array
    taps: Int32Array
    tap_positions: Int32Array
    delays: npt.NDArray[np.uint8]
