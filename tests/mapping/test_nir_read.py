from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.networks import digits_like_network, random_payloads, small_network
from support.nir_graphs import expressible_networks, run_nir
from support.shared import shared_data

from mapping.errors import AdlrnsError, ArtifactError, ConfigError, UnsupportedModelError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Dense, Lif, LowRank, Network, RankGate, Relay
from mapping.nir import NirConventions, read_nir, write_nir
from mapping.nir.timing import lags
from mapping.nir.write import nir_graph
from mapping.passes.realise_factors import realise_factors
from mapping.semantics.float_net import run_float_network

DT_S = 1e-4
STEPS = 30
same_folder = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _lif(size: int, *, tau: float = 1e-3, **changes: Any) -> nir.LIF:
    ones = np.ones(size)
    values = {"r": 10 * ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones}
    return nir.LIF(tau=tau * ones, **(values | changes))


def _cuba(size: int, **changes: Any) -> nir.CubaLIF:
    ones = np.ones(size)
    values = {
        "tau_mem": 1e-3 * ones,
        "tau_syn": 4e-4 * ones,
        "r": 10 * ones,
        "v_leak": 0 * ones,
        "v_threshold": ones,
        "v_reset": 0 * ones,
        "w_in": 4 * ones,
    }
    return nir.CubaLIF(**(values | changes))


def _chain(*nodes: nir.NIRNode, inputs: int = 4) -> nir.NIRGraph:
    """``input`` → ``0`` → ``1`` → … → ``output``."""
    named = {"input": nir.Input(np.array([inputs])), **{str(n): x for n, x in enumerate(nodes)}}
    named["output"] = nir.Output(*nodes[-1].output_type.values())
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def _matrix(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 1.0, (rows, columns))


def _read(graph: nir.NIRGraph, folder: Path, **conventions: Any) -> Network:
    nir.write(folder / "x.nir", graph)
    return read_nir(folder / "x.nir", NirConventions(**conventions))


def _compare(graph: nir.NIRGraph, network: Network, **how: bool) -> int:
    """Spikes of graph and network must agree but for lags; returns the latency of the output."""
    payloads = random_payloads(network, samples=4, steps=STEPS)
    theirs = run_nir(graph, payloads, dt_s=DT_S, **how)
    ours = run_float_network(network, payloads)
    current = (nir.CubaLIF, nir.CubaLI)
    late = {k for k, n in graph.nodes.items() if isinstance(n, current) and "previous" in how}
    lag = _longest_ways(network, late)
    for key, spikes in theirs.items():
        assert spikes.any(), "nothing was compared"
        found, own = spikes[:, : STEPS - lag[key]], ours[key][:, lag[key] :]
        if isinstance(network.population(key), Lif):
            np.testing.assert_array_equal(found, own)
        else:
            np.testing.assert_allclose(found, own, atol=1e-9)
    return lag[network.output]


def _longest_ways(network: Network, late: set[str]) -> dict[str, int]:
    """Steps to each population, relays and axonal delays left out, along ways without loops."""
    edges = {(p.source, p.target) for p in realise_factors(network).projections}
    found = {network.input.name: 0}

    def visit(name: str, way: tuple[str, ...]) -> None:
        for source, target in edges:
            if source == name and target not in (*way, name):
                steps = found[name] + 1 - (target in late)
                if steps >= found.get(target, steps):
                    found[target] = steps
                    visit(target, (*way, name))

    visit(network.input.name, ())
    return found


@same_folder
@given(network=expressible_networks())
def test_a_file_of_ours_comes_back_bit_for_bit(network: Network, tmp_path: Path) -> None:
    write_nir(network, tmp_path / "x.nir")
    again = read_nir(tmp_path / "x.nir")
    assert fingerprint(again) == fingerprint(network)
    payloads = random_payloads(network, samples=2)
    before, after = (run_float_network(n, payloads, price=0.5) for n in (network, again))
    for name, sent in before.items():
        np.testing.assert_array_equal(sent, after[name])


def test_gate_and_blocks_lie_in_the_metadata(tmp_path: Path) -> None:
    gate = RankGate(
        weight=np.ones((1, 3)),
        bias=np.zeros(1),
        cost=np.ones(1),
        trace_threshold=2.0,
        hidden_weight=np.ones((3, 2)),
        hidden_bias=np.ones(3),
        at="source",
    )
    network = small_network()
    pair, dense = network.projections
    network = replace(network, projections=(replace(pair, gate=gate), dense))
    write_nir(network, tmp_path / "x.nir")
    metadata = nir.read(tmp_path / "x.nir").nodes["enc_U"].metadata
    np.testing.assert_array_equal(metadata["levels"], [2, 4])
    np.testing.assert_array_equal(metadata["gate_hidden_weight"], gate.hidden_weight)
    assert metadata["gate_trace_threshold"] == 2.0
    assert fingerprint(read_nir(tmp_path / "x.nir")) == fingerprint(network)


@same_folder
@given(network=expressible_networks(), order=st.randoms(use_true_random=False))
def test_neither_node_nor_edge_order_matters(network: Network, order: Any, tmp_path: Path) -> None:
    graph = nir_graph(network)
    items = list(graph.nodes.items())
    order.shuffle(items)
    order.shuffle(graph.edges)
    graph.nodes = dict(items)
    assert fingerprint(_read(graph, tmp_path)) == fingerprint(network)


@same_folder
@given(order=st.randoms(use_true_random=False))
def test_the_order_of_a_foreign_file_does_not_matter_either(order: Any, tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_matrix(3, 4)), _lif(3), nir.Linear(_matrix(2, 3)), _cuba(2))
    expected = fingerprint(_read(graph, tmp_path))
    items = list(graph.nodes.items())
    order.shuffle(items)
    order.shuffle(graph.edges)
    assert fingerprint(_read(nir.NIRGraph(dict(items), graph.edges), tmp_path)) == expected


def test_the_published_neuron_spikes_as_in_norse() -> None:
    trace = np.loadtxt(shared_data("nir", "lif_single_norse.csv"), delimiter=",")
    network = read_nir(shared_data("nir", "lif_single.nir"))
    assert network.dt_s == DT_S
    payloads = trace[None, :, :1].astype(np.int64)
    (lag,) = {1} & set(lags(network.projections).values())
    spikes = run_float_network(network, payloads)[network.output]
    steps = np.flatnonzero(spikes[0, :, 0]) - lag
    np.testing.assert_array_equal(steps, np.flatnonzero(trace[:, 2]))
    np.testing.assert_array_equal(steps, [460, 510, 710, 760])


def test_published_spikes_depend_on_the_conventions() -> None:
    network = read_nir(shared_data("nir", "lif_single.nir"), NirConventions(dt_s=2e-4))
    assert network.dt_s == 2e-4
    exp = read_nir(shared_data("nir", "lif_single.nir"), NirConventions(integration="exp"))
    (lif,) = (p for p in exp.populations if isinstance(p, Lif))
    np.testing.assert_allclose(lif.voltage_decay, np.exp(-DT_S / 2.5e-3), rtol=1e-7)


@pytest.mark.parametrize("integration", ["euler", "exp"])
@pytest.mark.parametrize("cuba_order", ["new", "previous"])
def test_the_conventions_do_what_they_say(
    integration: str, cuba_order: str, tmp_path: Path
) -> None:
    graph = _chain(
        nir.Linear(_matrix(5, 4)),
        _cuba(5),
        nir.Linear(_matrix(4, 5, 1)),
        nir.Linear(_matrix(6, 4, 2)),
        _lif(6),
        nir.Linear(np.abs(_matrix(3, 6, 3))),
        _cuba(3),
    )
    network = _read(graph, tmp_path, integration=integration, cuba_order=cuba_order)
    how = {"exact": integration == "exp"} | ({"previous": True} if cuba_order != "new" else {})
    latency = _compare(graph, network, **how)
    assert latency == (4 if cuba_order == "new" else 2)


def test_resistance_input_weight_reset_and_thresholds_per_neuron_are_folded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reset, leak = rng.normal(0, 0.2, (2, 5))
    neurons = _cuba(
        5,
        r=rng.uniform(5, 15, 5),
        w_in=rng.uniform(2, 6, 5),
        v_threshold=reset + rng.uniform(0.5, 2, 5),
        v_reset=reset,
        v_leak=reset,
    )
    graph = _chain(nir.Linear(_matrix(5, 4)), neurons)
    _compare(graph, _read(graph, tmp_path))
    graph = _chain(nir.Linear(_matrix(3, 4)), nir.Linear(_matrix(5, 3)), neurons)
    _compare(graph, _read(graph, tmp_path))
    neurons.v_leak = leak
    network = _read(graph, tmp_path)
    (lif,) = (p for p in network.populations if isinstance(p, Lif))
    theirs = (leak - reset) / (neurons.v_threshold - reset)
    np.testing.assert_allclose(lif.bias / lif.threshold, 0.1 * theirs)


def test_equal_thresholds_and_unit_gains_leave_the_weights_alone(tmp_path: Path) -> None:
    weight = _matrix(3, 4)
    (dense,) = _read(_chain(nir.Linear(weight), _lif(3)), tmp_path).projections
    assert isinstance(dense, Dense)
    np.testing.assert_array_equal(dense.weight, weight)


def test_the_bias_of_an_affine_adds_to_the_voltage_of_a_lif(tmp_path: Path) -> None:
    first = nir.Affine(_matrix(3, 4), np.array([0.1, -0.2, 0.3]))
    last = nir.Affine(_matrix(5, 3, 1), np.linspace(-1, 1, 5))
    network = _read(_chain(first, last, _lif(5, r=2 * np.ones(5))), tmp_path)
    (lif,) = (p for p in network.populations if isinstance(p, Lif))
    np.testing.assert_allclose(lif.bias, 0.2 * (last.weight @ first.bias + last.bias))
    assert isinstance(network.projections[0], LowRank)


def test_the_bias_of_an_affine_flows_through_the_current_of_a_cubalif(tmp_path: Path) -> None:
    graph = _chain(nir.Affine(_matrix(5, 4), np.linspace(-1, 1, 5)), _cuba(5))
    network = _read(graph, tmp_path)
    assert sum(isinstance(p, Relay) for p in network.populations) == 1
    payloads = random_payloads(network, steps=STEPS)
    theirs = run_nir(graph, payloads, dt_s=DT_S)["1"]
    np.testing.assert_array_equal(theirs[:, :-1], run_float_network(network, payloads)["1"][:, 1:])


def test_a_population_may_feed_itself(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_matrix(4, 4)), _cuba(4), nir.Linear(_matrix(2, 4)), _lif(2))
    graph.nodes["back"] = nir.Linear(_matrix(4, 4, 5))
    graph.edges += [("1", "back"), ("back", "1")]
    assert _compare(graph, _read(graph, tmp_path)) == 2
    network = _read(graph, tmp_path, cuba_order="previous")
    assert _compare(graph, network, previous=True) == 1
    (loop,) = (p for p in network.projections if p.source == p.target)
    assert loop.delay == 2


def test_a_population_without_input_may_feed_itself(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_matrix(4, 4)), _lif(4))
    graph.nodes |= {"alone": _lif(2), "loop": nir.Linear(_matrix(2, 2))}
    graph.edges += [("alone", "loop"), ("loop", "alone")]
    names = {p.name for p in _read(graph, tmp_path).populations}
    assert names == {"input", "1", "alone"}


def test_sub_graphs_are_flattened(tmp_path: Path) -> None:
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([4])),
            "lif": _lif(4),
            "w_rec": nir.Linear(_matrix(4, 4, 5)),
            "output": nir.Output(np.array([4])),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    network = _read(_chain(nir.Linear(_matrix(4, 4)), inner), tmp_path)
    assert network.output == "1.lif"
    assert {(p.name, p.source, p.target) for p in network.projections} == {
        ("0", "input", "1.lif"),
        ("1.w_rec", "1.lif", "1.lif"),
    }


def test_a_sub_graph_may_be_the_whole_of_the_way(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_matrix(4, 4)), _lif(4))
    network = _read(_chain(graph, graph), tmp_path)
    assert network.output == "1.1"
    assert len(network.projections) == 2


def test_neurons_that_follow_each_other_directly_are_joined_one_to_one(tmp_path: Path) -> None:
    graph = _chain(_lif(4), _lif(4))
    network = _read(graph, tmp_path)
    assert [p.name for p in network.projections] == ["input → 0", "0 → 1"]
    _compare(graph, network)


def test_a_matrix_may_be_shared(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_matrix(3, 4)), _lif(3), nir.Linear(_matrix(2, 3)), _lif(2))
    graph.nodes["other"] = _cuba(3)
    graph.edges += [("0", "other"), ("other", "2")]
    network = _read(graph, tmp_path)
    assert len(network.projections) == 4
    _compare(graph, network)


def test_files_without_our_metadata_are_binary_at_the_published_step(tmp_path: Path) -> None:
    network = _read(_chain(nir.Linear(_matrix(3, 4)), _lif(3)), tmp_path)
    assert network.dt_s == DT_S
    assert (network.name, network.output) == ("x", "1")
    source = network.input
    assert (source.payload_min, source.payload_max, source.payload_scale) == (0, 1, 1.0)


def test_metadata_never_contradict_the_nodes(tmp_path: Path) -> None:
    graph = nir_graph(small_network())
    graph.nodes["hidden"].tau_mem *= 2
    graph.nodes["hidden"].r *= 2
    graph.nodes["hidden"].v_leak *= 0
    network = _read(graph, tmp_path)
    hidden = network.population("hidden")
    assert isinstance(hidden, Lif)
    np.testing.assert_allclose(hidden.voltage_decay, 0.95)
    assert not hidden.bias.any()


def test_another_step_rescales_decays_and_weights_of_a_file_of_ours(tmp_path: Path) -> None:
    network = digits_like_network()
    halved = _read(nir_graph(network), tmp_path, dt_s=network.dt_s / 2)
    out = halved.population("out")
    assert isinstance(out, Lif)
    np.testing.assert_allclose(out.voltage_decay, 0.975)
    np.testing.assert_allclose(halved.projections[1].weight, network.projections[1].weight / 2)


CHOICES: dict[str, tuple[dict[str, Any], type[AdlrnsError], str, str]] = {
    "no step": ({"dt_s": 0.0}, ConfigError, "ADL-NIR-02", "--dt"),
    "endless step": ({"dt_s": float("inf")}, ConfigError, "ADL-NIR-02", "--dt"),
    "unknown reset": ({"reset": "hard"}, ConfigError, "ADL-NIR-02", "--reset"),
    "unknown integration": ({"integration": "rk4"}, ConfigError, "ADL-NIR-02", "--integration"),
    "unknown order": ({"cuba_order": "old"}, ConfigError, "ADL-NIR-02", "--cuba-order"),
    "subtraction": ({"reset": "subtract"}, UnsupportedModelError, "ADL-NIR-03", "--reset"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_a_convention_that_cannot_be_had_is_named(case: str) -> None:
    choice, kind, code, where = CHOICES[case]
    with refused(kind, code, where=where):
        NirConventions(**choice)


@pytest.mark.parametrize("content", [None, b"", b"hello", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_is_none_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.nir"
    if content is not None:
        path.write_bytes(content)
    with refused(ArtifactError, "ADL-NIR-01", where="x.nir", remedy="nir.write"):
        read_nir(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_named(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "x.nir"
    write_nir(small_network(), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with refused(ArtifactError, "ADL-NIR-01", where="x.nir", message="damaged"):
        read_nir(path)


DAMAGED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no graph": (lambda f: f.pop("node"), "no NIR graph"),
    "unknown type": (lambda f: f["node/nodes/dec/type"].write_direct(np.array(b"Lunear")), ""),
    "parameter missing": (lambda f: f["node/nodes/out"].pop("tau"), "tau"),
    "node missing": (lambda f: f["node/nodes"].pop("dec"), "'dec', which is not there"),
    "words for weights": (
        lambda f: (
            f["node/nodes/dec"].pop("weight"),
            f["node/nodes/dec"].create_dataset("weight", data=[[b"a", b"b"]]),
        ),
        "real numbers",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named(case: str, tmp_path: Path) -> None:
    damage, message = DAMAGED[case]
    write_nir(small_network(), tmp_path / "x.nir")
    with h5py.File(tmp_path / "x.nir", "r+") as file:
        damage(file)
    with refused(ArtifactError, "ADL-NIR-01", where="x.nir", message=message):
        read_nir(tmp_path / "x.nir")


REFUSED: dict[str, tuple[tuple[nir.NIRNode, ...], str, str]] = {
    "Threshold": ((nir.Threshold(np.ones(3)), _lif(3)), "1/4096", "IF or LIF"),
    "LI": (
        (nir.LI(tau=np.ones(3), r=np.ones(3), v_leak=np.zeros(3)), _lif(3)),
        "spikes, not voltages",
        "but the last",
    ),
    "I": ((nir.I(r=np.ones(3)), _lif(3)), "spikes, not voltages", "but the last"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_node_types_are_refused_with_a_reason(kind: str, tmp_path: Path) -> None:
    nodes, reason, remedy = REFUSED[kind]
    graph = _chain(nir.Linear(_matrix(3, 4)), *nodes)
    message = f"the node type {kind}"
    with refused(
        UnsupportedModelError, "ADL-NIR-04", where="x.nir: 1", message=message, remedy=remedy
    ) as caught:
        _read(graph, tmp_path)
    assert reason in caught.value.message


def test_an_integrator_that_is_the_answer_must_not_be_read_by_others(tmp_path: Path) -> None:
    graph = _chain(_lif(4), nir.I(r=np.ones(4)))
    graph.nodes["back"] = nir.Linear(_matrix(4, 4))
    graph.edges += [("1", "back"), ("back", "0")]
    with refused(UnsupportedModelError, "ADL-NIR-04", where="x.nir: 1", message="the answer"):
        _read(graph, tmp_path)


square = nir.Linear(_matrix(4, 4))


def _two_inputs() -> nir.NIRGraph:
    graph = _chain(nir.Linear(_matrix(3, 4)), _lif(3))
    graph.nodes["more"] = nir.Input(np.array([4]))
    graph.edges.append(("more", "0"))
    return graph


def _sub_graph_with_two_outputs() -> nir.NIRGraph:
    inner = _chain(nir.Linear(_matrix(4, 4)), _lif(4))
    inner.nodes["more"] = nir.Output(np.array([4]))
    inner.edges.append(("1", "more"))
    return _chain(inner)


def _fed_input() -> nir.NIRGraph:
    graph = _chain(square, _lif(4))
    graph.edges.append(("1", "input"))
    return graph


def _unfed_matrix() -> nir.NIRGraph:
    graph = _chain(nir.Linear(_matrix(3, 4)), _lif(3))
    graph.nodes["stray"] = nir.Linear(_matrix(3, 3))
    graph.edges.append(("stray", "1"))
    return graph


STRUCTURES: dict[str, tuple[nir.NIRGraph, str, str]] = {
    "two inputs": (_two_inputs(), "2 Input nodes", "one Input"),
    "two outputs inside": (_sub_graph_with_two_outputs(), "1 inputs and 2 outputs", "one Output"),
    "three matrices": (_chain(square, square, square, _lif(4)), "third matrix", "multiply"),
    "matrix at the end": (_chain(_lif(4), square), "['1']", "follow the neurons"),
    "input with source": (_fed_input(), "receives something", "other nodes"),
    "matrix without source": (_unfed_matrix(), "receives nothing", "leave the node out"),
    "sizes": (_chain(nir.Linear(_matrix(3, 4)), _lif(2)), "3 numbers, but takes 2", "one for all"),
    "columns": (_chain(nir.Linear(_matrix(3, 5)), _lif(3)), "takes 5", "shapes that match"),
    "weight": (_chain(nir.Linear(np.ones((2, 3, 4))), _lif(3)), "(2, 3, 4)", "a matrix"),
    "bias": (_chain(nir.Affine(_matrix(3, 4), np.ones(2)), _lif(3)), "its bias (2,)", "one bias"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_a_structure_that_is_not_understood_is_refused(case: str, tmp_path: Path) -> None:
    graph, message, remedy = STRUCTURES[case]
    with refused(UnsupportedModelError, "ADL-NIR-05", message=message, remedy=remedy):
        _read(graph, tmp_path)


@pytest.mark.parametrize(
    ("edge", "blamed"),
    [
        (("input", "0"), "0: receives"),
        (("0", "1"), "0: sends"),
        (("1", "2"), "2: receives"),
        (("2", "3"), "2: sends"),
        (("3", "output"), "output: receives"),
    ],
)
def test_a_missing_edge_is_named(edge: tuple[str, str], blamed: str, tmp_path: Path) -> None:
    graph = _chain(square, _lif(4), square, _lif(4))
    graph.edges.remove(edge)
    with refused(UnsupportedModelError, "ADL-NIR-05", message=f"perhaps {' → '.join(edge)}") as e:
        _read(graph, tmp_path)
    assert blamed in str(e.value)


PARAMETERS: dict[str, tuple[nir.NIRNode, str, str]] = {
    "tau differs": (_lif(2, tau=np.array([1e-3, 2e-3])), "0.001 to 0.002 s", "split"),
    "tau_syn differs": (_cuba(2, tau_syn=np.array([1e-3, 2e-3])), "tau_syn runs", "split"),
    "tau below the step": (_lif(2, tau=5e-5), "keeps -1", "--dt"),
    "tau of one step": (_lif(2, tau=1e-4), "keeps 0", "--integration exp"),
    "tau_syn without end": (_cuba(2, tau_syn=np.full(2, 1e30)), "keeps 1", "--dt"),
    "tau negative": (_lif(2, tau=-1.0), "not positive", "repair"),
    "tau is nan": (_lif(2, tau=np.nan), "NaN", "repair"),
    "threshold": (_lif(2, v_threshold=np.zeros(2)), "not above", "threshold above"),
}


def test_a_step_that_forgets_everything_is_refused_under_exact_integration(tmp_path: Path) -> None:
    """exp(-100) of a voltage is no number that a chip keeps."""
    graph = _chain(square, _lif(4, tau=0.01))
    with refused(UnsupportedModelError, "ADL-NIR-06", message="in a step of 1 s") as e:
        _read(graph, tmp_path, dt_s=1.0, integration="exp")
    assert e.value.remedy == "choose a --dt well below every time constant"


@pytest.mark.parametrize("case", PARAMETERS)
def test_neurons_without_an_image_are_refused(case: str, tmp_path: Path) -> None:
    node, message, remedy = PARAMETERS[case]
    graph = _chain(nir.Linear(_matrix(2, 4)), node)
    with refused(
        UnsupportedModelError, "ADL-NIR-06", where="x.nir: 1", message=message, remedy=remedy
    ):
        _read(graph, tmp_path)


def test_a_shorter_way_gets_axonal_delays(tmp_path: Path) -> None:
    graph = _chain(square, _lif(4), square, _lif(4))
    graph.edges.append(("0", "3"))
    network = _read(graph, tmp_path)
    assert _compare(graph, network) == 2
    assert sorted(p.delay for p in network.projections) == [1, 1, 2]


def test_a_previous_current_on_one_of_two_ways_makes_it_shorter(tmp_path: Path) -> None:
    graph = _chain(square, _lif(4), square, _lif(4))
    graph.nodes["cuba"] = _cuba(4)
    graph.edges += [("0", "cuba"), ("cuba", "2")]
    assert _compare(graph, _read(graph, tmp_path)) == 2
    network = _read(graph, tmp_path, cuba_order="previous")
    assert _compare(graph, network, previous=True) == 2
    assert sorted(p.delay for p in network.projections) == [1, 1, 1, 2]


UNFIT: dict[str, tuple[str, str, object]] = {
    "levels": ("enc_U", "levels", np.array([1.5, 4.0])),
    "thresholds": ("enc_U", "relay_threshold", np.ones(3)),
    "shape": ("hidden", "shape", "wide"),
    "size": ("hidden", "shape", np.array([2, 3])),
    "name": ("hidden", "name", 3),
    "bias": ("hidden", "bias", np.full(8, np.nan)),
    "payloads": ("in", "payload_max", 1.5),
    "order": ("dec", "order", np.array([1, 2])),
    "rounding": ("enc_V", "rounding", np.ones((2, 2))),
    "scale": ("in", "payload_scale", 0.0),
}


@pytest.mark.parametrize("case", UNFIT)
def test_metadata_that_do_not_fit_are_named(case: str, tmp_path: Path) -> None:
    node, key, value = UNFIT[case]
    graph = nir_graph(small_network())
    graph.nodes[node].metadata[key] = value
    with refused(
        ArtifactError, "ADL-NIR-08", where=f"x.nir: {node}", message=repr(key), remedy="format"
    ):
        _read(graph, tmp_path)
    del graph.metadata["format"]
    assert _read(graph, tmp_path).output == "out"


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(np.full((3, 4), np.nan)), _lif(3))
    with refused(ConfigError, "ADL-NET-05", where="0"):
        _read(graph, tmp_path)


def test_the_original_is_only_read(tmp_path: Path) -> None:
    write_nir(replace(small_network(), name="mine"), tmp_path / "x.nir")
    before = (tmp_path / "x.nir").read_bytes()
    read_nir(tmp_path / "x.nir")
    assert (tmp_path / "x.nir").read_bytes() == before
