"""The parts of a call that threads take one by one."""

from __future__ import annotations

from numba import float32

from simulators.kernels.atomics import load, load_double
from simulators.kernels.gather import add_narrow, add_wide, find_events
from simulators.kernels.job import (
    ACTIVE,
    BATCH,
    BIAS,
    BIAS_ROWS,
    EVENT_PLACES,
    EXPAND,
    EXPAND_EACH,
    EXPAND_FLOORED,
    EXPAND_ROUNDED,
    FLOOR,
    INPUTS,
    KNOWN,
    OUTPUTS,
    PANELS,
    PHASE,
    PROJECT,
    PROJECT_FIRST,
    PROJECT_ROUNDED,
    R_MAX,
    RANKS,
    ROW_BLOCK,
    SCALE,
    SCATTER,
    TAIL_ROWS,
    THEN,
    TILES,
    U_PANELS,
    V_PANELS,
    V_TILES,
    WIDTH,
    X_ROWS,
    Y_ROWS,
    Z_ROWS,
)
from simulators.kernels.rounded import expand_rounded, project_first, project_rounded
from simulators.kernels.tiles import (
    WIDE,
    copy_floats,
    expand_each,
    expand_narrow,
    expand_pair,
    expand_pair_floored,
    expand_panel,
    project_narrow,
    project_wide,
)
from simulators.kernels.vector import LANES, PANEL, TILE_ROWS, kernel, part

PANEL_BYTES = 4 * PANEL
GROUP_BYTES = 4 * LANES
"""Of a group of V, by input."""
GROUPS_IN_CACHE, LEAST_STRIPE = 4096, 256
"""Inputs of all groups of V together that stay in the second cache while the samples of a block
pass, and how many each tile takes at least: few of them stay in the first cache for all groups."""
ROWS_IN_CACHE = 8192
"""Rows of all panels of a factor together that stay in the second cache, beside what passes; two
inputs of a group of V take as much."""
PANELS_AT_ONCE = 4
"""Panels of a larger U that stay in the second cache while tiles pass, whose rows then stay in the
first. Of a smaller one a tile takes all, so that outputs are written from end to end."""


@kernel
def _rows_of_tile(rows: int) -> int:
    """Rows of the next tile: the last two tiles share what is left, so that none is tiny."""
    if rows <= TILE_ROWS:
        return rows
    return TILE_ROWS if rows >= 2 * TILE_ROWS else (rows + 1) // 2


@kernel
def _groups_of_block(job: int, first: int) -> int:
    """Groups of V that samples from the ``first`` on reach into."""
    rank: int = load(load(job + 8 * RANKS) + 8 * first)
    return (rank + LANES - 1) // LANES


@part
def _project(job: int, chunk: int) -> None:
    """V on a block of samples, for some groups of ranks and those who reach into them."""
    block, width = load(job + 8 * ROW_BLOCK), load(job + 8 * WIDTH)
    first, part = chunk * block, 0
    if not load(job + 8 * THEN):  # Else a chunk has all groups of its samples.
        first, part = 0, chunk
        parts = (_groups_of_block(job, first) + width - 1) // width
        while part >= parts:
            first, part = first + block, part - parts
            parts = (_groups_of_block(job, first) + width - 1) // width
    groups = min(_groups_of_block(job, first), (part + 1) * width)
    inputs, end = load(job + 8 * INPUTS), min(first + block, load(job + 8 * BATCH))
    stripe = GROUPS_IN_CACHE
    if end - first > TILE_ROWS:  # Others come after the first tile.
        stripe = max(LEAST_STRIPE, stripe // max(1, groups - part * width) // 2 * 2)
    for low in range(0, inputs, stripe):
        high = min(inputs, low + stripe)
        row, done = first, 0
        while row < end:
            size = _rows_of_tile(end - row)
            done = _project_rows(job, row, size, low, high, part * width, groups, done)
            row += size


@part
def _project_rows(
    job: int, row: int, size: int, low: int, high: int, first: int, last: int, done: int
) -> int:
    """A tile of samples, for inputs from ``low`` to below ``high`` and groups so likewise.

    Meanwhile the next stripe is fetched, half a group of it with each group of many samples;
    ``done`` such halves have been, and returned is how many then are.
    """
    inputs, scale = load(job + 8 * INPUTS), load(job + 8 * SCALE)
    x, z = load(job + 8 * X_ROWS) + 8 * row, load(job + 8 * Z_ROWS) + 8 * row
    step = (inputs + 1) // 2 * 2 * GROUP_BYTES
    for group in range(first, last):
        active = load(job + 8 * ACTIVE) + 16 * group
        both = max(0, min(size, load(active + 8) - row))
        one = max(both, min(size, load(active) - row))
        if one == 0:
            break
        known = load(job + 8 * KNOWN) - LANES * group
        if known >= LANES:
            continue
        skipped = max(0, known)
        if skipped:  # Those who reach into both vectors need the second alone.
            both, one = 0, both
        elif both and one == both + 1:  # A whole row takes less time than one more pass over V.
            both = one
        table = load(job + 8 * V_TILES) + group * step
        column = group * LANES + skipped
        gains = scale + 4 * column if high == inputs else 0
        ahead = table + low * GROUP_BYTES  # Of this stripe, if there is none.
        if both >= WIDE:
            other = first + done // 2
            if other < last and 2 * high - low <= inputs:
                ahead += (other - group) * step + (high - low) * GROUP_BYTES
                ahead += done % 2 * (high - low) * (GROUP_BYTES // 2)
            done += 1
        if both:
            project_wide(x, low, high, table, z, column, gains, ahead, both)
        if one > both:
            at, table = 8 * both, table + 8 * skipped
            project_narrow(x + at, low, high, table, z + at, column, gains, ahead, one - both)
    return done


@part
def _scatter(job: int, chunk: int, worker: int) -> None:
    """V on the events of a block of samples, up to each sample's own rank."""
    block = load(job + 8 * ROW_BLOCK)
    inputs = load(job + 8 * INPUTS)
    places = load(job + 8 * EVENT_PLACES) + 4 * worker * (inputs + LANES)
    x, z, ranks = load(job + 8 * X_ROWS), load(job + 8 * Z_ROWS), load(job + 8 * RANKS)
    table, scale = load(job + 8 * V_PANELS), load(job + 8 * SCALE)
    for row in range(chunk * block, min((chunk + 1) * block, load(job + 8 * BATCH))):
        rank = load(ranks + 8 * row)
        if rank == 0:
            break
        source, into = load(x + 8 * row), load(z + 8 * row)
        count = find_events(source, inputs, places)
        for first in range(0, rank, PANEL):
            weights, at = table + 4 * first * inputs, 4 * first
            if rank - first > LANES:
                add_wide(source, places, count, weights, into + at, scale + at)
            else:
                add_narrow(source, places, count, weights, into + at, scale + at)


@part
def _expand(job: int, chunk: int, phase: int) -> None:
    """U on some tiles of samples, for some panels of outputs, as a ``phase`` does it."""
    batch, outputs = load(job + 8 * BATCH), load(job + 8 * OUTPUTS)
    tiles, width = load(job + 8 * TILES), load(job + 8 * PANELS)
    panels = (outputs + PANEL - 1) // PANEL
    across = (panels + width - 1) // width
    first_row = chunk // across * tiles * TILE_ROWS
    last_row = min(batch, first_row + tiles * TILE_ROWS)
    first_panel = chunk % across * width
    last_panel = min(panels, first_panel + width)
    step = load(job + 8 * R_MAX) * PANEL_BYTES
    used = load(load(job + 8 * RANKS) + 8 * first_row) * PANEL_BYTES
    at_once = PANELS_AT_ONCE
    if (last_panel - first_panel) * used <= ROWS_IN_CACHE * PANEL_BYTES:
        at_once = max(1, last_panel - first_panel)
    for low in range(first_panel, last_panel, at_once):
        high = min(last_panel, low + at_once)
        ahead = high * step
        for row in range(first_row, last_row, TILE_ROWS):
            ahead = _expand_tile(job, phase, row, low, high, ahead, last_panel * step, used)
    if last_panel == panels and outputs % PANEL:
        column, tails = outputs - outputs % PANEL, load(job + 8 * TAIL_ROWS)
        for row in range(first_row, last_row):
            place = load(load(job + 8 * Y_ROWS) + 8 * row) + 4 * column
            copy_floats(load(tails + 8 * row), place, outputs - column)


@part
def _expand_tile(
    job: int, phase: int, row: int, first: int, last: int, ahead: int, end: int, used: int
) -> int:
    """A tile of samples, for panels from ``first`` to below ``last``.

    Meanwhile what lies ``ahead`` bytes into the table is fetched, no further than ``end``, and the
    first ``used`` bytes of each panel; returned is how far that went.
    """
    at, whole = 8 * row, load(job + 8 * OUTPUTS) // PANEL
    z, y, ranks = (
        load(job + 8 * Z_ROWS) + at,
        load(job + 8 * Y_ROWS) + at,
        load(job + 8 * RANKS) + at,
    )
    narrow = load(job + 8 * OUTPUTS) - whole * PANEL <= LANES
    table, bias = load(job + 8 * U_PANELS), load(job + 8 * BIAS)
    biases = load(job + 8 * BIAS_ROWS) + at
    floor = float32(load_double(job + 8 * FLOOR))
    step = load(job + 8 * R_MAX) * PANEL_BYTES
    turns = load(ranks + 8 * (WIDE - 1))
    panel = first
    while panel < last:
        if ahead % step >= used:
            ahead += step - ahead % step
        expected = table + (ahead if ahead < end else first * step)
        ahead += turns * (PANEL_BYTES // 2)
        weights, column = table + panel * step, panel * PANEL
        into, offset = (y, column) if panel < whole else (load(job + 8 * TAIL_ROWS) + at, 0)
        wide = panel + 1 < min(last, whole) and phase != EXPAND_EACH
        beyond = panel + (2 if wide else 1)
        after, place = y, PANEL * beyond
        if beyond >= last:
            after, place = y + 8 * TILE_ROWS, PANEL * first
        if phase == EXPAND_FLOORED and wide:
            expand_pair_floored(z, ranks, weights, step, bias, column, y, column, 0, 0, 0, floor)
        elif phase != EXPAND:
            expand_each(z, ranks, weights, step, biases, column, into, offset, 0, 0, 0, floor)
        elif wide:
            expand_pair(
                z, ranks, weights, step, bias, column, y, column, after, place, expected, floor
            )
            ahead += turns * (PANEL_BYTES // 2)
        elif panel == whole and narrow:
            expand_narrow(
                z, ranks, weights, step, bias, column, into, offset, after, place, expected, floor
            )
        else:
            expand_panel(
                z, ranks, weights, step, bias, column, into, offset, after, place, expected, floor
            )
        panel = beyond
    return ahead


@kernel
def run_chunk(job: int, chunk: int, worker: int) -> None:
    """Do one part of the phase that ``job``, an address, is in; ``worker`` numbers the thread."""
    phase = load(job + 8 * PHASE)
    if phase == PROJECT:
        _project(job, chunk)
        phase = load(job + 8 * THEN)
    elif phase == SCATTER:
        _scatter(job, chunk, worker)
        phase = load(job + 8 * THEN)
    elif phase == PROJECT_FIRST:
        project_first(job, chunk, worker)
    elif phase == PROJECT_ROUNDED:
        project_rounded(job, chunk, worker)
    elif phase == EXPAND_ROUNDED:
        expand_rounded(job, chunk, worker)
    if phase in (EXPAND, EXPAND_FLOORED, EXPAND_EACH):
        _expand(job, chunk, phase)


@kernel
def chunks_of_phase(job: int) -> int:
    """How many parts the phase that ``job`` is in has."""
    phase, batch = load(job + 8 * PHASE), load(job + 8 * BATCH)
    if phase in (EXPAND, EXPAND_FLOORED, EXPAND_EACH):
        tiles = (batch + TILE_ROWS - 1) // TILE_ROWS
        panels = (load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL
        at_once, width = load(job + 8 * TILES), load(job + 8 * PANELS)
        groups = (tiles + at_once - 1) // at_once
        parts: int = groups * ((panels + width - 1) // width)
        return parts
    if phase == EXPAND_ROUNDED:
        width = load(job + 8 * PANELS)
        shares: int = ((load(job + 8 * OUTPUTS) + PANEL - 1) // PANEL + width - 1) // width
        return shares
    block = load(job + 8 * ROW_BLOCK)
    if phase != PROJECT or load(job + 8 * THEN):
        blocks: int = (batch + block - 1) // block
        return blocks
    count, width = 0, load(job + 8 * WIDTH)
    for first in range(0, batch, block):
        count += (_groups_of_block(job, first) + width - 1) // width
    return count
