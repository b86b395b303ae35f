"""Ways to cut a network into cores, by name; outsiders add theirs by entry points."""

from mapping.partitioners import first_fit
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
    "core_programs",
    "first_fit",
]
