"""Recordings of event cameras: which pixel became brighter or darker, and when."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ConfigError

_MOST = 255
"""Events of one pixel and polarity in one step that a byte can count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """The events of ``n`` recordings one after the other, all arrays read-only.

    Attributes:
        width, height: of the sensor [pixels].
        t_us: time since the start of the recording [µs], shape (events,), integers.
        x, y: column and row of the pixel, from 0.
        p: polarity, 1 brighter and 0 darker.
        offset: where each recording starts, and the number of all events, shape (n + 1,), int64.

    Raises:
        ConfigError: ``ADL-DAT-05`` when the arrays do not fit together, or an event lies before
            the start or outside the sensor.
    """

    width: int
    height: int
    t_us: NDArray[np.integer[Any]]
    x: NDArray[np.integer[Any]]
    y: NDArray[np.integer[Any]]
    p: NDArray[np.integer[Any]]
    offset: NDArray[np.int64]

    def __post_init__(self) -> None:
        wrong = self._what_is_wrong()
        if wrong:
            raise ConfigError(
                wrong,
                where="Events",
                remedy="pass integers of one length, times and pixels from 0, polarity 0 or 1, and "
                "rising offsets from 0 to the number of events",
                code="ADL-DAT-05",
            )
        for values in (self.t_us, self.x, self.y, self.p, self.offset):
            values.setflags(write=False)

    def _what_is_wrong(self) -> str:
        total = self.t_us.shape
        most = {"t_us": None, "x": self.width, "y": self.height, "p": 2}
        for name, limit in most.items():
            values = getattr(self, name)
            if values.ndim != 1 or values.shape != total or values.dtype.kind not in "iu":
                return f"{name} is {values.dtype} of shape {values.shape} for times of {total}"
            if len(values) and (values.min() < 0 or (limit is not None and values.max() >= limit)):
                return f"{name} lies between {values.min()} and {values.max()}"
        offset = self.offset
        rises = offset.ndim == 1 and len(offset) > 1 and bool((np.diff(offset) >= 0).all())
        if not rises or offset.dtype != np.int64 or (offset[0], offset[-1]) != (0, *total):
            return f"offsets are {offset.dtype} of shape {offset.shape} for {total[0]} events"
        return ""

    def __len__(self) -> int:
        return len(self.offset) - 1

    def pick(self, which: NDArray[np.bool_]) -> Events:
        """The recordings at which ``which``, shape (n,), is true."""
        lengths = np.diff(self.offset)
        kept = np.repeat(which, lengths)
        return Events(
            width=self.width,
            height=self.height,
            t_us=self.t_us[kept],
            x=self.x[kept],
            y=self.y[kept],
            p=self.p[kept],
            offset=np.concatenate([[0], np.cumsum(lengths[which])]).astype(np.int64),
        )

    def frames(self, step_us: int, steps: int, *, counts: bool = False) -> NDArray[np.uint8]:
        """The events of each step, as a network takes them in.

        Args:
            step_us: length of a step [µs], at least 1.
            steps: number of steps, at least 1; later events are left out.
            counts: how many events a pixel has in a step, instead of whether it has any.

        Returns:
            Shape (n, steps, 2 * height * width), in the order (polarity, row, column).

        Raises:
            ConfigError: ``ADL-DAT-03`` when a step or their number is less than 1, or when a byte
                cannot hold a count.
        """
        if step_us < 1 or steps < 1:
            raise _unframed(
                f"{steps} steps of {step_us} µs hold nothing", "choose 1 or more of each"
            )
        width = 2 * self.height * self.width
        frames = np.zeros((len(self), steps * width), np.uint8)
        for number, (start, stop) in enumerate(pairwise(self.offset)):
            of = slice(start, stop)
            step = self.t_us[of].astype(np.int64) // step_us
            row = self.p[of].astype(np.int64) * self.height + self.y[of]
            place = step * width + row * self.width + self.x[of]
            counted = np.bincount(place[step < steps], minlength=steps * width)
            if counts and counted.max() > _MOST:
                raise _unframed(
                    f"recording {number} has {counted.max()} events of one pixel in one step",
                    f"choose shorter steps, so that there are {_MOST} at most, or no counts",
                )
            frames[number] = counted if counts else counted > 0
        return frames.reshape(len(self), steps, width)


def _unframed(message: str, remedy: str) -> ConfigError:
    return ConfigError(message, where="Events.frames", remedy=remedy, code="ADL-DAT-03")
