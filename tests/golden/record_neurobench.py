"""Let NeuroBench measure some small snnTorch networks, and note what it finds.

pip install --no-deps --target out/neurobench neurobench==2.3.0
PYTHONPATH=out/neurobench python tests/golden/record_neurobench.py

Writes ``neurobench.json`` beside this file: the metrics by network, the bytes of the ``Footprint``
that are snnTorch's buffers, and how many ``spikes`` the output sent. The networks and inputs are
those of :mod:`golden.neurobench_networks`.
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
from golden.neurobench_networks import LABELS, NETWORKS, payloads
from torch import nn

from mapping.ir.network import Conv2d, Lif, Network, Projection, Relay, Sparse, SumPool2d

FILE = Path(__file__).parent / "neurobench.json"


class Loop(nn.Module):
    """Neurons that feed themselves.

    snnTorch's own ``RLeaky`` applies its recurrent weights twice a step if it resets to zero, and
    NeuroBench counts both.
    """

    def __init__(self, recurrent: nn.Linear, neurons: snntorch.Leaky) -> None:
        super().__init__()
        self.recurrent, self.neurons = recurrent, neurons
        self.sent = torch.zeros(1, recurrent.out_features)

    def forward(self, arriving: torch.Tensor) -> torch.Tensor:
        """One step."""
        before = self.sent.expand(arriving.shape)
        self.sent = self.neurons(arriving + self.recurrent(before))
        return self.sent


def _linear(matrix: Any) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight = nn.Parameter(torch.tensor(matrix, dtype=torch.float32))
    return layer


def _connections(projection: Projection) -> list[nn.Module]:
    """What takes the output of one population to the input of the next."""
    if isinstance(projection, SumPool2d):
        assert projection.weight == 1 / torch.tensor(projection.conv.kernel).prod()
        return [nn.AvgPool2d(projection.conv.kernel, projection.conv.stride)]
    if isinstance(projection, Conv2d):
        conv = projection.conv
        layer = nn.Conv2d(
            conv.inputs[0],
            conv.out_channels,
            conv.kernel,
            stride=conv.stride,
            padding=conv.padding,
            groups=conv.groups,
            bias=False,
        )
        layer.weight = nn.Parameter(torch.tensor(projection.weight, dtype=torch.float32))
        return [layer]
    matrix: Any = projection.synapses.matrix()
    if isinstance(projection, Sparse):
        return [nn.Flatten(), _linear(matrix.toarray())]
    return [_linear(matrix)]


def module(network: Network) -> nn.Sequential:
    """A chain in snnTorch: neurons reset to zero in the step of the spike, as here."""
    layers: list[nn.Module] = []
    loops = {p.source: p for p in network.projections if p.source == p.target}
    for projection in network.projections:
        if projection.source == projection.target:
            continue
        layers += _connections(projection)
        population = network.population(projection.target)
        if isinstance(population, Relay):
            layers.append(nn.ReLU())
            continue
        assert isinstance(population, Lif)
        neurons: nn.Module = snntorch.Leaky(
            beta=population.voltage_decay,
            threshold=population.threshold,
            reset_mechanism="zero",
            reset_delay=False,
            init_hidden=True,
            output=population.name == network.output,
        )
        if population.name in loops:
            neurons = Loop(_linear(loops[population.name].synapses.matrix()), neurons)
        layers.append(neurons)
    return nn.Sequential(*layers)


def measured(network: Network) -> dict[str, Any]:
    """What NeuroBench finds."""
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ClassificationAccuracy,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel
    from neurobench.processors.postprocessors import ChooseMaxCount

    net = module(network)
    model = SNNTorchModel(net)
    found: dict[str, Any] = {"Footprint": Footprint()(model)}
    found["buffers"] = sum(b.numel() * b.element_size() for b in net.buffers())
    data = torch.tensor(payloads(network.name), dtype=torch.float32)
    model.register_hooks()
    answers = model(data)
    batch = (data, torch.tensor(LABELS))
    operations = SynapticOperations()(model, answers, batch)
    return found | {
        "ConnectionSparsity": ConnectionSparsity()(model),
        "ActivationSparsity": ActivationSparsity()(model, answers, batch),
        "SynapticOperations": {name: float(value) for name, value in operations.items()},
        "MembraneUpdates": MembraneUpdates()(model, answers, batch),
        "ClassificationAccuracy": ClassificationAccuracy()(model, ChooseMaxCount()(answers), batch),
        "spikes": int(answers.sum()),
    }


def main() -> None:
    """Measure and write."""
    with torch.no_grad():
        found = {name: measured(network) for name, network in NETWORKS.items()}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
