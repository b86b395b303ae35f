"""Inputs that are damaged, contradictory or hostile, and the commands that read them.

Run as a module, it gives every one of them to ``adlrns-map`` in this process and prints, as JSON,
how each ended and how much memory all of them took.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from safetensors.numpy import load_file, save_file
from support.net_files import conv, dense, pool, write_net
from support.networks import small_network
from support.spatial import spatial_network

from mapping.artifact.write import write_artifact
from mapping.cli import run
from mapping.ir.checkpoint import save_network
from mapping.nir import write_nir
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target
from support.chips import as_toml

MOST_ADDRESSES = 8 * 2**30
"""Virtual memory that the batch may ask for, so that no case can take the machine down [bytes]."""
LONGEST_S = 20
"""What a case may take; SIGALRM then ends the batch [s]."""
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


@dataclass(frozen=True)
class Ending:
    """How a case ended.

    Attributes:
        name: of the case.
        code: exit code.
        message: stderr.
        left: files in the folder that the case did not make.
        harmless: of the case.
    """

    name: str
    code: int
    message: str
    left: list[str]
    harmless: bool


def cases() -> Iterator[Case]:
    """All of them, in the same order every time."""
    yield from _nir_files()
    yield from _graphs()
    yield from _net_files()
    yield from _checkpoints()
    yield from _archives()
    yield from _targets()
    yield from _programs()


def _compile(model: str, *more: str) -> tuple[str, ...]:
    return ("compile", model, "-o", "OUT", *more)


def _bytes(
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


def _nothing(folder: Path) -> None:
    """No other file."""


def _content(write: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _foreign(path: Path) -> None:
    """A small NIR file of another tool: conv, IF, pool, flatten, delay, matrix, CubaLIF."""
    ones = np.ones((2, 4, 4))
    nodes = {
        "input": nir.Input(np.array([1, 6, 6])),
        "conv": nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2)),
        "if": nir.IF(r=ones, v_threshold=ones, v_reset=0 * ones),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        "wait": nir.Delay(np.full(8, 2e-4)),
        "matrix": nir.Affine(np.ones((3, 8)), np.ones(3)),
        "cuba": nir.CubaLIF(
            tau_mem=np.full(3, 1e-3),
            tau_syn=np.full(3, 5e-4),
            r=np.ones(3),
            v_leak=np.zeros(3),
            v_threshold=np.ones(3),
            w_in=np.ones(3),
        ),
        "output": nir.Output(np.array([3])),
    }
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False))


def _nir_files() -> Iterator[Case]:
    command = _compile("x.nir")
    for kind, write in (
        ("foreign nir", _foreign),
        ("own nir", lambda path: write_nir(spatial_network(), path)),
    ):
        yield from _bytes(kind, "x.nir", _content(write, "x.nir"), command, _nothing)
    yield from _edits("nir", _foreign, "x.nir", command, ("/version",), optional=("v_reset", "w_in", "input_shape", "input_type"))


def _edits(
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
            opened.visititems(lambda name, item: places.append(name) if isinstance(item, h5py.Dataset) else None)

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


def _graph(change: Callable[[dict[str, Any], list[Any]], object], folder: Path) -> None:
    """A plain NIR file whose nodes and edges ``change`` has changed."""
    nodes: dict[str, Any] = {
        "input": {"type": "Input", "shape": np.array([3])},
        "w": {"type": "Linear", "weight": np.ones((2, 3))},
        "lif": {
            "type": "LIF",
            **{name: np.full(2, value) for name, value in (("tau", 1e-3), ("r", 1.0))},
            **{name: np.full(2, value) for name, value in (("v_leak", 0.0), ("v_threshold", 1.0))},
        },
        "output": {"type": "Output", "shape": np.array([2])},
    }
    edges: list[Any] = list(pairwise(nodes))
    whole = {"type": "NIRGraph", "nodes": nodes, "edges": edges}
    found = change(nodes, edges)
    _put_graph(folder / "x.nir", found if isinstance(found, dict) else whole)


def _put_graph(path: Path, whole: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file["version"] = "1.0.8"
        _put(file, "node", whole)


def _put(group: h5py.Group, key: Any, value: Any) -> None:
    if isinstance(value, dict):
        inner = group.create_group(key)
        for name, entry in value.items():
            _put(inner, name, entry)
    elif key == "edges" and isinstance(value, list):
        kind = h5py.string_dtype()
        group.create_dataset(key, data=np.array(value, dtype=object), dtype=kind)
    else:
        group[key] = value


def _nested(depth: int) -> dict[str, Any]:
    whole: dict[str, Any] = {"type": "NIRGraph", "nodes": {}, "edges": np.zeros(0)}
    for _ in range(depth):
        whole = {"type": "NIRGraph", "nodes": {"in": whole}, "edges": np.zeros(0)}
    return whole


def _operators(nodes: dict[str, Any], *names: str) -> None:
    nodes.update({name: {"type": "Linear", "weight": np.eye(3)} for name in names})


def _laughs(folder: Path) -> None:
    """Groups that each hold the next one twice, forty deep."""
    with h5py.File(folder / "x.nir", "w") as file:
        group = file.create_group("node")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner


def _ring(folder: Path) -> None:
    with h5py.File(folder / "x.nir", "w") as file:
        group = file.create_group("node")
        group["nodes"] = group


def _odd_name(name: bytes, folder: Path) -> None:
    _graph(lambda nodes, edges: None, folder)
    with h5py.File(folder / "x.nir", "r+") as file:
        nodes = file["node/nodes"].id
        h5py.h5g.create(nodes, name)


_GRAPHS: dict[str, Callable[[dict[str, Any], list[Any]], object]] = {
    "no nodes": lambda nodes, edges: {"type": "NIRGraph", "nodes": {}, "edges": np.zeros(0)},
    "no groups": lambda nodes, edges: {"type": "NIRGraph"},
    "no type": lambda nodes, edges: {"nodes": nodes, "edges": edges},
    "a number as type": lambda nodes, edges: {"type": 3, "nodes": nodes, "edges": edges},
    "a node alone": lambda nodes, edges: nodes["lif"],
    "no Input": lambda nodes, edges: (nodes.pop("input"), edges.pop(0)),
    "no Output": lambda nodes, edges: (nodes.pop("output"), edges.pop()),
    "no edges": lambda nodes, edges: edges.clear(),
    "two Inputs": lambda nodes, edges: nodes.update(more=nodes["input"]),
    "a dangling edge": lambda nodes, edges: edges.append(("lif", "nowhere")),
    "an edge from nowhere": lambda nodes, edges: edges.append(("nowhere", "lif")),
    "an edge twice": lambda nodes, edges: edges.append(edges[0]),
    "edges of three": lambda nodes, edges: {
        "type": "NIRGraph", "nodes": nodes, "edges": np.array([["a", "b", "c"]], dtype="S1")
    },
    "edges of numbers": lambda nodes, edges: {
        "type": "NIRGraph", "nodes": nodes, "edges": np.ones((2, 2))
    },
    "one edge": lambda nodes, edges: {"type": "NIRGraph", "nodes": nodes, "edges": "input"},
    "edges in a group": lambda nodes, edges: {"type": "NIRGraph", "nodes": nodes, "edges": {"a": 1}},
    "edges that are no text": lambda nodes, edges: {
        "type": "NIRGraph", "nodes": nodes, "edges": np.array([[b"\xff", b"\xfe"]])
    },
    "a loop without state": lambda nodes, edges: (
        _operators(nodes, "a", "b"), edges.extend([("input", "a"), ("a", "b"), ("b", "a"), ("b", "w")])
    ),
    "a loop of one": lambda nodes, edges: (
        _operators(nodes, "a"), edges.extend([("input", "a"), ("a", "a"), ("a", "w")])
    ),
    "a loop aside": lambda nodes, edges: (
        _operators(nodes, "a", "b"), edges.extend([("a", "b"), ("b", "a")])
    ),
    "a matrix that is not fed": lambda nodes, edges: (_operators(nodes, "a"), edges.append(("a", "w"))),
    "a fed Input": lambda nodes, edges: edges.append(("lif", "input")),
    "weights of a row too many": lambda nodes, edges: nodes["w"].update(weight=np.ones((3, 3))),
    "weights of a column too many": lambda nodes, edges: nodes["w"].update(weight=np.ones((2, 4))),
    "weights in one dimension": lambda nodes, edges: nodes["w"].update(weight=np.ones(3)),
    "weights without dimension": lambda nodes, edges: nodes["w"].update(weight=1.0),
    "weights that are nan": lambda nodes, edges: nodes["w"].update(weight=np.full((2, 3), np.nan)),
    "weights beyond all bounds": lambda nodes, edges: nodes["w"].update(weight=np.full((2, 3), 1e308)),
    "weights of true and false": lambda nodes, edges: nodes["w"].update(weight=np.ones((2, 4), bool)),
    "a shape of fractions": lambda nodes, edges: nodes["input"].update(shape=np.array([3.5])),
    "a negative shape": lambda nodes, edges: nodes["input"].update(shape=np.array([-3])),
    "a huge shape": lambda nodes, edges: nodes["input"].update(shape=np.array([10**6, 10**6])),
    "a shape that overflows": lambda nodes, edges: nodes["input"].update(shape=np.full(4, 2**62)),
    "a shape of many": lambda nodes, edges: nodes["input"].update(shape=np.ones(1000, int)),
    "parameters of two sizes": lambda nodes, edges: nodes["lif"].update(r=np.ones(3)),
    "a tau of zero": lambda nodes, edges: nodes["lif"].update(tau=np.zeros(2)),
    "a tau below all": lambda nodes, edges: nodes["lif"].update(tau=np.full(2, 5e-324)),
    "a tau beyond all": lambda nodes, edges: nodes["lif"].update(tau=np.full(2, np.inf)),
    "a threshold below": lambda nodes, edges: nodes["lif"].update(v_threshold=np.full(2, -1.0)),
    "a resistance beyond all": lambda nodes, edges: nodes["lif"].update(r=np.full(2, 1e308)),
    "an unknown parameter": lambda nodes, edges: nodes["lif"].update(refractory=np.ones(2)),
    "an unknown type": lambda nodes, edges: nodes["lif"].update(type="Lif"),
    "a type that is no text": lambda nodes, edges: nodes["lif"].update(type=b"\xff\xfe"),
    "a Threshold": lambda nodes, edges: nodes.update(
        lif={"type": "Threshold", "threshold": np.ones(2)}
    ),
    "a number as node": lambda nodes, edges: nodes.update(lif=3),
    "metadata that are none": lambda nodes, edges: nodes["lif"].update(metadata=np.ones(3)),
    "a delay beyond all": lambda nodes, edges: (
        nodes.update(wait={"type": "Delay", "delay": np.full(3, 1e300)}),
        edges.clear(),
        edges.extend(pairwise(["input", "wait", "w", "lif", "output"])),
    ),
    "a graph in itself": lambda nodes, edges: nodes.update(more=_nested(3)),
    "a deep graph": lambda nodes, edges: _nested(200),
    "a sub-graph twice around": lambda nodes, edges: (
        nodes.update(
            sub={
                "type": "NIRGraph",
                "nodes": {
                    "i": {"type": "Input", "shape": np.array([2])},
                    "o": {"type": "Output", "shape": np.array([2])},
                },
                "edges": [("i", "o")],
            }
        ),
        edges.extend([("lif", "sub"), ("sub", "output")]),
    ),
    "a name of two nodes": lambda nodes, edges: nodes.update(
        {
            "s": {
                "type": "NIRGraph",
                "nodes": {
                    "i": nodes["input"],
                    "x": nodes["w"],
                    "o": nodes["output"],
                },
                "edges": [("i", "x"), ("x", "o")],
            },
            "s.x": nodes["w"],
        }
    ),
}  # fmt: skip


def _graphs() -> Iterator[Case]:
    command = _compile("x.nir")
    for name, change in _GRAPHS.items():
        yield Case(f"graph: {name}", partial(_graph, change), command)
    yield Case("graph: groups in groups", _laughs, command)
    yield Case("graph: a group in itself", _ring, command)
    for name in (b"\xff\xfe", b"\x1b[31m", b"a\nb", b"..", b"\xed\xa0\x80"):
        yield Case(f"graph: the name {name!r}", partial(_odd_name, name), command)

    def escaping(folder: Path) -> None:
        write_nir(small_network(), folder / "x.nir")
        with h5py.File(folder / "x.nir", "r+") as file:
            for key in ("node/metadata/name", "node/nodes/hidden/metadata/name"):
                del file[key]
                file[key] = "../../../../tmp/evil"

    yield Case("graph: names that are paths", escaping, command, harmless=True)
    yield from _no_files("nir", "x.nir", _compile("x.nir"))


def _no_files(kind: str, file: str, command: tuple[str, ...]) -> Iterator[Case]:
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


def _net_files() -> Iterator[Case]:
    rng = np.random.default_rng(0)

    def write(path: Path) -> None:
        layers = [
            {"type": "input", "shape": [1, 6, 6]},
            conv((1, 6, 6), 2 * rng.integers(-3, 4, (2, 1, 3, 3))),
            pool((2, 4, 4), (2, 2), 64),
            {"type": "flatten"},
            dense(2 * rng.integers(-3, 4, (3, 8)), bias=np.ones(3)),
        ]
        write_net(path, layers, Ts=1.0)

    command = _compile("x.net")
    yield from _bytes("net", "x.net", _content(write, "x.net"), command, _nothing)
    optional = ("bias", "inChannels", "outChannels", "inFeatures", "outFeatures", "kernelSize")
    for case in _edits("net", write, "x.net", command, (), optional):
        key = case.name.split()[1].rsplit("/", 1)[-1]
        kept = key in (*optional, "refDelay", "gradedSpike", "Ts")
        # ones, whatever their shape, are one value for the whole layer
        kept |= key in _OF_LAYERS and case.name.endswith("in three dimensions")
        yield Case(case.name, case.make, case.command, case.harmless or kept)
    yield from _no_files("net", "x.net", command)


_OF_LAYERS = ("groups", "iDecay", "vDecay", "vThMant")
"""What a layer has one of."""


def _checkpoints() -> Iterator[Case]:
    def write(folder: Path) -> None:
        save_network(spatial_network(), folder / "model")

    command = _compile("model")
    for file in ("network.json", "tensors.safetensors"):
        content = _content(lambda path: write(path.parent.parent), f"model/{file}")
        yield from _bytes(f"checkpoint: {file}", f"model/{file}", content, command, write)

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
        for name, value in _VALUES.items():
            change = partial(_changed, (key,), value)
            free = (key, name) == ("name", "a path")
            yield Case(f"checkpoint: {key} {name}", partial(described, change), command, free)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        whole = json.loads((Path(folder) / "model" / "network.json").read_text())
        names = list(load_file(Path(folder) / "model" / "tensors.safetensors"))
    for group in ("populations", "projections"):
        for key in whole[group][0]:
            for name, value in _VALUES.items():
                change = partial(_changed, (group, 0, key), value)
                free = (key, name) == ("payload_min", "negative")
                make = partial(described, change)
                yield Case(f"checkpoint: {group} {key} {name}", make, command, free)
    for key in ("inputs", "kernel", "stride", "groups"):
        change = partial(_changed, ("projections", 0, "conv", key), HUGE)
        yield Case(f"checkpoint: conv {key}", partial(described, change), command)
    huge = partial(_changed, ("populations", 1, "shape"), [10**6, 10**6, 4])
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
    yield Case(
        "checkpoint: an odd type", partial(header, len(odd), odd.encode() + b"\0"), command
    )

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


_VALUES: dict[str, object] = {
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


def _changed(place: tuple[Any, ...], value: object, description: Any) -> None:
    *way, last = place
    for key in way:
        description = description[key]
    description[last] = value


def _set(name: str, tensor: np.ndarray | None, found: dict[str, Any]) -> None:
    del found[name]
    if tensor is not None:
        found[name] = tensor


def _archives() -> Iterator[Case]:
    def model(folder: Path) -> None:
        save_network(small_network(), folder / "model")

    command = _compile("model", "--calibration", "x.npz")
    spikes = np.ones((2, 5, 12), np.int64)
    whole = io.BytesIO()
    np.savez_compressed(whole, spikes=spikes)
    yield from _bytes("npz", "x.npz", whole.getvalue(), command, model)

    def saved(folder: Path, **arrays: Any) -> None:
        model(folder)
        np.savez(folder / "x.npz", **arrays)

    for name, arrays in {
        "without spikes": {"other": spikes},
        "empty": {},
        "of another shape": {"spikes": spikes[:, :, :5]},
        "without samples": {"spikes": spikes[:0]},
        "without steps": {"spikes": spikes[:, :0]},
        "of numbers": {"spikes": spikes * 1.5},
        "nan": {"spikes": spikes * np.nan},
        "out of range": {"spikes": spikes * 1000},
        "of text": {"spikes": np.array(["a"])},
        "complex": {"spikes": spikes * 1j},
        "without dimension": {"spikes": np.array(3)},
        "of dates": {"spikes": np.zeros(3, "datetime64[s]")},
        "structured": {"spikes": np.zeros(3, [("a", "i8")])},
        "of objects": {"spikes": np.array([{}, None], dtype=object)},
    }.items():
        yield Case(f"npz: {name}", partial(saved, **arrays), command)

    def zipped(members: dict[str, bytes], folder: Path, zeros: int = 0) -> None:
        model(folder)
        _zip(folder / "x.npz", members, zeros)

    def array(shape: str, data: bytes = b"", kind: str = "'<i8'", version: bytes = b"\1\0") -> bytes:
        text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data

    for name, content in {
        "a promise": array(f"({HUGE},)"),
        "an overflow": array("(2**31, 2**31, 2**31)".replace("2**31", str(2**31))),
        "a negative shape": array("(-1,)", bytes(8)),
        "a shape that is none": array("'abc'"),
        "a short array": array("(2, 5, 12)", bytes(8)),
        "a long array": array("(1,)", bytes(800)),
        "a code": array("(1,)", kind="__import__('os').system('touch evil')"),
        "a pickle": array("(1,)", pickle.dumps([1]), kind="'|O'"),
        "another version": array("(1,)", bytes(8), version=b"\7\0"),
        "no magic": b"hello",
        "no bytes": b"",
    }.items():
        yield Case(f"npz: {name}", partial(zipped, {"spikes.npy": content}), command)
    bomb = {"spikes.npy": array(f"({2**28},)")}
    yield Case("npz: a bomb", partial(zipped, bomb, zeros=2**31), command)
    many = {f"a{n}.npy": array(f"({2**22},)") for n in range(32)}
    yield Case("npz: many small bombs", partial(zipped, many, zeros=2**25), command)
    for name in ("../../evil.npy", "/tmp/evil.npy", "spikes.txt", "spikes"):
        members = {name: array("(1,)", bytes(8))}
        yield Case(f"npz: the member {name}", partial(zipped, members), command)

    def flagged(folder: Path) -> None:
        zipped({"spikes.npy": array("(1,)", bytes(8))}, folder)
        path = folder / "x.npz"
        content = bytearray(path.read_bytes())
        for sign, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            content[content.index(sign) + offset] |= 1
        path.write_bytes(bytes(content))

    yield Case("npz: encrypted", flagged, command)

    def twice(folder: Path) -> None:
        with contextlib.suppress(UserWarning):
            model(folder)
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            archive.writestr("spikes.npy", array("(1,)", bytes(8)))
            archive.filelist[0].filename = "spikes.npy"
            archive.NameToInfo.clear()
            archive.writestr("spikes.npy", array("(1,)", bytes(8)))

    yield Case("npz: a name twice", twice, command)

    def beside(maker: Case, folder: Path) -> None:
        model(folder)
        maker.make(folder)

    for case in _no_files("npz", "x.npz", command):
        yield Case(case.name, partial(beside, case), command)


def _zip(file: Path | io.BytesIO, members: dict[str, bytes], zeros: int) -> None:
    """A compressed archive whose members are followed by so many zeros."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
                for _ in range(zeros >> 20):
                    member.write(bytes(2**20))


def _targets() -> Iterator[Case]:
    command = ("targets", "validate", "x.toml")
    whole = as_toml(load_target("loihi2"))
    yield from _bytes("toml", "x.toml", whole.encode(), command, _nothing)

    def text(content: bytes, folder: Path) -> None:
        (folder / "x.toml").write_bytes(content)

    for name, content in {
        "deep lists": b"a = " + b"[" * 100_000,
        "deep tables": b"a = " + b"{b = " * 5_000,
        "a long key": b"a" + b".a" * 50_000 + b" = 1",
        "not UTF-8": b'name = "\xff"',
        "its own base": b'base = "x.toml"',
        "a base elsewhere": b'base = "../../../../etc/passwd.toml"',
        "a base that is none": b"base = 3",
        "a base of nobody": b'base = "loihi9"',
        "a nan": b'base = "loihi2"\n[core.compartments]\nvalue = nan\nstatus = "x"\nsource = "y"',
        "a huge number": b'base = "loihi2"\n[core]\ncompartments = ' + b"9" * 5_000,
        "an unknown entry": b'base = "loihi2"\nfoo = 1',
        "a date": b"name = 1979-05-27",
    }.items():
        yield Case(f"toml: {name}", partial(text, content), command)
    yield from _no_files("toml", "x.toml", command)


def _programs() -> Iterator[Case]:
    made = compile_network(small_network(), load_target("loihi2"), CompileOptions())

    def write(folder: Path) -> None:
        write_artifact(made.artifact, made.report, folder / "program")

    command = ("check", "program")
    for file in ("manifest.json", "cores.npz", "routes.npz"):
        content = _content(lambda path: write(path.parent.parent), f"program/{file}")
        yield from _bytes(f"program: {file}", f"program/{file}", content, command, write)
    whole = json.loads(_content(lambda path: write(path.parent.parent), "program/manifest.json"))

    def described(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
        write(folder)
        path = folder / "program" / "manifest.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    for key in whole:
        for name, value in _VALUES.items():
            free = key in ("name", "dt_s") and name in ("a path", "negative")
            change = partial(_changed, (key,), value)
            yield Case(f"program: {key} {name}", partial(described, change), command, free)

    def swapped(content: bytes, folder: Path) -> None:
        described(
            partial(_changed, ("files", "cores.npz"), sha256(content).hexdigest()), folder
        )
        (folder / "program" / "cores.npz").write_bytes(content)

    bomb, head = io.BytesIO(), io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (2**31,)}
    np.lib.format.write_array_header_1_0(head, about)
    _zip(bomb, {"population/hidden/bias_mantissa.npy": head.getvalue()}, 2**31)
    yield Case("program: a bomb with a good checksum", partial(swapped, bomb.getvalue()), command)
    yield Case("program: no archive with a good checksum", partial(swapped, b"hello"), command)
    for name, file in (("missing", "cores.npz"), ("gone", "manifest.json")):

        def without(file: str, folder: Path) -> None:
            write(folder)
            (folder / "program" / file).unlink()

        yield Case(f"program: {file} {name}", partial(without, file), command)
    yield from _no_files("program", "program", command)


def endings(selected: list[Case]) -> Iterator[Ending]:
    """Give each case to the command line, in a folder of its own."""
    home = Path.cwd()
    for case in selected:
        folder = Path(tempfile.mkdtemp(prefix="malformed-"))
        try:
            case.make(folder)
            os.chdir(folder)
            before = set(folder.rglob("*"))
            said, shown = io.StringIO(), io.StringIO()
            signal.alarm(LONGEST_S)
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
                code = run(list(case.command))
            signal.alarm(0)
            after = set(folder.rglob("*")) - before
            left = sorted(str(path.relative_to(folder)) for path in after) if code else []
            yield Ending(case.name, code, said.getvalue(), left, case.harmless)
        finally:
            os.chdir(home)
            shutil.rmtree(folder)


def main() -> None:
    """Run all cases, or those whose names contain the first argument."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    found = list(endings([case for case in cases() if wanted in case.name]))
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    json.dump({"peak_bytes": peak_bytes, "endings": [asdict(e) for e in found]}, sys.stdout)


if __name__ == "__main__":
    main()
