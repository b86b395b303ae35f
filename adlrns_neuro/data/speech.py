"""The Free Spoken Digit Dataset: digits spoken by six people, and what an ear makes of them.

Source: Jackson, Souza, Flaks, Pan, Nicolas and Thite, Free Spoken Digit Dataset v1.0.8 (Zenodo,
2018); takes 0 to 4 of every speaker are its test part.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from adlrns_neuro.data.layout import Layout
from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled, bad_option
from adlrns_neuro.data.sound import RATE_HZ, log_mel, send_on_delta

_TEST_TAKES = 5
_OF_WAVES = (
    ValueError,
    OSError,
    ArithmeticError,
    UnboundLocalError,
    struct.error,
    wavfile.WavFileWarning,
)
"""What SciPy raises on a damaged file."""
_FILE = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")

SPOKEN_DIGITS = Layout(
    name="spoken-digits",
    files="recordings/{digit}_{speaker}_{take}.wav, or fsdd.npz with the arrays pcm, offset, "
    "label, speaker, take",
    source="get the repository free-spoken-digit-dataset",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recordings:
    """Spoken digits, arrays read-only.

    Attributes:
        waves: samples at 8 kHz, int16, one array for each recording.
        labels: digits, shape (n,), int64.
        speakers: names, shape (n,).
        takes: number among the recordings of that digit by that speaker, shape (n,), int64.
    """

    waves: tuple[NDArray[np.int16], ...]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    takes: NDArray[np.int64]

    def __post_init__(self) -> None:
        arrays: tuple[NDArray[Any], ...] = (self.labels, self.speakers, self.takes)
        for values in (*self.waves, *arrays):
            values.setflags(write=False)

    def is_test(self, speaker: str | None = None) -> NDArray[np.bool_]:
        """Which are of the test part, shape (n,).

        Args:
            speaker: whose recordings are the test part, so that nothing of that voice is in
                training; if not given, the takes 0 to 4 of all speakers, as published.

        Raises:
            ConfigError: ``ADL-DAT-03`` when nobody is called so.
        """
        if speaker is None:
            return self.takes < _TEST_TAKES
        known = sorted(set(self.speakers.tolist()))
        if speaker not in known:
            raise bad_option(
                f"{SPOKEN_DIGITS.name}.speaker",
                f"there are no recordings of {speaker!r}",
                f"choose one of {', '.join(known)}",
            )
        found: NDArray[np.bool_] = self.speakers == speaker
        return found


@DATASETS.register("spoken-digits")
def load_spoken_digits(
    data_dir: Path | None,
    *,
    speaker: str | None = None,
    frames: int = 64,
    mels: int = 40,
    threshold: float | None = None,
) -> DataSet:
    """Free Spoken Digits as log-mel features, float32, or as spikes, uint8.

    Args:
        data_dir: folder of ``recordings``, or of ``fsdd.npz``; the archive is read if both are
            there.
        speaker: as in :meth:`Recordings.is_test`.
        frames, mels: as in :func:`~adlrns_neuro.data.sound.log_mel`; shape (n, frames, mels).
        threshold: if given, of :func:`~adlrns_neuro.data.sound.send_on_delta`; shape
            (n, frames, 2 * mels).

    Raises:
        ConfigError: ``ADL-DAT-01`` when recordings are missing, ``ADL-DAT-03`` on an unknown
            speaker or a number out of range.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    recordings = read_spoken_digits(data_dir)
    is_test = recordings.is_test(speaker)
    if is_test.all() or not is_test.any():
        raise SPOKEN_DIGITS.missing(SPOKEN_DIGITS.folder(data_dir) / "recordings of both parts")
    inputs: NDArray[Any] = log_mel(recordings.waves, frames=frames, mels=mels)
    if threshold is not None:
        inputs = send_on_delta(inputs, threshold)
    whole = Labelled(inputs=inputs, labels=recordings.labels)
    return DataSet(
        name=SPOKEN_DIGITS.name,
        classes=tuple(map(str, range(10))),
        train=whole.pick(~is_test),
        test=whole.pick(is_test),
    )


def read_spoken_digits(data_dir: Path | None) -> Recordings:
    """The recordings themselves; argument and errors are those of :func:`load_spoken_digits`."""
    folder = SPOKEN_DIGITS.folder(data_dir)
    archive = folder / "fsdd.npz"
    return _from_archive(archive) if archive.exists() else _from_waves(folder / "recordings")


def _from_archive(path: Path) -> Recordings:
    names = ("pcm", "offset", "label", "speaker", "take")
    arrays = SPOKEN_DIGITS.archive(path, *names)
    pcm, offset, label, speaker, take = (arrays[name] for name in names)
    labels = SPOKEN_DIGITS.labels(path, label, 10)
    if speaker.shape != labels.shape or take.shape != labels.shape or speaker.dtype.kind != "U":
        raise SPOKEN_DIGITS.damaged(path, "labels, speakers and takes are of different numbers")
    fits = offset.shape == (len(labels) + 1,) and offset.dtype.kind in "iu" and pcm.ndim == 1
    if not fits or (offset[0], offset[-1]) != (0, len(pcm)) or (np.diff(offset) <= 0).any():
        raise SPOKEN_DIGITS.damaged(path, f"offsets do not part {pcm.shape} samples")
    if pcm.dtype != np.int16:
        raise SPOKEN_DIGITS.damaged(path, f"samples are {pcm.dtype}, not int16")
    return Recordings(
        waves=tuple(np.split(pcm, offset[1:-1])),
        labels=labels,
        speakers=speaker,
        takes=take.astype(np.int64),
    )


def _from_waves(folder: Path) -> Recordings:
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise SPOKEN_DIGITS.missing(folder / "*.wav", folder.parent / "fsdd.npz")
    named = [_named(path) for path in paths]
    return Recordings(
        waves=tuple(map(_read_wave, paths)),
        labels=np.array([digit for digit, _, _ in named], dtype=np.int64),
        speakers=np.array([speaker for _, speaker, _ in named]),
        takes=np.array([take for _, _, take in named], dtype=np.int64),
    )


def _named(path: Path) -> tuple[int, str, int]:
    """Digit, speaker and take, as the name of the file says."""
    match = _FILE.fullmatch(path.name)
    if match is None:
        raise SPOKEN_DIGITS.damaged(path, "its name is not {digit}_{speaker}_{take}.wav")
    digit, speaker, take = match.groups()
    return int(digit), speaker, int(take)


def _read_wave(path: Path) -> NDArray[np.int16]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)
            rate_hz, wave = wavfile.read(path)
    except _OF_WAVES as error:
        raise SPOKEN_DIGITS.damaged(path, str(error)) from error
    if rate_hz != RATE_HZ or wave.dtype != np.int16 or wave.ndim != 1 or len(wave) == 0:
        raise SPOKEN_DIGITS.damaged(
            path, f"it has {wave.dtype} of shape {wave.shape} at {rate_hz} Hz, not int16 at 8 kHz"
        )
    return wave
