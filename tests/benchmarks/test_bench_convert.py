from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bench_convert import (
    accuracy,
    converted,
    convolutional,
    divergence,
    images,
    perceptron,
    trained,
)

from adlrns_neuro.models import CifarResNet


def test_rows_say_what_was_kept_and_what_it_costs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "cifar10").mkdir()
    shapes = {"train": 16, "test": 12}
    arrays = {f"x_{part}": rng.integers(0, 256, (n, 32, 32, 3)) for part, n in shapes.items()}
    arrays |= {f"y_{part}": rng.integers(0, 10, n) for part, n in shapes.items()}
    np.savez(tmp_path / "cifar10" / "cifar10_lossless_small.npz", **arrays)
    train, test = images(tmp_path, 8)
    assert train[0][0].shape == (16, 3, 32, 32)
    assert test[0][0].shape == (8, 3, 32, 32)
    torch.manual_seed(0)
    model = CifarResNet(8).eval()
    loss = divergence(model)
    assert float(loss(model, train[0]).detach()) == pytest.approx(0.0, abs=1e-6)
    assert 0.0 <= accuracy(model, test) <= 100.0
    rows = converted(model, train, test, "whitened", {"loss": loss}, "macs", 50.0)
    assert len(rows) == 2
    for row, share in zip(rows, ("50%", "84%"), strict=True):
        assert share in str(row["case"])
        assert row["peers"] == {"full network": 50.0}


def test_the_small_networks_learn_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench_convert.DIGITS_EPOCHS", 3)
    torch.manual_seed(0)
    model, train, test = trained(perceptron())
    assert [len(labels) for _, labels in train + test] == [300] * 4 + [597]
    assert accuracy(model, test) > 80.0
    assert convolutional()(train[0][0]).shape == (300, 10)
