"""The networks, and the chip, on which partitioners are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import eye_array

from mapping import load_target
from mapping.ir.network import Input
from mapping.ir.quantized import (
    IntegerLif,
    IntegerPopulation,
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
from mapping.ir.traffic import TrafficProfile
from mapping.targets.figures import Limit
from mapping.targets.spec import ChipSpec

WINDOW = 100
"""Steps in which a compartment spikes as often as Γ(2, 5) says, ten times on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is cut, for which chip, and how often everything spikes."""

    network: QuantizedNetwork
    chip: ChipSpec
    traffic: TrafficProfile


def raw_chip(*, compartments: int, synapses: int) -> ChipSpec:
    """A chip that stores 8-bit weights one after the other and has 4096 input axons per core."""
    chip = load_target("loihi2")
    sizes = {
        "compartments": compartments,
        "synapse_words": synapses // 8,
        "synapse_bits": 8,
        "block_header_bits": 0,
        "input_axons": 4096,
        "output_axons": 2**20,
    }
    limits = {
        name: Limit(value=value, status="assumed", source="benchmark")
        for name, value in sizes.items()
    }
    return replace(chip, name="raw", core=replace(chip.core, **limits))


def lenet() -> Problem:
    """LeNet-5, its 784 inputs as compartments, cores of 256 compartments and 64 Ki synapses."""
    first = ConvShape(inputs=(1, 28, 28), out_channels=6, kernel=(5, 5))
    second = ConvShape(inputs=(6, 24, 24), out_channels=6, kernel=(2, 2), stride=(2, 2), groups=6)
    third = ConvShape(inputs=(6, 12, 12), out_channels=16, kernel=(5, 5))
    fourth = ConvShape(inputs=(16, 8, 8), out_channels=16, kernel=(2, 2), stride=(2, 2), groups=16)
    layers: list[tuple[str, Synapses]] = [
        ("pixels", SparseSynapses.of(eye_array(784, dtype=np.int8))),
        *(
            (name, _convolution(conv))
            for name, conv in zip(
                ("conv1", "pool1", "conv2", "pool2"), (first, second, third, fourth), strict=True
            )
        ),
        ("fc1", _dense(120, 256)),
        ("fc2", _dense(84, 120)),
        ("fc3", _dense(10, 84)),
    ]
    rng = np.random.default_rng(0)
    return _chain("LeNet-5", layers, raw_chip(compartments=256, synapses=2**16), rng)


def low_rank(*, width: int = 4096, rank: int = 128, pairs: int = 3) -> Problem:
    """Layers of ``width`` joined by factor pairs; cores of 1024 compartments, 128 Ki synapses."""
    layers: list[tuple[str, Synapses]] = [
        ("layer0", SparseSynapses.of(eye_array(width, dtype=np.int8)))
    ]
    for number in range(1, pairs + 1):
        layers += [(f"relay{number}", _dense(rank, width)), (f"layer{number}", _dense(width, rank))]
    rng = np.random.default_rng(0)
    name = f"{pairs} pairs of {width}, rank {rank}"
    return _chain(name, layers, raw_chip(compartments=1024, synapses=2**17), rng)


def _convolution(conv: ConvShape) -> ConvSynapses:
    return ConvSynapses.whole(np.ones(conv.weight_shape, np.int8), conv)


def _dense(rows: int, columns: int) -> DenseSynapses:
    return DenseSynapses(values=np.ones((rows, columns), np.int8))


def _chain(
    name: str, layers: Sequence[tuple[str, Synapses]], chip: ChipSpec, rng: np.random.Generator
) -> Problem:
    """Each of ``layers`` after the one before; some senders are busier than others."""
    inputs = layers[0][1].shape[1]
    populations: list[IntegerPopulation] = [Input(name="host", shape=(inputs,))]
    projections: list[IntegerProjection] = []
    for layer, synapses in layers:
        source = populations[-1].name
        rows, columns = synapses.shape
        populations.append(_population(layer, rows))
        projections.append(
            IntegerProjection(
                spec=ProjectionSpec(
                    name=f"to {layer}",
                    layer=layer,
                    part="full",
                    source=source,
                    source_start=0,
                    source_stop=columns,
                    target=layer,
                    target_start=0,
                    target_stop=rows,
                    weight_bits=8,
                    exponent=0,
                    graded=layer.startswith("layer"),
                    form=synapses.form,
                    conv=synapses.conv if isinstance(synapses, ConvSynapses) else None,
                ),
                synapses=synapses,
            )
        )
    network = QuantizedNetwork(
        name=name,
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
    )
    rates = {
        p.name: np.clip(np.floor(rng.gamma(2.0, 5.0, p.size)), 1, WINDOW) / WINDOW
        for p in populations[1:]
    }
    rates["host"] = rates[layers[0][0]]
    traffic = replace(TrafficProfile.assumed(network), rates=rates)
    return Problem(network=network, chip=chip, traffic=traffic)


def _population(name: str, size: int) -> IntegerPopulation:
    if name.startswith("relay"):
        return IntegerRelay(
            name=name, threshold=np.zeros(size), block_bounds=(0, size), block_scales=(1.0,)
        )
    return IntegerLif(
        name=name,
        shape=(size,),
        du=4095,
        dv=410,
        threshold=100,
        bias_mantissa=np.zeros(size, np.int32),
        bias_exponent=0,
        scale=1.0,
    )
