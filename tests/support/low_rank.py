"""Random low-rank calls, and how far float32 sums may be from float64 ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from simulators.kernels import PackedFactors, low_rank_reference
from simulators.kernels.chain_layers import LeveledLayer

TOLERANCE = 1e-5
ROUNDED_TOLERANCE = (1 + 2**-8) ** 4 - 1
"""Of products whose four factors are rounded to 8 bits each: x, V, what lies between, and U."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Arguments of a call; see :func:`simulators.kernels.low_rank_forward`."""

    x: np.ndarray
    U: np.ndarray
    V: np.ndarray
    ranks: np.ndarray
    scale: np.ndarray | None
    bias: np.ndarray | None

    def expected(self) -> np.ndarray:
        """What the equation says, in float64."""
        return low_rank_reference(
            self.x, self.U, self.V, self.ranks, scale=self.scale, bias=self.bias
        )

    def check(
        self, found: np.ndarray, *, path: str = "tiles", outputs_rounded: bool = False
    ) -> None:
        """Raise AssertionError unless ``found`` is as right as a path makes it, relative.

        Relative to the sum of what is added up, without signs: where terms cancel, the result is
        small and the rounding of the terms is not.
        """
        sizes = low_rank_reference(
            np.abs(self.x.astype(float)),
            np.abs(self.U),
            np.abs(self.V),
            self.ranks,
            scale=None if self.scale is None else np.abs(self.scale),
            bias=None if self.bias is None else np.abs(self.bias),
        )
        assert found.dtype == np.float32
        assert found.shape == sizes.shape
        tolerance = TOLERANCE + (path == "bfloat16") * ROUNDED_TOLERANCE
        tolerance += outputs_rounded * 2**-8 * (1 + tolerance)
        wrong = np.abs(found - self.expected()) > tolerance * sizes
        assert not wrong.any()


def random_call(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    batch: int,
    *,
    activity: float = 1.0,
    scaled: bool = False,
    biased: bool = False,
) -> Call:
    """A call on (out, in, r_max) factors whose samples have ranks 0 to r_max, both included."""
    outputs, inputs, r_max = shape
    ranks = rng.integers(0, r_max, batch, endpoint=True)
    ranks[: min(batch, 2)] = (r_max, 0)[: min(batch, 2)]
    x = rng.standard_normal((batch, inputs), np.float32)
    x *= rng.random(x.shape) < activity
    return Call(
        x=x,
        U=rng.standard_normal((outputs, r_max), np.float32),
        V=rng.standard_normal((inputs, r_max), np.float32),
        ranks=rng.permutation(ranks),
        scale=rng.standard_normal(r_max, np.float32) if scaled else None,
        bias=rng.standard_normal(outputs, np.float32) if biased else None,
    )


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Calls of all shapes: below, at and beyond the sizes of vectors, panels and tiles."""
    size = st.integers(1, 70) | st.sampled_from([16, 31, 32, 33, 64, 128, 200])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_call(
        rng,
        (draw(size), draw(size), draw(size)),
        draw(st.integers(1, 40)),
        activity=draw(st.sampled_from([1.0, 0.3, 0.02, 0.0])),
        scaled=draw(st.booleans()),
        biased=draw(st.booleans()),
    )


def factors_of(
    rng: np.random.Generator, outputs: int, inputs: int, r_max: int, *, bfloat16: bool = False
) -> PackedFactors:
    """Factors that keep the size of what passes."""
    U = rng.standard_normal((outputs, r_max)) / np.sqrt(r_max)
    V = rng.standard_normal((inputs, r_max)) / np.sqrt(inputs)
    return PackedFactors(U, V, bfloat16=bfloat16)


def leveled_layer(
    rng: np.random.Generator,
    outputs: int,
    inputs: int,
    ranks: tuple[int, ...],
    *,
    biased: bool = True,
    by_level: bool = True,
    rectified: bool = True,
    bfloat16: bool = False,
) -> LeveledLayer:
    """A layer with such factors, of rank 1 where no level has any, and biases by level or not."""
    factors = factors_of(rng, outputs, inputs, ranks[-1] or 1, bfloat16=bfloat16)
    bias = biases_of(rng, outputs, len(ranks), by_level=by_level) if biased else None
    return LeveledLayer(factors, ranks, bias, rectified)


def biases_of(
    rng: np.random.Generator, outputs: int, levels: int, *, by_level: bool = True
) -> np.ndarray:
    """What each level's outputs begin with beyond the one below: of all the same, or by level."""
    bias = rng.standard_normal((levels, outputs))
    if not by_level:
        bias[1:] = 0
    return bias


WIDTHS = st.lists(st.integers(1, 70) | st.sampled_from([64, 96]), min_size=2, max_size=4)
"""Of the layers of a chain: below, at and beyond two panels."""
BATCHES = st.integers(1, 40) | st.sampled_from([64, 65, 100])
"""Of a chain, also in several parts."""
