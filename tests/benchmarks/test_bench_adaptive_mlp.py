from __future__ import annotations

import bench_adaptive_mlp
import pytest
import torch

from adlrns_neuro.models.mlp import DenseMLP, MlpConfig
from adlrns_neuro.ranks import ranked_layers


@torch.no_grad()
def test_gates_spread_samples_over_the_levels() -> None:
    torch.manual_seed(0)
    config = MlpConfig(dropout=0.0)
    model = bench_adaptive_mlp.adaptive(config)
    model(bench_adaptive_mlp.samples(1000))
    for part in ranked_layers(model).values():
        assert part.chosen is not None
        for rank, share in zip(config.levels, bench_adaptive_mlp.SHARES, strict=True):
            assert float((part.chosen == rank).float().mean()) == pytest.approx(share, abs=0.05)


@torch.no_grad()
def test_products_are_those_of_the_ranks() -> None:
    torch.manual_seed(0)
    config = MlpConfig(dropout=0.0)
    model = bench_adaptive_mlp.adaptive(config)
    x = bench_adaptive_mlp.samples(50)
    found = bench_adaptive_mlp.products(model, x)
    first, second = (part.chosen for part in ranked_layers(model).values())
    gates = 2 * 50 * 8 * 3
    expected = int(first.sum()) * (784 + 512) + int(second.sum()) * 1024 + 50 * 5120 + gates
    assert found == expected
    dense = DenseMLP(config).eval()
    assert bench_adaptive_mlp.products(dense, x) == 50 * (784 * 512 + 512 * 512 + 5120)


def test_durations_are_those_of_every_configuration() -> None:
    calls = {"slow": lambda: torch.zeros(200_000).cumsum(0), "fast": lambda: torch.zeros(1)}
    found = bench_adaptive_mlp.least_s(calls, 2)
    assert found["slow"] > found["fast"] > 0
