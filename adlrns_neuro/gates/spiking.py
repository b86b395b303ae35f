"""Fit the gate of a spiking network, whose features arrive over the steps of a run."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from adlrns_neuro.evaluation import Examples
from adlrns_neuro.gates.fit import fit_gate
from adlrns_neuro.models.snn import LowRankSNN
from adlrns_neuro.models.snn_config import check_opening
from adlrns_neuro.snn_trainer import TrainingConfig, check_examples


def fit_spiking_gate(model: LowRankSNN, held_out: Examples, training: TrainingConfig) -> None:
    """Regress what each level gains on what has reached the gate by the end of the input, in place.

    Args:
        model: a trained network; only its gate changes.
        held_out: samples that the factors were not fitted to: there every level is always right.
        training: gives the scale of the logits and the step at which blocks open.

    Raises:
        ConfigError: ``ADL-TRN-03`` when a label is no class of the network, ``ADL-TRN-04`` when
            blocks would open after the last step.
    """
    check_examples(model.config, held_out=held_out)
    check_opening(model.config, training.open_at, where="TrainingConfig.open_at")
    with torch.no_grad():
        found = [_features_and_losses(model, part, training) for part in held_out.chunks()]
    features, losses = (torch.cat(parts) for parts in zip(*found, strict=True))
    fit_gate(model.input_projection.gate, features, losses)


def _features_and_losses(
    model: LowRankSNN, part: Examples, training: TrainingConfig
) -> tuple[Tensor, Tensor]:
    """What the gate has heard by the end of the input, (n, f), and the losses, (n, levels)."""
    trains = model.forward_levels(part.payloads, open_at=training.open_at)
    logits = trains.counts * training.logit_scale
    losses = [F.cross_entropy(level, part.labels, reduction="none") for level in logits]
    return model.gate_features(part.payloads), torch.stack(losses, dim=1)
