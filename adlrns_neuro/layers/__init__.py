"""Thin modules around the functional core."""

from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.ranked import Ranked
from adlrns_neuro.layers.spiking import SpikingPopulation

__all__ = ["DynamicLowRankLayer", "Ranked", "SpikingPopulation"]
