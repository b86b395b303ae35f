"""Which layers of a model can be replaced by low-rank ones, and why others cannot."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TypedDict

from torch import nn

Convertible = nn.Linear | nn.Conv2d


class ConvGeometry(TypedDict):
    """How a convolution steps over its image."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidate:
    """A weight matrix of the model, with all layers that share it.

    Attributes:
        names: of the layers; the first stands for all.
        modules: the layers, without repetition.
    """

    names: tuple[str, ...]
    modules: tuple[Convertible, ...]

    @property
    def name(self) -> str:
        """Of the first layer."""
        return self.names[0]

    @property
    def out(self) -> int:
        """Rows of the matrix: outputs, or output channels."""
        return self.modules[0].weight.shape[0]

    @property
    def fan_in(self) -> int:
        """Columns of the matrix: inputs, or the values under a kernel."""
        return self.modules[0].weight[0].numel()

    @property
    def highest_rank_that_pays(self) -> int:
        """The largest rank whose factors have fewer weights than the matrix; 0 if there is none."""
        return math.ceil(self.out * self.fan_in / (self.out + self.fan_in)) - 1


def find_candidates(model: nn.Module) -> tuple[list[Candidate], dict[str, str]]:
    """The weights that can be replaced, and, by layer, why others cannot.

    Returns:
        In the model's order; a layer that occurs twice is named once for each place.
    """
    places: dict[Convertible, list[str]] = defaultdict(list)
    for name, part in model.named_modules(remove_duplicate=False):
        if isinstance(part, nn.Linear | nn.Conv2d):
            places[part].append(name)
    uses: dict[int, int] = defaultdict(int)
    for part in model.modules():
        for parameter in part.parameters(recurse=False):
            uses[id(parameter)] += 1
    reasons: dict[str, str] = {}
    sharing: dict[int, list[Convertible]] = defaultdict(list)
    for module, names in places.items():
        reason = _obstacle(module)
        if reason is None:
            sharing[id(module.weight)].append(module)
        else:
            reasons[names[0]] = reason
    candidates = []
    for key, modules in sharing.items():
        names = [name for module in modules for name in places[module]]
        alike = len({_form(module) for module in modules}) == 1
        if len(modules) == uses[key] and alike:
            candidates.append(Candidate(names=tuple(names), modules=tuple(modules)))
        else:
            reasons |= dict.fromkeys(names, "its weight is shared with a layer of another kind")
    return candidates, reasons


def conv_geometry(module: nn.Conv2d) -> ConvGeometry:
    """Stride, padding and dilation in numbers, of an evenly padded convolution."""
    height, width = module.kernel_size
    down, right = module.dilation
    if module.padding == "same":
        padding = (down * (height - 1) // 2, right * (width - 1) // 2)
    elif module.padding == "valid":
        padding = (0, 0)
    else:
        assert not isinstance(module.padding, str)
        padding = (module.padding[0], module.padding[1])
    stride = (module.stride[0], module.stride[1])
    return {"stride": stride, "padding": padding, "dilation": (down, right)}


def _form(module: Convertible) -> object:
    if isinstance(module, nn.Linear):
        return "linear"
    return tuple(conv_geometry(module).values())


def _obstacle(module: Convertible) -> str | None:
    """Why a layer cannot be replaced, or None."""
    own = type(module).forward is not (
        nn.Linear.forward if isinstance(module, nn.Linear) else nn.Conv2d.forward
    )
    if own:
        return f"{type(module).__name__} has a forward of its own"
    if module._parameters.get("weight") is None or nn.utils.parametrize.is_parametrized(module):
        return "its weight is computed from other parameters"
    if isinstance(module, nn.Linear):
        return None
    if module.groups > 1:
        return f"a convolution in {module.groups} groups"
    if module.padding_mode != "zeros":
        return f"padded by {module.padding_mode!r} values"
    spread = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if module.padding == "same" and any(extent % 2 for extent in spread):
        return "padded unevenly"
    return None
