"""NumPy archives that users hand in: input spikes and traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.errors import ArtifactError, ConfigError
from mapping.intake import npz_arrays

Arrays = dict[str, npt.NDArray[Any]]


def write_archive(path: Path, arrays: Arrays) -> None:
    """Write ``arrays`` as a compressed ``.npz``, under this very name whatever its suffix."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_archive(path: Path, *, code: str, what: str) -> Arrays:
    """Every array of the ``.npz`` file ``path``.

    Args:
        path: the file.
        code: code of the error; what: word for the kind of file, for the message.

    Raises:
        ArtifactError: the file is missing, truncated or of another kind.
    """

    def refuse(reason: str) -> ArtifactError:
        return ArtifactError(
            f"cannot be read as an .npz {what} file ({reason})",
            where=str(path),
            remedy="check the path; the file may be missing, truncated or of another kind",
            code=code,
        )

    if not path.is_file():
        raise refuse("is a directory or device" if path.exists() else "No such file or directory")
    with path.open("rb") as file:
        return npz_arrays(file, path.stat().st_size, refuse)


def read_spikes(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Arrays ``spikes`` and, if there, ``labels`` of an input file.

    Raises:
        ArtifactError: ADL-INP-05, the file cannot be read.
        ConfigError: ADL-INP-06, there is no array ``spikes``.
    """
    arrays = read_archive(path, code="ADL-INP-05", what="input")
    if "spikes" not in arrays:
        raise ConfigError(
            f"holds {sorted(arrays)} but no array 'spikes'",
            where=str(path),
            remedy="save the input as spikes=(samples, steps, *input shape), integers",
            code="ADL-INP-06",
        )
    return arrays["spikes"], arrays.get("labels")
