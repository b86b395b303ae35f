"""A training run on disk, in one safetensors file, so that one rename replaces it whole.

Tensors are the model's and the optimiser's; all else is JSON in the file's metadata. Nothing is
pickled. Random streams are functions of the seed and the position, see
:mod:`adlrns_neuro.training.randomness`, so the position stands for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mapping.artifact.atomic import atomic_file
from mapping.errors import ConfigError

FORMAT = "adlrns-training-1"
_MODEL, _OPTIMIZER = "model", "optimizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: passes over the training samples that are complete.
        step: steps that are complete in the next.
        best_epoch: with the best validation so far, counted from 1; 0 before the first.
        finished: nothing is left to do.
        sums: each loss, summed over the steps of the unfinished epoch.
        history: a record for each complete epoch.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    finished: bool = False
    sums: Mapping[str, float]
    history: tuple[Mapping[str, Any], ...] = ()


def save_weights(model: nn.Module, path: Path, about: Mapping[str, Any]) -> None:
    """Write a model's state, whole or not at all.

    Args:
        model: its ``state_dict`` is written, so ``load_weights`` fits a model of the same build.
        path: a ``.safetensors`` file; one that exists is replaced.
        about: kept in the metadata as JSON.

    Raises:
        ArtifactError: ``ADL-ART-01`` when it cannot be written.
    """
    _write(_flat(model.state_dict(), _MODEL), about, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote, or the weights of a checkpoint, into a model.

    Raises:
        ConfigError: ``ADL-TRN-07`` when the file is missing, damaged, or of another model.
    """
    tensors, _ = _read(path)
    _load_model(model, tensors, path)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    position: Position,
    run: Mapping[str, Any],
) -> None:
    """Write all that a run needs to go on, whole or not at all.

    Args:
        path: a ``.safetensors`` file; one that exists is replaced.
        model, optimizer, schedule: their state is written.
        position: where the run stands.
        run: what a run that resumes has to agree with.

    Raises:
        ArtifactError: ``ADL-ART-01`` when it cannot be written.
    """
    state = optimizer.state_dict()
    tensors = _flat(model.state_dict(), _MODEL)
    for number, entries in state["state"].items():
        tensors |= _flat(entries, f"{_OPTIMIZER}/{number}")
    about = {
        "position": asdict(position),
        "run": run,
        "groups": state["param_groups"],
        "schedule": schedule.state_dict(),
    }
    _write(tensors, about, path)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    run: Mapping[str, Any],
) -> Position:
    """Put a run back to where it was.

    Args:
        path: as in :func:`save_checkpoint`.
        model, optimizer, schedule: their state is replaced.
        run: what must be as it was.

    Raises:
        ConfigError: ``ADL-TRN-06`` when the checkpoint is of another run, ``ADL-TRN-07`` when it is
            damaged or of another model.
    """
    tensors, about = _read(path)
    _check_run(about["run"], json.loads(json.dumps(run)), path)
    _load_model(model, tensors, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == _OPTIMIZER:
            number, _, entry = rest.partition("/")
            state.setdefault(int(number), {})[entry] = tensor
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in about["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    schedule.load_state_dict(about["schedule"])
    position = about["position"]
    return Position(**position | {"history": tuple(position["history"])})


def remove_leftovers(folder: Path) -> None:
    """Delete what writes that were killed have left in a run's folder."""
    for path in folder.glob(".*-*.safetensors"):
        path.unlink()


def _flat(entries: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in entries.items()}


def _write(tensors: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> None:
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    whole = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    with atomic_file(path) as work:
        save_file(
            {name: tensor.contiguous() for name, tensor in whole.items()},
            work,
            metadata={FORMAT: json.dumps(about)},  # one key: several have no fixed order
        )
        handle = os.open(work, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    try:
        with safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get(FORMAT)
            if about is None:
                raise _damaged(path, f"is no {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(about)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error


def _load_model(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    prefix = f"{_MODEL}/"
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _damaged(path, f"is of another model ({' '.join(str(error).split())})") from error


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError(
        what,
        where=str(path),
        remedy="train with the model and the folder that it came from, or start anew in another",
        code="ADL-TRN-07",
    )


def _check_run(saved: Mapping[str, Any], run: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with what would not have been the same run."""
    before, now = _leaves(saved), _leaves(run)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"was trained with {key} {before.get(key)}, now it is {now.get(key)}",
                where=str(path),
                remedy="resume with the settings of the run, or start anew in another folder",
                code="ADL-TRN-06",
            )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
