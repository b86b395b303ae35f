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
    """Every core program has a physical core of its own."""
    for slot, programs in Counter(artifact.placement.slots).items():
        if programs > 1:
            yield (
                f"chip {slot.chip} tile ({slot.x}, {slot.y}) core {slot.core}",
                f"{programs} core programs share it",
                "place the program again",
            )


@rule("ADL-MSH-02")
def on_mesh(artifact: Artifact) -> Iterator[Finding]:
    """Every physical core exists on the mesh."""
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
    """Every flow between cores on the mesh has one route, first along x, then along y."""
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
