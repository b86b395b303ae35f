from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from support.data_files import idx_bytes, some_images, write_idx
from support.errors import refused
from support.shared import fashion_mnist, shared_data

from adlrns_neuro.data import load_dataset
from mapping.errors import ArtifactError, ConfigError

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_four_files_are_read_as_they_are(name: str, packed: bool, tmp_path: Path) -> None:
    wanted = write_idx(tmp_path, packed=packed)
    found = load_dataset(name, tmp_path)
    for part, prefix in ((found.train, "train"), (found.test, "t10k")):
        np.testing.assert_array_equal(part.inputs, wanted[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(part.labels, wanted[f"{prefix}-labels-idx1-ubyte"])
        assert part.inputs.dtype == np.uint8
    assert (found.name, len(found.classes)) == (name, 10)


def test_an_archive_of_mnist_is_read_as_it_is(tmp_path: Path) -> None:
    arrays = {
        "x_train": some_images(20, 28, 28),
        "y_train": np.arange(20, dtype=np.uint8) % 10,
        "x_test": some_images(10, 28, 28),
        "y_test": np.arange(10, dtype=np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]
    found = load_dataset("mnist", str(tmp_path))
    np.testing.assert_array_equal(found.train.inputs, arrays["x_train"])
    np.testing.assert_array_equal(found.test.labels, arrays["y_test"])


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False)
    (tmp_path / name).unlink()
    with refused(
        ConfigError, "ADL-DAT-01", where=str(tmp_path), message=name, remedy="dataset-fashion-mnist"
    ):
        load_dataset("fashion-mnist", tmp_path)


GOOD = idx_bytes(some_images(10, 28, 28))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing"),
        (b"<html>", "3c 68 74 6d"),
        (b"\0\0\x0d\x03" + GOOD[4:], "00 00 0d 03"),
        (GOOD[:9], "within its header"),
        (GOOD[:-1], "holds 7839"),
        (GOOD + b"\0", "holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "too much for its size"),
        (idx_bytes(some_images(10, 32, 32)), "(10, 32, 32)"),
        (idx_bytes(some_images(10, 784)), "(10, 784)"),
    ],
)
def test_a_damaged_file_of_images_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False)
    (tmp_path / IMAGES).write_bytes(content)
    with refused(ArtifactError, "ADL-DAT-02", where=IMAGES, message=message, remedy="again"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(9, dtype=np.uint8), "9 labels for 10 images"),
        (np.arange(1, 11, dtype=np.uint8), "labels are 1 to 10"),
        (np.zeros((10, 1), np.uint8), "(10, 1)"),
        (np.zeros(0, np.uint8), "(0,)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], message: str, tmp_path: Path
) -> None:
    write_idx(tmp_path, packed=False)
    (tmp_path / LABELS).write_bytes(idx_bytes(values))
    with refused(ArtifactError, "ADL-DAT-02", where=LABELS, message=message):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(GOOD)[:-200], gzip.compress(GOOD)[:40]],
    ids=["no gzip", "cut off at the end", "cut off at the beginning"],
)
def test_a_damaged_compressed_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write_idx(tmp_path, packed=True)
    (tmp_path / f"{IMAGES}.gz").write_bytes(content)
    with refused(ArtifactError, "ADL-DAT-02", where=f"{IMAGES}.gz"):
        load_dataset("fashion-mnist", tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"PK")
    with refused(ArtifactError, "ADL-DAT-02", where=str(path)):
        load_dataset("mnist", tmp_path)
    np.savez(path, x_train=some_images(2, 28, 28))
    with refused(ArtifactError, "ADL-DAT-02", where=str(path), message="'x_test', 'y_test'"):
        load_dataset("mnist", tmp_path)
    path.unlink()
    path.mkdir()
    with refused(ArtifactError, "ADL-DAT-02", where=str(path)):
        load_dataset("mnist", tmp_path)


def test_fashion_mnist_of_the_package() -> None:
    found = load_dataset("fashion-mnist", fashion_mnist())
    assert (found.train.inputs.shape, found.test.inputs.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    assert found.classes[found.train.labels[0]] == "ankle boot"
    assert float(found.train.inputs.mean() / 255) == pytest.approx(0.2860, abs=1e-4)
    assert float(found.train.inputs.std() / 255) == pytest.approx(0.3530, abs=1e-4)


def test_mnist_as_copied() -> None:
    found = load_dataset("mnist", shared_data("mnist"))
    assert (found.train.inputs.shape, found.test.inputs.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert found.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert float(found.train.inputs.mean() / 255) == pytest.approx(0.1307, abs=1e-4)
