"""Number-format rules: everything the chip computes fits, whatever the input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.ir.quantized import (
    NEVER,
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerProjection,
    IntegerRelay,
    QuantizedNetwork,
)
from mapping.ir.ranges import PayloadRange, Reach, Received, delivered_range, held_range
from mapping.ir.synapses import Synapses, padded
from mapping.rules.base import Finding, rule
from mapping.semantics.fixedpoint import DECAY_UNIT

_TOO_LARGE = "lower the weights, the rank or the payload range and compile again"
_COARSE = 32
_UNBOUNDED = 2.0**62


@rule("ADL-NUM-01")
def weight_grid(artifact: Artifact) -> Iterator[Finding]:
    """Mantissas and exponents lie in the chip's formats."""
    numeric = artifact.chip.numeric
    low, high = numeric.weight_exponent_min.value, numeric.weight_exponent_max.value
    for projection in artifact.network.projections:
        spec = projection.spec
        bound = 2 ** (spec.weight_bits - 1)
        extreme = int(np.abs(projection.mantissas.astype(int) + 0.5).max(initial=0.0) + 0.5)
        if extreme > bound or not 2 <= spec.weight_bits <= numeric.weight_bits.value:
            yield (
                spec.name,
                f"mantissas need more than {spec.weight_bits} bits or the chip's "
                f"{numeric.weight_bits.value}",
                "quantise again with fewer weight bits",
            )
        if not low <= spec.exponent <= high:
            yield (
                spec.name,
                f"weight exponent {spec.exponent} is outside {low}..{high}",
                "rescale the layer's weights",
            )


@rule("ADL-NUM-02")
def accumulator(artifact: Artifact) -> Iterator[Finding]:
    """No synaptic sum overflows the accumulator."""
    limit = 2 ** (artifact.chip.numeric.accumulator_bits.value - 1) - 1
    ranges = payload_ranges(artifact.network)
    for projection in artifact.network.projections:
        payloads = _columns(ranges, projection).packet
        low, high = _weights(projection).sum_range(payloads.low, payloads.high)
        shifted = 2.0 ** max(projection.spec.exponent, 0)
        peak = max(-low.min(), high.max()) * shifted
        if peak > limit:
            yield (
                projection.spec.name,
                f"its sum can reach {peak:.4g}, the accumulator holds ±{limit}",
                _TOO_LARGE,
            )


@rule("ADL-NUM-03")
def payload(artifact: Artifact) -> Iterator[Finding]:
    """No graded spike exceeds the payload field."""
    limit = 2 ** (artifact.chip.numeric.payload_bits.value - 1) - 1
    for name, values in payload_ranges(artifact.network).items():
        peak = float(values.packet.magnitude.max())
        if peak > limit:
            yield name, f"payloads can reach {peak:.4g}, the packet holds ±{limit}", _TOO_LARGE


@rule("ADL-NUM-04", severity="warning")
def activation(artifact: Artifact) -> Iterator[Finding]:
    """No dendritic input exceeds its field, and the synaptic current never wraps."""
    limit = 2 ** (artifact.chip.numeric.activation_bits.value - 1) - 1
    ranges = payload_ranges(artifact.network)
    for population in artifact.network.populations:
        if not isinstance(population, IntegerLif):
            continue
        parts = _rows(artifact.network, ranges, population)
        packets = delivered_range(((w, e, r.packet) for w, e, r in parts), population.size)
        current = held_range(parts, population.size, decay_parts=population.du + 1)
        peak, held = float(packets.magnitude.max()), float(current.magnitude.max())
        if held > limit:
            yield (
                population.name,
                f"its input can reach {peak:.4g} in a step and {held:.4g} once accumulated; "
                f"the field holds ±{limit}",
                _TOO_LARGE,
            )


@rule("ADL-NUM-05")
def compartment_parameters(artifact: Artifact) -> Iterator[Finding]:
    """Thresholds, biases and decays fit their fields."""
    numeric = artifact.chip.numeric
    mantissa = 2 ** (numeric.bias_mantissa_bits.value - 1)
    for population in artifact.network.populations:
        if isinstance(population, IntegerLif):
            fits = {
                "threshold": 0 < population.threshold < 2**numeric.threshold_bits.value
                or population.threshold == NEVER,
                "bias mantissa": bool((np.abs(population.bias_mantissa) < mantissa).all()),
                "bias exponent": 0 <= population.bias_exponent <= numeric.bias_exponent_max.value,
                "decay": 0 <= population.du <= 4095 and 0 <= population.dv <= 4095,
            }
        elif isinstance(population, IntegerRelay):
            low, high = int(population.threshold.min()), int(population.threshold.max())
            fits = {"threshold": low >= 0 and high < 2 ** (numeric.payload_bits.value - 1)}
        elif isinstance(population, IntegerGate):
            fits = {
                "decay": min(population.gain_decay, population.trace_decay) >= 0
                and max(population.gain_decay, population.trace_decay) <= DECAY_UNIT,
                "trace threshold": 0 <= population.trace_threshold < 2**31,
            }
        else:
            continue
        for what, holds in fits.items():
            if not holds:
                yield population.name, f"its {what} is out of the chip's range", _TOO_LARGE


@rule("ADL-NUM-06", severity="warning")
def resolution(artifact: Artifact) -> Iterator[Finding]:
    """Rounding shows where a threshold, or all that an integrator gets in a step, is < 32 units."""
    ranges = payload_ranges(artifact.network)
    for population in artifact.network.populations:
        if not isinstance(population, IntegerLif):
            continue
        if population.spikes and population.threshold < _COARSE:
            yield (
                population.name,
                f"its threshold is only {population.threshold} units, since the worst-case input "
                "is very much larger",
                "lower current_decay or the largest weights and verify the accuracy",
            )
        parts = _rows(artifact.network, ranges, population)
        packets = delivered_range(((w, e, r.packet) for w, e, r in parts), population.size)
        peak = float(packets.magnitude.max())
        if not population.spikes and 0 < peak < _COARSE:
            yield (
                population.name,
                f"its input in a step is {peak:g} units at most, since its voltage adds up many",
                "lower voltage_decay or current_decay and verify the accuracy",
            )


def payload_ranges(network: QuantizedNetwork) -> dict[str, Reach]:
    """Worst-case payloads of every population."""
    ranges: dict[str, Reach] = {network.input.name: Reach.of_input(network.input)}
    relays = [p for p in network.populations if isinstance(p, IntegerRelay)]
    for population in network.populations:
        if isinstance(population, IntegerLif):
            ranges[population.name] = Reach.of_lif(population.size)
        elif isinstance(population, IntegerGate):
            ranges[population.name] = Reach.of_gate(population.size)
    while relays:
        ready = [
            r
            for r in relays
            if all(p.spec.source in ranges for p in network.projections if p.spec.target == r.name)
        ]
        for relay in ready:
            ranges[relay.name] = _relayed(network, ranges, relay) or _endless(relay.size)
        if not ready:
            ranges |= {relay.name: _endless(relay.size) for relay in relays}
            break
        relays = [r for r in relays if r not in ready]
    return ranges


def _endless(size: int) -> Reach:
    everything = PayloadRange.constant(-_UNBOUNDED, _UNBOUNDED, size)
    return Reach(packet=everything, signal=everything)


def _relayed(
    network: QuantizedNetwork, ranges: dict[str, Reach], relay: IntegerRelay
) -> Reach | None:
    return Reach.of_relay(
        Received.of(_rows(network, ranges, relay), relay.size),
        relay.bias,
        relay.threshold,
        sigma=relay.sigma,
        rectified=relay.rectified,
        delta=relay.delta,
        gated=any(relay.gates_needed),
    )


def _rows(
    network: QuantizedNetwork, ranges: dict[str, Reach], population: IntegerPopulation
) -> list[tuple[Synapses, int, Reach]]:
    """Weights, exponent and source range of each signal projection, over all rows of the target."""
    parts = []
    for projection in network.projections:
        spec = projection.spec
        if spec.target == population.name and spec.port == "signal":
            weights = padded(_weights(projection), spec.target_start, population.size)
            parts.append((weights, spec.exponent, _columns(ranges, projection)))
    return parts


def _weights(projection: IntegerProjection) -> Synapses:
    """Weights on Lava's grid."""
    synapses = projection.synapses
    return synapses.with_values(synapses.values * 2.0**projection.spec.weight_shift)


def _columns(ranges: dict[str, Reach], projection: IntegerProjection) -> Reach:
    spec = projection.spec
    return ranges[spec.source].part(spec.source_start, spec.source_stop)
