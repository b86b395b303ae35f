"""Data that cannot be packaged; continuous integration says where they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(*parts: str) -> Path:
    """A file below ``$ADLRNS_SHARED/data``; the test is skipped where the variable is not set.

    Where it is set the file must exist, so that a test cannot go missing silently.
    """
    root = os.environ.get("ADLRNS_SHARED")
    if root is None:
        pytest.skip(f"needs {'/'.join(parts)}: ADLRNS_SHARED is not set")
    path = Path(root, "data", *parts)
    assert path.exists(), f"ADLRNS_SHARED is set, but {path} is missing"
    return path


def fashion_mnist() -> Path:
    """The folder of Debian's package ``dataset-fashion-mnist``; skips where it is not installed."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    return folder
