"""Run the gated program at three budgets, compare all backends, and estimate energy.

python examples/03_simulate.py [OUT]        (after 02_compile.py)
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mapping import load_artifact
from mapping.budget import price_for
from mapping.units import with_prefix
from simulators import estimate_energy, load_stimulus, simulate
from simulators.compare import first_difference
from simulators.energy.table import energy_lines
from simulators.plots.overview import draw_overview
from simulators.ranks import rank_usage


def main(output: Path) -> None:
    artifact = load_artifact(output / "adaptive")
    test = load_stimulus(output / "test.npz")
    energies = [entry.energy_j for entry in artifact.budgets]
    for budget_j in np.linspace(max(energies), min(energies), 3):
        trace = simulate(artifact, test, price=price_for(artifact, budget_j))
        rank = rank_usage(artifact, trace)["encoder"].mean
        spent = with_prefix(estimate_energy(artifact, trace).dynamic_j, "J")
        print(
            f"budget {with_prefix(float(budget_j), 'J')}: {trace.accuracy():.1%} of "
            f"{trace.samples} test digits at rank {rank:.1f} on average, for {spent}"
        )

    few, price = test.first(20), trace.price
    chip = simulate(artifact, few, probe=("u", "v"), price=price)
    for backend in ("oracle", "lava") if find_spec("lava") else ("oracle",):
        other = simulate(artifact, few, backend, probe=("u", "v"), price=price)
        print(
            f"{backend}: first difference from the chip simulator: {first_difference(chip, other)}"
        )

    energy = estimate_energy(artifact, trace)
    print(*energy_lines(energy), sep="\n")
    draw_overview(artifact, trace, energy, output / "adaptive.png")
    print(f"picture in {output / 'adaptive.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
