"""Let every other partitioner try, and take the best result."""

from __future__ import annotations

import math

import numpy as np

from mapping.errors import CapacityError, MissingDependencyError
from mapping.ir.partitioned import PartitionedNetwork, packet_flows
from mapping.latency import DEFAULT_LATENCY_MODEL, LATENCY_MODELS, Work, step_time_s
from mapping.partitioners.hypergraph import irregular
from mapping.partitioners.problem import PARTITIONERS, Assignment, PartitionProblem


@PARTITIONERS.register("best")
def best(problem: PartitionProblem) -> Assignment:
    """What the partitioner finds that serves the goal best.

    The goals: ``energy``, the fewest packets that leave their core, the host's included, while
    what a core sends to itself is charged by the energy table but not counted here; ``latency``,
    the shortest step by the cost model, the barrier of as few tiles as the cores fill included;
    ``cores``, the fewest cores. Of equals it is the one with the fewest packets, then the fewest
    cores. What does not fit the chip comes last, and partitioners whose libraries are missing are
    left out, as is the one that would do as another does.

    Raises:
        CapacityError: of the first partitioner, if all fail.
    """
    found: list[tuple[tuple[float, ...], Assignment]] = []
    failed: list[CapacityError] = []
    for name in PARTITIONERS:
        if name == "best" or (name == "hypergraph" and not irregular(problem)):
            continue
        try:
            assignment = PARTITIONERS.get(name)(problem)
        except CapacityError as error:
            failed.append(error)
        except MissingDependencyError:
            continue
        else:
            if all(assignment != known for _, known in found):
                found.append((_rank(problem, problem.partitioned(assignment)), assignment))
    if not found:
        raise failed[0]
    return min(found, key=lambda entry: entry[0])[1]


def _rank(problem: PartitionProblem, partitioned: PartitionedNetwork) -> tuple[float, ...]:
    """Lower is better."""
    cores = len(partitioned.cores)
    packets = problem.traffic.remote_packets(partitioned)
    goal = packets
    if problem.goal == "latency":
        goal = _step_s(problem, partitioned)
    elif problem.goal == "cores":
        goal = cores
    return cores > problem.chip.cores, goal, packets, cores


def _step_s(problem: PartitionProblem, partitioned: PartitionedNetwork) -> float:
    """Duration of a mean step, before places are known: with the least tiles, and without links."""
    chip, flows = problem.chip, packet_flows(partitioned)
    tiles = math.ceil(len(partitioned.cores) / chip.mesh.cores_per_tile)
    unplaced = np.zeros((1, 1))
    work = Work(
        counts=problem.traffic.core_counts(partitioned, flows, chip.core),
        used_tiles=tiles,
        busiest_link=unplaced,
        busiest_chip_link=unplaced,
    )
    time = LATENCY_MODELS.get(DEFAULT_LATENCY_MODEL).time(chip, tiles)
    return float(step_time_s(work, chip, time).max())
