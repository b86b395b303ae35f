"""Cluster graphs of layered networks, as placement papers use them."""

from __future__ import annotations

import numpy as np

from mapping.placement.problem import PlacementProblem

FAN_OUT = 4
"""Clusters of the next layer that a cluster of a convolution feeds."""


def dense(side: int, seed: int = 0) -> PlacementProblem:
    """``side`` layers of ``side`` clusters, each feeding all of the next layer.

    The last layer takes part in no flow. Packets are uniform in 0 .. 1.
    """
    clusters = np.arange(side * side).reshape(side, side)
    source = np.repeat(clusters[:-2].ravel(), side)
    target = np.repeat(clusters[1:-1], side, axis=0).ravel()
    return _on_grid(side, source, target, seed)


def convolution(side: int, seed: int = 0) -> PlacementProblem:
    """The same, but cluster ``j`` feeds clusters ``j .. j + 3`` alone, as far as there are."""
    clusters = np.arange(side * side).reshape(side, side)
    source, target = [], []
    for shift in range(FAN_OUT):
        source.append(clusters[:-2, : side - shift].ravel())
        target.append(clusters[1:-1, shift:].ravel())
    return _on_grid(side, np.concatenate(source), np.concatenate(target), seed)


def _on_grid(side: int, source: np.ndarray, target: np.ndarray, seed: int) -> PlacementProblem:
    packets = np.random.default_rng(seed).random(len(source))
    return PlacementProblem.on_grid(side, side, np.stack([source, target], axis=1), packets)
