"""Conventional processors: one TOML file each."""
