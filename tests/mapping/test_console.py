"""How a program of commands ends, whatever happens in it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import typer

from mapping.console import JsonFlag, exit_code_of, run_program
from mapping.errors import CapacityError

APP = typer.Typer(rich_markup_mode=None)
FULL = CapacityError("too much", where="core 1", remedy="take less", code="ADL-CAP-01")


@APP.command()
def fail(how: str, as_json: JsonFlag = False) -> None:
    """End in some way."""
    ends: dict[str, BaseException] = {
        "full": FULL,
        "broken": ZeroDivisionError("by 0"),
        "left": SystemExit(7),
    }
    if how in ends:
        raise ends[how]


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as end:
        run_program(APP)
    return end.value.code


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("well", 0, ""),
        ("full", 3, "ADL-CAP-01 · core 1: too much. Remedy: take less.\n"),
        ("broken", 1, "Internal error: ZeroDivisionError: by 0."),
        ("left", 7, ""),
    ],
)
def test_every_end_has_its_exit_code_and_line(
    how: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(monkeypatch, how) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert "Traceback" not in shown.err


def test_a_wrong_option_is_a_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, "well", "--nothing") == 2


def test_json_and_debug_tell_more(capsys: pytest.CaptureFixture[str]) -> None:
    command = typer.main.get_command(APP)
    assert exit_code_of(command, ["full", "--json", "--debug"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"diagnostics": FULL.as_dicts()}
    assert "Traceback" in shown.err


def test_an_interrupt_before_the_command_begins_is_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loading(_: list[str]) -> None:
        raise KeyboardInterrupt

    assert exit_code_of(loading, []) == 1
    assert capsys.readouterr().err == "Interrupted.\n"
