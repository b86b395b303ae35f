from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from adlrns_neuro.demo import results_table, run_demo
from adlrns_neuro.trainer import TrainingConfig

SHORT = TrainingConfig(teacher_epochs=4, nested_epochs=6)


@pytest.mark.lava
def test_demo_goes_all_the_way(tmp_path: Path) -> None:
    results = run_demo(tmp_path, SHORT, lava_samples=20, progress=False)
    assert [result.rank for result in results] == [4, 8, 16]
    for result in results:
        assert abs(result.integer_accuracy - result.float_accuracy) <= 0.02
        assert result.lava_accuracy is not None
        assert result.energy_low_j < result.energy_j < result.energy_high_j
        assert result.status == "assumed"
        assert (tmp_path / f"rank-{result.rank}.png").stat().st_size > 10_000
        report = json.loads((Path(result.artifact) / "report.json").read_text())
        assert report["cores"]["used"] == result.cores
        assert report["noc"]["traffic"] == "measured"
    assert results[0].energy_j < results[-1].energy_j
    console = Console(width=80, record=True)
    console.print(results_table(results))
    text = console.export_text()
    assert "of 20" in text
    assert "assumed" in text
