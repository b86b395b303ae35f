"""The low-rank map of a batch whose samples have ranks of their own, on a GPU."""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.errors import ConfigError, MissingDependencyError
from simulators.kernels.cuda.arrays import SIMULATED, DeviceArray, device_array
from simulators.kernels.forward import EXACT

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
"""Types of ranks on the GPU."""


def low_rank_forward(
    x: Any,
    U: Any,
    V: Any,
    ranks: Any,
    *,
    scale: Any | None = None,
    bias: Any | None = None,
    out: Any | None = None,
    workspace: Any | None = None,
    stream: int = 0,
) -> Any:
    """y_i = U[:, :r_i] (scale[:r_i] · (V[:, :r_i]ᵀ x_i)) + bias, at the cost of each sample's rank.

    What :func:`simulators.kernels.low_rank_forward` computes, of arrays on the current GPU:
    whatever has ``__cuda_array_interface__``, such as tensors of torch (detached), CuPy's and
    Numba's arrays. Samples are sorted by rank there, so that nothing has to come back to the host
    and the call returns at once; then both factors go over tiles of samples of nearly equal rank.
    Factors are read as they are, never copied. Sums are float32 and their order does not depend on
    the other samples or on the run.

    Args:
        x: inputs, shape (..., in): dense float32, or events as bool, int8, uint8, int16 or uint16,
            of which those that are 0 are passed over where V is finite. Any strides if it has two
            axes, contiguous otherwise.
        U: output factor, float32, shape (out, r_max), the numbers of a row side by side.
        V: input factor, float32, shape (in, r_max), likewise.
        ranks: integers 0 to r_max for every sample, shape (...), or one; on the GPU or not. On the
            GPU they are not read back: a sample whose rank is out of range gets NaN.
        scale: gain of each of the r_max numbers between the factors, float32, shape (r_max,).
        bias: float32, shape (out,), added whatever the rank.
        out: receives the outputs, float32, shape (..., out), apart from x, strides as x.
        workspace: memory of at least :func:`workspace_bytes` bytes, contiguous, of any type; with
            it, ``out`` and ranks on the GPU nothing is allocated.
        stream: the driver's handle of the stream to run on, such as
            ``torch.cuda.current_stream().cuda_stream``; 0 is the default stream.

    Returns:
        Outputs, float32, shape (..., out): ``out`` if given, else an array of Numba's.

    Raises:
        ConfigError: ``ADL-KRN-01`` when the factors do not fit each other, ``ADL-KRN-02`` when an
            array is not on the GPU or has the wrong shape, strides or type, ``ADL-KRN-03`` on a
            rank out of range that is not on the GPU, ``ADL-KRN-04`` when the workspace is too
            small, ``ADL-GPU-02`` where there is no GPU.
        MissingDependencyError: ``ADL-GPU-01`` without the package numba-cuda.
        SimulationError: ``ADL-GPU-03`` when the driver refuses to run a kernel.
    """
    require_gpu()
    left, right = _factors(U, V)
    inputs, r_max = right.shape
    given = _on_gpu(x, "x")
    if given.dtype != "float32" and given.dtype not in EXACT:
        _refuse("x", f"it is {given.dtype}", f"pass float32, or events as {', '.join(EXACT)}")
    if given.shape[-1:] != (inputs,):
        _refuse("x", f"it has shape {given.shape}", f"pass a last axis of {inputs}")
    leading = given.shape[:-1]
    shape = (*leading, left.shape[0])
    result = _new(shape, "float32") if out is None else out
    target = _on_gpu(result, "out")
    if target.shape != shape or target.dtype != "float32":
        _refuse(
            "out", f"it is {target.dtype} of shape {target.shape}", f"pass float32, shape {shape}"
        )
    if target.overlaps(given):
        _refuse("out", "it may overlap x", "pass memory of its own")
    gains, start = _vector(scale, r_max, "scale"), _vector(bias, left.shape[0], "bias")
    chosen, kept = _ranks(ranks, leading, r_max)
    if target.size:
        rows, into = _rows(given, "x"), _rows(target, "out")
        run(rows, left, right, chosen, into, scale=gains, bias=start, workspace=workspace,
            stream=stream, on_events=given.dtype != "float32")  # fmt: skip
    del kept
    return result


def run(
    x: DeviceArray,
    U: DeviceArray,
    V: DeviceArray,
    ranks: DeviceArray,
    y: DeviceArray,
    *,
    scale: DeviceArray | None,
    bias: DeviceArray | None,
    workspace: Any | None,
    stream: int,
    on_events: bool,
) -> None:
    """Launch the kernels of a call whose arguments fit.

    Args:
        x, y: inputs and outputs, (samples, in) and (samples, out), any strides.
        U, V: factors, the numbers of a row side by side.
        ranks: (samples,) integers.
        scale, bias, workspace, stream: see :func:`low_rank_forward`.
        on_events: pass over inputs of 0, whatever the type of x.
    """
    from simulators.kernels.cuda.launch import current_device
    from simulators.kernels.cuda.plan import plan

    device = current_device()
    (batch, inputs), (outputs, r_max) = x.shape, U.shape
    layout = plan(batch, inputs, outputs, r_max, on_events=on_events, processors=device.processors)
    memory, kept = _workspace(workspace, 4 * layout.numbers)
    order = memory.part(0, batch, "int32")
    sorted_ranks = memory.part(batch, batch, "int32")
    unfit = memory.part(2 * batch, 1, "int32")
    z = memory.part(layout.z_start, layout.parts * batch * r_max, "float32")
    width = layout.bin_width
    device.launch(
        "sort_by_rank", (1, 1, 1), (ranks, order, sorted_ranks, unfit),
        (ranks.strides[0], batch, r_max, width), stream,
    )  # fmt: skip
    sizes = (*x.strides, V.strides[0], batch, inputs, r_max, layout.inputs_each)
    if on_events:
        search = (V.strides[0], V.size, r_max, layout.searchers)
        device.launch("find_unfit", layout.search, (V, unfit), search, stream)
        events = (x, V, order, sorted_ranks, unfit, z)
        device.launch("scatter", layout.first_stage, events, sizes, stream)
    else:
        arrays = (x, V, order, sorted_ranks, z)
        device.launch("project", layout.first_stage, arrays, (*sizes, width), stream)
    if layout.parts > 1:
        counts = (batch, r_max, layout.parts)
        device.launch("add_parts", layout.sums, (sorted_ranks, z), counts, stream)
    given = (scale is not None, bias is not None)
    device.launch(
        "expand", layout.second_stage, (z, U, scale, bias, order, sorted_ranks, y),
        (U.strides[0], *y.strides, batch, outputs, r_max, *map(int, given), width), stream,
    )  # fmt: skip
    del kept


def workspace_bytes(batch: int, r_max: int) -> int:
    """Bytes that suffice for calls of up to ``batch`` samples, on the GPU that is current.

    Raises:
        ConfigError: ``ADL-GPU-02`` where there is no GPU.
        MissingDependencyError: ``ADL-GPU-01`` without the package numba-cuda.
    """
    require_gpu()
    from simulators.kernels.cuda.launch import current_device
    from simulators.kernels.cuda.plan import workspace_numbers

    return 4 * workspace_numbers(batch, r_max, current_device().processors)


@cache
def require_gpu() -> None:
    """Return if there is a GPU, or Numba's simulator of one.

    Raises:
        ConfigError: ``ADL-GPU-02`` where there is none.
        MissingDependencyError: ``ADL-GPU-01`` without the package numba-cuda.
    """
    if find_spec("numba_cuda") is None:
        raise MissingDependencyError(
            "the package numba-cuda is not installed",
            where="simulators.kernels.cuda",
            remedy="pip install 'adlrns[cuda]'",
            code="ADL-GPU-01",
        )
    reason = None if SIMULATED else _obstacle()
    if reason is not None:
        raise ConfigError(
            f"there is no usable GPU: {reason}",
            where="simulators.kernels.cuda",
            remedy="run it where an NVIDIA driver and GPU are, or pass NumPy arrays to "
            "simulators.kernels.low_rank_forward",
            code="ADL-GPU-02",
        )


def _obstacle() -> str | None:
    """Why the driver finds no GPU, if it finds none."""
    from cuda.bindings import driver

    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:
        return str(error).splitlines()[0].rstrip(".")
    return None if status == driver.CUresult.CUDA_SUCCESS else f"it answers {status.name}"


def _on_gpu(array: Any, name: str) -> DeviceArray:
    found = device_array(array)
    if found is None:
        _refuse(name, f"a {type(array).__name__} is not on the GPU", "move it there first")
    return found


def _factors(U: Any, V: Any) -> tuple[DeviceArray, DeviceArray]:
    """Both factors, which fit each other."""
    found = _on_gpu(U, "U"), _on_gpu(V, "V")
    for factor, name in zip(found, "UV", strict=True):
        if len(factor.shape) != 2 or not factor.size:
            raise ConfigError(
                f"an array of shape {factor.shape} is no factor",
                where=f"low_rank_forward.{name}",
                remedy="pass U of shape (out, r_max) and V of shape (in, r_max)",
                code="ADL-KRN-01",
            )
        if factor.dtype != "float32" or (factor.strides[1] != 1 and factor.shape[1] > 1):
            _refuse(name, f"it is {_described(factor)}", "pass float32, each row side by side")
    if found[0].shape[1] != found[1].shape[1]:
        raise ConfigError(
            f"U has {found[0].shape[1]} columns and V has {found[1].shape[1]}",
            where="low_rank_forward",
            remedy="pass U of shape (out, r_max) and V of shape (in, r_max)",
            code="ADL-KRN-01",
        )
    return found


def _described(array: DeviceArray) -> str:
    strides = "" if array.contiguous else f" and strides {array.strides}"
    return f"{array.dtype} of shape {array.shape}{strides}"


def _vector(array: Any | None, size: int, name: str) -> DeviceArray | None:
    if array is None:
        return None
    found = _on_gpu(array, name)
    if found.shape != (size,) or found.dtype != "float32" or not found.contiguous:
        _refuse(name, f"it is {_described(found)}", f"pass float32 of shape ({size},), contiguous")
    return found


def _rows(array: DeviceArray, name: str) -> DeviceArray:
    """An array of any axes as (samples, last axis)."""
    if len(array.shape) == 2:
        return array
    if not array.contiguous:
        _refuse(name, f"it is {_described(array)}", "pass it contiguous, or with two axes")
    width = array.shape[-1]
    return DeviceArray(
        address=array.address,
        shape=(array.size // width, width),
        strides=(width, 1),
        dtype=array.dtype,
    )


def _ranks(ranks: Any, leading: tuple[int, ...], r_max: int) -> tuple[DeviceArray, Any]:
    """Each sample's rank on the GPU, shape (samples,), and what holds the memory meanwhile."""
    found, kept = device_array(ranks), None
    if found is None:
        kept = _moved(_checked(ranks, leading, r_max))
        found = _on_gpu(kept, "ranks")
    elif found.dtype not in INTEGERS:
        _refuse("ranks", f"they are {found.dtype}", f"pass one of {', '.join(INTEGERS)}")
    samples = math.prod(leading)
    if found.size == 1:
        stride = 0
    elif found.shape != leading:
        _refuse("ranks", f"shape {found.shape} does not fit", f"pass one rank, or shape {leading}")
    elif len(leading) == 1:
        stride = found.strides[0]
    elif found.contiguous:
        stride = 1
    else:
        _refuse("ranks", f"they are {_described(found)}", "pass them contiguous")
    return (
        DeviceArray(address=found.address, shape=(samples,), strides=(stride,), dtype=found.dtype),
        kept,
    )


def _checked(ranks: ArrayLike, leading: tuple[int, ...], r_max: int) -> NDArray[np.int32]:
    """Every sample's rank, none out of range."""
    given = np.asarray(ranks)
    if given.dtype.kind not in "iu":
        _refuse("ranks", f"they are {given.dtype}", "pass integers")
    try:
        every = np.broadcast_to(given, leading).reshape(-1)
    except ValueError:
        _refuse(
            "ranks", f"shape {given.shape} does not fit", f"pass ranks that broadcast to {leading}"
        )
    wrong = np.flatnonzero((every < 0) | (every > r_max))
    if len(wrong):
        raise ConfigError(
            f"sample {wrong[0]} has rank {every[wrong[0]]}",
            where="low_rank_forward.ranks",
            remedy=f"choose ranks from 0 to {r_max}",
            code="ADL-KRN-03",
        )
    return every.reshape(leading).astype(np.int32)


def _moved(array: NDArray[Any]) -> Any:
    """A copy on the GPU, which is there when this returns."""
    from numba import cuda

    return cuda.to_device(array)


def _new(shape: tuple[int, ...], dtype: str) -> Any:
    """Memory on the GPU."""
    from numba import cuda

    return cuda.device_array(shape, dtype)


def _workspace(given: Any | None, size: int) -> tuple[DeviceArray, Any]:
    """Memory of at least ``size`` bytes, and what holds it meanwhile."""
    kept = _new((size // 4,), "int32") if given is None else given
    found = _on_gpu(kept, "workspace")
    if not found.contiguous or found.size * found.itemsize < size or found.address % 4:
        raise ConfigError(
            f"it is {_described(found)}, but {size} bytes side by side are needed",
            where="low_rank_forward.workspace",
            remedy="ask workspace_bytes how much is needed",
            code="ADL-KRN-04",
        )
    return found, kept


def _refuse(name: str, message: str, remedy: str) -> NoReturn:
    raise ConfigError(message, where=f"low_rank_forward.{name}", remedy=remedy, code="ADL-KRN-02")
