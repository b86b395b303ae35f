"""A run that is killed ends where it would have ended, to the last bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.training import train

ROOT = Path(__file__).parents[2]


def killed(folder: Path, *options: str) -> None:
    """Start the run as a process of its own, which has to die by SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-m", "support.training", str(folder), *options],
        cwd=ROOT / "tests",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def same_files(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(
    "options",
    [
        ("--kill-at", "220"),  # inside the second epoch, after a checkpoint inside it
        pytest.param(("--kill-at", "20"), marks=pytest.mark.slow),  # before the first checkpoint
        pytest.param(("--kill-at", "430"), marks=pytest.mark.slow),
        pytest.param(("--kill-in-write", "5"), marks=pytest.mark.slow),
        pytest.param(("--kill-in-write", "9"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, options: tuple[str, ...]) -> None:
    killed(tmp_path / "cut", *options)
    assert not (tmp_path / "cut" / "last.safetensors").exists()
    resumed = train(tmp_path / "cut", resume=True)
    whole = train(tmp_path / "whole")

    same_files(tmp_path / "cut", tmp_path / "whole")
    assert resumed.history == whole.history
    assert len(whole.history) == 3


def test_checkpoints_inside_epochs_change_nothing(tmp_path: Path) -> None:
    one = train(tmp_path / "one", checkpoint_steps=None)
    other = train(tmp_path / "other", checkpoint_steps=1)
    assert one.last.read_bytes() == other.last.read_bytes()
    assert one.history == other.history


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    assert (
        train(tmp_path / "a").last.read_bytes() != train(tmp_path / "b", lr=1e-2).last.read_bytes()
    )
