"""Chains of layers on torch's tensors, with their layouts kept between calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adlrns_neuro.functional.gated_op import KEPT
from adlrns_neuro.functional.kept import Kept
from adlrns_neuro.functional.leveled_op import SIZE
from adlrns_neuro.functional.packed import torch_rounds
from simulators.kernels import PackedFactors
from simulators.kernels.chain import Chain
from simulators.kernels.chain_layers import FullLayer, GatedLayer, LeveledLayer
from simulators.kernels.gated import GatedChain
from simulators.kernels.leveled import LeveledChain
from simulators.kernels.probed import AnswerGate, ProbedChain

Own = TypeVar("Own", bound=Chain)  # type: ignore[type-arg]


class PackedLayers(Generic[Own]):
    """Layers in the kernels' layout, and chains that no call has.

    Args:
        make: a chain for so many samples.

    Attributes:
        inputs, outputs: of a call.
        layers: how many, without a head.
    """

    def __init__(self, make: Callable[[int], Own]) -> None:
        self._make = make
        first = make(1)
        self._spare = [first]
        self.inputs, self.outputs = first.inputs, first.outputs
        self.layers = len(first.layers)

    def takes(self, x: Tensor) -> bool:
        """Whether compiled code may take inputs at their address."""
        fits = x.dtype == torch.float32 and x.shape[1:] == (self.inputs,)
        return fits and x.is_contiguous() and x.is_cpu

    def run(self, batch: int, call: Callable[..., object], *given: object) -> None:
        """Make a call on a chain for so many samples, on no more threads than torch may use.

        Args:
            batch: samples.
            call: takes the chain, which no other call has meanwhile, and ``given``.
        """
        chain = self._chain(batch)
        chain.bound(torch.get_num_threads())
        try:
            call(chain, *given)
        finally:
            self._spare.append(chain)

    def _chain(self, batch: int) -> Own:
        """One that no call has, or a new one, for so many samples."""
        try:
            found = self._spare.pop()
        except IndexError:
            return self._make(batch)
        return found if found.batch >= batch else self._make(batch)


_GATED: Kept[PackedLayers[GatedChain]] = Kept()
_LEVELED: Kept[PackedLayers[LeveledChain]] = Kept()
_PROBED: Kept[PackedLayers[ProbedChain]] = Kept()


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
    outputs, ranks = run_gates(packed_gates(parts, head, rectified), x, prices, levels)
    return outputs, torch.from_numpy(ranks)


def packed_gates(
    parts: Sequence[Tensor], head: Sequence[Tensor], rectified: bool
) -> PackedLayers[GatedChain]:
    """The layout of layers with gates, kept while they stay; arguments as of :func:`forward`."""
    bfloat16 = torch_rounds()
    return _GATED.of(
        [*parts, *head],
        lambda: _packed_gates(parts, head, rectified, bfloat16),
        key=(rectified, bfloat16),
    )


def run_gates(
    packed: PackedLayers[GatedChain], x: Tensor, prices: Sequence[float], levels: Sequence[int]
) -> tuple[Tensor, NDArray[np.int64]]:
    """As :func:`forward`, on a layout; ranks as an array."""
    batch = x.shape[0]
    outputs = torch.empty(batch, packed.outputs, dtype=torch.float32)
    chosen = np.empty((packed.layers, batch), np.int64)
    if packed.takes(x):
        rows, into = _rows(x), _rows(outputs)
        ranks: int = chosen.__array_interface__["data"][0]  # As .ctypes says, in half the time.
        packed.run(batch, GatedChain.forward_at, rows, into, ranks, batch, prices, levels)
    else:
        array, kept = _array(x), {"out": outputs.numpy(), "chosen": chosen}
        packed.run(batch, lambda chain: chain.forward(array, prices, levels=levels, **kept))
    return outputs, chosen


def forward_levels(
    x: Tensor,
    parts: Sequence[Tensor],
    head: Sequence[Tensor],
    levels: Tensor,
    start: Tensor | None,
    rectified: bool,
) -> Tensor:
    """See :func:`adlrns_neuro.functional.leveled_op.leveled_low_rank`.

    It uses no more threads than torch may.
    """
    bfloat16 = torch_rounds()
    packed = _LEVELED.of(
        [*parts, *head],
        lambda: _packed_levels(parts, head, rectified, bfloat16),
        key=(rectified, bfloat16),
    )
    outputs = torch.empty(len(x), packed.outputs, dtype=torch.float32)

    def call(chain: LeveledChain) -> None:
        chain.forward(
            _array(x),
            levels.contiguous().numpy(),
            start=None if start is None else start.detach().contiguous().numpy(),
            out=outputs.numpy(),
        )

    packed.run(len(x), call)
    return outputs


def forward_probed(
    x: Tensor,
    parts: Sequence[Tensor],
    head: Sequence[Tensor],
    exit_head: Sequence[Tensor],
    gate: Sequence[Tensor],
    price: float,
) -> tuple[Tensor, Tensor]:
    """See :func:`adlrns_neuro.functional.probed_op.probed_low_rank`.

    It uses no more threads than torch may.
    """
    return run_probe(packed_probe(parts, head, exit_head, gate), x, price)


def packed_probe(
    parts: Sequence[Tensor],
    head: Sequence[Tensor],
    exit_head: Sequence[Tensor],
    gate: Sequence[Tensor],
) -> PackedLayers[ProbedChain]:
    """The layout of layers behind a probe, likewise, as of :func:`forward_probed`."""
    bfloat16 = torch_rounds()
    return _PROBED.of(
        [*gate, *parts, *head, *exit_head],  # By gate: several may share a network.
        lambda: _packed_probe(parts, head, exit_head, gate, bfloat16),
        key=(bfloat16, len(exit_head)),
    )


def run_probe(packed: PackedLayers[ProbedChain], x: Tensor, price: float) -> tuple[Tensor, Tensor]:
    """As :func:`forward_probed`, on a layout."""
    batch = x.shape[0]
    outputs = torch.empty(batch, packed.outputs, dtype=torch.float32)
    levels = torch.empty(batch, dtype=torch.int64)
    if packed.takes(x):
        rows, into, chosen = _rows(x), _rows(outputs), levels.data_ptr()
        packed.run(batch, ProbedChain.forward_at, rows, into, chosen, batch, price)
    else:
        array, kept = _array(x), {"out": outputs.numpy(), "chosen": levels.numpy()}
        packed.run(batch, lambda chain: chain.forward(array, price, **kept))
    return outputs, levels


def _packed_gates(
    parts: Sequence[Tensor], head: Sequence[Tensor], rectified: bool, bfloat16: bool
) -> PackedLayers[GatedChain]:
    layers = []
    for first in range(0, len(parts), KEPT):
        arrays = [part.detach().numpy() for part in parts[first : first + KEPT]]
        U, V, ranks, weight, bias, cost, level_bias = arrays
        factors = PackedFactors(U, V, bfloat16=bfloat16)
        steps = level_bias if level_bias.size else None
        layers.append(GatedLayer(factors, ranks, weight, bias, cost, steps, rectified))
    matrix = _full(head, bfloat16)
    return PackedLayers(lambda batch: GatedChain(layers, batch, matrix))


def _packed_levels(
    parts: Sequence[Tensor], head: Sequence[Tensor], rectified: bool, bfloat16: bool
) -> PackedLayers[LeveledChain]:
    layers, matrix = _leveled(parts, rectified, bfloat16), _full(head, bfloat16)
    return PackedLayers(lambda batch: LeveledChain(layers, batch, matrix))


def _packed_probe(
    parts: Sequence[Tensor],
    head: Sequence[Tensor],
    exit_head: Sequence[Tensor],
    gate: Sequence[Tensor],
    bfloat16: bool,
) -> PackedLayers[ProbedChain]:
    layers = _leveled(parts, True, bfloat16)
    matrix = FullLayer(*(part.detach().numpy() for part in head), bfloat16=bfloat16)
    reads = AnswerGate(*(part.detach().numpy() for part in gate))
    leaves = _full(exit_head, bfloat16)
    return PackedLayers(lambda batch: ProbedChain(layers, batch, matrix, reads, leaves))


def _leveled(parts: Sequence[Tensor], rectified: bool, bfloat16: bool) -> list[LeveledLayer]:
    """Layers with levels in the kernels' layout."""
    layers = []
    for first in range(0, len(parts), SIZE):
        U, V, ranks, level_bias = (part.detach().numpy() for part in parts[first : first + SIZE])
        steps = level_bias if level_bias.size else None
        factors = PackedFactors(U, V, bfloat16=bfloat16)
        layers.append(LeveledLayer(factors, ranks, steps, rectified))
    return layers


def _full(head: Sequence[Tensor], bfloat16: bool) -> FullLayer | None:
    """Weight and bias of a full matrix in the kernels' layout; None if there is none."""
    matrix = [part.detach().numpy() for part in head]
    return FullLayer(*matrix, bfloat16=bfloat16) if matrix else None


def _rows(matrix: Tensor) -> tuple[int, int]:
    """Address of the first row of a contiguous float32 matrix, and bytes from row to row."""
    return matrix.data_ptr(), 4 * matrix.shape[1]


def _array(x: Tensor) -> NDArray[np.float32]:
    """Inputs as the kernels' checks want to see them; of what type is theirs to say."""
    array: NDArray[np.float32] = x.detach().contiguous().numpy()
    return array
