"""Thin modules around the functional core."""

from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.layers.conv import DynamicLowRankConv2d
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.norm import LevelBatchNorm
from adlrns_neuro.layers.ranked import Ranked, RankedModule
from adlrns_neuro.layers.relayed_pair import PairDynamics
from adlrns_neuro.layers.spiking import SpikingPopulation
from adlrns_neuro.layers.spiking_lowrank import (
    RecurrentSpikingLowRankLayer,
    SpikingLowRankLayer,
)

__all__ = [
    "DynamicLowRankConv2d",
    "DynamicLowRankLayer",
    "LevelBatchNorm",
    "LowRankLayer",
    "PairDynamics",
    "Ranked",
    "RankedModule",
    "RecurrentSpikingLowRankLayer",
    "SpikingLowRankLayer",
    "SpikingPopulation",
]
