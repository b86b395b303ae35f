"""The compiler: network in, compiled program and report out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from typing import Literal, ParamSpec, TypeVar

import numpy as np

from mapping.artifact.schema import Artifact, Origin
from mapping.budget import priced_energies
from mapping.errors import CapacityError, ConfigError, DesignRuleError
from mapping.fit import find_fixes
from mapping.ir.checkpoint import fingerprint
from mapping.ir.diagnostic import Diagnostic
from mapping.ir.network import Network
from mapping.ir.partitioned import PartitionedNetwork, packet_flows
from mapping.ir.quantized import QuantizedNetwork
from mapping.ir.traffic import Calibration, TrafficProfile, check_labels, check_payloads
from mapping.ir.verify import verify_partition, verify_placement, verify_routing
from mapping.passes.choose_ranks import RankStep
from mapping.passes.fuse_factors import FuseFactors
from mapping.passes.lower_ranks import LoweredRanks, LowerRanks
from mapping.passes.partition import Partition
from mapping.passes.place import Place
from mapping.passes.quantize import Quantize
from mapping.passes.realise_factors import realise_factors
from mapping.passes.route import Route
from mapping.report import Report, compile_report
from mapping.rules import check_rules
from mapping.targets.load import target_data
from mapping.targets.spec import ChipSpec

P = ParamSpec("P")
R = TypeVar("R")
Observer = Callable[[str, object], None]
"""Called after each pass with its name and its result, and after each step of a long one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """The compiler's options; see the passes for their meaning."""

    rank: int | float | Literal["auto"] | None = None
    max_accuracy_drop: float | None = None
    weight_bits: int | None = None
    layer_weight_bits: tuple[tuple[str, int], ...] = ()
    neurons_per_core: int | None = None
    partitioner: str = "best"
    optimise: str = "energy"
    placer: str = "anneal"
    time_limit_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileResult:
    """A compiled program that keeps all design rules, with its report."""

    artifact: Artifact
    report: Report
    diagnostics: tuple[Diagnostic, ...]


@dataclass(slots=True)
class _Stages:
    observer: Observer | None
    log: list[tuple[str, float]] = field(default_factory=list)

    def run(self, name: str, stage: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        start = time.perf_counter()
        result = stage(*args, **kwargs)
        self.log.append((name, time.perf_counter() - start))
        if self.observer:
            self.observer(name, result)
        return result

    def tell(self, step: RankStep) -> None:
        """Tell the observer of a step within a pass."""
        if self.observer:
            what = f"{step.layer} at rank {step.rank}, accuracy {step.accuracy:.1%}"
            self.observer(f"lower_ranks: {what}", step)


def compile_network(
    network: Network | QuantizedNetwork,
    chip: ChipSpec,
    options: CompileOptions,
    *,
    calibration: Calibration | None = None,
    conventions: Mapping[str, str | float] | None = None,
    observer: Observer | None = None,
) -> CompileResult:
    """Compile ``network`` for ``chip``.

    Args:
        network: the float network, or integers that need no more than cores and places.
        chip: the target.
        options: what the passes shall do.
        calibration: input from which activity is measured; without it 10 % is assumed. With
            labels, it also tells the accuracy of what ``rank="auto"`` tries.
        conventions: those under which a front end read the model, for the report and the origin.
        observer: told of every pass, for progress bars and dumps.

    Raises:
        AdlrnsError: from the passes; each documents its own.
        ConfigError: the calibration data do not suit the network (ADL-INP-01 … 04), or an option
            is for float networks only (ADL-CFG-07).
        CapacityError: it does not fit; the remedy is the cheapest change that was found to fit.
        DesignRuleError: the compiled program breaks design rules.
    """
    start = time.perf_counter()
    try:
        return _compile(network, chip, options, calibration, conventions or {}, observer)
    except (CapacityError, DesignRuleError) as error:
        took_s = time.perf_counter() - start
        error.propose(find_fixes(error, network, chip, options, cut_network, compile_s=took_s))
        raise


def cut_network(
    network: Network | QuantizedNetwork, chip: ChipSpec, options: CompileOptions
) -> PartitionedNetwork:
    """Core programs of ``network``, not placed, and as many as it takes.

    Instead of a rank that is yet to be found (``"auto"``) the network is taken as it is.

    Raises:
        AdlrnsError: from the passes up to the partition.
    """
    partition = _partition(options)
    rank = None if options.rank == "auto" else options.rank
    options = replace(options, rank=rank, max_accuracy_drop=None)
    integers, _ = _integers(network, chip, options, None, _Stages(None))
    split, traffic = partition.prepare(integers, chip, TrafficProfile.assumed(integers))
    return partition.cut(split, chip, traffic)


def _compile(
    network: Network | QuantizedNetwork,
    chip: ChipSpec,
    options: CompileOptions,
    calibration: Calibration | None,
    conventions: Mapping[str, str | float],
    observer: Observer | None,
) -> CompileResult:
    if calibration is not None:
        check_payloads(calibration.payloads, network.input, where="calibration")
        if calibration.labels is not None:
            classes = network.population(network.output).size
            samples = len(calibration.payloads)
            check_labels(calibration.labels, samples, classes, where="calibration")
    stages = _Stages(observer)
    quantized, lowered = _integers(network, chip, options, calibration, stages)
    if calibration is None:
        traffic = TrafficProfile.assumed(quantized)
    else:
        traffic = stages.run("measure_traffic", TrafficProfile.measured, quantized, calibration)
    partition = _partition(options)
    quantized, traffic = stages.run("split_fan_in", partition.prepare, quantized, chip, traffic)
    partitioned = stages.run("partition", partition.run, quantized, chip, traffic)
    verify_partition(quantized, partitioned)
    packets = traffic.flow_packets(partitioned, packet_flows(partitioned))
    place = Place(placer=options.placer, seed=options.seed, time_limit_s=options.time_limit_s)
    placement = stages.run("place", place.run, partitioned, chip, packets)
    verify_placement(partitioned, placement)
    routing = stages.run("route", Route().run, partitioned, placement, chip)
    verify_routing(placement, routing, chip.mesh)
    artifact = Artifact(
        chip=chip,
        partitioned=partitioned,
        placement=placement,
        routing=routing,
        origin=_origin(network, chip, options, calibration, conventions, stages),
    )
    diagnostics = stages.run("check_rules", check_rules, artifact)
    broken = [d for d in diagnostics if d.severity == "error"]
    if broken:
        raise DesignRuleError(broken)
    if calibration is not None:
        budgets = stages.run("price_budgets", priced_energies, artifact, calibration)
        artifact = replace(artifact, budgets=budgets)
    report = compile_report(artifact, traffic, diagnostics, stages.log, conventions, lowered)
    return CompileResult(artifact=artifact, report=report, diagnostics=diagnostics)


def _partition(options: CompileOptions) -> Partition:
    return Partition(
        partitioner=options.partitioner,
        neurons_per_core=options.neurons_per_core,
        optimise=options.optimise,
        seed=options.seed,
    )


def _integers(
    network: Network | QuantizedNetwork,
    chip: ChipSpec,
    options: CompileOptions,
    calibration: Calibration | None,
    stages: _Stages,
) -> tuple[QuantizedNetwork, LoweredRanks | None]:
    if isinstance(network, QuantizedNetwork):
        _refuse_float_options(options)
        return network, None
    quantize = Quantize(
        weight_bits=options.weight_bits, layer_weight_bits=options.layer_weight_bits
    )

    def integers(candidate: Network) -> QuantizedNetwork:
        return quantize.run(realise_factors(FuseFactors().run(candidate, chip)), chip)

    lower = LowerRanks(
        rank=options.rank,
        weight_bits=options.weight_bits or chip.numeric.weight_bits.value,
        max_accuracy_drop=options.max_accuracy_drop,
    )
    lowered = stages.run(
        "lower_ranks", lower.run, network, chip, calibration, integers, stages.tell
    )
    fused = stages.run("fuse_factors", FuseFactors().run, lowered.network, chip)
    factored = stages.run("realise_factors", realise_factors, fused)
    return stages.run("quantize", quantize.run, factored, chip), lowered


def _refuse_float_options(options: CompileOptions) -> None:
    layer_bits = options.layer_weight_bits or None
    weight_bits = layer_bits if options.weight_bits is None else options.weight_bits
    for name, value in (("rank", options.rank), ("weight_bits", weight_bits)):
        if value is not None:
            raise ConfigError(
                f"{value} was asked for, but the model holds integers already, whose "
                f"{name.replace('_', ' ')} cannot be chosen any more",
                where=name,
                remedy=f"drop the option --{name.replace('_', '-')}, or compile a float model",
                code="ADL-CFG-07",
            )


def _origin(
    network: Network | QuantizedNetwork,
    chip: ChipSpec,
    options: CompileOptions,
    calibration: Calibration | None,
    conventions: Mapping[str, str | float],
    stages: _Stages,
) -> Origin:
    described = {key: value for key, value in asdict(options).items() if key != "seed"}
    described["layer_weight_bits"] = ",".join(f"{n}={b}" for n, b in options.layer_weight_bits)
    return Origin(
        tool_version=version("adlrns"),
        seed=options.seed,
        options=described | dict(conventions),
        network_sha256=fingerprint(network),
        chip_sha256=sha256(json.dumps(target_data(chip), sort_keys=True).encode()).hexdigest(),
        calibration_sha256=(
            _calibration_sha256(calibration, labels=options.rank == "auto") if calibration else ""
        ),
        stages=tuple(name for name, _ in stages.log),
    )


def _calibration_sha256(calibration: Calibration, *, labels: bool) -> str:
    """Of the payloads and, if the compiler read them, the labels."""
    found = sha256(calibration.payloads.astype(np.int64).tobytes())
    if labels and calibration.labels is not None:
        found.update(calibration.labels.astype(np.int64).tobytes())
    return found.hexdigest()
