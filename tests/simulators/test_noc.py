from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.chips import tiny_chip
from support.errors import refused
from support.full import full
from support.gated import compiled, program, spikes
from support.integer_networks import Case, cases
from support.networks import dense_network

from mapping.artifact.schema import Artifact
from mapping.artifact.write import write_artifact
from mapping.cli import run as adlrns_map
from mapping.cost import SYNAPTIC_OPS, charged
from mapping.errors import ConfigError
from mapping.ir.quantized import IntegerGate
from mapping.ir.routed import link_ends
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.figures import Constant
from mapping.targets.spec import ChipSpec
from mapping.units import with_prefix
from simulators import estimate_energy, noc_timing, simulate
from simulators.chip.noc_layout import core_sends, host_sends, noc_program
from simulators.chip.noc_lines import noc_lines
from simulators.trace import ExecutionTrace, Stimulus, load_stimulus

PS = 1e-12
Way = tuple[str, int]


@st.composite
def timed_cases(draw: st.DrawFn) -> Case:
    """Random networks on chips whose times are so short and even that packets tie and queue."""
    case = draw(cases(steps=5))
    largest = draw(st.sampled_from([1, 3, 50]))
    return replace(case, artifact=replace(case.artifact, chip=_quick(draw, case, largest)))


def _quick(draw: st.DrawFn, case: Case, largest: int) -> ChipSpec:
    chip = case.artifact.chip
    tables = {}
    for name in ("latency_s", "noc_s", "barrier_s"):
        table = getattr(chip, name)
        entries = {f.name: getattr(table, f.name) for f in fields(table)}
        drawn = {
            name: replace(entry, value=draw(st.integers(0, largest)) * PS)
            for name, entry in entries.items()
            if isinstance(entry, Constant)
        }
        tables[name] = replace(table, **drawn)
    barrier = tuple((tiles, draw(st.integers(0, largest)) * PS) for tiles in (1, 2, 4))
    hold = replace(chip.barrier_s.by_tiles, value=barrier, between="hold")
    tables["barrier_s"] = replace(tables["barrier_s"], by_tiles=hold)
    can = chip.capabilities
    skip = replace(can.skip_idle_cores, value=draw(st.booleans()))
    return replace(chip, **tables, capabilities=replace(can, skip_idle_cores=skip))


def _ran(case: Case) -> tuple[ExecutionTrace, Stimulus]:
    stimulus = Stimulus(payloads=case.payloads)
    return simulate(case.artifact, stimulus, price=case.price), stimulus


@dataclass
class Packet:
    """One packet of the reference: when it starts out, its links, its receiver and its work."""

    ready: int
    links: list[int]
    core: int
    work: int


def _ps(seconds: float) -> int:
    return round(seconds * 1e12)


class Reference:
    """The same model said once more, slowly: dictionaries, tuples in a heap, no flat arrays."""

    def __init__(self, artifact: Artifact, trace: ExecutionTrace, stimulus: Stimulus) -> None:
        self.artifact, self.trace, self.chip = artifact, trace, artifact.chip
        latency = artifact.partitioned.latency_steps
        flat = stimulus.payloads.reshape(*stimulus.payloads.shape[:2], -1)
        self.payloads = np.pad(flat, ((0, 0), (0, latency), (0, 0)))
        specs = artifact.partitioned.projections
        latency_s = artifact.chip.latency_s
        synapse_ps = {f: _ps(getattr(latency_s, op).value) for f, op in SYNAPTIC_OPS.items()}
        self.ways: list[Way] = [
            ("", 0),
            *sorted({(s.gate, s.gates_needed) for s in specs if s.gate}),
        ]
        self.listeners: dict[tuple[str, int, Way], dict[int, int]] = defaultdict(dict)
        for core, core_program in enumerate(artifact.partitioned.cores):
            for tile in core_program.tiles:
                spec = specs[tile.projection]
                ones = np.ones(tile.synapses.values.shape, np.int8)
                synapses = full(tile.synapses.with_values(ones)).sum(axis=0)
                for column in np.flatnonzero(synapses).tolist():
                    index, way = spec.source_start + column, (spec.gate, spec.gates_needed)
                    cores = self.listeners[spec.source, index, way]
                    work = int(synapses[column]) * synapse_ps[spec.form]
                    cores[core] = cores.get(core, 0) + work
        for name in {s.gate for s in specs if s.gate}:
            for index in range(artifact.partitioned.population(name).size):
                self.listeners[name, index, ("", 0)][-1] = 0

    def steps(self, sample: int) -> Iterator[int]:
        """Duration of each step [ps]; fills in the rest on the way."""
        barrier = self.chip.barrier_s
        pause = barrier.duration_s(self.artifact.placement.used_tiles())
        self.link_busy: dict[int, int] = defaultdict(int)
        self.link_wait: dict[int, int] = defaultdict(int)
        self.core_wait: dict[int, int] = defaultdict(int)
        self.busiest: list[int] = []
        for step in range(self.trace.steps):
            end, packets = self._send(sample, step)
            end = max(end, self._carry(packets))
            yield max(end + _ps(pause), _ps(barrier.shortest_step.value))

    def _send(self, sample: int, step: int) -> tuple[int, list[Packet]]:
        end, packets = 0, []
        counts, core_s = self.trace.counts, self.chip.latency_s
        assert counts is not None
        name = self.artifact.partitioned.input.name
        clock = 0
        for index in range(self.payloads.shape[2]):
            for way in self.ways:
                if self._host_sends(sample, step, index, way):
                    for packet in self._packets(name, index, way, -1):
                        clock += _ps(self.chip.noc_s.host_packet.value)
                        packet.ready += clock
                        packets.append(packet)
        for core, core_program in enumerate(self.artifact.partitioned.cores):
            on_it = [(g.population, i) for g in core_program.groups for i in g.members.tolist()]
            sent = [self.trace.spikes[name][sample, step, i] != 0 for name, i in on_it]
            silent = len(sent) - sum(sent)
            awake = charged(counts, self.chip)["compartment_access"][sample, step, core] > 0
            updates = int((counts.compartment_update - counts.spike)[sample, step, core])
            clock = passed = 0
            for (name, index), spiked in zip(on_it, sent, strict=True):
                clock += awake * _ps(core_s.compartment_access.value)
                update = _ps(core_s.compartment_update.value)
                if spiked:
                    clock += update + _ps(core_s.spike.value)
                    for packet in self._packets(name, index, ("", 0), core):
                        clock += _ps(core_s.axon_out.value)
                        packet.ready += clock
                        packets.append(packet)
                else:
                    share = (passed + 1) * updates // silent - passed * updates // silent
                    clock += share * update
                    passed += 1
            end = max(end, int(clock))
        return end, packets

    def _host_sends(self, sample: int, step: int, index: int, way: Way) -> bool:
        if way == ("", 0):
            return bool(self.payloads[sample, step, index] != 0)
        told = self._wanted(sample, step - 1, index, way)
        return self._wanted(sample, step, index, way) != told * self._delta()

    def _wanted(self, sample: int, step: int, index: int, way: Way) -> int:
        gate, needed = way
        on = self.trace.spikes[gate][sample, : max(step, 0), :needed].sum(axis=0) > 0
        if step < 0 or not on.all():
            return 0
        payloads = self.payloads[sample, :, index]
        if not self._delta():
            return int(payloads[step])
        return int(np.int64(payloads[: step + 1].sum()).astype(np.int32))

    def _delta(self) -> bool:
        return self.artifact.partitioned.input.delta

    def _packets(self, name: str, index: int, way: Way, sender: int) -> Iterator[Packet]:
        routing, noc_s = self.artifact.routing, self.chip.noc_s
        for core, synapses_ps in sorted(self.listeners[name, index, way].items()):
            links = routing.path(routing.pairs().index((sender, core))).tolist()
            work = _ps(self.chip.latency_s.axon_in.value) + synapses_ps
            yield Packet(
                ready=0 if links else _ps(noc_s.within_tile.value),
                links=links,
                core=core,
                work=work if core >= 0 else 0,
            )

    def _carry(self, packets: list[Packet]) -> int:
        noc_s = self.chip.noc_s
        hop_s = [noc_s.hop_east_west.value] * 2 + [noc_s.hop_north_south.value] * 2
        mesh = self.chip.mesh
        free: dict[tuple[str, int], int] = defaultdict(int)
        busy: dict[int, int] = defaultdict(int)
        events = [(packet.ready, number, 0) for number, packet in enumerate(packets)]
        heapq.heapify(events)
        end = 0
        while events:
            now, number, passed = heapq.heappop(events)
            packet = packets[number]
            if passed < len(packet.links):
                link = packet.links[passed]
                (x0, y0), (x1, y1) = link_ends(link, mesh)
                chips = [(x // mesh.width, y // mesh.height) for x, y in ((x0, y0), (x1, y1))]
                leaves_chip = chips[0] != chips[1]
                hop = noc_s.hop_chip.value if leaves_chip else hop_s[link % 4]
                taken = noc_s.chip_link_occupancy if leaves_chip else noc_s.link_occupancy
                occupancy = _ps(taken.value)
                start = max(now, free["link", link])
                free["link", link] = start + occupancy
                busy[link] += occupancy
                self.link_wait[link] = max(self.link_wait[link], start - now)
                heapq.heappush(events, (start + _ps(hop), number, passed + 1))
            else:
                start = max(now, free["core", packet.core])
                free["core", packet.core] = start + packet.work
                self.core_wait[packet.core] = max(self.core_wait[packet.core], start - now)
                end = max(end, start + packet.work)
        for link, taken in busy.items():
            self.link_busy[link] += taken
        most = max(busy.values(), default=0)
        self.busiest.append(min((b for b in busy if busy[b] == most), default=-1) if most else -1)
        return end


def _whole(seconds: np.ndarray) -> list[int]:
    picoseconds = np.rint(seconds / PS)
    np.testing.assert_allclose(picoseconds * PS, seconds, rtol=1e-12)
    return picoseconds.astype(int).tolist()


def _assert_equals_the_reference(case: Case) -> None:
    trace, stimulus = _ran(case)
    found = noc_timing(case.artifact, trace, stimulus)
    reference = Reference(case.artifact, trace, stimulus)
    links = found.links.tolist()
    cores = range(len(case.artifact.partitioned.cores))
    for sample in range(trace.samples):
        assert _whole(found.step_s[sample]) == list(reference.steps(sample))
        assert found.busiest_link[sample].tolist() == reference.busiest
        assert _whole(found.link_busy_s[sample]) == [reference.link_busy[n] for n in links]
        assert _whole(found.link_wait_s[sample]) == [reference.link_wait[n] for n in links]
        assert _whole(found.core_wait_s[sample]) == [reference.core_wait[c] for c in cores]
        assert set(reference.link_busy) <= set(links)


def test_the_random_networks_reach_every_corner_of_the_model() -> None:
    seen = Counter[str]()

    @settings(max_examples=100, derandomize=True, database=None, phases=[Phase.generate])
    @given(case=timed_cases())
    def look(case: Case) -> None:
        trace, stimulus = _ran(case)
        found = noc_timing(case.artifact, trace, stimulus)
        counts, to_host = trace.counts, case.artifact.routing.target < 0
        assert counts is not None
        updates = counts.compartment_update - counts.spike
        seen["packets wait for links"] += bool((found.link_wait_s > 0).any())
        seen["packets wait at cores"] += bool((found.core_wait_s > 0).any())
        seen["the network is slower than the cores"] += bool(
            (found.step_s > found.simple_step_s + PS / 2).any()
        )
        seen["gates report to the host"] += bool(to_host.any())
        seen["cores sleep"] += bool(
            case.artifact.chip.capabilities.skip_idle_cores.value and counts.dark.any()
        )
        seen["some silent compartments are updated"] += bool(
            ((updates > 0) & (updates < counts.compartment_access - counts.spike)).any()
        )

    look()
    assert {what for what in seen if seen[what] < 15} == set(), seen


@settings(max_examples=100)
@given(case=timed_cases())
def test_times_equal_those_of_the_slow_reference(case: Case) -> None:
    _assert_equals_the_reference(case)


@pytest.mark.slow
@settings(max_examples=2000)
@given(case=timed_cases())
def test_times_equal_those_of_the_slow_reference_at_length(case: Case) -> None:
    _assert_equals_the_reference(case)


@settings(max_examples=50)
@given(case=timed_cases())
def test_a_step_is_no_shorter_than_the_simple_rule_and_no_longer_than_one_thing_at_a_time(
    case: Case,
) -> None:
    """A core's own work is the same in both, and waiting only comes on top; but while anything
    is left to do, something is being done."""
    trace, stimulus = _ran(case)
    chip, counts = case.artifact.chip, trace.counts
    assert counts is not None
    found = noc_timing(case.artifact, trace, stimulus)
    assert (found.step_s >= found.simple_step_s - PS).all()
    each = {
        **{name: getattr(chip.latency_s, name).value for name in SYNAPTIC_OPS.values()},
        "synapse_read": 0.0,
        "compartment_access": chip.latency_s.compartment_access.value,
        "compartment_update": chip.latency_s.compartment_update.value,
        "spike": chip.latency_s.spike.value,
        "axon_out": chip.latency_s.axon_out.value,
        "axon_in": chip.latency_s.axon_in.value + chip.noc_s.within_tile.value,
        "host_packet": chip.noc_s.host_packet.value,
        "hop_east_west": chip.noc_s.hop_east_west.value + chip.noc_s.link_occupancy.value,
        "hop_north_south": chip.noc_s.hop_north_south.value + chip.noc_s.link_occupancy.value,
        "hop_chip": chip.noc_s.hop_chip.value + chip.noc_s.chip_link_occupancy.value,
        "within_tile": 0.0,
    }
    to_host = sum(
        (trace.spikes[p.name] != 0).sum(axis=2)
        for p in case.artifact.partitioned.populations
        if isinstance(p, IntegerGate)
    )
    serial_s = sum(values.sum(axis=2) * each[name] for name, values in counts.items())
    serial_s = serial_s + to_host * chip.noc_s.within_tile.value
    used = case.artifact.placement.used_tiles()
    barrier_s = chip.barrier_s.duration_s(used)
    longest_s = np.maximum(serial_s + barrier_s, chip.barrier_s.shortest_step.value)
    assert (found.step_s <= longest_s + PS).all()


@settings(max_examples=30)
@given(case=timed_cases())
def test_packets_are_those_that_the_chip_simulator_counts(case: Case) -> None:
    trace, _ = _ran(case)
    assert trace.counts is not None
    partitioned = case.artifact.partitioned
    layout = noc_program(case.artifact)
    cores = len(partitioned.cores)
    each_ps = {
        name: _ps(getattr(case.artifact.chip.latency_s, name).value)
        for name in ("axon_in", *SYNAPTIC_OPS.values())
    }
    silence = ((0, 0), (0, partitioned.latency_steps), (0, 0))
    host = host_sends(partitioned, trace.spikes, np.pad(case.payloads, silence))
    source = np.repeat(np.arange(layout.fan_start.size - 1), np.diff(layout.fan_start))
    from_core = source >= layout.source_start[1]
    receiver = layout.receiver[layout.flow]
    for sample in range(trace.samples):
        spiked = core_sends(partitioned, trace.spikes, sample)
        sent = np.concatenate([host[sample], spiked], axis=1)[:, source]
        for step, packets in enumerate(sent):
            counts = {name: values[sample, step] for name, values in trace.counts.items()}
            received = np.bincount(receiver[packets], minlength=cores + 1)[1:]
            work_ps = np.bincount(receiver[packets], layout.service_ps[packets], cores + 1)
            np.testing.assert_array_equal(received, counts["axon_in"])
            expected_ps = sum(counts[name] * ps for name, ps in each_ps.items())
            np.testing.assert_array_equal(work_ps[1:], expected_ps)
            assert (packets & from_core).sum() == counts["axon_out"].sum()


@settings(max_examples=20)
@given(case=timed_cases(), seed=st.integers(0, 99))
def test_samples_do_not_touch_each_other(case: Case, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(case.payloads))
    trace, stimulus = _ran(case)
    found = noc_timing(case.artifact, trace, stimulus)
    moved = noc_timing(case.artifact, *_ran(replace(case, payloads=case.payloads[order])))
    for name in ("step_s", "link_busy_s", "link_wait_s", "core_wait_s", "busiest_link"):
        np.testing.assert_array_equal(getattr(found, name)[order], getattr(moved, name))


def _far_apart() -> tuple[Artifact, Stimulus]:
    """One neuron on tile (0, 0), one beside it at (1, 0), the host at (2, 1); one spike to come."""
    chip = tiny_chip(width=3, height=2, cores_per_tile=1, host_tile=(2, 1))
    slow = replace(chip.barrier_s.by_tiles, value=((1, 200e-9), (32, 552e-9)))
    chip = replace(chip, barrier_s=replace(chip.barrier_s, by_tiles=slow))
    options = CompileOptions(neurons_per_core=1, placer="raster")
    artifact = compile_network(dense_network((2, 1, 1)), chip, options).artifact
    payloads = np.zeros((1, 2, 2), np.int64)
    payloads[0, 1, 1] = 1
    return artifact, Stimulus(payloads=payloads)


def test_a_single_packet_takes_the_sum_of_its_parts() -> None:
    artifact, stimulus = _far_apart()
    assert [(s.x, s.y) for s in artifact.placement.slots] == [(0, 0), (1, 0)]
    trace = simulate(artifact, stimulus)
    found = noc_timing(artifact, trace, stimulus)
    barrier_ns = 200 + (552 - 200) / 31
    packet_ns = 5.1 + 2 * 4.1 + 6.5 + 16 + 0.66
    access_ns = 2.65
    assert found.step_s[0, 0] == pytest.approx((access_ns + barrier_ns) * 1e-9)
    assert found.step_s[0, 1] == pytest.approx((packet_ns + barrier_ns) * 1e-9)
    assert found.simple_step_s[0, 1] == pytest.approx((16.66 + barrier_ns) * 1e-9, rel=1e-3)
    assert found.link_wait_s.max() == found.core_wait_s.max() == 0
    assert found.busiest_link[0, 0] == -1
    assert found.busiest_link[0, 1] == min(artifact.routing.path(0))
    assert (found.link_busy_s[0] > 0).sum() == 3


def test_packets_for_one_core_wait_for_each_other() -> None:
    """All inputs at once: the host sends faster than the core receives."""
    artifact, stimulus = _far_apart()
    both = Stimulus(payloads=np.ones_like(stimulus.payloads[:, :1]))
    found = noc_timing(artifact, simulate(artifact, both), both)
    assert found.core_wait_s[0].tolist() == pytest.approx([(16.66 - 5.1) * 1e-9, 0.0])
    assert found.host_s == pytest.approx(2 * 5.1e-9)
    slow = replace(artifact.chip.noc_s.link_occupancy, value=9e-9)
    chip = replace(artifact.chip, noc_s=replace(artifact.chip.noc_s, link_occupancy=slow))
    jammed = replace(artifact, chip=chip)
    found = noc_timing(jammed, simulate(jammed, both), both)
    assert found.link_wait_s.max() == pytest.approx((9 - 5.1) * 1e-9)
    assert found.core_wait_s[0].tolist() == pytest.approx([(16.66 - 9) * 1e-9, 0.0])


def test_packets_from_a_gated_host_are_timed_at_every_price() -> None:
    """Held back input reaches nobody, so steps are shorter."""
    artifact = program("source")
    found = [
        noc_timing(artifact, simulate(artifact, spikes(), price=price), spikes())
        for price in (0.0, 1e9)
    ]
    assert found[0].latency_s > found[1].latency_s
    assert found[0].interval_s[0] < found[0].latency_s < found[0].interval_s[1]


def test_only_the_steps_that_ran_are_timed() -> None:
    artifact = program("relay")
    trace = simulate(artifact, spikes(), steps=3)
    found = noc_timing(artifact, trace, spikes())
    assert found.step_s.shape == (trace.samples, 3 + artifact.partitioned.latency_steps)


@pytest.mark.parametrize("change", ["fewer samples", "fewer steps", "other spikes"])
def test_another_input_is_refused(change: str) -> None:
    artifact, stimulus = program("relay"), spikes()
    trace = simulate(artifact, stimulus)
    payloads = {
        "fewer samples": stimulus.payloads[1:],
        "fewer steps": stimulus.payloads[:, 1:],
        "other spikes": 1 - stimulus.payloads,
    }[change]
    with refused(
        ConfigError, "ADL-NOC-01", where="stimulus", message="12 input steps", remedy="that was sim"
    ):
        noc_timing(artifact, trace, Stimulus(payloads=payloads))


def test_a_trace_without_counts_or_of_another_program_is_refused() -> None:
    artifact = program("relay")
    with refused(ConfigError, "ADL-ENG-01", where="trace", remedy="chip backend"):
        noc_timing(artifact, simulate(artifact, spikes(2), "oracle"), spikes(2))
    with refused(ConfigError, "ADL-ENG-02", where="trace", remedy="simulate this artifact"):
        noc_timing(artifact, simulate(program("source"), spikes(2)), spikes(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program, its input, and the first ten samples of it."""
    found = tmp_path_factory.mktemp("noc")
    result = compiled("relay")
    write_artifact(result.artifact, result.report, found / "program")
    spikes(10).save(found / "input.npz")
    return found


def test_the_command_prints_latency_with_queues_beside_the_simple_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", str(folder / "program"), "--input", str(folder / "input.npz")]
    assert adlrns_map([*command, "--noc", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    artifact, stimulus = program("relay"), load_stimulus(folder / "input.npz")
    trace = simulate(artifact, stimulus)
    found = noc_timing(artifact, trace, stimulus)
    assert printed["noc"] == json.loads(json.dumps(found.as_dict()))
    assert printed["noc"]["simple_latency_s"] == pytest.approx(
        estimate_energy(artifact, trace).latency_s
    )
    assert printed["noc"]["latency_s"] > printed["noc"]["simple_latency_s"]
    assert sum(printed["noc"]["per_step"]["latency_s"]) == pytest.approx(found.latency_s)
    assert [entry["id"] for entry in printed["noc"]["links"]] == found.links.tolist()
    assert sum(entry["busiest_share"] for entry in printed["noc"]["links"]) <= 1
    assert adlrns_map([*command, "--noc"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{with_prefix(found.latency_s, 's')} with packets in transit" in said
    assert f"{with_prefix(found.simple_latency_s, 's')} without" in said
    assert adlrns_map([*command, "--json"]) == 0
    assert "noc" not in json.loads(capsys.readouterr().out)


def test_the_command_needs_a_backend_that_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", str(folder / "program"), "--input", str(folder / "input.npz")]
    assert adlrns_map([*command, "--noc", "--backend", "oracle"]) == 2
    assert "ADL-ENG-01" in capsys.readouterr().err


def test_a_program_on_one_tile_has_no_busiest_link() -> None:
    artifact = compile_network(dense_network(), tiny_chip(), CompileOptions()).artifact
    stimulus = Stimulus(payloads=np.ones((2, 3, 6), np.int64))
    found = noc_timing(artifact, simulate(artifact, stimulus), stimulus)
    assert found.links.size == 0
    assert (found.busiest_link == -1).all()
    assert not any("link" in line for line in noc_lines(artifact, found))
