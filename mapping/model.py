"""Load what the command line calls a model, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapping.errors import ConfigError
from mapping.ir.checkpoint import load_network
from mapping.ir.network import Network
from mapping.nir import NirConventions, read_nir


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network, and by which conventions its file was read, if that left any open."""

    network: Network
    conventions: dict[str, str | float] = field(default_factory=dict)


def load_model(path: Path, **given: str | float | None) -> Model:
    """The model in ``path``: a NIR file or a checkpoint folder.

    Args:
        path: file or folder.
        given: fields of :class:`mapping.nir.NirConventions`; None for what was not asked for.

    Raises:
        ConfigError: ADL-NIR-10, a convention was asked for, but checkpoints leave none open.
        AdlrnsError: as :func:`mapping.nir.read_nir` and :func:`mapping.ir.checkpoint.load_network`
            document.
    """
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if path.is_file() or (path.suffix == ".nir" and not path.is_dir()):
        conventions = NirConventions(**chosen)
        network = read_nir(path, conventions)
        return Model(network=network, conventions=conventions.as_options(network.dt_s))
    if chosen:
        option = next(iter(chosen)).removesuffix("_s").replace("_", "-")
        raise ConfigError(
            "a checkpoint leaves no convention open",
            where=f"--{option}",
            remedy="drop the option; it is for NIR files",
            code="ADL-NIR-10",
        )
    return Model(network=load_network(path))


def load_compiled_model(path: Path, options: Mapping[str, str | int | float | None]) -> Network:
    """The model in ``path``, read as it was when it was compiled.

    Args:
        path: file or folder.
        options: of the program's :class:`mapping.artifact.schema.Origin`.

    Raises:
        AdlrnsError: as :func:`load_model` documents.
    """
    given: dict[str, Any] = {}
    if path.is_file():
        given = {name: options.get(name) for name in ("reset", "integration", "cuba_order")}
        given["dt_s"] = options.get("dt")
    return load_model(path, **given).network
