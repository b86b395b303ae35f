"""Networks that train here: perceptrons, and spiking ones that run unchanged on the chip."""

from adlrns_neuro.models.mlp import DenseMLP, LowRankMLP, MlpConfig
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SnnConfig, SpikeTrains

__all__ = [
    "DenseMLP",
    "DenseSNN",
    "LowRankMLP",
    "LowRankSNN",
    "MlpConfig",
    "SnnConfig",
    "SpikeTrains",
]
