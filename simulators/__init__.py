"""Backends that run compiled programs, and the energy they would take."""

from simulators.backend import open_stream, simulate
from simulators.chip.noc import NocTiming, noc_timing
from simulators.energy.estimate import EnergyReport, estimate_energy
from simulators.trace import ExecutionTrace, Interrupted, Stimulus, load_stimulus, load_trace

__all__ = [
    "EnergyReport",
    "ExecutionTrace",
    "Interrupted",
    "NocTiming",
    "Stimulus",
    "estimate_energy",
    "load_stimulus",
    "load_trace",
    "noc_timing",
    "open_stream",
    "simulate",
]
