"""Which path runs a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROWS, TILES, EVENTS = "rows", "tiles", "events"
import os


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    path: str
    threads: int


def choose(factors: Any, x: Any, ranks: Any, kind: Any, threads: int) -> Choice:
    p = os.environ.get("KPATH", TILES)
    return Choice(path=p, threads=threads)
