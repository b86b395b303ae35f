from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mapping.targets.document import TARGETS, constants_page
from mapping.targets.figures import Constant, Curve
from mapping.targets.load import load_target

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "energy-constants.md"


def test_the_page_is_what_the_targets_say() -> None:
    command = [sys.executable, "-m", "mapping.targets.document"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert made.stdout.decode("utf-8") == constants_page() == PAGE.read_text("utf-8"), (
        "run: python -m mapping.targets.document > docs/energy-constants.md"
    )


@pytest.mark.parametrize("name", TARGETS)
def test_every_constant_stands_on_it_with_status_and_source(name: str) -> None:
    lines = constants_page().splitlines()
    for path, figure in load_target(name).constants().items():
        if isinstance(figure, Constant | Curve):
            entry = path.partition(".")[2] or path
            rows = [line for line in lines if line.startswith(f"| `{entry}` | {name} |")]
            assert any(f"| {figure.status} | {figure.source} |" in row for row in rows), path
