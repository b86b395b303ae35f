"""Small data sets in the layouts of the large ones."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import wavfile

SPEAKERS = ("ann", "bob")
TAKES = 7


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """An array as the contents of an idx file."""
    header = bytes([0, 0, 8, values.ndim])
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def some_images(n: int, *shape: int) -> NDArray[np.uint8]:
    """Random bytes, shape (n, *shape)."""
    return np.random.default_rng(n).integers(0, 256, (n, *shape)).astype(np.uint8)


def write_idx(folder: Path, *, packed: bool) -> dict[str, NDArray[np.uint8]]:
    """The four files of MNIST with 20 and 10 images; what they hold, by name."""
    arrays = {
        "train-images-idx3-ubyte": some_images(20, 28, 28),
        "train-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": some_images(10, 28, 28),
        "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8),
    }
    for name, values in arrays.items():
        data = idx_bytes(values)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return arrays


def event_bytes(*events: tuple[int, int, int, int]) -> bytes:
    """Events (t [µs], x, y, p) as the contents of a file of N-MNIST."""
    return b"".join(
        bytes([x, y, p << 7 | t >> 16 & 127, t >> 8 & 255, t & 255]) for t, x, y, p in events
    )


def write_n_mnist(folder: Path) -> None:
    """Two recordings of each digit for training, one for test; the digit is the first column."""
    for part, takes in (("Train", 2), ("Test", 1)):
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
            for take in range(takes):
                path = folder / part / str(digit) / f"{take:05}.bin"
                path.write_bytes(event_bytes((0, digit, take, 1), (12_345, 33, 33, 0)))


def wave_of(digit: int) -> NDArray[np.int16]:
    """A tone of 60 ms whose pitch is the digit's."""
    return (9000 * np.sin(0.2 * (digit + 1) * np.arange(480))).astype(np.int16)


def write_waves(folder: Path) -> None:
    """Digits 0 to 9 by two speakers in seven takes each, as WAV files below ``recordings``."""
    (folder / "recordings").mkdir()
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                path = folder / "recordings" / f"{digit}_{speaker}_{take}.wav"
                wavfile.write(path, 8000, wave_of(digit))


def spoken_arrays() -> dict[str, NDArray[Any]]:
    """The same recordings as arrays of an archive."""
    waves = [wave_of(digit) for digit in range(10) for _ in range(len(SPEAKERS) * TAKES)]
    return {
        "pcm": np.concatenate(waves),
        "offset": np.cumsum([0, *map(len, waves)]),
        "label": np.repeat(np.arange(10, dtype=np.uint8), len(SPEAKERS) * TAKES),
        "speaker": np.tile(np.repeat(SPEAKERS, TAKES), 10),
        "take": np.tile(np.arange(TAKES, dtype=np.uint8), 10 * len(SPEAKERS)),
    }


def write_cifar(folder: Path) -> list[NDArray[np.uint8]]:
    """Six binary batches of ten records each; the records, shape (10, 3073)."""
    batches = []
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        records = np.random.default_rng(number).integers(0, 256, (10, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(10)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
        batches.append(records)
    return batches


def picture(size: tuple[int, int], colour: tuple[int, int, int], kind: str = "JPEG") -> bytes:
    """A file of one colour; ``size`` is (width, height) [pixels]."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()
