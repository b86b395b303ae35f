"""The files between us and a peer; also imported by the runners, hence NumPy alone.

A problem is a chain of fully or sparsely connected LIF layers and its input, as an ``.npz`` with

* ``schema``: ``adlrns-peer-problem/1``;
* ``sizes``: ``(layers + 1,)`` compartments, the input first;
* ``spikes``: ``(steps, sizes[0])`` of 0 and 1. Just as many steps are run, so append as many empty
  ones as there are layers to see the last input arrive;
* ``du``, ``dv``, ``threshold``: ``(layers,)`` as in :func:`mapping.semantics.fixedpoint.lif_step`;
* ``weights_k``: ``(sizes[k], sizes[k - 1])`` for a dense layer ``k`` (from 1), in dendritic units,
  or ``source_k``, ``target_k``, ``weight_k``: one entry per synapse of a sparse one.

A result holds

* ``schema``: ``adlrns-peer-result/1``; ``peer``: name and version;
* ``seconds``: wall-clock duration of the simulation loop alone, best of the repeats;
* ``spikes_k``: ``(steps, sizes[k])`` of 0 and 1 for each layer ``k`` (from 1);
* ``synaptic_ops``: synaptic operations of the run, -1 if the peer does not count them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

PROBLEM_SCHEMA = "adlrns-peer-problem/1"
RESULT_SCHEMA = "adlrns-peer-result/1"

Problem = dict[str, np.ndarray]
"""Content of a problem file by key."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A LIF layer and the synapses into it; ``dense`` is None where there are synapse lists.

    Dense layers have lists too, of every weight, also of those that are zero.
    """

    columns: int
    rows: int
    du: int
    dv: int
    threshold: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    dense: np.ndarray | None


def check_problem(problem: Problem) -> None:
    """Raise ValueError, naming the key, unless ``problem`` is as the module says."""

    def demand(key: str, right: bool, what: str) -> None:
        if not right:
            raise ValueError(f"problem: {key} {what}")

    for key in ("schema", "sizes", "spikes", "du", "dv", "threshold"):
        demand(key, key in problem, "is missing")
    demand("schema", str(problem["schema"]) == PROBLEM_SCHEMA, f"is not {PROBLEM_SCHEMA}")
    sizes, spikes = problem["sizes"], problem["spikes"]
    demand("sizes", sizes.ndim == 1 and len(sizes) > 1 and bool((sizes > 0).all()), "are no sizes")
    demand("spikes", spikes.dtype == np.uint8 and spikes.ndim == 2, "are no (steps, inputs) uint8")
    demand("spikes", spikes.shape[1] == sizes[0], f"are not {sizes[0]} wide")
    demand("spikes", bool((spikes <= 1).all()), "are not all 0 or 1")
    for key, limit in (("du", 1 << 12), ("dv", 1 << 12), ("threshold", 1 << 17)):
        values = problem[key]
        integers = np.issubdtype(values.dtype, np.integer) and values.shape == (len(sizes) - 1,)
        demand(key, integers, "is not one integer per layer")
        demand(key, bool(((values >= 0) & (values < limit)).all()), f"is not in [0, {limit})")
    for k in range(1, len(sizes)):
        shape = (sizes[k], sizes[k - 1])
        if f"weights_{k}" in problem:
            demand(f"weights_{k}", problem[f"weights_{k}"].shape == shape, f"is not {shape}")
            demand(f"weights_{k}", problem[f"weights_{k}"].dtype == np.int32, "is not int32")
            continue
        for name, limit in (("source", shape[1]), ("target", shape[0]), ("weight", None)):
            key = f"{name}_{k}"
            demand(key, key in problem, f"is missing, and so is weights_{k}")
            demand(key, problem[key].dtype == np.int32, "is not int32")
            demand(key, problem[key].shape == problem[f"source_{k}"].shape, "has no such length")
            inside = limit is None or bool(((problem[key] >= 0) & (problem[key] < limit)).all())
            demand(key, inside, f"is not in [0, {limit})")


def layers(problem: Problem) -> list[Layer]:
    """The layers of a checked problem, in order."""
    check_problem(problem)
    found = []
    sizes = [int(size) for size in problem["sizes"]]
    for k, (columns, rows) in enumerate(pairwise(sizes), start=1):
        dense = problem.get(f"weights_{k}")
        if dense is None:
            lists = tuple(problem[f"{name}_{k}"] for name in ("source", "target", "weight"))
        else:
            lists = (
                np.repeat(np.arange(columns, dtype=np.int32), rows),
                np.tile(np.arange(rows, dtype=np.int32), columns),
                dense.T.ravel(),
            )
        numbers = (int(problem[key][k - 1]) for key in ("du", "dv", "threshold"))
        found.append(Layer(columns, rows, *numbers, *lists, dense))
    return found


def read_problem(path: Path) -> Problem:
    """The content of a problem file; ValueError if it is none."""
    with np.load(path, allow_pickle=False) as file:
        problem = dict(file)
    check_problem(problem)
    return problem


def write_problem(path: Path, problem: Problem) -> None:
    """Write a problem file; ValueError if ``problem`` is none."""
    check_problem(problem)
    np.savez(path, **problem)


def write_result(
    path: Path, *, peer: str, seconds: float, spikes: list[np.ndarray], synaptic_ops: int = -1
) -> None:
    """Write a result file; ``spikes`` has one ``(steps, size)`` array per layer."""
    np.savez(
        path,
        schema=RESULT_SCHEMA,
        peer=peer,
        seconds=seconds,
        synaptic_ops=synaptic_ops,
        **{f"spikes_{k}": values.astype(np.uint8) for k, values in enumerate(spikes, start=1)},
    )
