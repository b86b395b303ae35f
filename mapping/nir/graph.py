"""Load a NIR file and flatten its sub-graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np

from mapping.errors import ArtifactError, UnsupportedModelError
from mapping.nir.notes import FORMAT, Notes

_GRADED = "sends values, not spikes, from one layer to the next"
_WHY_NOT = {
    "IF": (
        "has no time constant, and tools disagree whether a step adds r or r * dt times its input",
        "write a LIF with a long tau and the r that is meant",
    ),
    "I": (_GRADED, "end every layer in LIF or CubaLIF neurons"),
    "LI": (_GRADED, "end every layer in LIF or CubaLIF neurons"),
    "CubaLI": (_GRADED, "end every layer in LIF or CubaLIF neurons"),
    "Threshold": ("has no state", "write a LIF with the threshold instead"),
    "Scale": ("is not read", "multiply it into the weights of the next Linear"),
    "Flatten": ("is not read", "give the Input the flat shape and drop the node"),
    "Delay": ("asks for delays, and a projection takes one step", "train without delays"),
}
_OTHERWISE = (
    "is not read; only Input, Output, Linear, Affine, LIF and CubaLIF are",
    "write it as a Linear with the full matrix, or leave it out",
)
_ABOUT = {"metadata", "input_type", "output_type"}
_READ = (nir.Input, nir.Output, nir.Linear, nir.Affine, nir.LIF, nir.CubaLIF)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatGraph:
    """A NIR graph without sub-graphs.

    Attributes:
        file: where it comes from.
        nodes: by name; a node of a sub-graph is called ``sub-graph.node``.
        edges: ``(from, to)`` names.
        metadata: of the whole graph.
    """

    file: str
    nodes: Mapping[str, nir.NIRNode]
    edges: frozenset[tuple[str, str]]
    metadata: Mapping[str, object]

    def sources(self, key: str) -> list[str]:
        """What feeds the node ``key``, by name."""
        return sorted(source for source, target in self.edges if target == key)

    def of_type(self, *kinds: type) -> list[str]:
        """The nodes of these types, by name."""
        return sorted(key for key, node in self.nodes.items() if isinstance(node, kinds))

    def size(self, key: str) -> int:
        """How many numbers the node ``key`` sends per step."""
        match self.nodes[key]:
            case nir.Input(input_type=shape):
                return int(np.prod(shape["input"]))
            case nir.Linear(weight=weight) | nir.Affine(weight=weight):
                return int(weight.shape[0])
            case nir.LIF(v_threshold=threshold) | nir.CubaLIF(v_threshold=threshold):
                return int(threshold.size)
            case _:
                return 0

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


def load_graph(path: Path) -> FlatGraph:
    """The graph in the file ``path``.

    Raises:
        ArtifactError: ADL-NIR-01, it is missing or no NIR file.
        UnsupportedModelError: a node is of a type that is not read (ADL-NIR-04) or a sub-graph has
            several inputs or outputs (ADL-NIR-05).
    """
    file = str(path)
    if not path.is_file():
        raise _unreadable(file, "no such file")
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # the nir package may fail in any way on a damaged file
        raise _unreadable(file, f"is no NIR file or damaged ({error})") from error
    nodes, edges = _flatten(graph, file, "")
    missing = sorted({end for edge in edges for end in edge} - set(nodes))
    if missing:
        raise _unreadable(file, f"an edge leads to the node {missing[0]!r}, which is not there")
    for key, node in sorted(nodes.items()):
        if not isinstance(node, _READ):
            kind = type(node).__name__
            reason, remedy = _WHY_NOT.get(kind, _OTHERWISE)
            raise UnsupportedModelError(
                f"the node type {kind} {reason}",
                where=f"{file}: {key}",
                remedy=remedy,
                code="ADL-NIR-04",
            )
        parameters = {k: v for k, v in vars(node).items() if k not in _ABOUT}
        if isinstance(node, nir.Input):
            parameters["shape"] = node.input_type["input"]
        if any(np.asarray(value).dtype.kind not in "biuf" for value in parameters.values()):
            raise _unreadable(file, f"the node {key!r} holds something else than real numbers")
    return FlatGraph(file=file, nodes=nodes, edges=frozenset(edges), metadata=graph.metadata)


def check_sizes(graph: FlatGraph) -> None:
    """What every node receives and adds is as large as what it computes with.

    Raises:
        UnsupportedModelError: ADL-NIR-05.
    """
    for key in graph.of_type(nir.Linear, nir.Affine):
        node = graph.nodes[key]
        rows, bias = np.shape(node.weight), np.shape(getattr(node, "bias", node.weight[..., 0]))
        if len(rows) != 2 or bias != rows[:1]:
            raise UnsupportedModelError(
                f"its weight has shape {rows}, its bias {bias}",
                where=graph.where(key),
                remedy="give a matrix of outputs times inputs, and one bias per output",
                code="ADL-NIR-05",
            )
    for source, target in sorted(graph.edges):
        match graph.nodes[target]:
            case nir.Linear(weight=weight) | nir.Affine(weight=weight):
                wanted = weight.shape[1]
            case nir.Input():
                wanted = 0
            case nir.Output():
                continue
            case _:
                wanted = graph.size(target)
        if graph.size(source) != wanted:
            raise UnsupportedModelError(
                f"receives {graph.size(source)} numbers from {source!r}, but takes {wanted}",
                where=graph.where(target),
                remedy="write shapes that match, with one parameter per neuron",
                code="ADL-NIR-05",
            )


def _unreadable(file: str, message: str) -> ArtifactError:
    return ArtifactError(
        message,
        where=file,
        remedy="give a file that nir.write made; `nir.read` must open it",
        code="ADL-NIR-01",
    )


def _flatten(
    graph: nir.NIRGraph, file: str, prefix: str
) -> tuple[dict[str, nir.NIRNode], set[tuple[str, str]]]:
    """Nodes and edges with all sub-graphs in place; their inputs and outputs dissolve."""
    nodes: dict[str, nir.NIRNode] = {}
    edges = {(prefix + source, prefix + target) for source, target in graph.edges}
    for name, node in graph.nodes.items():
        key = prefix + name
        if not isinstance(node, nir.NIRGraph):
            nodes[key] = node
            continue
        inner, inside = _flatten(node, file, f"{key}.")
        ways_in = [k for k, n in inner.items() if isinstance(n, nir.Input)]
        ways_out = [k for k, n in inner.items() if isinstance(n, nir.Output)]
        if len(ways_in) != 1 or len(ways_out) != 1:
            raise UnsupportedModelError(
                f"the sub-graph has {len(ways_in)} inputs and {len(ways_out)} outputs",
                where=f"{file}: {key}",
                remedy="give every sub-graph one Input and one Output",
                code="ADL-NIR-05",
            )
        edges = {
            (ways_out[0] if source == key else source, ways_in[0] if target == key else target)
            for source, target in edges
        } | inside
        for way in (ways_in[0], ways_out[0]):
            del inner[way]
            edges = _without(way, edges)
        nodes |= inner
    return nodes, edges


def _without(key: str, edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges that lead past the node ``key`` rather than through it."""
    before = [source for source, target in edges if target == key]
    after = [target for source, target in edges if source == key]
    kept = {edge for edge in edges if key not in edge}
    return kept | {(source, target) for source in before for target in after}
