from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.data_files import event_bytes, write_n_mnist
from support.errors import refused
from support.shared import shared_data

from adlrns_neuro.data import Events, load_dataset, read_n_mnist
from mapping.errors import ArtifactError, ConfigError


def some_events(**changes: Any) -> Events:
    """Two recordings on 3x2 pixels: three events, and one."""
    fields: dict[str, Any] = {
        "width": 3,
        "height": 2,
        "t_us": np.array([0, 5, 19, 12]),
        "x": np.array([2, 2, 0, 1]),
        "y": np.array([1, 1, 0, 0]),
        "p": np.array([1, 1, 0, 1]),
        "offset": np.array([0, 3, 4]),
    }
    return Events(**(fields | changes))


def test_frames_hold_each_event_in_its_step_and_pixel() -> None:
    binary, counted = (some_events().frames(10, 2, counts=c) for c in (False, True))
    assert binary.dtype == counted.dtype == np.uint8
    wanted = np.zeros((2, 2, 2, 2, 3), np.uint8)
    wanted[0, 0, 1, 1, 2] = 2
    wanted[0, 1, 0, 0, 0] = 1
    wanted[1, 1, 1, 0, 1] = 1
    np.testing.assert_array_equal(counted.reshape(wanted.shape), wanted)
    np.testing.assert_array_equal(binary, counted > 0)


def test_later_events_are_left_out() -> None:
    assert some_events().frames(10, 1, counts=True).sum(axis=(1, 2)).tolist() == [2, 0]


@given(seed=st.integers(0, 2**16), step_us=st.integers(1, 30), steps=st.integers(1, 9))
def test_frames_are_what_adding_up_one_by_one_gives(seed: int, step_us: int, steps: int) -> None:
    draw = np.random.default_rng(seed)
    t, x, y, p = (draw.integers(0, most, 60) for most in (100, 3, 2, 2))
    offset = np.array([0, *np.sort(draw.integers(0, 61, 3)), 60])
    events = some_events(t_us=t, x=x, y=y, p=p, offset=offset)
    wanted = np.zeros((4, steps, 2, 2, 3), np.uint8)
    owner = np.repeat(np.arange(4), np.diff(offset))
    for n, time, column, row, polarity in zip(owner, t, x, y, p, strict=True):
        if time < step_us * steps:
            wanted[n, time // step_us, polarity, row, column] += 1
    np.testing.assert_array_equal(
        events.frames(step_us, steps, counts=True), wanted.reshape(4, steps, 12)
    )
    mask = np.array([True, False, False, True])
    np.testing.assert_array_equal(
        events.pick(mask).frames(step_us, steps), wanted.reshape(4, steps, 12)[mask] > 0
    )


def test_more_events_than_a_byte_counts_are_refused() -> None:
    zeros = np.zeros(256, np.int64)
    crowd = some_events(t_us=zeros, x=zeros, y=zeros, p=zeros, offset=np.array([0, 256]))
    assert crowd.frames(10, 1).sum() == 1
    with refused(
        ConfigError, "ADL-DAT-03", where="Events.frames", message="256 events", remedy="255"
    ):
        crowd.frames(10, 1, counts=True)


@pytest.mark.parametrize(("step_us", "steps"), [(0, 3), (10, 0)])
def test_frames_without_extent_are_refused(step_us: int, steps: int) -> None:
    with refused(ConfigError, "ADL-DAT-03", where="Events.frames", remedy="1 or more"):
        some_events().frames(step_us, steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.array([3, 0, 0, 0])}, "x lies between 0 and 3"),
        ({"y": np.array([-1, 0, 0, 0])}, "y lies"),
        ({"p": np.array([0, 1, 2, 0])}, "p lies"),
        ({"t_us": np.array([-1, 0, 0, 0])}, "t_us lies"),
        ({"x": np.zeros(3, np.int64)}, "x is int64 of shape (3,)"),
        ({"y": np.zeros(4)}, "y is float64"),
        ({"offset": np.array([0, 3])}, "offsets"),
        ({"offset": np.array([0, 5, 4])}, "offsets"),
        ({"offset": np.array([4])}, "offsets"),
        ({"offset": np.array([0, 3, 4], np.int32)}, "int32"),
    ],
)
def test_events_that_contradict_themselves_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with refused(ConfigError, "ADL-DAT-05", where="Events", message=message):
        some_events(**changes)


def test_folders_of_n_mnist_are_read(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    recordings = read_n_mnist(tmp_path)
    assert recordings.labels.tolist() == [*np.repeat(np.arange(10), 2), *range(10)]
    assert recordings.is_test.tolist() == [False] * 20 + [True] * 10
    found = load_dataset("n-mnist", tmp_path, step_us=1000, steps=15)
    frames = found.train.inputs.reshape(20, 15, 2, 34, 34)
    assert frames.sum() == 40
    for number in range(20):
        assert frames[number, 0, 1, number % 2, number // 2] == 1
        assert frames[number, 12, 0, 33, 33] == 1
    assert len(found.test) == 10


def test_times_have_23_bits_and_marks_of_overflow_are_no_events(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    path = tmp_path / "Train" / "0" / "00000.bin"
    late = 2**22 + 70_000
    path.write_bytes(event_bytes((late, 1, 2, 1), (3, 0, 240, 0), (5, 3, 4, 0)))
    events = read_n_mnist(tmp_path).events
    first = slice(0, events.offset[1])
    assert events.t_us[first].tolist() == [late, 5 + 8192]
    assert events.x[first].tolist() == [1, 3]
    assert events.y[first].tolist() == [2, 4]
    assert events.p[first].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        (event_bytes((0, 34, 0, 0)), "outside 34x34"),
        (event_bytes((0, 0, 50, 0)), "outside 34x34"),
    ],
)
def test_a_damaged_recording_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    path = tmp_path / "Test" / "7" / "00000.bin"
    path.write_bytes(content)
    with refused(ArtifactError, "ADL-DAT-02", where=str(path), message=message):
        load_dataset("n-mnist", tmp_path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    path = tmp_path / "Test" / "7" / "00001.bin"
    path.mkdir()
    with refused(ArtifactError, "ADL-DAT-02", where=str(path)):
        load_dataset("n-mnist", tmp_path)


def test_a_digit_without_recordings_is_named(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    (tmp_path / "Test" / "7" / "00000.bin").unlink()
    with refused(ConfigError, "ADL-DAT-01", where=str(Path("Test", "7")), remedy="N-MNIST"):
        load_dataset("n-mnist", tmp_path)


def archive(**changes: Any) -> dict[str, Any]:
    """Arrays of two recordings with two events each."""
    arrays: dict[str, Any] = {
        "t": np.array([0, 9, 3, 4], np.uint32),
        "x": np.array([0, 1, 2, 33], np.uint8),
        "y": np.array([0, 1, 2, 33], np.uint8),
        "p": np.array([0, 1, 1, 0], np.uint8),
        "offset": np.array([0, 2, 4]),
        "label": np.array([3, 8], np.uint8),
        "is_test": np.array([0, 1], np.uint8),
    }
    return arrays | changes


def test_an_archive_of_n_mnist_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "nmnist_small.npz", **archive())
    found = load_dataset("n-mnist", tmp_path, step_us=5, steps=2, counts=True)
    assert found.train.inputs.sum(axis=2).tolist() == [[1, 1]]
    assert found.test.inputs.sum(axis=2).tolist() == [[2, 0]]
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([3], [8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.array([0, 1, 2, 34], np.uint8)}, "x lies between 0 and 34"),
        ({"offset": np.array([0, 2, 5])}, "offsets"),
        ({"offset": np.array([0, 4])}, "2 offsets"),
        ({"label": np.array([3, 10], np.uint8)}, "labels are 3 to 10"),
        ({"is_test": np.array([1, 1], np.uint8)}, "one part is empty"),
        ({"is_test": np.array([1], np.uint8)}, "1 marks"),
    ],
)
def test_a_wrong_archive_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "nmnist_small.npz"
    np.savez(path, **archive(**changes))
    with refused(ArtifactError, "ADL-DAT-02", where=str(path), message=message):
        load_dataset("n-mnist", tmp_path)


def test_n_mnist_as_copied() -> None:
    folder = shared_data("nmnist_small")
    recordings = read_n_mnist(folder)
    assert (len(recordings.events), int(recordings.is_test.sum())) == (1100, 100)
    assert len(recordings.events.t_us) == 4_518_827
    found = load_dataset("n-mnist", folder, step_us=30_000, steps=10, counts=True)
    assert found.train.inputs.shape == (1000, 10, 2312)
    kept = int((recordings.events.t_us < 300_000).sum())
    assert int(found.pooled().inputs.sum(dtype=np.int64)) == kept
