"""Ways to damage any input: cut short, flipped, replaced, or no file at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HUGE = 10**12


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: unique.
        make: writes it into a folder.
        command: what reads it there.
        harmless: it may be valid after all, such as a flipped bit in a weight.
    """

    name: str
    make: Callable[[Path], object]
    command: tuple[str, ...]
    harmless: bool = False


def compile_of(model: str, *more: str) -> tuple[str, ...]:
    return ("compile", model, "-o", "OUT", *more)


def damaged(
    kind: str, file: str, content: bytes, command: tuple[str, ...], make: Callable[[Path], object]
) -> Iterator[Case]:
    """``file``, with ``content``, cut short and with bits flipped; ``make`` writes the rest."""
    rng = np.random.default_rng(len(content))

    def put(changed: bytes, folder: Path) -> None:
        make(folder)
        (folder / file).write_bytes(changed)

    for kept in np.linspace(0, len(content) - 1, 16).astype(int).tolist():
        yield Case(f"{kind}: {kept} bytes", partial(put, content[:kept]), command, kept > 0)
    for number in range(24):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 1 + number % 4):
            changed[place] ^= 1 << int(rng.integers(8))
        yield Case(f"{kind}: flip {number}", partial(put, bytes(changed)), command, harmless=True)


def nothing(folder: Path) -> None:
    """No other file."""


def content_of(write: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def edits(
    kind: str,
    write: Callable[[Path], object],
    file: str,
    command: tuple[str, ...],
    spared: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> Iterator[Case]:
    """Each data set of an HDF5 file replaced by something else."""
    places: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / file)
        with h5py.File(Path(folder) / file) as opened:
            opened.visititems(
                lambda name, item: places.append(name) if isinstance(item, h5py.Dataset) else None
            )

    def edited(place: str, edit: Callable[[h5py.File, str], None], folder: Path) -> None:
        write(folder / file)
        with h5py.File(folder / file, "r+") as opened:
            edit(opened, place)

    for place in places:
        if f"/{place}" in spared:
            continue
        for name, edit in _REPLACED.items():
            free = name == "gone" and place.rsplit("/", 1)[-1] in optional
            make = partial(edited, place, edit)
            yield Case(f"{kind}: {place} {name}", make, command, harmless=free)


def _replacement(**given: Any) -> Callable[[h5py.File, str], None]:
    def edit(file: h5py.File, place: str) -> None:
        del file[place]
        file.create_dataset(place, **given)

    return edit


def _instead(make: Callable[[h5py.File, str], object]) -> Callable[[h5py.File, str], None]:
    def edit(file: h5py.File, place: str) -> None:
        del file[place]
        make(file, place)

    return edit


def _link(link: object) -> Callable[[h5py.File, str], None]:
    return _instead(lambda file, place: file.__setitem__(place, link))


_REPLACED: dict[str, Callable[[h5py.File, str], None]] = {
    "gone": _instead(lambda file, place: None),
    "as text": _replacement(data="seven"),
    "as a group": _instead(lambda file, place: file.create_group(place)),
    "in three dimensions": _replacement(data=np.ones((7, 1, 3, 5, 2))),
    "nan": _replacement(data=np.full((3, 3), np.nan)),
    "infinite": _replacement(data=np.array(-np.inf)),
    "complex": _replacement(data=np.full((3,), 1j)),
    "empty": _replacement(data=h5py.Empty("f8")),
    "of no length": _replacement(data=np.zeros(0)),
    "huge": _replacement(shape=(HUGE,), dtype="f8", chunks=(2**16,), compression="gzip"),
    "in a huge chunk": _replacement(
        shape=(3,), dtype="f8", maxshape=(None,), chunks=(2**28,), compression="gzip"
    ),
    "structured": _replacement(data=np.zeros(3, dtype=[("a", "f8"), ("b", "S3")])),
    "of lists": _replacement(shape=(3,), dtype=h5py.vlen_dtype(np.float64)),
    "a soft link": _link(h5py.SoftLink("/version")),
    "a link to nowhere": _link(h5py.SoftLink("/nowhere")),
    "an external link": _link(h5py.ExternalLink("/etc/passwd", "/x")),
    "in another file": _replacement(
        shape=(3,), dtype="f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    ),
}


def no_files(kind: str, file: str, command: tuple[str, ...]) -> Iterator[Case]:
    """What is at a path, but no file."""
    makers: dict[str, Callable[[Path], object]] = {
        "missing": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "a nested folder": lambda path: (path / "a" / "b").mkdir(parents=True),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nowhere": lambda path: path.symlink_to("nowhere"),
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "a link to a text": lambda path: path.symlink_to(__file__),
        "a pipe": os.mkfifo,
        "text": lambda path: path.write_text("hello"),
        "zeros": lambda path: path.write_bytes(bytes(4096)),
    }

    def make(maker: Callable[[Path], object], folder: Path) -> None:
        maker(folder / file)

    for name, maker in makers.items():
        yield Case(f"{kind}: {name}", partial(make, maker), command)
