"""The CPU's kernels on torch's tensors, with the layouts of their factors kept between calls."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from simulators.kernels import PackedFactors, Workspace, low_rank_forward
from simulators.kernels.pool import pool

Stamp = tuple[object, ...]


class Packed:
    """A factor pair in the kernels' layout, and a workspace that one call at a time may have.

    Args:
        U, V: factors, which are copied.

    Attributes:
        factors: the layout.
    """

    def __init__(self, U: Tensor, V: Tensor) -> None:
        self.factors = PackedFactors(U.detach().numpy(), V.detach().numpy())
        self._stamp = _stamp(U, V)
        self._right = ref(V.untyped_storage())
        self._lock = threading.Lock()
        self._workspace: Workspace | None = None

    def holds(self, U: Tensor, V: Tensor) -> bool:
        """Whether the layout is still that of these factors."""
        return self._stamp == _stamp(U, V) and self._right() is V.untyped_storage()

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


_KEPT: WeakKeyDictionary[torch.UntypedStorage, dict[object, Packed]] = WeakKeyDictionary()
"""Layouts by the memory that U lies in, gone when it is, and by U's place in it."""
_KEPT_LOCK = threading.Lock()
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
    layout, most = packed(U, V), torch.get_num_threads()
    if pool.threads <= most:
        return layout.forward(x, ranks, scale, bias)
    with _FEWER_THREADS:
        before, pool.threads = pool.threads, most
        try:
            return layout.forward(x, ranks, scale, bias)
        finally:
            pool.threads = before


def packed(U: Tensor, V: Tensor) -> Packed:
    """The layout of a factor pair: what is kept if that is still right, else made now.

    Tensors made in inference mode count no changes, so theirs is made every time.
    """
    if U.is_inference() or V.is_inference():
        return Packed(U, V)
    with _KEPT_LOCK:
        by_place = _KEPT.setdefault(U.untyped_storage(), {})
        found = by_place.get(U.storage_offset())
    if found is None or not found.holds(U, V):
        found = Packed(U, V)
        with _KEPT_LOCK:
            by_place[U.storage_offset()] = found
    return found


def _stamp(U: Tensor, V: Tensor) -> Stamp:
    """What differs after a change that torch counts."""
    return tuple(
        part
        for factor in (U, V)
        for part in (
            factor.data_ptr(),
            factor.shape,
            factor.stride(),
            None if factor.is_inference() else factor._version,
        )
    )
