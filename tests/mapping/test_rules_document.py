from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mapping.rules import RULES
from mapping.rules.document import design_rules_page
from mapping.targets.load import load_target, target_names

DOCUMENTED = design_rules_page()
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "design-rules.md"


def test_the_page_is_what_the_rules_say() -> None:
    assert PAGE.read_text("utf-8") == DOCUMENTED, (
        "run: python -m mapping.rules.document > docs/design-rules.md"
    )


def test_the_documented_command_makes_the_page() -> None:
    command = [sys.executable, "-m", "mapping.rules.document"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert made.stdout.decode("utf-8") == DOCUMENTED


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_rule_says_what_it_demands_why_and_what_helps(code: str) -> None:
    rule = RULES[code]
    demand, *rest = rule.text.split("\n\n")
    assert demand.endswith(".")
    assert [paragraph.split(":")[0] for paragraph in rest] == ["Why", "Fix", "Example"]
    assert f"## {code}: {rule.title}\n" in DOCUMENTED
    assert f"Severity: {rule.severity}." in DOCUMENTED


@pytest.mark.parametrize("name", target_names())
def test_every_limit_is_on_the_page_with_its_source(name: str) -> None:
    figures = load_target(name).constants()
    for rule in RULES.values():
        for limit in rule.limits:
            rows = [r for r in DOCUMENTED.splitlines() if r.startswith(f"| `{limit}` |")]
            own = [r for r in rows if name in r.split("|")[2].replace(",", "").split()]
            assert own
            assert figures[limit].source in own[0]
