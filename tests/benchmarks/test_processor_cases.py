"""What the processors' models say of a network that was measured, as the documentation has it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from processor_cases import MEASURED, comparisons, estimate, table
from silicon_cases import KEYWORDS

from simulators.energy.conventional import NEURON_OPS

PAGE = (Path(__file__).parents[2] / "docs" / "processors.md").read_text("utf-8")


def test_the_network_is_the_one_that_was_measured() -> None:
    synapses = sum(a * b for a, b in pairwise(KEYWORDS))
    assert synapses == 172_800
    assert estimate("cpu").ops == 2 * synapses + NEURON_OPS * sum(KEYWORDS[1:])


@pytest.mark.parametrize(
    ("part", "dynamic_j"),
    [("Quadro K4000", 29.8e-3), ("Xeon E5-2630", 6.3e-3), ("Jetson TX1", 5.6e-3)],
)
def test_powers_and_rates_give_the_published_energies(part: str, dynamic_j: float) -> None:
    (measured,) = (m for m in MEASURED if m.part == part)
    assert measured.dynamic_j == pytest.approx(dynamic_j, rel=0.01)


def test_the_page_has_every_figure() -> None:
    shown = table(list(comparisons()))
    rows = zip(*(column.cells for column in shown.columns), strict=True)
    for row in rows:
        assert f"| {' | '.join(map(str, row))} |" in PAGE


def test_the_model_leaves_out_most_of_a_small_network() -> None:
    """What the page concludes: far below every measurement, beyond rest most of all."""
    assert "40 to 75 times the time and 36 to 950 times the energy" in " ".join(PAGE.split())
    for metric, least, most in (("time", 39, 76), ("energy, rest included", 35, 960)):
        gaps = [1 / one.share for one in comparisons() if one.metric == metric]
        assert least < min(gaps) < max(gaps) < most
    for one in comparisons():
        assert 0 < one.share < 0.1
        assert one.metric != "energy beyond rest" or one.share < 0.001
