"""The same network on the same input on conventional processors: all of it modelled.

A processor computes every step of a spiking network densely, as torch and snnTorch do: it
multiplies whole matrices, whatever spikes, and updates every compartment. Only the rank of gated
layers is what the gates asked for, on average, as kernels with a rank per sample have it. Per step
there is one kernel for each projection, the factors of a pair apart, however the chip's cores cut
it, one for each gate with what it reads, and one for each population of neurons; relays are
computed by the kernel that fills them:

    ops     = 2 * synapses * batch, or NEURON_OPS * compartments * batch
    bytes   = weights that do not stay on the chip, and inputs and outputs of the network
    latency = launch + max(ops / peak, bytes / bandwidth)       (roofline; Williams et al., 2009)
    energy  = ops * energy per op + bytes * energy per byte + idle power * latency

Weights and states stay on the chip from step to step and sample to sample if all of them fit there
together. There are as many steps as the input has: the steps that a chip's pipeline adds are its
own. Frameworks that wait for the host between kernels take longer than that; programs that are
launched once for many steps take less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from mapping.ir.network import Input
from mapping.ir.quantized import IntegerLif
from mapping.processors.spec import BYTES, NumberFormat, ProcessorSpec
from mapping.targets.figures import Status

OPS_PER_SYNAPSE = 2
"""Per step: a multiplication and an addition."""
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
        steps: number of steps of the input.
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
    """What a processor has to compute for an inference, whatever cores the program was cut into.

    Args:
        artifact: the compiled program.
        steps: number of steps of the input.
        ranks: mean rank of gated layers by name; those left out run at full rank.
    """
    network = artifact.network
    share = {
        gated.layer: (ranks or {}).get(gated.layer, gated.levels[-1]) / gated.levels[-1]
        for gated in artifact.partitioned.gated_layers()
    }
    partial = {p.spec.source for p in network.projections if p.spec.part == "sum"}
    projections = [p for p in network.projections if p.spec.part != "sum"]
    populations = [
        p for p in network.populations if not isinstance(p, Input) and p.name not in partial
    ]
    ops: defaultdict[tuple[str, str], float] = defaultdict(float)
    weights: defaultdict[tuple[str, str], float] = defaultdict(float)
    kernel_of: dict[str, tuple[str, str]] = {}
    for projection in projections:
        spec, synapses = projection.spec, projection.synapses
        kernel = spec.layer, "U" if spec.part == "bias" else spec.part
        rank = share.get(spec.layer, 1.0) if spec.part in ("V", "U") else 1.0
        ops[kernel] += rank * OPS_PER_SYNAPSE * synapses.count
        weights[kernel] += rank * synapses.values.size
        kernel_of.setdefault(spec.target, kernel)
    for population in populations:
        own = population.name, "neurons"
        relayed = not isinstance(population, IntegerLif)
        ops[kernel_of.get(own[0], own) if relayed else own] += NEURON_OPS * population.size
    return Workload(
        steps=steps,
        kernels=tuple(Kernel(ops=ops[name], weights=weights[name]) for name in ops),
        weights=sum(p.synapses.values.size for p in projections),
        states=STATES * sum(p.size for p in populations),
        values=network.input.size + network.population(network.output).size,
    )


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
