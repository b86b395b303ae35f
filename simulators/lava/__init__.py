"""Lava as a backend, run in an interpreter of its own."""
