"""From integer pixels to what the input population sends in each step.

*Direct* and *delta* coding send graded payloads; *rate* and *latency* coding send spikes 0 or 1, as
a chip without graded spikes demands. All are deterministic, and send integers of the images' type.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from adlrns_neuro.data.digits import PIXEL_MAX
from mapping.errors import ConfigError

Coding = Literal["direct", "delta", "rate", "latency"]

PixelT = TypeVar("PixelT", bound=np.integer[Any])

_STRIDE_SHARE = 0.382
"""The golden section: phases of pixels in a row, and of the rows, spread evenly."""


def code(
    images: NDArray[PixelT], steps: int, coding: Coding, *, maximum: int = PIXEL_MAX
) -> NDArray[PixelT]:
    """Payloads of ``images`` in the coding called ``coding``.

    Args:
        images: integer pixels 0 to ``maximum``, shape (n, pixels).
        steps: number of steps, at least 1.
        coding: its name.
        maximum: value of a white pixel: 16 of scikit-learn's digits, 255 of 8-bit images.

    Returns:
        Payloads, shape (n, steps, pixels): the layout of a stimulus file.

    Raises:
        ConfigError: ``ADL-COD-01`` when there is no such coding, ``ADL-COD-02`` when images are of
            another shape or type, pixels out of range, or there is no step.
    """
    if is_binary(coding):
        if coding == "latency":
            return latency_code(images, steps, maximum=maximum)
        _check(images, steps, maximum)
        phases = spread_phases(images.shape[1], maximum=maximum)
        return rate_code(images, steps, maximum=maximum, phases=phases)
    coder = direct_code if coding == "direct" else delta_code
    return coder(images, steps, maximum=maximum)


def is_binary(coding: Coding) -> bool:
    """Whether the coding called ``coding`` sends 0 and 1 alone.

    Raises:
        ConfigError: ``ADL-COD-01`` when there is no such coding.
    """
    known = get_args(Coding)
    if coding not in known:
        raise ConfigError(
            f"there is no coding {coding!r}",
            where="coding",
            remedy=f"choose one of {', '.join(known)}",
            code="ADL-COD-01",
        )
    return coding in ("rate", "latency")


def requantised(images: NDArray[PixelT], *, maximum: int, to: int) -> NDArray[PixelT]:
    """Pixels on a coarser scale, for graded payloads of fewer bits: 0 to ``to``, rounded.

    Args:
        images: integer pixels 0 to ``maximum``, shape (n, pixels).
        maximum: value of a white pixel.
        to: value of a white pixel afterwards, 1 to ``maximum``.

    Raises:
        ConfigError: ``ADL-COD-02`` when images or scale are out of range.
    """
    _check(images, 1, maximum)
    if not 1 <= to <= maximum:
        raise _uncodable(f"white cannot become {to} of {maximum}", "to")
    scaled = (2 * to * images.astype(np.int64) + maximum) // (2 * maximum)
    return scaled.astype(images.dtype)


def graded(features: NDArray[np.floating], *, unit: float, maximum: int) -> NDArray[np.uint8]:
    """Features as graded payloads, step by step: in units, rounded; those below 0 send nothing.

    Args:
        features: of any shape, such as bands of sound over frames.
        unit: what a payload of 1 stands for, above 0.
        maximum: largest payload, 1 to 255; larger features send it too.

    Raises:
        ConfigError: ``ADL-COD-03`` when features are not finite, or unit or maximum are out of
            range.
    """
    if not (unit > 0 and 1 <= maximum <= np.iinfo(np.uint8).max and np.isfinite(features).all()):
        raise ConfigError(
            f"features in units of {unit} up to {maximum} are no payloads, or are not finite",
            where="graded",
            remedy="pass finite features, a unit above 0 and a maximum of 1 to 255",
            code="ADL-COD-03",
        )
    payloads: NDArray[np.uint8] = np.clip(np.rint(features / unit), 0, maximum).astype(np.uint8)
    return payloads


def direct_code(
    images: NDArray[PixelT], steps: int, *, maximum: int = PIXEL_MAX
) -> NDArray[PixelT]:
    """Graded direct coding: the same pixel values are sent as payloads at every step.

    Source: Rathi and Roy, DIET-SNN (IEEE TNNLS, 2021), who let the first layer see the analogue
    input in every step. Arguments, result and errors are those of :func:`code`.
    """
    _check(images, steps, maximum)
    return np.repeat(images[:, np.newaxis, :], steps, axis=1)


def delta_code(images: NDArray[PixelT], steps: int, *, maximum: int = PIXEL_MAX) -> NDArray[PixelT]:
    """Graded delta coding: changes alone are sent, of a still image the pixels at step 0.

    Source: O'Connor and Welling, Sigma Delta Quantized Networks (ICLR, 2017). Arguments, result and
    errors are those of :func:`code`.
    """
    _check(images, steps, maximum)
    payloads = np.zeros((len(images), steps, images.shape[1]), dtype=images.dtype)
    payloads[:, 0] = images
    return payloads


def rate_code(
    images: NDArray[PixelT],
    steps: int,
    *,
    maximum: int = PIXEL_MAX,
    phases: NDArray[np.int64] | None = None,
) -> NDArray[PixelT]:
    """Binary rate coding: pixel p spikes in p of ``maximum`` steps, as evenly as steps allow.

    Every pixel counts up by p per step and spikes whenever it passes a multiple of the maximum: an
    integrate-and-fire neuron with constant input (Rueckauer et al., Frontiers in Neuroscience 11,
    2017), without its random start.

    Args:
        images, steps, maximum: as in :func:`code`.
        phases: where each pixel starts to count, 0 to ``maximum - 1``, shape (pixels,); all at 0 if
            not given, so that pixels of one value spike together.

    Returns:
        Spikes 0 or 1, shape (n, steps, pixels): up to step t ``(t * p + phase) // maximum`` of each
        pixel.

    Raises:
        ConfigError: ``ADL-COD-02`` as :func:`code` does.
    """
    _check(images, steps, maximum)
    spikes = np.empty((len(images), steps, images.shape[1]), dtype=images.dtype)
    start = np.zeros(images.shape[1], dtype=np.int64) if phases is None else phases
    counted = np.broadcast_to(start, images.shape).astype(np.int64)
    for step in range(steps):
        passed = counted // maximum
        counted += images
        spikes[:, step] = counted // maximum - passed
    return spikes


def spread_phases(pixels: int, *, maximum: int = PIXEL_MAX) -> NDArray[np.int64]:
    """A fixed phase for each of ``pixels`` pixels, 0 to ``maximum - 1``, far apart for neighbours.

    They are steps of one stride around the scale. It has no divisor in common with the maximum, so
    that as many neighbours have all phases, and is close to the golden section of it.
    """
    longest = max(1, int(_STRIDE_SHARE * maximum))
    stride = next(size for size in range(longest, 0, -1) if gcd(size, maximum) == 1)
    phases: NDArray[np.int64] = np.arange(pixels) * stride % maximum
    return phases


def latency_code(
    images: NDArray[PixelT], steps: int, *, maximum: int = PIXEL_MAX
) -> NDArray[PixelT]:
    """Binary latency coding: each pixel but the black ones spikes once, the brighter the earlier.

    Full brightness spikes at step 0, the rest evenly later. Source: Thorpe, Delorme and Van Rullen,
    Spike-based strategies for rapid processing (Neural Networks 14, 2001). Arguments, result and
    errors are those of :func:`code`.
    """
    _check(images, steps, maximum)
    first = (maximum - images.astype(np.int64)) * steps // maximum
    spikes: NDArray[np.bool_] = first[:, np.newaxis, :] == np.arange(steps)[:, np.newaxis]
    return spikes.astype(images.dtype)


def _check(images: NDArray[Any], steps: int, maximum: int) -> None:
    if images.ndim != 2 or images.dtype.kind not in "iu":
        raise _uncodable(f"images are {images.dtype} of shape {images.shape}", "images")
    if steps < 1 or maximum < 1:
        raise _uncodable(f"{steps} steps of pixels up to {maximum} send nothing", "steps")
    if images.size and not 0 <= images.min() <= images.max() <= maximum:
        raise _uncodable(
            f"pixels are {images.min()} to {images.max()}, not 0 to {maximum}", "images"
        )


def _uncodable(message: str, where: str) -> ConfigError:
    return ConfigError(
        message,
        where=where,
        remedy="pass integers (n, pixels) from 0 to the maximum, which is 255 of 8-bit images, and "
        "1 step or more",
        code="ADL-COD-02",
    )
