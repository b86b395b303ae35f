"""Write a float network as a NIR file that other tools run unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np

from mapping.artifact.atomic import atomic_file
from mapping.errors import UnsupportedModelError
from mapping.ir.network import (
    Dense,
    FloatArray,
    Gate,
    Input,
    Li,
    Lif,
    LowRank,
    Network,
    Projection,
    RankGate,
    Relay,
)
from mapping.nir.conventions import NirConventions
from mapping.nir.neurons import to_node
from mapping.nir.notes import FORMAT, Note, notes_of
from mapping.nir.timing import lags


def write_nir(network: Network, path: Path | str) -> None:
    """Write ``network`` as a NIR file, whole or not at all.

    A full projection becomes a Linear node, a factor pair two (``V.T``, then ``U``; an Affine if
    it has level biases), a LIF population a LIF or CubaLIF. The input is one of integer payloads,
    whose scale is folded into the weights that read it. What NIR has no words for, rank levels,
    gates, relay thresholds and the payload range, lies in the nodes' metadata: other tools run
    every pair at full rank and send what any relay would hold back.

    Args:
        network: what to write.
        path: the file, by custom ``.nir``; replaced if it exists.

    Raises:
        UnsupportedModelError: ADL-NIR-07, NIR tools would time the network differently;
            ADL-NIR-09, NIR cannot express a part of it.
        ArtifactError: ADL-ART-01, the file cannot be written.
    """
    graph = nir_graph(network)
    with atomic_file(Path(path)) as work:
        nir.write(work, graph)


def nir_graph(network: Network) -> nir.NIRGraph:
    """``network`` as a NIR graph; see :func:`write_nir`."""
    for where, message, remedy in _inexpressible(network):
        raise UnsupportedModelError(message, where=where, remedy=remedy, code="ADL-NIR-09")
    lags(network.projections)
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    keys: dict[str, str] = {}
    for order, population in enumerate(network.populations):
        keys[population.name] = key = _key(population.name, nodes)
        if isinstance(population, Lif):
            nodes[key] = to_node(population, network.dt_s, order)
        elif isinstance(population, Input):
            nodes[key] = _input_node(population, order)
    for order, projection in enumerate(network.projections):
        way = [keys[projection.source]]
        for suffix, node in _nodes_of(projection, network, order):
            way.append(_key(projection.name + suffix, nodes))
            nodes[way[-1]] = node
        way.append(keys[projection.target])
        edges += pairwise(way)
    output = _key("output", nodes)
    nodes[output] = nir.Output(np.array([network.population(network.output).size]))
    edges.append((keys[network.output], output))
    notes = notes_of(format=FORMAT, name=network.name, **NirConventions().as_options(network.dt_s))
    return nir.NIRGraph(nodes, edges, metadata=notes, type_check=False)


def _key(name: str, taken: Iterable[str]) -> str:
    """A node name that HDF5 and PyTorch accept, none of ``taken``; ``name`` itself if it can."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    candidates = (plain if n == 1 else f"{plain}_{n}" for n in range(1, len(list(taken)) + 2))
    return next(key for key in candidates if key not in taken)


def _input_node(source: Input, order: int) -> nir.Input:
    return nir.Input(
        np.array([source.size]),
        metadata=notes_of(
            name=source.name,
            order=order,
            shape=source.shape,
            payload_min=source.payload_min,
            payload_max=source.payload_max,
            payload_scale=source.payload_scale,
            delta=source.delta,
        ),
    )


def _nodes_of(
    projection: Projection, network: Network, order: int
) -> Iterator[tuple[str, nir.NIRNode]]:
    """Node-name suffixes and nodes from source to target."""
    source = network.population(projection.source)
    scale = source.payload_scale if isinstance(source, Input) else 1.0
    match projection:
        case Dense():
            weight = np.zeros((projection.weight.shape[0], source.size))
            weight[:, projection.columns(source)] = projection.weight
            notes: dict[str, Note] = {"layer": projection.layer}
            yield "", _linear(weight, scale, notes | {"name": projection.name, "order": order})
        case LowRank():
            yield "_V", _linear(projection.V.T, scale, {})
            notes = _pair_notes(projection) | {"name": projection.name, "order": order}
            if projection.level_bias.size:
                yield (
                    "_U",
                    nir.Affine(
                        weight=projection.U,
                        bias=projection.level_bias.sum(axis=0),
                        metadata=notes_of(**notes),
                    ),
                )
            else:
                yield "_U", _linear(projection.U, 1.0, notes)


def _linear(weight: FloatArray, scale: float, notes: dict[str, Note]) -> nir.Linear:
    """A Linear node with ``scale`` folded in, and what dividing by it again would lose."""
    folded = weight * scale
    lost = weight - folded / scale
    rounding = lost if lost.any() else np.zeros(0)
    return nir.Linear(weight=folded, metadata=notes_of(rounding=rounding, **notes))


def _pair_notes(pair: LowRank) -> dict[str, Note]:
    notes: dict[str, Note] = {
        "levels": pair.levels,
        "sigma": pair.sigma,
        "delta": pair.delta,
        "relay_threshold": pair.relay_threshold if pair.relay_threshold.any() else np.zeros(0),
        "level_bias": pair.level_bias,
    }
    if pair.gate is not None:
        own = {f.name: getattr(pair.gate, f.name) for f in fields(RankGate) if f.name != "at"}
        notes |= {f"gate_{name}": value for name, value in own.items()}
        notes["gate_at_source"] = pair.gate.at == "source"
    return notes


def _inexpressible(network: Network) -> Iterator[tuple[str, str, str]]:
    """Where, what and remedy of everything that a NIR file could not hold."""
    names = [e.name for e in (*network.populations, *network.projections)]
    names += [p.layer for p in network.projections if isinstance(p, Dense)]
    for name in (network.name, *names):
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            yield repr(name), "the name holds characters that HDF5 cannot store", "rename it"
    for population in network.populations:
        if isinstance(population, Relay | Gate):
            yield (
                population.name,
                f"NIR has no node for a {type(population).__name__} on its own",
                "describe relays and gates as a part of a LowRank projection",
            )
        elif isinstance(population, Li):
            yield population.name, "leaky integrators are not exported", "end in LIF neurons"
    for projection in network.projections:
        if not isinstance(projection, LowRank):
            if not isinstance(projection, Dense) or projection.delays.any():
                yield (
                    projection.name,
                    "only Dense projections without delays and LowRank ones are exported",
                    "keep the checkpoint, which holds all of them",
                )
            continue
        if projection.sigma != projection.delta:
            yield (
                projection.name,
                "its relays sum or differentiate over the steps, which NIR tools would leave out",
                "export the network without sigma and delta coding, or with both on this pair",
            )
        elif projection.delta and projection.level_bias.size:
            yield (
                projection.name,
                "its level biases are sent on change alone, which NIR tools would send every step",
                "export the network with plain relays",
            )
