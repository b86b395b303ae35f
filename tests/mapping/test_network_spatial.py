"""What makes convolutions, pooling, sparse synapses and delays well formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csr_array
from support.errors import refused
from support.full import full
from support.networks import changed, dense_network
from support.spatial import CONV, INPUTS, POOL, spatial_network

from mapping.errors import AdlrnsError, ConfigError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.network import Conv2d, ConvShape, Dense, Li, Network, Sparse, SparseSynapses
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
    "too large a kernel": (
        conv(kernel=(9, 9), padding=(0, 1), dilation=(1, 1)),
        "ADL-NET-04",
        "conv",
        "the kernel (9, 9) is larger than the padded input (6, 7)",
    ),
    "too large a dilation": (
        conv(dilation=(9, 2)),
        "ADL-NET-04",
        "conv",
        "the kernel (3, 2), dilated to (19, 3), is larger than the padded input (8, 5)",
    ),
    "flat source": (spoilt("in", shape=(60,)), "ADL-NET-04", "conv", "(60,)"),
    "weight": (spoilt("conv", weight=WEIGHT[:, :, :, :1]), "ADL-NET-04", "conv", "(4, 1, 3, 1)"),
    "weight remedy": (
        spoilt("conv", weight=WEIGHT[:, 0]),
        "ADL-NET-04",
        "conv",
        "give weight the shape (4, 1, 3, 2)",
    ),
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
    "one stride": (conv(stride=(1,)), "ADL-NET-04", "ConvShape", "stride is (1,)"),
    "three kernel sizes": (conv(kernel=(3, 3, 3)), "ADL-NET-04", "ConvShape", "kernel is (3, 3"),
    "named padding": (conv(padding="same"), "ADL-NET-04", "ConvShape", "padding is 'same'"),
    "inputs without channels": (conv(inputs=(6, 5)), "ADL-NET-04", "ConvShape", "(channels, "),
    "inputs as a size": (conv(inputs=60), "ADL-NET-04", "ConvShape", "inputs is 60"),
    "fractional stride": (conv(stride=(1.5, 2)), "ADL-NET-04", "ConvShape", "(1.5, 2)"),
    "fractional groups": (conv(groups=2.5), "ADL-NET-04", "ConvShape", "groups is 2.5"),
    "complex weight": (spoilt("conv", weight=WEIGHT * 1j), "ADL-NET-03", "conv", "complex128"),
    "words as weight": (spoilt("read", weight=[["a"]]), "ADL-NET-03", "read", "weight cannot"),
    "pool array": (spoilt("pool", weight=np.ones((4, 1))), "ADL-NET-04", "pool", "(4, 1)"),
    "sparse complex": (
        spoilt("sparse", synapses=SYNAPSES.matrix() * 1j),
        "ADL-NET-03",
        "SparseSynapses",
        "complex128",
    ),
    "sparse words": (
        spoilt("sparse", synapses=np.array([["a"]])),
        "ADL-NET-03",
        "SparseSynapses",
        "cannot",
    ),
    "sparse vector": (spoilt("sparse", synapses=[1.0]), "ADL-NET-03", "SparseSynapses", "list"),
    "sparse nothing": (spoilt("sparse", synapses=None), "ADL-NET-03", "SparseSynapses", "None"),
    "fractional targets": (
        listed(targets=SYNAPSES.targets + 0.5),
        "ADL-NET-03",
        "SparseSynapses",
        "fractions",
    ),
    "fractional delays": (
        spoilt("conv", delays=np.full(60, 1.5)),
        "ADL-NET-03",
        "conv",
        "delays cannot be read as integers",
    ),
    "NaN delays": (spoilt("loop", delays=[np.nan] * 9), "ADL-NET-03", "loop", "fractions"),
    "endless delays": (spoilt("loop", delays=[np.inf] * 9), "ADL-NET-03", "loop", "fractions"),
    "delays as words": (spoilt("read", delays=["a"]), "ADL-NET-03", "read", "delays"),
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


def test_one_integer_stands_for_a_pair() -> None:
    square = ConvShape(inputs=INPUTS, out_channels=1, kernel=3, padding=np.int64(1))  # type: ignore[arg-type]
    assert (square.kernel, square.padding, square.outputs) == ((3, 3), (1, 1), (1, 6, 5))


@pytest.mark.parametrize("kind", [csr_array, csc_array, coo_array, np.array])
def test_sparse_weights_come_in_any_matrix(kind: Callable[[np.ndarray], object]) -> None:
    network = spatial_network()
    dense = full(SYNAPSES)
    given = kind(dense)
    assert fingerprint(changed(network, "sparse", synapses=given)) == fingerprint(network)
    made = SparseSynapses.of(given)
    np.testing.assert_array_equal(full(made), dense)


def test_sparse_weights_become_double_precision() -> None:
    single = SparseSynapses.of(np.eye(9, 24, dtype=np.float32))
    assert single.values.dtype == np.float32
    network = changed(spatial_network(), "sparse", synapses=single)
    (found,) = (p for p in network.projections if p.name == "sparse")
    assert isinstance(found, Sparse)
    assert found.synapses.values.dtype == np.float64


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
