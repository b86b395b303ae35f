"""Pure tensor functions and number grids; no state, no modules."""

from adlrns_neuro.functional.gate import gate_states, leading_gates
from adlrns_neuro.functional.lif import snap_current_decay, snap_voltage_decay
from adlrns_neuro.functional.lowrank import low_rank_linear

__all__ = [
    "gate_states",
    "leading_gates",
    "low_rank_linear",
    "snap_current_decay",
    "snap_voltage_decay",
]
