"""What every data set is once it has been read: labelled arrays in two parts, and how to split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from mapping.errors import ConfigError
from mapping.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Inputs with their classes, both read-only.

    Attributes:
        inputs: one or more, in the type of the files, shape (n, *shape).
        labels: indices of classes, shape (n,), int64.

    Raises:
        ConfigError: ``ADL-DAT-05`` unless there is one label, 0 or more, for each input.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.labels.dtype != np.int64 or self.labels.shape != self.inputs.shape[:1]:
            raise _unfit(
                f"labels are {self.labels.dtype} of shape {self.labels.shape} for inputs of shape "
                f"{self.inputs.shape}"
            )
        if len(self.labels) == 0 or self.labels.min() < 0:
            raise _unfit("there are no labels, or negative ones")
        self.inputs.setflags(write=False)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, which: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Labelled:
        """A copy of some of them: by index, shape (m,), or by a mask of shape (n,)."""
        return Labelled(inputs=self.inputs[which], labels=self.labels[which])


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A data set in the two parts in which it is published.

    Attributes:
        name: as in ``DATASETS``.
        classes: names of the classes, in the order of the labels.
        train: for weights and, in parts held out, for every choice.
        test: for reported figures only.

    Raises:
        ConfigError: ``ADL-DAT-05`` when the parts have inputs of different shapes or types, or a
            label has no class.
    """

    name: str
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled

    def __post_init__(self) -> None:
        kinds = [(part.inputs.shape[1:], part.inputs.dtype) for part in (self.train, self.test)]
        if kinds[0] != kinds[1]:
            raise _unfit(f"inputs are {kinds[0]} in train, but {kinds[1]} in test", self.name)
        largest = max(int(part.labels.max()) for part in (self.train, self.test))
        if largest >= len(self.classes):
            raise _unfit(f"label {largest} is none of {len(self.classes)} classes", self.name)

    def pooled(self) -> Labelled:
        """Both parts in one, train first: what cross-validation over everything starts from."""
        return Labelled(
            inputs=np.concatenate([self.train.inputs, self.test.inputs]),
            labels=np.concatenate([self.train.labels, self.test.labels]),
        )


def _unfit(message: str, where: str = "Labelled") -> ConfigError:
    return ConfigError(
        message,
        where=where,
        remedy="pass one int64 label for each input, numbered from 0 in the order of the classes",
        code="ADL-DAT-05",
    )


Loader = Callable[..., DataSet]
"""Called with the data directory or None, and with options of its own by keyword."""

DATASETS: Registry[Loader] = Registry("data set", "adlrns_neuro.datasets")


def load_dataset(name: str, data_dir: Path | str | None = None, **options: Any) -> DataSet:
    """Read the data set called ``name``; nothing is ever downloaded.

    Args:
        name: one of ``DATASETS``; ``docs/data.md`` tells what each is.
        data_dir: the folder with its files; sets with a usual place, and those that come with a
            package, need none.
        options: of the loader.

    Raises:
        ConfigError: ``ADL-CFG-01`` on an unknown name, ``ADL-DAT-01`` when files are missing,
            ``ADL-DAT-03`` on an option that the loader lacks or cannot take.
        ArtifactError: ``ADL-DAT-02`` when a file is damaged or of another kind.
    """
    load = DATASETS.get(name)
    known = [option for option in signature(load).parameters if option != "data_dir"]
    wrong = sorted(options.keys() - known)
    if wrong:
        raise bad_option(
            name, f"there are no options {wrong}", f"its options are: {', '.join(known) or 'none'}"
        )
    return load(None if data_dir is None else Path(data_dir), **options)


def bad_option(name: str, reason: str, remedy: str) -> ConfigError:
    """The error ``ADL-DAT-03`` about an option of the loader called ``name``."""
    return ConfigError(reason, where=name, remedy=remedy, code="ADL-DAT-03")


def hold_out(labelled: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Part ``labelled`` at random, each class in the same proportion.

    Args:
        labelled: what to part.
        share: of all samples that are held out, between 0 and 1.
        seed: decides which; the same seed gives the same parts.

    Returns:
        The rest and what is held out, each in the order of ``labelled``.

    Raises:
        ConfigError: ``ADL-DAT-04`` when the share leaves a part, or a class in a part, empty.
    """
    if not 0.0 < share < 1.0:
        raise _unsplit(f"a share of {share} leaves one part empty", "hold_out.share")
    try:
        rest, held = train_test_split(
            np.arange(len(labelled)), test_size=share, stratify=labelled.labels, random_state=seed
        )
    except ValueError as error:
        raise _unsplit(str(error).rstrip("."), "hold_out") from error
    return labelled.pick(np.sort(rest)), labelled.pick(np.sort(held))


def folds(labelled: Labelled, k: int, seed: int) -> Iterator[tuple[Labelled, Labelled]]:
    """The ``k`` ways to hold out one of ``k`` parts, each class in the same proportion.

    Args:
        labelled: what to part.
        k: number of parts, 2 to the size of the smallest class.
        seed: decides which sample is in which part.

    Returns:
        Pairs of the rest and what is held out, made one after the other.

    Raises:
        ConfigError: ``ADL-DAT-04`` when ``k`` is out of its range.
    """
    fewest = int(np.unique(labelled.labels, return_counts=True)[1].min())
    if not 2 <= k <= fewest:
        raise _unsplit(f"{k} parts of classes with {fewest} samples or more", "folds.k")
    parts = StratifiedKFold(k, shuffle=True, random_state=seed)
    pairs = parts.split(np.zeros(len(labelled)), labelled.labels)
    return ((labelled.pick(rest), labelled.pick(held)) for rest, held in pairs)


def _unsplit(message: str, where: str) -> ConfigError:
    return ConfigError(
        message,
        where=where,
        remedy="choose parts such that each has one sample or more of every class",
        code="ADL-DAT-04",
    )
