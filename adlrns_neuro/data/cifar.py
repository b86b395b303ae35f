"""CIFAR-10: 60,000 small colour photographs of ten kinds of things.

Source: Krizhevsky, Learning multiple layers of features from tiny images (University of Toronto,
2009). Of its three published forms the binary one is read: the others hold pickled objects, which
run code when they are loaded, and Matlab's.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adlrns_neuro.data.layout import Layout
from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled

_IMAGE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR_10 = Layout(
    name="cifar-10",
    files="data_batch_1..5.bin and test_batch.bin (or those in cifar-10-batches-bin), or from "
    "cifar10_jpeg_train.npz (jpeg, offset, label) and cifar10_lossless_small.npz (x_test, y_test)",
    source="get and unpack the binary version of CIFAR-10 (cifar-10-binary)",
)


@DATASETS.register("cifar-10")
def load_cifar_10(data_dir: Path | None) -> DataSet:
    """CIFAR-10: 50,000 and 10,000 images, uint8, shape (n, 3, 32, 32).

    The two ``.npz`` archives hold the 50,000 as JPEG and 1,000 of the test images as they are.
    JPEG changes pixels, so that a network trained on them may do worse on the real ones; test
    figures come from unchanged images either way.

    Args:
        data_dir: folder of the binary batches, or of the two archives; the batches are read if both
            are there.

    Raises:
        ConfigError: ``ADL-DAT-01`` when a file is missing.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    folder = CIFAR_10.folder(data_dir)
    jpeg, lossless = folder / "cifar10_jpeg_train.npz", folder / "cifar10_lossless_small.npz"
    batches = folder / "cifar-10-batches-bin"
    if not batches.is_dir():
        batches = folder
    first = CIFAR_10.first_of(batches / "data_batch_1.bin", jpeg)
    if first == jpeg:
        train, test = _from_jpeg(jpeg), _from_arrays(CIFAR_10.first_of(lossless))
    else:
        train = _from_batches([batches / f"data_batch_{number}.bin" for number in range(1, 6)])
        test = _from_batches([batches / "test_batch.bin"])
    return DataSet(name=CIFAR_10.name, classes=_CLASSES, train=train, test=test)


def _from_batches(paths: list[Path]) -> Labelled:
    """Records of a label and the red, green and blue planes, one byte each."""
    images, labels = [], []
    for path in paths:
        records = CIFAR_10.raw(CIFAR_10.first_of(path), _RECORD_BYTES)
        labels.append(CIFAR_10.labels(path, records[:, 0], len(_CLASSES)))
        images.append(records[:, 1:].reshape(-1, *_IMAGE))
    return Labelled(inputs=np.concatenate(images), labels=np.concatenate(labels))


def _from_jpeg(path: Path) -> Labelled:
    arrays = CIFAR_10.archive(path, "jpeg", "offset", "label")
    files, offset = arrays["jpeg"], arrays["offset"]
    labels = CIFAR_10.labels(path, arrays["label"], len(_CLASSES))
    whole = files.ndim == 1 and files.dtype == np.uint8 and offset.dtype.kind in "iu"
    if not whole or offset.shape != (len(labels) + 1,):
        raise CIFAR_10.damaged(path, f"{offset.shape} offsets into {files.dtype} {files.shape}")
    images = np.empty((len(labels), *_IMAGE), np.uint8)
    for number, (start, stop) in enumerate(pairwise(offset)):
        images[number] = _decoded(path, number, files[start:stop])
    return Labelled(inputs=images, labels=labels)


def _decoded(path: Path, number: int, file: NDArray[Any]) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(file.tobytes()), formats=["JPEG"]) as image:
            pixels: NDArray[Any] = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise CIFAR_10.damaged(path, f"image {number} is no JPEG ({error})") from error
    return _planes(path, pixels[np.newaxis]).reshape(_IMAGE)


def _from_arrays(path: Path) -> Labelled:
    arrays = CIFAR_10.archive(path, "x_test", "y_test")
    images = _planes(path, arrays["x_test"])
    labels = CIFAR_10.labels(path, arrays["y_test"], len(_CLASSES))
    if len(labels) != len(images):
        raise CIFAR_10.damaged(path, f"{len(labels)} labels for {len(images)} images")
    return Labelled(inputs=images, labels=labels)


def _planes(path: Path, images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images whose colours come last, as planes."""
    if images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8:
        raise CIFAR_10.damaged(path, f"images are {images.dtype} of shape {images.shape}")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
