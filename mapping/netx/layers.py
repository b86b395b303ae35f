"""Which layers and neurons of lava-dl are read, as what, and why others are not, in one place."""

from __future__ import annotations

from collections.abc import Mapping

from mapping.nir.support import Support

_NEURONS = (
    "it has CUBA or LOIHI neurons, or is the last layer and sums below 2048; binary spikes and "
    "integer weights of 8 bits"
)
_CHAIN = "build the network from dense, convolution and pooling layers of CUBA neurons"
_SPREADS = "spreads its input, for which no form of synapses is read"

LAYERS: Mapping[str, Support] = {
    "input": Support(
        role="end",
        becomes="the input, of its shape",
        reason="it is the first layer and has no neurons: those would encode values, whose range "
        "is not in the file",
        remedy="leave the layer out and give its spikes as the input",
    ),
    "dense": Support(
        role="operator", becomes="a full matrix and neurons", reason=_NEURONS, remedy=_CHAIN
    ),
    "conv": Support(
        role="operator", becomes="a convolution and neurons", reason=_NEURONS, remedy=_CHAIN
    ),
    "pool": Support(
        role="operator",
        becomes="a pooling projection and neurons",
        reason=f"{_NEURONS}, and its windows tile what it reads",
        remedy=_CHAIN,
    ),
    "flatten": Support(role="operator", becomes="nothing: neurons are numbered as in the file"),
    "average": Support(
        role="operator",
        becomes="sums over neurons in a row, which integrators answer with",
        reason="it is the last layer, since no spike carries a mean, and sums below 2048",
        remedy=_CHAIN,
    ),
    "convT": Support(role="none", reason=_SPREADS, remedy=_CHAIN),
    "unpool": Support(role="none", reason=_SPREADS, remedy=_CHAIN),
    "concat": Support(
        role="none", reason="joins several layers, but only chains are read", remedy=_CHAIN
    ),
}
"""Every type of layer of SLAYER's ``export_hdf5`` that is read or has a reason not to be."""

_CUBA = "train with CUBA neurons, binary spikes and decays that the chip has"
_EXACT = (
    "binary spikes, iDecay 1 to 4096, vDecay 0 to 4095, refDelay 0 or 1, one value for the whole "
    "layer"
)

NEURONS: Mapping[str, Support] = {
    "CUBA": Support(role="neuron", becomes="the chip's neurons", reason=_EXACT, remedy=_CUBA),
    "LOIHI": Support(role="neuron", becomes="the same", reason=_EXACT, remedy=_CUBA),
    "SDNN": Support(role="none", reason="sends the changes of a value, not spikes", remedy=_CUBA),
    "RF": Support(role="none", reason="resonates: its state is complex", remedy=_CUBA),
    "ADRF": Support(role="none", reason="resonates: its state is complex", remedy=_CUBA),
    "ALIF": Support(role="none", reason="adapts its threshold", remedy=_CUBA),
}
"""Every type of neuron of SLAYER that is read or has a reason not to be."""
