"""Whole experiments from their configuration: data, training, test figures as JSON."""
