"""The stages of a program side by side: its model, oracle, chip simulator, Lava."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Lif, Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.timing import pipeline_latency
from mapping.passes.fuse_factors import FuseFactors
from mapping.passes.prune_ranks import PruneRanks
from mapping.semantics.float_net import run_float_network
from mapping.semantics.int_net import run_integer_network
from simulators.backend import simulate
from simulators.compare import Difference, first_difference
from simulators.trace import ExecutionTrace, Stimulus

FLOAT, INTEGERS, REFERENCE = "float", "integers", "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One way of running the same stimulus, compared with the oracle.

    Attributes:
        name: ``float`` or ``integers``, what the model holds, or the backend's.
        accuracy: share of right answers; None without labels.
        same_answers: share of samples with the oracle's answer.
        differing_spikes: by population that both recorded, the share of neurons, samples and steps
            in which they sent something else.
        first: the earliest difference in spikes, u or v; None if there is none.
    """

    name: str
    accuracy: float | None
    same_answers: float
    differing_spikes: dict[str, float]
    first: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What :func:`verify` found.

    Attributes:
        stages: model (if given), oracle, then the other backends.
        traces: that must agree: of the backends, the oracle's first, and of an integer model.
    """

    stages: tuple[Stage, ...]
    traces: tuple[ExecutionTrace, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"stages": [asdict(stage) for stage in self.stages]}


def check_origin(artifact: Artifact, model: Network | QuantizedNetwork) -> None:
    """Refuse a model that ``artifact`` was not compiled from.

    Raises:
        ConfigError: ADL-VER-01.
    """
    if fingerprint(model) != artifact.origin.network_sha256:
        raise ConfigError(
            f"it is not the network that {artifact.partitioned.name} was compiled from",
            where=f"model {model.name}",
            remedy="give the model that was compiled, or compile this one",
            code="ADL-VER-01",
        )


def verify(
    artifact: Artifact,
    stimulus: Stimulus,
    backends: Sequence[str],
    *,
    model: Network | QuantizedNetwork | None = None,
    price: float = 0.0,
    deadline_s: float = 600.0,
    fuse: bool = False,
) -> Verification:
    """Run ``stimulus`` at every stage and compare each with the oracle.

    A float model differs by rounding, and by the rank where its dense layers were given one; an
    integer model and backends must not differ at all.

    Args:
        artifact: the compiled program.
        stimulus: its input.
        backends: names of the backends beside the oracle.
        model: the network that the program was compiled from; its stage is left out if None.
        price: of a level's cost, for the gates.
        deadline_s: time limit for a backend that can hang [s].
        fuse: as of :func:`simulators.backend.simulate`.

    Raises:
        ConfigError: ADL-VER-01, ``model`` is not what the program was compiled from; and as
            :func:`simulators.backend.simulate` documents.
        SimulationError: ADL-SIM-…, a backend failed.
    """
    if model is not None:
        check_origin(artifact, model)
    names = [REFERENCE, *(name for name in backends if name != REFERENCE)]
    traces = tuple(
        simulate(
            artifact,
            stimulus,
            name,
            probe=("u", "v"),
            price=price,
            deadline_s=deadline_s,
            fuse=fuse,
        )
        for name in names
    )
    stages = [_stage(trace, traces[0]) for trace in traces]
    if model is not None:
        modelled = _model_trace(artifact, stimulus, model, price)
        stages.insert(0, _stage(modelled, traces[0]))
        traces += (modelled,) if modelled.backend == INTEGERS else ()
    return Verification(stages=tuple(stages), traces=traces)


def _model_trace(
    artifact: Artifact, stimulus: Stimulus, model: Network | QuantizedNetwork, price: float
) -> ExecutionTrace:
    """What the model does: of a float network only the spikes of LIFs, whose unit is the same.

    A voltage that is the answer is there, too, in the units of the model.
    """
    payloads = stimulus.payloads.reshape(stimulus.samples, stimulus.steps, -1)
    late = np.pad(payloads, ((0, 0), (0, artifact.partitioned.latency_steps), (0, 0)))
    spikes: dict[str, Any]
    u: Mapping[str, Any] = {}
    v: Mapping[str, Any] = {}
    network: Network | QuantizedNetwork = model
    if isinstance(network, QuantizedNetwork):
        ran = run_integer_network(network, late, price=price)
        spikes, u, v = dict(ran.spikes), ran.u, ran.v
    else:
        rank = artifact.origin.options["rank"]
        pruned = PruneRanks(rank=None if isinstance(rank, str) else rank).run(network)
        network = FuseFactors().run(pruned, artifact.chip)
        sent = run_float_network(network, late, price=price)
        lifs = [p.name for p in network.populations if isinstance(p, Lif)]
        spikes = {name: sent[name].astype(np.int64) for name in lifs}
        if artifact.partitioned.reads_voltage:
            v = {model.output: sent[model.output]}
            spikes |= {model.output: np.zeros(sent[model.output].shape, np.int64)}
    behind = {name: _steps_behind(artifact, network, name) for name in spikes}
    spikes, u, v = (
        {name: _later(values, behind[name]) for name, values in recorded.items()}
        for recorded in (spikes, u, v)
    )
    return ExecutionTrace(
        backend=INTEGERS if isinstance(model, QuantizedNetwork) else FLOAT,
        program=artifact.origin.fingerprint(),
        output=model.output,
        seconds=0.0,
        price=price,
        spikes=spikes,
        u=u,
        v=v,
        labels=stimulus.labels,
        reads_voltage=artifact.partitioned.reads_voltage,
    )


def _steps_behind(artifact: Artifact, network: Network | QuantizedNetwork, name: str) -> int:
    """How many steps later than in ``network`` a population acts in the compiled program."""
    source = network.input.name
    there, here = (pipeline_latency(n.graph(), source, name) for n in (artifact.network, network))
    return there - here


def _later(values: Any, steps: int) -> Any:
    """``values``, ``(samples, steps, size)``, so many steps later, after zeros."""
    return np.pad(values, ((0, 0), (steps, 0), (0, 0)))[:, : values.shape[1]]


def _stage(trace: ExecutionTrace, reference: ExecutionTrace) -> Stage:
    comparable = replace(trace, v={}) if trace.backend == FLOAT else trace
    return Stage(
        name=trace.backend,
        accuracy=trace.accuracy(),
        same_answers=float((trace.predictions() == reference.predictions()).mean()),
        differing_spikes={
            name: float((spikes != reference.spikes[name]).mean())
            for name, spikes in trace.spikes.items()
        },
        first=first_difference(reference, comparable),
    )


def verification_table(verification: Verification) -> Table:
    """One row per stage."""
    table = Table(
        "stage",
        "accuracy",
        f"answers as\nthe {REFERENCE}'s",
        "differing\nspikes",
        f"first difference from the {REFERENCE}",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for stage in verification.stages:
        first = stage.first
        shares = ", ".join(f"{n}: {s:.2%}" for n, s in stage.differing_spikes.items() if s)
        table.add_row(
            stage.name,
            "–" if stage.accuracy is None else f"{stage.accuracy:.2%}",
            f"{stage.same_answers:.2%}",
            shares or "none",
            "none"
            if first is None
            else f"{first.quantity} of {first.population}[{first.neuron}], sample {first.sample}, "
            f"step {first.step}: {first.values[1]} instead of {first.values[0]}",
        )
    return table
