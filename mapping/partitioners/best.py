"""Let every other partitioner try, and take the best result."""

from __future__ import annotations

from mapping.errors import CapacityError, MissingDependencyError
from mapping.ir.partitioned import PartitionedNetwork, packet_flows
from mapping.latency import DEFAULT_LATENCY_MODEL, LATENCY_MODELS, core_time_s
from mapping.partitioners.hypergraph import irregular
from mapping.partitioners.problem import PARTITIONERS, Assignment, PartitionProblem


@PARTITIONERS.register("best")
def best(problem: PartitionProblem) -> Assignment:
    """What the partitioner finds that serves the goal best.

    The goals: ``energy``, the fewest packets that leave their core, the host's included, while
    what a core sends to itself is charged by the energy table but not counted here; ``latency``,
    the least time on the busiest core by the cost model; ``cores``, the fewest cores. Of equals
    it is the one with the fewest packets, then the fewest cores. What does not fit the chip comes
    last, and partitioners whose libraries are missing are left out, as is the one that would do
    as another does.

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
        chip, flows = problem.chip, packet_flows(partitioned)
        counts = problem.traffic.core_counts(partitioned, flows, chip.core)
        time = LATENCY_MODELS.get(DEFAULT_LATENCY_MODEL).time(chip, cores)
        goal = float(core_time_s(counts, chip, time).max())
    elif problem.goal == "cores":
        goal = cores
    return cores > problem.chip.cores, goal, packets, cores
