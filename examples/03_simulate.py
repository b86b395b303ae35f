"""Run a compiled network in all three backends, compare them, and estimate its energy.

python examples/03_simulate.py [OUT]        (after 02_compile.py)
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from mapping import load_artifact
from simulators import estimate_energy, load_stimulus, simulate
from simulators.compare import first_difference
from simulators.energy.table import energy_lines
from simulators.plots.overview import draw_overview


def main(output: Path) -> None:
    artifact = load_artifact(output / "rank-8")
    test = load_stimulus(output / "test.npz")
    trace = simulate(artifact, test)
    print(f"chip simulator: {trace.accuracy():.1%} of {trace.samples} test digits")

    few = test.first(20)
    chip = simulate(artifact, few, probe=("u", "v"))
    for backend in ("oracle", "lava") if find_spec("lava") else ("oracle",):
        other = simulate(artifact, few, backend, probe=("u", "v"))
        print(
            f"{backend}: first difference from the chip simulator: {first_difference(chip, other)}"
        )

    energy = estimate_energy(artifact, trace)
    print(*energy_lines(energy), sep="\n")
    draw_overview(artifact, trace, energy, output / "rank-8.png")
    print(f"picture in {output / 'rank-8.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
