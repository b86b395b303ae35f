"""The ranks at which a layer can run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mapping.errors import ConfigError


def checked_levels(
    levels: Sequence[int] | None,
    r_min: int | None,
    r_max: int | None,
    full_rank: int,
    *,
    where: str,
) -> tuple[int, ...]:
    """``levels`` as given, or the geometric ones from ``r_min`` to ``r_max``.

    Args:
        levels, r_min, r_max: the description of a layer's levels.
        full_rank: the highest rank that exists.
        where: what errors name.

    Raises:
        ConfigError: ``ADL-LAY-01`` unless they are strictly ascending ranks from 1 to
            ``full_rank``, given in exactly one of the two ways.
    """
    if levels is None and r_min is not None and r_max is not None:
        found = geometric_levels(r_min, r_max) if 1 <= r_min <= r_max else (r_min, r_max)
    elif levels is not None and r_min is None and r_max is None:
        found = tuple(levels)
    else:
        raise ConfigError(
            f"levels {levels}, r_min {r_min}, r_max {r_max} are not one description of the levels",
            where=where,
            remedy="pass either levels or both r_min and r_max",
            code="ADL-LAY-01",
        )
    ascending = all(low < high for low, high in pairwise(found))
    if not found or not ascending or found[0] < 1 or found[-1] > full_rank:
        raise ConfigError(
            f"levels {found} are not strictly ascending ranks from 1 to {full_rank}",
            where=where,
            remedy=f"list each rank once, smallest first, none above {full_rank}",
            code="ADL-LAY-01",
        )
    return found


def geometric_levels(r_min: int, r_max: int) -> tuple[int, ...]:
    """r_min, 2 r_min, 4 r_min, … below r_max, then r_max."""
    levels = []
    while r_min < r_max:
        levels.append(r_min)
        r_min *= 2
    return (*levels, r_max)
