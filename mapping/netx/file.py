"""What lies in a ``.net`` file: one record of typed values per layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mapping.errors import ArtifactError, UnsupportedModelError
from mapping.intake import MOST_COMPARTMENTS, Tree, hdf5_holds, hdf5_tree
from mapping.ir.synapses import IntArray

_LARGEST_INTEGER = 2**31 - 1

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """The group ``layer/<number>`` of a file.

    Attributes:
        where: file and group, for errors.
        number: place in the file.
        values: datasets by name, such as ``weight`` or ``neuron/iDecay``.
    """

    where: str
    number: int
    values: Mapping[str, Values]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str:
        """The string ``key``."""
        value = self._get(key)
        entry = value.ravel()[0] if value.size == 1 else None
        if isinstance(entry, bytes):
            entry = entry.decode("ascii", "replace")
        if not isinstance(entry, str):
            raise self.damaged(f"{key} is no string")
        return str(entry)

    def integers(self, key: str) -> IntArray:
        """The integers ``key``, whatever type they are stored in."""
        value = self._get(key)
        if value.dtype.kind not in "biuf":
            raise self.damaged(f"{key} holds {value.dtype}, not real numbers")
        whole = value == np.rint(value) if value.dtype.kind == "f" else np.isfinite(value)
        whole &= np.abs(value.astype(np.float64)) <= _LARGEST_INTEGER
        if not whole.all():
            place = tuple(int(i) for i in np.argwhere(~whole)[0])
            raise UnsupportedModelError(
                f"{key}{list(place) or ''} is {value[place]}, not an integer of 32 bits",
                where=self.where,
                remedy="export the network with quantised weights and biases, as lava-dl's "
                "export_hdf5 does",
                code="ADL-NTX-06",
            )
        return value.astype(np.int64)

    def whole(self, key: str) -> int:
        """The integer ``key``, the same for the whole layer."""
        values = np.unique(self.integers(key))
        if not values.size:
            raise self.damaged(f"{key} is empty")
        if values.size > 1:
            raise UnsupportedModelError(
                f"{key} has {values.size} values, from {values[0]} to {values[-1]}, where a "
                "population has one",
                where=self.where,
                remedy="train with shared_param=True",
                code="ADL-NTX-05",
            )
        return int(values[0])

    def pair(self, key: str) -> tuple[int, int]:
        """The integers ``key`` for (vertical, horizontal); one stands for both."""
        values = self.integers(key).ravel().tolist()
        if len(values) not in (1, 2):
            raise self.misshapen(f"{key} holds {len(values)} numbers, not (vertical, horizontal)")
        return values[0], values[-1]

    def shape(self) -> tuple[int, ...]:
        """The shape of its output, (channels, height, width) or (neurons,)."""
        extents = tuple(self.integers("shape").ravel().tolist())
        if not extents or min(extents) < 1 or prod(extents) > MOST_COMPARTMENTS:
            raise self.misshapen(f"shape {extents} is not that of 1 to {MOST_COMPARTMENTS} neurons")
        return extents

    def damaged(self, message: str) -> ArtifactError:
        """What to raise if something is missing or of the wrong type."""
        return ArtifactError(
            message,
            where=self.where,
            remedy="export the network again with lava-dl's export_hdf5",
            code="ADL-NTX-02",
        )

    def misshapen(self, message: str) -> ArtifactError:
        """What to raise if shapes do not fit together."""
        return ArtifactError(
            message,
            where=self.where,
            remedy="write shapes as (channels, height, width), as lava-dl's export_hdf5 does",
            code="ADL-NTX-03",
        )

    def _get(self, key: str) -> Values:
        if key not in self.values:
            raise self.damaged(f"has no {key!r}; it holds {', '.join(sorted(self.values))}")
        return self.values[key]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetFile:
    """Everything in a file.

    Attributes:
        layers: in the order of their numbers.
        step_ms: duration of a step [ms]; None if the file does not say.
    """

    layers: tuple[Record, ...]
    step_ms: float | None


def is_net(path: Path) -> bool:
    """Whether ``path`` is a lava-dl network: by its suffix, else by what it holds."""
    if path.suffix in (".net", ".nir") or not path.is_file():
        return path.suffix == ".net" and not path.is_dir()
    return hdf5_holds(path, "layer")


def load_file(path: Path) -> NetFile:
    """The records in the file ``path``.

    Raises:
        ArtifactError: it is missing or damaged (ADL-NTX-01), a layer is not numbered (ADL-NTX-02)
            or too large (ADL-NTX-03).
    """
    if not path.is_file():
        raise _unreadable(path, "no such file")
    tree = hdf5_tree(path, partial(_unreadable, path))
    layers = tree.get("layer")
    if not isinstance(layers, dict) or not layers:
        raise _unreadable(path, "holds no layers")
    records = [_record(path, name, group) for name, group in layers.items()]
    simulation = tree.get("simulation")
    step_ms = simulation.get("Ts") if isinstance(simulation, dict) else None
    records.sort(key=lambda record: record.number)
    for number, record in enumerate(records):
        if record.number != number:
            raise record.damaged(f"there is no layer {number}, of {len(records)}")
    return NetFile(layers=tuple(records), step_ms=_step(path, step_ms))


def _record(path: Path, name: str, group: object) -> Record:
    record = Record(
        where=f"{path}: layer/{name}", number=int(name) if name.isdecimal() else -1, values={}
    )
    if not isinstance(group, dict):
        raise record.damaged("is no group")
    return replace(record, values=dict(_flat(group, "")))


def _flat(group: Tree, prefix: str) -> Iterator[tuple[str, Values]]:
    for name, item in group.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{name}/")
        else:
            yield prefix + name, item


def _step(path: Path, step_ms: object) -> float | None:
    if step_ms is None:
        return None
    value = np.asarray(step_ms)
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < float(value.item()) < np.inf:
        raise _unreadable(path, f"simulation/Ts is {step_ms}, not a positive number of ms")
    return float(value.item())


def _unreadable(path: Path, message: str) -> ArtifactError:
    return ArtifactError(
        message,
        where=str(path),
        remedy="give a .net file that lava-dl's export_hdf5 wrote, and copy it as a whole",
        code="ADL-NTX-01",
    )
