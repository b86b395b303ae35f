"""What a new process loads, how long it takes, and kernels for other CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from simulators.kernels import vector

ROOT = Path(__file__).parents[3]
SSE = "+sse2,+ssse3,+sse4.1,+sse4.2"
LIGHT = """
import sys
import simulators.kernels
heavy = {"torch", "numba", "lava", "adlrns_neuro"} & sys.modules.keys()
assert not heavy, heavy
"""
FIRST_CALL = """
import time
import numpy as np
from simulators.kernels import low_rank_forward
x, U, V = np.ones((64, 256), np.float32), np.ones((128, 32)), np.ones((256, 32))
start = time.process_time()
y = low_rank_forward(x, U, V, 32)
print(time.process_time() - start)
assert (y == 256 * 32).all()
import sys
assert "torch" not in sys.modules
"""
ALL_PATHS = """
import numpy as np
from support.low_rank import random_call
from simulators.kernels import PackedFactors, Workspace
from simulators.kernels.forward import run_path
from simulators.kernels.job import PATHS
from simulators.kernels.vector import LANES
assert LANES == {lanes}, LANES
rng = np.random.default_rng(0)
for batch in (1, 3, 8, 21):
    for path in PATHS:
        call = random_call(rng, (45, 70, 37), batch, activity=0.5)
        factors = PackedFactors(call.U, call.V, bfloat16=path == "bfloat16")
        out = np.empty((batch, 45), np.float32)
        run_path(path, factors, call.x, call.ranks, out, Workspace(factors, batch), threads=2)
        call.check(out, path=path)
"""
CHAINS = """
import sys
import pytest
tests = [f"tests/simulators/kernels/test_{kind}.py" for kind in ("gated", "probed")]
sys.exit(pytest.main(["-q", *tests]))
"""
FOR_ARM = """
import re
import llvmlite.binding as llvm
from simulators.kernels.call import run
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
triple = "aarch64-unknown-linux-gnu"
machine = llvm.Target.from_triple(triple).create_target_machine(cpu="neoverse-n1", opt=3)
(signature,) = run.signatures
code = re.sub('target (triple|datalayout) = .*', "", run.inspect_llvm(signature))
module = llvm.parse_assembly(code)
module.triple = triple
products = re.findall(r"fmla\\s+v\\d+\\.4s", machine.emit_assembly(module))
assert len(products) > 60, products
"""


def python(program: str, **environment: str) -> str:
    """Output of a program in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_kernels_loads_nothing_heavy() -> None:
    python(LIGHT)


def test_the_first_call_of_a_process_is_quick_once_kernels_are_cached() -> None:
    """In time of the processor, for others use it too."""
    python(FIRST_CALL)
    assert min(float(python(FIRST_CALL)) for _ in range(2)) < 2


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names features of x86-64")
@pytest.mark.parametrize(
    ("features", "lanes"),
    [(SSE, 4), ("+sse2,+sse4.2,+avx,+avx2,+fma", 8)],
)
def test_narrower_vectors_compute_the_same(features: str, lanes: int) -> None:
    python(ALL_PATHS.format(lanes=lanes), NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    python(CHAINS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)


@pytest.mark.slow
@pytest.mark.skipif(not vector.MATRICES, reason="this CPU has no matrix registers (AMX)")
@pytest.mark.parametrize("without", [("amx",), ("amx", "avx512bf16")])
def test_bfloat16_without_matrix_registers(without: tuple[str, ...]) -> None:
    """In vectors, of pairs or of float32."""
    has = llvm.get_host_cpu_features()
    features = [name for name, there in has.items() if there and not name.startswith(without)]
    environment = {
        "NUMBA_CPU_NAME": llvm.get_host_cpu_name(),
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in features),
    }
    python(ALL_PATHS.format(lanes=16), **environment)


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="elsewhere the kernels are ARM's own")
def test_the_same_code_becomes_vector_instructions_of_arm(tmp_path: Path) -> None:
    """In an empty cache: of a kernel that was cached Numba does not show the code."""
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    python(FOR_ARM, NUMBA_CPU_FEATURES=SSE, **environment)


def test_cached_kernels_of_other_sources_are_forgotten(tmp_path: Path) -> None:
    """Numba would load them: it looks at the file of a kernel, not at those it takes code from."""
    old, foreign = tmp_path / "run.run_tiles-1.py311.1.nbc", tmp_path / "mine.f-1.py311.nbi"
    for again in (False, True, False):
        vector._forget_other_sources.cache_clear()
        old.touch()
        foreign.touch()
        vector._forget_other_sources(tmp_path)
        assert old.exists() == again, "kept only while the sources are the same"
        assert foreign.exists()
        if again:
            (stamp,) = tmp_path.glob("*.sha256")
            stamp.write_text("other sources")


def test_a_panel_is_a_power_of_two_of_whole_vectors() -> None:
    assert vector.PANEL == 2 * vector.LANES
    assert np.log2(vector.LANES) % 1 == 0
    assert vector.TILE_ROWS in (4, 8)
