"""What lies between one population and the next: nodes without state, folded into one map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array

from mapping.errors import UnsupportedModelError
from mapping.ir.network import Conv2d, ConvShape, ConvSynapses, Dense, Sparse, SumPool2d
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.ir.synapses import FloatArray, IntArray, SparseSynapses
from mapping.nir.graph import FlatGraph
from mapping.nir.windows import (
    Extents,
    composed,
    convolution,
    pooling,
    recorded_window,
    whole_numbers,
)

_MOST_WEIGHTS = 2**26
"""Of a matrix that results from several nodes; half a gigabyte."""
_MOST_SYNAPSES = 2**24
"""Of a window that is spelt out as a sparse matrix; likewise."""
_STEP_ROUNDING = 1e-3
"""What a delay may miss whole steps by: files hold single precision."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factors:
    """``U @ V.T``, kept apart."""

    U: FloatArray
    V: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A convolution, or a pooling projection, whose weights are all the same.

    Attributes:
        conv: its geometry.
        weight: of the shape that ``conv`` says.
        pools: whether it is a pooling projection.
        where: file and node, for the error.
    """

    conv: ConvShape
    weight: FloatArray
    pools: bool
    where: str

    def matrix(self) -> csr_array:
        """``(outputs, inputs)`` weights.

        Raises:
            UnsupportedModelError: ADL-NIR-05, they are too many.
        """
        count = self.conv.size * prod(self.conv.weight_shape[1:])
        if count > _MOST_SYNAPSES:
            raise UnsupportedModelError(
                f"joined with the nodes beside it, is no convolution any more, and has up to "
                f"{count} synapses",
                where=self.where,
                remedy="put neurons between them, and scale whole channels",
                code="ADL-NIR-05",
            )
        return csr_array(ConvSynapses.whole(self.weight, self.conv).matrix())


Form = FloatArray | Factors | Window | csr_array
"""One factor per number, or a matrix, a factor pair, a window, a sparse matrix."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """The nodes so far, from a population on.

    Attributes:
        start, shape: of the population and of what comes out.
        form: the linear map; a vector multiplies number by number.
        delays: ``(population size,)`` steps.
    """

    start: Extents
    shape: Extents
    form: Form
    delays: IntArray

    @classmethod
    def of(cls, shape: Extents) -> Chain:
        """No node yet."""
        size = prod(shape)
        return cls(start=shape, shape=shape, form=np.ones(size), delays=np.zeros(size, np.int64))

    def matrix(self) -> csr_array | FloatArray:
        """The map as a matrix, factors multiplied."""
        match self.form:
            case Factors(U=U, V=V):
                return np.asarray(U @ V.T)
            case Window():
                return self.form.matrix()
            case np.ndarray() if self.form.ndim == 1:
                return csr_array(diags_array(self.form))
            case _:
                return self.form

    def scaled(self, factor: FloatArray) -> Chain:
        """Every number multiplied by its own factor; ``(size,)``."""
        if (factor == 1).all():
            return self
        form = self.form
        match form:
            case Factors():
                form = replace(form, U=form.U * factor[:, None])
            case Window():
                form = _scaled_window(form, factor)
            case np.ndarray() if form.ndim == 1:
                form = form * factor
            case np.ndarray():
                form = form * factor[:, None]
            case _:
                form = csr_array(diags_array(factor) @ form)
        return replace(self, form=form)

    def through_matrix(self, weight: FloatArray) -> Chain:
        """Then a full matrix; ``(rows, size)``."""
        form: Form
        match self.form:
            case Factors() as pair:
                form = Factors(U=weight @ pair.U, V=pair.V)
            case np.ndarray() if self.form.ndim == 1:
                form = weight if (self.form == 1).all() else weight * self.form
            case np.ndarray():
                form = Factors(U=weight, V=np.ascontiguousarray(self.form.T))
            case _:
                form = np.asarray((self.matrix().T @ weight.T).T)
        return replace(self, form=form, shape=(len(weight),))

    def through_window(self, window: Window) -> Chain:
        """Then a convolution or pooling."""
        return replace(self, form=self._windowed(window), shape=window.conv.outputs)

    def _windowed(self, window: Window) -> Form:
        match self.form:
            case np.ndarray() if self.form.ndim == 1:
                if (self.form == 1).all():
                    return window
                by_channel = self.form.reshape(window.conv.inputs[0], -1)
                if (by_channel == by_channel[:, :1]).all():
                    return _fed(window, by_channel[:, 0])
                return csr_array(window.matrix() @ diags_array(self.form))
            case Factors() as pair:
                return Factors(U=np.asarray(window.matrix() @ pair.U), V=pair.V)
            case np.ndarray():
                return np.asarray(window.matrix() @ self.form)
            case Window() as first:
                both = composed(first.conv, first.weight, window.conv, window.weight)
                if both is not None:
                    return replace(window, conv=both[0], weight=both[1], pools=False)
        return csr_array(window.matrix() @ self.matrix())

    def delayed(self, steps: IntArray) -> Chain | None:
        """Then delays, ``(size,)`` steps; None if no delays of the population do the same."""
        one_by_one = isinstance(self.form, np.ndarray) and self.form.ndim == 1
        if not one_by_one and (steps != steps[0]).any():
            return None
        return replace(self, delays=self.delays + (steps if one_by_one else steps[0]))

    def projection(
        self, name: str, layer: str, ends: tuple[str, str], shapes: tuple[Extents, Extents]
    ) -> Dense | Sparse | Conv2d | SumPool2d:
        """The projection from one to the other of the populations ``ends`` of these ``shapes``."""
        wiring: dict[str, Any] = {"name": name, "source": ends[0], "target": ends[1]}
        delays = self.delays if self.delays.any() else np.zeros(0, np.int64)
        form = self.form
        assert not isinstance(form, Factors), "factor pairs have no delays"
        if isinstance(form, Window) and shapes == (form.conv.inputs, form.conv.outputs):
            if form.pools:
                factor = float(form.weight.flat[0])
                return SumPool2d(conv=form.conv, weight=factor, delays=delays, **wiring)
            return Conv2d(conv=form.conv, weight=form.weight, delays=delays, **wiring)
        if isinstance(form, np.ndarray) and form.ndim == 2:
            return Dense(layer=layer, weight=form, delays=delays, **wiring)
        return Sparse(synapses=SparseSynapses.of(self.matrix()), delays=delays, **wiring)


def _scaled_window(window: Window, factor: FloatArray) -> Form:
    by_channel = factor.reshape(window.conv.out_channels, -1)
    if (by_channel == by_channel[:, :1]).all():
        weight = window.weight * by_channel[:, 0, None, None, None]
        same = bool((by_channel == by_channel[0, 0]).all())
        return replace(window, weight=weight, pools=window.pools and same)
    return csr_array(diags_array(factor) @ window.matrix())


def _fed(window: Window, factor: FloatArray) -> Window:
    """``window`` over channels that are multiplied first."""
    conv = window.conv
    by_group = factor.reshape(conv.groups, -1)
    group = np.arange(conv.out_channels) // (conv.out_channels // conv.groups)
    weight = window.weight * by_group[group][:, :, None, None]
    same = bool((factor == factor[0]).all())
    return replace(window, weight=weight, pools=window.pools and same)


def shape_after(graph: FlatGraph, key: str, shape: Extents) -> Extents:
    """What the operator ``key`` makes of a signal of ``shape``.

    Raises:
        UnsupportedModelError: ADL-NIR-05, it does not take that shape.
    """
    node = graph.nodes[key]
    match node.kind:
        case "Linear" | "Affine":
            weight = node.values["weight"]
            rows = weight.shape
            bias = np.shape(node.values["bias"]) if node.kind == "Affine" else ()
            if len(rows) != 2 or bias not in (rows[:1], ()) or 0 in rows:
                raise graph.refuse(
                    key,
                    f"its weight has shape {rows}, its bias {bias}",
                    "give a matrix of outputs times inputs, and one bias per output",
                )
            if prod(shape) != rows[1]:
                raise graph.refuse(
                    key,
                    f"receives {prod(shape)} numbers, but takes {rows[1]}",
                    "write shapes that match",
                )
            return (rows[0],)
        case "Conv1d" | "Conv2d":
            return convolution(graph, key, shape)[0].outputs
        case "SumPool2d" | "AvgPool2d":
            return pooling(graph, key, shape).outputs
        case "Flatten":
            return _flattened(graph, key, shape)
        case _:
            size = node.values["scale" if node.kind == "Scale" else "delay"].size
            if size not in (1, prod(shape)):
                raise graph.refuse(
                    key,
                    f"receives {prod(shape)} numbers, but takes {size}",
                    "write shapes that match, with one parameter per number",
                )
            return shape


def _flattened(graph: FlatGraph, key: str, shape: Extents) -> Extents:
    (first, *more), (last, *others) = (
        whole_numbers(graph, key, name) for name in ("start_dim", "end_dim")
    )
    if "input_type" in graph.nodes[key].values:
        given = whole_numbers(graph, key, "input_type")
        if min(given) < 1 or prod(given) != prod(shape):
            raise graph.refuse(
                key, f"flattens {given}, but gets {shape}", "write shapes that match"
            )
    last = last + len(shape) if last < 0 else last
    if more or others or not 0 <= first <= len(shape) or last >= len(shape):
        raise graph.refuse(
            key, f"flattens dimensions {first} to {last} of {shape}", "flatten those that are there"
        )
    if first >= last:
        return shape
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


def extended(
    chain: Chain,
    graph: FlatGraph,
    key: str,
    dt_s: float,
    own: Callable[[FloatArray], FloatArray] = lambda weight: weight,
) -> Chain:
    """``chain`` with the operator ``key`` behind it.

    Args:
        chain: the nodes before.
        graph: where it is from.
        key: the node.
        dt_s: duration of a step [s].
        own: what to make of its weights or factors first.

    Raises:
        UnsupportedModelError: ADL-NIR-05, it does not suit the nodes before; ADL-NIR-11, a delay
            has no image.
    """
    node, shape = graph.nodes[key], shape_after(graph, key, chain.shape)
    match node.kind:
        case "Linear" | "Affine":
            if isinstance(chain.form, Factors):
                raise graph.refuse(key, "is the third matrix in a row", "multiply two of them")
            if not isinstance(chain.form, np.ndarray):
                _check_weights(graph, key, shape[0] * prod(chain.start))
            return chain.through_matrix(own(node.array("weight")))
        case "Scale":
            factor = own(node.array("scale")).ravel()
            return chain.scaled(np.broadcast_to(factor, (prod(shape),)))
        case "Conv1d" | "Conv2d":
            conv, kernel = convolution(graph, key, chain.shape)
            conv, kernel = recorded_window(conv, own(kernel), graph.notes(key))
            window = Window(conv=conv, weight=kernel, pools=False, where=graph.where(key))
        case "SumPool2d" | "AvgPool2d" as kind:
            conv = pooling(graph, key, chain.shape)
            each = 1 / prod(conv.kernel) if kind == "AvgPool2d" else 1.0
            weights = np.full(conv.weight_shape, each)
            window = Window(conv=conv, weight=weights, pools=True, where=graph.where(key))
        case "Flatten":
            return replace(chain, shape=shape)
        case _:
            return _delayed(chain, graph, key, dt_s)
    if isinstance(chain.form, np.ndarray) and chain.form.ndim == 2:
        _check_weights(graph, key, conv.size * prod(chain.start))
    return chain.through_window(window)


def _check_weights(graph: FlatGraph, key: str, count: int) -> None:
    if count > _MOST_WEIGHTS:
        raise graph.refuse(
            key,
            f"joined with the nodes before it, has {count} weights",
            "put neurons between them",
        )


def _delayed(chain: Chain, graph: FlatGraph, key: str, dt_s: float) -> Chain:
    found = chain.delayed(np.broadcast_to(delay_steps(graph, key, dt_s), (prod(chain.shape),)))
    if found is None:
        raise _no_delay(
            graph,
            key,
            "delays several sums differently, but on the chip what sends is delayed",
            "put the Delay before the weights, or delay all alike",
        )
    if int(found.delays.max()) > LONGEST_DELAY:
        raise _no_delay(
            graph,
            key,
            f"delays by {int(found.delays.max())} steps of {dt_s:.6g} s in all, the chip by "
            f"{LONGEST_DELAY} at most",
            "choose shorter delays or a longer --dt",
        )
    return found


def delay_steps(graph: FlatGraph, key: str, dt_s: float) -> IntArray:
    """The delays of the node ``key`` in whole steps, one for each or one for all.

    Raises:
        UnsupportedModelError: ADL-NIR-11, they are none.
    """
    steps = graph.nodes[key].array("delay").ravel() / dt_s
    if not (np.isfinite(steps) & (steps >= 0) & (steps < 2**31)).all():
        raise _no_delay(graph, key, "a delay is negative or without end", "repair it")
    whole = np.rint(steps)
    worst = int(np.abs(steps - whole).argmax())
    if abs(steps[worst] - whole[worst]) > _STEP_ROUNDING:
        raise _no_delay(
            graph,
            key,
            f"a delay of {steps[worst] * dt_s:.6g} s is {steps[worst]:.6g} steps of {dt_s:.6g} s",
            "choose a --dt of which all delays are multiples",
        )
    return whole.astype(np.int64)


def _no_delay(graph: FlatGraph, key: str, message: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError(message, where=graph.where(key), remedy=remedy, code="ADL-NIR-11")
