from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.errors import refused

from adlrns_neuro.data import (
    DATASETS,
    DataSet,
    Labelled,
    folds,
    hold_out,
    load_dataset,
    load_digits_splits,
)
from mapping.errors import ConfigError


def labelled(n: int = 30, classes: int = 3) -> Labelled:
    """Inputs that are their own number."""
    return Labelled(inputs=np.arange(n)[:, np.newaxis], labels=np.arange(n) % classes)


def test_arrays_are_read_only() -> None:
    some = labelled()
    assert len(some) == 30
    for values in (some.inputs, some.labels):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        (np.zeros((3, 2)), np.zeros(4, np.int64)),
        (np.zeros((3, 2)), np.zeros(3, np.int32)),
        (np.zeros((3, 2)), np.zeros((3, 1), np.int64)),
        (np.zeros((3, 2)), np.array([0, 1, -1])),
        (np.zeros((0, 2)), np.zeros(0, np.int64)),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    inputs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    labels: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    with refused(ConfigError, "ADL-DAT-05", where="Labelled", remedy="one int64 label"):
        Labelled(inputs=inputs, labels=labels)


def test_parts_that_do_not_fit_are_refused() -> None:
    train = labelled()
    other = Labelled(inputs=np.zeros((3, 2)), labels=np.arange(3))
    with refused(ConfigError, "ADL-DAT-05", where="mine", message="(2,)"):
        DataSet(name="mine", classes=("a", "b", "c"), train=train, test=other)
    with refused(ConfigError, "ADL-DAT-05", where="mine", message="label 2 is none of 2"):
        DataSet(name="mine", classes=("a", "b"), train=train, test=train)


def test_pooled_is_train_then_test() -> None:
    some, more = labelled(6), labelled(3)
    whole = DataSet(name="mine", classes=("a", "b", "c"), train=some, test=more).pooled()
    assert whole.inputs.ravel().tolist() == [*range(6), *range(3)]
    assert whole.labels.tolist() == [*some.labels, *more.labels]


def test_hold_out_parts_each_class_in_the_same_proportion() -> None:
    rest, held = hold_out(labelled(), 0.2, seed=0)
    assert np.bincount(held.labels).tolist() == [2, 2, 2]
    assert sorted([*rest.inputs.ravel(), *held.inputs.ravel()]) == list(range(30))
    assert (np.diff(rest.inputs.ravel()) > 0).all(), "in the order they had"
    np.testing.assert_array_equal(held.inputs.ravel() % 3, held.labels)


def test_the_seed_decides_what_is_held_out() -> None:
    first, again, other = (hold_out(labelled(), 0.2, seed)[1].inputs for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan"), 0.01])
def test_a_share_that_leaves_a_part_without_a_class_is_refused(share: float) -> None:
    with refused(ConfigError, "ADL-DAT-04", where="hold_out", remedy="every class"):
        hold_out(labelled(), share, seed=0)


def test_a_class_of_one_sample_cannot_be_parted() -> None:
    lonely = Labelled(inputs=np.arange(5), labels=np.array([0, 0, 0, 0, 1]))
    with refused(ConfigError, "ADL-DAT-04", where="hold_out"):
        hold_out(lonely, 0.5, seed=0)
    with refused(ConfigError, "ADL-DAT-04", where="folds.k", message="classes with 1 samples"):
        folds(lonely, 2, seed=0)


def test_folds_hold_out_every_sample_once() -> None:
    pairs = list(folds(labelled(), 5, seed=3))
    assert sorted(np.concatenate([held.inputs.ravel() for _, held in pairs])) == list(range(30))
    for rest, held in pairs:
        assert np.bincount(held.labels).tolist() == [2, 2, 2]
        assert not set(rest.inputs.ravel()) & set(held.inputs.ravel())
    for pair, again in zip(pairs, folds(labelled(), 5, seed=3), strict=True):
        np.testing.assert_array_equal(pair[1].inputs, again[1].inputs)


@pytest.mark.parametrize("k", [0, 1, 11])
def test_impossible_folds_are_refused(k: int) -> None:
    with refused(ConfigError, "ADL-DAT-04", where="folds.k", message=f"{k} parts"):
        folds(labelled(), k, seed=0)


def test_all_sets_have_their_name() -> None:
    assert DATASETS.names() == (
        "cifar-10",
        "digits",
        "fashion-mnist",
        "mnist",
        "n-mnist",
        "spoken-digits",
    )


def test_an_unknown_set_is_refused() -> None:
    with refused(ConfigError, "ADL-CFG-01", where="data set", remedy="'fashion-mnist'"):
        load_dataset("fashion_mnist")


def test_an_unknown_option_is_refused() -> None:
    with refused(ConfigError, "ADL-DAT-03", where="digits", message="['size']", remedy="seed"):
        load_dataset("digits", size=8)
    with refused(ConfigError, "ADL-DAT-03", where="mnist", remedy="none"):
        load_dataset("mnist", seed=8)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_a_missing_folder_is_refused(name: str, tmp_path: Path) -> None:
    with refused(ConfigError, "ADL-DAT-01", where="nowhere", message=name, remedy="--data-dir"):
        load_dataset(name, tmp_path / "nowhere")
    with refused(ConfigError, "ADL-DAT-01", where=str(tmp_path), message="is not there"):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar-10", "mnist", "n-mnist", "spoken-digits"])
def test_sets_without_a_usual_place_need_a_folder(name: str) -> None:
    with refused(ConfigError, "ADL-DAT-01", where=name, message="no data directory"):
        load_dataset(name)


def test_digits_come_in_two_parts_with_the_same_test_part() -> None:
    digits, splits = load_dataset("digits", seed=4), load_digits_splits(4)
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    np.testing.assert_array_equal(digits.test.inputs, splits.test.images)
    np.testing.assert_array_equal(digits.train.inputs[:1078], splits.train.images)
    assert digits.classes == tuple("0123456789")


def test_every_set_is_in_the_documentation() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "data.md").read_text("utf-8")
    for name in (*DATASETS, "image-folder"):
        assert f"`{name}`" in page
