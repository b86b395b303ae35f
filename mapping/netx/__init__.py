"""lava-dl networks in: the HDF5 files with the suffix ``.net`` that SLAYER exports."""

from mapping.netx.file import is_net
from mapping.netx.layers import LAYERS, NEURONS
from mapping.netx.read import read_net
from mapping.netx.support import layers_of

__all__ = ["LAYERS", "NEURONS", "is_net", "layers_of", "read_net"]
