"""Cut by structure: equal pieces of rank blocks, of rows, of the planes of a convolution."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from mapping.ir.partitioned import Members
from mapping.ir.quantized import IntegerPopulation
from mapping.ir.synapses import ConvShape
from mapping.partitioners.first_fit import largest
from mapping.partitioners.ledger import Core, Ledger, Trial
from mapping.partitioners.problem import PARTITIONERS, Assignment, PartitionProblem

MOST_CANDIDATES = 16
"""Cores that a piece is tried on: those that share most with it, then the earliest with room."""


@PARTITIONERS.register("balanced")
def balanced(problem: PartitionProblem) -> Assignment:
    """Cut every population into as few equal pieces as fit a core, and place them where least
    packets arise.

    The pieces of a population that a convolution ends on are boxes of channels, rows and columns,
    those of relays lie within a rank block, others are ranges. Taken in order of the data flow, a
    piece goes whole to the core on which it adds the fewest packets, and to a new one only where
    that is better than on all others or none has room. Blocks that the host holds back get cores
    of their own.

    Raises:
        CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 05).
    """
    return place(Ledger(problem), problem.in_order()).assignment()


def place(ledger: Ledger, populations: list[IntegerPopulation]) -> Ledger:
    """``ledger`` with equal pieces of ``populations`` on the cores that suit them best."""
    for population in populations:
        for members, reserved in _pieces(ledger, population):
            ledger.take(_cheapest(ledger, population.name, members, reserved))
    return ledger


def settle(ledger: Ledger, population: str, members: Members) -> None:
    """Put ``members`` where they add the fewest packets, in as many parts as it takes."""
    if members.size > 1 and not ledger.fits(ledger.trial(ledger.empty(), population, members)):
        for part in np.array_split(members, 2):
            settle(ledger, population, part)
    else:
        ledger.take(_cheapest(ledger, population, members, ""))


def _pieces(ledger: Ledger, population: IntegerPopulation) -> Iterator[tuple[Members, str]]:
    """Equal pieces of ``population`` that each fit a core of their own, with their reservations."""
    for start, stop, reserved in ledger.problem.units(population):
        conv = ledger.convolution(population.name)
        if conv is not None:
            cuts = _boxes(ledger, population.name, conv)
        else:
            count = -(-(stop - start) // _most(ledger, population.name, start, stop))
            cuts = np.array_split(np.arange(start, stop, dtype=np.int32), count)
        yield from ((members, reserved) for members in cuts)


def _most(ledger: Ledger, population: str, start: int, stop: int) -> int:
    """How many compartments from ``start`` on fit a core of their own."""
    trial = largest(ledger, ledger.empty(), population, start, stop)
    if trial is None:
        alone = np.arange(start, start + 1, dtype=np.int32)
        raise ledger.refuse(ledger.trial(ledger.empty(), population, alone))
    return int(trial.members.size)


def _boxes(ledger: Ledger, population: str, conv: ConvShape) -> list[Members]:
    """The fewest boxes that fit; of equally many, those to which the fewest packets go."""
    extents = conv.outputs
    least = -(-conv.size // ledger.problem.neurons_per_core)
    numbers = np.arange(conv.size, dtype=np.int32).reshape(extents)
    found: list[tuple[int, float, list[Members]]] = []
    for parts in sorted(itertools.product(*(range(1, n + 1) for n in extents)), key=np.prod):
        count = int(np.prod(parts))
        if count < least:
            continue
        if found and count > found[0][0]:
            break
        cuts = _cut(numbers, parts)
        if not ledger.fits(ledger.trial(ledger.empty(), population, cuts[0])):
            continue
        trials = [ledger.trial(ledger.empty(), population, box) for box in cuts]
        if all(map(ledger.fits, trials)):
            found.append((count, sum(map(ledger.packets, trials)), cuts))
    if not found:
        alone = ledger.trial(ledger.empty(), population, numbers.ravel()[:1])
        raise ledger.refuse(alone)
    return min(found, key=lambda entry: entry[:2])[2]


def _cut(numbers: Members, parts: tuple[int, ...]) -> list[Members]:
    """``numbers`` cut into so many parts along each axis."""
    boxes = [numbers]
    for axis, count in enumerate(parts):
        boxes = [part for box in boxes for part in np.array_split(box, count, axis=axis)]
    return [box.ravel() for box in boxes]


def _cheapest(ledger: Ledger, population: str, members: Members, reserved: str) -> Trial:
    """``members`` on the core where they add the fewest packets."""
    alone = ledger.trial(ledger.empty(), population, members)
    best, least = None, ledger.packets(alone)
    for core in _candidates(ledger, alone, reserved):
        trial = ledger.trial(core, population, members)
        if not ledger.fits(trial):
            continue
        added = ledger.packets(trial)
        if added < least or (best is None and added <= least):
            best, least = trial, added
    if best is not None:
        return best
    new = ledger.trial(ledger.open(reserved), population, members)
    if not ledger.fits(new):
        raise ledger.refuse(new)
    return new


def _candidates(ledger: Ledger, alone: Trial, reserved: str) -> list[Core]:
    """Cores that may have room, those first that share most sources with the piece."""
    shared = np.zeros(len(ledger.cores))
    for way, mask in alone.read.items():
        homes = ledger.home[way[0]][mask]
        here = homes >= 0
        shared += np.bincount(homes[here], ledger.rates[way][mask][here], len(ledger.cores))
    open_cores = ledger.with_room(alone, reserved)
    for core in open_cores:
        for way, mask in alone.read.items():
            if way in core.reads:
                shared[core.number] += float(ledger.rates[way][mask & core.reads[way]].sum())
    order = sorted(open_cores, key=lambda core: (-shared[core.number], core.number))
    return order[:MOST_CANDIDATES]
