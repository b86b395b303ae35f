"""What the compiler knows of a chip; every figure carries its status and source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

from mapping.errors import TargetError
from mapping.targets.figures import (
    Constant,
    Curve,
    Faults,
    Figure,
    Flag,
    Grid,
    Limit,
    PositiveInt,
    Status,
    Widths,
    weakest,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSpec:
    """Capacities of one core.

    Synapse memory holds one list per input axon, cut into blocks of at most ``block_synapses``
    with a header of ``block_header_bits`` each; a block starts on a word of its own. A synapse of
    8 weight bits takes ``synapse_bits``, and an index or a delay where it needs one, in one of
    ``index_widths`` or ``delay_widths``; a width of 0 says that ``synapse_bits`` has room for it.
    """

    compartments: Limit
    compartment_groups: Limit
    input_axons: Limit
    output_axons: Limit
    synapse_words: Limit
    word_bits: Limit
    synapse_bits: Limit
    weight_widths: Widths
    index_widths: Widths
    delay_widths: Widths
    block_synapses: Limit
    block_header_bits: Limit

    def words_per_axon(
        self, synapses: int, weight_bits: int, *, targets: int = 0, delay: int = 0
    ) -> int:
        """Memory words that one input axon's list takes.

        Args:
            synapses: length of the list.
            weight_bits: bits per weight; the chip stores them in the next width that it has.
            targets: compartments among which a synapse names its own by an index, 0 for dense
                lists, which need none.
            delay: longest delay of a synapse in the projection, in steps beyond one.
        """
        bits = self.synapse_bits.value - 8 + self.weight_widths.fitting(weight_bits)
        if targets:
            bits += self.index_widths.fitting((targets - 1).bit_length())
        if delay:
            bits += self.delay_widths.fitting(delay.bit_length())
        full, rest = divmod(synapses, self.block_synapses.value)
        words = full * self._block_words(self.block_synapses.value * bits)
        return words + (self._block_words(rest * bits) if rest else 0)

    def _block_words(self, bits: int) -> int:
        return -(-(bits + self.block_header_bits.value) // self.word_bits.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSpec:
    """Tiles of ``cores_per_tile`` cores, routed by dimension order, x first.

    A chip has ``width * height`` tiles, of whose cores programs may use ``usable_cores``. The
    meshes of a grid of ``chips`` join edge to edge to one mesh of ``columns * rows`` tiles. Chips
    are numbered along x, then along y; the host is attached at ``host_tile`` of chip 0. ``faulty``
    is None if no fault is known.
    """

    width: PositiveInt
    height: PositiveInt
    cores_per_tile: PositiveInt
    usable_cores: Limit
    chips: Grid
    host_tile: tuple[int, int]
    status: Status
    source: str
    faulty: Faults | None = None

    @property
    def columns(self) -> int:
        """Columns of tiles, over all chips."""
        return self.width * self.chips.value[0]

    @property
    def rows(self) -> int:
        """Rows of tiles, over all chips."""
        return self.height * self.chips.value[1]

    @property
    def chip_count(self) -> int:
        """Number of chips."""
        return self.chips.value[0] * self.chips.value[1]

    @property
    def tiles_per_chip(self) -> int:
        """Number of tiles of one chip."""
        return self.width * self.height

    @property
    def cores(self) -> int:
        """Number of cores that programs may use, over all chips: at most all without a fault."""
        per_chip = self.tiles_per_chip * self.cores_per_tile
        faulty = Counter(chip for chip, *_ in set(self.faulty.cores)) if self.faulty else Counter()
        lost = sum(max(0, n - per_chip + self.usable_cores.value) for n in faulty.values())
        return self.chip_count * self.usable_cores.value - lost

    def tile(self, chip: int, x: int, y: int) -> tuple[int, int]:
        """Column and row, over all chips, of tile ``(x, y)`` of ``chip``."""
        chip_y, chip_x = divmod(chip, self.chips.value[0])
        return chip_x * self.width + x, chip_y * self.height + y

    def tile_name(self, chip: int, x: int, y: int) -> str:
        """A tile for people: ``x,y``, on a grid of chips ``chip:x,y``."""
        return f"{chip}:{x},{y}" if self.chip_count > 1 else f"{x},{y}"

    def on_chip(self, column: int, row: int) -> tuple[int, int, int]:
        """Chip, x and y of a tile, the inverse of :meth:`tile`."""
        chip_x, x = divmod(column, self.width)
        chip_y, y = divmod(row, self.height)
        return chip_y * self.chips.value[0] + chip_x, x, y


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericSpec:
    """The number formats of compartments and synapses; delays count steps beyond one."""

    weight_bits: Limit
    weight_exponent_min: Limit
    weight_exponent_max: Limit
    state_bits: Limit
    activation_bits: Limit
    accumulator_bits: Limit
    payload_bits: Limit
    threshold_bits: Limit
    bias_mantissa_bits: Limit
    bias_exponent_max: Limit
    longest_delay: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Features that a chip has or lacks."""

    graded_spikes: Flag
    skip_idle_cores: Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTable:
    """Energy of each counted action [J]; see :class:`mapping.cost.ActionCounts`."""

    synaptic_op_dense: Constant
    synaptic_op_sparse: Constant
    synaptic_op_conv: Constant
    compartment_access: Constant
    compartment_update: Constant
    spike: Constant
    axon_out: Constant
    axon_in: Constant
    within_tile: Constant
    hop_east_west: Constant
    hop_north_south: Constant
    hop_chip: Constant
    host_packet: Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Time that a core spends on each action [s]."""

    synaptic_op_dense: Constant
    synaptic_op_sparse: Constant
    synaptic_op_conv: Constant
    compartment_access: Constant
    compartment_update: Constant
    spike: Constant
    axon_out: Constant
    axon_in: Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class NocTable:
    """Time that packets take between cores [s]; read where they are timed in transit.

    Attributes:
        within_tile: of a packet that crosses no link.
        hop_east_west, hop_north_south: from entering a link until leaving the next router.
        hop_chip: the same of a link between chips.
        link_occupancy: from one packet that enters a link to the next; chip_link_occupancy: the
            same of a link between chips.
        host_packet: that the host spends on each packet.
    """

    within_tile: Constant
    hop_east_west: Constant
    hop_north_south: Constant
    hop_chip: Constant
    link_occupancy: Constant
    chip_link_occupancy: Constant
    host_packet: Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineTable:
    """Time per action on the core with most of them [s], where the scarcest alone sets the pace.

    Attributes:
        compartment_update: per compartment whose state is computed.
        synaptic_op: per synapse, of any form.
        synapse_read: per word of synapse memory.
    """

    compartment_update: Constant
    synaptic_op: Constant
    synapse_read: Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierTable:
    """The barrier between steps [s].

    Attributes:
        by_tiles: its duration by the number of used tiles.
        shortest_step: no step takes less.
    """

    by_tiles: Curve
    shortest_step: Constant

    def duration_s(self, used_tiles: int) -> float:
        """Duration with ``used_tiles`` tiles [s]."""
        return self.by_tiles.at(used_tiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """Measured sums that the tables are held against, and never added to.

    Attributes:
        dynamic_per_synaptic_op_j: all dynamic energy of a program by its synaptic operations [J].
    """

    dynamic_per_synaptic_op_j: Constant


Table = TypeVar("Table", EnergyTable, LatencyTable, NocTable, AffineTable, BarrierTable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipSpec:
    """One target: a chip, or a grid of chips of one kind.

    Attributes:
        name: target name.
        description: one sentence for people.
        energy_j: energy per action [J].
        latency_s: core time per action [s]; noc_s: time of packets in transit [s].
        affine_s: time per action of the scarcest resource [s].
        barrier_s: what ends a step [s].
        static_power_w: power of one whole chip that does nothing [W].
        cross_check: sums that were measured, if any.
    """

    name: str
    description: str
    core: CoreSpec
    mesh: MeshSpec
    numeric: NumericSpec
    capabilities: Capabilities
    energy_j: EnergyTable
    latency_s: LatencyTable
    noc_s: NocTable
    affine_s: AffineTable
    barrier_s: BarrierTable
    static_power_w: Constant
    cross_check: CrossCheck | None = None

    @property
    def cores(self) -> int:
        """Number of cores that programs may use, over all chips."""
        return self.mesh.cores

    @property
    def tiles(self) -> int:
        """Number of tiles on the mesh, over all chips."""
        return self.mesh.chip_count * self.mesh.tiles_per_chip

    def constants(self) -> dict[str, Figure]:
        """Every figure under its dotted name, e.g. ``energy_j.synaptic_op``."""
        found: dict[str, Figure] = {}
        for section in fields(self):
            value = getattr(self, section.name)
            if isinstance(value, Constant):
                found[section.name] = value
            elif value is not None and not isinstance(value, str):
                for item in fields(value):
                    entry = getattr(value, item.name)
                    if isinstance(entry, Figure):
                        found[f"{section.name}.{item.name}"] = entry
        return found

    def at_bound(self, exponent: Literal[-1, 1]) -> ChipSpec:
        """This chip with every constant at its lower (-1) or upper (+1) bound."""
        return self._scaled(
            energy=lambda figure: figure.factor**exponent,
            time=lambda figure: figure.factor**exponent,
            static=lambda figure: figure.factor**exponent,
        )

    def at_operating_point(self, voltage: float, frequency: float) -> ChipSpec:
        """This chip at ``voltage`` and ``frequency`` times those that its tables hold for.

        Switching a capacitance takes energy in proportion to the voltage squared, all times are
        cycles, and a constant leakage current takes power in proportion to the voltage. Whether
        the chip works there is not known.

        Raises:
            TargetError: ADL-TGT-05, one of them is not a positive number.
        """
        for name, ratio in (("voltage", voltage), ("frequency", frequency)):
            if not (math.isfinite(ratio) and ratio > 0):
                raise TargetError(
                    f"a {name} of {ratio:g} times the nominal one is no operating point",
                    where=f"--{name}",
                    remedy="give a positive ratio, e.g. 0.9",
                    code="ADL-TGT-05",
                )
        return self._scaled(
            energy=lambda _: voltage**2, time=lambda _: 1 / frequency, static=lambda _: voltage
        )

    def _scaled(
        self,
        *,
        energy: Callable[[Constant | Curve], float],
        time: Callable[[Constant | Curve], float],
        static: Callable[[Constant | Curve], float],
    ) -> ChipSpec:
        """This chip with each constant times what the function of its kind says."""

        def each(table: Table, by: Callable[[Constant | Curve], float]) -> Table:
            entries = {f.name: getattr(table, f.name) for f in fields(table)}
            return replace(table, **{name: e.times(by(e)) for name, e in entries.items()})

        return replace(
            self,
            energy_j=each(self.energy_j, energy),
            latency_s=each(self.latency_s, time),
            noc_s=each(self.noc_s, time),
            affine_s=each(self.affine_s, time),
            barrier_s=each(self.barrier_s, time),
            static_power_w=self.static_power_w.times(static(self.static_power_w)),
        )

    def weakest_status(self, *prefixes: str) -> Status:
        """The weakest status among the figures whose names start with one of ``prefixes``."""
        return weakest(c.status for n, c in self.constants().items() if n.startswith(prefixes))
