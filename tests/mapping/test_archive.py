from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.errors import refused

from mapping.artifact.archive import read_archive, read_spikes
from mapping.errors import AdlrnsError, ArtifactError, ConfigError


def packed(**arrays: np.ndarray) -> bytes:
    """An archive as bytes."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=True, **arrays)
    return content.getvalue()


GOOD = packed(spikes=np.arange(24).reshape(2, 3, 4), labels=np.array([0, 1]))


def test_spikes_and_labels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(GOOD)
    spikes, labels = read_spikes(path)
    np.testing.assert_array_equal(spikes, np.arange(24).reshape(2, 3, 4))
    assert labels is not None
    assert labels.tolist() == [0, 1]


def test_labels_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(packed(spikes=np.zeros(3)))
    assert read_spikes(path)[1] is None


def test_an_archive_without_spikes_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(packed(spike=np.zeros(3)))
    with refused(ConfigError, "ADL-INP-06", where=str(path), message="['spike']", remedy="spikes="):
        read_spikes(path)


def single_array() -> bytes:
    """An ``.npy`` file under the wrong name."""
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


def broken_header() -> bytes:
    """An archive whose array has a header that never closes its bracket."""
    content = io.BytesIO()
    header = b"{'descr': ('<i8', 'shape': (2\n".ljust(118)
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("spikes.npy", b"\x93NUMPY\x01\x00v\x00" + header)
    return content.getvalue()


def unknown_compression() -> bytes:
    """An archive that asks for a feature that zipfile lacks."""
    content = bytearray(packed(spikes=np.zeros(3)))
    central = content.rindex(b"PK\x01\x02")
    content[6] |= 0x20
    content[central + 8] |= 0x20
    return bytes(content)


UNREADABLE = {
    "empty": b"",
    "text": b"spikes",
    "single array": single_array(),
    "objects": packed(spikes=np.array([{}, 1], dtype=object)),
    "cut in the middle": GOOD[: len(GOOD) // 2],
    "last byte missing": GOOD[:-1],
    "broken header": broken_header(),
    "unknown compression": unknown_compression(),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_file_is_named(case: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(UNREADABLE[case])
    with refused(
        ArtifactError, "ADL-INP-05", where=str(path), message="input file", remedy="truncated"
    ):
        read_spikes(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_never_more_than_an_error_of_ours(
    place: int, bit: int, cut: bool, tmp_path: Path
) -> None:
    content = bytearray(GOOD)
    content[place] ^= 1 << bit
    path = tmp_path / "x.npz"
    path.write_bytes(content[: place + 1] if cut else content)
    try:
        read_archive(path, code="ADL-INP-05", what="input")
    except AdlrnsError as error:
        assert error.code == "ADL-INP-05"  # noqa: PT017


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-INP-05", where="nowhere.npz", message="No such file"):
        read_spikes(tmp_path / "nowhere.npz")
    with refused(ArtifactError, "ADL-INP-05", where=str(tmp_path), message="directory"):
        read_spikes(tmp_path)


def test_the_code_and_the_word_are_the_callers(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-TRC-01", message="trace file"):
        read_archive(tmp_path / "nowhere.npz", code="ADL-TRC-01", what="trace")
