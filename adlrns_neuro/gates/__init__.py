"""Gates that choose a rank per sample, their fit and their price."""

from adlrns_neuro.gates.fit import fit_gate, price_for_energy
from adlrns_neuro.gates.network import GateNetwork

__all__ = ["GateNetwork", "fit_gate", "price_for_energy"]
