"""Worst-case integer ranges of payloads and dendritic sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapping.ir.network import FloatArray, Input
from mapping.ir.synapses import Synapses
from mapping.semantics.fixedpoint import DECAY_UNIT

LONGEST_SAMPLE = 2**12
"""Steps after which bounds on sums of rounded changes hold no more: each step may lose a unit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PayloadRange:
    """Inclusive integer bounds of what compartments send, ``(size,)`` each, including 0."""

    low: FloatArray
    high: FloatArray

    @classmethod
    def constant(cls, low: float, high: float, size: int) -> PayloadRange:
        """The same bounds for ``size`` compartments."""
        return cls(low=np.full(size, low), high=np.full(size, high))

    @classmethod
    def joined(cls, parts: Sequence[PayloadRange]) -> PayloadRange:
        """The ranges of ``parts``, one after the other."""
        return cls(
            low=np.concatenate([part.low for part in parts]),
            high=np.concatenate([part.high for part in parts]),
        )

    @property
    def magnitude(self) -> FloatArray:
        """Largest absolute payload per compartment."""
        return np.maximum(-self.low, self.high)

    @property
    def graded(self) -> bool:
        """Whether payloads other than 0 and 1 can occur."""
        return bool((self.low < 0).any() or (self.high > 1).any())

    @property
    def change(self) -> PayloadRange:
        """Range of the difference between two values in this range."""
        return PayloadRange(low=self.low - self.high, high=self.high - self.low)

    def part(self, start: int, stop: int) -> PayloadRange:
        """The range of compartments ``start:stop``."""
        return PayloadRange(low=self.low[start:stop], high=self.high[start:stop])

    def times(self, factor: float) -> PayloadRange:
        """This range, ``factor`` times as wide."""
        return PayloadRange(low=self.low * factor, high=self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reach:
    """What compartments can send.

    Attributes:
        packet: range of one payload.
        signal: range of what payloads stand for: the payload itself, or, when only changes are
            sent, their sum so far.
        delta: whether only changes are sent.
    """

    packet: PayloadRange
    signal: PayloadRange
    delta: bool = False

    @classmethod
    def of_input(cls, population: Input) -> Reach:
        """The declared range of an input population."""
        signal = PayloadRange.constant(
            float(population.payload_min), float(population.payload_max), population.size
        )
        packet = signal.change if population.delta else signal
        return cls(packet=packet, signal=signal, delta=population.delta)

    @classmethod
    def of_lif(cls, size: int) -> Reach:
        """LIF compartments send 0 or 1."""
        binary = PayloadRange.constant(0.0, 1.0, size)
        return cls(packet=binary, signal=binary)

    @classmethod
    def of_gate(cls, size: int) -> Reach:
        """Gates send the changes of what is 0 or 1."""
        state = PayloadRange.constant(0.0, 1.0, size)
        return cls(packet=state.change, signal=state, delta=True)

    @classmethod
    def of_relay(
        cls,
        received: Received,
        bias: npt.ArrayLike,
        threshold: npt.ArrayLike,
        *,
        sigma: bool,
        rectified: bool,
        delta: bool,
        gated: bool,
    ) -> Reach | None:
        """What relays send that receive ``received`` and add ``bias``; None if it has no bound.

        Relays that sum values and send changes send what has piled up since they last sent, which
        is a step's input and what stayed below ``threshold`` before. A gate would make them take
        the whole sum back, which has no bound. Changes stay changes only where none gets lost, by
        a gate or below a threshold.
        """
        shift, rest = (np.asarray(values, dtype=np.float64) for values in (bias, threshold))
        if sigma and shift.any():
            return None
        if sigma and not received.delta:
            if gated or not delta:
                return None
            piled = PayloadRange(low=received.packet.low - rest, high=received.packet.high + rest)
            return cls(packet=piled, signal=piled)
        z = received.signal if sigma else received.packet
        floor = 0.0 if rectified else -np.inf
        z = PayloadRange(
            low=np.minimum(np.maximum(z.low + shift, floor), 0.0),
            high=np.maximum(np.maximum(z.high + shift, floor), 0.0),
        )
        if delta:
            return cls(packet=z.change, signal=z, delta=True)
        alters = sigma or rectified or gated or shift.any() or rest.any()
        passes_changes = received.delta and not alters
        return cls(packet=z, signal=received.signal if passes_changes else z, delta=passes_changes)

    def part(self, start: int, stop: int) -> Reach:
        """What compartments ``start:stop`` can send."""
        return Reach(
            packet=self.packet.part(start, stop),
            signal=self.signal.part(start, stop),
            delta=self.delta,
        )

    def held_by(self, decay_parts: int) -> PayloadRange:
        """Bounds on what a current that loses ``decay_parts`` of 4096 per step piles up to.

        Values add up to a geometric series. Changes add up to the signal less a mean of its past,
        in which the weights of the past steps sum to 1 at most.
        """
        return self.signal.change if self.delta else self.packet.times(DECAY_UNIT / decay_parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Received:
    """What several projections deliver together; the fields are those of :class:`Reach`."""

    packet: PayloadRange
    signal: PayloadRange
    delta: bool

    @classmethod
    def of(cls, parts: Iterable[tuple[Synapses, int | None, Reach]], size: int) -> Received:
        """Bounds per target compartment; ``parts`` as in :func:`delivered_range`."""
        known = list(parts)
        delta = bool(known) and all(r.delta for _, _, r in known)
        times = LONGEST_SAMPLE if delta else 1
        return cls(
            packet=delivered_range(((w, e, r.packet) for w, e, r in known), size),
            signal=delivered_range(((w, e, r.signal) for w, e, r in known), size, rounded=times),
            delta=delta,
        )


def delivered_range(
    parts: Iterable[tuple[Synapses, int | None, PayloadRange]],
    size: int,
    *,
    rounded: float = 1,
) -> PayloadRange:
    """Bounds of the dendritic input that several projections deliver together.

    Args:
        parts: ``(weights, exponent, range of the source)`` of each projection, all ``size`` rows
            high; without an exponent nothing is shifted or rounded.
        size: number of target compartments.
        rounded: how many sums, each rounded down on its own, the range of a source adds up.
    """
    low, high = np.zeros(size), np.zeros(size)
    for weights, exponent, source in parts:
        below, above = weights.sum_range(source.low, source.high)
        if exponent is not None:
            below, above = np.floor(below * 2.0**exponent), np.floor(above * 2.0**exponent)
            adds_up = rounded > 1 and exponent < 0
            if adds_up and (weights.values % 2.0**-exponent).any():
                below -= rounded
        low, high = low + below, high + above
    return PayloadRange(low=np.minimum(low, 0.0), high=np.maximum(high, 0.0))


def held_range(
    parts: Iterable[tuple[Synapses, int, Reach]], size: int, *, decay_parts: int
) -> PayloadRange:
    """Bounds of a current that loses ``decay_parts`` of 4096 per step, in dendritic units.

    That a current is rounded towards zero whenever it decays never takes it beyond them.

    Args:
        parts: as in :func:`delivered_range`, but with all that the sources can send.
        size: number of target compartments.
        decay_parts: what the current loses.
    """
    return delivered_range(
        ((w, e, r.held_by(decay_parts)) for w, e, r in parts),
        size,
        rounded=DECAY_UNIT / decay_parts,
    )
