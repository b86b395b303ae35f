"""NIR files in and out: https://neuroir.org; the page ``docs/nir.md`` states what is understood."""

from __future__ import annotations

from mapping.nir.conventions import NirConventions
from mapping.nir.read import read_nir
from mapping.nir.write import write_nir

__all__ = ["NirConventions", "read_nir", "write_nir"]
