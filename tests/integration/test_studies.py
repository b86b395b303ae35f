"""The studies of examples/experiments in little, and the page made of their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.data_files import write_waves

EXPERIMENTS = Path(__file__).parents[2] / "examples" / "experiments"
STUDY = """
set: spoken-digits
options: {threshold: 0.5, frames: 8}
held_out_share: 0.3
neurons_per_core: 8
calibration_samples: 10
snn: {hidden: 16, levels: [2, 4], relay_threshold: 0.5}
training: {teacher_epochs: 1, nested_epochs: 1, open_at: 2}
"""


def program(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXPERIMENTS / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_spiking_study_ends_in_figures_and_a_page(tmp_path: Path) -> None:
    write_waves(tmp_path)
    (tmp_path / "little.yaml").write_text(STUDY)
    (tmp_path / "docs").mkdir()
    ran = program(
        "snn_study.py", "--config", "little.yaml", "--data-dir", ".", "--seed", "3", folder=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results" / "little" / "seed3.json").read_text())
    (part,) = found["parts"]
    assert part["levels"] == [2, 4]
    assert len(part["curve"]) == 5
    assert 0 <= part["chosen"] < 5
    operations = [point["synaptic_ops"] for point in part["curve"]]
    assert operations == sorted(operations)
    assert found["command"] == ("python snn_study.py --config little.yaml --data-dir DIR --seed 3")

    again = program(
        *("snn_study.py", "--config", "little.yaml", "--data-dir", ".", "--seed", "3", "--resume"),
        folder=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    assert "teacher" not in again.stderr
    assert json.loads((tmp_path / "results" / "little" / "seed3.json").read_text()) == found

    page = program("write_results.py", folder=tmp_path)
    assert page.returncode == 0, page.stderr
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "## little" in text
    assert f"{100 * part['dense']['accuracy']:.2f}" in text


GRADED = """
set: spoken-digits
options: {frames: 8}
parts: {speaker: [ann, bob]}
payload_unit: 0.2
frames_per_step: 2
image: [8, 40]
turns_deg: [90]
shift: [1, 0]
trace_thresholds: [2.0]
held_out_share: 0.3
neurons_per_core: 8
calibration_samples: 10
snn: {hidden: 16, levels: [2, 4]}
training: {teacher_epochs: 1, nested_epochs: 1, open_at: 2}
"""


def test_features_stacked_in_steps_and_a_part_for_each_speaker(tmp_path: Path) -> None:
    write_waves(tmp_path)
    (tmp_path / "graded.yaml").write_text(GRADED)
    (tmp_path / "docs").mkdir()
    ran = program("snn_study.py", "--config", "graded.yaml", "--data-dir", ".", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results" / "graded" / "seed0.json").read_text())
    assert len(found["parts"]) == 2
    for part in found["parts"]:
        assert part["samples"]["train"] == 2 * 3 * 49
        (triggered,) = part["triggered"]
        assert triggered["trace_threshold"] == 2.0
        assert 0 < triggered["synaptic_ops"] < part["dense"]["synaptic_ops"]

    assert program("write_results.py", folder=tmp_path).returncode == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "each speaker once" in text
    assert "event-triggered" in text


def test_a_key_that_a_study_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("set: n-mnist\nfold: 3\n")
    ran = program("snn_study.py", "--config", "wrong.yaml", folder=tmp_path)
    assert ran.returncode == 2
    assert "ADL-YML-03" in ran.stderr
    assert "fold" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_page_is_that_of_the_figures(tmp_path: Path) -> None:
    root = EXPERIMENTS.parents[1]
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").symlink_to(root / "results")
    assert program("write_results.py", folder=tmp_path).returncode == 0
    made = (tmp_path / "docs" / "results.md").read_text()
    assert made == (root / "docs" / "results.md").read_text()
