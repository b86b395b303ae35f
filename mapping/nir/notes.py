"""What our exporter adds to NIR nodes as metadata, so that nothing is lost on the way back.

Metadata hold scalars, strings and arrays. They refine a file, never contradict it: the parameters
that every NIR tool reads decide, and a recorded value counts only where it agrees with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from mapping.errors import ArtifactError
from mapping.ir.network import FloatArray
from mapping.ir.synapses import IntArray

FORMAT = "adlrns-nir/1"
"""Value of the graph's metadata entry ``format`` in files of ours."""

Note = str | bool | int | float | FloatArray | IntArray | npt.NDArray[np.int32] | tuple[int, ...]


def notes_of(**values: Note) -> dict[str, object]:
    """Metadata for a node; empty arrays, which HDF5 cannot compress, are left out."""
    arrays = {k: np.asarray(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {k: v for k, v in arrays.items() if not isinstance(v, np.ndarray) or v.size}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Notes:
    """Metadata of one node of a file of ours; empty for any other file.

    Attributes:
        where: file and node.
        values: entries by name.
    """

    where: str
    values: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str, default: str) -> str:
        """The string ``key``."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self._unfit(key)
        return value

    def number(self, key: str, default: float) -> float:
        """The number ``key``."""
        return float(self._array(key, np.asarray(default), ()))

    def positive(self, key: str, default: float) -> float:
        """The number ``key``, above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._unfit(key)
        return value

    def whole(self, key: str, default: int) -> int:
        """The integer or truth value ``key``."""
        value = self.number(key, default)
        if not value.is_integer():
            raise self._unfit(key)
        return int(value)

    def vector(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The integers ``key``."""
        values = self._array(key, np.asarray(default), (None,))
        if not (values == np.rint(values)).all():
            raise self._unfit(key)
        return tuple(int(value) for value in values)

    def shape(self, default: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the population; of as many compartments as ``default``."""
        values = self.vector("shape", default)
        if prod(values) != prod(default):
            raise self._unfit("shape")
        return values

    def array(self, key: str, default: FloatArray) -> FloatArray:
        """The array ``key``; of the shape of ``default``, unless that is empty."""
        return self._array(key, default, default.shape if default.size else (None,) * default.ndim)

    def _array(self, key: str, default: FloatArray, shape: tuple[int | None, ...]) -> FloatArray:
        value = np.asarray(self.values.get(key, default))
        fits = value.ndim == len(shape) and all(
            wanted in (None, extent) for extent, wanted in zip(value.shape, shape, strict=True)
        )
        if value.dtype.kind not in "biuf" or not fits or not np.isfinite(value).all():
            raise self._unfit(key)
        return value.astype(np.float64)

    def _unfit(self, key: str) -> ArtifactError:
        return ArtifactError(
            f"the metadata entry {key!r} does not fit the node",
            where=self.where,
            remedy="export the network again, or drop the graph's metadata entry 'format' to "
            "read the file without our metadata",
            code="ADL-NIR-08",
        )
