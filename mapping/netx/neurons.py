"""Neurons of a ``.net`` file, and the delays of their spikes."""

from __future__ import annotations

from math import prod

import numpy as np

from mapping.errors import UnsupportedModelError
from mapping.ir.network_rules import LONGEST_DELAY
from mapping.ir.quantized import NEVER, IntegerLif
from mapping.ir.synapses import IntArray
from mapping.netx.file import Record
from mapping.netx.layers import NEURONS
from mapping.semantics.fixedpoint import DECAY_UNIT, STATE_SHIFT

_LARGEST_SUM = DECAY_UNIT // 2


def neurons(record: Record, shape: tuple[int, ...]) -> IntegerLif:
    """The population of ``shape`` whose parameters are in ``record``."""
    kind = record.text("neuron/type")
    if kind not in NEURONS or NEURONS[kind].status == "refused":
        read = [name for name, support in NEURONS.items() if support.status != "refused"]
        unknown = f"is not read; only {' and '.join(read)} are"
        why = NEURONS[kind].reason if kind in NEURONS else unknown
        raise _neuron(record, f"the neuron type {kind} {why}")
    current, voltage = record.whole("neuron/iDecay"), record.whole("neuron/vDecay")
    if not 1 <= current <= DECAY_UNIT or not 0 <= voltage < DECAY_UNIT:
        raise _neuron(
            record,
            f"iDecay {current} and vDecay {voltage}; the chip has 1 to {DECAY_UNIT} and 0 to "
            f"{DECAY_UNIT - 1}",
        )
    for key, plain, why in (
        ("refDelay", (0, 1), "the chip has no refractory time"),
        ("gradedSpike", (0,), "a spike of LIF neurons carries no value"),
        ("weight_exp", (0,), "its norm scales the current, which belongs into the weights"),
    ):
        if f"neuron/{key}" in record and record.whole(f"neuron/{key}") not in plain:
            raise _neuron(record, f"{key} is {record.whole(f'neuron/{key}')}, but {why}")
    bias = record.integers("bias").ravel() if "bias" in record else np.zeros(1, np.int64)
    return IntegerLif(
        name=f"layer{record.number}",
        shape=shape,
        du=current - 1,
        dv=voltage,
        threshold=record.whole("neuron/vThMant"),
        bias_mantissa=_spread(record, "bias", bias, shape).astype(np.int32),
        bias_exponent=STATE_SHIFT,
        scale=1.0,
    )


def read_out(record: Record, shape: tuple[int, ...], largest: int) -> IntegerLif:
    """Integrators of ``shape`` for a last layer without neurons, whose voltage starts anew.

    A voltage keeps 1/4096 of the one before, less than half a unit of a sum below
    :data:`_LARGEST_SUM`: rounded to units of 64 it is the sum of its step.

    Args:
        record: the layer.
        shape: of what it sums up.
        largest: what the absolute values of its weights add up to at most.
    """
    bias = record.integers("bias").ravel() if "bias" in record else np.zeros(1, np.int64)
    largest += int(np.abs(bias).max(initial=0))
    if largest >= _LARGEST_SUM:
        raise _neuron(
            record,
            f"has no neurons, and its sums may reach {largest}; the chip tells apart those below "
            f"{_LARGEST_SUM}",
        )
    return IntegerLif(
        name=f"layer{record.number}",
        shape=shape,
        du=DECAY_UNIT - 1,
        dv=DECAY_UNIT - 1,
        threshold=NEVER,
        bias_mantissa=_spread(record, "bias", bias, shape).astype(np.int32),
        bias_exponent=STATE_SHIFT,
        scale=1.0,
    )


def axonal_delays(record: Record, size: int) -> IntArray:
    """``(size,)`` steps by which the neurons delay their own spikes."""
    if "delay" not in record:
        return np.zeros(size, np.int64)
    delays = _spread(record, "delay", record.integers("delay").ravel(), (size,))
    low, high = int(delays.min()), int(delays.max())
    if low < 0 or high > LONGEST_DELAY:
        raise delay_refused(record.where, f"delays reach from {low} to {high} steps")
    return delays


def _spread(record: Record, what: str, values: IntArray, shape: tuple[int, ...]) -> IntArray:
    """``(neurons,)`` values of which there are one for all, for each channel or for each neuron."""
    size = prod(shape)
    if values.size not in (1, shape[0], size):
        raise record.misshapen(f"{what} has {values.size} values, there are {size} neurons")
    return np.repeat(values, size // values.size)


def delay_refused(where: str, message: str) -> UnsupportedModelError:
    """What to raise for delays that the chip lacks."""
    return UnsupportedModelError(
        message,
        where=where,
        remedy=f"give delays of 0 to {LONGEST_DELAY} steps to layers that others read",
        code="ADL-NTX-07",
    )


def _neuron(record: Record, message: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        message,
        where=record.where,
        remedy=NEURONS["CUBA"].remedy,
        code="ADL-NTX-05",
    )
