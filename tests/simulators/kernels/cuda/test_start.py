"""What loading the GPU's part costs, and what is said where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.errors import refused
from support.gpu import WITHOUT_GPU

from mapping.errors import ConfigError, MissingDependencyError, SimulationError
from simulators.kernels.cuda import forward, low_rank_forward, require_gpu, workspace_bytes

LIGHT = """
import sys
import simulators.kernels.cuda
heavy = {"torch", "numba", "cuda", "lava", "adlrns_neuro"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_importing_loads_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], cwd=Path(__file__).parents[4], check=True)


@pytest.mark.skipif(not WITHOUT_GPU, reason="there is a GPU")
def test_no_gpu() -> None:
    require_gpu.cache_clear()
    for call in (require_gpu, lambda: workspace_bytes(1, 1), lambda: low_rank_forward(*[0] * 4)):
        with refused(ConfigError, "ADL-GPU-02", message="driver", remedy="NumPy"):
            call()


def test_no_package_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "find_spec", lambda name: None)
    require_gpu.cache_clear()
    with refused(MissingDependencyError, "ADL-GPU-01", remedy="adlrns[cuda]"):
        require_gpu()
    require_gpu.cache_clear()


def test_the_driver_refuses() -> None:
    from cuda.bindings.driver import CUresult

    from simulators.kernels.cuda.launch import checked

    with refused(SimulationError, "ADL-GPU-03", where="project", message="OUT_OF_MEMORY"):
        checked((CUresult.CUDA_ERROR_OUT_OF_MEMORY,), "project")
    assert checked((CUresult.CUDA_SUCCESS, 7), "project") == (7,)
