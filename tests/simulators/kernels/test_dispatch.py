"""The choice of a path: what it counts, where its figures come from, what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.errors import refused
from support.low_rank import random_call

from mapping.errors import ConfigError
from simulators.kernels import (
    PackedFactors,
    Workspace,
    calibrate,
    explain,
    permission,
    set_threads,
)
from simulators.kernels.job import BY_BFLOAT16, FEATURES, PATHS
from simulators.kernels.model import activity, count_turns
from simulators.kernels.pool import available_threads
from simulators.kernels.vector import GROUP, HALF, LANES, PANEL, TILE_ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this machine is measured for these tests, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither reads nor writes what the user has measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    calibrate.seconds_per_turn.cache_clear()
    yield
    calibrate.seconds_per_turn.cache_clear()
    set_threads(available_threads())


@pytest.fixture
def _empty_cache(_own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def counted(ranks: list[int], inputs: int, outputs: int, active: float) -> dict[str, np.ndarray]:
    """Turns by path."""
    shapes = (outputs, max(ranks)), (inputs, max(ranks))
    workspace = Workspace(PackedFactors(*(np.zeros(shape) for shape in shapes)), len(ranks))
    count_turns(workspace.job.ctypes.data, np.array(ranks), active)
    return dict(zip(PATHS, workspace.turns, strict=True))


def test_turns_of_each_path() -> None:
    ranks = [LANES + 1, 1, 0]
    turns = counted(ranks, 100, 3 * PANEL, 0.25)
    total = sum(ranks)
    lines = LANES // GROUP * GROUP + LANES % GROUP + 2
    assert turns["rows"][2] == lines * 100 + (LANES % GROUP != 0) * 300
    assert turns["rows"][6] == -(-(LANES + 1) // GROUP) + 1, "groups of ranks"
    assert turns["rows"][4] == total * 3 * PANEL
    assert turns["tiles"][2] == 4 * HALF * 100, "ranks rounded up to whole vectors"
    assert turns["tiles"][3] == 3 * HALF * 100, "one tile for each of three vectors of ranks"
    assert turns["events"][2] == 0.25 * 100 * 3, "each sample's ranks in whole vectors"
    assert turns["events"][3] == 2, "a panel for each sample with a rank"
    for path in ("tiles", "events"):
        assert turns[path][4] == total * 3
        assert turns[path][6] == 3, "one tile, three panels"
    assert {turns[path][1] for path in PATHS} == {3}


def test_a_tile_more_costs_a_tile_more() -> None:
    full = counted([LANES] * TILE_ROWS, 10, PANEL, 1)["tiles"]
    beyond = counted([LANES] * (TILE_ROWS + 1), 10, PANEL, 1)["tiles"]
    assert (full[3], beyond[3]) == (LANES * 10, 2 * LANES * 10)
    assert (full[6], beyond[6]) == (1, 2)
    assert (full[12], beyond[12]) == (0, 0)


def test_tiles_of_low_ranks_are_counted_apart() -> None:
    ranks = [HALF + 1, *[HALF] * (2 * TILE_ROWS)]
    assert counted(ranks, 10, 2 * PANEL, 1)["tiles"][12] == 2 * 2


def test_factors_beyond_the_second_cache_cost_extra() -> None:
    near, far = (counted([4], size, size, 1) for size in (1000, 100_000))
    assert near["rows"][3] == near["tiles"][7] == 0
    assert far["rows"][3] == 8 * 100_000
    assert far["tiles"][7] == 4 * far["rows"][3]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(1, 5000), (300, 7), (64, 64)])
def test_activity_is_sampled(share: float, shape: tuple[int, int]) -> None:
    x = (np.random.default_rng(0).random(shape) < share).astype(np.float32)
    assert activity(x) == pytest.approx(x.astype(bool).mean(), abs=0.1)


@pytest.mark.usefixtures("_empty_cache")
def test_measured_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibrate.seconds_per_turn()
    assert found.shape == (len(PATHS), FEATURES)
    assert (found >= 0).all()
    assert (found.sum(axis=1) > 0).all()
    assert calibrate.cache_file().is_relative_to(tmp_path)
    assert json.loads(calibrate.cache_file().read_text())["seconds_per_turn"] == found.tolist()
    monkeypatch.setattr(calibrate, "measure", lambda: pytest.fail("measured again"))
    calibrate.seconds_per_turn.cache_clear()
    np.testing.assert_array_equal(calibrate.seconds_per_turn(), found)


@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize("content", ["", "[1]", '{"seconds_per_turn": [[1, 2]]}', '{"a": 1}'])
def test_a_damaged_cache_is_measured_anew(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = np.ones((len(PATHS), FEATURES))
    monkeypatch.setattr(calibrate, "measure", lambda: measured)
    calibrate.cache_file().parent.mkdir()
    calibrate.cache_file().write_text(content)
    np.testing.assert_array_equal(calibrate.seconds_per_turn(), measured)
    calibrate.seconds_per_turn.cache_clear()
    monkeypatch.setattr(calibrate, "measure", lambda: pytest.fail("it was not written"))
    np.testing.assert_array_equal(calibrate.seconds_per_turn(), measured)


@pytest.mark.usefixtures("_empty_cache")
def test_a_machine_that_may_not_round_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system denies registers: other figures than of one that may."""
    before = calibrate.cache_file()
    monkeypatch.setattr(permission, "may_multiply", lambda: False)
    monkeypatch.setattr(calibrate, "CALLS", 3)
    assert calibrate.cache_file() != before
    found = calibrate.seconds_per_turn()
    assert not found[BY_BFLOAT16].any()
    assert found[:BY_BFLOAT16].any(axis=1).all()


@pytest.mark.usefixtures("_empty_cache")
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(calibrate, "measure", lambda: np.ones((len(PATHS), FEATURES)))
    assert calibrate.seconds_per_turn().all()


@pytest.mark.usefixtures("_empty_cache")
def test_a_cache_whose_place_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate.cache_file().mkdir(parents=True)
    monkeypatch.setattr(calibrate, "measure", lambda: np.ones((len(PATHS), FEATURES)))
    assert calibrate.seconds_per_turn().all()


@pytest.mark.slow
def test_the_model_predicts_what_it_was_not_fitted_to() -> None:
    """Within a factor of three on a machine that others use too: enough to tell paths apart."""
    chosen = calibrate.seconds_per_turn()
    again = calibrate.measure()
    turns = np.array(list(counted([20] * 64, 512, 512, 1.0).values()))
    ratio = (chosen * turns).sum(axis=1) / (again * turns).sum(axis=1)
    assert ((ratio > 1 / 3) & (ratio < 3)).all()


def test_one_sample_goes_by_rows_and_many_by_tiles() -> None:
    set_threads(1)
    for batch, path in ((1, "rows"), (256, "tiles")):
        call = random_call(np.random.default_rng(0), (256, 512, 64), batch)
        call.ranks[:] = 16
        choice = explain(call.x, PackedFactors(call.U, call.V), call.ranks)
        assert choice.path == path
        assert choice.threads == 1
        assert choice.activity == 1
        assert choice.seconds[path] == min(choice.seconds.values())
        for text in (path, "rows", "tiles", "events", "threads: 1", "100 % of the inputs"):
            assert text in str(choice)
        assert "bfloat16" not in str(choice)
        assert "bfloat16" in str(explain(call.x, PackedFactors(call.U, call.V, bfloat16=True), 16))


def test_few_events_are_gathered_unless_v_is_not_finite() -> None:
    call = random_call(np.random.default_rng(0), (128, 2048, 128), 64, activity=0.02)
    call.ranks[:] = 128
    assert explain(call.x, PackedFactors(call.U, call.V), 128).path == "events"
    call.V[0, 0] = np.inf
    choice = explain(call.x, PackedFactors(call.U, call.V), 128)
    assert choice.path != "events"
    assert choice.seconds["events"] == np.inf


def test_threads_share_large_calls_alone() -> None:
    set_threads(2)
    rng = np.random.default_rng(0)
    for batch, threads in ((1, 1), (1024, 2)):
        call = random_call(rng, (64 * batch, 256, 16), batch if batch == 1 else 256)
        assert explain(call.x, PackedFactors(call.U, call.V), 16).threads == threads


def test_nothing_to_explain() -> None:
    factors = PackedFactors(np.ones((4, 2)), np.ones((3, 2)))
    with refused(ConfigError, "ADL-KRN-02", where="x", message="no sample", remedy="at least one"):
        explain(np.empty((0, 3), np.float32), factors, 1)
