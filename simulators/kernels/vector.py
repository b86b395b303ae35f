"""How wide this machine's vectors are, and how kernels are compiled and cached.

Numba compiles for the host, or for ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``, and caches under
both, so the widths that are chosen here are part of what a cached kernel was compiled for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])

_config: Any = config
_njit: Any = numba.njit
_HERE = Path(__file__).parent
_STAMP = "low-rank-kernels.sha256"


def _has(feature: str) -> bool:
    """Whether the CPU that Numba compiles for has an instruction set."""
    if _config.CPU_FEATURES is not None:
        return f"+{feature}" in _config.CPU_FEATURES.split(",")
    return bool(llvm.get_host_cpu_features().get(feature, False))


def _lanes() -> int:
    """float32 numbers in a vector register: 16 with AVX-512, 8 with AVX, else 4 (SSE, NEON)."""
    if _has("avx512f"):
        return 16
    return 8 if _has("avx") else 4


LANES = _lanes()
PANEL = 2 * LANES
"""Columns of a panel: two vectors, see :mod:`simulators.kernels.tiles`."""
HALF = LANES // 2
"""Ranks of V in a vector of tiles, each for two inputs side by side: so a number of a sample's that
is loaded serves two multiplications of vectors in 16 ranks, or one in 8, half as many as alone."""
TILE_ROWS = 4 if LANES == 8 else 8
"""Samples of a register tile: 16 sums fit 32 registers (AVX-512, NEON), 8 fit the 16 of AVX."""
GROUP = 8
"""Ranks whose products with one sample are summed up together, see :mod:`.rows`."""
BLOCK_ROWS = 32
"""Samples of a block of products of bfloat16, see :mod:`.bfloat16`."""
BFLOAT16 = LANES == 16 and _has("avx512bf16")
MATRICES = BFLOAT16 and _has("amx-bf16")
"""Whether one instruction multiplies pairs of bfloat16, and whether matrix registers do."""
STRIP = 2 * TILE_ROWS
"""Vectors of one sample's outputs that stay in registers over all ranks, a power of two."""


def kernel(function: Function) -> Function:
    """Compile ``function`` for arrays and addresses, without Python's lock, to be cached on disk.

    Such functions make no arrays, so Numba need not count references.
    """
    compiled = _njit(cache=True, nogil=True, _nrt=False)(function)
    _forget_other_sources(Path(compiled.stats.cache_path))
    found: Function = compiled
    return found


def part(function: Function) -> Function:
    """As :func:`kernel`, for a function of few callers that becomes part of their code.

    Each kernel is compiled anew within each of its callers, so the deeper they call, the longer
    that takes.
    """
    found: Function = _njit(inline="always", nogil=True, _nrt=False)(function)
    return found


def entry(*arguments: Any) -> Callable[[Function], Function]:
    """As :func:`kernel`, for a function that Python calls: compiled once, for these types.

    Left to itself Numba would compile another version for every layout of an array.
    """

    def compiled(function: Function) -> Function:
        found = kernel(function)
        dispatcher: Any = found
        dispatcher.compile(arguments)
        dispatcher.disable_compile()
        return found

    return compiled


MATRIX: Any = numba.types.Array(numba.float32, 2, "A", readonly=True)
"""float32, any strides, read or written by address alone."""
OUTPUT: Any = numba.types.Array(numba.float32, 2, "A")
HALF_MATRIX: Any = numba.types.Array(numba.uint16, 2, "A", readonly=True)
"""bfloat16, as its bits."""
HALF_OUTPUT: Any = numba.types.Array(numba.uint16, 2, "A")
VECTOR: Any = numba.types.Array(numba.float32, 1, "C", readonly=True)
RANKS: Any = numba.types.Array(numba.int64, 1, "A", readonly=True)
INTEGERS: Any = numba.types.Array(numba.int64, 1, "C")


@cache
def _forget_other_sources(folder: Path) -> None:
    """Empty a folder of cached kernels if any source has changed since they were compiled.

    Numba looks at the file of a kernel alone, not at those that it takes code from.
    """
    sources = sorted(_HERE.glob("*.py"))
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return
    for path in sources:
        for old in folder.glob(f"{path.stem}.*.nb?"):
            old.unlink(missing_ok=True)
    stamp.write_text(digest)
