"""Number-format rules: everything the chip computes fits, whatever the input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.ir.payloads import received, sent_to, weights_of
from mapping.ir.quantized import NEVER, IntegerGate, IntegerLif, IntegerRelay
from mapping.ir.ranges import delivered_range, held_range
from mapping.rules.base import Finding, rule
from mapping.semantics.fixedpoint import DECAY_UNIT

_TOO_LARGE = "lower the weights, the rank or the payload range and compile again"
_COARSE = 32


@rule(
    "ADL-NUM-01",
    limits=("numeric.weight_bits", "numeric.weight_exponent_min", "numeric.weight_exponent_max"),
)
def weight_grid(artifact: Artifact) -> Iterator[Finding]:
    """Mantissas and exponents lie in the chip's formats.

    Why: a weight is a signed mantissa of few bits, shifted by an exponent that all synapses of its
    projection share.

    Fix: quantise again with fewer weight bits, or rescale the layer's weights.

    Example: a mantissa of 20 in a projection of 5 weight bits, which hold -16..15.
    """
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


@rule("ADL-NUM-02", limits=("numeric.accumulator_bits",))
def accumulator(artifact: Artifact) -> Iterator[Finding]:
    """No synaptic sum overflows the accumulator.

    Why: all that arrives in a step is added up in one register before it is used, and what leaves
    its range is lost or wraps. The rule takes the worst input that the network declares.

    Fix: lower the weights, the fan-in, the rank or the payload range, and compile again.

    Example: 784 inputs of the largest weight and exponent 7 reach 25.7 million, loihi1 accumulates
    up to 2.1 million.
    """
    limit = 2 ** (artifact.chip.numeric.accumulator_bits.value - 1) - 1
    ranges = artifact.payload_ranges
    for projection in artifact.network.projections:
        payloads = sent_to(ranges, projection).packet
        low, high = weights_of(projection).sum_range(payloads.low, payloads.high)
        shifted = 2.0 ** max(projection.spec.exponent, 0)
        peak = max(-low.min(), high.max()) * shifted
        if peak > limit:
            yield (
                projection.spec.name,
                f"its sum can reach {peak:.4g}, the accumulator holds ±{limit}",
                _TOO_LARGE,
            )


@rule("ADL-NUM-03", limits=("numeric.payload_bits",))
def payload(artifact: Artifact) -> Iterator[Finding]:
    """No graded spike exceeds the payload field.

    Why: a packet has a field of fixed width for the value that it carries.

    Fix: lower the weights into the relays, the rank or the payload range, and compile again.

    Example: a relay whose sum can reach 20 million, where a packet of loihi2 holds 16.7 million.
    """
    limit = 2 ** (artifact.chip.numeric.payload_bits.value - 1) - 1
    for name, values in artifact.payload_ranges.items():
        peak = float(values.packet.magnitude.max())
        if peak > limit:
            yield name, f"payloads can reach {peak:.4g}, the packet holds ±{limit}", _TOO_LARGE


@rule("ADL-NUM-04", severity="warning", limits=("numeric.activation_bits",))
def activation(artifact: Artifact) -> Iterator[Finding]:
    """No dendritic input exceeds its field, and the synaptic current never wraps.

    Why: the current of a compartment is a register of few bits, which wraps in Lava's arithmetic.
    It is a warning, since networks that were trained as integers were never bounded for the worst
    input.

    Fix: lower the weights, the fan-in or the payload range, or raise ``current_decay``.

    Example: an imported lava-dl network whose inputs would all have to spike at once to overflow.
    """
    limit = 2 ** (artifact.chip.numeric.activation_bits.value - 1) - 1
    for population in artifact.network.populations:
        if not isinstance(population, IntegerLif):
            continue
        peak, held = _peak_inputs(artifact, population)
        if held > limit:
            yield (
                population.name,
                f"its input can reach {peak:.4g} in a step and {held:.4g} once accumulated; "
                f"the field holds ±{limit}",
                _TOO_LARGE,
            )


@rule(
    "ADL-NUM-05",
    limits=(
        "numeric.threshold_bits",
        "numeric.bias_mantissa_bits",
        "numeric.bias_exponent_max",
        "numeric.payload_bits",
    ),
)
def compartment_parameters(artifact: Artifact) -> Iterator[Finding]:
    """Thresholds, biases and decays fit their fields.

    Why: each is an integer of few bits among the parameters of a compartment; decays have 12 bits.

    Fix: lower the weights, the bias or the payload range, so that the layer's scale falls.

    Example: a bias of 5,000 in a mantissa of 12 bits and sign.
    """
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
    """Rounding shows where a threshold, or all that an integrator gets in a step, is < 32 units.

    Why: a scale that leaves room for the worst input may leave few units for a normal one. Below 32
    units one unit is more than 3 %.

    Fix: lower ``current_decay``, ``voltage_decay`` or the largest weights, and verify the accuracy.

    Example: a threshold of 5 units, since a hundred times as much can arrive in one step.
    """
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
        peak, _ = _peak_inputs(artifact, population)
        if not population.spikes and 0 < peak < _COARSE:
            yield (
                population.name,
                f"its input in a step is {peak:g} units at most, since its voltage adds up many",
                "lower voltage_decay or current_decay and verify the accuracy",
            )


@rule("ADL-NUM-07", limits=("capabilities.graded_spikes",))
def graded(artifact: Artifact) -> Iterator[Finding]:
    """No spike carries a value on a chip whose spikes are binary.

    Why: packets of Loihi 1 have no payload (Davies et al. 2018); a spike is there or not.

    Fix: code the input by spikes, fuse factor pairs with ``--rank``, or compile for loihi2.

    Example: an input of grey values 0..255 on loihi1.
    """
    if artifact.chip.capabilities.graded_spikes.value:
        return
    sending = {spec.source for spec in artifact.partitioned.projections}
    for name, values in artifact.payload_ranges.items():
        if name in sending and values.packet.graded:
            low, high = values.packet.low.min(), values.packet.high.max()
            yield (
                name,
                f"sends payloads of {low:.4g}..{high:.4g}, spikes of {artifact.chip.name} carry "
                "none",
                "code the input by spikes, fuse the layer's factors or compile for loihi2",
            )


@rule("ADL-NUM-08", limits=("numeric.longest_delay",))
def delays(artifact: Artifact) -> Iterator[Finding]:
    """Axonal delays lie between 0 and ``numeric.longest_delay`` steps beyond one.

    Why: a spike that waits occupies a slot of a buffer of fixed length.

    Fix: train with shorter delays, or add a population that holds spikes back.

    Example: a delay of 100 steps, where six bits hold 63.
    """
    limit = artifact.chip.numeric.longest_delay.value
    for spec in artifact.partitioned.projections:
        low, high = min(spec.delays, default=0), spec.longest_delay
        if low < 0 or high > limit:
            yield (
                spec.name,
                f"has delays of {low} to {high} steps, {artifact.chip.name} has 0 to {limit}",
                "train with delays in that range and compile again",
            )


def _peak_inputs(artifact: Artifact, lif: IntegerLif) -> tuple[float, float]:
    """What a compartment can get in a step at most, and hold once its current has piled it up."""
    peak = held = 0.0
    for rows, parts in received(artifact.network, artifact.payload_ranges, lif):
        packets = delivered_range(((w, e, r.packet) for w, e, r in parts), rows)
        current = held_range(parts, rows, decay_parts=lif.du + 1)
        peak = max(peak, float(packets.magnitude.max()))
        held = max(held, float(current.magnitude.max()))
    return peak, held
