"""The catalogue of explanations and the codes of the product are the same set."""

from __future__ import annotations

import pytest
from support.codes import in_use
from support.errors import refused

from mapping.errors import ConfigError
from mapping.explain import catalogue, explain
from mapping.rules import RULES


def test_every_code_is_explained() -> None:
    missing = {code: paths for code, paths in in_use().items() if code not in catalogue()}
    assert not missing, "add them to mapping/explain/*.toml"


def test_every_explanation_is_of_a_code_in_use() -> None:
    assert not catalogue().keys() - in_use().keys(), "remove them from mapping/explain/*.toml"


def test_the_catalogue_is_in_order_and_large() -> None:
    assert list(catalogue()) == sorted(catalogue())
    assert len(catalogue()) > 120
    assert set(RULES) <= set(catalogue())


def test_no_two_codes_have_the_same_title() -> None:
    titles = [text.title for text in catalogue().values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("code", catalogue())
def test_an_explanation_is_in_plain_sentences(code: str) -> None:
    text = explain(code)
    assert text.title[0].isupper()
    assert not text.title.endswith(".")
    for sentence in (text.means, text.why, text.fix):
        assert sentence[0] == sentence[0].upper()
        assert sentence.endswith(".")
        assert 15 < len(sentence) < 400
    assert len({text.title, text.means, text.why, text.fix, text.example}) == 5


def test_a_code_may_be_in_small_letters() -> None:
    assert explain("adl-cap-02") == explain("ADL-CAP-02")


@pytest.mark.parametrize(
    ("wrong", "near"), [("ADL-CAP-22", "ADL-CAP-02"), ("ADL-NIRR-03", "ADL-NIR-03")]
)
def test_an_unknown_code_suggests_the_nearest(wrong: str, near: str) -> None:
    with refused(ConfigError, "ADL-XPL-01", where="explain", message=wrong, remedy=near):
        explain(wrong)


def test_a_code_like_no_other_still_says_where_all_are() -> None:
    with refused(ConfigError, "ADL-XPL-01", remedy="list all codes with `adlrns-map explain`"):
        explain("???")
