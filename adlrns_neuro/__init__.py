"""Training: low-rank spiking networks whose rank can be chosen after training."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adlrns_neuro.adaptive import AdaptiveModel
    from adlrns_neuro.budget import BudgetManager
    from adlrns_neuro.conversion import calibrate_norms, convert, materialize
    from adlrns_neuro.gates import GateNetwork
    from adlrns_neuro.layers import (
        DynamicLowRankConv2d,
        DynamicLowRankLayer,
        RecurrentSpikingLowRankLayer,
        SpikingLowRankLayer,
    )
    from adlrns_neuro.perf import PerfEstimator
    from adlrns_neuro.schedulers import RankScheduler
    from adlrns_neuro.trainer import ADLRNSTrainer

__all__ = [
    "ADLRNSTrainer",
    "AdaptiveModel",
    "BudgetManager",
    "DynamicLowRankConv2d",
    "DynamicLowRankLayer",
    "GateNetwork",
    "PerfEstimator",
    "RankScheduler",
    "RecurrentSpikingLowRankLayer",
    "SpikingLowRankLayer",
    "calibrate_norms",
    "convert",
    "materialize",
]

_HOMES = {
    "ADLRNSTrainer": "adlrns_neuro.trainer",
    "AdaptiveModel": "adlrns_neuro.adaptive",
    "BudgetManager": "adlrns_neuro.budget",
    "DynamicLowRankConv2d": "adlrns_neuro.layers",
    "DynamicLowRankLayer": "adlrns_neuro.layers",
    "GateNetwork": "adlrns_neuro.gates",
    "PerfEstimator": "adlrns_neuro.perf",
    "RankScheduler": "adlrns_neuro.schedulers",
    "RecurrentSpikingLowRankLayer": "adlrns_neuro.layers",
    "SpikingLowRankLayer": "adlrns_neuro.layers",
    "calibrate_norms": "adlrns_neuro.conversion",
    "convert": "adlrns_neuro.conversion",
    "materialize": "adlrns_neuro.conversion",
}


def __getattr__(name: str) -> object:
    """Load what is exported on first use, so that ``adlrns-map`` starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
