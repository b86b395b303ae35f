"""One network for all ranks beside one per rank, on the digits in little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.errors import refused

from adlrns_neuro.config import parse_config, with_settings
from adlrns_neuro.experiments import study
from adlrns_neuro.gates.scorers import SCORERS
from mapping.errors import ConfigError

CONFIG = {
    "data": {"set": "digits", "held_out_share": 0.2},
    "model": {"type": "adlrns_mlp", "hidden": [32, 32], "levels": [2, 8], "level_bias": True},
    "train": {"batch_size": 64, "epochs": 3, "teacher_epochs": 3, "lr": 5e-3},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "STREAM", 100)
        return study.rank_study(
            parse_config(CONFIG), tmp_path_factory.mktemp("study"), (900, 1100), progress=False
        )


def test_the_operations_of_each_rank_are_counted(found: dict[str, dict[str, dict]]) -> None:
    for rank in (2, 8):
        macs = rank * (64 + 32) + rank * (32 + 32) + 32 * 10
        assert found["levels"][str(rank)]["macs"] == macs
        assert found["rivals"]["one rank"][str(rank)]["macs"] == macs
    assert found["training_macs"]["one"] == found["training_macs"]["rivals"]
    assert found["dense"]["macs"] == 64 * 32 + 32 * 32 + 32 * 10


def test_budgets_are_kept_and_compared_where_they_were_spent(
    found: dict[str, dict[str, list[dict]]],
) -> None:
    assert set(found["budgets"]) == set(SCORERS.names())
    low, high = sorted(rival["accuracy"] for rival in found["rivals"]["one rank"].values())
    for points in found["budgets"].values():
        for point in points:
            assert point["macs"] <= 1.1 * point["budget_macs"]
            assert low <= point["rivals_accuracy"] <= high
            assert sum(point["level_shares"]) == pytest.approx(1.0)
            assert point["price"] >= 0.0


def test_rivals_of_layers_that_have_ranks_of_their_own() -> None:
    """Those ranks, and one for all layers; the better family counts."""
    model = {"type": "adlrns_mlp", "hidden": [32, 32], "layer_levels": [[4, 8], [2, 6]]}
    config = parse_config(CONFIG | {"model": model})
    families = study.rival_ranks(config.model)
    assert list(families) == ["own ranks", "one rank"]
    changed = [
        [with_settings(config, ranks).model for ranks in family.values()]
        for family in families.values()
    ]
    assert [one.layer_levels for one in changed[0]] == [((4,), (2,)), ((8,), (6,))]
    assert [one.levels for one in changed[1]] == [(4,), (8,)]
    assert all(one.layer_levels is None for one in changed[1])
    assert [list(family) for family in families.values()] == [[4, 8], [4, 8]]


def test_a_study_of_a_network_with_an_early_exit(tmp_path: Path) -> None:
    """Its rivals have no exit, and ranks of their own."""
    model = CONFIG["model"] | {"early_exit": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "STREAM", 20)
        config = parse_config(CONFIG | {"model": model})
        found = study.rank_study(config, tmp_path, (700,), rivals=(3, 6, 9), progress=False)
    assert found["levels"]["2"]["macs"] == 2 * (64 + 32) + 32 * 10
    assert found["levels"]["8"]["macs"] == 8 * (64 + 32 + 32 + 32) + 32 * 10
    assert list(found["rivals"]) == ["one rank"]
    for rank, rival in found["rivals"]["one rank"].items():
        assert rival["macs"] == int(rank) * (64 + 32 + 32 + 32) + 32 * 10
    assert [int(rank) for rank in found["rivals"]["one rank"]] == [3, 6, 9]
    for points in found["budgets"].values():
        assert points[0]["macs"] <= 1.1 * 700


def test_a_study_of_layers_that_have_ranks_of_their_own(tmp_path: Path) -> None:
    model = {"type": "adlrns_mlp", "hidden": [32, 32], "layer_levels": [[4, 8], [2, 6]]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "STREAM", 20)
        config = parse_config(CONFIG | {"model": model})
        found = study.rank_study(config, tmp_path, (1500,), progress=False)
    for first, second in ((4, 2), (8, 6)):
        macs = first * (64 + 32) + second * (32 + 32) + 32 * 10
        assert found["levels"][str(first)]["macs"] == macs
        assert found["rivals"]["own ranks"][str(first)]["macs"] == macs
        equal = first * (64 + 32 + 32 + 32) + 32 * 10
        assert found["rivals"]["one rank"][str(first)]["macs"] == equal
    assert found["training_macs"]["one"] == found["training_macs"]["rivals"]
    (point,) = found["budgets"][study.SCORER]
    families = []
    for family in found["rivals"].values():
        known = [(rival["macs"], rival["accuracy"]) for rival in family.values()]
        families.append(np.interp(point["macs"], *zip(*known, strict=True)))
    assert point["rivals_accuracy"] == pytest.approx(max(families))


def test_steps_of_the_budget_are_followed(found: dict[str, list[dict[str, float]]]) -> None:
    for step in found["steps"]:
        assert step["spent_mj"] == pytest.approx(step["budget_mj"], rel=0.08)
        assert step["accuracy"] == pytest.approx(step["offline_accuracy"], abs=0.08)


def test_a_finished_study_is_taken_up_again(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "STREAM", 20)
        first, again = (
            study.rank_study(parse_config(CONFIG), tmp_path, (1500,), resume=resume, progress=False)
            for resume in (False, True)
        )
    assert first == again


def test_a_spiking_network_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    spiking = {"type": "adlrns_snn", "hidden": [16], "levels": [2, 8], "snn": {"steps": 4}}
    with refused(ConfigError, "ADL-RNK-01", where="RankedSnnClassifier", remedy="Ranked"):
        study.rank_study(parse_config(CONFIG | {"model": spiking}), tmp_path, (1500,))
    assert not list(tmp_path.iterdir())
