"""Time of low-rank layers at a rank per sample, beside the libraries and the machine's limit.

python benchmarks/bench_kernels.py [--quick] [--json FILE] [--threads 1 2]

All that is compared runs in turn, round after round, so that whatever else the machine does meets
all alike; a row holds the fastest span of calls, its JSON the medians too. On one thread the clock
is that of the thread, which stands still while others have the core; on more it is the wall's,
which tells something on an idle machine only: look at the load that is printed. Results are checked
first. The limit is what the machine, measured in the same run (:mod:`kernel_limits`), needs for the
products of each sample's own rank, or to move every byte of factors in use, inputs and outputs
once, if that takes longer; nothing padded. Peers (:mod:`kernel_peers`) of the row "time" do the
same job; those of "time beside uniform" run all samples at the mean rank, of "time beside full
rank" at r_max, and of "time beside dense" with the full matrix. Two more rows each are of our calls
in bfloat16: on float32 inputs and outputs that may be rounded, and on inputs and outputs of that
type, such as the peers named bf16 have. Rows of their own say what a shared call costs right after
other libraries' threads were at work (:mod:`kernel_neighbours`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numba
import numpy as np
import torch
from kernel_cases import Problem, problem_of, random_problem
from kernel_limits import Limits, measured
from kernel_neighbours import bench_neighbours
from kernel_peers import MISSING, Run, dense, events, full_rank, same_job, uniform
from results import Row, row, write
from threadpoolctl import threadpool_info, threadpool_limits

from simulators.kernels import PackedFactors, Workspace, explain, low_rank_forward, set_threads
from simulators.kernels import low_rank_reference as reference
from simulators.kernels.call import run as run_compiled
from simulators.kernels.forward import run_path
from simulators.kernels.halves import rounded_forward
from simulators.kernels.job import BY_BFLOAT16, CHOOSE, PATHS

SHAPES = ((256, 512, 64), (1024, 1024, 128), (4096, 4096, 256))
"""(out, in, r_max)."""
BATCHES = (1, 8, 32, 256, 1024)
SHARED_SHAPE, SHARED_BATCHES = (1024, 1024, 128), (32, 256, 1024)
"""Of calls beside other libraries' threads."""
ACTIVITIES = (0.02, 0.1, 0.2)
ROUNDS = 12
CHOICE_ROUNDS = 6
ROUND_S, SPAN_S = 0.01, 2e-4
"""Each contender repeats itself for so long in a round, in spans of calls that are timed."""
CONFIGURATIONS = 200
"""Random calls that the choice of a path is judged by."""
START_LIMIT_S = 2.0
FIRST_CALL = """
import numpy as np, time
from simulators.kernels import low_rank_forward
x, U, V = np.ones((64, 256), np.float32), np.ones((128, 32)), np.ones((256, 32))
start = time.process_time()
low_rank_forward(x, U, V, 32)
print(time.process_time() - start)
"""
SETTING = "OPENBLAS_CORETYPE"
Clock = Callable[[], float]
Medians = dict[str, dict[str, float]]


def least_seconds(problem: Problem, limits: Limits) -> float:
    """The limit of a call, see the head of this file; inputs of 0 take no products."""
    outputs, inputs = len(problem.U), problem.x.shape[1]
    active = np.count_nonzero(problem.x, axis=1)
    operations = 2.0 * (problem.ranks * (active + outputs)).sum()
    largest = problem.ranks.max()
    if active.sum() < problem.x.size:  # Of V, only the rows that events name.
        used = np.count_nonzero(problem.x.any(axis=0))
    else:
        used = inputs
    size = 4.0 * (largest * (used + outputs) + problem.x.size + len(problem.x) * outputs)
    return limits.seconds(operations, size)


def timed(
    runs: Mapping[str, Callable[[], object]], clock: Clock, rounds: int = ROUNDS
) -> tuple[dict[str, float], dict[str, float]]:
    """Fastest and median time of each [µs], all in turn, by a clock in seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    repeats = {name: _repeats(run) for name, run in runs.items()}
    for _ in range(rounds):
        for name, run in runs.items():
            end = time.perf_counter() + ROUND_S
            while True:
                times[name].append(_microseconds(run, repeats[name], clock))
                if time.perf_counter() > end:
                    break
    # Now and then a hypervisor lets a thread's clock stand still over a whole span.
    fastest = {name: min(filter(None, found), default=np.inf) for name, found in times.items()}
    return fastest, {name: float(np.median(found)) for name, found in times.items()}


def _repeats(run: Callable[[], object]) -> int:
    """How many calls in a row take SPAN_S, roughly; they warm up as well."""
    repeats = 1
    while (found := _microseconds(run, repeats, time.perf_counter) * repeats) < 1e6 * SPAN_S / 2:
        repeats = max(2 * repeats, int(repeats * SPAN_S * 1e6 / max(found, 1)))
    return repeats


def _microseconds(run: Callable[[], object], repeats: int, clock: Clock) -> float:
    """Time of a call, of so many in a row."""
    start = clock()
    for _ in range(repeats):
        run()
    return 1e6 * (clock() - start) / repeats


def clock_of(threads: int) -> Clock:
    """The clock for calls on so many threads."""
    return time.thread_time if threads == 1 else time.perf_counter


def check(runs: Mapping[str, Run], expected: np.ndarray) -> None:
    """Raise AssertionError unless all outputs are right to what their number format allows."""
    for name, run in runs.items():
        found = run()
        values = found.float().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
        tolerance = 3e-2 if "bf16" in name else 1e-4
        error = np.abs(values - expected).max() / np.abs(expected).max()
        assert error < tolerance, f"{name} is wrong by {error:.1e}"


def ours(problem: Problem, *, bfloat16: bool = False) -> Callable[[], np.ndarray]:
    """Our call, with factors packed and memory made beforehand."""
    factors = PackedFactors(problem.U, problem.V, bfloat16=bfloat16)
    workspace = Workspace(factors, len(problem.x))
    out = np.empty((len(problem.x), len(problem.U)), np.float32)

    def run() -> np.ndarray:
        x, ranks = problem.x, problem.ranks
        return low_rank_forward(x, factors, None, ranks, out=out, workspace=workspace)

    return run


def ours_in_bfloat16(problem: Problem) -> Run:
    """Our call on inputs and outputs that are bfloat16, as those of torch's in that type."""
    factors = PackedFactors(problem.U, problem.V, bfloat16=True)
    workspace = Workspace(factors, len(problem.x))
    x = torch.from_numpy(problem.x).bfloat16()
    out = torch.empty(len(x), len(problem.U), dtype=torch.bfloat16)
    bits, into = (t.view(torch.uint16).numpy() for t in (x, out))

    def run() -> torch.Tensor:
        rounded_forward(bits, factors, problem.ranks, into, workspace)
        return out

    return run


def rounding(problem: Problem) -> dict[str, Run]:
    """Our calls that may round numbers: of float32 that becomes float32, and of bfloat16."""
    return {
        "ours rounding to bf16": ours(problem, bfloat16=True),
        "ours in bf16": ours_in_bfloat16(problem),
    }


def on_one_thread(run: Callable[[], np.ndarray], threads: int) -> Callable[[], np.ndarray]:
    """Our call without help."""

    def alone() -> np.ndarray:
        set_threads(1)
        try:
            return run()
        finally:
            set_threads(threads)

    return alone


def bench_case(
    shape: tuple[int, int, int], batch: int, threads: int, limits: Limits
) -> tuple[list[Row], Medians]:
    """Rows of one shape, batch and number of threads."""
    problem = problem_of(shape, batch)
    U, V, rank = problem.U, problem.V, problem.mean_rank
    groups = {
        "same": same_job(problem),
        "even": uniform(problem),
        "full": full_rank(problem),
        "dense": dense(problem),
    }
    run, mine = ours(problem), rounding(problem)
    check({"ours": run, **mine, **groups["same"]}, reference(problem.x, U, V, problem.ranks))
    check(groups["even"], reference(problem.x, U, V, rank))
    check(groups["full"] | groups["dense"], reference(problem.x, U, V, shape[2]))
    beside: dict[str, float] = {}
    if threads > 1:  # Apart: other libraries' threads keep a core for a while after a call.
        pair: dict[str, Run] = {"ours": run, "one thread": on_one_thread(run, threads)}
        beside, _ = timed(pair, clock_of(threads))
    contenders: dict[str, Run] = {"ours": run, **mine}
    for kind, group in groups.items():
        contenders |= {f"{kind}: {name}": other for name, other in group.items()}
    fastest, medians = timed(contenders, clock_of(threads))

    def of(kind: str, *, half: bool) -> dict[str, float]:
        found = {k.split(": ")[1]: v for k, v in fastest.items() if k.startswith(kind)}
        return {name: value for name, value in found.items() if ("bf16" in name) == half}

    case = f"{shape} batch {batch} mean rank {rank} threads {threads}"
    limit = 1e6 * least_seconds(problem, limits)
    own = fastest["ours"]
    print(f"  {explain(problem.x, PackedFactors(U, V), problem.ranks)}")
    rows = [row(case, "time", "µs", own, of("same", half=False) | of("same", half=True), limit)]
    rows.append(row(case, "time beside full rank", "µs", own, of("full", half=False), limit))
    for metric, kind in (("time beside uniform", "even"), ("time beside dense", "dense")):
        rows.append(row(case, metric, "µs", own, of(kind, half=False), limit))
        rows.append(row(case, f"{metric} bf16", "µs", own, of(kind, half=True), limit))
    everybody = {kind: of(kind, half=False) | of(kind, half=True) for kind in groups}
    for name in mine:
        for metric, kind in (("", "same"), (" beside uniform", "even"), (" beside dense", "dense")):
            rows.append(row(case, f"time of {name}{metric}", "µs", fastest[name], everybody[kind]))
    if beside:
        shared = beside.pop("ours")
        rows.append(row(case, "time beside one thread", "µs", shared, beside))
    return rows, {case: medians}


@numba.njit
def _repeat(times, job, ranks, x, nothing, y):  # type: ignore[no-untyped-def]
    for _ in range(times):
        run_compiled(job, ranks, x, nothing, nothing, y, CHOOSE, 1)


def bench_compiled_loop(shape: tuple[int, int, int], limits: Limits) -> Row:
    """One sample at a time, called from compiled code: without what a call from Python costs."""
    problem = problem_of(shape, 1)
    factors = PackedFactors(problem.U, problem.V)
    workspace, y = Workspace(factors, 1), np.empty((1, shape[0]), np.float32)
    arguments = factors, None, problem.ranks
    low_rank_forward(problem.x, *arguments, out=y, workspace=workspace)
    nothing, times = np.empty(0, np.float32), 100

    def run() -> None:
        _repeat(times, workspace.job, problem.ranks, problem.x, nothing, y)

    fastest, _ = timed({"ours": run}, time.thread_time)
    limit = 1e6 * least_seconds(problem, limits)
    return row(f"{shape} batch 1 compiled", "time", "µs", fastest["ours"] / times, {}, limit)


def bench_events(
    shape: tuple[int, int, int], batch: int, activity: float, threads: int, limits: Limits
) -> tuple[list[Row], Medians]:
    """Binary inputs of which a share is 1."""
    problem = problem_of(shape, batch, activity)
    mine = rounding(problem)
    contenders: dict[str, Run] = {"ours": ours(problem), **mine, **events(problem)}
    check(contenders, reference(problem.x, problem.U, problem.V, problem.ranks))
    fastest, medians = timed(contenders, clock_of(threads))
    case = f"{shape} batch {batch} events {activity:.0%} threads {threads}"
    print(f"  {explain(problem.x, PackedFactors(problem.U, problem.V), problem.ranks)}")
    own, rounded = fastest.pop("ours"), {name: fastest.pop(name) for name in mine}
    limit = 1e6 * least_seconds(problem, limits)
    rows = [row(case, "time", "µs", own, fastest, limit)]
    rows += [row(case, f"time of {name}", "µs", value, fastest) for name, value in rounded.items()]
    return rows, {case: medians}


def bench_choice(configurations: int) -> list[Row]:
    """How far the path that is chosen is from the fastest, on one thread, over random calls.

    All calls are timed in turn, round after round, since what else the machine does comes in
    phases of seconds.
    """
    rng = np.random.default_rng(1)
    calls = [_random_paths(rng) for _ in range(configurations)]
    fastest: list[dict[str, float]] = [dict.fromkeys(runs, np.inf) for runs, _ in calls]
    for _ in range(CHOICE_ROUNDS):
        for (runs, _), least in zip(calls, fastest, strict=True):
            found, _ = timed(runs, time.thread_time, rounds=1)
            least.update({path: min(least[path], value) for path, value in found.items()})
    beyond = [
        least[choose()] / min(least.values())
        for (_, choose), least in zip(calls, fastest, strict=True)
    ]
    case = f"path chosen in {configurations} random calls beside the fastest"
    within = float(np.mean(np.array(beyond) <= 1.1))
    return [
        row(case, "calls within 10 %", "share", within, {}, 0.95),
        row(case, "time of the worst", "of the fastest", max(beyond), {}, 1.25),
    ]


def _random_paths(
    rng: np.random.Generator,
) -> tuple[dict[str, Callable[[], object]], Callable[[], str]]:
    """A random call by each path that it may take, and what tells which one is chosen."""
    problem = random_problem(rng)
    may_round = bool(rng.integers(2))
    factors = PackedFactors(problem.U, problem.V, bfloat16=may_round)
    workspace = Workspace(factors, len(problem.x))
    y = np.empty((len(problem.x), len(problem.U)), np.float32)

    def of(path: str) -> Callable[[], object]:
        return lambda: run_path(path, factors, problem.x, problem.ranks, y, workspace)

    def choose() -> str:
        return explain(problem.x, factors, problem.ranks).path

    paths = PATHS if may_round else PATHS[:BY_BFLOAT16]
    return {path: of(path) for path in paths}, choose


def bench_shared(shape: tuple[int, int, int], batch: int, threads: int) -> list[Row]:
    """What sharing a call costs right after other libraries' products on as many threads."""
    problem = problem_of(shape, batch)
    run = ours(problem)
    case = f"{shape} batch {batch} threads {threads}"
    return bench_neighbours(case, run, on_one_thread(run, threads))


def bench_start(repeats: int) -> Row:
    """The first call of a process, once kernels are cached, in time of the processor."""
    found = []
    for _ in range(1 + repeats):
        command = [sys.executable, "-c", FIRST_CALL]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(float(done.stdout))
    return row("first call of a process", "duration", "s", min(found[1:]), {}, START_LIMIT_S)


def bench(counts: Sequence[int], *, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """All rows, and the medians and limits behind them."""
    rows: list[Row] = []
    medians: Medians = {}
    found_limits = {}

    def add(new: list[Row], middle: Medians | None = None) -> None:
        rows.extend(new)
        medians.update(middle or {})
        for r in new:
            show(r)

    for threads in counts:
        set_threads(threads)
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            limits = measured(threads)
            found_limits[threads] = limits.flops
            print(f"{threads} threads: {1e-9 * limits.flops:.0f} GFLOP/s from registers")
            for shape in SHAPES[: 1 if quick else None]:
                if threads == 1:
                    add([bench_compiled_loop(shape, limits)])
                for batch in BATCHES[: 3 if quick else None]:
                    add(*bench_case(shape, batch, threads, limits))
                for activity in ACTIVITIES[: 1 if quick else None]:
                    for batch in (32, 256)[: 1 if quick else None]:
                        add(*bench_events(shape, batch, activity, threads, limits))
            for batch in SHARED_BATCHES[: 1 if quick else None] if threads > 1 else ():
                add(bench_shared(SHARED_SHAPE, batch, threads))
        print(f"load: {os.getloadavg()}", flush=True)
    set_threads(1)
    add(bench_choice(10 if quick else CONFIGURATIONS))
    add([bench_start(1 if quick else 3)])
    return rows, {"median_us": medians, "flops": found_limits, "missing_peers": MISSING}


def show(r: Row) -> None:
    """Print a row."""
    peers = r["peers"]
    assert isinstance(peers, dict)
    beside = ", ".join(f"{n} {v:,.4g}" for n, v in sorted(peers.items(), key=lambda p: p[1]))
    text = f"{r['case']}, {r['metric']}: {r['ours']:,.4g} {r['unit']}"
    if r["ratio_to_limit"] is not None:
        text += f", {r['ratio_to_limit']:.2f} x the limit"
    if r["ratio_to_best_peer"] is not None:
        text += f", {r['ratio_to_best_peer']:.2f} x the best of {beside}"
    print(text, flush=True)


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    options = parser.parse_args()
    if SETTING in os.environ:
        # OpenBLAS reads it when NumPy is loaded, which it is: start over without it.
        print(f"{SETTING}={os.environ.pop(SETTING)} would slow NumPy down; left out", flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    libraries = {i["internal_api"]: i.get("architecture") for i in threadpool_info()}
    print(f"libraries: {libraries}; peers that are not installed: {', '.join(MISSING) or 'none'}")
    before = os.getloadavg()
    print(f"load: {before}")
    with torch.inference_mode():
        rows, extra = bench(options.threads, quick=options.quick)
    extra |= {"load_before": before, "load_after": os.getloadavg(), "libraries": libraries}
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy", "torch"), **extra)


if __name__ == "__main__":
    main()
