"""Chip targets: one TOML file per chip."""
