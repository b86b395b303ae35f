"""Cut a quantised network into core programs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import networkx as nx

from mapping.errors import CapacityError, ConfigError
from mapping.ir.network import Input
from mapping.ir.partitioned import (
    CompartmentGroup,
    CoreProgram,
    PartitionedNetwork,
    SynapseTile,
    merged,
    runs,
)
from mapping.ir.quantized import IntegerProjection, IntegerRelay, QuantizedNetwork
from mapping.ir.timing import feed_forward_part
from mapping.registry import Registry
from mapping.targets.spec import ChipSpec

Partitioner = Callable[[QuantizedNetwork, ChipSpec, int], tuple[CoreProgram, ...]]
PARTITIONERS: Registry[Partitioner] = Registry("partitioner", "adlrns_map.partitioners")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Distribute compartments, and the synapses that end on them, over cores.

    Attributes:
        partitioner: name of a registered partitioner.
        neurons_per_core: cap on compartments per core, or None for the chip's own limit.
    """

    partitioner: str = "first-fit"
    neurons_per_core: int | None = None

    def run(self, network: QuantizedNetwork, chip: ChipSpec) -> PartitionedNetwork:
        """Core programs within every core resource of ``chip``.

        Raises:
            ConfigError: the partitioner is unknown (ADL-CFG-01) or ``neurons_per_core`` is
                outside 1..the chip's limit (ADL-CFG-05).
            CapacityError: a single compartment needs more than a core has (ADL-CAP-02 … 04) or
                the chip has too few cores (ADL-CAP-06).
        """
        limit = chip.core.compartments.value
        cap = limit if self.neurons_per_core is None else self.neurons_per_core
        if not 1 <= cap <= limit:
            raise ConfigError(
                f"{cap} neurons per core were asked for; {chip.name} has 1 to {limit}",
                where="neurons_per_core",
                remedy="choose a number in that range",
                code="ADL-CFG-05",
            )
        cores = PARTITIONERS.get(self.partitioner)(network, chip, cap)
        partitioned = PartitionedNetwork(
            name=network.name,
            dt_s=network.dt_s,
            populations=network.populations,
            projections=tuple(p.spec for p in network.projections),
            output=network.output,
            fidelity=network.fidelity,
            cores=cores,
        )
        if len(cores) > chip.cores:
            shares = {
                name: len(homes)
                for name, homes in partitioned.homes().items()
                if name != network.input.name
            }
            busiest = sorted(shares, key=lambda name: -shares[name])[:3]
            raise CapacityError(
                f"needs {len(cores)} cores, {chip.name} has {chip.cores}; most go to "
                + ", ".join(f"{name} ({shares[name]})" for name in busiest),
                where=f"network {network.name}",
                remedy="lower the rank or the weight bits, allow more neurons per core, or choose "
                "a bigger target",
                code="ADL-CAP-06",
            )
        return partitioned


@dataclass(slots=True)
class _OpenCore:
    groups: list[CompartmentGroup] = field(default_factory=list)
    tiles: list[SynapseTile] = field(default_factory=list)
    compartments: int = 0
    synapse_words: int = 0
    output_axons: int = 0
    sources: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    reserved: str = ""

    def columns(self, extra: dict[str, set[tuple[int, int]]]) -> dict[str, list[tuple[int, int]]]:
        """Source ranges that end here, with ``extra`` ones added."""
        names = {*self.sources, *extra}
        return {n: merged(self.sources.get(n, set()) | extra.get(n, set())) for n in names}


@dataclass(frozen=True, slots=True)
class _Need:
    """What a core would use of one resource after taking some compartments."""

    code: str
    resource: str
    used: int
    limit: int
    where: str = ""


@PARTITIONERS.register("first-fit")
def first_fit(
    network: QuantizedNetwork, chip: ChipSpec, neurons_per_core: int
) -> tuple[CoreProgram, ...]:
    """Fill cores in order of the data flow; each piece goes to the first core with room.

    Loops are cut open where they lead back, and relays first of all at the bounds of their rank
    blocks. A block that the host holds back while a gate is off gets cores of its own: they are
    dark, without a packet, as long as the gate is off.
    """
    filler = _FirstFit(network=network, chip=chip, cap=neurons_per_core)
    acyclic = feed_forward_part(network.graph(), network.input.name)
    for name in nx.lexicographical_topological_sort(acyclic):
        population = network.population(name)
        if isinstance(population, Input):
            continue
        bounds: tuple[int, ...] = (0, population.size)
        if isinstance(population, IntegerRelay):
            bounds = population.block_bounds
        for start, stop in itertools.pairwise(bounds):
            held_back = any(
                p.spec.gate and p.spec.target == name and p.spec.target_start == start
                for p in network.projections
            )
            filler.place(name, start, stop, reserved=f"{name}[{start}]" if held_back else "")
    return tuple(
        CoreProgram(groups=tuple(core.groups), tiles=tuple(core.tiles)) for core in filler.cores
    )


@dataclass(slots=True, kw_only=True)
class _FirstFit:
    network: QuantizedNetwork
    chip: ChipSpec
    cap: int
    cores: list[_OpenCore] = field(default_factory=list)

    def place(self, population: str, start: int, stop: int, *, reserved: str) -> None:
        """Place compartments ``start:stop``, in as many pieces as needed.

        Pieces share cores only with others that were placed under the same ``reserved``.
        """
        while start < stop:
            for core in self.cores:
                taken = 0
                if core.reserved == reserved:
                    taken = self._room(core, population, start, stop)
                if taken:
                    break
            else:
                core, taken = self._new_core(population, start, stop, reserved)
            self._take(core, population, start, start + taken)
            start += taken

    @property
    def _at_host(self) -> dict[str, list[tuple[int, int]]]:
        """The gates that report to the host."""
        gates = {p.spec.gate for p in self.network.projections if p.spec.gate}
        return {name: [(0, self.network.population(name).size)] for name in gates}

    def _new_core(
        self, population: str, start: int, stop: int, reserved: str
    ) -> tuple[_OpenCore, int]:
        core = _OpenCore(reserved=reserved)
        self.cores.append(core)
        taken = self._room(core, population, start, stop)
        if not taken:
            need = next(
                n for n in self._needs(core, population, start, start + 1) if n.used > n.limit
            )
            place = f"{population}[{start}]"
            what = f"to reach {place} it" if need.where else "one compartment alone"
            spread = "lower neurons_per_core, so that more cores share the sending, or " * bool(
                need.where
            )
            raise CapacityError(
                f"{what} needs {need.used:,} {need.resource}, a core of {self.chip.name} has "
                f"{need.limit:,}",
                where=need.where or place,
                remedy=f"{spread}lower the rank or the fan-in of the layer, use fewer weight bits, "
                "or choose a bigger target",
                code=need.code,
            )
        return core, taken

    def _room(self, core: _OpenCore, population: str, start: int, stop: int) -> int:
        """Largest number of compartments from ``start`` on that ``core`` can take."""
        if core.compartments >= self.cap or core.synapse_words > self.chip.core.synapse_words.value:
            return 0
        low, high = 0, min(stop - start, self.cap - core.compartments)
        while low < high:
            middle = (low + high + 1) // 2
            needs = self._needs(core, population, start, start + middle)
            low, high = (
                (middle, high) if all(n.used <= n.limit for n in needs) else (low, middle - 1)
            )
        return low

    def _needs(self, core: _OpenCore, population: str, start: int, stop: int) -> list[_Need]:
        incoming = self._incoming(population, start, stop)
        limits = self.chip.core
        words = core.synapse_words + sum(self._words(p, start, stop) for p in incoming)
        columns = core.columns(_sources(incoming, start, stop))
        before = core.columns({})
        axons = sum(end - begin for slices in columns.values() for begin, end in slices)
        needs = [
            _Need("ADL-CAP-01", "compartments", core.compartments + stop - start, self.cap),
            _Need("ADL-CAP-02", "synapse words", words, limits.synapse_words.value),
            _Need("ADL-CAP-03", "input axons", axons, limits.input_axons.value),
            _Need(
                "ADL-CAP-05",
                "compartment groups",
                len(core.groups) + (not _extends(core, population, start)),
                limits.compartment_groups.value,
            ),
        ]
        piece = CompartmentGroup(population=population, start=start, stop=stop)
        for sender in self.cores:
            groups = [*sender.groups, piece] if sender is core else sender.groups
            added = _covered(groups, columns) - _covered(sender.groups, before)
            if sender is core:
                added += sum(
                    _covered([piece], other.columns({}))
                    for other in self.cores
                    if other is not core
                ) + _covered([piece], self._at_host)
            if added:
                needs.append(
                    _Need(
                        "ADL-CAP-04",
                        "output axons",
                        sender.output_axons + added,
                        limits.output_axons.value,
                        ", ".join(map(str, groups)),
                    )
                )
        return needs

    def _take(self, core: _OpenCore, population: str, start: int, stop: int) -> None:
        incoming = self._incoming(population, start, stop)
        for projection in incoming:
            spec = projection.spec
            first, last = _rows(projection, start, stop)
            core.tiles.append(
                SynapseTile(
                    projection=self.network.projections.index(projection),
                    target_start=spec.target_start + first,
                    target_stop=spec.target_start + last,
                    synapses=projection.synapses.rows(first, last),
                )
            )
            core.synapse_words += self._words(projection, start, stop)
        for source, slices in _sources(incoming, start, stop).items():
            core.sources[source] |= slices
        if _extends(core, population, start):
            start = core.groups.pop().start
        core.groups.append(CompartmentGroup(population=population, start=start, stop=stop))
        core.compartments = sum(group.size for group in core.groups)
        columns = [self._at_host, *(other.columns({}) for other in self.cores)]
        for sender in self.cores:
            sender.output_axons = sum(_covered(sender.groups, c) for c in columns)

    def _incoming(self, population: str, start: int, stop: int) -> list[IntegerProjection]:
        return [
            p
            for p in self.network.projections
            if p.spec.target == population
            and max(start, p.spec.target_start) < min(stop, p.spec.target_stop)
        ]

    def _words(self, projection: IntegerProjection, start: int, stop: int) -> int:
        """Memory words that its synapses on the compartments ``start:stop`` take."""
        bits = projection.spec.weight_bits
        lists = projection.synapses.lists(*_rows(projection, start, stop))
        return sum(n * self.chip.core.words_per_axon(length, bits) for length, n in lists.items())


def _rows(projection: IntegerProjection, start: int, stop: int) -> tuple[int, int]:
    """The rows of ``projection`` among the compartments ``start:stop`` of its target."""
    spec = projection.spec
    return max(start, spec.target_start) - spec.target_start, min(
        stop, spec.target_stop
    ) - spec.target_start


def _extends(core: _OpenCore, population: str, start: int) -> bool:
    last = core.groups[-1] if core.groups else None
    return last is not None and (last.population, last.stop) == (population, start)


def _sources(
    projections: list[IntegerProjection], start: int, stop: int
) -> dict[str, set[tuple[int, int]]]:
    """What the compartments ``start:stop`` listen to, as ranges of each source."""
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for projection in projections:
        spec = projection.spec
        read = projection.synapses.reads(*_rows(projection, start, stop))
        found[spec.source] |= {
            (spec.source_start + begin, spec.source_start + end) for begin, end in runs(read)
        }
    return found


def _covered(groups: list[CompartmentGroup], columns: dict[str, list[tuple[int, int]]]) -> int:
    """How many of the groups' compartments lie in ``columns``: one output axon each."""
    return sum(
        max(0, min(group.stop, stop) - max(group.start, start))
        for group in groups
        for start, stop in columns.get(group.population, [])
    )
