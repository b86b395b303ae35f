"""Other ways to compute a low-rank layer on a CPU, by the libraries that people use.

Each is a function without arguments that returns its outputs as an array. What they do beforehand,
such as transposing or converting weights, is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from kernel_cases import Problem
from scipy import sparse
from torch import Tensor
from torch.nn import functional
from torch.utils import mkldnn

Run = Callable[[], np.ndarray | Tensor]


OPTIONAL = ("onnx", "onnxruntime")
MISSING = [name for name in OPTIONAL if not find_spec(name)]
"""Peers that are left out, because they are not installed: `pip install onnx onnxruntime`."""


def same_job(problem: Problem) -> dict[str, Run]:
    """What gives every sample the output of its own rank."""
    x, u, v = (torch.from_numpy(a) for a in (problem.x, problem.U, problem.V))
    v_rows, u_columns = v.T.contiguous(), u.contiguous()
    ranks = torch.from_numpy(problem.ranks)
    mask = (torch.arange(v.shape[1]) < ranks[:, None]).float()
    halves = [t.bfloat16() for t in (x, v_rows, u_columns, mask)]

    def masked() -> Tensor:
        return functional.linear(functional.linear(x, v_rows) * mask, u_columns)

    def masked_bf16() -> Tensor:
        x, v_rows, u_columns, mask = halves
        return functional.linear(functional.linear(x, v_rows) * mask, u_columns)

    def bucketed() -> Tensor:
        y = torch.empty(len(x), len(u))
        for rank in torch.unique(ranks).tolist():
            rows = (ranks == rank).nonzero()[:, 0]
            y[rows] = functional.linear(
                functional.linear(x[rows], v_rows[:rank]), u_columns[:, :rank]
            )
        return y

    numpy_v, numpy_u = v_rows.numpy(), problem.U.T.copy()
    numpy_mask = mask.numpy()

    def numpy_masked() -> np.ndarray:
        return ((problem.x @ numpy_v.T) * numpy_mask) @ numpy_u

    runs: dict[str, Run] = {
        "torch masked": masked,
        "torch masked bf16": masked_bf16,
        "torch bucketed": bucketed,
        "numpy masked": numpy_masked,
    }
    if "grouped_mm" in dir(functional):
        runs["torch grouped_mm bf16"] = _grouped(problem)
    if not MISSING:
        runs["onnxruntime masked"] = _onnx(problem.x, v_rows.numpy().T, numpy_u, numpy_mask)
    return runs


def _onnx(x: np.ndarray, v: np.ndarray, u: np.ndarray, mask: np.ndarray | None) -> Run:
    """Two products in ONNX Runtime, between them ``mask``, on as many threads as torch has."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    real = TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["x", "v"], ["z"])]
    given: dict[str, Any] = {"x": x}
    if mask is not None:
        nodes.append(helper.make_node("Mul", ["z", "mask"], ["w"]))
        given["mask"] = mask
    nodes.append(helper.make_node("MatMul", ["z" if mask is None else "w", "u"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "low rank",
        [helper.make_tensor_value_info(n, real, a.shape) for n, a in given.items()],
        [helper.make_tensor_value_info("y", real, (len(x), u.shape[1]))],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in {"v": v, "u": u}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, given)[0]


def _grouped(problem: Problem) -> Run:
    """One matrix product per rank in a single call, samples sorted by rank."""
    order = np.argsort(problem.ranks, kind="stable")
    levels, sizes = np.unique(problem.ranks, return_counts=True)
    ends = torch.from_numpy(np.cumsum(sizes).astype(np.int32))
    mask = np.arange(problem.V.shape[1]) < levels[:, None]
    v = torch.from_numpy(mask[:, None, :] * problem.V).bfloat16()
    u = torch.from_numpy(np.repeat(problem.U.T[None], len(levels), 0)).bfloat16()
    x = torch.from_numpy(problem.x).bfloat16()
    there, back = torch.from_numpy(order), torch.from_numpy(np.argsort(order))

    def run() -> Tensor:
        z = functional.grouped_mm(x[there], v, offs=ends)
        return functional.grouped_mm(z, u, offs=ends)[back]

    return run


def uniform(problem: Problem) -> dict[str, Run]:
    """A batch of one rank, the mean, by two matrix products: our work in a library's hands."""
    rank = problem.mean_rank
    x = torch.from_numpy(problem.x)
    v, u = (torch.from_numpy(a) for a in (problem.V.T[:rank].copy(), problem.U[:, :rank].copy()))
    numpy_v, numpy_u = v.numpy(), u.numpy().T.copy()
    half = [t.bfloat16() for t in (x, v, u)]
    runs: dict[str, Run] = {
        "torch": lambda: functional.linear(functional.linear(x, v), u),
        "numpy": lambda: (problem.x @ numpy_v.T) @ numpy_u,
        "torch bf16": lambda: functional.linear(functional.linear(half[0], half[1]), half[2]),
    }
    if not MISSING:
        runs["onnxruntime"] = _onnx(problem.x, numpy_v.T, numpy_u, None)
    return runs


def full_rank(problem: Problem) -> dict[str, Run]:
    """All samples at r_max: what one has without adaptive rank."""
    x = torch.from_numpy(problem.x)
    v_rows, u = torch.from_numpy(problem.V.T.copy()), torch.from_numpy(problem.U)
    return {"torch two products": lambda: functional.linear(functional.linear(x, v_rows), u)}


def dense(problem: Problem) -> dict[str, Run]:
    """The full matrix: what one has without factors."""
    weight = problem.U @ problem.V.T
    x, w = torch.from_numpy(problem.x), torch.from_numpy(weight)
    x_half, w_half = x.bfloat16(), w.bfloat16()
    runs: dict[str, Run] = {
        "torch f32": lambda: functional.linear(x, w),
        "torch bf16": lambda: functional.linear(x_half, w_half),
        "numpy": lambda: problem.x @ weight.T,
    }
    if torch.backends.mkldnn.is_available():
        layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
        layer.weight.data = w
        packed = mkldnn.to_mkldnn(layer.eval())
        x_packed = x.to_mkldnn()
        runs["oneDNN f32"] = lambda: packed(x_packed).to_dense()
    return runs


def events(problem: Problem) -> dict[str, Run]:
    """The same job on sparse inputs."""
    x = sparse.csr_array(problem.x)
    mask = np.arange(problem.V.shape[1]) < problem.ranks[:, None]
    u = problem.U.T.copy()
    return {"scipy sparse": lambda: ((x @ problem.V) * mask) @ u, **same_job(problem)}
