"""The low-rank map of samples that are bfloat16 already, as torch has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.errors import ConfigError
from simulators.kernels.calibrate import seconds_per_turn
from simulators.kernels.forward import NOTHING, refuse, refuse_rank, vector_of
from simulators.kernels.job import DONE, UNREADY
from simulators.kernels.layout import Float32Array, Int64Array, PackedFactors, UInt16Array
from simulators.kernels.pool import pool
from simulators.kernels.workspace import Workspace

CALL = "rounded_forward"


def rounded_forward(
    x: UInt16Array,
    factors: PackedFactors,
    ranks: Int64Array,
    out: UInt16Array,
    workspace: Workspace,
    *,
    scale: Float32Array | None = None,
    bias: Float32Array | None = None,
) -> None:
    """As :func:`simulators.kernels.low_rank_forward`, of inputs and outputs in bfloat16.

    Sums are float32; inputs, factors, what lies between them, and outputs are rounded.

    Args:
        x: bits of the inputs, shape (n, in); the numbers of a row lie side by side.
        factors: packed with ``bfloat16=True``.
        ranks: shape (n,), 0 to r_max.
        out: receives the outputs' bits, shape (n, out), rows as those of x, apart from x.
        workspace: of these factors, for n samples at least.
        scale, bias: shapes (r_max,) and (out,); 1 and 0 if None.

    Raises:
        ConfigError: ``ADL-KRN-02`` when an array has the wrong shape, type or place,
            ``ADL-KRN-03`` on a rank out of range, ``ADL-KRN-04`` when the workspace is too small or
            of other sizes, ``ADL-KRN-07`` where numbers are not to be rounded.
    """
    from simulators.kernels.call_halves import run_halves

    _check("x", x, np.uint16, (len(ranks), factors.inputs))
    _check("ranks", ranks, np.int64, (len(ranks),))
    _check("out", out, np.uint16, (len(ranks), factors.outputs))
    if not out.flags.writeable:
        refuse("out", "it is read-only", "pass an array to write to", call=CALL)
    if workspace.factors is not factors:
        workspace.attach(factors, call=CALL)
    if workspace.batch < len(x):
        raise ConfigError(
            f"it has room for {workspace.batch} samples, x has {len(x)}",
            where=f"{CALL}.workspace",
            remedy=f"make it for {len(x)} samples",
            code="ADL-KRN-04",
        )
    if not len(x):
        return
    gains = NOTHING if scale is None else vector_of(scale, factors.r_max, "scale", call=CALL)
    start = NOTHING if bias is None else vector_of(bias, factors.outputs, "bias", call=CALL)
    arguments = workspace.job, ranks, x, gains, start, out
    status = run_halves(*arguments)
    if status == UNREADY:
        workspace.lay_out("bfloat16", call=CALL)
        workspace.rate(seconds_per_turn())
        pool.start(workspace.threads - 1)
        status = run_halves(*arguments)
    if status == DONE:
        return
    if status < 0:
        message = "neighbours do not lie side by side, or it may overlap x"
        refuse("out", message, "pass contiguous arrays with memory of their own", call=CALL)
    refuse_rank(status, ranks, factors, call=CALL)


def _check(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape."""
    if array.dtype == dtype and array.shape == shape and array.flags.aligned:
        return
    message = f"it is {array.dtype} of shape {array.shape}"
    refuse(name, message, f"pass {np.dtype(dtype).name} of shape {shape}", call=CALL)
