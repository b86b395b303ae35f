"""Low-rank layers whose ranks gates choose on the way, one after the other in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np

from mapping.errors import ConfigError
from simulators.kernels.chain import Chain
from simulators.kernels.chain_layers import FullLayer, GatedLayer
from simulators.kernels.job import DONE, LEVELS, OUT, OUT_STEP, PRICE
from simulators.kernels.layout import Float32Array, Float64Array, Int64Array
from simulators.kernels.pool import pool


class GatedChain(Chain[GatedLayer]):
    """Layers whose gates choose the level of each sample.

    y_i = U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i for each sample, layer after layer, at the level that a
    layer's gate chooses. What the lowest level puts between the factors is computed once: the gate
    reads it, and the sample goes on from there.

    Args, attributes and errors are those of :class:`~simulators.kernels.chain.Chain`.
    """

    def __init__(
        self, layers: Sequence[GatedLayer], batch: int, head: FullLayer | None = None
    ) -> None:
        super().__init__(layers, batch, head)
        self._prices: Float64Array = self.table.view(np.float64)[:, PRICE]
        self._levels: Sequence[int] = ()
        self._asked: Sequence[float] = ()

    def forward(
        self,
        x: Float32Array,
        prices: Sequence[float],
        *,
        levels: Sequence[int] | None = None,
        out: Float32Array | None = None,
        chosen: Int64Array | None = None,
    ) -> tuple[Float32Array, Int64Array]:
        """Outputs, and the rank of each sample in every layer.

        NaN and infinity spread as in :func:`.low_rank_forward`; a gate that reads NaN is off.

        Args:
            x: inputs, shape (n, in), float32; the numbers of a row lie side by side.
            prices: of the gates' cost, one per layer.
            levels: of each layer, how many there are to choose from, the lowest ones; all if None.
            out: receives the outputs, float32, shape (n, out), rows as those of x, apart from x.
            chosen: receives the ranks, int64, shape (layers, n), contiguous.

        Returns:
            Outputs (n, out) and ranks (layers, n).

        Raises:
            ConfigError: ``ADL-KRN-02`` when an array has the wrong shape, type or place, or a layer
                has no price or number of levels,
                ``ADL-KRN-03`` when there are no such levels, ``ADL-KRN-04`` on more samples than
                there is room for.
        """
        batch = len(x)
        if out is None:
            out = np.empty((batch, self.outputs), np.float32)
        if chosen is None:
            chosen = np.empty((len(self.layers), batch), np.int64)
        self.check_rows(x, out)
        self.check_array("chosen", chosen, np.int64, (len(self.layers), batch))
        if not chosen.flags.c_contiguous:
            self.refuse("chosen", "its rows lie apart", "pass a contiguous array")
        counts = [len(layer.ranks) for layer in self.layers] if levels is None else levels
        rows = (x.ctypes.data, x.strides[0]), (out.ctypes.data, out.strides[0])
        self.forward_at(*rows, chosen.ctypes.data, batch, prices, counts)
        return out, chosen

    def forward_at(
        self,
        x: tuple[int, int],
        out: tuple[int, int],
        chosen: int,
        batch: int,
        prices: Sequence[float],
        levels: Sequence[int],
    ) -> None:
        """As :meth:`forward`, for arrays that are known to fit.

        Args:
            x, out: address of the first row, and bytes from row to row.
            chosen: address.
            batch: samples, 0 or more.
            prices, levels: as there.

        Raises:
            ConfigError: ``ADL-KRN-02`` unless there is a price and a number of levels for each
                layer, ``ADL-KRN-03`` and ``ADL-KRN-04``.
        """
        self.check_batch(batch)
        if levels != self._levels:
            self._set_levels(levels)
        if prices != self._asked:
            self._check_one_each("prices", prices)
            self._prices[: len(self.layers)] = self._asked = list(prices)
        if not batch:
            return
        table = self.table
        table[-1, OUT], table[-1, OUT_STEP] = out
        run = _compiled().run_chain
        arguments = (self.address, len(table), batch, self.at_once, *x, chosen)
        while run(*arguments) != DONE:
            pool.start(self.threads - 1)

    def _set_levels(self, levels: Sequence[int]) -> None:
        """Let gates choose from so many levels."""
        self._check_one_each("levels", levels)
        for layer, count in zip(self.layers, levels, strict=True):
            if not 1 <= count <= len(layer.ranks):
                raise ConfigError(
                    f"there are no {count} levels",
                    where="GatedChain.levels",
                    remedy=f"choose from 1 to {len(layer.ranks)}",
                    code="ADL-KRN-03",
                )
        self.table[: len(self.layers), LEVELS] = self._levels = list(levels)

    def _check_one_each(self, name: str, given: Sequence[float]) -> None:
        """Refuse more or fewer values than there are layers."""
        if len(given) != len(self.layers):
            message = f"there are {len(given)} for {len(self.layers)} layers"
            self.refuse(name, message, "pass one for each layer")


@cache
def _compiled() -> ModuleType:
    """The compiled call, loaded when a first one is made."""
    from simulators.kernels import gated_call

    return gated_call
