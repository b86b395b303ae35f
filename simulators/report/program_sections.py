"""Sections that every program has: layers, diagnostics, provenance."""

from __future__ import annotations

from collections.abc import Iterator

from mapping.artifact.schema import REPORT_SCHEMA
from mapping.artifact.schema import SCHEMA as ARTIFACT_SCHEMA
from mapping.latency import estimate_constants
from mapping.targets.figures import Constant, Curve
from mapping.units import unit_of, with_prefix
from simulators.curve import SCHEMA as CURVE_SCHEMA
from simulators.energy.side_by_side import SCHEMA as HARDWARE_SCHEMA
from simulators.report.blocks import (
    Cell,
    Prose,
    Quantity,
    Section,
    Table,
    number,
    percent,
    quantity,
)
from simulators.report.sources import Sources
from simulators.trace import SCHEMA as TRACE_SCHEMA


def layers(sources: Sources) -> Section:
    """What became of each layer."""
    rows = tuple(
        (
            layer["name"],
            number(layer["in"]),
            number(layer["out"]),
            ", ".join(map(str, layer["levels"])),
            layer["realisation"],
            number(layer["cores"]),
            number(layer["weight_bits"]),
            percent(layer["truncation_error"], digits=2),
            percent(layer["relative_error"], digits=2),
            percent(layer["clipped"], digits=2),
            percent(layer["zeroed"], digits=2),
        )
        for layer in sources.report["network"]["layers"]
    )
    columns = ("layer", "in", "out", "rank", "realisation", "cores", "bits per weight")
    table = Table(
        caption="Layers. Truncated, rounding: Frobenius norm of what --rank left out, and of the "
        "rounding after it, over that of the weights; clipped and zeroed: shares of the weights",
        columns=(*columns, "truncated", "rounding", "clipped", "zeroed"),
        rows=rows,
    )
    return Section(key="layers", title="Layers", blocks=(table,))


def diagnostics(sources: Sources) -> Section:
    """What the design rules found."""
    fields = ("code", "severity", "where", "message", "remedy")
    rows = tuple(
        tuple(str(found[field]) for field in fields) for found in sources.report["diagnostics"]
    )
    block = (
        Table(caption="Findings of the design rules", columns=fields, rows=rows)
        if rows
        else Prose(text="None: the program keeps all design rules without a remark.")
    )
    return Section(key="diagnostics", title="Diagnostics", blocks=(block,))


def provenance(sources: Sources) -> Section:
    """Where the program and the figures come from."""
    table = Table(
        caption="Origin of the program; the same origin gives the same program",
        columns=("entry", "value"),
        rows=tuple(_origin(sources)),
    )
    return Section(key="provenance", title="Provenance", blocks=(table, _constants(sources)))


def _origin(sources: Sources) -> Iterator[tuple[Cell, ...]]:
    origin, chip = sources.artifact.origin, sources.artifact.chip
    yield "tool version", origin.tool_version
    yield "target", f"{chip.name}: {chip.description}"
    yield "seed", str(origin.seed)
    for name, value in sorted(origin.options.items()):
        yield f"option {name.replace('_', ' ')}", "default" if value is None else str(value)
    yield "passes", ", ".join(origin.stages)
    yield "network SHA-256", origin.network_sha256
    yield "target SHA-256", origin.chip_sha256
    yield "calibration SHA-256", origin.calibration_sha256 or "no calibration data"
    yield "program fingerprint", origin.fingerprint()
    schemas = [ARTIFACT_SCHEMA, REPORT_SCHEMA]
    if sources.trace:
        yield "backend of the run", sources.trace.backend
        schemas.append(TRACE_SCHEMA)
    if sources.curve:
        schemas.append(CURVE_SCHEMA)
    if sources.hardware:
        schemas.append(HARDWARE_SCHEMA)
    yield "schemas", ", ".join(schemas)


def _constants(sources: Sources) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, constant in estimate_constants(sources.artifact.chip).items():
        factor = Quantity(value=constant.factor, text=f"×/÷ {constant.factor:g}")
        rows.append((name, _value(name, constant), factor, constant.status, constant.source))
    return Table(
        caption="Constants behind energy and latency; the truth is believed to lie within the "
        "factor of the value",
        columns=("constant", "value", "within", "status", "source"),
        rows=tuple(rows),
    )


def _value(name: str, constant: Constant | Curve) -> Cell:
    unit = unit_of(name)
    if isinstance(constant, Constant):
        return quantity(constant.value, unit)
    return ", ".join(f"{n}: {with_prefix(value, unit)}" for n, value in constant.value)
