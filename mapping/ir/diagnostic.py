"""What a design rule says about a compiled program, and what would make one fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding: a stable code, a place, what is wrong and the remedy."""

    code: str
    severity: Severity
    where: str
    message: str
    remedy: str

    @property
    def about_capacity(self) -> bool:
        """Whether it is a resource of which there is too little."""
        return self.code.split("-")[1] == "CAP"

    def __str__(self) -> str:
        return f"{self.code} · {self.where}: {self.message}. Remedy: {self.remedy}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A change of one compiler option with which the network was tried and found to fit.

    Attributes:
        option: name of the option, as in ``CompileOptions``, or ``target``.
        value: what to set it to; None to drop it.
        cores_used, cores_available: of the chip, or grid of chips, that it then fits.
        utilisation: share of its scarcest resource that the fullest core takes.
        relative_error: of the weights of the layer that rounding, or a lower rank, changes most;
            0 for integer models.
    """

    option: str
    value: int | str | None
    cores_used: int
    cores_available: int
    utilisation: float
    relative_error: float

    def __str__(self) -> str:
        option = f"--{self.option.replace('_', '-')}"
        choice = f"without {option} it" if self.value is None else f"{option} {self.value}"
        effect = f"{self.cores_used} of {self.cores_available} cores"
        if self.relative_error:
            effect += f", weights off by {self.relative_error:.2%} at most"
        return f"{choice} fits: {effect}"
