from __future__ import annotations

import numpy as np
import pytest

from adlrns_neuro.data import load_digits_splits


def test_splits_are_the_whole_data_set_in_three_parts() -> None:
    splits = load_digits_splits(0)
    parts = (splits.train, splits.calibration, splits.test)
    assert [len(part.labels) for part in parts] == [1078, 359, 360]
    assert sum(int(part.images.sum()) for part in parts) == 561718
    for part in parts:
        assert part.images.shape == (len(part.labels), 64)
        assert part.images.dtype == part.labels.dtype == np.int64
        assert part.images.min() == 0
        assert part.images.max() == 16
        assert not part.images.flags.writeable
        assert not part.labels.flags.writeable


def test_splits_share_no_image() -> None:
    splits = load_digits_splits(3)
    seen = [
        {image.tobytes() for image in part.images}
        for part in (splits.train, splits.calibration, splits.test)
    ]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_every_part_has_every_class_in_the_same_proportion() -> None:
    splits = load_digits_splits(1)
    for part in (splits.train, splits.calibration, splits.test):
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        assert shares == pytest.approx(0.1, abs=0.01)


def test_the_seed_decides_the_split() -> None:
    first, again, other = load_digits_splits(5), load_digits_splits(5), load_digits_splits(6)
    np.testing.assert_array_equal(first.test.images, again.test.images)
    assert not np.array_equal(first.test.images, other.test.images)
