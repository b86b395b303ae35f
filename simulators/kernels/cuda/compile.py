"""Kernels as machine code of a GPU, which need not be there."""

from __future__ import annotations

import os
import re
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
from numba import cuda

from mapping.artifact.atomic import atomic_file
from mapping.errors import ArtifactError
from simulators.kernels.cuda import events, sort, tiles
from simulators.kernels.cuda.events import find_unfit, scatter
from simulators.kernels.cuda.sort import add_parts, sort_by_rank
from simulators.kernels.cuda.tiles import expand, project

KERNELS: dict[str, tuple[Any, int, str, int]] = {
    "sort_by_rank": (sort_by_rank, sort.THREADS, "?iii", 4),
    "project": (project, tiles.THREADS, "ffiif", 8),
    "find_unfit": (find_unfit, events.THREADS, "fi", 4),
    "scatter": (scatter, events.THREADS, "?fiiif", 7),
    "add_parts": (add_parts, sort.THREADS, "if", 3),
    "expand": (expand, tiles.THREADS, "ffffiif", 9),
}
"""Each kernel, the threads of its blocks, the types of its pointers (f for float32, i for int32, ?
for what it is compiled for), and how many integers follow them."""


def to_ptx(name: str, dtype: str, capability: tuple[int, int]) -> tuple[str, str]:
    """Name of a kernel's entry, and its code in the GPU's portable assembly.

    Args:
        name: one of ``KERNELS``.
        dtype: what "?" stands for, a NumPy type.
        capability: the GPU's compute capability.
    """
    kernel, threads, pointers, integers = KERNELS[name]
    kinds = {"f": numba.float32, "i": numba.int32}
    if "?" in pointers:
        # A bool is read as the byte that it is.
        kinds["?"] = getattr(numba, "uint8" if dtype == "bool" else dtype)
    arguments = [cuda.types.CPointer(kinds[pointer]) for pointer in pointers]
    signature = numba.void(*arguments, *[numba.int64] * integers)
    code, _ = cuda.compile(
        kernel,
        signature,
        device=False,
        abi="numba",
        cc=capability,
        output="ptx",
        launch_bounds=threads,
    )
    (entry,) = re.findall(r"\.entry\s+(\w+)", code)
    return entry, code


def to_binary(code: str, capability: tuple[int, int]) -> bytes:
    """Machine code of a GPU from portable assembly.

    The driver could do that too, but not where it is older than the assembly's version.
    """
    from cuda.bindings import nvjitlink

    data = code.encode()
    linker = nvjitlink.create(1, [f"-arch=sm_{capability[0]}{capability[1]}"])
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(linker)
        binary = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, binary)
    finally:
        nvjitlink.destroy(linker)
    return bytes(binary)


def kernel_binary(name: str, dtype: str, capability: tuple[int, int]) -> tuple[str, bytes]:
    """Name of a kernel's entry and its machine code, from the user's cache or compiled now."""
    path = _cache_folder() / f"{name}-{dtype}-sm{capability[0]}{capability[1]}.cubin"
    try:
        entry, _, binary = path.read_bytes().partition(b"\n")
        if binary:
            return entry.decode(), binary
    except OSError:
        pass  # Not compiled yet.
    found, code = to_ptx(name, dtype, capability)
    binary = to_binary(code, capability)
    try:
        with atomic_file(path) as work:
            work.write_bytes(found.encode() + b"\n" + binary)
    except (OSError, ArtifactError):
        pass  # A cache that cannot be written costs the next process a second, nothing else.
    return found, binary


@cache
def _cache_folder() -> Path:
    """Where binaries of these sources are kept: in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    parts = [path.read_bytes() for path in sources]
    parts += [version(package).encode() for package in ("numba", "numba-cuda")]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "adlrns" / f"cuda-{sha256(b''.join(parts)).hexdigest()[:16]}"
