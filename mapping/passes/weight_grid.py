"""Weights on the chip's grid: the scale, mantissas and exponents that round them least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, log2

import numpy as np

from mapping.ir.network import FloatArray, Wiring
from mapping.ir.quantized import WeightFidelity
from mapping.ir.ranges import PayloadRange, Reach, delivered_range
from mapping.ir.synapses import ConvSynapses, Synapses
from mapping.targets.spec import NumericSpec

_SCALES_TRIED = 33
_WEIGHTS_TRIED = 2**14
"""Of a larger piece, so many weights of evenly spread rows stand for all when scales are compared;
at the chosen scale all are rounded."""


@dataclass(slots=True, kw_only=True)
class Source:
    """One block of source compartments: what it sends, float value of a payload unit."""

    start: int
    stop: int
    reach: Reach
    unit: float


@dataclass(slots=True, kw_only=True)
class Piece:
    """The weights from one source block to one target block, in float units per payload unit.

    Attributes:
        weight_bits: bits per mantissa.
    """

    wiring: Wiring
    source: Source
    weight: Synapses
    suffix: str
    weight_bits: int
    gates_needed: int = 0

    @property
    def per_unit(self) -> Synapses:
        """Weights per payload unit, in float units of the target."""
        return self.weight.with_values(self.weight.values * self.source.unit)

    @property
    def largest(self) -> float:
        """Largest magnitude of a weight per payload unit [float units]."""
        return float(np.abs(self.per_unit.values).max(initial=0.0))

    @property
    def top(self) -> float:
        """The largest weight on the grid."""
        return (2.0 ** (self.weight_bits - 1) - 1) * self.unit

    @property
    def unit(self) -> float:
        """A weight per mantissa unit."""
        return 2.0 ** (9 - self.weight_bits)


@dataclass(slots=True, kw_only=True)
class Image:
    """A piece on the grid, with its squared output error in float units.

    Attributes:
        unit: of a weight per mantissa unit.
    """

    exponent: int
    mantissas: Synapses
    error: float
    unit: float

    def on_grid(self) -> Synapses:
        """The weights."""
        return self.mantissas.with_values(self.mantissas.values * self.unit)


@dataclass(slots=True, kw_only=True)
class Fit:
    """The images of all pieces at one scale and the largest integer input that they make."""

    scale: float
    images: list[Image]
    peak: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightGrid:
    """The grid that weights lie on, by the chip's formats."""

    numeric: NumericSpec

    def unshifted(self, pieces: list[Piece]) -> float:
        """The scale at which the weights need no left shift."""
        return min((piece.top / piece.largest for piece in pieces if piece.largest), default=inf)

    def fit(
        self,
        pieces: list[Piece],
        ranges: list[PayloadRange],
        size: int,
        ceiling: float,
        largest_input: float,
        *,
        rounded: float = 1,
    ) -> Fit:
        """Scale, mantissas and exponents with the smallest weighted rounding error.

        Args:
            pieces: everything that the ``size`` target compartments receive.
            ranges: of the payloads of each piece, for the bound on the input.
            size: number of target compartments.
            ceiling: largest scale that thresholds and biases allow.
            largest_input: bound on the magnitude of the integer input.
            rounded: as in :func:`mapping.ir.ranges.delivered_range`.
        """
        peak = worst_input(pieces, ranges, size)
        if peak:
            ceiling = min(ceiling, largest_input / peak)
            shifted = 2.0**self.numeric.weight_exponent_max.value
            ceiling = min(ceiling, self.unshifted(pieces) * shifted)
        elif ceiling == inf:
            ceiling = 1.0
        tried = [_sample(piece) for piece in pieces]
        while True:
            scales = np.geomspace(ceiling, ceiling / 2, _SCALES_TRIED).tolist()
            errors = [sum(self._round(piece, scale).error for piece in tried) for scale in scales]
            scale = scales[int(np.argmin(errors))]
            best = self._round_all(pieces, ranges, size, scale, rounded)
            if best.peak <= largest_input:
                return best
            ceiling *= 0.95

    def _round_all(
        self,
        pieces: list[Piece],
        ranges: list[PayloadRange],
        size: int,
        scale: float,
        rounded: float,
    ) -> Fit:
        images = [self._round(piece, scale) for piece in pieces]
        parts = (
            (image.on_grid(), image.exponent, payloads)
            for image, payloads in zip(images, ranges, strict=True)
        )
        peak = float(delivered_range(parts, size, rounded=rounded).magnitude.max())
        return Fit(scale=scale, images=images, peak=peak)

    def _round(self, piece: Piece, scale: float) -> Image:
        """Mantissas and exponent of one piece; one exponent less, with clipping, is tried too."""
        wanted = piece.per_unit.values * scale
        largest = float(np.abs(wanted).max(initial=0.0))
        low, high = (self.numeric.weight_exponent_min.value, self.numeric.weight_exponent_max.value)
        exact = ceil(log2(largest / piece.top)) if largest else 0
        exact = min(max(exact, low), high)
        accumulator = 2 ** (self.numeric.accumulator_bits.value - 1) - 1
        reach = piece.source.reach.packet.magnitude
        weight_of = piece.weight.per_value(reach)
        nothing = np.zeros_like(reach)
        bound = 2 ** (piece.weight_bits - 1)
        images: list[Image] = []
        for exponent in range(max(exact - 1, low), high + 1):
            unit = piece.unit * 2.0**exponent
            mantissas = np.clip(np.rint(wanted / unit), -bound, bound - 1)
            miss = (mantissas * unit - wanted) / scale * weight_of
            image = Image(
                exponent=exponent,
                mantissas=piece.weight.with_values(mantissas),
                error=float((miss**2).sum()),
                unit=piece.unit,
            )
            sums = piece.weight.with_values(np.abs(mantissas)).sum_range(nothing, reach)[1]
            peak_sum = float(sums.max(initial=0.0)) * piece.unit
            if peak_sum <= accumulator or exponent == high:
                images.append(image)
            if images and exponent >= exact:
                break
        return min(images, key=lambda image: image.error)


def _sample(piece: Piece) -> Piece:
    """``piece`` with fewer rows, if it is large."""
    rows, _ = piece.weight.shape
    kept = max(1, _WEIGHTS_TRIED // max(1, piece.weight.values.size // max(1, rows)))
    if kept >= rows or isinstance(piece.weight, ConvSynapses):
        return piece
    chosen = np.arange(kept) * rows // kept
    return replace(piece, weight=piece.weight.rows(chosen))


def worst_input(pieces: list[Piece], ranges: list[PayloadRange], size: int) -> float:
    """Largest magnitude that the pieces can add up to in any of ``size`` targets [float units]."""
    parts = ((p.per_unit, None, payloads) for p, payloads in zip(pieces, ranges, strict=True))
    total = delivered_range(parts, size)
    return float(total.magnitude.max())


def fidelity(
    name: str, weight: FloatArray, mantissas: FloatArray, unit: float, weight_bits: int
) -> WeightFidelity:
    """How well ``mantissas * unit`` stand for ``weight``."""
    norm = float(np.linalg.norm(weight))
    beyond = (weight / unit > 2 ** (weight_bits - 1) - 0.5) | (
        weight / unit < -(2 ** (weight_bits - 1)) - 0.5
    )
    return WeightFidelity(
        projection=name,
        relative_error=float(np.linalg.norm(mantissas * unit - weight)) / norm if norm else 0.0,
        clipped=float(beyond.mean()) if beyond.size else 0.0,
        zeroed=float((mantissas[weight != 0] == 0).mean()) if weight.any() else 0.0,
    )
