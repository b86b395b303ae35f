"""What the compiler knows of a chip; every figure carries its status and source."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal, TypeVar

from pydantic import Field

Status = Literal["silicon", "spice", "fit", "brief", "inferred", "assumed"]
PositiveInt = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An integer property of the chip, such as a capacity or a bit width."""

    value: int
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A physical constant; the truth is believed to lie in ``value / factor .. value * factor``."""

    value: NonNegative
    status: Status
    source: str
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A yes-or-no property of the chip."""

    value: bool
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The bit widths that a field of the chip may have."""

    value: Annotated[tuple[Width, ...], Field(min_length=1)]
    status: Status
    source: str

    def fitting(self, bits: int) -> int:
        """The least width of ``bits`` or more, or the widest where there is none."""
        return min((w for w in self.value if w >= bits), default=max(self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How many of something lie side by side: columns, then rows."""

    value: tuple[PositiveInt, PositiveInt]
    status: Status
    source: str


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
    are numbered along x, then along y; the host is attached at ``host_tile`` of chip 0.
    """

    width: PositiveInt
    height: PositiveInt
    cores_per_tile: PositiveInt
    usable_cores: Limit
    chips: Grid
    host_tile: tuple[int, int]
    status: Status
    source: str

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

    synaptic_op: Constant
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

    synaptic_op: Constant
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
class BarrierTable:
    """Duration of the barrier that ends a step: linear in the number of used tiles [s].

    ``all_tiles`` is that of a whole chip; over several chips the line goes on.
    """

    one_tile: Constant
    all_tiles: Constant
    shortest_step: Constant

    def duration_s(self, used_tiles: int, tiles_per_chip: int) -> float:
        """Barrier duration for ``used_tiles`` tiles of chips of ``tiles_per_chip`` [s]."""
        share = (used_tiles - 1) / (tiles_per_chip - 1) if tiles_per_chip > 1 else 0.0
        return self.one_tile.value + share * (self.all_tiles.value - self.one_tile.value)


Figure = Limit | Constant | Flag | Widths | Grid
Table = TypeVar("Table", EnergyTable, LatencyTable, NocTable, BarrierTable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipSpec:
    """One target: a chip, or a grid of chips of one kind.

    Attributes:
        name: target name.
        description: one sentence for people.
        energy_j: energy per action [J].
        latency_s: core time per action [s]; noc_s: time of packets in transit [s].
        barrier_s: what ends a step [s].
        static_power_w: power of one whole chip that does nothing [W].
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
    barrier_s: BarrierTable
    static_power_w: Constant

    @property
    def cores(self) -> int:
        """Number of cores that programs may use, over all chips."""
        return self.mesh.chip_count * self.mesh.usable_cores.value

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
            elif not isinstance(value, str):
                for item in fields(value):
                    entry = getattr(value, item.name)
                    if isinstance(entry, Figure):
                        found[f"{section.name}.{item.name}"] = entry
        return found

    def at_bound(self, exponent: Literal[-1, 1]) -> ChipSpec:
        """This chip with every constant at its lower (-1) or upper (+1) bound."""

        def moved(constant: Constant) -> Constant:
            return replace(constant, value=constant.value * constant.factor**exponent)

        def moved_all(table: Table) -> Table:
            return replace(table, **{f.name: moved(getattr(table, f.name)) for f in fields(table)})

        return replace(
            self,
            energy_j=moved_all(self.energy_j),
            latency_s=moved_all(self.latency_s),
            noc_s=moved_all(self.noc_s),
            barrier_s=moved_all(self.barrier_s),
            static_power_w=moved(self.static_power_w),
        )

    def estimate_status(self) -> Status:
        """The weakest status among the constants of energy and of latency without transit."""
        return self.weakest_status("energy_j.", "latency_s.", "barrier_s.", "static_power_w")

    def weakest_status(self, *prefixes: str) -> Status:
        """The weakest status among the figures whose names start with one of ``prefixes``."""
        order: tuple[Status, ...] = ("silicon", "spice", "fit", "brief", "inferred", "assumed")
        used = [c.status for n, c in self.constants().items() if n.startswith(prefixes)]
        return max(used, key=order.index)
