"""Ways to cut a network into cores, by name; outsiders add theirs by entry points."""

from mapping.partitioners import balanced, best, first_fit, hypergraph
from mapping.partitioners.problem import (
    PARTITIONERS,
    Assignment,
    Goal,
    Partitioner,
    PartitionProblem,
)

__all__ = [
    "PARTITIONERS",
    "Assignment",
    "Goal",
    "PartitionProblem",
    "Partitioner",
    "balanced",
    "best",
    "first_fit",
    "hypergraph",
]
