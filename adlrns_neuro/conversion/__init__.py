"""Conversion of any torch model, and back to a plain one."""

from adlrns_neuro.conversion.attention import SeparateAttention
from adlrns_neuro.conversion.convert import convert
from adlrns_neuro.conversion.materialize import materialize
from adlrns_neuro.conversion.norms import calibrate_norms
from adlrns_neuro.conversion.report import ConversionReport, LayerReport

__all__ = [
    "ConversionReport",
    "LayerReport",
    "SeparateAttention",
    "calibrate_norms",
    "convert",
    "materialize",
]
