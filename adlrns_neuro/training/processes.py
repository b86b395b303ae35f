"""Device and processes of a run, through Accelerate.

Accelerate finds out how it was started: alone, or by ``torchrun`` or ``accelerate launch`` on
several CPUs or GPUs. ``batch_size`` is that of all processes together, so that a run takes the same
steps on one as on many.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, IterableDataset

from mapping.errors import ConfigError


def accelerator_on(device: str | torch.device | None, seed: int) -> Accelerator:
    """Join the processes of the run.

    Args:
        device: "cpu", "cuda", "cuda:1"; the best there is if None. With several processes on GPUs
            each takes its own, whatever the index.
        seed: of the order of the samples.

    Raises:
        ConfigError: ``ADL-TRN-09`` when there is no such device, or this process already runs on
            another.
    """
    try:
        wanted = None if device is None else torch.device(device)
        if wanted is not None and wanted.type != "cpu":
            torch.empty(0, device=wanted)
        if wanted is not None and wanted.type == "cuda" and wanted.index is not None:
            torch.cuda.set_device(wanted)
        accelerator = Accelerator(
            cpu=wanted is not None and wanted.type == "cpu",
            dataloader_config=DataLoaderConfiguration(
                split_batches=True, use_seedable_sampler=True, data_seed=seed
            ),
        )
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _no_device(device, str(error).splitlines()[0]) from error
    if wanted is not None and accelerator.device.type != wanted.type:
        raise _no_device(device, f"this process already runs on {accelerator.device}")
    return accelerator


def prepared_loader(
    loader: DataLoader[Any], accelerator: Accelerator, name: str
) -> DataLoaderShard:
    """A loader that gives this process its part of every batch, on its device.

    Args:
        loader: of the whole data.
        accelerator: device and processes.
        name: what errors call it.

    Raises:
        ConfigError: ``ADL-TRN-08`` when batches cannot be split evenly, ``ADL-TRN-10`` when there
            are none, or no telling how many.
    """
    sized = not isinstance(loader.dataset, IterableDataset)
    if not sized or len(loader) == 0:
        raise ConfigError(
            "yields no batch" if sized else "has no length, which learning rate and resuming need",
            where=name,
            remedy="give it a map-style data set, from which at least one batch can be drawn",
            code="ADL-TRN-10",
        )
    batch_size, processes = loader.batch_size, accelerator.num_processes
    if processes > 1 and (batch_size is None or batch_size % processes):
        raise ConfigError(
            f"batches of {batch_size} samples cannot be split over {processes} processes",
            where=name,
            remedy=f"choose a batch size that is a multiple of {processes}",
            code="ADL-TRN-08",
        )
    prepared = accelerator.prepare_data_loader(loader)
    assert isinstance(prepared, DataLoaderShard)
    return prepared


def _no_device(device: str | torch.device | None, why: str) -> ConfigError:
    return ConfigError(
        f"device {str(device)!r} cannot be used: {why}",
        where="ADLRNSTrainer.device",
        remedy="choose cpu, cuda or cuda:N, one for all training in this process",
        code="ADL-TRN-09",
    )
