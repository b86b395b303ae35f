"""The same network on the same input on conventional processors: all of it modelled.

A processor computes every step of a spiking network densely, as torch and snnTorch do: it
multiplies whole matrices, whatever spikes, and updates every compartment. Only the rank of gated
layers is what the gates asked for, on average, as kernels with a rank per sample have it. Per step
there is one kernel for each projection, factors apart, and one for each population:

    ops     = 2 * synapses * batch, or NEURON_OPS * compartments * batch
    bytes   = weights that do not stay on the chip, and inputs and outputs of the network
    latency = launch + max(ops / peak, bytes / bandwidth)       (roofline; Williams et al., 2009)
    energy  = ops * energy per op + bytes * energy per byte + idle power * latency

Weights and states stay on the chip from step to step and sample to sample if all of them fit there
together. Frameworks that wait for the host between kernels take longer than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from mapping.ir.network import Input
from mapping.processors.spec import BYTES, NumberFormat, ProcessorSpec
from mapping.targets.figures import Status
from simulators.ranks import rank_usage
from simulators.trace import ExecutionTrace

NEURON_OPS = 6
"""Of a compartment in a step: two decays, two additions, a comparison, a reset."""
STATES = 2
"""Numbers that a compartment keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What is launched once per step.

    Attributes:
        ops: operations per sample.
        weights: numbers that it reads once per call, however large the batch.
    """

    ops: float
    weights: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """An inference as a processor computes it.

    Attributes:
        steps: number of steps.
        kernels: of a step.
        weights: numbers that have to be kept, all ranks included.
        states: numbers that a sample keeps from step to step.
        values: numbers that enter and leave the network in a step of a sample.
    """

    steps: int
    kernels: tuple[Kernel, ...]
    weights: int
    states: int
    values: int

    @property
    def ops(self) -> float:
        """Operations of an inference."""
        return self.steps * sum(kernel.ops for kernel in self.kernels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorEstimate:
    """What an inference costs on a processor: modelled, never measured.

    Attributes:
        processor, number_format, batch: what it is for.
        ops: operations per sample; bytes_moved: to and from memory, per sample.
        on_chip: whether weights and states stay on the chip.
        latency_s: until the whole batch is done [s].
        op_j, memory_j, idle_j: energy per sample of operations, of memory, of idling for the
            latency [J].
        interval_j, interval_s: energy and latency if every figure lies within its factor.
        status: the weakest status among the figures.
    """

    processor: str
    number_format: NumberFormat
    batch: int
    ops: float
    bytes_moved: float
    on_chip: bool
    latency_s: float
    op_j: float
    memory_j: float
    idle_j: float
    interval_j: tuple[float, float]
    interval_s: tuple[float, float]
    status: Status

    @property
    def energy_j(self) -> float:
        """Energy per sample [J]."""
        return self.op_j + self.memory_j + self.idle_j


def workload(artifact: Artifact, steps: int, ranks: Mapping[str, float] | None = None) -> Workload:
    """What a processor has to compute for an inference.

    Args:
        artifact: the compiled program.
        steps: number of steps, the pipeline's latency included.
        ranks: mean rank of gated layers by name; those left out run at full rank.
    """
    partitioned = artifact.partitioned
    share = {
        gated.layer: (ranks or {}).get(gated.layer, gated.levels[-1]) / gated.levels[-1]
        for gated in partitioned.gated_layers()
    }
    synapses = [0] * len(partitioned.projections)
    stored = [0] * len(partitioned.projections)
    for program in partitioned.cores:
        for tile in program.tiles:
            synapses[tile.projection] += tile.synapses.count
            stored[tile.projection] += tile.synapses.values.size
    kernels, weights = [], 0
    for spec, count, values in zip(partitioned.projections, synapses, stored, strict=True):
        part = share.get(spec.layer, 1.0) if spec.part in ("V", "U") else 1.0
        own = min(count, values) if spec.form == "conv" else count
        kernels.append(Kernel(ops=2 * part * count, weights=part * own))
        weights += own
    inner = [p for p in partitioned.populations if not isinstance(p, Input)]
    kernels += [Kernel(ops=NEURON_OPS * p.size, weights=0) for p in inner]
    return Workload(
        steps=steps,
        kernels=tuple(kernels),
        weights=weights,
        states=STATES * sum(p.size for p in inner),
        values=partitioned.input.size + partitioned.population(partitioned.output).size,
    )


def workload_of(artifact: Artifact, trace: ExecutionTrace) -> Workload:
    """The workload of a traced run, at the mean ranks that its gates asked for."""
    ranks = {layer: used.mean for layer, used in rank_usage(artifact, trace).items()}
    return workload(artifact, trace.steps, ranks)


def on_processor(
    work: Workload,
    processor: ProcessorSpec,
    *,
    batch: int = 1,
    number_format: NumberFormat = "fp32",
) -> ProcessorEstimate:
    """What ``work`` costs on ``processor``.

    Args:
        work: of one sample.
        processor: a model.
        batch: samples that are computed together.
        number_format: of weights and states.

    Raises:
        ConfigError: the processor lacks the format (ADL-HWC-01), or the batch is not positive
            (ADL-HWC-02).
    """
    if number_format not in processor.peak_ops_per_s:
        raise ConfigError(
            f"it has no figures for {number_format}",
            where=processor.name,
            remedy=f"choose one of {', '.join(processor.peak_ops_per_s)}",
            code="ADL-HWC-01",
        )
    if batch < 1:
        raise ConfigError(
            f"a batch of {batch} holds no sample",
            where="batch",
            remedy="give 1 or more",
            code="ADL-HWC-02",
        )
    low, own, high = (
        _costs(work, p, batch, number_format)
        for p in (processor.at_bound(-1), processor, processor.at_bound(1))
    )
    return ProcessorEstimate(
        processor=processor.name,
        number_format=number_format,
        batch=batch,
        ops=work.ops,
        bytes_moved=own.bytes_moved / batch,
        on_chip=own.on_chip,
        latency_s=own.latency_s,
        op_j=own.op_j / batch,
        memory_j=own.memory_j / batch,
        idle_j=own.idle_j / batch,
        interval_j=(low.energy_j / batch, high.energy_j / batch),
        interval_s=(low.latency_s, high.latency_s),
        status=processor.status(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Of a whole batch."""

    bytes_moved: float
    on_chip: bool
    latency_s: float
    op_j: float
    memory_j: float
    idle_j: float

    @property
    def energy_j(self) -> float:
        return self.op_j + self.memory_j + self.idle_j


def _costs(
    work: Workload, processor: ProcessorSpec, batch: int, number_format: NumberFormat
) -> _Costs:
    size = BYTES[number_format]
    kept = size * (work.weights + batch * work.states)
    on_chip = kept <= processor.on_chip_bytes.value
    peak = processor.peak_ops_per_s[number_format].value
    bandwidth = processor.bandwidth_bytes_per_s.value
    outside = size * batch * work.values
    step_s, moved = outside / bandwidth, float(outside)
    for kernel in work.kernels:
        read = 0.0 if on_chip else size * kernel.weights
        busy_s = max(batch * kernel.ops / peak, read / bandwidth)
        step_s += processor.launch_s.value + busy_s
        moved += read
    if not on_chip:
        states = 2 * size * batch * work.states
        moved += states
        step_s += states / bandwidth
    latency_s = work.steps * step_s
    moved *= work.steps
    return _Costs(
        bytes_moved=moved,
        on_chip=on_chip,
        latency_s=latency_s,
        op_j=batch * work.ops * processor.energy_per_op_j[number_format].value,
        memory_j=moved * processor.energy_per_byte_j.value,
        idle_j=latency_s * processor.idle_power_w.value,
    )


def on_processors(
    work: Workload,
    processors: Sequence[ProcessorSpec],
    *,
    batches: Sequence[int],
    number_format: NumberFormat = "fp32",
) -> tuple[ProcessorEstimate, ...]:
    """``work`` on every processor at every batch; errors as of :func:`on_processor`."""
    return tuple(
        on_processor(work, processor, batch=batch, number_format=number_format)
        for processor in processors
        for batch in batches
    )
