"""Experiments as YAML: which data, which network, how it trains, and what its energy is priced by.

A file needs only the keys in which it differs from the defaults::

    model: {type: adlrns_mlp, r_min: 16, r_max: 128}
    train: {batch_size: 128, epochs: 24, lr: 3e-3}

Keys are checked: one that does not exist is refused and the nearest that does is named, since a
misspelt one would otherwise leave a default in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_snake
from pydantic_core import ErrorDetails

from adlrns_neuro.data.coding import Coding
from adlrns_neuro.functional.cost import FLOPS_SHARE, MEMORY_SHARE
from adlrns_neuro.layers.levels import geometric_levels
from adlrns_neuro.schedulers import POLICIES
from adlrns_neuro.yaml_file import read_yaml
from mapping.errors import ConfigError
from mapping.processors.load import load_processor
from mapping.processors.spec import ProcessorSpec
from mapping.targets.figures import Constant

FLOPS_PER_MAC = 2.0
"""A multiply and an add: what processors' peak rates and energies per operation count."""

_Ranks = Annotated[tuple[Annotated[int, Field(strict=True, ge=1)], ...], Field(strict=False)]
_RanksByLayer = Annotated[
    tuple[Annotated[_Ranks, Field(min_length=1)], ...], Field(strict=False, min_length=1)
]
_Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Section(BaseModel):
    """What all sections share: immutable, typed strictly, and without unknown keys."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )


class DataConfig(_Section):
    """Where samples come from.

    Attributes:
        set: name of the data set.
        dir: folder that holds it; None where it needs none.
        options: of the set's loader, see ``docs/data.md``.
        held_out_share: of the training samples, kept from the weights: by them the epoch is chosen
            and gates are fitted. The test split plays no part in either.
    """

    set: str = "digits"
    dir: Annotated[Path | None, Field(strict=False)] = None
    options: dict[str, Any] = {}
    held_out_share: float = Field(default=0.1, gt=0, lt=1)


class SpikingConfig(_Section):
    """What else a spiking network is.

    Attributes:
        coding: how images become payloads, see :func:`adlrns_neuro.data.coding.code`; None where
            samples are spikes already, step by step.
        steps: with input, for images; spikes come in as many steps as they have.
        payload_max: largest payload of graded codings, to which pixels are scaled.
        hidden_current_decay, hidden_voltage_decay, hidden_threshold, readout_current_decay,
            readout_voltage_decay, readout_threshold, relay_threshold, gate_decay, trace_decay,
            trace_threshold: see :class:`adlrns_neuro.models.SnnConfig`.
        logit_scale: logit per readout spike.
        open_at: step from which on a level feeds the rank blocks above the first; as late as a gate
            would open them.
    """

    coding: Coding | None = "direct"
    steps: int = Field(default=8, ge=1)
    payload_max: int = Field(default=16, ge=1)
    hidden_current_decay: float = Field(default=0.0, ge=0, le=1)
    hidden_voltage_decay: float = Field(default=0.9375, ge=0, le=1)
    hidden_threshold: float = Field(default=1.0, gt=0)
    readout_current_decay: float = Field(default=0.5, ge=0, le=1)
    readout_voltage_decay: float = Field(default=0.9375, ge=0, le=1)
    readout_threshold: float = Field(default=1.0, gt=0)
    relay_threshold: float = Field(default=0.0, ge=0)
    gate_decay: float = Field(default=1.0, ge=0, le=1)
    trace_decay: float = Field(default=1.0, ge=0, le=1)
    trace_threshold: float = Field(default=0.0, ge=0)
    logit_scale: float = Field(default=0.5, gt=0)
    open_at: int = Field(default=0, ge=0)


class ModelConfig(_Section):
    """Which network.

    Attributes:
        type: its family, see :data:`adlrns_neuro.models.registry.MODELS`.
        r_min, r_max: smallest and largest rank of each layer.
        num_gate_blocks: rank blocks that a gate switches; there is one level more, the levels form
            a geometric series. None: each level is twice the one below.
        levels: the ranks themselves, ascending, in the place of the three keys above.
        layer_levels: those of each hidden layer of a perceptron, as many for each, in the place of
            ``levels``; r_min, r_max and num_gate_blocks are then the first layer's.
        scorer_hidden: size of the gates' rectified populations; 0 for linear gates.
        hidden: widths of the hidden layers of a perceptron.
        early_exit: let a perceptron answer from its first hidden layer at the lowest level, and
            leave out the others.
        depth: layers of a residual network.
        level_bias, level_gain: whether layers of a perceptron have a bias and a gain for each
            level; without biases those of the dense network are left out, too.
        snn: of a spiking network, which has one hidden layer.
    """

    type: str = "adlrns_mlp"
    r_min: int = Field(default=16, ge=1)
    r_max: int = Field(default=128, ge=1)
    num_gate_blocks: int | None = Field(default=None, ge=1)
    levels: _Ranks | None = Field(default=None, min_length=1)
    layer_levels: _RanksByLayer | None = None
    early_exit: bool = False
    scorer_hidden: int = Field(default=0, ge=0)
    hidden: _Ranks = (512, 512)
    depth: int = Field(default=20, ge=1)
    level_bias: bool = False
    level_gain: bool = False
    snn: SpikingConfig = SpikingConfig()

    @property
    def ranks(self) -> tuple[int, ...]:
        """The levels, ascending; the first layer's where each has its own."""
        if self.layer_levels is not None:
            return self.layer_levels[0]
        if self.levels is not None:
            return self.levels
        if self.num_gate_blocks is None:
            return geometric_levels(self.r_min, self.r_max)
        growth = (self.r_max / self.r_min) ** (1 / self.num_gate_blocks)
        inner = (round(self.r_min * growth**block) for block in range(1, self.num_gate_blocks))
        return (self.r_min, *inner, self.r_max)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if self.levels is None and self.layer_levels is None and self.r_min > self.r_max:
            raise ValueError(f"r_min {self.r_min} is above r_max {self.r_max}")
        if self.layer_levels is not None:
            self._layers_agree(self.layer_levels)
        ranks = self.ranks
        if self.early_exit:
            self._can_exit(len(ranks))
        if not _ascend(ranks):
            raise ValueError(
                f"levels {list(ranks)} do not ascend"
                if self.levels is not None
                else f"r_min {self.r_min} and r_max {self.r_max} leave no room for "
                f"{self.num_gate_blocks} gate blocks"
            )
        derived = {"r_min": ranks[0], "r_max": ranks[-1], "num_gate_blocks": len(ranks) - 1}
        for key in derived.keys() & self.model_fields_set:
            given = getattr(self, key)
            if given is not None and given != derived[key]:
                raise ValueError(f"{key} {given} contradicts levels {list(ranks)}")
        return self

    def _can_exit(self, levels: int) -> None:
        """Refuse an early exit where there is nothing to leave out."""
        if self.type != "adlrns_mlp":
            raise ValueError(f"early_exit is for adlrns_mlp, not for {self.type}")
        if len(self.hidden) < 2 or levels < 2:
            raise ValueError(
                f"early_exit leaves nothing out of {len(self.hidden)} hidden layers at {levels} "
                "levels; give two or more of both"
            )

    def _layers_agree(self, layers: Sequence[Sequence[int]]) -> None:
        """Refuse levels for each layer that do not fit each other, the layers or another key."""
        if self.type != "adlrns_mlp":
            raise ValueError(f"layer_levels is for adlrns_mlp, not for {self.type}")
        if len(layers) != len(self.hidden):
            raise ValueError(
                f"layer_levels has {len(layers)} lists for {len(self.hidden)} hidden layers"
            )
        if len({len(ranks) for ranks in layers}) > 1:
            raise ValueError("layer_levels has more levels for some layers than for others")
        for ranks in layers:
            if not _ascend(ranks):
                raise ValueError(f"levels {list(ranks)} do not ascend")
        if self.levels is not None:
            raise ValueError("levels beside layer_levels, which has them for each layer")


def _ascend(ranks: Sequence[int]) -> bool:
    return all(low < high for low, high in pairwise(ranks))


class TrainConfig(_Section):
    """How to train.

    Attributes:
        batch_size: samples per step, of all processes together.
        epochs: passes over the training samples.
        teacher_epochs: the same of the dense network that the factors start from and learn from;
            None for as many.
        lr: peak of the one-cycle learning rate.
        weight_decay: of AdamW, on weight matrices and factors.
        clip_norm: gradients are scaled down to this norm where theirs is larger.
        distillation_share: weight of the teacher's loss term; the labels get the rest.
        temperature: softens both distributions in the teacher's term.
        energy_penalty_weight: λ of the term λ E. 0 trains the factors alone, and gates are fitted
            to them afterwards; above 0 the gates train with the factors.
        activity_penalty, relay_penalty: of spiking networks, loss per spike of a hidden neuron in a
            step, and per unit that a relay sends in a step, means over all.
        levels_per_step: levels that a step trains: all where there are no more, else the highest,
            the lowest and random ones between.
        patience: epochs without a better validation after which training ends; None never.
        checkpoint_steps: steps between checkpoints inside an epoch; None at its end alone.
        fit_gates: fit the gates to the held-out samples at the end.
    """

    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=20, ge=1)
    teacher_epochs: int | None = Field(default=None, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    distillation_share: float = Field(default=0.3, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    energy_penalty_weight: float = Field(default=0.0, ge=0)
    activity_penalty: float = Field(default=0.0, ge=0)
    relay_penalty: float = Field(default=0.0, ge=0)
    levels_per_step: int = Field(default=4, ge=2)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_steps: int | None = Field(default=None, ge=1)
    fit_gates: bool = True


class SchedulerConfig(_Section):
    """How energy is weighed, and limited once the network runs.

    Attributes:
        type: name of the rank scheduler, see :class:`adlrns_neuro.schedulers.RankScheduler`.
        energy_budget_mj: of a sample, all layers together [mJ]; in files
            ``energy_budget_mJ_per_sample``.
        alpha, beta: weights of operations and of memory in E, see
            :func:`adlrns_neuro.functional.cost.relative_cost`.
    """

    type: str = "energy_aware"
    energy_budget_mj: float | None = Field(default=None, gt=0, alias="energy_budget_mJ_per_sample")
    alpha: float = Field(default=FLOPS_SHARE, ge=0)
    beta: float = Field(default=MEMORY_SHARE, ge=0)

    @model_validator(mode="after")
    def _known_and_some_cost(self) -> Self:
        if self.alpha + self.beta == 0:
            raise ValueError("alpha and beta are both 0, so that nothing has a cost")
        if self.type not in POLICIES.names():
            raise ValueError(
                f"type {self.type!r} is none of the schedulers {', '.join(POLICIES.names())}"
            )
        return self


class HardwareConfig(_Section):
    """What energies are modelled on.

    Attributes:
        gpu_type: a processor of ``adlrns-map processors list``, or the TOML file of one.
        flops_per_mac: operations that ``energy_per_flop`` counts for a multiply-accumulate.
        energy_per_flop: in the place of the processor's own [J].
    """

    gpu_type: str = "v100"
    flops_per_mac: float = Field(default=FLOPS_PER_MAC, gt=0)
    energy_per_flop: float | None = Field(default=None, gt=0)

    @property
    def profile(self) -> ProcessorSpec:
        """For :class:`adlrns_neuro.perf.PerfEstimator`.

        Raises:
            TargetError: ``ADL-PRC-01`` … ``03``, there is no such processor or it is ill described.
        """
        name = self.gpu_type if self.gpu_type.endswith(".toml") else self.gpu_type.lower()
        processor = load_processor(name)
        if self.energy_per_flop is None:
            return processor
        energy = Constant(
            value=self.energy_per_flop * self.flops_per_mac / FLOPS_PER_MAC,
            status="assumed",
            source="given by the configuration",
        )
        return replace(processor, energy_per_op_j=dict.fromkeys(processor.energy_per_op_j, energy))

    @model_validator(mode="after")
    def _operations_have_an_energy(self) -> Self:
        if self.energy_per_flop is None and self.flops_per_mac != FLOPS_PER_MAC:
            raise ValueError(
                f"flops_per_mac {self.flops_per_mac:g} has no effect without energy_per_flop; "
                f"the processor's own energy counts {FLOPS_PER_MAC:g} operations"
            )
        return self


class ExperimentConfig(_Section):
    """A whole experiment.

    Attributes:
        name: what its results are filed under.
        seed: of the initial weights, the held-out samples, the order of the samples and the levels
            that a step draws.
        data, model, train, scheduler, hardware: see the sections.
    """

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: _Seed = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    hardware: HardwareConfig = HardwareConfig()

    @model_validator(mode="after")
    def _gates_can_be_trained(self) -> Self:
        if self.model.early_exit and self.train.energy_penalty_weight > 0:
            raise ValueError(
                "gates cannot be trained with the factors (train.energy_penalty_weight above 0) "
                "beside model.early_exit, which is taken or not; fit them afterwards"
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """All keys with their values, as a file would give them; plain JSON types."""
        keys = self.model_dump(mode="json", by_alias=True)
        ranks = self.model.ranks
        keys["model"] |= {"r_min": ranks[0], "r_max": ranks[-1]}
        return keys


def load_config(path: Path) -> ExperimentConfig:
    """Read an experiment; its name is the file's where the file gives none.

    Raises:
        ConfigError: ``ADL-YML-01`` when the file cannot be read as YAML, ``ADL-YML-02`` on an
            unknown key, ``ADL-YML-03`` on a value that a key cannot have.
    """
    keys = read_yaml(path)
    return parse_config({"name": path.stem, **keys}, where=str(path))


def parse_config(keys: Mapping[str, Any], *, where: str = "config") -> ExperimentConfig:
    """An experiment from nested mappings.

    Args:
        keys: as a file would hold them.
        where: what errors call their origin.

    Raises:
        ConfigError: ``ADL-YML-02``, ``ADL-YML-03`` as in :func:`load_config`.
    """
    try:
        return ExperimentConfig.model_validate(dict(keys))
    except ValidationError as error:
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _refusal(details[0], where) from error


def with_settings(config: ExperimentConfig, settings: Mapping[str, Any]) -> ExperimentConfig:
    """The same experiment with some keys changed.

    Args:
        config: left as it is.
        settings: new values by key, sections parted by dots: ``{"train.lr": 1e-3}``.

    Raises:
        ConfigError: ``ADL-YML-02``, ``ADL-YML-03`` as in :func:`load_config`.
    """
    keys = config.model_dump(mode="python", by_alias=True, exclude_unset=True)
    for dotted, value in settings.items():
        *sections, key = dotted.split(".")
        part = keys
        for section in sections:
            part = part.setdefault(section, {})
            if not isinstance(part, dict):
                raise _unknown(dotted.split("."), "settings")
        part[key] = value
    return parse_config(keys, where="settings")


def _refusal(detail: ErrorDetails, where: str) -> ConfigError:
    """A validation error in the words of this package."""
    location = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return _unknown(location, where)
    key = ".".join(location)
    message = detail["msg"].removeprefix("Value error, ")
    given = f" (given: {detail['input']!r})" if not isinstance(detail["input"], Mapping) else ""
    return ConfigError(
        f"{message[:1].lower()}{message[1:]}{given}",
        where=f"{where}: {key}",
        remedy="correct the value; docs/training.md lists all keys with their ranges",
        code="ADL-YML-03",
    )


def _unknown(location: Sequence[str], where: str) -> ConfigError:
    """An error that names the nearest key."""
    *sections, key = location
    fields = _keys_of(sections)
    near = get_close_matches(to_snake(key), fields, n=1)
    elsewhere = [name for name in ExperimentConfig.model_fields if key in _keys_of([name])]
    if near:
        hint = f"did you mean {near[0]!r}? "
    elif elsewhere:
        hint = f"it belongs into {elsewhere[0]!r}; "
    else:
        hint = ""
    return ConfigError(
        f"unknown key {key!r}",
        where=f"{where}: {'.'.join(location)}",
        remedy=f"{hint}choose one of: {', '.join(fields) or 'none'}",
        code="ADL-YML-02",
    )


def _keys_of(sections: Sequence[str]) -> list[str]:
    """The keys of a section, as files spell them; none where there is no such section."""
    section: type[BaseModel] | None = ExperimentConfig
    for name in sections:
        field = section.model_fields.get(name) if section else None
        kind = field.annotation if field else None
        section = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    if section is None:
        return []
    return [field.alias or name for name, field in section.model_fields.items()]
