"""Read chip targets: built-in ones by name, a user's own from a TOML file.

A target may name another as its ``base``, by name or as a ``.toml`` file beside it, and give only
what differs. Sections are merged; a figure is replaced whole, so that no value stands under the
status and source of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from mapping.descriptions import SUFFIX, Descriptions
from mapping.errors import TargetError
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.targets.figures import STEPS, Limit
from mapping.targets.spec import ChipSpec, MeshSpec

_ADAPTER = TypeAdapter(ChipSpec)
_TARGETS = Descriptions(
    package="mapping.targets",
    kind="target",
    listing="list targets with `adlrns-map targets list`",
    example="`adlrns-map targets show loihi2` prints a complete example",
    unknown="ADL-TGT-01",
    broken="ADL-TGT-02",
    invalid="ADL-TGT-03",
)
_OWN = ("name", "description")
"""Entries that no target takes from its base."""


def target_names() -> tuple[str, ...]:
    """Names of the built-in targets, sorted."""
    return _TARGETS.names()


def load_target(name_or_file: str | Path) -> ChipSpec:
    """The target called ``name_or_file``, or described by that TOML file.

    Raises:
        TargetError: unknown name or missing file (ADL-TGT-01), not TOML (ADL-TGT-02), an entry is
            missing, unknown or of the wrong type (ADL-TGT-03), or targets are each other's base
            (ADL-TGT-04).
    """
    text = str(name_or_file)
    return parse_target(_description(text), where=text)


def files_of(name_or_file: str | Path) -> tuple[Path, ...]:
    """The files that a target is made of: its own and those of its bases; built-in ones have none.

    Raises:
        TargetError: as of :func:`load_target`, one of them cannot be read.
    """
    bases = (Path(text).resolve() for text, _ in _with_bases(str(name_or_file)))
    return tuple(file for file in bases if file.suffix == SUFFIX)


def parse_target(data: object, *, where: str) -> ChipSpec:
    """Check a target description and build the :class:`ChipSpec`.

    Raises:
        TargetError: ADL-TGT-03, naming the entry at fault.
    """
    chip = _TARGETS.parse(_ADAPTER, data, where=where)
    for entry, holds, remedy in _conditions(chip):
        if not holds:
            raise TargetError(
                f"{entry} is {chip.constants()[entry].value}, for which nothing can be compiled",
                where=where,
                remedy=remedy,
                code="ADL-TGT-03",
            )
    mesh = chip.mesh
    x, y = mesh.host_tile
    slots, usable = mesh.tiles_per_chip * mesh.cores_per_tile, mesh.usable_cores.value
    if not (0 <= x < mesh.width and 0 <= y < mesh.height) or usable > slots:
        raise TargetError(
            f"mesh of {mesh.tiles_per_chip} tiles per chip holds {slots} cores; usable_cores is "
            f"{usable} and host_tile ({x}, {y})",
            where=where,
            remedy="keep usable_cores within the mesh of a chip and host_tile on that of the first",
            code="ADL-TGT-03",
        )
    for entry, fault in _misplaced_faults(mesh):
        raise TargetError(
            f"{entry}: {fault} is not on the mesh",
            where=where,
            remedy="give cores as [chip, x, y, core] and links as [column, row, direction], "
            "numbered from 0",
            code="ADL-TGT-03",
        )
    return chip


def _misplaced_faults(mesh: MeshSpec) -> Iterator[tuple[str, list[int | str]]]:
    """Entries and values of faults at places that do not exist."""
    if mesh.faulty is None:
        return
    for chip, x, y, core in mesh.faulty.cores:
        on_chip = x < mesh.width and y < mesh.height and core < mesh.cores_per_tile
        if not on_chip or chip >= mesh.chip_count:
            yield "mesh.faulty.cores", [chip, x, y, core]
    for column, row, direction in mesh.faulty.links:
        dx, dy = STEPS[direction]
        ends = (column, row), (column + dx, row + dy)
        if not all(0 <= x < mesh.columns and 0 <= y < mesh.rows for x, y in ends):
            yield "mesh.faulty.links", [column, row, direction]


_BOUNDS = {
    "core.block_header_bits": (0, 1024),
    "core.synapse_bits": (8, 1024),
    "numeric.weight_bits": (2, 8),
    "numeric.weight_exponent_min": (-31, 0),
    "numeric.weight_exponent_max": (0, 31),
    "numeric.state_bits": (24, 24),
    "numeric.activation_bits": (2, 18),
    "numeric.accumulator_bits": (2, 32),
    "numeric.payload_bits": (2, 32),
    "numeric.threshold_bits": (1, 17),
    "numeric.bias_mantissa_bits": (2, 24),
    "numeric.bias_exponent_max": (0, 7),
    "numeric.longest_delay": (0, LONGEST_DELAY),
}
"""What the chip model can express; every other limit is at least 1."""


def _conditions(chip: ChipSpec) -> Iterator[tuple[str, bool, str]]:
    """Rows of (entry, whether something can be compiled for it, remedy)."""
    for entry, constant in chip.constants().items():
        if isinstance(constant, Limit):
            low, high = _BOUNDS.get(entry, (1, 2**31))
            yield entry, low <= constant.value <= high, f"choose {low} to {high}"
    tiles = [number for number, _ in chip.barrier_s.by_tiles.value]
    yield "barrier_s.by_tiles", tiles == sorted(set(tiles)), "give points with rising tiles"
    widest = chip.numeric.weight_bits.value
    stored = min(chip.core.weight_widths.value) > 0 and max(chip.core.weight_widths.value) >= widest
    yield "core.weight_widths", stored, f"list widths of 1 to {widest} or more"


def target_data(chip: ChipSpec) -> dict[str, object]:
    """``chip`` as plain data, the inverse of :func:`parse_target`."""
    data: dict[str, object] = _ADAPTER.dump_python(chip, mode="json", exclude_none=True)
    return data


def _description(text: str) -> dict[str, object]:
    """The entries of the target called ``text``, on top of those of its base."""
    found: dict[str, object] = {}
    for _, entries in reversed(list(_with_bases(text))):
        found = _overlaid({k: v for k, v in found.items() if k not in _OWN}, entries)
    return found


def _with_bases(text: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Name or file, and own entries, of a target, its base, the base of that, and so on."""
    chain: list[str] = []
    base: object = text
    while isinstance(base, str):
        where = " → ".join((*chain, base))
        if os.path.realpath(base) in map(os.path.realpath, chain):
            raise TargetError(
                "is its own base",
                where=where,
                remedy="let one of these files give every entry itself, without a base",
                code="ADL-TGT-04",
            )
        chain.append(base)
        entries = _TARGETS.read(base, where=where)
        below = entries.pop("base", None)
        if not isinstance(below, str | None):
            raise TargetError(
                f"base: {below!r} is not the name or file of a target",
                where=where,
                remedy='write e.g. base = "loihi2", above the first section',
                code="ADL-TGT-03",
            )
        yield base, entries
        base = str(Path(base).parent / below) if below and below.endswith(SUFFIX) else below


def _overlaid(base: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    """``own`` entries over those of ``base``: sections are merged, figures replaced whole."""
    merged = dict(base)
    for key, entry in own.items():
        below = base.get(key)
        if isinstance(entry, dict) and isinstance(below, dict) and "value" not in below:
            merged[key] = _overlaid(below, entry)
        else:
            merged[key] = entry
    return merged
