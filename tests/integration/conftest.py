"""The example scripts, run in order once; later tests look at what they wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def run_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Run an example by name in a folder shared by the session; returns what it printed.

    MKL rounds alike on all x86 CPUs then, or what a training comes to would differ between them.
    """
    folder = tmp_path_factory.mktemp("examples")
    printed: dict[str, str] = {}

    def run(name: str) -> str:
        if name not in printed:
            command = [sys.executable, "-W", "error", str(EXAMPLES / name), str(folder / "out")]
            alike = {**os.environ, "MKL_CBWR": "COMPATIBLE"}
            done = subprocess.run(
                command, cwd=folder, env=alike, capture_output=True, text=True, timeout=280
            )
            assert done.returncode == 0, done.stderr
            printed[name] = done.stdout
        return printed[name]

    run.folder = folder / "out"  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="session")
def trained(run_example: Callable[[str], str]) -> Path:
    """Folder with a trained network and its input files."""
    run_example("01_train.py")
    return run_example.folder  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="session")
def compiled(trained: Path, run_example: Callable[[str], str]) -> Path:
    """The same folder once every rank is compiled."""
    run_example("02_compile.py")
    return trained
