"""What every level of a low-rank layer begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class FirstBlock:
    """The first rank block of some samples, which a run at one level leaves to one at another.

    Attributes:
        between: what lies between the factors, shape (..., levels[0], *positions*).
        output: what U makes of it, without a bias, shape (..., out, *positions*); None where that
            is not known, or differs from level to level since each has gains of its own.
    """

    between: Tensor
    output: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """What is known, in the order of the fields."""
        return (self.between,) if self.output is None else (self.between, self.output)

    def each(self, change: Callable[[Tensor], Tensor]) -> FirstBlock:
        """The same for other samples: ``change`` makes a part of theirs from one of these."""
        return FirstBlock(*map(change, self.parts))
