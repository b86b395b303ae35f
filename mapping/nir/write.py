"""Write a float network as a NIR file that other tools run unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np

from mapping.artifact.atomic import atomic_file
from mapping.errors import UnsupportedModelError
from mapping.ir.network import (
    Conv2d,
    Dense,
    FloatArray,
    Gate,
    Input,
    LowRank,
    Network,
    Population,
    Projection,
    RankGate,
    Relay,
    Sparse,
    SumPool2d,
)
from mapping.ir.synapses import IntArray
from mapping.nir.conventions import NirConventions
from mapping.nir.neurons import to_node
from mapping.nir.notes import FORMAT, Note, notes_of
from mapping.nir.timing import delays_in_nir, lags
from mapping.nir.windows import plain

_Step = tuple[str, nir.NIRNode]
"""What to append to the name of a projection, and a node of that name."""


def write_nir(network: Network, path: Path | str) -> None:
    """Write ``network`` as a NIR file, whole or not at all; plain ``nir.read`` opens it.

    A full or sparse projection becomes a Linear node, a factor pair two (``V.T``, then ``U``; an
    Affine if it has level biases), a convolution a Conv2d, a pooling projection a SumPool2d and, if
    it has a weight, a Scale; axonal delays, and what one way takes longer than another, a Delay.
    Neurons become IF, LIF or CubaLIF, integrators I, LI or CubaLI. The input is one of integer
    payloads, whose scale is folded into the weights that read it. What NIR has no words for, rank
    levels, gates, relay thresholds and the payload range, lies in the nodes' metadata: other tools
    run every pair at full rank and send what any relay would hold back.

    Args:
        network: what to write.
        path: the file, by custom ``.nir``; replaced if it exists.

    Raises:
        UnsupportedModelError: ADL-NIR-07, NIR does not say how populations in a loop are timed;
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
    writer = _Writer(network=network)
    lag = lags(network.projections)
    for order, population in enumerate(network.populations):
        writer.add_population(population, order, lag.get(population.name, 0))
    waits = delays_in_nir(network.projections)
    for order, projection in enumerate(network.projections):
        writer.add_projection(projection, order, waits[projection.name])
    writer.add_output()
    notes = notes_of(format=FORMAT, name=network.name, **NirConventions().as_options(network.dt_s))
    return nir.NIRGraph(writer.nodes, writer.edges, metadata=notes, type_check=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Writer:
    network: Network
    nodes: dict[str, nir.NIRNode] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def shape(self, population: Population) -> tuple[int, ...]:
        """Of its node: a vector, unless a window reads or feeds it."""
        return population.shape if population.name in _images(self.network) else (population.size,)

    def add_population(self, population: Population, order: int, lag: int) -> None:
        self.keys[population.name] = key = _key(population.name, self.nodes)
        shape = self.shape(population)
        if isinstance(population, Input):
            self.nodes[key] = _input_node(population, shape, order, lag)
            return
        assert not isinstance(population, Relay | Gate), "NIR has no node for them"
        recorded: dict[str, Note] = {"order": order, "lag": lag}
        self.nodes[key] = to_node(population, shape, self.network.dt_s, recorded)

    def add_projection(self, projection: Projection, order: int, wait: int) -> None:
        way = [self.keys[projection.source]]
        for suffix, node in self._steps(projection, order, wait):
            way.append(_key(projection.name + suffix, self.nodes))
            self.nodes[way[-1]] = node
        self.edges.extend(pairwise([*way, self.keys[projection.target]]))

    def add_output(self) -> None:
        shown = self.network.population(self.network.output)
        output = _key("output", self.nodes)
        self.nodes[output] = nir.Output(np.array(self.shape(shown)))
        self.edges.append((self.keys[shown.name], output))

    def _steps(self, projection: Projection, order: int, wait: int) -> Iterator[_Step]:
        source = self.network.population(projection.source)
        shape = self.shape(source)
        steps = _delays(projection, source) + wait
        if steps.any():
            yield "_delay", nir.Delay(delay=(steps * self.network.dt_s).reshape(shape))
        windowed = isinstance(projection, Conv2d | SumPool2d)
        if len(shape) > 1 and not windowed:
            whole = {"input": np.array(shape)}
            yield "_flat", nir.Flatten(input_type=whole, start_dim=0, end_dim=-1)
        scale = source.payload_scale if isinstance(source, Input) else 1.0
        yield from _nodes_of(projection, source, scale, {"name": projection.name, "order": order})


def _images(network: Network) -> set[str]:
    """The populations that windows read or feed."""
    windows = [p for p in network.projections if isinstance(p, Conv2d | SumPool2d)]
    return {end for p in windows for end in (p.source, p.target)}


def _key(name: str, taken: Iterable[str]) -> str:
    """A node name that HDF5 and PyTorch accept, none of ``taken``; ``name`` itself if it can."""
    plain_name = re.sub(r"\W", "_", name, flags=re.ASCII)
    candidates = (
        plain_name if n == 1 else f"{plain_name}_{n}" for n in range(1, len(list(taken)) + 2)
    )
    return next(key for key in candidates if key not in taken)


def _input_node(source: Input, shape: tuple[int, ...], order: int, lag: int) -> nir.Input:
    return nir.Input(
        np.array(shape),
        metadata=notes_of(
            name=source.name,
            order=order,
            lag=lag,
            shape=source.shape,
            payload_min=source.payload_min,
            payload_max=source.payload_max,
            payload_scale=source.payload_scale,
            delta=source.delta,
        ),
    )


def _delays(projection: Projection, source: Population) -> IntArray:
    """``(source size,)`` its axonal delays."""
    found = np.zeros(source.size, np.int64)
    if not isinstance(projection, LowRank) and projection.delays.size:
        found[projection.columns(source)] = projection.delays
    return found


def _nodes_of(
    projection: Projection, source: Population, scale: float, about: Mapping[str, Note]
) -> Iterator[_Step]:
    """The nodes that stand for the synapses of ``projection``; one of them is told ``about`` it."""
    match projection:
        case Dense():
            weight = np.zeros((projection.weight.shape[0], source.size))
            weight[:, projection.columns(source)] = projection.weight
            yield "", _linear(weight, scale, {**about, **_dense_notes(projection, source.size)})
        case Sparse(synapses=synapses):
            weight = np.zeros(synapses.shape)
            columns = np.repeat(np.arange(source.size), synapses.per_axon())
            weight[synapses.targets, columns] = synapses.values
            notes: dict[str, Note] = {**about}
            notes |= {"targets": synapses.targets, "starts": synapses.starts}
            yield "", _linear(weight, scale, notes)
        case Conv2d():
            yield "", _convolution(projection, scale, about)
        case SumPool2d(conv=conv):
            geometry = {
                "kernel_size": np.array(conv.kernel),
                "stride": np.array(conv.stride),
                "padding": np.array(conv.padding),
            }
            weight = np.full(conv.outputs, projection.weight)
            if scale == 1 == projection.weight:
                yield "", nir.SumPool2d(metadata=notes_of(**about), **geometry)
                return
            yield "_pool", nir.SumPool2d(**geometry)
            folded, rounding = _folded(weight, scale)
            yield "", nir.Scale(scale=folded, metadata=notes_of(rounding=rounding, **about))
        case LowRank():
            yield "_V", _linear(projection.V.T, scale, {})
            pair_notes = {**about, **_pair_notes(projection)}
            if projection.level_bias.size:
                bias = projection.level_bias.sum(axis=0)
                metadata = notes_of(**pair_notes)
                yield "_U", nir.Affine(weight=projection.U, bias=bias, metadata=metadata)
            else:
                yield "_U", _linear(projection.U, 1.0, pair_notes)


def _convolution(projection: Conv2d, scale: float, about: Mapping[str, Note]) -> nir.Conv2d:
    found = plain(projection.conv, projection.weight)
    assert found is not None, "checked before"
    conv, weight = found
    folded, rounding = _folded(weight, scale)
    return nir.Conv2d(
        input_shape=(conv.inputs[1], conv.inputs[2]),
        weight=folded,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=np.zeros(conv.out_channels),
        metadata=notes_of(
            rounding=rounding,
            groups=projection.conv.groups,
            kernel=projection.conv.kernel,
            padding=projection.conv.padding,
            dilation=projection.conv.dilation,
            **about,
        ),
    )


def _folded(weight: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """``weight`` with ``scale`` in it, and what dividing by it again would lose."""
    folded = weight * scale
    lost = weight - folded / scale
    return folded, lost if lost.any() else np.zeros(0)


def _linear(weight: FloatArray, scale: float, notes: Mapping[str, Note]) -> nir.Linear:
    folded, rounding = _folded(weight, scale)
    return nir.Linear(weight=folded, metadata=notes_of(rounding=rounding, **notes))


def _dense_notes(dense: Dense, size: int) -> dict[str, Note]:
    notes: dict[str, Note] = {"layer": dense.layer}
    if (dense.source_start, dense.source_stop) != (0, None):
        notes["source_start"] = dense.source_start
        notes["source_stop"] = size if dense.source_stop is None else dense.source_stop
        notes["to_the_end"] = dense.source_stop is None
    return notes


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
        if not name.isprintable():
            yield repr(name), "the name holds characters that are not printable", "rename it"
    for population in network.populations:
        if isinstance(population, Relay | Gate):
            yield (
                population.name,
                f"NIR has no node for a {type(population).__name__} on its own",
                "describe relays and gates as a part of a LowRank projection",
            )
    images = _images(network)
    for projection in network.projections:
        if isinstance(projection, LowRank):
            yield from _inexpressible_pair(projection)
        windowed = isinstance(projection, Conv2d | SumPool2d)
        if projection.target in images and not windowed:
            yield (
                projection.name,
                f"feeds {projection.target!r}, which has channels, height and width, and NIR has "
                "no node that makes them out of a vector",
                "keep the checkpoint, or feed that population through convolutions alone",
            )
        if isinstance(projection, Conv2d) and plain(projection.conv, projection.weight) is None:
            yield (
                projection.name,
                f"its kernel {projection.conv.kernel} is even one way and odd the other, and "
                "nir.read takes every kernel for a square",
                "add a row or column of zeros to the kernel",
            )
        if isinstance(projection, SumPool2d) and projection.conv.dilation != (1, 1):
            yield projection.name, "its windows are dilated, those of NIR are not", "use Conv2d"
        if isinstance(projection, Dense) and (projection.gate or projection.fused_rank):
            yield (
                projection.name,
                "is a part of what a compiler pass made of a factor pair",
                "export the network before compiling it",
            )


def _inexpressible_pair(pair: LowRank) -> Iterator[tuple[str, str, str]]:
    if pair.sigma != pair.delta:
        yield (
            pair.name,
            "its relays sum or differentiate over the steps, which NIR tools would leave out",
            "export the network without sigma and delta coding, or with both on this pair",
        )
    elif pair.delta and pair.level_bias.size:
        yield (
            pair.name,
            "its level biases are sent on change alone, which NIR tools would send every step",
            "export the network with plain relays",
        )
