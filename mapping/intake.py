"""Open files of others: what they declare is measured before any of it is loaded.

A small file can declare arrays that fill every memory: compressed zeros, data sets that were never
written, a header that promises more than follows. It can also point at files elsewhere. Both are
refused before they can do harm.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from mapping.errors import ArtifactError

FREE_BYTES = 2**26
"""What a file of any size may hold unpacked, 64 MiB."""
WIDEST_EXPANSION = 64
"""Beyond that, how many times its own size a file may hold unpacked."""
MOST_COMPARTMENTS = 2**22
"""Per population; four times what a Loihi 2 chip holds in all."""
_DEEPEST_GROUP = 24

Tree = dict[str, Any]
"""Groups as dictionaries, data sets as arrays."""
Refusal = Callable[[str], ArtifactError]
"""Makes the error out of what is wrong."""
_OF_HDF5 = (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError)
"""What h5py raises on a damaged file."""
_OF_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What zipfile and NumPy raise on a damaged archive."""


def most_bytes(size: int) -> int:
    """What a file of ``size`` bytes may hold unpacked [bytes]."""
    return max(FREE_BYTES, WIDEST_EXPANSION * size)


def hdf5_tree(path: Path, refuse: Refusal) -> Tree:
    """Everything in the HDF5 file ``path``: numbers and texts, under names that can be printed.

    Args:
        path: the file.
        refuse: makes the error if it is damaged, holds more than :func:`most_bytes`, links of any
            kind, one object under two names, or values that are neither numbers nor text.
    """
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(refuse=refuse, room=most_bytes(path.stat().st_size))
            return walk.group(file, "", 0)
    except _OF_HDF5 as error:
        raise refuse(f"is no HDF5 file or damaged ({error})") from error


def hdf5_holds(path: Path, name: str) -> bool:
    """Whether the file ``path`` is HDF5 and has an object ``name`` at its top."""
    try:
        with h5py.File(path, "r") as file:
            return name in file
    except _OF_HDF5:
        return False


class _Walk:
    """One pass over a file; ``room`` is what the rest of it may take [bytes]."""

    def __init__(self, *, refuse: Refusal, room: int) -> None:
        self._refuse, self._room = refuse, room
        self._most = room
        self._seen: set[int] = set()

    def group(self, group: h5py.Group, place: str, depth: int) -> Tree:
        if depth > _DEEPEST_GROUP:
            raise self._refuse(f"nests groups more than {_DEEPEST_GROUP} deep, at {place}")
        return {name: self._item(group, name, place, depth) for name in group}

    def _item(self, group: h5py.Group, name: str | bytes, place: str, depth: int) -> Any:
        if not isinstance(name, str) or not name.isprintable():
            raise self._refuse(f"holds the name {name!r}, which is no printable text")
        place = f"{place}/{name}".removeprefix("/")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise self._refuse(f"{place} is a link to somewhere else, which is not followed")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in self._seen:
            raise self._refuse(f"{place} is stored under another name, too")
        self._seen.add(address)
        if isinstance(item, h5py.Group):
            return self.group(item, place, depth + 1)
        if not isinstance(item, h5py.Dataset):
            raise self._refuse(f"{place} is neither a group nor a data set")
        return self._values(item, place)

    def _values(self, item: h5py.Dataset, place: str) -> npt.NDArray[Any]:
        kind, text = item.dtype, h5py.check_string_dtype(item.dtype)
        if item.is_virtual or item.external:
            raise self._refuse(f"{place} lies in another file, which is not opened")
        if item.shape is None or (kind.kind not in "biufcS" and text is None):
            raise self._refuse(f"{place} holds {kind}, neither numbers nor text")
        needed = max(prod(item.shape), prod(item.chunks or ())) * kind.itemsize
        if needed > self._room:
            raise self._refuse(
                f"{place} has shape {item.shape}; with it the file would hold more than "
                f"{self._most >> 20} MiB, too much for its size"
            )
        self._room -= needed
        return np.asarray(item[()])


def npz_arrays(file: BinaryIO, size: int, refuse: Refusal) -> dict[str, npt.NDArray[Any]]:
    """Every array of an ``.npz`` archive.

    Args:
        file: the archive, open for reading.
        size: its length [bytes].
        refuse: makes the error if it is damaged, holds more than :func:`most_bytes`, the same name
            twice, anything but arrays, or arrays of Python objects.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            unpacked, room = sum(member.file_size for member in members), most_bytes(size)
            if unpacked > room:
                raise refuse(
                    f"would hold {unpacked >> 20} MiB unpacked, too much for its size; "
                    f"{room >> 20} MiB are read"
                )
            found: dict[str, npt.NDArray[Any]] = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name in found:
                    raise refuse(f"holds {member.filename!r}, no array or one of two of that name")
                found[name] = _array(archive, member, refuse)
            return found
    except _OF_ZIP as error:
        raise refuse(f"is no NumPy archive or damaged ({error})") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, refuse: Refusal) -> npt.NDArray[Any]:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise refuse(f"{member.filename!r} is in format {version}, which is not read")
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, kind = header(stream)
        if kind.hasobject or kind.kind not in "biufcSU":
            raise refuse(f"{member.filename!r} holds {kind}, not numbers or text")
        length = prod(shape) * kind.itemsize
        if length > member.file_size or min(shape, default=0) < 0:
            raise refuse(f"{member.filename!r} has shape {shape}, but less data")
        values = bytearray(stream.read(length))
        if len(values) != length or stream.read(1):
            raise refuse(f"{member.filename!r} has shape {shape}, but other data")
    found = np.frombuffer(values, kind) if length else np.zeros(prod(shape), kind)
    return found.reshape(shape, order="F" if by_columns else "C")
