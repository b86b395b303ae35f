"""The low-rank map of a batch whose samples have ranks of their own, on this machine's CPU."""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError
from simulators.kernels.dispatch import Choice, choose, decide
from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors
from simulators.kernels.pool import pool
from simulators.kernels.workspace import Workspace

EXACT = ("bool", "int8", "uint8", "int16", "uint16")
"""Types of events, which all have an exact float32."""
_NOTHING = np.empty(0, np.float32)


def low_rank_forward(
    x: NDArray[Any],
    U: ArrayLike | PackedFactors,
    V: ArrayLike | None,
    ranks: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    out: Float32Array | None = None,
    workspace: Workspace | None = None,
) -> Float32Array:
    """y_i = U[:, :r_i] (scale[:r_i] · (V[:, :r_i]ᵀ x_i)) + bias, at the cost of each sample's rank.

    Columns of U, V and scale beyond a sample's rank do not enter its output, whatever they hold;
    NaN and infinity in those within, in x and in bias do. Sums are float32, of any order. With
    ``out`` and ``workspace`` given nothing is allocated, once both have been used.

    Args:
        x: inputs, shape (..., in), any strides: dense float32, or events as bool, int8, uint8,
            int16 or uint16. Inputs of 0 may be passed over where V is finite.
        U: output factor, shape (out, r_max); or both factors packed, which saves packing them
            anew at every call.
        V: input factor, shape (in, r_max); None if ``U`` is packed.
        ranks: integers 0 to r_max, broadcast to the leading axes of x.
        scale: gain by which each of the r_max numbers between the factors is multiplied, such as
            singular values, shape (r_max,); 1 if None.
        bias: shape (out,), added whatever the rank; 0 if None.
        out: receives the outputs, float32, shape (..., out), any strides, apart from x.
        workspace: for at least as many samples as x has.

    Returns:
        Outputs, float32, shape (..., out); ``out`` if given.

    Raises:
        ConfigError: ``ADL-KRN-01`` when the factors do not fit each other, ``ADL-KRN-02`` when an
            array has the wrong shape or type, ``ADL-KRN-03`` on a rank out of range,
            ``ADL-KRN-04`` when the workspace is too small or of other factors.
    """
    factors = U if isinstance(U, PackedFactors) else PackedFactors(U, _given(V))
    workspace = _workspace(factors, x, workspace)
    shape = (*x.shape[:-1], factors.outputs)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.writeable:
        _refuse("out", f"it is {out.dtype} of shape {out.shape}", f"pass float32 of shape {shape}")
    elif np.may_share_memory(out, x):
        _refuse("out", "it may overlap x", "pass memory of its own")
    gains = _NOTHING if scale is None else _vector(scale, factors.r_max, "scale")
    start = _NOTHING if bias is None else _vector(bias, factors.outputs, "bias")
    if not out.size:
        return out
    chosen = _ranks_of(ranks, workspace, x.shape[:-1])
    rows, into = _rows(x, workspace, len(chosen)), _into(out, workspace, len(chosen))
    threads = min(workspace.threads, pool().threads)
    path, threads, _ = decide(factors, rows, chosen, workspace, threads)
    run_path(path, factors, rows, chosen, into, workspace, scale=gains, bias=start, threads=threads)
    if workspace.holds(into):
        np.copyto(out, into.reshape(shape))
    return out


def explain(
    x: NDArray[Any], factors: PackedFactors, ranks: ArrayLike, *, workspace: Workspace | None = None
) -> Choice:
    """Which path and how many threads :func:`low_rank_forward` would choose for a call, and why.

    Args:
        x: inputs, shape (..., in), at least one sample.
        factors: the factor pair.
        ranks: integers 0 to r_max, broadcast to the leading axes of x.
        workspace: as of the call.

    Raises:
        ConfigError: as :func:`low_rank_forward`.
    """
    workspace = _workspace(factors, x, workspace)
    if not x.size:
        _refuse("x", "it has no sample", "pass at least one")
    chosen = _ranks_of(ranks, workspace, x.shape[:-1])
    rows = _rows(x, workspace, len(chosen))
    return choose(factors, rows, chosen, workspace, min(workspace.threads, pool().threads))


@cache
def _compiled() -> ModuleType:
    """The compiled paths, loaded when a first call needs them."""
    from simulators.kernels import run

    return run


def _workspace(factors: PackedFactors, x: NDArray[Any], given: Workspace | None) -> Workspace:
    """The workspace that was given, or a new one, with room for all samples of x."""
    if x.ndim == 0 or x.shape[-1] != factors.inputs:
        _refuse("x", f"it has shape {x.shape}", f"pass a last axis of {factors.inputs}")
    batch = x.size // factors.inputs
    if given is None:
        return Workspace(factors, batch)
    if given.batch < batch:
        raise ConfigError(
            f"it has room for {given.batch} samples, x has {batch}",
            where="low_rank_forward.workspace",
            remedy=f"make it for {batch} samples",
            code="ADL-KRN-04",
        )
    return given


def _given(V: ArrayLike | None) -> ArrayLike:
    if V is None:
        raise ConfigError(
            "there is no input factor",
            where="low_rank_forward.V",
            remedy="pass V of shape (in, r_max), or PackedFactors as U",
            code="ADL-KRN-01",
        )
    return V


def _refuse(name: str, message: str, remedy: str) -> NoReturn:
    raise ConfigError(message, where=f"low_rank_forward.{name}", remedy=remedy, code="ADL-KRN-02")


def _vector(array: ArrayLike | None, size: int, name: str) -> Float32Array:
    """An optional argument as ``size`` contiguous float32, or empty."""
    if array is None:
        return _NOTHING
    found = np.ascontiguousarray(array, np.float32)
    if found.shape != (size,):
        _refuse(name, f"it has shape {found.shape}", f"pass shape ({size},)")
    return found


def _ranks_of(ranks: ArrayLike, workspace: Workspace, leading: tuple[int, ...]) -> Int64Array:
    """Every sample's rank, in the workspace."""
    given = np.asarray(ranks)
    if given.dtype.kind not in "iu":
        _refuse("ranks", f"they are {given.dtype}", "pass integers")
    chosen = workspace.ranks[: math.prod(leading)]
    try:
        np.copyto(chosen.reshape(leading), given, casting="unsafe")
    except ValueError:
        _refuse(
            "ranks", f"shape {given.shape} does not fit", f"pass ranks that broadcast to {leading}"
        )
    return chosen


def _rows(x: NDArray[Any], workspace: Workspace, batch: int) -> Float32Array:
    """Inputs as float32 rows whose numbers lie side by side: themselves if they are."""
    if x.dtype == np.float32 and x.flags.aligned:
        if x.ndim == 2 and (x.strides[1] == 4 or x.shape[1] == 1):
            return x
        if x.flags.c_contiguous:
            return x.reshape(batch, x.shape[-1])
    elif x.dtype.name not in EXACT:
        _refuse("x", f"it is {x.dtype}", f"pass float32, or events as {', '.join(EXACT)}")
    staged = workspace.staged_x()[:batch]
    np.copyto(staged.reshape(x.shape), x, casting="unsafe")
    return staged


def _into(out: Float32Array, workspace: Workspace, batch: int) -> Float32Array:
    """Rows to write outputs to: those of ``out`` if their numbers lie side by side."""
    if out.flags.aligned:
        if out.ndim == 2 and (out.strides[1] == 4 or out.shape[1] == 1):
            return out
        if out.flags.c_contiguous:
            return out.reshape(batch, out.shape[-1])
    return workspace.staged_y()[:batch]


def run_path(
    path: str,
    factors: PackedFactors,
    x: Float32Array,
    ranks: Int64Array,
    y: Float32Array,
    workspace: Workspace,
    *,
    scale: Float32Array = _NOTHING,
    bias: Float32Array = _NOTHING,
    threads: int = 1,
) -> None:
    """Run one path, whether or not it is the fastest.

    Args:
        path: ``rows``, ``tiles`` or ``events``.
        factors: the factor pair.
        x, y: inputs and outputs, (samples, in) and (samples, out) float32; the numbers of a row
            lie side by side.
        ranks: (samples,) int64.
        workspace: of these factors, for as many samples.
        scale, bias: (r_max,) and (out,) float32, or empty.
        threads: how many may share the work.

    Raises:
        ConfigError: ``ADL-KRN-03`` on a rank out of range, ``ADL-KRN-04`` when the workspace is of
            other factors.
    """
    workspace.attach(factors, path == "rows")
    job, shared = workspace.job, pool().address
    if path == "rows":
        wrong = _compiled().run_rows(job, ranks, x, scale, bias, y)
    else:
        with pool().borrowed(threads) as count:
            events = path == "events"
            wrong = _compiled().run_tiles(job, ranks, x, scale, bias, y, events, shared, count)
    if wrong >= 0:
        raise ConfigError(
            f"sample {wrong} has rank {ranks[wrong]}",
            where="low_rank_forward.ranks",
            remedy=f"choose ranks from 0 to {factors.r_max}",
            code="ADL-KRN-03",
        )
