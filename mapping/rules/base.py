"""Design rules: small functions from a compiled program to findings, each with a stable code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mapping.artifact.schema import Artifact
from mapping.ir.diagnostic import Diagnostic, Severity

Rule = Callable[[Artifact], Iterator[Diagnostic]]
Finding = tuple[str, str, str]
"""Where, message, remedy."""

RULES: dict[str, Rule] = {}


def rule(
    code: str, severity: Severity = "error"
) -> Callable[[Callable[[Artifact], Iterator[Finding]]], Rule]:
    """File a check under ``code``; it yields ``(where, message, remedy)`` per violation."""

    def file(check: Callable[[Artifact], Iterator[Finding]]) -> Rule:
        def run(artifact: Artifact) -> Iterator[Diagnostic]:
            for where, message, remedy in check(artifact):
                yield Diagnostic(
                    code=code, severity=severity, where=where, message=message, remedy=remedy
                )

        run.__doc__ = check.__doc__
        assert code not in RULES
        RULES[code] = run
        return run

    return file


def check_rules(artifact: Artifact) -> tuple[Diagnostic, ...]:
    """Every violation of every rule, in the order of the codes."""
    return tuple(finding for code in sorted(RULES) for finding in RULES[code](artifact))
