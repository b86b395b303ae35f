"""The timing of packets for the console."""

from __future__ import annotations

from mapping.artifact.schema import Artifact
from mapping.ir.routed import link_ends
from mapping.units import with_prefix
from simulators.chip.noc import NocTiming


def noc_lines(artifact: Artifact, timing: NocTiming) -> list[str]:
    """Latency, longest waits and the busiest link, in sentences."""
    early, late = (with_prefix(latency_s, "s", digits=2) for latency_s in timing.interval_s)
    core_wait_s = timing.core_wait_s.max(axis=0)
    core = int(core_wait_s.argmax())
    lines = [
        f"Latency per inference: {with_prefix(timing.latency_s, 's')} with packets in transit and "
        f"in queues, {with_prefix(timing.simple_latency_s, 's')} without",
        f"The host sends its packets in {with_prefix(timing.host_s, 's')} of that",
        f"Status of the constants: {timing.status}; with each at its bound the latency is "
        f"{early} or {late}",
        f"Longest wait of a packet at a core: {with_prefix(core_wait_s[core], 's')}, core {core}",
    ]
    if timing.links.size:
        busy_s = timing.link_busy_s.mean(axis=0)
        busiest = int(busy_s.argmax())
        (x0, y0), (x1, y1) = link_ends(int(timing.links[busiest]), artifact.chip.mesh)
        lines.append(
            f"Busiest link: from tile {x0},{y0} to {x1},{y1}, taken "
            f"{busy_s[busiest] / timing.latency_s:.1%} of the time; longest wait for a link "
            f"{with_prefix(timing.link_wait_s.max(), 's')}"
        )
    return lines
