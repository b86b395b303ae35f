"""Make ``docs/energy-constants.md`` of the built-in targets.

python -m mapping.targets.document > docs/energy-constants.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain

from mapping.targets.figures import Constant, Curve
from mapping.targets.load import load_target
from mapping.targets.spec import ChipSpec
from mapping.units import unit_of, with_prefix

TARGETS = ("loihi1", "loihi1-fit", "loihi2")
"""Those that differ in constants; systems of several chips are ``loihi2`` over and over."""

_HEAD = """\
# Constants of energy and latency

Every constant that [an estimate](energy.md) is made of, with its status, its source and the factor
within which the truth is believed to lie (none: as good as it gets, or nothing is known). Statuses,
from the strongest to the weakest: *silicon* was measured on a chip, *spice* is the vendor's
pre-silicon figure, *fit* was fitted by a published simulator, *brief* stands in a vendor's brief,
*inferred* was derived from published figures, *assumed* is nothing but an assumption.

`kapoho-point` and `hala-point` take the constants of `loihi2`. This page is made of the target
files by `python -m mapping.targets.document > docs/energy-constants.md`.
"""


def constants_page() -> str:
    """The page in Markdown."""
    chips = [load_target(name) for name in TARGETS]
    names = dict.fromkeys(chain.from_iterable(_physical(chip) for chip in chips))
    sections = dict.fromkeys(name.partition(".")[0] for name in names)
    return "\n".join([_HEAD, *chain.from_iterable(_section(one, chips) for one in sections)])


def _physical(chip: ChipSpec) -> dict[str, Constant | Curve]:
    """The constants of ``chip`` under their dotted names."""
    return {n: f for n, f in chip.constants().items() if isinstance(f, Constant | Curve)}


def _section(section: str, chips: list[ChipSpec]) -> Iterator[str]:
    yield f"## {section}\n"
    yield "| entry | target | value | factor | status | source |"
    yield "|---|---|---|---|---|---|"
    names = dict.fromkeys(n for c in chips for n in _physical(c) if n.partition(".")[0] == section)
    for name in names:
        for chip in chips:
            figure = _physical(chip).get(name)
            if figure is not None:
                factor = f"×/÷ {figure.factor:g}" if figure.factor > 1 else "–"
                entry = name.partition(".")[2] or name
                cells = (_value(name, figure), factor, figure.status, figure.source)
                yield f"| `{entry}` | {chip.name} | {' | '.join(cells)} |"
    yield ""


def _value(name: str, figure: Constant | Curve) -> str:
    unit = unit_of(name)
    if isinstance(figure, Constant):
        return with_prefix(figure.value, unit)
    points = ", ".join(f"{number}: {with_prefix(value, unit)}" for number, value in figure.value)
    return f"{points} ({figure.between})"


if __name__ == "__main__":
    sys.stdout.write(constants_page())
