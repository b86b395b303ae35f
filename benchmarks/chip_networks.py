"""The compiled networks on which the chip simulator is timed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from chip_peers import (
    CONVOLUTIONAL_DV,
    CONVOLUTIONAL_INPUT,
    NO_CURRENT_MEMORY,
    Stage,
    convolutional_stages,
)

from mapping import CompileOptions, compile_network, load_target
from mapping.artifact.schema import Artifact
from mapping.ir.network import Dense, Input, Lif, Network
from mapping.ir.quantized import (
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    ProjectionSpec,
    QuantizedNetwork,
    WeightFidelity,
)
from mapping.ir.synapses import ConvShape, ConvSynapses

ACTIVITY = 0.1


def dense_chain(sizes: Sequence[int], target: str = "loihi2") -> Artifact:
    """LIF layers of these ``sizes`` behind an input, random weights, compiled for ``target``."""
    rng = np.random.default_rng(0)
    populations: list[Input | Lif] = [Input(name="0", shape=(sizes[0],))]
    projections = []
    for number, (wide, narrow) in enumerate(pairwise(sizes), start=1):
        name = str(number)
        populations.append(
            Lif(name=name, shape=(narrow,), current_decay=0.5, voltage_decay=0.9, threshold=1.0)
        )
        weight = rng.normal(0.0, 1.0 / np.sqrt(ACTIVITY * wide), (narrow, wide))
        projections.append(
            Dense(name=f"w{name}", source=str(number - 1), target=name, weight=weight)
        )
    network = Network(
        name="-".join(str(size) for size in sizes),
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
    )
    return compile_network(network, load_target(target), CompileOptions()).artifact


def perceptron() -> Artifact:
    """784-128-10, compiled for loihi2."""
    return dense_chain((784, 128, 10))


def convolutional() -> Artifact:
    """The net of :func:`chip_peers.convolutional_problem`, compiled for loihi2.

    A mantissa of 8 bits counts twice, so sums are halved, which is exact, to be the peers'.
    """
    populations: list[IntegerPopulation] = [Input(name="0", shape=CONVOLUTIONAL_INPUT)]
    projections = []
    shape = CONVOLUTIONAL_INPUT
    for number, stage in enumerate(convolutional_stages(), start=1):
        conv = _geometry(stage, shape)
        shape = conv.outputs
        populations.append(
            IntegerLif(
                name=str(number),
                shape=shape,
                du=NO_CURRENT_MEMORY,
                dv=CONVOLUTIONAL_DV,
                threshold=stage.threshold,
                bias_mantissa=np.zeros(conv.size, np.int32),
                bias_exponent=0,
                scale=1.0,
            )
        )
        spec = ProjectionSpec(
            name=f"w{number}",
            layer=f"w{number}",
            part="full",
            source=str(number - 1),
            source_start=0,
            source_stop=int(np.prod(conv.inputs)),
            target=str(number),
            target_start=0,
            target_stop=conv.size,
            weight_bits=8,
            exponent=-1,
            graded=False,
            form="conv",
            conv=conv,
        )
        every = np.arange(conv.out_channels)
        values = stage.kernel[every, every][:, None] if stage.pools else stage.kernel
        synapses = ConvSynapses.whole(values, conv)
        projections.append(IntegerProjection(spec=spec, synapses=synapses))
    network = QuantizedNetwork(
        name="2x34x34-12c3-p2-32c3-p2-10",
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(projections),
        output=populations[-1].name,
        fidelity=tuple(
            WeightFidelity(projection=p.spec.name, relative_error=0.0, clipped=0.0, zeroed=0.0)
            for p in projections
        ),
    )
    return compile_network(network, load_target("loihi2"), CompileOptions()).artifact


def _geometry(stage: Stage, inputs: tuple[int, int, int]) -> ConvShape:
    channels, _, height, width = stage.kernel.shape
    return ConvShape(
        inputs=inputs,
        out_channels=channels,
        kernel=(height, width),
        stride=(stage.stride, stage.stride),
        padding=(stage.padding, stage.padding),
        groups=channels if stage.pools else 1,
    )
