"""Orders in which to go through the tiles of a rectangle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapping.ir.quantized import Int32Array


def raster(width: int, height: int) -> Int32Array:
    """``(tiles, 2)`` columns and rows: along x, then along y."""
    y, x = np.divmod(np.arange(width * height, dtype=np.int32), width)
    return np.stack([x, y], axis=1)


def bands(width: int, height: int, band: int) -> Int32Array:
    """``(tiles, 2)`` columns and rows, up to ``band`` rows at a time.

    Each column of a band is gone through from its top to its bottom; the columns from left to
    right and in the next band from right to left.
    """
    parts = []
    for number, top in enumerate(range(0, height, band)):
        x, y = np.divmod(
            np.arange(width * min(band, height - top), dtype=np.int32), min(band, height - top)
        )
        parts.append(np.stack([width - 1 - x if number % 2 else x, top + y], axis=1))
    return np.concatenate(parts)


def hilbert(width: int, height: int) -> Int32Array:
    """``(tiles, 2)`` columns and rows along a Hilbert curve, generalised to any rectangle.

    The curve goes along the longer side. A rectangle much longer than wide is cut across in two
    halves, any other one into three parts like Hilbert's (J. Červený, *gilbert*, 2018).
    """
    if width >= height:
        curve = list(_fill((0, 0), (width, 0), (0, height)))
    else:
        curve = list(_fill((0, 0), (0, height), (width, 0)))
    return np.array(curve, np.int32)


Vector = tuple[int, int]


def _fill(corner: Vector, along: Vector, across: Vector) -> Iterator[Vector]:
    """The tiles of a rectangle from ``corner``, ending at the far end of ``along``."""
    length, breadth = abs(sum(along)), abs(sum(across))
    step, side = _unit(along), _unit(across)
    if breadth == 1 or length == 1:
        one = step if breadth == 1 else side
        for number in range(max(length, breadth)):
            yield corner[0] + number * one[0], corner[1] + number * one[1]
        return
    half, slice_ = _halved(along), _halved(across)
    if 2 * length > 3 * breadth:
        if abs(sum(half)) % 2 and length > 2:
            half = _plus(half, step)
        yield from _fill(corner, half, across)
        yield from _fill(_plus(corner, half), _minus(along, half), across)
        return
    if abs(sum(slice_)) % 2 and breadth > 2:
        slice_ = _plus(slice_, side)
    yield from _fill(corner, slice_, half)
    yield from _fill(_plus(corner, slice_), along, _minus(across, slice_))
    last = _plus(_plus(corner, _minus(along, step)), _minus(slice_, side))
    yield from _fill(last, _minus((0, 0), slice_), _minus(half, along))


def _unit(v: Vector) -> Vector:
    return (v[0] > 0) - (v[0] < 0), (v[1] > 0) - (v[1] < 0)


def _halved(v: Vector) -> Vector:
    return int(v[0] / 2), int(v[1] / 2)


def _plus(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1]


def _minus(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1]
