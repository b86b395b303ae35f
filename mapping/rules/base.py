"""Design rules: small functions from a compiled program to findings, each with a stable code.

The docstring of a rule is its documentation: a first sentence that says what it demands, then the
paragraphs ``Why:``, ``Fix:`` and ``Example:``. ``adlrns-map explain`` prints them, and
``python -m mapping.rules.document`` makes ``docs/design-rules.md`` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import getdoc

from mapping.artifact.schema import Artifact
from mapping.ir.diagnostic import Diagnostic, Severity

Finding = tuple[str, str, str]
"""Where, message, remedy."""
Check = Callable[[Artifact], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A check under its code.

    Attributes:
        code, severity: of what it finds.
        title: its name for people.
        text: its documentation.
        limits: dotted names of the target's figures that it compares with.
        check: yields every violation.
    """

    code: str
    severity: Severity
    title: str
    text: str
    limits: tuple[str, ...]
    check: Check

    def __call__(self, artifact: Artifact) -> Iterator[Diagnostic]:
        """Every violation in ``artifact``."""
        for where, message, remedy in self.check(artifact):
            yield Diagnostic(
                code=self.code,
                severity=self.severity,
                where=where,
                message=message,
                remedy=remedy,
            )


RULES: dict[str, Rule] = {}


def rule(
    code: str, severity: Severity = "error", *, limits: tuple[str, ...] = ()
) -> Callable[[Check], Rule]:
    """File a check under ``code``; see :class:`Rule` for ``severity`` and ``limits``."""

    def file(check: Check) -> Rule:
        assert code not in RULES
        RULES[code] = Rule(
            code=code,
            severity=severity,
            title=check.__name__.replace("_", " ").capitalize(),
            text=getdoc(check) or "",
            limits=limits,
            check=check,
        )
        return RULES[code]

    return file


def check_rules(artifact: Artifact) -> tuple[Diagnostic, ...]:
    """Every violation of every rule, in the order of the codes."""
    return tuple(finding for code in sorted(RULES) for finding in RULES[code](artifact))
