"""Who is on which core so far, what every core has left, and what the packets cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mapping.errors import CapacityError
from mapping.ir.network import FloatArray
from mapping.ir.partitioned import HOST, CompartmentGroup, Members, list_words
from mapping.ir.quantized import Int32Array, ProjectionSpec
from mapping.ir.synapses import ConvShape
from mapping.partitioners.problem import Assignment, PartitionProblem, within
from mapping.targets.spec import ChipSpec

Mask = npt.NDArray[np.bool_]
Way = tuple[str, str, int]
"""Source population and the condition under which it sends: a gate and the gates needed."""


@dataclass(slots=True, kw_only=True, eq=False)
class Core:
    """What is on one core so far.

    Attributes:
        number: of the core.
        reserved: cores take pieces under the same name only.
        members: by population; words: by projection; reads: by way, the sources listened to.
        compartments, synapse_words, input_axons, output_axons: used so far.
    """

    number: int
    reserved: str = ""
    members: dict[str, Members] = field(default_factory=dict)
    words: dict[int, int] = field(default_factory=dict)
    reads: dict[Way, Mask] = field(default_factory=dict)
    compartments: int = 0
    synapse_words: int = 0
    input_axons: int = 0
    output_axons: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is used of one resource of a core.

    Attributes:
        code: of the error when there is too little.
        resource: for people.
        used, limit: how much, and how much there is.
        sender: the core it is about, if it is another one.
    """

    code: str
    resource: str
    used: int
    limit: int
    sender: int = HOST


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What a core would hold after taking ``members`` of ``population``.

    Attributes:
        core: as it is now.
        population, members: what it would take; merged: all it would hold of the population.
        words: by projection into it; read: by way, the sources that the core would newly listen to.
        synapse_words, input_axons, output_axons: of the core.
        senders: output axons that each other core would have.
    """

    core: Core
    population: str
    members: Members
    merged: Members
    words: dict[int, int]
    read: dict[Way, Mask]
    synapse_words: int
    input_axons: int
    output_axons: int
    senders: dict[int, int]


class Ledger:
    """An assignment in the making.

    Args:
        problem: what is cut; all compartments are without a core at first.
    """

    def __init__(self, problem: PartitionProblem) -> None:
        network, self.problem = problem.network, problem
        self.cores: list[Core] = []
        self._used = np.zeros((2, 64), np.int64)
        self._reserved: dict[str, list[int]] = defaultdict(list)
        self._holding: dict[str, set[int]] = defaultdict(set)
        self._specs = [p.spec for p in network.projections]
        self._incoming: dict[str, list[int]] = defaultdict(list)
        for number, spec in enumerate(self._specs):
            self._incoming[spec.target].append(number)
        sizes = {p.name: p.size for p in network.populations}
        self.home: dict[str, Int32Array] = {
            name: np.full(size, HOST, np.int32) for name, size in sizes.items()
        }
        self.fan: dict[Way, Int32Array] = {
            _way(spec): np.zeros(sizes[spec.source], np.int32) for spec in self._specs
        }
        for gate in {spec.gate for spec in self._specs if spec.gate}:
            self.fan.setdefault((gate, "", 0), np.zeros(sizes[gate], np.int32))
            self.fan[gate, "", 0] += 1
        self._ways: dict[str, list[Way]] = defaultdict(list)
        for way in self.fan:
            self._ways[way[0]].append(way)
        self.rates: dict[Way, FloatArray] = {way: problem.traffic.sent(*way) for way in self.fan}

    def open(self, reserved: str = "") -> Core:
        """A new core."""
        core = Core(number=len(self.cores), reserved=reserved)
        self.cores.append(core)
        self._reserved[reserved].append(core.number)
        if core.number >= self._used.shape[1]:
            self._used = np.concatenate([self._used, np.zeros_like(self._used)], axis=1)
        return core

    def empty(self) -> Core:
        """A core that is on no list, to try what fits one."""
        return Core(number=len(self.cores))

    def with_room(self, alone: Trial, reserved: str) -> list[Core]:
        """Cores under ``reserved`` that may have room for what ``alone`` puts on an empty core.

        Those that hold more of its population already may need fewer words for it.
        """
        numbers = np.array(self._reserved[reserved], np.int64)
        compartments, words = self._used[:, numbers]
        few = compartments + alone.members.size <= self.problem.neurons_per_core
        slim = words + alone.synapse_words <= self.problem.chip.core.synapse_words.value
        holding = np.isin(numbers, list(self._holding[alone.population]))
        return [self.cores[number] for number in numbers[few & (slim | holding)]]

    def trial(self, core: Core, population: str, members: Members) -> Trial:
        """What ``core`` would hold with ``members``, which are rising and on no core yet."""
        held = core.members.get(population)
        merged = members if held is None else np.sort(np.concatenate([held, members]))
        words: dict[int, int] = {}
        read: dict[Way, Mask] = {}
        for number in self._incoming[population]:
            spec = self._specs[number]
            rows = within(members, spec)
            if not rows.size:
                continue
            words[number] = self.words(number, within(merged, spec))
            way = _way(spec)
            if way not in read:
                read[way] = np.zeros(self.home[spec.source].size, np.bool_)
            synapses = self.problem.network.projections[number].synapses
            read[way][spec.source_start : spec.source_stop] |= synapses.reads(
                rows - spec.target_start
            )
        senders: dict[int, int] = defaultdict(int)
        for way, mask in read.items():
            if way in core.reads:
                mask &= ~core.reads[way]
            homes = self.home[way[0]][mask]
            counts = np.bincount(homes[homes != HOST])
            for sender in np.flatnonzero(counts).tolist():
                senders[sender] += int(counts[sender])
        own = core.output_axons + senders.pop(core.number, 0)
        for way in self._ways[population]:
            own += int(self.fan[way][members].sum())
            if way in read:
                own += int(read[way][members].sum())
        replaced = sum(core.words.get(number, 0) for number in words)
        return Trial(
            core=core,
            population=population,
            members=members,
            merged=merged,
            words=words,
            read=read,
            synapse_words=core.synapse_words + sum(words.values()) - replaced,
            input_axons=core.input_axons + sum(int(mask.sum()) for mask in read.values()),
            output_axons=own,
            senders={
                sender: self.cores[sender].output_axons + added for sender, added in senders.items()
            },
        )

    def needs(self, trial: Trial) -> Iterator[Need]:
        """What every resource is used of after ``trial``."""
        limits = self.problem.chip.core
        core = trial.core
        compartments = core.compartments + trial.members.size
        groups = len({*core.members, trial.population})
        yield Need(
            code="ADL-CAP-01",
            resource="compartments",
            used=compartments,
            limit=self.problem.neurons_per_core,
        )
        for code, resource, used in (
            ("ADL-CAP-02", "synapse_words", trial.synapse_words),
            ("ADL-CAP-03", "input_axons", trial.input_axons),
            ("ADL-CAP-05", "compartment_groups", groups),
            ("ADL-CAP-04", "output_axons", trial.output_axons),
        ):
            yield Need(
                code=code,
                resource=resource.replace("_", " "),
                used=used,
                limit=getattr(limits, resource).value,
            )
        for sender, used in trial.senders.items():
            yield Need(
                code="ADL-CAP-04",
                resource="output axons",
                used=used,
                limit=limits.output_axons.value,
                sender=sender,
            )

    def fits(self, trial: Trial) -> bool:
        """Whether no resource is used beyond its limit."""
        return all(need.used <= need.limit for need in self.needs(trial))

    def packets(self, trial: Trial) -> float:
        """Expected packets per step, between cores and from the host, that ``trial`` adds."""
        total = 0.0
        for way, mask in trial.read.items():
            away = mask & (self.home[way[0]] != trial.core.number)
            if way[0] == trial.population:
                away[trial.members] = False
            total += float(self.rates[way][away].sum())
        for way in self._ways[trial.population]:
            if way in trial.core.reads:
                heard = trial.core.reads[way][trial.members]
                total -= float(self.rates[way][trial.members][heard].sum())
        return total

    def total_packets(self) -> float:
        """Expected packets per step, between cores and from the host, of all that is placed."""
        total = sum(float(self.rates[way] @ fan) for way, fan in self.fan.items())
        for core in self.cores:
            for way, mask in core.reads.items():
                total -= float(self.rates[way][mask & (self.home[way[0]] == core.number)].sum())
        return total

    def take(self, trial: Trial) -> None:
        """Have the core of ``trial`` take what it is about."""
        core = trial.core
        core.members[trial.population] = trial.merged
        core.words |= trial.words
        core.compartments += trial.members.size
        core.synapse_words, core.input_axons = trial.synapse_words, trial.input_axons
        core.output_axons = trial.output_axons
        for way, mask in trial.read.items():
            self.fan[way] += mask
            core.reads[way] = core.reads[way] | mask if way in core.reads else mask
        for sender, used in trial.senders.items():
            self.cores[sender].output_axons = used
        self._used[:, core.number] = core.compartments, core.synapse_words
        self._holding[trial.population].add(core.number)
        self.home[trial.population][trial.members] = core.number

    def convolution(self, population: str) -> ConvShape | None:
        """The geometry of the convolutions that end on ``population``, if any does."""
        shapes = (self._specs[number].conv for number in self._incoming[population])
        return next((conv for conv in shapes if conv is not None), None)

    def words(self, number: int, rows: Members) -> int:
        """Memory words that the synapses of a projection on the compartments ``rows`` take."""
        spec, core = self._specs[number], self.problem.chip.core
        synapses = self.problem.network.projections[number].synapses
        lists = synapses.lists(rows - spec.target_start)
        return list_words(lists, spec, rows.size, core)

    def refuse(self, trial: Trial) -> CapacityError:
        """The error for a compartment that does not even fit a core of its own."""
        need = next(n for n in self.needs(trial) if n.used > n.limit)
        place = f"{trial.population}[{trial.members[0]}]"
        chip = self.problem.chip
        if need.sender == HOST:
            what, where, spread = "one compartment alone", place, ""
        else:
            what, where = f"to reach {place} it", self._named(need.sender)
            spread = "lower neurons_per_core, so that more cores share the sending; "
        return CapacityError(
            f"{what} needs {need.used:,} {need.resource}, a core of {chip.name} has {need.limit:,}",
            where=where,
            remedy=spread
            + (smaller_fan_out(chip) if need.code == "ADL-CAP-04" else smaller_fan_in(chip)),
            code=need.code,
        )

    def _named(self, core: int) -> str:
        return ", ".join(map(str, self._groups(self.cores[core])))

    def _groups(self, core: Core) -> tuple[CompartmentGroup, ...]:
        return tuple(CompartmentGroup.of(*entry) for entry in core.members.items())

    def assignment(self) -> Assignment:
        """What is on each core that holds anything."""
        return tuple(self._groups(core) for core in self.cores if core.members)


def _way(spec: ProjectionSpec) -> Way:
    return spec.source, spec.gate, spec.gates_needed


def smaller_fan_in(chip: ChipSpec) -> str:
    """What to do about compartments of which one needs more of a core than it has."""
    rank = "the rank or " if chip.capabilities.graded_spikes.value else ""
    return f"lower {rank}the fan-in of the layer, use fewer weight bits, or choose a bigger target"


def smaller_fan_out(chip: ChipSpec) -> str:
    """What to do about compartments that send to more cores than theirs has output axons for."""
    rank = " or a lower rank" if chip.capabilities.graded_spikes.value else ""
    return (
        f"give the layers that it feeds fewer weight bits{rank}, so that they take fewer cores, "
        "or choose a bigger target"
    )
