"""Which nodes of NIR are read, as what, and why others are not: one table for reader and user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["end", "operator", "neuron", "integrator", "graph", "none"]
"""Input and Output; what changes a signal at once; what spikes; what only sums; a sub-graph."""
Status = Literal["read", "read if", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What becomes of a type of node.

    Attributes:
        role: its part in a graph.
        becomes: what it is read as.
        reason: under which condition it is read, or why it is not.
        remedy: what to do where it is not read.
        required, optional: the parameters that a file gives.
    """

    role: Role
    becomes: str = ""
    reason: str = ""
    remedy: str = ""
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """Whether it is read."""
        if self.role == "none":
            return "refused"
        return "read if" if self.reason else "read"


_ONE_DECAY = "one time constant per population, which keeps something in each step"
_ANSWER = "it is the answer, since the chip sends spikes, not voltages, from layer to layer"
_SPIKE = "end every layer but the last in LIF, CubaLIF or IF neurons"
_SPLIT = "split the population by time constant, or choose another --dt or --integration"
_WINDOW = ("kernel_size", "stride", "padding")
_CONV = ("weight", "stride", "padding", "dilation", "groups", "bias")

NODES: Mapping[str, Support] = {
    "Input": Support(
        role="end",
        becomes="the input; payloads 0 and 1 unless our exporter recorded a range",
        reason="the only one",
        remedy="join all inputs into one Input node",
        required=("shape",),
    ),
    "Output": Support(
        role="end",
        becomes="nothing: what leads to it is the answer",
        reason="the only one, right after neurons or integrators, a Flatten between them allowed",
        remedy="let the Output follow the neurons whose spikes are the answer",
        required=("shape",),
    ),
    "NIRGraph": Support(
        role="graph",
        becomes="its nodes, called graph.node",
        reason="one Input and one Output",
        remedy="give every sub-graph one Input and one Output",
        required=("nodes", "edges"),
    ),
    "Linear": Support(
        role="operator",
        becomes="a full matrix; two in a row a factor pair (V, then U) of one level, the full rank",
        reason="not the third in a row",
        remedy="multiply two of them",
        required=("weight",),
    ),
    "Affine": Support(
        role="operator",
        becomes="as Linear; the bias one of LIF, IF and LI neurons; for CubaLIF and CubaLI it "
        "flows through the current, from a relay that is always on",
        reason="not the third in a row",
        remedy="multiply two of them",
        required=("weight", "bias"),
    ),
    "Scale": Support(
        role="operator", becomes="a factor of the weights beside it", required=("scale",)
    ),
    "Conv1d": Support(
        role="operator",
        becomes="a convolution of height 1; its populations have the shape (channels, 1, length)",
        required=_CONV,
        optional=("input_shape",),
    ),
    "Conv2d": Support(
        role="operator",
        becomes="a convolution; padding in numbers, 'same' or 'valid'; biases as of Affine",
        required=_CONV,
        optional=("input_shape",),
    ),
    "SumPool2d": Support(
        role="operator",
        becomes="a pooling projection; one kernel with a convolution that follows",
        required=_WINDOW,
    ),
    "AvgPool2d": Support(
        role="operator",
        becomes="as SumPool2d, weights one over the size of the window, padding counted",
        required=_WINDOW,
    ),
    "Flatten": Support(
        role="operator",
        becomes="nothing: neurons are numbered channel by channel, row by row",
        required=("start_dim", "end_dim"),
        optional=("input_type",),
    ),
    "Delay": Support(
        role="operator",
        becomes="axonal delays of what sends",
        reason="whole steps, 63 at most, behind a sum of several signals the same for all",
        remedy="round delays to steps of --dt, and put them before the weights",
        required=("delay",),
    ),
    "LIF": Support(
        role="neuron",
        becomes="LIF neurons without synaptic current",
        reason=_ONE_DECAY,
        remedy=_SPLIT,
        required=("tau", "r", "v_leak", "v_threshold"),
        optional=("v_reset",),
    ),
    "CubaLIF": Support(
        role="neuron",
        becomes="LIF neurons with synaptic current",
        reason=_ONE_DECAY,
        remedy=_SPLIT,
        required=("tau_mem", "tau_syn", "r", "v_leak", "v_threshold"),
        optional=("v_reset", "w_in"),
    ),
    "IF": Support(
        role="neuron",
        becomes="LIF neurons that do not leak: v grows by r times the input per step, without dt",
        required=("r", "v_threshold"),
        optional=("v_reset",),
    ),
    "LI": Support(
        role="integrator",
        becomes="leaky integrators, whose voltage is the answer",
        reason=f"{_ANSWER}; {_ONE_DECAY}",
        remedy=_SPIKE,
        required=("tau", "r", "v_leak"),
    ),
    "CubaLI": Support(
        role="integrator",
        becomes="leaky integrators with synaptic current",
        reason=f"{_ANSWER}; {_ONE_DECAY}",
        remedy=_SPIKE,
        required=("tau_mem", "tau_syn", "r", "v_leak"),
        optional=("w_in",),
    ),
    "I": Support(
        role="integrator",
        becomes="integrators that do not leak; v grows by r times the input per step, without dt",
        reason=_ANSWER,
        remedy=_SPIKE,
        required=("r",),
    ),
    "Threshold": Support(
        role="none",
        reason="a neuron of the chip keeps at least 1/4096 of its voltage, so none is without "
        "state",
        remedy="write an IF or LIF with the threshold, and train with it",
        required=("threshold",),
    ),
}
"""Every type of node that nir 1.0.8 knows."""


def of_role(*roles: Role) -> tuple[str, ...]:
    """The types of nodes with these roles."""
    return tuple(kind for kind, support in NODES.items() if support.role in roles)
