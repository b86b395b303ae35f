"""What a layer costs on conventional hardware: latency, energy, bytes. All modelled.

A call of a layer with factors ``U`` (out, r) and ``V`` (in, r) on a batch of B samples takes

    flops    = 2 r (in + out) P B
    moved    = 4 (r (in + out) + A B)                 bytes: factors once, inputs, outputs
    resident = 4 r_max (in + out)                     bytes: all columns stay in memory
    latency  = max(flops / peak, moved / bandwidth)   (roofline; Williams et al., 2009)
    energy   = flops * energy per flop + moved * energy per byte

A linear layer has P = 1 position and A = in + out activations. A convolution uses the same weights
at every position of a sample: P is the number of pixels of its output, ``in`` the number of values
under its kernel, and A counts each value of its input and output once. A full matrix has in · out
weights in the place of r (in + out).

The r intermediate values of a position stay on the chip. Launching kernels and idling are not
modelled, so latency and energy of small layers are lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mapping.errors import ConfigError
from mapping.processors.load import load_processor
from mapping.processors.spec import BYTES, NumberFormat, ProcessorSpec
from mapping.targets.figures import Constant, Status, weakest

FORMAT: NumberFormat = "fp32"
"""Weights and activations are single precision."""
FLOPS_PER_CYCLE = 2
"""Of one core: a fused multiply-add."""
DEFAULT = "v100"
_CLOCK = Constant(
    value=1.53e9,
    status="brief",
    source="NVIDIA, Tesla V100 GPU Architecture (WP-08608-001, 2017), SXM2 card: 1530 MHz boost",
)
"""Of the default processor [Hz], whose peak alone is among its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfEstimate:
    """Modelled cost of one call of a layer.

    Attributes:
        flops: floating-point operations of the whole batch.
        bytes_moved: between memory and chip, for the whole batch.
        bytes_resident: memory that the factors take.
        latency_s: of the whole batch.
        energy_j: mean per sample.
        status: of the energy's constants.
    """

    flops: int
    bytes_moved: int
    bytes_resident: int
    latency_s: float
    energy_j: float
    status: Status

    @property
    def energy_mj(self) -> float:
        """Mean energy per sample in millijoules, the unit of budgets."""
        return self.energy_j * 1e3


class PerfEstimator:
    """Models latency, energy and memory of low-rank layers on one hardware profile.

    Args:
        profile: a processor, its name or ``.toml`` file, or a mapping with the keys ``gpu_cores``
            and ``memory_bandwidth`` [B/s]; of its optional keys ``clock_hz``,
            ``energy_per_flop_j`` and ``energy_per_byte_j``, those left out are the V100's.

    Attributes:
        profile: the :class:`~mapping.processors.spec.ProcessorSpec`.

    Raises:
        TargetError: ``ADL-PRC-01`` … ``03``, there is no such processor or it is ill described.
        ConfigError: ``ADL-PRF-01`` on a missing or unknown key, ``ADL-PRF-02`` unless all figures
            are finite and positive.
    """

    def __init__(self, profile: str | ProcessorSpec | Mapping[str, float] = DEFAULT) -> None:
        if isinstance(profile, str):
            profile = load_processor(profile)
        elif not isinstance(profile, ProcessorSpec):
            profile = _from_figures(profile)
        self.profile = profile

    def estimate(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        batch: int = 1,
        *,
        r_max: int | None = None,
        positions: int = 1,
        activations: int | None = None,
    ) -> PerfEstimate:
        """Cost of a call in which every sample runs at ``rank``.

        Args:
            in_features, out_features: widths of the layer.
            rank: columns used of both factors.
            batch: samples per call.
            r_max: columns held in memory; ``rank`` when None.
            positions: P, at which a sample uses the weights.
            activations: A, values in and out of a sample; P (in + out) when None.

        Raises:
            ConfigError: ``ADL-PRF-03`` unless 1 ≤ rank ≤ r_max ≤ the smaller width, and there is a
                sample, a position and an activation.
        """
        r_max = rank if r_max is None else r_max
        full_rank = min(in_features, out_features)
        if not 1 <= rank <= r_max <= full_rank:
            raise ConfigError(
                f"rank {rank}, r_max {r_max} describe no call of a layer "
                f"{in_features} → {out_features}",
                where="PerfEstimator.estimate",
                remedy=f"choose 1 ≤ rank ≤ r_max ≤ {full_rank}",
                code="ADL-PRF-03",
            )
        width = in_features + out_features
        return self._cost(
            used=rank * width,
            held=r_max * width,
            batch=batch,
            positions=positions,
            activations=width * positions if activations is None else activations,
        )

    def estimate_dense(
        self,
        in_features: int,
        out_features: int,
        batch: int = 1,
        *,
        positions: int = 1,
        activations: int | None = None,
    ) -> PerfEstimate:
        """Cost of a call of the full matrix; arguments and errors as in :meth:`estimate`."""
        width = in_features + out_features
        return self._cost(
            used=in_features * out_features,
            held=in_features * out_features,
            batch=batch,
            positions=positions,
            activations=width * positions if activations is None else activations,
        )

    def energies_mj(
        self,
        in_features: int,
        out_features: int,
        levels: Sequence[int],
        *,
        positions: int = 1,
        activations: int | None = None,
    ) -> dict[int, float]:
        """Energy of one sample on its own by rank [mJ]; arguments and errors as in `estimate`."""
        return {
            rank: self.estimate(
                in_features, out_features, rank, positions=positions, activations=activations
            ).energy_mj
            for rank in levels
        }

    def _cost(
        self, *, used: int, held: int, batch: int, positions: int, activations: int
    ) -> PerfEstimate:
        """Cost of a call that uses some of the weights that it holds."""
        if min(used, batch, positions, activations) < 1:
            raise ConfigError(
                f"{used} weights, batch {batch}, {positions} positions and {activations} "
                "activations describe no call of a layer",
                where="PerfEstimator.estimate",
                remedy="choose 1 or more of each",
                code="ADL-PRF-03",
            )
        flops = 2 * used * positions * batch
        moved = BYTES[FORMAT] * (used + activations * batch)
        profile = self.profile
        per_flop, per_byte = profile.energy_per_op_j[FORMAT], profile.energy_per_byte_j
        return PerfEstimate(
            flops=flops,
            bytes_moved=moved,
            bytes_resident=BYTES[FORMAT] * held,
            latency_s=max(
                flops / profile.peak_ops_per_s[FORMAT].value,
                moved / profile.bandwidth_bytes_per_s.value,
            ),
            energy_j=(flops * per_flop.value + moved * per_byte.value) / batch,
            status=weakest([per_flop.status, per_byte.status]),
        )


def _from_figures(figures: Mapping[str, float]) -> ProcessorSpec:
    """A processor from the figures that are given and the default one's."""
    needed = {"gpu_cores", "memory_bandwidth"}
    optional = {"clock_hz", "energy_per_flop_j", "energy_per_byte_j"}
    wrong = sorted((needed - figures.keys()) | (figures.keys() - needed - optional))
    if wrong:
        raise ConfigError(
            f"the keys {wrong} are missing or unknown",
            where="PerfEstimator.profile",
            remedy=f"give {', '.join(sorted(needed))} and, if they differ from the V100's, "
            f"{', '.join(sorted(optional))}",
            code="ADL-PRF-01",
        )
    for key, value in figures.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(
                f"{value} is not a positive number",
                where=f"PerfEstimator.profile: {key}",
                remedy="give the data sheet's figure, bandwidth in bytes per second",
                code="ADL-PRF-02",
            )
    default = load_processor(DEFAULT)

    def given(value: float) -> Constant:
        return Constant(value=value, status="assumed", source="given by the caller")

    def constant(key: str, known: Constant) -> Constant:
        if key in figures:
            return given(figures[key])
        return replace(known, status="assumed", source=f"that of the V100: {known.source}")

    clock = constant("clock_hz", _CLOCK)
    peak = Constant(
        value=FLOPS_PER_CYCLE * figures["gpu_cores"] * clock.value,
        status="assumed",
        source=f"cores given by the caller, {FLOPS_PER_CYCLE} operations a cycle; "
        f"clock {clock.source}",
    )
    return replace(
        default,
        name="given",
        description="given by the caller",
        peak_ops_per_s={FORMAT: peak},
        energy_per_op_j={FORMAT: constant("energy_per_flop_j", default.energy_per_op_j[FORMAT])},
        bandwidth_bytes_per_s=given(figures["memory_bandwidth"]),
        energy_per_byte_j=constant("energy_per_byte_j", default.energy_per_byte_j),
    )
