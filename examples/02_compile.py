"""Compile the trained network for Loihi 2, with its gate and at every fixed rank.

python examples/02_compile.py [OUT]        (after 01_train.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

from mapping import (
    Calibration,
    CompileOptions,
    compile_network,
    load_network,
    load_target,
    write_artifact,
)
from mapping.units import with_prefix
from simulators import load_stimulus


def main(output: Path) -> None:
    network = load_network(output / "network")
    calibration = Calibration(payloads=load_stimulus(output / "calibration.npz").payloads)
    for rank in (None, 8, 16, 24):
        name = "adaptive" if rank is None else f"rank-{rank}"
        options = CompileOptions(rank=rank, neurons_per_core=16)
        result = compile_network(network, load_target("loihi2"), options, calibration=calibration)
        write_artifact(result.artifact, result.report, output / name)
        cores, noc = result.report["cores"], result.report["noc"]
        estimate = result.report["estimate"]
        print(
            f"{name}: {cores['used']} cores, {noc['packets_per_step']:.1f} packets per step, "
            f"{with_prefix(estimate['energy_j_per_step'], 'J')} per step ({estimate['status']})"
        )
        if budgets := result.artifact.budgets:
            energies = [entry.energy_j for entry in budgets]
            least, most = (with_prefix(e, "J") for e in (min(energies), max(energies)))
            print(f"  budgets from {least} to {most} of dynamic energy per inference")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/examples"))
