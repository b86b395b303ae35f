"""The settings that train the digits well, in one place for demo, examples and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adlrns_neuro.data.coding import Coding
from adlrns_neuro.models.snn_config import SnnConfig
from adlrns_neuro.snn_trainer import TrainingConfig
from mapping.errors import ConfigError

_HOLDS = 1 - 2**-12
"""Decay of a current that holds a change until the next one; the slowest on the chip."""
_TRAINING = TrainingConfig(teacher_epochs=75, nested_epochs=150, activity_penalty=0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A network and how to train it.

    Attributes:
        snn: sizes and constants of the network.
        training: how to train it.
    """

    snn: SnnConfig
    training: TrainingConfig


_RECIPES: dict[Coding, Recipe] = {
    "rate": Recipe(
        snn=SnnConfig(
            coding="rate",
            payload_max=1,
            payload_scale=1.0,
            steps=16,
            relay_threshold=2.0,
            hidden_current_decay=0.5,
        ),
        training=replace(_TRAINING, relay_penalty=0.05, open_at=1),
    ),
    "delta": Recipe(
        snn=SnnConfig(
            coding="delta",
            steps=6,
            hidden_current_decay=_HOLDS,
            trace_threshold=1.0,
        ),
        training=replace(_TRAINING, open_at=3),
    ),
}
"""Found by trial on calibration digits; ``benchmarks/bench_digits.py`` measures them."""


def digits_recipe(coding: Coding = "rate", *, hidden: int = 128, seed: int = 0) -> Recipe:
    """What :mod:`adlrns_neuro.demo` trains: ranks of 1/16, 1/8 and 3/16 of the hidden neurons.

    Args:
        coding: ``rate``, with relays that pile spikes up and a gate that is evaluated in every
            step, or ``delta``, with a gate that is evaluated when the input changes.
        hidden: neurons of the hidden population, a multiple of 16 up to 336.
        seed: of the initial weights and the order of the samples.

    Raises:
        ConfigError: ADL-COD-01, there is no recipe for the coding; ADL-SNN-04, ``hidden`` is no
            such number; ADL-TRN-01, ``seed`` is none.
    """
    if coding not in _RECIPES:
        raise ConfigError(
            f"there is no recipe for {coding!r} coding",
            where="digits_recipe.coding",
            remedy=f"choose one of {', '.join(_RECIPES)}",
            code="ADL-COD-01",
        )
    if hidden not in range(16, 337, 16):
        raise ConfigError(
            f"ranks of 1/16, 1/8 and 3/16 of {hidden} neurons do not suit 64 inputs",
            where="digits_recipe.hidden",
            remedy="choose a multiple of 16 from 16 to 336",
            code="ADL-SNN-04",
        )
    recipe = _RECIPES[coding]
    levels = (hidden // 16, hidden // 8, 3 * hidden // 16)
    return Recipe(
        snn=replace(recipe.snn, hidden=hidden, levels=levels),
        training=replace(recipe.training, seed=seed),
    )
