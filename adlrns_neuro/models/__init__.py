"""Networks that train here; the spiking ones run unchanged on the chip."""

from adlrns_neuro.models.resnet import CifarResNet, adlrns_resnet
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SnnConfig, SpikeTrains

__all__ = [
    "CifarResNet",
    "DenseSNN",
    "LowRankSNN",
    "SnnConfig",
    "SpikeTrains",
    "adlrns_resnet",
]
