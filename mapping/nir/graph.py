"""Load a NIR file and flatten its sub-graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from mapping.errors import ArtifactError, UnsupportedModelError
from mapping.intake import Refusal, Tree, hdf5_tree
from mapping.nir.notes import FORMAT, Notes
from mapping.nir.support import NODES, Role, of_role

_ABOUT = ("type", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A node of a NIR graph.

    Attributes:
        kind: its type, such as ``LIF``.
        values: parameters by name, as the file has them.
        padding: of a convolution that has a word for it, ``same`` or ``valid``; else empty.
        metadata: what any tool added.
    """

    kind: str
    values: Mapping[str, npt.NDArray[Any]]
    padding: str
    metadata: Mapping[str, object]

    def array(self, key: str) -> npt.NDArray[np.float64]:
        """The parameter ``key`` in double precision."""
        return np.asarray(self.values[key], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatGraph:
    """A NIR graph without sub-graphs.

    Attributes:
        file: where it comes from.
        nodes: by name; a node of a sub-graph is called ``sub-graph.node``.
        before, after: what feeds a node, what it feeds, by name.
        metadata: of the whole graph.
    """

    file: str
    nodes: Mapping[str, Node]
    before: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, object]

    def of_role(self, *roles: Role) -> list[str]:
        """The nodes with these roles, by name."""
        kinds = of_role(*roles)
        return sorted(key for key, node in self.nodes.items() if node.kind in kinds)

    def of_kind(self, kind: str) -> list[str]:
        """The nodes of this type, by name."""
        return sorted(key for key, node in self.nodes.items() if node.kind == kind)

    def where(self, key: str) -> str:
        """Place of a node for error messages."""
        return f"{self.file}: {key}"

    def notes(self, key: str) -> Notes:
        """What our exporter recorded on the node ``key``."""
        return self._notes(self.where(key), self.nodes[key].metadata)

    @property
    def graph_notes(self) -> Notes:
        """What our exporter recorded on the graph."""
        return self._notes(self.file, self.metadata)

    def _notes(self, where: str, values: Mapping[str, object]) -> Notes:
        ours = self.metadata.get("format") == FORMAT
        return Notes(where=where, values=values if ours else {})

    def operators_in_order(self) -> list[str]:
        """The nodes without state, each behind those that feed it.

        Raises:
            UnsupportedModelError: ADL-NIR-05, they feed each other in a loop.
        """
        inside = set(self.of_role("operator"))
        joined: nx.DiGraph[str] = nx.DiGraph()
        joined.add_nodes_from(sorted(inside))
        joined.add_edges_from(
            (key, other) for key in sorted(inside) for other in self.after[key] if other in inside
        )
        loops = (sorted(c) for c in nx.strongly_connected_components(joined))
        loop = next((c for c in loops if len(c) > 1 or joined.has_edge(c[0], c[0])), None)
        if loop:
            raise self.refuse(
                loop[0],
                f"{', '.join(loop)} feed each other without neurons between them",
                "put neurons into the loop",
            )
        return list(nx.topological_sort(joined))

    def check_joined(self) -> None:
        """Edges lead to every node that only passes on what it gets, and from it.

        Neurons may do without either: a leak drives them, and a graph may hold more than is shown.

        Raises:
            UnsupportedModelError: ADL-NIR-05, an edge is missing.
        """
        first, last = self.of_kind("Input"), self.of_kind("Output")
        passing = self.of_role("operator")
        unfed = [key for key in sorted(self.nodes) if not self.before[key] and key not in first]
        unheard = [key for key in sorted(self.nodes) if not self.after[key] and key not in last]
        for key in (*passing, *last):
            if key in unfed:
                raise self._loose(key, "receives nothing", [f"{o} → {key}" for o in unheard])
        for key in (*passing, *first):
            if key in unheard:
                raise self._loose(key, "sends to nothing", [f"{key} → {o}" for o in unfed])

    def _loose(self, key: str, message: str, likely: list[str]) -> UnsupportedModelError:
        """What to raise if the node ``key`` lacks an edge, perhaps one of the ``likely`` ones."""
        guess = f", perhaps {' or '.join(likely)}" if likely else ""
        return self.refuse(
            key, f"{message}: an edge is missing{guess}", "add the edge, or leave the node out"
        )

    def refuse(self, key: str, message: str, remedy: str) -> UnsupportedModelError:
        """What to raise if the structure around the node ``key`` is not understood."""
        return UnsupportedModelError(
            message, where=self.where(key), remedy=remedy, code="ADL-NIR-05"
        )


def load_graph(path: Path) -> FlatGraph:
    """The graph in the file ``path``; its nodes may be of any type that NIR has.

    Raises:
        ArtifactError: ADL-NIR-01, it is missing or no NIR file.
        UnsupportedModelError: ADL-NIR-05, a sub-graph has several inputs or outputs, or nodes
            without state feed each other in a loop.
    """
    file = str(path)
    refuse = partial(_unreadable, file)
    if not path.is_file():
        raise refuse("no such file")
    root = hdf5_tree(path, refuse).get("node")
    if not isinstance(root, dict) or _text(root, "type", refuse, "the graph") != "NIRGraph":
        raise refuse("holds no NIR graph")
    nodes, edges = _flatten(root, file, "")
    before, after = (_adjacent(nodes, edges, end) for end in (1, 0))
    graph = FlatGraph(
        file=file,
        nodes=nodes,
        before=before,
        after=after,
        metadata=_metadata(root, refuse, "the graph"),
    )
    graph.operators_in_order()
    return graph


def _adjacent(
    nodes: Mapping[str, Node], edges: set[tuple[str, str]], end: int
) -> dict[str, tuple[str, ...]]:
    """What lies at the other end of the edges that have a node at ``end``."""
    found: dict[str, list[str]] = {key: [] for key in nodes}
    for edge in edges:
        found[edge[end]].append(edge[1 - end])
    return {key: tuple(sorted(others)) for key, others in found.items()}


def _unreadable(file: str, message: str) -> ArtifactError:
    return ArtifactError(
        message,
        where=file,
        remedy="give a file that nir.write made; `nir.read` must open it",
        code="ADL-NIR-01",
    )


def _node(raw: object, key: str, file: str) -> Node:
    """A node, with all the parameters that its type has, and no others."""
    refuse = partial(_unreadable, file)
    if not isinstance(raw, dict):
        raise refuse(f"the node {key!r} is no group")
    kind = _text(raw, "type", refuse, key)
    if kind not in NODES:
        raise refuse(f"the node {key!r} is of the type {kind!r}, which NIR does not have")
    given = {name for name in raw if name not in _ABOUT}
    known = {*NODES[kind].required, *NODES[kind].optional}
    for what, names in (
        ("lacks", set(NODES[kind].required) - given),
        ("is given", given - known),
    ):
        if names:
            raise refuse(f"the node {key!r} of type {kind} {what} {', '.join(sorted(names))}")
    padding = ""
    values = {name: raw[name] for name in given}
    if "padding" in values and _is_text(values["padding"]):
        padding = _text(raw, "padding", refuse, key)
        if padding not in ("same", "valid") or not kind.startswith("Conv"):
            raise refuse(f"the node {key!r} has the padding {padding!r}")
        del values["padding"]
    for name, value in values.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise refuse(f"the node {key!r} holds something else than real numbers in {name}")
    return Node(kind=kind, values=values, padding=padding, metadata=_metadata(raw, refuse, key))


def _is_text(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "SO"


def _metadata(raw: Tree, refuse: Refusal, key: str) -> dict[str, object]:
    entries = raw.get("metadata", {})
    if not isinstance(entries, dict):
        raise refuse(f"the metadata of {key!r} are no group")
    return {
        name: _text(entries, name, refuse, key) if _is_text(value) and not value.ndim else value
        for name, value in entries.items()
    }


def _text(raw: Tree, name: str, refuse: Refusal, key: str) -> str:
    """The text ``name`` in the group of the node ``key``."""
    value = raw.get(name)
    found = _decoded(value.item()) if isinstance(value, np.ndarray) and value.size == 1 else None
    if found is None:
        raise refuse(f"{name} of {key!r} is no text in UTF-8")
    return found


def _decoded(entry: object) -> str | None:
    """A text as HDF5 holds it; None if it is none."""
    if not isinstance(entry, bytes):
        return entry if isinstance(entry, str) and entry.isprintable() else None
    try:
        return _decoded(entry.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _flatten(raw: Tree, file: str, prefix: str) -> tuple[dict[str, Node], set[tuple[str, str]]]:
    """Nodes and edges with all sub-graphs in place; their inputs and outputs dissolve."""
    refuse = partial(_unreadable, file)
    members = raw.get("nodes")
    if not isinstance(members, dict):
        raise refuse(f"the graph {prefix.removesuffix('.') or 'itself'} has no group of nodes")
    nodes: dict[str, Node] = {}
    edges = _edges(raw, file, prefix)
    for name, member in members.items():
        key = prefix + name
        if not isinstance(member, dict) or _text(member, "type", refuse, key) != "NIRGraph":
            inner = {key: _node(member, key, file)}
        else:
            inner, inside = _flatten(member, file, f"{key}.")
            edges = _dissolved(key, inner, edges, inside, file)
        double = sorted(nodes.keys() & inner.keys())
        if double:
            raise refuse(f"there are two nodes {double[0]!r}")
        nodes |= inner
    return nodes, edges


def _dissolved(
    key: str,
    inner: dict[str, Node],
    edges: set[tuple[str, str]],
    inside: set[tuple[str, str]],
    file: str,
) -> set[tuple[str, str]]:
    """All edges once the Input and the Output of the sub-graph ``key`` are taken out of it."""
    ways_in = [k for k, n in inner.items() if n.kind == "Input"]
    ways_out = [k for k, n in inner.items() if n.kind == "Output"]
    if len(ways_in) != 1 or len(ways_out) != 1:
        raise UnsupportedModelError(
            f"the sub-graph has {len(ways_in)} inputs and {len(ways_out)} outputs",
            where=f"{file}: {key}",
            remedy=NODES["NIRGraph"].remedy,
            code="ADL-NIR-05",
        )
    joined = {
        (ways_out[0] if source == key else source, ways_in[0] if target == key else target)
        for source, target in edges
    } | inside
    for way in (ways_in[0], ways_out[0]):
        del inner[way]
        before = [source for source, target in joined if target == way]
        after = [target for source, target in joined if source == way]
        past = {(source, target) for source in before for target in after}
        joined = {edge for edge in joined if way not in edge}
        if past & joined:
            raise UnsupportedModelError(
                "leads a signal past its nodes to where it also goes directly, so that it counts "
                "twice",
                where=f"{file}: {key}",
                remedy="double the weights instead",
                code="ADL-NIR-05",
            )
        joined |= past
    return joined


def _edges(raw: Tree, file: str, prefix: str) -> set[tuple[str, str]]:
    """The edges of one graph; each leads from node to node, once."""
    listed = raw.get("edges")
    if not isinstance(listed, np.ndarray) or listed.dtype.kind not in "SOf":
        raise _unreadable(file, "the edges are no list of names")
    if not listed.size:
        return set()
    if listed.ndim != 2 or listed.shape[1] != 2 or listed.dtype.kind == "f":
        raise _unreadable(file, f"the edges have shape {listed.shape}, not pairs of names")
    refuse = partial(_unreadable, file)
    found: set[tuple[str, str]] = set()
    for pair in listed.tolist():
        ends = [_decoded(end) for end in pair]
        missing = [end for end in ends if end is None or end not in raw["nodes"]]
        if missing:
            raise refuse(f"an edge leads to the node {missing[0]!r}, which is not there")
        edge = f"{prefix}{ends[0]}", f"{prefix}{ends[1]}"
        if edge in found:
            raise refuse(f"the edge from {edge[0]!r} to {edge[1]!r} is there twice")
        found.add(edge)
    return found
