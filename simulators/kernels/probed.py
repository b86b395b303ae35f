"""Low-rank layers whose level a gate chooses by what they answer at the lowest one, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from mapping.errors import ConfigError
from simulators.kernels import job as fields
from simulators.kernels.chain import Chain, full_workspace
from simulators.kernels.chain_layers import FullLayer, LeveledLayer, refuse_array, small_array
from simulators.kernels.layout import Float32Array, Int64Array, aligned
from simulators.kernels.leveled import LeveledChain
from simulators.kernels.pool import pool


class AnswerGate:
    """A linear gate over K levels that reads the answer at the lowest one; all copied.

    It reads the largest probabilities of the answer, descending, then its entropy with a minus.
    A sample goes from level k - 1 on to level k while
    ``weight[k - 1] · features + bias[k - 1] > price · cost[k - 1]``.

    Args:
        weight: shape (K - 1, probabilities + 1).
        bias, cost: shape (K - 1,).
        probe_weights: what the answer at the lowest level counts in the sum with that at the level
            that the gate chooses, shape (K,).

    Raises:
        ConfigError: ``ADL-KRN-06`` when the arrays do not fit each other.
    """

    def __init__(
        self, weight: ArrayLike, bias: ArrayLike, cost: ArrayLike, probe_weights: ArrayLike
    ) -> None:
        of = type(self).__name__
        shape = np.shape(weight)
        if len(shape) != 2 or shape[1] < 2:
            refuse_array("weight", weight, "pass shape (K - 1, probabilities + 1)", of=of)
        self.weight = small_array("weight", weight, shape, of=of)
        self.bias = small_array("bias", bias, shape[:1], of=of)
        self.cost = small_array("cost", cost, shape[:1], of=of)
        counts = small_array("probe_weights", probe_weights, (shape[0] + 1,), of=of)
        self.probe_weights = counts


class ProbedChain(Chain[LeveledLayer]):
    """Layers that run all samples at the lowest level, and then those on which a gate spends more.

    y_i = U[:, :r_i] V[:, :r_i]ᵀ x_i + b_i, layer after layer, then a full matrix. The gate reads
    what comes out at the lowest level, which is the answer where the gate leaves it at that. In the
    first layer other samples go on from what the lowest level gave there; what they answer at their
    own level is added to what they have answered, as the gate weighs it.

    Args:
        layers: at least one; all have as many levels, two or more.
        batch: most samples of a call.
        head: the full matrix.
        gate: chooses the level of each sample, the same in all layers.
        exit_head: a full matrix that answers from the first layer's outputs at the lowest level,
            where the other layers then do not run.

    Attributes are those of :class:`~simulators.kernels.chain.Chain`, where the first layer is what
    lies beyond its lowest level.

    Raises:
        ConfigError: ``ADL-KRN-06`` when layers, matrices and gate do not fit each other, or the
            first layer's lowest rank is 0.
    """

    def __init__(
        self,
        layers: Sequence[LeveledLayer],
        batch: int,
        head: FullLayer,
        gate: AnswerGate,
        exit_head: FullLayer | None = None,
    ) -> None:
        counts = [len(layer.ranks) for layer in layers]
        levels, features = len(gate.cost) + 1, gate.weight.shape[1]
        classes = head.factors.outputs
        if set(counts) != {levels} or levels < 2 or features > classes + 1:
            raise ConfigError(
                f"a gate of {levels} levels and {features} features does not fit layers of "
                f"{', '.join(map(str, counts))} levels and answers of {classes} numbers",
                where=f"{type(self).__name__}.gate",
                remedy="give gate and layers as many levels, two or more, and the gate no more "
                "probabilities to read than an answer has",
                code="ADL-KRN-06",
            )
        first, *others = layers
        begun, beyond = _divided(first)
        super().__init__([beyond, *others], batch, head)
        self._given, self.gate, self.exit_head = tuple(layers), gate, exit_head
        self._first = LeveledChain([begun], batch)
        width = beyond.starts.shape[1]
        rooms = [aligned((batch, width)), aligned((batch, width)), aligned((batch, classes))]
        raw, begin, answers = rooms
        above: Int64Array = aligned((2, batch), np.int64)
        top = features - 1
        places: Float32Array = aligned((top,))
        row = self._first.table[0]
        row[fields.OUT], row[fields.OUT_STEP] = raw.ctypes.data, raw.strides[0]
        probe: Int64Array = aligned((fields.PROBE_FIELDS,), np.int64)
        probe[fields.FIRST] = self._first.address
        if exit_head is not None:
            self._check_exit(exit_head)
            self._exit = full_workspace(exit_head, batch)
            probe[fields.EXIT] = self._exit.address
        probe[fields.BEGIN], probe[fields.BEGIN_STEP] = begin.ctypes.data, begin.strides[0]
        probe[fields.ANSWERS], probe[fields.ANSWERS_STEP] = answers.ctypes.data, 4 * classes
        probe[fields.ABOVE], probe[fields.ABOVE_LEVELS] = (part.ctypes.data for part in above)
        probe[fields.CLASSES], probe[fields.GATE_LEVELS], probe[fields.TOP] = classes, levels, top
        probe[fields.GATE_TOP], probe[fields.GATE_WEIGHT] = places.ctypes.data, _place(gate.weight)
        probe[fields.GATE_BIAS], probe[fields.GATE_COST] = _place(gate.bias), _place(gate.cost)
        probe[fields.PROBE_WEIGHTS] = _place(gate.probe_weights)
        arrays = gate.weight, gate.bias, gate.cost, gate.probe_weights
        self._probe, self._held = probe.ctypes.data, (probe, above, places, *rooms, *arrays)

    def __reduce__(self) -> tuple[type[ProbedChain], tuple[object, ...]]:
        """As of any :class:`Chain`."""
        return type(self), (self._given, self.batch, self.head, self.gate, self.exit_head)

    def _check_exit(self, exit_head: FullLayer) -> None:
        """Refuse a matrix that does not take the first layer's outputs, or answers otherwise."""
        given, taken = self.layers[0].factors.outputs, exit_head.factors.r_max
        answers = exit_head.factors.outputs
        if given != taken or answers != self.outputs:
            raise ConfigError(
                f"a matrix of {taken} inputs and {answers} outputs does not fit a first layer of "
                f"{given} outputs and answers of {self.outputs} numbers",
                where=f"{type(self).__name__}.exit_head",
                remedy=f"pass one of {given} inputs and {self.outputs} outputs",
                code="ADL-KRN-06",
            )

    def forward(
        self,
        x: Float32Array,
        price: float,
        *,
        out: Float32Array | None = None,
        chosen: Int64Array | None = None,
    ) -> tuple[Float32Array, Int64Array]:
        """Answers, and the level of each sample.

        NaN and infinity spread as in :func:`.low_rank_forward`; a gate that reads NaN is off.

        Args:
            x: inputs, shape (n, in), float32; the numbers of a row lie side by side.
            price: of the gate's cost.
            out: receives the answers, float32, shape (n, classes), apart from x, rows as there.
            chosen: receives the levels, int64, shape (n,), contiguous.

        Returns:
            Answers (n, classes) and levels (n,).

        Raises:
            ConfigError: ``ADL-KRN-02`` when an array has the wrong shape, type or place,
                ``ADL-KRN-04`` on more samples than there is room for.
        """
        batch = len(x)
        if out is None:
            out = np.empty((batch, self.outputs), np.float32)
        if chosen is None:
            chosen = np.empty(batch, np.int64)
        self.check_rows(x, out)
        self.check_array("chosen", chosen, np.int64, (batch,))
        rows = (x.ctypes.data, x.strides[0]), (out.ctypes.data, out.strides[0])
        self.forward_at(*rows, chosen.ctypes.data, batch, price)
        return out, chosen

    def forward_at(
        self, x: tuple[int, int], out: tuple[int, int], chosen: int, batch: int, price: float
    ) -> None:
        """As :meth:`forward`, for arrays that are known to fit.

        Args:
            x, out: address of the first row, and bytes from row to row.
            chosen: address.
            batch: samples, 0 or more.
            price: as there.

        Raises:
            ConfigError: ``ADL-KRN-04``.
        """
        self.check_batch(batch)
        if not batch:
            return
        table = self.table
        table[-1, fields.OUT], table[-1, fields.OUT_STEP] = out
        run = _compiled().run_probed
        arguments = (
            self.address,
            len(table),
            batch,
            self.at_once,
            *x,
            self._probe,
            chosen,
            price,
        )
        while run(*arguments) != fields.DONE:
            pool.start(self.threads - 1)


def _divided(layer: LeveledLayer) -> tuple[LeveledLayer, LeveledLayer]:
    """A layer's lowest level without biases, and what lies beyond it, with all of them."""
    low = int(layer.ranks[0])
    if not low:
        raise ConfigError(
            f"the lowest of its ranks {tuple(map(int, layer.ranks))} leaves nothing to go on from",
            where=f"{ProbedChain.__name__}.layers[0].ranks",
            remedy="pass ranks from 1 on",
            code="ADL-KRN-06",
        )
    begun, beyond = layer.factors.split(low)
    ranks = layer.ranks - low
    return (
        LeveledLayer(begun, (low,)),
        LeveledLayer(beyond, ranks, layer.level_bias, layer.rectified),
    )


def _place(array: Float32Array) -> int:
    place: int = array.ctypes.data
    return place


@cache
def _compiled() -> ModuleType:
    """The compiled call, loaded when a first one is made."""
    from simulators.kernels import probed_call

    return probed_call
