"""MNIST and the sets that share its files: 28x28 grey images, 10 classes, in idx files.

Sources: LeCun, Cortes and Burges, The MNIST database of handwritten digits (1998), which also
defines the idx format; Xiao, Rasul and Vollgraf, Fashion-MNIST (arXiv 1708.07747, 2017).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from adlrns_neuro.data.layout import Layout
from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled
from mapping.intake import most_bytes

_IMAGE = (28, 28)
_UNSIGNED_BYTE = 0x08
_GARMENTS = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_FILES = "{train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, plain or with .gz"

FASHION_MNIST = Layout(
    name="fashion-mnist",
    files=_FILES,
    source="install the Debian package dataset-fashion-mnist or get the four files",
    usual=Path("/usr/share/datasets/fashion-mnist"),
)
MNIST = Layout(
    name="mnist",
    files=f"{_FILES}, or from mnist.npz as Keras has it",
    source="get the four files of MNIST, or its mnist.npz",
)


@DATASETS.register("fashion-mnist")
def load_fashion_mnist(data_dir: Path | None) -> DataSet:
    """Fashion-MNIST: 60,000 and 10,000 garments, uint8, shape (n, 28, 28).

    Args:
        data_dir: folder of the four idx files; where Debian's package puts them if not given.

    Raises:
        ConfigError: ``ADL-DAT-01`` when a file is missing.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    return _from_idx(FASHION_MNIST, FASHION_MNIST.folder(data_dir), _GARMENTS)


@DATASETS.register("mnist")
def load_mnist(data_dir: Path | None) -> DataSet:
    """MNIST: 60,000 and 10,000 handwritten digits, uint8, shape (n, 28, 28).

    Args:
        data_dir: folder of ``mnist.npz`` or of the four idx files; the archive is read if both are
            there.

    Raises:
        ConfigError: ``ADL-DAT-01`` when a file is missing.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    folder, classes = MNIST.folder(data_dir), tuple(map(str, range(10)))
    path = folder / "mnist.npz"
    if not path.exists():
        return _from_idx(MNIST, folder, classes)
    arrays = MNIST.archive(path, "x_train", "y_train", "x_test", "y_test")
    train, test = (
        _labelled(MNIST, path, arrays[f"x_{part}"], path, arrays[f"y_{part}"])
        for part in ("train", "test")
    )
    return DataSet(name=MNIST.name, classes=classes, train=train, test=test)


def read_idx(path: Path, layout: Layout) -> NDArray[np.uint8]:
    """The array of an idx file of bytes, plain or, with the suffix ``.gz``, compressed.

    Args:
        path: the file. Its first four bytes are 0, 0, 8 for unsigned bytes, and the number of
            dimensions; their sizes follow as big-endian 32-bit integers, then the values.
        layout: the data set that it belongs to, for errors.

    Raises:
        ArtifactError: ``ADL-DAT-02`` unless it is just that and as long as it says.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix != ".gz":
                return _read_array(raw, path, layout)
            with gzip.open(raw) as unpacked:
                return _read_array(cast(BinaryIO, unpacked), path, layout)
    except (OSError, EOFError, zlib.error) as error:
        raise layout.damaged(path, str(error)) from error


def _read_array(stream: BinaryIO, path: Path, layout: Layout) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise layout.damaged(path, f"it starts with {magic.hex(' ') or 'nothing'}, not 00 00 08")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise layout.damaged(path, "it ends within its header")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    wanted, most = prod(shape), most_bytes(path.stat().st_size)
    if wanted > most:
        raise layout.damaged(path, f"it declares {shape}, too much for its size")
    values = stream.read(wanted + 1)
    if len(values) != wanted:
        has = "more" if len(values) > wanted else f"{len(values)}"
        raise layout.damaged(path, f"it declares {shape}, {wanted} bytes, but holds {has}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _from_idx(layout: Layout, folder: Path, classes: tuple[str, ...]) -> DataSet:
    parts = []
    for part in ("train", "t10k"):
        images, labels = (
            layout.first_of(folder / name, folder / f"{name}.gz")
            for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        )
        values = read_idx(images, layout), read_idx(labels, layout)
        parts.append(_labelled(layout, images, values[0], labels, values[1]))
    return DataSet(name=layout.name, classes=classes, train=parts[0], test=parts[1])


def _labelled(
    layout: Layout, path: Path, images: NDArray[Any], labels_path: Path, labels: NDArray[Any]
) -> Labelled:
    if images.shape[1:] != _IMAGE or images.dtype != np.uint8:
        raise layout.damaged(path, f"images are {images.dtype} of shape {images.shape}")
    known = layout.labels(labels_path, labels, 10)
    if len(known) != len(images):
        raise layout.damaged(labels_path, f"{len(known)} labels for {len(images)} images")
    return Labelled(inputs=images, labels=known)
