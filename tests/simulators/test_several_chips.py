"""A program that spreads over several chips: the same spikes, dearer packets, all chips in view."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from support.chips import tiny_chip
from support.networks import digits_like_network, random_payloads

from mapping.artifact.read import load_artifact
from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.cost import ActionCounts
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.rules import check_rules
from mapping.targets.load import load_target
from simulators.backend import simulate
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.energy.table import core_table, energy_lines
from simulators.plots.mesh import View
from simulators.plots.overview import draw_overview
from simulators.report.chip_maps import left_out, link_name
from simulators.report.page import write_page
from simulators.trace import ExecutionTrace, Stimulus

NETWORK = digits_like_network(rank=8, levels=(3, 8), hidden=20, shape=(5, 4))
STIMULUS = Stimulus(payloads=random_payloads(NETWORK, samples=3, steps=9))
ONE = tiny_chip(width=4, height=2, cores_per_tile=2)
TWO = tiny_chip(width=2, height=2, cores_per_tile=2, chips=(2, 1))
"""The same mesh of tiles, in one chip and in two."""


def compiled(chips: tuple[int, int], **mesh: int) -> CompileResult:
    """The network on a grid of chips of 2 × 2 tiles."""
    chip = tiny_chip(width=2, height=2, cores_per_tile=2, chips=chips, **mesh)
    return compile_network(
        NETWORK, chip, CompileOptions(neurons_per_core=3, partitioner="first-fit")
    )


def moved_to_two_chips(artifact: Artifact) -> Artifact:
    """A program for ``ONE`` at the same tiles of ``TWO``."""
    slots = []
    for slot in artifact.placement.slots:
        chip, x, y = TWO.mesh.on_chip(slot.x, slot.y)
        slots.append(replace(slot, chip=chip, x=x, y=y))
    placement = replace(artifact.placement, slots=tuple(slots))
    return replace(artifact, chip=TWO, placement=placement)


@pytest.fixture(scope="module")
def spread() -> CompileResult:
    """On three of four chips, five cores each at most."""
    return compiled((2, 2), usable_cores=5)


@pytest.fixture(scope="module")
def ran(spread: CompileResult) -> tuple[ExecutionTrace, EnergyReport]:
    """A run of ``spread`` and its energy."""
    trace = simulate(spread.artifact, STIMULUS)
    return trace, estimate_energy(spread.artifact, trace)


def assert_same_spikes(one: ExecutionTrace, other: ExecutionTrace) -> None:
    """u, v and spikes agree in every population."""
    for group in ("spikes", "u", "v"):
        wanted, found = getattr(one, group), getattr(other, group)
        assert wanted.keys() == found.keys()
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, f"{group} of {name}")


@pytest.mark.parametrize(
    "backend", ["oracle", "chip", pytest.param("lava", marks=pytest.mark.lava)]
)
def test_the_spikes_are_those_of_one_chip(spread: CompileResult, backend: str) -> None:
    options = CompileOptions(neurons_per_core=3)
    alone = compile_network(NETWORK, tiny_chip(), options).artifact
    probe = ("u", "v")
    wanted = simulate(alone, STIMULUS, "oracle", probe=probe)
    assert wanted.spikes["out"].any()
    found = simulate(spread.artifact, STIMULUS, backend, probe=probe, deadline_s=120.0)
    assert_same_spikes(wanted, found)


def test_a_border_turns_hops_into_hops_between_chips_and_changes_nothing_else() -> None:
    alone = compile_network(NETWORK, ONE, CompileOptions(neurons_per_core=3)).artifact
    split = moved_to_two_chips(alone)
    assert check_rules(split) == ()
    one, two = (simulate(program, STIMULUS) for program in (alone, split))
    assert one.counts is not None
    assert two.counts is not None
    assert one.link_packets is not None
    np.testing.assert_array_equal(one.link_packets, two.link_packets)
    for field in fields(ActionCounts):
        before, after = getattr(one.counts, field.name), getattr(two.counts, field.name)
        if field.name not in {"hop_east_west", "hop_chip"}:
            np.testing.assert_array_equal(before, after, field.name)
    assert not one.counts.hop_chip.any()
    assert two.counts.hop_chip.any()
    np.testing.assert_array_equal(
        one.counts.hop_east_west, two.counts.hop_east_west + two.counts.hop_chip
    )
    table = TWO.energy_j
    dearer = table.hop_chip.value - table.hop_east_west.value
    extra = dearer * two.counts.hop_chip.sum() / two.samples
    before, after = estimate_energy(alone, one), estimate_energy(split, two)
    assert after.dynamic_j - before.dynamic_j == pytest.approx(extra)


def test_the_report_counts_the_chips_in_use(spread: CompileResult) -> None:
    cores, estimate = spread.report["cores"], spread.report["estimate"]
    assert isinstance(cores, dict)
    assert isinstance(estimate, dict)
    assert (cores["used"], cores["available"], cores["chips"]) == (13, 20, 3)
    assert [row["chip"] for row in cores["per_core"]] == [0] * 5 + [1] * 5 + [2] * 3
    power_w = spread.artifact.chip.static_power_w.value
    seconds = estimate["latency_s_per_step"]
    assert estimate["static_j_per_step"] == pytest.approx(power_w * 13 / 5 * seconds)
    assert estimate["static_chip_j_per_step"] == pytest.approx(3 * power_w * seconds)


def test_a_program_on_the_first_chip_of_a_grid_costs_what_it_costs_on_one_chip() -> None:
    figures = []
    for name in ("loihi2", "kapoho-point", "hala-point"):
        artifact = compile_network(NETWORK, load_target(name), CompileOptions()).artifact
        energy = estimate_energy(artifact, simulate(artifact, STIMULUS))
        figures.append((energy.dynamic_j, energy.latency_s, energy.static_chip_j, energy.chips))
    assert figures[0] == figures[1] == figures[2]
    assert figures[0][3] == 1


def test_static_power_is_that_of_the_chips_in_use(
    spread: CompileResult, ran: tuple[ExecutionTrace, EnergyReport]
) -> None:
    energy = ran[1]
    power_w = spread.artifact.chip.static_power_w.value
    assert energy.chips == 3
    assert energy.static_chip_j == pytest.approx(3 * power_w * energy.latency_s)
    assert energy.static_j == pytest.approx(power_w * 13 / 5 * energy.latency_s)
    assert "static of the 3 chips" in energy_lines(energy)[0]
    tiles = list(core_table(spread.artifact, energy).columns[1].cells)
    assert (tiles[0], tiles[5], tiles[12]) == ("0:0,0", "1:0,0", "2:1,0")


def test_a_program_on_several_chips_survives_the_disk(
    spread: CompileResult, tmp_path: Path
) -> None:
    write_artifact(spread.artifact, spread.report, tmp_path / "out")
    again = load_artifact(tmp_path / "out")
    assert again.chip == spread.artifact.chip
    assert again.placement == spread.artifact.placement
    np.testing.assert_array_equal(again.routing.links, spread.artifact.routing.links)
    assert check_rules(again) == ()


def test_a_view_holds_the_chips_in_use_the_hosts_and_those_between(spread: CompileResult) -> None:
    mesh, placement = load_target("hala-point").mesh, spread.artifact.placement
    far = replace(placement, slots=(replace(placement.slots[0], chip=2 * 32 + 1),))
    view = View.around(far, mesh)
    assert view.chips() == [0, 1, 32, 33, 64, 65]
    assert view.several
    assert not view.whole
    assert len(list(view.cores())) == 6 * 128
    assert View.around(placement, spread.artifact.chip.mesh).whole


def test_chips_do_not_overlap_in_a_drawing(spread: CompileResult) -> None:
    mesh = spread.artifact.chip.mesh
    view = View.around(spread.artifact.placement, mesh)
    corners = [view.chip_corner(chip) for chip in view.chips()]
    for number, (x, y) in enumerate(corners):
        for left, top in corners[number + 1 :]:
            assert abs(left - x) > mesh.width or abs(top - y) > mesh.height
    width, height = view.size
    assert all(-0.5 <= x <= width - 0.5 - mesh.width for x, _ in corners)
    assert view.bottom + 0.5 == max(y for _, y in corners) + mesh.height
    assert height > view.bottom + 1
    for tile in view.tiles():
        chip_x, chip_y = view.chip_corner(mesh.on_chip(*tile)[0])
        x, y = view.centre(*tile)
        assert chip_x < x < chip_x + mesh.width
        assert chip_y < y < chip_y + mesh.height


def test_one_chip_is_drawn_without_a_gap() -> None:
    artifact = compile_network(NETWORK, ONE, CompileOptions(neurons_per_core=3)).artifact
    view = View.around(artifact.placement, ONE.mesh)
    assert not view.several
    assert view.size == (4, 2)
    assert [view.centre(*tile) for tile in view.tiles()] == view.tiles()


def test_a_link_from_chip_to_chip_names_both(spread: CompileResult) -> None:
    mesh = spread.artifact.chip.mesh
    assert link_name(4 * 1 + 0, mesh) == ("0:1,0", "1:0,0")
    assert link_name(4 * (1 * mesh.columns + 3) + 2, mesh) == ("1:1,1", "3:1,0")
    assert link_name(4 * 1 + 0, ONE.mesh) == ("1,0", "2,0")


def test_page_and_picture_show_every_chip_by_name(
    spread: CompileResult, ran: tuple[ExecutionTrace, EnergyReport], tmp_path: Path
) -> None:
    trace, energy = ran
    write_page(tmp_path / "report.html", spread.artifact, spread.report, trace=trace)
    page = (tmp_path / "report.html").read_text("utf-8")
    for chip in range(4):
        assert page.count(f"chip {chip}</text>") == 3, "three maps"
    assert "on 3 chips; busiest" in page
    assert "static of the 3 chips in use, their unused cores left on" in page
    assert left_out(spread.artifact) == ""
    draw_overview(spread.artifact, trace, energy, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes()[1:4] == b"PNG"


def test_a_caption_says_that_chips_are_left_out() -> None:
    artifact = compile_network(NETWORK, load_target("hala-point"), CompileOptions()).artifact
    assert "Of 1,152 chips those in use" in left_out(artifact)
