"""lava-dl networks in: the HDF5 files with the suffix ``.net`` that SLAYER exports."""

from mapping.netx.file import is_net
from mapping.netx.read import read_net

__all__ = ["is_net", "read_net"]
