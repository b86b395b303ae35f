"""Low-rank layers whose ranks gates choose on the way, one after the other in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ConfigError
from simulators.kernels.calibrate import seconds_per_turn
from simulators.kernels.gated_layer import FullLayer, GatedLayer
from simulators.kernels.job import (
    BIAS,
    CHAIN_FIELDS,
    DONE,
    JOB,
    LAYER,
    LEVELS,
    OUT,
    OUT_STEP,
    PRICE,
    ROUNDS,
)
from simulators.kernels.layout import Float32Array, Float64Array, Int64Array, aligned
from simulators.kernels.pool import pool
from simulators.kernels.workspace import Workspace


class GatedChain:
    """Layers of which each takes the outputs of the one before, with memory for their calls.

    y_i = U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i for each sample, layer after layer, at the level that a
    layer's gate chooses. What the lowest level puts between the factors is computed once: the gate
    reads it, and the sample goes on from there. A full matrix may come last. Batches are rounded to
    bfloat16 where factors allow it and the CPU multiplies it. One call at a time.

    Args:
        layers: at least one.
        batch: most samples of a call.
        head: what takes the last layer's outputs.

    Attributes:
        layers, batch, head: as given.

    Raises:
        ConfigError: ``ADL-KRN-06`` when a layer does not take as many numbers as the one before
            puts out.
    """

    def __init__(
        self, layers: Sequence[GatedLayer], batch: int, head: FullLayer | None = None
    ) -> None:
        self.layers, self.batch, self.head = tuple(layers), batch, head
        widths = [(layer.factors.inputs, layer.factors.outputs) for layer in self.layers]
        if head is not None:
            widths.append((head.factors.r_max, head.factors.outputs))
        for (_, given), (taken, _) in pairwise(widths):
            if taken != given:
                raise ConfigError(
                    f"a layer of {taken} inputs follows one of {given} outputs",
                    where="GatedChain.layers",
                    remedy="give each layer as many inputs as the one before has outputs",
                    code="ADL-KRN-06",
                )
        self._inputs, self._outputs = widths[0][0], widths[-1][1]
        self._workspaces = [Workspace(layer.factors, batch) for layer in self.layers]
        self._between: list[Float32Array] = [
            aligned((batch, outputs)) for _, outputs in widths[:-1]
        ]
        self._table: Int64Array = aligned((len(widths), CHAIN_FIELDS), np.int64)
        self._prices: Float64Array = self._table.view(np.float64)[:, PRICE]
        self._address: int = self._table.ctypes.data
        self._levels: Sequence[int] = ()
        self._asked: Sequence[float] = ()
        gated = zip(self._table, self.layers, self._workspaces, strict=False)
        for row, layer, workspace in gated:
            _lay_out(workspace)
            workspace.rate(seconds_per_turn())
            row[LAYER : LAYER + 3] = layer.address, workspace.address, layer.rectified
        for row, room in zip(self._table, self._between, strict=False):
            row[OUT], row[OUT_STEP] = room.ctypes.data, room.strides[0]
        if head is not None:
            workspace = Workspace(head.factors, batch)
            _lay_out(workspace)
            workspace.job[BIAS] = head.start.ctypes.data
            self._workspaces.append(workspace)
            self._table[-1, JOB] = workspace.address

    def __reduce__(self) -> tuple[type[GatedChain], tuple[object, ...]]:
        """Copies and pickles are new ones: addresses mean nothing elsewhere."""
        return GatedChain, (self.layers, self.batch, self.head)

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
            out = np.empty((batch, self._outputs), np.float32)
        if chosen is None:
            chosen = np.empty((len(self.layers), batch), np.int64)
        _check("x", x, np.float32, (batch, self._inputs))
        _check("out", out, np.float32, (batch, self._outputs))
        _check("chosen", chosen, np.int64, (len(self.layers), batch))
        if not chosen.flags.c_contiguous:
            _refuse("chosen", "its rows lie apart", "pass a contiguous array")
        if np.may_share_memory(x, out):
            _refuse("out", "it may overlap x", "pass memory of its own")
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
        if batch > self.batch:
            raise ConfigError(
                f"it has room for {self.batch} samples, x has {batch}",
                where="GatedChain.x",
                remedy=f"make the chain for {batch} samples",
                code="ADL-KRN-04",
            )
        if levels != self._levels:
            self._set_levels(levels)
        if prices != self._asked:
            _one_each("prices", prices, self.layers)
            self._prices[: len(self.layers)] = self._asked = list(prices)
        if not batch:
            return
        table = self._table
        table[-1, OUT], table[-1, OUT_STEP] = out
        run = _compiled().run_chain
        arguments = (self._address, len(table), batch, *x, chosen)
        while run(*arguments) != DONE:
            pool.start(pool.threads - 1)

    def _set_levels(self, levels: Sequence[int]) -> None:
        """Let gates choose from so many levels."""
        _one_each("levels", levels, self.layers)
        for layer, count in zip(self.layers, levels, strict=True):
            if not 1 <= count <= len(layer.ranks):
                raise ConfigError(
                    f"there are no {count} levels",
                    where="GatedChain.levels",
                    remedy=f"choose from 1 to {len(layer.ranks)}",
                    code="ADL-KRN-03",
                )
        self._table[: len(self.layers), LEVELS] = self._levels = list(levels)


@cache
def _compiled() -> ModuleType:
    """The compiled call, loaded when a first one is made."""
    from simulators.kernels import gated_call

    return gated_call


def _lay_out(workspace: Workspace) -> None:
    """Have the layouts that a call may read: which one it does depends on the batch."""
    workspace.lay_out("tiles")
    if workspace.job[ROUNDS]:
        workspace.lay_out("bfloat16")


def _one_each(name: str, given: Sequence[float], layers: Sequence[GatedLayer]) -> None:
    """Refuse more or fewer values than there are layers."""
    if len(given) != len(layers):
        _refuse(name, f"there are {len(given)} for {len(layers)} layers", "pass one for each layer")


def _check(name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    """Refuse what compiled code could not take at its address."""
    if array.dtype != dtype or array.shape != shape:
        _refuse(
            name,
            f"it is {array.dtype} of shape {array.shape}",
            f"pass {np.dtype(dtype).name} of shape {shape}",
        )
    flags, apart = array.flags, shape[-1] > 1 and array.strides[-1] != array.itemsize
    if array.size and (apart or not flags.aligned):
        _refuse(name, "neighbours do not lie side by side", "pass a contiguous array")
    if name != "x" and not flags.writeable:
        _refuse(name, "it is read-only", "pass an array to write to")


def _refuse(name: str, message: str, remedy: str) -> NoReturn:
    raise ConfigError(message, where=f"GatedChain.{name}", remedy=remedy, code="ADL-KRN-02")
