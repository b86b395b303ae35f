"""Design rules, judged from the compiled program alone."""

from mapping.rules import core, fidelity, mesh, numeric
from mapping.rules.base import RULES, check_rules

__all__ = ["RULES", "check_rules", "core", "fidelity", "mesh", "numeric"]
