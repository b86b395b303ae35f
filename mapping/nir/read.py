"""Read a NIR file as a float network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nir
import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import (
    Dense,
    FloatArray,
    Input,
    Lif,
    LowRank,
    Network,
    Population,
    Projection,
    RankGate,
    Relay,
)
from mapping.nir.conventions import PUBLISHED_DT_S, NirConventions
from mapping.nir.graph import FlatGraph, check_sizes, load_graph
from mapping.nir.neurons import Neurons, from_node
from mapping.nir.notes import Notes
from mapping.nir.timing import lags


def read_nir(path: Path | str, conventions: NirConventions | None = None) -> Network:
    """The network in a NIR file; neither node nor edge order matters.

    Two Linear nodes in a row become a factor pair, Affine biases a bias (of a CubaLIF, whose
    current they feed, a relay that is always on). A file that :func:`mapping.nir.write.write_nir`
    wrote comes back bit for bit under the default conventions.

    Args:
        path: the file.
        conventions: how to read what the file leaves open; the defaults if not given.

    Raises:
        ArtifactError: the file is missing or damaged (ADL-NIR-01) or our metadata in it do not fit
            (ADL-NIR-08).
        UnsupportedModelError: a node type (ADL-NIR-04), the structure (ADL-NIR-05), a neuron's
            parameters (ADL-NIR-06) or the timing (ADL-NIR-07) have no image on the chip.
        ConfigError: sizes do not match or values are not finite (ADL-NET-…).
    """
    conventions = conventions or NirConventions()
    graph = load_graph(Path(path))
    check_sizes(graph)
    notes = graph.graph_notes
    dt_s = conventions.dt_s or notes.number("dt", PUBLISHED_DT_S)
    reader = _Reader(graph=graph, source=_only(graph, nir.Input), output=_only(graph, nir.Output))
    neurons = {
        key: from_node(reader.name(key), graph.nodes[key], conventions, dt_s, graph.notes(key))
        for key in graph.of_type(nir.LIF, nir.CubaLIF)
    }
    populations: dict[str, Population] = {reader.source: reader.input()}
    projections: list[Projection] = []
    constants: list[tuple[Relay, Dense]] = []
    for key, own in neurons.items():
        projections += [_scaled(p, own.gain) for p in reader.into(key)]
        populations[key], constant = reader.with_constant(key, own)
        constants += constant
    previous = conventions.cuba_order == "previous"
    late = frozenset(n.lif.name for n in neurons.values() if n.has_current and previous)
    order = reader.orders()
    lag = lags(sorted(projections, key=lambda p: p.name), late)
    ranked = sorted(populations.values(), key=lambda p: (order.get(p.name, 0), lag.get(p.name, 0)))
    projections.sort(key=lambda p: (order.get(p.name, 0), lag.get(p.target, 0), p.name))
    return Network(
        name=notes.text("name", Path(path).stem),
        dt_s=dt_s,
        populations=(*ranked, *(relay for relay, _ in constants)),
        projections=(*projections, *(dense for _, dense in constants)),
        output=populations[reader.answer()].name,
    )


def _only(graph: FlatGraph, kind: type) -> str:
    found = graph.of_type(kind)
    if len(found) != 1:
        raise _structure(
            graph.file,
            f"has {len(found)} {kind.__name__} nodes: {found}",
            f"give the graph one {kind.__name__}",
        )
    return found[0]


def _structure(where: str, message: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError(message, where=where, remedy=remedy, code="ADL-NIR-05")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reader:
    """The parts of one graph; ``source`` and ``output`` are its Input and Output."""

    graph: FlatGraph
    source: str
    output: str

    def name(self, key: str) -> str:
        """The name that a node had before it was exported, or its own."""
        return self.graph.notes(key).text("name", key)

    def orders(self) -> dict[str, int]:
        """Recorded places in the network by name."""
        notes = {key: self.graph.notes(key) for key in self.graph.nodes}
        return {self.name(k): n.whole("order", 0) for k, n in notes.items() if "order" in n}

    def input(self) -> Input:
        notes = self.graph.notes(self.source)
        shape = self.graph.nodes[self.source].input_type["input"]
        return Input(
            name=self.name(self.source),
            shape=notes.shape(tuple(int(extent) for extent in np.ravel(shape))),
            payload_min=notes.whole("payload_min", 0),
            payload_max=notes.whole("payload_max", 1),
            payload_scale=self._payload_scale(),
            delta=bool(notes.whole("delta", 0)),
        )

    def _payload_scale(self) -> float:
        return self.graph.notes(self.source).number("payload_scale", 1.0)

    def answer(self) -> str:
        """The population that the Output shows."""
        found = self.graph.sources(self.output)
        if len(found) != 1 or not self._is_neuron(found[0]):
            raise _structure(
                self.graph.where(self.output),
                f"shows {found}, not one LIF or CubaLIF population",
                "let the Output follow the neurons whose spikes are the answer",
            )
        return found[0]

    def _is_neuron(self, key: str) -> bool:
        return isinstance(self.graph.nodes[key], nir.LIF | nir.CubaLIF)

    def _is_matrix(self, key: str) -> bool:
        return isinstance(self.graph.nodes[key], nir.Linear | nir.Affine)

    def into(self, target: str) -> Iterator[Dense | LowRank]:
        """The projections into the neurons ``target``."""
        for last in self.graph.sources(target):
            if not self._is_matrix(last):
                name = f"{self.name(last)} → {self.name(target)}"
                none = Notes(where=name, values={})
                equal = np.eye(self.graph.size(target))
                yield self._dense(name, name, last, target, equal, none)
                continue
            ways = list(self._ways(last))
            for way in ways:
                shared = len(ways) > 1 or self._targets(last) > 1
                suffix = f": {' → '.join((*way, target))}" if shared else ""
                name = self.name(last) + suffix
                if len(way) == 1:
                    notes = self.graph.notes(last)
                    layer = notes.text("layer", name)
                    yield self._dense(name, layer, way[0], target, self._matrix(last), notes)
                else:
                    yield self._pair(name, way, last, target)

    def _targets(self, key: str) -> int:
        return sum(source == key for source, _ in self.graph.edges)

    def _ways(self, last: str) -> Iterator[tuple[str, ...]]:
        """What feeds the matrix ``last``: ``(population,)`` or ``(population, first matrix)``."""
        for first in self._sources(last):
            if not self._is_matrix(first):
                yield (first,)
                continue
            for source in self._sources(first):
                if self._is_matrix(source):
                    raise _structure(
                        self.graph.where(last),
                        f"is the third matrix in a row, after {source!r} and {first!r}",
                        "multiply two of them",
                    )
                yield (source, first)

    def _sources(self, matrix: str) -> list[str]:
        found = self.graph.sources(matrix)
        if not found:
            raise _structure(
                self.graph.where(matrix), "receives nothing", "connect it or leave it out"
            )
        return found

    def _matrix(self, key: str) -> FloatArray:
        return np.asarray(self.graph.nodes[key].weight, dtype=np.float64)

    def _reading(self, source: str, weight: FloatArray, notes: Notes) -> FloatArray:
        """``weight`` per float unit of its source; the input's were folded per payload unit."""
        if source == self.source:
            weight = weight / self._payload_scale()
        if "rounding" not in notes:
            return weight
        rounding = notes.array("rounding", weight)
        return np.where(rounding == 0, weight, weight + rounding)

    def _dense(
        self, name: str, layer: str, source: str, target: str, weight: FloatArray, notes: Notes
    ) -> Dense:
        return Dense(
            name=name,
            layer=layer,
            source=self.name(source),
            target=self.name(target),
            weight=self._reading(source, weight, notes),
        )

    def _pair(self, name: str, way: tuple[str, ...], last: str, target: str) -> LowRank:
        source, first = way
        notes = self.graph.notes(last)
        V = self._reading(source, self._matrix(first), self.graph.notes(first)).T
        rank = V.shape[1]
        return LowRank(
            name=name,
            source=self.name(source),
            target=self.name(target),
            U=self._matrix(last),
            V=V,
            levels=notes.vector("levels", (rank,)),
            relay_threshold=notes.array("relay_threshold", np.zeros(rank)),
            sigma=bool(notes.whole("sigma", 0)),
            delta=bool(notes.whole("delta", 0)),
            level_bias=notes.array("level_bias", np.zeros((0, 0))),
            gate=_gate(notes) if "gate_at_source" in notes else None,
        )

    def with_constant(self, key: str, own: Neurons) -> tuple[Lif, list[tuple[Relay, Dense]]]:
        """The neurons with the biases of the Affine nodes before them.

        The bias of a LIF adds to its voltage; that of a CubaLIF flows through its current.
        """
        constant = np.zeros(own.lif.size)
        for last in filter(self._is_matrix, self.graph.sources(key)):
            constant = constant + self._bias(last)
            for first in filter(self._is_matrix, self._sources(last)):
                constant = constant + self._matrix(last) @ self._bias(first)
        if not constant.any():
            return own.lif, []
        constant = constant * own.gain
        if not own.has_current:
            return replace(own.lif, bias=own.lif.bias + constant), []
        relay = Relay(
            name=f"{own.lif.name}/on", threshold=np.zeros(1), block_bounds=(0, 1), bias=np.ones(1)
        )
        dense = Dense(
            name=f"{own.lif.name}/bias",
            source=relay.name,
            target=own.lif.name,
            weight=constant[:, None],
        )
        return own.lif, [(relay, dense)]

    def _bias(self, key: str) -> FloatArray:
        """``(rows of its matrix,)``, without level biases; zeros for a Linear."""
        zeros = np.zeros(self._matrix(key).shape[0])
        bias = np.asarray(getattr(self.graph.nodes[key], "bias", zeros), dtype=np.float64)
        levels = self.graph.notes(key).array("level_bias", np.zeros((0, 0)))
        return bias - levels.sum(axis=0) if levels.size else bias


def _gate(notes: Notes) -> RankGate:
    """The gate that our exporter recorded."""
    matrix, vector = np.zeros((0, 0)), np.zeros(0)
    return RankGate(
        weight=notes.array("gate_weight", matrix),
        bias=notes.array("gate_bias", vector),
        cost=notes.array("gate_cost", vector),
        decay=notes.number("gate_decay", 0.0),
        trace_decay=notes.number("gate_trace_decay", 0.0),
        trace_threshold=notes.number("gate_trace_threshold", 0.0),
        hidden_weight=notes.array("gate_hidden_weight", matrix),
        hidden_bias=notes.array("gate_hidden_bias", vector),
        at="source" if notes.whole("gate_at_source", 0) else "relay",
    )


def _scaled(projection: Dense | LowRank, gain: FloatArray) -> Dense | LowRank:
    """``projection`` with the gain of each target neuron in its weights."""
    if (gain == 1).all():
        return projection
    if isinstance(projection, Dense):
        return replace(projection, weight=projection.weight * gain[:, None])
    bias = projection.level_bias
    return replace(
        projection,
        U=projection.U * gain[:, None],
        level_bias=bias * gain if bias.size else bias,
    )
