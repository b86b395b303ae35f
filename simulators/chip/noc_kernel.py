"""The Numba kernel that moves the packets of each step, event by event.

An event is a packet that asks for its next link or, behind the last one, for its receiver. Events
are handled by time; of two at one time, that of the packet with the lower number is first. Packets
are numbered in the order in which their senders go through them, place after place.
"""

from __future__ import annotations

import numba
import numpy as np

from simulators.chip.noc_layout import BoolArray, NocProgram
from simulators.trace import IntArray


@numba.njit(cache=True, nogil=True)
def time_sample(
    program: NocProgram,
    sent: BoolArray,
    awake: BoolArray,
    silent_updates: IntArray,
    end_ps: IntArray,
    busiest: IntArray,
    link_busy_ps: IntArray,
    link_wait_ps: IntArray,
    place_wait_ps: IntArray,
) -> None:
    """Time the steps of one sample.

    Args:
        program: the flat program.
        sent: ``(steps, sources)`` whether each spikes.
        awake: ``(steps, cores)`` whether each goes through its compartments.
        silent_updates: ``(steps, cores)`` updates of compartments that do not spike.
        end_ps: ``(steps,)``, receives the time at which all is done.
        busiest: ``(steps,)``, receives the column of the busiest link, or -1.
        link_busy_ps: ``(links,)``, incremented.
        link_wait_ps, place_wait_ps: ``(links,)`` and ``(places,)``, raised.
    """
    fan = program.fan_start[1:] - program.fan_start[:-1]
    for step in range(sent.shape[0]):
        packets = np.int64(0)
        for source in range(sent.shape[1]):
            packets += sent[step, source] * fan[source]
        packet = np.empty(packets, np.int64)
        ready_ps = np.empty(packets, np.int64)
        done_ps = _send(program, sent[step], awake[step], silent_updates[step], packet, ready_ps)
        step_busy_ps = np.zeros(link_busy_ps.shape[0], np.int64)
        received_ps = _carry(program, packet, ready_ps, step_busy_ps, link_wait_ps, place_wait_ps)
        end_ps[step] = max(done_ps, received_ps)
        busiest[step] = -1
        most = 0
        for link in range(step_busy_ps.shape[0]):
            link_busy_ps[link] += step_busy_ps[link]
            if step_busy_ps[link] > most:
                most = step_busy_ps[link]
                busiest[step] = link


@numba.njit(cache=True, nogil=True)
def _send(
    program: NocProgram,
    sent: BoolArray,
    awake: BoolArray,
    silent_updates: IntArray,
    packet: IntArray,
    ready_ps: IntArray,
) -> int:
    """Go through all sources; fills in which packets leave, and when. Returns when all is done.

    Which of the silent compartments were updated is not known: they share the updates evenly.
    """
    number = 0
    latest = np.int64(0)
    for place in range(program.source_start.shape[0] - 1):
        first, last = program.source_start[place], program.source_start[place + 1]
        access_ps = updates = silent = np.int64(0)
        if place > 0:
            access_ps = program.access_ps[place] * awake[place - 1]
            updates = silent_updates[place - 1]
        for source in range(first, last):
            silent += not sent[source]
        clock = passed = updated = np.int64(0)
        for source in range(first, last):
            clock += access_ps
            if not sent[source]:
                passed += 1
                due = passed * updates // silent
                clock += (due - updated) * program.update_ps[place]
                updated = due
                continue
            clock += program.update_ps[place] + program.spike_ps[place]
            for entry in range(program.fan_start[source], program.fan_start[source + 1]):
                clock += program.packet_ps[place]
                packet[number] = entry
                ready_ps[number] = clock + program.local_ps[program.flow[entry]]
                number += 1
        latest = max(latest, clock)
    return int(latest)


@numba.njit(cache=True, nogil=True)
def _carry(
    program: NocProgram,
    packet: IntArray,
    ready_ps: IntArray,
    link_busy_ps: IntArray,
    link_wait_ps: IntArray,
    place_wait_ps: IntArray,
) -> int:
    """Take all packets to their receivers; returns when the last one is received."""
    count = packet.shape[0]
    link_free_ps = np.zeros(link_busy_ps.shape[0], np.int64)
    place_free_ps = np.zeros(place_wait_ps.shape[0], np.int64)
    at = program.path_start[program.flow[packet]]
    heap = ready_ps * count + np.arange(count)
    heap.sort()
    latest = np.int64(0)
    size = count
    while size > 0:
        now = heap[0] // count
        number = heap[0] - now * count
        flow = program.flow[packet[number]]
        if at[number] < program.path_start[flow + 1]:
            link = program.path[at[number]]
            start = max(now, link_free_ps[link])
            link_wait_ps[link] = max(link_wait_ps[link], start - now)
            link_busy_ps[link] += program.occupancy_ps[link]
            link_free_ps[link] = start + program.occupancy_ps[link]
            at[number] += 1
            heap[0] = (start + program.hop_ps[link]) * count + number
        else:
            place = program.receiver[flow]
            start = max(now, place_free_ps[place])
            place_wait_ps[place] = max(place_wait_ps[place], start - now)
            place_free_ps[place] = start + program.service_ps[packet[number]]
            latest = max(latest, place_free_ps[place])
            size -= 1
            heap[0] = heap[size]
        _sift_down(heap, size)
    return int(latest)


@numba.njit(cache=True, nogil=True)
def _sift_down(heap: IntArray, size: int) -> None:
    """Let the first item of a binary heap sink to where it belongs."""
    item = heap[0]
    hole = 0
    child = 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[hole] = heap[child]
        hole = child
        child = 2 * hole + 1
    heap[hole] = item
