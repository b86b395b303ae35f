from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from support.errors import refused
from support.networks import (
    dense_network,
    digits_like_network,
    random_payloads,
    relay_network,
    small_network,
)
from support.nir_graphs import expressible_networks, run_nir

from mapping.errors import ArtifactError, UnsupportedModelError
from mapping.ir.network import Dense, Lif, LowRank, Network
from mapping.nir import write_nir
from mapping.nir.timing import lags
from mapping.nir.write import nir_graph
from mapping.semantics.float_net import run_float_network

STEPS = 24


def _payloads(network: Network, *, samples: int = 3) -> np.ndarray:
    payloads = random_payloads(network, samples=samples, steps=STEPS)
    return payloads.reshape(samples, STEPS, -1)


@settings(max_examples=60, deadline=None)
@given(network=expressible_networks(biases=False, static=True))
def test_forward_euler_over_the_nodes_gives_our_spikes_shifted_by_the_lag(network: Network) -> None:
    payloads = _payloads(network)
    theirs = run_nir(nir_graph(network), payloads, dt_s=network.dt_s)
    ours = run_float_network(network, payloads)
    lag = lags(network.projections)
    names = [p.name for p in network.populations if isinstance(p, Lif)]
    assert len(theirs) == len(names)
    for name, found in zip(names, theirs.values(), strict=True):
        np.testing.assert_array_equal(found[:, : STEPS - lag[name]], ours[name][:, lag[name] :])


def test_a_bias_becomes_a_leak_voltage() -> None:
    network = dense_network((6, 5))
    source, lif = network.populations
    assert isinstance(lif, Lif)
    bias = np.linspace(-0.2, 0.4, lif.size)
    network = replace(network, populations=(source, replace(lif, bias=bias)))
    payloads = _payloads(network)
    early = np.concatenate([np.zeros_like(payloads[:, :1]), payloads], axis=1)
    theirs = run_nir(nir_graph(network), early, dt_s=network.dt_s)["out"]
    ours = run_float_network(network, payloads)["out"]
    np.testing.assert_array_equal(theirs[:, :-1], ours)
    assert theirs[:, 1:].any()


def test_the_nodes_are_those_that_every_tool_knows(tmp_path: Path) -> None:
    write_nir(small_network(), tmp_path / "x.nir")
    graph = nir.read(tmp_path / "x.nir")
    kinds = {key: type(node).__name__ for key, node in graph.nodes.items()}
    assert kinds == {
        "in": "Input",
        "enc_V": "Linear",
        "enc_U": "Linear",
        "hidden": "CubaLIF",
        "dec": "Linear",
        "out": "LIF",
        "output": "Output",
    }
    ways = ["in", "enc_V", "enc_U", "hidden", "dec", "out", "output"]
    assert set(graph.edges) == set(pairwise(ways))
    assert [p.name for p in tmp_path.iterdir()] == ["x.nir"]


def test_the_payload_scale_lies_in_the_first_weights() -> None:
    network = small_network()
    nodes = nir_graph(network).nodes
    pair, dense = network.projections
    assert isinstance(pair, LowRank)
    np.testing.assert_array_equal(nodes["enc_V"].weight, pair.V.T * network.input.payload_scale)
    np.testing.assert_array_equal(nodes["enc_U"].weight, pair.U)
    np.testing.assert_array_equal(nodes["dec"].weight, dense.weight)
    assert nodes["in"].metadata["payload_scale"] == network.input.payload_scale
    assert nodes["in"].metadata["payload_max"] == network.input.payload_max


def test_level_biases_become_the_bias_that_the_full_rank_has() -> None:
    network = small_network()
    pair, dense = network.projections
    assert isinstance(pair, LowRank)
    bias = np.arange(8.0)[None]
    graph = nir_graph(replace(network, projections=(replace(pair, level_bias=bias), dense)))
    assert isinstance(graph.nodes["enc_U"], nir.Affine)
    np.testing.assert_array_equal(graph.nodes["enc_U"].bias, bias[0])


def test_a_projection_that_reads_a_part_has_zeros_elsewhere() -> None:
    network = dense_network((6, 5))
    (w,) = network.projections
    assert isinstance(w, Dense)
    part = replace(w, weight=w.weight[:, 1:3], source_start=1, source_stop=3)
    weight = nir_graph(replace(network, projections=(part,))).nodes["w1"].weight
    np.testing.assert_array_equal(weight[:, 1:3], w.weight[:, 1:3])
    assert not weight[:, [0, 3, 4, 5]].any()


def test_names_that_no_tool_accepts_are_replaced_and_kept_apart() -> None:
    network = dense_network((3, 2))
    w = replace(network.projections[0], name="out/put")
    again = replace(w, name="out put")
    keys = list(nir_graph(replace(network, projections=(w, again))).nodes)
    assert keys == ["in", "out", "out_put", "out_put_2", "output"]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nir", "b.nir"):
        write_nir(digits_like_network(), tmp_path / name)
    assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.nir").mkdir()
    with refused(ArtifactError, "ADL-ART-01", where="folder.nir"):
        write_nir(small_network(), tmp_path / "folder.nir")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.nir"]


def _with_pair(**changes: object) -> Network:
    network = small_network()
    pair, dense = network.projections
    return replace(network, projections=(replace(pair, **changes), dense))


INEXPRESSIBLE: dict[str, tuple[Network, str, str]] = {
    "a relay on its own": (relay_network(), "z", "LowRank"),
    "relays that sum": (_with_pair(sigma=True), "enc", "without sigma"),
    "relays that send changes": (_with_pair(delta=True), "enc", "without sigma"),
    "level biases on change": (
        _with_pair(sigma=True, delta=True, level_bias=np.ones((1, 8))),
        "enc",
        "plain relays",
    ),
    "a name with a zero": (replace(small_network(), name="a\0b"), "a\\x00b", "rename"),
    "a name with half a letter": (replace(small_network(), name="\ud800"), "ud800", "rename"),
}


@pytest.mark.parametrize("case", INEXPRESSIBLE)
def test_what_nir_cannot_express_is_refused(case: str, tmp_path: Path) -> None:
    network, where, remedy = INEXPRESSIBLE[case]
    with refused(UnsupportedModelError, "ADL-NIR-09", where=where, remedy=remedy):
        write_nir(network, tmp_path / "x.nir")
    assert not list(tmp_path.iterdir())


def _assert_same_spikes(network: Network, payloads: np.ndarray) -> nir.NIRGraph:
    graph = nir_graph(network)
    theirs = run_nir(graph, payloads, dt_s=network.dt_s)
    ours, lag = run_float_network(network, payloads), lags(network.projections)
    names = {node.metadata.get("name"): key for key, node in graph.nodes.items()}
    for population in network.populations[1:]:
        found, own = theirs[names[population.name]], ours[population.name]
        assert own.any()
        late = lag[population.name]
        np.testing.assert_array_equal(found[:, : STEPS - late], own[:, late:])
    return graph


def _loop(network: Network, source: str, target: str, **factors: object) -> Network:
    sizes = [network.population(name).size for name in (target, source)]
    ends = {"name": "loop", "source": source, "target": target}
    rng = np.random.default_rng(5)
    if factors:
        U, V = rng.normal(0, 1, (2, 5, 1))
        loop = LowRank(U=U[: sizes[0]], V=V[: sizes[1]], levels=(1,), **ends)
    else:
        loop = Dense(weight=rng.normal(0, 0.5, sizes), **ends)
    return replace(network, projections=(*network.projections, loop))


def test_a_factor_pair_in_a_loop_gets_a_delay() -> None:
    network = _loop(dense_network((6, 5, 3)), "p1", "p1", rank=1)
    graph = _assert_same_spikes(network, _payloads(network))
    np.testing.assert_array_equal(graph.nodes["loop_delay"].delay, np.full(5, network.dt_s))


def test_a_loop_over_two_populations_gets_a_delay() -> None:
    network = _loop(dense_network((4, 3, 3)), "out", "p1")
    graph = _assert_same_spikes(network, _payloads(network))
    assert [key for key, n in graph.nodes.items() if isinstance(n, nir.Delay)] == ["loop_delay"]


def test_ways_of_different_length_get_a_delay() -> None:
    network = dense_network((4, 3, 3))
    skip = Dense(name="skip", source="in", target="out", weight=np.ones((3, 4)))
    network = replace(network, projections=(*network.projections, skip))
    graph = _assert_same_spikes(network, _payloads(network))
    assert [key for key, n in graph.nodes.items() if isinstance(n, nir.Delay)] == ["w2_delay"]


def test_a_loop_that_two_populations_enter_is_refused() -> None:
    network = _loop(dense_network((4, 3, 3)), "out", "p1")
    skip = Dense(name="skip", source="in", target="out", weight=np.ones((3, 4)))
    network = replace(network, projections=(*network.projections, skip))
    with refused(UnsupportedModelError, "ADL-NIR-07", where="out", message="out, p1"):
        nir_graph(network)
