"""Real data sets, split once into train, calibration and test."""

from adlrns_neuro.data.digits import DigitsSplits, LabelledImages, direct_code, load_digits_splits

__all__ = ["DigitsSplits", "LabelledImages", "direct_code", "load_digits_splits"]
