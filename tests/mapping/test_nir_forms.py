"""Networks of every form, out to NIR and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.networks import random_payloads
from support.nir_graphs import run_nir
from support.nir_networks import networks_of_all_forms
from support.spatial import spatial_network

from mapping.errors import UnsupportedModelError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Conv2d, ConvShape, Dense, Li, Network, SumPool2d
from mapping.nir import read_nir, write_nir
from mapping.nir.timing import lags
from mapping.nir.write import nir_graph
from mapping.semantics.float_net import run_float_network

STEPS = 14
same_folder = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@same_folder
@given(network=networks_of_all_forms())
def test_a_file_comes_back_bit_for_bit_and_opens_elsewhere(
    network: Network, tmp_path: Path
) -> None:
    write_nir(network, tmp_path / "x.nir")
    nir.read(tmp_path / "x.nir")
    assert fingerprint(read_nir(tmp_path / "x.nir")) == fingerprint(network)


@same_folder
@given(network=networks_of_all_forms(), order=st.randoms(use_true_random=False))
def test_neither_node_nor_edge_order_matters(network: Network, order: Any, tmp_path: Path) -> None:
    graph = nir_graph(network)
    items = list(graph.nodes.items())
    order.shuffle(items)
    order.shuffle(graph.edges)
    graph.nodes = dict(items)
    nir.write(tmp_path / "x.nir", graph)
    assert fingerprint(read_nir(tmp_path / "x.nir")) == fingerprint(network)


@settings(max_examples=60, deadline=None)
@given(network=networks_of_all_forms())
def test_the_equations_of_the_nodes_give_our_spikes_shifted_by_the_lag(network: Network) -> None:
    still = tuple(
        p if p is network.input else replace(p, bias=np.zeros(p.size)) for p in network.populations
    )
    network = replace(network, populations=still)
    payloads = random_payloads(network, samples=2, steps=STEPS)
    graph = nir_graph(network)
    theirs = run_nir(graph, payloads, dt_s=network.dt_s)
    ours, lag = run_float_network(network, payloads), lags(network.projections)
    names = {node.metadata.get("name"): key for key, node in graph.nodes.items()}
    for population in network.populations:
        if population is network.input:
            continue
        late = lag.get(population.name, 0)
        found = theirs[names[population.name]][:, : STEPS - late]
        own = ours[population.name][:, late:]
        exact = not isinstance(population, Li)
        np.testing.assert_allclose(found, own, rtol=0, atol=0 if exact else 1e-9)


def test_the_nodes_of_a_spatial_network(tmp_path: Path) -> None:
    write_nir(spatial_network(), tmp_path / "x.nir")
    graph = nir.read(tmp_path / "x.nir")
    kinds = {key: type(node).__name__ for key, node in graph.nodes.items()}
    assert kinds == {
        "in": "Input",
        "features": "CubaLIF",
        "pooled": "CubaLIF",
        "hidden": "CubaLIF",
        "out": "CubaLI",
        "conv_delay": "Delay",
        "conv": "Conv2d",
        "pool_pool": "SumPool2d",
        "pool": "Scale",
        "sparse_delay": "Delay",
        "sparse_flat": "Flatten",
        "sparse": "Linear",
        "loop_delay": "Delay",
        "loop": "Linear",
        "read": "Linear",
        "output": "Output",
    }
    assert graph.nodes["pool"].scale.shape == (4, 3, 2)


def _with_conv(conv: ConvShape) -> Network:
    network = spatial_network()
    source, features = network.populations[:2]
    features = replace(features, shape=conv.outputs, bias=np.zeros(0))
    first = Conv2d(
        name="conv", source="in", target="features", conv=conv, weight=np.ones(conv.weight_shape)
    )
    return replace(network, populations=(source, features), projections=(first,), output="features")


def _fed_image() -> Network:
    network = spatial_network()
    back = Dense(
        name="back",
        source="hidden",
        target="features",
        weight=np.ones((network.populations[1].size, 9)),
    )
    return replace(network, projections=(*network.projections, back))


def _dilated_pool() -> Network:
    conv = ConvShape(inputs=(2, 6, 5), out_channels=2, kernel=(2, 2), dilation=(2, 2), groups=2)
    network = _with_conv(conv)
    pool = SumPool2d(name="pool", source="in", target="features", conv=conv)
    return replace(network, projections=(pool,))


def _fused() -> Network:
    network = spatial_network()
    *others, read = network.projections
    return replace(network, projections=(*others, replace(read, fused_rank=2)))


INEXPRESSIBLE: dict[str, tuple[Network, str, str]] = {
    "a kernel of 3 by 2": (
        _with_conv(ConvShape(inputs=(2, 6, 5), out_channels=2, kernel=(3, 2))),
        "conv",
        "row or column of zeros",
    ),
    "a vector into an image": (_fed_image(), "back", "convolutions alone"),
    "a dilated pool": (_dilated_pool(), "pool", "Conv2d"),
    "a fused pair": (_fused(), "read", "before compiling"),
}


@pytest.mark.parametrize("case", INEXPRESSIBLE)
def test_what_nir_cannot_express_is_refused(case: str, tmp_path: Path) -> None:
    network, where, remedy = INEXPRESSIBLE[case]
    with refused(UnsupportedModelError, "ADL-NIR-09", where=where, remedy=remedy):
        write_nir(network, tmp_path / "x.nir")
    assert not list(tmp_path.iterdir())
