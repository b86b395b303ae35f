"""How long a step takes, from action counts: models that each say what a step waits for.

Every model is a maximum of times that are linear in counts, so one description serves NumPy here
and compiled code elsewhere. Packets take no time in transit; :mod:`simulators.chip.noc` times them.

``max-core``, the ``simple`` model of SANA-FE (TCAD 2025): a core's compartment work and its message
work overlap, the longest of all cores ends the step, then comes the barrier. The host, which sends
one input packet after the other, works beside the cores.

``max-affine``, after Timcheck et al. 2026 (arXiv:2601.10035), who find on silicon that the scarcest
resource alone sets the pace: compartment updates, synaptic operations or words of synapse memory of
the core with most of them, packets over the busiest link, or the barrier. They publish no
constants; those of a target are its own, with their status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mapping.cost import (
    SYNAPTIC_OPS,
    ActionCounts,
    CountArray,
    FloatArray,
    charged,
    dynamic_energy_j,
    static_power_w,
    weighted,
)
from mapping.registry import Registry
from mapping.targets.figures import Constant, Curve, Status, weakest
from mapping.targets.spec import ChipSpec, LatencyTable

DEFAULT_LATENCY_MODEL = "max-core"

_COMPARTMENT_WORK = ("compartment_access", "compartment_update", "spike", "axon_out")
_MESSAGE_WORK = ("axon_in", *SYNAPTIC_OPS.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What a step's duration depends on.

    Attributes:
        counts: what happened.
        used_tiles: tiles with a used core.
        busiest_link, busiest_chip_link: ``(samples, steps)`` packets over the link that carries
            most, within chips and between them.
    """

    counts: ActionCounts
    used_tiles: int
    busiest_link: CountArray
    busiest_chip_link: CountArray


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A step takes the longest of some times, each linear in counts.

    Attributes:
        core_s: what a core does beside other things, each as time per action [s].
        host_packet_s: time of the host per packet that it sends [s].
        link_packet_s, chip_link_packet_s: time per packet over the busiest link within chips and
            between them [s].
        barrier_s: duration of the barrier [s].
        barrier_waits: whether it begins when all else is done, or lasts beside it.
        shortest_s: no step is shorter [s].
    """

    core_s: tuple[Mapping[str, float], ...]
    host_packet_s: float
    link_packet_s: float
    chip_link_packet_s: float
    barrier_s: float
    barrier_waits: bool
    shortest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """How to tell the duration of a step.

    Attributes:
        time: step times on a chip, given the number of used tiles.
        constants: what the names of the chip's figures that it reads start with.
    """

    time: Callable[[ChipSpec, int], StepTime]
    constants: tuple[str, ...]


LATENCY_MODELS: Registry[LatencyModel] = Registry("latency model", "adlrns_map.latency_models")


def _max_core(chip: ChipSpec, used_tiles: int) -> StepTime:
    """The slowest core or the host, then the barrier."""
    return StepTime(
        core_s=(
            _seconds(chip.latency_s, _COMPARTMENT_WORK),
            _seconds(chip.latency_s, _MESSAGE_WORK),
        ),
        host_packet_s=chip.noc_s.host_packet.value,
        link_packet_s=0.0,
        chip_link_packet_s=0.0,
        barrier_s=chip.barrier_s.duration_s(used_tiles),
        barrier_waits=True,
        shortest_s=chip.barrier_s.shortest_step.value,
    )


def _max_affine(chip: ChipSpec, used_tiles: int) -> StepTime:
    """The scarcest resource alone."""
    affine_s, noc_s = chip.affine_s, chip.noc_s
    return StepTime(
        core_s=(
            {"compartment_update": affine_s.compartment_update.value},
            dict.fromkeys(SYNAPTIC_OPS.values(), affine_s.synaptic_op.value),
            {"synapse_read": affine_s.synapse_read.value},
        ),
        host_packet_s=0.0,
        link_packet_s=noc_s.link_occupancy.value,
        chip_link_packet_s=noc_s.chip_link_occupancy.value,
        barrier_s=chip.barrier_s.duration_s(used_tiles),
        barrier_waits=False,
        shortest_s=chip.barrier_s.shortest_step.value,
    )


LATENCY_MODELS.register(DEFAULT_LATENCY_MODEL)(
    LatencyModel(time=_max_core, constants=("latency_s.", "noc_s.host_packet", "barrier_s."))
)
LATENCY_MODELS.register("max-affine")(
    LatencyModel(
        time=_max_affine,
        constants=(
            "affine_s.",
            "noc_s.link_occupancy",
            "noc_s.chip_link_occupancy",
            "barrier_s.",
        ),
    )
)


def core_time_s(counts: ActionCounts, chip: ChipSpec, time: StepTime) -> FloatArray:
    """Time that each core needs for its part of a step, ``(samples, steps, cores)`` [s]."""
    found = charged(counts, chip)
    return np.asarray(np.max([weighted(found, work) for work in time.core_s], axis=0))


def step_time_s(work: Work, chip: ChipSpec, time: StepTime) -> FloatArray:
    """Duration of each step, ``(samples, steps)`` [s]."""
    longest_s = np.max(
        [
            core_time_s(work.counts, chip, time).max(axis=2),
            work.counts.host_packet.sum(axis=2) * time.host_packet_s,
            work.busiest_link * time.link_packet_s,
            work.busiest_chip_link * time.chip_link_packet_s,
        ],
        axis=0,
    )
    waited_s = longest_s + time.barrier_s * time.barrier_waits
    return np.asarray(np.maximum(waited_s, max(time.barrier_s, time.shortest_s)))


def estimate_constants(
    chip: ChipSpec, model: str = DEFAULT_LATENCY_MODEL
) -> dict[str, Constant | Curve]:
    """By dotted name, the constants that energy and latency by ``model`` come from."""
    prefixes = ("energy_j.", "static_power_w", *LATENCY_MODELS.get(model).constants)
    return {
        name: figure
        for name, figure in chip.constants().items()
        if name.startswith(prefixes) and isinstance(figure, Constant | Curve)
    }


def estimate_status(chip: ChipSpec, model: str = DEFAULT_LATENCY_MODEL) -> Status:
    """The weakest status among the constants that energy and latency by ``model`` come from."""
    return weakest(constant.status for constant in estimate_constants(chip, model).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Means per sample.

    Attributes:
        dynamic_j: dynamic energy [J].
        static_j: static energy of the used cores [J].
        latency_s: duration of all steps [s].
    """

    dynamic_j: float
    static_j: float
    latency_s: float

    @property
    def energy_j(self) -> float:
        """Dynamic energy plus the static energy of the used cores [J]."""
        return self.dynamic_j + self.static_j


def totals(work: Work, chip: ChipSpec, model: str = DEFAULT_LATENCY_MODEL) -> Totals:
    """Energy and latency of ``work``, whose counts hold one entry per used core.

    Raises:
        ConfigError: ADL-CFG-01, there is no latency model called ``model``.
    """
    time = LATENCY_MODELS.get(model).time(chip, work.used_tiles)
    samples, _, cores = work.counts.spike.shape
    dynamic = sum(float(e.sum()) for e in dynamic_energy_j(work.counts, chip).values())
    latency_s = float(step_time_s(work, chip, time).sum()) / samples
    return Totals(
        dynamic_j=dynamic / samples,
        static_j=static_power_w(chip, cores) * latency_s,
        latency_s=latency_s,
    )


def _seconds(table: LatencyTable, actions: tuple[str, ...]) -> dict[str, float]:
    return {name: float(getattr(table, name).value) for name in actions}
