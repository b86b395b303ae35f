from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from support.errors import refused
from torch import Tensor

from adlrns_neuro.data import Coding, DigitsSplits, LabelledImages, load_digits_splits
from adlrns_neuro.evaluation import Examples, accuracy_by_rank, encode
from adlrns_neuro.models import DenseSNN, LowRankSNN, SnnConfig
from adlrns_neuro.recipe import digits_recipe
from adlrns_neuro.snn_trainer import (
    READOUT_LIMIT,
    TrainedSnn,
    TrainingConfig,
    limit_readout,
    train_dense_snn,
    train_digits_snn,
    train_snn,
)
from mapping.errors import ConfigError

SHORT = SnnConfig(steps=4)
QUICK = TrainingConfig(teacher_epochs=1, nested_epochs=1)


@pytest.fixture(scope="module")
def splits() -> DigitsSplits:
    return load_digits_splits(0)


@pytest.fixture(scope="module")
def trained(splits: DigitsSplits) -> TrainedSnn:
    return train_digits_snn(
        splits, SHORT, TrainingConfig(teacher_epochs=4, nested_epochs=2), progress=False
    )


def weights(trained: TrainedSnn) -> Mapping[str, Tensor]:
    return trained.model.state_dict()


def test_a_few_epochs_beat_chance_by_far(splits: DigitsSplits, trained: TrainedSnn) -> None:
    accuracy = accuracy_by_rank(trained.model, encode(splits.calibration, SHORT.steps))
    assert accuracy == trained.calibration_accuracy
    assert list(accuracy) == [4, 8, 16]
    assert accuracy[4] > 0.4
    assert accuracy[16] > 0.75
    assert trained.teacher_calibration_accuracy > 0.75


@pytest.mark.parametrize("coding", ["rate", "latency", "delta"])
def test_a_twin_learns_in_the_coding_of_its_configuration(
    splits: DigitsSplits, coding: Coding
) -> None:
    binary = {} if coding == "delta" else {"payload_max": 1, "payload_scale": 1.0}
    twin = SnnConfig(steps=4, coding=coding, **binary)  # type: ignore[arg-type]
    training = TrainingConfig(teacher_epochs=4, nested_epochs=2)
    trained = train_digits_snn(splits, twin, training, progress=False)
    coded = encode(splits.calibration, twin.steps, coding)
    assert accuracy_by_rank(trained.model, coded) == trained.calibration_accuracy
    assert trained.calibration_accuracy[16] > 0.4


def test_a_dense_network_trains_for_as_long_as_a_low_rank_one(
    splits: DigitsSplits, capsys: pytest.CaptureFixture[str]
) -> None:
    train, held_out = (encode(part, 4) for part in (splits.train, splits.calibration))
    training = TrainingConfig(teacher_epochs=2, nested_epochs=3)
    dense = train_dense_snn(train, held_out, SHORT, training, progress=False)
    longer = TrainingConfig(teacher_epochs=5, nested_epochs=1)
    teacher = train_digits_snn(splits, SHORT, longer, progress=False).teacher
    for one, other in zip(dense.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_relay_penalty_makes_relays_send_less(splits: DigitsSplits) -> None:
    recipe = digits_recipe()
    coded = encode(splits.calibration, recipe.snn.steps, "rate")
    sent = []
    for penalty in (0.0, 3.0):
        training = TrainingConfig(teacher_epochs=2, nested_epochs=3, relay_penalty=penalty)
        model = train_digits_snn(splits, recipe.snn, training, progress=False).model
        with torch.no_grad():
            relayed = model(coded.payloads).relayed
        assert relayed is not None
        sent.append(float(relayed.abs().mean()))
    assert sent[1] < 0.9 * sent[0]


def test_blocks_train_from_the_step_on_at_which_they_open(splits: DigitsSplits) -> None:
    train, held_out = (encode(part, 3) for part in (splits.train, splits.calibration))
    snn = SnnConfig(steps=3, levels=(4, 8))
    early, late = (
        train_snn(
            train,
            held_out,
            snn,
            TrainingConfig(teacher_epochs=1, nested_epochs=1, open_at=open_at),
            progress=False,
        ).model.input_projection.V
        for open_at in (0, 2)
    )
    assert not torch.equal(early, late)
    dark = train.payloads[:, :50].clone()
    dark[:2] = 0
    model = LowRankSNN(snn)
    full, masked = model(train.payloads[:, :50], open_at=2).relayed, model(dark).relayed
    assert full is not None
    assert masked is not None
    torch.testing.assert_close(full[..., 4:], masked[..., 4:])
    assert not torch.equal(full[..., :4], masked[..., :4])


def test_blocks_that_open_after_the_last_step_are_refused(splits: DigitsSplits) -> None:
    late = TrainingConfig(teacher_epochs=1, nested_epochs=1, open_at=4)
    with refused(ConfigError, "ADL-TRN-04", where="TrainingConfig.open_at", remedy="0 to 3"):
        train_digits_snn(splits, SHORT, late, progress=False)


@pytest.mark.parametrize(
    ("payloads", "labels"), [(torch.float32, torch.int32), (torch.int64, torch.int64)]
)
def test_examples_of_other_types_are_refused(payloads: torch.dtype, labels: torch.dtype) -> None:
    with refused(ConfigError, "ADL-TRN-02", where="Examples", remedy="labels.long()"):
        Examples(
            payloads=torch.zeros(4, 2, 64, dtype=payloads), labels=torch.zeros(2, dtype=labels)
        )


@pytest.mark.parametrize("hidden", [-16, 8, 24, 352])
def test_a_recipe_for_an_unsuitable_size_is_refused(hidden: int) -> None:
    with refused(ConfigError, "ADL-SNN-04", where="digits_recipe.hidden", remedy="16 to 336"):
        digits_recipe(hidden=hidden)


@pytest.mark.parametrize("coding", ["rate", "delta"])
def test_recipes_are_of_their_coding_size_and_seed(coding: Coding) -> None:
    recipe = digits_recipe(coding, hidden=32, seed=7)
    assert (recipe.snn.coding, recipe.snn.hidden, recipe.training.seed) == (coding, 32, 7)


def test_a_coding_without_a_recipe_is_refused() -> None:
    with refused(ConfigError, "ADL-COD-01", where="digits_recipe.coding", remedy="rate, delta"):
        digits_recipe("latency")


def test_weights_suit_eight_bits(trained: TrainedSnn) -> None:
    for name, weight in trained.model.named_parameters():
        assert float(weight.detach().abs().max()) < 4.0, name


@pytest.mark.parametrize("kind", [LowRankSNN, DenseSNN])
def test_a_few_huge_weights_of_a_readout_are_limited(kind: type[LowRankSNN | DenseSNN]) -> None:
    model = kind(SHORT)
    weight = model.output_projection.weight
    with torch.no_grad():
        weight.fill_(0.1)
        weight[0, :2] = torch.tensor([10.0, -10.0])
        before = weight.clone()
    limit_readout(model)
    limit = READOUT_LIMIT * float(before.square().mean().sqrt())
    assert weight[0, :2].tolist() == pytest.approx([limit, -limit])
    assert torch.equal(weight[1:], before[1:])


def test_the_seed_decides_every_bit_of_the_weights(splits: DigitsSplits) -> None:
    first = train_digits_snn(splits, SHORT, QUICK, progress=False)
    with torch.random.fork_rng():
        torch.manual_seed(99)  # the caller's stream must not matter
        again = train_digits_snn(splits, SHORT, QUICK, progress=False)
    for name, weight in weights(first).items():
        assert torch.equal(weight, weights(again)[name]), name
    other = train_digits_snn(
        splits, SHORT, TrainingConfig(seed=1, teacher_epochs=1, nested_epochs=1), progress=False
    )
    assert not torch.equal(first.model.input_projection.U, other.model.input_projection.U)


def test_the_caller_keeps_random_state_and_threads(splits: DigitsSplits) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train_digits_snn(splits, SHORT, QUICK, progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_test_split_is_never_read(splits: DigitsSplits) -> None:
    nothing = LabelledImages(
        images=np.zeros((0, 64), dtype=np.int64), labels=np.zeros(0, dtype=np.int64)
    )
    blinded = DigitsSplits(train=splits.train, calibration=splits.calibration, test=nothing)
    full = train_digits_snn(splits, SHORT, QUICK, progress=False)
    blind = train_digits_snn(blinded, SHORT, QUICK, progress=False)
    for name, weight in weights(full).items():
        assert torch.equal(weight, weights(blind)[name]), name


@pytest.mark.parametrize("progress", [True, False])
def test_progress_goes_to_stderr_or_nowhere(
    splits: DigitsSplits, capsys: pytest.CaptureFixture[str], progress: bool
) -> None:
    train_digits_snn(splits, SHORT, QUICK, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("nested" in captured.err) is progress
    assert progress or captured.err == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("teacher_epochs", 0),
        ("nested_epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("logit_scale", float("nan")),
        ("distillation_share", 1.1),
        ("temperature", 0.0),
        ("activity_penalty", -1.0),
        ("relay_penalty", -0.1),
        ("open_at", -1),
        ("seed", -1),
    ],
)
def test_a_recipe_out_of_range_is_refused(field: str, value: float) -> None:
    with refused(
        ConfigError, "ADL-TRN-01", where=f"TrainingConfig.{field}", remedy="choose a value"
    ):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("samples", "labels"), [(3, 4), (0, 0)])
def test_labels_that_do_not_pair_with_samples_are_refused(samples: int, labels: int) -> None:
    with refused(ConfigError, "ADL-TRN-02", where="Examples.labels", remedy="labels (n,)"):
        Examples(
            payloads=torch.zeros(4, samples, 64), labels=torch.zeros(labels, dtype=torch.int64)
        )


def test_a_label_without_a_readout_neuron_is_refused(splits: DigitsSplits) -> None:
    with refused(ConfigError, "ADL-TRN-03", where="train.labels", remedy="SnnConfig.classes"):
        train_digits_snn(splits, SnnConfig(classes=9, steps=4), QUICK, progress=False)
