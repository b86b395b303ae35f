"""Mesh rules: places and routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mapping.artifact.schema import Artifact
from mapping.ir.partitioned import HOST, packet_flows
from mapping.passes.route import xy_path
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
    tiles = {core: slot.tile(mesh) for core, slot in enumerate(slots) if slot.on_mesh(mesh)}
    tiles[HOST] = mesh.host_tile
    for flow, (source, target) in enumerate(have):
        known = source in tiles and target in tiles
        if known and routing.path(flow).tolist() != xy_path(tiles[source], tiles[target], mesh):
            yield (
                f"flow {source} → {target}",
                "its links are not the x-then-y path between its tiles",
                "route again",
            )
