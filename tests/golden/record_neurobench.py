"""Let NeuroBench measure two small snnTorch networks, and note what it finds.

pip install --no-deps --target out/neurobench neurobench==2.3.0
PYTHONPATH=out/neurobench python tests/golden/record_neurobench.py

Writes ``neurobench.json`` beside this file. The networks and inputs are those of
:mod:`golden.neurobench_networks`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import snntorch
import torch
from golden.neurobench_networks import CASES, Weights, payloads, weights
from torch import nn

FILE = Path(__file__).parent / "neurobench.json"


def module(given: Weights) -> nn.Sequential:
    """The network in snnTorch: resets to zero in the step of the spike, as here."""
    layers: list[nn.Module] = []
    for number, matrix in enumerate(given.matrices):
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        linear.weight = nn.Parameter(torch.tensor(matrix, dtype=torch.float32))
        leaky = snntorch.Leaky(
            beta=given.voltage_decay,
            threshold=given.threshold,
            reset_mechanism="zero",
            reset_delay=False,
            init_hidden=True,
            output=number == len(given.matrices) - 1,
        )
        layers += [linear, leaky]
    return nn.Sequential(*layers)


def main() -> None:
    """Measure and write."""
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import (
        ActivationSparsity,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel

    found: dict[str, dict[str, Any]] = {}
    for case in CASES:
        net = module(weights(case))
        model = SNNTorchModel(net)
        linear = SNNTorchModel(nn.Sequential(*(m for m in net if isinstance(m, nn.Linear))))
        data = torch.tensor(payloads(case), dtype=torch.float32)
        model.register_hooks()
        answers = model(data)
        batch = (data, None)
        found[case] = {
            "Footprint": Footprint()(linear),
            "ConnectionSparsity": ConnectionSparsity()(model),
            "ActivationSparsity": ActivationSparsity()(model, answers, batch),
            "SynapticOperations": {
                name: float(value)
                for name, value in SynapticOperations()(model, answers, batch).items()
            },
            "MembraneUpdates": MembraneUpdates()(model, answers, batch),
            "spikes": int(answers.sum()),
        }
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
