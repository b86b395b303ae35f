"""Whatever is wrong with an input, the command line says so and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_BYTES = 2**30
"""Of memory, for all cases one after the other."""
ERROR = re.compile(r"^ADL-[A-Z]{3}-[0-9]{2} · .+\. Remedy: .+\.$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module", params=["5", pytest.param("1", marks=pytest.mark.slow)])
def batch(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How every fifth case ended, or all, in a process whose memory can be measured."""
    ended = subprocess.run(
        [sys.executable, "-m", "support.malformed_run", request.param],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.timeout(600)
def test_many_inputs_are_malformed(batch: dict[str, Any]) -> None:
    endings = batch["endings"]
    assert len({ending["name"] for ending in endings}) == len(endings)
    assert sum(ending["code"] != 0 for ending in endings) > 300


def test_none_takes_much_memory(batch: dict[str, Any]) -> None:
    assert batch["peak_bytes"] < MOST_BYTES


def test_each_ends_in_one_clear_error(batch: dict[str, Any]) -> None:
    for ending in batch["endings"]:
        name, code, message = ending["name"], ending["code"], ending["message"]
        if code == 0:
            assert ending["harmless"], f"{name} was accepted"
            continue
        assert code in (2, 3), f"{name} ended with {code}: {message}"
        assert ERROR.search(message), f"{name} ended with: {message}"
        for leak in ("Traceback", "Internal error", "allow_pickle", "0x7f"):
            assert leak not in message, f"{name} ended with: {message}"


def test_only_what_is_too_much_for_a_chip_ends_with_3(batch: dict[str, Any]) -> None:
    codes = {e["name"]: e["code"] for e in batch["endings"] if not e["harmless"]}
    assert {name for name, code in codes.items() if code == 3} <= {
        "graph: weights beyond all bounds",
        "graph: a resistance beyond all",
        "checkpoint: populations payload_max huge",
    }


def test_nothing_is_left_on_disk(batch: dict[str, Any]) -> None:
    for ending in batch["endings"]:
        assert not ending["left"], ending["name"]
