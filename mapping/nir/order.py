"""An order of populations and projections that does not depend on their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any

import numpy as np

from mapping.ir.network import Population, Projection

_ROUNDS = 8
"""Neighbours of neighbours that tell equal populations apart."""
_NAMES = ("name", "source", "target", "layer")


def marks(populations: Iterable[Population], projections: Iterable[Projection]) -> dict[str, bytes]:
    """By name, a digest of each element and of what surrounds it, whatever it is called.

    Elements with equal marks are alike, as far as eight steps away (Weisfeiler-Lehman refinement).
    """
    populations, projections = list(populations), list(projections)
    own = {e.name: _digest(e) for e in (*populations, *projections)}
    found: Mapping[str, bytes] = own
    for _ in range(min(_ROUNDS, len(populations))):
        around: dict[str, list[bytes]] = {name: [] for name in own}
        for p in projections:
            around[p.target].append(b"<" + own[p.name] + found[p.source])
            around[p.source].append(b">" + own[p.name] + found[p.target])
        found = {
            name: sha256(found[name] + b"".join(sorted(entries))).digest()
            for name, entries in around.items()
        }
    ends = {
        p.name: sha256(own[p.name] + found[p.source] + found[p.target]).digest()
        for p in projections
    }
    return dict(found) | ends


def _digest(element: Any) -> bytes:
    """Of all fields but the names; of arrays, their bytes."""
    digest = sha256(type(element).__name__.encode())
    for item in fields(element):
        if item.name in _NAMES:
            continue
        value = getattr(element, item.name)
        digest.update(item.name.encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.shape}".encode() + value.tobytes())
        elif hasattr(value, "__dataclass_fields__"):
            digest.update(_digest(value))
        else:
            digest.update(repr(value).encode())
    return digest.digest()
