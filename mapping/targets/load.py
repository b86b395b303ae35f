"""Read chip targets: built-in ones by name, a user's own from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mapping.errors import TargetError
from mapping.targets.spec import ChipSpec, Limit

_ADAPTER = TypeAdapter(ChipSpec)
_SUFFIX = ".toml"


def target_names() -> tuple[str, ...]:
    """Names of the built-in targets, sorted."""
    folder = resources.files("mapping.targets")
    return tuple(
        sorted(f.name.removesuffix(_SUFFIX) for f in folder.iterdir() if f.name.endswith(_SUFFIX))
    )


def load_target(name_or_file: str | Path) -> ChipSpec:
    """The chip called ``name_or_file``, or described by that TOML file.

    Raises:
        TargetError: unknown name or missing file (ADL-TGT-01), not TOML (ADL-TGT-02), or an entry
            is missing, unknown or of the wrong type (ADL-TGT-03).
    """
    text = str(name_or_file)
    try:
        if text in target_names():
            content = (resources.files("mapping.targets") / f"{text}{_SUFFIX}").read_text("utf-8")
        else:
            content = _read_file(text)
        return parse_target(tomllib.loads(content), where=text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(
            f"is not TOML ({error})",
            where=text,
            remedy="mend the file; `adlrns-map targets show loihi2` prints a complete example",
            code="ADL-TGT-02",
        ) from error


def parse_target(data: object, *, where: str) -> ChipSpec:
    """Check a target description and build the :class:`ChipSpec`.

    Raises:
        TargetError: ADL-TGT-03, naming the entry at fault.
    """
    try:
        chip = _ADAPTER.validate_python(data, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(str(part) for part in first["loc"])
        raise TargetError(
            f"{entry}: {first['msg']} ({error.error_count()} problems in all)",
            where=where,
            remedy="give every entry a value, a status and a source; nothing has a default",
            code="ADL-TGT-03",
        ) from error
    for entry, holds, remedy in _conditions(chip):
        if not holds:
            raise TargetError(
                f"{entry} is {chip.constants()[entry].value}, for which nothing can be compiled",
                where=where,
                remedy=remedy,
                code="ADL-TGT-03",
            )
    x, y = chip.mesh.host_tile
    slots = chip.tiles * chip.mesh.cores_per_tile
    if not (0 <= x < chip.mesh.width and 0 <= y < chip.mesh.height) or chip.cores > slots:
        raise TargetError(
            f"mesh of {chip.tiles} tiles holds {slots} cores; usable_cores is {chip.cores} and "
            f"host_tile ({x}, {y})",
            where=where,
            remedy="keep usable_cores within the mesh and host_tile on it",
            code="ADL-TGT-03",
        )
    return chip


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
}
"""What the chip model can express; every other limit is at least 1."""


def _conditions(chip: ChipSpec) -> Iterator[tuple[str, bool, str]]:
    """Rows of (entry, whether something can be compiled for it, remedy)."""
    for entry, constant in chip.constants().items():
        if isinstance(constant, Limit):
            low, high = _BOUNDS.get(entry, (1, 2**31))
            yield entry, low <= constant.value <= high, f"choose {low} to {high}"
    widest = chip.numeric.weight_bits.value
    stored = max(chip.core.weight_widths.value) >= widest
    yield "core.weight_widths", stored, f"list a width of {widest} or more"


def target_data(chip: ChipSpec) -> dict[str, object]:
    """``chip`` as plain data, the inverse of :func:`parse_target`."""
    data: dict[str, object] = _ADAPTER.dump_python(chip, mode="json")
    return data


def _read_file(text: str) -> str:
    path = Path(text)
    if path.suffix == _SUFFIX and path.is_file():
        return path.read_text("utf-8")
    names = target_names()
    near = get_close_matches(text, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TargetError(
        f"is neither a built-in target ({', '.join(names)}) nor a TOML file",
        where=text,
        remedy=f"{hint}list targets with `adlrns-map targets list` or give a path ending in .toml",
        code="ADL-TGT-01",
    )
