"""The shape of every population: NIR nodes may give it, their neighbours know it."""

from __future__ import annotations

from collections import deque
from math import prod

import numpy as np

from mapping.errors import ArtifactError
from mapping.intake import MOST_COMPARTMENTS
from mapping.nir.chain import shape_after
from mapping.nir.graph import FlatGraph
from mapping.nir.windows import Extents, image, whole_numbers

_WINDOWS = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")


def population_shapes(graph: FlatGraph) -> dict[str, Extents]:
    """By node, the shape of the input, of neurons and of integrators.

    It is what our exporter recorded, else (channels, height, width) if what leads to a population
    or reads it works on such, else the shape of its parameters. Parameters that are one for all
    take the size of what arrives.

    Raises:
        ArtifactError: ADL-NIR-01, a shape is none.
        UnsupportedModelError: ADL-NIR-05, what arrives does not suit a node.
    """
    own = {key: _declared(graph, key) for key in graph.of_role("neuron", "integrator")}
    own |= {key: _end_shape(graph, key) for key in graph.of_kind("Input")}
    for key in graph.of_kind("Output"):
        _end_shape(graph, key)
    arriving = _spread(graph, own)
    found: dict[str, Extents] = {}
    for key, declared in own.items():
        known = arriving.get(key, [])
        size = prod(declared) if declared else prod(known[0]) if known else 1
        wrong = [shape for shape in known if prod(shape) != size]
        if wrong:
            raise graph.refuse(
                key,
                f"receives {prod(wrong[0])} numbers, but takes {size}",
                "write shapes that match, with one parameter per neuron or one for all",
            )
        choices = [declared, *known, *_wanted(graph, key, size)]
        images = [shape for shape in choices if len(shape) == 3]
        plain = declared or (known[0] if known else (1,))
        found[key] = graph.notes(key).shape(images[0] if images else plain)
    return found


def _declared(graph: FlatGraph, key: str) -> Extents:
    """The shape of its parameters; empty if they are one for all."""
    shapes = {value.shape for value in graph.nodes[key].values.values() if value.size > 1}
    if len({prod(shape) for shape in shapes}) > 1:
        raise graph.refuse(
            key,
            f"its parameters have the shapes {sorted(shapes)}",
            "give all parameters one shape",
        )
    return max(shapes, key=lambda shape: (len(shape), shape), default=())


def _end_shape(graph: FlatGraph, key: str) -> Extents:
    extents = np.ravel(graph.nodes[key].values["shape"])
    whole = extents.size in range(1, 9) and bool(
        (np.isfinite(extents) & (extents == np.rint(extents))).all()
    )
    shape = tuple(int(extent) for extent in extents) if whole else ()
    if not shape or min(shape) < 1 or prod(shape) > MOST_COMPARTMENTS:
        raise ArtifactError(
            f"the shape {extents[:8]} is not that of 1 to {MOST_COMPARTMENTS} spikes",
            where=graph.where(key),
            remedy="give Input and Output the shapes of one step's spikes",
            code="ADL-NIR-01",
        )
    return shape


def _spread(graph: FlatGraph, own: dict[str, Extents]) -> dict[str, list[Extents]]:
    """By node, the shapes of what arrives there, largest number of dimensions first."""
    sent = {key: shape for key, shape in own.items() if shape}
    arriving: dict[str, list[Extents]] = {}
    waiting = deque(sorted(sent))
    while waiting:
        key = waiting.popleft()
        for other in graph.after[key]:
            known = arriving.setdefault(other, [])
            if sent[key] not in known:
                known.append(sent[key])
                known.sort(key=lambda shape: (-len(shape), shape))
            if other in sent or graph.nodes[other].kind in ("Output", "Input"):
                continue
            is_population = other in own
            sent[other] = sent[key] if is_population else shape_after(graph, other, sent[key])
            waiting.append(other)
    return arriving


def _wanted(graph: FlatGraph, key: str, size: int) -> list[Extents]:
    """The shapes that windows right behind a population ask for."""
    found = []
    for other in graph.after[key]:
        node = graph.nodes[other]
        if node.kind in _WINDOWS and "input_shape" in node.values:
            asked = whole_numbers(graph, other, "input_shape")
            if asked and min(asked) > 0 and size % prod(asked) == 0:
                found.append(
                    image(graph, other, (size,))
                    if node.kind == "Conv2d"
                    else (size // prod(asked), 1, *asked)
                )
    return found
