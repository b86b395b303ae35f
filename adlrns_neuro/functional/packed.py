"""The CPU's kernels on torch's tensors, with the layouts of their factors kept between calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from adlrns_neuro.functional.kept import Kept
from simulators.kernels import PackedFactors, Workspace, low_rank_forward
from simulators.kernels.pool import pool

Result = TypeVar("Result")


class Packed:
    """A factor pair in the kernels' layout, and a workspace that one call at a time may have.

    Args:
        U, V: factors, which are copied.

    Attributes:
        factors: the layout.
    """

    def __init__(self, U: Tensor, V: Tensor) -> None:
        self.factors = PackedFactors(U.detach().numpy(), V.detach().numpy())
        self._lock = threading.Lock()
        self._workspace: Workspace | None = None

    def forward(
        self, x: Tensor, ranks: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """See :func:`adlrns_neuro.functional.low_rank_op.low_rank`."""
        outputs = torch.empty((*x.shape[:-1], self.factors.outputs))
        mine = self._lock.acquire(blocking=False)
        try:
            low_rank_forward(
                x.detach().numpy(),
                self.factors,
                None,
                ranks.numpy(),
                scale=None if scale is None else scale.detach().numpy(),
                bias=None if bias is None else bias.detach().numpy(),
                out=outputs.numpy(),
                workspace=self._room(x.shape[:-1].numel()) if mine else None,
            )
        finally:
            if mine:
                self._lock.release()
        return outputs

    def _room(self, batch: int) -> Workspace:
        """The workspace, a new one if that is too small."""
        if self._workspace is None or self._workspace.batch < batch:
            self._workspace = Workspace(self.factors, batch)
        return self._workspace


_LAYOUTS: Kept[Packed] = Kept()
_FEWER_THREADS = threading.Lock()
"""Held by the call that has lowered the number of the kernels' threads."""


def forward(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """See :func:`adlrns_neuro.functional.low_rank_op.low_rank`; all tensors are on the CPU.

    It uses no more threads than torch may.
    """
    layout = packed(U, V)
    return on_torchs_threads(lambda: layout.forward(x, ranks, scale, bias))


def on_torchs_threads(call: Callable[[], Result]) -> Result:
    """Make a call of the kernels on no more threads than torch may use."""
    most = torch.get_num_threads()
    if pool.threads <= most:
        return call()
    with _FEWER_THREADS:
        before, pool.threads = pool.threads, most
        try:
            return call()
        finally:
            pool.threads = before


def packed(U: Tensor, V: Tensor) -> Packed:
    """The layout of a factor pair, kept while they stay as they are."""
    return _LAYOUTS.of((U, V), lambda: Packed(U, V))
