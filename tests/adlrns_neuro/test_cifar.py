from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import picture, some_images, write_cifar
from support.errors import refused
from support.shared import shared_data

from adlrns_neuro.data import load_dataset
from mapping.errors import ArtifactError, ConfigError


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_binary_batches_are_read_as_they_are(below: str, tmp_path: Path) -> None:
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    batches = write_cifar(folder)
    found = load_dataset("cifar-10", tmp_path)
    assert found.train.inputs.shape == (50, 3, 32, 32)
    np.testing.assert_array_equal(found.train.inputs[23].ravel(), batches[2][3, 1:])
    np.testing.assert_array_equal(found.test.inputs.reshape(10, -1), batches[5][:, 1:])
    assert found.test.labels.tolist() == list(range(10))
    assert found.classes[3] == "cat"


@pytest.mark.parametrize("name", ["data_batch_4.bin", "test_batch.bin"])
def test_a_missing_batch_is_named(name: str, tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / name).unlink()
    with refused(ConfigError, "ADL-DAT-01", message=name, remedy="binary version"):
        load_dataset("cifar-10", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (bytes(3072), "3072 bytes"),
        (bytes([10]) + bytes(3072), "labels are 10 to 10"),
    ],
)
def test_a_damaged_batch_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(content)
    with refused(ArtifactError, "ADL-DAT-02", where="test_batch.bin", message=message):
        load_dataset("cifar-10", tmp_path)


def write_archives(folder: Path, *files: bytes, **changes: Any) -> None:
    """Both archives; one JPEG per class, or ``files``."""
    jpegs = files or tuple(picture((32, 32), (20 * n, 0, 255)) for n in range(10))
    train: dict[str, Any] = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offset": np.cumsum([0, *map(len, jpegs)]),
        "label": np.arange(len(jpegs), dtype=np.uint8),
    }
    np.savez(
        folder / "cifar10_jpeg_train.npz",
        **(train | {k: v for k, v in changes.items() if k in train}),
    )
    test: dict[str, Any] = {
        "x_test": some_images(10, 32, 32, 3),
        "y_test": np.arange(10, dtype=np.uint8),
    }
    np.savez(
        folder / "cifar10_lossless_small.npz",
        **(test | {k: v for k, v in changes.items() if k in test}),
    )


def test_archives_are_decoded_to_planes(tmp_path: Path) -> None:
    write_archives(tmp_path)
    found = load_dataset("cifar-10", tmp_path)
    assert found.train.inputs.shape == (10, 3, 32, 32)
    for number, image in enumerate(found.train.inputs):
        colours = image.reshape(3, -1).mean(axis=1)
        assert colours == pytest.approx([20 * number, 0, 255], abs=4)
    wanted = some_images(10, 32, 32, 3)
    np.testing.assert_array_equal(found.test.inputs, np.moveaxis(wanted, 3, 1))
    (tmp_path / "cifar10_lossless_small.npz").unlink()
    with refused(ConfigError, "ADL-DAT-01", message="cifar10_lossless_small.npz"):
        load_dataset("cifar-10", tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        b"no picture",
        picture((32, 32), (9, 9, 9))[:200],
        picture((32, 32), (9, 9, 9), "PNG"),
        picture((32, 16), (9, 9, 9)),
    ],
)
def test_a_damaged_image_is_refused(file: bytes, tmp_path: Path) -> None:
    write_archives(tmp_path, file)
    with refused(ArtifactError, "ADL-DAT-02", where="cifar10_jpeg_train.npz"):
        load_dataset("cifar-10", tmp_path)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"offset": np.arange(3)}, "jpeg_train"),
        ({"jpeg": np.zeros(5)}, "jpeg_train"),
        ({"label": np.full(10, 12)}, "jpeg_train"),
        ({"x_test": some_images(10, 3, 32, 32)}, "lossless_small"),
        ({"y_test": np.arange(9)}, "lossless_small"),
    ],
)
def test_a_wrong_archive_is_refused(changes: dict[str, Any], where: str, tmp_path: Path) -> None:
    write_archives(tmp_path, **changes)
    with refused(ArtifactError, "ADL-DAT-02", where=where):
        load_dataset("cifar-10", tmp_path)


@pytest.mark.slow
def test_cifar_10_as_copied() -> None:
    """Fifty thousand images to decode take seconds."""
    found = load_dataset("cifar-10", shared_data("cifar10"))
    assert (found.train.inputs.shape, found.test.inputs.shape) == (
        (50000, 3, 32, 32),
        (1000, 3, 32, 32),
    )
    assert np.bincount(found.train.labels).tolist() == [5000] * 10
    means = found.train.inputs.mean(axis=(0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
