"""Real data sets, split once into train, calibration and test, and their spike codes."""

from adlrns_neuro.data.coding import (
    Coding,
    code,
    delta_code,
    direct_code,
    latency_code,
    rate_code,
    requantised,
    spread_phases,
)
from adlrns_neuro.data.digits import DigitsSplits, LabelledImages, load_digits_splits

__all__ = [
    "Coding",
    "DigitsSplits",
    "LabelledImages",
    "code",
    "delta_code",
    "direct_code",
    "latency_code",
    "load_digits_splits",
    "rate_code",
    "requantised",
    "spread_phases",
]
