from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from support.errors import refused
from support.networks import (
    dense_network,
    digits_like_network,
    recurrent_network,
    relay_network,
    small_network,
)

from mapping.errors import AdlrnsError, ConfigError, UnsupportedModelError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Dense, Input, Lif, LowRank, Network, Relay
from mapping.ir.timing import delay_graph, pipeline_latency

Edit = Callable[[Network], Network]


def _population(name: str, /, **changes: object) -> Edit:
    def edit(network: Network) -> Network:
        populations = (replace(p, **changes) if p.name == name else p for p in network.populations)
        return replace(network, populations=tuple(populations))

    return edit


def _projection(name: str, /, **changes: object) -> Edit:
    def edit(network: Network) -> Network:
        projections = (replace(p, **changes) if p.name == name else p for p in network.projections)
        return replace(network, projections=tuple(projections))

    return edit


def _whole(**changes: object) -> Edit:
    return lambda network: replace(network, **changes)


def _with_relay(relay: Relay) -> Edit:
    return lambda network: replace(network, populations=(*network.populations, relay))


def _holed(shape: tuple[int, ...], value: float) -> np.ndarray:
    array = np.ones(shape)
    array[(-1,) * len(shape)] = value
    return array


@pytest.mark.parametrize(
    ("network", "latency"),
    [
        (digits_like_network(), 3),
        (dense_network((6, 5, 3)), 2),
        (dense_network((6, 5, 4, 4, 3)), 4),
        (recurrent_network(), 2),
        (relay_network(), 2),
    ],
)
def test_latency_is_the_longest_feed_forward_delay(network: Network, latency: int) -> None:
    assert pipeline_latency(network.graph(), "in", network.output) == latency


def test_a_skip_path_does_not_shorten_the_latency() -> None:
    network = dense_network((6, 5, 3))
    skip = Dense(name="skip", source="in", target="out", weight=np.ones((3, 6)))
    longer = replace(network, projections=(*network.projections, skip))
    assert pipeline_latency(longer.graph(), "in", "out") == 2


def test_what_does_not_reach_the_output_adds_no_latency() -> None:
    network = dense_network((6, 5, 4, 4, 3))
    assert pipeline_latency(network.graph(), "in", "p2") == 2


def test_parallel_projections_count_with_the_longer_delay() -> None:
    network = small_network()
    beside = Dense(name="beside", source="in", target="hidden", weight=np.ones((8, 12)))
    for projections in ((*network.projections, beside), (beside, *network.projections)):
        graph = replace(network, projections=projections).graph()
        assert graph.edges["in", "hidden"]["delay"] == 2


def test_incoming_lists_projections_in_declaration_order() -> None:
    network = recurrent_network()
    assert [p.name for p in network.incoming("p1")] == ["w1", "r1"]
    assert network.incoming("in") == ()
    assert network.input.name == "in"
    assert network.population("out").size == 3


def test_arrays_are_read_only_copies() -> None:
    weight = np.ones((2, 3))
    dense = Dense(name="d", source="a", target="b", weight=weight)
    weight[0, 0] = 9.0
    assert dense.weight[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        dense.weight[0, 0] = 9.0
    with pytest.raises(FrozenInstanceError):
        dense.name = "e"  # type: ignore[misc]


def test_absent_arrays_are_zeros() -> None:
    lif = Lif(name="n", shape=(2, 3), current_decay=0.0, voltage_decay=1.0, threshold=1.0)
    np.testing.assert_array_equal(lif.bias, np.zeros(6))
    pair = LowRank(
        name="p", source="a", target="b", U=np.ones((3, 2)), V=np.ones((4, 2)), levels=(2,)
    )
    np.testing.assert_array_equal(pair.relay_threshold, np.zeros(2))
    assert (pair.rank, pair.delay) == (2, 2)


CONFIG_ERRORS = {
    "a name twice": (_population("hidden", name="out"), "ADL-NET-01", "network", "'out'"),
    "population named as a projection": (
        _population("hidden", name="dec"),
        "ADL-NET-01",
        "network",
        "'dec'",
    ),
    "empty name": (_projection("dec", name=""), "ADL-NET-01", "network", ""),
    "unknown source": (_projection("dec", source="hiden"), "ADL-NET-02", "dec", "'hiden'"),
    "unknown target": (_projection("dec", target="uot"), "ADL-NET-02", "dec", "'uot'"),
    "unknown output": (_whole(output="uot"), "ADL-NET-02", "digits-like", "'uot'"),
    "input as target": (_projection("dec", target="in"), "ADL-NET-02", "dec", "'in'"),
    "zero step": (_whole(dt_s=0.0), "ADL-NET-03", "network", "dt_s is 0.0"),
    "NaN step": (_whole(dt_s=float("nan")), "ADL-NET-03", "network", "dt_s is nan"),
    "no compartment": (_population("in", shape=(0,)), "ADL-NET-03", "in", "(0,)"),
    "payload without zero": (_population("in", payload_min=1), "ADL-NET-03", "in", "1..3"),
    "payload without one": (_population("in", payload_max=0), "ADL-NET-03", "in", "0..0"),
    "payload scale": (_population("in", payload_scale=-1.0), "ADL-NET-03", "in", "payload_scale"),
    "current decay 1": (
        _population("hidden", current_decay=1.0),
        "ADL-NET-03",
        "hidden",
        "current_decay 1.0",
    ),
    "voltage decay 0": (
        _population("hidden", voltage_decay=0.0),
        "ADL-NET-03",
        "hidden",
        "voltage_decay 0.0",
    ),
    "decay NaN": (
        _population("hidden", voltage_decay=float("nan")),
        "ADL-NET-03",
        "hidden",
        "voltage_decay nan",
    ),
    "threshold 0": (_population("out", threshold=0.0), "ADL-NET-03", "out", "threshold 0.0"),
    "threshold infinite": (
        _population("out", threshold=float("inf")),
        "ADL-NET-03",
        "out",
        "threshold inf",
    ),
    "bias of another size": (
        _population("hidden", bias=np.ones(3)),
        "ADL-NET-03",
        "hidden",
        "bias has shape (3,)",
    ),
    "relay blocks with a gap": (
        _with_relay(Relay(name="z", threshold=np.zeros(4), block_bounds=(0, 2))),
        "ADL-NET-03",
        "z",
        "(0, 2)",
    ),
    "relay without blocks": (
        _with_relay(Relay(name="z", threshold=np.zeros(4), block_bounds=())),
        "ADL-NET-03",
        "z",
        "()",
    ),
    "negative relay threshold": (
        _with_relay(Relay(name="z", threshold=-np.ones(2), block_bounds=(0, 2))),
        "ADL-NET-03",
        "z",
        "negative",
    ),
    "negative threshold of a factor pair": (
        _projection("enc", relay_threshold=-np.ones(4)),
        "ADL-NET-03",
        "enc",
        "negative",
    ),
    "levels that fall": (_projection("enc", levels=(4, 2)), "ADL-NET-03", "enc", "(4, 2)"),
    "levels short of the rank": (_projection("enc", levels=(2,)), "ADL-NET-03", "enc", "(2,)"),
    "no level": (_projection("enc", levels=()), "ADL-NET-03", "enc", "()"),
    "level 0": (_projection("enc", levels=(0, 4)), "ADL-NET-03", "enc", "(0, 4)"),
    "weight transposed": (
        _projection("dec", weight=np.ones((8, 3))),
        "ADL-NET-04",
        "dec",
        "weight has shape (8, 3), expected (3, 8)",
    ),
    "U of another size": (
        _projection("enc", U=np.ones((7, 4))),
        "ADL-NET-04",
        "enc",
        "U has shape (7, 4), expected (8, 4)",
    ),
    "V of another size": (
        _projection("enc", V=np.ones((11, 4))),
        "ADL-NET-04",
        "enc",
        "V has shape (11, 4), expected (12, 4)",
    ),
    "relay thresholds of another rank": (
        _projection("enc", relay_threshold=np.zeros(3)),
        "ADL-NET-04",
        "enc",
        "relay_threshold has shape (3,), expected (4,)",
    ),
    "a product of too high a rank": (
        _projection("dec", fused_rank=4),
        "ADL-NET-07",
        "dec",
        "no product of rank 4",
    ),
    "NaN in the weight": (
        _projection("dec", weight=_holed((3, 8), np.nan)),
        "ADL-NET-05",
        "dec",
        "weight holds 1 NaN or infinite values, the first at (2, 7)",
    ),
    "infinite U": (_projection("enc", U=_holed((8, 4), np.inf)), "ADL-NET-05", "enc", "U holds 1"),
    "NaN in V": (_projection("enc", V=_holed((12, 4), np.nan)), "ADL-NET-05", "enc", "V holds 1"),
    "NaN bias": (_population("hidden", bias=_holed((8,), np.nan)), "ADL-NET-05", "hidden", "(7,)"),
    "infinite relay threshold": (
        _with_relay(Relay(name="z", threshold=_holed((2,), np.inf), block_bounds=(0, 2))),
        "ADL-NET-05",
        "z",
        "threshold holds 1",
    ),
    "NaN relay threshold": (
        _with_relay(Relay(name="z", threshold=_holed((2,), np.nan), block_bounds=(0, 2))),
        "ADL-NET-05",
        "z",
        "threshold holds 1",
    ),
}


@pytest.mark.parametrize("case", CONFIG_ERRORS)
def test_a_wrong_entry_is_named(case: str) -> None:
    edit, code, where, message = CONFIG_ERRORS[case]
    with refused(ConfigError, code, where=where, message=message):
        edit(small_network())


@pytest.mark.parametrize("shape", [(-8,), (-2, -4)])
def test_a_negative_shape_is_refused(shape: tuple[int, ...]) -> None:
    with refused(ConfigError, "ADL-NET-03", where="hidden", message="shape"):
        _population("hidden", shape=shape)(small_network())


def test_relay_thresholds_must_be_a_vector() -> None:
    relay = Relay(name="z", threshold=np.zeros((2, 2)), block_bounds=(0, 2))
    with pytest.raises(AdlrnsError) as caught:
        _with_relay(relay)(small_network())
    assert caught.value.where == "z"


def _two_inputs(network: Network) -> Network:
    return replace(network, populations=(*network.populations, Input(name="in2", shape=(2,))))


@pytest.mark.parametrize(
    "edit",
    [
        _two_inputs,
        _whole(projections=()),
        lambda n: replace(n, populations=n.populations[1:], projections=n.projections[1:]),
    ],
    ids=["two inputs", "no path", "no input"],
)
def test_one_input_must_reach_the_output(edit: Edit) -> None:
    with refused(UnsupportedModelError, "ADL-NET-06", where="digits-like", remedy="connect"):
        edit(small_network())


def test_the_output_must_not_be_the_input() -> None:
    """Nothing is computed on the way, and no backend records what the input sends."""
    with pytest.raises(AdlrnsError):
        replace(small_network(), output="in")


@pytest.mark.parametrize(
    "edit",
    [
        _population("in", shape=(np.int64(12),)),
        _population("out", threshold=np.float32(1.0)),
        _projection("enc", levels=(np.int64(2), np.int64(4))),
        _whole(dt_s=np.float32(1e-3)),
    ],
    ids=["shape", "threshold", "levels", "dt_s"],
)
def test_numpy_scalars_are_as_good_as_python_numbers(edit: Edit) -> None:
    """Front ends read shapes and constants out of arrays; every network must have a fingerprint."""
    assert len(fingerprint(edit(small_network()))) == 64


@pytest.mark.parametrize(
    "edit",
    [
        _population("in", payload_max=16.5),
        _population("in", shape=(12.5,)),
        _projection("enc", levels=(2.5, 4)),
    ],
    ids=["payload", "shape", "levels"],
)
def test_a_fraction_is_never_cut_to_an_integer(edit: Edit) -> None:
    with pytest.raises((AdlrnsError, TypeError)):
        edit(small_network())


@pytest.mark.parametrize("back", [("b", "a"), ("b", "b")])
def test_a_loop_on_the_way_keeps_its_forward_delay(back: tuple[str, str]) -> None:
    """The edge that leads back adds nothing, and the way through the loop is not lost."""
    edges = [("in", "a", 1), ("a", "b", 2), (*back, 1), ("b", "out", 1)]
    graph = delay_graph(["in", "a", "b", "out"], edges)
    assert pipeline_latency(graph, "in", "out") == 4
    assert pipeline_latency(graph, "in", "b") == 3
