"""The chip simulator: the artifact, core by core, as flat arrays stepped by Numba."""
