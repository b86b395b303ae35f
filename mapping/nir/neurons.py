"""LIF populations and the NIR nodes LIF and CubaLIF."""

from __future__ import annotations

from dataclasses import dataclass

import nir
import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import FloatArray, Lif
from mapping.nir.conventions import NirConventions
from mapping.nir.notes import Notes, notes_of

_FOR_EVER = 2.0**60
"""A time constant of that many steps leaks nothing: 1 - 2**-60 rounds to 1."""

_SAME_DECAY = 1e-6
"""Decays closer than that differ by single precision alone."""

_ROUNDING = 1e-12
"""What a decay may lose on its way through a time constant in double precision."""


def to_node(lif: Lif, dt_s: float, order: int) -> nir.NIRNode:
    """``lif`` as a node that forward Euler with ``dt_s`` steps exactly as we do.

    ``r`` and ``w_in`` are ``tau / dt``, so that a weight is what one spike adds; a bias becomes
    ``v_leak``. Without a synaptic current it is a LIF, else a CubaLIF.

    Args:
        lif: the population.
        dt_s: duration of a step [s].
        order: its place in the network.
    """
    ones = np.ones(lif.size)
    membrane = _steps(lif.voltage_decay)
    parameters = {
        "r": membrane * ones,
        "v_leak": membrane * lif.bias,
        "v_threshold": lif.threshold * ones,
        "v_reset": 0.0 * ones,
        "metadata": notes_of(
            name=lif.name,
            order=order,
            shape=lif.shape,
            current_decay=lif.current_decay,
            voltage_decay=lif.voltage_decay,
            bias=lif.bias if lif.bias.any() else np.zeros(0),
        ),
    }
    if lif.current_decay == 0:
        return nir.LIF(tau=dt_s * membrane * ones, **parameters)
    synapse = _steps(lif.current_decay)
    return nir.CubaLIF(
        tau_mem=dt_s * membrane * ones,
        tau_syn=dt_s * synapse * ones,
        w_in=synapse * ones,
        **parameters,
    )


def _steps(decay: float) -> float:
    """Time constant in steps of a state that keeps ``decay`` per step."""
    return _FOR_EVER if decay == 1 else 1 / (1 - decay)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neurons:
    """What a node became.

    Attributes:
        lif: the population, without the constant input of Affine nodes.
        gain: ``(size,)`` factor of everything that the neurons receive.
        has_current: whether the node was a CubaLIF.
    """

    lif: Lif
    gain: FloatArray
    has_current: bool


def from_node(
    name: str, node: nir.NIRNode, conventions: NirConventions, dt_s: float, notes: Notes
) -> Neurons:
    """The population that ``node`` describes.

    Voltages are counted from ``v_reset``; ``v_leak`` becomes a bias, ``r`` and ``w_in`` a gain,
    and thresholds that differ are made equal by scaling each neuron.

    Args:
        name: of the population.
        node: a LIF or CubaLIF.
        conventions: how to step its equations.
        dt_s: duration of a step [s].
        notes: what our exporter recorded.

    Raises:
        UnsupportedModelError: ADL-NIR-06, the parameters have no image on the chip.
    """
    has_current = isinstance(node, nir.CubaLIF)
    keys: tuple[str, ...] = ("r", "v_leak", "v_threshold", "v_reset")
    keys += ("tau_mem", "tau_syn", "w_in") if has_current else ("tau",)
    values = {key: np.asarray(getattr(node, key), dtype=np.float64).ravel() for key in keys}
    for key, value in values.items():
        finite = bool(value.size and np.isfinite(value).all())
        _require(notes, finite, f"{key} is empty, NaN or infinite", "repair it")
    threshold = values["v_threshold"] - values["v_reset"]
    _require(
        notes,
        bool((threshold > 0).all()),
        "v_threshold is not above v_reset",
        "give every neuron a threshold above its reset voltage",
    )
    same = bool((threshold == threshold[0]).all())
    scale = np.ones(threshold.size) if same else threshold.max() / threshold
    tau = "tau_mem" if has_current else "tau"
    beta, leak = _decay(tau, values[tau], conventions, dt_s, notes)
    alpha, gain = 0.0, scale * leak * values["r"]
    if has_current:
        alpha, rise = _decay("tau_syn", values["tau_syn"], conventions, dt_s, notes)
        gain = gain * rise * values["w_in"]
    bias = scale * leak * (values["v_leak"] - values["v_reset"])
    recorded = notes.array("bias", bias)
    return Neurons(
        lif=Lif(
            name=name,
            shape=notes.shape(np.shape(node.v_threshold) or (1,)),
            current_decay=alpha,
            voltage_decay=beta,
            threshold=float(threshold.max()),
            bias=recorded if np.allclose(bias, recorded, rtol=1e-9, atol=0) else bias,
        ),
        gain=np.ones(gain.size) if np.allclose(gain, 1, rtol=1e-9, atol=0) else gain,
        has_current=has_current,
    )


def _decay(
    key: str, tau: FloatArray, conventions: NirConventions, dt_s: float, notes: Notes
) -> tuple[float, FloatArray]:
    """The factor that a state keeps per step, and what each neuron takes up in exchange."""
    _require(notes, bool((tau > 0).all()), f"{key} is not positive", "repair the time constant")
    if conventions.integration == "exp":
        decays, rate = np.exp(-dt_s / tau), -np.expm1(-dt_s / tau)
    else:
        decays, rate = 1 - dt_s / tau, dt_s / tau
    _require(
        notes,
        float(np.ptp(decays)) < _SAME_DECAY,
        f"{key} runs from {tau.min():.6g} to {tau.max():.6g} s, but a population on the chip has "
        "one decay",
        "split the population by time constant, or train it with one",
    )
    of_current = key == "tau_syn"
    decay = float(decays[0])
    recorded = notes.number("current_decay" if of_current else "voltage_decay", decay)
    decay = recorded if abs(decay - recorded) <= _ROUNDING else decay
    _require(
        notes,
        0 <= decay < 1 if of_current else 0 < decay <= 1,
        f"{key} of {tau[0]:.6g} s keeps {decay:.6g} in a step of {dt_s:.6g} s, which is no decay "
        "that the chip has",
        "choose a --dt well below every time constant, or --integration exp",
    )
    return decay, rate


def _require(notes: Notes, holds: bool, message: str, remedy: str) -> None:
    if not holds:
        raise UnsupportedModelError(message, where=notes.where, remedy=remedy, code="ADL-NIR-06")
