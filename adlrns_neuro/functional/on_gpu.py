"""The GPU's kernels on torch's tensors, on the stream that is torch's current one."""

from __future__ import annotations

import torch
from torch import Tensor

from simulators.kernels.cuda import DeviceArray, low_rank_forward, workspace_bytes


def forward(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """See :func:`adlrns_neuro.functional.low_rank_op.low_rank`; all tensors are on one GPU.

    Memory is torch's. The kernels read factors as they are, so nothing is kept between calls.
    """
    kept = (
        x if x.ndim == 2 else x.contiguous(),
        _rows_side_by_side(U),
        _rows_side_by_side(V),
        ranks.contiguous(),
    )
    gains = None if scale is None else scale.contiguous()
    start = None if bias is None else bias.contiguous()
    outputs = x.new_empty((*x.shape[:-1], U.shape[0]), dtype=U.dtype)
    with torch.cuda.device(x.device):
        size = workspace_bytes(x.shape[:-1].numel(), U.shape[1])
        workspace = x.new_empty(size, dtype=torch.uint8)
        low_rank_forward(
            *map(_described, kept),
            scale=None if gains is None else _described(gains),
            bias=None if start is None else _described(start),
            out=_described(outputs),
            workspace=_described(workspace),
            stream=torch.cuda.current_stream().cuda_stream,
        )
    return outputs


def _rows_side_by_side(factor: Tensor) -> Tensor:
    """A factor of which columns may have been cut off, but whose rows are whole."""
    return factor if factor.stride(1) == 1 else factor.contiguous()


def _described(tensor: Tensor) -> DeviceArray:
    """What the kernels have to know; the tensor has to live until they are launched.

    Later its memory may go to others: what they do there, the same stream does after the kernels.
    """
    return DeviceArray(
        address=tensor.data_ptr(),
        shape=tuple(tensor.shape),
        strides=tensor.stride(),
        dtype=str(tensor.dtype).removeprefix("torch."),
    )
