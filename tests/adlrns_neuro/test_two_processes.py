"""Two processes that share every batch do what one does alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from support.training import model, two_batches
from torch import Tensor

from adlrns_neuro.training.checkpoint import load_weights

ROOT = Path(__file__).parents[2]


def weights(path: Path) -> dict[str, Tensor]:
    made = model()
    load_weights(made, path)
    return made.state_dict()


def test_two_processes_end_as_one_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "support.training", str(tmp_path / "two"), "--shared"),
        ],
        cwd=ROOT / "tests",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "refused: ADL-TRN-08 · train_loader: batches of 15" in done.stdout
    alone = two_batches(tmp_path / "one")

    two, one = weights(tmp_path / "two" / "last.safetensors"), weights(alone.last)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)
    names = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "one").iterdir())
