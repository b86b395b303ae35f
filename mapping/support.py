"""The command ``adlrns-map support``: what is read of other tools' networks, and why not more."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mapping.console import JsonFlag, out, print_json, say
from mapping.ir.checkpoint import load_network
from mapping.netx import LAYERS, NEURONS, is_net, layers_of
from mapping.nir import NirConventions
from mapping.nir.lookup import NodeSupport, nodes_of
from mapping.nir.support import NODES

_HEADINGS = ("type", "status", "becomes", "if, or why not", "remedy")


def support_command(
    model: Annotated[
        Path | None,
        typer.Argument(help="NIR file, lava-dl .net file or checkpoint; without it, all types."),
    ] = None,
    dt: Annotated[float | None, typer.Option(help="NIR: step [s], as for compile.")] = None,
    integration: Annotated[str | None, typer.Option(help="NIR: euler or exp.")] = None,
    cuba_order: Annotated[str | None, typer.Option(help="NIR: new or previous.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell which NIR nodes and lava-dl layers are read, or what becomes of those in MODEL."""
    if model is None:
        _show_types(as_json=as_json)
        return
    given: dict[str, Any] = {"dt_s": dt, "integration": integration, "cuba_order": cuba_order}
    chosen = {name: value for name, value in given.items() if value is not None}
    rows = _rows(model, NirConventions(**chosen))
    refused = sum(row.refused for row in rows)
    if as_json:
        print_json({"supported": not refused, "nodes": [asdict(row) for row in rows]})
        return
    table = _table("name", "type", "status", "reason", "remedy")
    for row in rows:
        status = "refused" if row.refused else "read"
        table.add_row(*map(Text, (row.name or "(whole)", row.kind, status, row.reason, row.remedy)))
    out.print(table)
    say(f"{len(rows)} in all, {refused} refused.")


def type_rows() -> list[tuple[str, str, str, str, str]]:
    """Type, status, what it becomes, condition or reason, remedy, of all NIR and lava-dl types."""
    return [
        (name, support.status, support.becomes, support.reason, support.remedy)
        for name, support in (*NODES.items(), *LAYERS.items(), *NEURONS.items())
    ]


def _show_types(*, as_json: bool) -> None:
    if as_json:
        keys = ("type", "status", "becomes", "reason", "remedy")
        print_json({"types": [dict(zip(keys, row, strict=True)) for row in type_rows()]})
        return
    table = _table(*_HEADINGS)
    for row in type_rows():
        table.add_row(*map(Text, row))
    out.print(table)


def _rows(model: Path, conventions: NirConventions) -> list[NodeSupport]:
    if is_net(model):
        return layers_of(model)
    if model.is_file() or (model.suffix == ".nir" and not model.is_dir()):
        return nodes_of(model, conventions)
    network = load_network(model)
    return [
        NodeSupport(name=e.name, kind=type(e).__name__, refused=False, reason="as it is")
        for e in (*network.populations, *network.projections)
    ]


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE, collapse_padding=True, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
