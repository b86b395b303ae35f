"""How the work of a call is laid out over a GPU.

The numbers are estimates from what GPUs of compute capability 8 and 9 hold: none has been timed.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulators.kernels.cuda import events, sort, tiles

BLOCKS_PER_PROCESSOR = 4
"""So many blocks keep a multiprocessor busy while some of them wait for memory."""
MOST_PARTS = 16
"""More would cost more to add up than they gain."""
LEAST_DEPTH = 4 * tiles.DEPTH
"""Inputs of a part at least, or what the parts write would cost more than what they read."""
ALIGNED = 32
"""Numbers of four bytes to whose multiples arrays in the workspace are aligned."""

SEARCHED = 8 * events.THREADS
"""Numbers of V that a block looks at."""
MOST_SEARCHERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Blocks of each kernel, and where things lie in the workspace.

    Attributes:
        batch, inputs, outputs, r_max: the sizes.
        parts: into which the inputs are divided, so that a small batch keeps the GPU busy too.
        inputs_each: inputs of a part.
        on_events: whether the first stage looks for inputs that are not 0.
    """

    batch: int
    inputs: int
    outputs: int
    r_max: int
    parts: int
    inputs_each: int
    on_events: bool

    @property
    def bin_width(self) -> int:
        """Ranks that count as one when samples are sorted."""
        return sort.bin_width(self.r_max)

    @property
    def z_start(self) -> int:
        """Where the numbers between the factors begin in the workspace, behind the order, the
        ranks and a flag.
        """
        return -(-(2 * self.batch + 1) // ALIGNED) * ALIGNED

    @property
    def numbers(self) -> int:
        """Numbers of four bytes that the workspace needs."""
        return self.z_start + self.parts * self.batch * self.r_max

    @property
    def first_stage(self) -> tuple[int, int, int]:
        """Blocks of the first stage."""
        if self.on_events:
            return self.batch, self.parts, 1
        return self.tiles, -(-self.r_max // tiles.RANKS), self.parts

    @property
    def second_stage(self) -> tuple[int, int, int]:
        """Blocks of the second stage."""
        return self.tiles, -(-self.outputs // tiles.OUTPUTS), 1

    @property
    def sums(self) -> tuple[int, int, int]:
        """Blocks that add up parts."""
        return -(-self.batch * self.r_max // sort.THREADS), 1, 1

    @property
    def search(self) -> tuple[int, int, int]:
        """Blocks that look whether V is finite."""
        return min(-(-self.inputs * self.r_max // SEARCHED), MOST_SEARCHERS), 1, 1

    @property
    def searchers(self) -> int:
        """Threads of these blocks."""
        return self.search[0] * events.THREADS

    @property
    def tiles(self) -> int:
        """Tiles of samples."""
        return -(-self.batch // tiles.SAMPLES)


def plan(
    batch: int, inputs: int, outputs: int, r_max: int, *, on_events: bool, processors: int
) -> Plan:
    """Divide the inputs if the samples alone would leave processors idle.

    Args:
        batch, inputs, outputs, r_max: the sizes, all at least 1.
        on_events: whether inputs are events.
        processors: the GPU's.
    """
    piece = events.CHUNK if on_events else tiles.DEPTH
    blocks = batch if on_events else -(-batch // tiles.SAMPLES) * -(-r_max // tiles.RANKS)
    least = piece if on_events else LEAST_DEPTH
    wanted = min(BLOCKS_PER_PROCESSOR * processors // blocks, MOST_PARTS, -(-inputs // least))
    inputs_each = -(-inputs // (max(wanted, 1) * piece)) * piece
    return Plan(
        batch=batch,
        inputs=inputs,
        outputs=outputs,
        r_max=r_max,
        parts=-(-inputs // inputs_each),
        inputs_each=inputs_each,
        on_events=on_events,
    )


def workspace_numbers(batch: int, r_max: int, processors: int) -> int:
    """Numbers of four bytes that suffice for calls of up to ``batch`` samples, whatever else.

    Inputs are divided only while there are fewer blocks than the processors take, which bounds the
    samples times parts.
    """
    most = BLOCKS_PER_PROCESSOR * processors
    in_tiles = most * tiles.SAMPLES // -(-r_max // tiles.RANKS)
    rows = max(batch, min(MOST_PARTS * batch, max(most, in_tiles)))
    return -(-(2 * batch + 1) // ALIGNED) * ALIGNED + rows * r_max
