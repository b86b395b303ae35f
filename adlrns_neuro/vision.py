"""torchvision, loaded when it is first needed: the optional extra ``vision``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

from mapping.errors import MissingDependencyError

_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """The package ``torchvision``, its data sets, transforms and models.

    Where its compiled operators do not load, as those of the registry's build for CUDA beside a CPU
    build of torch, its Python side fails on the names of two of them. They are declared then, which
    is enough for everything but object detection: calling one stays an error of torch.

    Raises:
        MissingDependencyError: ``ADL-DEP-04`` when it is not installed, or not made for the torch
            that is.
    """
    if find_spec("torchvision") is None:
        raise _missing("torchvision is not installed")
    try:
        return _load()
    except (ImportError, RuntimeError, AttributeError) as error:
        raise _missing(f"torchvision cannot be loaded beside torch {torch.__version__}") from error


def _load() -> ModuleType:
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if not any(f"operator {name} does not exist" in str(error) for name in _OPERATORS):
            raise
    for name in _OPERATORS:
        torch.library.define(name, _SIGNATURE)
    return import_module("torchvision")


def _missing(message: str) -> MissingDependencyError:
    return MissingDependencyError(
        message,
        where="torchvision",
        remedy="install the release that belongs to this torch: pip install 'adlrns[vision]'",
        code="ADL-DEP-04",
    )
