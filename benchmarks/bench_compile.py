"""Seconds and memory of the compiler, and the traffic of what it makes, beside its baseline passes.

The baseline cuts first-fit and places in raster order; both results keep all design rules and spike
alike. Each case runs in an interpreter of its own, whose peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from partition_networks import lenet
from results import Row, row, write

from mapping import CompileOptions, compile_network, load_target
from mapping.ir.network import Input, Lif, LowRank, Network
from mapping.ir.quantized import QuantizedNetwork

BASELINE = {"partitioner": "first-fit", "placer": "raster", "optimise": "latency"}
OURS: dict[str, str] = {}
SECONDS, GIGABYTES = 60.0, 4.0
"""What compiling a million neurons may take."""


def deep(layers: int, width: int = 4096, rank: int = 64) -> Network:
    """``layers`` of LIF neurons, each behind a factor pair of random weights."""
    rng = np.random.default_rng(0)
    populations: list[Input | Lif] = [Input(name="in", shape=(width,))]
    pairs = []
    for number in range(layers):
        lif = Lif(
            name=f"layer{number}",
            shape=(width,),
            current_decay=0.5,
            voltage_decay=0.9,
            threshold=1.0,
        )
        pairs.append(
            LowRank(
                name=f"pair{number}",
                source=populations[-1].name,
                target=lif.name,
                U=rng.normal(0, 0.1, (width, rank)),
                V=rng.normal(0, 0.1, (width, rank)),
                levels=(rank,),
            )
        )
        populations.append(lif)
    return Network(
        name=f"{layers} layers of {width}, rank {rank}",
        dt_s=1e-3,
        populations=tuple(populations),
        projections=tuple(pairs),
        output=populations[-1].name,
    )


CASES: dict[str, tuple[str, int | None, Callable[[], Network | QuantizedNetwork]]] = {
    "LeNet-5, 256 neurons per core": ("loihi2", 256, lambda: lenet().network),
    "3 layers of 2048, rank 64": ("loihi2", None, lambda: deep(3, width=2048)),
    "8 layers of 4096, rank 64": ("kapoho-point", None, lambda: deep(8)),
    "244 layers of 4096, rank 64": ("hala-point", None, lambda: deep(244)),
}
"""Target, neurons per core, and the network."""
QUICK = ("3 layers of 2048, rank 64",)


def measured(case: str, options: dict[str, str]) -> dict[str, float]:
    """What compiling ``case`` takes and makes, in this interpreter, kernels being compiled."""
    target, cap, build = CASES[case]
    asked = CompileOptions(neurons_per_core=cap, **options)
    if case != "244 layers of 4096, rank 64":
        compile_network(build(), load_target(target), asked)
    network = build()
    start = time.perf_counter()
    result = compile_network(network, load_target(target), asked)
    seconds = time.perf_counter() - start
    noc = result.report["noc"]
    assert isinstance(noc, dict)
    return {
        "duration": seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "packets": noc["packets_per_step"],
        "hops": noc["hops_per_step"],
        "cores": len(result.artifact.partitioned.cores),
    }


def alone(case: str, options: dict[str, str]) -> dict[str, float]:
    """:func:`measured` in an interpreter of its own."""
    request = json.dumps([case, options])
    command = [sys.executable, __file__, "--one", request]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


UNITS = {
    "duration": "s",
    "memory": "GB at the peak",
    "packets": "packets per step",
    "hops": "packets x hops per step",
    "cores": "cores",
}


def bench(*, quick: bool) -> list[Row]:
    """The rows of all cases."""
    rows = []
    for case in QUICK if quick else CASES:
        ours, baseline = alone(case, OURS), alone(case, BASELINE)
        limits = {"duration": SECONDS, "memory": GIGABYTES} if case.startswith("244") else {}
        for metric, unit in UNITS.items():
            peers = {"first-fit, raster": baseline[metric]}
            rows.append(row(case, metric, unit, ours[metric], peers, limits.get(metric)))
    return rows


def main() -> None:
    """Print the rows and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(measured(*json.loads(options.one))))
        return
    rows = bench(quick=options.quick)
    for r in rows:
        beside = ", ".join(f"{name} {value:,.4g}" for name, value in r["peers"].items())
        limit = f", limit {r['limit']:g}" if r["limit"] else ""
        print(f"{r['case']}: {r['ours']:,.4g} {r['unit']} (beside {beside}{limit})")
    if options.json:
        write(options.json, rows, ("numpy", "numba", "scipy", "mtkahypar"))


if __name__ == "__main__":
    main()
