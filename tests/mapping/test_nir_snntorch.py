"""Files of ours in snnTorch, and snnTorch's in ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nir
import nirtorch
import numpy as np
import pytest
import snntorch
import torch
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import _nir_to_snntorch_module, import_from_nir
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    recurrent_network,
    small_network,
)

from mapping.ir.network import Network
from mapping.nir import read_nir, write_nir
from mapping.nir.timing import lags
from mapping.semantics.float_net import run_float_network

DT_S = 1e-4
"""snnTorch's importer knows no other step."""

FEED_FORWARD = {
    "low rank": digits_like_network(biases=False),
    "small": small_network(biases=False),
    "dense": dense_network((4, 5, 6, 7)),
}


def _run(module: Callable[..., tuple[torch.Tensor, object]], payloads: np.ndarray) -> np.ndarray:
    """Spikes of an imported module, ``(samples, steps, size)``."""
    state: object = None
    sent = []
    with torch.no_grad():
        for step in range(payloads.shape[1]):
            now = torch.tensor(payloads[:, step].reshape(len(payloads), -1), dtype=torch.float32)
            spikes, state = module(now, state)
            sent.append(spikes.numpy())
    return np.stack(sent, axis=1)


def _assert_same_spikes(network: Network, theirs: np.ndarray, payloads: np.ndarray) -> None:
    lag = lags(network.projections)[network.output]
    ours = run_float_network(network, payloads)[network.output]
    assert ours.any()
    np.testing.assert_array_equal(theirs[:, : theirs.shape[1] - lag], ours[:, lag:])


@pytest.mark.parametrize("case", FEED_FORWARD)
def test_a_file_of_ours_spikes_in_snntorch_as_here(case: str, tmp_path: Path) -> None:
    network = replace(FEED_FORWARD[case], dt_s=DT_S)
    write_nir(network, tmp_path / "x.nir")
    module = import_from_nir(nir.read(tmp_path / "x.nir"))
    payloads = random_payloads(network, samples=8, steps=40)
    _assert_same_spikes(network, _run(module, payloads), payloads)


def test_a_recurrent_file_of_ours_spikes_in_nirtorch_as_here(tmp_path: Path) -> None:
    """snnTorch 1.0.0's own importer sends the input of a recurrent population through its loop."""
    network = replace(recurrent_network(), dt_s=DT_S)
    write_nir(network, tmp_path / "x.nir")
    kinds = (nir.Linear, nir.LIF, nir.CubaLIF)
    nodes = {kind: lambda node: _nir_to_snntorch_module(node, init_hidden=True) for kind in kinds}
    module = nirtorch.nir_to_torch(nir.read(tmp_path / "x.nir"), nodes)
    payloads = random_payloads(network, samples=8, steps=40)
    _assert_same_spikes(network, _run(module, payloads), payloads)


@pytest.mark.filterwarnings("ignore:nirtorch.extract_nir_graph:DeprecationWarning")
def test_a_file_of_snntorch_spikes_here_as_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kept = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 12, bias=False),
        snntorch.Synaptic(
            alpha=torch.full((12,), 0.5),
            beta=torch.full((12,), 0.9),
            threshold=torch.full((12,), 0.3),
            **kept,
        ),
        torch.nn.Linear(12, 5, bias=False),
        snntorch.Leaky(beta=torch.full((5,), 0.8), threshold=torch.full((5,), 0.2), **kept),
    )
    nir.write(tmp_path / "x.nir", export_to_nir(module, torch.zeros(8)))
    network = read_nir(tmp_path / "x.nir")
    payloads = random_payloads(network, samples=8, steps=40)
    module[1].reset_mem()
    module[3].reset_mem()
    theirs = _run(lambda now, state: (module(now), state), payloads)
    _assert_same_spikes(network, theirs, payloads)
