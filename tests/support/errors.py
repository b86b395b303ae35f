"""Errors must say where, what and what to do; tests check all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mapping.errors import AdlrnsError


@contextmanager
def refused(
    kind: type[AdlrnsError], code: str, *, where: str = "", remedy: str = "", message: str = ""
) -> Iterator[Any]:
    """The block must raise ``kind`` with ``code``; the texts must occur in the error's fields."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert error.code == code
    assert error.where
    assert where in error.where
    assert error.message
    assert message in error.message
    assert error.remedy
    assert remedy in error.remedy
    assert str(error) == f"{code} · {error.where}: {error.message}. Remedy: {error.remedy}."
