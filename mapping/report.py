"""The compiler's report: the same figures for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from mapping.artifact.schema import REPORT_SCHEMA, Artifact
from mapping.ir.diagnostic import Diagnostic
from mapping.ir.multicast import multicast_loads
from mapping.ir.network import Input
from mapping.ir.quantized import IntegerLif, ProjectionSpec, WeightFidelity
from mapping.ir.routed import between_chips
from mapping.ir.traffic import TrafficProfile
from mapping.latency import Work, estimate_status, totals
from mapping.passes.lower_ranks import LoweredRanks
from mapping.placement.bound import lower_bound
from mapping.placement.problem import PlacementProblem

Report = dict[str, object]


def compile_report(
    artifact: Artifact,
    traffic: TrafficProfile,
    diagnostics: Sequence[Diagnostic],
    stages: Sequence[tuple[str, float]],
    conventions: Mapping[str, str | float],
    lowered: LoweredRanks | None = None,
) -> Report:
    """The content of ``report.json``.

    Args:
        artifact: the compiled program.
        traffic: expected activity, for the traffic and energy estimates.
        diagnostics: what the design rules found.
        stages: passes with their durations [s].
        conventions: by which a model of another tool was read; empty for a checkpoint of ours.
        lowered: what became of the layers when a rank was asked for.
    """
    return {
        "schema": REPORT_SCHEMA,
        "target": artifact.chip.name,
        "network": _network(artifact, lowered) | {"conventions": dict(conventions)},
        "low_rank": _low_rank(lowered) if lowered and lowered.choices else None,
        "cores": _cores(artifact),
        "noc": _noc(artifact, traffic),
        "estimate": _estimate(artifact, traffic),
        "budgets": [asdict(entry) for entry in artifact.budgets],
        "diagnostics": [asdict(d) for d in diagnostics],
        "stages": [{"name": name, "seconds": seconds} for name, seconds in stages],
    }


def _low_rank(lowered: LoweredRanks) -> Report:
    return {
        "activity": lowered.activity,
        "layers": [asdict(choice) for choice in lowered.choices.values()],
        "search": asdict(lowered.search) if lowered.search else None,
    }


def _network(artifact: Artifact, lowered: LoweredRanks | None) -> Report:
    network = artifact.network
    inner = [p for p in network.populations if not isinstance(p, Input)]
    return {
        "name": network.name,
        "neurons": sum(p.size for p in inner),
        "synapses": sum(p.synapses.count for p in network.projections),
        "latency_steps": network.latency_steps,
        "layers": _layers(artifact, lowered),
        "populations": [
            {
                "name": p.name,
                "size": p.size,
                "threshold": p.threshold,
                "current_decay": (4095 - p.du) / 4096,
                "voltage_decay": (4096 - p.dv) / 4096,
                "units_per_float": p.scale,
                "voltage_limit_thresholds": 2**17 / p.threshold,
            }
            for p in inner
            if isinstance(p, IntegerLif)
        ],
        "quantisation": [asdict(f) for f in network.fidelity],
    }


def _layers(artifact: Artifact, lowered: LoweredRanks | None) -> list[Report]:
    choices = lowered.choices if lowered else {}
    specs: dict[str, list[ProjectionSpec]] = {}
    for spec in artifact.partitioned.projections:
        specs.setdefault(spec.layer, []).append(spec)
    sizes = {p.name: p.size for p in artifact.partitioned.populations}
    exact = {
        spec.name: WeightFidelity(projection=spec.name, relative_error=0.0, clipped=0.0, zeroed=0.0)
        for spec in artifact.partitioned.projections
    }
    errors = exact | {f.projection: f for f in artifact.partitioned.fidelity}
    gated = {g.layer: g for g in artifact.partitioned.gated_layers()}
    rows: list[Report] = []
    for layer, parts in specs.items():
        factored = {"V", "U"} <= {spec.part for spec in parts}
        first = next(s for s in parts if s.part == "V") if factored else parts[0]
        last = [parts[0], *(s for s in parts if s.part in ("U", "sum"))][-1]
        wide, narrow = sizes[first.source], sizes[last.target]
        fused = first.fused_rank > 0
        rank = first.fused_rank or min(wide, narrow)
        if factored:
            rank = sizes[next(s for s in parts if s.part == "U").source]
        realisation = "factored" if factored else "fused" if fused else "full"
        if any(s.part == "sum" for s in parts):
            realisation += ", split"
        rows.append(
            {
                "name": layer,
                "kind": "low_rank" if factored or fused else first.form,
                "in": wide,
                "out": narrow,
                "rank": rank,
                "levels": list(gated[layer].levels) if layer in gated else [rank],
                "realisation": realisation,
                "why": choices[layer].why if layer in choices else "",
                "cores": len(_cores_of(artifact, parts)),
                "weight_bits": first.weight_bits,
                "truncation_error": choices[layer].truncation_error if layer in choices else 0.0,
                "relative_error": max(errors[s.name].relative_error for s in parts),
                "clipped": max(errors[s.name].clipped for s in parts),
                "zeroed": max(errors[s.name].zeroed for s in parts),
            }
        )
    return rows


def _cores_of(artifact: Artifact, parts: list[ProjectionSpec]) -> set[int]:
    numbers = {artifact.partitioned.projections.index(spec) for spec in parts}
    return {
        core
        for core, program in enumerate(artifact.partitioned.cores)
        if any(tile.projection in numbers for tile in program.tiles)
    }


def _cores(artifact: Artifact) -> Report:
    chip = artifact.chip
    usages = artifact.partitioned.usage(chip)
    per_core = []
    for number, (usage, slot) in enumerate(zip(usages, artifact.placement.slots, strict=True)):
        shares = {
            name: getattr(usage, name) / getattr(chip.core, name).value for name in asdict(usage)
        }
        per_core.append(
            {
                "id": number,
                "chip": slot.chip,
                "x": slot.x,
                "y": slot.y,
                "core": slot.core,
                "neurons": usage.compartments,
                "synapse_words": usage.synapse_words,
                "in_axons": usage.input_axons,
                "out_axons": usage.output_axons,
                "utilisation": max(shares.values()),
                "bottleneck": max(shares, key=lambda name: shares[name]),
                "holds": [str(group) for group in artifact.partitioned.cores[number].groups],
            }
        )
    return {
        "used": len(usages),
        "available": chip.cores,
        "chips": artifact.placement.used_chips(),
        "per_core": per_core,
    }


def _noc(artifact: Artifact, traffic: TrafficProfile) -> Report:
    routing, mesh = artifact.routing, artifact.chip.mesh
    packets = traffic.flow_packets(artifact.partitioned, routing.pairs())
    lengths = np.diff(routing.offsets)
    hops = float(packets @ lengths)
    flows = np.stack([routing.source, routing.target], axis=1)
    cores = len(artifact.partitioned.cores)
    problem = PlacementProblem.on_chip(artifact.chip, cores, flows, packets)
    bound = lower_bound(problem.in_hops())
    multicast = multicast_loads(artifact.partitioned, routing, traffic, mesh)
    return {
        "packets_per_step": float(packets.sum()),
        "hops_per_step": hops,
        "max_link_load": float(routing.link_loads(packets, mesh).max(initial=0.0)),
        "longest_path": int(lengths.max(initial=0)),
        "lower_bound": bound.value,
        "bound": bound.name,
        "gap": (hops - bound.value) / hops if hops else 0.0,
        "multicast": {
            "hops_per_step": float(multicast.sum()),
            "max_link_load": float(multicast.max(initial=0.0)),
        },
        "search_stopped": artifact.placement.search_stopped,
        "traffic": traffic.status,
    }


def _estimate(artifact: Artifact, traffic: TrafficProfile) -> Report:
    """Of a step with mean activity: the slowest core of a real step is busier than that."""
    chip = artifact.chip
    work = expected_work(artifact, traffic)
    step, low, high = (totals(work, of) for of in (chip, chip.at_bound(-1), chip.at_bound(1)))
    static_chips_w = chip.static_power_w.value * artifact.placement.used_chips()
    return {
        "energy_j_per_step": step.energy_j,
        "energy_interval_j_per_step": [low.energy_j, high.energy_j],
        "static_j_per_step": step.static_j,
        "dynamic_j_per_step": step.dynamic_j,
        "static_chip_j_per_step": static_chips_w * step.latency_s,
        "latency_s_per_step": step.latency_s,
        "latency_interval_s_per_step": [low.latency_s, high.latency_s],
        "status": estimate_status(chip),
        "activity": traffic.status,
    }


def expected_work(artifact: Artifact, traffic: TrafficProfile) -> Work:
    """One step with mean activity."""
    routing, mesh = artifact.routing, artifact.chip.mesh
    packets = traffic.flow_packets(artifact.partitioned, routing.pairs())
    loads = routing.link_loads(packets, mesh)
    between = between_chips(np.arange(loads.size, dtype=np.int32), mesh)
    return Work(
        counts=traffic.expected_counts(
            artifact.partitioned, artifact.placement, routing, artifact.chip
        ),
        used_tiles=artifact.placement.used_tiles(),
        busiest_link=(loads * ~between).max(initial=0.0, keepdims=True)[None],
        busiest_chip_link=(loads * between).max(initial=0.0, keepdims=True)[None],
    )
