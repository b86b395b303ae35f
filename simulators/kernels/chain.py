"""Layers in a row, with the memory for their calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Generic, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ConfigError
from simulators.kernels.calibrate import seconds_per_turn
from simulators.kernels.chain_layers import FullLayer, LeveledLayer
from simulators.kernels.job import BIAS, CHAIN_FIELDS, JOB, LAYER, LEVELS, OUT, OUT_STEP, ROUNDS
from simulators.kernels.layout import Float32Array, Int64Array, aligned
from simulators.kernels.workspace import Workspace

Layer = TypeVar("Layer", bound=LeveledLayer)

_BYTES_BETWEEN, _BYTES_OF_FACTORS, _LEAST_AT_ONCE = 1 << 18, 1 << 20, 64
"""What lies between layers may fill a part of the second cache so large, if all factors fit into
what is left; but fewer samples at once leave too many tiles with samples of several ranks."""


class Chain(Generic[Layer]):
    """Layers of which each takes the outputs of the one before; one call at a time.

    Batches are rounded to bfloat16 where factors allow it and the CPU multiplies it.

    Args:
        layers: at least one.
        batch: most samples of a call.
        head: a full matrix that takes the last layer's outputs.

    Attributes:
        layers, batch, head: as given.
        inputs, outputs: of the first layer, and of the last or the head.
        at_once: samples that pass through all layers, on one thread, before others do, so that
            what lies between layers stays in the caches.
        table: fields of the layers, see :data:`simulators.kernels.job.LAYER`.
        address: of ``table``.

    Raises:
        ConfigError: ``ADL-KRN-06`` when a layer does not take as many numbers as the one before
            puts out.
    """

    def __init__(self, layers: Sequence[Layer], batch: int, head: FullLayer | None = None) -> None:
        self.layers, self.batch, self.head = tuple(layers), batch, head
        widths = [(layer.factors.inputs, layer.factors.outputs) for layer in self.layers]
        if head is not None:
            widths.append((head.factors.r_max, head.factors.outputs))
        for (_, given), (taken, _) in pairwise(widths):
            if taken != given:
                raise ConfigError(
                    f"a layer of {taken} inputs follows one of {given} outputs",
                    where=f"{type(self).__name__}.layers",
                    remedy="give each layer as many inputs as the one before has outputs",
                    code="ADL-KRN-06",
                )
        self.inputs, self.outputs = widths[0][0], widths[-1][1]
        self.at_once = self._samples_at_once([outputs for _, outputs in widths[:-1]])
        self._bound: int | None = None
        self._workspaces = [Workspace(layer.factors, batch) for layer in self.layers]
        self._between: list[Float32Array] = [
            aligned((batch, outputs)) for _, outputs in widths[:-1]
        ]
        self.table: Int64Array = aligned((len(widths), CHAIN_FIELDS), np.int64)
        self.address: int = self.table.ctypes.data
        for row, layer, workspace in zip(self.table, self.layers, self._workspaces, strict=False):
            _lay_out(workspace)
            workspace.rate(seconds_per_turn())
            row[LAYER : LAYER + 3] = layer.address, workspace.address, layer.rectified
            row[LEVELS] = len(layer.ranks)
        for row, room in zip(self.table, self._between, strict=False):
            row[OUT], row[OUT_STEP] = room.ctypes.data, room.strides[0]
        if head is not None:
            workspace = full_workspace(head, batch)
            self._workspaces.append(workspace)
            self.table[-1, JOB] = workspace.address

    def _samples_at_once(self, widths: Sequence[int]) -> int:
        """See ``at_once``; ``widths`` lie between the layers."""
        every = [layer.factors for layer in self.layers]
        if self.head is not None:
            every.append(self.head.factors)
        factors = sum(4 * own.r_max * (own.inputs + own.outputs) for own in every)
        if not widths or factors > _BYTES_OF_FACTORS:
            return self.batch
        return max(_LEAST_AT_ONCE, _BYTES_BETWEEN // (4 * sum(widths)))

    def __reduce__(self) -> tuple[type[Chain[Layer]], tuple[object, ...]]:
        """Copies and pickles are new ones: addresses mean nothing elsewhere."""
        return type(self), (self.layers, self.batch, self.head)

    @property
    def threads(self) -> int:
        """How many threads a call may have: of those that all may, as many as it has memory for,
        or fewer if :meth:`bound` says so.
        """
        return min(workspace.threads for workspace in self._workspaces)

    def bound(self, threads: int) -> None:
        """Let the next calls have so many threads at most."""
        if threads != self._bound:
            for workspace in self._workspaces:
                workspace.bound(threads)
            self._bound = threads

    def check_batch(self, batch: int) -> None:
        """Refuse more samples than there is room for.

        Raises:
            ConfigError: ``ADL-KRN-04``.
        """
        if batch > self.batch:
            raise ConfigError(
                f"it has room for {self.batch} samples, x has {batch}",
                where=f"{type(self).__name__}.x",
                remedy=f"make the chain for {batch} samples",
                code="ADL-KRN-04",
            )

    def check_rows(self, x: Float32Array, out: Float32Array) -> None:
        """Refuse inputs and outputs that do not fit.

        Raises:
            ConfigError: ``ADL-KRN-02``.
        """
        self.check_array("x", x, np.float32, (len(x), self.inputs))
        self.check_array("out", out, np.float32, (len(x), self.outputs))
        if np.may_share_memory(x, out):
            self.refuse("out", "it may overlap x", "pass memory of its own")

    def check_array(
        self, name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]
    ) -> None:
        """Refuse what compiled code could not take at its address.

        Raises:
            ConfigError: ``ADL-KRN-02``.
        """
        if array.dtype != dtype or array.shape != shape:
            self.refuse(
                name,
                f"it is {array.dtype} of shape {array.shape}",
                f"pass {np.dtype(dtype).name} of shape {shape}",
            )
        flags, apart = array.flags, shape[-1] > 1 and array.strides[-1] != array.itemsize
        if array.size and (apart or not flags.aligned):
            self.refuse(name, "neighbours do not lie side by side", "pass a contiguous array")
        if name in ("out", "chosen") and not flags.writeable:
            self.refuse(name, "it is read-only", "pass an array to write to")

    def refuse(self, name: str, message: str, remedy: str) -> NoReturn:
        """Refuse an argument of a call."""
        where = f"{type(self).__name__}.{name}"
        raise ConfigError(message, where=where, remedy=remedy, code="ADL-KRN-02")


def full_workspace(head: FullLayer, batch: int) -> Workspace:
    """Memory for calls of a full matrix."""
    workspace = Workspace(head.factors, batch)
    _lay_out(workspace)
    workspace.job[BIAS] = head.start.ctypes.data
    return workspace


def _lay_out(workspace: Workspace) -> None:
    """Have the layouts that a call may read: which one it does depends on the batch."""
    from simulators.kernels.vector import BFLOAT16

    workspace.lay_out("tiles")
    if workspace.job[ROUNDS] and BFLOAT16:
        workspace.lay_out("bfloat16")
