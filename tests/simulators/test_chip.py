"""The chip simulator on networks of every form: what it finds, counts, keeps and does not do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_array
from support.chips import tiny_chip
from support.gated import compiled as gated_compiled
from support.gated import program as gated_program
from support.gated import spikes as gated_spikes
from support.integer_networks import Case
from support.networks import digits_like_network
from support.recount import assert_counts_are_right
from support.spatial import CONV, INPUTS, spatial_network
from support.synapse_forms import GROUPED, synapse_cases
from support.synapses import conv_matrix

from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.cost import ActionCounts
from mapping.errors import ConfigError
from mapping.ir.network import Conv2d, ConvShape, Dense, Input, Lif, Network, Sparse
from mapping.ir.placed import Placement, slot_at
from mapping.ir.quantized import IntegerLif, IntegerProjection, ProjectionSpec, QuantizedNetwork
from mapping.ir.synapses import SparseSynapses
from mapping.passes.route import Route
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from simulators import ExecutionTrace, Interrupted, Stimulus, load_trace, open_stream, simulate
from simulators.chip import run as run_module
from simulators.chip.layout import lay_out
from simulators.chip.run import compact, link_count, new_record, run_chip
from simulators.chip.state import new_state
from simulators.chip.step import Record, run_samples
from simulators.compare import require_equal
from simulators.oracle import run_oracle

CASES = synapse_cases()
UV = ("u", "v")
MESH_COUNTS = {"within_tile", "hop_east_west", "hop_north_south", "hop_chip"}
"""What depends on where cores are."""


@cache
def spatial(neurons_per_core: int = 7) -> CompileResult:
    """Every form, delays, a delayed loop and a readout, on two chips."""
    chip = tiny_chip(width=2, height=2, cores_per_tile=2, usable_cores=7, chips=(2, 1))
    return compile_network(
        spatial_network(seed=1),
        chip,
        CompileOptions(neurons_per_core=neurons_per_core, placer="raster"),
    )


def spatial_input(samples: int = 4, steps: int = 12) -> Stimulus:
    """Spikes of a third of all inputs, of one channel in some samples."""
    rng = np.random.default_rng(0)
    payloads = rng.random((samples, steps, *INPUTS)) < 0.3
    return Stimulus(payloads=payloads & (rng.random((samples, 1, INPUTS[0], 1, 1)) < 0.6))


def assert_same(one: ExecutionTrace, other: ExecutionTrace, *, but: set[str] = frozenset()) -> None:
    """Spikes, states and counts are equal, ``but`` for some counts."""
    require_equal(one, other, where="test")
    for field in fields(ActionCounts):
        if field.name not in but:
            np.testing.assert_array_equal(
                getattr(one.counts, field.name), getattr(other.counts, field.name), field.name
            )


@pytest.mark.parametrize("name", CASES)
def test_every_form_equals_the_oracle_and_a_recount(name: str) -> None:
    case = CASES[name]
    chip = run_chip(case.run())
    require_equal(run_oracle(case.run()), chip, where=name)
    assert_counts_are_right(case, chip)


def test_a_deep_network_on_two_chips_equals_the_oracle_and_a_recount() -> None:
    artifact = spatial().artifact
    groups = [group for core in artifact.partitioned.cores for group in core.groups]
    assert any(g.population == "features" and g.members[0] % CONV.plane for g in groups)
    assert artifact.placement.used_chips() == 2
    payloads = spatial_input(3, steps=20).payloads.reshape(3, 20, -1).astype(int)
    case = Case(artifact=artifact, payloads=payloads, price=0.0)
    chip = run_chip(case.run())
    require_equal(run_oracle(case.run()), chip, where="spatial")
    assert_counts_are_right(case, chip)
    assert chip.counts is not None
    assert chip.counts.hop_chip.any()
    assert all(chip.spikes[name].any() for name in ("features", "pooled", "hidden"))


def test_synaptic_operations_of_a_convolution_are_what_torch_makes_of_the_spikes() -> None:
    case = CASES["grouped convolution"]
    read = (conv_matrix(GROUPED, np.ones(GROUPED.weight_shape)) != 0).sum(axis=0)
    chip = run_chip(case.run())
    assert chip.counts is not None
    np.testing.assert_array_equal(chip.counts.synaptic_op.sum(axis=-1), (case.payloads != 0) @ read)


def test_the_answer_of_an_integrator_is_its_highest_voltage(tmp_path: Path) -> None:
    stimulus = spatial_input(samples=20)
    chip, oracle, probed = (
        simulate(spatial().artifact, stimulus, backend, probe=probe)
        for backend, probe in (("chip", ()), ("oracle", ()), ("chip", UV))
    )
    answers = probed.v["out"].sum(axis=1).argmax(axis=1)
    assert np.unique(answers).size > 1
    assert chip.v.keys() == {"out"}
    chip.save(tmp_path / "trace.npz")
    for trace in (chip, oracle, probed, load_trace(tmp_path / "trace.npz")):
        assert trace.reads_voltage
        assert not trace.spikes["out"].any()
        np.testing.assert_array_equal(trace.predictions(), answers)


def test_a_place_changes_nothing_but_the_way() -> None:
    artifact, stimulus = spatial().artifact, spatial_input()
    slots = [slot_at(n, artifact.chip.mesh) for n in range(artifact.chip.cores)]
    order = np.random.default_rng(0).permutation(len(slots))[: len(artifact.placement.slots)]
    placement = Placement(slots=tuple(slots[n] for n in order))
    routing = Route().run(artifact.partitioned, placement, artifact.chip)
    moved = replace(artifact, placement=placement, routing=routing)
    before, after = (simulate(program, stimulus, probe=UV) for program in (artifact, moved))
    assert_same(before, after, but=MESH_COUNTS)
    assert (before.link_packets != after.link_packets).any()


def test_a_cut_changes_no_spike_and_no_sum_of_work() -> None:
    one, other = (simulate(spatial(n).artifact, spatial_input(), probe=UV) for n in (7, 24))
    require_equal(one, other, where="cut")
    assert one.counts is not None
    assert other.counts is not None
    assert one.counts.spike.shape != other.counts.spike.shape
    for name in ("synaptic_op", "compartment_update", "compartment_access", "spike"):
        sums = (getattr(counts, name).sum(axis=-1) for counts in (one.counts, other.counts))
        np.testing.assert_array_equal(*sums, name)


@pytest.mark.parametrize("cpus", [1, 3, 9])
def test_threads_and_the_order_of_samples_change_nothing(
    cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulate(gated_program(), gated_spikes(), probe=UV, price=0.5)
    order = np.random.default_rng(cpus).permutation(whole.samples)
    stimulus = gated_spikes()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    mixed = simulate(
        gated_program(), Stimulus(payloads=stimulus.payloads[order]), probe=UV, price=0.5
    )
    for group in ("spikes", "u", "v"):
        for name, values in getattr(whole, group).items():
            np.testing.assert_array_equal(getattr(mixed, group)[name], values[order], name)
    assert whole.counts is not None
    assert mixed.counts is not None
    for name, values in whole.counts.items():
        np.testing.assert_array_equal(getattr(mixed.counts, name), values[order], name)
    np.testing.assert_array_equal(mixed.busiest_link, whole.busiest_link[order])
    np.testing.assert_array_equal(mixed.link_packets, whole.link_packets)


def split_network(silent: int) -> Network:
    """``in`` → ``hidden`` → ``out``, and ``silent`` neurons that read the last inputs alone."""
    rng = np.random.default_rng(4)
    lif = Lif(name="hidden", shape=(5,), current_decay=0.5, voltage_decay=0.5, threshold=1.0)
    first, output = rng.normal(0.3, 1, (5, 12)), rng.normal(0.3, 1, (5, 5))
    last = rng.normal(0.3, 1, (silent, 12))
    first[:, 6:] = last[:, :6] = 0

    def sparse(name: str, target: str, weight: np.ndarray) -> Sparse:
        synapses = SparseSynapses.of(coo_array(weight))
        return Sparse(name=name, source="in", target=target, synapses=synapses)

    return Network(
        name="split",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=(12,)),
            lif,
            replace(lif, name="out"),
            replace(lif, name="silent", shape=(silent,), bias=np.zeros(silent)),
        ),
        projections=(
            sparse("w", "hidden", first),
            Dense(name="o", source="hidden", target="out", weight=output),
            sparse("d", "silent", last),
        ),
    )


def compiled(network: Network) -> Artifact:
    chip = tiny_chip(width=4, height=4, cores_per_tile=2)
    return compile_network(
        network, chip, CompileOptions(neurons_per_core=5, placer="raster")
    ).artifact


def first_inputs(steps: int) -> np.ndarray:
    """Spikes of the first 6 of 12 inputs in the first 5 steps."""
    payloads = np.zeros((2, steps, 12), np.int8)
    payloads[:, :5, :6] = np.random.default_rng(1).integers(0, 2, (2, 5, 6))
    return payloads


def test_a_silent_part_does_nothing_and_changes_nothing() -> None:
    """Nor does it take part in what the others do, but for the way that their packets go."""
    stimulus = Stimulus(payloads=first_inputs(20))
    programs = [compiled(split_network(silent)) for silent in (5, 50)]
    small, big = (simulate(program, stimulus, probe=UV) for program in programs)
    assert small.spikes["out"].any()
    for name in ("hidden", "out"):
        np.testing.assert_array_equal(small.v[name], big.v[name])
    assert small.counts is not None
    assert big.counts is not None
    assert big.counts.spike.shape[-1] == 12
    busy_small, busy_big = (
        [int(program.partitioned.homes[name][0]) for name in ("hidden", "out")]
        for program in programs
    )
    silent = np.delete(np.arange(12), busy_big)
    for name, values in big.counts.items():
        if not name.startswith(("hop", "within")):
            expected = getattr(small.counts, name)[..., busy_small]
            np.testing.assert_array_equal(expected, values[..., busy_big], name)
        assert values[..., silent].any() == (name == "compartment_access"), name


def test_a_step_without_spikes_and_states_updates_nothing() -> None:
    artifact = compiled(split_network(5))
    layout = lay_out(artifact, 0.0)
    payloads = compact(first_inputs(80)[:, :5])
    state = new_state(layout.program, link_count(artifact))
    record = new_record(artifact, layout, [], 2, 80, 1)
    run_samples(layout.program, state, payloads, 0, 1, True, 0, record)
    assert state.active_count[0] == 0, "no block is active any more"
    counts = simulate(artifact, Stimulus(payloads=first_inputs(80))).counts
    assert counts is not None
    busy = counts.compartment_update.sum(axis=-1)
    assert busy[:, 1:5].all()
    assert not busy[:, 60:].any()


def conv_network(*, channels: int = 8) -> Network:
    conv = ConvShape(inputs=(2, 16, 16), out_channels=channels, kernel=(3, 3), padding=(1, 1))
    weight = np.random.default_rng(0).normal(0, 0.3, conv.weight_shape)
    return Network(
        name="conv",
        dt_s=1e-3,
        output="out",
        populations=(
            Input(name="in", shape=conv.inputs),
            Lif(
                name="out", shape=conv.outputs, current_decay=0.5, voltage_decay=0.9, threshold=1.0
            ),
        ),
        projections=(Conv2d(name="w", source="in", target="out", weight=weight, conv=conv),),
    )


def test_a_weight_takes_a_byte_and_a_shared_one_no_more() -> None:
    dense = digits_like_network(rank=8, levels=(8,))
    for network, bytes_per_synapse in ((dense, 1.0), (conv_network(), 0.15)):
        chip = tiny_chip(width=8, height=8, cores_per_tile=2)
        artifact = compile_network(network, chip, CompileOptions()).artifact
        synapses = sum(p.synapses.count for p in artifact.network.projections)
        assert lay_out(artifact, 0.0).weight_bytes <= bytes_per_synapse * synapses


def streams() -> dict[str, tuple[Artifact, np.ndarray, float]]:
    """Programs with input ``(samples, steps, inputs)`` and a price."""
    shown = gated_spikes(6, steps=8).payloads
    delayed = CASES["loop"]
    return {
        "spatial": (spatial().artifact, spatial_input(6, 8).payloads, 0.0),
        "loop": (delayed.artifact, delayed.payloads, 0.0),
        "gates at relays": (gated_program("relay"), shown, 0.5),
        "gates at the host": (gated_program("source"), shown, 0.5),
    }


@pytest.mark.parametrize("backend", ["chip", "oracle"])
@pytest.mark.parametrize("name", streams())
def test_carried_state_makes_one_long_sample_of_many(name: str, backend: str) -> None:
    artifact, payloads, price = streams()[name]
    samples, steps = payloads.shape[:2]
    carried = simulate(
        artifact, Stimulus(payloads=payloads), backend, probe=UV, price=price, carry_state=True
    )
    assert (carried.samples, carried.steps) == (samples, steps)
    long = Stimulus(payloads=payloads.reshape(1, samples * steps, *payloads.shape[2:]))
    wanted = simulate(artifact, long, backend, probe=UV, price=price)
    for group in ("spikes", "u", "v"):
        for population, values in getattr(carried, group).items():
            whole = getattr(wanted, group)[population][0, : samples * steps]
            np.testing.assert_array_equal(values.reshape(whole.shape), whole)


@pytest.mark.parametrize("name", streams())
def test_a_stream_in_pieces_of_any_length_is_one_long_run(name: str) -> None:
    artifact, payloads, price = streams()[name]
    steps = payloads.reshape(-1, *payloads.shape[2:])
    stimulus = Stimulus(payloads=payloads)
    wanted = simulate(artifact, stimulus, probe=UV, price=price, carry_state=True).cut(1)
    stream = open_stream(artifact, probe=UV, price=price)
    bounds = [0, 1, 2, 9, 26, len(steps)]
    parts = [stream.run(steps[a:b]) for a, b in pairwise(bounds)]
    assert [part.steps for part in parts] == np.diff(bounds).tolist()
    for group in ("spikes", "u", "v", "counts"):
        for population, values in grouped(wanted, group):
            found = [dict(grouped(part, group))[population] for part in parts]
            np.testing.assert_array_equal(np.concatenate(found, axis=1), values, population)
    busiest = [part.busiest_link for part in parts]
    np.testing.assert_array_equal(np.concatenate(busiest, axis=1), wanted.busiest_link)


def grouped(trace: ExecutionTrace, group: str) -> Iterable[tuple[str, np.ndarray]]:
    """The arrays of ``trace`` by name."""
    return getattr(trace, group).items()


LOST = 9
"""First sample of a lot of samples, be there one thread or two."""


def press_ctrl_c(record: Record, waits: Event) -> None:
    """Interrupt the main thread once it ``waits``, and stay until it has told all to stop."""
    waits.wait()
    os.kill(os.getpid(), signal.SIGINT)
    while not record.stop[0]:
        time.sleep(1e-3)


def event_of_waiting(patch: pytest.MonkeyPatch) -> Event:
    """What is set once all samples are handed out."""
    waits, wait = Event(), run_module._wait

    def noted(*job: Any) -> None:
        waits.set()
        wait(*job)

    patch.setattr(run_module, "_wait", noted)
    return waits


def interrupt_at_lost(patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as all samples before :data:`LOST` are complete, at which a thread stays."""
    complete: list[int] = []
    waits = event_of_waiting(patch)

    def run(program: object, state: object, payloads: object, first: int, *rest: object) -> int:
        record = rest[-1]
        assert isinstance(record, Record)
        if first == LOST:
            while sum(complete) < LOST:
                time.sleep(1e-3)
            press_ctrl_c(record, waits)
        done = int(run_samples(program, state, payloads, first, *rest))
        if first < LOST:
            complete.append(done)
        return done

    patch.setattr(run_module, "run_samples", run)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cpus", [1, 2])
def test_ctrl_c_keeps_the_samples_that_are_complete(
    cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stimulus = gated_spikes(48)
    told: list[int] = []
    whole = simulate(gated_program(), stimulus, probe=UV, progress=told.append)
    assert sum(told) == 48
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    with monkeypatch.context() as patch:
        interrupt_at_lost(patch)
        with pytest.raises(Interrupted) as caught:
            simulate(gated_program(), stimulus, probe=UV)
    trace = caught.value.trace
    assert trace.samples == LOST
    for group in ("spikes", "u", "v", "counts"):
        for name, values in grouped(trace, group):
            np.testing.assert_array_equal(values, dict(grouped(whole, group))[name][:LOST], name)
    np.testing.assert_array_equal(trace.busiest_link, whole.busiest_link[:LOST])
    first = simulate(gated_program(), stimulus.first(LOST))
    np.testing.assert_array_equal(trace.link_packets, first.link_packets)
    assert trace.labels is not None
    assert trace.accuracy() == simulate(gated_program(), stimulus.first(LOST), "oracle").accuracy()


@pytest.mark.parametrize("handed_out", [0, 3])
def test_ctrl_c_while_samples_are_handed_out_stops_those(
    handed_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool(ThreadPoolExecutor):
        left = handed_out

        def submit(self, *job: Any) -> Any:  # type: ignore[override]
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().submit(*job)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(run_module, "ThreadPoolExecutor", Pool)
    with pytest.raises(Interrupted) as caught:
        simulate(gated_program(), gated_spikes(48))
    assert caught.value.trace.samples <= 3 * handed_out


@pytest.mark.timeout(60)
@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_in_a_stream_keeps_all_or_nothing(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, stimulus = spatial().artifact, spatial_input()
    told: list[int] = []
    whole = simulate(artifact, stimulus, carry_state=True, progress=told.append)
    assert sum(told) == stimulus.samples

    waits = event_of_waiting(monkeypatch)

    def run(*job: Any) -> int:
        record, last = job[-1], job[4]
        done = run_samples(*job) if late else 0
        if last:
            press_ctrl_c(record, waits)
        return int(done)

    monkeypatch.setattr(run_module, "run_samples", run)
    with pytest.raises(Interrupted) as caught:
        simulate(artifact, stimulus, carry_state=True)
    trace = caught.value.trace
    assert trace.samples == stimulus.samples * late
    assert trace.reads_voltage
    if late:
        assert_same(whole, trace)


@pytest.mark.timeout(60)
def test_the_command_writes_what_ctrl_c_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    interrupt_at_lost(monkeypatch)
    stimulus = gated_spikes(48)
    write_artifact(gated_program(), gated_compiled().report, tmp_path / "out")
    stimulus.save(tmp_path / "x.npz")
    command = ["simulate", str(tmp_path / "out"), "--input", str(tmp_path / "x.npz")]
    assert adlrns_map([*command, "--probe", "u,v", "-o", str(tmp_path / "trace.npz")]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"Interrupted: the first {LOST} samples are complete.\n"
    assert f"{LOST} samples × " in captured.out
    trace = load_trace(tmp_path / "trace.npz")
    wanted = simulate(gated_program(), stimulus.first(LOST), "oracle", probe=UV)
    require_equal(trace, wanted, where="written")


def test_spikes_are_recorded_as_small_as_they_are() -> None:
    trace = simulate(gated_program(), gated_spikes())
    assert {name: values.dtype for name, values in trace.spikes.items()} == {
        "enc/gate": np.int8,
        "enc/relay": np.int32,
        "enc/trace": np.int32,
        "hidden": np.int8,
        "out": np.int8,
    }


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int32, np.uint64])
def test_the_type_of_the_input_changes_nothing(kind: type) -> None:
    payloads = gated_spikes().payloads
    wanted = simulate(gated_program(), Stimulus(payloads=payloads))
    given = np.asfortranarray(payloads.astype(kind))
    given.setflags(write=False)
    assert_same(wanted, simulate(gated_program(), Stimulus(payloads=given)))


@pytest.mark.parametrize(
    "ends", [(-128, 127), (-129, 0), (0, 128), (-300, 255), (-(2**15), 2**15)], ids=str
)
def test_payloads_beyond_a_byte_keep_their_value(ends: tuple[int, int]) -> None:
    network = digits_like_network(
        rank=4, levels=(4,), hidden=6, classes=3, shape=(5,), payload_max=2**15
    )
    source = replace(network.input, payload_min=-(2**15))
    artifact = compiled(replace(network, populations=(source, *network.populations[1:])))
    payloads = np.random.default_rng(0).choice(ends, (3, 8, 5))
    chip, oracle = (
        simulate(artifact, Stimulus(payloads=payloads.astype(np.int32)), backend, probe=UV)
        for backend in ("chip", "oracle")
    )
    require_equal(chip, oracle, where="payloads")
    assert chip.spikes["enc/relay"].any()


def test_changes_add_up_over_a_stream() -> None:
    network = digits_like_network()
    delta = replace(network.populations[0], delta=True, payload_min=0, payload_max=10)
    artifact = compiled(replace(network, populations=(delta, *network.populations[1:])))
    change = np.full((1, *delta.shape), 8)
    stream = open_stream(artifact)
    stream.run(change)
    with pytest.raises(ConfigError, match=r"ADL-INP-03.*add up to 16"):
        stream.run(change)
    stream.run(-change)
    with pytest.raises(ConfigError, match=r"ADL-INP-01.*expected \(steps, "):
        stream.run(change[None])
    samples = Stimulus(payloads=np.stack([change, change]))
    simulate(artifact, samples)
    with pytest.raises(ConfigError, match="ADL-INP-03"):
        simulate(artifact, samples, carry_state=True)


def test_packets_in_transit_are_not_timed_over_carried_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", str(tmp_path), "--input", str(tmp_path / "x.npz")]
    assert adlrns_map([*command, "--noc", "--carry-state"]) == 2
    assert "ADL-NOC-02" in capsys.readouterr().err


def test_a_network_without_a_single_synapse_runs() -> None:
    source = Input(name="in", shape=(3,))
    driven = IntegerLif(
        name="out",
        shape=(2,),
        du=4095,
        dv=0,
        threshold=5,
        bias_mantissa=np.array([0, 64], np.int32),
        bias_exponent=0,
        scale=1.0,
    )
    spec = ProjectionSpec(
        name="nothing",
        layer="nothing",
        part="full",
        source="in",
        source_start=0,
        source_stop=3,
        target="out",
        target_start=0,
        target_stop=2,
        weight_bits=8,
        exponent=0,
        graded=False,
        form="sparse",
    )
    empty = SparseSynapses.of(np.zeros((2, 3), np.int8))
    network = QuantizedNetwork(
        name="lonely",
        dt_s=1e-3,
        populations=(source, driven),
        projections=(IntegerProjection(spec=spec, synapses=empty),),
        output="out",
        fidelity=(),
    )
    artifact = compile_network(network, tiny_chip(), CompileOptions()).artifact
    trace = simulate(artifact, Stimulus(payloads=np.ones((1, 20, 3), np.int64)))
    assert trace.counts is not None
    assert [int(n) for n in trace.spikes["out"].sum(axis=(0, 1))] == [0, 3]
    assert not trace.counts.axon_in.any()
    assert not trace.counts.synapse_read.any()
