"""The memory that a call needs beside its arguments, to be used again by the next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from mapping.errors import ConfigError
from simulators.kernels import job as fields
from simulators.kernels.job import FEATURES, LAYOUTS, PATHS
from simulators.kernels.layout import (
    CACHE_LINE,
    Float32Array,
    Float64Array,
    Int64Array,
    PackedFactors,
    aligned,
)
from simulators.kernels.pool import available_threads, pool


class Workspace:
    """Memory for calls of up to ``batch`` samples on factors of the same sizes, one at a time.

    Args:
        factors: the sizes are theirs.
        batch: most samples of a call, all leading axes together.

    Attributes:
        batch: the same.
        factors: those of the last call.
        run: :func:`simulators.kernels.call.run`.
        job: the fields of :mod:`simulators.kernels.job`.
        address: of ``job``.
        ranks: (batch,) int64, each sample's rank in the order of the input.
        turns: (paths, FEATURES), and
        seconds: (paths,), what :func:`simulators.kernels.model.decide` counted and made of it.
    """

    def __init__(self, factors: PackedFactors, batch: int) -> None:
        from simulators.kernels.call import run
        from simulators.kernels.permission import may_multiply
        from simulators.kernels.run import link_rows
        from simulators.kernels.vector import BLOCK_ROWS, HALF, LANES, PANEL, TILE_ROWS

        self.batch = batch
        self.run: Callable[..., int] = run
        self.sizes = factors.outputs, factors.inputs, factors.r_max
        self.ranks: Int64Array = np.empty(batch, np.int64)
        self._staged_x: Float32Array | None = None
        self._staged_y: Float32Array | None = None
        room = batch + 2 * TILE_ROWS
        z_width = -(-factors.r_max // PANEL) * PANEL
        y_width = -(-factors.outputs // PANEL) * PANEL
        self._room_of_threads = threads = max(pool.threads, available_threads())
        event_room = threads * (factors.inputs + LANES)
        sizes = {
            fields.TURNS: 8 * len(PATHS) * FEATURES,
            fields.SECONDS: 8 * len(PATHS),
            fields.ONES: 4 * z_width,
            fields.ZEROS: 4 * y_width,
            fields.SCALE_ROOM: 4 * z_width,
            fields.BIAS_ROOM: 4 * y_width,
            fields.Z: 4 * room * z_width,
            fields.TAILS: 4 * room * PANEL,
            fields.SPARE: 4 * y_width,
            fields.X_ROWS: 8 * room,
            fields.Z_ROWS: 8 * room,
            fields.Y_ROWS: 8 * room,
            fields.TAIL_ROWS: 8 * room,
            fields.BIAS_ROWS: 8 * room,
            fields.RANKS: 8 * room,
            fields.ACTIVE: 8 * (z_width // HALF),
            fields.REACH: 8 * (z_width // HALF),
            fields.COUNTS: 8 * (factors.r_max + 2),
            fields.EVENT_PLACES: 4 * event_room,
        }
        # A cache line more than there are numbers: rows that lie a power of two apart share so few
        # places of the first cache that matrix registers take four times as long to fill.
        x_step = 2 * -(-factors.inputs // PANEL) * PANEL + CACHE_LINE
        z_step = 2 * z_width + CACHE_LINE
        stage = -(-BLOCK_ROWS * (4 * PANEL + x_step) // CACHE_LINE) * CACHE_LINE
        self._rounds = factors.bfloat16 and may_multiply()
        if self._rounds:
            sizes[fields.ROUNDED_Z] = z_step * (batch + BLOCK_ROWS)
            sizes[fields.STAGES] = threads * stage
        ends = list(accumulate(-(-size // CACHE_LINE) * CACHE_LINE for size in sizes.values()))
        self._memory = aligned((ends[-1],), np.uint8)
        begin = self._memory.ctypes.data
        self.job: Int64Array = aligned((fields.JOB_SIZE,), np.int64)
        self.address: int = self.job.ctypes.data
        for field, place in zip(sizes, (0, *ends), strict=False):
            self.job[field] = begin + place
        counts = self._memory[: ends[1]].view(np.float64)
        self.turns = counts[: len(PATHS) * FEATURES].reshape(len(PATHS), FEATURES)
        self.seconds = counts[ends[0] // 8 :][: len(PATHS)]
        self.job[fields.OUTPUTS], self.job[fields.INPUTS], self.job[fields.R_MAX] = self.sizes
        self.job[fields.Z_WIDTH], self.job[fields.ROOM] = z_width, batch
        self.job[fields.X_STEP], self.job[fields.ROUNDED_STEP] = x_step, z_step
        self.job[fields.STAGE_STEP] = stage
        self.job[fields.CALL_THREADS], self.job[fields.SHARED] = threads, pool.address
        ones = int(self.job[fields.ONES]) - begin
        self._memory[ones : ones + 4 * z_width].view(np.float32)[:] = 1
        self.job[fields.SCALE] = self.job[fields.ONES]
        self.job[fields.BIAS] = self.job[fields.ZEROS]
        link_rows(self.address, room)
        self.attach(factors)

    @property
    def threads(self) -> int:
        """How many threads a call may have: of those that all may, as many as it has memory for,
        or fewer if :meth:`bound` says so.
        """
        return min(pool.threads, int(self.job[fields.CALL_THREADS]))

    def bound(self, threads: int) -> None:
        """Let the next calls have so many threads at most."""
        self.job[fields.CALL_THREADS] = min(threads, self._room_of_threads)

    def __reduce__(self) -> tuple[type[Workspace], tuple[PackedFactors, int]]:
        """Copies and pickles are new ones: addresses mean nothing elsewhere."""
        return Workspace, (self.factors, self.batch)

    def attach(self, factors: PackedFactors, *, call: str = "low_rank_forward") -> None:
        """Take up other factors than those of the last ``call``.

        Raises:
            ConfigError: ``ADL-KRN-04`` when they have other sizes.
        """
        sizes = factors.outputs, factors.inputs, factors.r_max
        if sizes != self.sizes:
            raise ConfigError(
                f"it was made for (out, in, r_max) = {self.sizes}, the factors have {sizes}",
                where=f"{call}.workspace",
                remedy="make a Workspace of these factors",
                code="ADL-KRN-04",
            )
        self.factors = factors
        for layout in LAYOUTS:
            self.job[layout] = 0
        self.job[fields.FINITE] = factors.input_is_finite
        self.job[fields.ROUNDS] = self._rounds and factors.may_round

    def lay_out(self, path: str, *, call: str = "run_path") -> None:
        """Have the factors in the layout that a path reads.

        Raises:
            ConfigError: ``ADL-KRN-07`` when the path rounds numbers that ``call`` cannot round.
        """
        if path == "bfloat16" and not self.job[fields.ROUNDS]:
            reason, remedy = self._denied()
            raise ConfigError(
                f"numbers cannot be rounded to bfloat16: {reason}",
                where=f"{call}.factors",
                remedy=remedy,
                code="ADL-KRN-07",
            )
        if self.job[LAYOUTS[PATHS.index(path)]]:
            return
        factors = self.factors
        if path == "rows":
            self.job[fields.V_GROUPS] = factors.v_groups.ctypes.data
            self.job[fields.U_STRIPS] = factors.u_strips.ctypes.data
        elif path == "bfloat16":
            self.job[fields.V_PAIRS] = factors.v_pairs.ctypes.data
            self.job[fields.U_PAIRS] = factors.u_pairs.ctypes.data
        else:
            if path == "tiles":
                self.job[fields.V_TILES] = factors.v_tiles.ctypes.data
            else:
                self.job[fields.V_PANELS] = factors.v_panels.ctypes.data
            self.job[fields.U_PANELS] = factors.u_panels.ctypes.data

    def _denied(self) -> tuple[str, str]:
        """Why numbers are not to be rounded, and what helps."""
        from simulators.kernels.permission import may_multiply

        if not self.factors.bfloat16:
            return "the factors do not allow it", "pack them with bfloat16=True"
        if not self.factors.may_round:
            return "U holds NaN, infinity or numbers near it", "pass finite factors of usual size"
        if not may_multiply():
            return "the system denies the registers", "call low_rank_forward, which does without"
        return "the workspace is of others that do not allow it", "make a Workspace of these"

    @property
    def rated(self) -> bool:
        """Whether the model knows this machine's figures."""
        return bool(self.job[fields.RATES])

    def rate(self, seconds_per_turn: Float64Array) -> None:
        """Let the model reckon with these figures of the machine, (paths, FEATURES)."""
        self._rates = seconds_per_turn
        self.job[fields.RATES] = seconds_per_turn.ctypes.data

    def staged_x(self) -> Float32Array:
        """Room for inputs that have to be converted or laid out anew, (batch, in)."""
        if self._staged_x is None:
            self._staged_x = aligned((self.batch, self.sizes[1]))
        return self._staged_x

    def staged_y(self) -> Float32Array:
        """Room for outputs that have to be laid out anew, (batch, out)."""
        if self._staged_y is None:
            self._staged_y = aligned((self.batch, self.sizes[0]))
        return self._staged_y

    def holds(self, y: Float32Array) -> bool:
        """Whether outputs lie in :meth:`staged_y`."""
        staged = self._staged_y
        return staged is not None and y.base is staged.base
