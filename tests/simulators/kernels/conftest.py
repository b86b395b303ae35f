"""What several tests of the kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulators.kernels import set_threads
from simulators.kernels.pool import pool


@pytest.fixture
def threads_kept() -> Iterator[None]:
    """Put the number of threads back."""
    before = pool.threads
    yield
    set_threads(before)
