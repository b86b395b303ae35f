"""Chips of a few compartments, so that limits bite on small networks."""

from __future__ import annotations

from dataclasses import replace

from mapping.targets.figures import Grid, Limit
from mapping.targets.load import load_target, target_data
from mapping.targets.spec import ChipSpec


def limit(value: int) -> Limit:
    """A figure made up for a test."""
    return Limit(value=value, status="assumed", source="made up for a test")


def tiny_chip(
    *,
    width: int | None = None,
    height: int | None = None,
    cores_per_tile: int | None = None,
    usable_cores: int | None = None,
    chips: tuple[int, int] = (1, 1),
    host_tile: tuple[int, int] = (0, 0),
    skip_idle_cores: bool | None = None,
    graded_spikes: bool | None = None,
    numeric: dict[str, int] | None = None,
    **core: int,
) -> ChipSpec:
    """``loihi2`` under the name ``tiny``, with some figures replaced.

    Args:
        width, height, cores_per_tile, host_tile: the mesh of a chip; ``usable_cores`` is as many as
            loihi2 has, but never more than the mesh holds.
        chips: columns and rows of chips.
        skip_idle_cores, graded_spikes: capabilities.
        numeric: limits of ``NumericSpec`` by name.
        core: limits of ``CoreSpec`` by name, e.g. ``compartments=4, synapse_words=100``.
    """
    chip = load_target("loihi2")
    mesh = replace(
        chip.mesh,
        width=width or chip.mesh.width,
        height=height or chip.mesh.height,
        cores_per_tile=cores_per_tile or chip.mesh.cores_per_tile,
        chips=Grid(value=chips, status="assumed", source="made up for a test"),
        host_tile=host_tile,
    )
    slots = mesh.width * mesh.height * mesh.cores_per_tile
    usable = min(slots, chip.cores) if usable_cores is None else usable_cores
    can = chip.capabilities
    if skip_idle_cores is not None:
        can = replace(can, skip_idle_cores=replace(can.skip_idle_cores, value=skip_idle_cores))
    if graded_spikes is not None:
        can = replace(can, graded_spikes=replace(can.graded_spikes, value=graded_spikes))
    return replace(
        chip,
        name="tiny",
        core=replace(chip.core, **{name: limit(value) for name, value in core.items()}),
        mesh=replace(mesh, usable_cores=limit(usable)),
        numeric=replace(chip.numeric, **{k: limit(v) for k, v in (numeric or {}).items()}),
        capabilities=can,
    )


def as_toml(chip: ChipSpec) -> str:
    """``chip`` as the text of a target file."""
    return _table("", target_data(chip))


def _table(path: str, entries: dict[str, object]) -> str:
    plain = {k: v for k, v in entries.items() if not isinstance(v, dict)}
    lines = [f"[{path}]"] if path else []
    lines += [f"{key} = {_scalar(value)}" for key, value in plain.items()]
    text = "\n".join(lines) + "\n\n" if plain else ""
    for key, value in entries.items():
        if isinstance(value, dict):
            text += _table(f"{path}.{key}" if path else key, value)
    return text


def _scalar(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return repr(value)
