"""Ranked linear layers with rectifiers, in one call of the kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.gated_op import KEPT, GatedParts, gated_low_rank
from adlrns_neuro.functional.leveled_op import LeveledParts, leveled_low_rank
from adlrns_neuro.functional.low_rank_op import runs_on_kernels
from adlrns_neuro.functional.probed_op import ProbeParts, probed_low_rank
from adlrns_neuro.gates.network import GateNetwork
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.layers.repeat import Repeat, RestsOn

ProbedParts = tuple[list[LeveledParts], list[Tensor], ProbeParts, Tensor]
"""Layers, weight and bias of a matrix at an exit, what chooses, and the gate's own price."""
_OF_LAYER = ("levels", "times_trained")


def rectified_chain(
    x: Tensor, parts: nn.ModuleList, head: nn.Linear, repeat: Repeat[Tensor]
) -> Tensor | None:
    """What layers in a row make of x, each rectified, if the kernels can run them in one call.

    A full matrix comes last.

    They can where every layer's own gate alone decides, as
    :meth:`~adlrns_neuro.layers.linear.DynamicLowRankLayer.gated_parts` says, or the level of all
    is set, and no hook waits for their outputs.

    Args:
        x: inputs of the first layer, shape (n, in).
        parts: each takes what the one before puts out.
        head: takes what the last one puts out.
        repeat: of the network's last call of this function.

    Returns:
        Outputs of the head, shape (n, classes); None, with nothing done, if the layers have to run
        one by one.
    """
    again = repeat.again((parts, head), x)
    if again is not None:
        return again
    found = _in_one_call(x, parts, head)
    if found is None:
        return None
    ranked, matrix = found
    if all(part.gated for part in ranked):
        outputs = _at_gates(x, ranked, matrix)
        if outputs is not None:
            repeat.note((parts, head), x, lambda: _gates_rest_on(x, parts, ranked, head))
        return outputs
    level = ranked[0].level
    if level is not None and all(part.level is level for part in ranked):
        return _at_levels(x, ranked, matrix, level)
    return None


def probed_chain(
    x: Tensor,
    parts: nn.ModuleList,
    head: nn.Linear,
    gate: GateNetwork,
    probe_weights: Tensor,
    price: float | None,
    repeat: Repeat[tuple[Tensor, Tensor]],
    *,
    exit_head: nn.Linear | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The same with one gate for all layers, which reads what they answer at the lowest level.

    It needs no more, since levels that are set and gates of the layers play no part.

    Args:
        x, parts, head: as of :func:`rectified_chain`.
        gate: reads what :class:`~adlrns_neuro.gates.scorers.ConfidenceProbe` makes of an answer.
        probe_weights: what that answer counts beside the one of each level.
        price: of the gate's cost; its own if None.
        repeat: of the last call of this function for this gate.
        exit_head: answers from the first layer at the lowest level, in the place of the others.

    Returns:
        Answers, shape (n, classes), and levels, shape (n,), int64; None, with nothing done, if it
        cannot be one call.
    """
    rests_on = parts, head, gate, probe_weights, exit_head
    again = None if isinstance(price, Tensor) else repeat.again(rests_on, x, price)
    if again is not None:
        return again
    found = _in_one_call(x, parts, head)
    if found is None or isinstance(price, Tensor):
        return None
    ranked, matrix = found
    on = _probed_parts(x, ranked, matrix, exit_head, gate, probe_weights)
    if on is None:
        return None
    layers, leaves, reads, asked = on
    spends = asked if price is None else asked.new_tensor(price)
    outputs, levels = probed_low_rank(x, layers, matrix, reads, spends, exit_head=leaves)
    for part in ranked:
        part.note_levels(levels)
    repeat.note(
        rests_on, x, lambda: _probe_rests_on(x, parts, ranked, head, exit_head, gate, probe_weights)
    )
    return outputs, levels


def _probed_parts(
    x: Tensor,
    ranked: Sequence[Ranked],
    matrix: Sequence[Tensor],
    exit_head: nn.Linear | None,
    gate: GateNetwork,
    probe_weights: Tensor,
) -> ProbedParts | None:
    """What a call behind a probe runs on; None if it cannot be one call."""
    if gate.scorer_hidden or type(gate) is not GateNetwork:
        return None
    leaves: list[Tensor] | None = []
    if exit_head is not None:
        leaves = _matrix(exit_head)
    layers = _leveled(ranked)
    weights: Mapping[str, Any] = gate._parameters
    constants: Mapping[str, Any] = gate._buffers
    own, bias = weights.get("weight"), weights.get("bias")
    if leaves is None or layers is None or own is None or bias is None or not len(own):
        return None
    if not _kernels_run(x, layers, *matrix, *leaves, own, bias, probe_weights):
        return None
    reads = ProbeParts(own, bias, constants["cost"], probe_weights)
    return layers, leaves, reads, constants["price"]


def _probe_rests_on(
    x: Tensor,
    parts: nn.ModuleList,
    ranked: Sequence[Ranked],
    head: nn.Linear,
    exit_head: nn.Linear | None,
    gate: GateNetwork,
    probe_weights: Tensor,
) -> RestsOn[tuple[Tensor, Tensor]]:
    """What a call behind a probe rests on; it is made of samples and a price."""
    from adlrns_neuro.functional.packed_chain import packed_probe, run_probe

    matrices = [head] if exit_head is None else [head, exit_head]
    modules = [*_modules(parts, ranked), gate, *matrices]
    layers = [_layer(part) for part in ranked]

    def prepare() -> Callable[..., tuple[Tensor, Tensor] | None] | None:
        found = _in_one_call(x, parts, head)
        if found is None or found[0] != ranked:
            return None
        on = _probed_parts(x, ranked, found[1], exit_head, gate, probe_weights)
        if on is None:
            return None
        given, leaves, reads, price = on
        packed = packed_probe([part for layer in given for part in layer], found[1], leaves, reads)
        own = float(price)

        def run(x: Tensor, price: float | None) -> tuple[Tensor, Tensor] | None:
            if not packed.takes(x):
                return None
            outputs, levels = run_probe(packed, x, own if price is None else float(price))
            for part in ranked:
                part.note_levels(levels)
            return outputs, levels

        return run

    return RestsOn(
        modules=modules,
        settings=[(gate, ("scorer_hidden",)), *((layer, _OF_LAYER) for layer in layers)],
        prepare=prepare,
    )


def _gates_rest_on(
    x: Tensor, parts: nn.ModuleList, ranked: Sequence[Ranked], head: nn.Linear
) -> RestsOn[Tensor]:
    """What a call at the levels that each layer's gate chooses rests on; it is made of samples."""
    from adlrns_neuro.functional.packed_chain import packed_gates, run_gates

    layers = [_layer(part) for part in ranked]
    gates = [layer.gate for layer in layers]
    modules = [*_modules(parts, ranked), *gates, head]

    def prepare() -> Callable[..., Tensor | None] | None:
        found = _in_one_call(x, parts, head)
        if found is None or found[0] != ranked or not all(part.gated for part in ranked):
            return None
        given = [own for layer in layers if (own := layer.gated_parts(None))]
        if len(given) < len(layers) or not _kernels_run(x, given, *found[1]):
            return None
        flat = [part for own in given for part in own[:KEPT]]
        packed = packed_gates(flat, found[1], rectified=True)
        levels = [len(layer.levels) for layer in layers]
        own_prices = [float(own.price) for own in given]

        def run(x: Tensor) -> Tensor | None:
            if not packed.takes(x):
                return None
            prices = own_prices
            if any(part.price_per_mj is not None for part in ranked):
                asked = zip([part.price() for part in ranked], prices, strict=True)
                prices = [own if price is None else price for price, own in asked]
            outputs, chosen = run_gates(packed, x, prices, levels)
            for row, part in enumerate(ranked):
                part.note_ranks((chosen, row))
            return outputs

        return run

    return RestsOn(
        modules=modules,
        settings=[
            *((part, ("level", "decide", "scheduler")) for part in ranked),
            *((layer, _OF_LAYER) for layer in layers),
            *((gate, ("scorer_hidden",)) for gate in gates),
        ],
        prepare=prepare,
    )


def _modules(parts: nn.ModuleList, ranked: Sequence[Ranked]) -> list[nn.Module]:
    """What a call of such layers rests on."""
    return [parts, *ranked, *map(_layer, ranked)]


def _in_one_call(
    x: Tensor, parts: Iterable[nn.Module], head: nn.Linear
) -> tuple[list[Ranked], list[Tensor]] | None:
    """Ranked linear layers, and weight and bias of a head; None if they are others, or hooked.

    Classes derived from them may compute something else.
    """
    ranked = []
    for part in parts:
        if type(part) is not Ranked:
            return None
        layer = _layer(part)
        if type(layer) is not DynamicLowRankLayer or hooked(part) or hooked(layer):
            return None
        ranked.append(part)
    matrix = _matrix(head)
    fits = bool(ranked) and x.shape[1:] == (_layer(ranked[0]).in_features,)
    return (ranked, matrix) if matrix and fits and x.device.type == "cpu" else None


def _matrix(head: nn.Linear) -> list[Tensor] | None:
    """Weight and bias; None if the module is another, has none, or is hooked."""
    parameters: Mapping[str, Any] = head._parameters
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if type(head) is not nn.Linear or weight is None or bias is None or hooked(head):
        return None
    return [weight, bias]


def _leveled(ranked: Sequence[Ranked], *, beyond_first: bool = False) -> list[LeveledParts] | None:
    """What layers of as many levels run on; None if there is none, or they have not.

    Args:
        ranked: the layers.
        beyond_first: leave out the first rank block of the first one, and its biases.
    """
    layers: list[LeveledParts] = []
    for part in ranked:
        given = _layer(part).leveled_parts(beyond_first=beyond_first and not layers)
        if given is None or len(given.ranks) != len(layers[0].ranks if layers else given.ranks):
            return None
        layers.append(given)
    return layers


def _kernels_run(x: Tensor, layers: Sequence[LeveledParts | GatedParts], *further: Tensor) -> bool:
    """Whether kernels can multiply inputs and layers."""
    factors = [part for given in layers for part in (given.U, given.V, given.level_bias)]
    return runs_on_kernels(x, *factors, *further)


def _at_gates(x: Tensor, ranked: Sequence[Ranked], matrix: Sequence[Tensor]) -> Tensor | None:
    """At the levels that each layer's gate chooses."""
    layers, levels = [], []
    for part in ranked:
        layer = _layer(part)
        given = layer.gated_parts(part.price())
        if given is None:
            return None
        layers.append(given)
        levels.append(len(layer.levels))
    if not _kernels_run(x, layers, *matrix):
        return None
    outputs, chosen = gated_low_rank(x, layers, levels, head=matrix, rectified=True)
    for part, ranks in zip(ranked, chosen.unbind(), strict=True):
        part.note_ranks(ranks)
    return outputs


def _at_levels(
    x: Tensor, ranked: Sequence[Ranked], matrix: Sequence[Tensor], level: int | Tensor
) -> Tensor | None:
    """At one level for all samples, or one for each, the same in all layers."""
    leader, first_block = _layer(ranked[0]), ranked[0].first_block
    known = first_block is not None and len(leader.levels) > 1
    layers = _leveled(ranked, beyond_first=known)
    if layers is None or not _kernels_run(x, layers, *matrix):
        return None
    top = len(layers[0].ranks) - 1
    if isinstance(level, int):
        levels = torch.full((len(x),), min(level, top))
    else:
        levels = level.clamp(max=top)
    start = None
    if known:
        assert first_block is not None
        start = leader.begun(first_block(x), levels)
    outputs = leveled_low_rank(x, layers, levels, head=matrix, start=start, rectified=True)
    for part in ranked:
        part.note_levels(level)
    return outputs


def hooked(module: nn.Module) -> bool:
    """Whether somebody wants to know when a module runs, or has put a function in its place."""
    replaced = "forward" in vars(module)
    return bool(replaced or module._forward_hooks or module._forward_pre_hooks)


def _layer(part: Ranked) -> DynamicLowRankLayer:
    """The layer of a part of a chain, which as an attribute takes a microsecond."""
    modules: Mapping[str, Any] = part._modules
    layer: DynamicLowRankLayer = modules["layer"]
    return layer
