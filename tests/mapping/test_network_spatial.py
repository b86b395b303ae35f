"""What makes convolutions, pooling, sparse synapses and delays well formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import coo_array
from support.errors import refused
from support.networks import changed, dense_network
from support.spatial import CONV, INPUTS, POOL, spatial_network

from mapping.errors import AdlrnsError, ConfigError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Conv2d, Dense, Li, Network, Sparse, SparseSynapses
from mapping.ir.timing import pipeline_latency

SYNAPSES = next(p for p in spatial_network().projections if isinstance(p, Sparse)).synapses
WEIGHT = np.ones(CONV.weight_shape)


def spoilt(name: str, /, **changes: object) -> Callable[[], Network]:
    return lambda: changed(spatial_network(), name, **changes)


def conv(**changes: object) -> Callable[[], Network]:
    return lambda: changed(spatial_network(), "conv", conv=replace(CONV, **changes))  # type: ignore[arg-type]


def listed(**changes: object) -> Callable[[], Network]:
    return lambda: changed(spatial_network(), "sparse", synapses=replace(SYNAPSES, **changes))  # type: ignore[arg-type]


ERRORS = {
    "stride 0": (conv(stride=(0, 1)), "ADL-NET-04", "conv", "not positive"),
    "dilation 0": (conv(dilation=(1, 0)), "ADL-NET-04", "conv", "not positive"),
    "kernel 0": (conv(kernel=(0, 1)), "ADL-NET-04", "conv", "not positive"),
    "groups 0": (conv(groups=0), "ADL-NET-04", "conv", "not positive"),
    "negative padding": (conv(padding=(0, -1)), "ADL-NET-04", "conv", "not positive"),
    "groups": (conv(groups=3), "ADL-NET-04", "conv", "3 groups do not divide 2 → 4"),
    "inputs": (conv(inputs=(2, 5, 6)), "ADL-NET-04", "conv", "leads from (2, 6, 5)"),
    "outputs": (conv(stride=(1, 1)), "ADL-NET-04", "conv", "(4, 6, 2)"),
    "too large a kernel": (conv(dilation=(9, 2)), "ADL-NET-04", "conv", "leads from"),
    "flat source": (spoilt("in", shape=(60,)), "ADL-NET-04", "conv", "(60,)"),
    "weight": (spoilt("conv", weight=WEIGHT[:, :, :, :1]), "ADL-NET-04", "conv", "(4, 1, 3, 1)"),
    "NaN": (spoilt("conv", weight=WEIGHT * np.nan), "ADL-NET-05", "conv", "24 NaN"),
    "pool groups": (
        spoilt("pool", conv=replace(POOL, groups=2)),
        "ADL-NET-04",
        "pool",
        "pools 4 into 4 channels in 2 groups",
    ),
    "pool channels": (
        spoilt("pool", conv=replace(POOL, out_channels=8)),
        "ADL-NET-04",
        "pool",
        "pools 4 into 8 channels",
    ),
    "pool weight": (spoilt("pool", weight=np.inf), "ADL-NET-05", "pool", "1 NaN or infinite"),
    "sparse rows": (listed(height=8), "ADL-NET-04", "sparse", "(8, 24), expected (9, 24)"),
    "sparse columns": (
        listed(starts=SYNAPSES.starts[:-1]),
        "ADL-NET-04",
        "sparse",
        "(9, 23), expected (9, 24)",
    ),
    "sparse targets": (listed(targets=SYNAPSES.targets + 9), "ADL-NET-04", "sparse", "in order"),
    "sparse starts": (listed(starts=SYNAPSES.starts[::-1]), "ADL-NET-04", "sparse", "in order"),
    "sparse ends": (listed(starts=SYNAPSES.starts + 1), "ADL-NET-04", "sparse", "in order"),
    "sparse rows twice": (
        listed(targets=np.zeros_like(SYNAPSES.targets)),
        "ADL-NET-04",
        "sparse",
        "rising order",
    ),
    "sparse table": (
        listed(starts=SYNAPSES.starts[None]),
        "ADL-NET-04",
        "sparse",
        "1 and 2 dimensions",
    ),
    "one stride": (conv(stride=(1,)), "ADL-NET-04", "conv", "two dimensions"),
    "inputs without channels": (conv(inputs=(6, 5)), "ADL-NET-04", "conv", "two dimensions"),
    "sparse values": (
        listed(values=SYNAPSES.values[:-1]),
        "ADL-NET-04",
        "sparse",
        f"expected ({SYNAPSES.count},)",
    ),
    "sparse NaN": (listed(values=SYNAPSES.values * np.nan), "ADL-NET-05", "sparse", "NaN"),
    "delay count": (spoilt("loop", delays=[1, 2]), "ADL-NET-03", "loop", "it reads 9"),
    "delay shape": (spoilt("loop", delays=np.zeros((9, 1))), "ADL-NET-03", "loop", "(9, 1)"),
    "delay 64": (spoilt("conv", delays=np.full(60, 64)), "ADL-NET-03", "conv", "to 64"),
    "delay -1": (spoilt("pool", delays=np.full(48, -1)), "ADL-NET-03", "pool", "from -1"),
    "leak": (spoilt("out", voltage_decay=0.0), "ADL-NET-03", "out", "voltage_decay"),
    "Li bias": (spoilt("out", bias=np.ones(2)), "ADL-NET-03", "out", "one bias per"),
    "Li NaN": (spoilt("out", bias=np.full(3, np.nan)), "ADL-NET-05", "out", "NaN"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_wrong_entry_is_named(case: str) -> None:
    edit, code, where, words = ERRORS[case]
    with refused(ConfigError, code, where=where) as caught:
        edit()
    error: AdlrnsError = caught.value
    assert words in f"{error.message}. {error.remedy}"


@pytest.mark.parametrize(
    "edit",
    [
        conv(stride=(1.5, 2)),
        conv(groups=2.5),
        spoilt("conv", delays=np.full(60, 0.5)),
        spoilt("conv", delays=np.full(60, np.nan)),
        listed(targets=SYNAPSES.targets + 0.5),
    ],
    ids=["stride", "groups", "delays", "NaN", "targets"],
)
def test_a_fraction_is_never_cut_to_an_integer(edit: Callable[[], Network]) -> None:
    with pytest.raises(TypeError):
        edit()


def test_an_integrator_sends_nothing_onward() -> None:
    network = spatial_network()
    loop = Dense(name="back", source="out", target="out", weight=np.ones((3, 3)))
    with refused(ConfigError, "ADL-NET-07", where="back", message="never spikes"):
        replace(network, projections=(*network.projections, loop))


def test_an_integrator_is_the_output() -> None:
    network = spatial_network()
    other = Li(name="aside", shape=(3,), current_decay=0.0, voltage_decay=1.0)
    with refused(ConfigError, "ADL-NET-07", where="aside", message="the output is 'out'"):
        replace(network, populations=(*network.populations, other))


def test_numpy_scalars_are_as_good_as_python_numbers() -> None:
    shape = replace(CONV, stride=tuple(np.array(CONV.stride)), groups=np.int64(2))
    rows = replace(SYNAPSES, height=np.int64(9))
    network = changed(changed(spatial_network(), "conv", conv=shape), "sparse", synapses=rows)
    assert fingerprint(network) == fingerprint(spatial_network())


def test_delays_count_among_the_columns_that_a_projection_reads() -> None:
    network = dense_network((6, 5, 3))
    part = {"weight": np.ones((5, 2)), "source_start": 1, "source_stop": 3}
    assert changed(network, "w1", **part, delays=[7, 63]).projections[0].delay == 64
    with refused(ConfigError, "ADL-NET-03", where="w1", message="it reads 2"):
        changed(network, "w1", **part, delays=np.zeros(6))


def test_latency_counts_the_longest_delays() -> None:
    network = spatial_network()
    longest = sum(p.delay for p in network.projections if p.name != "loop")
    assert pipeline_latency(network.graph(), "in", "out") == longest > len(network.projections) - 1


def test_a_convolution_may_be_built_from_plain_numbers() -> None:
    network = spatial_network()
    (found,) = (p for p in network.projections if isinstance(p, Conv2d))
    assert found.conv.inputs == INPUTS
    assert found.synapses.shape == (48, 60)


def test_a_fingerprint_sees_forms_and_delays() -> None:
    network = spatial_network()
    others = [
        changed(network, "conv", weight=WEIGHT),
        changed(network, "conv", delays=np.zeros(0)),
        changed(network, "conv", delays=np.zeros(60)),
        changed(network, "pool", weight=0.25),
        changed(network, "sparse", synapses=SparseSynapses.of(coo_array(SYNAPSES.matrix() * 2))),
        changed(network, "out", current_decay=0.5),
    ]
    assert len({fingerprint(n) for n in [network, *others]}) == 1 + len(others)
    assert fingerprint(spatial_network()) == fingerprint(network)
