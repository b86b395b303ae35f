"""Write a compiled program: the only pass that touches the disk."""

from __future__ import annotations

import json
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

from mapping.artifact.archive import Arrays, write_archive
from mapping.artifact.atomic import atomic_directory
from mapping.artifact.schema import (
    CORES_FILE,
    MANIFEST_FILE,
    REPORT_FILE,
    ROUTES_FILE,
    SYNAPSE_ARRAYS,
    Artifact,
    CoreRecord,
    GateRecord,
    InputRecord,
    LifRecord,
    ManifestRecord,
    PopulationRecord,
    RelayRecord,
    TileRecord,
)
from mapping.ir.network import Input
from mapping.ir.quantized import IntegerGate, IntegerLif, IntegerPopulation, IntegerRelay
from mapping.targets.load import target_data

_ARRAYS: dict[type[IntegerPopulation], tuple[str, ...]] = {
    Input: (),
    IntegerLif: ("bias_mantissa",),
    IntegerRelay: ("threshold", "bias"),
    IntegerGate: ("bias", "cost"),
}
"""Fields of each kind of population that lie in the core file, not in the manifest."""


def write_artifact(artifact: Artifact, report: dict[str, object], path: Path | str) -> None:
    """Write ``artifact`` and its report to the folder ``path``, whole or not at all.

    Everything but the stage times in the report depends on the artifact alone, byte for byte.

    Raises:
        ArtifactError: ADL-ART-01, ``path`` cannot be written or holds something else.
    """
    with atomic_directory(Path(path), marker=MANIFEST_FILE) as work:
        write_archive(work / CORES_FILE, core_arrays(artifact))
        write_archive(work / ROUTES_FILE, route_arrays(artifact))
        files = {
            name: sha256((work / name).read_bytes()).hexdigest()
            for name in (CORES_FILE, ROUTES_FILE)
        }
        manifest = manifest_record(artifact, files).model_dump_json(by_alias=True, indent=1)
        (work / MANIFEST_FILE).write_text(manifest + "\n", "utf-8")
        (work / REPORT_FILE).write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def core_arrays(artifact: Artifact) -> Arrays:
    """What ``cores.npz`` holds: synapse mantissas by core and tile, parameters by population."""
    arrays: Arrays = {}
    for population in artifact.partitioned.populations:
        for name in _ARRAYS[type(population)]:
            arrays[f"population/{population.name}/{name}"] = getattr(population, name)
    for core, program in enumerate(artifact.partitioned.cores):
        for number, tile in enumerate(program.tiles):
            for name in SYNAPSE_ARRAYS[tile.synapses.form]:
                key = f"core/{core}/tile/{number}/{name}"
                arrays[key] = getattr(tile.synapses, name)
    return arrays


def route_arrays(artifact: Artifact) -> Arrays:
    """What ``routes.npz`` holds; see :class:`mapping.ir.routed.Routing`."""
    routing = artifact.routing
    return {
        "source": routing.source,
        "target": routing.target,
        "offsets": routing.offsets,
        "links": routing.links,
    }


def manifest_record(artifact: Artifact, files: dict[str, str]) -> ManifestRecord:
    """Everything but the arrays."""
    partitioned = artifact.partitioned
    return ManifestRecord(
        schema="adlrns-artifact/4",
        origin=artifact.origin,
        files=files,
        name=partitioned.name,
        dt_s=partitioned.dt_s,
        output=partitioned.output,
        populations=[_population_record(p) for p in partitioned.populations],
        projections=list(partitioned.projections),
        fidelity=list(partitioned.fidelity),
        cores=[
            CoreRecord(
                groups=list(program.groups),
                tiles=[
                    TileRecord(projection=t.projection, rows=t.synapses.shape[0])
                    for t in program.tiles
                ],
                slot=slot,
            )
            for program, slot in zip(partitioned.cores, artifact.placement.slots, strict=True)
        ],
        budgets=list(artifact.budgets),
        chip=target_data(artifact.chip),
    )


def _population_record(population: IntegerPopulation) -> PopulationRecord:
    if isinstance(population, Input):
        return InputRecord(population=population)
    plain = {
        f.name: getattr(population, f.name)
        for f in fields(population)
        if f.name not in _ARRAYS[type(population)]
    }
    match population:
        case IntegerLif():
            return LifRecord(**plain)
        case IntegerRelay():
            return RelayRecord(**plain)
        case IntegerGate():
            return GateRecord(**plain)
