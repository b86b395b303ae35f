"""Read a compiled program back, checking every file first."""

from __future__ import annotations

import io
import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mapping.artifact.archive import Arrays
from mapping.artifact.schema import (
    CORES_FILE,
    MANIFEST_FILE,
    REPORT_FILE,
    REPORT_SCHEMA,
    ROUTES_FILE,
    SCHEMA,
    SYNAPSE_ARRAYS,
    Artifact,
    GateRecord,
    InputRecord,
    LifRecord,
    ManifestRecord,
    PopulationRecord,
    RelayRecord,
    TileRecord,
)
from mapping.errors import ArtifactError
from mapping.intake import npz_arrays
from mapping.ir.partitioned import CoreProgram, PartitionedNetwork, SynapseTile
from mapping.ir.placed import Placement
from mapping.ir.quantized import (
    IntegerGate,
    IntegerLif,
    IntegerPopulation,
    IntegerRelay,
    ProjectionSpec,
)
from mapping.ir.routed import Routing
from mapping.ir.synapses import ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from mapping.ir.verify import partition_faults
from mapping.targets.load import parse_target

_AGAIN = "compile the network again or copy the whole folder"


def load_artifact(path: Path | str) -> Artifact:
    """The compiled program in the folder ``path``.

    Raises:
        ArtifactError: a file is missing (ADL-ART-02), truncated or changed (ADL-ART-03), or of
            another schema (ADL-ART-04).
        TargetError: ADL-TGT-03, the stored chip description is incomplete.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    cores = _read_arrays(folder, CORES_FILE, manifest)
    routes = _read_arrays(folder, ROUTES_FILE, manifest)
    try:
        partitioned = PartitionedNetwork(
            name=manifest.name,
            dt_s=manifest.dt_s,
            populations=tuple(_population(r, cores) for r in manifest.populations),
            projections=tuple(manifest.projections),
            output=manifest.output,
            fidelity=tuple(manifest.fidelity),
            cores=tuple(
                CoreProgram(
                    groups=tuple(record.groups),
                    tiles=tuple(
                        SynapseTile(
                            projection=tile.projection,
                            synapses=_synapses(
                                manifest.projections[tile.projection],
                                tile,
                                {
                                    name: cores[f"core/{core}/tile/{number}/{name}"]
                                    for name in SYNAPSE_ARRAYS[
                                        manifest.projections[tile.projection].form
                                    ]
                                },
                            ),
                        )
                        for number, tile in enumerate(record.tiles)
                    ),
                )
                for core, record in enumerate(manifest.cores)
            ),
        )
        routing = Routing(
            source=routes["source"],
            target=routes["target"],
            offsets=routes["offsets"],
            links=routes["links"],
        )
    except KeyError as error:
        raise _damaged(folder, f"lacks the array {error}") from error
    except IndexError as error:
        raise _damaged(folder / MANIFEST_FILE, "names an unknown projection") from error
    rows = [tile.rows for record in manifest.cores for tile in record.tiles]
    if rows != [tile.synapses.shape[0] for core in partitioned.cores for tile in core.tiles]:
        raise _damaged(folder / MANIFEST_FILE, "contradicts the arrays: a tile has other rows")
    fault = next(partition_faults(partitioned), None)
    if fault:
        raise _damaged(folder / MANIFEST_FILE, f"contradicts itself: {fault}")
    return Artifact(
        chip=parse_target(manifest.chip, where=str(folder / MANIFEST_FILE)),
        partitioned=partitioned,
        placement=Placement(slots=tuple(record.slot for record in manifest.cores)),
        routing=routing,
        origin=manifest.origin,
        budgets=tuple(manifest.budgets),
    )


def load_report(path: Path | str) -> dict[str, object]:
    """The report beside a compiled program.

    Raises:
        ArtifactError: it is missing (ADL-ART-02) or not JSON (ADL-ART-03).
    """
    content = _read(Path(path), REPORT_FILE)
    try:
        report: dict[str, object] = json.loads(content)
    except ValueError as error:
        raise _damaged(Path(path) / REPORT_FILE, f"is not JSON ({error})") from error
    if not isinstance(report, dict) or report.get("schema") != REPORT_SCHEMA:
        raise _damaged(Path(path) / REPORT_FILE, f"is not a report of schema {REPORT_SCHEMA}")
    return report


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot be read ({error.strerror})",
            where=str(folder / name),
            remedy="give a folder that `adlrns-map compile -o` wrote",
            code="ADL-ART-02",
        ) from error


def _read_manifest(folder: Path) -> ManifestRecord:
    content = _read(folder, MANIFEST_FILE)
    try:
        return ManifestRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            message = f"is truncated or not JSON ({first['msg']})"
            raise _damaged(folder / MANIFEST_FILE, message) from error
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        message = f"{place}: {first['msg']}"
        if place == "schema" and first["type"] == "literal_error":
            message = f"is of schema {first['input']}"
        raise ArtifactError(
            f"{message}; this version reads schema {SCHEMA}",
            where=str(folder / MANIFEST_FILE),
            remedy=_AGAIN,
            code="ADL-ART-04",
        ) from error


def _damaged(path: Path, message: str) -> ArtifactError:
    return ArtifactError(message, where=str(path), remedy=_AGAIN, code="ADL-ART-03")


def _read_arrays(folder: Path, name: str, manifest: ManifestRecord) -> Arrays:
    content = _read(folder, name)
    if sha256(content).hexdigest() != manifest.files.get(name):
        raise _damaged(
            folder / name, "is truncated or changed: its checksum is not the one in the manifest"
        )
    return npz_arrays(io.BytesIO(content), len(content), partial(_damaged, folder / name))


def _synapses(spec: ProjectionSpec, tile: TileRecord, arrays: Arrays) -> Synapses:
    if spec.form == "sparse":
        return SparseSynapses(**arrays, height=tile.rows)
    if spec.form == "conv" and spec.conv is not None:
        return ConvSynapses(**arrays, conv=spec.conv)
    return DenseSynapses(**arrays)


def _population(record: PopulationRecord, arrays: Arrays) -> IntegerPopulation:
    if isinstance(record, InputRecord):
        return record.population
    plain = record.model_dump(exclude={"kind"})

    def array(name: str) -> Any:
        return arrays[f"population/{record.name}/{name}"]

    match record:
        case LifRecord():
            return IntegerLif(**plain, bias_mantissa=array("bias_mantissa"))
        case RelayRecord():
            return IntegerRelay(**plain, threshold=array("threshold"), bias=array("bias"))
        case GateRecord():
            return IntegerGate(**plain, bias=array("bias"), cost=array("cost"))
