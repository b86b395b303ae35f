"""From a trained module to the compiler's network description."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from adlrns_neuro.layers.linear import DynamicLowRankLayer
from adlrns_neuro.layers.spiking import SpikingPopulation
from adlrns_neuro.models.snn import DenseSNN, LowRankSNN
from adlrns_neuro.models.snn_config import SnnConfig
from mapping.errors import UnsupportedModelError
from mapping.ir.network import Dense, FloatArray, Input, Lif, LowRank, Network

INPUT, HIDDEN, READOUT = "pixels", "hidden", "readout"
ENCODER, DECODER = "encoder", "decoder"


def export_network(
    model: LowRankSNN | DenseSNN, *, name: str, dt_s: float, gated: bool = False
) -> Network:
    """Snapshot ``model`` as a float network; later training does not change it.

    Args:
        model: the trained classifier.
        name: what reports call the network.
        dt_s: duration that one step stands for [s].
        gated: let the gate of a low-rank model choose the level at run time; else the largest, or
            the one given to the compiler, runs.

    Raises:
        ConfigError: ADL-NET-05, a weight is NaN or infinite; ADL-NET-07, ``gated`` with one level.
        UnsupportedModelError: ADL-EXP-01, a low-rank layer has a bias; ADL-EXP-02, ``gated`` with
            a dense model.
    """
    if gated and not isinstance(model, LowRankSNN):
        raise UnsupportedModelError(
            "a dense model has no gate",
            where=name,
            remedy="export it with gated=False, or train a low-rank model",
            code="ADL-EXP-02",
        )
    config = model.config
    return Network(
        name=name,
        dt_s=dt_s,
        populations=(
            Input(
                name=INPUT,
                shape=(config.inputs,),
                payload_max=config.payload_max,
                payload_scale=config.payload_scale,
                delta=config.delta,
            ),
            _lif(HIDDEN, model.hidden),
            _lif(READOUT, model.readout),
        ),
        projections=(
            _factors(model.input_projection, config, gated)
            if isinstance(model, LowRankSNN)
            else _dense(ENCODER, INPUT, HIDDEN, model.input_projection),
            _dense(DECODER, HIDDEN, READOUT, model.output_projection),
        ),
        output=READOUT,
    )


def _lif(name: str, population: SpikingPopulation) -> Lif:
    return Lif(
        name=name,
        shape=(population.neurons,),
        current_decay=population.current_decay,
        voltage_decay=population.voltage_decay,
        threshold=population.threshold,
    )


def _factors(layer: DynamicLowRankLayer, config: SnnConfig, gated: bool) -> LowRank:
    if layer.level_bias is not None:
        raise UnsupportedModelError(
            "a low-rank layer with level biases cannot be exported yet",
            where=ENCODER,
            remedy="train it with level_bias=False",
            code="ADL-EXP-01",
        )
    gate = None
    if gated:
        gate = layer.gate.to_rank_gate(
            decay=config.gate_decay,
            trace_decay=config.trace_decay,
            trace_threshold=config.trace_threshold,
            at="source",
        )
    return LowRank(
        name=ENCODER,
        source=INPUT,
        target=HIDDEN,
        U=_array(layer.U),
        V=_array(layer.V),
        levels=layer.levels,
        relay_threshold=np.full(layer.levels[-1], config.relay_threshold),
        sigma=config.relay_threshold > 0,
        delta=config.relay_threshold > 0,
        gate=gate,
    )


def _dense(name: str, source: str, target: str, layer: nn.Linear) -> Dense:
    return Dense(name=name, source=source, target=target, weight=_array(layer.weight))


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float64)
