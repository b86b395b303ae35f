"""Calls of the kernels that are made again by the shortest way, while what they rest on stays.

Between two batches of a network in use nothing changes but the samples. To look for what a call may
run on, and to pass it through torch, takes longer than the products of a small batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any, Generic, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn

from adlrns_neuro.functional.kept import changes
from adlrns_neuro.functional.packed import torch_rounds

Result = TypeVar("Result")

_STATE = itemgetter("training", "_forward_hooks", "_forward_pre_hooks")
_PLACES = attrgetter("_parameters", "_buffers", "_modules")


class Repeat(Generic[Result]):
    """The last call, to be made again.

    Copies and pickles of it know no call.
    """

    def __init__(self) -> None:
        self._made: _Made[Result] | None = None

    def __reduce__(self) -> tuple[type[Repeat[Result]], tuple[()]]:
        """An empty one: a call rests on what is here."""
        return type(self), ()

    def again(self, given: tuple[object, ...], x: Tensor, *further: object) -> Result | None:
        """What the call makes of other samples; None, with nothing done, if it has to be prepared.

        That is so after any change of what it was made on, and where torch watches or changes what
        operators do: gradients, autocast, modes, transformations, compilation, profiles.

        Args:
            given: what it was made on; the same objects, if it is to be made again.
            x, further: what may differ from call to call.
        """
        if torch.compiler.is_compiling():
            return None
        made = self._made
        if made is None or type(x) is not Tensor or not _plainly():
            return None
        if not made.holds(given):
            self._made = None
            return None
        return made.run(x, *further)

    def note(self, given: tuple[object, ...], look: Callable[[], RestsOn[Result]]) -> None:
        """Remember a call that was made.

        Args:
            given: as of :meth:`again`.
            look: finds what the call rests on.
        """
        if torch.compiler.is_compiling() or not _plainly():
            return
        on = look()
        try:
            self._made = _Made(given, on)
        except RuntimeError:  # Tensors of inference mode count no changes.
            self._made = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RestsOn(Generic[Result]):
    """What a call rests on besides its inputs.

    Attributes:
        modules: all whose classes, modes, hooks, children, parameters and buffers count.
        settings: modules and the names, two or more, of attributes that count, too.
        reads: tensors whose numbers do, of those that are float32: ranks do not change.
        run: takes ``x`` and ``further`` of :meth:`Repeat.again` and calls; it may return None, too.
    """

    modules: Sequence[nn.Module]
    settings: Sequence[tuple[nn.Module, Sequence[str]]] = ()
    reads: Sequence[Tensor]
    run: Callable[..., Result | None]


class _Made(Generic[Result]):
    """A call, and all that it rests on, as it was."""

    def __init__(self, given: tuple[object, ...], on: RestsOn[Result]) -> None:
        self.run = on.run
        self._given = given
        self._rounds = torch_rounds()
        self._modules = tuple(on.modules)
        self._vars = [vars(module) for module in on.modules]
        self._places: list[dict[str, Any]] = [*chain.from_iterable(map(_PLACES, on.modules))]
        self._settings = [(vars(module), itemgetter(*names)) for module, names in on.settings]
        self._parts = self._now()
        self._reads = [some for some in on.reads if some.dtype == torch.float32 and some.numel()]
        self._memories = [ref(some.untyped_storage()) for some in self._reads]
        self._states = [*map(_copied, self._state())]
        self._changes = changes(self._reads)

    def holds(self, given: tuple[object, ...]) -> bool:
        """Whether all is as it was."""
        parts = self._now()
        return (
            all(map(is_, given, self._given))
            and len(parts) == len(self._parts)
            and all(map(is_, parts, self._parts))
            and self._rounds == torch_rounds()
            and self._states == self._state()
            and self._changes == changes(self._reads)
            and not any(memory() is None for memory in self._memories)
        )

    def _now(self) -> list[object]:
        """Parameters, buffers and children of the modules."""
        return [*chain.from_iterable(map(dict.values, self._places))]

    def _state(self) -> list[object]:
        """Of each module: class, number of attributes (a function in the place of ``forward`` is
        one more), mode, hooks; and the settings.
        """
        return [
            *map(type, self._modules),
            *map(len, self._vars),
            *map(_STATE, self._vars),
            *(names(own) for own, names in self._settings),
        ]


def _copied(state: object) -> object:
    """A state that stays as it is: the hooks are those of now."""
    return tuple(map(copy, state)) if isinstance(state, tuple) else state


_INCLUDED = getattr(torch._C, "_dispatch_tls_local_include_set", None)
"""What stands between an operator and its kernel in this thread, beyond the tensors' own."""
_KEYS: Any = torch._C.DispatchKey
_PLAIN: Any = torch._C.DispatchKeySet(_KEYS.BackendSelect)
_USUAL = (_PLAIN.add(_KEYS.ADInplaceOrView).raw_repr(), _PLAIN.raw_repr())
"""Outside inference mode, and inside it."""


def _plainly() -> bool:
    """Whether an operator would do nothing but run its kernel, and no gradient is needed."""
    return (
        not torch.is_grad_enabled()
        and _INCLUDED is not None
        and _INCLUDED().raw_repr() in _USUAL
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._len_torch_function_stack()
        and not torch.autograd.profiler._is_profiler_enabled
    )
