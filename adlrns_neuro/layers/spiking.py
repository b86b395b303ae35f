"""Populations of spiking neurons with the dynamics of the chip."""

from __future__ import annotations

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from adlrns_neuro.functional.lif import snap_current_decay, snap_voltage_decay
from mapping.errors import ConfigError

Activity = dict[str, Tensor]
"""How active a spiking model was: means over all that ran, scalars with gradients. ``activity`` is
the number of spikes of a hidden neuron in a step, ``relays`` the magnitude that a relay sends."""


class SpikingPopulation(nn.Module):
    """Leaky integrate-and-fire neurons that follow the chip's rule in floating point.

    u[t] = current_decay * u[t-1] + a[t];  v[t] = voltage_decay * v[t-1] + u[t];
    a neuron spikes when v > threshold, and then v = 0 at once. u is not reset. Every call starts
    from u = v = 0. Wraps :class:`snntorch.Synaptic`; gradients pass the spike through the
    arctangent surrogate (Fang et al., 2021).

    Args:
        neurons: size n of the population.
        current_decay: share of u kept per step, snapped to the chip's grid.
        voltage_decay: share of v kept per step, snapped to the chip's grid.
        threshold: of v, in the units of the input current, above zero.

    Attributes:
        neurons, current_decay, voltage_decay, threshold: as given, the decays on the grid.

    Raises:
        ConfigError: ``ADL-LIF-01`` when a decay is off the grid, ``ADL-LIF-02`` unless the
            threshold is above zero.
    """

    def __init__(
        self,
        neurons: int,
        *,
        current_decay: float,
        voltage_decay: float,
        threshold: float,
    ) -> None:
        super().__init__()
        if not threshold > 0.0:
            raise ConfigError(
                f"a threshold of {threshold} lets neurons at rest spike",
                where="SpikingPopulation.threshold",
                remedy="choose a threshold above zero",
                code="ADL-LIF-02",
            )
        self.neurons = neurons
        self.current_decay = snap_current_decay(current_decay)
        self.voltage_decay = snap_voltage_decay(voltage_decay)
        self.threshold = threshold
        self._dynamics = snntorch.Synaptic(
            alpha=torch.tensor(self.current_decay, dtype=torch.float64),
            beta=torch.tensor(self.voltage_decay, dtype=torch.float64),
            threshold=torch.tensor(threshold, dtype=torch.float64),
            spike_grad=surrogate.atan(),
            reset_mechanism="zero",
            reset_delay=False,
        )

    def forward(self, currents: Tensor) -> Tensor:
        """Spikes of a whole run.

        Args:
            currents: weighted input a, shape (steps, batch, n).

        Returns:
            Spikes 0 or 1, shape (steps, batch, n), in the dtype of ``currents``.
        """
        state = None
        spikes = []
        for current in currents.unbind():
            spike, state = self.step(current, state)
            spikes.append(spike)
        return torch.stack(spikes)

    def step(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Spikes of one step.

        Args:
            current: weighted input a, shape (batch, n).
            state: u and v after the step before, each of shape (batch, n); at rest if None.

        Returns:
            Spikes 0 or 1, shape (batch, n), in the dtype of ``current``, and the state after it.
        """
        rest = torch.zeros_like(current)
        syn, mem = (rest, rest) if state is None else state
        spike, syn, mem = self._dynamics(current, syn, mem)
        self._dynamics.reset_mem()  # drops snntorch's own reference to the state's graph
        return spike.to(current), (syn, mem)
