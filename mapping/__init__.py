"""The mapping compiler: from a trained network to the cores of a neuromorphic chip."""

from mapping.artifact.read import load_artifact
from mapping.artifact.write import write_artifact
from mapping.errors import AdlrnsError
from mapping.ir.checkpoint import load_network, save_network
from mapping.ir.traffic import Calibration
from mapping.pipeline import CompileOptions, CompileResult, compile_network
from mapping.targets.load import load_target

__all__ = [
    "AdlrnsError",
    "Calibration",
    "CompileOptions",
    "CompileResult",
    "compile_network",
    "load_artifact",
    "load_network",
    "load_target",
    "save_network",
    "write_artifact",
]
