"""Residual networks: their form, published weights, and conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.errors import refused
from support.shared import shared_data
from torch import Tensor, nn

from adlrns_neuro import convert, materialize
from adlrns_neuro.models.resnet import CifarResNet, adlrns_resnet, load_weights
from adlrns_neuro.ranks import at_level, level_count, ranked_layers
from mapping.errors import ConfigError

PUBLISHED = {20: "resnet20-12fca82f.th", 56: "resnet56-4bfd9763.th"}


def loader() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(8, 3, 32, 32), torch.randint(10, (8,)))]


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722), (56, 853_018)])
def test_it_has_the_published_number_of_weights(depth: int, weights: int) -> None:
    model = CifarResNet(depth)
    assert sum(part.numel() for part in model.parameters()) == weights
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [2, 18, 48, -4])
def test_other_depths_are_refused(depth: int) -> None:
    with refused(ConfigError, "ADL-RES-01", where="depth", remedy="20, 32, 44 or 56"):
        CifarResNet(depth)


def test_shares_of_the_full_network_become_levels() -> None:
    model, report = adlrns_resnet(8, loader(), share=(0.5, 0.75))
    assert level_count(model) == 2
    stages = 9 * (2 * 16**2 * 1024 + (16 + 32) * 32 * 256 + (32 + 64) * 64 * 64)
    assert report.macs_before == 9 * 3 * 16 * 1024 + stages + 640
    for level, share in enumerate((0.5, 0.75)):
        assert 0.9 * share < report.macs_after(level) / report.macs_before <= share
    x = torch.randn(3, 3, 32, 32)
    plain = materialize(model.eval(), 0)
    with at_level(model, 0), torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), atol=1e-4, rtol=1e-4)


def test_weights_survive_a_file_with_the_prefix_of_parallel_training(tmp_path: Path) -> None:
    model, twin = CifarResNet(8), CifarResNet(8)
    path = tmp_path / "weights.th"
    named = {f"module.{name}": weight for name, weight in model.state_dict().items()}
    torch.save({"state_dict": named, "best": 1.0}, path)
    load_weights(twin, path)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(twin(x), model(x))
    for wrong in (CifarResNet(14), CifarResNet(8, classes=9)):
        with refused(ConfigError, "ADL-RES-02", where="weights.th", remedy="same depth"):
            load_weights(wrong, path)
    for damaged in (b"no weights", b""):
        path.write_bytes(damaged)
        with refused(ConfigError, "ADL-RES-02", where="weights.th"):
            adlrns_resnet(8, loader(), weights=path)


def test_published_weights_classify_and_survive_conversion() -> None:
    model = CifarResNet(20).eval()
    load_weights(model, shared_data("cifar_resnet", PUBLISHED[20]))
    with np.load(shared_data("cifar10", "cifar10_lossless_small.npz")) as data:
        images = torch.tensor(data["x_test"][:200]).permute(0, 3, 1, 2) / 255.0
        labels = torch.tensor(data["y_test"][:200]).long()
        seen = torch.tensor(data["x_train"][:32]).permute(0, 3, 1, 2) / 255.0
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    names = [f"layer3.{block}.conv{conv}" for block in (1, 2) for conv in (1, 2)]
    converted, _ = convert(model, [(seen - mean) / deviation], ranks=dict.fromkeys(names, 40))

    def accuracy(tested: nn.Module) -> float:
        with torch.no_grad():
            hits = tested((images - mean) / deviation).argmax(dim=1) == labels
        return float(hits.float().mean())

    assert accuracy(model) > 0.89
    assert accuracy(materialize(converted)) > accuracy(model) - 0.03


def test_a_resnet_50_converts() -> None:
    vision = pytest.importorskip("adlrns_neuro.vision").import_torchvision()
    model = vision.models.resnet50(weights=None, num_classes=10).eval()
    x = torch.randn(2, 3, 32, 32)
    names = {"conv1": 16, "layer1.0.conv2": (8, 16), "layer2.0.downsample.0": 32, "fc": 4}
    converted, report = convert(model, [x], ranks=names)
    assert set(ranked_layers(converted)) == set(names)
    assert len(report.layers) == 54
    with torch.no_grad():
        plain = materialize(converted)
        torch.testing.assert_close(plain(x), converted.eval()(x), atol=1e-4, rtol=1e-3)
