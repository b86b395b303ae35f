"""NeuroBench's metrics of a program and of the model that it was compiled from.

Keys and definitions are those of NeuroBench 2.3 (Yik et al., Nature Communications 16, 2025):

* ``Footprint``: bytes of all parameters;
* ``ConnectionSparsity``: share of zeros among the weights, rounded to four digits;
* ``ActivationSparsity``: share of zeros in what all populations send, over steps and samples;
* ``SynapticOperations``: non-zero weights met by non-zero inputs per sample, ``Effective_MACs`` of
  inputs with values and ``Effective_ACs`` of inputs that are -1, 0 or 1; ``Dense`` if nothing were
  zero, absent synapses of a sparse layer included;
* ``MembraneUpdates``: changes of a membrane voltage from one step to the next per sample, all
  neurons counting in the first step;
* ``ClassificationAccuracy``: where classes are known.

The *original* is the float model as a framework runs it: weights, absent ones as zeros, and biases,
unless a population's are all zero, take four bytes each; pools have no weights and take no
operations; each population is looked at for as many steps as the input has, from its lag on; and
inputs have values in the steps in which one of them, in any sample, is not -1, 0 or 1. The *mapped*
network is the program as the chip runs it, the steps of its pipeline, pools, relays and gates
included; its graded spikes have values; its footprint is the synapse memory in use and u and v of
every compartment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.ir.network import Li, LowRank, Network, Relay, SumPool2d
from mapping.ir.quantized import IntegerLif
from mapping.ir.synapses import ConvSynapses, Synapses
from mapping.ir.timing import delay_graph, pipeline_latency
from mapping.passes.realise_factors import realise_factors
from mapping.processors.spec import BYTES
from mapping.semantics.answer import highest_voltage, most_spikes
from mapping.semantics.float_net import trace_float_network
from simulators.backend import simulate
from simulators.ranks import sent_by_host
from simulators.trace import Stimulus

Metrics = dict[str, Any]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Connection:
    """Synapses and what reaches them.

    Attributes:
        synapses: of a projection, or of the rows of one that listen together.
        sent: ``(samples, steps, columns)`` what their sources send to them.
        binary: ``(steps,)`` whether that is nothing but -1, 0 and 1.
    """

    synapses: Synapses
    sent: Array
    binary: npt.NDArray[np.bool_]

    def effective(self) -> npt.NDArray[np.int64]:
        """``(steps,)`` synaptic operations of all samples together."""
        weights: Any = self.synapses.matrix()
        fan_out = np.asarray((weights != 0).sum(axis=0)).ravel()
        found: npt.NDArray[np.int64] = np.count_nonzero(self.sent, axis=0) @ fan_out
        return found

    def dense(self) -> int:
        """The same of all steps if nothing were zero."""
        samples, steps, _ = self.sent.shape
        shared = isinstance(self.synapses, ConvSynapses)
        places = self.synapses.count if shared else _parameters(self.synapses)
        return int(places * samples * steps)

    def zeros(self) -> tuple[int, int]:
        """How many weights are zero, and how many there are."""
        total = _parameters(self.synapses)
        return total - int(np.count_nonzero(self.synapses.values)), total


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
    wired = [p for p in network.projections if not isinstance(p, LowRank | SumPool2d)]

    def connections() -> Iterator[_Connection]:
        for projection in wired:
            first = lag[projection.target] - projection.delay
            source = network.population(projection.source)
            spiking = np.isin(_window(sent[source.name], first, steps), (-1, 0, 1))
            blocks = [(np.arange(projection.synapses.shape[0]), sent[source.name])]
            if projection.gate:
                relay = network.population(projection.target)
                assert isinstance(relay, Relay)
                bounds = pairwise(relay.block_bounds)
                blocks = [
                    (
                        np.arange(*block),
                        sent_by_host(shown, ran.sent[projection.gate], needed, delta),
                    )
                    for block, needed in zip(bounds, projection.gates_needed, strict=True)
                ]
            for rows, values in blocks:
                yield _Connection(
                    synapses=projection.synapses.rows(rows),
                    sent=_window(values, first, steps)[..., projection.columns(source)],
                    binary=np.asarray(spiking.all(axis=(0, 2))),
                )

    delta = network.input.delta
    weights = sum(_parameters(projection.synapses) for projection in wired)
    biases = [getattr(population, "bias", np.zeros(0)) for population in network.populations]
    own = {name: _window(values, lag[name], steps) for name, values in ran.sent.items()}
    output = network.population(network.output)
    answers = highest_voltage if isinstance(output, Li) else most_spikes
    found = _metrics(
        samples=stimulus.samples,
        footprint=BYTES["fp32"] * (weights + sum(b.size for b in biases if b.any())),
        connections=list(connections()),
        sent={n: s for n, s in own.items() if not isinstance(network.population(n), Li)},
        voltages={name: _window(v, lag[name], steps) for name, v in ran.v.items()},
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
            values = sent[spec.source]
            if spec.gate:
                events = trace.spikes[spec.gate]
                values = sent_by_host(shown, events, spec.gates_needed, network.input.delta)
            yield _Connection(
                synapses=projection.synapses,
                sent=values[..., spec.source_start : spec.source_stop],
                binary=np.full(trace.steps, not spec.graded),
            )

    usage = artifact.partitioned.usage(chip)
    bits = chip.core.word_bits.value * sum(core.synapse_words for core in usage)
    bits += 2 * chip.numeric.state_bits.value * sum(core.compartments for core in usage)
    silent = {p.name for p in network.populations if isinstance(p, IntegerLif) and not p.spikes}
    return _metrics(
        samples=trace.samples,
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
    samples: int,
    footprint: float,
    connections: list[_Connection],
    sent: Mapping[str, Array],
    voltages: Mapping[str, Array],
) -> Metrics:
    zeros = [connection.zeros() for connection in connections]
    silent = [(v.size - int(np.count_nonzero(v)), v.size) for v in sent.values()]
    updates = sum(v[:, 0].size + np.count_nonzero(np.diff(v, axis=1)) for v in voltages.values())
    operations = {"Effective_MACs": 0, "Effective_ACs": 0, "Dense": 0}
    for connection in connections:
        effective = connection.effective()
        operations["Effective_MACs"] += int(effective[~connection.binary].sum())
        operations["Effective_ACs"] += int(effective[connection.binary].sum())
        operations["Dense"] += connection.dense()
    return {
        "Footprint": footprint,
        "ConnectionSparsity": round(_share(zeros), 4),
        "ActivationSparsity": _share(silent),
        "SynapticOperations": {name: count / samples for name, count in operations.items()},
        "MembraneUpdates": updates / samples,
    }


def _share(parts: list[tuple[int, int]]) -> float:
    """Of the first numbers in the second ones; nothing of nothing is 0."""
    return sum(part for part, _ in parts) / max(sum(whole for _, whole in parts), 1)


def _parameters(synapses: Synapses) -> int:
    """Weights that a framework holds: absent ones as zeros, those of a kernel once."""
    shared = isinstance(synapses, ConvSynapses)
    return int(synapses.values.size if shared else np.prod(synapses.shape))


def _window(values: Array, first: int, steps: int) -> Array:
    """``steps`` steps of ``(samples, steps, size)`` from ``first`` on, silence before step 0."""
    if first < 0:
        values = np.pad(values, ((0, 0), (-first, 0), (0, 0)))
    return values[:, max(first, 0) :][:, :steps]


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
