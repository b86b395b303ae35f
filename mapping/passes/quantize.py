"""Map a float network onto the target's number grid.

Each population gets one scale (each rank block of a relay its own): dendritic or payload units per
unit of the float model. It is as large as the worst-case input and a threshold of 2048 units
allow, so that no sum, payload or current can overflow and inhibition rarely saturates the voltage.
Within a factor of two below that it is chosen to make the weights' rounding error smallest. Every
block of a projection then gets the exponent that uses its mantissa bits best.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, log2

import networkx as nx
import numpy as np

from mapping.errors import ConfigError, QuantizationError, UnsupportedModelError
from mapping.ir.network import Dense, FloatArray, Input, Lif, LowRank, Network, Population, Relay
from mapping.ir.quantized import (
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    Part,
    ProjectionSpec,
    QuantizedNetwork,
    WeightFidelity,
)
from mapping.ir.ranges import PayloadRange, delivered_range
from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_SHIFT
from mapping.targets.spec import ChipSpec, NumericSpec

_SCALES_TRIED = 33
_FINEST_THRESHOLD = 2**11
"""A finer threshold would gain nothing and take the room that inhibition needs: v saturates at
2**17 threshold units, here at 64 thresholds or more below zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Round weights, thresholds, biases and decays to the chip's formats.

    Attributes:
        weight_bits: bits per weight mantissa, or None for the most that the chip has.
    """

    weight_bits: int | None = None

    def run(self, network: Network, chip: ChipSpec) -> QuantizedNetwork:
        """The integer image of ``network``, which must hold no :class:`LowRank`.

        Raises:
            ConfigError: ADL-CFG-04, ``weight_bits`` is outside the chip's range.
            QuantizationError: a threshold rounds to zero (ADL-QNT-01) or payloads exceed the
                chip's (ADL-QNT-02).
            UnsupportedModelError: ADL-QNT-03, relays feed each other in a loop.
        """
        bits = chip.numeric.weight_bits.value if self.weight_bits is None else self.weight_bits
        if not 2 <= bits <= chip.numeric.weight_bits.value:
            raise ConfigError(
                f"{bits} weight bits were asked for; {chip.name} has 2 to "
                f"{chip.numeric.weight_bits.value}",
                where="weight_bits",
                remedy="choose a number in that range",
                code="ADL-CFG-04",
            )
        work = _Quantization(network=network, numeric=chip.numeric, weight_bits=bits)
        for population in _sources_first(network):
            work.add(population)
        return work.result()


@dataclass(slots=True, kw_only=True)
class _Source:
    """One block of source compartments: columns, payload range, float value of a payload unit."""

    start: int
    stop: int
    range: PayloadRange
    unit: float


@dataclass(slots=True, kw_only=True)
class _Piece:
    """The weights from one source block to one target block, in float units per payload unit."""

    dense: Dense
    source: _Source
    weight: FloatArray
    suffix: str

    @property
    def per_unit(self) -> FloatArray:
        return self.weight * self.source.unit


@dataclass(slots=True, kw_only=True)
class _Image:
    """A piece on the grid, with its squared output error in float units."""

    exponent: int
    mantissas: FloatArray
    error: float


@dataclass(slots=True, kw_only=True)
class _Fit:
    """The images of all pieces at one scale and the integer input that they can deliver."""

    scale: float
    images: list[_Image]
    delivered: PayloadRange


@dataclass(slots=True, kw_only=True)
class _Quantization:
    network: Network
    numeric: NumericSpec
    weight_bits: int
    populations: dict[str, IntegerPopulation] = field(default_factory=dict)
    projections: dict[str, list[IntegerProjection]] = field(init=False)
    sources: dict[str, list[_Source]] = field(default_factory=dict)
    fidelity: dict[str, WeightFidelity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.projections = {p.name: [] for p in self.network.projections}
        for lif in self.network.populations:
            if isinstance(lif, Lif):
                binary = PayloadRange.binary(lif.size)
                self.sources[lif.name] = [_Source(start=0, stop=lif.size, range=binary, unit=1.0)]

    def result(self) -> QuantizedNetwork:
        order = [p.name for p in self.network.populations]
        projections = [
            piece for p in self.network.projections for piece in self.projections[p.name]
        ]
        return QuantizedNetwork(
            name=self.network.name,
            dt_s=self.network.dt_s,
            populations=tuple(self.populations[name] for name in order),
            projections=tuple(projections),
            output=self.network.output,
            fidelity=tuple(self.fidelity[p.spec.name] for p in projections),
        )

    def add(self, population: Population) -> None:
        match population:
            case Input():
                self._add_input(population)
            case Lif():
                self._add_lif(population)
            case Relay():
                self._add_relay(population)

    def _add_input(self, population: Input) -> None:
        limit = 2 ** (self.numeric.payload_bits.value - 1) - 1
        if max(-population.payload_min, population.payload_max) > limit:
            raise QuantizationError(
                f"payloads reach {max(-population.payload_min, population.payload_max)}, "
                f"the chip carries ±{limit}",
                where=population.name,
                remedy="scale the input down and raise payload_scale",
                code="ADL-QNT-02",
            )
        self.populations[population.name] = population
        self.sources[population.name] = [
            _Source(
                start=0,
                stop=population.size,
                range=PayloadRange.of(population),
                unit=population.payload_scale,
            )
        ]

    def _add_lif(self, lif: Lif) -> None:
        pieces = self._pieces(lif.name, 0, lif.size)
        du = int(np.clip(round(DECAY_UNIT * (1 - lif.current_decay)) - 1, 0, DECAY_UNIT - 1))
        input_limit = 2 ** (self.numeric.activation_bits.value - 1) - 1
        largest_input = input_limit * (du + 1) / DECAY_UNIT
        bias = float(np.abs(lif.bias).max())
        bias_limit = (2 ** (self.numeric.bias_mantissa_bits.value - 1) - 1) << (
            self.numeric.bias_exponent_max.value
        )
        finest = min(2**self.numeric.threshold_bits.value - 1, _FINEST_THRESHOLD)
        from_threshold = finest / lif.threshold
        from_bias = bias_limit / (bias * 2**STATE_SHIFT) if bias else inf
        fit = self._fit(pieces, lif.size, min(from_threshold, from_bias), largest_input)
        threshold = round(fit.scale * lif.threshold)
        if threshold < 1:
            peak = _worst_input(pieces, lif.size) / lif.threshold
            blamed = "the bias" if from_bias * lif.threshold < 1 else "one step's input"
            raise QuantizationError(
                f"the threshold {lif.threshold} rounds to zero, since {blamed} can reach "
                f"{max(peak, bias / lif.threshold):.3g} times as much",
                where=lif.name,
                remedy="lower current_decay, the weights, the bias or the payload range",
                code="ADL-QNT-01",
            )
        mantissa, exponent = _bias(lif.bias * fit.scale * 2**STATE_SHIFT, self.numeric)
        self.populations[lif.name] = IntegerLif(
            name=lif.name,
            shape=lif.shape,
            du=du,
            dv=int(np.clip(round(DECAY_UNIT * (1 - lif.voltage_decay)), 0, DECAY_UNIT - 1)),
            threshold=threshold,
            bias_mantissa=mantissa.astype(np.int32),
            bias_exponent=exponent,
            scale=fit.scale,
        )
        self._emit(pieces, fit, 0)

    def _add_relay(self, relay: Relay) -> None:
        sources: list[_Source] = []
        bounds = list(zip(relay.block_bounds, relay.block_bounds[1:], strict=False))
        for block, (start, stop) in enumerate(bounds):
            pieces = self._pieces(relay.name, start, stop, f".{block}")
            weight = max((float(np.abs(p.per_unit).max()) for p in pieces), default=0.0)
            unshifted = self._grid_top / weight if weight else inf
            size = stop - start
            fit = self._fit(pieces, size, unshifted, self._largest_payload(size))
            self._emit(pieces, fit, start)
            sources.append(
                _Source(start=start, stop=stop, range=fit.delivered, unit=1.0 / fit.scale)
            )
        self.sources[relay.name] = sources
        scales = [1.0 / source.unit for source in sources]
        self.populations[relay.name] = IntegerRelay(
            name=relay.name,
            threshold=np.minimum(
                np.floor(relay.threshold * np.repeat(scales, np.diff(relay.block_bounds))),
                2.0 ** (self.numeric.payload_bits.value - 1) - 1,
            ).astype(np.int32),
            block_bounds=relay.block_bounds,
            block_scales=tuple(scales),
        )

    def _largest_payload(self, rank: int) -> float:
        """Payloads must fit the packet, and the sum of ``rank`` of them the accumulator."""
        payload = 2.0 ** (self.numeric.payload_bits.value - 1) - 1
        accumulator = 2.0 ** (self.numeric.accumulator_bits.value - 1) - 1
        return min(payload, accumulator / (256 * rank))

    def _pieces(self, target: str, start: int, stop: int, suffix: str = "") -> list[_Piece]:
        pieces = []
        for projection in self.network.incoming(target):
            assert isinstance(projection, Dense), "low-rank projections are realised first"
            sources = self.sources[projection.source]
            for number, source in enumerate(sources):
                part = f".{number}" if isinstance(self._origin(projection), Relay) else ""
                pieces.append(
                    _Piece(
                        dense=projection,
                        source=source,
                        weight=projection.weight[start:stop, source.start : source.stop],
                        suffix=part + suffix,
                    )
                )
        return pieces

    def _origin(self, projection: Dense) -> Population:
        return self.network.population(projection.source)

    def _fit(self, pieces: list[_Piece], size: int, ceiling: float, largest_input: float) -> _Fit:
        """Scale, mantissas and exponents with the smallest weighted rounding error.

        Args:
            pieces: everything that the ``size`` target compartments receive.
            size: number of target compartments.
            ceiling: largest scale that thresholds and biases allow.
            largest_input: bound on the magnitude of the integer input of one step.
        """
        peak = _worst_input(pieces, size)
        if peak:
            ceiling = min(ceiling, largest_input / peak)
            largest = max(float(np.abs(p.per_unit).max()) for p in pieces)
            top = self._grid_top * 2.0**self.numeric.weight_exponent_max.value
            ceiling = min(ceiling, top / largest)
        elif ceiling == inf:
            ceiling = 1.0
        while True:
            scales = np.geomspace(ceiling, ceiling / 2, _SCALES_TRIED)
            fits = [self._round_all(pieces, size, float(scale)) for scale in scales]
            best = min(fits, key=lambda fit: sum(image.error for image in fit.images))
            if best.delivered.magnitude.max() <= largest_input:
                return best
            ceiling *= 0.95

    def _round_all(self, pieces: list[_Piece], size: int, scale: float) -> _Fit:
        images = [self._round(piece, scale) for piece in pieces]
        unit = 2.0 ** (9 - self.weight_bits)
        return _Fit(
            scale=scale,
            images=images,
            delivered=delivered_range(
                (
                    (image.mantissas * unit, image.exponent, piece.source.range)
                    for piece, image in zip(pieces, images, strict=True)
                ),
                size,
            ),
        )

    @property
    def _grid_top(self) -> float:
        """The largest weight on the grid."""
        return (2.0 ** (self.weight_bits - 1) - 1) * 2.0 ** (9 - self.weight_bits)

    def _round(self, piece: _Piece, scale: float) -> _Image:
        """Mantissas and exponent of one piece; one exponent less, with clipping, is tried too."""
        wanted = piece.per_unit * scale
        largest = float(np.abs(wanted).max(initial=0.0))
        low, high = (self.numeric.weight_exponent_min.value, self.numeric.weight_exponent_max.value)
        exact = ceil(log2(largest / self._grid_top)) if largest else 0
        exact = min(max(exact, low), high)
        accumulator = 2 ** (self.numeric.accumulator_bits.value - 1) - 1
        reach = piece.source.range.magnitude
        bound = 2 ** (self.weight_bits - 1)
        images: list[_Image] = []
        for exponent in range(max(exact - 1, low), high + 1):
            unit = 2.0 ** (9 - self.weight_bits + exponent)
            mantissas = np.clip(np.rint(wanted / unit), -bound, bound - 1)
            miss = (mantissas * unit - wanted) / scale * reach
            image = _Image(exponent=exponent, mantissas=mantissas, error=float((miss**2).sum()))
            peak_sum = float((np.abs(mantissas) @ reach).max()) * 2.0 ** (9 - self.weight_bits)
            if peak_sum <= accumulator or exponent == high:
                images.append(image)
            if images and exponent >= exact:
                break
        return min(images, key=lambda image: image.error)

    def _emit(self, pieces: list[_Piece], fit: _Fit, start: int) -> None:
        for piece, image in zip(pieces, fit.images, strict=True):
            dense = piece.dense
            spec = ProjectionSpec(
                name=dense.name + piece.suffix,
                layer=dense.layer,
                part=self._part(dense),
                source=dense.source,
                source_start=piece.source.start,
                source_stop=piece.source.stop,
                target=dense.target,
                target_start=start,
                target_stop=start + piece.weight.shape[0],
                weight_bits=self.weight_bits,
                exponent=image.exponent,
                graded=piece.source.range.graded,
                fused_rank=dense.fused_rank,
            )
            self.projections[dense.name].append(
                IntegerProjection(spec=spec, mantissas=image.mantissas.astype(np.int8))
            )
            unit = 2.0 ** (9 - self.weight_bits + image.exponent) / (fit.scale * piece.source.unit)
            self.fidelity[spec.name] = _fidelity(
                spec.name, piece.weight, image.mantissas, unit, self.weight_bits
            )

    def _part(self, dense: Dense) -> Part:
        if isinstance(self.network.population(dense.target), Relay):
            return "V"
        return "U" if isinstance(self._origin(dense), Relay) else "full"


def _sources_first(network: Network) -> list[Population]:
    """Populations so ordered that every relay comes after what feeds it."""
    assert not any(isinstance(p, LowRank) for p in network.projections)
    relays = {p.name for p in network.populations if isinstance(p, Relay)}
    into_relays = network.graph().edge_subgraph(
        [(p.source, p.target) for p in network.projections if p.target in relays]
    )
    try:
        order = {name: place for place, name in enumerate(nx.topological_sort(into_relays))}
    except nx.NetworkXUnfeasible as error:
        raise UnsupportedModelError(
            "relays feed each other in a loop, so their payloads have no bound",
            where=f"network {network.name}",
            remedy="put a spiking population into the loop",
            code="ADL-QNT-03",
        ) from error
    inputs = [p for p in network.populations if isinstance(p, Input)]
    relayed = sorted(
        (p for p in network.populations if isinstance(p, Relay)), key=lambda p: order.get(p.name, 0)
    )
    return [*inputs, *relayed, *(p for p in network.populations if isinstance(p, Lif))]


def _worst_input(pieces: list[_Piece], size: int) -> float:
    """Largest magnitude that the pieces can add up to in any of ``size`` targets [float units]."""
    total = delivered_range(((p.per_unit, None, p.source.range) for p in pieces), size)
    return float(total.magnitude.max())


def _bias(bias: FloatArray, numeric: NumericSpec) -> tuple[FloatArray, int]:
    """Mantissas and the smallest exponent that holds all of them."""
    limit = 2 ** (numeric.bias_mantissa_bits.value - 1) - 1
    for exponent in range(numeric.bias_exponent_max.value + 1):
        mantissa = np.rint(bias / 2.0**exponent)
        if np.abs(mantissa).max() <= limit:
            break
    return np.clip(mantissa, -limit, limit), exponent


def _fidelity(
    name: str, weight: FloatArray, mantissas: FloatArray, unit: float, weight_bits: int
) -> WeightFidelity:
    norm = float(np.linalg.norm(weight))
    beyond = (weight / unit > 2 ** (weight_bits - 1) - 0.5) | (
        weight / unit < -(2 ** (weight_bits - 1)) - 0.5
    )
    return WeightFidelity(
        projection=name,
        relative_error=float(np.linalg.norm(mantissas * unit - weight)) / norm if norm else 0.0,
        clipped=float(beyond.mean()),
        zeroed=float(((mantissas == 0) & (weight != 0)).mean()),
    )
