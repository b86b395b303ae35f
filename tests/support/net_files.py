"""lava-dl ``.net`` files as SLAYER writes them, and what they compute, by SLAYER's own rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.nn import functional

Layer = dict[str, Any]


def cuba(**changes: object) -> dict[str, Any]:
    """Parameters of CUBA neurons."""
    usual = {"iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1, "gradedSpike": False}
    return {"type": "CUBA", **usual, **changes}


def dense(weight: object, **changes: object) -> Layer:
    """A dense layer."""
    weight = np.asarray(weight, np.float32)
    sizes = {"outFeatures": weight.shape[0], "inFeatures": weight.shape[-1]}
    return {
        "type": "dense",
        "shape": [weight.shape[0]],
        "weight": weight,
        **(sizes if weight.ndim == 2 else {}),
        "neuron": cuba(),
        **changes,
    }


def conv(
    inputs: tuple[int, int, int],
    weight: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    **changes: object,
) -> Layer:
    """A convolution over ``inputs`` by a ``weight`` of (outputs, inputs, height, width)."""
    return {
        "type": "conv",
        "shape": _outputs(inputs, weight, stride, padding, dilation, groups),
        "inChannels": inputs[0],
        "outChannels": len(weight),
        "kernelSize": list(weight.shape[2:4]),
        "stride": list(stride),
        "padding": list(padding),
        "dilation": list(dilation),
        "groups": groups,
        "weight": weight[..., None].astype(np.float32),
        "neuron": cuba(),
        **changes,
    }


def pool(
    inputs: tuple[int, int, int], kernel: tuple[int, int], weight: int, **changes: object
) -> Layer:
    """Sums over windows that tile every channel."""
    channels, height, width = inputs
    return {
        "type": "pool",
        "shape": [channels, height // kernel[0], width // kernel[1]],
        "kernelSize": list(kernel),
        "stride": list(kernel),
        "padding": [0, 0],
        "dilation": [1, 1],
        "weight": np.full((1, 1, *kernel), weight, np.float32),
        "neuron": cuba(),
        **changes,
    }


def without(layer: Layer, *keys: str) -> Layer:
    """``layer`` less some of its keys."""
    return {key: value for key, value in layer.items() if key not in keys}


def write_net(path: Path | str, layers: Sequence[Layer], **simulation: float) -> Path:
    """Write ``layers`` and, if given, entries of the group ``simulation``."""
    with h5py.File(path, "w") as file:
        for number, layer in enumerate(layers):
            for key, value in layer.items():
                _put(file, f"layer/{number}/{key}", value)
        for key, number_ in simulation.items():
            file[f"simulation/{key}"] = number_
    return Path(path)


def run_layers(layers: Sequence[Layer], spikes: np.ndarray) -> Iterator[np.ndarray]:
    """What the neurons of each layer send, ``(steps, neurons)``, if synapses take a step.

    Args:
        layers: their neurons, synapses, biases and delays.
        spikes: ``(steps, *input shape)``.
    """
    sent = spikes.reshape(len(spikes), -1)
    shape: tuple[int, ...] = spikes.shape[1:]
    for layer in layers:
        match layer["type"]:
            case "flatten":
                shape = (sent.shape[1],)
            case "dense" | "conv" | "pool":
                arriving = _synapses(layer, _delayed(sent, np.array(1)).reshape(-1, *shape))
                shape = arriving.shape[1:]
                emitted = _neurons(layer, arriving.reshape(len(spikes), -1), shape)
                yield emitted
                sent = _delayed(emitted, np.asarray(layer.get("delay", 0), np.int64))


def _synapses(layer: Layer, spikes: np.ndarray) -> np.ndarray:
    weight = np.asarray(layer["weight"], np.int64)
    if layer["type"] == "dense":
        return spikes @ weight.reshape(layer["shape"][0], -1).T
    kernel = torch.tensor(weight if weight.ndim == 4 else weight[..., 0], dtype=torch.float64)
    groups = layer.get("groups", 1)
    if layer["type"] == "pool":
        groups = spikes.shape[1]
        kernel = kernel.repeat(groups, 1, 1, 1)
    summed = functional.conv2d(
        torch.tensor(spikes, dtype=torch.float64),
        kernel,
        stride=layer["stride"],
        padding=layer["padding"],
        dilation=layer["dilation"],
        groups=groups,
    )
    return summed.numpy().astype(np.int64)


def _neurons(layer: Layer, arriving: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    neuron = layer["neuron"]
    bias = np.asarray(layer.get("bias", 0)).astype(np.int64).reshape(-1)
    if bias.size == shape[0]:
        bias = np.repeat(bias, arriving.shape[1] // shape[0])
    u, v = np.zeros((2, arriving.shape[1]), np.int64)
    sent = np.zeros_like(arriving)
    for step, a in enumerate(arriving):
        u = _kept(u, neuron["iDecay"]) + (a << (6 + neuron.get("wgtExp", 0)))
        v = _kept(v, neuron["vDecay"]) + u + (bias << 6)
        sent[step] = v > neuron["vThMant"] << 6
        v[sent[step] > 0] = 0
    return sent


def _kept(state: np.ndarray, decay: int) -> np.ndarray:
    return np.sign(state) * (np.abs(state) * (4096 - decay) >> 12)


def _delayed(spikes: np.ndarray, delays: np.ndarray) -> np.ndarray:
    late = np.zeros_like(spikes)
    for neuron, delay in enumerate(np.broadcast_to(delays.reshape(-1), spikes.shape[1:])):
        late[delay:, neuron] = spikes[: len(spikes) - delay, neuron]
    return late


def _outputs(
    inputs: tuple[int, int, int],
    weight: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> list[int]:
    empty = torch.zeros((1, *inputs))
    kernel = torch.zeros(weight.shape)
    return list(functional.conv2d(empty, kernel, None, stride, padding, dilation, groups).shape[1:])


def _put(file: h5py.File, key: str, value: object) -> None:
    if isinstance(value, dict):
        for name, entry in value.items():
            _put(file, f"{key}/{name}", entry)
    elif key.endswith("/type") and "/neuron/" not in key:
        file.create_dataset(key, (1,), "S10", [str(value).encode()])
    else:
        file[key] = value
