"""Checkpoints that are damaged, contradictory or hostile."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from support.malformed import HUGE, Case, compile_of, content_of, damaged
from support.spatial import spatial_network

from mapping.ir.checkpoint import save_network


def checkpoints() -> Iterator[Case]:
    def write(folder: Path) -> None:
        save_network(spatial_network(), folder / "model")

    command = compile_of("model")
    for file in ("network.json", "tensors.safetensors"):
        content = content_of(lambda path: write(path.parent.parent), f"model/{file}")
        yield from damaged(f"checkpoint: {file}", f"model/{file}", content, command, write)

    def described(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
        write(folder)
        path = folder / "model" / "network.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    def tensors(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
        write(folder)
        path = folder / "model" / "tensors.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path)

    for key in ("schema", "name", "dt_s", "output", "populations", "projections"):
        for name, value in VALUES.items():
            change = partial(changed, (key,), value)
            free = (key, name) == ("name", "a path")
            yield Case(f"checkpoint: {key} {name}", partial(described, change), command, free)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        whole = json.loads((Path(folder) / "model" / "network.json").read_text())
        names = list(load_file(Path(folder) / "model" / "tensors.safetensors"))
    for group in ("populations", "projections"):
        for key in whole[group][0]:
            for name, value in VALUES.items():
                change = partial(changed, (group, 0, key), value)
                free = (key, name) == ("payload_min", "negative")
                make = partial(described, change)
                yield Case(f"checkpoint: {group} {key} {name}", make, command, free)
    for key in ("inputs", "kernel", "stride", "groups"):
        change = partial(changed, ("projections", 0, "conv", key), HUGE)
        yield Case(f"checkpoint: conv {key}", partial(described, change), command)
    huge = partial(changed, ("populations", 1, "shape"), [10**6, 10**6, 4])
    yield Case("checkpoint: a huge shape", partial(described, huge), command)

    def emptied(folder: Path) -> None:
        described(huge, folder)
        path = folder / "model" / "tensors.safetensors"
        save_file(load_file(path) | {"features/bias": np.zeros(0)}, path)

    yield Case("checkpoint: a huge shape without biases", emptied, command)
    for name in names:
        for kind, tensor in _TENSORS.items():
            change = partial(_set, name, tensor)
            # empty delays and biases stand for none
            free = kind == "empty" and name.rsplit("/", 1)[-1] in ("delays", "bias")
            yield Case(f"checkpoint: {name} {kind}", partial(tensors, change), command, free)

    def header(length: int, text: bytes, folder: Path) -> None:
        write(folder)
        (folder / "model" / "tensors.safetensors").write_bytes(struct.pack("<Q", length) + text)

    yield Case("checkpoint: a header beyond the file", partial(header, 2**60, b"{}"), command)
    claim = json.dumps({"in/x": {"dtype": "F64", "shape": [HUGE], "data_offsets": [0, 8 * HUGE]}})
    yield Case("checkpoint: a claim", partial(header, len(claim), claim.encode()), command)
    odd = json.dumps({"conv/weight": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}})
    yield Case("checkpoint: an odd type", partial(header, len(odd), odd.encode() + b"\0"), command)

    def text(content: bytes, folder: Path) -> None:
        write(folder)
        (folder / "model" / "network.json").write_bytes(content)

    for name, content in (
        ("deep", b"[" * 100_000),
        ("deep objects", b'{"a":' * 100_000),
        ("not UTF-8", b'{"schema": "\xff"}'),
        ("a list", b"[]"),
        ("a number with many digits", b'{"dt_s": ' + b"9" * 10_000 + b"}"),
        ("nothing", b""),
        ("null", b"null"),
    ):
        yield Case(f"checkpoint: {name}", partial(text, content), command)

    def folder_in_place(file: str, folder: Path) -> None:
        write(folder)
        (folder / "model" / file).unlink()
        (folder / "model" / file).mkdir()

    def linked(file: str, folder: Path) -> None:
        write(folder)
        (folder / "model" / file).unlink()
        (folder / "model" / file).symlink_to(file)

    for file in ("network.json", "tensors.safetensors"):
        yield Case(f"checkpoint: {file} a folder", partial(folder_in_place, file), command)
        yield Case(f"checkpoint: {file} in a ring", partial(linked, file), command)


VALUES: dict[str, object] = {
    "none": None,
    "a list": [[]],
    "negative": -1,
    "huge": 10**400,
    "an object": {"a": 1},
    "a path": "../../../etc/passwd",
}
_TENSORS: dict[str, np.ndarray | None] = {
    "gone": None,
    "empty": np.zeros(0),
    "nan": np.full(3, np.nan),
    "of truth values": np.ones(3, bool),
    "complex": np.ones(3, np.complex64),
    "in five dimensions": np.ones((1, 2, 1, 2, 1)),
}


def changed(place: tuple[Any, ...], value: object, description: Any) -> None:
    *way, last = place
    for key in way:
        description = description[key]
    description[last] = value


def _set(name: str, tensor: np.ndarray | None, found: dict[str, Any]) -> None:
    del found[name]
    if tensor is not None:
        found[name] = tensor
