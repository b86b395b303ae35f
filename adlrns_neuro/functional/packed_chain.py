"""Chains of gated layers on torch's tensors, with their layouts kept between calls."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from adlrns_neuro.functional.gated_op import KEPT
from adlrns_neuro.functional.kept import Kept
from adlrns_neuro.functional.packed import may_round, on_torchs_threads
from simulators.kernels import PackedFactors
from simulators.kernels.chain_layers import FullLayer, GatedLayer
from simulators.kernels.gated import GatedChain


class PackedChain:
    """Layers in the kernels' layout, and the memory of a chain that one call at a time may have.

    Args:
        parts: those of all layers in a row, see
            :data:`adlrns_neuro.functional.gated_op.KEPT`; they are copied.
        head: weight and bias of a full matrix that comes last; nothing if there is none.
        rectified: whether the layers' outputs below 0 become 0.
        bfloat16: whether calls may round numbers to that.
    """

    def __init__(
        self, parts: Sequence[Tensor], head: Sequence[Tensor], *, rectified: bool, bfloat16: bool
    ) -> None:
        self.layers = []
        for start in range(0, len(parts), KEPT):
            arrays = [part.detach().numpy() for part in parts[start : start + KEPT]]
            U, V, ranks, weight, bias, cost, level_bias = arrays
            factors = PackedFactors(U, V, bfloat16=bfloat16)
            steps = level_bias if level_bias.size else None
            self.layers.append(GatedLayer(factors, ranks, weight, bias, cost, steps, rectified))
        matrix = [part.detach().numpy() for part in head]
        self.head = FullLayer(*matrix, bfloat16=bfloat16) if matrix else None
        last = self.layers[-1] if self.head is None else self.head
        self._outputs = last.factors.outputs
        self._lock = threading.Lock()
        self._chain: GatedChain | None = None

    def forward(
        self, x: Tensor, prices: Sequence[float], levels: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """See :func:`adlrns_neuro.functional.gated_op.gated_low_rank`."""
        batch, inputs = len(x), self.layers[0].factors.inputs
        outputs = torch.empty(batch, self._outputs)
        chosen = torch.empty(len(self.layers), batch, dtype=torch.int64)
        mine = self._lock.acquire(blocking=False)
        try:
            chain = self._room(batch) if mine else GatedChain(self.layers, batch, self.head)
            if x.dtype == torch.float32 and x.shape == (batch, inputs) and x.is_contiguous():
                rows = (x.data_ptr(), 4 * inputs), (outputs.data_ptr(), 4 * outputs.shape[1])
                chain.forward_at(*rows, chosen.data_ptr(), batch, prices, levels)
            else:
                given = x.detach().contiguous().numpy()
                into = outputs.numpy()
                chain.forward(given, prices, levels=levels, out=into, chosen=chosen.numpy())
        finally:
            if mine:
                self._lock.release()
        return outputs, chosen

    def _room(self, batch: int) -> GatedChain:
        """The chain, a new one if that is too small."""
        if self._chain is None or self._chain.batch < batch:
            self._chain = GatedChain(self.layers, batch, self.head)
        return self._chain


_CHAINS: Kept[PackedChain] = Kept()


def forward(
    x: Tensor,
    parts: Sequence[Tensor],
    head: Sequence[Tensor],
    prices: Sequence[float],
    levels: Sequence[int],
    rectified: bool,
) -> tuple[Tensor, Tensor]:
    """See :func:`adlrns_neuro.functional.gated_op.gated_low_rank`.

    It uses no more threads than torch may.
    """
    options = {"rectified": rectified, "bfloat16": may_round()}
    chain = _CHAINS.of(
        [*parts, *head],
        lambda: PackedChain(parts, head, **options),
        key=tuple(options.values()),
    )
    return on_torchs_threads(lambda: chain.forward(x, prices, levels))
