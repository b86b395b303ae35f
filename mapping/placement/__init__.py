"""Ways to place core programs on the mesh, by name; outsiders add theirs by entry points."""

from mapping.placement import anneal, starts
from mapping.placement.problem import PLACERS, PlacementProblem, Placer, Search

__all__ = ["PLACERS", "PlacementProblem", "Placer", "Search", "anneal", "starts"]
