"""What every error code and design rule means, why the limit exists and how to fix it.

Design rules are explained by their docstrings, all other codes by the TOML files beside this one.
"""

from mapping.explain.catalogue import Explanation, catalogue, explain

__all__ = ["Explanation", "catalogue", "explain"]
