"""Pure tensor functions and number grids; no state, no modules."""

from adlrns_neuro.functional.cost import expected_rank, relative_cost
from adlrns_neuro.functional.gate import (
    GateMemory,
    gate_signal,
    gate_states,
    gate_step,
    leading_gates,
)
from adlrns_neuro.functional.lif import snap_current_decay, snap_voltage_decay
from adlrns_neuro.functional.lowrank import block_weights, run_by_level
from adlrns_neuro.functional.relay import host_payloads, relay_payloads, relay_step

__all__ = [
    "GateMemory",
    "block_weights",
    "expected_rank",
    "gate_signal",
    "gate_states",
    "gate_step",
    "host_payloads",
    "leading_gates",
    "relative_cost",
    "relay_payloads",
    "relay_step",
    "run_by_level",
    "snap_current_decay",
    "snap_voltage_decay",
]
