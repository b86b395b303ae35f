"""N-MNIST: MNIST's digits on a screen, seen by an event camera that moves in three saccades.

Source: Orchard, Jayawant, Cohen and Thakor, Converting static image datasets to spiking
neuromorphic datasets using saccades (Frontiers in Neuroscience 9, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adlrns_neuro.data.events import Events
from adlrns_neuro.data.layout import Layout
from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled
from mapping.errors import AdlrnsError

SIDE = 34
"""Width and height of the sensor's window [pixels]."""
_EVENT_BYTES = 5
_OVERFLOW_ROW = 240
"""Row of the marks that say that the sensor's 13-bit clock has started anew."""
_CLOCK_US = 2**13
_CLASSES = tuple(map(str, range(10)))

N_MNIST = Layout(
    name="n-mnist",
    files="Train/0..9/*.bin and Test/0..9/*.bin, or nmnist_small.npz with the arrays t, x, y, p, "
    "offset, label, is_test",
    source="get and unpack the archives Train and Test of N-MNIST",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecordings:
    """The recordings of N-MNIST.

    Attributes:
        events: of all, training first.
        labels: digits, shape (n,), int64.
        is_test: which are of the test part, shape (n,).
    """

    events: Events
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]


@DATASETS.register("n-mnist")
def load_n_mnist(
    data_dir: Path | None, *, step_us: int = 10_000, steps: int = 30, counts: bool = False
) -> DataSet:
    """N-MNIST as frames, uint8, shape (n, steps, 2 * 34 * 34).

    Args:
        data_dir: folder of ``Train`` and ``Test``, or of ``nmnist_small.npz``; the archive is read
            if both are there.
        step_us, steps, counts: as in :meth:`Events.frames`; the three saccades take 300 ms.

    Raises:
        ConfigError: ``ADL-DAT-01`` when a folder is missing or holds no recordings, ``ADL-DAT-03``
            on options that :meth:`Events.frames` refuses.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    recordings = read_n_mnist(data_dir)
    train, test = (
        Labelled(
            inputs=recordings.events.pick(part).frames(step_us, steps, counts=counts),
            labels=recordings.labels[part],
        )
        for part in (~recordings.is_test, recordings.is_test)
    )
    return DataSet(name=N_MNIST.name, classes=_CLASSES, train=train, test=test)


def read_n_mnist(data_dir: Path | None) -> EventRecordings:
    """The events themselves; argument and errors are those of :func:`load_n_mnist`."""
    folder = N_MNIST.folder(data_dir)
    archive = folder / "nmnist_small.npz"
    return _from_archive(archive) if archive.exists() else _from_folders(folder)


def _from_archive(path: Path) -> EventRecordings:
    names = ("t", "x", "y", "p", "offset", "label", "is_test")
    arrays = N_MNIST.archive(path, *names)
    t, x, y, p, offset, label, is_test = (arrays[name] for name in names)
    labels = N_MNIST.labels(path, label, 10)
    if is_test.shape != labels.shape or offset.shape != (len(labels) + 1,):
        raise N_MNIST.damaged(
            path, f"{len(labels)} labels, {len(offset)} offsets and {len(is_test)} marks of a part"
        )
    marks = is_test.astype(np.bool_)
    if marks.all() or not marks.any():
        raise N_MNIST.damaged(path, "one part is empty")
    return EventRecordings(events=_events(path, t, x, y, p, offset), labels=labels, is_test=marks)


def _from_folders(folder: Path) -> EventRecordings:
    files: list[tuple[Path, int, bool]] = []
    for part in ("Train", "Test"):
        for digit in range(10):
            of_digit = folder / part / str(digit)
            found = sorted(of_digit.glob("*.bin"))
            if not found:
                raise N_MNIST.missing(of_digit / "*.bin")
            files += [(path, digit, part == "Test") for path in found]
    each = [_read_recording(path) for path, _, _ in files]
    t, x, y, p = (np.concatenate([of[column] for of in each]) for column in range(4))
    offset = np.cumsum([0, *(len(of[0]) for of in each)])
    return EventRecordings(
        events=_events(folder, t, x, y, p, offset),
        labels=np.array([digit for _, digit, _ in files], dtype=np.int64),
        is_test=np.array([is_test for _, _, is_test in files]),
    )


def _read_recording(path: Path) -> tuple[NDArray[np.int32], *tuple[NDArray[np.uint8], ...]]:
    """Times, columns, rows and polarities of one file.

    An event takes five bytes: column, row, then a bit of polarity and 23 bits of time [µs].
    """
    x, y, high, middle, low = N_MNIST.raw(path, _EVENT_BYTES).T
    time = high.astype(np.int32) % 128 << 16 | middle.astype(np.int32) << 8 | low
    is_mark = y == _OVERFLOW_ROW
    time += _CLOCK_US * np.cumsum(is_mark, dtype=np.int32)
    is_event = ~is_mark
    if max(x[is_event].max(initial=0), y[is_event].max(initial=0)) >= SIDE:
        raise N_MNIST.damaged(path, f"it has events outside {SIDE}x{SIDE} pixels")
    return time[is_event], x[is_event], y[is_event], high[is_event] >> 7


def _events(path: Path, *columns: NDArray[Any]) -> Events:
    t, x, y, p, offset = columns
    try:
        return Events(width=SIDE, height=SIDE, t_us=t, x=x, y=y, p=p, offset=offset)
    except AdlrnsError as error:
        raise N_MNIST.damaged(path, error.message) from error
