"""``curve.json``: what one adaptive program reaches at each energy budget, beside its baselines."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mapping.artifact.schema import Artifact
from mapping.errors import ConfigError
from simulators.record import NonNegative, Record, RecordFile

SCHEMA = "adlrns-curve/1"

Share = Annotated[float, Field(ge=0, le=1)]
Rank = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)$")]


class Measured(Record):
    """What one run over the data set reached; energies and latency are means per sample.

    Attributes:
        accuracy: share of correct answers; None without labels.
        dynamic_j: dynamic energy [J].
        static_j: static energy of the used cores [J]; static_chip_j: of all chips in use [J].
        latency_s: duration of all steps [s].
    """

    accuracy: Share | None
    dynamic_j: NonNegative
    static_j: NonNegative
    static_chip_j: NonNegative
    latency_s: NonNegative

    @property
    def energy_j(self) -> float:
        """Dynamic energy plus the static energy of the used cores [J]."""
        return self.dynamic_j + self.static_j


class BudgetPoint(Measured):
    """The adaptive program at one budget.

    Attributes:
        budget_j: dynamic energy that an inference may take [J].
        price: the price of energy that keeps to it, in the unit of the gates.
        ranks: by low-rank layer, the share of samples and steps that each rank served.
        mean_rank: by low-rank layer, the mean over samples and steps.
        core_dynamic_j: ``(cores,)`` dynamic energy of each core [J].
        core_dark_share: ``(cores,)`` share of samples and steps in which each core was dark:
            nothing reached it and it updated nothing.
    """

    budget_j: NonNegative
    price: NonNegative
    ranks: dict[str, dict[Rank, Share]]
    mean_rank: dict[str, NonNegative]
    core_dynamic_j: tuple[NonNegative, ...]
    core_dark_share: tuple[Share, ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(self.core_dynamic_j) != len(self.core_dark_share):
            raise ValueError("core_dynamic_j and core_dark_share differ in length")
        if self.ranks.keys() != self.mean_rank.keys():
            raise ValueError("ranks and mean_rank name different layers")
        for layer, shares in self.ranks.items():
            if abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"the shares of the ranks of {layer!r} do not add up to 1")
        return self


class AdaptiveCurve(Record):
    """The adaptive program over all budgets.

    Attributes:
        name: what the plots call it.
        program: fingerprint of the artifact that ran.
        points: one per budget, in any order.
    """

    name: str
    program: str
    points: Annotated[tuple[BudgetPoint, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _points_agree(self) -> Self:
        for one, other in pairwise(self.points):
            if len(one.core_dynamic_j) != len(other.core_dynamic_j):
                raise ValueError("points differ in their number of cores")
            if one.ranks.keys() != other.ranks.keys():
                raise ValueError("points name different layers")
        return self

    def falling(self) -> tuple[BudgetPoint, ...]:
        """The points from the largest budget to the smallest."""
        return tuple(sorted(self.points, key=lambda point: -point.budget_j))


class Baseline(Measured):
    """A program without gates, for comparison.

    Attributes:
        name: what the plots call it.
        kind: family, such as ``dense`` or ``static``; one marker in the plots each.
        cores: used cores.
    """

    name: str
    kind: str
    cores: Annotated[int, Field(ge=1)]


class Curve(RecordFile):
    """``curve.json``.

    Attributes:
        dataset, split: what was classified; samples: how many.
        target: the chip that every program was compiled for.
    """

    what = "curve"
    schema_name = SCHEMA
    code = "ADL-CRV-01"
    format: Literal["adlrns-curve/1"] = Field(alias="schema")
    dataset: str
    split: str
    samples: Annotated[int, Field(ge=1)]
    target: str
    adaptive: AdaptiveCurve
    baselines: tuple[Baseline, ...]

    def checked(self, artifact: Artifact, *, where: str = "curve") -> Curve:
        """This curve, if ``artifact`` is the program that it describes.

        Raises:
            ConfigError: ADL-CRV-02, naming ``where``.
        """
        cores, found = len(artifact.partitioned.cores), len(self.adaptive.points[0].core_dynamic_j)
        if self.adaptive.program != artifact.origin.fingerprint():
            message = "it was measured with another compiled program"
        elif found != cores:
            message = f"it describes {found} cores, the program has {cores}"
        else:
            return self
        raise ConfigError(
            message,
            where=where,
            remedy="measure the curve of this artifact and use that file",
            code="ADL-CRV-02",
        )


def load_curve(path: Path | str) -> Curve:
    """Read a curve file.

    Raises:
        ArtifactError: ADL-CRV-01, the file is missing, not JSON or not a curve.
    """
    return Curve.load(path)
