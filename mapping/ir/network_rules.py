"""What makes a float network well formed; run whenever one is built."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mapping.errors import ConfigError
from mapping.ir.elements import (
    Conv2d,
    Dense,
    Gate,
    Input,
    Li,
    Lif,
    LowRank,
    Population,
    Projection,
    RankGate,
    Relay,
    Sparse,
    SumPool2d,
    Wiring,
)
from mapping.ir.synapses import ConvShape, FloatArray

LONGEST_DELAY = 63
"""Axonal delays have six bits (Lava 0.10.0, ``DelayDense``)."""

_Rule = tuple[bool, str, str]
"""Whether it holds, what is wrong if not, the remedy."""


def check_names(
    name: str,
    dt_s: float,
    populations: tuple[Population, ...],
    projections: tuple[Projection, ...],
    output: str,
) -> None:
    """Names are unique and known, integrators are read, the step duration is positive.

    Raises:
        ConfigError: ADL-NET-01, ADL-NET-02, ADL-NET-03 or ADL-NET-07.
    """
    names = [e.name for e in (*populations, *projections)]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates or not all(names):
        raise ConfigError(
            f"names must be unique and non-empty, but found duplicates {duplicates}",
            where=f"network {name}",
            remedy="rename populations and projections",
            code="ADL-NET-01",
        )
    known = {p.name for p in populations}
    ends = {(p.name, end) for p in projections for end in (p.source, p.target)}
    missing = sorted({(n, e) for n, e in ends if e not in known})
    if output not in known:
        missing.append((name, output))
    if missing:
        raise ConfigError(
            f"refers to the unknown population {missing[0][1]!r}",
            where=missing[0][0],
            remedy=f"use one of: {', '.join(sorted(known))}",
            code="ADL-NET-02",
        )
    silent = [p.name for p in populations if isinstance(p, Li) and p.name != output]
    if silent:
        raise ConfigError(
            f"only integrates, but the output is {output!r}",
            where=silent[0],
            remedy="read it as the output, or use Lif, which spikes",
            code="ADL-NET-07",
        )
    if not (np.isfinite(dt_s) and dt_s > 0):
        raise ConfigError(
            f"dt_s is {dt_s}",
            where=f"network {name}",
            remedy="give the step duration as a positive number of seconds",
            code="ADL-NET-03",
        )


def check_population(population: Population) -> None:
    """Shapes and values of one population.

    Raises:
        ConfigError: ADL-NET-03 or ADL-NET-05.
    """
    match population:
        case Lif(bias=bias) | Li(bias=bias):
            _check_finite(population.name, bias=bias)
        case Relay(threshold=threshold, bias=bias):
            _check_finite(population.name, threshold=threshold, bias=bias)
        case Gate(bias=bias, cost=cost):
            _check_finite(population.name, bias=bias, cost=cost)
    _require(population.name, _population_rules(population))


def _population_rules(population: Population) -> Iterator[_Rule]:
    yield (
        all(extent > 0 for extent in population.shape),
        f"shape {population.shape} holds no compartment",
        "give positive extents",
    )
    match population:
        case Input(payload_min=low, payload_max=high, payload_scale=scale):
            yield low <= 0 < high, f"payload range {low}..{high}", "let the range include 0 and 1"
            yield (
                bool(np.isfinite(scale)) and scale > 0,
                f"payload_scale {scale}",
                "make it positive",
            )
        case (
            Lif(current_decay=alpha, voltage_decay=beta, bias=bias)
            | Li(current_decay=alpha, voltage_decay=beta, bias=bias)
        ):
            yield 0 <= alpha < 1, f"current_decay {alpha} is outside [0, 1)", "choose one inside"
            yield 0 < beta <= 1, f"voltage_decay {beta} is outside (0, 1]", "choose one inside"
            threshold = population.threshold if isinstance(population, Lif) else 1.0
            yield (
                bool(np.isfinite(threshold)) and threshold > 0,
                f"threshold {threshold}",
                "make it positive and finite",
            )
            yield _one_each(population, "bias", bias)
        case Relay():
            yield from _relay_rules(population)
        case Gate(cost=cost):
            yield _one_each(population, "cost", cost)
            yield from _gate_rules(population)


def _one_each(population: Population, what: str, values: FloatArray) -> _Rule:
    return (
        values.shape == (population.size,),
        f"{what} has shape {values.shape}, the population {population.size} compartments",
        f"give one {what} per compartment",
    )


def _relay_rules(relay: Relay) -> Iterator[_Rule]:
    bounds, needed = relay.block_bounds, relay.gates_needed
    yield relay.threshold.ndim == 1, "relay thresholds are no vector", "give one per relay"
    yield bool((relay.threshold >= 0).all()), "a relay threshold is negative", "make it ≥ 0"
    yield (
        bool(bounds)
        and bounds[0] == 0
        and bounds[-1] == relay.size
        and all(a < b for a, b in itertools.pairwise(bounds)),
        f"block bounds {bounds} do not cut {relay.size} relays into blocks",
        "start at 0, increase, end at the rank",
    )
    yield (
        len(needed) == len(bounds) - 1 and min(needed) >= 0,
        f"gates_needed {needed} is not one count for each of {len(bounds) - 1} blocks",
        "give one number of 0 or more per block",
    )
    yield _one_each(relay, "bias", relay.bias)
    yield (
        not (relay.sigma and relay.bias.any()),
        "sums a bias over all steps, without end",
        "drop sigma or the bias",
    )


def _gate_rules(gate: Gate | RankGate) -> Iterator[_Rule]:
    yield bool((gate.cost > 0).all()), "a level costs nothing more", "make every cost positive"
    for name in ("decay", "trace_decay"):
        value = getattr(gate, name)
        yield 0 <= value <= 1, f"{name} {value} is outside [0, 1]", "choose one inside"
    yield (
        bool(np.isfinite(gate.trace_threshold)) and gate.trace_threshold >= 0,
        f"trace_threshold {gate.trace_threshold}",
        "make it finite and ≥ 0",
    )
    if isinstance(gate, RankGate):
        yield (
            gate.at in ("relay", "source"),
            f"is gated at {gate.at!r}",
            'choose at="relay" or at="source"',
        )


def check_projection(projection: Projection, populations: Mapping[str, Population]) -> None:
    """Ends, shapes and values of one projection.

    Raises:
        ConfigError: ADL-NET-02 … ADL-NET-05, ADL-NET-07.
    """
    target = populations[projection.target]
    if isinstance(target, Input):
        raise ConfigError(
            f"targets the input population {projection.target!r}",
            where=projection.name,
            remedy="inputs receive spikes only from outside; target another population",
            code="ADL-NET-02",
        )
    if isinstance(populations[projection.source], Li):
        raise ConfigError(
            f"leads out of {projection.source!r}, which only integrates and never spikes",
            where=projection.name,
            remedy="read that population as the output alone, or use Lif, which spikes",
            code="ADL-NET-07",
        )
    match projection:
        case Dense():
            shapes = _dense_shapes(projection, populations)
        case LowRank():
            shapes = _low_rank_shapes(projection, populations)
        case Sparse(synapses=synapses):
            sizes = (target.size, populations[projection.source].size)
            _require(projection.name, _sparse_rules(projection, sizes), "ADL-NET-04")
            shapes = {"synapses": (synapses.values, (synapses.targets.size,))}
        case Conv2d(weight=weight, conv=conv):
            _require(projection.name, _conv_rules(conv, populations, projection), "ADL-NET-04")
            shapes = {"weight": (weight, conv.weight_shape)}
        case SumPool2d(weight=factor, conv=conv):
            _require(projection.name, _conv_rules(conv, populations, projection), "ADL-NET-04")
            shapes = {"weight": (np.array(factor), ())}
    for key, (array, expected) in shapes.items():
        if array.shape != expected:
            raise ConfigError(
                f"{key} has shape {array.shape}, expected {expected}",
                where=projection.name,
                remedy=f"give {key} the shape {expected}",
                code="ADL-NET-04",
            )
    _check_finite(projection.name, **{key: array for key, (array, _) in shapes.items()})
    if not isinstance(projection, LowRank):
        _require(projection.name, _delay_rules(projection, populations))
    match projection:
        case Dense():
            _require(projection.name, _dense_rules(projection, populations), "ADL-NET-07")
        case LowRank(relay_threshold=threshold, gate=gate):
            positive = bool((threshold >= 0).all())
            _require(projection.name, [(positive, "a relay threshold is negative", "make it ≥ 0")])
            if gate is not None:
                _require(projection.name, _gate_rules(gate))
                _require(projection.name, _rank_gate_rules(projection, populations), "ADL-NET-07")


_Shapes = dict[str, tuple[FloatArray, tuple[int, ...]]]


def _dense_shapes(dense: Dense, populations: Mapping[str, Population]) -> _Shapes:
    source = populations[dense.source]
    columns = dense.columns(source)
    if not 0 <= columns.start < columns.stop <= source.size:
        raise ConfigError(
            f"reads compartments {columns.start}:{columns.stop} of the {source.size} of "
            f"{source.name!r}",
            where=dense.name,
            remedy="let source_start and source_stop cut a part out of them",
            code="ADL-NET-07",
        )
    size = populations[dense.target].size
    return {"weight": (dense.weight, (size, columns.stop - columns.start))}


def _dense_rules(dense: Dense, populations: Mapping[str, Population]) -> Iterator[_Rule]:
    source, target = populations[dense.source], populations[dense.target]
    yield (
        dense.port == "signal" or isinstance(target, Relay | Gate),
        f"feeds the control input of {target.name!r}, which has none",
        "target a relay or a gate, or use the signal port",
    )
    yield (
        dense.port == "signal" or bool(np.isin(dense.weight, (0.0, 1.0)).all()),
        "has control weights other than 0 and 1",
        "scale what the source sends instead",
    )
    yield (
        0 <= dense.fused_rank <= min(dense.weight.shape),
        f"{dense.weight.shape} weights are no product of rank {dense.fused_rank}",
        "give the rank of the factor pair, or 0",
    )
    if dense.gate:
        yield (
            isinstance(populations.get(dense.gate), Gate)
            and isinstance(source, Input)
            and isinstance(target, Relay)
            and len(dense.gates_needed) == len(target.block_bounds) - 1
            and not dense.delays.any(),
            f"cannot be held back at the host by {dense.gate!r}",
            "read the input population without delays, target relays, name a gate and give one "
            "count per block",
        )


def _sparse_rules(sparse: Sparse, sizes: tuple[int, int]) -> Iterator[_Rule]:
    synapses = sparse.synapses
    yield (
        synapses.targets.ndim == 1 and synapses.starts.ndim == 1,
        f"targets and starts have {synapses.targets.ndim} and {synapses.starts.ndim} dimensions",
        "give vectors",
    )
    yield (
        synapses.shape == sizes,
        f"synapses have shape {synapses.shape}, expected {sizes}",
        "give one row per target compartment and one column per source compartment",
    )
    inside = (synapses.targets >= 0) & (synapses.targets < sizes[0])
    whole = synapses.starts[0] == 0 and synapses.starts[-1] == synapses.targets.size
    yield (
        bool(inside.all()) and whole and bool((np.diff(synapses.starts) >= 0).all()),
        "synapses do not name rows and columns in order",
        "build them with SparseSynapses.of from a SciPy sparse array",
    )
    first = np.zeros(synapses.targets.size + 1, np.bool_)
    first[synapses.starts] = True
    yield (
        bool((first[1:-1] | (np.diff(synapses.targets) > 0)).all()),
        "synapses of one column do not name rows in rising order, each once",
        "build them with SparseSynapses.of from a SciPy sparse array",
    )


def _conv_rules(
    conv: ConvShape, populations: Mapping[str, Population], projection: Conv2d | SumPool2d
) -> Iterator[_Rule]:
    source, target = populations[projection.source].shape, populations[projection.target].shape
    counts = (*conv.inputs, conv.out_channels, *conv.kernel, *conv.stride, *conv.dilation)
    yield (
        min(*counts, conv.groups) > 0 and min(conv.padding) >= 0,
        f"geometry {conv} holds a number that is not positive",
        "give positive sizes, strides and dilations, and a padding of 0 or more",
    )
    pads = zip(conv.inputs[1:], conv.padding, strict=True)
    padded = tuple(extent + 2 * pad for extent, pad in pads)
    gaps = zip(conv.kernel, conv.dilation, strict=True)
    reach = tuple(gap * (size - 1) + 1 for size, gap in gaps)
    dilated = "" if reach == conv.kernel else f", dilated to {reach},"
    yield (
        reach[0] <= padded[0] and reach[1] <= padded[1],
        f"the kernel {conv.kernel}{dilated} is larger than the padded input {padded}",
        "choose a smaller kernel or dilation, or more padding",
    )
    yield (
        conv.inputs[0] % conv.groups == 0 and conv.out_channels % conv.groups == 0,
        f"{conv.groups} groups do not divide {conv.inputs[0]} → {conv.out_channels} channels",
        "choose a number of groups that divides both",
    )
    if isinstance(projection, SumPool2d):
        yield (
            conv.groups == conv.inputs[0] == conv.out_channels,
            f"pools {conv.inputs[0]} into {conv.out_channels} channels in {conv.groups} groups",
            "give every channel a group of its own",
        )
    yield (
        source == conv.inputs and target == conv.outputs,
        f"leads from {source} to {target}, its geometry from {conv.inputs} to {conv.outputs}",
        "give source and target those shapes",
    )


def _delay_rules(wiring: Wiring, populations: Mapping[str, Population]) -> Iterator[_Rule]:
    columns = wiring.columns(populations[wiring.source])
    read, delays = columns.stop - columns.start, wiring.delays
    yield (
        delays.size == 0 or delays.shape == (read,),
        f"delays have shape {delays.shape}, it reads {read} compartments",
        "give one delay per source compartment",
    )
    low, high = int(delays.min(initial=0)), int(delays.max(initial=0))
    yield (
        low >= 0 and high <= LONGEST_DELAY,
        f"delays reach from {low} to {high}",
        f"choose delays of 0 to {LONGEST_DELAY} steps",
    )


def _low_rank_shapes(pair: LowRank, populations: Mapping[str, Population]) -> _Shapes:
    source, target = populations[pair.source].size, populations[pair.target].size
    rank = pair.V.shape[-1] if pair.V.ndim else 0
    levels = pair.levels
    rising = all(a < b for a, b in itertools.pairwise(levels))
    if not levels or levels[0] < 1 or levels[-1] != rank or not rising:
        raise ConfigError(
            f"levels {levels} are not increasing ranks that end at the full rank {rank}",
            where=pair.name,
            remedy="list the ranks in increasing order, the last equal to V.shape[1]",
            code="ADL-NET-03",
        )
    steps = len(levels) - 1
    shapes: _Shapes = {
        "U": (pair.U, (target, rank)),
        "V": (pair.V, (source, rank)),
        "relay_threshold": (pair.relay_threshold, (rank,)),
    }
    if pair.level_bias.size:
        shapes["level_bias"] = (pair.level_bias, (steps, target))
    if pair.gate is not None:
        gate, features = pair.gate, levels[0]
        shapes |= {
            "gate.weight": (gate.weight, (steps, gate.hidden or features)),
            "gate.bias": (gate.bias, (steps,)),
            "gate.cost": (gate.cost, (steps,)),
        }
        if gate.hidden or gate.hidden_weight.size:
            shapes["gate.hidden_weight"] = (gate.hidden_weight, (gate.hidden, features))
            shapes["gate.hidden_bias"] = (gate.hidden_bias, (gate.hidden,))
    return shapes


def _rank_gate_rules(pair: LowRank, populations: Mapping[str, Population]) -> Iterator[_Rule]:
    source, gate = populations[pair.source], pair.gate
    assert gate is not None
    yield len(pair.levels) > 1, "has a gate, but only one level", "drop the gate or add levels"
    yield (
        gate.at == "relay" or isinstance(source, Input),
        "cannot be gated at its source, which is not the input population",
        'gate it at the relay: at="relay"',
    )
    yield (
        gate.at == "source" or pair.sigma or not (isinstance(source, Input) and source.delta),
        "would lose the changes that arrive while a gate is closed",
        'let its relays sum them, sigma=True, or gate it at the source, at="source"',
    )
    yield (
        gate.at == "source" or not pair.sigma or (isinstance(source, Input) and source.delta),
        "would take back the sum of all values when a gate closes",
        'gate it at the source, at="source", or drop sigma',
    )


def _require(where: str, rules: Iterable[_Rule], code: str = "ADL-NET-03") -> None:
    for holds, message, remedy in rules:
        if not holds:
            raise ConfigError(message, where=where, remedy=remedy, code=code)


def _check_finite(where: str, **arrays: FloatArray) -> None:
    for key, array in arrays.items():
        bad = int(array.size - np.isfinite(array).sum())
        if bad:
            first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ConfigError(
                f"{key} holds {bad} NaN or infinite values, the first at {first}",
                where=where,
                remedy="retrain or repair the model before export",
                code="ADL-NET-05",
            )
