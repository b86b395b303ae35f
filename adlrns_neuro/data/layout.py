"""The folders and files that data sets are published in, and what is said when they are not so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ArtifactError, ConfigError
from mapping.intake import npz_arrays

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How the files of a data set lie.

    Attributes:
        name: of the data set.
        files: what its folder must hold, in words.
        source: how to get it, as an imperative phrase.
        usual: the folder in which a package of the system puts it, if there is one.
    """

    name: str
    files: str
    source: str
    usual: Path | None = None

    def folder(self, data_dir: Path | None) -> Path:
        """``data_dir``, or the usual place of the set.

        Raises:
            ConfigError: ``ADL-DAT-01`` when it is no folder, or neither is given.
        """
        chosen = data_dir or self.usual
        if chosen is None:
            raise self._absent("no data directory was given", self.name)
        if not chosen.is_dir():
            raise self._absent("there is no such folder", str(chosen))
        return chosen

    def missing(self, *paths: Path) -> ConfigError:
        """The error ``ADL-DAT-01`` about the file or folder of which all ``paths`` are forms."""
        first, *others = paths
        also = f", nor {', '.join(str(path) for path in others)}" if others else ""
        return self._absent(f"{first} is not there{also}", str(first.parent))

    def damaged(self, path: Path, reason: str) -> ArtifactError:
        """The error ``ADL-DAT-02`` about a file that is not what it should be."""
        return ArtifactError(
            f"is no file of {self.name}, or damaged: {reason}",
            where=str(path),
            remedy=f"{self.source} again, and check that the copy is complete",
            code="ADL-DAT-02",
        )

    def first_of(self, *paths: Path) -> Path:
        """The first of ``paths`` that is there.

        Raises:
            ConfigError: ``ADL-DAT-01`` when none is.
        """
        for path in paths:
            if path.exists():
                return path
        raise self.missing(*paths)

    def raw(self, path: Path, record_bytes: int) -> NDArray[np.uint8]:
        """The bytes of a file of records, shape (records, record_bytes).

        Raises:
            ArtifactError: ``ADL-DAT-02`` when it cannot be read or is no whole number of records.
        """
        try:
            values = np.fromfile(path, np.uint8)
        except OSError as error:
            raise self.damaged(path, str(error)) from error
        if len(values) == 0 or len(values) % record_bytes:
            raise self.damaged(
                path, f"{len(values)} bytes are no whole number of records of {record_bytes}"
            )
        return values.reshape(-1, record_bytes)

    def archive(self, path: Path, *names: str) -> Arrays:
        """The arrays of an ``.npz`` file, of which ``names`` must be there.

        Raises:
            ArtifactError: ``ADL-DAT-02`` when it cannot be read or lacks one.
        """
        try:
            with path.open("rb") as file:
                found = npz_arrays(file, path.stat().st_size, lambda why: self.damaged(path, why))
        except OSError as error:
            raise self.damaged(path, str(error)) from error
        lacking = sorted(set(names) - found.keys())
        if lacking:
            raise self.damaged(path, f"it holds no arrays {lacking}")
        return found

    def labels(self, path: Path, values: NDArray[Any], classes: int) -> NDArray[np.int64]:
        """``values``, which were read from ``path``, as labels.

        Raises:
            ArtifactError: ``ADL-DAT-02`` unless they are integers 0 to ``classes - 1``, one or more
                in one dimension.
        """
        if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iu":
            raise self.damaged(path, f"labels are {values.dtype} of shape {values.shape}")
        if values.min() < 0 or values.max() >= classes:
            raise self.damaged(path, f"labels are {values.min()} to {values.max()}")
        return values.astype(np.int64)

    def _absent(self, message: str, where: str) -> ConfigError:
        return ConfigError(
            f"{message}; {self.name} is read from {self.files}",
            where=where,
            remedy=f"{self.source}, and name its folder as the data directory (--data-dir)",
            code="ADL-DAT-01",
        )
