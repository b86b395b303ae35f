"""The CPU's kernels on torch's tensors, with the layouts of their factors kept between calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from adlrns_neuro.functional.kept import Kept
from simulators.kernels import PackedFactors, Workspace, low_rank_forward
from simulators.kernels.forward import refuse, spare_workspace
from simulators.kernels.halves import rounded_forward
from simulators.kernels.permission import may_multiply


class Packed:
    """A factor pair in the kernels' layout.

    Args:
        U, V: factors, which are copied.
        bfloat16: whether calls may round numbers to that.

    Attributes:
        factors: the layout.
    """

    def __init__(self, U: Tensor, V: Tensor, *, bfloat16: bool = False) -> None:
        arrays = [factor.detach().float().numpy() for factor in (U, V)]
        self.factors = PackedFactors(*arrays, bfloat16=bfloat16)
        # Not in the factors' own list: they would hold each other until garbage is collected.
        self._spare: list[Workspace] = []

    def forward(
        self, x: Tensor, ranks: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """See :func:`adlrns_neuro.functional.low_rank_op.low_rank`."""
        outputs = torch.empty((*x.shape[:-1], self.factors.outputs), dtype=torch.float32)
        with self._room(x.shape[:-1].numel()) as workspace:
            low_rank_forward(
                x.detach().numpy(),
                self.factors,
                None,
                ranks.numpy(),
                scale=None if scale is None else scale.detach().numpy(),
                bias=None if bias is None else bias.detach().numpy(),
                out=outputs.numpy(),
                workspace=workspace,
            )
        return outputs

    def forward_halves(
        self, x: Tensor, ranks: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """The same of inputs and outputs in bfloat16."""
        leading, factors = x.shape[:-1], self.factors
        if x.shape[-1] != factors.inputs:
            refuse("x", f"it has shape {tuple(x.shape)}", f"pass a last axis of {factors.inputs}")
        if ranks.is_floating_point() or ranks.dtype == torch.bool:
            refuse("ranks", f"they are {ranks.dtype}", "pass integers")
        try:
            chosen = ranks.expand(leading)
        except RuntimeError:
            fitting = f"pass ranks that broadcast to {tuple(leading)}"
            refuse("ranks", f"shape {tuple(ranks.shape)} does not fit", fitting)
        rows = x.detach().reshape(-1, factors.inputs).contiguous()
        outputs = x.new_empty((*leading, factors.outputs))
        with self._room(len(rows)) as workspace:
            rounded_forward(
                rows.view(torch.uint16).numpy(),
                factors,
                chosen.reshape(-1).long().numpy(),
                outputs.view(len(rows), factors.outputs).view(torch.uint16).numpy(),
                workspace,
                scale=None if scale is None else scale.detach().float().numpy(),
                bias=None if bias is None else bias.detach().float().numpy(),
            )
        return outputs

    @contextmanager
    def _room(self, batch: int) -> Iterator[Workspace]:
        """A workspace that no other call has meanwhile, for no more threads than torch may use."""
        workspace = spare_workspace(self.factors, batch, self._spare)
        workspace.bound(torch.get_num_threads())
        try:
            yield workspace
        finally:
            self._spare.append(workspace)


_LAYOUTS: Kept[Packed] = Kept()


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
    return layout.forward(x, ranks, scale, bias)


def forward_halves(
    x: Tensor,
    U: Tensor,
    V: Tensor,
    ranks: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
) -> Tensor | None:
    """As :func:`forward`, where all tensors are bfloat16; None if the kernels cannot run it.

    They cannot if U holds NaN or infinity or the system denies registers, and do not where a layout
    would be made for this call alone: of factors that are tensors of inference mode.
    """
    if U.is_inference() or V.is_inference() or not may_multiply():
        return None
    layout = packed(U, V)
    if not layout.factors.may_round:
        return None
    return layout.forward_halves(x, ranks, scale, bias)


_PRECISION = getattr(torch.backends.mkldnn, "matmul", None)
"""What torch 2.9 and newer know of the CPU's products; the older question they may refuse."""


def torch_rounds() -> bool:
    """Whether torch lets products of float32 matrices on the CPU round them to bfloat16.

    That is so after ``torch.set_float32_matmul_precision("medium")``, or once
    ``torch.backends.mkldnn.matmul.fp32_precision`` is ``"bf16"``.
    """
    if _PRECISION is None:
        return torch.get_float32_matmul_precision() == "medium"
    return bool(_PRECISION.fp32_precision == "bf16")


def packed(U: Tensor, V: Tensor) -> Packed:
    """The layout of a factor pair, kept while they stay as they are."""
    bfloat16 = U.dtype == torch.bfloat16 or torch_rounds()
    return _LAYOUTS.of((U, V), lambda: Packed(U, V, bfloat16=bfloat16), key=bfloat16)
