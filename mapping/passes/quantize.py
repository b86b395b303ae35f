"""Map a float network onto the target's number grid.

Each population gets one scale (each rank block of a relay its own): dendritic or payload units per
unit of the float model. It is as large as the worst-case input and a threshold of 2048 units
allow, so that no sum, payload or current can overflow and inhibition rarely saturates the voltage;
that of an integrator, which has no threshold, saturates only beyond 256 worst-case steps.
Within a factor of two below that it is chosen to make the weights' rounding error smallest. Every
block of a projection then gets the exponent that uses its mantissa bits best.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import ceil, inf

import networkx as nx
import numpy as np

from mapping.errors import ConfigError, QuantizationError, UnsupportedModelError
from mapping.ir.network import (
    FloatArray,
    Gate,
    Input,
    Li,
    Lif,
    LowRank,
    Network,
    Population,
    Port,
    Relay,
    Wiring,
)
from mapping.ir.quantized import (
    NEVER,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    ProjectionSpec,
    QuantizedNetwork,
    WeightFidelity,
)
from mapping.ir.ranges import Reach, Received
from mapping.ir.synapses import ConvSynapses
from mapping.passes.weight_grid import Fit, Image, Piece, Source, WeightGrid, fidelity, worst_input
from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_LIMIT, STATE_SHIFT
from mapping.targets.spec import ChipSpec, NumericSpec

_FINEST_THRESHOLD = 2**11
"""A finer threshold would gain nothing and take the room that inhibition needs: v saturates at
2**17 threshold units, here at 64 thresholds or more below zero."""
_SUMMED_STEPS = 2**8
"""Steps of the worst input for which an integrator that hardly leaks has room. Later it saturates;
more room would cost the resolution of every step, and no real input is the worst in each."""
_CONTROL_BITS = 2
"""Control weights are 0 or 1, for which the smallest mantissas do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Round weights, thresholds, biases and decays to the chip's formats.

    Attributes:
        weight_bits: bits per weight mantissa, or None for the most that the chip has.
        layer_weight_bits: pairs of a layer, or a pattern with ``*`` that layers match, and the
            bits of its weights; of several that match, the last one counts.
    """

    weight_bits: int | None = None
    layer_weight_bits: tuple[tuple[str, int], ...] = ()

    def run(self, network: Network, chip: ChipSpec) -> QuantizedNetwork:
        """The integer image of ``network``, which must hold no :class:`LowRank`.

        Args:
            network: the float network.
            chip: the target.

        Raises:
            ConfigError: weight bits are outside the chip's range (ADL-CFG-04), or no layer has the
                name that they are for (ADL-CFG-08).
            QuantizationError: a threshold rounds to zero (ADL-QNT-01), payloads exceed the
                chip's (ADL-QNT-02) or relays sum values without end (ADL-QNT-04).
            UnsupportedModelError: ADL-QNT-03, relays feed each other in a loop.
        """
        work = _Quantization(
            network=network,
            numeric=chip.numeric,
            grid=WeightGrid(numeric=chip.numeric),
            weight_bits=self._bits_by_layer(network, chip),
        )
        for population in _sources_first(network):
            work.add(population)
        work.emit_control()
        return work.result()

    def _bits_by_layer(self, network: Network, chip: ChipSpec) -> dict[str, int]:
        most = chip.numeric.weight_bits.value
        common = most if self.weight_bits is None else self.weight_bits
        for where, bits in (("weight_bits", common), *self.layer_weight_bits):
            if not 2 <= bits <= most:
                raise ConfigError(
                    f"{bits} weight bits were asked for; {chip.name} has 2 to {most}",
                    where=where,
                    remedy="choose a number in that range",
                    code="ADL-CFG-04",
                )
        layers = {p.layer: common for p in network.projections if not isinstance(p, LowRank)}
        for pattern, bits in self.layer_weight_bits:
            matching = [name for name in layers if name == pattern or fnmatchcase(name, pattern)]
            if not matching:
                near = get_close_matches(pattern, layers, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"{bits} weight bits were asked for, but no layer is called so",
                    where=pattern,
                    remedy=f"{hint}choose among: {', '.join(layers)}",
                    code="ADL-CFG-08",
                )
            layers |= dict.fromkeys(matching, bits)
        return layers


@dataclass(slots=True, kw_only=True)
class _Quantization:
    network: Network
    numeric: NumericSpec
    grid: WeightGrid
    weight_bits: dict[str, int]
    populations: dict[str, IntegerPopulation] = field(default_factory=dict)
    projections: dict[str, list[IntegerProjection]] = field(init=False)
    sources: dict[str, list[Source]] = field(default_factory=dict)
    fidelity: dict[str, WeightFidelity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.projections = {p.name: [] for p in self.network.projections}
        for lif in self.network.populations:
            if isinstance(lif, Lif | Li):
                self._add_source(lif, Reach.of_lif(lif.size), 1.0)

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
            case Li():
                self._add_li(population)
            case Relay():
                self._add_relay(population)
            case Gate():
                self._add_gate(population)

    def _add_source(self, population: Population, reach: Reach, unit: float) -> None:
        self.sources[population.name] = [
            Source(start=0, stop=population.size, reach=reach, unit=unit)
        ]

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
        self._add_source(population, Reach.of_input(population), population.payload_scale)

    def _add_lif(self, lif: Lif) -> None:
        pieces = self._pieces(lif.name, 0, lif.size)
        bias, from_bias = self._bias_ceiling(lif)
        finest = min(2**self.numeric.threshold_bits.value - 1, _FINEST_THRESHOLD)
        fit = self._fit_currents(lif, pieces, min(finest / lif.threshold, from_bias))
        threshold = round(fit.scale * lif.threshold)
        if threshold < 1:
            packets = [piece.source.reach.packet for piece in pieces]
            peak = worst_input(pieces, packets, lif.size) / lif.threshold
            blamed = "the bias" if from_bias * lif.threshold < 1 else "one step's input"
            raise QuantizationError(
                f"the threshold {lif.threshold} rounds to zero, since {blamed} can reach "
                f"{max(peak, bias / lif.threshold):.3g} times as much",
                where=lif.name,
                remedy="lower current_decay, the weights, the bias or the payload range",
                code="ADL-QNT-01",
            )
        self._emit_lif(lif, pieces, fit, threshold)

    def _add_li(self, li: Li) -> None:
        """As large a scale as keeps every voltage from saturating for :data:`_SUMMED_STEPS`."""
        pieces = self._pieces(li.name, 0, li.size)
        _, from_bias = self._bias_ceiling(li)
        held = [piece.source.reach.held_by(_du(li) + 1) for piece in pieces]
        peak = worst_input(pieces, held, li.size) + float(np.abs(li.bias).max())
        piled = min(1 / (1 - li.voltage_decay) if li.voltage_decay < 1 else inf, _SUMMED_STEPS)
        room = (STATE_LIMIT >> STATE_SHIFT) / (peak * piled) if peak else inf
        ceiling = min(room, from_bias)
        fit = self._fit_currents(li, pieces, ceiling)
        self._emit_lif(li, pieces, fit, NEVER)

    def _bias_ceiling(self, lif: Lif | Li) -> tuple[float, float]:
        """The largest bias, and the largest scale at which the chip holds it."""
        bias = float(np.abs(lif.bias).max())
        mantissa = 2 ** (self.numeric.bias_mantissa_bits.value - 1) - 1
        limit = mantissa << self.numeric.bias_exponent_max.value
        return bias, limit / (bias * 2**STATE_SHIFT) if bias else inf

    def _fit_currents(self, lif: Lif | Li, pieces: list[Piece], ceiling: float) -> Fit:
        """Scale and weights such that no current overflows."""
        decay_parts = _du(lif) + 1
        held = [piece.source.reach.held_by(decay_parts) for piece in pieces]
        limit = 2 ** (self.numeric.activation_bits.value - 1) - 1
        return self.grid.fit(
            pieces, held, lif.size, ceiling, limit, rounded=DECAY_UNIT / decay_parts
        )

    def _emit_lif(self, lif: Lif | Li, pieces: list[Piece], fit: Fit, threshold: int) -> None:
        mantissa, exponent = _bias(lif.bias * fit.scale * 2**STATE_SHIFT, self.numeric)
        self.populations[lif.name] = IntegerLif(
            name=lif.name,
            shape=lif.shape,
            du=_du(lif),
            dv=int(np.clip(round(DECAY_UNIT * (1 - lif.voltage_decay)), 0, DECAY_UNIT - 1)),
            threshold=threshold,
            bias_mantissa=mantissa.astype(np.int32),
            bias_exponent=exponent,
            scale=fit.scale,
        )
        self._emit(pieces, fit.images, fit.scale, 0)

    def _add_relay(self, relay: Relay) -> None:
        sources: list[Source] = []
        threshold, bias = np.zeros(relay.size), np.zeros(relay.size)
        limit = 2.0 ** (self.numeric.payload_bits.value - 1) - 1
        bounds = zip(relay.block_bounds, relay.block_bounds[1:], strict=False)
        for block, (start, stop) in enumerate(bounds):
            part = slice(start, stop)
            pieces = self._pieces(relay.name, start, stop, f".{block}")
            scale, images = self._fit_relay(relay, relay.bias[part], pieces)
            bias[part] = np.rint(relay.bias[part] * scale)
            threshold[part] = np.minimum(np.floor(relay.threshold[part] * scale), limit)
            reach = self._relay_reach(relay, pieces, images, bias[part], threshold[part])
            sources.append(Source(start=start, stop=stop, reach=reach, unit=1.0 / scale))
            self._emit(pieces, images, scale, start)
        self.sources[relay.name] = sources
        self.populations[relay.name] = IntegerRelay(
            name=relay.name,
            threshold=threshold.astype(np.int32),
            block_bounds=relay.block_bounds,
            block_scales=tuple(1.0 / source.unit for source in sources),
            gates_needed=relay.gates_needed,
            bias=bias.astype(np.int32),
            rectified=relay.rectified,
            sigma=relay.sigma,
            delta=relay.delta,
        )

    def _fit_relay(
        self, relay: Relay, bias: FloatArray, pieces: list[Piece]
    ) -> tuple[float, list[Image]]:
        """Scale and weights of one rank block, such that what it sends fits a packet."""
        payload = 2.0 ** (self.numeric.payload_bits.value - 1) - 1
        accumulator = 2.0 ** (self.numeric.accumulator_bits.value - 1) - 1
        largest = min(payload, accumulator / (256 * bias.size)) / (1 + relay.delta)
        changes = all(p.source.reach.delta for p in pieces)
        ranges = [
            p.source.reach.signal if relay.sigma and changes else p.source.reach.packet
            for p in pieces
        ]
        ceiling = self.grid.unshifted(pieces)
        if bias.any():
            largest /= 2
            ceiling = min(ceiling, largest / float(np.abs(bias).max()))
            if not pieces:
                ceiling = 1.0
        fit = self.grid.fit(pieces, ranges, bias.size, ceiling, largest)
        return fit.scale, fit.images

    def _relay_reach(
        self,
        relay: Relay,
        pieces: list[Piece],
        images: list[Image],
        bias: FloatArray,
        threshold: FloatArray,
    ) -> Reach:
        parts = [
            (image.on_grid(), image.exponent, piece.source.reach)
            for piece, image in zip(pieces, images, strict=True)
        ]
        reach = Reach.of_relay(
            Received.of(parts, bias.size),
            bias,
            threshold,
            sigma=relay.sigma,
            rectified=relay.rectified,
            delta=relay.delta,
            gated=any(relay.gates_needed),
        )
        if reach is None:
            raise QuantizationError(
                "would send the sum of the values of every step, without end",
                where=relay.name,
                remedy="drop sigma, or send changes (delta) and gate at the source, or let its "
                "sources send changes",
                code="ADL-QNT-04",
            )
        return reach

    def _add_gate(self, gate: Gate) -> None:
        pieces = self._pieces(gate.name, 0, gate.size)
        packets = [piece.source.reach.packet for piece in pieces]
        offset = float(np.abs(gate.bias).max())
        ceiling = min(self.grid.unshifted(pieces), STATE_LIMIT / 4 / offset if offset else inf)
        limit = 2 ** (self.numeric.activation_bits.value - 1) - 1
        fit = self.grid.fit(pieces, packets, gate.size, ceiling, limit)
        self._emit(pieces, fit.images, fit.scale, 0)
        triggers = self._pieces(gate.name, 0, gate.size, port="control")
        unit = triggers[0].source.unit if triggers else 1.0
        self.populations[gate.name] = IntegerGate(
            name=gate.name,
            bias=gate.bias,
            cost=gate.cost,
            scale=fit.scale,
            gain_decay=round(DECAY_UNIT * (1 - gate.decay)),
            trace_decay=round(DECAY_UNIT * (1 - gate.trace_decay)),
            trace_threshold=ceil(gate.trace_threshold / unit),
        )
        self._add_source(gate, Reach.of_gate(gate.size), 1.0)

    def _pieces(
        self, target: str, start: int, stop: int, suffix: str = "", port: Port = "signal"
    ) -> list[Piece]:
        pieces = []
        for projection in self.network.incoming(target):
            assert not isinstance(projection, LowRank), "low-rank projections are realised first"
            if projection.port != port:
                continue
            columns = projection.columns(self.network.population(projection.source))
            for number, source in enumerate(self.sources[projection.source]):
                first, last = max(source.start, columns.start), min(source.stop, columns.stop)
                if first >= last:
                    continue
                part = f".{number}" if isinstance(self._origin(projection), Relay) else ""
                read = slice(first - columns.start, last - columns.start)
                pieces.append(
                    Piece(
                        wiring=projection,
                        source=Source(
                            start=first,
                            stop=last,
                            reach=source.reach.part(first - source.start, last - source.start),
                            unit=source.unit,
                        ),
                        weight=projection.synapses.rows(np.arange(start, stop)).columns(
                            read.start, read.stop
                        ),
                        suffix=part + suffix,
                        weight_bits=(
                            self.weight_bits[projection.layer]
                            if port == "signal"
                            else _CONTROL_BITS
                        ),
                        gates_needed=self._gates_needed(projection, start),
                    )
                )
        return pieces

    def _gates_needed(self, projection: Wiring, row: int) -> int:
        if not projection.gate:
            return 0
        target = self.network.population(projection.target)
        assert isinstance(target, Relay)
        return projection.gates_needed[target.block_bounds.index(row)]

    def emit_control(self) -> None:
        """Control projections: weights of 0 or 1, exactly."""
        for projection in self.network.projections:
            if not isinstance(projection, LowRank) and projection.port == "control":
                target = self.network.population(projection.target)
                pieces = self._pieces(target.name, 0, target.size, port="control")
                own = [piece for piece in pieces if piece.wiring is projection]
                images = [
                    Image(
                        exponent=_CONTROL_BITS - 9,
                        mantissas=piece.weight,
                        error=0.0,
                        unit=piece.unit,
                    )
                    for piece in own
                ]
                for piece in own:
                    piece.source.unit = 1.0
                self._emit(own, images, 1.0, 0)

    def _origin(self, projection: Wiring) -> Population:
        return self.network.population(projection.source)

    def _emit(self, pieces: list[Piece], images: list[Image], scale: float, start: int) -> None:
        for piece, image in zip(pieces, images, strict=True):
            bits = piece.weight_bits
            wiring, mantissas = piece.wiring, image.mantissas.values.astype(np.int8)
            first = wiring.columns(self.network.population(wiring.source)).start
            delays = wiring.delays[piece.source.start - first : piece.source.stop - first]
            spec = ProjectionSpec(
                name=wiring.name + piece.suffix,
                layer=wiring.layer,
                part=wiring.part,
                source=wiring.source,
                source_start=piece.source.start,
                source_stop=piece.source.stop,
                target=wiring.target,
                target_start=start,
                target_stop=start + piece.weight.shape[0],
                weight_bits=bits,
                exponent=image.exponent,
                graded=piece.source.reach.packet.graded,
                port=wiring.port,
                gate=wiring.gate if piece.gates_needed else "",
                gates_needed=piece.gates_needed,
                fused_rank=wiring.fused_rank,
                form=piece.weight.form,
                conv=piece.weight.conv if isinstance(piece.weight, ConvSynapses) else None,
                delays=tuple(delays.tolist()) if delays.any() else (),
            )
            self.projections[wiring.name].append(
                IntegerProjection(spec=spec, synapses=piece.weight.with_values(mantissas))
            )
            unit = image.unit * 2.0**image.exponent / (scale * piece.source.unit)
            self.fidelity[spec.name] = fidelity(
                spec.name, piece.weight.values, image.mantissas.values, unit, bits
            )


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
    gates = [p for p in network.populations if isinstance(p, Gate)]
    return [*inputs, *relayed, *gates, *(p for p in network.populations if isinstance(p, Lif | Li))]


def _du(lif: Lif | Li) -> int:
    """The current's decay: it loses one part of 4096 more."""
    return int(np.clip(round(DECAY_UNIT * (1 - lif.current_decay)) - 1, 0, DECAY_UNIT - 1))


def _bias(bias: FloatArray, numeric: NumericSpec) -> tuple[FloatArray, int]:
    """Mantissas and the smallest exponent that holds all of them."""
    limit = 2 ** (numeric.bias_mantissa_bits.value - 1) - 1
    for exponent in range(numeric.bias_exponent_max.value + 1):
        mantissa = np.rint(bias / 2.0**exponent)
        if np.abs(mantissa).max() <= limit:
            break
    return np.clip(mantissa, -limit, limit), exponent
