"""NIR and lava-dl files that are damaged, contradictory or hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from support.malformed import Case, compile_of, content_of, damaged, edits, no_files, nothing
from support.net_files import conv, dense, pool, write_net
from support.networks import small_network
from support.spatial import spatial_network

from mapping.nir import write_nir


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


_OPTIONAL = ("v_reset", "w_in", "input_shape", "input_type")


def nir_files() -> Iterator[Case]:
    command = compile_of("x.nir")
    for kind, write in (
        ("foreign nir", _foreign),
        ("own nir", lambda path: write_nir(spatial_network(), path)),
    ):
        yield from damaged(kind, "x.nir", content_of(write, "x.nir"), command, nothing)
    yield from edits(
        "nir",
        _foreign,
        "x.nir",
        command,
        ("/version",),
        optional=("v_reset", "w_in", "input_shape", "input_type"),
    )


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
    "edges in a group": lambda nodes, edges: {
        "type": "NIRGraph", "nodes": nodes, "edges": {"a": 1}
    },
    "edges that are no text": lambda nodes, edges: {
        "type": "NIRGraph", "nodes": nodes, "edges": np.array([[b"\xff", b"\xfe"]])
    },
    "a loop without state": lambda nodes, edges: (
        _operators(nodes, "a", "b"),
        edges.extend([("input", "a"), ("a", "b"), ("b", "a"), ("b", "w")]),
    ),
    "a loop of one": lambda nodes, edges: (
        _operators(nodes, "a"), edges.extend([("input", "a"), ("a", "a"), ("a", "w")])
    ),
    "a loop aside": lambda nodes, edges: (
        _operators(nodes, "a", "b"), edges.extend([("a", "b"), ("b", "a")])
    ),
    "a matrix that is not fed": lambda nodes, edges: (
        _operators(nodes, "a"), edges.append(("a", "w"))
    ),
    "a fed Input": lambda nodes, edges: edges.append(("lif", "input")),
    "weights of a row too many": lambda nodes, edges: nodes["w"].update(weight=np.ones((3, 3))),
    "weights of a column too many": lambda nodes, edges: nodes["w"].update(weight=np.ones((2, 4))),
    "weights in one dimension": lambda nodes, edges: nodes["w"].update(weight=np.ones(3)),
    "weights without dimension": lambda nodes, edges: nodes["w"].update(weight=1.0),
    "weights that are nan": lambda nodes, edges: nodes["w"].update(weight=np.full((2, 3), np.nan)),
    "weights beyond all bounds": lambda nodes, edges: nodes["w"].update(
        weight=np.full((2, 3), 1e308)
    ),
    "weights of true and false": lambda nodes, edges: nodes["w"].update(
        weight=np.ones((2, 4), bool)
    ),
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


def graphs() -> Iterator[Case]:
    command = compile_of("x.nir")
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
    yield from no_files("nir", "x.nir", compile_of("x.nir"))


def net_files() -> Iterator[Case]:
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

    command = compile_of("x.net")
    yield from damaged("net", "x.net", content_of(write, "x.net"), command, nothing)
    optional = ("bias", "inChannels", "outChannels", "inFeatures", "outFeatures", "kernelSize")
    for case in edits("net", write, "x.net", command, (), optional):
        key = case.name.split()[1].rsplit("/", 1)[-1]
        kept = key in (*optional, "refDelay", "gradedSpike", "Ts")
        # ones, whatever their shape, are one value for the whole layer
        kept |= key in _OF_LAYERS and case.name.endswith("in three dimensions")
        yield Case(case.name, case.make, case.command, case.harmless or kept)
    yield from no_files("net", "x.net", command)


_OF_LAYERS = ("groups", "iDecay", "vDecay", "vThMant")
"""What a layer has one of."""
