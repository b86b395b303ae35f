"""Low-rank layers at given levels, one after the other in one call."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from mapping.errors import ConfigError
from simulators.kernels.chain import Chain
from simulators.kernels.chain_layers import LeveledLayer
from simulators.kernels.job import DONE, OUT, OUT_STEP
from simulators.kernels.layout import Float32Array, Int64Array, aligned
from simulators.kernels.pool import pool


class LeveledChain(Chain[LeveledLayer]):
    """Layers that run each sample at a level of its own, the same in all of them.

    y_i = U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i, layer after layer, where r_i and b_i are the rank and
    the bias of the sample's level.

    Args, attributes and errors are those of :class:`~simulators.kernels.chain.Chain`; all layers
    have as many levels.
    """

    def forward(
        self,
        x: Float32Array,
        levels: Int64Array,
        *,
        start: Float32Array | None = None,
        out: Float32Array | None = None,
    ) -> Float32Array:
        """Outputs, shape (n, out).

        Args:
            x: inputs, shape (n, in), float32; the numbers of a row lie side by side.
            levels: of each sample, shape (n,), int64, contiguous.
            start: what the first layer's outputs begin with, in the place of its biases, shape
                (n, its outputs), rows as those of x.
            out: receives the outputs, float32, shape (n, out), rows as those of x, apart from x.

        Raises:
            ConfigError: ``ADL-KRN-02`` when an array has the wrong shape, type or place,
                ``ADL-KRN-03`` when there is no such level, ``ADL-KRN-04`` on more samples than
                there is room for.
        """
        batch = len(x)
        if out is None:
            out = np.empty((batch, self.outputs), np.float32)
        self.check_batch(batch)
        self.check_rows(x, out)
        self.check_array("levels", levels, np.int64, (batch,))
        begin = (0, 0)
        if start is not None:
            self.check_array("start", start, np.float32, (batch, self.layers[0].factors.outputs))
            begin = self._in_whole_panels(start)
        if not batch:
            return out
        table = self.table
        table[-1, OUT], table[-1, OUT_STEP] = out.ctypes.data, out.strides[0]
        run = _compiled().run_levels
        rows = x.ctypes.data, x.strides[0]
        at = levels.ctypes.data
        arguments = (self.address, len(table), batch, self.at_once, *rows, at, *begin)
        while (status := run(*arguments)) != DONE:
            if status >= 0:
                raise ConfigError(
                    f"sample {status} has level {levels[status]}",
                    where="LeveledChain.levels",
                    remedy=f"choose levels from 0 to {min(len(o.ranks) for o in self.layers) - 1}",
                    code="ADL-KRN-03",
                )
            pool.start(self.threads - 1)
        return out

    def _in_whole_panels(self, start: Float32Array) -> tuple[int, int]:
        """Address and step of rows that may be read beyond their end, up to a whole panel."""
        width = self.layers[0].starts.shape[1]
        if start.shape[1] == width:
            return start.ctypes.data, start.strides[0]
        if self._start is None:
            self._start = aligned((self.batch, width))
        self._start[: len(start), : start.shape[1]] = start
        return self._start.ctypes.data, self._start.strides[0]

    _start: Float32Array | None = None


@cache
def _compiled() -> ModuleType:
    """The compiled call, loaded when a first one is made."""
    from simulators.kernels import leveled_call

    return leveled_call
