"""The NumPy oracle as a backend: slow, obvious, and blind to cores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mapping.semantics.int_net import run_integer_network
from simulators.trace import ExecutionTrace

if TYPE_CHECKING:
    from simulators.backend import Run


def run_oracle(run: Run) -> ExecutionTrace:
    """Run the integer network as a whole; no actions are counted."""
    network = run.artifact.network
    start = time.perf_counter()
    result = run_integer_network(network, run.padded(), price=run.price)
    seconds, output = time.perf_counter() - start, network.output
    readout = {output: result.v[output]} if run.artifact.partitioned.reads_voltage else {}
    return ExecutionTrace(
        backend="oracle",
        program=run.artifact.origin.fingerprint(),
        output=output,
        seconds=seconds,
        price=run.price,
        spikes=result.spikes,
        u=result.u if "u" in run.probe else {},
        v=result.v if "v" in run.probe else readout,
        reads_voltage=run.artifact.partitioned.reads_voltage,
    )
