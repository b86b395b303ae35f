"""Thin modules around the functional core."""

from adlrns_neuro.layers.base import LowRankLayer
from adlrns_neuro.layers.conv import DynamicLowRankConv2d
from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.layers.spiking import SpikingPopulation

__all__ = [
    "DynamicLowRankConv2d",
    "DynamicLowRankLayer",
    "LowRankLayer",
    "Ranked",
    "SpikingPopulation",
]
