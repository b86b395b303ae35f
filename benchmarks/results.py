"""The JSON that every benchmark writes: rows of one measurement beside its peers."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from mapping.artifact.atomic import atomic_file

Row = dict[str, object]


def row(
    case: str,
    metric: str,
    unit: str,
    ours: float,
    peers: Mapping[str, float],
    limit: float | None = None,
) -> Row:
    """One measurement; higher is better for ``best peer`` if the metric is a speed or accuracy.

    ``limit`` is what the machine, or whatever else bounds the metric, allows at best.
    """
    choose = max if metric in ("speed", "accuracy") else min
    return {
        "case": case,
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "peers": dict(peers),
        "limit": limit,
        "ratio_to_best_peer": ours / choose(peers.values()) if peers else None,
        "ratio_to_limit": None if limit is None else ours / limit,
    }


def write(path: Path, rows: Sequence[Row], packages: Sequence[str], **extra: object) -> None:
    """Rows, machine and versions of ``packages`` as JSON; ``extra`` comes along."""
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    versions = {name: version(name) for name in packages}
    content = {"rows": rows, "machine": machine, "versions": versions, **extra}
    with atomic_file(path) as work:
        work.write_text(json.dumps(content, indent=1) + "\n")
