"""Low-rank maps at a rank per sample on a GPU beside torch.

python benchmarks/bench_cuda_kernels.py [--quick] [--json FILE] [--test]

Ranks are skewed over eight levels. Peers: the dense product and two products at the largest rank,
each in float32 and with TF32, and float32 products of each level's samples alone ("bucketed").
"device" is the time between replays of a CUDA graph of many calls, without the host's part;
bucketed calls read sizes back and cannot be captured, so theirs is that of calls one after the
other. "host" is the time of calls one after the other, whatever bounds it. The limit is
max(2 Σ rᵢ (n + m) / peak, bytes / bandwidth), with the peak of torch's float32 product and the
bandwidth of a copy, both measured here; a cache may beat the bandwidth. Results are checked against
float64 first. ``--test`` runs the tests of the kernels before, without those that need no GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from results import Row, row, write
from torch import Tensor

from simulators.kernels.cuda import low_rank_forward, workspace_bytes

ROOT = Path(__file__).parents[1]
SHAPES = ((256, 512, 64), (1024, 1024, 128), (4096, 4096, 256))
"""Outputs, inputs and largest rank."""
BATCHES = (32, 256, 1024, 8192)
QUICK = (256, 8192)
WEIGHTS = (0.30, 0.22, 0.16, 0.12, 0.08, 0.06, 0.04, 0.02)
"""Shares of the levels r_max · k / 8."""
ACTIVITY = 0.1
"""Share of inputs that are events."""
CALLS = 20
"""Of a graph, and between two readings of the clock."""
READINGS = 7
TOLERANCE = 1e-5
"""Relative to the sum of what is added up, without signs."""

Call = Callable[[], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A call's arguments on the GPU.

    Attributes:
        x: inputs, (batch, in).
        U, V: factors.
        ranks: of each sample.
    """

    x: Tensor
    U: Tensor
    V: Tensor
    ranks: Tensor

    @classmethod
    def random(cls, shape: tuple[int, int, int], batch: int, *, events: bool = False) -> Case:
        """Normal factors and inputs, or events of either sign."""
        outputs, inputs, r_max = shape
        generator = torch.Generator("cuda").manual_seed(0)
        levels = np.random.default_rng(0).choice(np.arange(1, 9), batch, p=WEIGHTS)
        normal = {"device": "cuda", "generator": generator}
        x = torch.randn(batch, inputs, **normal)
        if events:
            x = x.sign() * (torch.rand(batch, inputs, **normal) < ACTIVITY)
        return cls(
            x=x.to(torch.int8) if events else x,
            U=torch.randn(outputs, r_max, **normal),
            V=torch.randn(inputs, r_max, **normal),
            ranks=torch.from_numpy(levels * r_max // 8).cuda(),
        )

    def check(self, found: Tensor) -> None:
        """Raise AssertionError unless ``found`` is right."""
        U, V, x = self.U.double(), self.V.double(), self.x.double()
        used = torch.arange(U.shape[1], device=U.device) < self.ranks[:, None]
        sizes = ((x.abs() @ V.abs()) * used) @ U.abs().T
        wrong = (found - ((x @ V) * used) @ U.T).abs() > TOLERANCE * sizes
        assert not wrong.any(), "the kernels are wrong"

    def limit_s(self, peak: float, bandwidth: float) -> float:
        """What the machine allows at best [s]."""
        (batch, inputs), outputs = self.x.shape, self.U.shape[0]
        numbers = batch * outputs + int(self.ranks.max()) * (inputs + outputs)
        size = 4 * numbers + self.x.element_size() * batch * inputs
        active = ACTIVITY if self.x.dtype == torch.int8 else 1.0
        work = 2 * int(self.ranks.sum()) * (active * inputs + outputs)
        return max(work / peak, size / bandwidth)


def ours(case: Case) -> Call:
    """The kernels, which allocate nothing."""
    batch, outputs = len(case.x), len(case.U)
    out = torch.empty(batch, outputs, device="cuda")
    size = workspace_bytes(batch, case.U.shape[1])
    workspace = torch.empty(size, dtype=torch.uint8, device="cuda")

    def call() -> Tensor:
        stream = torch.cuda.current_stream().cuda_stream
        arguments = case.x, case.U, case.V, case.ranks
        low_rank_forward(*arguments, out=out, workspace=workspace, stream=stream)
        return out

    return call


def bucketed(case: Case, x: Tensor) -> Call:
    """Each level's samples alone."""
    r_max = case.U.shape[1]

    def call() -> Tensor:
        order = case.ranks.argsort()
        sizes = torch.bincount(case.ranks * 8 // r_max, minlength=9).tolist()
        parts = []
        for level, part in enumerate(x.index_select(0, order).split(sizes)):
            rank = level * r_max // 8
            if len(part):
                parts.append(part @ case.V[:, :rank] @ case.U[:, :rank].T)
        return torch.cat(parts).index_select(0, order.argsort())

    return call


def peers(case: Case) -> dict[str, Call]:
    """The same job by torch; its float32 inputs are made before."""
    x, weight = case.x.float(), case.U @ case.V.T
    found: dict[str, Call] = {}
    for name, tf32 in (("f32", False), ("TF32", True)):
        found[f"dense {name}"] = _with(tf32, lambda: torch.nn.functional.linear(x, weight))
        found[f"two products {name}"] = _with(tf32, lambda: x @ case.V @ case.U.T)
    return found | {"bucketed f32": _with(False, bucketed(case, x))}


def _with(tf32: bool, call: Call) -> Call:
    def chosen() -> Tensor:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        return call()

    return chosen


def host_s(call: Call) -> float:
    """Median seconds of calls one after the other, the GPU's part included."""
    return _median(call, CALLS)


def device_s(call: Call) -> float:
    """Median seconds of calls that the GPU replays."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(CALLS):
            call()
    return _median(graph.replay, 1) / CALLS


def _median(call: Callable[[], object], calls: int) -> float:
    call()
    seconds = []
    for _ in range(READINGS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3 / calls)
    return float(np.median(seconds))


def machine() -> tuple[float, float]:
    """The GPU's operations and bytes per second, as torch reaches them."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda") for _ in range(2))
    peak = 2 * size**3 / device_s(_with(False, lambda: a @ b))
    source, target = (torch.empty(1 << 28, device="cuda") for _ in range(2))
    return peak, 2 * 4 * source.numel() / device_s(lambda: target.copy_(source))


def bench_case(
    shape: tuple[int, int, int], batch: int, *, events: bool, limits: tuple[float, float]
) -> list[Row]:
    """Both durations of one call beside those of all peers."""
    case = Case.random(shape, batch, events=events)
    call = ours(case)
    case.check(call())
    others = peers(case)
    name = f"{shape}, batch {batch}, mean rank {case.ranks.float().mean():.0f}"
    name += f", {100 * ACTIVITY:.0f} % events" if events else ""
    host = {peer: 1e6 * host_s(other) for peer, other in others.items()}
    device = {
        peer: host[peer] if peer.startswith("bucketed") else 1e6 * device_s(other)
        for peer, other in others.items()
    }
    limit = 1e6 * case.limit_s(*limits)
    return [
        row(name, "device", "µs", 1e6 * device_s(call), device, limit),
        row(name, "host", "µs", 1e6 * host_s(call), host),
    ]


def bench(*, quick: bool) -> list[Row]:
    """The rows of all calls."""
    limits = machine()
    print(f"{limits[0] / 1e12:.1f} TFLOP/s in float32, {limits[1] / 1e12:.2f} TB/s")
    rows = []
    for shape in SHAPES[1:] if quick else SHAPES:
        for batch in QUICK if quick else BATCHES:
            for events in (False, True):
                found = bench_case(shape, batch, events=events, limits=limits)
                for r in found:
                    peers = ", ".join(f"{name} {value:.1f}" for name, value in r["peers"].items())
                    print(f"{r['case']}: {r['metric']} {r['ours']:.1f} µs; {peers}", flush=True)
                rows += found
    return rows


def run_tests() -> None:
    """The tests that run on a GPU, and those of the code; stop if one fails.

    Those of torch's operator need snntorch too and are left out, with a word, where it is missing.
    """
    kernels = ROOT / "tests" / "simulators" / "kernels" / "cuda"
    chosen = [kernels / "test_results.py", kernels / "test_code.py"]
    if find_spec("snntorch") is None:
        print("without snntorch the operator of torch is not tested")
    else:
        chosen.append(ROOT / "tests" / "adlrns_neuro" / "test_low_rank_op.py")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *map(str, chosen)]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    if options.test:
        run_tests()
    print(torch.cuda.get_device_name(), flush=True)
    rows = bench(quick=options.quick)
    if options.json:
        write(
            options.json, rows, ("torch", "numba", "numba-cuda"), gpu=torch.cuda.get_device_name()
        )


if __name__ == "__main__":
    main()
