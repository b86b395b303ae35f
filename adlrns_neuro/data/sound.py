"""From sound waves to features of an ear's kind, and from features to spikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mapping.errors import ConfigError

RATE_HZ = 8000
"""Sampling rate of the waves."""
_WINDOW = 256
_HOP = 128
_LOWEST_HZ = 20.0
_FULL_SCALE = 2**15
_QUIETEST = 1e-6
"""Power that is added before the logarithm, and to the deviation: silence stays finite."""


def log_mel(
    waves: Sequence[NDArray[np.int16]], *, frames: int = 64, mels: int = 40
) -> NDArray[np.float32]:
    """Logarithmic power in bands that are equally wide on the mel scale.

    Windows of 32 ms (Hann) start every 16 ms. The bands are triangles that overlap by half, from
    20 Hz to 4 kHz; mel = 2595·log10(1 + Hz/700) (O'Shaughnessy, Speech communication, 1987). Each
    recording is brought to mean 0 and standard deviation 1 on its own, over all that is kept of it,
    and followed by zeros.

    Args:
        waves: samples at 8 kHz, int16, at least one in each.
        frames: windows that are kept of each recording; later ones are left out.
        mels: number of bands, at least 1.

    Returns:
        Features, shape (n, frames, mels).

    Raises:
        ConfigError: ``ADL-DAT-03`` when there is no frame or band, or when bands are so narrow that
            one holds no frequency of the spectrum.
    """
    if frames < 1 or mels < 1:
        raise _unheard(
            f"{frames} frames of {mels} bands hold nothing", "log_mel", "choose 1 or more of each"
        )
    bands, window = _bands(mels), np.hanning(_WINDOW)
    if not bands.any(axis=1).all():
        raise _unheard(
            f"of {mels} bands some lie between two frequencies of the spectrum",
            "log_mel.mels",
            "choose fewer bands",
        )
    features = np.zeros((len(waves), frames, mels), np.float32)
    for feature, wave in zip(features, waves, strict=True):
        padded = np.pad(wave / _FULL_SCALE, (0, max(0, _WINDOW - len(wave))))
        pieces = sliding_window_view(padded, _WINDOW)[::_HOP][:frames]
        power = np.abs(np.fft.rfft(pieces * window)) ** 2
        logs = np.log(power @ bands.T + _QUIETEST)
        feature[: len(logs)] = (logs - logs.mean()) / (logs.std() + _QUIETEST)
    return features


def send_on_delta(features: NDArray[np.floating], threshold: float) -> NDArray[np.uint8]:
    """A spike whenever a feature has moved by more than ``threshold`` since the last one.

    Source: Miskowicz, Send-on-delta concept: an event-based data reporting strategy (Sensors 6,
    2006). The first frame is what movement is first measured from.

    Args:
        features: shape (n, frames, channels).
        threshold: in the features' units, above 0.

    Returns:
        0 or 1, shape (n, frames, 2 * channels): rises of all channels, then falls.

    Raises:
        ConfigError: ``ADL-DAT-03`` when the threshold is not a number above 0.
    """
    if not 0.0 < threshold < np.inf:
        raise _unheard(
            f"a threshold of {threshold} parts nothing", "send_on_delta", "choose one above 0"
        )
    n, frames, channels = features.shape
    spikes = np.zeros((n, frames, 2 * channels), np.uint8)
    told = features[:, 0].copy()
    for frame in range(1, frames):
        now = features[:, frame]
        rises, falls = now - told > threshold, told - now > threshold
        spikes[:, frame, :channels], spikes[:, frame, channels:] = rises, falls
        told = np.where(rises | falls, now, told)
    return spikes


def _bands(mels: int) -> NDArray[np.float64]:
    """Weight of each frequency of the spectrum in each band, shape (mels, frequencies)."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, RATE_HZ / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, mels + 2) / 2595) - 1)
    low, peak, high = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    frequency = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    rising, falling = (frequency - low) / (peak - low), (high - frequency) / (high - peak)
    weights: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None)
    return weights


def _unheard(message: str, where: str, remedy: str) -> ConfigError:
    return ConfigError(message, where=where, remedy=remedy, code="ADL-DAT-03")
