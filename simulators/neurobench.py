"""NeuroBench's metrics of a program and of the model that it was compiled from.

Keys and definitions are those of NeuroBench 2.3 (Yik et al., Nature Communications 16, 2025):

* ``Footprint``: bytes of all parameters;
* ``ConnectionSparsity``: share of zeros among the weights, rounded to four digits;
* ``ActivationSparsity``: share of zeros in what all populations send, over steps and samples;
* ``SynapticOperations``: non-zero weights met by non-zero inputs per sample, ``Effective_MACs`` of
  inputs with values and ``Effective_ACs`` of inputs that are -1, 0 or 1; ``Dense`` if nothing were
  zero;
* ``MembraneUpdates``: changes of a membrane voltage from one step to the next per sample, all
  neurons counting in the first step;
* ``ClassificationAccuracy``: where classes are known.

The *original* is the float model as a framework runs it: weights and biases, unless a population's
are all zero, take four bytes each, and each population is looked at for as many steps as the input
has, from its lag on. The *mapped* network is the program as the chip runs it, the steps of its
pipeline, relays and gates included; its footprint is the synapse memory in use and u and v of every
compartment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.ir.network import Li, LowRank, Network
from mapping.ir.quantized import IntegerLif
from mapping.ir.synapses import ConvSynapses, Matrix, Synapses
from mapping.ir.timing import delay_graph, pipeline_latency
from mapping.passes.realise_factors import realise_factors
from mapping.semantics.answer import highest_voltage, most_spikes
from mapping.semantics.float_net import trace_float_network
from simulators.backend import simulate
from simulators.trace import Stimulus

BYTES_PER_PARAMETER = 4
"""Of a float model, which frameworks keep in single precision."""
Metrics = dict[str, Any]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Connection:
    """A projection.

    Attributes:
        weights: ``(rows, columns)``; synapses: the same as they are stored.
        sent: ``(samples, steps, columns)`` what its sources send.
        binary: whether that is nothing but -1, 0 and 1.
        is_open: ``(samples, steps, rows or 1)`` whether a row is listening.
    """

    weights: Matrix
    synapses: Synapses
    sent: Array
    binary: bool
    is_open: Array

    def effective(self) -> float:
        """Synaptic operations of all samples together."""
        weights: Any = self.weights
        present = (weights != 0).astype(np.float64)
        reached = (self.sent != 0).astype(np.float64).reshape(-1, self.sent.shape[2]) @ present.T
        shape = (*self.sent.shape[:2], present.shape[0])
        return float((np.asarray(reached).reshape(shape) * self.is_open).sum())

    def dense(self) -> float:
        """The same if nothing were zero or closed."""
        return float(self.synapses.count * self.sent.shape[0] * self.sent.shape[1])

    def zeros(self) -> tuple[int, int]:
        """How many weights are zero, and how many there are; shared ones count once."""
        present = int(np.count_nonzero(self.synapses.values))
        shared = isinstance(self.synapses, ConvSynapses)
        total = self.synapses.values.size if shared else int(np.prod(self.synapses.shape))
        return total - present, total


def original_metrics(network: Network, stimulus: Stimulus, *, price: float = 0.0) -> Metrics:
    """Metrics of the float model.

    Args:
        network: the model.
        stimulus: its input.
        price: of a level's cost, for the gates.
    """
    network = realise_factors(network)
    steps = stimulus.steps
    lag = _lags(network)
    silence = [(0, 0), (0, max(lag.values())), *[(0, 0)] * (stimulus.payloads.ndim - 2)]
    payloads = np.pad(stimulus.payloads, silence)
    ran = trace_float_network(network, payloads, price=price)
    shown = payloads.reshape(*payloads.shape[:2], -1)
    sent = {network.input.name: shown, **ran.sent}
    values = [p.synapses.values for p in network.projections if not isinstance(p, LowRank)]
    biases = [b for b in (getattr(p, "bias", np.zeros(0)) for p in network.populations) if b.any()]
    own = {n: s[:, lag[n] : lag[n] + steps] for n, s in ran.sent.items()}
    binary = {n: bool(np.isin(s, (-1, 0, 1)).all()) for n, s in sent.items()}

    def connections() -> Iterator[_Connection]:
        for projection in network.projections:
            assert not isinstance(projection, LowRank)
            source = network.population(projection.source)
            window = slice(lag[source.name], lag[source.name] + steps)
            rows = projection.synapses.shape[0]
            needed = np.zeros(rows, np.int64)
            gates = np.zeros((*shown.shape[:2], 0))
            if projection.gate:
                target = network.population(projection.target)
                bounds = getattr(target, "block_bounds", np.array([0, rows]))
                needed = np.repeat(projection.gates_needed, np.diff(bounds))
                gates = ran.sent[projection.gate]
            yield _Connection(
                weights=projection.synapses.matrix(),
                synapses=projection.synapses,
                sent=sent[source.name][:, window, projection.columns(source)],
                binary=binary[source.name],
                is_open=_first_on(gates)[:, window, None] >= needed,
            )

    voltages = {n: v[:, lag[n] : lag[n] + steps] for n, v in ran.v.items()}
    output = network.population(network.output)
    answers = highest_voltage if isinstance(output, Li) else most_spikes
    found = _metrics(
        footprint=BYTES_PER_PARAMETER * sum(a.size for a in [*values, *biases]),
        connections=list(connections()),
        sent={n: s for n, s in own.items() if not isinstance(network.population(n), Li)},
        voltages=voltages,
    )
    return found | _accuracy(answers(ran.sent[network.output]), stimulus)


def mapped_metrics(artifact: Artifact, stimulus: Stimulus, *, price: float = 0.0) -> Metrics:
    """Metrics of the compiled program.

    Args:
        artifact: the program.
        stimulus: its input.
        price: of a level's cost, for the gates.

    Raises:
        ConfigError: ADL-INP-…, the stimulus does not suit the program.
    """
    network, chip = artifact.network, artifact.chip
    trace = simulate(artifact, stimulus, probe=("v",), price=price)
    late = trace.steps - stimulus.steps
    pad = [(0, 0), (0, late), *[(0, 0)] * (stimulus.payloads.ndim - 2)]
    shown = np.pad(stimulus.payloads, pad).reshape(trace.samples, trace.steps, -1)
    sent = {network.input.name: shown, **trace.spikes}

    def connections() -> Iterator[_Connection]:
        for projection in network.projections:
            spec = projection.spec
            gates = trace.spikes[spec.gate] if spec.gate else np.zeros((*shown.shape[:2], 0))
            yield _Connection(
                weights=projection.weights,
                synapses=projection.synapses,
                sent=sent[spec.source][..., spec.source_start : spec.source_stop],
                binary=not spec.graded,
                is_open=_first_on(gates)[..., None] >= spec.gates_needed,
            )

    usage = artifact.partitioned.usage(chip)
    bits = chip.core.word_bits.value * sum(core.synapse_words for core in usage)
    bits += 2 * chip.numeric.state_bits.value * sum(core.compartments for core in usage)
    silent = {p.name for p in network.populations if isinstance(p, IntegerLif) and not p.spikes}
    return _metrics(
        footprint=bits / 8,
        connections=list(connections()),
        sent={name: values for name, values in trace.spikes.items() if name not in silent},
        voltages=trace.v,
    ) | _accuracy(trace.predictions(), stimulus)


def metrics_table(found: Mapping[str, Metrics]) -> Table:
    """One row per metric, one column per network."""
    table = Table("metric", *found, title="NeuroBench metrics", box=SIMPLE, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dict.fromkeys(key for metrics in found.values() for key in metrics):
        values = [metrics[name] for metrics in found.values()]
        if name == "SynapticOperations":
            for part in values[0]:
                table.add_row(f"{name}.{part}", *(f"{value[part]:,.1f}" for value in values))
        else:
            table.add_row(name, *(f"{value:,.6g}" for value in values))
    return table


def _metrics(
    *,
    footprint: float,
    connections: list[_Connection],
    sent: Mapping[str, Array],
    voltages: Mapping[str, Array],
) -> Metrics:
    samples = len(connections[0].sent)
    zeros, weights = np.sum([connection.zeros() for connection in connections], axis=0).tolist()
    silent = sum(values.size - np.count_nonzero(values) for values in sent.values())
    updates = sum(v[:, 0].size + np.count_nonzero(np.diff(v, axis=1)) for v in voltages.values())
    operations = {"Effective_MACs": 0.0, "Effective_ACs": 0.0, "Dense": 0.0}
    for connection in connections:
        kind = "Effective_ACs" if connection.binary else "Effective_MACs"
        operations[kind] += connection.effective() / samples
        operations["Dense"] += connection.dense() / samples
    return {
        "Footprint": footprint,
        "ConnectionSparsity": round(zeros / weights, 4),
        "ActivationSparsity": silent / sum(values.size for values in sent.values()),
        "SynapticOperations": operations,
        "MembraneUpdates": updates / samples,
    }


def _first_on(gates: Array) -> Array:
    """``(samples, steps)`` how many of the first gates were on in the step before, all of them."""
    on = np.zeros(gates.shape, np.int64)
    on[:, 1:] = np.cumsum(gates, axis=1)[:, :-1] > 0
    found: Array = np.cumprod(on, axis=2).sum(axis=2)
    return found


def _lags(network: Network) -> dict[str, int]:
    """Steps after which each population sees the first input."""
    names = [population.name for population in network.populations]
    edges = [(p.source, p.target, p.delay) for p in network.projections]
    graph = delay_graph(names, edges)
    return {name: pipeline_latency(graph, network.input.name, name) for name in names}


def _accuracy(answers: Array, stimulus: Stimulus) -> Metrics:
    if stimulus.labels is None:
        return {}
    return {"ClassificationAccuracy": float((answers == stimulus.labels).mean())}
