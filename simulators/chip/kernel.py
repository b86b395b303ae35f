"""How the kernels are compiled.

They are given arrays and never make any, so Numba need not count references: with that on, every
call touched the counter of each array in the program's and the state's tuples, which took four
fifths of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba

from mapping.semantics import fixedpoint

Function = Callable[..., Any]

_njit: Any = numba.njit
_OPTIONS = {"cache": True, "nogil": True, "_nrt": False}
_HERE = Path(__file__).parent
_STAMP = "chip-kernels.sha256"


def kernel(function: Function) -> Function:
    """Compile ``function``, a loop that is worth a call, to be cached on disk."""
    compiled = _njit(**_OPTIONS)(function)
    _forget_other_sources(Path(compiled.stats.cache_path))
    found: Function = compiled
    return found


def inlined(function: Function) -> Function:
    """Compile ``function`` into whatever calls it; the tuples it is given need not be copied."""
    compiled: Function = _njit(**_OPTIONS, inline="always")(function)
    return compiled


@cache
def _forget_other_sources(folder: Path) -> None:
    """Empty a folder of cached kernels if any source has changed since they were compiled.

    Numba looks at the file of a kernel alone, not at those that it inlines or takes constants from.
    """
    sources = (*sorted(_HERE.glob("*.py")), Path(fixedpoint.__file__))
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return
    for path in _HERE.glob("*.py"):
        for old in folder.glob(f"{path.stem}.*.nb?"):
            old.unlink(missing_ok=True)
    stamp.write_text(digest)
