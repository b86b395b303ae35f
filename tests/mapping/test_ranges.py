"""Worst-case ranges hold for whatever is sent, with all the rounding of the integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mapping.ir.network import Input
from mapping.ir.quantized import IntegerRelay
from mapping.ir.ranges import PayloadRange, Reach, Received, held_range
from mapping.ir.synapses import DenseSynapses
from mapping.semantics import fixedpoint as fx

STEPS = 40


@dataclass(frozen=True)
class Wire:
    """Weights and exponent from an input population, and what that sends, ``(STEPS, columns)``."""

    weights: np.ndarray
    exponent: int
    source: Input
    payloads: np.ndarray

    @property
    def part(self) -> tuple[DenseSynapses, int, Reach]:
        return DenseSynapses(values=self.weights), self.exponent, Reach.of_input(self.source)

    @property
    def sums(self) -> np.ndarray:
        """``(STEPS, rows)`` as delivered."""
        return fx.synaptic_sum(self.weights, self.payloads, self.exponent, graded=True)


@st.composite
def wires(draw: st.DrawFn, rows: int) -> Wire:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns, low = draw(st.integers(1, 3)), draw(st.sampled_from([0, -1, -7]))
    source = Input(
        name="in",
        shape=(columns,),
        payload_min=low,
        payload_max=draw(st.sampled_from([1, 9])),
        delta=draw(st.booleans()),
    )
    ends = np.array([low, 0, source.payload_max])
    signal = np.repeat(
        rng.choice(ends, (STEPS // 4, columns)), draw(st.sampled_from([1, 4])), axis=0
    )
    signal = np.resize(signal, (STEPS, columns))
    held = rng.random(STEPS) < draw(st.sampled_from([0.0, 0.5]))
    for step in np.flatnonzero(held):
        signal[step] = signal[step - 1] if step else 0
    payloads = np.diff(signal, axis=0, prepend=0) if source.delta else signal
    return Wire(
        weights=2 * rng.integers(-128, 127, (rows, columns), endpoint=True),
        exponent=draw(st.integers(-12, 2)),
        source=source,
        payloads=payloads.astype(np.int64),
    )


def assert_within(values: np.ndarray, bounds: PayloadRange) -> None:
    """``(…, size)`` values lie within bounds, which include 0."""
    assert (bounds.low <= 0).all()
    assert (bounds.high >= 0).all()
    assert (values >= bounds.low).all()
    assert (values <= bounds.high).all()


def sent_by(relay: IntegerRelay, wired: list[Wire], control: np.ndarray) -> np.ndarray:
    """``(STEPS, size)`` payloads of ``relay``."""
    z, on, held = (np.zeros(relay.size, np.int64) for _ in range(3))
    sent = []
    for step in range(STEPS):
        z, on, held, payloads = fx.relay_step(
            z,
            on,
            held,
            np.sum([wire.sums[step] for wire in wired], axis=0),
            control[step],
            threshold=relay.threshold.astype(np.int64),
            needed=relay.needed.astype(np.int64),
            bias=relay.bias.astype(np.int64),
            rectified=relay.rectified,
            sigma=relay.sigma,
            delta=relay.delta,
        )
        sent.append(payloads)
    return np.array(sent)


@settings(max_examples=400)
@given(wired=st.lists(wires(2), min_size=1, max_size=2), data=st.data())
def test_relays_send_no_more_than_their_reach(wired: list[Wire], data: st.DataObject) -> None:
    flags = {name: data.draw(st.booleans(), name) for name in ("rectified", "sigma", "delta")}
    gated = data.draw(st.booleans(), "gated")
    relay = IntegerRelay(
        name="z",
        threshold=np.full(2, data.draw(st.sampled_from([0, 0, 3, 200]), "threshold")),
        block_bounds=(0, 2),
        block_scales=(1.0,),
        gates_needed=(1,) if gated else (),
        bias=np.full(2, data.draw(st.sampled_from([0, 0, 50]), "bias")),
        **flags,
    )
    reach = Reach.of_relay(
        Received.of([wire.part for wire in wired], 2),
        relay.bias,
        relay.threshold,
        gated=gated,
        **flags,
    )
    if reach is None:
        event("no bound")
        return
    event(f"bound, sends changes: {reach.delta}")
    toggles = np.where(np.arange(STEPS) % 7 == 3, 1, 0) - np.where(np.arange(STEPS) % 7 == 5, 1, 0)
    sent = sent_by(relay, wired, np.repeat(toggles[:, None], 2, axis=1))
    assert_within(sent, reach.packet)
    if reach.delta:
        assert_within(np.cumsum(sent, axis=0), reach.signal)


@settings(max_examples=400)
@given(
    wired=st.lists(wires(2), min_size=1, max_size=3), du=st.sampled_from([0, 40, 1023, 2047, 4095])
)
def test_a_current_piles_up_to_no_more_than_the_bound(wired: list[Wire], du: int) -> None:
    bounds = held_range([wire.part for wire in wired], 2, decay_parts=du + 1)
    u = np.zeros(2, np.int64)
    for step in range(STEPS):
        u = fx.decay(u, du + 1) + (sum(wire.sums[step] for wire in wired) << fx.STATE_SHIFT)
        assert_within(u / 2.0**fx.STATE_SHIFT, bounds)
