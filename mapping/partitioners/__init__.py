"""Ways to cut a network into cores, by name; outsiders add theirs by entry points."""

from mapping.partitioners import balanced, first_fit, hypergraph
from mapping.partitioners.problem import (
    PARTITIONERS,
    Assignment,
    Partitioner,
    PartitionProblem,
    core_programs,
)

__all__ = [
    "PARTITIONERS",
    "Assignment",
    "PartitionProblem",
    "Partitioner",
    "balanced",
    "core_programs",
    "first_fit",
    "hypergraph",
]
