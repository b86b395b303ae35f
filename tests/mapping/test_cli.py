from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file
from support.chips import as_toml, limit, tiny_chip
from support.networks import (
    changed,
    digits_like_network,
    random_payloads,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.artifact.read import load_artifact, load_report
from mapping.artifact.write import write_artifact
from mapping.cli import build_app, run
from mapping.explain import catalogue, explain
from mapping.ir.checkpoint import DESCRIPTION_FILE, TENSOR_FILE, save_network
from mapping.ir.network import RankGate
from mapping.nir import write_nir
from mapping.pipeline import CompileOptions, compile_network
from mapping.placement import PLACERS
from mapping.targets.load import load_target, target_data, target_names


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be JSON and nothing else."""
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """Stderr without the line breaks of a narrow terminal."""
        return " ".join(self.err.split())


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; nothing may escape it."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the checkpoint ``model``; relative paths keep the messages short."""
    monkeypatch.chdir(tmp_path)
    save_network(small_network(), "model")
    return tmp_path


def compile_to(folder: str, **options: Any) -> None:
    """Write an artifact without the command line."""
    result = compile_network(small_network(), load_target("loihi2"), CompileOptions(**options))
    write_artifact(result.artifact, result.report, folder)


def assert_refused(outcome: Outcome, code: int, error: str, *words: str) -> None:
    """One clear error on stderr, and nothing half-written beside the model."""
    assert outcome.code == code
    assert outcome.err.startswith(error + " · ")
    assert outcome.err.count("ADL-") == 1
    assert outcome.err.count("Remedy:") == 1
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.message
    assert outcome.out == ""


def left() -> set[str]:
    """What lies in the work place."""
    return {path.name for path in Path().iterdir()}


def test_compile_writes_a_program_and_tells_what_it_costs(cli: Any) -> None:
    outcome = cli("compile", "model", "-o", "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits-like on loihi2: 15 neurons" in outcome.out
    assert "Written to out" in outcome.out
    for layer in ("enc", "dec"):
        assert layer in outcome.out
    assert load_artifact("out").origin.options["rank"] is None
    assert left() == {"model", "out"}


def test_compile_json_is_the_report_alone(cli: Any) -> None:
    outcome = cli("compile", "model", "-o", "out", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json == load_report("out")
    assert {"network", "cores", "noc", "estimate", "diagnostics", "stages"} <= set(outcome.json)


def test_every_command_takes_json() -> None:
    top: Any = typer.main.get_command(build_app(None))
    found = {}
    for name, command in top.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {k}": c for k, c in inner.items()} if inner else {name: command}
    lacking = [n for n, c in found.items() if not any("--json" in p.opts for p in c.params)]
    assert not lacking
    assert {"compile", "targets show", "simulate"} <= set(found)


def test_a_program_on_several_chips_says_on_how_many(cli: Any) -> None:
    chip = tiny_chip(width=2, height=1, cores_per_tile=2, usable_cores=3, chips=(1, 3))
    Path("mine.toml").write_text(as_toml(chip))
    options = ("--target", "mine.toml", "--neurons-per-core", "3")
    compiled = cli("compile", "model", "-o", "out", *options)
    assert "5 of 9 cores on 2 chips" in compiled.out
    shown = cli("inspect", "out")
    assert "5 of 9 cores on 2 chips" in shown.out
    assert "1:0,0" in shown.out
    assert cli("check", "out").code == 0
    assert "on 1 chip" not in cli("compile", "model", "-o", "out").out


@pytest.mark.parametrize(("name", "grid"), [("kapoho-point", "(2, 4)"), ("hala-point", "(32, 36)")])
def test_the_grid_of_chips_is_shown(cli: Any, name: str, grid: str) -> None:
    assert name in cli("targets", "list").out
    shown = cli("targets", "show", name)
    assert shown.code == 0
    assert grid in shown.out
    assert "energy_j.hop_chip" in shown.out
    assert cli("targets", "validate", name).code == 0


def test_every_option_reaches_the_compiler(cli: Any) -> None:
    Path("mine.toml").write_text(as_toml(tiny_chip(compartments=8)))
    np.savez("x.npz", spikes=random_payloads(small_network()))
    outcome = cli(
        *("compile", "model", "--output", "out", "--target", "mine.toml"),
        *("--calibration", "x.npz", "--rank", "2", "--weight-bits", "6,de*=4"),
        *("--neurons-per-core", "3", "--partitioner", "first-fit", "--placer", "raster"),
        *("--time-limit", "60", "--seed", "7", "--json"),
    )
    assert outcome.code == 0
    artifact, report = load_artifact("out"), outcome.json
    assert artifact.origin.seed == 7
    assert artifact.origin.options == {
        "rank": 2,
        "max_accuracy_drop": None,
        "weight_bits": 6,
        "layer_weight_bits": "de*=4",
        "neurons_per_core": 3,
        "partitioner": "first-fit",
        "optimise": "energy",
        "placer": "raster",
        "time_limit_s": 60.0,
    }
    assert report["noc"]["search_stopped"] is False
    assert artifact.origin.calibration_sha256
    assert artifact.chip.name == report["target"] == "tiny"
    assert report["network"]["layers"][0]["rank"] == 2
    assert [layer["weight_bits"] for layer in report["network"]["layers"]] == [6, 4]
    assert report["noc"]["traffic"] == "measured"
    assert max(core["neurons"] for core in report["cores"]["per_core"]) == 3


@pytest.mark.parametrize("text", ["", "x", "6,7", "=4", "enc=", "enc=4.5", "enc", "-3"])
def test_weight_bits_that_are_no_list_are_refused(cli: Any, text: str) -> None:
    outcome = cli("compile", "model", "-o", "out", f"--weight-bits={text}", "--json")
    assert (outcome.code, outcome.json["diagnostics"][0]["code"]) == (2, "ADL-CFG-04")
    assert outcome.json["diagnostics"][0]["where"] == "--weight-bits"
    assert not Path("out").exists()


@pytest.mark.parametrize(("text", "rank"), [("4", 4), ("2", 2), ("0.25", 2), (".125", 1)])
def test_a_rank_is_a_number_or_with_a_point_a_fraction(cli: Any, text: str, rank: int) -> None:
    outcome = cli("compile", "model", "-o", "out", "--rank", text, "--json")
    assert outcome.json["network"]["layers"][0]["rank"] == rank


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5", "nan", ""])
def test_a_rank_that_is_neither_is_refused(cli: Any, text: str) -> None:
    outcome = cli("compile", "model", "-o", "out", f"--rank={text}")
    assert_refused(outcome, 2, "ADL-CFG-02", "--rank", "0.25")
    assert left() == {"model"}


def test_compiling_twice_replaces_the_program(cli: Any) -> None:
    cli("compile", "model", "-o", "out")
    assert cli("compile", "model", "-o", "out", "--rank", "2").code == 0
    assert load_artifact("out").origin.options["rank"] == 2
    assert left() == {"model", "out"}


def test_a_recurrent_model_compiles(cli: Any) -> None:
    save_network(recurrent_network(), "loop")
    assert cli("compile", "loop", "-o", "out").code == 0


def test_an_exported_model_compiles_to_the_same_program(cli: Any) -> None:
    outcome = cli("export", "model", "-o", "model.nir")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "Written to model.nir: steps of 1 ms, reset to zero\n"
    assert cli("export", "model", "-o", "model.nir", "--json").json == {
        "network": "digits-like",
        "dt": 1e-3,
        "file": "model.nir",
    }
    cli("compile", "model", "-o", "out")
    outcome = cli("compile", "model.nir", "-o", "again")
    assert (outcome.code, outcome.err) == (0, "")
    one, other = load_artifact("out"), load_artifact("again")
    assert one.origin.network_sha256 == other.origin.network_sha256
    for before, after in zip(one.network.projections, other.network.projections, strict=True):
        np.testing.assert_array_equal(before.mantissas, after.mantissas)


def test_the_conventions_of_a_nir_model_are_printed_and_kept(cli: Any) -> None:
    write_nir(small_network(), "x.nir")
    assert "Read from NIR" not in cli("compile", "model", "-o", "out").out
    given = ("--dt", "1e-4", "--reset", "zero", "--integration", "exp", "--cuba-order", "previous")
    outcome = cli("compile", "x.nir", "-o", "out", *given)
    read = "Read from NIR with dt 0.0001, reset zero, integration exp, cuba_order previous\n"
    assert read in outcome.out
    assert read in cli("inspect", "out").out
    conventions = {
        "format": "NIR",
        "dt": 1e-4,
        "dt_from": "option",
        "reset": "zero",
        "integration": "exp",
        "cuba_order": "previous",
    }
    assert load_report("out")["network"]["conventions"] == conventions
    assert conventions.items() <= load_artifact("out").origin.options.items()


def test_conventions_that_are_not_given_are_the_files_or_the_usual(cli: Any) -> None:
    write_nir(small_network(), "x.nir")
    report = cli("compile", "x.nir", "-o", "out", "--json").json
    usual = {"reset": "zero", "integration": "euler", "cuba_order": "new"}
    step = {"dt": 1e-3, "dt_from": "file"}
    assert report["network"]["conventions"] == {"format": "NIR", **step, **usual}


def test_a_step_that_nobody_gave_is_said_to_be_assumed(cli: Any) -> None:
    network = small_network()
    write_nir(network, "x.nir")
    with h5py.File("x.nir", "r+") as file:
        del file["node/metadata/dt"]
    outcome = cli("compile", "x.nir", "-o", "out")
    assert "Read from NIR with dt 0.0001 s (assumed; set it with --dt), reset zero" in outcome.out
    assert load_report("out")["network"]["conventions"]["dt_from"] == "assumed"


@pytest.mark.parametrize(
    "option",
    [("--dt", "1e-4"), ("--reset", "zero"), ("--integration", "exp"), ("--cuba-order", "new")],
)
def test_a_checkpoint_takes_no_conventions(cli: Any, option: tuple[str, str]) -> None:
    outcome = cli("compile", "model", "-o", "out", *option)
    assert_refused(outcome, 2, "ADL-NIR-10", option[0], "checkpoint", "NIR")
    assert left() == {"model"}


@pytest.mark.parametrize(
    ("model", "option", "error", "words"),
    [
        ("x.nir", ("--reset", "subtract"), "ADL-NIR-03", ("--reset", "resets to zero")),
        ("x.nir", ("--reset", "hard"), "ADL-NIR-02", ("--reset", "zero, subtract")),
        ("x.nir", ("--dt", "0"), "ADL-NIR-02", ("--dt", "1e-4")),
        ("no.nir", (), "ADL-NIR-01", ("no.nir", "no such file")),
        ("text.hdf5", (), "ADL-NIR-01", ("text.hdf5", "damaged")),
    ],
)
def test_a_nir_model_that_cannot_be_read_is_named(
    cli: Any, model: str, option: tuple[str, ...], error: str, words: tuple[str, ...]
) -> None:
    write_nir(small_network(), "x.nir")
    Path("text.hdf5").write_text("hello")
    assert_refused(cli("compile", model, "-o", "out", *option), 2, error, *words)
    assert left() == {"model", "x.nir", "text.hdf5"}


def test_a_checkpoint_folder_may_end_in_nir(cli: Any) -> None:
    save_network(small_network(), "folder.nir")
    assert cli("compile", "folder.nir", "-o", "out").code == 0


def test_a_model_that_nir_cannot_express_is_not_exported(cli: Any) -> None:
    save_network(relay_network(), "hand")
    assert_refused(cli("export", "hand", "-o", "x.nir"), 2, "ADL-NIR-09", "z", "LowRank")
    assert left() == {"model", "hand"}


REFUSED: dict[str, tuple[tuple[str, ...], int, str, tuple[str, ...]]] = {
    "unknown target": (("--target", "lohi2"), 2, "ADL-TGT-01", ("lohi2", "did you mean 'loihi2'")),
    "missing target file": (("--target", "no.toml"), 2, "ADL-TGT-01", ("no.toml",)),
    "unknown partitioner": (("--partitioner", "x"), 2, "ADL-CFG-01", ("first-fit",)),
    "no time to place": (("--time-limit", "0"), 2, "ADL-PLC-02", ("time_limit_s", "positive")),
    "unknown placer": (("--placer", "x"), 2, "ADL-CFG-01", ("raster",)),
    "rank beyond the model": (("--rank", "5"), 2, "ADL-CFG-02", ("enc", "1..4", "[2, 4]")),
    "too many weight bits": (("--weight-bits", "9"), 2, "ADL-CFG-04", ("2 to 8",)),
    "no neuron per core": (("--neurons-per-core", "0"), 2, "ADL-CFG-05", ("1 to 4096",)),
    "missing calibration": (("--calibration", "no.npz"), 2, "ADL-INP-05", ("no.npz", "No such")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_option_is_named(cli: Any, case: str) -> None:
    options, code, error, words = REFUSED[case]
    assert_refused(cli("compile", "model", "-o", "out", *options), code, error, *words)
    assert left() == {"model"}


def test_json_holds_the_diagnostics_of_a_refusal(cli: Any) -> None:
    outcome = cli("compile", "model", "-o", "out", "--rank", "5", "--json")
    assert outcome.code == 2
    assert outcome.err.startswith("ADL-CFG-02")
    (row,) = outcome.json["diagnostics"]
    assert set(row) == {"code", "severity", "where", "message", "remedy"}
    assert (row["code"], row["where"]) == ("ADL-CFG-02", "enc")


TOO_SMALL: dict[str, tuple[dict[str, int], str, str]] = {
    "synapse memory": ({"synapse_words": 5}, "ADL-CAP-08", "needs 12 synapse words"),
    "input axons": ({"input_axons": 5}, "ADL-CAP-08", "needs 12 input axons"),
    "output axons": ({"compartments": 4, "output_axons": 4}, "ADL-CAP-04", "output axons"),
    "cores": ({"compartments": 2, "usable_cores": 3}, "ADL-CAP-06", "needs 8 cores, tiny has 3"),
}


@pytest.mark.parametrize("case", TOO_SMALL)
def test_a_model_that_does_not_fit_exits_with_three(cli: Any, case: str) -> None:
    limits, error, word = TOO_SMALL[case]
    Path("mine.toml").write_text(as_toml(tiny_chip(**limits)))
    plain = cli("compile", "model", "-o", "out", "--target", "mine.toml")
    assert_refused(plain, 3, error, word)
    as_json = cli("compile", "model", "-o", "out", "--target", "mine.toml", "--json")
    assert as_json.code == 3
    (row,) = as_json.json["diagnostics"]
    assert row["code"] == error
    for fix in row["fixes"]:
        option, value = f"--{fix['option'].replace('_', '-')}", str(fix["value"])
        assert f"{option} {value} fits: {fix['cores_used']} of " in row["remedy"]
        assert fix["utilisation"] <= 1
    assert row["fixes"][0]["option"] == "target"
    assert left() == {"model", "mine.toml"}


def test_a_chip_without_graded_spikes_is_refused(cli: Any) -> None:
    Path("mine.toml").write_text(as_toml(tiny_chip(graded_spikes=False)))
    outcome = cli("compile", "model", "-o", "out", "--target", "mine.toml")
    assert_refused(outcome, 2, "ADL-MDL-01", "in", "graded")


def test_an_incomplete_target_is_named(cli: Any) -> None:
    text = as_toml(tiny_chip()).replace("[core.word_bits]", "[core.word_bit]")
    Path("mine.toml").write_text(text)
    assert_refused(cli("targets", "validate", "mine.toml"), 2, "ADL-TGT-03", "core.word_bit")


@pytest.mark.parametrize("content", [b"name =", b"\xff\xfe\x00"])
def test_a_target_that_is_not_toml_is_named(cli: Any, content: bytes) -> None:
    Path("mine.toml").write_bytes(content)
    outcome = cli("compile", "model", "-o", "out", "--target", "mine.toml")
    assert_refused(outcome, 2, "ADL-TGT-02", "mine.toml")


def test_a_missing_model_is_named(cli: Any) -> None:
    outcome = cli("compile", "modell", "-o", "out")
    assert_refused(outcome, 2, "ADL-MDL-06", "modell", ".nir or .net file")
    Path("modell").mkdir()
    outcome = cli("compile", "modell", "-o", "out")
    assert_refused(outcome, 2, "ADL-CKP-01", "modell/network.json", "tensors.safetensors")
    Path("modell").rmdir()
    assert left() == {"model"}


@pytest.mark.parametrize("kept", [0, 9, 500])
def test_a_truncated_model_is_named(cli: Any, kept: int) -> None:
    path = Path("model") / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:kept])
    outcome = cli("compile", "model", "-o", "out")
    assert_refused(outcome, 2, "ADL-CKP-02", "model/tensors.safetensors", "truncated")
    assert left() == {"model"}


def test_a_truncated_description_is_named(cli: Any) -> None:
    path = Path("model") / DESCRIPTION_FILE
    path.write_bytes(path.read_bytes()[:100])
    outcome = cli("compile", "model", "-o", "out")
    assert_refused(outcome, 2, "ADL-CKP-03", "model/network.json")


def test_weights_that_are_nan_are_named(cli: Any) -> None:
    tensors = load_file(Path("model") / TENSOR_FILE)
    tensors["dec/weight"][2, 3] = np.nan
    save_file(tensors, Path("model") / TENSOR_FILE)
    outcome = cli("compile", "model", "-o", "out")
    assert_refused(outcome, 2, "ADL-NET-05", "dec: weight holds 1 NaN", "(2, 3)")
    assert left() == {"model"}


CALIBRATIONS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no spikes": ({"x": np.zeros((2, 3, 12), int)}, "ADL-INP-06"),
    "another shape": ({"spikes": np.zeros((2, 3, 13), int)}, "ADL-INP-01"),
    "floats": ({"spikes": np.zeros((2, 3, 12))}, "ADL-INP-02"),
    "out of range": ({"spikes": np.full((2, 3, 12), 4)}, "ADL-INP-03"),
}


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_unsuitable_calibration_is_named(cli: Any, case: str) -> None:
    arrays, error = CALIBRATIONS[case]
    np.savez("x.npz", **arrays)
    outcome = cli("compile", "model", "-o", "out", "--calibration", "x.npz")
    assert_refused(outcome, 2, error, "x.npz")
    assert left() == {"model", "x.npz"}


def test_a_foreign_folder_is_not_overwritten(cli: Any) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    outcome = cli("compile", "model", "-o", "thesis")
    assert_refused(outcome, 2, "ADL-ART-01", "thesis", "manifest.json")
    assert Path("thesis/chapter.tex").read_text() == "years of work"
    assert_refused(cli("compile", "model", "-o", "model"), 2, "ADL-ART-01", "model")
    assert left() == {"model", "thesis"}


@pytest.mark.parametrize("output", ["file", "file/out", "/proc/adlrns/out", "link"])
def test_an_output_that_cannot_be_written_is_named(cli: Any, output: str) -> None:
    Path("file").write_text("mine")
    Path("link").symlink_to("nowhere")
    outcome = cli("compile", "model", "-o", output)
    assert_refused(outcome, 2, "ADL-ART-01", output)
    assert left() == {"model", "file", "link"}


@pytest.mark.parametrize("output", ["out[bold]", "out[/bold]", "out [x]", "aus gäbe"])
def test_an_output_may_have_any_name(cli: Any, output: str) -> None:
    outcome = cli("compile", "model", "-o", output)
    assert outcome.code == 0
    assert f"Written to {output}" in outcome.out
    assert load_artifact(output).partitioned.name == "digits-like"


@pytest.mark.parametrize("name", ["[/bold]", "[red]net", "a\\[b]"])
def test_a_network_and_its_layers_may_have_any_name(cli: Any, name: str) -> None:
    network = small_network()
    enc, dec = network.projections
    renamed = replace(network, name=name, projections=(enc, replace(dec, name=name, layer=name)))
    save_network(renamed, "named")
    outcome = cli("compile", "named", "-o", "out")
    assert outcome.code == 0
    assert outcome.out.count(name) == 2, "once as the network, once as a layer"


def test_check_passes_what_the_compiler_made(cli: Any) -> None:
    compile_to("out")
    outcome = cli("check", "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "All design rules hold" in outcome.out
    assert cli("check", "out", "--json").json == {"diagnostics": []}


def test_check_reports_every_violation_and_exits_with_three(cli: Any) -> None:
    options = CompileOptions(neurons_per_core=4)
    result = compile_network(small_network(), tiny_chip(), options)
    chip = result.artifact.chip
    narrow = replace(chip, core=replace(chip.core, compartments=limit(3), input_axons=limit(11)))
    write_artifact(replace(result.artifact, chip=narrow), result.report, "out")
    outcome = cli("check", "out")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.count("ADL-CAP-01") == 3
    assert outcome.err.count("ADL-CAP-03") == 1
    as_json = cli("check", "out", "--json")
    assert as_json.code == 3
    assert [row["code"] for row in as_json.json["diagnostics"]] == ["ADL-CAP-01"] * 3 + [
        "ADL-CAP-03"
    ]


def test_check_lets_a_warning_pass(cli: Any) -> None:
    chip = tiny_chip(numeric={"activation_bits": 8})
    result = compile_network(recurrent_network(), chip, CompileOptions())
    write_artifact(result.artifact, result.report, "out")
    outcome = cli("check", "out")
    assert outcome.code == 0
    assert outcome.err.startswith("ADL-NUM-06")
    assert cli("check", "out", "--json").json["diagnostics"][0]["severity"] == "warning"
    assert "ADL-NUM-06" in cli("inspect", "out").out


def test_explain_says_all_of_a_code(cli: Any) -> None:
    outcome = cli("explain", "adl-cap-02")
    text = explain("ADL-CAP-02")
    assert outcome.code == 0
    assert outcome.out.startswith(f"ADL-CAP-02 · {text.title}\n\n{text.means}\n")
    for heading, words in (("Why", text.why), ("Fix", text.fix), ("Example", text.example)):
        assert f"\n{heading}: {words}\n" in outcome.out
    (row,) = cli("explain", "ADL-CAP-02", "--json").json
    assert row == {"code": "ADL-CAP-02"} | asdict(text)


def test_explain_without_a_code_lists_all(cli: Any) -> None:
    lines = cli("explain").out.splitlines()
    assert lines == [f"{code}  {text.title}" for code, text in catalogue().items()]
    rows = cli("explain", "--json").json
    assert [row["code"] for row in rows] == list(catalogue())


def test_an_unknown_code_is_refused_with_the_nearest(cli: Any) -> None:
    outcome = cli("explain", "ADL-CAP-22")
    assert outcome.code == 2
    assert outcome.err.startswith("ADL-XPL-01 · explain: there is no error or design rule")
    assert "did you mean ADL-CAP-02?" in outcome.message
    (row,) = cli("explain", "ADL-CAP-22", "--json").json["diagnostics"]
    assert row["code"] == "ADL-XPL-01"


def test_fit_says_how_full_every_chip_is(cli: Any) -> None:
    outcome = cli("fit", "model")
    assert outcome.code == 0
    for name in target_names():
        assert name in outcome.out
    assert "1 of 120" in outcome.out
    assert "loihi1: ADL-MDL-01" in outcome.out
    rows = {row["target"]: row for row in cli("fit", "model", "--json").json["targets"]}
    assert set(rows) == set(target_names())
    assert rows["loihi2"]["fits"]
    assert rows["loihi2"]["cores_used"] == 1
    assert rows["loihi2"]["cores_available"] == 120
    assert 0 < rows["loihi2"]["busiest"]["synapse_words"] < 1
    assert rows["loihi2"]["diagnostics"] == []
    assert not rows["loihi1"]["fits"]
    assert [d["code"] for d in rows["loihi1"]["diagnostics"]] == ["ADL-MDL-01"]


def test_fit_takes_the_options_of_the_compiler(cli: Any) -> None:
    more = ("--neurons-per-core", "2", "--rank", "2", "--weight-bits", "6")
    (row,) = cli("fit", "model", "--target", "loihi2", *more, "--json").json["targets"]
    assert row["cores_used"] == 7
    words = row["busiest"]["synapse_words"]
    (wider,) = cli("fit", "model", "--target", "loihi2", *more[:4], "--json").json["targets"]
    assert words <= wider["busiest"]["synapse_words"]


def test_fit_exits_with_three_if_no_target_does(cli: Any) -> None:
    Path("mine.toml").write_text(as_toml(tiny_chip(synapse_words=11)))
    both = cli("fit", "model", "--target", "mine.toml", "--target", "loihi2")
    assert "As it is, " in both.out
    assert " fits loihi2\n" in both.out
    outcome = cli("fit", "model", "--target", "mine.toml")
    assert "fits none of these targets" in outcome.out
    assert outcome.code == 3
    assert "tiny: ADL-CAP-08 · enc/V.0:" in outcome.out
    (row,) = cli("fit", "model", "--target", "mine.toml", "--json").json["targets"]
    assert "fixes" in row["diagnostics"][0]
    assert cli("fit", "model", "--target", "mine.toml", "--target", "loihi2").code == 0
    assert cli("fit", "model", "--partitioner", "none").code == 2


def test_inspect_shows_the_report(cli: Any) -> None:
    compile_to("out", neurons_per_core=4)
    outcome = cli("inspect", "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits-like on loihi2" in outcome.out
    assert cli("inspect", "out", "--json").json == load_report("out")


@pytest.mark.parametrize("command", ["check", "inspect"])
@pytest.mark.parametrize(
    ("file", "kept", "error"),
    [
        ("manifest.json", None, "ADL-ART-02"),
        ("cores.npz", None, "ADL-ART-02"),
        ("routes.npz", None, "ADL-ART-02"),
        ("manifest.json", 50, "ADL-ART-03"),
        ("cores.npz", 50, "ADL-ART-03"),
        ("routes.npz", 50, "ADL-ART-03"),
    ],
)
def test_a_damaged_program_is_named(
    cli: Any, command: str, file: str, kept: int | None, error: str
) -> None:
    compile_to("out")
    path = Path("out") / file
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept])
    assert_refused(cli(command, "out"), 2, error, f"out/{file}")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_report_is_named(cli: Any, content: str) -> None:
    compile_to("out")
    Path("out/report.json").write_text(content)
    assert cli("check", "out").code == 0
    assert_refused(cli("inspect", "out"), 2, "ADL-ART-03", "out/report.json")


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_a_folder_that_is_no_program_is_named(cli: Any, command: str) -> None:
    assert_refused(cli(command, "model"), 2, "ADL-ART-02", "model/manifest.json")
    assert_refused(cli(command, "nowhere"), 2, "ADL-ART-02", "nowhere/manifest.json")


def test_targets_list_names_every_target(cli: Any) -> None:
    outcome = cli("targets", "list")
    assert outcome.code == 0
    for name in target_names():
        assert f"{name}: " in outcome.out
    rows = cli("targets", "list", "--json").json
    assert [row["name"] for row in rows] == list(target_names())
    assert all(row["description"] for row in rows)


@pytest.mark.parametrize("name", target_names())
def test_targets_show_prints_every_figure(cli: Any, name: str) -> None:
    outcome = cli("targets", "show", name)
    assert outcome.code == 0
    chip = load_target(name)
    for entry in chip.constants():
        assert entry in outcome.out, "an entry's name must not be cut"
    shown = cli("targets", "show", name, "--json").json
    assert shown == json.loads(json.dumps(target_data(chip)))


def test_targets_show_prints_sources_as_they_are(cli: Any) -> None:
    chip = tiny_chip()
    quoted = replace(chip.core.word_bits, source="see [brief] and [/link]")
    chip = replace(chip, description="[mine] chip", core=replace(chip.core, word_bits=quoted))
    Path("mine.toml").write_text(as_toml(chip))
    outcome = cli("targets", "show", "mine.toml")
    assert outcome.code == 0
    assert "[mine] chip" in outcome.out
    assert "[brief]" in outcome.out
    assert "[/link]" in outcome.out


def test_targets_validate_accepts_a_complete_file(cli: Any) -> None:
    Path("mine.toml").write_text(as_toml(tiny_chip()))
    outcome = cli("targets", "validate", "mine.toml")
    assert (outcome.code, outcome.err) == (0, "")
    assert "tiny is complete" in outcome.out
    valid = cli("targets", "validate", "mine.toml", "--json").json
    assert valid == {"name": "tiny", "valid": True}


@pytest.mark.parametrize(
    "arguments",
    [
        ("compil", "model"),
        ("compile",),
        ("compile", "model"),
        ("compile", "model", "-o"),
        ("compile", "model", "-o", "out", "--seed", "x"),
        ("compile", "model", "-o", "out", "--bogus"),
        ("compile", "model", "more", "-o", "out"),
        ("check",),
        ("targets", "lst"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(cli: Any, arguments: tuple[str, ...]) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Error: " in outcome.err
    assert "Internal" not in outcome.err
    assert "Traceback" not in outcome.err
    assert left() == {"model"}


@pytest.mark.parametrize("arguments", [(), ("targets",)])
def test_no_command_shows_the_commands(cli: Any, arguments: tuple[str, ...]) -> None:
    outcome = cli(*arguments)
    assert outcome.code in {0, 2}
    shown = outcome.out + outcome.err
    assert "Usage" in shown
    assert "Internal" not in shown
    for command in (
        ("list", "show", "validate") if arguments else ("compile", "export", "check", "inspect")
    ):
        assert command in shown


@pytest.mark.parametrize(
    "command", ["compile", "export", "check", "inspect", "simulate", "energy", "demo"]
)
def test_every_command_has_help(cli: Any, command: str) -> None:
    outcome = cli(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage" in outcome.out


def _failing_placer(*_: object) -> tuple[()]:
    raise RuntimeError("a mistake of ours")


def test_an_internal_error_exits_with_one_and_keeps_its_traceback_for_debug(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLACERS._known, "failing", _failing_placer)
    plain = cli("compile", "model", "-o", "out", "--placer", "failing")
    assert (plain.code, plain.out) == (1, "")
    assert "RuntimeError: a mistake of ours" in plain.message
    assert "--debug" in plain.err
    assert "Traceback" not in plain.err
    loud = cli("compile", "model", "-o", "out", "--placer", "failing", "--debug")
    assert loud.code == 1
    assert "Traceback" in loud.err
    assert "_failing_placer" in loud.err
    assert left() == {"model"}


def test_debug_shows_where_a_refusal_comes_from(cli: Any) -> None:
    outcome = cli("compile", "nowhere", "-o", "out", "--debug")
    assert outcome.code == 2
    assert outcome.err.startswith("ADL-MDL-06")
    assert "Traceback" in outcome.err


def test_an_error_is_one_line_that_can_be_searched_and_copied(cli: Any) -> None:
    """Stderr is no terminal here, so nothing may be wrapped into its paths."""
    deep = "/".join(["a-folder-with-a-long-name"] * 6)
    outcome = cli("check", deep)
    assert outcome.err.count("\n") == 1
    assert f"{deep}/manifest.json" in outcome.err


def test_a_broken_plugin_does_not_take_the_other_commands_down(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plugins" / "adlrns_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adlrns-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adlrns_map.commands]\nzz = adlrns_nowhere:zz\n")
    monkeypatch.syspath_prepend(str(info.parent))
    outcome = cli("targets", "list")
    assert outcome.code == 0
    assert "loihi2" in outcome.out


def test_figures_are_spelt_for_people_in_the_summary(cli: Any) -> None:
    save_network(digits_like_network(), "digits")
    outcome = cli("compile", "digits", "-o", "out", "--neurons-per-core", "16")
    report = load_report("out")
    estimate: Any = report["estimate"]
    nanojoule = estimate["energy_j_per_step"] * 1e9
    assert f"{nanojoule:.3g} nJ (" in " ".join(outcome.out.split())
    assert "assumed constants, assumed activity" in " ".join(outcome.out.split())
    assert os.listdir("out").count("report.json") == 1  # noqa: PTH208


def test_a_gated_model_without_calibration_is_told_that_it_has_no_budgets(cli: Any) -> None:
    gate = RankGate(weight=np.ones((1, 2)), bias=np.zeros(1), cost=np.ones(1))
    network = changed(small_network(), "enc", gate=gate)
    save_network(network, Path("gated"))
    without = cli("compile", "gated", "-o", "out")
    assert without.code == 0
    assert "no calibration data" in " ".join(without.out.split())
    np.savez("x.npz", spikes=random_payloads(network))
    measured = cli("compile", "gated", "-o", "other", "--calibration", "x.npz")
    told = " ".join(measured.out.split())
    most_mj = max(entry["energy_j"] for entry in load_report("other")["budgets"]) * 1e3
    assert "the dial goes from" in told
    assert f"`simulate --budget` in mJ, at most {most_mj:.3g}" in told
    assert "no calibration data" not in measured.out
    assert "no calibration data" not in cli("compile", "model", "-o", "plain").out


def test_fit_says_where_a_rank_changes_nothing(cli: Any) -> None:
    """loihi1 fuses the pair, loihi2 keeps it."""
    save_network(digits_like_network(payload_max=1), Path("spikes"))
    targets = ("--target", "loihi1", "--target", "loihi2")
    assert "--rank" not in cli("fit", "spikes", *targets).out
    outcome = cli("fit", "spikes", "--rank", "4", *targets)
    assert "--rank takes no less of loihi1: no layer is kept there as two factors" in outcome.out
    rows = cli("fit", "spikes", "--rank", "4", *targets, "--json").json["targets"]
    assert [row["factor_pairs"] for row in rows] == [0, 1]


def test_fit_cannot_choose_ranks_and_says_so(cli: Any) -> None:
    outcome = cli("fit", "model", "--rank", "auto", "--json")
    assert outcome.code == 2
    (row,) = outcome.json["diagnostics"]
    assert (row["code"], row["where"]) == ("ADL-CFG-09", "--rank")
    assert "compile with --rank auto" in row["remedy"]


def test_fit_takes_weight_bits_by_layer(cli: Any) -> None:
    outcome = cli("fit", "model", "--target", "loihi2", "--weight-bits", "6,nobody=4", "--json")
    assert outcome.code == 2
    assert "ADL-CFG-08" in outcome.out
    assert cli("fit", "model", "--target", "loihi2", "--weight-bits", "6,enc=4").code == 0
