"""The low-rank map of samples with ranks of their own, as an operator of torch.

``torch.ops.adlrns.low_rank`` runs the kernels of :mod:`simulators.kernels`, on the CPU and on the
GPU, and can be differentiated, compiled and exported like torch's own operators.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

EVENTS = (torch.bool, torch.int8, torch.uint8, torch.int16, torch.uint16)
"""Types of inputs that are events."""


@torch.library.custom_op("adlrns::low_rank", mutates_args=(), device_types=("cpu", "cuda"))
def low_rank(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """y_i = U[:, :r_i] (scale[:r_i] · (V[:, :r_i]ᵀ x_i)) + bias, at the cost of each sample's rank.

    The kernels run on float32 factors with inputs that are float32 or events, and on the CPU, if U
    is finite, where all are bfloat16. Factors of other types go through torch's own products, one
    rank after the other, and inputs are converted to their type. On the CPU numbers are rounded to
    bfloat16, where that saves time, if torch may do so with its own float32 products
    (``torch.set_float32_matmul_precision("medium")``).

    There the kernels read a layout of their own, which is kept as long as U lives and made anew
    when U or V has changed: in place by torch (as optimisers and ``load_state_dict`` do) or by
    taking other memory. What is written through ``.data``, NumPy or another alias that torch does
    not count is not seen.

    Args:
        x: inputs, shape (..., in), float32 or events (bool, int8, uint8, int16, uint16).
        U: output factor, shape (out, r_max).
        V: input factor, shape (in, r_max).
        ranks: 0 to r_max, integers, shape (...); no gradient.
        scale: gain of each rank, shape (r_max,); 1 if None.
        bias: shape (out,), added whatever the rank; 0 if None.

    Returns:
        Outputs, shape (..., out), of the factors' type.

    Raises:
        ConfigError: as :func:`simulators.kernels.low_rank_forward`, on a GPU as
            :func:`simulators.kernels.cuda.low_rank_forward`.
    """
    if x.is_cuda and _for_kernels(x, U):
        from adlrns_neuro.functional import on_gpu

        return on_gpu.forward(x, U, V, ranks, scale, bias)
    if not x.is_cuda:
        from adlrns_neuro.functional import packed

        if _for_kernels(x, U):
            return packed.forward(x, U, V, ranks, scale, bias)
        if x.dtype == U.dtype == V.dtype == torch.bfloat16:
            outputs = packed.forward_halves(x, U, V, ranks, scale, bias)
            if outputs is not None:
                return outputs
    return _by_torch(x, U, V, ranks, scale, bias)


@low_rank.register_fake
def _(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], U.shape[0]), dtype=U.dtype)


def _save(
    ctx: Any,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None],
    output: Tensor,
) -> None:
    """Keep what the gradients are computed from."""
    ctx.save_for_backward(*inputs[:5])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of x, U, V, ranks (none), scale and bias, by torch's own products."""
    x, U, V, ranks, scale = ctx.saved_tensors
    given = len(ctx.needs_input_grad)
    wanted = (*ctx.needs_input_grad, False, False)  # What was left out wants none.
    rows, onto = x.flatten(0, -2).to(U.dtype), gradient.flatten(0, -2)
    within = torch.arange(U.shape[1], device=U.device) < ranks.reshape(-1, 1)
    nothing = U.new_zeros(())
    between = torch.where(within, rows @ V, nothing)
    back = torch.where(within, onto @ U, nothing)
    scaled = back if scale is None else back * scale
    found = (
        (scaled @ V.T).reshape(x.shape) if wanted[0] else None,
        onto.T @ (between if scale is None else between * scale) if wanted[1] else None,
        rows.T @ scaled if wanted[2] else None,
        None,
        (back * between).sum(dim=0) if wanted[4] else None,
        onto.sum(dim=0) if wanted[5] else None,
    )
    return found[:given]


low_rank.register_autograd(_gradients, setup_context=_save)


@register_flop_formula(torch.ops.adlrns.low_rank, get_raw=True)
def _operations(x: Tensor, U: Tensor, V: Tensor, ranks: Tensor, *_: object, **__: object) -> int:
    """Multiplications and additions of a call, for torch's own counter."""
    return 2 * int(ranks.sum()) * (len(U) + len(V))


def runs_on_kernels(*given: Tensor) -> bool:
    """Whether a layer had better leave products to the kernels than compute them with torch.

    That is where no gradient is needed, nothing is autocast, all is float32 and on one device: the
    CPU, or a GPU that the kernels can be compiled for, see :func:`simulators.kernels.cuda`.

    Args:
        given: inputs and factors.
    """
    device, gradients = given[0].device, torch.is_grad_enabled()
    for tensor in given:
        if tensor.dtype != torch.float32 or tensor.device != device:
            return False
        if gradients and tensor.requires_grad:
            return False
    kind = device.type
    usable = kind == "cpu" or (kind == "cuda" and _gpu_is_usable())
    return usable and not torch.is_autocast_enabled(kind)


@cache
def _find_gpu() -> bool:
    """Whether the GPU's kernels can run: their package is an extra, torch's own CUDA is not."""
    from mapping.errors import AdlrnsError
    from simulators.kernels.cuda import require_gpu

    try:
        require_gpu()
    except AdlrnsError:
        return False
    return True


# ``torch.compile`` asks it once instead of looking into it.
_gpu_is_usable: Callable[[], bool]
_gpu_is_usable = torch.compiler.assume_constant_result(_find_gpu)  # type: ignore[no-untyped-call]


def _for_kernels(x: Tensor, U: Tensor) -> bool:
    return U.dtype == torch.float32 and (x.dtype == torch.float32 or x.dtype in EVENTS)


def _by_torch(
    x: Tensor, U: Tensor, V: Tensor, ranks: Tensor, scale: Tensor | None, bias: Tensor | None
) -> Tensor:
    """What the kernels compute, in any type that torch multiplies."""
    rows, chosen = x.reshape(-1, x.shape[-1]).to(U.dtype), ranks.reshape(-1)
    outputs = U.new_zeros(len(rows), U.shape[0])
    for rank in sorted(set(chosen.tolist())):
        those = (chosen == rank).nonzero().squeeze(1)
        between = rows.index_select(0, those) @ V[:, :rank]
        if scale is not None:
            between = between * scale[:rank]
        outputs.index_copy_(0, those, between @ U[:, :rank].T)
    if bias is not None:
        outputs += bias
    return outputs.reshape(*x.shape[:-1], U.shape[0])
