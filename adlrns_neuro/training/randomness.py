"""Random streams that are functions of where a run stands, so that resuming needs no saved state.

Two streams that never mix: what draws while *data* is loaded (the order of samples, augmentation,
the seeds of loader workers) starts anew in every epoch; what draws while a *step* computes
(dropout, the levels to train) starts anew in every step. Whoever knows seed, epoch and step has
both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_DATA, _STEP, _LEVELS = range(3)


def start_data_stream(seed: int, epoch: int) -> None:
    """Start the global streams of torch, NumPy and Python for the loading of an epoch.

    All processes get the same, so that samplers agree on the order.
    """
    start = _derived(seed, _DATA, epoch)
    torch.manual_seed(start)
    random.seed(start)
    np.random.seed(start % 2**32)  # noqa: NPY002 - augmentation in data sets draws from it


@contextmanager
def step_stream(seed: int, step: int, process: int, device: torch.device) -> Iterator[None]:
    """Inside the block torch draws from the stream of one step; the data stream goes on after it.

    Args:
        seed: of the run.
        step: since the start of training.
        process: index, so that dropout differs between the parts of a batch.
        device: whose generator is meant besides the CPU's.
    """
    with torch.random.fork_rng(devices=_with_streams(device)):
        torch.manual_seed(_derived(seed, _STEP, step, process))
        yield


def drawn_levels(seed: int, step: int, levels: int, most: int) -> tuple[int, ...]:
    """The levels that a step trains, ascending, the same in all processes.

    Args:
        seed: of the run.
        step: since the start of training.
        levels: how many there are.
        most: all where there are no more; else the highest, the lowest and random ones between.
    """
    if levels <= most:
        return tuple(range(levels))
    between = random.Random(_derived(seed, _LEVELS, step)).sample(range(1, levels - 1), most - 2)
    return (0, *sorted(between), levels - 1)


@contextmanager
def kept_streams(device: torch.device) -> Iterator[None]:
    """Put the caller's random state back after the block, that of ``device`` included."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=_with_streams(device)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _with_streams(device: torch.device) -> list[torch.device]:
    """What has a generator besides the CPU's."""
    return [device] if device.type == "cuda" else []


def _derived(seed: int, *position: int) -> int:
    """A seed for one position of a run; positions that differ give unrelated streams."""
    return int(np.random.SeedSequence([seed, *position]).generate_state(1, np.uint64)[0] >> 1)
