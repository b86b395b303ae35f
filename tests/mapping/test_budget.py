from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.chips import tiny_chip
from support.errors import refused
from support.gated import At, compiled, program, rate_gated_network, spikes
from support.networks import small_network

from mapping.artifact.read import load_artifact
from mapping.artifact.write import write_artifact
from mapping.budget import PRICES, price_for
from mapping.errors import ConfigError
from mapping.pipeline import CompileOptions, compile_network
from simulators.backend import simulate
from simulators.energy.estimate import estimate_energy


@pytest.mark.parametrize("at", ["relay", "source"])
def test_the_table_runs_from_price_zero_to_where_the_gates_stay_off(at: At) -> None:
    artifact = program(at)
    prices = [entry.price for entry in artifact.budgets]
    energies = [entry.energy_j for entry in artifact.budgets]
    assert prices == sorted(set(prices))
    assert prices[0] == 0.0
    assert 5 <= len(prices) <= PRICES
    assert energies[0] == max(energies) > energies[-1] == min(energies)
    silent = simulate(artifact, spikes(), price=prices[-1])
    assert not silent.spikes["enc/gate"].any()
    assert simulate(artifact, spikes(), price=0.0).spikes["enc/gate"].any()


@pytest.mark.parametrize("at", ["relay", "source"])
def test_stored_energies_are_what_the_chip_simulator_counts(at: At) -> None:
    artifact = program(at)
    for entry in artifact.budgets[::4]:
        trace = simulate(artifact, spikes(), price=entry.price)
        assert estimate_energy(artifact, trace).dynamic_j == pytest.approx(entry.energy_j, rel=1e-9)


def test_the_table_is_even_in_energy() -> None:
    energies = np.array([entry.energy_j for entry in program().budgets])
    assert np.abs(np.diff(energies)).max() < 0.3 * np.ptp(energies)


def test_a_budget_buys_the_lowest_price_that_keeps_to_it() -> None:
    artifact = program()
    for entry in artifact.budgets:
        price = price_for(artifact, entry.energy_j)
        assert price <= entry.price
        kept = next(e for e in artifact.budgets if e.price == price)
        assert kept.energy_j <= entry.energy_j
    assert price_for(artifact, 1.0) == 0.0


def test_what_no_level_keeps_to_is_refused_with_the_range() -> None:
    artifact = program()
    least = min(entry.energy_j for entry in artifact.budgets)
    with refused(ConfigError, "ADL-BUD-02", where="digits-like", remedy=f"{least * 1e3:.4g} to"):
        price_for(artifact, 0.9 * least)


def test_a_program_without_a_table_is_refused() -> None:
    with refused(ConfigError, "ADL-BUD-01", remedy="--calibration", message="calibration"):
        price_for(compiled(calibrated=False).artifact, 1.0)
    plain = compile_network(small_network(), tiny_chip(), CompileOptions()).artifact
    assert plain.budgets == ()
    with refused(ConfigError, "ADL-BUD-01", remedy="gates", message="no gates"):
        price_for(plain, 1.0)


def test_the_table_is_stored_and_reported(tmp_path: Path) -> None:
    result = compiled()
    write_artifact(result.artifact, result.report, tmp_path / "out")
    assert load_artifact(tmp_path / "out").budgets == result.artifact.budgets
    reported = result.report["budgets"]
    assert isinstance(reported, list)
    assert [row["price"] for row in reported] == [e.price for e in result.artifact.budgets]
    network = result.report["network"]
    assert isinstance(network, dict)
    assert [layer["levels"] for layer in network["layers"]] == [[2, 4, 6], [3]]


def test_a_chosen_rank_drops_the_gate_and_its_table() -> None:
    result = compile_network(
        rate_gated_network(), tiny_chip(), CompileOptions(rank=4), calibration=None
    )
    assert result.artifact.budgets == ()
    assert not result.artifact.partitioned.gated_layers()


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_what_is_no_price_is_refused(price: float) -> None:
    with refused(ConfigError, "ADL-BUD-03", where="simulate", remedy="price_for"):
        simulate(program(), spikes(), price=price)
