"""The 8x8 handwritten digits that come with scikit-learn, as integer payloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled

PIXEL_MAX = 16
"""Largest pixel value; 0 is background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImages:
    """Images with their classes, both read-only.

    Attributes:
        images: integer pixels 0 to ``PIXEL_MAX``, shape (n, 64), int64.
        labels: digits 0 to 9, shape (n,), int64.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.images.setflags(write=False)
        self.labels.setflags(write=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitsSplits:
    """Three disjoint parts of the data set.

    Attributes:
        train: 60 %, for weights.
        calibration: 20 %, for every choice made after or about training.
        test: 20 %, for reported figures only.
    """

    train: LabelledImages
    calibration: LabelledImages
    test: LabelledImages


def load_digits_splits(seed: int) -> DigitsSplits:
    """Split the 1,797 digits 60/20/20, each class in the same proportion.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), the copy
    inside scikit-learn, so nothing is downloaded.

    Args:
        seed: decides which image falls into which part.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = images.astype(np.int64), labels.astype(np.int64)
    train_images, rest_images, train_labels, rest_labels = train_test_split(
        images, labels, test_size=0.4, stratify=labels, random_state=seed
    )
    calibration_images, test_images, calibration_labels, test_labels = train_test_split(
        rest_images, rest_labels, test_size=0.5, stratify=rest_labels, random_state=seed
    )
    return DigitsSplits(
        train=LabelledImages(images=train_images, labels=train_labels),
        calibration=LabelledImages(images=calibration_images, labels=calibration_labels),
        test=LabelledImages(images=test_images, labels=test_labels),
    )


@DATASETS.register("digits")
def load_digits_set(data_dir: Path | None = None, *, seed: int = 0) -> DataSet:
    """The digits in two parts, 80 % and 20 %: the test part is that of :func:`load_digits_splits`.

    Args:
        data_dir: not needed and not read; the images come with scikit-learn.
        seed: decides which image falls into which part.
    """
    splits = load_digits_splits(seed)
    both = (splits.train, splits.calibration)
    return DataSet(
        name="digits",
        classes=tuple(map(str, range(10))),
        train=Labelled(
            inputs=np.concatenate([part.images for part in both]),
            labels=np.concatenate([part.labels for part in both]),
        ),
        test=Labelled(inputs=splits.test.images, labels=splits.test.labels),
    )
