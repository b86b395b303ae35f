"""What a low-rank layer costs on conventional hardware: latency, energy, bytes. All modelled.

A call of a layer with factors ``U`` (out, r) and ``V`` (in, r) on a batch of B samples takes

    flops    = 2 r (in + out) B
    moved    = 4 (r (in + out) + (in + out) B)        bytes: factors once, inputs, outputs
    resident = 4 r_max (in + out)                     bytes: all columns stay in memory
    latency  = max(flops / peak, moved / bandwidth)   (roofline; Williams et al., 2009)
    energy   = flops * energy per flop + moved * energy per byte

The r intermediate values of a sample stay on the chip. Launching kernels and idling are not
modelled, so latency and energy of small layers are lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapping.errors import ConfigError
from mapping.registry import Registry
from mapping.targets.spec import Constant, Status

BYTES_PER_VALUE = 4
"""Weights and activations are single precision."""
FLOPS_PER_CYCLE = 2
"""Of one core: a fused multiply-add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile:
    """A processor with many multiply-add cores and one memory.

    Attributes:
        name: what messages call it.
        gpu_cores: cores, each with one fused multiply-add per cycle.
        memory_bandwidth: of the off-chip memory [B/s].
        clock_hz: of the cores.
        energy_per_flop: of the cores and everything that feeds them [J].
        energy_per_byte: of the off-chip memory [J].

    Raises:
        ConfigError: ``ADL-PRF-02`` unless all figures are finite and positive.
    """

    name: str
    gpu_cores: float
    memory_bandwidth: float
    clock_hz: float
    energy_per_flop: Constant
    energy_per_byte: Constant

    def __post_init__(self) -> None:
        figures = {
            "gpu_cores": self.gpu_cores,
            "memory_bandwidth": self.memory_bandwidth,
            "clock_hz": self.clock_hz,
            "energy_per_flop_j": self.energy_per_flop.value,
            "energy_per_byte_j": self.energy_per_byte.value,
        }
        for key, value in figures.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{value} is not a positive number",
                    where=f"profile {self.name}: {key}",
                    remedy="give the data sheet's figure, bandwidth in bytes per second",
                    code="ADL-PRF-02",
                )

    @property
    def peak_flops(self) -> float:
        """Floating-point operations per second, a multiply-add counted as two."""
        return FLOPS_PER_CYCLE * self.gpu_cores * self.clock_hz


PROFILES: Registry[HardwareProfile] = Registry("hardware profile", "adlrns_neuro.profiles")

V100 = PROFILES.register("v100")(
    HardwareProfile(
        name="v100",
        # NVIDIA, Tesla V100 GPU Architecture (WP-08608-001, 2017), SXM2 card: 5120 cores,
        # 15.7 TFLOP/s in single precision at 1530 MHz, 900 GB/s, 300 W.
        gpu_cores=5120,
        memory_bandwidth=900e9,
        clock_hz=1.53e9,
        energy_per_flop=Constant(
            value=16.7e-12,
            status="inferred",
            source="(300 W - 900 GB/s * energy per byte) / 15.7 TFLOP/s: what the memory leaves of "
            "the card's power at its peak rate",
            factor=2.0,
        ),
        energy_per_byte=Constant(
            value=42e-12,
            status="inferred",
            source="Jouppi et al., Ten Lessons From Three Generations (ISCA 2021), table 2: HBM2 "
            "250 to 450 pJ per 64 bit; geometric mean",
            factor=1.4,
        ),
    )
)


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
        profile: a profile, the name of one in ``PROFILES``, or a mapping with the keys
            ``gpu_cores`` and ``memory_bandwidth`` [B/s]; of its optional keys ``clock_hz``,
            ``energy_per_flop_j`` and ``energy_per_byte_j``, those left out are the V100's.

    Attributes:
        profile: the :class:`HardwareProfile`.

    Raises:
        ConfigError: ``ADL-CFG-01`` on an unknown name, ``ADL-PRF-01`` on a missing or unknown key,
            ``ADL-PRF-02`` unless all figures are finite and positive.
    """

    def __init__(self, profile: str | HardwareProfile | Mapping[str, float] = "v100") -> None:
        if isinstance(profile, str):
            profile = PROFILES.get(profile)
        elif not isinstance(profile, HardwareProfile):
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
    ) -> PerfEstimate:
        """Cost of a call in which every sample runs at ``rank``.

        Args:
            in_features, out_features: widths of the layer.
            rank: columns used of both factors.
            batch: samples per call.
            r_max: columns held in memory; ``rank`` when None.

        Raises:
            ConfigError: ``ADL-PRF-03`` unless 1 ≤ rank ≤ r_max ≤ the smaller width and there is a
                sample.
        """
        r_max = rank if r_max is None else r_max
        full_rank = min(in_features, out_features)
        if not (1 <= rank <= r_max <= full_rank and batch >= 1):
            raise ConfigError(
                f"rank {rank}, r_max {r_max}, batch {batch} describe no call of a layer "
                f"{in_features} → {out_features}",
                where="PerfEstimator.estimate",
                remedy=f"choose 1 ≤ rank ≤ r_max ≤ {full_rank} and a batch of 1 or more",
                code="ADL-PRF-03",
            )
        width = in_features + out_features
        flops = 2 * rank * width * batch
        moved = BYTES_PER_VALUE * width * (rank + batch)
        profile = self.profile
        energy_j = flops * profile.energy_per_flop.value + moved * profile.energy_per_byte.value
        statuses = {profile.energy_per_flop.status, profile.energy_per_byte.status}
        return PerfEstimate(
            flops=flops,
            bytes_moved=moved,
            bytes_resident=BYTES_PER_VALUE * width * r_max,
            latency_s=max(flops / profile.peak_flops, moved / profile.memory_bandwidth),
            energy_j=energy_j / batch,
            status="assumed" if "assumed" in statuses else profile.energy_per_flop.status,
        )

    def energies_mj(
        self, in_features: int, out_features: int, levels: Sequence[int]
    ) -> dict[int, float]:
        """Energy of one sample on its own by rank [mJ]; arguments and errors as in `estimate`."""
        return {rank: self.estimate(in_features, out_features, rank).energy_mj for rank in levels}


def _from_figures(figures: Mapping[str, float]) -> HardwareProfile:
    """A profile from the figures that are given and the V100's."""
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

    def constant(key: str, default: Constant) -> Constant:
        if key not in figures:
            return Constant(
                value=default.value,
                status="assumed",
                source=f"that of the V100: {default.source}",
                factor=default.factor,
            )
        return Constant(value=figures[key], status="assumed", source="given by the caller")

    return HardwareProfile(
        name="given",
        gpu_cores=figures["gpu_cores"],
        memory_bandwidth=figures["memory_bandwidth"],
        clock_hz=figures.get("clock_hz", V100.clock_hz),
        energy_per_flop=constant("energy_per_flop_j", V100.energy_per_flop),
        energy_per_byte=constant("energy_per_byte_j", V100.energy_per_byte),
    )
