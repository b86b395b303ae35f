"""Read a lava-dl ``.net`` file as an integer network, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import ConvShape, ConvSynapses, DenseSynapses, Input
from mapping.ir.quantized import (
    IntegerLif,
    IntegerProjection,
    ProjectionSpec,
    QuantizedNetwork,
    WeightFidelity,
)
from mapping.ir.synapses import IntArray, Synapses
from mapping.netx.file import MOST_COMPARTMENTS, Record, load_file
from mapping.netx.neurons import axonal_delays, delay_refused, neurons

USUAL_STEP_MS = 1.0
"""Duration of a step where the file names none, as in SLAYER [ms]."""
WIDEST_WEIGHT = 8
"""Bits of the widest weight mantissa."""
_WHY_NOT_LAYER = {
    "average": "sends means of spikes, which no spike carries",
    "convT": "spreads its input, for which no form of synapses is read",
    "unpool": "spreads its input, for which no form of synapses is read",
    "concat": "joins several layers, but only chains are read",
}
_UNKNOWN = "is not read; only input, dense, conv, pool and flatten are"


def read_net(path: Path | str) -> QuantizedNetwork:
    """The network in the file ``path``, a chain of layers.

    Layer ``<n>`` becomes the population ``layer<n>`` and, by its type, the projection
    ``dense<n>``, ``conv<n>`` or ``pool<n>``; what feeds them all is the population ``in``.

    Raises:
        ArtifactError: the file is missing or damaged (ADL-NTX-01), something in it is missing or
            of the wrong type (ADL-NTX-02) or shapes do not fit (ADL-NTX-03).
        UnsupportedModelError: a type of layer (ADL-NTX-04), a neuron (ADL-NTX-05), weights or
            biases (ADL-NTX-06) or delays (ADL-NTX-07) have no exact image on the chip.
    """
    path = Path(path)
    file = load_file(path)
    chain = _Chain()
    for record in file.layers:
        chain.add(record)
    return chain.network(path.stem, (file.step_ms or USUAL_STEP_MS) * 1e-3, file.layers[-1])


@dataclass(slots=True, kw_only=True)
class _Chain:
    """The layers so far.

    Attributes:
        shape: of what the next layer reads, () before the first.
        delays: axonal delays of the last population; delaying: the place in the file.
    """

    shape: tuple[int, ...] = ()
    populations: list[Input | IntegerLif] = field(default_factory=list)
    projections: list[IntegerProjection] = field(default_factory=list)
    delays: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    delaying: str = ""

    def add(self, record: Record) -> None:
        kind = record.text("type")
        match kind:
            case "input":
                self._add_input(record)
            case "flatten":
                self._flatten(record)
            case "dense":
                self._add_dense(record)
            case "conv" | "pool":
                self._add_conv(record, kind)
            case _:
                raise _layer(record, f"the layer type {kind} {_WHY_NOT_LAYER.get(kind, _UNKNOWN)}")

    def network(self, name: str, dt_s: float, last: Record) -> QuantizedNetwork:
        if not self.projections:
            raise _layer(last, "no layer before its end has neurons")
        if self.delays.any():
            raise delay_refused(
                self.delaying,
                "delays the spikes of the last layer, which nothing on the chip reads",
            )
        return QuantizedNetwork(
            name=name,
            dt_s=dt_s,
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            output=self.populations[-1].name,
            fidelity=tuple(
                WeightFidelity(projection=p.spec.name, relative_error=0.0, clipped=0.0, zeroed=0.0)
                for p in self.projections
            ),
        )

    def _add_input(self, record: Record) -> None:
        if self.populations:
            raise _layer(record, "is an input, but not the first layer")
        if any(key.startswith("neuron/") or key in ("weight", "bias") for key in record.values):
            raise _layer(
                record,
                "encodes values by neurons of its own, and the range of the values is not in the "
                "file; leave the layer out and give its spikes as the input",
            )
        self._begin(record.shape())

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.populations.append(Input(name="in", shape=shape))

    def _flatten(self, record: Record) -> None:
        if not self.populations:
            raise record.damaged("flattens an input whose shape no input layer gives")
        self.shape = (prod(self.shape),)
        if "shape" in record and prod(record.shape()) != self.shape[0]:
            raise record.misshapen(f"shape {record.shape()} does not hold {self.shape[0]} neurons")

    def _add_dense(self, record: Record) -> None:
        weights = _weights(record)
        rows = prod(record.shape())
        if weights.ndim == 1 and weights.size % rows == 0:
            weights = weights.reshape(rows, -1)
        if weights.ndim != 2 or weights.shape[0] != rows or not weights.size:
            raise record.misshapen(
                f"weight has shape {weights.shape}, there are {rows} neurons in its shape"
            )
        if not self.populations:
            self._begin((weights.shape[1],))
        if self.shape[0] != weights.shape[1] or prod(self.shape[1:]) != 1:
            raise record.misshapen(
                f"weight reads {weights.shape[1]} neurons, the layer before it has shape "
                f"{self.shape}"
            )
        _agree(record, inFeatures=weights.shape[1], outFeatures=rows)
        self._extend(record, "dense", DenseSynapses(values=weights), (rows,), None)

    def _add_conv(self, record: Record, kind: str) -> None:
        weights = _weights(record)
        if weights.ndim == 5 and weights.shape[4] == 1:
            weights = weights[..., 0]
        if weights.ndim != 4 or not weights.size:
            raise record.misshapen(
                f"weight has shape {weights.shape}, not (outputs, inputs, height, width, 1)"
            )
        if not self.populations:
            self._begin(_read_by(record, kind, weights))
        if len(self.shape) != 3:
            raise record.misshapen(f"reads (channels, height, width), but gets {self.shape}")
        conv = _geometry(record, kind, self.shape, weights)
        if kind == "pool":
            weights = np.broadcast_to(weights, conv.weight_shape)
        if weights.shape != conv.weight_shape:
            raise record.misshapen(
                f"weight has shape {weights.shape}, its geometry wants {conv.weight_shape}"
            )
        if min(conv.outputs) < 1 or conv.size > MOST_COMPARTMENTS:
            raise record.misshapen(f"its outputs would have shape {conv.outputs}")
        if record.shape() != conv.outputs:
            raise record.misshapen(
                f"shape is {record.shape()}, its geometry makes {conv.outputs} of {self.shape}"
            )
        _agree(
            record,
            inChannels=conv.inputs[0],
            outChannels=conv.out_channels,
        )
        synapses = ConvSynapses.whole(weights, conv)
        self._extend(record, kind, synapses, conv.outputs, conv)

    def _extend(
        self,
        record: Record,
        kind: str,
        synapses: Synapses,
        shape: tuple[int, ...],
        conv: ConvShape | None,
    ) -> None:
        """Add a population of ``shape`` and the synapses that lead to it."""
        if not any(key.startswith("neuron/") for key in record.values):
            raise _layer(record, "has no neurons, or their parameters are not in the file")
        source, target = self.populations[-1], neurons(record, shape)
        mantissas, weight_bits, exponent = _on_grid(record, synapses.values)
        spec = ProjectionSpec(
            name=f"{kind}{record.number}",
            layer=f"{kind}{record.number}",
            part="full",
            source=source.name,
            source_start=0,
            source_stop=source.size,
            target=target.name,
            target_start=0,
            target_stop=target.size,
            weight_bits=weight_bits,
            exponent=exponent,
            graded=False,
            form=synapses.form,
            conv=conv,
            delays=tuple(self.delays.tolist()) if self.delays.any() else (),
        )
        self.projections.append(
            IntegerProjection(spec=spec, synapses=synapses.with_values(mantissas))
        )
        self.populations.append(target)
        self.shape, self.delays, self.delaying = (
            shape,
            axonal_delays(record, target.size),
            record.where,
        )


def _layer(record: Record, message: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        message,
        where=record.where,
        remedy="build the network from dense, convolution and pooling layers of CUBA neurons",
        code="ADL-NTX-04",
    )


def _agree(record: Record, **expected: int) -> None:
    """What the file says twice must be the same."""
    for key, value in expected.items():
        if key in record and record.whole(key) != value:
            raise record.misshapen(f"{key} is {record.whole(key)}, its weight says {value}")


def _read_by(record: Record, kind: str, weights: IntArray) -> tuple[int, int, int]:
    """The shape that a first layer reads; a stride of 1 leaves no other."""
    stride, padding, dilation = (record.pair(key) for key in ("stride", "padding", "dilation"))
    outputs = record.shape()
    if kind == "pool" or stride != (1, 1) or len(outputs) != 3:
        raise record.misshapen("comes first, and no input layer gives the shape that it reads")
    height, width = (
        extent + gap * (size - 1) - 2 * pad
        for extent, gap, size, pad in zip(
            outputs[1:], dilation, weights.shape[2:], padding, strict=True
        )
    )
    shape = (weights.shape[1] * record.whole("groups"), height, width)
    if min(shape) < 1 or prod(shape) > MOST_COMPARTMENTS:
        raise record.misshapen(f"would read an input of shape {shape}")
    return shape


def _geometry(record: Record, kind: str, inputs: tuple[int, ...], weights: IntArray) -> ConvShape:
    kernel = (weights.shape[2], weights.shape[3])
    stride, padding, dilation = (record.pair(key) for key in ("stride", "padding", "dilation"))
    groups = inputs[0] if kind == "pool" else record.whole("groups")
    if min(*stride, *dilation, groups) < 1 or min(padding) < 0:
        raise record.misshapen(
            f"stride {stride}, dilation {dilation}, padding {padding} or groups {groups} is not "
            "positive"
        )
    if max(*padding, *stride, *dilation) > MOST_COMPARTMENTS:
        raise record.misshapen(f"stride {stride}, dilation {dilation} or padding {padding} is huge")
    if "kernelSize" in record and record.pair("kernelSize") != kernel:
        raise record.misshapen(
            f"kernelSize is {record.pair('kernelSize')}, its weight has {kernel}"
        )
    if inputs[0] % groups or (kind == "conv" and weights.shape[0] % groups):
        raise record.misshapen(
            f"{groups} groups do not divide {inputs[0]} → {weights.shape[0]} channels"
        )
    if kind == "pool":
        uneven = any(extent % size for extent, size in zip(inputs[1:], kernel, strict=True))
        if stride != kernel or padding != (0, 0) or dilation != (1, 1) or uneven:
            raise _layer(
                record,
                f"pools windows of {kernel}, stride {stride}, padding {padding}, dilation "
                f"{dilation}, that do not tile {inputs[1:]}; lava-dl lets such windows reach into "
                "the next channel",
            )
    height, width = inputs[1:]
    return ConvShape(
        inputs=(inputs[0], height, width),
        out_channels=inputs[0] if kind == "pool" else weights.shape[0],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def _weights(record: Record) -> IntArray:
    if "weight/real" in record:
        raise _layer(record, "has complex weights")
    return record.integers("weight")


def _on_grid(record: Record, weights: IntArray) -> tuple[IntArray, int, int]:
    """Mantissas, the fewest bits that hold them, and exponent: together exactly ``weights``.

    What all weights have in common as a power of two moves into the exponent. The chip shifts
    after the sum, so a negative exponent only takes back the shift of the mantissas.
    """
    scale = record.whole("neuron/wgtExp") if "neuron/wgtExp" in record else 0
    used = int(np.bitwise_or.reduce(weights, axis=None))
    common = (used & -used).bit_length() - 1 if used else 0
    mantissas = weights >> common
    low, high = int(mantissas.min()), int(mantissas.max())
    bits = max(2, 1 + max((~low if low < 0 else low).bit_length(), max(high, 0).bit_length()))
    if bits > WIDEST_WEIGHT:
        raise _off_grid(
            record,
            f"weights from {low << common} to {high << common} in steps of {1 << common} need "
            f"{bits} bits, the chip has {WIDEST_WEIGHT}",
        )
    if common + scale < 0:
        raise _off_grid(record, f"wgtExp {scale} makes fractions of weights that are odd")
    return mantissas, bits, common + scale - (9 - bits)


def _off_grid(record: Record, message: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        message,
        where=record.where,
        remedy="train with a quantisation to even weights in -256..254",
        code="ADL-NTX-06",
    )
