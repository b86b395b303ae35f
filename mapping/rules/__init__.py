"""Design rules, judged from the compiled program alone."""

from mapping.rules import core, mesh, numeric
from mapping.rules.base import RULES, check_rules

__all__ = ["RULES", "check_rules", "core", "mesh", "numeric"]
