"""The sequential baseline: fill core after core in order of the data flow."""

from __future__ import annotations

import numpy as np

from mapping.partitioners.ledger import Core, Ledger, Trial
from mapping.partitioners.problem import PARTITIONERS, Assignment, PartitionProblem


@PARTITIONERS.register("first-fit")
def first_fit(problem: PartitionProblem) -> Assignment:
    """Fill cores in order of the data flow; each piece goes to the first core with room.

    Loops are cut open where they lead back, and relays first of all at the bounds of their rank
    blocks. A block that the host holds back while a gate is off gets cores of its own: they are
    dark, without a packet, as long as the gate is off.

    Raises:
        CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 05).
    """
    ledger = Ledger(problem)
    for population in problem.in_order():
        for start, stop, reserved in problem.units(population):
            while start < stop:
                trial = _first_with_room(ledger, population.name, start, stop, reserved)
                ledger.take(trial)
                start += trial.members.size
    return ledger.assignment()


def _first_with_room(
    ledger: Ledger, population: str, start: int, stop: int, reserved: str
) -> Trial:
    """The largest piece from ``start`` on that fits the first core that has room for any."""
    one = np.arange(start, start + 1, dtype=np.int32)
    alone = ledger.trial(ledger.empty(), population, one)
    for core in ledger.with_room(alone, reserved):
        if ledger.fits(ledger.trial(core, population, one)):
            trial = largest(ledger, core, population, start, stop)
            assert trial is not None
            return trial
    if not ledger.fits(alone):
        raise ledger.refuse(alone)
    found = largest(ledger, ledger.open(reserved), population, start, stop)
    assert found is not None
    return found


def largest(ledger: Ledger, core: Core, population: str, start: int, stop: int) -> Trial | None:
    """``core`` with as many compartments from ``start`` on as fit; None if not one does."""
    room = ledger.problem.neurons_per_core - core.compartments
    best: Trial | None = None
    low, high = 0, min(stop - start, room)
    while low < high:
        middle = (low + high + 1) // 2
        members = np.arange(start, start + middle, dtype=np.int32)
        trial = ledger.trial(core, population, members)
        if ledger.fits(trial):
            low, best = middle, trial
        else:
            high = middle - 1
    return best
