"""What conversion does to the accuracy of a trained residual network on CIFAR-10, without training.

    python benchmarks/bench_convert.py --data-dir DIR --json out/bench_convert.json

DIR holds ``cifar_resnet/resnet20-*.th`` and ``cifar10/cifar10_lossless_small.npz``. Factors and
ranks come from training images; the test images are looked at once for each figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import Row, row, write
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.conversion import convert, materialize
from adlrns_neuro.models.resnet import CifarResNet, load_weights

SHARES = (0.5, 0.84)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 250


def main() -> None:
    """Convert in every way and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--depth", type=int, default=20, choices=(20, 32, 44, 56))
    parser.add_argument("--quick", action="store_true", help="few images, one way")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = images(options.data_dir, 250 if options.quick else 1000)
    model = CifarResNet(options.depth).eval()
    load_weights(model, next((options.data_dir / "cifar_resnet").glob(f"resnet{options.depth}-*")))
    full = accuracy(model, test)
    ways: dict[str, dict[str, object]] = {
        "plain SVD": {"method": "plain", "match_means": False},
        "whitened": {"match_means": False},
        "whitened, means kept": {},
    }
    loss = divergence(model)
    cases = [(name, way | {"loss": loss}, "weights") for name, way in ways.items()]
    cases.append(("whitened, means kept", {"loss": loss}, "macs"))
    cases.append(("whitened, means kept, ranks by the labels", {}, "weights"))
    rows: list[Row] = []
    for name, way, cost in cases[2:3] if options.quick else cases:
        for found in converted(model, train, test, name, way, cost, full):
            print(f"{found['case']}: {found['ours']:.1f} {found['unit']}", flush=True)
            rows.append(found)
    write(
        options.json, rows, ["torch"], depth=options.depth, test_images=len(test[0][0]) * len(test)
    )


def converted(
    model: nn.Module,
    train: list[tuple[Tensor, Tensor]],
    test: list[tuple[Tensor, Tensor]],
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


def images(
    folder: Path, count: int
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
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


def accuracy(model: nn.Module, test: list[tuple[Tensor, Tensor]]) -> float:
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
