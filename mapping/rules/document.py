"""Make ``docs/design-rules.md`` of the rules and the built-in targets.

python -m mapping.rules.document > docs/design-rules.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import chain

from mapping.rules import RULES
from mapping.rules.base import Rule
from mapping.targets.figures import Figure
from mapping.targets.load import load_target, target_names

Figures = Mapping[str, Mapping[str, Figure]]
"""Per target: its figures by dotted name."""

_HEAD = """\
# Design rules

A design rule is a small function that looks at a compiled program alone, never at what the compiler
remembers of making it. `adlrns-map compile` writes a program only if no rule of severity *error*
finds anything (exit code 3 otherwise), and `adlrns-map check` judges a program again. A *warning*
is part of the report. `adlrns-map explain CODE` prints what stands here.

This page is made of the rules' docstrings and of the target files by
`python -m mapping.rules.document > docs/design-rules.md`.
"""


def design_rules_page() -> str:
    """The page in Markdown."""
    figures = {name: load_target(name).constants() for name in target_names()}
    sections = (_section(RULES[code], figures) for code in sorted(RULES))
    return "\n".join([_HEAD, *chain.from_iterable(sections)])


def _section(rule: Rule, figures: Figures) -> Iterator[str]:
    yield f"## {rule.code}: {rule.title}"
    yield ""
    yield f"Severity: {rule.severity}."
    yield ""
    yield rule.text.replace("``", "`")
    yield ""
    if rule.limits:
        yield "| limit | target | value | status | source |"
        yield "|---|---|---|---|---|"
        for limit in rule.limits:
            yield from _rows(limit, figures)
        yield ""


def _rows(limit: str, figures: Figures) -> Iterator[str]:
    """One row per target, those that agree in everything together."""
    targets: dict[tuple[str, str, str], list[str]] = {}
    for name, constants in figures.items():
        figure = constants[limit]
        value = (
            ", ".join(map(str, figure.value)) if isinstance(figure.value, tuple) else figure.value
        )
        targets.setdefault((str(value), figure.status, figure.source), []).append(name)
    for (value, status, source), names in targets.items():
        yield f"| `{limit}` | {', '.join(names)} | {value} | {status} | {source} |"


if __name__ == "__main__":
    sys.stdout.write(design_rules_page())
