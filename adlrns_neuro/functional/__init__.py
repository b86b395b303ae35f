"""Pure tensor functions and number grids; no state, no modules."""

from adlrns_neuro.functional.cost import expected_rank, relative_cost
from adlrns_neuro.functional.gate import gate_states, leading_gates
from adlrns_neuro.functional.lif import snap_current_decay, snap_voltage_decay
from adlrns_neuro.functional.lowrank import grouped_low_rank, low_rank_linear, weighted_low_rank

__all__ = [
    "expected_rank",
    "gate_states",
    "grouped_low_rank",
    "leading_gates",
    "low_rank_linear",
    "relative_cost",
    "snap_current_decay",
    "snap_voltage_decay",
    "weighted_low_rank",
]
