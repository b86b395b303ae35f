"""Networks that train here; the spiking ones run unchanged on the chip."""

from adlrns_neuro.models.mlp import DenseMLP, LowRankMLP, MlpConfig
from adlrns_neuro.models.resnet import CifarResNet, adlrns_resnet
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN, SpikeTrains
from adlrns_neuro.models.snn_classifier import DenseSnnClassifier, RankedSnnClassifier
from adlrns_neuro.models.snn_config import SnnConfig

__all__ = [
    "CifarResNet",
    "DenseMLP",
    "DenseSNN",
    "DenseSnnClassifier",
    "LowRankMLP",
    "LowRankSNN",
    "MlpConfig",
    "RankedSnnClassifier",
    "SnnConfig",
    "SpikeTrains",
    "adlrns_resnet",
]
