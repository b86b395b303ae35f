"""What every command says and how: JSON alone to stdout, errors and progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
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
