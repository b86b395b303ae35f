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
from simulators.kernels.job import CHOOSE, DONE, PATHS, UNREADY
from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors
from simulators.kernels.pool import pool
from simulators.kernels.workspace import Workspace

EXACT = ("bool", "int8", "uint8", "int16", "uint16")
"""Types of events, which all have an exact float32."""
NOTHING = np.empty(0, np.float32)
_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)


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
    NaN and infinity in those within, in x and in bias do. Sums are float32; their order, and so
    their last bits, depend on the batch and on the number of threads. So does whether numbers are
    rounded, of factors that may be. With ``out`` and
    ``workspace`` given nothing is allocated, once both have been used.

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
    if (
        workspace is not None
        and workspace.factors is U
        and V is None
        and out is not None
        and isinstance(ranks, np.ndarray)
        and _plain(x, ranks, out)
    ):
        gains = NOTHING if scale is None else vector_of(scale, workspace.sizes[2], "scale")
        start = NOTHING if bias is None else vector_of(bias, workspace.sizes[0], "bias")
        try:
            done = workspace.run(workspace.job, ranks, x, gains, start, out, CHOOSE, 1) == DONE
        except TypeError:  # An array that is read-only or begins between two numbers.
            done = False
        if done:
            return out
    factors = _factors(U, V)
    spare = workspace is None and factors is U
    workspace = _workspace(factors, x, workspace)
    gains = NOTHING if scale is None else vector_of(scale, factors.r_max, "scale")
    start = NOTHING if bias is None else vector_of(bias, factors.outputs, "bias")
    out = _outputs(out, x, factors)
    if not out.size:
        return out
    chosen = _ranks_of(ranks, x, workspace)
    rows, into = _rows(x, workspace), _into(out, workspace)
    status = workspace.run(workspace.job, chosen, rows, gains, start, into, CHOOSE, 1)
    if status != DONE:
        if status != UNREADY:
            refuse_rank(status, chosen, factors)
        path, threads, _ = decide(rows, chosen, workspace)
        run_path(
            path, factors, rows, chosen, into, workspace, scale=gains, bias=start, threads=threads
        )
    if into is not out and workspace.holds(into):
        np.copyto(out, into.reshape(out.shape))
    if spare:
        factors.spare.append(workspace)
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
        refuse("x", "it has no sample", "pass at least one")
    chosen = _ranks_of(ranks, x, workspace)
    wrong = _compiled().first_wrong(factors.r_max, chosen)
    if wrong != DONE:
        refuse_rank(wrong, chosen, factors)
    return choose(_rows(x, workspace), chosen, workspace)


@cache
def _compiled() -> ModuleType:
    """The compiled call, loaded when a first one is made."""
    from simulators.kernels import call

    return call


def _workspace(factors: PackedFactors, x: NDArray[Any], given: Workspace | None) -> Workspace:
    """The workspace that was given, or a spare one, with room for all samples of x."""
    if x.ndim == 0 or x.shape[-1] != factors.inputs:
        refuse("x", f"it has shape {x.shape}", f"pass a last axis of {factors.inputs}")
    batch = x.size // factors.inputs
    if given is None:
        return spare_workspace(factors, batch, factors.spare)
    if given.factors is not factors:
        given.attach(factors)
    if given.batch < batch:
        raise ConfigError(
            f"it has room for {given.batch} samples, x has {batch}",
            where="low_rank_forward.workspace",
            remedy=f"make it for {batch} samples",
            code="ADL-KRN-04",
        )
    return given


def spare_workspace(factors: PackedFactors, batch: int, spare: list[Workspace]) -> Workspace:
    """One of the ``spare`` workspaces of earlier calls, or a new one, with room for a batch."""
    try:
        found = spare.pop()
    except IndexError:
        return Workspace(factors, batch)
    return found if found.batch >= batch else Workspace(factors, batch)


def _plain(x: NDArray[Any], ranks: NDArray[Any], out: Float32Array) -> bool:
    """Whether compiled code may take these arrays as they are, if their shapes fit."""
    return (
        x.dtype is _FLOAT32
        and out.dtype is _FLOAT32
        and ranks.dtype is _INT64
        and x.ndim == out.ndim == 2
        and ranks.ndim == 1
    )


def _factors(U: ArrayLike | PackedFactors, V: ArrayLike | None) -> PackedFactors:
    """The factors, packed now unless they are."""
    if isinstance(U, PackedFactors) and V is None:
        return U
    if isinstance(U, PackedFactors) or V is None:
        raise ConfigError(
            "there is no input factor" if V is None else "the factors in U have an input factor",
            where="low_rank_forward.V",
            remedy="pass U and V, V of shape (in, r_max); or PackedFactors as U and None as V",
            code="ADL-KRN-01",
        )
    return PackedFactors(U, V)


def refuse(name: str, message: str, remedy: str, *, call: str = "low_rank_forward") -> NoReturn:
    """Refuse an argument of a call."""
    raise ConfigError(message, where=f"{call}.{name}", remedy=remedy, code="ADL-KRN-02")


def refuse_rank(
    sample: int, ranks: Int64Array, factors: PackedFactors, *, call: str = "low_rank_forward"
) -> NoReturn:
    """Refuse the rank of a sample."""
    raise ConfigError(
        f"sample {sample} has rank {ranks[sample]}",
        where=f"{call}.ranks",
        remedy=f"choose ranks from 0 to {factors.r_max}",
        code="ADL-KRN-03",
    )


def vector_of(
    array: ArrayLike, size: int, name: str, *, call: str = "low_rank_forward"
) -> Float32Array:
    """An argument as ``size`` contiguous float32."""
    found = np.ascontiguousarray(array, np.float32)
    if found.shape != (size,):
        refuse(name, f"it has shape {found.shape}", f"pass shape ({size},)", call=call)
    return found


def _outputs(out: Float32Array | None, x: NDArray[Any], factors: PackedFactors) -> Float32Array:
    """The array that was given for the outputs, or a new one."""
    shape = (*x.shape[:-1], factors.outputs)
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != _FLOAT32 or not out.flags.writeable:
        refuse("out", f"it is {out.dtype} of shape {out.shape}", f"pass float32 of shape {shape}")
    if np.may_share_memory(out, x):
        refuse("out", "it may overlap x", "pass memory of its own")
    return out


def _ranks_of(ranks: ArrayLike, x: NDArray[Any], workspace: Workspace) -> Int64Array:
    """Every sample's rank: those that were given, or in the workspace if they have to be copied."""
    given = np.asarray(ranks)
    if given.dtype == _INT64 and x.ndim == 2 and given.shape == x.shape[:1]:
        return given
    if given.dtype.kind not in "iu":
        refuse("ranks", f"they are {given.dtype}", "pass integers")
    leading = x.shape[:-1]
    chosen = workspace.ranks[: math.prod(leading)]
    try:
        np.copyto(chosen.reshape(leading), given, casting="unsafe")
    except ValueError:
        refuse(
            "ranks", f"shape {given.shape} does not fit", f"pass ranks that broadcast to {leading}"
        )
    return chosen


def _rows(x: NDArray[Any], workspace: Workspace) -> Float32Array:
    """Inputs as float32 rows whose numbers lie side by side: themselves if they are."""
    if x.dtype == _FLOAT32:
        found = _side_by_side(x)
        if found is not None:
            return found
    elif x.dtype.name not in EXACT:
        refuse("x", f"it is {x.dtype}", f"pass float32, or events as {', '.join(EXACT)}")
    staged = workspace.staged_x()[: x.size // x.shape[-1]]
    np.copyto(staged.reshape(x.shape), x, casting="unsafe")
    return staged


def _into(out: Float32Array, workspace: Workspace) -> Float32Array:
    """Rows to write outputs to: those of ``out`` if their numbers lie side by side."""
    found = _side_by_side(out)
    return workspace.staged_y()[: out.size // out.shape[-1]] if found is None else found


def _side_by_side(array: Float32Array) -> Float32Array | None:
    """A view of an array as rows whose numbers lie side by side, if it has one."""
    flags = array.flags
    if not flags.aligned:
        return None
    if array.ndim == 2 and (array.strides[1] == 4 or array.shape[1] == 1):
        return array
    return array.reshape(-1, array.shape[-1]) if flags.c_contiguous else None


def run_path(
    path: str,
    factors: PackedFactors,
    x: Float32Array,
    ranks: Int64Array,
    y: Float32Array,
    workspace: Workspace,
    *,
    scale: Float32Array = NOTHING,
    bias: Float32Array = NOTHING,
    threads: int = 1,
) -> None:
    """Run one path, whether or not it is the fastest.

    Args:
        path: ``rows``, ``tiles``, ``events`` or ``bfloat16``.
        factors: the factor pair.
        x, y: inputs and outputs, (samples, in) and (samples, out) float32; the numbers of a row
            lie side by side.
        ranks: (samples,) int64.
        workspace: of these factors, for as many samples.
        scale, bias: (r_max,) and (out,) float32, or empty.
        threads: how many may share the work.

    Raises:
        ConfigError: ``ADL-KRN-03`` on a rank out of range, ``ADL-KRN-04`` when the workspace is of
            other factors, ``ADL-KRN-07`` when the path rounds numbers that are not to be rounded.
    """
    if workspace.factors is not factors:
        workspace.attach(factors)
    workspace.lay_out(path)
    number, job = PATHS.index(path), workspace.job
    count = min(threads, workspace.threads)
    pool.start(count - 1)
    status = workspace.run(job, ranks, x, scale, bias, y, number, count)
    if status != DONE:
        refuse_rank(status, ranks, factors)
