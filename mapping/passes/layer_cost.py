"""What a dense layer costs per step, as one matrix and as a factor pair: counts × table.

Before anything is placed, a packet is charged as one within a tile, the least that it can take.
What both forms have in common, the target's own compartments, is left out. A pair makes a sample a
step longer, in which every compartment of the network is visited once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapping.cost import ActionCounts, dynamic_energy_j
from mapping.ir.network import Dense, FloatArray, Input, Network
from mapping.ir.traffic import ASSUMED_ACTIVITY, Calibration
from mapping.lowrank import second_moment
from mapping.semantics.float_net import run_float_network
from mapping.targets.spec import ChipSpec

WHITENED = 4096
"""Largest population whose second moment is kept: 134 MB, and seconds to decompose."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceActivity:
    """What a population sends per step.

    Attributes:
        rates: ``(size,)`` spikes per compartment and step.
        busy: share of steps in which any of them spikes, and so a relay behind it does.
        moment: ``(size, size)`` second moment of what is sent, in float units; None if nothing
            was measured, nothing was ever sent, or the population is larger than
            :data:`WHITENED`.
        steps: of a sample; 0 if nothing was measured.
        status: ``"measured"`` on calibration data or ``"assumed"``.
    """

    rates: FloatArray
    busy: float
    moment: FloatArray | None
    steps: int
    status: Literal["measured", "assumed"]

    @classmethod
    def assumed(cls, size: int) -> SourceActivity:
        """:data:`mapping.ir.traffic.ASSUMED_ACTIVITY`, and relays that send in every step."""
        rates = np.full(size, ASSUMED_ACTIVITY)
        return cls(rates=rates, busy=1.0, moment=None, steps=0, status="assumed")

    @classmethod
    def measured(cls, sent: FloatArray) -> SourceActivity:
        """Of a population that sent ``(samples, steps, size)`` in a run."""
        flat = sent.reshape(-1, sent.shape[-1])
        spikes = flat != 0
        return cls(
            rates=spikes.mean(axis=0),
            busy=float(spikes.any(axis=1).mean()),
            moment=second_moment(flat) if spikes.any() and flat.shape[1] <= WHITENED else None,
            steps=sent.shape[1],
            status="measured",
        )


def source_activity(
    network: Network, sources: set[str], calibration: Calibration | None
) -> dict[str, SourceActivity]:
    """The activity of each of ``sources``, measured in a run of ``network`` if there are data."""
    if calibration is None:
        return {name: SourceActivity.assumed(network.population(name).size) for name in sources}
    payloads = calibration.payloads
    sent: Mapping[str, FloatArray] = run_float_network(network, payloads)
    shown = np.float64(network.input.payload_scale) * payloads.reshape(*payloads.shape[:2], -1)
    everything = {**sent, network.input.name: shown.astype(np.float64)}
    return {name: SourceActivity.measured(everything[name]) for name in sources}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """The modelled dynamic energy of one dense layer.

    Attributes:
        chip: whose energy table and memory count.
        outputs, inputs: shape of the weights.
        from_host: whether the host sends what the layer reads.
        weight_bits: of its synapses.
        activity: of what the layer reads.
        visited: compartments of the network, each visited once more in the step that a pair adds.
    """

    chip: ChipSpec
    outputs: int
    inputs: int
    from_host: bool
    weight_bits: int
    activity: SourceActivity
    visited: int

    @classmethod
    def of(
        cls, layer: Dense, network: Network, chip: ChipSpec, activity: SourceActivity, bits: int
    ) -> LayerCost:
        """The cost of ``layer``, at ``bits`` per weight."""
        outputs, inputs = layer.weight.shape
        return cls(
            chip=chip,
            outputs=outputs,
            inputs=inputs,
            from_host=isinstance(network.population(layer.source), Input),
            weight_bits=bits,
            activity=activity,
            visited=sum(p.size for p in network.populations if not isinstance(p, Input)),
        )

    def full_j(self) -> float:
        """As one matrix [J per step]: every spike is read by each of the outputs."""
        spikes = float(self.activity.rates.sum())
        return self._energy_j(
            synaptic_op_dense=spikes * self.outputs,
            **self._packets(spikes, self.outputs, self.inputs, from_host=self.from_host),
        )

    def factored_j(self, rank: int) -> float:
        """As V, ``rank`` relays and U [J per step].

        Every spike is read by each relay, and every relay that sends by each of the outputs; all
        relays send in a step with any spike. The longer sample is shared out over its steps.
        """
        steps = self.activity.steps
        longer = self.visited / steps if steps else 0.0
        spikes, graded = float(self.activity.rates.sum()), self.activity.busy * rank
        to_relays = self._packets(spikes, rank, self.inputs, from_host=self.from_host)
        to_target = self._packets(graded, self.outputs, rank, from_host=False)
        return self._energy_j(
            synaptic_op_dense=spikes * rank + graded * self.outputs,
            compartment_access=rank + longer,
            compartment_update=graded + longer,
            spike=graded,
            **{action: to_relays[action] + to_target[action] for action in to_relays},
        )

    def _packets(
        self, spikes: float, rows: int, columns: int, *, from_host: bool
    ) -> dict[str, float]:
        """Packets of ``spikes`` to as many cores as ``rows`` of ``columns`` synapses take."""
        core = self.chip.core
        words = columns * core.words_per_axon(rows, self.weight_bits)
        cores = max(-(-rows // core.compartments.value), -(-words // core.synapse_words.value))
        packets = spikes * cores
        return {
            "axon_in": packets,
            "axon_out": 0.0 if from_host else packets,
            "within_tile": 0.0 if from_host else packets,
            "host_packet": packets if from_host else 0.0,
        }

    def _energy_j(self, **amounts: float) -> float:
        names = (name for name in ActionCounts.__dataclass_fields__)
        counts = ActionCounts(**{n: np.full((1, 1, 1), amounts.get(n, 0.0)) for n in names})
        return sum(float(energy.sum()) for energy in dynamic_energy_j(counts, self.chip).values())
