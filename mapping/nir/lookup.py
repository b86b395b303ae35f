"""What becomes of each node of one NIR file, every refusal at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapping.errors import AdlrnsError, ConfigError, UnsupportedModelError
from mapping.nir.conventions import NirConventions
from mapping.nir.graph import FlatGraph, load_graph
from mapping.nir.read import GraphReader
from mapping.nir.support import NODES


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSupport:
    """What becomes of a node or layer.

    Attributes:
        name: of the node; empty for a graph as a whole.
        kind: its type.
        refused: whether it cannot be read.
        reason: what it becomes, or why it is refused.
        remedy: what to do then.
    """

    name: str
    kind: str
    refused: bool
    reason: str
    remedy: str = ""


def nodes_of(path: Path, conventions: NirConventions) -> list[NodeSupport]:
    """Every node of the NIR file ``path``.

    A node is judged by its type and parameters, then by what leads to it and away; what shows only
    when the whole network is put together is found if nothing else is wrong.

    Raises:
        ArtifactError: ADL-NIR-01, the file is missing or damaged.
        UnsupportedModelError: ADL-NIR-05, its sub-graphs cannot be flattened.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        graph = load_graph(path)
        reader = GraphReader(graph=graph, conventions=conventions)
        faults: dict[str, AdlrnsError] = {}
        for key in sorted(graph.nodes):
            _note(graph, faults, key, reader.check_kind)
        for key in graph.of_role("neuron", "integrator"):
            _note(graph, faults, key, reader.neurons)
            _note(graph, faults, key, lambda key: reader.routes.into(key))
        _note(graph, faults, "", lambda _: graph.check_joined())
        if not faults:
            _note(graph, faults, "", lambda _: reader.network())
    rows = [
        NodeSupport(
            name=key,
            kind=node.kind,
            refused=key in faults,
            reason=faults[key].message if key in faults else NODES[node.kind].becomes,
            remedy=faults[key].remedy if key in faults else "",
        )
        for key, node in sorted(graph.nodes.items())
    ]
    if "" in faults:
        fault = faults[""]
        reason = f"{fault.where.removeprefix(f'{graph.file}: ')}: {fault.message}"
        rows.append(
            NodeSupport(name="", kind="NIRGraph", refused=True, reason=reason, remedy=fault.remedy)
        )
    return rows


def _note(
    graph: FlatGraph, faults: dict[str, AdlrnsError], key: str, check: Callable[[str], object]
) -> None:
    """Run ``check`` and remember what it refuses, under the node that it blames."""
    try:
        check(key)
    except (UnsupportedModelError, ConfigError) as error:
        blamed = error.where.removeprefix(f"{graph.file}: ")
        faults.setdefault(blamed if blamed in graph.nodes else "", error)
