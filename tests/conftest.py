"""Settings for all tests."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from hypothesis import settings

# Continuous integration repeats the same examples; everybody else explores new ones.
settings.register_profile(
    "adlrns", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("adlrns")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip Lava tests, with the reason, where Lava is not installed."""
    if find_spec("lava") is None:
        without_lava = pytest.mark.skip(reason="Lava is not installed; `make setup` installs it")
        for item in items:
            if item.get_closest_marker("lava"):
                item.add_marker(without_lava)
