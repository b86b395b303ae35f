"""Intermediate representations, from the float network to routed core programs."""
