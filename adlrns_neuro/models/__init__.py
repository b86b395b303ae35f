"""Networks that train here and run unchanged on the chip."""

from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SnnConfig, SpikeTrains

__all__ = ["DenseSNN", "LowRankSNN", "SnnConfig", "SpikeTrains"]
