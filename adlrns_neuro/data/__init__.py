"""Real data sets, read from the files they are published in, how to split and how to code them.

:func:`load_dataset` reads by name whatever fits into memory, :func:`load_image_folder` folders of
images that do not.
"""

from adlrns_neuro.data.cifar import load_cifar_10
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
from adlrns_neuro.data.digits import (
    DigitsSplits,
    LabelledImages,
    load_digits_set,
    load_digits_splits,
)
from adlrns_neuro.data.events import Events
from adlrns_neuro.data.folders import ImageFolders, load_image_folder
from adlrns_neuro.data.idx import load_fashion_mnist, load_mnist
from adlrns_neuro.data.nmnist import EventRecordings, load_n_mnist, read_n_mnist
from adlrns_neuro.data.sets import DATASETS, DataSet, Labelled, folds, hold_out, load_dataset
from adlrns_neuro.data.sound import log_mel, send_on_delta
from adlrns_neuro.data.speech import Recordings, load_spoken_digits, read_spoken_digits

__all__ = [
    "DATASETS",
    "Coding",
    "DataSet",
    "DigitsSplits",
    "EventRecordings",
    "Events",
    "ImageFolders",
    "Labelled",
    "LabelledImages",
    "Recordings",
    "code",
    "delta_code",
    "direct_code",
    "folds",
    "hold_out",
    "latency_code",
    "load_cifar_10",
    "load_dataset",
    "load_digits_set",
    "load_digits_splits",
    "load_fashion_mnist",
    "load_image_folder",
    "load_mnist",
    "load_n_mnist",
    "load_spoken_digits",
    "log_mel",
    "rate_code",
    "read_n_mnist",
    "read_spoken_digits",
    "requantised",
    "send_on_delta",
    "spread_phases",
]
