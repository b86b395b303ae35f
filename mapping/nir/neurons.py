"""Neurons and integrators, here and as nodes of NIR."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import nir
import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network import FloatArray, Li, Lif
from mapping.nir.conventions import NirConventions
from mapping.nir.graph import Node
from mapping.nir.notes import Note, Notes, notes_of
from mapping.nir.support import NODES

_FOR_EVER = 2.0**60
"""A time constant of that many steps leaks nothing: 1 - 2**-60 rounds to 1."""

_SAME_DECAY = 1e-6
"""Decays closer than that differ by single precision alone."""

_ROUNDING = 1e-12
"""What a decay may lose on its way through a time constant in double precision."""
_LEAST_KEPT = 2.0**-13
"""Of a voltage in a step; less rounds to nothing in the chips' decays of 12 bits."""


def to_node(
    own: Lif | Li, shape: tuple[int, ...], dt_s: float, recorded: dict[str, Note]
) -> nir.NIRNode:
    """``own`` as a node that forward Euler with ``dt_s`` steps exactly as we do.

    ``r`` and ``w_in`` are ``tau / dt``, so that a weight is what one spike adds; a bias becomes
    ``v_leak``. Without leak, current and bias it is an IF or I, without current alone a LIF or LI.

    Args:
        own: the population.
        shape: of the node's parameters.
        dt_s: duration of a step [s].
        recorded: what to put into the metadata besides its own.
    """
    ones = np.ones(shape)
    membrane = _steps(own.voltage_decay)
    bias = own.bias if own.bias.any() else np.zeros(0)
    metadata = notes_of(
        name=own.name,
        shape=own.shape,
        current_decay=own.current_decay,
        voltage_decay=own.voltage_decay,
        bias=bias,
        **recorded,
    )
    spiking = {}
    if isinstance(own, Lif):
        spiking = {"v_threshold": own.threshold * ones, "v_reset": 0.0 * ones}
    if own.current_decay == 0 and own.voltage_decay == 1 and not bias.size:
        plain = nir.IF if spiking else nir.I
        return plain(r=ones, metadata=metadata, **spiking)
    common = {
        "r": membrane * ones,
        "v_leak": membrane * own.bias.reshape(shape),
        "metadata": metadata,
        **spiking,
    }
    if own.current_decay == 0:
        return (nir.LIF if spiking else nir.LI)(tau=dt_s * membrane * ones, **common)
    synapse = _steps(own.current_decay)
    return (nir.CubaLIF if spiking else nir.CubaLI)(
        tau_mem=dt_s * membrane * ones,
        tau_syn=dt_s * synapse * ones,
        w_in=synapse * ones,
        **common,
    )


def _steps(decay: float) -> float:
    """Time constant in steps of a state that keeps ``decay`` per step."""
    return _FOR_EVER if decay == 1 else 1 / (1 - decay)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neurons:
    """What a node became.

    Attributes:
        population: without the constant input of nodes with biases.
        gain: ``(size,)`` factor of everything that it receives.
        has_current: whether the node was a CubaLIF or CubaLI.
    """

    population: Lif | Li
    gain: FloatArray
    has_current: bool


def from_node(
    name: str,
    node: Node,
    shape: tuple[int, ...],
    conventions: NirConventions,
    dt_s: float,
    notes: Notes,
) -> Neurons:
    """The population that ``node`` describes.

    Voltages are counted from ``v_reset``; ``v_leak`` becomes a bias, ``r`` and ``w_in`` a gain,
    and thresholds that differ are made equal by scaling each neuron.

    Args:
        name: of the population.
        node: a neuron or an integrator; each parameter one for all or one for each.
        shape: of the population.
        conventions: how to step its equations.
        dt_s: duration of a step [s].
        notes: what our exporter recorded.

    Raises:
        UnsupportedModelError: ADL-NIR-06, the parameters have no image on the chip.
    """
    size = prod(shape)
    values = {"v_reset": np.zeros(size), "v_leak": np.zeros(size), "w_in": np.ones(size)}
    for key in node.values:
        given = node.array(key).ravel()
        finite = bool(given.size and np.isfinite(given).all())
        _require(notes, finite, f"{key} is empty, NaN or infinite", "repair it")
        _require(
            notes,
            given.size in (1, size),
            f"{key} has {given.size} values for {size} neurons",
            "give one for all or one for each",
        )
        values[key] = np.broadcast_to(given, (size,))
    beta, leak, alpha, rise = 1.0, np.ones(size), 0.0, np.ones(size)
    tau = next((key for key in ("tau", "tau_mem") if key in values), None)
    if tau is not None:
        beta, leak = _decay(tau, values[tau], conventions, dt_s, notes)
        values["v_leak"] = values["v_leak"] - values["v_reset"]
    if "tau_syn" in values:
        alpha, rise = _decay("tau_syn", values["tau_syn"], conventions, dt_s, notes)
    gain = leak * values["r"]
    if "tau_syn" in values:
        gain = gain * rise * values["w_in"]
    bias = leak * values["v_leak"] if tau is not None else np.zeros(size)
    threshold, scale = _threshold(values, notes, size)
    gain, bias = scale * gain, scale * bias
    recorded = notes.array("bias", bias)
    common = {
        "name": name,
        "shape": shape,
        "current_decay": alpha,
        "voltage_decay": beta,
        "bias": recorded if np.allclose(bias, recorded, rtol=1e-9, atol=0) else bias,
    }
    spikes = NODES[node.kind].role == "neuron"
    return Neurons(
        population=Lif(threshold=threshold, **common) if spikes else Li(**common),  # type: ignore[arg-type]
        gain=np.ones(size) if np.allclose(gain, 1, rtol=1e-9, atol=0) else gain,
        has_current="tau_syn" in values,
    )


def _threshold(values: dict[str, FloatArray], notes: Notes, size: int) -> tuple[float, FloatArray]:
    """The threshold of all, counted from ``v_reset``, and what scales each neuron to it."""
    if "v_threshold" not in values:
        return 0.0, np.ones(size)
    threshold = values["v_threshold"] - values["v_reset"]
    _require(
        notes,
        bool((threshold > 0).all()),
        "v_threshold is not above v_reset",
        "give every neuron a threshold above its reset voltage",
    )
    highest = float(threshold.max())
    same = bool((threshold == highest).all())
    return highest, np.ones(size) if same else highest / threshold


def _decay(
    key: str, tau: FloatArray, conventions: NirConventions, dt_s: float, notes: Notes
) -> tuple[float, FloatArray]:
    """The factor that a state keeps per step, and what each neuron takes up in exchange."""
    _require(notes, bool((tau > 0).all()), f"{key} is not positive", "repair the time constant")
    with np.errstate(over="ignore"):
        steps = dt_s / tau
    if conventions.integration == "exp":
        decays, rate = np.exp(-steps), -np.expm1(-steps)
    else:
        decays, rate = 1 - steps, steps
    _require(
        notes,
        not float(np.ptp(decays)) >= _SAME_DECAY,
        f"{key} runs from {tau.min():.6g} to {tau.max():.6g} s, but a population on the chip has "
        "one decay",
        "split the population by time constant, or train it with one",
    )
    of_current = key == "tau_syn"
    decay = float(decays[0])
    name = "current_decay" if of_current else "voltage_decay"
    recorded = notes.number(name, decay)
    decay = recorded if abs(decay - recorded) <= _ROUNDING else decay
    least = 0.0 if of_current or name in notes else _LEAST_KEPT
    _require(
        notes,
        least <= decay < 1 if of_current else 0 < decay <= 1 and least <= decay,
        f"{key} of {tau[0]:.6g} s keeps {decay:.6g} in a step of {dt_s:.6g} s, which is no decay "
        "that the chip has",
        "choose a --dt well below every time constant"
        + (", or --integration exp" if conventions.integration == "euler" else ""),
    )
    return decay, rate


def _require(notes: Notes, holds: bool, message: str, remedy: str) -> None:
    if not holds:
        raise UnsupportedModelError(message, where=notes.where, remedy=remedy, code="ADL-NIR-06")
