"""Record anew what Lava does with the golden networks.

python tests/golden/record.py [NAME …]

It takes a minute and writes ``traces/NAME.npz``. Only a network that changed is a reason to run it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.networks import golden_cases
from support.integer_networks import Case

from simulators.backend import simulate
from simulators.trace import ExecutionTrace, Stimulus

FOLDER = Path(__file__).parent / "traces"


def run_case(case: Case, backend: str) -> ExecutionTrace:
    """All states of ``case``, without how long it took."""
    stimulus = Stimulus(payloads=case.payloads)
    trace = simulate(case.artifact, stimulus, backend, probe=("u", "v"), price=case.price)
    return replace(trace, seconds=0.0)


if __name__ == "__main__":
    wanted = golden_cases()
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or wanted:
        run_case(wanted[name], "lava").save(FOLDER / f"{name}.npz")
