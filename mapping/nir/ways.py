"""Every way through a NIR graph from one population to another, over nodes without state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import prod

import numpy as np

from mapping.ir.synapses import FloatArray
from mapping.nir.chain import Chain, extended, shape_after
from mapping.nir.graph import FlatGraph
from mapping.nir.windows import Extents

_MOST_WAYS = 2**6
"""Into one population; each becomes a projection."""
_UNNAMED = ("Delay", "Flatten", "Scale")
_WEIGHTED = ("Linear", "Affine", "Conv1d", "Conv2d", "Scale")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """A way from one population to another.

    Attributes:
        source, target: keys of their nodes.
        operators: keys of the nodes between.
        chain: what these do.
    """

    source: str
    target: str
    operators: tuple[str, ...]
    chain: Chain

    def main(self, graph: FlatGraph) -> str | None:
        """The node that the projection is named after; None if there is none between."""
        named = [key for key in self.operators if "name" in graph.notes(key)]
        strong = [key for key in self.operators if graph.nodes[key].kind not in _UNNAMED]
        return next(reversed(named or strong or list(self.operators)), None)


@dataclass(slots=True, kw_only=True, eq=False)
class Routes:
    """The ways through one graph.

    Attributes:
        graph: a graph without loops of nodes without state.
        shapes: of the populations by key.
        dt_s: duration of a step [s].
        payload_scale: float value of one unit of the input.
    """

    graph: FlatGraph
    shapes: dict[str, Extents]
    dt_s: float
    payload_scale: float
    _sent: dict[str, tuple[Extents, FloatArray]] = field(default_factory=dict)

    def into(self, target: str) -> list[Route]:
        """The ways into the population ``target``.

        Raises:
            UnsupportedModelError: ADL-NIR-05, nodes do not suit each other; ADL-NIR-11, a delay has
                no image.
        """
        paths = list(islice(self._paths(target), _MOST_WAYS + 1))
        if len(paths) > _MOST_WAYS:
            raise self.graph.refuse(
                target,
                f"is reached on more than {_MOST_WAYS} ways",
                "join the nodes before it into one Linear",
            )
        return [
            Route(
                source=source,
                target=target,
                operators=operators,
                chain=self._folded(source, operators),
            )
            for source, operators in paths
        ]

    def _paths(self, target: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Sources and the nodes between, depth first, in the order of the names."""
        waiting: list[tuple[str, tuple[str, ...]]] = [
            (key, ()) for key in reversed(self.graph.before[target])
        ]
        while waiting:
            key, operators = waiting.pop()
            if key in self.shapes:
                yield key, operators
                continue
            waiting += [(before, (key, *operators)) for before in reversed(self.graph.before[key])]

    def _folded(self, source: str, operators: tuple[str, ...]) -> Chain:
        chain = Chain.of(self.shapes[source])
        unit = 1.0
        if source in self.graph.of_kind("Input"):
            unit = self.payload_scale
        for key in operators:
            taken = self.graph.nodes[key].kind in _WEIGHTED
            chain = extended(
                chain, self.graph, key, self.dt_s, self._own(key, unit) if taken else _as_it_is
            )
            unit = 1.0 if taken else unit
        size = prod(chain.shape)
        return chain if unit == 1 else chain.scaled(np.full(size, 1 / unit))

    def _own(self, key: str, unit: float) -> Callable[[FloatArray], FloatArray]:
        """What makes the weights of ``key`` those per float unit of its source."""
        notes = self.graph.notes(key)

        def divided(weight: FloatArray) -> FloatArray:
            found = weight / unit if unit != 1 else weight
            if "rounding" not in notes:
                return found
            rounding = notes.array("rounding", found)
            return np.where(rounding == 0, found, found + rounding)

        return divided

    def constant(self, key: str) -> FloatArray:
        """``(size,)`` what arrives at the population ``key`` in every step from biases."""
        total = np.zeros(prod(self.shapes[key]))
        for before in self.graph.before[key]:
            if before not in self.shapes:
                total = total + self._constants()[before][1]
        return total

    def _constants(self) -> dict[str, tuple[Extents, FloatArray]]:
        """By operator, shape and value of what it sends if all populations are silent."""
        if self._sent:
            return self._sent
        for key in self.graph.operators_in_order():
            node, before = self.graph.nodes[key], self.graph.before[key]
            if not before:
                continue
            shapes = [self.shapes.get(b) or self._sent[b][0] for b in before if b in self._known()]
            received = [self._sent[b][1] for b in before if b in self._sent]
            if not shapes:
                continue
            if len({prod(s) for s in shapes}) > 1:
                raise self.graph.refuse(
                    key,
                    f"receives signals of the shapes {shapes}",
                    "write shapes that match",
                )
            shape = shape_after(self.graph, key, shapes[0])
            constant = np.zeros(prod(shape))
            if any(values.any() for values in received):
                alone = extended(Chain.of(shapes[0]), self.graph, key, self.dt_s)
                total = np.sum(received, axis=0)
                constant = np.asarray(alone.matrix() @ total)
            if "bias" in node.values:
                bias = np.broadcast_to(node.array("bias").ravel(), (shape[0],))
                levels = self.graph.notes(key).array("level_bias", np.zeros((0, 0)))
                bias = bias - levels.sum(axis=0) if levels.size else bias
                constant = constant + np.repeat(bias, constant.size // shape[0])
            self._sent[key] = shape, constant
        return self._sent

    def _known(self) -> set[str]:
        return self.shapes.keys() | self._sent.keys()


def _as_it_is(weight: FloatArray) -> FloatArray:
    return weight
