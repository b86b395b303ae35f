"""What a NIR file leaves open: time step, reset, integration, order of the CubaLIF update."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, get_args, get_type_hints

from mapping.errors import ConfigError, UnsupportedModelError

PUBLISHED_DT_S = 1e-4
"""Step duration that the published files and snnTorch's importer use [s]."""
DtFrom = Literal["option", "file", "assumed"]
"""Who says how long a step is; assumed is :data:`PUBLISHED_DT_S`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NirConventions:
    """How the continuous equations of a NIR file become steps.

    With ``a = dt / tau`` for ``euler`` and ``a = 1 - exp(-dt / tau)`` for ``exp``, which is exact
    for an input that is constant within a step, and each neuron's ``a_mem`` and ``a_syn``::

        i = (1 - a_syn) * i + a_syn * w_in * input       CubaLIF; LIF: i = input
        v = (1 - a_mem) * v + a_mem * (v_leak + r * i)   previous: with i of the step before
        spike where v > v_threshold, then v = v_reset

    Attributes:
        dt_s: duration of a step [s]; None takes the file's own, which only our exporter records,
            or else :data:`PUBLISHED_DT_S`.
        reset: what a spike does to the voltage.
        integration: forward Euler or the exact exponential.
        cuba_order: whether a CubaLIF voltage sees the new current or that of the step before.

    Raises:
        ConfigError: ADL-NIR-02, a value is none of the choices or ``dt_s`` is not positive.
        UnsupportedModelError: ADL-NIR-03, reset by subtraction.
    """

    dt_s: float | None = None
    reset: Literal["zero", "subtract"] = "zero"
    integration: Literal["euler", "exp"] = "euler"
    cuba_order: Literal["new", "previous"] = "new"

    def __post_init__(self) -> None:
        if self.dt_s is not None and not (isfinite(self.dt_s) and self.dt_s > 0):
            raise ConfigError(
                f"the step duration {self.dt_s} is not a positive number of seconds",
                where="--dt",
                remedy="give the step in seconds, for example --dt 1e-4",
                code="ADL-NIR-02",
            )
        kinds = get_type_hints(NirConventions)
        for name in (field.name for field in fields(self) if field.name != "dt_s"):
            value, choices = getattr(self, name), get_args(kinds[name])
            if value not in choices:
                raise ConfigError(
                    f"{value!r} is not one of {', '.join(choices)}",
                    where=f"--{name.replace('_', '-')}",
                    remedy="choose one of them",
                    code="ADL-NIR-02",
                )
        if self.reset == "subtract":
            raise UnsupportedModelError(
                "the model subtracts the threshold at a spike, the chip resets to zero",
                where="--reset",
                remedy="fine-tune the model with reset to zero, or give --reset zero and accept "
                "that it fires less",
                code="ADL-NIR-03",
            )

    def as_options(self, dt_s: float) -> dict[str, str | float]:
        """The conventions by the names of their options, with the step that was used [s]."""
        chosen: dict[str, Any] = asdict(self)
        del chosen["dt_s"]
        return {"dt": dt_s, **chosen}
