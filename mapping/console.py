"""What every command says and how: JSON alone to stdout, errors and progress to stderr."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from typer.main import get_command

from mapping.errors import EXIT_INTERNAL, AdlrnsError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")]
ArtifactPath = Annotated[Path, typer.Argument(help="Folder that `compile -o` wrote.")]


def print_json(content: object) -> None:
    """Write ``content`` to stdout as JSON and nothing else."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def say(text: str) -> None:
    """Print ``text`` as it is; it may hold names and paths that look like markup."""
    out.print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print ``text`` to stderr as one line that can be searched and copied."""
    err.print(text, markup=False, soft_wrap=True)


def progress(*columns: ProgressColumn, hidden: bool) -> Progress:
    """What a terminal's stderr shows while something runs; nothing elsewhere."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *columns,
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=hidden or not err.is_terminal,
    )


@contextmanager
def progress_bar(name: str, *, total: int, hidden: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr while the block runs; yields what to tell of each advance."""
    with progress(BarColumn(), MofNCompleteColumn(), hidden=hidden) as shown:
        task = shown.add_task(name, total=total)
        yield lambda done: shown.advance(task, done)


def diagnostic_line(diagnostic: Mapping[str, object]) -> str:
    """One line for a finding of the design rules."""
    return "{code} · {where}: {message}. Remedy: {remedy}.".format(**diagnostic)


def run_program(app: typer.Typer) -> None:
    """Run a program of commands of one's own as ``adlrns-map`` runs its, and exit."""
    sys.exit(exit_code_of(get_command(app), sys.argv[1:]))


def exit_code_of(command: Callable[[list[str]], object], arguments: list[str]) -> int:
    """Run a command line and return its exit code; errors are printed, never raised.

    With ``--json`` among the arguments an error of ours goes to stdout, too, as JSON; with
    ``--debug``, which the command does not see, the traceback of any to stderr.
    """
    debug = "--debug" in arguments
    try:
        command([a for a in arguments if a != "--debug"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except AdlrnsError as error:
        return _reported(error, as_json="--json" in arguments, debug=debug)
    except KeyboardInterrupt:
        complain("Interrupted.")
        return EXIT_INTERNAL
    except Exception as error:
        complain(
            f"Internal error: {type(error).__name__}: {error}. Remedy: run again with --debug and "
            "report what it prints."
        )
        if debug:
            traceback.print_exc()
        return EXIT_INTERNAL
    return 0


def _reported(error: AdlrnsError, *, as_json: bool, debug: bool) -> int:
    found = error.as_dicts()
    if as_json:
        print_json({"diagnostics": found})
    for diagnostic in found:
        complain(diagnostic_line(diagnostic))
    if debug:
        traceback.print_exception(error)
    return error.exit_code
