from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from support.errors import refused
from support.gate_options import optioned_network
from support.networks import (
    changed,
    dense_network,
    digits_like_network,
    recurrent_network,
    relay_network,
    small_network,
)
from support.spatial import spatial_network

from mapping.errors import ArtifactError, ConfigError
from mapping.ir.checkpoint import (
    DESCRIPTION_FILE,
    TENSOR_FILE,
    fingerprint,
    load_network,
    save_network,
)
from mapping.ir.network import LowRank, Network, RankGate, SparseSynapses
from mapping.passes.fuse_factors import FuseFactors
from mapping.passes.realise_factors import realise_factors
from mapping.targets.load import load_target

NETWORKS = {
    "low rank": digits_like_network(),
    "without biases": small_network(biases=False),
    "with relay thresholds": digits_like_network(relay_threshold=0.03),
    "recurrent": recurrent_network(),
    "relay by hand": relay_network(),
    "gate at the relays": optioned_network(at="relay", hidden=3, changes=True),
    "gate at the host": optioned_network(at="source", biased=True, changes=True),
    "linear gate without trace": optioned_network(at="relay", traced=False, biased=True),
    "gate by hand": realise_factors(optioned_network(at="relay", hidden=3, biased=True)),
    "gate at the host by hand": realise_factors(optioned_network(at="source", changes=True)),
    "every form of synapses": spatial_network(),
    "fused": FuseFactors().run(digits_like_network(payload_max=1), load_target("loihi1")),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good checkpoint."""
    save_network(small_network(), tmp_path / "model")
    return tmp_path / "model"


def _assert_same_fields(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    for field in fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            assert before.shape == after.shape
            assert before.tobytes() == after.tobytes()
        elif isinstance(before, RankGate | SparseSynapses):
            _assert_same_fields(before, after)
        else:
            assert before == after
            assert type(before) is type(after)


def _assert_same(a: Network, b: Network) -> None:
    for group in ("populations", "projections"):
        for one, other in zip(getattr(a, group), getattr(b, group), strict=True):
            _assert_same_fields(one, other)
    assert (a.name, a.dt_s, a.output) == (b.name, b.dt_s, b.output)


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / DESCRIPTION_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    save_network(network, tmp_path / "a")
    again = load_network(tmp_path / "a")
    _assert_same(network, again)
    assert fingerprint(again) == fingerprint(network)
    save_network(again, tmp_path / "b")
    for file in (DESCRIPTION_FILE, TENSOR_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    constants=st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_min=True),
        st.floats(1e-300, 1e300),
        st.floats(1e-300, 1e300),
    )
)
def test_every_float_survives_exactly(
    constants: tuple[float, float, float, float], tmp_path: Path
) -> None:
    alpha, beta, threshold, scale = constants
    network = dense_network()
    source, first, out = network.populations
    network = replace(
        network,
        dt_s=scale,
        populations=(
            replace(source, payload_scale=scale),
            replace(first, current_decay=alpha, voltage_decay=beta, threshold=threshold),
            out,
        ),
    )
    save_network(network, tmp_path / "model")
    _assert_same(network, load_network(tmp_path / "model"))


def test_a_fingerprint_sees_every_change() -> None:
    network = small_network()
    enc, dec = network.projections
    nudged = np.array(dec.weight)
    nudged[0, 0] = np.nextafter(nudged[0, 0], 1.0)
    source, hidden, out = network.populations
    others = [
        replace(network, name="other"),
        replace(network, dt_s=2e-3),
        replace(network, projections=(enc, replace(dec, weight=nudged))),
        replace(network, projections=(replace(enc, levels=(1, 4)), dec)),
        replace(network, projections=(enc, replace(dec, layer="other"))),
        replace(network, projections=(enc, replace(dec, fused_rank=2))),
        replace(network, populations=(source, hidden, replace(out, threshold=1.5))),
        replace(network, populations=(replace(source, shape=(3, 4)), hidden, out)),
        replace(network, populations=(source, replace(hidden, bias=np.zeros(8)), out)),
    ]
    assert len({fingerprint(n) for n in [network, *others]}) == 1 + len(others)
    assert fingerprint(small_network()) == fingerprint(network)


def test_a_fingerprint_sees_every_option_of_a_gate_and_its_pair() -> None:
    network = optioned_network(hidden=3, changes=True)
    pair = network.projections[0]
    assert isinstance(pair, LowRank)
    assert pair.gate is not None
    nudged: dict[str, object] = {
        name: getattr(pair.gate, name) * 1.5
        for name in ("weight", "bias", "cost", "hidden_weight", "hidden_bias")
    }
    nudged |= {"decay": 0.7, "trace_decay": 0.7, "trace_threshold": 3.0, "at": "relay"}
    gates = [replace(pair.gate, **{name: value}) for name, value in nudged.items()]
    others = [
        *(changed(network, "enc", gate=gate) for gate in [*gates, None]),
        changed(network, "enc", sigma=False),
        changed(network, "enc", delta=False),
        changed(network, "enc", level_bias=np.ones((2, 8))),
        changed(network, "in", delta=False),
    ]
    assert len({fingerprint(n) for n in [network, *others]}) == 1 + len(others)


def test_saving_again_replaces_a_checkpoint(folder: Path) -> None:
    save_network(recurrent_network(), folder)
    assert load_network(folder).name == recurrent_network().name
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_saving_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with refused(ArtifactError, "ADL-ART-01", where=str(tmp_path), message="network.json"):
        save_network(small_network(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("missing", [DESCRIPTION_FILE, TENSOR_FILE])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with refused(ArtifactError, "ADL-CKP-01", where=missing, remedy=TENSOR_FILE):
        load_network(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with refused(ArtifactError, "ADL-CKP-01", where=str(tmp_path / "nowhere")):
        load_network(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 0.3, 0.9, -1])
def test_truncated_tensors_are_refused(folder: Path, kept: float) -> None:
    path = folder / TENSOR_FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    with refused(ArtifactError, "ADL-CKP-02", where=str(path), message="truncated"):
        load_network(folder)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_tensors_of_a_type_that_numpy_lacks_are_refused(folder: Path, dtype: str) -> None:
    header = json.dumps({"dec/weight": {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]}})
    size = len(header).to_bytes(8, "little")
    (folder / TENSOR_FILE).write_bytes(size + header.encode())
    with pytest.raises(ArtifactError) as caught:
        load_network(folder)
    assert caught.value.code in {"ADL-CKP-02", "ADL-CKP-03"}
    assert TENSOR_FILE in caught.value.where


SCHEMA_ERRORS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "wrong schema": (lambda c: c.update(schema="adlrns-network/2"), "schema"),
    "no schema": (lambda c: c.pop("schema"), "schema"),
    "unknown field": (lambda c: c.update(colour="red"), "colour"),
    "unknown field of a population": (
        lambda c: c["populations"][1].update(refractory=2),
        "populations.1.lif.refractory",
    ),
    "missing field": (lambda c: c["populations"][1].pop("threshold"), "populations.1"),
    "unknown kind": (lambda c: c["populations"][1].update(kind="alif"), "populations.1"),
    "text for a number": (
        lambda c: c["populations"][1].update(threshold="1.0"),
        "populations.1.lif.threshold",
    ),
    "fraction for an integer": (
        lambda c: c["populations"][0].update(payload_max=16.5),
        "populations.0.input.payload_max",
    ),
    "NaN": (lambda c: c.update(dt_s=float("nan")), "dt_s"),
    "infinity": (lambda c: c.update(dt_s=float("inf")), "dt_s"),
}


@pytest.mark.parametrize("case", SCHEMA_ERRORS)
def test_a_description_off_the_schema_names_the_entry(folder: Path, case: str) -> None:
    change, entry = SCHEMA_ERRORS[case]
    _edit(folder, change)
    with refused(
        ArtifactError,
        "ADL-CKP-03",
        where=DESCRIPTION_FILE,
        message=entry,
        remedy="adlrns-network/1",
    ):
        load_network(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"hello"])
def test_a_description_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / DESCRIPTION_FILE).write_bytes(content)
    with refused(ArtifactError, "ADL-CKP-03", where=DESCRIPTION_FILE):
        load_network(folder)


@pytest.mark.parametrize(
    "key",
    ["hidden/bias", "out/bias", "enc/U", "enc/V", "enc/relay_threshold", "dec/weight"],
)
def test_a_missing_tensor_is_named(folder: Path, key: str) -> None:
    tensors = load_file(folder / TENSOR_FILE)
    assert key in tensors
    del tensors[key]
    save_file(tensors, folder / TENSOR_FILE)
    with refused(ArtifactError, "ADL-CKP-03", where=TENSOR_FILE, message=repr(key)):
        load_network(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["hidden/bias", "enc/U", "enc/V", "dec/weight"])
def test_weights_that_are_not_finite_are_refused(folder: Path, key: str, value: float) -> None:
    tensors = load_file(folder / TENSOR_FILE)
    tensors[key].flat[0] = value
    save_file(tensors, folder / TENSOR_FILE)
    layer, _, tensor = key.partition("/")
    with refused(ConfigError, "ADL-NET-05", where=layer, message=f"{tensor} holds 1 NaN"):
        load_network(folder)


def test_tensors_of_another_shape_are_refused(folder: Path) -> None:
    tensors = load_file(folder / TENSOR_FILE)
    tensors["dec/weight"] = tensors["dec/weight"].T.copy()
    save_file(tensors, folder / TENSOR_FILE)
    with refused(ConfigError, "ADL-NET-04", where="dec", message="(8, 3)"):
        load_network(folder)


def test_single_precision_tensors_are_widened_exactly(folder: Path) -> None:
    tensors = {k: v.astype(np.float32) for k, v in load_file(folder / TENSOR_FILE).items()}
    save_file(tensors, folder / TENSOR_FILE)
    weight = load_network(folder).projections[1].weight
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, tensors["dec/weight"])


@pytest.fixture
def gated_folder(tmp_path: Path) -> Path:
    """A good checkpoint of a pair with a gate and all that it can have."""
    save_network(optioned_network(hidden=3, biased=True), tmp_path / "gated")
    return tmp_path / "gated"


GATE_TENSORS = {
    "weight": (2, 3),
    "bias": (2,),
    "cost": (2,),
    "hidden_weight": (3, 2),
    "hidden_bias": (3,),
}


def _replace_tensor(folder: Path, key: str, value: np.ndarray | None) -> None:
    tensors = load_file(folder / TENSOR_FILE)
    assert key in tensors
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    save_file(tensors, folder / TENSOR_FILE)


@pytest.mark.parametrize("name", GATE_TENSORS)
def test_a_missing_array_of_a_gate_is_named(gated_folder: Path, name: str) -> None:
    _replace_tensor(gated_folder, f"enc/gate/{name}", None)
    with refused(ArtifactError, "ADL-CKP-03", where=TENSOR_FILE, message=f"'enc/gate/{name}'"):
        load_network(gated_folder)


@pytest.mark.parametrize("name", GATE_TENSORS)
def test_an_array_of_a_gate_that_is_not_finite_is_refused(gated_folder: Path, name: str) -> None:
    _replace_tensor(gated_folder, f"enc/gate/{name}", np.full(GATE_TENSORS[name], np.nan))
    with refused(ConfigError, "ADL-NET-05", where="enc", message=f"gate.{name} holds"):
        load_network(gated_folder)


@pytest.mark.parametrize("name", [n for n in GATE_TENSORS if n != "hidden_bias"])
def test_an_array_of_a_gate_of_another_shape_is_refused(gated_folder: Path, name: str) -> None:
    _replace_tensor(gated_folder, f"enc/gate/{name}", np.ones((*GATE_TENSORS[name], 2)))
    with refused(ConfigError, "ADL-NET-04", where="enc", message=f"gate.{name} has shape"):
        load_network(gated_folder)


def test_complex_weights_of_a_gate_are_refused(gated_folder: Path) -> None:
    _replace_tensor(gated_folder, "enc/gate/weight", np.ones((2, 3), np.complex64))
    with refused(ArtifactError, "ADL-CKP-03", message="'enc/gate/weight' holds complex64"):
        load_network(gated_folder)


GATE_SCHEMA_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "held back elsewhere": ({"at": "target"}, "projections.0.low_rank.gate.at"),
    "text for a number": ({"decay": "0.75"}, "projections.0.low_rank.gate.decay"),
    "NaN": ({"trace_threshold": float("nan")}, "projections.0.low_rank.gate.trace_threshold"),
    "unknown field": ({"price": 1.0}, "projections.0.low_rank.gate.price"),
}


@pytest.mark.parametrize("case", GATE_SCHEMA_ERRORS)
def test_a_gate_off_the_schema_names_the_entry(gated_folder: Path, case: str) -> None:
    changes, entry = GATE_SCHEMA_ERRORS[case]
    _edit(gated_folder, lambda content: content["projections"][0]["gate"].update(changes))
    with refused(ArtifactError, "ADL-CKP-03", where=DESCRIPTION_FILE, message=entry):
        load_network(gated_folder)


@pytest.fixture
def spatial_folder(tmp_path: Path) -> Path:
    """A checkpoint with every form of synapses."""
    save_network(spatial_network(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "key",
    ["conv/weight", "conv/delays", "sparse/synapses/values", "sparse/synapses/starts", "out/bias"],
)
def test_a_missing_array_of_any_form_is_named(spatial_folder: Path, key: str) -> None:
    _replace_tensor(spatial_folder, key, None)
    with refused(ArtifactError, "ADL-CKP-03", where=TENSOR_FILE, message=key):
        load_network(spatial_folder)


@pytest.mark.parametrize(
    "key", ["conv/delays", "sparse/synapses/targets", "sparse/synapses/starts"]
)
def test_places_and_delays_are_integers(spatial_folder: Path, key: str) -> None:
    _replace_tensor(spatial_folder, key, load_file(spatial_folder / TENSOR_FILE)[key] + 0.5)
    with refused(ArtifactError, "ADL-CKP-03", message="not integers", remedy="integers"):
        load_network(spatial_folder)


FORM_SCHEMA_ERRORS: dict[str, tuple[int, dict[str, Any], str]] = {
    "one stride": (0, {"conv": {"stride": [1]}}, "conv2d.conv.stride"),
    "inputs": (0, {"conv": {"inputs": [60]}}, "conv2d.conv.inputs"),
    "fraction": (0, {"conv": {"groups": 1.5}}, "conv2d.conv.groups"),
    "pool weight": (1, {"weight": "half"}, "sum_pool2d.weight"),
    "height": (2, {"height": 9.5}, "sparse.height"),
    "unknown field": (2, {"width": 9}, "sparse.width"),
}


@pytest.mark.parametrize("case", FORM_SCHEMA_ERRORS)
def test_a_form_off_the_schema_names_the_entry(spatial_folder: Path, case: str) -> None:
    number, changes, entry = FORM_SCHEMA_ERRORS[case]

    def edit(content: dict[str, Any]) -> None:
        record = content["projections"][number]
        for key, value in changes.items():
            record[key] = record[key] | value if isinstance(value, dict) else value

    _edit(spatial_folder, edit)
    with refused(ArtifactError, "ADL-CKP-03", message=f"projections.{number}.{entry}"):
        load_network(spatial_folder)


def test_geometry_that_contradicts_the_populations_is_refused(spatial_folder: Path) -> None:
    _edit(spatial_folder, lambda c: c["projections"][0]["conv"].update(stride=[2, 2]))
    with refused(ConfigError, "ADL-NET-04", where="conv"):
        load_network(spatial_folder)
