"""Integer networks with every form of synapses, axonal delays and leaky integrators, compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import random_array
from support.chips import tiny_chip
from support.integer_networks import Case, compiled

from mapping.ir.network import Input
from mapping.ir.quantized import (
    NEVER,
    IntegerLif,
    IntegerProjection,
    IntegerRelay,
    ProjectionSpec,
    QuantizedNetwork,
)
from mapping.ir.synapses import (
    ConvShape,
    ConvSynapses,
    DenseSynapses,
    SparseSynapses,
    Synapses,
)
from mapping.passes.partition import Partition

GROUPED = ConvShape(
    inputs=(4, 6, 5), out_channels=6, kernel=(3, 2), stride=(2, 1), padding=(1, 1), groups=2
)
DILATED = ConvShape(inputs=(2, 6, 6), out_channels=3, kernel=(2, 3), dilation=(3, 2))
POOLING = ConvShape(inputs=(3, 6, 4), out_channels=3, kernel=(2, 2), stride=(2, 2), groups=3)
DELAYS = (63, 0, 1, 0, 17, 2, 63, 5)


def synapse_cases() -> dict[str, Case]:
    """By name; together they hold every form, with sums that are shifted to the right, too."""
    rng = np.random.default_rng(5)
    found = {
        "grouped convolution": _one_layer(rng, _convolution(rng, GROUPED), per_core=8),
        "dilated convolution, graded": _one_layer(
            rng, _convolution(rng, DILATED), graded=True, exponent=-3
        ),
        "pooling": _one_layer(
            rng,
            ConvSynapses.whole(np.full((3, 1, 2, 2), 9), POOLING),
            exponent=4,
        ),
        "sparse": _one_layer(rng, _sparse(rng, (9, 20)), per_core=4),
        "sparse, 3 bits": _one_layer(rng, _sparse(rng, (9, 20), bits=3), bits=3, exponent=2),
        "sparse, graded": _one_layer(rng, _sparse(rng, (9, 20)), graded=True, exponent=-5),
        "delayed": _one_layer(rng, _dense(rng, (5, 8)), delays=DELAYS, steps=90),
        "delayed, shifted": _one_layer(
            rng, _dense(rng, (5, 8)), delays=DELAYS, steps=90, exponent=-4, graded=True
        ),
        "delayed convolution": _one_layer(
            rng,
            _convolution(rng, GROUPED),
            delays=tuple(rng.integers(0, 64, 120).tolist()),
            steps=70,
        ),
        "loop": _loop(rng),
        "leaky integrators": _one_layer(
            rng, _dense(rng, (3, 12)), threshold=NEVER, exponent=7, dv=0, steps=40
        ),
    }
    return found


def wide_case(cores: int) -> Case:
    """Compartments on a core of their own each, all but one of which the last one reads."""
    rng = np.random.default_rng(3)
    first = _projection("w1", _dense(rng, (cores - 1, 4)), ("in", "hidden"))
    second = _projection("w2", _dense(rng, (1, cores - 1)), ("hidden", "out"), exponent=2)
    network = _network((4,), [_lif("hidden", cores - 1), _lif("out", 1)], [first, second])
    return _case(rng, network, per_core=1, steps=8, samples=2)


def _one_layer(
    rng: np.random.Generator,
    synapses: Synapses,
    *,
    per_core: int = 64,
    steps: int = 12,
    graded: bool = False,
    threshold: int = 800,
    dv: int = 300,
    **changes: object,
) -> Case:
    rows, columns = synapses.shape
    projection = _projection("w", synapses, ("in", "out"), graded=graded, **changes)
    out = replace(_lif("out", rows), threshold=threshold, dv=dv)
    network = _network((columns,), [out], [projection], graded=graded)
    return _case(rng, network, per_core=per_core, steps=steps, samples=3)


def _loop(rng: np.random.Generator) -> Case:
    """LIF → relay → LIF with different delays, and LIF that feed themselves, all over cores."""
    lif, relay = (
        _lif("lif", 6),
        IntegerRelay(name="relay", threshold=np.zeros(4), block_bounds=(0, 4), block_scales=(1.0,)),
    )
    projections = [
        _projection("w", _dense(rng, (6, 8)), ("in", "lif"), delays=DELAYS),
        _projection("v", _dense(rng, (4, 6)), ("lif", "relay"), delays=(3, 0, 1, 2, 0, 5)),
        _projection(
            "u",
            _dense(rng, (6, 4)),
            ("relay", "lif"),
            graded=True,
            delays=(0, 7, 0, 63),
            exponent=-9,
        ),
        _projection("r", _dense(rng, (6, 6)), ("lif", "lif"), delays=(0, 0, 4, 1, 2, 3)),
        _projection("o", _sparse(rng, (3, 6)), ("lif", "out"), delays=(0, 1, 0, 1, 0, 1)),
    ]
    network = _network((8,), [lif, relay, _lif("out", 3)], projections)
    return _case(rng, network, per_core=2, steps=80, samples=2)


def _network(
    shape: tuple[int, ...],
    inner: list[IntegerLif | IntegerRelay],
    projections: list[IntegerProjection],
    *,
    graded: bool = False,
) -> QuantizedNetwork:
    source = Input(
        name="in", shape=shape, payload_min=-99 * graded, payload_max=99 if graded else 1
    )
    return QuantizedNetwork(
        name="forms",
        dt_s=1e-3,
        populations=(source, *inner),
        projections=tuple(projections),
        output="out",
    )


def _case(
    rng: np.random.Generator, network: QuantizedNetwork, *, per_core: int, steps: int, samples: int
) -> Case:
    source = network.input
    payloads = rng.integers(
        source.payload_min, source.payload_max, (samples, steps, source.size), endpoint=True
    )
    payloads *= rng.random(payloads.shape) < 0.5
    chip = tiny_chip(width=10, height=10, cores_per_tile=4, usable_cores=400)
    artifact = compiled(network, chip, Partition(neurons_per_core=per_core))
    return Case(artifact=artifact, payloads=payloads, price=0.0)


def _lif(name: str, size: int) -> IntegerLif:
    return IntegerLif(
        name=name,
        shape=(size,),
        du=1024,
        dv=300,
        threshold=800,
        bias_mantissa=np.arange(size) % 3,
        bias_exponent=5,
        scale=1.0,
    )


def _projection(
    name: str,
    synapses: Synapses,
    ends: tuple[str, str],
    *,
    bits: int = 8,
    exponent: int = 0,
    graded: bool = False,
    delays: tuple[int, ...] = (),
) -> IntegerProjection:
    rows, columns = synapses.shape
    spec = ProjectionSpec(
        name=name,
        layer=name,
        part="full",
        source=ends[0],
        source_start=0,
        source_stop=columns,
        target=ends[1],
        target_start=0,
        target_stop=rows,
        weight_bits=bits,
        exponent=exponent,
        graded=graded,
        form=synapses.form,
        conv=synapses.conv if isinstance(synapses, ConvSynapses) else None,
        delays=delays,
    )
    return IntegerProjection(spec=spec, synapses=synapses)


def _mantissas(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 8) -> np.ndarray:
    half = 2 ** (bits - 1)
    return rng.integers(-half, half, shape)


def _dense(rng: np.random.Generator, shape: tuple[int, int]) -> DenseSynapses:
    return DenseSynapses(values=_mantissas(rng, shape))


def _sparse(rng: np.random.Generator, shape: tuple[int, int], bits: int = 8) -> SparseSynapses:
    sparse = SparseSynapses.of(random_array(shape, density=0.3, random_state=rng).tocsc())
    return sparse.with_values(_mantissas(rng, sparse.values.shape, bits))


def _convolution(rng: np.random.Generator, conv: ConvShape) -> ConvSynapses:
    return ConvSynapses.whole(_mantissas(rng, conv.weight_shape), conv)
