"""Batch normalisation in a model that runs at several ranks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.layers.ranked import Ranked

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
"""What has a form with statistics of each level."""


class LevelBatchNorm(nn.Module):
    """Batch normalisation whose running statistics are those of each level.

        y = (x - mean[k]) / sqrt(var[k] + eps) · weight + bias

    A lower rank changes means and variances of what follows. One pair of running statistics, moved
    by all levels in turn, is none of theirs, as Yu et al. (Slimmable Neural Networks, 2019) found
    of widths; weight and bias are shared here. The level k is that at which the layer ``follows``
    ran last. In training, one level for all samples is normalised by the batch and moves the
    statistics of this level; a batch of several levels is normalised by the batch as well, and
    moves none.

    Args:
        norm: whose weights and settings it takes over, and whose statistics every level starts
            with.
        levels: of the model.
        follows: the low-rank layer that runs before it.

    Attributes:
        weight, bias: shape (channels,), parameters; None without.
        running_mean, running_var: shape (levels, channels), buffers.
        num_batches_tracked: batches that moved them, shape (levels,), a buffer.
        eps, momentum: as of torch's; a momentum of None makes statistics plain means over batches.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: BatchNorm, levels: int, follows: Ranked) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        self._plain = type(norm)
        self.eps, self.momentum = norm.eps, norm.momentum
        self.register_parameter("weight", norm.weight)
        self.register_parameter("bias", norm.bias)
        self.register_buffer("running_mean", norm.running_mean.repeat(levels, 1))
        self.register_buffer("running_var", norm.running_var.repeat(levels, 1))
        self.register_buffer("num_batches_tracked", norm.num_batches_tracked.repeat(levels))
        # In a tuple it is no sub-module: it has its own place in the model.
        self._follows = (follows,)
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalised ``input``, shape (n, channels, ...), which torch's own layers call so too."""
        level = self._follows[0].ran
        if isinstance(level, int):
            return self._at(min(level, len(self.running_mean) - 1), input)
        if self.training:
            return F.batch_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)
        everywhere = (..., *[None] * (input.ndim - 2))
        mean, scale = self.running_mean[level], (self.running_var[level] + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        outputs = (input - mean[everywhere]) * scale[everywhere]
        return outputs if self.bias is None else outputs + self.bias[everywhere]

    def forget(self, momentum: float | None) -> None:
        """Start all statistics anew, to be moved with ``momentum``."""
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        self.num_batches_tracked.zero_()
        self.momentum = momentum

    def plain(self, level: int) -> BatchNorm:
        """Torch's own normalisation with the statistics of one level, in evaluation as this."""
        channels = self.running_mean.shape[1]
        made = self._plain(channels, self.eps, self.momentum, self.weight is not None)
        made.to(self.running_mean)
        made.load_state_dict(
            {
                name: value[level] if name not in ("weight", "bias") else value
                for name, value in self.state_dict().items()
            }
        )
        return made.train(self.training)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        levels, channels = self.running_mean.shape
        return f"{channels}, levels={levels}, eps={self.eps}, momentum={self.momentum}"

    def _at(self, level: int, input: Tensor) -> Tensor:
        """``input`` with all samples at one level."""
        share = 0.0
        if self.training:
            self.num_batches_tracked[level] += 1
            tracked = int(self.num_batches_tracked[level])
            share = 1.0 / tracked if self.momentum is None else self.momentum
        return F.batch_norm(
            input,
            self.running_mean[level],
            self.running_var[level],
            self.weight,
            self.bias,
            self.training,
            share,
            self.eps,
        )
