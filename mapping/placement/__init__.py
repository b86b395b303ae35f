"""Placement: which physical core each core program takes."""
