"""Convolutions whose rank is chosen at every call, for every image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.perf import PerfEstimator
from mapping.errors import ConfigError
from mapping.lowrank import whitened_svd

Pair = tuple[int, int]
"""Of the vertical and the horizontal direction."""


class DynamicLowRankConv2d(LowRankLayer):
    """Convolution in two steps: r kernels V, then U, which mixes their r outputs at every pixel.

    With weights W (out, channels, kh, kw), unfolded to a matrix of ``fan_in`` = channels · kh · kw
    columns, W ≈ U Vᵀ. Called as ``layer(x)`` it chooses a rank for each image of x, shape
    (..., channels, height, width); :meth:`at_rank` and :meth:`forward_levels` run given ranks. The
    gate reads the spatial mean of the first ``levels[0]`` channels between the factors.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.
        kernel_size: height and width of a kernel, or both in one number.
        image_size: height and width of the images that ``energies_mj`` and the gate's costs are
            modelled for; images of other sizes run too.
        stride, padding, dilation: as in :class:`torch.nn.Conv2d`, in numbers.
        levels, r_max, r_min, level_bias, level_gain, scorer_hidden, perf_estimator: as in
            :class:`~adlrns_neuro.layers.linear.DynamicLowRankLayer`; r_max is at most
            min(fan_in, out_channels).

    Attributes:
        U: output factor, shape (out_channels, r_max), a parameter.
        V: kernels, shape (r_max, in_channels, kh, kw), a parameter.
        in_channels, out_channels, kernel_size, stride, padding, dilation, image_size: as given,
            pairs where both directions count.
        level_bias, level_gain, levels, gate, energies_mj: see
            :class:`~adlrns_neuro.layers.base.LowRankLayer`.

    Raises:
        ConfigError: ``ADL-LAY-01`` when the levels are not strictly ascending ranks that fit,
            ``ADL-LAY-05`` when the kernel does not fit on the image, ``ADL-GAT-01`` on a negative
            ``scorer_hidden``.
    """

    SAMPLE_AXES: ClassVar[int] = 3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        image_size: Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        levels: Sequence[int] | None = None,
        r_max: int | None = None,
        r_min: int | None = None,
        level_bias: bool = False,
        level_gain: bool = False,
        scorer_hidden: int = 0,
        perf_estimator: PerfEstimator | None = None,
    ) -> None:
        kernel, steps, margin, spread = map(_pair, (kernel_size, stride, padding, dilation))
        height, width = _output_size(image_size, kernel, steps, margin, spread)
        # What _input_factor_shape needs stands before the base's constructor, which calls it.
        self._kernel_shape = (in_channels, *kernel)
        super().__init__(
            in_channels * kernel[0] * kernel[1],
            out_channels,
            levels=levels,
            r_max=r_max,
            r_min=r_min,
            level_bias=level_bias,
            level_gain=level_gain,
            scorer_hidden=scorer_hidden,
            perf_estimator=perf_estimator,
            positions=height * width,
            activations=in_channels * image_size[0] * image_size[1] + out_channels * height * width,
        )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel
        self.image_size = image_size
        self.stride = steps
        self.padding = margin
        self.dilation = spread

    @classmethod
    def from_dense(
        cls,
        weight: Tensor,
        second_moment: Tensor,
        levels: Sequence[int],
        *,
        image_size: Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Self:
        """Start from a trained convolution by activation-whitened SVD at r_max.

        Args:
            weight: kernels, shape (out, channels, kh, kw).
            second_moment: E[p pᵀ] of the patches p that the kernels see, the padding included, in
                the order of :func:`torch.nn.functional.unfold`; shape (fan_in, fan_in).
            levels, image_size, stride, padding, dilation: as in the constructor.

        Raises:
            ConfigError: those of the constructor, or ``ADL-LRK-01`` to ``ADL-LRK-04`` from
                :func:`mapping.lowrank.whitened_svd`.
        """
        out_channels, in_channels, height, width = weight.shape
        layer = cls(
            in_channels,
            out_channels,
            (height, width),
            image_size=image_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            levels=levels,
        ).to(weight)
        U, V = whitened_svd(
            weight.detach().flatten(1).cpu().numpy(),
            second_moment.detach().cpu().numpy(),
            layer.levels[-1],
        )
        layer.load_factors(torch.from_numpy(U), torch.from_numpy(V))
        return layer

    def load_factors(self, U: Tensor, V: Tensor) -> None:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.load_factors`."""
        with torch.no_grad():
            self.U.copy_(U)
            self.V.copy_(V.T.reshape(self.V.shape))

    def input_matrix(self) -> Tensor:
        """See :meth:`~adlrns_neuro.layers.base.LowRankLayer.input_matrix`."""
        return self.V.flatten(1).T

    def extra_repr(self) -> str:
        """What ``print`` shows besides the gate."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"levels={self.levels}"
        )

    def _input_factor_shape(self, rank: int) -> tuple[int, ...]:
        return (rank, *self._kernel_shape)

    def _encode(self, x: Tensor, low: int, high: int) -> Tensor:
        return F.conv2d(
            x,
            self.V[low:high],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    def _project(self, z: Tensor, low: int = 0) -> Tensor:
        mix = self.U[:, low : low + z.shape[-3], None, None]
        outputs = F.conv2d(z.reshape(-1, *z.shape[-3:]), mix)
        return outputs.reshape(*z.shape[:-3], *outputs.shape[1:])

    def _gate_features(self, first: Tensor) -> Tensor:
        return first.mean(dim=(-2, -1))

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[-3] != self.in_channels:
            raise ConfigError(
                f"x has shape {tuple(x.shape)}",
                where="DynamicLowRankConv2d.x",
                remedy=f"pass (..., in_channels, height, width) = (..., {self.in_channels}, h, w)",
                code="ADL-LAY-03",
            )
        return x


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _output_size(image: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Height and width of the output of a convolution, see :class:`torch.nn.Conv2d`."""
    sides = [
        (size + 2 * margin - spread * (extent - 1) - 1) // step + 1
        for size, extent, step, margin, spread in zip(
            image, kernel, stride, padding, dilation, strict=True
        )
    ]
    if min(sides) < 1:
        raise ConfigError(
            f"a kernel of {kernel} with dilation {dilation} does not fit on an image of {image} "
            f"with padding {padding}",
            where="DynamicLowRankConv2d.image_size",
            remedy="give the height and width of the images that the layer will see",
            code="ADL-LAY-05",
        )
    return sides[0], sides[1]
