"""Named alternatives: placers, partitioners, backends. Outsiders add theirs by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoints, entry_points
from typing import Generic, TypeVar

from mapping.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Implementations of one kind under their names.

    Args:
        kind: what they are, singular, as errors call it.
        group: entry-point group from which further implementations load on first use.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its argument under ``name``."""

        def file(implementation: T) -> T:
            assert name not in self._known, f"{self.kind} {name} registered twice"
            self._known[name] = implementation
            return implementation

        return file

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self._known, *(e.name for e in self._outside())}))

    def get(self, name: str) -> T:
        """The implementation called ``name``.

        Raises:
            ConfigError: ADL-CFG-01, there is none; the message lists what exists.
        """
        if name not in self._known:
            for entry in self._outside():
                if entry.name == name:
                    self._known[name] = entry.load()
        if name not in self._known:
            near = get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown {self.kind} {name!r}",
                where=self.kind,
                remedy=f"{hint}choose one of: {', '.join(self.names())}",
                code="ADL-CFG-01",
            )
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _outside(self) -> EntryPoints:
        return entry_points(group=self.group)
