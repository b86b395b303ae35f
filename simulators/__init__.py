"""Backends that run compiled programs, and the energy they would take."""

from simulators.backend import simulate
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.trace import ExecutionTrace, Stimulus, load_stimulus, load_trace

__all__ = [
    "EnergyReport",
    "ExecutionTrace",
    "Stimulus",
    "estimate_energy",
    "load_stimulus",
    "load_trace",
    "simulate",
]
