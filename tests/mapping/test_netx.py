from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import refused
from support.full import full
from support.net_files import (
    Layer,
    conv,
    cuba,
    dense,
    pool,
    run_layers,
    without,
    write_net,
)
from support.networks import small_network

from mapping.cli import run
from mapping.errors import ArtifactError, ConfigError, UnsupportedModelError
from mapping.ir.checkpoint import fingerprint
from mapping.ir.quantized import IntegerLif, QuantizedNetwork
from mapping.ir.traffic import Calibration
from mapping.model import load_compiled_model, load_model
from mapping.netx import is_net, read_net
from mapping.nir import write_nir
from mapping.pipeline import CompileOptions, compile_network
from mapping.rules import check_rules
from mapping.semantics.int_net import run_integer_network
from mapping.targets.load import load_target

SHAPE = (2, 6, 4)
RNG = np.random.default_rng(0)


def even(*shape: int, top: int = 30) -> np.ndarray:
    """Random even weights."""
    return RNG.integers(-top, top, shape) * 2


def small() -> list[Layer]:
    """Two dense layers."""
    return [dense(even(5, 6)), dense(even(3, 5))]


def every_layer() -> list[Layer]:
    """One layer of each type that is read, with biases and delays."""
    return [
        {"type": "input", "shape": list(SHAPE)},
        conv(
            SHAPE,
            even(4, 1, 3, 2),
            stride=(1, 2),
            padding=(1, 0),
            dilation=(2, 1),
            groups=2,
            bias=np.array([3.0, -2.0, 0.0, 5.0]),
            delay=RNG.integers(0, 4, 4 * 4 * 2),
        ),
        pool((4, 4, 2), (2, 2), 44, delay=np.array([2.0])),
        {"type": "flatten", "shape": [8, 1, 1]},
        dense(even(6, 8, top=60), bias=np.arange(6) - 2, delay=np.arange(6)),
        dense(even(3, 6, top=60), neuron=cuba(type="LOIHI", vThMant=40)),
    ]


def random_spikes(shape: tuple[int, ...], steps: int = 40) -> np.ndarray:
    return RNG.integers(0, 2, (steps, *shape))


def assert_same_spikes(
    network: QuantizedNetwork, layers: list[Layer], spikes: np.ndarray
) -> list[np.ndarray]:
    """Every layer sends what the reference sends, which is returned."""
    expected = list(run_layers(layers, spikes))
    sent = run_integer_network(network, spikes[None]).spikes
    assert len(sent) == len(expected)
    for name, wanted in zip(sent, expected, strict=True):
        np.testing.assert_array_equal(sent[name][0], wanted, name)
    return expected


def test_every_layer_computes_what_lava_dl_does(tmp_path: Path) -> None:
    layers = every_layer()
    network = read_net(write_net(tmp_path / "x.net", layers))
    assert network.name == "x"
    assert network.dt_s == 1e-3
    assert network.input.shape == SHAPE
    assert [p.name for p in network.populations] == ["in", "layer1", "layer2", "layer4", "layer5"]
    assert [p.spec.name for p in network.projections] == ["conv1", "pool2", "dense4", "dense5"]
    assert [p.spec.form for p in network.projections] == ["conv", "conv", "dense", "dense"]
    assert network.output == "layer5"
    for sent in assert_same_spikes(network, layers, random_spikes(SHAPE)):
        assert 0.02 < sent.mean() < 0.9


@settings(max_examples=30)
@given(data=st.data())
def test_convolutions_of_any_geometry(data: st.DataObject, tmp_path_factory: Any) -> None:
    pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))
    groups = data.draw(st.integers(1, 2))
    kernel = data.draw(pairs)
    layer = conv(
        SHAPE,
        even(2 * groups, 2 // groups, *kernel, top=100),
        stride=data.draw(pairs),
        padding=data.draw(st.tuples(st.integers(0, 1), st.integers(0, 1))),
        dilation=data.draw(pairs),
        groups=groups,
        bias=np.array([4]),
    )
    layers = [{"type": "input", "shape": list(SHAPE)}, layer]
    network = read_net(write_net(tmp_path_factory.mktemp("net") / "x.net", layers))
    assert_same_spikes(network, layers, random_spikes(SHAPE, steps=12))


def test_flattening_goes_channel_by_channel(tmp_path: Path) -> None:
    weight = np.zeros((1, 24))
    weight[0, 1 * 12 + 2 * 4 + 3] = 200
    layers = [{"type": "input", "shape": [2, 3, 4]}, {"type": "flatten"}, dense(weight)]
    network = read_net(write_net(tmp_path / "x.net", layers))
    spikes = np.zeros((1, 3, 2, 3, 4), np.int64)
    spikes[0, 0, 1, 2, 3] = 1
    assert run_integer_network(network, spikes).spikes["layer2"].any()


@pytest.mark.parametrize(
    ("weights", "scale", "bits", "exponent"),
    [
        ([[2, -4, 6]], 0, 3, -5),
        ([[254, -256]], 0, 8, 0),
        ([[127, -128]], 0, 8, -1),
        ([[127, -128]], 2, 8, 1),
        ([[4, -8]], -2, 2, -7),
        ([[1, 0]], 0, 2, -7),
        ([[0, 0]], 0, 2, -7),
        ([[1016, -1024]], 0, 8, 2),
        ([[-2, -2]], 0, 2, -6),
    ],
)
def test_weights_take_the_fewest_bits(
    weights: list[list[int]], scale: int, bits: int, exponent: int, tmp_path: Path
) -> None:
    layers = [dense(weights, neuron=cuba(wgtExp=scale))]
    (projection,) = read_net(write_net(tmp_path / "x.net", layers)).projections
    assert (projection.spec.weight_bits, projection.spec.exponent) == (bits, exponent)
    scaled = projection.weights * 2.0**exponent
    np.testing.assert_array_equal(scaled, np.array(weights) * 2.0**scale)


@settings(max_examples=60)
@given(weights=st.lists(st.integers(-300, 300), min_size=1, max_size=6))
def test_weights_are_exact_or_refused(weights: list[int], tmp_path_factory: Any) -> None:
    path = write_net(tmp_path_factory.mktemp("net") / "x.net", [dense([weights])])
    step = int(np.gcd.reduce([*weights, 2**20]))
    if all(-128 <= weight // step <= 127 for weight in weights):
        (projection,) = read_net(path).projections
        scaled = full(projection.synapses) * 2.0 ** (
            projection.spec.weight_shift + projection.spec.exponent
        )
        np.testing.assert_array_equal(scaled, [weights])
    else:
        with refused(UnsupportedModelError, "ADL-NTX-06", where="layer/0", message="bits"):
            read_net(path)


def test_neurons_are_the_chips(tmp_path: Path) -> None:
    neuron = cuba(iDecay=np.full(3, 4096), vDecay=0, vThMant=np.array([7]))
    layers = [dense(even(3, 2), neuron=neuron, bias=np.array([-7, 0, 9]))]
    lif = read_net(write_net(tmp_path / "x.net", layers)).population("layer0")
    assert isinstance(lif, IntegerLif)
    assert (lif.du, lif.dv, lif.threshold, lif.bias_exponent, lif.scale) == (4095, 0, 7, 6, 1.0)
    assert lif.bias_mantissa.tolist() == [-7, 0, 9]


def test_flat_shapes_and_weights_of_other_spellings(tmp_path: Path) -> None:
    """SLAYER writes (neurons, 1, 1) after a flatten, and one neuron's weights as a vector."""
    layers = [
        {"type": "input", "shape": [4, 1, 1]},
        dense(even(3, 4), shape=[3, 1, 1]),
        dense(even(3), shape=[1], neuron=cuba(vThMant=1)),
    ]
    network = read_net(write_net(tmp_path / "x.net", layers, Ts=0.5, tSample=100))
    assert [p.shape for p in network.populations] == [(4, 1, 1), (3,), (1,)]
    assert network.dt_s == 5e-4


def test_a_pair_may_be_one_number(tmp_path: Path) -> None:
    scalars = {"stride": 2, "padding": 1, "dilation": 1, "kernelSize": 3}
    weight = even(2, 2, 3, 3)
    given_ = conv(SHAPE, weight, stride=(2, 2), padding=(1, 1))
    short = without({**given_, **scalars, "weight": weight}, "inChannels", "outChannels")
    start = {"type": "input", "shape": list(SHAPE)}
    one = read_net(write_net(tmp_path / "x.net", [start, given_]))
    other = read_net(write_net(tmp_path / "y.net", [start, short]))
    np.testing.assert_array_equal(one.projections[0].mantissas, other.projections[0].mantissas)
    assert one.projections[0].spec == other.projections[0].spec


def test_a_convolution_of_stride_1_tells_what_it_reads(tmp_path: Path) -> None:
    """SLAYER writes an input layer only where the network has one."""
    layer = conv((4, 6, 5), even(2, 2, 3, 2), padding=(1, 0), dilation=(1, 2), groups=2)
    network = read_net(write_net(tmp_path / "x.net", [layer]))
    assert network.input.shape == (4, 6, 5)
    assert_same_spikes(network, [layer], random_spikes((4, 6, 5)))


START: Layer = {"type": "input", "shape": list(SHAPE)}
CONV = conv(SHAPE, even(2, 2, 3, 3))
FLAT = dense(even(3, 4))


@pytest.mark.parametrize(
    ("layers", "code", "where", "message"),
    [
        ([without(FLAT, "weight")], "ADL-NTX-02", "layer/0", "has no 'weight'"),
        ([without(FLAT, "type")], "ADL-NTX-02", "layer/0", "has no 'type'"),
        ([without(FLAT, "shape")], "ADL-NTX-02", "layer/0", "has no 'shape'"),
        ([FLAT, without(FLAT, "shape")], "ADL-NTX-02", "layer/1", "has no 'shape'"),
        ([dense(even(3, 4), neuron=without(cuba(), "vDecay"))], "ADL-NTX-02", "layer/0", "vDecay"),
        ([{**FLAT, "weight": "text"}], "ADL-NTX-02", "layer/0", "not real numbers"),
        ([{**FLAT, "weight": even(3, 4) * 1j}], "ADL-NTX-02", "layer/0", "complex128"),
        ([dense(even(3, 4), neuron=cuba(type=3))], "ADL-NTX-02", "layer/0", "no string"),
        ([{"type": "flatten"}, FLAT], "ADL-NTX-02", "layer/0", "no input layer"),
        ([START, without(CONV, "stride")], "ADL-NTX-02", "layer/1", "'stride'"),
        ([{**FLAT, "shape": [4]}], "ADL-NTX-03", "layer/0", "(3, 4)"),
        ([{**FLAT, "shape": [0]}], "ADL-NTX-03", "layer/0", "(0,)"),
        ([{**FLAT, "shape": [2**30, 2**30]}], "ADL-NTX-03", "layer/0", "is not that of 1 to"),
        ([{**FLAT, "inFeatures": 5}], "ADL-NTX-03", "layer/0", "inFeatures is 5"),
        ([FLAT, FLAT], "ADL-NTX-03", "layer/1", "the layer before it has shape (3,)"),
        ([START, FLAT], "ADL-NTX-03", "layer/1", "reads 4 neurons"),
        ([{**FLAT, "bias": np.zeros(2)}], "ADL-NTX-03", "layer/0", "bias has 2 values"),
        ([{**FLAT, "delay": np.zeros(2)}, FLAT], "ADL-NTX-03", "layer/0", "delay has 2"),
        ([{**CONV, "stride": [1, 2]}], "ADL-NTX-03", "layer/0", "no input layer"),
        ([pool(SHAPE, (2, 2), 2)], "ADL-NTX-03", "layer/0", "no input layer"),
        ([{**CONV, "padding": [9, 0]}], "ADL-NTX-03", "layer/0", "would read"),
        ([FLAT, CONV], "ADL-NTX-03", "layer/1", "gets (3,)"),
        ([START, {"type": "flatten", "shape": [5]}], "ADL-NTX-03", "layer/1", "48 neurons"),
        ([START, {**CONV, "shape": [4, 2, 2]}], "ADL-NTX-03", "layer/1", "(2, 4, 2)"),
        ([START, {**CONV, "weight": even(2, 2, 3)}], "ADL-NTX-03", "layer/1", "weight has"),
        ([START, {**CONV, "stride": (1, 1, 1)}], "ADL-NTX-03", "layer/1", "stride holds 3"),
        ([START, {**CONV, "kernelSize": [3, 2]}], "ADL-NTX-03", "layer/1", "kernelSize"),
        ([START, {**CONV, "groups": 3}], "ADL-NTX-03", "layer/1", "3 groups"),
        ([START, {**CONV, "groups": 2}], "ADL-NTX-03", "layer/1", "its geometry wants"),
        ([START, {**CONV, "padding": [-1, 0]}], "ADL-NTX-03", "layer/1", "positive"),
        ([START, {**CONV, "padding": [2**30, 0]}], "ADL-NTX-03", "layer/1", "huge"),
        ([START, {**CONV, "padding": [2**21, 9]}], "ADL-NTX-03", "layer/1", "would have"),
        ([START, {**CONV, "dilation": [9, 9]}], "ADL-NTX-03", "layer/1", "would have"),
        ([START, {**CONV, "inChannels": 4}], "ADL-NTX-03", "layer/1", "inChannels is 4"),
        ([{"type": "average", "shape": [2, 1, 1]}], "ADL-NTX-04", "layer/0", "average sends means"),
        ([{"type": "dense_rec"}], "ADL-NTX-04", "layer/0", "dense_rec is not read"),
        ([without(FLAT, "neuron")], "ADL-NTX-04", "layer/0", "no neurons"),
        ([START], "ADL-NTX-04", "layer/0", "no layer"),
        ([FLAT, START], "ADL-NTX-04", "layer/1", "not the first"),
        ([{**START, "neuron": cuba(), "bias": 3}, FLAT], "ADL-NTX-04", "layer/0", "range"),
        ([{**without(FLAT, "weight"), "weight": {"real": 1}}], "ADL-NTX-04", "layer/0", "complex"),
        ([START, pool(SHAPE, (4, 2), 2)], "ADL-NTX-04", "layer/1", "next channel"),
        ([START, {**pool(SHAPE, (2, 2), 2), "stride": [1, 1]}], "ADL-NTX-04", "layer/1", "tile"),
        ([dense(even(3, 4), neuron=cuba(type="SDNN"))], "ADL-NTX-05", "layer/0", "changes"),
        ([dense(even(3, 4), neuron=cuba(type="XYZ"))], "ADL-NTX-05", "layer/0", "XYZ is not read"),
        ([dense(even(3, 4), neuron=cuba(refDelay=2))], "ADL-NTX-05", "layer/0", "refractory"),
        ([dense(even(3, 4), neuron=cuba(gradedSpike=True))], "ADL-NTX-05", "layer/0", "graded"),
        ([dense(even(3, 4), neuron=cuba(weight_exp=1))], "ADL-NTX-05", "layer/0", "norm"),
        ([dense(even(3, 4), neuron=cuba(iDecay=0))], "ADL-NTX-05", "layer/0", "iDecay 0"),
        ([dense(even(3, 4), neuron=cuba(vDecay=4096))], "ADL-NTX-05", "layer/0", "vDecay 4096"),
        ([dense(even(3, 4), neuron=cuba(vDecay=[1, 2, 3]))], "ADL-NTX-05", "layer/0", "1 to 3"),
        ([dense(even(3, 4), neuron=cuba(vDecay=[]))], "ADL-NTX-02", "layer/0", "is empty"),
        ([dense([[0.5, 2.0]])], "ADL-NTX-06", "layer/0", "weight[0, 0] is 0.5"),
        ([dense([[2.0, np.nan]])], "ADL-NTX-06", "layer/0", "weight[0, 1] is nan"),
        ([dense([[2.0, np.inf]])], "ADL-NTX-06", "layer/0", "is inf"),
        ([dense([[2.0, 1e12]])], "ADL-NTX-06", "layer/0", "not an integer of 32 bits"),
        ([dense([[1.0, 255.0]])], "ADL-NTX-06", "layer/0", "need 9 bits"),
        ([dense([[1.0, 2.0]], neuron=cuba(wgtExp=-1))], "ADL-NTX-06", "layer/0", "wgtExp -1"),
        ([{**FLAT, "bias": np.full(3, 0.25)}], "ADL-NTX-06", "layer/0", "bias[0] is 0.25"),
        ([{**FLAT, "delay": np.full(3, 64)}], "ADL-NTX-07", "layer/0", "64"),
        ([{**FLAT, "delay": np.full(3, -1)}], "ADL-NTX-07", "layer/0", "-1"),
        ([{**FLAT, "delay": np.full(3, 1)}], "ADL-NTX-07", "layer/0", "last layer"),
    ],
)
def test_what_cannot_be_read_is_refused(
    layers: list[Layer],
    code: str,
    where: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_net(tmp_path / "x.net", layers)
    kind = ArtifactError if code < "ADL-NTX-04" else UnsupportedModelError
    with refused(kind, code, where=f"{path}: {where}", message=message):
        read_net(path)
    assert run(["compile", str(path), "-o", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert code in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == [path]


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("no network\n")
        case "folder":
            path.unlink()
            path.mkdir()
        case "no layers":
            with h5py.File(path, "a") as file:
                del file["layer/0"], file["layer/1"]
        case "another file":
            with h5py.File(path, "w") as file:
                file["layer"] = 3
        case "step":
            with h5py.File(path, "a") as file:
                file["simulation/Ts"] = -1.0


@pytest.mark.parametrize(
    "how", ["missing", "truncated", "empty", "text", "no layers", "another file", "step"]
)
def test_a_damaged_file_is_named(how: str, tmp_path: Path) -> None:
    path = write_net(tmp_path / "x.net", small())
    _damage(path, how)
    with refused(ArtifactError, "ADL-NTX-01", where="x.net"):
        load_model(path)
    assert run(["compile", str(path), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_file_whatever_its_name(tmp_path: Path) -> None:
    path = write_net(tmp_path / "x.net", small())
    _damage(path, "folder")
    with refused(ArtifactError, "ADL-CKP-01", where="x.net"):
        load_model(path)


@settings(max_examples=60)
@given(data=st.data())
def test_a_file_with_flipped_bytes_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: Any
) -> None:
    path = write_net(tmp_path_factory.mktemp("net") / "x.net", small())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(ArtifactError, UnsupportedModelError):
        read_net(path)


def test_a_missing_or_misnamed_layer_is_named(tmp_path: Path) -> None:
    path = write_net(tmp_path / "x.net", small())
    with h5py.File(path, "a") as file:
        file.move("layer/1", "layer/2")
    with refused(ArtifactError, "ADL-NTX-02", where="layer/2", message="no layer 1"):
        read_net(path)
    with h5py.File(path, "a") as file:
        file.move("layer/2", "layer/last")
    with refused(ArtifactError, "ADL-NTX-02", where="layer/last"):
        read_net(path)


def test_a_huge_dataset_is_not_even_loaded(tmp_path: Path) -> None:
    path = write_net(tmp_path / "x.net", [without(FLAT, "weight")])
    with h5py.File(path, "a") as file:
        file.create_dataset("layer/0/weight", (2**20, 2**20), "f4", chunks=(64, 64))
    with refused(ArtifactError, "ADL-NTX-03", where="layer/0", message="more than fits any chip"):
        read_net(path)


def test_the_format_is_known_by_suffix_or_content(tmp_path: Path) -> None:
    path = write_net(tmp_path / "x.hdf5", small())
    assert is_net(path)
    assert isinstance(load_model(path).network, QuantizedNetwork)
    write_nir(small_network(), tmp_path / "y.hdf5")
    write_nir(small_network(), tmp_path / "y.nir")
    assert not is_net(tmp_path / "y.hdf5")
    assert not is_net(tmp_path / "y.nir")
    assert not is_net(tmp_path)
    assert is_net(tmp_path / "missing.net")
    (tmp_path / "text.hdf5").write_text("no network\n")
    assert not is_net(tmp_path / "text.hdf5")


def test_the_fingerprint_covers_everything(tmp_path: Path) -> None:
    layers = every_layer()
    write_net(tmp_path / "x.net", layers)
    one = fingerprint(read_net(tmp_path / "x.net"))
    assert one == fingerprint(read_net(tmp_path / "x.net"))
    changed: list[tuple[int, dict[str, object]]] = [
        (1, {"bias": np.array([3, -2, 0, 6])}),
        (1, {"delay": np.zeros(32)}),
        (1, {"weight": layers[1]["weight"] + 2}),
        (4, {"neuron": cuba(vThMant=81)}),
    ]
    for number, changes in changed:
        others = [*layers]
        others[number] = others[number] | changes
        write_net(tmp_path / "x.net", others)
        assert fingerprint(read_net(tmp_path / "x.net")) != one


def test_compiling_skips_the_float_passes(tmp_path: Path) -> None:
    model = load_model(write_net(tmp_path / "x.net", every_layer()))
    network = model.network
    assert isinstance(network, QuantizedNetwork)
    seen: list[str] = []
    result = compile_network(
        network,
        load_target("loihi2"),
        CompileOptions(neurons_per_core=8),
        conventions=model.conventions,
        observer=lambda name, _: seen.append(name),
    )
    assert seen == ["split_fan_in", "partition", "place", "route", "check_rules"]
    origin = result.artifact.origin
    assert origin.network_sha256 == fingerprint(network)
    assert origin.options["format"] == "lava-dl net"
    assert (origin.options["reset"], origin.options["dt"]) == ("zero", 1e-3)
    assert not [d for d in check_rules(result.artifact) if d.severity == "error"]
    again = load_compiled_model(tmp_path / "x.net", origin.options)
    assert fingerprint(again) == origin.network_sha256
    report: Any = result.report
    assert report["network"]["conventions"] == model.conventions
    assert [row["relative_error"] for row in report["network"]["layers"]] == [0.0] * 4


def test_activity_is_measured_on_calibration_data(tmp_path: Path) -> None:
    network = read_net(write_net(tmp_path / "x.net", every_layer()))
    data = Calibration(payloads=random_spikes(SHAPE)[None])
    result = compile_network(network, load_target("loihi2"), CompileOptions(), calibration=data)
    report: Any = result.report
    assert report["estimate"]["activity"] == "measured"
    assert result.artifact.origin.calibration_sha256


@pytest.mark.parametrize("option", [{"rank": 3}, {"rank": 0.5}, {"weight_bits": 4}])
def test_options_of_float_networks_are_refused(option: Any, tmp_path: Path) -> None:
    network = read_net(write_net(tmp_path / "x.net", small()))
    (name,) = option
    with refused(ConfigError, "ADL-CFG-07", where=name, remedy=f"--{name.replace('_', '-')}"):
        compile_network(network, load_target("loihi2"), CompileOptions(**option))


def test_the_command_prints_the_conventions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_net(tmp_path / "x.net", small())
    command = ["compile", str(path), "-o", str(tmp_path / "out")]
    assert run([*command, "--dt", "1e-3"]) == 2
    assert "ADL-NIR-10" in capsys.readouterr().err
    assert run([*command, "--weight-bits", "4"]) == 2
    assert "ADL-CFG-07" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
    assert run(command) == 0
    read = "Read from lava-dl net with reset zero, cuba_order new, dt 0.001\n"
    assert read in capsys.readouterr().out


def test_what_the_chip_cannot_hold_is_a_design_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader takes any integer; the target says what fits."""
    layers = [dense(even(3, 2), bias=np.array([0, 0, 2**20]), neuron=cuba(vThMant=2**18))]
    path = write_net(tmp_path / "x.net", layers)
    assert run(["compile", str(path), "-o", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert "bias mantissa" in error
    assert "threshold" in error
