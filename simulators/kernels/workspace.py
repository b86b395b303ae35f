"""The memory that a call needs beside its arguments, to be used again by the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ConfigError
from simulators.kernels import job as fields
from simulators.kernels.job import FEATURES, PATHS
from simulators.kernels.layout import Float32Array, Float64Array, Int64Array, PackedFactors, aligned
from simulators.kernels.pool import available_threads, pool


class Workspace:
    """Memory for calls of up to ``batch`` samples on factors of the same sizes, one at a time.

    Args:
        factors: the sizes are theirs.
        batch: most samples of a call, all leading axes together.

    Attributes:
        batch: the same.
        threads: most threads of a call: as many as there are cores, or as the pool had.
        job: the fields of :mod:`simulators.kernels.job`.
        ranks: (batch,) int64, each sample's rank in the order of the input.
        turns, reach, seconds: room for :func:`simulators.kernels.model.decide`.
    """

    def __init__(self, factors: PackedFactors, batch: int) -> None:
        from simulators.kernels.run import link_rows
        from simulators.kernels.vector import LANES, PANEL, TILE_ROWS

        self.batch, self.threads = batch, max(pool().threads, available_threads())
        self.sizes = factors.outputs, factors.inputs, factors.r_max
        self.ranks: Int64Array = aligned((batch,), np.int64)
        self._factors: PackedFactors | None = None
        self._staged_x: Float32Array | None = None
        self._staged_y: Float32Array | None = None
        room = batch + TILE_ROWS
        z_width = -(-factors.r_max // PANEL) * PANEL
        y_width = -(-factors.outputs // PANEL) * PANEL
        event_room = self.threads * (factors.inputs + LANES)
        parts: dict[int, NDArray[np.generic]] = {
            fields.SCALE: aligned((z_width,)),
            fields.BIAS: aligned((y_width,)),
            fields.Z: aligned((room, z_width)),
            fields.TAILS: aligned((room, PANEL)),
            fields.SPARE: aligned((y_width,)),
            fields.X_ROWS: aligned((room,), np.int64),
            fields.Z_ROWS: aligned((room,), np.int64),
            fields.Y_ROWS: aligned((room,), np.int64),
            fields.TAIL_ROWS: aligned((room,), np.int64),
            fields.RANKS: aligned((room,), np.int64),
            fields.ACTIVE: aligned((z_width // LANES,), np.int64),
            fields.COUNTS: aligned((factors.r_max + 2,), np.int64),
            fields.EVENT_PLACES: aligned((event_room,), np.int32),
            fields.EVENT_VALUES: aligned((event_room,)),
        }
        self._parts = parts
        self.turns: Float64Array = aligned((len(PATHS), FEATURES), np.float64)
        self.seconds: Float64Array = aligned((len(PATHS),), np.float64)
        self.reach: Int64Array = aligned((z_width // LANES,), np.int64)
        self.job: Int64Array = aligned((fields.JOB_SIZE,), np.int64)
        for field, part in parts.items():
            self.job[field] = part.ctypes.data
        self.job[fields.OUTPUTS], self.job[fields.INPUTS], self.job[fields.R_MAX] = self.sizes
        self.job[fields.Z_WIDTH] = z_width
        link_rows(self.job.ctypes.data, room)

    def attach(self, factors: PackedFactors, by_rows: bool) -> None:
        """Point the job to the layout of ``factors`` that a path reads.

        Raises:
            ConfigError: ``ADL-KRN-04`` when the factors have other sizes.
        """
        if self._factors is not factors:
            sizes = factors.outputs, factors.inputs, factors.r_max
            if sizes != self.sizes:
                raise ConfigError(
                    f"it was made for (out, in, r_max) = {self.sizes}, the factors have {sizes}",
                    where="low_rank_forward.workspace",
                    remedy="make a Workspace of these factors",
                    code="ADL-KRN-04",
                )
            self._factors = factors
            self.job[fields.V_ROWS] = self.job[fields.V_PANELS] = 0
        if by_rows and not self.job[fields.V_ROWS]:
            self.job[fields.V_ROWS] = factors.v_rows.ctypes.data
            self.job[fields.U_ROWS] = factors.u_rows.ctypes.data
        if not by_rows and not self.job[fields.V_PANELS]:
            self.job[fields.V_PANELS] = factors.v_panels.ctypes.data
            self.job[fields.U_PANELS] = factors.u_panels.ctypes.data

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
