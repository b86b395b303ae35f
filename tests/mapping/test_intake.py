"""What a file may hold is measured against its own size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.errors import refused

from mapping.errors import ArtifactError
from mapping.intake import FREE_BYTES, WIDEST_EXPANSION, hdf5_holds, hdf5_tree, npz_arrays

_error = partial(ArtifactError, where="x", remedy="mend it", code="ADL-NIR-01")
NOISE = np.random.default_rng(0).bytes(2**21)


def _refuse(message: str) -> ArtifactError:
    return _error(message)


def _hdf5(path: Path, zeros: int, noise: bytes = b"") -> Path:
    with h5py.File(path, "w") as file:
        shape, chunks = (zeros // 8,), (2**16,)
        file.create_dataset("zeros", shape, "f8", chunks=chunks, compression="gzip")
        file["noise"] = np.frombuffer(noise, np.uint8)
        file["group/text"] = "hello"
    return path


def _npz(path: Path, zeros: int, noise: bytes = b"") -> Path:
    np.savez_compressed(path, zeros=np.zeros(zeros, np.uint8), noise=np.frombuffer(noise, np.uint8))
    return path


def test_a_file_may_hold_64_mib_whatever_its_size(tmp_path: Path) -> None:
    tree = hdf5_tree(_hdf5(tmp_path / "x", FREE_BYTES - 2**10), _refuse)
    assert tree["zeros"].nbytes == FREE_BYTES - 2**10
    assert tree["group"]["text"].item() == b"hello"
    with refused(ArtifactError, "ADL-NIR-01", message="zeros has shape"):
        hdf5_tree(_hdf5(tmp_path / "y", FREE_BYTES + 8), _refuse)
    path = _npz(tmp_path / "x.npz", FREE_BYTES + 8)
    with path.open("rb") as file, refused(ArtifactError, "ADL-NIR-01", message="64 MiB unpacked"):
        npz_arrays(file, path.stat().st_size, _refuse)


def test_a_large_file_may_hold_more(tmp_path: Path) -> None:
    most = WIDEST_EXPANSION * len(NOISE) - len(NOISE)
    assert most > FREE_BYTES
    assert hdf5_tree(_hdf5(tmp_path / "x", most, NOISE), _refuse)["zeros"].nbytes == most
    path = _npz(tmp_path / "x.npz", most - 2**10, NOISE)
    with path.open("rb") as file:
        assert npz_arrays(file, path.stat().st_size, _refuse)["zeros"].size == most - 2**10


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(order: str, tmp_path: Path) -> None:
    arrays = {
        "matrix": np.arange(6.0).reshape(2, 3, order=order),  # type: ignore[call-overload]
        "number": np.float32(3),
        "text": np.array(["a", "bc"]),
        "none": np.zeros((0, 3), np.int8),
        "truth": np.array([True, False]),
    }
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    with path.open("rb") as file:
        found = npz_arrays(file, path.stat().st_size, _refuse)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.asarray(array).dtype


def test_what_a_file_holds_can_be_asked(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "x", 2**20)
    assert hdf5_holds(path, "group")
    assert not hdf5_holds(path, "other")
    (tmp_path / "y").write_text("hello")
    assert not hdf5_holds(tmp_path / "y", "group")
