"""Mesh rules: places and routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from mapping.artifact.schema import Artifact
from mapping.ir.partitioned import packet_flows
from mapping.ir.routed import Routing, faulty_flows, link_ends, xy_links
from mapping.rules.base import Finding, rule


@rule("ADL-MSH-01")
def own_slot(artifact: Artifact) -> Iterator[Finding]:
    """Every core program has a physical core of its own.

    Why: a core runs one program.

    Fix: place the program again; a placer of your own must return each slot once.

    Example: a manifest that was edited by hand, so that two programs name core 0 of tile (0, 0).
    """
    for slot, programs in Counter(artifact.placement.slots).items():
        if programs > 1:
            yield (
                f"chip {slot.chip} tile ({slot.x}, {slot.y}) core {slot.core}",
                f"{programs} core programs share it",
                "place the program again",
            )


@rule("ADL-MSH-02", limits=("mesh.chips", "mesh.usable_cores"))
def on_mesh(artifact: Artifact) -> Iterator[Finding]:
    """Every physical core exists on the mesh.

    Why: a chip has a fixed number of tiles and of cores on a tile.

    Fix: place the program again for this very target.

    Example: core 4 of a tile, where tiles have the cores 0 to 3.
    """
    mesh = artifact.chip.mesh
    for number, slot in enumerate(artifact.placement.slots):
        if not slot.on_mesh(mesh) or not 0 <= slot.core < mesh.cores_per_tile:
            yield (
                f"core {number}",
                f"is placed on core {slot.core} of tile ({slot.x}, {slot.y}), chip {slot.chip}, "
                f"which {artifact.chip.name} lacks",
                "place the program again",
            )


@rule("ADL-MSH-03")
def dimension_order(artifact: Artifact) -> Iterator[Finding]:
    """Every flow between cores on the mesh has one route, first along x, then along y.

    Why: the routers of the mesh forward a packet along x until its column is reached, then along y
    (dimension order, which cannot deadlock).

    Fix: route again after every change of places.

    Example: a program whose cores were moved in the manifest, while the old routes stayed.
    """
    routing, mesh = artifact.routing, artifact.chip.mesh
    have = routing.pairs()
    wanted = packet_flows(artifact.partitioned)
    if have != wanted:
        lost = sorted(set(wanted) ^ set(have))
        yield "routes", f"do not match the packet flows, e.g. {lost[:1]}", "route again"
        return
    slots = artifact.placement.slots
    on_mesh = np.array([*(slot.on_mesh(mesh) for slot in slots), True])
    tiles = artifact.placement.tiles(mesh)
    known = on_mesh[routing.source] & on_mesh[routing.target]
    chosen = np.flatnonzero(known)
    source, target = routing.source[chosen], routing.target[chosen]
    offsets, links = xy_links(tiles[source], tiles[target], mesh)
    lengths = np.diff(routing.offsets)
    same = lengths[chosen] == np.diff(offsets)
    for flow in chosen[~same].tolist():
        yield _off_order(routing, flow)
    kept = np.repeat(known, lengths)
    kept[kept] = np.repeat(same, lengths[chosen])
    wanted_links = links[np.repeat(same, np.diff(offsets))]
    flows = np.repeat(np.arange(routing.flows), lengths)[kept]
    for flow in np.unique(flows[routing.links[kept] != wanted_links]).tolist():
        yield _off_order(routing, flow)


def _off_order(routing: Routing, flow: int) -> Finding:
    return (
        f"flow {routing.source[flow]} → {routing.target[flow]}",
        "its links are not the x-then-y path between its tiles",
        "route again",
    )


@rule("ADL-MSH-04")
def sound_cores(artifact: Artifact) -> Iterator[Finding]:
    """No core program is on a faulty core.

    Why: the target says that the core is broken.

    Fix: compile again for this target; its placers leave out faulty cores.

    Example: a program that was compiled before a self-test added core 1 of tile (3, 0) to the
    target's `mesh.faulty`.
    """
    faults = artifact.chip.mesh.faulty
    broken = set(faults.cores) if faults else set()
    for number, slot in enumerate(artifact.placement.slots):
        if (slot.chip, slot.x, slot.y, slot.core) in broken:
            yield (
                f"core {number}",
                f"is placed on the faulty core {slot.core} of tile ({slot.x}, {slot.y}), "
                f"chip {slot.chip}",
                "compile again for this target",
            )


@rule("ADL-MSH-05")
def sound_links(artifact: Artifact) -> Iterator[Finding]:
    """No route takes a faulty link.

    Why: the target says that the link is broken, and a packet cannot leave the order x, then y.

    Fix: compile again for this target with the placer `anneal`, which looks for places whose routes
    avoid faulty links.

    Example: a program that was compiled before the link east of tile (0, 0) was added to the
    target's `mesh.faulty`.
    """
    routing, mesh = artifact.routing, artifact.chip.mesh
    for flow, link in faulty_flows(routing, mesh):
        (x, y), (to_x, to_y) = link_ends(link, mesh)
        yield (
            f"flow {routing.source[flow]} → {routing.target[flow]}",
            f"takes the faulty link from tile ({x}, {y}) to ({to_x}, {to_y})",
            "compile again for this target",
        )
