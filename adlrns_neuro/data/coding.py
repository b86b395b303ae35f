"""From integer pixels to what the input population sends in each step.

*Direct* and *delta* coding send graded payloads; *rate* and *latency* coding send spikes 0 or 1, as
a chip without graded spikes demands. All are deterministic.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adlrns_neuro.data.digits import PIXEL_MAX
from mapping.errors import ConfigError

Coding = Literal["direct", "delta", "rate", "latency"]

_PHASE_STRIDE = 5
"""Odd, so that 16 neighbours have all 16 phases; 5 also parts the rows of 8 pixels."""


def code(images: NDArray[np.int64], steps: int, coding: Coding) -> NDArray[np.int64]:
    """Payloads of ``images`` in the coding called ``coding``.

    Args:
        images: integer pixels 0 to ``PIXEL_MAX``, shape (n, 64).
        steps: number of steps, at least 1.
        coding: its name.

    Returns:
        Payloads, shape (n, steps, 64): the layout of a stimulus file.

    Raises:
        ConfigError: ``ADL-COD-01`` when there is no such coding.
    """
    if is_binary(coding):
        if coding == "latency":
            return latency_code(images, steps)
        return rate_code(images, steps, phases=spread_phases(images.shape[1]))
    return direct_code(images, steps) if coding == "direct" else delta_code(images, steps)


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


def direct_code(images: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Graded direct coding: the same pixel values are sent as payloads at every step.

    Source: Rathi and Roy, DIET-SNN (IEEE TNNLS, 2021), who let the first layer see the analogue
    input in every step. Arguments and result are those of :func:`code`.
    """
    return np.repeat(images[:, np.newaxis, :], steps, axis=1)


def delta_code(images: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Graded delta coding: changes alone are sent, of a still image the pixels at step 0.

    Source: O'Connor and Welling, Sigma Delta Quantized Networks (ICLR, 2017). Arguments and result
    are those of :func:`code`.
    """
    payloads = np.zeros((len(images), steps, images.shape[1]), dtype=np.int64)
    payloads[:, 0] = images
    return payloads


def rate_code(
    images: NDArray[np.int64], steps: int, *, phases: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Binary rate coding: pixel p spikes in p of 16 steps, as evenly as steps allow.

    Every pixel counts up by p per step and spikes whenever it passes a multiple of 16: an
    integrate-and-fire neuron with constant input (Rueckauer et al., Frontiers in Neuroscience 11,
    2017), without its random start.

    Args:
        images: integer pixels 0 to ``PIXEL_MAX``, shape (n, 64).
        steps: number of steps, at least 1.
        phases: where each pixel starts to count, 0 to 15, shape (64,); all at 0 if not given, so
            that pixels of one value spike together.

    Returns:
        Spikes 0 or 1, shape (n, steps, 64): ``(steps * p + phase) // 16`` of each pixel.
    """
    start = np.zeros(images.shape[1], dtype=np.int64) if phases is None else phases
    counted = images[:, np.newaxis, :] * np.arange(steps + 1)[:, np.newaxis] + start
    return np.diff(counted // PIXEL_MAX, axis=1)


def spread_phases(pixels: int) -> NDArray[np.int64]:
    """A fixed phase for each of ``pixels`` pixels, 0 to 15, different for close neighbours."""
    phases: NDArray[np.int64] = np.arange(pixels) * _PHASE_STRIDE % PIXEL_MAX
    return phases


def latency_code(images: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Binary latency coding: each pixel but the black ones spikes once, the brighter the earlier.

    Full brightness spikes at step 0, the rest evenly later. Source: Thorpe, Delorme and Van Rullen,
    Spike-based strategies for rapid processing (Neural Networks 14, 2001). Arguments and result are
    those of :func:`code`.
    """
    first = (PIXEL_MAX - images) * steps // PIXEL_MAX
    spikes: NDArray[np.bool_] = first[:, np.newaxis, :] == np.arange(steps)[:, np.newaxis]
    return spikes.astype(np.int64)
