"""Each type of NIR node, read and run beside its equation."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
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
from support.shared import shared_data

from mapping.errors import UnsupportedModelError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import (
    Conv2d,
    Dense,
    Li,
    Lif,
    LowRank,
    Network,
    Projection,
    Relay,
    Sparse,
    SumPool2d,
)
from mapping.nir import NirConventions, read_nir, write_nir
from mapping.nir.support import NODES
from mapping.pipeline import CompileOptions, compile_network
from mapping.semantics.float_net import run_float_network
from mapping.targets.load import load_target

DT_S = 1e-4
STEPS = 24
RNG = np.random.default_rng(7)
IMAGE = (2, 6, 5)
same_folder = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _lif(*shape: int, **changes: Any) -> nir.LIF:
    ones = np.ones(shape)
    values = {"r": 10 * ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones}
    return nir.LIF(tau=1e-3 * ones, **(values | changes))


def _cuba(size: int) -> nir.CubaLIF:
    ones = np.ones(size)
    return nir.CubaLIF(
        tau_mem=1e-3 * ones,
        tau_syn=4e-4 * ones,
        r=10 * ones,
        v_leak=0 * ones,
        v_threshold=ones,
        w_in=4 * ones,
    )


def _weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(0.2, 1.0, shape)


def _conv(*shape: int, **changes: Any) -> nir.Conv2d:
    values: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    values |= {"bias": np.zeros(shape[0]), "input_shape": None}
    return nir.Conv2d(**(values | {"weight": _weight(*shape)} | changes))


def _pool(kind: type, kernel: Any, stride: Any = None, padding: Any = 0) -> nir.NIRNode:
    stride = kernel if stride is None else stride
    values = (np.broadcast_to(np.array(x), (2,)).copy() for x in (kernel, stride, padding))
    return kind(*values)


def _chain(*nodes: nir.NIRNode, inputs: tuple[int, ...] = (4,)) -> nir.NIRGraph:
    """``input`` → ``0`` → ``1`` → … → ``output``."""
    named = {"input": nir.Input(np.array(inputs)), **{str(n): x for n, x in enumerate(nodes)}}
    named["output"] = nir.Output(np.array([1]))
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def _write(graph: nir.NIRGraph, path: Path) -> Path:
    """As ``nir.write``, which stores no None."""
    for node in graph.nodes.values():
        entries = {key: value for key, value in node.to_dict().items() if value is not None}
        node.to_dict = entries.copy  # type: ignore[method-assign]
    nir.write(path, graph)
    return path


def _read(graph: nir.NIRGraph, folder: Path, **conventions: Any) -> Network:
    return read_nir(_write(graph, folder / "x.nir"), NirConventions(**conventions))


def _compare(graph: nir.NIRGraph, folder: Path, late: int = 0) -> Network:
    """The answer must be that of the graph's equations but for its lag, some spikes among it."""
    network = _read(graph, folder)
    payloads = random_payloads(network, samples=3, steps=STEPS)
    theirs = run_nir(graph, payloads, dt_s=DT_S)[network.output]
    ours = run_float_network(network, payloads)[network.output]
    lag = late or _lag(network)
    assert theirs.any(), "nothing was compared"
    found, own = theirs[:, : STEPS - lag], ours[:, lag:]
    if isinstance(network.population(network.output), Li):
        np.testing.assert_allclose(found, own, atol=1e-9)
    else:
        np.testing.assert_array_equal(found, own)
    return network


def _lag(network: Network) -> int:
    """Projections on the way to the answer."""
    steps, name = 0, network.output
    while name != network.input.name:
        way = next(p for p in network.projections if p.target == name and p.source != name)
        steps += 2 if isinstance(way, LowRank) else 1
        name = way.source
    return steps


def _only(network: Network) -> Projection:
    (projection,) = network.projections
    return projection


same = {"padding": "same"}
WINDOWS: dict[str, tuple[nir.NIRNode, tuple[int, ...], type]] = {
    "conv": (_conv(3, 2, 3, 2), (3, 4, 4), Conv2d),
    "strides": (_conv(3, 2, 3, 2, stride=(2, 1), padding=(1, 2)), (3, 3, 8), Conv2d),
    "dilated": (_conv(3, 2, 2, 3, dilation=(3, 2)), (3, 3, 1), Conv2d),
    "groups": (_conv(4, 1, 2, 2, groups=2), (4, 5, 4), Conv2d),
    "same": (_conv(3, 2, 3, 3, **same), (3, 6, 5), Conv2d),
    "same, even": (_conv(3, 2, 2, 4, **same), (3, 6, 5), Conv2d),
    "same, even, dilated": (_conv(3, 2, 3, 2, dilation=(2, 3), **same), (3, 6, 5), Conv2d),
    "valid": (_conv(3, 2, 3, 3, padding="valid"), (3, 4, 3), Conv2d),
    "sum": (_pool(nir.SumPool2d, 2), (2, 3, 2), SumPool2d),
    "sum, padded": (_pool(nir.SumPool2d, (3, 2), (2, 1), (1, 1)), (2, 3, 6), SumPool2d),
    "mean": (_pool(nir.AvgPool2d, (3, 2), 2, 1), (2, 3, 3), SumPool2d),
    "flat": (nir.Flatten({"input": np.array(IMAGE)}, 0, -1), (60,), Sparse),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", WINDOWS)
def test_windows(case: str, tmp_path: Path) -> None:
    node, shape, form = WINDOWS[case]
    network = _compare(_chain(node, _lif(*shape, r=20 * np.ones(shape)), inputs=IMAGE), tmp_path)
    assert isinstance(_only(network), form)
    assert network.population("1").shape == shape


@pytest.mark.parametrize("padding", [1, "same", "valid"])
def test_a_convolution_along_one_axis_is_one_of_height_1(padding: Any, tmp_path: Path) -> None:
    node = nir.Conv1d(
        input_shape=9,
        weight=_weight(4, 1, 3),
        stride=1,
        padding=padding,
        dilation=2,
        groups=2,
        bias=np.zeros(4),
    )
    length = {1: 7, "same": 9, "valid": 5}[padding]
    network = _compare(_chain(node, _lif(4, length), inputs=(2, 9)), tmp_path)
    assert isinstance(_only(network), Conv2d)
    assert network.input.shape == (2, 1, 9)
    assert network.population("1").shape == (4, 1, length)


def test_what_nobody_gives_a_shape_has_that_of_what_arrives(tmp_path: Path) -> None:
    one = np.ones(1)
    layers = (
        nir.Affine(_weight(12, 4), np.zeros(12)),
        nir.IF(r=one, v_threshold=one),
        nir.Conv2d((2, 3), _weight(3, 2, 2, 2), 1, 0, 1, 1, np.zeros(3)),
        nir.LIF(tau=1e-3 * one, r=10 * one, v_leak=0 * one, v_threshold=one),
    )
    network = _compare(_chain(*layers), tmp_path)
    assert [p.shape for p in network.populations] == [(4,), (2, 2, 3), (3, 1, 2)]
    assert [type(p) for p in network.projections] == [Dense, Conv2d]


FOLDED: dict[str, tuple[list[nir.NIRNode], tuple[int, ...], type]] = {
    "pool, conv": ([_pool(nir.AvgPool2d, 2), _conv(3, 2, 2, 2)], (3, 2, 1), Conv2d),
    "pool, padded conv": (
        [_pool(nir.SumPool2d, (2, 1)), _conv(3, 2, 3, 3, padding=1)],
        (3, 3, 5),
        Conv2d,
    ),
    "a rest at the border": (
        [_pool(nir.SumPool2d, 2), _conv(3, 2, 3, 3, padding=1)],
        (3, 3, 2),
        Sparse,
    ),
    "padding over padding": (
        [_conv(2, 2, 3, 3, padding=1), _conv(3, 2, 3, 3, padding=1)],
        (3, 6, 5),
        Sparse,
    ),
    "groups": (
        [_conv(4, 1, 2, 2, groups=2, stride=2), _conv(4, 2, 2, 2, groups=2)],
        (4, 2, 1),
        Conv2d,
    ),
    "dilated": (
        [_conv(2, 2, 2, 1, dilation=(2, 1)), _conv(2, 2, 2, 2, dilation=2)],
        (2, 2, 3),
        Conv2d,
    ),
    "scale, conv": ([nir.Scale(_weight(*IMAGE)), _conv(3, 2, 3, 3)], (3, 4, 3), Sparse),
    "scale of channels": (
        [nir.Scale(np.ones(IMAGE) * [[[2.0]], [[-3.0]]]), _conv(3, 2, 3, 3)],
        (3, 4, 3),
        Conv2d,
    ),
    "pool, scale": (
        [_pool(nir.SumPool2d, 2), nir.Scale(np.full((2, 3, 2), 3.0))],
        (2, 3, 2),
        SumPool2d,
    ),
    "pool, scales": ([_pool(nir.SumPool2d, 2), nir.Scale(_weight(2, 3, 2))], (2, 3, 2), Sparse),
    "pool, scale of channels": (
        [_pool(nir.SumPool2d, 2), nir.Scale(np.ones((2, 3, 2)) * [[[2.0]], [[3.0]]])],
        (2, 3, 2),
        Conv2d,
    ),
    "conv, flatten, matrix": (
        [
            _conv(3, 2, 3, 3, bias=np.array([0.5, -1, 2])),
            nir.Flatten({"input": np.array([3, 4, 3])}, 0, 2),
            nir.Affine(_weight(5, 36), _weight(5)),
        ],
        (5,),
        Dense,
    ),
    "scale, matrix, scale": (
        [nir.Scale(_weight(*IMAGE)), nir.Linear(_weight(5, 60)), nir.Scale(_weight(5))],
        (5,),
        Dense,
    ),
    "matrix, scale, matrix": (
        [nir.Linear(_weight(3, 60)), nir.Scale(_weight(3)), nir.Linear(_weight(5, 3))],
        (5,),
        LowRank,
    ),
    "delay, conv": ([nir.Delay(np.full(IMAGE, 3 * DT_S)), _conv(3, 2, 3, 3)], (3, 4, 3), Conv2d),
    "conv, delay": ([_conv(3, 2, 3, 3), nir.Delay(np.array([2 * DT_S]))], (3, 4, 3), Conv2d),
    "scale alone": ([nir.Scale(_weight(*IMAGE) * 4)], IMAGE, Sparse),
    "delays, matrix": (
        [nir.Delay(np.arange(60).reshape(IMAGE) % 5 * DT_S), nir.Linear(_weight(5, 60))],
        (5,),
        Dense,
    ),
}


@pytest.mark.parametrize("case", FOLDED)
def test_nodes_without_state_fold_into_one_projection(case: str, tmp_path: Path) -> None:
    nodes, shape, form = FOLDED[case]
    gain = np.full(shape, 20.0) if form in (Conv2d, SumPool2d) else RNG.uniform(15, 25, shape)
    graph = _chain(*nodes, _lif(*shape, r=gain))
    graph.nodes["input"] = nir.Input(np.array(IMAGE))
    biased = any(np.any(getattr(node, "bias", 0)) for node in nodes)
    network = _read(graph, tmp_path) if biased else _compare(graph, tmp_path)
    assert isinstance(_only(network), form)
    if biased:
        payloads = random_payloads(network, samples=3, steps=STEPS)
        early = np.concatenate([np.zeros_like(payloads[:, :1]), payloads[:, :-1]], axis=1)
        theirs = run_nir(graph, early, dt_s=DT_S)[network.output]
        np.testing.assert_array_equal(theirs, run_float_network(network, payloads)[network.output])
        assert theirs.any()


def test_a_bias_before_two_ways_counts_once(tmp_path: Path) -> None:
    graph = _chain(nir.Affine(_weight(3, 4), np.ones(3)), _lif(3))
    graph.nodes["other"] = nir.Linear(_weight(4, 4))
    graph.edges += [("input", "other"), ("other", "0")]
    network = _read(graph, tmp_path)
    assert len(network.projections) == 2
    np.testing.assert_allclose(network.population("1").bias, np.ones(3))


INTEGRATORS: dict[str, nir.NIRNode] = {
    "LI": nir.LI(tau=np.full(3, 1e-3), r=RNG.uniform(5, 9, 3), v_leak=np.zeros(3)),
    "I": nir.I(r=RNG.uniform(5, 9, 3)),
    "CubaLI": nir.CubaLI(
        tau_mem=np.full(3, 1e-3),
        tau_syn=np.full(3, 5e-4),
        r=RNG.uniform(5, 9, 3),
        v_leak=np.zeros(3),
        w_in=2.0,
    ),
}


@pytest.mark.parametrize("kind", INTEGRATORS)
def test_integrators_answer_with_their_voltage(kind: str, tmp_path: Path) -> None:
    graph = _chain(_lif(4), nir.Linear(_weight(3, 4)), INTEGRATORS[kind])
    network = _compare(graph, tmp_path)
    assert isinstance(network.population(network.output), Li)


def test_a_leak_voltage_of_an_integrator_is_its_bias(tmp_path: Path) -> None:
    node = nir.LI(tau=np.full(4, 1e-3), r=np.ones(4), v_leak=np.arange(4.0))
    li = _read(_chain(node), tmp_path).population("0")
    assert isinstance(li, Li)
    np.testing.assert_allclose(li.bias, 0.1 * np.arange(4))


def test_neurons_that_do_not_leak_add_without_the_step(tmp_path: Path) -> None:
    node = nir.IF(
        r=np.array([0.4, 1.5, 1.0]),
        v_threshold=np.array([1.0, 2, 3]),
        v_reset=np.array([0, 0.5, -1]),
    )
    network = _compare(_chain(nir.Linear(np.abs(_weight(3, 4))), node), tmp_path)
    lif = network.population("1")
    assert isinstance(lif, Lif)
    assert (lif.voltage_decay, lif.current_decay) == (1.0, 0.0)
    coarse = _read(_chain(nir.Linear(_weight(3, 4)), node), tmp_path, dt_s=1.0, integration="exp")
    np.testing.assert_array_equal(coarse.population("1").threshold, lif.threshold)


def test_a_pair_that_must_wait_is_spelt_out(tmp_path: Path) -> None:
    graph = _chain(
        _lif(4), nir.Linear(_weight(4, 4)), _lif(4), nir.Linear(_weight(4, 4)), _lif(4),
        nir.Linear(_weight(4, 4)), _lif(4),
    )  # fmt: skip
    graph.nodes |= {"V": nir.Linear(_weight(2, 4)), "U": nir.Linear(_weight(4, 2))}
    graph.edges += [("0", "V"), ("V", "U"), ("U", "6")]
    network = _compare(graph, tmp_path, late=4)
    assert [p.name for p in network.populations if isinstance(p, Relay)] == ["U/relay"]


def test_a_loop_through_several_nodes_and_a_delay(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_weight(4, 4)), _lif(4), nir.Linear(_weight(3, 4)), _lif(3))
    graph.nodes |= {
        "wait": nir.Delay(np.full(3, DT_S)),
        "scale": nir.Scale(np.full(3, 0.5)),
        "back": nir.Linear(_weight(4, 3)),
    }
    graph.edges += [("3", "wait"), ("wait", "scale"), ("scale", "back"), ("back", "1")]
    network = _compare(graph, tmp_path, late=2)
    assert {(p.source, p.target) for p in network.projections} >= {("3", "1")}


def test_a_loop_that_takes_longer_on_the_chip_is_refused(tmp_path: Path) -> None:
    graph = _chain(nir.Linear(_weight(4, 4)), _lif(4), nir.Linear(_weight(3, 4)), _lif(3))
    graph.nodes["back"] = nir.Linear(_weight(4, 3))
    graph.edges += [("3", "back"), ("back", "1")]
    with refused(
        UnsupportedModelError,
        "ADL-NIR-07",
        where="back",
        message="1 steps later",
        remedy="Delay of 1 steps",
    ):
        _read(graph, tmp_path)


DELAYS: dict[str, tuple[list[nir.NIRNode], str, str]] = {
    "no multiple": ([nir.Delay(np.full(4, 1.5e-4))], "1.5 steps", "multiples"),
    "negative": ([nir.Delay(np.full(4, -1e-4))], "negative", "repair"),
    "nan": ([nir.Delay(np.full(4, np.nan))], "negative or without", "repair"),
    "too long": ([nir.Delay(np.full(4, 64e-4))], "64 steps", "longer --dt"),
    "too long together": ([nir.Delay(np.full(4, 40e-4))] * 2, "80 steps", "shorter delays"),
    "of sums": (
        [nir.Linear(_weight(4, 4)), nir.Delay(np.arange(4) * DT_S)],
        "sums differently",
        "before the weights",
    ),
}


@pytest.mark.parametrize("case", DELAYS)
def test_delays_without_an_image_are_refused(case: str, tmp_path: Path) -> None:
    nodes, message, remedy = DELAYS[case]
    with refused(
        UnsupportedModelError, "ADL-NIR-11", where="x.nir: ", message=message, remedy=remedy
    ):
        _read(_chain(*nodes, _lif(4)), tmp_path)


def test_ways_of_very_different_length_are_refused(tmp_path: Path) -> None:
    one_to_one = nir.Linear(np.eye(1))
    graph = _chain(*[node for _ in range(66) for node in (one_to_one, _lif(1))], inputs=(1,))
    graph.edges.append(("input", "131"))
    with refused(UnsupportedModelError, "ADL-NIR-11", message="65 steps", remedy="lengths"):
        _read(graph, tmp_path)


def _unnamed_output() -> nir.NIRGraph:
    graph = _chain(_lif(4), nir.Delay(np.full(4, DT_S)))
    return graph


def _wide() -> nir.NIRGraph:
    """A matrix of few weights behind a window that reads many numbers."""
    pool = _pool(nir.SumPool2d, 512)
    return _chain(pool, nir.Linear(np.ones((257, 1))), _lif(257), inputs=(1, 512, 512))


def _uneven() -> nir.NIRGraph:
    graph = _chain(_lif(4))
    graph.nodes["0"].r = np.ones(3)
    return graph


def _stateless_loop() -> nir.NIRGraph:
    graph = _chain(nir.Linear(_weight(4, 4)), nir.Linear(_weight(4, 4)), _lif(4))
    graph.edges.append(("1", "0"))
    return graph


def _many_ways() -> nir.NIRGraph:
    graph = _chain(_lif(4))
    before = "input"
    for layer in range(7):
        for side in "ab":
            graph.nodes[f"{side}{layer}"] = nir.Scale(np.full(4, 0.5))
        graph.nodes[f"{layer}"] = nir.Flatten({"input": np.array([4])}, 0, -1)
        graph.edges += [(before, f"a{layer}"), (before, f"b{layer}")]
        graph.edges += [(f"a{layer}", f"{layer}"), (f"b{layer}", f"{layer}")]
        before = f"{layer}"
    graph.nodes["end"] = _lif(4)
    graph.edges = [e for e in graph.edges if "output" not in e]
    graph.edges += [(before, "end"), ("end", "output")]
    return graph


STRUCTURES: dict[str, tuple[nir.NIRGraph, str, str]] = {
    "delayed answer": (_unnamed_output(), "not one population", "follow the neurons"),
    "loop without state": (_stateless_loop(), "without neurons", "neurons into the loop"),
    "many ways": (_many_ways(), "more than 64 ways", "one Linear"),
    "flat image": (_chain(_conv(3, 2, 2, 2), _lif(3, 5, 4), inputs=(60,)), "slides over", "Input"),
    "channels": (
        _chain(_conv(3, 3, 2, 2), _lif(3, 5, 4), inputs=IMAGE),
        "reads 3 channels",
        "match",
    ),
    "groups": (
        _chain(_conv(3, 1, 2, 2, groups=2), _lif(3, 5, 4), inputs=IMAGE),
        "2 groups",
        "divide",
    ),
    "kernel": (
        _chain(_conv(3, 2, 7, 2), _lif(3, 5, 4), inputs=IMAGE),
        "makes",
        "window",
    ),
    "stride": (
        _chain(_conv(3, 2, 2, 2, stride=(0, 1)), _lif(3, 5, 4), inputs=IMAGE),
        "stride",
        "1 to",
    ),
    "fraction": (
        _chain(_conv(3, 2, 2, 2, stride=(1.5, 1)), _lif(3, 5, 4), inputs=IMAGE),
        "stride is [1.5",
        "integers",
    ),
    "huge": (
        _chain(_conv(3, 2, 2, 2, padding=(2**31, 1)), _lif(3, 5, 4), inputs=IMAGE),
        "padding",
        "small integers",
    ),
    "padded over": (
        _chain(_conv(3, 2, 2, 2, padding=(4000, 4000)), _lif(3, 5, 4), inputs=IMAGE),
        "makes (3, 8005, 8004)",
        "window",
    ),
    "same stride": (
        _chain(_conv(3, 2, 2, 2, stride=(2, 2), **same), _lif(3, 3, 3), inputs=IMAGE),
        "same size with stride",
        "stride 1",
    ),
    "weight": (
        _chain(_conv(3, 2, 2, 2, weight=_weight(3, 2, 2)), _lif(3), inputs=IMAGE),
        "3, 2, 2",
        "4 dim",
    ),
    "bias": (
        _chain(_conv(3, 2, 2, 2, bias=np.ones(2)), _lif(3, 5, 4), inputs=IMAGE),
        "bias",
        "channel",
    ),
    "many synapses": (
        _chain(
            nir.Scale(_weight(16, 64, 64)),
            _conv(64, 16, 5, 5),
            _lif(64, 60, 60),
            inputs=(16, 64, 64),
        ),
        "no convolution any more, and has up to 92160000",
        "scale whole channels",
    ),
    "many weights": (
        _wide(),
        "weights",
        "neurons between them",
    ),
    "flatten": (
        _chain(nir.Flatten({"input": np.array([4])}, 0, 3), _lif(4)),
        "dimensions 0 to 3 of (4,)",
        "that are there",
    ),
    "scale": (_chain(nir.Scale(np.ones(3)), _lif(4)), "4 numbers, but takes 3", "per number"),
    "parameters": (_uneven(), "shapes", "one shape"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_a_structure_that_is_not_understood_is_refused(case: str, tmp_path: Path) -> None:
    graph, message, remedy = STRUCTURES[case]
    with refused(UnsupportedModelError, "ADL-NIR-05", message=message, remedy=remedy):
        _read(graph, tmp_path)


def _branched() -> nir.NIRGraph:
    """Two branches, a skip connection, a loop and a pair."""
    rng = np.random.default_rng(3)
    graph = _chain(_conv(4, 2, 3, 3), _lif(4, 4, 3), inputs=IMAGE)
    graph.nodes |= {
        "a": nir.Linear(rng.normal(0, 1, (6, 48))),
        "b": nir.Linear(rng.normal(0, 1, (6, 48))),
        "v": nir.Linear(rng.normal(0, 1, (2, 60))),
        "u": nir.Linear(rng.normal(0, 1, (6, 2))),
        "left": _lif(6),
        "right": _cuba(6),
        "c": nir.Affine(rng.normal(0, 1, (3, 6)), rng.normal(0, 0.3, 3)),
        "d": nir.Affine(rng.normal(0, 1, (3, 6)), rng.normal(0, 0.3, 3)),
        "loop": nir.Linear(rng.normal(0, 0.3, (3, 3))),
        "end": _cuba(3),
    }
    graph.edges = [e for e in graph.edges if "output" not in e]
    graph.edges += [
        ("1", "a"), ("a", "left"), ("left", "c"), ("c", "end"), ("end", "output"),
        ("1", "b"), ("b", "right"), ("right", "d"), ("d", "end"), ("end", "loop"), ("loop", "end"),
        ("input", "v"), ("v", "u"), ("u", "right"),
    ]  # fmt: skip
    return graph


@same_folder
@given(order=st.randoms(use_true_random=False))
def test_renamed_and_shuffled_nodes_give_the_same_spikes_at_the_same_cost(
    order: Any, tmp_path: Path
) -> None:
    graph = _branched()
    first = _read(graph, tmp_path)
    names = [f"n{number}" for number in range(len(graph.nodes))]
    order.shuffle(names)
    renamed = dict(zip(graph.nodes, names, strict=True))
    nodes = [(renamed[key], node) for key, node in graph.nodes.items()]
    edges = [(renamed[a], renamed[b]) for a, b in graph.edges]
    order.shuffle(nodes)
    order.shuffle(edges)
    second = _read(nir.NIRGraph(dict(nodes), edges, type_check=False), tmp_path)
    payloads = random_payloads(first, samples=2, steps=STEPS)
    one, other = (run_float_network(n, payloads)[n.output] for n in (first, second))
    np.testing.assert_array_equal(one, other)
    assert one.any()
    chip = load_target("loihi2")
    reports = [compile_network(n, chip, CompileOptions()).report for n in (first, second)]
    for part in ("noc", "estimate"):
        assert reports[0][part] == reports[1][part]
    assert reports[0]["cores"]["used"] == reports[1]["cores"]["used"]


def test_the_published_neuron_has_the_published_voltage() -> None:
    inputs, voltage, spikes = np.loadtxt(
        shared_data("nir", "lif_single_norse.csv"), delimiter=",", unpack=True
    )
    network = read_nir(shared_data("nir", "lif_single.nir"))
    lif, dense = network.population(network.output), _only(network)
    assert isinstance(lif, Lif)
    assert isinstance(dense, Dense)
    v, fired, own = 0.0, [], []
    for x in inputs:
        v = lif.voltage_decay * v + dense.weight.item() * x + lif.bias.item()
        fired.append(v > lif.threshold)
        v = 0.0 if fired[-1] else v
        own.append(v)
    np.testing.assert_array_equal(np.flatnonzero(fired), np.flatnonzero(spikes))
    np.testing.assert_array_equal(np.flatnonzero(fired), [460, 510, 710, 760])
    np.testing.assert_allclose(own, voltage, atol=float(np.finfo(np.float32).eps))
    ours = run_float_network(network, inputs[None, :, None].astype(np.int64))[network.output]
    np.testing.assert_array_equal(np.flatnonzero(ours[0, :, 0]) - 1, [460, 510, 710, 760])


def test_a_file_of_others_that_we_write_again_means_the_same(tmp_path: Path) -> None:
    first = _read(_branched(), tmp_path)
    assert any(isinstance(p, Relay) for p in first.populations)
    graph = _chain(
        _conv(4, 2, 3, 3), _lif(4, 4, 3), _pool(nir.AvgPool2d, (2, 1)),
        nir.Flatten({"input": np.array([4, 2, 3])}, 0, -1), nir.Linear(_weight(3, 24)),
        nir.LI(tau=np.full(3, 1e-3), r=np.ones(3), v_leak=np.zeros(3)), inputs=IMAGE,
    )  # fmt: skip
    first = _read(graph, tmp_path)
    write_nir(first, tmp_path / "again.nir")
    second = read_nir(tmp_path / "again.nir")
    assert fingerprint(first) == fingerprint(second)


def test_the_table_names_every_type_that_nir_has() -> None:
    assert set(NODES) == set(nir.ir.__all__) - {"NIRNode", "str2NIRNode", "dict2NIRNode"}
    for kind, support in NODES.items():
        known = {f.name for f in fields(getattr(nir, kind))}
        known = (known - {"metadata", "output_type"}) | {"shape"}
        assert {*support.required, *support.optional} <= known
