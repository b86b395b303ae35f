"""Read a NIR file as a float network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Dense, Input, Li, Lif, Network, Population, Projection, Relay
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.nir.chain import Factors
from mapping.nir.conventions import PUBLISHED_DT_S, DtFrom, NirConventions
from mapping.nir.graph import FlatGraph, load_graph
from mapping.nir.neurons import Neurons, from_node
from mapping.nir.notes import Notes
from mapping.nir.order import marks
from mapping.nir.recorded import as_recorded, factor_pair, spelt_out
from mapping.nir.shapes import population_shapes
from mapping.nir.support import NODES
from mapping.nir.timing import Way, check_delays, lags_of_ways, missing_steps
from mapping.nir.ways import Route, Routes


def read_nir(path: Path | str, conventions: NirConventions | None = None) -> Network:
    """The network in a NIR file; neither names nor the order of nodes and edges matter.

    Nodes without state between two populations become one projection: two Linear nodes in a row a
    factor pair, windows a convolution, what is neither a sparse matrix. Biases become those of the
    neurons (of a CubaLIF, whose current they feed, a relay that is always on). Ways that take less
    than others get axonal delays. A file that :func:`mapping.nir.write.write_nir` wrote comes back
    bit for bit under the default conventions.

    Args:
        path: the file.
        conventions: how to read what the file leaves open; the defaults if not given.

    Raises:
        ArtifactError: the file is missing or damaged (ADL-NIR-01) or our metadata in it do not fit
            (ADL-NIR-08).
        UnsupportedModelError: a node type (ADL-NIR-04), the structure (ADL-NIR-05), a neuron's
            parameters (ADL-NIR-06), the timing (ADL-NIR-07) or a delay (ADL-NIR-11) have no image
            on the chip.
        ConfigError: sizes do not match or values are not finite (ADL-NET-…).
    """
    return read_as(Path(path), conventions or NirConventions())[0]


def read_as(path: Path, conventions: NirConventions) -> tuple[Network, dict[str, str | float]]:
    """The network as of :func:`read_nir`, and by which conventions it was read, for a report."""
    with np.errstate(over="ignore", invalid="ignore"):
        reader = GraphReader(graph=load_graph(path), conventions=conventions)
        used = conventions.as_options(reader.dt_s) | {"dt_from": reader.dt_from}
        return reader.network(), used


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphReader:
    """One graph under given conventions.

    Attributes:
        graph: of any NIR nodes.
        conventions: how to read what it leaves open.
    """

    graph: FlatGraph
    conventions: NirConventions

    @cached_property
    def dt_s(self) -> float:
        """Duration of a step [s]."""
        given = self.conventions.dt_s
        return given or self.graph.graph_notes.positive("dt", PUBLISHED_DT_S)

    @property
    def dt_from(self) -> DtFrom:
        """Who says so."""
        if self.conventions.dt_s is not None:
            return "option"
        return "file" if "dt" in self.graph.graph_notes else "assumed"

    @cached_property
    def source(self) -> str:
        """The Input."""
        found = self._only("Input")
        if self.graph.before[found]:
            raise self.graph.refuse(found, "receives something", "feed other nodes")
        return found

    @cached_property
    def answer(self) -> str:
        """The population that the Output shows."""
        output = self._only("Output")
        found = self.graph.before[output]
        while len(found) == 1 and self.graph.nodes[found[0]].kind == "Flatten":
            found = self.graph.before[found[0]]
        if len(found) != 1 or found[0] not in self.graph.of_role("neuron", "integrator"):
            raise self.graph.refuse(
                output,
                f"shows {list(found)}, not one population of neurons or integrators",
                NODES["Output"].remedy,
            )
        return found[0]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the populations, by node."""
        return population_shapes(self.graph)

    @cached_property
    def routes(self) -> Routes:
        """The ways from population to population."""
        return Routes(
            graph=self.graph,
            shapes=self.shapes,
            dt_s=self.dt_s,
            payload_scale=self.graph.notes(self.source).positive("payload_scale", 1.0),
        )

    def check_kind(self, key: str) -> None:
        """The node ``key`` is of a type that is read, in a place where it is.

        Raises:
            UnsupportedModelError: ADL-NIR-04.
        """
        kind = self.graph.nodes[key].kind
        support = NODES[kind]
        misplaced = support.role == "integrator" and (key != self.answer or not self._shown(key))
        if support.status == "refused" or misplaced:
            condition = "only if " if misplaced else ""
            raise UnsupportedModelError(
                f"the node type {kind} is {'read' if misplaced else 'not read:'} "
                f"{condition}{support.reason}",
                where=self.graph.where(key),
                remedy=support.remedy,
                code="ADL-NIR-04",
            )

    def neurons(self, key: str) -> Neurons:
        """What the neurons or integrators ``key`` become.

        Raises:
            UnsupportedModelError: ADL-NIR-06.
        """
        return from_node(
            self._name(key),
            self.graph.nodes[key],
            self.shapes[key],
            self.conventions,
            self.dt_s,
            self.graph.notes(key),
        )

    def network(self) -> Network:
        """All of it; for errors see :func:`read_nir`."""
        for key in sorted(self.graph.nodes):
            self.check_kind(key)
        self.graph.check_joined()
        neurons = {key: self.neurons(key) for key in self.shapes if key != self.source}
        named = self._named([route for key in neurons for route in self.routes.into(key)])
        lag, missing = self._timed(named, neurons)
        populations: list[Population] = [self._input()]
        projections: list[Projection] = []
        for key, own in neurons.items():
            population, relays, biases = self._with_constant(key, own)
            populations += [population, *relays]
            projections += biases
        for name, route in named.items():
            relays, parts = self._projections(name, route, neurons[route.target], missing[name])
            populations += relays
            projections += parts
        order, mark = self._orders(), marks(populations, projections)
        last = len(order)

        def place(p: Population) -> tuple[int, bool, int, bytes]:
            return order.get(p.name, last), isinstance(p, Relay), lag.get(p.name, 0), mark[p.name]

        populations.sort(key=place)
        projections.sort(
            key=lambda p: (order.get(p.name, last), lag.get(p.target, 0), mark[p.name])
        )
        return Network(
            name=self.graph.graph_notes.text("name", Path(self.graph.file).stem),
            dt_s=self.dt_s,
            populations=tuple(populations),
            projections=tuple(projections),
            output=self._name(self.answer),
        )

    def _only(self, kind: str) -> str:
        found = self.graph.of_kind(kind)
        if len(found) != 1:
            raise UnsupportedModelError(
                f"has {len(found)} {kind} nodes: {found}",
                where=self.graph.file,
                remedy=f"give the graph one {kind}",
                code="ADL-NIR-05",
            )
        return found[0]

    def _shown(self, key: str) -> bool:
        """Whether what ``key`` sends goes to the Output alone."""
        after = list(self.graph.after[key])
        for other in after:
            if self.graph.nodes[other].kind == "Flatten":
                after += self.graph.after[other]
        return all(self.graph.nodes[other].kind in ("Flatten", "Output") for other in after)

    def _name(self, key: str) -> str:
        """The name that a node had before it was exported, or its own."""
        return self.graph.notes(key).text("name", key)

    def _orders(self) -> dict[str, int]:
        """Recorded places in the network by name."""
        notes = {key: self.graph.notes(key) for key in self.graph.nodes}
        return {self._name(k): n.whole("order", 0) for k, n in notes.items() if "order" in n}

    def _input(self) -> Input:
        notes = self.graph.notes(self.source)
        return Input(
            name=self._name(self.source),
            shape=self.shapes[self.source],
            payload_min=notes.whole("payload_min", 0),
            payload_max=notes.whole("payload_max", 1),
            payload_scale=self.routes.payload_scale,
            delta=bool(notes.whole("delta", 0)),
        )

    def _named(self, routes: list[Route]) -> dict[str, Route]:
        """Routes by the names of their projections: their main nodes, if each has its own."""
        main = [route.main(self.graph) for route in routes]
        shared = Counter(key for key in main if key is not None)
        found: dict[str, Route] = {}
        for key, route in zip(main, routes, strict=True):
            if key is None:
                name = f"{self._name(route.source)} → {self._name(route.target)}"
            else:
                way = (route.source, *(o for o in route.operators if o != key), route.target)
                name = self._name(key) + (f": {' → '.join(way)}" if shared[key] > 1 else "")
            found[name] = route
        if len(found) != len(routes):
            raise UnsupportedModelError(
                f"{len(routes)} ways between populations have {len(found)} names",
                where=self.graph.file,
                remedy="rename nodes so that none has the name of another's way",
                code="ADL-NIR-05",
            )
        return found

    def _timed(
        self, named: dict[str, Route], neurons: dict[str, Neurons]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Lags of populations, and the axonal delays that projections need for it, by name."""
        ways = [
            Way(
                name=name,
                source=self._name(route.source),
                target=self._name(route.target),
                steps=2 if isinstance(route.chain.form, Factors) else 1,
                delay=int(route.chain.delays.min()),
            )
            for name, route in named.items()
        ]
        previous = self.conventions.cuba_order == "previous"
        late = frozenset(
            own.population.name for own in neurons.values() if own.has_current and previous
        )
        recorded = {
            self._name(key): self.graph.notes(key).whole("lag", 0)
            for key in self.shapes
            if "lag" in self.graph.notes(key)
        }
        if len(recorded) == len(self.shapes) and not late:
            missing = missing_steps(ways, recorded, late)
            if all(way.delay + missing[way.name] in range(LONGEST_DELAY + 1) for way in ways):
                return recorded, missing
        lag = lags_of_ways(ways, late)
        missing = missing_steps(ways, lag, late)
        check_delays(ways, missing)
        return lag, missing

    def _projections(
        self, name: str, route: Route, target: Neurons, missing: int
    ) -> tuple[list[Relay], list[Projection]]:
        """The projection that ``route`` becomes, spelt out with its relays if a pair must wait."""
        key = route.main(self.graph)
        notes = Notes(where=name, values={}) if key is None else self.graph.notes(key)
        chain = replace(route.chain, delays=route.chain.delays + missing)
        if int(chain.delays.max()) > LONGEST_DELAY:
            raise UnsupportedModelError(
                f"must wait {int(chain.delays.max())} steps for other ways, and the chip delays by "
                f"{LONGEST_DELAY} at most",
                where=f"{self.graph.file}: {name}",
                remedy="give the ways to its target less different lengths",
                code="ADL-NIR-11",
            )
        chain = chain.scaled(target.gain)
        ends = self._name(route.source), self._name(route.target)
        if not isinstance(chain.form, Factors):
            shapes = self.shapes[route.source], self.shapes[route.target]
            layer = notes.text("layer", name)
            own = chain.projection(name, layer, ends, shapes)
            return [], [as_recorded(own, notes) if isinstance(own, Dense) else own]
        pair = factor_pair(name, ends, chain.form, target.gain, notes)
        if not chain.delays.any():
            return [], [pair]
        return spelt_out(pair, chain.delays, self.graph.where(name))

    def _with_constant(self, key: str, own: Neurons) -> tuple[Lif | Li, list[Relay], list[Dense]]:
        """The neurons with the biases of the nodes before them.

        The bias of a LIF adds to its voltage; that of a CubaLIF flows through its current.
        """
        constant = self.routes.constant(key)
        if not constant.any():
            return own.population, [], []
        constant = constant * own.gain
        if not own.has_current:
            return replace(own.population, bias=own.population.bias + constant), [], []
        relay = Relay(
            name=f"{own.population.name}/on",
            threshold=np.zeros(1),
            block_bounds=(0, 1),
            bias=np.ones(1),
        )
        dense = Dense(
            name=f"{own.population.name}/bias",
            source=relay.name,
            target=own.population.name,
            weight=constant[:, None],
        )
        return own.population, [relay], [dense]
