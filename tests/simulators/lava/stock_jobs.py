"""Jobs for ``run_guarded``: what Lava itself ships beside what is ours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer
from lava.proc.prodneuron.process import ProdNeuron
from lava.proc.sdn.process import Sigma
from lava.utils.weightutils import SignMode

from mapping.artifact.schema import Artifact
from mapping.ir.quantized import IntegerRelay
from simulators.lava.build import build_network
from simulators.lava.processes import DelayLine
from simulators.lava.runtime import LavaRuntime


def masked_payloads(artifact: Artifact, payloads: np.ndarray, price: float) -> dict[str, Any]:
    """Run ``artifact`` on one sample, with a stock twin beside each gated block of its relays.

    The twin of block ``b`` reads the same input through the same weights. A ``Sigma`` adds up the
    events of each gate that the block needs, and a chain of ``ProdNeuron`` multiplies what arrived
    by their sums, one gate after the other.

    Args:
        artifact: relays called ``enc/relay`` that neither sum nor send changes, on one core, and
            their gates ``enc/gate``.
        payloads: ``(steps, inputs)``.
        price: for the gates.

    Returns:
        What ``own`` relays, their ``stock`` twins and the ``gates`` sent, ``(steps, size)`` each,
        relays by block.
    """
    steps = len(payloads)
    source = RingBuffer(data=np.ascontiguousarray(payloads.T))
    network = build_network(artifact, source, price=price)
    relay = artifact.partitioned.population("enc/relay")
    assert isinstance(relay, IntegerRelay)
    (gates,) = network.segments["enc/gate"]
    own, stock = {}, {}
    for block, (start, stop) in enumerate(pairwise(relay.block_bounds)):
        (segment,) = (s for s in network.segments["enc/relay"] if s.group.members[0] == start)
        own[block] = _recorded(segment.process.s_out, stop - start, steps)
        if relay.gates_needed[block] == 0:
            continue
        product = _signal(artifact, network.source, f"enc/V.{block}").a_out
        for gate in range(relay.gates_needed[block]):
            last = gate == relay.gates_needed[block] - 1
            events = _dense(
                np.repeat(np.eye(1, gates.group.size, gate), stop - start, axis=0) * 2**7,
                weight_exp=-7,
                num_weight_bits=2,
                num_message_bits=24,
            )
            state = Sigma(shape=(stop - start,))
            mask = ProdNeuron(shape=(stop - start,), vth=int(relay.threshold[start]) * last)
            gates.process.s_out.connect(events.s_in)
            events.a_out.connect(state.a_in)
            state.s_out.connect(mask.a_in2)
            product.connect(mask.a_in1)
            product = mask.s_out
        stock[block] = _recorded(product, stop - start, steps)
    told = _recorded(gates.process.s_out, gates.group.size, steps)
    with LavaRuntime(network.source) as runtime:
        runtime.run(steps)
        return {
            "own": {block: runtime.read(sink.data).T for block, sink in own.items()},
            "stock": {block: runtime.read(sink.data).T for block, sink in stock.items()},
            "gates": runtime.read(told.data).T,
        }


def delayed_sums(
    weights: np.ndarray, delays: np.ndarray, payloads: np.ndarray, options: list[dict[str, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sums that our delay line before a ``Dense``, and Lava's own ``DelayDense``, deliver.

    Args:
        weights: ``(rows, columns)``.
        delays: ``(columns,)`` steps.
        payloads: ``(columns, steps)``.
        options: of one pair of synapse processes each.
    """
    steps = payloads.shape[1]
    source, line = RingBuffer(data=payloads), DelayLine(delays=delays)
    source.s_out.connect(line.s_in)
    pairs = []
    for chosen in options:
        own = _dense(weights, **chosen)
        stock = DelayDense(
            weights=weights,
            delays=np.broadcast_to(delays, weights.shape).copy(),
            sign_mode=SignMode.MIXED,
            **chosen,
        )
        line.s_out.connect(own.s_in)
        source.s_out.connect(stock.s_in)
        pairs.append([_recorded(p.a_out, len(weights), steps) for p in (own, stock)])
    with LavaRuntime(source) as runtime:
        runtime.run(steps)
        return [(runtime.read(own.data), runtime.read(stock.data)) for own, stock in pairs]


def _signal(artifact: Artifact, source: Any, name: str) -> Any:
    (projection,) = (p for p in artifact.network.projections if p.spec.name == name)
    dense = _dense(
        projection.weights,
        weight_exp=projection.spec.exponent,
        num_weight_bits=projection.spec.weight_bits,
        num_message_bits=24 * projection.spec.graded,
    )
    source.s_out.connect(dense.s_in)
    return dense


def _dense(weights: np.ndarray, **options: int) -> Any:
    return Dense(weights=weights.astype(np.int32), sign_mode=SignMode.MIXED, **options)


def _recorded(port: Any, size: int, steps: int) -> Any:
    sink = Sink(shape=(size,), buffer=steps)
    port.connect(sink.a_in)
    return sink
