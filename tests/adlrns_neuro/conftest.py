"""Every test of training starts from one random stream, on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def exact_after() -> Iterator[None]:
    """Let torch multiply float32 matrices in float32 again."""
    yield
    torch.set_float32_matmul_precision("highest")
