"""Calls of the kernels that are made again by the shortest way, while what they rest on stays.

Between two batches of a network in use nothing changes but the samples. To look for what a call may
run on, and to pass it through torch, takes longer than the products of a small batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from operator import attrgetter, call, contains, is_, itemgetter
from typing import Any, Generic, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.kept import changes, sizes_kept
from adlrns_neuro.functional.packed import torch_rounds

Result = TypeVar("Result")

_STATE = itemgetter("training", "_forward_hooks", "_forward_pre_hooks")
_PLACES = attrgetter("_parameters", "_buffers", "_modules")


class Repeat(Generic[Result]):
    """The last call, to be made again.

    Copies and pickles of it know no call. It keeps what the call was made on until :meth:`forget`,
    or a call finds that it has changed.
    """

    def __init__(self) -> None:
        self._made: tuple[_Standing, Callable[..., Result | None]] | None = None

    def __reduce__(self) -> tuple[type[Repeat[Result]], tuple[()]]:
        """An empty one: a call rests on what is here."""
        return type(self), ()

    def forget(self) -> None:
        """Forget the call."""
        self._made = None

    def again(self, given: tuple[object, ...], x: Tensor, *further: object) -> Result | None:
        """What the call makes of other samples; None, with nothing done, if it has to be prepared.

        That is so after any change of what it was made on, for samples that it cannot take, and
        where torch watches or changes what operators do: gradients, autocast, modes,
        transformations, compilation, profiles.

        Args:
            given: what it was made on; the same objects, if it is to be made again.
            x, further: what may differ from call to call.
        """
        if torch.compiler.is_compiling():
            return None
        made = self._made
        if made is None or not _plainly(x):
            return None
        standing, run = made
        if not standing.holds(given):
            self._made = None
            return None
        return run(x, *further)

    def note(
        self, given: tuple[object, ...], x: Tensor, look: Callable[[], RestsOn[Result]]
    ) -> None:
        """Remember a call that was made.

        Args:
            given, x: as of :meth:`again`.
            look: finds what the call rests on.
        """
        if torch.compiler.is_compiling() or not _plainly(x):
            return
        if self._made is not None and self._made[0].holds(given):
            return  # These samples alone were others.
        on = look()
        named = [*_tensors(on.modules), *(some for some in given if isinstance(some, Tensor))]
        reads = [*{id(tensor): tensor for tensor in named}.values()]  # Some may be shared.
        if not all(type(tensor) in (Tensor, nn.Parameter) for tensor in reads):
            return
        try:
            standing = _Standing(given, on, reads)
        except RuntimeError:  # Tensors of inference mode count no changes.
            return
        run = on.prepare()
        self._made = None if run is None else (standing, run)


@dataclass(frozen=True, kw_only=True, slots=True)
class RestsOn(Generic[Result]):
    """What a call rests on besides its inputs.

    Attributes:
        modules: all whose classes, modes, hooks, children, parameters and buffers count; in place
            those may change that are named as private, as ranks are.
        settings: modules, and the names of attributes that count, too.
        prepare: looks whether the call can be made, after all of that has been noted, so that no
            change by another thread passes unseen, and makes what takes ``x`` and ``further`` of
            :meth:`Repeat.again` and calls; either may be None.
    """

    modules: Sequence[nn.Module]
    settings: Sequence[tuple[nn.Module, Sequence[str]]]
    prepare: Callable[[], Callable[..., Result | None] | None]


class _Standing:
    """All that a call rests on, as it was."""

    def __init__(
        self, given: tuple[object, ...], on: RestsOn[Any], reads: Sequence[Tensor]
    ) -> None:
        self._given = given
        self._rounds = torch_rounds()
        self._modules = tuple(on.modules)
        self._vars = [vars(module) for module in on.modules]
        places: list[dict[str, Any]] = [*chain.from_iterable(map(_PLACES, on.modules))]
        self._places = [place for place in places if place]
        self._empty = [place for place in places if not place]
        self._settings = [(vars(module), itemgetter(*names)) for module, names in on.settings]
        self._parts = self._now()
        self._reads = reads
        self._memories = [ref(tensor.untyped_storage()) for tensor in reads]
        self._states = [*map(_copied, self._state())]
        self._sized_as_before = sizes_kept(reads)
        self._changes = changes(reads)

    def holds(self, given: tuple[object, ...]) -> bool:
        """Whether all is as it was."""
        parts = self._now()
        return (
            all(map(is_, given, self._given))
            and len(parts) == len(self._parts)
            and all(map(is_, parts, self._parts))
            and not any(self._empty)
            and self._rounds == torch_rounds()
            and self._states == self._state()
            and self._changes == changes(self._reads)
            and self._sized_as_before(*self._reads)
            and None not in map(call, self._memories)
        )

    def _now(self) -> list[object]:
        """Parameters, buffers and children of the modules that had some."""
        return [*chain.from_iterable(map(dict.values, self._places))]

    def _state(self) -> list[object]:
        """Of each module class, mode, hooks, and whether a function stands in the place of its
        method; and the settings.
        """
        return [
            *map(type, self._modules),
            *map(contains, self._vars, repeat("forward")),
            *map(_STATE, self._vars),
            *(names(own) for own, names in self._settings),
        ]


def _tensors(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Parameters and buffers of the modules themselves, but for private ones."""
    held: list[dict[str, Any]] = []
    for module in modules:
        held += module._parameters, module._buffers
    named = chain.from_iterable(own.items() for own in held)
    return [some for name, some in named if some is not None and not name.startswith("_")]


def _copied(state: object) -> object:
    """A state that stays as it is: the hooks are those of now."""
    return tuple(map(copy, state)) if isinstance(state, tuple) else state


_INCLUDED: Any = getattr(torch._C, "_dispatch_tls_local_include_set", None)
"""What stands between an operator and its kernel in this thread, beyond the tensors' own."""
_OWN: Any = getattr(torch._C, "_dispatch_keys", None)
"""What a tensor brings with it."""


@cache
def _usual() -> tuple[frozenset[int], frozenset[int]]:
    """Both as numbers, outside inference mode and inside it, where nothing else plays a part."""

    def found() -> tuple[int, int]:
        return _INCLUDED().raw_repr(), _OWN(torch.empty(0, device="cpu")).raw_repr()

    def both() -> tuple[tuple[int, int], tuple[int, int]]:
        with torch.inference_mode():
            inside = found()
        return inside, found()

    with ThreadPoolExecutor(1) as apart:  # What has been set is set for a thread.
        threads, tensors = zip(*apart.submit(both).result(), strict=True)
    return frozenset(threads), frozenset(tensors)


def _plainly(x: Tensor) -> bool:
    """Whether an operator would do nothing to x but run its kernel, and no gradient is needed."""
    if type(x) is not Tensor or torch.is_grad_enabled() or _INCLUDED is None or _OWN is None:
        return False
    threads, tensors = _usual()
    return (
        _INCLUDED().raw_repr() in threads
        and _OWN(x).raw_repr() in tensors
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._len_torch_function_stack()
        and not torch.autograd.profiler._is_profiler_enabled
    )
