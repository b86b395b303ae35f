"""The command ``adlrns-map processors``: what is known of conventional processors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mapping.console import JsonFlag, print_json
from mapping.processors.load import load_processor, processor_names
from mapping.summary import print_constants, print_descriptions

processors_app = typer.Typer(help="List and show models of processors.", no_args_is_help=True)


@processors_app.command("list")
def processors_list(as_json: JsonFlag = False) -> None:
    """List the built-in processors."""
    print_descriptions(map(load_processor, processor_names()), as_json=as_json)


@processors_app.command("show")
def processors_show(
    processor: Annotated[str, typer.Argument(help="Processor name or TOML file.")],
    as_json: JsonFlag = False,
) -> None:
    """Show every figure of a processor with its status and source."""
    shown = load_processor(processor)
    if as_json:
        print_json(asdict(shown))
    else:
        print_constants(shown.description, shown.constants())
