"""How long a step takes when packets queue, on the links of the mesh and at the cores.

Each core goes through its compartments in order: each takes its access, its update and, if it
spikes, its spike, then sends one packet after the other. The host sends its packets one after the
other, from the beginning of the step. A packet takes the links of its route one by one; a link
takes one packet at a time, first come, first served. So does the receiving core, which reads an
axon and then adds its synapses, beside going through its compartments. When all that is done, the
barrier ends the step.

Queues hold any number of packets: full buffers, and senders that wait for them, are not modelled.
Times are whole picoseconds, so that they add up exactly. What a program computes does not change.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.cost import ActionCounts, FloatArray, charged
from mapping.errors import ConfigError
from mapping.latency import DEFAULT_LATENCY_MODEL, LATENCY_MODELS, step_time_s
from mapping.targets.figures import Status
from simulators.chip.noc_layout import (
    BoolArray,
    core_sends,
    host_sends,
    noc_program,
    picoseconds,
)
from simulators.trace import ExecutionTrace, IntArray, Stimulus


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NocTiming:
    """Durations with packets that queue, per sample.

    Attributes:
        step_s: ``(samples, steps)`` duration of each step, barrier included [s].
        simple_step_s: the same if packets took no time in transit and never waited [s].
        interval_s: :attr:`latency_s` with every constant at its lower and at its upper bound [s].
        host_s: of :attr:`latency_s`, the time in which the host sends input packets [s].
        links: ``(links,)`` numbers of the mesh links that routes use.
        link_busy_s: ``(samples, links)`` how long each link was taken, all steps together [s].
        link_wait_s: ``(samples, links)`` longest time that a packet waited for the link [s].
        core_wait_s: ``(samples, cores)`` longest time that a packet waited at the core [s].
        busiest_link: ``(samples, steps)`` number of the link that was taken longest, the lowest of
            several; -1 in a step without packets on links.
        status: the weakest status among the constants.
    """

    step_s: FloatArray
    simple_step_s: FloatArray
    interval_s: tuple[float, float]
    host_s: float
    links: IntArray
    link_busy_s: FloatArray
    link_wait_s: FloatArray
    core_wait_s: FloatArray
    busiest_link: IntArray
    status: Status

    @property
    def latency_s(self) -> float:
        """Mean duration of all steps of a sample [s]."""
        return _latency_s(self.step_s)

    @property
    def simple_latency_s(self) -> float:
        """The same without transit and queues [s]."""
        return _latency_s(self.simple_step_s)

    def as_dict(self) -> dict[str, object]:
        """The figures of ``simulate --noc --json``: means per sample, but the longest waits."""
        return {
            "latency_s": self.latency_s,
            "latency_interval_s": list(self.interval_s),
            "simple_latency_s": self.simple_latency_s,
            "host_s": self.host_s,
            "status": self.status,
            "per_step": {
                "latency_s": self.step_s.mean(axis=0).tolist(),
                "simple_latency_s": self.simple_step_s.mean(axis=0).tolist(),
            },
            "links": [
                {
                    "id": int(link),
                    "busy_s": float(self.link_busy_s[:, column].mean()),
                    "longest_wait_s": float(self.link_wait_s[:, column].max()),
                    "busiest_share": float((self.busiest_link == link).mean()),
                }
                for column, link in enumerate(self.links)
            ],
            "per_core": [
                {"id": core, "longest_wait_s": float(wait_s)}
                for core, wait_s in enumerate(self.core_wait_s.max(axis=0))
            ],
        }


def noc_timing(artifact: Artifact, trace: ExecutionTrace, stimulus: Stimulus) -> NocTiming:
    """Time every step of ``trace`` with packets that queue.

    Args:
        artifact: the compiled program.
        trace: what it did, recorded by a backend that counts actions.
        stimulus: the input that it did it with, which the trace does not hold.

    Raises:
        ConfigError: the trace holds no action counts (ADL-ENG-01), is another program's
            (ADL-ENG-02) or was recorded with another input (ADL-NOC-01), or the input is
            unsuitable (ADL-INP-…).
    """
    chip = artifact.chip
    counts, work = trace.counts_for(artifact), trace.work_for(artifact)
    time = LATENCY_MODELS.get(DEFAULT_LATENCY_MODEL).time(chip, work.used_tiles)
    host = _from_host(artifact, trace, counts, stimulus)
    ran = _run(artifact, trace, counts, host)
    low, high = (
        _run(replace(artifact, chip=bound), trace, counts, host)
        for bound in (chip.at_bound(-1), chip.at_bound(1))
    )
    return NocTiming(
        step_s=_seconds(ran.step_ps),
        simple_step_s=step_time_s(work, chip, time),
        interval_s=(_latency_s(_seconds(low.step_ps)), _latency_s(_seconds(high.step_ps))),
        host_s=float(counts.host_packet.sum()) / trace.samples * chip.noc_s.host_packet.value,
        links=ran.links,
        link_busy_s=_seconds(ran.link_busy_ps),
        link_wait_s=_seconds(ran.link_wait_ps),
        core_wait_s=_seconds(ran.place_wait_ps[:, 1:]),
        busiest_link=np.append(ran.links, -1)[ran.busiest],
        status=chip.weakest_status("latency_s.", "noc_s.", "barrier_s."),
    )


def _from_host(
    artifact: Artifact, trace: ExecutionTrace, counts: ActionCounts, stimulus: Stimulus
) -> BoolArray:
    """What the host sends, see :func:`host_sends`, if it is as much as ``counts`` say."""
    partitioned = artifact.partitioned
    given = stimulus.checked(partitioned)
    steps = trace.steps - partitioned.latency_steps
    sent = np.zeros((trace.samples, trace.steps, 0), np.bool_)
    fitting = given.samples == trace.samples and 0 < steps <= given.steps
    if fitting:
        payloads = given.payloads[:, :steps].reshape(trace.samples, steps, -1)
        silence = np.zeros((trace.samples, trace.steps - steps, payloads.shape[2]), np.int64)
        presented = np.concatenate([payloads, silence], axis=1)
        sent = host_sends(partitioned, trace.spikes, presented)
        packets = np.diff(noc_program(artifact).fan_start)[: sent.shape[2]]
        fitting = np.array_equal(sent @ packets, counts.host_packet.sum(axis=2))
    if not fitting:
        raise ConfigError(
            f"{given.samples} samples × {given.steps} steps are not the input that the trace, "
            f"{trace.samples} samples × {steps} input steps, was recorded with",
            where="stimulus",
            remedy="give the very input that was simulated",
            code="ADL-NOC-01",
        )
    return sent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ran:
    """What the kernel finds out; samples come first. ``busiest`` counts ``links``, -1 is none."""

    links: IntArray
    step_ps: IntArray
    busiest: IntArray
    link_busy_ps: IntArray
    link_wait_ps: IntArray
    place_wait_ps: IntArray


def _run(artifact: Artifact, trace: ExecutionTrace, counts: ActionCounts, host: BoolArray) -> _Ran:
    """Time every sample, in parallel over threads."""
    from simulators.chip.noc_kernel import time_sample

    chip = artifact.chip
    program = noc_program(artifact)
    samples, steps, cores = counts.spike.shape
    ran = _Ran(
        links=program.links,
        step_ps=np.zeros((samples, steps), np.int64),
        busiest=np.zeros((samples, steps), np.int64),
        link_busy_ps=np.zeros((samples, program.links.size), np.int64),
        link_wait_ps=np.zeros((samples, program.links.size), np.int64),
        place_wait_ps=np.zeros((samples, cores + 1), np.int64),
    )
    awake = charged(counts, chip)["compartment_access"] > 0
    silent_updates = counts.compartment_update - counts.spike

    def time_one(sample: int) -> None:
        time_sample(
            program,
            np.concatenate(
                [host[sample], core_sends(artifact.partitioned, trace.spikes, sample)], axis=1
            ),
            awake[sample],
            silent_updates[sample],
            ran.step_ps[sample],
            ran.busiest[sample],
            ran.link_busy_ps[sample],
            ran.link_wait_ps[sample],
            ran.place_wait_ps[sample],
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(time_one, range(samples)))
    barrier_s = chip.barrier_s.duration_s(artifact.placement.used_tiles())
    ran.step_ps[:] = np.maximum(
        ran.step_ps + picoseconds(barrier_s), picoseconds(chip.barrier_s.shortest_step.value)
    )
    return ran


def _latency_s(step_s: FloatArray) -> float:
    """Mean over the samples of all their steps."""
    return float(step_s.sum(axis=1).mean())


def _seconds(picoseconds: IntArray) -> FloatArray:
    return np.asarray(picoseconds * 1e-12, np.float64)
