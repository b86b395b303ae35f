"""Let SANA-FE run the networks of ``benchmarks/energy_networks.py`` and note what it says.

python tests/golden/record_sanafe.py

Writes ``sanafe.json`` beside this file: by network the energy of each of SANA-FE's parts over the
run [J] and the duration of each step [s]. SANA-FE gets an environment of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "benchmarks")]

from bench_energy import NETWORKS, ask_sanafe  # noqa: E402
from energy_networks import EnergyCase, example_case, generated, tutorial_case  # noqa: E402

FILE = HERE / "sanafe.json"


def recorded_cases() -> list[EnergyCase]:
    """The random networks and the two small examples."""
    return [*map(generated, range(NETWORKS)), example_case(), tutorial_case()]


def main() -> None:
    """Run all and write the file."""
    found = {}
    for case in recorded_cases():
        answer = ask_sanafe(case)
        found[case.name] = {
            "peer": answer.peer,
            "spikes": len(answer.spikes),
            "part_j": {part: float(energy.sum()) for part, energy in answer.part_j.items()},
            "step_s": answer.step_s.tolist(),
        }
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
