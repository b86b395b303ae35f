"""Curve files made up for tests."""

from __future__ import annotations

from typing import Any

from mapping.artifact.schema import Artifact


def curve_record(artifact: Artifact, *, accuracy: bool = True) -> dict[str, Any]:
    """A curve of ``artifact`` with three budgets and two baselines, as plain data."""
    cores = len(artifact.partitioned.cores)
    return {
        "schema": "adlrns-curve/1",
        "dataset": "digits",
        "split": "test",
        "samples": 360,
        "target": artifact.chip.name,
        "adaptive": {
            "name": "adaptive 2-4",
            "program": artifact.origin.fingerprint(),
            "points": [_point(share, cores, accuracy) for share in (0.5, 1.0, 0.75)],
        },
        "baselines": [
            _measured(1.25, accuracy) | {"name": "dense 8", "kind": "dense", "cores": cores},
            _measured(0.6, accuracy) | {"name": "static rank 2", "kind": "static", "cores": cores},
        ],
    }


def _measured(share: float, accuracy: bool) -> dict[str, Any]:
    return {
        "accuracy": 0.9 + 0.05 * min(share, 1.0) if accuracy else None,
        "dynamic_j": 2e-7 * share,
        "static_j": 1e-7,
        "static_chip_j": 1e-6,
        "latency_s": 8e-6,
    }


def _point(share: float, cores: int, accuracy: bool) -> dict[str, Any]:
    return _measured(share, accuracy) | {
        "budget_j": 2.5e-7 * share,
        "price": 1.0 - share,
        "ranks": {"enc": {"2": 1.0 - share, "4": share}},
        "mean_rank": {"enc": 2.0 + 2.0 * share},
        "core_dynamic_j": [2e-7 * share / cores] * cores,
        "core_dark_share": [1.0 - share] * cores,
    }
