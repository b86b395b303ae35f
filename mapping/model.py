"""Load what the command line calls a model, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapping.errors import ConfigError
from mapping.ir.checkpoint import load_network
from mapping.ir.network import Network
from mapping.ir.quantized import QuantizedNetwork
from mapping.netx import is_net, read_net
from mapping.nir import NirConventions
from mapping.nir.read import read_as

_OF_NET = {"format": "lava-dl net", "reset": "zero", "cuba_order": "new"}
"""The conventions that all lava-dl networks follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network, and by which conventions its file was read; none for a checkpoint of ours.

    A file that holds integers already gives an integer network.
    """

    network: Network | QuantizedNetwork
    conventions: dict[str, str | float] = field(default_factory=dict)


def load_model(path: Path, **given: str | float | None) -> Model:
    """The model in ``path``: a NIR file, a lava-dl ``.net`` file or a checkpoint folder.

    Args:
        path: file or folder.
        given: fields of :class:`mapping.nir.NirConventions`; None for what was not asked for.

    Raises:
        ConfigError: there is nothing at ``path`` (ADL-MDL-06), or a convention was asked for, but
            the format leaves none open (ADL-NIR-10).
        AdlrnsError: as :func:`mapping.nir.read_nir`, :func:`mapping.netx.read_net` and
            :func:`mapping.ir.checkpoint.load_network` document.
    """
    if not path.exists() and path.suffix not in (".nir", ".net"):
        raise ConfigError(
            "no such file or folder",
            where=str(path),
            remedy="give a checkpoint folder with network.json in it, or a .nir or .net file",
            code="ADL-MDL-06",
        )
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if is_net(path):
        _refuse(chosen, "a lava-dl network")
        integers = read_net(path)
        return Model(network=integers, conventions={**_OF_NET, "dt": integers.dt_s})
    if path.is_file() or (path.suffix == ".nir" and not path.is_dir()):
        network, conventions = read_as(path, NirConventions(**chosen))
        return Model(network=network, conventions={"format": "NIR", **conventions})
    _refuse(chosen, "a checkpoint")
    return Model(network=load_network(path))


def _refuse(chosen: Mapping[str, object], what: str) -> None:
    if chosen:
        option = next(iter(chosen)).removesuffix("_s").replace("_", "-")
        raise ConfigError(
            f"{what} leaves no convention open",
            where=f"--{option}",
            remedy="drop the option; it is for NIR files",
            code="ADL-NIR-10",
        )


def load_compiled_model(
    path: Path, options: Mapping[str, str | int | float | None]
) -> Network | QuantizedNetwork:
    """The model in ``path``, read as it was when it was compiled.

    Args:
        path: file or folder.
        options: of the program's :class:`mapping.artifact.schema.Origin`.

    Raises:
        AdlrnsError: as :func:`load_model` documents.
    """
    given: dict[str, Any] = {}
    if path.is_file() and not is_net(path):
        given = {name: options.get(name) for name in ("reset", "integration", "cuba_order")}
        given["dt_s"] = options.get("dt")
    return load_model(path, **given).network
