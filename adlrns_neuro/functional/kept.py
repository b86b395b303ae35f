"""Layouts that kernels read, kept between calls while what they are of stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import Tensor

Layout = TypeVar("Layout")
_CHANGES: Callable[[Tensor], object] = attrgetter("_version")
"""How often a tensor has changed in place."""
_SHAPE: Callable[[Tensor], object] = attrgetter("shape")
_GUARDS: Any = getattr(getattr(torch._C, "_dynamo", None), "guards", None)
"""What torch's compiler looks at before it runs what it has made."""


class Kept(Generic[Layout]):
    """Makes layouts and keeps them, each as long as the memory of its first tensor lives.

    A layout is made anew when torch sees that a tensor has changed: in place (as optimisers and
    ``load_state_dict`` do) or by taking other memory. Fused optimisers change tensors unseen:
    :func:`forget` is for those. Tensors made in inference mode count no changes, so theirs is made
    every time.
    """

    def __init__(self) -> None:
        _ALL.add(self)
        self._by_memory: WeakKeyDictionary[torch.UntypedStorage, dict[Hashable, _Found[Layout]]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Of how many memories there are layouts."""
        return len(self._by_memory)

    def of(
        self, tensors: Sequence[Tensor], make: Callable[[], Layout], *, key: Hashable = None
    ) -> Layout:
        """The layout of some tensors.

        Args:
            tensors: one or more.
            make: makes it.
            key: tells layouts of different kinds that begin with the same tensor apart.
        """
        try:
            stamp = [*changes(tensors), *sizes(tensors)]
        except RuntimeError:  # One was made in inference mode.
            return make()
        first = tensors[0]
        place = key, first.storage_offset()
        with self._lock:
            there = self._by_memory.get(first.untyped_storage())
            found = None if there is None else there.get(place)
        if found is None or found.stamp != stamp or not found.of(tensors):
            memories = [ref(tensor.untyped_storage()) for tensor in tensors[1:]]
            found = _Found(make(), stamp, memories)
            with self._lock:
                self._by_memory.setdefault(first.untyped_storage(), {})[place] = found
        return found.layout

    def forget(self, tensors: Sequence[Tensor]) -> None:
        """Drop the layouts that any of these tensors is part of."""
        gone = {id(tensor.untyped_storage()) for tensor in tensors}
        with self._lock:
            for first, there in list(self._by_memory.items()):
                for place, found in list(there.items()):
                    if id(first) in gone or not gone.isdisjoint(found.parts()):
                        del there[place]


_ALL: WeakSet[Kept[Any]] = WeakSet()


def forget(tensors: Iterable[Tensor]) -> None:
    """Drop all layouts of tensors that may change without torch counting it."""
    given = [*tensors]
    for kept in _ALL:
        kept.forget(given)


def changes(tensors: Sequence[Tensor]) -> list[object]:
    """What differs after a change that torch counts, or once tensors take other memory.

    Raises:
        RuntimeError: if one was made in inference mode, which counts none.
    """
    return [*map(_CHANGES, tensors), *map(Tensor.data_ptr, tensors)]


def sizes(tensors: Sequence[Tensor]) -> list[object]:
    """Shapes and strides."""
    return [*map(_SHAPE, tensors), *map(Tensor.stride, tensors)]


def sizes_kept(tensors: Sequence[Tensor]) -> Callable[..., bool]:
    """What tells of tensors whether :func:`sizes` are still those of these ones.

    Torch's compiler has a function for that, several times as fast as to ask each tensor. It says
    no to more than other sizes, such as another mode, so then they are asked.

    Args:
        tensors: each of them once.
    """
    before = sizes(tensors)
    if not hasattr(_GUARDS, "TensorGuards"):
        return lambda *now: sizes(now) == before
    shapes = [[*tensor.shape] for tensor in tensors]
    steps = [[*tensor.stride()] for tensor in tensors]
    check = _GUARDS.TensorGuards(
        *tensors, dynamic_dims_sizes=shapes, dynamic_dims_strides=steps
    ).check
    return lambda *now: check(*now) or sizes(now) == before


@dataclass(frozen=True, slots=True)
class _Found(Generic[Layout]):
    """A layout and what it is of.

    Attributes:
        layout: the same.
        stamp: of all tensors, :func:`changes` and :func:`sizes`.
        memories: of all tensors but the first.
    """

    layout: Layout
    stamp: list[object]
    memories: Sequence[ref[torch.UntypedStorage]]

    def parts(self) -> list[int]:
        """Identities of the memories that are still there."""
        return [id(found) for memory in self.memories if (found := memory()) is not None]

    def of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the tensors lie in the same memory, not in what has taken its place."""
        there = map(Tensor.untyped_storage, tensors[1:])
        return all(map(is_, (memory() for memory in self.memories), there))
