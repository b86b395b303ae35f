"""The NumPy oracle as a backend: slow, obvious, and blind to cores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mapping.ir.quantized import IntegerLif, QuantizedNetwork
from mapping.semantics.fixedpoint import Int64Array
from mapping.semantics.int_net import run_integer_network
from simulators.trace import ExecutionTrace

if TYPE_CHECKING:
    from simulators.backend import Run


def run_oracle(run: Run) -> ExecutionTrace:
    """Run the integer network as a whole; no actions are counted."""
    network = run.artifact.network
    start = time.perf_counter()
    result = run_integer_network(network, run.padded(), price=run.price)
    return ExecutionTrace(
        backend="oracle",
        program=run.artifact.origin.fingerprint(),
        output=network.output,
        seconds=time.perf_counter() - start,
        price=run.price,
        spikes=result.spikes,
        u=result.u if "u" in run.probe else {},
        v=result.v if "v" in run.probe else _readout(network, result.v),
    )


def _readout(network: QuantizedNetwork, v: dict[str, Int64Array]) -> dict[str, Int64Array]:
    """The voltage of the output, if that is the answer."""
    output = network.population(network.output)
    reads = isinstance(output, IntegerLif) and not output.spikes
    return {network.output: v[network.output]} if reads else {}
