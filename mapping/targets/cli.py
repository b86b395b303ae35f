"""The command ``adlrns-map targets``: what is known of chips."""

from __future__ import annotations

from typing import Annotated

import typer

from mapping.console import JsonFlag, print_json, say
from mapping.summary import print_constants, print_descriptions
from mapping.targets.load import load_target, target_data, target_names

targets_app = typer.Typer(help="List, show and validate chip targets.", no_args_is_help=True)


@targets_app.command("list")
def targets_list(as_json: JsonFlag = False) -> None:
    """List the built-in targets."""
    print_descriptions(map(load_target, target_names()), as_json=as_json)


@targets_app.command("show")
def targets_show(
    target: Annotated[str, typer.Argument(help="Target name or TOML file.")],
    as_json: JsonFlag = False,
) -> None:
    """Show every figure of a target with its status and source."""
    chip = load_target(target)
    if as_json:
        print_json(target_data(chip))
    else:
        print_constants(chip.description, chip.constants())


@targets_app.command("validate")
def targets_validate(
    file: Annotated[str, typer.Argument(help="TOML file.")], as_json: JsonFlag = False
) -> None:
    """Check a target file of your own."""
    chip = load_target(file)
    if as_json:
        print_json({"name": chip.name, "valid": True})
    else:
        say(f"{chip.name} is complete: {len(chip.constants())} figures.")
