"""Every error that a user can meet is provoked by a test."""

from __future__ import annotations

import re

import pytest
from support.codes import CODE, PACKAGES, ROOT, mentioned

RAISED = sorted(set().union(*(mentioned(ROOT / package) for package in PACKAGES)))
TESTED = mentioned(ROOT / "tests")


def test_the_sources_holdmentioned() -> None:
    assert len(RAISED) > 50


@pytest.mark.parametrize("code", RAISED)
def test_a_test_provokes(code: str) -> None:
    assert code in TESTED


def test_codes_name_their_family_in_the_same_way_everywhere() -> None:
    """``ADL-XXX-NN`` in full: no shorter or longer spelling slips through the check above."""
    loose = re.compile(r"\"(ADL-[^\"\s]*)\"")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for spelling in loose.findall(path.read_text()):
                assert CODE.fullmatch(spelling), f"{path}: {spelling}"
