"""An adaptive perceptron and convolution in evaluation mode beside dense twins, on one thread.

python benchmarks/bench_adaptive_mlp.py [--quick] [--json FILE]

784-512-512-10, whose gates spread random samples over the ranks 8, 16, 32 and 64 by ``SHARES``, the
same with one gate for the network (:class:`adlrns_neuro.AdaptiveModel`), without an early exit and
with one, and a 3 × 3 convolution of 64 channels on 16 × 16 pixels at the ranks 4, 8, 16 and 32.
Both run as they are and compiled by inductor, the dense one in bfloat16 too; the perceptrons once
more where torch may round products of float32 to bfloat16. Ours is the faster, the peers are all of
them. Our outputs are checked against torch's own products first. Products are counted by torch's
own counter. The limit is what the fastest dense twin of the same type, float32, takes, divided by
its products over ours: all of the saving kept; how much is kept of the saving over the fastest twin
of any type is printed too. Durations are the least of many, taken in turns, so that nobody has the
machine's quiet moments alone.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import Row, row, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adlrns_neuro import AdaptiveModel
from adlrns_neuro.layers import DynamicLowRankConv2d, Ranked
from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.models.mlp import DenseMLP, LowRankMLP, MlpConfig
from adlrns_neuro.ranks import ranked_layers

BATCHES = (1, 32, 256)
SHARES = (0.4, 0.3, 0.2, 0.1)
"""Of the samples, by level."""
CALIBRATION = 2000
"""Samples by which the gates are set."""
ROUNDS = 30
CALLS = 10
"""Of a round, by configuration."""

Call = Callable[[], Tensor]


def adaptive(config: MlpConfig) -> LowRankMLP:
    """Random weights, and gates whose decisions spread samples as ``SHARES`` says.

    All gates of a layer read the same mixture of the first rank block, against thresholds that
    rise, which are quantiles over random samples.
    """
    model = LowRankMLP(config).eval()
    x = samples(CALIBRATION)
    for part in ranked_layers(model).values():
        spread(part.layer, x)
        x = torch.relu(part.layer(x)[0])
    return model


def spread(layer: LowRankLayer, x: Tensor) -> None:
    """Let a layer's gate spread the samples x over its levels."""
    beyond = 1 - torch.tensor(SHARES).cumsum(dim=0)[:-1]
    layer.gate.weight.copy_(torch.randn_like(layer.gate.weight[:1]))
    layer.gate.bias.zero_()
    gains = layer.gate.gains(layer.features(x))
    layer.gate.bias.copy_(-torch.quantile(gains[:, 0], 1 - beyond))


def samples(count: int) -> Tensor:
    """Random samples of the width of a digit."""
    return torch.rand(count, MlpConfig().inputs)


def products(model: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of a call."""
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2


def configurations(model: nn.Module, x: Tensor, *, half: bool) -> dict[str, Call]:
    """Ways to run a model on the samples x."""
    found: dict[str, Call] = {}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        if dtype == torch.float32 or half:
            cast, given = copy.deepcopy(model).to(dtype), x.to(dtype)
            compiled = torch.compile(cast, dynamic=False)
            found[f"{name} eager"] = lambda run=cast, given=given: run(given)
            found[f"{name} compiled"] = lambda run=compiled, given=given: run(given)
    return found


def least_s(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Least seconds of a call, by configuration."""
    least = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def bench_perceptron(batch: int, rounds: int) -> list[Row]:
    """Rows of the perceptron: in float32, and where both may round its numbers to bfloat16."""
    torch.manual_seed(batch)
    config = MlpConfig(dropout=0.0)
    ours, dense = adaptive(config), DenseMLP(config).eval()
    exact = bench_pair("784-512-512-10", ours, dense, samples(batch), rounds)
    torch.set_float32_matmul_precision("medium")
    try:
        rounded = bench_pair("784-512-512-10 rounded", ours, dense, samples(batch), rounds)
    finally:
        torch.set_float32_matmul_precision("highest")
    return [exact, rounded]


def bench_convolution(batch: int, rounds: int) -> Row:
    """A row of the convolution."""
    torch.manual_seed(batch)
    layer = DynamicLowRankConv2d(64, 64, 3, image_size=(16, 16), padding=1, levels=(4, 8, 16, 32))
    ours, dense = Ranked(layer).eval(), nn.Conv2d(64, 64, 3, padding=1, bias=False)
    spread(layer, torch.rand(CALIBRATION // 10, 64, 16, 16))
    return bench_pair("3 x 3 convolution", ours, dense, torch.rand(batch, 64, 16, 16), rounds)


def check(outputs: Tensor, right: Tensor, *, rounded: bool) -> None:
    """Raise AssertionError unless they agree; rounded gates may decide otherwise now and then."""
    if not rounded:
        torch.testing.assert_close(outputs, right)
        return
    error = (outputs - right).abs().amax(dim=1) / right.abs().max()
    assert (error < 0.02).float().mean() > 0.9, error


def bench_one_gate(batch: int, rounds: int, *, early_exit: bool) -> Row:
    """A row of the perceptron with one gate, which reads what it says at its lowest level."""
    torch.manual_seed(batch)
    config = MlpConfig(dropout=0.0, early_exit=early_exit)
    dense, x, some = DenseMLP(config).eval(), samples(batch), samples(CALIBRATION)
    ours = AdaptiveModel(LowRankMLP(config).eval(), x).eval()
    features, _ = ours.scorer.score(ours.model, some)
    ours.gate.weight.copy_(torch.randn_like(ours.gate.weight[:1]))
    ours.gate.bias.zero_()
    beyond = 1 - torch.tensor(SHARES).cumsum(dim=0)[:-1]
    gains = ours.gate.gains(features)[:, 0]
    ours.gate.bias.copy_(-torch.quantile(gains, 1 - beyond))
    outputs, levels = ours(x, price=0.0)
    right = ours.model.double().forward_levels(x.double())[levels, torch.arange(batch)].float()
    torch.testing.assert_close(outputs, right)
    ours.model.float()
    run = {"adaptive f32 eager": lambda: ours(x, price=0.0)[0]}
    name = f"784-512-512-10 with one gate{' and an early exit' if early_exit else ''}"
    return compared(name, run, ours, dense, x, rounds)


def bench_pair(name: str, ours: nn.Module, dense: nn.Module, x: Tensor, rounds: int) -> Row:
    """Ours, as it is and compiled, beside all configurations of the dense twin."""
    torch._dynamo.reset()
    mine = {f"adaptive {way}": call for way, call in configurations(ours, x, half=False).items()}
    with torch.enable_grad():
        right = ours(x).detach()  # By torch alone: the kernels leave gradients to it.
    for call in mine.values():
        check(call(), right, rounded="rounded" in name)
    return compared(name, mine, ours, dense, x, rounds)


def compared(
    name: str, mine: dict[str, Call], ours: nn.Module, dense: nn.Module, x: Tensor, rounds: int
) -> Row:
    """A row of our calls, which run ``ours`` on x, beside all configurations of the dense twin."""
    ratio = products(dense, x) / products(ours, x)
    twins = {f"dense {way}": call for way, call in configurations(dense, x, half=True).items()}
    microseconds = {way: 1e6 * value for way, value in least_s(mine | twins, rounds).items()}
    peers = {way: microseconds[way] for way in twins}
    best = min(microseconds[way] for way in mine)
    same = min(value for way, value in peers.items() if way.startswith("dense f32"))
    case = f"{name}, batch {len(x)}, {ratio:.1f} times fewer products"
    found = row(case, "duration", "µs", best, peers, same / ratio)
    each = ", ".join(f"{way} {value:.0f}" for way, value in microseconds.items())
    kept, of_any = (100 * twin / ratio / best for twin in (same, min(peers.values())))
    print(
        f"{case}: {each} µs; {kept:.0f} % of the ratio kept over float32, "
        f"{of_any:.0f} % over the fastest twin",
        flush=True,
    )
    return found


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        rounds = ROUNDS // 5 if options.quick else ROUNDS
        rows = [found for batch in BATCHES for found in bench_perceptron(batch, rounds)]
        rows += [
            bench_one_gate(batch, rounds, early_exit=leaves)
            for leaves in (False, True)
            for batch in BATCHES
        ]
        rows += [bench_convolution(batch, rounds) for batch in BATCHES[:2]]
    if options.json:
        write(options.json, rows, ("torch", "numba", "numpy"))


if __name__ == "__main__":
    main()
