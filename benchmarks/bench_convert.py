"""What conversion alone does to the accuracy of trained networks, without training afterwards.

    python benchmarks/bench_convert.py --json out/bench_convert.json [--data-dir DIR]

Two small networks on scikit-learn's digits and, with a DIR of ``cifar_resnet/resnet20-*.th``
and ``cifar10/cifar10_lossless_small.npz`` a published residual network. Factors and ranks come from
training samples; the test samples are looked at once for each figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import Row, row, write
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.conversion import convert, materialize
from adlrns_neuro.models.resnet import CifarResNet, load_weights

Batches = list[tuple[Tensor, Tensor]]

WAYS: dict[str, dict[str, object]] = {
    "plain SVD": {"method": "plain", "match_means": False},
    "whitened": {"match_means": False},
    "whitened, means kept": {},
}
SHARES = (0.5, 0.84)
DIGITS_SHARES = (0.15, 0.25, 0.4)
DIGITS_EPOCHS = 20
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 250


def main() -> None:
    """Convert in every way and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="also convert a residual network")
    parser.add_argument("--depth", type=int, default=20, choices=(20, 32, 44, 56))
    parser.add_argument("--quick", action="store_true", help="one network, one way")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = digits_rows(seeds=1 if options.quick else 4)
    if options.data_dir is not None:
        rows += resnet_rows(options.data_dir, options.depth, quick=options.quick)
    for found in rows:
        print(f"{found['case']}: {found['ours']:.1f} {found['unit']}")
    write(options.json, rows, ["torch", "scikit-learn"])


def digits_rows(seeds: int) -> list[Row]:
    """Mean accuracy over several trainings of a perceptron and of a convolutional network."""
    rows = []
    for name, build in (("perceptron", perceptron), ("convolutional", convolutional)):
        found: dict[str, list[float]] = {}
        full = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            model, train, test = trained(build())
            full.append(accuracy(model, test))
            for way, how in WAYS.items():
                adaptive, _ = convert(model, train, share=DIGITS_SHARES, **how)
                for level, share in enumerate(DIGITS_SHARES):
                    case = f"digits, {name}, {way}, budget {share:.0%} of macs"
                    hit = accuracy(materialize(adaptive, level), test)
                    found.setdefault(case, []).append(hit)
        peers = {"full network": float(np.mean(full))}
        rows += [row(c, "accuracy", "%", float(np.mean(f)), peers) for c, f in found.items()]
    return rows


def resnet_rows(folder: Path, depth: int, *, quick: bool) -> list[Row]:
    """Accuracy of a published residual network, ranks measured by its own answers and by labels."""
    train, test = images(folder, 250 if quick else 1000)
    model = CifarResNet(depth).eval()
    load_weights(model, next((folder / "cifar_resnet").glob(f"resnet{depth}-*")))
    full, loss = accuracy(model, test), divergence(model)
    best = "whitened, means kept"
    cases = [(name, how | {"loss": loss}, "weights") for name, how in WAYS.items()]
    cases.append((best, {"loss": loss}, "macs"))
    cases.append((f"{best}, ranks by the labels", {}, "weights"))
    rows = []
    for name, how, cost in cases[-2:-1] if quick else cases:
        rows += converted(model, train, test, f"ResNet-{depth}, {name}", how, cost, full)
    return rows


def perceptron() -> nn.Module:
    """Of two hidden layers, for 8 x 8 images."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def convolutional() -> nn.Module:
    """Of three convolutions, for 8 x 8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def trained(model: nn.Module) -> tuple[nn.Module, Batches, Batches]:
    """The model after some epochs on two thirds of the digits, those, and the rest."""
    digits = load_digits()
    x, labels = torch.tensor(digits.images / 16.0).float()[:, None], torch.tensor(digits.target)
    train, test = torch.randperm(len(x)).split((1200, len(x) - 1200))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(DIGITS_EPOCHS):
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), labels[batch]).backward()
            optimizer.step()
    batches = [(x[part], labels[part]) for part in train.split(300)]
    return model.eval(), batches, [(x[test], labels[test])]


def converted(
    model: nn.Module,
    train: Batches,
    test: Batches,
    name: str,
    way: dict[str, object],
    cost: str,
    full: float,
) -> list[Row]:
    """Accuracy at every level."""
    adaptive, report = convert(model, train, share=SHARES, cost=cost, sensitivity_batches=1, **way)
    rows = []
    for level, share in enumerate(SHARES):
        plain = materialize(adaptive, level)
        macs = report.macs_after(level) / report.macs_before
        weights = report.weights_after(level) / report.weights_before
        case = f"{name}, budget {share:.0%} of {cost} ({macs:.1%} MAC, {weights:.1%} weights)"
        peers = {"full network": full}
        rows.append(row(case, "accuracy", "%", accuracy(plain, test), peers))
    return rows


def images(folder: Path, count: int) -> tuple[Batches, Batches]:
    """Batches of training and of test images with their classes."""
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    with np.load(folder / "cifar10" / "cifar10_lossless_small.npz") as data:
        sets = [
            (
                (torch.tensor(data[f"x_{part}"][:most]).permute(0, 3, 1, 2) / 255.0 - mean)
                / deviation,
                torch.tensor(data[f"y_{part}"][:most]).long(),
            )
            for part, most in (("train", 2 * count), ("test", count))
        ]
    train, test = (
        list(zip(x.split(BATCH), labels.split(BATCH), strict=True)) for x, labels in sets
    )
    return train, test


def accuracy(model: nn.Module, test: Batches) -> float:
    """Per cent."""
    with torch.no_grad():
        hits = [model(x).argmax(dim=1) == labels for x, labels in test]
    return 100.0 * float(torch.cat(hits).float().mean())


def divergence(full: nn.Module) -> Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]:
    """Kullback-Leibler divergence of a converted network's answers from the full one's."""
    known: dict[int, Tensor] = {}

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        target = known.setdefault(id(batch[0]), full(batch[0]).log_softmax(dim=1))
        answer = F.log_softmax(model(batch[0]), dim=1)
        return F.kl_div(answer, target, log_target=True, reduction="batchmean")

    return loss


if __name__ == "__main__":
    main()
