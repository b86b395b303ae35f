from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.networks import digits_like_network, random_payloads, recurrent_network, small_network
from support.spatial import spatial_network

from mapping.artifact.read import load_artifact, load_report
from mapping.artifact.schema import (
    CORES_FILE,
    MANIFEST_FILE,
    REPORT_FILE,
    ROUTES_FILE,
    SCHEMA,
    Artifact,
)
from mapping.artifact.write import write_artifact
from mapping.errors import ArtifactError, TargetError
from mapping.ir.checkpoint import fingerprint, save_network
from mapping.ir.network import Network
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.rules import check_rules
from mapping.semantics.int_net import run_integer_network

FILES = (MANIFEST_FILE, CORES_FILE, ROUTES_FILE, REPORT_FILE)
CHIP = tiny_chip(width=3, height=2, cores_per_tile=2)


def compiled(network: Network | None = None, **options: Any) -> CompileResult:
    """Four cores on two tiles."""
    made = CompileOptions(**{"neurons_per_core": 4, **options})
    return compile_network(network or small_network(), CHIP, made)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good artifact, written once; do not touch."""
    result = compiled()
    path = tmp_path_factory.mktemp("artifact") / "good"
    write_artifact(result.artifact, result.report, path)
    return path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the good artifact, to be spoilt."""
    return Path(shutil.copytree(original, tmp_path / "out"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def timeless(report: bytes) -> dict[str, Any]:
    """A report without the stage durations."""
    content: dict[str, Any] = json.loads(report)
    for stage in content["stages"]:
        assert stage.pop("seconds") >= 0
    return content


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest in place."""
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put ``content`` in the place of an array file, with the right checksum."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(folder, lambda m: m["files"].update({name: digest}))


@pytest.mark.parametrize(
    "network",
    [
        small_network(),
        small_network(biases=False),
        recurrent_network(),
        digits_like_network(),
        spatial_network(),
    ],
    ids=["small", "no biases", "recurrent", "digits", "every form of synapses"],
)
def test_writing_what_was_loaded_gives_the_same_bytes(network: Network, tmp_path: Path) -> None:
    result = compiled(network, neurons_per_core=16)
    write_artifact(result.artifact, result.report, tmp_path / "a")
    again = load_artifact(tmp_path / "a")
    write_artifact(again, load_report(tmp_path / "a"), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == set(FILES)


def test_a_loaded_program_is_the_one_that_was_written(original: Path) -> None:
    before, after = compiled().artifact, load_artifact(original)
    assert after.chip == before.chip
    assert after.placement == before.placement
    assert after.origin == before.origin
    assert after.origin.fingerprint() == before.origin.fingerprint()
    assert after.partitioned.projections == before.partitioned.projections
    assert after.partitioned.fidelity == before.partitioned.fidelity
    assert check_rules(after) == ()
    payloads = random_payloads(small_network())
    one, two = (run_integer_network(a.network, payloads) for a in (before, after))
    for name in one.spikes:
        np.testing.assert_array_equal(one.spikes[name], two.spikes[name])


def test_loaded_arrays_are_read_only(original: Path) -> None:
    artifact = load_artifact(original)
    with pytest.raises(ValueError, match="read-only"):
        artifact.partitioned.cores[0].tiles[0].synapses.values[0, 0] = 1


def test_compiling_twice_gives_the_same_bytes(original: Path, tmp_path: Path) -> None:
    result = compiled()
    write_artifact(result.artifact, result.report, tmp_path / "again")
    first, second = contents(original), contents(tmp_path / "again")
    for name in (MANIFEST_FILE, CORES_FILE, ROUTES_FILE):
        assert first[name] == second[name], name
    assert timeless(first[REPORT_FILE]) == timeless(second[REPORT_FILE])


def test_other_processes_compile_the_same_bytes(tmp_path: Path) -> None:
    """Sets and dictionaries are walked in another order when strings hash differently."""
    save_network(digits_like_network(rank=8, levels=(3, 8)), tmp_path / "model")
    script = (
        "import sys; from mapping.ir.checkpoint import load_network;"
        "from mapping.pipeline import CompileOptions, compile_network;"
        "from mapping.artifact.write import write_artifact;"
        "from mapping.targets.load import load_target;"
        "r = compile_network(load_network(sys.argv[1]), load_target('loihi2'),"
        "                    CompileOptions(neurons_per_core=7));"
        "write_artifact(r.artifact, r.report, sys.argv[2])"
    )
    written = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "model"), str(out)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
        )
        files = contents(out)
        written.append([files[name] for name in (MANIFEST_FILE, CORES_FILE, ROUTES_FILE)])
    assert written[0] == written[1]


def test_an_origin_tells_programs_apart() -> None:
    base = compiled().artifact.origin
    data = Calibration(payloads=random_payloads(small_network()))
    other_chip = compile_network(
        small_network(), tiny_chip(width=3, height=3), CompileOptions(neurons_per_core=4)
    )
    calibrated = compile_network(
        small_network(), CHIP, CompileOptions(neurons_per_core=4), calibration=data
    )
    others = [
        compiled(small_network(seed=1)),
        compiled(seed=1),
        compiled(rank=2),
        compiled(weight_bits=5),
        compiled(neurons_per_core=5),
        other_chip,
        calibrated,
    ]
    prints = {base.fingerprint(), *(r.artifact.origin.fingerprint() for r in others)}
    assert len(prints) == 1 + len(others)
    assert base.fingerprint() == compiled().artifact.origin.fingerprint()
    assert base.calibration_sha256 == ""
    assert base.network_sha256 == fingerprint(small_network())
    assert "check_rules" not in base.stages
    assert base.stages[-1] == "route"


def test_the_manifest_names_schema_tool_seed_and_checksums(original: Path) -> None:
    manifest = json.loads((original / MANIFEST_FILE).read_text())
    assert manifest["schema"] == SCHEMA
    assert manifest["origin"]["tool_version"]
    assert manifest["origin"]["seed"] == 0
    assert manifest["origin"]["options"]["neurons_per_core"] == 4
    for name in (CORES_FILE, ROUTES_FILE):
        digest = hashlib.sha256((original / name).read_bytes()).hexdigest()
        assert manifest["files"][name] == digest


@pytest.mark.parametrize("missing", [MANIFEST_FILE, CORES_FILE, ROUTES_FILE])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with refused(ArtifactError, "ADL-ART-02", where=str(folder / missing), remedy="compile -o"):
        load_artifact(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-ART-02", where=str(tmp_path / "nowhere")):
        load_artifact(tmp_path / "nowhere")
    with refused(ArtifactError, "ADL-ART-02", where=REPORT_FILE):
        load_report(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", [MANIFEST_FILE, CORES_FILE, ROUTES_FILE])
def test_a_truncated_file_is_named(folder: Path, name: str, kept: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))])
    with refused(ArtifactError, "ADL-ART-03", where=str(folder / name), remedy="compile"):
        load_artifact(folder)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_report_is_named(folder: Path, kept: float) -> None:
    content = (folder / REPORT_FILE).read_bytes()
    (folder / REPORT_FILE).write_bytes(content[: int(kept * len(content))])
    with refused(ArtifactError, "ADL-ART-03", where=REPORT_FILE, message="JSON"):
        load_report(folder)


@pytest.mark.parametrize("name", [CORES_FILE, ROUTES_FILE])
def test_a_changed_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with refused(ArtifactError, "ADL-ART-03", where=name, message="checksum"):
        load_artifact(folder)


def test_files_of_another_program_are_found(folder: Path, tmp_path: Path) -> None:
    result = compiled(small_network(seed=1))
    write_artifact(result.artifact, result.report, tmp_path / "other")
    shutil.copy(tmp_path / "other" / CORES_FILE, folder / CORES_FILE)
    with refused(ArtifactError, "ADL-ART-03", where=CORES_FILE, message="checksum"):
        load_artifact(folder)


@pytest.mark.parametrize("name", [CORES_FILE, ROUTES_FILE])
def test_a_file_that_is_no_archive_is_found(folder: Path, name: str) -> None:
    replace_file(folder, name, b"PK but no archive")
    with refused(ArtifactError, "ADL-ART-03", where=name, message="NumPy archive"):
        load_artifact(folder)


@pytest.mark.parametrize("key", ["core/3/tile/0/values", "population/hidden/bias_mantissa"])
def test_a_missing_array_is_named(folder: Path, key: str) -> None:
    with np.load(folder / CORES_FILE) as archive:
        arrays = {name: archive[name] for name in archive.files if name != key}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    replace_file(folder, CORES_FILE, packed.getvalue())
    with refused(ArtifactError, "ADL-ART-03", where=str(folder), message=key):
        load_artifact(folder)


SCHEMA_ERRORS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "later schema": (
        lambda m: m.update(schema="adlrns-artifact/5"),
        "of schema adlrns-artifact/5;",
    ),
    "no schema": (lambda m: m.pop("schema"), "schema"),
    "unknown field": (lambda m: m.update(colour="red"), "colour"),
    "unknown field of a projection": (
        lambda m: m["projections"][0].update(colour="red"),
        "projections.0.colour",
    ),
    "missing field": (lambda m: m["cores"][1].pop("slot"), "cores.1.slot"),
    "wrong type": (lambda m: m["projections"][0].update(exponent="x"), "projections.0.exponent"),
}


@pytest.mark.parametrize("case", SCHEMA_ERRORS)
def test_a_manifest_off_the_schema_names_the_entry(folder: Path, case: str) -> None:
    change, entry = SCHEMA_ERRORS[case]
    edit_manifest(folder, change)
    with refused(ArtifactError, "ADL-ART-04", where=MANIFEST_FILE, message=entry) as caught:
        load_artifact(folder)
    assert SCHEMA in caught.value.message


def test_an_incomplete_chip_in_the_manifest_is_named(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["chip"]["energy_j"].pop("spike"))
    with refused(TargetError, "ADL-TGT-03", where=MANIFEST_FILE, message="energy_j.spike"):
        load_artifact(folder)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a tile less": lambda m: m["cores"][1]["tiles"].pop(),
    "a compartment less": lambda m: m["cores"][3]["groups"][0].update(ranges=[[0, 2]]),
    "an unknown population on a core": lambda m: m["cores"][0]["groups"][0].update(
        population="nobody"
    ),
    "compartments beyond the population": lambda m: m["cores"][3]["groups"][0].update(
        ranges=[[0, 10**13]]
    ),
    "compartments twice": lambda m: m["cores"][3]["groups"][0].update(ranges=[[0, 2], [1, 3]]),
    "no compartments": lambda m: m["cores"][3]["groups"][0].update(ranges=[]),
    "a population twice on a core": lambda m: m["cores"][3]["groups"].append(
        m["cores"][3]["groups"][0]
    ),
    "rows beyond the tile": lambda m: m["cores"][3]["tiles"][0].update(rows=99),
    "a tile of an unknown projection": lambda m: m["cores"][0]["tiles"][0].update(projection=99),
    "an unknown source": lambda m: m["projections"][0].update(source="nobody"),
    "an unknown output": lambda m: m.update(output="nobody"),
    "no input": lambda m: m["populations"].pop(0),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_manifest_that_contradicts_itself_is_found(folder: Path, case: str) -> None:
    """Else the design rules pass a program that lost a tile, and backends crash or run it."""
    edit_manifest(folder, CHANGES[case])
    with refused(ArtifactError, "ADL-ART-03", where=str(folder)):
        load_artifact(folder)


def test_writing_over_an_artifact_replaces_it(folder: Path) -> None:
    result = compiled(small_network(seed=1))
    (folder / "leftover.txt").write_text("of the old run")
    write_artifact(result.artifact, result.report, folder)
    assert set(contents(folder)) == set(FILES)
    assert load_artifact(folder).origin == result.artifact.origin
    assert [p.name for p in folder.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    result = compiled()
    (tmp_path / "out").mkdir()
    write_artifact(result.artifact, result.report, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == set(FILES)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    result = compiled()
    write_artifact(result.artifact, result.report, str(tmp_path / "a" / "b" / "out"))
    assert load_artifact(tmp_path / "a" / "b" / "out").origin == result.artifact.origin


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    """The report comes last, and this one cannot be written."""
    result = compiled()
    with pytest.raises(TypeError):
        write_artifact(result.artifact, {"not": object()}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_keeps_the_old_artifact(folder: Path) -> None:
    before = contents(folder)
    result = compiled(small_network(seed=1))
    with pytest.raises(TypeError):
        write_artifact(result.artifact, {"not": object()}, folder)
    assert contents(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == ["out"]


def test_a_network_is_put_together_from_its_tiles_once(original: Path) -> None:
    artifact: Artifact = load_artifact(original)
    assert artifact.network is artifact.network
    moved = replace(artifact, placement=artifact.placement)
    assert moved.network is not artifact.network
