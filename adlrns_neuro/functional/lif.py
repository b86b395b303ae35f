"""Decays that a Loihi-style compartment can express.

The chip's neuron, with 12-bit decay settings du, dv in 0..4095, computes at every step

    u[t] = u[t-1] * (4095 - du) / 4096 + a[t]
    v[t] = v[t-1] * (4096 - dv) / 4096 + u[t] + bias
    spike when v[t] > threshold, then v[t] = 0; u is not reset

with a the weighted input. A network trained with decays on this grid needs no rounding of them
when it is mapped. The rule is that of Lava's fixed-point LIF (lava-nc 0.10.0, process model
``PyLifModelBitAcc``), where the current decays by du + 1.
"""

from __future__ import annotations

from mapping.errors import ConfigError

DECAY_STEPS = 4096
"""Grid points per unit of decay: settings have 12 bits."""


def snap_current_decay(alpha: float) -> float:
    """The grid point (4095 - du) / 4096 nearest to a synaptic current's decay factor.

    Args:
        alpha: share of the current u kept per step, 0 to 4095/4096.

    Raises:
        ConfigError: ``ADL-LIF-01`` when no du in 0..4095 reaches ``alpha``.
    """
    return _snap(alpha, lowest=0, highest=DECAY_STEPS - 1, where="current_decay")


def snap_voltage_decay(beta: float) -> float:
    """The grid point (4096 - dv) / 4096 nearest to a membrane voltage's decay factor.

    Args:
        beta: share of the voltage v kept per step, 1/4096 to 1.

    Raises:
        ConfigError: ``ADL-LIF-01`` when no dv in 0..4095 reaches ``beta``.
    """
    return _snap(beta, lowest=1, highest=DECAY_STEPS, where="voltage_decay")


def _snap(decay: float, *, lowest: int, highest: int, where: str) -> float:
    if not lowest <= decay * DECAY_STEPS <= highest:
        raise ConfigError(
            f"a decay factor of {decay} per step is off the chip's 12-bit grid",
            where=where,
            remedy=f"choose a factor from {lowest}/{DECAY_STEPS} to {highest}/{DECAY_STEPS}",
            code="ADL-LIF-01",
        )
    return round(decay * DECAY_STEPS) / DECAY_STEPS
