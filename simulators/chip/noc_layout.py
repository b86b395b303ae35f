"""Lay out as flat arrays who sends packets where, by which links, and how long each part takes.

Places are the host, number 0, and the cores, whose numbers are one higher than elsewhere. Sources
are numbered in the order in which their place goes through them: first the inputs, each as often
as there are conditions under which the host sends it, then the compartments of core after core.
Times are whole picoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mapping.artifact.schema import Artifact
from mapping.cost import SYNAPTIC_OPS
from mapping.ir.partitioned import HOST, Members, PartitionedNetwork
from mapping.ir.quantized import Int32Array
from mapping.ir.routed import between_chips
from mapping.targets.figures import Constant
from simulators.ranks import sent_by_host
from simulators.trace import IntArray

BoolArray = npt.NDArray[np.bool_]
Group = tuple[str, Members]
"""Population and compartments."""


class NocProgram(NamedTuple):
    """What the packets of a program do, whatever its input.

    Attributes:
        source_start: place ``p`` goes through the sources ``source_start[p]:source_start[p + 1]``.
        access_ps, update_ps, spike_ps, packet_ps: by place, what each action of it takes.
        fan_start: source ``s`` sends the packets ``fan_start[s]:fan_start[s + 1]``.
        flow, service_ps: of each packet; how long the receiver takes over it.
        path_start, path: flow ``f`` takes ``path[path_start[f]:path_start[f + 1]]``, columns of
            ``links``.
        local_ps, receiver: by flow; what a packet that crosses no link takes.
        links, hop_ps, occupancy_ps: the mesh links in use, time on them, time until the next
            packet may enter.
    """

    source_start: IntArray
    access_ps: IntArray
    update_ps: IntArray
    spike_ps: IntArray
    packet_ps: IntArray
    fan_start: IntArray
    flow: Int32Array
    service_ps: IntArray
    path_start: IntArray
    path: IntArray
    local_ps: IntArray
    receiver: IntArray
    links: IntArray
    hop_ps: IntArray
    occupancy_ps: IntArray


def picoseconds(seconds: float) -> int:
    """Whole picoseconds."""
    return round(seconds * 1e12)


def conditions(partitioned: PartitionedNetwork) -> list[tuple[str, int]]:
    """Under which the host sends an input, as gate and gates needed; always comes first."""
    found = {(spec.gate, spec.gates_needed) for spec in partitioned.projections if spec.gate}
    return [("", 0), *sorted(found)]


def core_groups(partitioned: PartitionedNetwork) -> list[list[Group]]:
    """Compartments of each core in the order in which it goes through them."""
    return [[(g.population, g.members) for g in p.groups] for p in partitioned.cores]


def noc_program(artifact: Artifact) -> NocProgram:
    """The flat form of ``artifact``, with the times of its chip."""
    core_s, noc_s = artifact.chip.latency_s, artifact.chip.noc_s
    source_start, fan_start, flow, service_ps = _fanout(artifact)
    links, path_start, path = _paths(artifact)
    hops = np.diff(path_start)
    within = np.where(links % 4 < 2, _ps(noc_s.hop_east_west), _ps(noc_s.hop_north_south))
    between = between_chips(links.astype(np.int32), artifact.chip.mesh)

    def by_place(host: int, core: Constant) -> IntArray:
        return np.array([host] + [_ps(core)] * len(artifact.partitioned.cores), np.int64)

    return NocProgram(
        source_start=source_start,
        access_ps=by_place(0, core_s.compartment_access),
        update_ps=by_place(0, core_s.compartment_update),
        spike_ps=by_place(0, core_s.spike),
        packet_ps=by_place(_ps(noc_s.host_packet), core_s.axon_out),
        fan_start=fan_start,
        flow=flow,
        service_ps=service_ps,
        path_start=path_start,
        path=path,
        local_ps=np.where(hops == 0, _ps(noc_s.within_tile), 0),
        receiver=artifact.routing.target.astype(np.int64) + 1,
        links=links,
        hop_ps=np.where(between, _ps(noc_s.hop_chip), within),
        occupancy_ps=np.where(between, _ps(noc_s.chip_link_occupancy), _ps(noc_s.link_occupancy)),
    )


def host_sends(
    partitioned: PartitionedNetwork, spikes: Mapping[str, IntArray], payloads: IntArray
) -> BoolArray:
    """``(samples, steps, inputs * conditions)`` whether the host sends an input's packets.

    Args:
        partitioned: the core programs.
        spikes: of every population but the input, ``(samples, steps, size)``.
        payloads: ``(samples, steps, inputs)`` of the input.
    """
    sent = [payloads != 0]
    for gate, needed in conditions(partitioned)[1:]:
        sent.append(sent_by_host(payloads, spikes[gate], needed, partitioned.input.delta) != 0)
    return np.stack(sent, axis=3).reshape(*payloads.shape[:2], -1)


def core_sends(
    partitioned: PartitionedNetwork, spikes: Mapping[str, IntArray], sample: int
) -> BoolArray:
    """``(steps, compartments)`` whether a compartment spikes, core by core."""
    groups = [group for core in core_groups(partitioned) for group in core]
    return np.concatenate(
        [spikes[name][sample][:, members] != 0 for name, members in groups], axis=1
    )


def _fanout(artifact: Artifact) -> tuple[IntArray, IntArray, Int32Array, IntArray]:
    """``source_start``, ``fan_start``, ``flow`` and ``service_ps`` of :class:`NocProgram`."""
    partitioned, latency_s = artifact.partitioned, artifact.chip.latency_s
    axon_ps = _ps(latency_s.axon_in)
    synapse_ps = {form: _ps(getattr(latency_s, op)) for form, op in SYNAPTIC_OPS.items()}
    ways = conditions(partitioned)
    flow_of = {pair: flow for flow, pair in enumerate(artifact.routing.pairs())}
    inputs = partitioned.input
    starts, packets = [0], [np.zeros((3, 0), np.int64)]
    whole = [(inputs.name, np.arange(inputs.size, dtype=np.int32))]
    for sender, groups in enumerate([whole, *core_groups(partitioned)], start=HOST):
        copies = len(ways) if sender == HOST else 1
        number = starts[-1]
        for name, members in groups:
            for to in partitioned.destinations[name]:
                sent, at, of = np.intersect1d(
                    members, to.members, assume_unique=True, return_indices=True
                )
                if not sent.size:
                    continue
                way = ways.index((to.gate, to.gates_needed))
                reading_ps = partitioned.per_packet(
                    name,
                    to,
                    lambda tile, spec: tile.synapses.per_axon() * synapse_ps[spec.form],
                )
                service_ps = (axon_ps + reading_ps[of]) * (to.core != HOST)
                flow = np.full(sent.size, flow_of[sender, to.core])
                packets.append(np.stack([number + at * copies + way, flow, service_ps]))
            number += members.size * copies
        starts.append(number)
    sources, flow, service_ps = np.concatenate(packets, axis=1)
    order = np.argsort(sources, kind="stable")
    fan = np.bincount(sources, minlength=starts[-1])
    fan_start = np.concatenate([[0], np.cumsum(fan)])
    return (np.array(starts), fan_start, flow[order].astype(np.int32), service_ps[order])


def _paths(artifact: Artifact) -> tuple[IntArray, IntArray, IntArray]:
    """``links``, ``path_start`` and ``path`` of :class:`NocProgram`."""
    routing = artifact.routing
    paths = [routing.path(flow) for flow in range(routing.flows)]
    start = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    taken = np.concatenate([np.zeros(0, np.int64), *paths])
    links, path = np.unique(taken, return_inverse=True)
    return links, start, path.astype(np.int64)


def _ps(constant: Constant) -> int:
    return picoseconds(constant.value)
