"""What the links would carry if routers copied packets where the ways to several cores part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from mapping.ir.network import FloatArray
from mapping.ir.partitioned import Destination, PartitionedNetwork
from mapping.ir.routed import Routing
from mapping.ir.traffic import TrafficProfile
from mapping.targets.spec import MeshSpec


def multicast_loads(
    partitioned: PartitionedNetwork, routing: Routing, traffic: TrafficProfile, mesh: MeshSpec
) -> FloatArray:
    """``(tiles * 4,)`` expected packets over each link per step, one packet per spike and tree.

    The x-then-y routes from one tile to several form a tree, and a packet for all of them crosses
    each of its links once. Loihi sends one packet per receiving core instead (Davies et al. 2018).
    """
    loads = np.zeros(4 * mesh.columns * mesh.rows)
    flow_of = {pair: flow for flow, pair in enumerate(routing.pairs())}
    for source, destinations in partitioned.destinations.items():
        ways: dict[tuple[str, int], list[Destination]] = defaultdict(list)
        for destination in destinations:
            ways[destination.gate, destination.gates_needed].append(destination)
        for way, together in ways.items():
            rates = traffic.sent(source, *way)
            for sender, receivers, members in _alike(partitioned, source, together):
                paths = [routing.path(flow_of[sender, core]) for core in receivers]
                tree = np.unique(np.concatenate(paths))
                loads[tree] += rates[members].sum()
    return loads


def _alike(
    partitioned: PartitionedNetwork, source: str, destinations: list[Destination]
) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Sender, receivers and compartments, for all on one core with the same receivers."""
    home = partitioned.homes[source]
    reached = np.zeros((home.size, len(destinations)), np.bool_)
    for number, destination in enumerate(destinations):
        reached[destination.members, number] = True
    key = np.concatenate([home[:, None].view(np.uint8), np.packbits(reached, axis=1)], axis=1)
    _, first, kind = np.unique(key, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(np.ravel(kind), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(np.ravel(kind)))[:-1])
    for example, members in zip(first.tolist(), parts, strict=True):
        receivers = [destinations[n].core for n in np.flatnonzero(reached[example])]
        if receivers:
            yield int(home[example]), receivers, members
