"""What changes while a program runs: the state of one simulated chip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.ir.quantized import Int32Array
from simulators.chip.program import BLOCK, BoolArray, ChipProgram, Int64Array


class ChipState(NamedTuple):
    """Everything that one thread writes to but its results.

    Attributes:
        memory: ``(4, compartments)``: u and v of LIF; z, gates on and what is held of relays; gain,
            trace, trace last seen and on of gates.
        inputs: ``(2, compartments)`` signal and control input of this step.
        sums: synaptic sums of every section and slot; hits: those that a spike has been added to,
            unless the section is dense; flags: their blocks with something in it.
        holds: whether a section's slot holds anything.
        reached: compartments that a spike has reached in this step.
        due: ``(slots, sections)`` the sections that deliver in a step; due_count: how many.
        active: blocks to be updated in this step; active_count: how many; awake: whether a block
            is among them.
        events, payloads: sources that send in this step, and what.
        fired: spikes of the block that is updated.
        so_far: what the host adds up; told, is_open: what it has sent, and whether it may, by
            condition.
        loads: packets of this step over each link; crossed: the links that have any.
        clock: steps since the state was new.
    """

    memory: Int32Array
    inputs: Int32Array
    sums: Int32Array
    hits: BoolArray
    flags: BoolArray
    holds: BoolArray
    reached: BoolArray
    due: Int32Array
    due_count: Int64Array
    active: Int32Array
    awake: BoolArray
    events: Int32Array
    payloads: Int32Array
    fired: npt.NDArray[np.int8]
    so_far: Int64Array
    told: Int64Array
    is_open: BoolArray
    loads: Int32Array
    crossed: Int32Array
    clock: Int64Array
    active_count: Int64Array


def new_state(program: ChipProgram, links: int) -> ChipState:
    """The state of a chip at rest, for a mesh of so many ``links``."""
    size, sections = program.bias.size, program.sections.size
    rows, slots = program.sections["rows"], program.sections["slots"]
    ring = int(slots.max(initial=1))
    conditions = program.condition_start.size - 1
    blocks = program.blocks.size
    sources = max(program.inputs, size)
    return ChipState(
        memory=np.zeros((4, size), np.int32),
        inputs=np.zeros((2, size), np.int32),
        sums=np.zeros(int((rows * slots).sum()), np.int32),
        hits=np.zeros(int((rows * slots).sum()), np.bool_),
        flags=np.zeros(int((-(-rows // BLOCK) * slots).sum()), np.bool_),
        holds=np.zeros(int(slots.sum()), np.bool_),
        reached=np.zeros(size, np.bool_),
        due=np.zeros((ring, sections), np.int32),
        due_count=np.zeros(ring, np.int64),
        active=np.zeros(blocks, np.int32),
        awake=np.zeros(blocks, np.bool_),
        events=np.zeros(sources, np.int32),
        payloads=np.zeros(sources, np.int32),
        fired=np.zeros(BLOCK, np.int8),
        so_far=np.zeros(program.inputs, np.int64),
        told=np.zeros((conditions, program.inputs), np.int64),
        is_open=np.zeros(conditions, np.bool_),
        loads=np.zeros(links, np.int32),
        crossed=np.zeros(links, np.int32),
        clock=np.zeros(1, np.int64),
        active_count=np.zeros(1, np.int64),
    )
