"""The error family of the whole toolchain.

Every error a user can cause says *where* it happened, *what* is wrong and what to do about it.
``code`` is stable across versions; ``exit_code`` is what the command line returns for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mapping.ir.diagnostic import Diagnostic, Fix

EXIT_INTERNAL = 1
EXIT_BAD_INPUT = 2
EXIT_DOES_NOT_FIT = 3


class AdlrnsError(Exception):
    """An error with a place, a reason and a remedy.

    Args:
        message: what is wrong, with the figures that show it.
        where: the file, layer, core or option at fault.
        remedy: what the user can do about it, as an imperative phrase.
        code: stable identifier such as ``ADL-CAP-02``.
    """

    exit_code: ClassVar[int] = EXIT_BAD_INPUT

    def __init__(self, message: str, *, where: str, remedy: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.code} · {self.where}: {self.message}. Remedy: {self.remedy}."

    def as_dict(self) -> dict[str, object]:
        """Its fields under the keys that the JSON contract uses for diagnostics."""
        return {
            "code": self.code,
            "severity": "error",
            "where": self.where,
            "message": self.message,
            "remedy": self.remedy,
        }

    def as_dicts(self) -> list[dict[str, object]]:
        """Everything that it reports, see :meth:`as_dict`."""
        return [self.as_dict()]


class ConfigError(AdlrnsError, ValueError):
    """An option, an argument or an input array is wrong."""


class UnsupportedModelError(AdlrnsError):
    """The model uses something that the toolchain or the chosen target cannot express."""


class TargetError(AdlrnsError):
    """A chip target is unknown or its description is incomplete."""


class QuantizationError(AdlrnsError):
    """The network has no faithful image on the target's number grid."""

    exit_code = EXIT_DOES_NOT_FIT


class CapacityError(AdlrnsError):
    """The network needs more of a resource than the chip has; ``fixes`` holds what would help."""

    exit_code = EXIT_DOES_NOT_FIT
    fixes: tuple[Fix, ...] = ()

    def propose(self, fixes: tuple[Fix, ...]) -> None:
        """Take ``fixes``, the cheapest first, for the remedy; without any it stays."""
        self.fixes = fixes
        self.remedy = _any_of(fixes) or self.remedy

    def as_dict(self) -> dict[str, object]:
        """Its fields, ``fixes`` included, as the JSON contract calls them."""
        return super().as_dict() | {"fixes": [asdict(fix) for fix in self.fixes]}


class PlacementError(AdlrnsError):
    """The cores cannot be placed on the mesh."""

    exit_code = EXIT_DOES_NOT_FIT


class RoutingError(AdlrnsError):
    """A packet flow cannot be routed."""

    exit_code = EXIT_DOES_NOT_FIT


class ArtifactError(AdlrnsError):
    """A program, an input or a data set on disk is missing, truncated or of another kind."""


class SimulationError(AdlrnsError):
    """A backend failed while running."""

    exit_code = EXIT_INTERNAL


class MissingDependencyError(AdlrnsError, ImportError):
    """An optional package is not installed; the remedy is the command that installs it."""


class DesignRuleError(AdlrnsError):
    """A compiled program breaks design rules; ``diagnostics`` holds every violation."""

    exit_code = EXIT_DOES_NOT_FIT

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        first = diagnostics[0]
        more = f" (and {len(diagnostics) - 1} more violations)" if len(diagnostics) > 1 else ""
        super().__init__(
            first.message + more, where=first.where, remedy=first.remedy, code=first.code
        )
        self.diagnostics = tuple(diagnostics)
        self.fixes: tuple[Fix, ...] = ()

    @property
    def capacity_codes(self) -> list[str]:
        """Codes of the broken rules that are about capacity."""
        return [d.code for d in self.diagnostics if d.about_capacity]

    def propose(self, fixes: tuple[Fix, ...]) -> None:
        """Take ``fixes``, the cheapest first, for the remedy of what is about capacity."""
        self.fixes = fixes
        remedy = _any_of(fixes)
        if remedy:
            self.diagnostics = tuple(
                replace(d, remedy=remedy) if d.about_capacity else d for d in self.diagnostics
            )
            self.remedy = self.diagnostics[0].remedy

    def as_dicts(self) -> list[dict[str, object]]:
        """Every violation, with ``fixes`` where it is about capacity."""
        fixes = {"fixes": [asdict(fix) for fix in self.fixes]}
        return [asdict(d) | (fixes if d.about_capacity else {}) for d in self.diagnostics]


def _any_of(fixes: tuple[Fix, ...]) -> str:
    return "; or ".join(map(str, fixes))
