"""The integer networks of the golden traces, compiled, and their input.

Every number comes from PCG64's raw stream, which NumPy promises not to change; what generators make
of it may change with NumPy's version.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from support.chips import tiny_chip
from support.integer_networks import Case, compiled

from mapping.ir.network import Input
from mapping.ir.quantized import (
    NEVER,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    ProjectionSpec,
    QuantizedNetwork,
)
from mapping.ir.synapses import ConvShape, ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from mapping.passes.partition import Partition

CONV = ConvShape(
    inputs=(2, 5, 4), out_channels=4, kernel=(3, 2), stride=(2, 1), padding=(1, 0), groups=2
)
DILATED = ConvShape(inputs=(1, 5, 5), out_channels=2, kernel=(2, 2), dilation=(3, 2))
POOL = ConvShape(inputs=CONV.outputs, out_channels=4, kernel=(1, 3), stride=(1, 3), groups=4)


class _Numbers:
    """Integers from a fixed stream."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def between(self, low: int, high: int, shape: int | tuple[int, ...]) -> np.ndarray:
        """Integers ``low`` to before ``high``."""
        raw = self._bits.random_raw(int(np.prod(shape))) % np.uint64(high - low)
        return raw.astype(np.int64).reshape(shape) + low

    def dense(self, rows: int, columns: int) -> DenseSynapses:
        return DenseSynapses(values=self.between(-128, 128, (rows, columns)))

    def sparse(self, rows: int, columns: int) -> SparseSynapses:
        """A third of all possible synapses."""
        present = self.between(0, 3, (columns, rows)) == 0
        targets = np.nonzero(present)[1]
        starts = np.cumsum([0, *present.sum(axis=1)])
        values = self.between(-128, 128, targets.size)
        return SparseSynapses(values=values, targets=targets, starts=starts, height=rows)

    def convolution(self, conv: ConvShape) -> ConvSynapses:
        values = self.between(-128, 128, conv.weight_shape)
        return ConvSynapses.whole(values, conv)


def _lif(name: str, size: int, **changes: object) -> IntegerLif:
    plain = IntegerLif(
        name=name,
        shape=(size,),
        du=1024,
        dv=300,
        threshold=400,
        bias_mantissa=np.zeros(size, int),
        bias_exponent=0,
        scale=1.0,
    )
    return replace(plain, **changes)


def _relay(name: str, threshold: list[int], **changes: object) -> IntegerRelay:
    whole = {"block_bounds": (0, len(threshold)), "block_scales": (1.0,)}
    return IntegerRelay(name=name, threshold=np.array(threshold), **(whole | changes))


def _wire(source: str, target: str, synapses: Synapses, **changes: object) -> IntegerProjection:
    rows, columns = synapses.shape
    spec = ProjectionSpec(
        name=f"{source}-{target}",
        layer=source,
        part="full",
        source=source,
        source_start=0,
        source_stop=columns,
        target=target,
        target_start=0,
        target_stop=rows,
        weight_bits=8,
        exponent=0,
        graded=False,
        form=synapses.form,
        conv=synapses.conv if isinstance(synapses, ConvSynapses) else None,
    )
    return IntegerProjection(spec=replace(spec, **changes), synapses=synapses)


def _case(
    inner: list[IntegerPopulation],
    projections: list[IntegerProjection],
    payloads: np.ndarray,
    *,
    per_core: int = 64,
    price: float = 0.0,
) -> Case:
    largest = int(np.abs(payloads).max())
    least = 0 if largest == 1 else -largest
    source = Input(name="in", shape=payloads.shape[2:], payload_min=least, payload_max=largest)
    network = QuantizedNetwork(
        name="golden",
        dt_s=1e-3,
        populations=(source, *inner),
        projections=tuple(projections),
        output="out",
    )
    chip = tiny_chip(width=4, height=2, cores_per_tile=2)
    artifact = compiled(network, chip, Partition(neurons_per_core=per_core))
    return Case(artifact=artifact, payloads=payloads, price=price)


def _decays() -> Case:
    """Currents and voltages that keep everything, next to nothing and something."""
    some = _Numbers(25)
    decays = [(0, 0), (4095, 4095), (4094, 1), (1, 4094), (1024, 300)]
    inner, wires = [], []
    for number, (du, dv) in enumerate(decays):
        name = "out" if number == 4 else f"p{number}"
        bias = some.between(-9, 10, 3)
        lif = _lif(name, 3, du=du, dv=dv, bias_mantissa=bias, bias_exponent=number)
        inner.append(lif)
        wires.append(_wire("in", name, some.dense(3, 5)))
    return _case(inner, wires, some.between(0, 2, (2, 24, 5)))


def _edges() -> Case:
    """Sums that wrap at 32 bits, currents that wrap at 24 and voltages that saturate."""
    some = _Numbers(2)
    edges = np.array([0, 1, 2**17, 2**22, 2**23 - 1, 2**23, 2**23 + 1, 2**24, 2**30])
    payloads = edges[some.between(0, edges.size, (2, 24, 3))]
    payloads *= 2 * some.between(0, 2, payloads.shape) - 1
    inner, wires = [], []
    kinds = [("silent", -9, NEVER), ("plain", 0, 2**17 - 1), ("out", 7, 2**16)]
    for name, exponent, threshold in kinds:
        inner.append(_lif(name, 4, du=0, dv=0, threshold=threshold))
        wires.append(_wire("in", name, some.dense(4, 3), graded=True, exponent=exponent))
    return _case(inner, wires, payloads)


def _right_shifts() -> Case:
    """Odd and negative sums that are shifted to the right, of several projections and widths."""
    some = _Numbers(3)
    few_bits = DenseSynapses(values=some.between(-4, 4, (5, 4)))
    hidden, out = _lif("hidden", 5, threshold=9), _lif("out", 5, threshold=5)
    wires = [
        _wire("in", "hidden", some.dense(5, 4), exponent=-3),
        _wire("in", "out", few_bits, weight_bits=3, exponent=-6),
        _wire("hidden", "out", some.dense(5, 5), exponent=-5),
        _wire("out", "out", some.dense(5, 5), exponent=-16),
    ]
    return _case([hidden, out], wires, some.between(0, 2, (2, 24, 4)), per_core=4)


def _factor_pair() -> Case:
    """A low-rank pair of relays, and one of which the relays add up and send changes."""
    some = _Numbers(4)
    bias = np.array([0, -40, 300])
    inner = [
        _relay("z", [0, 1, 90], bias=bias, rectified=True),
        _relay("sums", [500, 0], sigma=True, delta=True),
        _lif("out", 4),
    ]
    wires = [
        _wire("in", "z", some.dense(3, 6)),
        _wire("in", "sums", some.dense(2, 6)),
        _wire("z", "out", some.dense(4, 3), graded=True, exponent=-7),
        _wire("sums", "out", some.dense(4, 2), graded=True, exponent=-8),
    ]
    return _case(inner, wires, some.between(0, 2, (2, 24, 6)), per_core=3)


def _gates(*, at_host: bool) -> Case:
    """Two gates with prices that switch rank blocks, at the relays or at the host."""
    some = _Numbers(9)
    needed = (0, 1, 2)
    bounds = (0, 2, 3, 5)
    gate = IntegerGate(
        name="gate",
        bias=np.array([0.5, 0.25]),
        cost=np.array([1.0, 1.5]),
        scale=256.0,
        gain_decay=2048,
        trace_decay=0,
        trace_threshold=0 if at_host else 100,
    )
    blocks = _relay(
        "z",
        [0, 100, 0, 0, 50],
        block_bounds=bounds,
        block_scales=(1.0,) * 3,
        gates_needed=() if at_host else needed,
    )
    wires = [
        _wire("in", "gate", some.dense(2, 6)),
        _wire("z", "out", some.dense(4, 5), graded=True, exponent=-7),
    ]
    for block, (start, stop) in enumerate(pairwise(bounds)):
        ends = {"name": f"V.{block}", "target_start": start, "target_stop": stop}
        held = {"gate": "gate", "gates_needed": block} if at_host and block else {}
        wires.append(_wire("in", "z", some.dense(stop - start, 6), **ends, **held))
    if not at_host:
        switches = DenseSynapses(values=np.arange(2) < blocks.needed[:, None])
        wires += [
            _wire("in", "gate", some.dense(2, 6), name="trace", port="control"),
            _wire("gate", "z", switches, graded=True, weight_bits=2, exponent=-7, port="control"),
        ]
    payloads = some.between(0, 2, (3, 24, 6))
    return _case([blocks, gate, _lif("out", 4)], wires, payloads, per_core=4, price=0.5)


def _delays() -> Case:
    """Axonal delays up to the longest, into LIF compartments and, graded, into relays."""
    some = _Numbers(6)
    late = (0, 63, 1, 17, 63, 2)
    inner = [_relay("z", [0, 9]), _lif("out", 4)]
    wires = [
        _wire("in", "out", some.dense(4, 6), delays=late),
        _wire("in", "z", some.dense(2, 6), delays=late[::-1]),
        _wire("z", "out", some.dense(4, 2), graded=True, exponent=-7, delays=(5, 0)),
    ]
    payloads = some.between(0, 2, (2, 80, 6))
    payloads[:, 8:] *= some.between(0, 4, (2, 72, 1)) == 0
    return _case(inner, wires, payloads, per_core=3)


def _sparse() -> Case:
    """Two sparse layers over several cores, the second with payloads."""
    some = _Numbers(7)
    inner = [_relay("z", [0] * 5), _lif("out", 9, threshold=100)]
    wires = [
        _wire("in", "z", some.sparse(5, 12)),
        _wire("z", "out", some.sparse(9, 5), graded=True, exponent=-6),
        _wire("in", "out", some.sparse(9, 12)),
    ]
    return _case(inner, wires, some.between(0, 2, (2, 24, 12)), per_core=4)


def _convolutions() -> Case:
    """Groups, stride and padding, then pooling; cores cut through channels."""
    some = _Numbers(8)
    pool = ConvSynapses.whole(np.full(POOL.weight_shape, 100), POOL)
    inner = [
        _lif("maps", CONV.size, shape=CONV.outputs),
        _lif("out", POOL.size, shape=POOL.outputs),
    ]
    wires = [_wire("in", "maps", some.convolution(CONV)), _wire("maps", "out", pool)]
    payloads = some.between(0, 2, (2, 16, *CONV.inputs))
    return _case(inner, wires, payloads.reshape(2, 16, -1), per_core=7)


def _dilated() -> Case:
    """A dilated convolution of payloads, shifted to the right, with a delay for every pixel."""
    some = _Numbers(5)
    late = tuple(some.between(0, 5, 25).tolist())
    wire = _wire("in", "out", some.convolution(DILATED), graded=True, exponent=-4, delays=late)
    out = _lif("out", DILATED.size, shape=DILATED.outputs)
    payloads = some.between(-20, 21, (2, 20, 25)) * some.between(0, 2, (2, 20, 25))
    return _case([out], [wire], payloads, per_core=5)


def _recurrent() -> Case:
    """Compartments on several cores that feed themselves, each as late as it likes."""
    some = _Numbers(10)
    inner = [_lif("hidden", 6, bias_mantissa=np.arange(6), bias_exponent=7), _lif("out", 3)]
    wires = [
        _wire("in", "hidden", some.dense(6, 5)),
        _wire("hidden", "hidden", some.dense(6, 6), delays=(0, 7, 1, 0, 3, 0)),
        _wire("hidden", "out", some.sparse(3, 6)),
        _wire("out", "hidden", some.dense(6, 3), exponent=1),
    ]
    return _case(inner, wires, some.between(0, 2, (2, 40, 5)), per_core=3)


def _integrator() -> Case:
    """An output that never spikes and leaks next to nothing, up to where it saturates."""
    some = _Numbers(11)
    inner = [_lif("hidden", 5), _lif("out", 3, threshold=NEVER, dv=1)]
    wires = [
        _wire("in", "hidden", some.dense(5, 6)),
        _wire("hidden", "out", some.dense(3, 5), exponent=6),
    ]
    return _case(inner, wires, some.between(0, 2, (3, 30, 6)))


def golden_cases() -> dict[str, Case]:
    """By name of the file that holds what Lava did."""
    return {
        "decays": _decays(),
        "edges": _edges(),
        "right-shifts": _right_shifts(),
        "factor-pair": _factor_pair(),
        "gates-at-relays": _gates(at_host=False),
        "gates-at-host": _gates(at_host=True),
        "delays": _delays(),
        "sparse": _sparse(),
        "convolutions": _convolutions(),
        "dilated-convolution": _dilated(),
        "recurrent": _recurrent(),
        "integrator": _integrator(),
    }
