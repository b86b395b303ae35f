"""Where the codes of errors and design rules stand in the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("mapping", "simulators", "adlrns_neuro")
CODE = re.compile(r"ADL-[A-Z]{3}-\d{2}")


def mentioned(folder: Path) -> set[str]:
    """Codes that occur anywhere in the Python files of ``folder``."""
    return {code for path in folder.rglob("*.py") for code in CODE.findall(path.read_text())}


def in_use() -> dict[str, list[Path]]:
    """Codes that stand in the packages as a value, not in a docstring alone, with their files."""
    found: dict[str, list[Path]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                value = node.value if isinstance(node, ast.Constant) else None
                if isinstance(value, str) and CODE.fullmatch(value):
                    found.setdefault(value, []).append(path)
    return found
