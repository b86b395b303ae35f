"""Residual networks for 32 x 32 images, and their adaptive form.

The networks of He et al. (Deep Residual Learning, 2016, section 4.2): a 3 x 3 convolution to 16
channels, three stages of n blocks with 16, 32 and 64 channels, global mean, one linear layer; depth
6 n + 2. Shortcuts between stages take every second pixel and pad channels with zeros (option A), so
they have no weights. Names of weights are those of the checkpoints that are published for it:
``conv1``, ``bn1``, ``layer{1,2,3}.{i}.{conv,bn}{1,2}``, ``linear``.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.conversion import ConversionReport, convert
from adlrns_neuro.conversion.statistics import Batch
from mapping.errors import ConfigError

STAGES = (16, 32, 64)
"""Channels."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    Args:
        channels_in, channels: before and in the block.
        stride: of the first convolution; 2 halves the image.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = channels - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels_in, h, w) to (n, channels, h / stride, w / stride)."""
        changed = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        before = self.added // 2
        kept = F.pad(
            x[..., :: self.stride, :: self.stride],
            (0, 0, 0, 0, before, self.added - before),
        )
        return F.relu(changed + kept)


class CifarResNet(nn.Module):
    """A residual network for 32 x 32 images.

    Args:
        depth: 6 n + 2 layers: 20, 32, 44, 56, …
        classes: outputs.

    Raises:
        ConfigError: ``ADL-RES-01`` unless depth is 6 n + 2 with n at least 1.
    """

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise ConfigError(
                f"there is no such network of {depth} layers",
                where="CifarResNet.depth",
                remedy="choose 6 n + 2, such as 20, 32, 44 or 56",
                code="ADL-RES-01",
            )
        self.conv1 = nn.Conv2d(3, STAGES[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0])
        self.layer1 = _stage(STAGES[0], STAGES[0], blocks, 1)
        self.layer2 = _stage(STAGES[0], STAGES[1], blocks, 2)
        self.layer3 = _stage(STAGES[1], STAGES[2], blocks, 2)
        self.linear = nn.Linear(STAGES[2], classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(-2, -1)))
        return logits


def adlrns_resnet(
    depth: int,
    calibration_loader: Iterable[Batch],
    *,
    share: Sequence[float] = (0.25, 0.5, 0.75),
    weights: Path | None = None,
    classes: int = 10,
) -> tuple[nn.Module, ConversionReport]:
    """A residual network with a rank per image in every convolution.

    Args:
        depth, classes: see :class:`CifarResNet`.
        calibration_loader: batches (images, labels), see :func:`~adlrns_neuro.conversion.convert`.
        share: of the full network's multiply-accumulates, one level each.
        weights: a checkpoint to start from, see :func:`load_weights`; random ones if None.

    Raises:
        ConfigError: ``ADL-RES-01``, ``ADL-RES-02``, or those of ``convert``.
    """
    model = CifarResNet(depth, classes)
    if weights is not None:
        load_weights(model, weights)
    return convert(model, calibration_loader, share=share)


def load_weights(model: CifarResNet, path: Path) -> None:
    """Take over a published checkpoint, in place: a state dict, or one under ``"state_dict"``.

    A prefix ``module.`` of its names, which training on several GPUs leaves, is dropped. The file
    is read as weights only, so it runs no code.

    Raises:
        ConfigError: ``ADL-RES-02`` when the file holds no weights of such a network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.get("state_dict", content)
        model.load_state_dict({name.removeprefix("module."): w for name, w in state.items()})
    except (
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"no weights of this network: {reason}",
            where=str(path),
            remedy="pass a checkpoint of the same depth and number of classes",
            code="ADL-RES-02",
        ) from error


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(ResidualBlock(channels, channels, 1) for _ in range(blocks - 1)))
