"""The tests of the results, on Numba's simulator of a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_results_without_a_gpu() -> None:
    """The simulator has to be chosen before Numba is loaded: in a process of its own."""
    tests = HERE / "test_results.py"
    apart = ("-p", "no:cacheprovider", "-k", "not of_torch")  # Torch knows no simulator.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *apart, str(tests)],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=HERE.parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout, done.stdout
