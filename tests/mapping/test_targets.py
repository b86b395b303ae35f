from __future__ import annotations

import copy
import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import loihi1_memory
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chips import as_toml, limit, tiny_chip
from support.errors import refused
from support.networks import dense_network, small_network

from mapping.errors import AdlrnsError, TargetError
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import check_rules
from mapping.targets.figures import Constant, Curve, Flag, Grid, Limit, Widths
from mapping.targets.load import load_target, parse_target, target_data, target_names
from mapping.targets.spec import ChipSpec

Path_ = tuple[str, ...]


def _leaves(data: dict[str, Any], path: Path_ = ()) -> list[Path_]:
    found: list[Path_] = []
    for key, value in data.items():
        found += _leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
    return found


def _nodes(data: dict[str, Any], path: Path_ = ()) -> list[Path_]:
    found: list[Path_] = []
    for key, value in data.items():
        if isinstance(value, dict):
            found += [(*path, key), *_nodes(value, (*path, key))]
    return found


def _changed(path: Path_, *value: object) -> dict[str, Any]:
    """loihi2 as data with one entry set to ``value``, or deleted."""
    data: dict[str, Any] = copy.deepcopy(target_data(LOIHI2))
    table = data
    for key in path[:-1]:
        table = table[key]
    if value:
        table[path[-1]] = value[0]
    else:
        del table[path[-1]]
    return data


LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")
DATA = target_data(LOIHI2)
REQUIRED = [
    p for p in [*_leaves(DATA), *_nodes(DATA)] if p[-1] != "factor" and p != ("cross_check",)
]


@pytest.mark.parametrize("name", target_names())
def test_every_built_in_target_loads_under_its_own_name(name: str) -> None:
    assert load_target(name).name == name


@pytest.mark.parametrize("name", target_names())
def test_every_figure_has_a_status_and_a_source(name: str) -> None:
    chip = load_target(name)
    figures = chip.constants()
    assert {f"{path}.value" for path in figures} == {
        ".".join(leaf) for leaf in _leaves(target_data(chip)) if leaf[-1] == "value"
    }
    for figure in figures.values():
        assert isinstance(figure, Limit | Constant | Curve | Flag | Widths | Grid)
        assert len(figure.source) > 10


@pytest.mark.parametrize("name", target_names())
def test_an_assumed_constant_says_how_wrong_it_may_be(name: str) -> None:
    for path, figure in load_target(name).constants().items():
        if isinstance(figure, Constant) and figure.status in {"assumed", "inferred"}:
            assert figure.factor > 1, path


def test_loihi2_states_the_figures_of_the_hardware_notes() -> None:
    core, mesh = LOIHI2.core, LOIHI2.mesh
    assert [x.value for x in (core.compartments, core.input_axons, core.output_axons)] == [
        4096,
        16000,
        16000,
    ]
    assert (core.compartment_groups.value, core.synapse_words.value) == (8, 12000)
    assert (LOIHI2.cores, LOIHI2.tiles, mesh.cores_per_tile) == (120, 32, 4)
    assert LOIHI2.energy_j.synaptic_op_dense.value == 23.6e-12
    assert LOIHI2.cross_check is not None
    assert LOIHI2.cross_check.dynamic_per_synaptic_op_j.value == 29.9e-12


def test_loihi1_states_the_figures_of_the_hardware_notes() -> None:
    core, mesh, numeric = LOIHI1.core, LOIHI1.mesh, LOIHI1.numeric
    limits = (core.compartments, core.input_axons, core.output_axons, core.synapse_words)
    assert [limit.value for limit in limits] == [1024, 4096, 4096, 16384]
    assert core.word_bits.value * core.synapse_words.value == 1_048_576
    assert (LOIHI1.cores, mesh.width, mesh.height, mesh.cores_per_tile) == (128, 8, 4, 4)
    assert (numeric.weight_exponent_min.value, numeric.weight_exponent_max.value) == (-7, 7)
    assert (numeric.threshold_bits.value, numeric.bias_exponent_max.value) == (17, 7)
    assert not LOIHI1.capabilities.graded_spikes.value
    assert LOIHI1.static_power_w.value == 0.104


def test_kapoho_point_is_eight_chips_of_loihi2_and_hala_point_1152() -> None:
    kapoho, hala = load_target("kapoho-point"), load_target("hala-point")
    assert (kapoho.mesh.chips.value, kapoho.mesh.chip_count) == ((2, 4), 8)
    assert (kapoho.cores, kapoho.tiles) == (8 * 120, 8 * 32)
    assert (hala.mesh.chips.value, hala.mesh.chip_count) == ((32, 36), 1152)
    assert (hala.cores, hala.mesh.usable_cores.value) == (140_544, 122)
    for system in (kapoho, hala):
        assert system.mesh.chips.status == "assumed"
        mesh = replace(system.mesh, chips=LOIHI2.mesh.chips, usable_cores=LOIHI2.mesh.usable_cores)
        one = replace(system, name="loihi2", description=LOIHI2.description, mesh=mesh)
        assert one == LOIHI2


def test_a_barrier_over_sixteen_chips_lies_within_its_factor_of_the_known_one() -> None:
    """10 µs on a board of 16 chips, in profiling code derived from Intel's figures."""
    barrier, tiles = LOIHI2.barrier_s, LOIHI2.mesh.tiles_per_chip
    assert barrier.duration_s(2 * tiles) > barrier.duration_s(tiles)
    estimate = barrier.duration_s(16 * tiles)
    assert estimate < 10e-6 < estimate * barrier.by_tiles.factor


FORMS = ("dense", "sparse", "conv")
HEIR = """
base = "{base}"
name = "mine"
description = "made up for a test"
[energy_j.spike]
value = 1e-12
status = "assumed"
source = "made up for a test"
factor = 3.0
"""


def test_a_target_takes_from_its_base_what_it_does_not_give(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEIR.format(base="loihi2"))
    chip = load_target(path)
    spike = replace(LOIHI2.energy_j.spike, value=1e-12, source="made up for a test", factor=3.0)
    energy = replace(LOIHI2.energy_j, spike=spike)
    assert chip == replace(LOIHI2, name="mine", description="made up for a test", energy_j=energy)


def test_a_base_may_have_a_base_and_lie_beside_its_heir(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "mine.toml").write_text(HEIR.format(base="loihi1"))
    (tmp_path / "deep" / "heir.toml").write_text(
        'base = "../mine.toml"\nname = "heir"\ndescription = "x"\n[mesh]\nhost_tile = [1, 2]\n'
    )
    chip = load_target(tmp_path / "deep" / "heir.toml")
    assert chip.name == "heir"
    assert chip.energy_j.spike.value == 1e-12
    assert chip.mesh == replace(LOIHI1.mesh, host_tile=(1, 2))
    assert chip.core == LOIHI1.core


def test_a_figure_is_replaced_whole(tmp_path: Path) -> None:
    """A new value under the old status and source would say what nobody measured."""
    path = tmp_path / "mine.toml"
    text = HEIR.format(base="loihi2").replace('source = "made up for a test"', "")
    path.write_text(text)
    with refused(TargetError, "ADL-TGT-03", where="mine.toml", message="energy_j.spike.source"):
        load_target(path)


@pytest.mark.parametrize("entry", ["name", "description"])
def test_a_target_has_a_name_and_a_description_of_its_own(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "mine.toml"
    lines = HEIR.format(base="loihi2").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(entry)))
    with refused(TargetError, "ADL-TGT-03", where="mine.toml", message=f"{entry}: Field required"):
        load_target(path)


@pytest.mark.parametrize(
    ("base", "code", "message", "remedy"),
    [
        ('"lohi2"', "ADL-TGT-01", "neither a built-in target", "did you mean 'loihi2'"),
        ('"other.toml"', "ADL-TGT-01", "nor a TOML file", "targets list"),
        ('"broken.toml"', "ADL-TGT-02", "is not TOML", "mend the file"),
        ("1", "ADL-TGT-03", "base: 1 is not", 'base = "loihi2"'),
        ('"mine.toml"', "ADL-TGT-04", "is its own base", "without a base"),
        ('"./../{folder}/mine.toml"', "ADL-TGT-04", "is its own base", "without a base"),
        ('"circle.toml"', "ADL-TGT-04", "is its own base", "without a base"),
    ],
)
def test_a_base_that_is_none_is_refused(
    tmp_path: Path, base: str, code: str, message: str, remedy: str
) -> None:
    (tmp_path / "broken.toml").write_text("name = ")
    (tmp_path / "circle.toml").write_text(HEIR.format(base="mine.toml"))
    path = tmp_path / "mine.toml"
    given = base.replace("{folder}", tmp_path.name)
    path.write_text(HEIR.replace('"{base}"', given))
    with refused(TargetError, code, where=str(path), message=message, remedy=remedy):
        load_target(path)


SPICE = {
    **{f"energy_j.synaptic_op_{form}": 23.6e-12 for form in FORMS},
    "energy_j.compartment_access": 52e-12,
    "energy_j.compartment_update": (81 - 52) * 1e-12,
    "energy_j.within_tile": 1.7e-12,
    "energy_j.hop_east_west": 3.0e-12,
    "energy_j.hop_north_south": 4.0e-12,
    **{f"latency_s.synaptic_op_{form}": 3.5e-9 for form in FORMS},
    "latency_s.compartment_access": 5.3e-9,
    "latency_s.compartment_update": (8.4 - 5.3) * 1e-9,
    "noc_s.within_tile": 2.1e-9,
    "noc_s.hop_east_west": 4.1e-9,
    "noc_s.hop_north_south": 6.5e-9,
    "affine_s.compartment_update": 8.4e-9,
    "affine_s.synaptic_op": 3.5e-9,
    "barrier_s.by_tiles": ((1, 113e-9), (32, 465e-9)),
    "barrier_s.shortest_step": 113e-9,
}
FITTED = {
    "energy_j.synaptic_op_dense": 35.5e-12,
    "energy_j.synaptic_op_sparse": 33.6e-12,
    "energy_j.synaptic_op_conv": 24.0e-12,
    "energy_j.compartment_access": 51.2e-12,
    "energy_j.compartment_update": 21.6e-12,
    "energy_j.spike": 69.3e-12,
    "energy_j.axon_out": 111e-12,
    "energy_j.axon_in": 0.0,
    "energy_j.hop_east_west": 3.0e-12,
    "energy_j.hop_north_south": 4.2e-12,
    "latency_s.synaptic_op_dense": 3.8e-9,
    "latency_s.synaptic_op_sparse": 4.7e-9,
    "latency_s.synaptic_op_conv": 3.1e-9,
    "latency_s.compartment_access": 6.0e-9,
    "latency_s.compartment_update": 3.7e-9,
    "latency_s.spike": 30e-9,
    "latency_s.axon_out": 5.1e-9,
    "latency_s.axon_in": 16e-9,
    "noc_s.hop_east_west": 4.1e-9,
    "noc_s.hop_north_south": 6.5e-9,
    "affine_s.compartment_update": 9.7e-9,
}
AS_IN_SPICE = {"noc_s.hop_east_west", "noc_s.hop_north_south"}
NEITHER = {
    "energy_j.hop_chip",
    "energy_j.host_packet",
    "noc_s.chip_link_occupancy",
    "noc_s.hop_chip",
    "noc_s.host_packet",
    "noc_s.link_occupancy",
    "affine_s.synapse_read",
    "static_power_w",
}


def test_loihi1_takes_the_vendors_figures_and_their_intervals_reach_the_fit() -> None:
    figures = LOIHI1.constants()
    for status, table in (("spice", SPICE), ("fit", FITTED)):
        for path, value in table.items():
            figure = figures[path]
            if figure.status == status:
                np.testing.assert_allclose(figure.value, value, err_msg=path)
            if isinstance(figure, Constant):
                assert figure.value / figure.factor <= value * (1 + 1e-9), path
                assert figure.value * figure.factor >= value * (1 - 1e-9), path
    assert {p for p, f in figures.items() if f.status == "spice"} == set(SPICE)
    physical = {p for p, f in figures.items() if isinstance(f, Constant | Curve)}
    assert physical - set(SPICE) - set(FITTED) == NEITHER
    for tiles, fitted_s in ((1, 0.6e-6), (29, 1.8e-6)):
        longest_s = LOIHI1.at_bound(1).barrier_s.duration_s(tiles)
        assert LOIHI1.barrier_s.duration_s(tiles) < fitted_s < longest_s


def test_loihi1_fit_has_the_fitted_constants_and_else_what_loihi1_has() -> None:
    fit, figures = load_target("loihi1-fit"), LOIHI1.constants()
    for path, figure in fit.constants().items():
        if path in FITTED:
            assert figure.value == FITTED[path], path
    changed = {path for path, figure in fit.constants().items() if figure != figures[path]}
    own = {"energy_j.within_tile", "affine_s.synaptic_op", "affine_s.synapse_read"}
    barrier = {"barrier_s.by_tiles", "barrier_s.shortest_step"}
    assert (
        changed == {p for p in FITTED if figures[p].status != "fit"} - AS_IN_SPICE | own | barrier
    )
    assert {fit.constants()[path].status for path in changed & set(FITTED)} == {"fit"}
    steps = [fit.barrier_s.duration_s(tiles) for tiles in (1, 2, 3, 4, 28, 29, 32)]
    assert steps == [0.6e-6, 1.0e-6, 1.0e-6, 1.4e-6, 1.4e-6, 1.8e-6, 1.8e-6]
    assert (fit.core, fit.mesh, fit.numeric) == (LOIHI1.core, LOIHI1.mesh, LOIHI1.numeric)


@pytest.mark.parametrize("chip", [LOIHI1, LOIHI2])
def test_a_link_takes_half_of_the_bandwidth_across_a_tile(chip: ChipSpec) -> None:
    figure = chip.noc_s.link_occupancy
    assert figure.value == pytest.approx(2 / 3.44e9, rel=0.01)
    assert figure.value / figure.factor == pytest.approx(1 / 3.44e9, rel=0.01)
    assert figure.value * figure.factor == pytest.approx(4 / 3.44e9, rel=0.01)


def test_the_status_is_that_of_the_weakest_figure_asked_for() -> None:
    assert LOIHI1.weakest_status("energy_j.synaptic_op_") == "spice"
    assert LOIHI1.weakest_status("noc_s.hop_e", "noc_s.link") == "inferred"
    assert LOIHI1.weakest_status("latency_s.") == "fit"


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
def test_a_missing_entry_is_named(path: Path_) -> None:
    with refused(TargetError, "ADL-TGT-03", where="mine", message=".".join(path) + ": Field requ"):
        parse_target(_changed(path), where="mine")


@pytest.mark.parametrize("path", [("colour",), ("core", "colour"), ("core", "word_bits", "colour")])
def test_an_unknown_entry_is_named(path: Path_) -> None:
    with refused(TargetError, "ADL-TGT-03", message=".".join(path)):
        parse_target(_changed(path, 1), where="mine")


WRONG_VALUES: dict[str, tuple[Path_, object]] = {
    "text": (("core", "compartments", "value"), "many"),
    "fraction": (("core", "compartments", "value"), 1.5),
    "no figure": (("core", "compartments"), 4096),
    "unknown status": (("core", "compartments", "status"), "guessed"),
    "negative energy": (("energy_j", "spike", "value"), -1e-12),
    "infinite energy": (("energy_j", "spike", "value"), math.inf),
    "NaN energy": (("energy_j", "spike", "value"), math.nan),
    "factor below 1": (("energy_j", "spike", "factor"), 0.5),
    "empty mesh": (("mesh", "width"), 0),
    "no chip": (("mesh", "chips", "value"), [0, 1]),
    "chips in three dimensions": (("mesh", "chips", "value"), [2, 2, 2]),
    "host tile of three": (("mesh", "host_tile"), [0, 0, 0]),
    "flag": (("capabilities", "graded_spikes", "value"), "perhaps"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_wrong_value_is_named(case: str) -> None:
    path, value = WRONG_VALUES[case]
    with refused(TargetError, "ADL-TGT-03", where="mine", message=".".join(path)):
        parse_target(_changed(path, value), where="mine")


@pytest.mark.parametrize("data", [[], None, "loihi2", {}])
def test_a_description_must_be_a_table_of_entries(data: object) -> None:
    with refused(TargetError, "ADL-TGT-03", where="mine"):
        parse_target(data, where="mine")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mesh", "host_tile"), [8, 0]),
        (("mesh", "host_tile"), [0, -1]),
        (("mesh", "usable_cores", "value"), 129),
        (("mesh", "width"), 7),
    ],
)
def test_usable_cores_and_host_must_lie_on_the_mesh(path: Path_, value: object) -> None:
    with refused(TargetError, "ADL-TGT-03", message="mesh", remedy="host_tile"):
        parse_target(_changed(path, value), where="mine")


FAULTS: dict[str, tuple[str, list[object]]] = {
    "core on a chip that is not there": ("cores", [1, 0, 0, 0]),
    "core beyond the columns": ("cores", [0, 8, 0, 0]),
    "core beyond the rows": ("cores", [0, 0, 4, 0]),
    "core beyond the tile": ("cores", [0, 0, 0, 4]),
    "link of no tile": ("links", [8, 0, "west"]),
    "link off the mesh": ("links", [7, 0, "east"]),
    "link to the north of all": ("links", [3, 0, "north"]),
    "core with too few numbers": ("cores", [0, 0, 0]),
    "negative core": ("cores", [0, 0, 0, -1]),
    "link to nowhere": ("links", [0, 0, "up"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_must_lie_on_the_mesh(case: str) -> None:
    kind, fault = FAULTS[case]
    faulty = {"cores": [], "links": [], "status": "silicon", "source": "tested here", kind: [fault]}
    with refused(TargetError, "ADL-TGT-03", message=f"mesh.faulty.{kind}", where="mine"):
        parse_target(_changed(("mesh", "faulty"), faulty), where="mine")


def test_a_file_may_name_the_faults_of_the_machine_at_hand(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'base = "loihi2"\nname = "mine"\ndescription = "one with faults"\n'
        '[mesh.faulty]\ncores = [[0, 7, 3, 1], [0, 7, 3, 1]]\nlinks = [[0, 0, "south"]]\n'
        'status = "silicon"\nsource = "self-test of the board"\n'
    )
    chip = load_target(file)
    assert chip.constants()["mesh.faulty"].value == "2 cores, 1 links"
    assert chip.cores == 120
    assert parse_target(target_data(chip), where="again") == chip
    assert "faulty" not in str(target_data(load_target("loihi2")))


IMPOSSIBLE: dict[str, tuple[Path_, int]] = {
    "no compartments": (("core", "compartments", "value"), 0),
    "negative memory": (("core", "synapse_words", "value"), -5),
    "words of no bits": (("core", "word_bits", "value"), 0),
    "no usable core": (("mesh", "usable_cores", "value"), 0),
    "weights that no int8 holds": (("numeric", "weight_bits", "value"), 16),
    "negative bias exponent": (("numeric", "bias_exponent_max", "value"), -1),
    "exponents the wrong way round": (("numeric", "weight_exponent_min", "value"), 9),
    "state that the arithmetic lacks": (("numeric", "state_bits", "value"), 32),
    "dendritic input that wraps the state": (("numeric", "activation_bits", "value"), 20),
    "thresholds beyond the voltage": (("numeric", "threshold_bits", "value"), 18),
    "biases of a sign alone": (("numeric", "bias_mantissa_bits", "value"), 1),
    "dendritic input of a sign alone": (("numeric", "activation_bits", "value"), 1),
    "sums of a sign alone": (("numeric", "accumulator_bits", "value"), 1),
    "payloads of a sign alone": (("numeric", "payload_bits", "value"), 1),
    "shifts beyond the word": (("numeric", "weight_exponent_min", "value"), -64),
    "left shifts beyond the word": (("numeric", "weight_exponent_max", "value"), 64),
    "synapses smaller than their weight": (("core", "synapse_bits", "value"), 4),
    "blocks of no synapse": (("core", "block_synapses", "value"), 0),
    "headers of less than nothing": (("core", "block_header_bits", "value"), -1),
    "sums that no int32 holds": (("numeric", "accumulator_bits", "value"), 48),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_chip_that_cannot_be_compiled_for_is_refused_when_it_is_loaded(case: str) -> None:
    path, value = IMPOSSIBLE[case]
    with pytest.raises(TargetError) as caught:
        parse_target(_changed(path, value), where="mine")
    assert path[-2] in str(caught.value)


@pytest.mark.parametrize("widths", [[], [0, 8], [1, 2, 7]])
def test_stored_weights_must_be_wide_enough(widths: list[int]) -> None:
    with refused(TargetError, "ADL-TGT-03", where="mine", message="core.weight_widths"):
        parse_target(_changed(("core", "weight_widths", "value"), widths), where="mine")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with refused(
        TargetError, "ADL-TGT-01", where="lohi2", message="loihi2", remedy="did you mean 'loihi2'"
    ):
        load_target("lohi2")


def test_a_name_like_no_other_still_lists_what_exists() -> None:
    with refused(TargetError, "ADL-TGT-01", message="loihi2", remedy="targets list"):
        load_target("zzz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with refused(TargetError, "ADL-TGT-01", where="mine.toml"):
        load_target(tmp_path / "mine.toml")


@pytest.mark.parametrize("content", [b"name = ", b"\x00", b"\xff\xfe"], ids=["cut", "nul", "utf16"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with refused(TargetError, "ADL-TGT-02", where=str(path), remedy="targets show loihi2"):
        load_target(path)


@pytest.mark.parametrize("chip", [LOIHI2, tiny_chip(compartments=4, width=2, height=2)])
def test_a_chip_survives_its_own_description(chip: ChipSpec, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(as_toml(chip))
    assert load_target(path) == chip
    assert parse_target(target_data(chip), where="mine") == chip


def test_a_chip_of_ones_own_compiles(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(as_toml(tiny_chip(compartments=4)))
    result = compile_network(small_network(), load_target(path), CompileOptions())
    assert result.report["target"] == "tiny"


PRINTED_ROWS = [(85, 27), (100, 32), (200, 63)]
"""Synapses per axon and words per axon of the Oxford network (31.5 words are two of 63)."""


@pytest.mark.parametrize(("synapses", "words"), PRINTED_ROWS)
def test_words_per_axon_are_those_that_the_vendor_prints(synapses: int, words: int) -> None:
    assert LOIHI2.core.words_per_axon(synapses, 8) == words


def test_loihi1_stores_two_layers_in_the_words_of_its_own_tools() -> None:
    """784 → 128 and 128 → 10 at 8 bits: in all 903,168 bits, 86 % of a core, and 16,384 bits."""
    core = LOIHI1.core
    assert 64 * core.words_per_axon(128, 8) == 1152
    assert 784 * 64 * core.words_per_axon(128, 8) == 903_168
    assert 903_168 / (64 * core.synapse_words.value) == pytest.approx(0.86, abs=0.005)
    assert 128 * 64 * core.words_per_axon(10, 8) == 16_384


@pytest.mark.parametrize(
    ("synapses", "words"), [(0, 0), (1, 1), (6, 1), (7, 2), (64, 9), (65, 10), (128, 18)]
)
def test_every_block_of_loihi1_starts_a_word(synapses: int, words: int) -> None:
    assert LOIHI1.core.words_per_axon(synapses, 8) == words


def test_a_width_that_the_chip_lacks_is_stored_in_the_next() -> None:
    words = [LOIHI1.core.words_per_axon(64, bits) for bits in range(2, 9)]
    assert words == [3, 4, 5, 6, 7, 9, 9]


def test_a_784_128_10_network_takes_what_the_tools_of_loihi1_say() -> None:
    result = compile_network(dense_network((784, 128, 10)), LOIHI1, CompileOptions())
    usage = result.artifact.partitioned.usage(LOIHI1)
    assert 64 * sum(core.synapse_words for core in usage) == 903_168 + 16_384
    assert len(usage) == 1


def test_the_number_rules_check_the_narrower_fields_of_loihi1() -> None:
    """The same program, quantised for the wider fields of loihi2, overflows on loihi1."""
    network = dense_network((2000, 5, 3))
    wide = compile_network(network, LOIHI2, CompileOptions()).artifact
    assert check_rules(wide) == ()
    broken = check_rules(replace(wide, chip=LOIHI1))
    assert {d.code for d in broken if "32767" in d.message} == {"ADL-NUM-04"}
    narrow = compile_network(network, LOIHI1, CompileOptions()).artifact
    assert check_rules(narrow) == ()


def test_an_index_and_a_delay_take_a_width_that_loihi1_has() -> None:
    """64 synapses of 8 bits and a header of 10 bits: 522 bits, and what comes on top."""

    def words(**more: int) -> int:
        return LOIHI1.core.words_per_axon(64, 8, **more)

    assert words() == 9
    assert words(targets=1) == words()
    assert words(targets=64) == -(-(522 + 64 * 6) // 64)
    assert words(targets=65) == -(-(522 + 64 * 7) // 64)
    assert words(targets=1024) == -(-(522 + 64 * 10) // 64)
    assert words(delay=1) == 10
    assert words(delay=62) == 15
    assert words(targets=1024, delay=62) == -(-(522 + 64 * 16) // 64)
    assert LOIHI2.core.words_per_axon(64, 8, targets=4096, delay=62) == (
        LOIHI2.core.words_per_axon(64, 8)
    )


def test_loihi1_takes_the_bits_that_nengo_loihi_counts_on_a_thousand_layers() -> None:
    with loihi1_memory.GOLDEN.open(newline="") as file:
        layers = list(csv.DictReader(file))
    assert len(layers) == 1000
    for layer in layers:
        assert loihi1_memory.our_bits(layer) == int(layer["bits"]), layer


def test_the_recorded_layers_are_those_that_would_be_compared_again() -> None:
    with loihi1_memory.GOLDEN.open(newline="") as file:
        layers = list(csv.DictReader(file))
    assert [{k: v for k, v in row.items() if k != "bits"} for row in layers] == (
        loihi1_memory.random_layers()
    )
    sizes = [int(row[name]) for row in layers for name in ("columns", "rows")]
    assert min(sizes) == 1
    assert max(sizes) > 4000
    assert {row["form"] for row in layers} == {"dense", "sparse"}


@settings(max_examples=200)
@given(
    synapses=st.integers(0, 5000),
    bits=st.integers(2, 8),
    synapse_bits=st.integers(8, 24),
    header=st.integers(0, 16),
    block=st.integers(1, 100),
    targets=st.integers(0, 4096),
    delay=st.integers(0, 63),
)
def test_words_per_axon_hold_all_synapses_and_waste_less_than_a_word_per_block(
    synapses: int, bits: int, synapse_bits: int, header: int, block: int, targets: int, delay: int
) -> None:
    core = replace(
        LOIHI2.core,
        synapse_bits=limit(synapse_bits),
        block_header_bits=limit(header),
        block_synapses=limit(block),
        index_widths=LOIHI1.core.index_widths,
        delay_widths=LOIHI1.core.delay_widths,
    )
    words = core.words_per_axon(synapses, bits, targets=targets, delay=delay)
    blocks = -(-synapses // block)
    index = 0 if targets < 2 else max(6, (targets - 1).bit_length())
    needed = synapses * (synapse_bits - (8 - bits) + index + delay.bit_length()) + header * blocks
    assert 0 <= 64 * words - needed <= 63 * blocks
    assert words <= core.words_per_axon(synapses + 1, bits, targets=targets, delay=delay)
    assert words <= core.words_per_axon(synapses, 8, targets=targets, delay=delay)


@pytest.mark.parametrize(("used", "duration"), [(1, 113e-9), (32, 465e-9), (63, 817e-9)])
def test_the_barrier_grows_linearly_with_the_used_tiles(used: int, duration: float) -> None:
    assert LOIHI2.barrier_s.duration_s(used) == pytest.approx(duration)


def test_a_curve_holds_below_its_first_point_and_where_it_is_told_to() -> None:
    points = ((2, 1.0), (4, 3.0), (8, 4.0))
    line = Curve(value=points, between="line", status="fit", source="made up")
    assert [line.at(n) for n in (1, 2, 3, 4, 6, 8, 12)] == [1.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0]
    hold = replace(line, between="hold")
    assert [hold.at(n) for n in (1, 2, 3, 4, 6, 8, 12)] == [1.0, 1.0, 1.0, 3.0, 3.0, 4.0, 4.0]
    assert replace(line, value=points[:1]).at(5) == 1.0
    assert line.times(2.0).at(3) == 4.0


def test_an_operating_point_scales_energy_with_the_voltage_squared_and_time_with_the_clock() -> (
    None
):
    slow = LOIHI2.at_operating_point(voltage=0.8, frequency=0.5)
    assert slow.energy_j.spike.value == pytest.approx(0.64 * LOIHI2.energy_j.spike.value)
    assert slow.latency_s.spike.value == 2 * LOIHI2.latency_s.spike.value
    assert slow.noc_s.hop_chip.value == 2 * LOIHI2.noc_s.hop_chip.value
    assert slow.affine_s.synaptic_op.value == 2 * LOIHI2.affine_s.synaptic_op.value
    assert slow.barrier_s.duration_s(32) == 2 * LOIHI2.barrier_s.duration_s(32)
    assert slow.static_power_w.value == pytest.approx(0.8 * LOIHI2.static_power_w.value)
    assert LOIHI2.at_operating_point(voltage=1.0, frequency=1.0) == LOIHI2


@pytest.mark.parametrize("name", ["voltage", "frequency"])
@pytest.mark.parametrize("ratio", [0.0, -1.0, math.inf, math.nan])
def test_an_operating_point_is_positive(name: str, ratio: float) -> None:
    with refused(TargetError, "ADL-TGT-05", where=f"--{name}", remedy="positive", message=name):
        LOIHI2.at_operating_point(**{"voltage": 1.0, "frequency": 1.0, name: ratio})


@pytest.mark.parametrize("points", [[[4, 1e-7], [1, 2e-7]], [[1, 1e-7], [1, 2e-7]]])
def test_the_points_of_a_barrier_rise(points: list[list[float]]) -> None:
    message = "barrier_s.by_tiles is"
    with refused(TargetError, "ADL-TGT-03", message=message, remedy="rising"):
        parse_target(_changed(("barrier_s", "by_tiles", "value"), points), where="mine")


def test_every_target_error_is_of_the_family() -> None:
    assert issubclass(TargetError, AdlrnsError)
    assert TargetError.exit_code == 2
