"""The low-rank map of a batch whose samples have ranks of their own, on this machine's CPU."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError
from simulators.kernels.dispatch import choose
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
    leading = x.shape[:-1]
    batch = x.size // factors.inputs if x.ndim == 2 else int(np.prod(leading))
    if x.ndim == 0 or x.shape[-1] != factors.inputs:
        _refuse("x", f"shape {x.shape} has no last axis of {factors.inputs}", "pass (..., in)")
    shape = (*leading, factors.outputs)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.writeable:
        _refuse("out", f"{out.dtype} of shape {out.shape}", f"pass writable float32 of {shape}")
    elif np.may_share_memory(out, x):
        _refuse("out", "it may overlap x", "pass another array")
    gains = _vector(scale, factors.r_max, "scale")
    start = _vector(bias, factors.outputs, "bias")
    if batch == 0:
        return out
    if workspace is None:
        workspace = Workspace(factors, batch)
    elif workspace.batch < batch:
        raise ConfigError(
            f"it has room for {workspace.batch} samples, x has {batch}",
            where="low_rank_forward.workspace",
            remedy=f"make it for {batch} samples",
            code="ADL-KRN-04",
        )
    chosen = workspace.ranks[:batch]
    _broadcast_ranks(ranks, chosen, leading)
    rows, into = _rows(x, workspace, batch), _into(out, workspace, batch)
    choice = choose(factors, rows, chosen, workspace, min(workspace.threads, pool().threads))
    run_path(
        choice.path,
        factors,
        rows,
        chosen,
        into,
        workspace,
        scale=gains,
        bias=start,
        threads=choice.threads,
    )
    if workspace.holds(into):
        np.copyto(out, into.reshape(shape))
    return out


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


def _broadcast_ranks(ranks: ArrayLike, chosen: NDArray[np.int64], leading: tuple[int, ...]) -> None:
    """Write every sample's rank to ``chosen``."""
    given = np.asarray(ranks)
    if given.dtype.kind not in "iu":
        _refuse("ranks", f"they are {given.dtype}", "pass integers")
    try:
        np.copyto(chosen.reshape(leading), given, casting="unsafe")
    except ValueError:
        _refuse("ranks", f"shape {given.shape} does not fit", f"broadcast them to {leading}")


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
    from simulators.kernels.run import run_rows, run_tiles

    workspace.attach(factors, path == "rows")
    job, shared = workspace.job, pool().address
    if path == "rows":
        wrong = run_rows(job, ranks, x, scale, bias, y)
    else:
        with pool().borrowed(threads) as count:
            events = path == "events"
            wrong = run_tiles(job, ranks, x, scale, bias, y, events, shared, count)
    if wrong >= 0:
        raise ConfigError(
            f"sample {wrong} has rank {ranks[wrong]}",
            where="low_rank_forward.ranks",
            remedy=f"choose ranks from 0 to {factors.r_max}",
            code="ADL-KRN-03",
        )
