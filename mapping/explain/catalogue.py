"""The explanations of all packages, read when they are first asked for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Annotated

from pydantic import Field, TypeAdapter

from mapping.errors import ConfigError
from mapping.rules import RULES
from mapping.rules.base import Rule

_Text = Annotated[str, Field(min_length=3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A code in words.

    Attributes:
        title: a few words.
        means: what was found; why: the reason of the limit, with its source; fix: what to do.
        example: a case in which it happens.
    """

    title: _Text
    means: _Text
    why: _Text
    fix: _Text
    example: _Text


_ADAPTER = TypeAdapter(dict[str, Explanation])


@cache
def catalogue() -> dict[str, Explanation]:
    """Every code with its explanation, in the order of the codes."""
    found = {code: _of_rule(rule) for code, rule in RULES.items()}
    for file in resources.files("mapping.explain").iterdir():
        if file.name.endswith(".toml"):
            texts = _ADAPTER.validate_python(tomllib.loads(file.read_text("utf-8")), extra="forbid")
            assert not found.keys() & texts.keys()
            found |= texts
    return dict(sorted(found.items()))


def explain(code: str) -> Explanation:
    """The explanation of ``code``, in capitals or not.

    Raises:
        ConfigError: ADL-XPL-01, there is none; the remedy names the nearest.
    """
    known = catalogue()
    if code.upper() not in known:
        near = get_close_matches(code.upper(), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"there is no error or design rule {code!r}",
            where="explain",
            remedy=f"{hint}list all codes with `adlrns-map explain`",
            code="ADL-XPL-01",
        )
    return known[code.upper()]


def _of_rule(rule: Rule) -> Explanation:
    """Its docstring: what it demands, then the paragraphs ``Why:``, ``Fix:`` and ``Example:``."""
    plain = rule.text.replace("``", "")
    means, *rest = (" ".join(paragraph.split()) for paragraph in plain.split("\n\n"))
    pairs = (paragraph.partition(": ") for paragraph in rest)
    parts = {name.lower(): text[:1].upper() + text[1:] for name, _, text in pairs}
    return _EXPLANATION.validate_python({"title": rule.title, "means": means, **parts})


_EXPLANATION = TypeAdapter(Explanation)
